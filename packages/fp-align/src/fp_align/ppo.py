r"""
Proximal policy optimization.

Sampling answers is the dear part of a policy gradient, and one step uses them up: after it they come from another
policy. How can a batch serve for several steps, what stops the policy from walking away from its samples, and how is a
token's share in the outcome estimated?

You need: `fp_align.policy_gradient`, `fp_align.kl`, `autograd.subgradient-slope`, `markov.total-probability`.

## Old samples for a new policy

Let responses, or tokens, be drawn from an old policy, and let $\rho(y) = \frac{\pi_\theta(y)}{\pi_{\text{old}}(y)}$,
the **ratio**.

**Claim** `align.importance`. If $\pi_{\text{old}} > 0$, then $\mathbb{E}_{\text{old}} [\rho f] = \mathbb{E}_\pi f$ for
every $f$. At $\theta = \theta_{\text{old}}$, $\rho = 1$ and the gradient of $\mathbb{E}_{\text{old}} [\rho f]$ with $f$
fixed is the policy gradient $\mathbb{E} [f s]$.

**Proof.** $\sum_y \pi_{\text{old}}\, \frac{\pi}{\pi_{\text{old}}}\, f = \sum_y \pi f$. And
$\nabla \rho = \frac{\nabla \pi}{\pi_{\text{old}}} = \rho\, s$, which is $s$ at $\rho = 1$ (`align.policy-gradient`).
$\blacksquare$

Far from the old policy the ratios are huge or tiny, and the average says nothing. So a gain is to count only as long as
the ratio is near one. With an advantage $A$ and $0 < \varepsilon < 1$,

$$
L(\rho) = \min \big( \rho A,\; \operatorname{clip}(\rho, 1 - \varepsilon, 1 + \varepsilon)\, A \big). \qquad \text{(E1)}
$$

**Claim** `align.ppo-clip`. $L$ is $A \min(\rho, 1 + \varepsilon)$ if $A > 0$, and $A \max(\rho, 1 - \varepsilon)$ if
$A < 0$. Its slope in $\rho$ is

| | $\rho < 1 - \varepsilon$ | $1 - \varepsilon < \rho < 1 + \varepsilon$ | $\rho > 1 + \varepsilon$ |
| --- | --- | --- | --- |
| $A > 0$ | $A$ | $A$ | $0$ |
| $A < 0$ | $0$ | $A$ | $A$ |

At the kink, $\rho = 1 + \varepsilon$ for $A > 0$ and $\rho = 1 - \varepsilon$ for $A < 0$, there is no slope: the left
one and the right one differ, and $-L$ is convex with the numbers between $0$ and $-A$ as its subgradients. At the other
edge the slope is $A$.

**Proof.** Let $A > 0$; then the smaller product is $A$ times the smaller factor. $\operatorname{clip}(\rho)$ is $1 -
\varepsilon > \rho$, $\rho$ itself, or $1 + \varepsilon < \rho$ in the three ranges, so the smaller of $\rho$ and
$\operatorname{clip}(\rho)$ is $\rho$, $\rho$ and $1 + \varepsilon$: it is $\min(\rho, 1 + \varepsilon)$. For $A < 0$
the smaller product is $A$ times the *larger* factor, $1 - \varepsilon$, $\rho$ and $\rho$: $\max(\rho, 1 -
\varepsilon)$. In the open ranges these are constant or $\rho$, with slopes $0$ or $1$, times $A$; at the edge where
both neighbours are $\rho$ the slope is $A$ too. At the kink of $A > 0$, $-L = A \max(-\rho, -(1 + \varepsilon))$ is $A$
times the larger of two straight lines; with $h = 1 + \varepsilon - \rho$ it is $A \operatorname{relu}(h)$ plus a
constant, whose subgradients in $h$ at $h = 0$ are $[0, A]$ (`autograd.relu-subgradient`), so $[-A, 0]$ in $\rho$. For
$A < 0$, $-L = |A| \operatorname{relu}(\rho - (1 - \varepsilon))$ plus a constant, with $[0, |A|] = [0, -A]$.
$\blacksquare$

So a token that is to become likelier stops pulling once it is $1 + \varepsilon$ times as likely, one that is to become
less likely once it is at $1 - \varepsilon$. But a token on the wrong side is pulled back from any distance: that is
what the minimum adds to clipping alone.

**Claim** `align.ppo-bound`. $L(\rho) \le \rho A$, with equality unless the ratio is beyond its kink. So the mean of
$L$ never promises more than that of $\rho A$, and at $\theta_{\text{old}}$ both have the same value and gradient.

**Proof.** A minimum is at most its first entry, and by `align.ppo-clip` it is the first entry except where $A > 0$ and
$\rho > 1 + \varepsilon$, or $A < 0$ and $\rho < 1 - \varepsilon$. $\rho = 1$ is inside the interval, with all ratios
near it. $\blacksquare$

>>> ratios = np.array([0.5, 1.0, 1.5])
>>> for A in (2.0, -2.0):
...     print(
...         clipped_objective(ratios, np.full(3, A), 0.2).tolist(), clipped_slope(ratios, np.full(3, A), 0.2).tolist()
...     )
[1.0, 2.0, 2.4] [2.0, 2.0, 0.0]
[-1.6, -2.0, -3.0] [0.0, -2.0, -2.0]

## What a token was worth

Let $V(x_t)$ be an estimate of what is still to come from the state $x_t$ (`fp_align.policy_gradient`), zero after the
end, and $0 \le \gamma, \lambda \le 1$. The surprise at a step, and **generalized advantage estimation**, are

$$
\delta_t = r_t + \gamma V(x_{t+1}) - V(x_t), \qquad
\hat A_t = \sum_{l \ge 0} (\gamma \lambda)^l\, \delta_{t+l}. \qquad \text{(E2)}
$$

**Claim** `align.gae`. $\hat A_t = \delta_t + \gamma \lambda\, \hat A_{t+1}$. For $\lambda = 0$ it is $\delta_t$, for
$\lambda = 1$ it is $\sum_{l \ge 0} \gamma^l r_{t+l} - V(x_t)$. In between, for $\lambda < 1$, it is the mean
$(1 - \lambda) \sum_{n \ge 1} \lambda^{n-1} A^{(n)}_t$ of the estimates that look $n$ steps ahead,
$A^{(n)}_t = \sum_{l < n} \gamma^l r_{t+l} + \gamma^n V(x_{t+n}) - V(x_t)$.

**Proof.** The first: take the term $l = 0$ out of (E2) and a factor $\gamma \lambda$ from the rest. For $\lambda = 0$
only $l = 0$ is left ($0^0 = 1$). In $\sum_{l < n} \gamma^l \delta_{t+l}$ the values telescope,

$$
\sum_{l < n} \big( \gamma^l r_{t+l} + \gamma^{l+1} V(x_{t+l+1}) - \gamma^l V(x_{t+l}) \big)
= \sum_{l < n} \gamma^l r_{t+l} + \gamma^n V(x_{t+n}) - V(x_t) = A^{(n)}_t,
$$

each $\gamma^l V(x_{t+l})$ with $0 < l < n$ once with plus and once with minus. With $n$ beyond the end rewards and
values are zero, which is $\lambda = 1$. And in $(1 - \lambda) \sum_n \lambda^{n-1} \sum_{l < n} \gamma^l \delta_{t+l}$
the term $\gamma^l \delta_{t+l}$ occurs for all $n > l$, with the factor $(1 - \lambda)(\lambda^l + \lambda^{l+1} +
\dots) = \lambda^l$. $\blacksquare$

**Claim** `align.gae-unbiased`. If $V(x)$ is the mean of the discounted rewards to come from $x$ under the policy, then
for every $\lambda$ the mean of $\hat A_t$ given $x_t$ and the token $a_t$ is $Q - V(x_t)$, with $Q$ the mean of $\sum_l
\gamma^l r_{t+l}$ given both. For $\gamma = \lambda = 1$ the policy gradient with $\hat A_t$ has the right mean for any
$V$.

**Proof.** Given $x_{t+1}$, the mean of what is to come from there is $V(x_{t+1})$, so the mean of $\delta_t$ given
$x_t$ and $a_t$ is $Q - V(x_t)$ (`markov.total-probability` over $x_{t+1}$). Averaged over $a_t$ as well, that is
$V(x_t) - V(x_t) = 0$. So given $x_{t+1}$, and hence given $x_t$ and $a_t$, each later $\delta$ has the mean $0$, and
$\hat A_t$ has that of $\delta_t$. The last sentence is `align.reward-to-go` with $b = V$. $\blacksquare$

So $\lambda$ trades: near $1$ the estimate scatters with all that is still drawn, near $0$ it believes $V$.

>>> rewards, values = np.array([[0.0, 0.0, 1.0]]), np.array([[0.2, 0.5, 0.9]])
>>> for lam in (0.0, 0.5, 1.0):
...     print(gae(rewards, values, 1.0, lam).round(3).tolist())
[[0.3, 0.4, 0.1]]
[[0.525, 0.45, 0.1]]
[[0.8, 0.5, 0.1]]

## The loop

1. Draw a response to each prompt, and keep $\ln \pi_{\text{old}}$ of its tokens.
2. The reward of a token is $-\beta \ln \frac{\pi_{\text{old}}(a_t \mid x_t)}{\pi_0(a_t \mid x_t)}$, $k_1$ of
   `fp_align.kl`; the last one gets $r(x, y)$ on top. With $\gamma = 1$ they add up to $f$ of `align.policy-gradient`,
   so the gradient in the first step of a batch is that of the objective of `fp_align.exact`.
3. Advantages by (E2); targets of the value, $\hat A_t + V(x_t)$.
4. A few passes over the batch in pieces: up the mean of (E1) over responses, with the sum over tokens inside, and
   down the squared error of the value.

The value is a head like the reward's, at every token: `ValueModel`.

## In practice

J. Schulman and others (2016, 2017); for language models D. Ziegler and others (2019) and L. Ouyang and others (2022).
Advantages are usually whitened, scaled to mean zero and deviation one over the batch: then the rate need not know the
reward's unit. TRL averages (E1) over tokens, which weights long responses more; the value's loss is often clipped too,
the value and the policy share a body, and $\beta$ is steered towards a wanted divergence. For responses that get one
reward at their end, the value is the part that many give up: see `align.leave-one-out`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from fp_align.dpo import check_reference, descend
from fp_align.exact import Real, check_beta
from fp_align.kl import k3
from fp_align.preferences import Ids, padded, sample_responses, token_log_probabilities
from fp_align.reward import rows
from fp_autograd.rules import exp, where
from fp_autograd.tensor import no_grad
from fp_autograd.tracing import Operand, value_of
from fp_neural.layers import Linear
from fp_neural.module import Module
from fp_optim import AdamW
from fp_transformer.model import Transformer

__all__ = ["clipped_objective", "clipped_slope", "gae", "ValueModel", "PPO"]  # the order of the page

RewardOf = Callable[[Sequence[Ids], Sequence[Ids]], np.ndarray]
"""From prompts and their responses to a number for each."""


def clipped_objective(ratio: Operand, advantage: Float[np.ndarray, "*shape"], eps: Real) -> Any:
    """
    $L$ (E1), number by number, to be made large.

    Parameters
    ----------
    ratio
        Of the new probability to the old one.
    advantage
        Of the same shape; numbers.
    eps
        How far from one a gain counts, between 0 and 1.

    Returns
    -------
    ndarray or Tensor
        Of the same shape. At the kink its slope is the advantage, as in PyTorch.

    Raises
    ------
    ValueError
        If `eps` is out of range, or the shapes differ.

    Examples
    --------
    >>> clipped_objective(np.array([0.5, 1.5]), np.array([1.0, 1.0]), 0.2)
    array([0.5, 1.2])
    """
    beyond = _beyond(value_of(ratio), advantage, eps)
    kink = np.where(advantage > 0, 1 + eps, 1 - eps).astype(value_of(ratio).dtype)
    return where(beyond, kink, ratio) * advantage


def clipped_slope(
    ratio: Float[np.ndarray, "*shape"], advantage: Float[np.ndarray, "*shape"], eps: Real
) -> Float[np.ndarray, "*shape"]:
    """
    The slope of (E1) in the ratio, by the table of `align.ppo-clip`; at the kink, the advantage.

    Parameters
    ----------
    ratio, advantage, eps
        As for `clipped_objective`.

    Returns
    -------
    ndarray
        Of the same shape.

    Raises
    ------
    ValueError
        As for `clipped_objective`.
    """
    return np.where(_beyond(ratio, advantage, eps), 0.0, advantage)


def _beyond(ratio: np.ndarray, advantage: np.ndarray, eps: Real) -> np.ndarray:
    """Where the ratio has passed its kink."""
    if not 0 < eps < 1:
        raise ValueError(f"eps, how far from one a gain counts, lies between 0 and 1, got {eps}")
    if ratio.shape != advantage.shape:
        raise ValueError(f"each ratio has an advantage, got the shapes {ratio.shape} and {advantage.shape}")
    return np.where(advantage > 0, ratio > 1 + eps, (advantage < 0) & (ratio < 1 - eps))


def gae(
    rewards: Float[np.ndarray, "B T"], values: Float[np.ndarray, "B T"], gamma: Real = 1.0, lam: Real = 0.95
) -> Float[np.ndarray, "B T"]:
    """
    Advantages (E2), by the recursion of `align.gae` from the end.

    Parameters
    ----------
    rewards
        Of each token.
    values
        Of the state before each token. After the last column it is zero; where short responses are filled up, rewards
        and values are to be zero.
    gamma
        Discount, from 0 to 1.
    lam
        From 0 to 1.

    Returns
    -------
    ndarray
        Of the same shape.

    Raises
    ------
    ValueError
        If the shapes differ, or a factor is out of range.

    Examples
    --------
    >>> gae(np.array([[0.0, 1.0]]), np.array([[0.5, 0.5]]), gamma=1.0, lam=1.0)
    array([[0.5, 0.5]])
    """
    if rewards.shape != values.shape or rewards.ndim != 2:
        raise ValueError(f"each token has a reward and a value, got the shapes {rewards.shape} and {values.shape}")
    if not (0 <= gamma <= 1 and 0 <= lam <= 1):
        raise ValueError(f"gamma and lam lie between 0 and 1, got {gamma} and {lam}")
    out = np.empty_like(values)
    advantage, following = np.zeros(len(values)), np.zeros(len(values))
    for t in range(values.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * following - values[:, t]
        advantage = delta + gamma * lam * advantage
        out[:, t], following = advantage, values[:, t]
    return out


class ValueModel(Module):
    """
    A transformer that says at each token how much reward is still to come.

    Parameters
    ----------
    transformer
        The body, which is taken over and trained too; its output layer is not used.

    Attributes
    ----------
    transformer : Transformer
        As given.
    head : Linear
        From the stream to one number; begins at zero.

    Examples
    --------
    >>> from fp_transformer.config import TransformerConfig
    >>> config = TransformerConfig.gpt2(vocab_size=5, context_length=8, n_layers=1, n_heads=2, d_model=8)
    >>> ValueModel(Transformer(config, rng=np.random.default_rng(0)).eval())(np.array([[1, 2, 3]])).data
    array([[0., 0., 0.]], dtype=float32)
    """

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.transformer = transformer
        self.head = Linear(transformer.config.d_model, 1, rng=None, dtype=transformer.dtype)

    def forward(self, ids: Integer[np.ndarray, "B T"]) -> Any:
        """
        The value of the state that ends with each token.

        Parameters
        ----------
        ids
            Token ids.

        Returns
        -------
        Tensor
            Of shape (B, T).
        """
        return self.head(rows(self.transformer, ids)).reshape(ids.shape)


class PPO:
    """
    A trainer: policy, value, reference, reward, two optimizers.

    Parameters
    ----------
    policy
        A `Module` that returns logits when called with ids; a `Transformer` in eval mode. Its parameters are moved.
    value
        A `Module` that returns a number for each position when called with ids.
    reference
        Returns logits; it is only asked. Not the policy itself, which moves.
    reward
        Called with prompts and responses, it returns a number for each; the `scores` of a `RewardModel` fit.
    beta
        Price of a nat, positive.
    max_new_tokens
        The longest response.
    stop
        The token that ends a response.
    lr, value_lr
        Learning rates of policy and value.
    eps
        Of (E1).
    gamma, lam
        Of (E2).
    passes
        How often each batch is gone through.
    pieces
        Into how many steps a pass is cut.
    whiten
        Whether advantages are scaled to mean 0 and deviation 1; equal ones say nothing and become 0.
    max_norm
        Gradients are clipped to this global norm.

    Raises
    ------
    ValueError
        If a setting is out of range, or the reference is the policy.
    """

    def __init__(
        self,
        policy: Module,
        value: Module,
        reference: Any,
        reward: RewardOf,
        *,
        beta: Real = 0.1,
        max_new_tokens: int = 16,
        stop: int | None = None,
        lr: Real = 1e-4,
        value_lr: Real = 1e-3,
        eps: Real = 0.2,
        gamma: Real = 1.0,
        lam: Real = 0.95,
        passes: int = 4,
        pieces: int = 1,
        whiten: bool = True,
        max_norm: Real = 1.0,
    ) -> None:
        if passes < 1 or pieces < 1 or not 0 < eps < 1:
            raise ValueError(
                f"passes and pieces are at least 1 and eps lies between 0 and 1, got {passes}, {pieces} and {eps}"
            )
        check_reference(policy, reference)
        self.policy, self.value, self.reference, self.reward = policy, value, reference, reward
        self.beta, self.max_new_tokens, self.stop = check_beta(beta), max_new_tokens, stop
        self.eps, self.gamma, self.lam, self.whiten = eps, gamma, lam, whiten
        self.passes, self.pieces, self.max_norm = passes, pieces, float(max_norm)
        self.parts = []
        for model, rate in ((policy, lr), (value, value_lr)):
            parameters = {name: p for name, p in model.named_parameters().items() if p.requires_grad}
            numbers = {name: p.data for name, p in parameters.items()}
            self.parts.append((parameters, AdamW(numbers, lr=rate, weight_decay=0.0)))

    def step(self, prompts: Sequence[Ids], rng: np.random.Generator, lr: Real | None = None) -> dict[str, float]:
        """
        Draw a response to each prompt and learn from them.

        Parameters
        ----------
        prompts
            Token ids, none empty; one may occur several times.
        rng
            Source of randomness.
        lr
            The policy's rate in this step; the optimizer's if not given.

        Returns
        -------
        dict
            Of the batch as drawn: `reward`, `kl` in nats per response, `objective`, `length` in tokens. Of the last
            pass: `policy_loss`, `value_loss`, `clipped` (the share of tokens beyond their kink), `moved` (the
            divergence of the old policy from the new one in nats per token, by `k3`).

        Raises
        ------
        ValueError
            If the reward is not one finite number for each response.
        FloatingPointError
            If a gradient is not finite; that step is not taken.
        """
        responses = sample_responses(self.policy, prompts, self.max_new_tokens, rng, stop=self.stop)
        ids, whole = padded(prompts, responses)
        mask = whole[:, 1:]
        with no_grad():
            old = value_of(token_log_probabilities(self.policy, ids))
            apart = np.where(mask, old - value_of(token_log_probabilities(self.reference, ids)), 0.0)
            values = np.where(mask, value_of(self.value(ids[:, :-1])).reshape(mask.shape), 0.0)
        earned = np.asarray(self.reward(prompts, responses), np.float64)
        if earned.shape != (len(prompts),) or not np.isfinite(earned).all():
            raise ValueError(
                f"the reward returns a finite number for each of the {len(prompts)} responses, got the shape "
                f"{earned.shape}{'' if np.isfinite(earned).all() else ' with an infinity or a NaN'}"
            )
        rewards = -self.beta * apart
        rewards[np.arange(len(ids)), [len(x) + len(y) - 2 for x, y in zip(prompts, responses, strict=True)]] += earned
        advantages = gae(rewards, values, self.gamma, self.lam)
        targets = np.where(mask, advantages + values, 0.0)
        if self.whiten:
            chosen = advantages[mask]
            apart_from_mean, deviation = advantages - chosen.mean(), chosen.std()
            blur = 8 * np.finfo(chosen.dtype).eps * np.abs(chosen).max()  # of equal numbers: rounding, and no news
            advantages = apart_from_mean / deviation if deviation > blur else np.zeros_like(advantages)
        advantages = np.where(mask, advantages, 0.0)
        last: list[dict[str, float]] = []
        for _ in range(self.passes):
            last = [
                self._piece(ids[at], mask[at], old[at], advantages[at], targets[at], lr)
                for at in np.array_split(rng.permutation(len(ids)), self.pieces)
                if len(at)
            ]
        kl, reward = float(apart.sum(axis=1).mean()), float(earned.mean())
        drawn = {
            "reward": reward,
            "kl": kl,
            "objective": reward - self.beta * kl,
            "length": float(mask.sum() / len(ids)),
        }
        return drawn | {name: float(np.mean([piece[name] for piece in last])) for name in last[0]}

    def _piece(
        self,
        ids: np.ndarray,
        mask: np.ndarray,
        old: np.ndarray,
        advantages: np.ndarray,
        targets: np.ndarray,
        lr: Real | None,
    ) -> dict[str, float]:
        """One step of both models on some of the responses."""
        kind = old.dtype
        new = token_log_probabilities(self.policy, ids)
        ratio = exp(where(mask, new - old, np.zeros_like(old)))
        gain = clipped_objective(ratio, advantages.astype(kind), self.eps)
        policy_loss = -(gain * mask).sum() / len(ids)
        descend(policy_loss, *self.parts[0], self.max_norm, lr)
        error = where(mask, self.value(ids[:, :-1]).reshape(mask.shape) - targets.astype(kind), np.zeros_like(old))
        value_loss = 0.5 * (error * error).sum() / int(mask.sum())
        descend(value_loss, *self.parts[1], self.max_norm)
        beyond = _beyond(value_of(ratio), advantages.astype(kind), self.eps)
        return {
            "policy_loss": policy_loss.item(),
            "value_loss": value_loss.item(),
            "clipped": float(beyond[mask].mean()),
            "moved": float(k3(old, value_of(new))[mask].mean()),
        }
