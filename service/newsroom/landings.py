"""Landings: callers who wait until what they published is in the log. The Feed says when it is."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from service.domain.ticker import Past


class Landing:
    """One caller's wait for one item."""

    def __init__(self) -> None:
        self._heard: list[Past] = []
        self._event = asyncio.Event()

    def heard(self, past: Past) -> None:
        self._heard.append(past)
        self._event.set()

    async def of(self, version: int, seconds: float) -> Past | None:
        """The change that brought `version` or a later one; None if it does not come in time."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for past in self._heard:
                        if past.version >= version:
                            return past
                    self._event.clear()
                    await self._event.wait()
        except TimeoutError:
            return None


class Landings:
    """Registered before the item is accepted: it may be in the log before the caller's thread has returned."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[Landing]] = defaultdict(set)

    @contextmanager
    def expect(self, item_id: str) -> Iterator[Landing]:
        """Listen for an item's changes while the block runs."""
        landing = Landing()
        self._waiting[item_id].add(landing)
        try:
            yield landing
        finally:
            self._waiting[item_id].discard(landing)
            if not self._waiting[item_id]:
                del self._waiting[item_id]

    def heard(self, edition: str, past: Past) -> None:
        """Called by the Feed for each change."""
        for landing in self._waiting.get(past.subject, ()):
            landing.heard(past)
