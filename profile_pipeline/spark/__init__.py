"""The derived tables on Spark, for those whose history has outgrown one machine.

What belongs here: whatever knows PySpark: its session and dialect, tables as folders of Parquet files, embedding
over partitions. What does not: rules. `history.py`, `features/`, `profiles/` and `index/text.py` are the same Ibis
expressions on either engine.

Nothing outside imports this package unless `PROFILE_PIPELINE_ENGINE` is `spark`: PySpark is an optional extra.
"""
