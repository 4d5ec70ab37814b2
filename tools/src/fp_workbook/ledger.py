"""
Which test checks which claim.

A claim is a labelled statement in a docstring, written `Claim` in bold and the label as code, followed by its proof.
A check is a test marked `@pytest.mark.claim("stage.label")` that could fail if the claim were false. `Ledger.read`
collects both from the source text, importing nothing, and `Ledger.mismatches` says where they do not meet: a claim
without a check, a check without a claim, a label claimed twice, a label filed under another stage's name.

Run `python -m fp_workbook.ledger` at the root of the repository.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

__all__ = ["Ledger", "main"]

CLAIM = re.compile(r"\*\*Claim\b[^*]*\*\*(?:\s+`(?P<label>[a-z]+\.[a-z0-9-]+)`)?")


@dataclass
class Ledger:
    """Every label, with the places that claim it and the places that check it, each as `path:line`."""

    claims: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    checks: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
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
            if label is None:
                self.malformed.append(f"{place}: a claim is written **Claim** `stage.label`, got {match[0]!r}")
                continue
            if label.partition(".")[0] != stage:
                self.malformed.append(f"{place}: {label} is claimed in a package whose labels start with {stage}.")
            self.claims[label].append(place)

    def add_checks(self, file: Path, path: str) -> None:
        """File the marks that a test file sets."""
        for node in ast.walk(ast.parse(file.read_text("utf8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.claim"):
                match node.args:
                    case [ast.Constant(value=str(label))] if not node.keywords:
                        self.checks[label].append(f"{path}:{node.lineno}")
                    case _:
                        self.malformed.append(f"{path}:{node.lineno}: a mark names one label, as a literal string")

    def mismatches(self) -> list[str]:
        """One sentence for each claim and each check that does not find its other half."""
        found = list(self.malformed)
        for label, places in self.claims.items():
            if len(places) > 1:
                found.append(f"{', '.join(places)}: {label} is claimed more than once")
            if label not in self.checks:
                found.append(f"{places[0]}: {label} is claimed but no test checks it")
        for label, places in self.checks.items():
            if label not in self.claims:
                found.append(f"{', '.join(places)}: {label} is checked but nowhere claimed")
        return found


def docstrings(file: Path) -> Iterator[tuple[int, str]]:
    """First line and text of the docstring of a module and of everything defined in it."""
    for node in ast.walk(ast.parse(file.read_text("utf8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                yield node.body[0].lineno, text


def main() -> int:
    """Print the table and return 0, or the table, then one line a mismatch, and return 1."""
    try:
        ledger = Ledger.read(Path.cwd())
    except ValueError as error:
        print(error)
        return 1
    width = max(map(len, ledger.claims), default=0)
    for label, places in sorted(ledger.claims.items()):
        print(f"{label:{width}}  {places[0]}  checked at {', '.join(ledger.checks.get(label, ['no place']))}")
    found = ledger.mismatches()
    for line in found:
        print(line)
    if not found:
        checks = sum(map(len, ledger.checks.values()))
        print(f"ledger: {len(ledger.claims)} claims, {checks} checks, none without the other")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
