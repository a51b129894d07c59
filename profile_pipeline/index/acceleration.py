"""What makes a version of the index quick to search: indexes of its text, its filters and its vectors.

What belongs here: which columns have an index in LanceDB, when an index is made anew, and how much of the
vectors a search has to read. What does not: writing rows (`store.py`) and the search itself (`search.py`).

All of it is made on the staged version, before it is promoted: what is served is never half indexed.
"""

from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa

from profile_pipeline.errors import PipelineError

TEXT_INDEX = "text_words"
VECTOR_INDEX = "vector_parts"

RANGE_COLUMNS = (
    "user_id",
    "age",
    "number_of_events_attended",
    "last_event_date",
    "next_eligible_date",
    "personalization_score",
)
"""Columns of many values that people filter on."""

LABEL_COLUMNS = ("home_neighborhood", "work_neighborhood", "occupation", "gender")
"""Columns of few values that people filter on."""

PARTITIONED_FROM = 5_000
"""Rows from which on the vectors are partitioned. Below, comparing a query with each of them, read from the table,
takes no longer: 7 ms for 3,000, but 12 against 7 for 10,000 and 280 against 10 for 200,000."""

PARTITION_ROWS = 4096
"""Vectors in a partition: with few large ones, reading them all is still quick, and few neighbours are missed."""

BITS = 4
"""Bits for each dimension of a quantized vector (RaBitQ): with 1, the true neighbours were not among the 300 best of
200,000; 8 took four times as long to build and found no more."""

REFINED_AT_LEAST = 50
"""Profiles that a search takes by their quantized vectors and ranks by the true ones; or twice those wanted, if more.
Five times as many as wanted found 1.7 in a thousand more of fifty, and took a third longer."""

REINDEXED_SHARE = 0.05
"""Share of the rows written since an index was made from which on it is made anew. A search reads the others
one by one: 5 % of 200,000 take as long as the partitions do."""

RECALL = 0.99
"""Share of the ten true neighbours that a search has to find, on average."""

SAMPLED_QUERIES = 64
"""Queries on which recall is measured: 640 neighbours, so that 0.99 is told from 0.97."""

NEIGHBOURS = 10
"""The neighbours whose finding is measured: a first page."""

ROUNDING = 1e-5
"""How far two computations of one inner product in float32 may be apart."""


def is_accelerated(table: Any) -> bool:
    """Whether the version has the indexes that it should."""
    return _wanted(table) <= {index.name for index in table.list_indices()}


def accelerate(table: Any) -> int:
    """Make what is missing, or covers too little by now, and measure how many partitions a search must read.

    Returns:
        The number of partitions; 0 when the version is small and a search compares each vector.

    Raises:
        PipelineError: the partitions do not give the true neighbours, even when all are read.
    """
    rows = table.count_rows()
    wanted = _wanted(table)
    present = {index.name for index in table.list_indices()}
    for name in present - wanted:
        table.drop_index(name)
    lacking = {name for name in wanted if name not in present or _covers_too_little(table, name, rows)}
    for name in sorted(lacking):
        _make(table, name, rows)
    if VECTOR_INDEX not in wanted:
        return 0
    partitions = _partitions(rows)
    probes, recall = _probes(table, partitions)
    if recall < RECALL and VECTOR_INDEX not in lacking:
        # Many users left: it has more partitions than one made now, and those who left in them.
        _make(table, VECTOR_INDEX, rows)
        probes, recall = _probes(table, partitions)
    if recall < RECALL:
        raise PipelineError(
            f"the new version of the index is not promoted: its partitions give {recall:.3f} of the true neighbours "
            f"of {SAMPLED_QUERIES} samples, less than {RECALL}"
        )
    return probes


def _covers_too_little(table: Any, name: str, rows: int) -> bool:
    statistics = table.index_stats(name)
    return statistics is None or statistics.num_unindexed_rows > REINDEXED_SHARE * rows


def _wanted(table: Any) -> set[str]:
    if table.count_rows() < PARTITIONED_FROM:
        return {TEXT_INDEX}
    return {TEXT_INDEX, VECTOR_INDEX, *(f"{column}_values" for column in ("tags", *RANGE_COLUMNS, *LABEL_COLUMNS))}


def _make(table: Any, name: str, rows: int) -> None:
    # As in `store`: takes a second.
    from lancedb.index import Bitmap, BTree, IvfRq, LabelList  # noqa: PLC0415

    column = name.rpartition("_")[0]
    if name == TEXT_INDEX:
        config: Any = word_index()
    elif name == VECTOR_INDEX:
        config = IvfRq(distance_type="dot", num_partitions=_partitions(rows), num_bits=BITS)
    elif column == "tags":
        config = LabelList()
    else:
        config = Bitmap() if column in LABEL_COLUMNS else BTree()
    table.create_index(column, config=config, name=name, replace=True)


def word_index() -> Any:
    """How texts are cut into words, and words compared: in lower case, stemmed, in English, without its commonest."""
    from lancedb.index import FTS  # noqa: PLC0415  # as in `store`

    return FTS()


def _partitions(rows: int) -> int:
    return max(1, round(rows / PARTITION_ROWS))


def _probes(table: Any, partitions: int) -> tuple[int, float]:
    """The fewest partitions, by doubling, that give the true neighbours, and how many of these; else all of them."""
    queries = _sample(table)
    truth = exact_neighbours(table, queries, NEIGHBOURS)
    probes = min(8, partitions)
    while (recall := measure_recall(table, queries, truth, probes)) < RECALL and probes < partitions:
        probes = min(2 * probes, partitions)
    return probes, recall


def _sample(table: Any) -> np.ndarray:
    """Queries between two profiles each, as those in words are: nearer to many than equal to one."""
    rows = table.count_rows()
    steps = [number * rows // (2 * SAMPLED_QUERIES) for number in range(2 * SAMPLED_QUERIES)]
    vectors = as_matrix(table.take_offsets(steps).select(["vector"]).to_arrow()["vector"].combine_chunks())
    queries: np.ndarray = vectors[:SAMPLED_QUERIES] + vectors[SAMPLED_QUERIES:]
    lengths = np.linalg.norm(queries, axis=1, keepdims=True)
    return queries / np.where(lengths > 0, lengths, 1)


def exact_neighbours(table: Any, queries: np.ndarray, count: int) -> list[list[float]]:
    """The scores of each query's nearest vectors, best first, by comparing it with every one of them."""
    best = np.full((len(queries), 0), 0, np.float32)
    for batch in table.search().select(["vector"]).to_batches(8192):
        scores = queries @ as_matrix(batch["vector"]).T
        best = -np.sort(-np.hstack([best, scores]), axis=1)[:, :count]
    nearest: list[list[float]] = best.tolist()
    return nearest


def measure_recall(table: Any, queries: np.ndarray, truth: list[list[float]], probes: int) -> float:
    """The share of true neighbours that a search finds, told by their scores: equal ones are as good."""
    found = wanted = 0
    for query, scores in zip(queries, truth, strict=True):
        search = partitioned(table.search(query, vector_column_name="vector"), probes, len(scores))
        distances = search.limit(len(scores)).select(["_distance"]).to_arrow()["_distance"].to_numpy()
        found += int((1 - distances >= scores[-1] - ROUNDING).sum())
        wanted += len(scores)
    return found / wanted


def partitioned(query: Any, probes: int, wanted: int) -> Any:
    """A vector query over so many of the partitions, with exact scores; how exact depends on how many are wanted."""
    return query.distance_type("dot").nprobes(probes).refine_factor(max(2, ceil(REFINED_AT_LEAST / wanted)))


def as_matrix(vectors: pa.FixedSizeListArray) -> np.ndarray:
    """Vectors as rows."""
    matrix: np.ndarray = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(vectors), -1)
    return matrix
