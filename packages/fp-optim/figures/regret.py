"""Optimizers that divide by what they have seen, under their bounds: AdaGrad, Adam and AMSGrad, sign descent, Lion."""

import math
import sys
from pathlib import Path

import numpy as np

from fp_optim.adagrad import AdaGrad, adagrad_bound
from fp_optim.amsgrad import Adam, AMSGrad, amsgrad_bound, average_regret, play
from fp_optim.lion import Lion, lion_bound
from fp_optim.problems import Problem, logistic_data, logistic_regression

sys.path.append(str(Path(__file__).parent))

from _loglog import STEPS, Line, Panel, drawing, steps, table

COINS, MEAN = "AdaGrad, a game of coins", "AdaGrad, logistic regression"
ADAM, AMSGRAD, SIGN, LION = "Adam, bound from below", "AMSGrad", "sign descent", "Lion"
COLOURS = {COINS: 1, MEAN: 2, ADAM: 4, AMSGRAD: 3, SIGN: 1, LION: 2}
EPS = 1e-10
PERIOD, LARGE, RATE, BETAS = 3, 3.0, 0.5, (0.0, 0.1)  # the game of `fp_optim.amsgrad`


def panels() -> list[Panel]:
    """All that is measured, and the bounds for it."""
    logistic = logistic_regression(*logistic_data(np.random.default_rng(0)), penalty=1e-3)
    return [
        Panel("average regret, AdaGrad", -8, 2, [coins(), mean_point(logistic)]),
        Panel("average regret, game (E1)", -3, 2, [fooled(), mended()]),
        Panel(
            "smallest |∇f|₁, logistic", -6, 2, [signs(logistic, SIGN, (0.0, 0.0)), signs(logistic, LION, (0.9, 0.99))]
        ),
    ]


def coins() -> Line:
    """
    The largest average regret against any fixed point. Coordinate i is called in a fraction 1/2^i of the rounds, and
    costs |w_i - c| with a fair coin c = ±1, whose slope on [-1, 1] is -c.
    """
    n, T, rng = 8, steps(), np.random.default_rng(2)
    slopes = rng.choice([-1.0, 1.0], size=(STEPS, n)) * (rng.random((STEPS, n)) < 0.5 ** np.arange(n))
    w, played = np.zeros(n), np.empty((STEPS, n))
    optimizer = AdaGrad({"w": w}, lr=math.sqrt(2), eps=EPS)
    for t, g in enumerate(slopes):
        played[t] = w
        optimizer.step({"w": g})
        np.clip(w, -1, 1, out=w)
    paid = np.cumsum((slopes * played).sum(axis=1))
    regret = paid + np.abs(np.cumsum(slopes, axis=0)).sum(axis=1)  # the best point is -1 or 1 in each coordinate
    totals, widths = np.cumsum(slopes**2, axis=0), np.full(n, 2.0)
    bound = np.array([adagrad_bound(totals[t - 1], widths, math.sqrt(2), EPS) for t in T.tolist()])
    return Line(COINS, T, regret[T - 1] / T, bound / T)


def mean_point(problem: Problem) -> Line:
    """The gap of the mean of the points on one convex function (`optim.adagrad-average`), from a corner of the box."""
    n, T = len(problem.minimiser), steps()
    side = 2 * math.ceil(float(np.abs(problem.minimiser).max()))
    w, played, totals = np.full(n, side / 2), np.empty((STEPS, n)), np.empty((STEPS, n))
    optimizer = AdaGrad({"w": w}, lr=side / math.sqrt(2), eps=EPS)
    for t in range(STEPS):
        played[t] = w
        optimizer.step({"w": problem.grad(w)})
        totals[t] = optimizer.state["total"]["w"]
        np.clip(w, -side / 2, side / 2, out=w)
    means = np.cumsum(played, axis=0)[T - 1] / T[:, None]
    widths = np.full(n, float(side))
    bound = np.array([adagrad_bound(totals[t - 1], widths, side / math.sqrt(2), EPS) for t in T.tolist()])
    return Line(MEAN, T, problem.gaps(means), bound / T)


def periods() -> np.ndarray:
    """The numbers of steps, each cut down to whole periods."""
    T = steps()
    return np.unique(T[T >= PERIOD] // PERIOD * PERIOD)


def fooled() -> Line:
    """`optim.adam-fooled`: the average regret never falls below its floor, at the end of a period."""
    x = play(lambda p: Adam(p, RATE, BETAS), PERIOD, LARGE, STEPS, falling=True)
    T = periods()
    floor = np.full(len(T), 2 * (LARGE - PERIOD + 1) / PERIOD)
    return Line(ADAM, T, average_regret(x, PERIOD, LARGE)[T - 1], floor, floor=True)


def mended() -> Line:
    """`optim.amsgrad-regret` in the same game; after whole periods -1 is the best point."""
    x = play(lambda p: AMSGrad(p, RATE, BETAS), PERIOD, LARGE, STEPS, falling=True)
    T = periods()
    bound = [amsgrad_bound(t, np.array([2.0]), np.array([LARGE]), RATE, BETAS) / t for t in T.tolist()]
    return Line(AMSGRAD, T, average_regret(x, PERIOD, LARGE)[T - 1], np.array(bound))


def signs(problem: Problem, name: str, betas: tuple[float, float]) -> Line:
    """`optim.lion-rate`; for each T a run from zero with the rate that makes the bound smallest."""
    n, T = len(problem.minimiser), steps()[::3]
    T = np.unique([*T, *(10 ** np.arange(1, 5))])
    gap, size = float(problem.gaps(np.zeros((1, n)))[0]), float(np.abs(problem.grad(np.zeros(n))).sum())
    smallest, bound = [], []
    for rounds in T.tolist():
        lr = math.sqrt(gap / (rounds * n * problem.L * (0.5 + 2 * betas[0] / (1 - betas[1]))))
        w, sizes = np.zeros(n), []
        optimizer = Lion({"w": w}, lr=lr, betas=betas)
        for _ in range(rounds):
            g = problem.grad(w)
            sizes.append(float(np.abs(g).sum()))
            optimizer.step({"w": g})
        smallest.append(min(sizes))
        bound.append(lion_bound(problem.L, n, gap, size, rounds, lr, betas))
    return Line(name, T, np.array(smallest), np.array(bound))


def render() -> str:
    """The drawing, and its numbers as a table."""
    found = panels()
    title = "Average regrets and smallest gradients, and their bounds, dashed; Adam's bound is one from below"
    caption = "Measured and promised; in the game the number of rounds is the last multiple of 3 up to T"
    return drawing(found, COLOURS, title) + table(found, caption)
