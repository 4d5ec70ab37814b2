r"""
Stage 7 of 10: tokenizers, from text to the integers that a model reads, and back.

A model's vocabulary decides what it can say at all, how long its inputs are and what its losses mean. Between one token
a character and one token a word lie the three algorithms that language models use: byte-pair encoding, WordPiece and
Unigram. This chapter derives all three, proves what each guarantees and what it does not, and writes each twice: once
to be read, once to be fast, with a proof and a test that both do the same. The files of other libraries are read and
written with the same ids, token for token.

>>> from fp_tokenize import BPETokenizer
>>> text = "low lower lowest, new newer newest, wide wider widest. " * 20
>>> tokenizer = BPETokenizer.train([text], vocab_size=256 + 16)
>>> ids = tokenizer.encode("the slowest")
>>> [tokenizer.id_to_bytes(i) for i in ids]
[b't', b'h', b'e', b' ', b's', b'lo', b'west']
>>> tokenizer.decode(ids)
'the slowest'

From the command line, on any text:

    fp-tokenize train FILE --vocab-size 8192 --out tokenizer.json
    fp-tokenize explain tokenizer.json "tokenization"

## The chapter as a problem

**Understand.** *What is unknown?* A set of strings, and a rule to cut any text into them. *What is given?* A text that
is like those to come. *What would count as an answer?* Every text can be cut and comes back unchanged; the cut text is
short; the set is small; what belongs together is seldom torn apart. Can all be had? No: a larger set makes shorter
texts (`fp_tokenize.cost`), so its size is a choice, and everything else is measured at that size.

**Plan.** *Do you know a related problem?* Compression: the shortest description of a text by a dictionary. To find the
best dictionary is hard; *could you solve a part of it?* Grow the dictionary by one string at a time, the one that helps
most now. That is BPE, and with another meaning of "helps" WordPiece. *Could you go the other way?* Begin with too many
strings, give each a probability, and drop what is missed least. That is Unigram. *Could you restate the problem?* If a
text is words that repeat, whatever is done can be done once for each distinct word.

**Execute.** Say what a character is. Cut into words. Derive the three trainings; prove what the encoders compute; make
them fast by what has been proven. Read the files of others.

**Reflect.** *Can you check the result?* Against exhaustive search on short words, against a slow version line by line,
and against the libraries that everybody uses, on random strings from all of Unicode and on text in many languages.
*Did you use all the hypotheses?* Drop one, that each result has one merge, and two definitions of BPE that are usually
confused come apart (`fp_tokenize.merges`).

## The sections

| section | the question it answers |
| --- | --- |
| `fp_tokenize.cost` | Why tokens at all, and what do they cost? |
| `fp_tokenize.protocol` | What can every tokenizer do? |
| `fp_tokenize.characters` | What are the smallest pieces of text, and what is lost by each choice? |
| `fp_tokenize.unicode` | What is a character? |
| `fp_tokenize.streaming` | How is text shown while its tokens arrive? |
| `fp_tokenize.special` | What if a text spells a token that stands for no text? |
| `fp_tokenize.frame` | What do all tokenizers share? |
| `fp_tokenize.normalize` | Which differences between texts should a model not see? |
| `fp_tokenize.pretokenize` | Where do words end, before any vocabulary is asked? |
| `fp_tokenize.pipeline` | From text to ids: why is most of the work done only once? |
| `fp_tokenize.words` | How are the words of a large text counted in bounded memory? |
| `fp_tokenize.merges` | What does a list of merges do to a word? |
| `fp_tokenize.bpe_training` | Which merges? The most frequent pair, again and again |
| `fp_tokenize.bpe_encoding` | How are many words cut by merges at once, and one word of a million characters? |
| `fp_tokenize.bpe` | A tokenizer made of merges: what has no token, and ranks without merges |
| `fp_tokenize.wordpiece_training` | Which pair, if likelihood decides? |
| `fp_tokenize.wordpiece` | A tokenizer of the longest match, and what it costs |
| `fp_tokenize.linmaxmatch` | How are the longest matches found in one pass? |
| `fp_tokenize.lattice` | All segmentations of a word at once: the best, their sum, a random one |
| `fp_tokenize.unigram` | Cutting by the most probable segmentation |
| `fp_tokenize.single_precision` | What if the sums of scores are rounded, as in the library to be matched? |
| `fp_tokenize.seed_pieces` | Which substrings are worth considering? |
| `fp_tokenize.digamma` | What is the mean of a logarithm under a Dirichlet distribution? |
| `fp_tokenize.trellis` | All words at once: sums over segmentations in NumPy |
| `fp_tokenize.unigram_training` | How are the probabilities learnt, when no segmentation is given? |
| `fp_tokenize.regularization` | Why should a model see a word cut in several ways? |
| `fp_tokenize.healing` | What goes wrong where a prompt ends? |
| `fp_tokenize.metrics` | Is one tokenizer better than another, and for whom? |
| `fp_tokenize.interchange` | How is a tokenizer kept, so that others give the same ids? |
| `fp_tokenize.explain` | Why was this word cut like that? |
| `fp_tokenize.mistakes` | What goes wrong without an error? |
| `fp_tokenize.exercises` | Can you do it yourself? |

You need chapter 1: probability, entropy, the laws of Zipf and Heaps, Jensen's inequality. Single sections ask for more,
and say so: rounding from chapter 2, log-sum-exp from chapter 3, and for prices the layers of chapter 6.

## In modern language models

Nearly all use byte-level BPE with a pattern that splits digits into ones or threes, and 50,000 to 260,000 tokens. The
tokenizer is fixed before the model is trained and can hardly be changed after. Many things that look like failures of a
model begin here: letters that it cannot count, numbers cut at odd places, prompts that end in a space, languages that
pay three times the price for the same sentence.

**Left out**: models without tokenizers that learn where to cut; vocabularies learnt together with the model; BPE over
several words at once ("superwords"); tokenizers of Chinese and Japanese by dictionaries and grammar.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_tokenize.bpe import BPETokenizer as BPETokenizer
    from fp_tokenize.characters import ByteTokenizer as ByteTokenizer
    from fp_tokenize.characters import CharTokenizer as CharTokenizer
    from fp_tokenize.characters import byte_alphabet as byte_alphabet
    from fp_tokenize.healing import heal as heal
    from fp_tokenize.interchange import from_gguf as from_gguf
    from fp_tokenize.interchange import from_huggingface as from_huggingface
    from fp_tokenize.interchange import from_sentencepiece as from_sentencepiece
    from fp_tokenize.interchange import from_tiktoken as from_tiktoken
    from fp_tokenize.interchange import load as load
    from fp_tokenize.interchange import save as save
    from fp_tokenize.interchange import to_huggingface as to_huggingface
    from fp_tokenize.interchange import to_tiktoken as to_tiktoken
    from fp_tokenize.normalize import Normalizer as Normalizer
    from fp_tokenize.pretokenize import Pretokenizer as Pretokenizer
    from fp_tokenize.protocol import Tokenizer as Tokenizer
    from fp_tokenize.special import AddedToken as AddedToken
    from fp_tokenize.special import Template as Template
    from fp_tokenize.unigram import UnigramTokenizer as UnigramTokenizer
    from fp_tokenize.wordpiece import WordPieceTokenizer as WordPieceTokenizer
    from fp_tokenize.words import count_words as count_words

__all__ = [  # sections, in reading order
    "cost",
    "protocol",
    "characters",
    "unicode",
    "streaming",
    "special",
    "frame",
    "normalize",
    "pretokenize",
    "pipeline",
    "words",
    "merges",
    "bpe_training",
    "bpe_encoding",
    "bpe",
    "wordpiece_training",
    "wordpiece",
    "linmaxmatch",
    "lattice",
    "unigram",
    "single_precision",
    "seed_pieces",
    "digamma",
    "trellis",
    "unigram_training",
    "regularization",
    "healing",
    "metrics",
    "interchange",
    "explain",
    "mistakes",
    "exercises",
]
__version__ = "0.2.0"

_SECTION_OF = {
    "Tokenizer": "protocol",
    "CharTokenizer": "characters",
    "ByteTokenizer": "characters",
    "byte_alphabet": "characters",
    "AddedToken": "special",
    "Template": "special",
    "Normalizer": "normalize",
    "Pretokenizer": "pretokenize",
    "BPETokenizer": "bpe",
    "WordPieceTokenizer": "wordpiece",
    "UnigramTokenizer": "unigram",
    "count_words": "words",
    "heal": "healing",
    "save": "interchange",
    "load": "interchange",
    "from_huggingface": "interchange",
    "to_huggingface": "interchange",
    "from_tiktoken": "interchange",
    "to_tiktoken": "interchange",
    "from_sentencepiece": "interchange",
    "from_gguf": "interchange",
}


def __getattr__(name: str) -> object:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SECTION_OF})
