"""Proof of a password without sending it: the server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677)."""

import hashlib
import hmac
import os
from base64 import b64decode, b64encode

from profile_pipeline_tests.servers.bson_query import CommandError, Document

AUTHENTICATION_FAILED, MECHANISM_UNAVAILABLE = 18, 334
# The least that RFC 7677 and the driver accept; MongoDB's own default of 15,000 only costs tests time.
ITERATIONS = 4096


def _failed() -> CommandError:
    return CommandError(AUTHENTICATION_FAILED, "Authentication failed.")


def _hmac(secret: bytes, text: bytes) -> bytes:
    return hmac.new(secret, text, hashlib.sha256).digest()


class Conversation:
    """One connection's way from `saslStart` to being authenticated."""

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._salt = os.urandom(28)
        # SASLprep leaves plain passwords as they are.
        self._salted = hashlib.pbkdf2_hmac("sha256", password.encode(), self._salt, ITERATIONS)
        self._client_first = self._server_first = b""
        self._nonce = ""
        self.is_done = False

    def start(self, command: Document) -> Document:
        """Answer the client's first message."""
        if command["mechanism"] != "SCRAM-SHA-256":
            raise CommandError(MECHANISM_UNAVAILABLE, f"Unsupported mechanism {command['mechanism']}")
        self._client_first = bytes(command["payload"]).removeprefix(b"n,,")
        fields = _fields(self._client_first)
        if fields["n"].replace("=2C", ",").replace("=3D", "=") != self._user:
            raise _failed()
        self._nonce = fields["r"] + b64encode(os.urandom(24)).decode()
        self._server_first = f"r={self._nonce},s={b64encode(self._salt).decode()},i={ITERATIONS}".encode()
        return {"conversationId": 1, "done": False, "payload": self._server_first}

    def go_on(self, command: Document) -> Document:
        """Check the client's proof, and prove to know the password as well."""
        payload = bytes(command["payload"])
        if self.is_done and not payload:
            return {"conversationId": 1, "done": True, "payload": b""}
        without_proof, _, _ = payload.rpartition(b",p=")
        fields = _fields(payload)
        text = b",".join((self._client_first, self._server_first, without_proof))
        client_key = _hmac(self._salted, b"Client Key")
        signature = _hmac(hashlib.sha256(client_key).digest(), text)
        proof = bytes(left ^ right for left, right in zip(client_key, signature, strict=True))
        if fields.get("r") != self._nonce or not hmac.compare_digest(b64decode(fields["p"]), proof):
            raise _failed()
        self.is_done = True
        verifier = b64encode(_hmac(_hmac(self._salted, b"Server Key"), text))
        return {"conversationId": 1, "done": True, "payload": b"v=" + verifier}


def _fields(message: bytes) -> dict[str, str]:
    return dict(part.split("=", 1) for part in message.decode().split(",") if "=" in part)
