"""Replay: readers whose cursor is older than what is in memory, served from the stream in chunks, in turn.

One task for all of them, so that a storm of old cursors costs Redis one read at a time; on a Cluster one for each
edition, so that nobody waits for a shard that hangs but its own readers.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

from service.domain.frames import Removed, websocket
from service.store import log as store
from service.store.connect import AsyncStore, Shards, of_edition

if TYPE_CHECKING:
    from service.gateway.hub import Hub
    from service.gateway.reader import Reader

# Changes in one read and one write: some 250 KB, the most that one slow reader holds in memory.
CHUNK = 500

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Return:
    """A reader that comes back from long ago. `refill`: it must see the ticker whole in the end."""

    reader: "Reader"
    hub: "Hub"
    refill: bool = False


class Line:
    """Those who wait for the same task."""

    def __init__(self) -> None:
        self.waiting: deque[Return] = deque()
        self.wake = asyncio.Event()

    def add(self, back: Return) -> None:
        """Queue one more."""
        self.waiting.append(back)
        self.wake.set()


class Replay:
    """Brings readers up to where memory begins, then hands them to the Hub."""

    def __init__(self, redis: AsyncStore) -> None:
        self._redis = redis
        self._lines: dict[str, Line] = {}
        # Those that have not drained: out of the queue, so that nobody waits behind them.
        self._parked: dict[Reader, Return] = {}
        self._more = asyncio.Event()

    def begin(self, reader: "Reader", hub: "Hub") -> None:
        """Take on a reader that waits at `reader.seq`; nothing else is written to it until it is done."""
        reader.replaying = True
        self._line(reader).add(Return(reader, hub))

    def drained(self, reader: "Reader") -> None:
        """A parked reader's transport is empty again: back into the queue."""
        back = self._parked.pop(reader, None)
        if back is not None:
            self._line(reader).add(back)

    def forget(self, reader: "Reader") -> None:
        """The connection is no more."""
        self._parked.pop(reader, None)

    async def run(self) -> None:
        """Serve for ever."""
        served: set[str] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                for name in self._lines.keys() - served:
                    served.add(name)
                    tasks.create_task(self._serve(self._lines[name]))
                self._more.clear()
                await self._more.wait()

    def _line(self, reader: "Reader") -> Line:
        name = reader.audience.ticker.edition.code if isinstance(self._redis, Shards) else ""
        if name not in self._lines:
            self._lines[name] = Line()
            self._more.set()
        return self._lines[name]

    async def _serve(self, line: Line) -> None:
        """Serve a line for ever, one chunk a reader, round robin."""
        while True:
            if not line.waiting:
                line.wake.clear()
                await line.wake.wait()
            back = line.waiting.popleft()
            try:
                more = await self._chunk(back)
            except (RedisError, OSError) as error:
                log.warning("replay waits for Redis", error=str(error))
                await asyncio.sleep(0.2)
                more = True
            if more and back.reader.paused:
                self._parked[back.reader] = back
            elif more:
                line.waiting.append(back)

    async def _chunk(self, back: Return) -> bool:
        """Serve one chunk; true while the reader needs more."""
        reader, ticker = back.reader, back.reader.audience.ticker
        if reader.blocked():
            return not reader.ended()
        after, epoch, now = reader.seq, ticker.epoch, ticker.seq
        if after < 0 or ticker.covers(after):
            return self._done(back)
        code = ticker.edition.code
        past = await store.replay(of_edition(self._redis, code), code, epoch, after, CHUNK)
        if reader.blocked():
            return not reader.ended()
        if past is None or ticker.epoch != epoch or reader.seq != after:
            # Not gapless from here (any more): a snapshot instead, never a silent hole.
            reader.seq = -1
            return self._done(back)
        back.refill |= any(isinstance(each.change, Removed) or each.change.item.version > 1 for each in past)
        selection = reader.group.selection
        payloads = [payload for each in past if (payload := each.for_reader(selection)) is not None]
        reader.seq = past[-1].seq if past else now
        if payloads:
            reader.transport.write(b"".join(map(websocket, payloads)))
        return True

    def _done(self, back: Return) -> bool:
        back.reader.replaying = False
        back.hub.catch_up(back.reader, refill=back.refill)
        return False
