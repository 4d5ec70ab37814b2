r"""
Words: counting them in texts of any size.

Training asks one thing of a corpus: which words it has, and how often each. This section counts them while the text
streams by, in memory that grows with the number of *different* words, on as many processes as asked, and in a way that
makes the answer the same for all of these choices.

You need: `fp_tokenize.normalize`, `fp_tokenize.pretokenize`, `fp_tokenize.pipeline`; `fp_markov.growth` for the size of
the table.

## Counts add up

Let $c_x(w)$ say how often $w$ is among the words of a text $x$. The counts of a corpus $x_1, \dots, x_n$ are

$$c(w) = c_{x_1}(w) + \dots + c_{x_n}(w). \qquad \text{(E1)}$$

**Claim** `tokenize.counts-add`. Let each text be cut into parts whose words, in order, are the words of the text. Deal
the parts out to processes in any way and let each sum the counts of its parts. The sum over the processes is $c$.

**Proof.** By hypothesis the list of words of a text is the lists of its parts, one after another, so an occurrence of
$w$ in the text is one in exactly one part: $c_x(w)$ is the sum of the parts' counts. Every part is dealt to exactly one
process. So both $c(w)$ and the sum over the processes add up the same numbers, one for each part, and addition gives
the same whatever the order and the brackets. $\blacksquare$

Where may a text be cut? Between two words, and without knowing the words, before a space that follows a non-space:
that is `tokenize.space-boundary`, for every pre-tokenizer whose `space_safe` is true.

## Count long before you look

A regular expression is the slowest part of counting, and natural text repeats itself. So count the *chunks* of
`tokenize.chunks-exact` first, which a plain search for spaces finds, and split each of them into words once. Let $z_0$
be the text's first chunk and let $m(z)$ say how often $z$ occurs among the others.

**Claim** `tokenize.chunk-counts`. For a pre-tokenizer with `tokenize.space-boundary`,
$c_x(w) = c_{z_0}(w) + \sum_z m(z)\, c_z(w)$. If $z_1, \dots, z_k$ are different chunks that occur equally often, and
none ends in white space, then $\sum_i m(z_i)\, c_{z_i}(w) = m(z_1)\, c_y(w)$ with $y = z_1 z_2 \cdots z_k$.

**Proof.** The chunks are parts as in `tokenize.counts-add`: cut $x$ before its last chunk, then what is left before its
last chunk, and so on; each cut is before a space that follows a non-space. So $c_x$ is the sum of $c_z$ over all chunks
$z$, where $z$ stands $m(z)$ times. Second, each $z_i$ begins with a single space before a non-space, and $z_{i-1}$ ends
in a non-space. So the same cuts lead from $y$ to the $z_i$: $c_y(w) = \sum_i c_{z_i}(w)$. Multiply by
$m(z_1) = m(z_i)$. $\blacksquare$

So the regular expression runs over each different chunk once, and, since chunks are grouped by how often they occur, in
few long calls:

>>> from fp_tokenize.pretokenize import GPT2
>>> text = "no, no: " * 1000
>>> count_words([text], pretokenizer=GPT2) == Counter(GPT2.split(text))
True

## What it costs

**Claim** `tokenize.counting-memory`. Let the pre-tokenizer be `space_safe`. Besides the text at hand and its normalised
form, one process holds at most `CHUNKS` + `STRETCH` different chunks, and the different words so far, however much text
went by. If the $T$ words of the corpus are drawn independently, $w$ with probability $p_w$, the expected number of
different ones is $\sum_w (1 - (1 - p_w)^T)$.

**Proof.** Chunks are counted stretch by stretch. A stretch ends at the first place to cut after `STRETCH` characters,
so all its chunks begin among these, and there are at most `STRETCH`. After each stretch the table of chunks is turned
into words and emptied if it has more than `CHUNKS` entries. So it has at most `CHUNKS` before a stretch, and `CHUNKS` +
`STRETCH` after one. What remains is the table of words, an entry for each different one, and for their expected number
see `markov.expected-types`. $\blacksquare$

By `markov.heaps-from-zipf` the table of words thus grows like $T^{1/s}$ for words under Zipf's law with $s > 1$: ten
times the text, but not ten times the memory. Time has no such saving: each character is looked at by the normaliser,
the search for spaces and a hash function, so the time is proportional to the text. A stretch of text with as many
different chunks as chunks costs the regular expression on top, as if there were no table.

## From files

Corpora do not fit in memory, so `read_pieces` reads files piece by piece. Words are found after normalising, though, so
a cut has to be harmless for both. It is made before a single space that follows a visible character of ASCII.

**Claim** `tokenize.pieces-exact`. The pieces of a file, joined, are its text. If the normaliser is made of the steps
`Unicode`, `Lowercase`, `StripAccents`, `Nmt` and `Bert`, and the pre-tokenizer is one for which
`tokenize.space-boundary` holds, then `count_words` gives the same for the pieces as for the whole texts, whatever the
size of the pieces.

**Proof.** A piece ends where the next one begins. Let a text be $xy$, cut before the space with which $y$ begins and
after the visible ASCII character $a$ with which $x$ ends. We show for each step $N$ that $N(xy) = N(x) N(y)$, that
$N(x)$ ends in a visible ASCII character and $N(y)$ begins with a space; then the next step meets the same situation,
and after the last one the cut is before a space that follows a non-space, where `tokenize.space-boundary` applies, and
`tokenize.counts-add` with it. `Lowercase`, `StripAccents`, `Nmt` and the substitutions in `Bert` replace each
character on its own, $a$ by $a$ or its small letter and a space by a space. A normal form first replaces characters on
their own, and $a$ and the space by themselves. Then it sorts the combining marks of each run of marks; as the space is
none, no run reaches across the cut. Then it joins pairs from a list, each a character and a later one before which only
marks stand; the space is in no pair, so no pair reaches across the cut either, and what follows $a$ in $x$ is nothing,
so that $a$ is the first of no pair. It is the second of none, as no such second is in ASCII. $\blacksquare$

Steps that look at the ends of a text (`Strip`, `Prepend`) or at several characters (`Replace`, `Precompiled`) can tell
pieces from files, and so can a special token with a space in it; `count_words` then refuses continued pieces.

## In practice

Hugging Face's trainers count words in the same way, with a pass of the regular expression over all text; on several
threads, as Rust has no interpreter lock. Where a corpus is larger than one machine, (E1) is what map and reduce
compute.
"""

import codecs
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

from fp_tokenize.normalize import Bert, Lowercase, Nmt, Normalizer, StripAccents, Unicode
from fp_tokenize.pretokenize import SINGLE_SPACE, Pretokenizer
from fp_tokenize.special import AddedToken, parts_of

__all__ = ["count_words", "read_pieces", "Continued"]  # the order of the page

STRETCH = 1 << 12
"""Characters whose chunks are found together."""
CHUNKS = 1 << 16
"""Different chunks that are remembered before they are split into words."""
BATCH = 1 << 20
"""Characters that are sent to another process together."""

_TOGETHER = 1 << 12  # chunks that the pre-tokenizer gets at a time

_SAFE = re.compile(r" (?<=[!-~] )(?=\S)")  # a `SINGLE_SPACE` after a visible character of ASCII
_ONE_BY_ONE = (Unicode, Lowercase, StripAccents, Nmt, Bert)  # normalisers that do not look beyond a space


class Continued(str):
    """A text that continues the one before it, cut off before a space: what `read_pieces` yields after a cut."""

    __slots__ = ()


def count_words(
    texts: Iterable[str],
    normalizer: Normalizer | None = None,
    pretokenizer: Pretokenizer | None = None,
    processes: int = 1,
    special_tokens: Sequence[str] = (),
) -> dict[str, int]:
    """
    How often each word occurs in some texts (E1).

    Parameters
    ----------
    texts
        Any number of texts, read once, one at a time; or what `read_pieces` yields.
    normalizer, pretokenizer
        What makes words of a text; `None` changes nothing, and makes one word of each text.
    processes
        How many to count with. More than one are fresh interpreters, which start in some tenths of a second and import
        the main module: a script needs `if __name__ == "__main__":` around what it does.
    special_tokens
        Spellings that are no words: each is cut out, and a word ends before it and begins after it.

    Returns
    -------
    dict
        Counts by word, the same for any number of processes and any cut into pieces, in no particular order.

    Raises
    ------
    TypeError
        If `texts` is one string, a text is no string, or a normaliser or pre-tokenizer is none.
    ValueError
        If `processes` is below one, a special token is empty, a text has a lone surrogate, or a piece continues one
        before it and these steps could tell.

    Examples
    --------
    >>> from fp_tokenize.pretokenize import GPT2
    >>> counts = count_words(["to be or not to be", "be<s>be"], pretokenizer=GPT2, special_tokens=["<s>"])
    >>> sorted(counts.items())
    [(' be', 2), (' not', 1), (' or', 1), (' to', 1), ('be', 2), ('to', 1)]
    """
    if isinstance(texts, str):
        raise TypeError("count_words needs a list or another iterable of texts, got one string. Put it in a list.")
    if isinstance(processes, bool) or not isinstance(processes, int) or processes < 1:
        raise ValueError(f"processes must be a whole number of at least 1, got {processes!r}")
    for name, step, kind in (("normalizer", normalizer, Normalizer), ("pretokenizer", pretokenizer, Pretokenizer)):
        if step is not None and not isinstance(step, kind):
            raise TypeError(
                f"{name} must be a {kind.__name__}, got {step!r}. Names are read by Normalizer.named and "
                "pretokenize.named."
            )
    tally = _Tally(
        Normalizer() if normalizer is None else normalizer,
        Pretokenizer() if pretokenizer is None else pretokenizer,
        special_tokens,
    )
    if processes == 1:
        for text in texts:
            tally.add(text)
    else:
        _count_apart(texts, tally, processes)
    return tally.result()


class _Tally:
    """The counts so far of one process."""

    def __init__(self, normalizer: Normalizer, pretokenizer: Pretokenizer, special_tokens: Sequence[str]) -> None:
        if isinstance(special_tokens, str):
            raise TypeError(f"special_tokens must be a list of spellings, got the string {special_tokens!r}")
        self.how = normalizer, pretokenizer, tuple(special_tokens)
        self.normalizer, self.pretokenizer = normalizer, pretokenizer
        self.special = [AddedToken(token) for token in special_tokens]
        self.continues = (
            pretokenizer.space_safe
            and all(isinstance(step, _ONE_BY_ONE) for step in normalizer.steps)
            and not any(" " in token.content for token in self.special)
        )
        self.words: dict[str, int] = {}
        self.chunks: Counter[str] = Counter()  # without their space
        self.heads: Counter[str] = Counter()  # first chunks of texts

    def add(self, text: str) -> None:
        """Count one text."""
        if not isinstance(text, str):
            raise TypeError(f"a text is a string, got {type(text).__name__}")
        continued = isinstance(text, Continued)
        if continued and not self.continues:
            raise ValueError(
                "pieces of files need a pre-tokenizer that is space_safe, normalisers that do not look beyond a space "
                f"and special tokens without one, got {', '.join(map(repr, self.how))}. Give whole files as texts."
            )
        for position, part in enumerate(parts_of(text, self.special) if self.special else [text]):
            if isinstance(part, str):
                self._add_part(self.normalizer(part), first=position == 0 and not continued)

    def _add_part(self, text: str, first: bool) -> None:
        if not self.pretokenizer.space_safe:
            self._add_words(self.pretokenizer.split(text, first))
            return
        at, is_head = 0, True
        while at <= len(text):  # beyond a cut there is always more text
            cut = SINGLE_SPACE.search(text, at + STRETCH)
            end = cut.start() if cut else len(text)
            chunks = SINGLE_SPACE.split(text[at:end])
            if is_head:
                head = chunks.pop(0)
                if first:
                    self.heads[head] += 1
                else:
                    self._add_words(self.pretokenizer.split(head, False))
            self.chunks.update(chunks)
            if len(self.chunks) + len(self.heads) > CHUNKS:
                self._flush()
            at, is_head = end + 1, False

    def _flush(self) -> None:
        """Turn chunks into words, those that occur equally often together (`tokenize.chunk-counts`)."""
        equally_often: dict[int, list[str]] = {}
        for chunk, count in self.chunks.items():
            if chunk[-1:].isspace():
                self._add_words(self.pretokenizer.split(" " + chunk, False), count)
            else:
                equally_often.setdefault(count, []).append(chunk)
        for count, chunks in equally_often.items():
            for i in range(0, len(chunks), _TOGETHER):
                self._add_words(self.pretokenizer.split(" " + " ".join(chunks[i : i + _TOGETHER]), False), count)
        for head, count in self.heads.items():
            self._add_words(self.pretokenizer.split(head, True), count)
        self.chunks.clear()
        self.heads.clear()

    def _add_words(self, words: list[str], count: int = 1) -> None:
        for word, times in Counter(words).items():
            self.words[word] = self.words.get(word, 0) + times * count

    def result(self) -> dict[str, int]:
        self._flush()
        return self.words


def _count_apart(texts: Iterable[str], tally: _Tally, processes: int) -> None:
    """Deal batches of texts out to other processes, each with a tally of its own, and add those up."""
    with ExitStack() as stack:
        workers = [
            stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin, initargs=(tally.how,)))
            for _ in range(processes)
        ]
        free = deque(workers * 2)  # two batches for each: one to count, one to find when that is done
        busy: dict[Future[None], ProcessPoolExecutor] = {}
        used: set[ProcessPoolExecutor] = set()
        for batch in _batches(texts, tally):
            if not free:
                done, _ = wait(busy, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    free.append(busy.pop(future))
            worker = free.popleft()
            used.add(worker)
            busy[worker.submit(_add_batch, batch)] = worker
        for future in busy:
            future.result()
        for result in [worker.submit(_result) for worker in used]:
            for word, count in result.result().items():
                tally.words[word] = tally.words.get(word, 0) + count


def _batches(texts: Iterable[str], tally: _Tally) -> Iterator[list[str]]:
    """Texts, long ones cut where that is allowed, as lists of about `BATCH` characters."""
    batch: list[str] = []
    size = 0
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"a text is a string, got {type(text).__name__}")
        for part in _cut(text, BATCH) if tally.continues else [text]:
            batch.append(part)
            size += len(part)
            if size >= BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _cut(text: str, size: int) -> Iterator[str]:
    """A text in parts of `size` characters and as many more as the next place to cut is away."""
    at, kind = 0, type(text)
    while safe := _SAFE.search(text, at + size):
        yield kind(text[at : safe.start()])
        at, kind = safe.start(), Continued
    yield kind(text[at:])


_tally: _Tally  # of a process that counts for another


def _begin(how: tuple[Normalizer, Pretokenizer, tuple[str, ...]]) -> None:
    global _tally
    _tally = _Tally(*how)


def _add_batch(batch: list[str]) -> None:
    for text in batch:
        _tally.add(text)


def _result() -> dict[str, int]:
    return _tally.result()


def read_pieces(paths: Iterable[str | os.PathLike[str]], size: int = 1 << 22) -> Iterator[str]:
    """
    The texts of some files, in pieces, one after another (`tokenize.pieces-exact`).

    Parameters
    ----------
    paths
        Names of files in UTF-8. A byte-order mark at the beginning is left out; line ends stay as they are.
    size
        How many bytes to read at a time. A piece is longer where there is no place to cut for so long.

    Yields
    ------
    str
        Pieces, none empty; those that continue the one before are `Continued`, and begin with a space.

    Raises
    ------
    TypeError
        If `paths` is one path.
    ValueError
        If `size` is below one, or a file is no UTF-8.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "text.txt")
    ...     with open(path, "w", encoding="utf-8") as file:
    ...         _ = file.write("one two  three four")
    ...     list(read_pieces([path], size=9))
    ['one', ' two  three', ' four']
    """
    if isinstance(paths, str | os.PathLike):
        raise TypeError(f"read_pieces needs a list of paths, got the one path {str(paths)!r}. Put it in a list.")
    if size < 1:
        raise ValueError(f"size must be at least one byte, got {size}")
    return chain.from_iterable(_pieces_of(Path(path), size) for path in paths)


def _pieces_of(path: Path, size: int) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    kind: type[str] = str
    held: list[str] = []  # read, and not yet yielded
    n_read, at_start = 0, True
    with path.open("rb") as file:
        block = file.read(size)
        while block:
            following = file.read(size)
            try:
                text = decoder.decode(block, final=not following)
            except UnicodeDecodeError as error:
                at = n_read + len(block) - len(error.object) + error.start
                raise ValueError(f"{path} is no text in UTF-8: byte {at} does not fit ({error.reason})") from None
            n_read += len(block)
            if at_start and text:
                text, at_start = text.removeprefix("\ufeff"), False
            cut = _last_cut(text) if following else 0
            if cut:
                yield kind("".join([*held, text[:cut]]))
                kind, held, text = Continued, [], text[cut:]
            held.append(text)
            block = following
    if any(held):
        yield kind("".join(held))


def _last_cut(text: str) -> int:
    """The last place where a piece may end, or 0."""
    at = text.rfind(" ")
    while at > 0 and not _SAFE.match(text, at):
        at = text.rfind(" ", 0, at)
    return max(at, 0)
