"""Mirrors src/fp_optim/schedules.py."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_optim.schedules import one_cycle, sgdr, step_decay, warmup_cosine, warmup_linear, warmup_stable_decay

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


DECAYS = {"linear": lambda u: 1 - u, "sqrt": lambda u: 1 - u**0.5, "cosine": lambda u: (1 + math.cos(math.pi * u)) / 2}


@st.composite
def stable_runs(draw):
    run = draw(runs())
    decay = draw(st.integers(0, run["n_steps"] - run["warmup"]))
    return run | {"decay": decay, "shape": draw(st.sampled_from(list(DECAYS)))}


@pytest.mark.claim("optim.wsd-ends")
@given(run=stable_runs())
def test_warmup_stable_decay_at_its_ends_and_in_the_middle(run):
    n, w, d, P, Q = (run[key] for key in ("n_steps", "warmup", "decay", "peak", "floor"))
    values = rates(warmup_stable_decay, run)
    assert min(values) > 0
    if w >= 1:
        assert values[0] == pytest.approx(P / w, rel=1e-15)
    assert set(values[max(w - 1, 0) : n - d]) <= {P}
    if d >= 1:
        assert values[-1] == pytest.approx(Q + (P - Q) * DECAYS[run["shape"]](d / (d + 1)), rel=1e-12)
        assert values[-1] > Q or P == Q
    assert values[n - d :] == sorted(values[n - d :], reverse=True)


@pytest.mark.claim("optim.wsd-ends")
@given(run=runs())
def test_without_a_middle_it_is_the_older_schedule_to_the_bit(run):
    decay = run["n_steps"] - run["warmup"]
    for schedule, shape in ((warmup_linear, "linear"), (warmup_cosine, "cosine")):
        assert rates(warmup_stable_decay, run | {"decay": decay, "shape": shape}) == rates(schedule, run)


@pytest.mark.claim("optim.wsd-prolong")
@given(run=stable_runs(), more=st.integers(0, 50))
def test_a_longer_run_begins_like_a_shorter_one(run, more):
    before = run["n_steps"] - run["decay"]
    short, long = (rates(warmup_stable_decay, run | {"n_steps": run["n_steps"] + k}) for k in (0, more))
    assert short[:before] == long[:before]


@pytest.mark.claim("optim.stairs")
@given(
    n=st.integers(1, 60), every=st.integers(1, 20), factor=st.sampled_from([0.1, 0.3, 0.9, 1.0]), peak=st.floats(0.1, 9)
)
def test_stairs(n, every, factor, peak):
    values = [step_decay(k, every=every, factor=factor, peak=peak) for k in range(n)]
    assert set(values[:every]) == {peak}
    assert values[-1] == pytest.approx(peak * factor ** (math.ceil(n / every) - 1), rel=1e-13)
    if factor < 1:
        assert sum(values) < every * peak / (1 - factor) * (1 + 1e-12)  # the sum of many roundings
        for k, value in enumerate(values):
            low = peak * factor ** (k / every)
            assert low * (1 - 1e-12) <= value < low / factor * (1 + 1e-12)


def test_stairs_and_restarts_and_one_cycle_are_those_of_pytorch():
    # StepLR(step_size=3, gamma=0.3), CosineAnnealingWarmRestarts(T_0=3, T_mult=2, eta_min=0.1) and
    # OneCycleLR(max_lr=2, total_steps=10, pct_start=0.4, three_phase=True, anneal_strategy="linear",
    # div_factor=10, final_div_factor=100) of PyTorch 2.13, from lr=1; 1e-12 covers the order of its operations
    stairs = [step_decay(k, every=3, factor=0.3) for k in range(8)]
    assert stairs == pytest.approx([1.0, 1.0, 1.0, 0.3, 0.3, 0.3, 0.09, 0.09], rel=1e-12)
    restarts = [sgdr(k, period=3, factor=2, floor=0.1) for k in range(11)]
    assert restarts == pytest.approx(
        [1.0, 0.775, 0.325, 1.0, 0.9397114317029974, 0.775, 0.55, 0.325, 0.16028856829700258, 1.0, 0.9846666218300807],
        rel=1e-12,
    )
    cycle = [one_cycle(k, n_steps=10, rise=3, peak=2.0, start=0.2, floor=0.002) for k in range(10)]
    assert cycle == pytest.approx([0.2, 0.8, 1.4, 2.0, 1.4, 0.8, 0.2, 0.134, 0.068, 0.002], rel=1e-12)


@st.composite
def cycles(draw):
    rise = draw(st.integers(1, 20))
    peak = draw(st.floats(1e-4, 10))
    start = peak * draw(st.sampled_from([0.04, 0.5, 1.0]))
    floor = start * draw(st.sampled_from([1e-4, 0.3, 1.0]))
    n_steps = 2 * rise + 1 + draw(st.integers(0, 20))
    return {"n_steps": n_steps, "rise": rise, "peak": peak, "start": start, "floor": floor}


@pytest.mark.claim("optim.one-cycle-ends")
@given(run=cycles())
def test_one_cycle_meets_its_four_corners_to_the_bit(run):
    n, c, P, S, Q = run["n_steps"], run["rise"], run["peak"], run["start"], run["floor"]
    values = rates(one_cycle, run)
    assert (values[0], values[c], values[2 * c], values[-1]) == (S, P, S, Q if n - 1 > 2 * c else S)
    slack = 1e-15 * P  # a weighted mean of two rates is rounded
    assert Q - slack <= min(values) and max(values) <= P + slack
    assert values[c:] == pytest.approx(sorted(values[c:], reverse=True), rel=1e-12)


@pytest.mark.claim("optim.one-cycle-ends")
@given(run=cycles())
def test_the_cycle_is_the_triangle_of_the_paper(run):
    # Smith, "Cyclical Learning Rates", section 3.1, with stepsize c; its first cycle
    c, P, S = run["rise"], run["peak"], run["start"]
    for k in range(2 * c):
        cycle = math.floor(1 + k / (2 * c))
        x = abs(k / c - 2 * cycle + 1)
        assert one_cycle(k, **run) == pytest.approx(S + (P - S) * max(0, 1 - x), rel=1e-12)


@pytest.mark.claim("optim.one-cycle-area")
@given(run=cycles())
def test_the_mean_rates_of_a_cycle_and_of_what_follows(run):
    c, P, S, Q = run["rise"], run["peak"], run["start"], run["floor"]
    values = rates(one_cycle, run)
    assert sum(values[: 2 * c]) / (2 * c) == pytest.approx((S + P) / 2, rel=1e-12)
    if run["n_steps"] - 1 > 2 * c:
        rest = values[2 * c :]
        assert sum(rest) / len(rest) == pytest.approx((S + Q) / 2, rel=1e-12)


def test_one_cycle_has_the_usual_ratios_if_none_are_given():
    values = [one_cycle(k, n_steps=5, rise=1, peak=50) for k in range(5)]
    assert values[:3] == [2, 50, 2] and values[-1] == pytest.approx(2e-4)


def loshchilov_hutter(n, period, factor, peak, floor):
    """SGDR as its paper tells it: T_cur grows by one a step, and where it reaches T_i it restarts and T_i grows."""
    T_cur, T_i = 0, period
    for _ in range(n):
        yield floor + 0.5 * (peak - floor) * (1 + math.cos(T_cur / T_i * math.pi))
        T_cur += 1
        if T_cur == T_i:
            T_cur, T_i = 0, T_i * factor


restarts = given(
    period=st.integers(1, 13), factor=st.integers(1, 4), peak=st.floats(0.1, 9), share=st.sampled_from([0.0, 0.1, 1.0])
)


@restarts
def test_sgdr_is_the_recipe_of_its_paper(period, factor, peak, share):
    run = {"period": period, "factor": factor, "peak": peak, "floor": peak * share}
    told = list(loshchilov_hutter(101, **run))
    # next to a floor of zero the cosine's last digit is left, in units of the peak
    assert [sgdr(k, **run) for k in range(101)] == pytest.approx(told, rel=1e-12, abs=1e-15 * peak)


@pytest.mark.claim("optim.sgdr-ends")
@pytest.mark.claim("optim.sgdr-area")
@restarts
def test_the_periods_of_sgdr(period, factor, peak, share):
    floor = peak * share
    for i in range(4):
        T = period * factor**i
        start = i * period if factor == 1 else period * (factor**i - 1) // (factor - 1)
        values = [sgdr(start + k, period=period, factor=factor, peak=peak, floor=floor) for k in range(T + 1)]
        assert values.pop() == values[0] == pytest.approx(peak, rel=1e-15)
        end = floor + (peak - floor) * math.sin(math.pi / (2 * T)) ** 2
        assert values[-1] == pytest.approx(end, rel=1e-9, abs=1e-15 * peak)  # a small difference of two near ones
        if share < 1:
            assert all(a > b for a, b in itertools.pairwise(values))
        assert sum(values) / T == pytest.approx((peak + floor) / 2 + (peak - floor) / (2 * T), rel=1e-12)


def test_sgdr_finds_a_far_period_at_once():
    assert sgdr(10**15, period=10**3, peak=8.0) == 8.0  # no loop over a trillion periods
    assert sgdr(2**50 - 1, period=1, factor=2, peak=8.0) == 8.0


@pytest.mark.parametrize(
    ("schedule", "change", "sentence"),
    [
        (warmup_stable_decay, {"step": 7}, r"step must lie in \[0, n_steps\) = \[0, 7\), got 7; a longer run"),
        (warmup_stable_decay, {"decay": 6}, "fit into n_steps=7, got warmup=2, decay=6"),
        (warmup_stable_decay, {"decay": -1}, "must not be negative"),
        (warmup_stable_decay, {"warmup": -1}, "must not be negative"),
        (warmup_stable_decay, {"warmup": 0, "decay": 0, "n_steps": 0}, "n_steps must be at least 1, got 0"),
        (warmup_stable_decay, {"floor": 2.0}, "0 <= floor <= peak < infinity, got floor=2.0, peak=1.0"),
        (warmup_stable_decay, {"shape": "bent"}, "shape must be one of cosine, linear, sqrt, got 'bent'"),
        (step_decay, {"step": -1}, "step must not be negative, got -1"),
        (step_decay, {"every": 0}, "every must be at least 1 step, got 0"),
        (step_decay, {"factor": 0.0}, r"factor must lie in \(0, 1\], got 0.0"),
        (step_decay, {"factor": 1.1}, r"factor must lie in \(0, 1\], got 1.1"),
        (step_decay, {"peak": -1.0}, "0 <= floor <= peak < infinity, got floor=0.0, peak=-1.0"),
        (one_cycle, {"step": 7}, r"step must lie in \[0, n_steps\) = \[0, 7\), got 7"),
        (one_cycle, {"rise": 4}, "n_steps >= 2 rise [+] 1, got rise=4, n_steps=7"),
        (one_cycle, {"rise": 0}, "rise >= 1"),
        (one_cycle, {"floor": 0.0}, "0 < floor <= start <= peak < infinity, got floor=0.0"),
        (one_cycle, {"start": 2.0}, "0 < floor <= start <= peak"),
        (one_cycle, {"peak": math.inf}, "0 < floor <= start <= peak"),
        (sgdr, {"step": -1}, "step must not be negative, got -1"),
        (sgdr, {"period": 0}, "period and factor must be at least 1, got period=0, factor=1"),
        (sgdr, {"factor": 0}, "period and factor must be at least 1, got period=2, factor=0"),
        (sgdr, {"floor": -0.1}, "0 <= floor <= peak"),
    ],
)
def test_what_no_schedule_means_is_refused(schedule, change, sentence):
    right = {
        warmup_stable_decay: {"n_steps": 7, "warmup": 2, "decay": 3},
        step_decay: {"every": 3},
        one_cycle: {"n_steps": 7, "rise": 2},
        sgdr: {"period": 2},
    }
    with pytest.raises(ValueError, match=sentence):
        schedule(**({"step": 0} | right[schedule] | change))
