"""Last: from the start of an editor's HTTP call to the last of 5,000 readers, beside a bare loop's time for all.

Each line is published when the one before has reached everyone. Rounds of Stoppress (all its processes on one core)
alternate with rounds of the floor (`bench/floor.py`, on the same core), whose time begins where it is handed the line.
The readers have the other core.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import lines
from bench.crowd import Crowd
from bench.figures import percentile, shown, spread
from bench.floor import Floor
from bench.stage import Stage
from tests.integration.harness import free_port

READERS = 5_000
LINES = 100
ROUNDS = 4
WARM_UP = 20
LINE_SECONDS = 10


def measure() -> dict[str, Any]:
    """Measure, print a table, and return the figures in ms."""
    rounds: dict[str, list[dict[str, float]]] = {"stoppress": [], "floor": []}
    floor = Floor()
    # A short path, since sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="floor-") as folder, Stage() as stage:
        try:
            floor.start(free_port(), lines.snapshot(), Path(folder), stage.core)
            crowds = {name: stage.crowd() for name in rounds}
            stage.aim(crowds["stoppress"])
            crowds["floor"].aim(floor.port, floor.handshake())
            publish: dict[str, Callable[[], object]] = {
                "stoppress": stage.editor.publish,
                "floor": lambda: floor.publish([lines.change(time.time_ns(), 1)]),
            }
            for name, crowd in crowds.items():
                crowd.come(READERS)
                one_round(crowd, publish[name], WARM_UP)
            for number in range(1, ROUNDS + 1):
                print(f"round {number} of {ROUNDS} …", file=sys.stderr, flush=True)
                for name, crowd in crowds.items():
                    rounds[name].append(one_round(crowd, publish[name], LINES))
        finally:
            floor.stop()
    return report(rounds, floor.name)


def one_round(crowd: Crowd, publish: Callable[[], object], count: int) -> dict[str, float]:
    """Publish so many lines, each when all have the one before."""
    crowd.tell("listen")
    for number in range(1, count + 1):
        publish()
        heard = crowd.tell("await", number, LINE_SECONDS)
        assert not heard["short"], heard
        assert not heard["wrong"], heard
    return {"p50": percentile(heard["last"], 50), "p99": percentile(heard["last"], 99), "cpu": busy(heard)}


def busy(heard: dict[str, float]) -> float:
    """The share of its core that the crowd used."""
    return heard["cpu"] / heard["seconds"]


def report(rounds: dict[str, list[dict[str, float]]], floor: str) -> dict[str, Any]:
    figures: dict[str, Any] = {"unit": "ms", "readers": READERS, "lines": LINES, "rounds": ROUNDS}
    print(f"\npublish -> the last of {READERS:,} readers, ms; {LINES} lines a round, median (min-max)\n")
    print(f"{'':<34}{'p50':>22}{'p99':>22}{'readers CPU':>14}")
    for name, label in (("stoppress", "Stoppress, from the HTTP call"), ("floor", floor)):
        row = figures[name] = {key: spread([each[key] for each in rounds[name]]) for key in ("p50", "p99", "cpu")}
        print(f"{label:<34}{shown(row['p50']):>22}{shown(row['p99']):>22}{row['cpu']['median']:>14.0%}")
    for key in ("p50", "p99"):
        pairs = zip(rounds["stoppress"], rounds["floor"], strict=True)
        figures[f"ratio_{key}"] = spread([ours[key] / its[key] for ours, its in pairs])
    print("\nratio within each pair of rounds: ", end="")
    print(", ".join(f"{key} {shown(figures[f'ratio_{key}'])} x" for key in ("p50", "p99")), "(goal: p99 <= 1.3 x)")
    return figures
