r"""
GGUF: weights in blocks of few bits.

llama.cpp and its kin keep a model in one file, with four or eight bits a weight instead of 32. How can a weight of four
bits be a number at all, how wrong is it at most, and what else has to be known to get the same model out of such a
file?

You need: floating-point numbers (`autograd.rounding`), rotary positions (`attention.rope-layouts`),
`fp_transformer.checkpoint`.

## Blocks

Cut each row of a matrix into **blocks** of 32 neighbours. Numbers that stand together tend to be of one size, so let
each block have a scale of its own, a float16, and each number be a small whole number of steps of that scale. A block
of the kind **Q8_0** holds a scale $d$ and $q_1, \dots, q_{32}$ of 8 bits, from $-127$ to $127$, and means $d\, q_i$. A
block of **Q4_0** has $q_i$ of 4 bits, from $0$ to $15$, and means $d\, (q_i - 8)$. A block of **Q4_1** has in addition
an offset $m$, a float16 too, and means $d\, q_i + m$:

>>> x = np.linspace(-1, 2, 32, dtype=np.float32)
>>> for kind in ("Q8_0", "Q4_0", "Q4_1"):
...     block = quantize_blocks(x, kind)
...     y = dequantize_blocks(block, kind)
...     print(kind, block.size, "bytes, largest error", round(float(np.abs(x - y).max()), 4))
Q8_0 34 bytes, largest error 0.0078
Q4_0 18 bytes, largest error 0.121
Q4_1 20 bytes, largest error 0.0968

How are they chosen? Write $a$ for the largest of the $|x_i|$ of a block, $x_*$ for the number where it is reached, and
$r$ for the largest of the $x_i$ minus the smallest. For Q8_0, $d = a / 127$ and $q_i$ is nearest to $x_i / d$. For
Q4_0, $d = -x_* / 8$, so that $x_*$ itself becomes $q = 0$; for Q4_1, $m$ is the smallest number and $d = r / 15$. There
$q_i$ is the number from $0$ to $15$ that is nearest to $x_i / d + 8$, or to $(x_i - m) / d$. What is stored are the
float16 next to $d$ and $m$, $\hat d$ and $\hat m$.

**Claim** `transformer.block-quantisation`. Let $d \ne 0$, and let $d$ and, if not zero, $m$ be of a size between
$2^{-14}$ and $65504$, where float16 is normal. Then the stored number differs from $x_i$ by at most

$$
a \Big( \frac{1}{254} + 2^{-11} \Big) \text{ for Q8\_0}, \qquad
a \Big( \frac18 + 2^{-11} \Big) \text{ for Q4\_0}, \qquad
r \Big( \frac{1}{30} + 2^{-11} \Big) + 2^{-11} |m| \text{ for Q4\_1}.
$$

For Q4_0 it is $a \big( \frac1{16} + 2^{-11} \big)$ if $x_i / d \le 7 \tfrac12$. If $d = 0$ all $x_i$ are equal, to zero
for Q8_0 and Q4_0; then it is $0$, or for Q4_1 at most $2^{-11} |m|$, if $m$ is zero or of a size in that range.

**Proof.** float16 has 11 bits of precision, so $\hat d = d (1 + \delta)$ with $|\delta| \le 2^{-11}$, and so for $m$
(`autograd.rounding`).

*Q8_0.* As $|x_i| \le a$, $|x_i / d| \le 127$, so $|q_i| \le 127$ and $|x_i / d - q_i| \le \frac12$. Then

$$
|x_i - \hat d q_i| \le |x_i - d q_i| + |d - \hat d|\, |q_i| \le \frac d2 + 2^{-11} d \cdot 127
= a \Big( \frac{1}{254} + 2^{-11} \Big).
$$

*Q4_0.* Here $|d| = a / 8$ and $x_i / d$ lies from $-8$ to $8$. Up to $7 \frac12$ the nearest whole number lies from
$-8$ to $7$ (one of two nearest ones, at $7 \frac12$), and $q_i - 8$ is that number: it is off by at most $\frac12$.
Above, it is $7$, and off by at most $1$. So $|x_i - d (q_i - 8)|$ is at most $|d| / 2 = a / 16$, or $|d| = a / 8$, and
rounding $d$ adds at most $2^{-11} |d| \cdot 8 = 2^{-11} a$.

*Q4_1.* $(x_i - m) / d$ lies from $0$ to $15$, so $q_i$ is off by at most $\frac12$, and $x_i$ from $d q_i + m$ by
$d / 2 = r / 30$. Rounding $d$ adds at most $2^{-11} d \cdot 15 = 2^{-11} r$, and rounding $m$ at most $2^{-11} |m|$.

If $d = 0$ then $a = 0$ or $r = 0$. In the first case all is zero. In the second all $x_i = m$. $\blacksquare$

The bound of Q4_0 is reached but for the rounding: by a block that has both $a$ and $-a$, since sixteen numbers around
zero cannot be as many on both sides. Four bits are wrong by up to a sixteenth of the largest number in each block, and
at one end by up to an eighth, which a network survives because it adds up hundreds of such errors, of either sign. It
is not nothing: `fp_transformer.checkpoint` loads such a model as what it is, the model of the rounded weights.

**K-quants** store the scales in fewer bits too. **Q4_K** is a block of 256: eight groups of 32 with a scale and an
offset of 6 bits each, in units of two float16. **Q6_K** has sixteen groups of 16 with scales of 8 bits and numbers of
6, without offsets, and **Q5_K**, **Q3_K**, **Q2_K** are variations. Bits a weight, all in all:

>>> for kind in ("F16", "Q8_0", "Q6_K", "Q5_K", "Q4_1", "Q4_K", "Q4_0"):
...     print(f"{kind:5}{bits_per_weight(kind):8.4f}")
F16   16.0000
Q8_0   8.5000
Q6_K   6.5625
Q5_K   5.5000
Q4_1   5.0000
Q4_K   4.5000
Q4_0   4.5000

## The file

| part | contents |
| --- | --- |
| head | the letters `GGUF`, a version, how many arrays, how many entries |
| entries | key, type, value: the sizes (`llama.embedding_length`), the tokenizer, anything |
| arrays | of each its name, sizes, kind, and where it begins |
| data | the arrays, each at a multiple of `general.alignment` bytes |

Sizes are written with the fastest axis first, the other way round than here. As everywhere, a length is believed only
if the file has that many bytes left, and arrays may not overlap nor leave the file.

## Rows in another order

llama.cpp turns neighbours, coordinates $2 i$ and $2 i + 1$ of a head, where Hugging Face's Llama turns halves, $i$ and
$i + h$ with $h = D / 2$. So its files have the rows of queries and keys in another order.

**Claim** `transformer.gguf-rotary`. With $P$ of `attention.rope-layouts`, let $W' = P^\top W$ for each head of $W_q$
and $W_k$. Then row $i + s h$ of $W$ is row $2 i + s$ of $W'$, for $s = 0$ and $1$; $W = P W'$; and the model that turns
neighbours with $W'$ has the same scores as the one that turns halves with $W$.

**Proof.** $P W' = P P^\top W = W$. As $(P x)_i = x_{2i}$ and $(P x)_{i + h} = x_{2 i + 1}$, row $i + s h$ of $P W'$
is row $2 i + s$ of $W'$. For an input $x$ at the position $m$ and $z$ at $n$, `attention.rope-layouts` gives

$$
R'_m (W_q' x) \cdot R'_n (W_k' z) = R_m (P W_q' x) \cdot R_n (P W_k' z) = R_m (W_q x) \cdot R_n (W_k z). \quad
\blacksquare
$$

Values and outputs are not turned and keep their order. Files of GPT-2 have no such order, and matrices (out, in).

## In practice

Which weights get how many bits decides how good a quantised model is, more than the kind of block: embeddings and
outputs keep more, as do layers that a sample of text shows to be sensitive. llama.cpp computes with the blocks as they
are, which is what makes it fast: a token's work is to read the weights once (`attention.decode-intensity`), and these
are fewer bytes. Here they become float32 when they are loaded. Q8_0, Q4_0 and Q4_1 are unpacked by this section, the
K-quants by the library `gguf`. Kinds that look numbers up in tables (IQ2 and so on) are not read, nor other
architectures than llama and gpt2. Georgi Gerganov and others, *ggml* and *llama.cpp* (2023).
"""

import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from fp_transformer._safetensors import Entry, Stored, Unsound, map_file, widen_bfloat16
from fp_transformer.checkpoint import check_parameters
from fp_transformer.config import TransformerConfig

__all__ = [  # the order of the page
    "read_gguf",
    "quantize_blocks",
    "dequantize_blocks",
    "bits_per_weight",
    "permute_rows",
    "unpermute_rows",
]


class _Kind(NamedTuple):
    number: int
    """In the file."""
    block: int
    """How many numbers share a block."""
    size: int
    """Bytes of a block."""


_KINDS = {
    "F32": _Kind(0, 1, 4), "F16": _Kind(1, 1, 2), "BF16": _Kind(30, 1, 2),
    "Q8_0": _Kind(8, 32, 34), "Q4_0": _Kind(2, 32, 18), "Q4_1": _Kind(3, 32, 20),
    "Q5_0": _Kind(6, 32, 22), "Q5_1": _Kind(7, 32, 24),
    "Q2_K": _Kind(10, 256, 84), "Q3_K": _Kind(11, 256, 110), "Q4_K": _Kind(12, 256, 144),
    "Q5_K": _Kind(13, 256, 176), "Q6_K": _Kind(14, 256, 210),
}  # fmt: skip
_OF_NUMBER = {kind.number: name for name, kind in _KINDS.items()}
_OURS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1")
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_ROW = 1 << 16
"""Lists of numbers that are longer belong to the tokenizer, and are passed over."""


def read_gguf(path: str | Path) -> tuple[TransformerConfig, Stored]:
    """
    Open a GGUF file of the Llama or the GPT-2 family.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    config : TransformerConfig
        The sizes. The model is tied if the file has no output layer, or has the embedding for it.
    arrays : Stored
        By Hugging Face's names, shapes and orders, each unpacked when it is asked for: float32, or float16 where the
        file has that.

    Raises
    ------
    ValueError
        If the file is missing, truncated or no GGUF, if the architecture is another or has options that are not known
        here, or if arrays do not fit; all of those are listed.
    ImportError
        If the file has blocks that the library `gguf` unpacks, and it is not installed.
    """
    path = Path(path)
    try:
        data = map_file(path)
        entries, arrays = _Reader(data).contents()
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except (OSError, Unsound) as error:
        raise ValueError(f"{path} cannot be read: it {error}") from error
    try:
        architecture = entries.get("general.architecture")
        if architecture not in _NAMES:
            known = ", ".join(_NAMES)
            raise ValueError(f"general.architecture must be one of {known}; the file says {architecture!r}")
        if "rope_freqs.weight" in arrays:
            raise ValueError("it scales its rotary positions (rope_freqs.weight), which is not supported")
        renamed = _renamed(architecture, arrays)
        tied = _drop_tied(architecture, arrays, renamed, data)
        config = _config(architecture, entries, arrays, tied)
        shapes = {theirs: _shape(architecture, theirs, arrays[name].shape) for theirs, name in renamed.items()}
        check_parameters(config, shapes, "the arrays")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    _need_library(path, {array.kind for array in arrays.values()})
    stored = {}
    for theirs in config.parameter_shapes():
        array = arrays[renamed[theirs]]
        stored[theirs] = Entry(array.kind, shapes[theirs], _fetcher(data, array, config, theirs))
    return config, Stored(stored)


def quantize_blocks(x: Float[np.ndarray, "... n"], kind: str) -> UInt8[np.ndarray, "... bytes"]:
    """
    Round rows of numbers to blocks (`transformer.block-quantisation`).

    Parameters
    ----------
    x
        Rows of a multiple of 32 finite numbers.
    kind
        `"Q8_0"`, `"Q4_0"` or `"Q4_1"`.

    Returns
    -------
    ndarray
        The bytes of the blocks, row by row.

    Raises
    ------
    ValueError
        If the kind is another, the rows do not consist of whole blocks, or a scale is beyond float16.

    Examples
    --------
    The scale $2/16$ as float16 has the bytes 0 and 48; then the first number and the seventeenth share a byte:

    >>> quantize_blocks(np.array([-1.0, 0.5] * 16), "Q4_0")[:4]
    array([  0,  48,   0, 204], dtype=uint8)
    """
    _check_kind(kind)
    if x.shape[-1:] == () or x.shape[-1] % 32:
        raise ValueError(f"rows consist of blocks of 32 numbers, got the shape {x.shape}")
    v = x.astype(np.float64).reshape(-1, 32)
    low = np.zeros((len(v), 1))
    if kind == "Q8_0":
        d = np.abs(v).max(axis=1, keepdims=True) / 127
    elif kind == "Q4_0":
        d = np.take_along_axis(v, np.abs(v).argmax(axis=1, keepdims=True), axis=1) / -8
    else:
        low = v.min(axis=1, keepdims=True)
        d = (v.max(axis=1, keepdims=True) - low) / 15
    if not (np.abs(d) < 65520).all() or not (np.abs(low) < 65520).all():  # NaN too
        raise ValueError("numbers must be finite and their scales at most 65504, the largest float16")
    steps = np.divide(v - low, d, out=np.zeros_like(v), where=d != 0)
    d = d.astype("<f2").view(np.uint8)
    if kind == "Q8_0":
        q = np.rint(steps).astype(np.int8).view(np.uint8)
        blocks = np.concatenate([d, q], axis=1)
    else:
        q = np.clip(np.floor(steps + (8.5 if kind == "Q4_0" else 0.5)), 0, 15).astype(np.uint8)
        halves = q[:, :16] | (q[:, 16:] << 4)
        offset = [low.astype("<f2").view(np.uint8)] if kind == "Q4_1" else []
        blocks = np.concatenate([d, *offset, halves], axis=1)
    return blocks.reshape(*x.shape[:-1], -1)


def dequantize_blocks(blocks: UInt8[np.ndarray, "... bytes"], kind: str) -> Float[np.ndarray, "... n"]:
    """
    The numbers that blocks mean.

    Parameters
    ----------
    blocks
        Rows of bytes, whole blocks.
    kind
        `"Q8_0"`, `"Q4_0"` or `"Q4_1"`.

    Returns
    -------
    ndarray
        Rows of numbers in float32.

    Raises
    ------
    ValueError
        If the kind is another, or the rows do not consist of whole blocks.
    """
    _check_kind(kind)
    size = _KINDS[kind].size
    if blocks.shape[-1:] == () or blocks.shape[-1] % size:
        raise ValueError(f"blocks of {kind} have {size} bytes each, got rows of the shape {blocks.shape}")
    b = blocks.reshape(-1, size)
    d = _float16(b[:, :2])
    out = np.empty((len(b), 32), np.float32)
    if kind == "Q8_0":
        np.multiply(b[:, 2:].view(np.int8), d, out=out)
    else:
        halves = b[:, -16:]
        out[:, :16] = halves & 15
        out[:, 16:] = halves >> 4
        if kind == "Q4_0":
            out -= 8
        out *= d
        if kind == "Q4_1":
            out += _float16(b[:, 2:4])
    return out.reshape(*blocks.shape[:-1], -1)


def bits_per_weight(kind: str) -> float:
    """
    What a kind of block costs, scales included.

    Parameters
    ----------
    kind
        Its name, such as `"Q4_K"`.

    Returns
    -------
    float
        Bits.

    Raises
    ------
    ValueError
        If the kind is not one that is read here.
    """
    if kind not in _KINDS:
        raise ValueError(f"the kinds are {', '.join(_KINDS)}, got {kind!r}")
    return 8 * _KINDS[kind].size / _KINDS[kind].block


def permute_rows(weight: Float[np.ndarray, "rows C"], n_heads: int) -> Float[np.ndarray, "rows C"]:
    """
    From Hugging Face's order of queries or keys to llama.cpp's, $P^\\top W$ for each head (`transformer.gguf-rotary`).

    Parameters
    ----------
    weight
        Of `q_proj` or `k_proj`.
    n_heads
        How many heads its rows belong to.

    Returns
    -------
    ndarray
        A new array.

    Raises
    ------
    ValueError
        If the rows do not make so many heads of an even width.

    Examples
    --------
    >>> rows = np.arange(8.0)[:, None]
    >>> permute_rows(rows, 2).ravel()
    array([0., 2., 1., 3., 4., 6., 5., 7.])
    """
    return _swapped(weight, n_heads, (n_heads, 2, -1))


def unpermute_rows(weight: Float[np.ndarray, "rows C"], n_heads: int) -> Float[np.ndarray, "rows C"]:
    """
    From llama.cpp's order of queries or keys to Hugging Face's, $P W'$ for each head (`transformer.gguf-rotary`).

    Parameters
    ----------
    weight, n_heads
        As for `permute_rows`, which this undoes.

    Returns
    -------
    ndarray
        A new array.

    Raises
    ------
    ValueError
        As `permute_rows`.
    """
    return _swapped(weight, n_heads, (n_heads, -1, 2))


def _swapped(weight: np.ndarray, n_heads: int, cut: tuple[int, int, int]) -> np.ndarray:
    rows = len(weight)
    if n_heads < 1 or rows % (2 * n_heads):
        raise ValueError(f"rotary heads have an even width, and {rows} rows do not make {n_heads} of those")
    return np.ascontiguousarray(weight.reshape(*cut, *weight.shape[1:]).swapaxes(1, 2)).reshape(weight.shape)


def _check_kind(kind: str) -> None:
    if kind not in ("Q8_0", "Q4_0", "Q4_1"):
        raise ValueError(f"the blocks made and unpacked here are Q8_0, Q4_0 and Q4_1, got {kind!r}")


def _float16(two_bytes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(two_bytes).view("<f2").astype(np.float32)


# --- what the file says


_LLAMA = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
_GPT2 = {
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip
_NAMES: dict[str, tuple[dict[str, str], str, dict[str, str]]] = {  # of the ends, the blocks, and what is in a block
    "llama": (
        {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"},
        "model.layers.",
        {ours: theirs for theirs, ours in _LLAMA.items()},
    ),
    "gpt2": (
        {
            "token_embd.weight": "transformer.wte.weight",
            "position_embd.weight": "transformer.wpe.weight",
            "output_norm.weight": "transformer.ln_f.weight",
            "output_norm.bias": "transformer.ln_f.bias",
        },
        "transformer.h.",
        {ours: theirs for theirs, ours in _GPT2.items()},
    ),
}


class _Array(NamedTuple):
    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _Reader:
    """The tables of a file. A length is believed only if the file has that many bytes left."""

    def __init__(self, data: Any) -> None:
        self.data, self.at = data, 0

    def contents(self) -> tuple[dict[str, Any], dict[str, _Array]]:
        """The entries, less long lists, and the arrays."""
        if self.take(4) != b"GGUF":
            raise Unsound("is no GGUF file: it does not begin with the letters GGUF")
        version = self.scalar("I")
        if version not in (2, 3):
            raise Unsound(f"is GGUF of version {version}, and only 2 and 3, little-endian, are read")
        n_arrays = self.count("its list of arrays", 24)
        entries: dict[str, Any] = {}
        for _ in range(self.count("its list of entries", 13)):
            key = self.text("a key")
            if key in entries:
                raise Unsound(f"has the entry {key} twice")
            entries[key] = self.value(self.scalar("I"), key)
        found = [self.array() for _ in range(n_arrays)]
        alignment = entries.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
            raise Unsound(f"has a general.alignment of {alignment!r}, which must be from 1 to 2^20")
        start = -(-self.at // alignment) * alignment
        return entries, self.placed(found, start, alignment)

    def placed(self, found: list[tuple[str, _Array]], start: int, alignment: int) -> dict[str, _Array]:
        """The arrays where they stand in the file, if they fit there side by side."""
        arrays: dict[str, _Array] = {}
        at = start
        for name, array in sorted(found, key=lambda pair: (pair[1].begin, pair[1].end)):
            begin, end = start + array.begin, start + array.end
            if name in arrays:
                raise Unsound(f"has the array {name} twice")
            if begin < at or begin % alignment:
                raise Unsound(f"lets {name} overlap another array, or begin at no multiple of {alignment} bytes")
            if end > len(self.data):
                raise Unsound(f"ends at byte {len(self.data)}, and {name} at {end}. Is it cut off?")
            arrays[name] = array._replace(begin=begin, end=end)
            at = end
        return arrays

    def array(self) -> tuple[str, _Array]:
        """One array as it is announced, its place counted from the beginning of all data."""
        name = self.text("an array's name")
        axes = self.scalar("I")
        if not 1 <= axes <= 4:
            raise Unsound(f"gives {name} {axes} axes; 1 to 4 are possible")
        shape = tuple(self.scalar("Q") for _ in range(axes))[::-1]
        number, begin = self.scalar("I"), self.scalar("Q")
        if number not in _OF_NUMBER:
            raise Unsound(
                f"has {name} in blocks of type {number}, which is not read; those read are {', '.join(_KINDS)}"
            )
        kind = _KINDS[_OF_NUMBER[number]]
        if shape[-1] % kind.block or not all(shape):
            raise Unsound(
                f"gives {name} the shape {shape}, and {_OF_NUMBER[number]} takes rows of blocks of {kind.block}"
            )
        size = math.prod(shape) // kind.block * kind.size
        if size > len(self.data):
            raise Unsound(f"claims {size} bytes for {name}, and has {len(self.data)} in all. Is it cut off?")
        return name, _Array(_OF_NUMBER[number], shape, begin, begin + size)

    def value(self, kind: int, where: str) -> Any:
        """A value of a kind; None for a list that nobody asks for."""
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.text(where)
        if kind != _ARRAY:
            raise Unsound(f"gives {where} the type {kind}, which GGUF does not have")
        kind = self.scalar("I")
        if kind in _SCALARS:
            size = struct.calcsize(_SCALARS[kind])
            count = self.count(where, size)
            part = self.take(count * size)
            return list(struct.unpack(f"<{count}{_SCALARS[kind]}", part)) if count <= _ROW else None
        if kind != _STRING:
            raise Unsound(f"has in {where} a list of type {kind}; only lists of numbers and strings are read")
        for _ in range(self.count(where, 8)):
            self.take(self.count(where, 1))
        return None

    def scalar(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def count(self, where: str, smallest: int) -> int:
        """A number of members, each of at least `smallest` bytes."""
        count: int = self.scalar("Q")
        left = len(self.data) - self.at
        if count * smallest > left:
            raise Unsound(f"claims {count} members of {where}, and has only {left} bytes left. Is it cut off?")
        return count

    def text(self, where: str) -> str:
        return self.take(self.count(where, 1)).decode("utf-8", "backslashreplace")

    def take(self, size: int) -> bytes:
        begin, self.at = self.at, self.at + size
        if self.at > len(self.data):
            raise Unsound(f"ends at byte {len(self.data)}, within its tables. Is it cut off?")
        return bytes(self.data[begin : self.at])


def _config(
    architecture: str, entries: Mapping[str, Any], arrays: Mapping[str, _Array], tied: bool
) -> TransformerConfig:
    """The sizes, if the file asks for nothing that is not known here."""
    options = {key.removeprefix(f"{architecture}."): v for key, v in entries.items() if key.startswith(architecture)}

    def take(key: str, kind: type, default: Any = None) -> Any:
        found = options.pop(key, default)
        if found is None:
            raise ValueError(f"{architecture}.{key} is missing")
        if isinstance(found, list) and len(set(found)) == 1:  # one for each block
            found = found[0]
        if type(found) is not kind:
            raise ValueError(f"{architecture}.{key} must be of type {kind.__name__}, got {str(found)[:40]!r}")
        return found

    if "token_embd.weight" not in arrays or len(arrays["token_embd.weight"].shape) != 2:
        raise ValueError("there must be a matrix token_embd.weight, with a row for each token")
    V = arrays["token_embd.weight"].shape[0]
    heads = take("attention.head_count", int)
    sizes = {
        "vocab_size": V,
        "context_length": take("context_length", int),
        "n_layers": take("block_count", int),
        "n_heads": heads,
        "d_model": take("embedding_length", int),
        "d_ff": take("feed_forward_length", int),
    }
    kv_heads = take("attention.head_count_kv", int, heads)
    if architecture == "gpt2":
        config = TransformerConfig.gpt2(
            **sizes, tied=tied, norm_eps=_decimal(take("attention.layer_norm_epsilon", float))
        )
    else:
        config = TransformerConfig.llama(
            **sizes,
            n_kv_heads=kv_heads,
            tied=tied,
            norm_eps=_decimal(take("attention.layer_norm_rms_epsilon", float)),
            rope_base=take("rope.freq_base", float, 10000.0),
        )
    neutral = {  # options that leave the function what it is, if they have these values
        "vocab_size": V,
        "attention.head_count_kv": config.n_heads,
        "attention.key_length": config.d_head,
        "attention.value_length": config.d_head,
        "rope.dimension_count": config.d_head,
        "rope.scaling.type": "none",
        "rope.scaling.factor": 1.0,
        "rope.scale_linear": 1.0,
        "expert_count": 0,
        "expert_used_count": 0,
    }
    strange = {key: value for key, value in options.items() if key not in neutral or value != neutral[key]}
    if strange:
        said = ", ".join(f"{architecture}.{key} = {str(value)[:40]}" for key, value in strange.items())
        raise ValueError(f"{said}: not supported, as it would change what the model computes")
    return config


def _decimal(x: float) -> float:
    """The short decimal number that became this float32."""
    return float(f"{x:.7g}")


def _renamed(architecture: str, arrays: Mapping[str, _Array]) -> dict[str, str]:
    """Hugging Face's name to the file's; names that are not known get one that nothing has, and will be unexpected."""
    ends, base, parts = _NAMES[architecture]
    found = {}
    for name in arrays:
        theirs = ends.get(name, "lm_head.weight" if name == "output.weight" else f"{name} (not a name of GGUF)")
        block, _, rest = name.removeprefix("blk.").partition(".")
        part, _, kind = rest.rpartition(".")
        if name.startswith("blk.") and part in parts:
            theirs = f"{base}{block}.{parts[part]}.{kind}"
        found[theirs] = name
    return found


def _drop_tied(architecture: str, arrays: Mapping[str, _Array], renamed: dict[str, str], data: Any) -> bool:
    """Whether the output layer is the embedding, because there is none or because it is stored twice."""
    if "lm_head.weight" not in renamed:
        return True
    ours, other = arrays[renamed["lm_head.weight"]], arrays.get("token_embd.weight")
    if other is None or (ours.kind, ours.shape) != (other.kind, other.shape):
        return False
    if data[ours.begin : ours.end] != data[other.begin : other.end]:
        return False
    del renamed["lm_head.weight"]
    return True


def _shape(architecture: str, theirs: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[::-1] if _turned(architecture, theirs) else shape


def _turned(architecture: str, theirs: str) -> bool:
    """Whether a matrix is (in, out) in Hugging Face's file and (out, in) in this one."""
    return architecture == "gpt2" and theirs.endswith(".weight") and ".c_" in theirs


def _fetcher(data: Any, array: _Array, config: TransformerConfig, theirs: str) -> Callable[[], np.ndarray]:
    def fetch() -> np.ndarray:
        x = _unpacked(np.frombuffer(data, np.uint8, array.end - array.begin, array.begin), array)
        if config.is_llama and theirs.endswith("q_proj.weight"):
            return unpermute_rows(x, config.n_heads)
        if config.is_llama and theirs.endswith("k_proj.weight"):
            return unpermute_rows(x, config.n_kv_heads)
        return x.T if _turned(config.family, theirs) else x

    return fetch


def _unpacked(flat: np.ndarray, array: _Array) -> np.ndarray:
    """The numbers of an array."""
    if array.kind == "F32":
        return flat.view("<f4").reshape(array.shape)
    if array.kind == "F16":
        return flat.view("<f2").reshape(array.shape)
    if array.kind == "BF16":
        return widen_bfloat16(flat.view("<u2")).reshape(array.shape)
    rows = flat.reshape(*array.shape[:-1], -1)
    if array.kind in _OURS:
        return dequantize_blocks(rows, array.kind)
    from gguf import GGMLQuantizationType, quants

    return quants.dequantize(rows, GGMLQuantizationType(_KINDS[array.kind].number))


def _need_library(path: Path, kinds: set[str]) -> None:
    """Refuse early what could not be unpacked later."""
    theirs = sorted(kinds - {*_OURS})
    if not theirs:
        return
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{path} has blocks of {', '.join(theirs)}, which the library gguf unpacks, and it is not installed: "
            "python -m pip install 'fp-transformer[gguf]'"
        ) from error
