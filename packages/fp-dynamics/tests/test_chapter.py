"""The chapter as a whole: what importing it costs, and where its names are."""

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version

import pytest

import fp_dynamics


def test_importing_the_package_loads_none_of_its_sections():
    program = "import sys; before = set(sys.modules); import fp_dynamics; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names] == ["fp_dynamics"]


def test_every_name_of_the_table_is_the_one_of_its_section():
    for name, section in fp_dynamics._SECTION_OF.items():
        assert getattr(fp_dynamics, name) is getattr(import_module(f"fp_dynamics.{section}"), name)
        assert section in fp_dynamics.__all__ and name in dir(fp_dynamics)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fp_dynamics.nothing  # noqa: B018


def test_the_installed_version_is_the_one_in_the_source():
    assert version("fp-dynamics") == fp_dynamics.__version__
