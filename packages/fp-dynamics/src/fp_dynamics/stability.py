r"""
How long a step may be.

Most of what a learning rate does can be seen on a parabola. Near any point a loss is nearly a quadratic, with many
curvatures, and the steepest of them decides whether a step helps or harms. What exactly happens on both sides of the
limit, and how is a real run's distance from it measured?

You need: `neural.parabola-rate`, `optim.quadratic-descent`; products with Hessians (`fp_autograd.functional`).

## One curvature

**Claim** `dynamics.step-stability`. Let $f(w) = \frac{\lambda}{2} (w - w^\star)^2$ with $\lambda \ne 0$ of either
sign, and let $w_{t+1} = w_t - \eta f'(w_t)$ with a real $\eta$. Then

$$w_t - w^\star = (1 - \eta \lambda)^t\, (w_0 - w^\star). \qquad \text{(E1)}$$

From $w_0 \ne w^\star$ it converges to $w^\star$ if and only if $0 < \eta \lambda < 2$: on one side for
$0 < \eta \lambda < 1$, in one step for $\eta \lambda = 1$, changing sides at every step for $1 < \eta \lambda < 2$. For
$\eta \lambda = 2$ it jumps between $w_0$ and its mirror image $2 w^\star - w_0$ for ever, and $f$ stays what it is. For
$\eta \lambda > 2$, changing sides, and for $\eta \lambda < 0$, on one side, $|w_t|$ grows without bound.

**Proof.** $f'(w) = \lambda (w - w^\star)$, so $w_{t+1} - w^\star = (1 - \eta \lambda)(w_t - w^\star)$: this is (E1).
With $q = 1 - \eta \lambda$, $q^t \to 0$ exactly if $|q| < 1$, that is $0 < \eta \lambda < 2$ (as in
`neural.parabola-rate`, of which this is the rest). $q^t$ keeps its sign if $q > 0$ and changes it at every step if
$q < 0$; $q = 0$ gives zero at once, and $q = -1$ gives $(-1)^t$, whose square is one. If $|q| > 1$, then $|q|^t$
exceeds every bound; here $q < -1$ for $\eta \lambda > 2$ and $q > 1$ for $\eta \lambda < 0$. $\blacksquare$

In many dimensions this happens to each eigenvector of the Hessian by itself (`optim.quadratic-descent`). A saddle has
some $\lambda < 0$: there no rate converges, and that is a good thing.

## What one step shows

The curvatures need not be known. The step itself measures the one that it met:

**Claim** `dynamics.step-change`. Let $f$ be quadratic with the symmetric Hessian $S$, of any signs, let
$g = \nabla f(x) \ne 0$ and $\rho = \frac{g \cdot S g}{|g|^2}$. For every $\eta$

$$f(x - \eta g) = f(x) - \eta\, |g|^2 \Big( 1 - \frac{\eta \rho}{2} \Big). \qquad \text{(E2)}$$

So for $\eta > 0$ the loss falls exactly if $\eta \rho < 2$, it falls most for $\eta = \frac1\rho$ if $\rho > 0$, and
from the two losses

$$\eta \rho = 2\, \Big( 1 - \frac{f(x) - f(x - \eta g)}{\eta\, |g|^2} \Big). \qquad \text{(E3)}$$

$\rho$ lies between the smallest and the largest eigenvalue of $S$.

**Proof.** On a quadratic the Taylor polynomial of second order is the function itself (`autograd.taylor-line`):
$f(x + v) = f(x) + g \cdot v + \frac12 v \cdot S v$. Insert $v = -\eta g$:
$f(x) - \eta |g|^2 + \frac{\eta^2}{2} \rho\, |g|^2$, which is (E2). The bracket is positive exactly if $\eta \rho < 2$.
In $\eta$ this is a parabola with the slope $-|g|^2 (1 - \eta \rho)$ and the second derivative $\rho\, |g|^2$. Solve
(E2) for $\eta \rho$. $\rho$ is a Rayleigh quotient of $S$ (`optim.spectral-norm`). $\blacksquare$

A step that brings what its gradient promised has $\eta \rho$ near $0$: the rate could be larger. At $1$ it brings half
of it, at $2$ nothing. On a real loss (E3) holds up to what is not quadratic, if both losses are of the same batch.

>>> f, x, g = lambda w: 2 * w * w, 1.0, 4.0  # curvature 4
>>> [round(step_curvature(f(x), f(x - lr * g), g, lr) * lr, 3) for lr in (0.01, 0.25, 0.5, 0.6)]
[0.04, 1.0, 2.0, 2.4]

## With a scale for each coordinate

**Claim** `dynamics.scaled-stability`. Let $f(x) = \frac12 (x - x^\star) \cdot S (x - x^\star)$ with symmetric $S$, let
$D$ be diagonal with positive entries $d_i$, and $x_{t+1} = x_t - \eta D^{-1} \nabla f(x_t)$. With the eigenvalues
$\mu_i$ of the symmetric matrix $D^{-1/2} S D^{-1/2}$, $x_t \to x^\star$ from every start if and only if
$0 < \eta \mu_i < 2$ for all $i$.

**Proof.** Let $y_t = D^{1/2} (x_t - x^\star)$. Then
$y_{t+1} = y_t - \eta D^{1/2} D^{-1} S D^{-1/2} y_t = \big( I - \eta D^{-1/2} S D^{-1/2} \big)\, y_t$. Along each
orthonormal eigenvector (`neural.spectral-theorem`) this multiplies by $1 - \eta \mu_i$, which is
`dynamics.step-stability` for $\mu_i \ne 0$, and leaves everything where it is for $\mu_i = 0$. $y_t \to 0$ from every
start exactly if each factor is below one in size, and $x_t - x^\star = D^{-1/2} y_t$. $\blacksquare$

AdamW is such a step with $d_i = \sqrt{v_i} + \varepsilon$, as long as its averages change little. Its $d_i$ are small
where gradients are, so the curvature that counts is not that of the loss but the one after scaling.

## Measuring the steepest curvature

`sharpness` finds the eigenvalue of the Hessian that is largest in size, by multiplying a random vector with the Hessian
again and again (the power method): components grow in proportion to their eigenvalue.

>>> S = np.diag([7.0, 2.0, -1.0])
>>> round(sharpness(lambda x: 0.5 * (x * (x @ S)).sum(), np.zeros(3), rng=np.random.default_rng(0)), 4)
7.0

## In practice

Trained at a fixed rate by gradient descent on the whole data, networks get sharper until $\eta \lambda$ is near $2$ and
then stay there, at the *edge of stability* (J. Cohen and others, 2021), since losses are not quadratic. With batches,
noise adds to the picture (`optim.sgd-stationary`). Warmup lets a run start where curvature is large and reach places
where it is not. A spike in the loss is what a step beyond the limit looks like; clipping shortens it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fp_autograd.functional import hvp, tree_leaves, tree_map
from fp_autograd.tensor import no_grad
from fp_autograd.tracing import value_of

__all__ = ["step_curvature", "sharpness"]  # the order of the page


def step_curvature(before: float | int, after: float | int, grad_norm: float | int, lr: float | int) -> float:
    r"""
    The curvature $\rho$ along the gradient that a step of plain gradient descent met (E3).

    Parameters
    ----------
    before, after
        The loss in front of the step and behind it, of the same batch.
    grad_norm
        The length of the gradient that was followed.
    lr
        The rate.

    Returns
    -------
    float
        Times the rate it is below 2 if the loss fell.

    Raises
    ------
    ValueError
        If the rate or the gradient is not positive.

    Examples
    --------
    >>> step_curvature(1.0, 1.0, 2.0, 0.5)  # a step that changed nothing: lr times it is 2
    4.0
    """
    if not (lr > 0 and grad_norm > 0):
        raise ValueError(f"rate and gradient have to be positive, got lr={lr} and grad_norm={grad_norm}")
    return float(2 * (1 - (before - after) / (lr * grad_norm**2)) / lr)


def sharpness(
    f: Callable[[Any], Any],
    x: Any,
    *,
    rng: np.random.Generator,
    n_iterations: int = 100,
    tolerance: float | int = 1e-4,
) -> float:
    """
    The eigenvalue of a function's Hessian that is largest in size.

    Parameters
    ----------
    f
        From an array, or containers of them such as a model's state, to one number.
    x
        Where.
    rng
        Draws the first vector.
    n_iterations
        Products with the Hessian at most.
    tolerance
        It is found when a product changes it by a smaller share.

    Returns
    -------
    float
        With its sign. If two eigenvalues of opposite signs are equally large, it lies between them.

    Raises
    ------
    ValueError
        If a product is not finite, or no product is allowed.
    """
    if n_iterations < 1:
        raise ValueError(f"n_iterations is at least 1, got {n_iterations}")
    product = hvp(f)
    v = _scaled(tree_map(lambda a: rng.normal(size=np.shape(a)).astype(np.result_type(a)), x))
    value = 0.0
    for _ in range(n_iterations):
        with no_grad():  # parameters of a model that are not in x are constants here
            Hv = tree_map(value_of, product(x, v))
        before, value = value, _dot(v, Hv)
        if not np.isfinite(value):
            raise ValueError("the Hessian is not finite here: look for the first number that is not (first_nonfinite)")
        if _dot(Hv, Hv) == 0 or abs(value - before) < tolerance * abs(value):
            break
        v = _scaled(Hv)
    return value


def _dot(a: Any, b: Any) -> float:
    """The sum of products of all entries."""
    pairs = zip(tree_leaves(a), tree_leaves(b), strict=True)
    return float(sum(np.vdot(np.asarray(x, np.float64), np.asarray(y, np.float64)) for x, y in pairs))


def _scaled(v: Any) -> Any:
    """Of length one."""
    length = np.sqrt(_dot(v, v))
    return tree_map(lambda a: (a / length).astype(np.result_type(a)), v)
