"""Mirrors src/fp_markov/__init__.py."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import fp_markov


def test_every_name_on_the_map_exists():
    for name in {*fp_markov.__all__, *fp_markov._SECTION_OF}:
        assert name in dir(fp_markov)
        assert getattr(fp_markov, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'markov_chain'"):
        _ = fp_markov.markov_chain


def test_importing_the_package_loads_nothing_else():
    program = "import sys; before = set(sys.modules); import fp_markov; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names] == ["fp_markov"]


def test_the_installed_version_is_the_one_in_the_source():
    assert version("fp-markov") == fp_markov.__version__
