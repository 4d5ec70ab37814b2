r"""
Test problems: functions whose constants and whose minimum are known.

A theorem about an optimizer speaks of a constant $L$, of another one $\mu$, and of the distance to a minimum. To see it
hold, one needs functions for which these numbers are known and not estimated. This section makes three kinds: quadratic
functions, a valley that is as slow as smooth convex functions get, and logistic regression, which is a language model
with two tokens.

You need: `fp_optim.norms`, the sigmoid and softplus from `fp_autograd.calculus`.

## Quadratic functions

Choose the eigenvalues and turn them: $S = Q \Lambda Q^\top$ with an orthogonal $Q$, and

$$
f(x) = \tfrac12\, (x - x^\star) \cdot S\, (x - x^\star) = \tfrac12 \sum_i \lambda_i c_i^2, \qquad
  c = Q^\top (x - x^\star). \qquad \text{(E1)}
$$

**Claim** `optim.quadratic-constants`. Let $\lambda_1 \ge \dots \ge \lambda_n \ge 0$ and $\lambda_1 > 0$. The gradient
of (E1) is $S (x - x^\star)$ and the smallest value is $0$, at $x^\star$. $\lambda_1$ is the smallest number with which
$f$ is smooth. If $\lambda_n > 0$, it is the largest with which $f$ is strongly convex; if $\lambda_n = 0$, there is
none, but PL holds with the smallest $\lambda_i$ that is positive.

**Proof.** The gradient is $\frac12 (S + S^\top)(x - x^\star)$ by `autograd.trace-gradient`, and $S$ is symmetric. No
term of (E1) is negative, and all vanish at $x^\star$. The Hessian is $S$ everywhere, so `optim.hessian-bounds` gives
the constants, the best ones because it says exactly. For PL let $\mu$ be the smallest positive eigenvalue. In each term
$\lambda_i^2 \ge \mu \lambda_i$, also for $\lambda_i = 0$, and so
$|\nabla f(x)|^2 = |Q \Lambda c|^2 = \sum_i \lambda_i^2 c_i^2 \ge \mu \sum_i \lambda_i c_i^2 = 2 \mu\, f(x)$.
$\blacksquare$

The second form of (E1) has no differences: the value stays exact to a few roundings, down to the smallest numbers.

## A slow valley

The **Huber function** is a parabola for $|x| \le w$ and goes on straight from there:

$$
h(x) = \begin{cases} \frac{L}{2}\, x^2 & |x| \le w \\ L w\, \big( |x| - \frac{w}{2} \big) & |x| > w, \end{cases}
\qquad h'(x) = L \min (w, \max (-w, x)). \qquad \text{(E2)}
$$

**Claim** `optim.huber`. For $L, w > 0$, $h$ has the slope $h'$ of (E2) everywhere. It is convex and smooth with the
constant $L$, no smaller number serves, and it is not strongly convex.

**Proof.** Inside the pieces the slopes are $L x$ and $\pm L w$. At $x = \pm w$ both pieces have the same value
$\frac{L}{2} w^2$ and the same slope $\pm L w$. $h'$ never falls, which is (E6) of `fp_optim.norms`, so $h$ is convex.
Cutting two numbers off at $-w$ and $w$ never takes them farther apart, so $|h'(x) - h'(y)| \le L\, |x - y|$, with
equality between $-w$ and $w$. On the straight parts $h'(y) - h'(x) = 0$, which (E12) of `fp_optim.norms` forbids for
every $\mu > 0$. $\blacksquare$

## Logistic regression

Given are $N$ examples, vectors $a_i \in \mathbb{R}^n$ with labels $y_i = \pm 1$. The model says that the label $y$ of
$a$ has the probability $\sigma(y\, a \cdot w)$, which sums to one over both labels by `autograd.sigmoid-slope`. Its
mean surprisal of the labels, plus a penalty on $w$, is with $\sigma(m)^{-1} = 1 + e^{-m}$

$$
\begin{aligned}
f(w) &= \frac1N \sum_i \operatorname{softplus}(-m_i) + \frac{\lambda}{2}\, |w|^2, \qquad m_i = y_i\, (a_i \cdot w),
  &\text{(E3)} \\
\nabla f(w) &= -\frac1N \sum_i y_i\, \sigma(-m_i)\, a_i + \lambda w, &\text{(E4)} \\
H(w) &= \frac1N \sum_i \sigma(m_i)\, \sigma(-m_i)\, a_i a_i^\top + \lambda I. &\text{(E5)}
\end{aligned}
$$

**Claim** `optim.logistic-constants`. (E4) and (E5) are the gradient and the Hessian of (E3). Let $\ell$ be the largest
eigenvalue of $\frac1N \sum_i a_i a_i^\top$, some $a_i \ne 0$ and $\lambda \ge 0$. Then $f$ is convex, and
$L = \frac14 \ell + \lambda$ is the smallest number with which it is smooth. If $\lambda > 0$ it is strongly convex with
the constant $\lambda$; if moreover no $a_i$ is zero, no larger number serves.

**Proof.** Softplus has the slope $\sigma$ and $\sigma$ the slope $\sigma(m)\, \sigma(-m)$, by `autograd.softplus-slope`
and `autograd.sigmoid-slope`; with `autograd.jacobian-chain`, as $m_i$ has the gradient $y_i a_i$ and $y_i^2 = 1$, these
give (E4) and (E5). For $|u| = 1$

$$u \cdot H(w)\, u = \frac1N \sum_i \sigma(m_i)\, \sigma(-m_i)\, (a_i \cdot u)^2 + \lambda. \qquad \text{(E6)}$$

The products of sigmoids lie in $(0, \frac14]$, so (E6) lies between $\lambda$ and
$\frac14 \cdot \frac1N \sum_i (a_i \cdot u)^2 + \lambda \le \frac14 \ell + \lambda$, by `optim.spectral-norm`. By
`optim.hessian-bounds` $f$ is convex, smooth with $L$, and strongly convex with $\lambda > 0$. At $w = 0$ all products
are $\frac14$, and the eigenvector of $\ell$ makes (E6) equal to $L$: no smaller number serves. Last, if no $a_i$ is
zero, some $v$ has $a_i \cdot v \ne 0$ for all $i$: of the vectors $v = (1, s, s^2, \dots, s^{n-1})$ each $a_i$ excludes
those whose $s$ is a zero of a polynomial that is not zero, finitely many. At $w = t v$ all $|m_i|$ grow without bound
with $t$, the products tend to $0$, and (E6) tends to $\lambda$. $\blacksquare$

**Claim** `optim.separable`. Let $\lambda = 0$, and let some $v$ have $y_i\, (a_i \cdot v) > 0$ for all $i$. Then $f$
has no minimum: it comes as near to $0$ as anyone asks, and is positive everywhere.

**Proof.** Softplus is positive. At $w = t v$, $m_i = t\, y_i\, (a_i \cdot v)$ grows without bound with $t$, so all
$\operatorname{softplus}(-m_i) = \ln (1 + e^{-m_i}) \to 0$. $\blacksquare$

So a model that can be right about all of its examples is driven to be surer and surer, and its weights grow for ever.
The penalty stops that: with $\lambda > 0$ there is exactly one minimum, by `optim.strong-convexity`.

## The minimum, to the last digit

There is no formula for the minimum of (E3). **Newton's step** goes to the minimum of the parabola that has the value,
the slope and the curvature of $f$ at $w$. With $g = \nabla f(w)$, the parabola $f(w) + g \cdot d + \frac12 d \cdot H d$
has the gradient $g + H d$ in $d$, so the step is

$$w \leftarrow w - t\, H(w)^{-1} g, \qquad \text{(E7)}$$

with $t = 1$, or half of it, a quarter and so on, until for the first time

$$f(w - t\, H^{-1} g) \le f(w) - \tfrac{t}{4}\; g \cdot H^{-1} g. \qquad \text{(E8)}$$

**Claim** `optim.newton-halving`. Let $f$ have continuous partial derivatives up to order two, and let all eigenvalues
of all its Hessians lie in $[\mu, L]$, $\mu > 0$. Then (E8) is met by a $t \ge \frac{3 \mu}{4 L}$, and each step (E7)
brings $f - f^\star$ down to at most $1 - \frac38 \big( \frac{\mu}{L} \big)^2$ of what it was.

**Proof.** By `optim.hessian-bounds` $f$ is strongly convex, so there is an $f^\star$, and smooth. $H$ has no eigenvalue
zero, so $d = H^{-1} g$ exists, and $g \cdot d = d \cdot H d \ge \mu\, |d|^2$ by `optim.spectral-norm`. By
`optim.hessian-bounds` and `optim.smooth-bound`

$$
f(w - t d) \le f(w) - t\, g \cdot d + \tfrac{L}{2} t^2 |d|^2
  \le f(w) - t\, \big( 1 - \tfrac{L t}{2 \mu} \big)\, g \cdot d.
$$

For $t \le \frac{3 \mu}{2 L}$ the bracket is at least $\frac14$, which is (E8). If $t = 1$ does not meet (E8), the first
$t$ that does is more than half of $\frac{3 \mu}{2 L}$, since twice that $t$ failed; and $\mu \le L$. The inverse of $H$
has the eigenvalues $1 / \lambda_i \ge \frac1L$, so $g \cdot H^{-1} g \ge \frac1L |g|^2$, and by (E13) of
`fp_optim.norms` $|g|^2 \ge 2 \mu\, (f(w) - f^\star)$. So $f$ falls by at least
$\frac14 \cdot \frac{3 \mu}{4 L} \cdot \frac1L \cdot 2 \mu\, (f(w) - f^\star)$. $\blacksquare$

This proves that it arrives; it does so much faster, which is seen here and not proven. Near the minimum the parabola
*is* the function, nearly, and each step squares the error. From $w = 0$ the gradients have the lengths

>>> problem = logistic_regression(*logistic_data(np.random.default_rng(0)), penalty=1e-3)
>>> path = newton(problem.f, problem.grad, problem.hessian, np.zeros(7))
>>> [f"{np.linalg.norm(problem.grad(w)):.0e}" for w in path[:5]]
['1e-01', '1e-02', '3e-04', '4e-07', '6e-13']

Nobody needs to believe that the last point is the minimum. The gradient there proves it: by (E13) of `fp_optim.norms`
the true one is no farther away than

>>> bool(np.linalg.norm(problem.grad(problem.minimiser)) / problem.mu < 1e-12)
True

## In practice

Newton's step is affine: scale the coordinates, and it scales with them. So the condition number, which rules all of the
rest of this chapter, does not matter to it. But $H$ of a model with $n$ parameters has $n^2$ entries, and the step
takes about $n^3$ operations: ten thousand parameters is where it ends. Shampoo and K-FAC keep small factors of an
approximation of $H$, and Muon (`fp_optim.muon`) is a relative of theirs.

Libraries write (E3) as a sum with a factor $C = 1 / (N \lambda)$ before it. The intercept, which they leave out of the
penalty, is left out here altogether.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fp_optim.norms import spectral_norm

__all__ = ["Problem", "quadratic", "huber", "LogisticRegression", "logistic_data", "logistic_regression", "newton"]

Vector = Float[np.ndarray, " n"]
Matrix = Float[np.ndarray, "n n"]
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Problem:
    """
    A convex function with what the theorems ask for.

    Attributes
    ----------
    f, grad, hessian
        Value, gradient and Hessian at a point.
    L
        The smallest constant with which the function is smooth.
    mu
        The largest constant with which it is strongly convex, 0 if there is none.
    minimiser
        Where it is smallest; one such point, if there are several.
    minimum
        The value there.
    """

    f: Callable[[Vector], float]
    grad: Callable[[Vector], Vector]
    hessian: Callable[[Vector], Matrix]
    L: float
    mu: float
    minimiser: Vector
    minimum: float

    @property
    def condition(self) -> float:
        """L / mu, infinite if the function is not strongly convex."""
        return self.L / self.mu if self.mu else float("inf")

    def gaps(self, trajectory: Float[np.ndarray, "steps n"]) -> Float[np.ndarray, " steps"]:
        """How far the value is above the minimum, at each of many points; below zero only by rounding."""
        return np.array([self.f(x) for x in trajectory]) - self.minimum


def quadratic(
    eigenvalues: Float[np.ndarray, " n"], rng: np.random.Generator | None = None, minimiser: Vector | None = None
) -> Problem:
    r"""
    The quadratic function (E1) with a given spectrum.

    Parameters
    ----------
    eigenvalues
        None negative, one positive, in any order.
    rng
        Draws the eigenvectors, as the columns of an orthogonal matrix; the coordinate axes if not given.
    minimiser
        $x^\star$; zero if not given.

    Returns
    -------
    Problem
        With the value 0 at its minimum.

    Raises
    ------
    ValueError
        If an eigenvalue is negative or not finite, or none is positive, or sizes differ.

    Examples
    --------
    >>> bowl = quadratic(np.array([4.0, 1.0]))
    >>> bowl.f(np.array([1.0, 2.0])), bowl.grad(np.array([1.0, 2.0])), bowl.condition
    (4.0, array([4., 2.]), 4.0)
    """
    n = len(eigenvalues)
    if not (np.isfinite(eigenvalues).all() and eigenvalues.min(initial=0.0) >= 0 and eigenvalues.max(initial=0.0) > 0):
        raise ValueError(f"eigenvalues must be finite and not negative, and one of them positive, got {eigenvalues}")
    centre = np.zeros(n) if minimiser is None else minimiser.copy()
    if centre.shape != (n,):
        raise ValueError(f"a minimiser for {n} eigenvalues has the shape ({n},), got {centre.shape}")
    Q = np.eye(n) if rng is None else np.linalg.qr(rng.normal(size=(n, n)))[0]
    S = Q * eigenvalues @ Q.T
    S = (S + S.T) / 2  # symmetric to the bit
    return Problem(
        f=lambda x: float(eigenvalues @ (Q.T @ (x - centre)) ** 2) / 2,
        grad=lambda x: Q @ (eigenvalues * (Q.T @ (x - centre))),
        hessian=lambda x: S,
        L=float(eigenvalues.max()),
        mu=float(eigenvalues.min()),
        minimiser=centre,
        minimum=0.0,
    )


def huber(width: float | int, L: float | int = 1.0) -> Problem:
    """
    The Huber function (E2) of one variable.

    Parameters
    ----------
    width
        $w$, where the parabola ends; positive.
    L
        The curvature of the parabola, positive.

    Returns
    -------
    Problem
        Of vectors with one entry. Its Hessian at the two corners of the slope is that of the parabola.

    Raises
    ------
    ValueError
        If a number is not positive and finite.

    Examples
    --------
    >>> valley = huber(1.0)
    >>> valley.f(np.array([0.5])), valley.f(np.array([3.0])), valley.grad(np.array([3.0]))
    (0.125, 2.5, array([1.]))
    """
    for name, value in (("width", width), ("L", L)):
        if not (0 < value < float("inf")):
            raise ValueError(f"{name} must be positive and finite, got {value}")

    def f(x: Vector) -> float:
        size = abs(float(x[0]))
        return float(L / 2 * size**2 if size <= width else L * width * (size - width / 2))

    return Problem(
        f=f,
        grad=lambda x: L * np.clip(x, -width, width),
        hessian=lambda x: np.array([[float(L) if abs(x[0]) <= width else 0.0]]),
        L=float(L),
        mu=0.0,
        minimiser=np.zeros(1),
        minimum=0.0,
    )


@dataclass(frozen=True)
class LogisticRegression(Problem):
    """
    Logistic regression (E3), made by `logistic_regression`; it knows its examples, for gradients of batches.

    Attributes
    ----------
    A
        One example a row.
    y
        Their labels, 1 or -1.
    penalty
        $\\lambda$.
    """

    A: Float[np.ndarray, "N n"]
    y: Float[np.ndarray, " N"]
    penalty: float

    def batch_grad(self, w: Vector, batch: Int[np.ndarray, " B"]) -> Vector:
        """The gradient (E4) with a mean over the examples of these numbers only, and the whole penalty."""
        return _logistic_grad(self.A[batch], self.y[batch], self.penalty, w)


def logistic_data(
    rng: np.random.Generator, n_examples: int = 211, n_features: int = 7
) -> tuple[Float[np.ndarray, "N n"], Float[np.ndarray, " N"]]:
    """
    Examples that a logistic model drew itself, so that they are not separable once there are many.

    Parameters
    ----------
    rng
        Draws the examples, the true weights and the labels.
    n_examples, n_features
        At least one of each. The features are normal, with deviations that fall from 1 to 0.1.

    Returns
    -------
    A : ndarray
        One example a row.
    y : ndarray
        Their labels, 1.0 or -1.0.

    Raises
    ------
    ValueError
        If there is no example or no feature.

    Examples
    --------
    >>> A, y = logistic_data(np.random.default_rng(0))
    >>> A.shape, sorted(set(y.tolist()))
    ((211, 7), [-1.0, 1.0])
    """
    if n_examples < 1 or n_features < 1:
        raise ValueError(f"there must be an example and a feature, got {n_examples} and {n_features}")
    A = rng.normal(size=(n_examples, n_features)) * np.geomspace(1.0, 0.1, n_features)
    w = rng.normal(size=n_features)
    return A, np.where(rng.random(n_examples) < _sigmoid(A @ w), 1.0, -1.0)


def logistic_regression(
    A: Float[np.ndarray, "N n"], y: Float[np.ndarray, " N"], penalty: float | int
) -> LogisticRegression:
    """
    Logistic regression (E3) with its constants, and its minimum by Newton's method.

    Parameters
    ----------
    A
        One example a row, finite, not all of them zero.
    y
        Their labels, 1 or -1.
    penalty
        $\\lambda$, positive.

    Returns
    -------
    LogisticRegression
        With `minimiser` to the last digits: the gradient there, divided by $\\lambda$, bounds the error.

    Raises
    ------
    ValueError
        If a label, an example or the penalty is not as said.

    Examples
    --------
    One example, $\\operatorname{softplus}(-w) + \\frac12 w^2$, is smallest where $w = \\sigma(-w)$:

    >>> problem = logistic_regression(np.array([[1.0]]), np.array([1.0]), penalty=1.0)
    >>> w = float(problem.minimiser[0])
    >>> round(w, 6), problem.L, problem.mu
    (0.401058, 1.25, 1.0)
    >>> bool(abs(w - 1 / (1 + np.exp(w))) < 1e-15)
    True
    """
    if not 0 < penalty < float("inf"):
        raise ValueError(
            f"the penalty must be positive and finite, got {penalty}; without one, data that can be separated have no "
            f"minimum"
        )
    if not np.isin(y, (-1, 1)).all():
        raise ValueError(f"labels must be 1 or -1, got {y[~np.isin(y, (-1, 1))][0]}")
    if A.ndim != 2 or len(A) != len(y) or not (np.isfinite(A).all() and A.any()):
        raise ValueError(
            f"examples must be finite rows, not all zero, one for each of {len(y)} labels; got shape {A.shape}"
        )
    N, n = A.shape

    def f(w: Vector) -> float:
        return float(np.logaddexp(0.0, -y * (A @ w)).mean() + penalty / 2 * (w @ w))  # (E3)

    def grad(w: Vector) -> Vector:
        return _logistic_grad(A, y, penalty, w)

    def hessian(w: Vector) -> Matrix:
        m = A @ w
        return A.T @ (A * (_sigmoid(m) * _sigmoid(-m))[:, None]) / N + penalty * np.eye(n)  # (E5)

    minimiser = newton(f, grad, hessian, np.zeros(n))[-1]
    L = spectral_norm(A) ** 2 / (4 * N) + penalty  # the eigenvalues of A^T A are squares of singular values
    return LogisticRegression(f, grad, hessian, L, float(penalty), minimiser, f(minimiser), A, y, float(penalty))


def newton(
    f: Callable[[Vector], float],
    grad: Callable[[Vector], Vector],
    hessian: Callable[[Vector], Matrix],
    x0: Vector,
    max_steps: int = 100,
) -> Float[np.ndarray, "steps n"]:
    """
    Newton's method (E7), each step halved until it meets (E8), as far as rounding lets it go.

    Parameters
    ----------
    f, grad, hessian
        Value, gradient and Hessian, all eigenvalues of which are positive.
    x0
        Where to start.
    max_steps
        When to give up.

    Returns
    -------
    ndarray
        The points, from `x0` on. The last one has the shortest gradient: from there no step shortened it.

    Raises
    ------
    RuntimeError
        If `max_steps` are taken and gradients still get shorter.

    Examples
    --------
    On a parabola one step arrives:

    >>> bowl = quadratic(np.array([100.0, 1.0]), minimiser=np.array([2.0, 3.0]))
    >>> newton(bowl.f, bowl.grad, bowl.hessian, np.zeros(2))[1]
    array([2., 3.])
    """
    path = [x0]
    while len(path) <= max_steps:
        x, g = path[-1], grad(path[-1])
        d = np.linalg.solve(hessian(x), g)
        fall = float(g @ d)
        value, t = f(x), 1.0
        slack = 8 * EPSILON * abs(value)  # what rounding can hide of the fall of f
        while f(x - t * d) > value - t / 4 * fall + slack:
            t /= 2
        after = x - t * d
        settled = fall / 4 <= slack or np.linalg.norm(d) <= 4 * EPSILON * np.linalg.norm(x)
        if settled and np.linalg.norm(grad(after)) >= np.linalg.norm(g):
            return np.array(path)
        path.append(after)
    raise RuntimeError(
        f"after {max_steps} steps the gradient has the length {np.linalg.norm(grad(path[-1])):g} and still falls; "
        f"allow more steps, or check that the Hessian is that of f"
    )


def _sigmoid(m: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    return np.exp(-np.logaddexp(0.0, -m))  # overflows for no m


def _logistic_grad(A: np.ndarray, y: np.ndarray, penalty: float | int, w: np.ndarray) -> np.ndarray:
    return -A.T @ (y * _sigmoid(-y * (A @ w))) / len(y) + penalty * w  # (E4)
