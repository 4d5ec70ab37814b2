r"""
A schedule as a function of the step.

Level: implement. You need `fp_optim.schedules` up to "a constant middle".

A run has $n$ steps, numbered $0, \dots, n - 1$. Its rate rises, stays, and falls:

- Over the first `warmup` steps it rises along a line, from 0, which belongs to the step *before* the first one (there
  is none), up to the peak, which the last step of warmup has.
- The steps in the middle have the peak.
- Over the last `decay` steps it falls along half a cosine, from the peak, which belongs to the step *before* the decay,
  down to the floor, which belongs to the step *after* the last one (there is none).

So no step has the rate 0, and none is wasted. Either end may be missing: without warmup the first step has
the peak, without decay the last step has it. With `warmup + decay` equal to $n$ there is no middle, and this is the
usual warmup with a cosine.

Write the rate of a step. It is a pure function: nothing is stored, so a run that is resumed at step 7000 asks for the
rate of step 7000. A step outside the run is refused with a `ValueError`, for whoever trains longer than planned should
hear of it.

Count on your fingers before you hand in, with 4 steps of warmup to the peak 8, a middle of 2, and 3 of decay to 0: the
rates are 2, 4, 6, 8, 8, 8, and then?
"""

import math
from typing import Any

HINTS = (
    "Shift the count by one: let x = step + 1, the number of steps that will have been made after this one. Warmup is "
    "x / warmup of the peak. The decay starts at x = n_steps - decay, and would end at x = n_steps + 1.",
    "Half a cosine: `h = (1 + cos(pi * u)) / 2` falls from 1 to 0 as u goes from 0 to 1. It goes from the peak to the "
    "floor as `floor + (peak - floor) * h`.",
    "`u = (step + 1 - (n_steps - decay)) / (decay + 1)` in the decay. Test for the three parts with comparisons of "
    "`step + 1` first, so that without warmup nothing is divided by 0.",
)


def learning_rate(step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0) -> float:
    """
    The rate of a step.

    Parameters
    ----------
    step
        The number of the step; the first is 0.
    n_steps
        Steps of the run, at least 1.
    warmup, decay
        Steps of warmup and of decay, not negative, together at most `n_steps`.
    peak
        The largest rate, above 0.
    floor
        The rate to which the decay falls, at least 0 and at most `peak`.

    Returns
    -------
    float
        The rate with which this step is made.

    Raises
    ------
    ValueError
        If the step is negative, or `n_steps` or more.

    Examples
    --------
    >>> [round(learning_rate(k, n_steps=9, warmup=4, decay=3, peak=8.0), 2) for k in range(9)]
    [2.0, 4.0, 6.0, 8.0, 8.0, 8.0, 6.83, 4.0, 1.17]
    """
    if not 0 <= step < n_steps:
        raise ValueError(f"step must lie in [0, {n_steps}), got {step}")
    x, last_at_peak = step + 1, n_steps - decay
    if x <= warmup:
        return peak * x / warmup
    if x <= last_at_peak:
        return peak
    u = (x - last_at_peak) / (decay + 1)
    return floor + (peak - floor) * (1 + math.cos(math.pi * u)) / 2


_RUNS: tuple[tuple[int, int, int, float, float], ...] = (
    (9, 4, 3, 8.0, 0.0),
    (12, 3, 9, 1.0, 0.25),
    (10, 0, 4, 0.5, 0.1),
    (8, 5, 0, 2.0, 1.0),
    (6, 0, 0, 3.0, 0.0),
    (5, 5, 0, 1.0, 0.0),
    (7, 1, 6, 1.0, 0.0),
    (4, 0, 4, 1.0, 1.0),
    (1, 0, 1, 1.0, 0.0),
    (1000, 100, 300, 6e-4, 6e-5),
)

PROBES = (
    *((step, 9, 4, 3, 8.0, 1.0) for step in range(-1, 11)),
    *((step, 6, 0, 6, 2.0, 0.5) for step in range(7)),
    (2, 5, 5, 0, 1.0, 0.0),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for n, w, d, peak, floor in _RUNS:
        case = f"{n} steps, {w} of them warmup and {d} decay, peak {peak:g}, floor {floor:g}"
        # from the last to the first: what is remembered between calls comes out of order
        for step in (*range(min(n, 12))[::-1], *range(12, n, 37), n - 1):
            came, expected = (
                learner.learning_rate(step, n, w, d, peak, floor),
                learning_rate(step, n, w, d, peak, floor),
            )
            assert isinstance(came, float | int) and not isinstance(came, bool), (
                f"{case}: expected a number as the rate of step {step}, got {came!r:.80}"
            )
            # rounding is near 1e-16, the smallest mistake far above 1e-9
            assert math.isclose(came, expected, rel_tol=1e-9), (
                f"{case}: expected the rate {expected:.6g} for step {step}, got {came:.6g}. {_why(step, n, w, d)}"
            )
    for step, n in ((-1, 9), (9, 9), (10, 9), (1, 1)):
        came = None
        try:
            came = learner.learning_rate(step, n, 0, 1, 1.0, 0.0)
        except ValueError:
            continue
        except NotImplementedError:
            raise
        except Exception as error:
            came = type(error).__name__
        raise AssertionError(
            f"a run of {n} step{'s' * (n > 1)} has no step {step}: expected a ValueError, got {came!r:.80}. A run that "
            "is longer than planned would go on at a rate that nobody chose"
        )


def _why(step: int, n: int, warmup: int, decay: int) -> str:
    if step < warmup:
        return (
            f"In warmup step {step} has {step + 1} parts of {warmup} of the peak: the rate 0 belongs before the first "
            "step."
        )
    if step < n - decay:
        return "Between warmup and decay every step has the peak."
    return (
        f"It is step {step - n + decay + 1} of the decay. The half cosine spans {decay + 1} steps: from the last one "
        "with the peak to the one after the end, which would have the floor."
    )


def _first_step_at_zero(step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0) -> float:
    if 0 <= step < warmup:
        return peak * step / warmup
    return learning_rate(step, n_steps, warmup, decay, peak, floor)


def _first_step_at_full_rate(
    step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0
) -> float:
    rate = learning_rate(step, n_steps, warmup, decay, peak, floor)
    return (
        peak if step == 0 else rate if step >= n_steps else learning_rate(step - 1, n_steps, warmup, decay, peak, floor)
    )


def _a_step_too_early(step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0) -> float:
    rate = learning_rate(step, n_steps, warmup, decay, peak, floor)
    return (
        floor
        if step == n_steps - 1
        else rate
        if step < 0
        else learning_rate(step + 1, n_steps, warmup, decay, peak, floor)
    )


def _last_step_at_the_floor(step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0) -> float:
    rate = learning_rate(step, n_steps, warmup, decay, peak, floor)
    u = (step + 1 - n_steps + decay) / max(decay, 1)
    return rate if u <= 0 else floor + (peak - floor) * (1 + math.cos(math.pi * u)) / 2


def _decay_begins_at_the_peak(
    step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0
) -> float:
    rate = learning_rate(step, n_steps, warmup, decay, peak, floor)
    u = (step - n_steps + decay) / max(decay, 1)
    return rate if u < 0 else floor + (peak - floor) * (1 + math.cos(math.pi * u)) / 2


def _cosine_of_the_whole_run(
    step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0
) -> float:
    rate = learning_rate(step, n_steps, warmup, decay, peak, floor)
    u = (step + 1) / (n_steps + 1)
    return rate if step < n_steps - decay else floor + (peak - floor) * (1 + math.cos(math.pi * u)) / 2


def _whole_cosine(step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0) -> float:
    rate = learning_rate(step, n_steps, warmup, decay, peak, floor)
    u = (step + 1 - n_steps + decay) / (decay + 1)
    return rate if u <= 0 else floor + (peak - floor) * (1 + math.cos(2 * math.pi * u)) / 2


def _along_a_line(step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0) -> float:
    rate = learning_rate(step, n_steps, warmup, decay, peak, floor)
    u = (step + 1 - n_steps + decay) / (decay + 1)
    return rate if u <= 0 else floor + (peak - floor) * (1 - u)


def _floor_as_a_limit(step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0) -> float:
    return max(floor, learning_rate(step, n_steps, warmup, decay, peak, 0.0))


def _floor_added(step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0) -> float:
    rate = learning_rate(step, n_steps, warmup, decay, peak, 0.0)
    return rate if step < n_steps - decay else floor + rate


def _from_the_floor(step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0) -> float:
    rate = learning_rate(step, n_steps, warmup, decay, peak, floor)
    return rate if step >= warmup else floor + (peak - floor) * (step + 1) / warmup


def _divided_by_no_warmup(step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0) -> float:
    rate = learning_rate(step, n_steps, warmup, decay, peak, floor)
    return min(rate, peak * (step + 1) / warmup)


def _past_the_end(step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0) -> float:
    return floor if step >= n_steps else learning_rate(step, n_steps, warmup, decay, peak, floor)


def _before_the_start(step: int, n_steps: int, warmup: int, decay: int, peak: float, floor: float = 0.0) -> float:
    return learning_rate(step % n_steps if step < 0 else step, n_steps, warmup, decay, peak, floor)


MISTAKES = (
    (
        _first_step_at_zero,
        "Your schedule is off by one: the first step of warmup has the rate 0, so it does nothing but cost a batch. "
        "Steps count from 0, and step k is the one after which k + 1 have been made.",
    ),
    (
        _first_step_at_full_rate,
        "Your schedule is off by one: it comes a step late, as if it were set after the optimizer's step. The first "
        "step runs at the full rate, which is what warmup is there to avoid.",
    ),
    (
        _a_step_too_early,
        "Your schedule is off by one: every step has the rate of the one after it, as if the first were number 1.",
    ),
    (
        _last_step_at_the_floor,
        "Your decay ends a step early: the last step has the floor, and is wasted if that is 0. The floor belongs to "
        "the step after the last, so the decay spans decay + 1 steps.",
    ),
    (
        _decay_begins_at_the_peak,
        "Your decay begins a step late: its first step still has the peak, which belongs to the step before.",
    ),
    (
        _cosine_of_the_whole_run,
        "Your cosine counts from the beginning of the run, so the rate jumps where the decay begins. It is to start "
        "from the peak there.",
    ),
    (
        _whole_cosine,
        "You take a whole turn of the cosine, which comes up again to the peak. Half a turn, up to pi, goes from the "
        "peak to the floor.",
    ),
    (_along_a_line, "Your decay falls along a line. Half a cosine is asked for, which lingers at both ends."),
    (
        _floor_as_a_limit,
        "You decay to 0 and cut off at the floor, and warmup too. The cosine is to reach from the peak to the floor: "
        "floor + (peak - floor) * h.",
    ),
    (
        _floor_added,
        "You add the floor to a decay from the peak to 0, so the rate jumps above the peak. What falls is the part "
        "above the floor, peak - floor.",
    ),
    (_from_the_floor, "Your warmup rises from the floor. It rises from 0; the floor is where the decay leads."),
    (
        _divided_by_no_warmup,
        "You divide by warmup even where there is none. Ask first whether the step lies in warmup.",
    ),
    (
        _past_the_end,
        "You answer for steps behind the last with the floor. A run that goes on longer than planned then learns next "
        "to nothing and nobody hears of it: refuse.",
    ),
    (
        _before_the_start,
        "You answer for negative steps as if they were counted from the end, as Python's lists do. There are none: "
        "refuse.",
    ),
)
