r"""
Batches: how much text one step needs.

The gradient over a whole text is a mean over millions of tokens, and one step moves the parameters a little. Most of
that work is wasted: a mean over a few hundred tokens points in nearly the same direction. How near? Which windows of a
text make a batch, without showing the model in training what it will be judged on? And what must a model with a memory
be given, whose memory outlives a batch?

You need: `fp_markov.probability` for means and variances, `fp_markov.experiment` for the split.

## A batch is a sample of gradients

Let example $i$ of $N$ have the loss $\ell_i$ with the gradient $g_i$ at the present parameters. The mean loss
$\frac1N \sum_i \ell_i$ has the gradient $\bar g = \frac1N \sum_i g_i$, as slopes add (`markov.slope-rules`). A batch of
$B$ examples has, in the same way, the gradient $\hat g$, the mean of its $g_i$: an estimate. How far off it is, is
measured by the spread of the examples,

$$\sigma^2 = \frac1N \sum_{i=1}^N |g_i - \bar g|^2. \qquad \text{(E1)}$$

**Claim** `neural.minibatch-gradient`. Draw $B$ examples, each evenly from all $N$ and independently. Then
$\mathbb{E}\, \hat g = \bar g$ and $\mathbb{E} |\hat g - \bar g|^2 = \frac{\sigma^2}{B}$.

**Proof.** In each coordinate $\hat g$ is the average of $B$ independent numbers with the mean $\bar g$ has there; by
`markov.variance-of-mean` its variance is that of one of them, divided by $B$. Sum over the coordinates: the variances
of a single draw sum to (E1). $\blacksquare$

So four times the batch halves the error, and costs four times as much. That is the case for small batches: early on,
when $|\bar g|$ is large, a rough direction does; later, near a minimum, $\bar g$ vanishes, $\sigma^2$ does not, and
larger batches or smaller steps are needed.

**Claim** `neural.minibatch-without-replacement`. Let the batch be a set of $B \le N$ different examples, $N \ge 2$, all
such sets being equally likely. Then $\mathbb{E}\, \hat g = \bar g$ and

$$\mathbb{E} |\hat g - \bar g|^2 = \frac{\sigma^2}{B} \cdot \frac{N - B}{N - 1}. \qquad \text{(E2)}$$

**Proof.** Let $I_i$ be $1$ if example $i$ is in the batch, else $0$. All examples, and all pairs of them, have equal
chances. As $\sum_i I_i = B$, $\mathbb{E} I_i = \frac{B}{N}$, and as the batch has $B (B - 1)$ ordered pairs,
$\mathbb{E} I_i I_j = \frac{B (B - 1)}{N (N - 1)}$ for $i \ne j$. The first gives
$\mathbb{E}\, \hat g = \frac1B \sum_i \frac{B}{N} g_i = \bar g$. With $a_i = g_i - \bar g$, which sum to zero,
$\hat g - \bar g = \frac1B \sum_i I_i a_i$. Since $I_i^2 = I_i$,

$$
\mathbb{E} |\hat g - \bar g|^2
  = \frac{1}{B^2} \Big( \frac{B}{N} \sum_i |a_i|^2 + \frac{B (B - 1)}{N (N - 1)} \sum_{i \ne j} a_i \cdot a_j \Big)
  = \frac{1}{B^2} \cdot \frac{B}{N} \Big( 1 - \frac{B - 1}{N - 1} \Big) \sum_i |a_i|^2,
$$

because $\sum_{i \ne j} a_i \cdot a_j = \big| \sum_i a_i \big|^2 - \sum_i |a_i|^2 = - \sum_i |a_i|^2$. The last sum is
$N \sigma^2$, and the bracket is $\frac{N - B}{N - 1}$. $\blacksquare$

For $B = N$ nothing is left to chance. For a batch that is small next to the text the two differ little in this formula;
what differs is the epoch:

**Claim** `neural.epoch`. Put all $N$ examples in a random order and cut it into batches of sizes $B_1, B_2, \dots$. At
fixed parameters each batch is a sample as in the claim before, and $\sum_b \frac{B_b}{N} \hat g_b = \bar g$, whatever
the order: the errors of the batches of an epoch cancel.

**Proof.** In a random order any $B_b$ places hold any set of $B_b$ examples equally often. Each example is in exactly
one batch, so $\sum_b B_b \hat g_b = \sum_i g_i$. $\blacksquare$

A pass in random order sees every example once, whereas $N$ draws with replacement miss each one with probability
$(1 - \frac1N)^N$, for many examples about $\frac1e$:

>>> round((1 - 1 / 1_000_000) ** 1_000_000, 3)
0.368

Here all batches at work, three examples with the gradients 0, 3 and 6 and batches of two, with and without replacement:

>>> from itertools import combinations, product
>>> def spread(batches):
...     return float(np.mean([(np.mean(batch) - 3) ** 2 for batch in batches]))
>>> spread(product([0, 3, 6], repeat=2)), spread(combinations([0, 3, 6], 2)), float(np.var([0, 3, 6]))
(3.0, 1.5, 6.0)

## Windows of a text

For a text of ids $x_0, \dots, x_{n-1}$ an example is a **window** of $T$ tokens and the $T$ tokens one step later, its
targets: at position $t$ of the window that starts at $s$, the model sees $x_s, \dots, x_{s+t}$ and is to predict
$x_{s+t+1}$. A window needs $T + 1$ tokens, so the starts are $0, \dots, n - T - 1$.

>>> text = TextDataset(np.array([7, 1, 4, 1, 5, 9]), context=3)
>>> len(text)
3
>>> text.windows(0)
(array([7, 1, 4]), array([1, 4, 1]))

Where do windows for judging the model come from? Not from a random choice among all windows.

**Claim** `neural.window-leak`. Let every window, one for each start, be held out with probability $q$, independently,
and otherwise trained on. Take a window that is held out, and of its targets one that is in $T$ windows, as all but the
first and the last $T - 1$ targets of the text are. With probability $1 - q^{T-1}$ it is also a target in training, at
the same place of the text.

**Proof.** The $T - 1$ other windows that have the target are all held out with probability $q^{T-1}$, whatever became
of the one that was taken. If they are not, it is trained on. $\blacksquare$

With a tenth held out and windows of eight tokens, of what the model is judged on it was trained on a share of

>>> 1 - 0.1**7
0.9999999

So the text is cut in two at one point first, and windows are cut from the parts: no window crosses the cut, and the
later part is judged (`markov.held-out-unbiased`, with the same warning that neighbours are not independent).

>>> training, held_out = split_ids(np.arange(10), held_out=0.3)
>>> training, held_out
(array([0, 1, 2, 3, 4, 5, 6]), array([7, 8, 9]))

## Sequences of their own

Names, or sentences, are not one text: what a name begins with does not depend on the name before. So each begins with a
token `bos` and ends with a token `eos` (`fp_markov.vocabulary`), one after another in a flat array. `contexts` gives
each token the $k$ tokens before it, with nothing from before the last `bos`, which fills the row up. Every token but
`bos` is a target once, `eos` among them.

>>> ids = np.array([9, 5, 13, 1, 8, 9, 7, 8])  # two names, bos is 9 and eos is 8
>>> x = contexts(ids, 3, fill=9, bos=9)
>>> for context, target in zip(x[ids != 9].tolist(), ids[ids != 9].tolist()):
...     print(context, target)
[9, 9, 9] 5
[9, 9, 5] 13
[9, 5, 13] 1
[5, 13, 1] 8
[9, 9, 9] 7
[9, 9, 7] 8

**Claim** `neural.contexts`. Let $p(y \mid c)$ be a distribution over the ids for every context $c$ of $k$ ids. For a
sequence $w$ of $n$ ids, none of them `bos` or `eos`, let $Q(w)$ be the product of $p(y \mid c)$ over its $n + 1$
targets. Then the $Q(w)$ of all sequences of at most $m$ ids sum to the probability that a sequence drawn token by token
brings an `eos` within $m + 1$ tokens, and no `bos` before it. So the summed loss of the targets is $-\ln Q(w)$, and $Q$
is a distribution over sequences but for the chance of never ending and of drawing `bos`.

**Proof.** Draw tokens one after another, each from $p$ given the last $k$, where the first contexts are filled up with
`bos`, and stop at the first `eos` or `bos`. By `markov.chain-rule` the probability to draw $w_1, \dots, w_n$ and then
`eos` is the product of the conditional ones, which is $Q(w)$: the contexts are those of the targets. Different
sequences exclude each other, and together they are the event named. $\blacksquare$

Without the ends, the probabilities would sum to one for each length, and the model could not say when a name is over.

## Streams

A recurrent model carries its state from one chunk of text to the next. So the next chunk has to continue the last one,
in every row of the batch: cut the text into $B$ rows of equal length first, and the rows into chunks of $T$.

>>> for x, y in streams(np.arange(12), 2, 3):
...     print(x.tolist(), y.tolist())
[[0, 1, 2], [5, 6, 7]] [[1, 2, 3], [6, 7, 8]]
[[3, 4], [8, 9]] [[4, 5], [9, 10]]

**Claim** `neural.streams`. Let $m = \lfloor (n - 1) / B \rfloor$ and let row $b$ hold the inputs
$x_{bm}, \dots, x_{bm + m - 1}$ and the targets one step later, in chunks of $T$, the last of which may be shorter. Then
in every row each chunk begins with the token after the last input of the chunk before, which was its last target; the
targets $x_1, \dots, x_{Bm}$ occur exactly once each; and the $n - 1 - Bm < B$ targets after them are dropped. If the
last, shorter chunk is dropped too, $B (m \bmod T)$ more are.

**Proof.** The chunks cut the consecutive numbers $bm, \dots, bm + m - 1$, so the first input of a chunk follows the
last input of the one before. The targets of row $b$ are $x_{bm + 1}, \dots, x_{(b+1) m}$: those of the next row begin
where these end, and all rows together cover $1, \dots, Bm$. By the definition of $m$, $Bm \le n - 1 < B (m + 1)$. Last,
the $m \bmod T$ last columns of $B$ rows. $\blacksquare$

The first token, $x_0$, is never a target, since nothing comes before it. With $B = 1$ and no chunk dropped, everything
else is judged, each token with all of the text before it: that is the loss to report for a recurrent model.

## In practice

GPT-like models are trained on random windows (`random_windows`), since their state does not outlive a window; a token
at the start of a window is then predicted from little, so their reported loss depends on how windows overlap in
evaluation. Large data sets shuffle documents once, pack them one after another with a boundary between and cut windows
of equal length. Tokens in one window are not independent, so the variance of a batch's gradient falls with the number
of windows, and not with that of tokens (`markov.dependent-mean`). An array of ids may be one that NumPy maps from a
file: only the windows are read.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int, Integer

from fp_markov.counting import as_ids, check_integer

__all__ = [
    "TextDataset",
    "split_ids",
    "batches",
    "random_windows",
    "contexts",
    "streams",
]  # the order of the page

Real = float | int


class TextDataset:
    """
    The windows of a text, with the next token as the target.

    Parameters
    ----------
    ids
        The text as token ids, of any integer type; it is kept, not copied.
    context
        $T$, how many tokens a window has.
    stride
        How far apart the starts of neighbouring windows are; with `stride=context` each target occurs once.

    Attributes
    ----------
    ids, context, stride
        As given.

    Raises
    ------
    ValueError
        If a setting is below one, or the text is shorter than one window and its last target.
    TypeError
        If ids are no integers.

    Examples
    --------
    >>> text = TextDataset(np.arange(100), context=8)
    >>> for i in batches(len(text), 32, np.random.default_rng(0)):
    ...     x, y = text.windows(i)
    ...     print(x.shape, bool((y == x + 1).all()))
    (32, 8) True
    (32, 8) True
    (28, 8) True
    """

    def __init__(self, ids: Integer[np.ndarray, " n"] | Sequence[int], context: int, stride: int = 1) -> None:
        self.ids = as_ids(ids, "TextDataset")
        self.context, self.stride = _at_least_one(context, "context"), _at_least_one(stride, "stride")
        _check_length(len(self.ids), self.context)

    def __len__(self) -> int:
        return (len(self.ids) - self.context - 1) // self.stride + 1

    def windows(self, i: int | Integer[np.ndarray, "*shape"]) -> tuple[Int[np.ndarray, "..."], Int[np.ndarray, "..."]]:
        """
        Windows and their targets, by number.

        Parameters
        ----------
        i
            A number, or an array of numbers of any shape, from 0 to `len` of the data set minus one.

        Returns
        -------
        x, y : ndarray
            Tokens and the tokens one step later, int64, of the shape of `i` and one axis of length `context` more.

        Raises
        ------
        IndexError
            If there is no such window.
        TypeError
            If numbers are no integers.
        """
        numbers = np.asarray(i)
        if numbers.dtype.kind not in "iu":
            raise TypeError(f"windows are picked by integers, got {numbers.dtype}")
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"windows are numbered from 0 to {len(self) - 1}, got {numbers.min()} to {numbers.max()}")
        return _cut(self.ids, np.asarray(numbers.astype(np.int64) * self.stride), self.context)


def split_ids(
    ids: Integer[np.ndarray, " n"] | Sequence[int], held_out: Real = 0.1
) -> tuple[Integer[np.ndarray, " a"], Integer[np.ndarray, " b"]]:
    """
    Cut a text of ids in two, before any window is cut from it.

    Parameters
    ----------
    ids
        The text. Its vocabulary should come from the first part alone, or from elsewhere: see
        `fp_markov.experiment.split` for texts that are still characters.
    held_out
        The share to hold out, in (0, 1): the end of the text, so that the judge is what comes later.

    Returns
    -------
    training, held_out : ndarray
        The parts, views of the text.

    Raises
    ------
    ValueError
        If the share lies outside (0, 1), or a part would be empty.
    """
    ids = as_ids(ids, "split_ids")
    if not 0 < held_out < 1:
        raise ValueError(f"the share to hold out lies between 0 and 1, got {held_out}")
    cut = int(round((1 - held_out) * len(ids), 6))  # whole tokens; (1 - 0.9) * 10 is below 1 for a computer
    if not 0 < cut < len(ids):
        raise ValueError(f"a text of {len(ids)} tokens is too short to hold out a share of {held_out}")
    return ids[:cut], ids[cut:]


def batches(
    n: int, batch_size: int, rng: np.random.Generator, *, drop_last: bool = False
) -> Iterator[Int[np.ndarray, " B"]]:
    """
    One epoch: the numbers from 0 to n - 1 in random order, in batches (`neural.epoch`).

    Parameters
    ----------
    n
        How many examples there are.
    batch_size
        How many go into a batch; the last one has what remains.
    rng
        Source of the order, drawn when the first batch is asked for.
    drop_last
        Leave out a last batch that is smaller than the others, such as one of a single row.

    Returns
    -------
    iterator of ndarray
        Numbers of examples, int64.

    Raises
    ------
    ValueError
        If a number is below one, or no batch is full and it would be dropped.

    Examples
    --------
    >>> [len(batch) for batch in batches(10, 4, np.random.default_rng(0))]
    [4, 4, 2]
    """
    n, batch_size = _at_least_one(n, "the number of examples"), _at_least_one(batch_size, "batch_size")
    if drop_last and n < batch_size:
        raise ValueError(f"{n} examples make no full batch of {batch_size}: choose a smaller batch_size")

    def epoch() -> Iterator[Int[np.ndarray, " B"]]:
        order = rng.permutation(n)
        for start in range(0, n - batch_size + 1 if drop_last else n, batch_size):
            yield order[start : start + batch_size]

    return epoch()


def random_windows(
    ids: Integer[np.ndarray, " n"] | Sequence[int], T: int, B: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "B T"], Int[np.ndarray, "B T"]]:
    """
    A batch of windows whose starts are drawn evenly and independently (`neural.minibatch-gradient`).

    Parameters
    ----------
    ids
        The text as token ids.
    T
        How many tokens a window has.
    B
        How many windows.
    rng
        Source of the starts.

    Returns
    -------
    x, y : ndarray
        Tokens and the tokens one step later, int64.

    Raises
    ------
    ValueError
        If a number is below one, or the text is shorter than one window and its last target.
    TypeError
        If ids are no integers.

    Examples
    --------
    >>> x, y = random_windows(np.arange(100), 8, 4, np.random.default_rng(0))
    >>> x.shape, bool((y == x + 1).all())
    ((4, 8), True)
    """
    ids, T, B = as_ids(ids, "random_windows"), _at_least_one(T, "T"), _at_least_one(B, "B")
    _check_length(len(ids), T)
    return _cut(ids, rng.integers(0, len(ids) - T, B), T)


def contexts(
    ids: Integer[np.ndarray, " T"] | Sequence[int], k: int, fill: int, bos: int | None = None
) -> Int[np.ndarray, "T k"]:
    """
    The `k` tokens before each token of a text.

    Parameters
    ----------
    ids
        The text as token ids, possibly none.
    k
        How many.
    fill
        What stands before the text.
    bos
        The token that begins each sentence: what was before the last one is replaced by it.

    Returns
    -------
    ndarray
        Row `t` holds tokens `t - k` to `t - 1`, int64.

    Raises
    ------
    ValueError
        If `k` is below one.
    TypeError
        If ids are no integers.

    Examples
    --------
    >>> contexts(np.array([9, 1, 2, 9, 3]), k=2, fill=9, bos=9)
    array([[9, 9],
           [9, 9],
           [9, 1],
           [1, 2],
           [9, 9]])
    """
    ids, k = as_ids(ids, "contexts", allow_empty=True).astype(np.int64, copy=False), _at_least_one(k, "k")
    rows = np.lib.stride_tricks.sliding_window_view(np.append(np.full(k, fill), ids), k)[: len(ids)]
    if bos is None:
        return rows
    n_after = np.argmax(rows[:, ::-1] == bos, axis=1)  # tokens after the last bos of a row, if there is one
    n_after[~(rows == bos).any(axis=1)] = k
    return np.where(np.arange(k)[::-1] < n_after[:, None], rows, bos)


def streams(
    ids: Integer[np.ndarray, " n"] | Sequence[int], B: int, T: int, *, drop_last: bool = False
) -> Iterator[tuple[Int[np.ndarray, "B t"], Int[np.ndarray, "B t"]]]:
    """
    `B` rows of a text side by side, in chunks of `T` that continue each other (`neural.streams`).

    Parameters
    ----------
    ids
        The text as token ids.
    B
        How many rows.
    T
        How many tokens of each row a chunk has.
    drop_last
        Leave out a last chunk that is shorter than the others.

    Returns
    -------
    iterator of (x, y)
        Tokens and the tokens one step later, int64, of shape `(B, T)`; of the last chunk maybe shorter.

    Raises
    ------
    ValueError
        If a number is below one, or the rows are too short: shorter than one token, or than one chunk if shorter
        chunks are dropped.
    TypeError
        If ids are no integers.
    """
    ids, B, T = as_ids(ids, "streams"), _at_least_one(B, "B"), _at_least_one(T, "T")
    m, least = (len(ids) - 1) // B, T if drop_last else 1
    if m < least:
        raise ValueError(
            f"{B} rows with {least} targets each need a text of {B * least + 1} tokens, got {len(ids)}: take fewer rows"
            f"{', shorter chunks' if drop_last else ''} or more text"
        )
    starts = np.arange(B) * m

    def chunks() -> Iterator[tuple[Int[np.ndarray, "B t"], Int[np.ndarray, "B t"]]]:
        for t in range(0, m - T + 1 if drop_last else m, T):
            yield _cut(ids, starts + t, min(T, m - t))

    return chunks()


def _cut(ids: np.ndarray, starts: np.ndarray, T: int) -> tuple[np.ndarray, np.ndarray]:
    """`T` tokens from each start, and those one step later."""
    places = starts[..., None] + np.arange(T + 1)
    cut = ids[places].astype(np.int64, copy=False)
    return cut[..., :-1], cut[..., 1:]


def _check_length(n: int, T: int) -> None:
    if n < T + 1:
        raise ValueError(
            f"a window of {T} tokens and the target of its last one need a text of at least {T + 1} tokens, got {n}. "
            "Take a shorter context or more text."
        )


def _at_least_one(value: int, name: str) -> int:
    if check_integer(value, name) < 1:
        raise ValueError(f"{name} must be one or more, got {value}")
    return int(value)
