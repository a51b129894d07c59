"""Messages as Airtable has them: which are asked for, and what comes of that.

What belongs here: settings, and the source as `LiveSource` has it. What does not: requests and Airtable's limits
(`client.py`), formulas (`formula.py`), records as text (`documents.py`), refusals in words (`faults.py`), and what is
done with the documents (`extraction.py`).
"""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from profile_pipeline.errors import PipelineError
from profile_pipeline.records.dialect import Dialect, Path, value_at
from profile_pipeline.records.models import Message
from profile_pipeline.records.moments import read_moment
from profile_pipeline.settings import Settings
from profile_pipeline.sources.airtable.client import CONNECT_SECONDS, READ_SECONDS, Client, reading_interval
from profile_pipeline.sources.airtable.documents import as_json, key_of
from profile_pipeline.sources.airtable.formula import changed_since, with_keys
from profile_pipeline.sources.description import Description, filled_fields
from profile_pipeline.sources.live import Batch, Span

PAGE_RECORDS = 100
"""The most that Airtable gives in one answer; fewer would only cost more calls."""
FIELD_ID = r"fld[A-Za-z0-9]{14}"
NEEDED_BY_ID = ("user_id", "content", "status")
"""Asked for by id, a field that is not mapped is never found; a message without these says nothing."""


class AirtableSource:
    """A table of messages; see `LiveSource`. One object is for one thread, as it counts its own requests only."""

    def __init__(
        self,
        key: SecretStr,
        base: str,
        table: str,
        fields: Mapping[str, str] | None = None,
        url: str = "https://api.airtable.com",
        *,
        monthly_calls: int = 1000,
        pause: Callable[[float], None] = time.sleep,
        timeout: tuple[int, int] = (CONNECT_SECONDS, READ_SECONDS),
    ) -> None:
        """Keep where the messages are.

        Args:
            key: a token with the scope `data.records:read`.
            base: the id of the base.
            table: by name or id.
            fields: fields of a message that the table calls otherwise, with its names or ids for them.
            url: where the API is.
            monthly_calls: calls that the plan allows a month; 1000 is that of the free one.
            pause: waits for so many seconds.
            timeout: seconds to wait for a connection, and for something to read.

        Raises:
            PipelineError: a field is mapped that no message has, or names and ids are mixed, or one is missing.
        """
        self._fields = dict(fields or {})
        self._is_by_id = _is_by_id(self._fields)
        self._paths: dict[str, Path] = {"id": ("id",)} | {name: ("fields", at) for name, at in self._fields.items()}
        self._monthly_calls = monthly_calls
        self._client = Client(key, base, table, url, pause=pause, timeout=timeout)

    @classmethod
    def from_settings(cls, settings: Settings, pause: Callable[[float], None] = time.sleep) -> "AirtableSource":
        """The table that the settings name; nothing is asked yet.

        Raises:
            PipelineError: one of AIRTABLE_API_KEY, AIRTABLE_BASE_ID and AIRTABLE_FIELDS is missing or cannot be
                used.
        """
        key, base = settings.airtable_api_key, settings.airtable_base_id
        if key is None:
            raise PipelineError("AIRTABLE_API_KEY is not set; it takes a personal access token of Airtable")
        if not re.fullmatch("[!-~]+", key.get_secret_value()):
            raise PipelineError("AIRTABLE_API_KEY has blanks or characters that no token has; copy the token again")
        if base is None:
            raise PipelineError("AIRTABLE_BASE_ID is not set; it takes the id of the base with messages, app…")
        if not re.fullmatch("app[A-Za-z0-9]+", base):
            raise PipelineError("AIRTABLE_BASE_ID is no id of a base; it is the part app… of the base's address")
        return cls(
            key,
            base,
            settings.airtable_messages_table,
            settings.airtable_fields,
            settings.airtable_api_url,
            monthly_calls=settings.airtable_monthly_calls,
            pause=pause,
        )

    def __repr__(self) -> str:
        """The table, and no secret."""
        return f"AirtableSource({self.name('messages')!r})"

    @property
    def is_listing_keys(self) -> bool:
        """False: the keys cost as many calls as the documents."""
        return False

    def name(self, kind: str) -> str:
        """Such as `airtable:appSgU7zYrhHSb4lW/messages`."""
        _check(kind)
        return self._client.name

    def dialect(self, kind: str) -> Dialect:
        """Fields are below `fields`, by their name or id as a whole; a message's id is the record's unless mapped."""
        _check(kind)
        return Dialect(self._paths, root=("fields",), system_time=("createdTime",), has_links=True)

    def is_incremental(self, kind: str) -> bool:
        """Whether `updated_at` is mapped: then a formula selects what changed."""
        _check(kind)
        return "updated_at" in self._fields

    def scan_interval(self, records: int) -> timedelta:
        """What the plan's calls leave for reading all of so many records; see `reading_interval`."""
        return reading_interval(math.ceil(records / PAGE_RECORDS), self._monthly_calls)

    def clock(self) -> datetime:
        """Airtable's time by its latest answer, in whole seconds; see `Client.clock` for what it costs."""
        return self._client.clock()

    def total(self, kind: str, span: Span) -> int | None:
        """None: Airtable does not count records."""
        _check(kind)
        return None

    def changes(self, kind: str, span: Span, place: str | None = None) -> Iterator[Batch]:
        """The records that a span concerns, a batch for each page; see `LiveSource.changes` and `Client.pages`.

        Where `updated_at` is mapped, only records with a time that is not before the span's beginning are asked
        for, those of `formula.TIMES` that are mapped and those that Airtable keeps; the others cost no call. Where it
        is not mapped, all are read. A time that is a field of the table but not mapped is not looked at, so with
        `updated_at` the other times should be mapped too.
        """
        _check(kind)
        options = self._options()
        if span.since is not None and self.is_incremental(kind):
            options["formula"] = changed_since(self._fields, span.since)
        return self._batches(options, place)

    def keys(self, kind: str) -> Iterator[list[str]]:
        """The keys of all records, by reading the table with one field only; see `LiveSource.keys`.

        A record whose mapped id is blank or unreadable has none.
        """
        _check(kind)
        # Without any field named Airtable gives all of them; every table of messages has a status.
        wanted = self._fields.get("id") or self._fields.get("status", "status")
        pages = self._client.pages(self._options() | {"fields": [wanted]})
        return ([key for record in records if (key := key_of(record, self._paths["id"]))] for records, _ in pages)

    def fetch(self, kind: str, keys: list[str]) -> Iterator[Batch]:
        """The records of these keys that exist, about a call for each hundred of them."""
        _check(kind)
        return self._fetched(keys)

    def describe(self, kind: str) -> Description:
        """What the first page of records holds, for one call; they are counted if it is the only one.

        Fields that are blank in all of its records look like fields that the table does not have, as Airtable
        leaves blanks out.
        """
        _check(kind)
        page = self._client.page(self._options())
        records, is_all = page["records"], not page.get("offset")
        changes = [value_at(record, self._paths.get("updated_at", ())) for record in records]
        made = [record.get("createdTime") for record in records]
        times = [text for text in (*changes, *made) if isinstance(text, str)]
        newest = max((moment for text in times if (moment := _instant(text))), default=None)
        return Description(
            self.name(kind),
            is_there=True,
            count=len(records) if is_all else None,
            newest=newest if is_all else None,
            sampled=len(records),
            filled=filled_fields(kind, records, self.dialect(kind)),
        )

    def close(self) -> None:
        """Let go of connections; those that are needed again are made again."""
        self._client.close()

    def _fetched(self, keys: list[str]) -> Iterator[Batch]:
        for start in range(0, len(keys), PAGE_RECORDS):
            formula = with_keys(self._fields.get("id"), keys[start : start + PAGE_RECORDS])
            yield from self._batches(self._options() | {"formula": formula})

    def _batches(self, options: dict[str, Any], place: str | None = None) -> Iterator[Batch]:
        for records, after in self._client.pages(options, place):
            yield Batch([as_json(record) for record in records], after)

    def _options(self) -> dict[str, Any]:
        return {"page_size": PAGE_RECORDS} | ({"use_field_ids": True} if self._is_by_id else {})


def _check(kind: str) -> None:
    if kind != "messages":
        raise ValueError(f"Airtable has messages, no {kind}")


def _is_by_id(fields: Mapping[str, str]) -> bool:
    """Whether fields are mapped to ids.

    Raises:
        PipelineError: the mapping cannot be used.
    """
    known = list(Message.model_fields)
    if wrong := [name for name in fields if name not in known]:
        raise PipelineError(f"AIRTABLE_FIELDS maps {wrong[0]}, which no message has; there are {', '.join(known)}")
    if blank := [name for name, field in fields.items() if not field.strip()]:
        raise PipelineError(f"AIRTABLE_FIELDS maps {blank[0]} to nothing; give the name or id of the table's field")
    ids = [name for name, field in fields.items() if re.fullmatch(FIELD_ID, field)]
    if not ids:
        return False
    if names := [name for name in fields if name not in ids]:
        raise PipelineError(
            f"AIRTABLE_FIELDS maps {ids[0]} to an id and {names[0]} to a name; Airtable answers in one of them, so use "
            "names or ids for all"
        )
    if missing := [name for name in NEEDED_BY_ID if name not in fields]:
        raise PipelineError(f"AIRTABLE_FIELDS maps fields to ids, so it must map {' and '.join(missing)} too")
    return True


def _instant(text: str) -> datetime | None:
    with suppress(ValueError):
        return read_moment(text, ZoneInfo("UTC")).at
    return None
