"""Who was erased, known by keyed hashes only, and what that makes of a document.

What belongs here: hashing, finding the documents that belong to somebody or name them, and redacting the latter. What
does not: where the hashes are kept (`suppression_list.py`), the erasure itself (`forgetting/`), and adding to the log
(`ingestion.py`).

One rule serves the erasure and every later ingestion, so that a document that is read again gives what the erasure
left. A document belongs to an erased person whose id or address it has where its kind has its owner: it is dropped. An
address does not make it theirs where its user is known by another one, too: addresses are handed over. In any other,
each text is looked through for a distinctive id, an address or a full name. A text that is nothing else becomes blank,
which counts as not filled, so that a blanked participant is none; within a text the mark takes its place. All else
stays to the letter, and so do the name of the user whose record it is and the ids of a record and of its event, since
tables may count alike.

Hashes are HMAC-SHA-256, which without the key can neither be read nor tried out. The set-based pass computes the same
in SQL and only has to find the documents with anything in them that may be meant; Python decides on these few.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from profile_pipeline.records.dialect import Dialect
from profile_pipeline.records.email import DOTLESS_DOMAINS, normalise_email
from profile_pipeline.records.models import Rejected, field_values
from profile_pipeline.sql import quoted

MARK = "[erased]"
"""What stands in a text where somebody was named."""

OWNERS = {"users": ("id", "email"), "orders": ("user_id",), "events": (), "messages": ("user_id",)}
"""The fields that say to whom a record belongs, by its kind."""

RECORDS = ("id", "event_id")
"""The fields that hold ids of records and never of a user, but for the id in the record of a user."""

SHORTEST_ID = 6
"""Characters of a text that may be looked for anywhere; a shorter one, such as 17, stands for too much else."""

MOST_DIGITS = 12
"""Digits that make a number an id: dates, amounts and the ids that a table counts have fewer."""

LONGEST = 320
"""Characters of the longest address; a longer text is looked at in parts only."""

CHUNK = 20_000
"""Documents whose parts are compared at once: some 100 MB."""

ADDRESS = r"[^\s@\"<>()\[\],;:\\]+@[^\s@\"<>()\[\],;:\\]+"
ADDRESSEE = r"[^<>]*<[^<>]*>\s*"
"""A name with an address, as in a mail's header."""
AROUND_ADDRESS = "'."
"""What may stand before or behind an address in a sentence."""
BARE_ADDRESS = r"[\w.+'-]+@[\w.-]+"
"""An address without what may surround it in a link or in quotes. O'Brien's is not Brien's."""
ID_IN_TEXT = r"[0-9A-Za-z_]+(?:[-.][0-9A-Za-z_]+)*"
"""What an id looks like within a text."""
LITERAL = re.compile(rf'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|(?<![\w.+-])[0-9]{{{MOST_DIGITS},}}(?![\w.+-])', re.DOTALL)
"""A text, even one that is cut off, or a number that may be an id."""
CUT_ESCAPE = r"\\(u[0-9A-Fa-f]{0,3})?$"
"""What of an escape stands where a text was cut off in it."""


@dataclass(frozen=True)
class Named:
    """Documents that belong to erased people or name them.

    `owned` are positions, `redacted` has a document for each position, `forms` what was found in them, as written.
    """

    owned: list[int] = field(default_factory=list)
    redacted: dict[int, str] = field(default_factory=dict)
    forms: set[str] = field(default_factory=set)

    @property
    def is_empty(self) -> bool:
        """Whether there are none."""
        return not self.owned and not self.redacted


@dataclass(frozen=True)
class Suppressions:
    """The hashes of everybody who was erased; `name_lengths` are the numbers of words that their names have."""

    key: bytes = field(repr=False)
    hashes: frozenset[str]
    name_lengths: tuple[int, ...]
    fold_email_aliases: bool

    def find(
        self,
        connection: duckdb.DuckDBPyConnection,
        kind: str,
        documents: str,
        dialect: Dialect,
        *,
        users: str | None = None,
    ) -> Named:
        """Which documents of a relation of (document, position) belong to erased people or name them.

        Args:
            connection: where the relation is.
            kind: users, orders, events or messages.
            documents: its name, or a query in brackets; it is read several times.
            dialect: how the documents are written.
            users: a query of (id, email) for the users who are known, by which an address that was handed over is told.
        """
        named = Named()
        bounds = connection.execute(f"SELECT min(position), max(position) FROM {documents}").fetchall()[0]
        if bounds[0] is None:
            return named
        inner, outer = _pads(self.key)
        parameters = {"inner": inner, "outer": outer, "hashes": sorted(self.hashes)}
        for start in range(bounds[0], bounds[1] + 1, CHUNK):
            chunk = (
                f"(SELECT position, document FROM {documents} WHERE position BETWEEN {start} AND {start + CHUNK - 1})"
            )
            connection.execute(
                f"CREATE OR REPLACE TEMP TABLE texts AS SELECT position, unnest({TEXTS}) AS text FROM {chunk}"
            ).fetchall()
            rows = connection.execute(
                f"""
                WITH parts AS MATERIALIZED (
                    SELECT text, unnest({self._parts()}) AS part FROM (SELECT DISTINCT text FROM texts)
                    UNION ALL SELECT NULL, unnest({_owners(kind, dialect)}) FROM {chunk}
                ),
                hits AS (
                    SELECT part FROM (SELECT DISTINCT part FROM parts)
                    WHERE sha256($outer || unhex(sha256($inner || encode(part)))) IN (SELECT unnest($hashes))
                )
                SELECT position, document,
                    coalesce(list_has_any({_owners(kind, dialect)}, (SELECT list(part) FROM hits)), false) AS has_owner
                FROM {chunk}
                WHERE has_owner OR position IN (
                    SELECT position FROM texts SEMI JOIN (FROM parts SEMI JOIN hits USING (part)) USING (text)
                )
                """,
                parameters,
            ).fetchall()
            others = self._others(connection, rows, dialect, users) if users and kind == "users" else set()
            self._judge(kind, rows, dialect, others, named)
        connection.execute("DROP TABLE texts").fetchall()
        return named

    def admit(self, documents: list[str], kind: str, dialect: Dialect) -> tuple[dict[int, str], Named]:
        """Those of some documents that may be stored, by their place among them; and which may not, or not so."""
        with duckdb.connect() as connection:
            arrived = {"document": pa.array(documents, pa.large_string()), "position": pa.array(range(len(documents)))}
            connection.register("arrived", pa.table(arrived))
            named = self.find(connection, kind, "arrived", dialect)
        owned = set(named.owned)
        return {
            place: named.redacted.get(place, document) for place, document in enumerate(documents) if place not in owned
        }, named

    def redact(
        self,
        document: str,
        forms: set[str] | None = None,
        *,
        own: Collection[str] = (),
        records: Collection[str] = (),
    ) -> str:
        """A document in which no erased person is named.

        Args:
            document: as it was read.
            forms: gets what was found, as it was written.
            own: the name of the user whose record it is, which stays: others may be called alike.
            records: ids of records, which are no ids of users.
        """
        found: set[str] = set() if forms is None else forms

        def redacted(literal: re.Match[str]) -> str:
            text = _decoded(literal[0])
            if text.strip() in own:
                return literal[0]
            kept = self.redact_text(text, found, with_ids=text.strip() not in records)
            return literal[0] if kept == text else json.dumps(kept)

        return LITERAL.sub(redacted, document)

    def redact_text(self, text: str, forms: set[str] | None = None, *, with_ids: bool = True) -> str:
        """A text in which no erased person is named: blank if nothing else was in it."""
        spans = sorted({(start, end) for start, end, part in self._parts_of(text, with_ids) if self._has(part)})
        if not spans:
            return text
        if forms is not None:
            forms.update(text[start:end].strip() for start, end in spans)
        if re.fullmatch(ADDRESSEE, text) and any("@" in text[start:end] for start, end in spans):
            return ""
        kept, reached = [], 0
        for start, end in spans:
            if start >= reached:
                kept += [text[reached:start], MARK]
            reached = max(reached, end)
        kept.append(text[reached:])
        rest = "".join(part for part in kept if part != MARK)
        return "".join(kept) if any(character.isalnum() for character in rest) else ""

    def _judge(
        self, kind: str, rows: list[tuple[int, str, bool]], dialect: Dialect, others: set[str], named: Named
    ) -> None:
        for position, document, has_owner in rows:
            found: set[str] = set()
            values = _values(kind, document, dialect)
            kept = self.redact(document, found, **_called(kind, values))
            left = _values(kind, kept, dialect)
            # One that cannot be read, or whose key would be lost, goes as a whole.
            if values is None or left is None:
                is_owned = has_owner or kept != document
            else:
                is_owned = values["id"] != left["id"] or self._is_owned(kind, values, others)
            if is_owned:
                named.owned.append(position)
            elif kept != document:
                named.redacted[position] = kept
            else:
                continue
            named.forms.update(found)

    def _is_owned(self, kind: str, values: dict[str, Any], others: set[str]) -> bool:
        """Whether a document with these fields belongs to somebody erased."""
        names = [name for name in OWNERS[kind] if name != "email" or _text(values["id"]) not in others]
        owners = [(name, text) for name in names if (text := _text(values[name]))]
        return any(self._has(self._address(text) if name == "email" else identity(text)) for name, text in owners)

    def _others(
        self, connection: duckdb.DuckDBPyConnection, rows: list[tuple[int, str, bool]], dialect: Dialect, users: str
    ) -> set[str]:
        """Ids of users in the documents who are known by an address that nobody erased had."""
        ids = {_text(values["id"]) for _, document, _ in rows if (values := _values("users", document, dialect))}
        known = connection.execute(
            f"SELECT DISTINCT id, lower(email) FROM ({users}) WHERE id IN (SELECT unnest(?))", [sorted(ids)]
        ).fetchall()
        return {user_id for user_id, address in known if address and not self._has(address)}

    def _has(self, part: str) -> bool:
        return hashed(self.key, part) in self.hashes

    def _address(self, text: str) -> str:
        return normalise_email(text, fold_aliases=self.fold_email_aliases).lower()

    def _parts_of(self, text: str, with_ids: bool) -> Iterator[tuple[int, int, str]]:
        """What of a text may be an address, an id or a name: where it is, and as it is hashed."""
        if "@" in text:
            yield 0, len(text), self._address(text)
        addresses = list(re.finditer(BARE_ADDRESS, text))
        for match in (*re.finditer(ADDRESS, text), *addresses):
            bare = match[0].strip(AROUND_ADDRESS)
            start = match.start() + match[0].index(bare)
            yield start, start + len(bare), self._address(bare)

        def is_in_address(match: re.Match[str]) -> bool:
            return any(address.start() <= match.start() < address.end() for address in addresses)

        # Not in addresses, of which others may begin alike.
        if with_ids:
            if is_distinctive(text.strip()):
                yield 0, len(text), text.strip().lower()
            for match in re.finditer(ID_IN_TEXT, text):
                if is_distinctive(match[0]) and not is_in_address(match):
                    yield match.start(), match.end(), match[0].lower()
        words = [word for word in re.finditer(r"[^\W_]+", text) if not is_in_address(word)]
        for length in self.name_lengths:
            for first in range(len(words) - length + 1):
                name = words[first : first + length]
                yield name[0].start(), name[-1].end(), " ".join(word[0].lower() for word in name)

    def _parts(self) -> str:
        """The same parts of a `text` in SQL, and some more."""
        patterns = [ADDRESS, BARE_ADDRESS.replace(r"\w", r"\pL\pN_")]
        found = ", ".join(f"regexp_extract_all(text, {quoted(pattern)})" for pattern in patterns)
        addresses = f"list_transform(list_concat({found}), lambda found: trim(found, {quoted(AROUND_ADDRESS)}))"
        if self.fold_email_aliases:
            addresses = f"list_transform({addresses}, lambda found: {_folded('found')})"
        ids = f"""list_filter(regexp_extract_all(text, {quoted(ID_IN_TEXT)}),
            lambda found: len(found) >= {SHORTEST_ID} AND regexp_matches(found, '[0-9]'))"""
        words = "regexp_extract_all(text, '[\\pL\\pN]+')"
        # Of the words computed once.
        names = [
            f"""list_transform([{words}], lambda words: list_transform(
                range(1, greatest(len(words) - {length - 2}, 1)),
                lambda first: array_to_string(words[first:first + {length - 1}], ' ')))[1]"""
            for length in self.name_lengths
        ]
        whole = f"list_filter([text], lambda found: len(found) <= {LONGEST})"
        return f"list_concat({', '.join([whole, addresses, ids, *names])})"


def _owners(kind: str, dialect: Dialect) -> str:
    """What may be an owner's id in a `document`, in SQL, as it is hashed."""
    keys = {dialect.path(name)[-1] for name in OWNERS[kind] if name != "email"}
    if kind == "users":
        keys.add("_id")
    if not keys:
        return "[]::VARCHAR[]"
    named = "|".join(re.escape(key) for key in sorted(keys))
    wrapper = r'(?:\s*\{\s*"\$[A-Za-z]+"\s*:(?:\s*\{[^{}]*"base64"\s*:)?)?'
    pattern = rf'"(?:{named})"\s*:{wrapper}\s*\[?\s*("(?:[^"\\]|\\.)*"|[^",\]\}}\s]+)'
    decoded = "trim(coalesce(try(id::JSON ->> '$'), id))"
    texts = f"list_transform(regexp_extract_all(document, {quoted(pattern)}, 1), lambda id: {decoded})"
    # A UUID as MongoDB writes it.
    binary = f"list_filter({texts}, lambda id: len(id) = 24 AND ends_with(id, '=='))"
    uuids = f"list_transform({binary}, lambda id: try(hex(from_base64(id))::UUID)::VARCHAR)"
    return f"list_transform(list_concat({texts}, {uuids}), lambda id: 'id:' || id)"


def _called(kind: str, values: dict[str, Any] | None) -> dict[str, set[str]]:
    """What in a document stays though somebody erased may be called so, as `redact` takes it."""
    if values is None:
        return {}
    if kind == "users":
        return {"own": {_text(values["name"])}}
    return {"records": {_text(values[name]) for name in RECORDS if name in values}}


def _values(kind: str, document: str, dialect: Dialect) -> dict[str, Any] | None:
    """The fields of a document; None if it cannot be read."""
    try:
        return field_values(kind, document, dialect)
    except Rejected:
        return None


def _text(value: Any) -> str:
    """What a field holds as a text; blank if it is none and no whole number."""
    return str(value).strip() if isinstance(value, str | int) else ""


def _decoded(literal: str) -> str:
    """What a literal stands for; as it is written where that cannot be told."""
    for written in (literal, re.sub(CUT_ESCAPE, "", literal) + '"'):
        with suppress(ValueError):
            return str(json.loads(written, strict=False))
    return literal.strip('"')


def is_distinctive(user_id: str) -> bool:
    """Whether an id means nobody and nothing else in any text.

    It has letters and digits, as UUIDs and ObjectIds do, or many digits, or is an address. Others are words, names,
    dates, amounts and ids of records, too: they count only where a record has its owner.
    """
    digits = sum(character.isdigit() for character in user_id)
    is_mixed = bool(digits) and any(character.isalpha() for character in user_id)
    return len(user_id) >= SHORTEST_ID and (is_mixed or digits >= MOST_DIGITS or "@" in user_id)


def hashed(key: bytes, text: str) -> str:
    """The keyed hash of a text, in hexadecimal digits."""
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def identity(user_id: str) -> str:
    """What is hashed of an id that says to whom a record belongs: it is told from other texts, and by case."""
    return f"id:{user_id}"


def full_name(name: str) -> str | None:
    """What is hashed of a name; None if it is a single word, which others have, too."""
    words = re.findall(r"[^\W_]+", name)
    return " ".join(word.lower() for word in words) if len(words) > 1 else None


LITERALS = r"""regexp_extract_all(document, '(?s)"((?:[^"\\]|\\.)*)(?:"|\\?\z)', 1)"""
DECODED = rf"""list_transform(regexp_extract_all(document, '(?s)"(?:[^"\\]|\\.)*(?:"|\\?\z)'), lambda literal: coalesce(
    try(literal::JSON ->> '$'), try((regexp_replace(literal, '{CUT_ESCAPE}', '') || '"')::JSON ->> '$'), literal))"""
NUMBERS = f"regexp_extract_all(document, '[0-9]{{{MOST_DIGITS},}}')"
TEXTS = f"""list_concat({NUMBERS}, list_transform(CASE WHEN contains(document, '\\') THEN {DECODED} ELSE {LITERALS} END,
    lambda text: lower(trim(text))))"""
"""The texts in a document, names of fields included, and its long numbers; only one with escapes has to be decoded."""


def _pads(key: bytes) -> tuple[bytes, bytes]:
    """The key as HMAC puts it before the text and before the inner hash (RFC 2104); its block is 64 bytes."""
    padded = key.ljust(64, b"\0")
    return bytes(byte ^ 0x36 for byte in padded), bytes(byte ^ 0x5C for byte in padded)


def _folded(address: str) -> str:
    """An address without what `normalise_email` folds, in SQL."""
    mailbox, domain = f"split_part(split_part({address}, '@', 1), '+', 1)", f"split_part({address}, '@', 2)"
    dotless = ", ".join(quoted(name) for name in DOTLESS_DOMAINS)
    folded = f"CASE WHEN {domain} IN ({dotless}) THEN replace({mailbox}, '.', '') ELSE {mailbox} END"
    return f"CASE WHEN {folded} = '' THEN {address} ELSE {folded} || '@' || {domain} END"
