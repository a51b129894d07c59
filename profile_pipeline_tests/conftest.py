"""What holds for all tests: no developer's environment, how Hypothesis draws its examples, and collecting garbage."""

import os

from hypothesis import settings

from profile_pipeline.garbage import collect_rarely

FOREIGN = ("PROFILE_PIPELINE_", "MONGODB_", "AIRTABLE_", "EMBEDDING_MODEL", "DAGSTER_HOME")

for variable in [name for name in os.environ if name.startswith(FOREIGN) and name != "MONGODB_TEST_URI"]:
    del os.environ[variable]
# Read when definitions are imported; set, because a developer's `.env` would give others.
os.environ["PROFILE_PIPELINE_START_DATE"] = "2024-01-01"
os.environ["PROFILE_PIPELINE_TIMEZONE"] = "UTC"

# Under continuous integration (CI=true) Hypothesis loads its own profile, "ci": the same examples each time, no
# deadline, and a blob that reproduces a failure. A developer's runs draw new ones.
if settings.get_current_profile_name() != "ci":
    # The first example of a test pays for compiling its expressions.
    settings.register_profile("developer", deadline=None)
    settings.load_profile("developer")

collect_rarely()
