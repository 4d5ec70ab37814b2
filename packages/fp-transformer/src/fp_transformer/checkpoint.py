r"""
Checkpoints: a model on disk that is whole or absent, and never executes anything when opened.

Training for hours and losing the result to a full disk, a killed process or a power cut at the wrong moment is the
dearest bug of all. This section writes a model as a directory that other programs open too, and proves what a reader
can find there at any moment.

You need: the configuration (`fp_transformer.config`), floating-point numbers (stage 2).

## What is written

| file | contents |
| --- | --- |
| `config.json` | the sizes, under Hugging Face's names |
| `model.safetensors` | the arrays in float32: a JSON header with names, shapes and offsets, then raw bytes |
| `tokenizer.json` | how text becomes token ids, if a tokenizer was given |

A safetensors file is data only. A pickle, which older checkpoints are, is a program that runs when it is opened.

## Whole or absent

A file that is being written is, for a while, half a file. So nothing is ever written under its final name: all files
are written into a *staging* directory, each is flushed to the disk (`fsync`), and only then they get their names. What
the operating system promises (POSIX), and all that is used below:

- **(S1)** `rename` is atomic: at every moment, and after a crash, the target name refers to what it referred to before
  or to what was renamed. An opened file stays what it was when it was opened, whatever happens to its name.
- **(S2)** After `fsync` of a file or a directory has returned, its contents survive a crash.

**Claim** `transformer.save-atomic`. Let one process call `save_model` on a directory that is absent, or that holds a
complete model of the same configuration. At every moment, and also after the process was killed or the machine has
stopped, `load_model` finds what was there before (a model, or no directory) or the new model: never a mixture and
never a part.

**Proof.** Before the first `rename`, none of the files that `load_model` reads has been touched: the state is the old
one. When it begins, all new files are complete, and by (S2) they stay complete through a crash.

*The directory is absent.* There is a single `rename`, of the whole staging directory. By (S1) the name refers to
nothing before it, and to a directory with all files after it: two states.

*The directory holds a model of the same configuration.* `config.json` says the same already and is left as it is.
`load_model` reads two files: `config.json`, which does not change, and `model.safetensors`, which changes by one
`rename`. By (S1) it opens the old file or the new one, and what it has opened stays what it was. Two states again; the
renaming of `tokenizer.json` changes neither of the two files. $\blacksquare$

Two limits of the claim. The tokenizer's file is replaced by a `rename` of its own, so a crash between the two can
leave the new one beside the old weights; training does not change the tokenizer. And one process at a time may save to
a directory. If the directory exists without a `config.json`, that file is put there last: until then `load_model`
refuses the directory.

A directory whose `config.json` says something else is refused before anything is written: saving over another model is
nearly always a mistake. If the disk fills up, the staging directory is removed and the error passes on.

## Half precision

Published weights often have 16 bits. **bfloat16** is the upper half of a float32: a sign, 8 bits of exponent, 7 bits of
fraction. NumPy does not have it, but it needs no arithmetic:

**Claim** `transformer.bf16-exact`. Appending 16 zero bits to a bfloat16 gives the float32 of exactly the same value.

**Proof.** Let the fields be the sign $s$, the exponent $e$ and the fraction $f$, an integer of 7 bits. For
$1 \le e \le 254$ the bfloat16 is $(-1)^s\, 2^{e - 127} (1 + f / 2^7)$. The longer word has the same $s$ and $e$, and
its fraction of 23 bits is $2^{16} f$. Both formats have the bias 127, so it denotes

$$
(-1)^s\, 2^{e - 127} \Big( 1 + \frac{2^{16} f}{2^{23}} \Big) = (-1)^s\, 2^{e - 127} \Big( 1 + \frac{f}{2^7} \Big).
$$

For $e = 0$ both denote $(-1)^s\, 2^{-126}\, f / 2^7$, by the same cancellation. For $e = 255$ both are infinite if
$f = 0$, and not a number otherwise. $\blacksquare$

So loading loses nothing. float16 has fewer exponent bits (5) and more of fraction (10); every one of its values is a
float32 too, and NumPy's conversion finds it.

## In practice

Large models are split over several files with an index, kept in 16 bits or fewer, and mapped into memory instead of
read; that and the GGUF files of llama.cpp are not read here. Trainers of large models also write checkpoints from a
background thread, and keep the last few. `save_tensors` and `load_tensors` carry any named arrays, for
instance an optimizer's state.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt16
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import save_file

from fp_transformer.config import TransformerConfig

__all__ = ["save_model", "load_model", "save_tensors", "load_tensors", "load_metadata", "flush", "widen_bfloat16"]

_NUMPY = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BOOL": np.bool_,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
}  # fmt: skip


@runtime_checkable
class _Tokenizer(Protocol):
    def save(self, path: Path, /) -> object: ...


def save_model(
    directory: str | Path,
    config: TransformerConfig,
    parameters: Mapping[str, np.ndarray],
    tokenizer: _Tokenizer | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """
    Write a model directory, so that it is whole or absent at every moment (`transformer.save-atomic`).

    Parameters
    ----------
    directory
        Made if absent, together with its parents. A model of the same configuration there is replaced; its
        `config.json` is kept as it is.
    config
        Fixes the names and shapes.
    parameters
        Name to array, exactly those of `config.parameter_shapes()`. Stored as float32.
    tokenizer
        Anything with a method `save(path)`, called with a path that ends in `tokenizer.json`.
    metadata
        Strings for the header of `model.safetensors`.

    Raises
    ------
    ValueError
        If names or shapes do not fit the configuration (all of them are listed), or the directory holds another
        model, or is not a directory. Nothing has been written then.
    OSError
        If the disk is full or cannot be written. What was there is unchanged.
    """
    directory = Path(directory)
    _check_parameters(config, {name: array.shape for name, array in parameters.items()}, "the parameters")
    wrong = [f"{name} ({array.dtype})" for name, array in parameters.items() if array.dtype.kind != "f"]
    if wrong:
        raise ValueError(f"parameters must be floating-point arrays, got {', '.join(wrong)}")
    existed = directory.exists()
    keep_config = existed and _check_same_model(directory, config)

    staging = directory / ".saving" if existed else directory.with_name(f".{directory.name}.saving")
    directory.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    staging.mkdir()
    try:
        arrays = {name: np.asarray(parameters[name], dtype=np.float32) for name in config.parameter_shapes()}
        _write_tensors(staging / "model.safetensors", arrays, metadata)
        if tokenizer is not None:
            tokenizer.save(staging / "tokenizer.json")
        if not keep_config:
            (staging / "config.json").write_text(json.dumps(config.to_huggingface(), indent=2) + "\n", encoding="utf-8")
        for file in staging.iterdir():
            flush(file)
        flush(staging)
        if existed:
            for name in ("tokenizer.json", "model.safetensors", "config.json"):  # the last one makes it loadable
                if (staging / name).exists():
                    (staging / name).replace(directory / name)
            flush(directory)
        else:
            staging.rename(directory)
            flush(directory.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def load_model(directory: str | Path) -> tuple[TransformerConfig, dict[str, Float32[np.ndarray, "..."]]]:
    """
    Read a model directory written here or by Hugging Face transformers.

    Parameters
    ----------
    directory
        With `config.json` and `model.safetensors`.

    Returns
    -------
    config : TransformerConfig
        The sizes.
    parameters : dict
        Name to writable float32 array, in the order of `config.parameter_shapes()`; 16-bit values are widened
        (`transformer.bf16-exact`).

    Raises
    ------
    ValueError
        If a file is missing, truncated or foreign, or if the weights do not fit the configuration: all that are
        missing, unexpected, misshapen or of another type than float32, float16 and bfloat16 are listed.
    """
    directory = Path(directory)
    config = _read_config(directory / "config.json")
    path = directory / "model.safetensors"
    tensors = load_tensors(path)
    if config.tied and "lm_head.weight" in tensors:  # some programs write the tied matrix twice
        embedding = next(iter(config.parameter_shapes()))
        if embedding in tensors and np.array_equal(tensors["lm_head.weight"], tensors[embedding]):
            del tensors["lm_head.weight"]
    wide = {np.dtype(np.float32), np.dtype(np.float16)}  # bfloat16 has become float32 already
    problems = [f"{name} has type {array.dtype}" for name, array in tensors.items() if array.dtype not in wide]
    _check_parameters(config, {name: array.shape for name, array in tensors.items()}, str(path), problems)
    return config, {name: tensors[name].astype(np.float32, copy=False) for name in config.parameter_shapes()}


def save_tensors(
    path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """
    Write named arrays to one safetensors file, which is replaced by a single `rename`.

    Parameters
    ----------
    path
        The file; its directory must exist.
    tensors
        Name to array of any number type.
    metadata
        Strings for the header.

    Raises
    ------
    OSError
        If the disk is full or cannot be written. A file of that name is unchanged, and nothing is left behind.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_tensors(f"{folder}/state.safetensors", {"step": np.array(7)}, {"seed": "3"})
    ...     load_tensors(f"{folder}/state.safetensors"), load_metadata(f"{folder}/state.safetensors")
    ({'step': array(7)}, {'format': 'pt', 'seed': '3'})
    """
    path = Path(path)
    staging = path.with_name(f".{path.name}.saving")
    try:
        _write_tensors(staging, tensors, metadata)
        flush(staging)
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)
    flush(path.parent)


def load_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """
    Read the arrays of one safetensors file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dict
        Name to writable array of the stored type, except that bfloat16 becomes float32 (`transformer.bf16-exact`).

    Raises
    ------
    ValueError
        If the file is missing, truncated, or something else than safetensors.
    """
    with _opened(path) as file:
        names = list(file.keys())
        if all(file.get_slice(name).get_dtype() in _NUMPY for name in names):
            return {name: file.get_tensor(name) for name in names}
    with _readable(path):
        records = deserialize(Path(path).read_bytes())
    tensors = {}
    for name, record in records:
        if record["dtype"] == "BF16":
            flat = widen_bfloat16(np.frombuffer(record["data"], dtype="<u2"))
        elif record["dtype"] in _NUMPY:
            flat = np.frombuffer(record["data"], dtype=_NUMPY[record["dtype"]])
        else:
            raise ValueError(f"{path}: {name} has type {record['dtype']}, which NumPy cannot hold")
        tensors[name] = flat.reshape(record["shape"])
    return tensors


def load_metadata(path: str | Path) -> dict[str, str]:
    """The strings in the header of a safetensors file; refuses what `load_tensors` refuses."""
    with _opened(path) as file:
        return dict(sorted((file.metadata() or {}).items()))  # the library gives them in any order


def widen_bfloat16(bits: UInt16[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """
    The float32 of the same value (`transformer.bf16-exact`).

    Parameters
    ----------
    bits
        The 16 bits of each bfloat16, as an unsigned integer.

    Examples
    --------
    >>> widen_bfloat16(np.array([0x3F80, 0xC049], dtype=np.uint16)).tolist()
    [1.0, -3.140625]
    """
    return (bits.astype(np.uint32) << 16).view(np.float32)


def flush(path: Path) -> None:
    """
    Wait until a file's contents, or a directory's names, are on the disk (S2).

    Parameters
    ----------
    path
        A file or a directory.

    Raises
    ------
    OSError
        If the disk is full or cannot be written.
    """
    if os.name == "nt" and path.is_dir():  # Windows cannot open directories
        return
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None) -> None:
    try:
        save_file(
            {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in tensors.items()},
            path,
            {"format": "pt", **(metadata or {})},
        )
    except SafetensorError as error:  # the arrays are sound, so it is the disk; say so as the system does
        number = re.search(r"(?:os error|code:) (\d+)", str(error))
        if number:
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        raise OSError(f"could not write {path}: {error}") from error


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Say which file it is, and what may be wrong with it, when it cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; a model directory holds config.json and model.safetensors") from None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read, it is truncated or not a safetensors file: {error}") from error


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    with _readable(path), safe_open(str(path), framework="numpy") as file:
        yield file


def _read_config(path: Path) -> TransformerConfig:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{path} does not exist; a model directory holds config.json and model.safetensors") from None
    except ValueError as error:  # also text that is not UTF-8
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} must hold an object, got a {type(data).__name__}")
    try:
        return TransformerConfig.from_huggingface(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_same_model(directory: Path, config: TransformerConfig) -> bool:
    """Whether the directory has a configuration, which must be this one."""
    if not directory.is_dir():
        raise ValueError(f"{directory} is a file; a model is saved to a directory")
    if not (directory / "config.json").exists():
        return False
    there = _read_config(directory / "config.json")
    if there != config:
        raise ValueError(
            f"{directory} holds another model, and nothing was overwritten: {there}, not {config}. "
            "Save to a new directory, or remove that one first"
        )
    return True


def _check_parameters(
    config: TransformerConfig, shapes: Mapping[str, tuple[int, ...]], where: str, problems: list[str] | None = None
) -> None:
    """Refuse what does not fit the configuration, and list all of it."""
    expected = config.parameter_shapes()
    found = [f"missing: {name} {expected[name]}" for name in expected if name not in shapes]
    found += [f"unexpected: {name} {shapes[name]}" for name in shapes if name not in expected]
    found += [
        f"misshapen: {name} must be {expected[name]}, got {shapes[name]}"
        for name in expected
        if name in shapes and tuple(shapes[name]) != expected[name]
    ]
    found += problems or []
    if found:
        raise ValueError(f"{where} must fit the configuration ({config.family}), but\n  " + "\n  ".join(found))
