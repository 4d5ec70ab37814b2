r"""
The feed-forward layer: what a position knows by itself.

Attention carries vectors from place to place and mixes them, with weights that sum to one. Two thirds of a block's
parameters and more do something else: they act on each position alone, by a matrix, a bend and a matrix. What can be
said about what such a layer stores, why did the bend become smooth, and what is gained by a third matrix that opens and
closes gates?

You need: `fp_neural.layers`, `fp_neural.activations` for GELU and SiLU, attention as a look-up from
`fp_attention.lookup`, `transformer.parameter-count` from `fp_transformer.config`.

## A memory with fixed keys

With a bend $\varphi$, the layer takes $x \in \mathbb{R}^C$ through a **hidden** layer of width $F$ and back:

$$y = W_2\, \varphi(W_1 x + b_1) + b_2, \qquad W_1 \in \mathbb{R}^{F \times C}, \quad W_2 \in \mathbb{R}^{C \times F}.
\qquad \text{(E1)}$$

Let $k_f \in \mathbb{R}^C$ be row $f$ of $W_1$, a **key**, and $v_f \in \mathbb{R}^C$ column $f$ of $W_2$, a **value**.

**Claim** `transformer.memory`. The layer (E1) without biases returns

$$y = \sum_{f=1}^F \varphi(k_f \cdot x)\, v_f, \qquad \text{(E2)}$$

and if value $v_f$ is erased (put to zero), $y$ loses $\varphi(k_f \cdot x)\, v_f$ and nothing else. With $\varphi =
\exp$ and after division by $\sum_f \varphi(k_f \cdot x)$, it is attention of the single query $x$ to $F$ keys and
values, with scale $1$. Then erasing the pair $f$ multiplies the weights of all others by $\frac{1}{1 - P_f}$, where
$P_f$ was its weight.

**Proof.** Entry $f$ of $W_1 x$ is $k_f \cdot x$, so entry $f$ of the hidden layer is $a_f = \varphi(k_f \cdot x)$; and
$W_2\, a = \sum_f a_f v_f$, a product of a matrix and a vector as a sum of columns. This is (E2); term $f$ is the only
one that contains $v_f$. Softmax attention with scale $1$ has the scores $s_f = x \cdot k_f$, the weights $P_f =
e^{s_f} / \sum_h e^{s_h}$ and the output $\sum_f P_f v_f$, which is (E2) with $\varphi = \exp$, divided by the sum. If
pair $f$ is left out, the others have $e^{s_h} / \big( \sum_i e^{s_i} - e^{s_f} \big) = P_h / (1 - P_f)$. $\blacksquare$

So the layer is a table of $F$ entries that is looked up by similarity, as attention is. What differs:

| | attention | feed-forward |
| --- | --- | --- |
| keys and values | computed from the text, one a position | learned, the same for every text, one a hidden unit |
| strength of an entry | non-negative, all sum to one: entries compete | any, each by itself |
| sees | other positions | its own position only |
| nothing fits | must still give out a mean (`attention.must-speak`) | gives out nearly nothing |

The last line holds for a bend with $\varphi(s) \approx 0$ for $s \ll 0$: an entry whose key points away from $x$ is
silent. With $b_1$ each entry has a threshold of its own: $k_f \cdot x + b_f > 0$.

**Claim** `transformer.positionwise`. Applied to the rows of $X \in \mathbb{R}^{T \times C}$, the layer's row $t$ of the
output depends on row $t$ of the input only, and by the same function for all $t$: permuting the rows, or cutting the
text into pieces, before or after the layer makes no difference.

**Proof.** Row $t$ of $X W_1^\top$ is $W_1 x_t$ (`neural.linear-gradient`, (E1) there); the bend acts on numbers; row
$t$ of the next product is $W_2\, \varphi(W_1 x_t)$; biases are added to every row. No other row occurs, and $t$ does
not. $\blacksquare$

So it needs no mask and no cache, and may take all positions of a batch as rows of one product, which is why it is fast.

## A smooth bend

The first transformer had $\varphi = \operatorname{relu}$. It leaves every entry exactly silent whose key does not fit,
and an entry that is silent for all texts gets no gradient and stays so. GELU and SiLU are relu with the corner rounded
(`neural.gate-symmetry`): nowhere exactly flat but at one point (`neural.gelu-slope`, `neural.silu-slope`). How far from
relu?

**Claim** `transformer.near-relu`. For all $x$, with $x^*$ of `neural.silu-slope`,

$$|\operatorname{silu}(x) - \operatorname{relu}(x)| \le -1 - x^* < 0.279, \qquad
|\operatorname{gelu}(x) - \operatorname{relu}(x)| < 0.175,$$

the latter in its tanh form. So $\varphi(c x) / c \to \operatorname{relu}(x)$ for $c \to \infty$, with an error of at
most $0.279 / c$ for both: what is large is bent as by relu.

**Proof.** For $x \le 0$ relu is zero and $|\operatorname{silu}(x)| = -\operatorname{silu}(x)$, at most $-1 - x^*$ by
`neural.silu-slope`. For $x > 0$, $\operatorname{silu}(x) - x = \operatorname{silu}(-x)$ by `neural.gate-symmetry`,
which is the case before. For GELU, let $u$ be the inner function of (E3) below; it has the sign of $x$, and $|2u| \ge a
|x|$ with $a = 2 \sqrt{2 / \pi}$. By (E3) the difference is $x\, \sigma(2u)$ for $x \le 0$ and $-x\, \sigma(-2u)$ for $x
> 0$, both of size $|x|\, \sigma(-|2u|) \le |x|\, \sigma(-a |x|) = \frac1a \big| \operatorname{silu}(-a |x|) \big| \le
\frac{0.279}{a} < 0.175$, as $\sigma$ rises. Last, $\operatorname{relu}(c x) = c \operatorname{relu}(x)$ for $c > 0$;
divide by $c$. $\blacksquare$

>>> x = np.linspace(-8, 8, 100_001)
>>> relu = np.maximum(x, 0)
>>> round(float(np.abs(swiglu(x, np.ones_like(x)) - relu).max()), 4), round(float(np.abs(gelu_tanh(x) - relu).max()), 4)
(0.2785, 0.17)

GPT-2 takes GELU in its tanh form (E8 of `fp_neural.activations`), as `FeedForward` does here.

**Claim** `transformer.gelu-slope`. With $u = \sqrt{2 / \pi}\, (x + 0.044715\, x^3)$, which is the $u$ of (E8) of
`fp_neural.activations`, and $\sigma = \sigma(2u)$,

$$
\begin{aligned}
\operatorname{gelu}(x) &= \tfrac{x}{2} (1 + \tanh u) = x\, \sigma, &\text{(E3)} \\
\operatorname{gelu}'(x) &= \sigma\, \big( 1 + x\, (1 - \sigma)\, 2 u' \big), \qquad
u' = \sqrt{2 / \pi}\, (1 + 0.134145\, x^2). &\text{(E4)}
\end{aligned}
$$

**Proof.** $\tanh u = 2 \sigma(2u) - 1$ (`autograd.tanh-slope`); insert. The slope of $\sigma(2u)$ in $x$ is
$\sigma (1 - \sigma) \cdot 2u'$ (`autograd.sigmoid-slope`, `autograd.chain-rule`), so the product $x\, \sigma$ has the
slope $\sigma + x\, \sigma (1 - \sigma)\, 2u'$ (`markov.slope-rules`). $3 \cdot 0.044715 = 0.134145$. $\blacksquare$

So this GELU is SiLU with another argument in its gate, and one kernel would nearly do for both. A $\tanh$ cannot
overflow as the exponential in $\sigma$ can, so both kernels below compute $\sigma(2u) = \frac12 (1 + \tanh u)$. For a
gate that is nearly shut it is exact to a share of $1$, not of the gate, which no sum with other entries can tell.

## Gates

The gated layer puts another linear map of $x$ in the place of $x$ behind the gate:

$$y = W_d\, h, \qquad h = \operatorname{silu}(a) \odot b, \qquad a = W_g\, x, \quad b = W_u\, x, \qquad \text{(E5)}$$

where $\odot$ multiplies entry by entry, $W_g, W_u \in \mathbb{R}^{F \times C}$ and $W_d \in \mathbb{R}^{C \times F}$.
This is **SwiGLU**. An entry has two keys: one says how far to open, the other how much, and with which sign, comes
through.

**Claim** `transformer.gate-fixed`. The output of (E5) is $M(x)\, x$ with the matrix

$$M(x) = W_d \operatorname{diag} \big( \operatorname{silu}(W_g\, x) \big)\, W_u, \qquad \text{(E6)}$$

so with the gates held fixed the layer is linear, of a rank at most the number of gates that are not zero. For $c > 0$,
$\frac{1}{c^2}\, y(c x) \to W_d \big( \operatorname{relu}(W_g\, x) \odot W_u\, x \big)$ as $c \to \infty$, where a layer
(E1) without biases has $\frac1c\, y(c x) \to W_2 \operatorname{relu}(W_1 x)$.

**Proof.** $s \odot b = \operatorname{diag}(s)\, b$. For fixed gates $s$ this is the product of three matrices, and
leaving out the columns of $W_d$ and rows of $W_u$ whose gate is zero does not change it; what remains is a narrow layer
(`neural.narrow-layer`). For $c x$, $b$ becomes $c\, b$, and $\frac1c \operatorname{silu}(c\, a) \to
\operatorname{relu}(a)$ by `transformer.near-relu`; the product with a matrix is a sum of such terms. $\blacksquare$

So SwiGLU multiplies two functions of the input, which (E1) can only imitate with many bends. What it costs is a third
matrix: with $F = \frac83 C$ in place of $4 C$ the parameters are as many (`transformer.swiglu-width`).

**Claim** `transformer.swiglu-backward`. Let $s = a\, \sigma(a)$ and $h = s \odot b$, and let $g$ be the cotangent of
$h$. Then, entry by entry,

$$
\begin{aligned}
\bar a &= g\, b\, \sigma\, (1 + a - s), & \bar b &= g\, s, & \text{(E7)} \\
\dot h &= b\, \sigma\, (1 + a - s)\, \dot a + s\, \dot b, & & & \text{(E8)}
\end{aligned}
$$

with $\sigma = \sigma(a)$, where $\dot a$ and $\dot b$ are tangents of $a$ and $b$. For the layer (E5) with the
cotangent $G$ of $y$: $g = W_d^\top G$ and $\bar x = W_g^\top\, \bar a + W_u^\top\, \bar b$.

**Proof.** Entry $i$ of $h$ depends on entries $i$ of $a$ and $b$ only. Its partial derivative in $b$ is $s$. In $a$ it
is $b$ times the slope of SiLU, by (E2) of `fp_neural.activations` $\sigma\, (1 + a (1 - \sigma)) = \sigma\, (1 + a - a
\sigma)$, and $a \sigma = s$. A cotangent times the partial derivatives is (E7), the partial derivatives times tangents
and added is (E8) (`autograd.elementwise-rule`). The rest is `neural.linear-gradient`; $x$ is used twice, so its
cotangents add (`autograd.copy-rule`). $\blacksquare$

`swiglu` is one operation: composed of a sigmoid and two products it keeps two arrays of $F$ numbers a position more.
Nothing is saved beside $a$ and $b$, which exist anyway: computing $\sigma$ again on the way back costs less than
writing it to memory and reading it. The kernels work on blocks that stay in the cache, and share them out to threads if
the arrays are large.

## How much of the block

By (E1) of `fp_transformer.config` a block of the Llama family has $3 C F$ weights in this layer and
$2 C^2 (1 + \frac{K}{H})$ in attention, each used once for each token; in SmolLM2-135M it is three quarters:

>>> C, F, H, K_heads = 576, 1536, 9, 3
>>> 3 * C * F / (3 * C * F + 2 * C**2 * (1 + K_heads / H))
0.75

## In practice

The reading as a memory is M. Geva and others, 2021; methods that edit one fact of a model (ROME, K. Meng and others,
2022) change $W_2$ by a matrix of rank one. GELU came with GPT and BERT, SwiGLU (N. Shazeer, 2020) with PaLM and
Llama. Shazeer compared gates on equal parameters and offers no explanation of their success. Hidden layers of trained
relu models are mostly zero, which some kernels use to skip columns; SwiGLU's are not. A mixture of experts is the same
table, of which each token reads a part (`fp_transformer.mixture`). Some implementations keep $W_g$ and $W_u$ as one
matrix, for one large product in place of two.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fp_attention._parallel import each
from fp_autograd import rules
from fp_autograd.extend import operation
from fp_autograd.tracing import Operand
from fp_neural.activations import CUBIC, K, reference_gelu
from fp_neural.layers import Linear
from fp_neural.module import Module
from fp_transformer.config import swiglu_width

__all__ = ["FeedForward", "SwiGLU", "swiglu", "reference_swiglu", "gelu_tanh"]  # the order of the page

BLOCK = 2**19  # bytes: large enough that threads seldom meet, small enough that a few stay in the processor's cache
PARTS = 8  # into how many a large array is cut, each for one thread
WORTHWHILE = 2**21  # bytes of an array from which on threads are faster


class FeedForward(Module):
    r"""
    Two matrices with GELU, in its tanh form, between them (E1).

    Parameters
    ----------
    dim
        $C$, the width of the input and of the output.
    hidden
        $F$, how many memories there are; `4 * dim` by default.
    rng
        Draws the weights. None leaves them at zero, for those that will be loaded.
    bias
        Whether the two linear layers have biases.
    dtype
        Of the parameters.

    Attributes
    ----------
    up_proj, down_proj : Linear
        Their weights have the shapes $F \times C$, the keys, and $C \times F$, whose columns are the values.

    Raises
    ------
    ValueError
        If a width is not positive.

    Examples
    --------
    >>> layer = FeedForward(6, 11, rng=np.random.default_rng(0))
    >>> layer(np.ones((2, 5, 6), np.float32)).shape, layer.n_parameters
    ((2, 5, 6), 149)
    """

    def __init__(
        self,
        dim: int,
        hidden: int | None = None,
        *,
        rng: np.random.Generator | None,
        bias: bool = True,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        hidden = 4 * dim if hidden is None else hidden
        self.up_proj = Linear(dim, hidden, bias=bias, rng=rng, dtype=dtype)
        self.down_proj = Linear(hidden, dim, bias=bias, rng=rng, dtype=dtype)

    def forward(self, x: Operand) -> Any:
        """Of shape `(..., dim)`, as the input."""
        return self.down_proj(gelu_tanh(self.up_proj(x)))


class SwiGLU(Module):
    r"""
    The gated layer (E5), without biases.

    Parameters
    ----------
    dim
        $C$, the width of the input and of the output.
    hidden
        $F$; by default the smallest multiple of 16 that is not below `8 * dim / 3` (`transformer.swiglu-width`).
    rng
        Draws the weights. None leaves them at zero, for those that will be loaded.
    dtype
        Of the parameters.

    Attributes
    ----------
    gate_proj, up_proj, down_proj : Linear
        Their weights have the shapes $F \times C$ twice, and $C \times F$.

    Raises
    ------
    ValueError
        If a width is not positive.

    Examples
    --------
    >>> layer = SwiGLU(6, rng=np.random.default_rng(0))
    >>> layer(np.ones((2, 5, 6), np.float32)).shape, layer.gate_proj.weight.shape
    ((2, 5, 6), (16, 6))
    """

    def __init__(
        self, dim: int, hidden: int | None = None, *, rng: np.random.Generator | None, dtype: Any = np.float32
    ) -> None:
        super().__init__()
        hidden = swiglu_width(dim) if hidden is None else hidden
        self.gate_proj = Linear(dim, hidden, bias=False, rng=rng, dtype=dtype)
        self.up_proj = Linear(dim, hidden, bias=False, rng=rng, dtype=dtype)
        self.down_proj = Linear(hidden, dim, bias=False, rng=rng, dtype=dtype)

    def forward(self, x: Operand) -> Any:
        """Of shape `(..., dim)`, as the input."""
        return self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))


# --- the kernels: outputs first, then scratch, each a block of an array


def _blockwise(kernel: Callable[..., None], n_out: int, *arrays: Any) -> tuple[np.ndarray, ...]:
    """New arrays that a kernel fills, block by block, with one block of scratch, on several threads if large."""
    shape, dtype = np.shape(arrays[0]), np.result_type(*arrays)
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    inputs = [np.ascontiguousarray(a, dtype).reshape(-1) for a in arrays]
    size, step = inputs[0].size, BLOCK // dtype.itemsize
    outputs = [np.empty(size, dtype) for _ in range(n_out)]
    part = -(-size // (PARTS * step)) * step

    def work(first: int) -> None:
        scratch = np.empty(step, dtype)
        for i in range(first, min(first + part, size), step):
            pieces = [a[i : i + step] for a in (*outputs, *inputs)]
            kernel(*pieces[:n_out], scratch[: pieces[0].size], *pieces[n_out:])

    if size <= step:
        kernel(*outputs, np.empty(size, dtype), *inputs)
    else:
        each(work, range(0, size, part), size * dtype.itemsize > WORTHWHILE)
    return tuple(out.reshape(shape) for out in outputs)


def _swiglu_kernel(out: np.ndarray, half: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    np.multiply(a, 0.5, out=half)
    np.tanh(half, out=out)
    out += 1
    out *= half  # a sigma, with sigma(a) = (1 + tanh(a/2)) / 2
    out *= b


def _swiglu_slopes(
    da: np.ndarray, db: np.ndarray, rest: np.ndarray, g: np.ndarray, a: np.ndarray, b: np.ndarray
) -> None:
    _silu_slope(da, db, rest, a)
    np.multiply(b, g, out=rest)
    da *= rest
    db *= g


def _swiglu_along_a(dout: np.ndarray, rest: np.ndarray, t: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    _silu_slope(dout, np.empty_like(a), rest, a)
    dout *= b
    dout *= t


def _silu_slope(slope: np.ndarray, s: np.ndarray, rest: np.ndarray, a: np.ndarray) -> None:
    """The slope sigma (1 + a - s) of SiLU (E7), and s = a sigma itself."""
    np.multiply(a, 0.5, out=slope)
    np.tanh(slope, out=slope)
    slope *= 0.5
    slope += 0.5  # sigma
    np.multiply(a, slope, out=s)
    np.subtract(a, s, out=rest)
    rest += 1
    slope *= rest


def _gelu_kernel(out: np.ndarray, half: np.ndarray, x: np.ndarray) -> None:
    with np.errstate(over="ignore"):  # the tanh of infinity is 1
        np.multiply(x, x, out=out)
        out *= K * CUBIC
        out += K
        out *= x  # u
    np.tanh(out, out=out)
    out += 1
    np.multiply(x, 0.5, out=half)
    out *= half


def _gelu_slope(dx: np.ndarray, square: np.ndarray, g: np.ndarray, x: np.ndarray) -> None:
    x = np.clip(x, -10, 10)  # beyond, tanh u is 1 to the last digit, and x u' may overflow, whose product with 0 is NaN
    np.multiply(x, x, out=square)
    np.multiply(square, K * CUBIC, out=dx)
    dx += K
    dx *= x
    np.tanh(dx, out=dx)  # 2 sigma - 1
    square *= 3 * K * CUBIC
    square += K
    square *= x  # x u'
    np.subtract(1, dx, out=x)
    square *= x
    square += 1
    dx += 1
    dx *= square
    dx *= 0.5  # sigma (1 + x (1 - sigma) 2u') (E4)
    dx *= g


# --- the operations


def reference_swiglu(a: Operand, b: Operand) -> Any:
    """`swiglu` composed of operations of the table (E5)."""
    return a * rules.sigmoid(a) * b


_swiglu = operation(
    "transformer.swiglu",
    lambda a, b: _blockwise(_swiglu_kernel, 1, a, b)[0],
    lambda g, out, a, b: _blockwise(_swiglu_slopes, 2, g, a, b),
    (
        lambda t, out, a, b: _blockwise(_swiglu_along_a, 1, t, a, b)[0],
        lambda t, out, a, b: _blockwise(_swiglu_kernel, 1, a, t)[0],
    ),
    reference=reference_swiglu,
    fresh=True,
)


def _gelu_both(g: Any, out: Any, x: Any) -> Any:
    return _blockwise(_gelu_slope, 1, g, x)[0]


_gelu_tanh = operation(
    "transformer.gelu_tanh",
    lambda x: _blockwise(_gelu_kernel, 1, x)[0],
    (_gelu_both,),  # a diagonal Jacobian: one map serves both ways (autograd.elementwise-rule)
    (_gelu_both,),
    reference=lambda x: reference_gelu(x, "tanh"),
    fresh=True,
)


def swiglu(a: Operand, b: Operand) -> Any:
    r"""
    $a\, \sigma(a)\, b$, number by number (E5), with the derivatives (E7) and (E8), in one operation.

    Parameters
    ----------
    a
        What opens the gate; any shape.
    b
        What passes through it, of the same shape.

    Returns
    -------
    ndarray or Box
        Of that shape.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> swiglu(np.array([-100.0, 0.0, 100.0]), np.array([2.0, 2.0, 2.0]))
    array([ -0.,   0., 200.])
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(
            f"a gate and what passes through it have the same shape, got {np.shape(a)} and {np.shape(b)}: "
            "broadcast them first"
        )
    return _swiglu(a, b)


def gelu_tanh(x: Operand) -> Any:
    """
    GELU in its tanh form (E3), number by number: `fp_neural.activations.gelu(x, "tanh")`, on several threads.

    Parameters
    ----------
    x
        Any shape, array or box.

    Returns
    -------
    ndarray or Box
        Of the shape of `x`.

    Examples
    --------
    >>> np.round(gelu_tanh(np.array([-2.0, 0.0, 2.0])), 4)
    array([-0.0454,  0.    ,  1.9546])
    """
    return _gelu_tanh(x)
