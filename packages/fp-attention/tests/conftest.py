import hypothesis
import jaxtyping
import pytest

# no deadline: a busy machine is no failure; derandomized: what fails once fails again
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def shapes_unchecked():
    """Switch run-time shape checks off, so that the package's own errors answer bad input."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
