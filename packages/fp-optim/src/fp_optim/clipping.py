r"""
Clipping: how one bad batch is kept from undoing a thousand good ones.

Now and then a batch gives a gradient ten or a hundred times as long as usual. A step along it throws the parameters far
from where they were. Clipping by the global norm shortens such a gradient, and does no more than that. Clipping by
value, entry by entry, also turns it: how far?

You need: length, inner product and Cauchy-Schwarz (`fp_autograd.linear_algebra`).

## The norm of all gradients together

The parameters are many arrays, but one point: the norm that counts is that of all their gradients as one vector $g$,

$$
\lVert g \rVert = \Big( \sum_i g_i^2 \Big)^{1/2}. \qquad \text{(E1)}
$$

Clipping each array by its own norm instead would change their sizes relative to each other, and so the direction.

**Claim** `optim.norm-scaling`. Let $m = \max_i |g_i| > 0$ and let $g$ have $n$ entries. Then
$\lVert g \rVert = m\, \big( \sum_i (g_i / m)^2 \big)^{1/2}$, and the sum lies in $[1, n]$.

**Proof.** Factor $m^2$ out of the sum in (E1). Each $(g_i / m)^2$ lies in $[0, 1]$, and the entry of the largest size
gives exactly $1$. $\blacksquare$

Squares overflow long before their root does. float32 gradients are squared in float64, where even the square of the
largest float32 is far from the end; only for float64 gradients, and only when the plain sum has left the safe range,
the scaled sum of the claim is used.

## The clipped gradient

$$
\operatorname{clip}_c(g) = \min\!\Big( 1, \frac{c}{\lVert g \rVert} \Big)\, g \quad (g \ne 0), \qquad
\operatorname{clip}_c(0) = 0, \qquad c > 0. \qquad \text{(E2)}
$$

**Claim** `optim.clip-direction`. For $g \ne 0$, $\operatorname{clip}_c(g)$ has the direction of $g$ and the norm
$\min(\lVert g \rVert, c)$.

**Proof.** It is $g$ times a positive number $s$, and $\lVert s g \rVert = s \lVert g \rVert$. If
$\lVert g \rVert \le c$ then $s = 1$; otherwise $s \lVert g \rVert = c$. $\blacksquare$

**Claim** `optim.clip-nearest`. Of all vectors of norm at most $c$, $p = \operatorname{clip}_c(g)$ is the nearest to
$g$, and the only nearest one: if $\lVert x \rVert \le c$, then

$$
\lVert g - x \rVert^2 \ge \lVert g - p \rVert^2 + \lVert x - p \rVert^2. \qquad \text{(E3)}
$$

**Proof.** If $\lVert g \rVert \le c$ then $p = g$, and (E3) is an equality. Otherwise write
$g - x = (g - p) - (x - p)$ and expand:

$$
\lVert g - x \rVert^2 = \lVert g - p \rVert^2 - 2\, \langle g - p, x - p \rangle + \lVert x - p \rVert^2.
$$

Here $g - p = \big( 1 - \frac{c}{\lVert g \rVert} \big) g$ is a positive multiple of $g$, and
$\langle g, x - p \rangle = \langle g, x \rangle - c \lVert g \rVert \le 0$, because Cauchy-Schwarz bounds
$\langle g, x \rangle$ by $\lVert g \rVert \lVert x \rVert \le c \lVert g \rVert$. So the middle term is not negative.
By (E3) no $x$ is nearer than $p$, and one that is as near has $\lVert x - p \rVert = 0$. $\blacksquare$

## Entry by entry

**Clipping by value** puts every entry into $[-c, c]$ for itself, $c > 0$:

$$
\operatorname{box}_c(g)_i = \max\big( -c, \min(c, g_i) \big). \qquad \text{(E4)}
$$

**Claim** `optim.clip-value-nearest`. Of all vectors with entries in $[-c, c]$, $p = \operatorname{box}_c(g)$ is the
nearest to $g$ and the only nearest one, and $\lVert p \rVert \le c \sqrt n$ for $n$ entries.

**Proof.** $\lVert g - x \rVert^2 = \sum_i (g_i - x_i)^2$, and each term depends on one $x_i$ alone. If
$|g_i| \le c$, it is zero at $x_i = g_i = p_i$ only. If $g_i > c$, then $g_i - x_i \ge g_i - c > 0$, and its square is
least at $x_i = c = p_i$ only; likewise at $-c$ if $g_i < -c$. The norm: $n$ squares of at most $c^2$. $\blacksquare$

**Claim** `optim.clip-value-angle`. Let $g \ne 0$ have $n$ entries, and $\theta$ be the angle between $g$ and
$p = \operatorname{box}_c(g)$. Then $\cos \theta \ge 1 / \sqrt n$, strictly if $n \ge 2$, and no larger bound holds for
all $g$.

**Proof.** Multiplying $g$ and $c$ by the same positive number multiplies $p$ by it, and turns nothing; so let $c = 1$.
Turning the sign of an entry of $g$ turns that of $p$ and leaves $g \cdot p$ and both lengths; so let $g_i \ge 0$. If no
entry exceeds $1$, $p = g$ and $\cos \theta = 1 \ge 1 / \sqrt n$, strictly if $n \ge 2$. Otherwise let $a \ge 1$ entries
exceed $1$, with the sum $S > a$, and let $q$ be the sum of the squares of the others, $0 \le q \le n - a$. Then

$$
g \cdot p = S + q, \qquad \lVert p \rVert^2 = a + q \le n, \qquad
\lVert g \rVert^2 \le S^2 + q \le S^2 + 2 S q + q^2 = (S + q)^2,
$$

because the square of a sum of positive numbers is at least the sum of their squares, and $2S \ge 1$. So
$\cos \theta = \frac{g \cdot p}{\lVert g \rVert \lVert p \rVert} \ge \frac{S + q}{(S + q) \sqrt n} = \frac{1}{\sqrt n}$.
Equality needs $a + q = n$ and $q = 0$ (from $q = 2 S q + q^2$ with $S > 1$), so $a = n$, and
$\lVert g \rVert^2 = S^2$, which is false for two or more positive entries. Last, let one entry be $M$ and the $n - 1$
others be $1$: as $M \to \infty$

$$
\cos \theta = \frac{M + n - 1}{\sqrt{M^2 + n - 1}\; \sqrt n} \to \frac{1}{\sqrt n}. \qquad \blacksquare
$$

The cosine is positive: what is left points downhill still. But for a million entries the bound is a thousandth, as good
as a right angle, where the norm's clipping has the cosine $1$ (`optim.clip-direction`). One large entry suffices:

>>> for n in (2, 100, 10_000):
...     g = np.ones(n)
...     g[0] = 1e6
...     p = np.clip(g, -1, 1)
...     print(round(float(g @ p / np.linalg.norm(g) / np.linalg.norm(p)), 3))
0.707
0.1
0.01

**Claim** `optim.clip-value-sign`. If $c \le |g_i|$ for every $i$, then $\operatorname{box}_c(g)_i = c
\operatorname{sign} g_i$.

**Proof.** $g_i \ge c$ gives $c$ and $g_i \le -c$ gives $-c$ in (E4). $\blacksquare$

A limit below all entries leaves their signs and nothing else, and every coordinate moves equally far: with a small $c$
one no longer descends along the gradient, but by another rule, to which `optim.adam-first-step` also leads.

## In practice

$c = 1$ is the habit for language models, by the norm. The norm before clipping, which `clip_by_global_norm` returns, is
the first thing to look at when a run misbehaves. A norm that is not finite has no direction to keep: it is returned,
the gradients stay as they are, and what to do is the caller's decision (skip the step, or stop). PyTorch's
`clip_grad_value_` turns an infinity into $c$, as if it had said how large; here it is refused in the same way.

Reference: Pascanu, Mikolov and Bengio, *On the difficulty of training recurrent neural networks* (arXiv 1211.5063).
"""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from fp_optim._named import largest, pieces

__all__ = ["global_norm", "clip_by_global_norm", "clip_by_value"]  # the order of the page

_SAFE = (1e-200, 1e300)  # sums of squares in between have lost nothing to underflow or overflow
_PIECE = 8192  # BLAS cuts longer inner products into one part per thread, which costs more than it gains here


def global_norm(grads: Mapping[str, Float[np.ndarray, "..."]]) -> float:
    """
    The norm (E1) of all arrays together, summed in float64.

    Parameters
    ----------
    grads
        Name to array; not changed.

    Returns
    -------
    float
        0 if there is no entry; infinity or NaN if an entry is.

    Examples
    --------
    >>> global_norm({"w": np.array([[3.0]]), "b": np.array([4.0])})
    5.0
    >>> global_norm({"w": np.array([3e200, 4e200])}) / 1e200
    5.0
    """
    with np.errstate(over="ignore", under="ignore"):
        total = _sum_of_squares(grads, 1.0)
    if _SAFE[0] < total < _SAFE[1]:
        return math.sqrt(total)
    sizes = [largest(g) for g in grads.values()]
    m = float(np.max(sizes, initial=0.0))  # NaN if one is
    if m == 0 or not math.isfinite(m):
        return m
    with np.errstate(under="ignore"):
        return m * math.sqrt(_sum_of_squares(grads, m))  # optim.norm-scaling


def _sum_of_squares(grads: Mapping[str, np.ndarray], unit: float) -> float:
    scratch = np.empty(_PIECE)
    total = 0.0
    for g in grads.values():
        for (piece,) in pieces(g, size=_PIECE):
            wide = scratch[: piece.size]
            np.copyto(wide, piece)
            if unit != 1:
                wide /= unit
            total += float(wide @ wide)
    return total


def _check_writeable(grads: Mapping[str, np.ndarray]) -> None:
    for name, g in grads.items():
        if not g.flags.writeable or g.dtype.kind != "f":
            raise ValueError(
                f"gradient {name} is clipped in place and must be writeable and of floating-point numbers, got "
                f"{'a read-only array of ' if not g.flags.writeable else ''}{g.dtype}; pass a copy of it"
            )


def clip_by_global_norm(grads: Mapping[str, Float[np.ndarray, "..."]], max_norm: float) -> float:
    """
    Shorten all gradients together, in place, so that their norm is at most `max_norm` (E2).

    Parameters
    ----------
    grads
        Name to array; changed in place if the norm is above `max_norm`, and finite.
    max_norm
        Positive. Infinity clips nothing.

    Returns
    -------
    float
        The norm before. If it is infinite or NaN, nothing was changed.

    Raises
    ------
    ValueError
        If `max_norm` is not positive, or an array cannot be changed in place. Nothing has changed then.

    Examples
    --------
    >>> grads = {"w": np.array([[3.0]]), "b": np.array([4.0])}
    >>> clip_by_global_norm(grads, 1.0)
    5.0
    >>> round(global_norm(grads), 12)
    1.0
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive, got {max_norm}")
    _check_writeable(grads)
    norm = global_norm(grads)
    if math.isfinite(norm) and norm > max_norm:
        for g in grads.values():
            g *= max_norm / norm
    return norm


def clip_by_value(grads: Mapping[str, Float[np.ndarray, "..."]], limit: float | int) -> float:
    """
    Put every entry of all gradients into `[-limit, limit]`, in place (E4). This turns their direction.

    Parameters
    ----------
    grads
        Name to array; changed in place where an entry is larger, if all are finite.
    limit
        Positive. Infinity clips nothing.

    Returns
    -------
    float
        The largest absolute value before, 0 if there is no entry. If it is infinite or NaN, nothing was changed.

    Raises
    ------
    ValueError
        If `limit` is not positive, or an array cannot be changed in place. Nothing has changed then.

    Examples
    --------
    >>> grads = {"w": np.array([[3.0, -0.5]]), "b": np.array([-4.0])}
    >>> clip_by_value(grads, 1.0)
    4.0
    >>> grads["w"].tolist(), grads["b"].tolist()
    ([[1.0, -0.5]], [-1.0])
    """
    if not limit > 0:
        raise ValueError(f"limit must be positive, got {limit}")
    _check_writeable(grads)
    m = float(np.max([largest(g) for g in grads.values()], initial=0.0))  # NaN if one is
    if math.isfinite(m) and m > limit:
        for g in grads.values():
            np.clip(g, -limit, limit, out=g)
    return m
