"""Mirrors src/fp_transformer/checkpoint.py."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fp_transformer import checkpoint
from fp_transformer.checkpoint import (
    load_metadata,
    load_model,
    load_tensors,
    save_model,
    save_tensors,
    widen_bfloat16,
)
from fp_transformer.config import TransformerConfig

LLAMA = TransformerConfig.llama(
    vocab_size=13, context_length=11, n_layers=2, n_heads=2, n_kv_heads=1, d_model=12, d_ff=7
)
GPT2 = TransformerConfig.gpt2(vocab_size=17, context_length=5, n_layers=1, n_heads=3, d_model=21, tied=False)


def constant(config, value):
    """A model that cannot be mixed with another unseen: every number is `value`."""
    return {name: np.full(shape, value, dtype=np.float32) for name, shape in config.parameter_shapes().items()}


def random_model(config, seed=3):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=s).astype(np.float32) for name, s in config.parameter_shapes().items()}


def the_value(directory):
    """The one value that all parameters of a stored model have."""
    values = {float(v) for array in load_model(directory)[1].values() for v in np.unique(array)}
    assert len(values) == 1, f"a mixture of {values}"
    return values.pop()


def everything(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Tokenizer:
    def __init__(self, text):
        self.text = text

    def save(self, path):
        Path(path).write_text(self.text, encoding="utf-8")


def write_bfloat16(path, arrays):
    """A safetensors file by hand: 8 bytes of header length, a JSON header, the bytes."""
    header, data = {}, b""
    for name, array in arrays.items():
        upper = (array.view(np.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(upper)],
        }
        data += upper
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_a_model_reads_back_bit_for_bit_in_order_and_writable(config, tmp_path):
    model = random_model(config)
    save_model(tmp_path / "a/b/model", config, model)
    read_config, read = load_model(str(tmp_path / "a/b/model"))
    assert read_config == config
    assert list(read) == list(config.parameter_shapes())
    for name, array in read.items():
        assert array.dtype == np.float32 and array.flags.writeable
        np.testing.assert_array_equal(array, model[name])
    assert sorted(everything(tmp_path)) == ["a/b/model/config.json", "a/b/model/model.safetensors"]
    assert [p.name for p in (tmp_path / "a/b").iterdir()] == ["model"]  # the staging directory is gone


def test_arrays_that_are_views_of_others_are_stored_as_they_read(tmp_path):
    model = random_model(LLAMA)
    strided = {name: np.repeat(array, 2, axis=-1)[..., ::2] for name, array in model.items()}
    strided["model.layers.0.mlp.up_proj.weight"] = np.asfortranarray(model["model.layers.0.mlp.up_proj.weight"])
    save_model(tmp_path / "model", LLAMA, strided)
    for name, array in load_model(tmp_path / "model")[1].items():
        np.testing.assert_array_equal(array, model[name])


def test_the_tokenizer_and_the_metadata_are_written_along(tmp_path):
    save_model(tmp_path / "m", GPT2, constant(GPT2, 1), Tokenizer("{}"), {"step": "7"})
    assert (tmp_path / "m/tokenizer.json").read_text(encoding="utf-8") == "{}"
    assert load_metadata(tmp_path / "m/model.safetensors") == {"format": "pt", "step": "7"}


def test_saving_again_replaces_weights_and_tokenizer_and_keeps_the_rest(tmp_path):
    goal = tmp_path / "m"
    save_model(goal, LLAMA, constant(LLAMA, 1), Tokenizer("one"))
    foreign = json.loads((goal / "config.json").read_text(encoding="utf-8")) | {"eos_token_id": 2, "extra": "kept"}
    (goal / "config.json").write_text(json.dumps(foreign), encoding="utf-8")
    (goal / "notes.txt").write_text("mine", encoding="utf-8")
    save_model(goal, LLAMA, constant(LLAMA, 2), Tokenizer("two"))
    assert the_value(goal) == 2
    assert (goal / "tokenizer.json").read_text(encoding="utf-8") == "two"
    assert json.loads((goal / "config.json").read_text(encoding="utf-8")) == foreign
    assert sorted(p.name for p in goal.iterdir()) == ["config.json", "model.safetensors", "notes.txt", "tokenizer.json"]


def test_an_empty_directory_is_filled(tmp_path):
    save_model(tmp_path, LLAMA, constant(LLAMA, 3))
    assert the_value(tmp_path) == 3


@pytest.mark.parametrize("there", ["another model", "not json", "a file"])
def test_another_model_is_not_overwritten(there, tmp_path):
    goal = tmp_path / "m"
    if there == "another model":
        save_model(goal, GPT2, constant(GPT2, 1))
    elif there == "not json":
        goal.mkdir()
        (goal / "config.json").write_text("{", encoding="utf-8")
    else:
        goal.write_text("text", encoding="utf-8")
    before = everything(tmp_path)
    sentence = {
        "another model": "holds another model, and nothing was overwritten",
        "not json": "config.json is not JSON",
        "a file": "is a file; a model is saved to a directory",
    }[there]
    with pytest.raises(ValueError, match=sentence):
        save_model(goal, LLAMA, constant(LLAMA, 2))
    assert everything(tmp_path) == before


def test_what_does_not_fit_is_listed_whole_and_nothing_is_written(tmp_path):
    model = random_model(LLAMA)
    del model["model.norm.weight"], model["model.layers.1.mlp.up_proj.weight"]
    model["lm_head.weight"] = np.zeros((13, 12), dtype=np.float32)
    model["model.embed_tokens.weight"] = np.zeros((12, 13), dtype=np.float32)
    with pytest.raises(ValueError, match="must fit the configuration") as caught:
        save_model(tmp_path / "m", LLAMA, model)
    for line in (
        "missing: model.norm.weight (12,)",
        "missing: model.layers.1.mlp.up_proj.weight (7, 12)",
        "unexpected: lm_head.weight (13, 12)",
        "misshapen: model.embed_tokens.weight must be (13, 12), got (12, 13)",
    ):
        assert line in str(caught.value)
    assert list(tmp_path.iterdir()) == []

    save_model(tmp_path / "m", LLAMA, constant(LLAMA, 1))
    model["model.layers.0.mlp.up_proj.weight"] = np.zeros((7, 12), dtype=np.int64)
    save_file(model, tmp_path / "m/model.safetensors")
    with pytest.raises(ValueError, match="must fit the configuration") as caught:
        load_model(tmp_path / "m")
    assert str(caught.value).count("missing:") == 2
    assert "unexpected: lm_head.weight" in str(caught.value)
    assert "misshapen: model.embed_tokens.weight" in str(caught.value)
    assert "model.layers.0.mlp.up_proj.weight has type int64" in str(caught.value)
    assert str(tmp_path / "m/model.safetensors") in str(caught.value)


def test_integer_parameters_are_refused(tmp_path):
    model = constant(LLAMA, 1) | {"model.norm.weight": np.ones(12, dtype=np.int64)}
    with pytest.raises(ValueError, match=r"floating-point arrays, but model.norm.weight has type int64"):
        save_model(tmp_path / "m", LLAMA, model)


def test_a_tied_matrix_that_was_written_twice_is_read_once(tmp_path):
    model = random_model(LLAMA)
    save_model(tmp_path, LLAMA, model)
    twice = model | {"lm_head.weight": model["model.embed_tokens.weight"].copy()}
    save_file(twice, tmp_path / "model.safetensors")
    assert "lm_head.weight" not in load_model(tmp_path)[1]
    twice["lm_head.weight"][3, 5] += 1  # not tied after all
    save_file(twice, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"unexpected: lm_head.weight"):
        load_model(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "foreign", "a directory"])
def test_a_damaged_weights_file_is_named(damage, tmp_path):
    save_model(tmp_path, LLAMA, random_model(LLAMA))
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    path.unlink()
    if damage == "a directory":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"empty": b"", "truncated": whole[:-1], "foreign": b"PK\x03\x04" * 50}[damage])
    with pytest.raises(ValueError, match=r"model\.safetensors (does not exist|cannot be read, it is truncated or not)"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "config.json does not exist"),
        (b"{", "config.json is not JSON"),
        (b"\xff\xfe", "config.json is not JSON"),
        (b"[1]", "config.json must hold an object, got a list"),
        (b'{"model_type": "mamba"}', "config.json: model_type must be one of 'gpt2', 'llama'"),
        (b'{"model_type": "llama"}', "config.json: num_attention_heads must be an integer"),
    ],
)
def test_a_damaged_configuration_is_named(text, sentence, tmp_path):
    save_model(tmp_path, LLAMA, random_model(LLAMA))
    (tmp_path / "config.json").unlink()
    if text is not None:
        (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(ValueError, match=sentence):
        load_model(tmp_path)


def test_a_directory_that_is_absent_or_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("text", encoding="utf-8")
    for name in ("absent", "file"):
        with pytest.raises(ValueError, match=r"config\.json does not exist"):
            load_model(tmp_path / name)


@pytest.mark.claim("transformer.bf16-exact")
def test_every_bfloat16_is_widened_to_its_value():
    bits = np.arange(2**16, dtype=np.uint16)
    sign, exponent, fraction = bits >> 15, (bits >> 7) & 0xFF, (bits & 0x7F).astype(np.float64)
    # the value by the definition of the format, in float64, which holds all of them
    normal = np.ldexp(1 + fraction / 2**7, exponent.astype(np.int64) - 127)
    value = np.where(exponent == 0, np.ldexp(fraction / 2**7, -126), normal)
    value = np.where(exponent == 255, np.where(fraction == 0, np.inf, np.nan), value)
    widened = widen_bfloat16(bits)
    assert widened.dtype == np.float32
    with np.errstate(invalid="ignore"):  # the conversion quietens signalling NaNs and says so
        wide = widened.astype(np.float64)
    np.testing.assert_array_equal(wide, np.where(sign == 1, -value, value))
    np.testing.assert_array_equal(np.signbit(widened), sign == 1)  # -0.0 too


def test_half_precision_is_widened_on_load(tmp_path):
    model = random_model(LLAMA)
    save_model(tmp_path, LLAMA, model)
    save_file({name: array.astype(np.float16) for name, array in model.items()}, tmp_path / "model.safetensors")
    for name, array in load_model(tmp_path)[1].items():
        assert array.dtype == np.float32 and array.flags.writeable
        np.testing.assert_array_equal(array, model[name].astype(np.float16))
    write_bfloat16(tmp_path / "model.safetensors", model)
    for name, array in load_model(tmp_path)[1].items():
        assert array.dtype == np.float32 and array.flags.writeable
        # 2^-7: the fraction was cut to 7 bits
        np.testing.assert_allclose(array, model[name], rtol=2.0**-7)
        assert not (array.view(np.uint32) & 0xFFFF).any()


def test_named_arrays_of_any_number_type_survive(tmp_path):
    rng = np.random.default_rng(11)
    state = {
        "step": np.array(2**40 + 1),
        "m": rng.normal(size=(3, 5)).astype(np.float32),
        "v": rng.normal(size=(2, 0, 7)),
        "flags": np.array([True, False]),
        "half": rng.normal(size=3).astype(np.float16),
        "bytes": np.arange(7, dtype=np.uint8),
    }
    save_tensors(tmp_path / "state.safetensors", state)
    read = load_tensors(tmp_path / "state.safetensors")
    assert read.keys() == state.keys()
    for name, array in state.items():
        assert read[name].dtype == array.dtype and read[name].shape == array.shape
        np.testing.assert_array_equal(read[name], array)
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_number_type_that_numpy_cannot_hold_is_named(tmp_path):
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(ValueError, match="w has type F8_E4M3, which NumPy cannot hold"):
        load_tensors(tmp_path / "w.safetensors")


# What a reader can see, and what a crash can leave


class Crash(BaseException):
    """Stands for kill -9: nothing catches it, and with `rmtree` switched off nothing cleans up."""


def instrumented(monkeypatch, before_step):
    """Call `before_step()` before everything that changes what the disk or a name holds."""
    for owner, name in (
        (Path, "replace"),
        (Path, "rename"),
        (checkpoint, "flush"),
        (checkpoint, "_write_tensors"),
        (Path, "mkdir"),
    ):
        original = getattr(owner, name)

        def wrapper(*args, _original=original, **kwargs):
            before_step()
            return _original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapper)


@pytest.mark.claim("transformer.save-atomic")
@pytest.mark.parametrize("existed", [False, True])
def test_a_reader_sees_the_old_model_or_the_new_one_at_every_step(existed, tmp_path, monkeypatch):
    goal = tmp_path / "m"
    if existed:
        save_model(goal, LLAMA, constant(LLAMA, 1))
    seen = []
    instrumented(monkeypatch, lambda: seen.append(the_value(goal) if goal.exists() else None))
    save_model(goal, LLAMA, constant(LLAMA, 2))
    assert len(seen) >= 7 and seen[0] == (1 if existed else None) and the_value(goal) == 2
    assert set(seen) <= {1 if existed else None, 2}


@pytest.mark.claim("transformer.save-atomic")
@pytest.mark.parametrize("existed", [False, True])
def test_a_crash_at_any_step_leaves_a_whole_model_and_the_next_save_cleans_up(existed, tmp_path, monkeypatch):
    for step in range(100):
        goal = tmp_path / f"{step}" / "m"
        goal.parent.mkdir()
        if existed:
            save_model(goal, LLAMA, constant(LLAMA, 1))
        steps_left = [step]

        def before_step(steps_left=steps_left):
            steps_left[0] -= 1
            if steps_left[0] < 0:
                raise Crash

        try:
            with monkeypatch.context() as patch:
                patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
                instrumented(patch, before_step)
                save_model(goal, LLAMA, constant(LLAMA, 2))
            break  # no step was left to crash at
        except Crash:
            assert (the_value(goal) in (1, 2)) if existed or goal.exists() else True
        save_model(goal, LLAMA, constant(LLAMA, 3))
        assert the_value(goal) == 3
        assert [p.name for p in goal.parent.iterdir()] == ["m"]
        assert sorted(p.name for p in goal.iterdir()) == ["config.json", "model.safetensors"]
    assert step >= 7


def test_a_crash_before_the_configuration_is_there_leaves_a_directory_that_is_refused(tmp_path, monkeypatch):
    original = Path.replace

    def replace(self, target):
        if self.name == "config.json":
            raise Crash
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(Crash):
        save_model(tmp_path, LLAMA, constant(LLAMA, 1))
    with pytest.raises(ValueError, match=r"config\.json does not exist"):
        load_model(tmp_path)


@pytest.mark.parametrize("what", ["model in a new directory", "model over a model", "tensors"])
def test_a_full_disk_changes_nothing_and_leaves_nothing(what, tmp_path, monkeypatch):
    goal = tmp_path / "goal"
    if what == "model over a model":
        save_model(goal, LLAMA, constant(LLAMA, 1), Tokenizer("one"))
    elif what == "tensors":
        save_tensors(goal, {"x": np.arange(3)})
    before = everything(tmp_path)

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(checkpoint, "flush", full)
    save = {
        True: lambda: save_tensors(goal, {"x": np.arange(5)}),
        False: lambda: save_model(goal, LLAMA, constant(LLAMA, 2), Tokenizer("two")),
    }[what == "tensors"]
    with pytest.raises(OSError, match="No space left on device"):
        save()
    assert everything(tmp_path) == before
    assert len(list(tmp_path.rglob("*"))) == len(before) + ("model over" in what)  # and no directory either


LIMITED = """
import errno, resource, sys
import numpy as np
from fp_transformer.checkpoint import save_model, save_tensors
from fp_transformer.config import TransformerConfig
config = TransformerConfig.llama(vocab_size=13, context_length=11, n_layers=2, n_heads=2, n_kv_heads=1, d_model=12,
                                 d_ff=7)
model = {name: np.full(shape, 2, dtype=np.float32) for name, shape in config.parameter_shapes().items()}
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for save in (lambda: save_model(sys.argv[1], config, model), lambda: save_tensors(sys.argv[2], {"x": np.zeros(9999)})):
    try:
        save()
    except OSError as error:
        assert error.errno == errno.EFBIG, error
    else:
        raise AssertionError("the limit was not met")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_the_operating_systems_refusal_to_write_more_comes_through_with_its_number(tmp_path):
    save_model(tmp_path / "m", LLAMA, constant(LLAMA, 1))
    save_tensors(tmp_path / "x", {"x": np.zeros(3)})
    before = everything(tmp_path)
    subprocess.run([sys.executable, "-c", LIMITED, tmp_path / "m", tmp_path / "x"], check=True)
    assert everything(tmp_path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "x"]


SAVER = """
import itertools, pathlib, sys
import numpy as np
from fp_transformer.checkpoint import save_model
from fp_transformer.config import TransformerConfig
config = TransformerConfig.llama(vocab_size=499, context_length=11, n_layers=2, n_heads=2, d_model=64)
folder, fresh = pathlib.Path(sys.argv[1]), sys.argv[2] == "fresh"
for k in itertools.count():
    model = {name: np.full(shape, k, dtype=np.float32) for name, shape in config.parameter_shapes().items()}
    save_model(folder / (f"model{k}" if fresh else "model"), config, model)
    if k == 0:
        print("ready", flush=True)
"""


@pytest.mark.slow
@pytest.mark.claim("transformer.save-atomic")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot kill like this")
def test_a_process_killed_at_a_random_moment_leaves_only_models_that_load(tmp_path):
    moments = random.Random(5)
    processes = []
    for i in range(10):
        folder = tmp_path / str(i)
        folder.mkdir()
        command = [sys.executable, "-c", SAVER, folder, "fresh" if i % 2 else "over"]
        processes.append((folder, subprocess.Popen(command, stdout=subprocess.PIPE)))
    for folder, process in processes:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(moments.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        models = list(folder.glob("model*"))
        assert models
        for directory in models:
            assert the_value(directory) == int(directory.name.removeprefix("model") or the_value(directory))
        shutil.rmtree(folder)
