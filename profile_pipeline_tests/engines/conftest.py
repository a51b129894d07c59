"""One Spark for all tests of engines, small and in this process."""

import os
import shutil
from collections.abc import Iterator

import pytest

CONF = {
    "spark.sql.shuffle.partitions": "2",  # the data are small, and a task takes longer than what it does
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "2g",
    # Most of the time goes into compiling what then runs once.
    "spark.driver.extraJavaOptions": "'-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m'",
}


@pytest.fixture(scope="session", autouse=True)
def spark() -> Iterator[None]:
    """What starts a session gets this one: `local[2]`."""
    pytest.importorskip("pyspark", reason="PySpark is not installed; `pip install -e '.[spark]'` installs it")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java, which is not here")
    from pyspark.sql import SparkSession  # noqa: PLC0415  # an extra

    with pytest.MonkeyPatch.context() as patch:
        options = " ".join(f"--conf {name}={value}" for name, value in CONF.items())
        patch.setenv("PYSPARK_SUBMIT_ARGS", f"--master local[2] {options} pyspark-shell")
        patch.delenv("SPARK_REMOTE", raising=False)
        yield
    if session := SparkSession.getActiveSession():
        session.stop()
