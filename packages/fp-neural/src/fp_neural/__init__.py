"""Stage 3 of 10: Neural language models: modules, layers, losses."""

__all__: list[str] = []
__version__ = "0.1.0"
