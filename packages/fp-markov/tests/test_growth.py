"""Mirrors src/fp_markov/growth.py."""

import math
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_markov.growth import expected_types, heaps, markov_loss, seen_fraction, zipf
from fp_markov.information import kl_divergence

texts = st.lists(st.integers(0, 3), min_size=7, max_size=40).map(np.array)
distributions = arrays(np.float64, 5, elements=st.integers(0, 9).map(float)).filter(lambda w: w.sum() > 0)


@pytest.mark.claim("markov.context-growth")
@pytest.mark.parametrize(("V", "n", "T"), [(2, 1, 5), (2, 3, 7), (3, 2, 5), (3, 3, 5)])
def test_no_text_holds_more_ngrams_than_positions_or_than_there_are(V, n, T):
    """Every text of T tokens."""
    assert len(set(product(range(V), repeat=n))) == V**n
    held = [len({text[i : i + n] for i in range(T - n + 1)}) for text in product(range(V), repeat=T)]
    assert max(held) <= min(V**n, T - n + 1)
    assert max(held) >= min(V**n, T - n + 1) - 1  # and some text comes near: the bound is not idle


@pytest.mark.claim("markov.context-growth")
@given(texts, arrays(np.float64, (4, 4), elements=st.floats(0.01, 1)))
def test_the_mass_of_what_was_seen_is_at_most_positions_times_the_largest(text, weights):
    p = weights / weights.sum()
    seen = {(int(a), int(b)) for a, b in pairwise(text)}
    assert sum(p[a, b] for a, b in seen) <= p.max() * (len(text) - 1) + 1e-12


@given(texts, texts, st.integers(1, 5))
def test_the_seen_share_by_sets_of_tuples(train, held_out, order):
    expected = []
    for n in range(1, order + 1):
        known = {tuple(train[i : i + n].tolist()) for i in range(len(train) - n + 1)}
        grams = [tuple(held_out[i : i + n].tolist()) for i in range(len(held_out) - n + 1)]
        expected.append(sum(gram in known for gram in grams) / len(grams))
    assert seen_fraction(train, held_out, order, 4) == pytest.approx(expected, rel=1e-15)


def test_small_unsigned_ids_are_taken():
    text = np.frombuffer(b"zyzzyva", np.uint8)
    assert seen_fraction(text, text, 3, 256).tolist() == [1, 1, 1]


@pytest.mark.claim("markov.expected-types")
@pytest.mark.claim("markov.new-type")
@pytest.mark.parametrize("T", range(5))
def test_expected_types_and_new_ones_over_all_sequences_of_draws(T):
    """Exactly, in fractions."""
    p = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)]
    types, new = Fraction(0), Fraction(0)
    for draws in product(range(3), repeat=T):
        probability = math.prod((p[i] for i in draws), start=Fraction(1))
        types += probability * len(set(draws))
        new += probability * sum(p[i] for i in range(3) if i not in draws)
    assert types == sum(1 - (1 - q) ** T for q in p)
    assert new == sum(q * (1 - q) ** T for q in p)
    computed = expected_types(np.array(p, float), np.array([T, T + 1]))
    assert computed[0] == pytest.approx(float(types), rel=1e-14)
    assert computed[1] - computed[0] == pytest.approx(float(new), abs=1e-14)


@pytest.mark.claim("markov.new-type")
@given(distributions, st.integers(1, 1000))
def test_the_chance_of_a_new_type_is_below_its_bound(weights, T):
    p = weights / weights.sum()
    assert np.sum(p * (1 - p) ** T) <= 5 / (math.e * T)


@pytest.mark.claim("markov.new-type")
def test_the_bound_on_new_types_is_no_larger_than_needed():
    # K types of probability 1 / K, after T = K draws: (1 - 1/K)^K is within a share 1/K of 1/e
    K = 1009
    assert pytest.approx(K / (math.e * K), rel=1 / K) == (1 - 1 / K) ** K


def test_many_rare_types_keep_their_digits():
    # 10^6 types and one draw: the expectation is one; 1 - (1 - p) alone would lose ten digits
    p = np.full(10**6, 1e-6)
    assert expected_types(p, np.array([0, 1]))[1] == pytest.approx(1, rel=1e-12)
    assert expected_types(np.array([1.0, 0.0]), np.array([0, 1, 7])).tolist() == [0, 1, 1]


@pytest.mark.claim("markov.heaps-from-zipf")
@pytest.mark.parametrize("s", [1.05, 1.3, 2.0, 3.5])
@pytest.mark.parametrize("wobble", [0.0, 0.3])
def test_types_of_a_zipf_source_grow_between_the_two_bounds(s, wobble):
    K = 2003
    ranks = np.arange(1, K + 1)
    p = ranks**-s * (1 + wobble * np.sin(ranks))
    p /= p.sum()
    A, B = (p * ranks**s).min(), (p * ranks**s).max()
    T = np.unique(np.geomspace(1, K**s, 40).astype(np.int64))
    V, R = expected_types(p, T), T ** (1 / s)
    assert ((1 - np.exp(-A)) / 2 * R <= V).all()
    assert ((1 + 2 ** (s - 1) * B / (s - 1)) * R >= V).all()


def test_a_drawn_text_has_the_exponent_that_zipf_gives_it():
    s, K, T = 1.6, 10**6, 200_000
    p = np.arange(1, K + 1) ** -s
    p /= p.sum()
    text = np.searchsorted(np.cumsum(p), np.random.default_rng(73).random(T) * p.sum() * (1 - 1e-12))
    law = heaps(text)
    # the constant of the power law still shifts at small T: a tenth is what remains over five decades
    assert law.exponent == pytest.approx(1 / s, abs=0.1)
    V = expected_types(p, law.lengths[-1:])[0]
    # V(T) is a sum of indicators that are negatively dependent: its variance is below its mean; five deviations
    assert law.types[-1] == pytest.approx(V, abs=5 * math.sqrt(V))


@pytest.mark.claim("markov.zipf-likelihood")
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30), st.data())
def test_no_exponent_near_or_far_makes_the_counts_likelier(counts, data):
    n = np.sort(np.array(counts))[::-1]
    if n[1] == 0:
        return
    K = len(n)
    first = data.draw(st.integers(1, K - 1))
    if n[first] == 0:
        first = 1
    law = zipf(np.array(counts), first)
    r, n = np.arange(first, K + 1), n[first - 1 :]

    def log_likelihood(s):
        return -s * float(n @ np.log(r)) - n.sum() * math.log(np.sum((r / first) ** -s)) + s * n.sum() * math.log(first)

    best = log_likelihood(law.exponent)
    assert law.exponent >= 0
    for s in (*np.linspace(-1, 6, 29), law.exponent + 1e-3, law.exponent - 1e-3):
        assert log_likelihood(s) <= best + 1e-12 * n.sum() * 30
    # strictly concave: below the middle of two values at equal distance
    sides = (log_likelihood(law.exponent + 0.5) + log_likelihood(law.exponent - 0.5)) / 2
    assert sides < best
    p = r**-law.exponent / np.sum(r**-law.exponent)
    # 1e-9: the mean falls with the variance of ln r, at most 3 here, and the exponent is exact to 1e-15
    assert p @ np.log(r) == pytest.approx(n @ np.log(r) / n.sum(), abs=1e-9)


@pytest.mark.claim("markov.zipf-likelihood")
def test_the_exponent_of_a_source_is_recovered_from_draws():
    s, K, N = 1.2, 101, 100_000
    p = np.arange(1, K + 1) ** -s
    p /= p.sum()
    counts = np.random.default_rng(79).multinomial(N, p)
    x = np.log(np.arange(1, K + 1))
    spread = 1 / math.sqrt(N * (p @ x**2 - (p @ x) ** 2))  # one over the root of the likelihood's bend
    # five of those; plus the ranks that the counts put out of order, which moves the mean of ln r by less
    assert zipf(counts).exponent == pytest.approx(s, abs=10 * spread)
    shuffled = np.random.default_rng(83).permutation(counts)
    assert zipf(shuffled) == zipf(counts)


def test_zipf_by_hand():
    # counts 2 and 1: p_2 / p_1 = 2^-s = 1/2
    law = zipf(np.array([1, 2]))
    assert law.exponent == pytest.approx(1, abs=1e-12)
    assert law.constant == pytest.approx(2, rel=1e-12)
    assert zipf(np.array([5, 5, 5])).exponent == pytest.approx(0, abs=1e-12)
    # exact powers over any range of ranks give their own exponent and constant
    law = zipf(10**9 // np.arange(1, 60) ** 2, first=5, last=41)
    assert law.exponent == pytest.approx(2, abs=1e-5)  # counts were rounded to whole numbers near 10^6
    assert law.constant == pytest.approx(10**9, rel=1e-4)


def test_a_fall_too_steep_for_a_float_has_an_infinite_constant():
    assert zipf(np.concatenate((np.full(999, 10**9), [10**9, 1])), first=1000).constant == math.inf


@pytest.mark.claim("markov.least-squares")
@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=9).filter(
        lambda points: len({x for x, _ in points}) > 1
    ),
    st.fractions(-5, 5),
    st.fractions(-5, 5),
)
def test_no_line_is_nearer_in_squares(points, offset, turn):
    """Exactly, in fractions."""
    n = len(points)
    x_mean, y_mean = Fraction(sum(x for x, _ in points), n), Fraction(sum(y for _, y in points), n)
    S = sum((x - x_mean) ** 2 for x, _ in points)
    beta = sum((x - x_mean) * (y - y_mean) for x, y in points) / S

    def squares(c, b):
        return sum((y - y_mean - c - b * (x - x_mean)) ** 2 for x, y in points)

    assert squares(offset, beta + turn) == squares(0, beta) + n * offset**2 + S * turn**2


@pytest.mark.claim("markov.least-squares")
@given(texts)
def test_the_curve_of_a_text_and_its_line(text):
    law = heaps(text, points=11)
    assert law.types.tolist() == [len(set(text[:length].tolist())) for length in law.lengths]
    assert law.lengths[0] == 1
    assert law.lengths[-1] == len(text)
    expected = np.polyfit(np.log(law.lengths), np.log(law.types), 1)
    assert [law.exponent, math.log(law.constant)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.claim("markov.markov-loss")
@given(arrays(np.float64, (2,) * 4, elements=st.integers(0, 9).map(float)).filter(lambda w: w.sum() > 0), st.data())
def test_the_divergence_of_any_markov_model_is_the_loss_and_what_it_gets_wrong(weights, data):
    joint = weights / weights.sum()
    order = data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    best, other = np.ones((2,) * 4), np.ones((2,) * 4)
    for t in range(4):
        summed = tuple(i for i in range(4) if not t - order < i <= t)
        near = joint.sum(axis=summed, keepdims=True)
        context = near.sum(axis=t, keepdims=True)
        q = np.divide(near, context, out=np.full_like(near, 0.5), where=context > 0)
        best = best * q
        r = rng.uniform(0.1, 1, q.shape)
        other = other * r / r.sum(axis=t, keepdims=True)
    loss = markov_loss(joint, order).sum()
    # 1e-12: sums of sixteen terms of a few nats
    assert kl_divergence(joint.ravel(), best.ravel()).item() == pytest.approx(loss, abs=1e-12)
    assert kl_divergence(joint.ravel(), other.ravel()).item() >= loss - 1e-12


@pytest.mark.claim("markov.markov-loss")
@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_source_of_an_order_loses_nothing_at_that_order_and_something_below(order):
    rng = np.random.default_rng(89)
    joint = np.ones((3,) * 4)
    for t in range(4):
        shape = [3 if t - order < i <= t else 1 for i in range(4)]
        q = rng.uniform(0.1, 1, shape)
        joint = joint * q / q.sum(axis=t, keepdims=True)
    assert markov_loss(joint, order) == pytest.approx(np.zeros(4), abs=1e-14)
    for n in range(1, order):
        assert (markov_loss(joint, n)[n:] > 1e-3).all()
    totals = [markov_loss(joint, n).sum() for n in range(1, 6)]
    assert all(later <= earlier + 1e-14 for earlier, later in pairwise(totals))


def test_bad_input_is_refused():
    text = np.array([0, 1, 2, 0])
    with pytest.raises(ValueError, match="order 5 need a held-out text of at least as many tokens, got 4"):
        seen_fraction(np.tile(text, 3), text, 5, 3)
    with pytest.raises(ValueError, match="order 4 need a text of at least 4 tokens, got 3"):
        seen_fraction(text[:3], text, 4, 3)
    with pytest.raises(ValueError, match="it is 1 or more, got 0"):
        seen_fraction(text, text, 0, 3)
    with pytest.raises(ValueError, match=r"must lie in \[0, 3\), got 0 to 7"):
        seen_fraction(text, np.array([0, 7]), 1, 3)
    with pytest.raises(ValueError, match=r"sum one, got a sum of 1\.1"):
        expected_types(np.array([0.5, 0.6]), np.array([1]))
    with pytest.raises(ValueError, match="zero or more, got -1"):
        expected_types(np.array([0.5, 0.5]), np.array([1, -1]))
    for counts, first, last in [([3], 1, None), ([3, 2], 2, None), ([3, 2], 0, 2), ([3, 2], 1, 3), ([], 1, None)]:
        with pytest.raises(ValueError, match="range of ranks needs at least two"):
            zipf(np.array(counts, int), first, last)
    with pytest.raises(ValueError, match="got 1 positive and a minimum of 0"):
        zipf(np.array([3, 0, 0]))
    with pytest.raises(ValueError, match="minimum of -1"):
        zipf(np.array([3, 2, -1]))
    for ids, points in [(text[:1], 5), (text, 1)]:
        with pytest.raises(ValueError, match="two points and a text of two tokens"):
            heaps(ids, points)
    with pytest.raises(ValueError, match="it is 1 or more, got 0"):
        markov_loss(np.full((2, 2), 0.25), 0)
    with pytest.raises(ValueError, match="got a sum of 2"):
        markov_loss(np.full((2, 2), 0.5), 1)
