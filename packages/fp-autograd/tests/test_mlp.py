"""Mirrors src/fp_autograd/mlp.py."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import sympy

from fp_autograd.mlp import MLP, Layer, Neuron
from fp_autograd.value import Value

TABLE = [((0, 0), -1), ((0, 1), 1), ((1, 0), 1), ((1, 1), -1)]


def arrays(model):
    """The weights of each layer as a matrix with a row for each neuron, and its biases."""
    return [
        (np.array([[w.data for w in n.weights] for n in layer.neurons]), np.array([n.bias.data for n in layer.neurons]))
        for layer in model.layers
    ]


@pytest.mark.claim("autograd.xor")
def test_every_weighted_sum_has_equal_sums_on_both_diagonals_of_the_square():
    w1, w2, b = sympy.symbols("w1 w2 b")

    def f(x1, x2):
        return w1 * x1 + w2 * x2 + b

    assert sympy.expand(f(0, 0) + f(1, 1) - f(0, 1) - f(1, 0)) == 0


@pytest.mark.claim("autograd.xor")
def test_two_rectified_neurons_are_exclusive_or():
    model = MLP(2, [2, 1], activation="relu")
    for p, number in zip(model.parameters(), [1, 1, 0, 1, 1, -1, 1, -2, 0], strict=True):
        p.data = float(number)
    assert [float(model(x)) for x, _ in TABLE] == [0, 1, 1, 0]


@pytest.mark.claim("autograd.neuron-variance")
def test_the_mean_square_over_all_signs_of_the_weights():
    # weights +s or -s with equal chance, inputs each from a list of their own: all cases, in fractions
    inputs, s2 = [(1, 2), (-3, 0), (Fraction(1, 2), 5)], Fraction(1, 3)
    squares = rectified = total = cases = 0
    for xs in itertools.product(*inputs):
        for signs in itertools.product((-1, 1), repeat=3):
            S = sum(sign * x for sign, x in zip(signs, xs, strict=True))  # times s
            total += S
            squares += S * S * s2
            rectified += max(S, 0) ** 2 * s2
            cases += 1
    mean_squares = [sum(Fraction(x) ** 2 for x in choice) / 2 for choice in inputs]
    assert total == 0
    assert squares / cases == s2 * sum(mean_squares)
    assert rectified / cases == squares / cases / 2


@pytest.mark.claim("autograd.neuron-variance")
@pytest.mark.parametrize(("activation", "share"), [("linear", 1), ("relu", 2), ("tanh", 1)])
def test_new_weights_have_the_mean_square_that_keeps_signals_alive(activation, share):
    n = 101
    w = np.array([v.data for v in Layer(n, 97, activation, np.random.default_rng(5)).parameters() if v.data])
    assert len(w) == 97 * n
    assert np.abs(w).max() <= math.sqrt(3 * share / n)
    # squares of numbers even on [-a, a] have mean a^2/3 and deviation 2 a^2 / (3 sqrt 5): 0.9 of the mean; four errors
    assert np.mean(w**2) * n / share == pytest.approx(1, abs=4 * 0.9 / math.sqrt(97 * n))
    assert np.mean(w) == pytest.approx(0, abs=4 * math.sqrt(share / n / len(w)))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_outputs_and_gradients_against_matrices(activation):
    model = MLP(3, [5, 7, 2], np.random.default_rng(3), activation)
    x = [0.5, -1.25, 2.0]
    h, kept = np.array(x), []
    for k, (W, b) in enumerate(arrays(model)):
        s = W @ h + b
        kept.append((W, h, s))
        h = s if k == 2 else np.tanh(s) if activation == "tanh" else np.maximum(s, 0)
    inputs = list(map(Value, x))
    outputs = model(inputs)
    assert [float(y) for y in outputs] == pytest.approx(h.tolist(), rel=1e-13)  # sums of seven products
    (outputs[0] * 2 - outputs[1] * 3).backward()
    g = np.array([2.0, -3.0])
    for k in (2, 1, 0):
        W, h, s = kept[k]
        if k < 2:
            g = g * (1 - np.tanh(s) ** 2 if activation == "tanh" else s > 0)
        for i, neuron in enumerate(model.layers[k].neurons):
            assert neuron.bias.grad == pytest.approx(g[i], rel=1e-12)  # the same sums in another order
            assert [w.grad for w in neuron.weights] == pytest.approx((g[i] * h).tolist(), rel=1e-12)
        g = W.T @ g
    assert [v.grad for v in inputs] == pytest.approx(g.tolist(), rel=1e-12)


def test_numbers_values_and_rows_of_arrays_are_inputs():
    model = MLP(2, [3, 1], np.random.default_rng(0))
    y = model([1, -0.5])
    assert isinstance(y, Value)
    assert [float(model(x)) for x in ((1.0, Value(-0.5)), np.array([1, -0.5]), iter([1, -0.5]))] == [y.data] * 3
    assert [type(y) for y in MLP(2, [3, 2])([0, 0])] == [Value, Value]


def test_parameters_are_all_there_once_and_forget_together():
    model = MLP(3, [5, 7, 2], np.random.default_rng(1))
    parameters = model.parameters()
    assert len(parameters) == len(set(parameters)) == 5 * 4 + 7 * 6 + 2 * 8
    sum(model([1, 2, 3])).backward()
    assert all(p.grad for p in parameters)
    model.zero_grad()
    assert not any(p.grad for p in parameters)


def test_the_same_generator_gives_the_same_model_and_none_gives_another_each_time():
    def numbers(rng):
        return [p.data for p in MLP(2, [3, 1], rng).parameters()]

    assert numbers(np.random.default_rng(7)) == numbers(np.random.default_rng(7))
    assert numbers(None) != numbers(None)


def test_the_last_layer_is_linear_and_the_others_bend():
    assert [layer.neurons[0].activation for layer in MLP(2, [3, 5, 1]).layers] == ["tanh", "tanh", "linear"]
    assert [layer.neurons[0].activation for layer in MLP(2, [3, 1], activation="relu").layers] == ["relu", "linear"]
    neuron = Neuron(1, "linear", np.random.default_rng(0))
    assert float(neuron([2])) == pytest.approx(2 * neuron.weights[0].data)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_descent_learns_two_moons(activation):
    rng = np.random.default_rng(11)
    angle = rng.uniform(0, np.pi, 20)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    points = [*((x, 1) for x in upper.tolist()), *((x, -1) for x in lower.tolist())]
    model = MLP(2, [11, 1], np.random.default_rng(3), activation)
    losses = []
    for _ in range(60):
        loss = sum((1 - y * model(x)).relu() for x, y in points) / len(points)
        loss.backward()
        losses.append(loss.data)
        for p in model.parameters():
            p.data -= p.grad
        model.zero_grad()
    assert losses[-1] < 0.2 * losses[0]
    # a straight line between the moons is right for at most 36 of the 40
    assert sum(float(model(x)) * y > 0 for x, y in points) >= 38


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda: MLP(2, []), ValueError, "at least one layer"),
        (lambda: MLP(0, [1]), ValueError, "at least one input, got n_in = 0"),
        (lambda: MLP(2, [3, 0]), ValueError, "at least one neuron, got n_out = 0"),
        (lambda: MLP(2, [3, 1], activation="gelu"), ValueError, "one of tanh, relu, linear, got 'gelu'"),
        (lambda: MLP(2, [3, 1])([1, 2, 3]), ValueError, "as many factors on both sides, got 2 and 3"),
        (lambda: MLP(1, [1])(3.0), TypeError, r"a list of numbers is needed, one for each input, got 3\.0"),
        (lambda: MLP(1, [1])(Value(3)), TypeError, "a list of numbers is needed"),
        (lambda: MLP(1, [1])(["3"]), TypeError, "a number is needed here, an int or a float, got str"),
    ],
)
def test_what_makes_no_sense_is_refused(f, error, message, shapes_unchecked):
    with pytest.raises(error, match=message):
        f()
