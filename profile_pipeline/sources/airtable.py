"""The Airtable source: a table of messages, read through Airtable's web API.

What belongs here: asking for pages of records, which records a change concerns as a formula, Airtable's limits,
and what its refusals mean to a person. What does not: what a message is (`records/`), when to read, and trying
again after what may pass by itself, which the caller does from the last place.

How Airtable behaves, as documented unless said otherwise:

- A list comes in pages of up to 100 records in an order that means nothing. The `offset` of the next page expires
  after minutes without use, or earlier; then only reading from the beginning helps.
- 5 requests a second are allowed for a base. Who sends more is refused for 30 seconds. The Free and Team plans
  also limit the calls of a month.
- Empty fields are left out: null, blank texts, empty lists and unchecked boxes.
- The fields of a record come in any order, and the addresses of an attachment are made anew for each answer and
  good for hours. Documents are verbatim but for these: their keys are sorted, and the `url` and `thumbnails` of
  attachments left out; else every reading would find all those records changed.
- Times that Airtable keeps itself have whole seconds. A change of a lookup, a rollup or a formula is no change of
  the record and has no time: only reading everything finds it.

This module imports the client library; import it where an Airtable source is used, not where one may be.
"""

import json
import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import pyairtable
import requests
from pyairtable.formulas import field_name, quoted
from pydantic import SecretStr

from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.records.dialect import Dialect, Path, value_at
from profile_pipeline.records.models import Message
from profile_pipeline.records.moments import read_moment
from profile_pipeline.settings import Settings
from profile_pipeline.sources.description import Description, filled_fields
from profile_pipeline.sources.live import Batch, Span

logger = logging.getLogger(__name__)

PAGE_RECORDS = 100
"""The most that Airtable gives in one answer; fewer would only cost more calls."""
RATE = 5
"""Requests that Airtable allows for a base in a second."""
RATE_SECONDS = 1.05
"""Between an answer and the fifth request after it: a little more than the second, for clocks that run apart."""
REFUSAL_SECONDS = 30
"""How long Airtable refuses everything after too many requests."""
RATE_ATTEMPTS = 3
"""Others may use up the same base's rate; when they still do after a minute, the caller had better come later."""
RESTARTS = 3
"""How often one reading begins anew; a table that outlives more offsets than that cannot be read now."""
CONNECT_SECONDS = 10
"""Enough for a slow network; a service that is there accepts a connection much sooner."""
READ_SECONDS = 60
"""A page of large records under a formula takes Airtable seconds; what takes a minute does not come."""
CLOCK_SECONDS = 60
"""How old an answer may be to tell the time. An older time is safe but makes the next reading ask for more."""
MARGIN = timedelta(minutes=1)
"""Times that people enter have whole minutes, and those of Airtable whole seconds."""
MONTH = timedelta(days=30)
"""The shortest month but one: what fits into it fits into a month of the plan."""

SCOPE = "data.records:read"
EXPIRED = ("LIST_RECORDS_ITERATOR_NOT_AVAILABLE", "INVALID_OFFSET_VALUE")
"""What Airtable says of a place that it does not know any more, or does not take for one."""
MONTH_USED_UP = "PUBLIC_API_BILLING_LIMIT_EXCEEDED"
FIELD_ID = r"fld[A-Za-z0-9]{14}"
NEEDED_BY_ID = ("user_id", "content", "status")
"""Asked for by id, a field that is not mapped is never found; a message without these says nothing."""
TIMES = ("updated_at", "created_date", "deleted_at")
"""The times of a message that count as a change of it."""


class _PlaceExpired(Exception):  # noqa: N818
    """Airtable does not know the place any more."""


class _Refused(Exception):  # noqa: N818
    """Airtable refuses for a while, because of too many requests."""


class AirtableSource:
    """A table of messages. One object is for one thread, as it counts its own requests only."""

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
        self._key, self._base, self._table_name, self._url = key, base, table, url
        self._fields = dict(fields or {})
        self._is_by_id = _is_by_id(self._fields)
        self._paths: dict[str, Path] = {"id": ("id",)} | {name: ("fields", at) for name, at in self._fields.items()}
        self._monthly_calls, self._pause, self._timeout = monthly_calls, pause, timeout
        self._answered_at: deque[float] = deque(maxlen=RATE)
        self._dated: tuple[datetime, float] | None = None

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
        return f"airtable:{self._base}/{self._table_name}"

    def dialect(self, kind: str) -> Dialect:
        """Fields are below `fields`, by their name or id as a whole; a message's id is the record's unless mapped."""
        _check(kind)
        return Dialect(self._paths, root=("fields",), system_time=("createdTime",), has_links=True)

    def is_incremental(self, kind: str) -> bool:
        """Whether `updated_at` is mapped: then a formula selects what changed."""
        _check(kind)
        return "updated_at" in self._fields

    def scan_interval(self, records: int) -> timedelta:
        """What the plan's calls leave for reading all of so many records; see `interval`."""
        return interval(-(-records // PAGE_RECORDS), self._monthly_calls)

    def clock(self) -> datetime:
        """Airtable's time by its latest answer, in whole seconds.

        It costs a request when there was no answer in the last minute: of who the token's owner is, which any
        token may ask, and which reads no base, so that it takes nothing of the base's rate. Whether it counts as a
        call of the month is not documented.
        """
        if self._dated is None or time.monotonic() - self._dated[1] > CLOCK_SECONDS:
            self._dated = None
            self._request(self._api.urls.whoami)
        if self._dated is None:
            raise PipelineError(
                "the answers of Airtable have no readable date; AIRTABLE_API_URL must lead to its API without a proxy "
                "that takes the header Date away"
            )
        return self._dated[0]

    def total(self, kind: str, span: Span) -> int | None:
        """None: Airtable does not count records."""
        _check(kind)
        return None

    def changes(self, kind: str, span: Span, place: str | None = None) -> Iterator[Batch]:
        """The records that a span concerns, a batch for each page; see `LiveSource.changes`.

        Where `updated_at` is mapped, only records with a time that is not before the span's beginning are asked
        for, those of `TIMES` that are mapped and those that Airtable keeps; the others cost no call. Where it is not
        mapped, all are read. A time that is a field of the table but not mapped is not looked at, so with
        `updated_at` the other times should be mapped too.

        A place is the `offset` of the next page, and blank after the last one. If Airtable does not know it any
        more, reading begins anew, a few times; records may come twice then.
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
        pages = self._pages(self._options() | {"fields": [wanted]}, None)
        return ([key for record in records if (key := self._key_of(record))] for records, _ in pages)

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
        page = self._list(self._options())
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
        if "_api" in vars(self):
            self._api.session.close()

    # ---------------------------------------------------------------- pages

    def _fetched(self, keys: list[str]) -> Iterator[Batch]:
        field = self._fields.get("id")
        # As text and without blanks around, as the log has keys.
        key = f"TRIM({field_name(field)}&'')" if field else "RECORD_ID()"
        for start in range(0, len(keys), PAGE_RECORDS):
            matches = [f"{key}={quoted(one)}" for one in keys[start : start + PAGE_RECORDS]]
            yield from self._batches(self._options() | {"formula": f"OR({', '.join(matches)})"}, None)

    def _batches(self, options: dict[str, Any], place: str | None) -> Iterator[Batch]:
        for records, after in self._pages(options, place):
            yield Batch([_document(record) for record in records], after)

    def _pages(self, options: dict[str, Any], place: str | None) -> Iterator[tuple[list[dict[str, Any]], str]]:
        """Pages of records, each with the place after it, from a place or the beginning."""
        restarts = 0
        while place != "":
            try:
                page = self._list(options | ({} if place is None else {"offset": place}))
            except _PlaceExpired:
                restarts += 1
                if place is None or restarts > RESTARTS:
                    raise self._lost_too_often() from None
                logger.warning(
                    "Airtable lost the place in %s; it is read again from the beginning (%d of %d)",
                    self.name("messages"),
                    restarts,
                    RESTARTS,
                )
                place = None
                continue
            place = page.get("offset") or ""
            yield page["records"], place

    def _lost_too_often(self) -> PipelineError:
        # Not transient: the caller would go on with a lost place, and so use up the calls of the month.
        return PipelineError(
            f"Airtable lost the place in {self.name('messages')} more than {RESTARTS} times in one reading; "
            "read it when less else keeps the machine busy, so that the pages follow each other within minutes"
        )

    def _options(self) -> dict[str, Any]:
        return {"page_size": PAGE_RECORDS} | ({"use_field_ids": True} if self._is_by_id else {})

    def _list(self, options: dict[str, Any]) -> dict[str, Any]:
        # A long formula goes by POST.
        page = self._request(self._table.urls.records, ("post", self._table.urls.records_post), options)
        if not isinstance(page, dict) or not isinstance(page.get("records"), list):
            raise TransientError(f"Airtable answered with no list of records for {self.name('messages')}")
        return page

    def _key_of(self, record: dict[str, Any]) -> str | None:
        """The key of a record as the log has it; None where it has none."""
        value = value_at(record, self._paths["id"])
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return value.strip() or None if isinstance(value, str) else None

    # ---------------------------------------------------------------- requests

    @cached_property
    def _api(self) -> pyairtable.Api:
        # The library would try again after a tenth of a second, within the time in which all is refused.
        api = pyairtable.Api(
            self._key.get_secret_value(), timeout=self._timeout, retry_strategy=None, endpoint_url=self._url
        )
        api.session.hooks["response"].append(self._look_at)
        return api

    @cached_property
    def _table(self) -> pyairtable.Table:
        return self._api.table(self._base, self._table_name)

    def _request(self, url: str, fallback: tuple[str, str] | None = None, options: dict[str, Any] | None = None) -> Any:
        """The answer to a request, which comes no faster than allowed, after refusals if need be."""
        for attempt in range(RATE_ATTEMPTS):
            if attempt:
                logger.warning("Airtable asks to come slower; waiting %d seconds", REFUSAL_SECONDS)
                self._pause(REFUSAL_SECONDS)
            try:
                return self._once(url, fallback, options)
            except _Refused:
                continue
        raise TransientError(
            f"Airtable refused {RATE_ATTEMPTS} times because of too many requests to the base {self._base}; others "
            "use it too, so try again later"
        )

    def _once(self, url: str, fallback: tuple[str, str] | None, options: dict[str, Any] | None) -> Any:
        # From the answer on, because a request that left early may arrive late, and close to those after it.
        is_full = len(self._answered_at) == RATE
        if is_full and (wait := self._answered_at[0] + RATE_SECONDS - time.monotonic()) > 0:
            self._pause(wait)
        try:
            return self._api.request("get", url, fallback=fallback, options=options)
        except requests.RequestException as error:
            fault = _fault(error)
        finally:
            self._answered_at.append(time.monotonic())
        # Raised out here, because the library's error holds the request with the token.
        raise fault

    def _look_at(self, response: requests.Response, **_: Any) -> None:
        """Take the time from an answer, and refuse one that is no success before the library does."""
        if not response.ok:
            raise self._refusal(response.status_code, *_what_it_says(response))
        try:
            date = parsedate_to_datetime(response.headers.get("Date", ""))
        except ValueError:
            return
        self._dated = date.astimezone(UTC).replace(tzinfo=None), time.monotonic()

    def _refusal(self, status: int, kind: str, message: str) -> Exception:
        """What a refusal means."""
        if status == 422 and kind in EXPIRED:
            return _PlaceExpired()
        if status == 429 and kind != MONTH_USED_UP:
            return _Refused()
        if status == 408 or status >= 500:
            return TransientError(f"Airtable cannot answer now (HTTP {status})")
        # A token that was put where a name belongs would be shown otherwise.
        return PipelineError(self._in_words(status, kind, message).replace(self._key.get_secret_value(), "…"))

    def _in_words(self, status: int, kind: str, message: str) -> str:
        where = f"the table {self._table_name} of the base {self._base}"
        if status == 401:
            return (
                "Airtable does not accept the token in AIRTABLE_API_KEY (HTTP 401); make a personal access token with "
                f"the scope {SCOPE} and access to the base {self._base}"
            )
        if status in (403, 404):
            # Airtable answers alike for what is not there and for what the token may not see.
            return (
                f"Airtable does not show {where} (HTTP {status}); give the token in AIRTABLE_API_KEY the scope {SCOPE} "
                "and access to the base, and check AIRTABLE_BASE_ID and AIRTABLE_MESSAGES_TABLE"
            )
        if unknown := re.search("Unknown field names?: (.+)", message):
            return f"{where} has no field {unknown[1]}; give the name that it has there in AIRTABLE_FIELDS"
        if kind == MONTH_USED_UP:
            return (
                "the calls that the Airtable plan allows a month are used up (HTTP 429); wait for the next month or "
                "take a larger plan, and set AIRTABLE_MONTHLY_CALLS to what it allows"
            )
        return f"Airtable refuses to list {where} (HTTP {status} {kind}): {message or 'no reason given'}"


# ---------------------------------------------------------------- pure functions


def changed_since(fields: Mapping[str, str], since: datetime) -> str:
    """A formula that selects the records that changed at a time or later, by the clocks of the table.

    A record is selected when one of its times, or one of those that Airtable keeps, is not before `since`, or when
    it has none and its business date is not before. Of what cannot be compared, such as a text, it is taken that it
    may be: in a formula an error spreads, and a record whose formula is an error would be left out in silence.

    Args:
        fields: fields of a message to their names, or ids, in the table, `updated_at` among them.
        since: UTC without a zone.
    """
    start = since - MARGIN
    times = [field_name(fields[name]) for name in TIMES if name in fields]
    conditions = [_reaches(value, start) for value in ("LAST_MODIFIED_TIME()", "CREATED_TIME()", *times)]
    undated = [f"{value}=BLANK()" for value in times]
    if "sent_date" in fields:
        undated.append(_reaches(field_name(fields["sent_date"]), start))
    conditions.append(_or_error(f"AND({', '.join(undated)})"))
    return f"OR({', '.join(conditions)})"


def interval(pages: int, monthly_calls: int) -> timedelta:
    """The shortest time between readings of so many pages that takes at most half of the calls of 30 days.

    The other half is for looking for changes. A table of which one reading takes more than that half is read less
    than once in 30 days, so that it does on average.
    """
    pages = max(pages, 1)
    readings = monthly_calls // (2 * pages)
    seconds = int(MONTH.total_seconds())
    # Rounded up, because a second less would fit one more reading in.
    return timedelta(seconds=-(-seconds // readings) if readings else -(-seconds * 2 * pages // monthly_calls))


def poll_interval(monthly_calls: int) -> timedelta:
    """The shortest time between looks for changes that takes at most half of the calls of 30 days.

    A look takes one call when no more than a page of records changed.
    """
    return interval(1, monthly_calls)


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


def _reaches(value: str, start: datetime) -> str:
    """A condition: the value is a time not before the start, or cannot be compared with it.

    A day without a time counts as midnight UTC there, but begins up to 12 hours later in the business time zone.
    """
    moment, midnight = _parsed(start), _parsed(datetime(start.year, start.month, start.day))
    is_late = f"OR(NOT(IS_BEFORE({value}, {moment})), IS_SAME({value}, {midnight}, 'minute'))"
    # Reports differ on what a comparison with a blank gives, so that none is made.
    return _or_error(f"IF({value}, {is_late}, 0)")


def _or_error(condition: str) -> str:
    return f"IF(ISERROR({condition}), 1, {condition})"


def _parsed(moment: datetime) -> str:
    return f"DATETIME_PARSE('{moment.isoformat(timespec='milliseconds')}Z')"


def _instant(text: str) -> datetime | None:
    with suppress(ValueError):
        return read_moment(text, ZoneInfo("UTC")).at
    return None


def _document(record: dict[str, Any]) -> str:
    """The record as JSON, the same for the same content."""
    fields = {name: _without_addresses(value) for name, value in record.get("fields", {}).items()}
    record = record | {"fields": fields}
    document = json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    try:
        document.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, as a text that was cut within an emoji has, can only be written as an escape.
        return json.dumps(record, sort_keys=True, separators=(",", ":"))
    return document


def _without_addresses(value: Any) -> Any:
    """Attachments without the addresses to load them from, any other value as it is."""
    if not isinstance(value, list) or not all(_is_attachment(item) for item in value):
        return value
    return [{name: part for name, part in item.items() if name not in ("url", "thumbnails")} for item in value]


def _is_attachment(value: Any) -> bool:
    return isinstance(value, dict) and "url" in value and str(value.get("id")).startswith("att")


def _what_it_says(response: requests.Response) -> tuple[str, str]:
    """The type of an error and its message, blank where there is none, from any of the shapes that errors have."""
    try:
        body = response.json()
    except ValueError:
        return "", ""
    error = body.get("error") or (body.get("errors") or [None])[0] if isinstance(body, dict) else None
    if isinstance(error, dict):
        return str(error.get("type") or error.get("error") or ""), str(error.get("message") or "")
    return str(error or ""), ""


def _fault(error: requests.RequestException) -> PipelineError:
    """What a failure to get an answer means, without its text, which may hold what is secret."""
    kind = type(error).__name__
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema):
        return PipelineError("AIRTABLE_API_URL is no usable address; it must be such as https://api.airtable.com")
    if isinstance(error, requests.exceptions.InvalidSchema | requests.exceptions.TooManyRedirects):
        return PipelineError(f"AIRTABLE_API_URL does not lead to Airtable's API ({kind})")
    if isinstance(error, requests.Timeout):
        return TransientError(f"Airtable did not answer in time ({kind})")
    return TransientError(f"the connection to Airtable failed, or what came is no answer of it ({kind})")
