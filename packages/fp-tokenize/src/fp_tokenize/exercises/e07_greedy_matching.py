r"""
The longest match first.

Level: implement. You need `fp_tokenize.wordpiece`.

BERT cuts a word without any merges: from its beginning it takes the longest string that is in the vocabulary, goes on
behind it, and looks for the longest one again. Tokens that continue a word carry `##` in the vocabulary, so that "s"
and "##s" are two tokens.

There is no way back. If nothing matches at some place, the whole word becomes the unknown token, also the parts that
had been found before, and even if another cut would have worked. Simple rules have their price, and the price of this
one can be counted.
"""

from typing import Any

HINTS = (
    "Keep the position where the next token begins. Try the longest end first and shorten it until the vocabulary has "
    "the string.",
    "The mark belongs to the token, not to the word: ask for `'##' + word[start:end]` whenever `start > 0`.",
    "If the end comes down to the start, nothing matched: return `[unknown]` at once, whatever has been collected.",
)


def cut(word: str, vocabulary: set[str], unknown: str = "[UNK]") -> list[str]:
    """
    The tokens of a word.

    Parameters
    ----------
    word
        The word.
    vocabulary
        Names of tokens; those that continue a word begin with `##`.
    unknown
        What a word becomes that cannot be cut.

    Returns
    -------
    list of str
        Names, in order.

    Examples
    --------
    >>> cut("hugging", {"hug", "##g", "##ing", "##in"}), cut("hugs", {"hug", "s"})
    (['hug', '##g', '##ing'], ['[UNK]'])

    After "##gi" no token begins with "n", though "##g", "##ing" would have done.

    >>> cut("hugging", {"hug", "##g", "##ing", "##gi"})
    ['[UNK]']
    """
    names: list[str] = []
    start = 0
    while start < len(word):
        mark = "##" if start else ""
        end = len(word)
        while end > start and mark + word[start:end] not in vocabulary:
            end -= 1
        if end == start:
            return [unknown]
        names.append(mark + word[start:end])
        start = end
    return names


PROBES = (
    ("hugging", {"hug", "##g", "##ing", "##gi"}, "[UNK]"),
    ("hugs", {"hug", "s"}, "[UNK]"),
    ("unwanted", {"un", "##want", "##ed", "unw"}, "?"),
    ("abcd", {"a", "##b", "##c", "##d", "ab", "##cd"}, "[UNK]"),
    ("aaaa", {"a", "##a", "##aa"}, "[UNK]"),
    ("xyz", {"x", "##y"}, "[UNK]"),
    ("", {"a"}, "[UNK]"),
    ("ing", {"##ing", "i", "##ng"}, "[UNK]"),
    ("cats", {"cat", "ca", "##ts", "##s", "##t"}, "[UNK]"),
    ("a#", {"a", "###", "#"}, "[UNK]"),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for word, vocabulary, unknown in PROBES:
        got = learner.cut(word, set(vocabulary), unknown)
        expected = cut(word, vocabulary, unknown)
        assert isinstance(got, list) and got == expected, (
            f"with the vocabulary {sorted(vocabulary)} and the unknown token {unknown!r}, {word!r} becomes {expected}; "
            f"got {got!r:.80}"
        )


def _shortest(word: str, vocabulary: set[str], unknown: str = "[UNK]") -> list[str]:
    names: list[str] = []
    start = 0
    while start < len(word):
        mark = "##" if start else ""
        end = next((e for e in range(start + 1, len(word) + 1) if mark + word[start:e] in vocabulary), None)
        if end is None:
            return [unknown]
        names.append(mark + word[start:end])
        start = end
    return names


def _keeps_what_was_found(word: str, vocabulary: set[str], unknown: str = "[UNK]") -> list[str]:
    names: list[str] = []
    start = 0
    while start < len(word):
        mark = "##" if start else ""
        end = next((e for e in range(len(word), start, -1) if mark + word[start:e] in vocabulary), None)
        if end is None:
            return [*names, unknown]
        names.append(mark + word[start:end])
        start = end
    return names


def _without_marks(word: str, vocabulary: set[str], unknown: str = "[UNK]") -> list[str]:
    plain = {name.removeprefix("##") for name in vocabulary}
    names: list[str] = []
    start = 0
    while start < len(word):
        end = next((e for e in range(len(word), start, -1) if word[start:e] in plain), None)
        if end is None:
            return [unknown]
        names.append(("##" if start else "") + word[start:end])
        start = end
    return names


def _goes_back(word: str, vocabulary: set[str], unknown: str = "[UNK]") -> list[str]:
    def from_(start: int) -> list[str] | None:
        if start == len(word):
            return []
        for end in range(len(word), start, -1):
            name = ("##" if start else "") + word[start:end]
            rest = from_(end) if name in vocabulary else None
            if rest is not None:
                return [name, *rest]
        return None

    found = from_(0)
    return [unknown] if found is None else found


def _skips_a_character(word: str, vocabulary: set[str], unknown: str = "[UNK]") -> list[str]:
    names: list[str] = []
    start = 0
    while start < len(word):
        mark = "##" if start else ""
        end = next((e for e in range(len(word), start, -1) if mark + word[start:e] in vocabulary), None)
        names.append(unknown if end is None else mark + word[start:end])
        start = start + 1 if end is None else end
    return names


def _longest_anywhere(word: str, vocabulary: set[str], unknown: str = "[UNK]") -> list[str]:
    parts = [(end - start, -start, start, end) for start in range(len(word)) for end in range(start + 1, len(word) + 1)]
    for _, _, start, end in sorted(parts, reverse=True):
        if ("##" if start else "") + word[start:end] in vocabulary:
            middle = ("##" if start else "") + word[start:end]
            left = _longest_anywhere(word[:start], vocabulary, unknown)
            marked = {name for name in vocabulary if name.startswith("##")}
            right = _longest_anywhere(word[end:], {name[2:] for name in marked}, unknown) if end < len(word) else []
            if unknown in left or unknown in right:
                return [unknown]
            return [*left, middle, *("##" + name for name in right)]
    return [unknown] if word else []


MISTAKES = (
    (_shortest, "You take the shortest match. The rule is the longest: single characters would win everywhere."),
    (
        _keeps_what_was_found,
        "You keep the tokens found before the place where nothing matches. The whole word becomes one unknown token.",
    ),
    (
        _without_marks,
        "You forget the mark when you look into the vocabulary. A token without ## begins a word, and cannot continue "
        "one.",
    ),
    (
        _goes_back,
        "You go back and try shorter matches. Longest-match-first never takes a decision back, which is why it can "
        "fail where a cut exists.",
    ),
    (
        _skips_a_character,
        "You go on behind a character that does not match. Then a word has an unknown token for each such place; here "
        "it has one for the whole word.",
    ),
    (
        _longest_anywhere,
        "You look for the longest token anywhere in the word. The matches are taken from the left, each at the place "
        "where the last one ended.",
    ),
)
