"""The `stoppress` command. Each subcommand says in its help what it does and what it needs."""

import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from service import audit_cli, here, users_cli
from service.errors import SettingsError, StoppressError, UnavailableError
from service.store.accounts import ROLES, Accounts, Role

if TYPE_CHECKING:
    from service.api_client import Api


class OneLine(click.Group):
    """Prints an error of ours as one line, and no traceback, with exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except StoppressError as error:
            where = f" ({error.path})" if error.path else ""
            raise click.ClickException(f"{error.detail}{where}") from None


@click.group(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="stoppress", message="%(prog)s %(version)s")
def main() -> None:
    """Stoppress pushes breaking news: publish, correct and kill one-line news on every open screen.

    `stoppress up` runs the whole service on this machine. Settings come from STOPPRESS_… variables of the environment;
    the README lists them.
    """


@main.command()
def up() -> None:
    """Run the whole service here, with a Redis of its own.

    Starts every process of the Procfile, and a redis-server with its data in ./data unless STOPPRESS_REDIS_URL names
    one. Ctrl-C stops everything; the next start has every item still.
    """
    from service.up import up as run

    sys.exit(run(here.settings(), env=os.environ))


@main.command()
@click.option("--gap", "gap_seconds", default=2.0, show_default=True, help="Seconds between two lines, on average.")
@click.option(
    "--wires",
    default="../shared/data/ninjs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="A folder of ninjs documents to ingest first, if it is there.",
)
@click.option("--once", is_flag=True, help="End after the last line, instead of at Ctrl-C.")
def demo(gap_seconds: float, wires: Path, once: bool) -> None:
    """Run the service with a newsroom at work on it.

    Ingests wire documents, publishes sample lines in English, Arabic and Spanish at a newsroom's pace, corrects one and
    kills one, while two readers print what they receive. Keeps nothing.
    """
    from service.demo import demo as run

    sys.exit(run(here.settings(), os.environ, gap_seconds=gap_seconds, wires=wires, once=once))


@main.command()
def web() -> None:
    """Serve the API, the pages and the readers' sockets.

    One process for each core, or STOPPRESS_WEB_PROCESSES of them, on STOPPRESS_HOST and STOPPRESS_PORT. Needs
    STOPPRESS_REDIS_URL.
    """
    from service import durability, logs
    from service.store.connect import at, blocking
    from service.store.keys import API_KEYS
    from service.web.server import serve

    settings = here.settings()
    logs.configure(settings)
    here.wait_for_redis(settings)
    with blocking(settings.require_redis_url()) as redis:
        durability.warn(at(redis, API_KEYS))
    serve(settings)


@main.command()
@click.argument("queue")
def worker(queue: str) -> None:
    """Take jobs from QUEUE (breaking).

    Run several for safety; two workers never do one change twice. Needs STOPPRESS_REDIS_URL.
    """
    _become_worker(queue)


@main.command()
def clock() -> None:
    """Keep time: embargoes, expiry, the beat and the sweep.

    Run two: one leads, the other stands by and takes over within 3 s. Needs STOPPRESS_REDIS_URL.
    """
    _become_worker("clock")


URGENCIES = {"flash": 1, "bulletin": 2, "urgent": 3, "routine": 4}


def api_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --url and --key to a command that calls the API."""
    command = click.option(
        "--key", envvar="STOPPRESS_KEY", help="API key. [default: $STOPPRESS_KEY, $STOPPRESS_ADMIN_KEY, data/admin.key]"
    )(command)
    return click.option(
        "--url", envvar="STOPPRESS_URL", help="Where the service is. [default: $STOPPRESS_URL, this machine]"
    )(command)


@main.command()
@click.argument("headline")
@click.option("-e", "--edition", default="en", show_default=True, help="Which ticker it is for.")
@click.option(
    "-u", "--urgency", default="urgent", show_default=True, type=click.Choice([*URGENCIES]), help="How urgent it is."
)
@click.option("-s", "--speaker", help='Who says it: the "Foreign Ministry:" in front of the line.')
@click.option("--outlet", help="Whom they said it to.")
@click.option("--link", help="The story's address.")
@click.option("--section", help="A section of the edition.")
@click.option("--region", "regions", multiple=True, help="A region of the edition; may be given several times.")
@click.option("--expires", help="When it leaves the ticker (RFC 3339). [default: by urgency]")
@click.option("--at", help="When it goes on the air by itself (RFC 3339).")
@click.option("--embargo", help="Not public before this time (RFC 3339), which somebody else has set.")
@click.option("--translation-of", metavar="ID", help="The same line in another edition.")
@click.option("--pin", is_flag=True, help="Keep it on top.")
@click.option("--draft", is_flag=True, help="Keep it as a draft, off the air.")
@click.option("--id", "item_id", help="An id of your own, for scripts that may run twice.")
@api_options
def publish(headline: str, url: str | None, key: str | None, **options: Any) -> None:
    """Publish HEADLINE, one line of plain text.

    Prints the item's id, and its place in the log once it is on the air.

    \b
    stoppress publish "Ceasefire takes effect at midnight" --urgency flash --speaker "Foreign Ministry"
    stoppress publish "Budget passes" --section politics --region europe --embargo 2026-11-25T06:00:00+01:00
    """
    from service.domain.item import new_id

    body = {
        # An id made here: should the answer be lost, sending it again is the same line.
        "id": options["item_id"] or new_id(),
        "edition": options["edition"],
        "headline": headline,
        "urgency": URGENCIES[options["urgency"]],
        "state": "draft" if options["draft"] else "live",
        "regions": list(options["regions"]),
        "pinned": options["pin"],
        "embargoedUntil": options["embargo"],
        "publishAt": options["at"],
        "translationOf": options["translation_of"],
    }
    body |= {name: options[name] for name in ("speaker", "outlet", "link", "section", "expires") if options[name]}
    api = _api(url, key)
    try:
        _say(api.send("POST", "/v1/items", body))
    except UnavailableError as error:
        raise StoppressError(f"{error.detail}. To send the same line again: --id {body['id']}") from None


@main.command()
@click.argument("item_id", metavar="ID")
@click.argument("headline")
@click.option("--note", required=True, help="What was wrong, for the public.")
@api_options
def correct(item_id: str, headline: str, note: str, url: str | None, key: str | None) -> None:
    """Put the line ID right: HEADLINE is the new text, and the note says to everyone what was wrong."""
    api = _api(url, key)
    version = api.send("GET", f"/v1/items/{item_id}")["version"]
    body = {"change": "correct", "headline": headline, "note": note}
    _say(api.send("PATCH", f"/v1/items/{item_id}", body, version=version))


@main.command()
@click.argument("item_id", metavar="ID")
@click.option("--reason", help="Why, for the newsroom only.")
@click.option("--everywhere", is_flag=True, help="Its translations in the other editions, too.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask. In a script nobody is asked.")
@api_options
def kill(item_id: str, reason: str | None, everywhere: bool, yes: bool, url: str | None, key: str | None) -> None:
    """Retract the line ID for good, from every screen. It wins over everything, and the id is never used again."""
    api = _api(url, key)
    if not yes and sys.stdin.isatty():
        click.echo(_line(api, item_id))
        click.confirm("Kill it? That is final, and takes it off every screen.", abort=True)
    body = ({"note": reason} if reason else {}) | ({"everywhere": True} if everywhere else {})
    answer = api.send("POST", f"/v1/items/{item_id}/kill", body)
    _say(answer)
    sisters = answer.get("sisters", [])
    for sister in sisters:
        if "error" not in sister:
            click.echo(f"{sister['state']}: {sister['id']} in {sister['edition']}")
    failed = [f"{sister['id']} in {sister['edition']} ({sister['error']})" for sister in sisters if "error" in sister]
    if failed:
        raise StoppressError(f"killed, but not everywhere: {'; '.join(failed)}")


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.File("rb"), metavar="FILE…")
@click.option("-e", "--edition", help="Which ticker they are for. [default: by their language]")
@api_options
def ingest(files: tuple[BinaryIO, ...], edition: str | None, url: str | None, key: str | None) -> None:
    """Take wire documents in (ninjs 1.x to 3.1; - is standard input). One that is taken again is the same item."""
    api = _api(url, key)
    failed = 0
    for file in files:
        try:
            query = f"?edition={edition}" if edition else ""
            answer = api.send("POST", f"/v1/ingest/ninjs{query}", content=file.read())
            click.echo(f"{file.name}: {_sentence(answer)}")
        except StoppressError as error:
            failed += 1
            click.echo(f"{file.name}: {error.detail}" + (f" ({error.path})" if error.path else ""), err=True)
    if failed:
        raise StoppressError(f"{failed} of {len(files)} documents were not taken")


@main.command()
@click.option("-e", "--edition", default="en", show_default=True, help="Which ticker.")
@click.option("--section", "sections", multiple=True, help="Only this section; may be given several times.")
@click.option("--region", "regions", multiple=True, help="Only this region; may be given several times.")
@click.option("-u", "--urgency", type=click.Choice([*URGENCIES]), help="Only what is at least this urgent.")
@click.option("--plain", "form", flag_value="plain", help="A line for each thing that happens (without a terminal).")
@click.option("--json", "form", flag_value="json", help="The messages as they come, one a line.")
@api_options
def tail(
    edition: str,
    sections: tuple[str, ...],
    regions: tuple[str, ...],
    urgency: str | None,
    form: str | None,
    url: str | None,
    key: str | None,
) -> None:
    """Watch a ticker live in this terminal.

    Goes on by its cursor after every loss, so that nothing is missed. Ctrl-C ends it.
    """
    from service.tail import tail as run

    api = _api(url, key, anonymous=True)
    editions = {each["code"]: each for each in api.send("GET", "/v1/editions")["editions"]}
    if edition not in editions:
        raise StoppressError(f"expected one of the editions {', '.join(editions)}, got {edition!r}")
    query = [("section", section) for section in sections] + [("region", region) for region in regions]
    if urgency:
        query.append(("urgency", str(URGENCIES[urgency])))
    form = form or ("board" if sys.stdout.isatty() else "plain")
    try:
        run(api.url, edition, editions[edition]["size"], query, key=key, form=form)
    except KeyboardInterrupt:
        click.echo("", err=True)


class Whole(click.IntRange):
    """A whole number of a range; the message says which."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"expected a whole number from {self.min:,} to {self.max:,}, got {value!r}", param, ctx)


class Number(click.FloatRange):
    """A number of a range: nan is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            number = math.nan
        if math.isnan(number):
            self.fail(f"expected a number from {self.min:,g} to {self.max:,.0f}, got {value!r}", param, ctx)
        return number


@main.command()
@click.option("--readers", required=True, type=Whole(1, 1_000_000_000), help="How many read at once.")
@click.option("--deadline", default="1s", show_default=True, help="When the last reader has a line: 1s, 500ms, 2m.")
@click.option("--editions", default=3, show_default=True, type=Whole(1, 1_000), help="How many there are.")
@click.option("--burst", default=1, show_default=True, type=Whole(1, 10_000), help="Lines at once.")
@click.option("--lines-an-hour", default=60.0, show_default=True, type=Number(0, 1e6), help="Lines of each edition.")
@click.option(
    "--reconnect",
    default="100%/60s",
    show_default=True,
    help="After this share of the service was lost, its readers are back within this time. 50%/30s: one of two "
    "datacentres is lost, and the other takes over and keeps the deadline. 100%: everything was started anew.",
)
@click.option("--headroom", default="30%", show_default=True, help="Share of each core that stays free.")
@click.option(
    "--confirming", default="100%", show_default=True, help="Share of the readers who confirm what they show."
)
@click.option(
    "--readers-per-process",
    type=Whole(1, 10_000_000),
    help="At most. [default: $STOPPRESS_MAX_READERS, 20000]",
)
@click.option("--machine-cores", default=16, show_default=True, type=Whole(1, 1_024), help="Cores of a machine.")
@click.option(
    "--machine-gbits",
    default=10.0,
    show_default=True,
    type=Number(0.01, 10_000),
    help="What its network carries.",
)
@click.option("--wire", default="50ms", show_default=True, help="How far away a far reader is, one way.")
@click.option(
    "--figures",
    "file",
    type=click.Path(path_type=Path),
    help="Your own machine's figures: bench/results/figures.json after `make bench`. [default: the package's]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
def plan(file: Path | None, readers_per_process: int | None, as_json: bool, **asked: Any) -> None:
    """Say what an audience takes: processes, cores, memory, Redis; how long its last reader waits; what breaks first.

    Reckons with measured figures and says what it assumes; docs/scaling.md tells the story. Starts nothing and needs
    no service. Ends with status 1 if it cannot be done, with 2 if an option is wrong.

    \b
    stoppress plan --readers 50000
    stoppress plan --readers 2000000 --deadline 1s --burst 10
    stoppress plan --readers 500000 --reconnect 50%/30s --figures bench/results/figures.json
    """
    from service.plan.ask import answer

    try:
        most = readers_per_process or here.settings().max_readers
        possible, lines = answer(file, asked | {"readers_per_process": most}, as_json=as_json)
    except SettingsError as error:
        # As click ends for what it looks at itself: 1 is an answer.
        raise click.UsageError(error.detail) from None
    for line in lines:
        click.echo(line)
    if not possible:
        sys.exit(1)


@main.group()
def keys() -> None:
    """Make, list and revoke API keys. Works on Redis itself: STOPPRESS_REDIS_URL, or that of `stoppress up` here."""


@keys.command("add")
@click.argument("name")
@click.option("--role", required=True, type=click.Choice(ROLES), help="What the key may do.")
@click.option("--trusted", is_flag=True, help="An ingest key whose lines go on the air without an editor.")
@click.option("-e", "--edition", "editions", multiple=True, help="Only for this edition; may be given several times.")
def keys_add(name: str, role: Role, trusted: bool, editions: tuple[str, ...]) -> None:
    """Make a key called NAME and print it. It is stored hashed: this is the only time that it is seen."""
    settings = here.settings()
    for edition in editions:
        here.editions(settings).named(edition)
    if trusted and role != "ingest":
        raise StoppressError("--trusted is for the role ingest: editors and chiefs publish anyway")
    key = Accounts(here.redis(settings), None).add(
        name, role, time.time_ns() // 1_000_000, trusted=trusted, editions=editions
    )
    click.echo(key)
    click.echo(f"The key of {name} ({role}). Keep it now: it is not stored and cannot be shown again.", err=True)


@keys.command("list")
def keys_list() -> None:
    """List the keys: name, role, since when. Not the keys themselves: nobody has them."""
    accounts = Accounts(here.redis(here.settings()), None).listed()
    for account in accounts:
        notes = [*(["trusted"] if account.trusted else []), *account.editions]
        click.echo(f"{account.name:<24} {account.role:<12} {account.created}  {' '.join(notes)}".rstrip())
    if not accounts:
        click.echo("No keys yet: stoppress keys add NAME --role editor", err=True)


@keys.command("revoke")
@click.argument("name")
def keys_revoke(name: str) -> None:
    """Revoke the key called NAME. It stops with the next call that uses it."""
    Accounts(here.redis(here.settings()), None).revoke(name)
    click.echo(f"revoked {name}")


main.add_command(users_cli.users)
main.add_command(audit_cli.audit)


def _api(url: str | None, key: str | None, *, anonymous: bool = False) -> "Api":
    from service.api_client import Api

    settings = here.settings()
    if url is None:
        url = here.url(settings)
    if key is None and not anonymous:
        key = settings.admin_key or here.read(settings.data / "admin.key")
        if key is None:
            raise StoppressError(
                f"no API key: give --key or STOPPRESS_KEY, or run this where {settings.data / 'admin.key'} is"
            )
    return Api(url, key)


def _line(api: "Api", item_id: str) -> str:
    """The line `item_id` as it is now, or why it cannot be shown: whoever wants to kill it is not held up by that."""
    try:
        record = api.send("GET", f"/v1/items/{item_id}", seconds=3)
        headline = record["item"]["headline"] if record["item"] else "its text is gone"
        return f"{record['edition']}, {record['state']}: {headline}"
    except (StoppressError, KeyError, TypeError) as error:
        return f"The line {item_id} cannot be shown: {error}"


def _say(answer: dict[str, Any]) -> None:
    click.echo(_sentence(answer))
    for warning in answer.get("warnings", []):
        click.echo(f"note: {warning}", err=True)


def _sentence(answer: dict[str, Any]) -> str:
    what = f"{answer['id']} version {answer['version']}"
    if answer["state"] == "live" and "cursor" not in answer:
        # Accepted means durable, not yet delivered: an editor must not take one for the other.
        return f"accepted, NOT on the air yet: {what}. It goes out as soon as a worker takes it; do not send it again"
    place = f", {answer['cursor']} in the log" if "cursor" in answer else ""
    return f"{answer['state']}: {what}{place}"


def _become_worker(name: str) -> None:
    """Replace this process: the service never imports the workers."""
    settings = here.settings()
    here.wait_for_redis(settings)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "workers", name])  # noqa: S606 - our own program, no shell
