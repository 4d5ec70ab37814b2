import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd.functional import grad
from fp_peft.adapters import Adapter
from fp_peft.lora import LoRA
from fp_peft.merging import lora_layers, merge, merged_model, unmerge
from fp_peft.prefix import PrefixTuning
from fp_peft.wrapping import wrap
from fp_transformer.checkpoint import load, save


def tuned_of(model, seed=0):
    tuned = wrap(model, LoRA(2, 3), rng=np.random.default_rng(seed))
    for layer in lora_layers(tuned).values():
        layer.lora_B.data[...] = np.random.default_rng(seed).normal(size=layer.lora_B.shape)
    return tuned


@pytest.mark.claim("peft.merge")
def test_merged_and_unmerged_compute_the_same_and_so_do_their_slopes(model, ids, tmp_path):
    tuned = tuned_of(model)
    apart, base = tuned(ids).data, model(ids).data

    def slope():
        x = np.random.default_rng(5).normal(size=(1, 3, 12))
        return grad(lambda x: (tuned.blocks[0](x) ** 2).sum())(x).data

    before = slope()
    merge(tuned)
    np.testing.assert_allclose(tuned(ids).data, apart, atol=1e-10)  # float64, other sums
    np.testing.assert_allclose(slope(), before, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(model(ids).data, base)
    assert np.abs(apart - base).max() > 0.1
    for made in (merged_model(tuned), merged_model(tuned_of(model))):
        np.testing.assert_allclose(made(ids).data, apart, atol=1e-10)
        save(made, tmp_path / "model")
        np.testing.assert_allclose(load(tmp_path / "model", dtype=np.float64)(ids).data, apart, atol=1e-4)  # float32
    np.testing.assert_array_equal(model(ids).data, base)


@pytest.mark.claim("peft.merge-rounding")
def test_with_the_originals_kept_unmerging_is_exact(small, ids):
    model = small("llama", np.float32)
    tuned = tuned_of(model)
    apart, state = tuned(ids).data, tuned.state_dict()
    merge(tuned)
    assert not all(np.array_equal(a, state[n]) for n, a in tuned.state_dict().items())
    unmerge(tuned)
    assert all(np.array_equal(a, state[n]) for n, a in tuned.state_dict().items())
    np.testing.assert_array_equal(tuned(ids).data, apart)


@pytest.mark.claim("peft.merge-rounding")
def test_without_them_the_error_is_within_the_bound_and_not_zero(small):
    model = small("llama", np.float32)
    tuned = tuned_of(model)
    merge(tuned, keep=False)
    unmerge(tuned)
    u, worst = 2.0**-24, 0.0
    for (_, layer), original in zip(lora_layers(tuned).items(), lora_layers(tuned_of(model)).values(), strict=True):
        w, delta = (x.astype(np.float64) for x in (original.base.weight.data, original.update()))
        error = np.abs(layer.base.weight.data - w)
        assert (error <= u * (1 + u) * np.abs(w + delta) + u * np.abs(w)).all()
        worst = max(worst, error.max())
    assert worst > 0


@pytest.mark.claim("peft.merge-rounding")
@given(st.floats(-1e3, 1e3, width=32), st.floats(-1e3, 1e3, width=32))
@settings(max_examples=25)
def test_the_bound_holds_for_any_two_numbers(w, delta):
    if 0 < abs(w) < 1e-30 or 0 < abs(delta) < 1e-30:
        return  # underflow is not of the claim
    w32, d32 = np.float32(w), np.float32(delta)
    back = float((w32 + d32) - d32)
    u = 2.0**-24
    assert abs(back - w) <= u * (1 + u) * abs(w + delta) + u * abs(w)
    if float(w32 + d32) == w + delta:
        assert back == w


def test_bad_input_is_refused(model):
    tuned = tuned_of(model)
    with pytest.raises(ValueError, match="not merged"):
        unmerge(tuned)
    merge(tuned)
    with pytest.raises(ValueError, match="merged already"):
        merge(tuned)
    for method in (Adapter(2), PrefixTuning(2)):
        for function in (merge, unmerge, merged_model):
            with pytest.raises(ValueError, match=f"this model has {type(method).__name__}"):
                function(wrap(model, method, rng=np.random.default_rng(0)))


def test_a_merged_model_is_not_trained_in_vain(small, ids):
    tuned = tuned_of(small("llama", np.float64))
    names = sorted(tuned.trainable())
    next(iter(lora_layers(tuned).values())).lora_A.requires_grad = False  # by a caller, who keeps it so
    merge(tuned)
    assert not tuned.trainable()  # an optimizer of its parameters has nothing to move
    unmerge(tuned)
    assert sorted(tuned.trainable()) == [name for name in names if name != "blocks.0.attention.q_proj.lora_A"]
    tuned.loss(ids[:, :-1], ids[:, 1:]).backward()
    assert all(np.any(p.grad) for p in tuned.trainable().values())
