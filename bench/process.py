"""Process: what a process and its children use, asked of the kernel."""

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

CPU_CLOCK = 2  # CPUCLOCK_SCHED: what the scheduler gave, in ns, of all threads


def family(roots: Iterable[int]) -> list[int]:
    """These processes and all that they started."""
    found, waiting = [], list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += map(int, children.read_text().split())
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """CPU time of the processes so far, user and system, to the nanosecond (clock_getcpuclockid(3))."""
    used = 0.0
    for pid in family(roots):
        with contextlib.suppress(OSError):
            used += time.clock_gettime((~pid << 3) | CPU_CLOCK)
    return used


def resident_bytes(roots: Iterable[int]) -> int:
    """What the processes hold in memory, pages that they share counted once for each."""
    pages = 0
    for pid in family(roots):
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def pin(roots: Iterable[int], *cores: int) -> None:
    """Let the processes, with all their threads, run on these cores only."""
    for pid in family(roots):
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cores)
