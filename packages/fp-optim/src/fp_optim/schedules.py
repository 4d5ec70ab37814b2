r"""
Schedules: how fast to learn, and when.

The learning rate is the one number that decides most training runs, and no single value is right throughout. At the
start the optimizer knows the size of no gradient yet and moves every coordinate by nearly the full rate
(`optim.adam-first-step`), so the rate rises from small: *warmup*. At the end a large rate keeps the parameters jumping
about their goal, so it falls: *decay*. A schedule here is a pure function of the step; nothing is stored, and a
resumed run asks for the step at which it continues.

## One function of the steps taken

Let a run have $n$ steps, $k = 0, \dots, n - 1$, of which the first $w$ are warmup, a peak $P$ and a floor $Q$,
$0 \le Q \le P$. Off by one is the usual mistake here: a first step at rate $0$ changes nothing, a first step at the
full rate is what warmup exists to avoid. So step $k$ is given the value at $x = k + 1$ of

$$
f(x) = \begin{cases}
P\, x / w & \text{if } 0 \le x \le w, \\
Q + (P - Q)\, h\!\left( \frac{x - w}{n + 1 - w} \right) & \text{if } w \le x \le n + 1,
\end{cases} \qquad \text{(E1)}
$$

where $h$ falls from $h(0) = 1$ to $h(1) = 0$: $h(u) = \frac12 (1 + \cos \pi u)$ for the cosine, $h(u) = 1 - u$ for the
line. The two ends, $f(0)$ and $f(n + 1) = Q$, belong to no step: one lies before the first, the other after the last.
If $w = 0$, the first line of (E1) is absent; if $w = n$, the second is never used.

**Claim** `optim.schedule-ends`. If $w \ge 1$, the first step has the rate $P / w$ and step $w - 1$ has the rate $P$.
If $w < n$, the last step has $Q + (P - Q)\, h\big(1 - \frac{1}{n + 1 - w}\big)$, which lies above $Q$ if $P > Q$. No
step has the rate 0 if $P > 0$.

**Proof.** $f(1) = P / w$ and $f(w) = P$ by the first line of (E1). For the last step $x = n$, and
$\frac{n - w}{n + 1 - w} = 1 - \frac{1}{n + 1 - w} < 1$. Both $h$ are positive below $1$ (the cosine exceeds $-1$ on
$[0, \pi)$), so after warmup the rate is above $Q$ if $P > Q$, and equal to $P$ if $P = Q$. During warmup it is
$P x / w$ with $x \ge 1$. $\blacksquare$

**Claim** `optim.schedule-joint`. $f$ is continuous, and two successive steps differ by at most
$\max\big( P / w,\ \frac{\pi}{2} \cdot \frac{P - Q}{n + 1 - w} \big)$ for the cosine, and the same without $\pi / 2$
for the line (without the first term if $w = 0$, without the second if $w = n$).

**Proof.** At $x = w$ the first line gives $P$ and the second $Q + (P - Q)\, h(0) = P$; elsewhere both are continuous.
The slope of the first line is $P / w$. Those of the second are at most $(P - Q) / (n + 1 - w)$ times the largest
$|h'|$: $1$ for the line, and $|h'(u)| = \frac{\pi}{2} |\sin \pi u| \le \frac{\pi}{2}$ for the cosine. Steps are one
unit of $x$ apart and the joint $x = w$ is a whole number, so both lie on one piece, and by the mean value theorem they
differ by at most its largest slope. $\blacksquare$

**Claim** `optim.schedule-area`. If $w < n$, the mean rate over the steps after warmup is $\frac12 (P + Q)$, for both
shapes.

**Proof.** Let $d = n + 1 - w$. These steps have $u = j / d$, $j = 1, \dots, d - 1$. For both shapes
$h(u) + h(1 - u) = 1$: $\cos \pi (1 - u) = -\cos \pi u$, and $(1 - u) + u = 1$. The set of the $u$ is symmetric under
$u \to 1 - u$, so the mean of $h$ is $\frac12$. $\blacksquare$

The cosine falls faster than the line in the middle, and stays longer near the peak and near the floor.

## In practice

A floor of a tenth of the peak is common; so is warming up for about a hundredth of the run. Schedules with a constant
middle part can be prolonged without having known $n$. These, one-cycle, restarts, and the finder of a good peak come in
later versions of this package.

References: Loshchilov and Hutter, *SGDR* (arXiv 1608.03983); Goyal et al. on warmup (arXiv 1706.02677).
"""

import math
from collections.abc import Callable

__all__ = ["warmup_cosine", "warmup_linear"]


def warmup_cosine(step: int, *, n_steps: int, warmup: int, peak: float = 1.0, floor: float = 0.0) -> float:
    """
    The rate of a step: up along a line, down along half a cosine (E1).

    Parameters
    ----------
    step
        In `[0, n_steps)`; the first is 0.
    n_steps
        Steps of the run.
    warmup
        Steps of warmup, in `[0, n_steps]`.
    peak
        The rate at the end of warmup.
    floor
        The rate that the decay approaches, in `[0, peak]`.

    Raises
    ------
    ValueError
        If the step lies outside the run, or the numbers do not fit together.

    Examples
    --------
    >>> [round(warmup_cosine(k, n_steps=7, warmup=4, peak=8.0), 2) for k in range(7)]
    [2.0, 4.0, 6.0, 8.0, 6.83, 4.0, 1.17]
    """
    return _rate(step, n_steps, warmup, peak, floor, lambda u: 0.5 * (1 + math.cos(math.pi * u)))


def warmup_linear(step: int, *, n_steps: int, warmup: int, peak: float = 1.0, floor: float = 0.0) -> float:
    """
    The rate of a step: up along a line, down along another (E1). Parameters and errors are those of `warmup_cosine`.

    Examples
    --------
    >>> [warmup_linear(k, n_steps=7, warmup=4, peak=8.0) for k in range(7)]
    [2.0, 4.0, 6.0, 8.0, 6.0, 4.0, 2.0]
    """
    return _rate(step, n_steps, warmup, peak, floor, lambda u: 1 - u)


def _rate(step: int, n_steps: int, warmup: int, peak: float, floor: float, h: Callable[[float], float]) -> float:
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}")
    if not 0 <= warmup <= n_steps:
        raise ValueError(f"warmup must lie in [0, n_steps] = [0, {n_steps}], got {warmup}")
    if not (0 <= floor <= peak and math.isfinite(peak)):
        raise ValueError(f"the rates must satisfy 0 <= floor <= peak < infinity, got floor={floor}, peak={peak}")
    if not 0 <= step < n_steps:
        raise ValueError(
            f"step must lie in [0, n_steps) = [0, {n_steps}), got {step}; a longer run needs a larger n_steps"
        )
    x = step + 1
    if x <= warmup:
        return peak * (x / warmup)  # in this order, so that the last one is the peak to the bit
    return floor + (peak - floor) * h((x - warmup) / (n_steps + 1 - warmup))
