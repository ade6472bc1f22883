"""Feeds: which codings a caller takes, and what a process says that has no lines yet."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from starlette.applications import Starlette

from service.domain.edition import default_editions
from service.domain.ticker import Ticker
from service.gateway.door import Door
from service.gateway.hub import Hub
from service.gateway.replay import Replay
from service.routes import routes
from service.settings import Settings
from service.syndication.shelf import Shelf
from service.web.errors import HANDLERS
from service.web.feeds import takes_gzip


@pytest.mark.parametrize(
    "header",
    ["gzip", "GZIP", "gzip, deflate, br", "br;q=1.0, gzip;q=0.8, *;q=0.1", "*", "gzip ; q=0.001", "x-gzip"],
)
def test_gzip_is_for_who_names_it(header: str) -> None:
    assert takes_gzip(header)


@pytest.mark.parametrize("header", ["", "identity", "br", "gzip;q=0", "gzip;q=0.000, *", "*;q=0", "gzipped"])
def test_no_gzip_for_who_refuses_it_or_does_not_know_it(header: str) -> None:
    assert not takes_gzip(header)


@pytest.mark.parametrize("path", ["feed.atom", "feed.json", "ninjs", "ticker"])
def test_a_process_without_its_lines_says_so_and_an_empty_ticker_is_no_refusal(path: str) -> None:
    editions, settings = default_editions(), Settings()
    tickers = {code: Ticker(edition) for code, edition in editions.items()}
    hub = Hub(tickers, cast(Replay, None), drain_seconds=0, turn_seconds=1)
    gateway = SimpleNamespace(door=Door(settings, editions, hub))
    state = {"settings": settings, "editions": editions, "gateway": gateway, "shelf": Shelf()}
    served = Starlette(routes=routes(), exception_handlers=HANDLERS)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await served(scope | {"state": state}, receive, send)

    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://news.example") as client:
            return await client.get(f"/v1/editions/en/{path}")

    refused = asyncio.run(get())
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert refused.headers["cache-control"] == "no-store"
    tickers["en"].load("e", 0, [])
    assert asyncio.run(get()).status_code == 200
