"""Ops: whether this process lives, whether it can serve news, and what it has counted."""

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.domain.instant import format_ms
from service.errors import ForbiddenError
from service.newsroom import auth
from service.web.metrics import Metrics
from service.web.watch import Watch, now_ms

# How proxies other than those with X-Forwarded-For say that they pass on somebody else's request.
FORWARDED = ("forwarded", "x-real-ip", "via")
NOT_KEPT = {"cache-control": "no-store"}


async def healthz(request: Request) -> Response:
    """`GET /healthz`: the process answers. Restart it if it does not."""
    return JSONResponse({"status": "alive"}, headers=NOT_KEPT)


async def readyz(request: Request) -> Response:
    """`GET /readyz`: 200 if this process can take and deliver news, else 503. Answered from memory, at once.

    An open connection proves nothing: the feed is ready only while each edition's beat is heard, and the whole way only
    while canaries come through.
    """
    watch: Watch = request.state.watch
    parts = watch.parts()
    ready = all(part["ready"] for part in parts.values())
    document = {
        "status": "ready" if ready else "not ready",
        "at": format_ms(now_ms()),
        "readers": request.state.gateway.hub.count,
        "parts": parts,
    }
    body = msgspec.json.format(msgspec.json.encode(document), indent=2)
    return Response(body, 200 if ready else 503, headers=NOT_KEPT, media_type="application/json")


async def metrics(request: Request) -> Response:
    """`GET /metrics`: Prometheus's text, for operators: from a trusted address, or with a chief's API key."""
    if not _is_near(request):
        if "authorization" not in request.headers:
            raise ForbiddenError("expected a trusted address (STOPPRESS_TRUSTED_ADDRESSES) or a chief's API key")
        key = auth.bearer(request.headers["authorization"])
        account = await run_in_threadpool(request.state.newsroom.accounts.authenticate, key)
        auth.require(account, ("chief",), "reading the metrics")
    kept: Metrics = request.state.metrics
    body, media_type = kept.scrape(request.headers.get("accept", ""))
    return Response(body, headers={**NOT_KEPT, "content-type": media_type})


def _is_near(request: Request) -> bool:
    """Whether a trusted address asks for itself, and is no proxy that passes on a stranger's request."""
    peer = request.client.host if request.client else ""
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    if not forwarded and any(name in request.headers for name in FORWARDED):
        return False
    address = request.state.gateway.door.address(peer, forwarded)
    return bool(request.state.settings.trusts(address))
