"""Live: PyTorch's operations and Hugging Face's models against `fp_capstone`. Run in the oracles environment."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from fp_capstone.model import Model
from fp_transformer.config import TransformerConfig

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tools.oracles import capstone_models, capstone_operations  # noqa: E402  they need torch and transformers

SIZES = {"vocab_size": 101, "context_length": 37, "n_layers": 3}


def assert_frozen(path, now):
    frozen = load_file(path)
    assert frozen.keys() == now.keys()
    for name, array in frozen.items():
        # another version may order sums otherwise; Hugging Face's Llama computes norms in float32
        np.testing.assert_allclose(array, now[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_operations_fixture_is_what_torch_says_today():
    assert_frozen(capstone_operations.FIXTURE, capstone_operations.compute())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_models_fixture_is_what_transformers_says_today(family):
    assert_frozen(
        capstone_models.FOLDER / f"{family}.safetensors", capstone_models.compute(capstone_models.CONFIGS[family])
    )


@pytest.mark.parametrize(
    "config",
    [
        TransformerConfig.llama(**SIZES, n_heads=6, n_kv_heads=2, d_model=48),
        TransformerConfig.llama(**SIZES, n_heads=6, d_model=48, tied=False),
        TransformerConfig.gpt2(**SIZES, n_heads=6, d_model=48),
    ],
    ids=["llama", "llama, untied", "gpt2"],
)
def test_a_saved_model_opens_in_transformers_with_the_same_logits_and_comes_back(config, tmp_path):
    model = Model(config, np.random.default_rng(0))
    model.save(tmp_path / "ours")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    ids = np.random.default_rng(1).integers(0, 101, (2, 37))
    with torch.no_grad():
        logits = theirs(torch.from_numpy(ids)).logits.numpy()
    np.testing.assert_allclose(model.forward(ids), logits, atol=2e-5)  # float32, in another order
    theirs.save_pretrained(tmp_path / "theirs")
    np.testing.assert_array_equal(Model.load(tmp_path / "theirs").forward(ids), model.forward(ids))
