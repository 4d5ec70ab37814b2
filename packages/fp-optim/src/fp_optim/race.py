r"""
The race: every optimizer at its best, side by side, as data that a page can play.

Which optimizer is the fastest? On one surface and at one rate the answer says more about the rate than about the
optimizer. So each gets the rate that is best for it, by a rule that is the same for all, and what is kept is the whole
way and not its end. This section makes the numbers; the book's page plays them.

You need: `fp_optim.surfaces`.

## The rate of each

Let $p_0, \dots, p_n$ be the path at some rate, and $d_t$ the largest $f(p_s) - f^*$ of the points from $t$ on: the
height under which the path stays. Of the rates $10^{k/4}$, $k = -16, \dots, 4$, those are in the race whose path stays
in the surface's domain, and of them the one with the least

$$\sum_{t=0}^{n} \log_{10} \max(d_t,\, 10^{-12}). \qquad \text{(E1)}$$

The logarithm counts how far down one is *all the way*: a fast start that stays where it is does not win by itself, nor
does a lucky point before a leap. Without the bound from below, whoever hits the minimum exactly would be infinitely
good. All other settings are the defaults.

>>> from fp_optim.surfaces import BOWL
>>> best_rate(BOWL, RACERS["SGD"], n_steps=50)
1.0

## The data

`run_race` returns, and `python -m fp_optim.race OUT.json` writes, an object of this form:

| key | value |
| --- | --- |
| `version` | 1, the version of this form |
| `n_steps` | steps of every path |
| `surfaces` | list of objects with the keys below |
| `name`, `formula` | text |
| `domain` | `[[x0, x1], [y0, y1]]`, what is to be seen |
| `start` | `[x, y]` |
| `minimisers`, `minimum` | list of `[x, y]`, and the value there |
| `contours` | list of `{"level": number, "lines": [line, …]}`; a line is a list of `[x, y]` |
| `paths` | list of the four keys below, one for each optimizer |
| `optimizer` | its class in this package |
| `rate` | the rate that it was given |
| `positions` | list of `n_steps` + 1 points `[x, y]`, the start first; 3 decimals |
| `losses` | the value at each of them; 4 digits |

A path that no rate keeps in the domain is the one at the smallest rate, cut where it leaves a square of a million.

## In practice

A race on two variables is won by whatever suits two variables, and none of it carries over to models: there, rates are
compared at equal cost, with the noise of batches, over several seeds. Muon is not at the start because a point has no
singular values.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fp_optim.adagrad import AdaGrad, RMSprop
from fp_optim.amsgrad import Adam, AMSGrad
from fp_optim.lion import Lion
from fp_optim.momentum import Momentum, Nesterov
from fp_optim.optimizer import SGD, Optimizer
from fp_optim.surfaces import SURFACES, Surface, contours, trajectory

__all__ = ["RACERS", "best_rate", "run_race", "main"]  # the order of the page

Racer = Callable[..., Optimizer]
"""Called with the parameters and `lr`."""

RACERS: dict[str, Racer] = {
    racer.__name__: racer for racer in (SGD, Momentum, Nesterov, AdaGrad, RMSprop, Adam, AMSGrad, Lion)
}
"""Who takes part, by name."""
RATES = [10 ** (k / 4) for k in range(-16, 5)]
LEAST = 1e-12


def _path(surface: Surface, racer: Racer, rate: float, n_steps: int) -> np.ndarray:
    return trajectory(surface, lambda parameters: racer(parameters, lr=rate), n_steps)


def best_rate(surface: Surface, racer: Racer, n_steps: int) -> float:
    """
    The rate of an optimizer on a surface: of those that keep to the domain, the one with the least (E1).

    Parameters
    ----------
    surface
        Where the race is held.
    racer
        Called with the parameters and `lr`.
    n_steps
        Steps of the race, at least 1.

    Returns
    -------
    float
        One of `RATES`; the smallest if none keeps to the domain.
    """
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}")
    low, high = np.array(surface.domain).T
    scores = {}
    for rate in RATES:
        path = _path(surface, racer, rate, n_steps)
        if len(path) == n_steps + 1 and ((low <= path) & (path <= high)).all():
            gaps = np.maximum(surface.f(path) - surface.minimum, LEAST)
            scores[rate] = float(np.log10(np.maximum.accumulate(gaps[::-1])).sum())
    return min(scores, key=lambda rate: scores[rate]) if scores else RATES[0]


def run_race(
    surfaces: Sequence[Surface] = tuple(SURFACES.values()),
    racers: Mapping[str, Racer] = RACERS,
    n_steps: int = 200,
) -> dict[str, Any]:
    """
    All paths on all surfaces.

    Parameters
    ----------
    surfaces
        Where to race.
    racers
        Name to optimizer, called with the parameters and `lr`.
    n_steps
        Steps of every path, at least 1.

    Returns
    -------
    dict
        As the table above says; nothing in it that JSON does not have.

    Examples
    --------
    >>> race = run_race([SURFACES["bowl"]], {"SGD": SGD}, n_steps=1)
    >>> (path,) = race["surfaces"][0]["paths"]
    >>> path["optimizer"], path["rate"], path["positions"], path["losses"]
    ('SGD', 1.0, [[-1.6, 1.2], [0.0, 0.0]], [2.0, 0.0])
    """
    return {"version": 1, "n_steps": n_steps, "surfaces": [_held_on(surface, racers, n_steps) for surface in surfaces]}


def _held_on(surface: Surface, racers: Mapping[str, Racer], n_steps: int) -> dict[str, Any]:
    paths = []
    for name, racer in racers.items():
        rate = best_rate(surface, racer, n_steps)
        path = _path(surface, racer, rate, n_steps)
        losses = [float(f"{value:.4g}") for value in surface.f(path).tolist()]
        paths.append({"optimizer": name, "rate": rate, "positions": _rounded(path), "losses": losses})
    return {
        "name": surface.name,
        "formula": surface.formula,
        "domain": [list(ends) for ends in surface.domain],
        "start": list(surface.start),
        "minimisers": [list(point) for point in surface.minimisers],
        "minimum": surface.minimum,
        "contours": [
            {"level": level, "lines": [_rounded(np.array(line)) for line in lines]}
            for level, lines in contours(surface, n_points=81).items()
        ],
        "paths": paths,
    }


def _rounded(points: np.ndarray) -> list[list[float]]:
    return (np.round(points, 3) + 0.0).tolist()  # -0.0 + 0.0 is 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Write the race to a file, whole or not at all.

    Parameters
    ----------
    arguments
        Those of the command line if not given.
    """
    parser = argparse.ArgumentParser(prog="python -m fp_optim.race", description="Write the optimizer race as JSON.")
    parser.add_argument("out", type=Path, help="the file to write; an earlier one is replaced")
    parser.add_argument("--steps", type=int, default=200, help="steps of every path (200)")
    parser.add_argument("--surface", action="append", choices=list(SURFACES), help="only this one; may be repeated")
    given = parser.parse_args(arguments)
    if given.steps < 1:
        parser.error(f"--steps must be at least 1, got {given.steps}")
    if given.out.exists() and not given.out.is_file():
        parser.error(f"OUT must be a file, got the {'folder' if given.out.is_dir() else 'device'} {given.out}")
    race = run_race([SURFACES[name] for name in dict.fromkeys(given.surface or SURFACES)], n_steps=given.steps)
    try:
        _write(Path(os.path.realpath(given.out)), json.dumps(race, allow_nan=False, separators=(",", ":")) + "\n")
    except OSError as error:
        sys.exit(f"{parser.prog}: cannot write {given.out}: {error.strerror}")


def _write(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        unfinished.chmod(0o666 & ~umask)  # temporary files are private, others are not
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    main()
