"""
Hatch environment collector: what a table in hatch.toml cannot say.

Pythons that this machine lacks are left out (hatch would download them); `python = ["newest"]` becomes the newest that
is present; and `package = ["each"]` becomes one environment a package, which holds that package, its declared
ancestors, and of ours nothing else but the grader, which proves itself on their exercises.
"""

import pathlib
import re
import tomllib

import python_discovery
from hatch.env.collectors.plugin.interface import EnvironmentCollectorInterface

PYTHONS = ["3.14", "3.13", "3.12", "3.11"]


class Matrix(EnvironmentCollectorInterface):
    def finalize_config(self, config):
        needs = {}
        for file in sorted(pathlib.Path(self.root).glob("packages/*/pyproject.toml")):
            declared = tomllib.loads(file.read_text("utf8"))["project"]["dependencies"]
            needs[file.parent.name] = [re.match(r"[\w-]+", d)[0] for d in declared if d.startswith("fp-")]

        def closure(name):
            return {name}.union(*map(closure, needs[name]))

        self.closures = {name: sorted(closure(name)) for name in needs}
        present = [version for version in PYTHONS if python_discovery.get_interpreter(version, ())]
        rows = config["hatch-test"]["matrix"]
        for row in rows:
            row["python"] = present[:1] if row["python"] == ["newest"] else [v for v in row["python"] if v in present]
            if row.get("package") == ["each"]:
                row["package"] = [*needs]
        config["hatch-test"]["matrix"] = [row for row in rows if row["python"]]

    def finalize_environments(self, config):
        for name, env in config.items():
            for package, members in self.closures.items():
                if name.startswith("hatch-test.") and name.endswith("-" + package):
                    # the grader is there too, and proves itself on the exercises of these packages
                    env["workspace"] = {"members": [*(f"packages/{m}" for m in members), "tools"]}
                    env["extra-dependencies"] = []
                    env["default-args"] = [
                        f"packages/{package}/tests",
                        "tools/tests/test_exercises.py",
                        f"packages/{package}/src",
                    ]
