"""Crowd: thousands of readers in one thread. Each does what the protocol asks of a client, and checks what it gets."""

import asyncio
import json
import random
import re
import resource
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, Self, cast

import uvloop

from tests.integration.harness import until
from tests.integration.test_malformed_frames import CLOSE, frame, handshake

FIRST_CAP_SECONDS, LAST_CAP_SECONDS = 0.5, 30.0
# How many handshakes of the first round may be under way at once.
AT_ONCE = 200
PONG = frame(0xA)
KEPT, SHOWN = 40, 10


class One(asyncio.Protocol):
    """A reader for as long as the crowd lives; its connections come and go."""

    __slots__ = ("crowd", "cursor", "leaving", "lines", "port", "rest", "transport", "tries", "upgraded")

    def __init__(self, crowd: "Crowd", port: int) -> None:
        self.crowd = crowd
        self.port = port
        self.cursor = ""
        self.lines: dict[str, dict[str, Any]] = {}
        self.rest = b""
        self.tries = 0
        self.transport: asyncio.Transport | None = None
        self.upgraded = False
        self.leaving: asyncio.TimerHandle | None = None

    async def connect(self) -> None:
        """Try here, and elsewhere where nobody listens."""
        try:
            await self.crowd.loop.create_connection(lambda: self, "127.0.0.1", self.port)
        except OSError:
            self.elsewhere()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.upgraded, self.rest = False, b""
        query = f"?cursor={self.cursor}" if self.cursor else ""
        self.transport.write(handshake(line=f"GET /v1/editions/en/socket{query} HTTP/1.1".encode()))

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        if not self.upgraded:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self.rest = head
                return
            status = int(head.split(b" ", 2)[1])
            if status != 101:
                self.crowd.refusals[status] += 1
                self.hang_up()
                self.elsewhere()
                return
            self.upgraded, self.tries = True, 0
            self.crowd.opened(self)
        at = 0
        while len(data) - at >= 4 or data[at : at + 2] == b"\x89\x00":
            opcode, size, start = data[at], data[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            if len(data) < start + size:
                break
            at = start + size
            if opcode == 0x81:
                self.take(self.crowd.decoded(data[start:at]))
            elif opcode == 0x89:
                assert self.transport is not None
                self.transport.write(PONG)
            else:
                self.closed(data[start:at])
                return
        self.rest = data[at:]

    def take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "notice":
            self.leave_within(message["retryIn"] / 1000)
            return
        if kind == "behind":
            return
        epoch, _, seq = message["cursor"].partition(".")
        held, _, last = self.cursor.partition(".")
        if kind == "snapshot":
            self.crowd.snapshots += 1
            self.lines = {item["id"]: item for item in message["items"]}
        elif held != epoch or int(seq) != int(last) + (kind in ("item", "remove")):
            self.crowd.wrong.append(f"{kind} {message['cursor']} at {self.cursor}")
        elif kind == "item":
            item = message["item"]
            self.lines[item["id"]] = item
            if len(self.lines) > KEPT:
                self.lines = {item["id"]: item for item in self.shown(KEPT // 2)}
        elif kind == "remove":
            self.lines.pop(message["id"], None)
        self.cursor = message["cursor"]

    def shown(self, count: int = SHOWN) -> list[dict[str, Any]]:
        """The lines as a ticker shows them."""
        place = lambda item: (item["pinned"], item["publishedAt"], item["id"])  # noqa: E731
        return sorted(self.lines.values(), key=place, reverse=True)[:count]

    def closed(self, payload: bytes) -> None:
        """The service has closed: after the time in its reason it is there again, or another is."""
        code = int.from_bytes(payload[:2], "big")
        self.crowd.closes[code] += 1
        assert self.transport is not None
        self.transport.write(frame(CLOSE, payload[:2]))
        self.hang_up()
        asked = re.match(rb"\d+", payload[2:])
        if code == 1012 and asked:
            self.leave_within(int(asked[0]) / 1000)
        else:
            self.back_off()

    def leave_within(self, seconds: float) -> None:
        """Reconnect at a random moment within that time, or when it was planned if that is sooner."""
        at = self.crowd.loop.time() + random.uniform(0, seconds)
        if self.leaving is not None:
            at = min(at, self.leaving.when())
            self.leaving.cancel()
        self.leaving = self.crowd.loop.call_at(at, self.reconnect)

    def reconnect(self) -> None:
        self.leaving = None
        if self.transport is not None:
            self.transport.write(frame(CLOSE, b"\x03\xe8"))
            self.hang_up()
        self.crowd.start(self)

    def hang_up(self) -> None:
        if self.transport is not None:
            self.transport.close()
            self.crowd.connected.discard(self)
            self.transport = None

    def connection_lost(self, exc: Exception | None) -> None:
        # Of a connection that was hung up, the next one knows nothing.
        if self.transport is not None and self.transport.is_closing():
            self.transport = None
            self.crowd.connected.discard(self)
            self.crowd.closes[1006] += 1
            self.back_off()

    def eof_received(self) -> None:
        return

    def elsewhere(self) -> None:
        """Refused here: at once elsewhere, as a balancer does; refused everywhere, with full jitter."""
        self.port = self.crowd.other(self.port)
        self.tries += 1
        if self.tries % 2:
            self.crowd.start(self)
        else:
            self.back_off()

    def back_off(self) -> None:
        cap = min(LAST_CAP_SECONDS, FIRST_CAP_SECONDS * 2 ** (self.tries // 2))
        self.crowd.loop.call_later(random.uniform(0, cap), self.crowd.start, self)


class Crowd:
    """`count` readers spread over `ports`, from the beginning of the block to its end."""

    def __init__(self, count: int, ports: list[int]) -> None:
        self.ports = ports
        self.readers = [One(self, ports[number % len(ports)]) for number in range(count)]
        self.connected: set[One] = set()
        # When each connection but a reader's first was open (monotonic).
        self.reconnects: list[float] = []
        self.closes: Counter[int] = Counter()
        self.refusals: Counter[int] = Counter()
        self.snapshots = 0
        self.wrong: list[str] = []
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._tasks: set[asyncio.Task[None]] = set()
        self._messages: dict[bytes, dict[str, Any]] = {}
        self._known: set[One] = set()
        self._ending = False
        self.cpu_seconds = 0.0

    def __enter__(self) -> Self:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = len(self.readers) + 1_000
        if soft < wanted:
            assert hard >= wanted, f"expected a limit of {wanted} open files, got {hard}"
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(20)
        self.loop.run_until_complete(self._end())
        self.loop.close()

    async def _end(self) -> None:
        for reader in self.readers:
            if reader.transport is not None:
                reader.transport.abort()
            if reader.leaving is not None:
                reader.leaving.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.05)  # transports end in the loop's next turns

    def wait_for_all(self) -> None:
        """Wait until everyone is connected."""
        until(lambda: len(self.connected) == len(self.readers), "everyone to be connected", 60)

    def start(self, reader: One) -> None:
        if not self._ending:
            task = self.loop.create_task(reader.connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def opened(self, reader: One) -> None:
        self.connected.add(reader)
        if reader in self._known:
            self.reconnects.append(time.monotonic())
        self._known.add(reader)

    def other(self, port: int) -> int:
        """The next of the ports."""
        return self.ports[(self.ports.index(port) + 1) % len(self.ports)]

    def decoded(self, payload: bytes) -> dict[str, Any]:
        """A message, decoded once for everyone."""
        message = self._messages.get(payload)
        if message is None:
            if len(self._messages) > 1_000:
                self._messages.clear()
            message = self._messages[payload] = json.loads(payload)
        return message

    def most_in_a_second(self) -> int:
        """The most reconnects within any second."""
        most = first = 0
        for last, at in enumerate(self.reconnects):
            while self.reconnects[first] < at - 1:
                first += 1
            most = max(most, last - first + 1)
        return most

    def _run(self) -> None:
        come = self.loop.create_task(self._come())
        self._tasks.add(come)
        come.add_done_callback(self._tasks.discard)
        self.loop.run_forever()
        self.cpu_seconds = time.thread_time()

    async def _come(self) -> None:
        for start in range(0, len(self.readers), AT_ONCE):
            await asyncio.gather(*(reader.connect() for reader in self.readers[start : start + AT_ONCE]))
