"""
The workshop: the learner's command `fp`, and the repository's own checks.

| module | the question it answers |
| --- | --- |
| `fp_workbook.exercises` | What is there to do, and what does a learner start from? |
| `fp_workbook.grading` | Is an answer right, and if not, which misconception is it? |
| `fp_workbook.worker` | What happens in the process that runs a learner's file? |
| `fp_workbook.confine` | How does that file harm nothing? |
| `fp_workbook.answers` | When are two answers the same? |
| `fp_workbook.workspace` | Where are a learner's files, and what has been reached? |
| `fp_workbook.cli` | The command itself. |
| `fp_workbook.layering` | Does every stage import only what it declares, and declare only earlier stages? |
| `fp_workbook.ledger` | Has every claim of the book a test that could refute it? |
"""

__all__ = [
    "exercises",
    "grading",
    "worker",
    "confine",
    "answers",
    "workspace",
    "cli",
    "layering",
    "ledger",
]  # in reading order: the page lists them
__version__ = "0.1.0"
