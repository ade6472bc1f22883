"""Slow and hostile callers and readers: each costs a bounded part of a process, and everyone else is served."""

import json
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from service.domain import ticker as ticker_module
from service.gateway.reader import Incoming
from service.store import log as log_module
from tests.integration.harness import DEADLINE_SECONDS, KEY, Screen, Service, until
from tests.integration.inside import Inside, inside
from tests.integration.test_malformed_frames import CLOSE, PING, ack, frame, handshake

LINES = 300
# Some 1.4 KB on the wire.
LONG = {"headline": "x" * 290, "related": [{"title": "y" * 200, "link": f"https://news.example/{'z' * 400}"}]}
MOST = 64 * 1024
SO_MEMINFO = 55  # Linux 4.12; what the kernel holds for a socket, SK_MEMINFO_…
WMEM_QUEUED = 5

EDITIONS = """
[editions.en]
name = "English"
log = 100
"""


@contextmanager
def screen(process: Inside, **headers: str) -> Iterator[Screen]:
    """A reader like any other."""
    url = f"ws://127.0.0.1:{process.port}/v1/editions/en/socket"
    with connect(url, compression=None, proxy=None, additional_headers=headers) as connection:
        yield Screen(connection)


@contextmanager
def caller(process: Inside, *, receive: int = 0) -> Iterator[socket.socket]:
    """A bare connection; `receive` keeps its buffer small."""
    with socket.socket() as connection:
        if receive:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        connection.settimeout(DEADLINE_SECONDS)
        connection.connect(("127.0.0.1", process.port))
        yield connection


def everything(connection: socket.socket) -> bytes:
    """What comes until the end."""
    got = b""
    try:
        while data := connection.recv(65_536):
            got += data
    except ConnectionError:
        pass
    return got


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    """What comes until `wanted` has come."""
    got = b""
    while wanted not in got:
        data = connection.recv(65_536)
        assert data, f"the connection ended before {wanted!r} came: {got[-200:]!r}"
        got += data
    return got


def served(service: Service, process: Inside) -> None:
    """Everybody else: a reader comes, a call is answered, a line arrives."""
    with screen(process) as reader:
        assert reader.next()["type"] == "snapshot"
        answer = httpx.post(
            f"http://127.0.0.1:{process.port}/v1/items",
            json={"edition": "en", "headline": "Nobody noticed"},
            headers={"authorization": f"Bearer {KEY}"},
            trust_env=False,
        )
        assert answer.status_code == 202
        reader.item(answer.json()["id"])


# Callers who never come to the point


@pytest.fixture(scope="module")
def hasty(service: Service) -> Iterator[Inside]:
    """A process that gives a request half a second."""
    with inside(service, request_seconds="0.5") as process:
        yield process


def test_a_connection_that_says_nothing_is_dropped(service: Service, hasty: Inside) -> None:
    before = hasty.gateway.hub.counts.timeouts
    with caller(hasty) as silent:
        assert everything(silent) == b""
    assert hasty.gateway.hub.counts.timeouts == before + 1
    served(service, hasty)


@pytest.mark.parametrize("kind", ["a handshake", "a call"])
def test_a_head_that_trickles_is_answered_with_408(service: Service, hasty: Inside, kind: str) -> None:
    head = handshake() if kind == "a handshake" else b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + b"x-a: b\r\n" * 50
    with caller(hasty) as slow:
        slow.settimeout(0.05)
        got = b""
        for at in range(len(head) - 4):
            slow.send(head[at : at + 1])
            try:
                got = slow.recv(65_536)
                break
            except TimeoutError:
                continue
        assert got.startswith(b"HTTP/1.1 408 ")
        assert json.loads(got.partition(b"\r\n\r\n")[2])["code"] == "request-timeout"
        slow.settimeout(DEADLINE_SECONDS)
        assert everything(slow) == b""
    served(service, hasty)


def test_a_body_that_trickles_is_answered_with_408_and_not_taken(service: Service, hasty: Inside) -> None:
    body = json.dumps({"edition": "en", "headline": "Never to be seen", "id": "trickled"}).encode()
    head = f"POST /v1/items HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    with caller(hasty) as slow:
        slow.send(head.encode() + body[:-1])
        assert everything(slow).startswith(b"HTTP/1.1 408 ")
    served(service, hasty)
    assert service.http.get("/v1/items/trickled").status_code == 404


def test_bytes_that_begin_no_request_do_not_keep_a_connection(service: Service, hasty: Inside) -> None:
    with caller(hasty) as odd:
        odd.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        read_until(odd, b'"alive"')
        odd.send(b"\r\n")  # uvicorn's time-out for an idle connection ends here
        # That a request was awaited is said where one had come before.
        assert everything(odd).startswith(b"HTTP/1.1 408 ")


def test_a_body_behind_an_early_answer_does_not_keep_a_connection(service: Service, hasty: Inside) -> None:
    with caller(hasty) as odd:
        odd.send(b"POST /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
        read_until(odd, b"HTTP/1.1 405 ")
        odd.send(b"x")
        everything(odd)
    until(lambda: not hasty.gateway.arrivals, "it to be forgotten")


def test_answers_that_are_not_taken_do_not_keep_a_connection(service: Service, hasty: Inside) -> None:
    before = hasty.gateway.hub.counts.timeouts
    with caller(hasty, receive=4096) as greedy:
        greedy.sendall(b"GET /static/ticker.js HTTP/1.1\r\nhost: x\r\n\r\n" * 20)
        until(lambda: hasty.gateway.hub.counts.timeouts > before, "it to be dropped")
    served(service, hasty)


def test_who_waits_for_an_answer_is_not_dropped(service: Service, hasty: Inside) -> None:
    """A worker is asleep for longer than a request may take to come; its answer takes as long as it takes."""
    body = json.dumps({"edition": "en", "headline": "It takes its time"}).encode()
    head = (
        f"POST /v1/items HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nprefer: wait=3\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()
    service.processes["worker"].send_signal(19)
    try:
        with caller(hasty) as patient:
            patient.send(head + body)
            until(lambda: hasty.server.server_state.tasks, "the call to be at work")
            patient.send(b"GET /heal")
            assert patient.recv(65_536).startswith(b"HTTP/1.1 202 ")
    finally:
        service.processes["worker"].send_signal(18)
    until(lambda: not hasty.gateway.arrivals, "its half request to be given up")


def test_a_reader_owes_nothing(service: Service, hasty: Inside) -> None:
    with screen(hasty) as reader:
        reader.next()
        assert not len(hasty.gateway.arrivals)
        with caller(hasty) as silent:
            assert everything(silent) == b""  # a round of the sweep
        made = service.publish("Still there")
        reader.item(made["id"])


def test_a_flood_of_connections_pushes_out_its_own(service: Service) -> None:
    with inside(service, max_connections="20") as process, ExitStack() as stack:
        counts = process.gateway.hub.counts
        with screen(process) as reader:
            reader.next()
            flood = [stack.enter_context(caller(process)) for _ in range(60)]
            until(lambda: counts.crowded_out >= 40, "all above the limit to be dropped")
            for early in flood[:40]:
                assert everything(early) == b""
            served(service, process)
            made = service.publish("Through the flood")
            reader.item(made["id"])
        assert len(process.gateway.arrivals) <= 20


# Too many of one address


def statuses(process: Inside, count: int, address: str) -> list[int]:
    """Knock `count` times at once, as `address`."""
    with ExitStack() as stack:
        knocks = [stack.enter_context(caller(process)) for _ in range(count)]
        for each in knocks:
            each.send(handshake(b"x-forwarded-for: " + address.encode()))
        return [int(each.recv(65_536).split(b" ", 2)[1]) for each in knocks]


def test_too_many_handshakes_a_second_are_refused_with_429(service: Service) -> None:
    with inside(service, max_connects_per_address="5", trusted_addresses="127.0.0.0/8") as process:
        counts = process.gateway.hub.counts
        got = statuses(process, 50, "203.0.113.7")
        assert set(got) == {101, 429}
        assert counts.refusals["too-many-requests"] == got.count(429) >= 20
        assert statuses(process, 5, "203.0.113.8") == [101] * 5, "another address is another"
        # A household's IPv6 network counts as one address, and the one beside it as another.
        assert 429 in [each for host in range(50) for each in statuses(process, 1, f"2001:db8:0:1::{host + 1:x}")]
        assert statuses(process, 1, "2001:db8:0:2::1") == [101]
        # Whoever is trusted is not counted.
        with ExitStack() as stack:
            knocks = [stack.enter_context(caller(process)) for _ in range(50)]
            for each in knocks:
                each.send(handshake())
            assert all(each.recv(65_536).startswith(b"HTTP/1.1 101 ") for each in knocks)


def test_a_refusal_for_too_many_says_when_to_come_back(service: Service) -> None:
    with inside(service, max_connects_per_address="1", trusted_addresses="") as process:
        answers = []
        for _ in range(20):
            with caller(process) as one:
                one.send(handshake())
                answers.append(one.recv(65_536))
        refused = next(answer for answer in answers if answer.startswith(b"HTTP/1.1 429 "))
        assert re.search(rb"\r\nretry-after: [1-9]\d*\r\n", refused)
        assert json.loads(refused.partition(b"\r\n\r\n")[2])["code"] == "too-many-requests"


# Readers who send too much


@pytest.mark.parametrize("opcode", [PING, 0xA, 0x1])
def test_a_flood_of_frames_is_closed_and_parsed_no_further(
    service: Service, opcode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    original = Incoming.receive_data

    def counted(self: Incoming, data: bytes) -> None:
        parsed.append(len(data))
        original(self, data)

    monkeypatch.setattr(Incoming, "receive_data", counted)
    flood = ack() if opcode == 0x1 else frame(opcode)
    with inside(service, max_messages_per_reader="300") as process, screen(process) as other:
        other.next()
        with caller(process) as hostile:
            hostile.send(handshake())
            read_until(hostile, b'"type":"snapshot"')
            hostile.sendall(flood * (60_000 // len(flood)))
            read_until(hostile, b"\x03\xf0expected at most 300 frames")
            hostile.send(frame(CLOSE, b"\x03\xf0"))
            everything(hostile)
        assert process.gateway.hub.counts.closes[1008] == 1
        assert sum(parsed) < 300 * len(flood) + 2_000, "of 60,000 bytes no more is looked at"
        made = service.publish("Not flooded")
        other.item(made["id"])


def test_the_count_of_frames_starts_over_with_each_beat(service: Service) -> None:
    with inside(service, max_messages_per_reader="30", turn_seconds=0.02) as process, screen(process) as reader:
        reader.next()
        for _ in range(4):
            for _ in range(20):
                reader.connection.ping()
            while json.loads(reader.connection.recv(timeout=DEADLINE_SECONDS))["type"] != "beat":
                pass
        assert reader.connection.ping().wait(DEADLINE_SECONDS)


# Readers who do not read


class Stuck:
    """A reader that takes its snapshot and then reads nothing, until it is told to."""

    def __init__(self, connection: socket.socket, process: Inside) -> None:
        self.connection = connection
        self.process = process
        before = set(process.gateway.hub.readers())
        connection.send(handshake())
        self._bytes = read_until(connection, b'"type":"snapshot"').partition(b"\r\n\r\n")[2]
        assert next(self.messages())["type"] == "snapshot"
        (self.reader,) = set(process.gateway.hub.readers()) - before

    def holds(self) -> tuple[int, int]:
        """Bytes that the process keeps for it, and the kernel."""
        transport: Any = self.reader.transport
        meminfo = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36)
        return transport.get_write_buffer_size(), struct.unpack("9I", meminfo)[WMEM_QUEUED]

    def messages(self) -> Iterator[dict[str, Any]]:
        """Read again."""
        while True:
            while (message := self._frame()) is None:
                data = self.connection.recv(65_536)
                assert data, "the connection ended"
                self._bytes += data
            if message:
                yield message

    def _frame(self) -> dict[str, Any] | None:
        data = self._bytes
        if len(data) < 4:
            return {} if data[:2] == b"\x89\x00" and self._skip(2) else None
        size, at = data[1], 2
        if size == 126:
            size, at = int.from_bytes(data[2:4], "big"), 4
        if len(data) < at + size:
            return None
        self._skip(at + size)
        found: dict[str, Any] = json.loads(data[at : at + size]) if data[0] == 0x81 else {}
        return found

    def _skip(self, count: int) -> bool:
        self._bytes = self._bytes[count:]
        return True


@contextmanager
def stuck(process: Inside) -> Iterator[Stuck]:
    with caller(process, receive=4096) as connection:
        yield Stuck(connection, process)


def burst(service: Service, reader: Screen, count: int = LINES) -> str:
    """Publish many long lines, wait until a reader who reads has them all, and return the last cursor."""
    for number in range(count - 1):
        answer = service.http.post("/v1/items", json={"edition": "en", "urgency": 1 + number % 4} | LONG)
        assert answer.status_code == 202
    last = service.publish(**LONG)
    cursor: str = last["cursor"]
    reader.find(lambda message: message["cursor"] == cursor)
    return cursor


def seq(message: dict[str, Any]) -> int:
    return int(message["cursor"].rpartition(".")[2])


def test_a_reader_who_never_reads_holds_little_and_keeps_nobody_waiting(service: Service) -> None:
    with inside(service) as process, screen(process) as other, stuck(process) as one, stuck(process) as two:
        other.next()
        burst(service, other)
        for each in (one, two):
            assert each.reader.lagging
            held, kernel = each.holds()
            assert held + kernel <= MOST, (held, kernel)
            assert kernel > 8_000, "it is not stuck at all"
        assert process.gateway.hub.counts.lags >= 2
        served(service, process)


def test_a_long_burst_is_cut_for_a_reader_who_does_not_take_it(service: Service) -> None:
    """All of it in one pass, as after an outage: the worker sleeps meanwhile."""
    with inside(service) as process, screen(process) as other, stuck(process) as one:
        other.next()
        service.processes["worker"].send_signal(19)
        try:
            for _ in range(100):
                assert service.http.post("/v1/items", json={"edition": "en"} | LONG).status_code == 202
        finally:
            service.processes["worker"].send_signal(18)
        first = other.next()
        while seq(other.messages[-1]) < seq(first) + 99:
            other.next()
        until(lambda: one.reader.lagging, "the burst to be too much")
        held, kernel = one.holds()
        assert held + kernel <= MOST, (held, kernel)
        got = [seq(message) for message, _ in zip(one.messages(), range(100), strict=False)]
        assert got == list(range(seq(first), seq(first) + 100))


@pytest.mark.parametrize("ring", [1_000, 50], ids=["memory", "the log"])
def test_a_stuck_reader_who_reads_again_gets_all_that_it_missed(
    service: Service, ring: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (ticker_module, log_module):
        monkeypatch.setattr(module, "RING", ring)
    with inside(service) as process, screen(process) as other, stuck(process) as one:
        before = seq(other.next())
        last = burst(service, other)
        assert one.reader.lagging
        got = []
        for message in one.messages():
            if message["type"] == "beat":
                continue
            got.append((message["type"], seq(message)))
            if message["cursor"] == last:
                break
        assert got == [("item", each) for each in range(before + 1, int(last.rpartition(".")[2]) + 1)]
        # And then it is a reader like any other.
        made = service.publish("Live again")
        message = next(each for each in one.messages() if each["type"] == "item")
        assert message["item"]["id"] == made["id"]


def test_a_stuck_reader_who_missed_more_than_the_log_has_gets_a_snapshot(
    own_service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (ticker_module, log_module):
        monkeypatch.setattr(module, "RING", 50)
    (tmp_path / "short.toml").write_text(EDITIONS)
    editions = str(tmp_path / "short.toml")
    own_service.start(editions=editions)
    with inside(own_service, editions=editions) as process, screen(process) as other, stuck(process) as one:
        other.next()
        last = burst(own_service, other)
        for message in one.messages():
            if message["type"] == "snapshot":
                break
        with screen(process) as fresh:
            shown = fresh.next()
        assert message["cursor"] == shown["cursor"] == last
        assert message["items"] == shown["items"]
        made = own_service.publish("Live again")
        assert next(each for each in one.messages() if each["type"] == "item")["item"]["id"] == made["id"]


def test_a_reader_who_comes_back_from_far_holds_little_as_well(service: Service) -> None:
    with inside(service) as process, screen(process) as other:
        first = other.next()["cursor"]
        burst(service, other)
        with caller(process, receive=4096) as connection:
            before = set(process.gateway.hub.readers())
            connection.send(handshake(line=b"GET /v1/editions/en/socket?cursor=" + first.encode() + b" HTTP/1.1"))
            until(lambda: process.gateway.hub.count == 2, "it to come in")
            (reader,) = set(process.gateway.hub.readers()) - before
            until(lambda: process.gateway.hub.counts.resumes["memory"] == 1, "its first portion")
            until(lambda: reader.paused, "it to take no more")
            transport: Any = reader.transport
            assert transport.get_write_buffer_size() <= MOST // 2
            connection.settimeout(DEADLINE_SECONDS)
            got = b""
            while got.count(b'"type":"item"') < LINES:
                got += connection.recv(65_536)
            seqs = [int(each) for each in re.findall(rb'"type":"item","cursor":"\w+\.(\d+)"', got)]
            start = int(first.rpartition(".")[2])
            assert seqs == list(range(start + 1, start + LINES + 1))


@pytest.mark.parametrize("adopting", [True, False], ids=["adopted", "plain ASGI"])
def test_a_reader_whose_buffer_stays_full_is_closed_as_dead(service: Service, adopting: bool) -> None:
    with (
        inside(service, turn_seconds=0.02, adopting=adopting) as process,
        caller(process, receive=4096) as connection,
    ):
        connection.send(handshake())
        until(lambda: process.gateway.hub.count, "it to be a reader")
        for _ in range(LINES):
            service.http.post("/v1/items", json={"edition": "en"} | LONG)
        until(lambda: process.gateway.hub.counts.closes[4408], "it to be closed")
        until(lambda: process.gateway.hub.count == 0, "it to be forgotten")
        until(lambda: not process.server.server_state.tasks, "nothing to wait for it any more")
        served(service, process)


def test_without_adoption_a_flood_is_closed_with_1008_too(service: Service) -> None:
    with inside(service, adopting=False, max_messages_per_reader="30") as process, caller(process) as hostile:
        hostile.send(handshake())
        read_until(hostile, b'"type":"snapshot"')
        hostile.sendall(ack() * 500)
        read_until(hostile, b"\x03\xf0expected at most 30 frames")
        hostile.sendall(frame(CLOSE, b"\x03\xf0"))
        everything(hostile)
        assert process.gateway.hub.counts.closes[1008] == 1


def test_what_is_closed_and_refused_is_counted(service: Service) -> None:
    with inside(service, max_readers="3") as process:
        counts = process.gateway.hub.counts
        for data, code in ((b"\x81\xff" + b"\xff" * 12, 1009), (frame(0x2, b"x"), 1008), (frame(0x3), 1008)):
            with caller(process) as hostile:
                hostile.send(handshake())
                read_until(hostile, b'"type":"snapshot"')
                hostile.send(data)
                read_until(hostile, code.to_bytes(2, "big"))
        until(lambda: process.gateway.hub.count == 0, "the offenders to be gone")
        assert (counts.closes[1008], counts.closes[1009]) == (2, 1)
        with screen(process) as one, screen(process), screen(process), caller(process) as fourth:
            assert one.next()["type"] == "snapshot"
            fourth.send(handshake())
            assert fourth.recv(65_536).startswith(b"HTTP/1.1 503 ")
        with caller(process) as odd:
            odd.send(handshake(line=b"GET /v1/editions/en/socket?x=1 HTTP/1.1"))
            assert odd.recv(65_536).startswith(b"HTTP/1.1 400 ")
        assert counts.refusals == {"over-capacity": 1, "malformed": 1}
        with caller(process) as old:
            old.send(handshake(line=b"GET /v1/editions/en/socket?cursor=zzzz.1 HTTP/1.1"))
            assert b"101" in old.recv(65_536)
        until(lambda: counts.resumes == {"snapshot": 1}, "a resume that was none")
