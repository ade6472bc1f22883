"""Durability: a Redis that would lose lines is named when a process starts, and one that is set up well is not."""

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from service import durability
from service.embedded import EmbeddedRedis
from service.settings import Settings
from tests.integration.harness import Service, free_port, until
from tests.integration.test_up import Up

Start = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a redis-server of this machine with options of one's own, and say where it is."""
    server = shutil.which("redis-server")
    assert server, "expected the redis-server that .ci/run installs"
    processes = []

    def begin(*options: str) -> str:
        port = free_port()
        folder = tmp_path / f"redis-{port}"
        folder.mkdir()
        command = [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *options]
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        url = f"redis://127.0.0.1:{port}/0"

        def answers() -> bool:
            with suppress(RedisError), Redis.from_url(url) as client:
                return bool(client.ping())
            return False

        until(answers, "Redis to answer")
        return url

    yield begin
    for process in processes:
        process.terminate()
        process.wait(10)


def told(url: str) -> list[tuple[str, bool]]:
    """The first words of each risk, and whether it is a note."""
    with Redis.from_url(url) as client:
        return [(risk.text.split(":")[0], risk.note) for risk in durability.risks(client)]


def test_a_redis_that_is_set_up_well_has_no_risks(start: Start, tmp_path: Path) -> None:
    assert told(start("--appendonly", "yes", "--appendfsync", "always")) == []
    embedded = EmbeddedRedis(Settings(data=tmp_path / "data"), say=lambda _: None)
    embedded.start()
    try:
        assert told(embedded.url) == []
    finally:
        embedded.stop()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), [("appendonly is no", False)]),
        (("--appendonly", "yes"), [("appendfsync is everysec", True)]),
        (("--appendonly", "yes", "--appendfsync", "no"), [("appendfsync is no", False)]),
        (
            ("--maxmemory-policy", "allkeys-lru", "--maxmemory", "50mb"),
            [("appendonly is no", False), ("maxmemory-policy is allkeys-lru", False)],
        ),
    ],
    ids=["no log", "every second", "when it likes", "evicts"],
)
def test_what_would_lose_lines_is_named(start: Start, options: tuple[str, ...], said: list[tuple[str, bool]]) -> None:
    assert told(start(*options)) == said


def test_a_redis_that_is_too_old_is_named(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability, "OLDEST", (99, 0))
    ((said, note),) = told(start("--appendonly", "yes", "--appendfsync", "always"))
    assert said.startswith("expected Redis 6.2 or later, got ")
    assert not note


def test_nothing_is_said_about_what_a_managed_redis_does_not_tell(start: Start) -> None:
    url = start("--appendonly", "yes", "--maxmemory-policy", "volatile-ttl")
    with Redis.from_url(url) as client:
        client.execute_command("ACL SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-config")
        client.execute_command("ACL SETUSER", "less", "on", ">pw", "~*", "&*", "+@all", "-config", "-info")
    assert told(url.replace("//", "//app:pw@")) == [("maxmemory-policy is volatile-ttl", False)]
    assert told(url.replace("//", "//less:pw@")) == []


def test_each_process_says_it_once_and_serves_all_the_same(own_service: Service, start: Start) -> None:
    url = start()
    own_service.start(ready=False, redis_url=url, web_processes="2")
    until(own_service.is_ready, "/readyz to say 200")
    for name in ("web", "worker", "clock"):
        assert own_service.log(name).count("redis may lose lines") == 1
        assert "appendonly is no: a restart of Redis loses what was accepted" in own_service.log(name)


def test_the_embedded_redis_is_not_warned_of(service: Service) -> None:
    for name in ("web", "worker", "clock"):
        assert "redis may lose lines" not in service.log(name)


def test_up_says_it_of_a_redis_of_ones_own(start: Start, tmp_path: Path) -> None:
    up = Up(tmp_path / "up", STOPPRESS_REDIS_URL=start(), STOPPRESS_ADMIN_KEY="sp_given-by-hand")
    with closing(up):
        up.wait_for("Redis may lose lines: appendonly is no")
        up.wait_until_running()
        up.signal(signal.SIGINT)
        assert up.wait() == 0
    assert up.output.count("Redis may lose lines") == 1
