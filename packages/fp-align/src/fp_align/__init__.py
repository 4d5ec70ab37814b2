"""Stage 10 of 10: Preference learning and reinforcement learning from feedback."""

__all__: list[str] = []
__version__ = "0.1.0"
