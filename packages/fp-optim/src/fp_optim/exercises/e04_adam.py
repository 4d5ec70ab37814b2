r"""
Adam, from its paper.

Level: implement. You need `fp_optim.adaptive` up to (E3).

Diederik Kingma and Jimmy Ba put their method into a box of a dozen lines. With $g_t$ the gradient at the point
$w_{t-1}$, $m_0 = 0$ and $v_0 = 0$, all of it entry by entry:

$$
\begin{aligned}
m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, & v_t &= \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2, \\
\hat m_t &= m_t / (1 - \beta_1^t), & \hat v_t &= v_t / (1 - \beta_2^t), \\
w_t &= w_{t-1} - \eta\, \hat m_t / \big( \sqrt{\hat v_t} + \varepsilon \big). &&
\end{aligned}
$$

Write one step. It is handed the state of the step before and hands on the new one, so that a run can be stopped, saved
and continued: $t$ is the number of the step, and the first is 1.

Whatever the gradient's size, the first step must move every entry by the rate, a hair less; an entry whose gradient has
always been 0 does not move. Try both before you hand in, and a gradient of $10^{-9}$, where $\varepsilon$ matters.

Nearly every slip in these lines still trains, a little worse or with another rate than the one on the label; so you
learn to check an optimizer by numbers and not by whether a loss goes down.
"""

from typing import Any

import numpy as np

HINTS = (
    "Six lines, one for each formula. Bring both moments up to date first: the step uses the new ones. Nothing is "
    "summed over entries.",
    "Correct copies, `m_hat = m / (1 - beta1**t)`, and return `m` and `v` as they are: the next step continues from "
    "the moments, not from what was divided.",
    "`w - lr * m_hat / (np.sqrt(v_hat) + eps)`: the root of the corrected second moment, and `eps` outside of the "
    "root.",
)


def adam_step(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    One step of Adam.

    Parameters
    ----------
    w
        The parameters, floats of any shape.
    g
        Their gradient, in the same shape.
    m, v
        The two moments after step t - 1, in the same shape; zeros before the first.
    t
        The number of this step, counted from 1.
    lr
        The rate, above 0.
    beta1, beta2
        The factors by which the moments fade, at least 0 and below 1.
    eps
        Above 0.

    Returns
    -------
    (ndarray, ndarray, ndarray)
        The new `w`, `m` and `v`, in the shape of `w`.

    Examples
    --------
    >>> w, m, v = np.array([1.0, 1.0]), np.zeros(2), np.zeros(2)
    >>> w, m, v = adam_step(w, np.array([1000.0, -0.001]), m, v, t=1, lr=0.5, beta1=0.75, beta2=0.75)
    >>> w.round(4).tolist(), m.tolist(), v.tolist()
    ([0.5, 1.5], [250.0, -0.00025], [250000.0, 2.5e-07])
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return w - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    rng = np.random.default_rng(4)
    sizes = 10.0 ** rng.integers(-3, 3, size=(2, 3, 1))
    for name, settings, gradients in (
        ("gradients of 4 and -0.25", (0.5, 0.75, 0.5, 1e-8), np.array([[4.0, -0.25]] * 3)),
        ("gradients near eps", (0.5, 0.75, 0.5, 1e-8), np.array([[1e-9, -3e-8, 0.0], [2e-9, 1e-8, 0.0]])),
        ("a silent entry that wakes up", (0.1, 0.9, 0.99, 1e-8), np.array([[0.0, 1.0]] * 5 + [[1.0, -1.0]] * 2)),
        ("random gradients of many sizes", (1e-3, 0.9, 0.999, 1e-8), sizes * rng.normal(size=(20, 2, 3, 2))),
        ("random gradients without memory", (0.01, 0.0, 0.0, 1e-6), rng.normal(size=(3, 5))),
        ("random gradients with a large eps", (0.01, 0.8, 0.95, 0.5), rng.normal(size=(6, 2, 2))),
    ):
        w = rng.normal(size=gradients.shape[1:])
        m = v = np.zeros_like(w)
        lr, beta1, beta2, eps = settings
        for t, g in enumerate(gradients, start=1):
            got = learner.adam_step(w.copy(), g.copy(), m.copy(), v.copy(), t, *settings)
            case = f"{name}, lr = {lr:g}, beta1 = {beta1:g}, beta2 = {beta2:g}, eps = {eps:g}, step {t}"
            assert isinstance(got, tuple | list) and len(got) == 3, (
                f"{case}: expected three arrays, w, m and v, got {got!r:.80}"
            )
            # the moments as sums over all gradients so far, not from one another
            m = _fading(gradients[:t], beta1)
            v = _fading(gradients[:t] ** 2, beta2)
            moved = lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
            for label, came in zip(("w", "m", "v"), got, strict=True):
                assert isinstance(came, np.ndarray) and came.dtype.kind in "iuf" and came.shape == w.shape, (
                    f"{case}: {label} must be an array of floats of the shape of w, {w.shape}, got {came!r:.80}"
                )
            # m and v first: a wrong w may come of them
            for label, came, expected in (("m", got[1], m), ("v", got[2], v), ("the step", w - got[0], moved)):
                # the step is a difference of numbers near 1, each rounded near 1e-16
                floor = 1e-13 if label == "the step" else 0
                wrong = ~np.isclose(came, expected, rtol=1e-6 if floor else 1e-9, atol=floor)
                if wrong.any():
                    at = np.unravel_index(int(wrong.argmax()), wrong.shape)
                    recent = [float(x[at]) for x in gradients[:t]][-4:]
                    raise AssertionError(
                        f"{case}: where the {'last ' if t > 4 else ''}gradients were "
                        f"{', '.join(f'{x:.4g}' for x in recent)}, expected {label} = {expected[at]:.6g}, got "
                        f"{came[at]:.6g}. {_WHY[label]}"
                    )
            w = w - moved


def _fading(values: np.ndarray, beta: float) -> np.ndarray:
    """The mean with fading weights, started from 0."""
    weights = (1 - beta) * float(beta) ** np.arange(len(values))[::-1]
    return np.asarray(np.tensordot(weights, values, axes=1))


_WHY = {
    "m": "m is beta1 times the old m, plus 1 - beta1 times the gradient.",
    "v": "v is beta2 times the old v, plus 1 - beta2 times the square of the gradient.",
    "the step": "w moves against its gradient, by lr times m / (1 - beta1**t), over the root of v / (1 - beta2**t) "
    "with eps added.",
}

_Three = tuple[np.ndarray, np.ndarray, np.ndarray]


def _no_bias_correction(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> _Three:
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    return w - lr * m / (np.sqrt(v) + eps), m, v


def _corrected_moments_kept(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> _Three:
    w, m, v = adam_step(w, g, m, v, t, lr, beta1, beta2, eps)
    return w, m / (1 - beta1**t), v / (1 - beta2**t)


def _first_moment_only(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> _Three:
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    return w - lr * m / (1 - beta1**t) / (np.sqrt(v) + eps), m, v


def _counts_ahead(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> _Three:
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    return w - lr * m / (1 - beta1 ** (t + 1)) / (np.sqrt(v / (1 - beta2 ** (t + 1))) + eps), m, v


def _roots_averaged(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> _Three:
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * np.abs(g)
    return w - lr * m / (1 - beta1**t) / (v / (1 - beta2**t) + eps), m, v


def _eps_inside_the_root(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> _Three:
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    return w - lr * m / (1 - beta1**t) / np.sqrt(v / (1 - beta2**t) + eps), m, v


def _eps_before_the_correction(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> _Three:
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    return w - lr * np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + eps), m, v


def _root_forgotten(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> _Three:
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    return w - lr * m / (1 - beta1**t) / (v / (1 - beta2**t) + eps), m, v


def _one_size_for_all(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> _Three:
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * np.full_like(g, (g**2).mean())
    return w - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


def _betas_exchanged(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> _Three:
    return adam_step(w, g, m, v, t, lr, beta2, beta1, eps)


def _old_moments(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> _Three:
    with np.errstate(invalid="ignore"):
        old = w - lr * m / (1 - beta1 ** max(t - 1, 1)) / (np.sqrt(v / (1 - beta2 ** max(t - 1, 1))) + eps)
    return old, beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2


def _a_fading_sum(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> _Three:
    m, v = beta1 * m + g, beta2 * v + g**2
    return w - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


def _variance(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> _Three:
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * (g - m) ** 2
    return w - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


def _uphill(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> _Three:
    new, m, v = adam_step(w, g, m, v, t, lr, beta1, beta2, eps)
    return 2 * w - new, m, v


MISTAKES = (
    (
        _no_bias_correction,
        "You leave the bias correction out. Both moments start at zero and are too small at first, the second more "
        "than the first: divide each by 1 - beta**t.",
    ),
    (
        _corrected_moments_kept,
        "You hand on the corrected moments. The next step would fade and correct them once more: the division is for "
        "this step alone.",
    ),
    (
        _first_moment_only,
        "You correct the first moment alone. The second starts from zero too, and fades more slowly: without its "
        "correction the first step is far too long.",
    ),
    (
        _counts_ahead,
        "You correct for one step more than has been made. t is the number of this step already: the first has 1.",
    ),
    (
        _roots_averaged,
        "You take the mean of the roots, of |g|, in place of the root of the mean of the squares. It is never larger, "
        "so your steps are too long wherever gradients differ in size.",
    ),
    (
        _eps_inside_the_root,
        "You add eps inside the root. There it counts by its own root, 1e-4 for 1e-8, and gradients smaller than that "
        "hardly move anything.",
    ),
    (
        _eps_before_the_correction,
        "You add eps to the root of the uncorrected moment, as in the shortcut that the paper offers. Its eps is "
        "another one, larger by 1 / sqrt(1 - beta2**t) at first: correct v before.",
    ),
    (
        _root_forgotten,
        "You divide by the second moment without its root. A step is to have the size of the rate; yours is longer "
        "the smaller the gradient.",
    ),
    (
        _one_size_for_all,
        "You average the squares over the entries of the array. Every entry has a second moment of its own; that "
        "entries differ is what Adam is for.",
    ),
    (
        _betas_exchanged,
        "You have the two betas exchanged. The first fades the mean of gradients, the second that of their squares.",
    ),
    (
        _old_moments,
        "You step with the moments of the step before and bring them up to date afterwards. The new gradient counts "
        "in its own step.",
    ),
    (
        _a_fading_sum,
        "Your moments are fading sums, as the buffer of momentum is. They are means: what is new has the weight 1 - "
        "beta.",
    ),
    (
        _variance,
        "You take the squares of the distance from the mean, a variance. Adam's second moment is of the gradient "
        "itself, its mean not taken off.",
    ),
    (
        _uphill,
        "You add the step. The gradient points uphill, so it is taken off.",
    ),
)

_w = np.array([0.5, -1.0, 2.0])
PROBES = (
    (_w, np.array([3.0, -0.5, 0.0]), np.zeros(3), np.zeros(3), 1, 0.1, 0.9, 0.99, 1e-8),
    (_w, np.array([3.0, -0.5, 0.25]), np.array([1.0, 0.5, -0.125]), np.array([4.0, 1.0, 0.5]), 3, 0.1, 0.9, 0.99, 0.5),
)
