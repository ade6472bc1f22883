"""Process: the readers' side of a web process without its Redis. Real sockets, uvicorn, uvloop and readers."""

import asyncio
import os
import socket
import time
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

import uvicorn
import uvloop
from uvicorn.server import ServerState

from service.domain.edition import Editions
from service.domain.frames import Ack, ItemChanged, encode
from service.domain.ticker import Ticker
from service.gateway.adopt import AdoptingProtocol
from service.gateway.arrivals import Arrivals
from service.gateway.door import Door
from service.gateway.hub import Hub
from service.gateway.replay import Replay
from service.settings import Settings
from service.web.server import listen
from tests.unit.samples import EN, item

T = TypeVar("T")

EPOCH = "k3f9"
# Longer than any test: what falls due by itself would be counted, too. The Hub's wheel also takes the readers out of
# the collector's sight (`gc.freeze`), and what is out of its sight nobody can count.
NEVER_SECONDS = 3600.0
# Connections that the kernel keeps for a process that is busy: a fair part of asyncio's own 100.
AT_ONCE = 64
# A change and its frame.
Heard = tuple[ItemChanged, bytes]
# A test that waits this long has failed: of the processor's time, since waiting here is turning the loop. On a busy
# machine it takes longer, and where something is missing it is over soon.
PATIENCE_SECONDS = 3.0
# No socket has a number this high.
NO_SOCKET = 1_000_000
os_write = os.write


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run it on uvloop, in a task of its own: no function of a library is entered again with each turn of the loop."""

    async def own() -> T:
        return await asyncio.ensure_future(work())

    return uvloop.run(own())


class Turn:
    """One turn of the loop, without entering a function that is not ours."""

    def __await__(self) -> Iterator[None]:
        yield


async def until(look: Callable[[], object], what: str) -> None:
    """Turn the loop until it is true."""
    ends = time.process_time() + PATIENCE_SECONDS
    while not look():
        assert time.process_time() < ends, f"waited in vain for {what}"
        await Turn()


def handshake(query: str = "") -> bytes:
    """A handshake as a browser sends it from a page of another origin."""
    return (
        f"GET /v1/editions/en/socket{query} HTTP/1.1\r\n"
        "Host: news.example.org\r\n"
        "Connection: Upgrade\r\n"
        "Pragma: no-cache\r\n"
        "Cache-Control: no-cache\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0\r\n"
        "Upgrade: websocket\r\n"
        "Origin: https://paper.example.org\r\n"
        "Sec-WebSocket-Version: 13\r\n"
        "Accept-Encoding: gzip, deflate, br, zstd\r\n"
        "Accept-Language: en-GB,en;q=0.9\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: stoppress.v1\r\n\r\n"
    ).encode()


class Wire:
    """A transport, and all that was written to it. uvloop's own methods are compiled: no profiler sees them called."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Wired(AdoptingProtocol):
    """Adopts sockets with such a transport."""

    def connection_made(self, transport: Any) -> None:
        wire: Any = Wire(transport)
        self.app_state["wires"].append(wire)
        super().connection_made(wire)


class Process:
    """A Hub with its Door behind a listening socket, and the other ends of its readers' connections.

    Unless it is `bare`, `wires` are the transports of its connections, and what it writes to sockets itself is kept:
    in `sent`, or in `screens` where the number is one of theirs.
    """

    def __init__(self, *, bare: bool = False) -> None:
        self._bare = bare
        self._task: asyncio.Task[None] | None = None
        self.wires: list[Wire] = []
        self.sent: list[bytes] = []
        self.screens: dict[int, list[bytes]] = {}
        self.ticker = Ticker(EN)
        self.hub = Hub({"en": self.ticker}, Replay(None), turn_seconds=NEVER_SECONDS)  # type: ignore[arg-type]
        # All readers come from one address.
        settings = Settings(max_connects_per_address=1_000_000)
        self.door = Door(settings, Editions({"en": EN}), self.hub)
        self.arrivals = Arrivals(self.hub.counts, most=10_000, seconds=NEVER_SECONDS)
        self.address: tuple[str, int] = ("", 0)
        self._ends: list[array[int]] = []
        self._config = uvicorn.Config(app=_nothing, http=AdoptingProtocol, ws="websockets-sansio", log_config=None)
        self._config.load()
        self._server = ServerState()
        gateway = SimpleNamespace(door=self.door, hub=self.hub, arrivals=self.arrivals)
        self._state = {"gateway": gateway, "wires": self.wires}
        self.ticker.load(EPOCH, 0, [])
        self.hub.restarted(self.ticker)

    def protocol(self) -> AdoptingProtocol:
        """What uvicorn makes for each connection."""
        kind = AdoptingProtocol if self._bare else Wired
        return kind(config=self._config, server_state=self._server, app_state=self._state)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen, and let the Hub deliver. Ten lines are on the air already."""
        loop = asyncio.get_running_loop()
        task = self._task = asyncio.create_task(self.hub.run())
        server = await loop.create_server(self.protocol, sock=listen("127.0.0.1", 0))
        self.address = server.sockets[0].getsockname()
        try:
            with nullcontext() if self._bare else patch.object(os, "write", self._write):
                await self.deliver(self.lines(10))
                yield
            self._check()
        finally:
            for reader in list(self.hub.readers()):
                reader.transport.abort()
            for fd in [fd for ends in self._ends for fd in ends]:
                socket.close(fd)
            server.close()
            task.cancel()
        # Where something went wrong, nobody waits for more of it.
        await until(lambda: not self.hub.count, "the readers to be gone")
        await server.wait_closed()
        await asyncio.gather(task, return_exceptions=True)

    def written(self) -> list[bytes]:
        """All that was written to all readers, by their transports and to their sockets."""
        return [data for wire in self.wires for data in wire.writes] + self.sent

    def _write(self, fd: int, data: bytes) -> int:
        """Stands for `os.write`, by which a delivery goes past the transports."""
        if fd >= NO_SOCKET:
            self.screens[fd].append(data)
            return len(data)
        self.sent.append(data)
        return os_write(fd, data)

    def _check(self) -> None:
        """Without its Hub there is nothing to wait for."""
        if self._task is not None and self._task.done():
            self._task.result()
            raise AssertionError("the Hub has ended")

    async def until(self, look: Callable[[], object], what: str) -> None:
        """Turn the loop until it is true, as long as the Hub is at work."""

        def looked() -> object:
            self._check()
            return look()

        await until(looked, what)

    def hear(self, changes: list[Heard]) -> None:
        """Let the process hear of these, as its Feed says it."""
        for change, payload in changes:
            past = self.ticker.apply(self.ticker.seq + 1, change, payload)
            self.hub.changed(self.ticker, past)

    def lines(self, count: int) -> list[Heard]:
        """So many new lines, as they come next."""
        return self.lines_in("politics" for _ in range(count))

    def lines_in(self, sections: Iterable[str]) -> list[Heard]:
        """A new line in each section, as they come next."""
        made = []
        for seq, section in enumerate(sections, self.ticker.seq + 1):
            line = item(f"01JDC{seq:021}", section=section, regions=("mena",), urgency=1)
            change = ItemChanged(f"{EPOCH}.{seq}", line)
            made.append((change, encode(change)))
        return made

    async def deliver(self, changes: list[Heard]) -> None:
        """Let the process hear of all of these at once, and wait until everyone has them."""
        counts, audience = self.hub.counts, self.hub.audiences["en"]
        expected = counts.deliveries + self.hub.count
        self.hear(changes)
        await self.until(
            lambda: audience.passed == self.ticker.seq and counts.deliveries == expected, "one delivery to each reader"
        )
        # The Hub goes back to waiting.
        await Turn()
        await Turn()

    def knock(self, readers: int, query: str = "") -> int:
        """Send so many handshakes, to be answered when the loop turns; how many readers there are then."""
        assert readers <= AT_ONCE
        request = handshake(query)
        # Bare numbers: what the other ends take must not be taken for the service's.
        ends = array("i", bytes(4 * readers))
        for place in range(readers):
            made = socket.create_connection(self.address)
            made.sendall(request)
            ends[place] = made.detach()
        self._ends.append(ends)
        return self.hub.count + readers

    async def seat(self, readers: int, query: str = "") -> None:
        """Let so many readers in, some at a time."""
        for first in range(0, readers, AT_ONCE):
            await self.answer(self.knock(min(AT_ONCE, readers - first), query))

    def confirm(self) -> None:
        """Let every reader send an ack for the latest line, which the process has not taken in yet."""
        payload = encode(Ack(cursor=str(self.ticker.cursor)))
        # With a mask of zeros (RFC 6455, section 5.2).
        frame = bytes((0x81, 0x80 | len(payload), 0, 0, 0, 0)) + payload
        for fd in [fd for ends in self._ends for fd in ends]:
            assert os_write(fd, frame) == len(frame)

    async def answer(self, readers: int) -> None:
        """Wait until so many more are let in."""
        await self.until(lambda: self.hub.count == readers, "the handshakes")


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """The application that no reader of an edition ever gets to."""
