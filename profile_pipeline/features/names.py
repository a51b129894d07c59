"""What people are called.

What belongs here: the display name of anyone with an address. What does not: whose an address is
(`people.py`).
"""

import ibis
import ibis.expr.types as ir


def display_name(name: ir.StringColumn, email: ir.StringColumn) -> ir.StringColumn:
    """The name by which a person is shown: their own, else one made from the address.

    The part before `@` is split at `.`, `_` and `-`, empty pieces are dropped, and each piece is capitalised:
    `mike.jones@email.com` is Mike Jones. An address with nothing else before its `@` is shown as it is.

    Args:
        name: the person's own name; null or blank when unknown.
        email: the address; null gives null when the name is unknown too.
    """
    pieces = email.split("@")[0].re_split("[._-]+").filter(lambda piece: piece != "")
    made = pieces.map(lambda piece: piece[0].upper() + piece[1:].lower()).join(" ")
    return ibis.coalesce(name.strip().nullif(""), made.nullif(""), email)
