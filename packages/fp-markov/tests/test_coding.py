"""Mirrors src/fp_markov/coding.py."""

import math
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_markov.coding import _frequencies, decode, encode, huffman_lengths, kraft_sum, prefix_code, shannon_lengths
from fp_markov.information import cross_entropy, entropy
from fp_markov.ngram import NGramModel

BITS = math.log(2)
STRINGS = ["".join(digits) for n in range(4) for digits in product("01", repeat=n)]  # all up to three digits

# for each number of tokens all lengths up to five digits that a prefix code has
ALLOWED = {
    V: np.array([l for l in product(range(6), repeat=V) if sum(Fraction(1, 2**l_i) for l_i in l) <= 1])
    for V in range(1, 6)
}


@st.composite
def distributions(draw, largest=7):
    weights = draw(arrays(np.float64, st.integers(1, largest), elements=st.floats(1e-6, 1.0)))
    return weights / weights.sum()


def is_prefix_code(words):
    return not any(a.startswith(b) or b.startswith(a) for a, b in combinations(words, 2))


@pytest.mark.claim("markov.kraft")
def test_prefix_codes_have_exactly_the_lengths_that_kraft_allows():
    """Exhaustive: all codes of up to four words of up to three digits, against all lengths."""
    for V in (1, 2, 3, 4):
        found = {tuple(sorted(map(len, words))) for words in combinations(STRINGS, V) if is_prefix_code(words)}
        allowed = {
            lengths
            for lengths in product(range(4), repeat=V)
            if sum(Fraction(1, 2**l) for l in lengths) <= 1 and list(lengths) == sorted(lengths)
        }
        assert found == allowed


@pytest.mark.claim("markov.kraft")
@given(st.lists(st.integers(0, 9), min_size=1, max_size=11))
def test_prefix_code_gives_words_of_these_lengths_or_says_that_there_are_none(lengths):
    if sum(Fraction(1, 2**l) for l in lengths) <= 1:
        words = prefix_code(lengths)
        assert [len(word) for word in words] == lengths
        assert all(set(word) <= {"0", "1"} for word in words)
        assert is_prefix_code(words)
        assert kraft_sum(lengths) <= 1
    else:
        assert kraft_sum(lengths) > 1
        with pytest.raises(ValueError, match="no prefix code has these lengths"):
            prefix_code(lengths)


def test_a_code_by_hand():
    assert prefix_code(np.array([2, 1, 3, 3])) == ("10", "0", "110", "111")
    assert prefix_code([0]) == ("",)
    assert kraft_sum([1, 3, 3]) == 0.75
    with pytest.raises(ValueError, match=r"Kraft sum 1\.5 exceeds 1"):
        prefix_code([1, 1, 1])
    # one digit too many, too little for a float to see: decided in whole numbers
    with pytest.raises(ValueError, match="no prefix code"):
        prefix_code([1, 2, 2, 60])


@pytest.mark.claim("markov.source-coding")
@given(distributions())
def test_shannons_code_is_within_a_bit_of_the_entropy(p):
    lengths = shannon_lengths(p)
    assert is_prefix_code(prefix_code(lengths))
    H = float(entropy(p)) / BITS
    assert H - 1e-12 <= p @ lengths < H + 1  # rounding of 7 terms below 20 bits


@pytest.mark.claim("markov.source-coding")
@given(distributions(largest=5))
def test_no_prefix_code_has_a_mean_length_below_the_entropy(p):
    """Exhaustive over all codes of up to 5 tokens whose words have up to 5 digits."""
    # 1e-12: rounding of 5 terms
    assert (ALLOWED[len(p)] @ p).min() >= float(entropy(p)) / BITS - 1e-12


@pytest.mark.claim("markov.source-coding")
def test_only_powers_of_two_cost_exactly_their_entropy():
    """Exhaustive over the full codes of four tokens; a code with a gap, or another's, costs more."""
    full = [l for l in ALLOWED[4] if kraft_sum(l) == 1]
    assert len(full) == 13  # lengths 2, 2, 2, 2 and the 12 orders of 1, 2, 3, 3
    for l in full:
        p = 2.0**-l
        assert shannon_lengths(p).tolist() == l.tolist()
        means = ALLOWED[4] @ p
        assert means.min() == pytest.approx(float(entropy(p)) / BITS, rel=1e-14)  # logarithms of 4 terms
        assert (means == means.min()).sum() == 1  # sums of powers of two are exact


def test_shannon_lengths_are_exact_at_powers_of_two_and_beside_them():
    for l in (1, 2, 10, 52):
        power = 2.0**-l
        for p_0, expected in ((power, l), (np.nextafter(power, 1), l), (np.nextafter(power, 0), l + 1)):
            p = np.array([p_0, 1 - p_0])
            if Fraction(float(p[0])) + Fraction(float(p[1])) == 1:  # else the exact total decides
                assert shannon_lengths(p)[0] == expected
    # p sums to one in floats, to more in truth; the lengths belong to a code all the same
    assert is_prefix_code(prefix_code(shannon_lengths(np.array([0.5, 0.5, 1e-20]))))


@pytest.mark.claim("markov.wrong-code")
@given(st.integers(1, 7).flatmap(lambda V: arrays(np.float64, (2, V), elements=st.floats(1e-6, 1.0))))
def test_the_wrong_code_costs_the_cross_entropy_and_less_than_a_bit(weights):
    p, q = weights / weights.sum(axis=1, keepdims=True)
    lengths = shannon_lengths(q)
    cost = float(cross_entropy(p, q)) / BITS
    assert cost - 1e-12 <= p @ lengths < cost + 1  # rounding of 7 terms below 23 bits


@pytest.mark.claim("markov.block-coding")
@given(distributions(largest=3), st.integers(1, 5))
def test_blocks_bring_the_mean_length_to_the_entropy(p, n):
    block = np.array([math.prod(chosen) for chosen in product(p.tolist(), repeat=n)])
    H = float(entropy(p)) / BITS
    for lengths in (shannon_lengths(block), huffman_lengths(block)):
        assert H - 1e-12 <= block @ lengths / n < H + 1 / n + 1e-12  # rounding of 243 terms that sum to below 30 bits


@pytest.mark.claim("markov.huffman")
@given(distributions(largest=5))
def test_huffmans_code_is_the_best_of_all(p):
    """Exhaustive: a best code of 5 tokens has no word of more than 4 digits."""
    lengths = huffman_lengths(p)
    assert is_prefix_code(prefix_code(lengths))
    if len(p) > 1:
        assert kraft_sum(lengths) == 1  # a gap would be a digit wasted
    assert p @ lengths == pytest.approx(
        (ALLOWED[len(p)] @ p).min(), abs=1e-12
    )  # the two add up 5 terms in different order


def test_huffman_by_hand():
    assert huffman_lengths(np.array([0.1, 0.4, 0.2, 0.3])).tolist() == [3, 1, 3, 2]
    assert huffman_lengths(np.array([1.0])).tolist() == [0]
    assert huffman_lengths(np.full(5, 0.2)).sum() == 12  # 2, 2, 2, 3, 3


@pytest.mark.claim("markov.aep")
@pytest.mark.parametrize("epsilon", [0.05, 0.2, 0.5])
def test_typical_texts_are_nearly_all_and_as_many_as_the_claim_says(epsilon):
    """Exhaustive over all 3**9 texts of nine tokens, and for longer texts of two tokens over their compositions."""
    p = np.array([0.6, 0.3, 0.1])
    texts = np.array(list(product(range(3), repeat=9)))
    check_typical(p, 9, epsilon, np.log(p)[texts].sum(axis=1), np.ones(len(texts)))
    for n in (101, 503):
        p, rare = np.array([0.9, 0.1]), np.arange(n + 1)
        many = np.array([float(math.comb(n, r)) for r in rare])
        check_typical(p, n, epsilon, (n - rare) * np.log(0.9) + rare * np.log(0.1), many)


def check_typical(p, n, epsilon, log_p, many):
    H = float(entropy(p))
    delta = float(p @ (np.log(p) + H) ** 2) / (n * epsilon**2)
    typical = np.abs(-log_p / n - H) <= epsilon
    assert (many * np.exp(log_p)).sum() == pytest.approx(1, abs=1e-9)  # all texts: 20,000 terms
    # 1e-9: rounding of exponents below 500
    assert (many * np.exp(log_p))[typical].sum() >= 1 - delta - 1e-9
    N = many[typical].sum()
    assert math.exp(n * (H + epsilon)) * (1 + 1e-9) >= N
    assert (1 - delta) * math.exp(n * (H - epsilon)) * (1 - 1e-9) <= N


def markov_model(seed, V):
    """A model with a memory of one token, some of whose probabilities are zero."""
    rows = np.random.default_rng(seed).dirichlet(np.full(V, 0.5), size=V + 1)
    rows[0, 0] = 0
    rows /= rows.sum(axis=1, keepdims=True)
    return lambda context: rows[context[-1] if context else V]


@pytest.mark.claim("markov.arithmetic-coding")
@pytest.mark.parametrize("precision", [3, 32])
def test_the_codes_of_all_texts_of_one_length_are_short_decodable_and_a_prefix_code(precision):
    """Exhaustive over the 3**5 texts of five tokens, against exact probabilities of the coder's own model."""
    model, codes = markov_model(3, V=3), []
    for text in product(range(3), repeat=5):
        P = Fraction(1)
        for t, w in enumerate(text):
            P *= Fraction(int(_frequencies(model(text[:t]), precision)[w]), 2**precision)
        code = encode(text, model, precision)
        assert 2 ** (len(code) - 2) < 1 / P  # fewer than -log2 P + 2 digits, in exact numbers
        assert decode(code, 5, model, precision) == list(text)
        assert decode(code + "1" * 9, 5, model, precision) == decode(code + "0", 5, model, precision) == list(text)
        codes.append(code)
    assert is_prefix_code(codes)
    assert kraft_sum([len(code) for code in codes]) <= 1


@pytest.mark.claim("markov.arithmetic-coding")
def test_a_code_by_hand_on_exact_quarters():
    # frequencies (E8) with V = 2, M = 4: 1 + floor(2 p) is [2, 2]; one bit a token, so the interval of 0, 1, 1 is
    # [3/8, 4/8); m = 3 + 1 and c = 6/16
    assert encode([0, 1, 1], lambda context: np.array([0.5, 0.5]), precision=2) == "0110"
    # p = [3/4, 1/4] with M = 8: 1 + floor(6 p) is [5, 2], and one is missing: [6, 2]. After 0, 1: A = 6/8 * 6/8 = 36/64
    # and R = 12/64, so m = ceil(2.4) + 1 = 4 and c = ceil(9)/16
    assert encode([0, 1], lambda context: np.array([0.75, 0.25]), precision=3) == "1001"
    assert encode([], lambda context: np.array([1.0])) == "0" and decode("0", 0, lambda context: np.array([1.0])) == []


@pytest.mark.claim("markov.quantised-coding")
@given(arrays(np.float64, st.integers(1, 13), elements=st.just(0.0) | st.floats(1e-9, 1.0)), st.integers(4, 32))
def test_frequencies_are_whole_positive_and_close_to_the_probabilities(weights, precision):
    weights[0] += 1
    p = weights / weights.sum()
    f, M, V = _frequencies(p, precision), 2**precision, len(p)
    assert f.sum() == M
    assert f.min() >= 1
    # the bound of the proof; 1e-12: p sums to one up to a few 2**-53, and a product may round up to a whole number
    assert (f >= p * (M - V) * (1 - 1e-12)).all()


@pytest.mark.claim("markov.quantised-coding")
@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(2, 11), st.integers(1, 60), st.sampled_from([4, 8, 32]))
def test_the_code_is_within_its_bound_of_the_models_surprisal(seed, V, T, precision):
    rows = np.random.default_rng(seed).dirichlet(np.ones(V), size=V + 1)
    text = np.random.default_rng(seed + 1).integers(0, V, size=T)

    def model(context):
        return rows[context[-1] if context else V]

    surprisals = [-np.log2(model(text[:t].tolist())[w]) for t, w in enumerate(text)]
    code = encode(text, model, precision)
    M = 2**precision
    assert len(code) < sum(surprisals) + 2 + T * math.log2(M / (M - V)) + 1e-9  # rounding of 60 terms
    assert decode(code, T, model, precision) == text.tolist()


def test_an_n_gram_model_compresses_a_text_to_its_own_loss():
    text = np.frombuffer(("she sells sea shells by the sea shore " * 20).encode(), np.uint8)
    model = NGramModel(order=4, vocab_size=128).fit(text[:500])
    held_out = text[500:]
    bits = -model.log_prob(held_out).sum() / BITS
    code = encode(held_out, model.next_distribution)
    # the rounding of 260 tokens costs 260 * 128 / 2**32 / ln 2, about 1e-5 bits
    assert bits - 1e-3 <= len(code) < bits + 2 + 1e-3
    assert len(code) < 8 * len(held_out) / 3
    assert decode(code, len(held_out), model.next_distribution) == held_out.tolist()


def test_a_text_that_the_model_excludes_is_written_all_the_same():
    def certain(context):
        return np.array([1.0, 0.0])

    assert decode(encode([1, 0, 1], certain), 3, certain) == [1, 0, 1]


def test_a_float32_model_is_normalised_before_it_is_rounded():
    p = np.full(3, 1 / 3, np.float32)
    f = _frequencies(p * np.float32(1.000005), 16)
    assert f.sum() == 2**16
    assert f.max() - f.min() <= 3  # thirds of 2**16, and what is missing


@pytest.mark.parametrize(
    ("lengths", "sentence"),
    [([], "at least one word"), ([1, -1], r"each of 0 to 1074 digits, got lengths \[1, -1\]"), ([1075], "0 to 1074")],
)
def test_impossible_lengths_are_refused(lengths, sentence):
    for call in (kraft_sum, prefix_code):
        with pytest.raises(ValueError, match=sentence):
            call(lengths)


def test_distributions_that_have_no_code_are_refused():
    for call in (shannon_lengths, huffman_lengths):
        with pytest.raises(ValueError, match="token 1 has probability zero and no finite word"):
            call(np.array([0.5, 0.0, 0.5]))
        with pytest.raises(ValueError, match=r"p must sum to one, got a sum of 1\.5"):
            call(np.array([0.5, 1.0]))
        with pytest.raises(ValueError, match="none negative or NaN"):
            call(np.array([np.nan, 1.0]))


def test_what_the_coder_cannot_use_is_refused():
    def coin(context):
        return np.array([0.5, 0.5])

    for precision in (0, 33):
        for call in (lambda n: encode([0], coin, n), lambda n: decode("0", 1, coin, n)):
            with pytest.raises(ValueError, match=f"binary digits from 1 to 32, got {precision}"):
                call(precision)
    for w in (2, -1):
        with pytest.raises(
            ValueError, match=rf"ids must lie in \[0, 2\), the model's vocabulary, got {w} at position 1"
        ):
            encode([0, w], coin)
    with pytest.raises(ValueError, match="2 tokens need a precision of at least 2 binary digits, got 1"):
        encode([0], coin, precision=1)
    with pytest.raises(ValueError, match="the model's next distribution must sum to one"):
        encode([0], lambda context: np.array([0.5, 0.6]))
    for digits in ("", "012", "0b1", "1_0", " 1"):
        with pytest.raises(ValueError, match="a string of the digits 0 and 1"):
            decode(digits, 1, coin)
    with pytest.raises(ValueError, match="zero tokens or more, got -1"):
        decode("0", -1, coin)
