r"""
Checkpoints: a model on disk that is whole or absent, and never executes anything when opened.

Training for hours and losing the result to a full disk, a killed process or a power cut at the wrong moment is the
dearest bug of all. This section writes a model as a directory that other programs open too, and proves what a reader
can find there at any moment. It reads the directories that others wrote, large ones included, and believes nothing that
they claim before it has been checked.

You need: the configuration (`fp_transformer.config`), the model (`fp_transformer.model`), floating-point numbers
(stage 2).

## What is written

| file | contents |
| --- | --- |
| `config.json` | the sizes, under Hugging Face's names |
| `model.safetensors` | the arrays in float32: a JSON header with names, shapes and offsets, then raw bytes |
| `tokenizer.json` | how text becomes token ids, if a tokenizer was given |

A safetensors file is data only. A pickle, which older checkpoints are (`pytorch_model.bin`, `.pt`), is a program that
runs when it is opened; none is opened here.

Large models come in several such files, **shards**, with an index that says which array is in which:

| file | contents |
| --- | --- |
| `model.safetensors.index.json` | `weight_map`: the name of each array, and the name of its file |
| `model-….safetensors` | the arrays of one shard |

If both are there, `model.safetensors` is what counts, here and in transformers.

**Claim** `transformer.shard-count`. Fill shards in order, beginning a new one when the next array would take the
present one above $S$ bytes. A shard is larger than $S$ only if it is a single array, and for $M$ bytes in all there are
fewer than $2 M / S + 1$ shards.

**Proof.** An array joins a shard that is not empty only if both together have at most $S$ bytes, so a shard of two or
more arrays has at most $S$. Let there be $n$ shards. The first array of shard $i + 1$ did not fit into shard $i$, so
shards $i$ and $i + 1$ together exceed $S$. The pairs $(1, 2), (3, 4), \dots$ are $\lfloor n / 2 \rfloor$ in number and
share no shard, so $\lfloor n / 2 \rfloor\, S < M$; if $n = 1$ this says $0 < M$. Then
$n \le 2 \lfloor n / 2 \rfloor + 1 < 2 M / S + 1$. $\blacksquare$

## Whole or absent

A file that is being written is, for a while, half a file. So nothing is ever written under its final name: all files
are written into a *staging* directory, each is flushed to the disk (`fsync`), and only then they get their names. What
the operating system promises (POSIX), and all that is used below:

- **(S1)** `rename` and `unlink` are atomic. At every moment, and also after a crash, a name that `rename` gives away
  refers to what it referred to before, or to what was renamed; and a name that `unlink` takes away, to what it referred
  to before, or to nothing. An opened file stays what it was when it was opened, whatever happens to its name.
- **(S2)** After `fsync` of a file or a directory has returned, its contents survive a crash; those of a directory are
  its names. Of the names that have changed since, a crash may keep any and lose any.

Shards need one more idea, as there are many of them and only one name changes at a time. The name of a shard contains
the first 64 bits of the SHA-256 hash of its bytes:

- **(S3)** Two shards of one name hold the same bytes.

That is true as long as nobody meets two different shards whose hashes begin alike, which would take billions of saves
or malice.

**Claim** `transformer.save-atomic`. Let one process call `save_model`, with or without shards, on a directory that is
absent, or that holds a complete model of the same configuration, written by `save_model`. At every moment, and also
after the process was killed or the machine has stopped, `load_model` finds what was there before (a model, or no
directory) or the new model: never a mixture and never a part.

**Proof.** Before the first `rename`, none of the files that `load_model` reads has been touched: the state is the old
one. When it begins, all new files are complete and flushed, and by (S2) they stay complete through a crash.

*The directory is absent.* There is a single `rename`, of the whole staging directory. By (S1) the name refers to
nothing before it, and to a directory with all files after it: two states.

*The directory holds a model of the same configuration.* `config.json` says the same already and is left as it is, so
only the weights matter, and `load_model` finds them in this order: it opens `model.safetensors`; if there is none, it
reads the index and opens the shards that it names, all before reading any. If there is no index, or one of the shards
is missing, it begins again, and gives up only if it finds the very same a second time: no `model.safetensors`, and no
index again, or the same index and a shard of it missing. By (S1) what it has opened stays what it was.

The steps below are in the order in which they are taken, and between two of them the directory is flushed. So by (S2) a
crash during one step finds all earlier ones done, and of the names that this step changes any part. It is to show
that the reader finds one of the two models among any such names.

*(a) The new model is one file.* First it gets the name `model.safetensors`, by one `rename`. Before it, the reader
finds the old model, in one file or in shards. After it, it finds the new one, whatever else there is. Then, if the old
model had shards, their index and they are removed. A reader that saw no `model.safetensors` before the `rename`, and
now misses the index or a shard, begins again, and finds `model.safetensors`.

*(b) The new model has shards, and so has the old one.* First the new shards get their names. A name that is new is in
no index yet; a name that was there keeps its bytes, by (S3). So the old index names the old model, until in the second
step, by one `rename`, the new index takes its place, which names the new one; all its shards are there by then. Third,
shards that the new index does not name are removed: a reader that still holds the old index has opened all of them, or
begins again and finds the new index.

*(c) The new model has shards, and the old one is one file.* First the new shards get their names, then the new index,
and `model.safetensors` still counts. In the third step, by one `unlink`, it is gone, and the index counts; it and its
shards are there by then. (Last, shards of no index are removed.)

In each case one atomic step divides the moments at which the old model is found from those at which the new one is.
The renaming of `tokenizer.json` changes none of these files. $\blacksquare$

Four limits of the claim. The tokenizer's file is replaced by a `rename` of its own, so a crash between the two can
leave the new one beside the old weights; training does not change the tokenizer. One process at a time may save to
a directory. A reader that is overtaken by several saves, one after another, may find the same twice and give up with an
error, but never returns a mixture. And a crash can leave files that no index names, or an index beside a
`model.safetensors`: the next save removes them. If the directory exists without a `config.json`, that file is put there
last: until then `load_model` refuses the directory.

A directory whose `config.json` says something else is refused before anything is written: saving over another model is
nearly always a mistake. If the disk fills up, the staging directory is removed and the error passes on.

## Opened without being read

A file of weights can be **mapped**: the operating system makes its bytes look like memory and reads a page of it when
someone looks at it. `open_tensors` gives such arrays. They cost no memory of their own, so a model that is loaded from
them, array by array into its parameters, is never in memory twice; and who wants one array of a large file reads that
one.

Everything that a header says is checked against the file before it is used: the header's length, that each array has
a known type, that its offsets fit its shape, that arrays follow one another without gaps and overlaps and end where the
file ends. So a small file cannot claim a large array. Shards have plain names in the directory itself; a name that
leads out of it is refused. Symbolic links are followed, since the caches of Hugging Face consist of them, but what is
not a regular file is refused unread.

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

## From arrays to a model

The model's parameters have names of their own, the paths to them, such as `blocks.0.attention.q_proj.weight`. For Llama
each is one array of the file. GPT-2 stores its matrices (in, out), so they are transposed, and computes queries, keys
and values by one matrix:

**Claim** `transformer.fused-qkv`. Let $A = (A_1 \mid A_2 \mid A_3)$ be `c_attn.weight`, cut into three matrices of
$C \times C$, and $b = (b_1 \mid b_2 \mid b_3)$ its bias. Linear layers with weights $A_1^\top, A_2^\top, A_3^\top$ and
biases $b_1, b_2, b_3$ compute, side by side, $x A + 1 b^\top$, and their cotangents, cut and put together in the same
way, are those of $A$ and $b$.

**Proof.** Let $X$ have the inputs as rows. Column $j$ of $X A$ is $X$ times column $j$ of $A$, and columns
$(i - 1)\, C + 1$ to $i\, C$ are those of $A_i$: $X A = (X A_1 \mid X A_2 \mid X A_3)$. As $A_i = (A_i^\top)^\top$,
the linear layer with the weights $A_i^\top$ computes $X A_i + 1 b_i^\top$. Let $G = (G_1 \mid G_2 \mid G_3)$ be the
cotangent. That of $A$ is $X^\top G = (X^\top G_1 \mid X^\top G_2 \mid X^\top G_3)$ by `autograd.matmul-rule`, and
that of $A_i^\top$ is $G_i^\top X = (X^\top G_i)^\top$ by `neural.linear-gradient`. Those of the biases are the sums of
the rows of $G$ and of $G_i$. $\blacksquare$

So nothing is approximated: the function is the same, and so is a step of training, up to the order in which sums are
rounded.

Files differ in what else they hold. The hub's GPT-2 leaves out the prefix `transformer.`, as its file is of the model
without the output layer; old files carry constants as if they were weights (`attn.bias` is the causal mask,
`rotary_emb.inv_freq` the rotary speeds), which are ignored by their names; a tied output layer is absent, or stored a
second time, and then it must be equal. Everything else that is missing, unexpected or misshapen is refused, all of it
in one list.

## In practice

Large models are kept in 16 bits or fewer; this section writes float32. Files of llama.cpp are the subject of
`fp_transformer.gguf_file`. Trainers of large models also write checkpoints from a background thread, and keep the last
few. `save_tensors` and `load_tensors` carry any named arrays, for instance an optimizer's state. A mapped file must not
be cut short while it is mapped: the operating system then ends the process that looks. Files written here are never
changed in place.
"""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.numpy import save_file

from fp_transformer._safetensors import (
    NUMPY,
    Entry,
    Stored,
    open_file,
    read_object,
    readable,
    readable_but_absent,
    widen_bfloat16,
)
from fp_transformer.config import TransformerConfig

if TYPE_CHECKING:
    from fp_transformer.model import Transformer

__all__ = [  # the order of the page
    "load",
    "save",
    "to_arrays",
    "from_arrays",
    "save_model",
    "load_model",
    "open_model",
    "Stored",
    "save_tensors",
    "load_tensors",
    "open_tensors",
    "load_metadata",
    "flush",
    "widen_bfloat16",
]

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_FLOATS = ("F32", "F16", "BF16")
_SHARD = re.compile(r"model-\d+-of-\d+(-[0-9a-f]{16})?\.safetensors")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_CONSTANTS = re.compile(r"(^|\.)(attn\.(bias|masked_bias)|rotary_emb\.(inv_freq|cos_cached|sin_cached))$")


@runtime_checkable
class _Tokenizer(Protocol):
    def save(self, path: Path, /) -> object: ...


def load(path: str | Path, *, rng: np.random.Generator | None = None, dtype: Any = np.float32) -> "Transformer":
    """
    Load a model, whoever wrote it.

    Parameters
    ----------
    path
        A model directory of Hugging Face's layout, or a GGUF file (`fp_transformer.gguf_file`).
    rng
        What dropout draws from, if the model is trained on; one with the seed 0 by default.
    dtype
        In which it will compute, float32 or float64.

    Returns
    -------
    Transformer
        In the mode for use (`eval`); `.train()` to train on.

    Raises
    ------
    ValueError
        If a file is missing, damaged, or a pickle; if the architecture is unknown; if weights do not fit.

    Examples
    --------
    >>> import tempfile
    >>> from fp_transformer.model import Transformer
    >>> config = TransformerConfig.gpt2(vocab_size=11, context_length=8, n_layers=1, n_heads=2, d_model=6)
    >>> model = Transformer(config, rng=np.random.default_rng(0)).eval()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model, f"{folder}/model")
    ...     again = load(f"{folder}/model")
    >>> ids = np.array([[3, 1, 4]])
    >>> bool((model(ids).data == again(ids).data).all())
    True
    """
    from fp_transformer.model import Transformer

    path = Path(path)
    if path.suffix.lower() == ".gguf" and not path.is_dir():
        from fp_transformer.gguf_file import read_gguf

        config, arrays = read_gguf(path)
    else:
        config, arrays = open_model(path)
    model = Transformer(config, dtype=dtype)
    from_arrays(model, arrays)
    return (model if rng is None else model.draw_from(rng)).eval()


def save(
    model: "Transformer",
    directory: str | Path,
    tokenizer: _Tokenizer | None = None,
    *,
    metadata: Mapping[str, str] | None = None,
    shard_bytes: int | None = None,
) -> None:
    """
    Write a model directory that transformers opens, whole or not at all.

    Parameters
    ----------
    model
        Its numbers are stored as float32.
    directory, tokenizer, metadata, shard_bytes
        As for `save_model`.

    Raises
    ------
    ValueError, OSError
        As `save_model`.
    """
    save_model(directory, model.config, _views(model), tokenizer, metadata, shard_bytes=shard_bytes)


def to_arrays(model: "Transformer") -> dict[str, np.ndarray]:
    """
    The model's numbers under Hugging Face's names and in its layouts.

    Parameters
    ----------
    model
        Of either family.

    Returns
    -------
    dict
        Name to a new array, exactly those of `config.parameter_shapes()`, in its order.

    Raises
    ------
    ValueError
        If the model has other parameters than its family, such as adapters.
    """
    return {name: np.array(array, order="C") for name, array in _views(model).items()}


def from_arrays(model: "Transformer", arrays: Mapping[str, np.ndarray]) -> None:
    """
    Give a model its numbers; nothing changes if they do not fit.

    Parameters
    ----------
    model
        Of either family.
    arrays
        Exactly those of `config.parameter_shapes()`, of any floating-point type. They are copied one at a time.

    Raises
    ------
    ValueError
        If arrays are missing, unexpected, misshapen or not floating-point; all of them are listed.
    """
    parameters = _parameters(model)
    check_parameters(model.config, _shapes(arrays), "the arrays", _no_floats(arrays))
    for name, places, turned in _places(model.config):
        parts = np.split(np.asarray(arrays[name]), len(places), axis=-1)
        for place, part in zip(places, parts, strict=True):
            parameters[place].data[...] = part.T if turned else part


def save_model(
    directory: str | Path,
    config: TransformerConfig,
    parameters: Mapping[str, np.ndarray],
    tokenizer: _Tokenizer | None = None,
    metadata: Mapping[str, str] | None = None,
    *,
    shard_bytes: int | None = None,
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
        Strings for the headers of the weights.
    shard_bytes
        Split the weights into files of at most so many bytes of numbers, if they have more; not split by default. A
        single array that is larger has a file to itself.

    Raises
    ------
    ValueError
        If names or shapes do not fit the configuration (all of them are listed), or the directory holds another
        model, or is not a directory, or `shard_bytes` is not positive. Nothing has been written then.
    OSError
        If the disk is full or cannot be written. What was there is unchanged.
    """
    directory = Path(directory)
    if shard_bytes is not None and shard_bytes < 1:
        raise ValueError(f"shard_bytes must be at least 1, got {shard_bytes}; leave it out for a single file")
    check_parameters(config, _shapes(parameters), "the parameters")
    wrong = _no_floats(parameters)
    if wrong:
        raise ValueError(f"parameters must be floating-point arrays, but {', '.join(wrong)}")
    existed = directory.exists()
    keep_config = existed and _check_same_model(directory, config)

    staging = directory / ".saving" if existed else directory.with_name(f".{directory.name}.saving")
    directory.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    staging.mkdir()
    try:
        weights = _write_weights(staging, config, parameters, metadata, shard_bytes)
        if tokenizer is not None:
            tokenizer.save(staging / "tokenizer.json")
        if not keep_config:
            (staging / "config.json").write_text(json.dumps(config.to_huggingface(), indent=2) + "\n", encoding="utf-8")
        for file in staging.iterdir():
            flush(file)
        flush(staging)
        if existed:
            _move_in(staging, directory, weights)
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
        With `config.json` and `model.safetensors`, or shards and their index.

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
        As `open_model`.
    """
    config, arrays = open_model(directory)
    return config, {name: np.array(array, dtype=np.float32) for name, array in arrays.items()}


def open_model(directory: str | Path) -> tuple[TransformerConfig, Stored]:
    """
    Open a model directory and check it, without reading its numbers.

    Parameters
    ----------
    directory
        With `config.json` and `model.safetensors`, or shards and their index.

    Returns
    -------
    config : TransformerConfig
        The sizes.
    arrays : Stored
        In the order of `config.parameter_shapes()`, as they are stored.

    Raises
    ------
    ValueError
        If a file is missing, truncated, foreign or a pickle, if the architecture is unknown, or if the weights do not
        fit the configuration: all that are missing, unexpected, misshapen or of another type than float32, float16 and
        bfloat16 are listed.
    """
    directory = Path(directory)
    if directory.suffix in _PICKLES and not directory.is_dir():
        raise _pickled(directory)
    config = _read_config(directory / "config.json")
    where, tensors = _open_weights(directory)
    names = _meant(config, tensors)
    shapes = tensors.shapes
    problems = [
        f"{name} has type {_named(tensors.types[old])}"
        for name, old in names.items()
        if tensors.types[old] not in _FLOATS
    ]
    check_parameters(config, {name: shapes[old] for name, old in names.items()}, str(where), problems)
    return config, tensors.renamed({name: names[name] for name in config.parameter_shapes()})


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
    return {name: np.array(array) for name, array in open_tensors(path).items()}


def open_tensors(path: str | Path) -> Stored:
    """
    Map the arrays of one safetensors file.

    Parameters
    ----------
    path
        The file, which must not be changed while arrays of it are in use; to replace it by `rename` does no harm.

    Returns
    -------
    Stored
        Read-only arrays of the stored types; bfloat16 becomes a new array of float32 each time it is asked for.

    Raises
    ------
    ValueError
        As `load_tensors`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_tensors(f"{folder}/x.safetensors", {"w": np.eye(2, dtype=np.float16), "b": np.arange(3)})
    ...     stored = open_tensors(f"{folder}/x.safetensors")
    >>> stored.shapes["w"], stored.types["w"], stored["b"]
    ((2, 2), 'F16', array([0, 1, 2]))
    """
    with readable(path):
        return Stored(open_file(Path(path))[0])


def load_metadata(path: str | Path) -> dict[str, str]:
    """The strings in the header of a safetensors file; refuses what `load_tensors` refuses."""
    with readable(path):
        return dict(sorted(open_file(Path(path))[1].items()))  # the library writes them in any order


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


# --- between the model's names and Hugging Face's


_OF_FAMILY = {  # of a block: Hugging Face's name, the model's, and whether a matrix is stored (in, out)
    "llama": (
        ("input_layernorm.weight", "norm1.weight", False),
        ("self_attn.q_proj.weight", "attention.q_proj.weight", False),
        ("self_attn.k_proj.weight", "attention.k_proj.weight", False),
        ("self_attn.v_proj.weight", "attention.v_proj.weight", False),
        ("self_attn.o_proj.weight", "attention.o_proj.weight", False),
        ("post_attention_layernorm.weight", "norm2.weight", False),
        ("mlp.gate_proj.weight", "feedforward.gate_proj.weight", False),
        ("mlp.up_proj.weight", "feedforward.up_proj.weight", False),
        ("mlp.down_proj.weight", "feedforward.down_proj.weight", False),
    ),
    "gpt2": (
        ("ln_1.weight", "norm1.weight", False),
        ("ln_1.bias", "norm1.bias", False),
        ("attn.c_attn.weight", "attention.{}_proj.weight", True),
        ("attn.c_attn.bias", "attention.{}_proj.bias", False),
        ("attn.c_proj.weight", "attention.o_proj.weight", True),
        ("attn.c_proj.bias", "attention.o_proj.bias", False),
        ("ln_2.weight", "norm2.weight", False),
        ("ln_2.bias", "norm2.bias", False),
        ("mlp.c_fc.weight", "feedforward.up_proj.weight", True),
        ("mlp.c_fc.bias", "feedforward.up_proj.bias", False),
        ("mlp.c_proj.weight", "feedforward.down_proj.weight", True),
        ("mlp.c_proj.bias", "feedforward.down_proj.bias", False),
    ),
}


def _places(config: TransformerConfig) -> Iterator[tuple[str, list[str], bool]]:
    """Hugging Face's name, the names of the model's parts, and whether they are transposed."""
    llama = config.is_llama
    base = "model." if llama else "transformer."
    yield base + ("embed_tokens.weight" if llama else "wte.weight"), ["embedding.weight"], False
    if not llama:
        yield base + "wpe.weight", ["positions.weight"], False
    for i in range(config.n_layers):
        for theirs, ours, turned in _OF_FAMILY[config.family]:
            parts = [ours.format(x) for x in "qkv"] if "{}" in ours else [ours]
            yield f"{base}{'layers' if llama else 'h'}.{i}.{theirs}", [f"blocks.{i}.{p}" for p in parts], turned
    for kind in ("weight",) if llama else ("weight", "bias"):
        yield f"{base}{'norm' if llama else 'ln_f'}.{kind}", [f"norm.{kind}"], False
    if not config.tied:
        yield "lm_head.weight", ["output.weight"], False


def _parameters(model: "Transformer") -> dict[str, Any]:
    """The model's parameters by name, if they are those of its family."""
    parameters = model.named_parameters()
    known = {place for _, places, _ in _places(model.config) for place in places}
    if parameters.keys() != known:
        raise ValueError(
            f"a model of the family {model.config.family} has certain parameters; this one lacks "
            f"{sorted(known - parameters.keys())} and has besides {sorted(parameters.keys() - known)}. Merge "
            "or take out what was added to it first"
        )
    return parameters


def _views(model: "Transformer") -> dict[str, np.ndarray]:
    """The arrays of `to_arrays`, copied only where several make one."""
    parameters = _parameters(model)
    found = {}
    for name, places, turned in _places(model.config):
        parts = [parameters[place].data.T if turned else parameters[place].data for place in places]
        found[name] = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
    return found


def _meant(config: TransformerConfig, tensors: Stored) -> dict[str, str]:
    """Which stored array is which parameter; constants, and a tied matrix that was written twice, are left out."""
    base = "model." if config.is_llama else "transformer."
    bare = not any(name.startswith(base) for name in tensors)  # of the model without its output layer
    names = {
        base + name if bare and not name.startswith("lm_head.") else name: name
        for name in tensors
        if not _CONSTANTS.search(name)
    }
    embedding = base + ("embed_tokens.weight" if config.is_llama else "wte.weight")
    twice = config.tied and "lm_head.weight" in names and embedding in names
    if twice and np.array_equal(tensors["lm_head.weight"], tensors[names[embedding]]):
        del names["lm_head.weight"]
    return names


def _named(kind: str) -> str:
    """A type of safetensors under the name that NumPy has for it."""
    return str(np.dtype(NUMPY[kind])) if kind in NUMPY else kind


def _shapes(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return arrays.shapes if isinstance(arrays, Stored) else {name: np.shape(array) for name, array in arrays.items()}


def _no_floats(arrays: Mapping[str, np.ndarray]) -> list[str]:
    if isinstance(arrays, Stored):  # they were checked when they were opened
        return []
    kinds = {name: np.asarray(array).dtype for name, array in arrays.items()}
    return [f"{name} has type {kind}" for name, kind in kinds.items() if kind.kind != "f"]


# --- writing


def _write_weights(
    staging: Path,
    config: TransformerConfig,
    parameters: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None,
    shard_bytes: int | None,
) -> list[str]:
    """Write the weights, and give the names of the files in the order in which they get their final names."""
    shards = _shards(config, shard_bytes)
    if len(shards) == 1:
        _write_tensors(staging / WEIGHTS, _singles(parameters, shards[0]), metadata)
        return [WEIGHTS]
    files = []
    for i, names in enumerate(shards, 1):
        path = staging / f"{i}.part"
        _write_tensors(path, _singles(parameters, names), metadata)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        files.append(f"model-{i:05d}-of-{len(shards):05d}-{digest}.safetensors")
        path.rename(staging / files[-1])
    index = {
        "metadata": {"total_size": 4 * config.n_parameters},
        "weight_map": {name: file for file, names in zip(files, shards, strict=True) for name in names},
    }
    (staging / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return [*files, INDEX]


def _shards(config: TransformerConfig, shard_bytes: int | None) -> list[list[str]]:
    """Which arrays go into one file (`transformer.shard-count`)."""
    shards: list[list[str]] = [[]]
    held = 0
    for name, shape in config.parameter_shapes().items():
        size = 4 * math.prod(shape)
        if shard_bytes is not None and shards[-1] and held + size > shard_bytes:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    return shards


def _singles(parameters: Mapping[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
    return {name: np.asarray(parameters[name], dtype=np.float32) for name in names}


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


def _move_in(staging: Path, directory: Path, weights: list[str]) -> None:
    """Give the new files their names, in the order that the proof of `transformer.save-atomic` takes."""
    for name in ("tokenizer.json", *weights, "config.json"):  # the last one makes it loadable
        if not (staging / name).exists():
            continue
        if name in (weights[-1], "config.json"):
            flush(directory)  # what it names is there before it is
        (staging / name).replace(directory / name)
    flush(directory)
    if INDEX in weights:
        (directory / WEIGHTS).unlink(missing_ok=True)
        flush(directory)
    old = [INDEX] if INDEX not in weights else []
    old += [p.name for p in directory.iterdir() if _SHARD.fullmatch(p.name) and p.name not in weights]
    for name in old:
        (directory / name).unlink(missing_ok=True)


# --- reading a directory


def _open_weights(directory: Path) -> tuple[Path, Stored]:
    """The weights of a directory, and the file that decided which they are, as the proof of `save-atomic` says."""
    before: list[dict[str, Any] | None] = []
    while True:
        try:
            with readable_but_absent(directory / WEIGHTS):
                return directory / WEIGHTS, Stored(open_file(directory / WEIGHTS)[0])
        except FileNotFoundError:
            pass
        index = None
        try:
            index = read_object(directory / INDEX)
            return directory / INDEX, Stored(_open_shards(directory, index))
        except FileNotFoundError as error:
            missing = error.filename
        if before == [index]:  # not a save that went on meanwhile
            break
        before = [index]
    if index is None:
        raise _no_weights(directory)
    raise ValueError(f"{directory / INDEX} names {Path(missing).name}, which does not exist. Is the download complete?")


def _open_shards(directory: Path, index: dict[str, Any]) -> dict[str, Entry]:
    """The arrays of all shards that an index names."""
    where = index.get("weight_map")
    if not isinstance(where, dict) or not where or not all(isinstance(file, str) for file in where.values()):
        raise ValueError(f"{directory / INDEX} must have a weight_map, from the names of arrays to those of files")
    for file in sorted(set(where.values())):
        if not re.fullmatch(r"[^/\\:\0]+\.safetensors", file):
            raise ValueError(
                f"{directory / INDEX} must name safetensors files in its own directory, without a path; "
                f"it says {file!r}"
            )
    shards = {}
    for file in sorted(set(where.values())):
        with readable_but_absent(directory / file):
            shards[file] = open_file(directory / file)[0]
    lost = [f"{name} is not in {file}" for name, file in where.items() if name not in shards[file]]
    lost += [
        f"{name} is in {file} unannounced"
        for file, arrays in shards.items()
        for name in arrays
        if where.get(name) != file
    ]
    if lost:
        raise ValueError(f"{directory / INDEX} and its shards must agree, but\n  " + "\n  ".join(lost))
    return {name: shards[file][name] for name, file in where.items()}


def _no_weights(directory: Path) -> ValueError:
    """What to say of a directory without weights."""
    for path in sorted(directory.iterdir()):
        if path.suffix in _PICKLES:
            return _pickled(path)
    return ValueError(
        f"{directory / WEIGHTS} does not exist, and no {INDEX}; a model directory holds config.json and the weights as "
        "safetensors"
    )


def _pickled(path: Path) -> ValueError:
    return ValueError(
        f"{path} holds pickled weights. A pickle is a program that runs when it is opened, so it is not opened here: "
        "get the model.safetensors of the same model, or convert the file where you trust it, with "
        "save_pretrained(directory) of transformers"
    )


def _read_config(path: Path) -> TransformerConfig:
    try:
        data = read_object(path)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; a model directory holds config.json and model.safetensors") from None
    try:
        return TransformerConfig.from_huggingface(data)
    except (ValueError, TypeError) as error:
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


def check_parameters(
    config: TransformerConfig, shapes: Mapping[str, tuple[int, ...]], where: str, problems: list[str] | None = None
) -> None:
    """Refuse what does not fit the configuration, and list all of it."""
    if config.n_layers > max(len(shapes), 1000):  # before a name is made for each of them
        raise ValueError(
            f"{where} must fit the configuration ({config.family}), but it has {len(shapes)} arrays, and the "
            f"configuration claims {config.n_layers} blocks"
        )
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
