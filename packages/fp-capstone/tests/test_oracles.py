"""Frozen answers of PyTorch and Hugging Face transformers (tools/oracles/capstone_*.py regenerates them)."""

import json
import pathlib

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from fp_capstone.activations import gelu, gelu_backward, swiglu, swiglu_backward
from fp_capstone.attention import causal_attention, causal_attention_backward
from fp_capstone.cross_entropy import cross_entropy_with_gradient
from fp_capstone.embedding import embedding, embedding_backward
from fp_capstone.linear import linear, linear_backward
from fp_capstone.model import Model
from fp_capstone.norms import layer_norm, layer_norm_backward, rms_norm, rms_norm_backward
from fp_capstone.rotary import rotary_tables, rotate, rotate_back
from fp_transformer.config import TransformerConfig

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
OPERATIONS = load_file(FIXTURES / "operations.safetensors")
CLOSE = {"rtol": 1e-10, "atol": 1e-12}  # both sides are float64; sums of at most a hundred terms, in another order


def ours(name, a):
    """Our output and gradients for the inputs of a case, under PyTorch's names."""
    g = a["g"]
    match name:
        case "linear":
            dW, db = np.empty((5, 7)), np.empty(7)
            return {
                "y": linear(a["x"], a["W"], a["b"]),
                "dx": linear_backward(g, a["x"], a["W"], dW, db),
                "dW": dW,
                "db": db,
            }
        case "embedding":
            dE = np.zeros((7, 3))
            embedding_backward(g, a["ids"], dE)
            return {"y": embedding(a["ids"], a["E"]), "dE": dE}
        case "rms_norm":
            y, xhat, r = rms_norm(a["x"], a["gain"], 1e-5)
            dgain = np.empty(7)
            return {"y": y, "dx": rms_norm_backward(g, xhat, r, a["gain"], dgain), "dgain": dgain}
        case "layer_norm":
            y, xhat, r = layer_norm(a["x"], a["gain"], a["bias"], 1e-5)
            dgain, dbias = np.empty(7), np.empty(7)
            dx = layer_norm_backward(g, xhat, r, a["gain"], dgain, dbias)
            return {"y": y, "dx": dx, "dgain": dgain, "dbias": dbias}
        case "gelu":
            y = gelu(a["x"], slope := np.empty_like(a["x"]))
            return {"y": y, "dx": gelu_backward(g, slope)}
        case "swiglu":
            y = swiglu(a["ab"], slopes := np.empty_like(a["ab"]))
            return {"y": y, "dab": swiglu_backward(g, slopes)}
        case "rotary":
            tables = rotary_tables(5, 6, 100.0, np.dtype("float64"))
            return {"y": rotate(a["x"], *tables), "dx": rotate_back(g, *tables)}
        case "attention":
            y, tape = causal_attention(a["q"], a["k"], a["v"], keep=True)
            return {"y": y} | dict(zip(("dq", "dk", "dv"), causal_attention_backward(g, tape), strict=True))
        case "cross_entropy":
            loss, dz = cross_entropy_with_gradient(a["input"].copy(), a["target"])
            return {"y": np.array([loss]), "dinput": dz}
    raise AssertionError(f"a case without a test: {name}")


@pytest.mark.parametrize("name", sorted({key.split("/")[0] for key in OPERATIONS}))
def test_every_operation_equals_pytorchs(name):
    case = {key.split("/")[1]: a for key, a in OPERATIONS.items() if key.startswith(f"{name}/")}
    got = ours(name, case)
    assert {key for key in case if key.startswith("d")} <= got.keys()
    for key, value in got.items():
        np.testing.assert_allclose(value, case[key], err_msg=key, **CLOSE)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_whole_model_equals_hugging_faces(family):
    path = FIXTURES / f"{family}.safetensors"
    with safe_open(path, "numpy") as file:
        config = TransformerConfig.from_huggingface(json.loads(file.metadata()["config"]))
    frozen = load_file(path)
    model = Model(config, np.random.default_rng(0), np.float64)
    for name, a in model.parameters().items():
        a[:] = frozen[f"parameters/{name}"]
    # even in a float64 model Hugging Face's Llama computes its norms and its angles in float32, which rounds at 6e-8
    close = {"rtol": 1e-5, "atol": 5e-6} if config.is_llama else CLOSE
    np.testing.assert_allclose(model.forward(frozen["ids"]), frozen["logits"], **close)
    loss, grads = model.loss_and_grads(frozen["ids"], frozen["targets"])
    np.testing.assert_allclose(loss, frozen["loss"].item(), **close)
    for name, g in grads.items():
        np.testing.assert_allclose(g, frozen[f"grads/{name}"], err_msg=name, **close)
