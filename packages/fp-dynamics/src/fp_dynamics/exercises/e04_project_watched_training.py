r"""
Project: a training loop that watches itself.

Level: project. You need the whole chapter, and the gradient of a small network: write it by hand, or let `fp_autograd`
find it.

*The network.* $h = \operatorname{relu}(x W_1 + b_1)$, $z = h W_2 + b_2$, and the loss of a batch is the mean of
$-\ln \operatorname{softmax}(z)_y$ over its rows. The slope of relu at zero is zero.

*A step*, for each batch in turn: gradients; if their global norm $|g|$, over all four parameters together, exceeds
`clip`, all of them are multiplied by $\text{clip} / |g|$; then plain descent, $\theta \leftarrow \theta - \eta g$ with
the clipped gradients.

*What is written down* in each step:

- `loss`, in front of the step;
- `smoothed`: the fading average of the losses so far with the decay $\beta$, corrected for its start;
- `grad_norm`: $|g|$ *before* clipping;
- `ratio`: for each parameter by its name, $|\Delta \theta| / |\theta|$ with the $\theta$ in front of the step; for a
  parameter of length zero it is 0;
- `dead`: the share of hidden units that are zero for every row of the batch, in front of the step;
- `product`: $\eta \rho$, the rate times the curvature that the step met, measured from two losses *of the same batch*,
  in front of the step and behind it, by (E3) of `fp_dynamics.stability`. If the gradient was clipped by a factor $c$,
  the step had the rate $\eta c$ for the gradient $g$: measure with that, and multiply by it. 0 if $|g|$ is 0.

And at the end `alarm`: the first step, counted from 0, whose `product` is above 2 while its smoothed loss is above the
lowest smoothed loss so far (that step's own included) by more than a tenth of that; or $-1$ if there is none.

You learn to measure without changing what is measured, and where each number belongs: in front of the step, or behind.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "With p = softmax(z) and the targets' ones subtracted, dz = (p - onehot) / N; dW2 = h.T @ dz, "
    "db2 = dz.sum(axis=0), dh = dz @ W2.T, da = dh * (h > 0), dW1 = x.T @ da, db1 = da.sum(axis=0).",
    "The second loss is that of the same x and y with the new parameters, before the next batch. With the rate "
    "r = eta * c and s = |g|^2 it is product = 2 (1 - (before - after) / (r s)).",
    "Copy the parameters first. `total = beta * total + (1 - beta) * loss` and "
    "`smoothed = total / (1 - beta**(i + 1))`; the alarm compares with the minimum of the list up to and with this "
    "step: `s > 1.1 * low`.",
)

_Batch = tuple[np.ndarray, np.ndarray]
_Params = dict[str, np.ndarray]


def watched_training(
    params: dict[str, np.ndarray], batches: list[tuple[np.ndarray, np.ndarray]], rate: float, clip: float, beta: float
) -> dict[str, Any]:
    """
    Train a small network, and write down what happens.

    Parameters
    ----------
    params
        Where training starts, float64, not to be changed: `"W1"` of shape `(D, H)`, `"b1"` of shape `(H,)`, `"W2"` of
        shape `(H, K)`, `"b2"` of shape `(K,)`.
    batches
        For each step inputs of shape `(N, D)` and classes, integers of shape `(N,)`.
    rate, clip, beta
        Of the steps; the largest global norm; of the smoothing.

    Returns
    -------
    dict
        `"params"`: after training; `"records"`: for each step a dict as described; `"alarm"`.

    Examples
    --------
    >>> zeros = {"W1": np.zeros((2, 3)), "b1": np.zeros(3), "W2": np.zeros((3, 2)), "b2": np.zeros(2)}
    >>> run = watched_training(zeros, [(np.ones((2, 2)), np.array([0, 0]))], 1.0, 9.0, 0.9)
    >>> run["records"][0]["loss"] == math.log(2), run["records"][0]["dead"], run["params"]["b2"].tolist()
    (True, 1.0, [0.5, -0.5])
    """
    return _trained(params, batches, rate, clip, beta)


def _forward(p: _Params, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    h = np.maximum(x @ p["W1"] + p["b1"], 0)
    z = h @ p["W2"] + p["b2"]
    z = z - z.max(axis=1, keepdims=True)
    log = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return float(-log[np.arange(len(y)), y].mean()), h, log


def _gradients(p: _Params, x: np.ndarray, y: np.ndarray, h: np.ndarray, log: np.ndarray) -> _Params:
    dz = np.exp(log)
    dz[np.arange(len(y)), y] -= 1
    dz /= len(y)
    da = (dz @ p["W2"].T) * (h > 0)
    return {"W1": x.T @ da, "b1": da.sum(axis=0), "W2": h.T @ dz, "b2": dz.sum(axis=0)}


def _norm(arrays: _Params) -> float:
    return math.sqrt(sum(float((a * a).sum()) for a in arrays.values()))


def _trained(
    params: _Params, batches: list[_Batch], rate: float, clip: float, beta: float, *, wrong: str = ""
) -> dict[str, Any]:
    """The loop; `wrong` names the one thing that a planted mistake does differently."""
    p = {name: a.copy() for name, a in params.items()}
    records: list[dict[str, Any]] = []
    total, alarm = 0.0, -1
    for i, (x, y) in enumerate(batches):
        loss, h, log = _forward(p, x, y)
        grads = _gradients(p, x, y, h, log)
        norm = _norm(grads)
        c = clip / norm if norm > clip else 1.0
        if wrong == "each":
            steps = {n: g * min(1.0, clip / max(_norm({n: g}), 1e-300)) for n, g in grads.items()}
        else:
            steps = {n: g * c for n, g in grads.items()}
        new = {n: p[n] - rate * steps[n] for n in p}
        after = _forward(new, x, y)[0]
        if wrong == "next batch":
            nx, ny = batches[(i + 1) % len(batches)]
            after = _forward(new, nx, ny)[0]
        r = rate if wrong == "rate" else rate * c
        product = 2 * (1 - (loss - after) / (r * norm**2)) if norm else 0.0
        if wrong == "curvature" and norm:
            product /= r
        total = beta * total + (1 - beta) * loss
        smoothed = total if wrong == "uncorrected" else total / (1 - beta ** (i + 1))
        below = new if wrong == "behind" else p
        ratio = {n: rate * _norm({n: steps[n]}) / _norm({n: below[n]}) if _norm({n: below[n]}) else 0.0 for n in p}
        if wrong == "gradient ratio":
            ratio = {n: _norm({n: grads[n]}) / _norm({n: p[n]}) if _norm({n: p[n]}) else 0.0 for n in p}
        dead = float((h == 0).all(axis=0).mean())
        if wrong == "entries":
            dead = float((h == 0).mean())
        records.append(
            {
                "loss": after if wrong == "loss behind" else loss,
                "smoothed": smoothed,
                "grad_norm": norm * c if wrong == "clipped" else norm,
                "ratio": ratio,
                "dead": dead,
                "product": product,
            }
        )
        lowest = min(record["smoothed"] for record in records)
        if alarm < 0 and product > 2 and (wrong == "eager" or smoothed > 1.1 * lowest):
            alarm = i
        p = new
    return {"params": p, "records": records, "alarm": alarm}


def _run(seed: int, scale: float, rate: float, clip: float, beta: float, n: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    D, H, K, N = 3, 7, 5, 11
    params = {
        "W1": scale * rng.normal(size=(D, H)),
        "b1": np.zeros(H),
        "W2": scale * rng.normal(size=(H, K)),
        "b2": np.zeros(K),
    }
    params["b1"][:2] = -20.0  # two units are dead from the start
    teacher = rng.normal(size=(D, K))
    batches = []
    for _ in range(n):
        x = rng.normal(size=(N, D))
        batches.append((x, (x @ teacher).argmax(axis=1)))
    return params, batches, rate, clip, beta


PROBES = (
    _run(0, 0.5, 0.3, 0.5, 0.8, 6),
    _run(1, 0.5, 0.1, 100.0, 0.5, 4),
    _run(2, 1.0, 8.0, 2.0, 0.6, 14),
    _run(3, 1.5, 6.0, 100.0, 0.0, 12),
    (*_run(4, 0.5, 0.3, 1.0, 0.9, 3)[:1], [], 0.3, 1.0, 0.9),
)

_WHY = {
    "loss": "It is the loss of this batch in front of the step.",
    "smoothed": "Divide the fading average by the sum of its weights, 1 - beta^(i + 1).",
    "grad_norm": "It is the global norm of all four gradients, before clipping.",
    "ratio": "It is the length of what was subtracted over the length of the parameter in front of the step.",
    "dead": "It is the share of columns of h that are zero in every row.",
    "product": "Both losses are of this batch, and the rate for the unclipped gradient is eta times c.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for case, given in enumerate(PROBES, 1):
        params, batches, *rest = given
        mine = {name: a.copy() for name, a in params.items()}, [(x.copy(), y.copy()) for x, y in batches]
        got, expected = learner.watched_training(*mine, *rest), watched_training(*given)
        assert isinstance(got, dict) and {"params", "records", "alarm"} <= got.keys(), (
            f"run {case}: expected a dict with params, records and alarm, got {got!r:.80}"
        )
        records = got["records"]
        assert isinstance(records, list) and len(records) == len(batches), (
            f"run {case}: records is a list with a dict for each of {len(batches)} steps, got {records!r:.80}"
        )
        for i, (record, right) in enumerate(zip(records, expected["records"], strict=True)):
            assert isinstance(record, dict), f"run {case}, step {i}: a record is a dict, got {record!r:.80}"
            for key, value in right.items():
                assert key in record, f"run {case}, step {i}: the record has no {key!r}"
                _compare(f"run {case}, step {i}: {key}", record[key], value, _WHY[key])
        for name, value in expected["params"].items():
            found = got["params"].get(name) if isinstance(got["params"], dict) else None
            assert isinstance(found, np.ndarray) and found.shape == value.shape, (
                f"run {case}: params holds {name} of shape {value.shape}, got {found!r:.80}"
            )
            assert np.allclose(found, value, rtol=1e-7, atol=1e-9), (  # rounding, over a few steps
                f"run {case}: {name} is another one after training; clip by the norm of all four gradients together"
            )
        assert got["alarm"] == expected["alarm"], (
            f"run {case}: the alarm comes at step {expected['alarm']}, yours at {got['alarm']!r:.20}. Both have to "
            "hold: a product above 2, and a smoothed loss more than a tenth above its lowest so far."
        )


def _compare(case: str, got: Any, expected: Any, why: str) -> None:
    if isinstance(expected, dict):
        assert isinstance(got, dict), f"{case} is a dict with a number for each parameter, got {got!r:.80}"
        for name, value in expected.items():
            assert name in got, f"{case} has no entry for {name}"
            _compare(f"{case} of {name}", got[name], value, why)
        return
    right = isinstance(got, float | int | np.number) and abs(got - expected) <= 1e-6 * max(1.0, abs(expected))
    # a difference of two losses divided by a small number loses a few digits
    assert right, f"{case} is {expected:.8g}, yours is {got!r:.30}. {why}"


_Answer = dict[str, Any]


def _loss_behind(p: Any, batches: Any, rate: Any, clip: Any, beta: Any) -> _Answer:
    return _trained(p, batches, rate, clip, beta, wrong="loss behind")


def _uncorrected(p: Any, batches: Any, rate: Any, clip: Any, beta: Any) -> _Answer:
    return _trained(p, batches, rate, clip, beta, wrong="uncorrected")


def _clipped_norm(p: Any, batches: Any, rate: Any, clip: Any, beta: Any) -> _Answer:
    return _trained(p, batches, rate, clip, beta, wrong="clipped")


def _clipped_each(p: Any, batches: Any, rate: Any, clip: Any, beta: Any) -> _Answer:
    return _trained(p, batches, rate, clip, beta, wrong="each")


def _ratio_of_gradients(p: Any, batches: Any, rate: Any, clip: Any, beta: Any) -> _Answer:
    return _trained(p, batches, rate, clip, beta, wrong="gradient ratio")


def _ratio_behind(p: Any, batches: Any, rate: Any, clip: Any, beta: Any) -> _Answer:
    return _trained(p, batches, rate, clip, beta, wrong="behind")


def _zeros_not_units(p: Any, batches: Any, rate: Any, clip: Any, beta: Any) -> _Answer:
    return _trained(p, batches, rate, clip, beta, wrong="entries")


def _other_batch(p: Any, batches: Any, rate: Any, clip: Any, beta: Any) -> _Answer:
    return _trained(p, batches, rate, clip, beta, wrong="next batch")


def _rate_without_clipping(p: Any, batches: Any, rate: Any, clip: Any, beta: Any) -> _Answer:
    return _trained(p, batches, rate, clip, beta, wrong="rate")


def _curvature_alone(p: Any, batches: Any, rate: Any, clip: Any, beta: Any) -> _Answer:
    return _trained(p, batches, rate, clip, beta, wrong="curvature")


def _eager_alarm(p: Any, batches: Any, rate: Any, clip: Any, beta: Any) -> _Answer:
    return _trained(p, batches, rate, clip, beta, wrong="eager")


MISTAKES = (
    (
        _loss_behind,
        "You write down the loss behind the step. The loss of a step is the one that its gradient belongs to.",
    ),
    (_uncorrected, "You leave the fading average uncorrected. It begins near zero, and seems to rise."),
    (_clipped_norm, "You write down the clipped length, which never shows a spike. Measure first, then clip."),
    (
        _clipped_each,
        "You clip each parameter by itself, which turns the gradient. One factor for all of them keeps it.",
    ),
    (_ratio_of_gradients, "You compare gradients with weights. What counts is the step: rate and clipping included."),
    (_ratio_behind, "You divide by the weights behind the step. The share is of what was there before."),
    (
        _zeros_not_units,
        "You count zeros. Half of a relu layer's entries are zero and should be; dead is a whole column.",
    ),
    (
        _other_batch,
        "You take the second loss from another batch. The difference between batches is larger than what a step does.",
    ),
    (_rate_without_clipping, "You forget that clipping shortened the step: its rate for this gradient is eta times c."),
    (_curvature_alone, "You give the curvature. Asked is the rate times the curvature, to be compared with 2."),
    (
        _eager_alarm,
        "You raise the alarm at every product above 2. A single step uphill is normal: look at the loss too.",
    ),
)
