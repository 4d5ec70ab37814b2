r"""
Evaluation: the loss on held-out text, and whether it is better than counting.

After training there is one question: does the model predict text that it has not seen, and better than a table of
counts does? The answer is a number for each scored token, and a comparison that knows its own error.

You need: cross-entropy and n-gram models (stage 1), the standard error of a mean (stage 1).

## Every token once

A model with a window of $T$ tokens cannot read a text of $n$ tokens at once. So the text $x_0, \dots, x_{n-1}$ is cut
into **disjoint windows**: window $k$ has the inputs $x_{kT}, \dots, x_{kT + T - 1}$ and the targets one place further,
$x_{kT + 1}, \dots, x_{kT + T}$; the last window may be shorter and is never dropped.

**Claim** `capstone.disjoint-windows`. For $n \ge 2$ and $T \ge 1$ let $k$ run over
$0, \dots, \lceil (n - 1) / T \rceil - 1$. Then every token but the first, $x_1, \dots, x_{n-1}$, is the target of
exactly one window, and no window is empty.

**Proof.** Let $1 \le t \le n - 1$. The token $x_t$ is the target of window $k$ if and only if
$kT + 1 \le t \le kT + T$, that is $0 \le (t - 1) - kT \le T - 1$. By division with remainder exactly one integer $k$
satisfies this, $k = \lfloor (t - 1) / T \rfloor$, and it lies between $0$ and $\lfloor (n - 2) / T \rfloor$. Write
$n - 1 = aT + b$ with integers $a \ge 0$ and $1 \le b \le T$. Then $\lceil (n - 1) / T \rceil - 1 = (a + 1) - 1$, and
$\lfloor (n - 2) / T \rfloor = a$ because $n - 2 = aT + (b - 1)$ with $0 \le b - 1 < T$: both are $a$, so $k$ is one of
the numbers allowed. Window $k \le a$ begins with the target $kT + 1 \le aT + b = n - 1$, so it is not empty.
$\blacksquare$

The first token of a window is predicted from one token, the last from $T$: with disjoint windows the mean context is
about $T / 2$. A longer window lowers the loss without any learning, so **the window is named wherever a loss is**.

**Claim** `capstone.batch-free`. If the model treats the rows of a batch independently, the losses of the tokens, and so
their mean, do not depend on how windows are grouped into batches.

**Proof.** The loss of a token is then a function of its window alone. Grouping decides which windows are handed over
together, not what they are, and by `capstone.disjoint-windows` each token has one window. The mean is taken over tokens
at the end, not over batches, so that a short last batch has no more weight than its tokens. $\blacksquare$

In floating point the products of matrices of different sizes are summed in different orders, so "do not depend" holds
up to rounding.

## Nats per token, bits per byte

A loss in nats per token depends on what a token is. Bits per byte does not: with $N$ tokens in a text of $B$ bytes,

$$\text{bits per byte} = \frac{\ell}{\log 2} \cdot \frac{N}{B}. \qquad \text{(E1)}$$

## Better than counting?

The n-gram models are trained on the same training tokens and scored on the same held-out tokens. Let $a_t$ be the best
n-gram model's loss of token $t$ and $b_t$ the model's. Some tokens are hard for both, so the **paired** differences
$a_t - b_t$ scatter less than the losses do, and their mean is the margin. Neighbouring differences are correlated (a
strange name is strange ten times in a row), so the standard error is that of a **block bootstrap**: blocks of 1,000
neighbouring tokens, several sentences, are drawn with replacement until they make up a text as long as this one, again
and again, and the standard error is the spread of the means (`fp_markov.comparison`). A margin of more than two
standard errors is called decisive.

Choosing the best of five n-gram models by the held-out text favours counting, and so does showing it all the text
before a token, where the model sees its window only: the comparison is the harder one.

## In practice

Published figures often use a sliding window with overlap, which gives every token a long context and costs many times
as much. Frontier models are compared on held-out text in bits per byte too, and otherwise on tasks, where errors of the
mean are left out more often than is good. Reference: Künsch, *The jackknife and the bootstrap for general stationary
observations* (1989).
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int
from threadpoolctl import threadpool_limits

from fp_markov.comparison import block_bootstrap
from fp_markov.information import bits_per_byte
from fp_markov.ngram import NGramModel

__all__ = ["Baseline", "Report", "windows", "evaluate", "ngram_losses", "compare"]

ORDERS = (1, 2, 3, 4, 5)
BLOCK_LENGTH = 1_000
N_RESAMPLES = 2_000


@runtime_checkable
class _Model(Protocol):
    def token_losses(self, ids: Any, targets: Any, /) -> Any: ...


@dataclass(frozen=True)
class Baseline:
    """
    An n-gram model beside the trained one.

    Parameters
    ----------
    order
        Its $n$.
    loss
        In nats per token.
    difference
        Its loss minus the trained model's, in nats per token; positive if the trained model is better.
    standard_error
        Of the difference, by block bootstrap.
    """

    order: int
    loss: float
    difference: float
    standard_error: float


@dataclass(frozen=True)
class Report:
    """
    The closing table: one model, the n-gram models, and how sure the difference is.

    Parameters
    ----------
    text, sha256
        The corpus's name and hash.
    window
        Tokens of a window.
    n_tokens, n_bytes
        Length of the held-out text; all tokens but the first are scored.
    loss
        The trained model's, in nats per token.
    baselines
        In rising order.
    """

    text: str
    sha256: str
    window: int
    n_tokens: int
    n_bytes: int
    loss: float
    baselines: tuple[Baseline, ...]

    @property
    def best(self) -> Baseline:
        """The n-gram model with the lowest loss."""
        return min(self.baselines, key=lambda baseline: baseline.loss)

    @property
    def decisive(self) -> bool:
        """Whether the model beats the best n-gram model by more than two standard errors."""
        return self.best.difference > 2 * self.best.standard_error

    def bits_per_byte(self, loss: float) -> float:
        """A loss in nats per token as bits per byte (E1)."""
        return bits_per_byte(loss, n_tokens=self.n_tokens, n_bytes=self.n_bytes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {
            "bits_per_byte": self.bits_per_byte(self.loss),
            "best_order": self.best.order,
            "decisive": self.decisive,
            "block_length": BLOCK_LENGTH,
        }

    def __str__(self) -> str:
        lines = [
            f"Held-out loss on {self.text} (sha256 {self.sha256[:12]}…)",
            f"{self.n_tokens - 1:,} tokens in disjoint windows of {self.window}; differences are paired, n-gram minus",
            f"transformer, with the standard error (s.e.) of a block bootstrap, blocks of {BLOCK_LENGTH:,} tokens",
            "",
            f"{'model':<14}{'nats/token':>12}{'bits/byte':>12}{'difference':>13}{'s.e.':>9}",
        ]
        for row in self.baselines:
            mark = "  best n-gram" if row is self.best else ""
            lines.append(
                f"{f'{row.order}-gram':<14}{row.loss:>12.4f}{self.bits_per_byte(row.loss):>12.4f}"
                f"{row.difference:>+13.4f}{row.standard_error:>9.4f}{mark}"
            )
        lines.append(f"{'transformer':<14}{self.loss:>12.4f}{self.bits_per_byte(self.loss):>12.4f}")
        best, ratio = self.best, abs(self.best.difference) / max(self.best.standard_error, 1e-12)
        verdict = "better" if best.difference > 0 else "worse"
        sure = "more" if ratio > 2 else "not more"
        lines += [
            "",
            f"In windows of {self.window} the transformer is {verdict} than the best n-gram by "
            f"{abs(best.difference):.4f} nats per token, {ratio:.1f} standard errors: {sure} than two.",
        ]
        return "\n".join(lines)


def windows(
    ids: Int[np.ndarray, " n"], window: int, batch_size: int
) -> Iterator[tuple[Int[np.ndarray, "B T"], Int[np.ndarray, "B T"]]]:
    """
    The disjoint windows of a text, in order (`capstone.disjoint-windows`).

    Parameters
    ----------
    ids
        Token ids.
    window
        Tokens of a window.
    batch_size
        At most so many windows in a batch.

    Yields
    ------
    inputs, targets : ndarray
        Shape `B T`; the last batch may be one shorter window.

    Examples
    --------
    >>> [(x.tolist(), y.tolist()) for x, y in windows(np.arange(6), window=2, batch_size=7)]
    [([[0, 1], [2, 3]], [[1, 2], [3, 4]]), ([[4]], [[5]])]
    """
    if window < 1 or batch_size < 1:
        raise ValueError(f"window and batch_size must be at least 1, got {window} and {batch_size}")
    full = (ids.size - 1) // window
    inputs, targets = (ids[shift : shift + full * window].reshape(full, window) for shift in (0, 1))
    for first in range(0, full, batch_size):
        yield inputs[first : first + batch_size], targets[first : first + batch_size]
    if full * window < ids.size - 1:
        yield ids[None, full * window : -1], ids[None, full * window + 1 :]


def evaluate(
    model: _Model, ids: Int[np.ndarray, " n"], window: int, *, batch_size: int = 16, threads: int = 1
) -> Float64[np.ndarray, " m"]:
    """
    Loss of every token after the first, in disjoint windows.

    Parameters
    ----------
    model
        Anything with `token_losses(ids, targets)`, in nats.
    ids
        Token ids of the whole held-out text, at least 2.
    window
        Tokens of a window, at most the model's context length.
    batch_size
        Windows that are handed over together (`capstone.batch-free`).
    threads
        Batches at a time; the model must then bear calls from several threads.

    Returns
    -------
    ndarray
        `n - 1` losses in nats, in the order of the text.

    Raises
    ------
    ValueError
        If there is nothing to score.

    Examples
    --------
    >>> class Uniform:
    ...     def token_losses(self, ids, targets):
    ...         return np.full(targets.shape, np.log(65))
    >>> evaluate(Uniform(), np.arange(11), window=4).shape
    (10,)
    """
    if ids.size < 2:
        raise ValueError(f"a text needs at least 2 tokens for one to be scored, got {ids.size}")

    def losses(batch: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return np.asarray(model.token_losses(*batch), dtype=np.float64).reshape(-1)

    batches = windows(ids, window, batch_size)
    if threads == 1:
        return np.concatenate(list(map(losses, batches)))
    with ThreadPoolExecutor(threads) as pool, threadpool_limits(limits=1, user_api="blas"):
        return np.concatenate(list(pool.map(losses, batches)))


def ngram_losses(
    train: Int[np.ndarray, " n_train"], held_out: Int[np.ndarray, " n"], vocab_size: int
) -> dict[int, Float64[np.ndarray, " m"]]:
    """
    The losses of n-gram models of order 1 to 5 on the tokens that `evaluate` scores.

    Parameters
    ----------
    train, held_out
        Token ids in `[0, vocab_size)`.
    vocab_size
        Size of the vocabulary.

    Returns
    -------
    dict
        Order to `n - 1` losses in nats.
    """
    models = {order: NGramModel(order, vocab_size=vocab_size).fit(train) for order in ORDERS}
    return {order: -np.asarray(model.log_prob(held_out), dtype=np.float64)[1:] for order, model in models.items()}


def compare(
    losses: Float64[np.ndarray, " m"],
    ngrams: Mapping[int, Float64[np.ndarray, " m"]],
    *,
    text: str,
    sha256: str,
    window: int,
    n_bytes: int,
    rng: np.random.Generator,
) -> Report:
    """
    The closing table.

    Parameters
    ----------
    losses
        The model's, of `evaluate`.
    ngrams
        Order to losses, of `ngram_losses`.
    text, sha256, window, n_bytes
        What was measured, for the table.
    rng
        For the bootstrap.

    Returns
    -------
    Report
        Print it.
    """
    rows = []
    for order, baseline in sorted(ngrams.items()):
        block = min(BLOCK_LENGTH, max(1, losses.size // 2))
        difference, error = block_bootstrap(baseline - losses, block, N_RESAMPLES, rng)
        rows.append(Baseline(order, float(baseline.mean()), difference, error))
    return Report(text, sha256, window, losses.size + 1, n_bytes, float(losses.mean()), tuple(rows))
