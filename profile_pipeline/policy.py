"""Every threshold, in one place.

What belongs here: numbers and lists a business would want to change. What does not: how they are applied (most in
`features/` and `profiles/`), and where they are read from (`settings.py`).
"""

import json
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from profile_pipeline.tables import KEY_FIELDS, PROFILE_FIELDS

MAX_SCORE = 100
"""A personalization score is a share of what can be known."""

MOST_COUNTED = 1_000_000_000
"""More events, people or visits than anybody counts, and no more than every engine can."""

LONGEST_DAYS = 36_500
"""A hundred years: dates stay within what every engine can store."""


class Policy(BaseModel):
    """The thresholds of the rules, each with its default.

    Override one with an environment variable, such as `PROFILE_PIPELINE_POLICY__COOLDOWN_DAYS=10`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cooldown_days: int = Field(
        7, ge=0, le=LONGEST_DAYS, description="Days that must pass after a sent message before the next."
    )
    friend_min_shared_events: int = Field(
        2, ge=1, le=MOST_COUNTED, description="Shared events that make two people friends."
    )
    friend_max_event_participants: int | None = Field(
        None,
        ge=2,
        le=MOST_COUNTED,
        description="Participants above which an event makes nobody friends; none: there is no such number.",
    )
    favorite_event_type_count: int = Field(
        3, ge=1, le=MOST_COUNTED, description="How many event types count as favourites."
    )
    enough_fields_min: int = Field(
        3, ge=0, le=len(KEY_FIELDS), description="Filled key fields, of four, needed to personalize a message."
    )
    request_details_below: int = Field(
        2, ge=0, le=len(KEY_FIELDS), description="Fewer filled key fields, of four, than this: ask for details."
    )
    healthy_active_min_events: int = Field(
        3, ge=1, le=MOST_COUNTED, description="Events attended that make a user active."
    )
    lapsed_after_days: int = Field(
        90, ge=1, le=LONGEST_DAYS, description="Days without an event after which an active user lapsed."
    )
    score_per_field: int = Field(7, ge=0, le=MAX_SCORE, description="Points for each of the ten profile fields filled.")
    score_per_event: int = Field(5, ge=0, le=MAX_SCORE, description="Points for each event attended.")
    score_max_events: int = Field(6, ge=0, le=MAX_SCORE, description="Events attended that still add points.")
    frequent_host_min_events: int = Field(
        2, ge=1, le=MOST_COUNTED, description="Events with a host that make it frequent."
    )
    team_domains: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="E-mail domains whose users are on the team, with commas between them."
    )
    fold_email_aliases: bool = Field(
        False,
        description="Whether a.b+tag@gmail.com and ab@gmail.com are one address (plus part and dots dropped).",
    )
    max_rejected_share: float = Field(0.10, ge=0, le=1, description="Share of rejected records that fails a batch.")
    max_deleted_share: float = Field(
        0.10, ge=0, le=1, description="Share of a source's records that may be gone at once; more is a fault."
    )
    min_golden_recall: float = Field(
        0.8, ge=0, le=1, description="Share of the users expected that golden queries must find in a new index."
    )

    @field_validator("team_domains", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """A list with commas, as people write it, or as JSON."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [domain.strip() for domain in value.split(",") if domain.strip()]

    @model_validator(mode="after")
    def _scores_add_up(self) -> Self:
        fields = len(PROFILE_FIELDS)
        most = fields * self.score_per_field + self.score_per_event * self.score_max_events
        if most > MAX_SCORE:
            raise ValueError(
                f"{fields} times SCORE_PER_FIELD and SCORE_PER_EVENT times SCORE_MAX_EVENTS make {most}, and a "
                f"personalization score goes up to {MAX_SCORE}; lower one of the three"
            )
        return self
