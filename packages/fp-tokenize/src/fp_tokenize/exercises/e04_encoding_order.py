r"""
In which order do merges apply?

Level: concept. You need `fp_tokenize.merges`.

A list of merges can be read as a program in more than one way. *By rank*: look at the word, and of all merges that
apply anywhere do the one of lowest rank, at its leftmost place; repeat. *Replay*: go through the list once, and do each
merge everywhere, from left to right, before the next one. *Longest*: forget the merges, and take from the left the
longest string that is a symbol or a result. The same list, three programs.

Predict: for which lists do the first two agree? What has the third to do with the merges at all? The result of a merge
can be an operand of a merge that stands before it in the list: what does each program do then?

You learn why a file of merges is no use without the rule by which it is read, and why vocabularies made by training are
safe.
"""

from itertools import pairwise
from typing import Any

HINTS = (
    "By rank: list the pairs of neighbours that have a rank, take the smallest `(rank, position)`, replace, repeat.",
    "Replay looks at each merge once. What a later merge writes can never take part in an earlier one.",
    "A list is *ordered* if every operand that is a result was made before: for each pair, each operand is a single "
    "character or the result of an earlier merge; and no result is made twice.",
)


def orders(word: str, merges: list[tuple[str, str]]) -> dict[str, Any]:
    """
    Answer five questions about a word and a list of merges.

    Parameters
    ----------
    word
        Characters, the first symbols.
    merges
        Pairs, the lowest rank first.

    Returns
    -------
    dict
        One answer for each name:

        - `"by_rank"`: the symbols that the first reading gives, as a list.
        - `"replay"`: those of the second.
        - `"longest"`: those of the third.
        - `"ordered"`: whether each operand longer than one character is the result of an earlier merge, and no two
          merges have the same result.
        - `"steps"`: how many replacements the first reading makes.

    Examples
    --------
    >>> answers = orders("abc", [("b", "c"), ("a", "b"), ("ab", "c")])
    >>> answers["by_rank"], answers["longest"], answers["ordered"]
    (['a', 'bc'], ['abc'], True)
    """
    rank = {pair: k for k, pair in reversed(list(enumerate(merges)))}
    symbols, steps = list(word), 0
    while True:
        offers = [(rank[pair], i) for i, pair in enumerate(pairwise(symbols)) if pair in rank]
        if not offers:
            break
        _, i = min(offers)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
        steps += 1
    replayed = list(word)
    for pair in merges:
        i = 0
        while i + 1 < len(replayed):
            if (replayed[i], replayed[i + 1]) == pair:
                replayed[i : i + 2] = ["".join(pair)]
            i += 1
    results = ["".join(pair) for pair in merges]
    vocabulary, longest, at = {*word, *results}, [], 0
    while at < len(word):
        end = next(end for end in range(len(word), at, -1) if word[at:end] in vocabulary)
        longest.append(word[at:end])
        at = end
    made = {result: k for k, result in reversed(list(enumerate(results)))}
    ordered = len(set(results)) == len(results) and all(
        len(operand) == 1 or made.get(operand, len(merges)) < k for k, pair in enumerate(merges) for operand in pair
    )
    return {"by_rank": symbols, "replay": replayed, "longest": longest, "ordered": ordered, "steps": steps}


PROBES = (
    ("abc", [("b", "c"), ("a", "b"), ("ab", "c")]),
    ("abc", [("ab", "c"), ("a", "b")]),
    ("abab", [("a", "b"), ("ab", "ab")]),
    ("aaaaa", [("a", "a"), ("aa", "aa")]),
    ("abcd", [("c", "d"), ("a", "b"), ("ab", "cd")]),
    ("xabc", [("a", "b"), ("b", "c"), ("a", "bc"), ("ab", "c")]),
    ("bcabc", [("a", "b"), ("abc", "x"), ("b", "c"), ("a", "bc")]),
    ("aab", [("aa", "b"), ("a", "ab"), ("a", "b"), ("a", "a")]),
)

_WHY = {
    "by_rank": "After each replacement look at the whole word again: the lowest rank that applies anywhere is next, "
    "and the leftmost of its places.",
    "replay": "Each merge is done once, everywhere and from left to right, in the order of the list; none comes back.",
    "longest": "The merges do not matter here, only which strings exist: take the longest that fits, and go on behind.",
    "ordered": "Every longer operand has to be the result of a merge that stands before, and no result may come twice.",
    "steps": "Each replacement makes the word one symbol shorter, so count what is missing in the end.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for word, merges in PROBES:
        got = learner.orders(word, list(merges))
        assert isinstance(got, dict), f"expected a dict of five answers, got {got!r:.80}"
        for key, expected in orders(word, merges).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            answer = list(got[key]) if isinstance(expected, list) and isinstance(got[key], tuple) else got[key]
            assert type(answer) is type(expected) and answer == expected, (
                f"for the word {word!r} and the merges {merges}, {key!r} is {expected!r}; got {got[key]!r:.80}. "
                f"{_WHY[key]}"
            )


def _replay_for_both(word: str, merges: list[tuple[str, str]]) -> dict[str, Any]:
    answers = orders(word, merges)
    return {**answers, "by_rank": answers["replay"], "steps": len(word) - len(answers["replay"])}


def _rank_for_both(word: str, merges: list[tuple[str, str]]) -> dict[str, Any]:
    answers = orders(word, merges)
    return {**answers, "replay": answers["by_rank"]}


def _leftmost_first(word: str, merges: list[tuple[str, str]]) -> dict[str, Any]:
    symbols = list(word)
    while True:
        place = next((i for i, pair in enumerate(pairwise(symbols)) if pair in merges), None)
        if place is None:
            return {**orders(word, merges), "by_rank": symbols, "steps": len(word) - len(symbols)}
        symbols[place : place + 2] = ["".join(symbols[place : place + 2])]


def _longest_is_by_rank(word: str, merges: list[tuple[str, str]]) -> dict[str, Any]:
    answers = orders(word, merges)
    return {**answers, "longest": answers["by_rank"]}


def _always_ordered(word: str, merges: list[tuple[str, str]]) -> dict[str, Any]:
    results = ["".join(pair) for pair in merges]
    closed = all(len(operand) == 1 or operand in results for pair in merges for operand in pair)
    return {**orders(word, merges), "ordered": closed}


def _twice_made(word: str, merges: list[tuple[str, str]]) -> dict[str, Any]:
    results = ["".join(pair) for pair in merges]
    made = {result: k for k, result in reversed(list(enumerate(results)))}
    ordered = all(
        len(operand) == 1 or made.get(operand, len(merges)) < k for k, pair in enumerate(merges) for operand in pair
    )
    return {**orders(word, merges), "ordered": ordered}


def _steps_are_merges(word: str, merges: list[tuple[str, str]]) -> dict[str, Any]:
    answers = orders(word, merges)
    return {**answers, "steps": len({"".join(pair) for pair in merges} & set(answers["by_rank"]))}


MISTAKES = (
    (
        _replay_for_both,
        "You go through the list once for both readings. By rank, a merge that has become possible again comes before "
        "all of higher rank, also if it stands further up the list.",
    ),
    (
        _rank_for_both,
        "You let replay come back to earlier merges. Once the list has gone past a merge, it is not done any more.",
    ),
    (
        _leftmost_first,
        "You do the leftmost merge that applies. The rank comes first; the place decides only between places of one "
        "rank.",
    ),
    (
        _longest_is_by_rank,
        "You take the longest match for the same as the merges. A vocabulary contains strings that the merges never "
        "reach in a given word.",
    ),
    (
        _always_ordered,
        "You ask only whether operands are results. They have to be made *before*: the place in the list counts.",
    ),
    (
        _twice_made,
        "You overlook a result that two merges make. Then one of them may come too late for the other's operands.",
    ),
    (
        _steps_are_merges,
        "You count symbols that are results. A result can take several replacements, and its parts were results too.",
    ),
)
