"""What can go wrong between Airtable and a person, in words that hold no secret.

What belongs here: which faults may pass, what to do about the others, and what must not be shown. What does not:
waiting and asking again (`client.py`), and trying again after what may pass by itself (`extraction.py`).
"""

import re

import requests

from profile_pipeline.errors import PipelineError, TransientError

SCOPE = "data.records:read"
EXPIRED = ("LIST_RECORDS_ITERATOR_NOT_AVAILABLE", "INVALID_OFFSET_VALUE")
"""What Airtable says of a place that it does not know any more, or does not take for one."""
MONTH_USED_UP = "PUBLIC_API_BILLING_LIMIT_EXCEEDED"


class PlaceExpired(Exception):  # noqa: N818  # the client reads from the beginning then
    """Airtable does not know the place any more."""


class Refused(Exception):  # noqa: N818  # the client waits then
    """Airtable refuses for a while, because of too many requests."""


def refusal(response: requests.Response, base: str, table: str, secret: str) -> Exception:
    """What an answer means that is no success.

    Args:
        response: what Airtable answered.
        base: the id of the base that was asked.
        table: its table, by name or id.
        secret: the token, which must not be shown.
    """
    status, (kind, message) = response.status_code, _what_it_says(response)
    if status == 422 and kind in EXPIRED:
        return PlaceExpired()
    if status == 429 and kind != MONTH_USED_UP:
        return Refused()
    if status == 408 or status >= 500:
        return TransientError(f"Airtable cannot answer now (HTTP {status})")
    # A token that was put where a name belongs would be shown otherwise.
    return PipelineError(_in_words(status, kind, message, base, table).replace(secret, "…"))


def no_answer(error: requests.RequestException) -> PipelineError:
    """What a failure to get an answer means, without its text, which may hold what is secret."""
    kind = type(error).__name__
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema):
        return PipelineError("AIRTABLE_API_URL is no usable address; it must be such as https://api.airtable.com")
    if isinstance(error, requests.exceptions.InvalidSchema | requests.exceptions.TooManyRedirects):
        return PipelineError(f"AIRTABLE_API_URL does not lead to Airtable's API ({kind})")
    if isinstance(error, requests.Timeout):
        return TransientError(f"Airtable did not answer in time ({kind})")
    return TransientError(f"the connection to Airtable failed, or what came is no answer of it ({kind})")


def _in_words(status: int, kind: str, message: str, base: str, table: str) -> str:
    where = f"the table {table} of the base {base}"
    if status == 401:
        return (
            "Airtable does not accept the token in AIRTABLE_API_KEY (HTTP 401); make a personal access token with "
            f"the scope {SCOPE} and access to the base {base}"
        )
    if status in (403, 404):
        # Airtable answers alike for what is not there and for what the token may not see.
        return (
            f"Airtable does not show {where} (HTTP {status}); give the token in AIRTABLE_API_KEY the scope {SCOPE} "
            "and access to the base, and check AIRTABLE_BASE_ID and AIRTABLE_MESSAGES_TABLE"
        )
    if unknown := re.search("Unknown field names?: (.+)", message):
        return f"{where} has no field {unknown[1]}; give the name that it has there in AIRTABLE_FIELDS"
    if kind == MONTH_USED_UP:
        return (
            "the calls that the Airtable plan allows a month are used up (HTTP 429); wait for the next month or "
            "take a larger plan, and set AIRTABLE_MONTHLY_CALLS to what it allows"
        )
    return f"Airtable refuses to list {where} (HTTP {status} {kind}): {message or 'no reason given'}"


def _what_it_says(response: requests.Response) -> tuple[str, str]:
    """The type of an error and its message, blank where there is none, from any of the shapes that errors have."""
    try:
        body = response.json()
    except ValueError:
        return "", ""
    error = body.get("error") or (body.get("errors") or [None])[0] if isinstance(body, dict) else None
    if isinstance(error, dict):
        return str(error.get("type") or error.get("error") or ""), str(error.get("message") or "")
    return str(error or ""), ""
