"""Settings from the environment, and days as people write them."""

import os
from datetime import date
from pathlib import Path

import pytest

from profile_pipeline.errors import PipelineError
from profile_pipeline.policy import Policy
from profile_pipeline.settings import load_settings
from profile_pipeline.window import Window, parse_day


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No variable is set, and no `.env` is near."""
    for name in [name for name in os.environ if name.startswith("PROFILE_PIPELINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def test_without_an_environment_the_defaults_hold(environment: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    assert (settings.home, settings.source_dir, settings.timezone) == (Path("data"), Path("data/sample"), "UTC")
    assert (settings.start_date, settings.policy) == (date(2024, 1, 1), Policy())
    assert settings.embedding_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert (settings.mongodb_uri, settings.airtable_api_key) == (None, None)


@pytest.mark.parametrize("domains", ['["team.org", "our.org"]', "team.org, our.org", "team.org,our.org,"])
def test_a_threshold_is_set_by_its_own_variable(environment: pytest.MonkeyPatch, domains: str) -> None:
    environment.setenv("PROFILE_PIPELINE_POLICY__COOLDOWN_DAYS", "10")
    environment.setenv("PROFILE_PIPELINE_POLICY__TEAM_DOMAINS", domains)
    assert load_settings().policy == Policy(cooldown_days=10, team_domains=("team.org", "our.org"))


def test_the_environment_wins_over_the_file_and_an_empty_value_is_none(environment: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PROFILE_PIPELINE_HOME=file\nPROFILE_PIPELINE_START_DATE=2023-05-06\nEMBEDDING_MODEL=m\n")
    environment.setenv("PROFILE_PIPELINE_HOME", "environment")
    environment.setenv("PROFILE_PIPELINE_TIMEZONE", "")
    settings = load_settings()
    assert (settings.home, settings.start_date) == (Path("environment"), date(2023, 5, 6))
    assert (settings.embedding_model, settings.timezone) == ("m", "UTC")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PROFILE_PIPELINE_TIMEZONE", "Mars/Base", "is 'Mars/Base': no such time zone; use an IANA name"),
        ("PROFILE_PIPELINE_START_DATE", "2024-02-30", "is '2024-02-30': it is not a day; write it as YYYY-MM-DD"),
        ("PROFILE_PIPELINE_START_DATE", "86400", "is '86400': it is not a day; write it as YYYY-MM-DD"),
        ("PROFILE_PIPELINE_START_DATE", "0001-01-01", "is '0001-01-01': the first partition may not lie before"),
        ("PROFILE_PIPELINE_OVERLAP_MINUTES", "9" * 20, "is '99999999999999999999': "),
        ("PROFILE_PIPELINE_POLICY__FRIEND_MIN_SHARED_EVENTS", "9" * 20, "is '99999999999999999999': "),
        ("PROFILE_PIPELINE_POLICY__MAX_REJECTED_SHARE", "2", "is '2': "),
        ("PROFILE_PIPELINE_POLICY__COOLDOWN_DAYS", "soon", "is 'soon': "),
        ("PROFILE_PIPELINE_POLICY__COOLDOWN_DAY", "10", "is '10': there is no such threshold; after PROFILE_PIPELINE"),
        ("PROFILE_PIPELINE_MEMORY_LIMIT", "8", "is '8': DuckDB needs at least 1GB here; write a size such as 8GB"),
        ("PROFILE_PIPELINE_MEMORY_LIMIT", "most", "is 'most': "),
        ("PROFILE_PIPELINE_MEMORY_LIMIT", "9999999PB", "is '9999999PB': no machine has as much; write a size"),
        ("PROFILE_PIPELINE_POLICY__REQUEST_DETAILS_BELOW", "5", "is '5': "),
        ("PROFILE_PIPELINE_POLICY__TEAM_DOMAINS", '["team.org', "is '[\"team.org': "),
        ("MONGODB_FIELDS", "{users", "is not JSON (Expecting property name"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_variable(
    environment: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    environment.setenv(variable, value)
    with pytest.raises(PipelineError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{variable} {said}")
    assert "\n" not in str(caught.value)


def test_a_tilde_is_the_folder_of_the_user(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("HOME", str(tmp_path))
    Path(".env").write_text("PROFILE_PIPELINE_HOME=~/home\nPROFILE_PIPELINE_SOURCE_DIR=~/records\n")
    settings = load_settings()
    assert (settings.home, settings.source_dir) == (tmp_path / "home", tmp_path / "records")


def test_an_env_file_in_another_encoding_is_named(environment: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PROFILE_PIPELINE_HOME=home\n", encoding="utf-16")
    with pytest.raises(PipelineError, match=r"the file \.env is not in UTF-8"):
        load_settings()


def test_scores_above_a_hundred_are_refused_before_they_fail_each_night(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PROFILE_PIPELINE_POLICY__SCORE_PER_EVENT", "10")
    with pytest.raises(PipelineError, match=r"PROFILE_PIPELINE_POLICY: 10 times SCORE_PER_FIELD .* make 130"):
        load_settings()


def test_a_secret_is_shown_by_neither_settings_nor_their_errors(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MONGODB_URI", "mongodb://user:hunter2@host")
    environment.setenv("AIRTABLE_API_KEY", "hunter2")
    settings = load_settings()
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    environment.setenv("PROFILE_PIPELINE_TIMEZONE", "Mars")
    with pytest.raises(PipelineError) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_a_day_is_read_as_it_is_written() -> None:
    assert parse_day("2024-02-29") == date(2024, 2, 29)


@pytest.mark.parametrize("text", ["", "today", "2024-02-30", "29.02.2024", "2024-2-9", "2024-02-09T00:00:00"])
def test_what_is_no_day_is_named_with_its_option(text: str) -> None:
    with pytest.raises(PipelineError) as caught:
        parse_day(text, "--from")
    assert str(caught.value) == f"--from {text!r} is not a day; write it as YYYY-MM-DD, such as 2024-02-10"


def test_a_window_holds_both_its_ends() -> None:
    window = Window(date(2024, 2, 28), date(2024, 3, 1))
    assert [*window] == [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)]
    assert (window.days, str(window)) == (3, "2024-02-28 to 2024-03-01")
    assert window.start in window
    assert window.end in window
    assert date(2024, 3, 2) not in window


def test_a_day_is_a_window() -> None:
    day = Window(date(2024, 2, 28), date(2024, 2, 28))
    assert ([*day], day.days, str(day)) == ([date(2024, 2, 28)], 1, "2024-02-28")


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(PipelineError, match="2024-02-02 to 2024-02-01 ends before it starts; swap the days"):
        Window(date(2024, 2, 2), date(2024, 2, 1))
