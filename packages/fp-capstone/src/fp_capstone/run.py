r"""
A run: one directory that holds everything, at every moment.

A training run produces more than weights, and all of it is needed on the day when somebody asks how a number came
about. A run directory holds

| name | contents |
| --- | --- |
| `settings.toml` | what determines the run (`fp_capstone.settings`) |
| `metrics.csv` | one row per step; held-out loss in the rows of evaluated steps |
| `samples/` | text that the model wrote, one file per sampled step |
| `loss.svg` | the loss curve, with the n-gram models as lines |
| `checkpoints/step-…/` | a model directory, `training.safetensors` (the optimizers' arrays) and `state.json` |
| `model/` | the final model: `config.json`, `model.safetensors`, `tokenizer.json` |
| `report.json`, `report.txt` | the closing table |

## Whole or absent

**Claim** `capstone.checkpoint-atomic`. At every moment, and after the process was killed at any moment, every directory
under `checkpoints/` whose name begins with `step-` is complete, and from the first save on there is one.

**Proof.** A checkpoint is written under another name, `.saving`; all its files are flushed to the disk; only then is it
renamed, which the operating system does at once or not at all (`transformer.save-atomic`, S1). So a name `step-…`
appears on complete directories only. It disappears by one rename too, to `.removing`, before anything in it is deleted;
and the older checkpoint is renamed only after the newer one has its name. $\blacksquare$

A run is continued from the checkpoint with the largest step. Rows of `metrics.csv` after that step are cut, for they
will be computed again, to the same bits (`capstone.resume`). A directory that holds a run is never written over by
another.

## In practice

Trackers (TensorBoard, Weights and Biases, MLflow) add a server and a picture that refreshes itself. A table that any
program reads outlives them.
"""

import csv
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from threadpoolctl import threadpool_limits

from fp_capstone.corpus import copied_share, encode_corpus, load_corpus
from fp_capstone.evaluation import Report, compare, evaluate, ngram_losses
from fp_capstone.figures import draw_losses
from fp_capstone.model import Model
from fp_capstone.parallel import ThreadedGradients
from fp_capstone.settings import Settings, read_settings
from fp_capstone.training import StepRecord, Trainer, model_config
from fp_markov.information import bits_per_byte
from fp_tokenize.characters import ByteTokenizer, CharTokenizer
from fp_tokenize.interchange import load as load_tokenizer
from fp_tokenize.protocol import Tokenizer
from fp_transformer.checkpoint import load_tensors, save_tensors

__all__ = ["RunDirectory", "Observer", "train", "newest_run", "model_directory", "load_trained", "evaluate_trained"]

SAMPLE_TOKENS = 400
COLUMNS = ("step", "tokens", "seconds", "window", "train_loss", "held_out_loss", "lr", "grad_norm", "tokens_per_second")


class RunDirectory:
    """
    The files of a run.

    Parameters
    ----------
    path
        A directory that `create` made.

    Raises
    ------
    ValueError
        If it holds no run.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / "settings.toml").is_file():
            raise ValueError(f"{self.path} holds no run: it has no settings.toml")

    @classmethod
    def create(cls, settings: Settings, name: str) -> "RunDirectory":
        """
        Make the directory and write the settings into it.

        Parameters
        ----------
        settings
            Its `run_dir` is the directory; if None, `runs/NAME-TIME`.
        name
            What the run is about, for the default directory.

        Raises
        ------
        ValueError
            If the directory exists and is not empty. Nothing has been written then.
        """
        path = Path(settings.run_dir or f"runs/{name}-{datetime.now():%Y%m%d-%H%M%S}")
        if (path / "settings.toml").exists():
            raise ValueError(f"{path} already holds a run; continue it with --resume {path}, or name another --run-dir")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ValueError(f"{path} is not an empty directory, and nothing in it was touched; name another --run-dir")
        for folder in ("samples", "checkpoints"):
            (path / folder).mkdir(parents=True, exist_ok=True)
        _write(path / "settings.toml", settings.to_toml())
        return cls(path)

    @property
    def settings(self) -> Settings:
        """The settings that the run was made with."""
        return Settings(**read_settings(self.path / "settings.toml"))

    def append(self, row: Mapping[str, object]) -> None:
        """Add a row to `metrics.csv`; columns without a value stay empty."""
        path = self.path / "metrics.csv"
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:  # closing hands the row to the system at once
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)

    def metrics(self) -> list[dict[str, str]]:
        """The rows of `metrics.csv`."""
        path = self.path / "metrics.csv"
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def cut(self, step: int) -> None:
        """Drop the rows after a step, and a last row that was not written to its end."""
        path = self.path / "metrics.csv"
        rows = [row for row in self.metrics() if None not in row.values() and int(row["step"]) <= step]
        lines = [",".join(COLUMNS), *(",".join(row[column] for column in COLUMNS) for row in rows)]
        _write(path, "\n".join(lines) + "\n")

    def save_checkpoint(
        self,
        step: int,
        save_model: Callable[[Path], None],
        tensors: Mapping[str, np.ndarray],
        state: Mapping[str, Any],
    ) -> None:
        """
        Write a checkpoint, then delete the ones before it (`capstone.checkpoint-atomic`).

        Parameters
        ----------
        step
            Steps done.
        save_model
            Writes a model directory at the path it is given.
        tensors
            Arrays of the training state.
        state
            The rest of it, plain values.

        Raises
        ------
        OSError
            If the disk is full or cannot be written. The checkpoint before this one is intact.
        """
        folder = self.path / "checkpoints"
        target, staging = folder / f"step-{step:08d}", folder / ".saving"
        if not target.exists():
            shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
            try:
                save_model(staging)
                save_tensors(staging / "training.safetensors", tensors)
                _write(staging / "state.json", json.dumps(state, indent=1))
                staging.rename(target)
                _flush(folder)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(folder / ".removing", ignore_errors=True)
        for old in self.checkpoints()[:-1]:
            old.rename(folder / ".removing")
            shutil.rmtree(folder / ".removing")

    def checkpoints(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*"))

    def load_checkpoint(self) -> tuple[Path, dict[str, np.ndarray], dict[str, Any]]:
        """
        The newest checkpoint.

        Returns
        -------
        directory : Path
            A model directory.
        tensors, state : dict
            What `save_checkpoint` was given.

        Raises
        ------
        ValueError
            If there is none, or it cannot be read.
        """
        checkpoints = self.checkpoints()
        if not checkpoints:
            raise ValueError(f"{self.path} has no checkpoint yet, so there is nothing to continue; start a new run")
        try:
            state = json.loads((checkpoints[-1] / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{checkpoints[-1] / 'state.json'} cannot be read: {error}") from None
        return checkpoints[-1], load_tensors(checkpoints[-1] / "training.safetensors"), state


@runtime_checkable
class Observer(Protocol):
    """What `train` tells as it goes; `fp_capstone.display` shows it to a person."""

    def note(self, message: str) -> None:
        """A sentence."""

    def begin(self, n_steps: int, bits_per_nat: float) -> None:
        """Steps are about to begin; a nat per token of the training text is so many bits per byte."""

    def step(self, record: StepRecord, seconds_left: float) -> None:
        """A step is done."""

    def evaluated(self, step: int, window: int, loss: float, bits: float) -> None:
        """The held-out text was evaluated in windows of so many tokens: nats per token, bits per byte."""


def newest_run(root: str | Path = "runs") -> Path:
    """
    The run under a folder whose checkpoint or model is the newest.

    Raises
    ------
    ValueError
        If there is none with a model.
    """
    found = [(path.stat().st_mtime, run) for run in Path(root).glob("*") for path in _models(run)]
    if not found:
        raise ValueError(
            f"there is no trained model under {root}/; name a run or a model directory, or train one first"
        )
    return max(found)[1]


def model_directory(path: str | Path) -> Path:
    """
    Where the weights are: a run's final model, or else its newest checkpoint, or the directory itself.

    Raises
    ------
    ValueError
        If there are none.
    """
    path = Path(path)
    if (path / "config.json").exists():
        return path
    models = _models(path)
    if not models:
        raise ValueError(f"{path} is neither a model directory (with config.json) nor a run that has saved a model")
    return models[-1]


def _models(run: Path) -> list[Path]:
    """A run's checkpoints, oldest first, and its final model last."""
    return [
        *sorted((run / "checkpoints").glob("step-*")),
        *(p for p in [run / "model"] if (p / "config.json").exists()),
    ]


def load_trained(path: str | Path) -> tuple[Model, Tokenizer]:
    """
    A trained model and its tokenizer.

    Parameters
    ----------
    path
        A run or a model directory.

    Raises
    ------
    ValueError
        If there is none, or a file is missing, truncated or foreign.
    """
    directory = model_directory(path)
    if not (directory / "tokenizer.json").exists():
        raise ValueError(f"{directory} has no tokenizer.json, so there is no telling which text its tokens stand for")
    return Model.load(directory), load_tokenizer(directory)


def evaluate_trained(path: str | Path, text: str | None, encoding: str = "utf-8", window: int | None = None) -> Report:
    """
    The closing table of a trained model on a text, cut as for training.

    Parameters
    ----------
    path
        A run or a model directory.
    text, encoding
        As for `fp_capstone.corpus.load_corpus`; None is the run's own text, or else the default corpus.
    window
        Tokens of a window; None is the model's context length.

    Raises
    ------
    ValueError
        If something cannot be read, the text has tokens that the model does not know, or the window is too long.
    """
    model, tokenizer = load_trained(path)
    if text is None and (Path(path) / "settings.toml").exists():
        settings = RunDirectory(path).settings
        text, encoding = settings.text, settings.encoding
    window = model.config.context_length if window is None else window
    if not 1 <= window <= model.config.context_length:
        raise ValueError(
            f"window must lie in [1, {model.config.context_length}], the model's context length; got {window}"
        )
    corpus = load_corpus(text, encoding=encoding)
    train_ids, held_out = encode_corpus(corpus, tokenizer, window)
    return compare(
        evaluate(model, held_out, window, threads=Settings().resolved().threads or 1),
        ngram_losses(train_ids, held_out, model.config.vocab_size),
        text=corpus.name,
        sha256=corpus.sha256,
        window=window,
        n_bytes=len(corpus.held_out.encode()),
        rng=np.random.default_rng([1, 3]),
    )


def train(
    settings: Settings,
    observer: Observer,
    *,
    stop: Callable[[], bool] = lambda: False,
    resume: RunDirectory | None = None,
) -> tuple[RunDirectory, Report | None]:
    """
    Train a model and write its run directory.

    Parameters
    ----------
    settings
        What determines the run.
    observer
        Is told what happens.
    stop
        Asked after each step; once it says yes, a checkpoint is saved and training ends.
    resume
        A run to continue from its newest checkpoint.

    Returns
    -------
    run : RunDirectory
        Where everything is.
    report : Report or None
        The closing table, or None if training was stopped.

    Raises
    ------
    ValueError
        If the text, the settings or the directory will not do. Nothing has been written then.
    OSError
        If the disk is full. The last checkpoint is intact.
    """
    # the threads share out the batch and the matrices; threads inside matrix products would only get in their way
    with threadpool_limits(limits=1, user_api="blas"):
        loop = _Loop(settings.resolved(), observer, resume)
        try:
            return loop.run, loop.go(stop)
        except OSError as error:
            if loop.run.checkpoints():
                error.add_note(f"The last checkpoint is intact; continue with --resume {loop.run.path}")
            raise


class _Loop:
    """Everything between the first step and the closing table."""

    def __init__(self, settings: Settings, observer: Observer, resume: RunDirectory | None) -> None:
        self.settings, self.observer = settings, observer
        corpus = self.corpus = load_corpus(settings.text, encoding=settings.encoding)
        texts = [corpus.train, corpus.held_out]
        # the alphabet is that of both parts, so that no character is without a probability
        self.tokenizer: Tokenizer = ByteTokenizer() if settings.tokenizer == "bytes" else CharTokenizer.train(texts)
        train_ids, self.held_out = encode_corpus(corpus, self.tokenizer, settings.context_length)
        self.n_bytes = len(corpus.held_out.encode())
        config = model_config(settings, self.tokenizer.vocab_size)

        self.seconds = self.training_seconds = 0.0
        self.best: tuple[float, int] | None = None
        self.drawing = True
        state = None
        if resume is None:
            self.model = Model(config, np.random.default_rng([settings.seed, 0]))
        else:
            directory, tensors, state = resume.load_checkpoint()
            if state["sha256"] != corpus.sha256:
                raise ValueError(
                    f"the text {corpus.name} has changed since {resume.path} was begun (sha256 {corpus.sha256[:12]}…, "
                    f"then {state['sha256'][:12]}…); put the old text back, or start a new run"
                )
            self.model = Model.load(directory)
        self.trainer = Trainer(self.model, ThreadedGradients(self.model, settings.threads or 1), train_ids, settings)
        if state is not None:
            self.trainer.restore(tensors, state["trainer"])
            self.seconds, self.training_seconds = state["seconds"], state["training_seconds"]
            self.best = state["best"] and (state["best"][0], state["best"][1])
        self.run = resume or self._create()
        if resume is not None:
            _write(self.run.path / "settings.toml", settings.to_toml())  # a resumed run may be longer
            self.run.cut(self.trainer.step_number)

        copied = f", {copied_share(corpus.held_out, corpus.train):.1%} of it in copies of 50 characters" * (
            len(corpus.train) < 10**7
        )
        observer.note(f"run directory: {self.run.path}")
        observer.note(f"text: {corpus.name}, {corpus.n_characters:,} characters, sha256 {corpus.sha256}")
        observer.note(f"held out: the last {len(corpus.held_out):,} characters, cut {corpus.cut}{copied}")
        observer.note(
            f"model: {settings.family}, {config.n_parameters:,} parameters, vocabulary {self.tokenizer.vocab_size}, "
            f"window {settings.context_length}; {settings.n_steps:,} steps of {settings.tokens_per_step:,} tokens, "
            f"{settings.n_steps * settings.tokens_per_step / train_ids.size:.1f} epochs; {settings.threads} threads"
        )
        self.ngrams = ngram_losses(train_ids, self.held_out, self.tokenizer.vocab_size)
        self.baselines = {f"{order}-gram": float(losses.mean()) for order, losses in self.ngrams.items()}
        best = min(self.baselines, key=lambda name: self.baselines[name])
        observer.note(f"to beat: {best}, {self.baselines[best]:.4f} nats per token on the held-out text")
        bits_per_nat = bits_per_byte(1.0, n_tokens=train_ids.size, n_bytes=len(corpus.train.encode()))
        observer.begin(settings.n_steps, bits_per_nat)

    def _create(self) -> RunDirectory:
        """A new run directory; text from standard input is kept there, for it cannot be read twice."""
        settings = self.settings
        piped = settings.text == "-"
        name = "text" if piped else "python-reference" if settings.text is None else Path(settings.text).resolve().stem
        if not piped:
            return RunDirectory.create(settings, name)
        run = RunDirectory.create(settings, name)
        text = run.path / "text.txt"
        _write(text, self.corpus.train + self.corpus.held_out)
        _write(run.path / "settings.toml", replace(settings, text=str(text), encoding="utf-8").to_toml())
        return run

    def go(self, stop: Callable[[], bool]) -> Report | None:
        """Step until the last step, the end of the time, or a stop; the closing table unless it was a stop."""
        settings, trainer = self.settings, self.trainer
        before, started = self.seconds, time.perf_counter()
        first = trainer.step_number
        stop()  # from now on a stop is heard after a step
        losses, record = (self._evaluate(trainer.window) if first == 0 else None), None
        while trainer.step_number < settings.n_steps:
            if settings.seconds is not None and self.seconds - before >= settings.seconds:
                break
            record = trainer.step()
            step = record.step
            self.training_seconds += record.seconds
            scored = step % settings.eval_every == 0 or step == settings.n_steps
            losses = self._evaluate(record.window) if scored else None
            self.seconds = before + time.perf_counter() - started
            self._log(record, losses)
            left = (self.seconds - before) / (step - first) * (settings.n_steps - step)
            if settings.seconds is not None:
                left = min(left, max(0.0, settings.seconds - self.seconds + before))
            self.observer.step(record, left)
            if step % settings.sample_every == 0:
                self._sample(step)
            if stop():
                self._checkpoint()
                return None
            if step % settings.checkpoint_every == 0 and step < settings.n_steps:
                self._checkpoint()
        self._checkpoint()
        if losses is None or record is None or record.window != settings.context_length:
            losses = self._evaluate(settings.context_length)
        return self._finish(losses)

    def _evaluate(self, window: int) -> np.ndarray:
        losses = evaluate(self.model, self.held_out, window, threads=self.settings.threads or 1)
        step, loss = self.trainer.step_number, float(losses.mean())
        if window == self.settings.context_length and (self.best is None or loss < self.best[0]):
            self.best = (loss, step)
        bits = bits_per_byte(loss, n_tokens=self.held_out.size, n_bytes=self.n_bytes)
        self.observer.evaluated(step, window, loss, bits)
        return losses

    def _log(self, record: StepRecord, losses: np.ndarray | None) -> None:
        held_out = {} if losses is None else {"held_out_loss": f"{losses.mean():.6f}"}
        self.run.append(
            {
                "step": record.step,
                "tokens": self.trainer.n_tokens,
                "seconds": f"{self.seconds:.3f}",
                "window": record.window,
                "train_loss": f"{record.loss:.6f}",
                "lr": f"{record.lr:.3e}",
                "grad_norm": f"{record.grad_norm:.4f}",
                "tokens_per_second": f"{record.tokens / record.seconds:.0f}",
            }
            | held_out
        )

    def _sample(self, step: int) -> str:
        """Text that the model writes; its generator is its own, so that training does not notice."""
        rng = np.random.default_rng([self.settings.seed, 2, step])
        prompt = self.tokenizer.encode_array(self.corpus.held_out[:1])
        ids = [*prompt.tolist(), *self.model.generate(prompt, SAMPLE_TOKENS, rng, temperature=0.8)]
        text = self.tokenizer.decode(ids)
        _write(self.run.path / "samples" / f"step-{step:08d}.txt", text)
        return text

    def _checkpoint(self) -> None:
        state = {
            "sha256": self.corpus.sha256,
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
            "best": self.best,
            "trainer": self.trainer.state(),
        }
        step = self.trainer.step_number
        self.run.save_checkpoint(step, lambda p: self.model.save(p, self.tokenizer), self.trainer.tensors(), state)
        self._draw()

    def _draw(self) -> None:
        title = f"{self.corpus.name}, sha256 {self.corpus.sha256[:12]}…, window {self.settings.context_length}"
        try:
            draw_losses(self.run.path / "loss.svg", self.run.metrics(), self.baselines, title)
        except ModuleNotFoundError:
            if self.drawing:
                self.observer.note("no loss curve was drawn: pip install 'fp-capstone[plot]' brings matplotlib")
            self.drawing = False

    def _finish(self, losses: np.ndarray) -> Report:
        settings, corpus, step = self.settings, self.corpus, self.trainer.step_number
        self.model.save(self.run.path / "model", self.tokenizer)
        report = compare(
            losses,
            self.ngrams,
            text=corpus.name,
            sha256=corpus.sha256,
            window=settings.context_length,
            n_bytes=self.n_bytes,
            rng=np.random.default_rng([settings.seed, 3]),
        )
        speed = self.trainer.n_tokens / self.training_seconds if self.training_seconds else 0.0
        record = report.as_dict() | {
            "steps": step,
            "tokens": self.trainer.n_tokens,
            "parameters": self.model.config.n_parameters,
            "threads": settings.threads,
            "seconds": self.seconds,
            "tokens_per_second": speed,
        }
        _write(self.run.path / "report.json", json.dumps(record, indent=1))
        _write(self.run.path / "report.txt", f"{report}\n")
        if self.best is not None and self.best[0] < report.loss - 0.005:
            self.observer.note(
                f"the held-out loss was lowest, {self.best[0]:.4f}, at step {self.best[1]}: fewer steps, a "
                "smaller model or more text would serve better"
            )
        self.observer.note(
            f"{step:,} steps, {self.trainer.n_tokens:,} tokens in {self.seconds:.0f} s; "
            f"{speed:,.0f} tokens/s while training"
        )
        return report


def _write(path: Path, text: str) -> None:
    """Write a file so that it is whole or absent."""
    staging = path.with_name(f".{path.name}.saving")
    try:
        with staging.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)
    _flush(path.parent)


def _flush(folder: Path) -> None:
    """Wait until a directory's names are on the disk."""
    if os.name == "nt":  # Windows cannot open directories
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
