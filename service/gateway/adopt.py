"""Adopt: a socket's handshake inside uvicorn's HTTP protocol, and the connection out of ASGI into the Hub's hands.

The only module that knows uvicorn's internals, through its public setting `http=` (a protocol class).
`tests/integration/test_adopt.py` fails loudly when a new uvicorn changes what is used here.
"""

import asyncio
import base64
import hashlib
import http
import re
from collections import deque
from typing import Any, ClassVar
from urllib.parse import unquote

import httptools
import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.domain.frames import SUBPROTOCOL
from service.errors import MalformedError, RequestTimeoutError, StoppressError, UpgradeRequiredError
from service.gateway.arrivals import Arrivals
from service.gateway.counts import Counts
from service.gateway.door import Door, accepts_subprotocol

PATH = re.compile(rb"/v1/editions/([^/?]{1,120})/socket", re.ASCII)
LONGEST_URL = 8_000
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
# What of uvicorn's protocol belongs to one connection from its beginning.
OWN = ("parser", "pipeline")
KEY = re.compile(rb"[A-Za-z0-9+/]{22}==", re.ASCII)


class AdoptingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, but that the readers' sockets never enter ASGI."""

    # The request that is being answered now; others may be queued behind it.
    answering: RequestResponseCycle | None = None
    # None until the application is there, or under another one.
    arrivals: Arrivals | None = None
    # What the last connection began with.
    _model: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """What uvicorn does, from a copy: it asks for two loggers each time, a twentieth of a handshake."""
        model = AdoptingProtocol._model
        if model.get("server_state") is not server_state or model.get("app_state") is not app_state:
            super().__init__(config, server_state, app_state, _loop)
            AdoptingProtocol._model = {name: each for name, each in vars(self).items() if name not in OWN}
            return
        vars(self).update(model)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.pipeline = deque()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection owes a request from its first moment: one that says nothing holds a place, too."""
        # What uvicorn does, but for the addresses: asked of the socket they are an eighth of a handshake, and the
        # transport knows them. `test_adopt.py` compares.
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.server = _address(transport, "sockname")
        self.client = _address(transport, "peername")
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        gateway = self.app_state.get("gateway")
        if gateway is not None:
            self.arrivals = gateway.arrivals
            gateway.arrivals.came(self, len(self.connections))

    def data_received(self, data: bytes) -> None:
        """Whatever comes after a first request ends uvicorn's time-out for an idle connection, so it begins ours."""
        if self.scope is not None and self.arrivals is not None:
            self.arrivals.owes(self)
        super().data_received(data)

    def on_message_complete(self) -> None:
        """The whole request is here, head and body. How long its answer takes is our affair."""
        if self.arrivals is not None:
            self.arrivals.settled(self)
        if self.cycle is not None:  # a handshake for an upgrade begins none
            super().on_message_complete()

    def pause_writing(self) -> None:
        """An answer waits to be taken: whoever asks for much and reads nothing is dropped as well."""
        if self.arrivals is not None:
            self.arrivals.owes(self)
        super().pause_writing()

    def resume_writing(self) -> None:
        """It is being taken."""
        if self.arrivals is not None:
            self.arrivals.settled(self)
        super().resume_writing()

    def on_response_complete(self) -> None:
        """A connection that was closed ends only when its last answer was taken."""
        super().on_response_complete()
        self._await_the_end()

    def timeout_keep_alive_handler(self) -> None:
        """Likewise where it was idle."""
        super().timeout_keep_alive_handler()
        self._await_the_end()

    def _await_the_end(self) -> None:
        if self.arrivals is not None and self.transport.is_closing():
            self.arrivals.owes(self)

    def drop(self) -> None:
        """End at once: there are too many."""
        self.transport.abort()

    def overdue(self) -> bool:
        """End a connection that has not kept its time; false if the wait is not its fault."""
        if self.transport.is_closing() or self.flow.write_paused:
            self.transport.abort()  # its answer is not being taken; a polite end would wait for that
            return True
        if self.timeout_keep_alive_task is not None:
            return False  # idle between two requests: uvicorn has an eye on it
        request = self.answering
        if request is None or request.response_complete:
            started = False
        elif self.flow.read_paused or request is not self.cycle or not request.more_body:
            assert self.arrivals is not None
            self.arrivals.owes(self)  # its next request waits behind one that we are still answering
            return False
        else:
            started = request.response_started
            request.disconnected = True
            request.message_event.set()
        if started or self.scope is None:
            self.transport.close()  # there is nothing that could be answered
        else:
            self._refuse(RequestTimeoutError("expected the whole request in less time"))
        return True

    def handle_websocket_upgrade(self) -> None:
        """Decide about a handshake and answer it in one write, snapshot included; other sockets go the usual way."""
        if self.cycle is not None and not self.cycle.response_complete:
            # Requests on this connection are still being answered, and their answers would go out as part of the
            # socket. They are finished, and then the connection ends without an upgrade.
            self.cycle.keep_alive = False
            self.transport.pause_reading()
            return
        if len(self.url) > LONGEST_URL:
            # Beyond what the ASGI side reads: it would neither answer nor close.
            self.connections.discard(self)
            self._refuse(MalformedError(f"expected an address of at most {LONGEST_URL} bytes, got {len(self.url)}"))
            self._let_go()
            return
        path, _, query = self.url.partition(b"?")
        match = PATH.fullmatch(path)
        gateway = self.app_state.get("gateway")
        code = unquote(match[1].decode("latin-1")) if match is not None else ""
        # A private edition's key is looked up in Redis; that waits, so a Starlette endpoint does it.
        if match is None or gateway is None or gateway.door.is_private(code):
            super().handle_websocket_upgrade()
            return
        self.connections.discard(self)
        try:
            self._admit(gateway.door, code, query)
        except StoppressError as error:
            counts: Counts = gateway.hub.counts
            counts.refusals[error.code] += 1
            self._refuse(error)
        self._let_go()

    def _admit(self, door: Door, code: str, query: bytes) -> None:
        headers: dict[bytes, bytes] = {}
        for name, value in self.headers:
            headers[name] = headers[name] + b"," + value if name in headers else value
        peer = self.client[0] if self.client else ""
        address = door.address(peer, _text(headers.get(b"x-forwarded-for")))
        door.knock(address)
        wish = door.wish(code, query.decode("latin-1"))
        audience = door.audience(code)
        door.check(audience, _text(headers.get(b"origin")), address)
        greeting = _greeting(self.scope["method"], headers)
        transport = self.transport
        # With a limit of 0 a write goes to the kernel at once, and `pause_writing` says exactly what it did not take.
        transport.set_write_buffer_limits(high=0)
        door.let_in(audience, wish, transport, address, greeting)

    def _refuse(self, error: StoppressError) -> None:
        body = msgspec.json.encode(error.problem())
        retry = f"retry-after: {error.retry_after}\r\n" if error.retry_after else ""
        upgrade = "upgrade: websocket\r\nsec-websocket-version: 13\r\n" if error.status == 426 else ""
        head = (
            f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}\r\n"
            f"content-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
            f"access-control-allow-origin: *\r\nconnection: close\r\n{retry}{upgrade}\r\n"
        )
        self.transport.write(head.encode("latin-1") + body)
        self.transport.close()

    def _let_go(self) -> None:
        """Break the cycles of this object, so that its memory is free at once and not at the next collection."""
        self._unset_keepalive_if_required()
        self.parser = None  # type: ignore[assignment]
        self.flow = None  # type: ignore[assignment]
        self.cycle = None  # type: ignore[assignment]
        self.answering = None
        self.scope = None  # type: ignore[assignment]
        self.headers = None  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """A refused handshake ends here; its parts are gone already."""
        if self.arrivals is not None:
            self.arrivals.settled(self)
        if self.flow is None:
            return  # type: ignore[unreachable]
        if self.answering is not None:
            # uvicorn tells only the latest of several pipelined requests; the one that is being answered would write
            # to a closed transport, which is a traceback in the log that any stranger could cause.
            self.answering.disconnected = True
            self.answering.message_event.set()
            self.pipeline.clear()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.answering = cycle
        super()._start_asgi_task(cycle, app)


def _address(transport: asyncio.Transport, which: str) -> tuple[str, int] | None:
    """One end of a connection; None where it has no port, or the peer has left already."""
    name = transport.get_extra_info(which)
    return (name[0], name[1]) if isinstance(name, tuple) and name else None


def _greeting(method: str, headers: dict[bytes, bytes]) -> bytes:
    """The 101 answer (RFC 6455, section 4.2.2).

    Raises:
        MalformedError, UpgradeRequiredError: it is no handshake of version 13.
    """
    if method != "GET":
        raise MalformedError(f"expected GET for a WebSocket handshake, got {method}")
    if headers.get(b"sec-websocket-version", b"").strip() != b"13":
        raise UpgradeRequiredError("expected Sec-WebSocket-Version: 13")
    key = headers.get(b"sec-websocket-key", b"").strip()
    if not KEY.fullmatch(key):
        raise MalformedError("expected a Sec-WebSocket-Key of 16 bytes in base64 (RFC 6455, section 4.1)")
    accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
    answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: "
    if accepts_subprotocol(_text(headers.get(b"sec-websocket-protocol"))):
        return answer + accept + b"\r\nsec-websocket-protocol: " + SUBPROTOCOL.encode() + b"\r\n\r\n"
    return answer + accept + b"\r\n\r\n"


def _text(value: bytes | None) -> str | None:
    return value.decode("latin-1") if value is not None else None
