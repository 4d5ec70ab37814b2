"""Mirrors src/fp_capstone/inspection.py."""

import json

import pytest
from rich.console import Console

from fp_capstone.inspection import describe, show
from fp_capstone.pretrained import open_pretrained


def test_the_numbers_are_those_of_the_loaded_model(talker):
    about, model = describe(talker), open_pretrained(talker).model
    numbers = about["numbers"]
    assert numbers["parameters"] == sum(p.data.size for p in model.parameters()) == about["parts"][-1]["parameters"]
    assert numbers["cache_bytes"] == model.new_cache().nbytes
    assert numbers["file_bytes"] == (talker / "model.safetensors").stat().st_size
    assert about["model"]["stored_as"] == {"F32": numbers["parameters"]}
    assert about["chat_template"] is True
    assert about["tokenizer"] == {"kind": "BPETokenizer", "vocabulary": model.config.vocab_size, "special_tokens": 2}
    assert json.loads(json.dumps(about)) == about


def test_a_shorter_text_takes_less(talker):
    long, short = describe(talker)["numbers"], describe(talker, 7)["numbers"]
    assert short["cache_bytes"] * 96 == long["cache_bytes"] * 7
    assert short["flops_per_token"] < long["flops_per_token"]
    for length in (0, 97):
        with pytest.raises(ValueError, match=rf"--length must lie in \[1, 96\], the model's context; got {length}"):
            describe(talker, length)


def test_what_people_see(talker, tmp_path):
    for name in ("config.json", "model.safetensors"):  # a base model without tokenizer
        (tmp_path / name).write_bytes((talker / name).read_bytes())
    for path, words in (
        (talker, ["BPETokenizer, 37 tokens, 2 of them special", "chat template yes"]),
        (tmp_path, ["tokenizer     none", "chat template no, a base model"]),
    ):
        console = Console(record=True, width=120, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
        with console.file:
            show(describe(path), console)
            text = console.export_text()
        for word in [*words, "family        llama: 2 layers, width 20, 2 heads, rotary", "2 x attention", "F32 100%"]:
            assert word in text, text
