"""
The learner's files: `./exercises/<stage>/eNN_name.py`, and what has been reached.

Nothing the learner wrote is ever overwritten or removed. A file that is in the way stays; a reset moves it aside under
a number. What has been reached is kept in `./exercises/.progress.json`: what passed, how many hints were given.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from fp_workbook.exercises import Exercise

__all__ = ["Workspace"]


class Workspace:
    """The folder that holds a learner's files."""

    def __init__(self, folder: Path | str = "exercises") -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"{self.folder} is a file, where the folder of your exercises goes; move it away")

    def path(self, exercise: Exercise) -> Path:
        """Where the learner's file for an exercise is."""
        return self.folder / exercise.stage / exercise.file_name

    def start(self, exercise: Exercise) -> bool:
        """Write the stub; False, and nothing is changed, if the file is there already."""
        path = self.path(exercise)
        if path.exists():
            return False
        write(path, exercise.stub())
        return True

    def reset(self, exercise: Exercise) -> Path | None:
        """Write the stub anew; where the old file is kept, None if there was none."""
        path = self.path(exercise)
        kept = None
        if path.exists():
            numbers = [
                int(m[1]) for p in path.parent.iterdir() if (m := re.fullmatch(rf"{path.stem}\.(\d+)\.py", p.name))
            ]
            kept = path.with_name(f"{path.stem}.{max(numbers, default=0) + 1}.py")
            path.rename(kept)
        self.start(exercise)
        progress = self._progress()
        progress["hints"].pop(exercise.id, None)
        self._write(progress, exercise, passed=False)
        return kept

    def state(self, exercise: Exercise) -> str:
        """`"passed"`, `"started"`, or `"not started"`: there is no file, or still the stub."""
        path = self.path(exercise)
        if not path.exists():
            return "not started"
        if exercise.id in self._progress()["passed"]:
            return "passed"
        return "not started" if path.read_bytes() == exercise.stub().encode() else "started"

    def record(self, exercise: Exercise, passed: bool) -> None:
        """Remember what came of the last check."""
        progress = self._progress()
        if passed != (exercise.id in progress["passed"]):
            self._write(progress, exercise, passed)

    def next_hint(self, exercise: Exercise) -> int:
        """How many hints have been given, with one more now; at most as many as there are."""
        progress = self._progress()
        given = min(progress["hints"].get(exercise.id, 0) + 1, len(exercise.hints))
        progress["hints"][exercise.id] = given
        self._write(progress, exercise, exercise.id in progress["passed"])
        return given

    def hints_given(self, exercise: Exercise) -> int:
        """How many hints have been given."""
        return int(self._progress()["hints"].get(exercise.id, 0))

    def _progress(self) -> dict[str, Any]:
        file = self.folder / ".progress.json"
        try:
            found = json.loads(file.read_text("utf8"))
        except FileNotFoundError:
            return {"passed": [], "hints": {}}
        except ValueError:
            found = None
        match found:
            case {"passed": list(passed), "hints": dict(hints)} if all(
                type(n) is int and n >= 0 for n in hints.values()
            ):
                return {"passed": [str(id) for id in passed], "hints": hints}
        raise ValueError(f"{file} is damaged. Move it away: your exercises stay, and fp check finds out what passes")

    def _write(self, progress: dict[str, Any], exercise: Exercise, passed: bool) -> None:
        others = [id for id in progress["passed"] if id != exercise.id]
        progress["passed"] = sorted([*others, exercise.id] if passed else others)
        write(self.folder / ".progress.json", json.dumps(progress, indent=1, sort_keys=True) + "\n")


def write(path: Path, text: str) -> None:
    """Write a file, and the folders above it, whole or not at all; an error names that file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
