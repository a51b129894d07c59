"""What Dagster loads: the graph, and what each part of it says about itself."""

import subprocess
import sys
from datetime import UTC, datetime

import dagster as dg
import pytest

from profile_pipeline.defs.lineage import COPIED_FROM, MADE_FROM, column_deps
from profile_pipeline.tables import PROFILE_INDEX, TABLES
from profile_pipeline_tests.deployment import LOADED

SHOWN = TABLES | {"profile_index": PROFILE_INDEX}
RAW = {"raw_users", "raw_orders", "raw_events", "raw_messages"}
GRAPH: dict[str, tuple[str, set[str], set[str]]] = {
    "raw_users": ("raw", {"duckdb", "json"}, set()),
    "raw_orders": ("raw", {"duckdb", "json"}, set()),
    "raw_events": ("raw", {"duckdb", "json"}, set()),
    "raw_messages": ("raw", {"duckdb", "json"}, set()),
    "touched_users": ("features", {"duckdb", "ibis"}, RAW),
    "event_features": ("features", {"duckdb", "ibis"}, {"touched_users", "raw_users", "raw_events"}),
    "message_features": ("features", {"duckdb", "ibis"}, {"touched_users", "raw_messages"}),
    "order_features": ("features", {"duckdb", "ibis"}, {"touched_users", "raw_orders"}),
    "personalization_flags": ("features", {"duckdb", "ibis"}, {"touched_users", "raw_users", "event_features"}),
    "user_profiles": (
        "profiles",
        {"duckdb", "ibis"},
        {
            *("touched_users", "raw_users", "event_features"),
            *("message_features", "order_features", "personalization_flags"),
        },
    ),
    "user_summaries": ("profiles", {"duckdb", "ibis"}, {"user_profiles"}),
    "messaging_decisions": ("profiles", {"duckdb", "ibis"}, {"user_profiles"}),
    "profile_index": ("index", {"lancedb", "python"}, {"user_profiles", "user_summaries", "messaging_decisions"}),
}
"""Asset to its group, kinds and the assets it reads."""

TRUTHS = ("rejected_share_is_low", "deletions_are_plausible", "versions_are_unique")
BLOCKING = {f"{name}_{truth}" for name in RAW for truth in TRUTHS} | {
    "touched_users_are_unique",
    "user_profiles_are_unique",
    "user_profiles_cover_touched_users",
    "personalization_scores_are_within_0_to_100",
}
TELLING = {
    "raw_users_emails_are_unique",
    "raw_orders_belong_to_known_users",
    "user_profiles_owe_no_day",
    "user_profiles_have_the_latest_partition",
    "messaging_decisions_cover_everybody",
    "profile_index_matches_profiles",
}
"""Checks that stop what follows, and checks that only say so."""

WEEKLY = {"user_profiles_follow_from_the_logs"}
"""What would cost too much each night."""

DEFINITIONS = LOADED.resolve_asset_graph()
SPECS = {spec.key.to_user_string(): spec for spec in LOADED.resolve_all_asset_specs()}
NODES = {key.to_user_string(): DEFINITIONS.get(key) for key in DEFINITIONS.get_all_asset_keys()}

LOAD = """
import sys
from profile_pipeline.definitions import defs
names = [key.to_user_string() for key in defs().resolve_asset_graph().get_all_asset_keys()]
print(len(names), *sys.modules)
"""


def test_a_fresh_interpreter_loads_the_definitions_without_what_only_some_steps_need() -> None:
    loaded = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True)
    count, *modules = loaded.stdout.split()
    assert int(count) == len(GRAPH)
    heavy = {"torch", "transformers", "sentence_transformers", "lancedb", "faker"}
    assert heavy & set(modules) == set()


def test_the_graph_is_the_one_designed() -> None:
    assert {
        name: (node.group_name, node.kinds, {key.to_user_string() for key in node.parent_keys})
        for name, node in NODES.items()
    } == GRAPH


@pytest.mark.parametrize("name", GRAPH)
def test_an_asset_says_what_a_partition_and_a_rerun_are_and_who_owns_it(name: str) -> None:
    description = SPECS[name].description
    assert description is not None
    assert {word for word in ("partition", "re-run") if word in description} == {"partition", "re-run"}
    assert SPECS[name].owners == ["team:data-platform"]


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_an_asset_shows_the_columns_of_its_table_with_their_meanings(name: str) -> None:
    schema = SPECS[name].metadata["dagster/column_schema"]
    assert [(column.name, column.type, column.description) for column in schema.columns] == [
        (column, type_, meaning) for column, (type_, meaning) in SHOWN[name].columns.items()
    ]


def test_all_assets_have_the_same_days_and_take_a_range_in_one_run() -> None:
    assert {spec.partitions_def for spec in SPECS.values()} == {
        dg.DailyPartitionsDefinition(start_date="2024-01-01", timezone="UTC")
    }
    assert {node.backfill_policy for node in NODES.values()} == {dg.BackfillPolicy.single_run()}


def test_steps_run_in_one_process_and_share_one_pool() -> None:
    assert LOADED.executor is dg.in_process_executor
    steps = [*(LOADED.assets or ()), *(LOADED.asset_checks or ())]
    pools = [step.op.pools for step in steps if isinstance(step, dg.AssetsDefinition)]
    assert len(pools) == len(GRAPH) + len(BLOCKING | TELLING | WEEKLY) - 2 * len(RAW)  # shares are asked on the way
    assert [pool for pool in pools if pool != {"warehouse"}] == []


@pytest.mark.parametrize("name", sorted({*MADE_FROM, *COPIED_FROM}))
def test_lineage_names_only_columns_that_exist(name: str) -> None:
    origins = [origin for origins in column_deps(name).values() for origin in origins]
    assert [(table, column) for table, column in origins if column not in TABLES[table].columns] == []
    assert set(column_deps(name)) <= set(TABLES[name].columns)


@pytest.mark.parametrize("name", sorted({*GRAPH} & {*TABLES} - RAW))
def test_lineage_names_only_tables_upstream(name: str) -> None:
    upstream = {key.to_user_string() for key in DEFINITIONS.get_ancestor_asset_keys(dg.AssetKey(name))}
    assert {table for origins in column_deps(name).values() for table, _ in origins} <= upstream


def test_each_check_is_there_and_blocks_what_it_should() -> None:
    checks = {key.name: DEFINITIONS.get(key).blocking for key in DEFINITIONS.asset_check_keys}
    assert checks == dict.fromkeys(BLOCKING, True) | dict.fromkeys(TELLING | WEEKLY, False)


def test_each_check_says_what_it_means() -> None:
    assert [key.name for key in DEFINITIONS.asset_check_keys if not DEFINITIONS.get(key).description] == []


def test_the_nightly_job_computes_every_asset_and_asks_every_check() -> None:
    job = LOADED.resolve_job_def("nightly_profiles")
    layer = job.asset_layer
    assert {key.to_user_string() for key in layer.executable_asset_keys} == {*GRAPH}
    assert {key.name for key in layer.asset_graph.asset_check_keys} == BLOCKING | TELLING


def test_the_weekly_job_asks_one_check_and_computes_no_asset() -> None:
    job = LOADED.resolve_job_def("weekly_verification")
    assert {key.name for key in job.asset_layer.asset_graph.asset_check_keys} == WEEKLY
    assert not job.asset_layer.executable_asset_keys
    assert dg.validate_run_config(job)
    (step,) = job.all_node_defs
    assert dg.validate_run_config(job, {"ops": {step.name: {"config": {"sample": None}}}})


def test_a_week_is_verified_on_sunday_once_the_schedule_is_switched_on() -> None:
    schedule = LOADED.resolve_schedule_def("weekly_verification_schedule")
    assert (schedule.job_name, schedule.cron_schedule) == ("weekly_verification", "0 5 * * 0")
    assert schedule.execution_timezone == "UTC"
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


def test_the_quarantine_is_replayed_by_a_job_that_waits_for_the_warehouse_and_may_be_given_a_day() -> None:
    job = LOADED.resolve_job_def("quarantine_replay")
    (step,) = job.all_node_defs
    assert isinstance(step, dg.OpDefinition)
    assert step.pool == "warehouse"
    assert dg.validate_run_config(job, {"ops": {step.name: {"config": {"day": "2024-02-10"}}}})
    assert dg.validate_run_config(job)


def test_a_person_is_erased_by_a_job_that_waits_for_the_warehouse_and_has_to_be_told_whom() -> None:
    job = LOADED.resolve_job_def("forget_user")
    (step,) = job.all_node_defs
    assert isinstance(step, dg.OpDefinition)
    assert step.pool == "warehouse"
    assert dg.validate_run_config(job, {"ops": {step.name: {"config": {"user": "user_001", "confirmed": True}}}})
    with pytest.raises(dg.DagsterInvalidConfigError, match="user"):
        dg.validate_run_config(job)


def test_the_night_runs_the_day_that_ended() -> None:
    schedule = LOADED.resolve_schedule_def("nightly_profiles_schedule")
    assert (schedule.job_name, schedule.cron_schedule) == ("nightly_profiles", "0 2 * * *")
    with dg.DagsterInstance.ephemeral() as instance:
        night = datetime(2024, 2, 11, 2, tzinfo=UTC)
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=night)
        requests = schedule.evaluate_tick(context).run_requests
    assert requests is not None
    assert [request.partition_key for request in requests] == ["2024-02-10"]


def test_a_changed_source_runs_the_same_job_once_its_sensor_is_switched_on() -> None:
    sensors = {sensor.name: (sensor.job_name, sensor.default_status) for sensor in LOADED.sensors or ()}
    names = ("source_folder_sensor", "mongodb_sensor", "airtable_sensor")
    assert sensors == dict.fromkeys(names, ("nightly_profiles", dg.DefaultSensorStatus.STOPPED))
