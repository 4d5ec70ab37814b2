"""Against what Hugging Face transformers computed and wrote, frozen by tools/oracles/transformer_models.py."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fp_transformer.checkpoint import from_arrays, to_arrays
from fp_transformer.config import TransformerConfig
from fp_transformer.decoding import beam_search
from fp_transformer.generation import generate_batch
from fp_transformer.model import Transformer

FROZEN = json.loads((Path(__file__).parent / "fixtures/huggingface.json").read_text(encoding="utf-8"))
EACH = pytest.mark.parametrize("title", FROZEN)


def numbers(shape, k):
    """As `numbers` of the oracle: short decimals, from integers only."""
    i = np.arange(np.prod(shape, dtype=int))
    return ((7919 * i * i + 104_729 * (k + 1) * i + 31 * k) % 10_007 - 5003).reshape(shape) / 5000


@cache
def arrays_of(title):
    config = TransformerConfig.from_huggingface(FROZEN[title]["config"])
    found = {}
    for k, (name, shape) in enumerate(config.parameter_shapes().items()):
        gain = len(shape) == 1 and name.endswith("weight")
        found[name] = numbers(shape, k) * (0.6 if len(shape) == 2 else 0.4) + gain
    return config, found


def model_of(title, dtype=np.float64):
    config, arrays = arrays_of(title)
    model = Transformer(config, dtype=dtype)
    from_arrays(model, {name: array.astype(dtype) for name, array in arrays.items()})
    return model.eval()


@EACH
def test_the_logits(title):
    ids, expected = np.array(FROZEN[title]["ids"]), np.array(FROZEN[title]["logits"])
    assert np.abs(expected).max() > 2
    # sums of tens of terms in another order
    np.testing.assert_allclose(model_of(title)(ids).data, expected, rtol=0, atol=1e-12)
    # the same in float32, scores of up to five
    np.testing.assert_allclose(model_of(title, np.float32)(ids).data, expected, rtol=0, atol=2e-5)


@EACH
def test_the_loss_and_the_gradient_of_every_parameter(title):
    frozen, model = FROZEN[title], model_of(title)
    loss = model.loss(np.array(frozen["ids"]), np.array(frozen["targets"]), ignore=-100)
    loss.backward()
    assert loss.item() == pytest.approx(frozen["loss"], abs=1e-13)
    gradients = Transformer(model.config, dtype=np.float64)  # carries them, to be given Hugging Face's names
    for carrier, parameter in zip(gradients.parameters(), model.parameters(), strict=True):
        carrier.data = parameter.grad
    found = to_arrays(gradients)
    assert list(found) == list(frozen["gradients"])
    for k, (name, expected) in enumerate(frozen["gradients"].items()):
        length = expected["length"]
        assert length > 1e-4, name
        # a wrong entry shows in the products with three fixed directions; rounding relative to the whole gradient
        assert np.sqrt((found[name] ** 2).sum()) == pytest.approx(length, rel=1e-11), name
        for j, along in enumerate(expected["along"]):
            product = (found[name] * numbers(found[name].shape, 1000 * (j + 1) + k)).sum()
            assert product == pytest.approx(along, rel=0, abs=1e-11 * length * found[name].size ** 0.5), name


@EACH
def test_greedy_texts(title):
    # the likeliest token leads by 1e-3 at each step, which float32 does not turn round
    model, cases = model_of(title, np.float32), FROZEN[title]["greedy"]
    assert len(cases) >= 3
    expected = [case["new"] for case in cases]
    n = len(expected[0])
    assert [list(model.generate(case["prompt"], n, temperature=0)) for case in cases] == expected
    assert generate_batch(model, [case["prompt"] for case in cases], n, temperature=0) == expected


@EACH
def test_beam_search(title):
    model, cases = model_of(title), FROZEN[title]["beams"]
    assert sum(case["stopped"] for case in cases) >= 2
    for case in cases:
        stop = () if case["stop"] is None else (case["stop"],)
        n = len(FROZEN[title]["greedy"][0]["new"])
        found = beam_search(model, case["prompt"], n, beams=case["beams"], length_penalty=case["penalty"], stop=stop)
        assert (found.ids, found.stopped) == (case["new"], case["stopped"]), case
        assert found.score == pytest.approx(case["score"], abs=1e-6)  # theirs is float32 in the end
