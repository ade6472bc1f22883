"""What a change asks of Redis: on its way in through the newsroom, and out through a worker.

Each round trip is a wait, and each writing one an fsync of Redis's append-only file. Both sides run in this process, on
a Redis that nobody else asks anything: each time that one of its connections sends something is a round trip, and Redis
counts the commands (INFO commandstats), those within scripts as well.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis import Redis
from redis.connection import AbstractConnection
from rq import Queue
from rq.serializers import JSONSerializer

from service.domain.edition import parse_editions
from service.domain.item import Change, Draft, Reason
from service.embedded import EmbeddedRedis
from service.newsroom.queue import Call, Newsroom
from service.settings import Settings
from service.store.accounts import Accounts
from service.store.connect import blocking
from service.store.items import Items
from service.store.keys import Keys
from service.store.outbox import BREAKING, Accepted, Outbox, breaking_queue
from service.store.stories import Stories
from tests.cost.budgets import check
from workers import context as context_module
from workers.__main__ import BreakingWorker

BODY = b'{"edition": "en", "headline": "Ceasefire takes effect at midnight"}'


class Asked:
    """What was asked of Redis meanwhile."""

    def __init__(self) -> None:
        self.trips = 0
        self.commands: Counter[str] = Counter()


class Desk:
    """A newsroom and a worker on a Redis of their own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.teller = Redis.from_url(url)
        redis = blocking(url)
        settings = Settings()
        editions = parse_editions(settings.read_editions(), "")
        accounts = Accounts(redis, None)
        outbox = Outbox(redis, breaking_queue(redis))  # type: ignore[arg-type]
        self.newsroom = Newsroom(editions, accounts, Items(redis, editions), outbox, Stories(redis))
        # A key that is looked up; that of the environment is not.
        self.call = Call(accounts.add("chief", "chief", 0))
        self.waiting = Keys.of("en").outbox

    @contextmanager
    def asking(self) -> Iterator[Asked]:
        """Count what is asked within."""
        asked = Asked()
        send = AbstractConnection.send_packed_command

        def counted(connection: AbstractConnection, *arguments: Any, **options: Any) -> None:
            asked.trips += 1
            send(connection, *arguments, **options)

        self.teller.config_resetstat()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AbstractConnection, "send_packed_command", counted)
            yield asked
        told = self.teller.info("commandstats")
        asked.commands = Counter({name.removeprefix("cmdstat_"): row["calls"] for name, row in told.items()})
        for name in ("config", "config|resetstat"):  # ours; the name depends on Redis's version
            del asked.commands[name]

    def release(self) -> Asked:
        """Have a worker release one change."""
        assert self.teller.llen(self.waiting) == 1
        with self.asking() as busy:
            self._burst()
        assert self.teller.llen(self.waiting) == 0, "the worker released it"
        with self.asking() as idle:
            self._burst()
        busy.trips -= idle.trips
        busy.commands.subtract(idle.commands)
        return busy

    def _burst(self) -> None:
        redis = blocking(self.url)
        queue = Queue(BREAKING, connection=redis, serializer=JSONSerializer)  # type: ignore[arg-type]
        worker = BreakingWorker([queue], connection=redis, serializer=JSONSerializer)  # type: ignore[arg-type]
        worker.work(burst=True, logging_level="WARNING")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    server = EmbeddedRedis(Settings(data=tmp_path_factory.mktemp("redis")), say=lambda _: None)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("STOPPRESS_")]:
            patch.delenv(name)
        patch.setenv("STOPPRESS_REDIS_URL", server.url)
        context_module.context.cache_clear()
        desk = Desk(server.url)
        # The first ones load scripts and connect.
        for _ in range(2):
            publish(desk)
            desk.release()
        yield desk
        context_module.context.cache_clear()
    server.stop()


def publish(desk: Desk) -> Accepted:
    return desk.newsroom.publish(desk.call, Draft.parse(BODY), own_id=False)


def counted(desk: Desk, work: str, change: Callable[[], object]) -> None:
    """Make a change and release it, and compare with its budget."""
    with desk.asking() as way_in:
        change()
    way_out = desk.release()
    check(
        work,
        {
            "round trips of the API": way_in.trips,
            "commands of the API": way_in.commands.total(),
            "round trips of the worker": way_out.trips,
            "commands of the worker": way_out.commands.total(),
        },
        f"API: {dict(way_in.commands)}\nworker: {dict(+way_out.commands)}",
    )


def test_a_new_line(desk: Desk) -> None:
    counted(desk, "a new line: Redis", lambda: publish(desk))


def test_a_correction(desk: Desk) -> None:
    made = publish(desk)
    desk.release()
    given = Change(change="correct", note="The time", headline="Ceasefire takes effect at noon")
    counted(desk, "a correction: Redis", lambda: desk.newsroom.change(desk.call, made.id, given, made.version))


def test_a_kill(desk: Desk) -> None:
    made = publish(desk)
    desk.release()
    counted(desk, "a kill: Redis", lambda: desk.newsroom.act(desk.call, made.id, "kill", Reason(note="Not so"), None))
