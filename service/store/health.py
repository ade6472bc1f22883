"""Health: what Redis says of the way of a change, in a round trip or two. Each web process asks once a second."""

import asyncio
import time
from typing import NamedTuple, cast

import msgspec
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError
from rq import Queue
from rq.registry import FailedJobRegistry
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from service.store.connect import AsyncStore, alike, at, of_edition
from service.store.keys import CLOCK_LEASE, Keys
from service.store.outbox import BREAKING


class Waiting(NamedTuple):
    """An edition's outbox: how many changes wait, and when (ms) the first of them was accepted."""

    changes: int
    oldest_ms: int | None


class LogHealth(NamedTuple):
    """The log's Redis: which clock leads, and what waits in each edition's outbox."""

    leader: str | None
    outboxes: dict[str, Waiting]


class QueueHealth(NamedTuple):
    """The queue's Redis. A worker that was killed counts until RQ's own sign of life runs out, some two minutes."""

    jobs: int
    failed: int
    workers: int


class _Accepted(msgspec.Struct):
    """All that is read of a waiting entry, so that one of a kind that is not known here has an age too."""

    accepted: int


_accepted = msgspec.json.Decoder(_Accepted)


async def ask_log(store: AsyncStore, editions: list[str]) -> LogHealth:
    """Ask the log's Redis; on a Cluster each shard, and only those that answer have outboxes here.

    Raises:
        RedisError, OSError: who holds the lease does not answer.
    """
    leader = cast(bytes | None, await at(store, CLOCK_LEASE).get(CLOCK_LEASE))
    groups = alike(store, editions)
    answers = await asyncio.gather(*(_ask_outboxes(store, group) for group in groups), return_exceptions=True)
    outboxes: dict[str, Waiting] = {}
    for answer in answers:
        if isinstance(answer, dict):
            outboxes |= answer
        elif not isinstance(answer, (RedisError, OSError)) or len(groups) == 1:
            raise answer
    return LogHealth(leader.decode() if leader else None, outboxes)


async def _ask_outboxes(store: AsyncStore, editions: list[str]) -> dict[str, Waiting]:
    async with of_edition(store, editions[0]).pipeline(transaction=False) as pipe:
        for code in editions:
            pipe.llen(Keys.of(code).outbox)
            pipe.lindex(Keys.of(code).outbox, 0)
        rows = await pipe.execute()
    return {
        code: Waiting(changes, _accepted.decode(oldest).accepted if oldest else None)
        for code, changes, oldest in zip(editions, rows[::2], rows[1::2], strict=True)
    }


async def ask_queue(redis: AsyncRedis) -> QueueHealth:
    """Ask the queue's Redis."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.llen(f"{Queue.redis_queue_namespace_prefix}{BREAKING}")
        # Failed jobs are kept with the time at which they may be forgotten.
        pipe.zcount(FailedJobRegistry.key_template.format(BREAKING), int(time.time()), "+inf")
        pipe.smembers(WORKERS_BY_QUEUE_KEY % BREAKING)
        jobs, failed, names = await pipe.execute()
    workers = await redis.exists(*names) if names else 0
    return QueueHealth(jobs, failed, workers)
