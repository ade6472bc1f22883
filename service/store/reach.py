"""Reach: how many of the connected screens confirm what they should show. Gateways write, editors read.

A reader's ack is cumulative: it shows everything up to its cursor. So each web process only keeps how many readers
have confirmed up to which seq, for each selection, and the number of screens that confirm a change is the number
whose ack is at or after it. It falls when screens leave: it says what is true now.
"""

from collections.abc import Sequence

import msgspec
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from service.domain.item import Item
from service.domain.selection import Selection
from service.store.keys import Keys

# A web process that has not written for this long is gone, and its readers with it.
SILENT_MS = 10_000
# What has not changed is written this often all the same.
REPEAT_MS = 2_000


class Screens(msgspec.Struct, frozen=True, array_like=True):
    """One process's readers of one selection: how many there are, and how many have confirmed up to which seq."""

    sections: list[str]
    regions: list[str]
    urgency: int
    count: int
    confirmed: list[tuple[int, int]]

    @property
    def selection(self) -> Selection:
        return Selection(frozenset(self.sections), frozenset(self.regions), self.urgency)


class Sheet(msgspec.Struct, frozen=True, array_like=True):
    """What one web process says of its readers of one edition."""

    epoch: str
    at_ms: int
    screens: list[Screens]

    def is_news(self, before: "Sheet | None") -> bool:
        """Whether it must be written after the one before: something changed, or readers of it might think us gone."""
        if before is None or self.at_ms - before.at_ms >= REPEAT_MS:
            return True
        return (self.epoch, self.screens) != (before.epoch, before.screens)


class Reach(msgspec.Struct, frozen=True):
    """`screens` are connected and should know the change; `confirmed` of them say that they do."""

    screens: int
    confirmed: int


_sheet = msgspec.json.Decoder(Sheet)


async def write(redis: AsyncRedis, process: str, sheets: dict[str, Sheet]) -> None:
    """Replace what this process says of each edition."""
    async with redis.pipeline(transaction=False) as pipe:
        for edition, sheet in sheets.items():
            pipe.hset(Keys.of(edition).reach, process, msgspec.json.encode(sheet))
        await pipe.execute()


async def leave(redis: AsyncRedis, process: str, editions: list[str]) -> None:
    """Take a process that stops out of the audience."""
    async with redis.pipeline(transaction=False) as pipe:
        for edition in editions:
            pipe.hdel(Keys.of(edition).reach, process)
        await pipe.execute()


def read(redis: Redis, edition: str, item_id: str, item: Item | None, now_ms: int) -> Reach:
    """The reach of an item's latest public change. Without an `item` (it was killed) every screen counts."""
    _, (reach,) = read_all(redis, edition, [(item_id, item)], now_ms)
    return reach


def read_all(
    redis: Redis, edition: str, items: Sequence[tuple[str, Item | None]], now_ms: int
) -> tuple[int, list[Reach]]:
    """How many screens the edition has, and each item's reach as `read` says it, in one question."""
    keys = Keys.of(edition)
    with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(keys.reach)
        pipe.hget(keys.meta, "epoch")
        for item_id, _ in items:
            pipe.hget(keys.places, item_id)
        raws, epoch, *places = pipe.execute()
    sheets = []
    for process, raw in raws.items():
        sheet = _sheet.decode(raw)
        if sheet.at_ms + SILENT_MS < now_ms:
            redis.hdel(keys.reach, process)
            continue
        sheets.append(sheet)
    current = epoch.decode() if epoch is not None else None
    reaches = []
    for (_, item), seqs in zip(items, places, strict=True):
        seq = int(seqs.rpartition(b",")[2]) if seqs else None
        screens = confirmed = 0
        for sheet in sheets:
            for group in sheet.screens:
                if item is not None and not group.selection.matches(item):
                    continue
                screens += group.count
                if seq is not None and sheet.epoch == current:
                    confirmed += sum(count for acked, count in group.confirmed if acked >= seq)
        reaches.append(Reach(screens, confirmed))
    return sum(group.count for sheet in sheets for group in sheet.screens), reaches
