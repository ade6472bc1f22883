"""Followers and publishers that run beside a test: readers that reconnect as pages do, editors who try again."""

import json
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.sync.client import connect

from tests.integration.harness import KEY, Service, until


class Follower:
    """A reader for as long as the block runs. It reconnects with its cursor, and remembers what it got and when."""

    def __init__(self, service: Service, edition: str = "en", cursor: str | None = None) -> None:
        self.service = service
        self.edition = edition
        self.cursor = cursor
        # In order, with the moment (monotonic) of each; beats included.
        self.messages: list[tuple[float, dict[str, Any]]] = []
        self.connections = 0
        self._stop = threading.Event()
        self._drop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self.messages, "a reader's first message")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def reconnect(self) -> None:
        """Leave and come back with the cursor."""
        self._drop.set()

    def of_type(self, *kinds: str) -> list[dict[str, Any]]:
        """The messages of these types, in order."""
        return [message for _, message in list(self.messages) if message["type"] in kinds]

    def ids(self) -> list[str]:
        """The ids of the items that came, one by one, in order."""
        return [message["item"]["id"] for message in self.of_type("item")]

    def seqs(self) -> list[int]:
        """The places of the changes that came, in order."""
        return [int(message["cursor"].rpartition(".")[2]) for message in self.of_type("item", "remove")]

    def arrivals(self) -> dict[str, float]:
        """When each item came (monotonic)."""
        return {message["item"]["id"]: at for at, message in list(self.messages) if message["type"] == "item"}

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (OSError, ConnectionClosed, InvalidHandshake, InvalidMessage, EOFError):
                self._stop.wait(0.05)

    def _follow(self) -> None:
        query = {"cursor": self.cursor} if self.cursor else {}
        with connect(
            self.service.socket_url(self.edition, **query), compression=None, proxy=None, close_timeout=1
        ) as connection:
            self.connections += 1
            self._drop.clear()
            while not self._stop.is_set() and not self._drop.is_set():
                try:
                    message = json.loads(connection.recv(timeout=0.05))
                except TimeoutError:
                    continue
                self.messages.append((time.monotonic(), message))
                self.cursor = message.get("cursor", self.cursor)


@dataclass
class Publisher:
    """An editor who publishes line after line under ids of her own, and sends what was not accepted again."""

    service: Service
    name: str
    # What was answered with 202, in order, and when (monotonic).
    accepted: dict[str, float] = field(default_factory=dict)
    # Other answers: the status, the seconds that it took, the Retry-After.
    refused: list[tuple[int, float, str | None]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    edition: str = "en"
    # Between two lines, in seconds.
    pause: float = 0.0

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def finish(self) -> None:
        """Stop after the line that is under way, once that is accepted."""
        self.stop.set()
        self._thread.join(40)
        assert not self._thread.is_alive(), f"{self.name} was not accepted in the end: {self.refused[-5:]}"

    def _run(self) -> None:
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=self.service.http.base_url, headers=headers, timeout=20, trust_env=False) as http:
            number = 0
            while not self.stop.is_set():
                self._publish(http, f"{self.name}-{number}")
                number += 1
                self.stop.wait(self.pause)

    def _publish(self, http: httpx.Client, item_id: str) -> None:
        body = {"edition": self.edition, "headline": f"Line {item_id}", "id": item_id, "expires": None}
        while True:
            started = time.monotonic()
            try:
                response = http.post("/v1/items", json=body)
                status, retry = response.status_code, response.headers.get("retry-after")
            except httpx.TransportError:
                status, retry = 0, None
            if status == 202:
                self.accepted[item_id] = time.monotonic()
                return
            self.refused.append((status, time.monotonic() - started, retry))
            # As soon as may be: a real editor waits as long as she is told to.
            self.stop.wait(0.02) if not self.stop.is_set() else time.sleep(0.02)


class History:
    """What one reader has been told, taken in as a page does it, and checked on the way."""

    def __init__(self, follower: Follower) -> None:
        # The lines that the reader has now, by id; and every id that it ever had.
        self.lines: dict[str, dict[str, Any]] = {}
        self.seen: set[str] = set()
        # The ids in the order in which their items came.
        self.order: list[str] = []
        epoch, seq = "", -1
        told: set[tuple[str, int]] = set()
        for _, message in list(follower.messages):
            if message["type"] not in ("snapshot", "item", "remove"):
                continue
            now, place = message["cursor"].split(".")
            if message["type"] == "snapshot":
                assert now != epoch or int(place) >= seq, "no snapshot goes back within an epoch"
                self.lines = {item["id"]: item for item in message["items"]}
                # What the snapshot of an epoch holds comes no second time in it.
                told = {(item["id"], item["version"]) for item in message["items"]} | (told if now == epoch else set())
                self.seen |= set(self.lines)
            else:
                assert now == epoch, "a new epoch begins with a snapshot"
                assert int(place) > seq, "in order, and nothing twice"
                if message["type"] == "item":
                    item = message["item"]
                    assert (item["id"], item["version"]) not in told, "nothing twice within an epoch"
                    told.add((item["id"], item["version"]))
                    self.lines[item["id"]] = item
                    self.seen.add(item["id"])
                    self.order.append(item["id"])
                else:
                    self.lines.pop(message["id"], None)
            epoch, seq = now, int(place)

    def shown(self, size: int) -> list[dict[str, Any]]:
        """The first lines, as a page sorts them."""
        lines = sorted(self.lines.values(), key=lambda item: (item["pinned"], item["publishedAt"], item["id"]))
        return lines[::-1][:size]


def go_on(publishers: list[Publisher], before: list[int], what: str, seconds: float) -> None:
    """Wait until each has had more lines accepted than `before`, and stop them all."""
    until(
        lambda: all(len(each.accepted) > count + 5 for each, count in zip(publishers, before, strict=True)),
        what,
        seconds,
    )
    for publisher in publishers:
        publisher.finish()


def check_histories(service: Service, publishers: list[Publisher], followers: list[Follower], size: int) -> None:
    """Wait for everyone to have everything that was accepted; then: nothing twice, in order, equal to a snapshot."""
    for follower in followers:
        mine = [publisher for publisher in publishers if publisher.edition == follower.edition]
        accepted = {item_id for publisher in mine for item_id in publisher.accepted}
        until(
            lambda each=follower, accepted=accepted: accepted <= History(each).seen,
            "a reader to have everything that was accepted",
            60,
        )
        history = History(follower)
        for publisher in mine:
            ids = [item_id for item_id in history.order if item_id in publisher.accepted]
            assert ids == [item_id for item_id in publisher.accepted if item_id in set(ids)], "in order of acceptance"
        fresh = service.http.get(f"/v1/editions/{follower.edition}/ticker").json()
        until(
            lambda each=follower, fresh=fresh: History(each).shown(size) == fresh["items"],
            "what a reader has to equal a fresh snapshot",
        )
        assert follower.connections == 1, "the socket stayed"


def logged(service: Service) -> list[str]:
    """The ids of the items in the log, in order, each as often as it is there."""
    frames = [json.loads(fields[b"frame"]) for _, fields in service.redis.xrange("sp:{en}:log")]
    return [frame["item"]["id"] for frame in frames if frame["type"] == "item"]


def check_delivery(service: Service, publishers: list[Publisher], followers: list[Follower]) -> list[str]:
    """Wait for everyone to have everything; then: what was accepted came once, in order, to everyone."""
    accepted = {item_id for publisher in publishers for item_id in publisher.accepted}
    for follower in followers:
        until(lambda each=follower: accepted <= set(each.ids()), "a reader to have everything that was accepted")
    order = [item_id for item_id in logged(service) if item_id in accepted]
    assert len(order) == len(set(order)), "nothing is in the log twice"
    for publisher in publishers:
        mine = set(publisher.accepted)
        assert [item_id for item_id in order if item_id in mine] == list(publisher.accepted), "in order of acceptance"
    for follower in followers:
        assert [item_id for item_id in follower.ids() if item_id in accepted] == order
        seqs = follower.seqs()
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), "without a gap"
    return order
