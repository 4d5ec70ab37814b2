r"""
Supervised fine-tuning: first show the model how answers look.

A pretrained model continues text; asked something, it may as well ask something else. Before anybody can prefer one of
its answers to another it has to answer at all. So one shows it demonstrations, prompts with responses, and goes on
training as before, with one change: only the responses count. What does a model become that way, at best?

You need: `fp_align.preferences`, `markov.gibbs`, `fp_optim.adaptive`, `fp_optim.clipping`.

## What is minimised

With $N$ tokens in the responses of a batch, the loss is the mean over these tokens of what they cost,

$$
\ell = -\frac1N \sum_i \ln \pi(y_i \mid x_i), \qquad \text{(E1)}
$$

each $\ln \pi(y \mid x)$ the masked sum (E1) of `fp_align.preferences`. The prompt is read, not learned: its tokens are
asked, not answered, and in use somebody else writes them. The stop token belongs to the response, or the model never
learns to end.

## What it becomes

Let demonstrators answer $x$ with probabilities $q(y \mid x)$, and draw prompts from $d$.

**Claim** `align.imitation`. For every policy $\pi$ that gives a positive probability to whatever the demonstrators may
say,

$$
-\sum_x d(x) \sum_y q(y \mid x) \ln \pi(y \mid x) = H(q) + \sum_x d(x)\, D(q \,\|\, \pi), \qquad
H(q) = -\sum_x d(x) \sum_y q(y \mid x) \ln q(y \mid x),
$$

the divergence taken at each $x$. So the expected loss of a response is smallest for $\pi = q$, and for no other
policy on prompts that occur.

**Proof.** At each $x$ write $\ln \pi = \ln q - \ln \frac{q}{\pi}$ where $q > 0$, multiply by $-q$ and sum: the first
part is the entropy, the second $D(q \,\|\, \pi)$. Average over $d$. $H(q)$ does not depend on $\pi$, and by
`markov.gibbs` each divergence is at least $0$, and $0$ only for $\pi = q$. $\blacksquare$

So the best that demonstrations can give is a model that answers like the demonstrators: like the good ones and the
bad ones, in the proportion in which they spoke. If one answer in three is finished, one in three will be. That is why
this is the first step and not the last; and why a hundred good demonstrations can be worth more than ten thousand
mixed ones.

(E1) divides by tokens, so long responses weigh more than short ones. Divided by responses, each would weigh the same,
and the gradient of a batch would depend on how long its responses happen to be.

>>> import numpy as np
>>> from fp_transformer import Transformer, TransformerConfig
>>> config = TransformerConfig.llama(vocab_size=9, context_length=8, n_layers=1, n_heads=2, d_model=16)
>>> model = Transformer(config, rng=np.random.default_rng(0))
>>> shown = [([1], [5, 0]), ([2], [6, 0]), ([3], [7, 7, 0])]
>>> losses = fine_tune(model, shown, n_steps=60, lr=0.02, batch_size=3, rng=np.random.default_rng(0))
>>> bool(losses[-1] < 0.05 < 1 < losses[0])
True
>>> from fp_align.preferences import sample_responses
>>> sample_responses(model, [[3]], 4, np.random.default_rng(0), stop=0)
[[7, 7, 0]]

## In practice

Chat models are fine-tuned on whole conversations, every answer of the assistant counted and everything else masked;
`fp_peft` does the same with few trained numbers. Packing several demonstrations into one window saves padding and
needs a mask between them. Two or three passes over the data are usual; with more the model learns them by heart and
its answers lose variety, which the next steps need. Zhou and others, *LIMA* (arXiv 2305.11206), for how few
demonstrations can do.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fp_align.dpo import descend
from fp_align.preferences import padded, sequence_log_probabilities
from fp_optim.adaptive import AdamW
from fp_optim.schedules import warmup_linear

__all__ = ["sft_loss", "fine_tune", "batches", "minimise"]

Demonstration = tuple[Sequence[int], Sequence[int]]


def sft_loss(model: Any, demonstrations: Sequence[Demonstration]) -> Any:
    """
    The loss (E1) of a batch, in nats per token of a response.

    Parameters
    ----------
    model
        Called with ids, it returns logits of shape (B, T, V).
    demonstrations
        Prompt and response, as token ids.

    Returns
    -------
    Tensor
        One number.

    Raises
    ------
    ValueError
        If there are none, or a prompt or a response is empty.

    Examples
    --------
    >>> even = lambda ids: np.zeros((*ids.shape, 5))
    >>> sft_loss(even, [([1, 2], [3]), ([1], [2, 3, 4])]).round(4), np.log(5).round(4)
    (np.float64(1.6094), np.float64(1.6094))
    """
    ids, mask = padded([x for x, _ in demonstrations], [y for _, y in demonstrations])
    return sequence_log_probabilities(model, ids, mask).sum() * (-1.0 / int(mask.sum()))


def fine_tune(
    model: Any,
    demonstrations: Sequence[Demonstration],
    *,
    n_steps: int,
    lr: float | int,
    batch_size: int,
    rng: np.random.Generator,
    report: Callable[[int, float], None] | None = None,
) -> list[float]:
    """
    Train a model on demonstrations, in place, and leave it in eval mode.

    Parameters
    ----------
    model
        A `Transformer`, or any module that returns logits.
    demonstrations
        Prompt and response, as token ids.
    n_steps
        Steps of AdamW.
    lr
        Peak rate; it rises over the first tenth of the steps and falls to zero.
    batch_size
        Demonstrations a step.
    rng
        Their order.
    report
        Called after each step with its number, from 1, and its loss.

    Returns
    -------
    list of float
        The loss of each batch before its step, in nats per token.

    Raises
    ------
    ValueError
        If a number is out of range, or there are no demonstrations.
    FloatingPointError
        If the loss is not finite.
    """
    chosen = batches(demonstrations, n_steps, batch_size, rng)
    model.train()
    try:
        return minimise(model, (sft_loss(model, batch) for batch in chosen), n_steps=n_steps, lr=lr, report=report)
    finally:
        model.eval()


def batches(items: Sequence[Any], n_steps: int, batch_size: int, rng: np.random.Generator) -> Iterator[list[Any]]:
    """
    A batch for each step: all items in random order, then again in another.

    Parameters
    ----------
    items
        What there is.
    n_steps, batch_size
        How many batches, and of how many items; fewer if there are not as many.
    rng
        Source of randomness.

    Returns
    -------
    iterator of list
        Arguments are checked at the call.

    Raises
    ------
    ValueError
        If there are no items, or a number is below 1.

    Examples
    --------
    >>> [sorted(batch) for batch in batches("abcd", 3, 2, np.random.default_rng(0))]
    [['a', 'c'], ['b', 'd'], ['c', 'd']]
    """
    if not len(items) or n_steps < 1 or batch_size < 1:
        raise ValueError(
            f"training takes examples, steps and a batch size, each at least 1; got {len(items)} examples, "
            f"n_steps={n_steps}, batch_size={batch_size}"
        )
    return _batches(items, n_steps, min(batch_size, len(items)), rng)


def _batches(items: Sequence[Any], n_steps: int, size: int, rng: np.random.Generator) -> Iterator[list[Any]]:
    order: list[int] = []
    for _ in range(n_steps):
        while len(order) < size:
            order = order + rng.permutation(len(items)).tolist()
        yield [items[i] for i in order[:size]]
        order = order[size:]


def minimise(
    model: Any,
    losses: Iterator[Any],
    *,
    n_steps: int,
    lr: float | int,
    report: Callable[[int, float], None] | None = None,
) -> list[float]:
    """
    Take one step of AdamW for each loss, with a warmup, a falling rate, and gradients clipped to norm 1.

    Parameters
    ----------
    model
        The module whose trainable parameters move.
    losses
        Each is computed when it is asked for, that is, after the step before.
    n_steps
        How many there are.
    lr
        Peak rate; it rises over the first tenth of the steps and falls to zero.
    report
        Called after each step with its number, from 1, and its loss.

    Returns
    -------
    list of float
        The losses.

    Raises
    ------
    FloatingPointError
        If a loss is not finite.
    """
    parameters = {name: p for name, p in model.named_parameters().items() if p.requires_grad}
    optimizer = AdamW({name: p.data for name, p in parameters.items()}, lr=lr, betas=(0.9, 0.99), weight_decay=0.0)
    found: list[float] = []
    for step, loss in enumerate(losses):
        value = float(loss.item())
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value} after {step} steps: lower the learning rate, {lr}")
        rate = warmup_linear(step, n_steps=n_steps, warmup=max(1, n_steps // 10), peak=lr)
        descend(loss, parameters, optimizer, 1.0, rate)
        found.append(value)
        if report is not None:
            report(step + 1, value)
    return found
