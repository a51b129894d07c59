"""Made-up data to try the pipeline on, from two hundred users to a million.

What belongs here: making up a source folder and writing it. What does not: reading one (`sources/`).

There are two generators behind one function. JSON Lines are a story for reading (`story.py`): every accepted
way to write a date, gaps, friends, departures, the worked example (`golden.py`), and
lines that must be rejected (`dirty.py`). Parquet is volume (`bulk.py`): clean typed columns with realistic
proportions, written without a loop over records.
"""

import json
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from profile_pipeline.errors import PipelineError
from profile_pipeline.sample import bulk
from profile_pipeline.sample.dirty import FEWEST_USERS, Dirty, dirty_lines
from profile_pipeline.sample.story import SPRING_DAY, Record, tell

# Enough for every habit to show, few enough to read; the committed sample is this one.
DEFAULT_USERS = 200
# Any number would do; another one changes the committed sample.
DEFAULT_SEED = 20240101

# A story is told record by record and is meant to be read; beyond this nobody reads it.
LARGEST_STORY = 5_000

Format = Literal["jsonl", "parquet"]


@dataclass(frozen=True)
class SampleReport:
    """What was written.

    Attributes:
        out: the folder.
        format: `jsonl` or `parquet`.
        records: kind of record to valid records written.
        dirty: kind of record to fault to lines written that must be rejected; empty for Parquet.
    """

    out: Path
    format: Format
    records: dict[str, int]
    dirty: dict[str, dict[str, int]]


def write_sample(
    out: Path, users: int = DEFAULT_USERS, *, seed: int = DEFAULT_SEED, format: Format | None = None
) -> SampleReport:
    """Make up users with their events, orders and messages, and write them as a source folder.

    The same arguments give the same files, byte for byte, with the same versions of Faker, NumPy and PyArrow.
    Files of an earlier sample in the same format are overwritten.

    Args:
        out: the folder, created when it is not there.
        users: how many valid users; other records follow in proportion.
        seed: which of the possible worlds.
        format: `jsonl` or `parquet`; by default JSON Lines up to 5,000 users, Parquet for more.

    Raises:
        PipelineError: no user is asked for, the format is unknown, or the folder holds the other format.
    """
    format = format or ("jsonl" if users <= LARGEST_STORY else "parquet")
    _refuse_what_cannot_be(out, users, format)
    out.mkdir(parents=True, exist_ok=True)
    if format == "parquet":
        return SampleReport(out, format, bulk.write(out, users, seed), {})
    told = tell(users, seed)
    dirty = dirty_lines(_taken_email(told["users"])) if users >= FEWEST_USERS else {}
    for kind, records in told.items():
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        text = "\n".join(_strewn(lines, dirty.get(kind, []), seed)) + "\n"
        (out / f"{kind}.jsonl").write_text(text, encoding="utf-8", newline="\n")
    return SampleReport(
        out,
        format,
        {kind: len(records) for kind, records in told.items()},
        {kind: dict(Counter(line.fault for line in lines)) for kind, lines in dirty.items()},
    )


def _refuse_what_cannot_be(out: Path, users: int, format: str) -> None:
    if users < 1:
        raise PipelineError(f"a sample of {users} users cannot be made; ask for at least 1")
    if format not in ("jsonl", "parquet"):
        raise PipelineError(f"the sample format {format!r} is not known; use jsonl or parquet")
    other = "parquet" if format == "jsonl" else "jsonl"
    kept = sorted(path.name for path in out.glob(f"*.{other}"))
    if kept:
        raise PipelineError(f"{out} already holds {kept[0]}; choose an empty folder, so that no source is read twice")


def _taken_email(users: list[Record]) -> str:
    """The address of a member of the opening, still there, whom a second user can claim to be."""
    for user in users[1:]:
        created = str(user.get("created_at", ""))
        if created.startswith("2023") and "deleted_at" not in user:
            return str(user["email"]).strip()
    raise AssertionError(f"no member joined before {SPRING_DAY}")


def _strewn(lines: list[str], dirty: list[Dirty], seed: int) -> list[str]:
    """Valid lines in their order with the dirty ones strewn among them, none before the worked example's.

    Only the later half takes them in, so that a second user on an address comes after the first.
    """
    rng = random.Random(seed)  # noqa: S311  # where a line stands is no secret
    places = sorted(rng.sample(range(len(lines) // 2, len(lines)), len(dirty)))
    strewn = list(lines)
    for place, line in reversed(list(zip(places, dirty, strict=True))):
        strewn.insert(place, line.line)
    return strewn
