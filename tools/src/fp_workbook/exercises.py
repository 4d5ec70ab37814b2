"""
The exercises of the installed stages.

An exercise is one file, `fp_<stage>/exercises/eNN_name.py`, that holds plain data: a statement, hints, a reference
solution, a check and planted mistakes. This module reads what the learner sees from the text of that file and imports
nothing, neither the file nor its stage, so that `fp list` answers at once. What runs, the check, the probes and the
mistakes, is imported by the grader's own process alone (`fp_workbook.grading`).
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from fp_workbook.layering import STAGES

__all__ = ["LEVELS", "Exercise", "discover", "discover_all"]

LEVELS = ("concept", "implement", "challenge", "project")


@dataclass(frozen=True)
class Exercise:
    """One exercise, read from its file."""

    stage: str
    number: int
    name: str
    title: str
    level: str
    statement: str
    hints: tuple[str, ...]
    function: str
    """The name of the reference solution, which the learner's file defines too."""
    mistakes: tuple[tuple[str, str], ...]
    """The name of each planted mistake in the exercise's file, and the sentence that names its misconception."""
    module: str
    """The name under which the exercise is imported."""
    source: str = field(repr=False)

    @classmethod
    def read(cls, file: Path, stage: str, package: str) -> "Exercise":
        """
        Read an exercise.

        Raises
        ------
        ValueError
            If the file is not in the form of an exercise.
        """
        found = re.fullmatch(r"e(\d\d)_(\w+)", file.stem)
        if found is None:
            raise ValueError(f"{file}: the file of an exercise is called eNN_name.py")
        source = file.read_text("utf8")
        try:
            tree = ast.parse(source)
            title, _, text = (ast.get_docstring(tree) or "").partition("\n")
            values = {
                target.id: node.value
                for node in tree.body
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            level = re.search(r"^Level: (\w+)\.\s*", text, re.MULTILINE)
            (function,) = (
                node.name
                for node in tree.body
                if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name != "check"
            )
            mistakes = [entry.elts for entry in values["MISTAKES"].elts]  # type: ignore[attr-defined]
            return cls(
                stage=stage,
                number=int(found[1]),
                name=found[2],
                title=title.removesuffix("."),
                level=level[1] if level else "",
                statement=(text.replace(level[0], "", 1) if level else text).strip(),
                hints=tuple(ast.literal_eval(values["HINTS"])),
                function=function,
                mistakes=tuple((wrong.id, ast.literal_eval(sentence)) for wrong, sentence in mistakes),
                module=f"{package}.exercises.{file.stem}",
                source=source,
            )
        except (SyntaxError, KeyError, AttributeError, ValueError, TypeError) as error:
            raise ValueError(
                f"{file} is no exercise: it needs a docstring, HINTS and MISTAKES as plain tuples of literals, and "
                f"one public function beside check ({type(error).__name__}: {error})"
            ) from error

    @property
    def id(self) -> str:
        """How the learner calls it: `markov/05`."""
        return f"{self.stage}/{self.number:02}"

    @property
    def file_name(self) -> str:
        """The name of the exercise's file, and of the learner's."""
        return f"e{self.number:02}_{self.name}.py"

    @cached_property
    def _tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def _reference(self) -> ast.FunctionDef:
        (node,) = (n for n in self._tree.body if isinstance(n, ast.FunctionDef) and n.name == self.function)
        return node

    def stub(self) -> str:
        """What the learner starts from: statement, imports, the reference's signature and docstring, no body."""
        node = self._reference
        documented = ast.get_docstring(node) is not None
        last = node.body[0].end_lineno if documented else node.body[0].lineno - 1
        head = "\n".join(self.source.splitlines()[node.lineno - 1 : last])
        signature = [node.args, *([node.returns] if node.returns else [])]
        comment = f"# Write this function. To have it graded: fp check {self.id}. For a hint: fp hint {self.id}."
        needed = set(self._support(signature))  # and whole modules, which give nothing away
        support = [part for part in self._support([self._reference]) if part in needed or part.startswith("import ")]
        return self._compose(support, f"{comment}\n{head}\n    raise NotImplementedError\n")

    def solution(self) -> str:
        """The reference solution and what it uses, without the check and the mistakes."""
        return self._compose(self._support([self._reference]), self._text(self._reference) + "\n", statement=False)

    def _text(self, node: ast.stmt) -> str:
        """The lines of a statement, with the decorators above and the comments within."""
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        return "\n".join(self.source.splitlines()[first - 1 : node.end_lineno])

    def _support(self, roots: Iterable[ast.AST]) -> list[str]:
        """The text of the top-level statements whose names `roots` use, directly or through one another, in order."""
        used: set[int] = set()
        pending = [name for root in roots for name in _names(root)]
        while pending:
            name = pending.pop()
            for place, node in enumerate(self._tree.body):
                if place not in used and node is not self._reference and name in _binds(node):
                    used.add(place)
                    pending += [] if isinstance(node, ast.Import | ast.ImportFrom) else _names(node)
        future = {
            place
            for place, node in enumerate(self._tree.body)
            if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        }
        return [self._text(self._tree.body[place]) for place in sorted(used | future)]

    def _compose(self, support: list[str], function: str, *, statement: bool = True) -> str:
        """The text of a file: statement, imports, values, functions, blank lines where a formatter sets them."""
        text = self._text(self._tree.body[0]) if statement else ""
        before = "statement"
        for part in [*support, function]:
            now = "import" if part.startswith(("import ", "from ")) else "definition" if "def " in part else "value"
            gap = 2 if "definition" in (now, before) else 0 if now == before else 1
            text += ("\n" * (gap + 1) if text else "") + part
            before = now
        return text


def _names(node: ast.AST) -> list[str]:
    """The names that a piece of code reads."""
    return [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]


def _binds(node: ast.stmt) -> set[str]:
    """The names that a top-level statement defines."""
    match node:
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return {(alias.asname or alias.name).partition(".")[0] for alias in aliases}
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
    return set()


def discover(stage: str) -> list[Exercise]:
    """
    The exercises of one stage in their order; none where the stage is not installed or has none.

    Parameters
    ----------
    stage
        Its short name: `"markov"` for `fp-markov`.
    """
    package = f"fp_{stage}"
    spec = find_spec(package)  # of a top-level name: finds, and imports nothing
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    files = sorted(file for folder in folders for file in Path(folder, "exercises").glob("e[0-9]*.py"))
    return [Exercise.read(file, stage, package) for file in files]


def discover_all() -> Iterator[tuple[int, str, list[Exercise]]]:
    """Number, name and exercises of every installed stage that has exercises."""
    for number, distribution in enumerate(STAGES, start=1):
        stage = distribution.removeprefix("fp-")
        exercises = discover(stage)
        if exercises:
            yield number, stage, exercises
