"""Trail: one line in the log for each change that was delivered, with its hops from the editor to the last reader.

Written after the pass and in slices: a burst of a thousand changes is a thousand lines, and none of its readers waits
for them.
"""

import asyncio
import time
from collections import deque
from typing import NamedTuple

import structlog

from service.domain.instant import format_ms
from service.domain.ticker import Past
from service.histogram import Histogram

# The loop is given back after this long.
SLICE_SECONDS = 0.002
# More lines than this do not wait: the oldest are dropped, and the log says how many.
LONGEST = 20_000

log = structlog.get_logger(__name__)


class Heard(NamedTuple):
    """A change on its way through this process, in ms since 1970. `accepted_ms` is None where nobody said it."""

    accepted_ms: int | None
    heard_ms: float


class Line(NamedTuple):
    """What one line of the log says. `readers` were written to in the change's pass, `lagging` were not."""

    edition: str
    past: Past
    heard: Heard
    first_ms: float
    last_ms: float
    readers: int
    lagging: int


class Trail:
    """Where the Hub leaves what its passes did. `run` never returns."""

    def __init__(self, seconds: Histogram) -> None:
        self._seconds = seconds
        self._lines: deque[Line] = deque(maxlen=LONGEST)
        self._dropped = 0
        self._wake = asyncio.Event()

    def delivered(self, line: Line) -> None:
        """Take in what became of one change."""
        if line.heard.accepted_ms is not None and line.readers:
            self._seconds.observe(max(0.0, line.last_ms - line.heard.accepted_ms) / 1000)
        if len(self._lines) == LONGEST:
            self._dropped += 1
        self._lines.append(line)
        self._wake.set()

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            ends = time.perf_counter() + SLICE_SECONDS
            while self._lines:
                self._write(self._lines.popleft())
                if time.perf_counter() > ends:
                    await asyncio.sleep(0)
                    ends = time.perf_counter() + SLICE_SECONDS
            if self._dropped:
                log.warning("lines of deliveries dropped", count=self._dropped)
                self._dropped = 0

    def _write(self, line: Line) -> None:
        accepted_ms, heard_ms = line.heard
        start = heard_ms if accepted_ms is None else accepted_ms
        log.info(
            "delivered",
            edition=line.edition,
            id=line.past.subject,
            version=line.past.version,
            seq=line.past.seq,
            accepted=None if accepted_ms is None else format_ms(accepted_ms),
            heard_ms=round(heard_ms - start, 1),
            first_ms=round(line.first_ms - start, 1),
            last_ms=round(line.last_ms - start, 1),
            readers=line.readers,
            lagging=line.lagging,
        )
