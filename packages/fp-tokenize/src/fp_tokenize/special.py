r"""
Special tokens: ids that stand for no text, and what to do when a text spells them.

A model is trained with marks that no author wrote: the end of a document, the turn of a speaker, the place to fill in.
Each is one id with a spelling, such as `<|endoftext|>`, only so that people can write it down. What happens when an
ordinary text contains that spelling? This section gives the caller the choice and makes the harmless one the default.

You need: `fp_tokenize.protocol`.

## The danger

A chat program wraps what a user typed between marks for the speakers' turns. If the tokenizer turns the *characters*
of a mark into the *id* of the mark, the user can end his own turn and speak as the system: prompt injection, the same
fault as pasting text into a database query. The remedy is the same too. Text is text; marks are added as ids by the
program, which never has to spell them.

| `special=` | a spelling found in the text | for |
| --- | --- | --- |
| `"text"` (default) | is cut like any other text | everything that a user or a web page wrote |
| `"refuse"` | is an error that names it | pipelines in which it can only be a mistake |
| `"parse"` | becomes its id | templates and files that the program itself wrote |
| a collection of names | those become ids, the others are text | mixed sources |

## Finding them

The text is read from left to right. At the first place where a spelling begins, the longest one that begins there is
taken, and reading goes on behind it. With `<a>` and `<a><b>` both special, `<a><b>` is one token.

**Claim** `tokenize.special-split`. The parts that `find` leaves between the tokens, and the spellings of the tokens
with the spaces that they swallow, put together in order, are the text. If no token has to stand alone as a word and
none begins with white space, no part between them contains a spelling that is searched.

**Proof.** Each step takes a match that occupies $[s, e)$ with $s$ not before the end $p$ of the last one, leaves the
part $[p, s)$, then takes the token with $[s, e)$, and continues with $p = e$; the last part is $[p, n)$. Each interval
begins where the one before it ends, the first at $0$, and the last ends at $n$: together they are the text.

For the second statement, under its hypotheses no match is passed over: a token is passed over when it has to stand
alone, or when it begins inside the spaces that the last one swallowed, and so with a space. Suppose that the part
$[p, s)$ contains a whole spelling, from $i \geq p$ to $j \leq s$. The next token taken after $p$ is the first match
from there, so its spelling begins at some $s' \le i$. It swallows spaces to its left from $s$ to $s'$, so
$s \le s' \le i < j \le s$, a contradiction. In the last part there was no match at all. $\blacksquare$

**Claim** `tokenize.special-injection`. With `special="text"`, `encode` returns no id of a special token other than the
unknown token's, whatever the text.

**Proof.** Under `"text"` the search is made for ordinary added tokens only, and each of those has an id of its own that
is no special one. The parts between them are cut by the tokenizer. The tables from which each class takes ids
(characters, bytes, first symbols and results of merges, pieces, names of bytes to fall back on) are made from
`Frame.ordinary`, the vocabulary without special tokens, and the only other id that a class uses is that of its unknown
token. $\blacksquare$

A template (`[CLS] … [SEP]`, or a begin-of-text mark) adds ids around the text and is asked for by `template=True`.

## In practice

tiktoken refuses by default (`disallowed_special="all"`). Hugging Face's libraries parse by default, also in text that
users typed; `split_special_tokens=True` turns that off. Their *added tokens* can be ordinary as well (`special=False`):
words put into a vocabulary later, always recognised, here too. The options `strip_left`, `strip_right` (swallow
neighbouring spaces), `single_word` and `normalized` follow the same library's `lstrip`, `rstrip`, `single_word` and
`normalized`, so that its files mean the same here.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import regex

__all__ = ["AddedToken", "Template", "Found", "find", "parts_of", "choose"]  # the order of the page

CHOICES = ("text", "parse", "refuse")
WHITE_SPACE = frozenset(
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
)
"""Unicode's white space; `str.isspace` counts four control characters more."""


@dataclass(frozen=True)
class AddedToken:
    """
    A token that is recognised in the text before the tokenizer cuts it.

    Parameters
    ----------
    content
        Its spelling, not empty.
    special
        Whether it stands for no text: then `special=` of `encode` decides, and `skip_special` of `decode` drops it.
    strip_left, strip_right
        Whether it swallows the white space beside it.
    single_word
        Whether it is left alone when a letter, digit or underscore touches it.
    normalized
        Whether it is searched in the normalised text rather than in the text as given.

    Raises
    ------
    ValueError
        If the content is empty.
    """

    content: str
    special: bool = True
    strip_left: bool = False
    strip_right: bool = False
    single_word: bool = False
    normalized: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.content, str) or not self.content:
            raise ValueError(f"an added token needs a spelling, got {self.content!r}")


@dataclass(frozen=True)
class Template:
    """
    Tokens put around a text when `encode` is asked with `template=True`.

    Parameters
    ----------
    before, after
        Names of special tokens.

    Raises
    ------
    TypeError
        If one of them is a string, whose letters would each be taken for a name.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for names in vars(self).values():
            if isinstance(names, str):
                raise TypeError(f"a template needs tuples of names, got the string {names!r}")


@dataclass(frozen=True)
class Found:
    """A token found in a text, in characters `start` to `end` (the spaces that it swallows included)."""

    token: AddedToken
    start: int
    end: int


def find(text: str, tokens: Collection[AddedToken]) -> list[Found]:
    """
    The added tokens in a text, from left to right, the longest first where several begin (`tokenize.special-split`).

    Parameters
    ----------
    text
        Any text.
    tokens
        What to search.

    Examples
    --------
    >>> [(f.token.content, f.start, f.end) for f in find("a<s> <s>b", [AddedToken("<s>", strip_left=True)])]
    [('<s>', 1, 4), ('<s>', 4, 8)]
    """
    present = {token.content: token for token in tokens if token.content in text}
    if not present:
        return []
    longest_first = sorted(present, key=lambda content: (-len(content), content))
    found: list[Found] = []
    last, n = 0, len(text)
    for match in re.finditer("|".join(map(re.escape, longest_first)), text):
        token, start, end = present[match[0]], match.start(), match.end()
        if start < last or (token.single_word and (_is_word(text[start - 1 : start]) or _is_word(text[end : end + 1]))):
            continue
        while token.strip_left and start > last and text[start - 1] in WHITE_SPACE:
            start -= 1
        while token.strip_right and end < n and text[end] in WHITE_SPACE:
            end += 1
        found.append(Found(token, start, end))
        last = end
    return found


def parts_of(text: str, tokens: Collection[AddedToken]) -> list[str | Found]:
    """
    A text cut at its added tokens: what lies between as strings, none empty, and what `find` found.

    Parameters
    ----------
    text, tokens
        As for `find`.
    """
    parts: list[str | Found] = []
    last = 0
    for found in find(text, tokens):
        if last < found.start:
            parts.append(text[last : found.start])
        parts.append(found)
        last = found.end
    if last < len(text) or not parts:
        parts.append(text[last:])
    return parts


def choose(
    text: str, tokens: Iterable[AddedToken], special: str | Collection[str], names: Mapping[str, int]
) -> list[AddedToken]:
    """
    Which added tokens to search in a text: the ordinary ones always, the special ones by the caller's choice.

    Parameters
    ----------
    text
        The text, searched for forbidden spellings only under `"refuse"`.
    tokens
        All added tokens.
    special
        `"text"`, `"parse"`, `"refuse"`, or the names of those to parse.
    names
        Ids by name, to say which names exist.

    Raises
    ------
    ValueError
        If the choice is none of these, a name is unknown, or the text contains a spelling that is refused.
    """
    if isinstance(special, str):
        if special not in CHOICES:
            raise ValueError(
                f"special must be one of {', '.join(map(repr, CHOICES))} or a collection of names, got {special!r}"
            )
        if special == "parse":
            return list(tokens)
        ordinary = [token for token in tokens if not token.special]
        if special == "refuse":
            found = find(text, [token for token in tokens if token.special])
            if found:
                first = found[0]
                raise ValueError(
                    f"the text spells the special token {first.token.content!r} at position {first.start}. Encode with "
                    "special='text' to read it as text, or with special='parse' if this program wrote it."
                )
        return ordinary
    if not isinstance(special, Collection):
        raise TypeError(f"special must be a string or a collection of names, got {special!r}")
    tokens = list(tokens)
    unknown = set(special) - {token.content for token in tokens}
    if unknown:
        name = min(unknown, key=repr)
        kind = "an ordinary token" if name in names else "no token"
        raise ValueError(f"{name!r} is {kind} of this tokenizer, not a special one")
    return [token for token in tokens if not token.special or token.content in special]


def _is_word(character: str) -> bool:
    return regex.match(r"\w", character) is not None
