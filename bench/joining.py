"""Looking features up as of other days, beside Feast's point-in-time join of the same.

What belongs here: the join alone, of features that are there. What does not: computing them (`profiles.py`), which
Feast does not do.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import ibis
from ibis import _

from bench.environments import RivalMissing
from bench.harness import WayFailed, measured
from bench.profiles import range_home, settings_of
from bench.suite import Bench
from bench.table import Row, compared
from profile_pipeline.history import FOREVER, as_of_join
from profile_pipeline.warehouse import open_warehouse

FEATURES = ["number_of_events_attended", "total_messages_sent", "total_orders", "personalization_score"]


def looked_up(home: str) -> Generator[None, None, dict[str, Any]]:
    """The features of each touched user as of each day they were touched on; rows, and the sum of each column."""
    with open_warehouse(settings_of(home), read_only=True) as warehouse:
        profiles = warehouse.table("user_profiles")
        following = _.partition_date.lead().over(ibis.window(group_by="id", order_by="partition_date"))
        facts = profiles.select(
            *FEATURES,
            user_id="id",
            valid_from=_.partition_date,
            valid_to=following.coalesce(ibis.literal(FOREVER)),
        )
        pairs = warehouse.table("touched_users").select("user_id", as_of=_.partition_date)
        yield
        found = as_of_join(pairs, facts, "user_id").to_pyarrow()
        sums = found.to_pandas()[FEATURES].sum()
        return {"rows": found.num_rows, "sums": {name: int(sums[name]) for name in FEATURES}}


def rows(bench: Bench) -> Iterator[Row]:
    """The row of a size."""
    home = range_home(bench)
    ours = measured(looked_up, {"home": home}, runs=bench.runs)
    what = f"point-in-time join of {ours.told['rows']:,} user-days"
    try:
        python = bench.python("feast")
    except RivalMissing as missing:
        yield Row(what, bench.users, ours.seconds, ours.cpu_seconds, ours.peak_mb, runs=bench.runs, note=str(missing))
        return
    theirs = measured(
        "bench.rivals.feast_join:join",
        export(home, bench.empty("feast")) | {"columns": FEATURES},
        runs=bench.runs,
        python=python,
    )
    if theirs.told != ours.told:
        raise WayFailed(f"Feast found {theirs.told}, the pipeline {ours.told}")
    yield compared(
        what,
        bench.users,
        ours,
        "Feast on DuckDB",
        theirs,
        note=f"{len(FEATURES)} features that were computed before; equal rows and sums",
    )


def export(home: Path, folder: Path) -> dict[str, Path]:
    """Features and pairs as the Parquet files that Feast asks for."""
    features, pairs = folder / "features.parquet", folder / "pairs.parquet"
    with open_warehouse(settings_of(home), read_only=True) as warehouse:
        for query, target in (
            (f"SELECT id AS user_id, partition_date AS day, {', '.join(FEATURES)} FROM user_profiles", features),
            ("SELECT user_id, partition_date AS day FROM touched_users", pairs),
        ):
            warehouse.connection.execute(
                f"COPY (SELECT * EXCLUDE (day), day::TIMESTAMP AS event_timestamp FROM ({query})) TO '{target}'"
            ).fetchall()
    return {"features": features, "pairs": pairs, "folder": folder}
