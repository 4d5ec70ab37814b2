"""Mirrors src/fp_capstone/generation.py."""

import itertools

import numpy as np
import pytest

from fp_capstone.generation import Cache
from fp_capstone.model import Model
from fp_transformer.config import TransformerConfig

SIZES = {"vocab_size": 13, "context_length": 11, "n_layers": 2}
CONFIGS = {
    "llama": TransformerConfig.llama(**SIZES, n_heads=6, n_kv_heads=2, d_model=24),
    "gpt2": TransformerConfig.gpt2(**SIZES, n_heads=3, d_model=24),
}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def model(request):
    model = Model(request.param, np.random.default_rng(0))
    for a in model.parameters().values():
        a += 0.1 * np.random.default_rng(1).normal(size=a.shape).astype(np.float32)
    return model


@pytest.mark.claim("capstone.kv-cache-exact")
@pytest.mark.parametrize("pieces", [(11,), (1,) * 11, (3, 1, 5, 2)], ids=str)
def test_logits_with_a_cache_equal_those_without(model, pieces):
    ids = np.random.default_rng(2).integers(0, 13, (2, 11))
    expected = model.forward(ids)
    cache, got = Cache(model.config, 2, model.dtype), []
    for start, length in zip(itertools.accumulate(pieces, initial=0), pieces, strict=False):
        got.append(model.forward(ids[:, start : start + length], cache))
    assert cache.length == 11
    # 1e-5: the same float32 sums in another order
    np.testing.assert_allclose(np.concatenate(got, axis=1), expected, atol=1e-5)


def uncached(model, prompt, n):
    """Greedy continuation that runs the whole text through the model for each token."""
    ids = list(prompt)
    for _ in range(n):
        ids.append(int(model.forward(np.array([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


def test_greedy_generation_equals_the_uncached_loop(model):
    prompt = [1, 2, 3]
    assert list(model.generate(prompt, 8, np.random.default_rng(0), temperature=0)) == uncached(model, prompt, 8)


def test_when_the_context_is_full_the_latter_half_goes_on(model):
    prompt = list(range(11))
    got = list(model.generate(prompt, 3, np.random.default_rng(0), temperature=0))
    first = uncached(model, prompt, 1)
    assert got[:1] == first
    assert got[1:] == uncached(model, (prompt + first)[-5:], 2)


def test_a_prompt_longer_than_the_context_counts_by_its_end(model):
    prompt = np.random.default_rng(3).integers(0, 13, 30).tolist()
    assert list(model.generate(prompt, 1, np.random.default_rng(0), temperature=0)) == uncached(model, prompt[-11:], 1)


def test_the_same_seed_gives_the_same_text_and_another_seed_another(model):
    first, again, other = (list(model.generate([1], 30, np.random.default_rng(seed))) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_top_k_one_is_greedy(model):
    greedy = list(model.generate([4], 10, np.random.default_rng(0), temperature=0))
    assert list(model.generate([4], 10, np.random.default_rng(5), top_k=1)) == greedy


def test_draws_follow_the_models_distribution(model):
    logits = model.forward(np.array([[5]]))[0, -1].astype(np.float64)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    rng, n = np.random.default_rng(6), 1000
    counts = np.bincount([next(model.generate([5], 1, rng)) for _ in range(n)], minlength=13)
    # Pearson's statistic has 12 degrees of freedom: above 45 less than once in 10^5 seeds, and the seed is fixed
    assert ((counts - n * p) ** 2 / (n * p)).sum() < 45


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(
    ("prompt", "settings", "sentence"),
    [
        ([], {}, "the prompt must hold at least one token"),
        ([13], {}, r"token ids of the prompt must lie in \[0, 13\), got 13"),
        ([1], {"max_new_tokens": -1}, "max_new_tokens must not be negative"),
        ([1], {"temperature": -1}, "temperature"),
        ([1], {"top_k": 0}, "k"),
        ([1], {"top_p": 0.0}, "p"),
    ],
)
def test_bad_settings_are_refused_before_the_first_token(model, prompt, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        model.generate(prompt, **{"max_new_tokens": 1, "rng": np.random.default_rng(0)} | settings)


@pytest.mark.usefixtures("own_errors")
def test_a_prompt_of_other_things_than_token_ids_is_refused(model):
    for prompt in ([1.7], [[1, 2]], ["a"]):
        with pytest.raises(TypeError, match="the prompt must be a sequence of token ids"):
            model.generate(prompt, 1, np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"rng must be a numpy\.random\.Generator"):
        model.generate([1], 1, None)
