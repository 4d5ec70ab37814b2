"""Mirrors src/fp_markov/_files.py. Devices are stood in for by a named pipe and a folder."""

import os
import re

import pytest

from fp_markov._files import check_replaceable, replacing

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders, and links need rights")


def write(path, content=b"new"):
    with replacing(path) as file:
        file.write(content)


def test_a_file_takes_the_place_of_the_earlier_one_with_the_usual_rights(tmp_path):
    target = tmp_path / "model"
    target.write_bytes(b"old")
    usual = target.stat().st_mode
    write(target)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode == usual
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "kind", ["folder", pytest.param("pipe", marks=posix), pytest.param("link to a pipe", marks=posix)]
)
def test_what_is_no_regular_file_is_refused_before_work_and_left_alone(tmp_path, kind):
    target = tmp_path / "target"
    if kind == "folder":
        target.mkdir()
    else:
        os.mkfifo(tmp_path / "pipe")
        target = tmp_path / "pipe"
        if kind == "link to a pipe":
            target = tmp_path / "target"
            target.symlink_to(tmp_path / "pipe")
    before = {path: path.lstat().st_mode for path in tmp_path.iterdir()}
    began = []
    with (
        pytest.raises(ValueError, match=f"{re.escape(str(target))} is a folder, a device or the like"),
        replacing(target),
    ):
        began.append(True)
    assert not began
    assert {path: path.lstat().st_mode for path in tmp_path.iterdir()} == before


@posix
def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "model", tmp_path / "link"
    link.symlink_to(target)
    for content in (b"first", b"second"):  # a link to nothing, and one to a file
        write(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert len(list(tmp_path.rglob("*"))) == 3


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.chmod", "pathlib.Path.replace"])
def test_a_failure_leaves_no_temporary_file_and_names_the_users_path(tmp_path, monkeypatch, step):
    target = tmp_path / "model"
    target.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device", "a temporary name")

    monkeypatch.setattr(step, fail)
    with pytest.raises(OSError, match="No space left") as caught:
        write(target)
    assert caught.value.filename == str(target)
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_bytes() == b"old"


def test_a_folder_that_takes_no_file_is_named_as_the_user_named_it(tmp_path, monkeypatch):
    def fail(**_):
        raise PermissionError(13, "Permission denied", "a temporary name")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", fail)
    with pytest.raises(PermissionError) as caught:
        write(tmp_path / "model")
    assert caught.value.filename == str(tmp_path / "model")


def test_a_missing_folder_is_found_before_work(tmp_path):
    with pytest.raises(FileNotFoundError, match="its folder does not exist") as caught:
        check_replaceable(tmp_path / "nowhere" / "model")
    assert caught.value.filename == str(tmp_path / "nowhere" / "model")
