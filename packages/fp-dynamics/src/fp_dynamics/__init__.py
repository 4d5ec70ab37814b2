"""Stage 8 of 10: Watching a model learn, and finding out why it does not."""

__all__: list[str] = []
__version__ = "0.1.0"
