"""The model: shapes, causality, tying, gradients, training, and bad input."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fp_attention.masks import Padding
from fp_autograd.checking import gradcheck
from fp_autograd.functional import hvp
from fp_autograd.rules import log_softmax
from fp_transformer.config import TransformerConfig
from fp_transformer.generation import Cache
from fp_transformer.model import Transformer

SIZES = {"vocab_size": 11, "context_length": 9, "n_layers": 2, "n_heads": 2}
CONFIGS = {
    "gpt2": TransformerConfig.gpt2(**SIZES, d_model=6),
    "gpt2, untied": TransformerConfig.gpt2(**SIZES, d_model=6, tied=False),
    "llama": TransformerConfig.llama(**SIZES, d_model=12, n_kv_heads=1),
    "llama, untied": TransformerConfig.llama(**SIZES, d_model=12, tied=False),
}
EACH = pytest.mark.parametrize("name", CONFIGS)


def make(name, dtype=np.float64, seed=0):
    return Transformer(CONFIGS[name], rng=np.random.default_rng(seed), dtype=dtype)


def some_ids(B=2, T=7, seed=1):
    return np.random.default_rng(seed).integers(0, 11, (B, T))


@EACH
def test_it_has_the_parameters_that_the_configuration_counts(name):
    model = make(name)
    assert model.n_parameters == CONFIGS[name].n_parameters
    assert model(some_ids()).shape == (2, 7, 11) and model(some_ids(), last=True).shape == (2, 1, 11)


@EACH
@pytest.mark.claim("transformer.causal")
def test_scores_see_no_later_token(name):
    model, ids = make(name), some_ids()
    z = model(ids).data
    for t in range(6):
        changed = ids.copy()
        changed[:, t + 1 :] = (changed[:, t + 1 :] + 1) % 11
        assert np.allclose(model(changed).data[:, : t + 1], z[:, : t + 1], rtol=0, atol=1e-13)


@pytest.mark.claim("transformer.causal")
def test_the_loss_is_the_probability_of_the_text():
    # all texts of three tokens after the first: their probabilities sum to one
    config = TransformerConfig.llama(vocab_size=3, context_length=4, n_layers=1, n_heads=1, d_model=4)
    model = Transformer(config, rng=np.random.default_rng(0), dtype=np.float64)
    texts = np.stack(np.meshgrid([1], *[[0, 1, 2]] * 3, indexing="ij"), -1).reshape(-1, 4)
    losses = [model.loss(text[None, :-1], text[None, 1:]).item() for text in texts]
    assert abs(sum(math.exp(-3 * loss) for loss in losses) - 1) < 1e-12


@EACH
@pytest.mark.claim("transformer.tied-gradient")
def test_gradients_of_every_parameter(name):
    model, ids = make(name), some_ids(1, 4)
    model.norm.weight.data = np.random.default_rng(3).normal(size=model.norm.weight.shape)

    def loss(state):
        return -log_softmax(model.functional(state, ids[:, :-1]))[0, np.arange(3), ids[0, 1:]].mean()

    gradcheck(loss, model.state_dict(), order=1)


@pytest.mark.claim("transformer.tied-gradient")
def test_the_tied_table_gets_both_parts():
    model, ids = make("gpt2"), some_ids(2, 6)
    *_, x = model.stream(ids[:, :-1])
    h = model.norm(x).data
    p = np.exp(log_softmax(model(ids[:, :-1]).data))
    onehot = np.eye(11)[ids[:, 1:]]
    as_output = np.einsum("btv,btc->vc", (p - onehot) / 10, h)
    untied = Transformer(CONFIGS["gpt2, untied"], rng=np.random.default_rng(0), dtype=np.float64)
    untied.load_state_dict(model.state_dict() | {"output.weight": model.embedding.weight.data})
    untied.loss(ids[:, :-1], ids[:, 1:]).backward()
    model.loss(ids[:, :-1], ids[:, 1:]).backward()
    assert np.allclose(untied.output.weight.grad, as_output, rtol=0, atol=1e-13)
    as_input = untied.embedding.weight.grad
    assert (as_input[[v for v in range(11) if v not in ids[:, :-1]]] == 0).all()
    assert np.allclose(model.embedding.weight.grad, as_output + as_input, rtol=0, atol=1e-13)


def test_hessian_vector_products_through_a_whole_model():
    model, ids = make("llama"), some_ids(1, 4)
    state = model.state_dict()
    rng = np.random.default_rng(4)
    u, v = ({k: rng.normal(size=a.shape) for k, a in state.items()} for _ in range(2))

    def loss(state):
        return -log_softmax(model.functional(state, ids[:, :-1]))[0, np.arange(3), ids[0, 1:]].mean()

    def dot(a, b):
        return sum((a[k] * b[k]).sum() for k in a)

    left, right = (dot(hvp(loss)(state, a), b) for a, b in ((u, v), (v, u)))
    assert left == pytest.approx(right, rel=1e-9) and left != 0


@EACH
def test_with_caches_it_is_the_same(name):
    model, ids = make(name), some_ids()
    whole = model(ids).data
    cache = model.new_cache(2)
    parts = [model(ids[:, a:b], cache=cache) for a, b in ((0, 3), (3, 4), (4, 7))]
    assert np.allclose(np.concatenate([p.data for p in parts], axis=1), whole, rtol=0, atol=1e-12)
    assert not parts[0].requires_grad and cache.length == 7
    cache.truncate(4)
    assert np.allclose(model(ids[:, 4:], cache=cache, last=True).data, whole[:, -1:], rtol=0, atol=1e-12)


@EACH
def test_padding_changes_nothing(name):
    model, ids = make(name), some_ids()
    valid = np.ones((2, 7), bool)
    valid[1, 4:] = False
    z = model(ids, mask=Padding(valid)).data
    assert np.allclose(z[1, :4], model(ids[1:, :4]).data[0], rtol=0, atol=1e-12)
    targets = np.where(valid, np.roll(ids, -1, axis=1), -1)
    loss = model.loss(ids, targets, mask=Padding(valid), ignore=-1).item()
    alone = [model.loss(ids[:1], targets[:1]).item() * 7, model.loss(ids[1:, :4], targets[1:, :4]).item() * 4]
    assert loss == pytest.approx(sum(alone) / 11, rel=1e-12)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_it_learns_a_rule(name, shapes_unchecked):
    # after a comes b or c by what stood before a: two tokens have to be seen
    rng = np.random.default_rng(0)
    model = make(name, np.float32)
    texts = np.array([[1, 0, 2, 1, 0, 2, 1, 0, 2], [3, 0, 4, 3, 0, 4, 3, 0, 4]])
    for _ in range(120):
        ids = texts[rng.integers(0, 2, 4)]
        model.zero_grad()
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        for p in model.parameters():
            p.data = p.data - np.float32(0.5) * np.clip(p.grad, -0.1, 0.1)
    assert loss.item() < 0.15  # who looks at one token only has 3/8 ln 2 = 0.26 at the least


def test_dropout_is_live_in_training_alone():
    config = TransformerConfig.gpt2(**SIZES, d_model=6, dropout=0.5)
    model, ids = Transformer(config, rng=np.random.default_rng(0)), some_ids()
    assert (model(ids).data != model(ids).data).any()
    model.eval()
    assert (model(ids).data == model(ids).data).all()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_model_to_be_loaded_draws_differently_in_every_block(name):
    model = Transformer(replace(CONFIGS[name], dropout=0.5))
    sources = {id(m.rng) for m in model.modules() if hasattr(m, "rng")}
    assert len(sources) == 1 and np.isfinite(model(some_ids()).data).all()
    x = np.ones((1, 1, 64))
    assert (model.blocks[0].dropout(x) != model.blocks[1].dropout(x)).any()


def test_weights_are_left_at_zero_without_a_generator():
    model = Transformer(CONFIGS["gpt2"])
    assert all((p.data == 0).all() or name.endswith("weight") for name, p in model.named_parameters().items())
    assert (model.embedding.weight.data == 0).all() and model.dtype == np.float32


@pytest.mark.parametrize(
    ("ids", "error", "says"),
    [
        (np.zeros((1, 10), int), ValueError, "at most 9 positions"),
        (np.zeros(3, int), ValueError, r"\(batch, time\)"),
        (np.zeros((1, 0), int), ValueError, "at least 1"),
        (np.array([[11]]), ValueError, "11"),
        (np.array([[-1]]), ValueError, "-1"),
        (np.array([[0.5]]), TypeError, "float64"),
        ([[1, 2]], TypeError, "list"),
    ],
)
def test_bad_ids(ids, error, says, shapes_unchecked):
    with pytest.raises(error, match=says):
        make("gpt2")(ids)


def test_bad_settings_and_caches():
    with pytest.raises(ValueError, match="float16"):
        Transformer(CONFIGS["gpt2"], dtype=np.float16)
    model, other = make("gpt2"), make("gpt2")
    with pytest.raises(ValueError, match="made for another"):
        model(some_ids(), cache=other.new_cache(2))
    cache = model.new_cache(2)
    model(some_ids(), cache=cache)
    with pytest.raises(ValueError, match="at most 9 positions"):
        model(some_ids(T=3), cache=cache)
    assert cache.length == 7
    for wrong in (Cache(cache.layers[:1]), [cache.layers[0]], {}):
        with pytest.raises(ValueError, match="a cache of this model"):
            model(some_ids(T=1), cache=wrong)


def test_a_pass_that_is_broken_off_leaves_the_cache_as_it_was(monkeypatch):
    model, ids = make("llama"), some_ids(1, 7)
    whole = model(ids).data
    cache = model.new_cache(1)
    model(ids[:, :3], cache=cache)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model.blocks[1], "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model(ids[:, 3:5], cache=cache)
    assert [layer.length for layer in cache.layers] == [3, 3]
    assert np.allclose(model(ids[:, 3:], cache=cache).data, whole[:, 3:], rtol=0, atol=1e-12)
