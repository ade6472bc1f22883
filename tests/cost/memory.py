"""Memory: what an idle reader holds, measured in a process of its own, so that nothing else's memory is in it.

`python -m tests.cost.memory` prints it as JSON; with `traced` also what was allocated (to know that takes memory
itself), with `told` for readers that have had a line. The handshakes are real; the other ends are bare file numbers.
tracemalloc also sees what uvloop and libuv take, since they take it through Python; it does not see the kernel's part
of a socket, nor what a C library takes for itself. The resident memory has that one.
"""

import asyncio
import gc
import json
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from resource import RLIMIT_NOFILE, getpagesize, getrlimit, setrlimit
from typing import Any

from tests.cost.process import Process, run

# Each reader takes two open files, since both ends are here. Sets grow by doubling: where they stand among these
# numbers is part of the figure.
FEW, MANY = 1_000, 2_000


def objects() -> Counter[str]:
    """The objects that the collector looks at, by type."""
    # Were any readers frozen (`Hub._freeze`), they would not be among them, and seem to cost nothing.
    gc.unfreeze()
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects())


def resident() -> int:
    """The bytes of this process that are in memory (proc_pid_statm(5))."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * getpagesize()


async def measure(*, told: bool) -> dict[str, Any]:
    """Seat readers and compare."""
    process = Process(bare=True)

    async def seat(readers: int) -> None:
        await process.seat(readers)
        if told:
            await process.deliver(process.lines(1))

    async with process.running():
        await seat(FEW)
        before, bytes_before, tasks_before = objects(), tracemalloc.get_traced_memory()[0], len(asyncio.all_tasks())
        resident_before = resident()
        await seat(MANY - FEW)
        after, bytes_after, tasks_after = objects(), tracemalloc.get_traced_memory()[0], len(asyncio.all_tasks())
        resident_after = resident()
        assert process.hub.count == MANY
        readers = MANY - FEW
        after.subtract(before)
        return {
            "traced": (bytes_after - bytes_before) / readers,
            "resident": (resident_after - resident_before) / readers,
            "tasks": (tasks_after - tasks_before) / readers,
            # A few more or less come of what the process has done once.
            "objects": {name: whole for name, count in after.items() if (whole := round(count / readers))},
        }


def main(arguments: list[str]) -> None:
    """Measure."""
    _, hard = getrlimit(RLIMIT_NOFILE)
    setrlimit(RLIMIT_NOFILE, (hard, hard))
    gc.disable()
    if "traced" in arguments:
        tracemalloc.start()
    print(json.dumps(run(lambda: measure(told="told" in arguments))))


if __name__ == "__main__":
    main(sys.argv[1:])
