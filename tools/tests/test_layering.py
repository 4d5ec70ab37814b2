"""Mirrors src/fp_workbook/layering.py: each kind of violation, on a small tree made for it."""

from pathlib import Path

import pytest

from fp_workbook import layering

ORDER = ("fp-one", "fp-two", "fp-three")


@pytest.fixture
def tree(tmp_path):
    """Three stages that obey every rule; a test then breaks one."""
    write(tmp_path, "fp-one", "import numpy as np", ["numpy>=2.0"])
    write(tmp_path, "fp-two", "from fp_one import counting", ["fp-one>=0.1,<0.2"])
    write(tmp_path, "fp-three", "import fp_two.rules", ["fp-two>=0.1,<0.2"], extras=["matplotlib>=3.8"])
    return tmp_path


def write(root: Path, name: str, source: str, dependencies: list[str], extras: list[str] | None = None) -> None:
    folder, module = root / "packages" / name, name.replace("-", "_")
    (folder / "src" / module).mkdir(parents=True, exist_ok=True)
    (folder / "src" / module / "code.py").write_text(source, "utf8")
    optional = f"[project.optional-dependencies]\nplot = {extras!r}\n" if extras else ""
    (folder / "pyproject.toml").write_text(
        f"[project]\nname = {name!r}\ndependencies = {dependencies!r}\n{optional}", "utf8"
    )


def found(root: Path, complete: tuple[str, ...] = ()) -> list[str]:
    return list(layering.violations(root, order=ORDER, complete=complete))


def test_a_tree_that_obeys_has_no_violation(tree):
    assert found(tree) == []


@pytest.mark.parametrize(
    "source",
    [
        "import regex",
        "from regex import compile",
        "import os, regex",
        "def f():\n    import regex",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from regex import Pattern",
        "from importlib import import_module\nimport_module('regex')",
        "import importlib\nimportlib.import_module('regex.sub')",
    ],
)
def test_an_undeclared_third_party_import_is_found_wherever_it_stands(tree, source):
    (tree / "packages/fp-one/src/fp_one/code.py").write_text(source, "utf8")
    (line,) = found(tree)
    assert line.endswith("fp-one imports regex, which its pyproject.toml does not declare")
    assert Path(line.split(": ")[0].rpartition(":")[0]) == Path("packages/fp-one/src/fp_one/code.py")


def test_an_undeclared_earlier_stage_is_found_even_when_it_arrives_through_another(tree):
    (tree / "packages/fp-three/src/fp_three/code.py").write_text("import fp_two\nimport fp_one", "utf8")
    (line,) = found(tree)
    assert "code.py:2: fp-three imports fp-one, which its pyproject.toml does not declare" in line


@pytest.mark.parametrize(
    "source",
    [
        "import os.path",
        "from . import rules",
        "from fp_one.rules import f",
        "from importlib import import_module\nimport_module(f'{__name__}.rules')",
        "from importlib import import_module\nimport_module('.rules', __package__)",
    ],
)
def test_the_standard_library_and_the_package_itself_need_no_declaration(tree, source):
    (tree / "packages/fp-one/src/fp_one/code.py").write_text(source, "utf8")
    assert found(tree) == []


def test_an_extra_counts_as_declared(tree):
    (tree / "packages/fp-three/src/fp_three/code.py").write_text("def f():\n    import matplotlib.pyplot", "utf8")
    assert found(tree) == []


def test_a_later_stage_is_refused_declared_or_imported(tree):
    write(tree, "fp-two", "", ["fp-three>=0.1,<0.2"])
    assert found(tree) == ["fp-two declares fp-three, a later stage: 2 -> 3"]
    write(tree, "fp-two", "import fp_three", ["fp-three>=0.1,<0.2"])
    assert found(tree) == ["fp-two imports fp-three, a later stage: 2 -> 3"]


def test_a_cycle_is_refused_because_one_of_its_edges_must_climb(tree):
    write(tree, "fp-one", "import fp_three", ["fp-three>=0.1,<0.2"])
    write(tree, "fp-three", "import fp_one", ["fp-one>=0.1,<0.2"])
    assert found(tree) == ["fp-one imports fp-three, a later stage: 1 -> 3"]


def test_a_name_of_ours_that_is_no_stage_is_refused(tree):
    write(tree, "fp-two", "import fp_workbook", ["fp-workbook"])
    assert found(tree) == ["fp-two imports fp-workbook, which is no stage"]


def test_every_package_has_a_number_and_every_number_a_package(tree):
    write(tree, "fp-four", "", [])
    assert found(tree) == ["fp-four has no number: give it its place in the order of the stages"]
    (tree / "packages/fp-four/pyproject.toml").unlink()
    (tree / "packages/fp-one/pyproject.toml").unlink()
    assert found(tree) == ["fp-one has a number but no package"]


def test_a_complete_stage_uses_all_that_it_declares(tree):
    assert found(tree, complete=("fp-two",)) == []
    assert found(tree, complete=("fp-three",)) == [
        "fp-three is complete and declares matplotlib, which it never imports"
    ]


def test_ancestors_are_found_through_every_level_and_leave_extras_out(tree):
    stages = layering.read_stages(tree)
    assert layering.ancestors(stages, "fp-three") == {"fp-one", "fp-two"}
    assert layering.ancestors(stages, "fp-one") == set()


def test_the_command_prints_one_line_of_success_or_one_a_violation(tree, monkeypatch, capsys):
    monkeypatch.chdir(tree)
    assert layering.main() == 1
    printed = capsys.readouterr().out.splitlines()
    assert "fp-one has no number: give it its place in the order of the stages" in printed
    for file in tree.glob("packages/*/pyproject.toml"):
        file.unlink()
    for name in layering.STAGES:
        write(tree, name, "", [])
    assert layering.main() == 0
    assert capsys.readouterr().out.startswith("layering: 11 stages use 0 dependencies")


def test_a_folder_without_packages_fails_instead_of_passing_empty(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert layering.main() == 1
    assert "run this at the root of the repository" in capsys.readouterr().out
