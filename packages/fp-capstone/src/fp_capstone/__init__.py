"""Capstone: A transformer trained with every backward pass written by hand."""

__all__: list[str] = []
__version__ = "0.1.0"
