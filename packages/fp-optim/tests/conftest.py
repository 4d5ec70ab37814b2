import tracemalloc

import jaxtyping
import pytest
from hypothesis import settings

# no deadline: a busy machine is no failure; derandomized: what fails once fails again
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture
def unenforced():
    """Run-time shape checks answer before our own errors do, so they are off here."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def peak_bytes():
    """How many bytes a call holds at its worst moment, beyond what was held before."""

    def measure(call):
        call()  # whatever is made once is made now
        tracemalloc.start()
        try:
            call()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return measure
