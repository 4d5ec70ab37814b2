r"""
From small runs to a large budget.

Level: challenge. You need `fp_markov.mathematics` (Lagrange) and what 6 flops a parameter and token mean
(`fp_transformer.counting`). Try it before you read `fp_transformer.scaling`.

Given are the losses of some dozens of small models, of $N$ parameters, each trained on $D$ tokens, in nats per token.
They follow

$$L(N, D) = E + A\, N^{-\alpha} + B\, D^{-\beta}, \qquad A, B, \alpha, \beta > 0, \quad E \ge 0 ,$$

and there is no noise in them: the five numbers can be found to many digits. A floor $E$ of zero is possible. The
exponents lie between 0.05 and 1.5, and the runs vary $N$ and $D$ independently of each other.

Then somebody gives you a budget of $C$ flops. Training costs $C = 6 N D$. Which $N$, which $D$, and what loss will it
be? Derive the formulas yourself: minimise $L$ under the condition, with Lagrange's multiplier or by inserting
$D = C / (6 N)$.

You learn what a scaling law is for: to spend a large budget once, on the right model, after having spent a thousandth
of it on finding out. And why the floor must be fitted with the rest: without it everything looks like a straight line
on logarithmic paper, and is none.
"""

from numbers import Real
from typing import Any

import numpy as np

HINTS = (
    "For given exponents the loss is linear in E, A and B: least squares finds those. So only two numbers have to be "
    "searched for. Where is the sum of squares smallest on a grid of exponents? Make the grid finer around that point.",
    "Write D = C / (6 N) and set the slope in N to zero, or price both: at the best point alpha A N^-alpha = "
    "beta B D^-beta. Together with 6 N D = C that is one equation for N.",
    "N = G (C/6)^(beta / (alpha + beta)) with G = (alpha A / (beta B))^(1 / (alpha + beta)), and D = C / (6 N). To "
    "keep least squares well scaled, measure N and D in units of their geometric means, and divide each equation by "
    "its loss.",
)


def plan(sizes: np.ndarray, tokens: np.ndarray, losses: np.ndarray, budget: float) -> dict[str, float]:
    """
    Fit the law to runs and spend a budget by it.

    Parameters
    ----------
    sizes, tokens, losses
        Of each run: N, D and L, floats of shape `(n,)`.
    budget
        C, in flops of training.

    Returns
    -------
    dict
        `"E"`, `"A"`, `"B"`, `"alpha"`, `"beta"`: the law, exponents to four digits at least;
        `"parameters"`, `"tokens"`: the best N and D for the budget, no whole numbers; `"loss"`: what the law predicts
        for them.

    Examples
    --------
    >>> N, D = (x.ravel() for x in np.meshgrid([1e4, 1e5, 1e6], [1e6, 1e7, 1e8]))
    >>> found = plan(N, D, 1.5 + 40 * N**-0.5 + 200 * D**-0.5, 6e15)
    >>> {name: round(found[name], 3) for name in ("E", "A", "B", "alpha", "beta")}
    {'E': 1.5, 'A': 40.0, 'B': 200.0, 'alpha': 0.5, 'beta': 0.5}
    >>> round(found["tokens"] / found["parameters"], 3), round(found["loss"], 4)
    (25.0, 1.5318)
    """
    E, A, B, alpha, beta = _fitted(sizes, tokens, losses)
    return _spent(E, A, B, alpha, beta, budget)


def _fitted(sizes: np.ndarray, tokens: np.ndarray, losses: np.ndarray, floor: bool = True) -> "_Law":
    """The law by least squares, with exponents from finer and finer grids."""
    unit_n, unit_d = (float(np.exp(np.log(x).mean())) for x in (sizes, tokens))
    n, d = sizes / unit_n, tokens / unit_d

    def best(alpha: float, beta: float) -> tuple[float, np.ndarray]:
        terms = np.stack([n**-alpha, d**-beta, np.ones_like(n)][: 3 if floor else 2], axis=1) / losses[:, None]
        found, *_ = np.linalg.lstsq(terms, np.ones(len(losses)), rcond=None)
        rest = terms @ found - 1
        return float(rest @ rest), found

    alpha, beta, width = 0.775, 0.775, 0.725
    for _ in range(40):
        around = [
            (max(alpha + i * width, 0.02), max(beta + j * width, 0.02))
            for i in np.linspace(-1, 1, 7).tolist()
            for j in np.linspace(-1, 1, 7).tolist()
        ]
        alpha, beta = min(around, key=lambda pair: best(*pair)[0])
        width *= 0.55  # wider than the distance of two points, so that the valley is not lost
    A, B, *E = best(alpha, beta)[1].tolist()
    return (max(E[0], 0.0) if E else 0.0), A * unit_n**alpha, B * unit_d**beta, alpha, beta


def _spent(E: float, A: float, B: float, alpha: float, beta: float, budget: float) -> dict[str, float]:
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    N = G * (budget / 6) ** (beta / (alpha + beta))
    return _answer(E, A, B, alpha, beta, N, budget / (6 * N))


def _answer(E: float, A: float, B: float, alpha: float, beta: float, N: float, D: float) -> dict[str, float]:
    loss = E + A * N**-alpha + B * D**-beta
    return {"E": E, "A": A, "B": B, "alpha": alpha, "beta": beta, "parameters": N, "tokens": D, "loss": loss}


_Law = tuple[float, float, float, float, float]  # E, A, B, alpha, beta
_Runs = tuple[np.ndarray, np.ndarray, np.ndarray]


def _runs(law: _Law, sizes: int, texts: int) -> _Runs:
    E, A, B, alpha, beta = law
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e5, 1e8, sizes), np.geomspace(1e7, 1e10, texts)))
    return N, D, E + A * N**-alpha + B * D**-beta


_LAWS: tuple[tuple[str, _Law, int, int, float], ...] = (
    ("equal exponents", (1.75, 200.0, 800.0, 0.4, 0.4), 5, 4, 6e18),
    ("parameters that help more", (1.25, 120.0, 300.0, 0.45, 0.25), 4, 5, 1e20),
    ("tokens that help more", (2.0, 30.0, 3000.0, 0.22, 0.5), 6, 4, 3e19),
    ("no floor", (0.0, 20.0, 60.0, 0.15, 0.2), 4, 4, 1e19),
)

PROBES = tuple((*_runs(law, sizes, texts), budget) for _, law, sizes, texts, budget in _LAWS)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, law, sizes, texts, budget in _LAWS:
        N, D, losses = _runs(law, sizes, texts)
        answer = learner.plan(N.copy(), D.copy(), losses.copy(), budget)
        wanted = ("E", "A", "B", "alpha", "beta", "parameters", "tokens", "loss")
        assert isinstance(answer, dict) and set(answer) == set(wanted), (
            f"expected a dict of {', '.join(wanted)}, got {answer!r:.80}"
        )
        for key, value in answer.items():
            assert isinstance(value, Real) and np.isfinite(float(value)), (
                f"{name}: {key} must be a finite number, got {value!r:.40}"
            )
        case = f"{name}, E = {law[0]:g}, alpha = {law[3]:g}, beta = {law[4]:g}, C = {budget:g}"
        _expect_law(case, law, answer)
        _expect_plan(case, law, answer, budget)


def _expect_law(case: str, law: _Law, answer: dict[str, float]) -> None:
    for key, expected in zip(("alpha", "beta", "E"), (law[3], law[4], law[0]), strict=True):
        # without noise nothing but rounding is in the way
        assert abs(answer[key] - expected) <= 1e-4 * max(expected, 1), (
            f"{case}: the runs were made with {key} = {expected:g}, yours is {answer[key]:.6g}. All five numbers are "
            "fitted together, by the squares of errors of the loss itself; a logarithm makes a line of a power only if "
            "nothing is added to it."
        )
    for key, expected in zip(("A", "B"), law[1:3], strict=True):
        assert abs(answer[key] / expected - 1) <= 0.01, (  # an error of 1e-4 of an exponent, at the mean of the runs
            f"{case}: the runs were made with {key} = {expected:g}, yours is {answer[key]:.6g}. It is the coefficient "
            "of the power of N or D itself, in whatever units you fitted."
        )


def _expect_plan(case: str, law: _Law, answer: dict[str, float], budget: float) -> None:
    N, D = answer["parameters"], answer["tokens"]
    assert N > 0 and D > 0, f"{case}: parameters and tokens are positive, got {N:g} and {D:g}"
    assert abs(6 * N * D / budget - 1) <= 1e-9, (
        f"{case}: your model costs 6 N D = {6 * N * D:.4g} flops. The budget is {budget:.4g}, to be spent exactly."
    )
    E, A, B, alpha, beta = law
    best = _by_search(law, budget)
    assert abs(np.log(N / best)) <= 0.01, (  # what errors of 1e-4 in the exponents can do far beyond the runs
        f"{case}: the best model has {best:.4g} parameters, found by trying many sizes with D = C / (6 N); yours has "
        f"{N:.4g}. At the best point one percent more parameters gains as much as one percent more tokens."
    )
    expected = E + A * N**-alpha + B * D**-beta
    assert abs(answer["loss"] - expected) <= 1e-4 * expected, (
        f"{case}: the law gives your model a loss of {expected:.6f} nats, you predict {answer['loss']:.6f}. It has "
        "three terms."
    )


def _by_search(law: _Law, budget: float) -> float:
    """The best size without any calculus."""
    E, A, B, alpha, beta = law
    low, high = 0.0, 60.0  # of ln N
    for _ in range(12):
        x = np.linspace(low, high, 101)
        loss = E + A * np.exp(-alpha * x) + B * np.exp(-beta * (np.log(budget / 6) - x))
        i = int(loss.argmin())
        low, high = x[max(i - 2, 0)], x[min(i + 2, 100)]
    return float(np.exp((low + high) / 2))


def _no_floor(sizes: np.ndarray, tokens: np.ndarray, losses: np.ndarray, budget: float) -> dict[str, float]:
    return _spent(*_fitted(sizes, tokens, losses, floor=False), budget)


def _straight_lines(sizes: np.ndarray, tokens: np.ndarray, losses: np.ndarray, budget: float) -> dict[str, float]:
    terms = np.stack([np.log(sizes), np.log(tokens), np.ones_like(sizes)], axis=1)
    alpha, beta, level = np.linalg.lstsq(terms, np.log(losses), rcond=None)[0].tolist()
    return _spent(0.0, np.exp(level) / 2, np.exp(level) / 2, -alpha, -beta, budget)


def _smallest_loss_as_floor(
    sizes: np.ndarray, tokens: np.ndarray, losses: np.ndarray, budget: float
) -> dict[str, float]:
    E = float(losses.min())
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y, excess = np.log(sizes), np.log(tokens), np.log(losses - E)
        alpha, beta = (-float((u - u.mean()) @ excess / ((u - u.mean()) @ u)) for u in (x, y))
    return _answer(E, 1.0, 1.0, alpha, beta, (budget / 6) ** 0.5, (budget / 6) ** 0.5)


def _six_forgotten(sizes: np.ndarray, tokens: np.ndarray, losses: np.ndarray, budget: float) -> dict[str, float]:
    return plan(sizes, tokens, losses, 6 * budget)


def _exponents_exchanged(sizes: np.ndarray, tokens: np.ndarray, losses: np.ndarray, budget: float) -> dict[str, float]:
    E, A, B, alpha, beta = _fitted(sizes, tokens, losses)
    N = (alpha * A / (beta * B)) ** (1 / (alpha + beta)) * (budget / 6) ** (alpha / (alpha + beta))
    return _answer(E, A, B, alpha, beta, N, budget / (6 * N))


def _upside_down(sizes: np.ndarray, tokens: np.ndarray, losses: np.ndarray, budget: float) -> dict[str, float]:
    E, A, B, alpha, beta = _fitted(sizes, tokens, losses)
    N = (beta * B / (alpha * A)) ** (1 / (alpha + beta)) * (budget / 6) ** (beta / (alpha + beta))
    return _answer(E, A, B, alpha, beta, N, budget / (6 * N))


def _equal_terms(sizes: np.ndarray, tokens: np.ndarray, losses: np.ndarray, budget: float) -> dict[str, float]:
    E, A, B, alpha, beta = _fitted(sizes, tokens, losses)
    N = (A / B) ** (1 / (alpha + beta)) * (budget / 6) ** (beta / (alpha + beta))
    return _answer(E, A, B, alpha, beta, N, budget / (6 * N))


def _twenty(sizes: np.ndarray, tokens: np.ndarray, losses: np.ndarray, budget: float) -> dict[str, float]:
    law = _fitted(sizes, tokens, losses)
    N = (budget / 120) ** 0.5
    return _answer(*law, N, budget / (6 * N))


def _floor_left_out(sizes: np.ndarray, tokens: np.ndarray, losses: np.ndarray, budget: float) -> dict[str, float]:
    answer = plan(sizes, tokens, losses, budget)
    return {**answer, "loss": answer["loss"] - answer["E"]}


def _letters_exchanged(sizes: np.ndarray, tokens: np.ndarray, losses: np.ndarray, budget: float) -> dict[str, float]:
    return plan(tokens, sizes, losses, budget)


MISTAKES = (
    (
        _no_floor,
        "You fit two powers without a floor. Far from the floor that looks right, near it the losses flatten and the "
        "exponents come out too small: E is fitted with the rest.",
    ),
    (
        _straight_lines,
        "You put a plane through the logarithms. The logarithm of a sum is not the sum of logarithms: neither the "
        "floor nor the second power becomes a line.",
    ),
    (
        _smallest_loss_as_floor,
        "You take the smallest loss for the floor and take logarithms of what is left. The best run is above the floor "
        "too; its difference is 0, that of a better run would be negative, and neither has a logarithm.",
    ),
    (
        _six_forgotten,
        "You use D = C / N. Each parameter costs six flops for each token: two forward and four backward.",
    ),
    (
        _exponents_exchanged,
        "You let N grow with the power alpha / (alpha + beta) of the budget. It is the other way round: where alpha is "
        "large, few parameters are enough, and N grows with beta / (alpha + beta).",
    ),
    (
        _upside_down,
        "Your factor is upside down. From alpha A N^-alpha = beta B D^-beta a larger A makes a larger N.",
    ),
    (
        _equal_terms,
        "You make the two terms equal. At the best point their slopes in the logarithms are equal, which are alpha and "
        "beta times the terms.",
    ),
    (
        _twenty,
        "You spend 20 tokens on each parameter. That is what one family of models on one kind of text wanted: the runs "
        "say what yours want.",
    ),
    (
        _floor_left_out,
        "You predict the part of the loss that can be avoided. The floor comes on top.",
    ),
    (
        _letters_exchanged,
        "You have exchanged parameters and tokens: A and alpha go with the size of the model, B and beta with the "
        "text.",
    ),
)
