"""What a live source no longer has, found by comparing keys.

What belongs here: which records of the log are gone or back, the guard against mass deletion, and the versions
that say so. What does not: records whose source marks them as deleted itself, which are versions like any other.

A record that is gone gets a tombstone: its last version again, deleted on the last day of the run that found it.
One that comes back gets the version again whose content the source has now. Only records that this very source gave are
compared, so that what was read from files is not held against a database.
"""

from dataclasses import dataclass

import pyarrow as pa

from profile_pipeline.extraction import Plan, append_batch, staged
from profile_pipeline.history import IS_LATEST
from profile_pipeline.records.screening import Rules, screen
from profile_pipeline.retries import attempts
from profile_pipeline.sources.live import LiveSource
from profile_pipeline.sql import quoted
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import Warehouse

GONE = " (gone)"
"""Marks the source of a tombstone, to tell it from a deletion that the source itself reported."""

ALWAYS_PLAUSIBLE = 10
"""So many deletions at once are plausible however few records there are; that all are gone only a share of 1 allows."""


@dataclass(frozen=True)
class Deletions:
    """What comparing keys found, in records.

    `known` exist according to the log, `gone` of these are no longer in the source, `back` are in it again. `unknown`
    are not in the log, or wait in quarantine, and were read again. Unless the deletions are plausible, none is written.
    """

    known: int
    gone: int
    back: int
    unknown: int
    is_plausible: bool

    @property
    def share(self) -> float:
        """Records that are gone as a share of those known, 0 to 1."""
        return self.gone / self.known if self.known else 0.0


def list_present(warehouse: Warehouse, source: LiveSource, plan: Plan, rules: Rules) -> None:
    """Make the temporary table `present_records` of all keys in the source.

    They are asked for where that is cheap; else they are those of the documents that were just staged, which are
    all there are.
    """
    warehouse.connection.execute(
        "CREATE OR REPLACE TEMP TABLE present_records (id VARCHAR, content_hash VARCHAR)"
    ).fetchall()
    if not source.is_listing_keys:
        _note_present(warehouse, plan.kind, rules)
        return
    for attempt in attempts():
        with attempt:
            warehouse.connection.execute("DELETE FROM present_records").fetchall()
            for keys in source.keys(plan.kind):
                _insert_keys(warehouse, keys)


def find_deletions(warehouse: Warehouse, source: LiveSource, plan: Plan, rules: Rules, max_share: float) -> Deletions:
    """Compare `present_records` with the log.

    Makes the temporary tables `gone_records` and `back_records`, and stages the documents of records that the log
    does not know. What seems gone is asked for once more by its key, because a scan may miss a record that moves.
    """
    _compare(warehouse, plan)
    known, gone = _count(warehouse, "known_records"), _count(warehouse, "gone_records")
    if gone > max_share * known and not gone <= min(ALWAYS_PLAUSIBLE, known - 1):
        return Deletions(known, gone, 0, _count(warehouse, "unknown_records"), is_plausible=False)
    # Documents that were staged as a whole have just been added, or wait once more.
    unknown = _keys(warehouse, "unknown_records") if source.is_listing_keys else []
    wanted = [*_keys(warehouse, "gone_records"), *_keys(warehouse, "back_records"), *unknown]
    if not wanted:
        return Deletions(known, 0, 0, 0, is_plausible=True)
    documents = 0
    for attempt in attempts():
        with attempt, warehouse.transaction():
            for batch in source.fetch(plan.kind, wanted):
                append_batch(warehouse, plan, rules, batch, documents)
                documents += len(batch.documents)
    _note_present(warehouse, plan.kind, rules)
    warehouse.connection.execute("DELETE FROM gone_records WHERE id IN (SELECT id FROM present_records)").fetchall()
    gone, back = _count(warehouse, "gone_records"), _count(warehouse, "back_records")
    return Deletions(known, gone, back, len(unknown), is_plausible=True)


def write_tombstones(warehouse: Warehouse, plan: Plan, newest: int) -> int:
    """Add versions for the records that are gone or back to the log, and return how many.

    They follow the entry `newest` of the log. The caller has a transaction open.
    """
    log = RAW_TABLES[plan.kind].name
    rows = warehouse.connection.execute(
        f"""
        INSERT INTO {log} BY NAME
        WITH gone AS (
            SELECT * REPLACE (
                $now AS deleted_at, $day AS deleted_date, md5(content_hash || $now) AS content_hash,
                $source || '{GONE}' AS source, greatest(changed_at, $now) AS changed_at
            )
            FROM {log} SEMI JOIN gone_records USING (id)
            QUALIFY {IS_LATEST}
        ),
        back AS (
            SELECT * REPLACE ($source AS source, greatest(changed_at, $now) AS changed_at)
            FROM {log} SEMI JOIN back_records USING (id) SEMI JOIN present_records USING (id, content_hash)
            WHERE source <> $source || '{GONE}'
            QUALIFY {IS_LATEST}
        )
        SELECT * REPLACE ($day AS partition_date, $newest + row_number() OVER (ORDER BY id) AS sequence)
        FROM (FROM gone UNION ALL BY NAME FROM back)
        """,
        {
            "now": min(plan.clock, plan.ends_at),
            "day": plan.window.end,
            "source": plan.source,
            "newest": newest,
        },
    ).fetchall()
    return int(rows[0][0])


def _compare(warehouse: Warehouse, plan: Plan) -> None:
    """Make `known_records`, `gone_records`, `back_records` and `unknown_records`, each a temporary table of keys."""
    log = RAW_TABLES[plan.kind].name
    connection = warehouse.connection
    columns = "partition_date, id, source" + (", email" if plan.kind == "users" else "")
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE latest_records AS
        SELECT {columns}, coalesce(deleted_date <= DATE '{plan.window.end}', false) AS is_deleted FROM {log}
        QUALIFY {IS_LATEST}
        """
    ).fetchall()
    # What is newer than the window, such as a record that was replayed today, is compared in the run of its day.
    sources = f"{quoted(plan.source)}, {quoted(plan.source + GONE)}"
    is_ours = f"source IN ({sources}) AND partition_date <= DATE '{plan.window.end}'"
    # Whoever took the address meanwhile keeps it.
    is_free = (
        "TRUE"
        if plan.kind != "users"
        else """
        email NOT IN (
            SELECT email FROM latest_records WHERE NOT is_deleted AND id NOT IN (SELECT id FROM gone_records)
        )"""
    )
    # Of several who come back with one address, whoever left first had it first.
    first_of_address = (
        "" if plan.kind != "users" else "QUALIFY row_number() OVER (PARTITION BY email ORDER BY partition_date, id) = 1"
    )
    queries = {
        "known_records": f"SELECT id FROM latest_records WHERE NOT is_deleted AND {is_ours}",
        "gone_records": "FROM known_records ANTI JOIN present_records USING (id)",
        "back_records": f"""
            SELECT id FROM latest_records SEMI JOIN present_records USING (id)
            WHERE is_deleted AND source = {quoted(plan.source + GONE)} AND {is_ours} AND {is_free}
            {first_of_address}
        """,
        # What waits in quarantine may have been mended without a new time.
        "unknown_records": f"""
            SELECT DISTINCT id FROM present_records
            WHERE id NOT IN (SELECT id FROM latest_records)
                OR id IN (SELECT record_id FROM quarantine WHERE kind = '{plan.kind}' AND resolution IS NULL)
        """,
    }
    for name, query in queries.items():
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}").fetchall()


def _note_present(warehouse: Warehouse, kind: str, rules: Rules) -> None:
    """Add the keys of what is staged, rejected documents included, to `present_records`."""
    screen(warehouse.connection, kind, staged(kind), "screened", rules, only=("id",))
    warehouse.connection.execute(
        "INSERT INTO present_records SELECT coalesce(id, record_id), content_hash FROM screened "
        "WHERE coalesce(id, record_id) IS NOT NULL"
    ).fetchall()
    warehouse.connection.execute("DROP TABLE screened").fetchall()


def _insert_keys(warehouse: Warehouse, keys: list[str]) -> None:
    warehouse.connection.register("arrived_keys", pa.table({"id": pa.array(keys, pa.string())}))
    warehouse.connection.execute("INSERT INTO present_records SELECT id, NULL FROM arrived_keys").fetchall()
    warehouse.connection.unregister("arrived_keys")


def _count(warehouse: Warehouse, table: str) -> int:
    return warehouse.scalar(f"SELECT count(*) FROM {table}")


def _keys(warehouse: Warehouse, table: str) -> list[str]:
    return [key for (key,) in warehouse.connection.execute(f"SELECT id FROM {table} ORDER BY id").fetchall()]
