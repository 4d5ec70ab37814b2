"""The repository's own checks: who may import whom, and which claims are checked."""

__all__: list[str] = []
__version__ = "0.1.0"
