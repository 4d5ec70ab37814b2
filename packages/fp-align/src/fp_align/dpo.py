r"""
Direct preference optimization.

Reward first, then a policy that climbs it: two models and a loop of sampling. But the best policy for a reward has a
formula. Read backwards, it gives the reward for which a policy is best, so the likelihood of comparisons can be written
in terms of the policy alone. What becomes of the partition function that nobody can compute?

You need: `align.kl-optimum`, `align.bradley-terry-concave`, `fp_align.preferences`, `markov.gibbs`.

## The reward of a policy

Let $\pi_0 > 0$ and $\beta > 0$ as in `fp_align.exact`. For a policy $\pi > 0$ call

$$\hat r_\pi(x, y) = \beta \ln \frac{\pi(y \mid x)}{\pi_0(y \mid x)} \qquad \text{(E1)}$$

its **implicit reward**.

**Claim** `align.implicit-reward`. Every $\pi > 0$ is the optimum for the reward $\hat r_\pi$, with $Z(x) = 1$. Two
rewards have the same optimum exactly if they differ by a number for each prompt: $r'(x, y) = r(x, y) + c(x)$. In
particular, for the optimum $\pi^*$ of $r$,

$$r(x, y) = \beta \ln \frac{\pi^*(y \mid x)}{\pi_0(y \mid x)} + \beta \ln Z(x). \qquad \text{(E2)}$$

**Proof.** With $\hat r_\pi$ the numerator of the optimum is $\pi_0\, e^{\hat r_\pi / \beta} = \pi$, and $Z(x)$ is the
sum of these, $1$. (E2) is the formula of the optimum, $\pi^* = \pi_0\, e^{r / \beta} / Z$, solved for $r$. So if $r$
and $r'$ have one optimum, they differ by $\beta \ln Z' - \beta \ln Z$, which depends on $x$ alone. And with $r + c(x)$
for $r$ numerator and $Z(x)$ are both multiplied by $e^{c(x) / \beta}$. $\blacksquare$

## The partition function cancels

**Claim** `align.dpo-cancels`. Let verdicts follow Bradley and Terry's model with the reward $r$, and let $\pi^*$ be its
optimum. Then

$$
P(y \succ y' \mid x) = \sigma \Big( \beta \ln \frac{\pi^*(y \mid x)}{\pi_0(y \mid x)}
  - \beta \ln \frac{\pi^*(y' \mid x)}{\pi_0(y' \mid x)} \Big). \qquad \text{(E3)}
$$

**Proof.** $P = \sigma \big( r(x, y) - r(x, y') \big)$. By (E2) the difference of the rewards is that of the implicit
rewards of $\pi^*$ plus $\beta \ln Z(x) - \beta \ln Z(x)$: both responses answer the same prompt. $\blacksquare$

What was to be estimated, a reward, has been renamed. So use the likelihood of the verdicts as a loss for a policy: with
$y_w$ the chosen and $y_l$ the rejected response, the **margin** and the loss are

$$
\begin{aligned}
m &= \beta \ln \frac{\pi(y_w \mid x)}{\pi_0(y_w \mid x)} - \beta \ln \frac{\pi(y_l \mid x)}{\pi_0(y_l \mid x)},
  && \text{(E4)} \\
L &= -\ln \sigma(m) = \operatorname{softplus}(-m), && \text{(E5)}
\end{aligned}
$$

averaged over verdicts. At $\pi = \pi_0$ it is $\ln 2$.

>>> loss = dpo_loss(np.array([-4.0]), np.array([-7.0]), np.array([-5.0]), np.array([-6.0]), beta=0.5)
>>> round(float(loss), 4), round(float(np.log1p(np.exp(-0.5 * (1 + 1)))), 4)
(0.3133, 0.3133)

## Where it leads

**Claim** `align.dpo-optimum`. In a world with finitely many responses let pairs be compared with probabilities $\mu(x;
\{y, y'\})$ such that at each prompt the pairs with $\mu > 0$ connect all responses, and let the verdicts follow Bradley
and Terry with the reward $r$. Over all policies that give every response a positive probability, the mean of (E5) is
smallest at $\pi^*$ and nowhere else.

**Proof.** Given the pair, the verdict is $y$ with $p = \sigma(r(x, y) - r(x, y'))$, and the policy claims $q =
\sigma(m)$. Its mean loss is $-p \ln q - (1 - p) \ln (1 - q)$, as $\sigma(-m) = 1 - \sigma(m)$. This is the entropy of
$(p, 1 - p)$ plus the divergence of $(q, 1 - q)$ from it (`markov.cross-entropy-split`), which is at least $0$ and $0$
only if $q = p$ (`markov.gibbs`). $\sigma$ grows strictly, so $q = p$ means that $m = r(x, y) - r(x, y')$. By
`align.dpo-cancels` $\pi^*$ has these margins for all pairs, so it attains the smallest mean. For any other policy that
attains it, $\hat r_\pi(x, \cdot) - r(x, \cdot)$ takes the same value at both ends of every pair with $\mu > 0$, and
along a chain of them at all responses: a number for the prompt. By `align.implicit-reward` $\pi$ and $\pi^*$ are optima
of rewards that differ by such a number, so they are the same. $\blacksquare$

The hypothesis is where practice differs. With two responses a prompt most of what a model could say is never compared,
and the loss is silent about it. It sees only the difference (E4): it falls just as well if both responses become less
probable, the rejected one more so, and the probability goes to answers that nobody asked for.

**Claim** `align.dpo-gradient`. In any parameters of the policy

$$
\nabla L = -\beta\, \sigma(-m)\, \big( \nabla \ln \pi(y_w \mid x) - \nabla \ln \pi(y_l \mid x) \big). \qquad \text{(E6)}
$$

**Proof.** By `autograd.softplus-slope` the slope of $\operatorname{softplus}(-m)$ in $m$ is $-\sigma(-m)$. In (E4) only
$\ln \pi(y_w \mid x)$ and $\ln \pi(y_l \mid x)$ depend on the parameters, with the factors $\beta$ and $-\beta$; the
chain rule (`autograd.jacobian-chain`) gives (E6). $\blacksquare$

In words: raise the chosen, lower the rejected, each pair weighted by how strongly the implicit reward has it wrong.
$\sigma(-m)$ is the probability that the model gives to the other verdict, so a pair that is settled pulls no more.
Without that factor, raising one and lowering the other has no end, and models fall apart.

Nothing is sampled, no reward model is kept, and the reference can be asked once for each pair, before training.

>>> from fp_align.exact import World, total_variation
>>> world = World(np.array([[0.5, 0.3, 0.2]]), np.array([[0.0, 1.0, 2.0]]))
>>> scores = np.log(world.reference)
>>> for _ in range(300):
...     scores -= 2.0 * expected_gradient(world, scores, beta=0.5)
>>> bool(total_variation(np.exp(scores) / np.exp(scores).sum(), world.optimum(0.5)) < 1e-6)
True

## In practice

R. Rafailov and others (2023). $\beta$ is 0.1 to 0.5, the rate a tenth of fine-tuning's, and one or two passes are
usual. When all verdicts of a pair agree, as with one verdict for each, (E5) wants an infinite margin, as in
`align.bradley-terry-exists`: IPO (M. Azar and others, 2023) asks for a given margin instead, conservative DPO flips a
share of the labels. The verdicts come from other models' answers; where those are unlikely under the reference, on-line
methods that sample anew do better.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fp_align.exact import Real, Table, World, check_beta
from fp_align.preferences import Preference, padded, sequence_log_probabilities
from fp_autograd.rules import softplus
from fp_autograd.tensor import no_grad
from fp_autograd.tracing import Operand, value_of
from fp_neural.module import Module
from fp_optim import AdamW, clip_by_global_norm

__all__ = [
    "margins",
    "dpo_loss",
    "implicit_rewards",
    "expected_loss",
    "expected_gradient",
    "DPO",
]  # the order of the page


def margins(
    policy_chosen: Operand,
    policy_rejected: Operand,
    reference_chosen: Operand,
    reference_rejected: Operand,
    beta: Real,
) -> Any:
    r"""
    How much more implicit reward the chosen responses have, $m$ of (E4).

    Parameters
    ----------
    policy_chosen, policy_rejected
        Logarithms of the probabilities that the policy gives to the responses of each pair.
    reference_chosen, reference_rejected
        Those of the reference, of the same shape.
    beta
        $\beta$, positive.

    Returns
    -------
    ndarray or Tensor
        One number for each pair.

    Raises
    ------
    ValueError
        If `beta` is not positive, or the shapes differ.
    """
    shapes = {np.shape(value_of(x)) for x in (policy_chosen, policy_rejected, reference_chosen, reference_rejected)}
    if len(shapes) > 1:
        raise ValueError(f"the four log-probabilities of each pair have one shape, got {sorted(shapes)}")
    return check_beta(beta) * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))


def dpo_loss(
    policy_chosen: Operand,
    policy_rejected: Operand,
    reference_chosen: Operand,
    reference_rejected: Operand,
    beta: Real,
) -> Any:
    """
    The mean of (E5) over pairs.

    Parameters
    ----------
    policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta
        As for `margins`.

    Returns
    -------
    ndarray or Tensor
        One number, in nats per verdict.

    Raises
    ------
    ValueError
        As for `margins`, or if there is no pair.

    Examples
    --------
    >>> same = np.array([-3.0, -5.0])
    >>> float(dpo_loss(same, same, same, same, beta=0.1).round(4))
    0.6931
    """
    m = margins(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta)
    if value_of(m).size == 0:
        raise ValueError("the loss is a mean over pairs and needs at least one, got none")
    return softplus(-m).mean()


def implicit_rewards(policy: Operand, reference: Operand, beta: Real) -> Any:
    r"""
    $\hat r_\pi$ (E1): the reward for which the policy is the optimum, up to a number for each prompt.

    Parameters
    ----------
    policy, reference
        Logarithms of the probabilities of responses.
    beta
        $\beta$, positive.

    Returns
    -------
    ndarray or Tensor
        In the unit of rewards.

    Examples
    --------
    >>> implicit_rewards(np.array([-1.0, -4.0]), np.array([-2.0, -2.0]), beta=0.5)
    array([ 0.5, -1. ])
    """
    return check_beta(beta) * (policy - reference)


def expected_loss(world: World, scores: Table, beta: Real) -> float:
    """
    The mean of (E5) in a listed world whose judge follows Bradley and Terry.

    Both responses of a pair are drawn from the reference; pairs of one response twice are left out.

    Parameters
    ----------
    world
        Reference, rewards and prompts.
    scores
        The policy is the softmax of each row.
    beta
        Positive.

    Returns
    -------
    float
        Nats per verdict.
    """
    return _expected(world, scores, beta)[0]


def expected_gradient(world: World, scores: Table, beta: Real) -> Table:
    """
    The gradient of `expected_loss` in the scores, (E6) averaged.

    Parameters
    ----------
    world, scores, beta
        As for `expected_loss`.

    Returns
    -------
    ndarray
        Of the shape of the scores.
    """
    return _expected(world, scores, beta)[1]


def _expected(world: World, scores: Table, beta: Real) -> tuple[float, Table]:
    reward = implicit_rewards(scores, np.log(world.reference), beta)  # the softmax's normaliser cancels in margins
    m = reward[:, :, None] - reward[:, None, :]
    truth = world.rewards[:, :, None] - world.rewards[:, None, :]
    wins = np.exp(-np.logaddexp(0.0, -truth))  # y, the row, against y', the column
    pairs = world.reference[:, :, None] * world.reference[:, None, :] * (1 - np.eye(world.rewards.shape[1]))
    pairs *= (2 * world.prompt_weights / pairs.sum(axis=(1, 2)))[:, None, None]  # each pair is listed both ways
    loss = float((pairs * wins * np.logaddexp(0.0, -m)).sum())
    pull = pairs * wins * np.exp(-np.logaddexp(0.0, m))  # sigma(-m)
    return loss, np.asarray(-check_beta(beta) * (pull.sum(axis=2) - pull.sum(axis=1)))


class DPO:
    """
    A trainer: a policy, its reference, AdamW.

    Parameters
    ----------
    policy
        A `Module` that returns logits when called with ids; its parameters are moved.
    reference
        Another one, which is only asked. The policy as it was at the beginning, usually: load its `state_dict`.
        Not the policy itself, which moves.
    beta
        Price of a nat, positive.
    lr
        Learning rate.
    max_norm
        Gradients are clipped to this global norm.

    Raises
    ------
    ValueError
        If `beta` is not positive and finite, or the reference is the policy.

    Examples
    --------
    >>> from fp_transformer.config import TransformerConfig
    >>> from fp_transformer.model import Transformer
    >>> config = TransformerConfig.llama(vocab_size=5, context_length=8, n_layers=1, n_heads=2, d_model=8)
    >>> policy, reference = (Transformer(config, rng=np.random.default_rng(0)).eval() for _ in range(2))
    >>> trainer = DPO(policy, reference, beta=0.1, lr=0.01)
    >>> losses = [trainer.step([Preference((1,), (2,), (3,))])["loss"] for _ in range(20)]
    >>> round(losses[0], 4), losses[-1] < losses[0]
    (0.6931, True)
    """

    def __init__(
        self, policy: Module, reference: Any, *, beta: Real = 0.1, lr: Real = 1e-4, max_norm: Real = 1.0
    ) -> None:
        check_reference(policy, reference)
        self.policy, self.reference, self.beta, self.max_norm = policy, reference, check_beta(beta), float(max_norm)
        self.parameters = {name: p for name, p in policy.named_parameters().items() if p.requires_grad}
        self.optimizer = AdamW({name: p.data for name, p in self.parameters.items()}, lr=lr, weight_decay=0.0)

    def margins(self, preferences: Sequence[Preference]) -> Any:
        """
        The margins (E4) of verdicts under the policy.

        Parameters
        ----------
        preferences
            At least one.

        Returns
        -------
        Tensor
            One for each.
        """
        n = len(preferences)
        prompts = [p.prompt for p in preferences] * 2
        ids, mask = padded(prompts, [p.chosen for p in preferences] + [p.rejected for p in preferences])
        with no_grad():
            reference = value_of(sequence_log_probabilities(self.reference, ids, mask))
        policy = sequence_log_probabilities(self.policy, ids, mask)
        return margins(policy[:n], policy[n:], reference[:n], reference[n:], self.beta)

    def step(self, preferences: Sequence[Preference], lr: Real | None = None) -> dict[str, float]:
        """
        One step on a batch of verdicts.

        Parameters
        ----------
        preferences
            At least one.
        lr
            The rate of this step; the optimizer's if not given.

        Returns
        -------
        dict
            Before the step: `loss`, `accuracy` (the share of pairs with a positive margin), `margin`, `grad_norm`.

        Raises
        ------
        FloatingPointError
            If the gradient is not finite; the step is not taken.
        """
        m = self.margins(preferences)
        loss = softplus(-m).mean()
        norm = descend(loss, self.parameters, self.optimizer, self.max_norm, lr)
        numbers = value_of(m)
        return {
            "loss": loss.item(),
            "accuracy": float((numbers > 0).mean()),
            "margin": float(numbers.mean()),
            "grad_norm": norm,
        }


def check_reference(policy: Any, reference: Any) -> None:
    """`ValueError` for a reference that would move with the policy."""
    if reference is policy:
        raise ValueError(
            "the reference is the policy itself and would move with it: make another model and load the policy's "
            "state_dict into it"
        )


def descend(loss: Any, parameters: dict[str, Any], optimizer: AdamW, max_norm: float, lr: Real | None = None) -> float:
    """
    A step down a loss: sweep back, clip, move.

    Parameters
    ----------
    loss
        One number.
    parameters
        Tensors by name, those of the optimizer.
    optimizer
        Moves their numbers.
    max_norm
        The longest gradient.
    lr
        The rate; the optimizer's if not given.

    Returns
    -------
    float
        The norm of the gradient before it was clipped.

    Raises
    ------
    FloatingPointError
        If the gradient is not finite; nothing has moved then.
    """
    for p in parameters.values():
        p.zero_grad()
    loss.backward()
    grads = {name: np.zeros_like(p.data) if p.grad is None else p.grad for name, p in parameters.items()}
    norm = clip_by_global_norm(grads, max_norm)
    if not math.isfinite(norm):
        raise FloatingPointError(
            f"the norm of the gradient is {norm}, and a step along it would spoil the model: lower the learning rate"
        )
    optimizer.step(grads, lr)
    return norm
