"""Arrivals: connections that are no readers yet, and may never be. Bounded in number, and in how long they may take.

One ordered mapping and one look a second, no timer a connection: who has owed something for longest is in front.
"""

import asyncio
import time
from collections import OrderedDict
from typing import Protocol

from service.gateway.counts import Counts

# How often the front is looked at; more often where the bound itself is shorter.
SWEEP_SECONDS = 1.0


class Caller(Protocol):
    """A connection of uvicorn's: `gateway/adopt.py`."""

    def drop(self) -> None: ...
    def overdue(self) -> bool: ...


class Arrivals:
    """Who owes a whole request, or has not taken an answer, and since when."""

    def __init__(self, counts: Counts, *, most: int, seconds: float) -> None:
        self._counts = counts
        self._most = most
        self._seconds = seconds
        self._owing: OrderedDict[Caller, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._owing)

    def came(self, caller: Caller, present: int) -> None:
        """Take in a connection that is one of `present`. Where those are too many, the slowest of them goes.

        Of those who have sent no whole request yet, that is the oldest: a flood of silent connections pushes out its
        own, and who asks at once is served. Where all others are at work it is the newest, this one.
        """
        self._owing[caller] = time.monotonic()
        if present > self._most:
            slowest, _ = self._owing.popitem(last=False)
            self._counts.crowded_out += 1
            slowest.drop()

    def owes(self, caller: Caller) -> None:
        """Something is awaited of a connection from now on, if it is not already."""
        if caller not in self._owing:
            self._owing[caller] = time.monotonic()

    def settled(self, caller: Caller) -> None:
        """A connection owes nothing: its request is here, or it is gone."""
        self._owing.pop(caller, None)

    def sweep(self) -> None:
        """Drop whoever has owed something for too long."""
        limit = time.monotonic() - self._seconds
        while self._owing:
            caller, since = next(iter(self._owing.items()))
            if since > limit:
                return
            del self._owing[caller]
            if caller.overdue():
                self._counts.timeouts += 1

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, self._seconds / 2))
            self.sweep()
