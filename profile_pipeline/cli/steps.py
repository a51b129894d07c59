"""Progress of a build on stderr.

What belongs here: what a person sees while steps run, and the figures of each step. What does not: the steps
(`profile_pipeline/build.py`).

A terminal shows the running step with its time; anything else, such as a log file, gets a line for each step
that is done.
"""

import sys
import time
from dataclasses import dataclass

import pyarrow as pa
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from profile_pipeline.extraction import ReadingProgress
from profile_pipeline.index.embedding import progress_in_words

SECONDS_BETWEEN_LINES = 10
"""Where there is no terminal: often enough to see that it goes on, rarely enough for a log."""


@dataclass(frozen=True)
class Step:
    """What a step did; null where it does not apply.

    `rows_in` counts records of the source, or rows of the step's main input; `rows_written` what was new or
    different, deletions included; `rejected` records sent to quarantine; `embedded` texts.
    """

    step: str
    rows_in: int
    rows_written: int
    rejected: int | None
    embedded: int | None
    seconds: float

    def __str__(self) -> str:
        """The figures in words."""
        told = [f"{self.rows_in:,} in", f"{self.rows_written:,} written"]
        if self.rejected is not None:
            told.append(f"{self.rejected:,} rejected")
        if self.embedded is not None:
            told.append(f"{self.embedded:,} embedded")
        return ", ".join(told)


SCHEMA = pa.schema(
    [
        ("step", pa.string()),
        ("rows_in", pa.int64()),
        ("rows_written", pa.int64()),
        ("rejected", pa.int64()),
        ("embedded", pa.int64()),
        ("seconds", pa.float64()),
    ]
)


class Steps:
    """The steps of one build: those done, and the one that runs."""

    def __init__(self) -> None:
        """Begin with no step."""
        console = Console(stderr=True, highlight=False)
        self.done: list[Step] = []
        self.is_live = console.is_terminal
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
            disable=not self.is_live,
            # A terminal that gets the result as well need not keep both.
            transient=sys.stdout.isatty(),
        )
        self._running: TaskID | None = None
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> "Steps":
        """Start to show."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the screen as it should stay, also when a step failed."""
        self._progress.stop()

    def start(self, name: str) -> None:
        """A step begins."""
        self._started = self._last_line = time.monotonic()
        self._running = self._progress.add_task(name, total=1, detail="")

    def finish(
        self, name: str, rows_in: int, rows_written: int, *, rejected: int | None = None, embedded: int | None = None
    ) -> None:
        """The running step is done."""
        seconds = round(time.monotonic() - self._started, 2)
        step = Step(name, rows_in, rows_written, rejected, embedded, seconds)
        self.done.append(step)
        if self._running is not None:
            self._progress.update(self._running, completed=1, detail=str(step))
        if not self.is_live:
            print(f"{name:<22} {seconds:>7.2f} s  {step}", file=sys.stderr, flush=True)

    def embedding(self, done: int, total: int) -> None:
        """Some of the running step's texts are embedded."""
        told = progress_in_words(done, total, time.monotonic() - self._started)
        self._note(f"embedding: {told}", done / (total + 1))

    def searching(self, done: int, total: int) -> None:
        """Some of the running step's queries are answered."""
        self._note(f"searching: {done:,} of {total:,} queries", done / (total + 1))

    def reading(self, progress: ReadingProgress) -> None:
        """Some of the running step's documents are read."""
        self._note(str(progress), progress.documents / (progress.total + 1) if progress.total else 0.0)

    def _note(self, detail: str, share: float) -> None:
        """How far the running step has come: at once on a terminal, every few seconds elsewhere."""
        if self._running is not None:
            self._progress.update(self._running, completed=min(share, 1.0), detail=detail)
        now = time.monotonic()
        if not self.is_live and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            print(detail, file=sys.stderr, flush=True)

    def table(self) -> pa.Table:
        """The steps done, one a row."""
        return pa.Table.from_pylist([vars(step) for step in self.done], schema=SCHEMA)

    @property
    def seconds(self) -> float:
        """What the steps took together."""
        return sum(step.seconds for step in self.done)
