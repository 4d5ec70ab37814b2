r"""
Encoders: reading all of a text before the first word is written.

The transformer so far reads a text from left to right, since it predicts each token from those before. A sentence that
is to be translated is there as a whole. What changes if every position may look at every other, how does the answer,
which does have to be written from left to right, read such a text, and what is this freedom not good for?

You need: `fp_transformer.block`, cross-attention from `fp_attention.multihead`, padding from `fp_attention.masks`.

## Reading in both directions

An **encoder** is a stack of blocks without the causal mask. Texts of a batch differ in length; short ones are filled up
with any token, and a mask keeps all from looking there.

**Claim** `transformer.encoder-padding`. At real positions, an encoder's output depends on the real tokens and their
positions only: not on what the padding contains, nor on how much of it there is.

**Proof.** By induction over the blocks, for rows at real positions. Before the first block a row is a function of its
token and position. In a block, attention in a real row is a function of this row and of the rows that it may look at,
which are the real ones (`attention.padding-independence`); norms and feed-forward layers act on a row by itself
(`transformer.positionwise`), and sums of rows are taken row by row. So the row after the block is a function of real
rows before it. $\blacksquare$

## Writing what was read

An **encoder-decoder** has a second stack, causal, over the answer (the *target*) so far. Each of its blocks has a third
branch between the two others, which asks the encoder's output $m$, of the *source*:

$$
\begin{aligned}
x' &= x + \operatorname{attention} \big( \operatorname{norm}_1(x) \big), \\
x'' &= x' + \operatorname{cross} \big( \operatorname{norm}_3(x'),\, m \big), \qquad \text{queries from the target, keys
and values from } m, \\
x''' &= x'' + \operatorname{feedforward} \big( \operatorname{norm}_2(x'') \big).
\end{aligned} \qquad \text{(E1)}
$$

Let the target begin with a fixed **start token** $y_0$, so that there is a row before the first word. Row
$t = 0, 1, \dots$ of the end gives, by the shared table of tokens, scores for token $t + 1$, so the model is

$$p(y_1, \dots, y_n \mid s) = \prod_{t=0}^{n-1} p(y_{t+1} \mid y_0, \dots, y_t, s). \qquad \text{(E2)}$$

**Claim** `transformer.decoder-causal`. Row $t$ of the scores depends on the real tokens of the source, all of them
allowed, and on tokens of the target up to $t$ only.

**Proof.** $m$ is a function of the source, in its real rows of the real tokens only (`transformer.encoder-padding`),
and cross-attention looks at these rows. By induction over the decoder's blocks: the first and the last line of (E1)
keep row $t$ a function of target rows up to $t$ (`transformer.block-causal`); in the second, row $t$ of the queries
reads $m$, in which the target does not occur. Norm and table act on rows. $\blacksquare$

So (E2) is trained as any language model, at all positions at once, and written token by token, with a cache for the
first line. For the second:

**Claim** `transformer.source-once`. The keys and values of cross-attention are the same at every step of writing. If
they are computed once for a source of $S$ tokens, $n$ steps save $(n - 1) \cdot 2 S C^2 \frac{K}{H}$ multiplications a
block.

**Proof.** They are linear functions of $m$, which depends on the source alone. Keys and values are $S$ rows of $C
\frac{K}{H}$ numbers each, and each number takes $C$ multiplications. $\blacksquare$

The model below learns to write a string backwards in a few seconds (a test trains it): the answer begins with what was
read last, so that a reader of one direction, with a narrow memory, would have to have kept everything.

## What is lost

Without the causal mask one text is no longer a lesson at every position:

**Claim** `transformer.leak`. Let row $t$ of a model be allowed to depend on token $t + 1$. Then its next-token loss can
be made as small as one likes on every text, by a model that knows nothing of the language.

**Proof.** Let the scores of row $t$ be $c$ for token $t + 1$ and $0$ for the other $V - 1$: a function that is the same
for all texts. The loss is $\ln \big( e^c + V - 1 \big) - c = \ln \big( 1 + (V - 1)\, e^{-c} \big)$, which tends to $0$
as $c$ grows. $\blacksquare$

So encoders are trained on another task: some tokens are replaced by a mask token, and are to be told from the rest
(BERT). The model then has a distribution for each token given all others. These need not fit together:

**Claim** `transformer.masked-odds`. Let two tokens take the values $0$ and $1$, and let a model give positive $a(i \mid
j)$ for the first given the second and $b(j \mid i)$ for the second given the first. There is a distribution $p(i, j)$
with these conditionals if and only if

$$\frac{a(1 \mid 1)\, a(0 \mid 0)}{a(0 \mid 1)\, a(1 \mid 0)} = \frac{b(1 \mid 1)\, b(0 \mid 0)}{b(0 \mid 1)\, b(1 \mid
0)}. \qquad \text{(E3)}$$

**Proof.** If there is, some $j$ has positive probability. Then by $a$ both $p(0, j)$ and $p(1, j)$ are positive, so
both values of the first token occur, and by $b$ all four $p(i, j)$ are positive. As $a(1 \mid j) / a(0 \mid j) = p(1,
j) / p(0, j)$, the left side is $\frac{p(1,1)\, p(0,0)}{p(0,1)\, p(1,0)}$, and the right side likewise. Conversely, let
(E3) hold. Put $p(i, j) = z\, a(i \mid j)\, q(j)$ with $q(0) = 1$, $q(1) = \frac{b(1 \mid 0)}{b(0 \mid 0)} \cdot
\frac{a(0 \mid 0)}{a(0 \mid 1)}$ and $z$ such that the sum is $1$. Its conditionals of the first given the second are
$a$. Of the second given the first, $\frac{p(0, 1)}{ p(0, 0)} = \frac{b(1 \mid 0)}{b(0 \mid 0)}$, and $\frac{p(1,
1)}{p(1, 0)} = \frac{a(1 \mid 1)\, a(0 \mid 0)}{a(1 \mid 0)\, a(0 \mid 1)} \cdot \frac{b(1 \mid 0)}{b(0 \mid 0)}$, by
(E3) $\frac{b(1 \mid 1)}{b(0 \mid 1)}$; two positive numbers with sum one are known by their ratio. $\blacksquare$

Nothing in the training of an encoder enforces (E3), so it has no probability of a text, and no rule by which to write
one. The causal model has both by the chain rule (`markov.chain-rule`). A causal model in turn cannot let an early token
know of a later one: its row for "bank" is the same before "of the river" and before "of England".

## In practice

Encoder-decoders came first (A. Vaswani and others, 2017); T5 and Whisper are such. BERT is an encoder, and so are most
models that turn a text into one vector for search. Language models at large are decoders alone: one stack serves
question and answer, every token is a lesson, and the cache of a conversation is never computed anew, which a reader of
both directions would need after each new sentence. Between the two, a prefix may be read in both directions by a mask
(`attention.prefix`). The first encoder-decoders had a norm behind each branch; here, as in T5, it stands in front, with
one more at the end of each stack.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from fp_attention.kv_cache import KVCache
from fp_attention.masks import Mask, Padding
from fp_attention.multihead import MultiHeadAttention
from fp_attention.positions import LearnedPositions
from fp_attention.scaled_dot import scaled_dot_product_attention
from fp_autograd.tensor import no_grad
from fp_autograd.tracing import Operand, value_of
from fp_neural.embedding import Embedding
from fp_neural.layers import linear
from fp_neural.losses import cross_entropy
from fp_neural.module import Module
from fp_transformer.block import Block, norm_of
from fp_transformer.config import TransformerConfig

__all__ = ["Encoder", "CrossAttention", "DecoderBlock", "Source", "EncoderDecoder"]  # the order of the page

Ids = Integer[np.ndarray, "B S"]
Answers = Integer[np.ndarray, "B T"]
Real = Bool[np.ndarray, "B S"]


class Encoder(Module):
    """
    Blocks that look in both directions.

    Parameters
    ----------
    config
        Family and sizes; `context_length` is the longest text of the GPT-2 family.
    rng
        Draws the weights. None leaves them at zero, for those that will be loaded.
    dtype
        Of the parameters.

    Attributes
    ----------
    embedding : Embedding
        A row for each token.
    positions : LearnedPositions or None
        A row for each position, in the GPT-2 family; the Llama family rotates in every block.
    blocks : list of Block
        Without a mask of their own.
    norm : LayerNorm or RMSNorm
        The last.

    Examples
    --------
    >>> config = TransformerConfig.gpt2(vocab_size=11, context_length=8, n_layers=2, n_heads=2, d_model=16)
    >>> encoder = Encoder(config, rng=np.random.default_rng(0))
    >>> encoder(np.array([[1, 2, 3], [4, 5, 0]]), np.array([[True, True, True], [True, True, False]])).shape
    (2, 3, 16)
    """

    def __init__(self, config: TransformerConfig, *, rng: np.random.Generator | None, dtype: Any = np.float32) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.vocab_size, config.d_model, rng=rng, std=config.d_model**-0.5, dtype=dtype)
        self.positions = _positions(config, rng, dtype)
        self.blocks = [Block(config, rng=rng, dtype=dtype) for _ in range(config.n_layers)]
        for block in self.blocks:
            block.attention.mask = None
        self.norm = norm_of(config, dtype)
        self.draw_from(np.random.default_rng(0) if rng is None else rng)

    def forward(self, ids: Ids, valid: Real | None = None) -> Any:
        """
        Read texts.

        Parameters
        ----------
        ids
            Token ids; anything from the vocabulary where a text is over.
        valid
            True at real tokens, of which each text has at least one; everywhere by default.

        Returns
        -------
        Tensor
            Of shape (B, T, C); at real positions, of real tokens only (`transformer.encoder-padding`).

        Raises
        ------
        ValueError
            If the shapes differ, a text has no real token, or is longer than the table of positions.
        """
        mask = _padding(ids, valid)
        x = self.embedding(ids)
        x = x if self.positions is None else self.positions.on_input(x)
        for block in self.blocks:
            x = block(x, mask=mask)
        return self.norm(x)


class CrossAttention(MultiHeadAttention):
    """Attention to another sequence, whose keys and values may be computed once and used at every step."""

    def remember(self, source: Operand) -> tuple[Any, Any]:
        """
        Keys and values of a source.

        Parameters
        ----------
        source
            Of shape (B, S, C).

        Returns
        -------
        keys, values : ndarray or Box
            Of shape (B, K, S, D).
        """
        return self._split(self.k_proj(source), self.n_kv_heads), self._split(self.v_proj(source), self.n_kv_heads)

    def recall(self, x: Operand, remembered: tuple[Any, Any], mask: Mask | None = None) -> Any:
        """
        What `forward(x, source, mask=mask)` returns, from the keys and values of the source.

        Parameters
        ----------
        x
            Of shape (B, T, C).
        remembered
            Of `remember`.
        mask
            Which keys may be seen.

        Returns
        -------
        ndarray or Box
            Of shape (B, T, C).
        """
        B, T, _ = np.shape(x)
        y = scaled_dot_product_attention(self._split(self.q_proj(x), self.n_heads), *remembered, mask=mask, start=0)
        return self.o_proj(y.swapaxes(1, 2).reshape((B, T, self.n_heads * self.d_head)))


class DecoderBlock(Block):
    """
    A block with a third branch, which reads the source (E1).

    Parameters
    ----------
    config, rng, dtype
        As of a `Block`.

    Attributes
    ----------
    norm3 : LayerNorm or RMSNorm
        In front of the third branch.
    cross : CrossAttention
        The third branch.
    """

    def __init__(self, config: TransformerConfig, *, rng: np.random.Generator | None, dtype: Any = np.float32) -> None:
        super().__init__(config, rng=rng, dtype=dtype)
        self.norm3 = norm_of(config, dtype)
        self.cross = CrossAttention(
            config.d_model,
            config.n_heads,
            n_kv_heads=config.n_kv_heads,
            bias=not config.is_llama,
            rng=rng,
            dtype=dtype,
        )

    def read(self, x: Operand, remembered: tuple[Any, Any], mask: Mask | None, cache: KVCache | None) -> Any:
        """
        Add what the three branches found.

        Parameters
        ----------
        x
            The stream of the target, of shape (B, T, C).
        remembered
            Of `cross.remember`.
        mask
            Which of the source's positions are real.
        cache
            The keys and values of this block for the target's tokens before.

        Returns
        -------
        ndarray or Box
            The stream, of shape (B, T, C).
        """
        dropped = self.dropout if cache is None else (lambda found: found)  # what is kept is left to no chance
        x = x + dropped(self.attention(self.norm1(x), cache=cache))
        x = x + dropped(self.cross.recall(self.norm3(x), remembered, mask))
        return x + dropped(self.feedforward(self.norm2(x)))


class Source(NamedTuple):
    """What was read, ready to be asked."""

    remembered: list[tuple[Any, Any]]
    """For each block of the decoder the keys and values, of shape (B, K, S, D)."""
    mask: Mask | None
    """Which positions are real."""


class EncoderDecoder(Module):
    """
    A model of one text given another (E2).

    Parameters
    ----------
    config
        Family and sizes, of both stacks; both texts have the same vocabulary.
    rng
        Draws the weights. None leaves them at zero, for those that will be loaded.
    dtype
        Of the parameters.

    Attributes
    ----------
    encoder : Encoder
        Reads the source. Its table of tokens is the target's, and tied to the scores.
    positions : LearnedPositions or None
        The target's.
    blocks : list of DecoderBlock
        The second stack.
    norm : LayerNorm or RMSNorm
        Its last.

    Examples
    --------
    >>> config = TransformerConfig.gpt2(vocab_size=11, context_length=8, n_layers=1, n_heads=2, d_model=16)
    >>> model = EncoderDecoder(config, rng=np.random.default_rng(0))
    >>> source, target = np.array([[1, 2, 3, 4]]), np.array([[0, 4, 3]])
    >>> model(source, target).shape
    (1, 3, 11)
    >>> model.write(source, start=0, length=5).shape
    (1, 5)
    """

    def __init__(self, config: TransformerConfig, *, rng: np.random.Generator | None, dtype: Any = np.float32) -> None:
        super().__init__()
        if not config.tied:
            raise ValueError(
                "the scores of an EncoderDecoder are read off its one table of tokens: configure tied=True"
            )
        self.config = config
        self.encoder = Encoder(config, rng=rng, dtype=dtype)
        self.positions = _positions(config, rng, dtype)
        self.blocks = [DecoderBlock(config, rng=rng, dtype=dtype) for _ in range(config.n_layers)]
        self.norm = norm_of(config, dtype)
        self.draw_from(np.random.default_rng(0) if rng is None else rng)

    def read(self, source: Ids, valid: Real | None = None) -> Source:
        """
        Read a source, once for all steps of writing (`transformer.source-once`).

        Parameters
        ----------
        source
            Token ids, of shape (B, S).
        valid
            True at real tokens; everywhere by default.

        Returns
        -------
        Source
            For `decode`.
        """
        m = self.encoder(source, valid)
        return Source([block.cross.remember(m) for block in self.blocks], _padding(source, valid))

    def decode(self, target: Answers, source: Source, caches: list[KVCache] | None = None) -> Any:
        """
        Scores for the token after each of the target's.

        Parameters
        ----------
        target
            Token ids, of shape (B, T).
        source
            Of `read`.
        caches
            Of `new_caches`: what is known of the target's tokens before these; extended.

        Returns
        -------
        Tensor
            Of shape (B, T, V).
        """
        x = self.encoder.embedding(target)
        if self.positions is not None:
            x = self.positions.on_input(x, caches[0].length if caches else 0)
        for i, block in enumerate(self.blocks):
            x = block.read(x, source.remembered[i], source.mask, caches[i] if caches else None)
        return linear(self.norm(x), self.encoder.embedding.weight)

    def forward(self, source: Ids, target: Answers, valid: Real | None = None) -> Any:
        """Read and decode: scores of shape (B, T, V)."""
        return self.decode(target, self.read(source, valid))

    def loss(
        self,
        source: Ids,
        target: Answers,
        *,
        valid: Real | None = None,
        ignore: int | None = None,
    ) -> Any:
        """
        Minus the mean logarithm of (E2), in nats per token of the target.

        Parameters
        ----------
        source, valid
            As for `read`.
        target
            Whole answers, of shape (B, T), the start token first: each token but the first is predicted.
        ignore
            An id that fills up short answers and does not count.

        Returns
        -------
        Tensor
            One number.
        """
        return cross_entropy(self(source, target[:, :-1], valid), target[:, 1:], ignore=ignore)

    def new_caches(self, batch: int, capacity: int) -> list[KVCache]:
        """Empty caches for `batch` targets of up to `capacity` tokens, one a block."""
        return [block.attention.new_cache(batch, capacity) for block in self.blocks]

    def write(self, source: Ids, *, start: int, length: int, valid: Real | None = None) -> Integer[np.ndarray, "B n"]:
        """
        The likeliest next token, again and again.

        Parameters
        ----------
        source, valid
            As for `read`.
        start
            The token before the first.
        length
            How many to write.

        Returns
        -------
        ndarray
            int64, of shape (B, length); whoever has a token for the end cuts there.

        Raises
        ------
        ValueError
            If nothing is to be written, more than the table of positions holds, or dropout would act.
        """
        if self.training and self.config.dropout:
            raise ValueError("in training dropout would change every answer: call .eval() before writing")
        if length < 1 or (self.positions is not None and length > self.config.context_length):
            raise ValueError(
                f"an answer has at least one token and at most context_length={self.config.context_length}, got "
                f"length={length}"
            )
        B = len(source)
        written = np.full((B, length + 1), start, np.int64)
        with no_grad():
            read, caches = self.read(source, valid), self.new_caches(B, length)
            for i in range(length):
                scores = value_of(self.decode(written[:, i : i + 1], read, caches))
                written[:, i + 1] = scores[:, 0].argmax(axis=-1)
        return written[:, 1:]


def _positions(config: TransformerConfig, rng: np.random.Generator | None, dtype: Any) -> LearnedPositions | None:
    if config.is_llama:
        return None
    return LearnedPositions(config.context_length, config.d_model, rng=rng, std=config.d_model**-0.5, dtype=dtype)


def _padding(ids: np.ndarray, valid: np.ndarray | None) -> Mask | None:
    if ids.ndim != 2:
        raise ValueError(f"ids have the shape (batch, time), got {ids.shape}")
    if valid is None:
        return None
    if valid.shape != ids.shape or not valid.any(axis=1).all():
        raise ValueError(
            "valid is True at the real tokens, of which each text has at least one: it has the shape of the ids, "
            f"{ids.shape}, got {valid.shape}, with {valid.sum(axis=-1).tolist()} real tokens"
        )
    return None if valid.all() else Padding(valid)
