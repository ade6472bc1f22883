"""Log: an edition's public changes. Workers append (blocking); the Feed reads (asyncio)."""

import secrets
from typing import NamedTuple, cast

import msgspec
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from service.domain.edition import Edition
from service.domain.frames import ItemChanged, Removed, decode_news
from service.domain.item import Item
from service.domain.ticker import RING, Past
from service.store.connect import engine
from service.store.keys import Keys
from service.store.script import Script

# One step of the append script takes some 30 µs a change; Redis serves nobody else meanwhile.
STEP = 100

# Renews a log whatever its seq is.
ANY_SEQ = 10**15

append_script = Script("append", "epoch")
beat_script = Script("beat", "epoch")
renew_script = Script("renew")

_items = msgspec.json.Decoder(Item)


def new_epoch() -> str:
    """A name for a log that starts over; 1.7 million are enough to tell a handful apart."""
    alphabet = "0123456789abcdefghijklmnopqrstuvwxyz"
    return "".join(secrets.choice(alphabet) for _ in range(4))


class Appended(NamedTuple):
    """One change that went into the log; `accepted_ms` is when the API took it."""

    seq: int
    version: int
    accepted_ms: int
    id: str


class State(NamedTuple):
    """A consistent read of a log: where it is, what is on air, and the changes after `starts`.

    `canary_ms` is when the last canary that got through was accepted; None: none ever did.
    """

    epoch: str
    seq: int
    lines: list[Item]
    past: list[Past]
    starts: int
    floor: int
    canary_ms: int | None = None


def append(redis: Redis, edition: Edition, queued_ms: int | None = None) -> list[Appended]:
    """Empty the edition's outbox into its log, in order, and publish each change.

    `queued_ms` is when the wake-up that this is was queued.
    """
    keys = Keys.of(edition.code)
    names = [keys.outbox, keys.log, keys.meta, keys.live, keys.places, keys.hops]
    queued = "-" if queued_ms is None else queued_ms
    appended: list[Appended] = []
    while True:
        waiting, *rows = append_script.run(redis, names, [STEP, edition.log, *_words(redis, keys.news), queued])
        for row in rows:
            seq, version, accepted_ms, item_id = row.decode().split(" ", 3)
            appended.append(Appended(int(seq), int(version), int(accepted_ms), item_id))
        if not waiting:
            return appended


def landed(redis: Redis, edition: str, item_id: str, version: int) -> Past | None:
    """The first change in the log that brought this version of an item, or a later one; None if none is there."""
    keys = Keys.of(edition)
    places = cast(bytes | None, redis.hget(keys.places, item_id))
    with redis.pipeline(transaction=False) as pipe:
        for seq in places.decode().split(",") if places else ():
            pipe.xrange(keys.log, f"{seq}-0", f"{seq}-0")
        found = [_past(entry) for entries in pipe.execute() for entry in entries]
    return next((past for past in found if past.version >= version), None)


async def beat(redis: AsyncRedis, edition: str, at: str) -> None:
    """Publish how far the log has got."""
    keys = Keys.of(edition)
    epoch, *words = _words(redis, keys.news)
    await beat_script.arun(redis, [keys.meta, keys.log, keys.places], [epoch, at, *words])


async def renew(redis: AsyncRedis, edition: str, epoch: str, seq: int) -> None:
    """Start a new epoch if the log is behind what this process has seen of it: it was restored from the past."""
    keys = Keys.of(edition)
    await renew_script.arun(redis, [keys.meta, keys.log], [epoch, seq, new_epoch()])


async def read(redis: AsyncRedis, edition: str) -> State:
    """Read the log's state and latest changes in one transaction; begins the log of an edition that has none."""
    keys = Keys.of(edition)
    async with redis.pipeline(transaction=True) as pipe:
        pipe.hmget(keys.meta, ["epoch", "seq", "floor", "canary"])
        pipe.hvals(keys.live)
        pipe.xrevrange(keys.log, count=RING)
        (epoch, seq, floor, canary), lines, entries = await pipe.execute()
    if epoch is None:
        # Without a beat: this process would take its own for the clock's.
        await beat_script.arun(redis, [keys.meta, keys.log, keys.places], [new_epoch(), "", "", "", ""])
        return await read(redis, edition)
    past = [_past(entry) for entry in reversed(entries)]
    # Read to its end, the stream has everything above the floor; what is missing there was scrubbed by a kill.
    starts = int(floor) if len(past) < RING else past[0].seq - 1
    items = [_items.decode(line) for line in lines]
    return State(epoch.decode(), int(seq), items, past, starts, int(floor), int(canary) if canary else None)


async def replay(redis: AsyncRedis, edition: str, epoch: str, after: int, count: int) -> list[Past] | None:
    """The changes after `after`, oldest first, at most `count`. None if they are not provably all there.

    A seq that is missing above the floor was scrubbed by a kill; its tombstone comes later.
    """
    keys = Keys.of(edition)
    async with redis.pipeline(transaction=True) as pipe:
        pipe.hmget(keys.meta, ["epoch", "floor"])
        pipe.xrange(keys.log, min=f"{after + 1}-0", count=count)
        (now_epoch, floor), entries = await pipe.execute()
    if now_epoch is None or now_epoch.decode() != epoch or after < int(floor):
        return None
    return [_past(entry) for entry in entries]


def _words(redis: Redis | AsyncRedis, channel: str) -> list[str]:
    """What the scripts must know of the engine: a new epoch, channel, how to publish, and an epoch after failover.

    On a single Redis another replication id only means that it was restarted.
    """
    kind = engine(redis)
    return [
        new_epoch(),
        channel,
        "SPUBLISH" if kind == "cluster" else "PUBLISH",
        "" if kind == "single" else new_epoch(),
    ]


def _past(entry: tuple[bytes, dict[bytes, bytes]]) -> Past:
    entry_id, fields = entry
    payload = fields[b"frame"]
    change = decode_news(payload)
    assert isinstance(change, ItemChanged | Removed)
    return Past(int(entry_id.split(b"-")[0]), change, payload, None, known=False)
