"""What the index says as of a day: the decision, and whatever else changes by the mere passing of days.

What belongs here: deriving it from stored columns, for profiles found and inside a condition. What does not: its
rules, which are those of every other reader (`profiles/decisions.py`, `profiles/reading.py`).

The warehouse is not opened, because nobody else may read it while a run writes to it.
"""

import re
from datetime import date
from functools import cache

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa
import sqlglot.expressions as sge

from profile_pipeline.profiles.decisions import with_decision
from profile_pipeline.profiles.reading import with_counted_days
from profile_pipeline.tables import CLOCK_FIELDS, PROFILE_INDEX

CLOCK_COLUMNS = tuple(name for name in CLOCK_FIELDS if name != "summary")
"""What can be told of a profile as of a day; the index lacks the history that the summary tells of."""

CLOCK_WORDS = tuple(name for name in CLOCK_COLUMNS if name not in ("decision_reasons", "average_events_per_month"))
"""What a condition may name besides the columns. LanceDB's have neither lists nor choices between numbers."""

READ_FOR_CLOCK = (
    "number_of_events_attended",
    "first_event_date",
    "last_event_date",
    "last_message_sent_date",
    "last_order_date",
    "next_eligible_date",
    "has_enough_fields_to_personalize",
    "should_request_more_details",
    "missing_key_fields",
)
"""The stored columns from which `CLOCK_COLUMNS` follow."""

FOUND = "found"

FALSE = sge.Literal.string("false")

TEXT_OR_NAME = r"""'(?:[^']|'')*'|"([^"]*)"|`([^`]*)`"""
"""A text in a condition, or a quoted name."""

WORD = re.compile(rf"{TEXT_OR_NAME}|(\w+)")
"""A text in a condition, which is left alone, or a name, quoted or not."""


def with_clock(profiles: pa.Table, day: date) -> pa.Table:
    """Add `CLOCK_COLUMNS` to profiles with `READ_FOR_CLOCK`, in order."""
    found = profiles.select(READ_FOR_CLOCK).append_column("as_of", pa.repeat(pa.scalar(day), profiles.num_rows))
    found = found.append_column("position", pa.array(range(profiles.num_rows), pa.int64()))
    with engine().cursor() as cursor:
        cursor.register(FOUND, found)
        columns = cursor.sql(f"FROM ({_clock_query()}) ORDER BY position").to_arrow_table()
    for name in CLOCK_COLUMNS:
        profiles = profiles.append_column(name, columns[name])
    return profiles


def expand_clock_words(condition: str, day: date) -> str:
    """A condition in SQL with the words of `CLOCK_WORDS` written out as of a day, in stored columns."""

    def written_out(found: re.Match[str]) -> str:
        name = (found[1] or found[2] or found[3] or "").lower()
        return _expressions(day)[name] if name in CLOCK_WORDS else found[0]

    return WORD.sub(written_out, condition)


@cache
def engine() -> duckdb.DuckDBPyConnection:
    """One for all searches: to connect takes as long as the query."""
    return duckdb.connect()


@cache
def _clock_query() -> str:
    rows = ibis.table({**_stored_types(), "as_of": "date", "position": "int64"}, name=FOUND)
    return str(_compiled(_with_clock(rows).select("position", *CLOCK_COLUMNS)).sql("duckdb"))


@cache
def _expressions(day: date) -> dict[str, str]:
    """Each of `CLOCK_WORDS` in LanceDB's SQL."""
    rows = _with_clock(ibis.table(_stored_types(), name=FOUND).mutate(as_of=ibis.literal(day)))
    query = _compiled(rows.select(*CLOCK_WORDS))
    # Ibis defines one column by another in nested queries; names are the same in all of them.
    computed = {
        column.alias: column.this
        for select in query.find_all(sge.Select)
        for column in select.selects
        if isinstance(column, sge.Alias)
    }
    return {name: _for_lancedb(computed[name], computed) for name in CLOCK_WORDS}


def _for_lancedb(expression: sge.Expression, computed: dict[str, sge.Expression]) -> str:
    """An expression as LanceDB's conditions understand it: on stored columns, without CASE.

    They have no CASE either, but functions that choose: a branch is taken unless its condition is false or null.
    """
    whole = sge.paren(expression.copy())
    while named := [column for column in whole.find_all(sge.Column) if column.table]:
        for column in named:
            known = computed.get(column.name)
            column.replace(sge.column(column.name) if known is None else sge.paren(known.copy()))
    for days in list(whole.find_all(sge.DateDiff)):
        # The difference of two dates is a number to some of LanceDB's queries and a duration to others.
        later, earlier = sge.cast(days.this, "INT"), sge.cast(days.expression, "INT")
        days.replace(sge.paren(sge.Sub(this=later, expression=earlier)))
    for case in reversed(list(whole.find_all(sge.Case))):
        chosen = case.args["default"]
        for branch in reversed(case.args["ifs"]):
            chosen = _called(
                "NVL2", _called("NULLIF", sge.cast(branch.this, "TEXT"), FALSE), branch.args["true"], chosen
            )
        case.replace(chosen)
    return str(whole.sql("duckdb"))


def _compiled(rows: ir.Table) -> sge.Query:
    # Takes a sixth of a second, and whoever only builds the index asks nothing of the clock.
    from ibis.backends.sql.compilers.duckdb import compiler  # noqa: PLC0415

    query: sge.Query = compiler.to_sqlglot(rows)
    return query


def _called(function: str, *arguments: sge.Expression) -> sge.Expression:
    return sge.Anonymous(this=function, expressions=list(arguments))


def _with_clock(rows: ir.Table) -> ir.Table:
    return with_decision(with_counted_days(rows))


def _stored_types() -> dict[str, str]:
    return {name: PROFILE_INDEX.types[name] for name in READ_FOR_CLOCK}
