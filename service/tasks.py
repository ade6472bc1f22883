"""Tasks: what runs beside the requests for as long as the process lives. None dies in silence.

A bare `create_task` that dies leaves a server that answers 200 and delivers nothing. These log why, start again with a
growing pause, and show in `/readyz` while they are down.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

LONGEST_PAUSE_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Tasks:
    """Named loops that are started again when they end."""

    def __init__(self) -> None:
        self._alive: dict[str, bool] = {}

    def alive(self) -> dict[str, bool]:
        """Which of them run now."""
        return dict(self._alive)

    async def forever(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
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
