"""How values and progress look to a person at a terminal."""

from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from profile_pipeline.cli import output, steps


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (1234, "1,234"),
        (0.5, "0.50"),
        (Decimal("1160.00"), "1,160.00"),
        (date(2024, 2, 10), "2024-02-10"),
        (["hiking", "cooking"], "hiking, cooking"),
        (["cooldown over", "age, occupation missing"], "cooldown over; age, occupation missing"),
        ([{"name": "Brunch", "venue": None}, {"name": "Dinner", "venue": "Vault"}], "Brunch; Dinner, Vault"),
        ("a\x1b[31mred\nname", "a [31mred name"),
    ],
)
def test_a_value_reads_as_a_person_expects(value: Any, text: str) -> None:
    assert output.readable(value) == text


def test_a_table_stops_where_nobody_reads_on_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "TABLE_ROWS", 2)
    output.write(pa.table({"user": ["a", "b", "c"]}).to_reader(), "table", {"user": "user"})
    out, err = capsys.readouterr()
    assert out.split()[-2:] == ["a", "b"]
    assert err.startswith("only the first 2 rows are shown")


def test_a_log_file_gets_a_line_on_embedding_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(steps.time, "monotonic", lambda: clock[0])
    with steps.Steps() as shown:
        shown.start("profile_index")
        for second, done in ((5, 500), (10, 1000), (11, 1100)):
            clock[0] = second
            shown.embedding(done, 9000)
        shown.finish("profile_index", 9000, 9000, embedded=9000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "embedding: 1,000 of 9,000 texts, 100 a second, 1 min 20 s left"
    assert lines[1].split(maxsplit=1) == ["profile_index", "11.00 s  9,000 in, 9,000 written, 9,000 embedded"]
    assert len(lines) == 2
