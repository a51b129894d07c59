"""Ibis on Spark, giving the answers that DuckDB gives.

What belongs here: the session, and where Ibis' PySpark backend has to be told otherwise, so that the expressions of
`features/` and `profiles/` need to know of no engine. What does not: tables and files (`warehouse.py`).
"""

import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
import sqlglot.expressions as sge
from ibis.backends.pyspark import Backend
from ibis.backends.pyspark.datatypes import PySparkSchema
from ibis.backends.sql.compilers.pyspark import PySparkCompiler
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.utils import is_remote

from profile_pipeline.errors import PipelineError

OPTIONS = {
    # As in DuckDB, an element that a list does not have is null, not an error.
    "spark.sql.ansi.enabled": "false",
    # As there, what is not known has no length; without this it has -1.
    "spark.sql.legacy.sizeOfNull": "false",
    # A partition is a path; past the default of 32 paths, Spark starts a task for each of them to look at it.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
}
"""What the session is told for the answers to be right, and for many small partitions. Ibis sets the time zone: UTC."""


def spark_session() -> SparkSession:
    """The session of this process, where Spark's own configuration says it runs.

    Raises:
        PipelineError: there is no Java, or Spark does not start.
    """
    # A progress bar would tear the lines of a build. A server has none, and warns that it cannot be told so.
    # Tasks in Python need this environment's packages; a cluster with an interpreter elsewhere names it itself.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("profile-pipeline").config("spark.ui.showConsoleProgress", "false")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Failed to set spark.ui.showConsoleProgress")
            session: SparkSession = builder.getOrCreate()
    except PySparkException as error:
        raise PipelineError(
            f"Spark does not start ({str(error).splitlines()[0]}); it needs Java 17 or newer, on the PATH or as "
            "JAVA_HOME, unless SPARK_REMOTE names a server"
        ) from None
    if not is_remote():
        # Spark warns of each window without a key, and of each long plan.
        session.sparkContext.setLogLevel("ERROR")
    for name, value in OPTIONS.items():
        session.conf.set(name, value)
    return session


class Compiler(PySparkCompiler):
    """Spark's SQL, where that of Ibis gives something else than DuckDB."""

    __slots__ = ()

    def visit_ArrayIndex(  # noqa: N802  # Ibis' name
        self, op: ops.ArrayIndex, *, arg: sge.Expression, index: sge.Expression
    ) -> sge.Expression:
        """An index below zero counts from the end; Ibis adds 1 to it, too, and Spark refuses 0."""
        if isinstance(op.index, ops.Literal) and op.index.value < 0:
            return self.f.element_at(arg, index)
        return super().visit_ArrayIndex(op, arg=arg, index=index)

    def visit_NonNullLiteral(self, op: ops.Literal, *, value: Any, dtype: dt.DataType) -> sge.Expression | None:  # noqa: N802
        """A float is one: without the cast, Spark reads `30.4375` as a decimal, and divides by it as such."""
        if dtype.is_floating():
            return self.cast(sge.convert(str(value)), dtype)
        return super().visit_NonNullLiteral(op, value=value, dtype=dtype)

    def visit_Round(  # noqa: N802  # Ibis' name
        self, op: ops.Round, *, arg: sge.Expression, digits: sge.Expression
    ) -> sge.Expression:
        """Floats are scaled and rounded as binary numbers; Spark would round the digits they are printed with."""
        if not op.arg.dtype.is_floating() or not isinstance(op.digits, ops.Literal):
            return super().visit_Round(op, arg=arg, digits=digits)
        scale = self.cast(sge.convert(10**op.digits.value), dt.float64)
        return self.f.round(sge.paren(arg) * scale) / scale


class SparkBackend(Backend):
    """Ibis' backend with the compiler above, which keeps cached tables as files.

    Spark's own cache is lost with the machine that holds it and computed again, and a `row_number` without an order
    may then number the rows otherwise. Files also end the plan, which grows with each use of a cached table until
    Spark runs out of memory for its text.
    """

    compiler = Compiler()

    def __init__(self, scratch: Path) -> None:
        """A backend that keeps cached tables in the folder, which Spark's machines must reach, too."""
        super().__init__()
        # Loading it by this name registers the options that its compiler reads.
        _ = ibis.pyspark
        self.scratch = scratch

    def frame(self, rows: ir.Table) -> DataFrame:
        """The rows as a frame of Spark with the types that Ibis says: Spark counts lists in 32 bits."""
        self._run_pre_execute_hooks(rows)
        return self._session.sql(self.compile(rows)).to(PySparkSchema.from_ibis(rows.schema()))

    def _create_cached_table(self, name: str, expr: ir.Table) -> ir.Table:
        folder = str(self.scratch / name)
        frame = self.frame(expr)
        frame.write.parquet(folder)
        self._session.read.schema(frame.schema).parquet(folder).createOrReplaceTempView(name)
        return self.table(name)

    def _drop_cached_table(self, name: str) -> None:
        self._session.catalog.dropTempView(name)
        shutil.rmtree(self.scratch / name)
