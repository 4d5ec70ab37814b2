"""Mirrors src/fp_dynamics/recorder.py."""

import json

import numpy as np
import pytest

from fp_dynamics.history import RunHistory
from fp_dynamics.recorder import Recorder, loss_and_gradients, named_arrays
from fp_neural.activations import ReLU, Tanh
from fp_neural.layers import Linear, Sequential
from fp_optim import SGD, AdamW
from fp_transformer.checkpoint import to_arrays


def optimizer_of(model, kind=AdamW, lr=1e-2, **options):
    return kind(named_arrays(model), lr=lr, **options)


def trained(model, recorder, batch, n=1, **settings):
    for _ in range(n):
        model.zero_grad()
        with recorder.watching():
            loss = model.loss(*batch)
        loss.backward()
        recorder.step(loss, **settings)
    return recorder.records


@pytest.mark.claim("dynamics.update-ratio")
@pytest.mark.parametrize("rho", [0.01, 0.3])
def test_how_far_weights_get_in_steps_of_a_share(rho):
    rng = np.random.default_rng(0)
    W0 = rng.normal(size=(3, 4))
    walks = {"out": lambda W: W, "in": lambda W: -W, "random": lambda W: rng.normal(size=W.shape)}
    for name, way in walks.items():
        W = W0
        for t in range(1, 30):
            step = way(W)
            W = W + rho * np.linalg.norm(W) * step / np.linalg.norm(step)
            length, first = np.linalg.norm(W), np.linalg.norm(W0)
            assert (1 - rho) ** t * first <= length * (1 + 1e-12) and length <= (1 + rho) ** t * first * (1 + 1e-12)
            assert np.linalg.norm(W - W0) <= ((1 + rho) ** t - 1) * first * (1 + 1e-9)
            if name == "out":
                assert length == pytest.approx((1 + rho) ** t * first)
                assert np.linalg.norm(W - W0) == pytest.approx(((1 + rho) ** t - 1) * first)
            elif name == "in":
                assert length == pytest.approx((1 - rho) ** t * first)
    # as fast as it can turn: how many steps until nothing of the first is left
    W, t = np.array([1.0, 0.0]), 0
    while W[0] > 0:
        W, t = W + rho * np.linalg.norm(W) * np.array([-1.0, 0.2]) / np.hypot(1, 0.2), t + 1
    assert t >= np.log(2) / np.log(1 + rho) > np.log(2) / rho


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_is_recorded_is_what_happened(small, batch, family):
    model = small(family)
    optimizer = optimizer_of(model, SGD, lr=0.1)
    recorder = Recorder(model, optimizer)
    _, grads = loss_and_gradients(model, *batch)
    before = {name: a.copy() for name, a in named_arrays(model).items()}
    (record,) = trained(model, recorder, batch)
    assert record["grad_norm"] == pytest.approx(np.sqrt(sum((g**2).sum() for g in grads.values())))
    assert (record["step"], record["lr"]) == (1, 0.1)
    layer, names = (
        "blocks.1.feedforward.down_proj",
        [n for n in grads if n.startswith("blocks.1.feedforward.down_proj")],
    )
    assert len(names) == (1 if family == "llama" else 2)
    weights = np.sqrt(sum((before[n] ** 2).sum() for n in names))
    gradient = np.sqrt(sum((grads[n] ** 2).sum() for n in names))
    found = record["layers"][layer]
    assert found["weight_norm"] == pytest.approx(weights) and found["grad_norm"] == pytest.approx(gradient)
    assert found["update_norm"] == pytest.approx(0.1 * gradient)
    assert found["update_ratio"] == pytest.approx(0.1 * gradient / weights)
    bend = record["layers"]["blocks.0.feedforward"]
    assert bend["activation"] == ("silu" if family == "llama" else "gelu") and 0 < bend["gate_mean"] < 1
    assert json.loads(json.dumps(record)) == record  # plain numbers


def test_activations_are_those_that_went_through(small, batch):
    model = small("gpt2")
    recorder = Recorder(model, optimizer_of(model))
    (record,) = trained(model.eval(), recorder, batch)
    again = small("gpt2").eval()
    streams = [x.data for x in again.stream(batch[0])]
    for i in range(2):
        assert record["layers"][f"blocks.{i}"]["output_rms"] == pytest.approx(np.sqrt((streams[i + 1] ** 2).mean()))
    hidden = again.blocks[1]
    x = streams[1] + hidden.attention(hidden.norm1(streams[1])).data
    y = hidden.feedforward
    from fp_transformer.feedforward import gelu_tanh

    out = gelu_tanh(y.up_proj(hidden.norm2(x))).data
    assert record["layers"]["blocks.1.feedforward"]["activation_std"] == pytest.approx(out.std())
    assert record["layers"]["Transformer"]["output_rms"] == pytest.approx(np.sqrt((again(batch[0]).data ** 2).mean()))


def test_any_module_can_be_watched_and_each_bend_is_named():
    rng = np.random.default_rng(0)
    net = Sequential(Linear(3, 5, rng=rng), ReLU(), Linear(5, 4, rng=rng), Tanh(), Linear(4, 1, rng=rng))
    net.layers[0].bias.data[[1, 2]] = -50
    recorder = Recorder(net, optimizer_of(net))
    with recorder.watching():
        out = net(rng.normal(size=(6, 3)).astype(np.float32))
    (out * out).mean().backward()
    layers = recorder.step(1.5)["layers"]
    assert layers["layers.1"]["activation"] == "relu" and layers["layers.1"]["dead_share"] >= 0.4
    assert layers["layers.3"]["activation"] == "tanh" and "saturated_share" in layers["layers.3"]


def test_listening_ends_with_the_block(small, batch):
    from fp_autograd.tensor import Mode
    from fp_neural.module import Module

    before = Mode.made, Module.__call__
    model = small()
    recorder = Recorder(model, optimizer_of(model))
    with pytest.raises(RuntimeError), recorder.watching():
        raise RuntimeError
    assert (Mode.made, Module.__call__) == before


def test_recording_changes_nothing(small, batch):
    alone, watched = small(), small()
    recorder = Recorder(watched, optimizer_of(watched))
    trained(watched, recorder, batch, n=3, clip=0.5)
    optimizer = optimizer_of(alone)
    from fp_optim import clip_by_global_norm

    for _ in range(3):
        _, grads = loss_and_gradients(alone, *batch)
        clip_by_global_norm(grads, 0.5)
        optimizer.step(grads)
    for name, array in named_arrays(alone).items():
        np.testing.assert_array_equal(array, named_arrays(watched)[name])
    assert recorder.records[0]["grad_norm"] > 0.5  # before clipping


def test_layers_are_measured_as_often_as_asked(small, batch, tmp_path):
    model = small()
    (tmp_path / "settings.toml").write_text("")
    recorder = Recorder(model, optimizer_of(model), every=3, path=tmp_path / "layers.jsonl")
    records = trained(model, recorder, batch, n=5, lr=0.25)
    assert [r["step"] for r in records if "layers" in r] == [1, 4]
    assert {r["lr"] for r in records} == {0.25}
    assert RunHistory(tmp_path).records == records
    assert RunHistory(tmp_path).curve("gate_mean", "blocks.0.feedforward")[0].tolist() == [1, 4]


def test_a_parameter_without_a_gradient_stands_still_and_says_so(small, batch):
    model = small(tied=False)
    model.output.freeze()
    (record,) = trained(model, Recorder(model, optimizer_of(model, weight_decay=0.0)), batch)
    assert "grad_norm" not in record["layers"]["output"] and record["layers"]["output"]["update_norm"] == 0


def test_arrays_that_something_else_moves():
    w = {"a.weight": np.array([3.0, 4.0]), "a.bias": np.zeros(2), "b": np.zeros(1)}

    def update():
        w["a.weight"] += 0.5
        w["b"] += 1

    record = Recorder(w).step(2, {"a.weight": np.array([0.0, 2.0])}, update=update)
    assert record["layers"]["a"] == {
        "weight_norm": 5.0,
        "grad_norm": 2.0,
        "update_norm": pytest.approx(0.5**0.5),
        "update_ratio": pytest.approx(0.5**0.5 / 5),
    }
    assert "update_ratio" not in record["layers"]["b"] and "lr" not in record


def test_loss_and_gradients_leave_no_trace(small, batch):
    model = small()
    model.norm.weight.grad = mine = np.ones(12)
    loss, grads = loss_and_gradients(model, *batch)
    assert model.norm.weight.grad is mine and model.embedding.weight.grad is None
    assert loss == model.loss(*batch).item() and set(grads) == set(named_arrays(model))


def test_bad_input_is_refused(small, batch, shapes_unchecked):
    model = small()
    with pytest.raises(ValueError, match="every is at least 1, got 0"):
        Recorder(model, every=0)
    for wrong in (3, {"a": 1.0}):
        with pytest.raises(TypeError, match="a model is a module, or has parameters"):
            Recorder(wrong)
    with pytest.raises(ValueError, match="nothing moves the weights"):
        Recorder(model).step(1.0)
    with pytest.raises(ValueError, match="the model has no parameter nothing"):
        Recorder(model, optimizer_of(model)).step(1.0, {"nothing": np.ones(1)})
    arrays = Recorder({"a": np.ones(2)}, update := None)
    assert update is None
    with pytest.raises(TypeError, match=r"dict is no module of the autograd.*observe"), arrays.watching():
        pass
    with pytest.raises(TypeError, match="has no config that says which transformer"):
        arrays.observe(batch[0])
    with pytest.raises(ValueError, match="keeps no gradients: pass them to step by name"):
        arrays.step(1.0, update=print)
    with pytest.raises(TypeError, match="a language model has loss_and_grads"):
        loss_and_gradients({"a": np.ones(2)}, *batch)


def test_what_is_frozen_stands_still_though_the_optimizer_decays(small, batch):
    model = small("llama")
    frozen = [name for name in named_arrays(model) if "attention" in name]
    for name, parameter in model.named_parameters().items():
        parameter.requires_grad = name not in frozen
    before = {name: array.copy() for name, array in named_arrays(model).items()}
    record = trained(model, Recorder(model, optimizer_of(model, weight_decay=0.1)), batch)[-1]
    moved = {name for name, array in named_arrays(model).items() if not np.array_equal(array, before[name])}
    assert moved == before.keys() - set(frozen)
    assert record["layers"]["blocks.0.attention.q_proj"]["update_norm"] == 0


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_is_observed_stands_beside_the_weights_of_the_same_layer(small, batch, family):
    class ByHand:
        def __init__(self, module):
            self.config, self.arrays = module.config, to_arrays(module)

        def parameters(self):
            return self.arrays

    model = ByHand(small(family))
    recorder = Recorder(model, optimizer_of(model))
    recorder.observe(batch[0])
    layers = recorder.step(1.0, {name: np.ones_like(a) for name, a in model.arrays.items()})["layers"]
    norms = ("input_layernorm", "post_attention_layernorm") if family == "llama" else ("ln_1", "ln_2")
    for name in (f"{'model.layers' if family == 'llama' else 'transformer.h'}.0.{norm}" for norm in norms):
        assert {"weight_norm", "output_rms"} <= layers[name].keys()
