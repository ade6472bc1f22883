"""`stoppress users`: who may sign in at the desk."""

import secrets
import sys
import time
from typing import TYPE_CHECKING

import click

from service import here
from service.errors import StoppressError
from service.store.accounts import STAFF, Role

if TYPE_CHECKING:
    from service.store.users import Users


@click.group()
def users() -> None:
    """Make and manage the accounts of people at the desk.

    Works on Redis itself: STOPPRESS_REDIS_URL, or that of `stoppress up` here.
    """


password_options = (
    click.option("--password-stdin", is_flag=True, help="Read the password from standard input."),
    click.option("--generate", is_flag=True, help="Make a strong password and print it; it is seen this once."),
)


@users.command("add")
@click.argument("name")
@click.option("--role", required=True, type=click.Choice(STAFF), help="What the user may do.")
@click.option("-e", "--edition", "editions", multiple=True, help="Only in this edition; may be given several times.")
@password_options[0]
@password_options[1]
def add(name: str, role: Role, editions: tuple[str, ...], password_stdin: bool, generate: bool) -> None:
    """Make a user called NAME, and ask for a password twice.

    A contributor writes drafts, an editor publishes, a chief also approves and kills.
    """
    settings = here.settings()
    for edition in editions:
        here.editions(settings).named(edition)
    store = _users()
    password = _password(password_stdin, generate)
    user = store.add(name, role, password, time.time_ns() // 1_000_000, editions=editions)
    click.echo(f"{user.name} ({role}) can sign in at /desk", err=True)


@users.command("list")
def listed() -> None:
    """List the users: name, role, since when, and what limits them."""
    found = _users().listed()
    for user in found:
        notes = [*(["disabled"] if user.disabled else []), *user.editions]
        notes += [f"by {user.subject[0]}"] if user.subject else []
        click.echo(f"{user.name:<24} {user.role:<12} {user.created}  {' '.join(notes)}".rstrip())
    if not found:
        click.echo("No users yet: stoppress users add NAME --role editor", err=True)


@users.command("password")
@click.argument("name")
@password_options[0]
@password_options[1]
def password(name: str, password_stdin: bool, generate: bool) -> None:
    """Give NAME another password, and end all of NAME's sessions."""
    store = _users()
    store.get(name)  # before anybody types
    user = store.set_password(name, _password(password_stdin, generate))
    click.echo(f"{user.name} has another password; whoever was signed in with the old one is not any more", err=True)


@users.command("role")
@click.argument("name")
@click.argument("role", type=click.Choice(STAFF))
def role(name: str, role: Role) -> None:
    """Make NAME a contributor, an editor or a chief, from the next click on."""
    click.echo(f"{_users().set_role(name, role).name} is {role} now")


@users.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Keep NAME out, and end all of NAME's sessions, until `enable`."""
    click.echo(f"{_users().set_disabled(name, disabled=True).name} cannot sign in any more")


@users.command("enable")
@click.argument("name")
def enable(name: str) -> None:
    """Let NAME in again."""
    click.echo(f"{_users().set_disabled(name, disabled=False).name} can sign in again")


@users.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Delete the account of NAME. What NAME did stays in the audit log; `disable` can be taken back."""
    _users().remove(name)
    click.echo(f"removed {name}")


@users.command("link")
def link() -> None:
    """Print an address that signs one browser in as chief, once, within an hour.

    For the first sign-in, and for when every password is lost: who can run this can read all of Redis anyway.
    """
    from service.store.sessions import Sessions

    settings = here.settings()
    ticket = Sessions(here.redis(settings), _users()).make_ticket()
    click.echo(f"{here.url(settings)}/desk/sign-in?ticket={ticket}")


def _users() -> "Users":
    from service.store.users import Users

    return Users(here.redis(here.settings()))


def _password(from_stdin: bool, generate: bool) -> str:
    if from_stdin and generate:
        raise StoppressError("expected one of --password-stdin and --generate, got both")
    if generate:
        made = secrets.token_urlsafe(15)
        click.echo(made)
        return made
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    given: str = click.prompt("Password (12 characters or more)", hide_input=True, confirmation_prompt="Once more")
    return given
