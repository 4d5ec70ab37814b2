"""Mirrors src/fp_tokenize/metrics.py."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_tokenize import ByteTokenizer, CharTokenizer
from fp_tokenize.metrics import (
    Coverage,
    Estimate,
    coverage,
    efficiency,
    measure,
    premiums,
    ratio,
    token_lengths,
    tokens_needed,
    usage,
)

# fixed pieces of up to three bytes, every byte among them, greedy from the left
PIECES = [bytes([b]) for b in range(256)] + [b"th", b"the", b" a", b"\xd0\xb4\xd0"]


def greedy(text):
    data, ids = text.encode(), []
    while data:
        length = next(n for n in (3, 2, 1) if data[:n] in PIECES and len(data) >= n)
        ids.append(PIECES.index(data[:length]))
        data = data[length:]
    return ids


GREEDY = SimpleNamespace(vocab_size=len(PIECES), encode=greedy, id_to_bytes=lambda i: PIECES[i])


@pytest.mark.claim("tokenize.ratio-error")
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=2, max_size=30), st.floats(0, 5))
def test_the_error_of_a_quotient_is_a_sum_of_centred_terms_over_a_sum(pairs, R):
    x, y = np.array(pairs).T
    found = ratio(y, x)
    # (E1) for any R: products of numbers up to 50, a few dozen
    assert found.value - R == pytest.approx((y - R * x).sum() / x.sum(), abs=1e-12)
    residuals = y - found.value * x
    assert abs(residuals.sum()) < 1e-10
    assert found.error == pytest.approx(math.sqrt(len(x)) * residuals.std(ddof=1) / x.sum(), abs=1e-12)


@pytest.mark.claim("tokenize.ratio-error")
def test_the_numerator_has_mean_zero_and_the_variance_of_its_terms():
    """Exhaustive: all samples of three from a pair with four equally likely values."""
    values = np.array([(1, 2), (2, 1), (3, 7), (6, 4)])
    R = values[:, 1].sum() / values[:, 0].sum()
    numerators = [
        sum(values[i, 1] - R * values[i, 0] for i in sample) for sample in itertools.product(range(4), repeat=3)
    ]
    assert np.mean(numerators) == pytest.approx(0, abs=1e-12)  # sums of twelve numbers below 10
    assert np.var(numerators) == pytest.approx(3 * np.var(values[:, 1] - R * values[:, 0]), abs=1e-12)


@pytest.mark.claim("tokenize.ratio-error")
def test_two_standard_errors_hold_the_truth_about_nineteen_times_of_twenty():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        x = rng.integers(1, 20, 100)
        y = rng.binomial(x, 0.3) + rng.poisson(0.2 * x)
        found = ratio(y, x)
        held += abs(found.value - 0.5) < 1.96 * found.error
    assert 925 <= held <= 975  # 950, and 3.6 standard deviations of a thousand throws at 0.95


def test_the_error_of_one_draw_is_unknown():
    found = ratio(np.array([3]), np.array([2]))
    assert found.value == 1.5
    assert math.isnan(found.error)


def test_a_text_is_counted():
    measured = measure(GREEDY, ["the  cat ", "", "a the"])
    assert (measured.texts, measured.bytes, measured.characters, measured.words) == (3, 14, 14, 4)
    # the, space, space, c, a, t, space; nothing; a, space, the
    assert (measured.tokens, measured.used, measured.unknown, measured.vocab_size) == (10, 5, 0, 260)
    assert measured.fertility.value == 10 / 4
    assert measured.bytes_per_token.value == measured.characters_per_token.value == 1.4
    assert measured.fertility == ratio(np.array([7, 0, 3]), np.array([2, 0, 2]))


def test_characters_and_bytes_differ_outside_ascii():
    measured = measure(ByteTokenizer(), ["да"])
    assert (measured.bytes, measured.characters, measured.tokens) == (4, 2, 4)
    assert (measured.characters_per_token.value, measured.bytes_per_token.value) == (0.5, 1.0)


def test_unknown_tokens_are_counted_where_the_tokenizer_names_them():
    tokenizer = SimpleNamespace(
        vocab_size=2, encode=lambda text: [int(c == "a") for c in text], id_to_bytes=lambda i: b"?", unknown=0
    )
    assert measure(tokenizer, ["abac", "a"]).unknown == 2


def test_coverage_tells_unknown_words_from_changed_ones():
    """This one lowers its text, writes a space before it, and knows three letters."""
    names = ["?", " ", "a", "b", "c"]
    tokenizer = SimpleNamespace(
        vocab_size=5,
        unknown=0,
        encode=lambda text: [1, *(names.index(c) if c in names else 0 for c in text.lower())],
        id_to_bytes=lambda i: names[i].encode(),
    )
    assert coverage(tokenizer, ["ab cab", "ab Ab  abd\n"]) == Coverage(words=5, known=0.8, exact=0.6)
    del tokenizer.unknown
    assert coverage(tokenizer, ["ab d"]) == Coverage(words=2, known=1.0, exact=0.5)
    assert coverage(ByteTokenizer(), ["any тext"]) == Coverage(words=2, known=1.0, exact=1.0)


def test_usage_is_the_count_of_ids():
    counts = usage(GREEDY, ["the a", "e"])
    assert counts.sum() == 3
    assert {i: n for i, n in enumerate(counts.tolist()) if n} == {257: 1, 258: 1, ord("e"): 1}


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.floats(0, 1))
def test_no_fewer_tokens_reach_the_share(counts, share):
    if not sum(counts):
        counts[0] = 1
    n = tokens_needed(np.array(counts), share)
    reached = {k: max(map(sum, itertools.combinations(counts, k))) for k in range(len(counts) + 1)}
    assert n == min(k for k, most in reached.items() if most >= share * sum(counts))


ORDERS = [0.01, 0.3, 0.9, 1 - 1e-6, 1, 1 + 1e-6, 1.1, 2, 2.5, 10, 300]


@pytest.mark.claim("tokenize.renyi")
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=8).filter(any))
def test_renyi_efficiency_lies_between_zero_and_one_and_falls_with_its_order(counts):
    found = [efficiency(np.array(counts), order) for order in ORDERS]
    assert all(0 <= value <= 1 for value in found)
    # rounding of a logarithm near ln V, divided by 1 - order = 1e-6
    assert all(later <= earlier + 1e-8 for earlier, later in itertools.pairwise(found))
    assert found[3] == pytest.approx(found[4], abs=1e-4)  # the limit: off by 1e-6 times a variance of ln p, below 50
    assert found[5] == pytest.approx(found[4], abs=1e-4)
    if len(set(counts)) > 1:
        assert all(value < 1 for value in found[1:])


@pytest.mark.claim("tokenize.renyi")
@pytest.mark.parametrize("order", ORDERS)
def test_the_even_vocabulary_has_efficiency_one_and_a_single_token_zero(order):
    # rounding of order ln(1/7), up to 600, divided by 1 - order of the same size; at 1 -+ 1e-6 of one by 1e-6
    assert efficiency(np.full(7, 3), order) == pytest.approx(1, abs=1e-9)
    assert efficiency(np.array([0, 5, 0]), order) == pytest.approx(0, abs=1e-9)


@pytest.mark.claim("tokenize.renyi")
def test_renyi_by_its_definition():
    counts = np.array([8, 4, 2, 1, 1, 0])
    p = counts[:5] / 16
    for order in (0.5, 2, 2.5):
        expected = math.log(sum(p**order)) / (1 - order) / math.log(6)
        assert efficiency(counts, order) == pytest.approx(expected, rel=1e-13)  # the same few sums, another order
    entropy = -sum(p * np.log(p)) / math.log(6)
    assert efficiency(counts, 1) == pytest.approx(entropy, rel=1e-13)
    assert efficiency(counts, 5000) == pytest.approx(-math.log(0.5) / math.log(6), rel=1e-3)  # the likeliest alone


def test_token_lengths_weigh_by_counts():
    assert token_lengths(GREEDY).tolist() == [0, 256, 2, 2]
    assert token_lengths(GREEDY, usage(GREEDY, ["the the"])).tolist() == [0, 1, 0, 2]


texts = st.lists(st.tuples(st.text("the дa", min_size=1), st.text("дa言", min_size=1)), min_size=1, max_size=5)


@pytest.mark.claim("tokenize.premium")
@given(texts)
def test_a_premium_is_the_languages_bytes_times_the_tokenizers_preference(pairs):
    english, other = map(list, zip(*pairs, strict=True))
    found = premiums(GREEDY, {"en": english, "xx": other})
    measured = {"en": measure_lengths(english), "xx": measure_lengths(other)}
    (B_e, N_e), (B, N) = measured["en"], measured["xx"]
    assert found["en"].tokens.value == 1.0
    assert found["xx"].tokens.value == pytest.approx(N / N_e, rel=1e-14)
    assert found["xx"].bytes == B / B_e
    assert found["xx"].compression == pytest.approx((B_e / N_e) / (B / N), rel=1e-14)
    assert found["xx"].tokens.value <= B_e / N_e * B / B_e + 1e-12  # rounding
    by_byte = premiums(ByteTokenizer(), {"en": english, "xx": other})["xx"]
    assert by_byte.tokens.value == by_byte.bytes
    assert by_byte.compression == 1.0


def measure_lengths(lines):
    return sum(len(line.encode()) for line in lines), sum(len(greedy(line)) for line in lines)


def test_premiums_are_paired():
    """A language that always costs twice as much has no error, however lengths vary."""
    found = premiums(ByteTokenizer(), {"fr": ["ab", "a" * 50], "x": ["abab", "a" * 100]}, reference="fr")
    assert found["x"].tokens == Estimate(2.0, 0.0)


def test_character_tokenizers_can_be_measured():
    tokenizer = CharTokenizer("abc ")
    assert measure(tokenizer, ["ab c"]).tokens == 4
    assert token_lengths(tokenizer).sum() == tokenizer.vocab_size


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: ratio(np.array([1.0]), np.array([0.0])), "as many x as y, none negative and their sum positive"),
        (lambda: ratio(np.array([1.0]), np.array([-1.0])), "none negative"),
        (lambda: ratio(np.array([1.0, 2.0]), np.array([1.0])), "as many x as y"),
        (lambda: ratio(np.array([]), np.array([])), "their sum positive"),
        (lambda: measure(ByteTokenizer(), [" "]), "measuring needs words and tokens, got 0 and 1 in 1 texts"),
        (lambda: measure(ByteTokenizer(), []), "got 0 and 0 in 0 texts"),
        (lambda: coverage(ByteTokenizer(), [" "]), "there are none in these texts"),
        (lambda: tokens_needed(np.array([1, 2]), 1.1), r"lies in \[0, 1\], got 1.1 of 3"),
        (lambda: tokens_needed(np.array([0, 0]), 0.5), "got 0.5 of 0"),
        (lambda: efficiency(np.array([1, 2]), 0), "the order 0, 2 tokens and 3 occurrences"),
        (lambda: efficiency(np.array([1])), "1 tokens"),
        (lambda: efficiency(np.array([0, 0])), "0 occurrences"),
        (lambda: token_lengths(ByteTokenizer(), np.array([1])), "each of 256 tokens has one count, got 1"),
        (lambda: premiums(ByteTokenizer(), {"fr": ["a"]}), r"relative to 'en', which is not among \['fr'\]"),
        (
            lambda: premiums(ByteTokenizer(), {"en": ["a"], "fr": ["a", "b"]}),
            "their numbers of texts are {'en': 1, 'fr'",
        ),
        (lambda: premiums(ByteTokenizer(), {"en": []}), "numbers of texts are {'en': 0}"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize("call", [measure, coverage, usage])
def test_one_string_is_no_collection_of_texts(call):
    with pytest.raises(TypeError, match="several texts are measured, got one string"):
        call(ByteTokenizer(), "text")
