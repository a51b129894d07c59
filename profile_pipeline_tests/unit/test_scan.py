"""What the scan that ends an erasure takes for a trace of the person."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from profile_pipeline.forgetting.needles import Needles
from profile_pipeline.forgetting.scan import scan
from profile_pipeline.settings import Settings

DIGITS = "100234567890"
NEEDLES = Needles([DIGITS], ["Li Na"])


@pytest.mark.parametrize(
    ("event", "is_deleted", "is_left"),
    [
        ({"rows": 100234567890}, False, False),
        ({"message": f"user {DIGITS}"}, False, True),
        ({"message": "with li\u2013na"}, False, True),
        # What was deleted is still in the page.
        ({"message": f"user {DIGITS}"}, True, True),
    ],
)
def test_a_number_in_dagsters_databases_is_no_trace_and_a_text_is(
    tmp_path: Path, event: dict[str, object], *, is_deleted: bool, is_left: bool
) -> None:
    path = tmp_path / "dagster" / "index.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE event_logs (event TEXT)")
        database.execute("INSERT INTO event_logs VALUES (?)", [json.dumps(event)])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA secure_delete = OFF")
        database.execute(f"DELETE FROM event_logs WHERE {is_deleted}")
    assert scan(Settings(home=tmp_path), NEEDLES).left == ([str(path)] if is_left else [])


@pytest.mark.parametrize(
    ("row", "is_left"),
    [
        (f"{DIGITS} AS sequence, [{DIGITS}] AS numbers, {{'n': {DIGITS}}} AS pair", False),
        ("['Li', 'Na'] AS words, 'Li' AS first, 'Na' AS last", False),
        (f"'of {DIGITS}' AS text", True),
        (f"[{{'n': 1, 'of': ['{DIGITS}']}}] AS nested", True),
        ("['LI  NA'] AS names", True),
    ],
)
def test_texts_in_a_parquet_file_are_traces_however_they_are_nested(tmp_path: Path, row: str, *, is_left: bool) -> None:
    path = tmp_path / "exports" / "rows.parquet"
    path.parent.mkdir()
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT {row}) TO '{path}' (COMPRESSION zstd)")
    assert scan(Settings(home=tmp_path), NEEDLES).left == ([str(path)] if is_left else [])
