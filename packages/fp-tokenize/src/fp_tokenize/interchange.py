r"""
Interchange: a tokenizer as a file that other programs read.

A model is useless without the exact tokenizer that it was trained with. There are four kinds of files in which models
bring theirs, and each says only a part of what has to be known. This section reads and writes them so that every text
has the same ids on both sides, or refuses and says why. No code is stored in any of them, only data.

You need: `fp_tokenize.bpe`, `fp_tokenize.wordpiece`, `fp_tokenize.unigram`.

| file | what it holds | what it leaves to the reader | here |
| --- | --- | --- | --- |
| `tokenizer.json` (Hugging Face) | all | nothing | `from_huggingface`, `to_huggingface` |
| `.tiktoken` (OpenAI) | byte strings, ranks | how words are found; special tokens | `from_tiktoken`, `to_tiktoken` |
| `.model` (SentencePiece) | pieces, scores, a table of replacements | where a text may be cut | `from_sentencepiece` |
| `.gguf` (llama.cpp) | names, merges or scores | how words are found, behind a name | `from_gguf` |

`save` and `load` keep every tokenizer of this chapter as `tokenizer.json`. A text that spells special tokens is read
by Hugging Face's library as `encode(text, special="parse")` reads it.

## Characters and bytes as byte-pair encodings

The first layout knows no character tokenizer. It knows BPE (`fp_tokenize.bpe`): a vocabulary, and a list of merges.
Encoding starts with one token for each character of the text and applies merges while one applies.

**Claim** `tokenize.merge-free-bpe`. A BPE without merges whose vocabulary holds `<unk>` as id 0 and the characters of
an alphabet as ids from 1 encodes every text as `CharTokenizer` does. One whose vocabulary is `byte_alphabet`, fed with
the names of the text's bytes, encodes every text as `ByteTokenizer` does.

**Proof.** Without merges none ever applies, so the result is one token for each character: its id if it is in the
vocabulary, that of `<unk>` otherwise. This is the definition of `CharTokenizer.encode`. In the second case the
characters are names of bytes; the name of byte $b$ is in the vocabulary with id $b$ (`tokenize.byte-alphabet`), so the
ids are the bytes. $\blacksquare$

| part of the file | characters | bytes |
| --- | --- | --- |
| `model` | BPE, `unk_token` `<unk>`, no merges | BPE, no merges |
| `pre_tokenizer` | none | `ByteLevel`: text to the names of its bytes |
| `decoder` | `Fuse`: names joined without spaces | `ByteLevel`: names to bytes, bytes to text |

## Ranks

A rank file lists byte strings. It has no merges, and `from_tiktoken` recovers them (`tokenize.recovered-merges`). The
other way asks for more: a list of merges is given, and has to do what the ranks of its results would do.

**Claim** `tokenize.merges-as-ranks`. Let ranks of strings be such that merges can be recovered, $l_k r_k \to s_k$, as
in `tokenize.recovered-merges`. A list of merges of such strings in which the ranks of the results never fall, and which
contains all $l_k r_k$, makes of every word what the ranks of strings make of it.

**Proof.** Let both have done the same replacements so far. Cutting by strings joins two neighbours, if together they
are a string, of the lowest rank $k$ that there is, at its leftmost place. By the proof of `tokenize.string-ranks`, used
for the recovered list, the neighbours at every place where rank $k$ is seen are $l_k$ and $r_k$. The list of merges
looks for pairs of its own; every pair is two neighbours that together are a string, so none has a result of rank below
$k$, and those with a result of rank $k$ are $l_k r_k$, which is in the list. As the ranks of results never fall along
the list, a pair whose result has a higher rank comes later. So the list, too, takes $l_k r_k$, at its leftmost place.
If there are no such neighbours, there is no pair either, and both stop. $\blacksquare$

So `to_tiktoken` recovers merges from the ids and looks for them among the tokenizer's. This admits lists as they come
from training, and lists such as Llama 3's, which name every cut of each string.

## Scores and spaces

A `.model` file of SentencePiece has no merges either. Its BPE joins the two neighbours that make the piece of highest
score, the leftmost first: ranks of strings again, highest score first. And its text is not split into words: spaces
become `▁`, and the whole text is cut at once. Cutting it in parts allows what has been cut before to be looked up.

**Claim** `tokenize.pieces-between-runs`. Let no piece of more than one character have `▁` directly behind another
character. Cut a text before every `▁` that is directly behind another character. What BPE by ranks of strings, and what
the best segmentation of Unigram, make of the text is what they make of the parts, one after the other.

**Proof.** Whatever covers characters on both sides of a cut covers the character before it and the `▁` behind it, and
so is no piece, nor is it a single unknown character. *BPE.* Two neighbours that are joined become a piece, so nothing
is ever joined over a cut. Of the places that offer the lowest rank the leftmost is taken; seen from one part, each
replacement in it is at the lowest rank and the leftmost place that the part offers, and depends on nothing outside. So
each part becomes what it becomes alone. *Unigram.* The edges of the lattice are pieces and single characters, and none
leads over a cut, so `tokenize.cut-places` applies. $\blacksquare$

If some piece does have `▁` in the middle, such as `▁of▁the`, the text stays whole.

The table of replacements in such a file is applied by SentencePiece at the longest match, by Hugging Face's library to
clusters of characters (`fp_tokenize.normalize`), and the two libraries add scores with different precision
(`fp_tokenize.single_precision`). A tokenizer read from `.model` does as SentencePiece does. `save` keeps that in a
field `fp_tokenize` of the file, which other programs pass over; `to_huggingface` refuses such a tokenizer unless told
that nearly the same ids will do.

## What is refused

Reading a file approximately would be worse than refusing it. Whatever `from_huggingface` does not understand, a part
of a kind that is not known here, a field that nobody asked for, is named by its path in the file. A key that is absent,
null, false or empty means the same to every reader of this layout and is treated as equal.

>>> import json, tempfile
>>> from pathlib import Path
>>> model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"], "dropout": 0.1}
>>> file = Path(tempfile.mkdtemp()) / "tokenizer.json"
>>> _ = file.write_text(json.dumps({"model": model}))
>>> try:
...     from_huggingface(file)
... except ValueError as error:
...     print(str(error).replace(str(file.parent), "…"))
…/tokenizer.json cannot be read: model.dropout is 0.1: the ids would be random. Set it to null

Files come from strangers. Numbers, names and ids are checked before they are used, so that a file is refused with its
place and a reason, in time and memory bounded by its size: lengths are believed only as far as there are bytes, ids
only with few gaps between them, patterns only if both libraries' engines of regular expressions read them alike; and a
pattern that would try the same thing in exponentially many ways runs into a time limit (`fp_tokenize.pretokenize`).

## Never half a file

`save` writes under a temporary name in the same directory, waits until the contents are on the disk (`fsync`), then
renames. A rename replaces the old name in one step: whenever the power fails, the name refers to the old file or to
the new one, whole.

## In practice

Ids agree; *decoding* differs where Hugging Face's library writes the name of the unknown token and this package
U+FFFD, tidies spaces before punctuation (`cleanup` of its WordPiece decoder), joins names by spaces if a file has no
decoder, leaves `</w>` in the text of CLIP, and reads added tokens such as `é` as names of bytes. Templates are those
for one text; pairs of texts are no matter of this chapter. Three things can make ids differ: the tables of Unicode that
a library was compiled with, for characters younger than the oldest of them; the text `<0x41>`, which the library's
Unigram with byte fallback reads as the byte and SentencePiece and this package as text; and, in llama.cpp, its own
approximations of patterns. GGUF's byte-level vocabularies do not say how a text was normalised for the model, and
nothing is done to it here.

`transformers` also wants a `tokenizer_config.json` with the class and the special tokens;
`PreTrainedTokenizerFast(tokenizer_file=...)` does without. The packages `gguf` and `sentencepiece` are not needed to
read their files. Sources: the four projects' own readers.
"""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fp_markov._files import replacing
from fp_tokenize.frame import Frame
from fp_tokenize.pretokenize import Pretokenizer
from fp_tokenize.protocol import Tokenizer

__all__ = [  # the order of the page
    "save",
    "load",
    "from_huggingface",
    "to_huggingface",
    "from_tiktoken",
    "to_tiktoken",
    "from_sentencepiece",
    "from_gguf",
]

FILE_NAME = "tokenizer.json"


def save(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None:
    """
    Write a tokenizer in the layout of Hugging Face's `tokenizer.json`.

    Parameters
    ----------
    tokenizer
        A tokenizer of this chapter.
    path
        The file if it ends in `.json`; otherwise a directory, made if missing, that gets a `tokenizer.json`.

    Raises
    ------
    TypeError
        If the tokenizer is of another kind.
    ValueError
        If it has a pattern that cannot be written, because others might read it differently.
    OSError
        If the file cannot be written; what was there before is left as it was.

    Examples
    --------
    >>> import tempfile
    >>> from fp_tokenize import CharTokenizer
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save(CharTokenizer("abc"), directory)
    ...     load(directory)
    CharTokenizer('abc')
    """
    from fp_tokenize._huggingface import layout_of  # here, as below: it imports all tokenizers

    _write(layout_of(tokenizer), path)


def load(path: str | os.PathLike[str]) -> Frame:
    """
    Read what `save` wrote.

    Parameters
    ----------
    path
        The file, or the directory that holds `tokenizer.json`.

    Returns
    -------
    Frame
        A tokenizer of the class that was saved.

    Raises
    ------
    ValueError
        If the file is cut off, corrupt, or says something that is not understood here.
    FileNotFoundError
        If there is no such file.
    """
    return from_huggingface(path)


def from_huggingface(path: str | os.PathLike[str]) -> Frame:
    """
    Read a `tokenizer.json` of Hugging Face's `tokenizers`.

    Parameters
    ----------
    path
        The file, or the directory that holds `tokenizer.json`.

    Returns
    -------
    Frame
        A `BPETokenizer`, `WordPieceTokenizer` or `UnigramTokenizer`; a `CharTokenizer` or `ByteTokenizer` if the file
        says what they do.

    Raises
    ------
    ValueError
        If the file is cut off, corrupt, or says something that is not understood here: with the place in the file.
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> import json, tempfile
    >>> file = Path(tempfile.mkdtemp()) / "tokenizer.json"
    >>> model = {
    ...     "type": "WordPiece",
    ...     "unk_token": "[UNK]",
    ...     "continuing_subword_prefix": "##",
    ...     "max_input_chars_per_word": 100,
    ...     "vocab": {"[UNK]": 0, "hug": 1, "##s": 2},
    ... }
    >>> _ = file.write_text(json.dumps({"model": model, "normalizer": {"type": "Lowercase"}}))
    >>> from_huggingface(file).encode("Hugs")
    [1, 2]
    """
    from fp_tokenize._huggingface import tokenizer_of
    from fp_tokenize._reading import read_json

    file = _file(path)
    with _reading(file):
        return tokenizer_of(read_json(file))


def to_huggingface(tokenizer: Tokenizer, path: str | os.PathLike[str], exact: bool = True) -> None:
    """
    Write a `tokenizer.json` that gives the same ids in Hugging Face's `tokenizers`.

    Parameters
    ----------
    tokenizer
        A tokenizer of this chapter.
    path
        As for `save`.
    exact
        Whether to refuse a tokenizer for which that library gives *nearly* the same ids: one read from `.model`, whose
        table and scores the library reads in its own way, or one whose merges share ranks.

    Raises
    ------
    TypeError
        If the tokenizer is of another kind.
    ValueError
        If the ids could differ, and `exact` is true.
    OSError
        If the file cannot be written; what was there before is left as it was.
    """
    from fp_tokenize._huggingface import EXTENSION, layout_of

    layout = layout_of(tokenizer)
    extension = layout.pop(EXTENSION, None)
    if extension and exact:
        raise ValueError(
            f"Hugging Face's library has no place for this tokenizer's {', '.join(extension)}, so some texts would get "
            "other ids. Use exact=False to write what it can read, or save() to keep everything"
        )
    _write(layout, path)


def from_tiktoken(
    path: str | os.PathLike[str],
    pattern: str | Pretokenizer,
    special_tokens: Mapping[str, int] | None = None,
) -> Frame:
    """
    Read a rank file of tiktoken.

    Parameters
    ----------
    path
        The file: base64, a space and a rank on each line.
    pattern
        What words are: a regular expression (text that it does not match is left out, as in tiktoken), or a
        pre-tokenizer.
    special_tokens
        Ids of the special tokens, by spelling.

    Returns
    -------
    BPETokenizer

    Raises
    ------
    ValueError
        If a line is no such pair, a string or rank occurs twice, a byte has no rank, or the special tokens do not fit.
    FileNotFoundError
        If there is no such file.
    """
    from fp_tokenize._tiktoken import read_ranks, tokenizer_of

    file = Path(path)
    with _reading(file):
        return tokenizer_of(read_ranks(file), pattern, special_tokens or {})


def to_tiktoken(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> dict[str, Any]:
    """
    Write a rank file for tiktoken.

    Parameters
    ----------
    tokenizer
        A `BPETokenizer` of bytes.
    path
        The file.

    Returns
    -------
    dict
        What the file has no place for, as `tiktoken.Encoding` wants it: `pat_str` and `special_tokens`.

    Raises
    ------
    TypeError
        If the tokenizer is of another kind.
    ValueError
        If tiktoken would cut some text in another way (`tokenize.merges-as-ranks`).
    OSError
        If the file cannot be written; what was there before is left as it was.

    Examples
    --------
    >>> import tempfile
    >>> from fp_tokenize import BPETokenizer
    >>> file = Path(tempfile.mkdtemp()) / "low.tiktoken"
    >>> tokenizer = BPETokenizer.train(["low lower lowest"], 260, ["<|end|>"])
    >>> rest = to_tiktoken(tokenizer, file)
    >>> rest["special_tokens"]
    {'<|end|>': 0}
    >>> again = from_tiktoken(file, rest["pat_str"], rest["special_tokens"])
    >>> again.encode("lower") == tokenizer.encode("lower")
    True
    """
    from fp_tokenize._tiktoken import pattern_of, ranks_of
    from fp_tokenize.bpe import BPETokenizer

    if not isinstance(tokenizer, BPETokenizer) or tokenizer.alphabet != "bytes":
        raise TypeError(f"only a BPETokenizer of bytes has ranks, got {tokenizer!r}")
    ranks = ranks_of(tokenizer)
    rest = {"pat_str": pattern_of(tokenizer.pretokenizer), "special_tokens": tokenizer.special_tokens}
    with replacing(Path(path)) as stream:
        for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
            stream.write(base64.b64encode(token) + b" %d\n" % rank)
    return rest


def from_sentencepiece(path: str | os.PathLike[str]) -> Frame:
    """
    Read a `.model` file of SentencePiece.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    UnigramTokenizer or BPETokenizer
        The control symbols (`<s>`, `</s>`) and `<unk>` are special tokens; no template puts them around a text.

    Raises
    ------
    ValueError
        If the file is cut off, corrupt, or says something that is not understood here.
    FileNotFoundError
        If there is no such file.
    """
    from fp_tokenize._sentencepiece import read_model, tokenizer_of

    file = Path(path)
    with _reading(file):
        return tokenizer_of(read_model(file))


def from_gguf(path: str | os.PathLike[str]) -> Frame:
    """
    Read the vocabulary of a model in llama.cpp's GGUF; the model's weights are not read.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    BPETokenizer, UnigramTokenizer or WordPieceTokenizer
        With the template that the file asks for.

    Raises
    ------
    ValueError
        If the file is cut off, corrupt, or says something that is not understood here.
    FileNotFoundError
        If there is no such file.
    """
    from fp_tokenize._gguf import tokenizer_of

    file = Path(path)
    with _reading(file):
        return tokenizer_of(file)


def _file(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    return path if path.suffix == ".json" else path / FILE_NAME


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Name the file in what is wrong with it."""
    try:
        yield
    except RecursionError:
        raise ValueError(f"{file} cannot be read: its parts are nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}") from None


def _write(layout: dict[str, Any], path: str | os.PathLike[str]) -> None:
    file = _file(path)
    text = json.dumps(layout, ensure_ascii=False, indent=2, allow_nan=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as stream:
        stream.write(text.encode())
