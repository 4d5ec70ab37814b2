"""Stage 4 of 10: Optimizers, schedules and clipping, on plain named arrays."""

__all__: list[str] = []
__version__ = "0.1.0"
