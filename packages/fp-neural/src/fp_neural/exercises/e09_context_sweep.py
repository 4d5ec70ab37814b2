r"""
How much context is worth it?

Level: challenge. You need `fp_neural.tables`, `fp_neural.losses`, `fp_neural.batches` and `fp_markov.experiment`.

Each further token of context gives a model more to go by and more to get wrong. Find out where the second begins to
win, for the smallest network that reads several tokens. After the tokens $x_{t-k}, \dots, x_{t-1}$ it scores token $v$
with

$$z_v = b_v + \sum_{j=1}^{k} W^{(j)}_{v,\, x_{t-j}}, \qquad
p(v \mid x_{t-k}, \dots, x_{t-1}) = \operatorname{softmax}(z)_v:$$

a bias for each token, and for each distance $j$ back a matrix of its own, of shape $(V, V)$. With $k = 0$ only the bias
is left. Its loss is convex (`neural.cross-entropy-convex`), so it matters little where you begin: train every model
from zeros, with `n_steps` steps of plain gradient descent at the given rate, each on the mean loss over *all* training
examples.

What makes the sweep fair is up to you. The first `n_train` tokens are for training, the rest is held out; an example,
the $k$ tokens and the one after them, lies in one of the two parts as a whole. All models must be judged on the same
tokens, else one of them may have got the easy ones: let $m$ be the largest context of the sweep, and leave the first
$m$ tokens of each part to be nobody's target. And the context is chosen by the loss on what was held out.

The grader's texts come from sources of known order, so that it can be seen whether a sweep finds it. You learn to run
an experiment in which only one thing changes. Stage 6 asks the same question of a transformer.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

HINTS = (
    "Targets of a part are `part[m:]` for every k, and column j - 1 of the contexts, the tokens j places before, is "
    "`part[m - j : len(part) - j]`. Count the examples: for all k there are `len(part) - m`.",
    "Write each context as k one-hot vectors, one after another: `np.eye(V)[contexts].reshape(N, k * V)`. Then all "
    "matrices together are one of shape (V, k * V), and the model is a linear layer.",
    "One step: with `p = softmax(z)`, `g = (p - np.eye(V)[y]) / N`, take `rate * g.T @ X` off the matrix and `rate * "
    "g.sum(axis=0)` off the bias. After the last step compute both losses, in nats, as means.",
)


def sweep(
    ids: np.ndarray, n_train: int, vocab_size: int, contexts: list[int], rate: float, n_steps: int
) -> tuple[int, np.ndarray]:
    """
    Train one model for each length of context and choose.

    Parameters
    ----------
    ids
        A text, token ids in `[0, vocab_size)`, shape `(T,)`.
    n_train
        The first `n_train` tokens are trained on, the others held out; both parts are longer than every context.
    vocab_size
        The number of tokens, V.
    contexts
        The lengths to try, different from each other, not negative, in any order.
    rate
        What the gradient of the mean training loss is multiplied by in a step.
    n_steps
        How many steps each model takes, at least one.

    Returns
    -------
    (int, ndarray)
        The length of context with the lowest held-out loss; and all losses after training in nats per token, shape
        `(len(contexts), 2)`, a row for each length in the given order: loss on the training part, on the held-out part.

    Examples
    --------
    A text in which each token is the one two places before it, so that one token of context says nothing:

    >>> best, losses = sweep(np.array([0, 0, 1, 1] * 30), 80, 2, [0, 1, 2], rate=2.0, n_steps=50)
    >>> best, losses.shape
    (2, (3, 2))
    >>> bool(abs(losses[0, 1] - np.log(2)) < 0.01), bool(losses[2, 1] < 0.1)
    (True, True)
    """
    m = max(contexts)
    parts = [_examples(part, m, m) for part in (ids[:n_train], ids[n_train:])]
    losses = np.empty((len(contexts), 2))
    for row, k in zip(losses, contexts, strict=True):
        (X, y), held_out = ((_one_hot(near[:, :k], vocab_size), targets) for near, targets in parts)
        W, b = _fit(X, y, vocab_size, rate, n_steps)
        row[:] = [_loss(W, b, *examples) for examples in ((X, y), held_out)]
    return contexts[int(losses[:, 1].argmin())], losses


def _examples(part: np.ndarray, k: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    """The k tokens before each target, the nearest first, and the targets from place `first` of a part on."""
    n = len(part)
    near = [part[first - j : n - j] for j in range(1, k + 1)]
    return np.array(near, int).reshape(k, n - first).T, part[first:]


def _one_hot(near: np.ndarray, vocab_size: int) -> np.ndarray:
    return np.eye(vocab_size)[near].reshape(len(near), -1)


def _fit(X: np.ndarray, y: np.ndarray, V: int, rate: float, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    W, b = np.zeros((V, X.shape[1])), np.zeros(V)
    for _ in range(n_steps):
        g = np.exp(_log_softmax(X @ W.T + b))
        g[np.arange(len(y)), y] -= 1
        g /= len(y)
        W -= rate * g.T @ X
        b -= rate * g.sum(axis=0)
    return W, b


def _log_softmax(z: np.ndarray, axis: int = 1) -> np.ndarray:
    z = z - z.max(axis=axis, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=axis, keepdims=True))


def _loss(W: np.ndarray, b: np.ndarray, X: np.ndarray, y: np.ndarray) -> float:
    return -float(_log_softmax(X @ W.T + b)[np.arange(len(y)), y].mean())


def _source(V: int, weights: list[float], n_tokens: int, seed: int) -> np.ndarray:
    """A text whose next token is drawn from scores that its last tokens add to, one with each weight."""
    rng = np.random.default_rng(seed)
    W = [weight * rng.normal(size=(V, V)) for weight in weights]
    text = rng.integers(V, size=len(weights)).tolist()
    for u in rng.random(n_tokens - len(weights)):
        z = sum((table[:, text[-j]] for j, table in enumerate(W, 1)), np.zeros(V))
        p = np.exp(z - z.max())
        text.append(min(int((np.cumsum(p / p.sum()) <= u).sum()), V - 1))
    return np.array(text)


_Arguments = tuple[np.ndarray, int, int, list[int], float, int]
_CASES: tuple[tuple[str, int, _Arguments], ...] = (
    (
        "a text of two tokens, each the one two places before",
        2,
        (np.array([0, 0, 1, 1] * 30), 80, 2, [0, 1, 2], 2.0, 50),
    ),
    ("independent tokens", 0, (_source(4, [], 260, 1), 130, 4, [3, 0, 1], 1.0, 60)),
    ("a source of order 1", 1, (_source(5, [1.5], 500, 1), 300, 5, [0, 1, 2, 4], 1.0, 60)),
    ("a source of order 2", 2, (_source(5, [1.0, 1.0], 900, 1), 500, 5, [1, 5, 2, 3], 1.0, 60)),
    ("a source of order 3", 3, (_source(4, [1.0, 1.5, 1.5], 1200, 4), 800, 4, [0, 1, 2, 3, 6], 1.0, 80)),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, order, (ids, n_train, V, contexts, rate, n_steps) in _CASES:
        got = learner.sweep(ids.copy(), n_train, V, list(contexts), rate, n_steps)
        assert isinstance(got, (tuple, list)) and len(got) == 2, (
            f"expected a tuple of the chosen context and the losses, got {got!r:.80}"
        )
        best, losses = got
        case = f"{name}, {n_train} tokens to train on, {len(ids) - n_train} held out, contexts {contexts}"
        expected = (len(contexts), 2)
        assert isinstance(losses, np.ndarray) and losses.dtype.kind == "f" and losses.shape == expected, (
            f"{case}: expected the losses as an array of floats of shape {expected}, got {losses!r:.80}"
        )
        m = max(contexts)
        right = sweep(ids, n_train, V, contexts, rate, n_steps)[1]
        for row, k in enumerate(contexts):
            for column, part in enumerate(("training", "held-out")):
                a, b = right[row, column], losses[row, column]
                assert abs(a - b) <= 1e-7, (  # the same descent in another order of operations
                    f"{case}: with {k} tokens of context, after {n_steps} steps of rate {rate:g} from zeros, the "
                    f"{part} loss is {a:.6f} nats per token; got {b:.6f}. "
                    f"It is the mean over the {(n_train, len(ids) - n_train)[column] - m} targets behind the first {m} "
                    f"tokens of that part, after training on the {n_train - m} targets of the training part."
                )
        assert isinstance(best, (int, np.integer)) and best == order, (
            f"{case}: the held-out losses are {right[:, 1].round(4).tolist()}, the lowest of them with {order} tokens "
            f"of context; got {best!r:.80}. The training losses, {right[:, 0].round(4).tolist()}, do not decide."
        )


_Answer = tuple[int, np.ndarray]
_Pair = tuple[np.ndarray, np.ndarray]


def _within_the_parts(ids: np.ndarray, n_train: int, m: int) -> tuple[_Pair, _Pair]:
    return _examples(ids[:n_train], m, m), _examples(ids[n_train:], m, m)


def _across(ids: np.ndarray, n_train: int, m: int) -> tuple[_Pair, _Pair]:
    return _examples(ids[:n_train], m, m), _examples(ids, m, n_train)


def _holding_the_target(ids: np.ndarray, n_train: int, m: int) -> tuple[_Pair, _Pair]:
    if m == 0:
        return _within_the_parts(ids, n_train, m)
    first, second = ((np.column_stack((y, near[:, : m - 1])), y) for near, y in _within_the_parts(ids, n_train, m))
    return first, second


def _one_matrix(near: np.ndarray, V: int) -> np.ndarray:
    return np.eye(V)[near].sum(axis=1)


def _ids_as_numbers(near: np.ndarray, V: int) -> np.ndarray:
    return near.astype(float)


def _with(
    ids: np.ndarray,
    n_train: int,
    V: int,
    contexts: list[int],
    rate: float,
    n_steps: int,
    *,
    cut: Callable[[np.ndarray, int, int], tuple[_Pair, _Pair]] = _within_the_parts,
    features: Callable[[np.ndarray, int], np.ndarray] = _one_hot,
    own_targets: bool = False,
    train_on_all: bool = False,
    bias: bool = True,
    axis: int = 1,
) -> _Answer:
    """The sweep with parts exchanged."""
    losses = np.empty((len(contexts), 2))
    for row, k in zip(losses, contexts, strict=True):
        parts = [(features(near[:, :k], V), y) for near, y in cut(ids, n_train, k if own_targets else max(contexts))]
        fitted = parts if train_on_all else parts[:1]
        X, y = (np.concatenate(arrays) for arrays in zip(*fitted, strict=True))
        W, b = np.zeros((V, X.shape[1])), np.zeros(V)
        for _ in range(n_steps):
            g = (np.exp(_log_softmax(X @ W.T + b, axis)) - np.eye(V)[y]) / len(y)
            W -= rate * g.T @ X
            b -= rate * g.sum(axis=0) * bias
        row[:] = [-float(_log_softmax(X @ W.T + b, axis)[np.arange(len(y)), y].mean()) for X, y in parts]
    return contexts[int(losses[:, 1].argmin())], losses


def _by_training_loss(
    ids: np.ndarray, n_train: int, vocab_size: int, contexts: list[int], rate: float, n_steps: int
) -> _Answer:
    losses = sweep(ids, n_train, vocab_size, contexts, rate, n_steps)[1]
    return contexts[int(losses[:, 0].argmin())], losses


def _row_for_context(
    ids: np.ndarray, n_train: int, vocab_size: int, contexts: list[int], rate: float, n_steps: int
) -> _Answer:
    losses = sweep(ids, n_train, vocab_size, contexts, rate, n_steps)[1]
    return int(losses[:, 1].argmin()), losses


def _targets_of_its_own(
    ids: np.ndarray, n_train: int, vocab_size: int, contexts: list[int], rate: float, n_steps: int
) -> _Answer:
    return _with(ids, n_train, vocab_size, contexts, rate, n_steps, own_targets=True)


def _across_the_cut(
    ids: np.ndarray, n_train: int, vocab_size: int, contexts: list[int], rate: float, n_steps: int
) -> _Answer:
    return _with(ids, n_train, vocab_size, contexts, rate, n_steps, cut=_across)


def _trains_on_held_out(
    ids: np.ndarray, n_train: int, vocab_size: int, contexts: list[int], rate: float, n_steps: int
) -> _Answer:
    return _with(ids, n_train, vocab_size, contexts, rate, n_steps, train_on_all=True)


def _reads_the_target(
    ids: np.ndarray, n_train: int, vocab_size: int, contexts: list[int], rate: float, n_steps: int
) -> _Answer:
    return _with(ids, n_train, vocab_size, contexts, rate, n_steps, cut=_holding_the_target)


def _places_alike(
    ids: np.ndarray, n_train: int, vocab_size: int, contexts: list[int], rate: float, n_steps: int
) -> _Answer:
    return _with(ids, n_train, vocab_size, contexts, rate, n_steps, features=_one_matrix)


def _names_as_numbers(
    ids: np.ndarray, n_train: int, vocab_size: int, contexts: list[int], rate: float, n_steps: int
) -> _Answer:
    return _with(ids, n_train, vocab_size, contexts, rate, n_steps, features=_ids_as_numbers)


def _bias_forgotten(
    ids: np.ndarray, n_train: int, vocab_size: int, contexts: list[int], rate: float, n_steps: int
) -> _Answer:
    return _with(ids, n_train, vocab_size, contexts, rate, n_steps, bias=False)


def _softmax_over_examples(
    ids: np.ndarray, n_train: int, vocab_size: int, contexts: list[int], rate: float, n_steps: int
) -> _Answer:
    return _with(ids, n_train, vocab_size, contexts, rate, n_steps, axis=0)


def _steps_on_the_sum(
    ids: np.ndarray, n_train: int, vocab_size: int, contexts: list[int], rate: float, n_steps: int
) -> _Answer:
    m = max(contexts)
    steps = sweep(ids, n_train, vocab_size, contexts, rate * (n_train - m), n_steps)[1]
    return contexts[int(steps[:, 1].argmin())], steps


MISTAKES = (
    (
        _by_training_loss,
        "You choose by the loss on the training part. It falls with every token of context, since the longer model can "
        "do all that the shorter one does; only held-out text says what that is worth.",
    ),
    (
        _row_for_context,
        "You return the row of the lowest loss. The rows are in the order of `contexts`: return the length.",
    ),
    (
        _targets_of_its_own,
        "You judge each model on targets of its own, from its first full context on. Then they differ in what they "
        "were asked too: take the targets that all of them have a context for.",
    ),
    (
        _across_the_cut,
        "The contexts of your first held-out targets reach back into the training part. An example lies in one part as "
        "a whole.",
    ),
    (
        _trains_on_held_out,
        "You train on the held-out part as well, so its loss says only how well the model remembers.",
    ),
    (
        _reads_the_target,
        "Your context holds the target itself: the window is shifted by one. The nearest token that a model may see is "
        "the one before its target.",
    ),
    (
        _places_alike,
        "You use one matrix for all places, so the model knows which tokens came and not where. Each distance back has "
        "a matrix of its own.",
    ),
    (
        _names_as_numbers,
        "You feed the ids as numbers. Token 4 is not twice token 2: an id is a name and picks a column of the matrix, "
        "as a one-hot vector does.",
    ),
    (
        _bias_forgotten,
        "You leave the bias where it began. It holds how frequent each token is by itself; without context it is all "
        "there is.",
    ),
    (
        _softmax_over_examples,
        "Your softmax runs over the examples. Each example has its own, over the tokens that could come next.",
    ),
    (
        _steps_on_the_sum,
        "You step along the gradient of the summed loss, many times too far. Divide by the number of training "
        "examples.",
    ),
)

# few steps: those that are too long soon depend on how the first ones were rounded
PROBES = tuple((*arguments[:5], 3) for _, _, arguments in _CASES[:4])
