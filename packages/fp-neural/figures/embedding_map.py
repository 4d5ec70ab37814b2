"""The letters of the language reference as points, embedded by counting what follows them, and their neighbours."""

import platform
import re
from collections.abc import Sequence
from pydoc_data.topics import topics

import numpy as np

from fp_neural.embedding_map import Map, embedding_svg, neighbours, pca, pmi
from fp_neural.spectra import svd

LETTERS = "abcdefghijklmnopqrstuvwxyz "
VOWELS = "aeiou"
DIM = 8


def letters() -> str:
    """Python's own language reference, each paragraph once, in small letters; all else between words is one space."""
    paragraphs = dict.fromkeys(p for name in sorted(topics) for p in re.split(r"\n\s*\n", topics[name]))
    return re.sub("[^a-z]+", " ", " ".join(paragraphs).lower())


def embed(text: str) -> np.ndarray:
    """Eight numbers for each letter, from the pairs of neighbours alone."""
    ids = np.array([LETTERS.index(character) for character in text])
    counts = np.bincount(ids[:-1] * len(LETTERS) + ids[1:], minlength=len(LETTERS) ** 2)
    U, sigma, _ = svd(pmi(counts.reshape(len(LETTERS), len(LETTERS))))
    return U[:, :DIM] * sigma[:DIM]


def kind(letter: str) -> str:
    return "vowel" if letter in VOWELS else "space" if letter == " " else "consonant"


def render() -> str:
    """The map, and as a table its coordinates and the neighbours in space."""
    text = letters()
    E = embed(text)
    drawn = pca(E)
    shares = " and ".join(f"{share:.0%}" for share in drawn.explained)
    picture = embedding_svg(
        drawn.coordinates,
        list(LETTERS),
        groups=[kind(letter) for letter in LETTERS],
        title=f"Letters by what follows them; the axes show {shares} of the squared distances",
    )
    caption = (
        f"{len(text):,} letters and spaces of Python {platform.python_version()}'s language reference, "
        f"{DIM} numbers each; the neighbours are those in all {DIM} dimensions"
    )
    return picture + table(caption, E, drawn)


def table(caption: str, E: np.ndarray, drawn: Map) -> str:
    """One letter a row, by the first coordinate."""
    names = ["space" if letter == " " else letter for letter in LETTERS]
    rows = []
    for i in np.argsort(drawn.coordinates[:, 0], kind="stable").tolist():
        near, cosines = neighbours(E, i, 3)
        told = [f"{names[j]} {cosine:.2f}" for j, cosine in zip(near.tolist(), cosines.tolist(), strict=True)]
        x, y = drawn.coordinates[i].tolist()
        rows.append(row("td", [kind(LETTERS[i]), f"{x:.2f}", f"{y:.2f}", ", ".join(told)], head=names[i]))
    heads = row("th", ["kind", "first axis", "second axis", "nearest by cosine"], head="letter")
    return f"<table><caption>{caption}</caption><thead>{heads}</thead><tbody>{''.join(rows)}</tbody></table>"


def row(tag: str, cells: Sequence[str], head: str) -> str:
    scope = ' scope="col"' if tag == "th" else ""
    first = f'<th scope="{"col" if tag == "th" else "row"}">{head}</th>'
    return f"<tr>{first}{''.join(f'<{tag}{scope}>{cell}</{tag}>' for cell in cells)}</tr>"
