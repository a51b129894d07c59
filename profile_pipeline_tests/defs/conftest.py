"""The worked example, run once for all tests of this folder."""

import dagster as dg
import pytest

from profile_pipeline.defs.sensors import source_folder_sensor
from profile_pipeline.sample.golden import RECORDS
from profile_pipeline_tests.deployment import Deployment, Requested


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Requested:
    """The worked example as a source, found by the sensor and run as it asked."""
    home = tmp_path_factory.mktemp("golden")
    deployment = Deployment(home / "home", home / "source")
    for kind, records in RECORDS.items():
        deployment.write(kind, *records)
    context = dg.build_sensor_context(instance=deployment.instance, resources={"settings": deployment.settings})
    tick = source_folder_sensor.evaluate_tick(context)
    assert tick.run_requests
    assert tick.cursor
    (request,) = tick.run_requests
    return Requested(deployment, request, tick.cursor, deployment.run(tags=dict(request.tags)))
