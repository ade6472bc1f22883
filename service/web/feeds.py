"""Feeds: the ticker for feed readers and machines, from memory. Syndication writes, HTTP's conditions are kept here."""

import time
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from service.gateway.snapshot import BRIEFLY, STALE, enter
from service.settings import Settings
from service.syndication.issue import terms
from service.syndication.shelf import ATOM, JSONFEED, NINJS, Kind, Shelf
from service.web.own import own_url

# Feed readers ask every few minutes; nobody notices five seconds.
CACHE = "public, max-age=5, stale-while-revalidate=30"
# How old a state must be before its date is told. Dates have whole seconds, and a process that hears no news knows it
# only after three: until then somebody with that date might be told 304 over a line that it has not got.
SETTLED_MS = 5_000


async def atom(request: Request) -> Response:
    """`GET /v1/editions/{edition}/feed.atom`."""
    return await _answer(request, ATOM)


async def jsonfeed(request: Request) -> Response:
    """`GET /v1/editions/{edition}/feed.json`."""
    return await _answer(request, JSONFEED)


async def ninjs(request: Request) -> Response:
    """`GET /v1/editions/{edition}/ninjs`."""
    return await _answer(request, NINJS)


async def _answer(request: Request, kind: Kind) -> Response:
    audience, selection, private = await enter(request)
    settings: Settings = request.state.settings
    shelf: Shelf = request.state.shelf
    ticker, now_ms = audience.ticker, time.time_ns() // 1_000_000
    root = settings.public_url or own_url(request)
    code = ticker.edition.code
    address = f"{root}/v1/editions/{code}/{kind.name}"
    if asked := terms(selection):
        address += f"?{urlencode(asked)}"
    # The page has no private editions: their lines for a key are at the ticker.
    page = f"{root}/v1/editions/{code}/ticker" if private else f"{root}/?{urlencode({'edition': code})}"
    stand = shelf.stand(ticker, now_ms)
    document = stand.document(kind, ticker, selection, address, page)
    headers = {
        "etag": document.tag,
        "cache-control": "private, no-cache" if private else CACHE if audience.since is None else BRIEFLY,
        "vary": "accept-encoding",
    }
    modified = None
    if audience.since is not None:
        headers[STALE] = audience.since
    elif now_ms - stand.since_ms >= SETTLED_MS:
        modified = datetime.fromtimestamp(stand.since_ms // 1000, UTC)
        headers["last-modified"] = format_datetime(modified, usegmt=True)
    if _has(request, document.tag, modified):
        return Response(status_code=304, headers=headers)
    body = document.plain
    if takes_gzip(request.headers.get("accept-encoding", "")):
        headers["content-encoding"] = "gzip"
        body = document.gzipped
    return Response(body, headers=headers, media_type=kind.media_type)


def _has(request: Request, tag: str, modified: datetime | None) -> bool:
    """Whether the caller has this already (RFC 9110, section 13.2.2): a tag is asked for before a date."""
    tags = request.headers.getlist("if-none-match")
    if tags:
        given = [part.strip().removeprefix("W/") for part in ",".join(tags).split(",")]
        return "*" in given or tag.removeprefix("W/") in given
    since = request.headers.get("if-modified-since")
    if since is None or modified is None:
        return False
    try:
        moment = parsedate_to_datetime(since)
    except ValueError:
        return False
    # A date without a zone that is understood (`-0000`) comes without one.
    return modified <= (moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def takes_gzip(header: str) -> bool:
    """Whether an Accept-Encoding (RFC 9110, section 12.5.3) allows gzip: by its name, else by `*`."""
    weights: dict[str, bool] = {}
    for part in header.lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        weights[coding] = weight.strip("0.") != ""
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", False)))
