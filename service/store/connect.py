"""Connect: clients of Redis, blocking for editors and workers, asyncio for readers.

Time-outs are short: an editor is told within two seconds that nothing was accepted, rather than left waiting.
"""

from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError  # noqa: A004 - Redis's own
from redis.retry import Retry

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0


def blocking(url: str, *, answer_seconds: float | None = ANSWER_SECONDS) -> Redis:
    """A client whose calls block; one reconnect is tried at once (an idle connection may have been closed).

    A call that got no answer in time is not repeated: the caller is told, and knows whether repeating is safe.
    """
    return Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=answer_seconds,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.2), 1, supported_errors=(ConnectionError,)),
        health_check_interval=0,
    )


def streaming(url: str, *, answer_seconds: float | None = ANSWER_SECONDS) -> AsyncRedis:
    """An asyncio client. Its callers reconnect themselves, so that they notice each loss."""
    redis = AsyncRedis.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=answer_seconds,
        retry=AsyncRetry(NoBackoff(), 1),
        health_check_interval=0,
    )
    pool = redis.connection_pool
    pool.connection_class = lossy(pool.connection_class)
    return redis


def lossy(kind: type[Any]) -> type[Any]:
    """A kind of connection that says of every loss that it is one.

    A connection that was reset while nobody looked fails its next write with uvloop's RuntimeError, which no caller
    takes for Redis being away.
    """

    class Lossy(kind):  # type: ignore[misc]
        async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            try:
                await super().send_packed_command(command, check_health)
            except RuntimeError as error:
                raise ConnectionError(f"the connection was lost: {error}") from None

    return Lossy


def without_password(url: str) -> str:
    """The address alone, for messages: a URL may hold a password."""
    parts = urlsplit(url)
    return f"{parts.hostname or parts.path}:{parts.port or 6379}" if parts.hostname else parts.path
