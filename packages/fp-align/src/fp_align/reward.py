r"""
A score fitted to comparisons.

Verdicts say who won, not by how much. Bradley and Terry's model turns rewards into odds of winning; read backwards, it
turns wins into rewards. When is there exactly one best fit, and what does a network need in order to score answers that
nobody has compared yet?

You need: `fp_align.preferences`, `autograd.softplus-slope`, `autograd.sigmoid-slope`, `neural.convex-hessian`,
`neural.maximum`, `optim.convex-minimum`.

## The likelihood

Let items have scores $s_1, \dots, s_n$, and let comparison number $k$ have been won by $w_k$ against $l_k$. Under
$P(i \succ j) = \sigma(s_i - s_j)$, and with $-\ln \sigma(u) = \ln (1 + e^{-u}) = \operatorname{softplus}(-u)$, the
negative log-likelihood of $N$ comparisons is

$$L(s) = \sum_{k=1}^N \operatorname{softplus} \big( -(s_{w_k} - s_{l_k}) \big). \qquad \text{(E1)}$$

**Claim** `align.bradley-terry-gradient`. With $u_k = s_{w_k} - s_{l_k}$,

$$
\frac{\partial L}{\partial s_i} = \sum_{k : l_k = i} \sigma(-u_k) - \sum_{k : w_k = i} \sigma(-u_k),
\qquad \text{(E2)}
$$

and these sum to zero over all $i$. At a minimum every item has won exactly as often as the model expects.

**Proof.** By `autograd.softplus-slope` the slope of $\operatorname{softplus}(-u)$ in $u$ is $-\sigma(-u)$. $u_k$ grows
with $s_{w_k}$ at the rate $1$ and falls with $s_{l_k}$ at the rate $1$, which is (E2). Each $k$ adds $\sigma(-u_k)$ to
one entry and takes it off another, so the sum is zero. At a minimum (E2) is zero. Put $\sigma(-u_k) = 1 - \sigma(u_k)$
(`autograd.sigmoid-slope`) into the sum over the wins of $i$: it says that the number of wins is
$\sum_{k : w_k = i} \sigma(u_k) + \sum_{k : l_k = i} \sigma(-u_k)$, the sum of the probabilities with which $i$ wins its
comparisons. $\blacksquare$

$\sigma(-u)$ is how surprised the model was: verdicts that it foresaw pull at nothing.

**Claim** `align.bradley-terry-concave`. $L$ is convex, so the log-likelihood $-L$ is concave; for every $v$ the Hessian
gives

$$v \cdot H v = \sum_{k=1}^N \sigma(u_k)\, \sigma(-u_k)\, (v_{w_k} - v_{l_k})^2. \qquad \text{(E3)}$$

Adding one number to all scores does not change $L$. If the comparisons connect all items (from each a chain of compared
pairs leads to each other), $L$ is strictly convex but for that: the chord inequality is strict between two points that
do not differ by a constant, so two minima do. If they do not connect them, a minimum never determines the scores.

**Proof.** $\sigma' = \sigma(u)\, \sigma(-u)$ (`autograd.sigmoid-slope`), so along a line $s + t v$ the second slope of
the $k$-th term is $\sigma(u_k)\, \sigma(-u_k)\, (v_{w_k} - v_{l_k})^2$, and these add up to (E3). It is at least $0$,
so $L$ is convex (`neural.convex-hessian`). A number added to all scores cancels in each $u_k$. As the two sigmoids are
positive, (E3) is zero only if $v$ is the same at both items of every comparison; if these connect all items, only if
$v$ is constant. So for two points whose difference $v$ is not constant (E3) is positive all along the line, and the
chord inequality is strict; were both minima, the points between would lie lower. If the items fall into two groups that
were never compared with each other, adding a number to one group changes no $u_k$. $\blacksquare$

A minimum need not exist: who won every comparison gets a score that grows without end.

**Claim** `align.bradley-terry-exists`. Let the comparisons connect all items. $L$ has a minimum exactly if for every
way of splitting the items into two groups, neither empty, some item of each has won against one of the other.

**Proof.** Suppose the condition. Only differences matter, so let the smallest score be $0$. If the largest is at least
$(n - 1) M$, some two neighbours in the order of scores are at least $M$ apart. Split there. Some item of the lower
group has won against one of the upper group, with $u_k \le -M$, and this term alone is $\operatorname{softplus}(-u_k)
\ge M$ (`autograd.softplus-slope`). All terms are positive. With $M = N \ln 2$ such scores are no better than all scores
zero, where $L = N \ln 2$. The others lie in the closed bounded set $0 \le s_i \le (n - 1) M$, on which $-L$ takes a
largest value (`neural.maximum`): a minimum of $L$ there, and of all. Now suppose that a group never lost to the rest.
Add $t$ to its scores: comparisons within the two groups keep their $u_k$, those between are all won by the group, and
their terms fall strictly as $t$ grows. There is one at least, because the comparisons connect the items. So no point is
a minimum. $\blacksquare$

`fit_scores` finds it with Newton's step (`fp_optim.problems`) on the scores of mean zero.

>>> (1 + fit_scores(3, np.array([0, 0, 1, 1, 2]), np.array([1, 2, 2, 0, 0]))).round(3)
array([1.   , 1.528, 0.472])

## A network that scores

For answers that were never compared, the score is a function of the text: the transformer's last row at the last token
of the response, which has seen all of prompt and response, times a vector,

$$r_\phi(x, y) = w \cdot \operatorname{norm} \big( x^{(L)}_{T-1} \big). \qquad \text{(E4)}$$

The loss is the mean of (E1) over a batch of pairs, one chosen and one rejected response to the same prompt. By
`align.bradley-terry-concave` nothing ties its scores down across prompts, since those are never compared. $w$ begins at
zero: all answers are equal then and the loss is $\ln 2$.

>>> from fp_transformer.config import TransformerConfig
>>> config = TransformerConfig.llama(vocab_size=7, context_length=8, n_layers=1, n_heads=2, d_model=8)
>>> model = RewardModel(Transformer(config, rng=np.random.default_rng(0)))
>>> verdicts = [Preference((1,), (2, 3), (4,)), Preference((1, 5), (6,), (3,))]
>>> round(model.loss(verdicts).item(), 4), round(float(np.log(2)), 4)
(0.6931, 0.6931)

## In practice

InstructGPT's reward model (L. Ouyang and others, 2022) is (E4) with the body of a fine-tuned model, a pass or two over
the verdicts, and all pairs of one prompt in a batch; Llama 2 adds a margin for clear verdicts to $u$. Since the
scale of noise is in the scores, a reward model that is trained long on clean verdicts grows without end, as in
`align.bradley-terry-exists`, and a policy finds the answers that it overrates. L. Ford (1957) has the condition of that
claim; E. Zermelo (1929) had the model before Bradley and Terry.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from fp_align.preferences import Ids, Preference, check_mask, padded
from fp_autograd.rules import softplus
from fp_autograd.tensor import no_grad
from fp_autograd.tracing import Operand, value_of
from fp_neural.layers import Linear
from fp_neural.module import Module
from fp_transformer.model import Transformer

__all__ = ["bradley_terry_loss", "fit_scores", "RewardModel"]  # the order of the page


def bradley_terry_loss(chosen: Operand, rejected: Operand) -> Any:
    """
    The mean of (E1): minus the logarithm of the probability of each verdict.

    Parameters
    ----------
    chosen, rejected
        Scores of the two responses of each pair, of one shape.

    Returns
    -------
    ndarray or Tensor
        One number, in nats per verdict.

    Raises
    ------
    ValueError
        If the shapes differ, or there is no pair.

    Examples
    --------
    >>> float(bradley_terry_loss(np.array([2.0, 0.0]), np.array([0.0, 0.0])).round(4))
    0.41
    """
    if np.shape(value_of(chosen)) != np.shape(value_of(rejected)) or value_of(chosen).size == 0:
        raise ValueError(
            "each chosen response has a rejected one, and there is a pair; got scores of the shapes "
            f"{np.shape(value_of(chosen))} and {np.shape(value_of(rejected))}"
        )
    return softplus(rejected - chosen).mean()


def fit_scores(
    n: int, winners: Integer[np.ndarray, " N"], losers: Integer[np.ndarray, " N"], tolerance: float = 1e-10
) -> Float[np.ndarray, " n"]:
    """
    The scores of largest likelihood, of mean zero (`align.bradley-terry-exists`).

    Parameters
    ----------
    n
        Number of items.
    winners, losers
        For each comparison the item that won and the one that lost.
    tolerance
        The largest entry of the gradient (E2), for each comparison, with which to stop.

    Returns
    -------
    ndarray
        float64.

    Raises
    ------
    ValueError
        If an item is out of range or compared with itself, the comparisons do not connect the items, or some group of
        items never lost to the others, so that there is no minimum.

    Examples
    --------
    Three wins to one are odds of three to one, so the scores differ by its logarithm:

    >>> s = fit_scores(2, np.array([0, 0, 0, 1]), np.array([1, 1, 1, 0]))
    >>> round(float(np.exp(s[0] - s[1])), 6)
    3.0
    """
    if len(winners) != len(losers) or not len(winners):
        raise ValueError(f"each comparison has two items, got {len(winners)} winners and {len(losers)} losers")
    both = np.concatenate([winners, losers])
    if both.min() < 0 or both.max() >= n or (winners == losers).any():
        raise ValueError(
            f"a comparison is between two different items of 0 to {n - 1}; got {both.min()} to {both.max()}"
        )
    if (group := _never_lost(n, winners, losers)) is not None:
        raise ValueError(
            f"items {group} never lost to the others, so their scores would grow without end: compare more, or leave "
            "them out"
        )
    s = np.zeros(n)

    def loss(s: np.ndarray) -> float:
        return float(np.logaddexp(0.0, s[losers] - s[winners]).sum())

    while True:
        surprise = np.exp(-np.logaddexp(0.0, s[winners] - s[losers]))  # sigma(-u)
        g = np.bincount(losers, surprise, n) - np.bincount(winners, surprise, n)  # (E2)
        if np.abs(g).max() <= tolerance * len(winners):
            return s
        H = np.ones((n, n))  # makes the constant direction regular, in which g is zero
        weight = surprise * (1 - surprise)
        for a, b, sign in ((winners, winners, 1), (losers, losers, 1), (winners, losers, -1), (losers, winners, -1)):
            np.add.at(H, (a, b), sign * weight)
        d, t = np.linalg.solve(H, g), 1.0
        while t > 1e-9 and not loss(s - t * d) <= loss(s) - 0.25 * t * (g @ d) + 1e-12 * len(winners):
            t /= 2
        s = s - t * d
        s -= s.mean()


def _never_lost(n: int, winners: Integer[np.ndarray, " N"], losers: Integer[np.ndarray, " N"]) -> list[int] | None:
    """A group of items, not all, that no other item has beaten; None if each group lost to the rest."""
    beaten = np.zeros((n, n), bool)
    beaten[losers, winners] = True
    for start in range(n):  # whoever beat it, whoever beat those, and so on
        reached = np.zeros(n, bool)
        reached[start] = True
        while (grown := reached | beaten[reached].any(axis=0)).sum() > reached.sum():
            reached = grown
        if not reached.all():
            return [int(i) for i in np.flatnonzero(reached)]
    return None


class RewardModel(Module):
    """
    A transformer with a score for the last token (E4) in place of scores for the next.

    Parameters
    ----------
    transformer
        The body, which is taken over and trained too; its output layer is not used.

    Attributes
    ----------
    transformer : Transformer
        As given.
    head : Linear
        $w$, which begins at zero.

    Examples
    --------
    >>> from fp_transformer.config import TransformerConfig
    >>> config = TransformerConfig.gpt2(vocab_size=5, context_length=8, n_layers=1, n_heads=2, d_model=8)
    >>> model = RewardModel(Transformer(config, rng=np.random.default_rng(0)).eval())
    >>> model.scores([(1, 2)], [(3,)]).tolist()
    [0.0]
    """

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.transformer = transformer
        self.head = Linear(transformer.config.d_model, 1, rng=None, bias=False, dtype=transformer.dtype)

    def forward(self, ids: Integer[np.ndarray, "B T"], mask: Bool[np.ndarray, "B T"]) -> Any:
        """
        The reward of each text (E4).

        Parameters
        ----------
        ids
            Prompts with their responses, filled up on the right.
        mask
            True at the tokens of the response.

        Returns
        -------
        Tensor
            Scores, of shape (B,).

        Raises
        ------
        ValueError, TypeError
            If the mask does not fit, or the transformer refuses the ids.
        """
        check_mask(ids, mask)
        last = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
        return self.head(rows(self.transformer, ids)[np.arange(len(ids)), last]).reshape(len(ids))

    def loss(self, preferences: Sequence[Preference]) -> Any:
        """
        The mean loss of verdicts, (E1) with (E4).

        Parameters
        ----------
        preferences
            At least one.

        Returns
        -------
        Tensor
            One number, in nats per verdict.
        """
        prompts = [p.prompt for p in preferences]
        ids, mask = padded(prompts * 2, [p.chosen for p in preferences] + [p.rejected for p in preferences])
        scores = self(ids, mask)
        return bradley_terry_loss(scores[: len(prompts)], scores[len(prompts) :])

    def scores(self, prompts: Sequence[Ids], responses: Sequence[Ids]) -> Float[np.ndarray, " B"]:
        """
        The rewards of responses as numbers; nothing is recorded for a gradient.

        Parameters
        ----------
        prompts, responses
            Token ids, as many of the one as of the other.

        Returns
        -------
        ndarray
            float64.
        """
        ids, mask = padded(prompts, responses)
        with no_grad():
            return value_of(self(ids, mask)).astype(np.float64)


def rows(transformer: Transformer, ids: Integer[np.ndarray, "B T"]) -> Any:
    """
    What the last norm of a transformer makes of the stream, before it is turned into scores of tokens.

    Parameters
    ----------
    transformer
        The model.
    ids
        Token ids.

    Returns
    -------
    Tensor
        Of shape (B, T, C).
    """
    for x in transformer.stream(ids):
        top = x
    return transformer.norm(top)
