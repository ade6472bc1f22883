"""Peers: whoever fan-out is measured beside delivers what Stoppress does, and leaves nothing behind."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from bench.floor import Floor
from bench.peers import PEERS, Peer
from tests.integration.harness import Service, free_port, until

READERS = 20
BURST = 10
SNAPSHOT = json.dumps(
    {"type": "snapshot", "edition": "en", "cursor": "k3f9.0", "items": [{"id": f"held{n}"} for n in range(300)]},
    separators=(",", ":"),
).encode()
ITEMS = re.compile(re.escape(SNAPSHOT.partition(b'"items"')[2]))
LINE = re.compile(rb"Line of \d{19}")
HEAD_END = re.compile(rb"\r\n\r\n")
# Of the key of RFC 6455, section 1.3.
ACCEPTED = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class Crowd:
    """`bench.readers`, and its answers."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "bench.readers"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.communicate(timeout=10)

    def tell(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def open(self, peer: Peer) -> None:
        self.tell(f"port {peer.port}")
        self.tell(f"request {peer.handshake().hex()} {peer.after.hex()}")
        opened = self.tell(f"open {READERS} {READERS}")
        assert (opened["open"], opened["failed"]) == (READERS, 0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, since sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="peer-") as path:
        yield Path(path)


def started(peer: Peer, folder: Path) -> Peer:
    if (missing := peer.missing()) is not None:
        pytest.skip(missing)
    peer.start(free_port(), SNAPSHOT, folder, min(os.sched_getaffinity(0)))
    return peer


def receive(reader: socket.socket, wanted: re.Pattern[bytes], got: bytes = b"") -> bytes:
    """What has come, and all that comes until it contains what is wanted."""
    while wanted.search(got) is None:
        data = reader.recv(65_536)
        assert data, f"expected {wanted}, got the end of the connection"
        got += data
    return got


def lines(count: int) -> list[bytes]:
    """So many messages, whose lines rise."""
    now = time.time_ns()
    return [
        b'{"type":"item","cursor":"k3f9.%d","item":{"headline":"Line of %d: all is well"}}' % (n + 1, now + n)
        for n in range(count)
    ]


def joined(crowd: Crowd, peer: Peer) -> bool:
    """Whether a line comes to all; some peers subscribe a reader only a moment after it has got its snapshot."""
    crowd.tell("listen")
    peer.publish(lines(1))
    return crowd.tell("await 1 0.5")["short"] == 0


def alive(sessions: list[int]) -> list[int]:
    """The processes of these sessions that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session, *_ = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(session) in sessions and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("peer", [*PEERS, Floor()], ids=lambda peer: type(peer).__name__)
def test_a_peer_delivers_each_line_once_and_in_order_and_leaves_nothing_behind(peer: Peer, folder: Path) -> None:
    started(peer, folder)
    sessions = peer.pids()
    try:
        assert alive(sessions)
        with Crowd() as crowd:
            crowd.open(peer)
            until(lambda: joined(crowd, peer), "all readers to have joined")
            crowd.tell("listen")
            for line in lines(3):
                peer.publish([line])
            peer.publish(lines(BURST))
            heard = crowd.tell(f"await {3 + BURST} 10")
            assert {key: heard[key] for key in ("heard", "short", "wrong")} == {
                "heard": READERS * (3 + BURST),
                "short": 0,
                "wrong": 0,
            }
            assert len(heard["last"]) == 3 + BURST
            assert crowd.tell("state") == {"open": READERS, "lost": 0, "handshakes": 0}
    finally:
        peer.stop()
    until(lambda: not alive(sessions), "the end of all its processes")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", peer.port))


@pytest.mark.parametrize("peer", [*PEERS, Floor()], ids=lambda peer: type(peer).__name__)
def test_a_reader_of_a_peer_gets_the_snapshot_before_any_line_and_none_that_is_past(peer: Peer, folder: Path) -> None:
    started(peer, folder)
    try:
        peer.publish(lines(1))
        with socket.create_connection(("127.0.0.1", peer.port), timeout=10) as reader:
            reader.sendall(peer.handshake())
            got = receive(reader, HEAD_END)
            assert ACCEPTED in got
            reader.sendall(peer.after)
            got = receive(reader, ITEMS, got)
            assert LINE.search(got) is None
            # Who has just got its snapshot may still be joining: publish until a line has come.
            line = lines(1)[0]
            reader.settimeout(0.2)
            while LINE.search(got) is None:
                peer.publish([line])
                with suppress(TimeoutError):
                    got = receive(reader, LINE, got)
            assert set(LINE.findall(got)) == set(LINE.findall(line))
    finally:
        peer.stop()


def test_a_peer_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.peers.nchan.MODULE", "/nowhere/ngx_nchan_module.so")
    assert PEERS[0].missing() is not None
    assert "apt-get install nginx-light libnginx-mod-nchan" in str(PEERS[0].missing())


def test_a_crowd_holds_storms_and_calms(folder: Path) -> None:
    floor = started(Floor(), folder)
    try:
        with Crowd() as crowd:
            crowd.open(floor)
            crowd.tell("hold")
            crowd.tell("listen")
            floor.publish(lines(2))
            assert crowd.tell("await 2 0.05")["short"] == READERS
            crowd.tell("go")
            assert crowd.tell("await 2 10")["heard"] == 2 * READERS
            crowd.tell("storm 0 5")
            floor.publish(lines(1))
            heard = crowd.tell("await 3 10")
            assert (heard["heard"], heard["wrong"]) == (3 * READERS, 0)
            calm = crowd.tell("calm")
            assert calm["failed"] == 0
            assert calm["handshakes"] > 0
            assert 0 < calm["p50"] <= calm["p99"]
            floor.stop()
            until(lambda: crowd.tell("state")["lost"] == READERS, "the end of all connections")
    finally:
        floor.stop()


def test_a_crowd_acknowledges_what_it_shows(service: Service) -> None:
    peer = Peer()
    peer.port, peer.path = service.port, "/v1/editions/en/socket"
    with Crowd() as crowd:
        crowd.open(peer)
        crowd.tell("acks 50")
        crowd.tell("listen")
        body = {"edition": "en", "headline": f"Line of {time.time_ns()}: all is well"}
        made = service.http.post("/v1/items", json=body).json()
        assert crowd.tell("await 1 10")["short"] == 0

        def reach() -> Any:
            return service.http.get(f"/v1/items/{made['id']}").json()["reach"]

        until(lambda: reach() == {"screens": READERS, "confirmed": READERS}, f"{READERS} acks")
        assert crowd.tell("state") == {"open": READERS, "lost": 0, "handshakes": 0}
