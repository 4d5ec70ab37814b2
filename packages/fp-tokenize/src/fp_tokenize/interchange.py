r"""
Interchange: a tokenizer as a file that other programs read.

A model is useless without the exact tokenizer that it was trained with. This section keeps it beside the weights as
`tokenizer.json`, the layout of Hugging Face's `tokenizers`, so that `tokenizers.Tokenizer.from_file` gives the same
ids as the class that was saved. No code is stored, only data.

You need: `fp_tokenize.characters`.

## Characters and bytes as byte-pair encodings

That layout knows no character tokenizer. It knows **byte-pair encoding** (BPE): a vocabulary, and a list of *merges*,
pairs of tokens to be joined into one. Encoding starts with one token for each character of the text and applies merges
while one applies.

**Claim** `tokenize.merge-free-bpe`. A BPE without merges whose vocabulary holds `<unk>` as id 0 and the characters of
an alphabet as ids from 1 encodes every text as `CharTokenizer` does. One whose vocabulary is `byte_alphabet`, fed with
the names of the text's bytes, encodes every text as `ByteTokenizer` does.

**Proof.** Without merges none ever applies, so the result is one token for each character: its id if it is in the
vocabulary, that of `<unk>` otherwise. This is the definition of `CharTokenizer.encode`. In the second case the
characters are names of bytes; the name of byte $b$ is in the vocabulary with id $b$ (`tokenize.byte-alphabet`), so the
ids are the bytes. $\blacksquare$

The file's parts:

| part | characters | bytes |
| --- | --- | --- |
| `model` | BPE, `unk_token` `<unk>`, no merges | BPE, no merges |
| `pre_tokenizer` | none | `ByteLevel`: text to the names of its bytes |
| `decoder` | `Fuse`: names joined without spaces | `ByteLevel`: names to bytes, bytes to text |

## What `load` accepts

A file that says one thing more than `save` would have written, a normaliser, a special token, one merge, has other ids
for some text. Reading it approximately would be worse than refusing, so after reading, the tokenizer is laid out again
and compared with the file: whatever differs is named. A key that is absent, null, false or empty means the same to
every reader of this layout and is treated as equal.

## Never half a file

`save` writes under a temporary name in the same directory, waits until the contents are on the disk (`fsync`), then
renames. A rename replaces the old name in one step: whenever the power fails, the name refers to the old file or to
the new one, whole.

## In practice

The ids agree on every text; decoding differs in one place, where Hugging Face's library writes the name `<unk>` and
`CharTokenizer` U+FFFD. `transformers` also wants a `tokenizer_config.json` with the class and the special tokens;
`PreTrainedTokenizerFast(tokenizer_file=...)` does without.
"""

import json
import os
from pathlib import Path
from typing import Any

from fp_tokenize.characters import UNKNOWN, ByteTokenizer, CharTokenizer, byte_alphabet
from fp_tokenize.protocol import Tokenizer

__all__ = ["save", "load"]  # the order of the page

FILE_NAME = "tokenizer.json"


def save(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None:
    """
    Write a tokenizer in the layout of Hugging Face's `tokenizer.json`.

    Parameters
    ----------
    tokenizer
        A `CharTokenizer` or `ByteTokenizer`.
    path
        The file if it ends in `.json`; otherwise a directory, made if missing, that gets a `tokenizer.json`.

    Raises
    ------
    TypeError
        If the tokenizer is of another kind.
    OSError
        If the file cannot be written; what was there before is left as it was.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save(CharTokenizer("abc"), directory)
    ...     load(directory)
    CharTokenizer('abc')
    """
    text = json.dumps(_layout(tokenizer), ensure_ascii=False, indent=2)
    file = _file(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike[str]) -> CharTokenizer | ByteTokenizer:
    """
    Read what `save` wrote.

    Parameters
    ----------
    path
        The file, or the directory that holds `tokenizer.json`.

    Returns
    -------
    CharTokenizer or ByteTokenizer

    Raises
    ------
    ValueError
        If the file is cut off, corrupt, or describes a tokenizer of another kind.
    FileNotFoundError
        If there is no such file.
    """
    file = _file(path)
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON: {error}. Is it cut off, or another kind of file?") from None
    try:
        return _tokenizer(data)
    except ValueError as error:
        raise ValueError(
            f"{file} is no tokenizer of characters or bytes as `save` writes it: {error}. "
            "This version reads no other kinds."
        ) from None


def _file(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    return path if path.suffix == ".json" else path / FILE_NAME


def _layout(tokenizer: Tokenizer) -> dict[str, Any]:
    """The whole file as a dictionary, in the order in which Hugging Face writes it."""
    pre_tokenizer: dict[str, Any] | None
    decoder: dict[str, Any]
    if isinstance(tokenizer, CharTokenizer):
        tokens, unknown = [UNKNOWN, *tokenizer.alphabet], UNKNOWN
        pre_tokenizer, decoder = None, {"type": "Fuse"}
    elif isinstance(tokenizer, ByteTokenizer):
        tokens, unknown = [*byte_alphabet()], None
        pre_tokenizer = decoder = {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": False,
        }
    else:
        raise TypeError(f"only CharTokenizer and ByteTokenizer can be saved so far, got {type(tokenizer).__name__}")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [],
        },
    }


def _tokenizer(data: Any) -> CharTokenizer | ByteTokenizer:
    """The tokenizer of a layout; `ValueError` if `_layout` of it would say anything else."""
    model: Any = data.get("model") if isinstance(data, dict) else None
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocab, dict) or not vocab:
        raise ValueError("it has no model with a vocabulary of names and ids")
    if not all(isinstance(i, int) for i in vocab.values()) or sorted(vocab.values()) != list(range(len(vocab))):
        raise ValueError(f"its {len(vocab)} tokens do not have the ids 0 to {len(vocab) - 1}, each once")
    tokens = sorted(vocab, key=vocab.__getitem__)
    tokenizer = ByteTokenizer() if tokens == [*byte_alphabet()] else CharTokenizer(tokens[1:])
    expected = _layout(tokenizer)
    if tokens != [*expected["model"].pop("vocab")]:
        raise ValueError(f"its vocabulary is neither {UNKNOWN} and sorted characters nor the names of the 256 bytes")
    difference = _difference(expected, {**data, "model": {k: v for k, v in model.items() if k != "vocab"}})
    if difference:
        raise ValueError(difference)
    return tokenizer


def _difference(expected: Any, found: Any, where: str = "") -> str | None:
    """The first place where two layouts differ; absent, null, false and empty are equal."""
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = {**expected, **found}
        texts = (_difference(expected.get(k), found.get(k), f"{where}.{k}".lstrip(".")) for k in keys)
        return next(filter(None, texts), None)
    if expected == found or not (expected or found):
        return None
    return f"{where} should be {expected!r}, and is {str(found)[:80]!r}"
