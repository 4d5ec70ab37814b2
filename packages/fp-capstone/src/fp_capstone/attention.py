r"""
Causal self-attention: each position reads from the positions before it.

A linear map mixes the entries of one position; attention mixes *positions*. Each position asks a question (its
**query**), offers an index entry (its **key**) and a content (its **value**), and receives an average of the contents,
weighted by how well their keys answer its question.

You need: softmax (`fp_capstone.cross_entropy`), the linear map and its backward pass (`fp_capstone.linear`). Letters of
this page: $Q, K, V$ are the matrices of one head, $T$ positions long and $D$ wide, and $G$ is the cotangent.

## Derivation: one head

For $T$ positions with queries, keys and values $Q, K, V \in \mathbb{R}^{T \times D}$,

$$
\begin{aligned}
S_{ij} &= \frac{1}{\sqrt D} \sum_d Q_{id} K_{jd} \quad (j \le i), && \text{(T1)} \\
P_{ij} &= \frac{e^{S_{ij}}}{\sum_{k \le i} e^{S_{ik}}} \quad (j \le i), \qquad
P_{ij} = 0 \quad (j > i), && \text{(T2)} \\
Y_{id} &= \sum_{j \le i} P_{ij} V_{jd}. && \text{(T3)}
\end{aligned}
$$

The code writes $-\infty$ where $S_{ij}$ is not defined, at $j > i$, so that a softmax over the whole row gives (T2).

The factor $1 / \sqrt D$: if the entries of a query and a key are all independent, with mean zero and variance one, then
each product $Q_{id} K_{jd}$ has mean zero and variance one, the sum of $D$ of them has variance $D$, and the factor
brings it back to one. Without it the softmax of a wide head saturates and its gradient vanishes.

**Claim** `capstone.causality`. $Y_i$ does not depend on $Q_j$, $K_j$, $V_j$ for any $j > i$.

**Proof.** (T3) for row $i$ uses $P_{ij}$ and $V_j$ with $j \le i$; (T2) for row $i$ uses $S_{ik}$ with $k \le i$; (T1)
for those uses $Q_i$ and $K_k$ with $k \le i$. $\blacksquare$

The mask has to come *before* the softmax: masked after it, the denominator of (T2) still holds the future's scores, and
the future leaks through the normalisation.

## Derivation: the backward pass

**Claim** `capstone.softmax-backward`. For $p = \operatorname{softmax}(s)$ and the cotangent
$h = \partial \ell / \partial p$, $\partial \ell / \partial s_j = p_j \big( h_j - \sum_k p_k h_k \big)$.

**Proof.** By the quotient rule,

$$
\frac{\partial p_k}{\partial s_j}
 = \frac{[k = j]\, e^{s_k}}{\sum_m e^{s_m}} - \frac{e^{s_k} e^{s_j}}{\big( \sum_m e^{s_m} \big)^2}
 = p_k \big( [k = j] - p_j \big).
$$

Then $\sum_k h_k p_k ([k = j] - p_j) = p_j h_j - p_j \sum_k h_k p_k$. $\blacksquare$

**Claim** `capstone.attention-backward`. With the cotangent $G = \partial \ell / \partial Y$,

$$
\begin{aligned}
\frac{\partial \ell}{\partial V} &= P^\top G, && \text{(T4)} \\
A &= G V^\top, && \text{(T5)} \\
\delta_i &= \sum_d G_{id} Y_{id}, && \text{(T6)} \\
Z_{ij} &= P_{ij} (A_{ij} - \delta_i), && \text{(T7)} \\
\frac{\partial \ell}{\partial Q} &= \frac{1}{\sqrt D} Z K, \qquad
\frac{\partial \ell}{\partial K} = \frac{1}{\sqrt D} Z^\top Q. && \text{(T8)}
\end{aligned}
$$

**Proof.** With the zeros of (T2), (T3) is $Y = PV$, linear in each factor, so (L2) of `fp_capstone.linear` gives (T4),
and $\partial \ell / \partial P_{ij} = (G V^\top)_{ij} = A_{ij}$ for $j \le i$. The entries $j \le i$ of row $i$ of $P$
are the softmax of the same entries of $S$, so by the claim above, for $j \le i$,
$\partial \ell / \partial S_{ij} = P_{ij} ( A_{ij} - \sum_{k \le i} P_{ik} A_{ik} )$. The inner sum needs no second pass
over the row, and may run over all $k$, since the further terms are zero:

$$
\sum_k P_{ik} A_{ik} = \sum_k P_{ik} \sum_d G_{id} V_{kd} = \sum_d G_{id} \sum_k P_{ik} V_{kd}
  = \sum_d G_{id} Y_{id} = \delta_i.
$$

So $Z_{ij} = \partial \ell / \partial S_{ij}$ for $j \le i$, and $Z_{ij} = 0$ for $j > i$, because $P_{ij} = 0$ there:
no gradient crosses the mask. Only the entries $j \le i$ of $S$ exist. By (T1) and the chain rule,

$$
\frac{\partial \ell}{\partial Q_{id}} = \sum_{j \le i} Z_{ij} \frac{K_{jd}}{\sqrt D}, \qquad
\frac{\partial \ell}{\partial K_{jd}} = \sum_{i \ge j} Z_{ij} \frac{Q_{id}}{\sqrt D},
$$

and since the other $Z_{ij}$ are zero, both sums may run over all $i$ and $j$: they are (T8). $\blacksquare$

## Many heads, and shared keys

Attention runs $H$ times side by side on separate slices of the width, so that a position can ask several questions at
once. In **grouped-query** attention (Ainslie and others 2023) only the queries have $H$ heads; keys and values have
$H_{kv}$, and each serves a group of $H / H_{kv}$ consecutive query heads. Nothing new has to be derived: a key head is
an input used several times, so its gradient is the sum over its group. The code gets that sum for free by stacking the
group's queries into one taller $Q$, whose rows all meet the same $K$ and $V$: (T4) and (T8) then sum over rows of all
heads of the group.

With dropout on the weights, (T3) uses $P \odot M$ in place of $P$, entry by entry, where $M$ is the mask of
`fp_capstone.dropout`. Then (T4) uses $P \odot M$ too, (T5) becomes $A = M \odot (G V^\top)$, and (T6) to (T8) stay as
they are, with the undropped $P$ in (T7): the inner sum is
$\sum_k P_{ik} M_{ik} \sum_d G_{id} V_{kd} = \sum_d G_{id} Y_{id}$ with the $Y$ that was computed.

## Less work on the square

The $T \times T$ table is the only thing here that grows with the square of the length, so what can be done on $T$ rows
of $D$ numbers should not be done on it. Let $E_{ij} = e^{S_{ij}}$ for $j \le i$ and zero elsewhere, and
$n_i = \sum_j E_{ij}$, so that $P_{ij} = E_{ij} / n_i$. With $G'_{id} = G_{id} / n_i$, the lines of the forward and the
backward pass that hold $P$ become

$$
Y_{id} = \frac{1}{n_i} \sum_j E_{ij} V_{jd}, \quad
\frac{\partial \ell}{\partial V} = E^\top G', \quad
Z_{ij} = E_{ij} \Big( \sum_d G'_{id} V_{jd} - \sum_d G'_{id} Y_{id} \Big). \qquad \text{(T9)}
$$

In each of them the factor $1 / n_i$ of row $i$ has moved from $P$ to a row of $D$ numbers: (T3), (T4), and (T7) with
(T5) and (T6) inserted, where it multiplies the bracket. So the table is never divided.

**Claim** `capstone.no-shift`. If $|S_{ij}| \le c$ for all $j \le i$, then $e^{-c} \le E_{ij} \le e^c$ there,
$e^{-c} \le n_i \le T e^c$ and $\frac{1}{T} e^{-c}\, |G_{id}| \le |G'_{id}| \le e^c\, |G_{id}|$.

**Proof.** The exponential is increasing and positive, and row $i$ has between one and $T$ terms, each between the two
bounds. Divide $|G_{id}|$ by the bounds of $n_i$. $\blacksquare$

So the maximum of each row, which a softmax subtracts so that nothing overflows, need not be found where $c$ is small
enough: the largest and the smallest score of a whole piece of the table decide. What is small enough? The bounds for
$n_i$ and the least $|G_{id}|$ whose $G'_{id}$ is sure to keep float32's full precision, with a million positions:

>>> for c in (32, 64):
...     n = 10**6 * math.exp(c)
...     print(f"c = {c}: {math.exp(-c):.0e} to {n:.0e}, {np.finfo(np.float32).tiny * n:.0e}")
c = 32: 1e-14 to 8e+19, 9e-19
c = 64: 2e-28 to 6e+33, 7e-05

With $c = 64$ nothing overflows either, but gradients of ordinary size would be rounded like the smallest numbers there
are. The code takes $c = 32$.

**Cost.** Queries are taken in blocks of rows, and a block meets only the keys up to its own last row. With $n$
blocks of $T / n$ rows, block $m$ computes $m / n$ of its rows' square, on average $\frac{1}{2} (1 + 1 / n)$, so little
of the masked half is ever touched, and a block's scores stay in the cache.

## In practice

The probabilities are kept for the backward pass, $O(T^2)$ numbers a head. FlashAttention keeps one number a row and
recomputes the rest; stage 5 derives it. Queries, keys, values and their gradients are read and written where they lie,
side by side in the rows of one matrix: BLAS takes a step between rows, so heads need no transposing.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fp_capstone.dropout import dropout_mask
from fp_capstone.linear import ones
from fp_capstone.memory import HEAP, Memory

__all__ = ["AttentionTape", "causal_attention", "causal_attention_backward"]

ROWS = 64  # of a strip of queries
SCORES = 2**17  # of a piece: strips of several sequences are taken together up to here, and stay in a core's cache
SAFE = 32.0  # scores up to here need no shift (`capstone.no-shift`)


class AttentionTape(NamedTuple):
    """What the backward pass needs: scaled queries, keys, values, output; sums and weights of (T9), dropout masks."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    y: np.ndarray
    sums: np.ndarray
    weights: list[np.ndarray]
    masks: list[np.ndarray]


def causal_attention(
    q: Float[np.ndarray, "B R H D"],
    k: Float[np.ndarray, "B T K D"],
    v: Float[np.ndarray, "B T K D"],
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
    keep: bool = False,
    memory: Memory = HEAP,
) -> tuple[Float[np.ndarray, "B R H D"], AttentionTape | None]:
    """
    Attention (T1) to (T3) of the last `R` positions to all `T` positions up to their own.

    In training `R` equals `T`. In generation the keys and values of earlier positions come from a cache, and only
    the queries of the new ones are given.

    Parameters
    ----------
    q
        Queries of the last `R <= T` positions, `H` heads.
    k, v
        Keys and values of all positions, `K` heads, where `K` divides `H`; views will do, and are not copied.
    dropout, rng
        Probability of erasing a weight, and the source of randomness; without `rng` nothing is erased.
    keep
        Keep what the backward pass needs.
    memory
        Where the results lie.

    Returns
    -------
    y : ndarray
        Shape `B R H D`.
    tape : AttentionTape or None
        For `causal_attention_backward`.

    Examples
    --------
    The first position can only attend to itself; the second averages two equally good matches:

    >>> q = np.zeros((1, 2, 1, 2))
    >>> v = np.array([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    >>> causal_attention(q, q, v)[0][0, :, 0]
    array([[1., 2.],
           [2., 3.]])
    """
    B, R, H, D = q.shape
    T, K = k.shape[1:3]
    y = memory.empty((B, R, H, D), q.dtype)
    scaled = np.multiply(q, 1 / math.sqrt(D), out=memory.empty((B, R, H, D), q.dtype))
    sums = memory.empty((B, R, H, 1), q.dtype)
    Q, Kt, V = _by_heads(scaled, K), _by_heads(k, K).swapaxes(-1, -2), _by_heads(v, K)
    Y, totals = _by_heads(y, K), _by_heads(sums, K)
    weights: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for texts, rows, r in _pieces(B, R, T, H):
        seen = T - R + rows.stop  # keys up to the strip's last row
        mark = memory.mark()
        E = memory.empty((texts.stop - texts.start, K, H // K, r, seen), q.dtype)
        np.matmul(Q[texts, :, :, rows], Kt[texts, ..., :seen], out=E)
        shift = not (E.max() <= SAFE and E.min() >= -SAFE)  # NaN is shifted, too
        if r > 1:
            E[..., seen - r :] += _future(r, E.dtype)
        if shift:
            E -= E.max(axis=-1, keepdims=True)
        np.exp(E, out=E)
        np.matmul(E, ones(seen, E.dtype)[:, None], out=totals[texts, :, :, rows])
        P = E
        if rng is not None and dropout > 0:
            M = dropout_mask(E.shape, dropout, rng, E.dtype)
            P = E * M
            if keep:
                masks.append(M)
        np.matmul(P, V[texts, ..., :seen, :], out=Y[texts, :, :, rows])
        if keep:
            weights.append(E)
        else:
            memory.release(mark)
    y /= sums
    return y, AttentionTape(scaled, k, v, y, sums, weights, masks) if keep else None


def causal_attention_backward(
    g: Float[np.ndarray, "B T H D"],
    tape: AttentionTape,
    out: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    memory: Memory = HEAP,
) -> tuple[Float[np.ndarray, "B T H D"], Float[np.ndarray, "B T K D"], Float[np.ndarray, "B T K D"]]:
    """
    Gradients (T4) to (T8) of attention, with the weights in the form (T9).

    Parameters
    ----------
    g
        Gradient of the loss with respect to the output, shape `B T H D`.
    tape
        From the forward pass, with as many queries as keys.
    out
        Where the results lie, views will do; new memory if not given.
    memory
        Where scratch lies.

    Returns
    -------
    dq, dk, dv : ndarray
        Gradients with respect to queries, keys and values, in their shapes.
    """
    scaled, k, v, y, sums, weights, masks = tape
    B, T, H, D = y.shape
    K = k.shape[2]
    dq, dk, dv = out or (np.empty(y.shape, y.dtype), np.empty(k.shape, k.dtype), np.empty(v.shape, v.dtype))
    Q, keys, Vt = _by_heads(scaled, K), _by_heads(k, K), _by_heads(v, K).swapaxes(-1, -2)
    dQ, dK, dV = _by_heads(dq, K), _by_heads(dk, K)[:, :, 0], _by_heads(dv, K)[:, :, 0]
    start = memory.mark()
    divided = np.divide(g, sums, out=memory.empty(y.shape, y.dtype))
    G = _by_heads(divided, K)
    products = np.multiply(divided, y, out=memory.empty(y.shape, y.dtype))
    delta = _by_heads((products.reshape(-1, D) @ ones(D, y.dtype)).reshape(B, T, H, 1), K)
    # the last strip sees all keys and is written, the others are added
    for i, (texts, rows, _) in reversed(list(enumerate(_pieces(B, T, T, H)))):
        seen, E, G_rows = rows.stop, weights[i], G[texts, :, :, rows]
        mark = memory.mark()
        Z = memory.empty(E.shape, E.dtype)
        np.matmul(G_rows, Vt[texts, ..., :seen], out=Z)  # forward: Y = P V, so A = G V^T
        kept = E
        if masks:
            kept = E * masks[i]
            Z *= masks[i]
        Z -= delta[texts, :, :, rows]  # forward: P = softmax(S)
        Z *= E
        np.matmul(Z, keys[texts, ..., :seen, :], out=dQ[texts, :, :, rows])  # forward: S = Q K^T / sqrt(D)
        _accumulate(kept, G_rows, dV[texts, :, :seen], seen == T, memory)  # forward: Y = P V, so dV = P^T G
        _accumulate(Z, Q[texts, :, :, rows], dK[texts, :, :seen], seen == T, memory)
        memory.release(mark)
    dq *= 1 / math.sqrt(D)
    memory.release(start)
    return dq, dk, dv


def _accumulate(
    P: Float[np.ndarray, "b K G r seen"],
    x: Float[np.ndarray, "b K G r D"],
    total: Float[np.ndarray, "b K seen D"],
    first: bool,
    memory: Memory,
) -> None:
    """Add P^T x, summed over the query heads that share a key head, to `total`; the first one is written."""
    groups = P.shape[2]
    if first and groups == 1:
        np.matmul(P[:, :, 0].swapaxes(-1, -2), x[:, :, 0], out=total)
        return
    product = memory.empty(total.shape, total.dtype)
    for i in range(groups):
        out = total if first and i == 0 else product
        np.matmul(P[:, :, i].swapaxes(-1, -2), x[:, :, i], out=out)
        if out is product:
            total += product


def _by_heads(x: Float[np.ndarray, "B T H D"], K: int) -> Float[np.ndarray, "B K G T D"]:
    """A view with the heads in front, those that share a key head together."""
    B, T, H, D = x.shape
    return x.reshape(B, T, K, H // K, D).transpose(0, 2, 3, 1, 4)


def _pieces(B: int, R: int, T: int, H: int) -> Iterator[tuple[slice, slice, int]]:
    """Sequences and rows of each piece, and how many rows: strips of as many sequences as the cache holds."""
    for start in range(0, R, ROWS):
        stop = min(start + ROWS, R)
        n = max(1, SCORES // (H * (stop - start) * (T - R + stop)))
        for first in range(0, B, n):
            yield slice(first, min(first + n, B)), slice(start, stop), stop - start


@lru_cache
def _future(rows: int, dtype: np.dtype) -> Float[np.ndarray, "rows rows"]:
    """Minus infinity above the diagonal, zero elsewhere."""
    return np.triu(np.full((rows, rows), -np.inf, dtype), 1)
