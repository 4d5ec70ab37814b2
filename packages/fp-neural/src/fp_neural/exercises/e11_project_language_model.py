r"""
A language model of your own.

Level: project. You need `fp_neural.language_model`, `fp_neural.batches`, `fp_neural.initialization`, and what
`fp_autograd` or your own backward can do.

A table of bigrams knows one token of context, a table of trigrams needs to have seen both before. Train a network from
nothing that does better than either, in NumPy, with the gradients of `fp_autograd` or by hand. The text comes as short
sequences, words for instance, whose tokens are ids from 1 up. The id 0 marks the boundary: a sequence begins with
nothing before it, which your model is shown as zeros, and it ends with a token 0, which your model must predict as
well. So the sequence 5, 7 has three examples with two tokens of context, (0, 0) → 5, (0, 5) → 7 and (5, 7) → 0, and
no context reaches into another sequence.

The first `n_train` sequences are for training. The rest is held out: your function reports the loss there, once, at the
end. Nothing of it may reach the training, so the same training part must lead to the same model, bit for bit, whatever
is held out; draw all random numbers from `np.random.default_rng(seed)`. Report also the loss before the first step: by
`neural.first-loss` a model whose first scores are small starts near $\ln V$.

The grader looks at all of this on sequences that count, then at two texts, with the loss in nats per token, ends
included:

- Sequences of 24 tokens in four hidden classes, where the next class depends on the last two. With two tokens of
  context be at least 0.1 below the best interpolated trigram, which sees the same and does not know that tokens may be
  alike.
- The words of Python's language reference, as letters. With four tokens of context be at least 0.2 below the best
  interpolated bigram.

Both tables are tuned on the held-out part itself; yours need no such favour. All of it takes four trainings, and you
have a minute. A few thousand steps on batches of 64 take about a second, and how large the model, how it starts, and
how the rate falls are yours to choose.
"""

import math
import re
from collections.abc import Callable
from numbers import Real
from pydoc_data.topics import topics
from typing import Any

import numpy as np

from fp_autograd import Tensor, no_grad
from fp_autograd.rules import log_softmax

HINTS = (
    "Pad each sequence, `[0] * context + sequence + [0]`; every token after the padding is a target, the `context` "
    "tokens before it are its context. Collect them in two arrays, X of shape (N, context) and y of shape (N,).",
    "Embedding, tanh, scores: about 8 numbers a token and 64 hidden units are enough. Weights with a standard "
    "deviation of one over the root of their inputs, the last layer's ten times smaller, biases zero: then the first "
    "loss is near ln V.",
    "2000 steps, each on 64 examples drawn at random, with a rate that falls evenly from 0.5 to 0. With `Tensor` "
    "parameters: `loss.backward()`, then under `no_grad()` `p -= rate * p.grad` and `p.zero_grad()` for each.",
)


def train_language_model(
    sequences: list[list[int]], n_train: int, vocab_size: int, context: int, seed: int
) -> dict[str, Any]:
    """
    Train a neural language model on the first sequences and judge it on the others.

    Parameters
    ----------
    sequences
        Lists of ids from 1 to `vocab_size` - 1, none empty.
    n_train
        The first `n_train` of them are for training, the others are held out; there are some of both.
    vocab_size
        V, the number of ids, the boundary 0 included.
    context
        How many tokens the model sees, at least 1.
    seed
        For all that is drawn at random.

    Returns
    -------
    dict
        `"log_prob"`: a function from contexts, ids of shape `(B, context)`, the oldest first and zeros where nothing
        was, to the log-probabilities of the next token in nats, shape `(B, vocab_size)`;
        `"first"`: the mean loss over all training examples before the first step, in nats per token;
        `"held_out"`: the mean loss over all held-out examples after training, in nats per token.

    Examples
    --------
    >>> answer = train_language_model([[1, 2], [1, 2, 2]] * 20, n_train=30, vocab_size=3, context=1, seed=0)
    >>> bool(abs(answer["first"] - np.log(3)) < 0.1)
    True
    >>> np.exp(answer["log_prob"](np.array([[0], [1]]))).round(1).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    X, y = _examples(sequences[:n_train], context)
    return _trained(X, y, sequences[n_train:], vocab_size, context, seed)


def _examples(sequences: list[list[int]], context: int) -> tuple[np.ndarray, np.ndarray]:
    """Every token and every end with the tokens before it, padded with zeros."""
    padded = [[0] * context + sequence + [0] for sequence in sequences]
    X = [p[i - context : i] for p in padded for i in range(context, len(p))]
    y = [p[i] for p in padded for i in range(context, len(p))]
    return np.array(X), np.array(y)


def _trained(
    X: np.ndarray,
    y: np.ndarray,
    held_out: list[list[int]],
    V: int,
    context: int,
    seed: int,
    scale: float = 1.0,
    kept: bool = False,
) -> dict[str, Any]:
    """A model trained on these examples, from weights `scale` times what they should be; `kept` are old gradients."""
    rng = np.random.default_rng(seed)
    D, H, B, n_steps = 8, 64, 64, 2000
    C = _parameter(rng, (V, D), scale)
    W1, b1 = _parameter(rng, (context * D, H), scale / math.sqrt(context * D)), _parameter(rng, (H,), 0.0)
    W2, b2 = _parameter(rng, (H, V), 0.1 * scale / math.sqrt(H)), _parameter(rng, (V,), 0.0)

    def log_p(X: np.ndarray) -> Any:
        e = C[X].reshape(len(X), context * D)
        return log_softmax((e @ W1 + b1).tanh() @ W2 + b2)

    def loss(X: np.ndarray, y: np.ndarray) -> Any:
        return -log_p(X)[np.arange(len(y)), y].mean()

    def log_prob(X: np.ndarray) -> np.ndarray:
        with no_grad():
            return np.asarray(log_p(X))

    with no_grad():
        first = float(loss(X, y))
    for step in range(n_steps):
        i = rng.integers(len(y), size=B)
        loss(X[i], y[i]).backward()
        with no_grad():
            for p in (C, W1, b1, W2, b2):
                p -= 0.5 * (1 - step / n_steps) * p.grad
                if not kept:
                    p.zero_grad()
    with no_grad():
        return {"log_prob": log_prob, "first": first, "held_out": float(loss(*_examples(held_out, context)))}


def _parameter(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> Tensor:
    return Tensor(std * rng.normal(size=shape), requires_grad=True)


def _counting(n: int, seed: int) -> list[list[int]]:
    """Sequences that begin anywhere from 1 to 6 and count up to 6."""
    return [list(range(a, 7)) for a in np.random.default_rng(seed).integers(1, 7, size=n).tolist()]


def _classes(n: int, seed: int) -> list[list[int]]:
    """Sequences of 24 tokens in four classes; the two classes before nearly settle the next."""
    rng = np.random.default_rng(seed)
    after = rng.integers(4, size=(5, 5))
    members = 1 + rng.permutation(24).reshape(4, 6)
    sequences = []
    for length in rng.integers(4, 12, size=n).tolist():
        a = b = 4
        sequence = []
        for _ in range(length):
            a, b = b, int(after[a, b] if rng.random() < 0.85 else rng.integers(4))
            sequence.append(int(rng.choice(members[b])))
        sequences.append(sequence)
    return sequences


def _words() -> list[list[int]]:
    """The distinct words of Python's language reference, in a random order."""
    words = sorted(set(re.findall("[a-z]{3,}", "\n".join(topics.values()).lower())))
    order = np.random.default_rng(11).permutation(len(words)).tolist()
    return [[ord(letter) - ord("a") + 1 for letter in words[i]] for i in order]


def _table_loss(train: list[list[int]], held_out: list[list[int]], V: int, n: int) -> float:
    """Held-out loss of an interpolated n-gram model, with the constant that suits the held-out sequences best."""
    (X, y), (X_new, y_new) = (_examples(part, n) for part in (train, held_out))
    losses = []
    for constant in (0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0):
        P = np.full(len(y_new), 1 / V)
        for m in range(n):
            powers = V ** np.arange(m)
            c, c_new = (near[:, n - m :] @ powers if m else np.zeros(len(near), int) for near in (X, X_new))
            pairs, contexts = np.bincount(c * V + y, minlength=V ** (m + 1)), np.bincount(c, minlength=V**m)
            P = (pairs[c_new * V + y_new] + constant * P) / (contexts[c_new] + constant)
        losses.append(-float(np.log(P).mean()))
    return min(losses)


_CONTEXT, _SEED = 2, 3
PROBES = ((_counting(60, 1), 40, 7, _CONTEXT, _SEED),)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    training = _counting(150, 1)
    given = training + _counting(50, 2)
    model = _graded(learner, "sequences that count up to 6", given, 150, 7, _CONTEXT)
    for seen, follows, why in (
        ((3, 4), 5, "Is each example's target the token after its context?"),
        ((0, 3), 4, "A context is filled up with zeros in front where nothing came before."),
        ((5, 6), 0, "Each sequence ends with a 0, which is a target like any other."),
    ):
        p = np.exp(model(np.array([seen])))[0]
        assert p[follows] > 0.8, (
            f"in sequences that count up to 6 and end, {follows} always follows {seen}; yours gives it {p[follows]:.3f}"
            f" and {int(p.argmax())} {p.max():.3f}. {why}"
        )
    _expect_same_model(learner, training, model)
    sequences = _classes(700, 1)
    _expect_loss(learner, "sequences of 24 tokens in four classes", sequences, 400, 25, 2, 3, 0.1)
    sequences = _words()
    _expect_loss(learner, "words of the language reference", sequences, len(sequences) * 4 // 5, 27, 4, 2, 0.2)


_LogProb = Callable[[np.ndarray], np.ndarray]


def _call(learner: Any, sequences: list[list[int]], n_train: int, V: int, context: int) -> Any:
    return learner.train_language_model([list(sequence) for sequence in sequences], n_train, V, context, _SEED)


def _graded(learner: Any, name: str, sequences: list[list[int]], n_train: int, V: int, context: int) -> _LogProb:
    """The learner's model of these sequences, after everything that is asked of every answer."""
    answer = _call(learner, sequences, n_train, V, context)
    assert isinstance(answer, dict) and set(answer) == {"log_prob", "first", "held_out"}, (
        f"expected a dict of log_prob, first and held_out, got {answer!r:.80}"
    )
    for key in ("first", "held_out"):
        assert isinstance(answer[key], Real) and math.isfinite(answer[key]), (
            f"{name}: expected a finite float as {key!r}, got {answer[key]!r:.80}"
        )
    assert callable(answer["log_prob"]), f"expected a function as 'log_prob', got {answer['log_prob']!r:.80}"
    model: _LogProb = answer["log_prob"]
    assert answer["first"] <= math.log(V) + 0.25, (
        f"{name}: before the first step a model that knows nothing should give all {V} tokens about equal chances, a "
        f"loss of ln {V} = {math.log(V):.3f}; yours starts at {answer['first']:.3f}, so it is sure of what it cannot "
        "know. Make the first weights smaller."
    )
    X, y = _examples(sequences[n_train:], context)
    log_p = model(X.copy())
    assert isinstance(log_p, np.ndarray) and log_p.dtype.kind == "f" and log_p.shape == (len(X), V), (
        f"{name}: log_prob must return an array of floats of shape {(len(X), V)} for contexts of shape {X.shape}, got "
        + (f"{log_p.dtype} of shape {log_p.shape}" if isinstance(log_p, np.ndarray) else f"{log_p!r:.80}")
    )
    assert np.isfinite(log_p).all(), f"{name}: after training, log_prob is not finite. Are the steps too large?"
    total = np.exp(log_p.astype(float)).sum(axis=1)
    worst = total[np.abs(total - 1).argmax()]
    assert abs(worst - 1) <= 1e-4, (  # 1e-4: the answer may be in single precision
        f"{name}: after each context the probabilities of all {V} tokens sum to 1; those of yours sum to {worst:.4f}. "
        "Scores become log-probabilities by taking off their log-sum-exp."
    )
    alone = model(X[:1].copy())
    assert np.allclose(alone, log_p[:1], rtol=1e-4, atol=1e-4), (
        f"{name}: the log-probabilities after one context depend on which other contexts were asked for with it"
    )
    trained = _mean_loss(model, *_examples(sequences[:n_train], context))
    copies = float((log_p.argmax(axis=1) == X[:, -1]).mean())
    assert trained < answer["first"], (
        f"{name}: over the training part, the loss was {answer['first']:.4f} before the first step and is "
        f"{trained:.4f} after the last. "
        + (
            "The model expects the last token of the context once more: is each target the token after its context?"
            if copies > 0.9
            else "Do the steps go down, and does each begin with gradients of zero?"
        )
    )
    loss = _mean_loss(model, X, y)
    assert abs(answer["held_out"] - loss) <= 1e-3, (
        f"{name}: your model's loss over the {len(y)} held-out tokens, ends included and each context padded within "
        f"its own sequence, is {loss:.4f} nats; you report {answer['held_out']:.4f}. "
        + _what_it_is(answer["held_out"], model, sequences, n_train, context)
    )
    return model


def _what_it_is(reported: float, model: _LogProb, sequences: list[list[int]], n_train: int, context: int) -> str:
    """Which other loss of the same model this is, if it is one of those that are often taken for the right one."""
    X, y = _examples(sequences[n_train:], context)
    tokens = y > 0
    for value, sentence in (
        (_mean_loss(model, *_examples(sequences[:n_train], context)), "That is the loss on the training part."),
        (
            _mean_loss(model, *_in_one_piece(sequences[n_train:], context)),
            "That comes of contexts that cross into the sequence before.",
        ),
        (_mean_loss(model, X[tokens], y[tokens]), "That is the loss without the ends."),
        (_mean_loss(model, X, y) / math.log(2), "That is the same in bits."),
        (_mean_loss(model, X, y) * len(y), "That is the sum over the tokens, not their mean."),
    ):
        if math.isclose(reported, value, rel_tol=1e-4):
            return sentence
    return "Is it over these tokens and these contexts?"


def _mean_loss(model: _LogProb, X: np.ndarray, y: np.ndarray) -> float:
    return -float(model(X)[np.arange(len(y)), y].astype(float).mean())


def _expect_same_model(learner: Any, training: list[list[int]], model: _LogProb) -> None:
    """Other held-out sequences must change nothing."""
    contexts = np.stack(np.meshgrid(np.arange(7), np.arange(7)), axis=-1).reshape(-1, 2)
    backwards = [sequence[::-1] for sequence in _counting(50, 4)]
    other = _call(learner, training + backwards, len(training), 7, _CONTEXT)["log_prob"]
    before = model(contexts.copy())
    if np.allclose(before, other(contexts.copy()), rtol=0, atol=1e-6):
        return
    again = _call(learner, training + _counting(50, 2), len(training), 7, _CONTEXT)["log_prob"]
    assert np.allclose(before, again(contexts.copy()), rtol=0, atol=1e-6), (
        "the same sequences and the same seed gave another model the second time: draw all random numbers from "
        "np.random.default_rng(seed)"
    )
    raise AssertionError(
        "with the same training sequences and other held-out ones, your model came out differently. Nothing of what is "
        "held out may reach the training, neither as an example nor by deciding when to stop"
    )


def _expect_loss(
    learner: Any, name: str, sequences: list[list[int]], n_train: int, V: int, context: int, order: int, margin: float
) -> None:
    table = _table_loss(sequences[:n_train], sequences[n_train:], V, order)
    model = _graded(learner, name, sequences, n_train, V, context)
    loss = _mean_loss(model, *_examples(sequences[n_train:], context))
    kind = {2: "bigram", 3: "trigram"}[order]
    trained = _mean_loss(model, *_examples(sequences[:n_train], context))
    assert loss <= table - margin, (
        f"{name}: the best interpolated {kind} model has {table:.4f} nats per token on the held-out ones; with "
        f"{context} tokens of context be at least {margin:g} below, at {table - margin:.4f}. Yours has {loss:.4f}, and "
        f"{trained:.4f} on those that it was trained on. If the two are close, take more or larger steps; if they are "
        "far apart, a smaller model or fewer steps."
    )


_Answer = dict[str, Any]


def _target_in_the_context(
    sequences: list[list[int]], n_train: int, vocab_size: int, context: int, seed: int
) -> _Answer:
    X, _ = _examples(sequences[:n_train], context)
    return _trained(X, X[:, -1], sequences[n_train:], vocab_size, context, seed)


def _trained_on_held_out(sequences: list[list[int]], n_train: int, vocab_size: int, context: int, seed: int) -> _Answer:
    return _trained(*_examples(sequences, context), sequences[n_train:], vocab_size, context, seed)


def _reports_the_training_loss(
    sequences: list[list[int]], n_train: int, vocab_size: int, context: int, seed: int
) -> _Answer:
    X, y = _examples(sequences[:n_train], context)
    return _trained(X, y, sequences[:n_train], vocab_size, context, seed)


def _ten_times_too_large(sequences: list[list[int]], n_train: int, vocab_size: int, context: int, seed: int) -> _Answer:
    X, y = _examples(sequences[:n_train], context)
    return _trained(X, y, sequences[n_train:], vocab_size, context, seed, scale=10.0)


def _gradients_pile_up(sequences: list[list[int]], n_train: int, vocab_size: int, context: int, seed: int) -> _Answer:
    X, y = _examples(sequences[:n_train], context)
    return _trained(X, y, sequences[n_train:], vocab_size, context, seed, kept=True)


def _contexts_crossing(sequences: list[list[int]], n_train: int, vocab_size: int, context: int, seed: int) -> _Answer:
    X, y = _in_one_piece(sequences[:n_train], context)
    answer = _trained(X, y, sequences[n_train:], vocab_size, context, seed)
    return {**answer, "held_out": _mean_loss(answer["log_prob"], *_in_one_piece(sequences[n_train:], context))}


def _in_one_piece(sequences: list[list[int]], context: int) -> tuple[np.ndarray, np.ndarray]:
    """The examples of all sequences written one after another, with a 0 between them."""
    text = [0] * context + [token for sequence in sequences for token in (*sequence, 0)]
    windows = np.lib.stride_tricks.sliding_window_view(np.array(text), context + 1)
    return windows[:, :-1], windows[:, -1]


def _ends_forgotten(sequences: list[list[int]], n_train: int, vocab_size: int, context: int, seed: int) -> _Answer:
    X, y = _examples(sequences[:n_train], context)
    answer = _trained(X[y > 0], y[y > 0], sequences[n_train:], vocab_size, context, seed)
    X, y = _examples(sequences[n_train:], context)
    return {**answer, "held_out": _mean_loss(answer["log_prob"], X[y > 0], y[y > 0])}


def _scores_returned(sequences: list[list[int]], n_train: int, vocab_size: int, context: int, seed: int) -> _Answer:
    answer = train_language_model(sequences, n_train, vocab_size, context, seed)
    normal: _LogProb = answer["log_prob"]

    def scores(X: np.ndarray) -> np.ndarray:
        return normal(X) + 1.0  # scores are log-probabilities up to a number for each context

    return {**answer, "log_prob": scores, "held_out": _mean_loss(scores, *_examples(sequences[n_train:], context))}


def _one_token_of_context(
    sequences: list[list[int]], n_train: int, vocab_size: int, context: int, seed: int
) -> _Answer:
    X, y = _examples(sequences[:n_train], 1)
    answer = _trained(X, y, sequences[n_train:], vocab_size, 1, seed)
    one: _LogProb = answer["log_prob"]

    def log_prob(X: np.ndarray) -> np.ndarray:
        return one(X[:, -1:])

    return {**answer, "log_prob": log_prob}


def _in_bits(sequences: list[list[int]], n_train: int, vocab_size: int, context: int, seed: int) -> _Answer:
    answer = train_language_model(sequences, n_train, vocab_size, context, seed)
    return {**answer, "first": answer["first"] / math.log(2), "held_out": answer["held_out"] / math.log(2)}


MISTAKES = (
    (
        _target_in_the_context,
        "Your labels are off by one: the target is the last token of the context, so the model learns to copy. It is "
        "the token after.",
    ),
    (
        _trained_on_held_out,
        "You train on the held-out sequences too. Their loss then says how well they are remembered; train on the "
        "first n_train alone.",
    ),
    (
        _reports_the_training_loss,
        "You report the loss on the training part as held-out. It is what the training made small; on new sequences it "
        "is higher.",
    ),
    (
        _ten_times_too_large,
        "Your first weights are ten times too large. The tanh is saturated and the scores are extreme, so training "
        "begins with undoing them.",
    ),
    (
        _gradients_pile_up,
        "You keep the gradients of the steps before and add to them. Every step needs gradients that begin at zero.",
    ),
    (
        _contexts_crossing,
        "Your contexts cross from one sequence into the next. What a sequence begins with does not depend on the one "
        "before: fill its contexts up with zeros.",
    ),
    (
        _ends_forgotten,
        "The end of a sequence is no target of yours, so your model never expects one. Each sequence has one example "
        "more than tokens, with the target 0.",
    ),
    (
        _scores_returned,
        "You return scores as log-probabilities. They are that only after their log-sum-exp has been taken off.",
    ),
    (
        _one_token_of_context,
        "Your model sees the last token alone, whatever the context: a bigram model, as a network.",
    ),
    (_in_bits, "You report bits. All losses here are in nats, from natural logarithms: do not divide by ln 2."),
)
