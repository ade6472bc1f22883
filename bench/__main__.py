"""`make bench`: run every measurement, print its table, keep it in `bench/results/`."""

import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench import backlog, embargo, kill, last, latency, processes, selections, slow, storm

MEASUREMENTS = {
    "last": last,
    "latency": latency,
    "storm": storm,
    "selections": selections,
    "kill": kill,
    "embargo": embargo,
    "backlog": backlog,
    "processes": processes,
    "slow": slow,
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
    for name in names or MEASUREMENTS:
        figures = MEASUREMENTS[name].measure()
        os.sched_setaffinity(0, cores)
        figures["at"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        (results / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    return 0


sys.exit(main(sys.argv[1:]))
