r"""
The frame: what all tokenizers of this chapter share.

Whether tokens are characters, bytes or subwords, the way around them is the same: find the special tokens, cut what is
between, put a template around it; and back, join what the ids contribute and read it as UTF-8. This section is that
way, written once. A tokenizer adds only how a stretch of plain text becomes ids.

You need: `fp_tokenize.special`, `fp_tokenize.streaming`.

## From ids to text

Each id contributes a fixed byte string. `decode` joins the contributions and reads the result:

$$\text{decode}(i_1, \dots, i_T) = \text{UTF-8}^{-1}(c_{i_1} c_{i_2} \cdots c_{i_T}). \tag{E1}$$

**Claim** `tokenize.decode-concatenates`. Before UTF-8 is read, decoding turns concatenation into concatenation: the
bytes of ids $x$ followed by ids $y$ are the bytes of $x$ followed by those of $y$. The texts need not be: a character
can lie across the seam.

**Proof.** Both sides are the contributions of the ids of $x$ and then of $y$, in order. For the second statement let
$x$ and $y$ be the two bytes of `é`: together they are one character, each alone is none. $\blacksquare$

Tokenizers that write the space before a word into the word's token begin every text with a space that the author did
not type. They set `drop_space`, and one leading space of the whole text is left out.

## What an id covers

`offsets` gives, for each id, the characters of the original text from which it came, as a half-open interval: to mark
names in a text, or to see where a loss is large. A token that is only a part of a character's bytes covers that whole
character, so intervals can overlap there; what a normaliser removed is covered by none.

## In practice

`decode` of Hugging Face's libraries also tidies English punctuation (`clean_up_tokenization_spaces`). That makes
decoding depend on neighbours and loses the author's spaces; it is left out here.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Int32, Integer

from fp_tokenize.protocol import Ids
from fp_tokenize.special import AddedToken, Found, Template, choose, parts_of
from fp_tokenize.streaming import check_errors, decode_pieces, not_utf8

__all__ = ["Frame", "as_ids", "check_text"]  # the order of the page

Inner = tuple[AddedToken, ...]  # added tokens that are searched after normalisation


class Frame:
    """
    The base of every tokenizer: special tokens, templates, batches, offsets and decoding.

    A subclass defines `_pieces` and one of `_ids` and `_array`.

    Parameters
    ----------
    names
        Spelling of each id, `None` for an id that is not used.
    contributions
        Bytes of each id (E1).
    special_tokens
        Added tokens, or spellings of special ones. Those among `names` keep their ids, the others get the next ids.
    template
        What `encode` puts around a text when asked.
    drop_space
        Whether decoding leaves out one leading space.
    unknown
        The id whose text is lost; `None` if there is none.

    Raises
    ------
    ValueError
        If a name or special token occurs twice, or the template names a token that does not exist.
    """

    def __init__(
        self,
        names: Sequence[str | None],
        contributions: Sequence[bytes],
        *,
        special_tokens: Iterable[str | AddedToken] = (),
        template: Template | None = None,
        drop_space: bool = False,
        unknown: int | None = None,
    ) -> None:
        if len(names) != len(contributions):
            raise ValueError(f"{len(names)} names need as many contributions, got {len(contributions)}")
        self.names: list[str | None] = list(names)
        self._bytes = list(contributions)
        self._id_of = {name: i for i, name in enumerate(self.names) if name is not None}
        if len(self._id_of) != sum(name is not None for name in self.names):
            twice = next(name for i, name in enumerate(self.names) if name is not None and self._id_of[name] != i)
            raise ValueError(f"each token needs a name of its own, {twice!r} occurs twice")
        self.added_tokens = as_added(special_tokens)
        given = Counter(token.content for token in self.added_tokens)
        for token in self.added_tokens:
            if given[token.content] > 1:
                raise ValueError(f"each special token is given once, {token.content!r} occurs twice")
            content = check_text(token.content)
            if token.content in self._id_of:
                if self._id_of[token.content] != unknown:
                    self._bytes[self._id_of[token.content]] = content
            else:
                self._id_of[token.content] = len(self.names)
                self.names.append(token.content)
                self._bytes.append(content)
        template = template or Template()
        for name in (*template.before, *template.after):
            if name not in self._id_of:
                raise ValueError(f"the template needs the token {name!r}, which is not in the vocabulary")
        self.template = template
        self.drop_space = drop_space
        self.unknown = unknown

    # ---- what a subclass says

    def _ids(self, text: str, first: bool, inner: Inner) -> list[int]:
        """Ids of text between added tokens; `first` at the beginning of the input; `inner` may still occur in it."""
        return self._array(text, first, inner).tolist()

    def _array(self, text: str, first: bool, inner: Inner) -> Integer[np.ndarray, " T"]:
        """The same as an array."""
        return np.array(self._ids(text, first, inner), np.int32)

    def _pieces(self, text: str, first: bool, inner: Inner) -> Iterator[tuple[int, int, int]]:
        """The same ids, each with the interval of characters of `text` that it covers."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its tokens cover")

    def _later(self, token: AddedToken) -> bool:
        """Whether a token is not searched in the text as given, but handed on as `inner`."""
        return False

    # ---- text to ids

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return len(self.names)

    @property
    def special_tokens(self) -> dict[str, int]:
        """Ids of the special tokens, by spelling."""
        return {token.content: self._id_of[token.content] for token in self.added_tokens if token.special}

    @property
    def ordinary(self) -> dict[str, int]:
        """Ids of all other tokens, by name: the only ones that plain text can become (`tokenize.special-injection`)."""
        special = self.special_tokens
        return {name: i for name, i in self._id_of.items() if name not in special}

    def encode(self, text: str, special: str | Collection[str] = "text", template: bool = False) -> list[int]:
        """
        The ids of a text.

        Parameters
        ----------
        text
            Any string without lone surrogates.
        special
            What to do where the text spells a special token: `"text"` cuts it like other text, `"refuse"` is an
            error, `"parse"` gives its id; or the names of those to parse. See `fp_tokenize.special`.
        template
            Whether to put the tokenizer's template around the ids.

        Raises
        ------
        ValueError
            For lone surrogates, and for a refused special token.
        """
        parts, inner = self._parts(text, special)
        if len(parts) == 1 and not template and isinstance(parts[0], str):
            return self._ids(text, True, inner)
        ids = [self._id_of[name] for name in self.template.before] if template else []
        for position, part in enumerate(parts):
            if isinstance(part, Found):
                ids.append(self._id_of[part.token.content])
            else:
                ids.extend(self._ids(part, position == 0, inner))
        if template:
            ids.extend(self._id_of[name] for name in self.template.after)
        return ids

    def encode_array(
        self, text: str, special: str | Collection[str] = "text", template: bool = False
    ) -> Int32[np.ndarray, " T"]:
        """The same ids as an array: for texts of millions of characters."""
        parts, inner = self._parts(text, special)
        if len(parts) == 1 and not template and isinstance(parts[0], str):
            return self._array(text, True, inner)
        return np.array(self.encode(text, special, template), np.int32)

    def encode_batch(
        self, texts: Iterable[str], special: str | Collection[str] = "text", template: bool = False
    ) -> list[list[int]]:
        """The ids of each of several texts; what they have in common is cut once."""
        if isinstance(texts, str):
            raise TypeError("encode_batch needs a list of texts, got one string; use encode for that")
        return [self.encode(text, special, template) for text in texts]

    def offsets(
        self, text: str, special: str | Collection[str] = "text", template: bool = False
    ) -> list[tuple[int, int]]:
        """
        For each id of `encode` with the same arguments, the characters of `text` that it covers.

        Returns
        -------
        list of tuple
            Half-open intervals, in order; `(0, 0)` and `(n, n)` for a template's tokens.
        """
        spans = [(0, 0)] * len(self.template.before) if template else []
        parts, inner = self._parts(text, special)
        at = 0
        for position, part in enumerate(parts):
            if isinstance(part, Found):
                spans.append((part.start, part.end))
                at = part.end
            else:
                spans.extend((at + start, at + end) for _, start, end in self._pieces(part, position == 0, inner))
                at += len(part)
        if template:
            spans.extend([(len(text), len(text))] * len(self.template.after))
        return spans

    # ---- ids to text

    def decode(self, ids: Ids, errors: str = "replace", skip_special: bool = False) -> str:
        """
        The text of some ids (E1).

        Parameters
        ----------
        ids
            Token ids.
        errors
            What becomes of bytes that are no UTF-8 and of unknown tokens: `"replace"` U+FFFD, `"ignore"` nothing,
            `"strict"` an error.
        skip_special
            Whether to leave out special tokens.

        Raises
        ------
        ValueError
            If an id lies outside the vocabulary, or under `"strict"` if the ids stand for no text.
        """
        check_errors(errors)
        data = b"".join(self._contributed(as_ids(ids, self.vocab_size).tolist(), errors, skip_special))
        try:
            text = data.decode("utf-8", errors)
        except UnicodeDecodeError as error:
            raise not_utf8(error) from None
        return text.removeprefix(" ") if self.drop_space else text

    def decode_stream(self, ids: Iterable[int], errors: str = "replace", skip_special: bool = False) -> Iterator[str]:
        """
        The same text in parts, each as soon as its ids have arrived (`fp_tokenize.streaming`).

        Parameters
        ----------
        ids
            Token ids, read one at a time.
        errors, skip_special
            As for `decode`.

        Yields
        ------
        str
            Parts of the text, none empty.

        Raises
        ------
        ValueError
            As `decode`, when the id is reached.
        """
        check_errors(errors)
        checked = (int(as_ids([token_id], self.vocab_size, position)[0]) for position, token_id in enumerate(ids))
        return decode_pieces(self._contributed(checked, errors, skip_special), errors, self.drop_space)

    def token_to_id(self, token: str) -> int | None:
        """The id of the token of that name; `None` if there is none."""
        return self._id_of.get(token)

    def id_to_token(self, token_id: int) -> str | None:
        """The name of an id; `None` if the id is not used. `ValueError` outside the vocabulary."""
        return self.names[int(as_ids([token_id], self.vocab_size)[0])]

    def id_to_bytes(self, token_id: int) -> bytes:
        """What a token contributes to the text (E1), U+FFFD if unknown. `ValueError` outside the vocabulary."""
        return self._bytes[int(as_ids([token_id], self.vocab_size)[0])]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `tokenizer.json`; see `fp_tokenize.interchange.save`."""
        from fp_tokenize import interchange  # here, because it imports the tokenizers

        interchange.save(self, path)

    # ---- within

    def _parts(self, text: str, special: str | Collection[str]) -> tuple[list[str | Found], Inner]:
        """The text cut at its added tokens, and those tokens that are to be searched later."""
        check_text(text)
        if not self.added_tokens and special == "text":
            return [text], ()
        chosen = choose(text, self.added_tokens, special, self._id_of)
        inner = tuple(token for token in chosen if self._later(token))
        return parts_of(text, [token for token in chosen if not self._later(token)]), inner

    def _contributed(self, ids: Iterable[int], errors: str, skip_special: bool) -> Iterator[bytes]:
        table = self._bytes
        lost = self.unknown if errors != "replace" else None
        if lost is None and not skip_special:
            return map(table.__getitem__, ids)
        return self._contributed_slowly(ids, errors, set(self.special_tokens.values()) if skip_special else set())

    def _contributed_slowly(self, ids: Iterable[int], errors: str, skipped: set[int]) -> Iterator[bytes]:
        for position, i in enumerate(ids):
            if i in skipped or (i == self.unknown and errors == "ignore"):
                continue
            if i == self.unknown and errors == "strict":
                raise ValueError(
                    f"id {i} at position {position} is {self.names[i]}, whose text is lost. "
                    "Decode with errors='replace' to write U+FFFD for it."
                )
            yield self._bytes[i]


def check_text(text: str) -> bytes:
    """A text in UTF-8; `ValueError` for lone surrogates."""
    if not isinstance(text, str):
        raise TypeError(f"a text is a string, got {type(text).__name__}")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text must be free of lone surrogates, got U+{ord(text[error.start]):04X} at position {error.start}. They "
            "come from broken input; read it again with errors='replace'."
        ) from None


def as_added(special_tokens: Iterable[str | AddedToken]) -> list[AddedToken]:
    """Added tokens, from spellings too; `TypeError` for one string, whose letters would each be taken for a token."""
    if isinstance(special_tokens, str):
        raise TypeError(f"special_tokens must be a list of spellings, got the string {special_tokens!r}")
    return [token if isinstance(token, AddedToken) else AddedToken(token) for token in special_tokens]


def as_ids(ids: Ids, vocab_size: int, position: int = 0) -> Integer[np.ndarray, " T"]:
    """Ids as an array; `ValueError` if one lies outside the vocabulary, counting positions from `position`."""
    if isinstance(ids, str | bytes) or not (isinstance(ids, Sequence) or hasattr(ids, "__array__")):
        raise TypeError(f"ids are a list or an array of integers, got {type(ids).__name__}")
    if isinstance(ids, np.ndarray) and ids.ndim != 1:
        raise ValueError(f"ids are a sequence of integers, got an array of shape {np.shape(ids)}")
    if not len(ids):
        return np.empty(0, np.int64)  # an empty list has no integer type
    try:
        array = np.asarray(ids)
    except ValueError:  # NumPy's, for lists of unlike lengths
        raise ValueError("ids are a sequence of integers, got one of sequences") from None
    if array.ndim != 1:
        raise ValueError(f"ids are a sequence of integers, got an array of shape {array.shape}")
    if array.dtype.kind in "iu":
        at = int(((array < 0) | (array >= vocab_size)).argmax())
    elif all(isinstance(i, int) and not isinstance(i, bool) for i in ids):  # beyond 64 bits
        at = next(k for k, i in enumerate(ids) if not 0 <= i < vocab_size)
    else:
        raise TypeError(f"ids must be integers, got {array.dtype}")
    if not 0 <= ids[at] < vocab_size:
        raise ValueError(
            f"id {ids[at]} at position {position + at} lies outside [0, {vocab_size}), the ids of this tokenizer. "
            "Was the model built for another one?"
        )
    return array
