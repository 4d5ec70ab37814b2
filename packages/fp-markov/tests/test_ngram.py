"""Mirrors src/fp_markov/ngram.py."""

import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_markov import NGramModel
from fp_markov.counting import count_ngrams
from fp_markov.ngram import SMOOTHINGS, reference_distribution

texts = st.lists(st.integers(0, 2), min_size=4, max_size=60)


@settings(max_examples=30)
@given(texts, st.integers(1, 4))
def test_the_model_equals_its_reference_in_every_context(text, order):
    model = NGramModel(order, vocab_size=4).fit(text)
    for n in range(order):
        for context in product(range(4), repeat=n):
            expected = reference_distribution(text, context, order, 4)
            np.testing.assert_allclose(model.next_distribution(context), expected, rtol=0, atol=1e-12)


@settings(max_examples=30)
@given(texts, st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(1, 4))
def test_the_loss_of_each_token_is_that_of_its_distribution(text, other, order):
    model = NGramModel(order, vocab_size=4).fit(text)
    expected = [np.log(model.next_distribution(other[:t])[w]) for t, w in enumerate(other)]
    np.testing.assert_allclose(model.log_prob(other), expected, rtol=0, atol=1e-12)  # a few roundings


def test_the_model_equals_its_reference_on_a_larger_text():
    rng = np.random.default_rng(29)
    text = rng.choice(11, p=rng.dirichlet(np.ones(11) / 2), size=3001)
    model = NGramModel(5, vocab_size=13).fit(text)
    probe = rng.integers(0, 13, size=17)
    for t in range(len(probe)):
        expected = np.log(reference_distribution(text.tolist(), probe[max(t - 4, 0) : t].tolist(), 5, 13)[probe[t]])
        assert model.log_prob(probe)[t] == pytest.approx(expected, abs=1e-12)  # a few roundings


def test_a_case_by_hand():
    """
    "aaba" over {a, b, c}, order 2. Bigrams aa, ab, ba occur once each: fallback discounts.
    Left neighbours: a has three (start, a, b), b one. P1(a) = 1.5/4 + (2/4)/3, P1(b) = 0.5/4 + (2/4)/3.
    After a: aa and ab once each, so 1/4 each and 1/2 back-off; after b: aa once, so 1/2 and 1/2.
    """
    model = NGramModel(2, vocab_size=3).fit([0, 0, 1, 0])
    first = np.array([13 / 24, 7 / 24, 4 / 24])
    after_a = np.array([1 / 4, 1 / 4, 0]) + first / 2
    after_b = np.array([1 / 2, 0, 0]) + first / 2
    for context, expected in (([], first), ([0], after_a), ([1], after_b), ([2], first), ([1, 0], after_a)):
        np.testing.assert_allclose(model.next_distribution(context), expected, rtol=1e-12)
    expected = np.log([first[0], after_a[0], after_a[1], after_b[0]])
    np.testing.assert_allclose(model.log_prob([0, 0, 1, 0]), expected, rtol=1e-12)
    assert model.cross_entropy([0, 0, 1, 0]) == pytest.approx(-expected.mean())
    assert model.perplexity([0, 0, 1, 0]) == pytest.approx(np.exp(-expected.mean()))


@pytest.fixture(scope="module")
def topics():
    """The language reference without repeated paragraphs, as characters: the first nine tenths and the rest."""
    from pydoc_data.topics import topics

    paragraphs = dict.fromkeys(p for name in sorted(topics) for p in re.split(r"\n\s*\n", topics[name]))
    points = np.frombuffer("\n\n".join(paragraphs).encode("utf-32-le"), "<u4")
    _, ids = np.unique(points, return_inverse=True)
    cut = len(ids) * 9 // 10
    return ids[:cut], ids[cut:], int(ids.max()) + 1


def test_each_order_beats_the_one_below_on_held_out_text(topics):
    train, held_out, vocab_size = topics
    losses = [NGramModel(order, vocab_size).fit(train).cross_entropy(held_out) for order in range(1, 6)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] - losses[4] > 1
    assert losses[0] < np.log(vocab_size)


def test_no_distribution_learns_from_the_text_that_it_scores(topics):
    train, held_out, vocab_size = topics
    model = NGramModel(3, vocab_size).fit(train)
    before = model.next_distribution(held_out[:2])
    model.log_prob(held_out)
    np.testing.assert_array_equal(model.next_distribution(held_out[:2]), before)


def test_fitting_again_starts_afresh_and_the_vocabulary_defaults_to_the_text():
    model = NGramModel(2)
    assert model.fit([0, 1, 2, 1]) is model
    assert model.vocab_size == 3
    once = NGramModel(2, 3).fit([0, 0, 1])
    np.testing.assert_array_equal(model.fit([0, 0, 1]).next_distribution([0]), once.next_distribution([0]))
    assert len(model.discounts) == 2


def test_texts_shorter_than_the_order_are_scored():
    model = NGramModel(5, 4).fit([0, 1, 2, 3, 0, 1, 2])
    long = model.log_prob([0, 1, 2, 3, 0, 1])
    for T in range(1, 6):
        np.testing.assert_array_equal(model.log_prob([0, 1, 2, 3, 0, 1][:T]), long[:T])


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("bos", [None, 0])
def test_a_saved_model_comes_back_bit_for_bit(tmp_path, smoothing, bos):
    text = np.array([0, *np.random.default_rng(2).integers(0, 4, 60)])
    settings_ = {"alpha": 0.3} if smoothing == "additive" else {}
    model = NGramModel(3, 5, smoothing, bos=bos, **settings_).fit(text)
    model.save(tmp_path / "model")
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    back = NGramModel.load(tmp_path / "model")
    np.testing.assert_array_equal(back.log_prob(text), model.log_prob(text))
    about = ("order", "vocab_size", "smoothing", "bos", "settings", "n_ngrams", "nbytes")
    assert all(getattr(back, name) == getattr(model, name) for name in about)
    for ours, theirs in zip(back.discounts, model.discounts, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    back.fit(text[:40])  # and it is a model like any other


def test_a_file_that_is_no_model_is_refused(tmp_path):
    file = tmp_path / "model"
    with file.open("wb") as other:
        np.savez(other, about=np.zeros(3, np.uint8))
    for content in (b"hello", b"", file.read_bytes(), file.read_bytes()[:50]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="is no n-gram model that this version of fp_markov saved, or is damaged"):
            NGramModel.load(file)
    model = NGramModel(1).fit([0])
    model.save(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="or is damaged"):
        NGramModel.load(file)
    with pytest.raises(FileNotFoundError):
        NGramModel.load(tmp_path / "nothing")
    with pytest.raises((IsADirectoryError, PermissionError)):  # the latter on Windows
        NGramModel.load(tmp_path)


def test_damage_anywhere_in_a_file_is_one_error(tmp_path):
    """Bytes are inverted in turn: all that say, at the end, how the file is packed and where, and some of the rest."""
    file = tmp_path / "model"
    NGramModel(1).fit([0]).save(file)
    whole = file.read_bytes()
    refused = 0
    places = [*range(0, len(whole) - 400, 13), *range(len(whole) - 400, len(whole))]
    for i in places:
        file.write_bytes(whole[:i] + bytes([255 - whole[i]]) + whole[i + 1 :])
        try:
            NGramModel.load(file)
        except ValueError as error:
            assert "is no n-gram model that this version of fp_markov saved, or is damaged" in str(error)  # noqa: PT017
            refused += 1
    assert refused > len(places) / 2  # not every byte matters: dates, for one


def test_numbers_of_numpy_are_as_good_as_pythons(tmp_path, shapes_unchecked):
    model = NGramModel(np.int64(2), np.uint8(4), "additive", bos=np.int8(3), alpha=np.float32(0.5)).fit([3, 0, 1])
    model.save(tmp_path / "model")
    back = NGramModel.load(tmp_path / "model")
    about = (back.order, back.vocab_size, back.bos, back.settings)
    assert about == (2, 4, 3, {"alpha": 0.5}) == (model.order, model.vocab_size, model.bos, model.settings)
    assert NGramModel(1, 2, "additive", alpha=None).settings == {}


def test_a_save_that_fails_leaves_the_earlier_file(tmp_path, monkeypatch):
    NGramModel(1).fit([0, 1]).save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()

    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="the disk is full"):
        NGramModel(1).fit([0]).save(tmp_path / "model")
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model").read_bytes() == before


def test_text_is_written_from_the_models_own_distribution():
    """Frequencies of what follows a fixed context, against the distribution; three standard errors."""
    model = NGramModel(2, 3).fit([0, 1, 0, 2, 0, 1, 1, 2, 0])
    rng = np.random.default_rng(0)
    drawn = np.array([model.generate([2, 0], 1, rng)[0] for _ in range(3000)])
    p = model.next_distribution([0])
    assert (np.abs(np.bincount(drawn, minlength=3) / 3000 - p) < 3 * np.sqrt(p * (1 - p) / 3000)).all()


def test_generation_uses_all_its_settings_and_the_seed():
    model = NGramModel(3, 4).fit(np.random.default_rng(1).integers(0, 4, 200))
    rng = np.random.default_rng
    np.testing.assert_array_equal(model.generate([], 50, rng(3)), model.generate([], 50, rng(3)))
    greedy = model.generate([1], 20, rng(0), temperature=0)
    np.testing.assert_array_equal(greedy, model.generate([1], 20, rng(1), top_k=1))
    np.testing.assert_array_equal(greedy, model.generate([1], 20, rng(2), top_p=1e-9))
    np.testing.assert_array_equal(greedy, model.generate([1], 20, rng(2), min_p=1))
    assert len(model.generate([], 0, rng(0))) == 0
    stopped = model.generate([], 1000, rng(0), stop=2)
    assert stopped[-1] == 2
    assert 2 not in stopped[:-1]


def test_excluded_tokens_are_never_written_and_the_others_keep_their_proportions():
    model = NGramModel(2, 4).fit([0, 1, 0, 2, 0, 1, 1, 2, 0, 3])
    rng = np.random.default_rng(0)
    drawn = np.bincount([model.generate([0], 1, rng, exclude=[2])[0] for _ in range(2000)], minlength=4) / 2000
    p = model.next_distribution([0])
    p[2] = 0
    p /= p.sum()
    assert drawn[2] == 0
    assert (np.abs(drawn - p) <= 3 * np.sqrt(p * (1 - p) / 2000)).all()  # three standard errors
    assert 3 not in model.generate([], 50, rng, exclude=np.array([3]), temperature=0)
    with pytest.raises(ValueError, match="every token is cut"):
        model.generate([], 1, rng, exclude=range(4))


def test_generation_within_sentences_never_writes_bos_and_ends_with_them():
    model = NGramModel(3, 5, bos=4).fit([4, 0, 1, 3, 4, 0, 2, 3, 4, 1, 1, 3])
    for seed in range(20):
        assert 4 not in model.generate([4], 30, np.random.default_rng(seed), stop=3)


def test_bos_is_given_and_not_predicted():
    model = NGramModel(2, 4, bos=3).fit([3, 0, 1, 3, 0, 2])
    log_p = model.log_prob([3, 0, 1, 3, 1])
    assert log_p[0] == log_p[3] == 0
    assert model.cross_entropy([3, 0, 1, 3, 1]) == pytest.approx(-log_p[[1, 2, 4]].mean())
    # what stands before a bos does not matter to what follows it
    np.testing.assert_array_equal(model.log_prob([3, 0])[1:], log_p[1:2])
    with pytest.raises(ValueError, match="needs a token to predict, got none but bos"):
        model.cross_entropy([3, 3])


def test_counts_made_elsewhere_serve_if_they_fit():
    levels = count_ngrams(np.array([0, 1, 2, 1]), 2, 3)
    expected = NGramModel(2, 3).fit([0, 1, 2, 1])
    np.testing.assert_array_equal(NGramModel(2).fit_counts(levels).log_prob([0, 1]), expected.log_prob([0, 1]))
    for model in (NGramModel(3), NGramModel(2, 4), NGramModel(2, bos=0)):
        with pytest.raises(ValueError, match="the counts have 2, 3 and None"):
            model.fit_counts(levels)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: NGramModel(0), "it is 1 or more, got 0"),
        (lambda: NGramModel(2, vocab_size=0), "vocab_size must be 1 or more, got 0"),
        (lambda: NGramModel(2, smoothing="none"), "smoothing must be one of .*, got 'none'"),
        (lambda: NGramModel(2, smoothing="additive", beta=1), r"additive has the settings \['alpha'\], got \['beta'\]"),
        (lambda: NGramModel(2, smoothing="katz", alpha=1), r"katz has the settings none, got \['alpha'\]"),
        (lambda: NGramModel(2, 3, bos=3), r"bos is a token of the vocabulary, in \[0, 3\), got 3"),
        (lambda: NGramModel(2, 3, bos=1).fit([0, 1]), "begins with bos"),
        (lambda: NGramModel(1, 1, bos=0), "vocab_size must be 2 or more beside it, got 1"),
        (lambda: NGramModel(1, 3, bos=1).fit([1, 1]), "need a sentence of at least 1 tokens after bos, got none"),
        (lambda: NGramModel(1).fit_counts([]), "fit_counts needs the counts that count_ngrams returns"),
        (lambda: NGramModel(1, 2).fit([0]).generate([], 1, np.random.default_rng(0), exclude=[2]), r"in \[0, 2\)"),
        (lambda: NGramModel(1).save("nowhere"), r"call fit\(ids\) first"),
        (lambda: NGramModel(1).to_arpa("nowhere"), r"call fit\(ids\) first"),
        (lambda: NGramModel(1).generate([], 3, np.random.default_rng(0)), r"call fit\(ids\) first"),
        (lambda: NGramModel(1).fit([0]).generate([], -1, np.random.default_rng(0)), "zero or more, got -1"),
        (lambda: NGramModel(2).fit([]), "fit needs at least one token, got an empty text"),
        (lambda: NGramModel(5).fit([1, 2]), "order 5 need a text of at least 5 tokens, got 2"),
        (lambda: NGramModel(1, 3).fit([0, 3]), r"must lie in \[0, 3\), got 0 to 3"),
        (lambda: NGramModel(1).fit([0, -1]), "got -1 to 0"),
        (lambda: NGramModel(1, 3).fit([0, 1]).log_prob([3]), r"must lie in \[0, 3\), got 3 to 3"),
        (lambda: NGramModel(1, 3).fit([0, 1]).next_distribution([-1]), r"must lie in \[0, 3\), got -1 to -1"),
        (lambda: NGramModel(1, 3).fit([0, 1]).cross_entropy([]), "log_prob needs at least one token"),
        (lambda: NGramModel(1).log_prob([0]), r"call fit\(ids\) first"),
        (lambda: NGramModel(1).next_distribution([]), r"call fit\(ids\) first"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_text_that_is_not_encoded_is_refused(shapes_unchecked):
    with pytest.raises(TypeError, match="Encode the text first"):
        NGramModel(1).fit(np.array(["a", "b"]))
    with pytest.raises(TypeError, match="token ids must be integers, got float64"):
        NGramModel(1).fit(np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="one text, a sequence of token ids"):
        NGramModel(1).fit(np.zeros((2, 3), np.int64))
    with pytest.raises(TypeError, match="token ids must be integers, got float64"):
        NGramModel(1, 3).fit([0]).next_distribution(np.array([0.5]))


@pytest.mark.parametrize("number", [2.0, True, "2", None])
def test_sizes_that_are_no_integers_are_refused(number, shapes_unchecked):
    with pytest.raises(TypeError, match=f"order must be an integer, got {number!r}"):
        NGramModel(number)
    if number is not None:  # which is a default
        with pytest.raises(TypeError, match=f"vocab_size must be an integer, got {number!r}"):
            NGramModel(1, number)
        with pytest.raises(TypeError, match=f"bos must be an integer, got {number!r}"):
            NGramModel(1, 3, bos=number)


def test_settings_that_are_no_numbers_are_refused(shapes_unchecked):
    for value in ("0.5", [0.5], True, 1j):
        with pytest.raises(TypeError, match=re.escape(f"alpha must be a number, got {value!r}")):
            NGramModel(1, smoothing="additive", alpha=value)
        with pytest.raises(TypeError, match=re.escape(f"discount must be a number, got {value!r}")):
            NGramModel(1, smoothing="kneser_ney", discount=value)


def test_what_is_no_sequence_and_what_is_no_generator_is_refused(shapes_unchecked):
    for ids in (None, iter([0, 1]), {0, 1}, b"ab", "ab", 3):
        with pytest.raises(TypeError, match=f"fit needs token ids in an array or a list, got {type(ids).__name__}"):
            NGramModel(1).fit(ids)
    model = NGramModel(1).fit([0, 1])
    for rng in (0, None, np.random):
        with pytest.raises(TypeError, match="rng must be a generator such as"):
            model.generate([], 3, rng)
    with pytest.raises(TypeError, match=r"n_tokens must be an integer, got 2\.5"):
        model.generate([], 2.5, np.random.default_rng(0))
