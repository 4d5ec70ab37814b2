r"""
Prefixes: keys and values that no token wrote.

A prompt in front of a text changes what a model makes of the text, and nothing in the model had to be trained for it.
So train the prompt: not its words, which are discrete, but the rows that stand for them, or the keys and values that
each layer keeps of them. What can such a prefix do to attention, and what is beyond it?

You need: `fp_attention.scaled_dot`, `fp_attention.kv_cache`, `fp_transformer.model`.

## A mixture

In one head let a query have the scores $s_1, \dots, s_T$ with the text's keys and $t_1, \dots, t_n$ with the keys of a
prefix, all finite. Write $v_j$ for the values of the text and $w_i$ for those of the prefix, and

$$
l = \sum_{j=1}^T e^{s_j}, \quad y = \frac1l \sum_j e^{s_j} v_j, \qquad
\ell = \sum_{i=1}^n e^{t_i}, \quad y_P = \frac1\ell \sum_i e^{t_i} w_i. \qquad \text{(E1)}
$$

**Claim** `peft.prefix-mixture`. Attention over text and prefix together is

$$y' = (1 - \lambda)\, y + \lambda\, y_P, \qquad \lambda = \frac{\ell}{l + \ell}, \qquad 0 < \lambda < 1. \qquad
\text{(E2)}$$

The weights that it gives to the text's keys are $(1 - \lambda)$ times those that they have without the prefix: their
proportions do not change. $\lambda$ depends on the query and on the keys, and not on any value.

**Proof.** The joint softmax divides by $l + \ell$ (`attention.merge` for two blocks). So

$$
y' = \frac{1}{l + \ell} \Big( \sum_j e^{s_j} v_j + \sum_i e^{t_i} w_i \Big) = \frac{l}{l + \ell}\, y + \frac{\ell}{l +
\ell}\, y_P,
$$

and $\frac{l}{l + \ell} = 1 - \lambda$. The weight of $v_j$ is $e^{s_j} / (l + \ell) = (1 - \lambda)\, e^{s_j} / l$.
Both sums are positive, as exponentials of finite numbers are. $l$ and $\ell$ contain keys and the query only.
$\blacksquare$

>>> rng = np.random.default_rng(0)
>>> q, k, v, pk, pv = (rng.normal(size=(n, 4)) for n in (1, 5, 5, 2, 2))
>>> share, text, prefix = mixture(q, k, v, pk, pv)
>>> from fp_attention import scaled_dot_product_attention
>>> whole = scaled_dot_product_attention(q, np.concatenate([pk, k]), np.concatenate([pv, v]))
>>> bool(np.allclose(whole, (1 - share) * text + share * prefix)), share.round(2)
(True, array([[0.37]]))

**Claim** `peft.prefix-limits`. Let the text of a layer be given.

1. No prefix with finite keys and scores leaves the output of a head as it is, unless $y_P = y$.
2. No prefix makes a head prefer another key of the text: if $s_j > s_k$ without it, the weight of $j$ is larger with
   it.
3. On a text whose values are all zero, prefixes reach every output, and changes of queries and keys reach zero alone.

**Proof.** (1) $y' - y = \lambda (y_P - y)$ with $\lambda > 0$. (2) Both weights are multiplied by $1 - \lambda > 0$.
(3) If all $v_j = 0$, $y = 0$ whatever the weights, and $y' = \lambda\, y_P$ is $z$ if all $w_i = z / \lambda$:
$\lambda$ does not depend on values. $\blacksquare$

So within one layer a prefix adds a bias, of a size that the query chooses. The layers above compute with what came out
of that, and their queries and keys do change; the limits are those of a layer.

**Claim** `peft.prefix-gradient`. Let $g$ be the cotangent of $y'$ for one query, $\bar p_i = e^{t_i} / \ell$ the weight
of $w_i$ within the prefix, and the score $t_i = \alpha\, q \cdot k_i$. Then

$$
\bar w_i = \lambda\, \bar p_i\, g, \qquad
\bar k_i = \alpha\, \lambda\, \bar p_i\, \big( g \cdot (w_i - y') \big)\, q, \qquad \text{(E3)}
$$

added over the queries, over the texts of a batch, and over the query heads that share a key head.

**Proof.** The weight of $w_i$ in $y'$ is $P_i = e^{t_i} / (l + \ell) = \lambda \bar p_i$. By `attention.backward` the
cotangent of the value is $P_i\, g$, that of the score $P_i\, (g \cdot w_i - g \cdot y')$, and that of the key $\alpha$
times it times $q$. One prefix is used by all queries, texts and heads of a group (`autograd.copy-rule`,
`attention.grouped`). $\blacksquare$

## A soft prompt is a prefix

**Prompt tuning** trains $n$ rows $E_0, \dots, E_{n-1} \in \mathbb{R}^C$ that stand in front of the embedded text, at
the positions $0, \dots, n - 1$; the text's own positions begin at $n$. **Prefix tuning** trains keys and values of
every layer.

**Claim** `peft.prompt-is-prefix`. For every soft prompt of $n$ rows there is a prefix of length $n$ with which a causal
model computes the same at the positions of every text: the keys, turned to their positions, and the values that its
layers make of the rows alone. The reverse fails: there are models, and prefixes for them, with which no soft prompt of
any length computes the same.

**Proof.** With a causal mask, what the layers compute at the positions of the prompt does not depend on the text
(`attention.causal-independence`), so the keys and values that each layer has there are the same for all texts, and are
what the layers make of the rows alone. A layer's output at a position of the text is a function of the stream there and
of all keys and values up to it (`attention.cache-exact`); by induction over the layers, giving the prompt's ready-made
is the same as computing them. For the reverse, take a model of one layer with $W^V = 0$, one head and $W^O = I$. Every
row makes the value zero, so with any soft prompt attention returns zero. A prefix with the value $w \ne 0$ makes it
return $\lambda w \ne 0$ by (E2). $\blacksquare$

So prefix tuning can express what prompt tuning can, with $2 L H_{kv} D / C$ times its numbers, and both contain every
prompt of $n$ real tokens. It also says how to compute a soft prompt cheaply: not as $n$ more rows in every text of a
batch, but once for the batch. `Tuned` does that. And since a prefix is never neutral
(`peft.prefix-limits`), there is no exact identity to begin from. What can be had exactly is the model *with a prompt in
front*: rows, or keys and values, of real tokens.

## In practice

X. L. Li and P. Liang (2021) trained prefixes through a small network that is thrown away afterwards, as training them
directly was unstable, and began at the keys of real words, which works best when data are few. B. Lester and others
(2021) trained the rows alone: on models of ten billion parameters as good as full fine-tuning, on small ones much
worse. The claim (E2) is from J. He and others (2022) and A. Petrov and others (2024), who show what follows for what
such methods cannot learn. Both take positions from the context: a model for $T$ tokens reads $T - n$.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from fp_attention.masks import Causal, Mask
from fp_attention.multihead import MultiHeadAttention
from fp_attention.positions import Positions
from fp_autograd.rules import broadcast_to, concatenate
from fp_autograd.tracing import Operand, value_of
from fp_neural.module import Parameter

__all__ = [  # the order of the page
    "PrefixTuning",
    "PromptTuning",
    "mixture",
    "PrefixedAttention",
    "BehindPrefix",
    "LaterPositions",
]


def _check_length(length: Any, init_ids: Any) -> tuple[int, ...] | None:
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise ValueError(f"the length of a prefix is a whole number from 1 on, got {length!r}")
    if init_ids is None:
        return None
    ids = tuple(int(i) for i in init_ids)
    if len(ids) != length:
        raise ValueError(f"a prefix of length {length} begins as {length} tokens, got {len(ids)} ids")
    return ids


@dataclass(frozen=True)
class PrefixTuning:
    """
    What to add to a model: trained keys and values in every layer.

    Parameters
    ----------
    length
        $n$, how many.
    init_ids
        Tokens whose keys and values it begins as, `length` of them; drawn at random by default, which trains slower.

    Raises
    ------
    ValueError
        If the length is not positive, or the ids are not as many.
    """

    length: int = 16
    init_ids: Sequence[int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "init_ids", _check_length(self.length, self.init_ids))


@dataclass(frozen=True)
class PromptTuning:
    """
    What to add to a model: trained rows in front of the embedded text.

    Parameters
    ----------
    length
        $n$, how many.
    init_ids
        Tokens whose embeddings they begin as, `length` of them; drawn at random by default, which trains slower.

    Raises
    ------
    ValueError
        If the length is not positive, or the ids are not as many.
    """

    length: int = 16
    init_ids: Sequence[int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "init_ids", _check_length(self.length, self.init_ids))


def mixture(
    q: Float[np.ndarray, "Tq D"],
    k: Float[np.ndarray, "Tk D"],
    v: Float[np.ndarray, "Tk Dv"],
    prefix_k: Float[np.ndarray, "n D"],
    prefix_v: Float[np.ndarray, "n Dv"],
) -> tuple[Float[np.ndarray, "Tq 1"], Float[np.ndarray, "Tq Dv"], Float[np.ndarray, "Tq Dv"]]:
    r"""
    The three parts of (E2) for one head without a mask.

    Parameters
    ----------
    q
        Queries.
    k, v
        Keys and values of the text.
    prefix_k, prefix_v
        Those of the prefix.

    Returns
    -------
    share, text, prefix : ndarray
        $\lambda$, $y$ and $y_P$ for each query.
    """
    scale = 1 / math.sqrt(q.shape[1])
    s, t = scale * q @ k.T, scale * q @ prefix_k.T
    (y, l), (y_P, l_P) = (_softmax_mean(*pair) for pair in ((s, v), (t, prefix_v)))
    return (1 + np.tanh((l_P - l) / 2)) / 2, y, y_P  # a sigmoid: the sums themselves could overflow


def _softmax_mean(s: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A mean of (E1), and the logarithm of the sum that it is divided by."""
    top = s.max(axis=1, keepdims=True)
    e = np.exp(s - top)
    total = e.sum(axis=1, keepdims=True)
    return e @ v / total, top + np.log(total)


class BehindPrefix(Mask):
    """
    The mask of a text behind a prefix: every query sees the prefix, and of the text what another mask allows.

    Parameters
    ----------
    mask
        For the text alone, positions counted from its own first token.
    n
        How long the prefix is.

    Examples
    --------
    >>> BehindPrefix(Causal(), 1).dense(2, 3).astype(int)
    array([[1, 1, 0],
           [1, 1, 1]])
    """

    def __init__(self, mask: Mask, n: int) -> None:
        self.mask, self.n = mask, n

    def allowed(self, i: Any, j: Any) -> np.ndarray:
        i, j = np.subtract(i, self.n), np.subtract(j, self.n)
        return (j < 0) | self.mask.allowed(i, np.maximum(j, 0))

    def _check(self, sizes: Any) -> None:
        # the inner mask knows nothing of the prefix: its keys are fewer, and its queries begin earlier
        self.mask._check(sizes._replace(n_keys=sizes.n_keys - self.n, start=sizes.start - self.n))


class LaterPositions(Positions):
    """
    The positions of a text that begins behind a prefix.

    Parameters
    ----------
    base
        The positions of a text that begins at 0.
    n
        How long the prefix is.
    """

    def __init__(self, base: Positions, n: int) -> None:
        super().__init__()
        self.base, self.n = base, n

    def on_input(self, x: Operand, start: int = 0) -> Any:
        """As the base does it, `n` positions later."""
        return self.base.on_input(x, start + self.n)

    def on_heads(self, x: Operand, positions: Integer[np.ndarray, " T"]) -> Any:
        """As the base does it, `n` positions later."""
        return self.base.on_heads(x, positions + self.n)


class PrefixedAttention(MultiHeadAttention):
    """
    Attention of a text to itself and to a prefix.

    It is made by `around`, and has the parts of the layer that it was made from, under their names. Caches hold the
    text's keys and values; those of the prefix are put in front at each call.

    Attributes
    ----------
    prefix_keys, prefix_values
        Of shape (Hkv, n, D), the keys turned to their positions already. Parameters in prefix tuning.
    """

    prefix_keys: Any
    prefix_values: Any

    @classmethod
    def around(cls, base: MultiHeadAttention, n: int) -> "PrefixedAttention":
        """
        A layer like another, whose texts begin `n` positions later; its prefix is still to be set.

        Parameters
        ----------
        base
            A causal attention layer without a bias for distances.
        n
            How long the prefix is.

        Raises
        ------
        ValueError
            If its mask is another.
        """
        if not isinstance(base.mask, Causal):
            raise ValueError(f"a prefix stands in front of a causal text, got a layer with the mask {base.mask}")
        new = cls.__new__(cls)
        vars(new).update(vars(base))
        new.positions = LaterPositions(base.positions, n)
        new.prefix_keys = new.prefix_values = None
        return new

    def alone(self) -> MultiHeadAttention:
        """The layer that it was made from, for the rows of a soft prompt, which see no prefix."""
        base = MultiHeadAttention.__new__(MultiHeadAttention)
        vars(base).update(vars(self))
        base.positions = self.positions.base  # type: ignore[attr-defined]
        return base

    def _heads(self, x: Operand, context: Operand | None, mask: Any, cache: Any) -> tuple[Any, ...]:
        q, k, v, settings = super()._heads(x, context, mask, cache)
        n, B = np.shape(self.prefix_keys)[1], np.shape(x)[0]
        k, v = (
            concatenate([broadcast_to(prefix, (B, *np.shape(prefix))), own], axis=2)
            for prefix, own in ((self.prefix_keys, k), (self.prefix_values, v))
        )
        if not isinstance(settings["mask"], Causal):  # which means the same wherever the text begins
            settings["mask"] = BehindPrefix(settings["mask"], n)
        settings["start"] += n
        return q, k, v, settings

    def keys_and_values(self, x: Operand) -> tuple[Any, Any]:
        """
        The prefix that rows at the positions 0, 1, … would be.

        Parameters
        ----------
        x
            Rows behind the layer's norm, of shape (1, n, C).

        Returns
        -------
        keys, values : Tensor
            Of shape (Hkv, n, D).
        """
        n = np.shape(x)[1]
        base = self.positions.base if isinstance(self.positions, LaterPositions) else self.positions
        k = base.on_heads(self._split(self.k_proj(x), self.n_kv_heads), np.arange(n))
        return k[0], self._split(self.v_proj(x), self.n_kv_heads)[0]


def new_prefix(attention: PrefixedAttention, n: int, rng: np.random.Generator | None) -> None:
    """Give a layer a prefix of its own, drawn or zero."""
    shape, dtype = (attention.n_kv_heads, n, attention.d_head), value_of(attention.k_proj.weight).dtype
    for name in ("prefix_keys", "prefix_values"):
        numbers = np.zeros(shape) if rng is None else rng.normal(size=shape) * 0.5
        setattr(attention, name, Parameter(numbers.astype(dtype)))
