import jaxtyping
import numpy as np
import pytest
from hypothesis import settings

# no deadline: a busy machine is no failure; derandomized: what fails once fails again
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture
def shapes_unchecked():
    """Run-time shape checks answer before our own errors do, so they are off here."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(params=["llama", "gpt2"])
def model(request):
    """A small model of each family, in float64, in use."""
    return made(request.param)


def made(family, dtype=np.float64, seed=0, **sizes):
    """With weights large enough that every term matters."""
    from fp_transformer.config import TransformerConfig
    from fp_transformer.model import Transformer

    sizes = {"vocab_size": 13, "context_length": 17, "n_layers": 2, "n_heads": 3, "d_model": 12} | sizes
    rng = np.random.default_rng(seed)
    model = Transformer(getattr(TransformerConfig, family)(**sizes), rng=rng, dtype=dtype).eval()
    for p in model.parameters():
        p.data[...] += 0.2 * rng.normal(size=p.shape)
    return model


@pytest.fixture
def ids():
    return np.random.default_rng(3).integers(0, 13, (2, 7))


@pytest.fixture(scope="session")
def small():
    return made
