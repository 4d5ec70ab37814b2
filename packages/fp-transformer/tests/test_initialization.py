"""First numbers: their sizes, the first loss, and that nothing grows."""

import math

import numpy as np
import pytest

from fp_transformer.config import TransformerConfig
from fp_transformer.initialization import initial_arrays
from fp_transformer.model import Transformer

CONFIGS = [
    TransformerConfig.gpt2(vocab_size=200, context_length=64, n_layers=3, n_heads=4, d_model=64),
    TransformerConfig.llama(vocab_size=200, context_length=64, n_layers=3, n_heads=4, d_model=96, tied=False),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["gpt2", "llama"])
def test_every_array_has_the_deviation_of_the_table(config):
    L = config.n_layers
    for name, array in initial_arrays(config, np.random.default_rng(0)).items():
        if array.ndim == 1:
            assert (array == (0 if name.endswith("bias") else 1)).all()
            continue
        expected = 0.02
        if "embed_tokens" in name:
            expected = 0.5
        elif config.is_llama and "lm_head" not in name:
            expected = 1 / math.sqrt(array.shape[1])
        if name.endswith(("o_proj.weight", "down_proj.weight", "c_proj.weight")):
            expected /= math.sqrt(2 * L)
        # five standard errors of a deviation estimated from n numbers
        assert abs(array.std() / expected - 1) < 5 / math.sqrt(2 * array.size)
        assert array.dtype == np.float32 and abs(array.mean()) < 5 * expected / math.sqrt(array.size)


@pytest.mark.parametrize("config", CONFIGS, ids=["gpt2", "llama"])
def test_a_new_model_shrugs_and_its_stream_does_not_grow(config):
    rng = np.random.default_rng(0)
    model, ids = Transformer(config, rng=rng), rng.integers(0, 200, (4, 33))
    assert abs(model.loss(ids[:, :-1], ids[:, 1:]).item() - math.log(200)) < 0.1
    sizes = [float(np.sqrt((x.data**2).mean())) for x in model.stream(ids[:, :-1])]
    assert sizes[-1] < 3 * sizes[0] + 1
