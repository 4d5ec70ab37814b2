"""
Build the site: one page a module, one list of the chapters, mathematics that needs no script.

Run `hatch run docs:build`, or `python -W error tools/docs/build.py site` where the packages and pdoc are installed.

The pages come from pdoc; this file adds the order of the book, the rendering of formulas while the site is built
(`mathematics.py`), anchors for claims, and links for the names that a chapter passes on from its sections. Whatever is
doubtful is an error: a warning, a formula that KaTeX refuses, a name in code font that does not exist.
"""

import argparse
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pdoc.doc
import pdoc.docstrings
import pdoc.render
import pdoc.render_helpers
import pdoc.search
from mathematics import HELD, Formulas, copy_katex, install_katex
from pdoc.render_helpers import relative_link

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SYLLABUS = re.compile(r"(?:^\d+\. `\w+`\n)+", re.MULTILINE)
CLAIM = re.compile(r"<strong>Claim</strong>\s+<code>([\w.-]+)</code>")
STATEMENT = re.compile(rf"<p>{CLAIM.pattern}(?:(?!<strong>Claim</strong>)(?s:.))*?(?=<p><strong>Proof\b)")
UNLINKED_CODE = re.compile(r"(?<!\">)<code>([\w.-]+)((?:\(\))?)</code>")
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32'"
    " rx='7' fill='%23234e70'/%3E%3Ctext x='16' y='24' font-size='24' font-family='serif' fill='white'"
    " text-anchor='middle'%3E∂%3C/text%3E%3C/svg%3E"
)


class Chapter(NamedTuple):
    """A package of the book; one without sections is a placeholder."""

    number: int
    module: pdoc.doc.Module

    @property
    def written(self) -> bool:
        return bool(self.module.obj.__all__)

    @property
    def title(self) -> str:
        """The first paragraph of the chapter, without its number and its full stop."""
        first = re.split(r"\n\s*\n", self.module.docstring.strip())[0].replace("\n", " ")
        first = re.sub(r"^(Stage \d+ of \d+|Capstone): ", "", first).removesuffix(".")
        return first[:1].upper() + first[1:]


def walk(module: pdoc.doc.Module) -> Iterator[pdoc.doc.Module]:
    """A module and everything public below it, in reading order."""
    yield module
    for submodule in module.submodules:
        if not submodule.name.startswith("_"):
            yield from walk(submodule)


def read_chapters(source: Path, text: str) -> list[Chapter]:
    """The chapters in the order in which the landing page lists them, which has to name every package once."""
    sources = {file.parent.name: file.parents[1] for file in source.glob("packages/*/src/*/__init__.py")}
    listed = re.findall(r"`(\w+)`", "".join(SYLLABUS.findall(text)))
    if sorted(listed) != sorted(sources):
        raise SystemExit(
            f"book/index.md lists {sorted(listed)}, but packages/ holds {sorted(sources)}: list each once."
        )
    sys.path[:0] = [str(path) for path in sources.values()]  # document this checkout, whatever else is installed
    return [Chapter(n, pdoc.doc.Module.from_name(name)) for n, name in enumerate(listed, 1)]


class References:
    """Links for what pdoc leaves unlinked: labels of claims, and names that a chapter passes on from its sections."""

    def __init__(self, modules: dict[str, pdoc.doc.Module], pages: dict[str, str]) -> None:
        self.modules = modules
        self.claims = {label: name for name, page in pages.items() for label in CLAIM.findall(page)}
        self.broken: list[str] = []

    def resolve(self, page: str, name: str) -> str | None:
        """The address, as seen from `page`, of what `name` stands for."""
        if name in self.claims:
            return f"{relative_link(page, self.claims[name])}#claim-{name}"
        package, _, rest = name.partition(".")
        if package not in self.modules or not rest or not self.modules[package].obj.__all__:
            return None  # not a name of ours, or one of a chapter that is still to be written
        if hasattr(self.modules[package].obj, rest.partition(".")[0]):
            for home, module in self.modules.items():
                if home.startswith(f"{package}.") and module.get(rest):
                    return f"{relative_link(page, home)}#{rest}"
        self.broken.append(f"{page}: there is no `{name}`, or its page does not show it")
        return None

    def link(self, page: str, html: str) -> str:
        """`html`, the page of a module, with those links, an anchor at every claim and a frame around its statement."""
        unproven = set(CLAIM.findall(html)) - set(STATEMENT.findall(html))
        self.broken += [
            f"{page}: no paragraph below claim `{label}` begins with **Proof**" for label in sorted(unproven)
        ]

        def linked(match: re.Match[str]) -> str:
            address = self.resolve(page, match[1])
            return f'<a href="{address}">{match[0]}</a>' if address else match[0]

        def anchored(match: re.Match[str]) -> str:
            anchor = f"claim-{match[1]}"
            return f'<strong>Claim</strong> <a class="claim" id="{anchor}" href="#{anchor}"><code>{match[1]}</code></a>'

        framed = STATEMENT.sub(lambda match: f'<div class="statement">\n{match[0]}</div>\n', html)
        return UNLINKED_CODE.sub(linked, CLAIM.sub(anchored, framed))


def configure(formulas: Formulas, chapters: list[Chapter], order: list[pdoc.doc.Module]) -> None:
    """Tell pdoc about the templates, the order of the book, and the formulas to keep out of its way."""
    convert, to_html = pdoc.docstrings.convert, pdoc.render_helpers.to_html
    pdoc.docstrings.convert = lambda docstring, *rest: convert(formulas.hold(docstring), *rest)
    pdoc.search.to_html = lambda markdown: formulas.plain(to_html(markdown))
    pdoc.render.configure(docformat="numpy", template_directory=HERE / "templates", favicon=ICON)
    names = [module.modulename for module in order]
    pdoc.render.env.globals |= {
        "chapters": chapters,
        "chapter_of": {chapter.module.modulename: chapter for chapter in chapters},
        "before": {right: left for left, right in pairwise(names)},
        "after": dict(pairwise(names)),
        "relative_link": relative_link,
    }


def render(source: Path) -> dict[str, str]:
    """Every file of the site that is made here, by its path in the site."""
    text = (source / "book" / "index.md").read_text("utf8")
    chapters = read_chapters(source, text)
    order = [module for chapter in chapters for module in walk(chapter.module)]
    modules = {module.modulename: module for module in order}
    formulas = Formulas()
    configure(formulas, chapters, order)

    pages = {}
    for name, module in modules.items():
        formulas.page = name
        pages[name] = pdoc.render.html_module(module, modules)
    formulas.page = "index"
    before, after = (pdoc.render_helpers.to_html(formulas.hold(part)) for part in SYLLABUS.split(text, maxsplit=1))
    title = re.search(r"^# (.+)", text, re.MULTILINE)[1]
    index = pdoc.render.env.get_template("index.html.jinja2")
    pages["index"] = index.render(
        all_modules=modules, page_title=title, text_before=before, text_after=after, hold=formulas.hold
    )

    problems = [
        f"a formula KaTeX refuses, in {where(pages, n)}: {formulas.source(n)}\n    {message}"
        for n, message in formulas.render().items()
    ]
    problems += dict.fromkeys(formulas.stray)
    references = References(modules, pages)
    pages = {name: formulas.restore(references.link(name, page)) for name, page in pages.items()}
    problems += references.broken
    if problems:
        raise SystemExit("The site was not built.\n" + "\n".join(f"  {problem}" for problem in problems))
    numbers = f"{len(pages)} pages, {len(formulas.formulas)} different formulas, {len(references.claims)} claims"
    print(f"{len(chapters)} chapters on {numbers}")
    files = {f"{name.replace('.', '/')}.html": page for name, page in pages.items()}
    return files | {"search.js": pdoc.render.search_index(modules)}


def where(pages: dict[str, str], n: int) -> str:
    """The names of the pages on which formula `n` stands."""
    return ", ".join(name for name, page in pages.items() if str(n) in HELD.findall(page))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the site; an earlier site in it is replaced")
    parser.add_argument("--source", type=Path, default=ROOT, help="where packages/ and book/ are")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    out: Path = arguments.out
    if out.exists() and any(out.iterdir()) and not (out / "katex" / "katex.min.css").is_file():
        raise SystemExit(f"{out} holds something else than an earlier site: name an empty or a new folder.")
    install_katex()
    files = render(arguments.source)
    shutil.rmtree(out, ignore_errors=True)
    copy_katex(out / "katex")
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(content, "utf8")
    print(f"open {(out / 'index.html').resolve().as_uri()}")


if __name__ == "__main__":
    main()
