"""What `fp_capstone.exercises.e10_project_train_your_own` says of answers that are wrong, late or hidden."""

from dataclasses import replace
from types import SimpleNamespace

import jaxtyping
import numpy as np
import pytest

from fp_capstone.exercises import e10_project_train_your_own as project


@pytest.fixture(autouse=True)
def unchecked():
    """A learner's process has no run-time checks of shapes."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def short(monkeypatch):
    """The same runs, of a few steps and without a figure to reach."""
    runs = [(name, 9.0, replace(s, n_steps=4, warmup=2, batch_size=2, d_model=16)) for name, _, s in project._RUNS]
    monkeypatch.setattr(project, "_RUNS", tuple(runs))
    monkeypatch.setattr(project, "_MORE", 2)


def said(answer):
    with pytest.raises(AssertionError) as caught:
        project.check(SimpleNamespace(backward=answer))
    return str(caught.value)


def test_the_reference_trains_both_models(short):
    project.check(SimpleNamespace(backward=project.backward))


def test_a_wrong_gradient_is_named_with_its_step_and_what_comes_of_it(short):
    sentence = said(project._no_factor)
    assert sentence.startswith("Llama: at step 2 of 4 the losses part, by ")
    assert "at step 3 they are " in sentence
    assert "The fault is in step 1: the first gradient on the way back that differs is that of " in sentence
    assert "model.layers.1.self_attn.k_proj.weight; at [0, 0] it is " in sentence
    assert sentence.endswith('it is yours for "attention" that makes the difference')


def test_a_gain_that_is_left_out_shows_in_the_second_step(short):
    """All gains are one when training starts."""
    sentence = said(project._gain_forgotten)
    assert "fault is in step 2: the first gradient on the way back that differs is that of model.layers." in sentence
    assert '"norm"' in sentence


def test_what_only_one_family_has_is_found_in_that_family(short):
    assert said(project._positions_averaged).startswith("GPT-2: ")
    assert "transformer.wpe.weight" in said(project._positions_averaged)


def test_two_faults_are_both_named(short):
    def both(operation, *given):
        return (project._tied_once if operation == "model" else project._turned_on)(operation, *given)

    assert said(both).endswith('it is yours for "rotary" and "model" that makes the difference')


def test_a_loss_that_is_wrong_is_named_although_all_gradients_are_right(short):
    def bits(operation, *given):
        answer = project.backward(operation, *given)
        return (answer[0] / np.log(2), answer[1]) if operation == "cross_entropy" else answer

    sentence = said(bits)
    assert sentence.startswith("Llama: at step 1 of 4 the losses part, by ")
    assert 'The fault is in step 1: Put one at a time among our answers, it is yours for "cross_entropy"' in sentence


def test_an_answer_that_depends_on_earlier_ones_is_suspected(short):
    called = []

    def tires(operation, *given):
        answer = project.backward(operation, *given)
        if operation == "stream":
            called.append(1)
            return answer * (0.5 if len(called) == 2 else 1.0)
        return answer

    assert said(tires).endswith("all of yours are right: does one keep something between calls?")


def test_a_gradient_that_is_no_number_ends_the_run_with_a_sentence(short):
    def divides_by_zero(operation, *given):
        answer = project.backward(operation, *given)
        return answer * np.nan if operation == "rotary" else answer

    assert '"rotary"' in said(divides_by_zero)


def test_an_answer_of_another_form_is_a_wrong_answer(short):
    assert said(lambda *_: None).startswith("Llama, step by step: cross_entropy: 2 things are expected, got None")


def test_a_figure_that_is_missed_is_not_the_learners_fault(short, monkeypatch):
    monkeypatch.setattr(project, "_RUNS", tuple((name, 1.0, s) for name, _, s in project._RUNS))
    assert "not below 1.0. That is the exercise's fault" in said(project.backward)
