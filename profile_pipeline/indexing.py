"""From the warehouse to the index: what it should hold, bringing it there, and comparing both.

What belongs here: what Dagster and the command line both call about the index as a whole. What does not: rows of the
index, its versions and searching it (`index/`), and the tables that texts and profiles are taken from (`build.py`).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date

import ibis.expr.types as ir
import pyarrow as pa
from ibis import _

from profile_pipeline.computed_days import last_computed_day
from profile_pipeline.index.build import BuildReport, Stage, build
from profile_pipeline.index.embedding import Embedder, Progress
from profile_pipeline.index.golden import Answer, Golden, ask, read_golden_queries, shortfall
from profile_pipeline.index.health import Health, verify
from profile_pipeline.index.search import Searcher
from profile_pipeline.index.store import INPUT_SCHEMA, IndexStore
from profile_pipeline.index.text import TEXT_RECIPE, user_summaries
from profile_pipeline.index.versions import IndexVersion, served_or_error
from profile_pipeline.policy import Policy
from profile_pipeline.settings import Settings
from profile_pipeline.warehouse import Warehouse

Opening = Callable[[], AbstractContextManager[Warehouse]]
"""Opens the warehouse for as long as a block reads it."""


@dataclass(frozen=True)
class Indexable:
    """What the index should hold, taken out of the warehouse, which others may use while texts are embedded.

    Attributes:
        as_of: the latest day with profiles.
        profiles: one row for each user, with the columns of `INPUT_SCHEMA`.
    """

    as_of: date
    profiles: pa.Table


def indexable_profiles(opening: Opening, settings: Settings) -> Indexable:
    """Read what the index should hold as of the latest day with profiles.

    Raises:
        PipelineError: nothing is computed yet.
    """
    with opening() as warehouse:
        day = last_computed_day(warehouse)
        return Indexable(day, latest_texts(warehouse, day, settings.policy).to_pyarrow())


def latest_texts(warehouse: Warehouse, day: date, policy: Policy) -> ir.Table:
    """The latest text of each user as of a day, with the profile that it tells of.

    A profile whose summary is missing, because its run broke off, does not take its user out of the index. Texts
    that an earlier release made otherwise are made anew, so that one index holds texts of one recipe.
    """
    texts = warehouse.table("user_summaries").filter(_.partition_date <= day)
    latest = texts.group_by("user_id").agg(partition_date=_.partition_date.max())
    told = texts.semi_join(latest, ["user_id", "partition_date"])
    stored = warehouse.table("user_profiles")
    is_current = told.text_recipe.fill_null(0) == TEXT_RECIPE
    if warehouse.scalar(warehouse.ibis.compile((~is_current).sum())):
        outdated = told.filter(~is_current).select("partition_date", id=_.user_id)
        again = user_summaries(stored.semi_join(outdated, ["id", "partition_date"]), policy)
        told = told.filter(is_current).union(again)
    told = told.filter(_.text.notnull()).select("partition_date", "tags", "text", "text_hash", id="user_id")
    joined = stored.join(told, ["id", "partition_date"])
    return joined.rename(user_id="id", profile_date="partition_date").select(INPUT_SCHEMA.names)


def profile_index(
    opening: Opening,
    settings: Settings,
    embedder: Embedder,
    *,
    forgetting: bool = False,
    on_stage: Callable[[Stage], None] = lambda stage: None,
    on_progress: Progress | None = None,
) -> BuildReport:
    """Bring the index up to the latest day with profiles, and promote the version that results.

    Args:
        opening: opens the warehouse, which is only read, and let go of before texts are embedded.
        settings: where the index and its golden queries are, and what they have to find.
        embedder: the model.
        forgetting: leave no other version on disk, as `index.build.build`.
        on_stage: told after each stage.
        on_progress: told how many texts are embedded.

    Raises:
        PipelineError: nothing is computed yet, or as `index.build.build`.
    """
    store = IndexStore(settings.index_path)
    # What is read while others cannot build is no older than what they built, and names nobody who was erased since.
    with store.writing():
        indexable = indexable_profiles(opening, settings)
        return build(
            store,
            indexable.profiles,
            embedder,
            as_of=indexable.as_of,
            golden=golden_queries(settings),
            kept_versions=settings.kept_index_versions,
            forgetting=forgetting,
            on_stage=on_stage,
            on_progress=on_progress,
        )


def golden_queries(settings: Settings) -> Golden:
    """The questions that a new version of the index has to answer; none where there is no file of them.

    Raises:
        PipelineError: the file that a setting names is not there, or a line of it is wrong.
    """
    file = settings.golden_queries_path
    return Golden(read_golden_queries(file) if file else (), settings.policy.min_golden_recall)


@dataclass(frozen=True)
class IndexState:
    """What is served, beside what should be.

    Attributes:
        served: the served version.
        as_of: the day of the profiles that it was compared with.
        health: what separates the two, and what is wrong with its vectors.
        answers: what the golden queries find in it; none if it is of another model than the settings name.
        problems: what is wrong, in words; empty when nothing is.
    """

    served: IndexVersion
    as_of: date
    health: Health
    answers: list[Answer]
    problems: list[str]


def verify_index(opening: Opening, settings: Settings, embedder: Embedder) -> IndexState:
    """Compare the served version with the profiles of the latest day, and ask it the golden queries.

    Args:
        opening: opens the warehouse, which is only read.
        settings: where the index and its golden queries are, and what they have to find.
        embedder: the model.

    Raises:
        PipelineError: nothing is computed or indexed yet, or the golden queries cannot be read.
    """
    indexable = indexable_profiles(opening, settings)
    store, day = IndexStore(settings.index_path), indexable.as_of
    served = served_or_error(store)
    # One version throughout: another may be promoted meanwhile.
    health = verify(store, indexable.profiles, embedder, served.version)
    golden = golden_queries(settings)
    if served.model != embedder.model:
        problem = f"its model is {served.model}, and EMBEDDING_MODEL is {embedder.model}"
        return IndexState(served, day, health, [], [problem, *health.problems])
    answers = ask(Searcher(store, embedder, version=served.version), golden.queries, served.as_of)
    missed = shortfall(answers, golden.min_recall)
    return IndexState(served, day, health, answers, [*health.problems, *([missed] if missed else [])])
