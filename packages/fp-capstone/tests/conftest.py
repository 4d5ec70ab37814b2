"""Shared by the tests of this package."""

import json
from collections.abc import Callable
from pathlib import Path

import jaxtyping
import numpy as np
import pytest


@pytest.fixture
def numeric() -> Callable[..., np.ndarray]:
    """
    Central differences of a scalar function, entry by entry.

    In float64 with h = 1e-6 the truncation error is h^2 |f'''| / 6, about 1e-13 for the smooth functions here, and
    the rounding error eps |f| / h, about 2e-10 |f|: comparisons to 1e-7 have a margin of a hundred and still
    catch any wrong term.
    """

    def gradient(f: Callable[[], float], x: np.ndarray, h: float = 1e-6) -> np.ndarray:
        jaxtyping.config.update("jaxtyping_disable", True)  # enforcing shapes would take most of the time
        g = np.empty(x.shape)
        for i in np.ndindex(x.shape):
            kept = x[i]
            x[i] = kept + h
            up = f()
            x[i] = kept - h
            down = f()
            x[i] = kept
            g[i] = (up - down) / (2 * h)
        jaxtyping.config.update("jaxtyping_disable", False)
        return g

    return gradient


@pytest.fixture
def own_errors():
    """Shape enforcement answers before our own checks do; tests of their sentences switch it off."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def talker(tmp_path_factory) -> Path:
    """A model directory as others publish them, with random weights and a chat template."""
    from fp_tokenize import BPETokenizer
    from fp_tokenize.bpe import byte_alphabet
    from fp_transformer.checkpoint import save
    from fp_transformer.config import TransformerConfig
    from fp_transformer.model import Transformer

    letters = [byte_alphabet()[byte] for byte in b"\n !?.abcdefghijklmnopqrstuvwxyz<>|_"]
    tokenizer = BPETokenizer(
        {letter: i for i, letter in enumerate(letters)}, [], special_tokens=["<|im_start|>", "<|im_end|>"]
    )
    config = TransformerConfig.llama(
        vocab_size=tokenizer.vocab_size, context_length=96, n_layers=2, n_heads=2, d_model=20, d_ff=29
    )
    directory = tmp_path_factory.mktemp("talker") / "model"
    save(Transformer(config, rng=np.random.default_rng(3)), directory, tokenizer)
    about = {"chat_template": CHATML, "eos_token": {"content": "<|im_end|>"}, "bos_token": None}
    (directory / "tokenizer_config.json").write_text(json.dumps(about))
    return directory
