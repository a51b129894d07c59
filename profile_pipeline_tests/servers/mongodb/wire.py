"""MongoDB's wire protocol on a socket: OP_MSG, and the OP_QUERY with which older drivers introduce themselves.

What belongs here: bytes to requests and replies to bytes. What does not: what a command means (`commands.py`).
"""

import itertools
import socket
import socketserver
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import bson

from profile_pipeline_tests.servers.bson_query import Document, decode
from profile_pipeline_tests.servers.mongodb.scram import Conversation
from profile_pipeline_tests.servers.mongodb.store import split_documents

HEADER = struct.Struct("<iiii")
_INT = struct.Struct("<i")
OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
CHECKSUM_PRESENT, MORE_TO_COME = 1, 2


@dataclass
class Session:
    """What the server knows about one connection."""

    app_name: str | None = None
    is_authenticated: bool = False
    conversation: Conversation | None = None


@dataclass
class Request:
    """A command: its name, its fields, and the documents that came beside them, still encoded."""

    body: Document
    sequences: dict[str, list[bytes]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the command: its first field."""
        return next(iter(self.body))

    @property
    def database(self) -> str:
        """The database that it is run on."""
        return self.body.get("$db", "admin")

    @property
    def namespace(self) -> str:
        """The collection that it is run on."""
        return f"{self.database}.{self.body[self.name]}"

    def encoded(self, name: str) -> list[bytes]:
        """A list of documents, encoded, from beside the command or from within."""
        if name in self.sequences:
            return self.sequences[name]
        return [bson.encode(document) for document in self.body[name]]


class Reply(NamedTuple):
    """An encoded document; the connection closes after a share of its bytes unless that is 1."""

    document: bytes
    share: float = 1.0


def document(fields: Document, elements: bytes = b"") -> bytes:
    """An encoded document: elements that are encoded already, then fields."""
    encoded = elements + bson.encode(fields)[4:]
    return _INT.pack(4 + len(encoded)) + encoded


_INDICES = [b"\x03%d\x00" % number for number in range(200_000)]


def array(name: str, raws: list[bytes]) -> bytes:
    """An element: an array of documents that are encoded already."""
    indices = _INDICES if len(raws) <= len(_INDICES) else [b"\x03%d\x00" % number for number in range(len(raws))]
    joined = b"".join(itertools.chain.from_iterable(zip(indices, raws, strict=False)))
    return b"\x04%b\x00%b%b\x00" % (name.encode(), _INT.pack(len(joined) + 5), joined)


def parse_message(payload: memoryview) -> tuple[int, Request]:
    """The flags and the request of an OP_MSG."""
    flags = _INT.unpack_from(payload)[0]
    end = len(payload) - (4 if flags & CHECKSUM_PRESENT else 0)
    request, at = Request({}), 4
    while at < end:
        kind, size = payload[at], _INT.unpack_from(payload, at + 1)[0]
        section = payload[at + 1 : at + 1 + size]
        if kind == 0:
            request.body = decode(bytes(section))
        else:
            name = bytes(section[4:68]).partition(b"\x00")[0]
            request.sequences[name.decode()] = split_documents(section[5 + len(name) :])
        at += 1 + size
    return flags, request


def parse_query(payload: memoryview) -> Request:
    """The request of an OP_QUERY, which may only be a handshake."""
    start = 4 + len(bytes(payload[4:260]).partition(b"\x00")[0]) + 1 + 8
    size = _INT.unpack_from(payload, start)[0]
    body = decode(bytes(payload[start : start + size]))
    return Request(body.get("$query", body))


class Server(socketserver.ThreadingTCPServer):
    """Listens on a port of this machine; a thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, answer: Callable[[Request, Session], Reply]) -> None:
        self.answer = answer
        super().__init__(("127.0.0.1", port), _Connection)


class _Connection(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session()
        try:
            while self._exchange(session):
                pass
        except (ConnectionError, TimeoutError):
            pass  # The client has gone away.

    def _exchange(self, session: Session) -> bool:
        """One request and its reply; whether the connection stays open."""
        length, request_id, _, opcode = HEADER.unpack(self._receive(HEADER.size))
        payload = memoryview(self._receive(length - HEADER.size))
        if opcode == OP_QUERY:
            reply = self.server.answer(parse_query(payload), session)
            prefix, opcode = struct.pack("<iqii", 8, 0, 0, 1), OP_REPLY
        elif opcode == OP_MSG:
            flags, request = parse_message(payload)
            reply = self.server.answer(request, session)
            if flags & MORE_TO_COME:
                return reply.share == 1
            prefix = b"\x00\x00\x00\x00\x00"
        else:
            return False
        size = HEADER.size + len(prefix) + len(reply.document)
        message = HEADER.pack(size, 0, request_id, opcode) + prefix + reply.document
        self.request.sendall(message if reply.share == 1 else message[: int(size * reply.share)])
        return reply.share == 1

    def _receive(self, size: int) -> bytearray:
        data = bytearray(size)
        view, filled = memoryview(data), 0
        while filled < size:
            received = self.request.recv_into(view[filled:])
            if not received:
                raise ConnectionResetError
            filled += received
        return data
