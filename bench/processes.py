"""Processes: deliveries a second of two web processes beside one, and what two cores give to a bare loop of `send()`.

One web process has 10,000 readers and one core, two have as many together and a core each; so have one floor
(`bench/floor.py`) and two. The readers hold still while a pass runs, since there is no core left for them: the kernel
takes the lines, and afterwards they are asked whether each had each line once. Passes of all four take turns.

A pass lasts from its first write to its last, as the web processes say in their logs (`gateway/trail.py`); of two
processes, from the earlier one's first to the later one's last. The floor's is measured from outside. What else runs on
the machine is in that. The CPU time of a pass, of two processes that of the busier one, has less of it.
"""

import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from bench import lines
from bench.crowd import Crowd
from bench.figures import Figure, shown, spread
from bench.floor import Floor
from bench.peers import packed
from bench.process import cpu_seconds, family, pin
from bench.stage import Stage
from service.domain.instant import parse_ms
from tests.integration.harness import free_port, until

READERS = 10_000
PASSES = 25
WARM_UP = 5
LINE_SECONDS = 20
# How long after a pass the log may say so.
LOG_SECONDS = 10.0


class Gateway:
    """Stoppress with so many web processes."""

    def __init__(self, stack: ExitStack, processes: int, cores: set[int]) -> None:
        self.label = "one web process" if processes == 1 else f"{processes} web processes"
        # A stage that is there already has put this process on one core.
        os.sched_setaffinity(0, cores)
        self.stage = stage = stack.enter_context(Stage(web_processes=str(processes)))
        self.webs = family([stage.web])
        if processes > 1:
            self.webs = webs(stage.web)
            assert len(self.webs) == processes, f"expected {processes} web processes, got {self.webs}"
        # The worker is busy with the last change's books when a pass begins: not on the core of the one process.
        pin(stage.others, stage.other)
        # Readers come while all of them may run anywhere: whose core the readers have would be given fewer.
        pin(self.webs, stage.core, stage.other)
        self.crowd = stage.crowd()
        stage.aim(self.crowd)
        self.crowd.come(READERS)
        for web, core in zip(self.webs, (stage.core, stage.other), strict=False):
            pin([web], core)
        self.log = stack.enter_context((stage.folder / "web.log").open(encoding="utf-8"))
        self.shares: list[int] = []

    def pids(self) -> list[int]:
        return self.webs

    def once(self) -> dict[str, float]:
        """One pass, in deliveries a second."""
        self.log.seek(0, os.SEEK_END)
        called_ms = time.time_ns() / 1e6
        line = self.stage.editor.publish()
        parts = said(self.log, line, len(self.webs))
        self.shares = sorted(part["readers"] for part in parts)
        took = max(part["last_ms"] for part in parts) - min(part["first_ms"] for part in parts)
        return {
            "rate": READERS / took * 1000,
            "own_rates": sum(part["readers"] / (part["last_ms"] - part["first_ms"]) * 1000 for part in parts),
            # From the start of the call to the last write.
            "last_ms": max(parse_ms(part["accepted"], "accepted") + part["last_ms"] for part in parts) - called_ms,
        }


class Floors:
    """As many bare loops, with the readers spread evenly."""

    def __init__(self, stack: ExitStack, cores: tuple[int, ...]) -> None:
        self.floors = []
        for core in cores:
            floor = Floor()
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="floor-"))
            stack.callback(floor.stop)
            floor.start(free_port(), lines.snapshot(), Path(folder), core)
            self.floors.append(floor)
        self.label = "one bare send() loop" if len(cores) == 1 else f"{len(cores)} bare send() loops"
        self.shares = [READERS // len(cores)] * len(cores)

    def come(self, crowd: Crowd) -> None:
        self.crowd = crowd
        for floor in self.floors:
            crowd.aim(floor.port, floor.handshake())
            crowd.come(READERS // len(self.floors))

    def pids(self) -> list[int]:
        return [pid for floor in self.floors for pid in floor.pids()]

    def once(self) -> dict[str, float]:
        message = packed([lines.change(time.time_ns(), 1)])
        controls = [floor.control for floor in self.floors if floor.control is not None]
        started = time.perf_counter()
        # The one that has the core of this process last: it may begin before the next line here.
        for control in controls:
            control.sendall(message)
        for control in controls:
            assert control.recv(1), "expected that the floor takes what is published, got the end of the connection"
        return {"rate": READERS / (time.perf_counter() - started)}


def measure() -> dict[str, Any]:
    """Measure, print a table, and return the figures."""
    allowed = os.sched_getaffinity(0)
    with ExitStack() as stack:
        print("readers come …", file=sys.stderr, flush=True)
        one, two = Gateway(stack, 1, allowed), Gateway(stack, 2, allowed)
        core, other = one.stage.core, one.stage.other
        sides: list[Gateway | Floors] = [one, two]
        if one.crowd.language == "C":
            floors = Floors(stack, (core,)), Floors(stack, (core, other))
            for floor in floors:
                floor.come(one.stage.crowd())
            sides += floors
        passes: dict[str, list[dict[str, float]]] = {side.label: [] for side in sides}
        for side in sides:
            side.crowd.tell("listen")
        for number in range(1, WARM_UP + PASSES + 1):
            if number % 10 == 0:
                print(f"pass {number} of {WARM_UP + PASSES} …", file=sys.stderr, flush=True)
            for side in sides:
                found = one_pass(side, number)
                if number > WARM_UP:
                    passes[side.label].append(found)
        return report(passes, two.shares)


def one_pass(side: Gateway | Floors, number: int) -> dict[str, float]:
    """A pass while the readers hold still; then all must have its line."""
    side.crowd.tell("hold")
    pids = side.pids()
    used = [cpu_seconds([pid]) for pid in pids]
    found = side.once()
    found["cpu_ms"] = max(cpu_seconds([pid]) - before for pid, before in zip(pids, used, strict=True)) * 1000
    side.crowd.tell("go")
    heard = side.crowd.tell("await", number, LINE_SECONDS)
    assert not heard["short"], heard
    assert not heard["wrong"], heard
    return found


def webs(supervisor: int) -> list[int]:
    """The children that serve: uvicorn's, not multiprocessing's own."""
    found = []
    for pid in family([supervisor]):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if pid != supervisor and b"resource_tracker" not in command:
            found.append(pid)
    return found


def said(log: TextIO, line: str, processes: int) -> list[dict[str, Any]]:
    """What each web process logs of a line's delivery."""
    parts: list[dict[str, Any]] = []
    rest = ""

    def all_said() -> bool:
        nonlocal rest
        *done, rest = (rest + log.read()).split("\n")
        parts.extend(json.loads(text) for text in done if '"delivered"' in text and line in text)
        return len(parts) >= processes

    until(all_said, f"{processes} processes to deliver {line}", LOG_SECONDS)
    assert sum(part["readers"] for part in parts) == READERS, parts
    return parts


def report(passes: dict[str, list[dict[str, float]]], shares: list[int]) -> dict[str, Any]:
    figures: dict[str, Any] = {"unit": "deliveries/s", "readers": READERS, "passes": PASSES, "shares": shares}
    print(f"\ndeliveries a second of a pass; {READERS:,} readers who hold still, {PASSES} passes, median (min-max)\n")
    print(f"{'':<26}{'deliveries a second':>34}{'CPU of a pass, ms':>26}")
    for label, found in passes.items():
        row = figures[label] = {key: spread([each[key] for each in found]) for key in found[0]}
        print(f"{label:<26}{shown(row['rate'], 0):>34}{shown(row['cpu_ms'], 1):>26}")
    one, two, *floors = passes.values()
    ours = figures["ratio"] = ratio(two, one, "rate")
    cpu = figures["ratio_cpu"] = ratio(one, two, "cpu_ms")
    print(f"\ntwo web processes over one: {shown(ours)} x (goal: >= 1.8 x), by CPU time {shown(cpu)} x")
    alone = figures["ratio_own"] = ratio(two, one, "own_rates")
    print(f"    each while it has something to write: {shown(alone)} x")
    if floors:
        its = figures["floor_ratio"] = ratio(floors[1], floors[0], "rate")
        cpu = figures["floor_ratio_cpu"] = ratio(floors[0], floors[1], "cpu_ms")
        print(f"two bare loops over one:    {shown(its)} x, by CPU time {shown(cpu)} x; ", end="")
        figures["ratio_of_ratios"] = ours["median"] / its["median"]
        print(f"of what the machine gives: {figures['ratio_of_ratios']:.0%}")
    print(f"readers of the two: {' and '.join(f'{share:,}' for share in shares)}", end="")
    even = figures["most"] = READERS / max(shares)
    print(f", so that no more than {even:.2f} x can be reached")
    return figures


def ratio(over: list[dict[str, float]], under: list[dict[str, float]], key: str) -> Figure:
    """One side's figure by the other's, in each turn."""
    return spread([a[key] / b[key] for a, b in zip(over, under, strict=True)])
