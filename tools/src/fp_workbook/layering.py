"""
Who may import whom.

The stages climb: a package may use the stages before it and nothing after it, so that a reader can stop at any stage
and run everything up to there. Three rules keep that true, and `violations` checks them against the source text itself,
without importing any of it:

1. **Declared.** Whatever a package imports (at the top of a module, inside a function, under `TYPE_CHECKING`) is the
   package itself, the standard library, or a dependency that its `pyproject.toml` declares; extras count.
2. **Downwards.** A stage declares and imports stages of lower number only. Numbers strictly fall along every edge, so
   the graph has no cycle.
3. **Used.** A stage in `COMPLETE` imports every dependency that it declares. Until a stage is complete it may declare
   what its plan says it will need.

Run `python -m fp_workbook.layering` at the root of the repository.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

__all__ = ["COMPLETE", "STAGES", "Stage", "ancestors", "main", "read_stages", "violations"]

STAGES = (
    "fp-markov",
    "fp-autograd",
    "fp-neural",
    "fp-optim",
    "fp-attention",
    "fp-transformer",
    "fp-tokenize",
    "fp-dynamics",
    "fp-peft",
    "fp-align",
    "fp-capstone",
)
"""The packages in the order of the book: stage 1 stands first."""

COMPLETE: tuple[str, ...] = STAGES
"""The stages whose chapter is finished, whose declarations must therefore equal their imports."""


def distribution(name: str) -> str:
    """
    The normalised name of a distribution, from a requirement or from the module that it installs.

    Every dependency of these packages installs a module of its own name; one that does not shows up as undeclared.

    Examples
    --------
    >>> distribution("fp_markov>=0.1,<0.2"), distribution("Jinja2>=3.1"), distribution("numpy")
    ('fp-markov', 'jinja2', 'numpy')
    """
    match = re.match(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?", name)
    if match is None:
        raise ValueError(f"a requirement starts with the name of a distribution, got {name!r}")
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def imported_modules(source: str) -> Iterator[tuple[int, str]]:
    """
    Line and top-level name of every absolute import, wherever it stands.

    A relative import stays within its package, and so does `import_module(f"{__name__}.section")`; a literal name given
    to `import_module` is an import like any other.

    Examples
    --------
    >>> list(
    ...     imported_modules("import numpy as np\\nfrom . import rules\\ndef f():\\n    from fp_markov import sampling")
    ... )
    [(1, 'numpy'), (4, 'fp_markov')]
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=aliases):
                names = [alias.name for alias in aliases]
            case ast.ImportFrom(module=str(module), level=0):
                names = [module]
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                names = [module]
            case _:
                continue
        yield from ((node.lineno, name.partition(".")[0]) for name in names if not name.startswith("."))


class Stage:
    """One package: what it declares, and what it really imports."""

    def __init__(self, folder: Path) -> None:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf8"))["project"]
        extras = project.get("optional-dependencies", {}).values()
        self.folder = folder
        self.name: str = project["name"]
        self.required = {distribution(r) for r in project.get("dependencies", [])}
        self.declared = self.required.union(distribution(r) for extra in extras for r in extra) - {self.name}

    @cached_property
    def imports(self) -> dict[str, str]:
        """Each distribution that the sources import, and the first place that does."""
        found: dict[str, str] = {}
        for file in sorted(self.folder.glob("src/**/*.py")):
            for line, module in imported_modules(file.read_text("utf8")):
                if module not in sys.stdlib_module_names and distribution(module) != self.name:
                    found.setdefault(distribution(module), f"{file.relative_to(self.folder.parent.parent)}:{line}")
        return found


def read_stages(root: Path) -> dict[str, Stage]:
    """
    The packages under `root`, by name.

    Raises
    ------
    ValueError
        If there is none: a check of nothing would always pass.
    """
    folders = [file.parent for file in sorted(root.glob("packages/*/pyproject.toml"))]
    if not folders:
        raise ValueError(f"no package found under {root / 'packages'}: run this at the root of the repository")
    return {stage.name: stage for stage in map(Stage, folders)}


def ancestors(stages: dict[str, Stage], name: str) -> set[str]:
    """The stages that installing `name` brings along: its required stages, theirs, and so on down."""
    parents = stages[name].required & stages.keys()
    return parents.union(*(ancestors(stages, parent) for parent in parents))


def violations(root: Path, *, order: tuple[str, ...] = STAGES, complete: tuple[str, ...] = COMPLETE) -> Iterator[str]:
    """
    One sentence for each breach of the three rules above.

    Parameters
    ----------
    root
        The repository.
    order
        The stages by number, lowest first.
    complete
        The stages whose every declared dependency must be used.
    """
    stages = read_stages(root)
    for name in sorted(set(order) - stages.keys()):
        yield f"{name} has a number but no package"
    for name, stage in stages.items():
        if name not in order:
            yield f"{name} has no number: give it its place in the order of the stages"
            continue
        for other, place in stage.imports.items():
            if other not in stage.declared:
                yield f"{place}: {name} imports {other}, which its pyproject.toml does not declare"
        for other in sorted(stage.declared | stage.imports.keys()):
            verb = "imports" if other in stage.imports else "declares"
            if other in order and order.index(other) >= order.index(name):
                yield f"{name} {verb} {other}, a later stage: {order.index(name) + 1} -> {order.index(other) + 1}"
            elif other.startswith("fp-") and other not in order:
                yield f"{name} {verb} {other}, which is no stage"
        if name in complete:
            for other in sorted(stage.declared - stage.imports.keys()):
                yield f"{name} is complete and declares {other}, which it never imports"


def main() -> int:
    """Print one line a violation and return 1, or one line of success and return 0."""
    root = Path.cwd()
    try:
        found = list(violations(root))
    except ValueError as error:
        found = [str(error)]
    if not found:
        used = sum(len(stage.imports) for stage in read_stages(root).values())
        print(f"layering: {len(STAGES)} stages use {used} dependencies, all declared, none of a later stage")
    for line in found:
        print(line)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
