"""That the origins which the UI shows of a column are those that its expression reads."""

from datetime import date

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pytest

from profile_pipeline.defs.lineage import MADE_FROM
from profile_pipeline.index.text import user_summaries
from profile_pipeline.policy import Policy
from profile_pipeline.profiles.decisions import messaging_decisions
from profile_pipeline.tables import USER_PROFILES
from profile_pipeline.window import Window

PROFILES = ibis.table(USER_PROFILES.types, name=USER_PROFILES.name)


def columns_read(node: ops.Node) -> set[str]:
    """The columns of tables that a value is computed from; what decides which rows there are does not count."""
    if not isinstance(node, ops.Field):
        return set().union(*(columns_read(child) for child in node.__children__ if isinstance(child, ops.Value)))
    if isinstance(node.rel, ops.PhysicalTable):
        return {node.name}
    if isinstance(node.rel, ops.Project | ops.JoinChain):
        return columns_read(node.rel.values[node.name])
    parents = (node.rel.left, node.rel.right) if isinstance(node.rel, ops.Set) else (node.rel.parent,)
    return set().union(*(columns_read(ops.Field(parent, node.name)) for parent in parents))


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        *((user_summaries(PROFILES, Policy()), column) for column in MADE_FROM["user_summaries"]),
        *(
            (messaging_decisions(PROFILES, Window(date(2024, 1, 1), date(2024, 1, 31))), column)
            for column in MADE_FROM["messaging_decisions"]
        ),
    ],
    ids=[*MADE_FROM["user_summaries"], *MADE_FROM["messaging_decisions"]],
)
def test_what_is_made_from_profiles_is_made_from_the_columns_that_lineage_names(rows: ir.Table, column: str) -> None:
    named = (MADE_FROM["user_summaries"] | MADE_FROM["messaging_decisions"])[column]
    read = columns_read(rows[column].op()) - {"partition_date", *USER_PROFILES.key}
    assert sorted(named) == sorted((USER_PROFILES.name, name) for name in read)
