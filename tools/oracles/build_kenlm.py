"""
Build KenLM's programs (`lmplz`, `build_binary`, `query`) from the sources that its Python package carries.

    python -m tools.oracles.build_kenlm

prints the path of `lmplz`; the other programs lie beside it. What is there already is not built again. The folder is
~/.cache/fp-oracles/kenlm, or kenlm under $FP_ORACLES.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "0.3.0"
PROGRAMS = ("lmplz", "build_binary", "query")
DEBIAN = (
    "sudo apt-get install --no-install-recommends g++ make cmake libboost-program-options-dev libboost-system-dev "
    "libboost-thread-dev libboost-test-dev"
)


def folder() -> Path:
    """Where KenLM is built."""
    return Path(os.environ.get("FP_ORACLES", Path.home() / ".cache/fp-oracles")) / "kenlm"


def run(*command: object) -> None:
    """Run a program; what it printed is shown only if it fails."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{done.stdout}\nthis command failed: {' '.join(map(str, command))}\nKenLM needs, on Debian: {DEBIAN}"
        )


def build() -> Path:
    """The folder of the programs, built if they are not there."""
    programs = folder() / f"bin-{VERSION}"
    if all((programs / name).is_file() for name in PROGRAMS):
        return programs
    missing = [name for name in ("cmake", "make", "g++") if shutil.which(name) is None]
    if missing:
        raise RuntimeError(f"KenLM cannot be built without {', '.join(missing)}. On Debian: {DEBIAN}")
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder()) as name:
        work = Path(name)
        sources = ("--no-deps", "--no-binary", "kenlm", f"kenlm=={VERSION}")
        run(sys.executable, "-m", "pip", "download", "--quiet", "--dest", work, *sources)
        with tarfile.open(work / f"kenlm-{VERSION}.tar.gz") as archive:
            archive.extractall(work, filter="data")
        # CMake 4 no longer takes policies older than 3.5, which a part of the sources still asks for
        options = ("-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_POLICY_VERSION_MINIMUM=3.5")
        run("cmake", "-S", work / f"kenlm-{VERSION}", "-B", work / "build", *options)
        run("cmake", "--build", work / "build", "--parallel", os.cpu_count() or 1, "--target", *PROGRAMS)
        (work / "build/bin").replace(programs)
    return programs


def main() -> None:
    """Build, and say where."""
    try:
        print(build() / "lmplz")
    except RuntimeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
