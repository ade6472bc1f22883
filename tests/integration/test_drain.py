"""Drain: nobody can hold a process that is told to stop, and to be told is no failure."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable

import pytest

from service.gateway import drain
from service.gateway.drain import drain_first
from tests.integration.harness import Service, until
from tests.integration.test_malformed_frames import handshake


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_reader_who_never_answers_does_not_hold_a_process_which_ends_well(
    own_service: Service, processes: str
) -> None:
    own_service.start(drain_seconds="1", web_processes=processes)

    def joined() -> socket.socket | None:
        # Of two processes only one has said that it is ready; the other may still refuse.
        mute = socket.create_connection(("127.0.0.1", own_service.port), timeout=20)
        mute.sendall(handshake())
        if mute.recv(65_536).startswith(b"HTTP/1.1 101 "):
            return mute
        mute.close()
        return None

    with until(joined, "a handshake to be accepted") as mute:
        assert mute is not None
        # Not a word from now on; the close frame is not answered.
        assert own_service.stop("web") == 0


def test_a_process_without_readers_ends_well_and_at_once(own_service: Service) -> None:
    own_service.start(drain_seconds="600")
    assert own_service.stop("web") == 0


def test_a_worker_and_a_clock_end_well(own_service: Service) -> None:
    own_service.start()
    assert (own_service.stop("worker"), own_service.stop("clock")) == (0, 0)


class Endless:
    """A Hub whose last reader never leaves."""

    def __init__(self) -> None:
        self.asked = 0

    def drain(self, done: Callable[[], None]) -> None:
        self.asked += 1


def test_a_drain_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "MARGIN_SECONDS", 0.05)
    stopped: list[int] = []
    hub = Endless()

    async def run() -> None:
        ended = asyncio.Event()

        def server(number: int, frame: object) -> None:
            stopped.append(number)
            ended.set()

        signal.signal(signal.SIGTERM, server)
        with drain_first(hub, 0.05):  # type: ignore[arg-type]
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # told twice, it does not begin anew
            async with asyncio.timeout(20):
                await ended.wait()

    before = signal.getsignal(signal.SIGTERM)
    try:
        asyncio.run(run())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (stopped, hub.asked) == ([signal.SIGTERM], 1)
