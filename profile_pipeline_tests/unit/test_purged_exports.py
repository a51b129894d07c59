"""Exports without an erased person: what they say of others, to the byte."""

from pathlib import Path

import duckdb
import pytest

from profile_pipeline.forgetting.files import purge_exports
from profile_pipeline.forgetting.request import ErasureRequest
from profile_pipeline.settings import Settings

NAMES = (
    *("Bob", "Ann, Lee", 'Bob "The Rock" Reed', "a;b", "#1 fan", "back\\slash", "tab\there", "pi|pe", "'quoted'"),
    *('"', "new\nline", "cr\rx", "ünï", "NULL", "", " lead", "\\N", None),
)

MANY = 25_000
"""More lines than a reader looks at that guesses how values are quoted."""


def exported(settings: Settings, rows: str) -> Path:
    """An export as a build writes it, of (name, user_id)."""
    path = settings.exports_path / "decisions_2024-01-02.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE names AS SELECT unnest(?::VARCHAR[]) AS name", [[*NAMES]])
        connection.execute(
            f"COPY (SELECT DATE '2024-01-02' AS as_of, user_id || '@x.org' AS email, name, user_id FROM ({rows})) "
            f"TO '{path}' (HEADER)"
        )
    return path


@pytest.mark.parametrize("user_id", ["member-7f3a", '"7"', "7,8", "#7"])
@pytest.mark.parametrize(
    "others",
    [
        "SELECT name, 'u' || rowid AS user_id FROM names",
        f"SELECT 'Name ' || i AS name, 'u' || i AS user_id FROM range({MANY}) AS r(i) "
        "UNION ALL SELECT name, 'v' || rowid FROM names",
        "SELECT '' AS name, '' AS user_id LIMIT 0",
    ],
)
def test_the_rows_of_others_stay_to_the_byte(tmp_path: Path, user_id: str, others: str) -> None:
    settings = Settings(home=tmp_path)
    expected = exported(settings, others).read_bytes()
    path = exported(settings, f"({others}) UNION ALL SELECT 'Quist, \"Z\"', '{user_id}'")
    request = ErasureRequest("p", "2024-01-03T00:00:00Z", [user_id], [], [])
    for _ in range(2):
        purge_exports(settings, request)
        assert path.read_bytes() == expected
    assert request.done == {"exports": {"removed": 1}}


def test_an_export_that_somebody_has_edited_is_no_error(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    path = exported(settings, "SELECT name, 'u' || rowid AS user_id FROM names")
    for content in (b"", b"\xff\xfe;\r\n\x00", b'email,user_id\nz@x.org,"7\nu,1\n', b"other\nz@x.org\n"):
        path.write_bytes(content)
        purge_exports(settings, ErasureRequest("p", "2024-01-03T00:00:00Z", ["7"], [], []))
        assert path.read_bytes() == content
