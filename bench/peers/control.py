"""Control: the server's side of the control connection, and of its listening, for peers in Python."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

BACKLOG = 4_096


def listening(port: int) -> socket.socket:
    """A socket that takes readers from now on, so that they can wait for the loop to begin."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


async def obey(folder: Path, publish: Callable[[list[str]], Awaitable[None]]) -> asyncio.Server:
    """Take what is published over the control connection, and pass it on in that order."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def number() -> int:
            return int.from_bytes(await reader.readexactly(4), "big")

        try:
            while True:
                payloads = [(await reader.readexactly(await number())).decode() for _ in range(await number())]
                writer.write(b"\n")
                await publish(payloads)
        except asyncio.IncompleteReadError:
            writer.close()

    return await asyncio.start_unix_server(connected, folder / "control")
