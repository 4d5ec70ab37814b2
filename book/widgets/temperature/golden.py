"""
Write golden.json: what the Python packages compute, for engine.js to be compared with. Run `python golden.py`.

Where a cut depends on a border that rounded sums decide, two correct libraries may disagree about the last bit of an
exponential and so about a token. The cases on borders therefore use logits that are zero or minus infinity, or borders
that no sum comes near; `near_border` refuses others.
"""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from fp_markov import sampling
from fp_markov.information import entropy, perplexity
from fp_transformer.decoding import distribution

FILE = Path(__file__).parent / "golden.json"
INF = math.inf
SPREAD = [2.0, 1.0, 0.5, 0.0, -1.0, -3.0]
TIES = [0.0, 2.0, 1.0, 1.0, 2.0, 1.0, -INF]
LN2 = math.log(2)
CASES: dict[str, tuple[list[float], dict[str, float]]] = {
    "softmax": (SPREAD, {}),
    "one token": ([3.25], {"temperature": 0.5, "top_k": 1, "top_p": 0.5, "min_p": 1}),
    "sharper": (SPREAD, {"temperature": 0.25}),
    "flatter": (SPREAD, {"temperature": 4}),
    "temperature zero": (SPREAD, {"temperature": 0}),
    "temperature zero, a tie": (TIES, {"temperature": 0}),
    "temperature zero takes the lowest of equals after every cut": (
        TIES,
        {"temperature": 0, "top_k": 3, "top_p": 0.5, "min_p": 0.25},
    ),
    "nearly zero": (SPREAD, {"temperature": 1e-3}),
    "so cold that scores overflow": (SPREAD, {"temperature": 1e-308}),
    "so cold that a tie shares": (TIES, {"temperature": 1e-308}),
    "very hot": (SPREAD, {"temperature": 1e6}),
    "as hot as a double": (SPREAD, {"temperature": 1e308}),
    "huge scores": ([1e308, -1e308, 1e308], {}),
    "tiny probabilities": ([0.0, -700.0, -745.0, -746.0, -800.0], {}),
    "cut tokens": ([-INF, 1.0, -INF, 0.5, 1.0], {"temperature": 0.7}),
    "top-k": (SPREAD, {"top_k": 3}),
    "top-k of one": (SPREAD, {"top_k": 1}),
    "top-k of all": (SPREAD, {"top_k": 6}),
    "top-k, a tie at the border": (TIES, {"top_k": 4}),
    "top-k, a tie at the top": (TIES, {"top_k": 1}),
    "top-k reaches into the cut tokens": ([-INF, 1.0, -INF, 0.0], {"top_k": 3}),
    "top-k among equals": ([0.0] * 7, {"top_k": 3}),
    "top-p": (SPREAD, {"top_p": 0.9}),
    "top-p, a tiny mass": (SPREAD, {"top_p": 1e-300}),
    "top-p of one": ([*SPREAD, -40.0, -800.0], {"top_p": 1}),
    "top-p, on a border": ([0.0] * 4, {"top_p": 0.5}),
    "top-p, just past a border": ([0.0] * 4, {"top_p": math.nextafter(0.5, 1)}),
    "top-p, just before a border": ([0.0] * 4, {"top_p": math.nextafter(0.5, 0)}),
    "top-p, on a border that no double is": ([0.0] * 10, {"top_p": 0.3}),
    "top-p, on another": ([0.0] * 10, {"top_p": 0.7}),
    "top-p among equals and cut tokens": ([-INF, 0.0, -INF, 0.0, 0.0, 0.0], {"top_p": 0.75}),
    "min-p": (SPREAD, {"min_p": 0.1}),
    "min-p of one": (TIES, {"min_p": 1}),
    "min-p, on a border": ([0.0, -LN2, -2 * LN2, -0.7], {"min_p": 0.5}),
    "min-p, so small that it cuts nothing": (SPREAD, {"min_p": 1e-300}),
    "temperature before top-p": (SPREAD, {"temperature": 2, "top_p": 0.8}),
    "top-k before top-p": ([0.0] * 8, {"top_k": 4, "top_p": 0.5}),
    "top-p before min-p": ([1.0, 0.9, 0.1, 0.1, 0.1, 0.1], {"top_p": 0.9, "min_p": 0.5}),
    "all four": (SPREAD, {"temperature": 1.5, "top_k": 5, "top_p": 0.9, "min_p": 0.2}),
    "long tail": ([-1.1 * math.log(rank) for rank in range(1, 61)], {"temperature": 0.8, "top_k": 50, "top_p": 0.9}),
}
BAD: list[tuple[list[float], dict[str, float]]] = [
    (SPREAD, {"temperature": -1}),
    (SPREAD, {"top_k": 0}),
    (SPREAD, {"top_k": 7}),
    (SPREAD, {"top_p": 0}),
    (SPREAD, {"top_p": 1.5}),
    (SPREAD, {"min_p": 0}),
    (SPREAD, {"min_p": -0.25}),
    (SPREAD, {"temperature": 0, "top_p": 2}),
    ([math.nan, 1.0], {}),
    ([INF, 1.0], {}),
    ([-INF, -INF], {"top_k": 1}),
    ([], {}),
]


def stages(logits: np.ndarray, settings: dict[str, Any]) -> list[np.ndarray]:
    """The logits after each step, by the functions of stage 1."""
    t = settings.get("temperature", 1)
    if t == 0:
        steps = [np.where(np.arange(logits.size) == sampling.greedy(logits), logits, -np.inf)]
    else:
        steps = [sampling.temperature(logits, t)]
    for name, cut in (("top_k", sampling.top_k), ("top_p", sampling.top_p), ("min_p", sampling.min_p)):
        if name in settings:
            steps.append(cut(steps[-1], settings[name]))
    return steps


def near_border(logits: np.ndarray, settings: dict[str, Any]) -> bool:
    """Whether another library's last bit could move a token over the border of top-p."""
    if settings.get("temperature", 1) == 0 or settings.get("top_p", 1) == 1:
        return False
    before = stages(logits, {name: value for name, value in settings.items() if name in ("temperature", "top_k")})[-1]
    weights = np.exp(np.sort(before)[::-1] - before.max())
    F = np.cumsum(weights)
    exact = set(weights.tolist()) <= {0.0, 1.0}
    return not exact and bool((np.abs(F - settings["top_p"] * F[-1]) < 1e-12 * F[-1]).any())


def case(name: str, scores: list[float], settings: dict[str, Any]) -> dict[str, Any]:
    """One case: what goes in, and everything that comes out."""
    logits = np.array(scores, np.float64)
    assert not near_border(logits, settings), name
    steps, p = stages(logits, settings), distribution(logits, **settings)
    H, rng = float(entropy(p)), np.random.default_rng(7)
    return {
        "name": name,
        "logits": plain(logits),
        "settings": settings,
        "stages": [plain(step) for step in steps],
        "kept": np.flatnonzero(steps[-1] > -np.inf).tolist(),
        "distribution": p.tolist(),
        "entropy": H,
        "bits": H / math.log(2),
        "effective": perplexity(H),
        "drawn": sampling.draw(np.tile(logits, (40, 1)), rng, **settings).tolist(),
        "next": rng.random(),  # at temperature zero the generator is left untouched
    }


def plain(logits: np.ndarray) -> list[float | str]:
    """Numbers for JSON, which has no infinities."""
    return [float(z) if np.isfinite(z) else str(z) for z in logits]


def refused(scores: list[float], settings: dict[str, Any]) -> dict[str, Any]:
    """What `draw` says about bad input."""
    logits = np.array(scores, np.float64)
    try:
        sampling.draw(logits, np.random.default_rng(0), **settings)
    except ValueError as error:
        return {"logits": plain(logits), "settings": settings, "message": str(error)}
    raise AssertionError(f"nothing is wrong with {scores} and {settings}")


def expected_variation(p: list[float], n: int) -> float:
    """The mean total variation between p and n draws' relative frequencies: every count times its probability."""
    return sum(
        abs(k / n - q) / 2 * math.comb(n, k) * q**k * (1 - q) ** (n - k) for q in p for k in range(n + 1)
    )  # a token's count is binomial


def golden() -> dict[str, Any]:
    """Everything that golden.json holds."""
    shares = ([0.5, 0.5], [0.7, 0.2, 0.1, 0.0], [1.0, 0.0], [0.25] * 4, [0.999, 0.001], [0.1] * 10)
    return {
        "cases": [case(name, *given) for name, given in CASES.items()],
        "refused": [refused(*given) for given in BAD],
        "uniform": {
            str(seed): np.random.default_rng(seed).random(5).tolist()
            for seed in (0, 1, 7, 42, 2**31, 2**32 - 1, 2**32, 12345678901, 2**53 - 1)
        },
        "expected_variation": [
            {"p": p, "n": n, "value": expected_variation(p, n)} for p, n in itertools.product(shares, (1, 2, 10, 100))
        ],
    }


if __name__ == "__main__":
    text = json.dumps(golden(), allow_nan=False, separators=(",", ":"))
    FILE.write_text(text.replace('{"name"', '\n{"name"') + "\n", "utf8")
