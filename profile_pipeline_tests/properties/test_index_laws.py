"""Whatever was built before, the served index is the last profiles given, and no text is embedded in vain."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.build import Stage, build
from profile_pipeline.index.store import IndexStore
from profile_pipeline.index.versions import served_version
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, profile, profiles

USERS = ("ann", "bob", "cid", "d'or", "")
COLUMNS = st.fixed_dictionaries(
    {
        "text": st.sampled_from(["likes wine", "plays chess", "climbs, 100 %", None]),
        "age": st.sampled_from([30, 31, None]),
        "tags": st.sampled_from([["wine"], ["wine", "vegan"], []]),
    }
)
PEOPLE = st.dictionaries(st.sampled_from(USERS), COLUMNS)
MODEL = st.sampled_from([("bag-of-words@1", 64), ("bag-of-words@1", 64), ("bag-of-words@2", 32)])
STOPPED_AT = st.sampled_from([None, None, Stage.COMPARED, Stage.EMBEDDED, Stage.UPSERTED, Stage.CHECKED])


class StoppedError(Exception):
    pass


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(PEOPLE, MODEL, STOPPED_AT), min_size=1, max_size=5))
def test_the_served_index_equals_the_last_profiles_promoted(steps):
    with TemporaryDirectory() as folder:
        store = IndexStore(Path(folder) / "lancedb")
        expected: dict[str, dict] = {}
        served_model = None
        kept: set[tuple[str, str]] = set()
        for people, (model, dimension), stopped_at in steps:
            embedder = BagOfWords(model, dimension)
            wanted = {user: columns for user, columns in people.items() if columns["text"] is not None}

            def stop(stage: Stage, stopped_at: Stage | None = stopped_at) -> None:
                if stage == stopped_at:
                    raise StoppedError

            new_texts = {
                (model, columns["text"])
                for user, columns in wanted.items()
                if model != served_model or user not in expected or expected[user]["text"] != columns["text"]
            }
            try:
                report = build(
                    store,
                    profiles(*(profile(user, **columns) for user, columns in people.items())),
                    embedder,
                    as_of=AS_OF,
                    on_stage=stop,
                )
            except PipelineError:
                assert not wanted
            except StoppedError:
                kept |= new_texts if stopped_at is not Stage.COMPARED else set()
            else:
                assert report.embedded == len(new_texts - kept)
                assert report.promoted == ((wanted, model) != (expected, served_model))
                kept = set() if report.promoted else kept
                expected, served_model = wanted, model
            assert content(store) == {user: (columns, served_model) for user, columns in expected.items()}


def content(store: IndexStore) -> dict:
    if served_version(store) is None:
        return {}
    rows = store.open_served().search().select(["user_id", "text", "age", "tags", "model"]).to_arrow().to_pylist()
    return {row.pop("user_id"): (row, row.pop("model")) for row in rows}
