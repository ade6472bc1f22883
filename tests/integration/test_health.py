"""Health: what /readyz says is true, is said at once, and names what is wrong."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import httpx
import msgspec

from service.domain.lifecycle import Entry
from service.embedded import EmbeddedRedis
from service.settings import Settings
from service.store.keys import CLOCK_LEASE, Keys
from tests.integration.harness import Service, now_ms, until

PARTS = {"redis", "queue", "feed", "canary", "outbox", "clock", "tasks", "draining"}


def ms_of(text: str) -> int:
    """A document's time in ms."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def parts(service: Service) -> dict[str, Any]:
    document: dict[str, Any] = service.http.get("/readyz").json()
    assert (document["status"] == "ready") == all(part["ready"] for part in document["parts"].values())
    return document["parts"]


def not_ready(service: Service) -> set[str]:
    return {name for name, part in parts(service).items() if not part["ready"]}


@contextmanager
def stopped(pid: int | None) -> Iterator[None]:
    """A process that stands still while the block runs."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_each_part_says_what_it_knows_and_since_when(service: Service) -> None:
    before = now_ms()
    answer = service.http.get("/readyz")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert set(document) == {"status", "at", "readers", "parts"}
    assert set(document["parts"]) == PARTS
    for part in document["parts"].values():
        assert part["ready"] is True
        assert ms_of(part["since"]) <= ms_of(part["at"]) + 2_000
        assert before - 5_000 <= ms_of(part["at"]) <= now_ms()
    said = document["parts"]
    assert said["redis"]["roundTripMs"] > 0
    assert said["queue"]["failed"] == 0
    until(lambda: parts(service)["queue"]["workers"] == 1, "the worker to be counted")
    assert said["feed"]["silent"] == []
    assert set(said["feed"]["cursors"]) == {"en", "ar", "es"}
    assert all(before - ms_of(heard) < 3_000 for heard in said["feed"]["heard"].values())
    assert said["clock"]["leader"] == service.redis.get(CLOCK_LEASE).decode()
    assert set(said["outbox"]["editions"]) == {"en", "ar", "es"}
    assert set(said["canary"]["editions"]) == {"en", "ar", "es"}
    for canary in said["canary"]["editions"].values():
        assert canary["ageMs"] < 30_000
        assert abs(before - ms_of(canary["accepted"]) - canary["ageMs"]) < 5_000


def test_readers_never_hear_of_a_canary(service: Service) -> None:
    log = Keys.of("en").log
    with service.screen() as screen:
        before, length = screen.next()["cursor"], service.redis.xlen(log)
        accepted = service.redis.hget(Keys.of("en").meta, "canary")
        until(lambda: service.redis.hget(Keys.of("en").meta, "canary") != accepted, "another canary")
        until(lambda: parts(service)["canary"]["editions"]["en"]["tookMs"] is not None, "the Feed to hear it")
        made = service.publish("After it")
        assert screen.next()["item"]["id"] == made["id"]
    epoch, seq = before.split(".")
    assert made["cursor"] == f"{epoch}.{int(seq) + 1}", "it took no seq"
    assert service.redis.xlen(log) == length + 1
    assert b"canary" not in b"".join(fields[b"entry"] for _, fields in service.redis.xrange(Keys.of("en").audit))


def test_a_redis_that_hangs_is_told_at_once(own_service: Service) -> None:
    own_service.start()
    with stopped(own_service.redis_server.pid):
        slowest = 0.0

        def told() -> set[str]:
            nonlocal slowest
            started = time.monotonic()
            wrong = not_ready(own_service)
            slowest = max(slowest, time.monotonic() - started)
            return wrong & {"redis", "clock", "outbox"}

        until(lambda: told() == {"redis", "clock", "outbox"}, "what Redis says to be known no more")
        until(lambda: "feed" in not_ready(own_service), "the feed to be silent")
        said = parts(own_service)
        # A second's worth of other tests on this machine; Redis's own time-outs are longer.
        assert slowest < 1.0
        print(f"the slowest answer took {slowest * 1000:.0f} ms")
        for name in ("redis", "clock", "outbox"):
            assert ms_of(said[name]["at"]) < ms_of(said[name]["since"]), "what is old says so"
        assert said["clock"]["leader"] is None
    own_service.wait_ready()
    assert ms_of(parts(own_service)["redis"]["since"]) > ms_of(said["redis"]["since"])


def test_without_a_worker_the_way_is_not_ready_and_nothing_piles_up(own_service: Service) -> None:
    own_service.start("web", "clock", ready=False)
    outbox = Keys.of("en").outbox
    until(lambda: own_service.redis.llen(outbox), "the first canary")

    until(lambda: answers(own_service), "the web process")
    until(lambda: not_ready(own_service) <= {"canary", "outbox"}, "all else to be ready")
    assert "canary" in not_ready(own_service)
    assert parts(own_service)["canary"]["late"] == ["en", "ar", "es"]
    until(lambda: "outbox" in not_ready(own_service), "the outbox to be too old")
    until(lambda: "waited too long" in own_service.log("clock"), "the sweep")
    assert own_service.redis.llen(outbox) == 1
    own_service.start("worker")
    assert own_service.redis.llen(outbox) == 0


def answers(service: Service) -> bool:
    try:
        return service.http.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_worker_that_dies_is_noticed_and_its_return_too(own_service: Service) -> None:
    own_service.start()
    worker = own_service.processes["worker"]
    with stopped(worker.pid):
        entry = Entry(kind="remove", id="waits", version=2, accepted=now_ms() - 20_000, reason="withheld")
        own_service.redis.rpush(Keys.of("ar").outbox, msgspec.json.encode(entry))
        until(lambda: "outbox" in not_ready(own_service), "the outbox to be too old")
        said = parts(own_service)["outbox"]["editions"]["ar"]
        assert said["changes"] >= 1
        assert said["ageMs"] > 20_000
    own_service.wait_ready()


def test_a_clock_that_is_gone_is_noticed(own_service: Service) -> None:
    own_service.start()
    assert own_service.stop("clock") == 0
    until(lambda: {"clock", "feed"} <= not_ready(own_service), "the clock and its beat to be missed")
    assert parts(own_service)["clock"]["leader"] is None
    own_service.start("clock")


def test_a_new_web_process_knows_the_canarys_age_at_once(own_service: Service) -> None:
    own_service.start()
    own_service.stop("web")
    # As if the last canary had got through a minute ago, and no other can.
    with stopped(own_service.processes["worker"].pid):
        for code in ("en", "ar", "es"):
            own_service.redis.hset(Keys.of(code).meta, "canary", now_ms() - 60_000)
        own_service.start("web", ready=False)
        until(lambda: answers(own_service), "the web process")
        until(lambda: not_ready(own_service) <= {"canary", "outbox"}, "all but the way")
        said = parts(own_service)["canary"]
        assert said["ready"] is False
        assert said["late"] == ["en", "ar", "es"]
        assert set(said["editions"]) == {"en", "ar", "es"}
        for each in said["editions"].values():
            assert 60_000 <= each["ageMs"] < 90_000
            assert each["tookMs"] is None
    own_service.wait_ready()


def test_a_queue_that_is_down_is_told_apart_from_the_log(own_service: Service, tmp_path: Any) -> None:
    server = EmbeddedRedis(Settings(data=tmp_path / "queue"), say=lambda _: None)
    server.start()
    try:
        own_service.settings["queue_url"] = server.url
        own_service.may_fail.add("worker")
        own_service.start(ready=False)
        until(own_service.is_ready, "/readyz to say 200")
        with stopped(server.pid):
            until(lambda: "queue" in not_ready(own_service), "the queue to be missed")
            assert "redis" not in not_ready(own_service)
        until(own_service.is_ready, "/readyz to say 200")
    finally:
        for name in own_service.processes:
            own_service.stop(name)
        server.stop()


def test_a_draining_process_says_so_in_its_part(own_service: Service) -> None:
    own_service.start(drain_seconds="600")
    with own_service.screen() as screen:
        screen.next()
        own_service.processes["web"].terminate()
        screen.find(lambda message: message["type"] == "notice")
        until(lambda: not_ready(own_service) == {"draining"}, "the part that is leaving")
