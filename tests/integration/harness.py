"""Harness: what the integration tests drive. Real processes, a real Redis, real clients; events, never times."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

import httpx
from redis import Redis
from redis.exceptions import RedisError
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from service.embedded import EmbeddedRedis
from service.newsroom.auth import COOKIE, CSRF_HEADER
from service.settings import Settings
from service.store.accounts import Accounts, Role
from service.store.connect import blocking
from service.store.sessions import Sessions
from service.store.users import Users

T = TypeVar("T")

KEY = "sp_integration_admin"
PASSWORD = "correct horse battery"
COMMAND = str(Path(sys.executable).with_name("stoppress"))
# Long enough for a machine that does ten other things; a test that waits this long has failed.
DEADLINE_SECONDS = 30.0


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def now_ms() -> int:
    """The moment, in ms since 1970."""
    return time.time_ns() // 1_000_000


def until(look: Callable[[], T], what: str, seconds: float = DEADLINE_SECONDS) -> T:
    """Look again and again until it is true; fail with `what` was awaited."""
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.01)
    return found


class Screen:
    """A reader: a real WebSocket client that remembers what it got."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.messages: list[dict[str, Any]] = []

    def next(self, seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """The next message that is no beat."""
        ends = time.monotonic() + seconds
        while True:
            message: dict[str, Any] = json.loads(self.connection.recv(timeout=max(0.0, ends - time.monotonic())))
            self.messages.append(message)
            if message["type"] != "beat":
                return message

    def find(self, wanted: Callable[[dict[str, Any]], bool], seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """The next message that `wanted` is true of; those before it are passed over."""
        ends = time.monotonic() + seconds
        while True:
            message = self.next(ends - time.monotonic())
            if wanted(message):
                return message

    def item(self, item_id: str, version: int = 1) -> dict[str, Any]:
        """Wait for a version of an item, and return the item."""

        def is_it(message: dict[str, Any]) -> bool:
            item = message.get("item", {})
            return bool(item.get("id") == item_id and item["version"] == version)

        item: dict[str, Any] = self.find(is_it)["item"]
        return item

    def removal(self, item_id: str) -> dict[str, Any]:
        """Wait for an item's removal."""
        return self.find(lambda message: message["type"] == "remove" and message["id"] == item_id)

    def ack(self, cursor: str, held: int = 0) -> None:
        """Confirm that everything up to the cursor is shown."""
        self.connection.send(json.dumps({"type": "ack", "cursor": cursor, "held": held}))


class Service:
    """A whole service on this machine. `start` starts processes and waits until the service is ready."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.redis_server = EmbeddedRedis(Settings(data=folder / "data"), say=lambda _: None)
        self.settings = settings
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"authorization": f"Bearer {KEY}"},
            timeout=DEADLINE_SECONDS,
            trust_env=False,
        )
        # What to run instead of `stoppress` for a kind of process.
        self.programs: dict[str, list[str]] = {}
        # Logs that may hold a traceback: those of processes that a test broke on purpose.
        self.may_fail: set[str] = set()

    def __enter__(self) -> Self:
        if (url := self.settings.get("queue_url") or self.settings.get("redis_url")) and "redis_url" in self.settings:
            # An engine that the test started: where RQ's queue lives.
            redis = blocking(url)
            assert isinstance(redis, Redis)
            self.redis = redis
        else:
            self.redis_server.start()
            self.redis = Redis.from_url(self.redis_server.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()
        self.redis.close()
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for name, process in self.processes.items():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                assert kind is not None, f"{name} did not stop within 20 s of SIGTERM"
        self.redis_server.stop()
        if kind is None:
            for name in set(self.processes) - self.may_fail:
                _, traceback, rest = self.log(name).partition("Traceback")
                assert not traceback, f"{name} logged a traceback:\n{rest[:6000]}"

    def env(self, **more: str) -> dict[str, str]:
        """The environment of the service's processes; keyword names are settings without their prefix."""
        given = {
            "host": "127.0.0.1",
            "port": str(self.port),
            "data": str(self.folder / "data"),
            "redis_url": self.settings.get("redis_url") or self.redis_server.url,
            "admin_key": KEY,
            "web_processes": "1",
            "drain_seconds": "0",
            "undo_seconds": "0",
            "log_format": "json",
        }
        given |= self.settings | more
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STOPPRESS_")}
        return inherited | {f"STOPPRESS_{name.upper()}": value for name, value in given.items()}

    def start(self, *names: str, ready: bool = True, **settings: str) -> None:
        """Start web, worker and clock, or those named (`worker2` is another worker), and wait until all is ready."""
        commands = {"web": ["web"], "worker": ["worker", "breaking"], "clock": ["clock"]}
        for name in names or tuple(commands):
            kind = name.rstrip("0123456789")
            with (self.folder / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    self.programs.get(kind, [COMMAND, *commands[kind]]),
                    env=self.env(**settings),
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    # A group of its own, as a terminal makes one, so that a test may press its Ctrl-C.
                    process_group=0,
                )
        if ready:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the web process can serve news and a worker listens."""
        until(self.is_ready, "/readyz to say 200")
        if any(name.startswith("worker") for name in self.processes):
            until(self.a_worker_listens, "a worker to listen")

    def a_worker_listens(self) -> bool:
        """Whether one is in RQ's books. A Redis that was just killed may not be back, and nobody have noticed yet."""
        try:
            return bool(self.redis.scard("rq:workers"))
        except RedisError:
            return False

    def is_ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        """Send a signal to a process and wait for its end."""
        self.processes[name].send_signal(number)
        return self.processes[name].wait(DEADLINE_SECONDS)

    def log(self, name: str) -> str:
        """What a process has logged."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def publish(self, headline: str = "A line", **fields: Any) -> dict[str, Any]:
        """Publish a line, wait until it is in the log, and return the answer."""
        body = {"edition": "en", "headline": headline} | fields
        response = self.http.post("/v1/items", json=body, headers={"prefer": "wait=10"})
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def act(self, item_id: str, action: str, version: int | None = None, note: str | None = None) -> httpx.Response:
        """Do one action, and wait until it is in the log."""
        headers = {"prefer": "wait=10"} | ({"if-match": f'"{version}"'} if version else {})
        return self.http.post(f"/v1/items/{item_id}/{action}", json={"note": note} if note else {}, headers=headers)

    def change(self, item_id: str, version: int, change: str = "update", **fields: Any) -> httpx.Response:
        """Change an item's text, and wait until that is in the log."""
        headers = {"prefer": "wait=10", "if-match": f'"{version}"'}
        return self.http.patch(f"/v1/items/{item_id}", json={"change": change} | fields, headers=headers)

    def key(self, name: str, role: str, *options: str) -> dict[str, str]:
        """Make an API key with the command line, and return its header."""
        made = self.command("keys", "add", name, "--role", role, *options)
        assert made.returncode == 0, made.stderr
        return {"authorization": f"Bearer {made.stdout.strip()}"}

    def add_key(
        self, name: str, role: Role, *, trusted: bool = False, editions: tuple[str, ...] = ()
    ) -> dict[str, str]:
        """Make an API key without the command line, which takes its time, and return its header."""
        key = Accounts(self.redis, None).add(name, role, now_ms(), trusted=trusted, editions=editions)
        return {"authorization": f"Bearer {key}"}

    def at_desk(self, name: str, role: Role, *, editions: tuple[str, ...] = ()) -> httpx.Client:
        """The browser of a user who is signed in, as far as HTTP goes; its page's proof goes along."""
        store = blocking(self.settings["redis_url"]) if "redis_url" in self.settings else self.redis
        users = Users(store)
        if users.find(name) is None:
            users.add(name, role, PASSWORD, now_ms(), editions=editions)
        sessions = Sessions(store, users)
        cookie = sessions.sign_in(name, PASSWORD, None, now_ms())
        headers = {"cookie": f"{COOKIE}={cookie}", CSRF_HEADER: sessions.csrf(cookie)}
        return httpx.Client(base_url=self.http.base_url, headers=headers, timeout=DEADLINE_SECONDS, trust_env=False)

    def stored(self) -> dict[bytes, object]:
        """All that Redis holds, by its keys."""
        readers: dict[bytes, Callable[[bytes], object]] = {
            b"string": self.redis.get,
            b"hash": self.redis.hgetall,
            b"list": lambda key: self.redis.lrange(key, 0, -1),
            b"set": self.redis.smembers,
            b"zset": lambda key: self.redis.zrange(key, 0, -1, withscores=True),
            b"stream": self.redis.xrange,
            b"none": lambda key: None,
        }
        return {key: readers[self.redis.type(key)](key) for key in self.redis.scan_iter(count=1000)}

    def command(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the `stoppress` command."""
        return subprocess.run(
            [COMMAND, *arguments],
            env=self.env(**settings),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def socket_url(self, edition: str = "en", **query: str | list[str]) -> str:
        """The address of an edition's socket."""
        text = urlencode(query, doseq=True)
        return f"ws://127.0.0.1:{self.port}/v1/editions/{edition}/socket" + (f"?{text}" if text else "")

    @contextmanager
    def screen(
        self,
        edition: str = "en",
        origin: str | None = None,
        headers: dict[str, str] | None = None,
        **query: str | list[str],
    ) -> Iterator[Screen]:
        """Connect a reader. Its first message (snapshot or resumed) is not read yet."""
        with connect(
            self.socket_url(edition, **query),
            subprotocols=[Subprotocol("stoppress.v1")],
            origin=Origin(origin) if origin else None,
            additional_headers=headers,
            compression=None,
            proxy=None,
            open_timeout=DEADLINE_SECONDS,
            # A client with unread messages does not see the answer to its goodbye.
            close_timeout=0.5,
        ) as connection:
            yield Screen(connection)

    @contextmanager
    def screens(self, count: int) -> Iterator[list[Screen]]:
        """Connect so many readers; each has read its snapshot."""
        with ExitStack() as stack:
            screens = [stack.enter_context(self.screen()) for _ in range(count)]
            for screen in screens:
                screen.next()
            yield screens
