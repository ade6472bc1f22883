"""The only wiring of a worker process: settings in, collaborators out, built once per process."""

import os
from dataclasses import dataclass
from functools import cache

from rq import Queue

from service.domain.edition import Editions, parse_editions
from service.settings import Settings
from service.store.connect import Store, blocking, queueing
from service.store.items import Items
from service.store.outbox import Outbox, breaking_queue


@dataclass(frozen=True)
class Context:
    """What a job or the clock works with. `redis` holds the log, `queue` may live on another."""

    settings: Settings
    editions: Editions
    redis: Store
    queue: Queue
    outbox: Outbox
    items: Items

    @classmethod
    def of(cls, settings: Settings) -> "Context":
        """Connect. Nothing is sent until it is used."""
        editions = parse_editions(settings.read_editions(), str(settings.editions))
        redis = blocking(settings.require_redis_url())
        queue = breaking_queue(queueing(settings, redis))
        return cls(settings, editions, redis, queue, Outbox(redis, queue), Items(redis, editions))


@cache
def context() -> Context:
    """This process's context, from its environment; jobs have no other way to be handed one."""
    return Context.of(Settings.from_env(os.environ))
