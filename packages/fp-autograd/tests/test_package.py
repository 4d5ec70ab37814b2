"""Mirrors src/fp_autograd/__init__.py."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import fp_autograd


def test_every_name_on_the_map_exists():
    for name in {*fp_autograd.__all__, *fp_autograd._SECTION_OF}:
        assert name in dir(fp_autograd)
        assert getattr(fp_autograd, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'derivative'"):
        _ = fp_autograd.derivative


def test_importing_the_package_loads_nothing_else():
    program = "import sys; before = set(sys.modules); import fp_autograd; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names] == ["fp_autograd"]


def test_the_installed_version_is_the_one_in_the_source():
    assert version("fp-autograd") == fp_autograd.__version__
