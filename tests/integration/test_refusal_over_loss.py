"""A Redis that cannot keep what it is given: publishing is refused in time, readers keep what they have."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis
from redis.exceptions import RedisError

from service.store.keys import Keys
from tests.integration.harness import Service, free_port, until

LARGEST_FILE = 400_000


@pytest.fixture
def running(own_service: Service) -> Iterator[Service]:
    own_service.start()
    yield own_service
    own_service.redis.config_set("maxmemory", 0)


def refusal(service: Service, **fields: object) -> httpx.Response:
    """Publish, and expect a refusal that says to try again."""
    answer = service.http.post("/v1/items", json={"edition": "en", "headline": "Refused"} | fields)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
    assert int(answer.headers["retry-after"]) > 0
    return answer


def keeps_serving(service: Service, headline: str) -> None:
    """Readers keep what they have, new ones too."""
    ticker = service.http.get("/v1/editions/en/ticker")
    assert [item["headline"] for item in ticker.json()["items"]] == [headline]
    with service.screen() as screen:
        assert [item["headline"] for item in screen.next()["items"]] == [headline]


def test_a_redis_without_memory_refuses_news_and_takes_kills(running: Service) -> None:
    made = running.publish("Before", id="before")
    with running.screen() as screen:
        screen.next()
        running.redis.config_set("maxmemory", 1)
        refused = refusal(running, id="refused")
        assert "Nothing was accepted" in refused.json()["detail"]
        assert "memory" in refused.json()["detail"]
        keeps_serving(running, "Before")
        killed = running.http.post(f"/v1/items/{made['id']}/kill", json={"note": "It is wrong"})
        assert killed.status_code == 202, killed.text
        screen.removal(made["id"])
        running.redis.config_set("maxmemory", 0)
        assert running.http.get("/v1/items/refused").status_code == 404, "nothing of it was kept"
        running.publish("Accepted again", id="refused")
        screen.item("refused")


def test_a_redis_that_is_a_replica_refuses_news_and_goes_on_when_it_is_none(running: Service) -> None:
    running.publish("Before")
    running.redis.replicaof("127.0.0.1", free_port())
    refused = refusal(running, id="refused")
    assert "Nothing was accepted" in refused.json()["detail"]
    keeps_serving(running, "Before")
    running.redis.replicaof("no", "one")
    running.wait_ready()
    running.publish("Accepted again", id="refused")


def test_a_redis_that_hangs_refuses_news_within_two_seconds(running: Service) -> None:
    running.publish("Before")
    pid = running.redis_server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            began = time.monotonic()
            refusal(running, id="refused")
            # The promise itself; the machine may add its own pauses.
            assert time.monotonic() - began < 4
        keeps_serving(running, "Before")
        until(
            lambda: "stoppress-behind" in running.http.get("/v1/editions/en/ticker").headers,
            "the mark of a stale ticker",
        )
        stale = running.http.get("/v1/editions/en/ticker")
        assert "stale-while-revalidate" not in stale.headers["cache-control"]
        assert "stoppress-behind" in stale.headers["access-control-expose-headers"]
    finally:
        os.kill(pid, signal.SIGCONT)
    running.wait_ready()
    # It was not known whether it was accepted: whichever it is, sending it again says yes.
    again = running.http.post("/v1/items", json={"edition": "en", "headline": "Refused", "id": "refused"})
    assert again.status_code == 202
    until(lambda: "stoppress-behind" not in running.http.get("/v1/editions/en/ticker").headers, "the mark to be gone")


def own_redis(folder: Path, *options: str) -> tuple[subprocess.Popen[bytes], str]:
    """A Redis whose files may not grow beyond a size; the kernel refuses that as a full disk does."""
    port = free_port()
    folder.mkdir()
    argv = ["redis-server", "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "yes", *options]
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, restore_signals=False)
    finally:
        signal.signal(signal.SIGXFSZ, before)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (LARGEST_FILE, resource.RLIM_INFINITY))
    url = f"redis://127.0.0.1:{port}/0"
    redis = Redis.from_url(url)

    def answers() -> bool:
        try:
            return bool(redis.ping())
        except (RedisError, OSError):
            return False

    until(answers, "Redis to answer")
    redis.close()
    return server, url


def fill(service: Service) -> int:
    """Publish until it is refused; returns how many were accepted."""
    accepted = 0
    while True:
        answer = service.http.post("/v1/items", json={"edition": "en", "headline": "x" * 300, "id": f"line-{accepted}"})
        if answer.status_code != 202:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) > 0
            return accepted
        accepted += 1
        assert accepted < 5_000, "the disk is never full"


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_a_full_disk_refuses_news_and_loses_none(own_service: Service, tmp_path: Path, fsync: str) -> None:
    # With `always` Redis ends itself when it cannot write, with `everysec` it refuses writes until it can.
    server, url = own_redis(tmp_path / "redis", "--appendfsync", fsync)
    own_service.settings["redis_url"] = url
    redis = Redis.from_url(url)
    try:
        own_service.start(ready=False)
        until(own_service.is_ready, "/readyz to say 200")
        accepted = fill(own_service)
        assert accepted > 10
        assert own_service.http.get("/v1/editions/en/ticker").status_code == 200
        # Room again.
        if fsync == "always":
            server.wait(20)
            port = url.rpartition(":")[2].partition("/")[0]
            argv = [
                "redis-server",
                "--port",
                port,
                "--dir",
                str(tmp_path / "redis"),
                "--save",
                "",
                "--appendonly",
                "yes",
            ]
            server = subprocess.Popen(
                [*argv, "--appendfsync", fsync], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        else:
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until(own_service.is_ready, "/readyz to say 200 again")
        until(lambda: not redis.llen(Keys.of("en").outbox), "the outbox to be empty")
        frames = [fields[b"frame"] for _, fields in redis.xrange(Keys.of("en").log)]
        for number in range(accepted):
            assert sum(f'"id":"line-{number}"'.encode() in frame for frame in frames) == 1, (
                f"line-{number} of {accepted}"
            )
        own_service.publish("Accepted again")
    finally:
        redis.close()
        for name in list(own_service.processes):
            own_service.stop(name, signal.SIGTERM)
        server.terminate()
        server.wait(20)
