"""The wheel: beats, pings and farewells, in a process whose seconds are short."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from websockets.sync.client import connect

from service.app import create_app
from service.gateway.adopt import AdoptingProtocol
from service.settings import Settings
from tests.integration.harness import Screen, Service, until


@contextmanager
def quick_process(service: Service) -> Iterator[int]:
    """A web process within this one, on the service's Redis, whose wheel turns every 20 ms; yields its port."""
    settings = Settings.from_env({"STOPPRESS_REDIS_URL": service.redis_server.url, "STOPPRESS_DRAIN_SECONDS": "0"})
    config = uvicorn.Config(
        create_app(settings, turn_seconds=0.02),
        http=AdoptingProtocol,
        ws="websockets-sansio",
        port=0,
        log_config=None,
        lifespan="on",
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, "the process to start")
        port: int = server.servers[0].sockets[0].getsockname()[1]
        address = f"http://127.0.0.1:{port}/v1/editions/en/ticker"
        until(lambda: httpx.get(address, trust_env=False).status_code == 200, "its ticker to be loaded")
        yield port
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server did not end with its readers still there"


@pytest.fixture(scope="module")
def port(service: Service) -> Iterator[int]:
    with quick_process(service) as number:
        yield number


@contextmanager
def screen(port: int) -> Iterator[Screen]:
    with connect(f"ws://127.0.0.1:{port}/v1/editions/en/socket", compression=None, proxy=None) as connection:
        yield Screen(connection)


def beat(reader: Screen) -> dict[str, str]:
    """The next beat."""
    while True:
        message: dict[str, str] = json.loads(reader.connection.recv(timeout=20))
        if message["type"] == "beat":
            return message


def test_beats_say_how_far_the_reader_is_live(service: Service, port: int) -> None:
    with screen(port) as reader:
        first = reader.next()
        assert first["type"] == "snapshot"
        assert beat(reader)["cursor"] == first["cursor"]
        made = service.publish("Between two beats")
        reader.item(made["id"])
        assert beat(reader)["cursor"] == made["cursor"]


def test_a_reader_who_answers_pings_stays(port: int) -> None:
    with screen(port) as reader:
        for _ in range(4):
            beat(reader)


def test_a_reader_who_answers_no_ping_is_closed_with_4408(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.settimeout(20)
        raw.sendall(
            b"GET /v1/editions/en/socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        got = b""
        while data := raw.recv(65_536):
            got += data
    assert b"\x89\x00" in got, "no ping came"
    assert (b"\x88\x16" + (4408).to_bytes(2, "big") + b"no answer to a ping")[2:] in got


def test_a_shutdown_says_goodbye_to_each_reader(service: Service) -> None:
    with quick_process(service) as own, screen(own) as one, screen(own) as two:
        for reader in (one, two):
            assert reader.next()["type"] == "snapshot"
    for reader in (one, two):
        assert reader.connection.protocol.close_rcvd is not None
