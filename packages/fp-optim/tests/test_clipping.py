"""Mirrors src/fp_optim/clipping.py. Sizes are distinct primes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_optim.clipping import clip_by_global_norm, clip_by_value, global_norm

numbers = st.floats(-1e100, 1e100).filter(lambda x: x == 0 or abs(x) > 1e-100)
gradients = st.fixed_dictionaries(
    {"w": arrays(np.float64, (2, 3), elements=numbers), "b": arrays(np.float64, 5, elements=numbers)}
)
limits = st.floats(1e-3, 1e3)


def flat(grads):
    return np.concatenate([g.ravel() for g in grads.values()])


@given(gradients)
def test_the_norm_is_that_of_one_long_vector(grads):
    assert global_norm(grads) == pytest.approx(math.hypot(*flat(grads)), rel=1e-14)


def test_arrays_longer_than_a_piece_are_summed_whole():
    rng = np.random.default_rng(1)
    grads = {"w": rng.normal(size=(113, 331)).astype(np.float32), "empty": np.zeros((0, 3)), "b": rng.normal(size=7)}
    assert global_norm(grads) == pytest.approx(math.hypot(*flat(grads).astype(np.float64)), rel=1e-14)


def test_the_sum_is_kept_in_float64():
    # in float32 the sum of 2^24 ones and more would stop growing; here a thousandth is still seen beside a thousand
    grads = {"w": np.array([1e3] + [1e-3] * 10_007, dtype=np.float32)}
    assert global_norm(grads) ** 2 - 1e6 == pytest.approx(10_007 * 1e-6, rel=1e-6)


@pytest.mark.claim("optim.norm-scaling")
@pytest.mark.parametrize("unit", [1e-320, 1e-300, 1e-170, 1.0, 1e150, 1e200, 1e307])
def test_squares_may_overflow_or_vanish_but_the_norm_does_not(unit):
    grads = {"w": np.array([[3.0, 0.0]]) * unit, "b": np.array([-4.0, 12.0, 0.0]) * unit}
    # a number as small as 1e-320 has four digits only
    assert global_norm(grads) / 13 == pytest.approx(unit, rel=1e-3 if unit < 1e-307 else 1e-14)


@pytest.mark.claim("optim.norm-scaling")
@given(gradients)
def test_the_scaled_sum_lies_between_one_and_the_number_of_entries(grads):
    g = flat(grads)
    m = abs(g).max()
    if m > 0:
        with np.errstate(under="ignore"):
            total = ((g / m) ** 2).sum()
        assert 1 <= total <= g.size
        assert m * math.sqrt(total) == pytest.approx(global_norm(grads), rel=1e-14)


def test_float32_squares_do_not_overflow():
    assert global_norm({"w": np.full(4, 1e38, dtype=np.float32)}) == pytest.approx(2e38, rel=1e-6)


@pytest.mark.claim("optim.clip-direction")
@given(gradients, limits)
def test_clipping_keeps_the_direction_and_bounds_the_norm(grads, max_norm):
    before = {name: g.copy() for name, g in grads.items()}
    norm = clip_by_global_norm(grads, max_norm)
    assert norm == global_norm(before)
    assert global_norm(grads) == pytest.approx(min(norm, max_norm), rel=1e-13)
    if norm > 0:
        # the same unit vector, entry by entry, to the rounding of one product and one quotient
        one, other = flat(before) / norm, flat(grads) / min(norm, max_norm)
        np.testing.assert_allclose(other, one, rtol=1e-13, atol=1e-300)


@pytest.mark.claim("optim.clip-nearest")
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_no_other_vector_of_the_ball_is_as_near(seed, max_norm):
    rng = np.random.default_rng(seed)
    g = rng.normal(size=7)
    clipped = {"g": g.copy()}
    clip_by_global_norm(clipped, max_norm)
    distance = np.linalg.norm(g - clipped["g"])
    for noise in (1e-3, 0.1, 10):
        x = clipped["g"] + noise * rng.normal(size=7)
        x *= min(1, max_norm / np.linalg.norm(x))
        away = np.linalg.norm(x - clipped["g"])
        assert np.linalg.norm(g - x) ** 2 >= distance**2 + away**2 - 1e-12  # (E3); rounding of squares below 1000


def test_the_norm_of_nothing_but_zeros_has_no_sign():
    for zeros in (np.zeros(3), -np.zeros(3), np.array([0.0, -0.0])):
        assert str(global_norm({"w": zeros})) == "0.0"


def test_a_short_gradient_is_not_touched_and_arrays_stay_where_they_are():
    w = np.array([3.0, 4.0])
    assert clip_by_global_norm({"w": w}, 5.0) == 5.0 and w.tolist() == [3.0, 4.0]
    assert clip_by_global_norm({"w": w}, math.inf) == 5.0 and w.tolist() == [3.0, 4.0]
    assert clip_by_global_norm({"w": w}, 2.5) == 5.0 and w.tolist() == [1.5, 2.0]
    assert clip_by_global_norm({"w": np.zeros(3)}, 1.0) == 0.0
    assert clip_by_global_norm({}, 1.0) == 0.0


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_norm_that_is_not_finite_is_returned_and_nothing_is_changed(bad, dtype):
    grads = {"a": np.array([1.0, 2.0], dtype=dtype), "b": np.array([3.0, bad], dtype=dtype)}
    norm = clip_by_global_norm(grads, 1.0)
    assert math.isnan(norm) if math.isnan(bad) else norm == math.inf
    assert grads["a"].tolist() == [1.0, 2.0] and grads["b"][0] == 3.0


def test_nan_is_not_hidden_by_infinity():
    assert math.isnan(global_norm({"a": np.array([math.inf]), "b": np.array([math.nan])}))
    assert math.isnan(global_norm({"a": np.array([math.nan]), "b": np.array([math.inf])}))


def test_clipping_tensor_by_tensor_would_turn_the_direction():
    grads = {"w": np.array([3.0, 0.0]), "b": np.array([0.0, 0.3])}
    each = np.concatenate([g / max(1, np.linalg.norm(g)) for g in grads.values()])
    before = flat(grads)
    clip_by_global_norm(grads, 1.0)
    cosine = lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)  # noqa: E731
    assert cosine(flat(grads), before) == pytest.approx(1, rel=1e-14)
    assert cosine(each, before) < 0.99


def test_the_norm_allocates_nothing_that_grows(peak_bytes):
    grads = {"w": np.ones((1009, 1013), dtype=np.float32)}
    assert peak_bytes(lambda: clip_by_global_norm(grads, 1.0)) < 100_000  # one piece of 8192 in float64


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan])
def test_a_limit_that_is_not_positive_is_refused(max_norm):
    with pytest.raises(ValueError, match="max_norm must be positive, got"):
        clip_by_global_norm({"w": np.ones(2)}, max_norm)


def box(g, limit):
    clipped = {"g": g.copy()}
    clip_by_value(clipped, limit)
    return clipped["g"]


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@given(gradients, limits)
def test_clipping_by_value_works_entry_by_entry(grads, limit):
    before = {name: g.copy() for name, g in grads.items()}
    assert clip_by_value(grads, limit) == max(abs(flat(before)))
    for old, new in zip(flat(before), flat(grads), strict=True):
        assert new == (old if abs(old) <= limit else math.copysign(limit, old))


@pytest.mark.claim("optim.clip-value-nearest")
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 3))
def test_no_other_vector_of_the_box_is_as_near(seed, limit):
    rng = np.random.default_rng(seed)
    g = rng.normal(size=7)
    p = box(g, limit)
    assert np.linalg.norm(p) <= limit * math.sqrt(7) * (1 + 1e-15)  # equal if all entries are clipped, to rounding
    for noise in (1e-3, 0.1, 10):
        x = np.clip(p + noise * rng.normal(size=7), -limit, limit)
        if not np.array_equal(x, p):
            assert np.linalg.norm(g - x) > np.linalg.norm(g - p)


@pytest.mark.claim("optim.clip-value-angle")
@given(arrays(np.float64, st.integers(1, 11), elements=st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)))
def test_clipping_by_value_turns_less_than_its_bound(g):
    n = len(g)
    if g.any():
        # strict for n > 1, but the gap may be smaller than the rounding of eleven products
        assert cosine(g, box(g, 1.0)) >= (1 - 1e-14) / math.sqrt(n)


@pytest.mark.claim("optim.clip-value-angle")
@pytest.mark.parametrize("n", [2, 3, 7, 101])
def test_the_bound_of_the_angle_is_approached_and_not_met(n):
    gaps = []
    for M in (1e1, 1e3, 1e5):
        g = np.ones(n)
        g[n // 2] = -M
        gaps.append(cosine(g, box(g, 1.0)) - 1 / math.sqrt(n))
    # beyond the bound by (n - 1) / (M sqrt n), to first order in 1 / M
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] == pytest.approx((n - 1) / (1e5 * math.sqrt(n)), rel=0.01)


@pytest.mark.claim("optim.clip-value-sign")
@given(arrays(np.float64, 7, elements=st.floats(-1e6, 1e6).filter(lambda x: abs(x) > 1e-6)), st.floats(0.01, 1))
def test_a_limit_below_all_entries_leaves_their_signs(g, share):
    limit = share * abs(g).min()
    np.testing.assert_array_equal(box(g, limit), limit * np.sign(g))


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_are_not_finite_are_returned_and_nothing_is_clipped(bad, dtype):
    grads = {"a": np.array([1.0, 2.0], dtype=dtype), "b": np.array([3.0, bad], dtype=dtype)}
    found = clip_by_value(grads, 1)
    assert math.isnan(found) if math.isnan(bad) else found == math.inf
    assert grads["a"].tolist() == [1.0, 2.0] and grads["b"][0] == 3.0


def test_clipping_by_value_is_in_place_and_keeps_the_type(peak_bytes):
    w = np.full((331, 113), 3.0, dtype=np.float32)
    grads = {"w": w, "empty": np.zeros((0, 3)), "turned": np.arange(6.0).reshape(2, 3).T}
    assert peak_bytes(lambda: clip_by_value(grads, 2.0)) < 50_000  # buffers of older NumPys; a copy has 150,000
    assert w.dtype == np.float32 and w.min() == w.max() == 2.0
    assert grads["turned"].tolist() == [[0, 2], [1, 2], [2, 2]]
    assert clip_by_value({}, 1.0) == 0.0 and clip_by_value({"w": np.array([5.0])}, math.inf) == 5.0


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_a_box_without_room_is_refused(limit):
    with pytest.raises(ValueError, match="limit must be positive, got"):
        clip_by_value({"w": np.ones(2)}, limit)


@pytest.mark.parametrize("clip", [clip_by_global_norm, clip_by_value])
@pytest.mark.parametrize(
    ("last", "found"), [(np.broadcast_to(3.0, (2,)), "a read-only array of float64"), (np.array([3, 4]), "int64")]
)
def test_where_one_cannot_be_clipped_in_place_none_is(clip, last, found, unenforced):
    w = np.array([3.0, 4.0])
    with pytest.raises(ValueError, match=f"gradient b is clipped in place and must be writeable .* got {found}"):
        clip({"w": w, "b": last}, 1.0)
    assert w.tolist() == [3.0, 4.0]
