"""The command line: the pipeline's functions for a terminal.

What belongs here: commands, their options and help, and how an error becomes a line and an exit code. What does
not: anything that computes. Data goes to stdout (`output.py`), everything else to stderr.

Help must come at once, so whatever loads DuckDB, Ibis, LanceDB or a model is imported inside the command that
needs it.
"""
# ruff: noqa: PLC0415

import errno
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import typer

from profile_pipeline.errors import PipelineError
from profile_pipeline.garbage import collect_rarely
from profile_pipeline.tables import Decision
from profile_pipeline.window import parse_day

DEBUG = "--debug"

INTERRUPTED = 128 + signal.SIGINT
"""What a shell reports for a process that an interrupt ended."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
quarantined = typer.Typer(rich_markup_mode=None)
app.add_typer(quarantined, name="quarantine")
indexed = typer.Typer(rich_markup_mode=None)
app.add_typer(indexed, name="index")

Format = Literal["table", "json", "csv", "parquet"]


def _day(text: str) -> date:
    try:
        return parse_day(text, "value")
    except PipelineError as error:
        raise typer.BadParameter(str(error)) from None


def _printable(format: Format) -> Format:
    if format == "parquet" and sys.stdout.isatty():
        raise typer.BadParameter("parquet is not for a terminal; redirect it, such as > profiles.parquet")
    return format


FormatOption = Annotated[
    Format,
    typer.Option("--format", callback=_printable, help="How to print: a table to read, or all fields as data."),
]
AsOf = Annotated[
    date | None,
    typer.Option(parser=_day, metavar="DAY", help="Read as of the end of this day. [default: the last computed day]"),
]
KindOption = Annotated[
    Literal["users", "orders", "events", "messages"] | None, typer.Option("--kind", help="Only records of this kind.")
]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="At most so many. [default: all]")]
Where = Annotated[str | None, typer.Option(metavar="SQL", help="Only profiles for which this condition holds.")]
CanSend = Annotated[bool, typer.Option("--can-send", help="Only people whom a new message may be sent to.")]
Neighborhoods = Annotated[
    list[str] | None,
    typer.Option("--neighborhood", metavar="NAME", help="Only people who live or work there; can be repeated."),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Only with this tag; can be repeated.")]
MinScore = Annotated[
    int | None, typer.Option(min=0, max=100, metavar="N", help="Only with at least this personalization score.")
]
AttendedSince = Annotated[
    date | None,
    typer.Option(parser=_day, metavar="DAY", help="Only people whose last event was on this day or later."),
]
IndexAsOf = Annotated[
    date | None,
    typer.Option(
        "--as-of",
        parser=_day,
        metavar="DAY",
        help="Decide and count days as of the end of this day. [default: the day that the index tells of]",
    ),
]
Parts = Annotated[
    bool,
    typer.Option("--parts/--no-parts", help="Tell which sentences match; for hundreds of hits, that takes a while."),
]
MostProfiles = Annotated[int, typer.Option(min=1, metavar="N", help="At most so many profiles.")]


@app.callback(invoke_without_command=True)
def profile_pipeline(
    context: typer.Context,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show where an error comes from.")] = False,
) -> None:
    """Build user profiles from raw records, and ask them questions.

    \b
    Examples:
      profile-pipeline demo
      profile-pipeline build --from 2024-01-01 --to 2024-06-30
      profile-pipeline profiles --as-of 2024-02-10 --user user_001
      profile-pipeline decisions --format csv > decisions.csv
      profile-pipeline match "vegetarians who love wine tastings" --where "age < 40"
      profile-pipeline similar user_001
      profile-pipeline index history
      profile-pipeline check
      profile-pipeline verify
      profile-pipeline evaluate scifact
      profile-pipeline quarantine --kind orders
      profile-pipeline quarantine replay
      profile-pipeline forget user_001
      profile-pipeline sample --users 1000 --out my-sample

    Records are read from PROFILE_PIPELINE_SOURCE_DIR (default data/sample), and everything built from them is
    kept in PROFILE_PIPELINE_HOME (default data). Both can be set in the file .env, as in .env.example.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def build(
    start: Annotated[
        date | None,
        typer.Option(
            "--from", parser=_day, metavar="DAY", help="The first day. [default: PROFILE_PIPELINE_START_DATE]"
        ),
    ] = None,
    end: Annotated[
        date | None,
        typer.Option("--to", parser=_day, metavar="DAY", help="The last day. [default: the last one that is over]"),
    ] = None,
    skip_index: Annotated[bool, typer.Option("--skip-index", help="Leave the searchable index as it is.")] = False,
    format: FormatOption = "table",
) -> None:
    """Bring a range of days up to date.

    The records of the range are read, and everything that follows from them is computed. Running it again
    writes only what changed. Progress is told on stderr; what each step did is printed at the end.

    \b
    Example:
      profile-pipeline build --from 2024-01-01 --to 2024-06-30
    """
    from profile_pipeline.cli import building
    from profile_pipeline.settings import load_settings

    settings = load_settings()
    building.build(settings, building.window_to_build(settings, start, end), format, skip_index=skip_index)


@app.command()
def profiles(
    as_of: AsOf = None,
    user: Annotated[str | None, typer.Option(metavar="ID", help="Only this user, in detail.")] = None,
    format: FormatOption = "table",
) -> None:
    """Print profiles as of a day.

    The table shows a few fields; the other formats have all of them.

    \b
    Examples:
      profile-pipeline profiles --as-of 2024-02-10 --user user_001
      profile-pipeline profiles --as-of 2024-02-10 --format json > profiles.json
    """
    from profile_pipeline.cli import reading
    from profile_pipeline.settings import load_settings

    reading.show_profiles(load_settings(), as_of, user, format)


@app.command()
def decisions(
    as_of: AsOf = None,
    decision: Annotated[
        Decision | None,
        typer.Option(help="Only users with this decision."),
    ] = None,
    format: FormatOption = "table",
) -> None:
    """Print whom to write to as of a day, and why.

    Everybody is listed, with the decision to write, to ask for details or to wait, and its reasons.

    \b
    Example:
      profile-pipeline decisions --as-of 2024-02-10 --decision send_personalized_message
    """
    from profile_pipeline.cli import reading
    from profile_pipeline.settings import load_settings

    reading.show_decisions(load_settings(), as_of, decision, format)


@app.command()
def match(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for, in words.")],
    *,
    where: Where = None,
    mode: Annotated[
        Literal["vector", "text", "hybrid"], typer.Option(help="By meaning, by words, or by both rankings fused.")
    ] = "hybrid",
    can_send: CanSend = False,
    neighborhood: Neighborhoods = None,
    tag: Tags = None,
    min_score: MinScore = None,
    attended_since: AttendedSince = None,
    as_of: IndexAsOf = None,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Let what PROFILE_PIPELINE_RERANKER names order the best 50.")
    ] = False,
    parts: Parts = True,
    limit: MostProfiles = 10,
    format: FormatOption = "table",
) -> None:
    """Find profiles by meaning, by words or by both, best first.

    The score is the cosine similarity by meaning, BM25 by words, and for both the sum of 1 / (60 + rank) over the
    two rankings as a share of the most it can be: 1 is first in both. A condition may use any column that
    --format json prints but score, average_events_per_month, decision_reasons and parts; write a day as
    DATE '2024-01-31' and a list as array_has(tags, 'vegan').

    \b
    Examples:
      profile-pipeline match "vegetarians who love wine tastings" --where "age < 40" --limit 3
      profile-pipeline match "jazz" --mode text --tag vegan --can-send --as-of 2024-07-15
      profile-pipeline match "wine" --where "days_since_last_event > 30 AND decision <> 'wait'"
    """
    from profile_pipeline.cli import reading
    from profile_pipeline.index.filters import Filters
    from profile_pipeline.index.search import Mode
    from profile_pipeline.settings import load_settings

    filters = Filters(where, can_send, tuple(neighborhood or ()), tuple(tag or ()), min_score, attended_since)
    asked = reading.Asked(filters, as_of, limit, with_parts=parts)
    reading.show_match(load_settings(), text, asked, format, mode=Mode(mode), rerank=rerank)


@app.command()
def similar(
    user: Annotated[str, typer.Argument(metavar="USER", help="The id of the user whom the others should be like.")],
    *,
    where: Where = None,
    can_send: CanSend = False,
    neighborhood: Neighborhoods = None,
    tag: Tags = None,
    min_score: MinScore = None,
    attended_since: AttendedSince = None,
    as_of: IndexAsOf = None,
    parts: Parts = True,
    limit: MostProfiles = 10,
    format: FormatOption = "table",
) -> None:
    """Find the profiles most like that of a user, best first.

    The score is the cosine similarity of their stored vectors. The user is left out, and the conditions, which are
    those of the command match, need not hold for the user.

    \b
    Examples:
      profile-pipeline similar user_001 --limit 3
      profile-pipeline similar user_001 --can-send --as-of 2024-07-15
    """
    from profile_pipeline.cli import reading
    from profile_pipeline.index.filters import Filters
    from profile_pipeline.settings import load_settings

    filters = Filters(where, can_send, tuple(neighborhood or ()), tuple(tag or ()), min_score, attended_since)
    asked = reading.Asked(filters, as_of, limit, with_parts=parts)
    reading.show_similar(load_settings(), user, asked, format)


@quarantined.callback(invoke_without_command=True)
def quarantine(
    context: typer.Context,
    kind: KindOption = None,
    resolved: Annotated[bool, typer.Option("--all", help="Those that a replay resolved, too.")] = False,
    limit: Limit = None,
    format: FormatOption = "table",
) -> None:
    """Print rejected records, and why.

    Each is shown with where it was read and the document itself, so that it can be mended at its source. Where the
    rules changed instead, the command replay looks at them again; attempts says how often it did.

    \b
    Examples:
      profile-pipeline quarantine --kind orders --limit 5
      profile-pipeline quarantine replay
    """
    if context.invoked_subcommand is not None:
        if kind or resolved or limit or format != "table":
            raise typer.BadParameter(
                f"write options behind the command, as in `{context.info_name} replay --kind users`"
            )
        return
    from profile_pipeline.cli import reading
    from profile_pipeline.settings import load_settings

    reading.show_quarantine(load_settings(), kind, limit, format, resolved=resolved)


@quarantined.command("replay")
def quarantine_replay(
    day: Annotated[
        date | None,
        typer.Option(parser=_day, metavar="DAY", help="The day on which they enter the log. [default: today]"),
    ] = None,
    kind: KindOption = None,
    format: FormatOption = "table",
) -> None:
    """Look at rejected records again, under the rules of today.

    Those that are valid by now enter the log on the day of the replay, and profiles from that day on. The others
    keep waiting, with the number of attempts. A record of which the log has a later version is superseded. Doing it
    again adds nothing.

    \b
    Example:
      profile-pipeline quarantine replay --kind users
    """
    from profile_pipeline.cli import replaying
    from profile_pipeline.settings import load_settings

    replaying.replay_quarantine(load_settings(), day, kind, format)


@indexed.callback(invoke_without_command=True)
def index(context: typer.Context) -> None:
    """Look after the versions of the index.

    \b
    Examples:
      profile-pipeline index history
      profile-pipeline index rollback
      profile-pipeline index verify
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@indexed.command("history")
def index_history(format: FormatOption = "table") -> None:
    """Print the versions that are or were served and can be served again, newest first.

    With each: when it was built and from which day's profiles, how many texts were embedded for it, what the golden
    queries found, and in the formats for programs the revision and the hash of the model's weights.

    \b
    Example:
      profile-pipeline index history
    """
    from profile_pipeline.cli import indexing
    from profile_pipeline.settings import load_settings

    indexing.show_history(load_settings(), format)


@indexed.command("rollback")
def index_rollback(
    to: Annotated[
        int | None, typer.Option("--to", metavar="VERSION", help="Which one. [default: the one served before]")
    ] = None,
    format: FormatOption = "table",
) -> None:
    """Serve an earlier version again, at once.

    The version served now is kept. The next build begins with the one served, and brings it up to date.

    \b
    Examples:
      profile-pipeline index rollback
      profile-pipeline index rollback --to 12
    """
    from profile_pipeline.cli import indexing
    from profile_pipeline.settings import load_settings

    indexing.roll_back_index(load_settings(), to, format)


@indexed.command("verify")
def index_verify(format: FormatOption = "table") -> None:
    """Compare the served version with the profiles, and ask it the golden queries.

    Profiles that are missing, users who do not belong in it and rows that are out of date are named, and each vector
    is looked at. What the golden queries found is printed. The exit code is 1 if anything is wrong.

    \b
    Example:
      profile-pipeline index verify
    """
    from profile_pipeline.cli import indexing
    from profile_pipeline.settings import load_settings

    indexing.show_state(load_settings(), format)


@app.command()
def check(format: FormatOption = "table") -> None:
    """Ask each configured source what can be read.

    For each kind of record: where it comes from, whether that can be reached and if not why, how many records there
    are, the newest change, and which fields the settings map to something. Nothing is written, and no secret is
    printed. The exit code is 1 if a source cannot be read.

    \b
    Example:
      profile-pipeline check
    """
    from profile_pipeline.cli import checking
    from profile_pipeline.settings import load_settings

    checking.check(load_settings(), format)


@app.command()
def verify(
    day: Annotated[
        date | None,
        typer.Option(parser=_day, metavar="DAY", help="Only this day's rows, and profiles as of it. [default: all]"),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Look at so many users, chosen at random. [default: 1000]")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Look at all users; costs as much as building the days.")
    ] = False,
    format: FormatOption = "table",
) -> None:
    """Compare what is stored with what the logs say.

    Every table is computed anew from nothing but the logs, and compared with the stored one in all columns; and the
    profiles as of the last day with everybody's latest stored ones. Some of what differs is printed with both
    values, and the exit code is 1. Days that owe a recompute anyway are left out. Nothing is written.

    After a change of the policy, or a new release, what differs is what was not built again since.

    \b
    Examples:
      profile-pipeline verify
      profile-pipeline verify --day 2024-02-10 --whole
    """
    from profile_pipeline.cli import verifying
    from profile_pipeline.settings import load_settings

    if whole and sample is not None:
        raise typer.BadParameter("--sample and --whole exclude each other; write one of them")
    verifying.show_verification(load_settings(), day, sample, format, whole=whole)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with a test collection.")],
    index: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep its index here, so that nothing is embedded twice. [default: none is kept]"
        ),
    ] = None,
    format: FormatOption = "table",
) -> None:
    """Measure how well searches find what people judged to be right.

    The collection is in the layout of BEIR: corpus.jsonl with _id, title and text, queries.jsonl with _id and text,
    and qrels.tsv, or qrels/test.tsv, with the header query-id, corpus-id, score. It is indexed and searched as profiles
    are, by meaning, by words and by both. The measures are those of trec_eval. The index of profiles is left alone.

    \b
    Example:
      profile-pipeline evaluate scifact
    """
    from profile_pipeline.cli import evaluating
    from profile_pipeline.settings import load_settings

    evaluating.show_evaluation(load_settings(), folder, index, format)


@app.command()
def forget(
    user: Annotated[str, typer.Argument(metavar="USER", help="Who: an id, or an e-mail address.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether it is meant.")] = False,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Keep somebody out of whom nothing is known here yet.")
    ] = False,
    format: FormatOption = "table",
) -> None:
    """Erase a person from everything below PROFILE_PIPELINE_HOME, for good, and keep them out from now on.

    Their records go from the logs, the quarantine and whatever follows from these, from exports, the index with all
    its versions, and Dagster's history; records of others no longer name them. What is read again, or comes anew, is
    kept out by keyed hashes of their id, addresses and full names. The sources are not changed. All files are looked
    through at the end, and a receipt is written that names nobody; the exit code is 1 if something is left.

    Should it be broken off, the next build finishes it, or the same command.

    \b
    Examples:
      profile-pipeline forget user_001
      profile-pipeline forget sarah.chen@email.com --yes
    """
    from profile_pipeline.cli import forgetting
    from profile_pipeline.settings import load_settings

    forgetting.forget_user(load_settings(), user, format, is_confirmed=yes, is_unseen=unseen)


@app.command()
def sample(
    users: Annotated[int, typer.Option(min=1, metavar="N", help="How many users; other records in proportion.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write, made if it is not there.")],
    seed: Annotated[
        int | None, typer.Option(metavar="S", help="Another seed, other people. [default: the committed sample's]")
    ] = None,
    format: Annotated[
        Literal["jsonl", "parquet"] | None,
        typer.Option("--format", help="The files' format. [default: jsonl up to 5000 users, else parquet]"),
    ] = None,
) -> None:
    """Make up records to try the pipeline on.

    The same arguments give the same files.

    \b
    Example:
      profile-pipeline sample --users 1000 --out my-sample
    """
    from profile_pipeline.cli import demonstration

    demonstration.write_sample(out, users, seed, format)


@app.command()
def demo() -> None:
    """Build the committed sample and show it.

    The sample tells of January to June 2024. It is built into PROFILE_PIPELINE_HOME, unless the settings name
    a source of your own: then into the folder demo in there, so that made-up people never get among yours. A
    second run has nothing left to do.

    \b
    Example:
      profile-pipeline demo
    """
    from profile_pipeline.cli import demonstration
    from profile_pipeline.settings import load_settings

    demonstration.demo(load_settings())


def main(arguments: list[str] | None = None) -> int:
    """Run a command line, by default this process's, and return the exit code.

    0: done. 1: an error, told in one line on stderr. 2: the command line is not understood. 130: interrupted.
    `--debug` may stand anywhere; then an error is raised with its traceback.
    """
    collect_rarely()
    given = sys.argv[1:] if arguments is None else arguments
    debug = DEBUG in given
    hoisted = [DEBUG] * debug + [argument for argument in given if argument != DEBUG]
    with _noting_interrupts() as interrupts:
        try:
            code: int = app(hoisted, prog_name="profile-pipeline", standalone_mode=False) or 0
        except typer.TyperException as error:
            code = _fail(_usage(error), error.exit_code)
        except SystemExit as stop:
            # How Click answers a reader that went away, such as `head`: it has what it wanted.
            if not isinstance(stop.__context__, BrokenPipeError):
                raise
            code = 0
        except Exception as error:
            if debug:
                raise
            code = 1 if interrupts else _fail(_message(error), 1)
    if interrupts:
        print("interrupted; the steps that were done are kept", file=sys.stderr)
        return INTERRUPTED
    return code


@contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """The interrupts that came; inside a query or a stream of records an engine makes other errors of them."""
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _usage(error: typer.TyperException) -> str:
    """What is wrong with the command line, and where its help is."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "profile-pipeline"
    # Typer checks choices through Pydantic and keeps its prefix.
    message = error.format_message().replace("Value error, ", "").rstrip(".")
    return f"{message}; see `{command} --help`"


def _message(error: Exception) -> str:
    """An error in words; one that nobody foresaw comes with its type and the way to its traceback."""
    if isinstance(error, PipelineError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "there is no space left where the output or a temporary file is written; make room"
    return f"{type(error).__name__}: {error}; run it again with {DEBUG} to see where it comes from"


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
