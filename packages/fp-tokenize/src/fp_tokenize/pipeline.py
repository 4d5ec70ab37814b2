r"""
The pipeline: normalise, split into words, cut each word, number the pieces; and why most texts need little cutting.

BPE, WordPiece and Unigram differ in how they cut one **word** (a pre-token, `fp_tokenize.pretokenize`). Everything else
is the same for all three and stands here, with the two facts that make Python fast enough: words repeat, so each is
cut once; and so do longer stretches of text.

You need: `fp_tokenize.frame`, `fp_tokenize.normalize`, `fp_tokenize.pretokenize`.

## Four steps

$$\text{text} \xrightarrow{\text{normalise}} \text{text} \xrightarrow{\text{split}} w_1, \dots, w_n
\xrightarrow{\text{cut}} \text{tokens of each } w_k \xrightarrow{\text{number}} \text{ids}. \tag{E1}$$

Let $\kappa(w)$ be the ids of word $w$. Cutting looks at one word at a time, so the ids of a text are

$$\text{encode}(x) = \kappa(w_1)\, \kappa(w_2) \cdots \kappa(w_n). \tag{E2}$$

`SubwordTokenizer.encode_reference` is this line and no more.

**Claim** `tokenize.encode-concatenates`. If the words of $xy$ are the words of $x$ followed by those of $y$, then
$\text{encode}(xy) = \text{encode}(x)\,\text{encode}(y)$. So no token of $xy$ contains characters of both.

**Proof.** By (E2) both sides are $\kappa$ of the words of $x$, then of the words of $y$. A token belongs to one word,
and each word lies in $x$ or in $y$. $\blacksquare$

## Words repeat

By (E2) a table from $w$ to $\kappa(w)$ loses nothing. In natural text it is hit nearly always: the words met once are a
small part of all (Zipf's law, `fp_markov.growth`).

But finding the words is itself the larger part of the work: a regular expression looks at every character. The next
table is keyed by longer stretches that are found faster. Cut the text before each **single space between two
characters that are not spaces**. Call the pieces *chunks*: " the", " mat,\n\nand".

**Claim** `tokenize.chunks-exact`. Let the pre-tokenizer be one for which `tokenize.space-boundary` holds, and
$x = z_0 z_1 \cdots z_m$ the cut of a normalised text into chunks. Then
$\text{encode}(x) = \text{encode}(z_0)\,\text{encode}(z_1) \cdots \text{encode}(z_m)$, where the later chunks are
encoded as text that does not begin the input.

**Proof.** By induction on $m$. For $m = 0$ there is nothing to show. Let $x = y z_m$ with $y = z_0 \cdots z_{m-1}$. The
cut between $y$ and $z_m$ is before a single space between two non-spaces, so `tokenize.space-boundary` says that the
words of $x$ are the words of $y$ followed by those of $z_m$. By `tokenize.encode-concatenates` the ids are those of $y$
followed by those of $z_m$, and by hypothesis the ids of $y$ are those of its chunks. $\blacksquare$

So a table from chunk to ids is exact too, and a whole text is: one split, one look-up a chunk, one concatenation, each
a loop inside the interpreter's C code. The split is `str.split` at every space. That is the cut into chunks if each
space is single and between non-spaces, that is, if no part is empty, begins or ends with white space. Such parts are
never in the table (nor is the last chunk of a text if it ends in white space), so a block in which every part is found
needs no further check; any other block is cut again by the definition. What a table does not know is cut in bulk: all
missing words of a block at once, because the subclasses are faster on many words than on one.

A table is given up for an empty one when its contents reach `CACHE_BYTES` (an estimate), so that a stream of new words
does not fill the memory. Where most chunks of a block are new (random letters, a language without spaces), to
remember them costs more than it brings, and only words are looked up.

## In practice

tiktoken keeps no table and runs a compiled loop for every word; Hugging Face's libraries keep one for words, of 10,000
entries. Both spend most of their time on the regular expression, which is what the chunks avoid.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, count, pairwise

import numpy as np
from jaxtyping import Int32, Int64, Integer

from fp_tokenize.frame import Frame, Inner
from fp_tokenize.normalize import Normalizer
from fp_tokenize.pretokenize import SINGLE_SPACE, Pretokenizer
from fp_tokenize.special import AddedToken, Found, Template, parts_of

__all__ = ["SubwordTokenizer"]  # the order of the page

CACHE_BYTES = 1 << 28  # estimated bytes of each table
BLOCK = 1 << 13  # characters of a block: its chunks stay in the processor's cache between making and look-up
LEARNING = 1 << 17  # the same while there is much to learn: words are cut faster when there are many
MANY = 4096  # words above which looking up what occurs once costs more than cutting it
FEW = 64  # chunks below which remembering them is always worth it

Group = tuple[int, ...]  # ids of a chunk, or of some words
Cut = Callable[[list[str]], tuple[Integer[np.ndarray, " M"], Integer[np.ndarray, " W"]]]


class SubwordTokenizer(Frame):
    """
    The base of BPE, WordPiece and Unigram: everything but the cutting of one word.

    A subclass defines `_cut` (many words, fast), `_cut_reference` (one word, by the definition) and, if its tokens do
    not contribute the bytes of the characters that they cover, `_extents`.

    Parameters
    ----------
    names, contributions, special_tokens, template, drop_space, unknown
        See `fp_tokenize.frame.Frame`.
    normalizer
        What is done to the text first.
    pretokenizer
        How it is split into words.
    """

    def __init__(
        self,
        names: Sequence[str | None],
        contributions: Sequence[bytes],
        *,
        normalizer: Normalizer | None = None,
        pretokenizer: Pretokenizer | None = None,
        special_tokens: Iterable[str | AddedToken] = (),
        template: Template | None = None,
        drop_space: bool = False,
        unknown: int | None = None,
    ) -> None:
        super().__init__(
            names,
            contributions,
            special_tokens=special_tokens,
            template=template,
            drop_space=drop_space,
            unknown=unknown,
        )
        self.normalizer = Normalizer() if normalizer is None else normalizer
        self.pretokenizer = Pretokenizer() if pretokenizer is None else pretokenizer
        self._normalized = {  # added tokens that are searched in the normalised text, as they look there
            token: replace(token, content=self._spelling(token)) for token in self.added_tokens if self._later(token)
        }
        self._words = _Words()
        self._chunks = _Chunks()
        self._numbers = list(range(self.vocab_size))  # one object for each id, in all chunks: few places in memory

    # ---- what a subclass says

    def _cut(self, words: list[str]) -> list[list[int]]:
        """Ids of each of some words, none empty."""
        return [self._cut_reference(word) for word in words]

    def _cut_flat(self, words: list[str]) -> tuple[Integer[np.ndarray, " M"], Integer[np.ndarray, " W"]]:
        """The same one behind the other, and how many each word has."""
        groups = self._cut(words)
        return np.fromiter(chain.from_iterable(groups), np.int64), np.array(list(map(len, groups)), np.int64)

    def _cut_reference(self, word: str) -> list[int]:
        """Ids of one word, by the definition."""
        raise NotImplementedError(f"{type(self).__name__} does not say how a word is cut")

    def _extents(self, word: str, ids: list[int]) -> list[tuple[int, int]]:
        """The characters of `word` that each id covers: here, those to which its bytes belong."""
        owner = [i for i, character in enumerate(word) for _ in character.encode()]  # character of each byte
        extents, at = [], 0
        for token_id in ids:
            end = at + len(self._bytes[token_id])
            extents.append((owner[at], owner[end - 1] + 1) if end > at else (0, 0))
            at = end
        return extents

    # ---- text to ids

    def words(self, text: str) -> list[str]:
        """The words of a text, normalised and split, special tokens read as text."""
        return self.pretokenizer.split(self.normalizer(text))

    def encode_reference(self, text: str) -> list[int]:
        """The ids of a text by (E2), without tables: what `encode` must return, slowly."""
        return [token_id for word in self.words(text) for token_id in self._cut_reference(word)]

    def _ids(self, text: str, first: bool, inner: Inner) -> list[int]:
        ids: list[int] = []
        for groups in self._blocks(text, first, inner):
            ids.extend(chain.from_iterable(groups))
        return ids

    def _blocks(self, text: str, first: bool, inner: Inner) -> Iterator[Iterable[Group]]:
        """The ids of a text as blocks of groups, in order."""
        text = self.normalizer(text)
        if not inner:
            yield from self._plain(text, first)
            return
        for position, part in enumerate(self._normalized_parts(text, inner)):
            if isinstance(part, str):
                yield from self._plain(part, first and position == 0)
            else:
                yield [(self._found(part),)]

    def _plain(self, text: str, first: bool) -> Iterator[Iterable[Group]]:
        """The same without added tokens."""
        cut = SINGLE_SPACE.search(text) if self.pretokenizer.space_safe else None
        yield self._by_words(self.pretokenizer.split(text[: cut.start()] if cut else text, first))
        size, odd = LEARNING, False
        while cut:
            start = cut.end()
            cut = SINGLE_SPACE.search(text, start + size)
            block = text[start : cut.start()] if cut else text[start:]
            if size > LEARNING:  # the last block had little repetition: this one is not even looked up
                yield self._by_words(self.pretokenizer.split(" " + block, False))
                size = LEARNING
            elif size == BLOCK and not odd and (known := self._known(block)) is not None:
                yield known
            else:
                groups, size, odd = self._by_chunks(block, odd)
                yield groups

    def _known(self, block: str) -> list[Group] | None:
        """Ids of a block of text, which follows a space, if what is between its spaces are chunks in the table."""
        groups = list(map(self._chunks.groups.get, block.split(" ")))
        return None if None in groups else groups  # type: ignore[return-value]

    def _by_words(self, words: list[str]) -> list[Group]:
        """Ids of some words as a single group: looked up, or all cut if most of them occur once."""
        if not words:
            return []
        rare = len(words) > MANY and 2 * len(set(words)) > len(words)
        ids, _ = self._cut_flat(words) if rare else self._looked_up(words)
        return [tuple(ids.tolist())]

    def _looked_up(self, words: list[str]) -> tuple[Int32[np.ndarray, " M"], Int64[np.ndarray, " W"]]:
        """Ids of some words, one behind the other, and how many each has; unknown words are cut in bulk."""
        if self._words.size > CACHE_BYTES:
            self._words = _Words()
        return self._words.look_up(words, self._cut_flat)

    def _by_chunks(self, block: str, odd: bool) -> tuple[Iterable[Group], int, bool]:
        """
        Ids of a block of text, which follows a space, by its chunks, which are learnt if they repeat.

        Also how large the next block should be, and whether spaces in this one are no boundaries of chunks; `odd` says
        that of the last block.
        """
        table = self._chunks
        chunks = SINGLE_SPACE.split(block) if odd else block.split(" ")
        missing = set(chunks).difference(table.groups)
        if not odd and any(not chunk or chunk[0].isspace() or chunk[-1].isspace() for chunk in missing):
            chunks, odd = SINGLE_SPACE.split(block), True
            missing = set(chunks).difference(table.groups)
        end: list[Group] = []
        if chunks[-1][-1:].isspace():  # of a text; never learnt, for a space behind it would be no boundary
            missing.discard(chunks[-1])
            end = self._by_words(self.pretokenizer.split(" " + chunks.pop(), False))
        if 2 * len(missing) > len(chunks) > FEW:  # little repetition
            return self._by_words(self.pretokenizer.split(" " + block, False)), 8 * LEARNING, odd
        size = LEARNING if missing else BLOCK
        if missing:
            if table.size > CACHE_BYTES:
                table = self._chunks = _Chunks()
                missing = set(chunks)
            self._learn_chunks(list(missing), table)
        return chain(map(table.groups.__getitem__, chunks), end), size, odd and "  " in block

    def _learn_chunks(self, chunks: list[str], table: "_Chunks") -> None:
        if self.pretokenizer.keeps_length:  # all at once: the words of a chunk end where the chunk does
            words = self.pretokenizer.split(" " + " ".join(chunks), False)
            ends = np.cumsum(np.fromiter(map(len, words), np.int64, len(words)))
            last = np.searchsorted(ends, np.cumsum([1 + len(chunk) for chunk in chunks]))
        else:
            split = [self.pretokenizer.split(" " + chunk, False) for chunk in chunks]
            words = list(chain.from_iterable(split))
            last = np.cumsum(list(map(len, split))) - 1
        ids, counts = self._looked_up(words)
        flat, ends = tuple(map(self._numbers.__getitem__, ids.tolist())), np.append(0, np.cumsum(counts))[1 + last]
        table.learn(chunks, (flat[start:end] for start, end in pairwise([0, *ends.tolist()])))

    # ---- added tokens that are searched in the normalised text

    def _later(self, token: AddedToken) -> bool:
        return token.normalized and bool(self.normalizer.steps)

    def _normalized_parts(self, text: str, inner: Inner) -> list[str | Found]:
        """A normalised text cut at its added tokens, whose spellings are normalised too."""
        return parts_of(text, [self._normalized[token] for token in inner])

    def _spelling(self, token: AddedToken) -> str:
        """An added token's normalised spelling."""
        content = self.normalizer(token.content)
        if not content.strip():
            raise ValueError(
                f"the normaliser leaves nothing of the added token {token.content!r}, so no text would ever hold it. "
                "Give it normalized=False."
            )
        return content

    def _found(self, part: Found) -> int:
        """The id of an added token by its normalised spelling."""
        return next(
            self._id_of[token.content]
            for token, normalized in self._normalized.items()
            if normalized.content == part.token.content
        )

    # ---- offsets

    def _pieces(self, text: str, first: bool, inner: Inner) -> Iterator[tuple[int, int, int]]:
        normalized, spans = self.normalizer.aligned(text)
        at = 0
        for position, part in enumerate(self._normalized_parts(normalized, inner) if inner else [normalized]):
            if isinstance(part, Found):
                yield self._found(part), *covered(spans, part.start, part.end, len(text))
                at = part.end
                continue
            for word, start, end in self.pretokenizer.pieces(part, first and position == 0):
                ids = list(self._cut([word])[0])
                added = len(word) - (end - start)  # characters that splitting put in front
                for token_id, (a, b) in zip(ids, self._extents(word, ids), strict=True):
                    left, right = at + start + max(a - added, 0), at + start + max(b - added, 0)
                    yield token_id, *covered(spans, left, right, len(text))
            at += len(part)


def in_groups(ids: Integer[np.ndarray, " M"], counts: Integer[np.ndarray, " W"]) -> list[Group]:
    """Ids that stand one behind the other, as a group for each word."""
    flat = tuple(ids.tolist())
    return [flat[start:end] for start, end in pairwise([0, *np.cumsum(counts).tolist()])]


def covered(spans: list[tuple[int, int]], left: int, right: int, end: int) -> tuple[int, int]:
    """The original characters of the normalised text's `left` to `right`; `end` is the original's length."""
    if left < right:
        return spans[left][0], spans[right - 1][1]
    at = spans[left][0] if left < len(spans) else end
    return at, at


class _Chunks:
    """Chunks and their ids. A full table is replaced, never emptied, so that readers in other threads can go on."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}  # a plain dictionary: `set.difference` looks up in no other kind
        self.size = 0  # estimated bytes

    def learn(self, strings: list[str], groups: Iterable[Group]) -> None:
        """Take up strings and their ids."""
        self.size += 12 * sum(map(len, strings)) + 200 * len(strings)
        self.groups.update(zip(strings, groups, strict=True))


class _Words:
    """
    Words and their ids, without an object for each: a word has a row, a row says where its ids are in one array.

    So a text is looked up by one dictionary access a word, and its ids are gathered by NumPy.
    """

    def __init__(self) -> None:
        self.row: defaultdict[str, int] = defaultdict(count().__next__)  # a new word gets the next row
        self.ids, self.starts, self.counts = np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64)
        self.size = 0  # estimated bytes
        self.lock = threading.Lock()

    def look_up(self, words: list[str], cut: Cut) -> tuple[Int32[np.ndarray, " M"], Int64[np.ndarray, " W"]]:
        """Ids of some words, one behind the other, and how many each has; `cut` does so for words that are new."""
        with self.lock:
            rows = np.fromiter(map(self.row.__getitem__, words), np.int64, len(words))
            known = len(self.starts)
            if len(self.row) > known:
                self._learn(words, rows, cut)
            counts, place = self.counts.take(rows), self.starts.take(rows)
            place -= np.cumsum(counts) - counts
            at = np.repeat(place, counts)
            at += np.arange(len(at))
            return self.ids.take(at), counts

    def _learn(self, words: list[str], rows: Int64[np.ndarray, " W"], cut: Cut) -> None:
        known = len(self.starts)
        places = np.flatnonzero(rows >= known)[::-1]
        first = np.empty(len(self.row) - known, np.int64)
        first[rows[places] - known] = places  # of several places the last one written, the first in the text
        fresh = [words[place] for place in first.tolist()]
        try:
            ids, counts = cut(fresh)
        except BaseException:
            for word in fresh:
                del self.row[word]
            self.row.default_factory = count(known).__next__
            raise
        self.starts = np.append(self.starts, np.cumsum(counts) - counts + len(self.ids))
        self.counts = np.append(self.counts, counts)
        self.ids = np.append(self.ids, ids.astype(np.int32))
        self.size += 4 * len(ids) + sum(map(len, fresh)) + 150 * len(fresh)
