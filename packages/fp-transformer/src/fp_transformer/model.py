r"""
The model: from token ids to the scores of the next token.

All parts are there: rows for tokens, rows or turns for positions, blocks, a norm. What is left is to put them
together, to read the next token off the top of the stream, and to ask what is learned twice if the table that turns
tokens into rows also turns rows into tokens.

You need: `fp_transformer.block`, `fp_neural.embedding`, `fp_neural.losses`, `fp_transformer.config` for letters and
families.

## Four lines

For token ids $t_0, \dots, t_{T-1}$, with a table $E \in \mathbb{R}^{V \times C}$, and rows $W_n$ for positions in the
GPT-2 family,

$$
x^{(0)}_n = E_{t_n} \; (+\, W_n), \qquad x^{(l)} = \operatorname{block}_l \big( x^{(l-1)} \big), \quad l = 1, \dots, L,
\qquad z_n = U \operatorname{norm} \big( x^{(L)}_n \big), \qquad \text{(E1)}
$$

where $z_n \in \mathbb{R}^V$ are the scores, or **logits**, of the token *after* position $n$. Training minimises the
mean of their losses, $\ell = \frac1N \sum_n -\ln \operatorname{softmax}(z_n)_{t_{n+1}}$ (`fp_neural.losses`): one text
of $T + 1$ tokens gives $T$ predictions, each made without a look at what it predicts.

**Claim** `transformer.causal`. $z_n$ depends on $t_0, \dots, t_n$ only. So for a text of $N + 1$ tokens the mean loss
is $-\frac1N \ln P$, where $P$ is the probability that the model gives to the tokens after the first, given the first.

**Proof.** $x^{(0)}_n$ is a function of $t_n$ and $n$; by induction with `transformer.block-causal` $x^{(l)}_n$ is one
of $t_0, \dots, t_n$; the last line acts on each row by itself. With $p_n = \operatorname{softmax}(z_n)$ a distribution
that is fixed by $t_0, \dots, t_n$, the product $\prod_n p_n(t_{n+1})$ is the probability of the rest of the text by the
chain rule (`markov.chain-rule`), and its logarithm is $-N \ell$. $\blacksquare$

>>> from fp_transformer.config import TransformerConfig
>>> config = TransformerConfig.gpt2(vocab_size=7, context_length=8, n_layers=2, n_heads=2, d_model=8)
>>> model = Transformer(config, rng=np.random.default_rng(0))
>>> one, other = np.array([[1, 2, 3, 4]]), np.array([[1, 2, 6, 5]])
>>> np.abs(model(one).data - model(other).data).max(axis=-1).round(3) > 0
array([[False, False,  True,  True]])

## One table, two uses

$U$ has a row for each token, like $E$. If it *is* $E$, the output is **tied** to the embedding: $V C$ numbers are
saved, a third of GPT-2 small, and a token's row is learned from all texts in which it is read and from all in which it
is predicted.

**Claim** `transformer.tied-gradient`. With $h_n = \operatorname{norm}(x^{(L)}_n)$, $p_n = \operatorname{softmax}(z_n)$
and $\bar x^{(0)}$ the cotangent of the first stream, the gradient of the mean loss in row $v$ of the tied table is

$$
\bar E_v = \frac1N \sum_n \big( p_n(v) - [t_{n+1} = v] \big)\, h_n + \sum_{n :\, t_n = v} \bar x^{(0)}_n.
\qquad \text{(E2)}
$$

**Proof.** By `neural.tied-gradient` it is the sum of the gradients of the two uses. As the output, the cotangent of
$z_n$ is $\frac1N (p_n - e_{t_{n+1}})$ (`neural.cross-entropy-gradient`), and that of the matrix in $z_n = U h_n$ is the
sum over $n$ of its product with $h_n$ (`neural.linear-gradient`), of which row $v$ is the first sum. As the input, row
$v$ gets the cotangents of the places where it was read (`neural.embedding-gradient`). $\blacksquare$

The two parts are unlike: the first reaches every row at every step, since $p_n(v) > 0$; the second only the rows of the
tokens that occur. Forgetting either trains, and trains worse.

>>> ids = np.array([[1, 2, 3, 4]])
>>> model.loss(ids[:, :-1], ids[:, 1:]).backward()
>>> (np.abs(model.embedding.weight.grad).max(axis=1) > 0).tolist()
[True, True, True, True, True, True, True]

## In practice

The parameters' names here are the paths of attributes, `blocks.0.attention.q_proj.weight`; those in files are Hugging
Face's (`fp_transformer.checkpoint` translates), and so are the functions: weights of `GPT2LMHeadModel` and
`LlamaForCausalLM` give the same logits. Small models are tied, large ones are not: there the table is a small part, and
the two uses want different rows. Some models scale the embedding by $\sqrt C$ (Gemma), or cap the logits.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Integer

from fp_attention.masks import Mask
from fp_attention.positions import LearnedPositions
from fp_autograd.tensor import no_grad
from fp_autograd.tracing import value_of
from fp_neural.dropout import Dropout
from fp_neural.embedding import Embedding
from fp_neural.layers import Linear, linear
from fp_neural.losses import cross_entropy
from fp_neural.module import Module
from fp_transformer.block import Block, norm_of
from fp_transformer.config import TransformerConfig
from fp_transformer.initialization import initial_arrays

if TYPE_CHECKING:
    from fp_transformer.generation import Cache

__all__ = ["Transformer"]


class Transformer(Module):
    """
    A decoder-only transformer of the GPT-2 or the Llama family.

    Parameters
    ----------
    config
        Family and sizes.
    rng
        Draws the weights (`fp_transformer.initialization`), and what dropout drops. None leaves the weights at zero,
        for those that will be loaded; `draw_from` gives dropout another generator then.
    dtype
        float32, or float64 to check gradients.

    Attributes
    ----------
    config : TransformerConfig
        As given.
    embedding : Embedding
        A row for each token.
    positions : LearnedPositions or None
        A row for each position, in the GPT-2 family.
    blocks : list of Block
        One above the other.
    norm : LayerNorm or RMSNorm
        The last.
    output : Linear or None
        From the stream to scores; None if it is tied to the embedding.

    Examples
    --------
    >>> config = TransformerConfig.llama(vocab_size=11, context_length=8, n_layers=2, n_heads=2, d_model=16)
    >>> model = Transformer(config, rng=np.random.default_rng(0))
    >>> ids = np.array([[1, 2, 3, 4]])
    >>> model(ids).shape, model.n_parameters == config.n_parameters
    ((1, 4, 11), True)
    >>> loss = model.loss(ids[:, :-1], ids[:, 1:])
    >>> loss.backward()
    >>> bool(abs(loss.item() - np.log(11)) < 1)
    True
    """

    def __init__(
        self, config: TransformerConfig, *, rng: np.random.Generator | None = None, dtype: Any = np.float32
    ) -> None:
        super().__init__()
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise ValueError(f"a model computes in float32 or float64, got dtype {np.dtype(dtype)}")
        V, C = config.vocab_size, config.d_model
        self.config = config
        self.embedding = Embedding(V, C, rng=None, dtype=dtype)
        self.positions = None if config.is_llama else LearnedPositions(config.context_length, C, rng=None, dtype=dtype)
        self.dropout = Dropout(config.dropout, rng=np.random.default_rng(0) if rng is None else rng)
        self.blocks = [Block(config, rng=None, dtype=dtype) for _ in range(config.n_layers)]
        self.norm = norm_of(config, dtype)
        self.output = None if config.tied else Linear(C, V, bias=False, rng=None, dtype=dtype)
        self.draw_from(np.random.default_rng(0) if rng is None else rng)
        if rng is not None:
            from fp_transformer.checkpoint import from_arrays

            from_arrays(self, initial_arrays(config, rng, dtype))

    def stream(
        self,
        ids: Integer[np.ndarray, "B T"],
        *,
        mask: Mask | np.ndarray | None = None,
        cache: "Cache | None" = None,
    ) -> Iterator[Any]:
        """
        The residual stream, in front of the first block and behind each.

        Parameters
        ----------
        ids, mask, cache
            As in a call.

        Returns
        -------
        iterator of Tensor
            `n_layers + 1` of them, of shape (B, T, C), each as soon as it is computed.
        """
        if cache is not None:
            self._check_cache(cache)
        start = 0 if cache is None else cache.length
        self._check(ids, start)
        x = self.embedding(ids)
        if self.positions is not None:
            x = self.positions.on_input(x, start)
        if cache is None:
            x = self.dropout(x)
        yield x
        for i, block in enumerate(self.blocks):
            x = block(x, mask=mask, cache=None if cache is None else cache.layers[i])
            yield x

    def forward(
        self,
        ids: Integer[np.ndarray, "B T"],
        *,
        mask: Mask | np.ndarray | None = None,
        cache: "Cache | None" = None,
        last: bool = False,
    ) -> Any:
        """
        Scores for the token after each position (E1).

        Parameters
        ----------
        ids
            Token ids, at most `context_length` positions, those in the cache included.
        mask
            Beside the causal one, such as `Padding`.
        cache
            Of `new_cache`: what is known of the tokens before these; extended. Nothing is recorded for a gradient then.
        last
            Whether the scores after the last position are enough.

        Returns
        -------
        Tensor
            Logits, of shape (B, T, V), or (B, 1, V).

        Raises
        ------
        ValueError
            If an id lies outside the vocabulary, or there are no positions, or too many.
        TypeError
            If the ids are no integers.
        """
        if cache is None:
            return self._scores(ids, mask, None, last)
        self._check_cache(cache)
        length = cache.length
        try:
            with no_grad():
                return self._scores(ids, mask, cache, last)
        except BaseException:  # a pass that was refused or broken off leaves no trace
            for layer in cache.layers:
                layer.truncate(min(length, layer.length))
            raise

    def _scores(self, ids: np.ndarray, mask: Any, cache: "Cache | None", last: bool) -> Any:
        (x,) = deque(self.stream(ids, mask=mask, cache=cache), maxlen=1)  # those below are given up
        return self.read(x[:, -1:] if last else x)

    def read(self, x: Any) -> Any:
        """
        From the stream to scores, the last line of (E1).

        Parameters
        ----------
        x
            Of shape (B, T, C).

        Returns
        -------
        Tensor
            Logits, of shape (B, T, V).
        """
        x = self.norm(x)
        return linear(x, self.embedding.weight) if self.output is None else self.output(x)

    def loss(
        self,
        ids: Integer[np.ndarray, "B T"],
        targets: Integer[np.ndarray, "B T"],
        *,
        mask: Mask | np.ndarray | None = None,
        ignore: int | None = None,
    ) -> Any:
        """
        The mean loss of a batch, in nats per token.

        Parameters
        ----------
        ids, targets
            Tokens, and those that came next.
        mask
            As in a call.
        ignore
            An id whose positions do not count among the targets.

        Returns
        -------
        Tensor
            One number.

        Raises
        ------
        ValueError, TypeError
            As a call, and if the targets do not fit.
        """
        return cross_entropy(self(ids, mask=mask), targets, ignore=ignore)

    def new_cache(self, batch: int = 1, capacity: int | None = None) -> "Cache":
        """
        An empty cache for this model.

        Parameters
        ----------
        batch
            How many texts.
        capacity
            For how many tokens; the context by default.

        Returns
        -------
        Cache
            One of keys and values for each block.
        """
        from fp_transformer.generation import Cache

        size = self.config.context_length if capacity is None else capacity
        return Cache([block.attention.new_cache(batch, size) for block in self.blocks])

    def generate(
        self,
        prompt_ids: Sequence[int] | np.ndarray,
        max_new_tokens: int,
        *,
        rng: np.random.Generator | None = None,
        temperature: float | int = 1.0,
        **settings: Any,
    ) -> Iterator[int]:
        """
        Continue a prompt: `fp_transformer.generation.generate` with this model.

        Parameters
        ----------
        prompt_ids, max_new_tokens, rng, temperature, **settings
            As there.

        Returns
        -------
        iterator of int
            The new tokens, each as soon as it is chosen.
        """
        from fp_transformer.generation import generate

        return generate(self, prompt_ids, max_new_tokens, rng=rng, temperature=temperature, **settings)

    def save(self, directory: Path | str, tokenizer: Any = None, *, shard_bytes: int | None = None) -> None:
        """
        Write a model directory (`fp_transformer.checkpoint.save`).

        Parameters
        ----------
        directory
            Made if absent.
        tokenizer
            Anything with `.save(path)`.
        shard_bytes
            If given, the weights are spread over files of about this size.
        """
        from fp_transformer.checkpoint import save

        save(self, directory, tokenizer, shard_bytes=shard_bytes)

    @property
    def dtype(self) -> np.dtype:
        """What it computes in."""
        found: np.dtype = value_of(self.embedding.weight).dtype
        return found

    def _check_cache(self, cache: Any) -> None:
        layers = getattr(cache, "layers", ())
        if len(layers) != len(self.blocks) or len({layer.length for layer in layers}) > 1:
            found = f"parts of the lengths {[layer.length for layer in layers]}" if layers else type(cache).__name__
            raise ValueError(
                f"a cache of this model, made by its new_cache, has {len(self.blocks)} parts that are equally long; "
                f"got {found}"
            )

    def _check(self, ids: np.ndarray, past: int) -> None:
        if not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu":
            kind = ids.dtype if isinstance(ids, np.ndarray) else type(ids).__name__
            raise TypeError(f"ids are a NumPy array of integers, the numbers of tokens; got {kind}")
        if ids.ndim != 2 or ids.size == 0:
            raise ValueError(f"ids have the shape (batch, time), both at least 1; got {ids.shape}")
        limit = self.config.context_length
        if past + ids.shape[1] > limit:
            raise ValueError(
                f"the model sees at most {limit} positions (context_length), got {past + ids.shape[1]}: cut the text "
                "into windows, or build the model for a longer context"
            )
