"""Weight decay inside the gradient, for the rules that are defined that way."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fp_optim._named import CHUNK
from fp_optim.optimizer import Array, Optimizer


class Penalized(Optimizer):
    r"""
    An optimizer whose `weight_decay` $\lambda$ is that of the penalty $\frac12 \lambda |w|^2$ in the loss.

    The penalty's gradient $\lambda w$ is added to that of the loss and passes through the rule with it. `groups` and
    `decay` choose it as for the other optimizers; in `options` it is called `penalty`, and `weight_decay`, the decay
    beside the rule, is zero. A subclass defines `rule` in place of `update`.
    """

    def __init__(self, parameters: Mapping[str, Array], lr: float | int, **options: Any) -> None:
        super().__init__(parameters, lr, **options)
        for mine in self.options.values():
            mine["penalty"], mine["weight_decay"] = mine["weight_decay"], 0.0
        self._total = {array.dtype: np.empty(CHUNK, dtype=array.dtype) for array in parameters.values()}

    def update(
        self, t: int, lr: float | int, p: np.ndarray, g: np.ndarray, s: np.ndarray, *state: np.ndarray, **options: Any
    ) -> None:
        if penalty := options.pop("penalty"):
            total = self._total[p.dtype][: p.size]
            np.multiply(p, penalty, out=total)
            total += g
            g = total
        self.rule(t, lr, p, g, s, *state, **options)

    def rule(
        self, t: int, lr: float | int, p: np.ndarray, g: np.ndarray, s: np.ndarray, *state: np.ndarray, **options: Any
    ) -> None:
        """`update`, with the penalty's gradient in `g`."""
        raise NotImplementedError
