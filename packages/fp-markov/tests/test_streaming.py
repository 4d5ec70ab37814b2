"""Mirrors src/fp_markov/streaming.py."""

import tempfile
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fp_markov.counting import count_ngrams
from fp_markov.ngram import NGramModel
from fp_markov.streaming import count_stream


def assert_equal(ours, expected):
    for level, other in zip(ours, expected, strict=True):
        for name in ("keys", "counts", "suffixes", "starts"):
            a, b = getattr(level, name), getattr(other, name)
            np.testing.assert_array_equal(np.sort(a) if name == "starts" else a, np.sort(b) if name == "starts" else b)
        assert (level.n_contexts, level.vocab_size, level.bos) == (other.n_contexts, other.vocab_size, other.bos)


@pytest.mark.claim("markov.external-sort")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(st.integers(0, 3), min_size=4, max_size=50),
    order=st.integers(1, 4),
    piece_length=st.integers(1, 17),
    cut=st.integers(0, 50),
    bos=st.sampled_from([None, 0]),
)
def test_counts_on_disk_are_those_in_memory(tmp_path, text, order, piece_length, cut, bos):
    """Pieces as short as one token, so that a merge has many runs and rounds."""
    ids = np.array(text if bos is None else [0, 1, 2, 3, *text])
    expected = count_ngrams(ids, order, 4, bos)
    pieces = [ids[:cut], ids[cut:].tolist()]
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        assert_equal(count_stream(pieces, order, 4, folder, bos, piece_length), expected)


def test_an_iterator_will_do_and_the_model_is_the_same(tmp_path):
    rng = np.random.default_rng(0)
    text = rng.choice(13, p=rng.dirichlet(np.ones(13)), size=5003)
    levels = count_stream((text[i : i + 7] for i in range(0, 5003, 7)), 4, 13, tmp_path, piece_length=500)
    ours, expected = NGramModel(4).fit_counts(levels), NGramModel(4, 13).fit(text)
    np.testing.assert_array_equal(ours.log_prob(text[:100]), expected.log_prob(text[:100]))


@pytest.mark.parametrize("bos", [None, 0])
def test_memory_is_bounded_by_the_piece_not_by_the_text(tmp_path, bos):
    """Eight times the text, of as many different n-grams as before: in memory the peak would be eight-fold."""
    text = np.random.default_rng(1).integers(0, 7, 40_000).astype(np.int64)
    if bos is not None:
        text[::3], text[1::3] = bos, 1  # sentences of one and two tokens
    peaks = []
    for copies in (1, 8):
        folder = tmp_path / str(copies)
        folder.mkdir()
        tracemalloc.start()
        count_stream((text for _ in range(copies)), 3, 7, folder, bos, piece_length=10_000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]  # more runs to merge, of the same size together
    assert peaks[1] < 8 * text.nbytes


def test_only_the_levels_stay_on_disk(tmp_path):
    count_stream([np.array([0, 1, 0, 1])], 2, 2, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        f"{kind}{n}" for kind in ("keys", "counts", "suffixes", "starts") for n in (1, 2)
    )


@pytest.mark.parametrize(
    ("pieces", "order", "settings_", "sentence"),
    [
        ([[0, 1]], 0, {}, "it is 1 or more, got 0"),
        ([[0], [1]], 3, {}, "order 3 need a text of at least 3 tokens, got 2"),
        ([], 1, {}, "order 1 need a text of at least 1 tokens, got 0"),
        ([[0, 1], [2]], 1, {}, r"token ids must lie in \[0, 2\), got 2 to 2"),
        ([[0, 1]], 1, {"piece_length": 0}, "piece_length must be 1 or more, got 0"),
        ([[0], [1]], 1, {"bos": 1}, "begins with bos, which is 1, got 0"),
        ([[1, 0, 1]], 3, {"bos": 1}, "order 3 need a sentence of at least 2 tokens after bos"),
        ([[1, 1, 1, 0] * 2], 7, {"bos": 1}, "order 7 need a sentence of at least 6 tokens after bos"),
        ([[1], [1]], 1, {"bos": 1}, "order 1 need a sentence of at least 1 tokens after bos"),
    ],
)
def test_bad_input_is_refused(tmp_path, pieces, order, settings_, sentence):
    with pytest.raises(ValueError, match=sentence):
        count_stream([np.array(piece) for piece in pieces], order, 2, tmp_path, **settings_)


def test_ids_that_are_no_integers_are_refused(tmp_path, shapes_unchecked):
    for piece in (np.array([0.0, 1.0]), np.array([0, np.nan]), np.array([False, True]), [0.5], ["a"]):
        with pytest.raises(TypeError, match="token ids must be integers"):
            count_stream([np.array([0, 1]), piece], 1, 2, tmp_path)
    with pytest.raises(ValueError, match=r"needs one text, a sequence of token ids, got an array of shape \(1, 2\)"):
        count_stream([np.array([[0, 1]])], 1, 2, tmp_path)
    with pytest.raises(TypeError, match="count_stream needs token ids in an array or a list, got int"):
        count_stream([0, 1], 1, 2, tmp_path)
    with pytest.raises(TypeError, match=r"vocab_size must be an integer, got 2\.0"):
        count_stream([np.array([0, 1])], 1, 2.0, tmp_path)
    with pytest.raises(ValueError, match=r"must stay below 2\*\*63"):
        count_stream([np.array([0, 1])], 1, 2**62, tmp_path)


def test_the_levels_of_an_earlier_text_are_not_written_over(tmp_path):
    levels = count_stream([np.array([0, 1, 0, 1, 1])], 2, 2, tmp_path)
    before = [level.counts.tolist() for level in levels]
    with pytest.raises(ValueError, match="holds counts already, which may be in use: give another one"):
        count_stream([np.array([1, 1, 1, 0])], 2, 2, tmp_path)
    assert [level.counts.tolist() for level in levels] == before
