"""Home: the ticker page, every edition or one, rendered with its lines so that it works before and without scripts."""

import time

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from service.domain.frames import Snapshot
from service.domain.selection import EVERYTHING
from service.errors import UnauthenticatedError
from service.web.pages import render_tickers


async def home(request: Request) -> Response:
    """`GET /` and `GET /?edition=ar`."""
    gateway = request.state.gateway
    chosen = request.query_params.get("edition")
    editions = [each for each in request.state.editions.values() if not each.private]
    if chosen:
        edition = request.state.editions.named(chosen)
        if edition.private:
            raise UnauthenticatedError(f"the edition {edition.code} is for readers with a key; this page has none")
        editions = [edition]
    snapshots: dict[str, Snapshot | None] = {}
    for edition in editions:
        ticker = gateway.hub.audiences[edition.code].ticker
        ready = bool(ticker.epoch)
        snapshots[edition.code] = (
            Snapshot(edition=edition.code, cursor=str(ticker.cursor), items=ticker.shown(EVERYTHING)) if ready else None
        )
    behind = {edition.code: gateway.hub.audiences[edition.code].since for edition in editions}
    page = render_tickers(editions, snapshots, time.time_ns() // 1_000_000, behind)
    return HTMLResponse(page, headers={"cache-control": "no-cache"})
