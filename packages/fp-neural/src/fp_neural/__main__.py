"""
The command: a network trained on any text, judged beside counting on a part of it that was held out, and a sample.

    python -m fp_neural FILE --model lstm --steps 3000 --generate 300
"""

import argparse
import dataclasses
import json
import sys
from typing import Any

import numpy as np

from fp_markov._command import answer
from fp_markov._files import check_replaceable, read_text, replacing
from fp_markov.experiment import split
from fp_markov.sampling import draw
from fp_neural.experiment import Settings, Trial, run

MODELS = ("mlp", "rnn", "lstm")
HELP = {
    "context": "tokens that the mlp looks back",
    "dim": "numbers in an embedding",
    "hidden": "numbers in a hidden layer",
    "layers": "recurrent layers",
    "dropout": "share dropped in training",
    "steps": "gradient steps",
    "batch_size": "contexts (mlp) or rows of text (rnn, lstm) in a batch",
    "length": "tokens of a row in a batch (rnn, lstm)",
    "rate": "rate of the first steps",
    "falling": "share of the steps, at the end, in which the rate falls to zero",
    "max_norm": "length that gradients are clipped to",
    "seed": "of all randomness",
}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fp_neural",
        description="Train a network on the characters of a text, score its held-out end, and write a sample.",
    )
    parser.add_argument(
        "file", metavar="FILE", help="the text, in UTF-8: a file, a folder of .txt files, or - for standard input"
    )
    defaults = Settings()
    parser.add_argument("--model", choices=MODELS, default=defaults.model, help=f"({defaults.model})")
    for name, text in HELP.items():
        default = getattr(defaults, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), default=default, metavar="N", help=f"{text} ({default})"
        )
    parser.add_argument("--normalize", action="store_true", help="batch-normalize the mlp's hidden layer")
    parser.add_argument("--lines", action="store_true", help="each line is a text of its own, such as a name")
    parser.add_argument(
        "--held-out", type=float, default=0.1, metavar="SHARE", help="share of the text, at its end, to hold out (0.1)"
    )
    parser.add_argument("--every", type=int, default=1000, metavar="N", help="steps between two reports (1000)")
    parser.add_argument("--order", type=int, default=5, help="tokens of an n-gram of the model to compare with (5)")
    writing = parser.add_argument_group("writing")
    writing.add_argument("--generate", type=int, default=300, metavar="N", help="characters to write (300)")
    writing.add_argument("--prompt", default="", metavar="TEXT", help="text to go on from")
    writing.add_argument("--temperature", type=float, default=1.0, help="0 is greedy (1)")
    writing.add_argument("--top-k", type=int, help="draw from so many tokens (all)")
    writing.add_argument("--top-p", type=float, help="draw from so much probability (1)")
    writing.add_argument("--min-p", type=float, help="draw from tokens at least this share as likely as the likeliest")
    parser.add_argument(
        "--save", metavar="PATH", help="write the parameters, PATH.vocabulary.json and PATH.settings.json"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    options = arguments().parse_args(argv)
    return answer("fp_neural", lambda: work(options))


def work(options: argparse.Namespace) -> None:
    """Train, keep, score, write."""
    check(options)
    training, rest = split(read_text(options.file), options.held_out)
    fields = [f.name for f in dataclasses.fields(Settings)]
    settings = Settings(**{name: getattr(options, name) for name in fields})
    if options.order > len(training):
        raise ValueError(f"--order is at most {len(training)} for this text, got {options.order}")
    with np.errstate(over="ignore", invalid="ignore"):  # training stops where numbers are no longer finite
        trial = run(
            training, rest, settings, lines=options.lines, every=options.every,
            watch=lambda n, loss: print(f"{n:>7,} steps: {loss:.4f} nats per character held out", flush=True),
        )  # fmt: skip
    keep(trial, settings, options)
    report(trial, options)
    sample(trial, options)


def check(options: argparse.Namespace) -> None:
    """Refuse, before any work, what would fail after it."""
    counts = ("steps", "every", "order", "batch-size", "length", "layers", "context", "dim", "hidden", "top-k")
    for name, least in (("generate", 0), ("seed", 0), *((name, 1) for name in counts)):
        value = getattr(options, name.replace("-", "_"))
        if value is not None and value < least:
            raise ValueError(f"--{name} must be {least} or more, got {value}")
    draw(np.zeros(1), np.random.default_rng(0), **(_how(options) | {"top_k": None}))
    for path in _paths(options.save) if options.save else ():
        check_replaceable(path)


def _paths(path: str) -> tuple[str, str, str]:
    """Where the parameters, the vocabulary and the settings go."""
    return path, f"{path}.vocabulary.json", f"{path}.settings.json"


def _how(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("temperature", "top_k", "top_p", "min_p")}


def report(trial: Trial, options: argparse.Namespace) -> None:
    """Print what was learned and what it is worth, beside counting."""
    print(f"{options.model}: {trial.model.n_parameters:,} parameters, {trial.seconds:.0f} s of training")
    counted = float(trial.against([options.order])[options.order].mean())
    counts = f"{len(trial.losses):,} characters{' and line ends' * options.lines}"
    print(
        f"held out: {counts}, {trial.loss:.4f} nats each; an n-gram model of order "
        f"{options.order} (modified Kneser-Ney): {counted:.4f}"
    )


def sample(trial: Trial, options: argparse.Namespace) -> None:
    """Print some text of the model's own: what follows the prompt, or begins a line."""
    vocabulary, model = trial.vocabulary, trial.model
    begin = "\n" if "\n" in vocabulary.tokens else ""  # of a line
    prompt = vocabulary.encode(options.prompt or begin).tolist()
    context = prompt if vocabulary.bos is None else [vocabulary.bos, *prompt]
    rng = np.random.default_rng(options.seed)
    exclude = [] if vocabulary.unk is None else [vocabulary.unk]  # a reader would take it for text
    how = _how(options) | {"top_k": options.top_k and min(options.top_k, len(vocabulary))}
    written: list[int] = []
    while len(written) < options.generate:
        left = options.generate - len(written)
        written += model.generate(context, left, rng, stop=vocabulary.eos, exclude=exclude, **how).tolist()
        context = context if vocabulary.bos is None else [vocabulary.bos]
    if written:
        print(f"\n{options.prompt}{vocabulary.decode(written)}")


def keep(trial: Trial, settings: Settings, options: argparse.Namespace) -> None:
    """Write the files that were asked for: `build(settings, vocabulary, rng).load(path)` is the model again."""
    if options.save:
        parameters, vocabulary, about = _paths(options.save)
        trial.model.save(parameters)
        trial.vocabulary.save(vocabulary)
        with replacing(about) as file:
            file.write(json.dumps(dataclasses.asdict(settings)).encode())
        print(f"saved to {parameters}, {vocabulary} and {about}")


if __name__ == "__main__":
    sys.exit(main())
