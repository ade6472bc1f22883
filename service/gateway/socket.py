"""Socket: the readers' endpoint as plain ASGI, under any server. Slower than the adopted one, with the same promises.

A transport of our own stands between the Hub and ASGI's `send`: it reports "not drained" while a message is on its
way, so that everything the Hub does for slow readers holds here too.
"""

import asyncio
from collections import deque

from redis.exceptions import RedisError
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from service.domain.frames import SUBPROTOCOL, Close
from service.errors import StoppressError, UnavailableError
from service.gateway.door import Door
from service.gateway.reader import Reader


class AsgiTransport:
    """Takes the Hub's finished frames apart again and sends their payloads one by one."""

    def __init__(self) -> None:
        self._reader: Reader | None = None
        self._frames: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._ends = False
        # Cancelled by `abort`: what is on its way to a reader that never reads is not waited for.
        self.pumping: asyncio.Task[None] | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Report to this reader."""
        assert isinstance(protocol, Reader)
        self._reader = protocol

    def get_extra_info(self, name: str) -> None:
        """Nothing is known of what is below ASGI; there is no socket to write to."""

    def write(self, data: bytes) -> None:
        """Queue what one write holds, and report that nothing more may come until it is sent."""
        self._frames.append(data)
        self._wake.set()
        if self._reader is not None:
            self._reader.pause_writing()

    def close(self) -> None:
        """End once everything is sent."""
        self._ends = True
        self._wake.set()

    def abort(self) -> None:
        """End now."""
        self._frames.clear()
        self.close()
        if self.pumping is not None:
            self.pumping.cancel()

    async def pump(self, websocket: WebSocket) -> None:
        """Send for ever, until the reader is closed."""
        while True:
            while self._frames:
                for opcode, payload in unframe(self._frames.popleft()):
                    if opcode == 0x1:
                        await websocket.send_text(payload.decode())
                    elif opcode == 0x8:
                        await websocket.close(int.from_bytes(payload[:2], "big"), payload[2:].decode())
                        return
                    elif self._reader is not None:
                        # A ping: the server under us keeps its connections alive by itself.
                        self._reader.heard = True
            if self._ends:
                return
            self._wake.clear()
            if self._reader is not None:
                self._reader.resume_writing()
            await self._wake.wait()


async def socket(websocket: WebSocket) -> None:
    """`GET /v1/editions/{edition}/socket` where uvicorn's protocol class did not adopt it."""
    gateway = websocket.state.gateway
    door: Door = gateway.door
    code = websocket.path_params["edition"]
    try:
        peer = websocket.client.host if websocket.client else ""
        address = door.address(peer, websocket.headers.get("x-forwarded-for"))
        door.knock(address)
        wish = door.wish(code, websocket.url.query)
        audience = door.audience(code)
        door.check(audience, websocket.headers.get("origin"), address)
        if door.is_private(code):
            await _admit_by_key(websocket, code)
    except StoppressError as error:
        gateway.hub.counts.refusals[error.code] += 1
        await websocket.send_denial_response(refusal(error))
        return
    subprotocol = SUBPROTOCOL if SUBPROTOCOL in websocket.scope["subprotocols"] else None
    await websocket.accept(subprotocol)
    transport = AsgiTransport()
    reader = door.let_in(audience, wish, transport, address)
    try:
        async with asyncio.TaskGroup() as tasks:
            pump = transport.pumping = tasks.create_task(_pump(transport, websocket))
            listen = tasks.create_task(_listen(reader, websocket))
            await asyncio.wait((pump, listen), return_when=asyncio.FIRST_COMPLETED)
            pump.cancel()
            listen.cancel()
    finally:
        reader.connection_lost(None)


async def _pump(transport: AsgiTransport, websocket: WebSocket) -> None:
    try:
        await transport.pump(websocket)
    except (WebSocketDisconnect, OSError, RuntimeError):
        return  # the reader left while something was on its way to it


async def _listen(reader: Reader, websocket: WebSocket) -> None:
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        reader.heard = True
        if reader.floods():
            continue
        if (text := message.get("text")) is not None:
            reader.received(text.encode())
        else:
            reader.close(Close.MISUSE, "expected text, got binary")


async def _admit_by_key(websocket: WebSocket, code: str) -> None:
    try:
        await websocket.state.readers_key(websocket.headers.get("authorization"), code)
    except RedisError as error:
        raise UnavailableError("expected Redis to say whose key this is: it does not answer", retry_after=2) from error


def refusal(error: StoppressError) -> Response:
    """A refusal as the answer to a handshake."""
    headers = {"retry-after": str(error.retry_after)} if error.retry_after else {}
    if error.status == 426:
        headers["upgrade"] = "websocket"
    return JSONResponse(error.problem(), error.status, headers, media_type="application/problem+json")


def unframe(data: bytes) -> list[tuple[int, bytes]]:
    """Take apart the unmasked, unfragmented frames that one write of the Hub holds: opcode and payload of each."""
    frames = []
    at = 0
    while at < len(data):
        opcode, size = data[at] & 0x0F, data[at + 1]
        at += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        frames.append((opcode, data[at : at + size]))
        at += size
    return frames
