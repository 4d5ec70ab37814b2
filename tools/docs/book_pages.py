"""
The pages of the book that are no module: the Markdown files in `book/`.

They stand in the order in which the landing page, `index.md`, first links them, and it has to link each. They may name
claims, modules and functions in code font, as docstrings do, and the figures in `book/figures/`.

On the page of troubleshooting each heading of the third level is one trouble, with four parts that begin in bold:
**Symptom.**, **Diagnosis.**, **Fix.**, and **Shown by**, which names tests as `path::test_name` and failures of
`fp_dynamics.failures` as `failure: name`. What they name has to exist; the source of each test is folded in below.
"""

import ast
import html
import posixpath
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from pdoc.render_helpers import to_html

LINK = re.compile(r"\]\(([\w-]+)\.html(?:#[^)]*)?\)")
HREF = re.compile(r'href="(?!\w+:)([^"#]+)')
TITLE = re.compile(r"^# (.+)", re.MULTILINE)
HEADING = re.compile(r'<h([1-3]) id="([^"]+)">(.*?)</h\1>', re.DOTALL)
TROUBLE = re.compile(r"<h3 (?s:.*?)(?=<h[23] |\Z)")
PARTS = ("Symptom.", "Diagnosis.", "Fix.", "Shown by")
SHOWN_BY = re.compile(r"<p><strong>Shown by</strong>(.*?)</p>", re.DOTALL)
CODE = re.compile(r"<code>([^<]+)</code>")
TEST = re.compile(r"([\w./-]+\.py)::(test_\w+)")
FAILURE = re.compile(r"failure: (.+)")


class BookPage(NamedTuple):
    """A page, as it was written and, with formulas held, as HTML."""

    name: str
    title: str
    text: str
    html: str = ""
    contents: str = ""
    """The list of its headings, for the navigation."""


class Part(NamedTuple):
    """What stands below one heading of a page."""

    page: str
    anchor: str
    title: str
    html: str


def read(folder: Path) -> tuple[list[BookPage], list[str]]:
    """The pages, the landing page first, and one sentence for each that it does not link or that has no title."""
    texts = {file.stem: file.read_text("utf8") for file in sorted(folder.glob("*.md"))}
    listed = [name for name in dict.fromkeys(LINK.findall(texts["index"])) if name in texts and name != "index"]
    problems = [
        f"book/{name}.md: the landing page, book/index.md, does not link {name}.html"
        for name in texts.keys() - {"index", *listed}
    ]
    problems += [
        f"book/{name}.md: a page begins with `# ` and its title" for name in texts if not TITLE.search(texts[name])
    ]
    titles = {name: match[1] for name, text in texts.items() if (match := TITLE.search(text))}
    return [BookPage(name, titles.get(name, name), texts[name]) for name in ("index", *listed)], sorted(problems)


def converted(page: BookPage, hold: Callable[[str], str]) -> BookPage:
    """The page as HTML."""
    made = to_html(hold(page.text))
    return page._replace(html=str(made), contents=made.toc_html or "")


def parts(page: str, made: str) -> Iterator[Part]:
    """What stands below each heading."""
    headings = list(HEADING.finditer(made))
    for heading, after in zip(headings, [*headings[1:], None], strict=True):
        text = made[heading.end() : after.start() if after else len(made)]
        yield Part(page, heading[2] if heading[1] != "1" else "", heading[3], text)


def dead_links(page: str, made: str, files: Collection[str]) -> list[str]:
    """One sentence for each link within the site that leads to no page; `page` and `files` are paths in the site."""
    main = made.partition("<main ")[2].partition("</main>")[0]
    targets = {posixpath.normpath(posixpath.join(posixpath.dirname(page), target)) for target in HREF.findall(main)}
    return [f"{page} links to {target}, which is not a page of the site" for target in sorted(targets - set(files))]


class Evidence:
    """The tests and failures that the page of troubleshooting names."""

    def __init__(self, root: Path, failures: Collection[str], highlight: Callable[[str], str]) -> None:
        self.root = root
        self.failures = failures
        self.highlight = highlight
        self.problems: list[str] = []

    def place(self, page: BookPage) -> BookPage:
        """The page with the source of each test below what it shows."""
        for trouble in TROUBLE.findall(page.html):
            title = re.sub("<[^>]*>", "", HEADING.search(trouble)[3])
            for part in PARTS:
                if f"<p><strong>{part}</strong>" not in trouble:
                    self.problems.append(f"book/{page.name}.md: {title!r} has no paragraph that begins with **{part}**")
        return page._replace(html=SHOWN_BY.sub(lambda match: self.shown(page.name, match[1]), page.html))

    def shown(self, page: str, text: str) -> str:
        """The evidence of one trouble."""
        found = [self.one(page, html.unescape(code)) for code in CODE.findall(text)]
        if not found:
            self.problems.append(f"book/{page}.md: **Shown by** names no test and no failure: {text.strip()}")
        return "".join(found)

    def one(self, page: str, name: str) -> str:
        """One test, folded, or one failure."""
        if test := TEST.fullmatch(name):
            source = source_of(self.root / test[1], test[2])
            if source is not None:
                sentence = test[2].removeprefix("test_").replace("_", " ")
                return (
                    f'<details class="evidence"><summary>Shown by a test: {sentence} <small>{test[1]}</small></summary>'
                    f"{self.highlight(source)}</details>\n"
                )
        elif (failure := FAILURE.fullmatch(name)) and failure[1] in self.failures:
            return (
                f'<p class="evidence">Shown by the failure <em>{html.escape(failure[1])}</em> of '
                "<code>fp_dynamics.failures</code>, a run that you can make yourself.</p>\n"
            )
        self.problems.append(f"book/{page}.md: there is no {name}, which a trouble names as its evidence")
        return ""


def source_of(file: Path, name: str) -> str | None:
    """The text of a test, with its marks; None if there is none of that name."""
    if not file.is_file():
        return None
    text = file.read_text("utf8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            first = min([node.lineno, *(mark.lineno for mark in node.decorator_list)])
            return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    return None
