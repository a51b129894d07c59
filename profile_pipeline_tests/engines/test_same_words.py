"""Both engines say the same of odd values: letters, white space, halves of cents, and days that make ties."""

from datetime import date, timedelta
from decimal import Decimal
from itertools import count, product

import ibis
import ibis.expr.types as ir
import pytest

from profile_pipeline.features.orders import mean_amount
from profile_pipeline.index.text import user_summaries
from profile_pipeline.policy import Policy
from profile_pipeline.profiles.reading import with_clock
from profile_pipeline.tables import MONEY
from profile_pipeline_tests.stored_profiles import AS_OF, SARAH, Row, arrow, rows_of, table

pytest.importorskip("pyspark", reason="PySpark is not installed; `pip install -e '.[spark]'` installs it")

from profile_pipeline.spark.backend import SparkBackend, spark_session

POLICY = Policy()
WORDS = (
    None,
    "",
    " ",
    "a",
    "QA Engineer",
    "éclair  chef",
    "Ærø",
    'o\'neil \\ "x"',
    "8",
    "$1",
    "x\u00a0y",
    "🙂 Ümit",
    "%_",
)
ADDRESSES = ("a@x.org", ".@x.org", "mike.jones@x.org", "émile_zola-x@x.org", "no-at", "@x.org", "🙂.b@x.org")
NUMBERS = count()


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> SparkBackend:
    backend = SparkBackend(tmp_path_factory.mktemp("scratch"))
    backend.do_connect(spark_session())
    return backend


def in_spark(backend: SparkBackend, rows: list[Row], **types: dict[str, str]) -> ir.Table:
    name = f"given_{next(NUMBERS)}"
    backend._session.createDataFrame(arrow(rows, **types)).createOrReplaceTempView(name)
    return backend.table(name)


def told(backend: SparkBackend, rows: ir.Table) -> list[Row]:
    return backend.frame(rows).toArrow().to_pylist()


def odd_profiles() -> list[Row]:
    named = [{"name": name, "email": email} for name, email in product(WORDS, ADDRESSES)]
    working = [{"occupation": word, "home_neighborhood": word, "table_type_preference": word} for word in WORDS]
    liking = [
        {"interests": [*items], "dietary_restrictions": [*items], "friends": [*items]}
        for items in product(WORDS[1:], ("Vegan", "IT"))
    ]
    aged = [{"age": age, "occupation": None} for age in range(1, 130)]
    changes = [*named, *working, *liking, *aged]
    return [SARAH | change | {"id": f"u{number:04}"} for number, change in enumerate(changes)]


def test_summaries_and_texts_of_odd_words(backend: SparkBackend) -> None:
    rows = odd_profiles()
    found = told(backend, user_summaries(in_spark(backend, rows), POLICY).order_by("user_id"))
    wanted = rows_of(user_summaries(table(rows), POLICY).order_by("user_id"))
    for one, other in zip(found, wanted, strict=True):
        assert one == other


def test_clock_fields_of_all_days_on_which_a_rounded_rate_may_tie(backend: SparkBackend) -> None:
    spans = [*range(0, 60), *range(60, 1500, 7)]
    rows = [
        SARAH
        | {
            "id": f"{days}-{events}",
            "first_event_date": AS_OF - timedelta(days=days),
            "number_of_events_attended": events,
        }
        for days, events in product(spans, range(9))
    ]
    shown = ("id", "average_events_per_month", "days_since_last_event", "decision", "decision_reasons")
    found = told(
        backend, with_clock(in_spark(backend, rows), ibis.literal(AS_OF), POLICY).select(*shown).order_by("id")
    )
    wanted = rows_of(with_clock(table(rows), ibis.literal(AS_OF), POLICY).select(*shown).order_by("id"))
    assert found == wanted


def test_mean_amounts_round_halves_up(backend: SparkBackend) -> None:
    rows = [{"total": Decimal(cents) / 100, "count": number} for cents in range(0, 300) for number in range(0, 9)]
    rows += [{"total": Decimal("99999999999.99"), "count": 3}, {"total": None, "count": 1}]
    types = {"total": MONEY, "count": "int64"}

    def means(given: ir.Table) -> ir.Table:
        return given.mutate(mean=mean_amount(given.total, given["count"])).order_by("count", "total")

    assert told(backend, means(in_spark(backend, rows, types=types))) == rows_of(means(table(rows, types)))


def test_text_of_days(backend: SparkBackend) -> None:
    rows = [
        {"day": day}
        for day in (date(1, 1, 1), date(1582, 10, 4), date(1900, 1, 1), date(2024, 2, 29), date(9999, 12, 31))
    ]

    def texts(given: ir.Table) -> ir.Table:
        return given.mutate(text=given.day.cast("string"), epoch=given.day.epoch_days()).order_by("day")

    assert told(backend, texts(in_spark(backend, rows, types={"day": "date"}))) == rows_of(
        texts(table(rows, {"day": "date"}))
    )
