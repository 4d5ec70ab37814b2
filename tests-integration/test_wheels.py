"""What people install: a wheel holds its package and nothing else, and brings its ancestors and nothing else."""

import email
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from fp_workbook import layering

ROOT = Path(__file__).parents[1]
STAGES = layering.read_stages(ROOT)

pytestmark = pytest.mark.slow


def run(*command, cwd=None):
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """A folder with the wheel of every stage."""
    folder = tmp_path_factory.mktemp("wheels")
    for stage in STAGES.values():
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=stage.folder)
    return folder


def read_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def requirements(wheel):
    """What the wheel requires, extras left out."""
    every = map(Requirement, read_metadata(wheel).get_all("Requires-Dist", []))
    return {requirement for requirement in every if "extra" not in str(requirement.marker)}


@pytest.mark.parametrize("name", layering.STAGES)
def test_a_wheel_holds_its_package_and_what_goes_with_it(wheels, name):
    module, stage = name.replace("-", "_"), STAGES[name]
    (wheel,) = wheels.glob(f"{module}-*.whl")
    version = wheel.name.split("-")[1]
    assert f'\n__version__ = "{version}"\n' in (stage.folder / "src" / module / "__init__.py").read_text("utf8")

    metadata = read_metadata(wheel)
    assert (metadata["Name"], metadata["Version"], metadata["License-Expression"]) == (name, version, "MIT")
    assert metadata["Requires-Python"] == ">=3.11"
    assert {requirement.name for requirement in requirements(wheel)} == stage.required
    for requirement in requirements(wheel):
        assert requirement.specifier, f"{name} requires {requirement.name} of any version"
        if requirement.name in STAGES:
            (parent,) = wheels.glob(f"{requirement.name.replace('-', '_')}-*.whl")
            assert requirement.specifier.contains(parent.name.split("-")[1]), f"{name} refuses {parent.name}"

    info = f"{module}-{version}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert {f"{module}/py.typed", f"{info}/licenses/LICENSE"} <= held
    assert {path.split("/")[0] for path in held} == {module, info}, "tests, benchmarks and the like stay at home"
    sources = stage.folder / "src"
    assert {file.relative_to(sources).as_posix() for file in sources.glob("**/*.py")} <= held


@pytest.fixture(scope="session")
def pip(tmp_path_factory):
    """The pip of a new environment; `pip --python` serves environments that have none."""
    pytest.importorskip("ensurepip", reason="this Python comes without pip")
    home = tmp_path_factory.mktemp("pip")
    venv.create(home, with_pip=True)
    return [python_of(home), "-m", "pip", "--disable-pip-version-check"]


def python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@pytest.mark.parametrize("name", ["fp-tokenize", "fp-attention"])
def test_installing_one_wheel_into_an_empty_environment_brings_its_ancestors_and_nothing_else(
    wheels, pip, tmp_path, name
):
    family = {name} | layering.ancestors(STAGES, name)
    # libraries of others come from the index, ours from the folder and from nowhere else
    libraries = {
        str(requirement)
        for member in family
        for wheel in wheels.glob(f"{member.replace('-', '_')}-*.whl")
        for requirement in requirements(wheel)
        if requirement.name not in STAGES
    }
    run(*pip, "download", "--quiet", "--only-binary", ":all:", "--dest", wheels, *sorted(libraries))

    venv.create(tmp_path / "empty", with_pip=False)
    python = python_of(tmp_path / "empty")
    run(*pip, "--isolated", "--python", python, "install", "--no-index", "--find-links", wheels, name)

    listing = "import importlib.metadata as m; print(*(d.metadata['Name'] for d in m.distributions()))"
    installed = run(python, "-I", "-c", listing).split()
    assert {one for one in installed if one.startswith("fp-")} == family

    module = name.replace("-", "_")
    program = f"""if True:
        import importlib, pkgutil, {module}
        for section in pkgutil.walk_packages({module}.__path__, "{module}."):
            if not section.name.endswith("__main__"):
                importlib.import_module(section.name)
        print({module}.__file__)
    """
    imported = Path(run(python, "-I", "-c", program).strip())
    assert (tmp_path / "empty").resolve() in imported.resolve().parents
