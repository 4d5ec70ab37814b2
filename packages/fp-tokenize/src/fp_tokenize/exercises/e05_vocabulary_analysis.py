r"""
What does a vocabulary with its counts tell?

Level: concept. You need `fp_tokenize.metrics`, `fp_tokenize.cost` and the entropy of `fp_markov.information`.

A tokenizer has cut a text. Two lists are left: the tokens of its vocabulary as bytes, and how often each was used. The
text itself is gone, and still most of what one asks about a tokenizer can be answered.

Predict before you compute. The vocabulary holds "the" and "antidisestablishmentarianism": which of them decides how
long texts become? Are nine tenths of the uses made by nine tenths of the tokens, by half of them, or by fewer? A token
was used never: is it worth nothing, or was it a step on the way to a longer one? In byte-level vocabularies there are
tokens that print as a question mark in a box: are these the 128 bytes beyond ASCII, or can longer tokens be among them?
And if tokens carry more bits each, does a byte of the text become dearer?

You learn to ask first whether a share is one of the *vocabulary*, in which each token counts once, or one of the
*text*, in which each use counts. Embeddings are paid by the first, everything else by the second.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "Write down what is summed over what. The text has sum(counts) tokens, and its bytes are the lengths of the tokens "
    "times their counts; the vocabulary has len(tokens) rows, used or not.",
    "To cover much with few tokens take the most used first. Entropy is a mean of -log2(p), weighted by p, and a token "
    "that was never used adds nothing to it. Whether bytes are text by themselves, `bytes.decode` knows.",
    "bits per byte = (bits per token) / (bytes per token). Efficiency is entropy over the entropy that the same number "
    "of tokens could have at most, log2(len(tokens)). For 90% compare 10 * covered with 9 * total, in whole numbers.",
)


def analyse(tokens: list[bytes], counts: list[int]) -> dict[str, Any]:
    r"""
    Answer nine questions about a vocabulary and its use.

    Parameters
    ----------
    tokens
        At least two distinct tokens, none of them empty.
    counts
        How often each was used, in the same order; not all zero.

    Returns
    -------
    dict
        One answer for each name:

        - `"bytes_per_token"`: bytes of the text for each of its tokens.
        - `"unused"`: the share of the vocabulary that was never used.
        - `"cover"`: the least number of tokens that together make up at least 90% of the uses.
        - `"spaced"`: the share of the text's tokens that begin with a space.
        - `"broken"`: how many tokens of the vocabulary are no valid UTF-8 by themselves.
        - `"entropy"`: of the token at a random place of the text, in bits.
        - `"efficiency"`: that entropy as a share of the largest that a vocabulary of this size allows.
        - `"bits_per_byte"`: what a model pays for a byte of the text if it knows how often each token was used, and
          nothing else.
        - `"saved"`: the share of the text's tokens that would be saved against one token for each byte.

    Examples
    --------
    >>> answers = analyse([b"a", b" the", "é".encode(), b"\xc3"], [2, 1, 1, 0])
    >>> answers["bytes_per_token"], answers["unused"], answers["cover"], answers["entropy"]
    (2.0, 0.25, 3, 1.5)
    >>> sorted(answers)  # doctest: +NORMALIZE_WHITESPACE
    ['bits_per_byte', 'broken', 'bytes_per_token', 'cover', 'efficiency', 'entropy', 'saved', 'spaced', 'unused']
    """
    total = sum(counts)
    size = sum(len(token) * count for token, count in zip(tokens, counts, strict=True))
    covered = np.cumsum(sorted(counts, reverse=True))
    entropy = sum(count / total * math.log2(total / count) for count in counts if count)
    return {
        "bytes_per_token": size / total,
        "unused": counts.count(0) / len(counts),
        "cover": int(np.argmax(10 * covered >= 9 * total)) + 1,
        "spaced": sum(count for token, count in zip(tokens, counts, strict=True) if token.startswith(b" ")) / total,
        "broken": sum(not _is_text(token) for token in tokens),
        "entropy": entropy,
        "efficiency": entropy / math.log2(len(tokens)),
        "bits_per_byte": entropy * total / size,
        "saved": 1 - total / size,
    }


def _is_text(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


_ENGLISH = [b" the", b"e", b"s", b" of", b"ing", b" antidis", b"establishment", b"arianism", b"\n", b" a", b"\xe2\x80"]
_MIXED = [
    b"a",
    b" ",
    "ä".encode(),
    " ñ".encode(),
    b"\xc3",
    b" \xd0",
    "и".encode(),
    b"\xb8\xd1",
    "ий ".encode(),
    b"\x80",
]

PROBES = (
    (_ENGLISH, [60, 9, 8, 24, 12, 1, 0, 0, 4, 20, 2]),
    (_MIXED, [5, 5, 5, 5, 0, 30, 20, 20, 10, 0]),
    ([b" ", b"  ", b"x y", b"y"], [1, 1, 1, 1]),
    ([b"ab", b"c", b"d"], [9, 1, 0]),
)

_WHY = {
    "bytes_per_token": "Each token counts as often as it was used: sum of length times count, over the sum of counts.",
    "unused": "A share of the vocabulary: tokens with the count 0, over all tokens.",
    "cover": "The most used tokens come first, and it is their uses that have to make up 90%.",
    "spaced": "A share of the text: the uses of these tokens, over all uses.",
    "broken": "Try to decode each token alone. A token may begin with whole characters and end in the middle of one.",
    "entropy": "Each token is weighted by its share p of the uses and costs log2(1 / p) bits.",
    "efficiency": "The largest entropy is that of equal shares over the whole vocabulary, unused tokens included.",
    "bits_per_byte": "A token costs its bits and pays for its bytes: divide the one by the other.",
    "saved": "One token for each byte would be as many tokens as bytes; what share of those is not needed?",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for tokens, counts in PROBES:
        got = learner.analyse(list(tokens), list(counts))
        assert isinstance(got, dict), f"expected a dict of nine answers, got {got!r:.80}"
        shown = ", ".join(f"{token!r} {count} times" for token, count in zip(tokens, counts, strict=True))
        for key, expected in analyse(tokens, counts).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            answer = got[key]
            assert (
                isinstance(answer, float | int | np.number)
                and not isinstance(answer, bool)
                and (isinstance(expected, float) or int(answer) == answer)
                and abs(answer - expected) <= 1e-9  # rounding of a few terms; other formulas differ by 1e-3 and more
            ), f"for the uses {shown}, {key!r} is {expected:.6g}; got {answer!r:.60}. {_WHY[key]}"


def _each_token_once(tokens: list[bytes], counts: list[int]) -> dict[str, Any]:
    return {**analyse(tokens, counts), "bytes_per_token": sum(map(len, tokens)) / len(tokens)}


def _characters(tokens: list[bytes], counts: list[int]) -> dict[str, Any]:
    decoded = [token.decode(errors="replace") for token in tokens]
    length = sum(len(text) * count for text, count in zip(decoded, counts, strict=True)) / sum(counts)
    return {**analyse(tokens, counts), "bytes_per_token": length}


def _unused_over_uses(tokens: list[bytes], counts: list[int]) -> dict[str, Any]:
    return {**analyse(tokens, counts), "unused": counts.count(0) / sum(counts)}


def _first_in_the_vocabulary(tokens: list[bytes], counts: list[int]) -> dict[str, Any]:
    covered = np.cumsum(counts)
    return {**analyse(tokens, counts), "cover": int(np.argmax(10 * covered >= 9 * covered[-1])) + 1}


def _most_of_the_vocabulary(tokens: list[bytes], counts: list[int]) -> dict[str, Any]:
    return {**analyse(tokens, counts), "cover": math.ceil(9 * len(tokens) / 10)}


def _tokens_with_a_space(tokens: list[bytes], counts: list[int]) -> dict[str, Any]:
    return {**analyse(tokens, counts), "spaced": sum(token.startswith(b" ") for token in tokens) / len(tokens)}


def _only_single_bytes(tokens: list[bytes], counts: list[int]) -> dict[str, Any]:
    return {**analyse(tokens, counts), "broken": sum(len(token) == 1 and token[0] > 127 for token in tokens)}


def _not_ascii(tokens: list[bytes], counts: list[int]) -> dict[str, Any]:
    return {**analyse(tokens, counts), "broken": sum(not token.isascii() for token in tokens)}


def _nats(tokens: list[bytes], counts: list[int]) -> dict[str, Any]:
    answers = analyse(tokens, counts)
    return {
        key: value * math.log(2) if key in ("entropy", "bits_per_byte") else value for key, value in answers.items()
    }


def _among_the_used(tokens: list[bytes], counts: list[int]) -> dict[str, Any]:
    answers = analyse(tokens, counts)
    return {**answers, "efficiency": answers["entropy"] / math.log2(len(counts) - counts.count(0))}


def _times_the_bytes(tokens: list[bytes], counts: list[int]) -> dict[str, Any]:
    answers = analyse(tokens, counts)
    return {**answers, "bits_per_byte": answers["entropy"] * answers["bytes_per_token"]}


MISTAKES = (
    (
        _each_token_once,
        "You average the lengths over the vocabulary. A long token that hardly ever comes makes no text shorter: weigh "
        "each length by its uses.",
    ),
    (
        _characters,
        "You count characters. Many tokens hold parts of characters, so bytes are the only measure that all share.",
    ),
    (
        _unused_over_uses,
        "You divide the number of unused tokens by the uses. What is asked is which part of the vocabulary lies idle.",
    ),
    (
        _first_in_the_vocabulary,
        "You take the tokens in the order of the vocabulary. The least number that covers 90% takes the most used "
        "first.",
    ),
    (
        _most_of_the_vocabulary,
        "You take nine tenths of the tokens. Nine tenths of the *uses* are made by far fewer: use is uneven.",
    ),
    (
        _tokens_with_a_space,
        "You count tokens of the vocabulary that begin with a space. In the text each counts as often as it was used.",
    ),
    (
        _only_single_bytes,
        "You take only single bytes for broken. Merges join bytes without regard for characters, so longer tokens end "
        "or begin inside one, too.",
    ),
    (
        _not_ascii,
        "You take every token beyond ASCII for broken. One that holds its characters whole decodes by itself.",
    ),
    (_nats, "You use natural logarithms. Bits are logarithms to the base 2."),
    (
        _among_the_used,
        "You compare with equal shares among the used tokens. The unused ones take up room as well: a vocabulary of "
        "which half lies idle is not efficient.",
    ),
    (
        _times_the_bytes,
        "You multiply by the bytes per token. The bits of a token are spread over its bytes, so divide.",
    ),
)
