r"""
Heads: several questions at once.

One head takes one weighted mean of the values for each query: a token that asks for its verb and for its noun gets a
blend of the answers. Several heads ask in parallel, each in a space of its own. What does that cost, what can it
express that one head cannot, and how many of the keys and values may heads share?

You need: `fp_attention.scaled_dot`, `fp_attention.masks`, the rank from `fp_neural.spectra`, `fp_neural.layers`.

## From a text to heads and back

Let $x_0, \dots, x_{T-1} \in \mathbb{R}^C$ be the rows of the input. Head $h = 1, \dots, H$ has matrices
$W^Q_h, W^K_h \in \mathbb{R}^{D \times C}$ and $W^V_h \in \mathbb{R}^{D \times C}$, and computes attention of width $D$
on

$$q_i = W^Q_h\, x_i, \qquad k_j = W^K_h\, x_j, \qquad v_j = W^V_h\, x_j, \qquad
y^{(h)}_i = \sum_j P^{(h)}_{ij}\, v_j. \qquad \text{(E1)}$$

The results are put one behind the other, and a matrix $W^O \in \mathbb{R}^{C \times H D}$ leads back to the width of
the input:

$$z_i = W^O \begin{pmatrix} y^{(1)}_i \\ \vdots \\ y^{(H)}_i \end{pmatrix}. \qquad \text{(E2)}$$

In **cross-attention** the keys and values come from another sequence than the queries, of any length and width; all
that follows holds for it too, with $x_j$ read as a row of the other.

**Claim** `attention.heads-add`. Let $W^O_h \in \mathbb{R}^{C \times D}$ be the columns of $W^O$ that meet head $h$.
Then

$$
\begin{aligned}
S^{(h)}_{ij} &= \frac{1}{\sqrt D}\, x_i \cdot M_h\, x_j, & M_h &= (W^Q_h)^\top W^K_h, \\
z_i &= \sum_h \sum_j P^{(h)}_{ij}\, N_h\, x_j, & N_h &= W^O_h W^V_h,
\end{aligned} \qquad \text{(E3)}
$$

and $M_h$ and $N_h$ have rank at most $\min(D, C)$. The layer depends on its four matrices through the $M_h$ and the
$N_h$ only.

**Proof.** The scores are `attention.bilinear-score`.
A product of a matrix of columns with a stacked vector is the sum of the products of its parts, so
$z_i = \sum_h W^O_h\, y^{(h)}_i = \sum_h W^O_h \sum_j P^{(h)}_{ij} W^V_h\, x_j$, and sums may be exchanged with matrices
(`autograd.matrix-product`). The ranks are `neural.narrow-layer`: both products pass through $D$ numbers. (E3) contains
nothing else that is learned. $\blacksquare$

So the heads work side by side and their results are *added*; putting them behind each other and multiplying by one
matrix is a way to write that sum. $M_h$ says where head $h$ looks, $N_h$ what it carries from there, each a map
through a **subspace** of $D$ of the $C$ dimensions. The four matrices are not determined by the layer: $W^Q_h$ may be
replaced by $A\, W^Q_h$ and $W^K_h$ by $(A^{-1})^\top W^K_h$ for any invertible $A$, with the same $M_h$ (but see
`fp_attention.rotary`, whose turns stand between the two).

**Claim** `attention.heads-mixed`. There are two heads with $D = 1$, each with a mask of its own, that compute from two
tokens $x_0, x_1 \in \mathbb{R}^2$ the first coordinate of $x_0$ and the second of $x_1$. No single head computes that,
whatever its width, its mask and its weights $P$, even if these depend on $x_0$ and $x_1$ in any way.

**Proof.** Let head 1 see token $0$ only and head 2 token $1$ only, $W^V_1 = (1\ 0)$, $W^V_2 = (0\ 1)$ and $W^O = I$:
the result is $(x_{0,1}, x_{1,2})$. A single head with the shares $p$ and $1 - p$ gives $z = p\, N x_0 + (1 - p)\, N
x_1$. Take $x_1 = 0$: for all $x_0$, $p\, N x_0 = (x_{0,1}, 0)$. Where $x_{0,1} \ne 0$, $p$ is not zero, so the second
coordinate of $N x_0$ is. Every vector is the difference of two with $x_{0,1} \ne 0$, so the second row of $N$ is zero,
and with it the second coordinate of $z$, always, although it should be that of $x_1$. $\blacksquare$

Averaging the heads instead of putting them side by side forces one $W^O_h$ on all of them: what came from which head is
lost, as it is to a listener who hears two answers at once.

## Shared keys and values

When a text is continued token by token, keys and values of all earlier tokens are read from memory again and again
(`fp_attention.kv_cache`), and they are as large as all heads together. In **grouped-query** attention $G$ consecutive
query heads use the same keys and values: there are $H_{kv} = H / G$ key heads, and head $h$ uses number
$\lceil h / G \rceil$. With $G = H$ it is called **multi-query** attention.

**Claim** `attention.grouped`. A layer with $H_{kv}$ key heads computes what a layer with $H$ key heads computes whose
matrices $W^K_h$, $W^V_h$ are equal within each group. The gradient of a shared matrix is the sum of the gradients that
the $G$ equal ones would have.

**Proof.** The first is (E1), where only the names of the matrices differ. The second is `neural.tied-gradient`, for $G$
places instead of two: by induction, one place at a time. $\blacksquare$

So a layer with all its key heads can be turned into a grouped one only if it loses something, and practice starts from
the mean of each group's matrices and trains on (J. Ainslie and others, 2023).

## What it costs

**Claim** `attention.head-count`. Without biases, with $D = C / H$, $T$ positions and no mask, a layer has

$$
C^2 \Big( 2 + \frac{2}{G} \Big) \ \text{parameters, and computes with} \quad
T\, C^2 \Big( 2 + \frac{2}{G} \Big) + 2\, T^2 C \qquad \text{(E4)}
$$

multiplications of numbers, beside $H T^2$ exponentials. The number of heads makes no difference to either for a given
$G$.

**Proof.** The queries of all heads take $H D = C$ rows of $C$ weights, keys and values $H_{kv} D = C / G$ rows each,
and $W^O$ has $C$ rows of $H D = C$: $C^2 (1 + \frac1G + \frac1G + 1)$ weights, each used once a position. For every
head and every pair of positions, the score takes $D$ multiplications and the share of the value $D$, which makes $H\,
T^2 \cdot 2 D = 2\, T^2 C$. $\blacksquare$

More heads ask more questions in narrower subspaces, for the same price. `fp_attention.cost` counts on from here.

>>> layer = MultiHeadAttention(12, 6, n_kv_heads=2, rng=np.random.default_rng(0))
>>> layer.n_parameters, int(12**2 * (2 + 2 / 3))
(384, 384)

## Backward

All of it is composed of linear layers (`neural.linear-gradient`) and attention (`attention.backward`); cutting the
width into heads and putting it together again moves numbers and does nothing to them, so the cotangents move back the
same way. Beware of the way: the heads are an axis of their own, $B \times T \times H \times D$, and only the exchange
of the middle axes makes them $B \times H \times T \times D$. A `reshape` alone runs without complaint and mixes
positions.

## In practice

GPT-2 computes queries, keys and values by one matrix of $3 C$ rows; Llama and its kin use three without biases, and
grouped keys; here they are always three. $D = 64$ or $128$ in nearly all models, so wider models have more heads. Many
heads of a trained model can be removed with little loss (P. Michel and others, 2019); $M_h$ and $N_h$ as what a head
*is*: N. Elhage and others (2021). Multi-head latent attention (DeepSeek, 2024) keeps one narrow vector a token, from
which the keys and values of all heads are made.
"""

from typing import Any

import numpy as np

from fp_attention.kv_cache import KVCache
from fp_attention.masks import Mask, as_mask
from fp_attention.positions import Positions
from fp_attention.scaled_dot import Real, attention_weights, scaled_dot_product_attention
from fp_attention.tiled import tiled_attention
from fp_autograd.tensor import moves, no_grad
from fp_autograd.tracing import Operand, value_of
from fp_neural.layers import Linear
from fp_neural.module import Module

__all__ = ["MultiHeadAttention"]

FAR = 2**40
"""A position later than any."""


class MultiHeadAttention(Module):
    r"""
    Attention with several heads (E2), of a sequence to itself or to another.

    Parameters
    ----------
    dim
        $C$, the width of the input and of the output.
    n_heads
        $H$.
    rng
        Draws the weights, and what dropout drops. None leaves the weights at zero, for those that will be loaded.
    n_kv_heads
        $H_{kv}$, how many heads keys and values have; it divides `n_heads`, which it is by default.
    d_head
        $D$; `dim / n_heads` by default.
    context_dim
        The width of the other sequence in cross-attention; `dim` by default.
    bias
        Whether the four linear layers have biases.
    positions
        How positions come in; not at all by default.
    mask
        What holds at every call, such as `Causal()`.
    dropout
        With which probability a weight is dropped in training.
    tiled
        Whether to compute by `fp_attention.tiled`, in memory of order $T$.
    dtype
        Of the parameters.

    Attributes
    ----------
    q_proj, k_proj, v_proj, o_proj : Linear
        Their weights have the shapes $HD \times C$, $H_{kv} D \times C'$ twice, and $C \times HD$, where $C'$ is
        `context_dim`.

    Raises
    ------
    ValueError
        If the heads do not divide the width, the key heads not the heads, or a number is not positive.

    Examples
    --------
    >>> from fp_attention import Causal, RoPE
    >>> layer = MultiHeadAttention(12, 3, n_kv_heads=1, positions=RoPE(4), mask=Causal(), rng=np.random.default_rng(0))
    >>> x = np.random.default_rng(1).normal(size=(2, 5, 12)).astype(np.float32)
    >>> layer(x).shape
    (2, 5, 12)

    The same, three tokens first and then two, with a cache:

    >>> cache = layer.new_cache(batch=2, capacity=5)
    >>> parts = [layer(x[:, :3], cache=cache), layer(x[:, 3:], cache=cache)]
    >>> bool(np.allclose(np.concatenate([p.data for p in parts], axis=1), layer(x).data, atol=1e-6))
    True
    """

    def __init__(
        self,
        dim: int,
        n_heads: int,
        *,
        rng: np.random.Generator | None,
        n_kv_heads: int | None = None,
        d_head: int | None = None,
        context_dim: int | None = None,
        bias: bool = False,
        positions: Positions | None = None,
        mask: Mask | np.ndarray | None = None,
        dropout: Real = 0.0,
        tiled: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        if min(dim, n_heads, n_kv_heads, 1 if d_head is None else d_head) < 1:
            raise ValueError(
                f"widths and heads are positive, got dim={dim}, n_heads={n_heads}, n_kv_heads={n_kv_heads}, "
                f"d_head={d_head}"
            )
        if d_head is None and dim % n_heads:
            raise ValueError(
                f"{n_heads} heads do not divide a width of {dim}: choose a number of heads that does, or give each the "
                f"width d_head={-(-dim // n_heads)}"
            )
        if n_heads % n_kv_heads:
            raise ValueError(
                f"n_kv_heads has to divide n_heads, so that every key head serves as many query heads; got "
                f"{n_kv_heads} and {n_heads}"
            )
        if positions is not None and not isinstance(positions, Positions):
            raise TypeError(f"positions is an object such as RoPE({(d_head or dim // n_heads)}), got {positions!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is the probability of dropping a weight and lies in [0, 1), got {dropout}")
        self.dim, self.n_heads, self.n_kv_heads = dim, n_heads, n_kv_heads
        self.d_head = dim // n_heads if d_head is None else d_head
        self.context_dim = dim if context_dim is None else context_dim
        self.mask, self.dropout, self.rng, self.tiled = as_mask(mask, 0), dropout, rng, tiled
        self.positions = Positions() if positions is None else positions
        self.q_proj = Linear(dim, n_heads * self.d_head, bias=bias, rng=rng, dtype=dtype)
        self.k_proj = Linear(self.context_dim, n_kv_heads * self.d_head, bias=bias, rng=rng, dtype=dtype)
        self.v_proj = Linear(self.context_dim, n_kv_heads * self.d_head, bias=bias, rng=rng, dtype=dtype)
        self.o_proj = Linear(n_heads * self.d_head, dim, bias=bias, rng=rng, dtype=dtype)

    def forward(
        self,
        x: Operand,
        context: Operand | None = None,
        *,
        mask: Mask | np.ndarray | None = None,
        cache: KVCache | None = None,
    ) -> Any:
        """
        Let every position of `x` read from `context`, or from `x` itself.

        Parameters
        ----------
        x
            Of shape (B, T, dim).
        context
            The other sequence, of shape (B, Tk, context_dim). The positions of both begin at zero.
        mask
            What holds at this call beside the layer's own mask; both have to allow a pair. The rows of an array are the
            positions of `x`.
        cache
            Of `new_cache`: the keys and values of the tokens before, to which those of `x` are added. Nothing is
            recorded then for a gradient, and nothing dropped. A call that fails leaves it as it was.

        Returns
        -------
        ndarray or Box
            Of shape (B, T, dim).

        Raises
        ------
        ValueError
            If a shape does not fit, the cache was made for another layer, is full, or used without a causal mask or
            with a context.
        """
        if cache is None:
            return self._attend(x, context, mask, None)
        self._check_cache(x, context, cache)
        length = cache.length
        try:
            with no_grad():
                return self._attend(x, context, mask, cache)
        except Exception:  # a refused call leaves no trace
            cache.truncate(length)
            raise

    def _attend(self, x: Operand, context: Operand | None, mask: Any, cache: KVCache | None) -> Any:
        q, k, v, settings = self._heads(x, context, mask, cache)
        if self.dropout and self.training and cache is None:  # what is kept is used again, so it is left to no chance
            settings |= {"dropout": self.dropout, "rng": self.rng}
        y = (tiled_attention if self.tiled else scaled_dot_product_attention)(q, k, v, **settings)
        B, T, _ = np.shape(x)
        return self.o_proj(y.swapaxes(1, 2).reshape((B, T, self.n_heads * self.d_head)))

    def weights(
        self, x: Operand, context: Operand | None = None, *, mask: Mask | np.ndarray | None = None
    ) -> np.ndarray:
        """
        Where each position looks, without dropout.

        Parameters
        ----------
        x, context, mask
            As for a call.

        Returns
        -------
        ndarray
            Of shape (B, H, T, Tk); each row sums to one.

        Raises
        ------
        ValueError
            As for a call.
        """
        q, k, _, settings = self._heads(x, context, mask, None)
        return attention_weights(q, k, **settings)

    def new_cache(self, batch: int, capacity: int, *, window: int | None = None, sinks: int = 0) -> KVCache:
        """
        An empty cache for this layer.

        Parameters
        ----------
        batch
            $B$, how many texts.
        capacity
            How many tokens it can hold.
        window, sinks
            If given, it keeps the last `window` tokens and the first `sinks` only, and is never full. The layer's mask
            must not let anyone see more.

        Returns
        -------
        KVCache
            It remembers whose it is.

        Raises
        ------
        ValueError
            If the layer's mask is not causal, or sees what such a cache drops.
        """
        self._check_mask(window, sinks)
        dtype = value_of(self.k_proj.weight).dtype
        return KVCache(
            batch, self.n_kv_heads, self.d_head, capacity, window=window, sinks=sinks, dtype=dtype, owner=self
        )

    def _check_mask(self, window: int | None, sinks: int) -> None:
        if self.mask is None or not self.mask.causal:
            raise ValueError(
                "with a cache each token is computed before the later ones are known, so the layer's mask has to be "
                f"causal, but it is {self.mask}: make the layer with mask=Causal()"
            )
        if window is not None and not self.mask.by_value():
            raise ValueError(
                f"whether the layer's mask {self.mask} sees what a cache with window={window} drops cannot be told: "
                "leave arrays, such as Padding, to the mask of each call"
            )
        if window is not None and not self.mask.empty(FAR, FAR + 1, sinks, FAR - window + 1):
            raise ValueError(
                f"a cache with window={window} and sinks={sinks} would drop tokens that the layer's mask lets later "
                f"ones see: {self.mask}. Give the layer mask=SlidingWindow({window}), joined with First({sinks}) & "
                "Causal() for sinks, or keep all tokens"
            )

    def _check_cache(self, x: Operand, context: Operand | None, cache: Any) -> None:
        if not isinstance(cache, KVCache):
            raise TypeError(f"a cache is made by new_cache, got {type(cache).__name__}")
        if context is not None:
            raise ValueError("a cache holds keys of the sequence itself: use either a cache or a context")
        if moves(x):
            raise ValueError(
                "nothing is recorded with a cache, and a gradient is asked for: leave the cache out, or call under "
                "no_grad()"
            )
        cache.check(self)
        self._check_mask(cache.window, cache.sinks)

    def _heads(self, x: Operand, context: Operand | None, mask: Any, cache: KVCache | None) -> tuple[Any, ...]:
        """Queries, keys and values, and the settings of the attention."""
        if np.ndim(x) != 3 or np.shape(x)[-1] != self.dim:
            raise ValueError(f"this attention takes inputs of shape (B, T, {self.dim}), got {np.shape(x)}")
        if np.shape(x)[1] == 0:
            raise ValueError("attention takes sequences of at least one position, got none")
        if context is None and self.context_dim != self.dim:
            raise ValueError(
                f"this attention reads from a context of width {self.context_dim}: give it as the second argument"
            )
        if context is not None and (np.ndim(context) != 3 or np.shape(context)[-1] != self.context_dim):
            raise ValueError(
                f"this attention takes contexts of shape (B, T, {self.context_dim}), got {np.shape(context)}"
            )
        T, start = np.shape(x)[1], 0 if cache is None else cache.length
        x = self.positions.on_input(x, start)
        rows = np.arange(start, start + T)
        columns = rows if context is None else np.arange(np.shape(context)[1])
        context = x if context is None else context
        q = self.positions.on_heads(self._split(self.q_proj(x), self.n_heads), rows)
        k = self.positions.on_heads(self._split(self.k_proj(context), self.n_kv_heads), columns)
        v = self._split(self.v_proj(context), self.n_kv_heads)
        if cache is not None:
            k, v, columns = cache.append(k, v)
            k, v = (x.astype(value_of(q).dtype, copy=False) for x in (k, v))  # a cache may keep them in half precision
        given = as_mask(mask, start)
        both = self.mask if given is None else given if self.mask is None else self.mask & given
        settings: dict[str, Any] = {"mask": both, "bias": self._bias(rows, columns, value_of(q).dtype), "start": start}
        if cache is not None and cache.window is not None:
            settings["key_positions"] = columns
        return q, k, v, settings

    def _bias(self, rows: np.ndarray, columns: np.ndarray, dtype: Any) -> Any:
        """What the positions add to the scores, by distance."""
        if not len(rows) or not len(columns):
            return None
        if len(rows) == 1:
            distances = columns - rows[0]
        else:
            distances = np.arange(columns[0] - rows[-1], columns[-1] - rows[0] + 1)
        bias = self.positions.on_scores(distances)
        if bias is None:
            return None
        if np.shape(bias)[-1] != len(rows) + len(columns) - 1:
            raise ValueError(
                "a cache that has dropped tokens between the first and the last ones serves one new token at a time, "
                "if positions act on the scores: feed it token by token"
            )
        return bias.astype(dtype) if isinstance(bias, np.ndarray) else bias

    def _split(self, x: Any, n_heads: int) -> Any:
        B, T, _ = np.shape(x)
        return x.reshape((B, T, n_heads, self.d_head)).swapaxes(1, 2)
