"""Mirrors src/fp_markov/probability.py."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_markov.probability import (
    bayes,
    conditional,
    expectation,
    is_conditionally_independent,
    is_independent,
    marginal,
    variance,
)

wholes = st.integers(0, 9)


def tables(*shape):
    """Joint distributions, some of whose probabilities are zero."""
    weights = arrays(np.float64, shape, elements=wholes.map(float)).filter(lambda w: w.sum() > 0)
    return weights.map(lambda w: w / w.sum())


@pytest.mark.claim("markov.total-probability")
@given(st.lists(st.tuples(wholes, st.booleans(), st.integers(0, 2)), min_size=3, max_size=12))
def test_total_probability_over_outcomes_one_by_one(outcomes):
    """On outcomes of given weight, each inside A or not and in one of three events: exact sums of weights decide."""
    total = sum(weight for weight, _, _ in outcomes)
    if total == 0:
        return
    joint = np.zeros((3, 2))
    for weight, a, b in outcomes:
        joint[b, int(a)] += weight / total
    given_b, P_b = conditional(joint, given=(0,)), marginal(joint, keep=(0,))
    P_a = Fraction(sum(weight for weight, a, _ in outcomes if a), total)
    by_parts = sum(given_b[i, 1] * P_b[i] for i in range(3) if P_b[i])
    assert by_parts == pytest.approx(float(P_a), abs=1e-14)  # some twenty roundings of numbers up to one
    for i in range(3):
        weights = [(weight, a) for weight, a, b in outcomes if b == i]
        if mass := sum(weight for weight, _ in weights):
            expected = Fraction(sum(weight for weight, a in weights if a), mass)
            assert given_b[i, 1] == pytest.approx(float(expected), abs=1e-14)
            assert P_b[i] == pytest.approx(mass / total, abs=1e-14)


@pytest.mark.claim("markov.total-probability")
@given(tables(3, 5))
def test_total_probability_of_a_table(joint):
    given_b = np.nan_to_num(conditional(joint, given=(1,)))
    # 1e-15: a quotient, a product and a sum of five numbers below one
    assert given_b @ marginal(joint, (1,)) == pytest.approx(marginal(joint, (0,)), abs=1e-15)


@pytest.mark.claim("markov.bayes")
@given(tables(3, 5))
def test_bayes_is_the_other_conditional_of_the_joint_table(joint):
    prior = marginal(joint, (0,))
    likelihood, posterior = np.nan_to_num(conditional(joint, given=(0,))), conditional(joint, given=(1,))
    for a in range(5):
        if joint[:, a].sum() > 0:
            assert bayes(prior, likelihood[:, a]) == pytest.approx(posterior[:, a], abs=1e-14)  # a few roundings


@pytest.mark.claim("markov.bayes")
def test_bayes_by_counting_cases():
    # of 1000 mails 10 are spam, 9 of them flagged; of the other 990, 49.5 are
    assert bayes(np.array([0.01, 0.99]), np.array([0.9, 0.05])) == pytest.approx([9 / 58.5, 49.5 / 58.5], rel=1e-14)


@pytest.mark.claim("markov.independences-differ")
def test_neither_independence_implies_the_other():
    agree = np.zeros((2, 2, 2))
    for x, z in product(range(2), repeat=2):
        agree[x, z, int(x == z)] = 0.25
    assert is_independent(marginal(agree, (0, 1)))
    assert not is_conditionally_independent(agree)

    shows_one = np.array([0.9, 0.1])
    coin = np.stack((1 - shows_one, shows_one))  # P(x | c), for either toss
    bag = 0.5 * coin[:, None, :] * coin[None, :, :]
    assert is_conditionally_independent(bag)
    assert not is_independent(marginal(bag, (0, 1)))
    assert marginal(bag, (0, 1))[1, 1] == pytest.approx(0.41, rel=1e-15)


@pytest.mark.claim("markov.expectation-linear")
@given(tables(3, 5), arrays(np.float64, (3, 5), elements=st.floats(-9, 9)), st.floats(-5, 5), st.floats(-5, 5))
def test_expectation_is_linear_whatever_the_dependence(p, x, u, v):
    y = x**2  # a function of x: as dependent as can be
    assert expectation(u * x + v * y, p) == pytest.approx(
        u * expectation(x, p) + v * expectation(y, p), abs=1e-12
    )  # sums of magnitude 500


@pytest.mark.claim("markov.expectation-linear")
@given(tables(3), tables(5))
def test_the_mean_of_a_product_of_independent_variables(p, q):
    x, y = np.array([-1.0, 2.0, 7.0]), np.array([3.0, -2.0, 0.0, 5.0, 1.0])
    joint = np.outer(p, q)
    assert expectation(np.outer(x, y), joint) == pytest.approx(expectation(x, p) * expectation(y, q), abs=1e-13)


@pytest.mark.claim("markov.variance-of-mean")
@given(tables(3), st.integers(1, 4), st.floats(-5, 5))
def test_the_variance_of_an_average_over_all_outcomes_of_all_draws(p, n, u):
    x = np.array([-1.0, 2.0, 7.0])
    outcomes = list(product(range(3), repeat=n))
    probabilities = np.array([math.prod(p[list(o)]) for o in outcomes])
    averages = np.array([x[list(o)].mean() for o in outcomes])
    assert expectation(averages, probabilities) == pytest.approx(expectation(x, p), abs=1e-12)
    assert variance(averages, probabilities) == pytest.approx(variance(x, p) / n, abs=1e-12)  # magnitude 50
    assert variance(u * x, p) == pytest.approx(u**2 * variance(x, p), abs=1e-11)


@pytest.mark.claim("markov.markov-inequality")
@given(tables(7), arrays(np.float64, 7, elements=st.floats(0, 50)), st.floats(0.01, 60))
def test_markovs_inequality(p, x, a):
    assert p[x >= a].sum() <= expectation(x, p) / a + 1e-12


@pytest.mark.claim("markov.chebyshev")
@given(tables(7), arrays(np.float64, 7, elements=st.floats(-50, 50)), st.floats(0.01, 60))
def test_chebyshevs_inequality(p, x, epsilon):
    far = np.abs(x - expectation(x, p)) >= epsilon
    assert p[far].sum() <= variance(x, p) / epsilon**2 * (1 + 1e-9) + 1e-12


@pytest.mark.claim("markov.markov-inequality")
@pytest.mark.claim("markov.chebyshev")
def test_both_inequalities_are_met_with_equality_somewhere():
    """All mass at zero and a, and at both ends of a distance: no smaller bound holds."""
    p = np.array([0.7, 0.3])
    assert expectation(np.array([0.0, 4.0]), p) / 4 == pytest.approx(0.3, rel=1e-15)
    p, x = np.array([0.2, 0.6, 0.2]), np.array([-3.0, 0.0, 3.0])
    assert variance(x, p) / 9 == pytest.approx(0.4, rel=1e-15)


@pytest.mark.claim("markov.chain-rule")
@given(arrays(np.float64, (3, 3, 3, 3), elements=st.floats(0.01, 1.0)))
def test_the_chain_rule_on_every_text_of_four_tokens(weights):
    joint = weights / weights.sum()
    given_the_past = [conditional(marginal(joint, tuple(range(t + 1))), given=tuple(range(t))) for t in range(4)]
    for text in product(range(3), repeat=4):
        factors = [factor[text[: t + 1]] for t, factor in enumerate(given_the_past)]
        assert np.prod(factors) == pytest.approx(joint[text], rel=1e-12)  # a few roundings


def forms(joint):
    """The three statements of `markov.markov-assumption`, for a table with axes x, c, z."""
    one = is_conditionally_independent(joint.transpose(0, 2, 1))
    long, short = conditional(joint, (1, 2)), conditional(joint.sum(axis=2), (0 + 1,))[:, :, None]
    two = bool(np.nan_to_num(np.abs(long - short)).max() < 1e-9)
    # for each c, a product f(x) g(z) is a matrix of rank one or zero: all its 2 x 2 minors vanish
    three = all(
        abs(joint[x, c, z] * joint[v, c, w] - joint[x, c, w] * joint[v, c, z]) < 1e-9
        for c in range(joint.shape[1])
        for x, v in product(range(joint.shape[0]), repeat=2)
        for z, w in product(range(joint.shape[2]), repeat=2)
    )
    return one, two, three


@pytest.mark.claim("markov.markov-assumption")
@given(tables(2, 2, 3), arrays(np.float64, (2, 2), elements=wholes.map(float)), tables(2, 3))
def test_the_three_forms_hold_together_or_fail_together(free, f, g):
    assert len(set(forms(free))) == 1
    factored = f[:, :, None] * g[None]
    if factored.sum() > 0:
        assert forms(factored / factored.sum()) == (True, True, True)


@pytest.mark.claim("markov.markov-assumption")
def test_dependent_tables_fail_all_three_forms():
    joint = np.full((2, 2, 3), 1 / 12)
    joint[0, 1, 2] += 0.02
    joint[1, 1, 2] -= 0.02
    assert forms(joint) == (False, False, False)


@given(tables(2, 3, 5))
def test_marginals_keep_the_axes_asked_for_in_the_order_asked_for(joint):
    assert marginal(joint, (2, 0)) == pytest.approx(joint.sum(axis=1).T)
    assert marginal(joint, (1,)) == pytest.approx(np.einsum("xyz->y", joint))
    assert marginal(joint, ()) == pytest.approx(1.0)
    assert marginal(joint, (0, 1, 2)) == pytest.approx(joint)
    assert marginal(joint, (2, 0, 1)) == pytest.approx(np.moveaxis(joint, 2, 0))


@given(tables(2, 3, 5))
def test_conditionals_sum_to_one_where_the_condition_can_happen(joint):
    table = conditional(joint, (0, 2))
    possible = joint.sum(axis=1) > 0
    sums = table.sum(axis=1)
    assert sums[possible] == pytest.approx(1.0)
    assert np.isnan(sums[~possible]).all()


def test_three_variables_may_be_pairwise_independent_and_not_independent():
    agree = np.zeros((2, 2, 2))
    for x, z in product(range(2), repeat=2):
        agree[x, z, int(x == z)] = 0.25
    assert all(is_independent(marginal(agree, pair)) for pair in ((0, 1), (0, 2), (1, 2)))
    assert not is_independent(agree)


def test_what_cannot_happen_does_not_count_in_a_mean():
    assert expectation(np.array([2.0, np.inf]), np.array([1.0, 0.0])) == 2
    assert variance(np.array([2.0, np.inf]), np.array([1.0, 0.0])) == 0


def test_bad_input_is_refused(shapes_unchecked):
    half = np.array([0.5, 0.5])
    for call in (
        lambda p: marginal(p, (0,)),
        lambda p: conditional(p, (0,)),
        lambda p: bayes(p, half),
        is_independent,
        lambda p: is_conditionally_independent(p[:, None, None]),
        lambda p: expectation(half, p),
    ):
        with pytest.raises(ValueError, match=r"must sum to one, got 1\.1\. Divide"):
            call(np.array([0.5, 0.6]))
        with pytest.raises(ValueError, match=r"none negative or NaN, got a smallest one of -0\.5"):
            call(np.array([1.5, -0.5]))
        with pytest.raises(ValueError, match="none negative or NaN"):
            call(np.array([1.0, np.nan]))
    for axes in ((1,), (0, 0), (-1,)):
        with pytest.raises(ValueError, match="different numbers from 0 to 0"):
            marginal(half, axes)
        with pytest.raises(ValueError, match="different numbers from 0 to 0"):
            conditional(half, axes)
    with pytest.raises(ValueError, match="Were log-likelihoods passed"):
        bayes(half, np.array([-0.5, -1.0]))
    with pytest.raises(ValueError, match="probability zero under every hypothesis"):
        bayes(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"one value, got \(3,\) values for \(2,\) outcomes"):
        expectation(np.ones(3), half)
