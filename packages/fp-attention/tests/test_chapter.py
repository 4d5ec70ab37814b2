"""What can be tested of a chapter that is not written yet: that it installs and that importing it costs nothing."""

import subprocess
import sys
from importlib.metadata import version

import fp_attention


def test_importing_the_package_loads_nothing_else():
    program = "import sys; before = set(sys.modules); import fp_attention; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names] == ["fp_attention"]


def test_the_installed_version_is_the_one_in_the_source():
    assert version("fp-attention") == fp_attention.__version__
