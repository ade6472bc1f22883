"""A rolling restart of two web processes under 5,000 readers: nobody misses a change, and nobody is stampeded."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.integration.crowd import Crowd
from tests.integration.harness import KEY, Service, free_port, until

READERS = 5_000
# Every pair of them is a change for each reader; faster would measure the test's own readers.
PACE_SECONDS = 0.25


@dataclass
class Editor:
    """Publishes, corrects and withholds all the time, at whichever process takes it."""

    ports: list[int]
    accepted: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with httpx.Client(headers={"authorization": f"Bearer {KEY}"}, timeout=20, trust_env=False) as http:
            number = 0
            while not self.stop.wait(PACE_SECONDS):
                number += 1
                line = f"rolling-{number - number % 3}"
                match number % 3:
                    case 0:
                        body = {"edition": "en", "headline": f"Line {number}", "id": line}
                        self.send(http, "POST", "/v1/items", body)
                    case 1:
                        body = {"change": "update", "headline": f"Line {number}, with more"}
                        self.send(http, "PATCH", f"/v1/items/{line}", body, '"1"')
                    case 2 if number % 5 == 0:
                        self.send(http, "POST", f"/v1/items/{line}/withhold", {})

    def send(self, http: httpx.Client, method: str, path: str, body: dict[str, str], match: str | None = None) -> None:
        """Send until it is taken. 409: it was taken, and the answer was lost."""
        if path.startswith("/v1/items/rolling-0"):
            return
        headers = {"if-match": match} if match else {}
        while True:
            for port in self.ports:
                try:
                    answer = http.request(method, f"http://127.0.0.1:{port}{path}", json=body, headers=headers)
                except httpx.TransportError:
                    continue
                assert answer.status_code in (202, 409, 503), answer.text
                if answer.status_code != 503:
                    self.accepted += 1
                    return
            time.sleep(0.05)


@contextmanager
def at_work(ports: list[int]) -> Iterator[Editor]:
    editor = Editor(ports)
    thread = threading.Thread(target=editor.run)
    thread.start()
    try:
        yield editor
    finally:
        editor.stop.set()
        thread.join(30)


def ready(port: int) -> int:
    """What /readyz says; 0 where nobody listens."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=10).status_code
    except httpx.TransportError:
        return 0


def refusal(port: int) -> InvalidStatus:
    try:
        with connect(f"ws://127.0.0.1:{port}/v1/editions/en/socket", proxy=None):
            raise AssertionError("a draining process let somebody in")
    except InvalidStatus as refused:
        return refused


def test_a_rolling_restart_of_two_processes_is_noticed_by_nobody(own_service: Service) -> None:
    ports = {"web": own_service.port, "web2": free_port()}

    def start(name: str) -> None:
        own_service.start(name, ready=False, port=str(ports[name]), drain_seconds="30")
        until(lambda: ready(ports[name]) == 200, f"{name} to be ready")

    own_service.start("worker", "clock", ready=False)
    for name in ports:
        start(name)
    with at_work(list(ports.values())) as editor, Crowd(READERS, list(ports.values())) as crowd:
        crowd.wait_for_all()
        for name, other in (("web", "web2"), ("web2", "web")):
            held = sum(reader.port == ports[name] for reader in crowd.readers)
            assert held >= READERS // 2
            before = len(crowd.reconnects)
            process = own_service.processes[name]
            process.send_signal(signal.SIGTERM)
            until(lambda port=ports[name]: ready(port) == 503, f"{name} to say that it leaves", 5)
            assert ready(ports[other]) == 200
            refused = refusal(ports[name]).response
            assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (503, True)
            assert process.wait(60) == 0
            until(lambda goal=before + held: len(crowd.reconnects) >= goal, "the last of them to be elsewhere")
            crowd.wait_for_all()
            assert all(reader.port == ports[other] for reader in crowd.readers)
            start(name)
        editor.stop.set()
        last = own_service.publish("The last line")
        until(lambda: all(reader.cursor == last["cursor"] for reader in crowd.readers), "everyone to have everything")
        ticker = own_service.http.get("/v1/editions/en/ticker").json()["items"]
        assert all(reader.shown() == ticker for reader in crowd.readers)
        assert crowd.wrong == []
        assert len(crowd.reconnects) >= READERS * 3 // 2
        assert crowd.most_in_a_second() <= READERS // 10
        assert set(crowd.closes) == {1012}
        assert editor.accepted > 100
    print(
        f"{editor.accepted} changes, {len(crowd.reconnects)} reconnects, at most {crowd.most_in_a_second()} in a "
        f"second, {crowd.closes[1012]} closed with 1012, {crowd.snapshots} snapshots, refusals {dict(crowd.refusals)}, "
        f"readers' CPU {crowd.cpu_seconds:.1f} s"
    )
