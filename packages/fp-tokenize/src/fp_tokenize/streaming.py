r"""
Streaming: showing text while its tokens arrive.

A model emits one token after another, and people want to read along. But a token is bytes, and bytes need not end where
a character ends: a byte-level tokenizer writes one emoji as up to four tokens. Decoding each token by itself prints
broken characters. This section decodes a stream so that nothing is ever wrong on the screen and nothing is held back
longer than necessary.

You need: UTF-8 in `fp_tokenize.characters` (`tokenize.bytes-round-trip`).

## Decoding as a machine

Reading UTF-8 from the left needs very little memory: what has been read of the current character, at most three bytes.
Call that the **state** $q$, the empty string at first. One step reads a byte $b$ and is a function $(q, b) \mapsto
(q', w)$ of a new state and the text $w$ written:

- if $qb$ is a whole character, $w$ is that character and $q'$ is empty;
- if $qb$ is the beginning of some character, $w$ is empty and $q' = qb$;
- otherwise $qb$ cannot be continued: $w$ is the replacement for $q$, and $b$ is read again from the empty state (if $q$
  was empty already, $w$ is the replacement for $b$, and $q'$ is empty).

At the end of the stream, a state that is not empty is replaced. "The replacement" is U+FFFD, nothing, or an error, as
`errors` says. Replacing the longest beginning of a character by *one* U+FFFD is the practice that the Unicode standard
recommends (section 3.9) and that Python's own decoder follows.

**Claim** `tokenize.stream-any-cut`. However a sequence of bytes is cut into pieces, the texts written for the pieces,
and at the end, put together, are the text of the whole.

**Proof.** Let $\delta(q, s) = (q', w)$ be the result of reading the bytes of $s$ one after another from state $q$, with
$w$ all that was written. We show for $s = uv$ that reading $u$, and then $v$ from the state that $u$ left, writes what
reading $uv$ writes, and leaves the same state. By induction on the length of $v$: for empty $v$ nothing remains to be
read. For $v = v'b$, by hypothesis the states and texts agree after $u v'$ and after $u$, then $v'$; both then read the
same byte $b$ from the same state, and a step depends on nothing else. By induction on the number of pieces the same
holds for any number of cuts, and the replacement at the end depends on the last state only. $\blacksquare$

**Claim** `tokenize.stream-delay`. After each byte, at most the last three bytes have not led to a written character or
a replacement; and a text's whole characters are written as soon as their last byte has been read.

**Proof.** The state is a proper beginning of a character, which has at most four bytes, so it has at most three.
Reading a valid sequence, the state is the bytes of the current character read so far, and the first rule writes the
character when its last byte is read. $\blacksquare$

A single token decoded alone shows what goes wrong otherwise:

>>> pieces = [b"na", b"\xc3", b"\xaf", b"ve"]
>>> "".join(piece.decode("utf-8", "replace") for piece in pieces), "".join(decode_pieces(pieces))
('na\ufffd\ufffdve', 'naïve')

## In practice

Some programs decode the whole sequence again for each new token and print the difference, which takes time quadratic in
its length. Others hold back text while it ends in U+FFFD, which hides a real U+FFFD. The standard library's incremental
decoders are this section's machine, written in C, and are what the code below uses.
"""

import codecs
from collections.abc import Iterable, Iterator

__all__ = ["decode_pieces", "check_errors"]  # the order of the page


def decode_pieces(pieces: Iterable[bytes], errors: str = "replace", drop_space: bool = False) -> Iterator[str]:
    """
    The text of a stream of byte strings, each part as soon as it is certain (`tokenize.stream-any-cut`).

    Parameters
    ----------
    pieces
        Byte strings that together should be UTF-8; read one at a time.
    errors
        What bytes that are no UTF-8 become: `"replace"` U+FFFD, `"ignore"` nothing, `"strict"` an error.
    drop_space
        Whether one leading space of the whole text is left out.

    Yields
    ------
    str
        Parts of the text, none empty.

    Raises
    ------
    ValueError
        Under `"strict"` if the bytes are no UTF-8.

    Examples
    --------
    >>> list(decode_pieces([b"a", b"\\xf0\\x9f", b"\\x98", b"\\x80b"]))
    ['a', '😀b']
    """
    check_errors(errors)
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    for piece in pieces:
        text = _step(decoder, piece, final=False)
        if text and drop_space:
            text, drop_space = text.removeprefix(" "), False
        if text:
            yield text
    text = _step(decoder, b"", final=True)
    if text:
        yield text


def check_errors(errors: str) -> None:
    """`ValueError` unless `errors` is `"replace"`, `"ignore"` or `"strict"`."""
    if errors not in ("replace", "ignore", "strict"):
        raise ValueError(f"errors must be 'replace', 'ignore' or 'strict', got {errors!r}")


def _step(decoder: codecs.IncrementalDecoder, piece: bytes, final: bool) -> str:
    try:
        return decoder.decode(piece, final)
    except UnicodeDecodeError as error:
        raise not_utf8(error) from None


def not_utf8(error: UnicodeDecodeError) -> ValueError:
    """What to say of bytes that are no UTF-8."""
    return ValueError(
        f"the ids are no UTF-8: byte {error.object[error.start]:#04x} at position {error.start}, {error.reason}. "
        "Decode with errors='replace' to write U+FFFD for it."
    )
