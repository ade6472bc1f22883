"""Durability: what of a Redis's set-up would lose what was accepted. Looked at when a process starts, and only said.

A managed Redis may refuse to tell; nothing is said then about what is not known.
"""

from collections.abc import Iterator
from typing import NamedTuple, cast

import structlog
from redis import Redis
from redis.exceptions import RedisError

OLDEST = (6, 2)

log = structlog.get_logger(__name__)


class Risk(NamedTuple):
    """One thing to know. A `note` is a choice that one may make; the others lose lines."""

    text: str
    note: bool = False


def risks(redis: Redis) -> Iterator[Risk]:
    """What this Redis would lose, and when. Nothing for one that is set up as docs/operations.md says."""
    try:
        about = redis.info()
    except (RedisError, OSError):
        return
    version = tuple(int(part) for part in str(about.get("redis_version", "")).split(".")[:2] if part.isdigit())
    if version and version < OLDEST:
        yield Risk(f"expected Redis 6.2 or later, got {about['redis_version']}: the queue does not work on it")
    if about.get("aof_enabled") == 0:
        yield Risk(
            "appendonly is no: a restart of Redis loses what was accepted since its last snapshot. Set it to yes"
        )
    policy = about.get("maxmemory_policy")
    if policy is not None and policy != "noeviction":
        yield Risk(
            f"maxmemory-policy is {policy}: a full Redis drops lines. Set it to noeviction, which refuses instead"
        )
    fsync = _setting(redis, "appendfsync") if about.get("aof_enabled") else None
    if fsync == "everysec":
        yield Risk("appendfsync is everysec: a crash of Redis's machine may lose the last second", note=True)
    elif fsync == "no":
        yield Risk("appendfsync is no: a crash of Redis's machine may lose half a minute. Set it to always")


def warn(redis: Redis) -> None:
    """Log each risk in a line of its own."""
    for risk in risks(redis):
        (log.info if risk.note else log.warning)("redis may lose lines", why=risk.text)


def _setting(redis: Redis, name: str) -> str | None:
    try:
        return cast(dict[str, str], redis.config_get(name)).get(name)
    except (RedisError, OSError):
        return None
