r"""
Pre-tokenizers: where words end before any vocabulary is asked.

Subword algorithms build tokens from parts of words, and something has to say what a word is. A **pre-tokenizer** cuts a
text into words; no token will ever contain characters of two. This section reads the rules that published tokenizers
cut by, proves that they lose nothing and that spaces are safe places to cut a text in pieces, and runs them fast.

You need: `fp_tokenize.unicode` for categories and white space; regular expressions.

## Why cut at all

Three reasons. *Vocabulary*: left alone, a training algorithm would make entries for "of the" and for "dog." beside
"dog," and "dog!". *Time*: the work of cutting a word into tokens grows faster than its length, and words are short.
*Repetition*: a word that has been cut once can be looked up. The price is that no token can be longer than a word, and
that scripts written without spaces get long words.

A cut is made between two characters, so the words, joined, should be the text again. BERT's rules drop white space and
fail this: what they cut cannot be put together exactly.

## Reading a pattern

Most rules are one regular expression whose matches are the words. At each place the engine tries the alternatives from
left to right and takes **the first that matches**, not the longest; the next search begins where the match ended.
GPT-2's pattern, `GPT2_PATTERN` (E1), one alternative a line:

| alternative | matches |
| --- | --- |
| `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll`, `'d` | the ends of English contractions, in lower case |
| ` ?\p{L}+` | letters, with a space before them if there is one |
| ` ?\p{N}+` | numbers, likewise |
| ` ?[^\s\p{L}\p{N}]+` | other visible characters: punctuation, symbols, marks; also controls |
| `\s+(?!\S)` | white space, but before a visible character without its last one |
| `\s+` | the white space that is left |

So a word carries the space before it, and of several spaces only the last goes with the word:

>>> GPT2.split("It's   a dog's life!")
['It', "'s", '  ', ' a', ' dog', "'s", ' life', '!']

Its weak points: IT'S is cut otherwise than it's, a combining mark ends a word, and numbers are words of any length.

>>> GPT2.split("IT'S"), GPT2.split("cafe\u0301s") == ["cafe", "\u0301", "s"], GPT2.split("3141592653")
(['IT', "'", 'S'], True, ['3141592653'])

GPT-4's, `CL100K_PATTERN` (E2), which Llama 3 took over:

| alternative | matches |
| --- | --- |
| `'s`, `'t` and so on within `(?i: )` | the same ends, in any case |
| `[^\r\n\p{L}\p{N}]?\p{L}+` | letters, with one character of any other kind before them, but no line end |
| `\p{N}{1,3}` | up to three digits |
| ` ?[^\s\p{L}\p{N}]+[\r\n]*` | other visible characters, with the line ends behind them |
| `\s*[\r\n]+` | white space up to the last line end of a run |
| `\s+(?!\S)`, `\s+` | as before |

>>> CL100K.split("IT'S (approximately) 31415\n\n  end.\n")
['IT', "'S", ' (', 'approximately', ')', ' ', '314', '15', '\n\n', ' ', ' end', '.\n']

The bracket stays with the space, because the search at the space comes first and finds ` ?[^\s\p{L}\p{N}]+`. Without
the space it would have gone with the letters:

>>> CL100K.split("f(x)")
['f', '(x', ')']

GPT-4o's, `O200K_PATTERN` (E3), has letters of two kinds, $U$ = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]` and $l$ =
`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`: those that may stand where capitals do, and where small letters do. Letters of scripts
without case, and marks, are in both. Words are $U^* l^+$ or, failing that, $U^+ l^*$, after the same optional character
and with a contraction's end; punctuation also takes slashes behind it. So words of camelCase are cut and marks are not:

>>> O200K.split("camelCaseHTTPServer isn't"), len(O200K.split("cafe\u0301s"))
(['camel', 'Case', 'HTTPServer', " isn't"], 1)

SmolLM cuts twice: first every digit apart, then GPT-2's pattern on each piece. (`Digits` sees pieces, so the white
space before a digit is at the end of its piece.)

>>> SMOLLM.split("in  1999")
['in', '  ', '1', '9', '9', '9']

`BERT` takes runs between white space and cuts out each punctuation mark; `WHITESPACE` is `\w+|[^\w\s]+`; `METASPACE`,
of SentencePiece's models, writes each space as ▁ and cuts before each ▁, so that its words too can be joined again.

## Nothing is lost

**Claim** `tokenize.words-partition`. The words of `GPT2`, `CL100K`, `O200K` and `SMOLLM`, joined, are the text. Those
of `BERT`, `WHITESPACE` and `WhitespaceSplit` are the text without its white space. Those of `METASPACE` are the text
with spaces replaced, and with the replacement in front if it did not begin with one.

**Proof.** Every character is a letter, a number, white space or something else, and only one of them, since white space
has no category L or N. For the first three it is enough that some alternative matches at every place, and none matches
nothing: then no search passes over a character. At a letter ` ?\p{L}+` matches, or in (E2) the same behind an optional
character, both of which may be left out. In (E3) the categories of letters are Lu, Ll, Lt, Lm, Lo; Ll alone is
$U^* l^+$ with $U^*$ empty, the others are $U^+ l^*$ with $l^*$ empty. At a number `\p{N}` and at something else
`[^\s\p{L}\p{N}]` matches, its space left out; at white space `\s+`. For `SMOLLM`, `\p{N}|\P{N}+` matches at every
place, and then (E1) in every piece.

The pattern of `BERT` is a run of what is neither white space nor punctuation, or one punctuation mark. At each
character but white space one of the two matches; no match contains white space. The same holds for `\w+|[^\w\s]+` and
`\S+`, since no white space is in `\w`. `METASPACE` cuts the rewritten text before each ▁ and drops nothing.
$\blacksquare$

## Spaces are safe

Where may a text be cut in two, so that the words of the parts are those of the whole? Not everywhere:

>>> GPT2.split("   a"), GPT2.split(" ") + GPT2.split("  a")
(['  ', ' a'], [' ', ' ', ' a'])

But before a space that follows something visible:

**Claim** `tokenize.space-boundary`. Let $x$ end with a character that is not white space (`tokenize.white-space`) and
$y$ begin with a space, U+0020. For `GPT2`, `CL100K`, `O200K`, `SMOLLM`, `BERT`, `WHITESPACE`, `WhitespaceSplit` and
`METASPACE` the words of $xy$ are the words of $x$ followed by those of $y$ (with `first=False` for $y$); so a single
space between two visible characters always begins a word, or a gap between words. The same holds with another
`add_prefix_space` or `prepend_scheme`, for `Split` at tiktoken's spellings of (E1) and (E2) or at Qwen's pattern, which
is (E2) with single digits, and for any number of `Digits` and `Punctuation` steps, then one of these steps, then any
others.

**Proof.** *Patterns.* Look where in (E1), (E2), (E3), or in the patterns of `SMOLLM` (the next claim), `BERT`,
`WHITESPACE` and `WhitespaceSplit`, something can match a space: only the first item of an alternative (` ?`,
`[^\r\n\p{L}\p{N}]?`, `\s+`, `\s*`). `\p{L}`, `\p{N}`, the classes $U$ and $l$, `[^\s\p{L}\p{N}]`, `[\r\n]`, `[\r\n/]`,
`\w`, `\S`, the quotes and the letters of contractions match none. An item `\s+` or `\s*` that has matched several
characters has matched white space only. So, with the space of $y$ at place $q$:

(a) *In no attempt to match that begins before $q$ does anything match at $q$.* It would have to be a first item that
has already matched the character before $q$, an item `\s+` or `\s*` since the others match at most one character; but
that character is not white space.

(b) *In no such attempt is a look-ahead, or the end of the text, asked for at $q$*, because `(?!\S)` and tiktoken's `$`
follow `\s+`, which would have matched the character before $q$.

Now compare the searches in $xy$ and in $x$, both from the left. An attempt begun before $q$ goes on in the same way in
both until it asks for a character at $q$; in $xy$ there is a space, in $x$ the text ends, and by (a) and (b) the answer
is no both times. So up to $q$ both find the same matches, and none of them reaches beyond $q$. Then the search in $xy$
comes to $q$. Since the patterns never look back, from here on it finds what it finds in $y$ alone.

*What is put in front.* A space is put in front of $xy$ if it is put in front of $x$, and never in front of $y$, which
begins with one: apply the above to the longer $x$.

*Metaspace.* The rewritten $y$ begins with ▁, so nothing is put in front of it, and what is put in front of $x$ depends
on the beginning of $x$ only. Cutting the joined text before each ▁ cuts before $y$, and elsewhere where it cuts the
parts.

*Several steps.* `Digits` and `Punctuation` decide whether to cut between two neighbouring characters by looking at
these two, and whether to drop a character by looking at it. So the pieces of $xy$ are those of $x$ followed by those of
$y$, except that the last of $x$ and the first of $y$ may be together in one, $uv$, with $u$ ending in what is not white
space and $v$ beginning with the space. After further such steps the same can be said. The step of the claim's list then
cuts $uv$ into the words of $u$ and those of $v$. Later steps see the same pieces in both cases, and each piece by
itself, or with the knowledge whether it begins the input, which in both cases only a piece of $x$ does. $\blacksquare$

This is what makes it exact to look up whole stretches of text (`fp_tokenize.pipeline`), to count words in parts of a
file (`fp_tokenize.words`), and to be faster at the splitting itself.

## Faster than one pattern

Two patterns may have the same matches while one of them runs faster.

**Claim** `tokenize.digits-then-gpt2`. The words of `SMOLLM` are the matches of
`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+`.

**Proof.** In the pieces between numbers, (E1) is at work without its third alternative, as there are no numbers in
them. A piece ends where a number or the end of the text follows. In the one pattern no match but that of `\p{N}`
contains a number, so all its matches lie within pieces. An item that asks for a character at the end of a piece gets
the answer no from the end and from a number alike. The look-ahead `(?!\S)` says yes at the end of a piece, and before
white space; `(?![^\s\p{N}])` says yes at the end of the text, before white space and before a number. So both find the
same matches. $\blacksquare$

**Claim** `tokenize.ascii-words`. In a text of ASCII, a pattern of this section and the one in which `\p{L}` is written
`A-Za-z`, `\p{N}` `0-9` and so on, `\s` is the six characters U+0009 to U+000D and U+0020, and case is ignored in ASCII
only, have the same matches.

**Proof.** An engine asks a pattern only which characters of the text its items match. The text has characters of ASCII
only, and on these the items of the two patterns agree: the letters of ASCII are A to Z, in Lu, and a to z, in Ll; its
numbers are 0 to 9; it has no marks; six of the characters of `tokenize.white-space` are in it; a letter of ASCII
matches another without regard to case in both or in neither. $\blacksquare$

Python's own `re` has no `\p{...}` but is the faster engine, and runs the second form. Texts of ASCII are given to it
whole; others in blocks of a few hundred characters, cut by `tokenize.space-boundary`, of which in English most are
ASCII.

## In practice

The steps have the meaning of Hugging Face's pre-tokenizers and give the same words and spans, except where the tables
of Unicode differ: its expressions are run by Oniguruma (Unicode 16 in release 0.23), `Digits` asks Rust's (17),
`Punctuation` and `Bert` use tables of Unicode 8; here all is asked of `regex`. The fixture
`pretokenize_huggingface.json` of the tests lists the code points concerned; all are younger than Unicode 3.2 but U+0295
and U+166D, whose categories were changed. Patterns in files are read with `^` and `$` matching at every line and with
nested classes, which is Oniguruma's way; the two engines' languages differ in rarer points, and
`fp_tokenize.interchange` refuses what they read differently. tiktoken writes the first two patterns with possessive
repetitions (`\p{L}++`), which its engine runs faster. `Split` knows those spellings too. The first has the matches of
(E1). The second differs from (E2), with which Llama 3 was published: it has one more alternative, for white space at
the very end of the text, so that a final "\n " is one word to tiktoken and two to Llama 3.

A pattern that comes with a file may need time exponential in the length of the text, such as `(a+)+$`. Ours do not: an
attempt that fails has read at most the run of characters that it began in. Foreign ones get a limit on their time, two
seconds and one more per 100,000 characters, and on their size.

Sources: GPT-2's `encoder.py`; tiktoken's `openai_public.py`; the `pre_tokenizers` of Hugging Face's `tokenizers`.
"""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fp_tokenize._patterns import Known, compiled, findall, seconds, spans, too_slow
from fp_tokenize.frame import check_text

__all__ = [
    "Pretokenizer",
    "named",
    "NAMES",
    "GPT2",
    "CL100K",
    "O200K",
    "SMOLLM",
    "BERT",
    "WHITESPACE",
    "METASPACE",
    "GPT2_PATTERN",
    "CL100K_PATTERN",
    "O200K_PATTERN",
    "Step",
    "Matching",
    "Split",
    "ByteLevel",
    "Digits",
    "Punctuation",
    "Whitespace",
    "WhitespaceSplit",
    "Bert",
    "Metaspace",
]  # the order of the page

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's pattern (E1)."""
CL100K_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
"""The pattern of GPT-4 and of Llama 3 (E2)."""
O200K_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pattern of GPT-4o (E3)."""

# a single space between two characters that are not white space (`tokenize.space-boundary`); the space comes first in
# the pattern, which makes the search fast
SINGLE_SPACE = re.compile(r" (?<=\S )(?=\S)")
BEHAVIORS = ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")

_PUNCTUATION = r"\p{P}$+<=>\^`|~"
_GPT2, _CL100K, _O200K = (Known(pattern, True) for pattern in (GPT2_PATTERN, CL100K_PATTERN, O200K_PATTERN))
_QWEN2 = Known(CL100K_PATTERN.replace("{1,3}", ""), True)
# Digits(True), then GPT-2's pattern: digits stand alone, and white space before one is at the end of its piece
_SMOLLM = Known(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+", True)
_WORDS, _NONSPACE = Known(r"\w+|[^\w\s]+", True), Known(r"\S+", True)
_BERT = Known(rf"[^\s{_PUNCTUATION}]+|[{_PUNCTUATION}]", True)
_DIGIT, _NUMBER = Known(r"\p{N}|\P{N}+", False), Known(r"\p{N}+|\P{N}+", False)
_MARK = Known(f"[{_PUNCTUATION}]", False)
_KNOWN = {known.pattern: known for known in (_GPT2, _CL100K, _O200K, _QWEN2)}
# tiktoken's own spellings of the first two, which its engine runs faster; the second takes white space at the end whole
_KNOWN[r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"] = _GPT2
_KNOWN[
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|"
    r"\s+(?!\S)|\s"
] = Known(CL100K_PATTERN.replace(r"\s*[\r\n]+", r"\s+\Z|\s*[\r\n]+"), True)


class Pretokenizer:
    """
    Steps, each applied to every piece that the one before has left.

    Parameters
    ----------
    steps
        Any number of steps of this section; none leaves the text whole.

    Examples
    --------
    >>> GPT2.split("Hello  world, it's 1999")
    ['Hello', ' ', ' world', ',', ' it', "'s", ' 1999']
    >>> Pretokenizer([WhitespaceSplit(), Digits(individual_digits=True)]).split("in 1999")
    ['in', '1', '9', '9', '9']
    """

    def __init__(self, steps: "Sequence[Step]" = ()) -> None:
        self.steps = tuple(steps)
        for step in self.steps:
            if not isinstance(step, Step):
                raise TypeError(f"a pre-tokenizer is made of steps such as Digits() or ByteLevel(), got {step!r}")
        # a byte-level step that neither cuts nor adds a space leaves words as they are
        self._working = tuple(step for step in self.steps if step != ByteLevel(False, False))
        self._direct = _direct(self._working)
        self._needs_places = any(
            isinstance(step, Metaspace) and step.prepend_scheme == "first" for step in self._working[1:]
        )

    def split(self, text: str, first: bool = True) -> list[str]:
        """
        The words of a text, none of them empty.

        Parameters
        ----------
        text
            Any string without lone surrogates.
        first
            Whether `text` begins the input; it matters to `Metaspace(prepend_scheme="first")` only.

        Raises
        ------
        ValueError
            For lone surrogates, and for a pattern from outside that takes longer than two seconds and one more per
            100,000 characters of the text, or than as much again on a piece of it.
        """
        _check(text)
        if self._direct is not None:
            return self._direct(text)
        if self._needs_places:
            return [word for word, _, _ in self.pieces(text, first)]
        words = [text] if text else []
        deadline = time.monotonic() + seconds(text)
        for step in self._working:
            words = [part for word in words for part in step.words(step.prepare(word, first), deadline)]
        return words

    def pieces(self, text: str, first: bool = True) -> list[tuple[str, int, int]]:
        """
        The words of a text, each with its span: `(word, start, end)`.

        Parameters
        ----------
        text, first
            As in `split`.

        Returns
        -------
        list of tuple
            A word is `text[start:end]` with its characters replaced and more put in front as the steps say. A word that
            consists of added characters only has the span of the character behind them.

        Examples
        --------
        >>> METASPACE.pieces("to be")
        [('▁to', 0, 2), ('▁be', 2, 5)]
        """
        _check(text)
        pieces = [(text, 0, len(text))] if text else []
        for step in self._working:
            parts = []
            for word, start, end in pieces:
                prepared = step.prepare(word, first and start == 0)
                added = len(prepared) - (end - start)
                parts += [
                    (prepared[i:j], start + max(i - added, 0), start + max(j - added, 1))
                    for i, j in step.cuts(prepared)
                ]
            pieces = parts
        return pieces

    @property
    def space_safe(self) -> bool:
        """
        Whether a text may be cut before any space that follows a character that is not white space.

        Splitting the two parts, the second with `first=False`, then gives the words of the whole
        (`tokenize.space-boundary`). Of patterns from outside nothing is known, so for them it is false.
        """
        for step in self._working:
            if step.cuts_at_spaces:
                return True
            if not isinstance(step, Digits | Punctuation):
                return False
        return False

    @property
    def keeps_length(self) -> bool:
        """Whether the words of a text that begins with a space are together as long as the text, as far as is known."""
        if len(self._working) == 1 and isinstance(self._working[0], Metaspace):
            return True
        return all(
            isinstance(step, Digits)
            or step == ByteLevel()
            or (isinstance(step, Split) and step.cuts_at_spaces and step.behavior == "isolated")
            for step in self._working
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pretokenizer) and self.steps == other.steps

    def __hash__(self) -> int:
        return hash(self.steps)

    def __reduce__(self) -> tuple[object, ...]:
        return Pretokenizer, (self.steps,)

    def __repr__(self) -> str:
        return f"Pretokenizer({list(self.steps)!r})"


def _check(text: str) -> None:
    if not isinstance(text, str) or not text.isascii():
        check_text(text)


class Step:
    """One rule: it may rewrite a piece, and cuts it."""

    cuts_at_spaces = False
    """Whether `tokenize.space-boundary` holds for this step alone."""

    def prepare(self, text: str, at_start: bool) -> str:
        """
        A piece as this step rewrites it before cutting: characters replaced one for one, or more put in front.

        `at_start` says whether the piece begins the input.
        """
        return text

    def cuts(self, text: str) -> Iterable[tuple[int, int]]:
        """The spans of the parts of a prepared piece, in order, none empty; what lies between them is dropped."""
        raise NotImplementedError(f"{type(self).__name__} does not say where it cuts")

    def words(self, text: str, deadline: float = float("inf")) -> list[str]:
        """The same parts as strings; `deadline` is when, on the clock `time.monotonic`, a slow pattern gives up."""
        return [text[start:end] for start, end in self.cuts(text)]


class Matching(Step):
    """A step whose words are the matches of a pattern of this section: the base of some below."""

    _known: Known

    def cuts(self, text: str) -> Iterable[tuple[int, int]]:
        return self._known.spans(text)

    def words(self, text: str, deadline: float = float("inf")) -> list[str]:
        return self._known.findall(text)


@dataclass(frozen=True)
class Split(Step):
    """
    Cut at the matches of a pattern.

    Parameters
    ----------
    pattern
        A regular expression in the syntax of `regex`, read as Oniguruma does: `^` and `$` match at every line.
    regex
        False: `pattern` is a string, taken literally.
    behavior
        What happens to the matches: `"isolated"`, each is a word; `"removed"`; `"merged_with_previous"` and
        `"merged_with_next"`, the word beside it takes it in; `"contiguous"`, neighbouring matches are one word.
    invert
        Let what lies between the matches play the part of the matches.

    Raises
    ------
    ValueError
        If the pattern is no regular expression, calls itself, or is too long with its repetitions written out; if the
        behaviour is unknown.

    Examples
    --------
    >>> for behavior in BEHAVIORS:
    ...     print(Pretokenizer([Split("-", behavior=behavior)]).split("the-final--countdown"))
    ['the', 'final', 'countdown']
    ['the', '-', 'final', '-', '-', 'countdown']
    ['the-', 'final-', '-', 'countdown']
    ['the', '-final', '-', '-countdown']
    ['the', '-', 'final', '--', 'countdown']
    """

    pattern: str
    regex: bool = True
    behavior: str = "isolated"
    invert: bool = False

    def __post_init__(self) -> None:
        _check(self.pattern)
        _check_behavior(self.behavior)
        compiled(self.pattern, self.regex)

    @property
    def known(self) -> Known | None:
        """The pattern, if it is one of this section and its words are all that is asked."""
        return _KNOWN.get(self.pattern) if self.regex and self._wants_matches else None

    @property
    def cuts_at_spaces(self) -> bool:  # type: ignore[override]
        """Whether the pattern is one of this section."""
        return self.known is not None

    @property
    def _wants_matches(self) -> bool:
        return self.behavior == "isolated" or (self.behavior == "removed" and self.invert)

    def cuts(self, text: str) -> Iterable[tuple[int, int]]:
        if self.known is not None:
            return self.known.spans(text)
        return _behave(spans(compiled(self.pattern, self.regex), text), text, self.behavior, self.invert)

    def words(self, text: str, deadline: float = float("inf")) -> list[str]:
        if self.known is not None:
            return self.known.findall(text)
        if time.monotonic() > deadline:
            raise too_slow(self.pattern, text)
        if self._wants_matches:
            words = [*filter(None, findall(compiled(self.pattern, self.regex), text))]
            # matches do not overlap: if their lengths add up to the text's, nothing lies between them
            if self.behavior == "removed" or sum(map(len, words)) == len(text):
                return words
        return super().words(text)


def _check_behavior(behavior: str) -> None:
    if behavior not in BEHAVIORS:
        raise ValueError(f"behavior is one of {', '.join(BEHAVIORS)}, got {behavior!r}")


def _behave(matches: Iterable[tuple[int, int]], text: str, behavior: str, invert: bool) -> list[tuple[int, int]]:
    """The spans that are kept when matches are delimiters."""
    parts: list[tuple[int, int, bool]] = []
    done = 0
    for start, end in matches:
        if done < start:
            parts.append((done, start, invert))
        parts.append((start, end, not invert))
        done = end
    if done < len(text):
        parts.append((done, len(text), invert))
    if behavior in ("isolated", "removed"):
        kept = [(i, j) for i, j, delimiter in parts if not (delimiter and behavior == "removed")]
    else:
        kept, before = [], False
        for i, j, delimiter in reversed(parts) if behavior == "merged_with_next" else parts:
            if kept and (delimiter == before if behavior == "contiguous" else delimiter and not before):
                kept[-1] = min(i, kept[-1][0]), max(j, kept[-1][1])
            else:
                kept.append((i, j))
            before = delimiter
        if behavior == "merged_with_next":
            kept.reverse()
    return [(i, j) for i, j in kept if i < j]


@dataclass(frozen=True)
class ByteLevel(Matching):
    """
    GPT-2's words. (The names of bytes, which this step also writes in other libraries, are the tokenizer's business.)

    Parameters
    ----------
    add_prefix_space
        Put a space before a text that does not begin with one.
    use_regex
        False: do not cut.

    Examples
    --------
    >>> Pretokenizer([ByteLevel(add_prefix_space=True)]).split("to be")
    [' to', ' be']
    """

    add_prefix_space: bool = False
    use_regex: bool = True

    _known = _GPT2

    @property
    def cuts_at_spaces(self) -> bool:  # type: ignore[override]
        """Whether it cuts."""
        return self.use_regex

    def prepare(self, text: str, at_start: bool) -> str:
        return " " + text if self.add_prefix_space and not text.startswith(" ") else text

    def cuts(self, text: str) -> Iterable[tuple[int, int]]:
        return super().cuts(text) if self.use_regex else [(0, len(text))]

    def words(self, text: str, deadline: float = float("inf")) -> list[str]:
        return super().words(text) if self.use_regex else [text]


@dataclass(frozen=True)
class Digits(Matching):
    """
    Numbers apart from the rest: runs of Unicode's category N, or each of its characters if so asked.

    Examples
    --------
    >>> [Pretokenizer([Digits(individually)]).split("at 10²") for individually in (False, True)]
    [['at ', '10²'], ['at ', '1', '0', '²']]
    """

    individual_digits: bool = False

    @property
    def _known(self) -> Known:  # type: ignore[override]
        return _DIGIT if self.individual_digits else _NUMBER


@dataclass(frozen=True)
class Punctuation(Step):
    """
    Cut at punctuation: Unicode's category P, and of ASCII all that is neither letter, digit, space nor control.

    Parameters
    ----------
    behavior
        As in `Split`.

    Examples
    --------
    >>> Pretokenizer([Punctuation()]).split("a+b, or «c»")
    ['a', '+', 'b', ',', ' or ', '«', 'c', '»']
    """

    behavior: str = "isolated"

    def __post_init__(self) -> None:
        _check_behavior(self.behavior)

    def cuts(self, text: str) -> Iterable[tuple[int, int]]:
        return _behave(_MARK.spans(text), text, self.behavior, False)


@dataclass(frozen=True)
class Whitespace(Matching):
    r"""
    Runs of word characters (`\w`: letters, marks, digits, `_`) and runs of others; white space is dropped.

    Examples
    --------
    >>> WHITESPACE.split("it's  naïve...")
    ['it', "'", 's', 'naïve', '...']
    """

    cuts_at_spaces = True
    _known = _WORDS


@dataclass(frozen=True)
class WhitespaceSplit(Matching):
    """
    What white space separates.

    Examples
    --------
    >>> Pretokenizer([WhitespaceSplit()]).split("it's  naïve...")
    ["it's", 'naïve...']
    """

    cuts_at_spaces = True
    _known = _NONSPACE


@dataclass(frozen=True)
class Bert(Matching):
    """
    What white space separates, with each punctuation mark on its own.

    Examples
    --------
    >>> BERT.split("it's  naïve...")
    ['it', "'", 's', 'naïve', '.', '.', '.']
    """

    cuts_at_spaces = True
    _known = _BERT


@dataclass(frozen=True)
class Metaspace(Step):
    """
    Spaces become a visible character, and words begin with it.

    Parameters
    ----------
    replacement
        That character.
    prepend_scheme
        Where it is put in front if it is not there: `"always"`, `"first"` (at the start of the input) or `"never"`.
    split
        False: do not cut.

    Examples
    --------
    >>> METASPACE.split("to  be")
    ['▁to', '▁', '▁be']
    """

    replacement: str = "▁"
    prepend_scheme: str = "always"
    split: bool = True

    def __post_init__(self) -> None:
        _check(self.replacement)
        if len(self.replacement) != 1:
            raise ValueError(f"the replacement of a space is one character, got {self.replacement!r}")
        if self.prepend_scheme not in ("always", "first", "never"):
            raise ValueError(f"prepend_scheme is 'always', 'first' or 'never', got {self.prepend_scheme!r}")

    @property
    def cuts_at_spaces(self) -> bool:  # type: ignore[override]
        """Whether it cuts."""
        return self.split

    def prepare(self, text: str, at_start: bool) -> str:
        text = text.replace(" ", self.replacement)
        wanted = self.prepend_scheme == "always" or (self.prepend_scheme == "first" and at_start)
        return self.replacement + text if wanted and not text.startswith(self.replacement) else text

    def cuts(self, text: str) -> Iterable[tuple[int, int]]:
        end = 0
        for word in self.words(text):
            yield end, end + len(word)
            end += len(word)

    def words(self, text: str, deadline: float = float("inf")) -> list[str]:
        if not self.split:
            return [text]
        head, *others = text.split(self.replacement)
        words = [self.replacement + other for other in others]
        return [head, *words] if head else words


def _direct(steps: tuple[Step, ...]) -> Callable[[str], list[str]] | None:
    """The words of a whole text in one call, where there is such a call."""
    if steps == (Digits(True), ByteLevel(False, True)):
        return _SMOLLM.findall
    if len(steps) != 1:
        return None
    step = steps[0]
    if isinstance(step, Split):
        return step.known.findall if step.known is not None else None
    if isinstance(step, Matching) and (step == ByteLevel() or not isinstance(step, ByteLevel)):
        return step._known.findall
    return None


GPT2 = Pretokenizer([ByteLevel()])
"""GPT-2, RoBERTa."""
CL100K = Pretokenizer([Split(CL100K_PATTERN), ByteLevel(use_regex=False)])
"""GPT-4, Llama 3."""
O200K = Pretokenizer([Split(O200K_PATTERN), ByteLevel(use_regex=False)])
"""GPT-4o."""
SMOLLM = Pretokenizer([Digits(individual_digits=True), ByteLevel()])
"""SmolLM."""
BERT = Pretokenizer([Bert()])
"""BERT."""
WHITESPACE = Pretokenizer([Whitespace()])
"""Words and punctuation."""
METASPACE = Pretokenizer([Metaspace()])
"""SentencePiece's models: T5, Llama 2, XLM-R."""

_NAMED = {
    "none": Pretokenizer(),
    "gpt2": GPT2,
    "cl100k": CL100K,
    "o200k": O200K,
    "smollm": SMOLLM,
    "bert": BERT,
    "whitespace": WHITESPACE,
    "metaspace": METASPACE,
}
NAMES = tuple(_NAMED)
"""What `named` takes."""


def named(name: str) -> Pretokenizer:
    """
    A pre-tokenizer by its name in `NAMES`.

    Raises
    ------
    ValueError
        If there is none of that name.

    Examples
    --------
    >>> NAMES
    ('none', 'gpt2', 'cl100k', 'o200k', 'smollm', 'bert', 'whitespace', 'metaspace')
    >>> named("gpt2") == GPT2
    True
    """
    if name not in _NAMED:
        raise ValueError(f"a pre-tokenizer's name is one of {', '.join(NAMES)}, got {name!r}")
    return _NAMED[name]
