r"""
Rotations: turning the plane by an angle.

Order is the one thing attention does not see by itself. The ways to show it that this chapter studies next let a
position turn points of the plane. What does a turn keep, what do two turns make, and how large can a sum of many turned
points become?

You need: linear maps and matrices from `fp_autograd.linear_algebra`, orthogonal matrices (`neural.orthogonal-matrix`),
the slope of the sine (`autograd.sine-slope`).

## Walking along the circle

Start at $(1, 0)$ and walk the distance $a$ along the circle of radius one around the origin: counterclockwise if
$a > 0$, and $|a|$ clockwise if $a < 0$. The point where the walk ends is called

$$u(a) = (\cos a, \sin a). \qquad \text{(E1)}$$

The distance $a$ is the **angle**, in radians. The whole circle is $2 \pi$ long. From the picture we read:

$$
\begin{aligned}
\cos^2 a + \sin^2 a &= 1, & &\text{the point lies on the circle,} \\
u(a + 2 \pi) &= u(a), & &\text{once around changes nothing,} \\
\cos (-a) &= \cos a, \quad \sin (-a) = -\sin a, & &\text{the same walk in a mirror, } (x, y) \mapsto (x, -y).
\end{aligned}
\qquad \text{(E2)}
$$

Which way is counterclockwise at any other point? For points $p$ and $q$ let

$$p \wedge q = p_1 q_2 - p_2 q_1. \qquad \text{(E3)}$$

From $(1, 0)$ a short walk counterclockwise leads to a $q$ with $q_2 > 0$, and $(1, 0) \wedge q = q_2$. We say of any
two points of the circle, less than half of it apart, that the short way from $p$ to $q$ is **counterclockwise** if
$p \wedge q > 0$. How long a walk is depends on distances only: it is the least number that no chain of straight lines
between points of the walk, taken in order, exceeds in length.

## Turning

For an angle $a$ let $R(a)$ be the linear map of the plane with the matrix

$$
R(a) = \begin{pmatrix} \cos a & -\sin a \\ \sin a & \cos a \end{pmatrix}, \qquad R(a) \begin{pmatrix} 1 \\ 0
\end{pmatrix} = u(a). \qquad \text{(E4)}
$$

**Claim** `attention.turn-rigid`. $R(a)$ is orthogonal, so it keeps lengths, distances and dot products, and it keeps
$p \wedge q$. The transposed matrix is $R(-a)$.

**Proof.** Write $c$ and $s$ for the cosine and the sine. The columns $(c, s)$ and $(-s, c)$ have the length
$\sqrt{c^2 + s^2} = 1$ and the dot product $-cs + sc = 0$: this is $R^\top R = I$, and `neural.orthogonal-matrix` gives
lengths and dot products. The distance of $p$ and $q$ is the length of $p - q$, and $Rp - Rq = R(p - q)$. Next,

$$
\begin{aligned}
Rp \wedge Rq &= (c p_1 - s p_2)(s q_1 + c q_2) - (s p_1 + c p_2)(c q_1 - s q_2) \\
  &= c s\, (p_1 q_1 - p_1 q_1) + c s\, (p_2 q_2 - p_2 q_2) + c^2\, (p_1 q_2 - p_2 q_1) + s^2\, (p_1 q_2 - p_2 q_1),
\end{aligned}
$$

which is $p \wedge q$, as $c^2 + s^2 = 1$. Transposing exchanges $-s$ and $s$, and by (E2) that is to take $-a$ for $a$.
$\blacksquare$

**Claim** `attention.turn-sum`. $R(a)\, u(b) = u(a + b)$ and $R(a)\, R(b) = R(a + b)$ for all angles. In coordinates,

$$
\cos (a + b) = \cos a \cos b - \sin a \sin b, \qquad \sin (a + b) = \sin a \cos b + \cos a \sin b. \qquad \text{(E5)}
$$

So $R(0) = I$, turns commute, $R(a)^\top = R(-a) = R(a)^{-1}$, and for all points $x$ and $y$

$$R(a)\, x \cdot R(b)\, y = x \cdot R(b - a)\, y. \qquad \text{(E6)}$$

**Proof.** Take the walk of length $|b|$ from $(1, 0)$ to $u(b)$, and apply $R(a)$ to all of its points. By
`attention.turn-rigid` the new points are on the circle too, as long a walk, and in the same sense, since the sign of
$p \wedge q$ is that of before. It begins at $R(a)\, (1, 0) = u(a)$. So it is the walk $b$ begun at $u(a)$. But $u(a)$
is where the walk $a$ ends, and to walk $a$ and then $b$ is to walk $a + b$. Its end is $u(a + b)$, and it is
$R(a)\, u(b)$. The coordinates of $R(a)\, u(b)$ by (E4) are the right sides of (E5).

Multiply the matrices:

$$
R(a)\, R(b) = \begin{pmatrix} \cos a \cos b - \sin a \sin b & -(\cos a \sin b + \sin a \cos b) \\
  \sin a \cos b + \cos a \sin b & -\sin a \sin b + \cos a \cos b \end{pmatrix} = R(a + b),
$$

by (E5). $R(0) = I$ by (E4). As $a + b = b + a$, turns commute. $R(a)\, R(-a) = R(0) = I$. Last, moving $R(a)$ to the
other side of the dot product (`autograd.transpose`), $R(a) x \cdot R(b) y = x \cdot R(a)^\top R(b)\, y = x \cdot R(-a)
R(b)\, y$. $\blacksquare$

These are the addition theorems, which `autograd.sine-slope` borrowed. With $-b$ for $b$ in the second line of (E5), and
subtracted, they give what sums of cosines will need:

$$\sin (a + b) - \sin (a - b) = 2 \cos a \sin b, \qquad \cos (a - b) - \cos (a + b) = 2 \sin a \sin b.
\qquad \text{(E7)}$$

**Claim** `attention.angle-between`. Every point $x$ of the plane is $|x|\, u(\alpha)$ for some angle $\alpha$. With
$x = |x|\, u(\alpha)$ and $y = |y|\, u(\beta)$,

$$x \cdot R(a)\, y = |x|\, |y| \cos (a + \beta - \alpha). \qquad \text{(E8)}$$

**Proof.** For $x = 0$ any angle will do. Otherwise $x / |x|$ is on the circle, and a walk once around it comes by. For
the second, $R(a)\, y = |y|\, u(a + \beta)$ by `attention.turn-sum`, and
$u(\alpha) \cdot u(\gamma) = \cos \alpha \cos \gamma + \sin \alpha \sin \gamma = \cos (\gamma - \alpha)$ by (E5) and
(E2). $\blacksquare$

So the dot product is the cosine of the angle between two vectors, times their lengths: here, and not as a definition as
in `neural.cosine`, which it agrees with.

## Sums of turned points

How long is a sum of $n$ points of the circle, each turned by $\varphi$ against the one before? If $\varphi$ is a
multiple of $2 \pi$ all are the same point, and the sum has the length $n$. Otherwise they go around, and cancel.

**Claim** `attention.cosine-sum`. Let $n \ge 1$ and let $\varphi$ be no multiple of $2 \pi$. For every $\psi$

$$
\sum_{k=0}^{n-1} u(\psi + k \varphi) = \frac{\sin \frac{n \varphi}{2}}{\sin \frac{\varphi}{2}}\,
  u\Big( \psi + \frac{(n - 1)\, \varphi}{2} \Big), \qquad
\Big| \sum_{k=0}^{n-1} u(\psi + k \varphi) \Big| \le \frac{1}{\big| \sin \frac{\varphi}{2} \big|}. \qquad \text{(E9)}
$$

For $0 < \varphi \le \pi$ the bound is at most $\frac{\pi}{\varphi}$: half of $\frac{2 \pi}{\varphi}$, the number of
steps that go once around.

**Proof.** Let $h = \frac{\varphi}{2}$. Its sine is not zero: $u(h)$ is on the horizontal axis only if $h$ is a multiple
of $\pi$. By the first of (E7), with $a = \psi + k \varphi$ and $b = h$,

$$2 \sin h \cos (\psi + k \varphi) = \sin \big( \psi + (2k + 1) h \big) - \sin \big( \psi + (2k - 1) h \big).$$

The sum of the right sides over $k = 0, \dots, n - 1$ telescopes to $\sin (\psi + (2n - 1) h) - \sin (\psi - h)$. That
is the first of (E7) again, with $a = \psi + (n - 1) h$ and $b = n h$: $2 \cos (\psi + (n - 1) h) \sin (n h)$. Divide by
$2 \sin h$: these are the first coordinates of (E9). For the second take the second of (E7):
$2 \sin h \sin (\psi + k \varphi) = \cos (\psi + (2k - 1) h) - \cos (\psi + (2k + 1) h)$, whose sum is
$\cos (\psi - h) - \cos (\psi + (2n - 1) h) = 2 \sin (\psi + (n - 1) h) \sin (n h)$. The length follows from $|u| = 1$
and $|\sin n h| \le 1$.

Last, the sine has the second slope $-\sin \le 0$ on $[0, \frac{\pi}{2}]$ (`autograd.sine-slope`), so it is concave
there (`markov.concave-second-derivative`) and lies above the chord from $(0, 0)$ to $(\frac{\pi}{2}, 1)$:
$\sin h \ge \frac{2 h}{\pi} = \frac{\varphi}{\pi}$. $\blacksquare$

>>> circle_sum(0.0, 0.5, 3).round(4)  # 1 + cos 0.5 + cos 1, and the sines
array([2.4179, 1.3209])

Three facts about the cosine will be used:

**Claim** `attention.cosine-falls`. The cosine strictly falls on $[0, \pi]$, from $1$ to $-1$. So
$\cos \varphi = 1$ only for multiples of $2 \pi$, and $|u(a) - u(b)| \le |a - b|$ for all angles.

**Proof.** For $0 < a < \pi$ the point $u(a)$ is in the upper half, so the slope $-\sin a$ of the cosine is negative
there. By `markov.slope-bound`, as below that claim, it falls strictly from $a$ to $b$ if $0 < a < b < \pi$. It is
continuous, so $\cos 0 \ge \cos a$ and $\cos b \ge \cos \pi$ for all these; with another point between, both are
strict too. Half around is $(-1, 0)$. By (E2) every angle can be changed by multiples of $2 \pi$ into $(-\pi, \pi]$ and
made positive without changing its cosine, and then it has the cosine $1$ only if it is $0$. The chord between two
points of the circle is no longer than the walk between them. $\blacksquare$

## In practice

Complex numbers are the shorter notation: $u(a)$ is $e^{i a}$, (E5) is $e^{i (a + b)} = e^{i a} e^{i b}$, and a turned
point is a product. Programs use it too, where two coordinates that belong together stand side by side in memory.
Libraries compute sines of large angles by first taking off multiples of $2 \pi$; the angle itself is then only as exact
as its rounding. In float32 the angle of position 100,000 is known to within a hundredth of a radian at best:

>>> float(np.spacing(np.float32(100_000.0)))
0.0078125

so angles are computed in float64 and only their sines and cosines are rounded.
"""

import math

import numpy as np
from jaxtyping import Float

__all__ = ["turn", "circle_sum"]  # the order of the page

Real = float | int


def turn(angle: Real) -> Float[np.ndarray, "2 2"]:
    r"""
    The matrix $R(a)$ (E4).

    Parameters
    ----------
    angle
        $a$, in radians, counterclockwise.

    Returns
    -------
    ndarray
        Two by two, float64.

    Raises
    ------
    ValueError
        If the angle is not finite.

    Examples
    --------
    >>> turn(math.pi / 2).round(15) @ [3.0, 1.0]  # a quarter
    array([-1.,  3.])
    """
    if not math.isfinite(angle):
        raise ValueError(f"an angle is a finite number of radians, got {angle}")
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])


def circle_sum(start: Real, step: Real, n: int) -> Float[np.ndarray, "2"]:
    r"""
    $\sum_{k=0}^{n-1} u(\psi + k \varphi)$ in closed form (E9): the sum of the cosines, and of the sines.

    Parameters
    ----------
    start, step
        $\psi$ and $\varphi$, in radians.
    n
        How many points, zero or more.

    Returns
    -------
    ndarray
        Two numbers, float64.

    Raises
    ------
    ValueError
        If an angle is not finite, or `n` is negative.

    Examples
    --------
    >>> circle_sum(0.0, math.pi, 4).round(12) + 0.0  # there and back, twice
    array([0., 0.])
    >>> circle_sum(0.0, 0.0, 4)
    array([4., 0.])
    """
    if n < 0 or not (math.isfinite(start) and math.isfinite(step)):
        raise ValueError(f"a sum of points takes finite angles and n >= 0, got start={start}, step={step} and n={n}")
    half = math.remainder(step, 2 * math.pi) / 2  # a whole turn more or less changes no point
    length = n if half == 0 else math.sin(n * half) / math.sin(half)
    middle = start + (n - 1) * half
    return length * np.array([math.cos(middle), math.sin(middle)])
