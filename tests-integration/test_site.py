r"""
The site: formulas survive the way from docstring to page, and every page stands on its own in a browser.

What needs Node.js or Chromium is skipped where they are absent, and fails where `CI=true` says that they must be there.
"""

import functools
import html
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
from urllib.parse import unquote, urldefrag

import pdoc.doc
import pdoc.docstrings
import pdoc.render_helpers
import pytest
from playwright.sync_api import Error as BrowserError
from playwright.sync_api import sync_playwright

from fp_workbook.layering import STAGES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "tools" / "docs"


def load(name):
    spec = importlib.util.spec_from_file_location(f"site_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mathematics, generated = map(load, ("mathematics", "generated"))


def absent(reason):
    """Skip on a desk, fail in continuous integration."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def build(out, *options, **environment):
    if not environment and not (shutil.which("node") and shutil.which("npm")):
        absent("Node.js with npm renders the site's formulas and is not installed")
    run = subprocess.run(
        [sys.executable, "-W", "error", DOCS / "build.py", out, *options],
        capture_output=True,
        encoding="utf8",
        env=os.environ | {"PYTHONIOENCODING": "utf8"} | environment,
        check=False,
    )
    if "npm could not install" in run.stderr:
        absent(run.stderr)
    return run


def render(text):
    """The formulas of a text as KaTeX made them, and the text that holds their places."""
    if not (DOCS / "node_modules").is_dir():
        mathematics.install_katex() if shutil.which("npm") else absent("npm is not installed")
    held = mathematics.Formulas()
    left = held.hold(text)
    assert held.render() == {}
    return held, left


# --- mathematics kept away from Markdown -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        (r"a $x_i$ and $y^*$ and $z^*$ b", ["x_i", "y^*", "z^*"]),
        (r"a set $\{x : x < 1\}$", [r"\{x : x < 1\}"]),
        ("$a\nb$", ["a\nb"]),
        ("$$\n\\begin{cases}a \\\\\nb\\end{cases}\n$$", ["\n\\begin{cases}a \\\\\nb\\end{cases}\n"]),
        (r"$$a \\$$ then $b$", [r"a \\", "b"]),
        (r"$$\text{if $x$ then}$$", [r"\text{if $x$ then}"]),
        ("- item\n  $$\n  x\n  $$\n- $y$", ["\n  x\n  ", "y"]),
        ("| $|x|$ | $p \\mid q$ |", ["|x|", r"p \mid q"]),
        (r"($n$) $n$-gram, **$k$**", ["n", "n", "k"]),
        (r"costs \$5, not $5$", ["5"]),
        (r"$a = \$5$", [r"a = \$5"]),
    ],
)  # fmt: skip
def test_a_formula_is_taken_out_as_it_was_written(text, formulas):
    held = mathematics.Formulas()
    left = held.hold(text)
    assert [held.formulas[int(n)][0] for n in mathematics.HELD.findall(left)] == formulas
    assert not held.stray
    assert "$" not in left


@pytest.mark.parametrize(
    "code",
    [
        "`$x$`",
        "``a ` $x$``",
        "```sh\necho $HOME $PATH\n```",
        "  ~~~\n  $x$\n  ~~~",
        '>>> price = "$5$"\n>>> print(price)\n$5$',
        "    >>> f('$x$')\n    '$x$'\n    ... $y$",
        "`two\nlines $x$`",
    ],
)
def test_code_is_left_alone(code):
    held = mathematics.Formulas()
    assert held.hold(f"before\n\n{code}\n\nafter $m$") == f"before\n\n{code}\n\nafter MATHHOLD0X"
    assert not held.stray


@pytest.mark.parametrize("text", ["it costs $5", "$x", "$$x", "$ x $", "$$a\n\nb$$", "$a\n\nb$"])
def test_a_dollar_without_its_formula_is_reported(text):
    held = mathematics.Formulas()
    held.hold(text)
    assert held.stray


def test_displayed_and_inline_formulas_are_told_apart():
    held = mathematics.Formulas()
    held.hold("$x$ $$x$$")
    assert held.formulas == [("x", False), ("x", True)]


def test_every_formula_of_a_numpydoc_section_survives_the_conversion_to_html():
    docstring = dedent(r"""
        Sums $\sum_i x_i$.

        Parameters
        ----------
        x : Float[np.ndarray, "B T"]
            Scores $z_{b,t}$ with $\sum_t p_{b,t} = 1$:
            $$
            p_t = \frac{a}{b} \\ q_t^*
            $$
        y, z : float, default $\pi$
            - a list with $x^*$ and $y^*$
            - $a < b$

        Returns
        -------
        Float[np.ndarray, "B"]
            The value $\{v\}$ : a colon.

        Raises
        ------
        ValueError
            If $n < 0$.

        Examples
        --------
        >>> "$x$"
        '$x$'
    """)
    held = mathematics.Formulas()
    page = pdoc.render_helpers.to_html(pdoc.docstrings.convert(held.hold(docstring), "numpy", None))
    assert Counter(mathematics.HELD.findall(page)) == {str(n): 1 for n in range(len(held.formulas))}
    assert len(held.formulas) == 10
    assert html.unescape(re.sub("<[^>]*>", "", page)).count("$") == 4  # those of the doctest


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"\frac{e^{z_i}}{\sum_{j=1}^V e^{z_j}}", "(e^(z_i))/(∑_(j = 1)^V e^(z_j))"),
        (r"p < \sqrt{2}", "p < √(2)"),
        (r"\hat p \in [0, 1]", "p^ ∈ [0,1]"),
        (r"x^2 \text{ if } x > 0", "x^2 if x > 0"),
    ],
)
def test_a_formula_reads_as_one_line_in_the_search_index(tex, text):
    held, left = render(f"${tex}$")
    assert html.unescape(held.plain(left)) == text


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        (r"a = b. \qquad \text{(E1)}", r"a = b. \tag{E1}"),
        ("a = b.\n\\qquad \\text{(T12)}\n", r"a = b. \tag{T12}"),
        (r"a \qquad \text{(E2)} \quad \blacksquare", r"a \quad \blacksquare \tag{E2}"),
        (
            r"\begin{aligned} a &= b && \text{(E1)} \\ c &= d && \text{if } x, & \qquad \text{(E2)} \\ e \end{aligned}",
            r"\begin{align*} a &= b \tag{E1} \\ c &= d && \text{if } x, \tag{E2} \\ e \end{align*}",
        ),
        (r"\begin{aligned} a \end{aligned} \qquad \text{(E1)}", r"\begin{aligned} a \end{aligned} \tag{E1}"),
        (r"\begin{aligned} a &= b \end{aligned}", r"\begin{aligned} a &= b \end{aligned}"),
        (r"\text{(E1)} + \text{(E2)} = \text{(GPT-2)}", r"\text{(E1)} + \text{(E2)} = \text{(GPT-2)}"),
    ],
)
def test_a_label_at_the_end_of_a_line_becomes_a_tag(tex, expected):
    assert mathematics.tagged(tex).split() == expected.split()


def test_the_labels_of_aligned_lines_are_read_aloud_too():
    held, _ = render(r"$$\begin{aligned} a &= b && \text{(E1)} \\ c &= d \\ e &= f && \text{(E2)} \end{aligned}$$")
    assert re.findall(r"<mtext>(.*?)</mtext>", held.html[0]) == ["(E1)", "(E2)"]


def test_a_line_breaks_neither_short_brackets_nor_before_the_punctuation():
    held, left = render(r"$a = r\,[c = j] + \text{a good many words, and more}$, and $[c = j]$.")
    long, short = held.restore(left).split(",</span> and ")
    assert short.startswith("<span class=glued>")
    assert short.endswith(".</span>")
    assert "<wbr>" not in short
    assert long.startswith("<span class=glued>")
    assert [(part.count('class="mopen"'), part.count('class="mclose"')) for part in long.split("<wbr>")] == [
        (0, 0),
        (1, 1),
        (0, 0),
    ]


# --- a small book with every construct -------------------------------------------------------------------------------

CONSTRUCTS = {
    "book/index.md": """
        # A small book

        With $e^{i\\pi}$.

        1. `fp_small`
        2. `fp_later`

        ## After

        See the [troubles](troubleshooting.html#it-is-odd), the [words](glossary.html), and [a page](notes.html).
    """,
    "book/notes.md": """
        # Notes on $n$

        ## What $n$ is

        <!-- figure: halves -->

        As `fp_small.section` and `fp_small.double` say, and `small.even` proves.
    """,
    "book/glossary.md": r"""
        # Glossary

        The words.

        **box** (boxes; only in later). What `fp_small.Box` is.

        **Even** (EVEN). Cut into pairs, nothing is left: $n < 3$ "or" `small.even`.

        **thing** (small matter,
        small matters). All that is: see `fp_small.section` and $\frac{1}{2}$.
    """,
    "book/troubleshooting.md": """
        # Troubleshooting

        ## Numbers

        ### It is odd

        **Symptom.** The things are odd.

        **Diagnosis.** Nothing was doubled.

        **Fix.** Double it.

        **Shown by** `packages/fp-small/tests/test_section.py::test_twice_a_number_is_even`
    """,
    "book/figures/halves.py": """
        import json
        from pathlib import Path

        def render():
            measured = json.loads((Path(__file__).parents[1] / "measured" / "run.json").read_text())
            return f"<table><tr><th>half</th><td>{measured / 2}</td></tr></table>"
    """,
    "book/measured/run.json": "3",
    "book/widgets/shared.css": "body { margin: 0; }",
    "book/widgets/dice/index.html": "<!doctype html><title>Dice · A small book</title><p>Roll.</p>",
    "book/widgets/dice/build.py": """
        import sys
        from pathlib import Path
        from fp_small.section import double
        Path(sys.argv[1], "data.js").write_text(f"window.SIDES = {double(3)}")
    """,
    "book/widgets/dice/dice.test.mjs": "throw 1",
    "packages/fp-later/src/fp_later/__init__.py": '''
        """Stage 2 of 2: what comes later, for $n > 1$."""
        __all__ = []
    ''',
    "packages/fp-small/src/fp_small/__init__.py": '''
        r"""
        Stage 1 of 2: small things.

        | section | question |
        | --- | --- |
        | `fp_small.section` | What is $|x|$? |

        `fp_small.double` and `fp_small.Box.open` live in a section, `fp_later.nothing` will.

        ## A thing in a heading

        The code `thing`, then things, and a thing; even is Even, `EVEN` is code, and a box stays.

        >>> thing = small_matter = "thing"
        """
        from importlib import import_module
        __all__ = ["section", "exercises"]
        def __getattr__(name):
            if name in {"double", "Box"}:
                return getattr(import_module("fp_small.section"), name)
            raise AttributeError(name)
    ''',
    "packages/fp-small/src/fp_small/_private.py": "",
    "packages/fp-small/src/fp_small/exercises/__init__.py": '"""Exercises."""',
    "packages/fp-small/src/fp_small/exercises/e01_first.py": r'''
        r"""
        Halves of $2n$.

        Level: implement. You need `small.even`.

        The number $2n$ is given.
        """
        from math import floor

        HINTS = ("Divide.", "Divide by $2$, as in `small.even`.")
        _TWO = 2

        def half(twice: int) -> int:
            """Half of $2n$, whole."""
            return _whole(twice / _TWO)

        def _whole(x):
            return floor(x)

        def _doubled(twice):
            return twice * _TWO

        def _kept(twice):
            return twice

        MISTAKES = ((_doubled, "You multiply by $2$."), (_kept, "Nothing is divided."))
        PROBES = ((2,), (4,))

        def check(learner):
            assert learner.half(14) == _SEVEN, "half of 14 is 7"

        _SEVEN = 7
    ''',
    "packages/fp-small/figures/_shared.txt": "4",
    "packages/fp-small/figures/doubles.py": """
        from pathlib import Path
        from fp_small.section import double

        def render():
            number = int((Path(__file__).parent / "_shared.txt").read_text("utf8"))
            with (Path(__file__).parents[3] / "tally.txt").open("a") as tally:
                tally.write("drawn ")
            return (
                \'<svg viewBox="0 0 9 9" role="img" aria-label="Doubles."><path d="M0 0L9 9"/></svg>\'
                f"<table><tr><th>n</th><td>{number}</td></tr><tr><th>2n</th><td>{double(number)}</td></tr></table>"
            )
    """,
    "packages/fp-small/tests/test_section.py": """
        import pytest
        from fp_small.section import double

        @pytest.mark.claim("small.even")
        @pytest.mark.parametrize("n", [2, 3])
        def test_twice_a_number_is_even(n):
            assert double(n) % 2 == 0 < n, "<b>"
    """,
    "packages/fp-small/src/fp_small/section.py": r'''
        r"""
        Doubling.

        ## Why $2^n$?

        **Claim** `small.even`. $2n$ is even, costs \$5, and

        $$
        \begin{aligned} a &= b \\ c &= \{d\} \end{aligned}
        \qquad f(x) = \begin{cases} 1 & x < 0 \\ 0 & \text{otherwise} \end{cases}
        $$

        As `double` says.

        **Proof.** See `small.even` for $x^*$ and $y^*$. $\blacksquare$

        Above the figure
        <!-- figure: doubles -->
        and below it.

        ```sh
        echo $HOME
        ```

        | | doubled |
        | --- | --- |
        | one | two |
        """

        def double(n: int) -> int:
            r"""
            Returns $2n$.

            Parameters
            ----------
            n
                A number $n \in \mathbb{Z}$.
            """
            return 2 * n

        class Box:
            """A box."""

            def open(self) -> None:
                """Opens it."""
    ''',
}


def write_book(root, **changed):
    for name, text in (CONSTRUCTS | changed).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(dedent(text).strip() + "\n", "utf8")
    return root


@pytest.fixture(scope="module")
def small_book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    run = build_book(folder)
    assert run.returncode == 0, run.stderr
    return folder / "site"


def build_book(folder, **changed):
    """The small book, with its own folder of figures drawn so far."""
    book = write_book(folder / "book", **changed)
    return build(folder / "site", "--source", book, "--cache", folder / "cache")


def test_every_construct_becomes_a_page(small_book):
    pages = {file.relative_to(small_book).as_posix() for file in small_book.rglob("*.html")}
    assert pages == {
        "index.html",
        "ledger.html",
        "fp_small.html",
        "fp_small/section.html",
        "fp_small/exercises.html",
        "fp_small/exercises/e01_first.html",
        "fp_later.html",
        "glossary.html",
        "notes.html",
        "troubleshooting.html",
        "widgets/dice/index.html",
    }
    section = (small_book / "fp_small" / "section.html").read_text("utf8")
    assert "MATHHOLD" not in section
    assert "mathhold" not in section
    assert section.count('class="katex-display"') == 1
    assert "costs &#36;5" in section
    assert "echo $HOME" in html.unescape(re.sub("<[^>]*>", "", section))


def test_the_landing_page_tells_written_chapters_from_placeholders(small_book):
    index = (small_book / "index.html").read_text("utf8")
    written, placeholders = index.split('id="to-be-written"')
    assert 'href="fp_small/section.html"' in written
    assert 'class="title" href="fp_later.html">What comes later' in placeholders


def test_a_claim_has_an_anchor_and_is_linked_where_it_is_cited(small_book):
    section = (small_book / "fp_small" / "section.html").read_text("utf8")
    assert section.count('id="claim-small.even"') == 1
    assert '<a href="#claim-small.even"><code>small.even</code></a>' in section
    exercise = (small_book / "fp_small" / "exercises" / "e01_first.html").read_text("utf8")
    assert '<a href="../section.html#claim-small.even">' in exercise


def test_the_frame_of_a_claim_ends_where_its_proof_begins(small_book):
    section = (small_book / "fp_small" / "section.html").read_text("utf8")
    (frame,) = section.split('<div class="statement">')[1:]
    statement, rest = frame.split("</div>", maxsplit=1)
    assert statement.strip().startswith("<p><strong>Claim</strong>")
    assert statement.count('class="katex-display"') == 1
    assert rest.strip().startswith("<p><strong>Proof.</strong>")


def test_a_name_that_the_chapter_passes_on_is_linked_to_its_section(small_book):
    chapter = (small_book / "fp_small.html").read_text("utf8")
    assert '<a href="fp_small/section.html#double">' in chapter
    assert '<a href="fp_small/section.html#Box.open">' in chapter
    assert "<code>fp_later.nothing</code>" in chapter
    assert 'id="double"' not in chapter, "the chapter's page is a map and repeats no section"


def test_chapters_and_sections_are_linked_in_reading_order(small_book):
    following, place = [], "fp_small.html"
    while place:
        page = small_book / place
        following.append(place)
        match = re.search(r'rel="next" href="([^"]*)"', page.read_text("utf8"))
        place = match and (page.parent / match[1]).resolve().relative_to(small_book.resolve()).as_posix()
    assert following == [
        "fp_small.html",
        "fp_small/section.html",
        "fp_small/exercises.html",
        "fp_small/exercises/e01_first.html",
        "fp_later.html",
    ]


def test_only_fonts_that_are_in_the_site_are_named(small_book):
    css = (small_book / "katex" / "katex.min.css").read_text("utf8")
    fonts = set(re.findall(r"url\(([^)]*)\)", css))
    assert fonts == {f"fonts/{file.name}" for file in (small_book / "katex" / "fonts").iterdir()}


@pytest.mark.parametrize(
    ("docstring", "sentences"),
    [
        (r"A formula $\frac{1}$.", [r"fp_small.exercises", r"$\frac{1}$", "KaTeX parse error"]),
        (r"Unknown: $$\nonsense x$$", ["fp_small.exercises", r"$$\nonsense x$$", "Undefined control sequence"]),
        ("Not LaTeX: $ä$", ["fp_small.exercises", "$ä$", "unicodeTextInMathMode"]),
        ("It costs $5.", ["a dollar without its formula, in fp_small.exercises", r"\$"]),
        ("**Claim** `small.odd`. So.", ["fp_small.exercises: no paragraph below claim `small.odd` begins"]),
        ("**Claim** `small.odd`. So.", ["small.odd is claimed but no test checks it"]),
        ("See `fp_small.triple`.", ["fp_small.exercises: there is no `fp_small.triple`"]),
        ("See `small.odd`.", ["fp_small.exercises: there is no claim `small.odd`"]),
        ("<!-- figure: nothing -->", ["<!-- figure: nothing --> is named, but there is no packages/"]),
        ("<!-- figure doubles -->", ["fp_small.exercises: a figure is named <!-- figure: NAME -->, got"]),
        (
            "<!-- figure: doubles -->\n\nand\n\n<!-- figure: doubles -->",
            ["fp_small.exercises: <!-- figure: doubles --> is named, twice"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_no_site_is_written(tmp_path, docstring, sentences):
    page = {"packages/fp-small/src/fp_small/exercises/__init__.py": f"r'''{docstring}'''"}
    run = build_book(tmp_path, **page)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    for sentence in sentences:
        assert sentence in run.stderr
    assert not (tmp_path / "site").exists()


# --- the ledger of claims --------------------------------------------------------------------------------------------


def test_the_ledger_shows_a_claim_with_its_statement_its_place_and_its_check(small_book):
    ledger = (small_book / "ledger.html").read_text("utf8")
    (entry,) = re.findall(r'<article id="small.even">(.*?)</article>', ledger, re.DOTALL)
    assert '<a href="fp_small/section.html#claim-small.even"><code>small.even</code></a>' in entry
    assert "proven at packages/fp-small/src/fp_small/section.py:6" in entry
    assert entry.count('class="katex-display"') == 1
    assert "Proof" not in entry
    assert '<a href="fp_small/section.html#double">' in entry, "a link leads from the ledger's place"
    text = " ".join(html.unescape(re.sub("<[^>]*>", "", entry)).split())
    assert "twice a number is even cases by hand, enumerated or drawn · packages/fp-small/tests/test_sect" in text
    assert 'assert double(n) % 2 == 0 < n, "<b>"' in text


def test_the_ledger_counts_claims_and_checks_by_kind(small_book):
    ledger = (small_book / "ledger.html").read_text("utf8")
    (total,) = re.findall(r"<tfoot>(.*?)</tfoot>", ledger, re.DOTALL)
    assert re.findall(r"<td>(\d+)</td>", total) == ["1", "1", "0", "0", "1"]


def test_every_page_leads_to_the_ledger_and_every_claim_to_its_entry(small_book):
    for file in {*small_book.rglob("*.html")} - {*small_book.rglob("widgets/**/*.html")}:
        up = "../" * (len(file.relative_to(small_book).parts) - 1)
        assert f'href="{up}ledger.html"' in file.read_text("utf8"), file
    section = (small_book / "fp_small" / "section.html").read_text("utf8")
    assert '<a class="checks" href="../ledger.html#small.even">1 check</a>' in section


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("tests/test_section.py", "", "section.py:6: small.even is claimed but no test checks it"),
        (
            "tests/test_more.py",
            "import pytest\n@pytest.mark.claim('small.odd')\ndef test_odd():\n    pass",
            "test_more.py:2: small.odd is checked but nowhere claimed",
        ),
        (
            "src/fp_small/_private.py",
            '"""\n**Claim** `small.hidden`. So.\n\n**Proof.** So.\n"""',
            "packages/fp-small/src/fp_small/_private.py:2: no page shows claim `small.hidden`",
        ),
    ],
)
def test_a_claim_and_a_check_that_do_not_meet_stop_the_build(tmp_path, file, text, sentence):
    run = build_book(tmp_path, **{f"packages/fp-small/{file}": text})
    assert run.returncode == 1
    assert sentence in run.stderr
    assert not (tmp_path / "site").exists()


# --- the pages of the book -------------------------------------------------------------------------------------------


def words(fragment):
    return " ".join(html.unescape(re.sub("<[^>]*>", "", re.sub("<math.*?</math>", "", fragment))).split())


def test_every_page_has_the_one_navigation(small_book):
    for file in small_book.rglob("*.html"):
        depth = len(file.relative_to(small_book).parts) - 1
        if "widgets" not in file.parts:
            (nav,) = re.findall(r'<nav class="pdoc">(.*?)</nav>', file.read_text("utf8"), re.DOTALL)
            for target in ("index", "notes", "glossary", "troubleshooting", "ledger", "fp_small", "fp_later"):
                assert f'href="{"../" * depth}{target}.html"' in nav, file
            assert f'<a href="{"../" * depth}widgets/dice/index.html">Dice</a>' in nav, file


def test_a_page_of_the_book_links_what_it_names_and_shows_its_figures(small_book):
    page = (small_book / "notes.html").read_text("utf8")
    assert '<a href="fp_small/section.html"><code>fp_small.section</code></a>' in page
    assert '<a href="fp_small/section.html#double"><code>fp_small.double</code></a>' in page
    assert '<a href="fp_small/section.html#claim-small.even"><code>small.even</code></a>' in page
    assert "<td>1.5</td>" in page
    assert page.count('class="katex"') > 1
    assert "mathhold" not in page.lower()


def test_a_chapter_links_the_first_occurrence_of_a_term_and_nothing_else(small_book):
    chapter = (small_book / "fp_small.html").read_text("utf8")
    links = re.findall(r'<a class="term" href="([^"]*)" title="([^"]*)">([^<]*)</a>', chapter)
    assert [(href, text) for href, _, text in links] == [
        ("glossary.html#term-thing", "things"),
        ("glossary.html#term-even", "Even"),
    ]
    assert links[1][1] == "Cut into pairs, nothing is left: n &lt; 3 &quot;or&quot; small.even."
    assert links[0][1] == "All that is: see fp_small.section and 1/2."
    assert chapter.index("Stage 1 of 2: small") < chapter.index('class="term"') < chapter.index("<table>")


def test_a_term_is_not_linked_where_it_is_derived(small_book):
    section = (small_book / "fp_small" / "section.html").read_text("utf8")
    assert "is even" in section
    assert 'class="term"' not in section


def test_the_glossary_has_an_anchor_and_a_definition_for_each_term(small_book):
    page = (small_book / "glossary.html").read_text("utf8")
    entries = re.findall(r'<dt id="term-(\w+)">(.*?)</dt>\s*<dd>(.*?)</dd>', page, re.DOTALL)
    assert [(name, words(term)) for name, term, _ in entries] == [
        ("box", "box also boxes"),
        ("even", "Even also EVEN"),
        ("thing", "thing also small matter, small matters"),
    ]
    assert '<a href="fp_small/section.html#claim-small.even">' in entries[1][2]
    assert re.findall(r'<h2 id="letter-(\w)">', page) == ["B", "E", "T"]


def test_a_trouble_shows_the_test_that_it_names(small_book):
    page = (small_book / "troubleshooting.html").read_text("utf8")
    (evidence,) = re.findall(r'<details class="evidence">(.*?)</details>', page, re.DOTALL)
    text = words(evidence)
    assert text.startswith("Shown by a test: twice a number is even packages/fp-small/tests/test_section.py")
    assert "@pytest.mark.parametrize" in text
    assert "assert double(n) % 2 == 0 < n" in text
    assert "Shown by</strong>" not in page


def test_a_tool_is_copied_and_its_data_is_built_and_kept(small_book):
    assert (small_book / "widgets" / "dice" / "data.js").read_text("utf8") == "window.SIDES = 6"
    assert (small_book / "widgets" / "shared.css").is_file()
    assert {file.name for file in (small_book / "widgets" / "dice").iterdir()} == {"index.html", "data.js"}
    assert len(list((small_book.parent / "cache").glob("widget.dice.*"))) == 1


WRONG = {
    "book/index.md": [(", and [a page](notes.html)", ""), ("glossary.html", "none.html")],
    "book/notes.md": [("# Notes on $n$", ""), ("small.even", "small.odd"), ("halves", "thirds")],
    "book/glossary.md": [("**box** (boxes", "**zoo** (EVEN"), ("`fp_small.Box`", "it")],
    "book/troubleshooting.md": [
        ("**Fix.**", "Fix."),
        ("_is_even`", "_is_odd`, `packages/fp-small/tests/test_none.py::test_it`, `failure: none`"),
    ],
    "book/widgets/dice/index.html": [("<title>", "<p>")],
}
SENTENCES = [
    "book/notes.md: the landing page, book/index.md, does not link notes.html",
    "book/glossary.md: the landing page, book/index.md, does not link glossary.html",
    "index.html links to none.html, which is not a page of the site",
    "book/notes.md: a page begins with `# ` and its title",
    "'even' stands after 'zoo': the entries are in alphabetical order, each once",
    "book/glossary.md: 'EVEN' is there twice",
    "'zoo' does not name the claim or section that derives it",
    "'It is odd' has no paragraph that begins with **Fix.**",
    "there is no packages/fp-small/tests/test_section.py::test_twice_a_number_is_odd, which a trouble names",
    "there is no packages/fp-small/tests/test_none.py::test_it, which a trouble names",
    "there is no failure: none, which a trouble names",
    "book/widgets/dice: a tool has a page, index.html, with a <title>",
    "figures/halves.py: no docstring names this figure",
]


def replaced(file):
    text = CONSTRUCTS[file]
    for old, new in WRONG[file]:
        assert old in text
        text = text.replace(old, new)
    return text


def test_what_is_wrong_with_the_pages_of_the_book_stops_the_build(tmp_path):
    linked = WRONG.keys() - {"book/index.md"}  # an unlinked page is not read, so that needs another build
    runs = [
        build_book(tmp_path / str(n), **{file: replaced(file) for file in files})
        for n, files in enumerate((linked, ["book/index.md"]))
    ]
    said = "".join(run.stderr for run in runs)
    assert [run.returncode for run in runs] == [1, 1]
    assert "Traceback" not in said
    assert [sentence for sentence in SENTENCES if sentence not in said] == []
    assert "notes: there is no claim `small.odd`" in said
    assert "<!-- figure: thirds --> is named, but there is no" in said


def test_a_tool_whose_data_cannot_be_built_stops_the_build(tmp_path):
    text = CONSTRUCTS["book/widgets/dice/build.py"].replace("double(3)", "1 / 0")
    run = build_book(tmp_path, **{"book/widgets/dice/build.py": text})
    assert run.returncode == 1
    assert "dice/build.py failed" in run.stderr
    assert "ZeroDivisionError" in run.stderr


def test_a_draft_is_written_and_says_what_is_wrong(tmp_path):
    write_book(tmp_path / "book", **{"book/notes.md": "# Notes\n\n`small.odd`"})
    run = build(tmp_path / "site", "--source", tmp_path / "book", "--cache", tmp_path / "cache", "--draft")
    assert run.returncode == 1
    assert "there is no claim `small.odd`" in run.stderr
    assert "small.odd" in (tmp_path / "site" / "notes.html").read_text("utf8")


# --- exercises -------------------------------------------------------------------------------------------------------


def exercise_page(small_book):
    return (small_book / "fp_small" / "exercises" / "e01_first.html").read_text("utf8")


def folded(page, summary):
    """The words of what is folded away under a summary that begins so."""
    (inside,) = re.findall(rf"<details[^>]*>\s*<summary>{summary}[^<]*</summary>(.*?)</details>", page, re.DOTALL)
    return html.unescape(re.sub("<[^>]*>", "", inside)).strip()


def test_an_exercise_shows_its_statement_and_what_to_write(small_book):
    page = exercise_page(small_book)
    main = page.partition("<main")[2].partition("<details")[0]
    text = " ".join(html.unescape(re.sub("<[^>]*>", "", re.sub("<math.*?</math>", "", main))).split())
    assert "01 Halves of 2n implement You need small.even. The number 2n is given." in text
    assert "def half(twice: int) -> int: Half of 2n, whole. The first command" in text
    assert "fp start small/01 fp check small/01" in text
    assert page.count('id="half"') == 1


def test_an_exercise_folds_hints_mistakes_and_solution_away(small_book):
    page = exercise_page(small_book)
    assert page.count("<details") == 5
    assert "<details open" not in page
    assert folded(page, "Hint 1 of 2") == "Divide."
    assert '<a href="../section.html#claim-small.even"><code>small.even</code></a>.' in page
    mistakes = folded(page, "Common mistakes: 2 wrong answers")
    places = [mistakes.index(part) for part in ("You multiply by", "def _doubled", "Nothing", "def _kept")]
    assert places == sorted(places)
    outside = re.sub(r"<details.*?</details>", "", page, flags=re.DOTALL)
    for secret in ("_doubled", "_whole", "Divide", "You multiply", "_SEVEN"):
        assert secret in page
        assert secret not in outside


def test_a_solution_and_a_check_hold_all_that_they_need(small_book):
    solution, check = (folded(exercise_page(small_book), part) for part in ("Solution", "How an answer is checked"))
    for part in ("from math import floor", "_TWO = 2", "def half(twice: int)", "def _whole(x)"):
        assert part in solution
        assert part not in check
    for part in ("def check(learner)", "_SEVEN = 7"):
        assert part in check
        assert part not in solution


def test_a_chapter_lists_its_exercises_with_their_levels(small_book):
    page = (small_book / "fp_small" / "exercises.html").read_text("utf8")
    (table,) = re.findall(r'<table class="exercises">(.*?)</table>', page, re.DOTALL)
    assert "<td>01</td>" in table
    assert '<a href="exercises/e01_first.html">Halves of ' in table
    assert '<span class="level level-implement">implement</span>' in table
    assert '<a href="fp_small/exercises.html">1 exercise</a>' in (small_book / "index.html").read_text("utf8")


def test_search_finds_an_exercise_and_gives_nothing_away(small_book):
    index = (small_book / "search.js").read_text("utf8")
    assert "fp_small.exercises.e01_first.half" in index
    assert "small/01: Halves of 2n" in index
    for secret in ("HINTS", "MISTAKES", "PROBES", "e01_first.check", "Divide", "multiply"):
        assert secret not in index


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("Level: implement.", "Level: easy.", "a paragraph begins with `Level: ` and one of concept, implement"),
        ("HINTS =", "HELP =", "'HINTS'"),
        ("def _whole", "def whole", "one public function beside check"),
        ("def half", "def _half", "one public function beside check"),
    ],
)
def test_an_exercise_that_is_not_whole_stops_the_build(tmp_path, old, new, sentence):
    file = "packages/fp-small/src/fp_small/exercises/e01_first.py"
    run = build_book(tmp_path, **{file: CONSTRUCTS[file].replace(old, new)})
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert "e01_first" in run.stderr
    assert sentence in run.stderr


# --- figures that the build computes ---------------------------------------------------------------------------------

FRAGMENT = '<svg viewBox="0 0 1 1" role="img" aria-label="a"/><table><tr><th>n</th><td>2</td></tr></table>'


def test_a_figure_stands_where_its_docstring_names_it(small_book):
    section = (small_book / "fp_small" / "section.html").read_text("utf8")
    (figure,) = re.findall(r"(?<=</p>)\s*<figure.*?</figure>\s*(?=<p>)", section, re.DOTALL)
    assert section.index("Above the figure") < section.index(figure) < section.index("and below it")
    assert 'class="generated" id="figure-doubles"' in figure
    assert figure.count('<div class="scrolled" tabindex="0"><svg') == 1
    assert figure.count('<div class="scrolled" tabindex="0"><table><tr><th>n</th><td>4</td>') == 1
    assert "<td>8</td>" in figure
    assert "<!-- figure" not in section
    assert "&lt;!-- figure: doubles --&gt;" in section, "the source of the page names it too"


def test_a_figure_is_drawn_again_only_when_something_it_may_depend_on_changes(tmp_path):
    tally = tmp_path / "book" / "tally.txt"
    text = CONSTRUCTS["packages/fp-small/src/fp_small/section.py"]
    for drawn, changed in (
        (1, {}),
        (1, {}),
        (1, {"packages/fp-later/src/fp_later/__init__.py": '"""Stage 2 of 2: later."""\n__all__ = []'}),
        (2, {"packages/fp-small/src/fp_small/section.py": text.replace("return 2 * n", "return n + n")}),
        (3, {"packages/fp-small/figures/_shared.txt": "5"}),
        (4, {"packages/fp-small/figures/_shared.txt": "5", "packages/fp-small/benchmarks/bench_double.json": "1"}),
        (4, {"packages/fp-small/figures/_shared.txt": "5", "packages/fp-later/benchmarks/bench_later.json": "1"}),
        (5, {"packages/fp-small/figures/_shared.txt": "5", "book/measured/run.json": "4"}),
    ):
        run = build_book(tmp_path, **changed)
        assert run.returncode == 0, run.stderr
        assert tally.read_text("utf8").count("drawn") == drawn, changed
        assert len(list((tmp_path / "cache").glob("fp_small.doubles.*.html"))) == 1
    assert "<td>2.0</td>" in (tmp_path / "site" / "notes.html").read_text("utf8")
    assert "<td>10</td>" in (tmp_path / "site" / "fp_small" / "section.html").read_text("utf8")


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("doubles.py", "def render():\n    return 1 / 0", "figures/doubles.py:2: ZeroDivisionError: division by zero"),
        ("doubles.py", "import warnings\ndef render():\n    warnings.warn('w')", "doubles.py:3: UserWarning: w"),
        ("doubles.py", "render = lambda: None", "figures/doubles.py: render() returns a str, got NoneType"),
        ("doubles.py", "", "figures/doubles.py: AttributeError: module"),
        ("spare.py", "render = str", "packages/fp-small/figures/spare.py: no docstring names this figure"),
    ],
)
def test_a_figure_that_fails_or_that_nothing_names_stops_the_build(tmp_path, file, text, sentence):
    run = build_book(tmp_path, **{f"packages/fp-small/figures/{file}": text})
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert sentence in run.stderr
    assert not list((tmp_path / "cache").glob(f"fp_small.{Path(file).stem}.*"))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("</table>", "", "well-formed XML"),
        ("2</td>", "&nbsp;</td>", "well-formed XML"),
        ("</table>", "</table><script/>", "<script> has no place in a figure"),
        ("th>", "td>", "a <table> with <th> cells"),
        (' role="img"', "", "an <svg> has a viewBox"),
        (' aria-label="a"', "", "an <svg> has a viewBox"),
        (' viewBox="0 0 1 1"', "", "an <svg> has a viewBox"),
        ("2</td>", '<svg viewBox="0 0 1 1" role="img" aria-label="a"/></td>', "put none of them into another"),
    ],
)
def test_a_fragment_that_some_reader_could_not_read_is_refused(old, new, sentence):
    assert generated.faults(FRAGMENT) == []
    (fault,) = generated.faults(FRAGMENT.replace(old, new))
    assert sentence in fault


def test_a_drawing_may_be_named_by_its_title_and_carry_its_namespace():
    titled = FRAGMENT.replace(' aria-label="a"/>', ' xmlns="http://www.w3.org/2000/svg"><title>a</title></svg>')
    assert generated.faults(titled) == []


def test_the_colours_of_figures_can_be_read_as_text_on_both_grounds():
    def luminance(colour):
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    css = (DOCS / "templates" / "custom.css").read_text("utf8")
    grounds = re.findall(r"--pdoc-background: (#\w{6})", css)
    colours = re.findall(r"--figure-[1-4]: (#\w{6})", css)
    assert (len(grounds), len(colours)) == (2, 8)
    for ground, of_scheme in zip(grounds, (colours[:4], colours[4:]), strict=True):
        for colour in of_scheme:
            dark, light = sorted([luminance(ground), luminance(colour)])
            assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{colour} on {ground}: the contrast that WCAG 2 asks of text"


# --- what stops a build before it begins -----------------------------------------------------------------------------


def test_without_node_one_sentence_says_what_to_install(tmp_path):
    run = build(tmp_path / "site", PATH=str(tmp_path))
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert "Install Node.js" in run.stderr


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    run = build(tmp_path)
    assert run.returncode == 1
    assert "something else" in run.stderr
    assert (tmp_path / "thesis.txt").read_text() == "all of it"


def test_the_lock_file_records_no_addresses():
    assert "resolved" not in (DOCS / "package-lock.json").read_text("utf8")


def test_the_landing_page_lists_the_stages_in_their_order():
    listed = re.findall(r"^\d+\. `(\w+)`$", (ROOT / "book" / "index.md").read_text("utf8"), re.MULTILINE)
    assert listed == [name.replace("-", "_") for name in STAGES]


# --- the whole site in a browser -------------------------------------------------------------------------------------

LOOK = """() => {
    document.querySelectorAll("details").forEach(e => e.open = true);
    const prose = (document.querySelector("main.pdoc") || document.body).cloneNode(true);
    prose.querySelectorAll("pre, code, .katex, script").forEach(e => e.remove());
    const root = document.documentElement;
    return {
        formulas: document.querySelectorAll("main .katex").length,
        failed: document.querySelectorAll(".katex-error").length,
        text: prose.textContent,
        links: [...document.querySelectorAll("a[href]")].map(a => a.href),
        ids: [...document.querySelectorAll("[id]")].map(e => e.id),
        overflow: root.scrollWidth - root.clientWidth,
        wide: [...document.querySelectorAll("main *")]
            .filter(e => e.getBoundingClientRect().right > root.clientWidth
                && !e.closest(".katex-display, .katex-mathml, pre, table, .attr, .scrolled"))
            .map(e => e.outerHTML.slice(0, 200)).slice(0, 3),
    };
}"""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "site"
    run = build(out)
    assert run.returncode == 0, run.stderr
    return out


@pytest.fixture(scope="module")
def address(site):
    handler = functools.partial(QuietHandler, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    switches = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    choice = {"executable_path": found} if found else {"channel": "chrome"}
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(args=["--no-sandbox", *switches], **choice)
        except BrowserError as error:
            absent(f"no Chromium to look at the site with: {error.message.splitlines()[0]}")
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def survey(site, address, browser):
    """What the browser saw on every page, on a screen as wide as a telephone's."""
    seen, outside, errors = {}, [], []
    with browser.new_context(viewport={"width": 390, "height": 844}) as context:
        page = context.new_page()
        page.on("request", lambda r: r.url.startswith((address, "data:")) or outside.append(r.url))
        page.on("console", lambda m: m.type in ("error", "warning") and errors.append(f"{page.url}: {m.text}"))
        page.on("pageerror", lambda error: errors.append(f"{page.url}: {error}"))
        page.on("requestfailed", lambda r: errors.append(f"{r.url} failed"))
        for file in sorted(site.rglob("*.html")):
            name = file.relative_to(site).as_posix()
            page.goto(address + name)
            seen[name] = page.evaluate(LOOK)
    return {"pages": seen, "outside": outside, "errors": errors}


def shown(module):
    """The docstrings and the other texts with formulas on a module's page."""
    yield module.docstring
    if module.modulename.endswith(".exercises"):
        for exercise in module.submodules:
            yield exercise.docstring.partition("\n\n")[0]
    elif ".exercises." in module.modulename:
        yield from module.obj.HINTS
        yield from (sentence for _, sentence in module.obj.MISTAKES)
        for function in module.functions:
            if function.name[0] != "_" and function.name != "check":
                yield function.docstring
    elif not module.is_package:
        for member in module.flattened_own_members:
            if member.name.startswith("_"):
                continue
            yield member.docstring
            if isinstance(member, pdoc.doc.Class):
                for part in member.own_members:
                    if not isinstance(part, pdoc.doc.Class) and (part.name == "__init__" or part.name[0] != "_"):
                        yield part.docstring


def count_formulas(docstring):
    """A plainer reading than the build's: drop code line by line, then pair the dollars."""
    kept, fenced, doctest = [], False, False
    for line in docstring.splitlines():
        if line.strip().startswith("```"):
            fenced = not fenced
            continue
        doctest = bool(line.strip()) and (doctest or line.strip().startswith(">>>"))
        if not fenced and not doctest:
            kept.append(line)
    text = re.sub(r"``.*?``|`[^`]*`|\\\$", "", "\n".join(kept), flags=re.DOTALL)
    displayed, dollars = text.count("$$"), text.count("$")
    assert displayed % 2 == 0
    return displayed // 2 + (dollars - 2 * displayed) // 2


@pytest.mark.slow
def test_every_formula_of_every_docstring_is_rendered(survey):
    total = 0
    for name, page in survey["pages"].items():
        assert page["failed"] == 0, name
        if name.startswith("fp_"):
            module = pdoc.doc.Module.from_name(name.removesuffix(".html").replace("/", "."))
            expected = sum(count_formulas(docstring) for docstring in shown(module))
            assert page["formulas"] == expected, name
            total += expected
    assert total > 0


@pytest.mark.slow
def test_no_latex_is_left_in_the_prose(survey):
    for name, page in survey["pages"].items():
        for trace in ("$$", r"\begin{", r"\frac", r"\sum", "MATHHOLD"):
            assert trace not in page["text"], f"{trace} in {name}"


@pytest.mark.slow
def test_no_page_asks_another_machine_for_anything(survey):
    assert survey["outside"] == []


@pytest.mark.slow
def test_no_page_reports_an_error(survey):
    assert survey["errors"] == []


@pytest.mark.slow
def test_every_link_within_the_site_leads_somewhere(survey, address):
    pages = survey["pages"]
    for name, page in pages.items():
        for link in page["links"]:
            if link.startswith(address):
                target, fragment = urldefrag(link.removeprefix(address))
                assert target in pages, f"{name} links to {link}"
                assert not fragment or unquote(fragment) in pages[target]["ids"], f"{name} links to {link}"


@pytest.mark.slow
def test_every_page_of_the_site_can_be_reached_from_the_landing_page(survey, address):
    reached, waiting = set(), ["index.html"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            links = (urldefrag(link).url.removeprefix(address) for link in survey["pages"][name]["links"])
            waiting += [link for link in links if link in survey["pages"]]
    assert reached == set(survey["pages"])


@pytest.mark.slow
def test_no_page_is_wider_than_a_telephone(survey):
    for name, page in survey["pages"].items():
        assert page["overflow"] <= 0, f"{name} is {page['overflow']} pixels too wide: {page['wide']}"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_search_finds_a_word_and_shows_formulas_as_text(site, address, browser, scheme):
    start = address if scheme == "http" else f"{site.as_uri()}/"
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{start}fp_transformer/config.html")
        page.locator("input[type=search]").fill("parameter_shapes")
        hits = page.locator(".search-result")
        hits.first.wait_for()
        assert "parameter_shapes" in hits.first.inner_text()
        assert page.locator(".search-result .katex").count() == 0
        assert "MATHHOLD" not in page.content()
        hits.first.locator("a").first.click()
        page.wait_for_url("**/fp_transformer/config.html#TransformerConfig.parameter_shapes")


def hits(page, asked):
    """The kinds and addresses of what a search finds, best first."""
    page.locator("input[type=search]").fill(asked)
    page.locator(".search-result").first.wait_for()
    return page.locator(".search-result > .attr").evaluate_all(
        "hits => hits.map(hit => [hit.classList[1], hit.getAttribute('href')])"
    )


@pytest.mark.slow
def test_one_search_finds_pages_terms_claims_and_exercises(small_book, browser):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{small_book.as_uri()}/fp_small/section.html")
        for asked, found in {
            "thing": ["term", "../glossary.html#term-thing"],
            "small matters": ["term", "../glossary.html#term-thing"],
            "small.even": ["claim", "../fp_small/section.html#claim-small.even"],
            "it is odd": ["page", "../troubleshooting.html#it-is-odd"],
            "Halves": ["exercise", "../fp_small/exercises/e01_first.html"],
            "double": ["function", "../fp_small/section.html#double"],
        }.items():
            assert hits(page, asked)[0] == found, asked
        kind, address = next(hit for hit in hits(page, "notes") if "#" in hit[1])
        assert kind == "page"
        assert "mathhold" not in address
        page.goto(f"{small_book.as_uri()}/{address.removeprefix('../')}")
        assert page.locator(f'[id="{unquote(urldefrag(address).fragment)}"]').count() == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "kind", "address"),
    [
        ("perplexity", "term", "glossary.html#term-perplexity"),
        ("attention.backward", "claim", "fp_attention/scaled_dot.html#claim-attention.backward"),
        ("the loss is nan", "page", "troubleshooting.html#the-loss-is-nan"),
        ("three paths", "page", "index.html#three-paths"),
        ("markov/06", "exercise", "fp_markov/exercises/e06_perplexity.html"),
    ],
)
def test_the_search_of_the_book_begins_with_what_was_asked_for(site, browser, asked, kind, address):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{site.as_uri()}/notation.html")
        assert hits(page, asked)[0] == [kind, address]


@pytest.mark.slow
def test_a_page_of_the_book_is_used_with_the_keyboard_alone(site, browser):
    with browser.new_context(viewport={"width": 1200, "height": 900}) as context:
        page = context.new_page()
        page.goto(f"{site.as_uri()}/fp_optim/adaptive.html")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the text"
        assert page.locator(".skip").bounding_box()["x"] >= 0
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('main') !== null"), "the first link of the text is next"
        page.locator("main a.term").first.focus()
        target = page.locator("main a.term").first.get_attribute("href")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/{target.removeprefix('../')}")
        page.goto(f"{site.as_uri()}/glossary.html")
        page.locator("input[type=search]").focus()
        page.keyboard.type("perplexity")
        page.locator(".search-result").first.wait_for()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_url("**/glossary.html#term-perplexity")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_the_pages_of_the_book_fit_and_can_be_read(site, browser, width, scheme):
    contrast = """() => {
        const parts = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const linear = x => (x /= 255) <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
        const light = colour => parts(colour).map(linear).reduce((sum, x, n) => sum + x * [.2126, .7152, .0722][n], 0);
        const ground = getComputedStyle(document.documentElement).getPropertyValue("--pdoc-background").trim();
        const probe = document.body.appendChild(document.createElement("i"));
        probe.style.color = ground;
        const below = light(getComputedStyle(probe).color);
        return Math.min(...[...document.querySelectorAll("main p, main a, main dt small, main summary")].map(e => {
            const [dark, bright] = [below, light(getComputedStyle(e).color)].sort((a, b) => a - b);
            return (bright + .05) / (dark + .05);
        }));
    }"""
    with browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme) as context:
        page = context.new_page()
        for file in sorted(site.glob("*.html")):
            page.goto(file.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, (
                file
            )
            assert page.evaluate(contrast) >= 4.5, f"{file}: the contrast that WCAG 2 asks of text"


@pytest.mark.slow
def test_a_hit_whose_docstring_has_formulas_reads_as_text(small_book, browser):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{small_book.as_uri()}/index.html")
        page.locator("input[type=search]").fill("doubling")
        hit = page.locator(".search-result").first
        hit.wait_for()
        text = hit.locator(".docstring").inner_text()
        assert "2n is even, costs $5, and" in text
        assert "f(x) = {1 x < 0 0 otherwise" in text
        assert "echo $HOME" in text


@pytest.mark.slow
def test_a_page_reads_the_same_without_scripts(site, browser):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{site.as_uri()}/fp_transformer/config.html")
        assert page.locator("main .katex").count() > 0
        assert page.locator("main .katex math").count() == page.locator("main .katex").count()
        assert page.locator("main .katex .katex-html").first.bounding_box()["height"] > 0


@pytest.mark.slow
def test_what_is_folded_opens_without_scripts_and_figures_stay_in_their_boxes(small_book, browser):
    with browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844}) as context:
        page = context.new_page()
        page.goto(f"{small_book.as_uri()}/fp_small/exercises/e01_first.html")
        assert not page.get_by_text("Divide.", exact=True).is_visible()
        page.get_by_text("Hint 1 of 2").click()
        assert page.get_by_text("Divide.", exact=True).is_visible()
        page.goto(f"{small_book.as_uri()}/fp_small/section.html")
        box, drawing = (page.locator(f".generated {part}").first.bounding_box() for part in (".scrolled", "svg"))
        assert box["x"] + box["width"] <= 390 < drawing["width"]
        page.goto(f"{small_book.as_uri()}/ledger.html")
        page.get_by_text("twice a number is even").click()
        assert page.get_by_text("def", exact=True).first.is_visible()


@pytest.mark.slow
def test_a_table_in_its_box_is_still_read_as_a_table(small_book, browser):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{small_book.as_uri()}/fp_small/section.html")
        assert page.locator(".generated").get_by_role("table").count() == 1
        assert page.locator(".generated table").evaluate("e => getComputedStyle(e).display") == "table"
        assert page.locator(".generated").get_by_role("img", name="Doubles.").count() == 1


@pytest.mark.slow
def test_a_table_whose_first_heading_is_empty_keeps_its_columns(small_book, browser):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{small_book.as_uri()}/fp_small/section.html")
        heading, cell = (page.get_by_text(text, exact=True).bounding_box() for text in ("doubled", "two"))
        assert heading["x"] == cell["x"]
