"""Stage 5 of 10: Attention in every variant that modern models use."""

__all__: list[str] = []
__version__ = "0.1.0"
