"""The chapter as a whole: what importing it costs, and where its names are."""

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version

import pytest

import fp_peft


def test_importing_the_package_loads_none_of_its_sections():
    program = "import sys; before = set(sys.modules); import fp_peft; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names] == ["fp_peft"]


def test_every_name_of_the_table_is_the_one_of_its_section():
    for name, section in fp_peft._SECTION_OF.items():
        assert getattr(fp_peft, name) is getattr(import_module(f"fp_peft.{section}"), name)
        assert section in fp_peft.__all__ and name in dir(fp_peft)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fp_peft.nothing  # noqa: B018


def test_the_installed_version_is_the_one_in_the_source():
    assert version("fp-peft") == fp_peft.__version__
