import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention import Causal, Padding, attention_weights, scaled_dot_product_attention
from fp_autograd.checking import gradcheck
from fp_autograd.functional import grad
from fp_peft.lora import LoRA
from fp_peft.prefix import BehindPrefix, PrefixedAttention, PrefixTuning, PromptTuning, mixture
from fp_peft.wrapping import wrap
from fp_transformer.model import Transformer


def drawn(seed, Tq=3, Tk=5, n=2, D=4, size=1.0):
    rng = np.random.default_rng(seed)
    return [size * rng.normal(size=(rows, D)) for rows in (Tq, Tk, Tk, n, n)]


@pytest.mark.claim("peft.prefix-mixture")
@given(st.integers(0, 2**30), st.integers(1, 4), st.sampled_from([0.1, 1.0, 20.0]))
@settings(max_examples=20)
def test_attention_with_a_prefix_is_a_mixture(seed, n, size):
    q, k, v, pk, pv = drawn(seed, n=n, size=size)
    share, text, prefix = mixture(q, k, v, pk, pv)
    np.testing.assert_allclose(text, scaled_dot_product_attention(q, k, v), atol=1e-9 * size)
    np.testing.assert_allclose(prefix, scaled_dot_product_attention(q, pk, pv), atol=1e-9 * size)
    whole = scaled_dot_product_attention(q, np.concatenate([pk, k]), np.concatenate([pv, v]))
    np.testing.assert_allclose(whole, (1 - share) * text + share * prefix, atol=1e-9 * size)
    weights = attention_weights(q, np.concatenate([pk, k]))
    np.testing.assert_allclose(weights[:, n:], (1 - share) * attention_weights(q, k), atol=1e-12)
    assert (share >= 0).all() and (share <= 1).all()  # strictly between, before rounding
    np.testing.assert_array_equal(mixture(q, k, v, pk, 7 * pv)[0], share)


@pytest.mark.claim("peft.prefix-limits")
def test_what_a_prefix_cannot_do():
    q, k, v, pk, pv = drawn(1)
    share, text, _ = mixture(q, k, v, pk, pv)
    whole = scaled_dot_product_attention(q, np.concatenate([pk, k]), np.concatenate([pv, v]))
    assert (np.abs(whole - text).max(axis=1) > 1e-3).all()  # (1)
    same = np.tile(text[:1], (2, 1))
    kept = scaled_dot_product_attention(q[:1], np.concatenate([pk, k]), np.concatenate([same, v]))
    np.testing.assert_allclose(kept, text[:1], atol=1e-12)  # unless y_P = y
    order = attention_weights(q, k).argsort(axis=1)
    np.testing.assert_array_equal(attention_weights(q, np.concatenate([pk, k]))[:, 2:].argsort(axis=1), order)  # (2)
    wanted = np.array([1.0, -2.0, 3.0, 0.5])
    values = np.concatenate([np.tile(wanted / share[0], (2, 1)), 0 * v])
    reached = scaled_dot_product_attention(q[:1], np.concatenate([pk, k]), values)
    np.testing.assert_allclose(reached[0], wanted, atol=1e-12)  # (3)


@pytest.mark.claim("peft.prefix-gradient")
def test_the_gradients_of_keys_and_values_of_a_prefix():
    q, k, v, pk, pv = drawn(2, n=3)
    g = np.random.default_rng(0).normal(size=(3, 4))
    share, _, _ = mixture(q, k, v, pk, pv)
    from fp_autograd.rules import concatenate

    def loss(pk, pv):
        return (scaled_dot_product_attention(q, concatenate([pk, k]), concatenate([pv, v])) * g).sum()

    dk, dv = (grad(loss, i)(pk, pv) for i in (0, 1))
    y = scaled_dot_product_attention(q, np.concatenate([pk, k]), np.concatenate([pv, v]))
    p = attention_weights(q, pk)
    np.testing.assert_allclose(dv, (share * p).T @ g, atol=1e-12)
    inner = g @ pv.T - (g * y).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(dk, (0.5 * share * p * inner).T @ q, atol=1e-12)


@pytest.mark.claim("peft.prompt-is-prefix")
@pytest.mark.parametrize("method", [PrefixTuning, PromptTuning])
def test_begun_as_tokens_it_is_the_model_with_a_prompt_in_front(model, ids, method):
    prompt = [3, 1, 4, 1]
    tuned = wrap(model, method(4, prompt), rng=np.random.default_rng(0))
    whole = model(np.concatenate([np.tile(prompt, (2, 1)), ids], axis=1)).data[:, 4:]
    np.testing.assert_allclose(tuned(ids).data, whole, atol=1e-12)


@pytest.mark.claim("peft.prompt-is-prefix")
def test_rows_that_are_no_tokens_have_a_prefix_too(model, ids):
    prompted = wrap(model, PromptTuning(3), rng=np.random.default_rng(0))
    prompted.prompt.data[...] = np.random.default_rng(1).normal(size=prompted.prompt.shape)
    logits = prompted(ids).data  # which leaves the prefixes in the layers
    prefixed = wrap(model, PrefixTuning(3), rng=np.random.default_rng(0))
    for block, own in zip(prefixed.blocks, prompted.blocks, strict=True):
        for name in ("prefix_keys", "prefix_values"):
            getattr(block.attention, name).data[...] = getattr(own.attention, name).data
    np.testing.assert_allclose(prefixed(ids).data, logits, atol=1e-12)


@pytest.mark.claim("peft.prompt-is-prefix")
def test_with_value_matrices_of_zero_rows_make_nothing_and_a_prefix_does(small, ids):
    model = small("llama", n_layers=1)
    model.blocks[0].attention.v_proj.weight.data[...] = 0
    for seed in range(3):
        prompted = wrap(model, PromptTuning(3), rng=np.random.default_rng(seed))
        np.testing.assert_allclose(prompted(ids).data, model(ids).data, atol=1e-12)
    prefixed = wrap(model, PrefixTuning(3), rng=np.random.default_rng(0))
    assert np.abs(prefixed(ids).data - model(ids).data).max() > 1e-3


@pytest.mark.parametrize("method", [PrefixTuning(3), PromptTuning(3)])
def test_every_trained_number_has_the_gradient_of_differences(model, ids, method):
    tuned = wrap(model, method, rng=np.random.default_rng(0))
    state = {name: p.data.copy() for name, p in tuned.trainable().items()}
    gradcheck(lambda s: tuned.functional(s, ids[:, :4]), state, order=1)


@pytest.mark.parametrize("method", [PrefixTuning(3), PromptTuning(3)])
def test_token_by_token_with_a_cache_it_is_the_same(model, ids, method):
    tuned = wrap(model, method, rng=np.random.default_rng(0))
    cache = tuned.new_cache(batch=2)
    parts = [tuned(ids[:, a:b], cache=cache).data for a, b in ((0, 3), (3, 4), (4, 7))]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), tuned(ids).data, atol=1e-10)
    text = list(tuned.generate([1, 2, 3], 5, temperature=0))
    plain = [1, 2, 3]
    for _ in range(5):
        plain.append(int(tuned(np.array([plain])).data[0, -1].argmax()))
    assert text == plain[3:]


def test_padding_counts_from_the_text(model, ids):
    tuned = wrap(model, PrefixTuning(3), rng=np.random.default_rng(0))
    real = np.ones((2, 7), bool)
    real[1, 4:] = False
    padded = tuned(ids, mask=Padding(real)).data
    np.testing.assert_allclose(padded[0], tuned(ids[:1]).data[0], atol=1e-12)
    np.testing.assert_allclose(padded[1, :4], tuned(ids[1:, :4]).data[0], atol=1e-12)
    assert BehindPrefix(Causal(), 2).dense(3, 5).tolist() == Causal().dense(3, 5).tolist()


def test_bad_input_is_refused(model, ids, shapes_unchecked):
    for method in (PrefixTuning, PromptTuning):
        with pytest.raises(ValueError, match="from 1 on, got 0"):
            method(0)
        with pytest.raises(ValueError, match="begins as 2 tokens, got 3 ids"):
            method(2, [1, 2, 3])
        with pytest.raises(ValueError, match="leaves no room in a context of 17"):
            wrap(model, method(17))
        with pytest.raises(ValueError, match=r"tokens from 0 to 12, got \[13\]"):
            wrap(model, method(1, [13]))
        tuned = wrap(model, method(12), rng=np.random.default_rng(0))
        with pytest.raises(ValueError, match="leaves 5 of the model's positions"):
            tuned(ids)
    model.blocks[0].attention.mask = None
    with pytest.raises(ValueError, match="causal text"):
        wrap(model, PrefixTuning(2))
    assert isinstance(model, Transformer) and issubclass(PrefixedAttention, type(model.blocks[0].attention))


@pytest.mark.parametrize("method", [PrefixTuning(3), PromptTuning(3), LoRA(2)])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_outgrows_the_context_is_read_in_the_windows_that_the_prefix_leaves(small, family, method):
    from fp_transformer.generation import window_start

    tuned = wrap(small(family, np.float64, context_length=8), method, rng=np.random.default_rng(1))
    for parameter in tuned.trainable().values():
        parameter.data[...] = np.random.default_rng(2).normal(size=parameter.shape)
    text, room = [1, 2], 8 - tuned.prefix_length
    for _ in range(12):
        text.append(int(tuned(np.array([text[window_start(len(text), room) :]])).data[0, -1].argmax()))
    assert list(tuned.generate(np.array([1, 2]), 12, temperature=0)) == text[2:]
