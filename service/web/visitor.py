"""Visitor: who is at the desk, and which editions they may enter. A page without a session leads to the door."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service.domain.edition import Edition, Editions
from service.errors import UnauthenticatedError
from service.newsroom import auth
from service.newsroom.api import in_thread, signed_in
from service.store.accounts import STAFF, Account
from service.store.sessions import Sessions

PRIVATE = {"cache-control": "no-store"}


class Visitor(NamedTuple):
    """Who looks, the proof of their session for its forms, and the editions that they may enter."""

    account: Account
    csrf: str
    editions: list[Edition]

    @property
    def page(self) -> dict[str, object]:
        """What every page of the desk is told."""
        choices = [(edition.code, edition.name) for edition in self.editions]
        return {"account": self.account, "csrf": self.csrf, "edition_choices": choices}


async def editor(request: Request) -> Account:
    """Who calls from the desk.

    Raises:
        UnauthenticatedError, ForbiddenError: nobody who has a session, or a desk.
    """
    cookie = auth.cookie_of(request)
    if cookie is None:
        raise UnauthenticatedError("expected a session of the desk, got none: sign in at /desk/sign-in")
    account = await signed_in(request, cookie)
    auth.require(account, STAFF, "the desk")
    return account


async def visit(request: Request) -> Visitor:
    """Who looks at a page; raises as `editor`."""
    account = await editor(request)
    sessions: Sessions = request.state.sessions
    csrf = await in_thread(sessions.csrf, auth.cookie_of(request) or "")
    editions: Editions = request.state.editions
    return Visitor(account, csrf, [each for each in editions.values() if account.may_enter(each.code)])


def entered(request: Request, account: Account, code: str) -> Edition:
    """The edition that a call names.

    Raises:
        UnknownEditionError, ForbiddenError: there is none, or it is none of theirs.
    """
    editions: Editions = request.state.editions
    edition = editions.named(code)
    auth.require_edition(account, edition.code)
    return edition


def page(show: Callable[[Request, Visitor], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """A page of the desk, as an endpoint: who has no session is sent to sign in."""

    @wraps(show)
    async def endpoint(request: Request) -> Response:
        try:
            who = await visit(request)
        except UnauthenticatedError:
            return RedirectResponse("/desk/sign-in", 303, PRIVATE)
        return await show(request, who)

    return endpoint
