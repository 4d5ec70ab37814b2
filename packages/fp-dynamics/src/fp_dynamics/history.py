r"""
A run's history, also while it is being written, and curves that can be read.

A training run writes a row for each step into a file. Before anything can be said about the run, the file has to be
read, perhaps a thousand times while it grows, perhaps after the run was killed and resumed. And a loss of single
batches is too noisy to look at: it is smoothed first. What does a smoothed curve show, and what does it hide?

You need: `neural.running-average`, the average with fading weights; means and variances (`fp_markov.probability`).

## The average that fades

Let $x_1, x_2, \dots$ be the losses, $0 \le \beta < 1$, and

$$m_0 = 0, \qquad m_t = \beta\, m_{t-1} + (1 - \beta)\, x_t, \qquad s_t = \frac{m_t}{1 - \beta^t}. \qquad \text{(E1)}$$

**Claim** `dynamics.smoothing-bias`. $m_t = \sum_{k=0}^{t-1} (1 - \beta)\, \beta^k\, x_{t-k}$, with weights of the sum
$1 - \beta^t$: if all $x_k$ are $c$, then $m_t = (1 - \beta^t)\, c$, a share of $c$ that is $1 - \beta$ at first. The
weights of $s_t$ sum to one, so $s_t$ lies between the smallest and the largest of $x_1, \dots, x_t$, and if all $x_k$
have the mean $\mu$, so has $s_t$. An average that starts at $x_1$ instead, $r_1 = x_1$ and
$r_t = \beta\, r_{t-1} + (1 - \beta)\, x_t$, has weights of the sum one as well, but $x_1$ weighs in it
$\frac{1 - \beta^t}{1 - \beta}$ times what it does in $s_t$.

**Proof.** The weights and their sum are (E6) of `fp_neural.normalization` (`neural.running-average`) with
$m = 1 - \beta$ and the starting value $0$. Divided by their sum, weights that are not negative become the weights of a
mean, and a mean lies between the extremes; for random $x_k$ take the mean of each term (`markov.expectation-linear`).
For $r_t$ the same (E6), counted from the starting value $r_1 = x_1$: after $t - 1$ steps $x_1$ has the weight
$\beta^{t-1}$, and the weights sum to $1 - \beta^{t-1} + \beta^{t-1} = 1$. In $s_t$ its weight is
$\frac{(1 - \beta)\, \beta^{t-1}}{1 - \beta^t}$. Divide. $\blacksquare$

The first loss of a run is its highest. Uncorrected, a curve begins near zero and seems to rise; started at the first
loss, it stays high for about $\frac{1}{1 - \beta}$ steps.

>>> losses = np.array([4.0, 3.0, 3.0, 3.0])
>>> uncorrected, started = 0.0, losses[0]
>>> for x in losses:
...     uncorrected = 0.9 * uncorrected + 0.1 * x
>>> for x in losses[1:]:
...     started = 0.9 * started + 0.1 * x
>>> np.round([uncorrected, started, smooth(losses, 0.9)[-1]], 3)
array([1.105, 3.729, 3.212])

## It lags behind, and by how much

**Claim** `dynamics.smoothing-lag`. On a straight line, $x_k = a + b k$, the smoothed curve is the line as it was
$\ell_t$ steps ago,

$$s_t = a + b\, (t - \ell_t), \qquad \ell_t = \frac{\beta}{1 - \beta} - \frac{t\, \beta^t}{1 - \beta^t},
\qquad \text{(E2)}$$

where $\ell_1 = 0$, and $\ell_t$ rises (for $\beta > 0$) towards $\frac{\beta}{1 - \beta}$.

**Proof.** $x_{t-k} = a + b t - b k$, and the weights of $s_t$ sum to one: $s_t = a + b t - b\, \ell_t$ with the mean
age $\ell_t = \frac{A}{S}$, $A = \sum_{k<t} k \beta^k$ and $S = \sum_{k<t} \beta^k = \frac{1 - \beta^t}{1 - \beta}$. In
$A - \beta A$ each power $\beta^k$ with $1 \le k < t$ remains once, and $(t - 1)\, \beta^t$ is subtracted:

$$
\begin{aligned}
(1 - \beta)\, A &= (S - 1) - (t - 1)\, \beta^t \\
  &= S - \big( 1 - \beta^t \big) - t\, \beta^t \\
  &= S - (1 - \beta)\, S - t\, \beta^t = \beta S - t\, \beta^t.
\end{aligned}
$$

Divide by $(1 - \beta)\, S = 1 - \beta^t$: this is (E2), as $\frac{\beta S}{1 - \beta^t} = \frac{\beta}{1 - \beta}$.
$\ell_{t+1}$ is the mean of $\ell_t$ with the weight $S$ and the age $t$ with the weight $\beta^t$; all earlier ages are
below $t$, so it is larger. $t\, \beta^t \to 0$. $\blacksquare$

## How much noise it removes

**Claim** `dynamics.smoothing-noise`. If the $x_k$ are independent with the variance $v$, then

$$\operatorname{Var} s_t = v\, \frac{1 - \beta}{1 + \beta} \cdot \frac{1 + \beta^t}{1 - \beta^t}, \qquad \text{(E3)}$$

which is $v$ for $t = 1$ and falls towards $v / n$ with $n = \frac{1 + \beta}{1 - \beta}$. The final lag is
$\frac{n - 1}{2}$, that of the plain mean of the last $n$ losses, if $n$ is a whole number.

**Proof.** Variances of independent numbers add, with the squares of their weights (`markov.variance-of-mean` and its
proof). With $S$ as above they are $\sum_{k<t} \beta^{2k} / S^2$, and

$$\frac{1 - \beta^{2t}}{1 - \beta^2} \cdot \frac{(1 - \beta)^2}{(1 - \beta^t)^2}
= \frac{(1 - \beta^t)(1 + \beta^t)}{(1 - \beta)(1 + \beta)} \cdot \frac{(1 - \beta)^2}{(1 - \beta^t)^2}.$$

Cancel. The last factor of (E3) is $\frac{2}{1 - \beta^t} - 1$, which falls with $t$ to $1$. Last,
$\frac{n - 1}{2} = \frac{(1 + \beta) - (1 - \beta)}{2\, (1 - \beta)} = \frac{\beta}{1 - \beta}$; and the ages
$0, \dots, n - 1$ have the mean $\frac{n - 1}{2}$. $\blacksquare$

So the choice of $\beta$ is a choice of $n$, at the price of half as many steps of lag. Two curves may be compared only
if they were smoothed alike.

## Reading a file that grows

A reader may come in the middle of a row. Rows end with a line break, so what stands behind the last one is left for the
next time. A resumed run writes the file anew, without the rows after its checkpoint, or (other programs) goes on
behind them: a file that has become another one is read from its beginning, and a step that was seen already takes the
place of what was said of it and of all later steps.

## In practice

TensorBoard and Weights & Biases smooth as (E1), corrected; earlier versions started at the first value. Runs of other
programs can be read if they write `settings.toml` and a `metrics.csv` with a column `step`. A mean of the last $n$
losses is as good; the average that fades needs no memory.
"""

import csv
import json
import math
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Float, Integer

__all__ = ["smooth", "RunHistory"]  # the order of the page

RENAMED = {"train_loss": "loss"}  # columns of `metrics.csv` whose name in a record is another


def smooth(values: Float[np.ndarray, " n"], decay: float | int = 0.9) -> Float[np.ndarray, " n"]:
    r"""
    The average that fades, with its correction: $s_1, \dots, s_n$ of (E1).

    Parameters
    ----------
    values
        In order. Where one is NaN, nothing is added, and the average so far stands.
    decay
        $\beta$, at least 0 and below 1.

    Returns
    -------
    ndarray
        NaN in front of the first number.

    Raises
    ------
    ValueError
        If the decay is out of range.

    Examples
    --------
    >>> smooth(np.array([1.0, 2.0, 3.0]), 0.5).round(3)
    array([1.   , 1.667, 2.429])
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay is at least 0 and below 1, got {decay}: 0.9 averages about 19 values")
    out = np.full(values.shape, np.nan)
    m, missing = 0.0, 1.0  # missing: 1 - the sum of the weights, beta^t
    for i, x in enumerate(values.tolist()):
        if x == x:
            m, missing = decay * m + (1 - decay) * x, decay * missing
        if missing < 1:
            out[i] = m / (1 - missing)
    return out


class _Tail:
    """The complete lines of a file that grows, each time those that are new."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self.identity: tuple[int, int] | None = None
        self.offset, self.last = 0, b""

    def read(self) -> tuple[bool, list[str]]:
        """Whether the file is another one than before, and its new lines (all of them then)."""
        try:
            with self.path.open("rb") as file:
                about = os.fstat(file.fileno())
                identity = about.st_dev, about.st_ino
                same = identity == self.identity
                file.seek(self.offset - len(self.last))
                fresh = not (same and file.read(len(self.last)) == self.last)
                if fresh:
                    self._forget()
                    file.seek(0)
                data = file.read()
        except FileNotFoundError:
            fresh = self.offset > 0
            self._forget()
            return fresh, []
        data = data[: data.rfind(b"\n") + 1]
        self.identity, self.offset = identity, self.offset + len(data)
        lines = data.splitlines(keepends=True)
        self.last = lines[-1] if lines else self.last
        try:
            return fresh, [line.decode("utf-8").rstrip("\r\n") for line in lines]
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path} is no text in UTF-8: {error}") from None


class RunHistory:
    """
    What a run did, step by step.

    Parameters
    ----------
    path
        A run directory, such as `fp-capstone train` makes: `settings.toml`, `metrics.csv`; and `layers.jsonl`, if a
        `Recorder` wrote one. It is read at once, and again by `refresh`.

    Attributes
    ----------
    path : Path or None
        As given.
    records : list of dict
        One for each step, in order: `step`, and whatever of `loss`, `grad_norm`, `lr`, `held_out_loss`,
        `tokens_per_second`, … and `layers` is known of it; see `fp_dynamics.recorder`.

    Raises
    ------
    ValueError
        If the directory holds no run, or a file in it is damaged.

    Examples
    --------
    >>> import tempfile
    >>> run = Path(tempfile.mkdtemp())
    >>> _ = (run / "settings.toml").write_text("n_steps = 100")
    >>> _ = (run / "metrics.csv").write_text("step,train_loss,lr\\n1,4.0,0.1\\n2,3.5,0.1\\n3,3.")
    >>> history = RunHistory(run)  # the third row has not been written to its end
    >>> history.steps, history.column("loss")
    (array([1, 2]), array([4. , 3.5]))
    >>> with (run / "metrics.csv").open("a") as file:
    ...     _ = file.write("25,0.1\\n")
    >>> history.refresh(), history.column("loss")
    (1, array([4.  , 3.5 , 3.25]))
    """

    def __init__(self, path: str | Path) -> None:
        self.path: Path | None = Path(path)
        self._settings: dict[str, Any] = {}
        if not (self.path / "settings.toml").is_file():
            raise ValueError(
                f"{self.path} holds no run: it has no settings.toml. Name the directory that fp-capstone train printed"
            )
        self._metrics, self._layers = _Tail(self.path / "metrics.csv"), _Tail(self.path / "layers.jsonl")
        self._header: list[str] = []
        self._rows: dict[int, dict[str, Any]] = {}
        self._details: dict[int, dict[str, Any]] = {}
        self.records: list[dict[str, Any]] = []
        self.refresh()

    @classmethod
    def from_records(
        cls, records: Iterable[Mapping[str, Any]], settings: Mapping[str, Any] | None = None
    ) -> "RunHistory":
        """
        The history of a run that was recorded in memory.

        Parameters
        ----------
        records
            Such as `Recorder.records`, in order; of a step that occurs again, and those after it, the later ones count.
        settings
            What determined the run, if it is of use.

        Returns
        -------
        RunHistory
            Without a path; `refresh` finds nothing new.

        Raises
        ------
        ValueError
            If a record has no step.
        """
        history = cls.__new__(cls)
        history.path, history._settings = None, dict(settings or {})
        rows: dict[int, dict[str, Any]] = {}
        for record in records:
            if "step" not in record:
                raise ValueError(f"a record names its step, got one with {', '.join(record) or 'nothing'}")
            _put(rows, dict(record))
        history.records = list(rows.values())
        return history

    # --- reading

    def refresh(self) -> int:
        """
        Read what has been written since.

        Returns
        -------
        int
            How many rows were read.

        Raises
        ------
        ValueError
            If a row is damaged. Rows before it are kept.
        """
        if self.path is None:
            return 0
        try:
            return self._read_metrics() + self._read_layers()
        finally:
            steps = sorted(self._rows.keys() | self._details.keys())
            self.records = [self._details.get(s, {}) | self._rows.get(s, {}) | {"step": s} for s in steps]

    def _read_metrics(self) -> int:
        fresh, lines = self._metrics.read()
        if fresh:
            self._header, self._rows = [], {}
        n = 0
        for row in self._split(lines):
            if not self._header:
                if "step" not in row:
                    raise ValueError(f"{self._metrics.path} has no column named step, but {', '.join(row)}")
                self._header = row
                continue
            try:
                if len(row) != len(self._header):
                    raise ValueError(f"{len(row)} values for {len(self._header)} columns")
                named = zip(self._header, row, strict=True)
                record = {RENAMED.get(name, name): float(value) for name, value in named if value}
                _put(self._rows, record)
            except (ValueError, KeyError, OverflowError) as error:  # a step that is infinite overflows
                shown = ",".join(row)
                raise ValueError(
                    f"{self._metrics.path} has a row that cannot be read, {shown!r:.80}: {error}"
                ) from None
            n += 1
        return n

    def _split(self, lines: list[str]) -> Iterator[list[str]]:
        try:
            yield from csv.reader(lines)
        except csv.Error as error:
            raise ValueError(f"{self._metrics.path} is no table of values between commas: {error}") from None

    def _read_layers(self) -> int:
        fresh, lines = self._layers.read()
        if fresh:
            self._details = {}
        for line in lines:
            try:
                record = json.loads(line)
                _check_record(record)
                _put(self._details, record)
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                raise ValueError(f"{self._layers.path} has a line that cannot be read, {line!r:.80}: {error}") from None
        return len(lines)

    # --- curves

    @property
    def steps(self) -> Integer[np.ndarray, " n"]:
        """The step of each record."""
        return np.array([record["step"] for record in self.records], dtype=np.int64)

    def column(self, name: str) -> Float[np.ndarray, " n"]:
        """
        One number of each record, NaN where it is missing.

        Parameters
        ----------
        name
            Such as `loss`, `lr` or `grad_norm`.

        Returns
        -------
        ndarray
            As long as `steps`.
        """
        return np.array([float(record.get(name, np.nan)) for record in self.records], dtype=np.float64)

    def curve(self, name: str, layer: str | None = None) -> tuple[Integer[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """
        The steps at which a number is known, and the number.

        Parameters
        ----------
        name
            As for `column`.
        layer
            If given, the number is one of that layer's, such as `update_ratio`.

        Returns
        -------
        steps, values : ndarray
            NaN among the values is one that was measured.
        """
        found = [
            (record["step"], place[name])
            for record in self.records
            for place in [record if layer is None else record.get("layers", {}).get(layer, {})]
            if name in place
        ]
        return np.array([s for s, _ in found], np.int64), np.array([float(v) for _, v in found], np.float64)

    @property
    def layers(self) -> list[str]:
        """The names of all layers that were recorded, in the order in which they appeared."""
        return list(dict.fromkeys(name for record in self.records for name in record.get("layers", {})))

    # --- about the run

    @property
    def settings(self) -> dict[str, Any]:
        """What the run was made with; empty if it is not known."""
        if self.path is None:
            return dict(self._settings)
        try:
            return tomllib.loads((self.path / "settings.toml").read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise ValueError(f"{self.path / 'settings.toml'} cannot be read: {error}") from None

    @property
    def vocab_size(self) -> int | None:
        """Of the model that the run saved, if it has saved one."""
        if self.path is None:
            return self._settings.get("vocab_size")
        found = [*sorted((self.path / "checkpoints").glob("step-*/config.json")), self.path / "model" / "config.json"]
        for path in reversed(found):
            config = _json(path)
            size = config.get("vocab_size")
            if isinstance(size, int) and size > 0:
                return size
        return None

    @property
    def baselines(self) -> dict[str, float]:
        """Held-out losses of simpler models, from the report of a run that has ended."""
        found = None if self.path is None else _json(self.path / "report.json").get("baselines")
        rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
        known = [(row.get("order"), row.get("loss")) for row in rows]
        return {f"{n}-gram": float(x) for n, x in known if n is not None and _is_number(x) and math.isfinite(x)}


def _put(rows: dict[int, dict[str, Any]], record: dict[str, Any]) -> None:
    """Add a record; of a step seen before, later ones are dropped, and what is not said anew of it stays."""
    step = record["step"] = int(record["step"])
    if rows and step <= next(reversed(rows)):
        for later in [s for s in rows if s > step]:
            del rows[later]
    rows[step] = rows.get(step, {}) | record


def _is_number(x: object) -> TypeGuard[float | int]:
    return isinstance(x, int | float) and not isinstance(x, bool)


def _check_record(record: Any) -> None:
    """A line of `layers.jsonl` is of the form that `Recorder` writes: numbers, and layers and probes in dicts."""
    if not isinstance(record, dict) or not _is_number(record.get("step")):
        raise ValueError("a record is an object with a step, a number")
    layers, probes = record.get("layers", {}), record.get("probes", {})
    if not isinstance(probes, dict) or not isinstance(layers, dict):
        raise ValueError("layers and probes are objects")
    for key in ("loss", "loss_after", "lr", "grad_norm"):
        if key in record and not _is_number(record[key]):
            raise ValueError(f"{key} is a number")
    for name, values in layers.items():
        if not isinstance(values, dict) or not all(_is_number(v) for k, v in values.items() if k != "activation"):
            raise ValueError(f"the values of the layer {name} are numbers")


def _json(path: Path) -> dict[str, Any]:
    """A JSON file, or nothing if it is not there or just being replaced."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
