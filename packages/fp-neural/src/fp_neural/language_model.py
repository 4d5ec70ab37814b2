r"""
A neural language model: the table replaced by a function.

A table of counts answers for each context by itself. `fp_neural.tables` showed what it is, a linear layer on one-hot
contexts, and what it costs: a row for every context. Here the context goes through a network instead, in which each
token has one vector wherever it stands, so that what is learned about one context moves its neighbours too. How is such
a model built, trained, scored and sampled?

You need: `fp_neural.embedding`, `fp_neural.layers`, `fp_neural.losses`, `fp_neural.training`.

## From ids to a distribution

Let $C$ be a table with a row of $D$ numbers for each of $V$ tokens: the $E$ of `fp_neural.embedding`, under the name
that it has in the paper. The model of Y. Bengio, R. Ducharme, P. Vincent and C. Jauvin (2003) looks the $k$ tokens
before position $t$ up in it, writes the rows one after another, and applies a layer of rectifiers or $\tanh$ and a
linear one:

$$
\begin{aligned}
e &= (C_{x_{t-k}}, \dots, C_{x_{t-1}}) \in \mathbb{R}^{kD}, \\
h &= \phi(W_1 e + b_1) \in \mathbb{R}^{H}, \\
z &= W_2 h + b_2 \in \mathbb{R}^{V}, \qquad p(x_t \mid x_{t-k}, \dots, x_{t-1}) = \operatorname{softmax}(z)_{x_t}.
\end{aligned} \qquad \text{(E1)}
$$

The same $C$ serves all $k$ positions, while $W_1$ has a block of its own for each. What is the number of parameters,
$(V + 1) D + (kD + 1) H + (H + 1) V$ with a row for *nothing before the text*, compared to the table's $V^k (V - 1)$? It
grows with $k$ by $DH$ a token, instead of by the factor $V$:

>>> model = MLPLanguageModel(vocab_size=65, context=3, dim=10, hidden=200, rng=np.random.default_rng(0))
>>> model.n_parameters, 65**3 * 64
(19925, 17576000)

What is bought with it?

**Claim** `neural.context-moves-together`. In (E1) let two contexts differ in one position only, with tokens $a$ and $b$
there, and let $|\phi(x) - \phi(y)| \le |x - y|$ for all $x$ and $y$, as $\tanh$ and the rectifier have it. Then each of
their logits differs by at most $|w|\, s\, |C_a - C_b|$, with the row $w$ of $W_2$ that makes it and the root $s$ of the
sum of the squares in the block of $W_1$ for that position.

**Proof.** The inputs of the hidden layer differ by $u = W' (C_a - C_b)$ with that block $W'$. Each $u_i$ is a dot
product of a row of $W'$ with $C_a - C_b$, so $u_i^2$ is at most the sum of the row's squares times $|C_a - C_b|^2$
(`autograd.cauchy-schwarz`); all together, $|u| \le s\, |C_a - C_b|$. Each hidden number differs by at most $|u_i|$, so
their vector by at most $|u|$ in length. The logit differs by the dot product of $w$ with that, at most $|w|$ times its
length (`autograd.cauchy-schwarz`). Last, the slopes of $\tanh$ lie between $0$ and $1$ (`autograd.tanh-slope`), so the
hypothesis is `markov.slope-bound`; and $\operatorname{relu}$ moves by $y - x$, by a part of it, or not at all.
$\blacksquare$

So tokens with close vectors are predicted alike after, in every context at once: training on *the cat sat* also trains
*the dog sat*, once something has brought *cat* and *dog* together. What brings them together is the gradient, as both
are followed by the same tokens.

## Score, and sample

The loss of a text is its mean surprisal, as in `fp_markov.ngram`, so both kinds of model compare on the same text:
`log_prob`, `cross_entropy`, `perplexity`, `next_distribution` and `generate` have the same names and units there and
here. As there, `bos` marks the beginning of each sentence in a flat array of tokens: it is not predicted, and what was
before it is not seen.

**Claim** `neural.equal-footing`. Whatever its parameters, a model without `bos` gives all texts of $n$ tokens together
the probability one. So it may drive the code of `markov.arithmetic-coding`, and its loss is the length of
that code in nats, no matter how the parameters were found.

**Proof.** By induction on $n$; the one text of no tokens has probability one. A text's probability is the product of
its tokens' (`markov.chain-rule`), and each factor depends on the tokens before it alone. Hold the first $n - 1$ and sum
over the last: softmaxes sum to one, so what is left is the sum over texts of $n - 1$ tokens. $\blacksquare$

A model with `bos` gives the texts in which it does not occur less than one together: its share of each softmax is lost,
which training makes small.

## In practice

The published model had in addition a direct linear path from $e$ to $z$, and words for tokens. Its descendants are
still around: a transformer is this with more positions than could have blocks of their own, which is what stages 5 and
6 are about. Choosing $k$ is a compromise here: each further token adds parameters for all of its values, useful or not.
`fp_neural.recurrent` keeps a summary instead."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Integer

from fp_autograd.tensor import no_grad
from fp_markov import information
from fp_markov.counting import as_ids, check_ids, check_integer
from fp_markov.sampling import draw
from fp_neural.activations import Tanh
from fp_neural.batches import contexts
from fp_neural.dropout import Dropout
from fp_neural.embedding import Embedding
from fp_neural.layers import Linear, Sequential
from fp_neural.losses import cross_entropy
from fp_neural.module import Module
from fp_neural.normalization import BatchNorm1d

__all__ = ["LanguageModel", "MLPLanguageModel"]  # the order of the page

BLOCK = 4096  # positions scored at once
Ids = Integer[np.ndarray, " T"] | Sequence[int]


class LanguageModel(Module):
    """
    A module that predicts the next token.

    A subclass says how: `scores` for a whole text, `start` and `advance` for one token after another.

    Parameters
    ----------
    vocab_size
        The number of tokens, $V$; ids lie in 0 to `vocab_size` - 1.
    bos
        The token that begins each sentence of a flat array, if there is one.
    """

    def __init__(self, vocab_size: int, bos: int | None = None) -> None:
        super().__init__()
        if check_integer(vocab_size, "vocab_size") < 1:
            raise ValueError(f"a vocabulary has one token or more, got vocab_size = {vocab_size}")
        if bos is not None and not 0 <= check_integer(bos, "bos") < vocab_size:
            raise ValueError(f"bos is a token between 0 and {vocab_size - 1}, got {bos}")
        self.vocab_size, self.bos = vocab_size, bos

    def scores(self, ids: Int[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        """Log-probability of each token of a text given those before it, in nats."""
        raise NotImplementedError

    def start(self, context: Int[np.ndarray, " T"]) -> tuple[Float[np.ndarray, " V"], Any]:
        """The logits after a context, possibly of no tokens, and what `advance` needs to go on."""
        raise NotImplementedError

    def advance(self, state: Any, token: int) -> tuple[Float[np.ndarray, " V"], Any]:
        """The logits after one more token, and what the next `advance` needs."""
        raise NotImplementedError

    def log_prob(self, ids: Ids) -> Float[np.ndarray, " T"]:
        """
        Log-probability of each token of a text, given the tokens before it in the text.

        Parameters
        ----------
        ids
            The text as token ids.

        Returns
        -------
        ndarray
            Nats, float64, one for each token; zero for `bos`.

        Raises
        ------
        ValueError
            If the text is empty, or an id lies outside the vocabulary.
        """
        ids = as_ids(ids, "log_prob").astype(np.int64, copy=False)
        check_ids(ids, self.vocab_size)
        with self._in_use():
            log_p = self.scores(ids).astype(np.float64)
        if self.bos is not None:
            log_p[ids == self.bos] = 0
        return log_p

    def cross_entropy(self, ids: Ids) -> float:
        """Mean loss of a text in nats per token, `bos` left out; errors as of `log_prob`."""
        log_p = self.log_prob(ids)
        n_predicted = len(log_p) if self.bos is None else np.count_nonzero(np.asarray(ids) != self.bos)
        if not n_predicted:
            raise ValueError("cross_entropy needs a token to predict, got none but bos")
        return float(-log_p.sum() / n_predicted)

    def perplexity(self, ids: Ids) -> float:
        """`fp_markov.information.perplexity` of `cross_entropy`."""
        return information.perplexity(self.cross_entropy(ids))

    def next_distribution(self, context: Ids) -> Float[np.ndarray, " V"]:
        """
        Probabilities of every token after a context.

        Parameters
        ----------
        context
            Token ids, possibly none.

        Returns
        -------
        ndarray
            Float64, positive, summing to one.

        Raises
        ------
        ValueError
            If an id lies outside the vocabulary, or the largest logit is not finite.
        """
        context = as_ids(context, "next_distribution", allow_empty=True).astype(np.int64, copy=False)
        check_ids(context, self.vocab_size)
        with self._in_use():
            z = self.start(context)[0].astype(np.float64)
        largest = z.max()
        if not np.isfinite(largest):
            raise ValueError(f"the largest logit is {largest}: has the model diverged?")
        e = np.exp(z - largest)
        return e / e.sum()

    def generate(
        self,
        context: Ids,
        n_tokens: int,
        rng: np.random.Generator,
        *,
        stop: int | None = None,
        exclude: Ids = (),
        temperature: float | int = 1.0,
        top_k: int | None = None,
        top_p: float | int | None = None,
        min_p: float | int | None = None,
    ) -> Int[np.ndarray, " N"]:
        """
        Continue a context, token by token.

        Parameters
        ----------
        context
            Token ids to start from, possibly none.
        n_tokens
            How many tokens to write at most.
        rng
            Source of randomness.
        stop
            A token after which writing ends, such as the end of a sentence.
        exclude
            Tokens never to write; `bos` never is.
        temperature, top_k, top_p, min_p
            As for `fp_markov.sampling.draw`.

        Returns
        -------
        ndarray
            The new tokens.

        Raises
        ------
        ValueError
            If `n_tokens` is negative, an id lies outside the vocabulary, or a setting outside its range.
        TypeError
            If `rng` is no generator, or ids or `n_tokens` are no integers.
        """
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng must be a generator such as numpy.random.default_rng(0), got {rng!r}")
        if check_integer(n_tokens, "n_tokens") < 0:
            raise ValueError(f"n_tokens must be zero or more, got {n_tokens}")
        context = as_ids(context, "generate", allow_empty=True).astype(np.int64, copy=False)
        excluded = [*as_ids(exclude, "exclude", allow_empty=True), *([] if self.bos is None else [self.bos])]
        check_ids(context, self.vocab_size)
        check_ids(np.array(excluded, np.int64), self.vocab_size)
        written: list[int] = []
        with self._in_use():
            z, state = self.start(context)
            while len(written) < n_tokens:
                z = z.astype(np.float64)
                z[excluded] = -np.inf
                written.append(int(draw(z, rng, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)))
                if written[-1] == stop:
                    break
                if len(written) < n_tokens:
                    z, state = self.advance(state, written[-1])
        return np.array(written, np.int64)

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Without a record, and with every part computing as in use."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with no_grad():
                yield
        finally:
            for module, mode in modes:
                module.training = mode


class MLPLanguageModel(LanguageModel):
    """
    Bengio's model: embeddings of the last `context` tokens through hidden layers (E1).

    Parameters
    ----------
    vocab_size
        The number of tokens, $V$.
    context
        How many tokens it looks back, $k$.
    dim
        Numbers in an embedding, $D$.
    hidden
        Numbers in the hidden layer, $H$, or in each of several.
    bos
        The token that begins each sentence of a flat array, if there is one; it fills up short contexts. If there is
        none, an embedding of its own does.
    activation
        Makes the module after each hidden layer.
    normalize
        Whether each hidden layer is batch-normalized before its activation.
    dropout
        The share of hidden numbers dropped in training.
    rng
        Source of the first parameters and of dropout.
    dtype
        Of the parameters.

    Raises
    ------
    ValueError
        If a size is below one.

    Examples
    --------
    >>> model = MLPLanguageModel(5, context=2, dim=3, hidden=7, rng=np.random.default_rng(0))
    >>> model(np.array([[5, 0], [3, 4]])).shape  # 5 is "nothing before the text"
    (2, 5)
    >>> bool(model.cross_entropy([0, 1, 2, 3, 4] * 20) < np.log(5) + 0.1)
    True
    """

    def __init__(
        self,
        vocab_size: int,
        context: int,
        dim: int,
        hidden: int | Sequence[int],
        *,
        bos: int | None = None,
        activation: Callable[[], Module] = Tanh,
        normalize: bool = False,
        dropout: float | int = 0.0,
        rng: np.random.Generator,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(vocab_size, bos)
        widths = list(hidden) if isinstance(hidden, Sequence | np.ndarray) else [hidden]
        for name, size in [("context", context), ("dim", dim), *(("hidden", width) for width in widths)]:
            if check_integer(size, name) < 1:
                raise ValueError(f"{name} must be one or more, got {size}")
        self.context = context
        self.fill = vocab_size if bos is None else bos
        self.embedding = Embedding(vocab_size + (bos is None), dim, rng=rng, dtype=dtype)
        layers: list[Module] = []
        n_in = context * dim
        for width in widths:
            layers.append(Linear(n_in, width, rng=rng, bias=not normalize, dtype=dtype))
            layers += [BatchNorm1d(width, dtype=dtype)] if normalize else []
            layers.append(activation())
            layers += [Dropout(dropout, rng=rng)] if dropout else []
            n_in = width
        output = Linear(n_in, vocab_size, rng=rng, dtype=dtype)
        with no_grad():
            output.weight *= 0.1  # nearly equal scores to begin with (`fp_neural.initialization`)
        self.layers = Sequential(*layers, output)

    def forward(self, ids: Integer[np.ndarray, "B k"]) -> Any:
        """The logits after each row of `context` tokens, of shape `B V`."""
        if np.shape(ids)[1:] != (self.context,):
            raise ValueError(
                f"contexts are rows of {self.context} tokens, of shape (B, {self.context}), got {np.shape(ids)}"
            )
        e = self.embedding(ids)
        return self.layers(e.reshape(e.shape[0], self.context * e.shape[2]))

    def loss(self, x: Integer[np.ndarray, "B k"], y: Integer[np.ndarray, " B"]) -> Any:
        """The mean loss of the tokens `y` after the contexts `x`, in nats, as a tensor."""
        return cross_entropy(self(x), y)

    def examples(self, ids: Ids) -> tuple[Int[np.ndarray, "N k"], Int[np.ndarray, " N"]]:
        """
        What `loss` wants of a text: the context of each token, and the token. `bos` is not among the tokens.

        Parameters
        ----------
        ids
            The text as token ids.

        Returns
        -------
        x, y : ndarray
            The contexts and the tokens after them.
        """
        ids = as_ids(ids, "examples").astype(np.int64, copy=False)
        check_ids(ids, self.vocab_size)
        x = contexts(ids, self.context, self.fill, self.bos)
        kept = slice(None) if self.bos is None else ids != self.bos
        return x[kept], ids[kept]

    def scores(self, ids: Int[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        x = contexts(ids, self.context, self.fill, self.bos)
        parts = []
        for i in range(0, len(ids), BLOCK):
            parts.append(-cross_entropy(self(x[i : i + BLOCK]), ids[i : i + BLOCK], reduction="none").data)
        return np.concatenate(parts)

    def start(self, context: Int[np.ndarray, " T"]) -> tuple[Float[np.ndarray, " V"], Any]:
        recent = contexts(np.append(context, 0), self.context, self.fill, self.bos)[-1]
        return self(recent[None]).data[0], recent

    def advance(self, state: Any, token: int) -> tuple[Float[np.ndarray, " V"], Any]:
        recent = np.full_like(state, token) if token == self.bos else np.append(state[1:], token)
        return self(recent[None]).data[0], recent
