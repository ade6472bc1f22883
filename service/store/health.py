"""Health: what Redis says of the way of a change, in a round trip or two. Each web process asks once a second."""

import time
from typing import NamedTuple

import msgspec
from redis.asyncio import Redis as AsyncRedis
from rq import Queue
from rq.registry import FailedJobRegistry
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

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


async def ask_log(redis: AsyncRedis, editions: list[str]) -> LogHealth:
    """Ask the log's Redis."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.get(CLOCK_LEASE)
        for code in editions:
            pipe.llen(Keys.of(code).outbox)
            pipe.lindex(Keys.of(code).outbox, 0)
        leader, *rows = await pipe.execute()
    outboxes = {
        code: Waiting(changes, _accepted.decode(oldest).accepted if oldest else None)
        for code, changes, oldest in zip(editions, rows[::2], rows[1::2], strict=True)
    }
    return LogHealth(leader.decode() if leader else None, outboxes)


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
