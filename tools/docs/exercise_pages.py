"""
What the page of an exercise shows.

An exercise is a module of plain data, `fp_<stage>.exercises.eNN_name`, which `fp_workbook.exercises` reads for the
learner's command too. The page shows the statement and what to write, and folds away whatever tells more than a reader
may want to know: hints, wrong answers, the solution, the check.
"""

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pdoc.doc
import pygments
from markupsafe import Markup
from pdoc.render_helpers import lexer
from pygments.formatters import HtmlFormatter

from fp_workbook.exercises import LEVELS, Exercise

NAME = re.compile(r"fp_(\w+)\.exercises\.e\d\d_\w+")
PLAIN = re.compile(r'<span class="(?:n|p|w)">([^<]*)</span>')


class Page(NamedTuple):
    """An exercise, with what is read from its running module; sources are Python, texts are Markdown."""

    of: Exercise
    module: pdoc.doc.Module
    package: str
    mistakes: list[tuple[str, str]]
    """The sentence that names the misconception, and the wrong answer."""
    check: str


def is_exercise(module: pdoc.doc.Module) -> bool:
    return NAME.fullmatch(module.modulename) is not None


def read(module: pdoc.doc.Module) -> Page:
    """
    The exercise that a module holds. The module's `__all__` becomes the one function to write, so that neither the page
    nor the search shows the rest as if it were an interface.

    Raises
    ------
    ValueError
        If the module is not in the form of an exercise.
    """
    package = module.modulename.rpartition(".")[0]
    exercise = Exercise.read(Path(module.source_file), NAME.fullmatch(module.modulename)[1], package.partition(".")[0])
    if exercise.level not in LEVELS:
        raise ValueError(f"{module.modulename}: a paragraph begins with `Level: ` and one of {', '.join(LEVELS)}")
    module.obj.__all__ = [exercise.function]
    return Page(
        of=exercise,
        module=module,
        package=package,
        mistakes=[
            (sentence, inspect.getsource(getattr(module.obj, name)).rstrip()) for name, sentence in exercise.mistakes
        ],
        check=replace(exercise, function="check").solution(),  # the check and what it uses
    )


def highlight(source: str) -> Markup:
    """Python in colours, without pdoc's anchors and line numbers, and without elements for what has no colour."""
    coloured = pygments.highlight(source, lexer, HtmlFormatter(cssclass="pdoc-code codehilite"))
    return Markup(PLAIN.sub(r"\1", coloured))
