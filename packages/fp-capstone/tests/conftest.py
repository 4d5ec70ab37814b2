"""Shared by the tests of this package."""

from collections.abc import Callable

import jaxtyping
import numpy as np
import pytest


@pytest.fixture
def numeric() -> Callable[..., np.ndarray]:
    """
    Central differences of a scalar function, entry by entry.

    In float64 with h = 1e-6 the truncation error is h^2 |f'''| / 6, about 1e-13 for the smooth functions here, and
    the rounding error eps |f| / h, about 2e-10 |f|: comparisons to 1e-7 have a margin of a hundred and still
    catch any wrong term.
    """

    def gradient(f: Callable[[], float], x: np.ndarray, h: float = 1e-6) -> np.ndarray:
        jaxtyping.config.update("jaxtyping_disable", True)  # enforcing shapes would take most of the time
        g = np.empty(x.shape)
        for i in np.ndindex(x.shape):
            kept = x[i]
            x[i] = kept + h
            up = f()
            x[i] = kept - h
            down = f()
            x[i] = kept
            g[i] = (up - down) / (2 * h)
        jaxtyping.config.update("jaxtyping_disable", False)
        return g

    return gradient


@pytest.fixture
def own_errors():
    """Shape enforcement answers before our own checks do; tests of their sentences switch it off."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
