"""Storm: what 2,000 handshakes a second do to the lines that 5,000 readers get meanwhile.

Rounds without a storm alternate with rounds in one. Lines go out at a steady pace; each reader's time is from the start
of the editor's HTTP call to the line in its hand. Who storms in leaves with the snapshot. All of the service is on one
core, readers, storm and editor have the other.
"""

import sys
import time
from typing import Any

from bench.crowd import Crowd
from bench.figures import percentile, shown, spread
from bench.stage import Stage

READERS = 5_000
RATE = 2_000
# More handshakes than this are not under way at once: then the rate falls.
IN_FLIGHT = 500
LINES = 40
PACE_SECONDS = 0.1
PAIRS = 5
LINE_SECONDS = 20
WARM_UP = 10

Round = dict[str, Any]


def measure() -> dict[str, Any]:
    """Measure, print a table, and return the figures in ms."""
    rounds: dict[str, list[Round]] = {"calm": [], "storm": []}
    storms: list[Round] = []
    with Stage() as stage:
        crowd = stage.crowd()
        stage.aim(crowd)
        crowd.come(READERS)
        one_round(stage, crowd, WARM_UP)
        for number in range(1, PAIRS + 1):
            print(f"pair {number} of {PAIRS} …", file=sys.stderr, flush=True)
            rounds["calm"].append(one_round(stage, crowd, LINES))
            crowd.tell("storm", RATE, IN_FLIGHT)
            try:
                rounds["storm"].append(one_round(stage, crowd, LINES))
            finally:
                storms.append(crowd.tell("calm"))
        state = crowd.tell("state")
        assert (state["open"], state["lost"]) == (READERS, 0), state
    return report(rounds, storms)


def one_round(stage: Stage, crowd: Crowd, count: int) -> Round:
    """Publish so many lines at a steady pace, and wait until all have them."""
    crowd.tell("listen")
    at = time.monotonic()
    for _ in range(count):
        stage.editor.publish()
        at += PACE_SECONDS
        time.sleep(max(0.0, at - time.monotonic()))
    heard = crowd.tell("await", count, LINE_SECONDS)
    assert not heard["short"], heard
    assert not heard["wrong"], heard
    last = percentile(heard["last"], 50)
    return {"p50": heard["p50"], "p99": heard["p99"], "last": last, "cpu": heard["cpu"] / heard["seconds"]}


def report(rounds: dict[str, list[Round]], storms: list[Round]) -> dict[str, Any]:
    figures: dict[str, Any] = {"unit": "ms", "readers": READERS, "lines": LINES, "pairs": PAIRS, "rate": RATE}
    print(f"\nHTTP call -> {READERS:,} readers, ms; {LINES} lines a round, {1 / PACE_SECONDS:g}/s, median (min-max)\n")
    print(f"{'':<26}{'p50':>22}{'p99':>24}{'last reader':>24}{'readers CPU':>14}")
    for name, label in (("calm", "no storm"), ("storm", f"{RATE:,} handshakes/s")):
        row = figures[name] = {
            key: spread([each[key] for each in rounds[name]]) for key in ("p50", "p99", "last", "cpu")
        }
        cpu = f"{row['cpu']['median']:.0%}"
        print(f"{label:<26}{shown(row['p50']):>22}{shown(row['p99']):>24}{shown(row['last']):>24}{cpu:>14}")
    pairs = list(zip(rounds["calm"], rounds["storm"], strict=True))
    for key in ("p50", "p99"):
        figures[f"ratio_{key}"] = spread([storm[key] / calm[key] for calm, storm in pairs])
    ratios = (f"{key} {shown(figures[f'ratio_{key}'])} x" for key in ("p50", "p99"))
    print(f"\nratio within each pair: {', '.join(ratios)} (goal: p99 <= 2 x)")
    for storm in storms:
        storm["rate"] = storm["handshakes"] / storm["seconds"]
    figures["handshakes"] = row = {
        key: spread([each[key] for each in storms]) for key in ("rate", "p50", "p99", "failed")
    }
    print(
        f"the storm itself: {shown(row['rate'], 0)} handshakes/s with snapshot, {shown(row['failed'], 0)} failed, ",
        end="",
    )
    print(f"p50 {shown(row['p50'])} ms, p99 {shown(row['p99'])} ms")
    return figures
