"""Embedding over Spark's machines.

What belongs here: having each task embed its own rows. What does not: models (`index/embedding.py`), which texts of
the index are embedded and where their vectors go (`index/build.py`); that build runs in one process.
"""

from collections.abc import Iterable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, FloatType, StructField, StructType

from profile_pipeline.index.embedding import Embedder


def with_vectors(frame: DataFrame, embedder: Embedder) -> DataFrame:
    """Add `vector`, a list of float32, to rows with a `text`; a row without one has none.

    Each task loads the model by itself, which takes seconds: partitions should have thousands of rows. Spark's
    machines need this package with its dependencies, and the model where it is here.

    Args:
        frame: any columns, with `text`.
        embedder: has loaded nothing yet that cannot be sent to another process.
    """

    def embed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            is_told = batch["text"].is_valid()
            texts = batch["text"].filter(is_told).to_pylist()
            found = iter(embedder.embed(texts) if texts else ())
            vectors = [next(found) if told else None for told in is_told.to_pylist()]
            yield batch.append_column("vector", pa.array(vectors, pa.list_(pa.float32())))

    vector = StructField("vector", ArrayType(FloatType()))
    return frame.mapInArrow(embed, StructType([*frame.schema.fields, vector]))
