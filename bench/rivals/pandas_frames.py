"""The profiles of a day in pandas, with NumPy for pairs of people and PyArrow for lists."""

import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.rivals import CANCELLED, COLUMNS, COOLDOWN_DAYS, FRIEND_EVENTS, KEY_FIELDS, NOT_COUNTED, PROFILE_FIELDS

FAVORITES = {"host": "event_history_hosts", "venue": "venue_history", "event_type": "favorite_event_types"}
VERSION = ("id", "partition_date", "changed_at", "sequence", "deleted_date")
MONEY = pa.decimal128(18, 2)


def profiles(log: Path, day: date, out: Path) -> None:
    """Compute the profiles as of a day."""
    moment = pd.Timestamp(day)
    users = known(log, "users", moment, ["email", "name"])
    live = latest(users, moment)
    events = latest(known(log, "events", moment, ["date", "status"]), moment)
    events = events[(events.date <= moment) & ~events.status.isin(CANCELLED)].sort_values(["date", "id"])
    held = pq.read_table(log / "events.parquet").take(pa.array(events.index))
    invited = invitations(held, owners(users, live))
    people = persons(live, invited)
    visits = attendance(invited, people)
    user = people.index[people.id.notna()].to_numpy()
    ids = pd.Index(people.id.loc[user])
    stored = pq.read_table(log / "users.parquet").take(pa.array(live.index[pd.Index(live.id).get_indexer(ids)]))
    columns = {name: stored[name] for name in ("id", "email", *PROFILE_FIELDS, "time_zone", "is_on_team")}
    columns["name"] = pa.array(people.name.loc[user], pa.string())
    by_person = history(visits, held, len(people)) | circles(visits, held, people)
    for column in FAVORITES:
        by_person |= favorites(visits, held, column, len(people))
    columns |= {name: values.take(pa.array(user)) for name, values in by_person.items()}
    columns |= orders(log, moment, ids) | messages(log, moment, ids)
    pq.write_table(pa.table(columns | flags(columns)).select(COLUMNS), out)


def known(log: Path, kind: str, moment: pd.Timestamp, columns: list[str]) -> pd.DataFrame:
    """The versions known by the day, indexed by their place in the file, without the columns that are only carried."""
    table = pq.read_table(log / f"{kind}.parquet", columns=[*VERSION, *columns])
    records = table.to_pandas(date_as_object=False)
    return records[records.partition_date <= moment]


def latest(records: pd.DataFrame, moment: pd.Timestamp) -> pd.DataFrame:
    """The last version of each record, unless it was deleted by then."""
    in_order = records.sort_values(["partition_date", "changed_at", "sequence"], na_position="first")
    last = in_order.drop_duplicates("id", keep="last")
    return last[~(last.deleted_date <= moment)]


def owners(users: pd.DataFrame, live: pd.DataFrame) -> pd.Series:
    """Whose an address is: of the user who has it now, else of whoever had it last."""
    in_order = users.sort_values(["changed_at", "sequence"], na_position="first")
    versions = in_order.drop_duplicates(["id", "partition_date"], keep="last")
    versions = versions[~(versions.deleted_date <= versions.partition_date)]
    claims = versions.groupby(["id", "email"]).partition_date.agg(since="min", last_held="max").reset_index()
    claims = claims.merge(live[["id", "email"]].rename(columns={"email": "current"}), on="id")
    is_other = claims.email != claims.current
    tie = claims.since.where(~is_other, pd.Timestamp(0) - (claims.last_held - pd.Timestamp(0)))
    best = claims.assign(is_other=is_other, tie=tie).sort_values(["is_other", "tie", "id"]).drop_duplicates("email")
    return best.set_index("email").id


def invitations(held: pa.Table, owners: pd.Series) -> pd.DataFrame:
    """Each address on the list of an event, with its owner."""
    lists = held["participants"].combine_chunks()
    address = pd.Series(lists.flatten().to_pandas())
    place = pc.list_parent_indices(lists).to_numpy()
    codes, unique = pd.factorize(address)
    return pd.DataFrame({"event": place, "address": address, "id": owners.reindex(unique).to_numpy()[codes]})


def persons(live: pd.DataFrame, invited: pd.DataFrame) -> pd.DataFrame:
    """Users and the addresses that are nobody's, numbered by address, so that their order settles ties."""
    guests = pd.DataFrame({"email": invited.address[invited.id.isna()].unique()}).assign(id=None, name=None)
    people = pd.concat([live[["id", "email", "name"]], guests]).sort_values("email", ignore_index=True)
    own = people.name.str.strip()
    nameless = people.email[~(own.str.len() > 0)]
    return people.assign(name=own.where(own.str.len() > 0, nameless.map(made_name)))


def made_name(address: str) -> str:
    """The words of an address before its `@`, capitalised."""
    words = re.split("[._-]+", address.split("@", maxsplit=1)[0])
    return " ".join(word[0].upper() + word[1:].lower() for word in words if word) or address


def attendance(invited: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """Who was at which event, once each, by person and then by date."""
    users = people[people.id.notna()]
    by_id = users.index.to_numpy()[pd.Index(users.id).get_indexer(invited.id)]
    by_address = pd.Index(people.email).get_indexer(invited.address)
    person = np.where(invited.id.isna(), by_address, by_id)
    pair = np.unique(person.astype(np.int64) << 32 | invited.event.to_numpy())
    return pd.DataFrame({"person": pair >> 32, "event": pair & 0xFFFFFFFF})


def listed(person: NDArray[np.int64], values: pa.Array, count: int) -> pa.Array:
    """The values of each person as a list; they come by person."""
    return pa.ListArray.from_arrays(pa.array(np.searchsorted(person, np.arange(count + 1)), pa.int32()), values)


def history(visits: pd.DataFrame, held: pa.Table, count: int) -> dict[str, pa.Array]:
    """Counts, dates and the list of events attended."""
    fields = ["name", "date", "venue"]
    taken = held.select(fields).take(pa.array(visits.event)).combine_chunks()
    number = np.bincount(visits.person, minlength=count)
    end = np.cumsum(number)
    date = taken["date"].combine_chunks()
    first = pa.array(np.minimum(end - number, len(visits) - 1), mask=number == 0)
    last = pa.array(end - 1, mask=number == 0)
    visit = pa.StructArray.from_arrays([taken[name].combine_chunks() for name in fields], names=fields)
    return {
        "number_of_events_attended": pa.array(number),
        "first_event_date": date.take(first),
        "last_event_date": date.take(last),
        "event_history": listed(visits.person.to_numpy(), visit, count),
    }


def favorites(visits: pd.DataFrame, held: pa.Table, column: str, count: int) -> dict[str, pa.Array]:
    """The values of a column of the events attended: most often first, then most recently, then by name."""
    # Sorted, so that the order of codes is that of names.
    code, names = pd.factorize(held[column].to_pandas(), sort=True)
    date = held["date"].cast(pa.int32()).to_numpy()
    met = pd.DataFrame({"person": visits.person, "code": code[visits.event], "date": date[visits.event]})
    times = met[met.code >= 0].groupby(["person", "code"]).date.agg(["size", "max"]).reset_index()
    order = np.lexsort([times.code, -times["max"], -times["size"], times.person])
    person = times.person.to_numpy()[order]
    values = pa.array(names, pa.string()).take(pa.array(times.code.to_numpy()[order]))
    lists = listed(person, values, count)
    if column == "event_type":
        return {FAVORITES[column]: pc.list_slice(lists, 0, 3)}
    if column == "venue":
        return {FAVORITES[column]: lists}
    top = np.zeros(count, np.int64)
    first, place = np.unique(person, return_index=True)
    top[first] = times["size"].to_numpy()[order][place]
    return {FAVORITES[column]: lists, "top_host_event_count": pa.array(top)}


def circles(visits: pd.DataFrame, held: pa.Table, people: pd.DataFrame) -> dict[str, pa.Array]:
    """The friends of each person, in order."""
    pair, shared, event = friendships(visits, len(people), held.num_rows)
    one, other = pair // len(people), pair % len(people)
    since = held["date"].cast(pa.int32()).to_numpy()[event]
    person, friend = np.concatenate([one, other]), np.concatenate([other, one])
    shared, since = np.tile(shared, 2), np.tile(since, 2)
    order = np.lexsort([friend, since, -shared, person])
    person, friend, shared, since = person[order], friend[order], shared[order], since[order]
    name = pa.array(people.name, pa.string()).take(pa.array(friend))
    email = pa.array(people.email, pa.string()).take(pa.array(friend))
    values = [email, name, pa.array(shared), pa.array(since).cast(pa.date32())]
    details = pa.StructArray.from_arrays(values, names=["email", "name", "shared_events", "since"])
    return {
        "friends": listed(person, name, len(people)),
        "friend_details": listed(person, details, len(people)),
    }


def friendships(
    visits: pd.DataFrame, people: int, events: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Each pair that met often enough, how often, and the event that made it a friendship.

    A meeting of two is one integer, made of both and of the event, whose order is that of dates: sorting such integers
    is many times faster than grouping pairs.
    """
    by_event = np.argsort(visits.event.to_numpy(), kind="stable")
    event, person = visits.event.to_numpy()[by_event], visits.person.to_numpy()[by_event]
    # Each visit with the visits of the same event that follow it, whose persons have larger numbers.
    following = np.cumsum(np.bincount(event, minlength=events))[event] - np.arange(len(event)) - 1
    mine = np.repeat(np.arange(len(event)), following)
    theirs = np.arange(len(mine)) - np.repeat(np.cumsum(following) - following, following) + mine + 1
    meeting = (person[mine] * people + person[theirs]) * events + event[mine]
    meeting.sort()
    pair = meeting // events
    starts = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1]][: len(pair)])
    shared = np.diff(np.append(starts, len(pair)))
    enough = shared >= FRIEND_EVENTS
    starts = starts[enough]
    return pair[starts], shared[enough], meeting[starts + FRIEND_EVENTS - 1] % events


def orders(log: Path, moment: pd.Timestamp, ids: pd.Index) -> dict[str, pa.Array]:
    """Counts, sums and dates of the orders that count."""
    bought = latest(known(log, "orders", moment, ["user_id", "date", "amount", "status"]), moment)
    bought = bought[(bought.date <= moment) & ~bought.status.isin(NOT_COUNTED)]
    cents = pc.multiply(pa.array(bought.amount, MONEY), 100).cast(pa.int64()).to_numpy()
    rows = pd.DataFrame({"user": ids.get_indexer(bought.user_id), "cents": cents, "date": bought.date.to_numpy()})
    totals = rows.groupby("user").agg(
        n=("cents", "size"), cents=("cents", "sum"), first=("date", "min"), last=("date", "max")
    )
    totals = totals.reindex(np.arange(len(ids)))
    count, spent = (totals[name].fillna(0).astype(np.int64).to_numpy() for name in ("n", "cents"))
    # In whole cents, half a cent rounded up.
    mean = (2 * spent + count) // (2 * np.maximum(count, 1))
    return {
        "total_orders": pa.array(count),
        "total_spent": money(spent),
        "average_order_value": money(mean, mask=count == 0),
        "first_order_date": dates(totals["first"]),
        "last_order_date": dates(totals["last"]),
    }


def messages(log: Path, moment: pd.Timestamp, ids: pd.Index) -> dict[str, pa.Array]:
    """Counts of queued and sent messages, and the day of the last."""
    written = latest(known(log, "messages", moment, ["user_id", "sent_date", "status"]), moment)
    is_sent = (written.status == "sent") & (written.sent_date <= moment)
    rows = pd.DataFrame(
        {
            "user": ids.get_indexer(written.user_id),
            "queued": (written.status == "queued").to_numpy(),
            "sent": is_sent.to_numpy(),
            "sent_date": written.sent_date.where(is_sent).to_numpy(),
        }
    )
    found = rows.groupby("user").agg({"queued": "sum", "sent": "sum", "sent_date": "max"}).reindex(np.arange(len(ids)))
    queued, sent = (found[name].fillna(0).astype(np.int64).to_numpy() for name in ("queued", "sent"))
    return {
        "queued_message_count": pa.array(queued),
        "has_queued_messages": pa.array(queued > 0),
        "total_messages_sent": pa.array(sent),
        "has_sent_messages": pa.array(sent > 0),
        "last_message_sent_date": dates(found.sent_date),
        "next_eligible_date": dates(found.sent_date + pd.Timedelta(days=COOLDOWN_DAYS)),
    }


def dates(moments: pd.Series) -> pa.Array:
    """Moments as dates."""
    return pa.array(moments).cast(pa.date32())


def money(cents: NDArray[np.int64], mask: NDArray[np.bool_] | None = None) -> pa.Array:
    """Cents as decimals."""
    whole = pa.array(cents, mask=mask).cast(pa.decimal128(19, 0))
    return pc.multiply(whole, pa.scalar(Decimal("0.01"), pa.decimal128(2, 2))).cast(MONEY)


def flags(columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """What follows from other columns."""
    filled = {name: columns[name].is_valid().to_numpy() for name in PROFILE_FIELDS}
    known = sum(filled[name].astype(np.int64) for name in KEY_FIELDS)
    attended = columns["number_of_events_attended"].to_numpy()
    lacking = np.column_stack([~filled[name] for name in KEY_FIELDS])
    user, field = np.nonzero(lacking)
    return {
        "missing_key_fields": listed(user, pa.array(KEY_FIELDS).take(pa.array(field)), len(attended)),
        "has_enough_fields_to_personalize": pa.array(known >= 3),
        "should_request_more_details": pa.array(known < 2),
        "is_first_time_user": pa.array(attended == 0),
        "is_healthy_active_user": pa.array(attended >= 3),
        "is_on_team": columns["is_on_team"].fill_null(False),
        "personalization_score": pa.array(7 * sum(filled.values()) + 5 * np.minimum(attended, 6)),
    }
