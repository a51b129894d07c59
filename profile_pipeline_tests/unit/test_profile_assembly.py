"""Features side by side: one row per touched user, live or deleted."""

from datetime import date, timedelta
from decimal import Decimal

from profile_pipeline.profiles.assembly import user_profiles
from profile_pipeline.tables import (
    EVENT_FEATURES,
    MESSAGE_FEATURES,
    ORDER_FEATURES,
    PERSONALIZATION_FLAGS,
    PROFILE_FIELDS,
    USER_PROFILES,
    Table,
)
from profile_pipeline_tests.stored_profiles import AS_OF, SARAH, Row, rows_of, stored

DAY = timedelta(days=1)
KEY = {"partition_date": "date", "user_id": "string"}
RECORD = (
    {"id": "string", "valid_from": "date", "valid_to": "date"}
    | {"email": "string", "name": "string", "time_zone": "string"}
    | {name: type_ for name, (type_, _) in PROFILE_FIELDS.items()}
)
FEATURES = {
    "event_features": EVENT_FEATURES,
    "message_features": MESSAGE_FEATURES,
    "order_features": ORDER_FEATURES,
    "flags": PERSONALIZATION_FLAGS,
}


def part(row: Row, types: dict[str, str]) -> Row:
    return {name: row.get(name) for name in types} | {"user_id": row["id"]}


def assemble(touched: list[Row], live: list[Row], features: list[Row], without: tuple[str, ...] = ()) -> list[Row]:
    def feature_table(name: str, catalogued: Table):
        rows = [] if name in without else [part(row, catalogued.types) for row in features]
        return stored(rows, catalogued.types)

    keys = [{"partition_date": row["partition_date"], "user_id": row["id"]} for row in touched]
    profiles = user_profiles(
        stored(keys, KEY),
        stored(
            [row | {"valid_from": row["partition_date"], "valid_to": row["partition_date"] + DAY} for row in live],
            RECORD,
        ),
        **{name: feature_table(name, catalogued) for name, catalogued in FEATURES.items()},
    )
    return rows_of(profiles.order_by("id", "partition_date"))


def test_a_live_user_has_the_record_and_all_features() -> None:
    assert assemble([SARAH], [SARAH], [SARAH]) == [SARAH | {"time_zone": None}]


def test_a_name_is_made_from_the_address_when_unknown() -> None:
    (profile,) = assemble([SARAH], [SARAH | {"name": None}], [SARAH])
    assert profile["name"] == "Sarah Chen"


def test_a_user_without_a_record_is_deleted_with_null_facts() -> None:
    nothing = dict.fromkeys(USER_PROFILES.columns)
    expected = nothing | {"partition_date": AS_OF, "id": "user_001", "is_deleted": True}
    assert assemble([SARAH], [], [SARAH]) == [expected]


def test_each_touched_day_takes_its_own_record_and_features() -> None:
    earlier = SARAH | {"partition_date": date(2024, 1, 1), "age": 31, "total_orders": 1}
    profiles = assemble([earlier, SARAH], [SARAH, earlier], [SARAH, earlier])
    assert [(row["age"], row["total_orders"]) for row in profiles] == [(31, 1), (32, 2)]


def test_a_live_user_without_features_has_done_nothing() -> None:
    without = ("event_features", "message_features", "order_features")
    (profile,) = assemble([SARAH], [SARAH], [SARAH], without)
    assert profile["number_of_events_attended"] == profile["total_messages_sent"] == profile["total_orders"] == 0
    assert profile["event_history"] == profile["friends"] == profile["friend_details"] == []
    assert profile["has_queued_messages"] is profile["has_sent_messages"] is False
    assert profile["total_spent"] == Decimal("0.00")
    assert profile["average_order_value"] is profile["last_event_date"] is profile["next_eligible_date"] is None
