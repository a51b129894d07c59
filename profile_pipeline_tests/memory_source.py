"""A live source in memory: what tests of reading bit by bit need where no protocol is in question."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from profile_pipeline.errors import PipelineError
from profile_pipeline.records.dialect import PLAIN, Dialect
from profile_pipeline.sources.description import Description
from profile_pipeline.sources.live import Batch, Span

TIMES = ("created_at", "created_date", "updated_at", "deleted_at")


class MemorySource:
    """Records by kind and key, read in the order of their keys.

    `faults` holds, by the number of batches handed over so far, what is raised before the next one; each once.
    """

    def __init__(self, clock: str, batch_size: int = 2, *, lists_keys: bool = True, incremental: bool = True) -> None:
        self.records: dict[str, dict[str, dict[str, Any]]] = {}
        self.now = datetime.fromisoformat(clock)
        self.batch_size, self.is_listing_keys, self.incremental = batch_size, lists_keys, incremental
        self.faults: dict[int, PipelineError] = {}
        self.handed_over: list[str] = []
        self.spans: list[Span] = []
        self.batches = 0

    def put(self, kind: str, **record: Any) -> None:
        self.records.setdefault(kind, {})[record["id"]] = record

    def delete(self, kind: str, key: str) -> None:
        del self.records[kind][key]

    def name(self, kind: str) -> str:
        return f"memory:{kind}"

    def dialect(self, kind: str) -> Dialect:
        return PLAIN

    def is_incremental(self, kind: str) -> bool:
        return self.incremental

    def scan_interval(self, records: int) -> timedelta:
        return timedelta(0)

    def clock(self) -> datetime:
        return self.now

    def total(self, kind: str, span: Span) -> int | None:
        return len(self.records.get(kind, {}))

    def changes(self, kind: str, span: Span, place: str | None = None) -> Iterator[Batch]:
        self.spans.append(span)
        found = [
            key
            for key, record in sorted(self.records.get(kind, {}).items())
            if (place is None or key > place) and _concerns(record, span)
        ]
        for start in range(0, len(found), self.batch_size):
            if (fault := self.faults.pop(self.batches, None)) is not None:
                raise fault
            keys = found[start : start + self.batch_size]
            self.handed_over += keys
            self.batches += 1
            yield Batch([json.dumps(self.records[kind][key]) for key in keys], keys[-1])

    def keys(self, kind: str) -> Iterator[list[str]]:
        yield sorted(self.records.get(kind, {}))

    def fetch(self, kind: str, keys: list[str]) -> Iterator[Batch]:
        records = self.records.get(kind, {})
        yield Batch([json.dumps(records[key]) for key in keys if key in records], "")

    def describe(self, kind: str) -> Description:
        records = list(self.records.get(kind, {}).values())
        return Description(self.name(kind), bool(records), len(records), None, len(records), {})

    def close(self) -> None:
        pass


def _concerns(record: dict[str, Any], span: Span) -> bool:
    if span.since is None:
        return True
    times = [datetime.fromisoformat(record[name]) for name in TIMES if record.get(name)]
    return not times or any(span.since <= time < span.until for time in times)
