r"""
Masks: who may look at whom.

Attention lets every query look at every key. A model that predicts the next token must not look at it. Texts of
different lengths that share one array are filled up with tokens that mean nothing. Several documents that share one row
should not read one another. How are some pairs forbidden without touching the others, what does that guarantee through
all the layers of a model, and what goes wrong if it is done in the wrong place?

You need: `fp_attention.lookup`, `fp_attention.scaling`, conditional probability (`fp_markov.probability`),
`autograd.softmax-rule`, `neural.softmax-classes`.

<!-- figure: masks -->

## Leave out, then normalise

The query at position $i$ has the score $S_{ij}$ with the key at position $j$. Let $A_i$ be the set of keys that it may
look at, not empty. The others are left out:

$$
P_{ij} = \frac{e^{S_{ij}}}{\sum_{k \in A_i} e^{S_{ik}}} \ \text{ for } j \in A_i, \qquad
P_{ij} = 0 \ \text{ for } j \notin A_i, \qquad Y_i = \sum_j P_{ij} V_j. \qquad \text{(E1)}
$$

To leave out is the same as to write $-\infty$ for the scores that are forbidden, with $e^{-\infty} = 0$, and to take
the softmax over all keys. A finite number is nearly the same:

**Claim** `attention.mask-is-conditioning`. Let $s_1, \dots, s_n$ be finite scores, $p$ their softmax, $A$ a set of keys
that is not empty, and $p'$ the softmax after $-\infty$ is written at every key outside of $A$.

1. $p'$ is the softmax of the scores in $A$ alone, and zero outside.
2. If $J$ is a key drawn with the probabilities $p$, then $p'_j = P(J = j \mid J \in A)$.
3. Let $q$ be the softmax after a number $c$ is subtracted from every score outside of $A$, with
   $a = \sum_{j \in A} e^{s_j}$ and $b = \sum_{j \notin A} e^{s_j}$. Then $q$ spends
   $w = \frac{b}{a e^c + b} \le \frac{b}{a} e^{-c}$ outside of $A$, and $q_j = (1 - w)\, p'_j$ inside: it tends to $p'$
   as $c$ grows.

**Proof.** (1) The terms $e^{-\infty} = 0$ add nothing to the sum, which is then $a$, and $p'_j = e^{s_j} / a$ for
$j \in A$, $0 / a$ outside: (E1). (2) With $z = a + b$, $P(J \in A) = a / z$. For $j \in A$ the event $J = j$ lies in
$J \in A$, so by (E2) of `fp_markov.probability` $P(J = j \mid J \in A) = \frac{e^{s_j} / z}{a / z} = e^{s_j} / a$. For
$j \notin A$ the two exclude each other, and it is zero. (3) Outside of $A$ the exponentials are $e^{s_j - c}$, with the
sum $e^{-c} b$; inside they are as before. So $w = \frac{e^{-c} b}{a + e^{-c} b}$, which $e^c$ above and below the line
makes $\frac{b}{a e^c + b} \le \frac{b}{a e^c}$. Inside,
$q_j = \frac{e^{s_j}}{a + e^{-c} b} = \frac{e^{s_j}}{a} \cdot \frac{a}{a + e^{-c} b} = p'_j\, (1 - w)$. As $c$ grows,
$e^{-c}$ tends to zero, and $w$ with it. $\blacksquare$

A mask asks "where would you look, given that it has to be here?". Where $P_{ij} = 0$ the Jacobian
$\operatorname{diag}(p) - p\, p^\top$ of `autograd.softmax-rule` has a row and a column of zeros: no gradient passes
through a forbidden pair.

## Nowhere to look

**Claim** `attention.empty-row`. Let $A$ be empty.

1. No distribution over the keys is zero at every forbidden key.
2. The softmax after $c$ is subtracted from every forbidden score is, for every $c$, that of the unmasked scores.
3. Computed in floating point from scores of $-\infty$, with the largest subtracted from all, it is NaN everywhere.

**Proof.** (1) It would be zero at every key, and sum to zero instead of one. (2) $c$ is subtracted from all scores,
which changes nothing (`neural.softmax-classes`). (3) The largest score is $-\infty$, and $-\infty - (-\infty)$ is NaN
in IEEE arithmetic, as is every sum or quotient with a NaN in it. $\blacksquare$

So the limit in (3) of `attention.mask-is-conditioning` has no counterpart here: *look nowhere*, said with large
negative numbers, comes out as *look everywhere*.

>>> from fp_autograd.rules import softmax
>>> softmax(np.array([0.0, np.log(3)]) - 1e4)
array([0.25, 0.75])

This chapter's functions refuse a row without a key and name it. It arises where it is not expected: fill a text up on
the left under a causal mask, and the tokens that fill it see only each other, which is to say nothing. To let each
token see at least itself repairs it, and changes no real token's row (`Itself`):

>>> padded = Padding(np.array([[False, True, True]]))
>>> (Causal() & padded).dense(3, 3).astype(int)[0, 0]
array([[0, 0, 0],
       [0, 1, 0],
       [0, 1, 1]])
>>> (Causal() & padded | Itself()).dense(3, 3).astype(int)[0, 0]
array([[1, 0, 0],
       [0, 1, 0],
       [0, 1, 1]])

## What a mask guarantees

Number the positions $0, \dots, T - 1$. A network is built of **positionwise** layers, $y_i = g_i(x_i)$, as linear
layers and embeddings are; of attention layers (E1), all with the same $A_i$, whose queries, keys and values are
positionwise functions of the layer's input, and whose scores $S_{ij}$ are a function of $i$, $j$ and the query and the
key there; and of sums $x + f(x)$ of a layer's input and its output. Call it a **stack**. Call a set $R$ of positions
**closed** if those in $R$ look only into $R$: $A_i \subseteq R$ for every $i \in R$.

**Claim** `attention.closed-set`. Let no $A_i$ be empty.

1. If $R$ is closed, the outputs of a stack at $R$ depend on its inputs at $R$ alone, and are those of the same stack
   after all other positions were deleted (where those that remain keep their numbers $i$).
2. If $R$ is not closed, say $j \in A_i$ with $i \in R$ and $j \notin R$, then the output of a single attention layer
   at $i$ depends on the value at $j$: its entry $Y_{id}$ has the slope $P_{ij} > 0$ in $V_{jd}$.

**Proof.** (1) By induction on the layers: suppose that the input of a layer at $R$ depends on the stack's inputs at $R$
alone, and does not change when the other positions are deleted. For the first layer there is nothing to show. Let
$i \in R$. A positionwise layer computes its output at $i$ from its input at $i$. In an attention layer (E1) uses the
query at $i$ and the keys and values at $j \in A_i$, and all these positions are in $R$; deleting others takes no term
out of its sums. A sum adds two things at $i$ for both of which this holds. So it holds for the layer's output. (2)
$V_{jd}$ stands in $Y_{id} = \sum_k P_{ik} V_{kd}$ with the factor $P_{ij}$, which does not depend on $V$, and
exponentials are positive. $\blacksquare$

Four masks, and what is closed under them:

**Claim** `attention.causal-independence`. If $A_i \subseteq \{0, \dots, i\}$ for all $i$, as under `Causal` and
`SlidingWindow`, the output of a stack at $t$ depends on the inputs at $0, \dots, t$ alone, and is that for the text cut
off after $t$. In a single layer it depends on no query but that at $t$.

**Proof.** $R = \{0, \dots, t\}$ is closed: for $i \le t$, $A_i \subseteq \{0, \dots, i\} \subseteq R$. Then
`attention.closed-set`. Only the query at $i$ stands in row $i$ of (E1). $\blacksquare$

So one pass over a text of $T$ tokens gives all $T$ predictions, each as if the rest had not been written yet, and
training uses all of them. It is also why the keys and values of a prefix can be kept (`fp_attention.kv_cache`).

**Claim** `attention.prefix`. Under `Causal() | First(n)` with $1 \le n \le T$, $A_i = \{0, \dots, \max(i, n - 1)\}$.
The sets $\{0, \dots, t\}$ that are closed are those with $t \ge n - 1$. So outputs from position $n - 1$ on do not
depend on later inputs; and for $t < n - 1$ the output of a single layer at $t$ depends on every value before $n$, later
ones included.

**Proof.** $j \in A_i$ if $j \le i$ or $j \le n - 1$, that is if $j$ is at most the larger. Let $t \ge n - 1$ and
$i \le t$: then $\max(i, n - 1) \le t$, and $A_i \subseteq \{0, \dots, t\}$. Let $t < n - 1$: then $n - 1$ is in $A_t$
and not in $\{0, \dots, t\}$. The rest is (1) and (2) of `attention.closed-set`. $\blacksquare$

**Claim** `attention.padding-independence`. Let $R$ be the positions of the real tokens of a text and let
$A_i \subseteq R$ for every $i \in R$, as under `Padding`, alone or combined by `&` with any other mask. Then the
outputs at real tokens are those of the text without its padding, its tokens keeping their positions.

**Proof.** $R$ is closed by assumption. Under `Padding & other`, $j \in A_i$ requires $j \in R$. $\blacksquare$

*Keeping their positions* matters if the model knows positions: padding on the left moves them all. The outputs at
padding are numbers without a meaning, and have no place in a loss. The numbers there must be finite, though:
$0 \cdot \infty$ and $0 \cdot \text{NaN}$ are NaN, so a value that overflows is not kept out by a weight of zero.

**Claim** `attention.documents`. Under `Documents`, alone or combined by `&` with any other mask, the outputs at a
document's tokens are those of the document alone, its tokens keeping their positions.

**Proof.** Let $R$ be the positions of the document. For $i \in R$, $j \in A_i$ requires that $j$ has the same document
as $i$. So $R$ is closed. $\blacksquare$

## After the softmax it is too late

Let $p$ be the softmax of *all* scores of a row, and then set forbidden weights to zero: $\tilde y = \sum_{j \in A}
p_j v_j$.

**Claim** `attention.mask-after-leaks`. Let neither $A$ nor the set of forbidden keys be empty.

1. The weights that are left sum to $P(A) = \sum_{j \in A} p_j < 1$.
2. For every forbidden key $f$, $\frac{\partial \tilde y}{\partial s_f} = -p_f\, \tilde y$: the output depends on the
   forbidden score unless $\tilde y = 0$. If $s_f = \frac{1}{\sqrt d}\, q \cdot k_f$, the slope of $\tilde y_e$ in the
   entry $k_{fc}$ of the key is $-\frac{1}{\sqrt d}\, p_f\, q_c\, \tilde y_e$.
3. Divided by $P(A)$, the weights are those of (E1), and nothing leaks.

**Proof.** (1) All $p_j$ are positive and sum to one, and at least one is missing. (2) By `autograd.softmax-rule`
$\frac{\partial p_j}{\partial s_f} = -p_j p_f$ for $j \ne f$. So $\frac{\partial \tilde y}{\partial s_f} =
\sum_{j \in A} -p_j p_f v_j = -p_f\, \tilde y$. The slope of $s_f$ in $k_{fc}$ is $\frac{1}{\sqrt d}\, q_c$, and slopes
multiply (`autograd.chain-rule`). (3) $p_j / P(A)$ is $P(J = j \mid J \in A)$ by (E2) of `fp_markov.probability`, and
that is (E1) by (2) of `attention.mask-is-conditioning`. $\blacksquare$

So it is not the order that is wrong, but the sum: the denominator has seen the future. A model that is trained this way
can read in the size of its output how large later scores are. It reaches a loss in training that it cannot reach in
use, where there is no later token. In exact arithmetic to normalise again repairs it. In floating point $P(A)$ may
be zero:

>>> late = softmax(np.array([0.0, 0.0, 120.0], np.float32))[:2]
>>> late, softmax(np.zeros(2, np.float32))
(array([0., 0.], dtype=float32), array([0.5, 0.5], dtype=float32))

## Tiles

The scores of $T$ tokens are a matrix of $T^2$ numbers that no computation should hold at once: it is worked on in
tiles, of $64 \times 64$ scores for example. A tile in which nothing is allowed need not be computed; one in which all
is allowed needs no mask. That must be known without looking at its pairs. For a rectangle of queries
$i_0 \le i < i_1$ and keys $j_0 \le j < j_1$, neither empty, a mask has two methods: `full`, which may say yes only if
all pairs in it are allowed, and `empty`, only if none is. If this holds they are called **sound**. Saying no to both is
always sound, and costs time. Call one of them **exact** if it says yes whenever it may.

**Claim** `attention.tiles-sound`.

1. If $a$ and $b$ have sound methods, these are sound too: for $a \mathbin{\&} b$, full if both are full, empty if one
   is empty; for $a \mathbin{|} b$, full if one is full, empty if both are empty.
2. Let a mask allow $i - j = \delta$ if $0 \le \delta < w$, where $w$ may be infinite. With
   $\delta_0 = i_0 - (j_1 - 1)$ and $\delta_1 = (i_1 - 1) - j_0$, full if $\delta_0 \ge 0$ and $\delta_1 < w$, and empty
   if $\delta_1 < 0$ or $\delta_0 \ge w$, are sound and exact.
3. Let documents be numbered. Full, if queries and keys all have one number, is sound and exact. Empty, if the largest
   number of the queries is below the least of the keys or the other way round, is sound, and exact if numbers never
   fall along the row.

**Proof.** (1) *And*: if all pairs are allowed by $a$ and all by $b$, all are allowed by both; if none is allowed by
one, none is by both. *Or*: if all are allowed by one, all are by either; if none by $a$ and none by $b$, none by
either. (2) In the rectangle $i - j$ is least for the least $i$ and the largest $j$: $\delta_0$; and largest for the
opposite corner: $\delta_1$. One step to the next $i$ or to the previous $j$ adds one, and such steps lead from the
first corner to the second, so every whole number between occurs. All of them lie in $[0, w)$ exactly if both ends do:
$\delta_0 \ge 0$ and $\delta_1 < w$. None of them does exactly if they end before $0$ or begin at $w$ or later: if
neither, $\delta_1 \ge 0$ and $\delta_0 < w$, then $\max(\delta_0, 0)$ is one of them and lies in $[0, w)$. (3) All
pairs are allowed exactly if each query has the number of each key, that is if there is only one number. If all numbers
of the queries are below all of the keys, none is equal, and likewise the other way round. Let numbers never fall and
let neither be so. Then the larger of the two least numbers, $m$, is no larger than either of the two largest. One side
has $m$ as its least. On the other side stands a number up to $m$ and one from $m$ on. If neither of the two is $m$, all
positions numbered $m$ lie between them, and so on that side, as a side has no gaps. So a query and a key share $m$.
$\blacksquare$

The rules for combined masks are not exact. Here all four pairs are allowed, two by each of the masks:

>>> mask = SlidingWindow(2) | First(2)
>>> bool(mask.dense(4, 4)[3].all()), bool(mask.full(3, 4, 0, 4))
(True, False)

`Padding` counts the real tokens before each position, `Dense` those that are allowed in a column; both are exact. Of
the tiles of a causal mask nearly half are empty, and of a window's nearly all:

>>> def share(mask):
...     return round(float((tiles(mask, 16_384, 16_384, None, 64, 64) > EMPTY).mean()), 3)
>>> share(Causal()), share(SlidingWindow(1024)), share(SlidingWindow(1024) | (Causal() & First(4)))
(0.502, 0.064, 0.068)

## In practice

*True* means *may look* here, in PyTorch's `scaled_dot_product_attention` and in JAX; in the `key_padding_mask` and
`attn_mask` of PyTorch's `nn.MultiheadAttention` it means *may not*. Others take numbers that are added to the scores,
$-\infty$ or the least finite one, or a large one such as $-10^4$ that half precision can hold, with the leak $w$ of
`attention.mask-is-conditioning`. On a row without a key PyTorch's softmax returns NaN, and so does its
`nn.MultiheadAttention`; its `scaled_dot_product_attention` returns zeros; JAX's `dot_product_attention`, which writes
a large negative number, returns the mean of all values, by (2) of `attention.empty-row`.

Fast kernels skip tiles: FlashAttention those above the diagonal and outside of a window, and in its form for texts of
several lengths, those between different documents; PyTorch's FlexAttention classifies the tiles of any mask that is
given as a function of positions, as `tiles` does, but by evaluating it. Prefix masks are those of the prefix language
models that T5's paper compares with others, of UL2 and U-PaLM (Y. Tay and others, 2022) and of PaliGemma (L. Beyer and
others, 2024). Documents packed into one row are common in pretraining; many models let them see one another,
and Llama 3's does not, which its report found to matter little for ordinary texts and much for very long ones.
Several guesses at how a text goes on, tried in one pass, make a mask that is a tree; `Dense` takes those.

References: A. Vaswani and others, "Attention is all you need", 2017; C. Raffel and others (T5), 2020; T. Dao and others
(FlashAttention), 2022; A. Grattafiori and others, "The Llama 3 herd of models", 2024, section 3.2; J. Dong and others,
"Flex Attention", 2024.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int8

__all__ = [  # the order of the page
    "Mask",
    "Band",
    "Causal",
    "SlidingWindow",
    "Itself",
    "First",
    "Padding",
    "Documents",
    "Dense",
    "Pair",
    "Both",
    "Either",
    "as_mask",
    "tiles",
    "EMPTY",
    "PARTIAL",
    "FULL",
]

EMPTY, PARTIAL, FULL = 0, 1, 2

Where = int | np.integer | np.ndarray
"""A position, or an integer array of positions."""


class Sizes(NamedTuple):
    """Of a matrix of scores: the axes before its heads, its heads, rows, columns, and the position of its first row."""

    batch_shape: tuple[int, ...] | None
    n_heads: int | None
    n_queries: int
    n_keys: int
    start: int


class Mask:
    """
    A rule that says which keys a query may look at, by their positions.

    Masks combine: `a & b` allows what both allow, `a | b` what either allows; one of the two may be a Boolean array.
    Masks never change. Those that hold no arrays are equal if they say the same, and can be keys of a dict.
    """

    __array_ufunc__ = None  # so that `array & mask` comes here

    @property
    def causal(self) -> bool:
        """Whether it is certain that no query sees a later key."""
        return False

    def allowed(self, i: Where, j: Where) -> np.ndarray:
        """
        Look up the rule.

        Parameters
        ----------
        i, j
            Positions of queries and keys that broadcast against each other: `i[:, None]` and `j[None, :]` for all
            pairs.

        Returns
        -------
        ndarray
            bool, of the shape that `i` and `j` have together, say (r, c), or (B, 1, r, c) where texts differ. Not to
            be written to.
        """
        raise NotImplementedError

    def full(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        """
        Whether it is certain that everything in a rectangle is allowed, in all texts and heads.

        Parameters
        ----------
        i0, i1
            The queries at `i0 <= i < i1`, at least one. Integers, or arrays that broadcast against `j0` and `j1`.
        j0, j1
            The keys at `j0 <= j < j1`, at least one.

        Returns
        -------
        bool or ndarray
            bool, of the shape that the four have together. False says nothing.
        """
        return _nowhere(i0, i1, j0, j1)

    def empty(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        """
        Whether it is certain that nothing in a rectangle is allowed, in any text or head; parameters as in `full`.

        Returns
        -------
        bool or ndarray
            bool, of the shape that the four have together. False says nothing.
        """
        return _nowhere(i0, i1, j0, j1)

    def check(
        self,
        batch_shape: tuple[int, ...] | None,
        n_queries: int,
        n_keys: int,
        *,
        n_heads: int | None = None,
        start: int | None = None,
    ) -> None:
        """
        See that the arrays in the mask fit.

        Parameters
        ----------
        batch_shape
            The axes before the heads, as `(B,)`; None to leave them unchecked.
        n_queries, n_keys
            Their numbers. Where keys have positions of their own, `n_keys` is the position of the last, plus one.
        n_heads
            H, if known.
        start
            The position of the first query, if it is not `max(n_keys - n_queries, 0)`.

        Raises
        ------
        ValueError
            If an array of the mask has another shape.
        """
        first = max(n_keys - n_queries, 0) if start is None else start
        self._check(Sizes(batch_shape, n_heads, n_queries, n_keys, first))

    def _check(self, sizes: Sizes) -> None:
        """What `check` does, for masks with arrays."""

    def dense(self, n_queries: int, n_keys: int, start: int | None = None) -> np.ndarray:
        """
        The mask as an array.

        Parameters
        ----------
        n_queries, n_keys
            Tq and Tk.
        start
            The position of the first query; by default the last query stands beside the last key, if there are no more
            queries than keys.

        Returns
        -------
        ndarray
            bool, shape (Tq, Tk), or (B, 1, Tq, Tk) where texts differ. Not to be written to.

        Raises
        ------
        ValueError
            If an array of the mask has another shape.

        Examples
        --------
        >>> Causal().dense(2, 3).astype(int)
        array([[1, 1, 0],
               [1, 1, 1]])
        """
        self.check(None, n_queries, n_keys, start=start)
        i = np.arange(n_queries) + (max(n_keys - n_queries, 0) if start is None else start)
        return self.allowed(i[:, None], np.arange(n_keys)[None, :])

    def __and__(self, other: "Mask | np.ndarray") -> "Both":
        return Both(self, _operand(other))

    def __rand__(self, other: "Mask | np.ndarray") -> "Both":
        return Both(_operand(other), self)

    def __or__(self, other: "Mask | np.ndarray") -> "Either":
        return Either(self, _operand(other))

    def __ror__(self, other: "Mask | np.ndarray") -> "Either":
        return Either(_operand(other), self)

    def by_value(self) -> bool:
        """Whether equal masks say the same and hash alike, now and later, so that what follows from one can be kept."""
        return False


class Band(Mask):
    r"""What masks have in common that allow distances $i - j$ from 0 on, below a number or without end."""

    def by_value(self) -> bool:
        return True

    def _end(self) -> int | None:
        raise NotImplementedError

    @property
    def causal(self) -> bool:
        return True

    def allowed(self, i: Where, j: Where) -> np.ndarray:
        distance, end = np.subtract(i, j), self._end()
        return distance >= 0 if end is None else (distance >= 0) & (distance < end)

    def full(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        least, most, end = i0 - (j1 - 1), (i1 - 1) - j0, self._end()  # the distances in a rectangle, without gaps
        inside = (least >= 0) & (most >= 0)  # the second follows, and gives the shape
        return inside if end is None else inside & (most < end)

    def empty(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        least, most, end = i0 - (j1 - 1), (i1 - 1) - j0, self._end()
        before = (most < 0) & (least < 0)
        return before if end is None else before | (least >= end)


@dataclass(frozen=True)
class Causal(Band):
    """
    A query sees its own position and those before it.

    Examples
    --------
    >>> Causal().dense(3, 3).astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [1, 1, 1]])
    """

    def _end(self) -> int | None:
        return None


@dataclass(frozen=True)
class SlidingWindow(Band):
    """
    A query sees the last `width` positions, its own included.

    Parameters
    ----------
    width
        How many, at least one.

    Raises
    ------
    ValueError
        If the window is empty.

    Examples
    --------
    >>> SlidingWindow(2).dense(3, 3).astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [0, 1, 1]])
    """

    width: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", _integer(self.width, "the width of a window"))
        if self.width < 1:
            raise ValueError(
                f"a window holds at least the query's own position, got width {self.width}; a width of 1 is that alone"
            )

    def _end(self) -> int | None:
        return self.width


@dataclass(frozen=True)
class Itself(Band):
    """
    A query sees its own position only.

    Examples
    --------
    >>> Itself().dense(2, 2).astype(int)
    array([[1, 0],
           [0, 1]])
    """

    def _end(self) -> int | None:
        return 1


@dataclass(frozen=True)
class First(Mask):
    """
    Every query sees the first `n` positions, wherever it stands itself.

    Parameters
    ----------
    n
        How many, at least 0; or one number for each text, shape (B,).

    Raises
    ------
    TypeError
        If that is no integer.
    ValueError
        If a number is negative.

    Examples
    --------
    >>> (Causal() | First(2)).dense(3, 3).astype(int)
    array([[1, 1, 0],
           [1, 1, 0],
           [1, 1, 1]])
    """

    n: int | np.integer | np.ndarray | Sequence[int]

    def __post_init__(self) -> None:
        what = "the number of first positions"
        if np.ndim(self.n) > 1:
            raise ValueError(
                f"{what} is one integer, or one for each text, got an array of the shape {np.shape(self.n)}"
            )
        many = np.ndim(self.n) == 1
        numbers = tuple(_integer(n, what) for n in np.atleast_1d(np.asarray(self.n)))
        if not numbers or min(numbers) < 0:
            raise ValueError(f"{what} is 0 or more, got {self.n}")
        object.__setattr__(self, "n", numbers if many else numbers[0])

    def by_value(self) -> bool:
        return True

    def allowed(self, i: Where, j: Where) -> np.ndarray:
        i, j = _aligned(i, j)
        shape = np.broadcast_shapes(i.shape, j.shape)
        if isinstance(self.n, int):
            return np.broadcast_to(j < self.n, shape)
        n = np.array(self.n).reshape(-1, 1, *[1] * j.ndim)
        return np.broadcast_to(j < n, (len(n), 1, *shape))

    def full(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        return _nowhere(i0, i1, j0, j1) | (j1 <= np.min(self.n))

    def empty(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        return _nowhere(i0, i1, j0, j1) | (j0 >= np.max(self.n))

    def _check(self, sizes: Sizes) -> None:
        if not isinstance(self.n, int):
            _check_batch(np.shape(self.n), sizes, "First")


@dataclass(frozen=True, eq=False)
class Padding(Mask):
    """
    Keys that are real tokens may be seen, those that fill up a short text may not.

    Parameters
    ----------
    valid
        bool, shape (B, Tk): True at real tokens. It is copied.

    Raises
    ------
    TypeError
        If the array is not Boolean.
    ValueError
        If it has not two axes.

    Examples
    --------
    >>> Padding(np.array([[True, True, False]])).dense(2, 3).astype(int)
    array([[[[1, 1, 0],
             [1, 1, 0]]]])
    """

    valid: Bool[np.ndarray, "B Tk"]

    def __post_init__(self) -> None:
        valid = _boolean(self.valid, "Padding", "`Padding(attention_mask != 0)`")
        if valid.ndim != 2:
            raise ValueError(
                "Padding takes one row of keys for each text, shape (B, Tk), got the shape "
                f"{valid.shape}; for a single text `valid[None]`"
            )
        object.__setattr__(self, "valid", valid)
        zero = np.zeros(1, np.int64)
        # how many positions before j are valid in all texts, and in any
        object.__setattr__(self, "_in_all", np.concatenate((zero, np.cumsum(valid.all(0)))))
        object.__setattr__(self, "_in_any", np.concatenate((zero, np.cumsum(valid.any(0)))))

    def allowed(self, i: Where, j: Where) -> np.ndarray:
        i, j = _aligned(i, j)
        shape = np.broadcast_shapes(i.shape, j.shape)
        return np.broadcast_to(self.valid[:, None][:, :, j], (len(self.valid), 1, *shape))

    def full(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        count: np.ndarray = self._in_all  # type: ignore[attr-defined]
        return _nowhere(i0, i1, j0, j1) | (count[j1] - count[j0] == np.subtract(j1, j0))

    def empty(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        count: np.ndarray = self._in_any  # type: ignore[attr-defined]
        return _nowhere(i0, i1, j0, j1) | (count[j1] == count[j0])

    def _check(self, sizes: Sizes) -> None:
        if self.valid.shape[1] != sizes.n_keys:
            raise ValueError(
                f"Padding says of {self.valid.shape[1]} keys whether they are real (shape {self.valid.shape}), but "
                f"there are {sizes.n_keys}; its shape is (B, Tk), with a column for each key, those in a cache included"
            )
        _check_batch(self.valid.shape[:1], sizes, "Padding")


@dataclass(frozen=True, eq=False)
class Documents(Mask):
    """
    A query sees the keys of its own document, where several stand in one row.

    Parameters
    ----------
    ids
        Integers, shape (T,) or (B, T): which document the token at each position belongs to. Copied.

    Raises
    ------
    TypeError
        If they are not integers.
    ValueError
        If the array has neither one axis nor two, or no position.

    Examples
    --------
    >>> (Causal() & Documents(np.array([0, 0, 1, 1]))).dense(4, 4).astype(int)
    array([[1, 0, 0, 0],
           [1, 1, 0, 0],
           [0, 0, 1, 0],
           [0, 0, 1, 1]])
    """

    ids: Int[np.ndarray, "*batch T"]

    def __post_init__(self) -> None:
        if not isinstance(self.ids, np.ndarray) or self.ids.dtype.kind not in "iu":
            kind = getattr(self.ids, "dtype", type(self.ids).__name__)
            raise TypeError(f"Documents takes an integer array, the number of each token's document, got {kind}")
        if self.ids.ndim not in (1, 2) or not self.ids.shape[-1]:
            raise ValueError(f"Documents takes an array of the shape (T,) or (B, T), got {self.ids.shape}")
        object.__setattr__(self, "ids", _kept(self.ids))

    def allowed(self, i: Where, j: Where) -> np.ndarray:
        i, j = _aligned(i, j)
        ids = self.ids if self.ids.ndim == 1 else self.ids[:, None]
        return ids[..., i] == ids[..., j]

    def full(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        (low_i, high_i), (low_j, high_j) = self._ranges(i0, i1, j0, j1)
        return self._in_all_texts((low_i == high_i) & (low_j == high_j) & (low_i == low_j))

    def empty(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        (low_i, high_i), (low_j, high_j) = self._ranges(i0, i1, j0, j1)
        return self._in_all_texts((high_i < low_j) | (high_j < low_i))

    def _ranges(self, i0: Where, i1: Where, j0: Where, j1: Where) -> list[tuple[np.ndarray, np.ndarray]]:
        """The least and the largest number among the queries, and among the keys."""
        i0, i1, j0, j1 = _aligned(i0, i1, j0, j1)
        past = np.concatenate((self.ids, self.ids[..., -1:]), axis=-1)  # the last end has to be an index
        found = []
        for first, end in (np.broadcast_arrays(i0, i1), np.broadcast_arrays(j0, j1)):
            ranges = np.stack((first, end), axis=-1).ravel()  # from each first to its end, then from there anywhere
            shape = (*self.ids.shape[:-1], *first.shape)
            low, high = (f.reduceat(past, ranges, axis=-1)[..., ::2] for f in (np.minimum, np.maximum))
            found.append((low.reshape(shape), high.reshape(shape)))
        return found

    def _in_all_texts(self, holds: Any) -> Any:
        return holds if self.ids.ndim == 1 else holds.all(0)

    def _check(self, sizes: Sizes) -> None:
        end = max(sizes.n_keys, sizes.start + sizes.n_queries)
        if self.ids.shape[-1] != end:
            raise ValueError(
                f"Documents numbers {self.ids.shape[-1]} tokens (shape {self.ids.shape}), but there are {end} "
                "positions; its shape is (T,) or (B, T), with a number for each position, those in a cache included"
            )
        if self.ids.ndim == 2:
            _check_batch(self.ids.shape[:1], sizes, "Documents")


@dataclass(frozen=True, eq=False)
class Dense(Mask):
    """
    Any mask, as an array.

    Parameters
    ----------
    array
        bool, shape (..., Tq, Tk): True where a query may look at a key. The axes before are those of the scores, the
        heads the last of them: (B, 1, Tq, Tk) for one mask a text. The array is copied.

    first
        The position of its first row. By default the last row stands at the position of the last key, if there are no
        more rows than keys; else it is 0.

    Raises
    ------
    TypeError
        If the array is not Boolean.
    ValueError
        If it has fewer than two axes.

    Examples
    --------
    >>> (Dense(np.ones((2, 2), bool)) & Causal()).dense(2, 2).astype(int)
    array([[1, 0],
           [1, 1]])
    """

    array: Bool[np.ndarray, "*batch Tq Tk"]
    first: int | None = None

    def __post_init__(self) -> None:
        array = _boolean(self.array, "a mask", "True where a query may look at a key, or add numbers with `bias`")
        if array.ndim < 2:
            raise ValueError(f"a mask has the shape (..., Tq, Tk), got {array.shape}; for padding see `Padding`")
        object.__setattr__(self, "array", array)

    @property
    def start(self) -> int:
        """The position of the first row."""
        if self.first is not None:
            return self.first
        Tq, Tk = self.array.shape[-2:]
        return max(Tk - Tq, 0)

    @property
    def causal(self) -> bool:
        rows = range(self.array.shape[-2])
        return not any(self.array[..., r, self.start + r + 1 :].any() for r in rows)

    def allowed(self, i: Where, j: Where) -> np.ndarray:
        i, j = _aligned(i, j)
        return self.array[..., self._rows(i), j]

    def full(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        return self._count(np.all, i0, i1, j0, j1) == np.subtract(j1, j0)

    def empty(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        return self._count(np.any, i0, i1, j0, j1) == 0

    def _check(self, sizes: Sizes) -> None:
        shape = self.array.shape
        if shape[-2:] != (sizes.n_queries, sizes.n_keys):
            raise ValueError(
                f"there are {sizes.n_queries} queries and {sizes.n_keys} keys, so a mask has the shape "
                f"(..., {sizes.n_queries}, {sizes.n_keys}), got {shape}; rows are queries, and keys in a cache count"
            )
        if sizes.start != self.start:
            raise ValueError(
                f"the first row of a mask of the shape {shape} is the position {self.start}, but the first query has "
                f"the position {sizes.start}; make it of `Causal` and the like, which go by positions"
            )
        before, batch, H = shape[:-2], sizes.batch_shape, sizes.n_heads
        if batch is not None and before:
            scores = (*batch, before[-1] if H is None else H)
            fits = all(a in (1, b) for a, b in zip(before[::-1], scores[::-1], strict=False))
            if len(before) > len(scores) or not fits:
                wanted = ", ".join([*map(str, batch), "H" if H is None else str(H)])
                raise ValueError(
                    f"the axes of a mask before the last two are 1 or those of the scores, ({wanted}), the heads last, "
                    f"got {before} of the shape {shape}; one mask a text is `mask[:, None]`"
                )

    def _rows(self, i: Any) -> Any:
        rows = i - self.start
        if rows.size and not 0 <= rows.min() <= rows.max() < self.array.shape[-2]:
            raise ValueError(
                f"a mask of the shape {self.array.shape} has rows for the positions {self.start} to "
                f"{self.start + self.array.shape[-2] - 1}, got queries at {i.min()} to {i.max()}"
            )
        return rows

    def _count(self, of: Any, i0: Where, i1: Where, j0: Where, j1: Where) -> np.ndarray:
        """How many columns of a rectangle are allowed in all its rows, or in any: one pass for each range of rows."""
        shape = np.broadcast_shapes(*map(np.shape, (i0, i1, j0, j1)))
        top, bottom = np.asarray(self._rows(np.asarray(i0))), np.asarray(self._rows(np.subtract(i1, 1))) + 1
        which, of_rectangle = np.unique(top * (self.array.shape[-2] + 1) + bottom, return_inverse=True)
        of_rectangle = np.broadcast_to(of_rectangle.reshape(np.broadcast_shapes(top.shape, bottom.shape)), shape)
        left, right = np.broadcast_to(j0, shape), np.broadcast_to(j1, shape)
        found = np.empty(shape, np.int64)
        before = np.zeros(self.array.shape[-1] + 1, np.int64)
        axes = tuple(range(self.array.ndim - 1))
        for n, rows in enumerate(which.tolist()):
            first, end = divmod(rows, self.array.shape[-2] + 1)
            np.cumsum(of(self.array[..., first:end, :], axis=axes), out=before[1:])
            at = of_rectangle == n
            found[at] = before[right[at]] - before[left[at]]
        return found


@dataclass(frozen=True)
class Pair(Mask):
    """
    What `Both` and `Either` have in common.

    Parameters
    ----------
    a, b
        The two masks.
    """

    a: Mask
    b: Mask

    def _check(self, sizes: Sizes) -> None:
        self.a._check(sizes)
        self.b._check(sizes)

    def by_value(self) -> bool:
        return self.a.by_value() and self.b.by_value()


@dataclass(frozen=True)
class Both(Pair):
    """What both masks allow; `a & b` makes it."""

    @property
    def causal(self) -> bool:
        return self.a.causal or self.b.causal

    def allowed(self, i: Where, j: Where) -> np.ndarray:
        return self.a.allowed(i, j) & self.b.allowed(i, j)

    def full(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        return self.a.full(i0, i1, j0, j1) & self.b.full(i0, i1, j0, j1)

    def empty(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        return self.a.empty(i0, i1, j0, j1) | self.b.empty(i0, i1, j0, j1)


@dataclass(frozen=True)
class Either(Pair):
    """What at least one of two masks allows; `a | b` makes it."""

    @property
    def causal(self) -> bool:
        return self.a.causal and self.b.causal

    def allowed(self, i: Where, j: Where) -> np.ndarray:
        return self.a.allowed(i, j) | self.b.allowed(i, j)

    def full(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        return self.a.full(i0, i1, j0, j1) | self.b.full(i0, i1, j0, j1)

    def empty(self, i0: Where, i1: Where, j0: Where, j1: Where) -> Any:
        return self.a.empty(i0, i1, j0, j1) & self.b.empty(i0, i1, j0, j1)


def as_mask(mask: Mask | np.ndarray | None, first: int | None = None) -> Mask | None:
    """
    A mask from whatever stands for one.

    Parameters
    ----------
    mask
        A mask; or a Boolean array, shape (..., Tq, Tk), True where a query may look at a key; or None.
    first
        The position of the first row of an array, as in `Dense`.

    Returns
    -------
    Mask or None
        None if everything is allowed.

    Raises
    ------
    TypeError
        If it is something else: arrays that are added to the scores are no masks.
    ValueError
        If the array has fewer than two axes.
    """
    if mask is None or isinstance(mask, Mask):
        return mask
    if not isinstance(mask, np.ndarray):
        raise TypeError(f"a mask is a Mask, a Boolean array or None, got {type(mask).__name__}")
    if mask.dtype.kind == "f":
        raise TypeError(
            f"a mask is Boolean, True where a query may look at a key, got {mask.dtype}; of an array of zeros and "
            "-inf that is to be added to the scores make `array == 0`, and numbers to be added are a `bias`"
        )
    return Dense(mask, first)


def tiles(
    mask: Mask | None,
    n_queries: int,
    n_keys: int,
    start: int | None,
    rows: int,
    columns: int,
    key_positions: Int[np.ndarray, " Tk"] | None = None,
) -> Int8[np.ndarray, "R C"]:
    """
    Which tiles of the matrix of scores are needed.

    Parameters
    ----------
    mask
        None allows everything.
    n_queries, n_keys
        Tq and Tk.
    start
        The position of the first query; None for `max(n_keys - n_queries, 0)`.
    rows, columns
        The size of a tile. Those at the ends may be smaller.
    key_positions
        Positions of the keys, never falling; 0, 1, 2, ... by default. A tile counts as one of all positions from its
        first key to its last.

    Returns
    -------
    ndarray
        int8, one number a tile: `EMPTY` (0) if it is certain that nothing in it is allowed, `FULL` (2) if it is
        certain that everything is, else `PARTIAL` (1). Not to be written to.

    Examples
    --------
    >>> tiles(Causal(), 6, 6, None, 2, 2)
    array([[1, 0, 0],
           [2, 1, 0],
           [2, 2, 1]], dtype=int8)
    """
    start = max(n_keys - n_queries, 0) if start is None else start
    if key_positions is None and (mask is None or mask.by_value()):
        return _kept_tiles(mask, n_queries, n_keys, start, rows, columns)
    return _tiles(mask, n_queries, n_keys, start, rows, columns, key_positions)


def _tiles(
    mask: Mask | None,
    n_queries: int,
    n_keys: int,
    start: int,
    rows: int,
    columns: int,
    key_positions: np.ndarray | None = None,
) -> np.ndarray:
    i0, j0 = np.arange(0, n_queries, rows), np.arange(0, n_keys, columns)
    i1, j1 = np.minimum(i0 + rows, n_queries), np.minimum(j0 + columns, n_keys)
    if key_positions is not None:
        j0, j1 = key_positions[j0], key_positions[j1 - 1] + 1
    found = np.full((len(i0), len(j0)), FULL, np.int8)
    if mask is not None:
        edges = (start + i0)[:, None], (start + i1)[:, None], j0[None, :], j1[None, :]
        found[~mask.full(*edges)] = PARTIAL
        found[mask.empty(*edges)] = EMPTY
    found.flags.writeable = False
    return found


_kept_tiles = lru_cache(maxsize=128)(_tiles)


def _operand(mask: Mask | np.ndarray) -> Mask:
    found = as_mask(mask)
    if found is None:
        raise TypeError("masks combine with masks and Boolean arrays, got None, which allows everything")
    return found


def _aligned(*positions: Where) -> list[np.ndarray]:
    """Arrays of the same number of axes."""
    n = max(map(np.ndim, positions))
    return [np.reshape(p, (1,) * (n - np.ndim(p)) + np.shape(p)) for p in positions]


def _nowhere(*edges: Where) -> Any:
    return np.zeros(np.broadcast_shapes(*map(np.shape, edges)), bool)


def _kept(array: np.ndarray) -> np.ndarray:
    """A copy that nobody can write to."""
    array = array.copy()
    array.flags.writeable = False
    return array


def _boolean(array: Any, what: str, remedy: str) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype != bool:
        kind = getattr(array, "dtype", type(array).__name__)
        raise TypeError(f"{what} takes a Boolean array, got {kind}: pass {remedy}")
    return _kept(array)


def _integer(n: Any, what: str) -> int:
    if not isinstance(n, int | np.integer) or isinstance(n, bool):
        raise TypeError(f"{what} is an integer, got {n!r}")
    return int(n)


def _check_batch(texts: tuple[int, ...], sizes: Sizes, what: str) -> None:
    batch = sizes.batch_shape
    if batch is not None and texts[0] not in (1, *batch[-1:]):
        raise ValueError(
            f"{what} holds a row for each of {texts[0]} texts, but the axes before the heads are {batch}; it has one "
            "row for each text, or one for all"
        )
