"""Stage 1 of 10: Probability, counting, smoothing, information and sampling: language models that count."""

__all__: list[str] = []
__version__ = "0.1.0"
