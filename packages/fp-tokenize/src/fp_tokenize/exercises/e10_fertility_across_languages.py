r"""
Who pays for the vocabulary?

Level: implement. You need `fp_tokenize.metrics`.

The same sentences in several languages have been cut by one tokenizer. For every sentence you get the number of its
tokens and of its words; a sentence may lack its translation into some language. Compute for each language what is
published about tokenizers:

- **fertility**, the tokens for each word of that language;
- **premium**, the tokens for each token that the reference language needs *for the same content*;
- what a **context** of so many tokens is worth: the number of tokens that the reference language would need for the
  text that fits into it.

Each is a quotient of sums. The mean of the quotients of single sentences is another number: it gives "Yes." the weight
of a long sentence, and nobody is billed like that. And the same content means the same sentences, so the premium counts
only those that both languages have.

Before you run it: can a language have a fertility of 1 and a premium of 2? A fertility of 4 and a premium of 1? Words
are an affair of each language, and some write none at all; tokens are what is paid.
"""

from typing import Any

HINTS = (
    "Fertility needs one language only: all its tokens over all its words. Sum first, divide once.",
    "For the premium go through the sentences of both languages together and leave out those that are `None` in one.",
    "`pairs = [(a, b) for a, b in zip(rows, counts[reference], strict=True) if a and b]`; the premium is the sum of "
    "the a[0] over the sum of the b[0], and the context's worth is the context divided by the premium.",
)


def compare(
    counts: dict[str, list[tuple[int, int] | None]], reference: str, context: int
) -> dict[str, dict[str, float]]:
    """
    Fertility, premium and the worth of a context for each language.

    Parameters
    ----------
    counts
        For each language a list of one length: the tokens and the words of each sentence, both above 0, or `None` where
        the translation is missing. Item i is the same sentence in all languages, and every language shares at least
        one with the reference.
    reference
        The language to compare with, one of the keys.
    context
        Tokens that a model can read at once.

    Returns
    -------
    dict
        For each language a dict with `"fertility"`, `"premium"` and `"context"`.

    Examples
    --------
    >>> counts = {"en": [(4, 3), (10, 8), (6, 6)], "fi": [(9, 2), (21, 4), None]}
    >>> found = compare(counts, "en", 3000)
    >>> found["fi"]["fertility"], round(found["fi"]["premium"], 3), found["fi"]["context"]
    (5.0, 2.143, 1400.0)
    >>> found["en"]["premium"]
    1.0
    """
    found = {}
    for language, rows in counts.items():
        own = [row for row in rows if row]
        pairs = [(a[0], b[0]) for a, b in zip(rows, counts[reference], strict=True) if a and b]
        premium = sum(a for a, _ in pairs) / sum(b for _, b in pairs)
        found[language] = {
            "fertility": sum(tokens for tokens, _ in own) / sum(words for _, words in own),
            "premium": premium,
            "context": context / premium,
        }
    return found


_Counts = dict[str, list[tuple[int, int] | None]]

_FOUR: _Counts = {
    "en": [(12, 10), (1, 1), (30, 25), (8, 6), None],
    "fi": [(24, 6), (4, 1), None, (20, 4), (9, 2)],
    "zh": [(11, 1), (5, 1), (29, 2), None, (7, 1)],
    "my": [(70, 3), None, (212, 6), (61, 2), (33, 1)],
}

PROBES: tuple[tuple[_Counts, str, int], ...] = (
    ({"en": [(4, 3), (10, 8), (6, 6)], "fi": [(9, 2), (21, 4), None]}, "en", 3000),
    (_FOUR, "en", 8192),
    (_FOUR, "zh", 2048),
    ({"de": [(40, 30), (2, 1)], "tr": [(44, 20), (6, 1)]}, "tr", 100),
)

_WHY = {
    "fertility": "All tokens of the language over all its words.",
    "premium": "The tokens of both languages for the sentences that both have: one sum over the other.",
    "context": "A text of so many tokens is shorter in the reference language by the premium.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for counts, reference, context in PROBES:
        got = learner.compare({language: list(rows) for language, rows in counts.items()}, reference, context)
        assert isinstance(got, dict) and got.keys() == counts.keys(), (
            f"expected a dict with an entry for each of {sorted(counts)}, got {got!r:.80}"
        )
        for language, expected in compare(counts, reference, context).items():
            answers = got[language]
            assert isinstance(answers, dict), f"expected a dict of three numbers for {language!r}, got {answers!r:.80}"
            for key, value in expected.items():
                # sums of whole numbers are exact, so only two quotients round
                right = isinstance(answers.get(key), float | int) and abs(answers[key] - value) <= 1e-9 * value
                assert right, (
                    f"for {language!r} with {counts[language]}, the reference {reference!r} with {counts[reference]} "
                    f"and a context of {context}, {key!r} is {value:.6g}; got {answers.get(key)!r:.40}. {_WHY[key]}"
                )


def _with(counts: _Counts, reference: str, context: int, **rules: Any) -> dict[str, dict[str, float]]:
    """The answers, with another rule for the fertility of a language or for its premium."""
    found = compare(counts, reference, context)
    for language, answers in found.items():
        if "fertility" in rules:
            answers["fertility"] = rules["fertility"]([row for row in counts[language] if row])
        if "premium" in rules:
            answers["premium"] = rules["premium"](counts[language], counts[reference])
            answers["context"] = context / answers["premium"]
    return found


def _mean_fertility(counts: _Counts, reference: str, context: int) -> dict[str, dict[str, float]]:
    return _with(counts, reference, context, fertility=lambda rows: sum(t / w for t, w in rows) / len(rows))


def _tokens_for_each_sentence(counts: _Counts, reference: str, context: int) -> dict[str, dict[str, float]]:
    return _with(counts, reference, context, fertility=lambda rows: sum(t for t, _ in rows) / len(rows))


def _words_for_each_token(counts: _Counts, reference: str, context: int) -> dict[str, dict[str, float]]:
    return _with(counts, reference, context, fertility=lambda rows: sum(w for _, w in rows) / sum(t for t, _ in rows))


def _mean_premium(counts: _Counts, reference: str, context: int) -> dict[str, dict[str, float]]:
    def premium(rows: list[Any], others: list[Any]) -> float:
        quotients = [a[0] / b[0] for a, b in zip(rows, others, strict=True) if a and b]
        return sum(quotients) / len(quotients)

    return _with(counts, reference, context, premium=premium)


def _all_sentences(counts: _Counts, reference: str, context: int) -> dict[str, dict[str, float]]:
    def premium(rows: list[Any], others: list[Any]) -> float:
        return float(sum(row[0] for row in rows if row) / sum(row[0] for row in others if row))

    return _with(counts, reference, context, premium=premium)


def _by_fertility(counts: _Counts, reference: str, context: int) -> dict[str, dict[str, float]]:
    found = compare(counts, reference, context)
    for answers in found.values():
        answers["premium"] = answers["fertility"] / found[reference]["fertility"]
        answers["context"] = context / answers["premium"]
    return found


def _upside_down(counts: _Counts, reference: str, context: int) -> dict[str, dict[str, float]]:
    found = compare(counts, reference, context)
    return {
        language: {**answers, "premium": 1 / answers["premium"], "context": context * answers["premium"]}
        for language, answers in found.items()
    }


def _larger_context(counts: _Counts, reference: str, context: int) -> dict[str, dict[str, float]]:
    found = compare(counts, reference, context)
    return {language: {**answers, "context": context * answers["premium"]} for language, answers in found.items()}


MISTAKES = (
    (
        _mean_fertility,
        "You average the fertilities of the sentences. A short sentence then weighs as much as a long one: sum tokens "
        "and words first.",
    ),
    (
        _tokens_for_each_sentence,
        "You divide by the number of sentences. Fertility is a number of tokens for each word.",
    ),
    (
        _words_for_each_token,
        "You divide words by tokens. Fertility is how many tokens a word brings forth, so it grows as words are torn "
        "apart.",
    ),
    (
        _mean_premium,
        "You average the premiums of the sentences. One pays for tokens, so the sums of both languages are compared.",
    ),
    (
        _all_sentences,
        "You count sentences that only one of the two languages has. Then the premium measures what was translated.",
    ),
    (
        _by_fertility,
        "You divide the fertilities. Languages use different numbers of words for the same content, so fertility does "
        "not compare them; tokens for the same sentences do.",
    ),
    (
        _upside_down,
        "You divide the reference's tokens by the language's. A language that needs more tokens has a premium above 1.",
    ),
    (
        _larger_context,
        "You multiply the context by the premium. Who pays twice as many tokens gets half as much text into it.",
    ),
)
