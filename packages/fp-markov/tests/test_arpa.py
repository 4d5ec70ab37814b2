"""Mirrors src/fp_markov/arpa.py."""

import gzip
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from fp_markov.ngram import SMOOTHINGS, NGramModel

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = ["<unk>", "<s>", "</s>", "a", "b\u00a0b"]  # a no-break space is no separator
TEXT = [1, 3, 4, 3, 3, 2, 1, 4, 4, 2, 1, 3, 4, 2, 1, 2]
BACK_OFF = sorted(SMOOTHINGS.keys() - {"additive", "good_turing", "mle"})


def every_context(order, V=5):
    return (context for n in range(order) for context in product(range(V), repeat=n))


@pytest.mark.claim("markov.arpa-listed")
@pytest.mark.parametrize("smoothing", BACK_OFF)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_model_comes_back_with_its_probabilities(tmp_path, smoothing, order):
    """Exhaustive over contexts, those with the unseen token among them, which only the file lists."""
    model = NGramModel(order, 5, smoothing, bos=1).fit(TEXT)
    model.to_arpa(tmp_path / "model.arpa", NAMES)
    back, names = NGramModel.from_arpa(tmp_path / "model.arpa")
    assert (names, back.order, back.vocab_size, back.bos) == (NAMES, order, 5, 1)
    for context in every_context(order):
        # nine digits of a logarithm, twice an order
        np.testing.assert_allclose(back.next_distribution(context), model.next_distribution(context), rtol=1e-7)
    np.testing.assert_allclose(back.log_prob(TEXT), model.log_prob(TEXT), atol=1e-7)


def test_zero_survives_the_trip(tmp_path):
    model = NGramModel(2, 3, "mle").fit([0, 1, 0, 0])
    model.to_arpa(tmp_path / "model.arpa")
    back, names = NGramModel.from_arpa(tmp_path / "model.arpa")
    assert names == ["0", "1", "2"]
    for context in ([], [0], [1], [2]):
        expected = model.next_distribution(context)
        np.testing.assert_allclose(back.next_distribution(context), expected, atol=1e-8)
        np.testing.assert_array_equal(back.next_distribution(context) == 0, expected == 0)


@pytest.mark.parametrize("smoothing", ["additive", "good_turing"])
def test_a_model_without_shorter_contexts_fits_the_format_at_order_one_only(tmp_path, smoothing):
    model = NGramModel(1, 5, smoothing).fit(TEXT)
    model.to_arpa(tmp_path / "model.arpa", NAMES)
    back, _ = NGramModel.from_arpa(tmp_path / "model.arpa")
    expected = model.next_distribution([])
    expected[1] = 0  # read as <s>
    np.testing.assert_allclose(back.next_distribution([]), expected, rtol=1e-7)
    with pytest.raises(ValueError, match="this smoothing to the uniform distribution"):
        NGramModel(2, 5, smoothing).fit(TEXT).to_arpa(tmp_path / "model.arpa", NAMES)


def test_the_file_looks_as_the_format_asks(tmp_path):
    NGramModel(2, 5, "witten_bell", bos=1).fit(TEXT).to_arpa(tmp_path / "model.arpa", NAMES)
    lines = (tmp_path / "model.arpa").read_text("utf8").split("\n")
    assert lines[:5] == ["\\data\\", "ngram 1=5", "ngram 2=9", "", "\\1-grams:"]
    assert re.fullmatch(r"-99\t<s>\t-[\d.]+", lines[6])
    assert re.fullmatch(r"-[\d.]+\t<s> </s>", lines[12])
    assert lines[-3:] == ["", "\\end\\", ""]


def test_a_file_that_kenlm_wrote_is_a_model():
    model, names = NGramModel.from_arpa(FIXTURES / "kenlm_order3.arpa")
    assert names[:3] == ["<unk>", "<s>", "</s>"]
    assert model.n_ngrams == [589, 1805, 2182]
    rng = np.random.default_rng(0)
    seen = [divmod(int(key), 589) for key in rng.choice(model.weights[1].keys, 30)]  # bigrams of the text
    contexts = [(int(model.weights[0].keys[c]), w) for c, w in seen]
    for context in [[], *rng.integers(0, 589, (20, 1)), *rng.integers(0, 589, (20, 2)), *map(list, contexts)]:
        p = model.next_distribution(context)
        assert p.sum() == pytest.approx(1, abs=1e-4)  # 589 numbers of seven digits
        assert p[model.bos] == 0
    written = model.generate([model.bos], 40, rng, stop=2)
    assert model.bos not in written


def test_a_model_from_a_file_is_saved_and_loaded_but_not_fitted(tmp_path):
    model, _ = NGramModel.from_arpa(FIXTURES / "kenlm_order3.arpa")
    model.save(tmp_path / "model.npz")
    back = NGramModel.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(back.log_prob([1, 5, 7, 2]), model.log_prob([1, 5, 7, 2]))
    with pytest.raises(ValueError, match="does not say how it was smoothed"):
        back.fit([1, 5])


GOOD = "\\data\\\nngram 1=2\nngram 2=1\n\n\\1-grams:\n-0.3\ta\t-0.1\n-0.3\tb\n\n\\2-grams:\n-0.2\ta b\n\n\\end\\\n"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("\\data\\", "hello", ":1: expected the header of an ARPA file, got 'hello'"),
        ("ngram 2=1", "ngram 3=1", ":3: expected 'ngram 2=' and a count"),
        ("ngram 2=1", "ngram 2=one", ":3: expected 'ngram 2=' and a count"),
        ("ngram 1=2\nngram 2=1\n", "", "does not say how many n-grams"),
        ("\\1-grams:\n", "", ":5: expected the header"),
        ("-0.3\tb", "b", ":7: expected a number, 1 tokens"),
        ("-0.3\tb", "x\tb", ":7: expected decimal logarithms"),
        ("-0.3\tb", "nan\tb", ":7: a probability has a logarithm of zero or less"),
        ("-0.3\tb", "0.3\tb", ":7: a probability has a logarithm of zero or less"),
        ("-0.2\ta b", "-0.2\ta c", ":10: 'c' is not among the 1-grams"),
        ("-0.2\ta b", "-0.2\ta b\n-0.2\ta a", "promises 1 2-grams, the section has 2"),
        ("ngram 2=1", "ngram 2=2", "promises 2 2-grams, the section has 1"),
        ("\\end\\\n", "", "was cut off"),
        ("ngram 2=1", "ngram 2=0", ":3: expected 'ngram 2=' and a count"),
        ("-0.3\tb", "-0.3\ta", "promises 2 1-grams|listed twice"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path, old, new, sentence):
    file = tmp_path / "model.arpa"
    file.write_text(GOOD, "utf8")
    NGramModel.from_arpa(file)
    assert old in GOOD
    file.write_text(GOOD.replace(old, new, 1), "utf8")
    with pytest.raises(ValueError, match=sentence):
        NGramModel.from_arpa(file)


def test_a_context_that_is_not_listed_is_refused(tmp_path):
    file = tmp_path / "model.arpa"
    text = GOOD.replace("ngram 2=1\n", "ngram 2=1\nngram 3=1\n").replace(
        "\\end\\", "\\3-grams:\n-0.1\tb a b\n\n\\end\\"
    )
    file.write_text(text, "utf8")
    with pytest.raises(ValueError, match="has the context 'b a', which is not listed"):
        NGramModel.from_arpa(file)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["a", "b"], "give 5 names, got 2"),
        (["a", "b", "c", "d", "e f"], "no white space, got 'e f'"),
        (["a", "b", "c", "d", ""], "is not empty"),
        (["a", "b", "c", "d", "b"], "must differ, got 'b' twice"),
        (["a", "b", "c", "d", "e\ud800"], r"are UTF-8, got half of a pair, '\\ud800'"),
    ],
)
def test_names_that_do_not_serve_are_refused_and_nothing_is_written(tmp_path, names, sentence):
    with pytest.raises(ValueError, match=sentence):
        NGramModel(2, 5).fit(TEXT).to_arpa(tmp_path / "model.arpa", names)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [gzip.compress(GOOD.encode(), mtime=0), GOOD.encode("utf-16"), GOOD.encode() + b"\xff", bytes(range(128, 256))],
)
def test_what_is_no_text_is_refused_with_a_remedy(tmp_path, content):
    file = tmp_path / "model.arpa"
    file.write_bytes(content)
    sentence = f"{re.escape(str(file))} is no text in UTF-8, as an ARPA file is: unpack it if it is packed"
    with pytest.raises(ValueError, match=sentence):
        NGramModel.from_arpa(file)
