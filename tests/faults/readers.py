"""Readers: they hold sockets, read at once or slowly, leave and come back, and tell the oracle all that they get."""

import asyncio
import random
import socket
import struct
from contextlib import suppress
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.faults.oracle import History

# What each kind does beside reading: leaving (and for how long), or not reading for a while.
KINDS = ("live", "resuming", "returning", "slow", "fresh")
LOST = (OSError, ConnectionClosed, InvalidHandshake, InvalidMessage, EOFError, TimeoutError)
# A browser's buffer is larger; a small one makes slow readers lag soon.
SLOW_BUFFER = 4_096


class Reader:
    """One reader of one edition, at whichever address lets it in.

    live: reads at once. resuming: leaves every few seconds, comes back with its cursor. returning: stays away for long,
    so that its cursor is old. slow: stops reading for seconds. fresh: comes back without a cursor.
    """

    def __init__(self, kind: str, history: History, ports: list[int], chance: random.Random) -> None:
        self.kind = kind
        self.history = history
        self.connections = 0
        # Set once the campaign comes to rest: from then on it only reads.
        self.resting = False
        self._ports = ports
        self._chance = chance
        self._connection: ClientConnection | None = None

    def reset(self) -> None:
        """Break its connection as a crash of its machine does."""
        connection = self._connection
        if connection is not None:
            with suppress(OSError):
                raw = connection.transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.transport.abort()

    async def run(self) -> None:
        """Read until cancelled, and reconnect with full jitter."""
        cap = 0.25
        while True:
            try:
                await self._read()
                cap = 0.25
            except LOST:
                cap = min(cap * 2, 2.0)
            finally:
                self.history.closed()
                self._connection = None
            if not self.resting and self.kind == "returning":
                await asyncio.sleep(self._chance.uniform(2, 15))
            await asyncio.sleep(self._chance.uniform(0, cap))

    async def _read(self) -> None:
        history = self.history
        if self.kind == "fresh" and not self.resting:
            history.start_over()
        history.opened()
        query = history.selection.query() + ([("cursor", history.cursor)] if history.cursor else [])
        connection = await self._connect(f"/v1/editions/{history.edition}/socket?{urlencode(query)}")
        async with connection:
            self.connections += 1
            self._connection = connection
            leaves = self._pause()
            while leaves is None or leaves > 0 or self.resting:
                if self.kind == "slow" and not self.resting and self._chance.random() < 0.05:
                    await asyncio.sleep(self._chance.uniform(0.5, 6))
                began = asyncio.get_running_loop().time()
                # Beats come every 20 s; two missed ones are a dead connection (docs/protocol.md).
                limit = 45.0 if leaves is None or self.resting else leaves
                try:
                    async with asyncio.timeout(limit):
                        message = await connection.recv()
                except TimeoutError:
                    if limit < 45.0:
                        return
                    raise
                history.take(message)
                if leaves is not None:
                    leaves -= asyncio.get_running_loop().time() - began

    async def _connect(self, path: str) -> ClientConnection:
        """Connect as through a balancer: to any process that takes it.

        Raises:
            OSError, InvalidHandshake, TimeoutError: none does.
        """
        for left, port in enumerate(self._chance.sample(self._ports, len(self._ports)), start=1 - len(self._ports)):
            try:
                # A process may take connections and stand still.
                async with asyncio.timeout(10):
                    raw = await self._dial(port)
                    url = f"ws://127.0.0.1:{port}{path}"
                    return await connect(url, sock=raw, compression=None, close_timeout=0.5, ping_interval=None)
            except (OSError, InvalidHandshake):
                if not left:
                    raise
        raise AssertionError("the last port returns or raises")

    async def _dial(self, port: int) -> socket.socket:
        raw = socket.socket()
        raw.setblocking(False)
        if self.kind == "slow":
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)
        try:
            await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        except BaseException:
            raw.close()
            raise
        return raw

    def _pause(self) -> float | None:
        """After how many seconds it leaves; None for never."""
        if self.kind in ("live", "slow"):
            return None
        return self._chance.uniform(0.5, 8)
