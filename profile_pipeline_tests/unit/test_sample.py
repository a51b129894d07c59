"""The made-up data: it is the same every time, holds what it promises, and is rejected where it should be."""

import json
import random
from collections import Counter, defaultdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_pipeline.errors import PipelineError
from profile_pipeline.policy import Policy
from profile_pipeline.records.models import Reading, Rejected, known_days, parse
from profile_pipeline.records.moments import read_moment
from profile_pipeline.sample import Format, write_sample
from profile_pipeline.sample.story import stamp
from profile_pipeline_tests.oracle import profiles
from profile_pipeline_tests.oracle_log import log_of
from profile_pipeline_tests.oracle_summary import summary
from profile_pipeline_tests.reference_data import WORKED_EXAMPLE

KINDS = ("users", "events", "orders", "messages")
COMMITTED = Path(__file__).parents[2] / "data" / "sample"
UTC_ZONE = ZoneInfo("UTC")
FIRST_PARTITION = date(2024, 1, 1)
GOLDEN_ADDRESSES = {
    "sarah.chen@email.com",
    "mike.jones@email.com",
    "jenny.kim@email.com",
    "alex.wong@email.com",
}


def lines(folder: Path, kind: str) -> list[str]:
    return (folder / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()


def objects(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = []
    for line in lines(folder, kind):
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return [record for record in found if isinstance(record, dict)]


def verdict(kind: str, line: str) -> str | None:
    try:
        parse(kind, line, Reading(UTC_ZONE))
    except Rejected as rejected:
        return rejected.reason
    return None


def day_of(kind: str, line: str) -> tuple[date, ...]:
    try:
        return known_days(parse(kind, line, Reading(UTC_ZONE)), FIRST_PARTITION)
    except Rejected as rejected:
        return (max(rejected.known_on or FIRST_PARTITION, FIRST_PARTITION),)


def plain_keys(document: dict[str, Any]) -> dict[str, Any]:
    """Keys as text, the only form that the oracle knows."""
    keys = {name: document[name] for name in ("id", "user_id") if name in document}
    return document | {name: key["$oid"] if isinstance(key, dict) else str(key) for name, key in keys.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("story")
    write_sample(folder)
    return folder


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volume")
    write_sample(folder, 5_000, format="parquet")
    return folder


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path, format: Format) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_sample(tmp_path / name, 120, seed=seed, format=format)

    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a").keys() == contents(tmp_path / "c").keys()
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_the_committed_sample_is_what_the_generator_gives(story: Path) -> None:
    committed = {f"{kind}.jsonl": (COMMITTED / f"{kind}.jsonl").read_bytes() for kind in KINDS}

    assert contents(story) == committed


def test_the_committed_sample_is_small() -> None:
    assert sum((COMMITTED / f"{kind}.jsonl").stat().st_size for kind in KINDS) < 1_500_000


@pytest.mark.parametrize("kind", KINDS)
def test_each_file_starts_with_the_lines_of_the_worked_example(story: Path, kind: str) -> None:
    golden = (WORKED_EXAMPLE / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()

    assert lines(story, kind)[: len(golden)] == golden


def test_nobody_else_touches_the_worked_example(story: Path) -> None:
    others = {kind: "\n".join(lines(story, kind)[3 if kind == "events" else 2 :]).casefold() for kind in KINDS}
    others["users"] = "\n".join(lines(story, "users")[1:]).casefold()

    for kind, text in others.items():
        assert '"user_001"' not in text, kind
        assert not any(address in text for address in GOLDEN_ADDRESSES), kind
        assert not any(f'"event_00{number}"' in text for number in (1, 2, 3)), kind


def test_the_worked_example_s_profile_comes_out_of_the_sample(story: Path) -> None:
    expected = json.loads((WORKED_EXAMPLE / "expected.json").read_text())
    documents = {
        kind: [plain_keys(json.loads(line)) for line in lines(story, kind) if not verdict(kind, line)] for kind in KINDS
    }
    documents["users"] = [user for user in documents["users"] if user["id"] != "user_x07"]
    computed = profiles(
        log_of(documents, FIRST_PARTITION, date(2024, 12, 31)),
        date.fromisoformat(expected["as_of"]),
        Policy(),
    )

    (wanted,) = expected["profiles"]
    profile = computed["user_001"]
    found = json.loads(json.dumps(profile | {"summary": summary(profile, Policy())}, default=str))
    assert {field: found[field] for field in wanted} == wanted


def test_exactly_the_announced_lines_are_rejected(tmp_path: Path) -> None:
    report = write_sample(tmp_path)

    for kind in KINDS:
        rejected = [line for line in lines(tmp_path, kind) if verdict(kind, line)]
        # Only among other users can one see that an address is taken.
        seen_among_others = report.dirty[kind].get("second live user on one e-mail", 0)
        assert len(rejected) + seen_among_others == sum(report.dirty[kind].values())
        assert len(lines(tmp_path, kind)) - len(rejected) - seen_among_others == report.records[kind]


@pytest.mark.parametrize(
    ("kind", "fault", "reason"),
    [
        ("users", "missing id", "id is missing"),
        ("users", "missing e-mail", "email is missing"),
        ("users", "blank e-mail", "email is missing"),
        ("users", "wrong type", "it must be a whole number"),
        ("users", "age out of range", "it must be between 1 and 129"),
        ("users", "unparsable date", "it must be a date or time"),
        ("users", "unreadable line", "not readable JSON"),
        ("users", "not an object", "it must be an object"),
        ("events", "wrong type", "it must be a list of texts"),
        ("events", "missing date", "date is missing"),
        ("orders", "missing user_id", "user_id is missing"),
        ("orders", "missing amount", "amount is missing"),
        ("orders", "negative amount", "it must not be negative"),
        ("orders", "amount of three places", "at most 2 decimal places"),
        ("messages", "wrong type", "it must be text"),
    ],
)
def test_each_fault_is_in_the_sample_and_rejected_for_itself(
    tmp_path: Path, kind: str, fault: str, reason: str
) -> None:
    announced = write_sample(tmp_path).dirty[kind][fault]

    assert sum(reason in (verdict(kind, line) or "") for line in lines(tmp_path, kind)) >= announced > 0


def test_the_readme_lists_the_rejected_lines(story: Path) -> None:
    report = write_sample(story)
    readme = (COMMITTED.parent / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in readme if line.startswith("|")]
    start = next(number for number, row in enumerate(rows) if row[0] == "fault") + 2
    listed = {row[0]: [int(cell or 0) for cell in row[1:]] for row in rows[start:]}
    counted = {fault for faults in report.dirty.values() for fault in faults}

    assert listed == {fault: [report.dirty[kind].get(fault, 0) for kind in KINDS] for fault in counted}
    for kind in KINDS:
        assert [f"`{kind}.jsonl`", str(report.records[kind]), str(sum(report.dirty[kind].values()))] in rows


def test_one_address_is_claimed_by_a_second_live_user_later_in_time_and_file(story: Path) -> None:
    holders = defaultdict(list)
    for user in objects(story, "users"):
        if "deleted_at" not in user and str(user.get("email") or "").strip():
            holders[user["email"].strip().casefold()].append(user)
    first, second = next(users for users in holders.values() if len(users) > 1)

    assert sum(len(users) > 1 for users in holders.values()) == 1
    assert first["created_at"] < second["created_at"]
    assert second["id"] == "user_x07"


def test_an_address_left_by_a_deleted_user_is_taken_over_later(story: Path) -> None:
    users = objects(story, "users")
    left = {user["email"].strip().casefold(): user["deleted_at"] for user in users if "deleted_at" in user}
    heirs = [user for user in users if "deleted_at" not in user and user.get("email") in left]

    assert len(left) == 4
    assert [heir["created_at"] > left[heir["email"]] for heir in heirs] == [True]


@pytest.mark.parametrize("users", [200, 1_000])
def test_no_days_batch_holds_more_rejected_lines_than_the_policy_allows(tmp_path: Path, users: int) -> None:
    write_sample(tmp_path, users)

    for kind in KINDS:
        # The second live user passes here and is counted as rejected all the same.
        rejected: Counter[date] = Counter()
        valid: Counter[date] = Counter()
        for line in lines(tmp_path, kind):
            is_rejected = verdict(kind, line) is not None or '"user_x07"' in line
            (rejected if is_rejected else valid).update(day_of(kind, line))
        assert rejected
        for day, count in rejected.items():
            assert count / (count + valid[day]) < Policy().max_rejected_share, (kind, day)


def test_the_story_is_as_untidy_as_a_source(story: Path) -> None:
    users, events = objects(story, "users"), objects(story, "events")
    orders, messages = objects(story, "orders"), objects(story, "messages")
    members = {user["email"].strip().casefold() for user in users if isinstance(user.get("email"), str)}
    lists = [event["participants"] for event in events if isinstance(event.get("participants"), list)]
    normal = [[address.strip().casefold() for address in addresses] for addresses in lists]

    assert {type(user.get("created_at")) for user in users} == {str, int, type(None)}
    assert any(user.get("interests") == [] for user in users)
    assert any(user.get("occupation") == "  " for user in users)
    assert any(isinstance(user.get("id"), int) for user in users)
    assert any(isinstance(user.get("id"), dict) for user in users)
    assert any(address != address.strip() for addresses in lists for address in addresses)
    assert any(len(set(addresses)) < len(addresses) for addresses in normal)
    assert {address for addresses in normal for address in addresses if address} - members
    assert {"cancelled", "confirmed", "scheduled"} <= {str(event.get("status")).lower() for event in events}
    assert {"cancelled", "refunded", "paid"} <= {str(order.get("status")).lower() for order in orders}
    assert {"queued", "sent", "draft"} <= {str(message.get("status")).lower() for message in messages}
    assert all(any("deleted_at" in record for record in records) for records in (events, orders, messages))
    assert max(str(event.get("date")) for event in events) > "2024-07"


def test_the_story_has_friends_newcomers_and_lapsed_users(story: Path) -> None:
    evenings: defaultdict[str, list[date]] = defaultdict(list)
    shared: Counter[tuple[str, str]] = Counter()
    for line in lines(story, "events"):
        if verdict("events", line):
            continue
        event = parse("events", line, Reading(UTC_ZONE)).row
        present = event["participants"] or []
        shared.update((a, b) for a in present for b in present if a < b)
        for address in present:
            evenings[address].append(event["date"])
    users = [
        parse("users", line, Reading(UTC_ZONE)).row["email"]
        for line in lines(story, "users")
        if not verdict("users", line)
    ]
    habits = [evenings[email] for email in users]

    assert sum(count >= 2 for count in shared.values()) > 200
    assert sum(not days for days in habits) > 20
    assert sum(len(days) >= 3 and max(days) < date(2024, 4, 1) for days in habits) > 5
    assert sum(len(days) >= 3 and max(days) > date(2024, 6, 1) for days in habits) > 30


@given(
    moment=st.datetimes(datetime(2023, 1, 1), datetime(2024, 12, 31), timezones=st.just(UTC)),
    seed=st.integers(),
)
def test_every_way_to_write_a_time_names_the_same_day(moment: datetime, seed: int) -> None:
    assert read_moment(stamp(random.Random(seed), moment.replace(microsecond=0)), UTC_ZONE).day == moment.date()


def test_parquet_is_typed_and_in_proportion(volume: Path) -> None:
    tables = {kind: pq.read_table(volume / f"{kind}.parquet") for kind in KINDS}

    assert {kind: table.num_rows for kind, table in tables.items()} == {
        "users": 5_000,
        "events": 1_250,
        "orders": 15_000,
        "messages": 10_000,
    }
    types = {name: tables[kind].schema.field(name).type for kind in KINDS for name in tables[kind].schema.names}
    instant = pa.timestamp("us", tz="UTC")
    assert types["amount"] == pa.decimal128(18, 2)
    assert types["date"] == pa.date32()
    assert types["created_at"] == types["updated_at"] == types["deleted_at"] == types["sent_date"] == instant
    assert types["participants"].value_type == types["interests"].value_type == pa.string()
    for kind, table in tables.items():
        assert len(set(table["id"].to_pylist())) == table.num_rows, kind


@pytest.mark.parametrize("kind", KINDS)
def test_no_parquet_record_is_rejected(tmp_path: Path, kind: str) -> None:
    write_sample(tmp_path, 100, format="parquet")
    documents = [json.dumps(row, default=str) for row in pq.read_table(tmp_path / f"{kind}.parquet").to_pylist()]

    assert [reason for document in documents if (reason := verdict(kind, document))] == []


def test_attendance_has_a_heavy_tail_and_circles_that_meet_again(volume: Path) -> None:
    listed = pq.read_table(volume / "events.parquet")["participants"].to_pylist()
    events = [{address.strip().lower() for address in addresses} for addresses in listed]
    sizes = np.array([len(addresses) for addresses in events])
    visits = Counter(address for addresses in events for address in addresses)
    # Circles are what makes people of ordinary evenings meet again; a hall of 500 says little about them.
    pairs = Counter((a, b) for people in events if len(people) <= 40 for a in people for b in people if a < b)

    assert sizes.mean() == pytest.approx(20, rel=0.1)
    assert np.median(sizes) < 15
    assert sizes.max() == 500
    assert visits.most_common(1)[0][1] > 200
    assert np.median(list(visits.values())) < 6
    assert sum(count >= 2 for count in pairs.values()) > 0.03 * len(pairs)


def test_members_join_before_their_first_event_and_events_are_announced_ahead(volume: Path) -> None:
    users = pq.read_table(volume / "users.parquet", columns=["email", "created_at"]).to_pylist()
    joined = {user["email"]: user["created_at"].date() for user in users}
    events = pq.read_table(volume / "events.parquet").to_pylist()

    for event in events:
        assert event["created_at"].date() < event["date"]
        assert event["updated_at"] is None or event["created_at"] <= event["updated_at"]
        for address in event["participants"]:
            assert joined.get(address.strip().lower(), date.min) <= event["date"]


@pytest.mark.parametrize("users", [1, 2, 7])
@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_the_smallest_clubs_can_be_made(tmp_path: Path, users: int, format: Format) -> None:
    report = write_sample(tmp_path, users, format=format)

    assert report.records["users"] == users
    assert {path.name for path in tmp_path.iterdir()} == {f"{kind}.{format}" for kind in KINDS}


@pytest.mark.parametrize(("users", "format"), [(5_000, "jsonl"), (5_001, "parquet")])
def test_the_format_follows_the_size(tmp_path: Path, users: int, format: str) -> None:
    assert write_sample(tmp_path, users).format == format


def test_a_sample_without_users_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="at least 1"):
        write_sample(tmp_path, 0)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="use jsonl or parquet"):
        write_sample(tmp_path, 10, format="csv")  # type: ignore[arg-type]


def test_a_folder_that_holds_the_other_format_is_refused(tmp_path: Path) -> None:
    write_sample(tmp_path, 10)
    before = contents(tmp_path)

    with pytest.raises(PipelineError, match=r"already holds events\.jsonl"):
        write_sample(tmp_path, 10, format="parquet")
    assert contents(tmp_path) == before
