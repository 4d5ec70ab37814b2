r"""
Training: the plain gradient step, and the loop around it.

A gradient says how the loss changes if a parameter changes a little. Going against it, a little, is the oldest way of
making the loss smaller (A.-L. Cauchy, 1847), and it is all that this chapter uses. What does it promise, what can spoil
it, and what does a loop around it have to watch?

You need: `fp_neural.module`, `fp_neural.batches`, `fp_autograd.linear_algebra`.

## The step

Let $f$ be the loss as a function of all parameters $w$, and $g = \nabla f(w)$. The step with **rate** $\eta$ is

$$w \leftarrow w - \eta\, g. \qquad \text{(E1)}$$

**Claim** `neural.descent`. If $f$ is differentiable at $w$ and $g \ne 0$, there is an $\eta_0 > 0$ such that for all
$0 < \eta \le \eta_0$

$$f(w - \eta g) \le f(w) - \tfrac12 \eta\, |g|^2.$$

**Proof.** $f(w - \eta g) = f(w) - \eta\, g \cdot g + o(\eta)$, since the change $-\eta g$ has length $\eta |g|$
(`autograd.linear-approximation`, for several variables as in `fp_autograd.linear_algebra`). An error $o(\eta)$ is at
most $\frac12 |g|^2\, \eta$ in size for all small enough $\eta > 0$, as $\frac12 |g|^2 > 0$. $\blacksquare$

Nothing is said of how small. Stage 4 says it, from how fast the gradient itself changes:

**Claim** `neural.parabola-rate`. For $f(w) = \frac12 c\, w^2$ in one variable with $c > 0$, the step (E1) multiplies
$w$ by $1 - \eta c$. From $w \ne 0$ it converges to the minimum if and only if $0 < \eta < \frac2c$, and reaches it in
one step for $\eta = \frac1c$.

**Proof.** The slope is $c w$, so $w \leftarrow w - \eta c w$. After $n$ steps $w$ has been multiplied by
$(1 - \eta c)^n$, which tends to $0$ if and only if $|1 - \eta c| < 1$, that is $0 < \eta c < 2$. $\blacksquare$

With a batch in place of all the data, $g$ is a random vector whose mean is the gradient and whose variance falls with
the size of the batch (`fp_neural.batches`). The step then goes down on average only, and a rate that falls towards the
end averages over more batches.

## Clipping

Where the loss is steep, $\eta g$ may be a leap, and (E1) a step to somewhere else. **Clipping** bounds its length: with
a largest norm $m$,

$$g \leftarrow g \cdot \min \Big( 1, \frac{m}{|g|} \Big), \qquad |g|^2 = \sum_{\text{parameters}} \; \sum_i g_i^2.
\qquad \text{(E2)}$$

**Claim** `neural.clipping`. For $g \ne 0$ the clipped gradient is the nearest vector to $g$ of length at most $m$, and
a step along it is a descent step with the rate $\eta \min (1, m / |g|)$, no longer than $\eta m$.

**Proof.** If $|g| \le m$ it is $g$ itself. Else let $|v| \le m$. By `autograd.cauchy-schwarz`

$$|g - v|^2 = |g|^2 - 2\, g \cdot v + |v|^2 \ge |g|^2 - 2\, |g|\, |v| + |v|^2 = (|g| - |v|)^2 \ge (|g| - m)^2.$$

Equality in the first step means that $g \cdot v = |g|\, |v|$, so that $v = s g$ with $s \ge 0$, and in the second that
$|v| = m$: both hold for $v = \frac{m}{|g|} g$ and for no other. The rest is (E1) with (E2), whose step has length
$\eta\, |v| \le \eta m$. $\blacksquare$

The norm is taken over all parameters at once, so that their gradients keep their proportions.

## What the loop watches

A loss that is NaN or infinite never recovers, and all later numbers are lost with it: `train` stops there, before the
step, and says where it happened. And the loss on the batches falls even if the model only learns them by heart. So
`train` also measures the loss on text held out, in use and not in training, since that is the number that counts.

## In practice

Nobody trains language models with the plain step: the curvature differs by orders of magnitude between parameters, and
one rate has to serve the steepest. Momentum, Adam and schedules are stage 4, which moves the same parameters. Clipping
by the norm is universal (R. Pascanu, T. Mikolov and Y. Bengio, 2013). `train` takes any `step`, so theirs fit in.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fp_autograd.tensor import no_grad
from fp_neural.module import Module, Parameter

__all__ = ["gradient_step", "gradient_norm", "clip_norm", "train", "History"]  # the order of the page


def gradient_step(parameters: Iterable[Parameter], rate: float | int) -> None:
    """
    Move each parameter against its gradient (E1); those without one stay.

    Parameters
    ----------
    parameters
        What to move, in place.
    rate
        The rate $\\eta$, zero or more.

    Raises
    ------
    ValueError
        If the rate is negative or not finite.

    Examples
    --------
    >>> w = Parameter([3.0])
    >>> (w * w).sum().backward()
    >>> gradient_step([w], 0.5)
    >>> w.data
    array([0.])
    """
    if not 0 <= rate < math.inf:
        raise ValueError(f"the rate must be zero or more and finite, got {rate}")
    with no_grad():
        for p in parameters:
            if p.grad is not None:
                p -= p.grad * p.dtype.type(rate)


def gradient_norm(parameters: Mapping[str, Parameter]) -> float:
    """
    The length of the gradient of all parameters together.

    Parameters
    ----------
    parameters
        By name; those without a gradient do not count.

    Returns
    -------
    float
        Of double precision, whatever that of the parameters.

    Raises
    ------
    FloatingPointError
        If a gradient is not finite; it names the parameter.
    """
    total = 0.0
    for name, p in parameters.items():
        if p.grad is not None:
            g = p.grad.ravel()
            with np.errstate(over="ignore", invalid="ignore"):
                square = float(g @ g)
                if not math.isfinite(square) and g.dtype != np.float64:
                    square = float(np.square(g, dtype=np.float64).sum())  # the type of g may be too narrow for it
            if not math.isfinite(square):
                raise FloatingPointError(
                    f"the gradient of {name} is not finite. fp_autograd.debugging.anomaly names the operation that "
                    "made it so."
                )
            total += square
    return math.sqrt(total)


def clip_norm(parameters: Mapping[str, Parameter], max_norm: float | int) -> float:
    """
    Shorten the gradient of all parameters together to `max_norm`, if it is longer (E2).

    Parameters
    ----------
    parameters
        By name, as `Module.named_parameters` gives them.
    max_norm
        The largest length, above zero.

    Returns
    -------
    float
        The length before.

    Raises
    ------
    ValueError
        If `max_norm` is not above zero.
    FloatingPointError
        If a gradient is not finite; it names the parameter.

    Examples
    --------
    >>> w = Parameter([3.0, 4.0])
    >>> (w * w).sum().backward()
    >>> clip_norm({"w": w}, 1.0)
    10.0
    >>> w.grad
    array([0.6, 0.8])
    """
    if not max_norm > 0:
        raise ValueError(f"the largest norm must be above zero, got {max_norm}")
    norm = gradient_norm(parameters)
    if norm > max_norm:
        for p in parameters.values():
            if p.grad is not None:
                p.grad *= p.dtype.type(max_norm / norm)
    return norm


@dataclass
class History:
    """
    What happened in training.

    Attributes
    ----------
    losses : list of float
        The loss of each step's batch, before the step.
    norms : list of float
        The length of each step's gradient, before clipping.
    held_out : list of (int, float)
        The number of steps done, and then the loss on text held out.
    seconds : float
        In all, measuring held-out text included.
    """

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0


def train(
    model: Module,
    loss: Callable[..., Any],
    batches: Iterable[tuple[Any, ...]],
    *,
    rate: float | int | Callable[[int], float],
    max_norm: float | int | None = None,
    held_out: Callable[[], float] | None = None,
    every: int = 1000,
    step: Callable[[Iterable[Parameter], float], None] = gradient_step,
) -> History:
    """
    Take a step for each batch.

    Parameters
    ----------
    model
        Whose parameters are trained. It is in training while a batch is computed, and in use while `held_out` is.
    loss
        Called with what a batch holds; returns the loss as a tensor of one number.
    batches
        As many as there shall be steps.
    rate
        One rate for all steps, or a function of the step's number, which counts from 0.
    max_norm
        Clip gradients to this length.
    held_out
        Called after every `every` steps and at the end; returns the loss on text held out.
    every
        How many steps lie between two such measurements.
    step
        Moves parameters, given them and a rate.

    Returns
    -------
    History
        The losses.

    Raises
    ------
    FloatingPointError
        If a loss or a gradient is not finite. The parameters are as before that step.
    ValueError
        If there is no batch or nothing to train, or `every` is below one.

    Examples
    --------
    A line through three points:

    >>> from fp_neural.layers import Linear
    >>> from fp_neural.losses import mse
    >>> line = Linear(1, 1, rng=np.random.default_rng(0), dtype=np.float64)
    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> history = train(line, lambda x, y: mse(line(x), y), [(x, 3 * x - 1)] * 200, rate=0.2)
    >>> np.round([line.weight.item(), line.bias.item()], 6).tolist()
    [3.0, -1.0]
    """
    if every < 1:
        raise ValueError(f"every must be one or more, got {every}")
    history, start = History(), time.perf_counter()
    parameters = model.named_parameters()
    if not any(p.requires_grad for p in parameters.values()):
        raise ValueError(
            f"{type(model).__name__} has nothing to train: of its {len(parameters)} parameters none requires a "
            "gradient. Frozen ones come back with unfreeze()."
        )
    n_done = 0

    def measure() -> None:
        if held_out is not None and (not history.held_out or history.held_out[-1][0] != n_done):
            model.eval()
            history.held_out.append((n_done, held_out()))

    for batch in batches:
        model.train()
        model.zero_grad()
        value = loss(*batch)
        if not math.isfinite(number := value.item()):
            raise FloatingPointError(
                f"the loss of batch {n_done} is {number}. A rate that is too large is the usual cause: lower it, clip "
                "the gradient by max_norm, or look for the operation with fp_autograd.debugging.anomaly."
            )
        value.backward()
        norm = gradient_norm(parameters) if max_norm is None else clip_norm(parameters, max_norm)
        step(parameters.values(), rate(n_done) if callable(rate) else rate)
        history.losses.append(number)
        history.norms.append(norm)
        n_done += 1
        if n_done % every == 0:
            measure()
    if not n_done:
        raise ValueError("there is no batch to train on")
    measure()
    history.seconds = time.perf_counter() - start
    return history
