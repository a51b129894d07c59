"""Erasing a person: from every place below the home, for good, with a receipt.

What belongs here: who is meant (`identity.py`), the request that outlives a kill (`request.py`), erasing from the
warehouse (`purge.py`), from files beside it (`files.py`) and from Dagster's state (`dagster_state.py`), looking whether
anything is left (`scan.py`), and the order of these (`erasure.py`). What does not: keeping the person out from then on
(`suppression_list.py`, `records/suppressions.py`), and what follows from a log without them (`build.py`).
"""
