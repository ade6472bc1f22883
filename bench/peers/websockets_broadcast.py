"""websockets: its asyncio server and `broadcast()`, on uvloop. It compresses nothing and sends no pings."""

import logging
import sys
from pathlib import Path

import uvloop
import websockets
from websockets.asyncio.server import ServerConnection, broadcast, serve

from bench.peers import PythonPeer
from bench.peers.control import BACKLOG, listening, obey


class WebsocketsBroadcast(PythonPeer):
    name = f"websockets {websockets.__version__} broadcast()"


async def main(port: int, folder: Path) -> None:
    """Serve for ever."""
    snapshot = (folder / "snapshot").read_text()
    connections: set[ServerConnection] = set()

    async def reader(connection: ServerConnection) -> None:
        await connection.send(snapshot)
        connections.add(connection)
        try:
            await connection.wait_closed()
        finally:
            connections.remove(connection)

    async def publish(payloads: list[str]) -> None:
        for payload in payloads:
            broadcast(connections, payload)

    # Handshakes that are given up are no news.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    async with (
        serve(reader, sock=listening(port), backlog=BACKLOG, compression=None, ping_interval=None),
        await obey(folder, publish) as control,
    ):
        await control.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2])))
