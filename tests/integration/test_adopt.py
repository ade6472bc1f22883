"""Adoption: what adopt.py uses of uvicorn is there, and what it promises of memory and shutdown holds."""

import gc
import inspect
import json
import weakref
from importlib.metadata import version

import httpx
import uvicorn
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
