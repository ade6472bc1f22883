"""Child: one process of the Procfile, its pace of restarts, and the guard that ends what a killed `up` leaves."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress

from service.embedded import (
    leashed,
    signal_group,
)

FIRST_WAIT_SECONDS = 0.2  # before a process that ended is started again; it doubles with each end
LONGEST_WAIT_SECONDS = 5.0
HEALTHY_SECONDS = 30.0  # a life this long starts the waiting from the beginning
LAST_LINES = 20  # of a process, kept for when it dies under --quiet
LINE_BYTES = 65_536  # a longer line is printed in pieces


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
