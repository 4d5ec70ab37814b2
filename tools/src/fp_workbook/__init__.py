"""
The repository's own checks.

| module | the question it answers |
| --- | --- |
| `fp_workbook.layering` | Does every stage import only what it declares, and declare only earlier stages? |
| `fp_workbook.ledger` | Has every claim of the book a test that could refute it? |
"""

__all__ = ["layering", "ledger"]  # in reading order: the page lists them
__version__ = "0.1.0"
