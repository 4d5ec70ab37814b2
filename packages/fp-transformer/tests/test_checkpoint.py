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
import tracemalloc
from itertools import chain, combinations, pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from fp_transformer import checkpoint
from fp_transformer.checkpoint import (
    INDEX,
    from_arrays,
    load,
    load_metadata,
    load_model,
    load_tensors,
    open_model,
    open_tensors,
    save,
    save_model,
    save_tensors,
    to_arrays,
    widen_bfloat16,
)
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer

FIXTURE = Path(__file__).parent / "fixtures/huggingface_logits.json"

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
        (Path, "unlink"),
    ):
        original = getattr(owner, name)

        def wrapper(*args, _original=original, **kwargs):
            before_step()
            return _original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapper)


WAYS = [(old, new) for old in ("absent", "one file", "shards") for new in ("one file", "shards")]
SHARDS = {"one file": None, "shards": 3500}  # two of them


@pytest.fixture
def quick(monkeypatch):
    """What reaches the disk makes no difference to readers, and waiting for it hundreds of times takes long."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def saved(goal, way, value):
    if way != "absent":
        save_model(goal, LLAMA, constant(LLAMA, value), shard_bytes=SHARDS[way])


@pytest.mark.claim("transformer.save-atomic")
@pytest.mark.parametrize(("old", "new"), WAYS)
def test_a_reader_sees_the_old_model_or_the_new_one_at_every_step(old, new, tmp_path, monkeypatch, quick):
    goal = tmp_path / "m"
    saved(goal, old, 1)
    seen = []
    instrumented(monkeypatch, lambda: seen.append(the_value(goal) if goal.exists() else None))
    saved(goal, new, 2)
    before = None if old == "absent" else 1
    assert len(seen) >= 7 and seen[0] == before and the_value(goal) == 2
    assert set(seen) <= {before, 2}
    switched = seen.index(2) if 2 in seen else len(seen)
    assert set(seen[:switched]) == {before} and set(seen[switched:]) <= {2}  # once, and never back


@pytest.mark.claim("transformer.save-atomic")
@pytest.mark.parametrize(("old", "new"), WAYS)
def test_a_crash_at_any_step_leaves_a_whole_model_and_the_next_save_cleans_up(old, new, tmp_path, monkeypatch, quick):
    for step in range(200):
        goal = tmp_path / f"{step}" / "m"
        goal.parent.mkdir()
        saved(goal, old, 1)
        steps_left = [step]

        def before_step(steps_left=steps_left):
            steps_left[0] -= 1
            if steps_left[0] < 0:
                raise Crash

        try:
            with monkeypatch.context() as patch:
                patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
                instrumented(patch, before_step)
                saved(goal, new, 2)
            break  # no step was left to crash at
        except Crash:
            assert (the_value(goal) in (1, 2)) if old != "absent" or goal.exists() else True
        last = ("one file", "shards")[step % 2]
        saved(goal, last, 3)
        assert the_value(goal) == 3
        assert [p.name for p in goal.parent.iterdir()] == ["m"]
        files = sorted(p.name for p in goal.iterdir())
        if last == "one file":
            assert files == ["config.json", "model.safetensors"]
        else:
            named = json.loads((goal / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
            assert files == sorted({"config.json", INDEX, *named})
    assert step >= 7


REPLACED = [(old, new) for old, new in WAYS if old != "absent"]


def changes(goal, new, monkeypatch):
    """The names in a directory that a save changes: name and bytes, or None, in groups between which it is flushed."""
    groups = [[]]
    replace, unlink, flush = Path.replace, Path.unlink, checkpoint.flush

    def replacing(self, target):
        if Path(target).parent == goal:
            groups[-1].append((Path(target).name, self.read_bytes()))
        return replace(self, target)

    def unlinking(self, missing_ok=False):
        if self.parent == goal and self.exists():
            groups[-1].append((self.name, None))
        unlink(self, missing_ok=missing_ok)

    def flushing(path):
        if path == goal:
            groups.append([])
        flush(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replacing)
        patch.setattr(Path, "unlink", unlinking)
        patch.setattr(checkpoint, "flush", flushing)
        saved(goal, new, 2)
    return [group for group in groups if group]


def change(goal, changed):
    for name, data in changed:
        if data is None:
            (goal / name).unlink()
        else:
            (goal / name).write_bytes(data)


def directory(path, files):
    path.mkdir()
    change(path, files.items())
    return path


@pytest.mark.claim("transformer.save-atomic")
@pytest.mark.parametrize(("old", "new"), REPLACED)
def test_a_crash_that_loses_any_names_since_the_last_flush_leaves_a_whole_model(old, new, tmp_path, monkeypatch, quick):
    goal = tmp_path / "m"
    saved(goal, old, 1)
    done, found, n = everything(goal), [], 0
    for group in changes(goal, new, monkeypatch):
        for kept in product((False, True), repeat=len(group)):
            disk = directory(tmp_path / f"{(n := n + 1)}", done)
            change(disk, [c for c, keep in zip(group, kept, strict=True) if keep])
            found.append(the_value(disk))
        done = {name: data for name, data in (done | dict(group)).items() if data is not None}
    assert done == everything(goal) and set(found) == {1, 2} and found == sorted(found)


@pytest.mark.claim("transformer.save-atomic")
@pytest.mark.parametrize(("old", "new"), REPLACED)
def test_a_save_between_any_two_looks_of_a_reader_gives_it_one_of_the_models(old, new, tmp_path, monkeypatch, quick):
    """Exhaustive: the reader begins after `first` changes, and at its look `look` the save is `last` changes on."""
    goal = tmp_path / "m"
    saved(goal, old, 1)
    before, steps = everything(goal), list(chain.from_iterable(changes(goal, new, monkeypatch)))
    looks = [0]

    def looking(original, act):
        def wrapper(*args):
            act()
            looks[0] += 1
            return original(*args)

        return wrapper

    n = 0
    for look in range(10):
        most = 0
        for first, last in combinations(range(len(steps) + 1), 2):
            disk = directory(tmp_path / f"{(n := n + 1)}", before)
            change(disk, steps[:first])
            looks[0] = 0

            def act(disk=disk, look=look, first=first, last=last):
                if looks[0] == look:
                    change(disk, steps[first:last])

            with monkeypatch.context() as patch:
                for name in ("open_file", "read_object"):
                    patch.setattr(checkpoint, name, looking(getattr(checkpoint, name), act))
                assert the_value(disk) in (1, 2)
            most = max(most, looks[0])
        if most <= look:
            break
    assert look >= 2


def test_a_directory_that_loses_its_shards_for_good_is_refused(tmp_path):
    saved(tmp_path / "m", "shards", 1)
    gone = sorted((tmp_path / "m").glob("model-*"))[0]
    gone.unlink()
    with pytest.raises(ValueError, match=rf"index\.json names {gone.name}, which does not exist"):
        load_model(tmp_path / "m")
    (tmp_path / "m" / INDEX).unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors does not exist, and no model\.safetensors\.index\.json"):
        load_model(tmp_path / "m")


@pytest.mark.claim("transformer.save-atomic")
def test_a_reader_that_is_overtaken_between_its_first_two_looks_looks_again(tmp_path, monkeypatch):
    saved(tmp_path / "m", "shards", 1)
    original, left = checkpoint.read_object, [1]

    def overtaken(path):  # there was no model.safetensors, and the index has not been opened yet
        if path.name == INDEX and left:
            left.pop()
            saved(tmp_path / "m", "one file", 2)
            assert not path.exists()
        return original(path)

    monkeypatch.setattr(checkpoint, "read_object", overtaken)
    assert the_value(tmp_path / "m") == 2 and not left


@pytest.mark.claim("transformer.save-atomic")
@pytest.mark.parametrize("saves", [[2], [2, 1], [2, 3], ["one file"], ["one file", 2]])
def test_a_reader_that_is_overtaken_by_saves_finds_one_of_the_models(saves, tmp_path, monkeypatch):
    saved(tmp_path / "m", "shards", 1)
    original, left = checkpoint._open_shards, list(saves)

    def overtaken(directory, index):  # the index has been read, and no shard been opened yet
        while left:
            value = left.pop(0)
            saved(tmp_path / "m", *(("one file", 9) if value == "one file" else ("shards", value)))
        return original(directory, index)

    monkeypatch.setattr(checkpoint, "_open_shards", overtaken)
    assert the_value(tmp_path / "m") == {"one file": 9}.get(saves[-1], saves[-1])


def test_a_reader_that_is_overtaken_again_and_again_looks_on(tmp_path, monkeypatch):
    saved(tmp_path / "m", "shards", 1)
    original, left = checkpoint._open_shards, [2, 3, 4]

    def overtaken(directory, index):
        if left:
            saved(tmp_path / "m", "shards", left.pop(0))
        return original(directory, index)

    monkeypatch.setattr(checkpoint, "_open_shards", overtaken)
    assert the_value(tmp_path / "m") == 4


def test_what_was_opened_stays_what_it_was(tmp_path):
    saved(tmp_path / "m", "shards", 1)
    _, arrays = open_model(tmp_path / "m")
    saved(tmp_path / "m", "one file", 2)
    assert {float(v) for array in arrays.values() for v in np.unique(array)} == {1}


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
    shard_bytes = 99_999 if k % 2 else None
    save_model(folder / (f"model{k}" if fresh else "model"), config, model, shard_bytes=shard_bytes)
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


# --- shards


def test_shards_read_back_bit_for_bit_and_are_what_the_index_says(tmp_path):
    model = random_model(LLAMA)
    save_model(tmp_path, LLAMA, model, Tokenizer("{}"), {"step": "7"}, shard_bytes=900)
    index = json.loads((tmp_path / INDEX).read_text(encoding="utf-8"))
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in model.values())
    assert list(index["weight_map"]) == list(LLAMA.parameter_shapes())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 2 and sorted(everything(tmp_path)) == sorted([*files, INDEX, "config.json", "tokenizer.json"])
    for file in files:
        assert load_tensors(tmp_path / file).keys() == {n for n, f in index["weight_map"].items() if f == file}
        assert load_metadata(tmp_path / file)["step"] == "7"
    config, read = load_model(tmp_path)
    assert config == LLAMA and list(read) == list(model)
    for name, array in read.items():
        np.testing.assert_array_equal(array, model[name])
    save_model(tmp_path / "whole", LLAMA, model, shard_bytes=10**6)
    assert sorted(everything(tmp_path / "whole")) == ["config.json", "model.safetensors"]


@pytest.mark.claim("transformer.shard-count")
@given(vocab_size=st.integers(1, 40), d_ff=st.integers(1, 60), n_layers=st.integers(1, 4), limit=st.integers(1, 9000))
@settings(max_examples=25)
def test_shards_are_filled_in_order_and_not_too_many(vocab_size, d_ff, n_layers, limit):
    config = TransformerConfig.llama(
        vocab_size=vocab_size, context_length=3, n_layers=n_layers, n_heads=3, d_model=6, d_ff=d_ff
    )
    size = {name: 4 * int(np.prod(shape)) for name, shape in config.parameter_shapes().items()}
    shards = checkpoint._shards(config, limit)
    assert [name for shard in shards for name in shard] == list(size)
    total = [sum(size[name] for name in shard) for shard in shards]
    assert all(t <= limit or len(shard) == 1 for t, shard in zip(total, shards, strict=True))
    assert all(a + size[following[0]] > limit for a, (_, following) in zip(total, pairwise(shards), strict=False))
    assert len(shards) < 2 * sum(total) / limit + 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda index, where: where.update({"model.norm.weight": "../elsewhere.safetensors"}), "without a path"),
        (lambda index, where: where.update({"model.norm.weight": "/etc/x.safetensors"}), "without a path"),
        (lambda index, where: where.update({"model.norm.weight": "a\\b.safetensors"}), "without a path"),
        (lambda index, where: where.update({"model.norm.weight": "pytorch_model.bin"}), "must name safetensors files"),
        (lambda index, where: where.update({"model.norm.weight": 3}), "must have a weight_map"),
        (lambda index, where: where.clear(), "must have a weight_map"),
        (lambda index, where: index.update(weight_map=[]), "must have a weight_map"),
        (
            lambda index, where: where.update({"model.norm.weight": "lost.safetensors"}),
            "lost.safetensors, which does not",
        ),
        (lambda index, where: where.update({"extra": where["model.norm.weight"]}), "extra is not in model-"),
        (lambda index, where: where.pop("model.norm.weight"), "model.norm.weight is in .* unannounced"),
        (
            lambda index, where: where.update({"model.norm.weight": where["model.embed_tokens.weight"]}),
            r"model.norm.weight is not in .*\n.*model.norm.weight is in .* unannounced",
        ),
    ],
)
def test_an_index_that_is_wrong_or_leads_elsewhere_is_refused(change, sentence, tmp_path):
    saved(tmp_path / "m", "shards", 1)
    save_file({"model.norm.weight": np.zeros(12, dtype=np.float32)}, tmp_path / "elsewhere.safetensors")
    index = json.loads((tmp_path / "m" / INDEX).read_text(encoding="utf-8"))
    change(index, index["weight_map"])
    (tmp_path / "m" / INDEX).write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        load_model(tmp_path / "m")


def test_a_damaged_index_or_shard_is_named(tmp_path):
    saved(tmp_path, "shards", 1)
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"{shard.name} cannot be read, it is truncated"):
        load_model(tmp_path)
    (tmp_path / INDEX).write_text("[", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{INDEX} is not JSON"):
        load_model(tmp_path)


def test_the_single_file_counts_if_both_are_there_as_in_transformers(tmp_path):
    saved(tmp_path / "m", "shards", 1)
    saved(tmp_path / "n", "one file", 2)
    shutil.copy(tmp_path / "n/model.safetensors", tmp_path / "m")
    assert the_value(tmp_path / "m") == 2


@pytest.mark.parametrize("size", [0, -5])
def test_shards_of_nothing_are_refused(size, tmp_path):
    with pytest.raises(ValueError, match=f"shard_bytes must be at least 1, got {size}"):
        save_model(tmp_path / "m", LLAMA, constant(LLAMA, 1), shard_bytes=size)
    assert not (tmp_path / "m").exists()


# --- what files of others look like


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_constants_are_ignored_by_name_and_a_missing_prefix_is_added(config, tmp_path):
    model = random_model(config)
    base = "model." if config.is_llama else "transformer."
    if config.is_llama:
        constants = {"layers.0.self_attn.rotary_emb.inv_freq": np.ones(3), "rotary_emb.inv_freq": np.ones(3)}
    else:
        constants = {"h.0.attn.bias": np.ones((1, 1, 5, 5), dtype=bool), "h.0.attn.masked_bias": np.array(-1e4)}
    save_model(tmp_path, config, model)
    for prefix in (base, ""):
        stored = {name.replace(base, prefix, 1): array for name, array in model.items()}
        stored |= {prefix + name: np.float32(array) if config.is_llama else array for name, array in constants.items()}
        save_file(stored, tmp_path / "model.safetensors")
        _, read = load_model(tmp_path)
        assert read.keys() == model.keys()
        for name, array in read.items():
            np.testing.assert_array_equal(array, model[name])
    save_file(stored | {"h.0.attn.c_attn.biases": np.ones(2, dtype=np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=rf"unexpected: {base}h.0.attn.c_attn.biases \(2,\)\Z"):
        load_model(tmp_path)


def test_a_tied_matrix_in_bfloat16_that_was_written_twice_is_read_once(tmp_path):
    model = random_model(LLAMA)
    save_model(tmp_path, LLAMA, model)
    twice = model | {"lm_head.weight": model["model.embed_tokens.weight"]}
    write_bfloat16(tmp_path / "model.safetensors", twice)
    assert load_model(tmp_path)[1].keys() == model.keys()


class Bomb:
    def __reduce__(self):
        return (Path.write_text, (Path("exploded"), "x"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickles_are_refused_unopened(name, tmp_path, monkeypatch):
    import pickle

    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "m", LLAMA, constant(LLAMA, 1))
    (tmp_path / "m/model.safetensors").unlink()
    (tmp_path / "m" / name).write_bytes(pickle.dumps(Bomb()))
    for path in (tmp_path / "m", tmp_path / "m" / name):
        with pytest.raises(ValueError, match=rf"{name} holds pickled weights. A pickle is a program"):
            load(path)
    (tmp_path / "m" / name).rename(tmp_path / "m/model.safetensors")
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        load(tmp_path / "m")
    assert not Path("exploded").exists()


def test_a_configuration_that_claims_a_million_blocks_is_refused_at_once(tmp_path):
    save_model(tmp_path, LLAMA, constant(LLAMA, 1))
    claimed = LLAMA.to_huggingface() | {"num_hidden_layers": 10**15}
    (tmp_path / "config.json").write_text(json.dumps(claimed), encoding="utf-8")
    with pytest.raises(ValueError, match="has 20 arrays, and the configuration claims 1000000000000000 blocks"):
        load(tmp_path)


# --- files that nobody vouches for


def record(shape=(1,), begin=0, end=4, dtype="F32", **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


HOSTILE = {
    "header longer than the file": (b"{}", 8, 3),
    "header of 2^63 bytes": (b"{}", 8, 1 << 63),
    "no object": (b"[]", 0, None),
    "no JSON": (b"{", 0, None),
    "no text": (b"\xff", 0, None),
    "nested deep": (b"[" * 200_000, 0, None),
    "a name twice": (b'{"w": {}, "w": {}}', 0, None),
    "a record that is a list": ({"w": [1]}, 4, None),
    "a record without offsets": ({"w": {"dtype": "F32", "shape": [1]}}, 4, None),
    "three offsets": ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 4]}}, 4, None),
    "a type that is a number": ({"w": record(dtype=3)}, 4, None),
    "a shape that is a number": ({"w": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}}, 4, None),
    "a negative size": ({"w": record((-1,))}, 4, None),
    "a size that is true": ({"w": record((True,))}, 4, None),
    "a size that is a fraction": ({"w": record((1.0,))}, 4, None),
    "forty axes": ({"w": record((1,) * 40)}, 4, None),
    "a size beyond all bounds": ({"w": record((1 << 70,))}, 4, None),
    "sizes whose product overflows": ({"w": record((1 << 61, 8))}, 4, None),
    "a terabyte": ({"w": record((1 << 38,), 0, 1 << 40)}, 4, None),
    "offsets that do not fit the shape": ({"w": record((2,))}, 4, None),
    "offsets the other way round": ({"w": record((1,), 4, 0)}, 4, None),
    "an overlap": ({"v": record(), "w": record()}, 4, None),
    "a gap": ({"v": record(), "w": record((1,), 8, 12)}, 12, None),
    "bytes that belong to nobody": ({"w": record()}, 8, None),
    "metadata that is a list": ({"__metadata__": []}, 0, None),
    "metadata with numbers": ({"__metadata__": {"step": 3}}, 0, None),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_one_clear_error_here_and_refused_by_the_library_too(case, tmp_path):
    header, size, claimed = HOSTILE[case]
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if claimed is None else claimed
    path = tmp_path / "w.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + text + bytes(size))
    for read in (load_tensors, open_tensors, load_metadata):
        with pytest.raises(
            ValueError, match=r"w.safetensors cannot be read, it is truncated or not a safetensors"
        ) as e:
            read(path)
    assert len(str(e.value)) < 700
    if case not in ("a name twice", "forty axes"):  # the library takes the last of two, and any number of axes
        from safetensors import SafetensorError, safe_open

        with pytest.raises((SafetensorError, OverflowError)), safe_open(path, framework="numpy"):
            pass


@given(st.data())
@settings(max_examples=25)
def test_a_file_cut_or_changed_anywhere_is_read_whole_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("w") / "w.safetensors"
    save_tensors(path, {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "b": np.ones(5, dtype=np.float32)})
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:at])
        with pytest.raises(ValueError, match="truncated or not"):
            load_tensors(path)
    else:
        whole[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(whole)
        try:
            found = load_tensors(path)
        except ValueError:
            return
        assert sum(array.nbytes for array in found.values()) == 32


def test_our_reader_and_the_librarys_agree_on_sound_files(tmp_path):
    from safetensors.numpy import load_file

    rng = np.random.default_rng(5)
    kinds = (np.float64, np.float32, np.float16, np.bool_, np.int64, np.int8, np.uint64, np.uint32, np.uint16, np.uint8)
    state = {
        f"{k.__name__} {s}": np.asarray(9 * rng.normal(size=s)).astype(k)
        for k in kinds
        for s in ((), (3,), (2, 0), (2, 3))
    }
    save_file(state, tmp_path / "x.safetensors", {"a": "b"})
    theirs, ours = load_file(tmp_path / "x.safetensors"), open_tensors(tmp_path / "x.safetensors")
    assert ours.keys() == theirs.keys() and len(ours) == len(theirs)
    for name, array in theirs.items():
        assert ours[name].dtype == array.dtype and ours.shapes[name] == array.shape and not ours[name].flags.writeable
        np.testing.assert_array_equal(ours[name], array)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows needs a privilege for links and has no such pipes")
def test_links_are_followed_to_regular_files_only(tmp_path):
    model = random_model(LLAMA)
    save_model(tmp_path / "blobs", LLAMA, model)
    (tmp_path / "m").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "m" / name).symlink_to(f"../blobs/{name}")
    assert load_model(tmp_path / "m")[0] == LLAMA  # so are the caches of Hugging Face
    before = everything(tmp_path / "blobs")
    save_model(tmp_path / "m", LLAMA, constant(LLAMA, 4))  # replaces the link, and not what it leads to
    assert the_value(tmp_path / "m") == 4 and everything(tmp_path / "blobs") == before

    weights = tmp_path / "m/model.safetensors"
    irregular = "it is no regular file"
    for make, why in (
        (lambda: weights.symlink_to("model.safetensors"), ""),  # to itself
        (lambda: weights.symlink_to("/dev/zero"), irregular),
        (lambda: weights.symlink_to(tmp_path), irregular),
        (lambda: os.mkfifo(weights), irregular),
    ):
        weights.unlink()
        make()
        with pytest.raises(ValueError, match=rf"model\.safetensors cannot be read, it is truncated or not .*{why}"):
            load_model(tmp_path / "m")
    weights.unlink()
    weights.symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"model\.safetensors does not exist"):
        load_model(tmp_path / "m")


# --- memory


def test_opening_takes_no_memory_and_loading_takes_the_model_once(tmp_path):
    config = TransformerConfig.llama(vocab_size=997, context_length=11, n_layers=2, n_heads=2, d_model=128)
    save_model(tmp_path, config, random_model(config))
    save_file(
        {name: array.astype(np.float16) for name, array in load_model(tmp_path)[1].items()},
        tmp_path / "model.safetensors",
    )
    load(tmp_path)  # what is imported is imported
    tracemalloc.start()
    try:
        _, arrays = open_model(tmp_path)
        assert sum(array.nbytes for array in arrays.values()) == 2 * config.n_parameters
        opened = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        model = load(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # the header, the names, and what reading JSON takes; the numbers stay where they are
    assert opened < 4 * config.n_parameters / 5
    # a parameter is copied once when it is made, so beside the model there may be one more of its arrays
    largest = 4 * max(int(np.prod(shape)) for shape in config.parameter_shapes().values())
    assert peak < 4 * config.n_parameters + largest + 300_000
    assert model.n_parameters == config.n_parameters


# --- from arrays to a model

FAMILIES = {
    "llama": LLAMA,
    "llama untied": TransformerConfig.llama(
        vocab_size=13, context_length=11, n_layers=1, n_heads=3, d_model=12, d_ff=5, tied=False
    ),
    "gpt2": TransformerConfig.gpt2(vocab_size=17, context_length=5, n_layers=2, n_heads=3, d_model=21, d_ff=10),
    "gpt2 untied": GPT2,
}
families = pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES.keys())


@families
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_goes_to_arrays_and_to_files_and_comes_back(config, dtype, tmp_path):
    arrays = random_model(config)
    model = Transformer(config, dtype=dtype)
    from_arrays(model, arrays)
    again = to_arrays(model)
    assert list(again) == list(arrays)
    for name, array in arrays.items():
        assert again[name].dtype == dtype and again[name].flags.c_contiguous
        np.testing.assert_array_equal(again[name], array)
        again[name][...] = 0  # a copy, which is not the model's
    for shard_bytes in (None, 700):
        save(model, tmp_path / f"{shard_bytes}", Tokenizer("{}"), metadata={"a": "b"}, shard_bytes=shard_bytes)
        assert (tmp_path / f"{shard_bytes}/tokenizer.json").exists()
        loaded = load(tmp_path / f"{shard_bytes}", dtype=dtype)
        assert loaded.config == config and not loaded.training and loaded.dtype == dtype
        for name, parameter in model.named_parameters().items():
            np.testing.assert_array_equal(loaded.named_parameters()[name].data, parameter.data)
            assert loaded.named_parameters()[name].requires_grad


@pytest.mark.claim("transformer.fused-qkv")
def test_three_layers_are_the_fused_one_forward_and_backward():
    config = FAMILIES["gpt2"]
    model, rng = Transformer(config), np.random.default_rng(7)
    # whole numbers, so that no sum is rounded
    arrays = {name: rng.integers(-9, 10, shape).astype(np.float32) for name, shape in config.parameter_shapes().items()}
    from_arrays(model, arrays)
    x, g = rng.integers(-9, 10, (11, 21)).astype(np.float32), rng.integers(-9, 10, (11, 63)).astype(np.float32)
    A, b = arrays["transformer.h.1.attn.c_attn.weight"], arrays["transformer.h.1.attn.c_attn.bias"]
    layers = [getattr(model.blocks[1].attention, f"{name}_proj") for name in "qkv"]
    outputs = [layer(x) for layer in layers]
    np.testing.assert_array_equal(np.concatenate([y.data for y in outputs], axis=1), x @ A + b)
    for y, part in zip(outputs, np.split(g, 3, axis=1), strict=True):
        y.backward(part)
    np.testing.assert_array_equal(np.concatenate([layer.weight.grad.T for layer in layers], axis=1), x.T @ g)
    np.testing.assert_array_equal(np.concatenate([layer.bias.grad for layer in layers]), g.sum(axis=0))


def test_every_array_has_a_place_of_its_own_in_the_model():
    for config in FAMILIES.values():
        model = Transformer(config)
        for name, shape in config.parameter_shapes().items():
            arrays = {n: np.zeros(s, dtype=np.float32) for n, s in config.parameter_shapes().items()}
            arrays[name] = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float32).reshape(shape)
            from_arrays(model, arrays)
            found = np.concatenate([p.data.ravel() for p in model.parameters()])
            assert sorted(found[found != 0]) == list(range(1, 1 + int(np.prod(shape))))


def test_arrays_that_do_not_fit_a_model_are_listed_and_change_nothing():
    model = Transformer(GPT2, rng=np.random.default_rng(0))
    before = to_arrays(model)
    arrays = random_model(GPT2)
    del arrays["transformer.wpe.weight"]
    arrays["extra"] = np.zeros(2)
    arrays["lm_head.weight"] = arrays["lm_head.weight"].T
    arrays["transformer.ln_f.bias"] = np.zeros(21, dtype=np.int32)
    with pytest.raises(ValueError, match="the arrays must fit the configuration") as caught:
        from_arrays(model, arrays)
    for line in (
        "missing: transformer.wpe.weight (5, 21)",
        "unexpected: extra (2,)",
        "misshapen: lm_head.weight must be (17, 21), got (21, 17)",
        "transformer.ln_f.bias has type int32",
    ):
        assert line in str(caught.value)
    for name, array in to_arrays(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_a_model_with_other_parameters_than_its_family_is_refused(tmp_path):
    from fp_neural.module import Parameter

    model = Transformer(LLAMA)
    model.adapter = Parameter(np.zeros(3))
    del model.blocks[1].norm2.weight
    for call in (lambda: to_arrays(model), lambda: from_arrays(model, {}), lambda: save(model, tmp_path / "m")):
        with pytest.raises(ValueError, match=r"lacks \['blocks.1.norm2.weight'\] and has besides \['adapter'\]"):
            call()
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("title", json.loads(FIXTURE.read_text(encoding="utf-8")))
def test_a_loaded_directory_computes_what_transformers_computes(title, tmp_path):
    frozen = json.loads(FIXTURE.read_text(encoding="utf-8"))[title]
    config = TransformerConfig.from_huggingface(frozen["config"])
    rng = np.random.default_rng(frozen["seed"])
    arrays = {n: rng.normal(0, 0.3, s).astype(np.float32) for n, s in config.parameter_shapes().items()}
    save_file(arrays, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(frozen["config"]), encoding="utf-8")
    model, ids = load(tmp_path), np.array(frozen["ids"])
    assert np.abs(np.array(frozen["logits"])).max() > 0.5
    # float32 in another order of sums, logits of a few units
    np.testing.assert_allclose(model(ids).data, frozen["logits"], atol=2e-5)
