"""The profiles of a day in Polars: lazy frames, run by its streaming engine."""

from datetime import date
from pathlib import Path

import polars as pl

from bench.rivals import CANCELLED, COLUMNS, COOLDOWN_DAYS, FRIEND_EVENTS, KEY_FIELDS, NOT_COUNTED, PROFILE_FIELDS

FAVORITES = {"host": "event_history_hosts", "venue": "venue_history", "event_type": "favorite_event_types"}


def profiles(log: Path, day: date, out: Path) -> None:
    """Compute the profiles as of a day."""
    # What is read more than once is kept; all else stays one lazy plan.
    live = kept(latest(log, "users", day))
    owners = kept(addresses(log, live, day))
    events = latest(log, "events", day).filter(pl.col.date <= day, ~pl.col.status.is_in(CANCELLED).fill_null(False))
    lists = kept(events.sort("date", "id").with_row_index("event"))
    invited = kept(
        lists.select("event", address="participants").explode("address").join(owners, on="address", how="left")
    )
    held = lists.select("event", "name", "date", "venue", "host", "event_type")
    people = kept(persons(live, invited))
    attendance = kept(attended(invited, people))
    visits = kept(attendance.join(held, on="event").sort("person", "event"))
    parts = [history(visits), *(favorites(visits, column) for column in FAVORITES), circles(attendance, held, people)]
    profile = live.drop("name").join(people.select("id", "person", "name"), on="id")
    for part in parts:
        profile = profile.join(part, on="person", how="left")
    for part in (orders(log, day), messages(log, day)):
        profile = profile.join(part, left_on="id", right_on="user_id", how="left")
    finished(profile).sink_parquet(out, engine="streaming")


def kept(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The frame, computed."""
    return frame.collect(engine="streaming").lazy()


def latest(log: Path, kind: str, day: date) -> pl.LazyFrame:
    """The last version of each record that was known by the day, unless it was deleted by then.

    Only narrow columns are sorted; the others are fetched for the winners.
    """
    records = pl.scan_parquet(log / f"{kind}.parquet")
    known = records.filter(pl.col.partition_date <= day).select("id", "partition_date", "changed_at", "sequence")
    last = known.sort("partition_date", "changed_at", "sequence").unique("id", keep="last", maintain_order=True)
    there = records.filter(pl.col.deleted_date.is_null() | (pl.col.deleted_date > day))
    return there.join(last.select("sequence"), on="sequence", how="semi")


def addresses(log: Path, live: pl.LazyFrame, day: date) -> pl.LazyFrame:
    """Whose an address is: of the user who has it now, else of whoever had it last."""
    versions = (
        pl.scan_parquet(log / "users.parquet")
        .filter(pl.col.partition_date <= day)
        .sort("changed_at", "sequence")
        .unique(["id", "partition_date"], keep="last", maintain_order=True)
        .filter(pl.col.deleted_date.is_null() | (pl.col.deleted_date > pl.col.partition_date))
    )
    claims = versions.group_by("id", address="email").agg(
        since=pl.col.partition_date.min(), last_held=pl.col.partition_date.max()
    )
    is_current = pl.col.address == pl.col.email
    return (
        claims.join(live.select("id", "email"), on="id")
        .with_columns(
            is_other=~is_current,
            since=pl.when(is_current).then("since"),
            last_held=pl.when(~is_current).then("last_held"),
        )
        .sort("is_other", "since", "last_held", "id", descending=[False, False, True, False])
        .unique("address", keep="first", maintain_order=True)
        .select("address", "id")
    )


def persons(live: pl.LazyFrame, invited: pl.LazyFrame) -> pl.LazyFrame:
    """Users and the addresses that are nobody's, numbered by address, so that their order settles ties."""
    guests = invited.filter(pl.col.id.is_null()).select(pl.col.id, email="address", name=pl.lit(None, pl.String))
    everyone = pl.concat([live.select("id", "email", "name"), guests.unique("email")])
    words = pl.col.email.str.split("@").list.first().str.replace_all("[._-]+", ".").str.split(".")
    word = pl.element()
    made = words.list.eval(
        (word.str.slice(0, 1).str.to_uppercase() + word.str.slice(1).str.to_lowercase()).filter(word != "")
    ).list.join(" ")
    own = pl.col.name.str.strip_chars()
    name = pl.when(own != "").then(own).when(made != "").then(made).otherwise("email")
    return everyone.with_columns(name=name).sort("email").with_row_index("person")


def attended(invited: pl.LazyFrame, people: pl.LazyFrame) -> pl.LazyFrame:
    """Who was at which event, once each."""
    users = invited.join(people.select("id", "person"), on="id").select("event", "person")
    guests = invited.filter(pl.col.id.is_null()).join(
        people.filter(pl.col.id.is_null()).select("person", address="email"), on="address"
    )
    return pl.concat([users.unique(), guests.select("event", "person")])


def history(visits: pl.LazyFrame) -> pl.LazyFrame:
    """Counts, dates and the list of events attended."""
    return visits.group_by("person", maintain_order=True).agg(
        number_of_events_attended=pl.len(),
        first_event_date=pl.col.date.first(),
        last_event_date=pl.col.date.last(),
        event_history=pl.struct("name", "date", "venue"),
    )


def favorites(visits: pl.LazyFrame, column: str) -> pl.LazyFrame:
    """The values of a column of the events attended: most often first, then most recently, then by name."""
    return (
        visits.filter(pl.col(column).is_not_null())
        .group_by("person", column)
        .agg(times=pl.len(), last=pl.col.date.max())
        .sort("person", "times", "last", column, descending=[False, True, True, False])
        .group_by("person", maintain_order=True)
        .agg(pl.col(column).alias(FAVORITES[column]), pl.col.times.first().alias(f"top_{column}_event_count"))
    )


def circles(attendance: pl.LazyFrame, held: pl.LazyFrame, people: pl.LazyFrame) -> pl.LazyFrame:
    """The friends of each person, in order.

    A meeting of two is one integer, made of both and of the event, whose order is that of dates: sorting such integers
    is faster than grouping pairs, and brings the event that makes a friendship to its place in the run of a pair.
    """
    counts = pl.collect_all([people.select(pl.len()), held.select(pl.len())])
    most_people, most_events = (pl.lit(count.item() + 1, pl.Int64) for count in counts)
    mine = attendance.select("event", one=pl.col.person.cast(pl.Int64))
    theirs = attendance.select("event", other=pl.col.person.cast(pl.Int64))
    meeting = (pl.col.one * most_people + pl.col.other) * most_events + pl.col.event
    pair = pl.col.meeting // most_events
    friendships = (
        mine.join(theirs, on="event")
        .filter(pl.col.one < pl.col.other)
        .select(meeting=meeting)
        .sort("meeting")
        .with_columns(pair=pair)
        .filter((pl.col.pair == pl.col.pair.shift(1)) | (pl.col.pair == pl.col.pair.shift(-1)))
        .group_by("pair", maintain_order=True)
        .agg(shared_events=pl.len(), event=pl.col.meeting.get(FRIEND_EVENTS - 1) % most_events)
        .join(held.select(pl.col.event.cast(pl.Int64), since="date"), on="event")
        .select("shared_events", "since", person=pl.col.pair // most_people, other=pl.col.pair % most_people)
    )
    pairs = kept(friendships)
    both = pl.concat([pairs, pairs.select("shared_events", "since", person="other", other="person")])
    named = both.join(people.select("email", "name", other=pl.col.person.cast(pl.Int64)), on="other")
    ordered = named.sort("person", "shared_events", "since", "other", descending=[False, True, False, False])
    return ordered.group_by(pl.col.person.cast(pl.UInt32), maintain_order=True).agg(
        friends="name", friend_details=pl.struct("email", "name", "shared_events", "since")
    )


def orders(log: Path, day: date) -> pl.LazyFrame:
    """Counts, sums and dates of the orders that count."""
    counted = latest(log, "orders", day).filter(pl.col.date <= day, ~pl.col.status.is_in(NOT_COUNTED).fill_null(False))
    cents = pl.col.amount.to_physical().cast(pl.Int64).sum()
    # In whole cents, half a cent rounded up.
    mean = (2 * cents + pl.len()) // (2 * pl.len())
    return counted.group_by("user_id").agg(
        total_orders=pl.len(),
        total_spent=cents,
        average_order_value=mean,
        first_order_date=pl.col.date.min(),
        last_order_date=pl.col.date.max(),
    )


def messages(log: Path, day: date) -> pl.LazyFrame:
    """Counts of queued and sent messages, and the day of the last."""
    is_sent = (pl.col.status == "sent") & (pl.col.sent_date <= day)
    return (
        latest(log, "messages", day)
        .group_by("user_id")
        .agg(
            queued_message_count=(pl.col.status == "queued").sum(),
            total_messages_sent=is_sent.sum(),
            last_message_sent_date=pl.col.sent_date.filter(is_sent).max(),
        )
    )


def finished(profile: pl.LazyFrame) -> pl.LazyFrame:
    """All columns, with what follows from others and with what stands for nothing."""
    counts = [
        "number_of_events_attended",
        "top_host_event_count",
        "queued_message_count",
        "total_messages_sent",
        "total_orders",
    ]
    lists = ["event_history", *FAVORITES.values(), "friends", "friend_details"]
    missing = pl.concat_list(pl.when(pl.col(field).is_null()).then(pl.lit(field)) for field in KEY_FIELDS)
    known = pl.sum_horizontal(pl.col(KEY_FIELDS).is_not_null())
    filled = pl.sum_horizontal(pl.col(PROFILE_FIELDS).is_not_null())
    attended = pl.col.number_of_events_attended
    money = [pl.col(name).cast(pl.Decimal(18, 2)) / 100 for name in ("total_spent", "average_order_value")]
    return (
        profile.with_columns(pl.col([*counts, "total_spent"]).fill_null(0).cast(pl.Int64), pl.col(lists).fill_null([]))
        .with_columns(
            *money,
            favorite_event_types=pl.col.favorite_event_types.list.head(3),
            has_queued_messages=pl.col.queued_message_count > 0,
            has_sent_messages=pl.col.total_messages_sent > 0,
            next_eligible_date=pl.col.last_message_sent_date.dt.offset_by(f"{COOLDOWN_DAYS}d"),
            missing_key_fields=missing.list.drop_nulls(),
            has_enough_fields_to_personalize=known >= 3,
            should_request_more_details=known < 2,
            is_first_time_user=attended == 0,
            is_healthy_active_user=attended >= 3,
            is_on_team=pl.col.is_on_team.fill_null(False),
            personalization_score=7 * filled + 5 * pl.min_horizontal(attended, 6),
        )
        .select(COLUMNS)
    )
