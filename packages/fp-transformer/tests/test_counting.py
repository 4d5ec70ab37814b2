"""Mirrors src/fp_transformer/counting.py."""

import gc
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from fp_autograd.tensor import Mode
from fp_transformer.config import TransformerConfig
from fp_transformer.counting import (
    activation_bytes,
    decode_bytes,
    forward_flops,
    matrix_parameters,
    parameter_parts,
    summary,
    tokens_per_second,
    training_flops,
    training_memory,
    utilisation,
)
from fp_transformer.model import Transformer

SIZES = {"vocab_size": 53, "context_length": 97, "n_layers": 3, "n_heads": 6, "d_model": 84, "d_ff": 41}
CONFIGS = {
    "llama": TransformerConfig.llama(**SIZES, n_kv_heads=2),
    "llama untied": TransformerConfig.llama(**SIZES, n_kv_heads=6, tied=False),
    "gpt2": TransformerConfig.gpt2(**SIZES),
    "gpt2 untied": TransformerConfig.gpt2(**SIZES, tied=False),
}
configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
GPT2_SMALL = TransformerConfig.gpt2(vocab_size=50257, context_length=1024, n_layers=12, n_heads=12, d_model=768)


def model_of(config, seed=0):
    return Transformer(config, rng=np.random.default_rng(seed))


def texts(config, B, T, seed=1):
    return np.random.default_rng(seed).integers(0, config.vocab_size, (2, B, T))


@configs
def test_the_parts_are_those_of_the_model_array_by_array(config):
    counted = dict.fromkeys(parameter_parts(config), 0)
    for name, parameter in model_of(config).named_parameters().items():
        part = next(
            part
            for part, inside in {
                "norms": ("norm1.", "norm2.", "norm."), "embedding": ("embedding.",), "positions": ("positions.",),
                "attention": (".attention.",), "feedforward": (".feedforward.",), "output": ("output.",),
            }.items()
            if any(x in f"{'.' if name.startswith('blocks') else ''}{name}" for x in inside)
        )  # fmt: skip
        counted[part] += parameter.size
    assert parameter_parts(config) == counted
    assert sum(counted.values()) == config.n_parameters


# --- work, counted


class Counting:
    """Products of matrices that are counted: two flops for a multiplication and its addition."""

    def __init__(self):
        self.flops = 0

    def __call__(self, x, y):
        self.flops += 2 * x.size * y.shape[-1]
        return x @ y


def forward_by_hand(model, ids, mm):
    """The scores of one text, a plain loop over heads and queries, with every product by `mm`."""
    c, p = model.config, {name: x.data.astype(np.float64) for name, x in model.named_parameters().items()}
    T, D, G = len(ids), c.d_head, c.n_heads // c.n_kv_heads

    def norm(x, name):
        if not c.is_llama:
            x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + c.norm_eps) * p[name + ".weight"]
        return x if c.is_llama else x + p[name + ".bias"]

    def linear(x, name):
        return mm(x, p[name + ".weight"].T) + p.get(name + ".bias", 0)

    def turned(x):
        angles = np.arange(T)[:, None] * c.rope_base ** (-2 * np.arange(D // 2) / D)
        a, b = x[:, : D // 2], x[:, D // 2 :]
        return np.concatenate([a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)], -1)

    x = p["embedding.weight"][ids]
    if not c.is_llama:
        x = x + p["positions.weight"][:T]
    for i in range(c.n_layers):
        b = f"blocks.{i}."
        h = norm(x, b + "norm1")
        q, k, v = (linear(h, f"{b}attention.{name}_proj") for name in "qkv")
        y = np.empty((T, c.d_model))
        for head in range(c.n_heads):
            at, of = slice(head * D, (head + 1) * D), slice(head // G * D, (head // G + 1) * D)
            qh, kh = (turned(z) if c.is_llama else z for z in (q[:, at], k[:, of]))
            for t in range(T):  # only the pairs that a causal mask allows
                e = np.exp(mm(qh[t : t + 1], kh[: t + 1].T) / np.sqrt(D))
                y[t, at] = mm(e / e.sum(), v[: t + 1, of])[0]
        x = x + linear(y, b + "attention.o_proj")
        h = norm(x, b + "norm2")
        up = linear(h, b + "feedforward.up_proj")
        if c.is_llama:
            gate = linear(h, b + "feedforward.gate_proj")
            up = gate / (1 + np.exp(-gate)) * up
        else:
            up = 0.5 * up * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)))
        x = x + linear(up, b + "feedforward.down_proj")
    return mm(norm(x, "norm"), p["embedding.weight" if c.tied else "output.weight"].T)


@pytest.mark.claim("transformer.flops")
@configs
def test_forward_flops_are_those_of_a_counting_product(config):
    model, ids = model_of(config), texts(config, 1, 11)[0]
    mm = Counting()
    # float32 against float64 over three blocks
    np.testing.assert_allclose(model(ids).data[0], forward_by_hand(model, ids[0], mm), atol=2e-5)
    assert mm.flops == forward_flops(config, 11)


@pytest.mark.claim("transformer.flops")
@configs
def test_a_cache_saves_what_was_computed_before(config):
    for n, past in ((1, 0), (1, 12), (5, 7), (13, 2)):
        assert forward_flops(config, n, past) == forward_flops(config, n + past) - (
            forward_flops(config, past) if past else 0
        )


@pytest.mark.claim("transformer.training-flops")
@configs
def test_training_flops_are_those_of_the_products_that_the_engine_does(config, monkeypatch):
    B, T = 2, 13
    flops = {"forward": 0, "backward": 0}

    def products(rule, operands, i=None):
        """Of an operation, or of the way back to its operand `i`."""
        shapes = [np.shape(getattr(x, "data", x)) for x in operands]
        if rule.name in ("neural.linear", "neural.linear_unbiased"):
            rows = int(np.prod(shapes[0][:-1]))
            return 2 * rows * shapes[1][0] * shapes[1][1] if i in (None, 0, 1) else 0
        if rule.name == "attention.scaled_dot":
            _, H, _, D = shapes[0]
            one = 2 * B * H * (T * (T + 1) // 2) * D
            return 2 * one if i is None else {0: one, 1: one, 2: 2 * one}[i]  # dQ; dK; dV and dP, which both need
        assert rule.name != "matmul", "a product that is not counted"
        return 0

    model, (ids, targets) = model_of(config), texts(config, B, T)
    monkeypatch.setattr(Mode, "made", lambda out, rule, operands: flops.update(
        forward=flops["forward"] + products(rule, operands)))  # fmt: skip
    loss = model.loss(ids, targets)
    monkeypatch.setattr(Mode, "made", None)
    monkeypatch.setattr(Mode, "returned", lambda node, rule, i, gx: flops.update(
        backward=flops["backward"] + products(rule, node_operands[id(node)], i)))  # fmt: skip
    node_operands = {}
    pending = [loss]
    while pending:
        node = pending.pop()
        if id(node) not in node_operands:
            node_operands[id(node)] = node._values
            pending += [x for x in node._operands if hasattr(x, "_operands")]
    loss.backward()
    assert flops["forward"] == B * forward_flops(config, T)
    assert flops["backward"] == 2 * flops["forward"]
    assert sum(flops.values()) == B * training_flops(config, T)


@pytest.mark.claim("transformer.training-flops")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_six_parameters_a_token_is_short_by_the_pairs(family):
    for V, L, H, width, T in ((5, 1, 2, 6, 1), (211, 3, 5, 12, 97), (50_257, 12, 12, 96, 1024), (7, 9, 1, 18, 5000)):
        C = H * width
        make = {"llama": TransformerConfig.llama, "gpt2": TransformerConfig.gpt2}[family]
        config = make(
            vocab_size=V,
            context_length=T,
            n_layers=L,
            n_heads=H,
            d_model=C,
            d_ff=8 * C // (3 if family == "llama" else 2),
        )
        M = matrix_parameters(config)
        epsilon = Fraction(training_flops(config, T), 6 * M * T) - 1
        assert epsilon == Fraction(L * C * (T + 1), M)
        assert epsilon < Fraction(T + 1, 12 * C)


@configs
def test_what_is_multiplied_is_all_but_tables_norms_and_biases(config):
    matrices = [shape for name, shape in config.parameter_shapes().items() if len(shape) == 2 and "wpe" not in name]
    numbers = sum(a * b for a, b in matrices)
    if not config.tied:
        numbers -= config.vocab_size * config.d_model  # looked up
    assert matrix_parameters(config) == numbers


# --- memory, counted


def allocated():
    """Bytes of arrays that are alive."""
    gc.collect()
    only = [tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)]
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(only).traces)


@pytest.mark.claim("transformer.activation-memory")
@pytest.mark.parametrize(("B", "T"), [(4, 64), (7, 67), (3, 96)])
@configs
def test_the_recording_of_a_loss_holds_what_was_counted(config, B, T):
    model, (ids, targets) = model_of(config), texts(config, B, T)
    model.loss(ids, targets)  # tables of angles are made once
    tracemalloc.start()
    try:
        before = allocated()
        loss = model.loss(ids, targets)
        held = allocated() - before
    finally:
        tracemalloc.stop()
    assert loss.requires_grad
    # NumPy keeps a few blocks below 1 KiB at hand, without a word to tracemalloc; a number a token is more than that
    assert 4 * B * T >= 1024
    assert abs(held - activation_bytes(config, B, T)) < 1024


@configs
def test_states_are_sixteen_bytes_a_parameter(config):
    model, (ids, targets) = model_of(config), texts(config, 2, 5)
    model.loss(ids, targets).backward()
    memory = training_memory(config, 2, 5)
    assert memory.parameters == sum(p.data.nbytes for p in model.parameters())
    assert memory.gradients == sum(p.grad.nbytes for p in model.parameters())
    assert memory.optimizer == 2 * memory.parameters
    assert memory.total == 16 * config.n_parameters + activation_bytes(config, 2, 5) == sum(memory.parts().values())
    assert training_memory(config, 2, 5, optimizer_arrays=0).optimizer == 0


@configs
def test_adam_keeps_two_numbers_for_each_parameter(config):
    adaptive = pytest.importorskip("fp_optim.adaptive", reason="needs fp-optim, on which this package does not depend")
    model, (ids, targets) = model_of(config), texts(config, 2, 5)
    model.loss(ids, targets).backward()
    parameters = model.named_parameters()
    optimizer = adaptive.AdamW({name: p.data for name, p in parameters.items()})
    optimizer.step({name: p.grad for name, p in parameters.items()})
    kept = sum(array.nbytes for name, array in optimizer.state_dict().items() if name != "step")
    assert kept == training_memory(config, 2, 5).optimizer


@configs
def test_one_token_reads_all_matrices_and_the_caches(config):
    cache = model_of(config).new_cache(3, 29)
    keys_and_values = sum(layer.nbytes for layer in cache.layers)
    assert decode_bytes(config, 29, batch=3) == 4 * matrix_parameters(config) + keys_and_values
    assert decode_bytes(config, 29, batch=3, itemsize=0.625) == 0.625 * matrix_parameters(config) + keys_and_values


# --- the rest


def test_speed_and_utilisation_undo_each_other():
    speed = tokens_per_second(GPT2_SMALL, 3e11, 512, utilisation=0.37)
    assert speed == pytest.approx(0.37 * 3e11 * 512 / training_flops(GPT2_SMALL, 512))
    assert utilisation(GPT2_SMALL, speed, 3e11, 512) == pytest.approx(0.37)
    forward = tokens_per_second(GPT2_SMALL, 3e11, 512, training=False)
    assert forward == pytest.approx(3 * tokens_per_second(GPT2_SMALL, 3e11, 512))
    assert utilisation(GPT2_SMALL, forward, 3e11, 512, training=False) == pytest.approx(1)


@configs
def test_the_table_adds_up(config):
    B, T = 2, 31
    table = summary(config, B, T)
    total = table.total
    assert total.parameters == config.n_parameters
    assert total.flops * T == forward_flops(config, T)
    assert total.activations == activation_bytes(config, B, T)
    assert total.cache == decode_bytes(config, T) - 4 * matrix_parameters(config)
    lines = str(table).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert f"{config.n_parameters:,}" in lines[-1] and lines[-1].startswith("total")
    assert [row.count for row in table.rows] == [1, 3, 3, 3, 3, 1, 1]
    assert summary(config).length == config.context_length


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda c: forward_flops(c, 0), "n_tokens must be positive, got 0"),
        (lambda c: forward_flops(c, 1, -1), "0 or more, got -1"),
        (lambda c: training_flops(c, -3), "n_tokens must be positive, got -3"),
        (lambda c: tokens_per_second(c, 0, 5), "flops_per_second must be positive, got 0"),
        (lambda c: tokens_per_second(c, 1e9, 5, utilisation=0), "utilisation must be positive, got 0"),
        (lambda c: utilisation(c, 0.0, 1e9, 5), "speed must be positive"),
        (lambda c: decode_bytes(c, 5, batch=0), "batch must be positive, got 0"),
        (lambda c: decode_bytes(c, -1), "length is not negative"),
        (lambda c: activation_bytes(c, 1, 0), "length must be positive, got 0"),
        (lambda c: training_memory(c, 1, 5, optimizer_arrays=-1), "optimizer_arrays=-1"),
        (lambda c: summary(c, batch=0), "batch must be positive, got 0"),
    ],
)
def test_what_cannot_be_counted_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(CONFIGS["llama"])
