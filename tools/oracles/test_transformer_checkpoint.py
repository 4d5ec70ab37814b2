"""Live: models of transformers, and of llama.cpp's format, against ours. Run in the oracles environment."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from tools.oracles import transformer_gguf, transformer_logits  # noqa: E402
from tools.oracles.transformer_config import huggingface_model  # noqa: E402

from fp_autograd.tensor import no_grad  # noqa: E402
from fp_transformer.checkpoint import INDEX, load, save  # noqa: E402
from fp_transformer.config import TransformerConfig  # noqa: E402
from fp_transformer.gguf_file import read_gguf  # noqa: E402
from fp_transformer.model import Transformer  # noqa: E402

CONFIGS = transformer_logits.CONFIGS
configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
SMOLLM2 = Path(os.environ.get("FP_SMOLLM2_GGUF", ""))


def same_scores(theirs, ours, atol=2e-5):
    """Of random texts: float32, in another order of sums."""
    ids = np.random.default_rng(5).integers(0, ours.config.vocab_size, (3, ours.config.context_length))
    with torch.no_grad(), no_grad():
        np.testing.assert_allclose(
            theirs.eval()(torch.from_numpy(ids)).logits.float().numpy(), ours(ids).data, atol=atol
        )


def test_the_fixtures_are_what_the_libraries_say_today():
    frozen = json.loads(transformer_logits.FIXTURE.read_text(encoding="utf-8"))
    assert frozen.keys() == CONFIGS.keys()
    for i, (title, config) in enumerate(CONFIGS.items()):
        again = transformer_logits.frozen(config, 100 + i)
        np.testing.assert_allclose(
            again.pop("logits"), frozen[title].pop("logits"), atol=1e-5
        )  # another machine's sums
        assert again == frozen[title]
    pytest.importorskip("gguf")
    frozen = json.loads(transformer_gguf.FIXTURE.read_text(encoding="utf-8"))
    for i, kind in enumerate(transformer_gguf.KINDS):
        blocks = transformer_gguf.random_blocks(kind, 1, 256 if kind.endswith("_K") else 64, i)
        assert blocks.tobytes().hex() == frozen[kind]["blocks"]
        np.testing.assert_array_equal(transformer_gguf.meant(blocks, kind).ravel(), frozen[kind]["numbers"])


@configs
@pytest.mark.parametrize("shard_bytes", [None, 3000])
def test_a_model_saved_by_us_opens_in_transformers_with_the_same_scores(config, shard_bytes, tmp_path):
    ours = Transformer(config, rng=np.random.default_rng(3)).eval()
    save(ours, tmp_path / "m", shard_bytes=shard_bytes)
    assert (tmp_path / "m" / INDEX).exists() == (shard_bytes is not None)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    same_scores(theirs, ours)
    theirs.save_pretrained(tmp_path / "back")
    same_scores(theirs, load(tmp_path / "back"))


@configs
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("max_shard_size", ["5GB", "2KB"])
def test_a_model_saved_by_transformers_opens_here_with_the_same_scores(config, dtype, max_shard_size, tmp_path):
    theirs = huggingface_model(config).to(getattr(torch, dtype))
    theirs.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    assert (tmp_path / INDEX).exists() == (max_shard_size == "2KB")
    same_scores(theirs.float(), load(tmp_path))


@configs
def test_a_model_without_its_output_layer_opens_here_as_the_hubs_gpt2_does(config, tmp_path):
    if not config.tied:
        pytest.skip("its output layer would be lost")
    theirs = huggingface_model(config)
    theirs.base_model.save_pretrained(tmp_path)
    same_scores(theirs, load(tmp_path))


@configs
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
def test_a_gguf_file_by_the_library_reads_as_the_library_says(config, kind, tmp_path):
    gguf = pytest.importorskip("gguf")
    wide = TransformerConfig(**{**config.__dict__, "d_model": 32 * config.n_heads, "d_ff": 64})  # whole blocks
    arrays = transformer_logits.drawn(wide, 7)
    transformer_gguf.write(tmp_path / "m.gguf", wide, arrays, kind)
    read_config, read = read_gguf(tmp_path / "m.gguf")
    assert read_config == wide
    stored = gguf.GGMLQuantizationType[kind]
    for name, array in arrays.items():
        expected = array
        if array.ndim == 2:
            turned = ".c_" in name
            x = np.ascontiguousarray(array.T if turned else array)  # rows of heads may be permuted: blocks are in rows
            expected = gguf.quants.dequantize(gguf.quants.quantize(x, stored), stored)
            expected = expected.T if turned else expected
        np.testing.assert_array_equal(read[name], expected)


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_a_gguf_file_opens_in_transformers_with_the_same_weights(kind, tmp_path):
    pytest.importorskip("accelerate", reason="transformers needs it to read GGUF")
    config = TransformerConfig.llama(
        vocab_size=64, context_length=16, n_layers=2, n_heads=4, n_kv_heads=2, d_model=64, d_ff=96
    )
    transformer_gguf.write(tmp_path / "m.gguf", config, transformer_logits.drawn(config, 7), kind)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32)
    ours = read_gguf(tmp_path / "m.gguf")[1]
    for name, parameter in theirs.named_parameters():
        np.testing.assert_array_equal(parameter.detach().numpy(), ours[name])
    same_scores(theirs, load(tmp_path / "m.gguf"))


@pytest.mark.skipif(not SMOLLM2.is_file(), reason="needs FP_SMOLLM2_GGUF, the path of SmolLM2-135M-Instruct.Q4_1.gguf")
def test_smollm2_has_the_weights_and_scores_that_transformers_reads_from_it():
    pytest.importorskip("accelerate", reason="transformers needs it to read GGUF")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(SMOLLM2.parent, gguf_file=SMOLLM2.name)
    parameters = dict(theirs.named_parameters())
    ours = read_gguf(SMOLLM2)[1]
    assert parameters.keys() == ours.keys()
    for name, parameter in parameters.items():
        np.testing.assert_array_equal(parameter.detach().numpy(), ours[name])
    ids = np.random.default_rng(5).integers(0, 49152, (1, 32))
    with torch.no_grad(), no_grad():
        expected, scores = theirs.eval()(torch.from_numpy(ids)).logits.numpy(), load(SMOLLM2)(ids).data
    # thirty blocks in float32, scores of about twenty
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    np.testing.assert_array_equal(scores.argmax(-1), expected.argmax(-1))
