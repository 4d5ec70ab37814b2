r"""
Normalisers: one spelling before the cutting begins.

A word with two spellings costs a vocabulary two entries and a model two lessons. So many tokenizers first rewrite the
text: to one normal form, in lower case, without accents, with one kind of space. This section has the steps that
published tokenizers consist of, says what each does and what is lost, and keeps account of which character of the
original each character of the result stands for.

You need: `fp_tokenize.unicode`.

## Steps

A step is a function from strings to strings, a normaliser a list of steps:

$$N = s_k \circ \cdots \circ s_2 \circ s_1. \tag{E1}$$

| step | what it does | who uses it |
| --- | --- | --- |
| `Unicode(form)` | a normal form of `fp_tokenize.unicode` | NFC: Qwen; NFKC: many |
| `Lowercase()` | lower case, each character by itself | uncased BERT |
| `StripAccents()` | deletes combining marks | after NFD or NFKD: ALBERT |
| `Strip(left, right)` | deletes white space at the ends | |
| `Bert(...)` | cleans, puts spaces around Chinese characters, strips accents, lowers | BERT |
| `Nmt()` | deletes controls, makes odd spaces plain | SentencePiece's `nmt` rules |
| `Replace(pattern, content)` | text for text | `" "` to `"▁"`: Llama 2 |
| `Prepend(text)` | text in front | `"▁"`: Llama 2 |
| `Precompiled(charsmap)` | the table in a SentencePiece model | T5, XLM-R |

Order matters. ᴬ is a capital letter only once compatibility mappings have been applied, and accents can be deleted
only when they stand apart:

>>> [Normalizer(steps)("ᴬ") for steps in ([Unicode("NFKC"), Lowercase()], [Lowercase(), Unicode("NFKC")])]
['a', 'A']
>>> [Normalizer(steps)("é") for steps in ([Unicode("NFD"), StripAccents()], [StripAccents(), Unicode("NFD")])] == [
...     "e",
...     "e\u0301",
... ]
True

## What is lost

Let $N$ be a normaliser. Decoding the tokens of $s$ can at best give $N(s)$: the model never saw $s$. If $N(s) = N(t)$
for two texts, no decoder whatever can tell them apart. What becomes equal under

- NFC: spellings that readers cannot distinguish. Little is lost, but a program's bytes are no longer what they were.
- NFKC: also "x²" and "x2", "①" and "1", "ﬁ" and "fi". Good for search, harmful to formulas and to code.
- lower case: "US" and "us", "Polish" and "polish".
- accents stripped: German "schon" (already) and "schön" (beautiful), and in the scripts of India signs that are as much
  part of the spelling as letters:

>>> Normalizer.named("bert")("Schön"), Normalizer.named("bert")("हिन्दी") == "हिन्दी"
('schon', False)

- `Bert`: besides, all line ends and the number of spaces.

Models of today that must reproduce code and quote sources therefore normalise not at all, or to NFC.

**Byte fallback comes after.** A tokenizer that spells characters without a token by their bytes, `<0xF0>`, takes the
bytes of the *normalised* character, because it cuts what the normaliser gives it. Bytes do not undo the normaliser: "ﬁ"
under NFKC gives the tokens of "fi", and U+FFFD that `Bert` has deleted gives none. Nor may a normaliser run over tokens
that are already spelled as bytes: it would rewrite the spelling. Round trips that hold for every text need the empty
normaliser and bytes.

## Keeping account

A program that highlights a token must know which part of the original it covers. So each step reports its **edits**:
disjoint spans in order, $[a_1, b_1), [a_2, b_2), \dots$ with $b_i \le a_{i+1}$, each with the content that replaces it.
Characters outside all edits are kept. Let $J(x) = [p, q)$ be the span in the original of character $x$ of a step's
input. Its output gets

$$
\begin{aligned}
J'(x) &= J(x) && \text{if } x \text{ is kept}, \\
J'(x) &= [\, p \text{ of character } a_i,\; q \text{ of character } b_i - 1)
  && \text{if } x \text{ is content of edit } i,
\end{aligned}
\tag{E2}
$$

and at the start $J$ of character $i$ is $[i, i + 1)$. (Content that is inserted, $a_i = b_i$, gets the span of the
character before it or, at the start, of the one behind.)

**Claim** `tokenize.alignment`. `aligned(text)` gives `normalizer(text)`, and for its characters spans
$[p_1, q_1), [p_2, q_2), \dots$ with $0 \le p_i < q_i \le n$ for a text of $n$ characters, where the $p_i$ never
decrease and the $q_i$ never decrease. If no edit has empty content, every character of the text lies in a span.

**Proof.** By induction on the steps. At the start the spans are $[0, 1), [1, 2), \dots$ and everything holds. Suppose
it holds for the input of a step, whose spans are $[p_x, q_x)$. *Not empty*: an edit with $a_i < b_i$ gets
$p_{a_i} \le p_{b_i - 1} < q_{b_i - 1}$; the others get the span of one character. *In order*: the span of an output
character is made of the $p$ of an input character $l$ and the $q$ of an input character $r$, namely $l = r = x$ for a
kept one, $a_i$ and $b_i - 1$ for content. Because edits are disjoint and in order, going through the output neither $l$
nor $r$ ever decreases, and by hypothesis neither does $p_l$ or $q_r$. (An insertion takes $l = r$ from the character
before, or from the first one, which keeps that order.) *Nothing missing*: each input character is kept, or lies in some
$[a_i, b_i)$ with content. In the second case the new span is $[p_{a_i}, q_{b_i - 1})$ and contains the old spans of the
characters $a_i, \dots, b_i - 1$, because the $p$ and the $q$ are in order. So the new spans contain all that the old
ones did. The text is that of the step by the meaning of an edit. $\blacksquare$

How fine an edit should be is a matter of choice. `Unicode` reports the shortest pieces that it can be sure of, those
between the safe places of `tokenize.normal-form-boundary`; so a letter and its accent that compose to one character
give a span of two.

## In practice

The steps have the meaning, and the defaults, of the normalisers in Hugging Face's `tokenizers` and give the same texts,
except on characters that are younger than the tables of one side. Those of its release 0.23 are of Unicode 8 for
`Bert`, of Unicode 9 for `StripAccents` and the normal forms, and newer for lower case; ours are those of the Python and
the `regex` that run. For example its NFKC leaves U+32FF, an era name of Unicode 12.1, as it is:

>>> Normalizer.named("nfkc")("㋿")
'令和'

The fixture `normalize_huggingface.json` of the tests lists all code points concerned; all are younger than Unicode 3.2
but U+0295, U+1734, U+1885 and U+1886, whose categories were changed. Two more differences are meant. Where one
character has taken in several, its span covers all of them; that library reports one. And a pattern that would run for
hours is stopped.

`Precompiled` has two rules because there are two readings of one table. SentencePiece takes the longest key at each
place; Hugging Face's library goes by grapheme clusters and, within one, by the shortest key, so that a mapped letter
swallows the marks that follow it. `rule` chooses.

Sources: Unicode Standard Annex 15; BERT's `tokenization.py`; SentencePiece's `normalizer.cc`.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import ClassVar, cast

import numpy as np
import regex

from fp_tokenize._patterns import compiled, spans
from fp_tokenize.frame import check_text
from fp_tokenize.unicode import FORMS, graphemes, starts_anew

__all__ = [
    "Normalizer",
    "Step",
    "Composed",
    "Unicode",
    "Lowercase",
    "StripAccents",
    "Strip",
    "Bert",
    "Prepend",
    "Replace",
    "Nmt",
    "Precompiled",
]  # the order of the page

Edits = Iterable[tuple[int, int, str]]

ROOM = 1 << 24  # characters that replacements may add to a text, whatever its length; a file could ask for any number
STRETCHES = 1 << 16  # entries of the table of a `Precompiled`


class Normalizer:
    """
    Steps, one after another (E1).

    Parameters
    ----------
    steps
        Any number of steps of this section; none leaves texts as they are.

    Examples
    --------
    >>> normalizer = Normalizer([Unicode("NFKC"), Lowercase()])
    >>> normalizer("Ⅳ ÉTÉ")
    'iv été'
    >>> normalizer.aligned("Ⅳ É")
    ('iv é', [(0, 1), (0, 1), (1, 2), (2, 3)])
    """

    NAMES: ClassVar[tuple[str, ...]] = ("none", "nfc", "nfd", "nfkc", "nfkd", "lower", "strip_accents", "bert")
    """What `named` takes."""

    def __init__(self, steps: "Sequence[Step]" = ()) -> None:
        self.steps = tuple(steps)
        for step in self.steps:
            if not isinstance(step, Step):
                raise TypeError(f"a normaliser is made of steps such as Unicode('NFC') or Lowercase(), got {step!r}")

    @classmethod
    def named(cls, name: str) -> "Normalizer":
        """
        A normaliser by its name in `NAMES`.

        Raises
        ------
        ValueError
            If there is none of that name.

        Examples
        --------
        >>> Normalizer.named("strip_accents")("Ångström, ñandú, 각")
        'Angstrom, nandu, 각'
        """
        if name not in cls.NAMES:
            raise ValueError(f"a normaliser's name is one of {', '.join(cls.NAMES)}, got {name!r}")
        if name.startswith("nf"):
            return cls([Unicode(name.upper())])
        steps: dict[str, list[Step]] = {
            "none": [],
            "lower": [Lowercase()],
            # marks stand apart in NFD; NFC puts together again what had none, such as the syllables of Hangul
            "strip_accents": [Unicode("NFD"), StripAccents(), Unicode("NFC")],
            "bert": [Bert()],
        }
        return cls(steps[name])

    def __call__(self, text: str) -> str:
        """The normalised text. `ValueError` for lone surrogates."""
        if not isinstance(text, str) or not text.isascii():
            check_text(text)
        for step in self.steps:
            text = step(text)
        return text

    def aligned(self, text: str) -> tuple[str, list[tuple[int, int]]]:
        """
        The normalised text, and where each of its characters comes from (E2).

        Returns
        -------
        tuple
            The text, and for each of its characters the span [start, end) of the original that it stands for.

        Examples
        --------
        >>> Normalizer.named("nfc").aligned("e\u0301a")
        ('éa', [(0, 2), (2, 3)])
        """
        check_text(text)
        spans = [(i, i + 1) for i in range(len(text))]
        for step in chain.from_iterable(step.parts() for step in self.steps):
            parts, old, done = [], spans, 0
            spans = []
            for start, end, content in step.edits(text):
                parts += [text[done:start], content]
                spans += old[done:start]
                spans += [_hull(old, start, end)] * len(content)
                done = end
            parts.append(text[done:])
            spans += old[done:]
            text = "".join(parts)
        return text, spans

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Normalizer) and self.steps == other.steps

    def __hash__(self) -> int:
        return hash(self.steps)

    def __repr__(self) -> str:
        return f"Normalizer({list(self.steps)!r})"


def _hull(spans: list[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """The span of some neighbouring characters; of none, that of the character before or, at the start, behind."""
    if start == end:
        start, end = max(start - 1, 0), max(end, 1)
    return spans[start][0], spans[end - 1][1]


class Step:
    """One rewriting of a text."""

    def edits(self, text: str) -> Edits:
        """What changes: for each edit `(start, end, content)`, in order, `text[start:end]` becomes `content`."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it changes")

    def __call__(self, text: str) -> str:
        """The rewritten text: all edits done."""
        parts, done = [], 0
        for start, end, content in self.edits(text):
            parts += [text[done:start], content]
            done = end
        return "".join([*parts, text[done:]])

    def parts(self) -> "Sequence[Step]":
        """The steps that this one is made of: itself, if it is not made of others."""
        return (self,)


@dataclass(frozen=True)
class Unicode(Step):
    """
    A normal form (`fp_tokenize.unicode`).

    Parameters
    ----------
    form
        `"NFC"`, `"NFD"`, `"NFKC"` or `"NFKD"`.
    """

    form: str

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"a normal form is one of {', '.join(FORMS)}, got {self.form!r}")

    def __call__(self, text: str) -> str:
        return _to_form(self.form, text)

    def edits(self, text: str) -> Edits:
        if _is_in_form(self.form, text):
            return
        start = 0
        for end in range(1, len(text) + 1):  # pieces between the places of `tokenize.normal-form-boundary`
            if end == len(text) or starts_anew(text[end], "K" in self.form):
                content = _to_form(self.form, text[start:end])
                if content != text[start:end]:
                    yield start, end, content
                start = end


# the type checker's library knows these for literal names of forms only
_to_form = cast(Callable[[str, str], str], unicodedata.normalize)
_is_in_form = cast(Callable[[str, str], bool], unicodedata.is_normalized)


@dataclass(frozen=True)
class Lowercase(Step):
    """
    Lower case, one character at a time.

    Examples
    --------
    >>> Lowercase()("ΟΔΟΣ"), "ΟΔΟΣ".lower()
    ('οδοσ', 'οδος')
    """

    def __call__(self, text: str) -> str:
        # `str.lower` looks around only at Σ, to write it as ς at the end of a word
        return text.replace("Σ", "σ").lower()

    def edits(self, text: str) -> Edits:
        return ((i, i + 1, c.lower()) for i, c in enumerate(text) if c.lower() != c)


@dataclass(frozen=True)
class _Substitution(Step):
    """What a pattern of ours matches becomes a template."""

    pattern: "regex.Pattern[str]"
    content: str

    def __call__(self, text: str) -> str:
        return self.pattern.sub(self.content, text)

    def edits(self, text: str) -> Edits:
        return ((*match.span(), match.expand(self.content)) for match in self.pattern.finditer(text))


class Composed(Step):
    """A step made of others, done in their order: the base of those below."""

    def __call__(self, text: str) -> str:
        for part in self.parts():
            text = part(text)
        return text


def _deletion(pattern: str) -> _Substitution:
    return _Substitution(regex.compile(pattern), "")


_MARKS = _deletion(r"\p{M}+")
_LEFT, _RIGHT = _deletion(r"\A\s+"), _deletion(r"\s++\Z")
_NMT = (
    _deletion(r"[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]"),
    _Substitution(regex.compile(r"[\t\n\x0c\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]"), " "),
)
_BERT_CLEAN = (
    _deletion(r"[\0\ufffd\p{Cf}\p{Co}]|[^\P{Cc}\t\n\r]"),
    _Substitution(regex.compile(r"[^\S ]"), " "),
)
_BERT_CHINESE = _Substitution(
    regex.compile(
        "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f"
        "\U0002b920-\U0002ceaf\U0002f800-\U0002fa1f]"
    ),
    r" \g<0> ",
)
_BERT_MARKS = (Unicode("NFD"), _deletion(r"\p{Mn}+"))


@dataclass(frozen=True)
class StripAccents(Composed):
    r"""
    Delete combining marks. Those inside a composed character are out of its reach: put `Unicode("NFD")` before.

    Examples
    --------
    >>> StripAccents()("e\u0301 é")
    'e é'
    """

    def parts(self) -> Sequence[Step]:
        return (_MARKS,)


@dataclass(frozen=True)
class Strip(Composed):
    """
    Delete white space at the ends.

    Parameters
    ----------
    left, right
        At which ends.
    """

    left: bool = True
    right: bool = True

    def parts(self) -> Sequence[Step]:
        return [_LEFT] * self.left + [_RIGHT] * self.right


@dataclass(frozen=True)
class Bert(Composed):
    r"""
    What BERT does to a text before it looks for words.

    Parameters
    ----------
    clean_text
        Delete control and format characters, private ones and U+FFFD; make all white space spaces.
    handle_chinese_chars
        Put a space on both sides of each Chinese character.
    strip_accents
        Decompose (NFD) and delete the marks that take no room; `None`: if and only if `lowercase`.
    lowercase
        Lower case.

    Examples
    --------
    >>> Bert()("Él\tlee 漢字"), Bert(lowercase=False)("Él\tlee 漢字")
    ('el lee  漢  字 ', 'Él lee  漢  字 ')
    """

    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True

    def parts(self) -> Sequence[Step]:
        strip = self.lowercase if self.strip_accents is None else self.strip_accents
        return [
            *_BERT_CLEAN * self.clean_text,
            *[_BERT_CHINESE] * self.handle_chinese_chars,
            *_BERT_MARKS * strip,
            *[Lowercase()] * self.lowercase,
        ]


@dataclass(frozen=True)
class Nmt(Composed):
    r"""
    SentencePiece's cleaning: controls are deleted; other white space, marks of direction and U+FFFD become spaces.

    Examples
    --------
    >>> Nmt()("a\x01\tb\u200bc")
    'a b c'
    """

    def parts(self) -> Sequence[Step]:
        return _NMT


@dataclass(frozen=True)
class Prepend(Step):
    """
    A string before every text that is not empty.

    Parameters
    ----------
    text
        The string.
    """

    text: str

    def __post_init__(self) -> None:
        check_text(self.text)

    def edits(self, text: str) -> Edits:
        return [(0, 1, self.text + text[0])] if text else []


@dataclass(frozen=True)
class Replace(Step):
    """
    Every occurrence of a string, or every match of a regular expression, becomes another string.

    Parameters
    ----------
    pattern
        The string, or the expression, read as by `fp_tokenize.pretokenize.Split`.
    content
        What it becomes, taken literally.
    regex
        Whether `pattern` is an expression.

    Raises
    ------
    ValueError
        If the pattern is refused. When called: if the pattern takes longer than two seconds and one more per 100,000
        characters, or the text would grow by more than 2^24 characters.

    Examples
    --------
    >>> Replace(" {2,}", " ", regex=True)("too    wide")
    'too wide'
    """

    pattern: str
    content: str
    regex: bool = False

    def __post_init__(self) -> None:
        check_text(self.pattern)
        check_text(self.content)
        compiled(self.pattern, self.regex)

    def __call__(self, text: str) -> str:
        if not self.regex and self.pattern and len(self.content) <= len(self.pattern):
            return text.replace(self.pattern, self.content)
        return super().__call__(text)

    def edits(self, text: str) -> Edits:
        room = ROOM
        for start, end in spans(compiled(self.pattern, self.regex), text):
            room -= len(self.content) - (end - start)
            if room < 0:
                raise ValueError(
                    f"replacing {self.pattern[:80]!r} by {len(self.content)} characters makes a text of {len(text)} "
                    f"characters longer by more than {ROOM}; is the file that asks for it genuine?"
                )
            yield start, end, self.content


@dataclass(frozen=True)
class Precompiled(Step):
    """
    The table of replacements inside a SentencePiece model.

    Parameters
    ----------
    charsmap
        The table as the model stores it: the size of the trie in bytes (4 bytes, little-endian), the trie (a double
        array of 4-byte units whose keys are UTF-8), then the replacements, each ended by a zero byte.
    rule
        `"longest"`: at each place the longest key that matches is replaced, as SentencePiece does. `"graphemes"`: each
        grapheme cluster of less than 6 bytes by the replacement of the shortest key that it begins with, or else each
        of its characters by its own, as Hugging Face's library does.

    Raises
    ------
    ValueError
        If the table is cut off or corrupt, or the rule unknown.
    """

    charsmap: bytes
    rule: str = "graphemes"

    def __post_init__(self) -> None:
        if self.rule not in ("graphemes", "longest"):
            raise ValueError(f"rule is 'graphemes' or 'longest', got {self.rule!r}")
        _ = self._trie

    @cached_property
    def _trie(self) -> "_Trie":
        return _Trie(self.charsmap)

    @cached_property
    def _table(self) -> "_Table":
        return _Table(super().__call__)

    def __call__(self, text: str) -> str:
        if self._trie.has_inner_space:
            return super().__call__(text)
        # neither a key nor a grapheme cluster crosses the border between a visible character of ASCII and a space
        table = self._table
        if len(table) > STRETCHES:  # replaced, not emptied: another thread may be reading
            table = self.__dict__["_table"] = _Table(super().__call__)
        return "".join(map(table.__getitem__, _BORDER.split(text)))

    def edits(self, text: str) -> Edits:
        if self.rule == "longest":
            return self._longest(text)
        return self._by_graphemes(text)

    def _by_graphemes(self, text: str) -> Edits:
        start = 0
        for grapheme in graphemes(text):
            end = start + len(grapheme)
            found = next(self._trie.prefixes(grapheme), None) if len(grapheme.encode()) < 6 else None
            if found is not None:
                yield start, end, found[1]
            else:
                for i, character in enumerate(grapheme, start):
                    for _, content in self._trie.prefixes(character):
                        yield i, i + 1, content
            start = end

    def _longest(self, text: str) -> Edits:
        start = 0
        while start < len(text):
            end = start + 1
            found = [*self._trie.prefixes(text, start)]
            if found:
                end, content = found[-1]
                yield start, end, content
            start = end

    def __reduce__(self) -> tuple[object, ...]:
        return Precompiled, (self.charsmap, self.rule)


_BORDER = re.compile(r"(?<=[!-~])(?= )")


class _Table(dict[str, str]):
    """Short stretches of text and what becomes of them, each worked out once."""

    def __init__(self, normalize: Callable[[str], str]) -> None:
        super().__init__()
        self.normalize = normalize

    def __missing__(self, text: str) -> str:
        result = self.normalize(text)
        if len(text) <= 64:
            self[text] = result
        return result


class _Trie:
    r"""
    The double array of a charsmap.

    A state is a base $B$: its child by byte $b$ is the unit at $B \oplus b$, if that unit's label is $b$. Of a unit at
    $i$ bits 0 to 7 and 31 are the label, bit 8 says that a key ends here, bits 10 and up, shifted by 8 if bit 9 is set,
    are $i \oplus$ the base of the state that it leads to. Where a key ends, the unit at that base holds the place of
    its replacement.
    """

    def __init__(self, data: bytes) -> None:
        size = int.from_bytes(data[:4], "little")
        if len(data) < 4 or size < 4 or size % 4 or 4 + size > len(data):
            raise ValueError(
                f"a charsmap is the size of its trie in 4 bytes, the trie and the replacements, got {len(data)} bytes "
                f"and the size {size}; is the file cut off?"
            )
        self.units: list[int] = np.frombuffer(data, "<u4", size // 4, 4).tolist()
        self.contents = data[4 + size :]
        try:
            self.contents.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"the replacements of this charsmap are no UTF-8: {error}; it is corrupt") from None
        self.root = self._base(0)
        self.has_inner_space = False
        self._visit()

    def _base(self, at: int) -> int:
        unit = self.units[at]
        return at ^ (unit >> 10 << (unit >> 6 & 8))

    def _visit(self) -> None:
        """Look at every state once: does it lead outside, and can a space stand in a key behind the first character?"""
        children: dict[int, list[int]] = {}
        for at, unit in enumerate(self.units):
            label = unit & 0x800000FF
            if 0 < label < 256:
                children.setdefault(at ^ label, []).append(at)
        seen, todo = {self.root}, [self.root]
        while todo:
            state = todo.pop()
            for at in children.get(state, ()):
                self.has_inner_space |= state != self.root and self.units[at] & 255 == 32
                base = self._base(at)
                ends = self.units[at] >> 8 & 1
                if base >= len(self.units) or (ends and not self._is_place(self.units[base] & 0x7FFFFFFF)):
                    raise ValueError(f"unit {at} of this charsmap's trie leads outside; it is corrupt")
                if base not in seen:
                    seen.add(base)
                    todo.append(base)

    def _is_place(self, start: int) -> bool:
        return start < len(self.contents) and self.contents[start] & 0xC0 != 0x80

    def prefixes(self, text: str, start: int = 0) -> Iterator[tuple[int, str]]:
        """The keys with which `text[start:]` begins, shortest first: where each ends, and its replacement."""
        state = self.root
        for end in range(start + 1, len(text) + 1):
            at = -1
            for byte in text[end - 1].encode():
                at = state ^ byte
                if byte == 0 or at >= len(self.units) or self.units[at] & 0x800000FF != byte:
                    return
                state = self._base(at)
            if self.units[at] >> 8 & 1:
                place = self.units[state] & 0x7FFFFFFF
                stop = self.contents.find(b"\0", place)
                yield end, self.contents[place : stop if stop >= 0 else None].decode()
