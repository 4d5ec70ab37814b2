r"""
LayerNorm and RMSNorm: each position divided by its own size.

A transformer adds the output of every layer to one running sum, and the sum grows. What reads it needs numbers of one
size. Batch normalization (`fp_neural.normalization`) measures each feature against the other examples of a batch, which
a language model cannot use: its texts have different lengths, it writes one token at a time, and later positions must
not reach earlier ones. So each position is measured against itself, along its features. What does such a norm keep,
what does it throw away, and what happens to a gradient that goes through it?

You need: `fp_autograd.extend`, `fp_autograd.linear_algebra`, `fp_autograd.floating_point`, orthogonal projections
(`neural.projection`) and `fp_neural.module`.

## Forward

Let $x \in \mathbb{R}^C$ be one row: the features of one position. With $\varepsilon \ge 0$ and a gain
$\gamma \in \mathbb{R}^C$, **RMSNorm** is

$$
v = \frac1C \sum_c x_c^2, \qquad r = \frac{1}{\sqrt{v + \varepsilon}}, \qquad \hat x_c = r\, x_c, \qquad
y_c = \gamma_c\, \hat x_c. \qquad \text{(E1)}
$$

$\sqrt v$ is the **size** of the row, its root mean square. **LayerNorm** takes the mean of the row away first, and adds
a bias $\beta \in \mathbb{R}^C$ last:

$$
\mu = \frac1C \sum_c x_c, \qquad z_c = x_c - \mu, \qquad \text{then (E1) with } z \text{ for } x, \text{ and }
y_c = \gamma_c\, \hat x_c + \beta_c. \qquad \text{(E2)}
$$

Its $v$ is the variance of the row's numbers. $v + \varepsilon > 0$ is assumed throughout: at $\varepsilon = 0$ the row
of RMSNorm must not be zero, and that of LayerNorm not constant. Write $N_\varepsilon(x) = \hat x$ for the map of (E1)
without the gain, and $P x = z$ for the **centring**. So LayerNorm without gain and bias is $N_\varepsilon(P x)$:
RMSNorm of the centred row.

>>> x = np.array([1.0, 2.0, 6.0])
>>> rms_norm(x, np.ones(3), 0).round(3), layer_norm(x, np.ones(3), np.zeros(3), 0).round(3)
(array([0.271, 0.541, 1.623]), array([-0.926, -0.463,  1.389]))
>>> rms_norm(x - x.mean(), np.ones(3), 0).round(3)
array([-0.926, -0.463,  1.389])

**Claim** `transformer.centring`. With $1$ for the vector of ones, $P x = x - \frac1C (1 \cdot x)\, 1$. It is the point
nearest to $x$ among all vectors whose entries sum to zero, and $P = P^\top = P^2$. So
$N_\varepsilon(P x) = N_\varepsilon(x)$ if the entries of $x$ sum to zero.

**Proof.** $\mu = \frac1C (1 \cdot x)$ gives the formula. Let $u = 1 / \sqrt C$, the vector of ones divided by its
length. Then $x - P x = (u \cdot x)\, u$ is the projection of $x$ onto the span of $u$. By `neural.projection` its
matrix $Q$ has $Q = Q^\top = Q^2$, so $P = I - Q$ has $P^\top = P$ and $P^2 = I - 2Q + Q^2 = P$. Next,
$u \cdot P x = u \cdot x - (u \cdot x)(u \cdot u) = 0$, so $P x$ sums to zero. For any $s$ that does, $P x - s$ sums to
zero and is orthogonal to $x - P x$, a multiple of $u$; so $|x - s|^2 = |x - P x|^2 + |P x - s|^2$
(`neural.pythagoras`), which is smallest for $s = P x$. Last, $P x = x$ if $1 \cdot x = 0$. $\blacksquare$

**Claim** `transformer.norm-length`. $\hat x$ points where $x$ does (for LayerNorm: where $z$ does), and

$$
|\hat x| = \sqrt C\, \sqrt{\frac{v}{v + \varepsilon}}, \qquad
0 \le \sqrt C - |\hat x| \le \sqrt C\, \frac{\varepsilon}{2 v} \quad \text{if } v > 0.
$$

So at $\varepsilon = 0$ every row comes out $\sqrt C$ long: of size $1$.

**Proof.** $r > 0$, and $|\hat x|^2 = r^2 |x|^2 = \frac{C v}{v + \varepsilon}$. With $t = \varepsilon / v \ge 0$ the
root is $(1 + t)^{-1/2}$, at most $1$. To show is $(1 + t)^{-1/2} \ge 1 - \frac t2$. If $t \ge 2$ the right side is not
positive. Otherwise it is positive, and squared the inequality says $\big( 1 - \frac t2 \big)^2 (1 + t) \le 1$, where

$$
\Big( 1 - t + \frac{t^2}{4} \Big) (1 + t) = 1 + (t - t) + \Big( \frac{t^2}{4} - t^2 \Big) + \frac{t^3}{4}
  = 1 - \frac{t^2}{4} (3 - t) \le 1. \qquad \blacksquare
$$

## What it does not see

**Claim** `transformer.norm-invariance`. For every $a \ne 0$, every number $b$ and $\varepsilon \ge 0$

$$
N_\varepsilon(a x) = \operatorname{sign}(a)\, N_{\varepsilon / a^2}(x), \qquad
N_\varepsilon(P (a x + b 1)) = \operatorname{sign}(a)\, N_{\varepsilon / a^2}(P x).
$$

So at $\varepsilon = 0$ both norms give the same for $x$ and for $a x$, if $a > 0$, and LayerNorm the same for $x$ and
$x + b 1$, whatever $\varepsilon$.

**Proof.** The mean square of $a x$ is $a^2 v$, so
$N_\varepsilon(a x) = \frac{a x}{\sqrt{a^2 v + \varepsilon}} = \frac{a}{|a|} \frac{x}{\sqrt{v + \varepsilon / a^2}}$.
$P$ is linear and $P 1 = 1 - \frac1C\, C\, 1 = 0$, so $P (a x + b 1) = a P x$: apply the first to $P x$. $\blacksquare$

**Claim** `transformer.norm-eps`. Let $v > 0$ and $a > 0$. Then

$$
|N_\varepsilon(a x) - N_\varepsilon(x)| \le \sqrt C\, \frac{\varepsilon}{2 v} \max \Big( 1, \frac{1}{a^2} \Big).
$$

**Proof.** By `transformer.norm-invariance` $N_\varepsilon(a x)$ and $N_\varepsilon(x)$ are two positive multiples of
$x$, so their distance is the difference of their lengths. By `transformer.norm-length`, with $\varepsilon / a^2$ for
the first, both lengths lie between $\sqrt C - \sqrt C\, \frac{\varepsilon}{2v} \max(1, 1 / a^2)$ and $\sqrt C$.
$\blacksquare$

So $\varepsilon$ matters for rows whose mean square is not large next to it, and only for those. A row of size
$\sqrt \varepsilon$ comes out at $1 / \sqrt 2$ of the full size, and smaller ones are hardly enlarged further: they are
multiplied by $1 / \sqrt \varepsilon$ at most. GPT-2's $10^{-5}$ and Llama's $10^{-5}$ or $10^{-6}$ act below sizes of
0.003 or 0.001.

>>> for size in (1.0, 0.01, 0.001):  # numbers of this size, alternating in sign
...     print(size, rms_norm(size * np.array([1.0, -1.0]), np.ones(2), 1e-6).round(4))
1.0 [ 1. -1.]
0.01 [ 0.995 -0.995]
0.001 [ 0.7071 -0.7071]

## Does the centring matter?

**Claim** `transformer.centred-writes`. Let a network compute $x_{l+1} = x_l + W_l\, F_l(n_l) + b_l$ for
$l = 0, \dots, L - 1$, with any functions $F_l$, where $n_l$ is LayerNorm of $x_l$ (of each row, with its own gain, bias
and $\varepsilon$), and let it read the result through LayerNorm of $x_L$. Replace $x_0$, all $W_l$ and all $b_l$ by
$P x_0$, $P W_l$ and $P b_l$, and every LayerNorm by RMSNorm with the same gain and $\varepsilon$, to which the same
bias is added. What is read stays the same.

**Proof.** Let $x_l$ be the rows of the first network and $x'_l$ those of the second; $x'_l = P x_l$ is to show. It
holds for $l = 0$. If it holds for $l$, then $N_\varepsilon(x'_l) = N_\varepsilon(P x_l)$, so both networks have the
same $n_l$, and $x'_{l+1} = P x_l + P W_l F_l(n_l) + P b_l = P x_{l+1}$ because $P$ is linear. At the end both read the
same as $N_\varepsilon(x'_L) = N_\varepsilon(P x_L)$. $\blacksquare$

So a model that is normalized before each layer loses nothing by RMSNorm: the centring can be done once, to the weights
that write to the sum, of which the embedding is one (if the output is tied, it has to keep the old table). That is why
the Llama family does without it.

## Backward

Let $g$ be the cotangent of $y$, and $h_c = \gamma_c\, g_c$. The cotangent of $x$ is $dx$ here and $\bar x$ on other
pages: two ways to write one thing. One gain and one bias serve all rows, so their cotangents are sums over the rows
(`autograd.broadcast-rule`):

$$
d\gamma_c = \sum_{\text{rows}} g_c\, \hat x_c, \qquad d\beta_c = \sum_{\text{rows}} g_c, \qquad
d\hat x_c = \gamma_c\, g_c = h_c. \qquad \text{(E3)}
$$

$r$ depends on all entries of $x$, so each entry acts in two ways: on its own output, and through $r$ on all of them.

**Claim** `transformer.rms-norm-backward`. The Jacobian of $N_\varepsilon$ at $x$ is
$J = r \big( I - \frac1C \hat x \hat x^\top \big)$. It is symmetric, so JVP and VJP are one map, which takes $t$ to

$$
(J t)_c = r \Big( t_c - \hat x_c \cdot \frac1C \sum_k \hat x_k t_k \Big). \qquad \text{(E4)}
$$

Therefore RMSNorm has the tangent $\dot y_c = \gamma_c\, (J \dot x)_c + \hat x_c\, \dot\gamma_c$ and the cotangent
$dx = J h$.

**Proof.** Let $x$ move along $t$, and let a dot mark what follows. Step by step through (E1),

$$
\begin{aligned}
\dot v &= \frac2C \sum_k x_k t_k, \\
\dot r &= -\tfrac12 (v + \varepsilon)^{-3/2}\, \dot v = -r^3 \cdot \frac1C \sum_k x_k t_k
  = -r^2 \cdot \frac1C \sum_k \hat x_k t_k, \\
\dot{\hat x}_c &= r\, t_c + x_c\, \dot r = r\, t_c - r\, (r x_c) \cdot \frac1C \sum_k \hat x_k t_k,
\end{aligned}
$$

where $x_k = \hat x_k / r$ was used in the second line. As $r x_c = \hat x_c$, this is (E4). It is $J t$ for the matrix
with the entries $r \big( [c = k] - \frac1C \hat x_c \hat x_k \big)$, which stays the same when $c$ and $k$ are
exchanged. The product rule in $y_c = \gamma_c \hat x_c$ gives the tangent; the cotangent of $x$ is
$J^\top d\hat x = J h$. $\blacksquare$

**Claim** `transformer.layer-norm-backward`. The Jacobian of $x \mapsto N_\varepsilon(P x)$ is
$K = r \big( I - \frac1C 1 1^\top - \frac1C \hat x \hat x^\top \big)$. It is symmetric, and takes $t$ to

$$
(K t)_c = r \Big( t_c - \frac1C \sum_k t_k - \hat x_c \cdot \frac1C \sum_k \hat x_k t_k \Big). \qquad \text{(E5)}
$$

LayerNorm has the tangent $\dot y_c = \gamma_c\, (K \dot x)_c + \hat x_c\, \dot\gamma_c + \dot\beta_c$ and the cotangent
$dx = K h$.

**Proof.** By `autograd.jacobian-chain` and the claim before, $K = J P$ with
$J = r (I - \frac1C \hat x \hat x^\top)$ and $P = I - \frac1C 1 1^\top$. Multiply out:

$$
J P = r \Big( I - \frac1C 1 1^\top - \frac1C \hat x \hat x^\top + \frac{1}{C^2} \hat x\, (\hat x^\top 1)\, 1^\top \Big),
$$

where $\hat x^\top 1 = r \sum_c z_c = 0$ by `transformer.centring`. What is left is symmetric, and applied to $t$ it is
(E5). The rest is as before, with $\beta_c$ added. $\blacksquare$

In words: of the cotangent, its mean is taken away (LayerNorm alone), and its part along $\hat x$; the rest is divided
by the size of the input.

**Claim** `transformer.norm-jacobian`. $J \hat x = r \frac{\varepsilon}{v + \varepsilon}\, \hat x$, and $J t = r t$ for
every $t$ orthogonal to $\hat x$. $K 1 = 0$, $K \hat x = r \frac{\varepsilon}{v + \varepsilon}\, \hat x$, and
$K t = r t$ for every $t$ orthogonal to $1$ and $\hat x$. So $|J t| \le r |t|$ and $|K t| \le r |t|$ for every $t$; at
$\varepsilon = 0$ both are $r$ times an orthogonal projection.

**Proof.** By `transformer.norm-length` $\frac1C \hat x \cdot \hat x = \frac{v}{v + \varepsilon}$, so (E4) gives
$J \hat x = r \big( 1 - \frac{v}{v + \varepsilon} \big) \hat x$, and $J t = r t$ if $\hat x \cdot t = 0$. In (E5) the
same holds with $\sum_k \hat x_k = 0$, and $K 1 = r \big( 1 - 1 - \hat x \cdot \frac1C (\hat x \cdot 1) \big) = 0$. Now
split $t$ into its part along $\hat x$ (and its part along $1$) and the rest, which are orthogonal to each other; the
parts are multiplied by numbers between $0$ and $r$, so by `neural.pythagoras` the length is multiplied by at most $r$.
At $\varepsilon = 0$ the numbers are $0$ and $r$: what is left of $t$ is its projection onto the vectors orthogonal to
$\hat x$ (and to $1$). If $\hat x = 0$, which needs $\varepsilon > 0$, then $J = r I$ and $K = r P$. $\blacksquare$

**Claim** `transformer.norm-orthogonal`. For both norms
$x \cdot dx = \frac{\varepsilon}{v + \varepsilon}\, (h \cdot \hat x)$, for LayerNorm moreover $\sum_c dx_c = 0$. So at
$\varepsilon = 0$ the cotangent of the input is orthogonal to the input, and that of LayerNorm to $1$ as well, for
whatever loss comes after.

**Proof.** For RMSNorm $x = \hat x / r$, so $x \cdot dx = \frac1r\, \hat x \cdot J h = \frac1r\, (J \hat x) \cdot h$ by
the symmetry of $J$; insert `transformer.norm-jacobian`. For LayerNorm $1 \cdot K h = (K 1) \cdot h = 0$, so
$x \cdot dx = (z + \mu 1) \cdot dx = z \cdot dx = \frac1r\, (K \hat x) \cdot h$. $\blacksquare$

It is the invariance seen from behind: to stretch the input does not help, so the gradient does not ask for it.

**Claim** `transformer.norm-gradient-scale`. Let $J_\varepsilon(x)$ be the Jacobian of either norm without gain. For
every $a > 0$, $J_\varepsilon(a x) = \frac1a J_{\varepsilon / a^2}(x)$. So at $\varepsilon = 0$ an input $a$ times as
large receives, for the same cotangent of the output, $\frac1a$ times the gradient.

**Proof.** Take Jacobians in $x$ of both sides of `transformer.norm-invariance`. The left side is a function of $a x$,
so its Jacobian is $a\, J_\varepsilon(a x)$ (`autograd.jacobian-chain`); the right side's is $J_{\varepsilon / a^2}(x)$.
Divide by $a$. $\blacksquare$

Two consequences. If $x = W u$, a norm that follows makes the loss blind to the size of $W$, and
`neural.scale-free-weights` applies: gradient steps can only lengthen such weights, and their gradient falls as they
grow. And a sum that has grown large hands little gradient back through the norm; `fp_transformer.residual` follows it.

## In floating point

The variance can be had in one pass over the row, as $\frac1C \sum_c x_c^2 - \mu^2$. It is the same number, and a bad
formula.

**Claim** `transformer.variance-one-pass`. In single precision, whose numbers have $24$ binary digits, the row
$x = (2^{12} - 1,\ 2^{12} + 1)$ has by this formula the variance $0$; its variance is $1$. More generally, if
$\frac1C \sum_c x_c^2$ and $\mu^2$ are each computed with a relative error of up to $\eta$, the relative error of the
difference may be as large as $\eta\, \big( 1 + 2 \frac{\mu^2}{v} \big)$.

**Proof.** $(2^{12} - 1)^2 = 2^{24} - 2^{13} + 1$ is less than $2^{24}$, so it is a number of $24$ digits and exact.
$(2^{12} + 1)^2 = 2^{24} + 2^{13} + 1$ lies where the spacing is $2$, half way between two numbers; the one with the
even last digit is $2^{24} + 2^{13}$. The sum of the two, $2^{25} + 1$, lies where the spacing is $4$, and is rounded to
$2^{25}$. Half of it is $2^{24}$, the square of the mean $2^{12}$: the difference is $0$. But $x_c - \mu = \mp 1$, so
$v = 1$. The second part is `autograd.cancellation` for $a = v + \mu^2$ and $b = \mu^2$, with
$\frac{a + b}{a - b} = \frac{v + 2 \mu^2}{v}$. $\blacksquare$

>>> row = np.array([4095, 4097], np.float32)
>>> (row * row).mean() - row.mean() ** 2, ((row - row.mean()) ** 2).mean()
(np.float32(0.0), np.float32(1.0))

**Claim** `transformer.variance-two-pass`. Let $\hat\mu$ be any number, the mean as it was computed. Let
$\frac1C \sum_c (x_c - \hat\mu)^2$ be computed with numbers of unit roundoff $u$, the products added in any order, and
let no step over- or underflow. The result is

$$
\big( v + (\hat\mu - \mu)^2 \big) (1 + \theta), \qquad |\theta| \le (1 + u)^{C + 3} - 1. \qquad \text{(E6)}
$$

**Proof.** Without rounding, $x_c - \hat\mu = z_c + (\mu - \hat\mu)$, and the sum of its squares over $C$ is $v + 2 (\mu
- \hat\mu) \frac1C \sum_c z_c + (\mu - \hat\mu)^2$, with $\sum_c z_c = 0$. By `autograd.rounding` each difference is
multiplied by some $1 + \delta_c$ with $|\delta_c| \le u$, its square by $(1 + \delta_c)^2$; as in the proof of
`autograd.dot-error` each product takes part in at most $C$ further roundings; and the division by $C$ is one more. So
every term is multiplied by at most $C + 3$ factors $1 + \delta$, a number between $(1 - u)^{C + 3}$ and
$(1 + u)^{C + 3}$. No term is negative, so their sum is multiplied by a number between those; and
$1 - (1 - u)^n \le (1 + u)^n - 1$, since $(1 + u)^n + (1 - u)^n \ge 2$: the odd powers of $u$ cancel. $\blacksquare$

An error of the mean enters by its square, and no subtraction of nearly equal numbers follows. The same count without
the mean holds for RMSNorm, where nothing is ever subtracted. What the second pass costs is little: the block of rows at
work is still in the cache.

Squares overflow early. The largest numbers whose square is finite, in half and in single precision:

>>> [f"{float(np.finfo(dtype).max) ** 0.5:.3g}" for dtype in (np.float16, np.float32)]
['256', '1.84e+19']

So models in half precision compute their norms in single precision.

## How it is computed

In blocks of rows that stay in the cache, in place. All sums are products with a vector, which BLAS does: the mean is
$x \cdot \frac1C 1$; backward, with $p_c = g_c z_c$, the gain's cotangent is a sum of the rows $p$ weighted by $r$, and
the sum in (E5) is $r \sum_k p_k \gamma_k$. For the way back one number a row is kept, $r$, and for LayerNorm a second
one, $\mu$.

>>> from fp_autograd.checking import gradcheck
>>> rng = np.random.default_rng(0)
>>> x, weight, bias = rng.normal(size=(2, 3, 5)), rng.normal(size=5), rng.normal(size=5)
>>> gradcheck(layer_norm, x, weight, bias)  # both modes, first and second order
>>> gradcheck(rms_norm, x, weight)

## In practice

PyTorch's functions of these names compute the same. Some models differ in a detail that a loader has to know: Gemma
stores $\gamma - 1$, so that weight decay pulls the gain to one; T5's norm has no bias and no centring and was RMSNorm
under another name; models in half precision cast $\hat x$ down before or after the gain. Some models put RMSNorm on
queries and keys as well, along each head. Left out: norms over groups of features, and networks that do without norms
by careful scaling.

Sources: J. L. Ba, J. R. Kiros and G. E. Hinton, 2016 (LayerNorm); B. Zhang and R. Sennrich, 2019 (RMSNorm).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from fp_attention._parallel import each
from fp_autograd.extend import operation
from fp_autograd.rules import sqrt
from fp_autograd.tracing import Operand, value_of
from fp_neural.module import Module, Parameter

__all__ = [  # the order of the page
    "layer_norm",
    "rms_norm",
    "reference_layer_norm",
    "reference_rms_norm",
    "LayerNorm",
    "RMSNorm",
]

BLOCK = 1 << 18
"""Numbers of a block of rows: with what is computed from them, they stay in a core's cache."""
PARTS = 8
"""Into how many parts a large input is cut, whatever the number of threads: the same sums on any of them."""
WORTHWHILE = 1 << 18
"""Numbers from which on a second thread pays."""
Real = float | int
Rows = Float[np.ndarray, "N C"]
Column = Float[np.ndarray, "N 1"]


def reference_layer_norm(x: Operand, weight: Operand, bias: Operand, eps: Real = 1e-5) -> Any:
    """(E1) and (E2) line by line, of operations of the table; `layer_norm` does the same in fewer passes."""
    z = x - x.mean(axis=-1, keepdims=True)
    return reference_rms_norm(z, weight, eps) + bias


def reference_rms_norm(x: Operand, weight: Operand, eps: Real = 1e-6) -> Any:
    """(E1) line by line, of operations of the table; `rms_norm` does the same in fewer passes."""
    v = (x * x).mean(axis=-1, keepdims=True)
    return x / sqrt(v + eps) * weight


# --- what both kernels share


def _rows(x: np.ndarray) -> Rows:
    return x.reshape(-1, x.shape[-1])


def _parts(N: int, C: int) -> list[list[slice]]:
    """All rows in blocks, the blocks in parts."""
    n = max(1, BLOCK // C)
    if n >= N:
        return [[slice(0, N)]]
    blocks = [slice(i, min(i + n, N)) for i in range(0, N, n)]
    k = -(-len(blocks) // PARTS)
    return [blocks[i : i + k] for i in range(0, len(blocks), k)]


def _over_rows(work: Callable[[list[slice]], Any], x: Rows) -> list[Any]:
    return each(work, _parts(*x.shape), x.size >= WORTHWHILE)


def _inverse_size(z: Rows, r: Column, eps: float) -> Column:
    """Fill r of (E1)."""
    np.vecdot(z, z, out=r[:, 0])
    r /= z.shape[1]
    r += eps
    if eps < 1e-30 and not r.all():
        raise ValueError(
            "a row of zeros has no size to be divided by, and eps, in the precision of the row, is zero: use a larger "
            f"eps than {eps}"
        )
    np.sqrt(r, out=r)
    return np.divide(1, r, out=r)


# --- LayerNorm


def _layer_forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, eps: float) -> tuple[np.ndarray, Any]:
    """(E1) of the centred rows, (E2); and the means and inverse sizes that the derivatives need."""
    y = np.empty(x.shape, x.dtype)
    X, Y = _rows(x), _rows(y)
    N, C = X.shape
    mean, r = np.empty((2, N, 1), x.dtype)
    share = np.full((C, 1), 1 / C, x.dtype)

    def work(blocks: list[slice]) -> None:
        for rows in blocks:
            xb, mb, z = X[rows], mean[rows], Y[rows]
            np.matmul(xb, share, out=mb)
            np.subtract(xb, mb, out=z)
            z *= _inverse_size(z, r[rows], eps)
            z *= weight
            z += bias

    _over_rows(work, X)
    return y, (mean, r)


def _layer_backward(
    g: np.ndarray, out: np.ndarray, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, saved: Any, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(E3) and (E5). The forward lines are z = x - mean, y = r z weight + bias."""
    mean, r = saved
    dx = np.empty(x.shape, x.dtype)
    X, G, DX = _rows(x), _rows(g), _rows(dx)
    C = X.shape[1]
    share = weight / C

    def work(blocks: list[slice]) -> tuple[np.ndarray, np.ndarray]:
        dw, db = np.zeros((2, C), x.dtype)
        for rows in blocks:
            gb, rb, h = G[rows], r[rows], DX[rows]
            z = X[rows] - mean[rows]
            np.multiply(gb, z, out=h)
            dw += rb[:, 0] @ h
            db += np.add.reduce(gb, axis=0)
            along = (h @ share)[:, None]
            along *= rb
            along *= rb
            z *= along
            np.multiply(gb, weight, out=h)
            h -= (gb @ share)[:, None]
            h -= z
            h *= rb
        return dw, db

    sums = _over_rows(work, X)
    dw, db = sums[0]
    for more in sums[1:]:
        dw += more[0]
        db += more[1]
    return dx, dw, db


def _layer_along_x(
    t: np.ndarray, out: np.ndarray, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, saved: Any, eps: float
) -> np.ndarray:
    """(E5), times the weight; (E4) of what moves once it is centred."""
    mean, r = saved
    xhat = (_rows(x) - mean) * r
    t = _rows(t)
    t = t - t.mean(axis=-1, keepdims=True)
    return (r * (t - xhat * (xhat * t).mean(axis=-1, keepdims=True)) * weight).reshape(x.shape)


def _layer_along_weight(
    t: np.ndarray, out: np.ndarray, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, saved: Any, eps: float
) -> np.ndarray:
    mean, r = saved
    return ((_rows(x) - mean) * r * t).reshape(x.shape)


def _along_bias(t: np.ndarray, out: np.ndarray, *operands: np.ndarray, saved: Any, eps: float) -> np.ndarray:
    return np.broadcast_to(t, out.shape)


_layer_norm = operation(
    "transformer.layer_norm",
    _layer_forward,
    _layer_backward,
    (_layer_along_x, _layer_along_weight, _along_bias),
    reference_layer_norm,
    fresh=True,
)


def layer_norm(x: Operand, weight: Operand, bias: Operand, eps: Real = 1e-5) -> Any:
    r"""
    Centre each row, divide it by its size, scale and shift it (E2), with the derivatives (E5).

    Parameters
    ----------
    x
        Of shape `(..., C)`, float32 or float64; a row is what the last axis holds.
    weight, bias
        $\gamma$ and $\beta$, of shape `(C,)` and the dtype of `x`.
    eps
        $\varepsilon \ge 0$, in the square of the unit of `x`.

    Returns
    -------
    ndarray or Box
        Of the shape of `x`.

    Raises
    ------
    ValueError
        If `weight` and `bias` have not one number for each column of `x`, `eps` is negative or not finite, or it is
        zero and all numbers of a row are equal.
    TypeError
        If the numbers are not all float32, or all float64.

    Examples
    --------
    >>> layer_norm(np.array([[1.0, 2.0, 3.0]]), np.ones(3), np.zeros(3), eps=0).round(4)
    array([[-1.2247,  0.    ,  1.2247]])
    """
    _check("layer_norm", eps, x, weight, bias)
    return _layer_norm(x, weight, bias, eps=float(eps))


# --- RMSNorm


def _rms_forward(x: np.ndarray, weight: np.ndarray, *, eps: float) -> tuple[np.ndarray, Column]:
    """(E1); and the inverse sizes that the derivatives need."""
    y = np.empty(x.shape, x.dtype)
    X, Y = _rows(x), _rows(y)
    r = np.empty((len(X), 1), x.dtype)

    def work(blocks: list[slice]) -> None:
        for rows in blocks:
            xb, yb = X[rows], Y[rows]
            np.multiply(xb, _inverse_size(xb, r[rows], eps), out=yb)
            yb *= weight

    _over_rows(work, X)
    return y, r


def _rms_backward(
    g: np.ndarray, out: np.ndarray, x: np.ndarray, weight: np.ndarray, *, saved: Column, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """(E3) and (E4). The forward line is y = r x weight."""
    dx = np.empty(x.shape, x.dtype)
    X, G, DX = _rows(x), _rows(g), _rows(dx)
    C = X.shape[1]
    share = weight / C

    def work(blocks: list[slice]) -> np.ndarray:
        dw = np.zeros(C, x.dtype)
        for rows in blocks:
            gb, rb, h = G[rows], saved[rows], DX[rows]
            np.multiply(gb, X[rows], out=h)
            dw += rb[:, 0] @ h
            along = (h @ share)[:, None]
            along *= rb
            along *= rb
            np.multiply(gb, weight, out=h)
            h -= X[rows] * along
            h *= rb
        return dw

    dw, *more = _over_rows(work, X)
    for part in more:
        dw += part
    return dx, dw


def _rms_along_x(
    t: np.ndarray, out: np.ndarray, x: np.ndarray, weight: np.ndarray, *, saved: Column, eps: float
) -> np.ndarray:
    """(E4), times the weight."""
    xhat, t = _rows(x) * saved, _rows(t)
    return (saved * (t - xhat * (xhat * t).mean(axis=-1, keepdims=True)) * weight).reshape(x.shape)


def _rms_along_weight(
    t: np.ndarray, out: np.ndarray, x: np.ndarray, weight: np.ndarray, *, saved: Column, eps: float
) -> np.ndarray:
    return (_rows(x) * saved * t).reshape(x.shape)


_rms_norm = operation(
    "transformer.rms_norm",
    _rms_forward,
    _rms_backward,
    (_rms_along_x, _rms_along_weight),
    reference_rms_norm,
    fresh=True,
)


def rms_norm(x: Operand, weight: Operand, eps: Real = 1e-6) -> Any:
    r"""
    Divide each row by its size and scale it (E1), with the derivatives (E4).

    Parameters
    ----------
    x
        Of shape `(..., C)`, float32 or float64; a row is what the last axis holds.
    weight
        $\gamma$, of shape `(C,)` and the dtype of `x`.
    eps
        $\varepsilon \ge 0$, in the square of the unit of `x`.

    Returns
    -------
    ndarray or Box
        Of the shape of `x`.

    Raises
    ------
    ValueError
        If `weight` has not one number for each column of `x`, `eps` is negative or not finite, or it is zero and so is
        a row.
    TypeError
        If the numbers are not all float32, or all float64.

    Examples
    --------
    >>> rms_norm(np.array([[3.0, 4.0]]), np.ones(2), eps=0).round(4)
    array([[0.8485, 1.1314]])
    """
    _check("rms_norm", eps, x, weight)
    return _rms_norm(x, weight, eps=float(eps))


# --- as modules


class LayerNorm(Module):
    r"""
    `layer_norm` with parameters of its own.

    Parameters
    ----------
    dim
        $C$.
    eps
        $\varepsilon$.
    dtype
        Of the parameters.

    Attributes
    ----------
    weight, bias : Parameter
        $\gamma$, at first ones, and $\beta$, at first zeros, of shape `(dim,)`.

    Raises
    ------
    ValueError
        If `dim` is not positive; when called, as `layer_norm`.

    Examples
    --------
    >>> LayerNorm(3)(np.array([[0.0, 1.0, 5.0]], np.float32)).data.round(2)
    array([[-0.93, -0.46,  1.39]], dtype=float32)
    """

    def __init__(self, dim: int, eps: Real = 1e-5, *, dtype: Any = np.float32) -> None:
        super().__init__()
        _check_settings(dim, eps)
        self.eps = eps
        self.weight = Parameter(np.ones(dim, dtype))
        self.bias = Parameter(np.zeros(dim, dtype))

    def forward(self, x: Operand) -> Any:
        """Of the shape of `x`, which is `(..., dim)`."""
        return layer_norm(x, self.weight, self.bias, self.eps)


class RMSNorm(Module):
    r"""
    `rms_norm` with a parameter of its own.

    Parameters
    ----------
    dim
        $C$.
    eps
        $\varepsilon$.
    dtype
        Of the parameter.

    Attributes
    ----------
    weight : Parameter
        $\gamma$, at first ones, of shape `(dim,)`.

    Raises
    ------
    ValueError
        If `dim` is not positive; when called, as `rms_norm`.

    Examples
    --------
    >>> RMSNorm(3)(np.array([[0.0, 3.0, 4.0]], np.float32)).data.round(2)
    array([[0.  , 1.04, 1.39]], dtype=float32)
    """

    def __init__(self, dim: int, eps: Real = 1e-6, *, dtype: Any = np.float32) -> None:
        super().__init__()
        _check_settings(dim, eps)
        self.eps = eps
        self.weight = Parameter(np.ones(dim, dtype))

    def forward(self, x: Operand) -> Any:
        """Of the shape of `x`, which is `(..., dim)`."""
        return rms_norm(x, self.weight, self.eps)


def _check(name: str, eps: Real, x: Operand, *parameters: Operand) -> None:
    array = value_of(x)
    dtype, columns = array.dtype, array.shape[-1:]
    for parameter in parameters:
        p = value_of(parameter)
        if p.shape != columns:
            raise ValueError(
                f"{name} has one number for each column: an input of shape {array.shape} goes with parameters of shape "
                f"{columns or '(C,), and needs an axis'}, got {p.shape}"
            )
        if p.dtype != dtype:
            raise TypeError(f"{name} of {dtype} numbers takes parameters of that kind, got {p.dtype}: use .astype")
    if dtype.char not in "fd":
        raise TypeError(f"{name} computes with float32 or float64, got {dtype}: convert with .astype")
    if not array.shape[-1]:
        raise ValueError(f"{name} takes a mean over the last axis, which is empty in the shape {array.shape}")
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps keeps a size from being zero: a finite number from 0 on, such as 1e-5, got {eps}")


def _check_settings(dim: int, eps: Real) -> None:
    if dim < 1:
        raise ValueError(f"a norm needs at least one number in a row, got dim = {dim}")
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps keeps a size from being zero: a finite number from 0 on, such as 1e-5, got {eps}")
