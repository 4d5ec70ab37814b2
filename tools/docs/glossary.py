"""
The glossary: its entries, and links to them from the chapters.

An entry of `book/glossary.md` is a paragraph, `**term** (other form, another; only in markov, neural).` and one or two
sentences that name in code font the claim or the section where the matter is derived. What stands in the parentheses,
or they themselves, may be left out; a word that means something else in other chapters says where it is linked. On each
page of a chapter the first occurrence of a term
becomes a link to its entry, except where the entry says that the matter is derived on that very page. Code, formulas,
headings, tables' headings and what is a link already are left alone.

A term that begins with a capital letter is found in that spelling, any other also at the beginning of a sentence; a
plural in `s` counts.
"""

import html
import re
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from pdoc.render_helpers import to_html

ENTRY = re.compile(r"^\*\*([^*\n]+)\*\*(?: \(([^)]*)\))?\.\s+(.+?)(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"<code>([\w.-]+)</code>")
TAG = re.compile(r"(<[^>]+>)")
REGION = re.compile(r'<section class="module-info(?s:.*?)</section>|<main [^>]*class="pdoc book linked"(?s:.*?)</main>')
CLOSED = {"a", "code", "pre", "summary", "details", "label", "button", "svg", "math", "th", "script", "style", "figure"}
CLOSED |= {f"h{level}" for level in range(1, 7)}


class Term(NamedTuple):
    """An entry; the definition is HTML with formulas held."""

    name: str
    others: tuple[str, ...]
    chapters: frozenset[str] | None
    """Those on whose pages the term is linked; None for all."""
    definition: str

    @property
    def letter(self) -> str:
        return self.name[0].upper()

    @property
    def anchor(self) -> str:
        return "term-" + re.sub(r"\W+", "-", self.name.lower()).strip("-")


class Glossary:
    """The entries in their order, and what is wrong with them."""

    def __init__(self, text: str, hold: Callable[[str], str]) -> None:
        found = ENTRY.findall(text)
        self.introduction = ENTRY.sub("", text).strip()
        self.terms = [
            Term(name, *forms(others), str(to_html(hold(" ".join(definition.split())))))
            for name, others, definition in found
        ]
        self.problems = self.faults()
        self.homes: dict[str, set[str]] = {}
        """The pages on which each term is derived, by the name of the term."""
        self.named = {form: term for term in self.terms for form in (term.name, *term.others)}
        longest_first = sorted(self.named, key=len, reverse=True)
        self.pattern = (
            re.compile(rf"(?<![\w-])({'|'.join(map(pattern, longest_first))})(s?)(?![\w-])") if found else None
        )

    def faults(self) -> list[str]:
        """One sentence for each entry that is out of order, or there twice."""
        names = [term.name.lower() for term in self.terms]
        found = [
            f"book/glossary.md: {right!r} stands after {left!r}: the entries are in alphabetical order, each once"
            for left, right in pairwise(names)
            if left >= right
        ]
        every = [form for term in self.terms for form in (term.name, *term.others)]
        return found + [
            f"book/glossary.md: {form!r} is there twice" for form in sorted(set(every)) if every.count(form) > 1
        ]

    def find_homes(self, home: Callable[[str], str | None]) -> None:
        """Ask for the page that shows each name in code font; an entry that names none is a fault."""
        for term in self.terms:
            self.homes[term.name] = {page for code in CODE.findall(term.definition) if (page := home(code))}
            if not self.homes[term.name]:
                self.problems.append(
                    f"book/glossary.md: {term.name!r} does not name the claim or section that derives it"
                )

    def link(self, page: str, whole: str, address: str, plain: Callable[[str], str]) -> str:
        """`whole`, a page, with its terms linked to `address`, the page of the glossary as seen from there."""
        if not self.pattern:
            return whole
        chapter = page.partition(".")[0].removeprefix("fp_")
        done = {name for name, pages in self.homes.items() if page in pages}
        done |= {term.name for term in self.terms if term.chapters is not None and chapter not in term.chapters}

        def linked(match: re.Match[str]) -> str:
            form = match[1]
            term = self.named.get(" ".join(form.split())) or self.named[" ".join((form[0].lower() + form[1:]).split())]
            if term.name in done:
                return match[0]
            done.add(term.name)
            title = html.escape(text_of(plain(term.definition)))
            return f'<a class="term" href="{address}#{term.anchor}" title="{title}">{match[0]}</a>'

        def region(match: re.Match[str]) -> str:
            pieces, closed = TAG.split(match[0]), []
            for n, piece in enumerate(pieces):
                if n % 2:
                    name = re.match(r"</?([a-z0-9]+)", piece)
                    if name and name[1] in CLOSED and not piece.endswith("/>"):
                        closed = closed[:-1] if piece[1] == "/" else [*closed, name[1]]
                elif not closed:
                    pieces[n] = self.pattern.sub(linked, piece)
            return "".join(pieces)

        return REGION.sub(region, whole)


def forms(inside: str) -> tuple[tuple[str, ...], frozenset[str] | None]:
    """What stands in the parentheses of an entry: the other forms of the term, and the chapters where it is linked."""
    others, only, chapters = re.fullmatch(r"(.*?)(?:;\s+)?(?:(only in)\s+(.*))?", " ".join(inside.split())).groups()
    return tuple(filter(None, others.split(", "))), frozenset(chapters.split(", ")) if only else None


def pattern(form: str) -> str:
    """The regular expression of one form of a term; a space stands for any white space."""
    first = re.escape(form[0]) if form[0].isupper() or not form[0].isalpha() else f"[{form[0].upper()}{form[0]}]"
    return first + r"\s+".join(re.escape(word) for word in form[1:].split(" "))


def text_of(fragment: str) -> str:
    """The words of a fragment of HTML on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", fragment)).split())
