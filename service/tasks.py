"""Tasks: what runs beside the requests for as long as the process lives. None dies in silence.

A bare `create_task` that dies leaves a server that answers 200 and delivers nothing. These log why, start again with a
growing pause, and show in `/readyz` while they are down.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Self

import structlog

LONGEST_PAUSE_SECONDS = 5.0
# How long a cancelled task may take to end before it is cancelled once more.
AGAIN_SECONDS = 0.2

log = structlog.get_logger(__name__)


class Tasks:
    """Named loops that are started again when they end. They run while the context is open."""

    def __init__(self, loops: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        self._loops = loops
        self._alive: dict[str, bool] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        for name, loop in self._loops.items():
            self._running.add(asyncio.create_task(self._forever(name, loop), name=name))
        return self

    async def __aexit__(self, *failure: object) -> None:
        # A cancellation that meets a time-out may be taken for it, somewhere in a library, and be lost: one clock in
        # fifty did not end when told to. So it is repeated until all have ended.
        while self._running:
            for task in self._running:
                task.cancel()
            _, self._running = await asyncio.wait(self._running, timeout=AGAIN_SECONDS)

    def alive(self) -> dict[str, bool]:
        """Which of them run now."""
        return dict(self._alive)

    async def _forever(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run a loop that is not meant to end."""
        pause = 0.1
        while True:
            started = time.monotonic()
            self._alive[name] = True
            try:
                await loop()
                log.error("task ended", task=name)
            except Exception:
                log.exception("task died", task=name)
            self._alive[name] = False
            if time.monotonic() - started > 30:
                pause = 0.1
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
