"""`make bench`: run every measurement, print its table, keep it in `bench/results/`."""

import json
import os
import signal
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from bench import (
    backlog,
    embargo,
    fanout,
    kill,
    last,
    latency,
    picture,
    plan,
    processes,
    selections,
    slow,
    storm,
    table,
)

# The plan is last: it joins what the others found.
MEASUREMENTS = {
    "fanout": fanout,
    "last": last,
    "latency": latency,
    "storm": storm,
    "selections": selections,
    "kill": kill,
    "embargo": embargo,
    "backlog": backlog,
    "processes": processes,
    "slow": slow,
    "plan": plan,
}


def main(names: list[str]) -> int:
    """Run the named measurements, or all; returns the exit status."""
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        print(f"expected {', '.join(MEASUREMENTS)}, got {', '.join(unknown)}", file=sys.stderr)
        return 1
    # Whoever is stopped takes along what it started.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    cores = os.sched_getaffinity(0)
    results = Path(__file__).with_name("results")
    results.mkdir(exist_ok=True)
    failed = []
    for number, name in enumerate(names or MEASUREMENTS, 1):
        print(f"{name}, {number} of {len(names or MEASUREMENTS)}", file=sys.stderr, flush=True)
        try:
            figures = MEASUREMENTS[name].measure()
        except Exception:  # noqa: BLE001 - one that fails must not take the others along
            failed.append(name)
            traceback.print_exc()
            continue
        finally:
            os.sched_setaffinity(0, cores)
        figures["at"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        (results / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    table.write(results)
    if "fanout" in (names or MEASUREMENTS) and "fanout" not in failed:
        picture.draw()
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


sys.exit(main(sys.argv[1:]))
