"""The rules of `models.py` for many documents at once: plain ones are typed in SQL, the others one by one.

What belongs here: which documents are plain enough that a few patterns prove them valid, and their typed
columns. What does not: the rules themselves. A pattern here is deliberately narrower than its rule: what it
does not match is no fault, only work for `models.parse`. For what it does match both must agree to the byte,
which a property test holds. Set-based typing is some twenty times faster than building a model for each
document.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from profile_pipeline.records.dialect import PLAIN, Dialect, Path
from profile_pipeline.records.models import LIST_FIELDS, MODELS, Reading, Rejected, known_days, parse
from profile_pipeline.records.suppressions import Named, Suppressions
from profile_pipeline.sql import quoted
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.window import Window

BATCH_DOCUMENTS = 5_000
BATCH_BYTES = 32 << 20
"""Bounds on what the row-by-row lane holds in memory: many small documents, or a few very large ones."""

LENIENT_JSON = r"(?i),\s*[\]}]|[:\[,]\s*-?(nan|inf)"
"""What DuckDB reads as JSON beyond the standard; it also matches inside texts, which only costs time."""

SPACES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
"""All that Python's `strip` removes; DuckDB's `trim` removes blanks only, and is slow with such a set."""
TRIMMED = r"[!-~](?:(?s:.)*[!-~])?"
"""A text that visible ASCII begins and ends, so that nothing comes off."""
TRIMMED_TEXT = r'"[!#-\[\]-~](?:[^"\\]*[!#-\[\]-~])?"'
"""The same in quotes, without escapes: the quotes come off and no more."""

ADDRESS = r"[!#-?A-\[\]-~]+@[!#-?A-\[\]-~]+"
"""Printable ASCII without quotes and backslashes: casefolding is `lower` and nothing needs trimming."""
ANY_TEXT = r'"(?:[^"\\]|\\.)*"'
UTC_YEARS = r"(?:19|20)\d\d"
ZONE_YEARS = range(1970, 2037)
"""Years in which the clock changes of a zone are compared between Python and DuckDB."""
ZONE_YEARS_PATTERN = r"(?:19[7-9]\d|20[0-2]\d|203[0-5])"
EPOCH_MILLISECONDS = r"\d{12}|1\d{12}"
"""Whole milliseconds from 1973 to 2033, within `ZONE_YEARS`."""

OBJECT_ID = r'\{"\$oid":"[0-9A-Fa-f]{24}"\}'

CHANGED_AT = "CASE WHEN coalesce(edited_date <= partition_date, true) THEN changed_at END"
"""A copy's time of change is of no version of that day: unknown, it gives way to a true one that comes late."""

TIME_FIELDS = ("created_at", "updated_at", "deleted_at", "date", "sent_date", "created_date")


@dataclass(frozen=True)
class Rules:
    """What screening needs beside the documents: how values are read, the first partition, where fields are.

    `suppressions`, if anybody was erased, are for whoever lets documents in; screening itself withholds none.
    """

    reading: Reading
    first_partition: date
    dialect: Dialect = PLAIN
    suppressions: Suppressions | None = None

    def admit(self, documents: list[str], kind: str) -> tuple[dict[int, str], Named]:
        """Those of some documents that may be stored, by their place among them; and which may not, or not so."""
        if self.suppressions is None or not documents:
            return dict(enumerate(documents)), Named()
        return self.suppressions.admit(documents, kind, self.dialect)


@dataclass(frozen=True)
class Typed:
    """A field's column in SQL and the condition under which its raw JSON is plain.

    The condition may refer to the column as `typed_NAME`.
    """

    value: str
    plain: str


def typed_columns(kind: str) -> tuple[str, ...]:
    """The columns of a kind's log that come out of the document."""
    outside = {"partition_date", "document", "content_hash", "source", "sequence"}
    return tuple(name for name in RAW_TABLES[kind].columns if name not in outside)


def screen(
    connection: duckdb.DuckDBPyConnection,
    kind: str,
    documents: str,
    into: str,
    rules: Rules,
    *,
    window: Window | None = None,
    only: tuple[str, ...] | None = None,
) -> None:
    """Type, or reject with a reason, each document of a relation.

    Args:
        connection: where `documents` is and `into` is made; documents are streamed, never held at once.
        kind: users, orders, events or messages.
        documents: a relation of (document, source, position), read once; position is the order of arrival.
        into: the temporary table to create: (position, source, document, content_hash, record_id, reason, days,
            edited_date) and `typed_columns`. An accepted document has no reason, its known days sorted, the latest on
            which it was created or changed, and its columns. A rejected one has a reason, and as days the latest it
            was known on, null where none can be read.
        rules: how values are read.
        window: leaves out documents whose days all lie outside.
        only: the typed columns to keep, all unless given; documents that need not be parsed are null then.
    """
    # Reasons are null for plain documents; an empty one marks what is left for the other lane.
    fast_lane = _fast_lane(connection, kind, documents, rules, window=window, only=only)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {into} AS {fast_lane}").fetchall()
    schema = connection.sql(f"FROM {into} LIMIT 0").to_arrow_table().schema
    for batch in _unread(connection, into):
        rows = [verdict for row in batch if (verdict := _verdict(kind, row, rules, window))]
        screened_batch = pa.Table.from_pylist(rows, schema=schema)
        connection.register("screened_batch", screened_batch)
        connection.execute(f"INSERT INTO {into} FROM screened_batch").fetchall()
        connection.unregister("screened_batch")
    connection.execute(f"DELETE FROM {into} WHERE reason = ''").fetchall()


# ---------------------------------------------------------------- one by one


def _unread(connection: duckdb.DuckDBPyConnection, table: str) -> Iterator[list[tuple[Any, ...]]]:
    """Documents left for the row-by-row lane, in order of arrival, in batches of bounded size."""
    after = -1
    while sizes := connection.execute(
        f"SELECT position, strlen(document) FROM {table} WHERE reason = '' AND position > {after} "
        f"ORDER BY position LIMIT {BATCH_DOCUMENTS}"
    ).fetchall():
        last, total = sizes[0]
        for position, size in sizes[1:]:
            if (total := total + size) > BATCH_BYTES:
                break
            last = position
        yield connection.execute(
            f"SELECT position, source, document, content_hash FROM {table} "
            f"WHERE reason = '' AND position > {after} AND position <= {last} ORDER BY position"
        ).fetchall()
        after = last


def _verdict(kind: str, row: tuple[Any, ...], rules: Rules, window: Window | None) -> dict[str, Any] | None:
    """The screened row of one document; None when it does not concern the window."""
    verdict = dict(zip(("position", "source", "document", "content_hash"), row, strict=True))
    try:
        parsed = parse(kind, verdict["document"], rules.reading, rules.dialect)
    except Rejected as rejection:
        days = None if rejection.known_on is None else [max(rejection.known_on, rules.first_partition)]
        verdict |= {"reason": rejection.reason, "record_id": rejection.record_id, "days": days}
    else:
        days = list(known_days(parsed, rules.first_partition))
        verdict |= parsed.row | {"reason": None, "record_id": parsed.record.id, "days": days}
    if window and days is not None and not any(day in window for day in days):
        return None
    return verdict


# ---------------------------------------------------------------- set-based


def _fast_lane(
    connection: duckdb.DuckDBPyConnection,
    kind: str,
    documents: str,
    rules: Rules,
    *,
    window: Window | None,
    only: tuple[str, ...] | None,
) -> str:
    """The query that types plain documents; the others come out with an empty reason and null columns.

    Documents whose days are plain and all outside the window are dropped before anything else of them is
    typed.
    """
    times = _Times(connection, rules.reading.zone)
    fields = {
        name: times.field(name, required=name == "date") if name in TIME_FIELDS else _typed(name, kind, rules.reading)
        for name in MODELS[kind].model_fields
    }
    typed = {name: field.value for name, field in fields.items()} | times.columns(kind, rules.dialect)
    plain = " AND ".join(["is_dated", *(f"({fields[name].plain})" for name in fields if name not in TIME_FIELDS)])
    dated = " AND ".join(f"({fields[name].plain})" for name in fields if name in TIME_FIELDS)
    named = ", ".join(f"{value} AS typed_{name}" for name, value in typed.items())
    kept = typed_columns(kind) if only is None else only
    columns = "".join(f", CASE WHEN plain THEN typed_{name} END AS {name}" for name in kept)
    document = "document" if only is None else "CASE WHEN NOT plain THEN document END AS document"
    dated_documents = f"""(
        SELECT *, {_days(kind, rules.first_partition)} AS all_days, coalesce({dated}
            AND raw.id IS NOT NULL AND (raw.made IS NULL OR at_made IS NOT NULL)
            AND NOT regexp_matches(document, '{LENIENT_JSON}'), false) AS is_dated
        FROM {times.layer(kind, _raw_documents(kind, documents, rules.dialect))}
    )"""
    return f"""
        SELECT position, source, {document}, content_hash,
            CASE WHEN plain THEN typed_id END AS record_id,
            CASE WHEN NOT plain THEN '' END AS reason,
            CASE WHEN plain THEN all_days END AS days,
            CASE WHEN plain THEN typed_edited_date END AS edited_date
            {columns}
        FROM (
            SELECT *, coalesce({plain}, false) AS plain
            FROM (
                SELECT *, md5(document) AS content_hash, {named}
                FROM {dated_documents}
                WHERE NOT is_dated OR {_concerned(window)}
            )
        )
    """


def _raw_documents(kind: str, documents: str, dialect: Dialect) -> str:
    """The relation with `raw`, the JSON of each field as `models.parse` finds it, and of `made`, beside what it had.

    It is text, because pieces of JSON values are none. Extended JSON and lists of one are bare there, in the forms
    that drivers write; others are left as they are.
    """
    paths = {name: dialect.path(name) for name in MODELS[kind].model_fields} | {"_id": ("_id",)}
    if dialect.system_time:
        paths["made"] = dialect.system_time
    structure: dict[str, Any] = {}
    for *outer, last in paths.values():
        level = structure
        for name in outer:
            level = level.setdefault(name, {})
        level[last] = "JSON"
    bare = {name: _bare(_text_of(path), name, dialect) for name, path in paths.items()}
    bare["id"] = f"coalesce({bare['id']}, {bare['_id']})"
    bare.setdefault("made", _object_milliseconds(_text_of(paths["id"]), _text_of(paths["_id"])))
    del bare["_id"]
    raw = ", ".join(f"{name} := {value}" for name, value in bare.items())
    target = quoted(json.dumps(structure))
    read = f"(SELECT *, try(json_transform(document, {target})) AS read FROM {documents})"
    return f"(SELECT * EXCLUDE (read), struct_pack({raw}) AS raw FROM {read})"


def _text_of(path: Path) -> str:
    return "(read." + ".".join('"' + name.replace('"', '""') + '"' for name in path) + "::VARCHAR)"


def _bare(raw: str, name: str, dialect: Dialect) -> str:
    """A field's JSON without what its system dresses it in."""
    if dialect.has_links and name not in LIST_FIELDS:
        raw = rf"""CASE WHEN regexp_full_match({raw}, '\["[^"\\]*"\]') THEN {raw}[2:-2] ELSE {raw} END"""
    if name in TIME_FIELDS:
        is_number = rf"""regexp_full_match({raw}, '\{{"\$date":\{{"\$numberLong":"\d+"\}}\}}')"""
        return f"""CASE WHEN NOT starts_with({raw}, '{{') THEN {raw}
            WHEN starts_with({raw}, '{{"$date":"') THEN {raw}[10:-2]
            WHEN {is_number} THEN {raw}[26:-4] ELSE {raw} END"""
    if name in ("id", "_id", "user_id", "event_id"):
        return f"CASE WHEN regexp_full_match({raw}, '{OBJECT_ID}') THEN {raw}[9:-2] ELSE {raw} END"
    if name == "amount":
        return f"""CASE WHEN starts_with({raw}, '{{"$numberDecimal":"') THEN {raw}[19:-2] ELSE {raw} END"""
    return raw


def _object_milliseconds(*raws: str) -> str:
    """The time inside the first of some values that is an ObjectId, as epoch milliseconds."""
    cases = " ".join(
        f"WHEN regexp_full_match({raw}, '{OBJECT_ID}') THEN (('0x' || {raw}[10:17])::BIGINT * 1000)::VARCHAR"
        for raw in raws
    )
    return f"CASE {cases} END"


def _typed(name: str, kind: str, reading: Reading) -> Typed:
    """A field's column and condition, by the reader that its model uses."""
    raw = f"raw.{name}"
    match name:
        case "id" | "user_id":
            typed = _key(name, "false")
        case "event_id":
            typed = _key(name, f"{raw} IS NULL")
        case "email":
            typed = Typed(f"lower(trim({raw}, '\"'))", _address_is_plain(raw, f'"{ADDRESS}"', reading))
        case "participants":
            typed = _addresses(raw, reading)
        case "amount":
            typed = _amount(raw)
        case "age":
            typed = Typed(
                f"try_cast({raw} AS BIGINT)",
                f"{raw} IS NULL OR regexp_full_match({raw}, '[1-9]\\d?|1[0-2]\\d')",
            )
        case "is_on_team":
            typed = Typed(f"{raw} = 'true'", f"{raw} IS NULL OR {raw} IN ('true', 'false')")
        case "status":
            required = "false" if kind == "messages" else f"{raw} IS NULL"
            typed = Typed(
                f"lower(nullif(trim({raw}, '\" '), ''))",
                f"{required} OR regexp_full_match({raw}, '\"[!#-\\[\\]-~][ !#-\\[\\]-~]*\"')",
            )
        case "interests" | "cuisine_preference" | "dietary_restrictions":
            typed = _texts(raw)
        case _:
            typed = Typed(_text(raw), f"{raw} IS NULL OR starts_with({raw}, '\"')")
    return typed


def _text(raw: str) -> str:
    return f"""CASE WHEN regexp_full_match({raw}, '{TRIMMED_TEXT}') THEN trim({raw}, '"')
        WHEN starts_with({raw}, '"') THEN nullif(trim({raw} ->> '$', '{SPACES}'), '') END"""


def _key(name: str, otherwise: str) -> Typed:
    raw = f"raw.{name}"
    is_number = f"regexp_full_match({raw}, '0|[1-9]\\d{{0,17}}')"
    return Typed(
        f"CASE WHEN {is_number} THEN {raw}::VARCHAR ELSE {_text(raw)} END",
        f"{otherwise} OR typed_{name} IS NOT NULL",
    )


def _address_is_plain(raw: str, pattern: str, reading: Reading) -> str:
    plain = f"regexp_full_match({raw}, '{pattern}')"
    if reading.fold_email_aliases:
        plain += f" AND NOT regexp_matches({raw}, '(?i)\\+|@(gmail|googlemail)\\.com')"
    return plain


def _addresses(raw: str, reading: Reading) -> Typed:
    item = r'"[!#-\[\]-~]+"'
    split = f"string_split(lower({raw}[3:-3]), '\",\"')"
    pattern = rf"\[{item}(?:,{item})*\]"
    return Typed(
        f"CASE WHEN {raw} <> '[]' THEN list_sort(list_distinct({split})) END",
        f"{raw} IS NULL OR {raw} = '[]' OR ({_address_is_plain(raw, pattern, reading)})",
    )


def _amount(raw: str) -> Typed:
    return Typed(
        f"try_cast(trim({raw}, '\"') AS DECIMAL(18, 2))",
        f"regexp_full_match({raw}, '(\"?)\\d{{1,10}}(?:\\.\\d{{1,2}})?(\"?)')",
    )


def _texts(raw: str) -> Typed:
    trimmed = f"CASE WHEN regexp_full_match(item, '{TRIMMED}') THEN item ELSE trim(item, '{SPACES}') END"
    items = f"list_transform(from_json({raw}, '[\"VARCHAR\"]'), lambda item: {trimmed})"
    filled = f"list_filter({items}, lambda item: item <> '')"
    plain = rf"regexp_full_match({raw}, '\[(?:{ANY_TEXT}(?:,{ANY_TEXT})*)?\]')"
    return Typed(f"CASE WHEN {plain} AND len({filled}) > 0 THEN {filled} END", f"{raw} IS NULL OR {plain}")


def _days(kind: str, first_partition: date) -> str:
    """The known days, as `models.known_days` has them."""
    model = MODELS[kind]
    first = f"DATE '{first_partition}'"
    changes = [f"day_{name}" for name in (model.created_field, "updated_at", "deleted_at")]
    known = ", ".join(f"CASE WHEN {day} IS NOT NULL THEN greatest({day}, {first}) END" for day in changes)
    business = f"day_{model.business_date_field}, " if model.business_date_field else ""
    # `greatest` passes over nulls.
    fallback = f"greatest(coalesce({business}day_made), {first})"
    return f"""CASE WHEN coalesce({", ".join(changes)}) IS NULL THEN [{fallback}]
        ELSE list_sort(list_distinct([{known}])) END"""


def _concerned(window: Window | None) -> str:
    if window is None:
        return "true"
    inside = f"day BETWEEN DATE '{window.start}' AND DATE '{window.end}'"
    return f"len(list_filter(all_days, lambda day: {inside})) > 0"


class _Times:
    """The SQL of fields that hold a time, in one business time zone.

    `layer` computes `at_NAME`, the instant, and `day_NAME`, the business day, once for each such field.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, zone: ZoneInfo) -> None:
        """Choose the years in which DuckDB may be trusted with the zone."""
        self.zone = zone.key
        self.is_utc = zone.key == "UTC"
        years = UTC_YEARS if self.is_utc else ZONE_YEARS_PATTERN
        clock = r"[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-3])(?::[0-5]\d)?)?"
        self.pattern = rf'"{years}-\d\d-\d\d(?:{clock})?"|{EPOCH_MILLISECONDS}'
        self.is_trusted = self.is_utc or zone_agrees(connection, zone.key)

    def field(self, name: str, *, required: bool) -> Typed:
        """A time as the column of its name, a timestamp or a day, and when it is plain."""
        raw, value = f"raw.{name}", f"at_{name}" if name.endswith("_at") else f"day_{name}"
        plain = f"at_{name} IS NOT NULL"
        return Typed(value, plain if required else f"{raw} IS NULL OR ({plain})")

    def layer(self, kind: str, raw_documents: str) -> str:
        """The relation with the instants and days of all times beside what it had."""
        names = [*(name for name in MODELS[kind].model_fields if name in TIME_FIELDS), "made"]
        instants = ", ".join(f"{self._instant(f'raw.{name}')} AS at_{name}" for name in names)
        days = ", ".join(f"{self._day(name)} AS day_{name}" for name in names)
        return f"(SELECT *, {days} FROM (SELECT *, {instants} FROM {raw_documents}))"

    def columns(self, kind: str, dialect: Dialect) -> dict[str, str]:
        """The columns that are made from several fields."""
        model = MODELS[kind]
        last = [f"at_{name}" for name in (model.business_date_field, "made") if name]
        occurred = f"{'greatest' if dialect.system_time else 'coalesce'}({', '.join(last)})"
        return {
            "created_at": f"at_{model.created_field}",
            "deleted_date": "day_deleted_at",
            "changed_at": f"coalesce(at_updated_at, at_{model.created_field}, {occurred})",
            "edited_date": f"greatest(day_updated_at, day_{model.created_field})",
        }

    def _instant(self, raw: str) -> str:
        """The instant in UTC, null when there is none, it is not plain or no such time exists."""
        if not self.is_trusted:
            return "NULL::TIMESTAMP"
        local = f"try_cast(trim({raw}, '\"') AS TIMESTAMP)"
        naive = local if self.is_utc else f"timezone('UTC', timezone('{self.zone}', {local}))"
        # Beyond the pattern lie numbers and years that make DuckDB's functions raise.
        return f"""CASE WHEN NOT regexp_full_match({raw}, '{self.pattern}') THEN NULL
            WHEN NOT starts_with({raw}, '"') THEN make_timestamp(try_cast({raw} AS BIGINT) * 1000)
            WHEN {_is_aware(raw)} THEN timezone('UTC', try_cast(trim({raw}, '"') AS TIMESTAMPTZ))
            WHEN {raw} IS NOT NULL THEN {naive} END"""

    def _day(self, name: str) -> str:
        """The business day; a time without an offset is on the day that it names."""
        if self.is_utc:
            return f"at_{name}::DATE"
        raw = f"raw.{name}"
        return f"""CASE WHEN at_{name} IS NULL THEN NULL
            WHEN NOT starts_with({raw}, '"') OR {_is_aware(raw)}
            THEN timezone('{self.zone}', timezone('UTC', at_{name}))::DATE
            ELSE try_cast({raw}[2:11] AS DATE) END"""


def _is_aware(raw: str) -> str:
    # With the seconds before it, because a bare day ends like an offset of hours.
    return f"regexp_matches({raw}, ':\\d\\d(\\.\\d+)?(Z|[+-]\\d\\d(:\\d\\d)?)\"$')"


def zone_agrees(connection: duckdb.DuckDBPyConnection, zone: str) -> bool:
    """Whether DuckDB's copy of the time zone database says the same as Python's; they are updated apart."""
    if zone not in _agreement:
        _agreement[zone] = _compare(connection, zone)
    return _agreement[zone]


_agreement: dict[str, bool] = {}


def _compare(connection: duckdb.DuckDBPyConnection, zone: str) -> bool:
    """Compare the local time at noon, UTC, of each day of `ZONE_YEARS`."""
    known = connection.execute("SELECT count(*) FROM pg_timezone_names() WHERE name = ?", [zone]).fetchall()
    if not known[0][0]:
        return False
    start = datetime(ZONE_YEARS.start, 1, 1, 12)
    days = (datetime(ZONE_YEARS.stop, 1, 1, 12) - start).days
    instants = [start + timedelta(days=offset) for offset in range(days)]
    info = ZoneInfo(zone)
    local = [instant.replace(tzinfo=UTC).astimezone(info).replace(tzinfo=None) for instant in instants]
    samples = {
        "instant": pa.array(instants, pa.timestamp("us")),
        "local": pa.array(local, pa.timestamp("us")),
    }
    connection.register("zone_samples", pa.table(samples))
    try:
        query = f"SELECT count(*) FROM zone_samples WHERE timezone('{zone}', timezone('UTC', instant)) <> local"
        return connection.execute(query).fetchall()[0][0] == 0
    finally:
        connection.unregister("zone_samples")
