r"""
The doctor: from measurements to a cause.

A sick run shows many strange numbers, most of them consequences. Gradients that are never cleared make steps too long;
steps that are too long kill units; and the loss, which everyone looks at, is high in all three cases. Which number
points to which cause, where does health end, and what does one say first?

You need: the records and what is in them (`fp_dynamics.history`, `fp_dynamics.recorder`, `fp_dynamics.probes`), and the
claims that each rule rests on.

## Rules

Each rule reads one or two numbers whose healthy value is known from a claim, compares them with a threshold between the
healthy value and the sick one, and says what it saw, where, and what to change.

| finding | number | healthy | threshold | from |
| --- | --- | --- | --- | --- |
| mask leak | what the second half of a text changes in the first | $0$ | $10^{-3}$ | `transformer.causal` |
| labels shifted | offset of the targets; else lead of copying | $1$; small | not $1$; 1 nat | `dynamics.offset-floor` |
| stale gradients | cosine with the gradient computed anew | $1$ | $0.99$ | `dynamics.stale-gradient` |
| symmetric init | least spread of a matrix that is not zero | about $1$ | $10^{-2}$ | `dynamics.symmetric-units` |
| missing 1/sqrt(d) | first scores by the size of queries and keys | $1$ | $D^{1/4}$ | `attention.dot-variance` |
| rate too high | share of steps that lose ground | $0$ | $0.2$ | `dynamics.step-change` |
| not finite | losses and gradients | finite | | |
| no warmup | rise above the first loss, at full rate | below $0$ | 4 deviations | `dynamics.update-ratio` |
| dead ReLUs | share of units that are shut for the whole batch | $0$ | $0.5$ | `dynamics.dead-unit` |
| first loss too high | the first loss | $\ln V + \frac{\sigma^2}{2}$ | $\ln V + 1$ | `dynamics.initial-loss` |

**A leak** and **a shift** are told by experiment, see `fp_dynamics.probes`. $10^{-3}$ lies far above rounding, of some
$10^{-6}$ in float32, and a position seen by mistake brings a whole token, one of some tens that the attention averages.
For the shift, the batch itself decides where it can. Where it cannot, copying is looked for, and one nat is asked of
it, since a new model with tied embeddings copies a little: the token that was read is nearest to itself.

**Equal units** stay equal in exact arithmetic, so it does not matter when they are looked for. In floating point the
first probe is the sharper one: rounding makes differences of $10^{-7}$, and an optimizer that divides by the size of
the gradient can make large ones of them, after many wasted steps.

**The scores' ratio** is $1$ or $\sqrt D$, and $D^{1/4}$ is the middle between the two on the scale of ratios. It is
asked of the first step's probe only, and not if the first loss is half a nat below $\ln V$: that model was trained
before, and its queries know their keys. At $D \le 4$ the two are too near to be told apart, and nothing is said.

**A step that loses ground.** A step along the gradient lowers the loss of the batch that the gradient came from exactly
if $\eta \rho < 2$, with the curvature $\rho$ that it meets (`dynamics.step-change`). Other batches' noise does not
enter, so that on a quadratic a rate is right or wrong for *every* step. Losses are not quadratic, so single steps fail
in healthy runs; one in five is a rate beyond the limit in a good part of all places. And optimizers do not follow the
gradient only: a heavy ball swings around its goal at rates at which it converges (`optim.heavy-ball-roots`), and climbs
half of the time, a little. So a rise counts from 0.05 nats on, five percent of a token's probability in one step. A
step counts too if its loss is above the *first* one by more than a quarter nat: a model that does worse than before it
learned was brought there by its steps, each good for its own batch or not. (A model that was trained before finds some
batches easier than others, and the first may be one of the easy. So if the first loss is half a nat below $\ln V$, or
$V$ is not known, the quarter nat becomes four deviations of the noise, if that is more, but never more than 1.6 nats.)
A loss that is not finite counts if others rose before; if none did, the rate is not to blame. Looked at are steps at
half the largest rate or more; and if the run began at such a rate, only those after its first fifth, for its beginning
is judged by the rule about warmup. Where the loss after the step was not recorded, the second sign alone has to do.

**The first steps** are another matter: AdamW's first step moves each number by the whole rate, whatever the gradient
(`optim.adam-first-step`). A run lacks warmup if it starts at half its largest rate or more, does well later at the same
rate, and at first (in the first fifth) its loss rises above the first one by more than four deviations of the later
noise (six, if the model is not known to be new) and a quarter nat. Two weaker signs together do as well. A first step
of $\rho$ times the length of the weights makes them at least $\rho - 1$ times as long as what was drawn: for $\rho > 1$
nothing of that has to be left, and for $\rho > 3$ it is less than half of what there is. So $\rho > 1$ counts if one of
these steps raised its own batch's loss, and $\rho > 3$ if the loss rises above the first by one deviation.

**Dead units** are judged on the last batch measured, if it has at least 16 inputs: of a single one half of all relus
are shut, and of $n$ independent ones $2^{-n}$. By `dynamics.dead-unit` nothing of them is learned any more. A
healthy layer has units that are shut for most inputs and hardly one that is for all; with half of its units gone a
layer is half as wide as was paid for.

## What is said first

Findings are ordered by severity, and equal ones by cause: what can bring about another finding stands above it. At the
top, as errors, stand those for which the run computes something other than what was meant: a leak, shifted labels,
gradients that are not those of the batch, units that are one, a scale left out. Their signs cannot be produced by a
rate. Then, as warnings, what wastes a right model: rates first, then units, which large steps can kill, while dead
units make no step larger. Last, as notes, what costs some steps. Treat the first, run again, and look again.

>>> import textwrap
>>> from fp_dynamics.failures import FAILURES
>>> run = next(failure for failure in FAILURES if failure.name == "dead ReLUs").build(0)
>>> first = diagnose(run.history)[0]
>>> print(textwrap.fill(f"{first.name}: {first.evidence}", 110))
dead ReLUs: 100% of the units of layers.layers.1 let nothing through for the whole batch of step 56, and more
than half since step 1; a healthy layer has hardly any, the threshold is 50%

A table of losses is enough for some of the rules; `unexamined` says for which not, and what they would need.

>>> found = diagnose([{"step": k, "loss": 4.0 + (9.0 if k > 50 and k % 3 == 0 else -k / 50)} for k in range(1, 101)])
>>> [f.name for f in found], found.unexamined["mask leak"]
(['rate too high'], 'needs probes of a model that scores each position')

## In practice

Real doctors of training runs are dashboards and people. The rules that large teams automate are on spikes: skip the
batch, go back to a checkpoint, lower the rate. Thresholds here were set by the claims and looked at on the failures'
seeds 0 to 9 (`fp_dynamics.failures`); they are for runs of some tens of steps or more. No finding means that nothing of
this kind was seen, not that all is well.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from fp_dynamics.history import RunHistory

__all__ = ["Finding", "Diagnosis", "diagnose"]  # the order of the page

LEAK, COPYING, COSINE, SPREAD, RISING, DEAD, FIRST = 1e-3, 1.0, 0.99, 1e-2, 0.2, 0.5, 1.0
NOISES, RISE, OVERSHOOT = 4.0, 0.25, 0.05  # deviations; nats; nats
TRAINED, LOUD, INPUTS = 0.5, 0.4, 16  # nats below ln V; nats; what a unit is shown before it is called dead
SEVERITIES = ("error", "warning", "note")
LEAST = 10  # steps, for a share of them to say something


class Finding(NamedTuple):
    """One thing that is wrong."""

    name: str
    """What it is called in the table of rules."""
    evidence: str
    """The numbers, the threshold, and where in the run."""
    remedy: str
    """What to change."""
    severity: Literal["error", "warning", "note"]
    """Another thing is computed than was meant; training is wasted; some steps are."""


class Diagnosis(list[Finding]):
    """
    What `diagnose` found, the cause to treat first in front; empty if it found nothing.

    Attributes
    ----------
    unexamined : dict of str to str
        The findings that could neither be made nor excluded, and what that would need.
    """

    def __init__(self, findings: Sequence[Finding], unexamined: Mapping[str, str]) -> None:
        super().__init__(findings)
        self.unexamined = dict(unexamined)

    def __str__(self) -> str:
        lines = []
        for i, f in enumerate(self, 1):
            lines += [f"{i}. {f.name} ({f.severity})", f"   evidence: {f.evidence}", f"   remedy: {f.remedy}"]
        return "\n".join(lines or ["nothing found"]) + "".join(
            f"\nnot examined: {name} ({reason})" for name, reason in self.unexamined.items()
        )


class _Case:
    """A history, and what several rules ask of it."""

    def __init__(self, history: RunHistory) -> None:
        self.history = history
        records = [r for r in history.records if "loss" in r]
        self.records = records
        self.steps = [int(r["step"]) for r in records]
        self.loss, self.after, self.lr = (
            np.array([float(r.get(key, math.nan)) for r in records]) for key in ("loss", "loss_after", "lr")
        )
        n = len(records)
        self.early = n // 5
        rate = np.nan_to_num(self.lr, nan=1.0)
        high = rate >= rate.max(initial=0) / 2
        warmed = n > 0 and not high[0]
        self.late_high = high & (np.arange(n) >= (0 if warmed else self.early))  # else the start has its own rule
        self.probed = [r for r in history.records if r.get("probes")]

    def probes(self, key: str) -> list[tuple[int, Any]]:
        """The steps at which something was probed, and what it gave."""
        return [(int(r["step"]), r["probes"][key]) for r in self.probed if r["probes"].get(key) is not None]

    @property
    def vocab_size(self) -> int | None:
        """As probed, or of the model that the run saved."""
        sizes = self.probes("vocab_size")
        return int(sizes[0][1]) if sizes else self.history.vocab_size

    @property
    def excess(self) -> float | None:
        """The first loss above that of a shrug, if the vocabulary's size is known."""
        V = self.vocab_size
        return None if V is None else float(self.loss[0]) - math.log(V)

    @property
    def untrained(self) -> bool:
        """Whether the model is known to have begun without any knowledge."""
        return self.excess is not None and self.excess > -TRAINED

    @property
    def rise(self) -> float:
        """How far above the first loss a step stands that did worse than before the run, and not by chance."""
        if self.untrained:
            return RISE  # a model that knows nothing finds all batches equally hard
        with np.errstate(invalid="ignore"):
            jumps = np.abs(np.diff(self.loss))
        jumps = jumps[np.isfinite(jumps)]
        noise = float(np.median(jumps)) / (0.674 * math.sqrt(2)) if len(jumps) else 0.0  # of normal noise
        return max(RISE, NOISES * min(noise, LOUD))

    def rising(self) -> tuple[float, int, int] | None:
        """Of the late steps at a high rate, the share that overshot, how many there are, the first that did."""
        at = np.flatnonzero(self.late_high)
        if len(at) < LEAST or not math.isfinite(self.loss[0]):
            return None
        overshot = self.loss > self.loss[0] + self.rise
        if not np.isnan(self.after[at]).all():
            overshot |= self.after > self.loss + OVERSHOOT
        if (overshot & np.isfinite(self.loss)).any():  # what rose before has ended in this
            overshot |= ~np.isfinite(self.loss)
        else:
            overshot &= np.isfinite(self.loss)
        overshot = overshot[at]
        return float(overshot.mean()), len(at), self.steps[at[int(overshot.argmax())]]


Verdict = Finding | str | None  # found; why not examined; nothing wrong


def _mask_leak(case: _Case) -> Verdict:
    found = case.probes("leak")
    if not found:
        return "needs probes of a model that scores each position"
    step, leak = next(((step, leak) for step, leak in found if leak > LEAK), (0, 0.0))
    if not leak:
        return None
    return Finding(
        "mask leak",
        f"at step {step} other tokens in the second half of a text changed the scores of the first half, by {leak:.1e} "
        f"of the change behind them; a causal model has 0 there, the threshold is {LEAK:g}",
        "mask attention so that position n sees tokens 0 to n only (Causal()), and look for anything else that mixes "
        "positions; losses so far mean nothing",
        "error",
    )


def _labels_shifted(case: _Case) -> Verdict:
    offsets, losses = case.probes("label_offset"), case.probes("losses_by_offset")
    if not losses:
        return "needs probes of a model that scores each position"
    step, by_offset = losses[-1]
    shown = ", ".join(f"{k} places further {loss:.2f}" for k, loss in enumerate(by_offset))
    wrong = [(step, k) for step, k in offsets if k != 1]
    if not wrong and (offsets or not by_offset[0] < by_offset[1] - COPYING):
        return None if offsets else "the targets of the probed batch are not its ids at one offset"
    seen = (
        f"at step {wrong[0][0]} the targets were the ids {wrong[0][1]} places further, where 1 is right"
        if wrong
        else f"copying beats predicting by more than {COPYING:g} nat"
    )
    return Finding(
        "labels shifted",
        f"{seen}; at step {step} the model's loss against the token {shown} nats",
        "make the targets the ids one place further, once: ids[:, :-1] and ids[:, 1:]; look for a second shift inside "
        "the loss",
        "error",
    )


def _stale_gradients(case: _Case) -> Verdict:
    found = case.probes("gradient_cosine")
    if not found:
        return "needs probes with gradients, of a loss without chance"
    step, cosine = min(found, key=lambda pair: pair[1])
    if not cosine < COSINE:
        return None
    ratio = dict(case.probes("gradient_ratio")).get(step, math.nan)
    return Finding(
        "stale gradients",
        f"at step {step} the gradient in use had the cosine {cosine:.2f} with that of its batch and {ratio:.1f} times "
        f"its length; both are 1 if computed anew, the threshold is {COSINE}",
        "clear gradients once before each backward pass (zero_grad), compute them after the weights have moved, and "
        "hand the optimizer those of this step",
        "error",
    )


def _symmetric_init(case: _Case) -> Verdict:
    found = [(step, spreads) for step, spreads in case.probes("spread") if spreads]
    if not found:
        return "needs a probe of the weights"
    step, spreads = next((pair for pair in found if min(pair[1].values()) < SPREAD), found[-1])
    name = min(spreads, key=lambda n: spreads[n])
    if not spreads[name] < SPREAD:
        return None
    others = [n for n in spreads if spreads[n] < SPREAD]
    return Finding(
        "symmetric init",
        f"at step {step} the rows or columns of {name} differed by {spreads[name]:.1e} of its size (about 1 if drawn "
        f"at random, threshold {SPREAD:g}); so in {len(others)} of {len(spreads)} matrices",
        "draw weights at random, independently for each unit; only biases, and matrices of zeros beside others that "
        "are drawn, may begin equal",
        "error",
    )


def _missing_scale(case: _Case) -> Verdict:
    found = case.probes("scores")
    if not found or not found[0][1] or found[0][0] != case.steps[0]:
        return "needs a probe of a model with attention before its first step"
    if case.excess is not None and case.excess < -TRAINED:
        return "the model was trained before: its queries know their keys"
    blocks = found[0][1]
    D = blocks[0]["d_head"]
    ratio = float(np.median([block["score_ratio"] for block in blocks]))
    if D <= 4 or not math.isfinite(ratio):
        return "heads are too narrow, or scores not finite"
    if not ratio > D**0.25:
        return None
    std = float(np.median([block["score_std"] for block in blocks]))
    return Finding(
        "missing 1/sqrt(d)",
        f"before the first step the scores' deviation, {std:.2f}, was {ratio:.2f} times that of queries times keys: "
        f"about 1 if divided by the root of the width {D}, {math.sqrt(D):.2f} if not; threshold {D**0.25:.2f}",
        "divide attention scores by the square root of the head's width, once",
        "error",
    )


def _rate_too_high(case: _Case) -> Verdict:
    rising = case.rising()
    if not math.isfinite(case.loss[0]):
        return "needs a first loss that is finite"
    if rising is None:
        return f"needs at least {LEAST} steps at half the largest rate or more, after the first fifth"
    share, n, where = rising
    if not share >= RISING:
        return None
    own = bool(np.isfinite(case.after).any())
    return Finding(
        "rate too high",
        f"{share:.0%} of {n} steps at a high rate "
        + (f"raised the loss of their own batch by more than {OVERSHOOT}, or " if own else "")
        + f"had a loss above the first, {case.loss[0]:.2f}, by more than {case.rise:.2f}"
        + f", from step {where} on; threshold {RISING:.0%}"
        + (f"; the rate's peak is {np.nanmax(case.lr):g}" if np.isfinite(case.lr).any() else ""),
        "lower the rate, to a third and again (lr_range_test finds where it starts to diverge); clipping helps against "
        "single spikes only",
        "warning",
    )


def _not_finite(case: _Case) -> Verdict:
    for record in case.records:
        bad = [key for key in ("loss", "grad_norm", "loss_after") if not math.isfinite(record.get(key, 0.0))]
        if bad:
            return Finding(
                "not finite",
                f"{bad[0]} was {record[bad[0]]} at step {int(record['step'])}, the first of its kind",
                "go back to a checkpoint before that step, and ask first_nonfinite where it begins",
                "warning",
            )
    return None


def _no_warmup(case: _Case) -> Verdict:
    n, window = len(case.records), case.early
    if not np.isfinite(case.lr).any():
        return "needs the rate of each step"
    if window < 4:
        return "needs at least 20 steps"
    rising = case.rising()
    if not case.lr[0] >= np.nanmax(case.lr) / 2 or (rising and rising[0] >= RISING):
        return None
    noise = float(np.std(np.diff(case.loss[n // 2 :]))) / math.sqrt(2)
    highest = np.fmax(case.loss[1:window], case.after[: window - 1])
    rise, where = float(highest.max()) - case.loss[0], case.steps[1 + int(highest.argmax())]
    ratios = {name: v["update_ratio"] for name, v in case.records[0].get("layers", {}).items() if "update_ratio" in v}
    largest = max(ratios, key=lambda name: ratios[name], default="")
    threshold = max((NOISES if case.untrained else 1.5 * NOISES) * noise, RISE)
    overshot = np.flatnonzero(case.after[:window] > case.loss[:window] + OVERSHOOT)
    ratio = ratios.get(largest, 0.0)
    whole = (ratio > 1 and len(overshot) > 0) or (ratio > 3 and rise > noise)
    if not (rise > threshold or whole):
        return None
    evidence = (
        f"the first step had the rate {case.lr[0]:g} of {np.nanmax(case.lr):g}; the loss stood {rise:+.2f} nats above "
        f"the first one at step {where} (threshold {threshold:.2f})"
    )
    if ratios:
        evidence += f"; the first step moved {largest} by {ratio:.2f} of its length (threshold 1)"
    if len(overshot):
        evidence += f"; step {case.steps[overshot[0]]} raised the loss of its own batch"
    return Finding(
        "no warmup",
        evidence + "; later steps at this rate did well",
        "let the rate rise from near zero in the first steps (warmup_cosine with a few percent of the run), or lower "
        "its peak",
        "warning",
    )


def _dead_units(case: _Case) -> Verdict:
    measured = [(int(r["step"]), r["layers"]) for r in case.history.records if r.get("layers")]
    shares = [
        (step, {n: v for n, v in layers.items() if "dead_share" in v and v.get("inputs", INPUTS) >= INPUTS})
        for step, layers in measured
    ]
    shares = [(step, layers) for step, layers in shares if layers]
    if not shares:
        return f"needs records of layers with activations, of at least {INPUTS} inputs each"
    step, layers = shares[-1]
    name = max(layers, key=lambda n: layers[n]["dead_share"])
    share = layers[name]["dead_share"]
    if not share >= DEAD:
        return None
    since = next(s for s, found in shares if found.get(name, {}).get("dead_share", 0) >= DEAD)
    relu = layers[name].get("activation") == "relu"
    return Finding(
        "dead ReLUs" if relu else "dead units",
        f"{share:.0%} of the units of {name} let nothing through for the whole batch of step {step}, and more than "
        f"half since step {since}; a healthy layer has hardly any, the threshold is {DEAD:.0%}",
        "start biases at zero and weights by he_normal, lower the rate if units died on the way, or take gelu or silu, "
        "whose gradient never ends altogether",
        "warning",
    )


def _first_loss(case: _Case) -> Verdict:
    V, excess = case.vocab_size, case.excess
    if V is None or excess is None:
        return "needs the size of the vocabulary"
    if not excess > FIRST:
        return None
    stds = case.probes("logit_std")
    seen = f"; the logits' deviation was {stds[0][1]:.2f}" if stds else ""
    return Finding(
        "first loss too high",
        f"the loss of step {case.steps[0]} was {case.loss[0]:.2f}, {excess:.2f} above that of a shrug among {V} tokens "
        f"(threshold {FIRST:g}){seen}",
        "make the last layer smaller: logits of deviation s cost s^2 / 2 nats before anything is learned",
        "note",
    )


RULES: dict[str, Callable[[_Case], Verdict]] = {
    "mask leak": _mask_leak,
    "labels shifted": _labels_shifted,
    "stale gradients": _stale_gradients,
    "symmetric init": _symmetric_init,
    "missing 1/sqrt(d)": _missing_scale,
    "rate too high": _rate_too_high,
    "not finite": _not_finite,
    "no warmup": _no_warmup,
    "dead ReLUs": _dead_units,
    "first loss too high": _first_loss,
}
"""By severity, and causes in front of what they can bring about."""


def diagnose(history: RunHistory | Sequence[Mapping[str, Any]] | str | Path) -> Diagnosis:
    """
    Say what is wrong with a run.

    Parameters
    ----------
    history
        A history, the records of a `Recorder`, or a run directory. Records of `fp_dynamics.failures.train` answer all
        rules; a bare table of losses some.

    Returns
    -------
    Diagnosis
        The findings, ordered, and what could not be examined.

    Raises
    ------
    ValueError
        If no step with a loss is in it, or the directory holds no run.

    Examples
    --------
    >>> calm = [{"step": k, "loss": 3.0 - k / 100, "lr": 0.01} for k in range(1, 51)]
    >>> diagnose(calm), "no warmup" in diagnose(calm).unexamined
    ([], False)
    """
    if isinstance(history, str | Path):
        history = RunHistory(history)
    elif not isinstance(history, RunHistory):
        history = RunHistory.from_records(history)
    case = _Case(history)
    if not case.records:
        raise ValueError("there is nothing to diagnose: no record has a loss yet. Wait for the first step")
    verdicts = {name: rule(case) for name, rule in RULES.items()}
    found = [verdict for verdict in verdicts.values() if isinstance(verdict, Finding)]
    unexamined = {name: verdict for name, verdict in verdicts.items() if isinstance(verdict, str)}
    return Diagnosis(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)), unexamined)
