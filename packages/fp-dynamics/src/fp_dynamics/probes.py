r"""
Questions to a live model.

Some mistakes leave no trace in a loss curve, or one that looks like good luck. A model that sees what it is to predict
has a wonderful loss; so has one that is asked for the token which it was given. The curve cannot tell, and the model
can: change something that must not matter, and see whether it matters. Which experiments, each a pass or two, tell for
certain what a curve only hints at?

You need: `transformer.causal`, `attention.dot-variance`, `markov.gibbs`, `markov.conditioning`, and the recorder
(`fp_dynamics.recorder`), into whose records the answers go.

## Does it look ahead?

By `transformer.causal` the scores $z_0, \dots, z_{m-1}$ do not depend on the tokens $t_m, t_{m+1}, \dots$. So replace
the second half of a text, and compare: with $\Delta_n$ the change of $z_n$, the **leak** is the root mean square of
$\Delta_n$ over $n < m$ as a share of that over $n \ge m$. It is zero in a causal model, and for floating point as near
to it as rounding is to one: different texts of one shape take the same operations in the same order. What leaks can be
used for, `transformer.leak` says.

## For which token was it trained?

Compare the scores $z_n$ with the token $k$ places further, for $k = 0, 1, 2$.

**Claim** `dynamics.offset-floor`. Let $t_0, t_1, \dots$ be random tokens, $H_k(n) = H(t_{n+k} \mid t_0, \dots, t_n)$.
(1) Every rule that makes a distribution of $t_0, \dots, t_n$ has an expected loss of at least $H_k(n)$ on $t_{n+k}$,
and only the conditional distribution of $t_{n+k}$ reaches it. (2) $H_0(n) = 0$. (3) $H_{k+1}(n) \ge H_k(n + 1)$.

**Proof.** (1) Given $t_0, \dots, t_n$ the expected loss is $H(p, q) = H(p) + D(p \,\|\, q)$ for the conditional $p$ and
the rule's $q$ (`markov.cross-entropy-split`), which is at least $H(p)$, with equality only for $q = p$
(`markov.gibbs`); take the mean over the contexts. (2) Given $t_0, \dots, t_n$ the token $t_n$ is certain. (3) Both are
entropies of $t_{n+k+1}$, given $t_0, \dots, t_n$ on the left and $t_{n+1}$ in addition on the right:
`markov.conditioning`. $\blacksquare$

So targets that are not shifted have the floor $0$, which a model that copies comes as near to as it likes; targets that
are shifted once too often have a floor no lower than the right one's. A model that has learned much is best at the
offset that it was trained for. One that has learned little need not be: with tied embeddings it copies somewhat from
the start, and tokens one and two places further look alike to it. So the loop's own targets are asked first, for the
offset at which they equal the ids.

## Are the scores divided by $\sqrt D$?

At the start queries know nothing of keys, and by `attention.dot-variance` the products of independent ones of $D$
entries have $\sqrt D$ times the deviation that the entries' sizes $s_q s_k$ would give. Divided by $\sqrt D$, they have
$s_q s_k$: the ratio of the measured deviation to $s_q s_k$ is near $1$ then, and near $\sqrt D$ if the division was
forgotten, whatever the size of the weights. The scores need not be asked for:

**Claim** `dynamics.scores-from-weights`. Let a row of attention weights be the softmax of scores $s_1, \dots, s_n$. The
deviation of $\ln w_1, \dots, \ln w_n$ is that of the scores.

**Proof.** $\ln w_j = s_j - \ln \sum_i e^{s_i}$: the same number is subtracted from all, and from their mean.
$\blacksquare$

It has to be asked of a new model. Training makes queries look for their keys, and a large ratio is what it is after.

## Is the gradient that of this batch?

Compute it once more, on the same batch and with the same weights, and compare directions and lengths. A gradient that
has not been cleared is a sum of all since the start:

**Claim** `dynamics.stale-gradient`. Let $g_1, \dots, g_t$ have length $1$, and let each two have the same product
$c \ge 0$. Then $G_t = g_1 + \dots + g_t$ has the length $\sqrt{t + t (t - 1)\, c}$, its cosine with the newest, $g_t$,
is $\frac{1 + (t - 1)\, c}{|G_t|}$, and with the sum before, $G_{t-1}$, at least $\sqrt{1 - 1 / |G_{t-1}|^2}$ if
$|G_{t-1}| > 1$.

**Proof.** $|G_t|^2$ has $t$ terms $1$ and $t (t - 1)$ terms $c$. $G_t \cdot g_t = 1 + (t - 1)\, c$. For the last let
$a = G_{t-1}$, $b = g_t$, $|b| = 1 < |a|$ and $x = a \cdot b \ge 0$. The square of the cosine of $a$ and $a + b$ is

$$
\frac{(|a|^2 + x)^2}{|a|^2\, (|a|^2 + 2x + 1)}, \quad \text{and} \quad
(|a|^2 + x)^2 - (|a|^2 - 1)(|a|^2 + 2x + 1) = x^2 + 2x + 1 \ge 0
$$

so that it is at least $\frac{|a|^2 - 1}{|a|^2}$. $\blacksquare$

At $c = 0.1$, after 1, 2, 10 and 100 steps: the length, and the cosine with what it should be.

>>> for t in (1, 2, 10, 100):
...     length = (t + t * (t - 1) * 0.1) ** 0.5
...     print(f"{length:.2f} {(1 + (t - 1) * 0.1) / length:.2f}")
1.00 1.00
1.48 0.74
4.36 0.44
33.02 0.33

A gradient computed twice has the cosine $1$ and the same length, up to rounding. (Clipping changes the length only.)

## Are all units the same?

By `dynamics.symmetric-units` units that begin with the same weights, in front of them and behind them, stay equal for
ever, and a layer of them never becomes more than one.

The **spread** of a matrix is $|W - \bar W| / |W|$, where each row of $\bar W$ is the mean row, or each column the mean
column, whichever is smaller. Independent entries of mean zero make it about one, equal units zero. A matrix of zeros
has none, and need not have: beside others that are drawn it gets a gradient that tells its units apart.

## In practice

These are the checks that A. Karpathy's *A recipe for training neural networks* (2019) asks for by hand. Large teams
keep a few such probes in the loop, every some thousand steps. A leak between texts that are packed into one window is
another one: there it is the *other* text that has to be changed.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from fp_autograd.tensor import no_grad
from fp_autograd.tracing import value_of
from fp_dynamics.recorder import named_arrays
from fp_neural.module import Module

__all__ = ["probe", "probe_causality", "probe_offsets", "label_offset", "probe_scores", "probe_gradient", "spread"]

OFFSETS = (0, 1, 2)
Ids = Integer[np.ndarray, "B T"]


@contextmanager
def _in_use(model: Module) -> Iterator[None]:
    """Without dropout and without a tape."""
    training = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for m, mode in training:
            m.training = mode


def probe_causality(model: Module, ids: Ids) -> float:
    """
    How much the second half of a text changes the scores of the first, as a share of its own change.

    Parameters
    ----------
    model
        Gives scores of shape (B, T, V) for ids of shape (B, T).
    ids
        At least two tokens a text.

    Returns
    -------
    float
        The leak: about 0 if the model is causal.

    Raises
    ------
    ValueError
        If a text has fewer than two tokens, or there are no scores for each position.

    Examples
    --------
    >>> from fp_transformer import Transformer, TransformerConfig
    >>> config = TransformerConfig.gpt2(vocab_size=7, context_length=8, n_layers=1, n_heads=2, d_model=8)
    >>> model, ids = Transformer(config, rng=np.random.default_rng(0)), np.array([[3, 1, 4, 1, 5, 2]])
    >>> probe_causality(model, ids) < 1e-5
    True
    >>> model.blocks[0].attention.mask = None
    >>> probe_causality(model, ids) > 1e-3
    True
    """
    _check(ids, 2)
    with _in_use(model):
        z = _scores(model, ids)
        half, other = ids.shape[1] // 2, ids.copy()
        other[:, half:] = (other[:, half:] + 1) % z.shape[-1]
        change = _scores(model, other) - z
    return _ratio(_rms(change[:, :half]), _rms(change[:, half:]))


def probe_offsets(model: Module, ids: Ids) -> list[float]:
    """
    The losses of the model's scores against the token 0, 1 and 2 places further, in nats (`dynamics.offset-floor`).

    Parameters
    ----------
    model
        As for `probe_causality`.
    ids
        At least three tokens a text, from the text that the model was trained on.

    Returns
    -------
    list of float
        Of the same positions, so that they can be compared.

    Raises
    ------
    ValueError
        As there, for three tokens.
    """
    _check(ids, 1 + OFFSETS[-1])
    T = ids.shape[1] - OFFSETS[-1]
    with _in_use(model):
        z = _scores(model, ids)[:, :T].astype(np.float64)
    z -= z.max(axis=-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    return [float(-np.take_along_axis(log_p, ids[:, k : k + T, None], -1).mean()) for k in OFFSETS]


def label_offset(ids: Ids, targets: Ids) -> int | None:
    """
    How many places further the targets are than the ids: 1 if all is well.

    Parameters
    ----------
    ids, targets
        A batch as the loop gives it to the model.

    Returns
    -------
    int or None
        The one of -2 to 3 at which all of them agree; None if there is none, or more than one.

    Examples
    --------
    >>> text = np.array([[3, 1, 4, 1, 5, 2, 6, 0]])
    >>> label_offset(text[:, :5], text[:, 1:6]), label_offset(text[:, :5], text[:, :5])
    (1, 0)
    """
    T = ids.shape[1]
    found = [
        k
        for k in range(max(-2, 1 - T), min(4, T))
        if np.array_equal(targets[:, max(-k, 0) : T - max(k, 0)], ids[:, max(k, 0) : T + min(k, 0)])
    ]
    return found[0] if len(found) == 1 else None


def probe_scores(model: Any, ids: Ids) -> list[dict[str, float]]:
    """
    The deviation of each block's attention scores, and what it would be if they are divided by the root of the width.

    Parameters
    ----------
    model
        With blocks like those of `fp_transformer.Transformer`.
    ids
        Token ids; rows of attention to fewer than 8 tokens do not count.

    Returns
    -------
    list of dict
        For each block `score_std`, NaN if no row has enough weights that are not zero; `score_ratio`, that by the
        product of the root mean squares of queries and keys; and `d_head`. On a model before its first step the ratio
        is near 1, or near the root of `d_head`.
    """
    found = []
    with _in_use(model):
        for block, x in zip(model.blocks, model.stream(ids), strict=False):
            attention, n = block.attention, block.norm1(x)
            w = np.asarray(value_of(attention.weights(n)), dtype=np.float64)
            with np.errstate(divide="ignore"):
                s = np.where(w > 0, np.log(w), np.nan)
            enough = np.isfinite(s).sum(axis=-1) >= min(8, s.shape[-1])
            known = s[enough] if s.shape[-1] > 1 else s[:0]
            std = math.sqrt(float(np.mean(np.nanvar(known, axis=-1, ddof=1)))) if known.size else math.nan
            sizes = _rms(value_of(attention.q_proj(n))) * _rms(value_of(attention.k_proj(n)))
            found.append({"score_std": std, "score_ratio": _ratio(std, sizes), "d_head": attention.d_head})
    return found


def probe_gradient(
    model: Any, ids: np.ndarray, targets: np.ndarray, grads: Mapping[str, np.ndarray] | None = None
) -> dict[str, float]:
    """
    Compare the gradient that is about to be used with one that is computed anew.

    Parameters
    ----------
    model
        With `loss(ids, targets)`.
    ids, targets
        The batch that the gradient is meant to be of, all of it.
    grads
        By name; those that lie in the parameters if not given. They are left as they are.

    Returns
    -------
    dict
        `gradient_cosine` and `gradient_ratio`, of the used one's length to the new one's. Nothing if the loss is not
        the same twice, as with dropout, or there are no gradients but zeros.
    """
    parameters = model.named_parameters()
    kept = {name: p.grad for name, p in parameters.items()}
    used = {n: value_of(g) for n, g in (kept if grads is None else grads).items() if g is not None}
    with no_grad():
        once = model.loss(ids, targets).item()
    model.zero_grad()
    try:
        loss = model.loss(ids, targets)
        loss.backward()
        new = {name: value_of(p.grad) for name, p in parameters.items() if p.grad is not None}
    finally:
        for name, p in parameters.items():
            p.grad = kept[name]
    if loss.item() != once or not used:
        return {}
    names = used.keys() & new.keys()
    a, b = (_length({n: g[n] for n in names}) for g in (used, new))
    if not a and not b:
        return {}  # nothing to be learned from this batch; a zero vector has no direction
    dot = sum(float(np.vdot(used[n].astype(np.float64), new[n])) for n in sorted(names))
    return {"gradient_cosine": _ratio(dot, a * b), "gradient_ratio": _ratio(a, b)}


def spread(matrix: Float[np.ndarray, "rows columns"]) -> float:
    """
    How unlike each other the rows of a matrix are, or its columns, whichever is less.

    Parameters
    ----------
    matrix
        At least two rows and two columns.

    Returns
    -------
    float
        0 if all are equal, at most 1.

    Raises
    ------
    ValueError
        If there is but one row or column.

    Examples
    --------
    >>> spread(np.ones((3, 2))), spread(np.array([[1.0, 2.0], [-1.0, -2.0]]))
    (0.0, 0.316...)
    """
    if min(matrix.shape) < 2:
        raise ValueError(f"a spread is one of several rows and columns, got a matrix of shape {matrix.shape}")
    W = matrix.astype(np.float64)
    return min(_ratio(_rms(W - W.mean(axis=axis, keepdims=True)), _rms(W)) for axis in (0, 1))


def probe(
    model: Any, ids: np.ndarray, targets: np.ndarray, grads: Mapping[str, np.ndarray] | None = None
) -> dict[str, Any]:
    """
    All questions that this model can answer, to be kept in a record as `record["probes"]`.

    Ask at the first step, before it is taken, and at the last.

    Parameters
    ----------
    model
        A model of token ids, or anything with named arrays, which answers less.
    ids, targets
        A batch as the loop gives it to the model.
    grads
        As for `probe_gradient`.

    Returns
    -------
    dict
        Plain numbers: `spread` by matrix, without those of zeros; for a module with a loss `vocab_size`, `logit_std`,
        `gradient_cosine`, `gradient_ratio`; if it scores each position, `leak`, `losses_by_offset`, `label_offset`;
        with blocks, `scores`.

    Examples
    --------
    >>> from fp_transformer import Transformer, TransformerConfig
    >>> config = TransformerConfig.gpt2(vocab_size=7, context_length=8, n_layers=1, n_heads=2, d_model=8)
    >>> model, text = Transformer(config, rng=np.random.default_rng(0)), np.arange(9)[None] % 7
    >>> model.loss(text[:, :-1], text[:, 1:]).backward()
    >>> found = probe(model, text[:, :-1], text[:, 1:])
    >>> found["label_offset"], round(found["gradient_cosine"], 6)
    (1, 1.0)
    """
    matrices = {n: a for n, a in named_arrays(model).items() if a.ndim == 2 and min(a.shape) > 1 and a.any()}
    found: dict[str, Any] = {"spread": {name: spread(a) for name, a in matrices.items()}}
    if not isinstance(model, Module) or not hasattr(model, "loss"):
        return found
    with _in_use(model):
        z = np.asarray(value_of(model(ids)))
    found |= {"vocab_size": z.shape[-1], "logit_std": float(np.sqrt(np.mean(np.var(z, axis=-1, dtype=np.float64))))}
    found |= probe_gradient(model, ids, targets, grads)
    if z.shape[:-1] == ids.shape and targets.shape == ids.shape and ids.ndim == 2 and ids.shape[1] > OFFSETS[-1]:
        found |= {
            "leak": probe_causality(model, ids),
            "losses_by_offset": probe_offsets(model, ids),
            "label_offset": label_offset(ids, targets),
        }
        if hasattr(model, "blocks") and hasattr(model, "stream"):
            found["scores"] = probe_scores(model, ids)
    return found


def _scores(model: Module, ids: np.ndarray) -> np.ndarray:
    z = np.asarray(value_of(model(ids)))
    if z.shape[:-1] != ids.shape:
        raise ValueError(
            f"the model has to score each position, (B, T, V) for ids of shape (B, T); got {z.shape} for {ids.shape}"
        )
    return z


def _check(ids: np.ndarray, least: int) -> None:
    if ids.ndim != 2 or ids.shape[1] < least or ids.shape[0] < 1:
        raise ValueError(f"this asks for ids of shape (B, T) with T at least {least}, got {ids.shape}")


def _rms(x: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def _length(grads: Mapping[str, np.ndarray]) -> float:
    with np.errstate(all="ignore"):
        return math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in grads.values()))


def _ratio(a: float, b: float) -> float:
    """0 if there is nothing above, infinite if there is nothing below but something above."""
    return a / b if b else (0.0 if not a else math.inf)
