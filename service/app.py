"""The only wiring of the web process: settings in, an ASGI application out."""

import asyncio
import gc
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import structlog
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware

from service import logs
from service.domain.edition import parse_editions
from service.domain.selection import EVERYTHING
from service.domain.ticker import Ticker
from service.gateway.arrivals import Arrivals
from service.gateway.door import Door
from service.gateway.drain import drain_first
from service.gateway.feed import Feed, Feeds
from service.gateway.hub import Hub
from service.gateway.replay import Replay
from service.newsroom.auth import admit_reader
from service.newsroom.board import Boards
from service.newsroom.landings import Landings
from service.newsroom.queue import Newsroom
from service.routes import routes
from service.settings import Settings
from service.store import hops, reach
from service.store.accounts import Accounts
from service.store.coming import Comings
from service.store.connect import alike, blocking, of_edition, queueing, streaming
from service.store.items import Items
from service.store.outbox import Outbox, breaking_queue
from service.store.sessions import Sessions
from service.store.stories import Stories
from service.store.users import Users
from service.syndication.shelf import Shelf
from service.tasks import Tasks
from service.web.desk import MOST_SIGN_INS
from service.web.desk_sso import Sso
from service.web.errors import HANDLERS
from service.web.metrics import Metrics
from service.web.middleware import SecurityHeaders
from service.web.server import share_arena
from service.web.sheets import VARIABLE
from service.web.watch import Watch

# How often this process says who reads and what they have confirmed.
REACH_SECONDS = 0.25

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gateway:
    """The readers' side of this process."""

    door: Door
    hub: Hub
    feed: Feeds
    arrivals: Arrivals


def create_app(settings: Settings, *, turn_seconds: float = 1.0, sheets: Path | None = None) -> Starlette:
    """Build the application. `turn_seconds` is the pace of beats and pings, for tests that cannot wait 40 s.

    `sheets` is the folder in which the processes of one port show each other what they have counted.
    """
    editions = parse_editions(settings.read_editions(), str(settings.editions))
    url = settings.require_redis_url()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        redis, news, side = blocking(url), streaming(url, answer_seconds=None), streaming(url)
        queue = breaking_queue(queueing(settings, redis))
        accounts = Accounts(redis, settings.admin_key)
        newsroom = Newsroom(
            editions,
            accounts,
            Items(redis, editions, settings.wait_replicas),
            Outbox(redis, queue, settings.wait_replicas),
            Stories(redis),
            settings.undo_seconds,
        )
        users = Users(redis)
        sessions = Sessions(redis, users)
        sso = None
        if settings.provider is not None:
            # Only here: what checks signatures takes memory that most services need not spend.
            from service.newsroom.oidc import Oidc

            sso = Sso(Oidc(settings.provider), Comings(redis), users, settings.public_url)
        landings, shelf = Landings(), Shelf()

        tickers = {code: Ticker(edition) for code, edition in editions.items()}
        replay = Replay(side)
        hub = Hub(
            tickers,
            replay,
            drain_seconds=settings.drain_seconds,
            turn_seconds=turn_seconds,
            max_messages=settings.max_messages_per_reader,
        )
        feed = Feeds(
            [
                Feed(
                    of_edition(news, group[0]),
                    {code: tickers[code] for code in group},
                    hub,
                    [landings.heard, shelf.heard],
                )
                for group in alike(news, editions)
            ]
        )
        arrivals = Arrivals(hub.counts, most=settings.max_connections, seconds=settings.request_seconds)
        gateway = Gateway(Door(settings, editions, hub), hub, feed, arrivals)

        async def readers_key(header: str | None, edition: str) -> None:
            await run_in_threadpool(admit_reader, accounts, header, edition)

        process = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(2)}"

        async def tell_reach() -> None:
            await asyncio.gather(*(tell_reach_of(group) for group in alike(side, editions)))

        async def tell_reach_of(group: list[str]) -> None:
            told: dict[str, reach.Sheet] = {}
            while True:
                await asyncio.sleep(REACH_SECONDS)
                now_ms = time.time_ns() // 1_000_000
                sheets = {code: hub.sheet(code, now_ms) for code in group}
                news = {code: sheet for code, sheet in sheets.items() if sheet.is_news(told.get(code))}
                try:
                    if news:
                        await reach.write(of_edition(side, group[0]), process, news)
                    told |= news
                    for code in group:
                        if ways := hub.audiences[code].shown.news():
                            await hops.write(of_edition(side, code), code, process, ways)
                except (RedisError, OSError) as error:
                    log.debug("reach not written", error=str(error))
                    for code in group:
                        hub.audiences[code].shown.untold()

        boards = Boards(redis, side, newsroom, queue, lambda code: tickers[code].shown(EVERYTHING))
        # Never a Cluster: `queueing` refused that.
        asked = cast(AsyncRedis, streaming(settings.queue_url) if settings.queue_url else side)
        loops = {
            **feed.loops(),
            "hub": hub.run,
            "replay": replay.run,
            "reach": tell_reach,
            "trail": hub.trail.run,
            "arrivals": arrivals.run,
            **boards.loops(),
        }
        tasks = Tasks(loops)
        watch = Watch(side, asked, list(editions), feed=feed, hub=hub, tasks=tasks.alive)
        metrics = Metrics(settings, hub, feed, newsroom.tally, watch, sheets)
        loops |= {"watch": watch.run, "metrics": metrics.run}
        async with tasks:
            with drain_first(hub, settings.drain_seconds):
                yield {
                    "settings": settings,
                    "editions": editions,
                    "newsroom": newsroom,
                    "sessions": sessions,
                    "sso": sso,
                    "sign_ins": asyncio.Semaphore(MOST_SIGN_INS),
                    "landings": landings,
                    "boards": boards,
                    "gateway": gateway,
                    "shelf": shelf,
                    "redis": redis,
                    "readers_key": readers_key,
                    "watch": watch,
                    "metrics": metrics,
                }
            hub.dismiss()
        metrics.close()
        for group in alike(side, editions):
            try:
                await reach.leave(of_edition(side, group[0]), process, group)
            except (RedisError, OSError) as error:
                log.debug("reach not withdrawn", error=str(error))
        for client in {news, side, asked}:
            await client.aclose()
        redis.close()
        queue.connection.close()

    return Starlette(
        routes=routes(),
        lifespan=lifespan,
        exception_handlers=HANDLERS,
        middleware=[Middleware(SecurityHeaders, settings.allowed_origins)],
    )


def from_env() -> Starlette:
    """The application of this process's environment: `uvicorn --factory service.app:from_env`."""
    share_arena()
    settings = Settings.from_env(os.environ)
    logs.configure(settings)
    sheets = os.environ.get(VARIABLE)
    app = create_app(settings, sheets=Path(sheets) if sheets else None)
    # What has been loaded stays for good: no collection need look at it again.
    gc.collect()
    gc.freeze()
    return app
