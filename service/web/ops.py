"""Ops: whether this process lives, and whether it can serve news."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.domain.instant import format_ms
from service.web.watch import Watch, now_ms

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
    return JSONResponse(document, 200 if ready else 503, headers=NOT_KEPT)
