"""Mirrors src/fp_capstone/model.py and src/fp_capstone/block.py: the whole model in both families."""

import numpy as np
import pytest

from fp_capstone.block import block, block_backward
from fp_capstone.memory import HEAP, Arena
from fp_capstone.model import Model
from fp_capstone.parameters import Parameters
from fp_optim.adaptive import AdamW
from fp_transformer.config import TransformerConfig

SIZES = {"vocab_size": 11, "context_length": 7, "n_layers": 2}
CONFIGS = {
    "llama": TransformerConfig.llama(**SIZES, n_heads=4, n_kv_heads=2, d_model=8, d_ff=5),
    "llama, untied": TransformerConfig.llama(**SIZES, n_heads=3, n_kv_heads=1, d_model=6, d_ff=5, tied=False),
    "llama, dropout": TransformerConfig.llama(**SIZES, n_heads=1, d_model=4, d_ff=3, dropout=0.3),
    "gpt2": TransformerConfig.gpt2(**SIZES, n_heads=3, d_model=6, d_ff=5),
    "gpt2, dropout": TransformerConfig.gpt2(**SIZES, n_heads=1, d_model=5, d_ff=3, dropout=0.3),
}
each_family = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def make(config, dtype=np.float64, seed=0):
    """A model whose every parameter is far from the values that would hide a mistake (zero biases, unit gains)."""
    model = Model(config, np.random.default_rng(seed), dtype)
    for a in model.parameters().values():
        a += 0.3 * np.random.default_rng(seed + 1).normal(size=a.shape)
    return model


def tokens(seed=2, shape=(3, 5), V=11):
    rng = np.random.default_rng(seed)
    return rng.integers(0, V, shape), rng.integers(0, V, shape)


@each_family
@pytest.mark.claim("capstone.tied-gradient")
@pytest.mark.claim("capstone.position-gradient")
def test_the_gradient_of_every_parameter_equals_central_differences(config, numeric):
    model, (ids, targets) = make(config), tokens()

    def loss():
        return model.loss_and_grads(ids, targets, np.random.default_rng(3))[0]

    _, grads = model.loss_and_grads(ids, targets, np.random.default_rng(3))
    assert grads.keys() == model.parameters().keys()
    for name, a in model.parameters().items():
        # 1e-7: see `numeric`
        np.testing.assert_allclose(grads[name], numeric(loss, a), atol=1e-7, err_msg=name)


@pytest.mark.claim("capstone.tied-gradient")
def test_a_tied_gradient_is_the_sum_of_the_two_untied_ones():
    shared = {**SIZES, "n_heads": 3, "d_model": 6, "d_ff": 5}
    tied = make(TransformerConfig.llama(**shared))
    untied = Model(TransformerConfig.llama(**shared, tied=False), np.random.default_rng(0), np.float64)
    for name, a in untied.parameters().items():
        a[:] = tied.parameters()["model.embed_tokens.weight" if name == "lm_head.weight" else name]
    ids, targets = tokens()
    loss, grads = tied.loss_and_grads(ids, targets)
    loss2, grads2 = untied.loss_and_grads(ids, targets)
    assert loss == loss2
    both = grads2["model.embed_tokens.weight"] + grads2["lm_head.weight"]
    np.testing.assert_allclose(
        grads["model.embed_tokens.weight"], both, atol=1e-15
    )  # one addition of numbers of order 1


@each_family
@pytest.mark.claim("capstone.residual-backward")
def test_the_gradient_of_a_blocks_input_equals_central_differences(config, numeric):
    model = make(config)
    p, dp = model._p.layers[0], Parameters(config, np.dtype("float64")).layers[0]
    rng = np.random.default_rng(4)
    x, g = rng.normal(size=(2, 5, config.d_model)), rng.normal(size=(2, 5, config.d_model))
    rotary = model._rows(0, 5)
    tape = block(x.copy(), p, config, rotary, np.random.default_rng(5), keep=True)
    dx = g.copy()
    block_backward(dx, tape, p, dp, config, rotary)

    def loss():
        stream = x.copy()
        block(stream, p, config, rotary, np.random.default_rng(5))
        return float((stream * g).sum())

    np.testing.assert_allclose(dx, numeric(loss, x), atol=1e-7)  # see `numeric`


@pytest.mark.claim("capstone.residual-backward")
def test_a_block_whose_branches_end_in_zeros_passes_the_gradient_through_unchanged():
    config = CONFIGS["llama"]
    model = make(config)
    p, dp = model._p.layers[0], Parameters(config, np.dtype("float64")).layers[0]
    p.out[:] = 0
    p.down[:] = 0
    rng = np.random.default_rng(6)
    x, g = rng.normal(size=(2, 5, 8)), rng.normal(size=(2, 5, 8))
    y, dx = x.copy(), g.copy()
    tape = block(y, p, config, model._rows(0, 5), keep=True)
    np.testing.assert_array_equal(y, x)
    block_backward(dx, tape, p, dp, config, model._rows(0, 5))
    np.testing.assert_array_equal(dx, g)


@each_family
def test_a_change_at_one_position_alters_no_output_before_it(config):
    model, (ids, _) = make(config), tokens(shape=(2, 7))
    before = model.forward(ids)
    for t in range(7):
        changed = ids.copy()
        changed[:, t] = (changed[:, t] + 1) % 11
        after = model.forward(changed)
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert not np.array_equal(after[:, t], before[:, t])


@each_family
def test_memory_that_is_used_again_changes_no_bit(config):
    model, arena, grads = make(config, np.float32), Arena(), Parameters(config, np.dtype("float32"))
    for shape in ((3, 5), (2, 7), (3, 5), (1, 1), (3, 5)):
        ids, targets = tokens(shape=shape)
        expected = model.loss_and_grads(ids, targets, np.random.default_rng(3))
        loss, found = model.loss_and_grads(ids, targets, np.random.default_rng(3), grads, arena)
        assert loss == expected[0]
        for name, g in expected[1].items():
            np.testing.assert_array_equal(found[name], g, err_msg=name)


@each_family
@pytest.mark.claim("capstone.recomputation-exact")
@pytest.mark.parametrize("memory", [HEAP, Arena()], ids=["heap", "arena"])
def test_recomputation_changes_no_bit(config, memory):
    model, (ids, targets) = make(config, np.float32), tokens()
    for _ in range(2):  # the second time in the arena's buffer
        loss, grads = model.loss_and_grads(ids, targets, np.random.default_rng(3))
        again, recomputed = model.loss_and_grads(ids, targets, np.random.default_rng(3), memory=memory, recompute=True)
        assert again == loss
        for name, g in grads.items():
            np.testing.assert_array_equal(recomputed[name], g, err_msg=name)


def switch_positions_off(model):
    if model.config.is_llama:
        cos, sin = model._rotary
        cos[:], sin[:] = 1, 0  # every angle zero
    else:
        model.parameters()["transformer.wpe.weight"][:] = 0


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_in_one_layer_the_order_of_the_prefix_matters_only_through_positions(family):
    sizes = {**SIZES, "n_layers": 1}
    config = {
        "llama": TransformerConfig.llama(**sizes, n_heads=3, d_model=6, d_ff=5),
        "gpt2": TransformerConfig.gpt2(**sizes, n_heads=3, d_model=6, d_ff=5),
    }[family]
    model = make(config)
    ids = np.array([[3, 1, 4, 10, 5, 9, 2]])
    shuffled = ids[:, [4, 0, 5, 2, 1, 3, 6]]
    assert np.abs(model.forward(ids)[0, -1] - model.forward(shuffled)[0, -1]).max() > 1e-3
    switch_positions_off(model)
    # 1e-12: the same sums of order 1 in another order
    np.testing.assert_allclose(model.forward(ids)[0, -1], model.forward(shuffled)[0, -1], atol=1e-12)


@pytest.mark.claim("capstone.uniform-loss")
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_new_model_starts_near_log_v(family, tied):
    sizes = {"vocab_size": 101, "context_length": 32, "n_layers": 3, "n_heads": 4, "d_model": 64, "tied": tied}
    model = Model(getattr(TransformerConfig, family)(**sizes), np.random.default_rng(0))
    ids, targets = tokens(shape=(8, 32), V=101)
    # random logits of standard deviation s cost about s^2 / 2 more than equal ones; s = 0.02 sqrt(64) = 0.16 here
    assert model.loss(ids, targets) == pytest.approx(np.log(101), abs=0.1)


@pytest.mark.claim("capstone.fan-in")
def test_the_initial_linear_maps_keep_the_variance():
    rng = np.random.default_rng(0)
    config = TransformerConfig.llama(vocab_size=5, context_length=4, n_layers=1, n_heads=1, d_model=512, d_ff=1024)
    W = Model(config, rng)._p.layers[0].up
    y = rng.normal(size=(512, 512)).astype(np.float32) @ W
    # inputs and weights make the variance err by sqrt(2 / (512 * 512) + 2 / (512 * 2048)) = 0.003: six of those
    assert y.var() == pytest.approx(1, abs=0.02)
    assert abs(float(y.mean())) < 0.02


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_it_overfits_one_batch_to_its_own_floor(family):
    """Rows that share a prefix and then differ cannot all be predicted: the floor is their conditional entropy."""
    config = getattr(TransformerConfig, family)(**SIZES, n_heads=4, d_model=32)
    model = Model(config, np.random.default_rng(0))
    rows = np.array([[1, 2, 3, 4, 5, 6], [1, 2, 3, 7, 5, 6], [1, 2, 8, 4, 9, 10], [0, 2, 3, 4, 5, 6]])
    ids, targets = rows[:, :-1], rows[:, 1:]
    floor = floor_of(ids, targets)
    assert floor > 0.1
    optimizer = AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(300):
        loss, grads = model.loss_and_grads(ids, targets)
        assert loss > floor - 1e-4, "no model beats the floor: targets leak"  # float32 rounds losses at 1e-7
        optimizer.step(grads)
    assert model.loss(ids, targets) < floor + 0.01


def floor_of(ids, targets):
    """Mean over the batch of minus log of how often each target follows its whole prefix."""
    seen = {}
    for row, goal in zip(ids.tolist(), targets.tolist(), strict=True):
        for t in range(len(row)):
            seen.setdefault(tuple(row[: t + 1]), []).append(goal[t])
    losses = [-np.log(goals.count(y) / len(goals)) for goals in seen.values() for y in goals]
    return float(np.mean(losses))


@each_family
def test_token_losses_average_to_the_loss_of_training_without_dropout(config):
    model, (ids, targets) = make(config), tokens()
    losses = model.token_losses(ids, targets)
    assert losses.shape == ids.shape
    assert model.loss(ids, targets) == pytest.approx(model.loss_and_grads(ids, targets)[0], rel=1e-12)


def test_float32_agrees_with_float64_to_rounding():
    config = CONFIGS["llama"]
    double, single = make(config), make(config, np.float32)
    ids, targets = tokens()
    assert single.forward(ids).dtype == np.float32
    # about a hundred float32 operations deep, each rounding at 6e-8, on numbers of order 1
    np.testing.assert_allclose(single.forward(ids), double.forward(ids), atol=2e-5)
    _, grads = single.loss_and_grads(ids, targets)
    for name, g in double.loss_and_grads(ids, targets)[1].items():
        assert grads[name].dtype == np.float32
        np.testing.assert_allclose(grads[name], g, atol=2e-5, err_msg=name)


def test_parameters_are_live():
    model, (ids, _) = make(CONFIGS["gpt2"]), tokens()
    before = model.forward(ids)
    model.parameters()["transformer.h.1.mlp.c_proj.bias"][0] += 1
    assert not np.array_equal(model.forward(ids), before)


@each_family
def test_saving_and_loading_keeps_every_bit(config, tmp_path):
    model, (ids, _) = make(config, np.float32), tokens()
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert loaded.config == config
    np.testing.assert_array_equal(loaded.forward(ids), model.forward(ids))


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(
    ("ids", "targets", "sentence"),
    [
        (np.array([[11]]), None, r"ids must lie in \[0, 11\), the vocabulary of the model; got 11 to 11"),
        (np.array([[-1]]), None, r"ids must lie in \[0, 11\)"),
        (np.array([[1]]), np.array([[12]]), r"targets must lie in \[0, 11\)"),
        (np.array([1]), None, r"ids must have the shape \(batch, time\)"),
        (np.zeros((2, 0), int), None, r"ids must have the shape \(batch, time\)"),
        (np.zeros((1, 8), int), None, r"the model sees at most 7 positions \(context_length\); got 8"),
        (np.zeros((1, 3), int), np.zeros((1, 2), int), r"targets must have the shape of ids"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(ids, targets, sentence):
    model = make(CONFIGS["llama"])
    with pytest.raises(ValueError, match=sentence):
        model.forward(ids) if targets is None else model.loss_and_grads(ids, targets)


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize("ids", [[[1, 2]], np.array([[1.0]]), np.array([[True]])], ids=["list", "float", "bool"])
def test_what_is_not_an_array_of_token_numbers_is_refused(ids):
    model = make(CONFIGS["llama"])
    with pytest.raises(TypeError, match="ids must be a NumPy array of integers"):
        model.forward(ids)
    with pytest.raises(TypeError, match="targets must be a NumPy array of integers"):
        model.loss_and_grads(np.array([[1, 2]]), ids)


def test_a_data_type_that_cannot_hold_gradients_is_refused():
    with pytest.raises(ValueError, match="a model computes in float32 or float64, got dtype int32"):
        Model(CONFIGS["llama"], np.random.default_rng(0), np.int32)
