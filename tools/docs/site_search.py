"""
One search over the whole site, without a server.

pdoc's index holds modules, functions and classes. To them come the parts of the book's pages, the terms of the
glossary, the claims and the titles of the exercises, each with a `kind` that the list of hits shows. A hit whose name
is what was asked for comes first; all others stay in pdoc's order.
"""

import re
from collections.abc import Iterable
from html import escape

import pdoc.render
from book_pages import Part
from glossary import Term, text_of

NAMED_FIRST = """
window.pdocSearch = (search => term => {
    const asked = term.trim().toLowerCase().replace(/\\s+/g, " ");
    const named = hit => (hit.doc.names || []).includes(asked) ? 1 : 0;
    return search(term).map((hit, place) => [named(hit), -place, hit])
        .sort((a, b) => b[0] - a[0] || b[1] - a[1]).map(hit => hit[2]);
})(window.pdocSearch);
"""
ANCHOR = re.compile(r"</?a\b[^>]*>")


def document(
    kind: str, name: str, page: str, anchor: str, content: str, names: Iterable[str] = ()
) -> dict[str, object]:
    """One entry of the index; links in its text would not lead from where it is shown."""
    return {
        "fullname": name,
        "modulename": page,
        "qualname": anchor,
        "kind": kind,
        "doc": ANCHOR.sub("", content),
        "names": [known.lower() for known in names],
    }


def of_part(part: Part, title: str) -> dict[str, object]:
    """A part of a page of the book."""
    heading = text_of(part.title)
    name = title if heading == title else f"{title}: {heading}"
    return document("page", escape(name), part.page, part.anchor, part.html, (heading,))


def of_term(term: Term, definition: str) -> dict[str, object]:
    forms = (term.name, *term.others)
    return document("term", ", ".join(map(escape, forms)), "glossary", term.anchor, definition, forms)


def of_claim(label: str, page: str, statement: str) -> dict[str, object]:
    return document("claim", label, page, f"claim-{label}", f"<p>{statement.strip()}", (label,))


def index(modules: dict[str, object], titles: dict[str, str], more: list[dict[str, object]]) -> str:
    """The file `search.js`; `titles` are those of the exercises, by the names of their modules."""
    original = pdoc.render.make_index

    def whole(*arguments: object) -> list[dict[str, object]]:
        documents = original(*arguments)
        for entry in documents:
            if entry["kind"] == "module" and entry["fullname"] in titles:
                entry |= {"kind": "exercise", "fullname": titles[entry["fullname"]]}
        return documents + more

    pdoc.render.make_index = whole
    try:
        return pdoc.render.search_index(modules) + NAMED_FIRST
    finally:
        pdoc.render.make_index = original
