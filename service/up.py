"""`stoppress up`: every process of the Procfile on one machine, on an embedded Redis unless one is named.

One loop in the main thread starts, watches, restarts and ends them, and prints what they say. What it starts ends with
it, however it ends.
"""

import http.client
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType

from honcho.colour import get_colours
from honcho.printer import Message, Printer

from service.child import Child, Guard, Pace
from service.embedded import (
    EmbeddedRedis,
    describe_exit,
    signal_group,
)
from service.errors import StoppressError
from service.greeting import greeting
from service.preflight import check_redis, free_port, procfile, read_admin_key, sign_in_link, strange_names
from service.settings import Settings

HOPELESS_DEATHS = 5  # so many quick ends before the service was ever ready, and it is given up
HOPELESS_SECONDS = 10.0  # what counts as quick
READY_SECONDS = 60.0
READY_NEWS_SECONDS = 5.0
STOP_MARGIN_SECONDS = 10.0  # beyond the readers' drain
FRONT = "web"  # the line of the Procfile that callers talk to
GIVE_UP_SECONDS = 5.0  # the others' time to end when one of them is hopeless
BOUNCE_SECONDS = 0.5  # wrappers such as `uv run` pass on the terminal's Ctrl-C, so that one press may come twice


@dataclass(frozen=True, slots=True)
class Running:
    """What there is to talk to once the service is ready. `redis_url` holds the password of the embedded Redis."""

    base_url: str
    admin_key: str
    redis_url: str
    # Whether the end was asked for: then calls fail, and nobody needs to hear of that.
    stopping: Callable[[], bool] = field(repr=False)


def up(
    settings: Settings,
    *,
    env: Mapping[str, str],
    quiet: bool = False,
    keeps: bool = True,
    then: Callable[[Running], None] | None = None,
) -> int:
    """Run the service until Ctrl-C or SIGTERM and return the exit status; the reason of a 1 is on stderr, in one line.

    `quiet` hides what the processes print, except when they die. `keeps` says whether the data outlives it. `then` runs
    in a thread once the service is ready; nothing ends with it. Call this in the main thread, and end the process after
    it: it goes on ignoring Ctrl-C.
    """
    try:
        for line in strange_names(env):
            _complain(line)
        return Crew(settings, env, quiet=quiet, keeps=keeps, then=then).run()
    except StoppressError as error:
        _complain(error.detail)
        return 1


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
        self,
        settings: Settings,
        env: Mapping[str, str],
        *,
        quiet: bool,
        keeps: bool,
        then: Callable[[Running], None] | None,
    ) -> None:
        self._settings = settings
        self._env = env
        self._quiet = quiet
        self._keeps = keeps
        self._then = then
        colours = get_colours()
        self._children = [Child(name, command, next(colours)) for name, command in procfile().items()]
        self._printer = Printer(sys.stdout, width=max(len("stoppress"), *(len(child.name) for child in self._children)))
        self._port = free_port(settings.host, settings.port)
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
        self._all_told = False  # that they are to stop

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
            check_redis("STOPPRESS_QUEUE_URL", self._settings.queue_url)
        if self._settings.redis_url:
            for risk in check_redis("STOPPRESS_REDIS_URL", self._settings.redis_url):
                self._say(f"Redis may lose lines: {risk}")
            redis_url = self._settings.redis_url
        else:
            self._redis = EmbeddedRedis(self._settings, path=self._env.get("PATH"), say=self._say)
            if not self._redis.start(lambda: self._asked_to_stop is not None):
                return False
            redis_url = self._redis.url
        self._admin_key = self._settings.admin_key or read_admin_key(self._settings.data)
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
        if not self._all_told and all(child.has_ended(whole=True) for child in self._front()):
            self._tell_the_rest()
        return self._all_told and all(child.has_ended(whole=True) for child in self._children)

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
            how = describe_exit(self._redis.returncode)
            if self._redis.returncode >= 0:
                # One that was killed had no time to say why: its last line is about something else.
                how = f"{how}: {self._redis.last_words()}"
            self._say(f"Redis ended ({how}); it starts again in {self._redis_pace.ended():g} s")
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
        # Who logs by program keeps what is printed, and the link signs in a chief.
        kept = self._settings.log_format == "json"
        desk = None if kept else sign_in_link(base_url, self._child_env["STOPPRESS_REDIS_URL"])
        self._write(greeting(self._settings, self._port, base_url, desk, keeps=self._keeps))
        if self._then is not None:
            redis_url = self._child_env["STOPPRESS_REDIS_URL"]
            running = Running(
                base_url=base_url,
                admin_key=self._admin_key,
                redis_url=redis_url,
                stopping=lambda: self._asked_to_stop is not None,
            )
            # What it raises is printed by threading.excepthook, and the service goes on.
            threading.Thread(target=self._then, args=(running,), name="then", daemon=True).start()

    def _give_up(self, why: str) -> None:
        self._failure = StoppressError(why)
        self._begin_stop(GIVE_UP_SECONDS)

    def _begin_stop(self, seconds: float) -> None:
        """Stop who takes news in, and only then who delivers it: what was accepted goes out before the end."""
        self._deadline = time.monotonic() + seconds
        for child in self._front():
            if child.process is not None:
                child.terminate()

    def _front(self) -> list[Child]:
        return [child for child in self._children if child.name == FRONT]

    def _tell_the_rest(self) -> None:
        self._all_told = True
        for child in self._children:
            if child.process is not None and child.name != FRONT:
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
        if self._settings.log_format == "json" and line.startswith("{"):
            # One object a line, as who reads them by program expects.
            self._write(line + "\n")
            return
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


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
