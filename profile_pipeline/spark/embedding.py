"""Embedding over Spark's machines.

What belongs here: spreading texts over partitions, and having their vectors back in order. What does not: models
(`index/embedding.py`), which texts are embedded and where vectors go (`index/build.py`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, FloatType, StructField, StructType

from profile_pipeline.index.embedding import Embedder, Progress
from profile_pipeline.spark.backend import spark_session

WORTH_SPREADING = 10_000
"""Fewer texts are embedded sooner than each machine has loaded the model; queries and nightly changes are fewer."""

TEXTS_PER_TASK = 2_000
"""Seconds of work for a core, against the seconds in which a task loads the model."""


class SparkEmbedder:
    """An embedder whose model runs in Spark's tasks when there are many texts, else in this process.

    The machines of Spark need this package with its dependencies, and the model where it is here.
    """

    def __init__(self, embedder: Embedder, worth_spreading: int = WORTH_SPREADING) -> None:
        """Take the embedder that each task uses; it must have loaded nothing that cannot be sent to another process."""
        self.embedder = embedder
        self.worth_spreading = worth_spreading

    @property
    def model(self) -> str:
        """The identity of the model, which is the same wherever it runs."""
        return self.embedder.model

    def embed(self, texts: Sequence[str], on_progress: Progress | None = None) -> np.ndarray:
        """As `Embedder.embed`; of texts that are spread, progress is told at the end alone."""
        if len(texts) < self.worth_spreading:
            return self.embedder.embed(texts, on_progress)
        numbered = pa.table({"position": pa.array(range(len(texts)), pa.int64()), "text": pa.array(texts, pa.string())})
        frame = spark_session().createDataFrame(numbered).repartition(-(-len(texts) // TEXTS_PER_TASK), "position")
        found = with_vectors(frame, self.embedder).drop("text").toArrow().sort_by("position")
        vectors = found["vector"].combine_chunks()
        if on_progress:
            on_progress(len(texts), len(texts))
        return np.asarray(vectors.flatten(), np.float32).reshape(len(texts), -1)


def with_vectors(frame: DataFrame, embedder: Embedder) -> DataFrame:
    """Add `vector` to a frame with a column `text` that is never null; each task embeds its own rows."""
    vector = StructField("vector", ArrayType(FloatType()))
    return frame.mapInArrow(_task(embedder), StructType([*frame.schema.fields, vector]))


def _task(embedder: Embedder) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def embed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            vectors = embedder.embed(batch["text"].to_pylist())
            yield batch.append_column("vector", pa.array(list(vectors), pa.list_(pa.float32())))

    return embed
