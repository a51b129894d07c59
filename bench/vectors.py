"""Vectors without the model, for an index that is larger than a benchmark has time to embed.

What belongs here: an embedder whose vectors lie in clusters, as those of like texts do. What does not: real embeddings.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

DIMENSION = 384
CLUSTERS = 2_000
SPREAD = 0.35
"""Length of what is added to a centre of length 1: a cosine of 0.94 to it, as texts that share most words have."""


class ClusteredEmbedder:
    """A vector for each text, near one of many centres; equal texts have equal vectors."""

    model = "bench-clusters"
    runtime = "numpy"
    revision = weights_sha256 = None

    def __init__(self) -> None:
        """Draw the centres."""
        self._centres = _unit(np.random.default_rng(0).standard_normal((CLUSTERS, DIMENSION)))

    def embed(self, texts: Sequence[str], on_progress: Callable[[int, int], None] | None = None) -> np.ndarray:
        """One float32 vector of unit length for each text, in order, as rows."""
        seeds = [int.from_bytes(hashlib.md5(text.encode()).digest()[:8]) for text in texts]
        noise = np.stack([np.random.default_rng(seed).standard_normal(DIMENSION) for seed in seeds])
        centres = self._centres[[seed % CLUSTERS for seed in seeds]]
        return _unit(centres + SPREAD * _unit(noise)).astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
