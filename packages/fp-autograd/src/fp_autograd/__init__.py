"""Stage 2 of 10: Scalar and tensor automatic differentiation, forward and reverse."""

__all__: list[str] = []
__version__ = "0.1.0"
