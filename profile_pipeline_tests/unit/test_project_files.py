"""Files that repeat what another one says agree with it: lock, workspace and the example of `.env`."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from profile_pipeline.policy import Policy
from profile_pipeline.settings import Settings

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REQUIREMENTS = [
    *PROJECT["build-system"]["requires"],
    *PROJECT["project"]["dependencies"],
    *PROJECT["project"]["optional-dependencies"]["dev"],
]


def lock_lines() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def example_lines() -> list[str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return [line.removeprefix("# ") for line in lines if re.match(r"# [A-Z_]+=", line)]


def variables() -> set[str]:
    names = {f"PROFILE_PIPELINE_POLICY__{name}".upper() for name in Policy.model_fields}
    for name, field in Settings.model_fields.items():
        if isinstance(field.validation_alias, str):
            names.add(field.validation_alias)
        elif name != "policy":
            names.add(f"PROFILE_PIPELINE_{name}".upper())
    return names


@pytest.mark.parametrize("requirement", [Requirement(line) for line in REQUIREMENTS], ids=str)
def test_the_lock_pins_each_dependency_within_its_bounds(requirement: Requirement) -> None:
    pins = dict(line.split("==") for line in lock_lines())
    assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_each_pin_is_one_exact_version_of_any_registry() -> None:
    assert [line for line in lock_lines() if not re.fullmatch(r"[a-z0-9-]+==[a-z0-9.]+", line)] == []


def test_the_example_names_every_variable_and_no_other() -> None:
    assert {line.split("=")[0] for line in example_lines()} == variables()


def test_the_example_shows_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in variables():
        monkeypatch.delenv(variable, raising=False)
    example = tmp_path / ".env"
    example.write_text("\n".join(example_lines()))
    assert Settings(_env_file=example) == Settings(_env_file=None)


def test_workspace_and_project_call_the_code_location_the_same() -> None:
    (location,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    project = PROJECT["tool"]["dg"]["project"]
    assert location["python_module"]["location_name"] == project["code_location_name"]
