"""What must be true of the warehouse.

What belongs here: the question behind each check, as a query that counts what breaks it. What does not: when it is
asked and whether it stops a run (`defs/`).
"""

from dataclasses import dataclass

from profile_pipeline.history import IS_LATEST
from profile_pipeline.policy import MAX_SCORE
from profile_pipeline.warehouse import Warehouse


@dataclass(frozen=True)
class Check:
    """A truth about one table.

    Attributes:
        name: the truth, as the UI shows it.
        asset: the table it is about.
        meaning: what it means and why it matters.
        broken: a query for what breaks it; one row for each case, the first column names it.
        blocking: whether what follows must not run when it fails.
    """

    name: str
    asset: str
    meaning: str
    broken: str
    blocking: bool = False


LATEST_USERS = f"""
    SELECT * FROM raw_users
    QUALIFY {IS_LATEST}
"""

CHECKS = [
    *(
        Check(
            name=f"raw_{kind}_versions_are_unique",
            asset=f"raw_{kind}",
            meaning="No entry of the log is there twice: each has its own sequence number.",
            broken=f"SELECT sequence FROM raw_{kind} GROUP BY sequence HAVING count(*) > 1",
            blocking=True,
        )
        for kind in ("users", "orders", "events", "messages")
    ),
    Check(
        name="raw_users_emails_are_unique",
        asset="raw_users",
        meaning="No two live users have one e-mail address, which would share out their events at random.",
        broken=f"""
            SELECT email FROM ({LATEST_USERS}) WHERE deleted_date IS NULL
            GROUP BY email HAVING count(*) > 1
        """,
    ),
    Check(
        name="raw_orders_belong_to_known_users",
        asset="raw_orders",
        meaning="Every order's user is in the log of users; the others' spending is in no profile.",
        broken="SELECT DISTINCT user_id FROM raw_orders WHERE user_id NOT IN (SELECT id FROM raw_users)",
    ),
    Check(
        name="touched_users_are_unique",
        asset="touched_users",
        meaning="A user is touched once a day, whatever the reasons; a second row would double every feature.",
        broken="SELECT user_id FROM touched_users GROUP BY partition_date, user_id HAVING count(*) > 1",
        blocking=True,
    ),
    Check(
        name="user_profiles_are_unique",
        asset="user_profiles",
        meaning="One profile for each user and day.",
        broken="SELECT id FROM user_profiles GROUP BY partition_date, id HAVING count(*) > 1",
        blocking=True,
    ),
    Check(
        name="user_profiles_cover_touched_users",
        asset="user_profiles",
        meaning="Each user touched on a day has a profile of that day, and nobody else has.",
        broken="""
            SELECT coalesce(user_id, id) FROM touched_users
            FULL JOIN user_profiles
              ON id = user_id AND user_profiles.partition_date = touched_users.partition_date
            WHERE id IS NULL OR user_id IS NULL
        """,
        blocking=True,
    ),
    Check(
        name="personalization_scores_are_within_0_to_100",
        asset="user_profiles",
        meaning="A score is a share of 100, as points are capped; anything else is a fault that reaches people.",
        broken=f"SELECT id FROM user_profiles WHERE personalization_score NOT BETWEEN 0 AND {MAX_SCORE}",
        blocking=True,
    ),
    Check(
        name="messaging_decisions_cover_everybody",
        asset="messaging_decisions",
        meaning="Everybody alive as of the last computed day has a decision, and the log of changes agrees.",
        broken="""
            WITH day AS (SELECT max(partition_date) AS day FROM computed_days
                         WHERE NOT list_contains(missing_tables, 'messaging_decisions')),
            logged AS (
                SELECT user_id, arg_max(coalesce(decision, ''), partition_date) AS decision
                FROM messaging_decisions WHERE partition_date <= (SELECT day FROM day) GROUP BY 1
            )
            SELECT derived.user_id FROM decisions_as_of((SELECT day FROM day)) AS derived
            LEFT JOIN logged USING (user_id) WHERE derived.decision IS DISTINCT FROM logged.decision
        """,
    ),
]


def broken_cases(warehouse: Warehouse, check: Check, shown: int) -> tuple[int, list[str]]:
    """How many cases break a check, and the names of the first few."""
    rows = warehouse.connection.execute(
        f"SELECT count(*) OVER (), broken.* FROM ({check.broken}) AS broken ORDER BY 2 LIMIT {shown}"
    ).fetchall()
    return (rows[0][0] if rows else 0), [str(row[1]) for row in rows]
