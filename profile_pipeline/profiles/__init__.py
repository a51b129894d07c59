"""Profiles: assembled from features, read as of a day, decided upon and told in words.

Pure functions, Ibis table in, Ibis table out: no input or output here, no Dagster, and no wall clock.
"""

from profile_pipeline.profiles.assembly import user_profiles
from profile_pipeline.profiles.decisions import decisions_as_of, messaging_decisions
from profile_pipeline.profiles.reading import profiles_as_of

__all__ = [
    "decisions_as_of",
    "messaging_decisions",
    "profiles_as_of",
    "user_profiles",
]
