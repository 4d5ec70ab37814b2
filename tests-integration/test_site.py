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


def load_mathematics():
    spec = importlib.util.spec_from_file_location("site_mathematics", DOCS / "mathematics.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mathematics = load_mathematics()


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
    """,
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
    "packages/fp-small/src/fp_small/exercises/e01_first.py": '"""The first exercise: see `small.even`."""',
    "packages/fp-small/src/fp_small/section.py": r'''
        r"""
        Doubling.

        ## Why $2^n$?

        **Claim** `small.even`. $2n$ is even, costs \$5, and

        $$
        \begin{aligned} a &= b \\ c &= \{d\} \end{aligned}
        \qquad f(x) = \begin{cases} 1 & x < 0 \\ 0 & \text{otherwise} \end{cases}
        $$

        **Proof.** See `small.even` for $x^*$ and $y^*$. $\blacksquare$

        ```sh
        echo $HOME
        ```
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
    run = build(folder / "site", "--source", write_book(folder / "book"))
    assert run.returncode == 0, run.stderr
    return folder / "site"


def test_every_construct_becomes_a_page(small_book):
    pages = {file.relative_to(small_book).as_posix() for file in small_book.rglob("*.html")}
    assert pages == {
        "index.html",
        "fp_small.html",
        "fp_small/section.html",
        "fp_small/exercises.html",
        "fp_small/exercises/e01_first.html",
        "fp_later.html",
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
        ("See `fp_small.triple`.", ["fp_small.exercises: there is no `fp_small.triple`"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_no_site_is_written(tmp_path, docstring, sentences):
    page = {"packages/fp-small/src/fp_small/exercises/__init__.py": f"r'''{docstring}'''"}
    run = build(tmp_path / "site", "--source", write_book(tmp_path / "book", **page))
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    for sentence in sentences:
        assert sentence in run.stderr
    assert not (tmp_path / "site").exists()


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
    const prose = document.querySelector("main.pdoc").cloneNode(true);
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
                && !e.closest(".katex-display, .katex-mathml, pre, table, .attr"))
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
    """The docstrings on a module's page."""
    yield module.docstring
    if not module.is_package:
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
        if name != "index.html":
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
