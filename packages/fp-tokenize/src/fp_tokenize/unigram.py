r"""
Unigram: cutting by the most probable segmentation.

BPE remembers how it was trained and replays it. Unigram remembers only what it believes: a probability for each piece.
A word is cut in the way that is most probable. So pieces can be added, removed and re-weighted one by one, every way of
cutting a word has a probability, and the second best is there when it is wanted.

You need: `fp_tokenize.lattice`, `fp_tokenize.pipeline`.

## A word is drawn piece by piece

Each piece $x$ has a probability $p_x$ and the score $s_x = \ln p_x$. The model draws pieces independently of each
other: a sequence $x_1, \dots, x_m$ has the probability $\prod_k p_{x_k}$, whence the name. Several sequences spell the
same word. They are the paths of its lattice (`fp_tokenize.lattice`), and

$$
\text{encode}(w) = \arg\max_{\pi} \sum_{x \in \pi} s_x, \qquad
P(w) = \sum_\pi \prod_{x \in \pi} p_x, \qquad \text{(E1)}
$$

with ties as in `tokenize.viterbi`. The best segmentation bounds the probability from below (`tokenize.best-and-all`,
and `tokenize.segmentation-bound` for any model). The probabilities are learnt in `fp_tokenize.unigram_training`.

>>> pieces = [
...     ("<unk>", 0.0),
...     ("▁", -3.0),
...     ("h", -4.0),
...     ("u", -4.0),
...     ("g", -4.0),
...     ("s", -3.0),
...     ("▁h", -3.5),
...     ("ug", -4.5),
...     ("▁hug", -5.0),
...     ("gs", -5.0),
... ]
>>> tokenizer = UnigramTokenizer(pieces)
>>> for ids, score in tokenizer.n_best("hugs", 3):
...     print([tokenizer.id_to_token(i) for i in ids], score)
['▁hug', 's'] -8.0
['▁h', 'ug', 's'] -11.0
['▁h', 'u', 'gs'] -12.5
>>> round(tokenizer.log_likelihood("hugs"), 3)
-7.938

## Characters that are no pieces

A character that is no piece by itself gets an edge of its own, the **unknown** edge, with the score

$$s_{\text{unknown}} = \min_x s_x - 10, \qquad \text{(E2)}$$

so that every word has a segmentation, in which these edges are the last resort. In the ids, a run of unknown
edges becomes one id, that of the unknown token; or, with `byte_fallback`, the ids of the bytes of these characters,
written `<0x00>` to `<0xFF>`.

>>> tokenizer.encode("hugé?s"), tokenizer.decode(tokenizer.encode("hugé?s"))
([8, 0, 5], 'hug\ufffds')

## Where a text may be cut

A text is split into words before it is cut into pieces. For BPE this changes the result; here it does so only if a
piece lies across.

**Claim** `tokenize.cut-places`. Let no edge of a lattice lead over the place $p$: $i < p < j$ for no edge $(i, j)$.
Then its segmentations are the segmentations of the part before $p$, each followed by each of those of the part behind.
The best is the best of each part, ties included; $\ln Z$ is the sum of those of the parts; and to draw a segmentation
is to draw one of each part, independently.

**Proof.** On a path from $0$ to $n$ take the last edge that begins before $p$. The next edge begins at its end, not
before $p$; and the end is not behind $p$, as no edge leads over it. So it is $p$: every path stops there, and consists
of a path $\pi'$ to $p$ and a path $\pi''$ from it; any two such paths make one. Its score is $s(\pi') + s(\pi'')$,
which is greatest if and only if both terms are. Among such, the rule of `tokenize.viterbi` compares the last pieces
first, which are those of $\pi''$, then those of $\pi'$: it takes in each part the one that it would take there. The
probabilities multiply, so $Z = \sum_{\pi'} \sum_{\pi''} P(\pi') P(\pi'') = Z' Z''$ and $\frac{P(\pi)}{Z} =
\frac{P(\pi')}{Z'} \frac{P(\pi'')}{Z''}$, which is independence. $\blacksquare$

If no piece contains `▁` (the mark for a space) behind its first character, no edge leads over the place before a `▁`,
so splitting at spaces changes nothing. Vocabularies trained on words have this property. The same claim lets the fast
search begin anew wherever no piece crosses, in Chinese every few characters, and cut all these stretches at once.

## Sums without rounding

Ties are common: "a|aa" and "aa|a" always have the same score. Rounding must not decide them at random.

**Claim** `tokenize.exact-sums`. Let every score be a multiple of $2^{-q}$ with $0 \le q \le 1000$, and let the score of
every path from $0$, to any place, be less than $2^{53 - q}$ in size. Then all sums in double precision are exact, so
the segmentation found is (E1) with its rule for ties, wherever the sums begin.

**Proof.** A number $k \cdot 2^{-q}$ with a whole $|k| < 2^{53}$ has at most 53 binary digits, and $q$ keeps it in
range: it is a number in double precision. Sums of multiples of $2^{-q}$ are such multiples. So, by induction along the
path, each sum of two exact numbers is itself a number in double precision, and addition, which returns the nearest one
to the true sum, returns the sum. $\blacksquare$

Scores of 24 bits, as SentencePiece stores them, are multiples of $2^{-22}$ if none is smaller than 2 in size, and sums
up to two thousand million are exact. The training of this chapter makes them multiples of $2^{-32}$. Scores of 53 bits
leave no such room: of two segmentations that should tie, the last bit of a rounded sum may prefer one. Then the sums
begin at the word's beginning, as in Hugging Face's library, so that at least both have the same bits.

>>> (-0.1 + -0.2) + -0.3 == -0.1 + (-0.2 + -0.3)
False

## And back

**Claim** `tokenize.unigram-round-trip`. Let the text be unchanged by the normaliser, be split by Metaspace with a space
put in front, not begin with a space, and contain no `▁`. If each of its characters and `▁` are pieces by themselves, or
all 256 bytes are pieces and `byte_fallback` is on, then `decode(encode(text)) == text`.

**Proof.** Metaspace turns the text into `▁` followed by the text with `▁` for every space, and cuts that into words
without loss. The pieces and unknown characters of a segmentation put together are the word. Each piece contributes
itself with a space for `▁`. If every character is a piece there are no unknown edges; otherwise each unknown character
contributes the bytes of its UTF-8 form. So all ids together contribute the text behind one space, and `decode` leaves
out one leading space. $\blacksquare$

## In practice

T5, ALBERT, XLNet, mBART and other multilingual models use Unigram by SentencePiece. There a word's place in the text
matters in rare cases (`fp_tokenize.single_precision`, `single_precision=True` here), a run of unknown characters that
goes over a space is still one id, symbols given by the user get the score $(\text{bytes} - 1) / 10$, and an unknown
token is decoded to " ⁇ ". Hugging Face's library gives the ids of this section with sums of 64 bits. Two differences:
text that spells a byte piece, "<0x41>", is cut into it there, and is text here; and an empty vocabulary is refused
here.

References: T. Kudo, "Subword regularization", 2018; T. Kudo and J. Richardson, "SentencePiece", 2018.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import nlargest
from typing import Any

import numpy as np
from jaxtyping import Int

from fp_tokenize import lattice
from fp_tokenize._viterbi import SMALL, Search, Steps, in_lists
from fp_tokenize.frame import Inner, as_ids, check_text
from fp_tokenize.normalize import Normalizer
from fp_tokenize.pipeline import Group, SubwordTokenizer, covered, in_groups
from fp_tokenize.pretokenize import METASPACE, Metaspace, Pretokenizer
from fp_tokenize.protocol import Ids
from fp_tokenize.special import AddedToken, Found, Template

__all__ = ["UnigramTokenizer"]  # the order of the page

PENALTY = 10.0  # (E2)
BYTE_NAMES = tuple(f"<0x{b:02X}>" for b in range(256))
LATTICES = 1 << 14  # words whose lattices are kept for drawing


class UnigramTokenizer(SubwordTokenizer):
    """
    Pieces with probabilities.

    Parameters
    ----------
    pieces
        Each piece with its score in nats, in the order of their ids. A piece with the score minus infinity is never
        used. Special tokens, the unknown token and, with `byte_fallback`, `<0x00>` to `<0xFF>` are no pieces of text,
        whatever their score.
    unknown
        The id of the unknown token; without one, text that needs it is an error.
    byte_fallback
        Whether to write unknown characters as the ids of their bytes, where all of these exist.
    user_defined
        Pieces that get the score (bytes - 1) / 10 in place of their own: more than others, so that they are nearly
        always used.
    single_precision
        Whether to add scores as SentencePiece does (`fp_tokenize.single_precision`).
    space
        The character that stands for a space in the pieces.
    normalizer, pretokenizer, special_tokens, template
        See `fp_tokenize.pipeline.SubwordTokenizer`; splits at spaces by default.
    drop_space
        Whether decoding leaves out one leading space; by default, if the pre-tokenizer puts one in front.

    Raises
    ------
    ValueError
        If there is no piece to cut text with, a piece is empty or there twice, a score is NaN or plus infinity, or an
        argument does not fit the pieces.

    Examples
    --------
    >>> tokenizer = UnigramTokenizer([("<unk>", 0.0), ("▁", -2.0), ("a", -1.5), ("▁a", -2.5), ("aa", -2.0)])
    >>> ids = tokenizer.encode("a aaa")
    >>> [tokenizer.id_to_token(i) for i in ids], tokenizer.decode(ids)
    (['▁a', '▁a', 'aa'], 'a aaa')
    """

    def __init__(
        self,
        pieces: Sequence[tuple[str, float]],
        *,
        unknown: int | None = 0,
        byte_fallback: bool = False,
        user_defined: Iterable[str] = (),
        single_precision: bool = False,
        space: str = "▁",
        normalizer: Normalizer | None = None,
        pretokenizer: Pretokenizer | None = None,
        special_tokens: Iterable[str | AddedToken] = (),
        template: Template | None = None,
        drop_space: bool | None = None,
    ) -> None:
        pieces = [(name, float(score)) for name, score in pieces]
        names: list[str] = [name for name, _ in pieces]
        self.user_defined = frozenset(user_defined)
        _check(pieces, unknown, self.user_defined, space)
        pretokenizer = METASPACE if pretokenizer is None else pretokenizer
        if drop_space is None:
            marks = [step for step in pretokenizer.steps if isinstance(step, Metaspace)]
            drop_space = any(step.prepend_scheme != "never" for step in marks)
        contributions = [name.replace(space, " ").encode() for name in names]
        self.byte_fallback, self.space, self.pieces = byte_fallback, space, pieces
        if byte_fallback:
            byte_of = {name: bytes([b]) for b, name in enumerate(BYTE_NAMES)}
            contributions = [byte_of.get(name, data) for name, data in zip(names, contributions, strict=True)]
        if unknown is not None:
            contributions[unknown] = "\ufffd".encode()
        super().__init__(
            names,
            contributions,
            normalizer=normalizer,
            pretokenizer=pretokenizer,
            special_tokens=special_tokens,
            template=template,
            drop_space=drop_space,
            unknown=unknown,
        )
        ordinary = self.ordinary
        self._byte_ids = [ordinary.get(name) for name in BYTE_NAMES] if byte_fallback else [None] * 256
        self.scores, self.unknown_score = self._scored(single_precision)
        names, ids = list(self.scores), [self._id_of[name] for name in self.scores]
        self._search = Search(names, list(self.scores.values()), ids, self.unknown_score)
        self._single = None
        if single_precision:
            from fp_tokenize.single_precision import SinglePrecision  # here, because few need it

            self._single = SinglePrecision(self._search)
        self._drawers: dict[tuple[str, float], Callable[[np.random.Generator], list[int]]] = {}

    @property
    def single_precision(self) -> bool:
        """Whether scores are added as SentencePiece does."""
        return self._single is not None

    def _scored(self, single: bool) -> tuple[dict[str, float], float]:
        """The pieces that text can be cut into, with their scores, and the score of the unknown (E2)."""
        rounded: Callable[[float], float] = (lambda x: float(np.float32(x))) if single else float
        own = [rounded(score) for name, score in self.pieces if name not in self.user_defined and score > -math.inf]
        unknown = rounded(min(own, default=0.0) - PENALTY)
        no_text = {*self.special_tokens, *(BYTE_NAMES if self.byte_fallback else ())}
        if self.unknown is not None:
            no_text.add(self.pieces[self.unknown][0])
        scores = {}
        for name, score in self.pieces:
            if name in self.user_defined:
                scores[name] = rounded(0.1 * (len(name.encode()) - 1))
            elif score > -math.inf and name not in no_text:
                scores[name] = rounded(score)
        if not scores:
            raise ValueError("none of the pieces can stand for text: they are special, unknown, bytes or of score -inf")
        return scores, unknown

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = (),
        *,
        unknown: str = "<unk>",
        normalizer: Normalizer | None = None,
        pretokenizer: Pretokenizer | None = None,
        template: Template | None = None,
        processes: int = 1,
        progress: Callable[[int, int], None] | None = None,
        **settings: Any,
    ) -> "UnigramTokenizer":
        """
        Learn pieces and probabilities from texts (`fp_tokenize.unigram_training`).

        Parameters
        ----------
        texts
            Any number of texts, read once.
        vocab_size
            How many tokens, special ones included.
        special_tokens
            They get the first ids. The unknown token is put before them if it is not among them.
        unknown
            The name of the unknown token.
        normalizer, pretokenizer
            What is done to a text before it is cut.
        template
            What `encode` puts around a text when asked.
        processes
            On how many processes words are counted.
        progress
            Called with the steps done and their number.
        settings
            Passed on to `fp_tokenize.unigram_training.train_unigram`.

        Raises
        ------
        ValueError
            If training is not possible with these texts and this size.
        """
        from fp_tokenize.unigram_training import train_unigram  # here, because encoding does not need it
        from fp_tokenize.words import count_words

        if isinstance(special_tokens, str):
            raise TypeError(f"special_tokens must be a list of names, got the string {special_tokens!r}")
        special = [*special_tokens] if unknown in special_tokens else [unknown, *special_tokens]
        pretokenizer = METASPACE if pretokenizer is None else pretokenizer
        counts = count_words(texts, normalizer, pretokenizer, processes, special)
        pieces = train_unigram(counts, vocab_size, special, progress=progress, **settings)
        return cls(
            pieces,
            unknown=special.index(unknown),
            normalizer=normalizer,
            pretokenizer=pretokenizer,
            special_tokens=special,
            template=template,
        )

    def __repr__(self) -> str:
        return f"UnigramTokenizer({self.vocab_size} tokens, {len(self.scores)} pieces)"

    # ---- cutting

    def _cut(self, words: list[str]) -> list[list[int]]:
        if self._single is None and sum(map(len, words)) >= SMALL:
            return in_lists(*self._cut_flat(words))
        paths, gaps = self._search.many(words, self._single is not None)
        if self._single is not None:
            self._single.remember(words, paths, gaps)
        return [self._spelled(word, path) if -1 in path else path for word, path in zip(words, paths, strict=True)]

    def _cut_flat(self, words: list[str]) -> tuple[Int[np.ndarray, " M"], Int[np.ndarray, " W"]]:
        """`_cut` in arrays, unknown characters included."""
        if self._single is not None:
            return super()._cut_flat(words)
        steps, counts, characters, _ = self._search.flat(words)
        lost = steps < 0
        if not len(characters):
            return steps, counts
        word_of = np.repeat(np.arange(len(words)), counts)
        if not self.byte_fallback and self.unknown is not None:  # one id for each run
            again = np.zeros_like(lost)
            again[1:] = lost[1:] & lost[:-1] & (word_of[1:] == word_of[:-1])
            ids = np.where(lost, self.unknown, steps)[~again]
            return ids, np.bincount(word_of[~again], minlength=len(words))
        if None not in self._byte_ids:
            text = "".join(map(chr, characters.tolist()))
            width = np.ones(len(steps), np.int64)
            width[lost] = [len(character.encode()) for character in text]
            ids = np.repeat(steps, width)
            ids[ids < 0] = np.array(self._byte_ids, np.int64)[np.frombuffer(text.encode(), np.uint8)]
            return ids, np.bincount(word_of, weights=width, minlength=len(words)).astype(np.int64)
        cut = [self._spelled(word, path) for word, path in zip(words, in_lists(steps, counts), strict=True)]
        return np.array([i for ids in cut for i in ids], np.int64), np.array(list(map(len, cut)), np.int64)

    def _cut_reference(self, word: str) -> list[int]:
        """(E1) by `fp_tokenize.lattice`."""
        _, places = lattice.best(lattice.edges_of(word, self.scores, self.unknown_score))
        return self._spelled(word, self._steps(lattice.pieces(word, places)))

    def _steps(self, parts: list[str]) -> Steps:
        """The ids of pieces, and -1 for unknown characters."""
        return [self._id_of[part] if part in self.scores else -1 for part in parts]

    def _spelled(self, word: str, path: Steps) -> list[int]:
        """The ids of a segmentation, unknown characters included."""
        if self.unknown is not None and not self.byte_fallback:  # one id for each run of -1
            before = [0, *path]
            return [self.unknown if i < 0 else i for i, j in zip(path, before, strict=False) if i >= 0 or j >= 0]
        return [token_id for token_id, _, _ in self._spans(word, path)]

    def _spans(self, word: str, path: Steps) -> Iterator[tuple[int, int, int]]:
        """The same, each with the characters of the word that it covers."""
        at = k = 0
        while k < len(path):
            if path[k] >= 0:
                end = at + len(self.pieces[path[k]][0])
                yield path[k], at, end
                k += 1
            else:
                run = k
                while k < len(path) and path[k] < 0:
                    k += 1
                end = at + k - run
                yield from self._unknown_spans(word, at, end)
            at = end

    def _unknown_spans(self, word: str, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        ids = [(self._byte_ids[b], i) for i in range(start, end) for b in word[i].encode()]
        if all(token_id is not None for token_id, _ in ids):
            yield from ((token_id, i, i + 1) for token_id, i in ids)  # type: ignore[misc]
        elif self.unknown is not None:
            yield self.unknown, start, end
        else:
            raise ValueError(
                f"no piece covers {word[start]!r} and there is no unknown token to stand for it. Build the tokenizer "
                "with one, or with bytes to fall back on."
            )

    def _extents(self, word: str, ids: list[int]) -> list[tuple[int, int]]:
        return [(a, b) for _, a, b in self._spans(word, self._search.one(word)[0])]

    # ---- with the sums of SentencePiece

    def _plain(self, text: str, first: bool) -> Iterator[Iterable[Group]]:
        if self._single is None:
            yield from super()._plain(text, first)
            return
        words = self.pretokenizer.split(text, first)
        each = in_groups(*self._looked_up(words))
        groups = self._single.corrected(words, each, self._spelled)
        yield self._joined(groups) if self._runs_over_spaces else groups

    @property
    def _runs_over_spaces(self) -> bool:
        return self._single is not None and not self.byte_fallback and self.space not in self.scores

    def _joined(self, groups: Iterable[Group]) -> Iterator[Group]:
        """Runs of unknown characters that go over the beginning of a word become one id too."""
        open_run = False
        for group in groups:
            if open_run and group[0] == self.unknown:
                group = group[1:]
            yield group
            open_run = group[-1] == self.unknown if group else open_run

    def encode_reference(self, text: str) -> list[int]:
        """The ids of a text without tables, slowly: each word by `fp_tokenize.lattice`, or by SentencePiece's sums."""
        if self._single is None:
            return super().encode_reference(text)
        words = self.words(text)
        groups = (tuple(self._spelled(*found)) for found in zip(words, self._single.paths(words), strict=True))
        return [
            token_id for group in (self._joined(groups) if self._runs_over_spaces else groups) for token_id in group
        ]

    def _pieces(self, text: str, first: bool, inner: Inner) -> Iterator[tuple[int, int, int]]:
        if self._single is None:
            yield from super()._pieces(text, first, inner)
            return
        normalized, spans = self.normalizer.aligned(text)
        at = 0
        for position, part in enumerate(self._normalized_parts(normalized, inner) if inner else [normalized]):
            if isinstance(part, Found):
                yield self._found(part), *covered(spans, part.start, part.end, len(text))
                at = part.end
            else:
                for token_id, left, right in self._row(part, first and position == 0):
                    yield token_id, *covered(spans, at + left, at + right, len(text))
                at += len(part)

    def _row(self, part: str, first: bool) -> list[tuple[int, int, int]]:
        """The ids of words that follow each other, each with the characters of the text that it covers."""
        assert self._single is not None
        words = self.pretokenizer.pieces(part, first)
        row: list[tuple[int, int, int]] = []
        for (word, start, end), path in zip(words, self._single.paths(word for word, _, _ in words), strict=True):
            added = len(word) - (end - start)  # characters that splitting put in front
            for token_id, a, b in self._spans(word, path):
                left, right = start + max(a - added, 0), start + max(b - added, 0)
                if a == 0 and self._runs_over_spaces and row and row[-1][0] == token_id == self.unknown:
                    row[-1] = token_id, row[-1][1], right
                else:
                    row.append((token_id, left, right))
        return row

    # ---- all segmentations

    def _edges(self, word: str) -> lattice.Edges:
        return lattice.edges_of(word, self.scores, self.unknown_score)

    def score(self, ids: Ids) -> float:
        """
        The score of a sequence of ids: the logarithm of its probability.

        Parameters
        ----------
        ids
            Ids of pieces; an unknown token counts as one unknown character, and the bytes of an unknown character
            together count as that character.

        Returns
        -------
        float
            In nats.

        Raises
        ------
        ValueError
            If an id stands for no text, or lies outside the vocabulary.
        """
        total = 0.0
        for position, i in enumerate(as_ids(ids, self.vocab_size).tolist()):
            name = self.names[i] or ""
            if name in self.scores:
                total += self.scores[name]
            elif i == self.unknown or (self.byte_fallback and name in BYTE_NAMES):
                continues = i != self.unknown and 0x80 <= self._bytes[i][0] < 0xC0  # not the first byte of a character
                total += 0.0 if continues else self.unknown_score
            else:
                raise ValueError(
                    f"id {i} at position {position} is {name!r}, which is no piece of text and has no score"
                )
        return total

    def log_likelihood(self, text: str) -> float:
        """
        The logarithm of the probability of a text's words, over all segmentations (E1), in nats.

        Divided by the bytes of the text, its negative is a loss that does not depend on how the text is cut
        (`tokenize.segmentation-bound`).
        """
        counts = Counter(self.words(text))
        return math.fsum(n * lattice.log_likelihood(self._edges(word)) for word, n in counts.items())

    def n_best(self, text: str, n: int) -> list[tuple[list[int], float]]:
        """
        The `n` best segmentations of a text, best first.

        Parameters
        ----------
        text
            The text; special tokens in it are text.
        n
            At least one.

        Returns
        -------
        list of tuple
            Ids and score in nats; fewer than `n` if there are not so many.
        """
        combined: list[tuple[float, Any]] = [(0.0, None)]  # score, and the ids as a chain of words from the last
        for word in self.words(text):
            ways = [
                (score, self._spelled(word, self._steps(lattice.pieces(word, places))))
                for score, places in lattice.n_best(self._edges(word), n)
            ]
            # by tokenize.cut-places the best of the whole are made of the best of the parts
            combined = nlargest(n, ((a + b, (x, y)) for a, x in combined for b, y in ways), key=lambda way: way[0])
        return [(_unchained(ids), score) for score, ids in combined]

    def sample(self, text: str, rng: np.random.Generator, alpha: float | int = 1.0) -> list[int]:
        """
        The ids of a random segmentation of a text.

        Parameters
        ----------
        text
            The text; special tokens in it are text.
        rng
            Where the randomness comes from.
        alpha
            Segmentations are drawn in proportion to the power `alpha` of their probability: 0 is uniform, 1 the
            posterior, large values the best one. See `fp_tokenize.regularization`.

        Raises
        ------
        ValueError
            If `alpha` is negative or not finite.

        Examples
        --------
        >>> tokenizer = UnigramTokenizer([("<unk>", 0.0), ("▁", -2.0), ("a", -1.5), ("▁a", -2.5), ("aa", -2.0)])
        >>> rng = np.random.default_rng(1)
        >>> for _ in range(3):
        ...     print([tokenizer.id_to_token(i) for i in tokenizer.sample("aaa", rng)])
        ['▁', 'a', 'aa']
        ['▁', 'aa', 'a']
        ['▁', 'aa', 'a']
        """
        ids: list[int] = []
        for word in self.words(text):
            draw = self._drawers.get((word, alpha))
            if draw is None:
                if len(self._drawers) >= LATTICES:
                    self._drawers.clear()
                draw = self._drawers[word, alpha] = lattice.drawer(lattice.tempered(self._edges(word), alpha))
            ids.extend(self._spelled(word, self._steps(lattice.pieces(word, draw(rng)))))
        return ids


def _unchained(chain: Any) -> list[int]:
    """The ids of a chain of words, first word first."""
    words = []
    while chain is not None:
        chain, ids = chain
        words.append(ids)
    return [i for ids in reversed(words) for i in ids]


def _check(pieces: Sequence[tuple[str, float]], unknown: int | None, user_defined: frozenset[str], space: str) -> None:
    for name, score in pieces:
        if not name:
            raise ValueError("a piece is at least one character, got an empty one")
        check_text(name)
        if not score < math.inf:
            raise ValueError(f"scores are logarithms of probabilities, got {score} for the piece {name!r}")
    if unknown is not None and not 0 <= unknown < len(pieces):
        raise ValueError(f"the unknown token must be one of the {len(pieces)} pieces, got the id {unknown}")
    missing = user_defined.difference(name for name, _ in pieces)
    if missing:
        raise ValueError(f"user-defined pieces must be among the pieces, {min(missing)!r} is not")
    if len(space) != 1:
        raise ValueError(f"one character stands for a space, got {space!r}")
