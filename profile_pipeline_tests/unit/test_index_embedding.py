"""Finding a model and telling it from others, without loading one."""

from pathlib import Path

import pytest

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.embedding import SentenceTransformerEmbedder, verify_weights


def write_model(folder: Path, weights: bytes = b"weights", **files: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content)
    return folder


def identity(folder: Path) -> str:
    return SentenceTransformerEmbedder(str(folder)).model


def test_a_folder_goes_by_its_name_wherever_it_is(tmp_path):
    here, there = write_model(tmp_path / "a" / "tiny"), write_model(tmp_path / "b" / "tiny")
    assert identity(here) == identity(there)
    assert identity(here).startswith("tiny@")


def test_other_weights_settings_or_names_are_another_model(tmp_path):
    folders = [
        write_model(tmp_path / "a" / "tiny", config="{}"),
        write_model(tmp_path / "b" / "tiny", b"other", config="{}"),
        write_model(tmp_path / "c" / "tiny", config="{ }"),
        write_model(tmp_path / "d" / "tiny", settings="{}"),
        write_model(tmp_path / "e" / "small", config="{}"),
    ]
    assert len({identity(folder) for folder in folders}) == len(folders)


def test_a_readme_does_not_change_the_model(tmp_path):
    folder = write_model(tmp_path / "tiny")
    before = identity(folder)
    (folder / "README.md").write_text("about it")
    assert identity(folder) == before


def test_weights_that_are_not_the_official_ones_are_refused(tmp_path):
    file = write_model(tmp_path / "tiny") / "model.safetensors"
    with pytest.raises(PipelineError, match="are not the official ones"):
        verify_weights(file, "0" * 64)
    with pytest.raises(PipelineError, match="are missing"):
        verify_weights(tmp_path / "nothing", "0" * 64)


@pytest.mark.parametrize("name", ["/no/such/folder", "not a name", "a/b/c"])
def test_what_is_neither_a_folder_nor_a_name_is_refused(name):
    with pytest.raises(PipelineError, match="neither a folder nor the name of a model"):
        SentenceTransformerEmbedder(name).model  # noqa: B018  # reading it is the test


def test_a_folder_without_a_model_is_refused_when_it_is_loaded(tmp_path):
    with pytest.raises(PipelineError, match="cannot be loaded"):
        SentenceTransformerEmbedder(str(tmp_path)).embed(["a text"])
