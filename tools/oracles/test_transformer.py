"""Live: Hugging Face transformers against `fp_transformer`. Run in the oracles environment."""

import json

import numpy as np
import pytest

transformers = pytest.importorskip("transformers")

from tools.oracles import transformer_config as oracle  # noqa: E402

from fp_transformer.checkpoint import load_model, save_model  # noqa: E402
from fp_transformer.config import TransformerConfig  # noqa: E402

torch = pytest.importorskip("torch")
configs = pytest.mark.parametrize("config", oracle.CONFIGS.values(), ids=oracle.CONFIGS.keys())


def test_the_fixture_is_what_transformers_says_today():
    frozen = json.loads(oracle.FIXTURE.read_text(encoding="utf-8"))
    assert {title: record["shapes"] for title, record in frozen.items()} == {
        title: oracle.huggingface_shapes(config) for title, config in oracle.CONFIGS.items()
    }


@configs
def test_a_configuration_written_by_transformers_reads_back_as_ours(config, tmp_path):
    oracle.huggingface_config(config).save_pretrained(tmp_path)
    data = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert TransformerConfig.from_huggingface(data) == config


@configs
def test_a_directory_saved_by_us_opens_in_transformers_with_the_same_weights(config, tmp_path):
    rng = np.random.default_rng(7)
    ours = {name: rng.normal(size=s).astype(np.float32) for name, s in config.parameter_shapes().items()}
    save_model(tmp_path / "model", config, ours)
    model, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    theirs = dict(model.named_parameters())
    assert theirs.keys() == ours.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(theirs[name].detach().numpy(), array)
    assert getattr(model.config, "rope_theta", None) in (None, config.rope_base)
    if config.is_llama and hasattr(model.config, "rope_parameters"):
        assert model.config.rope_parameters["rope_theta"] == config.rope_base


@configs
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_directory_saved_by_transformers_opens_here_with_the_same_weights(config, dtype, tmp_path):
    model = oracle.huggingface_model(config).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path)
    loaded, ours = load_model(tmp_path)
    assert loaded == config
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(ours[name], parameter.detach().float().numpy())
