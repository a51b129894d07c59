"""Every environment variable, its default and its meaning.

What belongs here: reading and checking the environment and `.env`. What does not: thresholds (`policy.py`) and
anything that opens what a setting names. Nothing else in the package reads the environment.
"""

from datetime import date
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from profile_pipeline.errors import PipelineError
from profile_pipeline.policy import Policy


class Settings(BaseSettings):
    """The configuration of one run. Field names in upper case, prefixed as below, are the variables."""

    model_config = SettingsConfigDict(
        env_prefix="PROFILE_PIPELINE_",
        env_file=".env",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    home: Path = Field(Path("data"), description="Where the warehouse, the index and the exports live.")
    source_dir: Path = Field(Path("data/sample"), description="The folder of the file source.")
    start_date: date = Field(date(2024, 1, 1), description="The first partition.")
    timezone: str = Field("UTC", description="The business time zone, in which a day is a calendar day.")
    embedding_model: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2",
        validation_alias=AliasChoices("EMBEDDING_MODEL", "embedding_model"),
        description="A sentence-transformers model: a name or a folder.",
    )
    mongodb_uri: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("MONGODB_URI", "mongodb_uri"),
        description="Takes users, orders and events from MongoDB instead of files.",
    )
    airtable_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("AIRTABLE_API_KEY", "airtable_api_key"),
        description="Takes messages from Airtable instead of files.",
    )
    policy: Policy = Field(Policy(), description="Thresholds; PROFILE_PIPELINE_POLICY__NAME sets one.")

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("no such time zone; use an IANA name such as Europe/Berlin")
        return value

    @cached_property
    def zone(self) -> ZoneInfo:
        """The business time zone."""
        return ZoneInfo(self.timezone)

    @property
    def warehouse_path(self) -> Path:
        """The DuckDB file."""
        return self.home / "warehouse.duckdb"

    @property
    def index_path(self) -> Path:
        """The LanceDB folder."""
        return self.home / "lancedb"

    @property
    def exports_path(self) -> Path:
        """Where each night's full list of decisions is written."""
        return self.home / "exports"


def load_settings() -> Settings:
    """Read the environment and `.env` in the working folder.

    Raises:
        PipelineError: a variable has a value that cannot be used; the message names the variable, the value
            unless it may be a secret, and what is wrong with it.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        variable = _variable(tuple(str(part) for part in first["loc"]))
        shown = f" is {first['input']!r}" if "KEY" not in variable and "URI" not in variable else " is not usable"
        raise PipelineError(f"{variable}{shown}: {first['msg'].removeprefix('Value error, ')}") from None


def _variable(location: tuple[str, ...]) -> str:
    """The environment variable behind a location in the settings."""
    if location[0].isupper():
        return location[0]
    return "PROFILE_PIPELINE_" + "__".join(location).upper()
