"""Every environment variable, its default and its meaning.

What belongs here: reading and checking the environment and `.env`. What does not: thresholds (`policy.py`) and
anything that opens what a setting names. Nothing else in the package reads a setting of this project.
"""

from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Literal, get_args
from zoneinfo import ZoneInfo, available_timezones

from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from profile_pipeline.errors import PipelineError
from profile_pipeline.policy import Policy

Engine = Literal["duckdb", "spark"]
"""What computes the derived tables."""

LEAST_MEMORY = 1_000_000_000
"""Bytes that DuckDB may hold, at the least: what reading records takes."""

MOST_MEMORY = 2**50
"""More bytes than a machine has, and fewer than DuckDB fails at."""

EARLIEST_START = date(1900, 1, 1)
"""Each day from the first partition on is a partition in Dagster."""

LONGEST_INTERVAL = 1_000_000
"""Minutes or hours that mean "for ever", and that a clock can still count with."""

MongoKind = Literal["users", "orders", "events"]


@cache
def _time_zones() -> set[str]:
    # Looks for their files each time, which takes longer than all other settings.
    return available_timezones()


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
        validation_alias="EMBEDDING_MODEL",
        description="A sentence-transformers model: a name or a folder.",
    )
    reranker: str | None = Field(
        None, description="What --rerank puts hits in order by: module:function, or a cross-encoder's folder or name."
    )
    mongodb_uri: SecretStr | None = Field(
        None,
        validation_alias="MONGODB_URI",
        description="Takes users, orders and events from MongoDB instead of files.",
    )
    mongodb_database: str | None = Field(
        None,
        validation_alias="MONGODB_DATABASE",
        description="The database; by default the one that MONGODB_URI names.",
    )
    mongodb_collections: dict[MongoKind, str] = Field(
        {},
        validation_alias="MONGODB_COLLECTIONS",
        description="Collections that are not named as their kind of record, as JSON by kind.",
    )
    mongodb_fields: dict[MongoKind, dict[str, str]] = Field(
        {},
        validation_alias="MONGODB_FIELDS",
        description="Fields that a collection calls otherwise, as JSON by kind and field; dots lead inwards.",
    )
    mongodb_change_streams: bool = Field(
        False,
        validation_alias="MONGODB_CHANGE_STREAMS",
        description="Lets a change stream wake the sensor early; needs a replica set.",
    )
    airtable_api_key: SecretStr | None = Field(
        None,
        validation_alias="AIRTABLE_API_KEY",
        description="Takes messages from Airtable instead of files.",
    )
    airtable_base_id: str | None = Field(
        None,
        validation_alias="AIRTABLE_BASE_ID",
        description="The base with the table of messages.",
    )
    airtable_messages_table: str = Field(
        "messages",
        validation_alias="AIRTABLE_MESSAGES_TABLE",
        description="The table of messages, by name or id.",
    )
    airtable_fields: dict[str, str] = Field(
        {},
        validation_alias="AIRTABLE_FIELDS",
        description="Fields that the table calls otherwise, as JSON by field: all by name, or all by id.",
    )
    airtable_monthly_calls: int = Field(
        1000,
        ge=1,
        validation_alias="AIRTABLE_MONTHLY_CALLS",
        description="Calls that the plan allows a month; 1000 is that of the free one.",
    )
    airtable_api_url: str = Field(
        "https://api.airtable.com",
        validation_alias="AIRTABLE_API_URL",
        description="Where Airtable's API is, for those who reach it through a proxy.",
    )
    overlap_minutes: int = Field(
        15,
        ge=0,
        le=LONGEST_INTERVAL,
        description="How far below the watermark live sources are read again, for late commits.",
    )
    reconcile_hours: int = Field(
        20,
        ge=0,
        le=LONGEST_INTERVAL,
        description="How often the keys of live sources are compared, to find what was deleted.",
    )
    golden_queries: Path | None = Field(
        None, description="Questions that a new index must answer; golden_queries.jsonl beside the records if there."
    )
    kept_index_versions: int = Field(
        3, ge=1, description="Promoted versions of the index that can be served again, with the one served."
    )
    engine: Engine = Field(
        "duckdb", description="What computes the derived tables: DuckDB in this process, or Spark (an extra)."
    )
    memory_limit: ByteSize | None = Field(
        None, description="What DuckDB may hold in memory, such as 8GB; by default 80 % of the machine's."
    )
    policy: Policy = Field(Policy(), description="Thresholds; PROFILE_PIPELINE_POLICY__NAME sets one.")

    @field_validator("home", "source_dir", "golden_queries")
    @classmethod
    def _of_the_user(cls, value: Path | None) -> Path | None:
        """Paths with `~` written out, which a shell does, and `.env` does not."""
        return value and value.expanduser()

    @field_validator("start_date", mode="before")
    @classmethod
    def _day(cls, value: object) -> object:
        """A day, and no number of seconds, which Pydantic would read, too."""
        if not isinstance(value, str):
            return value
        try:
            day = date.fromisoformat(value)
        except ValueError:
            raise ValueError("it is not a day; write it as YYYY-MM-DD, such as 2024-01-01") from None
        if day < EARLIEST_START:
            raise ValueError(f"the first partition may not lie before {EARLIEST_START}")
        return day

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        if value not in _time_zones():
            raise ValueError("no such time zone; use an IANA name such as Europe/Berlin")
        return value

    @field_validator("memory_limit")
    @classmethod
    def _enough_memory(cls, value: ByteSize | None) -> ByteSize | None:
        if value is not None and value < LEAST_MEMORY:
            raise ValueError("DuckDB needs at least 1GB here; write a size such as 8GB")
        if value is not None and value > MOST_MEMORY:
            raise ValueError("no machine has as much; write a size such as 8GB")
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The business time zone."""
        return ZoneInfo(self.timezone)

    @property
    def overlap(self) -> timedelta:
        """How far below the watermark live sources are read again."""
        return timedelta(minutes=self.overlap_minutes)

    @property
    def warehouse_path(self) -> Path:
        """The DuckDB file."""
        return self.home / "warehouse.duckdb"

    @property
    def index_path(self) -> Path:
        """The LanceDB folder."""
        return self.home / "lancedb"

    @property
    def golden_queries_path(self) -> Path | None:
        """The file of golden queries; nothing where none is named and none stands beside files of users."""
        beside = self.source_dir / "golden_queries.jsonl"
        is_there = self.mongodb_uri is None and beside.is_file()
        return self.golden_queries or (beside if is_there else None)

    @property
    def exports_path(self) -> Path:
        """Where each night's full list of decisions is written."""
        return self.home / "exports"

    @property
    def erasure_path(self) -> Path:
        """Who was erased, by keyed hash, the key, and the receipts."""
        return self.home / "erasure"


SECRETS = {
    field.validation_alias for field in Settings.model_fields.values() if SecretStr in get_args(field.annotation)
}
"""Variables whose value no message shows."""


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
        variable, given = _variable(tuple(str(part) for part in first["loc"])), first["input"]
        shown = f" is {given!r}" if isinstance(given, str) else ""
        if variable in SECRETS:
            shown = " is not usable"
        problem = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            names = ", ".join(name.upper() for name in Policy.model_fields)
            problem = f"there is no such threshold; after PROFILE_PIPELINE_POLICY__ comes one of {names}"
        raise PipelineError(f"{variable}{shown}: {problem}") from None
    except UnicodeDecodeError:
        raise PipelineError("the file .env is not in UTF-8; save it in that encoding") from None
    except SettingsError as error:
        # Its message names the field alone, and its cause what is wrong with the JSON.
        field = next(name for name in Settings.model_fields if f'"{name}"' in str(error))
        variable = _variable((str(Settings.model_fields[field].validation_alias or field),))
        raise PipelineError(f"{variable} is not JSON ({error.__cause__}); README.md shows how it is written") from None


def _variable(location: tuple[str, ...]) -> str:
    """The environment variable behind a location in the settings."""
    if location[0].isupper():
        return location[0]
    return "PROFILE_PIPELINE_" + "__".join(location).upper()
