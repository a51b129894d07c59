"""Texts embedded by Spark's tasks have the vectors that they have here."""

import numpy as np
import pyarrow as pa
import pytest

from profile_pipeline_tests.indexing import BagOfWords

pytest.importorskip("pyspark", reason="PySpark is not installed; `pip install -e '.[spark]'` installs it")

from profile_pipeline.spark.backend import spark_session
from profile_pipeline.spark.embedding import with_vectors

TEXTS = [f"person {number} likes {'wine ' * (number % 7)}" for number in range(50)]


def test_each_row_gets_the_vector_of_its_text_and_none_without_one() -> None:
    here = BagOfWords()
    users = pa.table({"user_id": [f"u{number:02}" for number in range(51)], "text": [*TEXTS, None]})
    frame = spark_session().createDataFrame(users).repartition(4)
    rows = with_vectors(frame, here).toArrow().sort_by("user_id").to_pylist()
    assert here.embedded == []
    assert [row["user_id"] for row in rows] == users["user_id"].to_pylist()
    assert np.array_equal([row["vector"] for row in rows[:50]], BagOfWords().embed(TEXTS))
    assert rows[50] == {"user_id": "u50", "text": None, "vector": None}
