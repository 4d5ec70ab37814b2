"""
Figures and tables that are computed while the site is built.

A docstring names a figure on a line of its own, in a comment that a plain pdoc leaves out:

    <!-- figure: NAME -->

There the page shows what `render()` in `packages/<package>/figures/NAME.py`, or for the pages of the book in
`book/figures/NAME.py`, returns: a table, and a drawing if one helps, as a fragment of HTML. The fragment is well-formed
XML. Its numbers stand in a table with header cells, because a drawing is not read aloud; an `svg` has a `viewBox`,
`role="img"`, and an `aria-label` or a `title`. Lines and areas take their colours from `var(--figure-1)` to
`var(--figure-4)`, which differ in the light and in the dark, and from `currentColor`. Files in `figures/` whose names
begin with an underscore are shared by the others or hold their data.

A figure is computed again only when something that it may depend on changes: its own file and the shared ones, the
sources of its package and of the packages before it in the book, what their benchmarks and the runs in
`book/measured/` have measured, Python, NumPy. The results are kept in
`tools/docs/.cache`, which git ignores; deleting it costs only time.
"""

import hashlib
import importlib.util
import os
import re
import sys
import traceback
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy

MARKER = re.compile(r"<!-- figure: (\w+) -->")
ANY_MARKER = re.compile(r"<!--\s*figure\b.*?-->", re.DOTALL)
MARKER_LINE = re.compile(r"^[ \t]*<!--[ \t]*figure\b.*?-->[ \t]*$", re.MULTILINE)
SCROLLED = re.compile(r"<(table|svg)\b.*?</\1>", re.DOTALL)
FORBIDDEN = {"script", "style", "link", "iframe", "img", "image", "object"}


class Figures:
    """The figures of the packages, each drawn where a page names it; what is wrong is gathered in `problems`."""

    def __init__(self, folders: dict[str, Path], cache: Path, book: Path) -> None:
        self.folders = folders  # of each package, in the order of the book
        self.book = book
        self.cache = cache
        self.problems: list[str] = []
        self.drawn: dict[Path, str] = {}

    def place(self, page: str, html: str) -> str:
        """`html`, the page of a module or of the book, with its figures."""
        package = page.partition(".")[0]
        folder = self.folders.get(package, self.book)
        placed: set[str] = set()

        def fragment(match: re.Match[str]) -> str:
            marker = MARKER.fullmatch(match[0])
            if not marker:
                self.problems.append(f"{page}: a figure is named <!-- figure: NAME -->, got {match[0]}")
                return ""
            file = folder / "figures" / f"{marker[1]}.py"
            if not file.is_file() or file.stem in placed:
                fault = "twice" if file.is_file() else f"but there is no {shown(file)}"
                self.problems.append(f"{page}: {match[0]} is named, {fault}")
                return ""
            placed.add(file.stem)
            if file not in self.drawn:
                self.drawn[file] = self.draw(package if package in self.folders else "book", file)
            return self.drawn[file]

        return ANY_MARKER.sub(fragment, html)

    def unnamed(self) -> list[str]:
        """One sentence for each figure that stands on no page."""
        files = [
            file for folder in (*self.folders.values(), self.book) for file in sorted(folder.glob("figures/[!_]*.py"))
        ]
        return [f"{shown(file)}: no docstring names this figure" for file in files if file not in self.drawn]

    def draw(self, package: str, file: Path) -> str:
        """What stands on the page; empty, with a sentence in `problems`, if the figure cannot be had."""
        kept = self.cache / f"{package}.{file.stem}.{self.key(package, file)}.html"
        if kept.is_file():
            return kept.read_text("utf8")
        try:
            fragment = run(file)
        except Exception as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
            place = ":".join([shown(file), *map(str, lines[-1:])])
            self.problems.append(f"{place}: {type(error).__name__}: {error}")
            return ""
        found = faults(fragment)
        self.problems += [f"{shown(file)}: {fault}" for fault in found]
        if found:
            return ""
        scrolled = SCROLLED.sub(lambda match: f'<div class="scrolled" tabindex="0">{match[0]}</div>', fragment)
        html = f'<figure class="generated" id="figure-{file.stem}">\n{scrolled.strip()}\n</figure>\n'
        self.keep(kept, html)
        for stale in set(self.cache.glob(f"{package}.{file.stem}.*.html")) - {kept}:
            stale.unlink(missing_ok=True)
        return html

    def key(self, package: str, file: Path) -> str:
        """A hash of everything that the figure may depend on."""
        names = list(self.folders)
        before = [self.folders[name] for name in (names[: names.index(package) + 1] if package in names else names)]
        sources = [path for folder in before for path in sorted(folder.glob("src/**/*")) if path.is_file()]
        measured = [path for folder in before for path in sorted(folder.glob("benchmarks/*.json"))]
        measured += sorted(self.book.glob("measured/*.json"))
        shared = [path for path in sorted(file.parent.glob("_*")) if path.is_file()]
        digest = hashlib.sha256(f"{sys.version} {numpy.__version__}".encode())
        for path in [Path(__file__), file, *shared, *measured, *(path for path in sources if path.suffix != ".pyc")]:
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
        return digest.hexdigest()[:16]

    def keep(self, path: Path, html: str) -> None:
        """Write the file whole or not at all: two builds may run at the same time."""
        self.cache.mkdir(parents=True, exist_ok=True)
        (self.cache / ".gitignore").write_text("*\n", "utf8")
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(html, "utf8")
        unfinished.replace(path)


def apart(docstring: str) -> str:
    """`docstring` with each marker as a paragraph of its own, whatever stands in the lines around it."""
    return MARKER_LINE.sub(r"\n\g<0>\n", docstring)


def shown(file: Path) -> str:
    """The part of a path that tells one figure from another: `packages/fp-markov/figures/name.py`."""
    return "/".join(file.parts[-4:])


def run(file: Path) -> object:
    """What `render()` of that file returns."""
    spec = importlib.util.spec_from_file_location(f"figure_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.render()


def faults(fragment: object) -> list[str]:
    """One sentence for each thing that keeps a fragment from a page on which every reader finds its numbers."""
    if not isinstance(fragment, str):
        return [f"render() returns a str, got {type(fragment).__name__}"]
    try:
        root = ElementTree.fromstring(f"<figure>{fragment}</figure>")
    except ElementTree.ParseError as error:
        return [f"render() returns well-formed XML, a no-break space as &#160;, got {error}"]
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    own = {id(style) for svg in root.iter("svg") for style in svg.iter("style")}  # a drawing may bring its own
    found = [
        f"<{element.tag}> has no place in a figure"
        for element in root.iter()
        if element.tag in FORBIDDEN and id(element) not in own
    ]
    tables, drawings = list(root.iter("table")), list(root.iter("svg"))
    if not any(table.find(".//th") is not None for table in tables):
        found.append("the numbers stand in a <table> with <th> cells: a drawing is not read aloud")
    if any(part is not whole for whole in tables + drawings for tag in ("table", "svg") for part in whole.iter(tag)):
        found.append("a table and a drawing scroll each by itself: put none of them into another")
    for svg in drawings:
        if svg.get("role") != "img" or not (svg.get("aria-label") or svg.findtext("title")) or not svg.get("viewBox"):
            found.append('an <svg> has a viewBox, role="img", and an aria-label or a <title>')
    return found
