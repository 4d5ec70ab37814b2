r"""
Characters and bytes: the two tokenizers that need no training to speak of.

What is the smallest piece of text? This section gives the two natural answers and shows what each guarantees: one
token a character, which is what people see, and one token a byte, which is what computers store. Everything that the
chapter adds later, subwords above all, is built between these two.

You need: binary numbers.

## Characters

Unicode numbers its characters: **code points** from 0 to 1,114,111 (written U+0000 to U+10FFFF), of which the 2,048
surrogates are set aside. A Python string is a sequence of code points. A model cannot afford a row of its embedding
for each of the million, and most never occur. So the vocabulary is the **alphabet**: the distinct characters of the
training text, in order of code point, with ids from 1. Id 0 is `<unk>`: it stands for whatever is not in the alphabet,
and its text is lost; decoding writes U+FFFD, Unicode's replacement character, in its place.

**Claim** `tokenize.chars-round-trip`. Let $A$ be the alphabet. `decode(encode(s)) == s` if and only if every character
of $s$ is in $A$ or is U+FFFD itself.

**Proof.** Both functions work character by character: `encode` gives one id for each character of $s$, `decode` one
character for each id, in order. So the round trip holds for $s$ if and only if it does for each of its characters $c$.
If $c \in A$, its id is its position in the sorted alphabet plus one; distinct characters have distinct positions, so
`decode` returns $c$. If $c \notin A$, its id is $0$ and `decode` returns U+FFFD, which equals $c$ only if $c$ is
U+FFFD. $\blacksquare$

## Bytes

UTF-8 writes a code point $u$ in one to four bytes. The bits of $u$ fill the places marked x, most significant first:

| code points | bytes | bits |
| --- | --- | --- |
| U+0000 to U+007F | `0xxxxxxx` | 7 |
| U+0080 to U+07FF | `110xxxxx 10xxxxxx` | 11 |
| U+0800 to U+FFFF | `1110xxxx 10xxxxxx 10xxxxxx` | 16 |
| U+10000 to U+10FFFF | `11110xxx 10xxxxxx 10xxxxxx 10xxxxxx` | 21 |

A vocabulary of the 256 byte values, each its own id, thus reaches every text of every language with nothing unknown:

**Claim** `tokenize.bytes-round-trip`. For byte ids, `decode(encode(s)) == s` for every string $s$ without lone
surrogates.

**Proof.** The largest code points of the rows, $127 < 2^7$, $2047 < 2^{11}$, $65535 < 2^{16}$ and $1114111 < 2^{21}$,
fit their bits, so each code point has its byte sequence. Reading is unique: the first byte begins with `0`, `110`,
`1110` or `11110`, no two of which can be confused, and so tells the row and the number of bytes; the bits at the
places x, put together, are $u$. Hence one character is read back from the front of any sequence that `encode` has
made, the rest is the sequence of the remaining characters, and by induction on their number all of $s$ is read back.
$\blacksquare$

The converse fails: most byte sequences are no text. `10xxxxxx` cannot begin a character, and a model that emits bytes
can stop in the middle of one. `decode` therefore replaces what it cannot read with U+FFFD, unless told otherwise.

Bytes cost length. English has one byte a character, Russian and Greek two, Chinese and Japanese three:

>>> [len(ByteTokenizer().encode(word)) / len(word) for word in ("language", "язык", "言語")]
[1.0, 2.0, 3.0]

## Names for bytes

A vocabulary file is text, and bytes such as 0 or 10 cannot be seen in it, or would break it. So byte $b$ is **named**
by one printable character. GPT-2's convention, which all byte-level files follow: the 188 bytes that are printable and
not a space in Latin-1 (33 to 126, 161 to 172, 174 to 255) are named by the character of the same number; the other 68,
in order, by U+0100, U+0101 and so on. A space (32) is `Ġ`, a newline (10) is `Ċ`.

**Claim** `tokenize.byte-alphabet`. The 256 names are different characters, none of them a space, a control or a
combining mark; so names and bytes determine each other.

**Proof.** The first kind are distinct numbers below 256, the second kind 68 distinct numbers from 256 to 323, so no
two agree. By Unicode's tables the first kind are visible characters and U+0100 to U+0143 are letters of Latin
Extended-A. $\blacksquare$

## In practice

A model on characters learns spelling from little text and reads about four times as many tokens as one on subwords;
a model on bytes needs no vocabulary at all and never meets an unknown symbol. Byte-level BPE (stage 7's main subject)
keeps the bytes' guarantee and wins the length back.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Int32, Integer

from fp_tokenize.frame import Frame, Inner, as_added, check_text
from fp_tokenize.special import AddedToken

__all__ = ["CharTokenizer", "ByteTokenizer", "byte_alphabet"]  # the order of the page

UNKNOWN = "<unk>"
REPLACEMENT = "\ufffd"


class CharTokenizer(Frame):
    """
    One token a character.

    Parameters
    ----------
    alphabet
        The characters of the vocabulary, in any order; repetitions do no harm.
    special_tokens
        Spellings of special tokens, which get the ids after the alphabet; see `fp_tokenize.special`.

    Raises
    ------
    ValueError
        If the alphabet is empty, or a member is not one character, or is a lone surrogate; or a special token is one
        of the characters.

    Examples
    --------
    >>> tokenizer = CharTokenizer.train(["hello", "world"])
    >>> tokenizer.alphabet, tokenizer.vocab_size
    ('dehlorw', 8)
    >>> tokenizer.encode("old"), tokenizer.decode(tokenizer.encode("older?"))
    ([5, 4, 1], 'older\ufffd')
    """

    def __init__(self, alphabet: Iterable[str], special_tokens: Iterable[str | AddedToken] = ()) -> None:
        characters = set(alphabet)
        if not characters:
            raise ValueError("a character tokenizer needs at least one character, got an empty alphabet")
        for character in characters:
            if len(character) != 1:
                raise ValueError(f"an alphabet consists of single characters, got {character!r}")
        self.alphabet = "".join(sorted(characters))
        check_text(self.alphabet)
        special_tokens = as_added(special_tokens)
        for token in special_tokens:
            if token.content in characters:
                raise ValueError(f"a special token cannot be a character of the alphabet, got {token.content!r}")
        super().__init__(
            [UNKNOWN, *self.alphabet],
            [REPLACEMENT.encode(), *(character.encode() for character in self.alphabet)],
            special_tokens=special_tokens,
            unknown=0,
        )
        # code point -> id, where the last entry stands for all code points above the alphabet
        points = _code_points(self.alphabet)
        self._table = np.zeros(int(points[-1]) + 2, np.int32)
        self._table[points] = np.arange(1, len(points) + 1)

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int | None = None, special_tokens: Iterable[str | AddedToken] = ()
    ) -> "CharTokenizer":
        """
        The tokenizer whose alphabet is the set of characters of some texts.

        Parameters
        ----------
        texts
            Any number of texts; read once, one at a time.
        vocab_size
            Keep only the most frequent characters, so many that the vocabulary has this size; of equally frequent
            ones, those of smaller code point. `None` keeps all.
        special_tokens
            Spellings of special tokens.

        Raises
        ------
        ValueError
            If there is no character in them, or a lone surrogate, or no room for one character.
        """
        special_tokens = as_added(special_tokens)
        if vocab_size is not None and (isinstance(vocab_size, bool) or not isinstance(vocab_size, int)):
            raise TypeError(f"vocab_size must be an integer or None, got {vocab_size!r}")
        counts: Counter[str] = Counter()
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(f"a text is a string, got {type(text).__name__}")
            counts.update(text)
        if not counts:
            raise ValueError("training needs at least one character, got empty text")
        if vocab_size is None:
            return cls(counts, special_tokens)
        room = vocab_size - 1 - len(special_tokens)
        if room < 1:
            raise ValueError(
                f"the vocabulary has to hold {UNKNOWN}, {len(special_tokens)} special tokens and at least one "
                f"character, got vocab_size={vocab_size}"
            )
        return cls(sorted(counts, key=lambda character: (-counts[character], character))[:room], special_tokens)

    def _array(self, text: str, first: bool, inner: Inner) -> Int32[np.ndarray, " T"]:
        return self._table[np.minimum(_code_points(text), len(self._table) - 1)]

    def _pieces(self, text: str, first: bool, inner: Inner) -> Iterator[tuple[int, int, int]]:
        return ((token_id, i, i + 1) for i, token_id in enumerate(self._array(text, first, inner).tolist()))

    def __repr__(self) -> str:
        return f"CharTokenizer({self.alphabet!r})"


class ByteTokenizer(Frame):
    """
    One token a byte of UTF-8; the id is the byte's value.

    Parameters
    ----------
    special_tokens
        Spellings of special tokens, which get the ids from 256; see `fp_tokenize.special`.

    Examples
    --------
    >>> tokenizer = ByteTokenizer()
    >>> tokenizer.encode("né"), tokenizer.decode([110, 195, 169])
    ([110, 195, 169], 'né')
    >>> tokenizer.token_to_id("Ġ"), tokenizer.id_to_bytes(32)
    (32, b' ')
    """

    def __init__(self, special_tokens: Iterable[str | AddedToken] = ()) -> None:
        special_tokens = as_added(special_tokens)
        for token in special_tokens:
            if token.content in set(byte_alphabet()):
                raise ValueError(f"a special token cannot be the name of a byte, got {token.content!r}")
        super().__init__(byte_alphabet(), [bytes([b]) for b in range(256)], special_tokens=special_tokens)

    @classmethod
    def train(
        cls, texts: Iterable[str] = (), vocab_size: int | None = None, special_tokens: Iterable[str | AddedToken] = ()
    ) -> "ByteTokenizer":
        """
        The tokenizer itself, for symmetry: there is nothing to learn from any text.

        Parameters
        ----------
        texts
            Not read.
        vocab_size
            256 and the number of special tokens, or `None`.
        special_tokens
            Spellings of special tokens.

        Raises
        ------
        ValueError
            If the size is another one.
        """
        tokenizer = cls(special_tokens)
        if vocab_size not in (None, tokenizer.vocab_size):
            raise ValueError(
                f"bytes and {tokenizer.vocab_size - 256} special tokens make a vocabulary of {tokenizer.vocab_size}, "
                f"got vocab_size={vocab_size}"
            )
        return tokenizer

    def _array(self, text: str, first: bool, inner: Inner) -> Int32[np.ndarray, " T"]:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

    def _pieces(self, text: str, first: bool, inner: Inner) -> Iterator[tuple[int, int, int]]:
        return ((byte, i, i + 1) for i, character in enumerate(text) for byte in character.encode())

    def __repr__(self) -> str:
        return "ByteTokenizer()"


def byte_alphabet() -> str:
    """
    The names of the 256 bytes: the character at index `b` names byte `b` (`tokenize.byte-alphabet`).

    Examples
    --------
    >>> names = byte_alphabet()
    >>> names[97], names[32], names[10], len(set(names))
    ('a', 'Ġ', 'Ċ', 256)
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 256 + 68))
    return "".join(chr(b if b in printable else next(others)) for b in range(256))


def _code_points(text: str) -> Integer[np.ndarray, " T"]:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")
