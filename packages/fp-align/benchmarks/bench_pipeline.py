"""
Time, memory and results of every command, from pretraining to the table.

    python packages/fp-align/benchmarks/bench_pipeline.py FOLDER [--only pretrain pipeline …]

trains a model with `fp-capstone train`, runs `fp-align pipeline` on it, then each command by itself on the data that
the pipeline has written, and writes `bench_pipeline.json` beside this file. With --only it measures those again, in a
folder that holds what they start from, and leaves the rest of the file as it is.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np

PRETRAIN = [
    "--n-layers", "3", "--d-model", "96", "--context-length", "128", "--batch-size", "16", "--n-steps", "900",
    "--eval-every", "900", "--sample-every", "900", "--checkpoint-every", "900", "--dropout", "0",
]  # fmt: skip


def measured(module: str, arguments: list[str]) -> dict[str, float | str]:
    """Run a command in a process of its own; seconds, and the most memory that it has held."""
    program = f"import sys; from {module}.cli import main; sys.argv[0] = {module.replace('_', '-')!r}; main()"
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{module} {' '.join(arguments)} failed")
    seconds = time.perf_counter() - begun
    return {
        "command": f"{module.replace('_', '-')} {' '.join(arguments)}",
        "seconds": round(seconds, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "megabytes": round(usage.ru_maxrss / 1024),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+")
    options = parser.parse_args()
    folder, file = options.folder, Path(__file__).with_suffix(".json")
    commands = json.loads(file.read_text())["commands"] if options.only else {}
    run, made, single = folder / "run", folder / "aligned", folder / "single"
    todo = {"pretrain": ("fp_capstone", ["train", *PRETRAIN, "--run-dir", str(run)])}
    todo["pipeline"] = ("fp_align", ["pipeline", str(run), "--out", str(made)])
    pairs, prompts = ["--data", str(made / "preferences.jsonl")], ["--prompts", str(made / "prompts.jsonl")]
    sft = str(made / "sft")
    for name, arguments in (
        ("sft", ["sft", str(run), "--data", str(made / "demonstrations.jsonl")]),
        ("reward", ["reward", sft, *pairs]),
        ("dpo", ["dpo", sft, *pairs]),
        ("ppo", ["ppo", sft, "--reward", str(made / "reward"), *prompts]),
    ):
        todo[name] = ("fp_align", [*arguments, "--out", str(single / name)])
    policies = [str(made / name) for name in ("sft", "dpo", "ppo")]
    compared = ["--reference", sft, *prompts, "--reward", str(made / "reward")]
    todo["evaluate"] = ("fp_align", ["evaluate", *policies, *compared])
    for name, (module, arguments) in todo.items():
        if options.only is None or name in options.only:
            commands[name] = measured(module, arguments)
            commands[name]["command"] = str(commands[name]["command"]).replace(str(folder), "FOLDER")
    report = json.loads((made / "report.json").read_text())
    python = f"Python {platform.python_version()}, NumPy {np.__version__}"
    kept = ("text_sha256", "parameters", "settings", "seconds", "pairs", "reward_model", "rows")
    watched = [(i, told) for i, told in enumerate(report["ppo"]) if "gold" in told]
    found = {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {python}",
        "commands": commands,
        **{key: report[key] for key in kept},
        "ppo": [{"step": i} | {key: round(value, 4) for key, value in told.items()} for i, told in watched],
        "samples": report["samples"][:6],
    }
    file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
