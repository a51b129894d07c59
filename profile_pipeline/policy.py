"""Every threshold, in one place.

What belongs here: numbers and lists a business would want to change. What does not: how they are applied
(`features/`, `profiles/`), and where they are read from (`settings.py`).
"""

from pydantic import BaseModel, ConfigDict, Field


class Policy(BaseModel):
    """The thresholds of `features/` and `profiles/`, with the defaults of the specification.

    Override one with an environment variable, such as `PROFILE_PIPELINE_POLICY__COOLDOWN_DAYS=10`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cooldown_days: int = Field(7, ge=0, description="Days that must pass after a sent message before the next.")
    friend_min_shared_events: int = Field(2, ge=1, description="Shared events that make two people friends.")
    favorite_event_type_count: int = Field(3, ge=1, description="How many event types count as favourites.")
    enough_fields_min: int = Field(3, ge=0, description="Filled key fields needed to personalize a message.")
    request_details_below: int = Field(2, ge=0, description="Fewer filled key fields than this: ask for details.")
    healthy_active_min_events: int = Field(3, ge=1, description="Events attended that make a user active.")
    lapsed_after_days: int = Field(90, ge=1, description="Days without an event after which an active user lapsed.")
    score_per_field: int = Field(7, ge=0, description="Points for each of the ten profile fields filled.")
    score_per_event: int = Field(5, ge=0, description="Points for each event attended.")
    score_max_events: int = Field(6, ge=0, description="Events attended that still add points.")
    frequent_host_min_events: int = Field(2, ge=1, description="Events with a host that make it frequent.")
    team_domains: tuple[str, ...] = Field((), description="E-mail domains whose users are on the team.")
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
