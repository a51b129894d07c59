"""The MongoDB source: users, orders and events, each a collection.

A collection is read in the order of `_id`, the only index that every collection has and the only value that never
changes, so that a reading that broke off goes on where it was. The filter of a span selects a superset of what the
span concerns: indexes know single values, the rules of `records/models.py` do not fit into them. Nothing here writes
to MongoDB.
"""

from profile_pipeline.sources.mongodb.source import APP_NAME, MongoSource

__all__ = ["APP_NAME", "MongoSource"]
