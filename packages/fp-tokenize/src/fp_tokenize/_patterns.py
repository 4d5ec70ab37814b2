"""Regular expressions: ours, compiled for speed; those of others, with clear errors and bounds on time and memory."""

import re
from collections.abc import Iterator
from functools import cached_property, lru_cache

import regex

Spans = Iterator[tuple[int, int]]

LIMIT = 50_000  # characters of a pattern, repetitions written out: `regex` writes them out, about 1 KB each
BLOCK = 256  # characters; a text that is not all ASCII is cut into blocks of about this size

# what the classes contain below U+0080
_ASCII = {"L": "A-Za-z", "Lu": "A-Z", "Ll": "a-z", "N": "0-9", "P": r"!-#%-*,-/:;?@\[-\]_{}"}
_ASCII |= dict.fromkeys(("Lt", "Lm", "Lo", "M"), "")


class Known:
    """
    A pattern of this package: it needs no time limit, and has a second, faster form (`tokenize.ascii-words`).

    `spaced` says that `tokenize.space-boundary` holds for it, so that long texts may be cut into blocks.
    """

    def __init__(self, pattern: str, spaced: bool) -> None:
        self.pattern = pattern
        self.spaced = spaced

    @cached_property
    def unicode(self) -> "regex.Pattern[str]":
        """For every text."""
        return regex.compile(self.pattern)

    @cached_property
    def ascii(self) -> "re.Pattern[str]":
        """For texts of ASCII."""
        return re.compile(ascii_form(self.pattern), re.ASCII)

    def findall(self, text: str) -> list[str]:
        """The matches."""
        if text.isascii():
            return self.ascii.findall(text)
        if not self.spaced or len(text) < 4 * BLOCK:
            return self.unicode.findall(text)
        found: list[str] = []
        for block in blocks(text):
            found += (self.ascii if block.isascii() else self.unicode).findall(block)
        return found

    def spans(self, text: str) -> Spans:
        """The spans of the matches."""
        return (match.span() for match in self.unicode.finditer(text))


def ascii_form(pattern: str) -> str:
    """A pattern for `re.ASCII` that has the same matches in texts of ASCII: each `\\p{...}` by its members there."""

    def replaced(match: "re.Match[str]") -> str:
        if match[2]:
            return f"[{'^' * (match[1] == 'P')}{_ASCII[match[2]]}]"
        return re.sub(r"\\p\{(\w+)\}", lambda inner: _ASCII[inner[1]], match[0])

    return re.sub(r"\[(?:\\.|[^\]\\])*\]|\\([pP])\{(\w+)\}", replaced, pattern)


def blocks(text: str) -> Iterator[str]:
    """A text, cut before spaces that follow a character that is not white space."""
    start = 0
    while start < len(text):
        end = text.find(" ", start + BLOCK)
        while end > 0 and text[end - 1].isspace():
            end = text.find(" ", end + 1)
        yield text[start : end if end > 0 else len(text)]
        start = end if end > 0 else len(text)


def seconds(text: str) -> float:
    """The time allowed to a pattern on a text: two seconds, and one more per 100,000 characters."""
    return 2 + len(text) / 100_000


@lru_cache(maxsize=256)
def compiled(pattern: str, is_regex: bool = True) -> "regex.Pattern[str]":
    """
    A pattern as Oniguruma reads it: `^` and `$` stand for the ends of every line, and classes nest.

    If `is_regex` is false, the string itself.
    """
    if not is_regex:
        return regex.compile(regex.escape(pattern, special_only=True))
    if regex.search(r"\(\?(?:R|&|P>|[-+]?\d)|\(\?\w*x", pattern):
        raise ValueError(f"{pattern[:80]!r} calls itself or is written with (?x), which is not supported here")
    if written_out(pattern) > LIMIT:
        raise ValueError(
            f"{pattern[:80]!r} has over {LIMIT} characters when its repetitions are written out; use smaller counts"
        )
    try:
        return regex.compile(pattern, regex.MULTILINE | regex.VERSION1)
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        raise ValueError(f"{pattern[:80]!r} is no regular expression: {error}") from None


def written_out(pattern: str) -> int:
    """At least the size of a pattern when x+ is written xx*, x{3} as xxx and so on, which is what `regex` does."""
    sizes, last = [0], 0  # of the groups that are open; of the item before, which a repetition repeats
    for token in re.finditer(r"\\.|\[(?:\\.|[^\]\\])*\]|\{(\d*)(?:,\d*)?\}|(?s:.)", pattern):
        if token[0] == "(":
            sizes.append(0)
            last = 0
            continue
        if token[0] == ")":
            last = 1 + sizes.pop()
            sizes = sizes or [0]
        elif token[0] == "+" or token[1]:
            more = last * int(token[1] or 1)
            last += more
            sizes[-1] += more
            continue
        else:
            last = len(token[0])
        sizes[-1] += last
    return sum(sizes)


def findall(pattern: "regex.Pattern[str]", text: str) -> list[str]:
    """The matches of a pattern, empty ones included."""
    try:
        if pattern.groups:
            return [match[0] for match in pattern.finditer(text, timeout=seconds(text))]
        return pattern.findall(text, timeout=seconds(text))
    except (TimeoutError, MemoryError):
        raise too_slow(pattern.pattern, text) from None


def spans(pattern: "regex.Pattern[str]", text: str) -> Spans:
    """The spans of the matches, as Oniguruma gives them: an empty match where another has just ended is none."""
    last = -1
    try:
        for match in pattern.finditer(text, timeout=seconds(text)) if text else ():
            start, end = match.span()
            if start < end or start != last:
                yield start, end
                last = end
    except (TimeoutError, MemoryError):
        raise too_slow(pattern.pattern, text) from None


def too_slow(pattern: str, text: str) -> ValueError:
    """The error for a pattern without bound."""
    return ValueError(
        f"the pattern {pattern[:80]!r} takes more than the {seconds(text):.1f} seconds allowed on {len(text)} "
        "characters: it tries the same thing in too many ways. Write nested repetitions such as (a+)+ as one, or "
        "possessive: a++"
    )
