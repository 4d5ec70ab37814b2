"""Stage 9 of 10: Fine-tuning with few parameters."""

__all__: list[str] = []
__version__ = "0.1.0"
