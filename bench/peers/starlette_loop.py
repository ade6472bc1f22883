"""Starlette: a set of sockets and a loop of `await send_text()`, as its users write it, under plain uvicorn.

uvicorn has uvloop, httptools and its default WebSocket implementation; it compresses nothing and sends no pings.
"""

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
from bench.peers.control import BACKLOG, listening, obey


class StarletteLoop(PythonPeer):
    name = f"Starlette {starlette.__version__} loop of send_text (uvicorn {uvicorn.__version__})"


def app(folder: Path) -> Starlette:
    """One route, one set."""
    snapshot = (folder / "snapshot").read_text()
    sockets: set[WebSocket] = set()

    async def reader(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(snapshot)
        sockets.add(socket)
        try:
            async for _ in socket.iter_text():
                pass
        finally:
            sockets.discard(socket)

    async def publish(payloads: list[str]) -> None:
        for payload in payloads:
            for socket in list(sockets):
                # It has gone; its own task finds out.
                with suppress(WebSocketDisconnect, RuntimeError):
                    await socket.send_text(payload)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with await obey(folder, publish):
            yield

    return Starlette(routes=[WebSocketRoute("/", reader)], lifespan=lifespan)


def serve(app: Starlette, port: int) -> None:
    """Serve for ever."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        backlog=BACKLOG,
        log_level="critical",
    )
    uvicorn.Server(config).run(sockets=[listening(port)])


if __name__ == "__main__":
    serve(app(Path(sys.argv[2])), int(sys.argv[1]))
