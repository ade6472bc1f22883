"""Client: when it reconnects, and how long it waits. The other end is a real socket in the test's hand."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from itertools import islice
from typing import Any

import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from service import client
from service.client import Lines, Status, follow
from service.domain.frames import Message
from service.errors import StoppressError
from service.tail import described, tail

SNAPSHOT = json.dumps({"type": "snapshot", "edition": "en", "cursor": "e.1", "items": []})

Act = Callable[[ServerConnection], None] | int


class Waits:
    """Chance at its highest, and no wait: `caps` are what each wait was drawn below."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.caps: list[float] = []
        monkeypatch.setattr(client.random, "uniform", self._uniform)
        monkeypatch.setattr(client.time, "sleep", lambda seconds: None)

    def _uniform(self, low: float, high: float) -> float:
        assert low == 0, "full jitter begins at nothing"
        if high != client.ACK_SECONDS:
            self.caps.append(high)
        return high


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    return Waits(monkeypatch)


@contextmanager
def service(*acts: Act, retry_after: str = "") -> Iterator[tuple[str, list[str]]]:
    """A service that does one act a connection, the last one for ever; yields its address, and the paths asked for.

    An act is what it does with an open socket, or the status that it refuses the handshake with.
    """
    left = list(acts)
    paths: list[str] = []
    doing = threading.local()

    def decide(connection: ServerConnection, request: Request) -> Response | None:
        paths.append(request.path)
        doing.act = left.pop(0) if len(left) > 1 else left[0]
        if not isinstance(doing.act, int):
            return None
        response = connection.respond(HTTPStatus(doing.act), json.dumps({"detail": "not now"}))
        if retry_after:
            response.headers["Retry-After"] = retry_after
        return response

    def handle(connection: ServerConnection) -> None:
        connection.send(SNAPSHOT)
        doing.act(connection)

    with serve(
        handle, "127.0.0.1", 0, process_request=decide, subprotocols=["stoppress.v1"], compression=None
    ) as server:  # type: ignore[list-item]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}", paths
        finally:
            server.shutdown()
            thread.join(20)


def ends(code: int, reason: str = "") -> Act:
    return lambda connection: connection.close(code, reason)


def stays(*messages: dict[str, Any]) -> Act:
    """Send messages and wait for the reader to leave."""

    def act(connection: ServerConnection) -> None:
        for message in messages:
            connection.send(json.dumps(message))
        for _ in connection:
            pass

    return act


def reconnects(url: str, count: int, lines: Lines | None = None) -> list[str]:
    """What is said before each of the next reconnects."""
    events: Iterator[Message | Status] = follow(url, "en", [], lines or Lines(10))
    said = (event.detail for event in events if isinstance(event, Status) and event.state == "reconnecting")
    found = list(islice(said, count))
    with closing(events):  # type: ignore[type-var]
        return found


def test_the_cap_doubles_to_half_a_minute(waits: Waits) -> None:
    with service(503) as (url, _):
        reconnects(url, 9)
    assert waits.caps == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_the_cap_doubles_where_nobody_listens(waits: Waits) -> None:
    with service(503) as (url, _):
        pass
    reconnects(url, 3)
    assert waits.caps == [0.5, 1, 2]


def test_the_cap_starts_over_once_a_connection_has_lived(waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "GOOD_SECONDS", 0.0)
    with service(ends(1001)) as (url, _):
        reconnects(url, 3)
    assert waits.caps == [0.5, 0.5, 0.5]


def test_a_connection_that_did_not_live_is_no_success(waits: Waits) -> None:
    with service(ends(1001)) as (url, _):
        reconnects(url, 3)
    assert waits.caps == [0.5, 1, 2]


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_that_says_when_is_believed_within_reason(waits: Waits, status: int) -> None:
    with service(status, retry_after="5") as (url, _):
        reconnects(url, 5)
    with service(status, retry_after="86400") as (url, _):
        reconnects(url, 1)
    assert waits.caps == [5, 5, 5, 5, 8, 60]


def test_a_refusal_for_good_is_the_end() -> None:
    with service(404) as (url, _), pytest.raises(StoppressError, match="refuses with 404: not now"):
        reconnects(url, 1)


def test_a_refusal_is_told_in_the_words_of_the_service(waits: Waits) -> None:
    with service(503) as (url, _):
        assert reconnects(url, 1) == ["not now; next try in 0.5 s"]


def test_a_script_is_told_of_a_loss_and_of_its_end_and_reads_nothing_but_messages(
    waits: Waits, capsys: pytest.CaptureFixture[str]
) -> None:
    with service(ends(1012, "0"), 503, 503, 503, ends(1001), 404) as (url, _), pytest.raises(StoppressError):
        tail(url, "en", 10, [], key=None, form="json")
    out, err = capsys.readouterr()
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["snapshot", "snapshot"]
    assert [line[10:].partition(";")[0] for line in err.splitlines()] == [
        "reconnecting: closed with 1012, this process is leaving service",
        "connected",
        "reconnecting: closed with 1001, the service stops",
    ]


def test_a_cursor_that_is_refused_is_left_out(waits: Waits) -> None:
    with service(400, ends(1001)) as (url, paths):
        reconnects(url, 2, Lines(10, cursor="x.1"))
    assert [path.partition("?")[2] for path in paths] == ["cursor=x.1", ""]


def test_a_draining_process_says_how_soon_in_its_reason(waits: Waits) -> None:
    with service(ends(1012, "2400"), ends(1012, "now"), ends(1001)) as (url, paths):
        reconnects(url, 3)
    # A wait that was asked for is no failure, and one that is not understood is no wish.
    assert waits.caps == [2.4, 0.5, 1]
    assert paths[1].endswith("?cursor=e.1")


def test_misuse_and_overload_wait_long(waits: Waits) -> None:
    with service(ends(1008), ends(1009), ends(1013)) as (url, _):
        reconnects(url, 3)
    assert waits.caps == [30, 30, 30]


def test_after_a_notice_it_stays_and_leaves_within_the_time(waits: Waits) -> None:
    news = {"type": "beat", "cursor": "e.7", "at": "2026-11-24T03:00:00.000Z"}
    with service(stays({"type": "notice", "code": "draining", "retryIn": 300}, news), ends(1001)) as (url, paths):
        said = reconnects(url, 2)
    assert said[0].startswith("this process is leaving service; next try in 0.0 s")
    assert waits.caps[0] == 0.3
    assert paths[1].endswith("?cursor=e.7"), "it read on until it left"


def test_who_is_closed_before_the_notice_is_due_comes_back_sooner(waits: Waits) -> None:
    def act(connection: ServerConnection) -> None:
        connection.send(json.dumps({"type": "notice", "code": "draining", "retryIn": 30_000}))
        connection.close(1012, "1000")

    with service(act) as (url, _):
        said = reconnects(url, 1)
    assert waits.caps == [30, 1]
    assert said[0].endswith("next try in 1.0 s")


def test_a_silent_connection_is_given_up(waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SILENCE_SECONDS", 0.2)
    with service(stays()) as (url, _):
        assert reconnects(url, 1)[0].startswith("nothing heard for 0.2 s")


def test_a_reader_that_was_behind_is_told_when_it_is_live_again(waits: Waits) -> None:
    def act(connection: ServerConnection) -> None:
        beat = {"type": "beat", "cursor": "e.1", "at": "2026-11-25T03:00:00.000Z"}
        connection.send(json.dumps(beat))
        connection.send(json.dumps({"type": "behind", "since": "2026-11-25T02:59:00.000Z"}))
        connection.send(json.dumps(beat))
        connection.send(json.dumps(beat))

    with service(act) as (url, _):
        told = (each for each in follow(url, "en", [], Lines(10)) if isinstance(each, Status))
        said = [(each.state, each.detail) for each in islice(told, 4)]
    assert said[:3] == [("live", ""), ("behind", "2026-11-25T02:59:00.000Z"), ("live", "again")]
    assert said[3][0] == "reconnecting"
    text = described(Status("live", "again"))
    assert text is not None
    assert text.plain.endswith("live again")
