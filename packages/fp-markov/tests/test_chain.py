"""Mirrors src/fp_markov/chain.py. Sizes are distinct primes."""

from collections import Counter
from itertools import pairwise, product
from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_markov.chain import StationaryChain
from fp_markov.information import entropy


def random_table(rng, V, zeros=0.0):
    """Rows of positive probabilities, of which some are then set to zero, but never a whole row."""
    P = rng.dirichlet(np.ones(V), size=V)
    P[rng.random((V, V)) < zeros] = 0
    P[np.arange(V), rng.integers(0, V, size=V)] += 0.1
    return P / P.sum(axis=1, keepdims=True)


def all_supports(V):
    """Every pattern of zero and positive entries that V rows can have, each with unequal positive entries."""
    rows = [row for row in product((0, 1), repeat=V) if any(row)]
    for pattern in product(rows, repeat=V):
        weights = np.array(pattern) * (1 + np.arange(V * V).reshape(V, V) % 5)
        yield weights / weights.sum(axis=1, keepdims=True)


def reached_by_search(P):
    """For each state the states that a depth-first search finds."""
    found = []
    for start in range(len(P)):
        seen, todo = {start}, [start]
        while todo:
            for j in np.flatnonzero(P[todo.pop()]):
                if int(j) not in seen:
                    seen.add(int(j))
                    todo.append(int(j))
        found.append(seen)
    return found


def closed_classes(P):
    reached = reached_by_search(P)
    return {frozenset(reached[i]) for i in range(len(P)) if all(i in reached[j] for j in reached[i])}


def distance(p, q):
    return np.abs(p - q).sum(axis=-1) / 2


def path_probability(p, P, path):
    return p[path[0]] * np.prod([P[i, j] for i, j in pairwise(path)])


tables = st.builds(
    lambda seed, V, zeros: random_table(np.random.default_rng(seed), V, zeros),
    st.integers(0, 10**6),
    st.integers(1, 7),
    st.sampled_from([0.0, 0.5, 0.8]),
)


@pytest.mark.claim("markov.chapman-kolmogorov")
def test_probabilities_of_later_states_add_up_from_all_paths():
    """Exhaustive over the paths of up to five steps of three states, some of whose steps are impossible."""
    rng = np.random.default_rng(2)
    P, p = random_table(rng, 3, zeros=0.4), rng.dirichlet(np.ones(3))
    chain = StationaryChain(P)
    for s, t in ((0, 0), (0, 3), (1, 2), (2, 3), (3, 1)):
        joint = np.zeros((3, 3))
        for path in product(range(3), repeat=s + t + 1):
            joint[path[s], path[s + t]] += path_probability(p, P, path)
        power = chain.step(np.eye(3), t)
        np.testing.assert_allclose(joint / joint.sum(axis=1, keepdims=True), power, atol=1e-14)  # a few roundings
        np.testing.assert_allclose(joint.sum(axis=0), chain.step(p, s + t), atol=1e-14)
        np.testing.assert_allclose(power.sum(axis=1), 1, atol=1e-14)
        np.testing.assert_allclose(chain.step(power, s), chain.step(np.eye(3), s + t), atol=1e-14)


@pytest.mark.claim("markov.stationary-exists")
@pytest.mark.claim("markov.stationary-unique")
def test_every_pattern_of_three_states_has_as_many_stationary_distributions_as_closed_classes():
    """Exhaustive over the 343 patterns of zeros that three rows can have; the number is 3 minus the rank of P - 1."""
    for P in all_supports(3):
        classes = closed_classes(P)
        assert 3 - np.linalg.matrix_rank(P - np.eye(3), tol=1e-9) == len(classes) >= 1
        chain = StationaryChain(P)
        assert chain.is_irreducible() == (classes == {frozenset(range(3))})
        if len(classes) == 1:
            pi = chain.stationary()
            np.testing.assert_allclose(pi @ P, pi, atol=1e-15)  # a few roundings of numbers below one
            assert pi.sum() == pytest.approx(1, abs=1e-15)
            assert set(np.flatnonzero(pi)) == next(iter(classes))
        else:
            with pytest.raises(ValueError, match="several stationary distributions"):
                chain.stationary()


@pytest.mark.claim("markov.stationary-exists")
@settings(max_examples=50)
@given(tables)
def test_a_closed_class_always_has_a_stationary_distribution_and_it_is_numpys_eigenvector(P):
    members = sorted(next(iter(closed_classes(P))))
    block = P[np.ix_(members, members)]
    pi = StationaryChain(block).stationary()
    assert (pi > 0).all()
    np.testing.assert_allclose(pi @ block, pi, atol=1e-14)
    values, vectors = np.linalg.eig(block.T)
    outside = np.real(vectors[:, np.abs(values - 1).argmin()])
    # eig loses digits as the second eigenvalue nears one; these chains keep it below 1 - 1e-3
    np.testing.assert_allclose(pi, outside / outside.sum(), atol=1e-10)


def test_two_states_by_hand():
    """Flow from 0 to 1 is pi_0 a, back pi_1 b: equal for pi = (b, a) / (a + b)."""
    a, b = 0.3, 0.1
    chain = StationaryChain(np.array([[1 - a, a], [b, 1 - b]]))
    np.testing.assert_allclose(chain.stationary(), [0.25, 0.75], rtol=1e-14)
    assert chain.contraction() == pytest.approx(1 - a - b)
    assert chain.contraction(5) == pytest.approx(0.6**5)
    expected = 0.25 * -(0.7 * np.log(0.7) + 0.3 * np.log(0.3)) + 0.75 * -(0.1 * np.log(0.1) + 0.9 * np.log(0.9))
    assert chain.entropy_rate() == pytest.approx(expected, rel=1e-14)


def test_tiny_and_huge_ratios_keep_their_digits():
    """A walk on 401 states, up with probability u and down with 1 - u: neighbours have the ratio u / (1 - u)."""
    V, u = 401, 1e-3
    P = np.zeros((V, V))
    P[np.arange(V - 1), np.arange(1, V)] = u
    P[np.arange(1, V), np.arange(V - 1)] = 1 - u
    P[0, 0], P[-1, -1] = 1 - u, u
    for table in (P, P[::-1, ::-1]):
        pi = StationaryChain(table).stationary()
        high_first = pi if pi[0] > pi[-1] else pi[::-1]
        expected = (1 - u / (1 - u)) * (u / (1 - u)) ** np.arange(60.0)
        np.testing.assert_allclose(high_first[:60], expected, rtol=1e-12)  # down to 1e-178; 60 roundings
        assert np.isfinite(pi).all()
    almost_apart = StationaryChain(np.array([[1 - 1e-18, 1e-18], [3e-18, 1 - 3e-18]]))  # the diagonal rounds to one
    np.testing.assert_allclose(almost_apart.stationary(), [0.75, 0.25], rtol=1e-14)


@pytest.mark.claim("markov.period")
def test_the_period_divides_all_return_times_whichever_state_returns():
    """Exhaustive over the irreducible patterns of three states, and cycles of prime lengths that share a state."""
    tables = [P for P in all_supports(3) if closed_classes(P) == {frozenset(range(3))}]
    for lengths in ((2,), (5,), (2, 3), (2, 4), (3, 6), (4, 6)):
        V = 1 + sum(n - 1 for n in lengths)
        P, free = np.zeros((V, V)), 1
        for n in lengths:
            cycle = [0, *range(free, free + n - 1), 0]
            free += n - 1
            for i, j in pairwise(cycle):
                P[i, j] = 1
        tables.append(P / P.sum(axis=1, keepdims=True))
    assert len(tables) > 100
    periods = set()
    for P in tables:
        chain = StationaryChain(P)
        returns = [np.diag(chain.step(np.eye(len(P)), t)) > 0 for t in range(1, 4 * len(P))]
        for i in range(len(P)):
            assert gcd(*(t for t, back in enumerate(returns, 1) if back[i])) == chain.period()
        assert chain.is_aperiodic() == (chain.period() == 1)
        periods.add(chain.period())
    assert periods == {1, 2, 3, 5}


@pytest.mark.claim("markov.return-times")
def test_sums_of_numbers_without_common_divisor_reach_everything_from_b_squared_on():
    """Exhaustive over the sets that two or three numbers below 14 generate."""
    for generators in product(range(1, 14), repeat=3):
        if gcd(*generators) != 1:
            continue
        limit = 400
        sums = {0}
        for n in range(1, limit):
            if any(n - g in sums for g in generators):
                sums.add(n)
        sums.remove(0)
        b = next(n for n in range(1, limit) if n in sums and n + 1 in sums)
        assert set(range(b * b, limit)) <= sums


@pytest.mark.claim("markov.contraction")
@settings(max_examples=50)
@given(tables, st.integers(0, 10**6))
def test_a_step_shrinks_distances_by_the_coefficient_and_two_certain_starts_attain_it(P, seed):
    chain, V = StationaryChain(P), len(P)
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.full(V, 0.3), size=(2, 101))
    shrunk = distance(chain.step(p), chain.step(q))
    assert (shrunk <= chain.contraction() * distance(p, q) + 1e-14).all()  # a few roundings
    pairs = [distance(P[i], P[k]) for i in range(V) for k in range(V)]
    assert max(pairs) == pytest.approx(chain.contraction(), abs=1e-14)
    least_shared = min(np.minimum(P[i], P[k]).sum() for i in range(V) for k in range(V))
    assert chain.contraction() == pytest.approx(1 - least_shared, abs=1e-14)


@pytest.mark.claim("markov.stationary-limit")
def test_every_irreducible_aperiodic_pattern_converges_at_the_stated_rate_and_no_periodic_one_does():
    """Exhaustive over the patterns of three states."""
    counts = Counter()
    for P in all_supports(3):
        chain = StationaryChain(P)
        if not chain.is_irreducible():
            continue
        powers = [chain.step(np.eye(3), t) for t in range(30)]
        counts[chain.is_aperiodic()] += 1
        if not chain.is_aperiodic():
            assert all(distance(power, chain.stationary()).max() > 0.2 for power in powers)
            continue
        m = next(t for t, power in enumerate(powers) if (power > 0).all())
        rate = chain.contraction(m)
        assert rate < 1
        for t, power in enumerate(powers):
            # every start is a mixture of the certain ones, which are the rows; 1e-13: roundings of 30 steps
            assert distance(power, chain.stationary()).max() <= rate ** (t // m) + 1e-13
    assert counts[True] > 100 and counts[False] > 0


@pytest.mark.claim("markov.entropy-rate")
def test_entropy_per_token_falls_to_the_rate_counted_over_all_texts():
    """Exhaustive over the texts of up to seven tokens; the stationary start comes from a high power."""
    P = random_table(np.random.default_rng(5), 3, zeros=0.3)
    chain = StationaryChain(P)
    pi = np.linalg.matrix_power(P, 4096)[0]
    joint = [0.0]
    for T in range(1, 8):
        texts = np.array([path_probability(pi, P, text) for text in product(range(3), repeat=T)])
        joint.append(float(entropy(texts)))
    h = chain.entropy_rate()
    np.testing.assert_allclose(np.diff(joint)[1:], h, atol=1e-12)  # roundings of 2187 terms: H(W_T | W_<T), T >= 2
    per_token = np.array(joint[1:]) / np.arange(1, 8)
    np.testing.assert_allclose(per_token, h + (joint[1] - h) / np.arange(1, 8), atol=1e-12)
    assert (np.diff(per_token) < 0).all()


@pytest.mark.claim("markov.entropy-rate")
@settings(max_examples=50)
@given(tables)
def test_a_token_of_context_never_costs_and_is_worth_the_mean_divergence(P):
    members = sorted(next(iter(closed_classes(P))))
    chain = StationaryChain(P[np.ix_(members, members)])
    pi, P = chain.stationary(), chain.P
    logs = np.log(P / pi, out=np.zeros_like(P), where=P > 0)
    gain = float(entropy(pi)) - chain.entropy_rate()
    assert gain == pytest.approx(float(pi @ (P * logs).sum(axis=1)), abs=1e-12)
    assert gain >= -1e-12
    independent = StationaryChain(np.tile(pi, (len(pi), 1)))
    assert independent.entropy_rate() == pytest.approx(float(entropy(pi)), abs=1e-12)


def test_relative_frequencies_and_raised_counts_by_hand():
    """In 0 0 1 2 0 1 the pairs are 00, 01, 12, 20, 01."""
    got = StationaryChain.from_text(np.array([0, 0, 1, 2, 0, 1], np.uint8), vocab_size=3).P
    np.testing.assert_allclose(got, [[1 / 3, 2 / 3, 0], [0, 0, 1], [1, 0, 0]], rtol=1e-15)
    raised = StationaryChain.from_text([0, 0, 1, 2, 0, 1], vocab_size=5, alpha=0.5)
    np.testing.assert_allclose(raised.P[0], np.array([1.5, 2.5, 0.5, 0.5, 0.5]) / 5.5, rtol=1e-15)
    np.testing.assert_allclose(raised.P[4], 0.2, rtol=1e-15)
    assert raised.is_irreducible() and raised.is_aperiodic()


def test_a_sampled_path_has_the_frequencies_of_the_table():
    P = random_table(np.random.default_rng(7), 5, zeros=0.3)
    chain = StationaryChain(P)
    path = chain.sample(100_003, np.random.default_rng(11))
    assert (P[path[:-1], path[1:]] > 0).all()
    for i in range(5):
        after = path[1:][path[:-1] == i]
        observed = np.bincount(after, minlength=5) / len(after)
        # what follows the visits to i is independent: Hoeffding, off by more with probability below 2 e^-14 < 2e-6
        assert np.abs(observed - P[i]).max() < np.sqrt(7 / len(after))


def test_the_first_state_is_drawn_from_the_stationary_distribution_or_given():
    chain = StationaryChain(np.array([[0.9, 0.1], [0.3, 0.7]]))
    rng = np.random.default_rng(13)
    first = [int(chain.sample(1, rng)[0]) for _ in range(5003)]
    assert abs(np.mean(first) - 0.25) < np.sqrt(7 / 5003)  # Hoeffding, as above
    assert chain.sample(3, rng, start=1)[0] == 1
    sure = StationaryChain(np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    assert sure.sample(7, rng, start=2).tolist() == [2, 0, 1, 2, 0, 1, 2]
    again = [chain.sample(17, np.random.default_rng(3)).tolist() for _ in range(2)]
    assert again[0] == again[1]


def test_steps_work_on_batches_and_zero_steps_change_nothing():
    rng = np.random.default_rng(17)
    chain = StationaryChain(random_table(rng, 5))
    p = rng.dirichlet(np.ones(5), size=(2, 3))
    np.testing.assert_array_equal(chain.step(p, 0), p)
    by_hand = chain.step(chain.step(chain.step(p)))
    np.testing.assert_allclose(chain.step(p, 3), by_hand, rtol=1e-14)
    assert chain.step(p, 3).shape == (2, 3, 5)


def test_rows_are_normalised_exactly_and_the_given_table_is_left_alone():
    P = np.full((3, 3), 1 / 3, np.float32)
    chain = StationaryChain(P)
    np.testing.assert_allclose(chain.P.sum(axis=1), 1, rtol=1e-15)
    assert chain.P.dtype == np.float64 and P.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        chain.P[0, 0] = 1


@pytest.mark.parametrize(
    ("P", "sentence"),
    [
        (np.ones((2, 3)) / 3, r"square table.*got shape \(2, 3\)"),
        (np.ones((0, 0)), "square table"),
        (np.ones(2) / 2, "square table"),
        (np.array([[1.5, -0.5], [0.0, 1.0]]), "minimum is -0.5"),
        (np.array([[np.nan, 1.0], [0.0, 1.0]]), "minimum is nan"),
        (np.array([[0.5, 0.5], [0.5, 0.4]]), "row 1 sums to 0.9"),
        (np.array([[0.0, 1.0], [np.inf, 0.0]]), "row 1 sums to inf"),
    ],
)
def test_tables_that_are_no_chain_are_refused(P, sentence, shapes_unchecked):
    with pytest.raises(ValueError, match=sentence):
        StationaryChain(P)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([0, 1, 2], 3), "nothing follows state 2 in the text.*Give alpha"),
        (([0], 3), "at least two tokens"),
        (([0, 1, 3], 3), r"token ids must lie in \[0, 3\)"),
        (([0, 1, 0], 2, -1.0), "zero or more and finite, got -1.0"),
        (([0, 1, 0], 2, float("nan")), "zero or more and finite, got nan"),
    ],
)
def test_texts_that_give_no_chain_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        StationaryChain.from_text(*arguments)


def test_a_text_that_is_not_encoded_is_a_type_error(shapes_unchecked):
    with pytest.raises(TypeError, match=r"integers, got float64\. Encode the text first"):
        StationaryChain.from_text(np.array([0.0, 1.0, 0.0]), 2)


def test_questions_without_an_answer_are_refused(shapes_unchecked):
    flip = StationaryChain(np.array([[0.0, 1.0], [1.0, 0.0]]))
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="zero or more steps, got -1"):
        flip.step(np.array([1.0, 0.0]), -1)
    with pytest.raises(ValueError, match="zero or more steps, got -2"):
        flip.contraction(-2)
    with pytest.raises(ValueError, match=r"p needs 2 entries.*\(3,\)"):
        flip.step(np.ones(3) / 3)
    for p, sentence in (([0.5, 0.6], "must sum to one, got a sum of 1.1"), ([1.5, -0.5], "none negative or NaN")):
        with pytest.raises(ValueError, match=f"each row of p {sentence}|each row of p must hold .*{sentence}"):
            flip.step(np.array(p))
    with pytest.raises(ValueError, match="at least one state, got n = 0"):
        flip.sample(0, rng)
    with pytest.raises(ValueError, match=r"a state in \[0, 2\), got 2"):
        flip.sample(3, rng, start=2)
    islands = StationaryChain(np.eye(3))
    with pytest.raises(ValueError, match="states 0 and 1 belong to different closed classes"):
        islands.stationary()
    with pytest.raises(ValueError, match="several stationary distributions"):
        islands.sample(3, rng)
    with pytest.raises(ValueError, match="state 0 never reaches state 1"):
        islands.period()
    assert islands.sample(2, rng, start=1).tolist() == [1, 1]
