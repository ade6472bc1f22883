"""Snapshot: the editions and their tickers over plain HTTP, from memory; no Redis call a request."""

import hashlib

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from service.domain.edition import Edition
from service.domain.selection import Selection
from service.errors import MalformedError, UnavailableError, UpgradeRequiredError
from service.gateway.audience import Audience
from service.gateway.door import Door

# A CDN may answer for a second, and for half a minute more while it asks again: a million readers cost one request.
CACHE = "public, max-age=1, stale-while-revalidate=30"
BRIEFLY = "public, max-age=1"
# Since when the service has heard no news; there is no such field while it hears them.
STALE = "stoppress-behind"


async def editions(request: Request) -> Response:
    """`GET /v1/editions`: every edition with its language, direction, name and vocabularies."""
    listed: list[Edition] = list(request.state.editions.values())
    document = {
        "editions": [
            {
                "code": edition.code,
                "language": edition.language,
                "name": edition.name,
                "direction": edition.direction,
                "size": edition.size,
                "private": edition.private,
                "sections": [
                    {"code": code, "mediaTopic": f"medtop:{topic}" if topic else None}
                    for code, topic in edition.sections.items()
                ],
                "regions": edition.regions,
                "ticker": f"/v1/editions/{edition.code}/ticker",
                "socket": f"/v1/editions/{edition.code}/socket",
            }
            for edition in listed
        ]
    }
    return Response(
        msgspec.json.encode(document), headers={"cache-control": "public, max-age=60"}, media_type="application/json"
    )


async def enter(request: Request) -> tuple[Audience, Selection, bool]:
    """Let a caller in who wants an edition's lines over HTTP: whose they are, which, and whether they are private.

    Raises:
        UnknownEditionError, MalformedError, UnauthenticatedError, ForbiddenError
        UnavailableError: the ticker is not loaded yet.
    """
    door: Door = request.state.gateway.door
    code = request.path_params["edition"]
    wish = door.wish(code, request.url.query)
    if wish.cursor is not None:
        raise MalformedError(
            "expected section, region, urgency: a ticker has no cursor, it is always whole", path="cursor"
        )
    audience = door.audience(code)
    private = door.is_private(code)
    if private:
        await request.state.readers_key(request.headers.get("authorization"), code)
    if not audience.ticker.epoch:
        raise UnavailableError("expected a loaded ticker: this process has not reached its Redis yet", retry_after=2)
    return audience, wish.selection, private


async def ticker(request: Request) -> Response:
    """`GET /v1/editions/{edition}/ticker`: what a socket's snapshot message says, with an ETag."""
    audience, selection, private = await enter(request)
    # The cursor covers the whole edition, so the selection is part of what the tag names.
    named = f"{audience.ticker.cursor} {sorted(selection.sections)} {sorted(selection.regions)} "
    tag = f'"{hashlib.sha256(f"{named}{selection.urgency}".encode()).hexdigest()[:20]}"'
    headers = {"etag": tag, "cache-control": "private, no-cache" if private else CACHE}
    if audience.since is not None:
        # From memory, and maybe not the latest: said to whoever asks, and kept by no cache for long.
        headers |= {STALE: audience.since, "cache-control": "private, no-cache" if private else BRIEFLY}
    if tag in [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(audience.ticker.snapshot(selection), headers=headers, media_type="application/json")


async def no_socket(request: Request) -> Response:
    """`GET …/socket` without an upgrade."""
    request.state.gateway.door.audience(request.path_params["edition"])
    raise UpgradeRequiredError("expected a WebSocket handshake (RFC 6455), got a plain GET")
