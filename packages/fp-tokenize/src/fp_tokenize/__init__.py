r"""
Stage 7 of 10: tokenizers, from text to the integers that a model reads, and back.

A model's vocabulary decides what it can say at all, how long its inputs are and what its losses mean. This chapter
begins at the two ends: one token a character, and one token a byte. Each has one guarantee, proved and tested over all
of Unicode, and both are kept in a file that other programs read.

| section | the question it answers |
| --- | --- |
| `fp_tokenize.protocol` | What can every tokenizer do? |
| `fp_tokenize.characters` | What are the smallest pieces of text, and what is lost by each choice? |
| `fp_tokenize.interchange` | How is a tokenizer kept, so that others give the same ids? |

>>> from fp_tokenize import ByteTokenizer, CharTokenizer
>>> text = "naïve"
>>> CharTokenizer.train([text]).encode(text), ByteTokenizer().encode(text)
([3, 1, 5, 4, 2], [110, 97, 195, 175, 118, 101])

**Not written yet**, and part of this chapter later: byte-pair encoding, WordPiece and Unigram, their training and
their proofs; pre-tokenizers, normalisers and special tokens; decoding of streams; the other file formats; measures of
a tokenizer; the command `fp-tokenize`; exercises. The dependencies on `fp-markov`, `regex`, `typer` and `rich` are for
these.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_tokenize.characters import ByteTokenizer as ByteTokenizer
    from fp_tokenize.characters import CharTokenizer as CharTokenizer
    from fp_tokenize.characters import byte_alphabet as byte_alphabet
    from fp_tokenize.interchange import load as load
    from fp_tokenize.interchange import save as save
    from fp_tokenize.protocol import Tokenizer as Tokenizer

__all__ = ["protocol", "characters", "interchange"]  # the sections, in reading order
__version__ = "0.2.0"

_SECTION_OF = {
    "Tokenizer": "protocol",
    "CharTokenizer": "characters",
    "ByteTokenizer": "characters",
    "byte_alphabet": "characters",
    "save": "interchange",
    "load": "interchange",
}


def __getattr__(name: str) -> object:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SECTION_OF})
