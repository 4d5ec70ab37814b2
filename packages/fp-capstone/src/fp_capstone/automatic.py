r"""
What does automatic differentiation do for you?

Stage 2 writes down what a program does and walks the record backwards; stage 6's model trains on it, and nobody ever
derived its backward pass. The capstone's model has the same weights and the same gradients, and every line of its
backward pass was derived, typed, and checked. What did the machine do that we had to do ourselves? And what did we do
that no machine does for us?

You need: the record and its sweep (`fp_autograd.tensor`, `fp_autograd.graph`), the rules (`fp_autograd.rules`), and
the backward passes of this chapter.

## Three ways to one gradient

The same weights and the same batch, three times: the forward formulas of this chapter in elementary operations (`+`,
`*`, `@`, `exp`, an index), each with its rule; stage 6's model, whose norms, bends, attention and loss are operations
in one piece with derivatives written by hand, under stage 2's sweep; and ours. All numbers are computed while this page
is built. *Kept* is what the record holds of one block for one token, in numbers, beside the parameters; *read* is the
part of it that some rule looks at; *most at once* is what a token needs of memory while one block more is trained.

<!-- figure: automatic -->

The last column is rounding. Everything else differs.

## What it does

**It knows the order.** Users before what they use: that is what `autograd.heap-sweep` proves of the sweep, for any
program. We wrote the lines of each forward pass from the last to the first, and nothing but a test would have told us
of two lines in the wrong order.

**It adds up where something is used twice.** By `autograd.copy-rule` a value with several users receives the sum of
what they send; the table counts such values. In this model they are the stream in front of each branch
(`capstone.residual-backward`: our `dx +=`), the input of queries, keys and values, which we hide in one wide matrix
(`fp_capstone.parameters`), a key head that serves several query heads (`fp_capstone.attention`: we stack the queries),
both factors of a square in a norm, and the tied table: the output writes its gradient first, the embedding adds to it
(`capstone.tied-gradient`), and for an untied table someone has to remember to write the zeros. Every one of these
places was a chance to forget a term.

**It undoes broadcasting.** A bias is one row for all tokens, so its gradient is a sum over tokens
(`autograd.broadcast-rule`). So are a gain's and, over the sequences, a position's (`capstone.position-gradient`). The
rules of `+` and `*` see from the shapes what to sum; we wrote each sum.

**It needs to be right only once.** A rule is a statement about one operation at one place. By `autograd.two-sweeps` and
`autograd.graph-jacobian`, if the Jacobian of every operation in a graph is applied rightly, so is that of the whole,
whatever the program. The few kinds of operations in the table, checked once, cover a family, every depth, tied or not,
and what you will change tomorrow. Our backward passes had to be checked in every combination
(`fp_capstone.gradient_checks`), and a changed forward line changes a backward line.

**It costs little.** The sweep uses every edge of the record once; in stage 2's model of cost, program and gradient
together take at most four times the program (`autograd.cheap-gradient`), and three times where matrix products are
all that counts. Hand-written passes are no better in this: six operations for a weight and a token
(`fp_capstone.linear`) are the same products.

**It forgets in time.** What only one operation needed is given up as the sweep passes; we release the arena's marks.

## What it costs

**Claim** `capstone.tape-length`. Let a program be a fixed list of array operations, then a loop that runs the same list
of $b$ operations for each of $L$ blocks, then another fixed list, $a$ operations in the two together. Its record has
$a + b L$ operations, whatever the sizes of the arrays. If recording an operation and handing back its cotangents costs
a time $\tau$ beside the arithmetic, and the arithmetic of a block, forward and backward, takes the time $w$, then of
what a further block costs the share $\frac{b \tau}{b \tau + w}$ is overhead.

**Proof.** No list depends on a size, and block after block appends $b$ operations: $a + b + \dots + b = a + b L$. From
$L$ to $L + 1$ blocks the record grows by $b$ operations, for $b \tau$, and the arithmetic by $w$. $\blacksquare$

Both models of the table are such programs. At the width of a real model, where $w$ is large, the overhead is nothing.
Where the arrays are small it is most of the time, and by hand there is less of it, not none: NumPy's own calls cost,
too. Fewer and larger operations are the cure in stage 6, as the column *for each block* shows.

The larger price is memory. A general record does not know what will be read: stage 2 keeps each result, since its
operand or its output may be needed. PyTorch lets every rule say what it will read, and keeps that: the column *read*.
With elementary rules even this is far more than we hold. The reason is that many operations may have one slope.

**Claim** `capstone.one-slope`. Let $y_i = \varphi(x^{(1)}_i, \dots, x^{(r)}_i)$, $i = 1, \dots, n$, with a
differentiable function $\varphi$ of $r$ numbers, however many operations it takes. Then the backward pass needs
$r$ arrays of $n$ numbers, the slopes $s^{(j)}_i = \partial_j \varphi$ at $x_i$; and if nothing else reads the inputs,
they can lie where the inputs were, so that nothing is kept in addition.

**Proof.** $\partial y_i / \partial x^{(j)}_k = [i = k]\, s^{(j)}_i$, so by the chain rule the gradient of $x^{(j)}_i$
is $g_i s^{(j)}_i$ (`autograd.elementwise-rule`, for each $j$). It uses the cotangent and the slopes and nothing else.
The slopes are known as soon as the inputs are, and $r$ inputs of $n$ numbers leave room for $r$ slopes of $n$ numbers.
$\blacksquare$

GELU in elementary operations reads six arrays: the input, $0.044715\,x$, that times $x$, the hyperbolic tangent, one
plus it, and $\frac12 x$. `fp_capstone.activations` keeps one. In the same way $\hat x$ and a number a row do for a
norm's several arrays, and $P$ alone for softmax's input, its shift and its exponentials (`capstone.softmax-backward`
reads nothing else). Stage 6 has done this, operation by operation; and so its record, which knows nothing of the rest,
comes out about where we do.

## What it cannot do

A rule sees one operation. Whatever becomes simpler, safer or smaller when two are seen together is out of its reach.

**A better formula.** The loss is $-\log p_y$ with $p = \operatorname{softmax}(z)$. By rules, the logarithm hands back
$h_y = -1 / p_y$ and zeros, and softmax makes of it $p_i (h_i - \sum_k p_k h_k)$. On paper that is $p_i - [i = y]$.

**Claim** `capstone.rule-underflow`. In exact arithmetic both are equal. In floating-point arithmetic, if the computed
$1 / p_y$ is infinite, because $p_y$ was rounded to zero or lies below the reciprocal of the largest number, the first
is not a number for $i = y$, while the second is $-1$, in error by the true $p_y$ and no more.

**Proof.** $\sum_k p_k h_k = p_y \cdot (-1 / p_y) = -1$. So $p_i (h_i + 1)$ is $p_i$ for $i \ne y$, where $h_i = 0$, and
$p_y (1 - 1 / p_y) = p_y - 1$ for $i = y$. Now let $h_y = -\infty$. For $p_y = 0$ the product $p_y h_y$ is zero times
infinity, which is not a number, and the sum contains it. For $p_y > 0$ the product is $-\infty$, the other terms are
zero, and $h_y - \sum_k p_k h_k$ is infinity minus infinity, which is not a number. The second formula computes $-1$, as
$p_y$ is far below half the spacing of the numbers next to one, and the exact value is $p_y - 1$. $\blacksquare$

It happens to a confident model: in float32 $e^{-104}$ is zero.

>>> from fp_capstone.cross_entropy import cross_entropy_with_gradient
>>> z, y = np.array([[0.0, -104.0]], np.float32), np.array([1])
>>> with np.errstate(all="ignore"):
...     cross_entropy_by_rules(z, y)[1]
array([[nan, nan]], dtype=float32)
>>> cross_entropy_with_gradient(z.copy(), y)[1]
array([[ 1., -1.]], dtype=float32)

Every library offers the fused loss for this reason: someone saw the two together.

**A sum that is already there.** Softmax's rule needs $\sum_k P_{ik} A_{ik}$ over the whole row. (T6) of
`fp_capstone.attention` computes it as $\delta_i = \sum_d G_{id} Y_{id}$, because the sum over keys that it needs is the
one that made $Y$. For a head of $T$ positions $T^2$ products become $T D$; but the work is not the point.

**Claim** `capstone.tile-gradient`. With $\delta$ known, each $Z_{ij} = \partial \ell / \partial S_{ij}$ depends on
$P_{ij}$, $G_i$, $V_j$ and $\delta_i$ alone: any set of pairs can be computed without the others. By the rule of
softmax, $Z_{ij}$ needs $P_{ik}$ and $V_k$ for every $k$ of the row with $P_{ik} \ne 0$.

**Proof.** (T7) is $Z_{ij} = P_{ij} (\sum_d G_{id} V_{jd} - \delta_i)$, which names what it reads. The rule computes
$P_{ij} (A_{ij} - \sum_k P_{ik} A_{ik})$ with $A_{ik} = \sum_d G_{id} V_{kd}$, and its sum has a term for each such $k$.
$\blacksquare$

So the square of scores can be taken in tiles, in any order, and need never exist: that is FlashAttention's backward
pass (`attention.online-softmax` is its other half). No rule could have found it.

**Work that is not there.** In the record the causal mask is an operation like others: scores above the diagonal are
computed, replaced by $-\infty$, exponentiated to zero, multiplied by values, and their zero gradients are multiplied by
keys. Our loops do not visit them (`attention.causal-strips`).

**Memory it may write to.** A record must not let anyone write over what a rule might read; stage 2 refuses it. Whoever
knows the whole program knows the last reader of every array: the stream is added to in place, the slope of a bend takes
the place of its input, the logits become their own gradient, and all of it lies in one stack (`fp_capstone.memory`).
What is cheaper to compute again than to keep (`fp_capstone.recomputation`, `autograd.checkpoint`) is a decision too,
which a record can carry out but not take.

## So which?

Write the forward pass, and let the record do the rest: that is how models are invented. When one operation turns out to
be slow, or loses digits, derive its backward pass by hand and give it to the record as one rule, the way stage 6 does
(`fp_autograd.extend`): the table shows that a handful of such rules buys nearly all of the memory back. Derive
everything by hand where every microsecond counts; or once, to know what happens.

## In practice

PyTorch ships a few hundred fused operations, each with a backward pass that people derived as on these pages.
`torch.compile` and XLA look at the recorded program as a whole and fuse its elementwise parts, forward and backward,
decide what to compute again, and plan the memory: they recover one slope for many operations and arrays that share
memory, and find no new formulas. FlashAttention, fused cross-entropy and fused norms are still written by hand. How
long steps take all three ways is measured by `hatch run bench:train` here and `hatch run bench-transformer:transformer`
in stage 6."""

import ast
import importlib
import inspect
import textwrap
from typing import Any

import numpy as np
from jaxtyping import Float, Int

__all__ = ["cross_entropy_by_rules", "score_gradient_by_rules", "score_gradient_tile", "code_lines"]


def cross_entropy_by_rules(
    z: Float[np.ndarray, "N V"], y: Int[np.ndarray, " N"]
) -> tuple[float, Float[np.ndarray, "N V"]]:
    """
    The mean loss and its gradient as a record of elementary rules computes them.

    Parameters
    ----------
    z
        Logits, shape `N V`.
    y
        The tokens that came.

    Returns
    -------
    loss : float
        In nats per token.
    dz : ndarray
        The gradient, right as long as no probability of a token that came is rounded to zero.

    Examples
    --------
    >>> cross_entropy_by_rules(np.log([[0.25, 0.75]]), np.array([0]))[1].round(12)
    array([[-0.75,  0.75]])
    """
    rows = np.arange(len(y))
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    loss = float(-np.log(p[rows, y]).mean())
    h = np.zeros_like(p)
    h[rows, y] = -1 / p[rows, y] / z.dtype.type(len(y))  # the rule of the logarithm, of the index, of the mean
    return loss, p * (h - (p * h).sum(axis=1, keepdims=True))  # the rule of softmax


def score_gradient_by_rules(
    P: Float[np.ndarray, "R T"], G: Float[np.ndarray, "R D"], V: Float[np.ndarray, "T D"]
) -> Float[np.ndarray, "R T"]:
    r"""
    Gradient of the scores by the rules of the product and of softmax: whole rows.

    Parameters
    ----------
    P, G, V
        Weights, cotangent of the output, values, of one head.

    Returns
    -------
    ndarray
        $Z$, shape `R T`.
    """
    A = G @ V.T
    return P * (A - (P * A).sum(axis=1, keepdims=True))


def score_gradient_tile(
    P: Float[np.ndarray, "r t"],
    G: Float[np.ndarray, "r D"],
    V: Float[np.ndarray, "t D"],
    delta: Float[np.ndarray, " r"],
) -> Float[np.ndarray, "r t"]:
    r"""
    Gradient of some scores, (T7), without the others of their rows (`capstone.tile-gradient`).

    Parameters
    ----------
    P
        The weights of the tile.
    G, delta
        Cotangents and $\delta$ of its rows.
    V
        Values of its columns.

    Returns
    -------
    ndarray
        The tile of $Z$.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> P, G, V = rng.dirichlet(np.ones(7), 5), rng.normal(size=(5, 3)), rng.normal(size=(7, 3))
    >>> delta = (G * (P @ V)).sum(axis=1)
    >>> tile = score_gradient_tile(P[1:3, 4:], G[1:3], V[4:], delta[1:3])
    >>> np.allclose(tile, score_gradient_by_rules(P, G, V)[1:3, 4:], atol=1e-14)
    True
    """
    return P * (G @ V.T - delta[:, None])


def code_lines(place: str) -> int:
    """
    Lines of code of a function of this package, without its signature, docstring, comments and empty lines.

    Parameters
    ----------
    place
        Such as `linear.linear_backward`, or `model.Model.loss_and_grads`.

    Returns
    -------
    int
        As many as a formatter that fills its lines would write.

    Raises
    ------
    ValueError
        If there is no such function.

    Examples
    --------
    >>> code_lines("automatic.score_gradient_by_rules")
    2
    """
    file, _, name = place.partition(".")
    try:
        found: Any = importlib.import_module(f"fp_capstone.{file}")
        for part in name.split("."):
            found = getattr(found, part)
        source = inspect.getsource(inspect.unwrap(found))
    except (ImportError, AttributeError, TypeError):
        raise ValueError(
            f"fp_capstone has no function {place!r}: write its module and its name, such as 'linear.linear_backward'"
        ) from None
    function: Any = ast.parse(textwrap.dedent(source)).body[0]
    body = [node for node in function.body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    return sum(len(ast.unparse(node).splitlines()) for node in body)
