r"""
Surfaces: five landscapes of two variables on which optimizers can be watched.

A model's loss has millions of variables and cannot be looked at. With two variables one sees what goes wrong: a path
that zigzags between walls, one that stops where nothing is to be found, one that leaps out of the picture. What are the
simplest functions that show it, and what exactly do they have to offer?

You need: `fp_optim.norms`, `fp_optim.descent`, `fp_optim.problems` for quadratic functions.

## The bowl and the ravine

$$
f(x, y) = \tfrac12 (x^2 + y^2), \qquad f(x, y) = \tfrac12 \big( \tfrac{1}{25}\, x^2 + 2\, y^2 \big). \qquad \text{(E1)}
$$

Both are quadratic, and `optim.quadratic-constants` says all of them: $L = \mu = 1$ in the bowl, where a step of
gradient descent at the rate $1$ goes straight to the minimum; $L = 2$ and $\mu = \frac{1}{25}$ in the ravine, of the
condition number $50$. There the rate has to respect the steep walls, and along the floor it is far too small.

The ravine runs along an axis, which is a gift to rules that treat each coordinate by itself. So it is given a second
time, turned: `turned` replaces $f$ by $f_Q(w) = f(Q^\top w)$ with a rotation $Q$ (`neural.orthogonal-matrix`).

**Claim** `optim.turned-paths`. Let a rule make $w_{t+1} = w_0 - \sum_{s \le t} c_{t,s}\, g_s$ with numbers $c_{t,s}$
that do not depend on the gradients $g_s = \nabla f(w_s)$. Then, started at $Q w_0$ on $f_Q$, it makes the points
$Q w_t$. At fixed rates gradient descent and momentum, with or without Nesterov's correction, are such rules. Sign
descent, $w_{t+1} = w_t - \eta \operatorname{sign} g_t$ in each coordinate, is not.

**Proof.** By `autograd.jacobian-chain` $\nabla f_Q(w) = Q\, \nabla f(Q^\top w)$. If the points up to $t$ are $Q w_s$,
the gradients are $Q\, \nabla f(Q^\top Q w_s) = Q g_s$, and the next point is
$Q w_0 - \sum_s c_{t,s}\, Q g_s = Q w_{t+1}$. A momentum buffer is a sum of gradients with such numbers, and a step of
momentum combines buffer and gradient with such numbers. Last, let $g_0 = (1, 0)$, and let $Q$ turn by 45 degrees. Both
entries of $Q g_0$ are positive, so sign descent's first step from $Q w_0$ has the length $\sqrt 2\, \eta$; the one from
$w_0$, turned, has the length $\eta$, as $\operatorname{sign} 0 = 0$. $\blacksquare$

## Two wells and the pass between them

$$f(x, y) = \tfrac12 x^2 + \tfrac14 (y^2 - 1)^2. \qquad \text{(E2)}$$

**Claim** `optim.two-wells`. The gradient of (E2) is zero at $(0, 1)$, $(0, -1)$ and $(0, 0)$ only. The first two are
its minimisers, with the value $0$; at the third the Hessian has the eigenvalues $1$ and $-1$.

**Proof.** The gradient is $\big( x,\; y (y^2 - 1) \big)$, zero where $x = 0$ and $y$ is $0$, $1$ or $-1$. (E2) is a sum
of squares and zero only where $x = 0$ and $y^2 = 1$. The Hessian is diagonal with the entries $1$ and $3 y^2 - 1$; at
$y = 0$ the second is $-1$. $\blacksquare$

A point like $(0, 0)$ is a **saddle**: a minimum in one direction, a maximum in another.

**Claim** `optim.saddle-leave`. Let gradient descent on (E2) have a constant rate $0 < \eta \le \frac12$. From
$y_0 = 0$ it tends to the saddle. From $0 < y_0 \le 1$ it tends to $(0, 1)$, but takes at least
$\ln \frac{1}{2 y_0} / \ln (1 + \eta)$ steps to reach a $y_t \ge \frac12$.

**Proof.** $x_{t+1} = (1 - \eta)\, x_t$ and $y_{t+1} = \varphi(y_t)$ with $\varphi(y) = y\, (1 + \eta - \eta y^2)$; so
$x_t \to 0$, and $y_t = 0$ for ever if $y_0 = 0$. On $[0, 1]$ the slope $\varphi'(y) = 1 + \eta - 3 \eta y^2$ is at
least $1 - 2 \eta \ge 0$, so $\varphi$ never falls there (`markov.slope-bound`), and $\varphi(1) = 1$: no $y_t$ exceeds
$1$. As $\varphi(y) - y = \eta\, y\, (1 - y^2) \ge 0$, the $y_t$ never fall. So $y_t \ge y_0$, and
$1 - \varphi(y) = (1 - y) \big( 1 - \eta\, y\, (1 + y) \big) \le (1 - y) (1 - \eta y_0)$ for $y_0 \le y \le 1$: the
distance to $1$ shrinks by a fixed factor below $1$ at least, and tends to $0$. Last,
$\varphi(y) \le (1 + \eta)\, y$, so $y_t \le (1 + \eta)^t y_0$, and $y_t \ge \frac12$ needs
$(1 + \eta)^t \ge \frac{1}{2 y_0}$; take logarithms (`markov.log-product`). $\blacksquare$

On quadratic functions nearly every start leaves the saddle (`optim.saddle-escape`), and here too; but from close by it
takes long, as each halving of $y_0$ costs the same number of steps again. What the claim asks for at the rate $0.1$,
from a millionth, and what it takes:

>>> import math
>>> from fp_optim.optimizer import SGD
>>> path = trajectory(TWO_WELLS, lambda p: SGD(p, lr=0.1), n_steps=300, start=(1.0, 1e-6))
>>> math.ceil(math.log(0.5e6) / math.log(1.1)), int(np.argmax(path[:, 1] >= 0.5))
(138, 139)

## Rosenbrock's valley

$$f(x, y) = (1 - x)^2 + 100\, (y - x^2)^2. \qquad \text{(E3)}$$

**Claim** `optim.rosenbrock`. $f \ge 0$, and the only point with $f = 0$ is $(1, 1)$, which is also the only one where
the gradient is zero. There the Hessian has the eigenvalues $501 \pm \sqrt{250\,601}$. $f$ is not convex.

**Proof.** A sum of two squares is zero only if both are: $x = 1$ and $y = x^2 = 1$. The gradient is
$\big( {-2} (1 - x) - 400\, x\, (y - x^2),\; 200\, (y - x^2) \big)$. If its second entry is zero, the first is
$-2 (1 - x)$, and this is zero only at $x = 1$, where $y = 1$. The Hessian is

$$
\begin{pmatrix} 2 - 400 y + 1200 x^2 & -400 x \\ -400 x & 200 \end{pmatrix}, \qquad \text{at } (1, 1): \quad
\begin{pmatrix} 802 & -400 \\ -400 & 200 \end{pmatrix}.
$$

Its eigenvalues have the sum $1002$ and the product $802 \cdot 200 - 400^2 = 400$: they solve
$\lambda^2 - 1002\, \lambda + 400 = 0$, so $\lambda = 501 \pm \sqrt{501^2 - 400}$. At $(0, 1)$ the Hessian is diagonal
with the entry $2 - 400 < 0$, an eigenvalue that no convex function has (`optim.hessian-bounds`). $\blacksquare$

So the valley's floor is the parabola $y = x^2$, its walls are steep, and at its end the condition number is

>>> low, high = np.linalg.eigvalsh(ROSENBROCK.hessian(np.array([1.0, 1.0])))
>>> round(float(high / low))
2508

## Beale's function

$$
f(x, y) = \sum_{i=1}^{3} r_i^2, \qquad r_i = c_i - x\, (1 - y^i), \qquad c = (1.5,\; 2.25,\; 2.625). \qquad \text{(E4)}
$$

**Claim** `optim.beale`. $f \ge 0$, and $f = 0$ only at $(3, \frac12)$. On the lines $x = 0$ and $y = 1$ it has the
constant value $14.203125$, and where they cross, at $(0, 1)$, the gradient is zero and the Hessian has the eigenvalues
$\pm 27.75$.

**Proof.** $f = 0$ needs all $r_i = 0$. From $x\, (1 - y) = 1.5 \ne 0$ and
$2.25 = x\, (1 - y^2) = x\, (1 - y)(1 + y) = 1.5\, (1 + y)$ follow $y = \frac12$ and $x = 3$; and
$3\, (1 - \frac18) = 2.625$, as the third asks. If $x = 0$ or $y = 1$, $r_i = c_i$, and
$1.5^2 + 2.25^2 + 2.625^2 = 14.203125$. Now $\partial_x r_i = y^i - 1$ and $\partial_y r_i = i\, x\, y^{i-1}$ vanish at
$(0, 1)$, and so does the gradient $2 \sum_i r_i \nabla r_i$. What is left of the Hessian there is
$2 \sum_i c_i\, H_i$ with $H_i$ that of $r_i$: its entries are $\partial_x \partial_x r_i = 0$,
$\partial_x \partial_y r_i = i\, y^{i-1} = i$ and $\partial_y \partial_y r_i = i (i - 1)\, x\, y^{i-2} = 0$. So it is
$\begin{pmatrix} 0 & h \\ h & 0 \end{pmatrix}$ with $h = 2\, (1.5 + 4.5 + 7.875) = 27.75$, and the eigenvectors
$(1, \pm 1)$. $\blacksquare$

A plateau around the crossing lines, walls like the sixth power of $y$ outside, and a narrow valley to the minimum.

## Paths

Each optimizer below has the rate that served it best (`fp_optim.race`), all start from the same point, and all make the
same number of steps. The contour lines are at quantiles of the value, so that equal areas lie between them.

<!-- figure: surfaces -->

## In practice

Two variables mislead as well. In a million, walls and floors of a thousand different slopes meet at once, minima are
rarely isolated points, and of the many directions at a critical point a few nearly always lead down. What carries over
is scale: rates are limited by the steepest direction and progress by the flattest.

References: H. Rosenbrock, 1960; E. Beale, 1958.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from fp_optim._contours import Line, contour_lines
from fp_optim.optimizer import Optimizer

__all__ = [  # the order of the page
    "Surface",
    "BOWL",
    "RAVINE",
    "TWO_WELLS",
    "ROSENBROCK",
    "BEALE",
    "SURFACES",
    "turned",
    "trajectory",
    "contours",
]

Points = Float[np.ndarray, "*points 2"]
Values = np.ndarray | np.floating  # a single point has a single value
FAR = 1e6  # where a path is given up: everything up to there is computed without overflow


@dataclass(frozen=True)
class Surface:
    """
    A function of two variables.

    Attributes
    ----------
    name
        In plain words.
    formula
        In plain text.
    f, grad, hessian
        From points (one, or an array of them, the last axis being x and y) to values, gradients and Hessians.
    minimisers
        All points where it is smallest.
    minimum
        The value there.
    domain
        The ends of x and those of y between which it is drawn; seven to five, as the pictures are.
    start
        A point from which the way is instructive.
    """

    name: str
    formula: str
    f: Callable[[Points], Any]
    grad: Callable[[Points], np.ndarray]
    hessian: Callable[[Points], np.ndarray]
    minimisers: tuple[tuple[float, float], ...]
    minimum: float
    domain: tuple[tuple[float, float], tuple[float, float]]
    start: tuple[float, float]


def _split(w: np.ndarray) -> tuple[Values, Values]:
    return w[..., 0], w[..., 1]


def _symmetric(xx: Values, xy: Values, yy: Values) -> np.ndarray:
    xx, xy, yy = np.broadcast_arrays(xx, xy, yy)
    return np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2)


def _quadratic(a: float, b: float) -> dict[str, Callable[[np.ndarray], Any]]:
    """Half of a x^2 + b y^2."""
    curvatures = np.array([a, b])
    return {
        "f": lambda w: (curvatures * w**2).sum(axis=-1) / 2,
        "grad": lambda w: curvatures * w,
        "hessian": lambda w: np.broadcast_to(np.diag(curvatures), (*w.shape, 2)),
    }


def _two_wells_hessian(w: np.ndarray) -> np.ndarray:
    x, y = _split(w)
    return _symmetric(np.ones_like(x), np.zeros_like(x), 3 * y**2 - 1)


def _rosenbrock(w: np.ndarray) -> Values:
    x, y = _split(w)
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def _rosenbrock_grad(w: np.ndarray) -> np.ndarray:
    x, y = _split(w)
    return np.stack([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)], -1)


def _rosenbrock_hessian(w: np.ndarray) -> np.ndarray:
    x, y = _split(w)
    return _symmetric(2 - 400 * y + 1200 * x**2, -400 * x, np.full_like(x, 200.0))


_C, _I = np.array([1.5, 2.25, 2.625]), np.array([1.0, 2.0, 3.0])


def _beale_parts(w: np.ndarray) -> tuple[np.ndarray, ...]:
    """The residuals (E4) on a last axis, their two slopes, and x and y."""
    x, y = w[..., 0, None], w[..., 1, None]
    return _C - x * (1 - y**_I), y**_I - 1, _I * x * y ** (_I - 1), x, y


def _beale_grad(w: np.ndarray) -> np.ndarray:
    r, rx, ry, _, _ = _beale_parts(w)
    return 2 * np.stack([(r * rx).sum(-1), (r * ry).sum(-1)], -1)


def _beale_hessian(w: np.ndarray) -> np.ndarray:
    r, rx, ry, x, y = _beale_parts(w)
    rxy, ryy = _I * y ** (_I - 1), np.concatenate([np.zeros_like(y), 2 * x * np.ones_like(y), 6 * x * y], -1)
    return 2 * _symmetric((rx**2).sum(-1), (rx * ry + r * rxy).sum(-1), (ry**2 + r * ryy).sum(-1))


BOWL = Surface(
    name="bowl",
    formula="(x^2 + y^2) / 2",
    **_quadratic(1.0, 1.0),
    minimisers=((0.0, 0.0),),
    minimum=0.0,
    domain=((-2.1, 2.1), (-1.5, 1.5)),
    start=(-1.6, 1.2),
)
RAVINE = Surface(
    name="ravine",
    formula="(x^2 / 25 + 2 y^2) / 2",
    **_quadratic(1 / 25, 2.0),
    minimisers=((0.0, 0.0),),
    minimum=0.0,
    domain=((-5.0, 2.0), (-2.5, 2.5)),
    start=(-4.5, 0.9),
)
TWO_WELLS = Surface(
    name="saddle",
    formula="x^2 / 2 + (y^2 - 1)^2 / 4",
    f=lambda w: w[..., 0] ** 2 / 2 + (w[..., 1] ** 2 - 1) ** 2 / 4,
    grad=lambda w: np.stack([w[..., 0], w[..., 1] * (w[..., 1] ** 2 - 1)], -1),
    hessian=_two_wells_hessian,
    minimisers=((0.0, 1.0), (0.0, -1.0)),
    minimum=0.0,
    domain=((-2.38, 2.38), (-1.7, 1.7)),
    start=(-1.7, 0.001),
)
ROSENBROCK = Surface(
    name="Rosenbrock",
    formula="(1 - x)^2 + 100 (y - x^2)^2",
    f=_rosenbrock,
    grad=_rosenbrock_grad,
    hessian=_rosenbrock_hessian,
    minimisers=((1.0, 1.0),),
    minimum=0.0,
    domain=((-1.89, 1.89), (-0.6, 2.1)),
    start=(-1.2, 1.0),
)
BEALE = Surface(
    name="Beale",
    formula="(1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2",
    f=lambda w: (_beale_parts(w)[0] ** 2).sum(-1),
    grad=_beale_grad,
    hessian=_beale_hessian,
    minimisers=((3.0, 0.5),),
    minimum=0.0,
    domain=((-1.0, 4.46), (-1.9, 2.0)),
    start=(0.6, 1.5),
)


def turned(surface: Surface, degrees: float | int) -> Surface:
    """
    The surface turned about the origin, counterclockwise; its domain is drawn as before.

    Examples
    --------
    >>> hill = turned(RAVINE, 90)
    >>> [round(float(hill.f(np.array(w))), 9) for w in ((1.0, 0.0), (0.0, 1.0))], hill.name
    ([1.0, 0.02], 'turned ravine')
    """
    angle = np.deg2rad(degrees)
    Q = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Surface(
        name=f"turned {surface.name}",
        formula=f"{surface.formula}, turned by {degrees} degrees",
        f=lambda w: surface.f(w @ Q),  # the row w @ Q is Q^T w
        grad=lambda w: surface.grad(w @ Q) @ Q.T,
        hessian=lambda w: Q @ surface.hessian(w @ Q) @ Q.T,
        minimisers=tuple((float(x), float(y)) for x, y in np.array(surface.minimisers) @ Q.T),
        minimum=surface.minimum,
        domain=surface.domain,
        start=(float((Q @ surface.start)[0]), float((Q @ surface.start)[1])),
    )


SURFACES = {surface.name: surface for surface in (BOWL, RAVINE, turned(RAVINE, 20), TWO_WELLS, ROSENBROCK, BEALE)}
"""All of them, by name, from the easiest on."""


def trajectory(
    surface: Surface,
    make_optimizer: Callable[[Mapping[str, np.ndarray]], Optimizer],
    n_steps: int,
    start: tuple[float, float] | None = None,
) -> Float[np.ndarray, "points 2"]:
    """
    The points that an optimizer visits.

    Parameters
    ----------
    surface
        Where it walks.
    make_optimizer
        From named parameters to an optimizer of them; here there is one array of two float64 numbers, `w`.
    n_steps
        At most so many steps; not negative.
    start
        The first point; that of the surface if not given.

    Returns
    -------
    ndarray
        At most `n_steps` + 1 points, the start first. It ends before a point with a coordinate beyond a million.

    Raises
    ------
    ValueError
        If the number of steps is negative.

    Examples
    --------
    >>> from fp_optim.optimizer import SGD
    >>> trajectory(BOWL, lambda p: SGD(p, lr=0.5), n_steps=2, start=(4.0, -2.0)).tolist()
    [[4.0, -2.0], [2.0, -1.0], [1.0, -0.5]]

    Ten times farther with every step:

    >>> len(trajectory(BOWL, lambda p: SGD(p, lr=11.0), n_steps=100))
    6
    """
    if n_steps < 0:
        raise ValueError(f"n_steps must not be negative, got {n_steps}")
    w = np.array(surface.start if start is None else start, dtype=np.float64)
    optimizer = make_optimizer({"w": w})
    points = [w.copy()]
    for _ in range(n_steps):
        optimizer.step({"w": surface.grad(w)})
        if not (np.abs(w) <= FAR).all():
            break
        points.append(w.copy())
    return np.array(points)


def contours(surface: Surface, n_levels: int = 12, n_points: int = 121) -> dict[float, list[Line]]:
    """
    Contour lines of a surface, at values between which equal areas of its domain lie.

    Parameters
    ----------
    surface
        What to draw.
    n_levels
        How many values.
    n_points
        Grid points along each axis.

    Returns
    -------
    dict
        From value, rising, to lines; a line is a list of points, and a ring ends with its first.

    Examples
    --------
    >>> lines = contours(BOWL, n_levels=4)
    >>> [(round(level, 2), len(rings)) for level, rings in lines.items()]
    [(0.25, 1), (0.76, 1), (1.3, 2), (2.12, 2)]
    """
    x, y = (np.linspace(*ends, n_points) for ends in surface.domain)
    values = surface.f(np.stack(np.meshgrid(x, y), -1))
    levels = np.quantile(values, (np.arange(n_levels) + 0.5) / n_levels)
    return {level: contour_lines(values, x, y, level) for level in levels.tolist()}
