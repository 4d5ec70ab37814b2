r"""
BPE: a tokenizer made of merges.

Everything is at hand: a frame that turns a text into words, a list of merges, and a fast way to apply it. What is left
are the ends: how a word becomes the first symbols, what happens to characters for which there are none, and how a token
is spelled in a file. That is where byte-pair tokenizers differ from each other, and where copies of them go wrong.

You need: `fp_tokenize.pipeline`, `fp_tokenize.bpe_encoding`, `fp_tokenize.bpe_training`.

## From words to ids

A word becomes its **first symbols**, one for each of its bytes (`alphabet="bytes"`) or characters
(`alphabet="characters"`); the list of merges turns these into tokens, in rank order (`fp_tokenize.merges`, (E2)). A
merge is written as two names, and its result is the token whose name is the two written together. So names tell
everything: in a vocabulary of bytes a name spells each byte as one character (`tokenize.byte-alphabet`).

**Claim** `tokenize.bpe-round-trip`. Let the alphabet be bytes, let all 256 bytes have tokens, and let the words of a
text, put together, be the text. Then `decode_bytes(encode_bytes(x)) == x` for every byte string `x`, whatever the
merges are.

**Proof.** Let a token contribute the bytes that its name spells. The first symbols of a word contribute its bytes, one
each, as every byte has a token. A merge replaces two neighbours by a token whose name is theirs written together, and
which contributes what the two did, in the same order. So by induction on the number of merges the tokens of a word
contribute the bytes of the word; if the whole word is a token (`ignore_merges`), that one contributes its bytes. The
words put together are $x$, and `decode_bytes` puts the contributions together. $\blacksquare$

`encode` reads text as UTF-8 and gives the same ids as `encode_bytes` if nothing is normalised. `encode_bytes` accepts
any bytes: those that are no UTF-8 are seen by the pre-tokenizer as punctuation.

>>> tokenizer = BPETokenizer.train(["in the beginning"], 259)
>>> ids = tokenizer.encode_bytes(b"\xff\x00in in")
>>> [tokenizer.id_to_bytes(i) for i in ids], tokenizer.decode_bytes(ids)
([b'\xff', b'\x00', b'in', b' ', b'in'], b'\xff\x00in in')

**Claim** `tokenize.merges-within-words`. No token lies in two words, and the tokens of a word do not depend on what is
around it. If no byte or character is dropped, a text has at least as many tokens as words.

**Proof.** The merges are applied to the symbols of each word by themselves, so a token is made of symbols of one word,
and of nothing else. If nothing is dropped, a word has at least one first symbol, and a merge never takes the last.
$\blacksquare$

So the pre-tokenizer is a part of the vocabulary: the same merges behind another one are another tokenizer. What two
words could have shared is lost, too. Here "in the" occurs a hundred times and can never be one token:

>>> apart = BPETokenizer.train(["in the"] * 100, 280)
>>> together = BPETokenizer.train(["in the"] * 100, 280, pretokenizer=Pretokenizer())
>>> len(apart.encode("in the")), len(together.encode("in the"))
(2, 1)

## What has no token

With characters for symbols, a text can contain one that the vocabulary lacks; with bytes, too, if their tokens were
left out: SmolLM2 lacks 21 bytes, which UTF-8 nearly never or never uses. In order, this is what is tried:

1. the token of the byte or character itself;
2. with `byte_fallback`, the tokens `<0x00>` to `<0xFF>` of the UTF-8 bytes, if there is one for each;
3. the `unknown` token, one for a run of such characters with `fuse_unknown`;
4. nothing: it is **dropped**, and its neighbours become neighbours. With `strict` this is an error that names it.

Dropping is what Hugging Face's library does, and what `decode` cannot undo. Its order of 2 and 3 has a peculiarity,
kept here for the sake of equal ids: an unknown token comes *behind* fallback bytes that follow it directly.

>>> from itertools import pairwise
>>> names = ["<unk>", "a", *(f"<0x{b:02X}>" for b in "é".encode())]
>>> odd = BPETokenizer(
...     {name: i for i, name in enumerate(names)}, [], alphabet="characters", unknown="<unk>", byte_fallback=True
... )
>>> [odd.id_to_token(i) for i in odd.encode("a?éa")]
['a', '<0xC3>', '<0xA9>', '<unk>', 'a']

## Marks of words

Without bytes, tokens can say where they stand. The first BPE for translation wrote `</w>` behind the last symbol of a
word, so that "est" within a word and at its end are two tokens, and decoding knows where to put spaces
(`end_of_word`). The opposite is a mark before every symbol but the first, as in WordPiece (`continuing="##"`); the
result of a merge then drops the mark of its second operand. SentencePiece's way is to treat the space as a character
that is visible (`space`, with the pre-tokenizer `Metaspace`).

## Ranks without merges

`from_ranks` builds a tokenizer from tiktoken's ranks of byte strings. It recovers the merges by
`tokenize.recovered-merges`, string after string: with the merges of the strings before it, each must come out as two
pieces, which are its merge. If one does not, the tokenizer uses `fp_tokenize.merges.splits`, so that it cuts as
tiktoken does in any case. tiktoken also looks up whole words first, which is `ignore_merges`; by
`tokenize.string-ranks` that changes nothing if merges could be recovered.

>>> ranks = {bytes([b]): b for b in range(256)} | {b"lo": 256, b"low": 257}
>>> tokenizer = BPETokenizer.from_ranks(ranks, special_tokens={"<|end|>": 300})
>>> tokenizer.merges, tokenizer.encode("low<|end|>", special="parse"), tokenizer.vocab_size
([('l', 'o'), ('lo', 'w')], [257, 300], 301)

## In practice

Llama 3's file lists *every* cut of each token as a merge and sets `ignore_merges`, which does what tiktoken does with
its ranks by string (`tokenize.string-splits`). If a file gives a pair twice, the last place counts, in Hugging Face's
library and here. Names of special tokens are left out of everything: no merge makes one and no word is one, so that
text never becomes a special token (`tokenize.special-injection`); Hugging Face's library has no such rule.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np
from jaxtyping import Int, Int64, Integer

from fp_tokenize.bpe_encoding import BORDER, Encoder, encode_heap, encode_list, in_order
from fp_tokenize.bpe_training import train_merges
from fp_tokenize.characters import byte_alphabet
from fp_tokenize.frame import as_ids, check_text
from fp_tokenize.merges import Merges, by_rank, splits
from fp_tokenize.normalize import Normalizer
from fp_tokenize.pipeline import SubwordTokenizer, in_groups
from fp_tokenize.pretokenize import GPT2, METASPACE, Metaspace, Pretokenizer
from fp_tokenize.protocol import Ids
from fp_tokenize.special import AddedToken, Template
from fp_tokenize.words import count_words

__all__ = ["BPETokenizer"]  # the order of the page

FEW = 100
"""Words that are cut one by one; more are cut together."""

_BYTE_OF = {name: b for b, name in enumerate(byte_alphabet())}
_BYTE_NAMES = {f"<0x{b:02X}>": b for b in range(256)}
_NO_TEXT = re.compile("[\udc80-\udcff]")  # how Python writes bytes that are no UTF-8


class BPETokenizer(SubwordTokenizer):
    """
    Tokens made by merges.

    Parameters
    ----------
    vocabulary
        Ids by name; ids may be left out.
    merges
        Pairs of names, the most important first.
    alphabet
        `"bytes"`: symbols are bytes, and names spell each as a character of `byte_alphabet`; `"characters"`: symbols
        and names are characters.
    unknown
        Name of the token for what has none.
    byte_fallback
        Whether `<0x00>` to `<0xFF>` stand for the bytes of characters without a token.
    fuse_unknown
        Whether neighbouring unknown characters become one token.
    ignore_merges
        Whether a word that is a token is that token, whatever the merges would make of it.
    end_of_word
        What the names of last symbols end with.
    continuing
        What the names of all symbols but the first begin with.
    space
        What stands for a space in names of characters.
    strict
        Whether a byte or character without a token is an error, rather than dropped.
    normalizer, pretokenizer, special_tokens, template
        See `fp_tokenize.pipeline.SubwordTokenizer`. Without a pre-tokenizer a text is one word.
    drop_space
        Whether decoding leaves out one leading space; by default, if the pre-tokenizer or `continuing` puts one there.

    Raises
    ------
    ValueError
        If an id or a name occurs twice or is out of range, a merge needs a token that is not in the vocabulary or makes
        nothing longer, or an argument is not one of the above.

    Examples
    --------
    >>> tokenizer = BPETokenizer({"a": 0, "b": 1, "ab": 2, "aba": 3}, [("a", "b"), ("ab", "a")])
    >>> tokenizer.encode("ababa"), tokenizer.decode([2, 3])
    ([2, 3], 'ababa')
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        *,
        alphabet: str = "bytes",
        unknown: str | None = None,
        byte_fallback: bool = False,
        fuse_unknown: bool = False,
        ignore_merges: bool = False,
        end_of_word: str = "",
        continuing: str = "",
        space: str = "▁",
        strict: bool = False,
        normalizer: Normalizer | None = None,
        pretokenizer: Pretokenizer | None = None,
        special_tokens: Iterable[str | AddedToken] = (),
        template: Template | None = None,
        drop_space: bool | None = None,
    ) -> None:
        names = _names(vocabulary)
        if alphabet not in ("bytes", "characters"):
            raise ValueError(f"alphabet must be 'bytes' or 'characters', got {alphabet!r}")
        if unknown is not None and unknown not in vocabulary:
            raise ValueError(f"the unknown token {unknown!r} is not in the vocabulary; add it, or use unknown=None")
        self.alphabet, self.byte_fallback, self.fuse_unknown = alphabet, byte_fallback, fuse_unknown
        self.ignore_merges, self.end_of_word, self.continuing = ignore_merges, end_of_word, continuing
        self.space = space
        ranked = _ranked(merges, vocabulary, continuing)
        self.merges: list[tuple[str, str]] = list(ranked)
        """Pairs of names in the order of their ranks, no pair twice."""
        self._strict = strict
        if drop_space is None:
            steps = () if pretokenizer is None else pretokenizer.steps
            added = any(isinstance(step, Metaspace) and step.prepend_scheme != "never" for step in steps)
            drop_space = added or bool(continuing and not end_of_word)
        contributions = [b"" if name is None else self._contribution(name) for name in names]
        if unknown is not None:
            contributions[vocabulary[unknown]] = (" \ufffd" if continuing and not end_of_word else "\ufffd").encode()
        super().__init__(
            names,
            contributions,
            normalizer=normalizer,
            pretokenizer=pretokenizer,
            special_tokens=special_tokens,
            template=template,
            drop_space=drop_space,
            unknown=None if unknown is None else vocabulary[unknown],
        )
        special = self.special_tokens
        self._text_ids = {name: i for name, i in vocabulary.items() if name not in special}
        pairs = [pair for pair, result in ranked.items() if result in self._text_ids]
        self._use(
            Merges([(vocabulary[a], vocabulary[b]) for a, b in pairs], [vocabulary[ranked[pair]] for pair in pairs])
        )

    def _use(self, merges: Merges[int]) -> None:
        """Prepare the encoder, the first symbols and the words that are tokens."""
        self._encoder = Encoder(merges)
        self._words_with_id: dict[str, int] = {}
        if self.ignore_merges:
            texts = map(self._text_of_name, self._text_ids)
            self._words_with_id = {text: i for text, i in zip(texts, self._text_ids.values(), strict=True) if text}
        self._firsts = [
            self._first_symbols(self.continuing if middle else "", self.end_of_word if last else "")
            for middle in (False, True)
            for last in (False, True)
        ]
        self._marked = bool(self.continuing or self.end_of_word)
        size = max(255, *(max(firsts, default=0) for firsts in self._firsts)) + 2
        self._tables = np.full((4 if self._marked else 1, size), -1, np.int32)  # the last entry stands for all above
        for table, firsts in zip(self._tables, self._firsts, strict=False):
            table[list(firsts)] = list(firsts.values())
        self._fallback = [self._text_ids.get(name) for name in _BYTE_NAMES]

    # ---- names

    def _contribution(self, name: str) -> bytes:
        """What a token adds to the text; the space behind `end_of_word` comes with the next one."""
        if self.end_of_word:
            name = name.removesuffix(self.end_of_word)
        if self.continuing:
            mark = "" if self.end_of_word else self._space_name
            name = name.removeprefix(self.continuing) if name.startswith(self.continuing) else mark + name
        if self.alphabet == "bytes":
            spelled = [_BYTE_OF.get(character) for character in name]
            return name.encode() if None in spelled else bytes(spelled)  # type: ignore[arg-type]
        if self.byte_fallback and name in _BYTE_NAMES:
            return bytes([_BYTE_NAMES[name]])
        return (name.replace(self.space, " ") if self.space else name).encode()

    @property
    def _space_name(self) -> str:
        return byte_alphabet()[32] if self.alphabet == "bytes" else " "

    def _text_of_name(self, name: str) -> str:
        """The word whose name is this one; empty if there is none."""
        if self.alphabet != "bytes":
            return name
        spelled = [_BYTE_OF.get(character) for character in name]
        return "" if None in spelled else bytes(spelled).decode("utf-8", "surrogateescape")  # type: ignore[arg-type]

    def _first_symbols(self, before: str, behind: str) -> dict[int, int]:
        """Ids of bytes or code points whose names have these marks."""
        length = len(before) + 1 + len(behind)
        firsts = {}
        for name, token_id in self._text_ids.items():
            if len(name) == length and name.startswith(before) and name.endswith(behind):
                character = name[len(before)]
                unit = _BYTE_OF.get(character) if self.alphabet == "bytes" else ord(character)
                if unit is not None:
                    firsts[unit] = token_id
        return firsts

    # ---- cutting

    @property
    def strict(self) -> bool:
        """Whether a byte or character without a token is an error; can be set."""
        return self._strict

    @strict.setter
    def strict(self, strict: bool) -> None:
        self._strict = strict
        self._words, self._chunks = type(self._words)(), type(self._chunks)()  # what was cut under the other rule

    def _symbols(self, word: str) -> list[tuple[int, int, int]]:
        """The first symbols of a word, each with the interval of its bytes or characters that it stands for."""
        units = _bytes(word) if self.alphabet == "bytes" else list(map(ord, word))
        symbols: list[tuple[int, int, int]] = []
        waiting: tuple[int, int, int] | None = None  # an unknown token, which may grow
        for i, unit in enumerate(units):
            last = i + 1 == len(units)
            token_id = self._firsts[2 * (i > 0) + last].get(unit)
            if token_id is not None:
                if waiting:
                    symbols.append(waiting)
                    waiting = None
                symbols.append((token_id, i, i + 1))
                continue
            if self.byte_fallback:
                character = byte_alphabet()[unit] if self.alphabet == "bytes" else chr(unit)
                name = (self.continuing if i else "") + character + (self.end_of_word if last else "")
                tokens = [self._fallback[b] for b in name.encode()]
                if None not in tokens:
                    symbols.extend((token, i, i + 1) for token in tokens if token is not None)
                    continue
            if self.unknown is not None:
                if waiting and self.fuse_unknown:
                    waiting = (self.unknown, waiting[1], i + 1)
                    continue
                if waiting:
                    symbols.append(waiting)
                waiting = (self.unknown, i, i + 1)
            elif self._strict:
                what = f"byte {unit:#04x}" if self.alphabet == "bytes" else f"character {chr(unit)!r} (U+{unit:04X})"
                raise ValueError(
                    f"{what} at position {i} of the word {word!r} has no token. With strict=False it is dropped."
                )
        return [*symbols, waiting] if waiting else symbols

    def _cut_reference(self, word: str) -> list[int]:
        if word in self._words_with_id:
            return [self._words_with_id[word]]
        return by_rank([symbol for symbol, _, _ in self._symbols(word)], self._encoder.merges)

    def _extents(self, word: str, ids: list[int]) -> list[tuple[int, int]]:
        if word in self._words_with_id:
            return [(0, len(word))]
        symbols = self._symbols(word)
        starts = encode_heap([symbol for symbol, _, _ in symbols], self._encoder.merges)[1]
        covered = [symbols[i:j] for i, j in pairwise([*starts, len(symbols)])]
        spans = [(min(a for _, a, _ in part), max(b for _, _, b in part)) for part in covered]
        if self.alphabet != "bytes":
            return spans
        owner = [i for i, character in enumerate(word) for _ in _bytes(character)]  # character of each byte
        return [(owner[a], owner[b - 1] + 1) for a, b in spans]

    def _cut(self, words: list[str]) -> list[Any]:
        """Ids of each word. As tuples: lists by the hundred thousand keep Python's garbage collector busy."""
        if len(words) <= FEW and sum(map(len, words)) <= 16 * FEW:
            return [tuple(self._cut_one(word)) for word in words]
        return in_groups(*self._cut_flat(words))

    def _cut_one(self, word: str) -> list[int]:
        """Ids of one word."""
        if word in self._words_with_id:
            return [self._words_with_id[word]]
        if not self._marked:
            units = _bytes(word) if self.alphabet == "bytes" else map(ord, word)
            symbols = [self._firsts[0].get(unit) for unit in units]
            if None not in symbols:
                return self._encoder.encode_word(symbols)  # type: ignore[arg-type]
        return self._encoder.encode_word([symbol for symbol, _, _ in self._symbols(word)])

    def _cut_flat(self, words: list[str]) -> tuple[Int64[np.ndarray, " M"], Int64[np.ndarray, " W"]]:
        """Ids of many words, one behind the other, and how many each has."""
        units, lengths = self._units(words)
        symbols = self._spelled(units, lengths)
        given: dict[int, list[int]] = {}  # symbols of words that are not spelled one for one
        if self._words_with_id:
            found = map(self._words_with_id.get, words)
            given = {which: [token_id] for which, token_id in enumerate(found) if token_id is not None}
        missing = np.flatnonzero(symbols < 0)
        if len(missing) and (self._strict or self.byte_fallback or self.unknown is not None):
            for which in np.unique(np.searchsorted(np.cumsum(lengths), missing, "right")).tolist():
                if which not in given:
                    given[which] = [symbol for symbol, _, _ in self._symbols(words[which])]
        if not given and not len(missing):
            return self._encoder.encode(symbols, lengths)
        others = np.ones(len(words), bool)
        others[list(given)] = False
        kept = (symbols >= 0) & np.repeat(others, lengths)
        sizes = np.add.reduceat(kept, np.cumsum(lengths) - lengths, dtype=np.int64)
        ids, counts = self._encoder.encode(
            np.append(symbols[kept], np.fromiter(chain.from_iterable(given.values()), np.int64)),
            np.append(sizes[others], np.fromiter(map(len, given.values()), np.int64)),
        )
        return in_order(ids, counts, np.append(np.flatnonzero(others), np.fromiter(given, np.int64)))

    def _spelled(self, units: Integer[np.ndarray, " N"], lengths: Int[np.ndarray, " W"]) -> Int[np.ndarray, " N"]:
        """The token of each byte or character, or -1."""
        if self.alphabet != "bytes":
            units = np.minimum(units, self._tables.shape[1] - 1)
        if not self._marked:
            return self._tables[0].take(units)
        symbols = self._tables[2].take(units)
        ends = np.cumsum(lengths)
        for which, places in ((3, ends - 1), (0, ends - lengths), (1, (ends - 1)[lengths == 1])):
            symbols[places] = self._tables[which].take(units[places])
        return symbols

    def _units(self, words: list[str]) -> tuple[Integer[np.ndarray, " N"], Int[np.ndarray, " W"]]:
        """Bytes or code points of some words, one behind the other, and how many each has."""
        encoded: Callable[[str], bytes] = (
            _bytes if self.alphabet == "bytes" else partial(str.encode, encoding="utf-32-le")
        )
        kind = "u1" if self.alphabet == "bytes" else "<u4"
        units = np.frombuffer(encoded("\0".join(words)), kind)
        borders = np.flatnonzero(units == 0)
        if len(borders) == len(words) - 1:
            return units[units != 0], np.diff(borders, prepend=-1, append=len(units)) - 1
        lengths = [len(encoded(word)) for word in words]  # some contain the character that was to separate them
        return np.frombuffer(encoded("".join(words)), kind), np.array(lengths) // np.dtype(kind).itemsize

    # ---- bytes

    def encode_bytes(self, data: bytes) -> list[int]:
        """
        The ids of any byte string (`tokenize.bpe-round-trip`), not normalised, special tokens read as text.

        Parameters
        ----------
        data
            Bytes; where they are UTF-8, words are found as in text.

        Raises
        ------
        ValueError
            If the symbols are characters, or the pre-tokenizer changes text rather than only cutting it.
        """
        if self.alphabet != "bytes":
            raise ValueError("encode_bytes needs a tokenizer whose symbols are bytes, this one's are characters")
        text = bytes(data).decode("utf-8", "surrogateescape")
        plain = _NO_TEXT.sub("\ufdd0", text)  # U+FDD0 is no letter, digit or space either, and no surrogate
        words = self.pretokenizer.split(plain)
        if "".join(words) != plain:
            raise ValueError(
                f"encode_bytes needs a pre-tokenizer that only cuts, {self.pretokenizer!r} adds or removes something"
            )
        ends = list(accumulate(map(len, words), initial=0))
        cut = self._cut([text[start:end] for start, end in pairwise(ends)]) if words else []
        return list(chain.from_iterable(cut))

    def decode_bytes(self, ids: Ids) -> bytes:
        """The bytes that some ids contribute, whether they are UTF-8 or not. `ValueError` outside the vocabulary."""
        return b"".join(self._contributed(as_ids(ids, self.vocab_size).tolist(), "replace", False))

    def _contributed(self, ids: Iterable[int], errors: str, skip_special: bool) -> Iterator[bytes]:
        if not self.end_of_word:
            return super()._contributed(ids, errors, skip_special)
        return self._spaced(ids, errors, skip_special)

    def _spaced(self, ids: Iterable[int], errors: str, skip_special: bool) -> Iterator[bytes]:
        """A space between a token that ends a word and the next token."""
        last = -1

        def watched() -> Iterator[int]:
            nonlocal last
            for token_id in ids:
                last = token_id
                yield token_id

        ended = False
        for piece in super()._contributed(watched(), errors, skip_special):
            yield b" " + piece if ended else piece
            ended = (self.names[last] or "").endswith(self.end_of_word)

    # ---- making one

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = (),
        *,
        alphabet: str = "bytes",
        min_count: int = 1,
        normalizer: Normalizer | None = None,
        pretokenizer: Pretokenizer | None = None,
        processes: int = 1,
        progress: Callable[[int, int], None] | None = None,
        **settings: Any,
    ) -> "BPETokenizer":
        """
        Learn merges from texts (`fp_tokenize.bpe_training`).

        Parameters
        ----------
        texts
            Any number of texts, read once.
        vocab_size
            How many tokens, special ones included; fewer if the texts offer no more pairs.
        special_tokens
            They get the first ids, and are cut out of the texts.
        alphabet
            What symbols are: `"bytes"` or `"characters"`.
        min_count
            How often a pair must occur to be merged.
        normalizer, pretokenizer
            What is done to a text before it is cut. By default, words are GPT-2's for bytes and `Metaspace`'s for
            characters.
        processes
            On how many processes words are counted.
        progress
            Called with the vocabulary's size so far and in the end.
        settings
            Other parameters of the tokenizer.

        Raises
        ------
        ValueError
            If the vocabulary is smaller than the alphabet, or the texts are empty.

        Examples
        --------
        >>> tokenizer = BPETokenizer.train(["low low lower"], 259)
        >>> tokenizer.merges, tokenizer.encode("lowlow")
        ([('l', 'o'), ('lo', 'w'), ('Ġ', 'low')], [257, 257])
        """
        if pretokenizer is None:
            pretokenizer = GPT2 if alphabet == "bytes" else METASPACE
        for token in special_tokens:
            if alphabet == "bytes" and token in _BYTE_OF:
                raise ValueError(
                    f"a special token cannot be the name of a byte, whose place it would take, got {token!r}"
                )
        counts = count_words(texts, normalizer, pretokenizer, processes, special_tokens)
        trained = train_merges(
            counts, vocab_size, special_tokens, alphabet=alphabet, min_count=min_count, progress=progress
        )
        return cls(
            trained.vocabulary,
            trained.named_merges,
            alphabet=alphabet,
            normalizer=normalizer,
            pretokenizer=pretokenizer,
            special_tokens=special_tokens,
            **settings,
        )

    @classmethod
    def from_ranks(
        cls,
        ranks: Mapping[bytes, int],
        pretokenizer: Pretokenizer = GPT2,
        special_tokens: Mapping[str, int] | None = None,
        **settings: Any,
    ) -> "BPETokenizer":
        """
        The tokenizer that cuts as tiktoken does.

        Parameters
        ----------
        ranks
            Rank of each byte string, which is also its id.
        pretokenizer
            How text is split into words.
        special_tokens
            Their ids, by spelling.
        settings
            Other parameters of the tokenizer.

        Raises
        ------
        ValueError
            If a byte string is empty, or ids and names are not different.
        """
        names = byte_alphabet()
        spelled = {data: "".join([names[b] for b in data]) for data in ranks}
        vocabulary = {spelled[data]: rank for data, rank in ranks.items()}
        special = dict(special_tokens or {})
        twice = vocabulary.keys() & special.keys()
        if twice:
            raise ValueError(f"a special token needs a spelling that no other token has, got {min(twice)!r}")
        vocabulary |= special
        _names(vocabulary)  # complains before any work
        pairs, shared = recovered(ranks), None
        if pairs is None:
            shared = splits(ranks)
            pairs = list(shared.pairs)
        tokenizer = cls(
            vocabulary,
            [(spelled[left], spelled[right]) for left, right in pairs],
            ignore_merges=True,
            pretokenizer=pretokenizer,
            special_tokens=special,
            **settings,
        )
        if shared is not None:
            tokenizer._use(
                Merges(
                    [(ranks[left], ranks[right]) for left, right in shared.pairs],
                    [ranks[result] for result in shared.results],
                    shared.ranks,
                )
            )
        return tokenizer

    def __repr__(self) -> str:
        return f"BPETokenizer({self.vocab_size} tokens, {len(self.merges)} merges of {self.alphabet})"


_bytes = partial(str.encode, encoding="utf-8", errors="surrogateescape")


def _names(vocabulary: Mapping[str, int]) -> list[str | None]:
    """Names by id, `None` where an id is not used."""
    if not vocabulary:
        raise ValueError("a vocabulary needs at least one token, got none")
    for name, token_id in vocabulary.items():
        if not isinstance(name, str):
            raise ValueError(f"names of tokens are strings, got {name!r}")
        if isinstance(token_id, bool) or not isinstance(token_id, int) or not 0 <= token_id < BORDER:
            raise ValueError(f"ids are integers in [0, {BORDER}), got {token_id!r} for {name!r}")
    check_text("".join(vocabulary))
    names: list[str | None] = [None] * (max(vocabulary.values()) + 1)
    for name, token_id in vocabulary.items():
        if names[token_id] is not None:
            raise ValueError(
                f"each token needs an id of its own, {names[token_id]!r} and {name!r} both have {token_id}"
            )
        names[token_id] = name
    return names


def _ranked(
    merges: Iterable[tuple[str, str]], vocabulary: Mapping[str, int], continuing: str
) -> dict[tuple[str, str], str]:
    """Name of the result of each pair, in the order of ranks; a pair that occurs twice stands where it does last."""
    results: dict[tuple[str, str], str] = {}
    marked = len(continuing)
    for position, pair in enumerate(merges):
        if len(pair) != 2 or not isinstance(pair[0], str) or not isinstance(pair[1], str):
            raise ValueError(f"a merge is two names, got {pair!r} at position {position}")
        left, right = pair
        result = left + right[marked:]
        if left not in vocabulary or right not in vocabulary or result not in vocabulary:
            lacking = next(name for name in (left, right, result) if name not in vocabulary)
            raise ValueError(
                f"merge {position}, {left!r} + {right!r}, needs {lacking!r}, which is not in the vocabulary"
            )
        if result in (left, right) or not right.startswith(continuing):
            what = "nothing becomes longer" if result in (left, right) else f"{right!r} must begin with {continuing!r}"
            raise ValueError(f"merge {position}, {left!r} + {right!r}, is none: {what}")
        results.pop((left, right), None)
        results[left, right] = result
    return results


def recovered(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]] | None:
    """
    What `fp_tokenize.merges.recover` finds, by the merges found so far in place of the ranks.

    Parameters
    ----------
    ranks
        Rank of each byte string.

    Examples
    --------
    >>> recovered({b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"abc": 4})
    [(b'b', b'c'), (b'a', b'bc')]
    """
    growing: Merges[bytes] = Merges([], [])
    pairs: list[tuple[bytes, bytes]] = []
    for whole in sorted((data for data in ranks if len(data) > 1), key=ranks.__getitem__):
        pieces = encode_list([whole[i : i + 1] for i in range(len(whole))], growing)
        if len(pieces) != 2:
            return None
        pair = (pieces[0], pieces[1])
        growing.rank[pair], growing.result[len(pairs)] = len(pairs), whole
        pairs.append(pair)
    return pairs
