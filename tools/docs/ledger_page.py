"""
The page of the ledger: every claim of the book with its statement, the place of its proof, and the tests that check it.

The statements are those of the pages, formulas included; claims, checks and what is wrong between them come from
`fp_workbook.ledger`, which reads the source text.
"""

import posixpath
import re
from collections import Counter
from typing import NamedTuple

import pdoc.doc

from fp_workbook.ledger import Check, Ledger

HREF = re.compile(r'href="(?!\w+:)([^"#]*)(#[^"]*)?"')
KINDS = {
    "algebra": "algebra, with sympy",
    "property": "inputs that hypothesis draws",
    "cases": "cases by hand, enumerated or drawn",
}


class Entry(NamedTuple):
    """A claim as the page shows it."""

    label: str
    address: str
    statement: str
    place: str
    checks: list[Check]


class Group(NamedTuple):
    """The claims of one page."""

    module: pdoc.doc.Module
    entries: list[Entry]


def groups(ledger: Ledger, statements: dict[str, dict[str, str]], modules: dict[str, pdoc.doc.Module]) -> list[Group]:
    """The claims page by page, from the statements on each page by their labels."""
    found = []
    for page, of_page in statements.items():
        file = f"{page.replace('.', '/')}.html"
        entries = [
            Entry(
                label,
                f"{file}#claim-{label}",
                from_the_root(f"<p>{statement.strip()}", file),
                next(iter(ledger.claims.get(label, [])), ""),
                ledger.checks.get(label, []),
            )
            for label, statement in of_page.items()
        ]
        if entries:
            found.append(Group(modules[page], entries))
    return found


def from_the_root(html: str, page: str) -> str:
    """`html`, a part of a page, with its links as they are written in the folder of the whole site."""

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), match[1])) if match[1] else page
        return f'href="{target}{match[2] or ""}"'

    return HREF.sub(moved, html)


def counts(entries: list[Entry]) -> dict[str, int]:
    """How many claims and checks there are, and how many checks of each kind."""
    kinds = Counter(check.kind for entry in entries for check in entry.checks)
    return {"claims": len(entries), "checks": kinds.total()} | {kind: kinds[kind] for kind in KINDS}


def sentence(check: Check) -> str:
    """The name of a test, which reads as one."""
    return check.test.rpartition(".")[2].removeprefix("test_").replace("_", " ")
