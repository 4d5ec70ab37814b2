"""Mirrors src/fp_tokenize/__init__.py."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import fp_tokenize


def test_every_name_on_the_map_exists():
    for name in {*fp_tokenize.__all__, *fp_tokenize._SECTION_OF}:
        assert name in dir(fp_tokenize)
        assert getattr(fp_tokenize, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'WordTokenizer'"):
        _ = fp_tokenize.WordTokenizer


def test_importing_the_package_loads_nothing_else():
    program = "import sys; before = set(sys.modules); import fp_tokenize; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names] == ["fp_tokenize"]


def test_the_installed_version_is_the_one_in_the_source():
    assert version("fp-tokenize") == fp_tokenize.__version__
