r"""
How many numbers is that?

Level: concept. You need `fp_transformer.config` and `fp_transformer.counting`.

A model of the Llama family has $V$ tokens, $L$ blocks, width $C$, $H$ query heads and $K$ key heads of width
$D = C / H$, and gated feed-forward layers of width $F$. It has no biases; RMSNorm has a gain, and there is a norm in
front of each branch and one at the top. The output layer is the embedding, tied.

Take a pencil. How many parameters have the attention of one block, its feed-forward layer, its norms? How many has the
model, and how many if the output is not tied? How many are spent on positions? Which width makes the gated layer as
large as a plain one of width $4 C$, rounded up to a multiple of 16? How many numbers a token must a cache keep? How
many flops take the matrix products of one token, forward, and forward and backward, attention's pairs left out? How
many bytes do the parameters, their gradients and Adam's two averages take in float32?

Then a model of the GPT-2 family of the same sizes, with as many key heads as query heads: plain feed-forward layers of
two matrices of width $F$, LayerNorm with gain and bias, a bias in every affine map, a learned table of $T$ positions, a
tied output without a bias.

The last question asks which statements are false, in that some example breaks them:

- A. Twice as many heads at the same $C$, query and key heads alike, change no number of parameters.
- B. Twice as many blocks have twice as many parameters.
- C. A Llama for texts twice as long has no parameter more.
- D. Tying saves as many multiplications as parameters.
- E. If $C$ and $F$ double, the matrices of a block have four times as many numbers.
- F. With fewer key heads, a block's attention has a smaller output matrix $W_o$ too.

You learn to see from a configuration where a model's numbers are, and what they will cost.
"""

import math
from typing import Any

HINTS = (
    "Queries and the output matrix have C * C numbers each; keys and values have only K heads, C * K * D each. A gated "
    "layer has three matrices of C * F.",
    "L blocks have two norms each, and there is one more at the top. Tied, the table of tokens is one array with two "
    "uses: counted once among the parameters, multiplied with once for each token. A row is looked up, not computed.",
    "A matrix of n numbers takes 2 n flops a token, and twice that on the way back. GPT-2's biases in a block: 3 C for "
    "queries, keys and values, C behind the heads, F, C; and its two norms have 4 C.",
)


def parameter_counting(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> dict[str, int | str]:
    """
    Answer sixteen questions about the sizes of a model.

    Parameters
    ----------
    V, T, L, C, H, K, F
        The sizes above. H divides C, and K divides H.

    Returns
    -------
    dict
        One answer for each name. Of the Llama:

        - `"embedding"`: the parameters of the table of tokens.
        - `"attention"`, `"feedforward"`, `"norms"`: those of one block's attention, feed-forward layer and norms.
        - `"llama"`: all parameters of the model.
        - `"untied"`: all parameters if the output layer is an array of its own.
        - `"positions"`: those that are spent on positions.
        - `"width"`: the smallest multiple of 16 that is not below 8/3 C.
        - `"cache"`: numbers that a cache keeps for each token.
        - `"forward"`: flops of the matrix products of one token on the way forward, a multiplication and its addition
          being two; scores and weighted values of attention are left out.
        - `"training"`: the same for the way forward and back.
        - `"bytes"`: of parameters, gradients and Adam's two averages in float32.

        Of the GPT-2, with H key heads:

        - `"gpt2_positions"`: the parameters that are spent on positions.
        - `"gpt2_block"`: those of one block.
        - `"gpt2"`: all parameters.

        And:

        - `"false"`: the letters of all false statements, in alphabetical order, as one string such as `"AD"`.

    Examples
    --------
    >>> answers = parameter_counting(V=65, T=32, L=2, C=48, H=4, K=2, F=128)
    >>> answers["attention"], answers["llama"], answers["width"]
    (6912, 54048, 128)
    >>> sorted(answers)  # doctest: +NORMALIZE_WHITESPACE
    ['attention', 'bytes', 'cache', 'embedding', 'false', 'feedforward', 'forward', 'gpt2', 'gpt2_block',
     'gpt2_positions', 'llama', 'norms', 'positions', 'training', 'untied', 'width']
    """
    llama = V * C + L * _block(C, H, K, F) + C
    multiplied = V * C + L * (_attention(C, H, K) + 3 * C * F)
    gpt2_block = 4 * C * C + 2 * C * F + 9 * C + F
    holds = {
        "A": _attention(48, 4, 4) == _attention(48, 8, 8),
        "B": 65 * 48 + 2 * 2 * _block(48, 4, 4, 128) + 48 == 2 * (65 * 48 + 2 * _block(48, 4, 4, 128) + 48),
        "C": True,  # T occurs in no array of the family
        "D": 65 * 48 == 0,  # every token is still multiplied with the whole table
        "E": _attention(96, 4, 2) + 3 * 96 * 256 == 4 * (_attention(48, 4, 2) + 3 * 48 * 128),
        "F": _attention(48, 4, 4) - _attention(48, 4, 2) > 2 * 48 * 24,  # more than keys and values save
    }
    return {
        "embedding": V * C,
        "attention": _attention(C, H, K),
        "feedforward": 3 * C * F,
        "norms": 2 * C,
        "llama": llama,
        "untied": llama + V * C,
        "positions": 0,
        "width": 16 * -(-C // 6),
        "cache": 2 * L * K * (C // H),
        "forward": 2 * multiplied,
        "training": 6 * multiplied,
        "bytes": 16 * llama,
        "gpt2_positions": T * C,
        "gpt2_block": gpt2_block,
        "gpt2": V * C + T * C + L * gpt2_block + 2 * C,
        "false": "".join(letter for letter, true in holds.items() if not true),
    }


def _attention(C: int, H: int, K: int) -> int:
    return 2 * C * C + 2 * C * K * (C // H)


def _block(C: int, H: int, K: int, F: int) -> int:
    return _attention(C, H, K) + 3 * C * F + 2 * C


_WHY = {
    "embedding": "A row of C numbers for each token.",
    "attention": "Four matrices: for queries and the output C rows each, for keys and values K D.",
    "feedforward": "Three matrices: gate, value, and the way back.",
    "norms": "Two gains of C numbers, no bias.",
    "llama": "The table once, L blocks, and the norm at the top.",
    "untied": "One more array of the size of the table.",
    "positions": "Rotary positions are angles, and these are computed.",
    "width": "8/3 C is 16 C / 6: round C / 6 up.",
    "cache": "A key and a value of width D for each key head of each block.",
    "forward": "Each number of a matrix is multiplied and added once a token; the table counts as the output layer.",
    "training": "The way back has two products for each one forward.",
    "bytes": "Four numbers of 4 bytes for each parameter.",
    "gpt2_positions": "A row of C numbers for each position.",
    "gpt2_block": "Matrices 4 C**2 + 2 C F, their biases 3 C + C + F + C, and two norms of 2 C.",
    "gpt2": "The table once, the positions, L blocks, and a norm of 2 C at the top.",
    "false": "One example is enough to break a statement; those that no example breaks follow from a few lines.",
}

PROBES = (
    (65, 32, 2, 48, 4, 2, 128),
    (50257, 1024, 12, 768, 12, 12, 3072),
    (49152, 8192, 30, 576, 9, 3, 1536),
    (11, 7, 3, 10, 5, 1, 13),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for sizes in PROBES:
        got = learner.parameter_counting(*sizes)
        assert isinstance(got, dict), f"expected a dict of sixteen answers, got {got!r:.80}"
        for key, expected in parameter_counting(*sizes).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            case = ", ".join(f"{letter} = {n}" for letter, n in zip("VTLCHKF", sizes, strict=True))
            assert _same(got[key], expected), f"{_what_is_wrong(case, key, expected, got[key])} {_WHY[key]}"


def _same(got: Any, expected: int | str) -> bool:
    if isinstance(expected, str):
        return isinstance(got, str) and got == expected
    try:
        return math.isclose(got, expected, rel_tol=1e-12)  # whole numbers below 2**53, and a learner's floats of them
    except (TypeError, ValueError, OverflowError):
        return False


def _what_is_wrong(case: str, key: str, expected: int | str, got: Any) -> str:
    if not isinstance(expected, str):
        return f"for {case}, {key!r} is {expected}; got {got!r:.80}."
    if not isinstance(got, str) or list(got) != sorted(set(got) & set("ABCDEF")):
        return f"{key!r} is a string of letters from A to F in alphabetical order; got {got!r:.80}."
    letter = min(set(got) ^ set(expected))  # one alone: the other letters remain to be thought about
    if letter in got:
        return f"your {key!r} is {got!r}, but statement {letter} is true: no example breaks it."
    return f"your {key!r} is {got!r}, but statement {letter} is false too: some example breaks it."


_Answers = dict[str, Any]


def _with_more(answers: _Answers, more: int) -> _Answers:
    """The answers with a number added to the model's parameters, and to what follows from it."""
    llama = answers["llama"] + more
    return {**answers, "llama": llama, "untied": answers["untied"] + more, "bytes": 16 * llama}


def _table_counted_twice(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    answers = _with_more(parameter_counting(V, T, L, C, H, K, F), V * C)
    return {**answers, "gpt2": answers["gpt2"] + V * C}


def _final_norm_not_counted(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    answers = _with_more(parameter_counting(V, T, L, C, H, K, F), -C)
    return {**answers, "gpt2": answers["gpt2"] - 2 * C}


def _a_key_head_for_each(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    grouped = parameter_counting(V, T, L, C, H, K, F)
    return {**parameter_counting(V, T, L, C, H, H, F), "cache": grouped["cache"]}


def _cache_for_each_head(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    return {**parameter_counting(V, T, L, C, H, K, F), "cache": 2 * L * C}


def _keys_alone_cached(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    answers: _Answers = parameter_counting(V, T, L, C, H, K, F)
    return {**answers, "cache": answers["cache"] // 2}


def _two_matrices(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    answers: _Answers = _with_more(parameter_counting(V, T, L, C, H, K, F), -L * C * F)
    saved = L * C * F
    return {
        **answers,
        "feedforward": 2 * C * F,
        "forward": answers["forward"] - 2 * saved,
        "training": answers["training"] - 6 * saved,
    }


def _one_norm_a_block(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    return _with_more({**parameter_counting(V, T, L, C, H, K, F), "norms": C}, -L * C)


def _rms_norm_with_bias(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    return _with_more({**parameter_counting(V, T, L, C, H, K, F), "norms": 4 * C}, 2 * L * C + C)


def _rotary_learned(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    return {**parameter_counting(V, T, L, C, H, K, F), "positions": T * C}


def _width_not_rounded(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    return {**parameter_counting(V, T, L, C, H, K, F), "width": 8 * C // 3}


def _additions_free(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    answers: _Answers = parameter_counting(V, T, L, C, H, K, F)
    return {**answers, "forward": answers["forward"] // 2, "training": answers["training"] // 2}


def _lookup_is_a_product(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    answers: _Answers = parameter_counting(V, T, L, C, H, K, F)
    return {**answers, "forward": answers["forward"] + 2 * V * C, "training": answers["training"] + 6 * V * C}


def _output_for_free(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    answers: _Answers = parameter_counting(V, T, L, C, H, K, F)
    free = {"forward": answers["forward"] - 2 * V * C, "training": answers["training"] - 6 * V * C}
    return {**answers, **free, "false": "BF"}


def _back_costs_the_same(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    answers: _Answers = parameter_counting(V, T, L, C, H, K, F)
    return {**answers, "training": 2 * answers["forward"]}


def _parameters_alone_stored(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    answers: _Answers = parameter_counting(V, T, L, C, H, K, F)
    return {**answers, "bytes": 4 * answers["llama"]}


def _one_average(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    answers: _Answers = parameter_counting(V, T, L, C, H, K, F)
    return {**answers, "bytes": 12 * answers["llama"]}


def _biases_forgotten(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    answers: _Answers = parameter_counting(V, T, L, C, H, K, F)
    biases = 5 * C + F
    return {
        **answers,
        "gpt2_block": answers["gpt2_block"] - biases,
        "gpt2": answers["gpt2"] - L * biases,
    }


def _heads_cost(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    return {**parameter_counting(V, T, L, C, H, K, F), "false": "ABDF"}


def _all_in_the_blocks(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    return {**parameter_counting(V, T, L, C, H, K, F), "false": "DF"}


def _output_shrinks(V: int, T: int, L: int, C: int, H: int, K: int, F: int) -> _Answers:
    return {**parameter_counting(V, T, L, C, H, K, F), "false": "BD"}


MISTAKES = (
    (
        _table_counted_twice,
        "You count the tied table twice. The output layer is the embedding, one array with two uses.",
    ),
    (
        _final_norm_not_counted,
        "You forget the final norm. Above the last block there is one more, with parameters of its own.",
    ),
    (
        _a_key_head_for_each,
        "You give every query head a key head of its own. Keys and values have K heads of width D: their matrices have "
        "K D columns.",
    ),
    (
        _cache_for_each_head,
        "You cache keys and values for every query head. There are K key heads, each shared by several: that is what "
        "they are shared for.",
    ),
    (
        _keys_alone_cached,
        "You cache keys alone. The values of earlier tokens are read again as well.",
    ),
    (
        _two_matrices,
        "You count two matrices in the feed-forward layer. A gated one has three: gate, value, and the way back.",
    ),
    (
        _one_norm_a_block,
        "You count one norm in a block. There are two branches, each with a norm in front.",
    ),
    (
        _rms_norm_with_bias,
        "You give RMSNorm a bias. That is LayerNorm; RMSNorm has a gain alone.",
    ),
    (
        _rotary_learned,
        "You count parameters for rotary positions. Nothing about them is learned: the angles follow from position and "
        "base.",
    ),
    (
        _width_not_rounded,
        "You give 8/3 C as it is. Asked for is the smallest multiple of 16 that is not below.",
    ),
    (
        _additions_free,
        "You count multiplications alone. Each product is added to a sum, and a flop is either: two for each number "
        "of a matrix.",
    ),
    (
        _lookup_is_a_product,
        "You count looking up a row as a product with the table. A row is copied; it is as the output layer that the "
        "table is multiplied with.",
    ),
    (
        _output_for_free,
        "You let the tied output cost nothing. Tying saves memory: every token is multiplied with the whole table all "
        "the same.",
    ),
    (
        _back_costs_the_same,
        "You count the way back as one more way forward. It has two products for each one forward: for the input and "
        "for the matrix.",
    ),
    (
        _parameters_alone_stored,
        "You store the parameters alone. In training there are as many gradients, and Adam's two averages.",
    ),
    (
        _one_average,
        "You keep one average. Adam has two for each parameter, of the gradient and of its square.",
    ),
    (
        _biases_forgotten,
        "You forget GPT-2's biases: 3 C for queries, keys and values, C behind the heads, F and C in the feed-forward "
        "layer.",
    ),
    (
        _heads_cost,
        "You think that more heads cost parameters. At the same width they are narrower, and the matrices have the "
        "same shape.",
    ),
    (
        _all_in_the_blocks,
        "You think that all parameters are in the blocks. The table of tokens and the last norm do not double with "
        "them.",
    ),
    (
        _output_shrinks,
        "You let W_o shrink with the key heads. Every query head gives a result, whatever keys it used: W_o has H D "
        "rows.",
    ),
)
