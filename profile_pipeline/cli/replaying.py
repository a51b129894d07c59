"""What `quarantine replay` does with the pipeline's functions, and what it prints.

What belongs here: counts, and saying when profiles follow. What does not: what becomes of a rejected record
(`profile_pipeline/replay.py`).
"""

from datetime import date

import pyarrow as pa

from profile_pipeline.cli import Format, output
from profile_pipeline.cli.reading import remark_on_owed_days
from profile_pipeline.computed_days import days_owed
from profile_pipeline.replay import Replayed, day_of_replay, replay
from profile_pipeline.settings import Settings
from profile_pipeline.warehouse import Warehouse, open_warehouse

REPLAY_COLUMNS = {
    "kind": "kind",
    "waiting": "waiting",
    "replayed": "replayed",
    "superseded": "superseded",
    "still waiting": "still_waiting",
}
SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        *((name, pa.int64()) for name in ("waiting", "replayed", "superseded", "still_waiting")),
        ("reasons", pa.list_(pa.struct([("reason", pa.string()), ("records", pa.int64())]))),
    ]
)


def replay_quarantine(settings: Settings, day: date | None, kind: str | None, format: Format) -> None:
    """Replay waiting records on a day, by default today, and print what became of them.

    Raises:
        PipelineError: there is no warehouse, or the day lies before the first partition or has not come yet.
    """
    day = day_of_replay(settings, day)
    with open_warehouse(settings, must_exist=True) as warehouse:
        done = replay(warehouse, settings, day, kind)
        _remark_on_profiles(warehouse, day, done)
    rows = [
        vars(each) | {"reasons": [{"reason": reason, "records": n} for reason, n in each.reasons.most_common()]}
        for each in done
    ]
    output.write(pa.Table.from_pylist(rows, schema=SCHEMA).to_reader(), format, REPLAY_COLUMNS)


def _remark_on_profiles(warehouse: Warehouse, day: date, done: list[Replayed]) -> None:
    """Say when profiles follow, if anything entered the log."""
    if not any(each.replayed for each in done):
        return
    owed = days_owed(warehouse)
    if day in owed:
        remark_on_owed_days(warehouse, owed[-1])
    else:
        output.note(
            f"profiles follow with the nightly run of {day}, or with `profile-pipeline build --from {day} --to {day}`"
        )
