"""Mirrors src/fp_transformer/speculative.py."""

import math
from collections import Counter
from fractions import Fraction
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.kv_cache import KVCache
from fp_transformer.config import TransformerConfig
from fp_transformer.decoding import distribution
from fp_transformer.generation import Cache, generate
from fp_transformer.model import Transformer
from fp_transformer.speculative import (
    best_k,
    expected_tokens,
    overlap,
    residual,
    speculative_generate,
    speed_up,
    verify,
)


class TableModel:
    """Probabilities after each text, which it knows from its cache alone."""

    def __init__(self, table, vocab_size, context_length=32):
        self.config = SimpleNamespace(vocab_size=vocab_size, context_length=context_length)
        self.table, self.rows, self.passes, self.caches = table, 0, 0, []

    def new_cache(self, batch=1, capacity=None):
        self.caches.append(Cache([KVCache(batch, 1, 1, capacity or self.config.context_length, owner=self)]))
        return self.caches[-1]

    def forward(self, ids, *, cache, last=False):
        self.rows, self.passes = self.rows + ids.shape[1], self.passes + 1
        column, start = ids[:, None, :, None].astype(np.float64), cache.length
        text = cache.layers[0].append(column, column)[0][0, 0, :, 0].astype(int).tolist()
        with np.errstate(divide="ignore"):
            p = [[float(x) for x in self.table(tuple(text[: t + 1]))] for t in range(start, len(text))]
            z = np.log(np.array([p]))
        return z[:, -1:] if last else z


class Scripted(np.random.Generator):
    """Uniform numbers in the middles of M equal parts of [0, 1): first those of the script, then the lowest."""

    def __init__(self, script, M):
        super().__init__(np.random.PCG64(0))
        self.script, self.M, self.used = script, M, 0

    def random(self, size=None):
        assert size in (None, ())
        if self.used == len(self.script):
            self.script.append(0)
        self.used += 1
        return (self.script[self.used - 1] + 0.5) / self.M


def every_outcome(run, M):
    """
    The exact distribution of what `run(rng)` gives, by running it with all uniform numbers that matter.

    If all that a uniform number is compared with are multiples of 1/M, then all numbers of one of the M parts have the
    same effect, and a run that takes m numbers stands for M^-m of all runs.
    """
    outcomes, script = Counter(), []
    while True:
        result = run(Scripted(script, M))  # which makes the script longer as it goes
        outcomes[result] += Fraction(1, M ** len(script))
        while script and script[-1] == M - 1:
            script.pop()
        if not script:
            assert sum(outcomes.values()) == 1
            return dict(outcomes)
        script[-1] += 1


def drawn_from_the_target(table, prompt, n, V):
    """What drawing each token from the target gives."""
    texts = {t: math.prod(table((*prompt, *t[:i]))[x] for i, x in enumerate(t)) for t in product(range(V), repeat=n)}
    return {text: p for text, p in texts.items() if p}


def table_of(choices, salt):
    """One of some distributions after each text, whichever."""
    return lambda text: choices[np.random.default_rng([salt, *text]).integers(len(choices))]


HALVES = [[Fraction(1), Fraction(0)], [Fraction(1, 2), Fraction(1, 2)], [Fraction(0), Fraction(1)]]
QUARTERS = [[Fraction(x, 4) for x in c] for c in product(range(3), repeat=3) if sum(c) == 4]  # (2, 1, 1) and (2, 2, 0)


def tiny(seed, family="llama", vocab_size=7, sharpness=1.0):
    make = getattr(TransformerConfig, family)
    config = make(vocab_size=vocab_size, context_length=24, n_layers=1, n_heads=2, d_model=8)
    model = Transformer(config, rng=np.random.default_rng(seed), dtype=np.float64).eval()
    model.embedding.weight.data[...] *= sharpness
    return model


# --- one token


def draft_and_verify(p, q, k=1):
    """A round, with these distributions after every text."""

    def run(rng):
        drafted = []
        for _ in range(k):
            u, F = rng.random(), np.cumsum(q)
            drafted.append(int((u >= F).sum()))
        return tuple(verify(np.tile(p, (k + 1, 1)), np.tile(q, (k, 1)), drafted, rng))

    return run


@pytest.mark.claim("transformer.speculative-token")
@pytest.mark.parametrize(("choices", "M"), [(HALVES, 2), (QUARTERS, 4)])
def test_the_first_token_of_a_round_has_the_targets_distribution(choices, M):
    """Exhaustive: all pairs of these distributions, all uniform numbers."""
    for p, q in product(choices, repeat=2):
        found, accepted = Counter(), Fraction(0)
        outcomes = every_outcome(draft_and_verify(np.array(p, np.float64), np.array(q, np.float64)), M)
        for tokens, mass in outcomes.items():
            found[tokens[0]] += mass
            accepted += mass * (len(tokens) == 2)
        assert [found[x] for x in range(len(p))] == p
        assert accepted == sum(map(min, p, q)) == 1 - sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2


@pytest.mark.claim("transformer.speculative-token")
@pytest.mark.parametrize("scores", [([2, 1, 0], [0, 1, 2]), ([2, 1, 0], [1, 1, 0]), ([0, 1, 2], [1, 0, 1])])
def test_distributions_that_were_cut(scores):
    """Two of three tokens are left, with thirds or halves: all that matters are multiples of a twelfth."""
    p, q = (distribution(np.log(2.0) * np.array(s, np.float64), top_k=2) for s in scores)
    exact = [Fraction(x).limit_denominator(6) for x in p]
    found = Counter()
    for tokens, mass in every_outcome(draft_and_verify(p, q), 12).items():
        found[tokens[0]] += mass
    assert [found[x] for x in range(3)] == exact


probabilities = st.lists(st.integers(0, 9), min_size=5, max_size=5).filter(any).map(lambda c: np.array(c) / sum(c))


@pytest.mark.claim("transformer.speculative-token")
@given(probabilities, probabilities)
@settings(max_examples=25)
def test_overlap_and_residual(p, q):
    beta = overlap(p, q)
    assert beta == pytest.approx(1 - np.abs(p - q).sum() / 2, abs=1e-14)  # rounding of sums of five
    r = residual(p, q)
    assert r.sum() == pytest.approx(1, abs=1e-14) and (r >= 0).all()
    np.testing.assert_allclose(np.minimum(p, q) + (1 - beta) * r, p, atol=1e-14)


def test_equal_distributions_have_no_residual_and_need_none():
    p = np.array([0.25, 0.75])
    assert residual(p, p).tolist() == p.tolist()
    assert float(overlap(p, p)) == 1


@pytest.mark.claim("transformer.speculative-best")
def test_no_joint_distribution_agrees_more_often():
    """Exhaustive: all joint distributions of three tokens in sixths, whatever their margins."""
    best = {}
    cells = list(product(range(3), repeat=2))
    for places in {tuple(sorted(c)) for c in product(range(9), repeat=6)}:
        joint = np.zeros((3, 3), int)
        for i in places:
            joint[cells[i]] += 1
        margins = tuple(joint.sum(axis=1)), tuple(joint.sum(axis=0))
        best[margins] = max(best.get(margins, 0), int(joint.trace()))
    for (q, p), agree in best.items():
        assert agree == np.minimum(p, q).sum()  # never more, and (E1) reaches it


# --- many tokens


@pytest.mark.claim("transformer.speculative-exact")
@pytest.mark.parametrize(
    ("choices", "M", "k", "n"),
    [(HALVES, 2, 1, 4), (HALVES, 2, 2, 4), (HALVES, 2, 3, 3), (HALVES, 2, 5, 3), (QUARTERS, 4, 1, 2)],
)
@pytest.mark.parametrize("salt", [0, 1])
def test_the_text_has_the_targets_distribution(choices, M, k, n, salt):
    """Exhaustive: the function itself, with caches, under all uniform numbers, compared in exact fractions."""
    V, prompt = len(choices[0]), (0, 1)
    p, q = table_of(choices, salt), table_of(choices, salt + 10)
    target, draft = TableModel(p, V), TableModel(q, V)
    found = every_outcome(lambda rng: tuple(speculative_generate(target, draft, prompt, n, k=k, rng=rng)), M)
    assert found == drawn_from_the_target(p, prompt, n, V)


def given_by_rounds(p, q, text, n, k):
    """The distribution of the next n tokens, by (E1) in exact fractions; k may depend on the text."""
    if n <= 0:
        return {(): Fraction(1)}
    found = Counter()

    def go_on(tokens, mass):
        for rest, more in given_by_rounds(p, q, text + tokens, n - len(tokens), k).items():
            found[(tokens + rest)[:n]] += mass * more

    def test(tokens, left, mass):
        ps, qs = p(text + tokens), q(text + tokens)
        if left == 0:
            for x, p_x in enumerate(ps):
                if p_x:
                    go_on((*tokens, x), mass * p_x)
            return
        failed = Fraction(0)
        for x, q_x in enumerate(qs):
            if q_x:
                accept = min(Fraction(1), ps[x] / q_x)
                failed += q_x * (1 - accept)
                if accept:
                    test((*tokens, x), left - 1, mass * q_x * accept)
        rest = [max(a - b, Fraction(0)) for a, b in zip(ps, qs, strict=True)]
        for x, r in enumerate(rest):
            if failed and r:
                go_on((*tokens, x), mass * failed * r / sum(rest))

    test((), k(text), Fraction(1))
    return found


@pytest.mark.claim("transformer.speculative-exact")
@pytest.mark.parametrize("seed", range(3))
def test_the_rule_in_fractions_for_any_distributions_and_changing_k(seed):
    def table(salt, kept):
        def probabilities(text):
            counts = np.random.default_rng([seed, salt, *text]).integers(1, 9, size=3)
            counts[np.argsort(counts)[: 3 - kept]] = 0  # cut, in the draft more than in the target
            return [Fraction(int(c), int(counts.sum())) for c in counts]

        return probabilities

    p, q = table(0, 3), table(1, 2)
    found = given_by_rounds(p, q, (0,), 3, lambda text: (len(text) + seed) % 3)
    assert found == drawn_from_the_target(p, (0,), 3, 3)


@pytest.mark.claim("transformer.speculative-exact")
def test_on_real_models_the_texts_are_the_targets(shapes_unchecked):
    """Statistical: by Hoeffding a right sampler exceeds the bound in one of the cells once in ten thousand seeds."""
    target, draft = tiny(0, vocab_size=3, sharpness=60), tiny(1, "gpt2", vocab_size=3, sharpness=60)
    settings, N = {"temperature": 0.8, "min_p": 0.05}, 150

    def exact(model):
        p = {}
        for text in product(range(3), repeat=2):
            rows = distribution(model.forward(np.array([[1, 2, *text]])).data[0], **settings)
            p[text] = rows[1, text[0]] * rows[2, text[1]]
        return p

    rng = np.random.default_rng(5)
    runs = (speculative_generate(target, draft, [1, 2], 2, k=2, rng=rng, **settings) for _ in range(N))
    counts = Counter(tuple(run) for run in runs)
    bound = math.sqrt(math.log(2 * 9 / 1e-4) / (2 * N))
    p, q = exact(target), exact(draft)
    assert max(abs(counts[t] / N - p[t]) for t in p) <= bound
    assert max(abs(q[t] - p[t]) for t in p) > 2 * bound  # the draft alone would be found out


@pytest.mark.claim("transformer.speculative-exact")
@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_at_temperature_zero_the_text_is_the_greedy_one(k, family):
    target = tiny(0, family, sharpness=30)
    whole = list(generate(target, [1, 2, 3], 9, temperature=0))
    for draft in (tiny(1, "llama", sharpness=30), target):
        rounds = []
        got = list(speculative_generate(target, draft, [1, 2, 3], 9, k=k, temperature=0, rounds=rounds))
        assert got == whole and sum(rounds) == 9
        if draft is target:
            assert rounds == [k + 1] * (9 // (k + 1)) + [9 % (k + 1)] * (9 % (k + 1) > 0)
    stop = [(whole[4], whole[5])]
    assert list(speculative_generate(target, draft, [1, 2, 3], 9, k=k, temperature=0, stop=stop)) == list(
        generate(target, [1, 2, 3], 9, temperature=0, stop=stop)
    )
    assert list(speculative_generate(target, draft, [1], 5, k=k, rng=np.random.default_rng(0), top_k=1)) == list(
        generate(target, [1], 5, temperature=0)
    )


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_computed_twice_and_what_failed_is_taken_back(seed):
    target, draft = (TableModel(table_of(QUARTERS, salt), 3) for salt in (1, 2))
    rounds, prompt, k = [], [0, 1, 2, 0], 3
    text = list(speculative_generate(target, draft, prompt, 17, k=k, rng=np.random.default_rng(seed), rounds=rounds))
    assert len(text) == 17 == sum(rounds) and max(rounds) <= k + 1
    left, drafted = 17, []
    for given_tokens in rounds:
        drafted.append(min(k, left - 1))
        left -= given_tokens
    assert target.passes == 1 + len(rounds)
    assert target.rows == 3 + sum(drafted) + len(rounds)  # the prompt but one, and each round's last token and drafts
    assert draft.passes == sum(drafted)
    assert target.caches[0].length == 4 + 17 - 1
    assert draft.caches[0].length <= 4 + 17 - 1


def test_nothing_to_do():
    target = TableModel(table_of(HALVES, 0), 2)
    assert list(speculative_generate(target, target, [0, 1], 0, temperature=0)) == [] and target.passes == 0
    rounds = []
    assert len(list(speculative_generate(target, target, [0], 1, temperature=0, rounds=rounds))) == 1
    assert rounds == [1] and target.passes == 1


# --- what it brings


@pytest.mark.claim("transformer.speculative-tokens")
@pytest.mark.parametrize(
    ("p", "q", "M", "ks"),
    [
        ([0.5, 0.5], [1.0, 0.0], 2, range(5)),
        ([0.0, 1.0], [1.0, 0.0], 2, range(4)),
        ([1.0, 0.0], [1.0, 0.0], 2, range(4)),
        ([0.5, 0.25, 0.25], [0.25, 0.5, 0.25], 4, range(3)),
    ],
)
def test_the_mean_number_of_tokens_in_a_round(p, q, M, ks):
    a = sum(map(min, map(Fraction, p), map(Fraction, q)))
    for k in ks:
        outcomes = every_outcome(draft_and_verify(np.array(p), np.array(q), k), M)
        mean = sum(len(tokens) * mass for tokens, mass in outcomes.items())
        assert mean == sum(a**i for i in range(k + 1)) == Fraction(expected_tokens(float(a), k))
        if a < 1:
            assert mean == (1 - a ** (k + 1)) / (1 - a)


@pytest.mark.claim("transformer.speculative-speedup")
def test_when_drafts_help_and_how_many():
    for a, c in product(
        [Fraction(i, 12) for i in range(12)], [Fraction(1, 50), Fraction(1, 6), Fraction(1, 2), Fraction(1)]
    ):
        S = [sum(a**i for i in range(k + 1)) / (k * c + 1) for k in range(40)]
        assert [speed_up(float(a), k, float(c)) for k in range(40)] == pytest.approx([float(s) for s in S], rel=1e-13)
        assert (S[1] > 1) == (a > c) == any(s > 1 for s in S)
        top = S.index(max(S))
        end = top + S.count(S[top])
        assert end - top in (1, 2)
        assert all(S[i] < S[i + 1] for i in range(top)) and all(S[i] > S[i + 1] for i in range(end - 1, 39))
        if end - top == 1:  # else rounding decides between equals
            assert best_k(float(a), float(c)) == top


@pytest.mark.claim("transformer.speculative-speedup")
def test_the_difference_that_decides():
    a, c, k, E = sympy.symbols("a c k E", positive=True)
    more = E + a ** (k + 1)
    g = a ** (k + 1) * (k * c + 1) - c * E
    assert sympy.expand(more * (k * c + 1) - E * (k * c + c + 1) - g) == 0
    next_g = a ** (k + 2) * (k * c + c + 1) - c * more
    assert sympy.simplify(next_g - g + a ** (k + 1) * (1 - a) * (k * c + c + 1)) == 0


# --- bad input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"prompt_ids": []}, ValueError, "speculative_generate needs at least one token"),
        ({"prompt_ids": [2]}, ValueError, r"must lie in \[0, 2\)"),
        ({"k": 0}, ValueError, "at least 1, got 0; without drafts use generate"),
        ({"k": 1.5}, TypeError, "k must be an integer"),
        ({"temperature": 1.0}, TypeError, "takes a generator"),
        ({"top_p": 2}, ValueError, "top_p is a probability mass"),
        ({"max_new_tokens": -1}, ValueError, "zero or more"),
        ({"max_new_tokens": 33}, ValueError, "do not fit into the context of 32"),
        ({"stop": "."}, TypeError, "stop lists ids"),
        ({"draft": TableModel(None, 3)}, ValueError, "must share a vocabulary.*got 2 and 3"),
        ({"draft": TableModel(None, 2, 4)}, ValueError, "do not fit into the context of 4"),
    ],
)
def test_bad_input_is_refused_at_the_call(shapes_unchecked, change, error, message):
    model = TableModel(None, 2)
    good = {"model": model, "draft": model, "prompt_ids": [0], "max_new_tokens": 5, "temperature": 0}
    with pytest.raises(error, match=message):
        speculative_generate(**{**good, **change})
    assert model.passes == 0


def test_bad_numbers(shapes_unchecked):
    for call, message in [
        (lambda: expected_tokens(1.5, 2), "a is a probability"),
        (lambda: expected_tokens(0.5, -1), "k not negative"),
        (lambda: speed_up(0.5, 2, 0), "c is the time"),
        (lambda: best_k(1, 0.5), "with a = 1 every further draft helps"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
