"""Rows on stdout: a table to read, or JSON, CSV or Parquet for a program.

What belongs here: how values look in each format. What does not: which rows and columns are shown
(`reading.py`), and anything on stderr but a remark on what is printed.

Rows are streamed, so a million profiles need no more memory than a thousand.
"""

import csv
import json
import re
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from profile_pipeline.cli import Format
from profile_pipeline.warehouse import Warehouse

Columns = dict[str, str]
"""Heading in a table to the column under it."""

BATCH_ROWS = 10_000
"""Enough to be fast, few enough for wide profiles to fit into memory."""

TABLE_ROWS = 1_000
"""More than anybody reads; laying out a table needs all of its rows at once and takes a second for these."""

WIDEST = 10_000
"""Characters of a table's line where no terminal sets a width: enough for nothing to be folded."""

PAGE_WIDTH = 100
"""Characters of a line of prose where no terminal sets a width."""

LONG_TEXTS = ("document", "parts", "text")
"""Columns cut to what is left of the line, or to a page where no terminal sets a width."""


def note(text: str) -> None:
    """A remark on stderr, beside what a program reads."""
    print(f"note: {text}", file=sys.stderr)


def stream(warehouse: Warehouse, rows: ir.Table) -> pa.RecordBatchReader:
    """The rows of an expression in batches, to be read while the warehouse is open."""
    return warehouse.connection.sql(warehouse.ibis.compile(rows)).to_arrow_reader(BATCH_ROWS)


def write(rows: pa.RecordBatchReader, format: Format, shown: Columns) -> None:
    """Print rows.

    Args:
        rows: all columns.
        format: `table` prints the columns of `shown` and at most `TABLE_ROWS` rows, the others everything.
        shown: the columns of a table.
    """
    writers: dict[str, Callable[[pa.RecordBatchReader], None]] = {
        "json": _write_json,
        "csv": _write_csv,
        "parquet": _write_parquet,
    }
    if format == "table":
        _write_table(rows, shown)
    else:
        writers[format](rows)
    # Here, where a reader that went away is still dealt with.
    sys.stdout.flush()


def show(table: Table, width: int = WIDEST) -> None:
    """Print a table as wide as the terminal, or as `width` where there is none, without trailing blanks."""
    console = Console(width=None if sys.stdout.isatty() else width, highlight=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def write_table(rows: list[dict[str, Any]], shown: Columns) -> None:
    """Print a few rows as a table; numbers stand right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    longest = None if sys.stdout.isatty() else PAGE_WIDTH
    for place, (heading, column) in enumerate(shown.items()):
        is_number = any(_is_number(row[column]) for row in rows)
        is_key_or_day = place == 0 or any(isinstance(row[column], date) for row in rows)
        is_long = column in LONG_TEXTS
        table.add_column(
            heading,
            justify="right" if is_number else "left",
            no_wrap=is_long or is_number or is_key_or_day,
            max_width=longest if is_long else None,
            overflow="ellipsis" if is_long else "fold",
        )
    for row in rows:
        table.add_row(*(Text(readable(row[column])) for column in shown.values()))
    show(table)


def write_fields(fields: dict[str, Any]) -> None:
    """Print one row as a list of its fields, without those that are null or empty."""
    grid = Table.grid(padding=(0, 2))
    for name, value in fields.items():
        if text := readable(value):
            grid.add_row(Text(name, "bold"), Text(text))
    show(grid, PAGE_WIDTH)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def readable(value: Any) -> str:
    """A value for a person: nothing for null, lists joined, numbers grouped, no control characters."""
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | Decimal():
            return f"{value:,}"
        case float():
            return f"{value:,.2f}"
        case dict():
            return ", ".join(readable(part) for part in value.values() if part is not None)
        case list():
            return _joined([readable(item) for item in value])
    # Anything may stand in a source; a terminal must not obey it.
    return "" if value is None else re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", str(value))


def _joined(items: list[str]) -> str:
    """Items in a line: sentences follow each other; a comma inside an item would hide where it ends."""
    if all(item.endswith(".") for item in items):
        return " ".join(items)
    return ("; " if any("," in item for item in items) else ", ").join(items)


def _records(rows: pa.RecordBatchReader) -> Iterator[dict[str, Any]]:
    for batch in rows:
        yield from batch.to_pylist()


def _write_table(rows: pa.RecordBatchReader, shown: Columns) -> None:
    records: list[dict[str, Any]] = []
    for record in _records(rows):
        if len(records) == TABLE_ROWS:
            print(
                f"only the first {TABLE_ROWS:,} rows are shown; --format json, csv or parquet prints all",
                file=sys.stderr,
            )
            break
        records.append(record)
    if not records:
        print("there are no rows to show", file=sys.stderr)
    write_table(records, shown)


def _write_json(rows: pa.RecordBatchReader) -> None:
    """An array with one object a line; amounts and days are strings."""
    separator = "["
    for record in _records(rows):
        sys.stdout.write(f"{separator}\n{_json(record)}")
        separator = ","
    sys.stdout.write("[]\n" if separator == "[" else "\n]\n")


def _write_csv(rows: pa.RecordBatchReader) -> None:
    """A header and one line for each row; lists and structs are JSON, null is empty."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(rows.schema.names)
    for record in _records(rows):
        writer.writerow([_cell(value) for value in record.values()])


def _write_parquet(rows: pa.RecordBatchReader) -> None:
    with pq.ParquetWriter(sys.stdout.buffer, rows.schema) as writer:
        for batch in rows:
            writer.write_batch(batch)


def _cell(value: Any) -> Any:
    return _json(value) if isinstance(value, bool | list | dict) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_as_text)


def _as_text(value: Any) -> str:
    """What JSON has no type for: an amount with its cents, a day."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no form in JSON")
