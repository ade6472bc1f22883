"""The wheel: beats, pings and farewells, in a process whose seconds are short."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from websockets.sync.client import connect

from tests.integration.harness import Screen, Service
from tests.integration.inside import inside


@contextmanager
def quick_process(service: Service) -> Iterator[int]:
    """A web process within this one, whose wheel turns every 20 ms; yields its port."""
    with inside(service, turn_seconds=0.02) as process:
        yield process.port


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
