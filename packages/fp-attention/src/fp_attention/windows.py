r"""
Windows and sinks: attention that forgets, and the tokens that it cannot do without.

Under a causal mask the last of $T$ tokens looks at $T$ keys, and all of them have to be kept. Most of what a token
needs stands close by. If each token looks at the last $w$ positions only, what is saved, and how far back can a network
of such layers still see? And why does a trained model break when the first tokens of a text, which say nothing much,
leave the window?

You need: `attention.closed-set` and `attention.mask-is-conditioning`, `attention.weighted-mean`,
`neural.softmax-classes`, means and variances (`fp_markov.probability`).

## What a window costs

**Claim** `attention.window-cost`. Let $1 \le w \le T$ and $0 \le s \le T - w$. Of the pairs of $T$ positions
`SlidingWindow(w)` allows

$$N_w = w T - \frac{w (w - 1)}{2}, \qquad \text{(E1)}$$

and `SlidingWindow(w) | (Causal() & First(s))` allows $N_w + s (T - w) - \frac{s (s - 1)}{2}$. With $w = T$, (E1) is the
number under `Causal`, $\frac{T (T + 1)}{2}$; and `Causal() | First(n)` allows $\frac{n (n - 1)}{2}$ more than that.

**Proof.** The query at $i$ sees the $\min(w, i + 1)$ keys from $\max(i - w + 1, 0)$ to $i$. Were it $w$ everywhere, the
sum were $w T$. For $i < w$ there are $w - 1 - i$ too many, in all $(w - 1) + (w - 2) + \dots + 0 =
\frac{w (w - 1)}{2}$. The first $s$ positions add something where the window has left them: for $i = w - 1 + r$ with
$1 \le r \le T - w$ the window begins at $r$, and of the $s$ first positions $\min(s, r)$ stand before it. Were it $s$
everywhere, the sum were $s (T - w)$; for $r = 1, \dots, s - 1$, all of which occur, $s - r$ are too many, in all
$\frac{s (s - 1)}{2}$. With $w = T$, (E1) is $T^2 - \frac{T^2 - T}{2}$. Under the prefix mask the query at $i < n$ sees
$n$ keys (`attention.prefix`), $n - 1 - i$ more than under `Causal`, in all $\frac{n (n - 1)}{2}$. $\blacksquare$

The cost grows with $w T$ and no longer with $T^2$. `allowed_pairs` counts for any mask, without the matrix:

>>> from fp_attention.masks import Causal, SlidingWindow
>>> allowed_pairs(Causal(), 16_384), allowed_pairs(SlidingWindow(1024), 16_384)
(134225920, 16253440)

## How far a stack of windows reaches

**Claim** `attention.receptive-field`. Let a stack (`attention.closed-set`) have $L$ attention layers, all under
`SlidingWindow(w)`.

1. Its output at $t$ depends on no input before $t - L (w - 1)$. Under `SlidingWindow(w) | (Causal() & First(s))` it
   depends on those and the first $s$ alone.
2. No smaller number serves: where all scores are equal, the values are the inputs, and there are no other layers, the
   output at $t$ has a positive slope in the input at each position from $\max(t - L (w - 1), 0)$ to $t$.

**Proof.** (1) Let $R_l$ be the first $s$ positions with those from $t - l (w - 1)$ to $t$. I show that after $l$
attention layers what stands at $t$ depends on the inputs at $R_l$ alone, for every $t$, by induction on $l$.
Positionwise layers and sums do not change it, and with $l = 0$ there is nothing else. The $l$-th attention layer at $t$
reads the positions $t - w + 1, \dots, t$ and the sinks up to $t$. By the induction hypothesis what stands at $t - m$
with $0 \le m \le w - 1$ depends on the sinks and on the positions from $t - m - (l - 1)(w - 1) \ge t - l (w - 1)$ to
$t - m$; what stands at a sink $f < s$ depends on the sinks and on positions up to $f$, which are sinks. (2) One layer
is $x \mapsto P x$ with $P_{ij} > 0$ exactly if $0 \le i - j \le w - 1$. So $L$ layers are $x \mapsto P^L x$, and the
slope of the output at $t$ in the input at $j$ is

$$
(P^L)_{tj} = \sum_{i_1, \dots, i_{L - 1}} P_{t i_1} P_{i_1 i_2} \cdots P_{i_{L - 1} j}, \qquad \text{(E2)}
$$

a sum over paths from $t$ to $j$ in $L$ steps of $0$ to $w - 1$ positions back. No term is negative, and one is positive
if there is such a path: walk back by $w - 1$ until fewer are left, then by what is left, then by $0$. That takes no
more than $L$ steps if $t - j \le L (w - 1)$. $\blacksquare$

So information is handed on from layer to layer. Mistral 7B has 32 layers with windows of 4,096:

>>> receptive_field(4096, 32)
131041

It may reach that far. How much arrives?

**Claim** `attention.receptive-weight`. In (2) of `attention.receptive-field` let $t \ge L (w - 1)$. Then the slope of
the output at $t$ in the input at $t - m$ is the probability that $L$ independent numbers, each of $0, \dots, w - 1$
equally likely, sum to $m$. The distance $m$ has the mean $L \frac{w - 1}{2}$ and the variance
$L \frac{w^2 - 1}{12}$, and its largest value $L (w - 1)$ has the weight $w^{-L}$.

**Proof.** No path of $L$ steps from $t$ leads to a position before $0$, nor through one whose window is cut off: after
$l < L$ steps it is at $t - l (w - 1) \ge w - 1$ or later. So every factor in (E2) is $\frac1w$, and the slope is the
number of paths with steps that sum to $m$, times $w^{-L}$: the probability. Means add, and so do variances of
independent numbers (`markov.expectation-linear`, `markov.variance-of-mean`), and it remains to find those of one
number. As $0 + 1 + \dots + (w - 1) = \frac{w (w - 1)}{2}$, its mean is $\frac{w - 1}{2}$. The sum of the squares
$0^2 + 1^2 + \dots + (w - 1)^2$ is $\frac{(w - 1)\, w\, (2 w - 1)}{6}$: this holds for $w = 1$, and adding $w^2$ gives
$\frac{w\, (2 w^2 - 3 w + 1 + 6 w)}{6} = \frac{w\, (w + 1)(2 w + 1)}{6}$, the same for $w + 1$. So the variance is

$$
\frac{(w - 1)(2 w - 1)}{6} - \frac{(w - 1)^2}{4} = \frac{(w - 1)(4 w - 2 - 3 w + 3)}{12} = \frac{(w - 1)(w + 1)}{12}.
$$

Only the steps $w - 1, \dots, w - 1$ sum to $L (w - 1)$. $\blacksquare$

Here nothing prefers any distance, and nothing jumps over a layer. The sums $x + f(x)$ of real networks do, and bring
what is near still nearer: then some of the steps are $0$. For Mistral's numbers, the mean and the standard deviation of
the distance:

>>> 32 * 4095 / 2, round((32 * (4096**2 - 1) / 12) ** 0.5)
(65520.0, 6689)

So the reach is a bound, not what a model uses. With steps of different length it grows faster than in proportion to
$L$:

**Claim** `attention.dilated-reach`. Let layer $l = 0, \dots, L - 1$ of a stack look at the distances
$0, w^l, 2 w^l, \dots, (w - 1)\, w^l$. Then the output at $t$ depends on no input before $t - (w^L - 1)$, and from each
position $t - m \ge 0$ with $0 \le m < w^L$ exactly one path leads to it.

**Proof.** A path is a choice of $a_l \in \{0, \dots, w - 1\}$ for each layer, and leads back by $\sum_l a_l w^l$. The
$a_l$ are the digits of this number written to the base $w$: numbers from $0$ to $w^L - 1$ have exactly one way to be
written with $L$ digits, and others none. $\blacksquare$

## Having to say something

The weights of a row sum to one. A head that looks for something that is not there has to look somewhere all the same.

**Claim** `attention.must-speak`. Let $u$ be a vector of length one and let $u \cdot v_j \ge \gamma > 0$ for all values
that a row may look at. Then $|y| \ge \gamma$, whatever the scores are.

**Proof.** $u \cdot y = \sum_j p_j\, u \cdot v_j \ge \gamma \sum_j p_j = \gamma$, and
$u \cdot y \le |u|\, |y| = |y|$ by `autograd.cauchy-schwarz`. $\blacksquare$

Add one key with the score $0$ and the value $0$. Its weight adds nothing to the output: it is what the head keeps to
itself. The other weights are the **softmax off by one**

$$\operatorname{softmax}_1(s)_j = \frac{e^{s_j}}{1 + \sum_k e^{s_k}}. \qquad \text{(E3)}$$

**Claim** `attention.sink`.

1. $\operatorname{softmax}_1(s_1, \dots, s_n)$ is $\operatorname{softmax}(s_1, \dots, s_n, 0)$ without its last entry.
   Its entries sum to $\frac{z}{1 + z}$ with $z = \sum_k e^{s_k}$, which takes every value between $0$ and $1$ as a
   number is added to all scores.
2. The output $y = \sum_j \operatorname{softmax}_1(s)_j\, v_j$ is $\frac{z}{1 + z}$ times that of the softmax, and
   $|y| \le n\, e^{\max_j s_j} \max_j |v_j|$.
3. If the score of the added key is $b$ instead of $0$, the weights are $\operatorname{softmax}_1(s - b)$, with $b$
   taken from every score.

**Proof.** (1) $e^0 = 1$ is the added term of the denominator. The sum of (E3) over $j$ is $\frac{z}{1 + z}$. Adding $c$
to all scores multiplies $z$ by $e^c$, and $\frac{z}{1 + z} = \sigma$ for $z = \frac{\sigma}{1 - \sigma}$ with any
$0 < \sigma < 1$. (2) (E3) is $\frac{z}{1 + z} \cdot \frac{e^{s_j}}{z}$. Each weight is at most
$e^{s_j} \le e^{\max s}$, and there are $n$ terms. (3) $\frac{e^{s_j}}{e^b + z}$ divided by $e^b$ above and below the
line is $\frac{e^{s_j - b}}{1 + \sum_k e^{s_k - b}}$. $\blacksquare$

With low scores everywhere such a head is silent, and a row in which nothing is allowed is no special case:

>>> softmax_one(np.array([-9.0, -8.0, -9.0])).round(4)
array([0.0001, 0.0003, 0.0001])
>>> softmax_one(np.full(3, -np.inf))
array([0., 0., 0.])

A model with the ordinary softmax makes such a key itself, out of a token. Which? One that every query may look at, and
under a causal mask that is the first. It is given a key that most queries agree with, and a value that is nearly zero:
an **attention sink**.

## What happens when the sink is gone

**Claim** `attention.sink-removal`. Let $F$ be some of the keys of a row, with the weights $p_j$ of which those in $F$
sum to $W$, $0 < W < 1$, and let $\bar v = \frac1W \sum_{j \in F} p_j v_j$. When the keys in $F$ are removed, every
other weight becomes $\frac{p_j}{1 - W}$, the logarithm of the denominator falls by $-\ln (1 - W)$, and the output
becomes

$$y' = \frac{y - W \bar v}{1 - W}, \qquad y' - y = W\, (y' - \bar v). \qquad \text{(E4)}$$

If the values in $F$ are zero, $y' = \frac{y}{1 - W}$.

**Proof.** To remove keys is to forbid them, and by (2) of `attention.mask-is-conditioning` the weights become
$P(J = j \mid J \notin F) = \frac{p_j}{1 - W}$. The share of the denominator $z$ that is left is $1 - W$, and
$\ln \big( (1 - W)\, z \big) = \ln z + \ln (1 - W)$. Now $y = \sum_{j \in F} p_j v_j + \sum_{j \notin F} p_j v_j =
W \bar v + (1 - W)\, y'$. The first of (E4) is this, solved for $y'$, and the second is
$y' - y = y' - W \bar v - (1 - W)\, y'$. $\blacksquare$

A head that spends nine tenths of its weight on the first token, for the sake of being quiet, speaks ten times as loud
when that token is dropped from the cache:

>>> scores, values = np.log([27.0, 1.0, 1.0, 1.0]), np.array([0.0, 1.0, 2.0, 3.0])
>>> weights = np.exp(scores) / np.exp(scores).sum()
>>> weights.round(3), (weights @ values).round(9)
(array([0.9  , 0.033, 0.033, 0.033]), np.float64(0.2))
>>> kept = np.exp(scores[1:]) / np.exp(scores[1:]).sum()
>>> kept.round(3), (kept @ values[1:]).round(9)
(array([0.333, 0.333, 0.333]), np.float64(2.0))

and every head of every layer may do so at once. A window that keeps the first few tokens as well,
`SlidingWindow(w) | (Causal() & First(s))`, keeps the denominators what they were; `attention.cache-window` keeps the
cache small all the same.

## In practice

Windows: Longformer (I. Beltagy and others, 2020) combined windows, dilated in some heads, with a few *global* tokens
that see all tokens and are seen by all; Mistral 7B (A. Jiang and others, 2023) has windows in all layers. Most later
models mix, as reach alone does not carry detail over long distances: Gemma 3 has five layers with windows of 1,024 for
each layer that sees everything, gpt-oss alternates windows of 128 with full attention. Sinks were found, and removing
them shown to break models, by G. Xiao and others ("Efficient streaming language models with attention sinks",
StreamingLLM, 2023): four first tokens and a window restored the loss. What they do not restore is memory: what left the
window is gone. A score $b$ for the added key that is learned, one for each head, is what gpt-oss has. `add_zero_attn`
of PyTorch's `nn.MultiheadAttention` adds a key and a value of zeros, (E3). E. Miller ("Attention is off by one", 2023)
argued for (E3) because sinks come with very large activations, which are hard to quantize. A gate on each head's output
serves the same end.
"""

import numpy as np
from jaxtyping import Float

from fp_attention.masks import EMPTY, FULL, Mask, tiles

__all__ = ["allowed_pairs", "receptive_field", "softmax_one"]  # the order of the page

TILE = 256


def allowed_pairs(mask: Mask, n_positions: int) -> int | np.ndarray:
    """
    Count the pairs that a mask allows among positions 0, 1, ..., without the matrix of them.

    Parameters
    ----------
    mask
        Any mask.
    n_positions
        T, the number of queries and of keys.

    Returns
    -------
    int or ndarray
        The number of pairs; where texts or heads differ, an array of int64 with the number for each.

    Raises
    ------
    ValueError
        If there is no position, or an array in the mask has another shape.

    Examples
    --------
    >>> from fp_attention.masks import Causal, SlidingWindow
    >>> allowed_pairs(Causal(), 4), allowed_pairs(SlidingWindow(2), 4)
    (10, 7)
    """
    if n_positions < 1:
        raise ValueError(f"pairs are counted among 1 position or more, got {n_positions}")
    mask.check(None, n_positions, n_positions)
    found = tiles(mask, n_positions, n_positions, 0, TILE, TILE)
    edges = np.minimum(np.arange(0, n_positions + TILE, TILE), n_positions)
    sizes = np.diff(edges)
    total = np.int64((found == FULL) * sizes[:, None] * sizes).sum()
    partial = np.zeros(mask.allowed(np.zeros((1, 1), int), np.zeros((1, 1), int)).shape[:-2], np.int64)
    for r, c in np.argwhere((found != EMPTY) & (found != FULL)).tolist():
        i, j = np.arange(edges[r], edges[r + 1]), np.arange(edges[c], edges[c + 1])
        partial = partial + np.count_nonzero(mask.allowed(i[:, None], j[None, :]), axis=(-2, -1))
    return int(total + partial) if np.ndim(partial) == 0 else total + partial


def receptive_field(width: int, layers: int) -> int:
    """
    How many positions an output of a stack of windows can depend on, its own included.

    Parameters
    ----------
    width
        w, the positions in a window, the query's own included.
    layers
        L, how many attention layers.

    Returns
    -------
    int
        L (w - 1) + 1 (`attention.receptive-field`).

    Raises
    ------
    ValueError
        If the window is empty or the number of layers negative.

    Examples
    --------
    >>> receptive_field(3, 1), receptive_field(3, 2)
    (3, 5)
    """
    if width < 1 or layers < 0:
        raise ValueError(
            f"a window holds at least the query's own position, and layers are 0 or more; got a width of {width} and "
            f"{layers} layers"
        )
    return layers * (width - 1) + 1


def softmax_one(scores: Float[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch n"]:
    """
    Weights that may sum to less than one (E3).

    Parameters
    ----------
    scores
        Along the last axis, where $-\\infty$ marks what is forbidden.

    Returns
    -------
    ndarray
        Of the shape and dtype of `scores`.

    Examples
    --------
    >>> softmax_one(np.array([0.0, 0.0, 0.0]))
    array([0.25, 0.25, 0.25])
    """
    # the added key's score of 0 takes part in the largest, so that nothing overflows
    m = np.max(scores, axis=-1, keepdims=True, initial=0.0)
    e = np.exp(scores - m)
    e /= np.exp(-m) + e.sum(axis=-1, keepdims=True)
    return e
