"""Which days are computed, up to which entry of the log, and which owe a recompute.

What belongs here: the table `computed_days`, which each run notes its progress in, and what is asked of it. What does
not: computing (`build.py`), and asking for runs (`defs/`).
"""

from datetime import date, timedelta

import ibis

from profile_pipeline.errors import PipelineError
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import Warehouse
from profile_pipeline.window import Window

PROFILE_TABLES = ("user_profiles", "user_summaries", "messaging_decisions")
"""What has to be written, after its touched users were found, before a day counts as computed."""


def note_begun(warehouse: Warehouse, window: Window, sequence: int) -> None:
    """Note that the touched users of the window's days were found, in the log up to an entry."""
    days = ibis.literal([*window], "array<date>").unnest().name("partition_date").as_table()
    follows = {"log_sequence": sequence, "missing_tables": [*PROFILE_TABLES], "is_complete": False}
    warehouse.replace("computed_days", days.mutate(**follows), window)


def note_written(warehouse: Warehouse, name: str, window: Window) -> None:
    """Note that a table of profiles follows from the touched users of the window's days."""
    with warehouse.transaction():
        warehouse.connection.execute(
            """
            UPDATE computed_days SET
                missing_tables = list_filter(missing_tables, missing -> missing <> $name),
                is_complete = len(list_filter(missing_tables, missing -> missing <> $name)) = 0
            WHERE partition_date BETWEEN $start AND $end
            """,
            {"name": name, "start": window.start, "end": window.end},
        ).fetchall()


def owe_after(warehouse: Warehouse, day: date) -> None:
    """Let computed days after a day owe a recompute: their decisions follow from its profiles, too."""
    warehouse.connection.execute("UPDATE computed_days SET log_sequence = 0 WHERE partition_date > ?", [day]).fetchall()


def owe_what_follows(warehouse: Warehouse, sequence: int) -> None:
    """Let days owe a recompute when the log goes on after an entry; later ones that they had seen were removed."""
    warehouse.connection.execute(
        "UPDATE computed_days SET log_sequence = least(log_sequence, ?)", [sequence]
    ).fetchall()


def days_owed(warehouse: Warehouse) -> list[date]:
    """The days whose stored profiles do not follow from the log as it is now, in order.

    A day owes a recompute when the log of that day or of an earlier one gained versions since, when profiles of an
    earlier one changed since, when its run was broken off, or when it was left out between days that were computed.
    """
    newest = " UNION ALL ".join(
        f"SELECT partition_date, max(sequence) AS sequence FROM {table.name} GROUP BY 1"
        for table in RAW_TABLES.values()
    )
    rows = warehouse.connection.execute(
        f"""
        WITH span AS (
            SELECT unnest(generate_series(min(partition_date), max(partition_date), INTERVAL 1 DAY))::DATE AS day
            FROM computed_days
        ),
        newest AS (
            SELECT greatest(partition_date, (SELECT min(day) FROM span)) AS day, sequence FROM ({newest})
        ),
        gained AS (
            SELECT day, max(max(sequence)) OVER (ORDER BY day) AS sequence
            FROM span LEFT JOIN newest USING (day) GROUP BY day
        )
        SELECT day FROM gained LEFT JOIN computed_days AS computed ON computed.partition_date = day
        WHERE NOT coalesce(is_complete, false) OR gained.sequence > computed.log_sequence
        ORDER BY day
        """
    ).fetchall()
    return [day for (day,) in rows]


def owed_in_words(owed: list[date]) -> str:
    """Which days owe a recompute, and how to pay."""
    return (
        f"{Window(owed[0], owed[-1])} is not up to date with the records read since; "
        f"`profile-pipeline build --from {owed[0]} --to {owed[-1]}` computes them again"
    )


def days_left_out(warehouse: Warehouse) -> Window | None:
    """The days from the log's first to the one before the first that was computed, if that is later.

    Of whoever was touched on these days only, there are no profiles.
    """
    firsts = " UNION ALL ".join(f"SELECT min(partition_date) AS day FROM {table.name}" for table in RAW_TABLES.values())
    ((first, computed),) = warehouse.connection.execute(
        f"SELECT (SELECT min(day) FROM ({firsts})), (SELECT min(partition_date) FROM computed_days)"
    ).fetchall()
    if first is None or computed is None or first >= computed:
        return None
    return Window(first, computed - timedelta(days=1))


def computed_span(warehouse: Warehouse) -> Window | None:
    """From the first to the last day that a run noted, whether its profiles were written or not."""
    ((first, last),) = warehouse.connection.execute(
        "SELECT min(partition_date), max(partition_date) FROM computed_days"
    ).fetchall()
    return None if first is None else Window(first, last)


def last_day_before(warehouse: Warehouse, day: date) -> date | None:
    """The latest day before a day that a run noted."""
    query = "SELECT max(partition_date) FROM computed_days WHERE partition_date < ?"
    ((last,),) = warehouse.connection.execute(query, [day]).fetchall()
    found: date | None = last
    return found


def has_profiles(warehouse: Warehouse) -> bool:
    """Whether there is a day with profiles."""
    return bool(warehouse.scalar("SELECT count(*) FROM computed_days WHERE is_complete"))


def days_with_profiles(warehouse: Warehouse) -> Window:
    """From the first to the last day with profiles.

    Raises:
        PipelineError: there is none.
    """
    ((first, last),) = warehouse.connection.execute(
        "SELECT min(partition_date), max(partition_date) FROM computed_days WHERE is_complete"
    ).fetchall()
    if first is None:
        raise PipelineError("the warehouse holds no profiles yet; run `profile-pipeline build` first")
    return Window(first, last)


def last_computed_day(warehouse: Warehouse) -> date:
    """The latest day with profiles.

    Raises:
        PipelineError: there is none.
    """
    return days_with_profiles(warehouse).end
