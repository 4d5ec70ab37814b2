r"""
A run: one directory that holds everything, at every moment.

A training run produces more than weights, and all of it is needed on the day when somebody asks how a number came
about. A run directory holds

| name | contents |
| --- | --- |
| `settings.toml` | what determines the run (`fp_capstone.settings`) |
| `metrics.csv` | one row per step; held-out loss in the rows of evaluated steps, the first of them step 0 |
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

A run is continued from the checkpoint with the largest step, or from its beginning if it was ended before its first
save. Rows of `metrics.csv` and samples after that step are cut, for they will be computed again, to the same bits
(`capstone.resume`). When a finished run goes on, its first new checkpoint replaces `model/` and the report, which speak
of an earlier step. A directory that holds a run is never written over by another.

A run may be moved and resumed from any working directory: `settings.toml` names texts by absolute paths, and text that
came through standard input lies in the run as `text.txt`.

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
from fp_dynamics.diagnosis import diagnose
from fp_dynamics.history import RunHistory
from fp_markov.information import bits_per_byte
from fp_tokenize.characters import ByteTokenizer, CharTokenizer
from fp_tokenize.interchange import load as load_tokenizer
from fp_tokenize.protocol import Tokenizer
from fp_transformer.checkpoint import flush, load_tensors, save_tensors

__all__ = ["RunDirectory", "Observer", "train", "newest_run", "model_directory", "load_trained", "evaluate_trained"]

SAMPLE_TOKENS = 400
COLUMNS = (
    "step", "tokens", "seconds", "window", "train_loss", "held_out_loss", "bits_per_byte", "lr", "grad_norm",
    "tokens_per_second",
)  # fmt: skip


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
    def create(cls, settings: Settings, name: str, text: str | None = None) -> "RunDirectory":
        """
        Make the directory and write the settings into it.

        Parameters
        ----------
        settings
            Its `run_dir` is the directory; if None, `runs/NAME-TIME`.
        name
            What the run is about, for the default directory.
        text
            Is kept in the run as its `text.txt`, if given: what came through standard input cannot be read twice.

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
        if text is not None:
            _write(path / "text.txt", text)
            settings = replace(settings, text=str(path / "text.txt"), encoding="utf-8")
        _write(path / "settings.toml", _portable(settings, path).to_toml())  # last: with it, it is a run
        return cls(path)

    @property
    def settings(self) -> Settings:
        """The settings that the run was made with; a ValueError names the file if they are foreign or damaged."""
        path = self.path / "settings.toml"
        values = read_settings(path)
        if "preset" in values:
            raise ValueError(f"{path} names a preset, which the settings of a run never do: the file was changed")
        try:
            return Settings(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} does not hold the settings of a run: {error}") from None

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
        """
        Drop rows and samples after a step, and a last row that was not written to its end.

        Raises
        ------
        ValueError
            If `metrics.csv` is damaged elsewhere. Nothing has been changed then.
        """
        path = self.path / "metrics.csv"
        try:
            text = path.read_bytes().decode("utf-8") if path.exists() else ""
            header, *rows = csv.reader(text[: text.rfind("\n") + 1].splitlines() or [",".join(COLUMNS)])
            if tuple(header) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
                raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
            kept = [row for row in rows if int(row[0]) <= step and [float(value) for value in row if value]]
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path} is damaged: {error}. Mend it, or move it away to go on with a new one") from None
        _write(path, "".join(",".join(row) + "\n" for row in (header, *kept)))
        for sample in (self.path / "samples").glob("step-*.txt"):
            if sample.name > f"step-{step:08d}.txt" or step < 0:
                sample.unlink()

    def drop_result(self) -> None:
        """Delete the final model and the report, for the run has gone on."""
        for name in ("report.json", "report.txt"):
            (self.path / name).unlink(missing_ok=True)
        if (self.path / "model").exists():
            removing = self.path / "checkpoints" / ".removing"
            shutil.rmtree(removing, ignore_errors=True)
            (self.path / "model").rename(removing)
            shutil.rmtree(removing)

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
                flush(folder)
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
            raise ValueError(f"{self.path} has no checkpoint yet; resumed, it begins again from its first step")
        file = checkpoints[-1] / "state.json"
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{file} cannot be read: {error}") from None
        if not isinstance(state, dict):
            raise ValueError(
                f"{file} does not hold the state of a training run but {type(state).__name__} {state!r:.50}"
            )
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
        A run to continue from its newest checkpoint, or from its beginning if it has none.

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
            loop.prepare(resume)
            return loop.run, loop.go(stop)
        except OSError as error:
            run = getattr(loop, "run", resume)
            if run is not None and run.checkpoints():
                error.add_note(f"The last checkpoint is intact; continue with --resume {run.path}")
            elif run is not None:
                error.add_note(f"The run {run.path} has no checkpoint yet; --resume {run.path} begins it again")
            raise


class _Loop:
    """Everything between the first step and the closing table."""

    run: RunDirectory

    def __init__(self, settings: Settings, observer: Observer, resume: RunDirectory | None) -> None:
        self.settings, self.observer = settings, observer
        corpus = self.corpus = load_corpus(settings.text, encoding=settings.encoding)
        texts = [corpus.train, corpus.held_out]
        # the alphabet is that of both parts, so that no character is without a probability
        self.tokenizer: Tokenizer = ByteTokenizer() if settings.tokenizer == "bytes" else CharTokenizer.train(texts)
        self.train_ids, self.held_out = encode_corpus(corpus, self.tokenizer, settings.context_length)
        _check_batch(settings, self.train_ids.size)
        self.n_bytes = len(corpus.held_out.encode())
        config = self.config = model_config(settings, self.tokenizer.vocab_size)

        self.seconds = self.training_seconds = 0.0
        self.best: tuple[float, int] | None = None
        self.losses: np.ndarray | None = None
        self.scored: tuple[int, int] | None = None  # step and window of the losses
        self.drawing = True
        if resume is None or not resume.checkpoints():
            self.model = Model(config, np.random.default_rng([settings.seed, 0]))
            self.trainer = self._build_trainer()
        else:
            self._restore(resume)
        self.first = self.trainer.step_number

    def _build_trainer(self) -> Trainer:
        gradients = ThreadedGradients(self.model, self.settings.threads or 1, self.settings.recompute)
        return Trainer(self.model, gradients, self.train_ids, self.settings)

    def _restore(self, run: RunDirectory) -> None:
        """Take over a run's newest checkpoint; whatever is foreign in it is named."""
        directory, tensors, state = run.load_checkpoint()
        try:
            sha256, trainer = state["sha256"], state["trainer"]
            step, window = int(trainer["step"]), int(trainer["window"])
            if min(step, int(trainer["n_tokens"])) < 0:
                raise ValueError("a negative number of steps or tokens")
            self.seconds, self.training_seconds = float(state["seconds"]), float(state["training_seconds"])
            self.best = None if state["best"] is None else (float(state["best"][0]), int(state["best"][1]))
            np.random.default_rng().bit_generator.state = trainer["rng"]  # refuses another generator's
        except (KeyError, TypeError, ValueError, IndexError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else error
            file = directory / "state.json"
            raise ValueError(f"{file} does not hold the state of a training run: {what}") from None
        if sha256 != self.corpus.sha256:
            raise ValueError(
                f"the text {self.corpus.name} has changed since {run.path} was begun (sha256 "
                f"{self.corpus.sha256[:12]}…, then {sha256!s:.12}…); put the old text back, or start a new run"
            )
        if self.settings.n_steps < step:
            raise ValueError(
                f"n_steps must be at least {step}, the step of the newest checkpoint in {run.path}; "
                f"got {self.settings.n_steps}"
            )
        self.model = Model.load(directory)
        if self.model.config != self.config:
            raise ValueError(f"{directory / 'config.json'} is not the model of the settings in {run.path}")
        self.trainer = self._build_trainer()
        try:
            order = tensors["order"]
            ends = order + window  # of windows, where the last targets are
            if order.ndim != 1 or order.dtype.kind != "i" or np.any(order < 0) or np.any(ends >= self.train_ids.size):
                raise ValueError("order names windows that the text does not have")
            self.trainer.restore(tensors, trainer)
        except (KeyError, TypeError, ValueError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else error
            file = directory / "training.safetensors"
            raise ValueError(f"{file} does not hold the state of this training run: {what}") from None

    def prepare(self, resume: RunDirectory | None) -> None:
        """Make or mend the run directory, and say what is about to happen."""
        settings, observer, corpus, train_ids = self.settings, self.observer, self.corpus, self.train_ids
        if resume is None:
            self.run = self._create()
        else:
            self.run = resume
            self.run.cut(self.first or -1)  # step 0 is evaluated again
            # a resumed run may be longer
            _write(self.run.path / "settings.toml", _portable(settings, self.run.path).to_toml())

        copied = f", {copied_share(corpus.held_out, corpus.train):.1%} of it in copies of 50 characters" * (
            len(corpus.train) < 10**7
        )
        observer.note(f"run directory: {self.run.path}")
        observer.note(f"text: {corpus.name}, {corpus.n_characters:,} characters, sha256 {corpus.sha256}")
        observer.note(f"held out: the last {len(corpus.held_out):,} characters, cut {corpus.cut}{copied}")
        observer.note(
            f"model: {settings.family}, {self.config.n_parameters:,} parameters, "
            f"vocabulary {self.tokenizer.vocab_size}, window {settings.context_length}; "
            f"{settings.n_steps:,} steps of {settings.tokens_per_step:,} tokens, "
            f"{settings.n_steps * settings.tokens_per_step / train_ids.size:.1f} epochs; {settings.threads} threads"
        )
        self.ngrams = ngram_losses(train_ids, self.held_out, self.tokenizer.vocab_size)
        self.baselines = {f"{order}-gram": float(losses.mean()) for order, losses in self.ngrams.items()}
        best = min(self.baselines, key=lambda name: self.baselines[name])
        observer.note(
            f"to beat: {best}, {self.baselines[best]:.4f} nats per token on the held-out text "
            f"(by the model in windows of {settings.context_length})"
        )
        bits_per_nat = bits_per_byte(1.0, n_tokens=train_ids.size, n_bytes=len(corpus.train.encode()))
        observer.begin(settings.n_steps, bits_per_nat)

    def _create(self) -> RunDirectory:
        """A new run directory; text from standard input is kept there, for it cannot be read twice."""
        text = self.settings.text
        if text == "-":
            return RunDirectory.create(self.settings, "text", self.corpus.train + self.corpus.held_out)
        return RunDirectory.create(self.settings, "python-reference" if text is None else Path(text).resolve().stem)

    def go(self, stop: Callable[[], bool]) -> Report | None:
        """Step until the last step, the end of the time, or a stop; the closing table unless it was a stop."""
        settings, trainer, first = self.settings, self.trainer, self.first
        before, started = self.seconds, time.perf_counter()
        stop()  # from now on a stop is heard after a step
        if first == 0:
            self._log(trainer.window, self._evaluate(trainer.window))
        while trainer.step_number < settings.n_steps:
            if settings.seconds is not None and self.seconds - before >= settings.seconds:
                break
            try:
                record = trainer.step()
            except FloatingPointError as error:
                raise FloatingPointError(f"{error}{self._doctor()}") from None
            step = record.step
            self.training_seconds += record.seconds
            scored = step % settings.eval_every == 0 or step == settings.n_steps
            losses = self._evaluate(record.window) if scored else {}
            self.seconds = before + time.perf_counter() - started
            self._log(record.window, _columns(record) | losses)
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
        window = settings.context_length
        if self.losses is None or self.scored != (trainer.step_number, window):
            losses, key = self._evaluate(window), (str(trainer.step_number), str(window))
            if key not in {(row["step"], row["window"]) for row in self.run.metrics() if row["held_out_loss"]}:
                self._log(window, losses)
                self._draw()
        return self._finish()

    def _doctor(self) -> str:
        """What stage 8 says first about the run so far, for the error that ends it."""
        findings = diagnose(RunHistory(self.run.path))
        return f". Before that: {findings[0].name}, {findings[0].evidence}" if findings else ""

    def _evaluate(self, window: int) -> dict[str, str]:
        """Columns of `metrics.csv`."""
        self.losses = evaluate(self.model, self.held_out, window, threads=self.settings.threads or 1)
        step, loss = self.trainer.step_number, float(self.losses.mean())
        self.scored = (step, window)
        if window == self.settings.context_length and (self.best is None or loss < self.best[0]):
            self.best = (loss, step)
        bits = bits_per_byte(loss, n_tokens=self.held_out.size, n_bytes=self.n_bytes)
        self.observer.evaluated(step, window, loss, bits)
        return {"held_out_loss": f"{loss:.6f}", "bits_per_byte": f"{bits:.6f}"}

    def _log(self, window: int, columns: Mapping[str, str]) -> None:
        where = {"step": self.trainer.step_number, "tokens": self.trainer.n_tokens, "window": window}
        self.run.append({**where, "seconds": f"{self.seconds:.3f}", **columns})

    def _sample(self, step: int) -> None:
        """Text that the model writes; its generator is its own, so that training does not notice."""
        rng = np.random.default_rng([self.settings.seed, 2, step])
        prompt = self.tokenizer.encode_array(self.corpus.held_out[:1])
        ids = [*prompt.tolist(), *self.model.generate(prompt, SAMPLE_TOKENS, rng, temperature=0.8)]
        _write(self._sample_path(step), self.tokenizer.decode(ids))

    def _sample_path(self, step: int) -> Path:
        return self.run.path / "samples" / f"step-{step:08d}.txt"

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
        if step > self.first:
            self.run.drop_result()
        self._draw()

    def _draw(self) -> None:
        title = f"{self.corpus.name}, sha256 {self.corpus.sha256[:12]}…, window {self.settings.context_length}"
        try:
            draw_losses(self.run.path / "loss.svg", self.run.metrics(), self.baselines, title)
        except ModuleNotFoundError:
            if self.drawing:
                self.observer.note("no loss curve was drawn: pip install 'fp-capstone[plot]' brings matplotlib")
            self.drawing = False

    def _finish(self) -> Report:
        settings, corpus, step = self.settings, self.corpus, self.trainer.step_number
        assert self.losses is not None  # `go` has just seen to it
        if not self._sample_path(step).exists():
            self._sample(step)
        self.model.save(self.run.path / "model", self.tokenizer)
        report = compare(
            self.losses,
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
                f"the held-out loss in windows of {settings.context_length} was lowest, {self.best[0]:.4f}, at step "
                f"{self.best[1]}: fewer steps, a smaller model or more text would serve better"
            )
        self.observer.note(
            f"{step:,} steps, {self.trainer.n_tokens:,} tokens in {self.seconds:.0f} s; "
            f"{speed:,.0f} tokens/s while training"
        )
        return report


def _check_batch(settings: Settings, n_tokens: int) -> None:
    """Refuse a micro-batch that takes more windows than an epoch has."""
    full = settings.context_length
    for window in {full, min(settings.short_window or full, full)}:
        batch, n_windows = settings.batch_size * full // window, (n_tokens - 1) // window
        if batch > n_windows:
            most = max(1, n_windows * window // full)
            raise ValueError(
                f"batch_size must be at most {most:,}, got {settings.batch_size:,}: a micro-batch would take {batch:,} "
                f"windows of {window} tokens, and the training text has {n_windows:,}. Lower --batch-size, or bring "
                "more text"
            )


def _columns(record: StepRecord) -> dict[str, str]:
    """What `metrics.csv` keeps of a step."""
    return {
        "train_loss": f"{record.loss:.6f}",
        "lr": f"{record.lr:.3e}",
        "grad_norm": f"{record.grad_norm:.4f}",
        "tokens_per_second": f"{record.tokens / record.seconds:.0f}",
    }


def _portable(settings: Settings, run: Path) -> Settings:
    """Settings whose text is found from every working directory, and after the run was moved."""
    if settings.text is None:
        return settings
    text = Path(settings.text).absolute()
    return replace(settings, text="text.txt" if text == (run / "text.txt").absolute() else str(text))


def _write(path: Path, text: str) -> None:
    """Write a file so that it is whole or absent."""
    staging = path.with_name(f".{path.name}.saving")
    try:
        with staging.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
    except OSError as error:  # a failed write names no file
        error.filename = error.filename or str(path)
        raise
    finally:
        staging.unlink(missing_ok=True)
    flush(path.parent)
