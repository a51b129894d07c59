"""What is redacted in Dagster's own records, so that Dagster can still read them."""

import json
from typing import Any

import pytest

from profile_pipeline.forgetting.dagster_state import redacted
from profile_pipeline.forgetting.needles import Needles

DIGITS, WORD = "100234567890", "success-1"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"about {DIGITS}", "about [erased]"),
        ({"rows": 100234567890, DIGITS: [f"row {DIGITS}"]}, {"rows": 100234567890, DIGITS: ["row [erased]"]}),
        # A text that is JSON itself, such as the cursor of a sensor.
        ({"cursor": f'{{"at": {DIGITS}, "of": "{DIGITS}"}}'}, {"cursor": f'{{"at": {DIGITS}, "of": "[erased]"}}'}),
        ({"status": {"__enum__": WORD}}, {"status": {"__enum__": WORD}}),
        (
            {"__class__": WORD, "event_type_value": WORD, "step_key": WORD, "message": WORD, "data": {"name": WORD}},
            {
                "__class__": WORD,
                "event_type_value": WORD,
                "step_key": WORD,
                "message": "[erased]",
                "data": {"name": "[erased]"},
            },
        ),
        ({"asset": {"__class__": "AssetKey", "path": [WORD]}}, {"asset": {"__class__": "AssetKey", "path": [WORD]}}),
        ({"text": "Zo\u00cb O\u2019Quist"}, {"text": "[erased]"}),
        # Whom a run was to erase: an id that means nobody elsewhere does there.
        ({"config": {"user": " 17 ", "rows": "17"}}, {"config": {"user": "[erased]", "rows": "17"}}),
    ],
)
def test_the_person_is_redacted_in_values_and_not_in_numbers_fields_and_what_dagster_knows_its_objects_by(
    before: Any, after: Any
) -> None:
    needles = Needles([DIGITS, WORD, "17"], ["Zoë O'Quist"])
    if isinstance(before, str):
        assert redacted(before, needles) == after
    else:
        assert json.loads(redacted(json.dumps(before), needles)) == after


@pytest.mark.parametrize("text", ['{"a":1,  "b": [2]}', f'{{"rows":{DIGITS}}}', DIGITS[:-1], "{", '["\\u00e9"]'])
def test_what_does_not_name_the_person_stays_to_the_letter(text: str) -> None:
    assert redacted(text, Needles([DIGITS])) == text
