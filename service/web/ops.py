"""Ops: whether this process lives, and whether it can serve news."""

import time

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.domain.instant import format_ms


async def healthz(request: Request) -> Response:
    """`GET /healthz`: the process answers. Restart it if it does not."""
    return JSONResponse({"status": "alive"}, headers={"cache-control": "no-store"})


async def readyz(request: Request) -> Response:
    """`GET /readyz`: 200 if this process can take and deliver news, else 503.

    It says what it knows of each part. An open connection proves nothing: the feed is ready only while each edition's
    beat is heard.
    """
    gateway = request.state.gateway
    silent = gateway.feed.silent_editions()
    redis = await run_in_threadpool(_redis_answers, request)
    parts: dict[str, dict[str, object]] = {
        "redis": {"ready": redis},
        "feed": {
            "ready": not silent,
            "since": format_ms(gateway.feed.changed_ms),
            "silent": silent,
            "cursors": {code: str(each.ticker.cursor) for code, each in gateway.hub.audiences.items()},
        },
        "draining": {"ready": not gateway.hub.draining},
    }
    tasks = request.state.tasks.alive()
    parts["tasks"] = {"ready": all(tasks.values()), "running": tasks}
    ready = all(part["ready"] for part in parts.values())
    document = {
        "status": "ready" if ready else "not ready",
        "at": format_ms(time.time_ns() // 1_000_000),
        "readers": gateway.hub.count,
        "parts": parts,
    }
    return JSONResponse(document, 200 if ready else 503, headers={"cache-control": "no-store"})


def _redis_answers(request: Request) -> bool:
    try:
        return bool(request.state.redis.ping())
    except (RedisError, OSError):
        return False
