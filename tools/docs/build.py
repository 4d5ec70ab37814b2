"""
Build the site: one page a module, one list of the chapters, mathematics that needs no script.

Run `hatch run docs:build`, or `python -W error tools/docs/build.py site` where the packages and pdoc are installed.

The pages come from pdoc; this file adds the order of the book, anchors for claims, and links for the names that a
chapter passes on from its sections. Beside it stand the rendering of formulas (`mathematics.py`), the figures that are
computed (`generated.py`), the pages of exercises (`exercise_pages.py`) and the ledger of claims (`ledger_page.py`).
Whatever is doubtful is an error: a warning, a formula that KaTeX refuses, a name in code font that does not exist, a
claim without a check, a figure that no docstring names.
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

import exercise_pages
import generated
import ledger_page
import pdoc.doc
import pdoc.docstrings
import pdoc.render
import pdoc.render_helpers
import pdoc.search
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
        package, _, rest = name.partition(".")
        if f"fp_{package}" in self.modules and rest and self.modules[f"fp_{package}"].obj.__all__:
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
    return pdoc.render.env.get_template(f"{template}.html.jinja2").render(**context)


def render(source: Path, cache: Path) -> dict[str, str]:
    """Every file of the site that is made here, by its path in the site."""
    text = (source / "book" / "index.md").read_text("utf8")
    chapters, folders = read_chapters(source, text)
    order = [module for chapter in chapters for module in walk(chapter.module)]
    modules = {module.modulename: module for module in order}
    ledger = Ledger.read(source)
    formulas, figures = Formulas(), generated.Figures(folders, cache)
    configure(formulas, chapters, order)
    exercises, problems = read_exercises(modules)
    pdoc.render.env.globals["exercises"] = exercises

    pages = {}
    for name, module in modules.items():
        formulas.page = name
        template = "exercise" if name in exercises else "module"
        pages[name] = figures.place(name, write(template, module=module, all_modules=modules))
    formulas.page = "index"
    before, after = (pdoc.render_helpers.to_html(formulas.hold(part)) for part in SYLLABUS.split(text, maxsplit=1))
    title = re.search(r"^# (.+)", text, re.MULTILINE)[1]
    references = References(modules, pages, ledger)
    pages["index"] = write("index", all_modules=modules, page_title=title, text_before=before, text_after=after)
    statements = {name: dict(STATEMENT.findall(pages[name])) for name in modules}
    groups = ledger_page.groups(ledger, statements, modules)
    pages["ledger"] = write("ledger", all_modules=modules, groups=groups, ledger_page=ledger_page)

    problems += [
        f"a formula KaTeX refuses, in {where(pages, n)}: {formulas.source(n)}\n    {message}"
        for n, message in formulas.render().items()
    ]
    problems += [*dict.fromkeys(formulas.stray), *ledger.mismatches(), *figures.problems, *figures.unnamed()]
    pages = {name: formulas.restore(references.link(name, page)) for name, page in pages.items()}
    problems += references.broken
    if problems:
        raise SystemExit("The site was not built.\n" + "\n".join(f"  {problem}" for problem in problems))
    numbers = f"{len(pages)} pages, {len(formulas.formulas)} different formulas, {len(references.claims)} claims"
    print(f"{len(chapters)} chapters on {numbers}, {len(exercises)} exercises, {len(figures.drawn)} figures")
    files = {f"{name.replace('.', '/')}.html": page for name, page in pages.items()}
    return files | {"search.js": pdoc.render.search_index(modules)}


def where(pages: dict[str, str], n: int) -> str:
    """The names of the pages on which formula `n` stands."""
    return ", ".join(name for name, page in pages.items() if str(n) in HELD.findall(page))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the site; an earlier site in it is replaced")
    parser.add_argument("--source", type=Path, default=ROOT, help="where packages/ and book/ are")
    parser.add_argument("--cache", type=Path, default=HERE / ".cache", help="folder of the figures drawn so far")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    out: Path = arguments.out
    if out.exists() and any(out.iterdir()) and not (out / "katex" / "katex.min.css").is_file():
        raise SystemExit(f"{out} holds something else than an earlier site: name an empty or a new folder.")
    install_katex()
    files = render(arguments.source, arguments.cache)
    shutil.rmtree(out, ignore_errors=True)
    copy_katex(out / "katex")
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(content, "utf8")
    print(f"open {(out / 'index.html').resolve().as_uri()}")


if __name__ == "__main__":
    main()
