r"""
Before the long run: four checks that take a second.

A run of a day that was broken from its first step costs a day. What can be known of a model before it has learned
anything, and what must any correct model be able to do?

You need: `neural.first-loss`; entropies (`fp_markov.information`); `fp_dynamics.recorder`, `fp_dynamics.statistics`.

## The first loss

A model that knows nothing should say so. `neural.first-loss` has the numbers for given logits; what are the logits of
a network before it is trained?

**Claim** `dynamics.initial-loss`. Let the logits be $z_v = u_v \cdot h$ with rows $u_1, \dots, u_V$ whose $C$ entries
are independent normal numbers of mean $0$ and variance $s^2$, and let $h$ and the target $y$ be independent of the
rows. Fix $h$, let $\sigma = s\, |h|$, $S = \sum_v e^{z_v}$, and let $\ell = \ln S - z_y$ be the loss.

1. If $\sigma = 0$, then $\ell = \ln V$ exactly.
2. $\ln V \le \mathbb{E}\, \ell \le \ln V + \frac{\sigma^2}{2}$, and for fixed $\sigma$,
   $\mathbb{E}\, \ell - \ln V \to \frac{\sigma^2}{2}$ as $V \to \infty$.
3. For every $\varepsilon > 0$

$$P \Big( \Big| \ln S - \ln V - \frac{\sigma^2}{2} \Big| \ge \varepsilon \Big)
\le \frac{e^{\sigma^2} - 1}{V\, (1 - e^{-\varepsilon})^2}. \qquad \text{(E1)}$$

**Proof.** Given $h$, each $z_v$ is a sum of independent normal numbers: it has mean $0$ and
$\mathbb{E} e^{a z_v} = e^{a^2 \sigma^2 / 2}$ (`neural.gaussian-moments`), and the $z_v$ are independent of each other.
So `neural.first-loss` holds with $\sigma$ for its $s$. (1) is its first part, (2) its second part with $t = 1$, its
lower bound $\ln V$, and (E4) there, which tends to $\ln V + \frac{\sigma^2}{2}$. (3) Let
$M = S\, / \big( V e^{\sigma^2 / 2} \big)$, so that the difference is $\ln M$. $\mathbb{E} M = 1$; and as
$\mathbb{E} e^{2 z_v} = e^{2 \sigma^2}$, each $e^{z_v}$ has the variance $e^{2 \sigma^2} - e^{\sigma^2}$, and

$$\operatorname{Var} M = \frac{V (e^{2 \sigma^2} - e^{\sigma^2})}{V^2 e^{\sigma^2}} = \frac{e^{\sigma^2} - 1}{V}.$$

If $|\ln M| \ge \varepsilon$, then $M \ge e^\varepsilon$ or $M \le e^{-\varepsilon}$, in both cases
$|M - 1| \ge 1 - e^{-\varepsilon}$, since $e^\varepsilon - 1 = e^\varepsilon (1 - e^{-\varepsilon})$. By
`markov.chebyshev` this has at most the probability (E1). $\blacksquare$

Behind a last norm with gains of one $|h|^2$ is the width $C$, so that $\sigma = s \sqrt C$. For GPT-2's $s = 0.02$:

>>> log_vocab, sigma = np.log(50_257), 0.02 * np.sqrt(768)
>>> [round(float(x), 3) for x in (log_vocab, log_vocab + sigma**2 / 2)]
[10.825, 10.979]

For logits as they are, normal or not, and a target drawn uniformly, the mean of $\ell$ is $\ln S - \bar z$ with the
mean $\bar z$ of the logits: that can be computed, and is what `check_initialization` compares the loss with. Above it,
or with a large $\sigma$, the model begins with opinions, and its first hundreds of steps go into giving them up. Below
it, it knows the targets before it has learned anything: it was shown them.

## The floor of a batch

Any model that is large enough can learn one batch by heart. How low has the loss to go?

**Claim** `dynamics.batch-floor`. Let the scores of a model at position $t$ of a text be a function of the tokens
$x_1, \dots, x_t$ alone. Group the $N$ positions of a batch by these prefixes; in group $k$, of $n_k$ positions, let
$\hat p_k$ be the distribution of the targets. The mean loss of the batch is at least

$$\ell_{\min} = \sum_k \frac{n_k}{N} H(\hat p_k), \qquad \text{(E2)}$$

with equality exactly if the model predicts $\hat p_k$ in every group. So a model whose loss on a batch is below
$\ell_{\min}$ sees more than the tokens up to its position.

**Proof.** All positions of a group get the same distribution $q_k$. The sum of their losses is
$-\sum_y n_k\, \hat p_k(y) \ln q_k(y)$, which is $n_k$ times the cross-entropy of $\hat p_k$ and $q_k$, at least
$n_k H(\hat p_k)$, with equality exactly for $q_k = \hat p_k$ (`markov.cross-entropy-split`, `markov.gibbs`). Add the
groups and divide by $N$. The last sentence is the first, turned round. $\blacksquare$

The floor is low, for prefixes soon differ, but it is not zero: eight texts that begin with the same letter go on
differently.

>>> ids = np.array([[1, 2], [1, 3]])
>>> round(batch_floor(ids, np.array([[2, 5], [3, 6]])), 4)  # of four positions two share a prefix: half of ln 2
0.3466

## The first number that is not one

When a loss is NaN, everything is: the optimizer wrote it into all weights. `first_nonfinite` looks at one batch and
says where it began: in the weights, on the way forward, or on the way back. An infinity made on purpose, such as a
mask's, is not a fault as long as no NaN comes of it.

>>> from fp_transformer import Transformer, TransformerConfig
>>> config = TransformerConfig.gpt2(vocab_size=11, context_length=8, n_layers=1, n_heads=2, d_model=16)
>>> model = Transformer(config, rng=np.random.default_rng(0))
>>> batch = np.random.default_rng(1).integers(0, 11, (4, 9))
>>> ids, targets = batch[:, :-1], batch[:, 1:]
>>> check_initialization(model, ids, targets).ok, first_nonfinite(model, ids, targets)
(True, None)
>>> result = overfit_one_batch(model, ids, targets, lr=3e-2, n_steps=40)
>>> result.reached, result.leak
(True, False)
>>> model.blocks[0].feedforward.down_proj.weight.data[0, 3] = 1e38
>>> model.blocks[0].feedforward.up_proj.bias.data[3] = 1e3
>>> print(first_nonfinite(model, ids, targets))
forward: neural.linear of blocks.0.feedforward.down_proj made an infinity

## In practice

Karpathy's recipe for training networks (2019) has the first two checks, and the advice to take one at a time. A model
with a padding mask, or one that sees both sides, has another floor. What these checks cannot see is whether the data
are what you think they are: decode a batch and read it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from fp_autograd.rules import logsumexp
from fp_autograd.tensor import Mode, no_grad
from fp_autograd.tracing import Box, value_of
from fp_dynamics.recorder import loss_and_gradients, named_arrays
from fp_dynamics.statistics import doubled_share
from fp_neural.module import Module
from fp_optim.adaptive import AdamW
from fp_transformer.checkpoint import from_arrays
from fp_transformer.model import Transformer

__all__ = [  # the order of the page
    "check_initialization", "Initialization", "batch_floor", "overfit_one_batch", "Overfit", "first_nonfinite",
    "NonFinite",
]  # fmt: skip

WIDE = 1.0  # a standard deviation of first logits above this costs more than half a nat


class Initialization(NamedTuple):
    """What `check_initialization` found."""

    loss: float
    """Of the batch, in nats per token."""
    log_vocab: float
    r"""$\ln V$, the loss of a model that knows nothing."""
    expected: float
    """Of these logits, for targets that are independent of them."""
    tolerance: float
    """How far from `expected` the loss may be by chance: four standard deviations, and rounding."""
    logit_std: float
    r"""$\sigma$, over the vocabulary."""
    faults: tuple[str, ...]
    """A sentence for each, with its remedy."""

    @property
    def ok(self) -> bool:
        """Whether there are none."""
        return not self.faults


class Overfit(NamedTuple):
    """What `overfit_one_batch` found."""

    losses: tuple[float, ...]
    """Of each step, before it, and after the last."""
    floor: float
    """Below which no causal model gets (`dynamics.batch-floor`)."""
    reached: bool
    """Whether the last loss is near the floor: nine tenths of the way from the first."""
    leak: bool
    """Whether it went below the floor."""


class NonFinite(NamedTuple):
    """Where the first NaN or infinity arose."""

    phase: str
    """`weights`, `forward` or `backward`."""
    layer: str
    """The path of the innermost module, or the name of the array."""
    operation: str
    """By the autograd's name; empty for weights."""
    what: str
    """`a NaN` or `an infinity`."""

    def __str__(self) -> str:
        if self.phase == "weights":
            return f"weights: {self.layer} holds {self.what}"
        verb = "made" if self.phase == "forward" else "sent back"
        return f"{self.phase}: {self.operation} of {self.layer} {verb} {self.what}"


def check_initialization(
    model: Any, ids: Integer[np.ndarray, "B T"], targets: Integer[np.ndarray, "B T"]
) -> Initialization:
    r"""
    Whether a model that has not been trained begins as it should (`dynamics.initial-loss`).

    Parameters
    ----------
    model
        A module that gives logits, or anything with `forward` and `loss_and_grads`; unchanged.
    ids, targets
        A batch of real text, and the tokens that came next.

    Returns
    -------
    Initialization
        `faults` says what is wrong: logits that are too wide or not finite, a loss that is not the mean of these logits
        in nats, one that knows the targets, units that are doubled, parameters that no gradient reaches.
    """
    z = _logits(model, ids).astype(np.float64)
    loss, grads = finite_or_nan(model, ids, targets)
    V = z.shape[-1]
    with np.errstate(all="ignore"):
        mean = z.mean(axis=-1)
        spread = float(np.sqrt(z.var(axis=-1).mean()))
        lse = logsumexp(z, axis=-1)
        own = np.take_along_axis(z, targets[..., None], axis=-1)[..., 0]
        true_loss, expected = float((lse - own).mean()), float((lse - mean).mean())
    # the mean of the targets' logits: rows of the output recur with their tokens, so these are what is independent
    tolerance = 4 * spread / np.sqrt(np.unique(targets).size) + 1e-3
    faults = []
    if not np.isfinite(z).all() or not np.isfinite(loss):
        faults.append("The logits or the loss are not finite: ask first_nonfinite where it begins.")
    else:
        if abs(loss - true_loss) > 1e-3 * max(1.0, true_loss):
            faults.append(
                f"The loss is {loss:.4f}, the mean cross-entropy of the logits {true_loss:.4f} nats: sum or mean, "
                "bits or nats, or targets shifted on the way?"
            )
        if true_loss < expected - tolerance:
            faults.append(
                f"The loss {true_loss:.4f} is below {expected:.4f}, what these logits give for targets that they do "
                "not know: the model sees its targets. Look at the mask, and whether the targets are shifted by one."
            )
        elif true_loss > expected + tolerance:
            faults.append(
                f"The loss {true_loss:.4f} is above {expected:.4f}, what these logits give for targets that they do "
                "not know: has this model been trained, on other text?"
            )
        if spread > WIDE:
            faults.append(
                f"The logits have the standard deviation {spread:.2f}: draw the output's weights smaller, or put a "
                f"norm in front of it. The loss begins {true_loss - np.log(V):.2f} above ln V."
            )
    faults += _faults_of_weights(named_arrays(model), grads if np.isfinite(loss) else None)
    return Initialization(loss, float(np.log(V)), expected, float(tolerance), spread, tuple(faults))


def _faults_of_weights(arrays: dict[str, np.ndarray], grads: dict[str, np.ndarray] | None) -> list[str]:
    faults = []
    for name, array in arrays.items():
        if array.ndim == 2 and min(array.shape) > 1 and array.any():
            doubled = max(doubled_share(array), doubled_share(array.T))
            if doubled > 0:
                faults.append(f"{name}: {doubled:.0%} of its units are doubled, and stay so: draw them at random.")
        if grads is not None and name not in grads:
            faults.append(f"{name}: no gradient reaches it. Is it used, or frozen?")
    return faults


def batch_floor(ids: Integer[np.ndarray, "B T"], targets: Integer[np.ndarray, "B T"]) -> float:
    """
    The lowest mean loss that a causal model can have on a batch (E2).

    Parameters
    ----------
    ids, targets
        Tokens, and those that came next.

    Returns
    -------
    float
        Nats per token.

    Raises
    ------
    ValueError
        If the shapes differ, or there are no tokens.
    """
    if ids.shape != targets.shape or ids.size == 0:
        raise ValueError(f"ids and targets have one shape, with at least one token; got {ids.shape}, {targets.shape}")
    groups: dict[bytes, dict[int, int]] = {}
    for row, nexts in zip(ids, targets.tolist(), strict=True):
        for t, y in enumerate(nexts):
            counts = groups.setdefault(row[: t + 1].tobytes(), {})
            counts[y] = counts.get(y, 0) + 1
    total = 0.0
    for counts in groups.values():
        n = np.array(list(counts.values()), dtype=np.float64)
        total += float((n * np.log(n.sum() / n)).sum())
    return float(total / ids.size)


def overfit_one_batch(
    model: Any,
    ids: Integer[np.ndarray, "B T"],
    targets: Integer[np.ndarray, "B T"],
    *,
    lr: float | int = 3e-3,
    n_steps: int = 200,
) -> Overfit:
    """
    Train on one batch, over and over, with AdamW; then put the weights back.

    Parameters
    ----------
    model
        As for `loss_and_gradients`. Its mode is left as it is: switch dropout off first (`eval`).
    ids, targets
        A small batch.
    lr
        AdamW's rate, constant, without decay.
    n_steps
        Steps at most; fewer if the floor is as good as reached.

    Returns
    -------
    Overfit
        A model that cannot do it has a fault in its gradient, its data or its size.

    Raises
    ------
    ValueError
        If there are no steps.
    """
    if n_steps < 1:
        raise ValueError(f"n_steps is at least 1, got {n_steps}")
    arrays, floor = named_arrays(model), batch_floor(ids, targets)
    with weights_kept(arrays):
        optimizer = AdamW(arrays, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
        losses: list[float] = []
        for _ in range(n_steps):
            loss, grads = finite_or_nan(model, ids, targets)
            losses.append(loss)
            if not np.isfinite(loss) or loss < floor + 1e-2 * (losses[0] - floor):
                break
            optimizer.step({name: grads.get(name, np.zeros_like(a)) for name, a in arrays.items()})
        else:
            losses.append(finite_or_nan(model, ids, targets)[0])
    last = losses[-1]
    # rounding: a mean of float32 losses is right to about 1e-6 of the largest of them
    leak = min(losses) < floor - 1e-4
    return Overfit(tuple(losses), floor, bool(last < floor + 0.1 * (losses[0] - floor)), bool(leak))


def first_nonfinite(
    model: Any, ids: Integer[np.ndarray, "B T"], targets: Integer[np.ndarray, "B T"]
) -> NonFinite | None:
    """
    Where the first NaN or infinity arises, when a loss is computed and sent back.

    Parameters
    ----------
    model
        A module with `loss`; or anything whose `config` and arrays are those of a transformer, of which a twin is made.
    ids, targets
        A batch.

    Returns
    -------
    NonFinite or None
        None if there is none.

    Raises
    ------
    TypeError
        If the model is neither.
    """
    for name, array in named_arrays(model).items():
        if not np.isfinite(array).all():
            return NonFinite("weights", name, "", _kind(array))
    if not isinstance(model, Module):
        arrays, config = named_arrays(model), getattr(model, "config", None)
        if config is None or not hasattr(config, "parameter_shapes"):
            raise TypeError(f"{type(model).__name__} has no config that says which transformer its arrays make")
        model = Transformer(config, dtype=next(iter(arrays.values())).dtype)
        from_arrays(model, arrays)
    found: list[NonFinite] = []
    with np.errstate(all="ignore"), _searching(model, found):
        try:
            loss_and_gradients(model, ids, targets)
        except _Found:
            return found[0]
    return None


class _Found(Exception):
    """Ends the search."""


@contextmanager
def _searching(model: Module, found: list[NonFinite]) -> Iterator[None]:
    """Stop at the first operation that makes what is not finite of numbers, or a NaN of anything."""
    name_of = {id(m): path or type(m).__name__ for path, m in model.named_modules()}
    active = [type(model).__name__]
    made_by: dict[int, tuple[Any, str]] = {}  # the tensors are kept, so that no other gets their number
    before, call = (Mode.made, Mode.returned), Module.__call__

    def made(out: Any, rule: Any, operands: Any) -> None:
        if isinstance(getattr(out, "data", None), Box):
            return
        made_by[id(out)] = out, active[-1]
        y = value_of(out)
        if np.isfinite(y).all():
            return
        if np.isnan(y).any() or all(np.isfinite(value_of(x)).all() for x in operands):
            found.append(NonFinite("forward", active[-1], rule.name, _kind(y)))
            raise _Found

    def returned(out: Any, rule: Any, i: int, cotangent: Any) -> None:
        g = value_of(cotangent)
        if not np.isfinite(g).all():
            layer = made_by.get(id(out), (None, active[-1]))[1]
            found.append(NonFinite("backward", layer, rule.name, _kind(g)))
            raise _Found

    def called(self: Module, *args: Any, **kwargs: Any) -> Any:
        active.append(name_of.get(id(self), active[-1]))
        try:
            return call(self, *args, **kwargs)
        finally:
            active.pop()

    Mode.made, Mode.returned, Module.__call__ = made, returned, called  # type: ignore[method-assign]
    try:
        yield
    finally:
        (Mode.made, Mode.returned), Module.__call__ = before, call  # type: ignore[method-assign]


def finite_or_nan(model: Any, ids: np.ndarray, targets: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    """As `loss_and_gradients`; a loss that refuses logits which are not finite is NaN here, without gradients."""
    try:
        return loss_and_gradients(model, ids, targets)
    except (ValueError, FloatingPointError):
        if np.isfinite(_logits(model, ids)).all():
            raise
        return float("nan"), {}


@contextmanager
def weights_kept(arrays: dict[str, np.ndarray]) -> Iterator[None]:
    """Whatever happens to the arrays, they are what they were at the end."""
    before = {name: array.copy() for name, array in arrays.items()}
    try:
        yield
    finally:
        for name, array in arrays.items():
            array[...] = before[name]


def _logits(model: Any, ids: np.ndarray) -> Float[np.ndarray, "B T V"]:
    call: Callable[..., Any] = model if isinstance(model, Module) else model.forward
    with no_grad(), np.errstate(all="ignore"):
        return value_of(call(ids))


def _kind(x: np.ndarray) -> str:
    return "a NaN" if np.isnan(x).any() else "an infinity"
