"""Airtable's web API over a real socket, for tests: lists of records, errors, limits, and faults on demand.

    with airtable_server(tables={"messages": {"Member": "singleLineText", "Changed": "lastModifiedTime"}}) as server:
        server.put("messages", "rec00000000000001", {"Member": "u1"})
        ...  # a client with AIRTABLE_API_URL=server.url, server.token and server.base

A table is a mapping of field names to Airtable's types, a list of field names (texts), or a list of records, each
a mapping of its fields, which then get ids and types by what they hold. `put` and `delete` write, `set_clock`
stops the clock that makes `createdTime`, last modified times and the `Date` header. `requests` has what was asked.

Faults: `fail` spoils requests to come, `on_request` does something, such as a write, right before one of them is
answered, `expire_offsets` forgets where lists were. Airtable's limit of 5 requests a second, with 30 seconds of
refusals for who exceeds it, is on: give `rate=None` to a client that does not wait.

What differs from Airtable on purpose: records are listed in an order of their ids that looks random, so that a
record made while one reads may come before the place of reading and be missed, as may happen there; the fields of
a record come in another order each time; offsets are bound to the parameters of their list; parameters that are
not known here are refused.

What does not belong here: formulas (`airtable_formula.py`), and what a client makes of the records.
"""

import hashlib
import json
import os
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from profile_pipeline_tests.servers.airtable_formula import InvalidFormula, Row, read

READ_RECORDS = "data.records:read"
READ_SCHEMA = "schema.bases:read"
COMPUTED = ("lastModifiedTime", "createdTime")
PARAMETERS = {"pageSize", "offset", "fields[]", "returnFieldsByFieldId", "filterByFormula", "maxRecords"}

TableOf = Sequence[str] | Mapping[str, str] | Sequence[Mapping[str, Any]]


class Seen(NamedTuple):
    """A request as it came: of a list that was asked for by POST, the body's parameters under their GET names."""

    method: str
    path: str
    query: dict[str, list[str]]


@dataclass
class _Record:
    fields: dict[str, Any]
    created: datetime
    modified: datetime | None


@dataclass
class _Table:
    name: str
    types: dict[str, str]
    records: dict[str, _Record] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return _id("tbl", self.name)

    def field_id(self, name: str) -> str:
        return _id("fld", self.name, name)

    def field_name(self, name_or_id: str) -> str | None:
        if name_or_id in self.types:
            return name_or_id
        return next((name for name in self.types if self.field_id(name) == name_or_id), None)


@dataclass
class _Iterator:
    parameters: str
    touched: datetime
    uses: int = 0


class _Refused(Exception):  # noqa: N818
    """An answer that is no success: status and body."""

    def __init__(self, status: int, body: Any) -> None:
        self.status = status
        self.body = body


def _error(status: int, kind: str, message: str | None = None) -> _Refused:
    return _Refused(status, {"error": {"type": kind} | ({"message": message} if message else {})})


def _too_many(kind: str, message: str) -> _Refused:
    return _Refused(429, {"errors": [{"error": kind, "message": message}]})


def _id(prefix: str, *names: str) -> str:
    return prefix + hashlib.sha256("\0".join(names).encode()).hexdigest()[:14]


NO_ACCESS = (
    "Invalid permissions, or the requested model was not found. Check that both your user and your token have the "
    "required permissions, and that the model names and/or ids are correct."
)
FAULTS: dict[int | str, _Refused] = {
    401: _error(401, "AUTHENTICATION_REQUIRED", "Authentication required"),
    403: _error(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", NO_ACCESS),
    404: _Refused(404, {"error": "NOT_FOUND"}),
    429: _too_many("RATE_LIMIT_REACHED", "Rate limit exceeded. Please try again later"),
    "billing": _too_many("PUBLIC_API_BILLING_LIMIT_EXCEEDED", "API billing plan limit exceeded."),
    500: _error(500, "SERVER_ERROR", "Internal Server Error"),
}


class AirtableServer:
    """One base. Everything is safe to call while requests are being answered."""

    def __init__(
        self,
        tables: Mapping[str, TableOf],
        *,
        token: str = "patTEST.0123456789abcdef",
        base: str = "appTEST",
        scopes: tuple[str, ...] = (READ_RECORDS,),
        rate: int | None = 5,
        window: float = 1.0,
        penalty: float = 30.0,
        offset_uses: int | None = None,
        offset_age: timedelta | None = None,
        has_formula_ids: bool = True,
        is_blank_until_edited: bool = False,
    ) -> None:
        """Make the tables.

        Args:
            tables: each by its name; see the module.
            token: the one that is accepted.
            base: the base's id.
            scopes: what the token may do.
            rate: requests within `window` seconds, of real time, that are answered; any number if None.
            window: in seconds.
            penalty: for how many seconds all is refused after that.
            offset_uses: how often the offsets of one list are taken before they expire.
            offset_age: how long they live without use, by the server's clock.
            has_formula_ids: whether formulas may name fields by id; reports differ.
            is_blank_until_edited: whether last modified times are blank until the first change after creation.
        """
        self.token, self.base, self.scopes = token, base, scopes
        self.rate, self.window, self.penalty = rate, window, penalty
        self.offset_uses, self.offset_age = offset_uses, offset_age
        self.has_formula_ids, self.is_blank_until_edited = has_formula_ids, is_blank_until_edited
        self.requests: list[Seen] = []
        self._lock = threading.RLock()
        self._clock: datetime | None = None
        self._iterators: dict[str, _Iterator] = {}
        self._faults: dict[int, int | str] = {}
        self._actions: dict[int, list[Callable[[], object]]] = {}
        self._recent: deque[float] = deque()
        self._refused_until = 0.0
        self._closed = threading.Event()
        self._tables = {name: _Table(name, _types(table)) for name, table in tables.items()}
        for name, table in tables.items():
            if not isinstance(table, Mapping):
                for number, fields in enumerate(entry for entry in table if isinstance(entry, Mapping)):
                    self.put(name, f"rec{number:014}", fields)
        self._http = _HttpServer(("127.0.0.1", 0), self)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    # ---------------------------------------------------------------- what tests do

    @property
    def now(self) -> datetime:
        """The server's clock, UTC without a zone."""
        return self._clock or datetime.now(UTC).replace(tzinfo=None)

    def set_clock(self, moment: datetime) -> None:
        """Stop the clock at a moment, UTC without a zone."""
        self._clock = moment

    def put(self, table: str, record_id: str, fields: Mapping[str, Any]) -> None:
        """Make these the fields of a record, a new one or not; nothing changes if they already are."""
        with self._lock:
            known = self._tables[table]
            if wrong := [name for name in fields if known.types.get(name, COMPUTED[0]) in COMPUTED]:
                raise ValueError(f"{table} has no fields {wrong} that can be written")
            record = known.records.get(record_id)
            if record is None:
                is_blank = self.is_blank_until_edited or not fields
                known.records[record_id] = _Record(dict(fields), self.now, None if is_blank else self.now)
            elif record.fields != fields:
                record.fields, record.modified = dict(fields), self.now

    def delete(self, table: str, record_id: str) -> object:
        """Remove a record; what comes back is for `restore`."""
        with self._lock:
            return self._tables[table].records.pop(record_id)

    def restore(self, table: str, record_id: str, deleted: object) -> None:
        """Put a record back as it was, with its times, as from Airtable's trash."""
        assert isinstance(deleted, _Record)
        with self._lock:
            self._tables[table].records[record_id] = deleted

    def record_ids(self, table: str) -> list[str]:
        """The ids of all records."""
        with self._lock:
            return list(self._tables[table].records)

    def table_id(self, table: str) -> str:
        """The id of a table."""
        return self._tables[table].id

    def field_id(self, table: str, name: str) -> str:
        """The id of a field."""
        return self._tables[table].field_id(name)

    def fail(self, fault: int | str, times: int = 1, after: int = 0) -> None:
        """Spoil requests to come, those not spoiled yet, without doing what they ask.

        Args:
            fault: a status, with Airtable's body for it; or `billing` (the month's calls are used up), `reset`
                (the connection goes away before the answer), `cut` (in the middle of it), `hang` (no answer
                while the server lives), `html` (a page, as a proxy in the way gives, with status 200).
            times: how many.
            after: how many to leave alone first.
        """
        with self._lock:
            number = len(self.requests) + after
            for _ in range(times):
                while number in self._faults:
                    number += 1
                self._faults[number] = fault

    def on_request(self, number: int, action: Callable[[], object]) -> None:
        """Do something right before a request is answered: 1 is the next one."""
        with self._lock:
            self._actions.setdefault(len(self.requests) + number - 1, []).append(action)

    def recover(self) -> None:
        """Forget the faults and the actions to come."""
        with self._lock:
            self._faults.clear()
            self._actions.clear()

    def expire_offsets(self) -> None:
        """Forget where all lists are."""
        with self._lock:
            self._iterators.clear()

    # ---------------------------------------------------------------- answers

    def answer(self, seen: Seen, authorization: str | None) -> tuple[int, Any] | str:
        """Status and body for a request, or the name of the fault that its connection suffers."""
        with self._lock:
            number = len(self.requests)
            self.requests.append(seen)
            for action in self._actions.pop(number, []):
                action()
            fault = self._faults.pop(number, None)
            try:
                if fault in FAULTS:
                    raise FAULTS[fault]
                if fault == "cut":
                    return f"cut{json.dumps(self._handled(seen, authorization))}"
                if isinstance(fault, str):
                    return fault
                if fault is not None:
                    raise _error(fault, "FAULT", "a fault that a test asked for")
                return 200, self._handled(seen, authorization)
            except _Refused as refused:
                return refused.status, refused.body

    def wait(self) -> None:
        """Return when the server closes."""
        self._closed.wait()

    def _handled(self, seen: Seen, authorization: str | None) -> Any:
        if authorization is None:
            raise FAULTS[401]
        if authorization != f"Bearer {self.token}":
            raise _error(401, "UNAUTHORIZED", "Invalid authentication token")
        match [unquote(part) for part in seen.path.strip("/").split("/")]:
            case ["v0", "meta", "whoami"]:
                return {"id": "usr00000000000001"}
            case ["v0", "meta", "bases", base, "tables"]:
                self._admit(base, READ_SCHEMA)
                return {"tables": [_schema(table) for table in self._tables.values()]}
            case ["v0", base, table] if seen.method == "GET":
                return self._list(self._table(base, table), seen.query)
            case ["v0", base, table, "listRecords"] if seen.method == "POST":
                return self._list(self._table(base, table), seen.query)
            case ["v0", base, table, record_id] if seen.method == "GET":
                return self._record(self._table(base, table), record_id, seen.query)
        raise FAULTS[404]

    def _admit(self, base: str, scope: str) -> None:
        """Refuse who comes too fast or may not do this."""
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - self.window:
            self._recent.popleft()
        if now >= self._refused_until and self.rate is not None and len(self._recent) >= self.rate:
            self._refused_until = now + self.penalty
        if now < self._refused_until:
            raise FAULTS[429]
        self._recent.append(now)
        if not base.startswith("app"):
            raise FAULTS[404]
        if base != self.base or scope not in self.scopes:
            raise FAULTS[403]

    def _table(self, base: str, name_or_id: str) -> _Table:
        self._admit(base, READ_RECORDS)
        for table in self._tables.values():
            if name_or_id in (table.name, table.id):
                return table
        raise FAULTS[403]

    def _record(self, table: _Table, record_id: str, query: dict[str, list[str]]) -> Any:
        if record_id not in table.records:
            raise _error(404, "MODEL_ID_NOT_FOUND", "Record not found")
        by_id = _flag(query, "returnFieldsByFieldId")
        return _rendered(table, record_id, list(table.types), by_id, str(len(self.requests)))

    def _list(self, table: _Table, query: dict[str, list[str]]) -> Any:
        if not query.keys() <= PARAMETERS:
            raise _error(422, "INVALID_REQUEST_UNKNOWN", "Invalid request: parameter validation failed.")
        size = int(query.get("pageSize", ["100"])[0])
        if not 1 <= size <= 100:
            raise _error(422, "INVALID_PAGE_SIZE", "The page size must be between 1 and 100")
        names = self._names(table, query.get("fields[]"))
        is_selected = self._filter(table, query.get("filterByFormula", [""])[0])
        token, after = self._place(query)
        most = int(query.get("maxRecords", [str(len(table.records))])[0])
        ids = [record_id for record_id in sorted(table.records, key=_rank) if is_selected(record_id)][:most]
        rest = [record_id for record_id in ids if after is None or _rank(record_id) > _rank(after)]
        by_id = _flag(query, "returnFieldsByFieldId")
        salt = str(len(self.requests))
        records = [_rendered(table, record_id, names, by_id, salt) for record_id in rest[:size]]
        page: dict[str, Any] = {"records": records}
        if len(rest) > size:
            page["offset"] = f"{token}/{rest[size - 1]}"
        return page

    def _names(self, table: _Table, wanted: list[str] | None) -> list[str]:
        if wanted is None:
            return list(table.types)
        for name in wanted:
            if table.field_name(name) is None:
                raise _error(422, "UNKNOWN_FIELD_NAME", f'Unknown field name: "{name}"')
        return [name for name in table.types if name in {table.field_name(known) for known in wanted}]

    def _filter(self, table: _Table, text: str) -> Callable[[str], bool]:
        if not text.strip():
            return lambda record_id: True
        try:
            formula = read(text)
            known = table.field_name if self.has_formula_ids else lambda name: name if name in table.types else None
            if unknown := [name for name in sorted(formula.fields) if known(name) is None]:
                raise InvalidFormula(f"Unknown field names: {', '.join(unknown)}")
        except InvalidFormula as fault:
            raise _error(
                422, "INVALID_FILTER_BY_FORMULA", f"The formula for filtering records is invalid: {fault}"
            ) from None
        return lambda record_id: formula.selects(_row(table, record_id))

    def _place(self, query: dict[str, list[str]]) -> tuple[str, str | None]:
        """The token of the list that goes on or begins, and the record after which it does."""
        parameters = json.dumps({name: value for name, value in query.items() if name != "offset"}, sort_keys=True)
        offset = query.get("offset", [""])[0]
        if not offset:
            token = _id("itr", str(len(self.requests)))
            self._iterators[token] = _Iterator(parameters, self.now)
            return token, None
        token, _, after = offset.partition("/")
        if not token.startswith("itr") or not after.startswith("rec"):
            raise _error(422, "INVALID_OFFSET_VALUE", f"The value of offset {offset} is invalid")
        iterator = self._iterators.get(token)
        is_old = iterator and self.offset_age is not None and self.now - iterator.touched > self.offset_age
        if iterator is None or is_old or iterator.uses == self.offset_uses:
            raise _error(422, "LIST_RECORDS_ITERATOR_NOT_AVAILABLE")
        if iterator.parameters != parameters:
            raise _error(422, "INVALID_OFFSET_VALUE", f"The value of offset {offset} is invalid")
        iterator.uses, iterator.touched = iterator.uses + 1, self.now
        return token, after

    # ---------------------------------------------------------------- its life

    def start(self) -> None:
        """Answer from now on."""
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._closed.set()
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def airtable_server(*, tables: Mapping[str, TableOf], **options: Any) -> Iterator[AirtableServer]:
    """A server that lives for a block; the options are those of `AirtableServer`."""
    server = AirtableServer(tables, **options)
    server.start()
    try:
        yield server
    finally:
        server.close()


def _types(table: TableOf) -> dict[str, str]:
    if isinstance(table, Mapping):
        return dict(table)
    types: dict[str, str] = {}
    for entry in table:
        if isinstance(entry, str):
            types[entry] = "singleLineText"
        else:
            types |= {name: _type(value) for name, value in entry.items() if name not in types}
    return types


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "checkbox"
    if isinstance(value, list):
        return "multipleRecordLinks"
    return "number" if isinstance(value, int | float) else "singleLineText"


@cache
def _rank(record_id: str) -> str:
    return hashlib.sha256(record_id.encode()).hexdigest()


def _flag(query: dict[str, list[str]], name: str) -> bool:
    return query.get(name, ["0"])[0].lower() in ("1", "true")


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _value(table: _Table, record_id: str, name: str) -> Any:
    record = table.records[record_id]
    match table.types[name]:
        case "createdTime":
            return _stamp(record.created)
        case "lastModifiedTime":
            return _stamp(record.modified) if record.modified else None
    return record.fields.get(name)


def _rendered(table: _Table, record_id: str, names: list[str], by_id: bool, salt: str) -> dict[str, Any]:
    """A record as Airtable writes it: without fields that are empty, and in another order each time."""
    values = {name: _value(table, record_id, name) for name in names}
    fields = {
        table.field_id(name) if by_id else name: _signed(value, salt)
        for name, value in values.items()
        if value is not None and value is not False and value not in ("", [])
    }
    shuffled = dict(sorted(fields.items(), key=lambda item: _id(salt, record_id, item[0])))
    return {"id": record_id, "createdTime": _stamp(table.records[record_id].created), "fields": shuffled}


def _signed(value: Any, salt: str) -> Any:
    """Attachments with addresses that are only good for a while, and so differ each time."""
    if not _is_attachments(value):
        return value
    address = "https://v5.airtableusercontent.test/" + _id("", salt)
    return [{**item, "url": address, "thumbnails": {"small": {"url": address}}} for item in value]


def _is_attachments(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, dict) and str(item.get("id")).startswith("att") for item in value
    )


def _row(table: _Table, record_id: str) -> Row:
    """The values that a formula sees: dates as such, to the second."""

    def value_of(name_or_function: str) -> Any:
        record = table.records[record_id]
        if name_or_function == "RECORD_ID()":
            return record_id
        if name_or_function == "CREATED_TIME()":
            return record.created.replace(microsecond=0)
        if name_or_function == "LAST_MODIFIED_TIME()":
            return record.modified and record.modified.replace(microsecond=0)
        name = table.field_name(name_or_function)
        assert name is not None
        value = _value(table, record_id, name)
        if value and table.types[name] in (*COMPUTED, "date", "dateTime"):
            moment = datetime.fromisoformat(value)
            return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
        return value

    return value_of


def _schema(table: _Table) -> dict[str, Any]:
    fields = [{"id": table.field_id(name), "name": name, "type": kind} for name, kind in table.types.items()]
    return {"id": table.id, "name": table.name, "primaryFieldId": fields[0]["id"], "fields": fields, "views": []}


# ---------------------------------------------------------------- HTTP


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], airtable: AirtableServer) -> None:
        super().__init__(address, _Handler)
        self.airtable = airtable

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that goes away is no fault of the test."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self._answer(Seen("GET", parts.path, parse_qs(parts.query)))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        names = {name: f"{name}[]" if isinstance(value, list) else name for name, value in body.items()}
        query = {
            names[name]: list(map(str, value)) if isinstance(value, list) else [str(value)]
            for name, value in body.items()
        }
        self._answer(Seen("POST", urlsplit(self.path).path, query))

    def _answer(self, seen: Seen) -> None:
        answer = self.server.airtable.answer(seen, self.headers.get("Authorization"))
        if isinstance(answer, tuple):
            self._send(answer[0], "application/json", json.dumps(answer[1]).encode())
        elif answer == "hang":
            self.server.airtable.wait()
            self.close_connection = True
        elif answer == "html":
            self._send(200, "text/html", b"<html><body>Sign in to the network</body></html>")
        else:
            if answer.startswith("cut"):
                body = answer.removeprefix("cut").encode()
                self._send(200, "application/json", body, sent=body[: len(body) // 2])
            self._reset()

    def _send(self, status: int, kind: str, body: bytes, sent: bytes | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if sent is None else sent)

    def _reset(self) -> None:
        """Close the connection so that the other side is told that it broke."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        # The streams of the handler keep the socket open, and closing it in order would send an end, no reset.
        os.close(self.connection.detach())

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The `Date` header."""
        return format_datetime(self.server.airtable.now.replace(tzinfo=UTC), usegmt=True)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: `requests` keeps what was asked."""
