"""Crowd: many readers in a process of their own: `crowd.c` where there is a compiler, else `readers.py`."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).parent
# The longest that a command takes ends by itself: `open` after 30 s, `await` when it was told to.
PATIENCE_SECONDS = 60.0


def compiled(name: str, folder: Path) -> Path | None:
    """Compile `NAME.c` into the folder; None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = folder / name
    if not program.exists():
        subprocess.run([compiler, "-O2", "-o", program, HERE / f"{name}.c"], check=True)
    return program


class Crowd:
    """The readers' process; each method is one of its commands (`bench/README.md`)."""

    def __init__(self, folder: Path, core: int) -> None:
        program = compiled("crowd", folder)
        self.language = "C" if program else "Python"
        self.count = 0
        self._said = b""
        self.process = subprocess.Popen(
            [program] if program else [sys.executable, "-m", "bench.readers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - there is one thread yet
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def tell(self, *command: object) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        self.give(*command)
        return self.answer()

    def give(self, *command: object) -> None:
        """Give a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, command)).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the last command.

        Raises:
            TimeoutError: none came.
        """
        assert self.process.stdout is not None
        ends = time.monotonic() + PATIENCE_SECONDS
        while b"\n" not in self._said:
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, ends - time.monotonic()))
            if not readable:
                raise TimeoutError(f"expected an answer of the crowd within {PATIENCE_SECONDS:g} s, got none")
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            assert part, "the crowd ended"
            self._said += part
        line, _, self._said = self._said.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def aim(self, port: int, handshake: bytes, after: bytes = b"") -> None:
        """Say where the readers that come from now on connect to, and with what."""
        self.tell("port", port)
        self.tell("request", handshake.hex(), after.hex())

    def come(self, count: int, at_once: int = 200) -> dict[str, Any]:
        """Connect so many more; each has its snapshot then."""
        opened = self.tell("open", count, at_once)
        self.count += count
        if opened["open"] != self.count:
            raise RuntimeError(f"expected {self.count:,} readers with their snapshots, got {opened}")
        return opened

    def leave(self) -> None:
        """Close all connections."""
        self.tell("close")
        self.count = 0
