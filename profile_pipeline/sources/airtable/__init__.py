"""The Airtable source: a table of messages, read through Airtable's web API.

How Airtable behaves, as documented unless said otherwise:

- A list comes in pages of up to 100 records in an order that means nothing. The `offset` of the next page expires
  after minutes without use, or earlier; then only reading from the beginning helps.
- 5 requests a second are allowed for a base. Who sends more is refused for 30 seconds. The Free and Team plans
  also limit the calls of a month.
- Empty fields are left out: null, blank texts, empty lists and unchecked boxes.
- The fields of a record come in any order, and the addresses of an attachment are made anew for each answer and
  good for hours. Documents are verbatim but for these, or every reading would find all those records changed.
- Times that Airtable keeps itself have whole seconds. A change of a lookup, a rollup or a formula is no change of
  the record and has no time: only reading everything finds it.

This package imports the client library; import it where an Airtable source is used, not where one may be.
"""

from profile_pipeline.sources.airtable.source import AirtableSource

__all__ = ["AirtableSource"]
