"""A MongoDB server for tests, as a process of its own, which the real driver talks to over a socket.

What belongs here: starting, killing and steering it from a test. What does not: what it does (`commands.py`).

    with mongodb_server(replica_set="rs0") as server:
        server.client()[server.database].users.insert_one({"email": "a@example.com"})

With MONGODB_TEST_URI in the environment, the same tests meet that server instead, in a database of their own; what a
real server cannot do is skipped.

Beside MongoDB's commands and its fail point `failCommand`, the server takes these on `admin`, which the methods of
`Server` send:

- `{setClock: date | null, running: bool}`: `hello.localTime` stands still at a date, or runs on from there.
- `{setLogSize: n | null}`: the log of changes keeps the last n entries; a change stream from before fails with 286.
- `{onCommand: name | "off", number: n, collection: name, writes: [commands], closeInReply: bool}`: when the n-th
  command of that name (on that collection) arrives, counted from now, the writes are done first, in the database of
  the command; with `closeInReply` half of the reply's bytes are sent before the connection closes.
- `{takeCommands: 1}`: the commands since the last time, without handshakes and those of this list, without the
  documents of inserts.
- `{loadFile: collection, path: file, $db: database}`: inserts the file's concatenated BSON.

Killed and started again, the server has its port, its documents and its log, but neither clock nor faults.
"""

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

Document = dict[str, Any]

ROOT = Path(__file__).parents[3]
"""From where the process finds its code, wherever a test has gone."""
NO_SUCH_COMMAND = 59


class Server:
    """What a test knows of a server; here of one that is there already, at an address."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.database = f"test_{uuid.uuid4().hex[:12]}"
        """A name that no other test uses."""
        self._stack = ExitStack()

    def supports(self, feature: str) -> bool:
        """Whether the server can do this: `restart`, or one of the commands above by its name."""
        return False

    def client(self, **options: Any) -> MongoClient[Document]:
        """A client with these options of the driver, closed when the server ends."""
        client: MongoClient[Document] = MongoClient(self.uri, **{"serverSelectionTimeoutMS": 10_000, **options})
        return self._stack.enter_context(client)

    def admin(self, command: Document, database: str = "admin") -> Document:
        """Run a command and return its reply."""
        options: Document = {"serverSelectionTimeoutMS": 10_000, "datetime_conversion": "DATETIME_AUTO"}
        client: MongoClient[Document] = MongoClient(self.uri, **options)
        with client:
            return client[database].command(command, codec_options=client.codec_options)

    def fail_command(self, *names: str, mode: Any = None, **data: Any) -> None:
        """Let commands of these names fail: `errorCode`, `closeConnection`, `blockTimeMS`...; once unless told."""
        if "blockTimeMS" in data:
            data["blockConnection"] = True
        fault = {"failCommands": list(names), **data}
        try:
            self.admin({"configureFailPoint": "failCommand", "mode": mode or {"times": 1}, "data": fault})
        except OperationFailure as error:
            if error.code == NO_SUCH_COMMAND:
                pytest.skip("the server of MONGODB_TEST_URI was started without enableTestCommands")
            raise

    def recover(self) -> None:
        """Switch all faults off."""
        # A server that was not started for tests has no faults to switch off.
        with suppress(OperationFailure):
            self.admin({"configureFailPoint": "failCommand", "mode": "off"})

    def set_clock(self, moment: datetime | None, running: bool = False) -> None:
        """Set the server's clock to a moment (UTC, if it has no zone); None is the machine's."""
        self._need("setClock")
        self.admin({"setClock": moment, "running": running})

    def set_log_size(self, size: int | None) -> None:
        """Let the log of changes forget all but its last entries."""
        self._need("setLogSize")
        self.admin({"setLogSize": size})

    def on_command(self, name: str, **rule: Any) -> None:
        """Do something when the n-th command of a name arrives, see above."""
        self._need("onCommand")
        self.admin({"onCommand": name, **rule})

    def commands(self) -> list[Document]:
        """The commands that arrived since the last call."""
        self._need("takeCommands")
        taken: list[Document] = self.admin({"takeCommands": 1})["cursor"]["firstBatch"]
        return taken

    def load(self, collection: str, file: Path) -> None:
        """Insert a file of concatenated BSON into a collection of our database."""
        self._need("loadFile")
        self.admin({"loadFile": collection, "path": str(file)}, self.database)

    def kill(self) -> None:
        """End the process as a crash does."""
        self._need("restart")

    def restart(self) -> None:
        """Start the process again, on its port, with its data."""
        self._need("restart")

    def close(self) -> None:
        """Leave nothing behind."""
        self.recover()
        self.admin({"dropDatabase": 1}, self.database)
        self._stack.close()

    def _need(self, feature: str) -> None:
        if not self.supports(feature):
            pytest.skip(f"a real MongoDB server has no {feature}")


class LocalServer(Server):
    """A server as a process of ours."""

    def __init__(self, folder: Path, replica_set: str | None, user: str | None, password: str | None) -> None:
        self._arguments = [sys.executable, "-m", "profile_pipeline_tests.servers.mongodb"]
        self._arguments += ["--journal", str(folder / "journal.bson")]
        self._arguments += ["--replica-set", replica_set] if replica_set else []
        self._arguments += ["--user", user] if user else []
        self._environment = {**os.environ, "MONGODB_SERVER_PASSWORD": password or ""}
        self._process = self._start(0)
        self.port = self._read_port()
        credentials = f"{quote_plus(user)}:{quote_plus(password or '')}@" if user else ""
        options = f"/?replicaSet={replica_set}" if replica_set else ""
        super().__init__(f"mongodb://{credentials}127.0.0.1:{self.port}{options}")

    def _start(self, port: int) -> subprocess.Popen[str]:
        command = [*self._arguments, "--port", str(port)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=self._environment, cwd=ROOT)

    def _read_port(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server did not start; its standard error says why"
        return int(line)

    def supports(self, feature: str) -> bool:
        """Everything."""
        return True

    def recover(self) -> None:
        """Switch all faults off."""
        super().recover()
        self.admin({"onCommand": "off"})

    def kill(self) -> None:
        """End the process as a crash does."""
        self._process.kill()
        self._process.communicate()

    def restart(self) -> None:
        """Start the process again, on its port, with its data; kill it first if it runs."""
        self.kill()
        self._process = self._start(self.port)
        self._read_port()

    def close(self) -> None:
        """End the process and all clients."""
        self._stack.close()
        self.kill()


@contextmanager
def mongodb_server(
    replica_set: str | None = None, user: str | None = None, password: str | None = None
) -> Iterator[Server]:
    """A server while the block runs: standalone or the only member of a replica set, open or for one user.

    Skips the test where MONGODB_TEST_URI names a server that is not like that.
    """
    uri = os.environ.get("MONGODB_TEST_URI")
    if uri is None:
        with tempfile.TemporaryDirectory() as folder:
            server: Server = LocalServer(Path(folder), replica_set, user, password)
            try:
                yield server
            finally:
                server.close()
        return
    server = Server(uri)
    has_set = "setName" in server.admin({"hello": 1})
    if user is not None or has_set is not (replica_set is not None):
        pytest.skip("the server of MONGODB_TEST_URI has other users or is (not) a replica set")
    try:
        yield server
    finally:
        server.close()
