import numpy as np
import pytest

from fp_autograd.checking import gradcheck
from fp_peft.adapters import Adapter
from fp_peft.lora import LINEAR_PARTS, LoRA
from fp_peft.prefix import PrefixTuning, PromptTuning
from fp_peft.wrapping import linear_parts, work, wrap

METHODS = [LoRA(2, 3), LoRA(2, 3, ["q_proj", "down_proj"]), Adapter(3), PrefixTuning(3), PromptTuning(3)]


@pytest.mark.claim("peft.lora-identity")
def test_with_factors_a_model_is_at_first_the_model_bit_for_bit(model, ids):
    tuned = wrap(model, LoRA(3, 7), rng=np.random.default_rng(0))
    np.testing.assert_array_equal(tuned(ids).data, model(ids).data)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_base_is_not_changed_and_shares_its_arrays(model, ids, method):
    before, state = model(ids).data, model.state_dict()
    tuned = wrap(model, method, rng=np.random.default_rng(0)).train()
    for p in tuned.trainable().values():
        p.data[...] += 0.1
    tuned.loss(ids[:, :-1], ids[:, 1:]).backward()
    np.testing.assert_array_equal(model(ids).data, before)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert {name: a.shape for name, a in model.state_dict().items()} == {n: a.shape for n, a in state.items()}
    frozen = {id(p.data) for p in tuned.parameters() if not p.requires_grad}
    assert frozen == {id(p.data) for p in model.parameters()}
    assert all(p.grad is not None for p in tuned.trainable().values())
    assert not np.array_equal(tuned.eval()(ids).data, before)


@pytest.mark.parametrize("method", METHODS[:3], ids=repr)
def test_every_trained_number_has_the_gradient_of_differences(model, ids, method):
    tuned = wrap(model, method, rng=np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for p in tuned.trainable().values():
        p.data[...] += 0.2 * rng.normal(size=p.shape)
    state = {name: p.data.copy() for name, p in tuned.trainable().items()}
    gradcheck(lambda s: tuned.functional(s, ids[:1, :4]), state, order=1)


@pytest.mark.parametrize("method", METHODS[:3], ids=repr)
def test_token_by_token_with_a_cache_it_is_the_same(model, ids, method):
    tuned = wrap(model, method, rng=np.random.default_rng(0))
    for p in tuned.trainable().values():
        p.data[...] += 0.1
    cache = tuned.new_cache(batch=2)
    parts = [tuned(ids[:, a:b], cache=cache).data for a, b in ((0, 3), (3, 4), (4, 7))]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), tuned(ids).data, atol=1e-10)


@pytest.mark.claim("peft.frozen-work")
def test_no_product_is_made_for_a_frozen_matrix(model, ids):
    ids, targets = ids[:, :-1], ids[:, 1:]
    llama = model.config.is_llama
    full = work(model, ids, targets)
    matrices = 2 * (7 if llama else 6) + 1  # and the tied output
    assert sum(full.weight_products.values()) == matrices
    for method, expected in (
        (LoRA(2, 3), 2 * (matrices - 1)),  # two thin factors for each matrix
        (LoRA(2, 3, ["q_proj"]), 4),
        (Adapter(3), 8),
        (PrefixTuning(3), 0),
        (PromptTuning(3), 0),
    ):
        tuned = wrap(model, method, rng=np.random.default_rng(0))
        counted = work(tuned, ids, targets)
        assert sum(counted.weight_products.values()) == expected
        assert all(p.grad is None for p in tuned.parameters())


@pytest.mark.claim("peft.frozen-work")
def test_nothing_is_recorded_below_the_lowest_trained_layer(model, ids):
    ids, targets = ids[:, :-1], ids[:, 1:]
    tuned = wrap(model, LoRA(2, 3, ["down_proj"]), rng=np.random.default_rng(0))
    for owner, name in (linear_parts(tuned.blocks[0])["down_proj"],):
        setattr(owner, name, getattr(owner, name).base)
    upper = work(tuned, ids, targets)
    whole = work(wrap(model, LoRA(2, 3), rng=np.random.default_rng(0)), ids, targets)
    assert sum(upper.weight_products.values()) == 2
    assert upper.recorded < whole.recorded / 3
    assert upper.products["attention.scaled_dot"] == 0


@pytest.mark.claim("peft.frozen-flops")
@pytest.mark.parametrize("r", [1, 2, 3])
def test_multiplications_of_a_layer_are_counted(r):
    from fp_autograd.tensor import Tensor
    from fp_neural.layers import Linear
    from fp_peft.lora import LoRALinear

    R, n, m = 4, 7, 5

    class Counting(np.ndarray):
        total = 0

        def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
            arrays = [np.asarray(x) for x in inputs]
            if ufunc is np.matmul:
                Counting.total += arrays[0].size * arrays[1].shape[-1]
            out = kwargs.pop("out", None)
            found = getattr(ufunc, method)(*arrays, **kwargs)
            if out is not None:
                out[0][...] = found
                return out[0]
            return found.view(Counting) if isinstance(found, np.ndarray) else found

    layer = LoRALinear(Linear(n, m, rng=None, bias=False, dtype=np.float64), r, 1.0, rng=None)
    rng = np.random.default_rng(0)
    for p in layer.parameters():
        p.data = rng.normal(size=p.shape).view(Counting)
    layer.base.freeze()
    x = Tensor(rng.normal(size=(R, n)).view(Counting), requires_grad=True)
    from fp_peft.lora import _dA, _dB, _dx, _forward

    A, B, w = layer.lora_A.data, layer.lora_B.data, layer.base.weight.data
    g = rng.normal(size=(R, m)).view(Counting)
    out, saved = _forward(x.data, w, A, B, scale=1.0)
    for derivative in (_dx, _dA, _dB):
        derivative(g, out, x.data, w, A, B, scale=1.0, saved=saved)
    # the cotangent of H is computed twice, for the input and for A: R m r more than the formula
    assert Counting.total == 2 * R * m * n + 3 * R * r * (m + n) + R * m * r


def test_all_means_what_a_family_has_and_a_list_has_to_be_met(model):
    wrap(model, LoRA(1, 1))
    wrap(model, LoRA(1, 1, LINEAR_PARTS))
    if not model.config.is_llama:
        with pytest.raises(ValueError, match="gpt2 family has no gate_proj"):
            wrap(model, LoRA(1, 1, ["gate_proj"]))


def test_bad_input_is_refused(model, shapes_unchecked):
    with pytest.raises(TypeError, match="takes a Transformer"):
        wrap("model", LoRA(1, 1))
    with pytest.raises(TypeError, match="made by LoRA"):
        wrap(model, "lora")
    with pytest.raises(TypeError, match="wrapped already"):
        wrap(wrap(model, LoRA(1, 1)), LoRA(1, 1))
    with pytest.raises(ValueError, match="a rank of 13 is more than the smaller side"):
        wrap(model, LoRA(13, 1))
