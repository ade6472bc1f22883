"""Proxy: a TCP proxy between one process of the service and Redis, which can fail in every way that a network does.

It can cut connections, refuse new ones, hold everything back for a while, swallow everything, and cut right after the
Nth reply of Redis, which is between any two commands that the process sends.
"""

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import urlsplit, urlunsplit

CHUNK = 65_536


class Replies:
    """Finds where replies end in what Redis sends (RESP2 and RESP3), so that they can be counted."""

    # A line says all there is to know of these.
    SIMPLE = b"+-:_#,("
    BULK = b"$!="
    # How many values follow for each that is announced.
    NESTED: ClassVar = {b"*"[0]: 1, b"~"[0]: 1, b">"[0]: 1, b"%"[0]: 2}

    def __init__(self) -> None:
        self._data = b""
        self._depth: list[int] = []

    def feed(self, data: bytes) -> list[int]:
        """Take in bytes; returns the ends of the replies that are complete now, as offsets into `data`."""
        before = len(self._data)
        self._data += data
        at, ends = 0, []
        while (size := self._value(at)) is not None:
            at += size
            if not self._depth:
                ends.append(at - before)
        self._data = self._data[at:]
        return ends

    def _value(self, at: int) -> int | None:
        """The size of the value (or of the head of an aggregate) at `at`, if it is all there."""
        stop = self._data.find(b"\r\n", at)
        if stop < 0:
            return None
        kind, size = self._data[at], stop + 2 - at
        if kind in self.BULK and (length := int(self._data[at + 1 : stop])) >= 0:
            size += length + 2
            if len(self._data) < at + size:
                return None
        elif kind in self.NESTED and (count := int(self._data[at + 1 : stop])) > 0:
            self._depth.append(count * self.NESTED[kind])
            return size
        elif kind not in self.SIMPLE and kind not in self.BULK and kind not in self.NESTED:
            raise ValueError(f"expected a reply of Redis, got {self._data[at : at + 40]!r}")
        # A value is complete; so may be the aggregates that it is the last one of.
        while self._depth:
            self._depth[-1] -= 1
            if self._depth[-1]:
                break
            self._depth.pop()
        return size


class Proxy:
    """One process's way to Redis. Everything here runs in the event loop that `async with` was entered in."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._server: asyncio.Server | None = None
        self._pairs: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = {}
        self._open = asyncio.Event()
        self._open.set()
        self.refusing = False
        self.delay_seconds = 0.0
        self.replies = 0
        self._left: int | None = None
        self._then: Callable[[], None] = self.cut

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.heal()
        self.cut()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    @property
    def url(self) -> str:
        """The address for the process, password included."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user, _, _ = self._target.netloc.rpartition("@")
        return urlunsplit(self._target._replace(netloc=f"{user}@127.0.0.1:{port}"))

    def cut(self) -> None:
        """Reset every connection (RST, as after a crash of the machine between)."""
        for pair in list(self._pairs.values()):
            for writer in pair:
                reset(writer)

    def refuse(self) -> None:
        """Reset every connection, and take no new one until `heal`."""
        self.refusing = True
        self.cut()

    def swallow(self) -> None:
        """Pass nothing on until `heal`; the connections stay: TCP that looks healthy and is dead."""
        self._open.clear()

    def delay(self, seconds: float) -> None:
        """Hold back everything for that long, each way."""
        self.delay_seconds = seconds

    def cut_after(self, replies: int, then: Callable[[], None] | None = None) -> None:
        """When that many more replies have come, keep the last one and do `then` (by default: cut)."""
        self._left, self._then = replies, then or self.cut

    def heal(self) -> None:
        """Be a wire again."""
        self.refusing = False
        self.delay_seconds = 0.0
        self._left = None
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            reset(writer)
            return
        try:
            far = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            reset(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._pairs[task] = (writer, far[1])
        ways = [
            asyncio.ensure_future(self._pass(reader, far[1], None)),
            asyncio.ensure_future(self._pass(far[0], writer, Replies())),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            del self._pairs[task]
            for each in (writer, far[1]):
                with suppress(OSError, RuntimeError):
                    each.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, replies: Replies | None) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while data := await reader.read(CHUNK):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                await self._open.wait()
                if replies is not None and not self._count(replies.feed(data)):
                    return
                writer.write(data)
                await writer.drain()

    def _count(self, ends: list[int]) -> bool:
        """Count replies; false if the connection ends here, with the reply that was counted last unseen."""
        self.replies += len(ends)
        if self._left is None:
            return True
        self._left -= len(ends)
        if self._left > 0:
            return True
        self._left = None
        self._then()
        return False


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST instead of FIN: what is on its way is lost, as in a crash."""
    transport = writer.transport
    with suppress(OSError, AttributeError):
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
