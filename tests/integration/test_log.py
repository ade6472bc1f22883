"""The log as the Feed reads it: replay only if provably gapless; and an outbox whose queue is on another Redis."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from service.domain import lifecycle
from service.domain.frames import ItemChanged, Removed
from service.domain.item import Change
from service.domain.lifecycle import Decision, Record
from service.domain.ticker import RING, Past
from service.embedded import EmbeddedRedis
from service.errors import StaleError, TakenError
from service.settings import Settings
from service.store import log as store
from service.store.connect import blocking
from service.store.keys import Keys
from service.store.outbox import Accepted, Outbox, accept_script, breaking_queue
from tests.integration.harness import Service, until
from tests.unit.samples import EN, NOW_MS, draft

KEYS = Keys.of("en")
SMALL = msgspec.structs.replace(EN, log=100)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedRedis, EmbeddedRedis]]:
    """The log's Redis and another one."""
    pair = [
        EmbeddedRedis(Settings(data=tmp_path_factory.mktemp(name)), say=lambda _: None) for name in ("log", "queue")
    ]
    for server in pair:
        server.start()
    yield pair[0], pair[1]
    for server in pair:
        server.stop()


@pytest.fixture
def redis(servers: tuple[EmbeddedRedis, EmbeddedRedis]) -> Iterator[Redis]:
    with Redis.from_url(servers[0].url) as client:
        client.flushall()
        yield client


@pytest.fixture
def ask(servers: tuple[EmbeddedRedis, EmbeddedRedis]) -> Callable[..., Any]:
    """Call one of the asyncio functions of the store."""

    def call(function: Callable[..., Any], *args: Any) -> Any:
        async def inside() -> Any:
            async with AsyncRedis.from_url(servers[0].url) as client:
                return await function(client, *args)

        return asyncio.run(inside())

    return call


@pytest.fixture
def outbox(redis: Redis) -> Outbox:
    return Outbox(redis, breaking_queue(redis))


def line(item_id: str, **fields: Any) -> Decision:
    return lifecycle.create(EN, draft(id=item_id, **fields), state="live", by="ann", now_ms=NOW_MS)


def kill(record: Record) -> Decision:
    return lifecycle.act(record, "kill", version=None, by="ann", now_ms=NOW_MS)


def update(record: Record, headline: str) -> Decision:
    given = Change(change="update", headline=headline)
    return lifecycle.change(EN, record, given, version=None, by="ann", now_ms=NOW_MS)


def told(past: list[Past]) -> list[tuple[int, str]]:
    """The seqs and what they say: an item's headline, or why it was removed."""
    return [
        (each.seq, each.change.item.headline if isinstance(each.change, ItemChanged) else each.change.reason)
        for each in past
    ]


def test_reading_begins_the_log_of_an_edition_that_has_none(redis: Redis, ask: Callable[..., Any]) -> None:
    state = ask(store.read, "en")
    assert state.epoch == redis.hget(KEYS.meta, "epoch").decode()
    assert (state.seq, state.lines, state.past, state.starts, state.floor) == (0, [], [], 0, 0)
    assert ask(store.read, "en").epoch == state.epoch


def test_a_read_holds_the_lines_on_air_and_every_change_above_the_floor(
    redis: Redis, outbox: Outbox, ask: Callable[..., Any]
) -> None:
    first = line("a", headline="One")
    for decision in (first, line("b", headline="Two"), update(first.record, "One again")):
        outbox.accept(decision)
    store.append(redis, EN)
    state = ask(store.read, "en")
    assert sorted(item.headline for item in state.lines) == ["One again", "Two"]
    assert told(state.past) == [(1, "One"), (2, "Two"), (3, "One again")]
    assert (state.seq, state.starts, state.floor) == (3, 0, 0)
    assert [each.payload for each in state.past] == [fields[b"frame"] for _, fields in redis.xrange(KEYS.log)]


def test_a_read_of_a_long_log_says_where_what_it_holds_starts(
    redis: Redis, outbox: Outbox, ask: Callable[..., Any]
) -> None:
    for number in range(RING + 5):
        outbox.accept(line(f"i{number}"))
    store.append(redis, EN)
    state = ask(store.read, "en")
    assert (state.seq, state.starts, len(state.past), state.past[0].seq) == (RING + 5, 5, RING, 6)


def test_a_replay_is_given_only_where_it_is_gapless(redis: Redis, outbox: Outbox, ask: Callable[..., Any]) -> None:
    for number in range(130):
        outbox.accept(line(f"i{number}"))
    store.append(redis, SMALL)
    epoch = redis.hget(KEYS.meta, "epoch").decode()
    assert ask(store.replay, "en", epoch, 29, 500) is None, "30 was trimmed"
    assert [past.seq for past in ask(store.replay, "en", epoch, 30, 500)] == list(range(31, 131))
    assert [past.seq for past in ask(store.replay, "en", epoch, 30, 7)] == list(range(31, 38))
    assert ask(store.replay, "en", epoch, 130, 500) == []
    assert ask(store.replay, "en", "other", 100, 500) is None
    redis.delete(KEYS.meta)
    assert ask(store.replay, "en", epoch, 100, 500) is None, "a log without its epoch is none"


def test_a_hole_that_a_kill_left_is_no_gap_and_its_tombstone_follows(
    redis: Redis, outbox: Outbox, ask: Callable[..., Any]
) -> None:
    first = line("a", headline="Secret")
    second = update(first.record, "Secret again")
    for decision in (line("x", headline="Before"), first, line("y", headline="Between"), second):
        outbox.accept(decision)
    store.append(redis, EN)
    epoch = redis.hget(KEYS.meta, "epoch").decode()
    outbox.accept(kill(second.record))
    assert told(ask(store.replay, "en", epoch, 0, 500)) == [(1, "Before"), (3, "Between")]
    assert told(ask(store.read, "en").past) == [(1, "Before"), (3, "Between")]
    assert ask(store.read, "en").seq == 4, "the tombstone is still to come"
    store.append(redis, EN)
    assert told(ask(store.replay, "en", epoch, 1, 500)) == [(3, "Between"), (5, "killed")]
    assert isinstance(ask(store.replay, "en", epoch, 4, 500)[0].change, Removed)


def test_what_is_decided_at_one_moment_is_accepted_in_one_step_each_by_itself(redis: Redis, outbox: Outbox) -> None:
    first = line("a")
    outbox.accept(first)
    for others in (["b", "c"], ["d", "e"]):
        if others == ["b", "c"]:
            redis.script_flush()  # as after a restart of Redis
        waiting, woken = redis.llen(KEYS.outbox), redis.llen("rq:queue:breaking")
        answers = outbox.accept_all("en", [line(others[0]), line("a"), line(others[1])])
        assert [type(answer) for answer in answers] == [Accepted, TakenError, Accepted]
        assert redis.llen(KEYS.outbox) == waiting + 2
    assert redis.llen("rq:queue:breaking") == woken + 1, "one wake-up for all"
    stale = update(first.record, "One")
    outbox.accept(stale)
    assert [type(each) for each in outbox.accept_all("en", [stale, kill(first.record)])] == [StaleError, StaleError]
    assert outbox.accept_all("en", []) == []
    assert redis.llen("rq:queue:breaking") == woken + 3


def test_a_worker_that_is_quicker_than_the_change_is_woken_again(
    redis: Redis, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after a restart of Redis: the transaction brings the wake-up alone, and the change is written after it.
    redis.script_flush()
    run = accept_script.run

    def late(*arguments: Any) -> Any:
        assert redis.lpop("rq:queue:breaking"), "a worker has taken it, and found nothing"
        return run(*arguments)

    monkeypatch.setattr(accept_script, "run", late)
    outbox.accept(line("a"))
    assert redis.llen(KEYS.outbox) == 1
    assert redis.llen("rq:queue:breaking") == 1


def test_a_wake_up_goes_to_the_queue_on_another_redis_after_the_outbox(
    redis: Redis, servers: tuple[EmbeddedRedis, EmbeddedRedis]
) -> None:
    with blocking(servers[1].url) as other:
        other.flushall()
        Outbox(redis, breaking_queue(other)).accept(line("a"))
        assert redis.llen(KEYS.outbox) == 1
        assert other.llen("rq:queue:breaking") == 1
        assert not redis.keys("rq:*")
        assert not other.keys("sp:*")


def test_lines_are_accepted_while_the_queues_redis_is_down_and_swept_up_when_it_is_back(tmp_path: Path) -> None:
    queue_server = EmbeddedRedis(Settings(data=tmp_path / "queue"), say=lambda _: None)
    queue_server.start()
    try:
        with Service(tmp_path, queue_url=queue_server.url) as service, Redis.from_url(queue_server.url) as queue:
            service.may_fail.add("worker")  # RQ logs how it lost its Redis
            service.start(ready=False)
            until(service.is_ready, "/readyz to say 200")
            until(lambda: queue.scard("rq:workers"), "a worker to listen")
            with service.screen() as screen:
                screen.item(service.publish("While all is well")["id"])
                queue.shutdown(nosave=True)
                until(lambda: queue_server.returncode is not None, "the end of the queue's Redis")
                answers = [
                    service.http.post("/v1/items", json={"edition": "en", "headline": f"Line {number}"})
                    for number in range(3)
                ]
                assert [answer.status_code for answer in answers] == [202] * 3
                queue_server.respawn()
                for answer in answers:
                    screen.item(answer.json()["id"])
                assert "queue unreachable" in service.log("web")
    finally:
        queue_server.stop()
