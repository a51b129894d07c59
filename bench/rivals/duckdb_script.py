"""The profiles of a day by one script of SQL, tuned by hand for DuckDB."""

from datetime import date
from pathlib import Path

import duckdb

from bench.rivals import CANCELLED, COOLDOWN_DAYS, FRIEND_EVENTS, KEY_FIELDS, NOT_COUNTED, PROFILE_FIELDS


def profiles(log: Path, day: date, out: Path) -> None:
    """Compute the profiles as of a day."""
    with duckdb.connect() as connection:
        # Nothing asks for the order of rows in files, and without it they are read in parallel.
        connection.execute("SET preserve_insertion_order = false")
        for statement in script(log, day, out).split(";"):
            connection.execute(statement).fetchall()


def latest(path: str, day: date, columns: str) -> str:
    """The last version of each record that was known by the day, unless it was deleted by then.

    Only numbers take part in the ranking; the columns are fetched for the winners.
    """
    return f"""
        SELECT {columns} FROM '{path}' SEMI JOIN (
            SELECT arg_max(sequence, (partition_date, changed_at IS NOT NULL, changed_at, sequence)) AS sequence
            FROM '{path}' WHERE partition_date <= DATE '{day}' GROUP BY id
        ) USING (sequence)
        WHERE deleted_date IS NULL OR deleted_date > DATE '{day}'
    """


def favorites(column: str) -> str:
    """The values of a column of the events attended: most often first, then most recently, then by name."""
    return f"""
        SELECT person, list({column} ORDER BY n DESC, last DESC, {column}) AS {column}s, max(n) AS top_{column}
        FROM (
            SELECT person, {column}, count(*) AS n, max(date) AS last
            FROM attendance JOIN held USING (event) WHERE {column} IS NOT NULL GROUP BY ALL
        )
        GROUP BY person
    """


def display_name(name: str, email: str) -> str:
    """The name, else the words of the address before its `@`, capitalised."""
    words = f"list_filter(regexp_split_to_array(split_part({email}, '@', 1), '[._-]+'), lambda word: word <> '')"
    made = f"array_to_string(list_transform({words}, lambda word: upper(word[1]) || lower(word[2:])), ' ')"
    return f"coalesce(nullif(trim({name}), ''), nullif({made}, ''), {email})"


def script(log: Path, day: date, out: Path) -> str:
    """All statements, in order."""
    missing = ", ".join(f"CASE WHEN {field} IS NULL THEN '{field}' END" for field in KEY_FIELDS)
    known = "(" + " + ".join(f"({field} IS NOT NULL)::BIGINT" for field in KEY_FIELDS) + ")"
    filled = " + ".join(f"({field} IS NOT NULL)::BIGINT" for field in PROFILE_FIELDS)
    return f"""
    CREATE TEMP TABLE live AS {latest(f"{log}/users.parquet", day, "*")};

    -- Whose an address is: of the user who has it now, else of whoever had it last.
    CREATE TEMP TABLE owners AS
    WITH versions AS (
        SELECT id, email, partition_date FROM '{log}/users.parquet'
        WHERE partition_date <= DATE '{day}' AND (deleted_date IS NULL OR deleted_date > partition_date)
        QUALIFY row_number() OVER (
            PARTITION BY id, partition_date
            ORDER BY changed_at IS NOT NULL DESC, changed_at DESC, sequence DESC
        ) = 1
    )
    SELECT address, id FROM (
        SELECT versions.email AS address, id, min(versions.partition_date) AS since,
            max(versions.partition_date) AS last_held, versions.email = live.email AS is_current
        FROM versions JOIN live USING (id) GROUP BY ALL
    )
    QUALIFY row_number() OVER (
        PARTITION BY address
        ORDER BY is_current DESC, CASE WHEN is_current THEN since END,
            CASE WHEN NOT is_current THEN last_held END DESC, id
    ) = 1;

    -- Numbered by date, so that the order of numbers is that of a history.
    CREATE TEMP TABLE held AS
    SELECT row_number() OVER (ORDER BY date, id)::INTEGER AS event, name, date, venue, host, event_type, participants
    FROM ({latest(f"{log}/events.parquet", day, "*")})
    WHERE date <= DATE '{day}' AND (status IS NULL OR status NOT IN {CANCELLED});

    CREATE TEMP TABLE invited AS
    SELECT event, address, id FROM (SELECT event, unnest(participants) AS address FROM held)
    LEFT JOIN owners USING (address);

    -- Numbered by address, so that the order of numbers settles ties of friends.
    CREATE TEMP TABLE persons AS
    SELECT row_number() OVER (ORDER BY email, id)::INTEGER AS person, *
    FROM (
        SELECT id, email, {display_name("name", "email")} AS name FROM live
        UNION ALL
        SELECT NULL, email, {display_name("NULL", "email")} FROM (
            SELECT DISTINCT address AS email FROM invited WHERE id IS NULL
        )
    );

    CREATE TEMP TABLE attendance AS
    SELECT DISTINCT event, person FROM invited JOIN persons USING (id)
    UNION ALL
    SELECT event, person FROM invited JOIN persons ON address = persons.email AND persons.id IS NULL
    WHERE invited.id IS NULL;

    -- Pairs are counted first and dated later: few of them meet twice.
    CREATE TEMP TABLE often AS
    SELECT one.person AS one, other.person AS other
    FROM attendance AS one JOIN attendance AS other ON one.event = other.event AND one.person < other.person
    GROUP BY ALL HAVING count(*) >= {FRIEND_EVENTS};

    CREATE TEMP TABLE friendships AS
    SELECT one, other, count(*) AS n, min(date, {FRIEND_EVENTS})[{FRIEND_EVENTS}] AS since
    FROM often JOIN attendance AS mine ON mine.person = one
    JOIN attendance AS theirs ON theirs.person = other AND theirs.event = mine.event
    JOIN held ON held.event = mine.event
    GROUP BY ALL;

    CREATE TEMP TABLE friends AS
    SELECT one AS person, list(
        {{'email': email, 'name': name, 'shared_events': n, 'since': since}} ORDER BY n DESC, since, other
    ) AS friend_details
    FROM (SELECT * FROM friendships UNION ALL SELECT other, one, n, since FROM friendships)
    JOIN persons ON other = person
    GROUP BY one;

    CREATE TEMP TABLE histories AS
    SELECT person, count(*) AS attended, min(date) AS first_event_date, max(date) AS last_event_date,
        list({{'name': name, 'date': date, 'venue': venue}} ORDER BY event) AS event_history
    FROM attendance JOIN held USING (event) GROUP BY person;

    CREATE TEMP TABLE bought AS
    SELECT user_id, count(*) AS total_orders, sum(amount) AS total_spent, min(date) AS first_order_date,
        max(date) AS last_order_date
    FROM ({latest(f"{log}/orders.parquet", day, "user_id, date, amount, status")})
    WHERE date <= DATE '{day}' AND (status IS NULL OR status NOT IN {NOT_COUNTED})
    GROUP BY user_id;

    CREATE TEMP TABLE written AS
    SELECT user_id, count(*) FILTER (status = 'queued') AS queued,
        count(*) FILTER (status = 'sent') AS sent, max(sent_date) FILTER (status = 'sent') AS last_sent
    FROM ({latest(f"{log}/messages.parquet", day, "user_id, sent_date, status")})
    WHERE status = 'queued' OR (status = 'sent' AND sent_date <= DATE '{day}')
    GROUP BY user_id;

    COPY (
        SELECT live.id, live.email, persons.name, {", ".join(PROFILE_FIELDS)}, time_zone,
            coalesce(attended, 0) AS number_of_events_attended, first_event_date, last_event_date,
            coalesce(event_history, []) AS event_history,
            coalesce(hosts, []) AS event_history_hosts, coalesce(top_host, 0) AS top_host_event_count,
            coalesce(venues, []) AS venue_history, coalesce(event_types[:3], []) AS favorite_event_types,
            coalesce(list_transform(friend_details, lambda friend: friend.name), []) AS friends,
            coalesce(friend_details, []) AS friend_details,
            coalesce(queued, 0) AS queued_message_count, coalesce(queued, 0) > 0 AS has_queued_messages,
            coalesce(sent, 0) AS total_messages_sent, coalesce(sent, 0) > 0 AS has_sent_messages,
            last_sent AS last_message_sent_date, last_sent + {COOLDOWN_DAYS} AS next_eligible_date,
            coalesce(total_orders, 0) AS total_orders,
            coalesce(total_spent, 0)::DECIMAL(18, 2) AS total_spent,
            -- In whole cents, half a cent rounded up.
            (((2 * (total_spent * 100)::BIGINT + total_orders) // (2 * total_orders))::DECIMAL(18, 0) * 0.01)
                ::DECIMAL(18, 2) AS average_order_value,
            first_order_date, last_order_date,
            list_filter([{missing}], lambda field: field IS NOT NULL) AS missing_key_fields,
            {known} >= 3 AS has_enough_fields_to_personalize, {known} < 2 AS should_request_more_details,
            coalesce(attended, 0) = 0 AS is_first_time_user, coalesce(attended, 0) >= 3 AS is_healthy_active_user,
            coalesce(is_on_team, false) AS is_on_team,
            7 * ({filled}) + 5 * least(coalesce(attended, 0), 6) AS personalization_score
        FROM live JOIN persons USING (id)
        LEFT JOIN histories USING (person)
        LEFT JOIN ({favorites("host")}) USING (person)
        LEFT JOIN ({favorites("venue")}) USING (person)
        LEFT JOIN ({favorites("event_type")}) USING (person)
        LEFT JOIN friends USING (person)
        LEFT JOIN bought ON bought.user_id = live.id
        LEFT JOIN written ON written.user_id = live.id
    ) TO '{out}'
    """
