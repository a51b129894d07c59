"""What a document looks like once people are erased, and that the set-based pass misses none that would change."""

import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from profile_pipeline.errors import PipelineError
from profile_pipeline.forgetting.needles import Needles
from profile_pipeline.records.dialect import PLAIN, Dialect
from profile_pipeline.records.suppressions import Named, Suppressions, full_name, hashed, identity
from profile_pipeline.settings import Settings
from profile_pipeline.suppression_list import Person, add_person, load_suppressions

KEY = b"k" * 32
CONNECTION = duckdb.connect()
SARAH = (identity("user_001"), "user_001", "sarah.chen@email.com", "sarah chen", identity("17"))


def suppressing(parts: Iterable[str] = SARAH, *, fold: bool = False) -> Suppressions:
    return Suppressions(KEY, frozenset(hashed(KEY, part) for part in parts), (2,), fold)


def find(kind: str, *documents: str, suppressions: Suppressions | None = None, dialect: Dialect = PLAIN) -> Named:
    with CONNECTION.cursor() as connection:
        table = {"document": pa.array(documents, pa.large_string()), "position": pa.array(range(len(documents)))}
        connection.register("documents", pa.table(table))
        return (suppressions or suppressing()).find(connection, kind, "documents", dialect)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("sarah.chen@email.com", ""),
        (" Sarah.Chen@Email.com ", ""),
        ("Sarah Chen <sarah.chen@email.com>", ""),
        ("SARAH  CHEN", ""),
        ("Sarah's birthday", "Sarah's birthday"),
        ("Sarah Chen's birthday", "[erased]'s birthday"),
        ("ask (user_001), or sarah.chen@email.com.", "ask ([erased]), or [erased]."),
        ("Sarah Chen, user_001", ""),
        ("user_0011 and user_00", "user_0011 and user_00"),
        ("osarah.chen@email.com", "osarah.chen@email.com"),
        ("sarah.chen@email.com.au", "sarah.chen@email.com.au"),
        ("sarah.chen@work.org", "sarah.chen@work.org"),
        ("room 17", "room 17"),
        ("Write to sarah.chen@email.com!", "Write to [erased]!"),
        ("sarah.chen@email.com?", ""),
        (
            "*sarah.chen@email.com*, “sarah.chen@email.com”… and 'sarah.chen@email.com'",
            "*[erased]*, “[erased]”… and '[erased]'",
        ),
        ("https://x.org/?mail=sarah.chen@email.com&a=1", "https://x.org/?mail=[erased]&a=1"),
        ("Sarah Chen/sarah.chen@email.com/bob", "[erased]/[erased]/bob"),
        ("o'sarah.chen@email.com", "o'sarah.chen@email.com"),
    ],
)
def test_a_text_without_an_erased_person(before: str, after: str) -> None:
    assert suppressing().redact_text(before) == after


def test_all_else_in_a_document_stays_to_the_letter() -> None:
    before = '{"id": "e1",  "price": 1.50, "big": 12345678901234567890, "host": "Sarah Chen", "note": "Zo\\u00eb\\n"}'
    assert suppressing().redact(before) == before.replace("Sarah Chen", "")


@pytest.mark.parametrize(
    ("kind", "document", "is_owned"),
    [
        ("users", '{"id": "user_001", "email": "other@x.y"}', True),
        ("users", '{"id": "user_002", "email": "SARAH.CHEN@email.com"}', True),
        ("users", '{"id": 17, "email": "other@x.y"}', True),
        ("users", '{"_id": {"$numberLong": "17"}, "email": "other@x.y"}', True),
        ("users", '{"id": 18, "email": "other@x.y", "age": 17, "lucky": "17"}', False),
        ("orders", '{"id": "o1", "user_id": "user_001", "amount": 1}', True),
        ("messages", '{"id": "m1", "user_id": " user_001 ", "content": "Hi"}', True),
        ("users", '{"id": "user_001", "email": ', True),
        ("events", '{"id": "user_001", "date": "2024-01-01"}', False),
        ("events", '{"id": "sarah.chen@email.com", "date": "2024-01-01"}', True),
        ("orders", '{"_id": "17", "user_id": ', False),
        ("events", '{"id": "e1", "participants": ["sarah.chen@email.com"]}', False),
    ],
)
def test_a_document_belongs_to_whom_its_owner_field_names(kind: str, document: str, is_owned: bool) -> None:
    assert find(kind, document).owned == ([0] if is_owned else [])


UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
AS_BINARY = '"base64": "D4+tW9nLRp+hZXCGdyiVDg=="'


@pytest.mark.parametrize("key", ["100234", "sunset", "sarah.chen", "2024-01-08", "17", "50000.00"])
def test_an_id_that_is_a_word_or_a_short_number_counts_only_where_a_record_has_its_owner(key: str) -> None:
    suppressions = suppressing([identity(key), key])
    assert suppressions.redact_text(key) == key
    assert suppressions.redact_text(f"about {key} now") == f"about {key} now"
    documents = [json.dumps({"id": "m", "user_id": key}), json.dumps({"id": key, "user_id": "m", "content": key})]
    assert find("messages", *documents, suppressions=suppressions) == Named([0])


@pytest.mark.parametrize("key", ["member-7f3a", "u00001", UUID, "65a1b2c3d4e5f60718293a4b", "100234567890", "a@b.c"])
def test_a_distinctive_id_is_recognised_anywhere_in_any_case(key: str) -> None:
    suppressions = suppressing([identity(key), key])
    assert suppressions.redact_text(key.upper()) == ""
    assert suppressions.redact_text(f"about {key} now") == "about [erased] now"


def test_an_id_is_nobodys_address() -> None:
    event = {"id": "e1", "participants": ["sarah.chen7@work.org", "sarah.chen7"], "notes": "by=sarah.chen7@work.org"}
    named = find("events", json.dumps(event), suppressions=suppressing(["sarah.chen7"]))
    assert json.loads(named.redacted[0]) == event | {"participants": ["sarah.chen7@work.org", ""]}


@pytest.mark.parametrize("kind", ["orders", "events", "messages"])
def test_what_a_record_and_its_event_are_called_by_names_no_person(kind: str) -> None:
    records = (
        {"id": "user_001", "user_id": "bob", "event_id": "user_001", "amount": 1},
        {"_id": {"$oid": "user_001"}, "user_id": "bob"},
        {"id": "x1", "user_id": "bob", "note": "user_001"},
    )
    named = find(kind, *map(json.dumps, records))
    assert (named.owned, list(named.redacted)) == ([], [2])


@pytest.mark.parametrize(
    "written",
    [
        f'{{"$uuid": "{UUID}"}}',
        f'{{"$binary": {{{AS_BINARY}, "subType": "04"}}}}',
        f'{{"$binary": {{"subType": "4", {AS_BINARY}}}}}',
    ],
)
def test_an_owner_is_found_however_a_uuid_is_written(written: str) -> None:
    suppressions = suppressing([identity(UUID), UUID])
    order = f'{{"_id": "o1", "user_id": {written}, "amount": 1}}'
    assert find("orders", order, suppressions=suppressions).owned == [0]
    assert find("users", f'{{"_id": {written}, "email": "a@b.c"}}', suppressions=suppressions).owned == [0]
    assert find("orders", order.replace("04", "00").replace('"4"', '"0"'), suppressions=suppressions).owned == (
        [0] if "uuid" in written else []
    )


@pytest.mark.parametrize(
    ("cut", "is_dropped"),
    [
        ('{"id": "e1", "participants": ["sarah.chen@email.com; bob', True),
        ('{"id": "e1", "name": "Hello from Sarah Chen, and\\', True),
        ('{"id": "e1", "name": "Hello from Sar\\u0061h Chen\\u00', True),
        ('{"id": "e1", "name": "Hello from Sarah', False),
    ],
)
def test_a_line_that_was_cut_off_in_the_middle_of_a_text_is_looked_at_to_its_end(cut: str, is_dropped: bool) -> None:
    assert find("events", cut).owned == ([0] if is_dropped else [])


def test_a_line_that_cannot_be_read_and_names_nobody_stays() -> None:
    line = '{"id": "e1", "participants": ["sarah.chen7@work.org"], "name": "user'
    assert find("events", line, suppressions=suppressing(["sarah.chen7"])).is_empty


def test_a_distinctive_id_is_recognised_as_a_number() -> None:
    suppressions = suppressing([identity("100234567890"), "100234567890"])
    event = (
        '{"id": "e1", "host_id": 100234567890, "seats": [100234567890], "price": 100234567890.5, "at": 1002345678901}'
    )
    redacted = find("events", event, suppressions=suppressions).redacted[0]
    assert redacted == event.replace("100234567890,", '"",').replace("100234567890]", '""]')


def test_an_address_that_was_handed_over_does_not_make_a_known_user_the_erased_one() -> None:
    users = [
        '{"id": "bob", "email": "sarah.chen@email.com", "name": "Bob"}',
        '{"id": "user_002", "email": "sarah.chen@email.com"}',
        '{"id": "user_001", "email": "sarah.chen@email.com"}',
    ]
    with CONNECTION.cursor() as connection:
        table = {"document": pa.array(users, pa.large_string()), "position": pa.array(range(len(users)))}
        connection.register("documents", pa.table(table))
        known = """FROM (VALUES ('bob', 'sarah.chen@email.com'), ('bob', 'bob@x.y'), ('user_001', 'bob@x.y'),
            ('user_002', 'sarah.chen@email.com')) AS known(id, email)"""
        named = suppressing().find(connection, "users", "documents", PLAIN, users=known)
    assert (named.owned, named.redacted) == ([1, 2], {0: users[0].replace("sarah.chen@email.com", "")})


@pytest.mark.parametrize("key", ["17", "a b", "u,1", "ö1", "a]b", "a}b", "a\\b", 'q"1'])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_whatever_a_short_id_is_made_of_its_records_are_found(key: str, is_ascii: bool) -> None:
    records = (
        {"id": "m1", "user_id": key, "status": "sent"},
        {"user_id": f" {key} ", "id": "m2"},
        {"user_id": "other"},
    )
    documents = [json.dumps(record, ensure_ascii=is_ascii) for record in records]
    assert find("messages", *documents, suppressions=suppressing([identity(key)])).owned == [0, 1]


def test_a_namesake_keeps_their_own_name_and_their_place_on_lists() -> None:
    user = '{"id": "user_002", "email": "other@x.y", "name": "Sarah Chen", "note": "not the other Sarah Chen"}'
    assert json.loads(find("users", user).redacted[0])["name"] == "Sarah Chen"
    event = '{"id": "e1", "participants": ["Sarah Chen <other@x.y>"]}'
    assert json.loads(find("events", event).redacted[0])["participants"] == ["[erased] <other@x.y>"]


def test_an_owner_is_found_where_a_system_keeps_it() -> None:
    airtable = Dialect({"user_id": ("fields", "Member ID")}, root=("fields",), has_links=True)
    document = '{"id": "rec1", "fields": {"Member ID": [17], "Text": "Hi"}}'
    assert find("messages", document, dialect=airtable).owned == [0]


def test_escapes_hide_nobody() -> None:
    named = find("events", '{"id": "e", "host": "Sar\\u0061h\\tChen", "name": "\\nuser_001\\n"}')
    assert json.loads(named.redacted[0]) == {"id": "e", "host": "", "name": ""}


def test_folded_aliases_are_the_address() -> None:
    folding = suppressing(["sarahchen@gmail.com"], fold=True)
    named = find("events", '{"id": "e", "participants": ["Sarah.Chen+wine@gmail.com", "x@y.z"]}', suppressions=folding)
    assert json.loads(named.redacted[0])["participants"] == ["", "x@y.z"]
    assert named.forms == {"Sarah.Chen+wine@gmail.com"}


TEXTS = st.one_of(
    st.sampled_from(["Sarah", "Chen", "sarah.chen@email.com", "user_001", "100234567890", "Zoë", *"\n'\"\\<>,.1!“=@-"]),
    st.text(max_size=3),
)
WORDS = st.lists(TEXTS, max_size=6).map(" ".join) | st.lists(TEXTS, max_size=4).map("".join)


NUMBERS = st.integers() | st.just(100234567890)


@given(
    st.dictionaries(WORDS, WORDS | NUMBERS | st.lists(WORDS | NUMBERS, max_size=3), max_size=4),
    st.booleans(),
    st.sampled_from([0, 0, 2, 3, 5, 8]),
)
@example({"host": "İ Sarah Chen"}, True, 0)
def test_what_would_be_redacted_is_found(fields: dict[str, object], ascii_only: bool, cut: int) -> None:
    whole = json.dumps({"id": "e1"} | fields, ensure_ascii=ascii_only)
    document = whole[: len(whole) - cut]
    if "\ud800" <= max(document) <= "\udfff":
        return
    suppressions = suppressing((*SARAH, "100234567890"))
    after = suppressions.redact(document)
    named = find("events", '{"id": "e0"}', document, suppressions=suppressions)
    assert (1 in named.owned or named.redacted.get(1) == after) == (after != document)


def test_what_was_redacted_names_nobody_any_more() -> None:
    once = suppressing().redact(
        '{"a": "Sarah Chen x Sarah Chen", "b": ["user_001-user_001", "sarah.chen@email.com,b@c.d"]}'
    )
    assert suppressing().redact(once) == once
    assert not Needles(["sarah.chen@email.com"], ["Sarah Chen"]).are_in(once)


def test_nobody_is_kept_out_before_anybody_was_erased(tmp_path: Path) -> None:
    assert load_suppressions(Settings(home=tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


def test_the_list_holds_no_name_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    add_person(settings, Person("p", date(2024, 1, 1), (hashed(KEY, "a@b.c"),), (2,)))
    add_person(settings, Person("p", date(2024, 2, 1), (hashed(KEY, "d@e.f"),), (3,)))
    loaded = load_suppressions(settings)
    assert loaded is not None
    assert (len(loaded.hashes), loaded.name_lengths) == (2, (2, 3))
    assert "key" not in repr(loaded)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "erasure").iterdir()}
    assert modes == {"key": 0o600, "suppressions.json": 0o600}


@pytest.mark.parametrize("content", [None, "00" * 32])
def test_a_list_without_its_key_lets_nothing_in(content: str | None, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    add_person(settings, Person("p", date(2024, 1, 1), ("a",), ()))
    key = tmp_path / "erasure" / "key"
    key.unlink()
    if content is not None:
        key.write_text(content)
    with pytest.raises(PipelineError, match=r"is not the key of .*put the right one back"):
        load_suppressions(settings)


def test_full_names_have_two_words() -> None:
    assert [full_name(name) for name in ("Sarah", " Mary-Jane  O'Brien ", "")] == [None, "mary jane o brien", None]
