"""Kill: until 99 % of 5,000 screens confirm that a line is off them, as the newsroom sees it.

From the start of the HTTP call until `GET /v1/items/{id}`, asked again and again, reports a reach that says so. The
screens hold their acks back for up to 250 ms, as the protocol asks of them (`static/ticker.js`: HELD_MS). The same from
publishing the line until 99 % show it. All of the service is on one core, screens and newsroom have the other.
"""

import random
import statistics
import sys
import time
from typing import Any

from bench import lines
from bench.figures import Figure, shown, spread
from bench.process import cpu_seconds
from bench.stage import Stage
from service.app import REACH_SECONDS

SCREENS = 5_000
KILLS = 20
HELD_MS = 250
SHARE = 0.99
# How often the newsroom asks.
LOOK_SECONDS = 0.01
LONGEST_SECONDS = 20
# Until the last acks of one are over, before the next begins; then a random part of the pace at which web processes say
# what is confirmed (`service/app.py`), or each kill would meet it at the same moment.
PAUSE_SECONDS = 0.5


def measure() -> dict[str, Any]:
    """Measure, print a table, and return the figures in ms."""
    taken: dict[str, list[float]] = {"publish": [], "kill": []}
    chance = random.Random(1)
    with Stage() as stage:
        crowd = stage.crowd()
        stage.aim(crowd)
        crowd.come(SCREENS)
        crowd.tell("acks", HELD_MS)
        used, began = cpu_seconds([crowd.process.pid]), time.monotonic()
        for number in range(1, KILLS + 1):
            print(f"kill {number} of {KILLS} …", file=sys.stderr, flush=True)
            started = time.perf_counter()
            line = stage.editor.call("POST", "/v1/items", lines.draft(time.time_ns()))["id"]
            taken["publish"].append(confirmed(stage, line, started))
            pause(chance)
            started = time.perf_counter()
            stage.editor.call("POST", f"/v1/items/{line}/kill", {})
            taken["kill"].append(confirmed(stage, line, started))
            pause(chance)
        state = crowd.tell("state")
        assert (state["open"], state["lost"]) == (SCREENS, 0), state
        cpu = (cpu_seconds([crowd.process.pid]) - used) / (time.monotonic() - began)
    return report(taken, cpu)


def pause(chance: random.Random) -> None:
    """Let what is under way end."""
    time.sleep(PAUSE_SECONDS + chance.random() * REACH_SECONDS)


def confirmed(stage: Stage, line: str, started: float) -> float:
    """Ask until 99 % of the screens have confirmed the line's latest change; in ms since it began."""
    while True:
        reach = stage.editor.call("GET", f"/v1/items/{line}")["reach"]
        took = time.perf_counter() - started
        if reach["screens"] == SCREENS and reach["confirmed"] >= SHARE * SCREENS:
            return took * 1000
        assert took < LONGEST_SECONDS, f"expected {SHARE:.0%} of {SCREENS} screens to confirm {line}, got {reach}"
        time.sleep(LOOK_SECONDS)


def report(taken: dict[str, list[float]], cpu: float) -> dict[str, Any]:
    figures: dict[str, Any] = {"unit": "ms", "screens": SCREENS, "kills": KILLS, "held_up_to_ms": HELD_MS}
    print(f"\nHTTP call -> {SHARE:.0%} of {SCREENS:,} screens confirm it, ms; {KILLS} lines, median (min-max)\n")
    for name in ("kill", "publish"):
        row: Figure = spread(taken[name])
        figures[name] = row
        print(f"{name:<12}{shown(row, 0):>22}")
    figures["kills_within_1_s"] = within = statistics.mean(each <= 1000 for each in taken["kill"])
    figures["crowd_cpu"] = cpu
    print(
        f"\n{within:.0%} of the kills within 1 s (goal: all); acks held back up to {HELD_MS} ms; readers CPU {cpu:.0%}"
    )
    return figures
