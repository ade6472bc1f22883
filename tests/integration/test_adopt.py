"""Adoption: what adopt.py uses of uvicorn is there, and what it promises of memory and shutdown holds."""

import asyncio
import gc
import inspect
import json
import os
import socket
import struct
import weakref
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import httpx
import pytest
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState
from websockets.sync.client import connect

from service.gateway import adopt
from service.gateway.adopt import AdoptingProtocol
from tests.integration.harness import Service, until
from tests.integration.test_wheel import quick_process

ADVICE = f"uvicorn {version('uvicorn')} changed what service/gateway/adopt.py builds on: read it again"


def test_what_is_used_of_uvicorn_is_still_there() -> None:
    for name in ("handle_websocket_upgrade", "connection_lost", "_start_asgi_task", "_unset_keepalive_if_required"):
        assert callable(getattr(HttpToolsProtocol, name, None)), f"{ADVICE}: {name}"
    for name, parameters in (("_start_asgi_task", ["self", "cycle", "app"]), ("connection_lost", ["self", "exc"])):
        assert list(inspect.signature(getattr(HttpToolsProtocol, name)).parameters) == parameters, f"{ADVICE}: {name}"
    config = uvicorn.Config(app=lambda scope: None, http=AdoptingProtocol)
    config.load()
    protocol = AdoptingProtocol(config=config, server_state=ServerState(), app_state={}, _loop=object())  # type: ignore[arg-type]
    used = (
        "app_state",
        "client",
        "connections",
        "cycle",
        "flow",
        "headers",
        "parser",
        "pipeline",
        "scope",
        "transport",
    )
    for name in used:
        assert hasattr(protocol, name), f"{ADVICE}: {name}"
    protocol.on_message_begin()
    assert protocol.url == b"", ADVICE
    assert {"disconnected", "message_event", "keep_alive", "response_complete"} <= set(
        RequestResponseCycle.__init__.__code__.co_names
    ), ADVICE


def test_a_connection_begins_as_uvicorn_begins_it() -> None:
    config = uvicorn.Config(app=lambda scope: None, http=AdoptingProtocol)
    config.load()

    async def begun(kind: type[HttpToolsProtocol], family: socket.AddressFamily, host: str) -> dict[str, object]:
        """All that a connection is made of, but for what is its own."""
        loop = asyncio.get_running_loop()
        state, shared = ServerState(), {"gateway": None}
        first = kind(config=config, server_state=state, app_state=shared, _loop=loop)
        made = kind(config=config, server_state=state, app_state=shared, _loop=loop)
        assert made.parser is not first.parser, "of its own"
        assert made.pipeline is not first.pipeline, "of its own"
        with socket.socket(family) as listening:
            listening.bind((host, 0))
            server = await loop.create_server(lambda: made, sock=listening)
            with socket.socket(family) as peer:
                peer.connect(listening.getsockname())
                while made.transport is None:
                    await asyncio.sleep(0)
                assert made in made.connections
                assert made.client == peer.getsockname()[:2]
                assert made.server == listening.getsockname()[:2]
                made.transport.abort()
                server.close()
                await server.wait_closed()
            own = {"client", "server", "connections", "tasks", "server_state", "parser", "flow", "transport"}
            flow = {name: type(value) for name, value in vars(made.flow).items()}
            return {name: value for name, value in vars(made).items() if name not in own} | {"flow": flow}

    async def both(family: socket.AddressFamily, host: str) -> None:
        assert await begun(AdoptingProtocol, family, host) == await begun(HttpToolsProtocol, family, host), ADVICE

    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        uvloop.run(both(family, host))


def test_an_adopted_socket_leaves_no_task_and_no_protocol_behind(service: Service) -> None:
    adopted: list[weakref.ref[AdoptingProtocol]] = []
    states: list[ServerState] = []
    original = AdoptingProtocol.handle_websocket_upgrade

    def watched(self: AdoptingProtocol) -> None:
        adopted.append(weakref.ref(self))
        states.append(self.server_state)
        original(self)

    AdoptingProtocol.handle_websocket_upgrade = watched  # type: ignore[method-assign]
    gc.disable()
    try:
        with quick_process(service) as port:
            url = f"ws://127.0.0.1:{port}/v1/editions/en/socket"
            with connect(url, compression=None, proxy=None) as one, connect(url, compression=None, proxy=None) as two:
                assert json.loads(one.recv())["type"] == json.loads(two.recv())["type"] == "snapshot"
                until(
                    lambda: all(each() is None for each in adopted),
                    "the HTTP protocols to be freed without a collection",
                )
                assert len(adopted) == 2
                assert not states[0].tasks
                # Plain HTTP goes on beside them.
                assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
    finally:
        gc.enable()
        AdoptingProtocol.handle_websocket_upgrade = original  # type: ignore[method-assign]


def test_a_socket_elsewhere_is_refused_as_usual(service: Service) -> None:
    answer = httpx.get(
        f"http://127.0.0.1:{service.port}/v1/elsewhere",
        headers={
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
        },
        trust_env=False,
    )
    assert answer.status_code in (403, 404)


def test_only_the_readers_own_address_is_adopted() -> None:
    assert adopt.PATH.fullmatch(b"/v1/editions/en/socket")
    assert not adopt.PATH.fullmatch(b"/v1/editions/en/socket/more")


@pytest.mark.parametrize("how", ["the peer closes", "the peer resets", "abort", "close", "close while full"])
@pytest.mark.parametrize("loop_of", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_a_transports_socket_is_open_until_its_protocol_was_told_of_the_end(
    how: str, loop_of: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A pass writes to it past the transport: were it closed before, another connection might have its number."""

    class Watcher(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.number = transport.get_extra_info("socket").fileno()
            self.inode = os.fstat(self.number).st_ino
            transport.set_write_buffer_limits(high=0)
            if how.startswith("close"):
                if how == "close while full":
                    transport.write(bytes(1 << 24))
                transport.close()
            elif how == "abort":
                transport.abort()
            made.set_result(None)

        def connection_lost(self, error: Exception | None) -> None:
            told.set_result((self.inode, os.fstat(self.number).st_ino))

    async def watch() -> None:
        server = await asyncio.get_running_loop().create_server(Watcher, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as peer:
            await asyncio.wait_for(made, 10)
            if how in ("the peer resets", "close while full"):
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if how in ("the peer closes", "the peer resets", "close while full"):
                peer.close()
            first, last = await asyncio.wait_for(told, 10)
        assert first == last
        server.close()

    with asyncio.Runner(loop_factory=loop_of) as runner:
        made: asyncio.Future[None] = runner.get_loop().create_future()
        told: asyncio.Future[tuple[int, int]] = runner.get_loop().create_future()
        runner.run(watch())
