"""Texts embedded by Spark's tasks have the vectors that they have here."""

import numpy as np
import pytest

from profile_pipeline_tests.indexing import BagOfWords

pytest.importorskip("pyspark", reason="PySpark is not installed; `pip install -e '.[spark]'` installs it")

from profile_pipeline.spark.embedding import SparkEmbedder  # imports PySpark

TEXTS = [f"person {number} likes {'wine ' * (number % 7)}" for number in range(50)]


def test_spread_texts_come_back_in_order_with_the_same_vectors() -> None:
    here = BagOfWords()
    spread = SparkEmbedder(here, worth_spreading=len(TEXTS))
    told: list[tuple[int, int]] = []
    vectors = spread.embed(TEXTS, lambda done, total: told.append((done, total)))
    assert here.embedded == []
    assert told == [(len(TEXTS), len(TEXTS))]
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, BagOfWords().embed(TEXTS))
    assert spread.model == here.model


def test_few_texts_are_embedded_here() -> None:
    here = BagOfWords()
    vectors = SparkEmbedder(here, worth_spreading=len(TEXTS) + 1).embed(TEXTS)
    assert here.embedded == TEXTS
    assert np.array_equal(vectors, BagOfWords().embed(TEXTS))
