"""
Freeze what NLTK makes of the simpler smoothings, and of Gale and Sampson's "Simple Good-Turing".

    python -m tools.oracles.markov_nltk

writes packages/fp-markov/tests/fixtures/nltk.json, which the default tests read.

Where NLTK stands apart from `fp_markov`:

- Its vocabulary counts the label `<UNK>`: seven letters are a vocabulary of eight.
- What it interpolates ends at the relative frequencies of the unigrams (for Kneser-Ney, at their undiscounted share of
  the continuations), not at the uniform distribution below them. Its step from one order to the next is the common
  one, P(w | c) = alpha(cw) + gamma(c) P(w | c'), so alpha and gamma are what is frozen.
- Discounts are given, one for all orders. Here each order has its own, n1 / (n1 + 2 n2), set before it is asked.
- Kneser-Ney below the highest order counts left neighbours only. An n-gram that begins with `<s>` has none, and NLTK
  divides by zero, so those contexts are frozen at the highest order only, where counts are raw.
- `MLE` gives every word the probability 0 behind a context that it has not seen, instead of having no opinion.
"""

import json
from collections import Counter
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "packages/fp-markov/tests/fixtures"
FIXTURE = FOLDER / "nltk.json"

ORDER = 3
LETTERS = "abcdrxy"
TEXT = "abracadabradabracabradacadabrayabcadabrdarabxracadrabaycabra"  # one text, without sentences
SENTENCES = (
    "abra",
    "cadabra",
    "abracad",
    "rabac",
    "dab",
    "ada",
    "cab",
    "abracadabra",
    "bard",
    "cad",
    "abcd",
    "xab",
    "yard",
    "day",
)
BOS, EOS, UNK = "<s>", "</s>", "<UNK>"

# frequencies of the prosodic patterns of Gale and Sampson's article, table 1 (1995): r, how many have that frequency
PROSODY = {
    1: 120, 2: 40, 3: 24, 4: 13, 5: 15, 6: 5, 7: 11, 8: 2, 9: 2, 10: 1, 12: 3, 14: 2, 15: 1, 16: 1, 17: 3, 19: 1, 20: 3,
    21: 2, 23: 3, 24: 3, 25: 3, 26: 2, 27: 2, 28: 1, 31: 2, 32: 2, 33: 1, 34: 2, 36: 2, 41: 3, 43: 1, 45: 3, 46: 1,
    47: 1, 50: 1, 71: 1, 84: 1, 101: 1, 105: 1, 121: 1, 124: 1, 146: 1, 162: 1, 193: 1, 199: 1, 224: 1, 226: 1, 254: 1,
    257: 1, 339: 1, 421: 1, 456: 1, 481: 1, 483: 1, 1140: 1, 1256: 1, 1322: 1, 1530: 1, 2131: 1, 2395: 1, 6925: 1,
    7846: 1,
}  # fmt: skip


def everygrams(sentence):
    """The n-grams of one sentence, of all orders."""
    tokens = tuple(sentence)
    return [tokens[i : i + n] for n in range(1, ORDER + 1) for i in range(len(tokens) - n + 1)]


def fitted(kind, sentences, *arguments, **settings):
    """A model of `nltk.lm`, with counts of `sentences`."""
    from nltk.lm import Vocabulary

    words = sorted({word for sentence in sentences for word in sentence})
    model = kind(*arguments, order=ORDER, vocabulary=Vocabulary(words), **settings)
    model.fit([everygrams(sentence) for sentence in sentences])
    return model


def contexts(sentences, length):
    """Those that something follows."""
    return sorted({gram[:-1] for sentence in sentences for gram in everygrams(sentence) if len(gram) == length + 1})


def scores(model, sentences):
    """Each context's probabilities of `LETTERS` and of an unknown one."""
    return {
        "".join(c): [model.score(w, c) for w in (*LETTERS, UNK)]
        for length in range(ORDER)
        for c in contexts(sentences, length)
    }


def discount(counts):
    """n1 / (n1 + 2 n2)."""
    t = Counter(counts)
    return t[1] / (t[1] + 2 * t[2])


def interpolation(model, sentences, words, discounts=None):
    """Each context's alphas and gamma, and its discount; checked against the model's own recursion."""
    frozen = {}
    for length in range(1, ORDER):
        if discounts:
            model.estimator.discount = discounts[length]
        for c in contexts(sentences, length):
            if c[0] == BOS and length + 1 < ORDER and "KneserNey" in type(model).__name__:
                continue
            alphas, gammas = zip(*(model.estimator.alpha_gamma(w, c) for w in words), strict=True)
            assert len(set(gammas)) == 1
            frozen[" ".join(c)] = {"alpha": alphas, "gamma": gammas[0]}
    return frozen


def absolute_discounts(sentences):
    """Of each order, from raw counts."""
    grams = Counter(gram for sentence in sentences for gram in everygrams(sentence))
    return [discount(count for gram, count in grams.items() if len(gram) == n) for n in range(1, ORDER + 1)]


def kneser_ney_discounts(sentences):
    """Of each order, from raw counts at the highest and behind `<s>`, else from distinct left neighbours."""
    grams = Counter(gram for sentence in sentences for gram in everygrams(sentence))
    left = Counter(gram[1:] for gram in grams)
    D = []
    for n in range(1, ORDER + 1):
        ours = [g for g in grams if len(g) == n and g != (BOS,)]
        D.append(discount(grams[g] if n == ORDER or g[0] == BOS else left[g] for g in ours))
    return D


def smoothings():
    """The frozen numbers of every smoothing."""
    from nltk import lm

    text, sentences = [TEXT], [[BOS, *sentence, EOS] for sentence in SENTENCES]
    words = (*LETTERS, EOS)
    flat_D, kn_D = absolute_discounts(text), kneser_ney_discounts(sentences)
    kn = fitted(lm.KneserNeyInterpolated, sentences)
    return {
        "mle": scores(fitted(lm.MLE, text), text),
        "laplace": scores(fitted(lm.Laplace, text), text),
        "lidstone": {"gamma": 0.3, "scores": scores(fitted(lm.Lidstone, text, 0.3), text)},
        "witten_bell": interpolation(fitted(lm.WittenBellInterpolated, text), text, LETTERS),
        "absolute_discounting": {
            "discounts": flat_D,
            "contexts": interpolation(fitted(lm.AbsoluteDiscountingInterpolated, text), text, LETTERS, flat_D),
        },
        "kneser_ney": {
            "discounts": kn_D,
            "unigrams": [kn.estimator.unigram_score(w) for w in words],
            "contexts": interpolation(kn, sentences, words, kn_D),
        },
    }


def good_turing(frequencies):
    """Slope, where the line takes over, smoothed counts and probabilities, by frequency r."""
    from nltk.probability import FreqDist, SimpleGoodTuringProbDist

    names = iter(range(sum(frequencies.values())))
    counts = FreqDist({next(names): r for r, n in frequencies.items() for _ in range(n)})
    model = SimpleGoodTuringProbDist(counts)
    total, first = counts.N(), {r: s for s, r in counts.items()}
    return {
        "frequencies": sorted(frequencies.items()),
        "slope": model._slope,
        "intercept": model._intercept,
        "line from": model._switch_at,
        "unseen": model._prob_measure(0),
        "r star": [model._prob_measure(r) * total for r in sorted(frequencies)],
        "probability": [model.prob(first[r]) for r in sorted(frequencies)],
    }


def word_frequencies():
    """Counts of counts of the words of the text that KenLM's fixture is made of."""
    return Counter(Counter((FOLDER / "kenlm_text.txt").read_text(encoding="utf-8").split()).values())


def compute() -> dict:
    """All that is frozen."""
    assert sum(r * n for r, n in PROSODY.items()) == 30902  # as printed there
    frozen = {"text": TEXT, "sentences": SENTENCES, "letters": LETTERS, "order": ORDER} | smoothings()
    frozen["good_turing"] = {"prosody": good_turing(PROSODY), "words": good_turing(word_frequencies())}
    return json.loads(json.dumps(frozen))


def main() -> None:
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in compute().items())
    FIXTURE.write_text(f"{{{lines}}}\n", encoding="utf-8")
    print(f"wrote {FIXTURE}")


if __name__ == "__main__":
    main()
