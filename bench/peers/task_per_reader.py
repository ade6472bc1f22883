"""A queue and a task for each reader: the other way in which Starlette's users write it.

Served as in `starlette_loop`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import starlette
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from bench.peers import PythonPeer
from bench.peers.control import obey
from bench.peers.starlette_loop import serve


class TaskPerReader(PythonPeer):
    name = f"Starlette {starlette.__version__} queue and task a reader (uvicorn {uvicorn.__version__})"


def app(folder: Path) -> Starlette:
    """One route, a queue and a task for each of its sockets."""
    snapshot = (folder / "snapshot").read_text()
    queues: set[asyncio.Queue[str]] = set()

    async def sender(socket: WebSocket, queue: asyncio.Queue[str]) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await socket.send_text(await queue.get())

    async def reader(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(snapshot)
        queue: asyncio.Queue[str] = asyncio.Queue()
        queues.add(queue)
        sending = asyncio.create_task(sender(socket, queue))
        try:
            async for _ in socket.iter_text():
                pass
        finally:
            queues.discard(queue)
            sending.cancel()

    async def publish(payloads: list[str]) -> None:
        for payload in payloads:
            for queue in queues:
                queue.put_nowait(payload)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with await obey(folder, publish):
            yield

    return Starlette(routes=[WebSocketRoute("/", reader)], lifespan=lifespan)


if __name__ == "__main__":
    serve(app(Path(sys.argv[2])), int(sys.argv[1]))
