"""What can go wrong between the driver and a person, in words that hold no secret.

What belongs here: which faults may pass, what to do about the others, and what must not be shown. What does not:
trying again (`extraction.py`).
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote_plus

from bson.errors import BSONError
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from profile_pipeline.errors import PipelineError, TransientError

UNUSABLE_URI = (
    "MONGODB_URI is no connection string that the driver can use; it should read "
    "mongodb://USER:PASSWORD@HOST:PORT/DATABASE, with special characters in the user and the password written as "
    "%3A for :, %2F for /, %3F for ? and %40 for @"
)
"""Without any part of the string: where it cannot be parsed, the password may be anywhere in it."""

AUTHENTICATION_CODE = 18
UNAUTHORIZED_CODE = 13
ATLAS_CODE = 8000
"""What MongoDB Atlas says instead of both."""
NO_CHANGE_STREAMS_CODE = 40573
LOST_TOKEN_CODES = {260, 280, 286, 40576}
"""InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost, and what old servers say for the first."""
TRANSIENT_CODES = {
    *(6, 7, 89, 9001),  # HostUnreachable, HostNotFound, NetworkTimeout, SocketException
    *(91, 11600, 11601, 11602),  # ShutdownInProgress, Interrupted: at shutdown, by hand, by a change of roles
    *(189, 10058, 10107, 13435, 13436),  # PrimarySteppedDown, and not being primary in its varieties
    *(43, 50, 175, 237, 262),  # CursorNotFound, MaxTimeMSExpired, QueryPlanKilled, CursorKilled, ExceededTimeLimit
    *(63, 133, 134, 150, 234, 13388),  # shards and members that move while one reads
    *(24, 46, 112, 365, 462, 16500),  # a server with too much to do
}
"""Of what passes by itself; the driver repeats a find by itself once, but never a getMore."""
TRANSIENT_LABELS = (
    "RetryableError",
    "RetryableWriteError",
    "SystemOverloadedError",
    "TransientTransactionError",
    "ResumableChangeStreamError",
)

LIBRARY_DETAILS = re.compile(r" \(configured timeouts|, Timeout: |, full error: |, Topology Description")
"""Where the driver's texts turn from what happened to dumps of its state."""
SAID_CHARACTERS = 300


def secrets_in(uri: str) -> list[str]:
    """What of a connection string must not be shown, the longest first: as written and as meant."""
    place, _, options = uri.partition("://")[2].partition("?")
    user_info = place.partition("/")[0].rpartition("@")[0]
    pairs = [option.partition("=") for option in re.split("[&;]", options)]
    secret_options = [value for name, _, value in pairs if re.search("password|properties", name, re.IGNORECASE)]
    written = [uri, user_info, user_info.partition(":")[2], *secret_options]
    return sorted({text for secret in written for text in (secret, unquote_plus(secret)) if text}, key=len)[::-1]


def redacted(text: str, secrets: Iterable[str]) -> str:
    """A text without the secrets."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def translated(error: PyMongoError | BSONError, place: str, secrets: Iterable[str]) -> PipelineError:
    """What went wrong, for a person: `TransientError` where it may pass by itself.

    Args:
        error: what the driver raised.
        place: what was being read, such as `mongodb:club.users`.
        secrets: what may be in the driver's text and must not be shown.
    """
    said = driver_words(error, secrets)
    if isinstance(error, OperationFailure):
        return _refusal(error, said, place)
    if isinstance(error, NetworkTimeout):
        return TransientError(
            f"{place} did not answer in time ({said}); if it is only slow, raise socketTimeoutMS in MONGODB_URI"
        )
    if isinstance(error, ServerSelectionTimeoutError):
        return TransientError(
            f"{place} cannot be reached ({said}); check MONGODB_URI, and that the server runs and lets this machine in"
        )
    # The names behind mongodb+srv are looked up on connecting; the driver calls a silent name server a wrong URI.
    if isinstance(error, ConnectionFailure) or type(error.__cause__).__name__ in ("LifetimeTimeout", "NoNameservers"):
        return TransientError(f"the connection to {place} of MONGODB_URI broke ({said}); try again")
    if isinstance(error, ConfigurationError):
        return PipelineError(f"{place} cannot be used by MONGODB_URI as it is: {said}")
    return PipelineError(f"{place} of MONGODB_URI cannot be read: {said}")


def driver_words(error: Exception, secrets: Iterable[str]) -> str:
    """What the driver or the server says, short and without the secrets."""
    details = error.details if isinstance(error, OperationFailure) else None
    text = redacted(str((details or {}).get("errmsg") or error), secrets)
    text = " ".join(LIBRARY_DETAILS.split(text)[0].split()).rstrip(".")
    return text[:SAID_CHARACTERS] or type(error).__name__


def _refusal(error: OperationFailure, said: str, place: str) -> PipelineError:
    """What the server itself refused."""
    is_about_password = "auth" in said.lower()
    if error.code == AUTHENTICATION_CODE or (error.code == ATLAS_CODE and is_about_password):
        return PipelineError(
            f"{place} refuses the user of MONGODB_URI ({said}); check its name and password, and authSource, the "
            "database that it belongs to"
        )
    if error.code == UNAUTHORIZED_CODE and "requires authentication" in said:
        return PipelineError(f"{place} wants a user ({said}); name one in MONGODB_URI, with its password")
    if error.code in (UNAUTHORIZED_CODE, ATLAS_CODE):
        return PipelineError(
            f"{place} may not be read by the user of MONGODB_URI ({said}); give it the role `read` on that database"
        )
    if error.code in TRANSIENT_CODES or any(map(error.has_error_label, TRANSIENT_LABELS)):
        return TransientError(f"{place} of MONGODB_URI broke off ({said}); try again")
    return PipelineError(f"{place} of MONGODB_URI cannot be read: {said} (error {error.code})")
