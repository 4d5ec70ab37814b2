"""
Which test checks which claim.

A claim is a labelled statement in a docstring, written `Claim` in bold and the label as code, followed by its proof.
A check is a test under `@pytest.mark.claim("stage.label")` that could fail if the claim were false. `Ledger.read`
collects both from the source text, importing nothing, and `Ledger.mismatches` says where they do not meet: a claim
without a check, a check without a claim, a label claimed twice, a label filed under another stage's name. It also says
what looks like either and is not: a claim in another spelling, a mark on what is no test or is always skipped.

Run `python -m fp_workbook.ledger` at the root of the repository.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple, Self

__all__ = ["Check", "Ledger", "main"]

CLAIM = re.compile(r"(\*\*|__)claim(?![a-z]).*?\1(?:\s+`(?P<label>[a-z]+\.[a-z0-9-]+)`)?", re.IGNORECASE | re.DOTALL)


class Check(NamedTuple):
    """A mark, and the test that carries it."""

    place: str
    """`path:line` of the mark."""
    test: str
    """Name of the test, with that of its class before it."""
    source: str
    """The text of the test."""
    kind: str
    """`algebra` where the test computes with sympy, `property` where hypothesis draws its input, else `cases`."""


@dataclass
class Ledger:
    """Every label, with the places that claim it, each as `path:line`, and the checks of it."""

    claims: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    checks: defaultdict[str, list[Check]] = field(default_factory=lambda: defaultdict(list))
    malformed: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, root: Path) -> Self:
        """
        Collect the claims under `packages/*/src` and the marks under `packages/*/tests` and `tests-integration`.

        Raises
        ------
        ValueError
            If there is no package: a ledger of nothing would always balance.
        """
        ledger = cls()
        sources = sorted(root.glob("packages/*/src/**/*.py"))
        if not sources:
            raise ValueError(f"no source found under {root / 'packages'}: run this at the root of the repository")
        for file in sources:
            for line, docstring in docstrings(file):
                ledger.add_claims(docstring, line, file.relative_to(root).as_posix())
        for file in sorted([*root.glob("packages/*/tests/**/*.py"), *root.glob("tests-integration/**/*.py")]):
            ledger.add_checks(file, file.relative_to(root).as_posix())
        return ledger

    def add_claims(self, docstring: str, first_line: int, path: str) -> None:
        """File the claims that a docstring makes."""
        stage = path.split("/")[1].removeprefix("fp-")
        for match in CLAIM.finditer(docstring):
            line = first_line + docstring.count("\n", 0, match.start())
            place = f"{path}:{line}"
            label = match["label"]
            if label is None or not match[0].startswith("**Claim"):
                self.malformed.append(f"{place}: a claim is written **Claim** `stage.label`, got {match[0]!r}")
                continue
            if label.partition(".")[0] != stage:
                self.malformed.append(f"{place}: {label} is claimed in a package whose labels start with {stage}.")
            self.claims[label].append(place)

    def add_checks(self, file: Path, path: str) -> None:
        """File the marks that a test file sets."""
        text = file.read_text("utf8")
        tree = ast.parse(text)
        found = running(tree) if file.match("test_*.py") else ()
        carriers = {id(mark): (test, name) for test, name in found for mark in test.decorator_list}
        for mark in ast.walk(tree):
            if not isinstance(mark, ast.Call) or called(mark) != "claim":
                continue
            place = f"{path}:{mark.lineno}"
            match mark.args:
                case [ast.Constant(value=str(label))] if not mark.keywords:
                    if id(mark) in carriers:
                        test, name = carriers[id(mark)]
                        self.checks[label].append(Check(place, name, source_of(test, text), kind_of(test, tree)))
                    else:
                        self.malformed.append(
                            f"{place}: a mark stands above a test that runs: def test_… in test_….py, not skipped"
                        )
                case _:
                    self.malformed.append(f"{place}: a mark names one label, as a literal string")

    def mismatches(self) -> list[str]:
        """One sentence for each claim and each check that does not find its other half."""
        found = list(self.malformed)
        for label, places in self.claims.items():
            if len(places) > 1:
                found.append(f"{', '.join(places)}: {label} is claimed more than once")
            if label not in self.checks:
                found.append(f"{places[0]}: {label} is claimed but no test checks it")
        for label, checks in self.checks.items():
            if label not in self.claims:
                found.append(f"{', '.join(check.place for check in checks)}: {label} is checked but nowhere claimed")
        return found


def docstrings(file: Path) -> Iterator[tuple[int, str]]:
    """First line and text of the docstring of a module and of everything defined in it."""
    for node in ast.walk(ast.parse(file.read_text("utf8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                yield node.body[0].lineno, text


def running(node: ast.Module | ast.ClassDef, above: str = "") -> Iterator[tuple[ast.FunctionDef, str]]:
    """The tests of a file or a class that run, each with its dotted name."""
    if skipped(node):
        return
    for part in node.body:
        if isinstance(part, ast.ClassDef) and part.name.startswith("Test"):
            yield from running(part, f"{above}{part.name}.")
        elif isinstance(part, ast.FunctionDef) and part.name.startswith("test_") and not skipped(part):
            yield part, above + part.name


def skipped(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> bool:
    """Whether all of a file, a class or a test is skipped, whatever the circumstances."""
    marks = list(getattr(node, "decorator_list", []))
    for part in node.body:
        if isinstance(part, ast.Assign) and any(ast.unparse(target) == "pytestmark" for target in part.targets):
            marks += part.value.elts if isinstance(part.value, ast.List | ast.Tuple) else [part.value]
    return any(called(mark) == "skip" for mark in marks)


def called(mark: ast.expr) -> str:
    """The name of a mark: `claim` for `pytest.mark.claim(…)`; empty for what is no mark."""
    before, _, name = ast.unparse(mark.func if isinstance(mark, ast.Call) else mark).rpartition(".")
    return name if before.rpartition(".")[2] == "mark" else ""


def source_of(node: ast.FunctionDef, text: str) -> str:
    """The lines of a test, its decorators among them."""
    first = min([node.lineno, *(part.lineno for part in node.decorator_list)])
    return dedent("\n".join(text.split("\n")[first - 1 : node.end_lineno]))


def kind_of(node: ast.AST, tree: ast.Module) -> str:
    """What a test leaves the checking to: it, or a function of its file that it calls, names sympy or hypothesis."""
    imports = [part for part in ast.walk(tree) if isinstance(part, ast.Import | ast.ImportFrom)]
    origin = {
        (alias.asname or alias.name).partition(".")[0]: (getattr(part, "module", None) or alias.name).partition(".")[0]
        for part in imports
        for alias in part.names
    }
    helpers = {part.name: part for part in tree.body if isinstance(part, ast.FunctionDef)}
    reached: set[str] = set()
    waiting = [node]
    while waiting:
        names = {part.id for part in ast.walk(waiting.pop()) if isinstance(part, ast.Name)} - reached
        reached |= names
        waiting += [helpers[name] for name in sorted(names & helpers.keys())]
    libraries = {origin.get(name) for name in reached}
    return "algebra" if "sympy" in libraries else "property" if "hypothesis" in libraries else "cases"


def main() -> int:
    """Print the table and return 0, or the table, then one line a mismatch, and return 1."""
    try:
        ledger = Ledger.read(Path.cwd())
    except ValueError as error:
        print(error)
        return 1
    width = max(map(len, ledger.claims), default=0)
    for label, places in sorted(ledger.claims.items()):
        checks = ", ".join(check.place for check in ledger.checks.get(label, []))
        print(f"{label:{width}}  {places[0]}  checked at {checks or 'no place'}")
    found = ledger.mismatches()
    for line in found:
        print(line)
    if not found:
        total = sum(map(len, ledger.checks.values()))
        print(f"ledger: {len(ledger.claims)} claims, {total} checks, none without the other")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
