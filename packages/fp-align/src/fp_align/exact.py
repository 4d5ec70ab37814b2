r"""
A world small enough to list.

Alignment climbs an average over all answers that a model could give, and nobody can list those: hence samples,
estimates, and arguments about whether a method arrives. Take a world with a few prompts and a few dozen answers
instead. There every average is a finite sum and the best policy has a formula, so a method can be asked whether it
arrives there.

You need: averages and the divergence of stage 1 (`fp_markov.information`), `markov.gibbs`, and the derivative of
softmax (`autograd.softmax-rule`).

## What is wanted

A **policy** $\pi$ gives each response $y$ to a prompt $x$ a probability $\pi(y \mid x)$. There is a **reference**
$\pi_0$, the model as it was before, a **reward** $r(x, y)$, a number for each response, and prompts come with
probabilities $d(x)$. Wanted is a policy that earns much and stays near the reference. With $\beta > 0$, the price of
going away, the objective is

$$
J(\pi) = \sum_x d(x) \Big( \sum_y \pi(y \mid x)\, r(x, y)
  - \beta \sum_y \pi(y \mid x) \ln \frac{\pi(y \mid x)}{\pi_0(y \mid x)} \Big). \qquad \text{(E1)}
$$

The second sum is the divergence $D(\pi \,\|\, \pi_0)$ at $x$, in nats, and a term with $\pi(y \mid x) = 0$ is $0$. Let
the reference give every response a positive probability (one that it never gives would make the divergence infinite,
so it is left out of the list), and let all $d(x) > 0$.

## The best policy

Tilt the reference towards reward:

$$
Z(x) = \sum_y \pi_0(y \mid x)\, e^{r(x, y) / \beta}, \qquad
\pi^*(y \mid x) = \frac{\pi_0(y \mid x)\, e^{r(x, y) / \beta}}{Z(x)}. \qquad \text{(E2)}
$$

**Claim** `align.kl-optimum`. For every policy

$$J(\pi) = \sum_x d(x)\, \big( \beta \ln Z(x) - \beta\, D(\pi \,\|\, \pi^*) \big), \qquad \text{(E3)}$$

with the divergence taken at each $x$. So $\pi^*$ maximises $J$, no other policy does, and the maximum is
$\beta \sum_x d(x) \ln Z(x)$.

**Proof.** Take logarithms in (E2) and solve for the reward: $r = \beta \ln \frac{\pi^*}{\pi_0} + \beta \ln Z$. Put it
into the bracket of (E1) at one $x$:

$$
\begin{aligned}
& \sum_y \pi(y)\, r(y) - \beta \sum_y \pi(y) \ln \frac{\pi(y)}{\pi_0(y)} \\
&= \sum_y \pi(y) \Big( \beta \ln \frac{\pi^*(y)}{\pi_0(y)} + \beta \ln Z - \beta \ln \frac{\pi(y)}{\pi_0(y)} \Big) \\
&= \beta \ln Z \sum_y \pi(y) - \beta \sum_y \pi(y) \ln \frac{\pi(y)}{\pi^*(y)}.
\end{aligned}
$$

The $\pi(y)$ sum to one, and the last sum is $D(\pi \,\|\, \pi^*)$: this is (E3). By `markov.gibbs` each divergence is
at least $0$, and $0$ only if $\pi = \pi^*$ at that $x$. As $\beta\, d(x) > 0$, $J$ is largest exactly where all of them
vanish. $\blacksquare$

>>> world = World(reference=np.array([[0.5, 0.3, 0.2]]), rewards=np.array([[0.0, 1.0, 2.0]]))
>>> best = world.optimum(beta=1.0)
>>> best.round(3)
array([[0.179, 0.292, 0.529]])
>>> round(world.value(best, 1.0), 4), round(world.value(world.reference, 1.0), 4)
(1.0272, 0.7)

## What $\beta$ trades

Write $R(\pi) = \sum_x d(x) \sum_y \pi(y \mid x)\, r(x, y)$ and $K(\pi) = \sum_x d(x)\, D(\pi \,\|\, \pi_0)$ for the two
parts, $J = R - \beta K$, and $\pi_\beta$ for the optimum (E2).

**Claim** `align.trade-off`. Every policy other than $\pi_\beta$ that is no farther from the reference, $K(\pi) \le
K(\pi_\beta)$, earns less: $R(\pi) < R(\pi_\beta)$. And if $\beta < \beta'$, then $K(\pi_\beta) \ge K(\pi_{\beta'})$ and
$R(\pi_\beta) \ge R(\pi_{\beta'})$.

**Proof.** If $K(\pi) \le K(\pi_\beta)$ and $R(\pi) \ge R(\pi_\beta)$, then $R(\pi) - \beta K(\pi) \ge R(\pi_\beta) -
\beta K(\pi_\beta)$, the maximum, so $\pi = \pi_\beta$ by `align.kl-optimum`. For the second part write $R, K$ at
$\pi_\beta$ and $R', K'$ at $\pi_{\beta'}$. Each is optimal at its own price:

$$R - \beta K \ge R' - \beta K', \qquad R' - \beta' K' \ge R - \beta' K.$$

So $\beta (K - K') \le R - R' \le \beta' (K - K')$, hence $(\beta' - \beta)(K - K') \ge 0$ and $K \ge K'$. The left
inequality then gives $R - R' \ge \beta (K - K') \ge 0$. $\blacksquare$

**Claim** `align.optimum-limits`. At each $x$, as $\beta \to \infty$ the optimum tends to $\pi_0$, and as $\beta \to 0$
to $\pi_0$ restricted to the responses of the highest reward and scaled to sum to one.

**Proof.** Let $m$ be the highest reward at $x$ and divide numerator and denominator of (E2) by $e^{m / \beta}$:
$\pi_\beta(y) = \pi_0(y)\, e^{(r(y) - m) / \beta} / \sum_{y'} \pi_0(y')\, e^{(r(y') - m) / \beta}$. As $\beta \to
\infty$ all the exponentials tend to $e^0 = 1$. As $\beta \to 0$ those with $r(y) = m$ stay $1$, the exponents of the
others tend to $-\infty$ and their exponentials to $0$. $\blacksquare$

>>> for beta in (10, 1, 0.1):
...     p = world.optimum(beta)
...     print(f"{beta:4}  reward {world.expected_reward(p):.3f}  KL {world.kl(p):.3f}")
  10  reward 0.762  KL 0.003
   1  reward 1.350  KL 0.323
 0.1  reward 2.000  KL 1.609

The last is $\ln 5$: of the reference's answers one in five is the best, and the policy gives no other. However cheap
the nats are, no reward can send it farther than that.

## The gradient

**Claim** `align.exact-gradient`. Let $\pi(\cdot \mid x)$ be the softmax of scores $z(x, \cdot)$, and

$$
f(x, y) = r(x, y) - \beta \ln \frac{\pi(y \mid x)}{\pi_0(y \mid x)}, \qquad
A(x, y) = f(x, y) - \sum_{y'} \pi(y' \mid x)\, f(x, y'). \qquad \text{(E4)}
$$

Then

$$\frac{\partial J}{\partial z(x, y)} = d(x)\, \pi(y \mid x)\, A(x, y), \qquad \text{(E5)}$$

and all of these are zero at $\pi = \pi^*$ and nowhere else.

**Proof.** At fixed $x$ the slope of the bracket of (E1) in the number $\pi(y)$ is
$g(y) = r(y) - \beta \big( \ln \frac{\pi(y)}{\pi_0(y)} + 1 \big) = f(y) - \beta$, by the slopes of $p \ln p$ and of a
multiple of $p$ (`markov.slope-rules`, `markov.log-slope`). By `autograd.softmax-rule` the cotangent of the scores is
$\pi(y)\, \big( g(y) - \sum_{y'} \pi(y')\, g(y') \big)$; the constant $\beta$ is in both terms of the difference and
drops out. Times $d(x)$ this is (E5). As $d(x)\, \pi(y \mid x) > 0$, all are zero exactly if at each $x$ all $f(x, y)$
are one number $c$. That says $\pi(y) = \pi_0(y)\, e^{(r(y) - c) / \beta}$, and since the $\pi(y)$ sum to one,
$e^{c / \beta} = Z$: it is (E2). $\blacksquare$

So ascent in the scores has nowhere else to stop. $A$ is called the **advantage**: how much more a response earns than
the policy's average, the price of its distance included.

## Where responses come from

A language model does not choose from a list. It writes token after token, until a stop or a limit.

**Claim** `align.response-tree`. Let responses be the sequences over $V$ tokens that end at their first stop token, or
have the length $N \ge 1$ and no stop before their last place. With any distribution for the next token after each
beginning, the products of probabilities along these responses sum to one.

**Proof.** By induction on $N$. For $N = 1$ the responses are the $V$ single tokens, and their probabilities sum to one.
For $N > 1$, a response is a single stop token, or another first token $v$ and a response of the limit $N - 1$ behind
it. Those behind $v$ sum to one, by the claim for $N - 1$ and the distributions after $v$; so all responses that begin
with $v$ sum to $p(v)$, and all of them to $p(\text{stop}) + \sum_v p(v) = 1$. $\blacksquare$

So the list of `all_responses` is a world for any model with that stop and that limit.

>>> all_responses(2, 2, stop=0)
((0,), (1, 0), (1, 1))

The freest model of that kind has scores of its own for each beginning, `TableModel`. It can be any policy, by
`markov.chain-rule`: so what it fails to reach is the fault of the method.

## In practice

Nobody has $Z(x)$: with 50,000 tokens and 500 places there are more responses than atoms. The formula serves in proofs
(`fp_align.dpo`), in small worlds like this, and as the reason why picking among samples of the reference with weights
$e^{r / \beta}$ works at all. (E2) is the Gibbs distribution of physics, with $\beta$ as the temperature; in this role
it is in H. Kappen (2005), J. Peters and others (2010), and for language models in T. Korbak and others (2022). Left
out: rewards that change while the policy learns, and a reward that is wrong, which $J$ climbs all the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from fp_markov.information import check_distribution, kl_divergence
from fp_neural.module import Module, Parameter

__all__ = ["World", "total_variation", "all_responses", "TableModel"]  # the order of the page

Real = float | int
Table = Float[np.ndarray, "X Y"]


@dataclass(frozen=True)
class World:
    """
    Prompts, responses, a reference and rewards, all listed.

    Parameters
    ----------
    reference
        $\\pi_0$: a row of positive probabilities for each prompt, float64.
    rewards
        A number for each prompt and response.
    prompt_weights
        How probable each prompt is, positive; equally by default.

    Raises
    ------
    ValueError
        If a row of the reference is not a distribution or has a zero, the shapes differ, or a reward is not finite.

    Examples
    --------
    >>> world = World(np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    >>> world.optimum(beta=0.5).round(2)
    array([[0.12, 0.88],
           [0.55, 0.45]])
    """

    reference: Table
    rewards: Table
    prompt_weights: Float[np.ndarray, " X"] = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        check_distribution(self.reference, "the reference")
        if self.reference.ndim != 2 or self.reference.shape != self.rewards.shape:
            raise ValueError(
                "reference and rewards have one row for each prompt and one column for each response, got the shapes "
                f"{self.reference.shape} and {self.rewards.shape}"
            )
        if not (self.reference > 0).all():
            raise ValueError(
                "the reference gives every response a positive probability, got a zero: leave that response out, a "
                "policy that gave it would be infinitely far away"
            )
        if not np.isfinite(self.rewards).all():
            raise ValueError("rewards are finite numbers, got an infinity or a NaN: cut or replace them")
        weights = self.prompt_weights
        if weights.size == 0:
            weights = np.full(len(self.reference), 1 / len(self.reference))
            object.__setattr__(self, "prompt_weights", weights)
        check_distribution(weights, "the prompts' weights")
        if weights.shape != self.reference.shape[:1] or not (weights > 0).all():
            raise ValueError(
                f"each of the {len(self.reference)} prompts has a positive weight, got {weights}: leave out those that "
                "never come"
            )

    def log_partition(self, beta: Real) -> Float[np.ndarray, " X"]:
        r"""
        $\ln Z(x)$ of (E2).

        Parameters
        ----------
        beta
            $\beta$, positive.

        Returns
        -------
        ndarray
            One number for each prompt.

        Raises
        ------
        ValueError
            If `beta` is not positive and finite.
        """
        scores = self._tilted(beta)
        top = scores.max(axis=1)
        return np.asarray(top + np.log(np.exp(scores - top[:, None]).sum(axis=1)))

    def optimum(self, beta: Real) -> Table:
        r"""
        The best policy $\pi^*$ (E2).

        Parameters
        ----------
        beta
            $\beta$, positive.

        Returns
        -------
        ndarray
            Probabilities, a row for each prompt.

        Raises
        ------
        ValueError
            If `beta` is not positive and finite.
        """
        above = self.rewards - self.rewards.max(axis=1, keepdims=True)  # no price is too low for these
        with np.errstate(over="ignore"):
            weights = self.reference * np.exp(above / check_beta(beta))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def expected_reward(self, policy: Table) -> float:
        """
        The mean reward $R$ of a policy.

        Parameters
        ----------
        policy
            Probabilities, a row for each prompt.

        Returns
        -------
        float
            In the unit of the rewards.
        """
        return float(self.prompt_weights @ (self._checked(policy) * self.rewards).sum(axis=1))

    def kl(self, policy: Table) -> float:
        """
        The mean divergence $K$ of a policy from the reference.

        Parameters
        ----------
        policy
            Probabilities, a row for each prompt.

        Returns
        -------
        float
            Nats per response.
        """
        return float(self.prompt_weights @ kl_divergence(self._checked(policy), self.reference))

    def value(self, policy: Table, beta: Real) -> float:
        """
        The objective (E1).

        Parameters
        ----------
        policy
            Probabilities, a row for each prompt.
        beta
            Price of a nat, positive.

        Returns
        -------
        float
            In the unit of the rewards.
        """
        return self.expected_reward(policy) - check_beta(beta) * self.kl(policy)

    def gradient(self, scores: Table, beta: Real) -> Table:
        """
        The gradient (E5) of the objective in the scores of a softmax policy.

        Parameters
        ----------
        scores
            $z$, a row for each prompt.
        beta
            Price of a nat, positive.

        Returns
        -------
        ndarray
            Of the shape of the scores; each row sums to zero.
        """
        log_policy = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        policy = np.exp(log_policy)
        f = self.rewards - check_beta(beta) * (log_policy - np.log(self.reference))
        advantages = f - (policy * f).sum(axis=1, keepdims=True)
        return np.asarray(self.prompt_weights[:, None] * policy * advantages)

    def _tilted(self, beta: Real) -> Table:
        return np.log(self.reference) + self.rewards / check_beta(beta)

    def _checked(self, policy: Table) -> Table:
        if policy.shape != self.rewards.shape:
            raise ValueError(f"a policy of this world has the shape {self.rewards.shape}, got {policy.shape}")
        return check_distribution(policy, "the policy")


def total_variation(p: Table, q: Table) -> float:
    r"""
    The largest, over prompts, of $\frac12 \sum_y |p(y \mid x) - q(y \mid x)|$.

    No event has probabilities under `p` and `q` that differ by more, given a prompt.

    Parameters
    ----------
    p, q
        Probabilities, a row for each prompt.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> total_variation(np.array([[0.5, 0.5]]), np.array([[0.75, 0.25]]))
    0.25
    """
    if p.shape != q.shape:
        raise ValueError(f"two policies of one world have one shape, got {p.shape} and {q.shape}")
    return float(0.5 * np.abs(p - q).sum(axis=1).max())


def all_responses(vocab_size: int, length: int, stop: int | None = None) -> tuple[tuple[int, ...], ...]:
    """
    Every response of `align.response-tree`, in the order of their tokens.

    Parameters
    ----------
    vocab_size
        Number of tokens V, at least 1.
    length
        The longest, N, at least 1.
    stop
        The token that ends a response; none by default, so all have the full length.

    Returns
    -------
    tuple of tuple of int
        At most V to the power N of them.

    Raises
    ------
    ValueError
        If a number is below 1, the stop is no token, or there are more than a million responses.

    Examples
    --------
    >>> len(all_responses(3, 4)), len(all_responses(3, 4, stop=2))
    (81, 31)
    """
    if vocab_size < 1 or length < 1:
        raise ValueError(f"vocabulary and length are at least 1, got {vocab_size} and {length}")
    if stop is not None and not 0 <= stop < vocab_size:
        raise ValueError(f"the stop is one of the tokens 0 to {vocab_size - 1}, got {stop}")
    if vocab_size**length > 1_000_000:
        raise ValueError(
            f"{vocab_size} tokens at {length} places make more than a million responses: take fewer of either"
        )

    def behind(prefix: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        for token in range(vocab_size):
            grown = (*prefix, token)
            if token == stop or len(grown) == length:
                yield grown
            else:
                yield from behind(grown)

    return tuple(behind(()))


class TableModel(Module):
    """
    A row of scores for every beginning of a text: a model without any structure.

    Parameters
    ----------
    vocab_size
        Number of tokens V.
    length
        The longest text that it is given, prompt included.
    n_out
        Length of a row: V by default, scores of the next token; 1 for a value.
    rng
        Draws the scores, normal with deviation 1; None leaves them at zero.

    Attributes
    ----------
    weight : Parameter
        The rows, float64: texts of one token first, then those of two, each in the order of their tokens.

    Raises
    ------
    ValueError
        If there would be more than a million rows; when called, if a text is too long or an id out of range.

    Examples
    --------
    >>> model = TableModel(3, 2)
    >>> model.weight.shape, model(np.array([[0, 1], [2, 2]])).shape
    ((12, 3), (2, 2, 3))
    """

    def __init__(
        self, vocab_size: int, length: int, n_out: int | None = None, *, rng: np.random.Generator | None = None
    ) -> None:
        super().__init__()
        n_rows = sum(vocab_size**n for n in range(1, length + 1))
        if n_rows > 1_000_000:
            raise ValueError(
                f"a table for texts of up to {length} of {vocab_size} tokens would have {n_rows} rows: take fewer"
            )
        self.vocab_size, self.length = vocab_size, length
        shape = (n_rows, vocab_size if n_out is None else n_out)
        self.weight = Parameter(np.zeros(shape) if rng is None else rng.normal(size=shape))

    def forward(self, ids: Integer[np.ndarray, "B T"]) -> Any:
        """
        The row of each beginning.

        Parameters
        ----------
        ids
            Token ids.

        Returns
        -------
        Tensor
            Of shape (B, T, n_out).
        """
        V = self.vocab_size
        if ids.ndim != 2 or ids.shape[1] > self.length or (ids.size and not 0 <= ids.min() <= ids.max() < V):
            raise ValueError(
                f"this table knows texts of up to {self.length} tokens of 0 to {V - 1}, got an array of shape "
                f"{ids.shape}"
            )
        row = np.empty(ids.shape, np.int64)
        behind = np.full(len(ids), -1)  # the row of the empty text would be this one
        for t in range(ids.shape[1]):
            behind = V * (behind + 1) + ids[:, t]  # children of a row lie side by side
            row[:, t] = behind
        return self.weight[row]


def check_beta(beta: Real) -> float:
    """`beta` as a float; `ValueError` where it is no price."""
    if not (0 < beta < np.inf):
        raise ValueError(f"beta, the price of a nat, is positive and finite, got {beta}")
    return float(beta)
