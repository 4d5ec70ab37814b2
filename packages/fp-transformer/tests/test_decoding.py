"""Mirrors src/fp_transformer/decoding.py."""

import math
from fractions import Fraction
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.kv_cache import KVCache
from fp_markov.sampling import draw
from fp_transformer.config import TransformerConfig
from fp_transformer.decoding import (
    StopMatcher,
    beam_search,
    check_prompt,
    check_settings,
    choose,
    distribution,
    stop_length,
)
from fp_transformer.generation import Cache, generate
from fp_transformer.model import Transformer


class TableModel:
    """Probabilities that are any function of the whole text, which it keeps in its cache, as keys."""

    def __init__(self, table, vocab_size, context_length=64):
        self.table, self.passes = table, 0
        self.config = SimpleNamespace(vocab_size=vocab_size, context_length=context_length)

    def new_cache(self, batch=1, capacity=None):
        return Cache([KVCache(batch, 1, 1, capacity or self.config.context_length, owner=self)])

    def forward(self, ids, *, cache, last=False):
        self.passes += 1
        start, column = cache.length, ids[:, None, :, None].astype(np.float64)
        texts = cache.layers[0].append(column, column)[0][:, 0, :, 0].astype(int)
        with np.errstate(divide="ignore"):
            z = np.array(
                [[np.log(self.probabilities(s[: t + 1])) for t in range(start, s.size)] for s in texts], np.float64
            )
        return z[:, -1:] if last else z

    def probabilities(self, text):
        return np.array([float(p) for p in self.table(tuple(int(i) for i in text))])


def random_table(V, seed, sharpness=1.0):
    """Each text has its own distribution, drawn when it is first asked for."""
    known = {}

    def table(text):
        if text not in known:
            known[text] = np.random.default_rng([seed, *text]).dirichlet(np.full(V, sharpness))
        return known[text]

    return table


def log_prob(table, prompt, new):
    return math.fsum(math.log(table((*prompt, *new[:t]))[x]) for t, x in enumerate(new))


def complete_texts(V, n, stops):
    """All texts that end with their first stop, or have n tokens."""
    for m in range(1, n + 1):
        for text in product(range(V), repeat=m):
            ends = [any(text[:t][-len(s) :] == s for s in stops) for t in range(1, m + 1)]
            if not any(ends[:-1]) and (ends[-1] or m == n):
                yield text


def tiny(seed=0, **sizes):
    config = TransformerConfig.llama(vocab_size=7, context_length=16, n_layers=2, n_heads=2, d_model=8, **sizes)
    return Transformer(config, rng=np.random.default_rng(seed), dtype=np.float64).eval()


# --- one token

SETTINGS = [
    {},
    {"temperature": 0.5},
    {"top_k": 2},
    {"top_p": 0.6},
    {"min_p": 0.3},
    {"temperature": 2.0, "top_k": 4, "top_p": 0.9, "min_p": 0.2},
    {"top_k": 4, "top_p": 0.5},
    {"temperature": 0.9, "top_k": 4, "min_p": 0.6},
    {"temperature": 0},
    {"temperature": 0.0, "top_k": 3},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_choosing_is_drawing_as_stage_1_draws(settings):
    logits = np.random.default_rng(1).normal(size=(20, 7)).astype(np.float32)
    rngs = [np.random.default_rng(3) for _ in range(2)]
    for row in logits:
        assert choose(row, rngs[0], **settings) == draw(row, rngs[1], **settings)


class Grid(np.random.Generator):
    """Uniform numbers in the middles of M equal parts, one after another."""

    def __init__(self, M):
        super().__init__(np.random.PCG64(0))
        self.values = iter((np.arange(M) + 0.5) / M)

    def random(self, size=None):
        return float(next(self.values))


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_distribution_is_that_of_what_is_chosen(settings):
    logits, M = np.random.default_rng(2).normal(size=5), 997
    p, rng = distribution(logits, **settings), Grid(M)
    counts = np.bincount([choose(logits, rng, **settings) for _ in range(M)], minlength=5)
    # each token has an interval of the length p, which holds p M middles, up to one
    np.testing.assert_allclose(counts / M, p, atol=1 / M)
    assert p.sum() == pytest.approx(1, abs=1e-15) and p.dtype == np.float64
    both = distribution(np.stack([logits, -logits]).astype(np.float32), **settings)
    np.testing.assert_allclose(both[0], p, rtol=1e-5)  # float32 scores


def test_greedy_needs_no_generator_and_takes_the_first_of_equals():
    assert choose(np.array([1.0, 5.0, 5.0]), temperature=0) == 1
    assert distribution(np.array([[1.0, 5.0, 5.0], [2.0, 0.0, 1.0]]), temperature=0).tolist() == [[0, 1, 0], [1, 0, 0]]


# --- greedy and beam search


@pytest.mark.claim("transformer.greedy-not-likeliest")
@pytest.mark.parametrize(("V", "n"), [(2, 2), (2, 5), (3, 2), (3, 4), (5, 3)])
def test_the_greedy_text_may_be_much_less_likely_than_another(V, n):
    def table(text):
        new = text[1:]  # the prompt is one token
        if not new:
            return [Fraction(3, 5), Fraction(2, 5)] + [Fraction(0)] * (V - 2)
        return [Fraction(1, V)] * V if new[0] == 0 else [Fraction(int(i == 1)) for i in range(V)]

    def probability(new):
        return math.prod(table((0, *new[:t]))[x] for t, x in enumerate(new))

    found = list(generate(TableModel(table, V), [0], n, temperature=0))
    best = max(product(range(V), repeat=n), key=probability)
    assert best == (1,) * n
    assert probability(found) / probability(best) == Fraction(3, 2) / V ** (n - 1)


@pytest.mark.claim("transformer.beam-greedy")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("stop", [(), (1,), (2, (0, 1))])
@pytest.mark.parametrize("length_penalty", [0, 0.7])
def test_one_beam_is_greedy(seed, stop, length_penalty):
    table = random_table(3, seed)
    found = beam_search(TableModel(table, 3), [1, 0], 6, beams=1, stop=stop, length_penalty=length_penalty)
    assert found.ids == list(generate(TableModel(table, 3), [1, 0], 6, temperature=0, stop=stop))


def test_one_beam_takes_the_first_of_equals_too():
    equal = TableModel(lambda text: [0.2, 0.4, 0.4], 3)
    assert beam_search(equal, [0], 4, beams=1).ids == [1, 1, 1, 1]


@pytest.mark.claim("transformer.beam-exact")
@pytest.mark.claim("transformer.beam-bound")
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("stop", [(), (1,), (2, (0, 1)), ((0, 0), (0, 1, 2))])
@pytest.mark.parametrize("length_penalty", [0, 0.6, 1.0, 1.7])
def test_enough_beams_find_the_best_of_all_texts(seed, stop, length_penalty):
    V, n, prompt = 3, 3, (2, 1)
    table = random_table(V, seed)
    stops = [(s,) if isinstance(s, int) else s for s in stop]
    scores = {text: log_prob(table, prompt, text) / len(text) ** length_penalty for text in complete_texts(V, n, stops)}
    best = max(scores, key=scores.get)
    model = TableModel(table, V)
    found = beam_search(model, list(prompt), n, beams=V ** (n - 1), stop=stop, length_penalty=length_penalty)
    end = stop_length(best, sorted(stops, key=len, reverse=True))
    assert found.ids == list(best[: len(best) - end]) and found.stopped == (end > 0)
    assert found.score == pytest.approx(scores[best], abs=1e-13)  # a few roundings of sums of three
    assert found.log_prob == pytest.approx(log_prob(table, prompt, best), abs=1e-13)


@pytest.mark.claim("transformer.beam-bound")
def test_no_continuation_exceeds_the_bound_and_the_search_ends_when_it_is_met():
    V, n, table = 3, 4, random_table(3, 5)
    for alpha in (0, 0.5, 1, 2):
        for m in range(1, n + 1):
            for text in product(range(V), repeat=m):
                bound = log_prob(table, (0,), text[:1]) / n**alpha
                assert log_prob(table, (0,), text) / m**alpha <= bound + 1e-12  # rounding
    model = TableModel(lambda text: [0.1, 0.9] if len(text) < 2 else [0.5, 0.5], 2)
    assert beam_search(model, [0], 50, beams=3, stop=[1]).ids == []
    assert model.passes == 1  # the stop has 0.9, and nothing that begins with 0 can have more than 0.1
    model.passes = 0
    assert beam_search(model, [0], 50, beams=3, stop=[1], length_penalty=1).ids == []
    assert model.passes > 1  # a mean loss may still fall, so it looks farther


@pytest.mark.claim("transformer.beam-not-monotone")
def test_two_beams_may_find_less_than_one():
    F = Fraction
    tables = {
        (): [F(40, 100), F(35, 100), F(25, 100)],
        (0,): [F(4, 10), F(3, 10), F(3, 10)],
        (1,): [F(1, 2), F(1, 2), F(0)],
        (0, 0): [F(1), F(0), F(0)],
        (1, 0): [F(1, 3)] * 3,
        (1, 1): [F(1, 3)] * 3,
    }
    model = TableModel(lambda text: tables.get(text[1:], [F(1, 3)] * 3), 3)
    one, two, nine = (beam_search(model, [0], 3, beams=b) for b in (1, 2, 9))
    assert one.ids == [0, 0, 0] and math.exp(one.log_prob) == pytest.approx(0.16, rel=1e-14)
    assert two.ids[0] == 1 and math.exp(two.log_prob) == pytest.approx(0.175 / 3, rel=1e-14)
    assert nine.ids == [0, 0, 0]


def test_beams_follow_their_caches():
    """On a model with caches of real keys: the score found is the one of the text, computed at once."""
    model = tiny()
    for beams in (1, 3, 5):
        found = beam_search(model, [1, 2, 3], 6, beams=beams)
        z = model.forward(np.array([[1, 2, 3, *found.ids]])).data[0, 2:-1]
        log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
        expected = log_p[np.arange(6), found.ids].sum()
        assert found.log_prob == pytest.approx(expected, abs=1e-12)  # float64, in another order


@pytest.mark.claim("transformer.length-bias")
@pytest.mark.parametrize("seed", range(3))
def test_no_text_beats_its_beginnings_without_a_penalty(seed):
    table = random_table(3, seed)
    for text in product(range(3), repeat=4):
        scores = [log_prob(table, (0,), text[:m]) for m in range(1, 5)]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.claim("transformer.length-bias")
def test_saying_nothing_is_likelier_than_a_long_answer():
    """Token 0 is the stop. The others have at most q, so the search prefers the empty answer from some length on."""
    q, s = 0.8, 0.05

    def table(text):
        if len(text) == 1:
            return [s, 0.8, 0.15]
        return [0.0, 0.8, 0.2] if len(text) <= k else [1.0, 0.0, 0.0]  # k tokens, then the stop

    border = math.log(s) / math.log(q)
    for k in (5, 10, 13, 14, 20):
        found = beam_search(TableModel(table, 3), [0], k + 1, beams=5, stop=[0])
        if k > border:
            assert found.ids == []
        else:
            assert found.ids == [1] * k  # here with the probability q^k itself
        fair = beam_search(TableModel(table, 3), [0], k + 1, beams=5, stop=[0], length_penalty=1)
        assert fair.ids == [1] * k


@pytest.mark.claim("transformer.length-penalty")
@given(st.integers(1, 30), st.floats(-40, -1e-3), st.floats(1e-6, 1), st.sampled_from([0, 0.3, 1, 1.5]))
@settings(max_examples=25)
def test_one_more_token_raises_the_score_if_it_is_likely_enough(m, ell, p, alpha):
    gain = (ell + math.log(p)) / (m + 1) ** alpha - ell / m**alpha
    margin = math.log(p) - ell * ((1 + 1 / m) ** alpha - 1)
    if abs(margin) > 1e-9:  # else the signs are of rounding
        assert (gain > 0) == (margin > 0)
    if alpha == 0:
        assert gain <= 0
    if alpha == 1 and abs(math.log(p) - ell / m) > 1e-9:
        assert (gain > 0) == (p > math.exp(ell / m))


@pytest.mark.claim("transformer.length-penalty")
def test_the_condition_is_the_inequality_times_a_positive_number():
    m, alpha = sympy.symbols("m alpha", positive=True)
    ell, ln_p = sympy.symbols("ell ln_p", real=True)
    gain = (ell + ln_p) / (m + 1) ** alpha - ell / m**alpha
    margin = ln_p - ell * (((m + 1) / m) ** alpha - 1)
    assert sympy.simplify(sympy.expand_power_base(gain * (m + 1) ** alpha - margin, force=True)) == 0


@pytest.mark.claim("transformer.greedy-cycles")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("V", "w"), [(2, 1), (2, 3), (3, 2)])
def test_a_greedy_text_with_a_short_memory_runs_in_circles(seed, V, w):
    table = random_table(V, seed)
    model = TableModel(lambda text: table(text[-w:]), V, context_length=128)
    prompt, N = [1] * w, 3 * V**w
    text = list(generate(model, prompt, N, temperature=0))
    assert any(
        all(text[t] == text[t + period] for t in range(start, N - period))
        for start in range(V**w)
        for period in range(1, V**w + 1)
    )


# --- stops


def oracle(text, stops):
    """What may be shown after each token: by looking at the whole text each time."""
    shown = []
    for n in range(1, len(text) + 1):
        seen = text[:n]
        ended = [len(s) for s in stops if seen[max(n - len(s), 0) :] == s]
        if ended:
            return [*shown, n - max(ended)], True
        tails = [i for i in range(1, n + 1) if any(len(s) > i and s[:i] == seen[n - i :] for s in stops)]
        shown.append(n - max(tails, default=0))
    return shown, False


@pytest.mark.claim("transformer.stop-incremental")
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple), max_size=4),
    st.lists(st.integers(0, 2), max_size=14).map(tuple),
)
@settings(max_examples=200)
def test_stops_are_found_as_if_the_whole_text_were_searched_each_time(stops, text):
    matcher, shown, counts = StopMatcher(stops), [], []
    for token in text:
        shown += matcher.push(token)
        counts.append(len(shown))
        if matcher.stopped:
            break
    expected, stopped = oracle(text, stops)
    assert counts == expected and matcher.stopped == stopped
    assert tuple(shown) == text[: len(shown)]
    if not stopped:
        assert tuple(shown + matcher.held) == text


@pytest.mark.claim("transformer.stop-incremental")
def test_stops_in_all_short_texts():
    """Exhaustive: two tokens, texts of up to seven, stops that begin and end alike."""
    for stops in ([(0, 1, 0)], [(0, 0, 1), (0, 1)], [(1, 1, 1), (1, 0)], [(0,), (1, 0, 0)], [(0, 1, 0, 1)]):
        for text in product((0, 1), repeat=7):
            matcher, counts, total = StopMatcher(stops), [], 0
            for token in text:
                total += len(matcher.push(token))
                counts.append(total)
                if matcher.stopped:
                    break
            assert counts == oracle(text, stops)[0]


# --- bad input


@pytest.mark.parametrize(
    ("stop", "error", "message"),
    [
        ("end", TypeError, "stop lists ids and sequences of ids"),
        (5, TypeError, "stop lists ids"),
        (["end"], TypeError, "encode a text first"),
        ([1.5], TypeError, "a stop is an id or a sequence of ids, got 1.5"),
        ([(1, 2.5)], TypeError, "an id of a stop must be an integer"),
        ([()], ValueError, "at least one id"),
        ([-1], ValueError, "none of them negative"),
    ],
)
def test_bad_stops(shapes_unchecked, stop, error, message):
    with pytest.raises(error, match=message):
        StopMatcher(stop)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"temperature": -1}, ValueError, "temperature must be zero or more"),
        ({"temperature": "hot"}, TypeError, "temperature is a number, got 'hot'"),
        ({"top_k": 8}, ValueError, "top_k must lie between 1 and the vocabulary's 7"),
        ({"top_p": 0}, ValueError, "top_p is a probability mass"),
        ({"min_p": 2, "temperature": 0}, ValueError, "min_p is a share"),
        ({"rng": None}, TypeError, r"pass rng=np.random.default_rng\(seed\), or temperature=0"),
        ({"rng": 3}, TypeError, "rng is a generator such as np.random.default_rng.*got 3"),
    ],
)
def test_bad_settings_are_refused_and_leave_the_generator_alone(shapes_unchecked, change, error, message):
    rng = np.random.default_rng(0)
    good = {"rng": rng, "temperature": 1.0, "top_k": None, "top_p": None, "min_p": None}
    with pytest.raises(error, match=message):
        check_settings(7, **{**good, **change})
    check_settings(7, **good)
    assert rng.random() == np.random.default_rng(0).random()


def test_bad_calls_of_choose_and_check_prompt(shapes_unchecked):
    with pytest.raises(TypeError, match=r"to draw at temperature 1\.0 takes a generator"):
        choose(np.zeros(3))
    with pytest.raises(ValueError, match="got NaN"):
        choose(np.array([0.0, np.nan]), temperature=0)
    for prompt, error, message in [
        ([], ValueError, "search needs at least one token"),
        ([7], ValueError, r"must lie in \[0, 7\)"),
        ([-1], ValueError, r"must lie in \[0, 7\)"),
        ([0.5], TypeError, "must be integers"),
        ([[1, 2]], ValueError, "one text"),
        ("hello", TypeError, "token ids in an array or a list"),
    ]:
        with pytest.raises(error, match=message):
            check_prompt(prompt, 7, "search")


def test_bad_searches_do_no_work(shapes_unchecked):
    model = TableModel(None, 3, context_length=8)
    for change, error, message in [
        ({"max_new_tokens": 0}, ValueError, "at least one new token and one beam, got 0 and 4"),
        ({"beams": 0}, ValueError, "one beam, got 2 and 0"),
        ({"beams": 2.0}, TypeError, "beams must be an integer"),
        ({"length_penalty": -1}, ValueError, "length_penalty lies from 0 to 100"),
        ({"length_penalty": 1e308}, ValueError, "length_penalty lies from 0 to 100"),
        ({"max_new_tokens": 8}, ValueError, "do not fit into the context of 8"),
        ({"stop": "x"}, TypeError, "stop lists ids"),
    ]:
        with pytest.raises(error, match=message):
            beam_search(model, [0, 1], **{"max_new_tokens": 2, **change})
    assert model.passes == 0
    assert beam_search(TableModel(random_table(3, 0), 3, context_length=8), [0, 1], 7).stopped is False
