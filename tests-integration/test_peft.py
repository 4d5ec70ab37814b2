"""Stage 9 with the capstone: a run is tuned, merged, and writes; SmolLM2's adapter, if the model is there."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fp_capstone.cli import app as capstone
from fp_peft.bases import open_base
from fp_peft.cli import app as peft


def run(app, *arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_run_of_the_capstone_is_tuned_merged_and_writes(tmp_path):
    text = tmp_path / "first.txt"
    text.write_text("the cat sat on the mat. " * 400)
    run(capstone, "train", "--text", text, "--n-steps", 30, "--d-model", 16, "--n-layers", 1, "--n-heads", 2,
        "--context-length", 32, "--batch-size", 4, "--run-dir", tmp_path / "run")  # fmt: skip
    other = tmp_path / "second.txt"
    other.write_text("a mat has no cat at the sea. " * 300)
    told = run(peft, "finetune", tmp_path / "run", "--data", other, "--out", tmp_path / "out", "--steps", 40,
               "--rank", 4, "--lr", 0.02, "--merge", "--quiet", "--also", text)  # fmt: skip
    report = json.loads((tmp_path / "out" / "finetune.json").read_text())
    assert report["held_out_loss"]["after"] < report["held_out_loss"]["before"] - 0.1
    assert "fp-capstone generate" in told
    model = tmp_path / "out" / "model"
    written = run(capstone, "generate", model, "--max-new-tokens", 20, "--greedy", "--prompt", "a mat")
    base = open_base(model)
    ids = base.tokenizer.encode("a mat")
    expected = list(base.model.generate(ids, 20, temperature=0))
    assert written.startswith("a mat" + base.tokenizer.decode(expected))


SMOLLM2 = Path(os.environ.get("FP_CAPSTONE_CACHE", "/nowhere")) / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.slow
@pytest.mark.skipif(not SMOLLM2.is_file(), reason="SmolLM2 is not in the cache: fp-capstone fetch smollm2")
def test_a_wrapped_smollm2_is_the_model_and_shares_its_memory():
    from fp_peft import LoRA, wrap
    from fp_peft.data import conversation_example, default_system

    base = open_base("smollm2")
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    system = default_system(base.template)
    example = conversation_example(messages, base.tokenizer, system)
    from fp_capstone.pretrained import open_pretrained

    theirs = open_pretrained(base.path)
    assert theirs.chat_template is not None
    whole = theirs.chat_template.encode(messages, base.tokenizer, generation_prompt=False)
    assert example.ids.tolist() == whole
    tuned = wrap(base.model, LoRA(4, 8), rng=np.random.default_rng(0))
    ids = example.ids[None, :12]
    np.testing.assert_array_equal(tuned(ids).data, base.model(ids).data)
    assert np.shares_memory(tuned.embedding.weight.data, base.model.embedding.weight.data)
