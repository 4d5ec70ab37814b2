import jaxtyping
import pytest
from hypothesis import settings

# no deadline: a busy machine is no failure; derandomized: what fails once fails again
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture
def shapes_unchecked():
    """Run-time shape checks answer before our own errors do, so they are off here."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
