"""What `evaluate` does, and what it prints.

What belongs here: where the index of the collection is, progress, the table. What does not: reading the collection
and measuring (`index/collection.py`, `index/evaluation.py`).
"""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from profile_pipeline.cli import Format, output
from profile_pipeline.cli.steps import Steps
from profile_pipeline.index.collection import read_collection
from profile_pipeline.index.embedding import SentenceTransformerEmbedder
from profile_pipeline.index.evaluation import QueryEmbedder, index_collection, measure, search_collection
from profile_pipeline.index.search import Mode, Searcher
from profile_pipeline.index.store import IndexStore
from profile_pipeline.settings import Settings

COLUMNS = {"ranking": "mode", "nDCG@10": "ndcg_at_10", "recall@10": "recall_at_10", "recall@100": "recall_at_100"}


def show_evaluation(settings: Settings, folder: Path, index: Path | None, format: Format) -> None:
    """Index a test collection, search it in each mode, and print how well that went.

    Raises:
        PipelineError: the collection cannot be read or indexed.
    """
    collection = read_collection(folder)
    if collection.unknown_documents:
        output.note(
            f"{collection.unknown_documents} judgments are of documents that are not in the corpus and count as not "
            "found"
        )
    embedder = SentenceTransformerEmbedder(settings.embedding_model)
    rows = []
    with nullcontext(index) if index else TemporaryDirectory(prefix="evaluate-") as place, Steps() as steps:
        store = IndexStore(Path(place))
        steps.start("index")
        report = index_collection(collection, store, embedder, steps.embedding)
        steps.finish("index", report.served.rows, report.upserted + report.deleted, embedded=report.embedded)
        steps.start("embed queries")
        searcher = Searcher(store, QueryEmbedder(collection, embedder, steps.embedding))
        steps.finish("embed queries", len(collection.queries), 0, embedded=len(collection.queries))
        for mode in Mode:
            steps.start(f"search by {mode}")
            found = search_collection(collection, searcher, mode, steps.searching)
            steps.finish(f"search by {mode}", len(found), 0)
            size = {"queries": len(found), "documents": report.served.rows, "model": report.served.model}
            rows.append({"mode": mode.value, **asdict(measure(collection, found)), **size})
    _write(rows, format)


def _write(rows: list[dict[str, object]], format: Format) -> None:
    if format == "table":
        # Two decimals do not tell good rankings apart.
        shown = [row | {name: f"{row[name]:.4f}" for name in COLUMNS.values() if name != "mode"} for row in rows]
        output.write_table(shown, COLUMNS)
    else:
        output.write(pa.Table.from_pylist(rows).to_reader(), format, COLUMNS)
