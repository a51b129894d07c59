"""Searches an index again and again in a process of its own, and prints each answer that differs from the last.

Usage: `python -m profile_pipeline_tests.integration.index_reader FOLDER`

It searches by turns with a searcher that stays open and with a new one, by meaning and by words. An answer is a line
of JSON: how many profiles there are, and their ages. It ends when its input does; an error ends it at once.
"""

import json
import sys
import threading
from itertools import cycle
from pathlib import Path

from profile_pipeline.index.search import Mode, Searcher
from profile_pipeline.index.store import IndexStore
from profile_pipeline_tests.indexing import BagOfWords


def main() -> None:
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    store, embedder = IndexStore(Path(sys.argv[1])), BagOfWords()
    stays_open = Searcher(store, embedder)
    last = None
    for mode in cycle([Mode.VECTOR, Mode.TEXT]):
        # Looked at before the search, so that the last version is searched, too.
        is_last = ended.wait(0.01)
        for searcher in (stays_open, Searcher(store, embedder)):
            found = searcher.search("person", mode=mode, limit=1000, columns=["age"])
            answer = [found.num_rows, sorted(set(found["age"].to_pylist()))]
            if answer != last:
                print(json.dumps(answer), flush=True)
                last = answer
        if is_last:
            return


if __name__ == "__main__":
    main()
