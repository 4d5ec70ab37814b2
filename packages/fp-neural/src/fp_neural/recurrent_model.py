r"""
A recurrent language model: one state for all that came before.

The perceptron of `fp_neural.language_model` sees $k$ tokens and pays for each of them with parameters of its own. A
recurrent layer's state is as large after a thousand tokens as after three. How is a language model made of it, how is
it trained on a text that is longer than any sweep, and what does one more token cost when it writes?

You need: `fp_neural.recurrent`, `fp_neural.language_model`, `fp_neural.batches` for streams, `fp_neural.dropout`.

## The model

Each token is looked up, goes through one or more recurrent layers, the second fed with the states of the first, and a
linear layer scores what comes next:

$$
\begin{aligned}
h^{(0)}_t &= C_{x_t}, \\
(h^{(l)}_t, s^{(l)}_t) &= F^{(l)} \big( h^{(l-1)}_t, s^{(l)}_{t-1} \big), \qquad l = 1, \dots, L, \\
p(x_{t+1} \mid x_1, \dots, x_t) &= \operatorname{softmax} \big( W h^{(L)}_t + b \big)_{x_{t+1}},
\end{aligned} \qquad \text{(E1)}
$$

where $s^{(l)}_t$ is what layer $l$ keeps, $h$ alone in a plain one and $(h, c)$ in an LSTM. The first token is
predicted from $s_0 = 0$ and an input that stands for *nothing before*. The model conditions on all that came before,
through $s_t$, and its size does not depend on how much that is:

>>> model = RecurrentLanguageModel(65, dim=32, hidden=256, rng=np.random.default_rng(0))
>>> {name: p.size for name, p in model.named_parameters().items()}
... # doctest: +NORMALIZE_WHITESPACE
{'embedding.weight': 2112, 'layers.0.weight_ih': 32768, 'layers.0.weight_hh': 262144, 'layers.0.bias': 1024,
 'output.weight': 16640, 'output.bias': 65}

Everything may be computed in pieces:

**Claim** `neural.carried-state`. Cut a text anywhere, run (E1) over the pieces one after another, and hand the states
at the end of each piece to the next: the scores are those of the text in one piece. If the states are put to zero at
each `bos`, sentences may also be scored side by side, in any order.

**Proof.** By induction on $t$: the scores and states at $t$ are made by (E1) from $x_t$ and $s_{t-1}$, and by the
hypothesis $s_{t-1}$ is the same, whether it was made in this piece or handed over. For the second, what follows a
`bos` depends on tokens from that `bos` on and on a state of zero, whatever stands before it. $\blacksquare$

The shortest piece is one token. So writing costs the same for every token, one step of (E1), and nothing of the text
has to be kept but $s_t$. `scores` goes the other way: it takes rows that begin with sentences, as many as there are up
to `ROWS`, because one product of $U$ with many columns takes less time than as many products with one. By
`neural.equal-footing` the losses compare with those of tables.

## Training

`training_loss` is for the chunks of `fp_neural.batches.streams`: it keeps the states for the next call, as constants.
That is truncated backpropagation through time. The value of the loss counts all that came before; its gradient is that
of `neural.truncation`, with what this does to it (`neural.truncation-bias`). One more thing is not exact: parameters
have moved since the state that is handed on was made. It is a state of the model as it was a step ago, and the
difference is of the size of the step.

With `bos` there are no borders of that kind but within sentences. A sentence that begins inside a chunk is taught from
its beginning.

**Dropout** stands where numbers go from layer to layer and not where they go from step to step (W. Zaremba, I.
Sutskever and O. Vinyals, 2014). If a number of the state were dropped with probability $p$ at every step, it would last
for $n$ steps with probability $(1 - p)^n$, and nothing could be remembered:

>>> [round(0.8**n, 4) for n in (1, 10, 50)]
[0.8, 0.1074, 0.0]

**Tied** weights use the rows of $C$ also as those of $W$ (O. Press and L. Wolf, 2017): a token's vector says what it
does to the state, and how well a state expects it. The gradient is the sum of both (`neural.tied-gradient`), and most
of a small model with a large vocabulary is saved.

## What a window cannot see

Sentences of a letter, four dots, and the same letter again. The last letter is certain from the first one, five tokens
before. To a model that sees four tokens it is a coin toss, $\ln 2$ nats:

>>> from fp_neural.batches import streams
>>> from fp_neural.training import train
>>> rng = np.random.default_rng(0)
>>> def sentences(n):  # 0 begins one, 1 and 2 are letters, 3 is the dot
...     letters = rng.integers(1, 3, n)
...     return np.column_stack([0 * letters, letters, np.full((n, 4), 3), letters]).ravel()
>>> model = RecurrentLanguageModel(4, dim=4, hidden=32, bos=0, rng=rng)
>>> text = ((x, y, i == 0) for i, (x, y) in enumerate(streams(sentences(32 * 400), 32, 14)))
>>> history = train(model, model.training_loss, text, rate=2.0, max_norm=1.0)
>>> last = -model.log_prob(sentences(100)).reshape(100, 7)[:, -1]
>>> bool(last.mean() < 0.05), round(float(np.log(2)), 3)
(True, 0.693)

## In practice

T. Mikolov and others (2010) brought recurrent models past the tables; R. Jozefowicz and others (2016) took LSTMs to a
billion words, and S. Merity, N. Keskar and R. Socher (2018) made them the best of their day on small texts by more
kinds of dropout than this page has, among them on $U$ itself, with one mask for a whole sweep. Transformers took over
when texts and machines grew: their training is parallel over the text, and what they look up in it does not have to
fit into a state. But they keep it all: what they need for one more token grows with the text.
"""

from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from fp_autograd.tensor import no_grad
from fp_markov.counting import check_integer
from fp_neural.dropout import Dropout
from fp_neural.embedding import Embedding
from fp_neural.language_model import LanguageModel
from fp_neural.layers import Linear, linear
from fp_neural.losses import cross_entropy
from fp_neural.module import Parameter
from fp_neural.recurrent import LSTM, RNN

__all__ = ["RecurrentLanguageModel"]

ROWS = 64  # sentences scored side by side
BLOCK = 4096  # positions scored at once

States = list[Any]


class RecurrentLanguageModel(LanguageModel):
    """
    Embedding, recurrent layers, scores (E1).

    Parameters
    ----------
    vocab_size
        The number of tokens, $V$.
    dim
        Numbers in an embedding, $D$.
    hidden
        Numbers in the state of each layer, $H$.
    cell
        `"lstm"` or `"rnn"`.
    layers
        How many recurrent layers.
    bos
        The token that begins each sentence, if there is one: the states are put to zero before it.
    dropout
        The share dropped in training, of the embeddings and of what each layer hands on.
    tied
        Whether the embeddings are the weights of the scores, too; then `dim` is `hidden`.
    rng
        Source of the first parameters and of dropout.
    dtype
        Of the parameters.

    Raises
    ------
    ValueError
        If a size is below one, the cell is unknown, or tied sizes differ.

    Examples
    --------
    >>> model = RecurrentLanguageModel(5, dim=3, hidden=7, layers=2, rng=np.random.default_rng(0))
    >>> logits, states = model(np.array([[1, 2, 3], [4, 0, 4]]))
    >>> logits.shape, len(states)
    ((2, 3, 5), 2)
    >>> model.generate([1, 2], 4, np.random.default_rng(0)).shape
    (4,)
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        hidden: int,
        *,
        cell: Literal["lstm", "rnn"] = "lstm",
        layers: int = 1,
        bos: int | None = None,
        dropout: float | int = 0.0,
        tied: bool = False,
        rng: np.random.Generator,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(vocab_size, bos)
        for name, size in (("dim", dim), ("hidden", hidden), ("layers", layers)):
            if check_integer(size, name) < 1:
                raise ValueError(f"{name} must be one or more, got {size}")
        if cell not in ("lstm", "rnn"):
            raise ValueError(f'the cell is "lstm" or "rnn", got {cell!r}')
        if tied and dim != hidden:
            raise ValueError(
                f"tied weights score a state by its product with each embedding, which needs dim = hidden, got {dim} "
                f"and {hidden}"
            )
        self.fill = vocab_size if bos is None else bos
        std = dim**-0.5 if tied else 1.0  # so that scores begin nearly equal
        self.embedding = Embedding(vocab_size + (bos is None), dim, rng=rng, std=std, dtype=dtype)
        self.embedding.weight.data[vocab_size:] = 0  # nothing before
        kind = LSTM if cell == "lstm" else RNN
        self.layers = [kind(dim if i == 0 else hidden, hidden, rng=rng, dtype=dtype) for i in range(layers)]
        self.dropout = Dropout(dropout, rng=rng)
        if tied:
            self.bias: Parameter | None = Parameter(np.zeros(vocab_size, dtype))
        else:
            self.bias = None
            self.output = Linear(hidden, vocab_size, rng=rng, dtype=dtype)
            with no_grad():
                self.output.weight *= 0.1
        self._carried: States | None = None

    def forward(self, ids: Int[np.ndarray, "B T"], state: States | None = None) -> tuple[Any, States]:
        """
        The logits after each token.

        Parameters
        ----------
        ids
            Rows of tokens.
        state
            What an earlier call returned; nothing before if missing.

        Returns
        -------
        logits : Tensor
            "B T V".
        state : list
            What each layer keeps, constants.

        Raises
        ------
        ValueError
            If the ids are no rows of tokens of the vocabulary, or the state is that of another model or batch.
        """
        if np.ndim(ids) != 2 or not np.shape(ids)[1]:
            raise ValueError(f"ids are rows of one token or more, of shape (B, T), got {np.shape(ids)}: use ids[None]")
        if state is not None and len(state) != len(self.layers):
            raise ValueError(f"the state of {len(self.layers)} layers has as many parts, got {len(state)}")
        ids = np.asarray(ids)
        begins = None if self.bos is None else ids == self.bos
        if begins is not None and not begins.any():
            begins = None
        h, after = self.dropout(self.embedding(ids)), []
        for layer, before in zip(self.layers, state or [None] * len(self.layers), strict=True):
            h, kept = layer(h, before, begins)
            h = self.dropout(h)
            after.append(kept)
        if self.bias is None:
            return self.output(h), after
        return linear(h, self.embedding.weight[: self.vocab_size], self.bias), after

    def loss(self, x: Int[np.ndarray, "B T"], y: Int[np.ndarray, "B T"], state: States | None = None) -> Any:
        """
        The mean loss of rows of text.

        Parameters
        ----------
        x, y
            Tokens, and the tokens one step later; a `bos` in `y` is not predicted.
        state
            What was before `x`.

        Returns
        -------
        Tensor
            One number, in nats per token.
        """
        return cross_entropy(self(x, state)[0], y, ignore=self.bos)

    def training_loss(self, x: Int[np.ndarray, "B T"], y: Int[np.ndarray, "B T"], anew: bool = False) -> Any:
        """
        The mean loss of a chunk that continues the one of the call before.

        Parameters
        ----------
        x, y
            As for `loss`, such as `fp_neural.batches.streams` yields them.
        anew
            Whether the rows begin here, with nothing before.

        Returns
        -------
        Tensor
            One number, in nats per token.

        Raises
        ------
        ValueError
            If there are more or fewer rows than before.
        """
        before = None if anew else self._carried
        if before is not None and (n_rows := np.shape(before[0])[-2]) != len(x):
            raise ValueError(f"the chunk before had {n_rows} rows, this one has {len(x)}: anew=True begins anew")
        logits, self._carried = self(x, before)
        return cross_entropy(logits, y, ignore=self.bos)

    def scores(self, ids: Int[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        before = np.append(self.fill, ids[:-1])
        starts = np.array([0]) if self.bos is None else np.flatnonzero(before == self.bos)
        x, there = _rows(before, starts, self.fill)
        y = np.zeros_like(x)
        y[there] = ids
        losses, state, n_steps = [], None, max(1, BLOCK // len(x))
        for t in range(0, x.shape[1], n_steps):
            logits, state = self(x[:, t : t + n_steps], state)
            losses.append(cross_entropy(logits, y[:, t : t + n_steps], reduction="none").data)
        return -np.concatenate(losses, axis=1)[there]

    def start(self, context: Int[np.ndarray, " T"]) -> tuple[Float[np.ndarray, " V"], Any]:
        before = np.append(self.fill, context)
        if self.bos is not None:
            before = before[np.flatnonzero(before == self.bos)[-1] :]
        state = None
        for t in range(0, len(before), BLOCK):
            logits, state = self(before[None, t : t + BLOCK], state)
        return logits.data[0, -1], state

    def advance(self, state: Any, token: int) -> tuple[Float[np.ndarray, " V"], Any]:
        logits, state = self(np.array([[token]]), state)
        return logits.data[0, -1], state


def _rows(
    text: Int[np.ndarray, " T"], starts: Int[np.ndarray, " S"], fill: int
) -> tuple[Int[np.ndarray, "B t"], np.ndarray]:
    """Up to ROWS rows of about the same length, each from one of the starts on, filled up; and where they hold text."""
    even = np.arange(ROWS) * len(text) // ROWS
    nearest = np.searchsorted(starts, even)
    cuts = starts[np.unique(nearest[nearest < len(starts)])]
    lengths = np.diff(np.append(cuts, len(text)))
    there = np.arange(lengths.max()) < lengths[:, None]
    rows = np.full(there.shape, fill)
    rows[there] = text
    return rows, there
