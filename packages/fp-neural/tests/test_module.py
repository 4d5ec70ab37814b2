"""Names, state, freezing, and the model as a function of its state."""

import numpy as np
import pytest

from fp_autograd import Tensor, grad, gradcheck, hvp
from fp_autograd.rules import tanh
from fp_neural.activations import Tanh
from fp_neural.dropout import Dropout
from fp_neural.layers import Linear, Sequential
from fp_neural.module import Module, Parameter


class Scale(Module):
    def __init__(self, size):
        super().__init__()
        self.factor = Parameter(np.arange(1.0, size + 1))
        self.mean = np.zeros(size)
        self._scratch = np.ones(size)

    def forward(self, x):
        return x * self.factor


class Net(Module):
    def __init__(self):
        super().__init__()
        self.shift = Parameter(np.array([0.5, -0.5, 0.25]))
        self.parts = [Scale(3), "no module", Scale(3)]
        self.named = {"last": Scale(3)}

    def forward(self, x):
        for part in (self.parts[0], self.parts[2], self.named["last"]):
            x = tanh(part(x) + self.shift)
        return x


NAMES = ["shift", "parts.0.factor", "parts.0.mean", "parts.2.factor", "parts.2.mean", "named.last.factor",
         "named.last.mean"]  # fmt: skip


def test_the_state_has_all_parameters_and_buffers_in_order():
    net = Net()
    assert list(net.state_dict()) == NAMES
    assert list(net.named_parameters()) == [n for n in NAMES if "mean" not in n]
    assert list(net.named_buffers()) == [n for n in NAMES if "mean" in n]
    assert net.n_parameters == 12
    assert len(list(net.modules())) == 4


def test_collections_within_collections():
    net = Module()
    net.blocks = [[Scale(1), Scale(2)], {"a": (Scale(3), "no module")}]
    assert list(net.named_parameters()) == ["blocks.0.0.factor", "blocks.0.1.factor", "blocks.1.a.0.factor"]
    assert not any(m.training for m in net.eval().modules())
    net.blocks[1]["b"] = [Parameter([1.0])]
    with pytest.raises(TypeError, match=r"Module\.blocks\.1\.b collects parameters"):
        net.parameters()


def test_a_parameter_copies_what_it_is_made_of():
    x = np.ones(2)
    p = Parameter(x)
    x[0] = 7
    assert p.data[0] == 1
    assert type(p * 2) is Tensor
    with pytest.raises(TypeError, match="floating-point"):
        Parameter([1, 2])


def test_the_sweep_fills_the_gradients_of_all_parameters():
    net = Net()
    net(np.array([0.1, 0.2, -0.3])).sum().backward()
    assert all(p.grad.shape == p.shape and p.grad.any() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_state_travels():
    one, other = Net(), Net()
    with_numbers = {name: array + 0.5 for name, array in one.state_dict().items()}
    kept = other.parts[0].mean
    other.load_state_dict(with_numbers)
    assert kept is other.parts[0].mean  # written into, not replaced
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, with_numbers[name])
    with_numbers["shift"][:] = 9
    assert other.shift.data.max() < 9


def test_a_state_that_does_not_fit_changes_nothing_and_lists_all_faults():
    net = Net()
    before = net.state_dict()
    state = net.state_dict()
    del state["shift"]
    state["parts.1.factor"] = np.ones(3)
    state["parts.2.mean"] = np.ones(2)
    state["parts.0.mean"] = np.ones(3, complex)
    state["parts.0.factor"] += 1
    with pytest.raises(ValueError, match="does not fit Net") as caught:
        net.load_state_dict(state)
    message = str(caught.value)
    assert "missing: shift;" in message
    assert "unexpected: parts.1.factor;" in message
    assert "misshapen: parts.2.mean has shape (2,), the model's has (3,)" in message
    assert "of another kind: parts.0.mean holds complex128, the model's float64" in message
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(ValueError, match="misshapen") as caught:
        net.load_state_dict(state, strict=False)
    assert "missing" not in str(caught.value)
    net.load_state_dict({"shift": np.ones(3), "other": np.ones(1)}, strict=False)
    assert net.shift.data.tolist() == [1, 1, 1]


def test_single_precision_is_kept_when_double_is_loaded():
    net = Net().astype(np.float32)
    net.load_state_dict(Net().state_dict())
    assert {a.dtype for a in net.state_dict().values()} == {np.dtype(np.float32)}
    with pytest.raises(TypeError, match="floating-point"):
        net.astype(int)


def test_files(tmp_path):
    net, path = Net(), tmp_path / "net.npz"
    net.shift.data[:] = 3
    net.save(path)
    assert Net().load(path).shift.data.tolist() == [3, 3, 3]
    assert [f.name for f in tmp_path.iterdir()] == ["net.npz"]
    with pytest.raises(ValueError, match="missing: factor"):
        Scale(3).load(path)
    whole = path.read_bytes()
    np.save(tmp_path / "array.npy", np.ones(3))
    damaged = [b"", b"text", whole[: len(whole) // 2], (tmp_path / "array.npy").read_bytes()]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"net\.npz is no state that Module\.save wrote, or is damaged"):
            net.load(path)
    with pytest.raises(FileNotFoundError):
        net.load(tmp_path / "none.npz")
    assert net.shift.data.tolist() == [3, 3, 3]


def test_training_and_freezing_reach_all_parts():
    net = Net()
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())
    net.parts[0].freeze()
    net(np.ones(3)).sum().backward()
    assert net.parts[0].factor.grad is None
    assert net.parts[2].factor.grad is not None
    assert "factor: 3, frozen" in repr(net)
    net.unfreeze()
    assert all(p.requires_grad for p in net.parameters())


class Tied(Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Scale(2), Scale(2)
        self.second.factor = self.first.factor

    def forward(self, x):
        return tanh(self.second(tanh(self.first(x)))).sum()


@pytest.mark.claim("neural.tied-gradient")
def test_a_tied_parameter_gets_the_sum_of_both_gradients():
    tied, x = Tied(), np.array([0.3, -0.7])
    assert tied.n_parameters == 2
    assert list(tied.state_dict()) == ["first.factor", "first.mean", "second.mean"]
    tied(x).backward()

    def untied(u, v):
        return tanh(tanh(x * u) * v).sum()

    w = tied.first.factor.data
    du, dv = grad(untied, 0)(w, w), grad(untied, 1)(w, w)
    assert np.abs(dv).min() > 0.01 and np.abs(du).min() > 0.01
    np.testing.assert_allclose(tied.first.factor.grad, du + dv, rtol=1e-14)  # one rounding of the sum
    lent = grad(lambda w: tied.functional({"first.factor": w}, x))(w)
    np.testing.assert_allclose(lent, du + dv, rtol=1e-14)


def test_the_model_as_a_function_of_its_state():
    net, x = Net(), np.array([0.1, 0.2, -0.3])
    state = {name: p.data for name, p in net.named_parameters().items()}
    before = net.shift
    gradcheck(lambda *arrays: net.functional(dict(zip(state, arrays, strict=True)), x).sum(), *state.values())
    assert net.shift is before
    v = {name: np.ones_like(a) for name, a in state.items()}
    assert set(hvp(lambda s: net.functional(s, x).sum())(state, v)) == set(state)
    np.testing.assert_array_equal(net.functional({"shift": np.zeros(3)}, np.zeros(3)).data, np.zeros(3))


def test_an_error_inside_a_functional_call_gives_the_parameters_back():
    net = Net()
    before = net.shift
    with pytest.raises(ValueError, match="shapes"):
        net.functional({"shift": np.zeros(3)}, np.zeros(4))
    assert net.shift is before
    with pytest.raises(ValueError, match=r"no parameter shape\. Its names: shift, parts\.0\.factor"):
        net.functional({"shape": np.zeros(3)}, np.zeros(3))
    with pytest.raises(ValueError, match=r"shift has shape \(3,\), got \(1,\)"):
        net.functional({"shift": np.zeros(1)}, np.zeros(3))


def test_what_would_be_lost_in_silence_is_an_error():
    class Loose(Module):
        def __init__(self):
            super().__init__()
            self.weights = [Parameter([1.0])]

    with pytest.raises(TypeError, match=r"Loose\.weights collects parameters"):
        Loose().parameters()

    class Hasty(Module):
        def __init__(self):
            self.weight = Parameter([1.0])

    with pytest.raises(TypeError, match=r"Hasty has to call super\(\)\.__init__\(\)"):
        Hasty().parameters()
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        Module()(1)


def test_what_it_looks_like():
    assert repr(Tied()) == ("Tied(\n  first: Scale(\n    factor: 2\n  )\n  second: Scale(\n    factor: 2\n  )\n)")
    assert repr(Module()) == "Module()"


def test_modules_by_their_paths():
    model = Sequential(Linear(2, 3, rng=np.random.default_rng(0)), Sequential(Tanh()))
    named = dict(model.named_modules())
    assert list(named) == ["", "layers.0", "layers.1", "layers.1.layers.0"]
    assert list(named.values()) == list(model.modules())


def test_one_generator_for_all_parts():
    model = Sequential(
        Dropout(0.5, rng=np.random.default_rng(0)), Sequential(Dropout(0.5, rng=np.random.default_rng(0)))
    )
    x = np.ones(64)
    assert (model.layers[0](x) == model.layers[1](x)).all()  # alike, as their generators are
    assert model.draw_from(np.random.default_rng(1)) is model
    assert (model.layers[0](x) != model.layers[1](x)).any()
