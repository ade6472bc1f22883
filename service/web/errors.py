"""Errors: every refusal as a problem document (RFC 9457), and none of them a traceback to the caller."""

import structlog
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Match, Route

from service.errors import (
    NOT_KNOWN,
    REPEAT,
    MethodError,
    NotFoundError,
    StoppressError,
    UnauthenticatedError,
    UnavailableError,
)
from service.store.outage import refusal
from service.web.pages import render_problem

log = structlog.get_logger(__name__)


def problem(error: StoppressError, request: Request | None = None) -> Response:
    """Render one error: as a problem document, or as a page for a person's browser outside the API."""
    headers: dict[str, str] = {"cache-control": "no-store"}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, UnauthenticatedError):
        headers["www-authenticate"] = 'Bearer realm="stoppress"'
    if error.status == 426:
        headers["upgrade"] = "websocket"
        headers["connection"] = "upgrade"
    if request is not None and not request.url.path.startswith("/v1/"):
        headers["vary"] = "accept"
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(render_problem(error), error.status, headers)
    return JSONResponse(error.problem(), error.status, headers, media_type="application/problem+json")


async def refused(request: Request, error: Exception) -> Response:
    """Answer for an error of our own tree."""
    assert isinstance(error, StoppressError)
    return problem(error, request)


async def unreachable(request: Request, error: Exception) -> Response:
    """Answer when Redis does not: nothing is said to be accepted that may not be."""
    log.warning("redis unavailable", path=request.url.path, error=str(error) or type(error).__name__)
    why = refusal(error)
    if why is not None:
        detail = f"expected Redis to take this: {why}. Nothing was accepted; {REPEAT}"
    else:
        detail = f"expected Redis to answer: it does not. {NOT_KNOWN}"
    return problem(UnavailableError(detail, retry_after=2))


async def not_routed(request: Request, error: Exception) -> Response:
    """Answer for what no route takes."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        response = problem(MethodError(f"{request.method} is not for {request.url.path}"))
        response.headers["allow"] = ", ".join(_methods(request))
        return response
    if error.status_code == 404:
        return problem(NotFoundError(f"there is nothing at {request.url.path[:120]}"), request)
    return JSONResponse({"title": error.detail, "status": error.status_code}, error.status_code)


async def left(request: Request, error: Exception) -> Response:
    """Answer, for the form, a caller who went away in the middle of a body."""
    return Response(status_code=400)


def _methods(request: Request) -> list[str]:
    """What the address takes (RFC 9110, section 10.2.1). Starlette names those of one route only."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    matching = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in matching for method in route.methods or ()})


async def failed(request: Request, error: Exception) -> Response:
    """Answer for a defect of ours; the server logs what it was."""
    return problem(StoppressError("the service failed; the failure is logged"))


HANDLERS = {
    StoppressError: refused,
    RedisError: unreachable,
    HTTPException: not_routed,
    ClientDisconnect: left,
    Exception: failed,
}
