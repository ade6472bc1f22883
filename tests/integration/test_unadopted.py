"""The same endpoint as plain ASGI, under another server: slower, with the same promises."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.integration.harness import DEADLINE_SECONDS, Screen, Service, free_port, until


@pytest.fixture(scope="module")
def port(service: Service) -> Iterator[int]:
    """Hypercorn with the application, beside the service's own web process and on the same Redis."""
    number = free_port()
    with (service.folder / "hypercorn.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hypercorn", "--bind", f"127.0.0.1:{number}", "service.app:from_env()"],
            env=service.env(port=str(number)),
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: ready(number), "Hypercorn to serve")
        yield number
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)
    assert "Traceback" not in service.log("hypercorn"), service.log("hypercorn")[-3000:]


def ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def screen(port: int, query: str = "") -> Iterator[Screen]:
    url = f"ws://127.0.0.1:{port}/v1/editions/en/socket{query}"
    with connect(url, compression=None, proxy=None, open_timeout=DEADLINE_SECONDS) as connection:
        yield Screen(connection)


def test_a_line_its_change_and_its_kill_arrive(service: Service, port: int) -> None:
    with screen(port) as reader:
        assert reader.next()["type"] == "snapshot"
        made = service.publish("Under another server")
        assert reader.item(made["id"])["headline"] == "Under another server"
        service.change(made["id"], 1, "correct", headline="In other words", note="The words were wrong")
        assert reader.item(made["id"], 2)["correction"]["note"] == "The words were wrong"
        service.act(made["id"], "kill")
        assert reader.removal(made["id"])["reason"] == "killed"


def test_a_burst_arrives_whole_and_in_order(service: Service, port: int) -> None:
    with screen(port) as reader:
        reader.next()
        sent = [
            service.http.post("/v1/items", json={"edition": "en", "headline": f"Burst {number}"}).json()["id"]
            for number in range(50)
        ]
        assert [reader.next()["item"]["id"] for _ in sent] == sent


def test_a_reader_comes_back_with_its_cursor(service: Service, port: int) -> None:
    seen = service.publish("Seen")
    missed = service.publish("Missed")
    with screen(port, f"?cursor={seen['cursor']}") as reader:
        assert reader.next()["type"] == "resumed"
        assert reader.next()["cursor"] == missed["cursor"]


def test_a_selection_holds(service: Service, port: int) -> None:
    with screen(port, "?section=health") as reader:
        reader.next()
        service.publish("Other", section="sports")
        made = service.publish("Chosen", section="health")
        assert reader.next()["item"]["id"] == made["id"]


def test_an_ack_counts(service: Service, port: int) -> None:
    made = service.publish("Confirmed")
    with screen(port) as reader:
        reader.next()
        reader.ack(made["cursor"])
        until(lambda: service.http.get(f"/v1/items/{made['id']}").json()["reach"]["confirmed"] == 1, "the ack")
    until(lambda: service.http.get(f"/v1/items/{made['id']}").json()["reach"]["screens"] == 0, "the reader to be gone")


@pytest.mark.parametrize("said", ["nonsense", b"binary"])
def test_misuse_closes_with_1008(port: int, said: str | bytes) -> None:
    with screen(port) as reader:
        reader.next()
        reader.connection.send(said)
        with pytest.raises(ConnectionClosed) as ended:
            reader.connection.recv(timeout=DEADLINE_SECONDS)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1008


@pytest.mark.parametrize(("query", "status"), [("?cursor=nonsense", 400), ("?section=x", 400)])
def test_a_refusal_is_an_http_answer(port: int, query: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused, screen(port, query):
        pass
    assert refused.value.response.status_code == status
    assert json.loads(bytes(refused.value.response.body or b""))["code"] == "malformed"


def test_a_slow_reader_keeps_nobody_waiting_and_is_brought_up_to_date(service: Service, port: int) -> None:
    with screen(port) as slow, screen(port) as quick:
        for reader in (slow, quick):
            reader.next()
        sent = [
            service.http.post("/v1/items", json={"edition": "en", "headline": "x" * 290 + f" {number}"}).json()["id"]
            for number in range(200)
        ]
        assert [quick.next()["item"]["id"] for _ in sent] == sent
        assert [slow.next()["item"]["id"] for _ in sent] == sent
