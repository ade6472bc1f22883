"""Hops: the way of each change: accepted, queued, in the log, on the first screen, on 99 % of the screens.

`append.lua` notes when a change came into the log, for good; each web process notes when its readers confirmed it, and
that is kept for a quarter of a year. Neither holds a word of text, so that a kill leaves nothing to clean up here.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from typing import cast

import msgspec
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from service.store.keys import Keys, shown

# Upper bounds, in ms, of the time from accepted to shown; the last count is of what took longer.
BOUNDS = (
    *(1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700),
    *(1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 30_000, 60_000),
)
KEPT_SECONDS = 92 * 86_400


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """One process's readers: how soon the first showed a change, and how many within each of `BOUNDS` (by index)."""

    first_ms: int
    counts: list[tuple[int, int]]


class Hops(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The way of one version of an item. Times in ms after it was accepted; None is not known, or not yet.

    `confirmed` counts every screen that ever showed it; `p50` and `p99` are upper bounds among those.
    """

    version: int
    seq: int
    accepted_ms: int
    queued: int | None
    in_log: int
    first: int | None
    p50: int | None
    p99: int | None
    confirmed: int
    # How many showed it within so many ms, for a curve: (ms, screens).
    curve: list[tuple[int, int]]


_tally = msgspec.json.Decoder(Tally)


async def write(redis: AsyncRedis, edition: str, process: str, news: dict[tuple[str, int], Tally]) -> None:
    """Keep what this process's readers have confirmed."""
    async with redis.pipeline(transaction=False) as pipe:
        for (item_id, version), tally in news.items():
            pipe.hset(shown(edition, item_id), f"{version} {process}", msgspec.json.encode(tally))
            pipe.expire(shown(edition, item_id), KEPT_SECONDS)
        await pipe.execute()


def read(
    redis: Redis, edition: str, items: Sequence[tuple[str, int]], *, latest: int = sys.maxsize
) -> list[list[Hops]]:
    """The way of each item's `latest` versions up to the given one, oldest first; those that went out. One question."""
    keys = Keys.of(edition)
    numbers = [range(max(1, version - latest + 1), version + 1) for _, version in items]
    with redis.pipeline(transaction=False) as pipe:
        for (item_id, _), each in zip(items, numbers, strict=True):
            pipe.hmget(keys.hops, [f"{item_id}:{number}" for number in each])
            pipe.hgetall(shown(edition, item_id))
        answers = pipe.execute()
    found = []
    for place, each in enumerate(numbers):
        ways = cast(list[bytes | None], answers[2 * place])
        tallies = cast(dict[bytes, bytes], answers[2 * place + 1])
        rows = zip(each, ways, strict=True)
        found.append([_hops(number, way.decode(), tallies) for number, way in rows if way is not None])
    return found


def _hops(version: int, way: str, tallies: dict[bytes, bytes]) -> Hops:
    seq, accepted, queued, in_log = way.split(" ")
    mine = [_tally.decode(raw) for field, raw in tallies.items() if field.split(b" ")[0] == b"%d" % version]
    counts: Counter[int] = Counter()
    for tally in mine:
        counts.update(dict(tally.counts))
    curve, total = [], 0
    for bound in sorted(counts):
        total += counts[bound]
        curve.append((BOUNDS[min(bound, len(BOUNDS) - 1)], total))
    return Hops(
        version=version,
        seq=int(seq),
        accepted_ms=int(accepted),
        queued=max(0, int(queued) - int(accepted)) if queued != "-" else None,
        in_log=max(0, int(in_log) - int(accepted)),
        first=min((tally.first_ms for tally in mine), default=None),
        p50=within(curve, total * 0.5),
        p99=within(curve, total * 0.99),
        confirmed=total,
        curve=curve,
    )


def within(curve: Sequence[tuple[int, int]], screens: float) -> int | None:
    """In how many ms so many screens showed it; None if so many never did."""
    if not screens:
        return None
    return next((ms for ms, reached in curve if reached >= screens), None)
