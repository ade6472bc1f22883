"""Desk: the newsroom's pages. Signing in and out, and what the page is told; its changes go through the API."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from service.domain.item import decode
from service.errors import (
    ForbiddenError,
    StoppressError,
    TooLargeError,
    TooManyError,
    UnauthenticatedError,
    UnavailableError,
)
from service.newsroom import auth
from service.newsroom.api import address_of, in_thread, read_body
from service.newsroom.likeness import alike
from service.newsroom.queue import Newsroom, now_ms
from service.store.items import Wanted
from service.store.sessions import SESSION_SECONDS, Sessions
from service.web.own import is_secure
from service.web.pages import render_desk, render_sign_in
from service.web.visitor import PRIVATE, Visitor, editor, entered, page

# How many of the lines changed within a day a new one is compared with.
COMPARED, RECENT_MS = 200, 86_400_000
# How many passwords are checked at once, and how long one waits for its turn.
MOST_SIGN_INS, TURN_SECONDS = 2, 5.0
# A form has a name, a password and little else.
LARGEST_FORM = 4_096


class Sketch(msgspec.Struct, forbid_unknown_fields=True):
    """A line that is being written."""

    edition: str
    headline: Annotated[str, msgspec.Meta(max_length=2_000)]


@page
async def home(request: Request, visitor: Visitor) -> Response:
    """`GET /desk` and `GET /desk?edition=ar`: compose, and the board; without a session, sign in."""
    account, first = visitor.account, visitor.editions[0].code if visitor.editions else ""
    edition = entered(request, account, request.query_params.get("edition", first))
    allowed = [action for action, roles in auth.ALLOWED.items() if account.role in roles]
    publishes = account.role in auth.PUBLISHERS
    undo = request.state.settings.undo_seconds
    content = render_desk(visitor, edition, allowed, publishes=publishes, undo_seconds=undo)
    return HTMLResponse(content, headers=PRIVATE)


async def similar(request: Request) -> Response:
    """`POST /desk/similar`: `{"edition", "headline"}` for recent lines that say nearly the same.

    A POST, because a headline that is not public has no place in an address, which proxies log.
    """
    account = await editor(request)
    asked = decode(await read_body(request), Sketch)
    edition = entered(request, account, asked.edition)
    newsroom: Newsroom = request.state.newsroom

    def read() -> list[dict[str, object]]:
        since = now_ms() - RECENT_MS
        records, _ = newsroom.items.search(Wanted(edition=edition.code, since_ms=since), COMPARED, None)
        found = alike(asked.headline, records)
        return [
            {
                "id": record.id,
                "headline": record.item.headline if record.item else "",
                "state": record.state,
                "changedAt": record.changed_at,
                "likeness": likeness,
            }
            for record, likeness in found
        ]

    return Response(
        msgspec.json.encode({"items": await in_thread(read)}), headers=PRIVATE, media_type="application/json"
    )


async def sign_in(request: Request) -> Response:
    """`GET /desk/sign-in`; with `?ticket=`, a button that uses it up: what only looks at links must not."""
    return sign_in_page(request, ticket=request.query_params.get("ticket", "")[:100])


async def start(request: Request) -> Response:
    """`POST /desk/sign-in`: a name and a password, or a ticket, for a session's cookie."""
    auth.require_own_page(request)
    form = await _form(request)
    sessions: Sessions = request.state.sessions
    ticket, name, password = (str(form.get(field) or "") for field in ("ticket", "name", "password"))
    work: Callable[[], str]
    if ticket:
        work = partial(sessions.redeem, ticket, address_of(request), now_ms())
    else:
        work = partial(sessions.sign_in, name, password, address_of(request), now_ms())
    try:
        cookie = await _in_turn(request, work)
    except (UnauthenticatedError, TooManyError, UnavailableError) as error:
        return sign_in_page(request, name=name[:64], error=error)
    before = auth.cookie_of(request)
    if before is not None:
        # Whoever had the browser before is out, whatever copies there are.
        await in_thread(sessions.sign_out, before)
    response = RedirectResponse("/desk", 303, PRIVATE)
    give_session(request, response, cookie)
    return response


async def end(request: Request) -> Response:
    """`POST /desk/sign-out`: the session is over, for every copy of its cookie."""
    auth.require_own_page(request)
    form = await _form(request)
    cookie = auth.cookie_of(request)
    sessions: Sessions = request.state.sessions
    if cookie is not None:
        if not await in_thread(sessions.check_csrf, cookie, str(form.get("csrf") or "")):
            raise ForbiddenError("expected the form of this session's page: load the page anew")
        await in_thread(sessions.sign_out, cookie)
    response = RedirectResponse("/desk/sign-in", 303, PRIVATE)
    response.delete_cookie(auth.COOKIE, path="/", httponly=True, samesite="strict")
    return response


async def _in_turn(request: Request, work: Callable[[], str]) -> str:
    """Check a password. Each takes 64 MB and a core for a while: a flood of them must not take the machine.

    Raises:
        UnavailableError: others were first for too long.
    """
    turns: asyncio.Semaphore = request.state.sign_ins
    try:
        async with asyncio.timeout(TURN_SECONDS):
            await turns.acquire()
    except TimeoutError:
        raise UnavailableError("expected a turn to sign in, got none: too many try", retry_after=5) from None
    try:
        # Not cut short: a check that is given up goes on in its thread, and would count for nobody's turn.
        return await run_in_threadpool(work)
    finally:
        turns.release()


async def _form(request: Request) -> FormData:
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > LARGEST_FORM:
        raise TooLargeError(f"expected a form of at most {LARGEST_FORM} bytes, got {length[:20] or 'no length'}")
    return await request.form(max_files=0, max_fields=10)


def give_session(request: Request, response: Response, cookie: str) -> None:
    """Have the browser keep a session's cookie."""
    response.set_cookie(
        auth.COOKIE,
        cookie,
        max_age=SESSION_SECONDS,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )


def sign_in_page(
    request: Request, *, ticket: str = "", name: str = "", error: StoppressError | None = None
) -> Response:
    """The desk's door, and why one did not get in."""
    headers = dict(PRIVATE)
    if error is not None and error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    detail = error.detail if error is not None else ""
    provider = request.state.settings.provider
    page = render_sign_in(ticket, name, detail, provider.name if provider is not None else "")
    return HTMLResponse(page, error.status if error is not None else 200, headers)
