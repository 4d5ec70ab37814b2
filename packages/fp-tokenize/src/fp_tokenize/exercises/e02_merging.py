r"""
Merging a pair.

Level: implement. You need `fp_tokenize.bpe_training`.

A merge takes one pair of symbols and writes the two as one, wherever they stand side by side. Write it for one word.
The word is read from left to right; where the pair is found, its two symbols are replaced by one and reading goes on
*behind* them. So "aaa" becomes "aa", "a", and not "a", "aa".

Where nothing is found the word stays as it is. A symbol that a merge has just written takes no part in the same merge
again: for the pair (a, a), "aaaa" becomes "aa", "aa", and the merge of these two would be another pair.

One line of this function wrong, and a tokenizer that trains on it agrees with itself and with nobody else.
"""

from typing import Any

HINTS = (
    "Go through the word with a position that you move yourself: by two where the pair stands, by one elsewhere.",
    "Build a new list rather than changing the one that you read: positions behind a replacement would shift.",
    "`while i < len(word)`: if `word[i:i+2] == pair`, append `word[i] + word[i+1]` and add 2 to `i`; otherwise append "
    "`word[i]` and add 1. A slice at the end is shorter than two, and so never equal.",
)


def merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """
    A word in which a pair is written as one symbol.

    Parameters
    ----------
    word
        Symbols, which can be longer than a character.
    pair
        The two symbols to merge, in order.

    Returns
    -------
    tuple of str
        The symbols after the merge.

    Examples
    --------
    >>> merge(("l", "o", "w", "l", "o"), ("l", "o"))
    ('lo', 'w', 'lo')
    """
    merged = []
    i = 0
    while i < len(word):
        if word[i : i + 2] == pair:
            merged.append(word[i] + word[i + 1])
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return tuple(merged)


PROBES = (
    (("l", "o", "w", "l", "o"), ("l", "o")),
    (("a", "a", "a"), ("a", "a")),
    (("a", "a", "a", "a"), ("a", "a")),
    (("b", "a", "b", "a"), ("a", "b")),
    (("ab", "a", "b", "ab"), ("a", "b")),
    (("x", "y"), ("y", "x")),
    (("n",), ("n", "n")),
    (("t", "h", "e", "th", "e"), ("th", "e")),
    (("a", "a", "b", "a", "a", "a"), ("a", "a")),
    (("t", "th", "e", "re"), ("h", "e")),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for word, pair in PROBES:
        got = learner.merge(word, pair)
        expected = merge(word, pair)
        assert isinstance(got, tuple | list) and tuple(got) == expected, (
            f"merging {pair} in {' '.join(word)}: expected {' '.join(expected)}, got "
            f"{' '.join(map(str, got)) if isinstance(got, tuple | list) else repr(got)[:60]}"
        )


def _from_the_right(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    flipped = merge(tuple(symbol[::-1] for symbol in reversed(word)), (pair[1][::-1], pair[0][::-1]))
    return tuple(symbol[::-1] for symbol in reversed(flipped))


def _first_only(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    for i in range(len(word) - 1):
        if word[i : i + 2] == pair:
            return (*word[:i], word[i] + word[i + 1], *word[i + 2 :])
    return word


def _overlapping(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged, skip = [], False
    for i, symbol in enumerate(word):
        if word[i : i + 2] == pair:
            merged.append(symbol + word[i + 1])
            skip = True
        elif not skip:
            merged.append(symbol)
        else:
            skip = False
    return tuple(merged)


def _either_order(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged, i = [], 0
    while i < len(word):
        if word[i : i + 2] in (pair, pair[::-1]):
            merged.append(word[i] + word[i + 1])
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return tuple(merged)


def _by_replacing_text(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    return tuple(" ".join(word).replace(" ".join(pair), "".join(pair)).split())


def _characters(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    return merge(tuple("".join(word)), pair)


MISTAKES = (
    (
        _from_the_right,
        "You read from the right. In a run of an odd number of equal symbols the one that is left over is then the "
        "first instead of the last.",
    ),
    (_first_only, "You stop at the first place. The pair is merged wherever it stands in the word."),
    (
        _overlapping,
        "You use a symbol twice: after a merge, go on behind both of its symbols, or aaa becomes aa, aa.",
    ),
    (_either_order, "You merge the two symbols in either order. A merge writes them as they stand: a b is not b a."),
    (
        _by_replacing_text,
        "You replace text. Then the end of one symbol and the beginning of the next look like the pair: in th e the "
        "pair (h, e) does not occur.",
    ),
    (
        _characters,
        "You take symbols apart into characters first. What earlier merges have joined stays joined.",
    ),
)
