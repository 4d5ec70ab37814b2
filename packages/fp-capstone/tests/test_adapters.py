"""Mirrors src/fp_capstone/adapters.py."""

import numpy as np
import pytest

from fp_capstone.adapters import AdaptedGradients, AnswerError
from fp_capstone.exercises.e10_project_train_your_own import backward
from fp_capstone.model import Model
from fp_capstone.settings import Settings
from fp_capstone.training import Trainer
from fp_transformer.config import TransformerConfig

SIZES = {"vocab_size": 11, "context_length": 7, "n_layers": 3, "d_model": 12}
CONFIGS = {
    "llama": TransformerConfig.llama(**SIZES, n_heads=3, n_kv_heads=1, d_ff=13),
    "gpt2": TransformerConfig.gpt2(**SIZES, n_heads=2, d_ff=13),
}
IDS = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
TARGETS = np.array([[1, 4, 1, 5, 9], [2, 6, 5, 3, 5]])

each_family = pytest.mark.parametrize("family", CONFIGS)


def model_of(family, dtype=np.float64):
    """A model none of whose parameters has the value that it starts with."""
    rng = np.random.default_rng(17)
    model = Model(CONFIGS[family], rng, dtype)
    for array in model.parameters().values():
        array += 0.3 * rng.normal(size=array.shape)
    return model


def assert_same(a, b):
    (loss_a, grads_a), (loss_b, grads_b) = a, b
    # two orders of the same sums, in float64
    assert loss_a == pytest.approx(loss_b, rel=1e-12)
    assert list(grads_a) == list(grads_b)
    for name, expected in grads_b.items():
        np.testing.assert_allclose(grads_a[name], expected, rtol=1e-9, atol=1e-12, err_msg=name)


@each_family
def test_with_the_reference_answers_the_gradients_are_those_of_the_model(family):
    model = model_of(family)
    assert_same(AdaptedGradients(model, backward)(IDS, TARGETS), model.loss_and_grads(IDS, TARGETS))


@each_family
def test_each_call_reads_the_parameters_anew(family):
    model = model_of(family)
    gradients = AdaptedGradients(model, backward)
    gradients(IDS, TARGETS)
    for array in model.parameters().values():
        array *= 0.9
    assert_same(gradients(IDS[:1, :2], TARGETS[:1, :2]), model.loss_and_grads(IDS[:1, :2], TARGETS[:1, :2]))


@each_family
def test_whoever_spoils_what_he_is_given_spoils_nothing(family):
    def spoils(operation, *given):
        answer = backward(operation, *given)
        for a in given:
            if isinstance(a, list):
                a.clear()
            elif isinstance(a, np.ndarray):
                a.fill(0)
        return answer

    model = model_of(family)
    assert_same(AdaptedGradients(model, spoils)(IDS, TARGETS), model.loss_and_grads(IDS, TARGETS))


def test_an_array_that_is_returned_again_and_again_is_read_at_once():
    """Queries and keys of one shape are turned back into one and the same array."""
    kept = {}

    def reuses(operation, *given):
        answer = backward(operation, *given)
        if operation == "rotary":
            buffer = kept.setdefault(answer.shape, np.empty(answer.shape))
            buffer[:] = answer
            return buffer
        return answer

    model = Model(TransformerConfig.llama(**SIZES, n_heads=3), np.random.default_rng(5), np.float64)
    assert_same(AdaptedGradients(model, reuses)(IDS, TARGETS), model.loss_and_grads(IDS, TARGETS))
    assert len(kept) == 1


@each_family
def test_the_trainer_trains_the_same_model(family):
    settings = Settings(family=family, context_length=5, batch_size=3, n_steps=5, warmup=2, threads=1)
    text = np.random.default_rng(3).integers(11, size=97)
    losses, models = [], [model_of(family), model_of(family)]
    for model, gradients in zip(models, (models[0].loss_and_grads, AdaptedGradients(models[1], backward)), strict=True):
        trainer = Trainer(model, gradients, text, settings)
        losses.append([trainer.step().loss for _ in range(5)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)  # rounding, which five steps hardly amplify
    for name, array in models[0].parameters().items():
        np.testing.assert_allclose(models[1].parameters()[name], array, atol=1e-9, err_msg=name)


@each_family
def test_every_operation_counts(family):
    """Whichever answer is a little wrong, some gradient or the loss is."""
    model = model_of(family)
    loss, grads = model.loss_and_grads(IDS, TARGETS)
    operations = {"linear", "cross_entropy", "norm", "activation", "attention", "stream", "model"}
    for wrong in operations | ({"rotary"} if family == "llama" else set()):

        def doubles(operation, *given, wrong=wrong):
            answer = backward(operation, *given)
            if operation != wrong:
                return answer
            parts = answer if isinstance(answer, tuple) else (answer,)
            doubled = tuple(None if part is None else 2 * part for part in parts)
            return doubled if isinstance(answer, tuple) else doubled[0]

        other_loss, other = AdaptedGradients(model, doubles)(IDS, TARGETS)
        apart = [abs(other_loss - loss), *(np.abs(other[name] - grads[name]).max() for name in grads)]
        assert max(apart) > 1e-3, wrong


def test_a_model_in_single_precision_is_adapted_in_single_precision():
    model = model_of("llama", np.float32)
    loss, grads = AdaptedGradients(model, backward)(IDS, TARGETS)
    expected, _ = model.loss_and_grads(IDS, TARGETS)
    assert loss == pytest.approx(expected, rel=1e-5)  # float32 rounds near 1e-7
    assert all(a.dtype == np.float32 for a in grads.values())


@pytest.mark.parametrize(("change", "named"), [({"dropout": 0.1}, "dropout 0.1"), ({"tied": False}, "tied=False")])
def test_a_model_with_dropout_or_an_output_of_its_own_is_refused(change, named):
    config = TransformerConfig.gpt2(**SIZES, n_heads=2, **change)
    with pytest.raises(ValueError, match=f"an adapted model has no dropout.*got .*{named}.*Set dropout"):
        AdaptedGradients(Model(config, np.random.default_rng(0)), backward)


@pytest.mark.parametrize(
    ("operation", "answer", "sentence"),
    [
        ("cross_entropy", None, "cross_entropy: 2 things are expected, got None"),
        ("cross_entropy", (1.0, None), r"cross_entropy: answer 2 must be an array of floats of shape \(10, 11\), got"),
        ("cross_entropy", (1, np.zeros((10, 11))), "cross_entropy: answer 1 must be a float, got 1"),
        ("linear", (), "linear: 3 things are expected, got 0 of them"),
        ("rotary", np.zeros(3), r"rotary: the answer must be .* \(2, 5, 3, 4\), got float64 of shape \(3,\)"),
        ("stream", np.zeros((2, 5, 12), int), r"stream: the answer must be an array of floats .* got int64"),
        ("norm", (np.zeros((10, 12)), np.zeros(11), None), r"norm: answer 2 must be .* \(12,\), got float64 of shape"),
    ],
)
def test_an_answer_of_another_form_is_named(operation, answer, sentence):
    def mostly(asked, *given):
        return answer if asked == operation else backward(asked, *given)

    with pytest.raises(AnswerError, match=sentence):
        AdaptedGradients(model_of("llama"), mostly)(IDS, TARGETS)


def test_back_is_called_with_a_gradient():
    def mostly(asked, *given):
        return given[-1](np.zeros(3)) if asked == "model" else backward(asked, *given)

    with pytest.raises(AnswerError, match=r"model: what back is called with must be .* \(2, 5, 12\), got"):
        AdaptedGradients(model_of("llama"), mostly)(IDS, TARGETS)
