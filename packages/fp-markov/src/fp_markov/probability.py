r"""
Probability: what may be said about chance, and how to change one's mind.

A language model states probabilities, is trained on them and is judged by them. This section fixes what the word means,
derives the few rules that the rest of the course uses, and says exactly what a model with a short memory assumes.

You need: sums over finite sets. This section is arithmetic.

## Events

Let $\Omega$ be the set of **outcomes**, of which exactly one happens: the faces of a die, all texts of seven tokens. An
**event** is a set of outcomes; it happens if the outcome is in it. A **probability** gives every event $A$ a number
such that

$$
P(A) \ge 0, \qquad P(\Omega) = 1, \qquad P(A \cup B) = P(A) + P(B) \text{ if } A \cap B = \emptyset. \qquad \text{(E1)}
$$

These are the axioms. In this chapter $\Omega$ is finite unless said otherwise; then $P$ is known from the probabilities
of the single outcomes, as the third axiom, used again and again, makes $P(A)$ their sum over $A$. (With infinitely many
outcomes one asks for the third axiom for sequences of events too; a number drawn from a line has a density, and its
probabilities are areas.) From the axioms, $P(A) + P(\Omega \setminus A) = 1$, so no probability exceeds one;
$P(\emptyset) = 0$; if $A \subseteq B$ then $P(B) = P(A) + P(B \setminus A) \ge P(A)$; and since $A \cup B$ is $A$
together with $B \setminus A$, $P(A \cup B) \le P(A) + P(B)$.

We write $P(A, B)$ for $P(A \cap B)$. If $P(B) > 0$, the **conditional probability** is

$$P(A \mid B) = \frac{P(A, B)}{P(B)}: \qquad \text{(E2)}$$

outcomes outside $B$ are struck out, and the others scaled so that they sum to one. With $B$ fixed it obeys (E1) itself,
so whatever is proven for $P$ holds for it too.

**Claim** `markov.total-probability`. Let exactly one of the events $B_1, \dots, B_k$ happen, each of positive
probability. Then $P(A) = \sum_i P(A \mid B_i)\, P(B_i)$ for every event $A$.

**Proof.** $A$ is the union of the sets $A \cap B_i$, no two of which share an outcome. By the third axiom
$P(A) = \sum_i P(A, B_i)$, and by (E2) each term is $P(A \mid B_i)\, P(B_i)$. $\blacksquare$

**Claim** `markov.bayes`. If also $P(A) > 0$, then

$$P(B_i \mid A) = \frac{P(A \mid B_i)\, P(B_i)}{\sum_j P(A \mid B_j)\, P(B_j)}. \qquad \text{(E3)}$$

**Proof.** By (E2) the left side is $P(A, B_i) / P(A)$ and the numerator on the right is $P(A, B_i)$. The denominators
agree by `markov.total-probability`. $\blacksquare$

$P(B_i)$ is the **prior**, $P(A \mid B_i)$ the **likelihood** of hypothesis $i$, $P(B_i \mid A)$ its **posterior**.
Suppose one mail in a hundred is spam, and a filter flags nine in ten spams and one in twenty of the others. A flagged
mail is spam with probability

>>> round(bayes(np.array([0.01, 0.99]), np.array([0.9, 0.05]))[0].item(), 3)
0.154

so most of what it flags is harmless. The likelihood alone, 0.9, would have been a joint or a conditional probability
read backwards.

## Independence

$A$ and $B$ are **independent** if $P(A, B) = P(A)\, P(B)$; where $P(B) > 0$ that says $P(A \mid B) = P(A)$: to learn of
$B$ changes nothing. A **random variable** $X$ is a function of the outcome, with $P(x)$ short for the probability of
the event $X = x$. Variables $X_1, \dots, X_k$ are independent if $P(x_1, \dots, x_k) = P(x_1) \cdots P(x_k)$ for all
values; functions $f_i(X_i)$ of them then are so too, as one sees by summing this over the values that the functions map
to the same results. $X$ and $Z$ are **conditionally independent** given $C$ if for all values, $P(c) > 0$,

$$P(x, z \mid c) = P(x \mid c)\, P(z \mid c). \qquad \text{(E4)}$$

**Claim** `markov.independences-differ`. Independent variables may be dependent given a third, and variables that are
conditionally independent given a third may be dependent.

**Proof.** Toss two fair coins $X$ and $Z$ of values $0$ and $1$, independently, and let $C = 1$ if they agree, else
$0$. Given $C = 1$ the pairs $(0, 0)$ and $(1, 1)$ have probability $\frac12$ each, so
$P(X = 1, Z = 1 \mid C = 1) = \frac12$, but $P(X = 1 \mid C = 1)\, P(Z = 1 \mid C = 1) = \frac14$. For the second, take
from a bag one of two coins, $C$, with equal chances, which show $1$ with probability $0.9$ and $0.1$, and toss it
twice: $X$ and $Z$, independent given $C$. By total probability $P(X = 1) = P(Z = 1) = \frac12 (0.9 + 0.1) = \frac12$,
but $P(X = 1, Z = 1) = \frac12 (0.81 + 0.01) = 0.41 \ne \frac14$. $\blacksquare$

The second is the common case in text: two occurrences of a rare word say little about each other once the topic is
known, and a great deal before.

## Means

The **expectation** of a random variable with real values and its **variance** are

$$
\mathbb{E} X = \sum_{\omega} P(\omega)\, X(\omega) = \sum_x x\, P(x), \qquad
\operatorname{Var} X = \mathbb{E} (X - \mathbb{E} X)^2; \qquad \text{(E5)}
$$

the two sums for $\mathbb{E} X$ agree because $P(x)$ collects the outcomes with $X(\omega) = x$. For an event $A$ let
$1_A$ be one where $A$ happens and zero elsewhere; then $\mathbb{E}\, 1_A = P(A)$.

**Claim** `markov.expectation-linear`. $\mathbb{E} (uX + vY) = u\, \mathbb{E} X + v\, \mathbb{E} Y$ for all numbers $u$,
$v$, independent or not; and $\mathbb{E} XY = \mathbb{E} X\, \mathbb{E} Y$ if $X$ and $Y$ are independent.

**Proof.** $\sum_\omega P(\omega) \big( u X(\omega) + v Y(\omega) \big)$ is the sum of the two. For independent
variables, $\mathbb{E} XY = \sum_{x, y} xy\, P(x)\, P(y) = \sum_x x P(x) \cdot \sum_y y P(y)$. $\blacksquare$

**Claim** `markov.variance-of-mean`. $\operatorname{Var} (uX) = u^2 \operatorname{Var} X$. If $X_1, \dots, X_n$ are
independent, of one mean $\mu$ and one variance $\sigma^2$, their average $\bar X$ has mean $\mu$ and variance
$\sigma^2 / n$.

**Proof.** The first: $u$ comes out of the mean and then of the square. The mean is linear. Put
$Y_i = X_i - \mu$, of mean zero and independent, so that $\mathbb{E} Y_i Y_j = 0$ for $i \ne j$ by
`markov.expectation-linear`. Of the $n^2$ products in $\mathbb{E} (\sum_i Y_i)^2$ the $n$ squares remain, each
$\sigma^2$: the variance of the sum is $n \sigma^2$, and that of the average $n \sigma^2 / n^2$. $\blacksquare$

**Claim** `markov.markov-inequality`. If $X \ge 0$ and $a > 0$, then $P(X \ge a) \le \mathbb{E} X / a$.

**Proof.** $a$ times the indicator of $X \ge a$ never exceeds $X$: where it is $a$, $X \ge a$; elsewhere it is zero.
Take means: $a P(X \ge a) \le \mathbb{E} X$. $\blacksquare$

**Claim** `markov.chebyshev`. For every $\varepsilon > 0$,
$P(|X - \mathbb{E} X| \ge \varepsilon) \le \operatorname{Var} X / \varepsilon^2$.

**Proof.** $|X - \mathbb{E} X| \ge \varepsilon$ is the event $(X - \mathbb{E} X)^2 \ge \varepsilon^2$. Apply
`markov.markov-inequality` to $(X - \mathbb{E} X)^2$ with $a = \varepsilon^2$. $\blacksquare$

With `markov.variance-of-mean`: the average of $n$ independent draws is farther than $\varepsilon$ from the mean with
probability at most $\sigma^2 / (n \varepsilon^2)$, which vanishes as $n$ grows. This **law of large numbers** is why a
loss averaged over a long text means anything.

## A text, factor by factor

**Claim** `markov.chain-rule`. For random tokens $W_1, \dots, W_T$ and a text $w$ with $P(w_1, \dots, w_T) > 0$,

$$P(w_1, \dots, w_T) = \prod_{t=1}^{T} P(w_t \mid w_1, \dots, w_{t-1}). \qquad \text{(E6)}$$

**Proof.** By induction on $T$. For $T = 1$ both sides are $P(w_1)$. Suppose it holds for $T - 1$. The event
$w_1, \dots, w_{T-1}$ contains the event $w_1, \dots, w_T$, so its probability is positive too and one may condition on
it; by (E2) $P(w_1, \dots, w_T) = P(w_1, \dots, w_{T-1}) \, P(w_T \mid w_1, \dots, w_{T-1})$, and the induction
hypothesis expands the first factor. $\blacksquare$

No model is assumed so far. A model of **order** $n$ assumes that the next token depends on the $n - 1$ tokens before it
and on nothing farther back: given these, its **context**, the next token and the rest of the past are conditionally
independent.

**Claim** `markov.markov-assumption`. Let $X$, $C$, $Z$ be the next token, its context and the farther past, or any
three random variables. These are equivalent:

1. $P(x, z \mid c) = P(x \mid c)\, P(z \mid c)$ for all $x$, $z$ and all $c$ with $P(c) > 0$;
2. $P(x \mid c, z) = P(x \mid c)$ for all $x$ and all $c$, $z$ with $P(c, z) > 0$;
3. $P(x, c, z) = f(x, c)\, g(c, z)$ for some functions $f$, $g$ and all $x$, $c$, $z$.

**Proof.** *From 1 to 2.* If $P(c, z) > 0$, then $P(c) > 0$ and $P(z \mid c) > 0$; divide 1 by $P(z \mid c)$:
$P(x, z \mid c) / P(z \mid c) = P(x, c, z) / P(c, z) = P(x \mid c, z)$. *From 2 to 3.* Put $g(c, z) = P(c, z)$, and
$f(x, c) = P(x \mid c)$ where $P(c) > 0$, else $0$. Where $P(c, z) > 0$, $P(x, c, z) = P(c, z)\, P(x \mid c, z)$ is the
product by 2; where $P(c, z) = 0$ both sides are zero. *From 3 to 1.* Let $F(c) = \sum_x f(x, c)$ and
$G(c) = \sum_z g(c, z)$. Summing 3, $P(c, z) = F(c)\, g(c, z)$, $P(x, c) = f(x, c)\, G(c)$ and $P(c) = F(c)\, G(c)$. If
that is positive,

$$
P(x \mid c)\, P(z \mid c) = \frac{f(x, c)\, G(c)}{F(c)\, G(c)} \cdot \frac{F(c)\, g(c, z)}{F(c)\, G(c)}
  = \frac{f(x, c)\, g(c, z)}{P(c)} = P(x, z \mid c). \qquad \blacksquare
$$

Form 2 turns (E6) into a product of factors with $n - 1$ tokens of condition each, and that is what is gained: a free
choice of the probabilities of all texts of $T$ tokens over a vocabulary of $V$ has $V^T - 1$ numbers, a model of order
$n$ that treats all positions alike has $V^{n-1} (V - 1)$, a distribution for each context. What is lost is every
dependence that does not pass through the context: a verb that agrees with a subject ten words back. In nats that loss
is `markov.markov-loss` of `fp_markov.growth`.

## In practice

A transformer uses (E6) as it stands, with all tokens in its window as the condition: it is a model of an order in the
thousands, whose conditional distributions are computed instead of being looked up. Conditional independence is what
makes graphical models, hidden Markov models and mixtures tractable. On a computer, probabilities of long texts are
kept as sums of logarithms, because the product of a few hundred factors is below the smallest float64.

Reference: A. Kolmogorov, 1933, for the axioms.
"""

import numpy as np
from jaxtyping import Float

__all__ = [
    "marginal",
    "conditional",
    "bayes",
    "is_independent",
    "is_conditionally_independent",
    "expectation",
    "variance",
]  # the order of the page


def marginal(joint: Float[np.ndarray, "..."], keep: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """
    Distribution of some of the variables: the others are summed out.

    Parameters
    ----------
    joint
        Table of a joint distribution, one axis for each variable.
    keep
        Axes of the variables to keep, each once; the result has them in this order.

    Returns
    -------
    ndarray
        Table of their joint distribution.

    Raises
    ------
    ValueError
        If `joint` is not a distribution or an axis does not exist or comes twice.

    Examples
    --------
    >>> marginal(np.array([[0.1, 0.2], [0.3, 0.4]]), keep=(1,)).round(9)
    array([0.4, 0.6])
    """
    joint, axes = _distribution(joint, "joint"), _axes(keep, joint.ndim)
    kept = joint.sum(axis=tuple(i for i in range(joint.ndim) if i not in axes))
    return np.asarray(kept).transpose([sorted(axes).index(i) for i in axes])


def conditional(joint: Float[np.ndarray, "*axes"], given: tuple[int, ...]) -> Float[np.ndarray, "*axes"]:
    """
    Distribution of the other variables for each value of the given ones (E2).

    Parameters
    ----------
    joint
        Table of a joint distribution, one axis for each variable.
    given
        Axes of the variables in the condition.

    Returns
    -------
    ndarray
        Table of the shape of `joint`, which sums to one over the axes not given; NaN where the condition has
        probability zero, because (E2) says nothing there.

    Raises
    ------
    ValueError
        If `joint` is not a distribution or an axis does not exist or comes twice.

    Examples
    --------
    >>> conditional(np.array([[0.1, 0.1], [0.6, 0.2]]), given=(0,)).round(9)
    array([[0.5 , 0.5 ],
           [0.75, 0.25]])
    """
    joint, axes = _distribution(joint, "joint"), _axes(given, joint.ndim)
    condition = joint.sum(axis=tuple(i for i in range(joint.ndim) if i not in axes), keepdims=True)
    return np.divide(joint, condition, out=np.full_like(joint, np.nan), where=condition > 0)


def bayes(prior: Float[np.ndarray, " H"], likelihood: Float[np.ndarray, " H"]) -> Float[np.ndarray, " H"]:
    """
    Posterior of each hypothesis after an observation (E3).

    Parameters
    ----------
    prior
        Probability of each hypothesis, of which exactly one is true.
    likelihood
        Probability of what was observed, under each hypothesis. They need not sum to one.

    Returns
    -------
    ndarray
        Posterior, float64.

    Raises
    ------
    ValueError
        If `prior` is not a distribution, a likelihood lies outside [0, 1], or the observation has probability zero.

    Examples
    --------
    >>> bayes(np.array([0.5, 0.5]), np.array([0.3, 0.1])).round(9)
    array([0.75, 0.25])
    """
    prior, likelihood = _distribution(prior, "prior"), np.asarray(likelihood, np.float64)
    if not ((likelihood >= 0) & (likelihood <= 1)).all():
        raise ValueError(f"likelihoods are probabilities, in [0, 1], got {likelihood}. Were log-likelihoods passed?")
    joint = prior * likelihood
    evidence = joint.sum()
    if evidence == 0:
        raise ValueError("what was observed has probability zero under every hypothesis that the prior allows")
    return np.asarray(joint / evidence)


def is_independent(joint: Float[np.ndarray, "..."], tolerance: float = 1e-9) -> bool:
    """
    Whether the variables of a table are independent, all of them together.

    Parameters
    ----------
    joint
        Table of a joint distribution, one axis for each variable.
    tolerance
        How far a probability may be from the product; rounding alone makes some difference.

    Returns
    -------
    bool
        True if every joint probability is the product of the marginal ones.

    Raises
    ------
    ValueError
        If `joint` is not a distribution.

    Examples
    --------
    >>> is_independent(np.array([[0.25, 0.25], [0.25, 0.25]])), is_independent(np.array([[0.5, 0.0], [0.0, 0.5]]))
    (True, False)
    """
    joint = _distribution(joint, "joint")
    product = np.ones(())
    for axis in range(joint.ndim):
        product = np.multiply.outer(product, marginal(joint, (axis,)))
    return bool((np.abs(joint - product) <= tolerance).all())


def is_conditionally_independent(joint: Float[np.ndarray, "X Z C"], tolerance: float = 1e-9) -> bool:
    """
    Whether the first two variables of a table are independent given the third (E4).

    Parameters
    ----------
    joint
        Table of a joint distribution of three variables, the condition last.
    tolerance
        How far the two sides of (E4), multiplied by P(c) twice, may be apart.

    Returns
    -------
    bool
        True if (E4) holds for every condition of positive probability.

    Raises
    ------
    ValueError
        If `joint` is not a distribution.

    Examples
    --------
    Two fair coins are independent; given whether they agree, they are not:

    >>> coins = np.zeros((2, 2, 2))
    >>> coins[0, 0, 1] = coins[1, 1, 1] = coins[0, 1, 0] = coins[1, 0, 0] = 0.25
    >>> is_independent(marginal(coins, keep=(0, 1))), is_conditionally_independent(coins)
    (True, False)
    """
    joint = _distribution(joint, "joint")
    x, z, c = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True), joint.sum(axis=(0, 1))
    return bool((np.abs(joint * c - x * z) <= tolerance).all())  # no division: where P(c) = 0 both sides are zero


def expectation(values: Float[np.ndarray, "*axes"], p: Float[np.ndarray, "*axes"]) -> float:
    """
    Mean of a random variable (E5).

    Parameters
    ----------
    values
        Its value at each outcome.
    p
        Probability of each outcome.

    Returns
    -------
    float
        The mean, in the unit of the values.

    Raises
    ------
    ValueError
        If `p` is not a distribution or the shapes differ.

    Examples
    --------
    >>> round(expectation(np.arange(1.0, 7.0), np.full(6, 1 / 6)), 9)
    3.5
    """
    p = _distribution(p, "p")
    if values.shape != p.shape:
        raise ValueError(f"every outcome needs one value, got {values.shape} values for {p.shape} outcomes")
    possible = p > 0  # what cannot happen may have any value, infinity included
    return float(values[possible] @ p[possible])


def variance(values: Float[np.ndarray, "*axes"], p: Float[np.ndarray, "*axes"]) -> float:
    """
    Mean square distance of a random variable from its mean (E5).

    Parameters
    ----------
    values
        Its value at each outcome.
    p
        Probability of each outcome.

    Returns
    -------
    float
        The variance, in the square of the unit of the values.

    Raises
    ------
    ValueError
        If `p` is not a distribution or the shapes differ.

    Examples
    --------
    A fair die: 35/12.

    >>> round(variance(np.arange(1.0, 7.0), np.full(6, 1 / 6)) * 12, 9)
    35.0
    """
    return expectation((values - expectation(values, p)) ** 2, p)


def _axes(axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    if len(set(axes)) != len(axes) or not all(0 <= axis < ndim for axis in axes):
        raise ValueError(f"axes must be different numbers from 0 to {ndim - 1}, one a variable, got {axes}")
    return axes


def _distribution(p: Float[np.ndarray, "*axes"], name: str) -> Float[np.ndarray, "*axes"]:
    p = np.asarray(p, np.float64)
    if not (p >= 0).all():
        raise ValueError(f"{name} must hold probabilities, none negative or NaN, got a smallest one of {p.min()}")
    # 1e-5: the mass that a table of float32 numbers may lose to rounding
    if not abs(p.sum() - 1) <= 1e-5:
        raise ValueError(f"{name} must sum to one, got {p.sum():.6g}. Divide it by its sum first.")
    return p
