r"""
Tables: what counting cannot know, and what it takes to guess.

An n-gram model is a table with a row for each context. It knows a context that it has seen, and nothing about any
other. This section shows that the table is a neural network already, of the simplest kind; how soon its rows run out of
text; that no learner at all gets around this without assuming something; and what sharing parameters assumes.

You need: `fp_markov.counting` and `fp_markov.growth` for tables of counts, `markov.gibbs`, `autograd.exponential-shift`
and `fp_autograd.linear_algebra`.

## Scores and probabilities

A network ends in real numbers, **scores** or logits, and softmax makes probabilities of them. For
$z \in \mathbb{R}^V$ let

$$
p_i = \frac{e^{z_i}}{\sum_j e^{z_j}}, \qquad \ell(z) = \ln \sum_j e^{z_j}, \qquad \ln p_i = z_i - \ell(z).
\qquad \text{(E1)}
$$

**Claim** `neural.softmax-classes`. $\operatorname{softmax}(x) = \operatorname{softmax}(z)$ exactly if all $x_i - z_i$
are the same number. Every distribution $p$ without zeros is a softmax, of the scores $\ln p_i + c$ with any number $c$,
and of no others; a distribution with a zero is none. For all $i$, $j$: $z_i - z_j = \ln \frac{p_i}{p_j}$.

**Proof.** A number added to all scores cancels (`autograd.exponential-shift`). Conversely, let both have the softmax
$p$. By (E1) $x_i - \ell(x) = \ln p_i = z_i - \ell(z)$, so $x_i - z_i = \ell(x) - \ell(z)$ for every $i$. The scores
$z_i = \ln p_i$ have $e^{z_i} = p_i$, whose sum is $1$, so their softmax is $p$, and by the first part the other scores
with this softmax are $\ln p_i + c$. Exponentials are positive, so no $p_i$ is zero. Last,
$\ln p_i - \ln p_j = z_i - z_j$ by (E1), twice. $\blacksquare$

## A table is a linear layer

Number the contexts $1, \dots, K$. Let $e_c \in \mathbb{R}^K$ be **one-hot**: a one at $c$, zeros elsewhere. A
**linear-softmax model** with the weight $W \in \mathbb{R}^{V \times K}$ and the bias $b \in \mathbb{R}^V$ gives context
$c$ the distribution $\operatorname{softmax}(W e_c + b)$. A **table** is a matrix $P \in \mathbb{R}^{K \times V}$ whose
rows $P_c$ are distributions; it is positive if it has no zeros.

**Claim** `neural.table-is-linear`. Every positive table is a linear-softmax model, for example with $W_{ic} = \ln
P_{ci}$ and $b = 0$; and every linear-softmax model is a positive table. Two models, $W$, $b$ and $W'$, $b'$, are the
same table exactly if for every $c$ the numbers $W_{ic} + b_i - W'_{ic} - b'_i$ are equal for all $i$.

**Proof.** $W e_c$ is column $c$ of $W$ (`autograd.linear-map-matrix`). So the scores of context $c$ are $W_{ic} + b_i$.
With $W_{ic} = \ln P_{ci}$ and $b = 0$ their softmax is $P_c$ by `neural.softmax-classes`, which also says that a
softmax has no zeros, and when two are equal. $\blacksquare$

>>> P = np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
>>> weight, bias = table_as_linear(P)
>>> bool(np.allclose(linear_as_table(weight, bias), P))
True
>>> bool(np.allclose(linear_as_table(weight + [[5.0, -7.0]], bias), P))  # one number for all scores of a context
True
>>> bool(np.allclose(linear_as_table(weight - [[3.0], [0.0], [4.0]], bias + [3.0, 0.0, 4.0]), P))  # from W to b
True

So smoothed counts, none of which is zero, are one setting of a network's weights; a network that is trained on
cross-entropy instead of counted looks for the same numbers, and finds them, since the loss has no false valleys
(`neural.cross-entropy-convex`). Plain counts have zeros.

**Claim** `neural.table-limit`. Let $P_c$ have $n$ zeros, $0 < n < V$. No finite scores give it. The scores $\ln P_{ci}$
where that is positive and $-s$ at the zeros give a $p$ with

$$
p_i = \frac{P_{ci}}{1 + n e^{-s}} \ \text{ or } \ \frac{e^{-s}}{1 + n e^{-s}} \ \text{ at the zeros}, \qquad
D(P_c \,\|\, p) = \ln \big( 1 + n e^{-s} \big) \le n e^{-s}, \qquad \text{(E2)}
$$

which tends to $P_c$ as $s$ grows. In every sequence of scores whose softmax tends to $P_c$, the score of each zero
falls below those of all tokens with $P_{ci} > 0$ by more than any bound.

**Proof.** The first is `neural.softmax-classes`. The exponentials of the scores are $P_{ci}$, which sum to $1$, and
$n$ times $e^{-s}$: divide by their sum. The divergence sums over the tokens with $P_{ci} > 0$, for each of which
$\ln \frac{P_{ci}}{p_i} = \ln (1 + n e^{-s})$, so it is that; and $\ln (1 + x) \le x$ by `markov.log-tangent`. Last, let
$P_{ci} = 0 < P_{cj}$. By `neural.softmax-classes` $z_i - z_j = \ln \frac{p_i}{p_j}$, where $p_i$ tends to $0$ and
$p_j$ to $P_{cj} > 0$. $\blacksquare$

A model trained on plain counts therefore never arrives: its loss falls for ever towards that of the table, its weights
grow for ever.

## How the rows run out

A context of $k$ tokens is one of $K = V^k$, and the table has $V^k (V - 1)$ free numbers, since the last probability of
a row follows from the others. `markov.context-growth` bounds the share of the contexts that a text can have seen. If
they come independently, what will be missing on average is known exactly (`markov.new-type`): with $p_c$ the
probability of context $c$, the one after $T$ others is new with probability $\sum_c p_c (1 - p_c)^T$, which is
`unseen_share`. In the plainest case:

**Claim** `neural.unseen-uniform`. Of $K \ge 2$ equally likely contexts let $T$ be drawn independently. The next is new
with probability $\left( 1 - \frac1K \right)^T$, and

$$e^{-T / (K - 1)} \le \Big( 1 - \frac1K \Big)^T \le e^{-T / K}. \qquad \text{(E3)}$$

To have it at most $\varepsilon$, with $0 < \varepsilon < 1$, $T \ge K \ln \frac1\varepsilon$ is enough and
$T \ge (K - 1) \ln \frac1\varepsilon$ is necessary.

**Proof.** All terms of the sum are $\frac1K \left( 1 - \frac1K \right)^T$, and there are $K$. By `markov.log-tangent`
$\ln \left( 1 - \frac1K \right) \le -\frac1K$, and
$-\ln \left( 1 - \frac1K \right) = \ln \frac{K}{K - 1} \le \frac{K}{K - 1} - 1 = \frac{1}{K - 1}$. Multiply by $T$ and
exponentiate: (E3). If $T \ge K \ln \frac1\varepsilon$ the right side is at most $\varepsilon$; if the middle is at most
$\varepsilon$, so is the left side, and $\frac{T}{K - 1} \ge \ln \frac1\varepsilon$. $\blacksquare$

The text has to grow like $V^k$: this is the **curse of dimensionality**. Contexts of language are far from equally
likely, which helps the frequent ones and only those. To have met nine tenths of the contexts of $k$ letters, if all
were alike, a text would need

>>> [f"{tokens_needed(27**k, 0.1):.0e}" for k in (1, 2, 3, 5, 8)]
['6e+01', '2e+03', '5e+04', '3e+07', '7e+11']

## No learner without an assumption

Is that the table's fault? Suppose nothing is known of how contexts relate.

**Claim** `neural.no-free-lunch`. Let the right next token $y_c$ of each context be drawn independently and uniformly
from $V$ tokens. A learner has seen $y_c$ for the contexts of a set $S$ and gives every context a distribution $q_c$, by
any rule. For every $c$ outside $S$ the expectation of $-\ln q_c(y_c)$ is at least $\ln V$, and $\ln V$ exactly if $q_c$
is uniform whatever was seen. A single guess is right with probability $\frac1V$.

**Proof.** $q_c$ depends on the tokens of $S$ alone, of which $y_c$ is independent. So whatever those were, $y_c$ is
uniform, and the mean over it of $-\ln q_c(y_c)$ is $H(u, q_c)$ with $u_i = \frac1V$. By `markov.cross-entropy-split`
and `markov.gibbs` this is $\ln V + D(u \,\|\, q_c) \ge \ln V$, with equality only for $q_c = u$. A guess hits $y_c$
with probability $\frac1V$, whatever was seen. Take the mean over what was seen (`markov.total-probability`).
$\blacksquare$

A learner may use randomness of its own: that is one more thing of which $y_c$ is independent. So every learner that
does better on new contexts does so because contexts *do* relate, and because it assumes something about how. An n-gram
model assumes that a context's end matters most; that is what backing off does.

## Sharing parameters

Let a model look at the $k$ tokens of a context one by one and add up what they say:

$$z(c) = b + \sum_{j=1}^k W_j[c_j], \qquad \text{(E4)}$$

with a vector of scores $W_j[v] \in \mathbb{R}^V$ for each place $j$ and token $v$. It is a linear layer on the $k$
one-hot vectors, written after each other. Let $r$ be any context, and $r^{j \leftarrow v}$ the same with $v$ at place
$j$.

**Claim** `neural.additive-scores`. For every context $c$

$$z(c) = z(r) + \sum_{j=1}^k \big( z(r^{j \leftarrow c_j}) - z(r) \big). \qquad \text{(E5)}$$

So the scores of all $V^k$ contexts follow from those of the $k (V - 1) + 1$ contexts that differ from $r$ in one place
at most, and the distributions follow from the distributions. For those contexts (E4) can have any scores whatever.

**Proof.** By (E4) $z(r^{j \leftarrow c_j}) - z(r) = W_j[c_j] - W_j[r_j]$, as all other terms agree. The sum over $j$ of
this is $z(c) - z(r)$. If of each $z$ only its softmax is known, each is known up to a number added to all its entries
(`neural.softmax-classes`); then so is $z(c)$, which has the same softmax. For given scores put $b = z(r)$ and
$W_j[v] = z(r^{j \leftarrow v}) - z(r)$, which is zero for $v = r_j$. $\blacksquare$

>>> 27**3, 3 * 26 + 1  # contexts of three letters, and those that determine all of them
(19683, 79)

This is the escape: what was learned in one context holds in all that share a token with it. The assumption is the
price. (E5) says that the effect of a token does not depend on its neighbours; for two tokens of each kind it says
$z(1, 1) - z(0, 1) = z(1, 0) - z(0, 0)$, which exclusive-or denies (`autograd.xor`). A network with a hidden layer keeps
the sharing and gives up the additivity. That of Bengio et al. (2003), `fp_neural.language_model`, has one row of $D$
numbers for each token, the same in every place, and a hidden layer of $H$ units on the $k$ rows:

**Claim** `neural.shared-parameters`. That network has $V D + (k D + 1)\, H + (H + 1)\, V$ parameters: each further
token of the vocabulary adds $D + H + 1$, each further token of context $D H$. In a text, let $N(c)$ positions have the
context $c$, and let $N(v)$ have the token $v$ somewhere in their context. The row of $v$ enters into the predictions of
$N(v)$ positions, row $c$ of a table into those of $N(c) \le \min_j N(c_j)$.

**Proof.** The rows hold $V D$ numbers; each of the $H$ units has a weight for each of $k D$ inputs and a bias; each of
the $V$ scores has a weight for each unit and a bias. With $V + 1$ in place of $V$ there are a row, $H$ weights and a
bias more; with $k + 1$ in place of $k$, $D$ weights more for each unit. A position with the context $c$ has every $c_j$
in its context, so it is one of the $N(c_j)$. $\blacksquare$

>>> [(table_parameters(27, k), mlp_parameters(27, k, dim=10, hidden=200)) for k in (1, 2, 3, 8)]
[(702, 7897), (18954, 9897), (511758, 11897), (7343167948506, 21897)]

For short contexts the table is smaller, and counting is quick: nothing is gained. The network wins where contexts are
long.

## In practice

The name of the curse is R. Bellman's (1961). That averages over all possible worlds favour no learner was shown in
general by D. Wolpert (1996). Real models share far more than this network: a recurrent one uses the same weights for
every position, a transformer for every pair of positions. Large ones may have more parameters than their text has
tokens and still predict new contexts: how many numbers there are says less than how they are shared and found.
"""

import math

import numpy as np
from jaxtyping import Float

from fp_autograd.rules import softmax
from fp_markov.information import check_distribution

__all__ = [  # the order of the page
    "table_as_linear", "linear_as_table", "unseen_share", "tokens_needed", "additive_table", "table_parameters",
    "mlp_parameters",
]  # fmt: skip

Real = float | int


def table_as_linear(
    P: Float[np.ndarray, "K V"], drop: Real | None = None
) -> tuple[Float[np.ndarray, "V K"], Float[np.ndarray, " V"]]:
    r"""
    A table as the weight and bias of a linear layer on one-hot contexts (`neural.table-is-linear`).

    Parameters
    ----------
    P
        A distribution over the next token for each context.
    drop
        $s$: the score at zeros is $-s$ (E2). By default zeros are refused.

    Returns
    -------
    weight : ndarray
        $\ln P_{ci}$ at row $i$, column $c$, float64, as a layer $x \mapsto W x + b$ wants it.
    bias : ndarray
        Zeros.

    Raises
    ------
    ValueError
        If a row is not a distribution, or there are zeros and no `drop`.

    Examples
    --------
    >>> table_as_linear(np.array([[0.0, 1.0]]), drop=20)[0]
    array([[-20.],
           [  0.]])
    """
    P = check_distribution(P, "P")
    zeros = P == 0
    if zeros.any() and drop is None:
        raise ValueError(
            f"no finite score has a probability of zero, and {int(zeros.sum())} of the table's are: smooth the table, "
            "or give drop= for a table near it (neural.table-limit)"
        )
    if drop is not None and not math.isfinite(drop):
        raise ValueError(f"drop is a finite number, got {drop}")
    scores = np.where(zeros, 0.0 if drop is None else -float(drop), np.log(np.where(zeros, 1.0, P)))
    return np.ascontiguousarray(scores.T), np.zeros(P.shape[1])


def linear_as_table(weight: Float[np.ndarray, "V K"], bias: Float[np.ndarray, " V"]) -> Float[np.ndarray, "K V"]:
    r"""
    The table that a linear-softmax model is: row $c$ is $\operatorname{softmax}(W e_c + b)$.

    Parameters
    ----------
    weight, bias
        $W$ and $b$.

    Returns
    -------
    ndarray
        A distribution for each context.

    Examples
    --------
    >>> linear_as_table(np.zeros((2, 3)), np.array([0.0, np.log(3.0)])).round(2)
    array([[0.25, 0.75],
           [0.25, 0.75],
           [0.25, 0.75]])
    """
    return softmax((weight + bias[:, None]).T)


def unseen_share(p: Float[np.ndarray, " K"], n_tokens: int) -> float:
    r"""
    The probability that the draw after `n_tokens` independent ones is new (`markov.new-type`).

    Parameters
    ----------
    p
        The distribution that contexts are drawn from.
    n_tokens
        $T$.

    Returns
    -------
    float
        $\sum_c p_c (1 - p_c)^T$.

    Raises
    ------
    ValueError
        If `p` is not a distribution, or the number negative.

    Examples
    --------
    >>> unseen_share(np.array([0.5, 0.5]), 3)
    0.125
    """
    p = check_distribution(p, "p")
    if n_tokens < 0:
        raise ValueError(f"a number of draws is not negative, got {n_tokens}")
    return float((p * (1 - p) ** n_tokens).sum())


def tokens_needed(n_contexts: int, share: Real) -> float:
    r"""
    How many draws suffice to leave a share of equally likely contexts unseen (`neural.unseen-uniform`).

    Parameters
    ----------
    n_contexts
        $K$.
    share
        $\varepsilon$, above 0 and at most 1.

    Returns
    -------
    float
        $K \ln \frac1\varepsilon$; fewer by more than $\ln \frac1\varepsilon$ are not enough.

    Raises
    ------
    ValueError
        If there is no context, or the share is no positive share.

    Examples
    --------
    >>> round(tokens_needed(1000, 0.5))
    693
    """
    if n_contexts < 1 or not 0 < share <= 1:
        raise ValueError(
            f"at least one context and a share above 0 and at most 1 are needed, got {n_contexts}, {share}"
        )
    return n_contexts * -math.log(share)


def additive_table(base: Float[np.ndarray, " V"], alone: Float[np.ndarray, "k V V"]) -> Float[np.ndarray, "..."]:
    r"""
    The scores of all contexts from those that differ from one context in a single place (E5).

    Parameters
    ----------
    base
        $z(r)$.
    alone
        $z(r^{j \leftarrow v})$ at `[j, v]`.

    Returns
    -------
    ndarray
        $z(c)$ at `[c_1, ..., c_k]`: k axes of length V, and the scores on one more.

    Raises
    ------
    ValueError
        If there is no place.

    Examples
    --------
    >>> effect = np.array([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 10.0]]])
    >>> additive_table(np.zeros(2), effect)[1, 1]
    array([ 1., 10.])
    """
    k, V = alone.shape[:2]
    if not k:
        raise ValueError("a context needs at least one place, got an array without any")
    table = base
    for j in range(k):
        place = (1,) * j + (V,) + (1,) * (k - j - 1)
        table = table + (alone[j] - base).reshape(*place, V)
    return table


def table_parameters(vocab_size: int, context: int) -> int:
    """
    How many numbers a table of next tokens is free to choose.

    Parameters
    ----------
    vocab_size, context
        $V$ and $k$.

    Returns
    -------
    int
        $V^k (V - 1)$: the last probability of a row follows from the others.

    Raises
    ------
    ValueError
        If there is no token or the context is negative.

    Examples
    --------
    >>> table_parameters(2, 3)
    8
    """
    _check_sizes(vocab_size=vocab_size, context=context + 1)
    return vocab_size**context * (vocab_size - 1)


def mlp_parameters(vocab_size: int, context: int, dim: int, hidden: int) -> int:
    r"""
    How many numbers a network on the last `context` tokens has (`neural.shared-parameters`).

    Parameters
    ----------
    vocab_size, context, dim, hidden
        $V$, $k$, $D$ and $H$.

    Returns
    -------
    int
        $V D + (k D + 1)\, H + (H + 1)\, V$.

    Raises
    ------
    ValueError
        If a size is not positive.

    Examples
    --------
    >>> mlp_parameters(27, 3, dim=10, hidden=200)
    11897
    """
    _check_sizes(vocab_size=vocab_size, context=context, dim=dim, hidden=hidden)
    return vocab_size * dim + (context * dim + 1) * hidden + (hidden + 1) * vocab_size


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is too small: {sizes}")
