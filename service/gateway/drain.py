"""Drain: a process that is asked to stop lets its readers go first, and answers all the while.

A server's own way to stop is to close its port and then wait; callers meanwhile hang and are cut off. Here the signal
goes to the Hub first: `/readyz` says 503 at once, handshakes are refused with Retry-After, calls are answered as usual,
and the server hears of it when the last reader has left, or when that takes too long. A second Ctrl-C skips the rest.
"""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from service.gateway.hub import Hub

NUMBERS = (signal.SIGINT, signal.SIGTERM)
# Beyond the drain's own time: the last readers' goodbyes. Then the server stops whoever is left.
MARGIN_SECONDS = 10.0


@contextmanager
def drain_first(hub: Hub, seconds: float) -> Iterator[None]:
    """While this runs, stand between the signals and the server's handlers, for `seconds` and a margin at the most.

    Outside the main thread it does nothing: there are no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    servers = {number: signal.getsignal(number) for number in NUMBERS}
    asked = stopped = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked

        def stop() -> None:
            # Once: told twice, uvicorn stops without its lifespan's end, with a traceback.
            nonlocal stopped
            handler = servers[signal.Signals(number)]
            if not stopped and callable(handler):
                stopped = True
                handler(number, frame)

        def begin() -> None:
            loop.call_later(seconds + MARGIN_SECONDS, stop)
            hub.drain(stop)

        if not asked:
            asked = True
            loop.call_soon_threadsafe(begin)
        elif number == signal.SIGINT:
            # Not SIGTERM: that may come twice for one request, from the terminal and from the parent process.
            stop()

    for number in NUMBERS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in servers.items():
            signal.signal(number, handler)
