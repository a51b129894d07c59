"""What a user, an order, an event and a message are: models, parsing, normalising, reasons for rejection.

No I/O here: documents come in as text or as a relation, records go out. `models.py` is the truth about one
document; `screening.py` does the same for many at once.
"""
