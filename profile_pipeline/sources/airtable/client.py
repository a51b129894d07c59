"""Requests to Airtable, with the client library, no faster than Airtable allows.

What belongs here: requests, the limits of the rate and of a month's calls, waiting out refusals, and pages that follow
each other. What does not: which records are asked for (`source.py`), what a refusal means to a person (`faults.py`),
and trying again after what may pass by itself, which the caller does from the last place (`extraction.py`).
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import pyairtable
import requests
from pydantic import SecretStr

from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.sources.airtable.documents import Record
from profile_pipeline.sources.airtable.faults import PlaceExpired, Refused, no_answer, refusal

logger = logging.getLogger(__name__)

RATE = 5
"""Requests that Airtable allows for a base in a second."""
RATE_SECONDS = 1.05
"""Between an answer and the fifth request after it: a little more than the second, for clocks that run apart."""
REFUSAL_SECONDS = 30
"""How long Airtable refuses everything after too many requests."""
RATE_ATTEMPTS = 3
"""Others may use up the same base's rate; when they still do after a minute, the caller had better come later."""
RESTARTS = 3
"""How often one reading begins anew; a table that outlives more offsets than that cannot be read now."""
CONNECT_SECONDS = 10
"""Enough for a slow network; a service that is there accepts a connection much sooner."""
READ_SECONDS = 60
"""A page of large records under a formula takes Airtable seconds; what takes a minute does not come."""
CLOCK_SECONDS = 60
"""How old an answer may be to tell the time. An older time is safe but makes the next reading ask for more."""
MONTH = timedelta(days=30)
"""The shortest month but one: what fits into it fits into a month of the plan."""


class Client:
    """Asks for the records of one table. One object is for one thread, as it counts its own requests only."""

    def __init__(
        self,
        key: SecretStr,
        base: str,
        table: str,
        url: str,
        *,
        pause: Callable[[float], None],
        timeout: tuple[int, int],
    ) -> None:
        """Keep where the table is; the arguments are those of `AirtableSource`."""
        self._key, self._base, self._table_name, self._url = key, base, table, url
        self._pause, self._timeout = pause, timeout
        self._answered_at: deque[float] = deque(maxlen=RATE)
        self._dated: tuple[datetime, float] | None = None

    @property
    def name(self) -> str:
        """Such as `airtable:appSgU7zYrhHSb4lW/messages`."""
        return f"airtable:{self._base}/{self._table_name}"

    def clock(self) -> datetime:
        """Airtable's time by its latest answer, in whole seconds.

        It costs a request when there was no answer in the last minute: of who the token's owner is, which any
        token may ask, and which reads no base, so that it takes nothing of the base's rate. Whether it counts as a
        call of the month is not documented.
        """
        if self._dated is None or time.monotonic() - self._dated[1] > CLOCK_SECONDS:
            self._dated = None
            self._request(self._api.urls.whoami)
        if self._dated is None:
            raise PipelineError(
                "the answers of Airtable have no readable date; AIRTABLE_API_URL must lead to its API without a proxy "
                "that takes the header Date away"
            )
        return self._dated[0]

    def pages(self, options: dict[str, Any], place: str | None = None) -> Iterator[tuple[list[Record], str]]:
        """Pages of records, each with the place after it, from a place or the beginning.

        A place is the `offset` of the next page, and blank after the last one. If Airtable does not know it any
        more, reading begins anew, a few times; records may come twice then.
        """
        restarts = 0
        while place != "":
            try:
                page = self.page(options | ({} if place is None else {"offset": place}))
            except PlaceExpired:
                restarts += 1
                if place is None or restarts > RESTARTS:
                    raise self._lost_too_often() from None
                logger.warning(
                    "Airtable lost the place in %s; it is read again from the beginning (%d of %d)",
                    self.name,
                    restarts,
                    RESTARTS,
                )
                place = None
                continue
            place = page.get("offset") or ""
            yield page["records"], place

    def page(self, options: dict[str, Any]) -> dict[str, Any]:
        """One page as Airtable gives it: its `records` and, unless it is the last one, the `offset` of the next."""
        # A long formula goes by POST.
        page = self._request(self._table.urls.records, ("post", self._table.urls.records_post), options)
        if not isinstance(page, dict) or not isinstance(page.get("records"), list):
            raise TransientError(f"Airtable answered with no list of records for {self.name}")
        return page

    def close(self) -> None:
        """Let go of connections; those that are needed again are made again."""
        if "_api" in vars(self):
            self._api.session.close()

    def _lost_too_often(self) -> PipelineError:
        # Not transient: the caller would go on with a lost place, and so use up the calls of the month.
        return PipelineError(
            f"Airtable lost the place in {self.name} more than {RESTARTS} times in one reading; "
            "read it when less else keeps the machine busy, so that the pages follow each other within minutes"
        )

    @cached_property
    def _api(self) -> pyairtable.Api:
        # The library would try again after a tenth of a second, within the time in which all is refused.
        api = pyairtable.Api(
            self._key.get_secret_value(), timeout=self._timeout, retry_strategy=None, endpoint_url=self._url
        )
        api.session.hooks["response"].append(self._look_at)
        return api

    @cached_property
    def _table(self) -> pyairtable.Table:
        return self._api.table(self._base, self._table_name)

    def _request(self, url: str, fallback: tuple[str, str] | None = None, options: dict[str, Any] | None = None) -> Any:
        """The answer to a request, which comes no faster than allowed, after refusals if need be."""
        for attempt in range(RATE_ATTEMPTS):
            if attempt:
                logger.warning("Airtable asks to come slower; waiting %d seconds", REFUSAL_SECONDS)
                self._pause(REFUSAL_SECONDS)
            try:
                return self._once(url, fallback, options)
            except Refused:
                continue
        raise TransientError(
            f"Airtable refused {RATE_ATTEMPTS} times because of too many requests to the base {self._base}; others "
            "use it too, so try again later"
        )

    def _once(self, url: str, fallback: tuple[str, str] | None, options: dict[str, Any] | None) -> Any:
        # From the answer on, because a request that left early may arrive late, and close to those after it.
        is_full = len(self._answered_at) == RATE
        if is_full and (wait := self._answered_at[0] + RATE_SECONDS - time.monotonic()) > 0:
            self._pause(wait)
        try:
            return self._api.request("get", url, fallback=fallback, options=options)
        except requests.RequestException as error:
            fault = no_answer(error)
        finally:
            self._answered_at.append(time.monotonic())
        # Raised out here, because the library's error holds the request with the token.
        raise fault

    def _look_at(self, response: requests.Response, **_: Any) -> None:
        """Take the time from an answer, and refuse one that is no success before the library does."""
        if not response.ok:
            raise refusal(response, self._base, self._table_name, self._key.get_secret_value())
        try:
            date = parsedate_to_datetime(response.headers.get("Date", ""))
        except ValueError:
            return
        self._dated = date.astimezone(UTC).replace(tzinfo=None), time.monotonic()


def reading_interval(pages: int, monthly_calls: int) -> timedelta:
    """The shortest time between readings of so many pages that takes at most half of the calls of 30 days.

    The other half is for looking for changes. A table of which one reading takes more than that half is read less
    than once in 30 days, so that it does on average.
    """
    calls = 2 * max(pages, 1)
    readings = monthly_calls // calls
    month = MONTH.total_seconds()
    # Rounded up, because a second less would fit one more reading in.
    return timedelta(seconds=math.ceil(month / readings if readings else month * calls / monthly_calls))


def poll_interval(monthly_calls: int) -> timedelta:
    """The shortest time between looks for changes that takes at most half of the calls of 30 days.

    A look takes one call when no more than a page of records changed.
    """
    return reading_interval(1, monthly_calls)
