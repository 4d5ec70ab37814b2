r"""
Regular expressions that mean the same to two engines.

Hugging Face's library runs patterns with Oniguruma, this package with `regex`. Where their languages differ, a pattern
can be valid in both and match other texts: `\h` is a hexadecimal digit to one and a space to the other; `x{2}+` is a
possessive repetition to one and a repeated repetition to the other; `\w` has `²` in one and not in the other. `check`
lets through what both read alike and refuses the rest by name.
"""

import re

SCRIPTS = (
    "Han",
    "Hiragana",
    "Katakana",
    "Hangul",
    "Latin",
    "Greek",
    "Cyrillic",
    "Arabic",
    "Hebrew",
    "Thai",
    "Devanagari",
)
CATEGORIES = frozenset(
    [*"CLMNPSZ"]
    + [
        a + b
        for a, bs in {"L": "ultmo", "M": "nce", "N": "dlo", "P": "cdseifo", "S": "mcko", "Z": "slp"}.items()
        for b in bs
    ]
    + ["Cc", "Cf", "Co"]
)

_TOKEN = re.compile(
    r"""
      (?P<property>\\[pP]\{(?P<name>[^}]*)\})
    | (?P<escape>\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[sSdDnrtf]|[^A-Za-z0-9\s]|[ ]))
    | (?P<group>\((?:\?(?:[:=!>]|<[=!]|i:)|(?![?*])))
    | (?P<close>\))
    | (?P<open>\[\^?)
    | (?P<repeat>(?:[*+?]|\{\d+(?P<to>,\d*)?\})(?P<how>[+?]?))
    | (?P<plain>[^\\()\[\]{}*+?^])
    """,
    re.VERBOSE | re.DOTALL,
)
_MEMBER = re.compile(
    r"(?P<property>\\[pP]\{(?P<name>[^}]*)\})"
    r"|(?P<escape>\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[sSdDnrtf]|[^A-Za-z0-9\s]|[ ]))"
    r"|(?P<plain>[^\\\[\]])",
    re.DOTALL,
)
# pairs of letters that one other character folds to when case is ignored; Oniguruma knows them, `regex` does not
_FOLDED = ("ss", "ff", "fi", "fl", "st")


def check(pattern: str) -> None:
    """`ValueError` if the two engines may read a pattern differently; says which part, and where."""
    at = 0
    ignoring = False  # within (?i: ), where letters are folded
    literal = ""
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        if token is None:
            raise _refused(pattern, at)
        _check_property(pattern, token, ignoring)
        braces = token["repeat"] and token["repeat"][0] == "{"
        if braces and (token["how"] == "+" or (token["how"] == "?" and token["to"] is None)):
            raise _refused(pattern, at)
        if ignoring and token["group"]:
            raise _refused(pattern, at)
        ignoring = token["group"] == "(?i:" or (ignoring and not token["close"])
        literal = literal + token["plain"].lower() if token["plain"] else ""
        if ignoring and (any(literal.endswith(pair) for pair in _FOLDED) or not literal.isascii()):
            raise _refused(pattern, at)
        at = token.end()
        if token["open"]:
            at = _check_class(pattern, at, ignoring)


def _check_class(pattern: str, at: int, ignoring: bool) -> int:
    """The place behind a class whose members begin at `at`."""
    start = at
    while at < len(pattern) and (pattern[at] != "]" or at == start):
        member = _MEMBER.match(pattern, at)
        if member is None or pattern[at : at + 2] in ("&&", "--", "||", "~~"):
            raise _refused(pattern, at)
        _check_property(pattern, member, ignoring)
        if ignoring and not pattern[at].isascii():
            raise _refused(pattern, at)
        at = member.end()
    return at + 1


def _check_property(pattern: str, token: "re.Match[str]", ignoring: bool) -> None:
    if token["name"] is not None and (ignoring or token["name"] not in (*CATEGORIES, *SCRIPTS)):
        raise _refused(pattern, token.start())


def _refused(pattern: str, at: int) -> ValueError:
    return ValueError(
        f"has {pattern[at : at + 12]!r} at position {at} of the pattern {pattern[:60]!r}, which Hugging Face's library "
        "and this one may read differently"
    )
