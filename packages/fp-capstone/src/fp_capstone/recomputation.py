r"""
Recomputation.
"""

import copy
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fp_capstone.memory import Memory

__all__ = ["Recomputed"]


class Recomputed(NamedTuple):
    """In place of a block's tape: the stream in front of it, and the generator whose draws are to be repeated."""

    x: np.ndarray
    rng: np.random.Generator | None

    @classmethod
    def before(
        cls, x: Float[np.ndarray, "B T C"], rng: np.random.Generator | None, memory: Memory
    ) -> "Recomputed":
        """What must be kept before the block runs, since it overwrites `x` and draws from `rng`."""
        kept = memory.empty(x.shape, x.dtype)
        kept[:] = x
        return cls(kept, copy.deepcopy(rng))
