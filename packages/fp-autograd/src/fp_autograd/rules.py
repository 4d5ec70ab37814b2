r"""
Rules: every operation's derivative in one table, forward beside backward.

A model is made of a few dozen operations on arrays. Each needs two linear maps for each operand, and then no model
needs a derivative of its own. What are they, which of them are one thing under different names, and what should a
program say where there is no derivative?

You need: `fp_autograd.tracing` for what a rule is, `fp_autograd.linear_algebra` for transposes, `fp_autograd.calculus`
for slopes.

Throughout, $x$ and $y$ are operands, $z$ is the result (`out` in the code), $t$ is a tangent of an operand and $g$ the
cotangent of the result, of the shape of $z$. The JVP is $t \mapsto J t$; the VJP $g \mapsto J^\top g$ is the one map
with

$$g \cdot (J t) = (J^\top g) \cdot t \qquad \text{for all } g \text{ and } t \qquad \text{(E1)}$$

(`autograd.transpose`), where the dot product sums over all entries, whatever the shape. $x \odot y$ is the product
entry by entry.

## Number by number

**Claim** `autograd.elementwise-rule`. Let $z_i = f(x_i)$ for all $i$, where $f$ has a slope at every $x_i$. Then
$(J t)_i = f'(x_i)\, t_i$ and $(J^\top g)_i = f'(x_i)\, g_i$: one map is both.

**Proof.** $f(x_i + t_i) = f(x_i) + f'(x_i)\, t_i + o(t_i)$ by `autograd.linear-approximation`, and $|t_i| \le |t|$, so
the vector of the errors is $o(|t|)$ and $J$ is as stated. Both sides of (E1) are $\sum_i g_i\, f'(x_i)\, t_i$.
$\blacksquare$

So it remains to know the slopes. By `markov.log-slope` $e^x$ has $z$, $e^x - 1$ has $z + 1$, $\ln x$ has $\frac{1}{x}$,
and $\ln (1 + x)$ has $\frac{1}{1 + x}$; $\sqrt x$ has $\frac12 x^{-1/2} = \frac{1}{2z}$ by `autograd.power-rule`;
$\tanh$ has $1 - z^2$ (`autograd.tanh-slope`), the sigmoid $z (1 - z)$ (`autograd.sigmoid-slope`), and softplus
$\sigma(x)$ (`autograd.softplus-slope`), which is $1 - e^{-z}$, as $e^{-z} = \frac{1}{1 + e^x}$. The circle is left.

**Claim** `autograd.sine-slope`. $\sin' = \cos$ and $\cos' = -\sin$, angles being measured by the arc.

**Proof.** For $0 < h < \frac{\pi}{2}$, in the circle of radius one, the triangle with the corners $(0, 0)$, $(1, 0)$
and $(\cos h, \sin h)$ lies in the sector of angle $h$, and that lies in the triangle with the corners $(0, 0)$, $(1,
0)$ and $(1, \tan h)$. Their areas are $\frac12 \sin h < \frac12 h < \frac12 \tan h$, so $\cos h < \frac{\sin h}{h} <
1$, and the same for $-h$, as numerator and denominator both change sign. From $|\sin h| < |h|$ follows $\cos h =
\sqrt{1 - \sin^2 h} \to 1$ as $h \to 0$, so $\frac{\sin h}{h} \to 1$ and

$$
\frac{\cos h - 1}{h} = \frac{\cos^2 h - 1}{h\, (\cos h + 1)} = -\sin h \cdot \frac{\sin h}{h} \cdot \frac{1}{\cos h + 1}
  \to 0.
$$

By the addition theorem
$\frac{1}{h} \big( \sin (x + h) - \sin x \big) = \sin x\, \frac{\cos h - 1}{h} + \cos x\, \frac{\sin h}{h} \to \cos x$.
Last, $\cos x = \sin (\frac{\pi}{2} - x)$ has the slope $-\cos (\frac{\pi}{2} - x) = -\sin x$ by
`autograd.chain-rule`. $\blacksquare$

With two operands the same claim holds for each while the other is fixed. The slopes of $x + y$ are $1$ and $1$, of
$x - y$ are $1$ and $-1$, of $x y$ are $y$ and $x$ (`markov.slope-rules`), and of $x / y$ are $\frac1y$ and
$-\frac{z}{y}$ (`autograd.quotient-rule`).

## The same numbers elsewhere

Much of what a program does computes nothing: it repeats, reshapes, transposes, reads out. Each entry of the result is
then a copy of an entry of $x$, $z_k = x_{p(k)}$, and $p$ does not depend on the numbers.

**Claim** `autograd.copy-rule`. If $z_k = x_{p(k)}$ for all $k$, then

$$(J t)_k = t_{p(k)}, \qquad (J^\top g)_i = \sum_{k :\, p(k) = i} g_k. \qquad \text{(E2)}$$

**Proof.** $x \mapsto z$ is linear, so it is its own derivative. Sort the sum by the entry that was read:
$g \cdot (J t) = \sum_k g_k\, t_{p(k)} = \sum_i \big( \sum_{k :\, p(k) = i} g_k \big)\, t_i$. $\blacksquare$

In words: what was copied to several places gets the sum of what comes back from them.

**Claim** `autograd.broadcast-rule`. Let $z = f(R x, y)$, where $R$ repeats $x$ to the shape of $z$ along axes that $x$
lacks or has with length $1$, and $f$ works number by number with the slope $f_x$. Then $J t = f_x \odot R t$ and
$J^\top g = R^\top (f_x \odot g)$, and $R^\top$ sums over those axes.

**Proof.** By `autograd.vjp-chain` the JVP is $R$ and then the JVP of $f$, and the VJP is the VJP of $f$ and then
$R^\top$; `autograd.elementwise-rule` gives those of $f$. Broadcasting is $z_k = x_{p(k)}$ where $p$ drops the leading
axes that $x$ lacks and sets the index to $0$ along its axes of length $1$. All $k$ that differ along those axes only
have the same $p(k)$, so (E2) sums over them. $\blacksquare$

NumPy repeats the tangent by itself in $f_x \odot t$; the sum is `unbroadcast`, and forgetting it is the classic
mistake: the gradient of a bias would have the shape of the batch.

**Claim** `autograd.permutation-rule`. If $p$ is one-to-one and onto, $J^\top = J^{-1}$: the cotangent of a `reshape` is
$g$ in the shape of $x$, that of a `transpose` is $g$ transposed by the inverse permutation of the axes.

**Proof.** The sum in (E2) has one term, $(J^\top g)_{p(k)} = g_k$, which undoes $(J t)_k = t_{p(k)}$. A reshape keeps
all numbers in their order, and one back to the shape of $x$ undoes it. Transposing by $a$ makes axis $a_i$ of $x$ axis
$i$ of $z$; the permutation $b$ with $b_{a_i} = i$ makes axis $i$ of $z$ axis $a_i$ again. $\blacksquare$

**Claim** `autograd.index-rule`. If $z = x[\text{index}]$ reads entries of $x$, each any number of times, then $J t$ is
$t[\text{index}]$, and $J^\top g$ is made from zeros of the shape of $x$ by adding each entry of $g$ where its number
was read. This **scatter** is linear in $g$, with the JVP scatter and the VJP indexing.

**Proof.** The first part is (E2), where an entry that was not read has an empty sum. Scatter is the linear map
$J^\top$, so its JVP is itself and its VJP is $(J^\top)^\top = J$ (`autograd.transpose`). $\blacksquare$

A table of embeddings is read so, and a frequent token's row is read many times. `out[index] += g` in NumPy adds only
the last of them; `scatter_into` uses `np.add.at`.

**Claim** `autograd.concatenate-rule`. Joining arrays along an axis has, for each part, the JVP that places $t$ among
zeros, where the part went, and the VJP that reads the same slice of $g$.

**Proof.** While the other parts are fixed, the change of the result is $t$ in the place of the part and zero elsewhere:
a scatter by a slice that reads each entry once, whose VJP is the slice by `autograd.index-rule`. $\blacksquare$

**Claim** `autograd.where-rule`. Let $z_i = x_i$ where $c_i$ holds and $z_i = y_i$ elsewhere. The maps of $x$ keep
$t_i$, $g_i$ where $c_i$ holds and put $0$ elsewhere, those of $y$ the other way round, and $c$ has none.

**Proof.** With $c_i$ as $1$ or $0$, $z_i = c_i x_i + (1 - c_i)\, y_i$ has the slopes $c_i$ and $1 - c_i$. Then
`autograd.elementwise-rule`. As a function of $c$, which takes two values only, there is nothing to differentiate.
$\blacksquare$

## Sums

**Claim** `autograd.sum-rule`. Summing over some axes has the JVP that sums $t$ and the VJP that repeats $g$ along them.
For the mean of $n$ numbers both are divided by $n$.

**Proof.** A sum is linear, so the JVP is the sum itself. By `autograd.broadcast-rule` the sum is $R^\top$ for the
repetition $R$ along those axes; its transpose is $(R^\top)^\top = R$. The mean is $\frac1n R^\top$, with the transpose
$\frac1n R$. $\blacksquare$

**Claim** `autograd.cumsum-rule`. $z_k = \sum_{i \le k} x_i$ has $(J t)_k = \sum_{i \le k} t_i$ and
$(J^\top g)_i = \sum_{k \ge i} g_k$: running sums, from the other end.

**Proof.** $\sum_k g_k \sum_{i \le k} t_i = \sum_i \big( \sum_{k \ge i} g_k \big)\, t_i$, as both are the sum of
$g_k t_i$ over all pairs $i \le k$. $\blacksquare$

## Products of matrices

**Claim** `autograd.matmul-rule`. For $Z = X Y$ the JVPs are $T \mapsto T Y$ in $X$ and $T \mapsto X T$ in $Y$, the VJPs

$$G \mapsto G\, Y^\top, \qquad G \mapsto X^\top G. \qquad \text{(E3)}$$

For batches, $Z_b = X_b Y_b$, this holds for every $b$, and for a $Y$ shared by all $b$ the VJP is $\sum_b X_b^\top
G_b$, which is a single product $X^\top G$ with the rows of all $X_b$ under each other, and those of all $G_b$.

**Proof.** $(X + T)\, Y = X Y + T Y$, so $T \mapsto T Y$ is the change, without an error term, and $X T$ in the same
way. By `autograd.trace-gradient` $T \mapsto A T B$ has the transpose $G \mapsto A^\top G B^\top$, with the dot product
of matrices $\langle G, T \rangle = \sum_i \sum_j G_{ij} T_{ij}$. Put $A = I$, $B = Y$, then $A = X$, $B = I$. In a
batch $Z_b$ depends on $X_b$ and $Y_b$ alone, and the dot product sums over $b$. A shared $Y$ is repeated, so
`autograd.copy-rule` sums over $b$. Last, entry $(i, j)$ of $\sum_b X_b^\top G_b$ is $\sum_b \sum_r (X_b)_{ri}
(G_b)_{rj}$, a sum over all rows of all $b$. $\blacksquare$

The shapes leave no choice: of $G$, of the shape of $Z$, and $Y$ only $G\, Y^\top$ has the shape of $X$. A vector is a
matrix of one row on the left and of one column on the right.

## The largest

At a tie $\max$ has no derivative, but it is convex, and a **subgradient** of it at $x$ is a vector $w$ with
$\max y \ge \max x + w \cdot (y - x)$ for all $y$, as for one variable in `fp_autograd.calculus`.

**Claim** `autograd.max-rule`. The subgradients of $\max$ at $x$ are the vectors $w$ with $w_i \ge 0$,
$\sum_i w_i = 1$, and $w_i = 0$ wherever $x_i < \max x$. If one entry alone is largest, $\max$ is differentiable at $x$,
with the gradient $w$ that is $1$ there.

**Proof.** Let $w$ be as described. A weighted mean is at most the largest, so $w \cdot y \le \max y$, and $w \cdot x =
\max x$ because only largest entries have weight: $w$ is a subgradient. Conversely let $w$ be one. Take $y$ with $y_i =
x_i + s$ for all $i$: $\max x + s \ge \max x + s \sum_i w_i$, for $s = 1$ and for $s = -1$, so the weights sum to $1$.
Lower entry $i$ alone by $1$: $\max x \ge \max y \ge \max x - w_i$, so $w_i \ge 0$. If $x_i < \max x$, raise it alone by
a small $s > 0$: $\max y = \max x \ge \max x + s w_i$, so $w_i \le 0$. If $x_m$ alone is largest, it is so for all $y$
near $x$, where $\max y = y_m$. $\blacksquare$

At a tie the rule gives **equal shares** to the largest entries, which is one of the subgradients, treats them alike,
and is the mean of what picking one at random would give. `maximum(x, y)` is the largest of two: a half for each at a
tie. $\min x = -\max (-x)$ has the same shares. The absolute value $\max (x, -x)$ gets $\frac12 - \frac12 = 0$, and
relu, by custom, $0$ at $0$, both subgradients by `autograd.relu-subgradient`. The shares are constant near a point
without ties, so second derivatives are zero.

## The softmax family

Let $z = \ln \sum_i e^{x_i}$ and $p_i = e^{x_i - z}$, which are positive and sum to $1$. With $m = \max x$,
$z = m + \ln \sum_i e^{x_i - m}$, because $e^m$ factors out of the sum; no exponent here is positive, so nothing
overflows, and the sum is at least $1$.

**Claim** `autograd.logsumexp-rule`. $z$ has the gradient $p$.

**Proof.** By `autograd.chain-rule` and `markov.log-slope`,
$\partial_i z = \frac{1}{\sum_j e^{x_j}} \cdot e^{x_i} = \frac{e^{x_i}}{e^z} = p_i$. They are continuous, so $z$ is
differentiable by `autograd.jacobian`. $\blacksquare$

**Claim** `autograd.softmax-rule`. $x \mapsto p$ has the Jacobian $\operatorname{diag}(p) - p\, p^\top$, where
$\operatorname{diag}(p)$ has the $p_i$ on its diagonal and zeros elsewhere. It is symmetric, so that JVP and VJP are one
map,

$$t \mapsto p \odot (t - p \cdot t). \qquad \text{(E4)}$$

**Proof.** $p_i = e^{x_i - z}$, so $\partial_j p_i = p_i\, (\delta_{ij} - \partial_j z) = p_i \delta_{ij} - p_i p_j$,
with $\delta_{ij} = 1$ if $i = j$, else $0$. These are continuous, so `autograd.jacobian` makes them the Jacobian.
Exchanging $i$ and $j$ changes nothing. The $i$-th entry of $J t$ is $p_i t_i - p_i \sum_j p_j t_j$. $\blacksquare$

**Claim** `autograd.log-softmax-rule`. $x \mapsto x - z$ has the JVP $t \mapsto t - p \cdot t$ (the number taken from
every entry) and the VJP $g \mapsto g - p \sum_i g_i$.

**Proof.** By `autograd.logsumexp-rule` $z$ changes by $p \cdot t$, and $x_i - z$ by $t_i - p \cdot t$. Then
$\sum_i g_i (t_i - p \cdot t) = \sum_j g_j t_j - \sum_j \big( \sum_i g_i \big) p_j t_j$. $\blacksquare$

## Powers

By `autograd.power-rule` $x^y$ has the slopes $y\, x^{y-1}$ and $x^y \ln x$ for $x > 0$, and for whole $y$ the first one
at every $x$ with $x^{y-1}$. At zero, read by a machine, either formula may be $0 \cdot \infty$.

**Claim** `autograd.power-at-zero`. With $0^0 = 1$: (1) in $x$, at $x = 0$, $x^0$ has the slope $0$, $x^1$ the slope
$1$, and $x^y$ for $y > 1$ the slope $0$, from the right if $y$ is not whole; for $0 < y < 1$ the quotients grow without
bound. (2) In $y$, at $x = 0$ and $y > 0$, the slope is $0$. (3) At $x = y = 0$ there is no slope in $y$, and no value
of $0^0$ makes $x^y$ continuous there.

**Proof.** (1) $x^0 = 1$ for all $x$. For $y > 0$ the quotient at $0$ is $\frac{h^y - 0}{h} = h^{y-1}$, which is $1$ for
$y = 1$, tends to $0$ for $y > 1$ and grows without bound for $0 < y < 1$. (2) $0^y = 0$ for all $y > 0$, so this is a
constant near such a $y$. (3) $x^0 = 1$ and $0^y = 0$, however small $x > 0$ and $y > 0$ are. The quotient in $y$ at $0$
is $\frac{0 - 1}{h}$, which has no limit. $\blacksquare$

The table follows (1) and (2), with $0$ as a convention at (3), and lets $\infty$ stand where quotients grow without
bound; NumPy warns of the division. So does $\sqrt x$ at $0$. An infinite slope times a cotangent of $0$ is NaN: a loss
that takes the root of what may be zero should add a small number inside, or keep zeros away from the root with `where`.
At negative $x$ the slope in $y$ does not exist, and NumPy's logarithm says NaN.

>>> from fp_autograd.functional import grad
>>> [float(grad(lambda x, y: x**y, argnum)(0.0, 2.0)) for argnum in (0, 1)]
[0.0, 0.0]

## In practice

PyTorch keeps a table too, `derivatives.yaml`, with one line for each operand and direction. Equal shares at ties are
what its `amax` does; its `max` over an axis, which also reports where, gives all to one of the largest. JAX has JVPs
for everything and transposes for the linear operations only, from which it makes its VJPs. In language models the
softmax hardly ever goes backward by itself: with the cross-entropy behind it the cotangent is $p$ minus the target, and
inside attention (E4) is fused with the products around it.
"""

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fp_autograd.tracing import Box, Derivative, Operand, Rule, apply, value_of

__all__ = [  # the order of the page
    "RULES", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh", "sigmoid", "softplus", "relu", "absolute",
    "maximum", "minimum", "clip", "where", "matmul", "logsumexp", "softmax", "log_softmax", "cumsum", "broadcast_to",
    "scatter", "concatenate", "stack", "unbroadcast", "scatter_into",
]  # fmt: skip

Axis = int | tuple[int, ...] | None


# --- what the rules are made of


def _shape(x: Operand) -> tuple[int, ...]:
    return getattr(x, "shape", ())


def unbroadcast(g: Operand, x: Operand) -> Operand:
    r"""
    $R^\top g$ (`autograd.broadcast-rule`): a cotangent summed over the axes along which `x` was repeated.

    Parameters
    ----------
    g
        Of a shape that `x` broadcasts to.
    x
        An operand; its shape alone matters.

    Returns
    -------
    ndarray or Box
        Of the shape of `x`; `g` itself if nothing was repeated.

    Examples
    --------
    >>> unbroadcast(np.ones((5, 2, 3)), np.ones((2, 1)))
    array([[15.],
           [15.]])
    """
    shape = _shape(x)
    if g.shape == shape:
        return g
    lead = len(g.shape) - len(shape)
    repeated = tuple(i + lead for i, n in enumerate(shape) if n == 1 and g.shape[i + lead] != 1)
    return g.sum(axis=(*range(lead), *repeated), keepdims=True).reshape(shape)


def _spread(t: Operand, out: Operand) -> Operand:
    """A tangent repeated to the shape of the output."""
    return t if _shape(t) == out.shape else broadcast_to(t, out.shape)


def _axes(x: Operand, axis: Axis) -> tuple[int, ...]:
    n = len(x.shape)
    if axis is None or n == 0:  # NumPy lets a single number be summed over axis 0 or -1
        return tuple(range(n))
    return tuple(a % n for a in (axis if isinstance(axis, tuple) else (axis,)))


def _kept(reduced: Operand, x: Operand, axis: Axis, keepdims: bool) -> Operand:
    """A reduced array with the axes that it lost, of length one."""
    if keepdims:
        return reduced
    axes = _axes(x, axis)
    return reduced.reshape(tuple(1 if i in axes else n for i, n in enumerate(x.shape)))


def _total(x: Operand, axis: Axis, keepdims: bool) -> Operand:
    return x.sum(axis=axis, keepdims=keepdims)


def _count(x: Operand, axis: Axis) -> int:
    """How many numbers go into one of the results."""
    n = 1
    for a in _axes(x, axis):
        n *= x.shape[a]
    return n


def _like(share: Any, out: Operand) -> Any:
    """Shares in the precision of the output."""
    return share.astype(np.result_type(value_of(out), 0.0), copy=False)


def _larger(x: Operand, y: Operand, out: Operand) -> Any:
    """Where x exceeds y: 1, where they are equal 1/2, else 0 (`autograd.max-rule`)."""
    x, y = value_of(x), value_of(y)
    return _like(np.where(np.equal(x, y), 0.5, np.greater(x, y)), out)


def _among_equals(x: Operand, out: Operand, axis: Axis, keepdims: bool) -> Any:
    """Where an extreme value was found, each of several having an equal share (`autograd.max-rule`)."""
    hit = value_of(x) == value_of(_kept(out, x, axis, keepdims))
    return _like(hit / hit.sum(axis=axis, keepdims=True), out)


def _base(x: Operand, y: Operand) -> Operand:
    """Slope of x ** y in x: y x ** (y - 1), which is zero for y = 0, at x = 0 too (`autograd.power-at-zero`)."""
    if isinstance(y, int | float):
        return y * (x if y == 2 else x ** (y - 1)) if y else 0.0
    y = y if hasattr(y, "dtype") else np.asarray(y)
    corner = np.equal(value_of(x), 0) & np.equal(value_of(y), 0)
    return y * x ** (where(corner, 1.0, y - 1) if corner.any() else y - 1)


def _exponent(x: Operand, y: Operand, out: Operand) -> Operand:
    """Slope of x ** y in y: x ** y ln x, which is zero for x = 0 <= y (`autograd.power-at-zero`)."""
    if not hasattr(x, "dtype"):  # the logarithm of a Python number would be double precision
        x = np.asarray(x, value_of(out).dtype)
    corner = np.equal(value_of(x), 0) & np.greater_equal(value_of(y), 0)
    return out * log(where(corner, 1.0, x) if corner.any() else x)


def _turned(x: Operand) -> Operand:
    return x.swapaxes(-1, -2)


def _right_factor(x: Operand, g: Operand, y: Operand) -> Operand:
    """x^T g, summed over the matrices of a batch that shared `y` (E3)."""
    if len(y.shape) == 2 and len(x.shape) > 2:
        rows = math.prod(x.shape[:-1])  # not -1, which NumPy cannot tell in an empty array
        return _over_rows(x.reshape((rows, x.shape[-1])), g.reshape((rows, g.shape[-1])))
    return unbroadcast(_over_rows(x, g), y)


def _over_rows(x: Operand, g: Operand) -> Operand:
    """x^T g; a single column over very many rows block by block, which BLAS does in half the time."""
    rows, block = x.shape[-2], 4096
    if rows < 8 * block or g.shape[-1] > 1 or len(x.shape) > 2 or isinstance(x, Box) or isinstance(g, Box):
        return _turned(x) @ g
    whole = rows // block * block
    blocks = _turned(x[:whole].reshape(-1, block, x.shape[1])) @ g[:whole].reshape(-1, block, 1)
    return blocks.sum(0) + _turned(x[whole:]) @ g[whole:]


def _softmax_tangent(t: Operand, p: Operand, axis: Axis) -> Operand:
    """(diag p - p p^T) t, which is its own transpose (E4)."""
    return p * (t - (t * p).sum(axis=axis, keepdims=True))


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation of axes that undoes a permutation (`autograd.permutation-rule`)."""
    return tuple(sorted(range(len(axes)), key=lambda i: axes[i] % len(axes)))


def _sum_to_the_end(g: Operand, axis: int) -> Operand:
    """At each entry the sum from there to the end (`autograd.cumsum-rule`)."""
    turn = (slice(None),) * (axis % len(g.shape)) + (slice(None, None, -1),)
    return cumsum(g[turn], axis)[turn]


def _unjoined(i: int, g: Operand, out: Operand, *parts: Operand, axis: int) -> Operand:
    axis %= len(out.shape)
    start = sum(part.shape[axis] for part in parts[:i])
    return g[(slice(None),) * axis + (slice(start, start + parts[i].shape[axis]),)]


def _joined(i: int, t: Operand, out: Operand, *parts: Operand, axis: int) -> Operand:
    whole = [t if j == i else np.zeros(part.shape, value_of(out).dtype) for j, part in enumerate(parts)]
    return concatenate(whole, axis)


def _reads_once(part: Any) -> bool:
    """Whether a part of an index is a number, a slice or a mask, which read no entry twice."""
    if isinstance(part, np.ndarray):
        return part.dtype.kind == "b"
    return part is None or part is Ellipsis or isinstance(part, int | slice | np.integer)


def scatter_into(out: np.ndarray, g: Any, index: Any) -> None:
    """
    Add `g` in place where `out[index]` reads; an entry that is read twice gets both (`autograd.index-rule`).

    Parameters
    ----------
    out
        The array that is added to.
    g
        Of the shape of `out[index]`.
    index
        Anything that NumPy takes as an index.

    Examples
    --------
    >>> out = np.zeros(4)
    >>> scatter_into(out, np.array([1.0, 10.0, 100.0]), [2, 0, 2])
    >>> out
    array([ 10.,   0., 101.,   0.])
    """
    if all(map(_reads_once, index if isinstance(index, tuple) else (index,))):
        out[index] += g
    elif isinstance(index, np.ndarray) and index.dtype.kind in "iu" and out.ndim > 1 and out.flags.c_contiguous:
        _add_rows(out, g, index)
    else:
        np.add.at(out, index, g)


def _add_rows(out: np.ndarray, g: np.ndarray, index: np.ndarray) -> None:
    """`np.add.at` on rows, number by number, which NumPy does several times faster; some rows at a time."""
    width = math.prod(out.shape[1:])
    places, numbers = index.reshape(-1).astype(np.intp) * width, out.reshape(-1)
    rows = np.broadcast_to(g, (*index.shape, *out.shape[1:])).reshape(-1, width) if places.size * width else g
    columns, block = np.arange(width), max(1, 2**16 // max(1, width))
    for i in range(0, len(places) if width else 0, block):
        np.add.at(numbers, (places[i : i + block, None] + columns).reshape(-1), rows[i : i + block].reshape(-1))


# --- the operations on arrays that NumPy has not, or not safely


def _sigmoid(x: Any) -> Any:
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))  # never overflows


def _relu(x: Any) -> Any:
    return np.maximum(x, np.zeros(_shape(x)[-1:], np.result_type(x)))  # a row is faster than the number 0


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _logsumexp(x: Any, axis: Axis, keepdims: bool) -> Any:
    m = x.max(axis=axis, keepdims=True)
    m = np.where(np.isfinite(m), m, 0)
    with np.errstate(divide="ignore"):  # a sum over -inf alone is -inf
        out = np.log(np.exp(x - m).sum(axis=axis, keepdims=True)) + m
    return out if keepdims else out.squeeze(axis=axis)


def _softmax(x: Any, axis: Axis) -> Any:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _log_softmax(x: Any, axis: Axis) -> Any:
    z = x - x.max(axis=axis, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=axis, keepdims=True))


def _scatter(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    out = np.zeros(shape, g.dtype)
    scatter_into(out, g, index)
    return out


# --- the table


def _both(name: str, forward: Callable[..., Any], derivative: Derivative) -> Rule:
    """An operation on one operand whose Jacobian is symmetric: its VJP and its JVP are the same function."""
    return Rule(name, forward, (derivative,), (derivative,))


# fmt: off
RULES: dict[str, Rule] = {rule.name: rule for rule in (
    # name, forward, VJP for each operand, JVP for each operand

    # number by number (autograd.elementwise-rule, autograd.broadcast-rule)
    Rule("add", operator.add,
        (lambda g, out, x, y: unbroadcast(g, x), lambda g, out, x, y: unbroadcast(g, y)),
        (lambda t, out, x, y: _spread(t, out), lambda t, out, x, y: _spread(t, out)), fresh=False),
    Rule("subtract", operator.sub,
        (lambda g, out, x, y: unbroadcast(g, x), lambda g, out, x, y: unbroadcast(g * -1, y)),  # -g is slower
        (lambda t, out, x, y: _spread(t, out), lambda t, out, x, y: _spread(-t, out)), fresh=False),
    Rule("multiply", operator.mul,
        (lambda g, out, x, y: unbroadcast(g * y, x), lambda g, out, x, y: unbroadcast(g * x, y)),
        (lambda t, out, x, y: t * y, lambda t, out, x, y: x * t)),
    Rule("divide", operator.truediv,
        (lambda g, out, x, y: unbroadcast(g / y, x), lambda g, out, x, y: unbroadcast(-g * (out / y), y)),
        (lambda t, out, x, y: t / y, lambda t, out, x, y: -t * (out / y))),
    Rule("power", operator.pow,
        (lambda g, out, x, y: unbroadcast(g * _base(x, y), x),
         lambda g, out, x, y: unbroadcast(g * _exponent(x, y, out), y)),
        (lambda t, out, x, y: t * _base(x, y),
         lambda t, out, x, y: t * _exponent(x, y, out))),
    Rule("maximum", np.maximum,
        (lambda g, out, x, y: unbroadcast(g * _larger(x, y, out), x),
         lambda g, out, x, y: unbroadcast(g * _larger(y, x, out), y)),
        (lambda t, out, x, y: t * _larger(x, y, out),
         lambda t, out, x, y: t * _larger(y, x, out))),
    Rule("minimum", np.minimum,
        (lambda g, out, x, y: unbroadcast(g * _larger(y, x, out), x),
         lambda g, out, x, y: unbroadcast(g * _larger(x, y, out), y)),
        (lambda t, out, x, y: t * _larger(y, x, out),
         lambda t, out, x, y: t * _larger(x, y, out))),
    Rule("where", np.where,
        (None, lambda g, out, c, x, y: unbroadcast(where(c, g, 0.0), x),
         lambda g, out, c, x, y: unbroadcast(where(c, 0.0, g), y)),
        (None, lambda t, out, c, x, y: _spread(where(c, t, 0.0), out),
         lambda t, out, c, x, y: _spread(where(c, 0.0, t), out))),
    _both("negative", operator.neg, lambda g, out, x: -g),
    _both("exp", np.exp, lambda g, out, x: g * out),
    _both("expm1", np.expm1, lambda g, out, x: g * (out + 1)),
    _both("log", np.log, lambda g, out, x: g / x),
    _both("log1p", np.log1p, lambda g, out, x: g / (1 + x)),
    _both("sqrt", np.sqrt, lambda g, out, x: 0.5 * g / out),
    _both("sin", np.sin, lambda g, out, x: g * cos(x)),
    _both("cos", np.cos, lambda g, out, x: -g * sin(x)),
    _both("tanh", np.tanh, lambda g, out, x: g * (1 - out * out)),
    _both("sigmoid", _sigmoid, lambda g, out, x: g * (out * (1 - out))),
    _both("softplus", _softplus, lambda g, out, x: g * -expm1(-out)),  # E5
    _both("relu", _relu, lambda g, out, x: g * (value_of(out) > 0)),
    _both("absolute", np.absolute, lambda g, out, x: g * np.sign(value_of(x))),

    # sums and extremes over axes
    Rule("sum", _total,
        (lambda g, out, x, axis, keepdims: broadcast_to(_kept(g, x, axis, keepdims), x.shape),),
        (lambda t, out, x, axis, keepdims: _total(t, axis, keepdims),), fresh=False),
    Rule("mean", lambda x, axis, keepdims: x.mean(axis=axis, keepdims=keepdims),
        (lambda g, out, x, axis, keepdims: broadcast_to(_kept(g / _count(x, axis), x, axis, keepdims), x.shape),),
        (lambda t, out, x, axis, keepdims: t.mean(axis=axis, keepdims=keepdims),), fresh=False),
    Rule("max", lambda x, axis, keepdims: x.max(axis=axis, keepdims=keepdims),
        (lambda g, out, x, axis, keepdims: _kept(g, x, axis, keepdims) * _among_equals(x, out, axis, keepdims),),
        (lambda t, out, x, axis, keepdims: _total(t * _among_equals(x, out, axis, keepdims), axis, keepdims),)),
    Rule("min", lambda x, axis, keepdims: x.min(axis=axis, keepdims=keepdims),
        (lambda g, out, x, axis, keepdims: _kept(g, x, axis, keepdims) * _among_equals(x, out, axis, keepdims),),
        (lambda t, out, x, axis, keepdims: _total(t * _among_equals(x, out, axis, keepdims), axis, keepdims),)),
    Rule("cumsum", lambda x, axis: x.cumsum(axis),
        (lambda g, out, x, axis: _sum_to_the_end(g, axis),),
        (lambda t, out, x, axis: cumsum(t, axis),)),

    # the softmax family
    Rule("logsumexp", _logsumexp,
        (lambda g, out, x, axis, keepdims: _kept(g, x, axis, keepdims) * exp(x - _kept(out, x, axis, keepdims)),),
        (lambda t, out, x, axis, keepdims: _total(t * exp(x - _kept(out, x, axis, keepdims)), axis, keepdims),)),
    _both("softmax", _softmax, lambda g, out, x, axis: _softmax_tangent(g, out, axis)),
    Rule("log_softmax", _log_softmax,
        (lambda g, out, x, axis: g - exp(out) * g.sum(axis=axis, keepdims=True),),
        (lambda t, out, x, axis: t - (exp(out) * t).sum(axis=axis, keepdims=True),)),

    # products of matrices
    Rule("matmul", operator.matmul,
        (lambda g, out, x, y: unbroadcast(g @ _turned(y), x), lambda g, out, x, y: _right_factor(x, g, y)),
        (lambda t, out, x, y: t @ y, lambda t, out, x, y: x @ t)),

    # the same numbers elsewhere (autograd.copy-rule)
    Rule("broadcast_to", np.broadcast_to,
        (lambda g, out, x, shape: unbroadcast(g, x),),
        (lambda t, out, x, shape: broadcast_to(t, shape),), fresh=False),
    Rule("reshape", lambda x, shape: x.reshape(shape),
        (lambda g, out, x, shape: g.reshape(x.shape),),
        (lambda t, out, x, shape: t.reshape(out.shape),), fresh=False),
    Rule("transpose", lambda x, axes: x.transpose(axes),
        (lambda g, out, x, axes: g.transpose(_inverse(axes)),),
        (lambda t, out, x, axes: t.transpose(axes),), fresh=False),
    Rule("index", lambda x, index: x[index],
        (lambda g, out, x, index: scatter(g, index, x.shape),),
        (lambda t, out, x, index: t[index],), accumulate=scatter_into),
    Rule("scatter", _scatter,
        (lambda g, out, x, index, shape: g[index],),
        (lambda t, out, x, index, shape: scatter(t, index, shape),), fresh=False),
    Rule("concatenate", lambda *parts, axis: np.concatenate(parts, axis), _unjoined, _joined, fresh=False),
)}
# fmt: on
"""Every operation, by name."""


# --- the operations as functions of arrays and boxes


def exp(x: Operand) -> Any:
    """$e^x$, number by number."""
    return apply(RULES["exp"], x)


def expm1(x: Operand) -> Any:
    """
    $e^x - 1$, number by number, without the loss of digits near zero.

    Examples
    --------
    >>> bool(expm1(1e-20) == 1e-20), bool(exp(1e-20) - 1 == 0)
    (True, True)
    """
    return apply(RULES["expm1"], x)


def log(x: Operand) -> Any:
    r"""$\ln x$, number by number."""
    return apply(RULES["log"], x)


def log1p(x: Operand) -> Any:
    r"""
    $\ln (1 + x)$, number by number, without the loss of digits near zero.

    Examples
    --------
    >>> bool(log1p(1e-20) == 1e-20), bool(log(1 + 1e-20) == 0)
    (True, True)
    """
    return apply(RULES["log1p"], x)


def sqrt(x: Operand) -> Any:
    r"""$\sqrt x$, number by number; the slope at zero is infinite."""
    return apply(RULES["sqrt"], x)


def sin(x: Operand) -> Any:
    r"""$\sin x$, number by number, of angles in radians."""
    return apply(RULES["sin"], x)


def cos(x: Operand) -> Any:
    r"""$\cos x$, number by number, of angles in radians."""
    return apply(RULES["cos"], x)


def tanh(x: Operand) -> Any:
    r"""$\tanh x$, number by number."""
    return apply(RULES["tanh"], x)


def sigmoid(x: Operand) -> Any:
    r"""
    $\frac{1}{1 + e^{-x}}$, number by number, without overflow.

    Examples
    --------
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    return apply(RULES["sigmoid"], x)


def softplus(x: Operand) -> Any:
    r"""
    $\ln (1 + e^x)$, number by number, without overflow; `-softplus(-x)` is the logarithm of the sigmoid.

    Examples
    --------
    >>> softplus(np.array([-1000.0, 1000.0]))
    array([   0., 1000.])
    """
    return apply(RULES["softplus"], x)


def relu(x: Operand) -> Any:
    r"""$\max(0, x)$, number by number, with the slope 0 at 0."""
    return apply(RULES["relu"], x)


def absolute(x: Operand) -> Any:
    """$|x|$, number by number, with the slope 0 at 0."""
    return apply(RULES["absolute"], x)


def maximum(x: Operand, y: Operand) -> Any:
    """The larger of two, number by number and broadcast; at a tie each has the slope 1/2."""
    return apply(RULES["maximum"], x, y)


def minimum(x: Operand, y: Operand) -> Any:
    """The smaller of two, number by number and broadcast; at a tie each has the slope 1/2."""
    return apply(RULES["minimum"], x, y)


def clip(x: Operand, low: Operand, high: Operand) -> Any:
    """
    What is below `low` becomes `low`, what is above `high` becomes `high`; on the bounds the slope is 1/2.

    Parameters
    ----------
    x
        Any shape.
    low, high
        Bounds that broadcast with `x`, the lower one first.

    Returns
    -------
    ndarray or Box
        Of the shape of all of them broadcast.

    Examples
    --------
    >>> clip(np.array([-2.0, 0.5, 2.0]), -1.0, 1.0)
    array([-1. ,  0.5,  1. ])
    """
    return minimum(maximum(x, low), high)


def where(condition: Operand, x: Operand, y: Operand) -> Any:
    """
    `x` where the condition holds and `y` elsewhere.

    The other one is computed too: an infinite slope in what was not chosen meets a cotangent of 0, and their product is
    NaN. Make its operand harmless first, as in `where(x > 0, log(where(x > 0, x, 1.0)), 0.0)`.

    Parameters
    ----------
    condition
        True or false; a constant to every transformation.
    x, y
        Arrays that broadcast with the condition.

    Returns
    -------
    ndarray or Box
        Of the shape of all three broadcast.
    """
    return apply(RULES["where"], value_of(condition), x, y)


def matmul(x: Operand, y: Operand) -> Any:
    """
    The product of matrices, or of batches of them (E3).

    Parameters
    ----------
    x
        Of shape `(..., n, k)`; a vector of length `k` is a matrix of one row.
    y
        Of shape `(..., k, m)`; a vector of length `k` is a matrix of one column. The batch axes broadcast.

    Returns
    -------
    ndarray or Box
        Of shape `(..., n, m)`, without the axis of one row or column that a vector brought in.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> matmul(np.ones((3, 2)), np.array([1.0, 10.0]))
    array([11., 11., 11.])
    """
    x = x if hasattr(x, "shape") else np.asarray(x)
    y = y if hasattr(y, "shape") else np.asarray(y)
    nx, ny = len(x.shape), len(y.shape)
    if nx > 1 and ny > 1:
        return apply(RULES["matmul"], x, y)
    if not nx or not ny or x.shape[-1] != y.shape[-2 if ny > 1 else 0]:
        raise ValueError(
            f"matmul of shapes {x.shape} and {y.shape}: the last axis of the first has to be as long as the last but "
            "one of the second, or as the only one of a vector. Multiply by a single number with *."
        )
    out = apply(RULES["matmul"], x.reshape((1, -1)) if nx == 1 else x, y.reshape((-1, 1)) if ny == 1 else y)
    shape = out.shape
    if nx == 1:
        shape = (*shape[:-2], shape[-1])
    if ny == 1:
        shape = shape[:-1]
    return out.reshape(shape)


def logsumexp(x: Operand, axis: Axis = None, keepdims: bool = False) -> Any:
    r"""
    $\ln \sum_i e^{x_i}$ over axes, without overflow.

    Parameters
    ----------
    x
        Any shape but empty along the axes.
    axis
        Over which axes; all by default.
    keepdims
        Whether those axes stay, with length one.

    Returns
    -------
    ndarray or Box
        In nats, if `x` are logarithms of weights.

    Examples
    --------
    >>> logsumexp(np.array([[-1000.0, 1000.0], [-1000.0, 0.0]]), axis=1)
    array([1000.,    0.])
    """
    return apply(RULES["logsumexp"], x, axis=axis, keepdims=keepdims)


def softmax(x: Operand, axis: Axis = -1) -> Any:
    r"""
    $p_i = e^{x_i} / \sum_j e^{x_j}$ over axes, without overflow (E4).

    Parameters
    ----------
    x
        Any shape but empty along the axes.
    axis
        Over which axes; the last by default.

    Returns
    -------
    ndarray or Box
        Probabilities, of the shape of `x`.

    Examples
    --------
    >>> softmax(np.array([-1000.0, 1000.0, 1000.0]))
    array([0. , 0.5, 0.5])
    """
    return apply(RULES["softmax"], x, axis=axis)


def log_softmax(x: Operand, axis: Axis = -1) -> Any:
    r"""
    $x_i - \ln \sum_j e^{x_j}$ over axes, the logarithm of `softmax`, finite where that has underflowed to 0.

    Parameters
    ----------
    x
        Any shape but empty along the axes.
    axis
        Over which axes; the last by default.

    Returns
    -------
    ndarray or Box
        In nats, of the shape of `x`.

    Examples
    --------
    >>> log_softmax(np.array([-1000.0, 1000.0]))
    array([-2000.,     0.])
    """
    return apply(RULES["log_softmax"], x, axis=axis)


def cumsum(x: Operand, axis: int = -1) -> Any:
    """
    Running sums along an axis.

    Parameters
    ----------
    x
        At least one axis.
    axis
        Along which axis; the last by default.

    Returns
    -------
    ndarray or Box
        Of the shape of `x`.

    Examples
    --------
    >>> cumsum(np.array([1.0, 2.0, 3.0]))
    array([1., 3., 6.])
    """
    return apply(RULES["cumsum"], x, axis=axis)


def broadcast_to(x: Operand, shape: tuple[int, ...]) -> Any:
    """
    `x` repeated to a shape.

    Parameters
    ----------
    x
        An array or a box.
    shape
        What its shape broadcasts to.

    Returns
    -------
    ndarray or Box
        Of that shape; of an array a view that cannot be written to.
    """
    return apply(RULES["broadcast_to"], x, shape=shape)


def scatter(g: Operand, index: Any, shape: tuple[int, ...]) -> Any:
    """
    Zeros of a shape, with `g` added where the index reads: the transpose of indexing (`autograd.index-rule`).

    Parameters
    ----------
    g
        Of the shape of `x[index]` for an `x` of that shape.
    index
        Anything that NumPy takes as an index.
    shape
        The shape of the result.

    Returns
    -------
    ndarray or Box
        Of that shape.

    Examples
    --------
    >>> scatter(np.array([1.0, 10.0, 100.0]), np.array([2, 0, 2]), (4,))
    array([ 10.,   0., 101.,   0.])
    """
    return apply(RULES["scatter"], g, index=index, shape=shape)


def _listed(name: str, parts: Any) -> list[Operand]:
    listed = [part if hasattr(part, "shape") else np.asarray(part) for part in parts]
    if not listed:
        raise ValueError(f"{name} needs at least one array, got none; a generator can be read only once")
    return listed


def concatenate(parts: Iterable[Operand] | Box, axis: int = 0) -> Any:
    """
    Arrays joined along one of their axes.

    Parameters
    ----------
    parts
        At least one array, equal in all other axes: a list, a generator, the rows of an array.
    axis
        The axis along which they are joined.

    Returns
    -------
    ndarray or Box
        As long along the axis as all of them together.

    Raises
    ------
    ValueError
        If there is no array, or the shapes do not fit.

    Examples
    --------
    >>> concatenate([np.zeros(2), np.ones(1)])
    array([0., 0., 1.])
    """
    return apply(RULES["concatenate"], *_listed("concatenate", parts), axis=axis)


def stack(parts: Iterable[Operand] | Box, axis: int = 0) -> Any:
    """
    Arrays of one shape, joined along a new axis.

    Parameters
    ----------
    parts
        At least one array, all of one shape: a list, a generator, the rows of an array.
    axis
        Where the new axis goes.

    Returns
    -------
    ndarray or Box
        With one axis more than its parts.

    Raises
    ------
    ValueError
        If there is no array, if the shapes differ, or if the result has no such axis.

    Examples
    --------
    >>> stack([np.zeros(2), np.ones(2)], axis=1)
    array([[0., 1.],
           [0., 1.]])
    """
    listed = _listed("stack", parts)
    shapes = {part.shape for part in listed}
    if len(shapes) > 1:
        raise ValueError(f"stack needs arrays of one shape, got {sorted(shapes)}. concatenate joins along an old axis.")
    (shape,) = shapes
    at = axis if axis >= 0 else axis + len(shape) + 1
    if not 0 <= at <= len(shape):
        raise ValueError(f"stack of arrays of shape {shape} has the axes 0 to {len(shape)}, got axis {axis}")
    return concatenate([part.reshape((*shape[:at], 1, *shape[at:])) for part in listed], at)
