"""Vectors on disk while a build is on its way.

What belongs here: embedding texts in pieces, each kept as soon as it is there, so that a build that is killed
after an hour goes on from its last piece, and memory holds one piece and not all vectors. What does not: the
model (`embedding.py`) and the index that the vectors end in (`store.py`).

Two files that only grow: the keys of the texts, and their vectors in the same order. The vectors of a piece
are written before its keys, so a key that is there has its vector.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.embedding import Embedder, Progress

PIECE = 2048
"""Texts embedded between two writes: some half a minute on two cores, which is what a kill loses."""

KEY_BYTES = 16
"""Of the hash of a text: among a billion texts, no two share it by chance."""


class VectorStore:
    """The vectors of one model that a build has computed so far."""

    def __init__(self, folder: Path, model: str) -> None:
        """Open what an earlier build of this model left in a folder, if it left anything."""
        self.folder = folder
        self.model = model
        self._positions: dict[bytes, int] = {}
        self._vectors = np.empty((0, 0), np.float32)
        for file in folder.glob(f"{_key(model).hex()}.*.keys"):
            keys = file.read_bytes()
            self._note([keys[start : start + KEY_BYTES] for start in range(0, len(keys) - KEY_BYTES + 1, KEY_BYTES)])
            self._map(file)

    def embed(self, texts: Iterable[str], embedder: Embedder, on_progress: Progress | None = None) -> int:
        """Make sure that each text has its vector; how many texts went through the model.

        A text that comes twice is embedded once. The longest go first, so that texts of like length meet and
        what does not fit into memory fails at once.

        Raises:
            PipelineError: the model gave a vector that is not finite, which LanceDB would not write.
        """
        missing = {text for text in texts if _key(text) not in self._positions}
        ordered = sorted(missing, key=lambda text: (-len(text), text))
        for start in range(0, len(ordered), PIECE):
            piece = ordered[start : start + PIECE]
            self._keep(piece, embedder.embed(piece, _from(start, len(ordered), on_progress)))
        return len(ordered)

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of texts that were embedded, in their order, as rows."""
        vectors: np.ndarray = self._vectors[[self._positions[_key(text)] for text in texts]]
        return vectors

    @property
    def dimension(self) -> int:
        """The length of the vectors; 0 while there are none."""
        return self._vectors.shape[1]

    def discard(self) -> None:
        """Drop what is kept, of other models as well: the index holds the vectors by now."""
        if self.folder.is_dir():
            shutil.rmtree(self.folder)

    def _keep(self, texts: list[str], vectors: np.ndarray) -> None:
        faulty = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(faulty):
            raise PipelineError(
                f"the model {self.model} gave {len(faulty)} vectors that are not finite, such as that of "
                f"{texts[faulty[0]]!r}; nothing is promoted"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        kept, dimension = len(self._vectors), vectors.shape[1]
        keys = self.folder / f"{_key(self.model).hex()}.{dimension}.keys"
        _write(keys.with_suffix(".vectors"), kept * dimension * 4, vectors.astype(np.float32).tobytes())
        new = [_key(text) for text in texts]
        _write(keys, kept * KEY_BYTES, b"".join(new))
        self._note(new)
        self._map(keys)

    def _note(self, keys: list[bytes]) -> None:
        self._positions |= {key: position for position, key in enumerate(keys, len(self._positions))}

    def _map(self, keys: Path) -> None:
        """Open the vectors that have a key; the pages of a mapped file give way when memory is short."""
        if self._positions:
            shape = len(self._positions), int(keys.suffixes[-2][1:])
            self._vectors = np.memmap(keys.with_suffix(".vectors"), np.float32, "r", shape=shape)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def _write(file: Path, position: int, content: bytes) -> None:
    """Write at a position, in place of what a kill in the middle of a write may have left there."""
    with file.open("ab") as opened:
        opened.truncate(position)
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def _from(start: int, total: int, on_progress: Progress | None) -> Progress | None:
    """Tell the progress of a piece as that of the whole."""
    return None if on_progress is None else lambda done, _: on_progress(start + done, total)
