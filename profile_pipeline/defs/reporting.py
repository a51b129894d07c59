"""What the UI shows of an asset: columns and where they come from, counts, a preview, bars.

What belongs here: metadata. What does not: computing what it shows.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import dagster as dg

from profile_pipeline.build import Computed
from profile_pipeline.defs.lineage import column_deps
from profile_pipeline.index.golden import Answer, recall_of
from profile_pipeline.index.versions import IndexVersion
from profile_pipeline.indexing import IndexState
from profile_pipeline.ingestion import Ingested
from profile_pipeline.tables import PROFILE_INDEX, TABLES
from profile_pipeline.verification import Verification, excerpts
from profile_pipeline.warehouse import Warehouse
from profile_pipeline.window import Window

PREVIEW_ROWS = 5
"""Enough to see what a row looks like; a SQL client is the place to see more."""

CELL_LENGTH = 60
"""Characters of a value in a preview; documents and histories would fill the page."""

LONGEST_BAR = 12
"""Characters of the bar of the largest count: what fits beside a decision. Any count but 0 has one at least."""


def column_schema(name: str) -> dict[str, Any]:
    """An asset's columns with their meanings."""
    shown = PROFILE_INDEX if name == PROFILE_INDEX.name else TABLES[name]
    columns = [dg.TableColumn(column, type_, description=meaning) for column, (type_, meaning) in shown.columns.items()]
    return {"dagster/column_schema": dg.TableSchema(columns)}


def report(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    name: str,
    window: Window,
    run: Mapping[str, dg.MetadataValue],
) -> None:
    """Put each partition's row count on the partition, and what is said of the run on the window's last one.

    A range logs an event for each of its partitions: a preview or a chart in each would be most of Dagster's
    storage, and all the same.
    """
    counts = dict(
        warehouse.connection.execute(
            f"SELECT partition_date, count(*) FROM {name} WHERE partition_date BETWEEN ? AND ? GROUP BY 1",
            [window.start, window.end],
        ).fetchall()
    )
    # Days without rows are left out: Dagster copies all that was added so far at each call.
    for day, count in counts.items():
        context.add_asset_metadata({"dagster/partition_row_count": count}, partition_key=day.isoformat())
    context.add_asset_metadata({"window": str(window), **run}, partition_key=window.end.isoformat())


def computed_metadata(
    warehouse: Warehouse, name: str, window: Window, computed: Computed
) -> dict[str, dg.MetadataValue]:
    """Rows read and written, a preview and the columns' origins, of a derived table."""
    shown: dict[str, dg.MetadataValue] = {
        "rows_in": dg.MetadataValue.int(computed.rows_in),
        "rows_out": dg.MetadataValue.int(computed.written.rows),
        "rows_written": dg.MetadataValue.int(computed.written.rows_written),
        "partitions_written": dg.MetadataValue.int(computed.written.partitions_written),
        "preview": preview(warehouse, name, window),
        "dagster/column_lineage": column_lineage(name),
    }
    if computed.exported is not None:
        shown["exported"] = dg.MetadataValue.path(computed.exported)
    return shown


def ingested_metadata(
    warehouse: Warehouse, name: str, window: Window, ingested: Ingested
) -> dict[str, dg.MetadataValue]:
    """Documents read, versions added and rejected records with their reasons, of a log."""
    reasons = "\n".join(
        ["| records | reason |", "|---|---|"]
        + [f"| {count} | {_cell(reason)} |" for reason, count in ingested.reasons.most_common()]
    )
    return {
        **extracted_metadata(ingested),
        **withheld_metadata(ingested),
        "rows_in": dg.MetadataValue.int(ingested.rows_in),
        "versions_added": dg.MetadataValue.int(ingested.versions_added),
        "rejected": dg.MetadataValue.int(ingested.rejected),
        "newly_quarantined": dg.MetadataValue.int(ingested.newly_quarantined),
        "is_source_missing": dg.MetadataValue.bool(ingested.is_source_missing),
        "rejected_because": dg.MetadataValue.md(reasons if ingested.reasons else "nothing rejected"),
        "preview": preview(warehouse, name, window),
    }


def withheld_metadata(ingested: Ingested) -> dict[str, dg.MetadataValue]:
    """Documents of, and naming, people who were erased; nothing where there were none."""
    counts = {"withheld": ingested.withheld, "redacted": ingested.redacted}
    return {name: dg.MetadataValue.int(count) for name, count in counts.items() if count}


def extracted_metadata(ingested: Ingested) -> dict[str, dg.MetadataValue]:
    """What was read of a live source, up to when, and which records it no longer has; nothing for files."""
    shown: dict[str, dg.MetadataValue] = {}
    if (extracted := ingested.extracted) is not None:
        shown |= {
            "source": dg.MetadataValue.text(extracted.source),
            "read_from": dg.MetadataValue.text(f"{extracted.span.since or 'the beginning'}"),
            "read_until": dg.MetadataValue.text(f"{extracted.span.until}"),
            "documents_read": dg.MetadataValue.int(extracted.documents),
            "documents_resumed": dg.MetadataValue.int(extracted.resumed),
            "failures_outlasted": dg.MetadataValue.int(extracted.failures),
            "reading_seconds": dg.MetadataValue.float(round(extracted.seconds, 2)),
        }
    if (deletions := ingested.deletions) is not None:
        shown |= {
            "records_gone": dg.MetadataValue.int(deletions.gone),
            "records_back": dg.MetadataValue.int(deletions.back),
            "records_never_read_before": dg.MetadataValue.int(deletions.unknown),
        }
    return shown


def verification_metadata(found: Verification) -> dict[str, dg.MetadataValue]:
    """What was looked at, and some of what differs, with both values."""
    different = [vars(each) | excerpts(each.stored, each.rebuilt) for each in found.differences]
    return {
        "window": dg.MetadataValue.text(str(found.window)),
        "users": dg.MetadataValue.int(found.users),
        "known_users": dg.MetadataValue.int(found.known_users),
        "days_owed": dg.MetadataValue.int(len(found.owed)),
        "tables": table_of([vars(each) for each in found.compared]),
        "differences": table_of(different) if different else dg.MetadataValue.md("nothing differs"),
    }


def index_version_metadata(version: IndexVersion) -> dict[str, dg.MetadataValue]:
    """What a version of the index was built from."""
    return {
        "dagster/row_count": dg.MetadataValue.int(version.rows),
        "version": dg.MetadataValue.int(version.version),
        "model": dg.MetadataValue.text(version.model),
        "model_revision": dg.MetadataValue.text(version.revision or "unknown"),
        "weights_sha256": dg.MetadataValue.text(version.weights_sha256 or "no weights"),
        "text_recipe": dg.MetadataValue.int(version.text_recipe),
        "source_partition": dg.MetadataValue.text(version.as_of.isoformat()),
        "built_at": dg.MetadataValue.timestamp(version.built_at),
        "partitions_read_by_a_search": dg.MetadataValue.int(version.probes),
    }


def index_history_metadata(versions: list[IndexVersion], served: int) -> dg.MetadataValue:
    """The versions that can be served, as a table."""
    columns = ("as_of", "rows", "upserted", "deleted", "embedded", "golden_recall", "text_recipe", "model")
    return table_of(
        [
            {
                "version": each.version,
                "served": "yes" if each.version == served else "",
                "built_at": f"{each.built_at:%F %T}",
            }
            | {column: getattr(each, column) for column in columns}
            for each in versions
        ]
    )


def answers_metadata(answers: Sequence[Answer]) -> dict[str, dg.MetadataValue]:
    """What the golden queries found."""
    if not answers:
        return {}
    rows = [
        {"query": each.query.query, "recall": each.recall, "found": ", ".join(each.found)}
        | {"missed": ", ".join(each.missed), "not indexed": ", ".join(each.unknown)}
        for each in answers
    ]
    shown = {"golden_queries": table_of(rows)}
    recall = recall_of(answers)
    return shown if recall is None else shown | {"golden_recall": dg.MetadataValue.float(recall)}


def index_state_metadata(state: IndexState) -> dict[str, dg.MetadataValue]:
    """What separates the served version from the profiles."""
    counts = ("missing", "extra", "stale", "duplicates", "faulty_vectors", "sampled", "lost")
    return {
        **index_version_metadata(state.served),
        "compared_with_profiles_as_of": dg.MetadataValue.text(state.as_of.isoformat()),
        **{name: dg.MetadataValue.int(getattr(state.health, name)) for name in counts},
        **answers_metadata(state.answers),
    }


def preview(warehouse: Warehouse, name: str, window: Window) -> dg.MetadataValue:
    """The first rows of the window's last filled partition, as a table."""
    rows = warehouse.records(
        f"""
        SELECT * FROM {name} WHERE partition_date = (
            SELECT max(partition_date) FROM {name} WHERE partition_date BETWEEN ? AND ?
        ) ORDER BY 2 LIMIT {PREVIEW_ROWS}
        """,
        window.start,
        window.end,
    )
    return table_of(rows)


def table_of(rows: list[dict[str, Any]]) -> dg.MetadataValue:
    """Records as a table in Markdown."""
    if not rows:
        return dg.MetadataValue.md("no rows in these partitions")
    header = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines = ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(header + lines))


def bar_chart(heading: str, counts: dict[str, int]) -> dg.MetadataValue:
    """Counts as a table with a bar beside each."""
    most = max(counts.values(), default=1)
    bars = {name: "█" * ceil(LONGEST_BAR * count / most) for name, count in counts.items()}
    return table_of([{heading: name, "users": f"{count:,}", " ": bars[name]} for name, count in counts.items()])


def column_lineage(name: str) -> dg.MetadataValue:
    """Which columns of which assets each column is made from."""
    lineage = dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=dg.AssetKey(table), column_name=origin) for table, origin in deps]
            for column, deps in column_deps(name).items()
        }
    )
    return dg.MetadataValue.column_lineage(lineage)


def _cell(value: object) -> str:
    """A value in a Markdown table: in one line, not too long, with nothing that ends the cell."""
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= CELL_LENGTH else f"{text[: CELL_LENGTH - 1]}…"
