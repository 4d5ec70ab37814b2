"""A stage stands on the stages before it and on nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from fp_workbook import layering

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "packages" / "fp-capstone" / "src"


def capstone_modules():
    for file in sorted(SOURCES.glob("fp_capstone/**/*.py")):
        *parents, name = file.relative_to(SOURCES).with_suffix("").parts
        if name != "__main__":  # importing it would run the command
            yield ".".join(parents if name == "__init__" else [*parents, name])


def test_every_import_is_declared_and_of_an_earlier_stage():
    assert list(layering.violations(ROOT)) == []


@pytest.mark.parametrize("module", list(capstone_modules()))
def test_no_part_of_the_capstone_loads_the_engine_of_stage_2(module):
    """Its backward passes are written by hand; that is only true if the other engine is not even there."""
    program = f"import sys, {module}; print('fp_autograd' in sys.modules, '{module}' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.split() == ["False", "True"], run.stderr
