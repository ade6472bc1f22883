"""Live: the desk's own stream. What its board shows, who has what open, and a failed job's second chance."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import structlog
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from service.domain.item import Identifier, decode
from service.errors import ForbiddenError, UnauthenticatedError, UnavailableError
from service.newsroom import auth
from service.newsroom.api import in_thread, read_body
from service.newsroom.board import Board, Boards
from service.newsroom.queue import now_ms
from service.store.connect import of_edition
from service.store.opened import Opened, say
from service.web.pages import render_wall
from service.web.visitor import PRIVATE, Visitor, editor, entered, page

# Desks that may be open at one process; more ask instead of listening.
MOST = 300
# How soon a session that was ended ends its stream. A beat then says that silence is no death.
CHECK_SECONDS = 5.0
STREAM = PRIVATE | {"x-accel-buffering": "no"}

log = structlog.get_logger(__name__)


class Opening(msgspec.Struct, forbid_unknown_fields=True):
    """Which item a tab has open; `id` null: none any more."""

    edition: str
    tab: Identifier
    id: Identifier | None = None


async def board(request: Request) -> Response:
    """`GET /desk/board?edition=en`: all that the board shows, for who cannot listen."""
    account = await editor(request)
    edition = entered(request, account, request.query_params.get("edition", ""))
    boards: Boards = request.state.boards
    return Response(await boards.whole(edition.code), headers=PRIVATE, media_type="application/json")


@page
async def wall(request: Request, visitor: Visitor) -> Response:
    """`GET /desk/wall`: what is on the air and about to be, in every edition, for the newsroom's big screen."""
    return HTMLResponse(render_wall(visitor), headers=PRIVATE)


async def stream(request: Request) -> Response:
    """`GET /desk/stream?edition=en`: server-sent events; the whole board first, then what changes."""
    account = await editor(request)
    edition = entered(request, account, request.query_params.get("edition", ""))
    boards: Boards = request.state.boards
    if boards.watchers >= MOST or request.state.gateway.hub.draining:
        raise UnavailableError(f"expected at most {MOST} open desks at a process that stays, got more", retry_after=5)

    async def events() -> AsyncIterator[bytes]:
        watched = boards.watch(edition.code)
        try:
            async for event in _events(request, watched, edition.code):
                yield event
        finally:
            boards.unwatch(watched)

    return StreamingResponse(events(), headers=STREAM, media_type="text/event-stream")


async def _events(request: Request, watched: Board, edition: str) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    known, trouble, check_at = 0, None, loop.time() + CHECK_SECONDS
    while not request.state.gateway.hub.draining:
        # Taken before looking: what comes while this desk is written to is not missed.
        news = watched.news
        if watched.trouble != trouble:
            trouble = watched.trouble
            yield f"event: trouble\ndata: {trouble or ''}\n\n".encode()
        if watched.stamp > known:
            data, known = watched.since(known), watched.stamp
            yield b"event: board\nid: %d\ndata: %b\n\n" % (now_ms(), data)
        await _heard(news, min(1.0, max(0.0, check_at - loop.time())))
        if loop.time() >= check_at:
            check_at = loop.time() + CHECK_SECONDS
            try:
                entered(request, await editor(request), edition)
            except UnauthenticatedError:
                yield b"event: ended\ndata: signed out\n\n"
                return
            except ForbiddenError:
                return
            except (UnavailableError, RedisError) as error:
                # Whether the session lasts is not known now; the board says that it is not up to date.
                log.debug("session not checked", error=str(error))
            yield b"event: beat\ndata:\n\n"


async def opened(request: Request) -> Response:
    """`POST /desk/open`: `{"edition", "tab", "id"}` says what a tab has open; said again every 15 s."""
    account = await editor(request)
    given = decode(await read_body(request), Opening)
    edition = entered(request, account, given.edition)
    redis = of_edition(request.state.redis, edition.code)
    mine = Opened(given.id, account.name, now_ms()) if given.id is not None else None
    await in_thread(lambda: say(redis, edition.code, given.tab, mine))
    return Response(status_code=204, headers=PRIVATE)


async def retry(request: Request) -> Response:
    """`POST /desk/jobs/{id}/retry`: run a failed job once more."""
    account = await editor(request)
    auth.require(account, auth.PUBLISHERS, "retrying a job")
    boards: Boards = request.state.boards
    await in_thread(lambda: boards.retry(request.path_params["id"]))
    return Response(status_code=204, headers=PRIVATE)


async def _heard(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        pass
