r"""
The display: what a person sees while a model trains.

On a terminal, two lines that renew themselves: a progress bar with the time left, and the numbers that tell whether
training goes well. Elsewhere (a file, a pipe, a continuous-integration log) a plain line every few seconds, because
control characters are noise there.

| number | healthy |
| --- | --- |
| tokens/s | steady |
| training loss, a moving average | falls, fast at first |
| held-out loss | follows; both in nats per token and in bits per byte |
| learning rate | rises through the warmup, then falls |
| gradient norm, before clipping | neither grows steadily nor jumps |
"""

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from fp_capstone.training import StepRecord

__all__ = ["Display"]

PLAIN_SECONDS = 5.0


class Display:
    """
    Shows a run on a console; use it in a `with` statement.

    Parameters
    ----------
    console
        Where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._train: float | None = None
        self._held_out = "held out -"
        self._n_steps, self._bits_per_nat = 0, 0.0
        self._speed: float | None = None
        self._last_line = 0.0
        self._live: Live | None = None
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[left]}"),
            console=console,
            expand=True,
        )
        self._task = self._progress.add_task("steps", total=None, left="")

    def __enter__(self) -> "Display":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def note(self, message: str) -> None:
        """Print a sentence above the bar."""
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def begin(self, n_steps: int, bits_per_nat: float) -> None:
        """Learn how long the run is, and how many bits per byte a nat per token of training text is."""
        self._n_steps, self._bits_per_nat = n_steps, bits_per_nat

    def evaluated(self, step: int, window: int, loss: float, bits: float) -> None:
        """Note the held-out loss."""
        self._held_out = f"held out {loss:.4f} ({bits:.3f} bits/byte, window {window})"
        if not self.console.is_terminal:
            self.note(f"step {step:>6,}  {self._held_out}")

    def step(self, record: StepRecord, seconds_left: float) -> None:
        """Show a step."""
        self._train = record.loss if self._train is None else 0.95 * self._train + 0.05 * record.loss
        speed = record.tokens / record.seconds
        self._speed = speed if self._speed is None else 0.9 * self._speed + 0.1 * speed
        bits = self._train * self._bits_per_nat
        losses = f"train {self._train:.4f} ({bits:.3f} bits/byte, window {record.window})  {self._held_out}"
        rates = f"{self._speed:,.0f} tokens/s  learning rate {record.lr:.1e}  gradient norm {record.grad_norm:.2f}"
        left = f"{_clock(seconds_left)} left"
        if not self.console.is_terminal:
            if time.monotonic() - self._last_line >= PLAIN_SECONDS or record.step == self._n_steps:
                self._last_line = time.monotonic()
                self.note(f"step {record.step:>6,}/{self._n_steps:,}  {losses}  {rates}  {left}")
            return
        self._progress.update(self._task, total=self._n_steps, completed=record.step, left=left)
        shown = Group(self._progress, Text(losses), Text(rates))
        if self._live is None:
            self._live = Live(shown, console=self.console, refresh_per_second=4)
            self._live.start()
        self._live.update(shown)


def _clock(seconds: float) -> str:
    """Minutes and seconds, hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
