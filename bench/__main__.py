"""`make bench`: run every measurement, print its table, keep it in `bench/results/`."""

import json
import os
import resource
import signal
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from bench import (
    backlog,
    desk,
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
from bench.browser import MissingError

# The plan is last: it joins what the others found.
MEASUREMENTS = {
    "fanout": fanout,
    "last": last,
    "latency": latency,
    "desk": desk,
    "storm": storm,
    "selections": selections,
    "kill": kill,
    "embargo": embargo,
    "backlog": backlog,
    "processes": processes,
    "slow": slow,
    "plan": plan,
}


# As many readers as there are at most, and what else is open.
FILES = 20_000


def about(measurement: ModuleType) -> str:
    """What it measures, as its docstring begins."""
    return (measurement.__doc__ or "").partition(": ")[2].partition("\n")[0].rstrip(".")


def main(names: list[str]) -> int:
    """Run the named measurements, or all; returns the exit status."""
    if {"-h", "--help"} & set(names):
        print(f"{__doc__}\n\n    make bench                 all of them, half an hour")
        print("    make bench ARGS=embargo    one or some of:")
        print(*(f"        {name:<12}{about(module)}" for name, module in MEASUREMENTS.items()), sep="\n")
        return 0
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        print(f"expected {', '.join(MEASUREMENTS)}, got {', '.join(unknown)}", file=sys.stderr)
        return 2
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most_files < FILES:
        print(f"expected {FILES:,} open files to be allowed (ulimit -Hn), got {most_files:,}", file=sys.stderr)
        return 2
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
        except MissingError as missing:
            # What was measured before, here or elsewhere, stays.
            print(f"{name} is not measured: {missing}", file=sys.stderr)
            continue
        except Exception:  # noqa: BLE001 - one that fails must not take the others along
            failed.append(name)
            traceback.print_exc()
            continue
        finally:
            os.sched_setaffinity(0, cores)
        figures["machine"] = plan.machine()
        figures["at"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        (results / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    table.write(results)
    if "fanout" in (names or MEASUREMENTS) and "fanout" not in failed:
        picture.draw()
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


try:
    sys.exit(main(sys.argv[1:]))
except KeyboardInterrupt:
    # What was started has been ended on the way here.
    print("stopped", file=sys.stderr)
    sys.exit(130)
