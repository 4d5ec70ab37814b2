r"""
Vocabulary: a text as numbers.

Models count numbers and texts are made of characters. A **vocabulary** lists the tokens that a text may consist of; the
position of a token in the list is its **id**. What should a token be? Stage 7 learns an answer from the text. Here are
the three that need no learning, with what each costs.

You need: `fp_markov.information`.

## Characters, bytes, words

**Characters** are few, a hundred in an English text, and a text in them is long. **Bytes**, of UTF-8, are always 256:
every text in every script has its numbers, and no symbol is ever unknown. Both are lossless: the text comes back
exactly. **Words**, the pieces between white space, make texts short and vocabularies large. Here white space is what
KenLM splits at: spaces, tabs, line ends and zero bytes. A comma sticks to its word, and `The` is another word than
`the`: whoever wants it otherwise separates punctuation and folds case before. The words come back, and between them
single spaces instead of what stood there.

Whatever a vocabulary from one text lacks is an error in another, unless it has the token `<unk>`, which then stands for
everything that is not listed: words not seen, and, so that the model learns when to expect them, words seen only
`min_count - 1` times or fewer.

**Claim** `markov.merged-tokens`. Let $f$ map tokens to tokens, as `<unk>` does to all words that are not listed, and
let $P$ be a distribution over texts of $T$ tokens. The distribution $Q$ of the mapped text gives it at least the
probability that $P$ gives the text: $Q(f(w)) \ge P(w)$. If $f$ maps all tokens to one, $Q(f(w)) = 1$.

**Proof.** $Q(f(w))$ is the sum of $P(v)$ over all texts $v$ with $f(v) = f(w)$. The text $w$ is one of them, and the
others add nothing negative. If all texts are mapped to the same one, the sum is over all of them, which is $1$.
$\blacksquare$

So a loss says nothing without its vocabulary. Raising `min_count` improves it, down to a perfect zero that knows one
word, `<unk>`. Losses of models with different sets of unknown words do not compare; bits per byte of models without
unknown symbols do (`markov.bits-per-byte`).

## Sentences

A file with one sentence on each line is not one text: what a line begins with does not depend on how the last line
ended. `Vocabulary.encode_sentences` puts `<s>` before each line and `</s>` after it. The model sees where sentences
begin, because `<s>` is context there, and predicts where they end, because `</s>` is a token like any other. Without
`</s>` the probabilities of the sentences of each *length* would sum to one, instead of those of all sentences.

## In practice

Language models of today have neither characters nor words but pieces of words, with bytes below them for all else, so
that `<unk>` is never needed; their sequences begin with a token like `<s>`, and they stop writing after one like
`</s>`.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, Integer

from fp_markov._files import replacing
from fp_markov.counting import as_ids, check_ids

__all__ = ["Vocabulary"]

UNITS = ("characters", "bytes", "words")
UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
SPECIAL = (UNKNOWN, BEGIN, END)
WORD = re.compile("[^\0\t\n\r ]+")  # where lmplz, the estimator of KenLM, separates words
BYTES = [chr(b) if 33 <= b <= 126 else f"<0x{b:02X}>" for b in range(256)]  # the notation of SentencePiece


class Vocabulary:
    """
    Tokens and their ids.

    `Vocabulary(v.tokens, v.units)` equals `v`: these two are what `save` writes.

    Parameters
    ----------
    tokens
        The tokens in the order of their ids, among them any of `<unk>`, `<s>` and `</s>`.
    units
        What a token is: `"characters"`, `"bytes"` (then the tokens begin with the 256 bytes, written `A` or `<0x0A>`)
        or `"words"`.

    Attributes
    ----------
    tokens : list of str
        The tokens, by id.
    units : str
        What a token is.
    unk, bos, eos : int or None
        Ids of `<unk>`, `<s>` and `</s>`; `None` where the vocabulary lacks them.

    Raises
    ------
    ValueError
        If the units are unknown, there is no token, one stands twice, or one is no such unit.

    Examples
    --------
    >>> vocabulary = Vocabulary.from_text("abracadabra")
    >>> vocabulary.encode("cab").tolist(), vocabulary.decode([3, 0, 1]), len(vocabulary)
    ([2, 0, 1], 'dab', 5)
    """

    def __init__(self, tokens: Sequence[str], units: str = "characters") -> None:
        if units not in UNITS:
            raise ValueError(f"units must be one of {', '.join(UNITS)}, got {units!r}")
        self.tokens = list(tokens)
        self.units = units
        if not self.tokens:
            raise ValueError("a vocabulary needs at least one token, got none. Was the text empty?")
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        if len(self._ids) < len(self.tokens):
            double = next(token for i, token in enumerate(self.tokens) if self._ids[token] != i)
            raise ValueError(f"each token has one id, but {double!r} stands twice in the list")
        if units == "bytes" and self.tokens[:256] != BYTES:
            raise ValueError("a vocabulary of bytes begins with all 256 of them, in order: use from_text")
        for token in self.tokens[256:] if units == "bytes" else self.tokens:
            fits = len(token) == 1 if units == "characters" else units == "words" and WORD.fullmatch(token)
            if not fits and token not in SPECIAL:
                raise ValueError(f"{token!r} is not one of the {units}, nor one of {', '.join(SPECIAL)}")
        self.unk, self.bos, self.eos = (self._ids.pop(token, None) for token in SPECIAL)  # a text holds none of them
        if units == "characters":
            points = np.array([ord(token) for token in self._ids], np.int64)
            self._id_of_point = np.full(points.max(initial=-1) + 2, -1)  # the last entry stands for all points above
            self._id_of_point[points] = list(self._ids.values())

    @classmethod
    def from_text(
        cls, text: str, units: str = "characters", *, min_count: int = 1, unknown: bool = False, sentences: bool = False
    ) -> "Vocabulary":
        """
        The vocabulary of a text: its symbols in sorted order, then the special tokens.

        Take the training text only: the symbols of the held-out text are not known beforehand.

        Parameters
        ----------
        text
            The text.
        units
            What a token is: `"characters"`, `"bytes"` or `"words"`.
        min_count
            List only what occurs at least so often; above one, it needs `unknown`. Bytes are always all listed.
        unknown
            Add `<unk>`, to stand for all that is not listed.
        sentences
            Add `<s>` and `</s>`. Characters then leave out the line end, which separates sentences.

        Returns
        -------
        Vocabulary
            Of at least one token.

        Raises
        ------
        ValueError
            If the text is empty, units or `min_count` are out of range, or a word of the text is a special token.
        TypeError
            If the text is no string.

        Examples
        --------
        >>> Vocabulary.from_text("to be or not to be", "words", min_count=2, unknown=True).tokens
        ['be', 'to', '<unk>']
        """
        if units not in UNITS:
            raise ValueError(f"units must be one of {', '.join(UNITS)}, got {units!r}")
        if min_count < 1:
            raise ValueError(f"min_count counts occurrences, so it is 1 or more, got {min_count}")
        if min_count > 1 and not unknown:
            raise ValueError(f"min_count = {min_count} leaves rare symbols without an id: ask for unknown=True too")
        _check_text(text)
        if not text:
            raise ValueError("a vocabulary is made from a text, got an empty one")
        if units == "bytes":
            symbols = BYTES
        else:
            counts = Counter(text if units == "characters" else WORD.findall(text))
            if sentences:
                counts.pop("\n", None)
            symbols = sorted(symbol for symbol, count in counts.items() if count >= min_count)
        if reserved := [token for token in SPECIAL if token in symbols]:
            raise ValueError(
                f"the text holds the word {reserved[0]!r}, which is the name of a special token: replace it in the text"
            )
        return cls([*symbols, *([UNKNOWN] if unknown else []), *([BEGIN, END] if sentences else [])], units)

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.tokens, self.units) == (other.tokens, other.units)

    def __repr__(self) -> str:
        return f"<Vocabulary of {len(self)} {self.units}>"

    def encode(self, text: str) -> Int[np.ndarray, " T"]:
        """
        The ids of a text.

        Characters and bytes are looked up all at once, words one by one.

        Parameters
        ----------
        text
            The text; an empty one has no ids.

        Returns
        -------
        ndarray
            Ids, int64.

        Raises
        ------
        ValueError
            If a symbol is not in the vocabulary and the vocabulary has no `<unk>`, naming the first such symbol.
        TypeError
            If the text is no string.
        """
        _check_text(text)
        return self._encode(text, text)

    def encode_sentences(self, text: str, *, keep_empty: bool = False) -> Int[np.ndarray, " T"]:
        """
        The ids of a text with one sentence on each line: `<s>`, the line, `</s>`, and so on.

        Parameters
        ----------
        text
            Lines, separated by line ends; one at the end of the text starts no new line.
        keep_empty
            Whether a line without symbols is a sentence without tokens, as KenLM reads it, or no sentence.

        Returns
        -------
        ndarray
            Ids, int64, of all sentences in a row.

        Raises
        ------
        ValueError
            As `encode`, or if the vocabulary lacks `<s>` or `</s>`.
        TypeError
            If the text is no string.

        Examples
        --------
        >>> vocabulary = Vocabulary.from_text("a b", "words", sentences=True)
        >>> [vocabulary.tokens[i] for i in vocabulary.encode_sentences("a b\\n\\nb\\n")]
        ['<s>', 'a', 'b', '</s>', '<s>', 'b', '</s>']
        """
        if self.bos is None or self.eos is None:
            raise ValueError("sentences need the tokens <s> and </s>: make the vocabulary with sentences=True")
        _check_text(text)
        lines = text.removesuffix("\n").split("\n") if text else []
        if self.units == "words":
            lengths = np.array([len(WORD.findall(line)) for line in lines], np.int64)
        elif self.units == "bytes":
            lengths = np.array([len(_utf8(line)) for line in lines], np.int64)
        else:
            lengths = np.array([len(line) for line in lines], np.int64)
        inside = self._encode("\n".join(lines) if self.units == "words" else "".join(lines), text)
        if not keep_empty:
            lengths = lengths[lengths > 0]
        stops = np.cumsum(lengths + 2)
        ids = np.empty(len(inside) + 2 * len(lengths), np.int64)
        symbol = np.ones(len(ids), bool)
        for places, token in ((stops - lengths - 2, self.bos), (stops - 1, self.eos)):
            ids[places] = token
            symbol[places] = False
        ids[symbol] = inside
        return ids

    def decode(self, ids: Integer[np.ndarray, " T"] | Sequence[int]) -> str:
        """
        The text of some ids.

        Parameters
        ----------
        ids
            Ids, possibly none.

        Returns
        -------
        str
            Characters as they were; bytes as UTF-8, with a replacement character where they are none; words with single
            spaces between. `<s>` is nothing, `</s>` a line end.

        Raises
        ------
        ValueError
            If an id lies outside the vocabulary.
        TypeError
            If ids are no integers.

        Examples
        --------
        >>> vocabulary = Vocabulary.from_text("to be or not", "words", sentences=True)
        >>> vocabulary.decode(vocabulary.encode_sentences("not  to be\\nor\\tto be"))
        'not to be\\nor to be\\n'
        """
        ids = as_ids(ids, "decode", allow_empty=True)
        check_ids(ids, len(self))
        if self.units == "bytes":
            shown = {self.bos: b"", self.eos: b"\n", self.unk: UNKNOWN.encode()}
            return b"".join(bytes([i]) if i < 256 else shown[i] for i in ids.tolist()).decode("utf8", "replace")
        pieces = ("\n" if i == self.eos else self.tokens[i] for i in ids.tolist() if i != self.bos)
        if self.units == "characters":
            return "".join(pieces)
        return " ".join(pieces).replace(" \n", "\n").replace("\n ", "\n")  # no word holds either

    def save(self, path: Path | str) -> None:
        """
        Write the vocabulary to one file, as JSON: what the ids in a saved model mean.

        Parameters
        ----------
        path
            Where; an earlier file is replaced only when the new one is complete.
        """
        with replacing(path) as file:
            file.write(json.dumps({"format": FORMAT, "units": self.units, "tokens": self.tokens}).encode())

    @classmethod
    def load(cls, path: Path | str) -> "Vocabulary":
        """
        Read what `save` wrote.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        Vocabulary
            Equal to the one that was saved.

        Raises
        ------
        ValueError
            If the file is no such vocabulary, or is damaged.
        """
        content = Path(path).read_bytes()
        try:
            about = json.loads(content)
            if about["format"] != FORMAT:
                raise KeyError("format")
            return cls(about["tokens"], about["units"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no vocabulary that this version of fp_markov saved, or is damaged") from error

    def _encode(self, text: str, whole: str) -> Int[np.ndarray, " T"]:
        """Ids of the symbols of `text`, which are those of `whole`, where an unknown one is looked for."""
        if self.units == "bytes":
            return np.frombuffer(_utf8(text), np.uint8).astype(np.int64)
        if self.units == "characters":
            points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
            ids = self._id_of_point[np.minimum(points, len(self._id_of_point) - 1)]
        else:
            words = WORD.findall(text)
            ids = np.fromiter((self._ids.get(word, -1) for word in words), np.int64, len(words))
        if (ids < 0).any():
            if self.unk is None:
                symbols = WORD.finditer(whole) if self.units == "words" else re.finditer("(?s:.)", whole)
                separators = "" if text is whole else "\n"
                first = next(found for found in symbols if found[0] not in self._ids and found[0] not in separators)
                raise ValueError(
                    f"{first[0]!r}, at position {first.start()} of the text, is not in the vocabulary of {len(self)} "
                    f"{self.units}: make the vocabulary with unknown=True, or take it out of the text"
                )
            ids[ids < 0] = self.unk
        return ids


FORMAT = "fp-markov vocabulary 1"


def _check_text(text: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"a text is a str, got {type(text).__name__}. Decode bytes first: data.decode('utf8').")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text[error.start]!r} is half of a surrogate pair, which has no bytes in UTF-8") from None
