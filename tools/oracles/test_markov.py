"""Live: KenLM and NLTK against `fp_markov`. Run in the oracles environment."""

import json
import math
import random

import numpy as np
import pytest

pytest.importorskip("nltk")

from tools.oracles import markov_kenlm as kenlm
from tools.oracles import markov_nltk as nltk

from fp_markov.ngram import NGramModel

TOLERANCE = 5e-6  # of log10: KenLM computes in float32, whose steps near log10 P = -5 are 5e-7, at every order again
FALLBACK = (0.5, 1.0, 1.5)


def encode(text, words):
    """Sentences as one sequence of ids, each between `<s>` and `</s>`; what is not in `words` is `<unk>`."""
    ids = {word: i for i, word in enumerate(words)}
    return np.array(
        [ids.get(w, ids[kenlm.UNK]) for sentence in text for w in (kenlm.BOS, *sentence, kenlm.EOS)], np.int64
    )


def vocabulary(text):
    """The special words first, as KenLM has them."""
    return [kenlm.UNK, kenlm.BOS, kenlm.EOS, *sorted({word for sentence in text for word in sentence})]


def fitted(text, order):
    """Our model of the sentences, and its words."""
    words = vocabulary(text)
    return NGramModel(order, len(words), bos=words.index(kenlm.BOS)).fit(encode(text, words)), words


def as_dictionary(model, words):
    """log10 of (probability, back-off weight) of every n-gram; as in KenLM, `<s>` alone is scored without effect."""
    out, grams, V = {}, [()], len(words)
    for weights, longer in zip(model.weights, [*model.weights[1:], None], strict=True):
        grams = [(*grams[key // V], words[key % V]) for key in weights.keys.tolist()]
        backoff = np.ones(len(grams)) if longer is None else longer.backoff
        out |= {
            g: (0.0 if g == (kenlm.BOS,) else math.log10(p), math.log10(b))
            for g, p, b in zip(grams, weights.probability, backoff, strict=True)
        }
    return out


def assert_agree(ours, theirs):
    """Same n-grams, same numbers."""
    # what no text has is no n-gram of ours; the scores of new text show its probability
    assert ours.keys() | {(kenlm.UNK,)} == theirs.keys()
    both = [g for g in theirs if g in ours]
    np.testing.assert_allclose([ours[g] for g in both], [theirs[g] for g in both], atol=TOLERANCE, rtol=0)


def random_sentences(rng, n_words, n_sentences):
    """Words with Zipf's frequencies and a last word of their own."""
    weights = [1 / (i + 1) for i in range(n_words)]
    text = [[f"w{i}" for i in rng.choices(range(n_words), weights, k=rng.randrange(1, 12))] for _ in range(n_sentences)]
    return [*text, ["last"]]


@pytest.fixture(scope="module")
def text():
    return kenlm.sentences(kenlm.TEXT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("order", kenlm.ORDERS)
def test_the_kenlm_fixture_is_what_lmplz_says_today(text, order):
    frozen, now = json.loads(kenlm.FIXTURE.read_text(encoding="utf-8"))[str(order)], kenlm.compute(text, order)
    assert frozen["ngrams"] == now["ngrams"]
    assert frozen["sample"].keys() == now["sample"].keys()
    for then, now_ in [
        (frozen["discounts"], now["discounts"]),
        ([*frozen["sample"].values()], [*now["sample"].values()]),
        *zip(frozen["held_out"], now["held_out"], strict=True),
    ]:
        np.testing.assert_allclose(then, now_, atol=2e-6, rtol=0)  # another compiler may round otherwise


def test_the_arpa_fixture_is_what_lmplz_writes_today(text):
    frozen = kenlm.read_arpa(kenlm.ARPA.read_text(encoding="utf-8"))
    now = kenlm.read_arpa(kenlm.lmplz(text[: kenlm.ARPA_SENTENCES], 3)[1])
    assert frozen.keys() == now.keys()
    np.testing.assert_allclose([*frozen.values()], [now[g] for g in frozen], atol=2e-6, rtol=0)


@pytest.mark.parametrize("order", [1, *kenlm.ORDERS])
def test_the_reference_computes_what_lmplz_does(text, order):
    discounts, arpa = kenlm.lmplz(text, order)
    expected, model = kenlm.reference_kenlm(text, order)
    np.testing.assert_allclose(discounts, expected, rtol=5e-6)  # printed with six digits
    assert_agree(model, kenlm.read_arpa(arpa))


@pytest.mark.parametrize("order", [1, *kenlm.ORDERS])
def test_our_model_is_that_of_lmplz_to_the_last_ngram(text, order):
    discounts, arpa = kenlm.lmplz(text, order)
    model, words = fitted(text, order)
    np.testing.assert_allclose(model.discounts, discounts, rtol=5e-6)  # printed with six digits
    assert_agree(as_dictionary(model, words), kenlm.read_arpa(arpa))


@pytest.mark.parametrize("order", kenlm.ORDERS)
def test_our_scores_of_new_text_are_those_of_query(text, order):
    new = [sentence.split() for sentence in kenlm.HELD_OUT]
    theirs = kenlm.query(kenlm.lmplz(text, order)[1], new)
    model, words = fitted(text, order)
    ids = encode(new, words)
    ours = model.log_prob(ids)[ids != model.bos] / math.log(10)
    np.testing.assert_allclose(ours, np.concatenate(theirs), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("seed", range(5))
def test_random_texts_and_fallback_discounts_agree(seed):
    rng = random.Random(seed)
    text = random_sentences(rng, n_words=rng.choice((3, 11, 101)), n_sentences=rng.choice((7, 53, 307)))
    assert kenlm.last_new_word_stands_once(text)
    for order in (2, 3, 4):
        _, arpa = kenlm.lmplz(text, order, "--discount_fallback")
        theirs = kenlm.read_arpa(arpa)
        assert_agree(kenlm.reference_kenlm(text, order, FALLBACK)[1], theirs)
        model, words = fitted(text, order)
        assert_agree(as_dictionary(model, words), theirs)


@pytest.mark.parametrize(
    "smoothing", ["modified_kneser_ney", "kneser_ney", "absolute_discounting", "witten_bell", "katz"]
)
def test_kenlm_scores_with_the_arpa_file_that_we_write_as_we_do(text, smoothing, tmp_path):
    words, new = vocabulary(text), [sentence.split() for sentence in kenlm.HELD_OUT]
    model = NGramModel(4, len(words), smoothing, bos=words.index(kenlm.BOS)).fit(encode(text, words))
    model.to_arpa(tmp_path / "ours.arpa", words)
    theirs = kenlm.query((tmp_path / "ours.arpa").read_text(encoding="utf-8"), new)
    ids = encode(new, words)
    ours = model.log_prob(ids)[ids != model.bos] / math.log(10)
    np.testing.assert_allclose(ours, np.concatenate(theirs), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("order", kenlm.ORDERS)  # query reads no file of order 1
def test_the_arpa_file_that_lmplz_writes_scores_here_as_in_query(text, order, tmp_path):
    arpa, new = kenlm.lmplz(text, order)[1], [sentence.split() for sentence in kenlm.HELD_OUT]
    (tmp_path / "theirs.arpa").write_text(arpa, encoding="utf-8")
    model, words = NGramModel.from_arpa(tmp_path / "theirs.arpa")
    ids = encode(new, words)
    ours = model.log_prob(ids)[ids != words.index(kenlm.BOS)] / math.log(10)
    np.testing.assert_allclose(ours, np.concatenate(kenlm.query(arpa, new)), atol=TOLERANCE, rtol=0)


def test_the_nltk_fixture_is_what_nltk_says_today():
    frozen = json.loads(nltk.FIXTURE.read_text(encoding="utf-8"))
    assert_close(frozen, nltk.compute())


def assert_close(a, b):
    """The same structure, and numbers to 1e-12: another version may order sums otherwise."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_close(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_close(x, y)
    else:
        assert a == b or a == pytest.approx(b, rel=1e-12)
