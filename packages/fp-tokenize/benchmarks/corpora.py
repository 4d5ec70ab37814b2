r"""
Texts for measuring tokenizers, built from Debian's packages.

    python packages/fp-tokenize/benchmarks/corpora.py FOLDER

Needs Debian's `apt-get` and `dpkg-deb` with package lists in place (`apt-get update`). The packages are downloaded once
and kept in FOLDER/cache. What is written, each file in UTF-8:

| file | what it holds |
|---|---|
| `prose.txt` | ten megabytes of English prose: the King James Bible, Debian's handbooks, *An Anarchist FAQ* |
| `code.txt` | five megabytes of Python's standard library |
| `random.txt` | two megabytes of words of random letters |
| `chinese.txt` | Debian's Chinese manual pages |
| `languages/XX.txt` | manual pages of one language; Korean: Debian's installation guide; Arabic, Persian: `parallel` |
| `parallel/XX.txt` | Debian's handbook: line n has one content in all languages |
| `messages/XX.txt` | GTK's messages: the same, in more languages |

`manifest.json` names the packages with their versions and each file's bytes, characters and sha256. The same packages
and the same Python give the same bytes.
"""

import argparse
import gettext
import gzip
import hashlib
import html.parser
import json
import pathlib
import platform
import random
import re
import string
import subprocess
import sysconfig
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator

PROSE, CODE, RANDOM, PAGES = 10_000_000, 5_000_000, 2_000_000, 4_000_000  # bytes
BOOKS = ["debian-handbook", "debian-policy", "debian-reference-en", "developers-reference", "anarchism"]
PAGES_IN = ["de", "es", "fr", "it", "ja", "pl", "ru", "tr", "uk"]
MANUALS = {  # language of the file: package and the folder of its pages
    "en": ("manpages", "man"),
    **{language: (f"manpages-{language}", f"man/{language}") for language in PAGES_IN},
    "pt": ("manpages-pt-br", "man/pt_BR"),
    "zh": ("manpages-zh", "man/zh_CN"),
}
MESSAGES = ["ar", "de", "el", "es", "fa", "fi", "fr", "he", "hi", "ja", "ka", "ko", "pl", "ru", "ta", "te", "th", "tr",
            "uk", "vi", "zh_CN"]  # fmt: skip
BLOCKS = ("p", "li", "dd", "dt", "blockquote", "h1", "h2", "h3", "h4", "td", "div")
ROFF_SPECIAL = {"(aq": "'", "(dq": '"', "(cq": "’", "(oq": "‘", "(lq": "“", "(rq": "”", "(em": "—", "(en": "–",
                "(bu": "•", "(co": "©", "(ha": "^", "(ti": "~", "(rs": "\\",
                "e": "\\", "-": "-", "&": "", " ": " "}  # fmt: skip


def unpack(cache: pathlib.Path, package: str) -> pathlib.Path:
    """The folder of a package's files; downloaded and unpacked the first time."""
    folder = cache / package
    if not folder.exists():
        download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package]
        subprocess.run(download, cwd=cache, check=True)
        [archive] = cache.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
    return folder / "usr"


def versions(cache: pathlib.Path) -> dict[str, str]:
    """Package names and versions, as the archives' names give them."""
    return {name: version for name, version, _ in sorted(path.stem.split("_") for path in cache.glob("*.deb"))}


class Paragraphs(html.parser.HTMLParser):
    """The text of a page's blocks, in order; what stands in `pre`, `script` and `style` is left out."""

    def __init__(self, wanted: Iterable[str] = BLOCKS):
        super().__init__()
        self.wanted, self.found, self.hidden = frozenset(wanted), [""], 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in ("pre", "script", "style", "head")
        if tag in self.wanted:
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("pre", "script", "style", "head")
        if tag in self.wanted:
            self.found.append("")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.found[-1] += data


def paragraphs(path: pathlib.Path) -> list[str]:
    """The blocks of an HTML page, white space made single spaces."""
    parser = Paragraphs()
    parser.feed(path.read_text("utf8", errors="replace"))
    parser.close()
    return [line for block in parser.found if (line := " ".join(block.split()))]


def prose_lines(cache: pathlib.Path) -> Iterator[str]:
    """The King James Bible a verse a line, then the longer paragraphs of each book."""
    program, data = unpack(cache, "bible-kjv") / "bin/bible", unpack(cache, "bible-kjv-text") / "lib"
    command: list[str | pathlib.Path] = [program, "-f", "-l9999", "-p", data, "gen1:1-rev22:21"]
    verses = subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    for line in verses.splitlines():
        yield re.sub(r"^\w+:\d+ ", "", line.strip())
    for package in BOOKS:
        pages = sorted((path for path in unpack(cache, package).rglob("*.html") if path.is_file()), key=str)
        for page in pages:
            if package != "debian-handbook" or "en-US" in page.parts:
                yield from (line for line in paragraphs(page) if len(line) >= 80)


def roff_text(source: str) -> str:
    """The running text of a manual page: requests dropped, what a font request sets kept, escapes undone."""
    lines = []
    for line in source.splitlines():
        if line.startswith((".", "'")):
            if not (match := re.match(r"[.']\s*(?:SH|SS|B|I|BR|RB|IR|RI|BI|IB|IP|SM|Sh|Ss)\s+(.*)", line)):
                continue
            line = match[1].replace('"', "")
        line = re.sub(r'\\".*', "", line)
        line = re.sub(r"\\f(?:\[\w*\]|\(\w\w|\w)|\\s[-+]?\d|\\[|^/,%:]", "", line)
        line = re.sub(r"\\\[u([0-9A-F]{4,6})\]", lambda m: chr(int(m[1], 16)), line)
        line = re.sub(r"\\(\(..|[-e& ])", lambda m: ROFF_SPECIAL.get(m[1], ""), line)
        lines.append(re.sub(r"\\\[(\w\w)\]", lambda m: ROFF_SPECIAL.get(f"({m[1]}", ""), line))
    return "\n".join(lines)


def manual(cache: pathlib.Path, package: str, folder: str) -> Iterator[str]:
    """The lines of a language's manual pages that hold more than a name, each once."""
    seen: set[str] = set()
    for page in sorted((unpack(cache, package) / "share" / folder).glob("man*/*.gz"), key=str):
        if not page.is_symlink():
            for line in roff_text(gzip.decompress(page.read_bytes()).decode("utf8", errors="replace")).splitlines():
                if len(line) >= 20 and line not in seen:
                    seen.add(line)
                    yield line


def left_english(line: str, english: str) -> bool:
    """Whether most words of the English paragraph stand in a translation: nobody has translated it."""
    words = Counter(english.split())
    return (words & Counter(line.split())).total() > 0.6 * words.total()


def handbook(cache: pathlib.Path) -> dict[str, list[str]]:
    """Debian's handbook in the languages that have half of it: the paragraphs that all of them have translated."""
    root = unpack(cache, "debian-handbook") / "share/doc/debian-handbook/html"
    english = {page.name: paragraphs(page) for page in sorted((root / "en-US").glob("*.html"))}
    del english["index.html"]  # a table of contents
    places = [(name, i) for name, lines in english.items() for i, line in enumerate(lines) if len(line) >= 80]
    texts: dict[str, dict[tuple[str, int], str]] = {"en": {place: english[place[0]][place[1]] for place in places}}
    for folder in sorted(root.iterdir()):
        pages = {name: paragraphs(path) for name in english if (path := folder / name).exists()}
        aligned = {name for name, lines in pages.items() if len(lines) == len(english[name])}
        here = {(name, i): pages[name][i] for name, i in places if name in aligned}
        here = {place: line for place, line in here.items() if not left_english(line, texts["en"][place])}
        if len(here) > len(places) / 2:
            texts[folder.name[:2]] = here
    common = [place for place in places if all(place in text for text in texts.values())]
    return {name: [text[place] for place in common] for name, text in texts.items()}


def messages(cache: pathlib.Path) -> dict[str, list[str]]:
    """GTK's messages that are translated into all of some languages: short lines, but more scripts."""
    texts = {}
    for language in MESSAGES:
        path = unpack(cache, "libgtk-3-common") / f"share/locale/{language}/LC_MESSAGES/gtk30.mo"
        with path.open("rb") as file:
            catalog = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        texts[language[:2]] = {key: value for key, value in catalog.items() if isinstance(key, str) and value}
    common = sorted(set.intersection(*(set(text) for text in texts.values())) - {""})
    texts["en"] = {key: key.split("\x04")[-1] for key in common}  # what stands before is a note for translators
    return {name: [" ".join(text[key].split()) for key in common] for name, text in texts.items()}


def korean(cache: pathlib.Path) -> Iterator[str]:
    """Debian's installation guide: there are no manual pages in Korean."""
    pages = unpack(cache, "installation-guide-amd64") / "share/doc/installation-guide-amd64/ko"
    for page in sorted(pages.glob("*.html"), key=str):
        yield from (line for line in paragraphs(page) if len(line) >= 20)


def code() -> Iterator[str]:
    """The lines of the standard library's modules, its tests left out."""
    root = pathlib.Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py"), key=str):
        if not {"test", "tests", "site-packages", "dist-packages", "idlelib"} & set(path.relative_to(root).parts):
            yield from path.read_text("utf8", errors="ignore").splitlines()


def random_words(seed: int = 0) -> Iterator[str]:
    """Lines of twelve words of one to twelve random letters: nothing to remember from one word to the next."""
    rng = random.Random(seed)
    while True:
        yield " ".join("".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 12))) for _ in range(12))


def cut(lines: Iterable[str], size: int, *, once: bool = False) -> str:
    """Whole lines up to a size in bytes; empty lines are dropped, and repeated ones where `once`."""
    kept: list[str] = []
    seen: set[str] = set()
    for line in lines:
        if once and (not line.strip() or line in seen):
            continue
        seen.add(line)
        if (size := size - len(line.encode()) - 1) < 0:
            break
        kept.append(line)
    return "\n".join(kept) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    folder: pathlib.Path = parser.parse_args().folder
    cache = folder / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    texts = {"prose": cut(prose_lines(cache), PROSE, once=True), "code": cut(code(), CODE)}
    texts["random"] = cut(random_words(), RANDOM)
    for language, (package, pages) in MANUALS.items():
        texts[f"languages/{language}"] = cut(manual(cache, package, pages), PAGES, once=True)
    texts["chinese"] = texts["languages/zh"]
    texts["languages/ko"] = cut(korean(cache), PAGES, once=True)
    for name, translations in (("parallel", handbook(cache)), ("messages", messages(cache))):
        texts |= {f"{name}/{language}": "\n".join(lines) + "\n" for language, lines in translations.items()}
    for language in ("ar", "fa"):  # there are no manual pages in these either
        texts[f"languages/{language}"] = texts[f"parallel/{language}"]
    files: dict[str, dict[str, int | str]] = {}
    for name, text in texts.items():
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf8", newline="\n")
        data = path.read_bytes()
        files[path.relative_to(folder).as_posix()] = {
            "bytes": len(data), "characters": len(text), "sha256": hashlib.sha256(data).hexdigest()}  # fmt: skip
    manifest = {"python": platform.python_version(), "unicode": unicodedata.unidata_version,
                "packages": versions(cache), "files": files}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf8")
    for name, facts in files.items():
        print(
            f"{name:24} {facts['bytes']:>12,} bytes {facts['characters']:>12,} characters  {str(facts['sha256'])[:16]}"
        )


if __name__ == "__main__":
    main()
