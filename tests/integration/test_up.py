"""`stoppress up`: real processes by a Procfile of the test's own, whose web process is a dozen lines."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from service.embedded import EmbeddedRedis
from service.errors import UnauthenticatedError
from service.settings import Settings
from service.store.sessions import Sessions
from service.store.users import Users

ROOT = Path(__file__).parents[2]

UP = """
import os, sys
from service.settings import Settings
from service.up import up
then = (lambda running: print("then:", running, flush=True)) if "then" in sys.argv else None
sys.exit(up(Settings.from_env(os.environ), env=os.environ, quiet="quiet" in sys.argv, then=then))
"""

# Has a child of its own, as a web process with several workers has, and counts the signals it gets.
WEB = """
import http.server, os, signal, subprocess, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass

def drain(number, frame):
    time.sleep(float(os.environ.get("DRAIN", "0")))
    print("web drains", flush=True)
    child.kill()
    os._exit(0)

child = subprocess.Popen(["sleep", "1000"])
signal.signal(signal.SIGTERM, drain)
server = http.server.HTTPServer(("127.0.0.1", int(os.environ["STOPPRESS_PORT"])), Handler)
print("web is here", os.getpid(), os.environ["STOPPRESS_ADMIN_KEY"], flush=True)
server.serve_forever()
"""

PROCFILE = """
web: python web.py
worker: echo "worker is here" && sleep 1000
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found and child not in found}:
        found |= more
    return {child for child in found - {pid} if is_alive(child)}


class Up:
    """One `stoppress up` in a process of its own, and all that it has printed."""

    def __init__(self, folder: Path, *argv: str, procfile: str = PROCFILE, **env: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "Procfile").write_text(procfile)
        (folder / "web.py").write_text(WEB)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STOPPRESS_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", UP, *argv],
            cwd=folder,
            env=clean | {"PYTHONPATH": str(ROOT), "STOPPRESS_PORT": "0", "STOPPRESS_DRAIN_SECONDS": "1"} | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.family: set[int] = set()
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def output(self) -> str:
        with self._news:
            return "".join(self._lines)

    def wait_for(self, pattern: str, seconds: float = 10.0) -> re.Match[str]:
        with self._news:
            self._news.wait_for(lambda: re.search(pattern, "".join(self._lines)), seconds)
            found = re.search(pattern, "".join(self._lines))
        assert found, f"no {pattern!r} in {self.output}"
        return found

    def wait_until_running(self) -> None:
        self.wait_for("Stoppress is running")
        self.wait_for("worker is here|then:")
        self.family = descendants(self.process.pid)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 15.0) -> int:
        """The exit status; when this returns, all that it and its processes printed is in `output`."""
        status = self.process.wait(seconds)
        self._reader.join(seconds)
        assert not self._reader.is_alive(), "somebody still holds its output"
        return status

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()


Start = Callable[..., Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Up] = []

    def start(*argv: str, folder: Path = tmp_path, **options: str) -> Up:
        started.append(Up(folder, *argv, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_it_says_where_everything_is_and_ctrl_c_leaves_no_process(start: Start, tmp_path: Path) -> None:
    up = start()
    up.wait_until_running()
    assert len(up.family) >= 6, "guard, Redis, web and its child, a shell and its sleep"
    port = int(up.wait_for(r"ticker page   http://127\.0\.0\.1:(\d+)/\n")[1])
    assert f"API           http://127.0.0.1:{port}/v1/editions\n" in up.output
    assert "every item is kept in ./data." in up.output
    assert "API key       data/admin.key\n" in up.output
    assert re.search(rf"STOPPRESS_PORT={port} \S+/stoppress publish ", up.output)
    assert " web       | web is here" in up.output

    up.signal(signal.SIGINT)

    assert up.wait() == 0
    assert not {pid for pid in up.family if is_alive(pid)}
    assert up.output.count("web drains") == 1, "one Ctrl-C is one SIGTERM"
    assert not (tmp_path / "data" / "redis.url").exists()


def test_what_takes_news_in_stops_before_what_delivers_it(start: Start) -> None:
    tells = 'trap "echo worker is told; exit" TERM; echo "worker is here"; while :; do sleep 0.1; done'
    up = start(procfile=f"web: python web.py\nworker: {tells}", DRAIN="0.5")
    up.wait_until_running()
    up.signal(signal.SIGINT)
    assert up.wait() == 0
    assert up.output.index("web drains") < up.output.index("worker is told")


def test_sigterm_ends_it_likewise(start: Start) -> None:
    up = start()
    up.wait_until_running()
    up.signal(signal.SIGTERM)
    assert up.wait() == 0
    assert not {pid for pid in up.family if is_alive(pid)}


def test_killed_outright_it_leaves_no_process_either(start: Start) -> None:
    up = start()
    up.wait_until_running()
    up.signal(signal.SIGKILL)
    assert up.wait() == -signal.SIGKILL
    until(lambda: not {pid for pid in up.family if is_alive(pid)})


def test_a_second_ctrl_c_does_not_wait(start: Start) -> None:
    stubborn = 'web: python web.py\nworker: trap "" TERM; echo "worker is here"; while :; do sleep 1000; done'
    up = start(procfile=stubborn, STOPPRESS_DRAIN_SECONDS="600")
    up.wait_until_running()
    up.signal(signal.SIGINT)
    up.wait_for("web drains")

    def ended() -> bool:
        up.signal(signal.SIGINT)  # again and again: one right after the first is taken for its echo
        return up.process.poll() is not None

    until(ended)
    assert up.wait() == 0
    assert not {pid for pid in up.family if is_alive(pid)}


def test_no_secret_is_on_a_command_line_or_readable_by_others(start: Start, tmp_path: Path) -> None:
    up = start()
    up.wait_until_running()
    data = tmp_path / "data"
    key = (data / "admin.key").read_text().strip()
    url = (data / "redis.url").read_text().strip()
    password = url.split(":")[2].split("@")[0]

    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in up.family]
    assert any(b"redis-server" in line for line in lines)
    assert not any(password.encode() in line or key.encode() in line for line in lines)
    assert password not in up.output
    for name in ("admin.key", "redis.url", "redis/redis.conf"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o600, name


def test_the_chiefs_key_stays_the_same_and_reaches_the_processes(start: Start, tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        up = start()
        up.wait_until_running()
        keys.append(up.wait_for(r"web is here \d+ (\S+)")[1])
        up.signal(signal.SIGINT)
        assert up.wait() == 0
    assert keys == [(tmp_path / "data" / "admin.key").read_text().strip()] * 2
    assert keys[0].startswith("sp_")


def test_a_killed_process_comes_back(start: Start) -> None:
    up = start()
    up.wait_until_running()
    pid = int(up.wait_for(r"web is here (\d+)")[1])
    os.kill(pid, signal.SIGKILL)
    up.wait_for(r"web ended \(signal SIGKILL\); it starts again in 0.2 s")
    up.wait_for(rf"web is here (?!{pid}\b)\d+")


def test_a_killed_redis_comes_back_where_it_was_with_what_it_held(start: Start, tmp_path: Path) -> None:
    up = start()
    up.wait_until_running()
    with redis.Redis.from_url((tmp_path / "data" / "redis.url").read_text().strip()) as client:
        client.set("headline", "Ceasefire takes effect at midnight")
        os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
        up.wait_for(r"Redis ended \(signal SIGKILL.*starts again")

        def is_back() -> bool:
            try:
                return bool(client.get("headline") == b"Ceasefire takes effect at midnight")
            except redis.ConnectionError:
                return False

        until(is_back)
    up.signal(signal.SIGINT)
    assert up.wait() == 0
    assert not descendants(os.getpid()) & up.family


def test_a_process_that_cannot_start_ends_it_with_its_last_line(start: Start, tmp_path: Path) -> None:
    up = start(procfile="web: echo trying; echo 'no such table' >&2; exit 3\nworker: sleep 1000")
    up.wait_for("web ended")
    family = descendants(up.process.pid)
    assert up.wait() == 1
    assert up.output.endswith("stoppress: web does not start: no such table\n")
    assert up.output.count("web ended (exit status 3)") == 4
    assert not {pid for pid in family if is_alive(pid)}
    assert not (tmp_path / "data" / "redis.url").exists()


def test_quiet_shows_only_what_a_dying_process_said(start: Start) -> None:
    up = start("quiet", "then")
    up.wait_for("Stoppress is running")
    up.wait_for("then: Running")
    assert "is here" not in up.output
    (web,) = [
        pid
        for pid in descendants(up.process.pid)
        if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:2] == [b"web.py"]
    ]
    os.kill(web, signal.SIGKILL)
    up.wait_for(rf"web is here {web}\b")
    assert "worker is here" not in up.output


def test_what_comes_next_is_told_what_runs(start: Start, tmp_path: Path) -> None:
    up = start("then")
    said = up.wait_for(r"then: Running\(base_url='(.*)', admin_key='(.*)', redis_url='(.*)'\)")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", said[1])
    assert said[2] == (tmp_path / "data" / "admin.key").read_text().strip()
    assert said[3] == (tmp_path / "data" / "redis.url").read_text().strip()
    assert up.process.poll() is None, "nothing ends with it"


def test_it_prints_a_link_that_signs_one_browser_in_once(start: Start, tmp_path: Path) -> None:
    up = start()
    ticket = up.wait_for(r"desk +http://127\.0\.0\.1:\d+/desk/sign-in\?ticket=(\S+) \(signs you in once")[1]
    with redis.Redis.from_url((tmp_path / "data" / "redis.url").read_text().strip()) as client:
        sessions = Sessions(client, Users(client))
        assert sessions.account(sessions.redeem(ticket, None, 0)).role == "chief"
        with pytest.raises(UnauthenticatedError, match="users link"):
            sessions.redeem(ticket, None, 0)


def test_no_link_is_printed_where_what_is_printed_is_kept(start: Start) -> None:
    up = start(STOPPRESS_LOG_FORMAT="json")
    up.wait_for(r"/desk \(`.*stoppress users link` prints a link")
    up.wait_for("watch it arrive")
    assert "ticket=" not in up.output


def test_a_taken_port_is_refused_with_a_free_one(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        up = start(STOPPRESS_PORT=str(port))
        assert up.wait() == 1
    expected = rf"stoppress: port {port} on 127\.0\.0\.1 is taken: stop what uses it, or choose another with "
    assert re.fullmatch(expected + r"STOPPRESS_PORT=\d+\n", up.output)
    assert not (tmp_path / "data").exists(), "nothing was started"


def test_an_address_of_another_machine_is_refused(start: Start) -> None:
    up = start(STOPPRESS_HOST="192.0.2.1")
    assert up.wait() == 1
    assert up.output == "stoppress: STOPPRESS_HOST: expected an address of this machine, got '192.0.2.1'\n"


def test_a_second_one_on_the_same_data_is_refused(start: Start, tmp_path: Path) -> None:
    up = start()
    up.wait_until_running()
    second = start(folder=tmp_path / "elsewhere", STOPPRESS_DATA=str(tmp_path / "data"))
    assert second.wait() == 1
    assert f"another `stoppress up` (pid {up.process.pid}) uses the data folder" in second.output
    assert second.output.count("\n") == 1
    assert up.process.poll() is None


def test_an_impossible_data_folder_is_one_clear_line(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for data in ("file", "file/data"):
        up = start(STOPPRESS_DATA=data)
        assert up.wait() == 1
        assert up.output.startswith("stoppress: STOPPRESS_DATA: expected a folder that can be written")
        assert up.output.count("\n") == 1


def test_a_redis_that_is_not_there_is_one_clear_line_without_its_password(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    up = start(STOPPRESS_REDIS_URL=f"redis://:hunter2@127.0.0.1:{port}/0")
    assert up.wait() == 1
    assert f"STOPPRESS_REDIS_URL: no Redis answers at 127.0.0.1:{port} (Connection refused)" in up.output
    assert "hunter2" not in up.output
    assert up.output.count("\n") == 1


def test_a_redis_with_a_password_is_asked_before_anything_starts(start: Start, tmp_path: Path) -> None:
    server = EmbeddedRedis(Settings(data=tmp_path / "other"))
    server.start()
    place = server.url.split("@")[1]
    try:
        for url, problem in (
            (f"redis://{place}", "asks for a password"),
            (f"redis://:hunter2@{place}", "refuses the password"),
        ):
            up = start(STOPPRESS_REDIS_URL=url)
            assert up.wait() == 1
            assert problem in up.output
            assert "hunter2" not in up.output
            assert up.output.count("\n") == 1

        up = start(STOPPRESS_REDIS_URL=server.url, STOPPRESS_ADMIN_KEY="sp_given-by-hand")
        up.wait_until_running()
        assert "kept in the Redis of STOPPRESS_REDIS_URL" in up.output
        assert not (tmp_path / "data").exists(), "with a Redis and a key of its own it needs no folder"
        up.signal(signal.SIGINT)
        assert up.wait() == 0
        assert server.returncode is None, "and leaves that Redis alone"
    finally:
        server.stop()


def test_a_misspelt_setting_is_pointed_out(start: Start) -> None:
    up = start(STOPPRESS_DRIAN_SECONDS="5")
    up.wait_for(r"STOPPRESS_DRIAN_SECONDS is no setting and has no effect \(did you mean STOPPRESS_DRAIN_SECONDS\?\)")
    up.wait_until_running()
