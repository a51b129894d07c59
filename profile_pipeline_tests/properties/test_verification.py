"""The laws, asked of a warehouse by `verify`: after random histories nothing differs, on any day or as of any.

The oracle of `test_laws.py` says that what is stored is right; here, what is stored is right, and `verify` has to
say so, however days, ranges and late records followed each other.
"""

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profile_pipeline.build import build
from profile_pipeline.computed_days import days_owed
from profile_pipeline.errors import PipelineError
from profile_pipeline.policy import Policy
from profile_pipeline.settings import Settings
from profile_pipeline.verification import verify
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.histories import FIRST_DAY, Step, histories

POLICY = Policy(cooldown_days=2, team_domains=("team.org",), max_rejected_share=1.0)
few = settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def run(subject: Settings, step: Step) -> None:
    for kind, records in step.documents.items():
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (subject.source_dir / f"{kind}.jsonl").write_text(lines)
    with open_warehouse(subject) as warehouse:
        build(warehouse, subject, step.window)


def settle(subject: Settings) -> None:
    """Run the days owed; a day that was left out reads records on which later days depend."""
    with open_warehouse(subject) as warehouse:
        while owed := days_owed(warehouse):
            build(warehouse, subject, Window(owed[0], owed[-1]))


@few
@given(steps=histories(max_steps=4), data=st.data())
def test_what_follows_from_the_logs_is_found_to_do_so(steps: list[Step], data: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        subject = Settings(
            _env_file=None, home=Path(folder), source_dir=Path(folder), start_date=FIRST_DAY, policy=POLICY
        )
        for step in steps:
            run(subject, step)
        # What is not owed is right at any time; but all days may be.
        with suppress(PipelineError):
            assert verify(subject, sample=None).problem is None
        settle(subject)
        found = verify(subject, sample=None)
        assert (found.problem, found.differences, found.owed) == (None, [], [])
        day = data.draw(st.sampled_from([*found.window]))
        assert verify(subject, day=day, sample=3).problem is None
