"""The naive log: what running windows over documents leaves in the raw tables.

What belongs here: the rules that put a valid record on its days, by plain loops, in UTC. What does not:
rejection (`records/`) and anything that reads the log (`oracle.py`).
"""

import json
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from profile_pipeline.tables import PROFILE_FIELDS
from profile_pipeline.window import Window
from profile_pipeline_tests.oracle import CENT, KINDS, Log, Row, normalised, version_order

COLUMNS = {
    "users": ("id", "email", "name", *PROFILE_FIELDS, "is_on_team", "time_zone"),
    "orders": ("id", "user_id", "event_id", "amount", "date", "status"),
    "events": ("id", "name", "date", "venue", "host", "participants", "event_type", "status"),
    "messages": ("id", "user_id", "content", "status", "sent_date", "created_date"),
}


def empty_log() -> Log:
    return {kind: [] for kind in KINDS}


def log_of(documents: dict[str, list[Row]], first_day: date, last_day: date) -> Log:
    """The log that one run over a range makes of a source: each record on each day it is known on."""
    log = empty_log()
    ingest_naively(log, documents, Window(first_day, last_day), first_day)
    return log


def ingest_naively(log: Log, documents: dict[str, list[Row]], window: Window, first_day: date) -> None:
    """Add to the log what a run over the window finds in the source; UTC days, valid records only.

    A day on which the record was known before its last change gets a copy of how it reads now, and only where the
    log has no version of that day yet; the day of its last change gets every version not seen yet, and one seen
    before when the source went back to it (A, B, A). A deletion counts as a change, and the day of the edit before it
    gets a version that changed later than those it has. A copy's time of change is unknown, as it changed on another
    day.
    """
    for kind in KINDS:
        for document in documents.get(kind, []):
            add_versions(log, kind, document, window, first_day)


def add_versions(log: Log, kind: str, document: Row, window: Window, first_day: date) -> None:
    sequence = 1 + max((row["sequence"] for rows in log.values() for row in rows), default=0)
    row = typed_row(kind, document)
    days = sorted({max(day, first_day) for day in known_days(kind, row)} or {first_day})
    created = row["created_date"] if kind == "messages" else day_of(row["created_at"])
    edited = max(filter(None, (created, day_of(row["updated_at"]))), default=None)
    for day in (day for day in days if day in window):
        of_day = [old for old in log[kind] if old["partition_date"] == day and old["id"] == row["id"]]
        seen = [old for old in of_day if old["document"] == row["document"]]
        latest = max(of_day, key=version_order, default=row)
        went_back = latest["document"] != row["document"] and change_order(latest) <= change_order(row)
        is_copy = edited is not None and edited > day
        is_latest = not is_copy and change_order(row) > max(map(change_order, of_day), default=change_order(row))
        if not of_day or is_latest or (day == days[-1] and (not seen or went_back)):
            changed_at = None if is_copy else row["changed_at"]
            log[kind].append(row | {"partition_date": day, "sequence": sequence, "changed_at": changed_at})
            sequence += 1


def change_order(row: Row) -> tuple[bool, datetime]:
    """What makes one time of change later than another; an unknown one comes first."""
    return (row["changed_at"] is not None, row["changed_at"] or datetime.min)


def known_days(kind: str, row: Row) -> set[date]:
    """The days on which the record was created, changed and deleted, else its business date."""
    created = row["created_date"] if kind == "messages" else day_of(row["created_at"])
    days = {created, day_of(row["updated_at"]), row["deleted_date"]} - {None}
    business = row.get("sent_date" if kind == "messages" else "date")
    return days or ({business} if business else set())


def typed_row(kind: str, document: Row) -> Row:
    """The typed columns of a valid document, without partition and sequence."""
    row = {field: filled(document.get(field)) for field in COLUMNS[kind]}
    row |= {field: moment(document.get(field)) for field in ("created_at", "updated_at", "deleted_at")}
    for field in {"date", "sent_date", "created_date"} & row.keys():
        row[field] = day_of(moment(document.get(field)))
    for field in {"email", "status"} & row.keys():
        row[field] = normalised(row[field]) if row[field] else None
    if "participants" in row:
        row["participants"] = list(dict.fromkeys(normalised(address) for address in row["participants"] or []))
    if "amount" in row:
        row["amount"] = Decimal(str(row["amount"])).quantize(CENT, ROUND_HALF_UP)
    business = moment(document.get("sent_date" if kind == "messages" else "date"))
    created = moment(document.get("created_date")) if kind == "messages" else row["created_at"]
    row["changed_at"] = row["updated_at"] or created or business
    row["deleted_date"] = day_of(row["deleted_at"])
    return row | {"document": json.dumps(document, sort_keys=True)}


def filled(value: Any) -> Any:
    """The value trimmed; None for a blank string or a list without anything in it."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, list):
        return [item.strip() for item in value if item.strip()] or None
    return value


def moment(value: str | int | None) -> datetime | None:
    """An ISO 8601 day or timestamp, or epoch milliseconds, as naive UTC."""
    if value is None or value == "":
        return None
    if isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, UTC).replace(tzinfo=None)
    parsed = datetime.fromisoformat(value)
    return parsed.astimezone(UTC).replace(tzinfo=None) if parsed.tzinfo else parsed


def day_of(instant: datetime | None) -> date | None:
    return None if instant is None else instant.date()
