"""
Build the site: one page a module, one list of the chapters, mathematics that needs no script.

Run `hatch run docs:build`, or `python -W error tools/docs/build.py site` where the packages and pdoc are installed.

The pages come from pdoc; this file adds the order of the book, anchors for claims, and links for the names that a
chapter passes on from its sections. Beside it stand the rendering of formulas (`mathematics.py`), the figures that are
computed (`generated.py`), the pages of exercises (`exercise_pages.py`), the ledger of claims (`ledger_page.py`), the
book's other pages (`book_pages.py`), the glossary and its links (`glossary.py`), the search (`site_search.py`) and the
tools to play with (`widgets.py`). Whatever is doubtful is an error: a warning, a formula that KaTeX refuses, a name in
code font that does not exist, a claim without a check, a figure that no docstring names, a term that is nowhere
derived, a trouble that no test shows. With `--draft` the site is written in spite of errors, which are still reported.
"""

import argparse
import importlib.util
import re
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import book_pages
import exercise_pages
import generated
import ledger_page
import pdoc.doc
import pdoc.docstrings
import pdoc.render
import pdoc.render_helpers
import pdoc.search
import site_search
import widgets
from glossary import Glossary
from mathematics import HELD, Formulas, copy_katex, install_katex
from pdoc.render_helpers import defuse_unsafe_reprs, relative_link

from fp_workbook.ledger import Ledger

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SYLLABUS = re.compile(r"(?:^\d+\. `\w+`\n)+", re.MULTILINE)
CLAIM = re.compile(r"<strong>Claim</strong>\s+<code>([\w.-]+)</code>")
STATEMENT = re.compile(rf"<p>{CLAIM.pattern}\.?((?:(?!<strong>Claim</strong>)(?s:.))*?)(?=<p><strong>Proof\b)")
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


def read_chapters(source: Path, text: str) -> tuple[list[Chapter], dict[str, Path]]:
    """The chapters, and their packages' folders, as the landing page lists them, which has to name each once."""
    sources = {file.parent.name: file.parents[2] for file in source.glob("packages/*/src/*/__init__.py")}
    listed = re.findall(r"`(\w+)`", "".join(SYLLABUS.findall(text)))
    if sorted(listed) != sorted(sources):
        raise SystemExit(
            f"book/index.md lists {sorted(listed)}, but packages/ holds {sorted(sources)}: list each once."
        )
    sys.path[:0] = [str(path / "src") for path in sources.values()]  # this checkout, whatever else is installed
    chapters = [Chapter(n, pdoc.doc.Module.from_name(name)) for n, name in enumerate(listed, 1)]
    return chapters, {name: sources[name] for name in listed}


class References:
    """Links for what pdoc leaves unlinked: labels of claims, and names that a chapter passes on from its sections."""

    def __init__(self, modules: dict[str, pdoc.doc.Module], pages: dict[str, str], ledger: Ledger) -> None:
        self.modules = modules
        self.ledger = ledger
        self.claims = {label: name for name, page in pages.items() for label in CLAIM.findall(page)}
        hidden = ledger.claims.keys() - self.claims.keys()
        self.broken = [f"{ledger.claims[label][0]}: no page shows claim `{label}`" for label in sorted(hidden)]

    def resolve(self, page: str, name: str) -> str | None:
        """The address, as seen from `page`, of what `name` stands for."""
        if name in self.claims:
            return f"{relative_link(page, self.claims[name])}#claim-{name}"
        if name in self.modules:
            return None if name == page else relative_link(page, name)
        package, _, rest = name.partition(".")
        if (
            f"fp_{package}" in self.modules
            and re.fullmatch(r"[a-z0-9-]+", rest)
            and self.modules[f"fp_{package}"].obj.__all__
        ):
            self.broken.append(f"{page}: there is no claim `{name}`")
            return None
        if package not in self.modules or not rest or not self.modules[package].obj.__all__:
            return None  # not a name of ours, or one of a chapter that is still to be written
        if hasattr(self.modules[package].obj, rest.partition(".")[0]):
            for home, module in self.modules.items():
                if home.startswith(f"{package}.") and module.get(rest):
                    return f"{relative_link(page, home)}#{rest}"
        self.broken.append(f"{page}: there is no `{name}`, or its page does not show it")
        return None

    def home(self, name: str) -> str | None:
        """The page that shows what `name` stands for, for entries of the glossary."""
        if name in self.claims:
            return self.claims[name]
        pages = (home for home in self.modules if name == home or name.startswith(f"{home}."))
        return max(pages, key=len, default=None)

    def link(self, page: str, html: str) -> str:
        """`html`, the page of a module, with those links, an anchor at every claim and a frame around its statement."""
        unproven = set(CLAIM.findall(html)) - dict(STATEMENT.findall(html)).keys()
        self.broken += [
            f"{page}: no paragraph below claim `{label}` begins with **Proof**" for label in sorted(unproven)
        ]

        def linked(match: re.Match[str]) -> str:
            address = self.resolve(page, match[1])
            return f'<a href="{address}">{match[0]}</a>' if address else match[0]

        def anchored(match: re.Match[str]) -> str:
            anchor, checks = f"claim-{match[1]}", len(self.ledger.checks.get(match[1], []))
            entry = f"{'../' * page.count('.')}ledger.html#{match[1]}"
            return (
                f'<strong>Claim</strong> <a class="claim" id="{anchor}" href="#{anchor}"><code>{match[1]}</code></a>'
                f'{match[2]} <a class="checks" href="{entry}">{checks} {"check" if checks == 1 else "checks"}</a>'
            )

        framed = STATEMENT.sub(lambda match: f'<div class="statement">\n{match[0]}</div>\n', html)
        return UNLINKED_CODE.sub(linked, re.sub(rf"{CLAIM.pattern}(\.?)", anchored, framed))


def configure(formulas: Formulas, chapters: list[Chapter], order: list[pdoc.doc.Module]) -> None:
    """Tell pdoc about the templates, the order of the book, and the formulas and figures to keep out of its way."""
    convert, to_html = pdoc.docstrings.convert, pdoc.render_helpers.to_html
    pdoc.docstrings.convert = lambda docstring, *rest: convert(formulas.hold(generated.apart(docstring)), *rest)
    pdoc.search.to_html = lambda markdown: formulas.plain(to_html(markdown))
    pdoc.render.configure(docformat="numpy", template_directory=HERE / "templates", favicon=ICON)
    names = [module.modulename for module in order]
    pdoc.render.env.globals |= {
        "chapters": chapters,
        "chapter_of": {chapter.module.modulename: chapter for chapter in chapters},
        "before": {right: left for left, right in pairwise(names)},
        "after": dict(pairwise(names)),
        "relative_link": relative_link,
        "hold": formulas.hold,
        "highlight_source": exercise_pages.highlight,
    }


def read_exercises(modules: dict[str, pdoc.doc.Module]) -> tuple[dict[str, exercise_pages.Page], list[str]]:
    """The exercises by the names of their modules, and one sentence for each module that is not a whole one."""
    exercises, problems = {}, []
    for name, module in modules.items():
        if exercise_pages.is_exercise(module):
            try:
                exercises[name] = exercise_pages.read(module)
            except ValueError as error:
                problems.append(str(error))
    return exercises, problems


@defuse_unsafe_reprs()
def write(template: str, **context: object) -> str:
    """A page from its template."""
    page = pdoc.render.env.get_template(f"{template}.html.jinja2").render(**context)
    return page.replace('<main class="pdoc', '<main id="text" tabindex="-1" class="pdoc', 1)


def read_failures(folders: Iterable[str]) -> set[str]:
    """The names of the failures that the chapter on training dynamics makes, if it is among the packages."""
    if "fp_dynamics" not in folders or not importlib.util.find_spec("fp_dynamics.failures"):
        return set()
    return {failure.name for failure in importlib.import_module("fp_dynamics.failures").FAILURES}


def write_book(
    source: Path, pages: list[book_pages.BookPage], glossary: Glossary, formulas: Formulas, failures: set[str]
) -> tuple[dict[str, book_pages.BookPage], list[str]]:
    """The pages of the book as HTML, by name, and what is wrong with them."""
    evidence = book_pages.Evidence(source, failures, exercise_pages.highlight)
    made = {}
    for page in pages:
        formulas.page = page.name
        if page.name == "glossary":
            page = page._replace(text=glossary.introduction)
        page = book_pages.converted(page, lambda text: formulas.hold(generated.apart(text)))
        made[page.name] = evidence.place(page) if page.name == "troubleshooting" else page
    return made, evidence.problems


def render(source: Path, cache: Path) -> tuple[dict[str, str], list[str]]:
    """Every file of the site that is made here, by its path there, and one sentence for each thing that is wrong."""
    found, problems = book_pages.read(source / "book")
    texts = {page.name: page for page in found}
    chapters, folders = read_chapters(source, texts["index"].text)
    order = [module for chapter in chapters for module in walk(chapter.module)]
    modules = {module.modulename: module for module in order}
    ledger = Ledger.read(source)
    formulas, figures = Formulas(), generated.Figures(folders, cache, source / "book")
    configure(formulas, chapters, order)
    exercises, faults = read_exercises(modules)
    problems += faults
    tools, faults = widgets.read(source / "book")
    problems += faults
    formulas.page = "glossary"
    glossary = Glossary(texts["glossary"].text if "glossary" in texts else "", formulas.hold)
    before, after = SYLLABUS.split(texts["index"].text, maxsplit=1)
    rest = [page for page in found if page.name != "index"]
    book, faults = write_book(source, rest, glossary, formulas, read_failures(folders))
    problems += faults
    pdoc.render.env.globals |= {"exercises": exercises, "book": rest, "tools": tools}

    pages = {}
    for name, module in modules.items():
        formulas.page = name
        template = "exercise" if name in exercises else "module"
        pages[name] = figures.place(name, write(template, module=module, all_modules=modules))
    references = References(modules, pages, ledger)
    glossary.find_homes(references.home)
    problems += glossary.problems
    formulas.page = "index"
    halves = [str(pdoc.render_helpers.to_html(formulas.hold(part))) for part in (before, after)]
    title = texts["index"].title
    pages["index"] = write("index", page_title=title, here="index", text_before=halves[0], text_after=halves[1])
    for name, page in book.items():
        template = "glossary" if name == "glossary" else "book"
        pages[name] = figures.place(name, write(template, page=page, here=name, terms=glossary.terms))
    statements = {name: dict(STATEMENT.findall(pages[name])) for name in modules}
    groups = ledger_page.groups(ledger, statements, modules)
    pages["ledger"] = write("ledger", here="ledger", groups=groups, ledger_page=ledger_page)

    problems += [
        f"a formula KaTeX refuses, in {where(pages, n)}: {formulas.source(n)}\n    {message}"
        for n, message in formulas.render().items()
    ]
    problems += [*dict.fromkeys(formulas.stray), *ledger.mismatches(), *figures.problems, *figures.unnamed()]
    search = [
        site_search.of_part(part, page.title)
        for name, page in book.items()
        for part in book_pages.parts(name, page.html)
    ]
    search += [site_search.of_part(part, title) for part in book_pages.parts("index", "".join(halves))]
    search += [site_search.of_term(term, term.definition) for term in glossary.terms]
    search += [site_search.of_claim(label, page, text) for page, of in statements.items() for label, text in of.items()]
    for entry in search:
        entry |= {field: formulas.plain(entry[field]) for field in ("doc", "fullname")}
        entry["qualname"] = formulas.restore(entry["qualname"])  # the anchor of a heading with a formula
    titles = {name: formulas.plain(formulas.hold(f"{of.of.id}: {of.of.title}")) for name, of in exercises.items()}

    for name, page in pages.items():
        linked = glossary.link(name, references.link(name, page), f"{relative_link(name, 'glossary')}", formulas.plain)
        pages[name] = formulas.restore(linked)
    problems += references.broken
    files = {f"{name.replace('.', '/')}.html": page for name, page in pages.items()}
    every = {*files, *(tool.page for tool in tools)}
    for name in ("index", *book):
        problems += book_pages.dead_links(f"{name}.html", pages[name], every)
    numbers = f"{len(pages)} pages, {len(formulas.formulas)} different formulas, {len(references.claims)} claims"
    print(
        f"{len(chapters)} chapters on {numbers}, {len(exercises)} exercises, {len(figures.drawn)} figures, "
        f"{len(glossary.terms)} terms, {len(tools)} tools"
    )
    return files | {"search.js": site_search.index(modules, titles, search)}, problems


def where(pages: dict[str, str], n: int) -> str:
    """The names of the pages on which formula `n` stands."""
    return ", ".join(name for name, page in pages.items() if str(n) in HELD.findall(page))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the site; an earlier site in it is replaced")
    parser.add_argument("--source", type=Path, default=ROOT, help="where packages/ and book/ are")
    parser.add_argument("--cache", type=Path, default=HERE / ".cache", help="folder of the figures drawn so far")
    parser.add_argument("--draft", action="store_true", help="write the site even if something is wrong with it")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    out: Path = arguments.out
    if out.exists() and any(out.iterdir()) and not (out / "katex" / "katex.min.css").is_file():
        raise SystemExit(f"{out} holds something else than an earlier site: name an empty or a new folder.")
    install_katex()
    files, problems = render(arguments.source, arguments.cache)
    message = "\n".join(f"  {problem}" for problem in problems)
    if problems and not arguments.draft:
        raise SystemExit(f"The site was not built.\n{message}")
    shutil.rmtree(out, ignore_errors=True)
    copy_katex(out / "katex")
    sources = sorted(arguments.source.glob("packages/*/src"))
    widgets.install_all(arguments.source / "book", out, sources, arguments.cache)
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(content, "utf8")
    print(f"open {(out / 'index.html').resolve().as_uri()}")
    if problems:
        raise SystemExit(f"The site is a draft.\n{message}")


if __name__ == "__main__":
    main()
