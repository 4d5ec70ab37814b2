r"""
Match a tokenizer exactly.

Level: project. You need `fp_tokenize.bpe`, `fp_tokenize.special`, `fp_tokenize.interchange` and exercises 4 and 11.

Somebody has trained a model and published a file with its tokenizer. Your ids must be *the* ids: one that differs is
another word to the model, and nothing will tell you. You get the content of the file as a dict:

- `"vocab"`: the id of each token by its name. Names are spelled in GPT-2's alphabet, one character for each byte. The
  bytes 33 to 126, 161 to 172 and 174 to 255 are the characters of the same number; the others are, in their order, the
  characters from number 256 on. So the space, the 33rd of those, is "Ġ".
- `"merges"`: pairs of names with a space between them, the lowest rank first. Where several apply, the lowest rank is
  next, at its leftmost place.
- `"special_tokens"`: the id of each special token by its text. They are found wherever they stand in the text; where
  two begin at the same place, the longer one counts. What is between them is cut as if it were a text by itself.
- `"pattern"`: a pattern for Python's `re`. What it matches, one match behind the other, are the words; together they
  are the whole text. No merge crosses the border of a word.
- `"digits"`: whether every decimal digit is cut off as a piece by itself *before* the pattern cuts what is between.

The files of real models are like this, with all that it entails. Their merges are not always in an order in which one
pass would do. Ids are not ranks. And some vocabularies lack tokens for single bytes that their training never met: a
byte without a token is dropped, before anything is merged.

The grader has four files, two of them trained on a small text, and texts with everything that a keyboard can do. It
shows the first place at which your ids differ.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

HINTS = (
    "Work from the outside in, and test each layer alone: special tokens, digits, pattern, bytes, names, merges. "
    "`re.split` with the separators in a group keeps them; sort the special tokens by length and escape them.",
    "Words are `match.group()` of `re.finditer`: `findall` returns the groups instead if the pattern has any. Then "
    "`word.encode()`, each byte to its name, and only names that are in the vocabulary go on.",
    "`rank = {tuple(merge.split(' ')): k for k, merge in enumerate(file['merges'])}`; while a pair of neighbours has a "
    "rank, merge the one with the smallest `(rank, position)`. The ids of what is left are the answer.",
)


def encode(file: dict[str, Any], text: str) -> list[int]:
    """
    The ids that a tokenizer file gives a text.

    Parameters
    ----------
    file
        `"vocab"`, `"merges"`, `"special_tokens"`, `"pattern"` and `"digits"`, as described above. The result of every
        merge is in the vocabulary.
    text
        Any text without surrogates.

    Returns
    -------
    list of int
        Ids of its tokens.

    Examples
    --------
    There is no token for "!", so it is dropped.

    >>> file = {
    ...     "vocab": {"l": 0, "o": 1, "w": 2, "Ġ": 3, "low": 4, "lo": 5, "Ġlow": 6},
    ...     "merges": ["l o", "lo w", "Ġ low"],
    ...     "special_tokens": {"<end>": 7},
    ...     "pattern": r" ?[a-z]+|[^a-z]",
    ...     "digits": False,
    ... }
    >>> encode(file, "low low!<end>lol")
    [4, 6, 7, 5, 0]
    """
    special: dict[str, int] = file["special_tokens"]
    ids: list[int] = []
    for part in _parts(text, special):
        if part in special:
            ids.append(special[part])
            continue
        for word in _words(part, file["pattern"], file["digits"]):
            names = [_name(byte) for byte in word.encode()]
            symbols = _merged([name for name in names if name in file["vocab"]], _ranks(file["merges"]))
            ids += [file["vocab"][symbol] for symbol in symbols]
    return ids


def _parts(text: str, special: dict[str, int]) -> list[str]:
    """Special tokens and what is between them, in order."""
    if not special:
        return [text]
    longest_first = sorted(special, key=len, reverse=True)
    return re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text)


def _words(text: str, pattern: str, digits: bool) -> list[str]:
    pieces = re.split(r"(\d)", text) if digits else [text]
    return [match.group() for piece in pieces for match in re.finditer(pattern, piece)]


@cache
def _names() -> list[str]:
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte if byte in printable else 256 + others.index(byte)) for byte in range(256)]


def _name(byte: int) -> str:
    return _names()[byte]


def _ranks(merges: list[str]) -> dict[tuple[str, ...], int]:
    return {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}


def _merged(symbols: list[str], ranks: dict[tuple[str, ...], int]) -> list[str]:
    while True:
        offers = [(ranks[pair], i) for i, pair in enumerate(pairwise(symbols)) if pair in ranks]
        if not offers:
            return symbols
        _, i = min(offers)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]


_TEXT = """
The first token of a word that begins with a space is not the token of the same word at the beginning of a line. They're
two rows of the table, and the model doesn't know that they look alike; it'll have to learn it, like everything else.
In 1994 Philip Gage published an algorithm for the compression of data: replace the most frequent pair of bytes by a
byte that does not occur, and repeat. In 2016, 22 years later, it was found to be what the translation of rare words had
been waiting for.  Two spaces, or four:    and the end of the line is a character, too.

Caf\u00e9, na\u00efve, \u00fcber, \u00c5ngstr\u00f6m; 100 \u20ac, 20 \u00b0C, \u201cquoted\u201d,
\u2018so on\u2019 \u2026
"""

_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+"
_GROUPS = r"( ?)([^\W\d_]+)|(\d{1,3})|( ?(?:[^\s\w]|_)+)|(\s)"


@cache
def _trained(pattern: str, digits: bool, n_merges: int, all_bytes: bool) -> tuple[dict[str, int], list[str]]:
    """A vocabulary trained on the text above: its ids in the order of the names, as some programs write them."""
    words = Counter(_words(_TEXT, pattern, digits))
    split = [([_name(byte) for byte in word.encode()], count) for word, count in sorted(words.items())]
    names = set(_names()) if all_bytes else {name for symbols, _ in split for name in symbols}
    merges: list[str] = []
    for _ in range(n_merges):
        counts: Counter[tuple[str, str]] = Counter()
        for symbols, count in split:
            for pair in pairwise(symbols):
                counts[pair] += count
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(" ".join(best))
        names.add("".join(best))
        split = [(_merged(symbols, {best: 0}), count) for symbols, count in split]
    return {name: i for i, name in enumerate(sorted(names))}, merges


def _file(pattern: str, digits: bool, n_merges: int, all_bytes: bool, special: tuple[str, ...]) -> dict[str, Any]:
    vocab, merges = _trained(pattern, digits, n_merges, all_bytes)
    return {
        "vocab": vocab,
        "merges": merges,
        "special_tokens": {text: len(vocab) + i for i, text in enumerate(special)},
        "pattern": pattern,
        "digits": digits,
    }


_NAMES = ("e", "h", "t", "\u00c3", "\u00a9", "\u00c3\u00a9", "Ġ", "1", "11", "Ġ1", "he", "th", "the")

_FILES: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
    (
        _file(_GPT2, True, 150, False, ("<|im|>", "<|im|><|end|>", "<|end|>")),
        (
            "The token of the word.",
            "hark, a strict observer accounted for what ourselves accomplished across the lines",
            "They're two, it'll be  three:   and\n\n the end ",
            "In 2016,  22    3 years later: 100%",
            "<|end|>",
            "<|im|>The end<|end|>",
            "<|im|><|end|> of<|im|> a line <|end|><|end|>",
            "cafe\u0301 caf\u00e9 \u00a0 \u212b",
            "a\x00b \U0001f600the\u4e00 Z\u20ac\u2026",
            "",
        ),
    ),
    (
        _file(_GROUPS, False, 120, True, ("[SEP]",)),
        (
            "the model doesn't know 12345 words[SEP]",
            "seven governors, able and careful, strengthen what moreover is required according to the stock",
            " \t the\n\n\u201cquoted\u201d \U0001f600 na\u00efve nai\u0308ve",
            "[SEP][SEP]x [sep] the[SEP",
        ),
    ),
    (  # merges whose operands come later, and two with one result
        {
            "vocab": {"ab": 0, "abc": 1, "a": 2, "b": 3, "c": 4, "bc": 5, "Ġ": 6, "abcab": 7},
            "merges": ["ab c", "abc ab", "a b", "b c", "a bc"],
            "special_tokens": {},
            "pattern": r" ?\w+|\s|\W",
            "digits": False,
        },
        ("abcab abc", "bcabcc aabb", "ab!c adb", "a.b.c\u0101"),
    ),
    (
        {
            "vocab": dict(zip(_NAMES, range(len(_NAMES) + 1, 1, -1), strict=True)),
            "merges": ["1 1", "\u00c3 \u00a9", "Ġ 1", "h e", "t h", "th e"],
            "special_tokens": {"1e1": 1, "e1": 0},
            "pattern": r"\s?\S+|\s+",
            "digits": True,
        },
        ("\u00e9 e\u0301e", " 11 111", "11e11 e1", "e 1\u00e91  ", "the \u2022t\u2022he th"),
    ),
)

PROBES = tuple((file, text) for file, texts in _FILES for text in texts)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for number, (file, texts) in enumerate(_FILES):
        names = {i: name for table in (file["vocab"], file["special_tokens"]) for name, i in table.items()}
        for text in texts:
            copy = {key: value.copy() if isinstance(value, dict | list) else value for key, value in file.items()}
            got = learner.encode(copy, text)
            assert isinstance(got, list) and all(isinstance(i, int) for i in got), (
                f"expected a list of ids, got {got!r:.80}"
            )
            expected = encode(file, text)
            if got == expected:
                continue
            k = next((k for k, (a, b) in enumerate(zip(expected, got, strict=False)) if a != b), None)
            k = min(len(got), len(expected)) if k is None else k
            wanted, came = (
                " ".join(names.get(i, f"id {i}") for i in ids[k : k + 4]) or "nothing" for ids in (expected, got)
            )
            before = " ".join(names[i] for i in expected[max(0, k - 4) : k]) or "the beginning"
            raise AssertionError(
                f"file {number}, with the pattern {file['pattern']!r}, digits {file['digits']} and the special tokens "
                f"{sorted(file['special_tokens'])}: for the text {text!a} the tokens behind {before} are "
                f"{wanted}; got {came}"
            )


_Step = Callable[..., Any]


def _variant(
    file: dict[str, Any],
    text: str,
    parts: _Step = _parts,
    words: _Step = _words,
    names: _Step | None = None,
    cut: _Step | None = None,
) -> list[int]:
    """The reference with one of its steps replaced."""
    ids: list[int] = []
    vocab, special = file["vocab"], file["special_tokens"]
    for part in parts(text, special):
        if part in special:
            ids.append(special[part])
            continue
        for word in words(part, file["pattern"], file["digits"]):
            spelled = names(word) if names else [_name(byte) for byte in word.encode()]
            symbols = [name for name in spelled if name in vocab]
            ids += [
                vocab[symbol] for symbol in (cut(symbols, file) if cut else _merged(symbols, _ranks(file["merges"])))
            ]
    return ids


def _by_id(file: dict[str, Any], text: str) -> list[int]:
    def cut(symbols: list[str], file: dict[str, Any]) -> list[str]:
        pairs = [tuple(merge.split(" ")) for merge in file["merges"]]
        return _merged(symbols, {pair: file["vocab"]["".join(pair)] for pair in pairs})

    return _variant(file, text, cut=cut)


def _one_pass(file: dict[str, Any], text: str) -> list[int]:
    def cut(symbols: list[str], file: dict[str, Any]) -> list[str]:
        for pair in _ranks(file["merges"]):
            symbols = _merged(symbols, {pair: 0})
        return symbols

    return _variant(file, text, cut=cut)


def _longest(file: dict[str, Any], text: str) -> list[int]:
    def cut(symbols: list[str], file: dict[str, Any]) -> list[str]:
        word, found, at = "".join(symbols), [], 0
        while at < len(word):
            end = next(end for end in range(len(word), at, -1) if word[at:end] in file["vocab"])
            found.append(word[at:end])
            at = end
        return found

    return _variant(file, text, cut=cut)


def _loses_spaces(file: dict[str, Any], text: str) -> list[int]:
    def words(text: str, pattern: str, digits: bool) -> list[str]:
        return [part for word in _words(text, pattern, digits) for part in word.split()]

    return _variant(file, text, words=words)


def _only_alone(file: dict[str, Any], text: str) -> list[int]:
    return _variant(file, text, parts=lambda text, special: [text])


def _shortest_first(file: dict[str, Any], text: str) -> list[int]:
    def parts(text: str, special: dict[str, int]) -> list[str]:
        if not special:
            return [text]
        return re.split("(" + "|".join(map(re.escape, sorted(special, key=len))) + ")", text)

    return _variant(file, text, parts=parts)


def _never_special(file: dict[str, Any], text: str) -> list[int]:
    return _variant({**file, "special_tokens": {}}, text)


def _digits_last(file: dict[str, Any], text: str) -> list[int]:
    def words(text: str, pattern: str, digits: bool) -> list[str]:
        found = _words(text, pattern, False)
        return [piece for word in found for piece in re.split(r"(\d)", word)] if digits else found

    return _variant(file, text, words=words)


def _groups_of_findall(file: dict[str, Any], text: str) -> list[int]:
    def words(text: str, pattern: str, digits: bool) -> list[str]:
        pieces = re.split(r"(\d)", text) if digits else [text]
        found = [match for piece in pieces for match in re.findall(pattern, piece)]
        return [word for match in found for word in (match if isinstance(match, tuple) else (match,))]

    return _variant(file, text, words=words)


def _without_words(file: dict[str, Any], text: str) -> list[int]:
    return _variant(file, text, words=lambda text, pattern, digits: [text])


def _characters(file: dict[str, Any], text: str) -> list[int]:
    return _variant(file, text, names=lambda word: [_name(ord(c)) if ord(c) < 128 else c for c in word])


def _dropped_last(file: dict[str, Any], text: str) -> list[int]:
    ids: list[int] = []
    for part in _parts(text, file["special_tokens"]):
        if part in file["special_tokens"]:
            ids.append(file["special_tokens"][part])
            continue
        for word in _words(part, file["pattern"], file["digits"]):
            symbols = _merged([_name(byte) for byte in word.encode()], _ranks(file["merges"]))
            ids += [file["vocab"][symbol] for symbol in symbols if symbol in file["vocab"]]
    return ids


def _missing_is_an_error(file: dict[str, Any], text: str) -> list[int]:
    for part in _parts(text, file["special_tokens"]):
        if part not in file["special_tokens"]:
            for byte in part.encode():
                file["vocab"][_name(byte)]
    return encode(file, text)


def _normalised(file: dict[str, Any], text: str) -> list[int]:
    return encode(file, unicodedata.normalize("NFC", text))


MISTAKES = (
    (
        _by_id,
        "You merge in the order of the vocabulary. Ids are names, not ranks: only the list of merges knows the order.",
    ),
    (
        _one_pass,
        "You go through the merges once. A merge whose operands come later in the list becomes possible again, and its "
        "rank is the lowest then.",
    ),
    (
        _longest,
        "You take the longest token that fits. A vocabulary of merges holds tokens that the merges never reach in a "
        "given word.",
    ),
    (
        _loses_spaces,
        "You lose spaces. They belong to the words as the pattern matches them, and words of spaces only are words.",
    ),
    (
        _only_alone,
        "You find a special token only where it stands alone. It counts wherever its text stands, in the middle of a "
        "word as well.",
    ),
    (
        _shortest_first,
        "You try shorter special tokens first. Where two begin at the same place, the longer one counts.",
    ),
    (_never_special, "You cut special tokens like text. Their text stands for one id each, and no merge makes it."),
    (
        _digits_last,
        "You cut digits off after the pattern. How it cuts spaces depends on what it sees behind them, and this file "
        "does not let it see the digits.",
    ),
    (
        _groups_of_findall,
        "You take what `findall` returns. If a pattern has groups these are the groups, not the words that it matches.",
    ),
    (_without_words, "You do not cut into words. Merges then cross borders that training kept apart."),
    (
        _characters,
        "You look up characters. The names are of *bytes*: a character beyond ASCII is two to four of them.",
    ),
    (
        _dropped_last,
        "You drop bytes without a token after merging. The file drops them before, so what was beside them becomes "
        "neighbours, and may merge.",
    ),
    (
        _missing_is_an_error,
        "You fail at a byte without a token. The library that this file is for drops it, and so has to be matched; "
        "whoever wants to know asks the chapter's encoder for `strict`.",
    ),
    (
        _normalised,
        "You normalise the text first. This file has no normalizer: bytes are those of the text as it stands, or "
        "different texts get the same ids.",
    ),
)
