"""Profiles and decisions for people with a SQL client.

What belongs here: DuckDB table macros, compiled from the expressions that everything else reads, so that
there is no second definition, and renewing them in a database. What does not: running them.
"""

import hashlib
from datetime import date
from functools import cache

import duckdb
import ibis
import ibis.expr.types as ir
import sqlglot.expressions as sge
from ibis.backends.sql.compilers.duckdb import compiler

from profile_pipeline.policy import Policy
from profile_pipeline.profiles.decisions import decisions_as_of
from profile_pipeline.profiles.reading import profiles_as_of
from profile_pipeline.tables import USER_PROFILES

PARAMETER = "as_of_day"
"""The macros' argument. DuckDB puts it in place of any column of that name, so no column may have it."""

PLACEHOLDER = date(9876, 5, 4)
"""Stands for the argument while the expression is compiled: a day that no rule names."""

COMPILED_PLACEHOLDER = compiler.to_sqlglot(ibis.literal(PLACEHOLDER)).find(sge.Func)

MACROS = ("profiles_as_of", "decisions_as_of")


def renew_macros(connection: duckdb.DuckDBPyConnection, policy: Policy, code: str) -> None:
    """Create the macros where they are not there or follow from another policy or code, as their comments say.

    Compiling them takes longer than writing the profiles of a night.

    Args:
        connection: to the database with the profiles.
        policy: thresholds.
        code: tells the code that compiles them from other code, `code.CODE`.
    """
    stamp = hashlib.sha256(f"{code} {policy.model_dump_json()}".encode()).hexdigest()
    rows = connection.execute(
        f"""SELECT comment FROM duckdb_functions()
        WHERE database_name = current_database() AND function_name IN {MACROS} AND comment = '{stamp}'"""
    ).fetchall()
    if len(rows) == len(MACROS):
        return
    for name, statement in zip(MACROS, table_macros(policy), strict=True):
        connection.execute(statement).fetchall()
        connection.execute(f"COMMENT ON MACRO TABLE {name} IS '{stamp}'").fetchall()


@cache
def table_macros(policy: Policy) -> tuple[str, ...]:
    """Statements that create `profiles_as_of(day)` and `decisions_as_of(day)` in DuckDB, as in `MACROS`.

    They read `user_profiles`, take a date or its text, and need no setting or extension of the client. The
    policy is written into them, so they have to be created again when it changes.
    """
    profiles = ibis.table(USER_PROFILES.types, name=USER_PROFILES.name)
    return (
        _table_macro("profiles_as_of", profiles_as_of(profiles, PLACEHOLDER, policy)),
        _table_macro("decisions_as_of", decisions_as_of(profiles, PLACEHOLDER)),
    )


def _table_macro(name: str, expression: ir.Table) -> str:
    query = compiler.to_sqlglot(expression).transform(_for_clients)
    return f"CREATE OR REPLACE MACRO {name}({PARAMETER}) AS TABLE {query.sql('duckdb')}"


def _for_clients(node: sge.Expression) -> sge.Expression:
    """The argument for the placeholder, and lambdas in the syntax that a client reads by default."""
    if isinstance(node, sge.Lambda):
        node.set("colon", True)
    elif node == COMPILED_PLACEHOLDER:
        return sge.cast(sge.column(PARAMETER), "DATE")
    return node
