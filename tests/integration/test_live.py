"""The desk's own stream: what happens arrives without asking, as long as somebody is signed in."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from rq import Queue
from rq.serializers import JSONSerializer

from service.store.outbox import BREAKING
from service.store.users import Users
from tests.integration.harness import DEADLINE_SECONDS, Service, now_ms, until


@pytest.fixture(scope="module")
def editor(service: Service) -> Iterator[httpx.Client]:
    with service.at_desk("editor", "editor") as client:
        yield client


Event = tuple[str, str]


@contextmanager
def listening(client: httpx.Client, edition: str = "en") -> Iterator[Iterator[Event]]:
    """The events of a desk that listens."""
    timeout = httpx.Timeout(DEADLINE_SECONDS)
    with client.stream("GET", f"/desk/stream?edition={edition}", timeout=timeout) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"

        def events() -> Iterator[Event]:
            name = data = ""
            for line in response.iter_lines():
                field, _, value = line.partition(":")
                if field == "event":
                    name = value.strip()
                elif field == "data":
                    data = value.strip()
                elif not line and name:
                    yield name, data
                    name = data = ""

        yield events()


def heard(events: Iterator[Event], wanted: str) -> str:
    """Listen until an event of this name comes, and return what it says. Beats come all the while."""
    ends = time.monotonic() + DEADLINE_SECONDS
    for name, data in events:
        assert time.monotonic() < ends, f"waited in vain for {wanted}"
        if name == wanted:
            return data
    raise AssertionError(f"the stream ended without {wanted}")


class Board:
    """What a desk knows after what it has heard."""

    def __init__(self, events: Iterator[Event]) -> None:
        self.events = events
        self.rows: dict[str, Any] = {}
        self.head: dict[str, Any] = {}

    def until(self, wanted: Any) -> None:
        """Listen until it is so. Beats come all the while: silence does not end this."""
        ends = time.monotonic() + DEADLINE_SECONDS
        if self.head and wanted(self):
            return
        for name, data in self.events:
            assert time.monotonic() < ends, f"waited in vain, at last with {self.head} and {self.rows}"
            if name == "board":
                self.head = json.loads(data)
                self.rows |= {row["id"]: row for row in self.head["rows"]}
                self.rows = {item_id: self.rows[item_id] for item_id in self.head["order"]}
                if wanted(self):
                    return
        raise AssertionError("the stream ended")

    def row(self, item_id: str, wanted: Any) -> dict[str, Any]:
        """Listen until a row is so."""
        self.until(lambda board: item_id in board.rows and wanted(board.rows[item_id]))
        row: dict[str, Any] = self.rows[item_id]
        return row


def test_what_nobody_published_yet_is_heard_too(service: Service, editor: httpx.Client) -> None:
    with listening(editor) as events:
        board = Board(events)
        draft = service.http.post("/v1/items", json={"edition": "en", "headline": "A draft", "state": "draft"}).json()
        board.row(draft["id"], lambda row: row["state"] == "draft")
        service.act(draft["id"], "submit")
        board.row(draft["id"], lambda row: row["state"] == "submitted")
        service.act(draft["id"], "publish")
        row = board.row(draft["id"], lambda row: row["state"] == "live" and row["hops"])
        assert row["hops"]["inLog"] >= 0
        assert "origin" not in row


def test_reach_and_its_curve_are_heard_as_screens_confirm(service: Service, editor: httpx.Client) -> None:
    with service.screens(3) as screens, listening(editor) as events:
        board = Board(events)
        for screen in screens:
            screen.ack(screen.messages[-1]["cursor"])
        made = service.publish("Confirmed by three")
        for screen in screens:
            screen.item(made["id"])
            screen.ack(screen.messages[-1]["cursor"], held=1)
        row = board.row(made["id"], lambda row: row["hops"] and row["hops"]["confirmed"] == 3)
        way = row["hops"]
        assert way["inLog"] <= way["first"] <= way["p50"] <= way["p99"]
        assert way["curve"][-1][1] == 3
        board.row(made["id"], lambda row: row["reach"] == {"screens": 3, "confirmed": 3})
        killed = service.act(made["id"], "kill", note="wrong").json()
        row = board.row(
            made["id"], lambda row: row["state"] == "killed" and row["hops"]["version"] == killed["version"]
        )
        assert row["item"] is None
        for screen in screens:
            screen.removal(made["id"])
            screen.ack(screen.messages[-1]["cursor"])
        board.row(made["id"], lambda row: row["hops"]["confirmed"] == 3)


def test_who_comes_with_a_snapshot_is_not_taken_for_somebody_who_waited(service: Service, editor: httpx.Client) -> None:
    made = service.publish("Published before anybody came")
    with service.screens(2) as screens, listening(editor) as events:
        board = Board(events)
        for screen in screens:
            screen.ack(screen.messages[-1]["cursor"])
        row = board.row(made["id"], lambda row: row["reach"]["confirmed"] == 2)
        assert row["hops"]["confirmed"] == 0


def test_an_old_embargo_and_what_was_handed_in_stay_on_a_busy_board(service: Service, editor: httpx.Client) -> None:
    later = {"edition": "es", "headline": "In a year", "embargoedUntil": "2027-06-01T00:00:00Z"}
    embargoed = service.http.post("/v1/items", json=later).json()["id"]
    handed_in = {"edition": "es", "headline": "Handed in", "state": "submitted"}
    submitted = service.http.post("/v1/items", json=handed_in).json()["id"]
    for number in range(40):
        service.http.post("/v1/items", json={"edition": "es", "headline": f"Draft {number}", "state": "draft"})
    with listening(editor, "es") as events:
        board = Board(events)
        board.until(lambda board: len(board.rows) >= 32)
        assert {embargoed, submitted} <= set(board.rows)


def test_who_has_a_line_open_is_heard_and_forgotten_again(service: Service, editor: httpx.Client) -> None:
    made = service.publish("Open on two screens")["id"]
    with service.at_desk("chief", "chief") as chief, listening(editor) as events:
        board = Board(events)
        body = {"edition": "en", "tab": "tab-of-the-chief", "id": made}
        assert chief.post("/desk/open", json=body).status_code == 204
        board.until(lambda board: board.head["open"].get(made) == [["tab-of-the-chief", "chief"]])
        assert chief.post("/desk/open", json=body | {"id": None}).status_code == 204
        board.until(lambda board: made not in board.head["open"])


@pytest.mark.parametrize("fields", [{"tab": "x" * 65}, {"tab": "a b"}, {"id": "../x"}, {"more": 1}, {"edition": "xx"}])
def test_nonsense_about_what_is_open_is_refused(editor: httpx.Client, fields: dict[str, object]) -> None:
    answer = editor.post("/desk/open", json={"edition": "en", "tab": "t", "id": "i"} | fields)
    assert answer.status_code in (404, 422), answer.text


def test_signing_out_ends_the_stream(service: Service) -> None:
    with service.at_desk("leaver", "editor") as leaver, listening(leaver) as events:
        Board(events).until(lambda board: True)
        Users(service.redis).set_disabled("leaver", True)
        assert heard(events, "ended") == "signed out"


def test_a_stream_of_another_edition_is_refused(service: Service) -> None:
    with service.at_desk("arabic", "editor", editions=("ar",)) as arabic:
        assert arabic.get("/desk/stream?edition=en").status_code == 403
        assert arabic.get("/desk/board?edition=en").status_code == 403
        assert arabic.post("/desk/open", json={"edition": "en", "tab": "t", "id": "i"}).status_code == 403
        with listening(arabic, "ar") as events:
            Board(events).until(lambda board: board.head["edition"] == "ar")


def test_the_desk_is_no_reader(service: Service, editor: httpx.Client) -> None:
    with listening(editor) as events:
        board = Board(events)
        board.until(lambda board: True)
        assert board.head["connected"] == 0


def test_a_failed_job_is_shown_and_runs_again(service: Service, editor: httpx.Client) -> None:
    with listening(editor) as events:
        board = Board(events)
        queue = Queue(BREAKING, connection=service.redis, serializer=JSONSerializer)
        # An edition that is no text: the job fails as one of a bug would.
        job = queue.enqueue_call("workers.jobs.append", args=([],), failure_ttl=600, description="append nothing")
        service.may_fail.add("worker")
        board.until(lambda board: [each["id"] for each in board.head["jobs"]["failed"]] == [job.id])
        (failed,) = board.head["jobs"]["failed"]
        assert failed["what"] == "append nothing"
        assert "Error" in failed["error"]
        first = failed["at"]
        assert editor.post(f"/desk/jobs/{job.id}/retry").status_code == 204
        board.until(lambda board: [each["at"] for each in board.head["jobs"]["failed"]] not in ([first], []))
    assert editor.post("/desk/jobs/no-such-job/retry").status_code == 404
    with service.at_desk("contributor", "contributor") as contributor:
        assert contributor.post(f"/desk/jobs/{job.id}/retry").status_code == 403
    job.delete()


def test_what_waits_behind_the_scenes_is_shown(service: Service, editor: httpx.Client) -> None:
    service.stop("worker")
    try:
        with listening(editor) as events:
            board = Board(events)
            began = now_ms()
            service.http.post("/v1/items", json={"edition": "en", "headline": "Waits for a worker"})
            board.until(lambda board: board.head["outbox"] > 0)
            assert abs(board.head["outboxSince"] - began) < 10_000
            service.start("worker")
            board.until(lambda board: board.head["outbox"] == 0)
    finally:
        until(service.a_worker_listens, "a worker to listen")


def test_a_desk_that_cannot_be_heard_says_so_and_comes_back(own_service: Service) -> None:
    own_service.start()
    with own_service.at_desk("editor", "editor") as editor, listening(editor) as events:
        Board(events).until(lambda board: True)
        pid = own_service.redis_server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        assert heard(events, "trouble") == "Redis does not answer"
        os.kill(pid, signal.SIGCONT)
        assert heard(events, "trouble") == ""


def test_a_process_that_stops_ends_its_streams_at_once(own_service: Service) -> None:
    own_service.start()
    with own_service.at_desk("editor", "editor") as editor, listening(editor) as events:
        Board(events).until(lambda board: True)
        assert own_service.stop("web") == 0
        assert [name for name, _ in events if name == "board"] == []
