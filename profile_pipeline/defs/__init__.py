"""Dagster, and only Dagster: thin definitions by layer around the functions of `build.py` and `indexing.py`."""
