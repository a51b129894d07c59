"""When two e-mail addresses are the same.

What belongs here: the one normal form that users' and participants' addresses are compared in. What does not:
who owns an address as of a day (`features/people.py`).
"""

DOTLESS_DOMAINS = ("gmail.com", "googlemail.com")
"""Mailbox providers that ignore dots in the local part; elsewhere dots tell people apart."""


def normalise_email(address: str, *, fold_aliases: bool) -> str:
    """Trim and casefold an address; with `fold_aliases` also drop its `+tag`, and dots that mean nothing."""
    normal = address.strip().casefold()
    local, at, domain = normal.rpartition("@")
    if not (fold_aliases and at):
        return normal
    mailbox = local.split("+", 1)[0]
    if domain in DOTLESS_DOMAINS:
        mailbox = mailbox.replace(".", "")
    # An address that is nothing but a tag or dots has no mailbox to fold into.
    return f"{mailbox}@{domain}" if mailbox else normal
