r"""
The command `fp-tokenize`: train, encode, decode, stats, compare, explain.

A thin layer: each command reads its options, calls one function of the chapter and shows what comes back. A mistake of
the user is answered by one line on the standard error and an exit code that is not zero. Nothing is overwritten unless
`--force` says so. Results go to the standard output, one way to read them each: ids separated by spaces for programs,
tables for people; progress goes to the standard error.

A tokenizer is named by its file: `tokenizer.json` or a folder that holds one, `.gguf`, `.model` (SentencePiece), or
`.tiktoken`, which needs `--pattern`.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fp_markov._command import answer
from fp_markov._files import read_text, text_files

__all__ = ["app", "main"]

app = typer.Typer(
    name="fp-tokenize",
    help="Train a tokenizer on any text, use it, and see what it does.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Kind = Literal["bpe", "wordpiece", "unigram", "characters", "bytes"]
TokenizerFile = Annotated[
    str, typer.Argument(metavar="TOKENIZER", help="tokenizer.json or its folder, a .gguf, .model or .tiktoken file")
]
Files = Annotated[list[str], typer.Argument(metavar="FILE…", help="texts in UTF-8; folders of .txt files; - for stdin")]
Pattern = Annotated[
    str | None, typer.Option(metavar="NAME", help="for .tiktoken: gpt2, cl100k, o200k or a regular expression")
]


def main() -> None:
    """Entry point of the command `fp-tokenize`."""
    app()


def _finish(work: Callable[[], None]) -> None:
    raise typer.Exit(answer("fp-tokenize", work))


# ---- making one


@app.command()
def train(
    files: Files,
    out: Annotated[str, typer.Option("--out", "-o", metavar="PATH", help="tokenizer.json or a folder for it")],
    kind: Annotated[Kind, typer.Option("--model", help="which algorithm")] = "bpe",
    vocab_size: Annotated[int, typer.Option(help="number of tokens, special ones included")] = 8192,
    pretokenizer: Annotated[
        str | None, typer.Option(metavar="NAME", help="how words are found; the model's own by default")
    ] = None,
    normalizer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="what is done to the text first; the model's own by default"),
    ] = None,
    special: Annotated[list[str] | None, typer.Option(metavar="TOKEN", help="a special token; may be repeated")] = None,
    processes: Annotated[int, typer.Option(help="processes that count words")] = 1,
    force: Annotated[bool, typer.Option("--force", help="replace what is at PATH")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bar")] = False,
) -> None:
    """Learn a vocabulary from texts and write it as tokenizer.json, which Hugging Face's tokenizers reads too."""

    def work() -> None:
        from fp_tokenize.normalize import Normalizer
        from fp_tokenize.pretokenize import named

        target = Path(out) if out.endswith(".json") else Path(out) / "tokenizer.json"
        if target.exists() and not force:
            raise ValueError(f"{target} exists; choose another --out, or replace it with --force")
        frame: dict[str, Any] = {"special_tokens": special} if special else {}
        if pretokenizer is not None:
            frame["pretokenizer"] = named(pretokenizer)
        if normalizer is not None:
            frame["normalizer"] = Normalizer.named(normalizer)
        if kind in ("characters", "bytes") and (pretokenizer or normalizer or processes != 1):
            raise ValueError(
                f"--pretokenizer, --normalizer and --processes say nothing to --model {kind}; leave them out"
            )
        texts = _texts(files)
        with _progress(quiet) as progress:
            if kind not in ("characters", "bytes"):
                frame |= {"processes": processes, "progress": progress}
            tokenizer = _class(kind).train(texts, vocab_size, **frame)
        target.parent.mkdir(parents=True, exist_ok=True)
        tokenizer.save(target)
        typer.echo(f"{tokenizer.vocab_size:,} tokens in {target}")
        if tokenizer.vocab_size < vocab_size:
            typer.echo(f"the text supports no more of the {vocab_size:,} tokens that were asked for")

    _finish(work)


def _class(kind: Kind) -> Any:
    import fp_tokenize

    return getattr(
        fp_tokenize,
        {
            "bpe": "BPETokenizer",
            "wordpiece": "WordPieceTokenizer",
            "unigram": "UnigramTokenizer",
            "characters": "CharTokenizer",
            "bytes": "ByteTokenizer",
        }[kind],
    )


def _texts(names: list[str]) -> Iterator[str]:
    """Texts of files in pieces, so that none has to be in memory whole; only standard input is read whole."""
    from fp_tokenize.words import read_pieces

    for name in names:
        if name == "-":
            yield read_text(name)
        else:
            yield from read_pieces(text_files(Path(name)) if Path(name).is_dir() else [name])


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the standard error, and the function that moves it."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}/{task.total:,}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("counting words", total=None)
        yield lambda done, total: bar.update(task, description="tokens", completed=done, total=total)


# ---- using one


@app.command()
def encode(
    tokenizer: TokenizerFile,
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="the text; without it, --file or stdin")] = None,
    file: Annotated[str | None, typer.Option(metavar="FILE", help="read the text from a file")] = None,
    special: Annotated[
        Literal["text", "parse", "refuse"], typer.Option(help="what to do with spellings of special tokens")
    ] = "text",
    show: Annotated[Literal["ids", "tokens", "json"], typer.Option(help="ids, a table, or ids with spans")] = "ids",
    pattern: Pattern = None,
) -> None:
    """Turn a text into ids."""

    def work() -> None:
        encoder = open_tokenizer(tokenizer, pattern)
        words = _one_text(text, file)
        ids = encoder.encode(words, special=special)
        if show == "ids":
            typer.echo(" ".join(map(str, ids)))
            return
        spans = encoder.offsets(words, special=special)
        rows = [
            {"id": i, "token": encoder.id_to_token(i), "start": start, "end": end, "text": words[start:end]}
            for i, (start, end) in zip(ids, spans, strict=True)
        ]
        if show == "json":
            typer.echo(json.dumps(rows, ensure_ascii=False))
        else:
            _table(
                [[row[key] for key in ("id", "token", "start", "end", "text")] for row in rows], "id token from to text"
            )

    _finish(work)


@app.command()
def decode(
    tokenizer: TokenizerFile,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID…]", help="the ids; without them, stdin")] = None,
    errors: Annotated[
        Literal["replace", "ignore", "strict"], typer.Option(help="what bytes that are no text become")
    ] = "replace",
    skip_special: Annotated[bool, typer.Option("--skip-special", help="leave special tokens out")] = False,
    pattern: Pattern = None,
) -> None:
    """Turn ids into text."""

    def work() -> None:
        decoder = open_tokenizer(tokenizer, pattern)
        stream = _ids_of(" ".join(ids) if ids else sys.stdin.read())
        for part in decoder.decode_stream(stream, errors, skip_special):
            sys.stdout.write(part)
        sys.stdout.write("\n" if sys.stdout.isatty() or ids else "")

    _finish(work)


def _ids_of(text: str) -> list[int]:
    ids = []
    for word in text.replace(",", " ").replace("[", " ").replace("]", " ").split():
        if not word.removeprefix("-").isdecimal() or len(word) > 99:
            raise ValueError(f"ids are integers separated by spaces or commas, got {word[:40]!r}")
        ids.append(int(word))
    return ids


def _one_text(text: str | None, file: str | None) -> str:
    if text is not None and file is not None:
        raise ValueError("give a text or --file, not both")
    return text if text is not None else read_text("-" if file is None else file)


def open_tokenizer(path: str, pattern: str | None = None) -> Any:
    """A tokenizer by its file, whatever its kind."""
    from fp_tokenize import interchange, pretokenize

    name = Path(path).name.lower()
    if name.endswith(".tiktoken"):
        if pattern is None:
            raise ValueError(f"{path} holds ranks only: say with --pattern how words are found, for instance cl100k")
        known = {"gpt2": "GPT2_PATTERN", "cl100k": "CL100K_PATTERN", "o200k": "O200K_PATTERN"}
        return interchange.from_tiktoken(path, getattr(pretokenize, known[pattern]) if pattern in known else pattern)
    if pattern is not None:
        raise ValueError(f"--pattern is for .tiktoken files; {path} says itself how words are found")
    if name.endswith(".gguf"):
        return interchange.from_gguf(path)
    if name.endswith(".model"):
        return interchange.from_sentencepiece(path)
    return interchange.load(path)


# ---- looking at one


@app.command()
def stats(tokenizer: TokenizerFile, files: Files, pattern: Pattern = None) -> None:
    """Measure a tokenizer on texts: lengths, coverage, use of the vocabulary, and a histogram of token lengths."""

    def work() -> None:
        from fp_tokenize import metrics

        encoder = open_tokenizer(tokenizer, pattern)
        texts = _paragraphs(files)
        measured = metrics.measure(encoder, texts)
        covered = metrics.coverage(encoder, texts)
        counts = metrics.usage(encoder, texts)
        rows = [
            ("texts", f"{measured.texts:,} paragraphs, {measured.words:,} words, {measured.bytes:,} bytes"),
            ("tokens", f"{measured.tokens:,}"),
            ("tokens per word", _with_error(measured.fertility)),
            ("bytes per token", _with_error(measured.bytes_per_token)),
            ("characters per token", _with_error(measured.characters_per_token)),
            ("vocabulary used", f"{measured.used:,} of {measured.vocab_size:,}"),
            ("tokens that make up 90%", f"{metrics.tokens_needed(counts, 0.9):,}"),
            ("unknown", f"{measured.unknown:,}"),
            ("words without unknown", f"{covered.known:.2%}"),
            ("words that come back exactly", f"{covered.exact:.2%}"),
        ]
        _table(rows, "measure value")
        lengths = metrics.token_lengths(encoder, counts)
        total = int(lengths.sum()) or 1
        bars = [
            (n, f"{count / total:6.1%}", "█" * round(60 * count / total)) for n, count in enumerate(lengths) if count
        ]
        _table(bars, "bytes share histogram")

    _finish(work)


@app.command()
def compare(
    tokenizers: Annotated[list[str], typer.Argument(metavar="TOKENIZER…", help="two or more files")],
    on: Annotated[list[str], typer.Option("--on", metavar="FILE", help="a text to measure on; may be repeated")],
) -> None:
    """Measure several tokenizers on the same texts."""

    def work() -> None:
        from fp_tokenize import metrics

        texts = _paragraphs(on)
        rows = []
        for path in tokenizers:
            measured = metrics.measure(open_tokenizer(path), texts)
            rows.append(
                (
                    path,
                    f"{measured.vocab_size:,}",
                    f"{measured.tokens:,}",
                    _with_error(measured.fertility),
                    _with_error(measured.bytes_per_token),
                    f"{measured.used / measured.vocab_size:.0%}",
                    f"{measured.unknown:,}",
                )
            )
        _table(rows, "tokenizer vocabulary tokens tokens/word bytes/token used unknown")

    _finish(work)


@app.command()
def explain(
    tokenizer: TokenizerFile,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="a word or a short text")],
    pattern: Pattern = None,
) -> None:
    """Show step by step how a text becomes tokens."""

    def work() -> None:
        from fp_tokenize import explain

        typer.echo(explain.explain(open_tokenizer(tokenizer, pattern), text))

    _finish(work)


def _paragraphs(names: list[str]) -> list[str]:
    texts = [part for name in names for part in read_text(name).split("\n\n") if part.strip()]
    if not texts:
        raise ValueError(f"there is no text in {', '.join(names)}")
    return texts


def _with_error(estimate: Any) -> str:
    return f"{estimate.value:.3f} ± {estimate.error:.3f}"


def _table(rows: list[Any], header: str) -> None:
    table = Table(box=None, pad_edge=False)
    for name in header.split():
        left = name in ("tokenizer", "token", "text", "measure", "value", "histogram")
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(_visible(str(cell)) for cell in row))
    width = None if sys.stdout.isatty() else 120
    Console(width=width, markup=False, highlight=False).print(table)


def _visible(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
