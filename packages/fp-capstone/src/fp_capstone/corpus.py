r"""
The corpus: text to learn from, text to be judged by, and how to keep the two apart.

A language model is judged on text that it has not seen. So every source of text (the default corpus, a file, a folder,
standard input) becomes one `Corpus`: a part to train on, a part held out, and the sha256 of both together, which every
figure names. This section says where the cut falls, and why text that repeats itself must be cleaned first.

You need: substrings, counting models and their discounts (stage 1).

## Where the cut falls

| source | the held-out part |
| --- | --- |
| a file, standard input | the characters from $\lfloor 0.9\,n \rfloor$ on, exactly, as in published results |
| a folder | its last files: the cut is the border between files that lies nearest to 90% |
| the default corpus | its last topics: the cut is the border between topics that lies nearest to 90% |

A border between documents is better than a cut inside one, because the two halves of a document share names and
phrases. Where no border leaves between 5% and 25%, the cut falls inside a document after all, at
$\lfloor 0.9\,n \rfloor$.

## Why copies favour counting

Suppose that a passage of the held-out text stands in the training text too. A counting model of order $n$ looks up the
last $n - 1$ tokens, finds what followed them, and subtracts a **discount** from each count to pay for what it has not
seen.

**Claim** `capstone.copies-cost`. Let a context have been followed in training by $m$ tokens, $k \ge 1$ of them the
token $y$, and let the model subtract a discount $d$ with $0 \le d < k$ from that count and spread what it took without
ever making a probability smaller. Then $y$ costs at most $\log \frac{m}{k - d}$ nats after that context. If the context
was followed only by $y$, the cost is at most $\log \frac{k}{k - d}$, however hard the text is to predict by any other
means.

**Proof.** The model's probability is the discounted relative frequency plus a share of the mass set free, which is not
negative:

$$p(y) = \frac{k - d}{m} + \text{(something} \ge 0) \ge \frac{k - d}{m} > 0. \qquad \text{(E1)}$$

The logarithm is increasing, so $-\log p(y) \le \log \frac{m}{k - d}$. If only $y$ followed, $k = m$. $\blacksquare$

Take a passage that stands twice in the training text, and whose contexts occur nowhere else in it: $m = k = 2$. With
$d = 0.8$ it costs at most

>>> round(float(np.log(2 / (2 - 0.8))), 2)
0.51

nats a token, and nothing was understood: it was looked up. With a share $c$ of the held-out tokens in such copies, the
table's mean loss is $(1 - c)\, \ell_{\text{new}} + c\, \ell_{\text{copied}}$, lower than its loss on new text by
$c\, (\ell_{\text{new}} - \ell_{\text{copied}})$. To measure learning, make $c$ small.

## Measuring copies

`copied_share` is $c$ with "copy" made precise: the share of held-out characters inside some substring of length $L$
that also stands in the training text. Comparing each substring of the one part with each of the other would take the
product of their lengths; naming substrings by integers takes a few sorts.

**Claim** `capstone.copies-doubling`. Let every substring of length $a$ have a name, equal names exactly for equal
substrings. Let $a < b \le 2a$. Name the substring of length $b$ at position $i$ by the pair of names at $i$ and at
$i + b - a$. Then again names are equal exactly for equal substrings. So $\lceil \log_2 L \rceil$ such steps, and no
fewer, name those of length $L$.

**Proof.** The two substrings of length $a$ at $i$ and at $i + b - a$ cover $i, \dots, i + a - 1$ and
$i + b - a, \dots, i + b - 1$. As $b - a \le a$ there is no gap between them, so together they cover all $b$ characters.
Equal substrings have equal parts, so equal pairs; equal pairs mean equal characters at each of the $b$ places, so equal
substrings. Start from $a = 1$, where the character itself is the name, and take $b = \min(2a, L)$: after $s$ steps the
length is $\min(2^s, L)$, which is $L$ as soon as $2^s \ge L$, and no choice of $b \le 2a$ gets beyond $2^s$ in $s$
steps. $\blacksquare$

## The default corpus

Every CPython carries the language reference as plain text, `pydoc_data.topics`: a dictionary from topic to pages. It
repeats itself, since many topics quote the same pages. `default_documents` therefore drops every paragraph that has
come before, where two paragraphs are the same if they differ in white space only; the lines that rule tables, made of
`+`, `-`, `=` and `|`, go as well: a table glues its paragraphs into one, and its rules are copies of one another. The
text differs between Python versions, hence the sha256.

## In practice

Web-scale corpora are cleaned with the same idea at larger size: hashes of paragraphs, MinHash for near copies, suffix
arrays for exact ones; the test sets are searched for in the training set (**decontamination**). References: Lee et al.,
*Deduplicating Training Data Makes Language Models Better* (arXiv 2107.06499); Karp, Miller and Rosenberg, *Rapid
identification of repeated patterns* (1972), for the doubling.
"""

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int

from fp_tokenize.protocol import Tokenizer

__all__ = ["Corpus", "load_corpus", "default_documents", "encode_corpus", "encode_exactly", "copied_share"]


@dataclass(frozen=True)
class Corpus:
    """
    Text to train on and text held out.

    Parameters
    ----------
    name
        Where the text came from, for people.
    train, held_out
        The two parts; the text is the first followed by the second.
    cut
        Where the cut between them fell, for people.

    Examples
    --------
    >>> corpus = Corpus("a rhyme", "one two buckle my ", "shoe")
    >>> corpus.n_characters, corpus.sha256[:8]
    (22, 'a059f321')
    """

    name: str
    train: str
    held_out: str
    cut: str = "at floor(0.9 n) characters"

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the text used, both parts, as UTF-8."""
        return hashlib.sha256((self.train + self.held_out).encode()).hexdigest()

    @property
    def n_characters(self) -> int:
        """Characters of both parts."""
        return len(self.train) + len(self.held_out)


def load_corpus(source: str | Path | None = None, *, encoding: str = "utf-8") -> Corpus:
    """
    Read a text and cut it in two.

    Parameters
    ----------
    source
        A file, a folder (its text files, also those of the folders in it, in the order of their names), `"-"` for
        standard input, or None for the default corpus. A hidden file, or one with a zero byte, is no text file.
    encoding
        How the bytes of files and of standard input spell characters.

    Returns
    -------
    Corpus
        The training part and the held-out part.

    Raises
    ------
    ValueError
        If the path does not exist, the bytes do not decode, or there is no text.

    Examples
    --------
    >>> corpus = load_corpus()
    >>> corpus.name
    'pydoc_data.topics'
    >>> 0.08 < len(corpus.held_out) / corpus.n_characters < 0.12
    True
    """
    try:
        "".encode(encoding)
    except LookupError:
        raise ValueError(f"there is no encoding {encoding!r}; examples are utf-8, utf-16, latin-1") from None
    if source is None:
        from pydoc_data.topics import topics

        return _cut("pydoc_data.topics", default_documents(topics), "topics")
    if str(source) == "-":
        return _cut("standard input", [_decode("standard input", sys.stdin.buffer.read(), encoding)], "")
    path = Path(source)
    if path.is_dir():
        texts = [_decode(str(file), data, encoding) for file, data in _text_files(path)]
        return _cut(str(path), [text if text.endswith("\n") else text + "\n" for text in texts if text], "files")
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}; --text takes a file, a folder, or - for standard input")
    return _cut(str(path), [_decode(str(path), path.read_bytes(), encoding)], "")


def _text_files(folder: Path) -> list[tuple[Path, bytes]]:
    """The files below a folder that hold text, in the order of their names."""
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    contents = ((file, file.read_bytes()) for file in files)
    return [(file, data) for file, data in contents if b"\0" not in data]


def _decode(name: str, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding).removeprefix("\ufeff")  # the mark of byte order is no part of the text
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} is not {encoding} text: byte {data[error.start]:#04x} at offset {error.start} does not decode "
            f"({error.reason}). Name the right encoding with --encoding (latin-1 reads any bytes)"
        ) from None


def _cut(name: str, documents: Sequence[str], what: str) -> Corpus:
    """Cut between the documents if a border lies near 90% of the text, else at floor(0.9 n) characters."""
    text = "".join(documents)
    n = len(text)
    if not text.strip():
        raise ValueError(f"{name} has no text to train on: it is empty or holds white space only")
    borders = np.cumsum([len(document) for document in documents])[:-1]
    inside = borders[(borders >= 0.75 * n) & (borders <= 0.95 * n)]
    if inside.size:
        border = int(inside[np.abs(inside - 0.9 * n).argmin()])
        return Corpus(name, text[:border], text[border:], f"between {what}")
    border = n * 9 // 10  # whole numbers: 0.9 is no binary fraction, and floor(0.9 n) must be exact
    return Corpus(name, text[:border], text[border:])


def default_documents(topics: Mapping[str, str]) -> list[str]:
    r"""
    One document per topic, in the order of the topics' names, without rules of tables and repeated paragraphs.

    Parameters
    ----------
    topics
        Topic to text.

    Returns
    -------
    list of str
        Paragraphs are separated by an empty line, and so are documents. Topics with nothing new are left out.

    Examples
    --------
    >>> default_documents({"b": "Same  words.\n\nNew.", "a": "Same words.\n\n====  ===="})
    ['Same words.\n\n', 'New.\n\n']
    """
    seen: set[str] = set()
    documents = []
    for name in sorted(topics):
        kept = []
        for paragraph in re.split(r"\n[ \t]*\n", topics[name]):
            lines = [line for line in paragraph.strip("\n").split("\n") if line.strip(" +-=|")]
            key = " ".join(" ".join(lines).split())
            if key and key not in seen:
                seen.add(key)
                kept.append("\n".join(lines))
        if kept:
            documents.append("\n\n".join(kept) + "\n\n")
    return documents


def encode_corpus(
    corpus: Corpus, tokenizer: Tokenizer, window: int
) -> tuple[Int[np.ndarray, " n_train"], Int[np.ndarray, " n_held_out"]]:
    """
    Both parts as token ids, each long enough to fill a window.

    Parameters
    ----------
    corpus
        The text.
    tokenizer
        What cuts it into tokens.
    window
        Tokens of a window.

    Returns
    -------
    train, held_out : ndarray
        Token ids.

    Raises
    ------
    ValueError
        If the tokenizer does not know a character, or a part has fewer than `window + 1` tokens: a window of inputs and
        one more for the last target.
    """
    parts = []
    for part, text in (("training", corpus.train), ("held-out", corpus.held_out)):
        ids = encode_exactly(text, tokenizer, f"the {part} part of {corpus.name}")
        if ids.size < window + 1:
            raise ValueError(
                f"the {part} part of {corpus.name} has {ids.size:,} tokens, but one window of {window} and its last "
                f"target need {window + 1:,}. Take a longer text or a smaller --context-length"
            )
        parts.append(ids)
    return parts[0], parts[1]


def encode_exactly(text: str, tokenizer: Tokenizer, what: str) -> Int[np.ndarray, " n"]:
    """
    Token ids that stand for a text, all of it.

    Parameters
    ----------
    text
        The text.
    tokenizer
        What cuts it into tokens.
    what
        What the text is, for the error.

    Raises
    ------
    ValueError
        If the tokenizer does not know a character: a loss or a continuation would be that of another text.

    Examples
    --------
    >>> from fp_tokenize.characters import CharTokenizer
    >>> encode_exactly("cab", CharTokenizer("abc"), "this").tolist()
    [3, 1, 2]
    """
    ids = np.asarray(tokenizer.encode_array(text), dtype=np.int64)
    decoded = tokenizer.decode(ids)
    if decoded != text:
        unknown = sorted(set(text) - set(decoded)) or ["\ufffd"]
        raise ValueError(
            f"{what} has characters that the model's tokenizer does not know, for instance "
            f"{', '.join(map(repr, unknown[:5]))}"
        )
    return ids


def copied_share(held_out: str, train: str, length: int = 50) -> float:
    """
    Share of held-out characters that stand in a copy of training text (`capstone.copies-doubling`).

    Parameters
    ----------
    held_out, train
        The two parts of a corpus.
    length
        Characters of the shortest copy that counts, at least 1.

    Returns
    -------
    float
        In `[0, 1]`.

    Raises
    ------
    ValueError
        If the length is below 1.

    Examples
    --------
    >>> copied_share("xxabcdexx", "..abcde..", length=5)
    0.5555555555555556
    """
    if length < 1:
        raise ValueError(f"a copy has at least 1 character, got length {length}")
    if min(len(held_out), len(train)) < length:
        return 0.0
    names = [np.frombuffer(part.encode("utf-32-le"), dtype="<u4").astype(np.int64) for part in (held_out, train)]
    for a, b in _doublings(length):
        largest = 1 + max(int(part.max()) for part in names)
        pairs = [part[: a - b] * largest + part[b - a :] for part in names]
        named = np.unique(np.concatenate(pairs), return_inverse=True)[1]
        names = [named[: pairs[0].size], named[pairs[0].size :]]
    starts = np.isin(names[0], names[1]).astype(np.int64)
    # a character is covered if a copy starts at most length - 1 before it: the difference of two running counts
    edges = np.zeros(len(held_out) + 1, dtype=np.int64)
    edges[: starts.size] += starts
    edges[length : length + starts.size] -= starts
    return float(np.mean(np.cumsum(edges[:-1]) > 0))


def _doublings(length: int) -> list[tuple[int, int]]:
    """
    The steps from length `a` to `b` of `capstone.copies-doubling`, from 1 to `length`.

    Examples
    --------
    >>> _doublings(50)
    [(1, 2), (2, 4), (4, 8), (8, 16), (16, 32), (32, 50)]
    """
    steps, a = [], 1
    while a < length:
        b = min(2 * a, length)
        steps.append((a, b))
        a = b
    return steps
