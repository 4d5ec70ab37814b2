r"""
Which learning rate? Ask with a short run.

The rate is the setting that matters most, and it depends on everything else. L. Smith's test costs a hundred steps:
train with a rate that rises from tiny to absurd, and see where the loss falls, and where it explodes. What does the
place where it turns say about the rates that a long run can stand?

You need: `dynamics.step-stability`, `optim.quadratic-descent`; smoothing and its lag (`fp_dynamics.history`).

## What the turning point proves

**Claim** `dynamics.range-test`. Let $f(x) = \frac12 (x - x^\star) \cdot S (x - x^\star)$ with a positive semidefinite
$S$ whose largest eigenvalue is $L > 0$, and let gradient descent take steps with the rates
$0 < \eta_0 < \eta_1 < \dots$ As long as $\eta_k < \frac2L$, the loss does not rise. So if step $k$ is the first to
raise it, $\eta_k > \frac2L$: the largest rate that a run can stand is below that of the first rise. In one dimension,
from $x_0 \ne x^\star$ and with $\eta_k L \ne 1$ for all $k$, step $k$ raises the loss exactly if
$\eta_k > \frac2L$.

**Proof.** By (E8) of `fp_optim.descent` (`optim.quadratic-descent`) a step with the rate $\eta$ multiplies each term
$\frac12 \lambda_i c_i^2$ of $f$ by $(1 - \eta \lambda_i)^2$. For $0 \le \eta \lambda_i \le \eta L < 2$, and for
$\eta L = 2$, this is at most one: no term grows. If some term grows, $\eta \lambda_i > 2$ for some $i$, and so
$\eta L > 2$. In one dimension there is one term; it is not zero, because no factor so far was, and it grows exactly if
$(1 - \eta L)^2 > 1$. $\blacksquare$

In many dimensions the rise comes late, for two reasons. By then the steep directions have been minimized, so that
little is left to grow (the noise of batches keeps some of it alive); and the smoothed loss lags behind the loss.

>>> curvatures, x, loss = np.array([10.0, 1.0, 0.1]), np.array([0.1, 1.0, 3.0]), []
>>> rates = 0.01 * 1.2 ** np.arange(40)
>>> for rate in rates:
...     loss.append(float(0.5 * (curvatures * x * x).sum()))
...     x = x - rate * curvatures * x
>>> first = int(np.flatnonzero(np.diff(loss) > 0)[0])
>>> float(2 / curvatures[0]), round(float(rates[first]), 3)  # the limit, and the rate that first raises the loss
(0.2, 1.145)

Hence the two corrections of `lr_range_test`. With the decay $\beta$ the smoothed curve shows what happened
$\frac{\beta}{1 - \beta}$ steps before (`dynamics.smoothing-lag`), so its lowest point is moved back by as many. And
what it then says is a limit that is too high: the **suggestion** is a quarter of it, a rule of thumb.

>>> from fp_transformer import Transformer, TransformerConfig
>>> config = TransformerConfig.llama(vocab_size=11, context_length=8, n_layers=1, n_heads=2, d_model=16)
>>> model, draw = Transformer(config, rng=np.random.default_rng(0)), np.random.default_rng(1)
>>> def batch():  # texts that count upwards, modulo eleven
...     rows = (draw.integers(0, 11, (8, 1)) + np.arange(9)) % 11
...     return rows[:, :-1], rows[:, 1:]
>>> found = lr_range_test(model, batch, n_steps=40)
>>> 1e-3 < found.suggestion < found.limit < 1
True

## In practice

A rate that is right at first may be too high later, or too low; warmup and decay are for that (`fp_optim.schedules`).
AdamW's averages are empty at first, so a test that starts at a harmless rate is fairer than a few steps at a high one.
The test says nothing about small differences: for those, compare runs at equal steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fp_dynamics.history import smooth
from fp_dynamics.recorder import named_arrays
from fp_dynamics.sanity import finite_or_nan, weights_kept
from fp_optim.adaptive import AdamW

__all__ = ["lr_range_test", "RangeTest"]  # the order of the page

SAFETY = 4.0


class RangeTest(NamedTuple):
    """What `lr_range_test` found."""

    rates: Float[np.ndarray, " K"]
    """Of the steps that were taken."""
    losses: Float[np.ndarray, " K"]
    """In front of each step, of its own batch, in nats per token."""
    smoothed: Float[np.ndarray, " K"]
    """The same, smoothed."""
    limit: float
    """The rate at which the loss was lowest, the lag taken off: a long run stands less."""
    suggestion: float
    """A quarter of the limit."""


def lr_range_test(
    model: Any,
    batches: Callable[[], tuple[np.ndarray, np.ndarray]],
    *,
    low: float | int = 1e-5,
    high: float | int = 1.0,
    n_steps: int = 100,
    decay: float | int = 0.8,
    blow_up: float | int = 1.5,
    optimizer: Any = None,
) -> RangeTest:
    """
    Find the rates that a model can be trained with, from one short run; then put the weights back.

    Parameters
    ----------
    model
        As for `loss_and_gradients`.
    batches
        Gives a batch at each call: ids, and the tokens that came next.
    low, high
        The first rate and the last; between them they rise in equal ratios.
    n_steps
        How many.
    decay
        Of the smoothing.
    blow_up
        The run ends when the smoothed loss is so many times the first one, or when it is no longer a number.
    optimizer
        Anything with `step(grads, lr=…)` that moves the model's arrays; AdamW without decay if not given. It has taken
        the steps afterwards, so do not train on with it.

    Returns
    -------
    RangeTest
        With a suggestion.

    Raises
    ------
    ValueError
        If the rates do not rise, there are fewer than two steps, or the loss never fell: `low` was too high, or the
        model does not learn at all.
    """
    if not (0 < low < high and n_steps >= 2 and blow_up > 1):
        raise ValueError(
            "rates rise from low to high, in at least 2 steps, until the loss is blow_up > 1 times the first; got "
            f"low={low}, high={high}, n_steps={n_steps}, blow_up={blow_up}"
        )
    arrays = named_arrays(model)
    rates = low * (high / low) ** (np.arange(n_steps) / (n_steps - 1))
    losses: list[float] = []
    with weights_kept(arrays), np.errstate(all="ignore"):
        optimizer = AdamW(arrays, lr=low, betas=(0.9, 0.95), weight_decay=0.0) if optimizer is None else optimizer
        for rate in rates.tolist():
            loss, grads = finite_or_nan(model, *batches())
            finite = all(np.isfinite(g).all() for g in grads.values())
            if not (np.isfinite(loss) and finite):
                break
            losses.append(loss)
            if smooth(np.array(losses), decay)[-1] > blow_up * losses[0]:
                break
            optimizer.step({name: grads.get(name, np.zeros_like(a)) for name, a in arrays.items()}, lr=rate)
    record = np.array(losses)
    smoothed = smooth(record, decay)
    lowest = int(np.argmin(smoothed)) if losses else 0
    if lowest == 0:
        raise ValueError(
            f"the loss never fell on the way from {low:g}: begin lower, or see whether the model can learn one batch "
            "(overfit_one_batch)"
        )
    lag = decay / (1 - decay)  # (E2) of fp_dynamics.history, in steps; each is a ratio of rates
    limit = max(float(low), float(rates[lowest]) * (high / low) ** (-lag / (n_steps - 1)))
    return RangeTest(rates[: len(losses)], record, smoothed, limit, limit / SAFETY)
