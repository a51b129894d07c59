"""Who an address is.

What belongs here: from the versions of user records to the owner of each e-mail address on each day, and the
name by which others see that person. What does not: what people did (`attendance.py`).
"""

from datetime import date

import ibis
import ibis.expr.types as ir
from ibis import _

from profile_pipeline.features.names import display_name
from profile_pipeline.history import FOREVER

BEGINNING = date(1, 1, 1)
"""Before any record: an address that some user owns later stands for itself until then."""


def address_claims(users: ir.Table) -> ir.Table:
    """Which addresses a user goes by: the current one, and those of earlier versions.

    Args:
        users: `versions` of `raw_users`.

    Returns:
        For each interval in which a user keeps e-mail and name, and each address: `address`, `user_id`, the `email` and
        `name` kept, `is_current`, and `since` and `last_held`, the first and last version with that address so far.
    """
    named = _identities(users).cache()
    earlier = named.select("id", address=_.email, held_from=_.valid_from, last_from=_.last_from).view()
    known_by = [named.id == earlier.id, earlier.held_from <= named.valid_from]
    return (
        named.drop("last_from")
        .join(earlier, known_by, rname="earlier_{name}")
        .group_by("address", "id", "email", "name", "valid_from", "valid_to")
        .agg(since=_.held_from.min(), last_held=_.last_from.max())
        .mutate(is_current=_.email == _.address)
        .rename(user_id="id")
    )


def _identities(users: ir.Table) -> ir.Table:
    """The intervals in which a user keeps e-mail and name, with `last_from`, the begin of the last version in each.

    A user whose record changes each day goes by one address throughout, and is compared with earlier ones once.
    """
    in_order = ibis.window(group_by="id", order_by="valid_from")
    before = users.select("id", "email", "name", "valid_from", "valid_to").mutate(
        previous_email=_.email.lag().over(in_order),
        previous_name=_.name.lag().over(in_order),
        previous_end=_.valid_to.lag().over(in_order),
    )
    goes_on = (
        (before.previous_end == before.valid_from)
        & (before.previous_email == before.email)
        & before.previous_name.identical_to(before.name)
    )
    so_far = ibis.window(group_by="id", order_by="valid_from", preceding=None, following=0)
    return (
        before.mutate(is_begin=ibis.ifelse(goes_on.fill_null(False), 0, 1))
        .mutate(run=_.is_begin.sum().over(so_far))
        .group_by("id", "email", "name", "run")
        .agg(last_from=_.valid_from.max(), valid_from=_.valid_from.min(), valid_to=_.valid_to.max())
        .drop("run")
    )


def people(users: ir.Table) -> ir.Table:
    """The person behind each address that any user ever had, for all time.

    The owner is the live user whose current address it is (the one who had it first, should there be two), else
    the live user who had it last; without one the address stands for itself.

    Args:
        users: `versions` of `raw_users`.

    Returns:
        Intervals of `address`, `user_id` (null: nobody), and the `email` and `name` that others see.
    """
    claims = address_claims(users).cache()
    starts = claims.select("address", point=_.valid_from)
    ends = claims.filter(_.valid_to < FOREVER).select("address", point=_.valid_to)
    before = claims.select("address", point=ibis.literal(BEGINNING))
    points = starts.union(ends).union(before).distinct()
    best_first = ibis.window(
        group_by=["address", "point"],
        order_by=[
            _.is_current.desc(),
            ibis.ifelse(_.is_current, _.since, None),
            ibis.ifelse(_.is_current, None, _.last_held).desc(),
            _.user_id,
        ],
    )
    holds = [
        points.address == claims.address,
        claims.valid_from <= points.point,
        points.point < claims.valid_to,
    ]
    owners = (
        points.left_join(claims, holds, rname="claim_{name}")
        .select("address", "point", "user_id", "email", "name", "is_current", "since", "last_held")
        .mutate(rank=ibis.row_number().over(best_first))
        .filter(_["rank"] == 0)
    )
    next_point = _.point.lead().over(ibis.window(group_by="address", order_by="point"))
    return owners.select(
        "address",
        "user_id",
        email=_.email.coalesce(_.address),
        name=display_name(_.name, _.email.coalesce(_.address)),
        valid_from=_.point,
        valid_to=next_point.coalesce(ibis.literal(FOREVER)),
    )


def identity_changes(people: ir.Table) -> ir.Table:
    """The days from which an address stands for someone else, or for someone called otherwise.

    Returns:
        `address`, `day`, and its owner from then on and before: `user_id` and `previous_user_id`, null for nobody.
    """
    by_day = ibis.window(group_by="address", order_by="valid_from")
    seen = ("user_id", "email", "name")
    before = people.mutate(**{f"previous_{name}": _[name].lag().over(by_day) for name in seen})
    same = ibis.and_(*(before[name].identical_to(before[f"previous_{name}"]) for name in seen))
    changed = before.filter(~same & (before.valid_from > BEGINNING))
    return changed.select("address", "user_id", "previous_user_id", day=_.valid_from)
