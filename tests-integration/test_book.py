"""
The front door of the book: what its pages say is backed by what the repository holds.

The site's build checks the same once more, on the pages that it makes; this needs neither a build nor a browser.
"""

import ast
import importlib
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from fp_dynamics.failures import FAILURES
from fp_workbook.layering import STAGES
from fp_workbook.ledger import Ledger, running
from fp_workbook.ledger import docstrings as docstrings_of

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
PAGES = {file.stem: file.read_text("utf8") for file in sorted(BOOK.glob("*.md"))}
CODE = re.compile(r"`([\w.-]+)`")


def tool(name):
    """One of the modules of the site's build."""
    sys.path.insert(0, str(ROOT / "tools" / "docs"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def ledger():
    """The claims; their checks, which take longer to read, have a test of their own."""
    found = Ledger()
    for file in ROOT.glob("packages/*/src/*/*.py"):
        for line, text in docstrings_of(file):
            found.add_claims(text, line, file.relative_to(ROOT).as_posix())
    return found


@pytest.fixture(scope="module")
def glossary():
    return tool("glossary").Glossary(PAGES["glossary"], str)


@pytest.fixture(scope="module")
def docstrings():
    """The docstring of each section, by the name of its module."""
    return {
        ".".join(file.relative_to(file.parents[1]).with_suffix("").parts): ast.get_docstring(
            ast.parse(file.read_text("utf8"))
        )
        for file in sorted(ROOT.glob("packages/*/src/*/[!_]*.py"))
    }


def known(name, ledger, sections):
    """Whether there is such a claim, or such a section, or a name in one."""
    packages = {section.partition(".")[0] for section in sections}
    if name in ledger.claims.keys() | sections.keys() | packages | {f"{package}.exercises" for package in packages}:
        return True
    section, _, attribute = name.rpartition(".")
    return section in sections and hasattr(importlib.import_module(section), attribute)


def test_the_glossary_is_in_order_and_large_enough(glossary):
    assert glossary.problems == []
    assert len(glossary.terms) >= 60


def test_each_term_has_a_sentence_or_two_and_names_where_it_is_derived(glossary, ledger, docstrings):
    for term in glossary.terms:
        names = CODE.findall(term.definition.replace("<code>", "`").replace("</code>", "`"))
        assert names, term.name
        assert all(known(name, ledger, docstrings) for name in names), (term.name, names)
        own = re.sub(r"\bSee\b.*|<[^>]*>", "", term.definition, flags=re.DOTALL)
        assert len(re.findall(r"[.?!](?:\s|$)", own)) <= 2, term.name


def test_terms_stand_in_chapters_from_which_they_are_linked(glossary, docstrings):
    """Where an entry limits the chapters, in those."""
    found = set()
    for name, text in docstrings.items():
        chapter = name.partition(".")[0].removeprefix("fp_")
        for term in glossary.terms:
            if term.name not in found and (term.chapters is None or chapter in term.chapters):
                forms = map(tool("glossary").pattern, (term.name, *term.others))
                if re.search(rf"(?<![\w-])(?:{'|'.join(forms)})s?(?![\w-])", text or ""):
                    found.add(term.name)
    assert len(found) >= 100, sorted({term.name for term in glossary.terms} - found)


def test_whatever_the_pages_name_exists(ledger, docstrings):
    packages = {name.replace("-", "_") for name in STAGES}
    stages = {name.removeprefix("fp_") for name in packages}
    for page, text in PAGES.items():
        for name in CODE.findall(text):
            first = name.partition(".")[0]
            if "." in name and first in packages | stages:
                loaded = hasattr(importlib.import_module(first), name.split(".")[1]) if first in packages else False
                assert loaded or known(name, ledger, docstrings), f"book/{page}.md names `{name}`"


def test_each_trouble_names_a_test_that_runs_or_a_failure(ledger):
    troubles = re.split(r"^### ", PAGES["troubleshooting"], flags=re.MULTILINE)[1:]
    assert len(troubles) >= 20
    named = set()
    for trouble in troubles:
        title = trouble.partition("\n")[0]
        for part in ("Symptom.", "Diagnosis.", "Fix.", "Shown by"):
            assert trouble.count(f"\n**{part}**") == 1, (title, part)
        evidence = re.findall(r"`([^`]+)`", trouble.partition("**Shown by**")[2])
        assert evidence, title
        for name in evidence:
            if name.startswith("failure: "):
                named.add(name.removeprefix("failure: "))
            else:
                file, _, test = name.partition("::")
                tree = ast.parse((ROOT / file).read_text("utf8"))
                assert test in {known for _, known in running(tree)}, f"{title}: there is no {name}"
    assert named == {failure.name for failure in FAILURES}, "each failure that the doctor knows has its trouble"


def test_the_landing_page_shows_the_paths_and_every_page():
    index = PAGES["index"]
    for path, stages, hours in (
        ("Fundamentals", "1 to 6", "20 to 30 hours"),
        ("Practitioner", "7 to 10", "hours"),
        ("Deep Dive", "1 to 10 and the capstone", "40 to 60 hours"),
    ):
        (row,) = re.findall(rf"^\| \*\*{path}\*\* .*$", index, re.MULTILINE)
        assert stages in row
        assert hours in row
    for page in PAGES.keys() - {"index"}:
        assert f"]({page}.html)" in index, page
    assert "](ledger.html)" in index
    for widget in BOOK.glob("widgets/*/index.html"):
        assert f"](widgets/{widget.parent.name}/index.html)" in index, widget


def test_every_command_on_the_pages_is_one_that_the_repository_has():
    hatch = tomllib.loads((ROOT / "hatch.toml").read_text("utf8"))
    scripts = hatch["envs"]["default"]["scripts"].keys() | {
        f"{name}:{script}" for name, environment in hatch["envs"].items() for script in environment.get("scripts", ())
    }
    projects = [tomllib.loads(file.read_text("utf8")) for file in ROOT.glob("**/pyproject.toml")]
    commands = {command for project in projects for command in project.get("project", {}).get("scripts", ())}
    lines = [
        part.split("#")[0].strip()
        for text in PAGES.values()
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
        for part in line.split("&&")
    ]
    assert len(lines) > 10
    for line in lines:
        match shlex.split(line):
            case ["pip", "install", *what]:
                assert all(name == "hatch" or (ROOT / name / "pyproject.toml").is_file() for name in what), line
            case ["hatch", "run", name, *_]:
                assert name in scripts | commands, line
            case ["hatch", "test", *_]:
                pass
            case [name, *_]:
                assert name in commands, line


def test_the_notation_lists_every_size_once():
    sizes = PAGES["notation"].partition("## Sizes")[2].partition("\n## ")[0]
    letters = re.findall(r"^\| \$(\w)\$ \|", sizes, re.MULTILINE)
    assert sorted(letters) == sorted("BTCHDKFLVN")
