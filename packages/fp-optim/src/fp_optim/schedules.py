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
unit of $x$ apart and the joint $x = w$ is a whole number, so both lie on one piece, and by `markov.slope-bound` they
differ by at most its largest slope. $\blacksquare$

**Claim** `optim.schedule-area`. If $w < n$, the mean rate over the steps after warmup is $\frac12 (P + Q)$, for both
shapes.

**Proof.** Let $d = n + 1 - w$. These steps have $u = j / d$, $j = 1, \dots, d - 1$. For both shapes
$h(u) + h(1 - u) = 1$: $\cos \pi (1 - u) = -\cos \pi u$, and $(1 - u) + u = 1$. The set of the $u$ is symmetric under
$u \to 1 - u$, so the mean of $h$ is $\frac12$. $\blacksquare$

The cosine falls faster than the line in the middle, and stays longer near the peak and near the floor.

## A constant middle

A decay that begins with warmup's end must know $n$ from the start. **Warmup, stable, decay** puts it off: constant at
the peak, and only the last $d$ steps fall, $w + d \le n$. With $h$ as above, or $h(u) = 1 - \sqrt u$, which falls
faster first,

$$
f(x) = \begin{cases}
P\, x / w & \text{if } 0 \le x \le w, \\
P & \text{if } w \le x \le n - d, \\
Q + (P - Q)\, h\!\left( \frac{x - (n - d)}{d + 1} \right) & \text{if } n - d \le x \le n + 1,
\end{cases} \qquad \text{(E2)}
$$

where step $k$ again has the value at $x = k + 1$. With $d = 0$ it is a constant rate after warmup.

**Claim** `optim.wsd-ends`. If $w \ge 1$, the first step has the rate $P / w$. Steps $w - 1$ (or $0$, if $w = 0$) to
$n - d - 1$ have the rate $P$. If $d \ge 1$, the last step has $Q + (P - Q)\, h\big( \frac{d}{d + 1} \big)$, above $Q$
if $P > Q$. No step has the rate 0 if $P > 0$. With $d = n - w$, (E2) is (E1) with the same $h$.

**Proof.** $f(1) = P / w$; steps $w - 1, \dots, n - d - 1$ are $x = w, \dots, n - d$, in the second line (or at its
left end in the first, which also gives $P$). The last step is $x = n$, where the argument of $h$ is
$\frac{d}{d + 1} < 1$, and every $h$ here is positive below $1$. During decay the rate is therefore above $Q \ge 0$, or
equal to $P$ if $P = Q$; during warmup it is $P x / w$ with $x \ge 1$. If $n - d = w$, the second line is one point,
and the third is the second line of (E1), as $d + 1 = n + 1 - w$. $\blacksquare$

**Claim** `optim.wsd-prolong`. Two runs of $n \le n'$ steps with the same $w$, $d$, $P$ have the same rates in the
steps $k < n - d$.

**Proof.** They have $x = k + 1 \le n - d \le n' - d$, so both are in the first two lines of (E2), where $n$ does not
occur. $\blacksquare$

So what was saved after $n - d$ steps can be finished in $d$ more, or carried on as if a longer run had been meant all
along.

## Stairs

The oldest decay multiplies the rate by $0 < \gamma \le 1$ after every $e$ steps:

$$r_k = P\, \gamma^{\lfloor k / e \rfloor}. \qquad \text{(E3)}$$

**Claim** `optim.stairs`. The first $e$ steps have the rate $P$, the last of $n$ has $P \gamma^{\lceil n / e \rceil -
1}$. For $\gamma < 1$, $P \gamma^{k / e} \le r_k < P \gamma^{k / e - 1}$, and however long the run, its rates sum to
less than $e P / (1 - \gamma)$ if $P > 0$.

**Proof.** Let $n = q e + r$ with $0 < r \le e$, so that $\lceil n / e \rceil = q + 1$; and
$n - 1 = q e + (r - 1)$ with $0 \le r - 1 < e$, so $\lfloor (n - 1) / e \rfloor = q$. As
$k / e - 1 < \lfloor k / e \rfloor \le k / e$ and powers of $\gamma < 1$ fall, the bounds follow. Each power
$\gamma^j$ occurs at most $e$ times, and for $m$ stairs $\sum_{j < m} \gamma^j = (1 - \gamma^m) / (1 - \gamma) < 1 /
(1 - \gamma)$. $\blacksquare$

Steps of bounded length, whose rates sum to a bounded number, reach only points within a bounded distance: stairs that
begin to fall too early end on the way.

## One cycle

L. Smith lets the rate rise from $S$ to a peak $P$ higher than a constant rate could be, fall back as fast, and spends
the rest of the run far below. With a rise of $c \ge 1$ steps, $2c \le n - 1$, and $0 < Q \le S \le P$, step $k$ has

$$
r_k = \begin{cases}
S + (P - S)\, \big( 1 - | k / c - 1 | \big) & \text{if } 0 \le k \le 2c, \\
S - (S - Q)\, \frac{k - 2c}{n - 1 - 2c} & \text{if } 2c \le k \le n - 1.
\end{cases} \qquad \text{(E4)}
$$

Here the first rate is $S > 0$ as it stands, and the step needs no shift. Smith turns momentum the other way at the same
time, from $0.95$ to $0.85$ and back: a long memory of large steps overshoots.

**Claim** `optim.one-cycle-ends`. Step $0$ has the rate $S$, step $c$ has $P$, step $2c$ has $S$, and the last has $Q$
if $n - 1 > 2c$. The rate is never below $Q$, nor above $P$.

**Proof.** Put $k = 0$, $c$, $2c$ into the first line: $1 - |k / c - 1|$ is $0$, $1$, $0$, and lies between for $k$
between; so these rates lie in $[S, P]$. The second line is $S$ at $k = 2c$, as is the first, and $Q$ at $k = n - 1$,
and falls in between. $\blacksquare$

**Claim** `optim.one-cycle-area`. The mean rate of the steps $0, \dots, 2c - 1$ is $\frac12 (S + P)$, that of the steps
$2c, \dots, n - 1$ is $\frac12 (S + Q)$ if $n - 1 > 2c$.

**Proof.** Steps $k$ and $k + c$ for $0 \le k < c$ have $1 - |k / c - 1| = k / c$ and
$1 - |k / c| = 1 - k / c$, which sum to one: $c$ pairs with the mean $\frac12$. The others are evenly spaced from $S$ to
$Q$, so that the first and last, the second and the last but one, and so on, have the mean $\frac12 (S + Q)$.
$\blacksquare$

## Restarts

SGDR lets the rate fall along a cosine and then jump back to the peak, again and again, with periods that grow: the
$i$-th has $T_i = T m^i$ steps, $i = 0, 1, \dots$, with whole numbers $T, m \ge 1$. If $T_{\text{cur}}$ steps have been
made since the last restart,

$$
r = Q + \tfrac12 (P - Q) \Big( 1 + \cos \frac{\pi\, T_{\text{cur}}}{T_i} \Big), \qquad
0 \le T_{\text{cur}} < T_i. \qquad \text{(E5)}
$$

**Claim** `optim.sgdr-ends`. Period $i$ begins with step $s_i = T\, \frac{m^i - 1}{m - 1}$ ($i\, T$ if $m = 1$), at the
rate $P$, and its last step has $Q + (P - Q) \sin^2 \frac{\pi}{2 T_i}$. Within a period the rate falls, strictly if
$P > Q$.

**Proof.** $s_i = T (1 + m + \dots + m^{i-1})$, a geometric sum. There $T_{\text{cur}} = 0$ and the cosine is $1$. At
the end $T_{\text{cur}} = T_i - 1$, and
$\frac12 \big( 1 + \cos (\pi - \frac{\pi}{T_i}) \big) = \frac12 \big( 1 - \cos \frac{\pi}{T_i} \big) = \sin^2
\frac{\pi}{2 T_i}$. The cosine strictly falls on $[0, \pi]$. $\blacksquare$

**Claim** `optim.sgdr-area`. The mean rate of period $i$ is $\frac12 (P + Q) + \frac{1}{2 T_i} (P - Q)$.

**Proof.** For $j = 1, \dots, T_i - 1$ the terms of $j$ and of $T_i - j$ have opposite cosines, so together these
cosines sum to zero. The one of $j = 0$ is $1$. So the mean of $\frac12 (1 + \cos)$ is $\frac12 + \frac{1}{2 T_i}$.
$\blacksquare$

The run should end with a period, at $n = s_i$: only there is the rate low. Unlike (E1), SGDR's first step is at the
full rate, as its authors have it, and there is no warmup.

## In practice

A floor of a tenth of the peak is common; so is warming up for about a hundredth of the run. Language models are trained
with the cosine, or with a constant middle and a decay over the last tenth to fifth, which reaches about the same loss
and leaves $n$ open. Stairs and restarts belong to the image models of the 2010s, and one cycle to short runs. Stage 8
looks for the peak.

PyTorch's `OneCycleLR(three_phase=True, anneal_strategy="linear")` is (E4), its `CosineAnnealingWarmRestarts` is (E5)
and its `StepLR` is (E3). They write into the optimizer, one call after another, and have to be saved with it.

References: Goyal et al. on warmup (arXiv 1706.02677); Loshchilov and Hutter, *SGDR* (arXiv 1608.03983); Smith and
Topin, *Super-Convergence* (arXiv 1708.07120); Hu et al., *MiniCPM* (arXiv 2404.06395) and Hägele et al. (arXiv
2405.18392) on the constant middle.
"""

import math
from collections.abc import Callable

__all__ = [  # the order of the page
    "warmup_cosine",
    "warmup_linear",
    "warmup_stable_decay",
    "step_decay",
    "one_cycle",
    "sgdr",
]

Shape = Callable[[float], float]

SHAPES: dict[str, Shape] = {
    "cosine": lambda u: 0.5 * (1 + math.cos(math.pi * u)),
    "linear": lambda u: 1 - u,
    "sqrt": lambda u: 1 - math.sqrt(u),
}


def warmup_cosine(step: int, *, n_steps: int, warmup: int, peak: float | int = 1.0, floor: float | int = 0.0) -> float:
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
    return _rate(step, n_steps, warmup, n_steps - warmup, peak, floor, SHAPES["cosine"])


def warmup_linear(step: int, *, n_steps: int, warmup: int, peak: float | int = 1.0, floor: float | int = 0.0) -> float:
    """
    The rate of a step: up along a line, down along another (E1). Parameters and errors are those of `warmup_cosine`.

    Examples
    --------
    >>> [warmup_linear(k, n_steps=7, warmup=4, peak=8.0) for k in range(7)]
    [2.0, 4.0, 6.0, 8.0, 6.0, 4.0, 2.0]
    """
    return _rate(step, n_steps, warmup, n_steps - warmup, peak, floor, SHAPES["linear"])


def warmup_stable_decay(
    step: int,
    *,
    n_steps: int,
    warmup: int,
    decay: int,
    peak: float | int = 1.0,
    floor: float | int = 0.0,
    shape: str = "linear",
) -> float:
    """
    The rate of a step: up along a line, constant, down over the last steps (E2).

    Parameters
    ----------
    step
        In `[0, n_steps)`; the first is 0.
    n_steps
        Steps of the run.
    warmup, decay
        Steps of warmup and of decay, together at most `n_steps`.
    peak
        The rate in the middle.
    floor
        The rate that the decay approaches, in `[0, peak]`.
    shape
        The `h` of the decay: `linear`, `sqrt` (one minus the root) or `cosine`.

    Raises
    ------
    ValueError
        If the step lies outside the run, or the numbers do not fit together.

    Examples
    --------
    >>> [warmup_stable_decay(k, n_steps=8, warmup=2, decay=3, peak=8.0) for k in range(8)]
    [4.0, 8.0, 8.0, 8.0, 8.0, 6.0, 4.0, 2.0]
    """
    if shape not in SHAPES:
        raise ValueError(f"shape must be one of {', '.join(SHAPES)}, got {shape!r}")
    if not (warmup >= 0 and decay >= 0 and warmup + decay <= n_steps):
        raise ValueError(
            f"warmup and decay must not be negative and fit into n_steps={n_steps}, got warmup={warmup}, decay={decay}"
        )
    return _rate(step, n_steps, warmup, decay, peak, floor, SHAPES[shape])


def step_decay(step: int, *, every: int, factor: float | int = 0.1, peak: float | int = 1.0) -> float:
    """
    The rate of a step: stairs (E3). They have no last step.

    Parameters
    ----------
    step
        Not negative; the first is 0.
    every
        Steps at one rate, at least 1.
    factor
        The ratio of a stair's rate to that of the one before, in (0, 1].
    peak
        The first rate.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> [step_decay(k, every=3, factor=0.5, peak=8.0) for k in range(7)]
    [8.0, 8.0, 8.0, 4.0, 4.0, 4.0, 2.0]
    """
    _check_rates(0.0, peak)
    if every < 1:
        raise ValueError(f"every must be at least 1 step, got {every}")
    if not 0 < factor <= 1:
        raise ValueError(f"factor must lie in (0, 1], got {factor}")
    _check_not_before(step)
    return float(peak * factor ** (step // every))


def one_cycle(
    step: int,
    *,
    n_steps: int,
    rise: int,
    peak: float | int = 1.0,
    start: float | int | None = None,
    floor: float | int | None = None,
) -> float:
    """
    The rate of a step: up, down, and far down (E4).

    Parameters
    ----------
    step
        In `[0, n_steps)`; the first is 0.
    n_steps
        Steps of the run, at least `2 * rise + 1`.
    rise
        The step with the peak rate, at least 1; it falls for as long.
    peak
        The largest rate.
    start
        The rate of the first step, and of step `2 * rise`; a 25th of the peak if not given.
    floor
        The rate of the last step; a ten-thousandth of `start` if not given.

    Raises
    ------
    ValueError
        If the step lies outside the run, or the numbers do not fit together.

    Examples
    --------
    >>> [one_cycle(k, n_steps=9, rise=2, peak=8.0, start=4.0, floor=2.0) for k in range(9)]
    [4.0, 6.0, 8.0, 6.0, 4.0, 3.5, 3.0, 2.5, 2.0]
    """
    S = peak / 25 if start is None else start
    Q = S / 10_000 if floor is None else floor
    if not (0 < Q <= S <= peak and math.isfinite(peak)):
        raise ValueError(
            f"the rates must satisfy 0 < floor <= start <= peak < infinity, got floor={Q}, start={S}, peak={peak}"
        )
    if not (rise >= 1 and 2 * rise <= n_steps - 1):
        raise ValueError(f"one cycle needs rise >= 1 and n_steps >= 2 rise + 1, got rise={rise}, n_steps={n_steps}")
    _check_step(step, n_steps)
    if step <= 2 * rise:
        # weights of the two ends, so that each is met to the bit
        up = 1 - abs(step / rise - 1)
        return S * (1 - up) + peak * up
    down = (step - 2 * rise) / (n_steps - 1 - 2 * rise)
    return S * (1 - down) + Q * down


def sgdr(step: int, *, period: int, factor: int = 1, peak: float | int = 1.0, floor: float | int = 0.0) -> float:
    """
    The rate of a step: down along half a cosine, and up again at once (E5). It has no last step.

    Parameters
    ----------
    step
        Not negative; the first is 0.
    period
        Steps before the first restart, at least 1.
    factor
        How many times longer each period is than the one before, at least 1.
    peak
        The rate after each restart, and of the first step.
    floor
        The rate that each period approaches, in `[0, peak]`.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> [round(sgdr(k, period=2, factor=2, peak=8.0), 2) for k in range(7)]
    [8.0, 4.0, 8.0, 6.83, 4.0, 1.17, 8.0]
    """
    _check_rates(floor, peak)
    if period < 1 or factor < 1:
        raise ValueError(f"period and factor must be at least 1, got period={period}, factor={factor}")
    _check_not_before(step)
    current, length = step, period
    if factor == 1:
        current %= length
    while current >= length:  # a logarithm of the step, as periods grow
        current -= length
        length *= factor
    return floor + 0.5 * (peak - floor) * (1 + math.cos(math.pi * current / length))


def _rate(step: int, n_steps: int, warmup: int, decay: int, peak: float | int, floor: float | int, h: Shape) -> float:
    """The value of (E2) at a step; (E1) is the case without a middle."""
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}")
    if not 0 <= warmup <= n_steps:
        raise ValueError(f"warmup must lie in [0, n_steps] = [0, {n_steps}], got {warmup}")
    _check_rates(floor, peak)
    _check_step(step, n_steps)
    x, stable = step + 1, n_steps - decay
    if x <= warmup:
        return peak * (x / warmup)  # in this order, so that the last one is the peak to the bit
    if x <= stable:
        return float(peak)
    return floor + (peak - floor) * h((x - stable) / (decay + 1))


def _check_rates(floor: float, peak: float) -> None:
    if not (0 <= floor <= peak and math.isfinite(peak)):
        raise ValueError(f"the rates must satisfy 0 <= floor <= peak < infinity, got floor={floor}, peak={peak}")


def _check_step(step: int, n_steps: int) -> None:
    if not 0 <= step < n_steps:
        raise ValueError(
            f"step must lie in [0, n_steps) = [0, {n_steps}), got {step}; a longer run needs a larger n_steps"
        )


def _check_not_before(step: int) -> None:
    if step < 0:
        raise ValueError(f"step must not be negative, got {step}; the first is 0")
