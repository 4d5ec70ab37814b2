"""
Mirrors src/fp_dynamics/failures.py.

Seeds 0 to 9 were looked at while thresholds were set, 100 to 110 and 200 to 210 have been judged
before: those here have not.
"""

import functools

import jaxtyping
import numpy as np
import pytest

from fp_dynamics.diagnosis import diagnose
from fp_dynamics.failures import FAILURES, HEALTHY, _llama, _mlp_run, _transformer_run, train

LABEL = {id(f): f"{f.name}: {f.description}" for f in FAILURES + HEALTHY}
MORE = range(301, 311)


@pytest.fixture
def fast():
    """Shapes are enforced in the tests of what these runs are made of; here that would take ten times as long."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def named(recipe):
    return LABEL[id(recipe)]


@pytest.mark.parametrize("failure", FAILURES, ids=named)
def test_the_cause_is_named_first_on_a_seed_not_seen_before(failure, fast):
    found = diagnose(failure.build(300).history)
    assert found and found[0].name == failure.name, str(found)


@pytest.mark.parametrize("recipe", HEALTHY, ids=named)
def test_a_healthy_run_raises_no_alarm_on_a_seed_not_seen_before(recipe, fast):
    found = diagnose(recipe.build(300).history)
    assert not found, str(found)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MORE)
@pytest.mark.parametrize("recipe", FAILURES + HEALTHY, ids=named)
def test_more_seeds_not_seen_before(recipe, seed, fast):
    found = diagnose(recipe.build(seed).history)
    assert [f.name for f in found[:1]] == ([] if recipe.name == "healthy" else [recipe.name]), str(found)


MENDED = {
    "rate too high": functools.partial(_transformer_run, warmup=10),
    "no warmup": functools.partial(_llama, tied=False, peak=0.12, warmup=25, n_steps=80),
    "missing 1/sqrt(d)": _llama,
    "symmetric init": _mlp_run,
}  # the others without their fault are among the healthy ones


@pytest.mark.parametrize("name", MENDED)
def test_it_is_the_one_fault_that_is_found(name, fast):
    found = diagnose(MENDED[name](300).history)
    assert not found, str(found)


def test_there_are_eight_failures_and_five_healthy_runs():
    assert len({f.name for f in FAILURES}) == len(FAILURES) == 8
    assert len({f.description for f in HEALTHY}) == 5


def test_a_seed_says_everything():
    a, b, c = (FAILURES[6].build(seed).history.column("loss") for seed in (3, 3, 4))
    assert (a == b).all() and (a != c).any()


def test_every_step_is_kept_with_what_a_doctor_asks_for():
    records = HEALTHY[4].build(0).history.records
    assert [r["step"] for r in records] == list(range(1, 61))
    assert all(np.isfinite([r["loss"], r["loss_after"], r["lr"], r["grad_norm"]]).all() for r in records)
    assert [r["step"] for r in records if "probes" in r] == [1, 60]


def test_a_run_has_a_step():
    with pytest.raises(ValueError, match="at least one step"):
        train(None, None, lambda: None, lambda step: 1.0, 0)
