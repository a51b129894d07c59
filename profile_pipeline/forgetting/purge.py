"""Erasing a person from the warehouse.

What belongs here: taking their records out of the logs, the quarantine and what is staged, redacting those of others,
and recomputing what follows. What does not: what a document looks like without them (`records/suppressions.py`).

The logs are then as if the suppression list had been there from the beginning, and so are the tables that follow.
"""

from datetime import date

import pyarrow as pa

from profile_pipeline.build import STEPS
from profile_pipeline.computed_days import computed_span, owe_what_follows
from profile_pipeline.forgetting.request import ErasureRequest
from profile_pipeline.ingestion import log_sequence, rules_of
from profile_pipeline.quarantine import SECOND_HOLDER
from profile_pipeline.reconciliation import GONE
from profile_pipeline.records.dialect import Dialect
from profile_pipeline.records.screening import screen, typed_columns
from profile_pipeline.records.suppressions import OWNERS, Named, Suppressions
from profile_pipeline.replay import dialects_of
from profile_pipeline.settings import Settings
from profile_pipeline.sql import quoted
from profile_pipeline.tables import DERIVED_TABLES, RAW_TABLES, user_column
from profile_pipeline.warehouse import Warehouse
from profile_pipeline.window import Window

OWNED = {
    kind: " OR ".join(f"{name} IN (SELECT unnest(${'addresses' if name == 'email' else 'ids'}))" for name in owners)
    or "false"
    for kind, owners in OWNERS.items()
}
OWNED["users"] += " AND id NOT IN (SELECT id FROM raw_users WHERE email NOT IN (SELECT unnest($addresses)))"
"""The condition under which a row of a log is theirs, by kind; as for ingestion, addresses are handed over."""

KNOWN_USERS = "SELECT id, email FROM raw_users"

KEYS = ("id", "user_id", "event_id")
"""Columns that say whose a row is, which, and of what: they name no user but its owner, who is another."""

VALID_NOW = "it is valid now that it does not name who was erased; replay it"
"""The reason of what was rejected for the sake of what was redacted."""

TIMES = ("created_at", "updated_at", "deleted_at", "deleted_date", "changed_at")
"""Typed columns that redacting leaves as they are: those of a tombstone are not in its document."""


def purge(warehouse: Warehouse, settings: Settings, request: ErasureRequest, suppressions: Suppressions) -> None:
    """Take a person out of what was read, in one transaction.

    The request knows the first day concerned before it ends.
    """
    with warehouse.transaction():
        first_days = [_purge_log(warehouse, settings, request, suppressions, kind) for kind in RAW_TABLES]
        rejected = [_purge_quarantine(warehouse, settings, request, suppressions, kind) for kind in RAW_TABLES]
        request.note("quarantine", removed=sum(row[0] for row in rejected), redacted=sum(row[1] for row in rejected))
        request.note("staged_documents", removed=warehouse.scalar("SELECT count(*) FROM staged_documents"))
        # Reading begins anew, without them.
        for table in ("staged_documents", "extractions"):
            warehouse.connection.execute(f"DELETE FROM {table}").fetchall()
        # Numbers that were in use are given again, and must not look as if they had been seen.
        owe_what_follows(warehouse, log_sequence(warehouse))
        # They are exported again where they are needed.
        warehouse.connection.execute(
            "DELETE FROM parquet_partitions WHERE table_name IN (SELECT unnest(?))",
            [[table.name for table in RAW_TABLES.values()]],
        ).fetchall()
        known = [day for day in (request.start, *first_days) if day is not None]
        request.first_day = min(known).isoformat() if known else None
        request.save(settings)


def recompute(warehouse: Warehouse, settings: Settings, request: ErasureRequest) -> None:
    """Compute all that follows from the logs, from the person's first day to the last computed one."""
    for name in DERIVED_TABLES:
        removed = f"SELECT count(*) FROM {name} WHERE {user_column(name)} IN (SELECT unnest(?))"
        request.note(name, removed=warehouse.scalar(removed, request.ids))
    request.save(settings)
    computed = computed_span(warehouse)
    if request.start is None or computed is None or request.start > computed.end:
        return
    window = Window(max(request.start, computed.start), computed.end)
    for name, step in STEPS.items():
        request.note(name, rewritten=step(warehouse, settings, window).written.rows_written)
    request.save(settings)


def _purge_log(
    warehouse: Warehouse, settings: Settings, request: ErasureRequest, suppressions: Suppressions, kind: str
) -> date | None:
    """Purge the log of a kind; the first day on which it changed, None if it did not."""
    connection, log = warehouse.connection, RAW_TABLES[kind].name
    known_by = {"ids": request.ids, "addresses": request.addresses}
    owned = {name: value for name, value in known_by.items() if f"${name}" in OWNED[kind]}
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE doomed AS SELECT rowid AS place FROM {log} WHERE {OWNED[kind]}", owned
    ).fetchall()
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE mended AS SELECT 0::BIGINT AS place, * FROM {log} LIMIT 0"
    ).fetchall()
    for condition, dialect in dialects_of(settings, kind):
        _find_candidates(warehouse, request, suppressions, f"{log} WHERE {condition}")
        named = suppressions.find(connection, kind, "candidates", dialect, users=KNOWN_USERS)
        _note_found(warehouse, request, named)
        _screen_redacted(warehouse, settings, kind, dialect)
        columns = ", ".join(f's."{name}"' for name in typed_columns(kind) if name not in TIMES)
        names = ", ".join(f'"{name}"' for name in typed_columns(kind) if name not in TIMES)
        connection.execute(
            f"""
            INSERT INTO mended (place, {names}, document)
            SELECT place, {columns}, after FROM verdicts JOIN screened AS s USING (position) JOIN candidates
                USING (position) WHERE s.reason IS NULL
            """
        ).fetchall()
        connection.execute(
            "INSERT INTO doomed SELECT place FROM verdicts JOIN candidates USING (position) WHERE after IS NULL"
        ).fetchall()
        _mend_by_column(warehouse, suppressions, kind)
    concerned = "rowid IN (SELECT place FROM doomed UNION SELECT place FROM mended)"
    rows = connection.execute(f"SELECT min(partition_date) FROM {log} WHERE {concerned}").fetchall()
    request.note(
        log,
        removed=warehouse.scalar("SELECT count(DISTINCT place) FROM doomed"),
        redacted=warehouse.scalar("SELECT count(*) FROM mended ANTI JOIN doomed USING (place)"),
    )
    first_day: date | None = rows[0][0]
    if first_day is not None:
        _write_log(warehouse, kind)
    return first_day


def _mend_by_column(warehouse: Warehouse, suppressions: Suppressions, kind: str) -> None:
    """Mend the rows whose redacted document cannot be read, or not by today's settings, as that of a former source."""
    log = RAW_TABLES[kind]
    rows = warehouse.connection.sql(
        f"""
        SELECT place, after, log.* FROM verdicts JOIN candidates USING (position) JOIN {log.name} AS log ON
            log.rowid = place
        WHERE after IS NOT NULL AND place NOT IN (SELECT place FROM mended)
        """
    ).to_arrow_table()
    texts = [name for name in typed_columns(kind) if "string" in log.types[name] and name not in KEYS]
    mended = rows.to_pylist()
    for row in mended:
        row["document"] = row["after"]
        for name in texts:
            is_own = kind == "users" and name == "name"
            if isinstance(row[name], list):
                row[name] = [kept for each in row[name] if (kept := suppressions.redact_text(each))]
            elif row[name] is not None and not is_own:
                row[name] = suppressions.redact_text(row[name]) or None
    warehouse.connection.register("mended_by_column", pa.Table.from_pylist(mended, schema=rows.schema).drop(["after"]))
    warehouse.connection.execute("INSERT INTO mended BY NAME FROM mended_by_column").fetchall()
    warehouse.connection.unregister("mended_by_column")


def _write_log(warehouse: Warehouse, kind: str) -> None:
    """Delete what is doomed, and put what is mended in the place of what it was."""
    connection, log = warehouse.connection, RAW_TABLES[kind].name
    kept = ("partition_date", "source", "sequence", *TIMES)
    columns = ", ".join(
        f'old."{name}"' if name in kept else f'new."{name}"'
        for name in RAW_TABLES[kind].columns
        if name != "content_hash"
    )
    names = ", ".join(f'"{name}"' for name in RAW_TABLES[kind].columns if name != "content_hash")
    # A tombstone's hash is told from that of the version it ends.
    content_hash = f"""CASE WHEN ends_with(old.source, '{GONE}')
        THEN md5(md5(new.document) || old.deleted_at) ELSE md5(new.document) END"""
    for statement in (
        f"""
        CREATE OR REPLACE TEMP TABLE renewed AS
        SELECT {columns}, {content_hash} AS content_hash
        FROM {log} AS old JOIN mended AS new ON old.rowid = new.place WHERE new.place NOT IN (SELECT place FROM doomed)
        """,
        f"DELETE FROM {log} WHERE rowid IN (SELECT place FROM doomed UNION SELECT place FROM mended)",
        f"INSERT INTO {log} ({names}, content_hash) SELECT {names}, content_hash FROM renewed ORDER BY sequence",
        "DROP TABLE renewed",
    ):
        connection.execute(statement).fetchall()


def _purge_quarantine(
    warehouse: Warehouse, settings: Settings, request: ErasureRequest, suppressions: Suppressions, kind: str
) -> tuple[int, int]:
    """Purge what was rejected of a kind; how many documents went, and how many were redacted."""
    connection, removed, redacted = warehouse.connection, 0, 0
    for condition, dialect in dialects_of(settings, kind):
        _find_candidates(warehouse, request, suppressions, f"quarantine WHERE kind = '{kind}' AND {condition}")
        named = suppressions.find(connection, kind, "candidates", dialect, users=KNOWN_USERS)
        _note_found(warehouse, request, named)
        _screen_redacted(warehouse, settings, kind, dialect)
        removed += len(named.owned)
        redacted += len(named.redacted)
        connection.execute(
            f"""
            DELETE FROM quarantine WHERE rowid IN (
                SELECT place FROM candidates JOIN verdicts USING (position) WHERE after IS NULL
                OR md5(after) IN (SELECT content_hash FROM quarantine WHERE kind = '{kind}')
            )
            """
        ).fetchall()
        # A reason shows the beginning of a value, which may end within what was redacted.
        connection.execute(
            f"""
            UPDATE quarantine SET document = after, content_hash = md5(after), reason = CASE
                WHEN changed.reason IS NOT NULL THEN changed.reason
                WHEN ends_with(quarantine.reason, '{SECOND_HOLDER}') THEN quarantine.reason ELSE '{VALID_NOW}' END
            FROM (
                SELECT place, after, screened.reason
                FROM candidates JOIN verdicts USING (position) JOIN screened USING (position)
            ) AS changed
            WHERE quarantine.rowid = changed.place
            """
        ).fetchall()
    reasons = connection.execute(
        f"SELECT rowid, reason, record_id FROM quarantine WHERE kind = '{kind}' AND "
        "regexp_matches(lower(concat_ws(' ', reason, record_id)), ?)",
        [request.needles.expression or "^$"],
    ).fetchall()
    for row, reason, record_id in reasons:
        connection.execute(
            "UPDATE quarantine SET reason = ?, record_id = ? WHERE rowid = ?",
            [request.needles.redact(reason), request.needles.redact(record_id) if record_id else record_id, row],
        ).fetchall()
    connection.execute(
        f"DELETE FROM quarantine WHERE kind = '{kind}' AND rowid NOT IN "
        f"(SELECT min(rowid) FROM quarantine WHERE kind = '{kind}' GROUP BY content_hash)"
    ).fetchall()
    return removed, redacted + len(reasons)


def _find_candidates(warehouse: Warehouse, request: ErasureRequest, suppressions: Suppressions, rows: str) -> None:
    """Make the temporary table `candidates` of the rows whose document may name the person.

    They have to have one of the texts, or the words of a name, unless an escape or a folded alias may hide it.
    """
    texts = sorted({variant.lower() for variant in (*request.needles.variants, *request.ids)})
    may_name = ["contains(lower(document), '\\u')", *(["contains(document, '@')"] * suppressions.fold_email_aliases)]
    may_name += [f"contains(lower(document), {quoted(text)})" for text in texts]
    may_name += [
        f"({' AND '.join(f'contains(lower(document), {quoted(word)})' for word in name.split())})"
        for name in request.needles.names
    ]
    warehouse.connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE candidates AS
        SELECT rowid AS place, document, row_number() OVER () AS position FROM {rows}
            AND ({" OR ".join(may_name)})
        """
    ).fetchall()


def _screen_redacted(warehouse: Warehouse, settings: Settings, kind: str, dialect: Dialect) -> None:
    """Make the temporary table `screened` of what is left of documents."""
    documents = "(SELECT after AS document, NULL::VARCHAR AS source, position FROM verdicts WHERE after IS NOT NULL)"
    screen(warehouse.connection, kind, documents, "screened", rules_of(settings, dialect))


def _note_found(warehouse: Warehouse, request: ErasureRequest, named: Named) -> None:
    """Make the temporary table `verdicts` (position, after: null for what goes), and keep how they were written."""
    request.forms = sorted({*request.forms, *named.forms})
    verdicts = {
        "position": pa.array([*named.redacted, *named.owned], pa.int64()),
        "after": pa.array([*named.redacted.values(), *[None] * len(named.owned)], pa.large_string()),
    }
    warehouse.connection.register("found", pa.table(verdicts))
    warehouse.connection.execute("CREATE OR REPLACE TEMP TABLE verdicts AS FROM found").fetchall()
    warehouse.connection.unregister("found")
