"""`make bench`: run every measurement, print its table, keep it in `bench/results/`."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench import latency, plan, slow

# The plan is last: it joins what the others found.
MEASUREMENTS = {"latency": latency, "slow": slow, "plan": plan}


def main(names: list[str]) -> int:
    """Run the named measurements, or all; returns the exit status."""
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        print(f"expected {', '.join(MEASUREMENTS)}, got {', '.join(unknown)}", file=sys.stderr)
        return 1
    results = Path(__file__).with_name("results")
    results.mkdir(exist_ok=True)
    for name in names or MEASUREMENTS:
        figures = MEASUREMENTS[name].measure()
        figures["at"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        (results / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    return 0


sys.exit(main(sys.argv[1:]))
