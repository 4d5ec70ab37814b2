r"""
Explaining: the steps from a text to its tokens, one line each.

Why was this word cut like that? Nobody can tell from the ids. This section replays the definitions, not the fast
versions, and writes down each step: which merge came first, which match was the longest, by how much the best
segmentation won.

You need: `fp_tokenize.merges` for BPE, `fp_tokenize.wordpiece` for WordPiece, `fp_tokenize.lattice` for Unigram.

Each merge of a byte-pair encoding has a rank, and the lowest that applies is next:

>>> from fp_tokenize import BPETokenizer
>>> tokenizer = BPETokenizer.train(["low lower lowest new newer newest"], 256 + 9)
>>> print(explain(tokenizer, "lowest"))
text 'lowest'
words 'lowest'
<BLANKLINE>
'lowest'
             l o w e s t
  rank 0     w + e -> we        l o we s t
  rank 1     l + o -> lo        lo we s t
  rank 4     s + t -> st        lo we st
  rank 7     we + st -> west    lo west
  ids        257 263
<BLANKLINE>
tokens 2: lo|west

WordPiece takes the longest name that matches, and a word that gets stuck is unknown as a whole:

>>> from fp_tokenize import WordPieceTokenizer
>>> pieces = WordPieceTokenizer(["[UNK]", "un", "##want", "##ed", "unw"])
>>> print("\n".join(explain(pieces, "unwanted").splitlines()[3:]))
'unwanted'
  at 0       unwanted, unwante, unwant, unwan, unwa, unw          -> unw
  at 3       ##anted, ##ante, ##ant, ##an, ##a                    -> nothing: the word is unknown
  ids        0
<BLANKLINE>
tokens 1: [UNK]

Unigram compares whole segmentations; the differences are logarithms of odds:

>>> from fp_tokenize import UnigramTokenizer
>>> unigram = UnigramTokenizer(
...     [
...         ("<unk>", 0.0),
...         ("▁", -3.0),
...         ("▁un", -4.0),
...         ("do", -3.5),
...         ("u", -4.0),
...         ("n", -4.0),
...         ("ndo", -4.5),
...         ("▁undo", -9.0),
...     ]
... )
>>> print("\n".join(explain(unigram, "undo").splitlines()[3:]))
'▁undo'
  -7.50      ▁un|do
  -9.00      ▁undo              e^1.50 times less likely
  -11.50     ▁|u|ndo            e^4.00 times less likely
  ids        2 3
<BLANKLINE>
tokens 2: ▁un|do

## In practice

The ranks of a merge list are the only thing that a byte-pair encoding has learnt: a merge of rank 30,000 was the best
pair in the training text 30,000 merges after the first. What a surprising cut reveals is the training text.
"""

from itertools import pairwise

from fp_tokenize import lattice
from fp_tokenize.bpe import BPETokenizer
from fp_tokenize.frame import Frame
from fp_tokenize.pipeline import SubwordTokenizer
from fp_tokenize.unigram import UnigramTokenizer
from fp_tokenize.wordpiece import WordPieceTokenizer

__all__ = ["explain", "merge_steps", "match_steps", "segmentations"]  # the order of the page

SHOWN = 3  # segmentations of a word


def explain(tokenizer: Frame, text: str) -> str:
    """
    The steps from a text to its tokens.

    Parameters
    ----------
    tokenizer
        Any tokenizer of this chapter.
    text
        A word, or a text of a few; special tokens are read as text.

    Returns
    -------
    str
        Lines for people to read.

    Raises
    ------
    ValueError
        If the text has lone surrogates.
    """
    lines = [f"text {text!r}"]
    if isinstance(tokenizer, SubwordTokenizer):
        normalized = tokenizer.normalizer(text)
        if normalized != text:
            lines.append(f"normalised {normalized!r}")
        words = tokenizer.words(text)
        lines.append("words " + " ".join(map(repr, words)))
        for word in dict.fromkeys(words):  # each once
            lines += ["", repr(word), *_steps(tokenizer, word)]
    ids = tokenizer.encode(text)
    names = [_visible(tokenizer.id_to_token(i) or "") for i in ids]
    return "\n".join([*lines, "", f"tokens {len(ids)}: {'|'.join(names)}"])


def _steps(tokenizer: SubwordTokenizer, word: str) -> list[str]:
    if isinstance(tokenizer, BPETokenizer):
        rows = _merge_rows(tokenizer, word)
    elif isinstance(tokenizer, WordPieceTokenizer):
        rows = [_match_row(*step) for step in match_steps(tokenizer, word)]
    elif isinstance(tokenizer, UnigramTokenizer):
        rows = _segmentation_rows(tokenizer, word)
    else:
        rows = []
    rows.append(("ids", " ".join(map(str, tokenizer._cut_reference(word))), ""))
    return [f"  {first:<10} {second:<18} {third}".rstrip() for first, second, third in rows]


def merge_steps(tokenizer: BPETokenizer, word: str) -> list[tuple[int, tuple[int, int], list[int]]]:
    """
    The merges of a word: the rank of each, its operands and the symbols after it.

    Parameters
    ----------
    tokenizer
        A byte-pair encoding.
    word
        One word, as `tokenizer.words` gives it.

    Returns
    -------
    list of tuple
        Rank, ids of the two operands, ids of all symbols; first the symbols without a merge, with rank -1.
    """
    merges = tokenizer._encoder.merges
    symbols = [symbol for symbol, _, _ in tokenizer._symbols(word)]
    steps = [(-1, (-1, -1), list(symbols))]
    while True:
        offers = [(merges.rank[pair], i) for i, pair in enumerate(pairwise(symbols)) if pair in merges.rank]
        if not offers:
            return steps
        rank, i = min(offers)
        pair = (symbols[i], symbols[i + 1])
        symbols[i : i + 2] = [merges.result[rank]]
        steps.append((rank, pair, list(symbols)))


def _merge_rows(tokenizer: BPETokenizer, word: str) -> list[tuple[str, str, str]]:
    def name(token_id: int) -> str:
        return _visible(tokenizer.id_to_token(token_id) or "")

    rows = []
    for rank, (left, right), symbols in merge_steps(tokenizer, word):
        written = " ".join(map(name, symbols))
        if rank < 0:
            rows.append(("", written, ""))
        else:
            made = name(tokenizer._encoder.merges.result[rank])
            rows.append((f"rank {rank}", f"{name(left)} + {name(right)} -> {made}", written))
    if tokenizer.ignore_merges and len(tokenizer._cut_reference(word)) == 1 and len(rows[-1][-1].split()) != 1:
        rows.append(("whole", "the word is a token", ""))
    return rows


def match_steps(tokenizer: WordPieceTokenizer, word: str) -> list[tuple[int, list[str], str | None]]:
    """
    The matches of a word: where each begins, the names tried from the longest on, and the one found.

    Parameters
    ----------
    tokenizer
        A WordPiece tokenizer.
    word
        One word, as `tokenizer.words` gives it.

    Returns
    -------
    list of tuple
        Position, names tried, and the last of them if it is in the vocabulary, otherwise `None`.
    """
    steps: list[tuple[int, list[str], str | None]] = []
    at = 0
    while at < len(word):
        prefix = tokenizer.prefix if at else ""
        tried = []
        for end in range(len(word), at, -1):
            tried.append(prefix + word[at:end])
            if tried[-1] in tokenizer.ordinary:
                break
        found = tried[-1] if tried[-1] in tokenizer.ordinary else None
        steps.append((at, tried, found))
        if found is None:
            break
        at += len(found) - len(prefix)
    return steps


def _match_row(at: int, tried: list[str], found: str | None) -> tuple[str, str, str]:
    shown = tried if len(tried) <= 8 else [*tried[:3], "…", *tried[-3:]]
    return f"at {at}", f"{', '.join(map(_visible, shown)):<52}", f"-> {found or 'nothing: the word is unknown'}"


def segmentations(tokenizer: UnigramTokenizer, word: str, n: int = SHOWN) -> list[tuple[float, list[str]]]:
    """
    The best segmentations of a word and their log probabilities, the best first.

    Parameters
    ----------
    tokenizer
        A Unigram tokenizer.
    word
        One word, as `tokenizer.words` gives it.
    n
        How many to return at most.
    """
    edges = lattice.edges_of(word, tokenizer.scores, tokenizer.unknown_score)
    return [(score, lattice.pieces(word, places)) for score, places in lattice.n_best(edges, n)]


def _segmentation_rows(tokenizer: UnigramTokenizer, word: str) -> list[tuple[str, str, str]]:
    found = segmentations(tokenizer, word)
    best = found[0][0]
    behind = ["", *(f"e^{best - score:.2f} times less likely" for score, _ in found[1:])]
    return [
        (f"{score:.2f}", "|".join(map(_visible, pieces)), note)
        for (score, pieces), note in zip(found, behind, strict=True)
    ]


def _visible(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
