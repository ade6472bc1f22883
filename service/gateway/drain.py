"""Drain: a process that is asked to stop lets its readers go first, and answers all the while.

A server's own way to stop is to close its port and then wait; callers meanwhile hang and are cut off. Here the signal
goes to the Hub first: `/readyz` says 503 at once, handshakes are refused with Retry-After, calls are answered as usual,
and the server hears of it when the last reader has left. A second Ctrl-C skips the rest.
"""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from service.gateway.hub import Hub

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def drain_first(hub: Hub) -> Iterator[None]:
    """While this runs, stand between the signals and the server's handlers. Outside the main thread it does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    servers = {number: signal.getsignal(number) for number in NUMBERS}
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked

        def stop() -> None:
            handler = servers[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)

        if not asked:
            asked = True
            loop.call_soon_threadsafe(hub.drain, stop)
        elif number == signal.SIGINT:
            # SIGTERM may come twice for one request: from the terminal and from the parent process.
            stop()

    for number in NUMBERS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in servers.items():
            signal.signal(number, handler)
