"""Mirrors src/fp_capstone/evaluation.py."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_capstone import Model
from fp_capstone.evaluation import Baseline, Report, compare, evaluate, ngram_losses, windows
from fp_markov.ngram import NGramModel
from fp_transformer.config import TransformerConfig


class Places:
    """Charges for a token its own id, so that the losses say which tokens were scored."""

    def __init__(self):
        self.shapes = []

    def token_losses(self, ids, targets):
        assert (targets == ids + 1).all()  # targets are one place further
        self.shapes.append(ids.shape)
        return targets.astype(np.float32)


@pytest.mark.claim("capstone.disjoint-windows")
@given(st.integers(2, 67), st.integers(1, 71), st.integers(1, 5))
def test_every_token_but_the_first_is_scored_once_and_in_order(n, window, batch_size):
    model = Places()
    losses = evaluate(model, np.arange(n), window, batch_size=batch_size)
    assert losses.tolist() == list(range(1, n))
    assert losses.dtype == np.float64
    assert sum(rows for rows, _ in model.shapes) == -(-(n - 1) // window)  # the windows, rounded up
    assert all(1 <= rows <= batch_size and 1 <= length <= window for rows, length in model.shapes)


@pytest.fixture(scope="module")
def transformer():
    config = TransformerConfig.llama(vocab_size=13, context_length=11, n_layers=2, n_heads=2, d_model=20)
    return Model(config, np.random.default_rng(5))


@pytest.mark.claim("capstone.batch-free")
def test_the_loss_does_not_depend_on_the_batch_size_or_the_threads(transformer):
    ids = np.random.default_rng(7).integers(0, 13, 300)
    one = evaluate(transformer, ids, 11, batch_size=1)
    for batch_size, threads in [(2, 1), (5, 1), (97, 1), (3, 2)]:
        other = evaluate(transformer, ids, 11, batch_size=batch_size, threads=threads)
        # 1e-5: float32 sums of 20 to 64 products in another order, at losses of about 3
        np.testing.assert_allclose(other, one, atol=1e-5)


def test_a_window_does_not_see_the_one_before(transformer):
    ids = np.random.default_rng(11).integers(0, 13, 34)
    changed = ids.copy()
    changed[:11] = (changed[:11] + 1) % 13
    before, after = evaluate(transformer, ids, 11), evaluate(transformer, changed, 11)
    assert (before[:10] != after[:10]).any()
    np.testing.assert_array_equal(before[11:], after[11:])


def test_the_ngram_models_score_the_same_tokens():
    rng = np.random.default_rng(3)
    train, held_out = rng.integers(0, 7, 501), rng.integers(0, 7, 103)
    losses = ngram_losses(train, held_out, 7)
    assert sorted(losses) == [1, 2, 3, 4, 5]
    for order, values in losses.items():
        direct = -NGramModel(order, vocab_size=7).fit(train).log_prob(held_out)
        np.testing.assert_array_equal(values, direct[1:])


def table(difference, rng=None):
    rng = rng or np.random.default_rng(0)
    losses = rng.gamma(2.0, 1.0, 20_000)
    noise = rng.normal(0, 0.5, 20_000)
    ngrams = {5: losses + difference + noise, 1: losses + 2.0}
    return compare(losses, ngrams, text="here", sha256="0123456789abcdef", window=31, n_bytes=20_001, rng=rng)


def test_differences_are_paired_against_the_best_ngram():
    report = table(0.1)
    assert [row.order for row in report.baselines] == [1, 5]
    assert report.best.order == 5
    # 0.0035 is 0.5 / sqrt(20000); four of them bound the mean, and the bootstrap of 20 blocks is good to a third
    assert report.best.difference == pytest.approx(0.1, abs=4 * 0.0035)
    assert report.best.standard_error == pytest.approx(0.0035, rel=0.5)
    assert report.baselines[0].difference == pytest.approx(2.0)
    assert report.baselines[0].standard_error < 1e-9  # a constant difference has no error
    assert report.decisive


@pytest.mark.parametrize(
    ("difference", "error", "decisive"), [(0.3, 0.1, True), (0.19, 0.1, False), (-0.3, 0.1, False)]
)
def test_decisive_means_better_by_more_than_two_standard_errors(difference, error, decisive):
    rows = (Baseline(1, 3.0, 2.0, 0.1), Baseline(3, 1.5, difference, error))
    assert Report("here", "0" * 64, 7, 101, 103, 1.5 - difference, rows).decisive is decisive


def test_the_table_names_window_text_hash_and_verdict():
    text = str(table(0.1))
    assert "disjoint windows of 31" in text
    assert "here (sha256 0123456789ab…)" in text
    assert "best n-gram" in text.splitlines()[6]
    assert "better than the best n-gram" in text
    assert "more than two" in text
    assert "worse than the best n-gram" in str(table(-0.1))


def test_bits_per_byte_count_all_tokens_and_bytes():
    report = Report("here", "0" * 64, 7, 50, 100, np.log(256).item(), ())
    assert report.bits_per_byte(report.loss) == pytest.approx(4.0, rel=1e-12)  # 8 bits a token, 2 bytes a token


def test_the_report_is_plain_data():
    data = json.loads(json.dumps(table(0.1).as_dict()))
    assert data["window"] == 31
    assert data["best_order"] == 5
    assert data["decisive"] is True


def test_a_text_of_one_token_cannot_be_scored():
    with pytest.raises(ValueError, match="at least 2 tokens"):
        evaluate(Places(), np.arange(1), 5)


@pytest.mark.parametrize(("window", "batch_size"), [(0, 1), (1, 0)])
def test_a_window_and_a_batch_hold_something(window, batch_size):
    with pytest.raises(ValueError, match="must be at least 1"):
        list(windows(np.arange(5), window, batch_size))
