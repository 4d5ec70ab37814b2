r"""
Losses: what a prediction costs.

A network that predicts the next token ends in a row of scores. Training needs one number that says how bad they were
for the token that came, and the slope of that number in every score. This section derives both, shows which prediction
the number asks for, and computes it in a few passes over the scores.

You need: `fp_neural.softmax`, `markov.gibbs` and `markov.cross-entropy-split` from `fp_markov.information`, and
`fp_autograd.extend` for fused operations.

## One row of scores

Let $z \in \mathbb{R}^V$ be the scores, $p = \operatorname{softmax}(z)$, $\ell = \ln \sum_j e^{z_j}$, and let $q$ be the
distribution that we would like to see: with a one at the token $y$ that came and zeros elsewhere, $q = e_y$. As
$\ln p_i = z_i - \ell$ and $\sum_i q_i = 1$, the cross-entropy is

$$
L(z) = H(q, p) = -\sum_i q_i \ln p_i = \ell - q \cdot z, \qquad L = \ell - z_y \ \text{ for } q = e_y. \qquad
\text{(E1)}
$$

**Claim** `neural.cross-entropy-gradient`. For every distribution $q$, $L$ has the gradient $p - q$ and the Hessian
$\operatorname{diag}(p) - p\, p^\top$, which does not depend on $q$.

**Proof.** $\ell$ has the gradient $p$ (`autograd.logsumexp-rule`), and the linear function $q \cdot z$ has the gradient
$q$. The second derivatives of the linear part are zero, and those of $\ell$ are (E2) of `fp_neural.softmax`.
$\blacksquare$

Every score is pushed up by what is wanted minus what is there. The pushes add up to zero, since $p$ and $q$ both sum to
one, and none is larger than one. A prediction that is sure and wrong gets a push of nearly one. The squared error
between $p$ and $e_y$ would send next to nothing back from there, for the slopes of softmax vanish:

>>> from fp_autograd.functional import grad
>>> from fp_autograd.rules import softmax
>>> sure, came = np.array([0.0, 12.0, 0.0]), np.array([1.0, 0.0, 0.0])
>>> grad(lambda z: cross_entropy(z, 0))(sure).round(4)
array([-1.,  1.,  0.])
>>> bool(np.abs(grad(lambda z: ((softmax(z) - came) ** 2).sum())(sure)).max() < 1e-4)
True

**Claim** `neural.cross-entropy-convex`. $L$ is convex in $z$. Let $z_t = A_t \theta + a_t$ for $t = 1, \dots, N$, with
matrices $A_t$ and vectors $a_t$. Then the mean of the losses $H(q_t, \operatorname{softmax}(z_t))$ is convex in
$\theta$, and wherever its gradient is zero it is as small as it gets.

**Proof.** By `neural.logsumexp-convex` $\ell$ is convex, and $-q \cdot z$ is linear, so both sides of the chord
inequality change alike. $\theta \mapsto z_t$ takes $(1 - w) \theta + w \theta'$ to $(1 - w) z_t + w z_t'$, so the chord
inequality of $L$ is the chord inequality in $\theta$. Add over $t$ and divide by $N$. The last statement is
`markov.concave-maximum` for the negative of the mean. $\blacksquare$

So a model that is linear up to its softmax has no bad valleys, which is why the table of `fp_neural.tables` may be
trained as well as counted. With a hidden layer in between $z$ is no longer linear in the parameters, and the claim says
nothing.

## What the loss asks for

Let the token that comes be drawn from $P$. To believe $q$ then costs $\sum_y P_y\, S(q, y)$ on average, where $S(q, y)$
is what $y$ costs. A **score** $S$ is **strictly proper** if for every $P$ this is least at $q = P$ and nowhere else:
honesty pays, and nothing else does.

**Claim** `neural.proper-score`. $S(q, y) = -\ln q_y$ is strictly proper.

**Proof.** The mean cost is $H(P, q) = H(P) + D(P \,\|\, q)$ by `markov.cross-entropy-split`. $H(P)$ does not depend on
$q$; by `markov.gibbs` $D$ is positive unless $q = P$, where it is $0$. $\blacksquare$

It is not so with every score that looks sensible. If a wrong guess cost $1 - q_y$, the mean would be
$1 - \sum_y P_y\, q_y$, and the cheapest belief would put everything on the likeliest token:

>>> P, sure = np.array([0.5, 0.3, 0.2]), np.array([1.0, 0.0, 0.0])
>>> [round(float(P @ (1 - q)), 2) for q in (P, sure)]
[0.62, 0.5]

**Claim** `neural.nll-is-cross-entropy`. Let a text give the pairs $(c_t, y_t)$, $t = 1, \dots, N$, of a context and the
token that came, $N(c)$ of them with context $c$, among which a share $\hat P_c(y)$ has the token $y$. For every model
$q_c$

$$-\frac1N \sum_{t=1}^N \ln q_{c_t}(y_t) = \sum_c \frac{N(c)}{N}\, H(\hat P_c, q_c)
  = \hat H + \sum_c \frac{N(c)}{N}\, D(\hat P_c \,\|\, q_c), \qquad \text{(E2)}$$

with $\hat H = \sum_c \frac{N(c)}{N} H(\hat P_c)$: the mean negative log-likelihood is the cross-entropy with the
**empirical distribution**. It is at least $\hat H$, and equal to it exactly if $q_c = \hat P_c$ for every context that
occurs.

**Proof.** The pair $(c, y)$ occurs $N(c)\, \hat P_c(y)$ times, and each time it adds $-\ln q_c(y)$. Sort the sum by
pairs: $-\sum_c \sum_y N(c)\, \hat P_c(y) \ln q_c(y) = \sum_c N(c)\, H(\hat P_c, q_c)$. Divide by $N$; the second step
is `markov.cross-entropy-split`, and the last sentence is `markov.gibbs`, context by context. $\blacksquare$

So to minimise the loss, to maximise the likelihood and to come close to what was observed are one thing
(`markov.counting-is-mle` says it of counts). If every context occurs once, as with long contexts it does, then
$\hat H = 0$: a model that could tell all contexts apart would be asked for certainty.

## Label smoothing

No finite scores give certainty: $L = \ell - z_y > 0$ for $V > 1$, and it falls towards $0$ as $z_y$ grows, for ever.
**Label smoothing** asks for less. With $u_i = \frac1V$ and $0 \le \varepsilon < 1$ it replaces $q$ by
$q^\varepsilon = (1 - \varepsilon)\, q + \varepsilon\, u$:

$$L^\varepsilon(z) = H(q^\varepsilon, p) = \ell - (1 - \varepsilon)\, z_y - \frac{\varepsilon}{V} \sum_i z_i
  = (1 - \varepsilon)\, H(e_y, p) + \varepsilon\, H(u, p). \qquad \text{(E3)}$$

**Claim** `neural.label-smoothing`. Let tokens be drawn from $P$ and $0 < \varepsilon < 1$. The mean of $L^\varepsilon$
is least exactly where $p = (1 - \varepsilon) P + \varepsilon u$, and there it is the entropy of that distribution. If
$y$ always comes, this $p$ is reached by the scores with

$$
z_y - z_i = \ln \Big( 1 + \frac{(1 - \varepsilon)\, V}{\varepsilon} \Big) \quad \text{for } i \ne y, \qquad
\text{(E4)}
$$

and by no others. Without smoothing, if $y$ always comes and $V > 1$, the loss $L$ comes as near to $0$ as anyone asks,
and no $z$ reaches it.

**Proof.** (E3) is linear in $q$, so its mean over $y$ is $H(P^\varepsilon, p)$ with
$P^\varepsilon = (1 - \varepsilon) P + \varepsilon u$. By `neural.proper-score` it is least at $p = P^\varepsilon$
alone, where it is $H(P^\varepsilon)$; this distribution is positive, so by `neural.softmax-classes` some scores have
it. For $P = e_y$ it is $1 - \varepsilon + \frac{\varepsilon}{V}$ at $y$ and $\frac{\varepsilon}{V}$ elsewhere. The
quotient of the two is $1 + \frac{(1 - \varepsilon) V}{\varepsilon}$, and by `neural.softmax-classes` its logarithm is
the difference of the scores. Last, $z = s\, e_y$ has

$$L = \ln (e^s + V - 1) - s = \ln \big( 1 + (V - 1)\, e^{-s} \big),$$

which tends to $0$ as $s$ grows; and for every $z$, $L = \ln \sum_j e^{z_j - z_y} > \ln e^0 = 0$. $\blacksquare$

A tenth of smoothing over 65 characters asks for a gap of

>>> float(np.log(1 + 0.9 * 65 / 0.1).round(2))
6.37

nats and not for more. The price: what is learned is a mixture of the truth with the uniform distribution. And a
smoothed loss is not comparable with one that is not: report $L$, whatever was trained with.

## Many rows, few passes

For rows $z_t$ with weights $w_t$ the loss is $\sum_t w_t L_t$: all $w_t = \frac1N$ for the mean; $w_t = 0$ where a
position is padding and does not count, and then $N$ is the number of those that do. The cotangent of $z_t$ is
$g\, w_t\, (p_t - q_t)$.

Written with the operations of `fp_autograd.rules` this makes about ten arrays of $N \times V$ numbers, forward and
backward. It needs one. Let $c$ be the largest score of the row, and $s = \sum_j e^{z_j - c}$. Then

$$p_i = \frac{e^{z_i - c}}{s}, \qquad L = \ln s - (z_y - c), \qquad \text{(E5)}$$

by `autograd.exponential-shift`: one pass for the largest, one for the exponentials, one for their sum; neither term of
$L$ is negative. The backward step needs the exponentials and nothing else, so it multiplies them, where they are, by
$g w_t / s$, and takes $g w_t$ off at $y$. That uses the array up. Should a second sweep ask again, it is made again.

Is the largest needed? Take $c = 0$ and look at what comes out. If no row's sum $s$ exceeds $10^{15}$ and no target's
$e^{z_y}$ is below $10^{-15}$, all that matters stayed far from the ends of float32: $10^{-15} \le e^{z_y} \le s \le
10^{15}$, and what underflowed, below $10^{-37}$, is less than $10^{-22}\, s$. Then one pass less was needed, and the
error is of the same order (`neural.logsumexp-rounding`). With $L = \ln (s / e^{z_y})$, where the computed sum of
positive terms is no smaller than one of them, $L$ is never negative here either. Otherwise the rows are done again,
with the largest.

>>> z = np.array([[1.0, 2.0, 0.0], [0.5, 0.5, 0.5]])
>>> [round(float(cross_entropy(z + c, [1, 2])), 4) for c in (0, 1000)]
[0.7531, 0.7531]

## In practice

PyTorch's `cross_entropy` takes the same arguments (there `ignore_index` is $-100$ by default) and expects the tokens on
axis 1, so that a batch of texts has to be transposed; here, as everywhere in this course, they are on the last axis.
For large vocabularies the logits are the largest array of a training step, and systems avoid it: they compute the loss
block by block of the vocabulary and throw the logits away (Cut Cross-Entropy, E. Wijmans et al., 2024), or add the mean
of $\ell^2$ times a small number, the z-loss, to keep $\ell$ near zero in half precision. Label smoothing is from C.
Szegedy et al. (2015); that smoothed networks are better calibrated but worse teachers is in R. Müller et al. (2019).
Proper scores: T. Gneiting and A. Raftery (2007)."""

from typing import Any, Literal

import numpy as np

from fp_autograd.extend import operation
from fp_autograd.rules import logsumexp, where
from fp_autograd.tracing import Operand, value_of

__all__ = ["cross_entropy", "reference_cross_entropy", "nll", "mse"]  # the order of the page

Reduction = Literal["mean", "sum", "none"]
Real = float | int
MODERATE = 1e15
"""Sums up to this and terms down to its inverse are far from the ends of float32, and so are their quotients."""


def cross_entropy(
    logits: Operand,
    targets: Any,
    *,
    label_smoothing: Real = 0.0,
    ignore: int | None = None,
    reduction: Reduction = "mean",
) -> Any:
    r"""
    $-\ln p_y$ for $p = \operatorname{softmax}(z)$, in one operation (E5), smoothed by (E3).

    Its derivatives exist to any order and in both modes, through `reference_cross_entropy`.

    Parameters
    ----------
    logits
        Scores $z$ of shape `(..., V)`, float32 or float64, array or tensor. $-\infty$ is a token that cannot come.
    targets
        The ids $y$ of the tokens that came, integers of any type from 0 to V - 1, of shape `(...)`.
    label_smoothing
        $\varepsilon$, at least 0 and below 1.
    ignore
        An id, which may be outside of the range, whose positions do not count.
    reduction
        `"mean"` over the positions that count, `"sum"`, or `"none"`: one number for each position, 0 where it does not
        count.

    Returns
    -------
    ndarray or Tensor
        In nats.

    Raises
    ------
    ValueError
        If a target is out of range, the shapes do not fit, no position counts towards the mean, or the loss is not a
        number because a logit is NaN or infinite.
    TypeError
        If the logits are not float32 or float64, or the targets not integers.

    Examples
    --------
    Equal scores cost the logarithm of the number of tokens:

    >>> float(cross_entropy(np.zeros((2, 5)), [4, 0]).round(4)), float(np.log(5).round(4))
    (1.6094, 1.6094)
    >>> cross_entropy(np.zeros((3, 5)), [4, 0, -1], ignore=-1, reduction="none").round(4)
    array([1.6094, 1.6094, 0.    ])
    """
    y, weight = _prepared(logits, targets, label_smoothing, ignore, reduction)
    return _fused(logits, y, weight=weight, smoothing=float(label_smoothing), summed=reduction != "none")


def reference_cross_entropy(
    logits: Operand,
    targets: Any,
    *,
    label_smoothing: Real = 0.0,
    ignore: int | None = None,
    reduction: Reduction = "mean",
) -> Any:
    """
    `cross_entropy`, composed of the operations of `fp_autograd.rules` as (E1) and (E3) are written.

    Parameters
    ----------
    logits, targets, label_smoothing, ignore, reduction
        As there.

    Returns
    -------
    ndarray or Tensor
        The same numbers up to rounding.

    Raises
    ------
    ValueError, TypeError
        As there, but a loss that is not a number is returned.

    Examples
    --------
    >>> z = np.array([0.3, -0.2, 0.1])
    >>> bool(np.isclose(reference_cross_entropy(z, 2, label_smoothing=0.1), cross_entropy(z, 2, label_smoothing=0.1)))
    True
    """
    y, weight = _prepared(logits, targets, label_smoothing, ignore, reduction)
    return _unfused(logits, y, weight=weight, smoothing=float(label_smoothing), summed=reduction != "none")


def nll(log_p: Operand, targets: Any, *, ignore: int | None = None, reduction: Reduction = "mean") -> Any:
    r"""
    $-\ln p_y$ from logarithms of probabilities: the negative log-likelihood (E2).

    Parameters
    ----------
    log_p
        Logarithms of probabilities, of shape `(..., V)`, as `log_softmax` returns them.
    targets, ignore, reduction
        As in `cross_entropy`.

    Returns
    -------
    ndarray or Tensor
        In nats.

    Raises
    ------
    ValueError
        If a number is above zero, so not the logarithm of a probability; otherwise as in `cross_entropy`.
    TypeError
        As in `cross_entropy`.

    Examples
    --------
    >>> float(nll(np.log(np.array([[0.5, 0.25, 0.25]])), [0]).round(4))
    0.6931
    """
    y, weight = _prepared(log_p, targets, 0.0, ignore, reduction)
    largest = value_of(log_p).max(initial=-np.inf)
    if not largest <= 1e-3:  # logits minus their logsumexp may be above zero by a rounding of the logits
        raise ValueError(
            f"nll needs logarithms of probabilities, which are at most 0, got {largest}: pass log_softmax(logits), or "
            "logits to cross_entropy"
        )
    return _weighted(-_chosen(log_p, y), weight, reduction != "none")


def mse(x: Operand, y: Operand, *, reduction: Reduction = "mean") -> Any:
    r"""
    $(x_i - y_i)^2$, the squared error.

    Its slope in $x_i$ is $2 (x_i - y_i)$, divided by the number of numbers for the mean (`autograd.power-rule`).

    Parameters
    ----------
    x, y
        Of the same shape; neither is repeated.
    reduction
        `"mean"` over all numbers, `"sum"`, or `"none"`: one for each.

    Returns
    -------
    ndarray or Tensor
        In squares of the unit of `x`.

    Raises
    ------
    ValueError
        If the shapes differ, there is nothing to take the mean of, or the reduction is unknown.

    Examples
    --------
    >>> float(mse(np.array([1.0, 2.0]), np.array([1.0, 5.0])))
    4.5
    """
    _check_reduction(reduction)
    x_shape, y_shape = np.shape(value_of(x)), np.shape(value_of(y))
    if x_shape != y_shape:
        raise ValueError(
            f"mse compares arrays of one shape, got {x_shape} and {y_shape}: repeating one of them would be a mistake "
            "in most programs. Reshape it, or repeat it with broadcast_to"
        )
    if reduction == "mean" and 0 in x_shape:
        raise ValueError(f"the mean of no number does not exist: mse got arrays of shape {x_shape}")
    squares = (x - y) ** 2
    return squares if reduction == "none" else squares.mean() if reduction == "mean" else squares.sum()


# --- the fused operation


def _forward(
    z: np.ndarray, y: np.ndarray, *, weight: Any, smoothing: Real, summed: bool
) -> tuple[Any, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    e, s, at, losses = _exponentials(z, y, smoothing)
    total = np.add.reduce(losses)
    if total != total:
        raise _undefined(z)
    if isinstance(weight, np.ndarray):
        weight = weight.reshape(-1)
        losses = np.where(weight > 0, losses, 0) * weight  # what does not count may be infinite
        total = np.add.reduce(losses)
    else:
        total = total * weight
    return (total if summed else losses.reshape(y.shape)), [(e, s, at)]


def _backward(
    g: Any, out: Any, z: np.ndarray, y: np.ndarray, *, weight: Any, smoothing: Real, summed: bool, saved: list[Any]
) -> np.ndarray:
    """L = l - q.z has the gradient p - q; the exponentials are overwritten by it."""
    e, s, at = saved.pop() if saved else _exponentials(z, y, 0.0)[:3]
    V = z.shape[-1]
    g = np.asarray(g * weight).reshape(-1)  # one number, or one for each row
    e *= (g / s)[:, None]
    e.reshape(-1)[at] -= (1 - smoothing) * g
    if smoothing:
        e -= (smoothing / V) * g[:, None]
    return e if e.shape == z.shape else e.reshape(z.shape)  # a view would be copied once more


def _exponentials(z: np.ndarray, y: np.ndarray, smoothing: Real) -> tuple[np.ndarray, ...]:
    """For each row e^(z - c), their sum, the place of the target among all of them, and the loss (E3)."""
    V = z.shape[-1]
    z = z.reshape(-1, V)
    at = np.arange(0, y.size * V, V) + y.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):  # invalid: inf - inf, reported with the loss
        e = np.exp(z, order="C")
        s, chosen = _row_sums(e), e.take(at)
        if np.maximum.reduce(s, initial=0) <= MODERATE and np.minimum.reduce(chosen, initial=1) >= 1 / MODERATE:
            losses = np.log(s / chosen)
            mean = z.mean(axis=1) if smoothing else None
        else:
            np.subtract(z, z.max(axis=1, keepdims=True), out=e)
            chosen, mean = e.take(at), e.mean(axis=1) if smoothing else None
            np.exp(e, out=e)
            s = _row_sums(e)
            losses = np.log(s) - chosen
    if mean is not None:
        losses = (1 - smoothing) * losses + smoothing * (np.log(s) - mean)
    return e, s, at, losses


def _row_sums(e: np.ndarray) -> np.ndarray:
    """Of many short rows a quarter of the time of e.sum(axis=1); and no BLAS, whose threads would have to wake up."""
    return np.einsum("ij->i", e)


def _unfused(z: Operand, y: np.ndarray, *, weight: Any, smoothing: Real, summed: bool) -> Any:
    """(E1), or (E3)."""
    losses = logsumexp(z, axis=-1) - (1 - smoothing) * _chosen(z, y)
    if smoothing:
        losses = losses - smoothing * z.mean(axis=-1)
    return _weighted(losses, weight, summed)


def _chosen(z: Operand, y: np.ndarray) -> Any:
    """The target's entry of each row."""
    return z.reshape((-1, z.shape[-1]))[np.arange(y.size), y.reshape(-1)].reshape(y.shape)


def _weighted(losses: Any, weight: Any, summed: bool) -> Any:
    if isinstance(weight, np.ndarray):
        losses = where(weight > 0, losses, 0.0)
    losses = losses * weight
    return losses.sum() if summed else losses


_fused = operation("neural.cross_entropy", _forward, (_backward, None), reference=_unfused, fresh=True)


# --- what comes in


def _prepared(
    logits: Operand, targets: Any, smoothing: Real, ignore: int | None, reduction: str
) -> tuple[np.ndarray, Any]:
    """The ids, 0 where they do not count, and the weights of the positions, one number if all have the same."""
    z, y = value_of(logits), np.asarray(value_of(targets))
    if not isinstance(z, np.ndarray) or z.dtype not in (np.float32, np.float64) or not z.ndim or not z.shape[-1]:
        got = f"{z.dtype} of shape {z.shape}" if isinstance(z, np.ndarray | np.generic) else type(z).__name__
        raise TypeError(
            f"logits are an array or tensor of float32 or float64 with at least one token on the last axis, got {got}: "
            "convert them with .astype(np.float32)"
        )
    _check_reduction(reduction)
    if not 0 <= smoothing < 1:
        raise ValueError(f"label_smoothing is a share, at least 0 and below 1, got {smoothing}")
    V = z.shape[-1]
    if y.dtype.kind not in "iu" and y.size:
        raise TypeError(f"targets are the ids of tokens, whole numbers, got {y.dtype}: convert them with .astype(int)")
    if y.shape != z.shape[:-1]:
        raise ValueError(
            f"there is one target for each row of logits: logits of shape {z.shape} need targets of shape "
            f"{z.shape[:-1]}, got {y.shape}"
        )
    counted = None if ignore is None else np.asarray(y != ignore)  # of one position too
    if counted is not None and not counted.all():
        y = np.where(counted, y, 0)
    else:
        counted = None
    ids = y.astype(np.intp, copy=False)
    # below zero is above everything without a sign, so that one pass finds both
    if y.size and int(ids.view(np.uintp).max()) >= V:
        wrong = (y < 0) | (y >= V)
        raise ValueError(
            f"targets are ids from 0 to {V - 1} of the {V} tokens on the last axis of the logits, got "
            f"{y[wrong].flat[0]} at position {tuple(map(int, np.argwhere(wrong)[0]))}. Mark what does not count with "
            "ignore="
        )
    n = y.size if counted is None else int(counted.sum())
    if reduction != "mean":
        return ids, 1.0 if counted is None else counted.astype(z.dtype)
    if not n:
        raise ValueError(
            f"the mean of no loss does not exist: of {y.size} positions none counts"
            + (f", every target is ignore={ignore}" if y.size else "")
        )
    return ids, 1 / n if counted is None else counted.astype(z.dtype) / n


def _check_reduction(reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction is 'mean', 'sum' or 'none', got {reduction!r}")


def _undefined(z: np.ndarray) -> ValueError:
    """Why the loss is not a number."""
    bad = np.isnan(z) | (z == np.inf)
    if not bad.any():
        row = tuple(map(int, np.argwhere((z == -np.inf).all(axis=-1))[0]))
        return ValueError(f"the loss is not a number: all logits at position {row} are -inf, so no token can come")
    at = tuple(map(int, np.argwhere(bad)[0]))
    return ValueError(
        f"the loss is not a number: {int(bad.sum())} of the {z.size} logits are NaN or infinite, the first is {z[at]} "
        f"at {at}. A smaller step size, clipped gradients or smaller first weights keep them finite"
    )
