"""
The command: a model of any text, judged on a part of it that was held out, and a sample.

    python -m fp_markov FILE --order 4 --smoothing modified_kneser_ney --generate 300
"""

import argparse
import math
import sys
from typing import Any

import numpy as np

from fp_markov import experiment
from fp_markov._command import answer
from fp_markov._files import check_replaceable, read_text
from fp_markov.information import perplexity
from fp_markov.ngram import SMOOTHINGS
from fp_markov.sampling import draw
from fp_markov.vocabulary import UNITS

TOKEN = {"characters": "character", "bytes": "byte", "words": "word"}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fp_markov",
        description="Count the n-grams of a text, score its held-out end, and write a sample.",
    )
    parser.add_argument(
        "file", metavar="FILE", help="the text, in UTF-8: a file, a folder of .txt files, or - for standard input"
    )
    parser.add_argument("--order", type=int, default=4, help="tokens of an n-gram (4)")
    parser.add_argument(
        "--smoothing",
        choices=SMOOTHINGS,
        default="modified_kneser_ney",
        metavar="NAME",
        help=f"one of {', '.join(SMOOTHINGS)} (modified_kneser_ney)",
    )
    parser.add_argument(
        "--units",
        choices=UNITS,
        default="characters",
        help="what a token is (characters); words come in sentences, one on each line",
    )
    parser.add_argument(
        "--held-out", type=float, default=0.1, metavar="SHARE", help="share of the text, at its end, to hold out (0.1)"
    )
    parser.add_argument("--min-count", type=int, default=1, metavar="N", help="rarer characters or words are <unk> (1)")
    parser.add_argument("--alpha", type=float, help="what additive smoothing adds (1)")
    parser.add_argument("--discount", type=float, help="of absolute_discounting and kneser_ney (estimated)")
    writing = parser.add_argument_group("writing")
    writing.add_argument("--generate", type=int, default=300, metavar="N", help="tokens to write (300)")
    writing.add_argument("--prompt", default="", metavar="TEXT", help="text to go on from")
    writing.add_argument("--temperature", type=float, default=1.0, help="0 is greedy (1)")
    writing.add_argument("--top-k", type=int, help="draw from so many tokens (all)")
    writing.add_argument("--top-p", type=float, help="draw from so much probability (1)")
    writing.add_argument("--min-p", type=float, help="draw from tokens at least this share as likely as the likeliest")
    writing.add_argument("--seed", type=int, default=0, help="of the sample (0)")
    keeping = parser.add_argument_group("keeping")
    keeping.add_argument("--save", metavar="PATH", help="write the model (NGramModel.load) and PATH.vocabulary.json")
    keeping.add_argument("--arpa", metavar="PATH", help="write the model as an ARPA file")
    return parser


def main(argv: list[str] | None = None) -> int:
    options = arguments().parse_args(argv)
    return answer("fp_markov", lambda: work(options))


def work(options: argparse.Namespace) -> None:
    """Count, score, keep, write."""
    settings = {name: value for name in ("alpha", "discount") if (value := getattr(options, name)) is not None}
    how = {name: getattr(options, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    check(options, how)
    trial = experiment.run(
        read_text(options.file),
        options.order,
        options.smoothing,
        units=options.units,
        held_out=options.held_out,
        min_count=options.min_count,
        **settings,
    )
    if options.top_k is not None and options.top_k > len(trial.vocabulary):
        raise ValueError(f"--top-k is at most {len(trial.vocabulary)} for this vocabulary, got {options.top_k}")
    report(trial, options)
    keep(trial, options)
    sample(trial, options, how)


def check(options: argparse.Namespace, how: dict[str, Any]) -> None:
    """Refuse, before any work, what would fail after it."""
    for name, least in (("generate", 0), ("seed", 0), ("top-k", 1)):
        value = getattr(options, name.replace("-", "_"))
        if value is not None and value < least:
            raise ValueError(f"--{name} must be {least} or more, got {value}")
    draw(np.zeros(1), np.random.default_rng(0), **(how | {"top_k": None}))
    for path in (options.save, options.save and vocabulary_path(options.save), options.arpa):
        if path:
            check_replaceable(path)


def report(trial: experiment.Trial, options: argparse.Namespace) -> None:
    """Print what was counted and what it is worth."""
    model, unit = trial.model, TOKEN[options.units]
    print(f"{options.smoothing} of order {model.order} over {len(trial.vocabulary):,} {options.units}")
    print(f"n-grams by length: {', '.join(f'{n:,}' for n in model.n_ngrams)}; {model.nbytes / 1e6:.1f} MB")
    line = f"held out: {len(trial.losses):,} {options.units}{' and line ends' * (options.units == 'words')}"
    if trial.n_unknown:
        line += f", {trial.n_unknown:,} of them unknown"
    print(line)
    if math.isinf(trial.loss):
        excluded = int(np.isinf(trial.losses).sum())
        print(f"perplexity infinite: the model excludes {excluded:,} of them. Smooth it.")
        return
    line = f"perplexity {perplexity(trial.loss):.3f} per {unit}: {trial.loss:.4f} nats"
    if options.units != "words" and not trial.n_unknown:
        line += f", {trial.bits_per_character:.4f} bits per character, {trial.bits_per_byte:.4f} bits per byte"
    print(line)


def sample(trial: experiment.Trial, options: argparse.Namespace, how: dict[str, Any]) -> None:
    """Print some text of the model's own: what follows the prompt, or begins a line."""
    vocabulary = trial.vocabulary
    prompt = vocabulary.encode(options.prompt or ("" if options.units == "words" else "\n")).tolist()
    context = prompt if vocabulary.bos is None else [vocabulary.bos, *prompt]
    rng = np.random.default_rng(options.seed)
    exclude = [] if vocabulary.unk is None else [vocabulary.unk]  # a reader would take it for text
    written: list[int] = []
    while len(written) < options.generate:
        left = options.generate - len(written)
        new = trial.model.generate(context, left, rng, stop=vocabulary.eos, exclude=exclude, **how)
        written += new.tolist()
        context = context if vocabulary.bos is None else [vocabulary.bos]  # a new sentence
    if written:
        print(
            f"\n{options.prompt}{' ' * bool(options.prompt and options.units == 'words')}{vocabulary.decode(written)}"
        )


def vocabulary_path(model_path: str) -> str:
    return f"{model_path}.vocabulary.json"


def keep(trial: experiment.Trial, options: argparse.Namespace) -> None:
    """Write the files that were asked for."""
    if options.save:
        trial.model.save(options.save)
        trial.vocabulary.save(vocabulary_path(options.save))
        print(f"\nsaved to {options.save} and {vocabulary_path(options.save)}")
    if options.arpa:
        names = [NAMES.get(token, token) for token in trial.vocabulary.tokens]
        trial.model.to_arpa(options.arpa, names)
        print(f"\nwritten to {options.arpa}")


NAMES = {
    character: f"<{hex(ord(character))}>" for character in " \t\r\n\0"
}  # an ARPA file has no white space in tokens

if __name__ == "__main__":
    sys.exit(main())
