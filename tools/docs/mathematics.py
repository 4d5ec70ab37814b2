r"""
Mathematics on its way through Markdown.

Markdown damages LaTeX: a line-end `\\` loses a backslash, `\{` its escape, a pair of `^*` becomes emphasis, `<` a tag,
and `|` a border of a table. So `Formulas.hold` takes every formula out of a text before anything else reads it and
leaves a word in its place, KaTeX renders all of them in one process, and `Formulas.restore` puts the results where the
words are. Code stays code: fences, spans and doctests are passed over.

Inline mathematics is `$x$`, without a space inside the dollars and no digit after them; displayed mathematics is
`$$x$$`. Neither contains an empty line. A dollar that is a dollar is written `\$`.

A label such as `\qquad \text{(E1)}` at the end of a displayed formula, or of a line of one that is `aligned`, goes to
the right margin: in a docstring it reads as text, on a page it is a `\tag`.
"""

import html
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = Path(__file__).parent
NODE_MODULES = HERE / "node_modules"

TOKEN = re.compile(
    r"""
    (?P<code>
        ^[ \t]*(?P<fence>```+|~~~+) (?s:.*?) ^[ \t]*(?P=fence)[ \t]*$    # a fence
      | ^[ \t]*>>>.* (?:\n(?![ \t]*$).*)*                                # a doctest, up to the next empty line
      | (?P<ticks>`+)(?!`) (?:(?!\n[ \t]*\n)(?s:.))+? (?<!`)(?P=ticks)(?!`)   # a code span, within one paragraph
    )
  | \$\$ (?P<display> (?: \\(?s:.) | (?!\n[ \t]*\n)[^\\] )+? ) \$\$
  | \$ (?![\s$]) (?P<inline> (?: \\. | (?!\n[ \t]*\n)[^\\$] )+? ) (?<!\s)\$ (?!\d)
  | (?P<literal> \\\$ )
  | (?P<stray> \$ )
    """,
    re.VERBOSE | re.MULTILINE,
)
HELD = re.compile(r"MATHHOLD(\d+)X")
HELD_IN_ANCHOR = re.compile(r"mathhold(\d+)x")  # Markdown writes the ids of headings in lower case
# What a line must not part from a formula: `(n)`, `n,`, `n-gram`.
GLUED = re.compile(r"(\(?)MATHHOLD(\d+)X((?:(?!MATHHOLD)[\w.,;:!?)’'-])*)")
SHORT = 24  # characters: a formula, or a part of one in brackets, that a line does not break
LABEL = re.compile(r"(?:\s|&|\\q?quad\b)*\\text\{\(([A-Z]\d+)\)\}")
LAST_LABEL = re.compile(LABEL.pattern + r"((?:\s|\\q?quad\b|\\blacksquare\b)*)$")
ALIGNED = re.compile(r"\s*\\begin\{aligned\}((?:(?!\\(?:begin|end)\{aligned\})(?s:.))*)\\end\{aligned\}\s*")


class Formulas:
    """The formulas of a site: what was taken out, and what KaTeX made of it."""

    def __init__(self) -> None:
        self.formulas: list[tuple[str, bool]] = []  # LaTeX, and whether it is displayed
        self.numbers: dict[tuple[str, bool], int] = {}
        self.html: list[str] = []
        self.stray: list[str] = []
        self.page = ""  # the one that is being made

    def hold(self, text: str) -> str:
        """`text` with a word in place of each formula; equal formulas share a word."""

        def replace(match: re.Match[str]) -> str:
            if match["code"]:
                return match[0]
            if match["literal"]:
                return "&#36;"
            if match["stray"]:
                near = text[max(0, match.start() - 30) : match.end() + 30].replace("\n", " ")
                self.stray.append(f"a dollar without its formula, in {self.page} (a dollar is written \\$): …{near}…")
                return match[0]
            formula = (match["display"] or match["inline"], match["display"] is not None)
            return f"MATHHOLD{self.number(formula)}X"

        return TOKEN.sub(replace, text)

    def number(self, formula: tuple[str, bool]) -> int:
        if formula not in self.numbers:
            self.numbers[formula] = len(self.formulas)
            self.formulas.append(formula)
        return self.numbers[formula]

    def render(self) -> dict[int, str]:
        """Render every formula held so far; return the message for each that KaTeX refuses."""
        lines = [
            json.dumps({"tex": tagged(tex) if display else tex, "display": display}) + "\n"
            for tex, display in self.formulas
        ]
        node = subprocess.run(
            [program("node"), HERE / "katex.mjs"],
            input="".join(lines),
            capture_output=True,
            encoding="utf8",
            check=True,
        )
        answers = [json.loads(line) for line in node.stdout.split("\n")[:-1]]
        self.html = [
            labelled(answer.get("html", ""), tex) for answer, (tex, _) in zip(answers, self.formulas, strict=True)
        ]
        return {n: answer["error"] for n, answer in enumerate(answers) if "error" in answer}

    def source(self, n: int) -> str:
        """The LaTeX of formula `n`, with its dollars."""
        tex, display = self.formulas[n]
        return f"$${tex}$$" if display else f"${tex}$"

    def restore(self, page: str) -> str:
        """`page` with every held formula as HTML and MathML."""

        def glued(match: re.Match[str]) -> str:
            before, n, after = match.groups()
            rendered = self.html[int(n)]
            if self.formulas[int(n)][1]:
                return before + rendered + after
            whole = rendered if width(rendered) <= SHORT else breakable(rendered)
            return f"<span class=glued>{before}{whole}{after}</span>"

        page = GLUED.sub(glued, page)
        return HELD_IN_ANCHOR.sub(lambda match: re.sub(r"\W+", "", self.source(int(match[1]))).lower(), page)

    def plain(self, page: str) -> str:
        """`page` with every held formula as a line of text, to be searched and read in a list of hits."""
        return HELD.sub(lambda match: html.escape(plain_text(self.html[int(match[1])])), page)


def tagged(tex: str) -> str:
    """A displayed formula with its labels as tags."""
    aligned = ALIGNED.fullmatch(tex)
    if aligned and LABEL.search(tex):
        return r"\begin{align*}" + LABEL.sub(r" \\tag{\1}", aligned[1]) + r"\end{align*}"
    return LAST_LABEL.sub(r"\2 \\tag{\1}", tex)


def labelled(rendered: str, tex: str) -> str:
    """What KaTeX rendered, with the labels of aligned lines in its MathML too, where KaTeX leaves their cells empty."""
    for label in LABEL.findall(tex):
        rendered = re.sub(r'(<mtd class ?="mml-eqn-num">)(?=</mtd>)', rf"\1<mtext>({label})</mtext>", rendered, count=1)
    return rendered


def width(rendered: str) -> int:
    """About how many characters wide a formula, or a part of one, is."""
    visible = rendered.partition("</math></span>")[2] or rendered
    return len(html.unescape(re.sub(r"<[^>]*>|[\s\u200b]", "", visible)))


def breakable(rendered: str) -> str:
    """An inline formula with a place to break after each relation and sum, but not within a short pair of brackets."""
    start, *pieces = rendered.removesuffix("</span></span>").split('<span class="base">')
    groups, depth = [], 0
    for piece in pieces:
        if depth <= 0:
            groups, depth = [*groups, []], 0
        groups[-1].append(f'<span class="base">{piece}')
        depth += piece.count('class="mopen') - piece.count('class="mclose')
    parts = [("" if width("".join(group)) <= SHORT else "<wbr>").join(group) for group in groups]
    return f"{start}{'<wbr>'.join(parts)}</span></span>"


def plain_text(rendered: str) -> str:
    """The formula that KaTeX rendered, on one line of text: `e^x/(1 + e^x)`."""
    if "<math" not in rendered:
        return ""  # KaTeX refused it
    start, end = rendered.index("<math"), rendered.index("</math>") + len("</math>")
    return " ".join(linear(ElementTree.fromstring(rendered[start:end])).split())


def linear(node: ElementTree.Element) -> str:
    """One element of MathML as text; whatever has more than one part is put in parentheses where it is a part."""
    parts = [linear(child) for child in node]
    grouped = [part if len(part.strip()) < 2 or part.isalnum() else f"({part.strip()})" for part in parts]
    space = " " if parts and parts[0].strip() in {"∑", "∏", "∫"} else ""
    match node.tag.rpartition("}")[2], grouped:
        case "annotation", _:
            return ""
        case "mo", _ if (node.text or "") in "=≠<>≤≥≈≡∼∝∈+−→←⇒⟹⟺↦:":
            return f" {node.text or ''} "
        case "mspace" | "mtd" | "mtr", _:
            return "".join(parts) + " "
        case "mfrac", [above, below]:
            return f"{above}/{below}"
        case "msqrt", _:
            return f"√({''.join(parts)})"
        case "mover" | "munder", _ if node.get("accent") == "true":
            return "".join(parts)
        case "msub" | "munder", [base, low]:
            return f"{base}_{low}{space}"
        case "msup" | "mover", [base, high]:
            return f"{base}^{high}{space}"
        case "msubsup" | "munderover", [base, low, high]:
            return f"{base}_{low}^{high}{space}"
        case _:
            return (node.text or "") + "".join(parts)


def program(name: str) -> str:
    """The path of `node` or `npm`."""
    found = shutil.which(name)
    if found is None:
        raise SystemExit(
            f"The site's mathematics is rendered by KaTeX on Node.js: {name} was not found. "
            "Install Node.js 18 or later with npm and run the build again."
        )
    return found


def install_katex() -> Path:
    """The folder of KaTeX's style sheet and fonts, installed by the lock file if missing or of another version."""

    def version(file: Path, *keys: str) -> str | None:
        if not file.is_file():
            return None
        found = json.loads(file.read_text("utf8"))
        for key in keys:
            found = found[key]
        return found

    program("node")
    wanted = version(HERE / "package-lock.json", "packages", "node_modules/katex", "version")
    if version(NODE_MODULES / "katex" / "package.json", "version") != wanted:
        npm = subprocess.run(
            [program("npm"), "ci", "--no-audit", "--no-fund"],
            cwd=HERE,
            capture_output=True,
            encoding="utf8",
            check=False,
        )
        if npm.returncode:
            raise SystemExit(f"npm could not install KaTeX {wanted} in {HERE}:\n{npm.stderr.strip()}")
    return NODE_MODULES / "katex" / "dist"


def copy_katex(out: Path) -> None:
    """Copy the style sheet and the fonts that every present browser reads, and drop the other formats' addresses."""
    dist = install_katex()
    (out / "fonts").mkdir(parents=True)
    css = (dist / "katex.min.css").read_text("utf8")
    (out / "katex.min.css").write_text(re.sub(r',url\([^)]*\.(?:woff|ttf)\) format\("\w+"\)', "", css), "utf8")
    for font in (dist / "fonts").glob("*.woff2"):
        shutil.copy(font, out / "fonts")
