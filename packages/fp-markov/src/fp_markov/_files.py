"""Texts from files, and files that are complete or not there."""

import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path | str) -> Iterator[IO[bytes]]:
    """
    A new file that takes the place of `path` once it is whole and on the disk; nothing changes if writing fails.

    Where `path` is a link, what it leads to is replaced and the link stays.
    """
    check_replaceable(path)
    target = _target(path)
    try:
        file = tempfile.NamedTemporaryFile(dir=target.parent, prefix=target.name, delete=False)  # noqa: SIM115
        temporary = Path(file.name)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)  # temporary files are private, others are not
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:  # which names the temporary file, or none
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def check_replaceable(path: Path | str) -> None:
    """Raise an error if `path` names what a file cannot or must not take the place of, or lies in no folder."""
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError(f"{path} is a folder, a device or the like, which no file may replace: give a file's name")
    if not _target(path).parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", str(path))


def _target(path: Path | str) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve fails on a loop of links, up to Python 3.12


def read_text(name: str) -> str:
    """The text of a file, of all .txt files of a folder in order of name, or of standard input."""
    if name == "-":
        return _decode(sys.stdin.buffer.read(), "standard input")
    path = Path(name)
    if not path.is_dir():
        return _decode(path.read_bytes(), name)
    return "\n".join(_decode(file.read_bytes(), str(file)) for file in text_files(path))


def text_files(folder: Path) -> list[Path]:
    """The .txt files of a folder and of those within it, in order of name."""
    files = sorted(file for file in folder.rglob("*.txt") if file.is_file())
    if not files:
        raise ValueError(f"the folder {folder} holds no .txt file")
    return files


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode().removeprefix("\ufeff")  # which some editors put first, and which is no text
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is no text in UTF-8: byte {error.start} does not fit") from None
