"""Days and ranges of days.

What belongs here: the closed range of days that a run works on, and reading a day from text. What does not:
time zones and timestamps (`records/`), which days exist as partitions (`defs/`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from profile_pipeline.errors import PipelineError


@dataclass(frozen=True)
class Window:
    """A range of days, both ends included. One day is a window whose ends are equal.

    Raises:
        PipelineError: the end lies before the start.
    """

    start: date
    end: date

    def __post_init__(self) -> None:
        """Refuse a window that holds no day."""
        if self.end < self.start:
            raise PipelineError(f"the range {self.start} to {self.end} ends before it starts; swap the days")

    def __contains__(self, day: date) -> bool:
        """Whether the day lies in the window."""
        return self.start <= day <= self.end

    def __str__(self) -> str:
        """`2024-01-01`, or `2024-01-01 to 2024-01-31`."""
        return f"{self.start}" if self.start == self.end else f"{self.start} to {self.end}"

    @property
    def days(self) -> int:
        """How many days the window holds."""
        return (self.end - self.start).days + 1

    def __iter__(self) -> Iterator[date]:
        """Each day, in order."""
        return (self.start + timedelta(days=offset) for offset in range(self.days))


def parse_day(text: str, what: str = "day") -> date:
    """Read `YYYY-MM-DD`.

    Raises:
        PipelineError: the text is no such day; the message names it and the option given as `what`.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise PipelineError(f"{what} {text!r} is not a day; write it as YYYY-MM-DD, such as 2024-02-10") from None
