"""The default model itself: its weights are the official ones, and near in meaning is near in score."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from profile_pipeline.index.build import build
from profile_pipeline.index.embedding import DEFAULT_MODEL, DEFAULT_MODEL_PACKAGE, SentenceTransformerEmbedder
from profile_pipeline.index.store import IndexStore
from profile_pipeline_tests.indexing import AS_OF, match, profile, profiles

pytestmark = pytest.mark.skipif(
    find_spec(DEFAULT_MODEL_PACKAGE) is None, reason="the package with the default model is not installed"
)

TEXTS = {
    "wine": "Ann is a 32-year-old nurse who enjoys wine tasting. Domains: wine tasting, Italian.",
    "chess": "Bob is a retired teacher who enjoys chess and board games. Domains: board games.",
    "hiking": "Cid is a designer who enjoys hiking and climbing in the mountains. Domains: hiking.",
}


def test_wine_lovers_are_found_first_and_a_text_has_cosine_1_with_itself(tmp_path, capfd):
    store, embedder = IndexStore(tmp_path / "lancedb"), SentenceTransformerEmbedder(DEFAULT_MODEL)
    rows = [profile(user_id, text) for user_id, text in TEXTS.items()]
    told: list[tuple[int, int]] = []
    build(store, profiles(*rows), embedder, as_of=AS_OF, on_progress=lambda *step: told.append(step))
    ranked = match(store, "people who love a glass of red wine", embedder, None, 3)
    assert ranked["user_id"][0].as_py() == "wine"
    assert ranked["score"][0].as_py() > 2 * ranked["score"][1].as_py()
    itself = match(store, TEXTS["chess"], embedder, None, 1).to_pylist()[0]
    assert (itself["user_id"], itself["score"]) == ("chess", pytest.approx(1, abs=1e-3))
    vectors = embedder.embed(list(TEXTS.values()))
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
    assert told == [(3, 3)]
    assert embedder.runtime.startswith("torch, ")
    assert tuple(capfd.readouterr()) == ("", "")


def test_vectors_are_those_of_the_library_with_its_defaults():
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415  # slow to import

    embedder = SentenceTransformerEmbedder(DEFAULT_MODEL)
    texts = [*TEXTS.values(), "wine", " ".join(TEXTS.values()) * 5, "Ünïcødé, 日本"]
    plain = SentenceTransformer(str(embedder.folder), local_files_only=True).encode(texts)
    assert (embedder.embed(texts) * plain).sum(axis=1).min() > 0.999


def test_a_search_by_words_and_a_build_without_new_texts_load_no_model(tmp_path):
    store, embedder = IndexStore(tmp_path / "lancedb"), SentenceTransformerEmbedder(DEFAULT_MODEL)
    build(store, profiles(profile("ann", TEXTS["wine"])), embedder, as_of=AS_OF)
    program = (
        "import sys, pathlib; from profile_pipeline.index.build import build;"
        "from profile_pipeline.index.search import Mode; from profile_pipeline.index.store import IndexStore;"
        "from profile_pipeline.index.embedding import *; from profile_pipeline_tests.indexing import *;"
        "store, embedder = IndexStore(pathlib.Path(sys.argv[1])), SentenceTransformerEmbedder(DEFAULT_MODEL);"
        "report = build(store, profiles(profile('ann', sys.argv[2])), embedder, as_of=AS_OF);"
        "found = match(store, 'wine', embedder, None, 3, mode=Mode.TEXT);"
        "print(report.embedded, report.promoted, found['user_id'].to_pylist());"
        "sys.exit(not {'torch', 'sentence_transformers', 'transformers'}.isdisjoint(sys.modules))"
    )
    command = [sys.executable, "-c", program, str(store.path), TEXTS["wine"]]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "0 False ['ann']\n"


def test_the_identity_of_the_model_is_known_without_importing_what_is_slow_to_import():
    program = (
        "import sys; from profile_pipeline.index import build, health, search, store;"
        "from profile_pipeline.index.embedding import *;"
        "print(SentenceTransformerEmbedder(DEFAULT_MODEL).model);"
        "sys.exit(not {'torch', 'sentence_transformers', 'transformers', 'lancedb'}.isdisjoint(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.startswith(f"{DEFAULT_MODEL}@")
