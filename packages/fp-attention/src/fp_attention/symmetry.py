r"""
Symmetry: attention sees a bag of tokens.

"Dog bites man" and "man bites dog" are made of the same words. Does attention see the difference? A sum over all keys
has no first and no last term, so it should not. This section proves it for the whole layer, says what follows for a
text, and finds the two things that break the symmetry: a mask, and positions that are written into the tokens.

You need: `fp_attention.scaled_dot`, `fp_attention.masks`, `fp_neural.layers`.

## Rows in another order

Let the rows of $X \in \mathbb{R}^{T \times C}$ be the vectors of $T$ tokens, counted from $0$. A **permutation** $\pi$
is a list of the numbers $0, \dots, T - 1$ in some order, and its matrix puts the rows in that order:

$$(\Pi X)_i = X_{\pi(i)}, \qquad \Pi_{ij} = 1 \text{ if } j = \pi(i), \text{ else } 0. \qquad \text{(E1)}$$

>>> x = np.array([[10.0], [20.0], [30.0]])
>>> permutation_matrix([2, 0, 1]) @ x
array([[30.],
       [10.],
       [20.]])

A layer $f$ is **equivariant** if it does not matter whether one reorders before or after it, $f(\Pi X) = \Pi f(X)$ for
every $\Pi$ and $X$. It is **invariant** if $f(\Pi X) = f(X)$.

**Claim** `attention.row-by-row`. A function that treats each row on its own, $f(X)_i = \rho(X_i)$, is equivariant. If
$f$ and $g$ are equivariant, so are $f(g(X))$, $f(X) + g(X)$ and $[f(X), g(X)]$, the columns of both side by side.

**Proof.** Row $i$ of $f(\Pi X)$ is $\rho(X_{\pi(i)})$, and so is row $i$ of $\Pi f(X)$. Next, $f(g(\Pi X)) = f(\Pi
g(X)) = \Pi f(g(X))$. Row $i$ of $f(\Pi X) + g(\Pi X) = \Pi f(X) + \Pi g(X)$ is $f(X)_{\pi(i)} + g(X)_{\pi(i)}$, which
is row $\pi(i)$ of the sum; and the same with side by side in place of plus. $\blacksquare$

Linear layers with their biases, activations, normalisations of one token, networks of these: all treat each row on
its own. The one place in a transformer where rows meet is attention. Its formula, for a single head of width $D$, is

$$
S = \frac{1}{\sqrt D}\, Q K^\top, \qquad P_{ij} = \frac{e^{S_{ij}}}{\sum_l e^{S_{il}}}, \qquad
A(Q, K, V) = P V. \qquad \text{(E2)}
$$

**Claim** `attention.order-of-keys`. Let $\Pi$ reorder the queries and $\Sigma$ the pairs of keys and values. Then
$A(\Pi Q, \Sigma K, \Sigma V) = \Pi A(Q, K, V)$: equivariant in the queries, and invariant in the pairs.

**Proof.** Let $\pi$ and $\sigma$ be the permutations. *Scores.* Row $i$ of $\Pi Q$ is $Q_{\pi(i)}$, row $j$ of
$\Sigma K$ is $K_{\sigma(j)}$, so the new scores are $S'_{ij} = \frac{1}{\sqrt D} Q_{\pi(i)} \cdot K_{\sigma(j)} =
S_{\pi(i) \sigma(j)}$. *Weights.* As $j$ runs over all keys, $l = \sigma(j)$ runs over all keys, each once, so the sum
below the line has the same terms in another order:

$$
P'_{ij} = \frac{e^{S_{\pi(i) \sigma(j)}}}{\sum_j e^{S_{\pi(i) \sigma(j)}}}
  = \frac{e^{S_{\pi(i) \sigma(j)}}}{\sum_l e^{S_{\pi(i) l}}} = P_{\pi(i) \sigma(j)}.
$$

*Output.* In the same way $Y'_i = \sum_j P_{\pi(i) \sigma(j)} V_{\sigma(j)} = \sum_l P_{\pi(i) l} V_l = Y_{\pi(i)}$.
$\blacksquare$

So a text that looks things up in another one, as a translation does in its source, would find the same in a shuffled
source. A key must keep its value, and that is all.

In **self-attention** the rows of one $X$ ask each other: linear layers make queries, keys and values of it, and one
more, $W_o$, is applied to what comes out.

**Claim** `attention.permutation-equivariant`. Self-attention $f(X) = A(X W_q^\top, X W_k^\top, X W_v^\top)\, W_o^\top$,
its linear layers with or without biases, without a mask and without positions, is equivariant. So is every stack of
such layers with layers that treat rows on their own, sums of a layer's input and output included.

**Proof.** The linear layers $Q(X) = X W_q^\top + 1 b_q^\top$, and $K(X)$ and $V(X)$ likewise, treat each row on its
own: $Q(\Pi X) = \Pi Q(X)$ and so on, by `attention.row-by-row`. By `attention.order-of-keys` with $\Sigma = \Pi$,
$A(\Pi Q(X), \Pi K(X), \Pi V(X)) = \Pi A(Q(X), K(X), V(X))$. The last linear layer treats each row of that on its own.
Stacks and sums are the second part of `attention.row-by-row`. $\blacksquare$

The next section has several heads in one layer, each with matrices of its own, and puts their outputs side by side
before $W_o$. That changes nothing here: each head commutes with $\Pi$, and so does what is put side by side
(`attention.row-by-row`).

>>> rng = np.random.default_rng(0)
>>> weights = [rng.normal(size=(8, 8)) / np.sqrt(8) for _ in range(4)]
>>> f = lambda x: self_attention(x, *weights)
>>> equivariance_error(f, rng.normal(size=(5, 8)), [3, 1, 4, 0, 2]) < 1e-14
True

## What that means for a text

**Claim** `attention.pairs-not-order`. Let each token's vector depend on the token alone, and let $f$ be equivariant.
(1) In a text and any reordering of it, each token has the same output. (2) A token that occurs twice in a text has the
same output at both places. (3) What is computed from the outputs without regard to their order, such as their mean, is
the same for all orders of the text.

**Proof.** (1) The reordered text has the vectors $\Pi X$ and the outputs $\Pi f(X)$: the rows of $f(X)$, where row $i$
belongs to the token that came from place $\pi(i)$. (2) Let $\pi$ exchange the two places and leave the others. The two
rows of $X$ are equal, so $\Pi X = X$ and $f(X) = f(\Pi X) = \Pi f(X)$, whose rows at the two places are exchanged. (3)
By (1) the outputs are the same up to their order. $\blacksquare$

>>> vectors = dict(zip(["dog", "bites", "man"], rng.normal(size=(3, 8))))
>>> def outputs(text, f):
...     y = f(np.array([vectors[word] for word in text.split()]))
...     return dict(zip(text.split(), y))
>>> one, other = outputs("dog bites man", f), outputs("man bites dog", f)
>>> [bool(np.allclose(one[word], other[word])) for word in vectors]
[True, True, True]

It does not see how often everything occurs either, only in which proportions:

**Claim** `attention.proportions`. A pair of a key and a value that occurs $m$ times acts as one whose score is greater
by $\ln m$. If all pairs occur $m$ times, nothing changes.

**Proof.** The $m$ terms $e^{S}$ of the pair, in the sum below the line and in the one that makes the output, add up to
$m e^S = e^{S + \ln m}$. If $\ln m$ is added to all scores, no weight changes (`neural.softmax-classes`). $\blacksquare$

## What breaks it

Let a number $b_{ij}$ be added to the score of query $i$ and key $j$, with $b_{ij} = -\infty$ where a mask forbids. It
depends on the places, not on the tokens, and stays where it is when tokens move.

**Claim** `attention.mask-symmetry`. If $b_{\pi(i) \pi(j)} = b_{ij}$ for all $i$ and $j$, then self-attention with these
$b$ has $f(\Pi X) = \Pi f(X)$ for this $\pi$. For the causal mask this holds for no $\pi$ but the identity.

**Proof.** In the proof of `attention.order-of-keys` with $\sigma = \pi$ the new scores become $S_{\pi(i) \pi(j)} +
b_{ij} = S_{\pi(i) \pi(j)} + b_{\pi(i) \pi(j)}$: again the old ones at $(\pi(i), \pi(j))$, and the rest of the two
proofs stands. For the causal mask $b_{ij} = 0$ says $j \le i$. So it asks that $\pi(j) \le \pi(i)$ exactly if $j \le
i$: $\pi$ rises, $\pi(0) < \pi(1) < \dots < \pi(T - 1)$, and the only rising list of all numbers from $0$ to $T - 1$ has
$\pi(i) = i$. $\blacksquare$

That a condition fails does not yet make the outputs differ. They do:

**Claim** `attention.causal-breaks-symmetry`. For every permutation but the identity there are a causal attention layer
and an $X$ with $f(\Pi X) \ne \Pi f(X)$.

**Proof.** Let $W_q = 0$, so that all scores are zero, and let the values be the tokens' vectors. Then row $i$ of $f(X)$
is the mean of $X_0, \dots, X_i$. Take $X = I$, with $X_l = e_l$. Row $i$ of $f(\Pi X)$ is the mean of $e_{\pi(0)},
\dots, e_{\pi(i)}$ and has $i + 1$ entries that are not zero. Row $i$ of $\Pi f(X)$ is that of $f(X)$ at $\pi(i)$, the
mean of $e_0, \dots, e_{\pi(i)}$, and has $\pi(i) + 1$ of them. If $\pi(i) \ne i$, they differ. $\blacksquare$

>>> causal = lambda x: self_attention(x, *weights, mask=Causal())
>>> one, other = outputs("dog bites man", causal), outputs("man bites dog", causal)
>>> [bool(np.allclose(one[word], other[word])) for word in vectors]
[False, False, False]

Here *man* sees all three words in the first text and only itself in the second. *bites* sees other words too. How much
order is that?

**Claim** `attention.one-causal-layer`. (1) In one causal attention layer the output at place $t$ does not change when
the tokens before $t$ are put in another order. (2) Two layers can see it: with equal scores and the tokens' vectors as
values in both, the output at place $2$ is $\frac{1}{18} (11\, X_0 + 5\, X_1 + 2\, X_2)$.

**Proof.** (1) The output at $t$ is $A$ of the one query at $t$ and the keys and values at $0, \dots, t$. The new order
permutes these pairs, and `attention.order-of-keys` applies. (2) The first layer's outputs are $X_0$, $\frac12 (X_0 +
X_1)$ and $\frac13 (X_0 + X_1 + X_2)$, and the second's is their mean. Of $X_0$ it has $\frac13 (1 + \frac12 + \frac13)
= \frac{11}{18}$, of $X_1$ $\frac13 (\frac12 + \frac13) = \frac{5}{18}$, of $X_2$ $\frac19 = \frac{2}{18}$.
$\blacksquare$

>>> (18 * running_means(running_means(np.eye(3)))[2]).round(10)
array([11.,  5.,  2.])

**Claim** `attention.mask-tells-position`. (1) Causal attention with equal scores and the values $v_0 = 1$ and $v_j = 0$
for $j > 0$ has the output $\frac{1}{t + 1}$ at place $t$, a different number at every place. (2) If all tokens have
the same vector, causal attention has the same output at every place.

**Proof.** (1) The output at $t$ is the mean of $v_0, \dots, v_t$, the sum of which is $1$. (2) The values are all one
vector, and a weighted mean of it, with any weights, is it. $\blacksquare$

So a causal model can count without being given positions, if its texts begin with a token that occurs nowhere else:
its first layer writes $\frac{1}{t + 1}$ into the token, and what follows works with that. By (2) the mask alone is not
enough.

>>> running_means(np.eye(5)[:, :1])[:, 0].round(3)
array([1.   , 0.5  , 0.333, 0.25 , 0.2  ])

The numbers crowd together, $\frac{1}{t+1} - \frac{1}{t+2} = \frac{1}{(t+1)(t+2)}$, so far back neighbouring places are
hard to tell apart. The usual remedy is to hand the positions in: `fp_attention.positions` adds them to the tokens,
which makes $X$ itself depend on the order, `fp_attention.rotary` turns queries and keys by them, and
`fp_attention.relative` is a $b_{ij}$ that depends on $i - j$.

## In practice

The symmetry is a virtue where the data have no order: sets of points (J. Lee et al., 2019), graphs, objects in an
image. Decoders without any positions train, and locate tokens (A. Haviv et al., 2022), and in some tests go beyond
their training length better than with positions (A. Kazemnejad et al., 2023); SmolLM3 and Llama 4 leave positions out
in every fourth layer. Encoders without a mask need them: by `attention.pairs-not-order` they could not tell a text from
its words. In floating point the order of a sum changes its last digits, so the symmetry holds up to rounding
(`autograd.sum-error`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from fp_attention.masks import Causal, Mask
from fp_attention.scaled_dot import scaled_dot_product_attention

__all__ = ["permutation_matrix", "self_attention", "equivariance_error", "running_means"]  # the order of the page

Array = Float[np.ndarray, "T C"]


def permutation_matrix(order: Sequence[int]) -> Float[np.ndarray, "T T"]:
    r"""
    The matrix that puts rows in a given order (E1).

    Parameters
    ----------
    order
        $\pi$: which row comes first, which second, …; each of 0, …, T - 1 once.

    Returns
    -------
    ndarray
        A one in each row and each column, else zeros; float64.

    Raises
    ------
    ValueError
        If a number is missing.

    Examples
    --------
    >>> permutation_matrix([1, 0])
    array([[0., 1.],
           [1., 0.]])
    """
    if sorted(order) != list(range(len(order))):
        raise ValueError(
            f"an order lists each of 0, ..., {len(order) - 1} once, got {list(order)}; np.argsort makes one of any "
            "list of different numbers"
        )
    return np.eye(len(order))[list(order)]


def self_attention(
    x: Array,
    w_q: Float[np.ndarray, "HD C"],
    w_k: Float[np.ndarray, "HD C"],
    w_v: Float[np.ndarray, "HD C"],
    w_o: Float[np.ndarray, "C HD"],
    *,
    n_heads: int = 1,
    mask: Mask | None = None,
) -> Array:
    """
    Self-attention with its linear layers, for one text and without positions.

    `fp_attention.multihead` has the layer that trains; this is the one of the claims on this page.

    Parameters
    ----------
    x
        A row for each token.
    w_q, w_k, w_v
        The matrices that make queries, keys and values.
    w_o
        The matrix that is applied to what comes out.
    n_heads
        H, one by default. Several share the rows of the first three matrices evenly, head 0 the first ones, and their
        outputs stand side by side before `w_o`.
    mask
        Who may look at whom; everyone by default.

    Returns
    -------
    ndarray
        A row for each token.

    Raises
    ------
    ValueError
        If the heads do not divide the rows.

    Examples
    --------
    Equal scores: everyone gets the mean.

    >>> zero, one = np.zeros((1, 1)), np.ones((1, 1))
    >>> self_attention(np.array([[1.0], [5.0]]), zero, zero, one, one)
    array([[3.],
           [3.]])
    """
    if n_heads < 1 or len(w_q) % n_heads:
        raise ValueError(f"the number of heads must divide the {len(w_q)} rows of the projections, got {n_heads}")

    def heads(w: np.ndarray) -> np.ndarray:  # (T, C) -> (H, T, D)
        return (x @ w.T).reshape(len(x), n_heads, -1).swapaxes(0, 1)

    y = scaled_dot_product_attention(heads(w_q), heads(w_k), heads(w_v), mask=mask)
    return y.swapaxes(0, 1).reshape(len(x), -1) @ w_o.T


def equivariance_error(f: Callable[[Any], Any], x: Array, order: Sequence[int]) -> float:
    r"""
    How far $f(\Pi X)$ is from $\Pi f(X)$.

    Parameters
    ----------
    f
        A layer that returns a row for each row.
    x
        Its input.
    order
        The permutation.

    Returns
    -------
    float
        The largest absolute difference of two entries.

    Raises
    ------
    ValueError
        If the order is not one of as many rows as `x` has.

    Examples
    --------
    What treats each row on its own is equivariant; a running sum is not.

    >>> x = np.array([[1.0], [2.0]])
    >>> equivariance_error(np.tanh, x, [1, 0]), equivariance_error(lambda x: x.cumsum(axis=0), x, [1, 0])
    (0.0, 2.0)
    """
    order = list(order)
    permutation_matrix(order)
    if len(order) != len(x):
        raise ValueError(f"x has {len(x)} rows, so an order of as many is needed, got one of {len(order)}")
    return float(np.abs(f(x[order]) - f(x)[order]).max())


def running_means(x: Array) -> Array:
    """
    Causal attention with equal scores: each row becomes the mean of the rows up to it.

    Parameters
    ----------
    x
        The values.

    Returns
    -------
    ndarray
        Of the same shape.

    Examples
    --------
    >>> running_means(np.array([[4.0], [0.0], [2.0]]))
    array([[4.],
           [2.],
           [2.]])
    """
    nothing = np.zeros((len(x), 1), x.dtype)
    return scaled_dot_product_attention(nothing, nothing, x, mask=Causal())
