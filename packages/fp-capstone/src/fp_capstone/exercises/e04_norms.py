r"""
Back through both norms with one function.

Level: challenge. You need the chain rule and `fp_transformer.norms`. Derive first; `fp_capstone.norms` has the answer.

LayerNorm takes each row $x$ of $C$ numbers to

$$
\mu = \frac1C \sum_c x_c, \qquad r = \Big( \frac1C \sum_c (x_c - \mu)^2 + \varepsilon \Big)^{-1/2}, \qquad
\hat x_c = r\, (x_c - \mu), \qquad y_c = \gamma_c\, \hat x_c + \beta_c .
$$

RMSNorm leaves out two things, the centring ($\mu$ is replaced by 0) and the bias ($\beta$ is 0 and is not learned). So
one function goes back through both, if it knows which one it was. Of the way forward $\hat x$ and $r$ were kept, and
the gradient of the loss in $y$ has arrived. What are the gradients in $x$, $\gamma$ and $\beta$?

An entry of $x$ acts three ways: directly on its own output, through $r$ on all of its row, and through $\mu$ on all of
its row. Gain and bias are the same for all rows.

You learn what the two norms have in common, and what the mean costs on the way back: another mean.
"""

from typing import Any

import numpy as np

HINTS = (
    "At the normalised row arrives h = g * gain. Hold the mean fixed first: if z = x - mu moves along t, r moves by "
    "-r**2 times the mean of xhat * t. Collect what comes to z_j directly and through r.",
    "The gradient in z is r (h - xhat * mean(xhat * h)), with the mean over the row. Then z = x - mean(x): what does a "
    "map that takes the mean away from a row do with a gradient on the way back? Its matrix is symmetric.",
    "`h = g * gain`, `dx = r * (h - xhat * (xhat * h).mean(axis=1, keepdims=True))`, and if centred "
    "`dx -= dx.mean(axis=1, keepdims=True)`. `dgain = (g * xhat).sum(axis=0)`, `dbias = g.sum(axis=0)` or None.",
)


def norm_backward(
    g: np.ndarray, xhat: np.ndarray, r: np.ndarray, gain: np.ndarray, centred: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """
    Gradients of a loss in the input, gain and bias of LayerNorm, or in the input and gain of RMSNorm.

    Parameters
    ----------
    g
        The gradient of the loss in the result, floats of shape `(N, C)`.
    xhat
        The normalised rows, before gain and bias, `(N, C)`.
    r
        What each row was multiplied by, `(N, 1)`.
    gain
        Shape `(C,)`.
    centred
        Whether it was LayerNorm, which takes the mean away and adds a bias, or RMSNorm, which does neither.

    Returns
    -------
    dx, dgain : ndarray
        Of the shapes `(N, C)` and `(C,)`.
    dbias : ndarray or None
        Of the shape `(C,)`; None for RMSNorm, which has no bias.

    Examples
    --------
    The row (3, 4) under RMSNorm without epsilon; the loss is the first entry of the result:

    >>> r = 12.5**-0.5
    >>> dx, dgain, dbias = norm_backward(
    ...     np.array([[1.0, 0.0]]), r * np.array([[3.0, 4.0]]), np.array([[r]]), np.ones(2), False
    ... )
    >>> (dx / r).round(6).tolist(), (dgain / r).round(6).tolist(), dbias
    ([[0.64, -0.48]], [3.0, 0.0], None)
    """
    h = g * gain
    dx = r * (h - xhat * (xhat * h).mean(axis=1, keepdims=True))
    if not centred:
        return dx, (g * xhat).sum(axis=0), None
    return dx - dx.mean(axis=1, keepdims=True), (g * xhat).sum(axis=0), g.sum(axis=0)


_Kept = tuple[np.ndarray, np.ndarray, np.ndarray]


def _forward(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float, centred: bool) -> _Kept:
    """The formulas, for numbers that may be complex: y, xhat and r."""
    z = x - x.mean(axis=1, keepdims=True) if centred else x
    r = 1 / np.sqrt((z * z).mean(axis=1, keepdims=True) + eps)
    return gain * (z * r) + bias, z * r, r


_Drawn = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, bool]


def _drawn(N: int, C: int, eps: float, centred: bool, seed: int, plain: bool = False) -> _Drawn:
    rng = np.random.default_rng(seed)
    gain = np.ones(C) if plain else rng.uniform(0.5, 2, C) * rng.choice([-1, 1], C)
    bias = rng.normal(size=C) if centred else np.zeros(C)
    return rng.normal(size=(N, C)), 2 * rng.normal(size=(N, C)) + 1, gain, bias, eps, centred


_CASES: tuple[tuple[str, _Drawn], ...] = (
    ("RMSNorm, one row, gain one, eps = 0", _drawn(1, 3, 0.0, False, 1, plain=True)),
    ("RMSNorm, one row, eps = 0.5", _drawn(1, 5, 0.5, False, 2)),
    ("RMSNorm, three rows of three", _drawn(3, 3, 1e-5, False, 3)),
    ("LayerNorm, one row, gain one, eps = 0", _drawn(1, 3, 0.0, True, 4, plain=True)),
    ("LayerNorm, one row, eps = 0.5", _drawn(1, 5, 0.5, True, 5)),
    ("LayerNorm, three rows of three", _drawn(3, 3, 1e-5, True, 6)),
    ("LayerNorm, seven rows of two, eps = 1", _drawn(7, 2, 1.0, True, 7)),
)


def _arguments(case: _Drawn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, bool]:
    g, x, gain, bias, eps, centred = case
    _, xhat, r = _forward(x, gain, bias, eps, centred)
    return g, xhat, r, gain, centred


PROBES = tuple(_arguments(case) for _, case in _CASES)

_WHY = {
    "dgain": "A gain multiplies one entry of every normalised row: sum g * xhat over the rows.",
    "dbias": "A bias is added to every row: sum g over the rows.",
    "dx": "An entry acts on its own output and through r on its whole row, under LayerNorm through the mean as well; "
    "what arrives at the normalised row is g times the gain.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for (case, drawn), given in zip(_CASES, PROBES, strict=True):
        g, x, gain, bias, eps, centred = drawn
        got = learner.norm_backward(*(a.copy() if isinstance(a, np.ndarray) else a for a in given))
        assert isinstance(got, tuple | list) and len(got) == 3, f"{case}: expected dx, dgain and dbias, got {got!r:.80}"
        assert centred or got[2] is None, f"{case}: RMSNorm has no bias, dbias is None, got {got[2]!r:.80}"

        def loss(
            gain: np.ndarray, bias: np.ndarray, x: np.ndarray, g: np.ndarray = g, rest: Any = (eps, centred)
        ) -> Any:
            return (g * _forward(x, gain, bias, *rest)[0]).sum()

        for at, name, answer in ((0, "dgain", got[1]), (1, "dbias", got[2]), (2, "dx", got[0])):
            if answer is not None or centred or name != "dbias":
                _compare(case, name, answer, _slopes(loss, [gain, bias, x], at), _WHY[name])


def _slopes(loss: Any, arrays: list[np.ndarray], at: int) -> np.ndarray:
    """The gradient of a loss in one array, by complex steps: no difference is taken, so nothing cancels."""
    moved = [a.astype(complex) for a in arrays]
    gradient = np.empty(arrays[at].shape)
    for i in np.ndindex(gradient.shape):
        moved[at][i] += 1e-100j
        gradient[i] = loss(*moved).imag / 1e-100
        moved[at][i] = arrays[at][i]
    return gradient


def _compare(case: str, name: str, got: Any, expected: np.ndarray, why: str) -> None:
    """The form of an answer, then its first entry that is wrong."""
    assert isinstance(got, np.ndarray) and got.dtype.kind == "f" and got.shape == expected.shape, (
        f"{case}: {name} is an array of floats of shape {expected.shape}, got "
        + (f"{got.dtype} of shape {got.shape}" if isinstance(got, np.ndarray) else f"{got!r:.80}")
    )
    # sums of a few products round near 1e-15
    wrong = ~(np.abs(got - expected) <= 1e-9 * max(1.0, float(np.abs(expected).max())))
    if wrong.any():
        i = tuple(int(n) for n in np.argwhere(wrong)[0])
        raise AssertionError(f"{case}: {name}{list(i)} is {expected[i]:.8g}, yours is {got[i]:.8g}. {why}")


_Gradients = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def _row_held_fixed(g: np.ndarray, xhat: np.ndarray, r: np.ndarray, gain: np.ndarray, centred: bool) -> _Gradients:
    dx = r * g * gain
    return dx - centred * dx.mean(axis=1, keepdims=True), *norm_backward(g, xhat, r, gain, centred)[1:]


def _never_centred(g: np.ndarray, xhat: np.ndarray, r: np.ndarray, gain: np.ndarray, centred: bool) -> _Gradients:
    return norm_backward(g, xhat, r, gain, False)[0], *norm_backward(g, xhat, r, gain, centred)[1:]


def _always_centred(g: np.ndarray, xhat: np.ndarray, r: np.ndarray, gain: np.ndarray, centred: bool) -> _Gradients:
    return norm_backward(g, xhat, r, gain, True)[0], *norm_backward(g, xhat, r, gain, centred)[1:]


def _gain_forgotten(g: np.ndarray, xhat: np.ndarray, r: np.ndarray, gain: np.ndarray, centred: bool) -> _Gradients:
    return norm_backward(g, xhat, r, np.ones_like(gain), centred)


def _gain_at_the_end(g: np.ndarray, xhat: np.ndarray, r: np.ndarray, gain: np.ndarray, centred: bool) -> _Gradients:
    dx, dgain, dbias = norm_backward(g, xhat, r, np.ones_like(gain), centred)
    return dx * gain, dgain, dbias


def _sum_for_mean(g: np.ndarray, xhat: np.ndarray, r: np.ndarray, gain: np.ndarray, centred: bool) -> _Gradients:
    h = g * gain
    dx = r * (h - xhat * (xhat * h).sum(axis=1, keepdims=True))
    return dx - centred * dx.mean(axis=1, keepdims=True), *norm_backward(g, xhat, r, gain, centred)[1:]


def _added_along(g: np.ndarray, xhat: np.ndarray, r: np.ndarray, gain: np.ndarray, centred: bool) -> _Gradients:
    h = g * gain
    dx = r * (h + xhat * (xhat * h).mean(axis=1, keepdims=True))
    return dx - centred * dx.mean(axis=1, keepdims=True), *norm_backward(g, xhat, r, gain, centred)[1:]


def _not_divided(g: np.ndarray, xhat: np.ndarray, r: np.ndarray, gain: np.ndarray, centred: bool) -> _Gradients:
    return norm_backward(g, xhat, np.ones_like(r), gain, centred)


def _means_over_rows(g: np.ndarray, xhat: np.ndarray, r: np.ndarray, gain: np.ndarray, centred: bool) -> _Gradients:
    h = g * gain
    dx = r * (h - xhat * (xhat * h).mean(axis=0))
    return dx - centred * dx.mean(axis=0), *norm_backward(g, xhat, r, gain, centred)[1:]


def _shared_ones_averaged(
    g: np.ndarray, xhat: np.ndarray, r: np.ndarray, gain: np.ndarray, centred: bool
) -> _Gradients:
    return norm_backward(g, xhat, r, gain, centred)[0], (g * xhat).mean(axis=0), g.mean(axis=0) if centred else None


MISTAKES = (
    (
        _row_held_fixed,
        "You treat r as a constant. It is made of the whole row: if an entry grows, the row is divided by more. The "
        "gradient through the denominator is missing.",
    ),
    (
        _never_centred,
        "You leave out the mean of LayerNorm. Every entry of x is in it, so on the way back the mean of the gradient "
        "is taken away too.",
    ),
    (
        _always_centred,
        "You take the mean of the gradient away under RMSNorm as well. What was not centred on the way forward is not "
        "centred on the way back.",
    ),
    (
        _gain_forgotten,
        "You leave the gain out on the way back. What arrives at the normalised row is g times the gain. As long as "
        "all gains are one, as when training starts, nobody sees it.",
    ),
    (
        _gain_at_the_end,
        "You multiply by the gain at the end. On the way back it comes first: through r and the mean an entry collects "
        "from all others, each with a gain of its own.",
    ),
    (
        _sum_for_mean,
        "You take the sum of xhat * h where the mean belongs. The 1/C of the mean square stays on the way back.",
    ),
    (
        _added_along,
        "You add what comes through r. A longer row is divided by more, so the sign is minus.",
    ),
    (
        _not_divided,
        "You forget the factor r in front. A row that was divided by ten has a gradient that is divided by ten.",
    ),
    (
        _means_over_rows,
        "You take means over the rows. Each row was normalised by itself: the means run over its own entries.",
    ),
    (
        _shared_ones_averaged,
        "You average the gradients of gain and bias over the rows. All rows used them, and small changes add: sum.",
    ),
)
