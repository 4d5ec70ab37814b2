"""Stage 6 of 10: The transformer: configuration, blocks, checkpoints, generation."""

__all__: list[str] = []
__version__ = "0.1.0"
