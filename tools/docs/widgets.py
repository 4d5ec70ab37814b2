"""
The tools to play with: folders in `book/widgets/`, each a page `index.html` with its own scripts and styles.

A folder is copied to `widgets/NAME/` in the site. If it has a `build.py`, that is then run with the copy's path and
writes the data that the page reads; what it wrote is kept in the build's cache until the folder or the source of a
package changes. The part of the page's `<title>` before a ` · ` or a dash stands in the navigation.
"""

import hashlib
import html
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)
NOT_COPIED = shutil.ignore_patterns(
    "build.py", "*.test.*", "test", "tests", "node_modules", "__pycache__", ".*", "*.md"
)


class Widget(NamedTuple):
    """A tool and its place in the site."""

    name: str
    title: str
    folder: Path

    @property
    def page(self) -> str:
        return f"widgets/{self.name}/index.html"


def read(book: Path) -> tuple[list[Widget], list[str]]:
    """The tools, and one sentence for each folder that is none."""
    found, problems = [], []
    for folder in sorted(book.glob("widgets/[!_.]*/")):
        page = folder / "index.html"
        title = TITLE.search(page.read_text("utf8")) if page.is_file() else None
        if title:
            found.append(Widget(folder.name, re.split(r"\s[·–|-]\s", html.unescape(title[1]))[0].strip(), folder))
        elif any(folder.iterdir()):
            problems.append(f"book/widgets/{folder.name}: a tool has a page, index.html, with a <title>")
    return found, problems


def install_all(book: Path, site: Path, sources: list[Path], cache: Path) -> None:
    """Put every tool into the site, and the files beside their folders, which they share."""
    for widget in read(book)[0]:
        install(widget, site, sources, cache)
    for file in book.glob("widgets/*.*"):
        if file.is_file():
            shutil.copy(file, site / "widgets" / file.name)


def install(widget: Widget, site: Path, sources: Iterable[Path], cache: Path) -> None:
    """
    Copy a tool into the site and have its data written; `sources` are the `src` folders of the packages.

    Raises
    ------
    SystemExit
        If its `build.py` fails.
    """
    out = site / "widgets" / widget.name
    script = widget.folder / "build.py"
    if not script.is_file():
        shutil.copytree(widget.folder, out, ignore=NOT_COPIED)
        return
    sources = list(sources)
    kept = cache / f"widget.{widget.name}.{key(widget, sources)}"
    if not kept.is_dir():
        unfinished = kept.with_name(f"{kept.name}.{os.getpid()}")
        shutil.copytree(widget.folder, unfinished, ignore=NOT_COPIED)
        run = subprocess.run(
            [sys.executable, "-W", "error", script, unfinished],
            capture_output=True,
            encoding="utf8",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sources)), "PYTHONIOENCODING": "utf8"},
            check=False,
        )
        if run.returncode:
            shutil.rmtree(unfinished)
            raise SystemExit(f"The site was not built.\n  {script} failed:\n{run.stderr.strip()}")
        for stale in cache.glob(f"widget.{widget.name}.*"):
            if stale != unfinished:
                shutil.rmtree(stale, ignore_errors=True)
        unfinished.replace(kept)
    shutil.copytree(kept, out)


def key(widget: Widget, sources: list[Path]) -> str:
    """A hash of everything that the tool's data may depend on."""
    files = [path for folder in (widget.folder, *sources) for path in sorted(folder.rglob("*")) if path.is_file()]
    digest = hashlib.sha256(sys.version.encode())
    for path in [
        Path(__file__),
        *(path for path in files if "__pycache__" not in path.parts and path.suffix != ".pyc"),
    ]:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]
