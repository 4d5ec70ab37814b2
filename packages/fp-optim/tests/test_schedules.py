"""Mirrors src/fp_optim/schedules.py."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_optim.schedules import warmup_cosine, warmup_linear

SHAPES = {warmup_cosine: lambda u: (1 + math.cos(math.pi * u)) / 2, warmup_linear: lambda u: 1 - u}
both = pytest.mark.parametrize("schedule", SHAPES)


@st.composite
def runs(draw):
    n_steps = draw(st.integers(1, 60))
    peak = draw(st.floats(1e-4, 10))
    return {
        "n_steps": n_steps,
        "warmup": draw(st.integers(0, n_steps)),
        "peak": peak,
        "floor": peak * draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
    }


def rates(schedule, run):
    return [schedule(k, **run) for k in range(run["n_steps"])]


def test_seven_steps_by_hand():
    run = {"n_steps": 7, "warmup": 2, "peak": 6.0, "floor": 3.0}
    assert rates(warmup_linear, run) == pytest.approx([3, 6, 5.5, 5, 4.5, 4, 3.5])
    half = math.sqrt(3) / 2  # cos 30 degrees
    cosine = [3, 6, 4.5 + 1.5 * half, 5.25, 4.5, 3.75, 4.5 - 1.5 * half]
    assert rates(warmup_cosine, run) == pytest.approx(cosine)


@both
@pytest.mark.claim("optim.schedule-ends")
@given(run=runs())
def test_the_first_and_last_steps_and_the_peak(schedule, run):
    n, w, P, Q = run["n_steps"], run["warmup"], run["peak"], run["floor"]
    values = rates(schedule, run)
    assert min(values) > 0
    if w >= 1:
        assert values[0] == pytest.approx(P / w, rel=1e-15)
        assert values[w - 1] == P
        assert values[0] < P or w == 1  # not at the full rate
    if w < n:
        assert values[-1] == pytest.approx(Q + (P - Q) * SHAPES[schedule](1 - 1 / (n + 1 - w)), rel=1e-12)
        assert values[-1] > Q or P == Q


@both
@pytest.mark.claim("optim.schedule-joint")
@given(run=runs())
def test_no_two_successive_steps_are_further_apart_than_the_slopes_allow(schedule, run):
    n, w, P, Q = run["n_steps"], run["warmup"], run["peak"], run["floor"]
    slope = {warmup_cosine: math.pi / 2, warmup_linear: 1.0}[schedule]
    bound = max(P / w if w else 0, slope * (P - Q) / (n + 1 - w) if w < n else 0)
    values = rates(schedule, run)
    for one, next_one in itertools.pairwise(values):
        assert abs(next_one - one) <= bound * (1 + 1e-9) + 1e-15
    # and it only rises before the joint, only falls after it
    assert values[:w] == sorted(values[:w])
    assert values[max(w - 1, 0) :] == sorted(values[max(w - 1, 0) :], reverse=True)


@both
@pytest.mark.claim("optim.schedule-area")
@given(run=runs())
def test_the_mean_rate_after_warmup_is_halfway(schedule, run):
    after = rates(schedule, run)[run["warmup"] :]
    if after:
        assert sum(after) / len(after) == pytest.approx((run["peak"] + run["floor"]) / 2, rel=1e-12)


@both
@pytest.mark.parametrize(
    ("step", "change", "sentence"),
    [
        (7, {}, r"step must lie in \[0, n_steps\) = \[0, 7\), got 7; a longer run"),
        (-1, {}, r"step must lie in \[0, n_steps\) = \[0, 7\), got -1"),
        (0, {"n_steps": 0, "warmup": 0}, "n_steps must be at least 1, got 0"),
        (0, {"warmup": 8}, r"warmup must lie in \[0, n_steps\] = \[0, 7\], got 8"),
        (0, {"warmup": -1}, r"warmup must lie in \[0, n_steps\]"),
        (0, {"floor": -0.1}, "0 <= floor <= peak < infinity, got floor=-0.1, peak=1.0"),
        (0, {"floor": 2.0}, "0 <= floor <= peak"),
        (0, {"peak": math.nan}, "0 <= floor <= peak"),
        (0, {"peak": math.inf}, "0 <= floor <= peak"),
    ],
)
def test_what_lies_outside_the_run_is_refused(schedule, step, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        schedule(step, **({"n_steps": 7, "warmup": 2} | change))
