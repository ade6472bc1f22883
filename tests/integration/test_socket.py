"""The readers' socket: what comes first, what was missed, what is refused, and what is counted."""

import json
import os
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.integration.harness import Screen, Service, until

EDITIONS = """
[editions.en]
name = "English"
log = 100
size = 3
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose log and ticker are so short that tests run out of them, for two readers at most."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "editions.toml").write_text(EDITIONS)
    with Service(
        folder,
        editions=str(folder / "editions.toml"),
        max_readers="3",
        allowed_origins="https://news.example",
        max_readers_per_address="1",
        trusted_addresses="127.0.0.1",
    ) as running:
        running.start()
        yield running


def refusal(service: Service, edition: str = "en", origin: str | None = None, **query: str) -> InvalidStatus:
    """The answer to a handshake that must not succeed."""
    with pytest.raises(InvalidStatus) as refused, service.screen(edition, origin=origin, **query):
        pass
    return refused.value


def problem(refused: InvalidStatus) -> dict[str, object]:
    """The problem document of a refusal."""
    assert refused.response.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = json.loads(bytes(refused.response.body or b""))
    return document


def readers(service: Service) -> int:
    """How many readers the process says that it holds."""
    count: int = service.http.get("/readyz").json()["readers"]
    return count


def closed(screen: Screen) -> int | None:
    """Wait for the end and return its close code."""
    try:
        while True:
            screen.next()
    except ConnectionClosed as ended:
        return ended.rcvd.code if ended.rcvd else None


def test_the_subprotocol_is_given_only_to_those_who_offer_it(service: Service) -> None:
    with service.screen() as screen:
        assert screen.connection.subprotocol == "stoppress.v1"
    with connect(service.socket_url(), compression=None, proxy=None) as connection:
        assert connection.subprotocol is None
        assert json.loads(connection.recv())["type"] == "snapshot"


def test_a_reader_who_comes_back_gets_exactly_what_it_missed(service: Service) -> None:
    with service.screen() as screen:
        screen.next()
        seen = service.publish("Seen")
        screen.item(seen["id"])
    missed = [service.publish(f"Missed {number}") for number in range(5)]
    assert service.change(missed[0]["id"], 1, headline="Missed, in other words").status_code == 201
    with service.screen(cursor=seen["cursor"]) as screen:
        assert screen.next() == {"type": "resumed", "edition": "en", "cursor": seen["cursor"]}
        got = [screen.next() for _ in range(6)]
        live = service.publish("Live")
        assert screen.next()["cursor"] == live["cursor"]
    assert [message["item"]["id"] for message in got] == [*(each["id"] for each in missed), missed[0]["id"]]
    assert [message["item"]["version"] for message in got] == [1, 1, 1, 1, 1, 2]
    seqs = [int(message["cursor"].split(".")[1]) for message in got]
    assert seqs == list(range(seqs[0], seqs[0] + 6))


def test_a_cursor_of_now_misses_nothing_and_doubles_nothing(service: Service) -> None:
    last = service.publish("The last before the reader came back")
    with service.screen(cursor=last["cursor"]) as screen:
        assert screen.next()["type"] == "resumed"
        after = service.publish("The first after it")
        assert screen.next()["cursor"] == after["cursor"]


def test_a_cursor_of_another_epoch_gets_a_snapshot(service: Service) -> None:
    with service.screen(cursor="zzzz.3") as screen:
        assert screen.next()["type"] == "snapshot"


@pytest.mark.parametrize("cursor", ["nonsense", "k3f9", "k3f9.-1", "k3f9.01", "K3F9.1", ".5", "", "k3f9.1 ", "k" * 60])
def test_a_cursor_that_is_none_is_refused_and_told_so(service: Service, cursor: str) -> None:
    refused = refusal(service, cursor=cursor)
    assert refused.response.status_code == 400
    document = problem(refused)
    assert document["path"] == "cursor"
    assert "expected a cursor as the service gave it" in str(document["detail"])


def test_a_cursor_below_the_floor_gets_a_snapshot(small: Service) -> None:
    first = small.publish("Long ago")
    for number in range(105):
        small.http.post("/v1/items", json={"edition": "en", "headline": f"Since then {number}"})
    small.publish("The latest")
    with small.screen(cursor=first["cursor"]) as screen:
        assert screen.next()["type"] == "snapshot"
    epoch, seq = first["cursor"].split(".")
    with small.screen(cursor=f"{epoch}.{int(seq) + 50}") as screen:
        assert screen.next()["type"] == "resumed"


def test_a_selection_shows_what_matches_and_loses_what_leaves_it(service: Service) -> None:
    with service.screen(section=["politics", "health"], urgency="2") as screen:
        screen.next()
        service.publish("Other section", section="sports", urgency=1)
        service.publish("Not urgent enough", section="politics", urgency=3)
        shown = service.publish("Shown", section="politics", urgency=2)
        assert screen.next()["item"]["id"] == shown["id"]
        moved = service.change(shown["id"], 1, "refile", section="economy").json()
        gone = screen.next()
        assert (gone["type"], gone["id"], gone["reason"]) == ("remove", shown["id"], "expired")
        assert gone["cursor"] == moved["cursor"]
        service.act(shown["id"], "withhold")
        back = service.publish("Regional", section="health", urgency=1)
        # The withheld line was not in this selection any more: nothing was said of it.
        assert screen.next()["item"]["id"] == back["id"]


@pytest.mark.parametrize(
    ("query", "path"), [({"section": "x"}, "section"), ({"region": "x"}, "region"), ({"urgency": "5"}, "urgency")]
)
def test_an_unknown_term_is_refused_by_name(service: Service, query: dict[str, str], path: str) -> None:
    refused = refusal(service, **query)
    assert (refused.response.status_code, problem(refused)["path"]) == (400, path)


def test_an_unknown_parameter_and_an_unknown_edition_are_refused(service: Service) -> None:
    assert refusal(service, colour="red").response.status_code == 400
    refused = refusal(service, "xx")
    assert (refused.response.status_code, problem(refused)["code"]) == (404, "unknown-edition")


def test_a_removal_that_lets_an_older_line_back_in_is_followed_by_a_snapshot(small: Service) -> None:
    lines = [small.publish(f"Line {number}") for number in range(4)]
    with small.screen() as screen:
        assert [item["id"] for item in screen.next()["items"]] == [each["id"] for each in reversed(lines[1:])]
        small.act(lines[3]["id"], "kill")
        assert screen.next()["type"] == "remove"
        again = screen.next()
    assert again["type"] == "snapshot"
    assert [item["id"] for item in again["items"]] == [each["id"] for each in reversed(lines[:3])]


def test_acks_are_counted_while_the_screens_are_there(service: Service) -> None:
    made = service.publish("Confirmed by two")

    def reach() -> tuple[int, int]:
        answer = service.http.get(f"/v1/items/{made['id']}").json()["reach"]
        return answer["screens"], answer["confirmed"]

    with service.screen() as one, service.screen() as two:
        until(lambda: reach() == (2, 0), "two screens")
        one.ack(made["cursor"])
        until(lambda: reach() == (2, 1), "one confirmation")
        one.ack(made["cursor"])
        two.ack(made["cursor"], held=140)
        until(lambda: reach() == (2, 2), "two confirmations")
        killed = service.act(made["id"], "kill").json()
        until(lambda: reach() == (2, 0), "nobody to have confirmed the kill")
        two.ack(killed["cursor"])
        until(lambda: reach() == (2, 1), "one that confirms the kill")
    until(lambda: reach() == (0, 0), "both to be gone")


def test_a_page_of_another_origin_is_refused(small: Service) -> None:
    refused = refusal(small, origin="https://evil.example")
    assert (refused.response.status_code, problem(refused)["code"]) == (403, "origin-not-allowed")
    with small.screen(origin="https://news.example") as screen:
        assert screen.next()["type"] == "snapshot"


def test_readers_over_capacity_are_refused_and_told_when_to_come_back(small: Service) -> None:
    until(lambda: readers(small) == 0, "an empty house")
    with small.screen(), small.screen(), small.screen():
        refused = refusal(small)
        assert (refused.response.status_code, problem(refused)["code"]) == (503, "over-capacity")
        assert int(refused.response.headers["retry-after"]) > 0
    until(lambda: readers(small) == 0, "an empty house")
    with small.screen() as screen:
        assert screen.next()["type"] == "snapshot"


def test_an_address_behind_a_trusted_proxy_has_a_limit_of_its_own(small: Service) -> None:
    until(lambda: readers(small) == 0, "an empty house")
    one, two = {"x-forwarded-for": "203.0.113.7"}, {"x-forwarded-for": "203.0.113.7, 203.0.113.8"}
    with small.screen(headers=one):
        with pytest.raises(InvalidStatus) as refused, small.screen(headers=one):
            pass
        assert refused.value.response.status_code == 503
        with small.screen(headers=two) as screen:
            assert screen.next()["type"] == "snapshot"


def test_a_plain_get_and_a_wrong_version_are_told_to_upgrade(service: Service) -> None:
    answer = service.http.get("/v1/editions/en/socket")
    assert (answer.status_code, answer.json()["code"], answer.headers["upgrade"]) == (
        426,
        "upgrade-required",
        "websocket",
    )
    old = httpx.get(
        f"http://127.0.0.1:{service.port}/v1/editions/en/socket",
        headers={"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "8"},
        trust_env=False,
    )
    assert (old.status_code, old.headers["sec-websocket-version"]) == (426, "13")


@pytest.mark.parametrize(
    "said",
    [
        "garbage",
        "{}",
        "[]",
        '{"type":"ack"}',
        '{"type":"ack","cursor":5}',
        '{"type":"ack","cursor":"x"}',
        '{"type":"ack","cursor":"k3f9.1","held":-1}',
        '{"type":"ack","cursor":"k3f9.1","more":1}',
        '{"type":"subscribe"}',
        b"binary",
    ],
)
def test_what_no_reader_sends_closes_with_1008(service: Service, said: str | bytes) -> None:
    with service.screen() as screen:
        screen.next()
        screen.connection.send(said)
        assert closed(screen) == 1008


def test_a_message_longer_than_an_ack_closes_with_1009(service: Service) -> None:
    with service.screen() as screen:
        screen.connection.send("x" * 1025)
        assert closed(screen) == 1009


def test_an_ack_in_fragments_is_an_ack(service: Service) -> None:
    made = service.publish("Confirmed in pieces")
    with service.screen() as screen:
        text = json.dumps({"type": "ack", "cursor": made["cursor"]})
        screen.connection.send([text[:10], text[10:30], text[30:]])
        until(lambda: service.http.get(f"/v1/items/{made['id']}").json()["reach"]["confirmed"] == 1, "the ack to count")


def test_a_goodbye_is_answered_and_a_ping_too(service: Service) -> None:
    with service.screen() as screen:
        assert screen.connection.ping().wait(10)
        screen.connection.close()
        assert screen.connection.protocol.close_rcvd is not None
        assert screen.connection.protocol.close_rcvd.code == 1000


def test_a_reader_that_vanishes_is_forgotten(service: Service) -> None:
    until(lambda: readers(service) == 0, "an empty house")
    with service.screen() as screen:
        until(lambda: readers(service) == 1, "the reader")
        raw: socket.socket = screen.connection.socket
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        screen.connection.close_timeout = 0.1
        raw.close()
        until(lambda: readers(service) == 0, "the reader to be forgotten")


def test_a_stopped_process_sends_its_readers_away_and_ends(own_service: Service, tmp_path: Path) -> None:
    own_service.start()
    with own_service.screen() as screen:
        screen.next()
        own_service.processes["web"].terminate()
        notice = screen.find(lambda message: message["type"] == "notice")
        assert (notice["code"], notice["retryIn"]) == ("draining", 0)
        assert closed(screen) == 1012
    assert own_service.processes["web"].wait(20) is not None


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_draining_process_answers_until_its_readers_have_left(own_service: Service, processes: str) -> None:
    own_service.start(drain_seconds="600", web_processes=processes)
    # At least one is closed each second, so it takes as many seconds until they all have left.
    with own_service.screens(30) as screens:
        own_service.processes["web"].terminate()
        for screen in screens:
            assert screen.find(lambda message: message["type"] == "notice")["retryIn"] == 600_000
        assert own_service.http.get("/healthz").status_code == 200
        # Another process of the two may have lost its readers already; nobody is left hanging by that.
        until(lambda: own_service.http.get("/readyz").status_code == 503, "/readyz to say that it is leaving")
        with pytest.raises(InvalidStatus) as refused, own_service.screen():
            pass
        assert refused.value.response.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) > 0
        assert b"this process is leaving service" in (refused.value.response.body or b"")
        made = own_service.publish("Taken while readers leave")
        told = 0
        for screen in screens:
            with suppress(ConnectionClosed):
                screen.item(made["id"])
                told += 1
        assert told > 0, "whoever has not left yet is told"
    assert own_service.processes["web"].wait(20) is not None, "the last reader has left"


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_second_ctrl_c_ends_the_drain(own_service: Service, processes: str) -> None:
    own_service.start(drain_seconds="600", web_processes=processes)
    # One process may be ready before the other has begun; an interrupt then is one of its start.
    until(lambda: own_service.log("web").count('"following"') == int(processes), "all processes to be there")
    with own_service.screen() as screen:
        screen.next()
        group = own_service.processes["web"]
        os.killpg(group.pid, signal.SIGINT)
        assert screen.find(lambda message: message["type"] == "notice")["retryIn"] == 600_000
        os.killpg(group.pid, signal.SIGINT)
        assert closed(screen) == 1012
    assert group.wait(20) is not None
