"""Mirrors src/fp_capstone/growth.py."""

import math

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_capstone import model
from fp_capstone.attention import ROWS
from fp_capstone.block import block
from fp_capstone.growth import (
    exponents,
    fit_overhead,
    fit_power,
    local_exponent,
    overtaking_length,
    state_bytes,
    state_tokens,
    step_memory,
    tape_numbers,
    token_flops,
)
from fp_capstone.linear import linear, linear_backward
from fp_capstone.memory import Arena
from fp_capstone.parameters import Parameters
from fp_capstone.rotary import rotary_tables
from fp_optim.adaptive import AdamW
from fp_transformer.config import TransformerConfig
from fp_transformer.counting import training_flops

GPT2 = TransformerConfig.gpt2(vocab_size=31, context_length=40, n_layers=3, n_heads=2, d_model=16)
LLAMA = TransformerConfig.llama(
    vocab_size=29, context_length=50, n_layers=2, n_heads=6, n_kv_heads=3, d_model=24, d_ff=36
)
positive = st.floats(0.01, 100)


def grown(config: TransformerConfig, what: str, factor: int) -> TransformerConfig:
    """The same shape, `factor` times as wide or deep."""
    sizes = {"vocab_size": config.vocab_size, "context_length": 10_000, "n_layers": config.n_layers}
    sizes |= {"n_heads": config.n_heads, "d_model": config.d_model, "d_ff": config.d_ff}
    if what == "width":
        sizes |= {"d_model": factor * config.d_model, "d_ff": factor * config.d_ff}
    if what == "depth":
        sizes["n_layers"] *= factor
    if config.is_llama:
        return TransformerConfig.llama(**sizes, n_kv_heads=config.n_kv_heads)
    return TransformerConfig.gpt2(**sizes)


# --- one token


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("T", [1, 7, 40])
def test_flops_of_a_token_are_those_of_a_text_divided_by_its_length(config, T):
    assert token_flops(config, T).total * T == training_flops(config, T)
    assert math.isclose(sum(token_flops(config, T).shares.values()), 1)


def test_flops_by_hand():
    # 6 x 31 x 16; 6 x 12 x 3 x 256; 6 x 3 x 16 x (7 + 1)
    found = token_flops(GPT2, 7)
    assert (found.output, found.blocks, found.pairs) == (2976, 55296, 2304)


# --- sums of powers

terms = st.lists(st.tuples(positive, st.integers(-3, 3)), min_size=1, max_size=4)


@pytest.mark.claim("capstone.local-exponent")
@settings(max_examples=25)
@given(terms, positive)
def test_exponent_is_the_slope_of_the_logarithm(terms, x):
    a, p = (np.array(column, float) for column in zip(*terms, strict=True))

    def log_f(u):
        return math.log(sum(c * math.exp(k * u) for c, k in terms))

    u, h = math.log(x), 1e-5
    # central difference: h^2 |f'''| / 6 < 1e-8 for powers up to 3, rounding 1e-15 |log f| / h < 1e-9
    assert math.isclose(local_exponent(a, p, x), (log_f(u + h) - log_f(u - h)) / (2 * h), abs_tol=1e-7)


@pytest.mark.claim("capstone.local-exponent")
@settings(max_examples=25)
@given(terms, positive, positive)
def test_exponent_lies_between_the_powers_and_never_falls(terms, x, y):
    a, p = (np.array(column, float) for column in zip(*terms, strict=True))
    low, high = (local_exponent(a, p, z) for z in sorted((x, y)))
    # a few roundings of numbers up to 3
    assert p.min() - 1e-12 <= low <= high + 1e-12 <= p.max() + 2e-12
    assert math.isclose(local_exponent(a, p, 1e30), p.max(), abs_tol=1e-9)  # the next share is below 1e-20
    assert math.isclose(local_exponent(a, p, 1e-30), p.min(), abs_tol=1e-9)


@pytest.mark.claim("capstone.local-exponent")
def test_slope_of_the_exponent_is_the_variance_of_the_powers():
    u, a, b, c = sympy.symbols("u a b c", positive=True)
    powers = (sympy.Rational(1, 2), 1, 3)
    parts = [k * sympy.exp(p * u) for k, p in zip((a, b, c), powers, strict=True)]
    f = sum(parts)
    e = sympy.diff(sympy.log(f), u)
    variance = sum(part / f * (p - e) ** 2 for part, p in zip(parts, powers, strict=True))
    assert sympy.simplify(sympy.diff(e, u) - variance) == 0


@pytest.mark.claim("capstone.token-exponents")
@pytest.mark.parametrize("m", [12, sympy.Rational(17, 2)])
def test_exponents_by_algebra(m):
    V, C, L, T = sympy.symbols("V C L T", positive=True)
    output, blocks, pairs = 6 * V * C, 6 * m * L * C**2, 6 * L * C * (T + 1)
    total = output + blocks + pairs

    def slope(x):
        return x * sympy.diff(sympy.log(total), x)

    assert sympy.simplify(slope(C) - 1 - blocks / total) == 0
    assert sympy.simplify(slope(L) - (blocks + pairs) / total) == 0
    assert sympy.simplify(slope(T) - pairs / total * T / (T + 1)) == 0


@pytest.mark.claim("capstone.token-exponents")
@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("T", [5, 300])
def test_exponents_of_real_configurations(config, T):
    """The exponent at a size lies between those over the factors from it to twice and from half to it."""
    found = exponents(config, T)

    def rise(what, first, second):
        small, large = (token_flops(grown(config, what, k), T).total for k in (first, second))
        return math.log2(large / small)

    for what in ("width", "depth"):
        at_two = exponents(grown(config, what, 2), T)[what]
        assert rise(what, 1, 2) <= at_two <= rise(what, 2, 4)
        assert found[what] <= rise(what, 1, 2)
    texts = [token_flops(config, n).total for n in (T - 1, T + 1)]
    # a central difference over one token, whose error is of the order 1 / T^2
    assert math.isclose(found["context"], T * (texts[1] - texts[0]) / 2 / token_flops(config, T).total, abs_tol=1e-12)
    assert found["batch"] == 0


# --- fitted lines


@pytest.mark.claim("capstone.fitted-slope")
@pytest.mark.parametrize("n", [2, 3, 5])
def test_slope_is_a_mean_of_the_slopes_between_neighbours(n):
    rng = np.random.default_rng(n)
    for _ in range(20):
        u, y = np.sort(rng.normal(size=n)), rng.normal(size=n)
        c = np.array([(u[i + 1 :] - u.mean()).sum() for i in range(n - 1)])
        weights = c * np.diff(u) / (c * np.diff(u)).sum()
        assert (c > 0).all()
        # a handful of float64 operations on numbers near one, and steps of u that may be small
        assert math.isclose(fit_power(np.exp(u), np.exp(y)).exponent, weights @ (np.diff(y) / np.diff(u)), rel_tol=1e-8)


@pytest.mark.claim("capstone.fitted-slope")
@settings(max_examples=25)
@given(terms)
def test_fit_to_a_sum_of_powers_lies_between_its_exponents_at_the_ends(terms):
    a, p = (np.array(column, float) for column in zip(*terms, strict=True))
    x = np.array([1.0, 3.0, 4.0, 20.0])
    fitted = fit_power(x, (a[:, None] * x ** p[:, None]).sum(axis=0)).exponent
    assert local_exponent(a, p, 1) - 1e-9 <= fitted <= local_exponent(a, p, 20) + 1e-9  # rounding


def test_fit_agrees_with_numpy():
    x, y = np.array([1, 2, 5, 11, 30]), np.array([2.0, 3.1, 9.0, 17.0, 60.0])
    found = fit_power(x, y)
    (slope, intercept), covariance = np.polyfit(np.log(x), np.log(y), 1, cov=True)
    assert math.isclose(found.exponent, slope, rel_tol=1e-10)  # another order of float64 sums
    assert math.isclose(found.error, math.sqrt(covariance[0, 0]), rel_tol=1e-10)
    np.testing.assert_allclose(found(x), np.exp(intercept) * x**slope, rtol=1e-10)


def test_a_power_law_is_found_again():
    found = fit_power(np.array([2, 4, 8, 16]), 3 * np.array([2.0, 4, 8, 16]) ** -1.5)
    assert math.isclose(found.exponent, -1.5) and math.isclose(found.constant, 3) and found.error < 1e-12
    assert math.isnan(fit_power(np.array([1, 2]), np.array([1, 2])).error)


# --- pairs and matrices


@pytest.mark.claim("capstone.pairs-overtake")
@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("cost", [1, 2.5])
def test_pairs_pass_matrices_at_that_length(config, cost):
    longest = math.floor(overtaking_length(config, cost))
    for T, more in ((longest, False), (longest + 1, True)):
        work = token_flops(config, T)
        assert (cost * work.pairs > work.output + work.blocks) is more


@pytest.mark.claim("capstone.pairs-overtake")
def test_slope_there_is_nearly_a_half():
    rho, a, b, T = sympy.symbols("rho a b T", positive=True)  # matrices 6 a; pairs 6 rho b (T + 1)
    there = a / (rho * b) - 1
    slope = T * sympy.diff(sympy.log(6 * a + 6 * rho * b * (T + 1)), T)
    assert sympy.simplify((slope - T / (T + 1) / 2).subs(T, there)) == 0


def test_overtaking_by_hand():
    # 12 x 16 + 31 / 3 - 1
    assert math.isclose(overtaking_length(GPT2), 12 * 16 + 31 / 3 - 1)


# --- once a step


@pytest.mark.claim("capstone.half-batch")
@settings(max_examples=25)
@given(positive, positive, positive)
def test_half_batch(once, each, epsilon):
    a, p = np.array([once, each]), np.array([-1, 0])
    half = once / each
    assert math.isclose(local_exponent(a, p, 3), -once / (once + 3 * each))
    assert math.isclose(local_exponent(a, p, half), -0.5)
    assert math.isclose(once / half + each, 2 * each)
    for B, enough in ((half / epsilon * 0.999, False), (half / epsilon * 1.001, True)):
        assert (once / B + each <= (1 + epsilon) * each) is enough


def test_overhead_is_found_again():
    found = fit_overhead(np.array([1, 2, 4, 64]), 0.02 + 0.003 * np.array([1.0, 2, 4, 64]))
    # exact up to the rounding of a small least-squares problem
    assert math.isclose(found.once, 0.02, rel_tol=1e-9) and math.isclose(found.each, 0.003, rel_tol=1e-9)
    assert math.isclose(found.half_batch, 20 / 3, rel_tol=1e-9)


def reads_and_writes(step, arrays):
    """How often `step`, a function of named arrays, uses one of them, and overwrites one: what must be moved."""

    def run(changed=None):
        own = {name: a + 0.5 if name == changed else a.copy() for name, a in arrays.items()}
        before = {name: a.copy() for name, a in own.items()}
        result = step(own)
        written = {name for name, a in own.items() if (a != before[name]).any()}
        return [result, *(own[name] for name in sorted(written))], written

    usual, written = run()
    pairs = {name: zip(run(name)[0], usual, strict=True) for name in arrays}
    read = {name for name, found in pairs.items() if any((a != b).any() for a, b in found)}
    return len(read), len(written)


@pytest.mark.claim("capstone.state-traffic")
def test_ten_numbers_a_parameter_are_moved():
    rng = np.random.default_rng(0)
    x, g, W, G, m, v = (rng.uniform(1, 2, (3, 3)) for _ in range(6))

    def forward(a):
        return linear(x, a["W"])

    def backward(a):
        dW = np.zeros((3, 3))
        dx = linear_backward(g, x, a["W"], dW)
        assert dW.all()  # written whole
        return dx

    def update(a):
        optimizer = AdamW({"W": a["W"]})
        state = {key: optimizer.state[key]["W"] for key in "mv"}
        for key, array in state.items():
            array[:] = a[key]
        optimizer.step({"W": a["G"]})
        for key, array in state.items():
            a[key][:] = array
        return np.zeros(1)

    there, back = reads_and_writes(forward, {"W": W}), reads_and_writes(backward, {"W": W})
    step = reads_and_writes(update, {"W": W, "G": G, "m": m, "v": v})
    assert (there, back, step) == ((1, 0), (1, 0), (4, 3))
    assert (1 + 1 + 1 + 4 + 3) * 4 * GPT2.n_parameters == state_bytes(GPT2)


@pytest.mark.claim("capstone.state-traffic")
@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_fewer_tokens_wait_for_memory(config):
    balance = 20.0
    T = math.floor(state_tokens(config, balance))
    work = token_flops(config, 1)
    for tokens, waits in ((T, True), (T + 1, False)):
        assert (state_bytes(config) > tokens * (work.output + work.blocks) / balance) is waits


# --- memory


def held(*things) -> int:
    """Numbers in the memory behind all arrays of a tape, each counted once."""
    found = {}

    def look(thing):
        if isinstance(thing, np.ndarray):
            while isinstance(thing.base, np.ndarray):
                thing = thing.base
            found[id(thing)] = thing
        elif isinstance(thing, tuple | list):
            for part in thing:
                look(part)

    look(things)
    return sum(array.size for array in found.values())


@pytest.mark.claim("capstone.tape-numbers")
@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("T", [1, 7, 40, 2 * ROWS, 2 * ROWS + 3])
def test_tape_of_a_block(config, T):
    B, rng = 2, np.random.default_rng(0)
    layer = Parameters(config, np.dtype("float32")).layers[0]
    rotary = rotary_tables(T, config.d_head, 1e4, np.dtype("float32")) if config.is_llama else None
    x = rng.normal(size=(B, T, config.d_model)).astype(np.float32)
    tape = block(x, layer, config, rotary, keep=True)
    assert held(tape) == round(B * T * tape_numbers(config, T))
    if T % ROWS == 0:
        grown = tape_numbers(config, 3 * T) - tape_numbers(config, T)
        assert math.isclose(grown, config.n_heads * T)  # w is half of T and a constant


@pytest.mark.claim("capstone.tape-numbers")
@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("recompute", [False, True])
def test_height_when_the_way_back_begins(config, recompute, monkeypatch):
    B, T = 3, 24
    net, arena, heights = model.Model(config, np.random.default_rng(0)), Arena(), []
    back = model.block_backward

    def seen(*arguments):
        heights.append(arena.mark())
        back(*arguments)

    monkeypatch.setattr(model, "block_backward", seen)
    ids = np.random.default_rng(1).integers(0, config.vocab_size, (B, T))
    net.loss_and_grads(ids, ids, memory=arena, recompute=recompute)
    expected = step_memory(config, B, T, recompute=recompute).activations
    # an arena leaves less than 64 bytes free behind each of at most 14 arrays a block and 8 others
    assert expected <= heights[0] <= expected + 64 * (14 * config.n_layers + 8)


def test_step_memory_by_hand():
    # 17 C + H (1 + w) + 2 a block with w = 8, one strip; 5 C + V + 1 outside; 2 texts of 8 tokens
    outside, tape, C = 5 * 16 + 31 + 1, 17 * 16 + 2 * 9 + 2, 16
    found, again = (step_memory(GPT2, 2, 8, threads=3, recompute=again) for again in (False, True))
    assert found.activations == 4 * 16 * (3 * tape + outside) and again.activations == 4 * 16 * (3 * C + tape + outside)
    states = 4 * GPT2.n_parameters
    assert (found.parameters, found.gradients, found.optimizer) == (states, 3 * states, 2 * states)
    assert found.total == 6 * states + found.activations


# --- bad input


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: token_flops(GPT2, 0), "at least one token, got length=0"),
        (lambda: exponents(GPT2, -1), "at least one token, got length=-1"),
        (lambda: local_exponent(np.array([1.0, 0.0]), np.array([1, 2]), 1), "must be positive, got x=1"),
        (lambda: local_exponent(np.array([1.0]), np.array([1]), 0), "must be positive, got x=0"),
        (lambda: fit_power(np.array([1, 1]), np.array([1, 2])), "two different x"),
        (lambda: fit_power(np.array([1, 2]), np.array([1, 0])), "positive x and y"),
        (lambda: fit_power(np.array([1, 2, 3]), np.array([1, 2])), "as many of one as of the other"),
        (lambda: overtaking_length(GPT2, 0), "positive, got 0"),
        (lambda: overtaking_length(GPT2, float("nan")), "positive, got nan"),
        (lambda: fit_overhead(np.array([2, 2]), np.array([1.0, 1.0])), "two different batches"),
        (lambda: fit_overhead(np.array([1, 2]), np.array([1.0, -1.0])), "positive time"),
        (lambda: state_tokens(GPT2, 0), "positive, got 0"),
        (lambda: tape_numbers(GPT2, 0), "at least one token, got length=0"),
        (lambda: step_memory(GPT2, 0, 3), "at least one text and one thread, got batch=0"),
        (lambda: step_memory(GPT2, 1, 3, threads=0), "got batch=1 and threads=0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
