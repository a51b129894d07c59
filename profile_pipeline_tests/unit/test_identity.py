"""Who is meant by an id or an address, and what of them is nobody else's."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from profile_pipeline.errors import PipelineError
from profile_pipeline.forgetting.identity import Identity, identify
from profile_pipeline.settings import Settings
from profile_pipeline.warehouse import Warehouse, open_warehouse

USERS: list[tuple[str, str, str | None, int, bool]] = [
    # id, address, name, day, deleted
    ("member-1", "old@x.org", "Ann Lee", 1, False),
    ("member-1", "ann@x.org", "Ann Lee-Ray", 2, False),
    ("member-2", "old@x.org", "Bo", 3, False),
    ("member-3", "left@x.org", "Jo ANN  LEE", 1, True),
    ("member-4", "left@x.org", None, 2, True),
    ("member-5", "claimed@x.org", "Kim Five", 1, False),
    ("member-5", "free@x.org", "Kim Five", 2, False),
    ("member-5", "five@x.org", "Kim Five", 3, False),
    ("7", "seven@x.org", "Sam Seven", 1, False),
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def warehouse(settings: Settings) -> Iterator[Warehouse]:
    with open_warehouse(settings) as opened:
        for sequence, (key, email, name, day, is_deleted) in enumerate(USERS):
            at = datetime(2024, 1, day)
            insert(opened, "raw_users", id=key, email=email, name=name, partition_date=at.date(), changed_at=at,
                   sequence=sequence, deleted_at=at if is_deleted else None)  # fmt: skip
        insert(opened, "raw_events", id="e", participants=["guest@x.org"])
        insert(opened, "raw_orders", id="o", user_id="orphan")
        rejected = '{"id": "member-9", "email": "NINE@x.org", "name": "Nina Nine", "age": 0}'
        insert(opened, "quarantine", kind="users", record_id="member-9", document=rejected, source="users.jsonl:1")
        for email, resolution in (("claimed@x.org", None), ("five@x.org", None), ("free@x.org", "superseded")):
            claim = f'{{"id": "member-6", "email": "{email}"}}'
            insert(opened, "quarantine", kind="users", record_id="member-6", document=claim, source="users.jsonl:2",
                   resolution=resolution)  # fmt: skip
        yield opened


def insert(warehouse: Warehouse, table: str, **row: Any) -> None:
    columns, marks = ", ".join(row), ", ".join("?" for _ in row)
    warehouse.connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", [*row.values()]).fetchall()


@pytest.mark.parametrize(
    ("user", "ids", "addresses", "names"),
    [
        # The old address is another's now, and the old name part of another's.
        ("member-1", {"member-1"}, {"ann@x.org"}, {"Ann Lee-Ray"}),
        (" Ann@X.org ", {"member-1"}, {"ann@x.org"}, {"Ann Lee-Ray"}),
        ("old@x.org", {"member-2"}, {"old@x.org"}, set()),
        ("guest@x.org", set(), {"guest@x.org"}, set()),
        ("orphan", {"orphan"}, set(), set()),
        ("member-9", {"member-9"}, {"nine@x.org"}, {"Nina Nine"}),
        ("nine@x.org", {"member-9"}, {"nine@x.org"}, {"Nina Nine"}),
        # Somebody waits for the address that was left, and for the one of now, which is theirs.
        ("member-5", {"member-5"}, {"five@x.org", "free@x.org"}, {"Kim Five"}),
        ("7", {"7"}, {"seven@x.org"}, {"Sam Seven"}),
    ],
)
def test_what_a_person_is_known_by(
    user: str, *, ids: set[str], addresses: set[str], names: set[str], warehouse: Warehouse, settings: Settings
) -> None:
    found = identify(warehouse, settings, user)
    assert found is not None
    assert ({*found.ids}, {*found.addresses}, {*found.names}) == (ids, addresses, names)


@pytest.mark.parametrize("user", ["nobody", "nobody@x.org", "Ann Lee", "member-"])
def test_what_names_nobody_is_nobody(user: str, warehouse: Warehouse, settings: Settings) -> None:
    assert identify(warehouse, settings, user) is None


def test_an_address_that_several_had_and_nobody_has_does_not_tell_who_is_meant(
    warehouse: Warehouse, settings: Settings
) -> None:
    with pytest.raises(PipelineError, match=r"users member-3, member-4 have all had that address; say by its id"):
        identify(warehouse, settings, "left@x.org")


def test_what_is_left_out_is_told_without_saying_it(warehouse: Warehouse, settings: Settings) -> None:
    found = identify(warehouse, settings, "member-1")
    assert found is not None
    assert found.remarks == (
        "addresses that another user goes by now, or waits for: 1",
        "names of a single word, or that another user has, in records of others: 1",
    )
    short = identify(warehouse, settings, "7")
    assert short is not None
    assert short.remarks == ("the id, which other things may be called, too, outside of the fields for ids",)


def test_an_id_that_is_a_word_or_a_short_number_is_known_where_a_record_has_its_owner_only() -> None:
    assert Identity(("7", "sunset", "100234"), (), ()).hashed_as == {"id:7", "id:sunset", "id:100234"}
    assert Identity(("Member-1",), ("a@b.c",), ("Ann  Lee", "Bo")).hashed_as == {
        *("id:Member-1", "member-1", "a@b.c", "ann lee")
    }
