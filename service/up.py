"""`stoppress up`: every process of the Procfile on one machine, on an embedded Redis unless one is named.

One loop in the main thread starts, watches, restarts and ends them, and prints what they say. What it starts ends with
it, however it ends.
"""

import difflib
import errno
import http.client
import os
import re
import secrets
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import redis
from honcho.colour import get_colours
from honcho.environ import parse_procfile
from honcho.printer import Message, Printer
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, NoPermissionError, RedisError
from redis.retry import Retry

from service.embedded import (
    EmbeddedRedis,
    describe_exit,
    leashed,
    make_data_folder,
    signal_group,
    write_private,
)
from service.errors import SettingsError, StoppressError
from service.settings import Settings

FIRST_WAIT_SECONDS = 0.2  # before a process that ended is started again; it doubles with each end
LONGEST_WAIT_SECONDS = 5.0
HEALTHY_SECONDS = 30.0  # a life this long starts the waiting from the beginning
HOPELESS_DEATHS = 5  # so many quick ends before the service was ever ready, and it is given up
HOPELESS_SECONDS = 10.0  # what counts as quick
READY_SECONDS = 60.0
READY_NEWS_SECONDS = 5.0
STOP_MARGIN_SECONDS = 10.0  # beyond the readers' drain
GIVE_UP_SECONDS = 5.0  # the others' time to end when one of them is hopeless
BOUNCE_SECONDS = 0.5  # wrappers such as `uv run` pass on the terminal's Ctrl-C, so that one press may come twice
LAST_LINES = 20  # of a process, kept for when it dies under --quiet
LINE_BYTES = 65_536  # a longer line is printed in pieces

CLIENT_NAMES = {"STOPPRESS_KEY", "STOPPRESS_URL"}  # read by `stoppress publish` and its like, not by the service

# Kills the groups it was told of when its stdin ends. The leash of a process ends that one alone; a web process has
# children, which would keep the port.
_GUARD = """
import os, signal, sys
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""


@dataclass(frozen=True, slots=True)
class Running:
    """What there is to talk to once the service is ready. `redis_url` holds the password of the embedded Redis."""

    base_url: str
    admin_key: str
    redis_url: str


def up(
    settings: Settings,
    *,
    env: Mapping[str, str],
    quiet: bool = False,
    then: Callable[[Running], None] | None = None,
) -> int:
    """Run the service until Ctrl-C or SIGTERM and return the exit status; the reason of a 1 is on stderr, in one line.

    `quiet` hides what the processes print, except when they die. `then` runs in a thread once the service is ready;
    nothing ends with it. Call this in the main thread, and end the process after it: it goes on ignoring Ctrl-C.
    """
    try:
        for line in _strange_names(env):
            _complain(line)
        return Crew(settings, env, quiet=quiet, then=then).run()
    except StoppressError as error:
        _complain(error.detail)
        return 1


class Pace:
    """When a process that ended may start again."""

    def __init__(self) -> None:
        self.due: float | None = None
        self._wait = FIRST_WAIT_SECONDS
        self._born = 0.0

    def started(self) -> None:
        self._born = time.monotonic()
        self.due = None

    def ended(self) -> float:
        """Set `due`, and return the seconds until then."""
        if self.life_seconds() >= HEALTHY_SECONDS:
            self._wait = FIRST_WAIT_SECONDS
        wait = self._wait
        self._wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        self.due = time.monotonic() + wait
        return wait

    def is_due(self) -> bool:
        return self.due is not None and time.monotonic() >= self.due

    def life_seconds(self) -> float:
        return time.monotonic() - self._born


class Child:
    """One line of the Procfile, and the process that runs it at the moment."""

    def __init__(self, name: str, command: str, colour: str) -> None:
        self.name = name
        self.colour = colour
        self.pace = Pace()
        self.quick_deaths = 0
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.process: subprocess.Popen[bytes] | None = None
        self.output = -1
        self._pending = b""
        # A shell passes no SIGTERM on. So it runs only what needs one, and then the whole group is signalled;
        # otherwise the process alone, which tells its own children: RQ takes a second SIGTERM for "at once".
        self._shell = re.fullmatch(r"[\w@%+:,./-]+( +[\w@%+:,./=-]+)*", command) is None
        self._argv = ["/bin/sh", "-c", command] if self._shell else command.split()

    def start(self, env: Mapping[str, str]) -> int:
        """Start the process and return its pid; its output is `output`, which does not block."""
        self.process = subprocess.Popen(  # noqa: S603 - the Procfile is the operator's
            leashed(self._argv),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is ours to pass on
        )
        assert self.process.stdout is not None
        self.output = self.process.stdout.fileno()
        os.set_blocking(self.output, False)
        self.last_lines.clear()
        self._pending = b""
        self.pace.started()
        return self.process.pid

    def read(self) -> tuple[list[str], bool]:
        """The complete lines that have come since, and whether this was the end of its output.

        Raises:
            BlockingIOError: nothing has come.
        """
        data = os.read(self.output, LINE_BYTES)
        *lines, self._pending = (self._pending + data).split(b"\n")
        if self._pending and (not data or len(self._pending) >= LINE_BYTES):
            lines.append(self._pending)
            self._pending = b""
        texts = [line.decode("utf-8", "replace").rstrip("\r") for line in lines]
        self.last_lines.extend(text for text in texts if text.strip())
        return texts, not data

    def terminate(self) -> None:
        assert self.process is not None
        if self._shell:
            signal_group(self.process.pid, signal.SIGTERM)
        else:
            self.process.terminate()

    def has_ended(self, *, whole: bool) -> bool:
        """Whether the process has; `whole`: and, behind a shell, what it started has let go of the output."""
        if self.process is None or self.process.poll() is None:
            return self.process is None
        return not (whole and self._shell and self.output >= 0)


class Guard:
    """A process that outlives this one by an instant, and kills what it left behind."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own code
            [sys.executable, "-I", "-S", "-c", _GUARD], stdin=subprocess.PIPE, start_new_session=True
        )

    def watch(self, pid: int) -> None:
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        # Without a guard the service runs as well; each process still has its leash.
        with suppress(OSError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()


class Probe:
    """Asks `/readyz` in a thread of its own until it says yes. `waiting_for` says what is missing."""

    def __init__(self, host: str, port: int, *, wake: Callable[[], None]) -> None:
        self.base_url: str | None = None
        self.waiting_for = "the web process to answer"
        self._hosts = {"0.0.0.0": ("127.0.0.1",), "::": ("127.0.0.1", "::1")}.get(host, (host,))
        self._port = port
        self._wake = wake
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="readyz", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(0.1):
            for host in self._hosts:
                if self._ask(host):
                    self.base_url = f"http://{_bracketed(host)}:{self._port}"
                    self._wake()
                    return

    def _ask(self, host: str) -> bool:
        # No urllib: it would ask a proxy of the environment for our own address.
        connection = http.client.HTTPConnection(host, self._port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            body = response.read(2000).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            self.waiting_for = f"the web process to answer ({getattr(error, 'strerror', None) or error})"
            return False
        finally:
            connection.close()
        if response.status == 200:
            return True
        said = " ".join(body.split())[:200]
        self.waiting_for = f"/readyz to say 200, it says {response.status}{': ' if said else ''}{said}"
        return False


class Crew:
    """All the processes of one `up`."""

    def __init__(
        self, settings: Settings, env: Mapping[str, str], *, quiet: bool, then: Callable[[Running], None] | None
    ) -> None:
        self._settings = settings
        self._env = env
        self._quiet = quiet
        self._then = then
        colours = get_colours()
        self._children = [Child(name, command, next(colours)) for name, command in _procfile().items()]
        self._printer = Printer(sys.stdout, width=max(len("stoppress"), *(len(child.name) for child in self._children)))
        self._port = _free_port(settings.host, settings.port)
        self._child_env: dict[str, str] = {}
        self._admin_key = settings.admin_key or ""
        self._redis: EmbeddedRedis | None = None
        self._redis_pace = Pace()
        self._guard: Guard | None = None
        self._probe: Probe | None = None
        self._ready = False
        self._began = self._told = 0.0
        self._selector = selectors.DefaultSelector()
        self._awake, self._waker = socket.socketpair()
        self._asked_to_stop: float | None = None  # when
        self._hurried = False
        self._failure: StoppressError | None = None
        self._deadline: float | None = None  # of stopping; None while running

    def run(self) -> int:
        """Run until asked to stop, and return 0.

        Raises:
            StoppressError: the service cannot be started.
        """
        with self._signals():
            try:
                if self._start():
                    while not self._turn():
                        pass
            finally:
                self._end()
        if self._failure is not None:
            raise self._failure
        return 0

    def _start(self) -> bool:
        if self._settings.queue_url:
            _check_redis("STOPPRESS_QUEUE_URL", self._settings.queue_url)
        if self._settings.redis_url:
            _check_redis("STOPPRESS_REDIS_URL", self._settings.redis_url)
            redis_url = self._settings.redis_url
        else:
            self._redis = EmbeddedRedis(self._settings, path=self._env.get("PATH"), say=self._say)
            if not self._redis.start(lambda: self._asked_to_stop is not None):
                return False
            redis_url = self._redis.url
        self._admin_key = self._settings.admin_key or _read_admin_key(self._settings.data)
        self._child_env = {
            **self._env,
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), self._env.get("PATH", os.defpath))),
            "PYTHONUNBUFFERED": "1",
            "STOPPRESS_REDIS_URL": redis_url,
            "STOPPRESS_ADMIN_KEY": self._admin_key,
            "STOPPRESS_HOST": self._settings.host,
            "STOPPRESS_PORT": str(self._port),
            "STOPPRESS_DATA": str(self._settings.data),
        }
        self._guard = Guard()
        if self._redis is not None and self._redis.pid is not None:
            self._redis_pace.started()
            self._guard.watch(self._redis.pid)
        for child in self._children:
            self._launch(child)
        self._began = self._told = time.monotonic()
        self._probe = Probe(self._settings.host, self._port, wake=self._wake)
        self._probe.start()
        return True

    def _turn(self) -> bool:
        """One round of the loop; True when everything has ended."""
        self._attend()
        self._watch_redis()
        if self._asked_to_stop is not None and self._deadline is None:
            drain = self._settings.drain_seconds
            self._say(f"stopping; readers have up to {drain:g} s to move away, Ctrl-C again stops at once")
            self._begin_stop(drain + STOP_MARGIN_SECONDS)
        if self._deadline is None:
            self._watch_children()
            self._watch_readiness()
            return False
        if time.monotonic() >= self._deadline or self._hurried:
            return True
        return all(child.has_ended(whole=True) for child in self._children)

    def _attend(self) -> None:
        """Print what the processes say, until something else may be due."""
        paces = [self._redis_pace, *(child.pace for child in self._children)]
        settled = self._ready and self._deadline is None and not any(pace.due for pace in paces)
        for key, _ in self._selector.select(1.0 if settled else 0.05):
            if key.data is None:
                with suppress(BlockingIOError):
                    self._awake.recv(4096)
            else:
                self._relay(key.data)

    def _relay(self, child: Child) -> bool:
        """Print what `child` says now; False if there is nothing."""
        try:
            lines, ended = child.read()
        except BlockingIOError:
            return False
        if not self._quiet:
            for line in lines:
                self._print(child.name, child.colour, line)
        if ended:
            self._close_output(child)
        return not ended

    def _close_output(self, child: Child) -> None:
        if child.output >= 0:
            assert child.process is not None
            assert child.process.stdout is not None
            self._selector.unregister(child.output)
            child.process.stdout.close()
            child.output = -1

    def _launch(self, child: Child) -> None:
        pid = child.start(self._child_env)
        self._selector.register(child.output, selectors.EVENT_READ, child)
        if self._guard is not None:
            self._guard.watch(pid)

    def _bury(self, child: Child) -> int:
        """Clear away what a dead process left, its children first: they may hold its port. Returns how it ended."""
        assert child.process is not None
        signal_group(child.process.pid, signal.SIGKILL)
        returncode = child.process.wait()
        while child.output >= 0 and self._relay(child):
            pass
        self._close_output(child)
        if self._guard is not None:
            self._guard.forget(child.process.pid)
        child.process = None
        return returncode

    def _watch_children(self) -> None:
        for child in self._children:
            if child.process is not None and child.has_ended(whole=False):
                quick = child.pace.life_seconds() < HOPELESS_SECONDS
                how = describe_exit(self._bury(child))
                if self._quiet:
                    for line in child.last_lines:
                        self._print(child.name, child.colour, line)
                child.quick_deaths = child.quick_deaths + 1 if quick and not self._ready else 0
                if child.quick_deaths >= HOPELESS_DEATHS:
                    why = child.last_lines[-1].strip() if child.last_lines else how
                    self._give_up(f"{child.name} does not start: {why}")
                    return
                self._say(f"{child.name} ended ({how}); it starts again in {child.pace.ended():g} s")
            elif child.pace.is_due():
                try:
                    self._launch(child)
                except OSError as error:
                    self._say(f"{child.name} cannot start ({error}); again in {child.pace.ended():g} s")

    def _watch_redis(self) -> None:
        if self._redis is None or self._redis.returncode is None:
            return
        if self._redis_pace.due is None:
            if self._guard is not None and self._redis.pid is not None:
                self._guard.forget(self._redis.pid)
            how, words = describe_exit(self._redis.returncode), self._redis.last_words()
            self._say(f"Redis ended ({how}: {words}); it starts again in {self._redis_pace.ended():g} s")
        elif self._redis_pace.is_due():
            self._redis_pace.started()
            try:
                self._redis.respawn()
            except (OSError, StoppressError) as error:
                self._say(f"Redis cannot start ({error}); again in {self._redis_pace.ended():g} s")
                return
            if self._guard is not None and self._redis.pid is not None:
                self._guard.watch(self._redis.pid)

    def _watch_readiness(self) -> None:
        if self._ready or self._probe is None:
            return
        now = time.monotonic()
        if self._probe.base_url is not None:
            self._ready = True
            self._welcome(self._probe.base_url)
        elif now - self._began >= READY_SECONDS:
            self._give_up(f"not ready within {READY_SECONDS:.0f} s: still waiting for {self._probe.waiting_for}")
        elif now - self._told >= READY_NEWS_SECONDS:
            self._told = now
            self._say(f"waiting for {self._probe.waiting_for}")

    def _welcome(self, base_url: str) -> None:
        self._write(_greeting(self._settings, self._port, base_url))
        if self._then is not None:
            redis_url = self._child_env["STOPPRESS_REDIS_URL"]
            running = Running(base_url=base_url, admin_key=self._admin_key, redis_url=redis_url)
            # What it raises is printed by threading.excepthook, and the service goes on.
            threading.Thread(target=self._then, args=(running,), name="then", daemon=True).start()

    def _give_up(self, why: str) -> None:
        self._failure = StoppressError(why)
        self._begin_stop(GIVE_UP_SECONDS)

    def _begin_stop(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        for child in self._children:
            if child.process is not None:
                child.terminate()

    def _end(self) -> None:
        """Leave nothing behind: processes first, then the Redis that they write to."""
        if self._probe is not None:
            self._probe.stop()
        for child in self._children:
            if child.process is not None:
                self._bury(child)
        if self._redis is not None:
            self._redis.stop()
        if self._guard is not None:
            if self._redis is not None and self._redis.pid is not None:
                self._guard.forget(self._redis.pid)
            self._guard.close()
        self._selector.close()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Take the signals that end the service, or tell of a process that ended, and wake the loop for each."""
        self._awake.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._awake, selectors.EVENT_READ, None)
        handlers = {
            signal.SIGINT: self._on_interrupt,
            signal.SIGTERM: self._on_terminate,
            signal.SIGCHLD: lambda *_: None,
        }
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup says that the terminal may go
            handlers[signal.SIGHUP] = self._on_terminate
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        waker = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(waker)
            for number, handler in before.items():
                # Who presses Ctrl-C once more while Python packs up must not turn a clean end into a traceback.
                over = self._asked_to_stop is not None and number != signal.SIGCHLD
                signal.signal(number, signal.SIG_IGN if over else handler)
            # The probe's thread may still wake us: closing under it is an error that it ignores.
            self._awake.close()
            self._waker.close()

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked_to_stop is not None and time.monotonic() - self._asked_to_stop > BOUNCE_SECONDS:
            self._hurried = True
        self._on_terminate(_number, _frame)

    def _on_terminate(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked_to_stop is None:
            self._asked_to_stop = time.monotonic()

    def _wake(self) -> None:
        with suppress(OSError):
            self._waker.send(b"\0")

    def _say(self, line: str) -> None:
        self._print("stoppress", None, line)

    def _print(self, name: str, colour: str | None, line: str) -> None:
        now = datetime.now().astimezone()
        with self._stdout():
            self._printer.write(Message(type="line", data=line or " ", time=now, name=name, colour=colour))

    def _write(self, text: str) -> None:
        with self._stdout():
            sys.stdout.write(text)
            sys.stdout.flush()

    @contextmanager
    def _stdout(self) -> Iterator[None]:
        """A terminal that has gone, or a pipe whose reader has, is no reason for the service to stop."""
        try:
            yield
        except UnicodeEncodeError:
            sys.stdout.write("(a line that this terminal cannot show)\n")
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)


def _complain(line: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"stoppress: {line}\n")


def _strange_names(env: Mapping[str, str]) -> Iterator[str]:
    known = {f"STOPPRESS_{field.name.upper()}" for field in fields(Settings)} | CLIENT_NAMES
    for name in sorted(env):
        if name.startswith("STOPPRESS_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            yield f"{name} is no setting and has no effect" + (f" (did you mean {close[0]}?)" if close else "")


def _procfile() -> dict[str, str]:
    """What to run, by name: the Procfile of this folder, or the one that comes with the package."""
    here = Path(__file__).parent
    # In a checkout the bundled one is the repository's own, a folder up.
    path = next(
        (path for path in (Path("Procfile"), here / "Procfile", here.parent / "Procfile") if path.exists()), None
    )
    if path is None:
        raise SettingsError("expected a Procfile in this folder, and the package has lost its own: install it again")
    try:
        processes: dict[str, str] = parse_procfile(path.read_text(encoding="utf-8")).processes
    except (OSError, UnicodeDecodeError, AssertionError) as error:
        raise SettingsError(f"{path.absolute()} cannot be used: {error}") from None
    if not processes:
        raise SettingsError(f"{path.absolute()}: expected lines such as `web: stoppress web`, got none")
    return processes


def _free_port(host: str, port: int) -> int:
    """`port` if it can be listened on, or any that can for port 0.

    Raises:
        SettingsError: it is taken or may not be used.
    """
    try:
        return _bind(host, port)
    except socket.gaierror as error:
        raise SettingsError(
            f"STOPPRESS_HOST: expected an address of this machine, got {host!r} ({error.strerror})"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(f"STOPPRESS_HOST: expected an address of this machine, got {host!r}") from None
        advice = f"choose another with STOPPRESS_PORT={_next_free_port(host, max(port, 1023))}"
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(f"port {port} on {host} is taken: stop what uses it, or {advice}") from None
        raise SettingsError(f"port {port} on {host} cannot be used ({error.strerror}): {advice}") from None


def _next_free_port(host: str, port: int) -> int:
    for candidate in range(port + 1, min(port + 50, 65536)):
        with suppress(OSError):
            return _bind(host, candidate)
    return _bind(host, 0)


def _bind(host: str, port: int) -> int:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: the last one's connections in TIME_WAIT do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)
        bound: int = probe.getsockname()[1]
        return bound


def _check_redis(name: str, url: str) -> None:
    """Raise SettingsError unless the Redis at `url` lets us in. Its message holds no password."""
    parts = urlsplit(url)
    try:
        where = parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
        client = redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5, retry=Retry(NoBackoff(), 0))
    except ValueError:
        raise SettingsError(f"{name}: expected a URL such as redis://host:6379/0, got one with a bad part") from None
    try:
        with client:
            client.ping()
    except (BusyLoadingError, NoPermissionError):
        return  # it is there, and the processes wait for it or say which command it refuses
    except AuthenticationError:
        problem = "refuses the password" if parts.password else "asks for a password"
        raise SettingsError(
            f"{name}: the Redis at {where} {problem}: expected a URL such as redis://user:password@host:6379/0"
        ) from None
    except (RedisError, OSError) as error:
        reason = error.__cause__ or error.__context__ or error
        said = getattr(reason, "strerror", None) or type(reason).__name__
        raise SettingsError(
            f"{name}: no Redis answers at {where} ({said}): start it there, or unset {name} to do without it"
        ) from None


def _read_admin_key(data: Path) -> str:
    """The chief's key of this machine, made at the first start."""
    make_data_folder(data)
    file = data / "admin.key"
    try:
        key = file.read_text(encoding="ascii").strip()
        with suppress(OSError):
            file.chmod(0o600)
    except FileNotFoundError:
        key = f"sp_{secrets.token_urlsafe(24)}"
        write_private(file, key + "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read ({error}): delete it, and a new key is made") from None
    try:
        Settings.from_env({"STOPPRESS_ADMIN_KEY": key or " "})
    except SettingsError:
        raise SettingsError(f"{file} holds no key: delete it, and a new one is made") from None
    return key


def _greeting(settings: Settings, port: int, base_url: str) -> str:
    stoppress = _as_typed(Path(sys.executable).parent / "stoppress")
    if settings.redis_url:
        kept = "every item is kept in the Redis of STOPPRESS_REDIS_URL"
    else:
        data = _as_typed(settings.data)
        kept = f"every item is kept in {data if Path(data).is_absolute() else f'./{data}'}"
    key = "STOPPRESS_ADMIN_KEY" if settings.admin_key else _as_typed(settings.data / "admin.key")
    # Another terminal does not have this one's environment.
    usual = Settings()
    told = {"STOPPRESS_PORT": str(port)} if port != usual.port else {}
    if settings.data != usual.data:
        told["STOPPRESS_DATA"] = str(settings.data)
    command = "".join(f"{name}={shlex.quote(value)} " for name, value in told.items()) + shlex.quote(stoppress)
    return f"""
Stoppress is running. Ctrl-C stops it; {kept}.

  ticker page   {base_url}/
  API           {base_url}/v1/
  API key       {key}

  publish a first line, in another terminal:
    {command} publish "Stoppress is on the air" --edition en --urgency flash
  watch it arrive:
    {command} tail --edition en

"""


def _as_typed(path: Path) -> str:
    """`path` as somebody in this folder would type it."""
    absolute = path.absolute()
    with suppress(ValueError):
        return str(absolute.relative_to(Path.cwd()))
    return str(absolute)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
