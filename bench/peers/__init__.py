"""Peers: the servers that Stoppress's fan-out is measured beside, each started alone, on one core, in the same run.

Every reader of a peer gets the snapshot first and then each published payload, as text frames. Peers that are our own
few lines around a library take what is published over a *control connection*, and the floors do so too:

- The server is started as `COMMAND PORT FOLDER`; `FOLDER/snapshot` is the text that it sends first to each reader.
- It listens on 127.0.0.1:PORT and then, as a sign that it is ready, on the unix socket `FOLDER/control`.
- The control connection sends `<u32 count>`, then for each payload `<u32 length><bytes>`, all in one write, big-endian.
- The server answers one byte of any value once it has read them all; it may still be delivering.
- There is one control connection at a time; SIGTERM ends the server at once.
"""

import contextlib
import ctypes
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
START_SECONDS = 10.0
STOP_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


class Peer:
    """A server among the measured ones."""

    # As tables show it; the versions join when the peer has started.
    name = ""
    path = "/"
    # What a reader sends right after its handshake was accepted.
    after = b""
    # How many handshakes may be under way at once; some refuse more.
    in_flight = 200
    # With more it does not deliver everything.
    most_readers = 1_000_000
    # Whether several payloads go out in the order in which `publish` was given them.
    in_order = True
    port = 0

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def missing(self) -> str | None:
        """None when it is installed; else one line: what is missing, and the command that installs it."""
        return None

    def start(self, port: int, snapshot: bytes, folder: Path, core: int) -> None:
        """Start it on a core, and wait until it takes readers. The folder's path is short, since sockets lie in it."""
        raise NotImplementedError

    def handshake(self) -> bytes:
        """A reader's whole request."""
        return handshake(self.port, self.path)

    def publish(self, payloads: list[bytes]) -> None:
        """Hand over messages for every reader, in one write; return once they were taken in (not: delivered)."""
        raise NotImplementedError

    def pids(self) -> list[int]:
        """The root processes; what they started themselves belongs to the peer too."""
        return [process.pid for process in self.processes]

    def others(self) -> list[int]:
        """Processes without which it would have nothing to deliver, where those are counted apart."""
        return []

    def stop(self) -> None:
        """End it, with all that it started."""
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            # Whoever outlives the root process is in its group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self.processes.clear()

    def run(self, command: list[str], folder: Path, core: int) -> subprocess.Popen[bytes]:
        """Start one of its processes, pinned; what it prints goes to a file of its folder."""
        with (folder / f"{Path(command[0]).name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: _settle(core),  # noqa: PLW1509 - between fork and exec there is one thread
            )
        self.processes.append(process)
        return process

    def wait_until(self, there: Callable[[], bool], what: str) -> None:
        """Wait while it starts.

        Raises:
            RuntimeError: it ended, or took too long.
        """
        deadline = time.monotonic() + START_SECONDS
        while not there():
            ended = [process for process in self.processes if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                self.stop()
                how = f"{ended[0].args!r} ended with {ended[0].returncode}" if ended else "waited in vain"
                raise RuntimeError(f"{self.name}: expected {what}, got none: {how}")
            time.sleep(0.01)


class Controlled(Peer):
    """A peer that takes what is published over the control connection described above."""

    control: socket.socket | None = None

    def command(self) -> list[str]:
        """What starts the server; the port and the folder follow."""
        raise NotImplementedError

    def start(self, port: int, snapshot: bytes, folder: Path, core: int) -> None:
        self.port = port
        (folder / "snapshot").write_bytes(snapshot)
        path = folder / "control"
        path.unlink(missing_ok=True)
        self.run([*self.command(), str(port), str(folder)], folder, core)
        self.wait_until(lambda: self._connect(path), f"a server listening at {path}")

    def _connect(self, path: Path) -> bool:
        control = socket.socket(socket.AF_UNIX)
        try:
            control.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            control.close()
            return False
        self.control = control
        return True

    def publish(self, payloads: list[bytes]) -> None:
        assert self.control is not None
        self.control.sendall(packed(payloads))
        if not self.control.recv(1):
            raise RuntimeError(f"{self.name}: expected that it takes what is published, got a closed connection")

    def stop(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None
        super().stop()


class PythonPeer(Controlled):
    """A controlled peer that is a module of this package, run by this interpreter."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", type(self).__module__]


def packed(payloads: list[bytes]) -> bytes:
    """What the control connection sends for these payloads."""
    parts = [len(payloads).to_bytes(4, "big")]
    for payload in payloads:
        parts += len(payload).to_bytes(4, "big"), payload
    return b"".join(parts)


def answers(port: int) -> bool:
    """Whether something takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def handshake(port: int, path: str) -> bytes:
    """A reader's whole HTTP request (RFC 6455, section 4.1). Its key is always the same."""
    return (
        b"GET %b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n"
    ) % (path.encode(), port, KEY)


def lacks(what: dict[str, str], install: str) -> str | None:
    """Say which of the files is missing, by its name for people, and how to install it; PATH is looked through."""
    gone = [name for file, name in what.items() if shutil.which(file) is None and not Path(file).exists()]
    return f"{', '.join(gone)} missing: {install}" if gone else None


def _settle(core: int) -> None:
    """What a child does before it becomes a server: its core, as many files as it may, and no life without us."""
    os.sched_setaffinity(0, {core})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@cache
def _peers() -> "tuple[Peer, ...]":
    from bench.peers.nchan import Nchan
    from bench.peers.node_ws import NodeWs
    from bench.peers.pushpin import Pushpin
    from bench.peers.socketio import SocketIO
    from bench.peers.starlette_loop import StarletteLoop
    from bench.peers.task_per_reader import TaskPerReader
    from bench.peers.websockets_broadcast import WebsocketsBroadcast

    return (
        Nchan(),
        Pushpin(),
        WebsocketsBroadcast(),
        NodeWs(),
        SocketIO(),
        StarletteLoop(),
        TaskPerReader(),
    )


def __getattr__(name: str) -> tuple[Peer, ...]:
    """Give `PEERS`, one of each in table order: only when asked for, or `-m bench.peers.X` would import X twice."""
    if name == "PEERS":
        return _peers()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
