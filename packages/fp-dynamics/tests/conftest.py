import jaxtyping
import numpy as np
import pytest
from hypothesis import settings

from fp_transformer import Transformer, TransformerConfig

# no deadline: a busy machine is no failure; derandomized: what fails once fails again
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture
def shapes_unchecked():
    """Run-time shape checks answer before our own errors do, so they are off here."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def small():
    """A function that makes small transformers."""

    def made(family="llama", seed=0, dtype=np.float64, **sizes):
        sizes = {"vocab_size": 11, "context_length": 8, "n_layers": 2, "n_heads": 2, "d_model": 12} | sizes
        config = getattr(TransformerConfig, family)(**sizes)
        return Transformer(config, rng=np.random.default_rng(seed), dtype=dtype)

    return made


@pytest.fixture
def batch():
    """Texts that count upwards from anywhere, modulo eleven, and what came next."""
    rows = (np.random.default_rng(1).integers(0, 11, (5, 1)) + np.arange(8)) % 11
    return rows[:, :-1], rows[:, 1:]
