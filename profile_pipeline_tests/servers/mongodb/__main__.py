"""The server as a process: prints its port, and ends when its standard input does.

What belongs here: starting and ending. Its options are `mongodb_server`'s.
"""

import argparse
import gc
import os
import sys
import tempfile
import threading
from pathlib import Path

from profile_pipeline_tests.servers.mongodb.commands import Service
from profile_pipeline_tests.servers.mongodb.store import Store
from profile_pipeline_tests.servers.mongodb.wire import Server


def main() -> None:
    """Serve until the one who started this closes our standard input or is gone."""
    parser = argparse.ArgumentParser(description="A MongoDB server for tests.")
    parser.add_argument("--journal", type=Path, help="file that keeps the data; read if it exists; none if not given")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--replica-set", help="name of the set; a standalone server without it")
    parser.add_argument("--user", help="only this user may do anything; the password is in MONGODB_SERVER_PASSWORD")
    arguments = parser.parse_args()
    # Millions of small objects that live as long as the process: looking through them for garbage only costs time.
    gc.disable()
    password = os.environ.get("MONGODB_SERVER_PASSWORD")
    with arguments.journal.open("a+b") if arguments.journal else tempfile.TemporaryFile() as journal:
        store = Store(journal, keeps_log=arguments.replica_set is not None)
        service = Service(store, arguments.replica_set, arguments.user, password)
        with Server(arguments.port, service.answer) as server:
            port = server.server_address[1]
            service.address = f"127.0.0.1:{port}"
            threading.Thread(target=server.serve_forever, daemon=True).start()
            print(port, flush=True)
            sys.stdin.buffer.read()
            # Connections that are still open would keep their threads, and these the process.
            os._exit(0)


if __name__ == "__main__":
    main()
