r"""
Perplexity.

Level: implement. You need `fp_markov.information` up to perplexity.

A model gave the tokens of a text the probabilities $p_1, \dots, p_T$. Its **perplexity** on the text is the number $k$
for which a uniform choice among $k$ tokens would have been as surprising on average: a model that always hesitates
between 50 equally likely tokens has perplexity 50, and one that is never surprised has 1. In a formula, it is one
over the geometric mean of the probabilities,

$$\Big( \prod_{t=1}^{T} p_t \Big)^{-1/T}.$$

Published language models are compared by it, over the same text and the same tokenization. Written as above it
cannot be computed: the product of a few hundred probabilities falls below every positive floating-point number, and
test texts have millions of tokens. That is why models return logarithms of probabilities. Write perplexity as a
function of $\ln p_1, \dots, \ln p_T$.

One impossible token is enough: if some $p_t = 0$, then $\ln p_t = -\infty$ and the perplexity is infinite. Of an empty
text there is no mean, so refuse it.
"""

from numbers import Real
from typing import Any

import numpy as np

HINTS = (
    "The logarithm of a product is a sum. Take the logarithm of the formula first and simplify on paper.",
    "ln of the perplexity is minus the mean of the log-probabilities: the cross-entropy in nats. Undo the logarithm "
    "with the exponential of the same base.",
    "`np.exp(-log_probs.mean())`, after a test for an empty array. What do the mean and the exponential do with minus "
    "infinity?",
)


def perplexity(log_probs: np.ndarray) -> float:
    """
    Perplexity of a model on a text.

    Parameters
    ----------
    log_probs
        Natural logarithm (nats) of the probability that the model gave to each token of the text, shape `(T,)`; minus
        infinity where it gave zero.

    Returns
    -------
    float
        At least 1; infinite if any token had probability zero.

    Raises
    ------
    ValueError
        If there is no token.

    Examples
    --------
    Probabilities 1/2, 1/4 and 1/8 have the geometric mean 1/4:

    >>> round(perplexity(np.log([1 / 2, 1 / 4, 1 / 8])), 9)
    4.0
    """
    if len(log_probs) == 0:
        raise ValueError("perplexity is a mean over the tokens of a text, got no token; give at least one")
    return float(np.exp(-log_probs.mean()))


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    p = np.random.default_rng(6).uniform(0.01, 1, size=31)
    for probabilities, expected, why in (
        (
            np.array([1 / 2, 1 / 4, 1 / 8]),
            4.0,
            "of the probabilities 1/2, 1/4 and 1/8 the product is 1/64, and its power -1/3 is 4",
        ),
        (np.full(11, 1 / 7), 7.0, "a model that gives 1/7 to every token is as uncertain as among 7 equal ones"),
        (np.ones(5), 1.0, "a model that is certain and right every time hesitates between one token"),
        (p, float(np.prod(p)) ** (-1 / len(p)), f"for {len(p)} random probabilities, by the product formula"),
        (
            np.full(5000, 1 / 50),
            50.0,
            "5000 tokens of probability 1/50 each are as surprising on average as one of them, although their product "
            "is smaller than any positive float",
        ),
    ):
        got = learner.perplexity(np.log(probabilities))
        assert isinstance(got, Real), f"expected a float, got {type(got).__name__}: {got!r:.80}"
        # 1e-9: the sum of 5000 logarithms rounds at 1e-12
        assert abs(float(got) - expected) <= 1e-9 * expected, f"{why}: expected {expected:.6g}, got {float(got):.6g}"
    got = learner.perplexity(np.array([-1.0, -np.inf, -2.0]))
    assert isinstance(got, Real) and got == np.inf, (
        f"a token that the model held impossible did come: its surprisal is infinite, so is the mean, so expected inf, "
        f"got {got!r:.80}"
    )
    try:
        got = learner.perplexity(np.array([]))
    except ValueError:
        return
    except Exception as error:
        raise AssertionError(
            f"an empty text has no perplexity: raise ValueError, not {type(error).__name__}"
        ) from error
    raise AssertionError(f"an empty text has no perplexity: raise ValueError, do not return {got!r:.80}")


def _powers_of_two(log_probs: np.ndarray) -> float:
    return float(2 ** -log_probs.mean())


def _mean_of_inverses(log_probs: np.ndarray) -> float:
    return float(np.exp(-log_probs).mean())


def _inverse_of_the_mean(log_probs: np.ndarray) -> float:
    return float(1 / np.exp(log_probs).mean())


def _product(log_probs: np.ndarray) -> float:
    product = float(np.prod(np.exp(log_probs)))
    return float(product ** (-1 / len(log_probs))) if product > 0 else np.inf


def _sum(log_probs: np.ndarray) -> float:
    with np.errstate(over="ignore"):
        return float(np.exp(-log_probs.sum()))


def _forgets_the_sign(log_probs: np.ndarray) -> float:
    return float(np.exp(log_probs.mean()))


def _skips_the_impossible(log_probs: np.ndarray) -> float:
    return float(np.exp(-log_probs[np.isfinite(log_probs)].mean()))


MISTAKES = (
    (
        _powers_of_two,
        "You raise 2 to a mean that is in nats. The bases must match: exp for natural logarithms, 2 for bits.",
    ),
    (
        _mean_of_inverses,
        "You average 1/p, the perplexities of the tokens one by one. Average the logarithms and exponentiate once: "
        "perplexity is a geometric mean, and an arithmetic one is ruled by the few rarest tokens.",
    ),
    (
        _inverse_of_the_mean,
        "You average the probabilities. An average of probabilities hardly notices a token that was held impossible; "
        "average their logarithms.",
    ),
    (
        _product,
        "You multiply the probabilities. The product of a long text underflows to zero, and the perplexity comes out "
        "infinite: add logarithms.",
    ),
    (
        _sum,
        "You take the sum of the log-probabilities, so a longer text looks worse. Divide by the number of tokens.",
    ),
    (
        _forgets_the_sign,
        "You lost the minus sign: this is the geometric mean of the probabilities, and perplexity is one over it.",
    ),
    (
        _skips_the_impossible,
        "You leave out the tokens of probability zero, the model's worst errors. They make the perplexity infinite; "
        "the remedy is a smoothed model.",
    ),
)

PROBES = (
    (np.log(np.array([1 / 2, 1 / 4, 1 / 8, 1 / 8])),),
    (np.array([-1.0, -np.inf, -3.0]),),
    (np.full(1000, np.log(1 / 10)),),
)
