"""Cut and killed between any two commands: for every N, right after the Nth reply of Redis."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.faults.proxy import Proxy
from tests.integration.followers import Follower, logged
from tests.integration.harness import KEY, Service, free_port, until

# An editor's call asks Redis less often than this, whatever it does; what else the process asks comes in between.
STEPS = 12


class ProxyThread:
    """A proxy in a thread of its own, for tests that block."""

    def __init__(self, target: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._proxy = Proxy(target)

    def __enter__(self) -> "ProxyThread":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._proxy.__aenter__(), self._loop).result()
        self.url = self._proxy.url
        return self

    def __exit__(self, *failure: object) -> None:
        asyncio.run_coroutine_threadsafe(self._proxy.__aexit__(None, None, None), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def replies(self) -> int:
        return self._proxy.replies

    def cut_after(self, replies: int, then: Callable[[], None] | None = None) -> None:
        self._loop.call_soon_threadsafe(self._proxy.cut_after, replies, then)

    def refuse(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.refuse)

    def heal(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.heal)


@pytest.fixture
def proxied(own_service: Service) -> Iterator[tuple[Service, ProxyThread]]:
    with ProxyThread(own_service.redis_server.url) as proxy:
        yield own_service, proxy
        # The service stops before its way to Redis does.
        for name in list(own_service.processes):
            if own_service.processes[name].poll() is None:
                own_service.stop(name)


def accept(service: Service, item_id: str) -> None:
    """Publish without waiting for a worker."""
    body = {"id": item_id, "edition": "en", "headline": f"Line {item_id}"}
    assert service.http.post("/v1/items", json=body).status_code == 202


def follows(service: Service) -> bool:
    """Whether the web process hears the clock; it is not ready while there is no worker."""
    try:
        return bool(service.http.get("/readyz").json()["parts"]["feed"]["ready"])
    except httpx.TransportError:
        return False


def test_a_worker_killed_after_any_reply_loses_and_doubles_nothing(proxied: tuple[Service, ProxyThread]) -> None:
    service, proxy = proxied
    service.start("web", "clock", ready=False)
    until(lambda: follows(service), "the web process")
    # How many replies a worker needs, from its start to the end of a first job.
    with Follower(service) as follower:
        accept(service, "first")
        service.start("worker", ready=False, redis_url=proxy.url)
        until(lambda: "first" in follower.ids(), "the first line")
        # Then it tells RQ that the job is done, in some replies more.
        steps = proxy.replies + 8
        service.stop("worker", 9)
        wanted = ["first"]
        for number in range(1, steps + 1):
            wanted.append(f"line-{number}")
            accept(service, wanted[-1])
            before = proxy.replies
            service.start("worker", ready=False, redis_url=proxy.url)
            process = service.processes["worker"]
            proxy.cut_after(number, process.kill)
            # It is over when the worker is dead; one that had nothing more to ask is alive, and is killed here.
            ends = time.monotonic() + 20
            while process.poll() is None and follower.ids() != wanted and time.monotonic() < ends:
                time.sleep(0.01)
            assert process.poll() is not None or follower.ids() == wanted, f"step {number}: {proxy.replies - before}"
            proxy.heal()
            service.stop("worker", 9)
        service.start("worker", ready=False)
        until(lambda: follower.ids() == wanted, "every line, once and in order")
        assert [item_id for item_id in logged(service) if item_id in wanted] == wanted
        print(f"a worker was killed after each of its first {steps} replies")


def test_a_worker_that_loses_its_connection_after_any_reply_goes_on(proxied: tuple[Service, ProxyThread]) -> None:
    service, proxy = proxied
    service.start("web", "clock", ready=False)
    service.start("worker", ready=False, redis_url=proxy.url)
    service.wait_ready()
    wanted: list[str] = []
    with Follower(service) as follower:
        for number in range(1, 21):
            wanted.append(f"line-{number}")
            proxy.cut_after(number)
            accept(service, wanted[-1])
            until(lambda: follower.ids() == wanted, f"the line, with the connection cut after {number} replies")
        assert logged(service) == wanted


def test_an_editor_whose_call_is_cut_after_any_reply_is_told_and_may_repeat_it(
    proxied: tuple[Service, ProxyThread],
) -> None:
    service, proxy = proxied
    service.start()
    port = free_port()
    service.start("web2", ready=False, redis_url=proxy.url, port=str(port))
    editor, chief = service.add_key("an editor", "editor"), {"authorization": f"Bearer {KEY}"}
    with ExitStack() as stack:
        follower = stack.enter_context(Follower(service))
        url = f"http://127.0.0.1:{port}"
        http = stack.enter_context(httpx.Client(base_url=url, timeout=30, trust_env=False))

        def ready() -> bool:
            try:
                return http.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        until(ready, "the second web process")

        def call(number: int, method: str, path: str, body: dict[str, object], headers: dict[str, str]) -> int:
            """Send the same request until it is accepted; returns how often it was refused."""
            # The client library reconnects once by itself, so the way stays closed until the call has ended.
            proxy.cut_after(number, proxy.refuse)
            for refused in range(5):
                answer = http.request(method, path, json=body, headers=headers)
                proxy.heal()
                if answer.status_code == 202:
                    return refused
                assert answer.status_code == 503, answer.text
                assert int(answer.headers["retry-after"]) > 0
            raise AssertionError(f"refused five times: {answer.text}")

        refused = 0
        for number in range(1, STEPS + 1):
            line = f"line-{number}"
            refused += call(number, "POST", "/v1/items", {"id": line, "edition": "en", "headline": "As it was"}, editor)
            headers = editor | {"if-match": '"1"', "idempotency-key": f"change-{number}"}
            change: dict[str, object] = {"change": "update", "headline": "As it is"}
            refused += call(number, "PATCH", f"/v1/items/{line}", change, headers)
            refused += call(number, "POST", f"/v1/items/{line}/kill", {}, chief)
        until(lambda: len(follower.of_type("remove")) == STEPS, "the last kill")
        print(f"{refused} of {3 * STEPS} calls were refused at first")
        assert refused >= 6
        items = [(each["item"]["id"], each["item"]["version"]) for each in follower.of_type("item")]
        assert len(items) == len(set(items))
        killed = [each["id"] for each in follower.of_type("remove")]
        assert killed == [f"line-{number}" for number in range(1, STEPS + 1)]
    assert service.processes["web2"].poll() is None
