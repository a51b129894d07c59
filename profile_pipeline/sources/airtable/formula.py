"""Which records are asked for, as a formula that Airtable evaluates.

What belongs here: formulas, as pure functions. What does not: asking for them (`source.py`), and what a record means
(`records/`), which decides in the end.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from pyairtable.formulas import field_name, quoted

MARGIN = timedelta(minutes=1)
"""Times that people enter have whole minutes, and those of Airtable whole seconds."""
TIMES = ("updated_at", "created_date", "deleted_at")
"""The times of a message that count as a change of it."""


def changed_since(fields: Mapping[str, str], since: datetime) -> str:
    """A formula that selects the records that changed at a time or later, by the clocks of the table.

    A record is selected when one of its times, or one of those that Airtable keeps, is not before `since`, or when
    it has none and its business date is not before. Of what cannot be compared, such as a text, it is taken that it
    may be: in a formula an error spreads, and a record whose formula is an error would be left out in silence.

    Args:
        fields: fields of a message to their names, or ids, in the table, `updated_at` among them.
        since: UTC without a zone.
    """
    start = since - MARGIN
    times = [field_name(fields[name]) for name in TIMES if name in fields]
    conditions = [_reaches(value, start) for value in ("LAST_MODIFIED_TIME()", "CREATED_TIME()", *times)]
    undated = [f"{value}=BLANK()" for value in times]
    if "sent_date" in fields:
        undated.append(_reaches(field_name(fields["sent_date"]), start))
    conditions.append(_or_error(f"AND({', '.join(undated)})"))
    return f"OR({', '.join(conditions)})"


def with_keys(field: str | None, keys: Iterable[str]) -> str:
    """A formula that selects the records with these keys, in a field or, without one, as the ids of the records."""
    # As text and without blanks around, as the log has keys.
    key = f"TRIM({field_name(field)}&'')" if field else "RECORD_ID()"
    return f"OR({', '.join(f'{key}={quoted(one)}' for one in keys)})"


def _reaches(value: str, start: datetime) -> str:
    """A condition: the value is a time not before the start, or cannot be compared with it.

    A day without a time counts as midnight UTC there, but begins up to 12 hours later in the business time zone.
    """
    moment, midnight = _parsed(start), _parsed(datetime(start.year, start.month, start.day))
    is_late = f"OR(NOT(IS_BEFORE({value}, {moment})), IS_SAME({value}, {midnight}, 'minute'))"
    # Reports differ on what a comparison with a blank gives, so that none is made.
    return _or_error(f"IF({value}, {is_late}, 0)")


def _or_error(condition: str) -> str:
    return f"IF(ISERROR({condition}), 1, {condition})"


def _parsed(moment: datetime) -> str:
    return f"DATETIME_PARSE('{moment.isoformat(timespec='milliseconds')}Z')"
