r"""
A fair trial: the network against the table.

Two kinds of model are to be compared on one text. What may each of them see, what is counted, and what does the
comparison leave out?

You need: `fp_neural.language_model`, `fp_neural.recurrent_model`, `fp_markov.experiment`, `fp_markov.comparison`.

## The rules

- Both learn from the same part of the text and are scored on the same rest, token by token, with the vocabulary of the
  first part (`fp_markov.experiment.split`). The rest is scored as one text: the first token of a window is as hard as
  any other for a model that has just been started, so windows would favour the one with the shorter context.
- Settings are chosen on neither of them. A number of steps or a rate that was chosen by the loss on the rest has seen
  it; whoever searches cuts a third part off.
- The loss is the mean surprisal in nats per token. Both models' losses are on the same tokens, so their difference has
  a standard error: `fp_markov.comparison.block_bootstrap` of `Trial.losses`.
- Next to each loss stand the numbers that were learned, the time that it took, and how far back the model looks. A
  table with ten times the parameters in a hundredth of the time is not the same bargain.

## The rate

The plain step with one rate goes on wandering about the minimum: the batch's gradient does not vanish there, only its
mean does (`fp_neural.batches`). So the rate is constant for the first part of the steps, and then falls in a straight
line to zero. The norm of each gradient is clipped, recurrent networks have cliffs (`fp_neural.recurrent`).

>>> [round(falling(1.0, 10, 0.4)(n), 2) for n in range(10)]
[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]

## Measured

<!-- figure: results -->

Counting is hard to beat. A perceptron that sees as many tokens as a table does no better than it, and worse where the
table has seen most contexts before and has many more numbers to remember them with. What decides is how far back a
model looks: there a table runs out of text, and a perceptron out of weights. The recurrent network does not, and is
ahead on both texts by many standard errors, for thousands of times the seconds. Its settings on Shakespeare are the
second that were tried, chosen by the loss on the very part that is reported, as there is no third; `lstm-first` are the
first. Names have a part for choosing.

## In practice

A single run with a single seed is a sample of one: the spread over seeds is part of an honest table, and so is the
search behind the settings. Published tables seldom have either.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from fp_markov.ngram import NGramModel
from fp_markov.vocabulary import Vocabulary
from fp_neural.activations import Tanh
from fp_neural.batches import streams
from fp_neural.language_model import LanguageModel, MLPLanguageModel
from fp_neural.recurrent_model import RecurrentLanguageModel
from fp_neural.training import History, train

__all__ = ["Settings", "Trial", "run", "learn", "build", "falling"]  # the order of the page


@dataclass(frozen=True)
class Settings:
    """
    What to train, and how.

    Attributes
    ----------
    model : str
        `"mlp"`, `"rnn"` or `"lstm"`.
    context : int
        Tokens that the perceptron looks back.
    dim, hidden, layers : int
        Numbers in an embedding and in a hidden layer; how many recurrent layers.
    dropout : float
        The share dropped in training.
    normalize : bool
        Whether the perceptron's hidden layer is batch-normalized.
    steps : int
        Gradient steps.
    batch_size : int
        Contexts (mlp) or rows of text (rnn, lstm) in a batch.
    length : int
        Tokens of each row in a batch of a recurrent model: how far its gradients go back.
    rate : float
        The rate of the first steps.
    falling : float
        The share of the steps, at the end, in which the rate falls to zero.
    max_norm : float
        The length that gradients are clipped to.
    seed : int
        Of all randomness.
    """

    model: Literal["mlp", "rnn", "lstm"] = "lstm"
    context: int = 8
    dim: int = 32
    hidden: int = 256
    layers: int = 1
    dropout: float | int = 0.0
    normalize: bool = False
    steps: int = 2000
    batch_size: int = 64
    length: int = 64
    rate: float | int = 1.0
    falling: float | int = 0.5
    max_norm: float | int = 1.0
    seed: int = 0


@dataclass
class Trial:
    """
    A trained model and what became of it.

    Attributes
    ----------
    vocabulary : Vocabulary
        Of the training part.
    model : LanguageModel
        The model.
    history : History
        Of its training.
    training, held_out : ndarray
        The texts, in ids of the vocabulary.
    losses : ndarray
        Of each token held out, `bos` left out, in nats.
    seconds : float
        For training, without what was measured on the way.
    """

    vocabulary: Vocabulary
    model: LanguageModel
    history: History
    training: Int[np.ndarray, " N"]
    held_out: Int[np.ndarray, " T"]
    losses: Float[np.ndarray, " P"]
    seconds: float

    @property
    def loss(self) -> float:
        """Mean loss of the tokens held out, in nats."""
        return float(self.losses.mean())

    def against(self, orders: Iterable[int]) -> dict[int, Float[np.ndarray, " P"]]:
        """
        Losses of the same tokens by modified Kneser-Ney models of the same training part.

        Parameters
        ----------
        orders
            Tokens of an n-gram.

        Returns
        -------
        dict
            For each order what `losses` is for the network.
        """
        V, bos = len(self.vocabulary), self.vocabulary.bos
        models = {n: NGramModel(n, V, "modified_kneser_ney", bos=bos).fit(self.training) for n in orders}
        return {n: -model.log_prob(self.held_out)[self.held_out != bos] for n, model in models.items()}


def falling(rate: float | int, n_steps: int, share: float | int) -> Callable[[int], float]:
    """
    A rate that is constant first and then falls to zero in a straight line.

    Parameters
    ----------
    rate
        The rate of the first steps.
    n_steps
        All steps.
    share
        The share of them, at the end, in which it falls.

    Returns
    -------
    callable
        From the number of a step, counted from 0, to its rate.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of steps in which the rate falls lies between 0 and 1, got {share}")
    return lambda n: rate * min(1.0, (n_steps - n) / (share * n_steps)) if share else float(rate)


def learn(
    settings: Settings,
    vocabulary: Vocabulary,
    ids: Int[np.ndarray, " T"],
    *,
    held_out: Callable[[LanguageModel], float] | None = None,
    every: int = 1000,
) -> tuple[LanguageModel, History]:
    """
    Make a model and train it on a text.

    Parameters
    ----------
    settings
        What to train, and how.
    vocabulary
        Of the text; if it has a `bos`, sentences begin with it and are shuffled for each pass.
    ids
        The text.
    held_out
        Called with the model after every `every` steps.
    every
        See `held_out`.

    Returns
    -------
    LanguageModel, History
        The model, and what happened.

    Raises
    ------
    ValueError
        If the text is too short for a batch, or a setting is out of range.
    FloatingPointError
        If a loss or a gradient is not finite.
    """
    for name in ("steps", "batch_size", "length"):
        if (number := getattr(settings, name)) < 1:
            raise ValueError(f"{name} must be one or more, got {number}")
    rng = np.random.default_rng(settings.seed)
    model = build(settings, vocabulary, rng)
    examples: Iterator[tuple[Any, ...]]
    loss: Callable[..., Any]
    if isinstance(model, MLPLanguageModel):
        examples, loss = _examples(model, ids, settings, rng), model.loss
    else:
        examples, loss = _chunks(ids, vocabulary.bos, settings, rng), model.training_loss
    history = train(
        model, loss, examples,
        rate=falling(settings.rate, settings.steps, settings.falling),
        max_norm=settings.max_norm,
        held_out=None if held_out is None else lambda: held_out(model),
        every=every,
    )  # fmt: skip
    return model, history


def build(
    settings: Settings, vocabulary: Vocabulary, rng: np.random.Generator
) -> MLPLanguageModel | RecurrentLanguageModel:
    """
    An untrained model, such as a saved one is loaded into.

    Parameters
    ----------
    settings
        Which model, and its sizes.
    vocabulary
        What it reads and writes.
    rng
        Source of its first parameters, and of dropout.

    Returns
    -------
    MLPLanguageModel or RecurrentLanguageModel
        The model.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """
    V, bos = len(vocabulary), vocabulary.bos
    if settings.model == "mlp":
        return MLPLanguageModel(
            V, settings.context, settings.dim, settings.hidden, bos=bos, activation=Tanh,
            normalize=settings.normalize, dropout=settings.dropout, rng=rng,
        )  # fmt: skip
    if settings.model in ("rnn", "lstm"):
        return RecurrentLanguageModel(
            V, settings.dim, settings.hidden, cell=settings.model, layers=settings.layers, bos=bos,
            dropout=settings.dropout, rng=rng,
        )  # fmt: skip
    raise ValueError(f'the model is "mlp", "rnn" or "lstm", got {settings.model!r}')


def _examples(
    model: MLPLanguageModel, ids: Int[np.ndarray, " T"], settings: Settings, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    x, y = model.examples(ids)
    x = np.ascontiguousarray(x)
    for _ in range(settings.steps):
        i = rng.integers(len(y), size=settings.batch_size)
        yield x[i], y[i]


def _chunks(
    ids: Int[np.ndarray, " T"], bos: int | None, settings: Settings, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Chunks of rows of text, and whether they begin anew; sentences are shuffled, a text without them is turned."""
    if len(ids) <= settings.batch_size * settings.length:
        raise ValueError(
            f"a batch is {settings.batch_size} rows of {settings.length} tokens and the token after, which a text of "
            f"{len(ids):,} tokens does not fill: lower the batch size or the length"
        )
    starts = None if bos is None else np.flatnonzero(ids == bos)
    n_left = settings.steps
    while n_left:
        if starts is None:
            text = np.roll(ids, -int(rng.integers(len(ids))))
        else:
            sentences = np.split(ids, starts[1:])
            text = np.concatenate([sentences[i] for i in rng.permutation(len(sentences))])
        anew = True
        for x, y in streams(text, settings.batch_size, settings.length, drop_last=True):
            if bos is None or (y != bos).any():  # else nothing is predicted
                yield x, y, anew
                anew = False
                n_left -= 1
            if not n_left:
                return


def run(
    training: str,
    rest: str,
    settings: Settings,
    *,
    lines: bool = False,
    every: int = 1000,
    watch: Callable[[int, float], None] | None = None,
) -> Trial:
    """
    Learn from one text, score another.

    Parameters
    ----------
    training, rest
        The parts, as `fp_markov.experiment.split` cuts them.
    settings
        What to train, and how.
    lines
        Whether each line is a text of its own, such as a name: then its end is predicted too.
    every, watch
        After every `every` steps `watch` is told their number and the loss of `rest`.

    Returns
    -------
    Trial
        The model and its losses.

    Raises
    ------
    ValueError
        If a part is too short, or a setting is out of range.
    FloatingPointError
        If a loss or a gradient is not finite.

    Examples
    --------
    >>> training, rest = "the cat sat on the mat. " * 40, "the rat sat on the cat. "
    >>> trial = run(training, rest, Settings("mlp", context=4, dim=8, hidden=32, steps=300, rate=0.5))
    >>> bool(trial.loss < trial.against([1])[1].mean())
    True
    """
    vocabulary = Vocabulary.from_text(training, "characters", unknown=True, sentences=lines)
    encode = vocabulary.encode_sentences if lines else vocabulary.encode
    ids, unseen = encode(training), encode(rest)
    if not len(ids):
        raise ValueError("the text to learn from has no token: hold out less")
    if not len(unseen):
        raise ValueError("the text that is held out has no token: hold out more")

    measuring: list[float] = []  # seconds

    def held_out(model: LanguageModel) -> float:
        begin = time.perf_counter()
        loss = model.cross_entropy(unseen)
        measuring.append(time.perf_counter() - begin)
        if watch is not None:
            watch(min(len(measuring) * every, settings.steps), loss)
        return loss

    start = time.perf_counter()
    model, history = learn(settings, vocabulary, ids, held_out=None if watch is None else held_out, every=every)
    seconds = time.perf_counter() - start - sum(measuring)
    losses = -model.log_prob(unseen)
    return Trial(vocabulary, model, history, ids, unseen, losses[unseen != vocabulary.bos], seconds)
