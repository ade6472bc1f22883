"""Fan-out: what a delivery costs, beside a bare loop of `send()` and the servers that are used for this elsewhere.

Each server has a core, readers and publishers have the other. One line at a time: the next is published when every
reader has the one before; then ten at once. The bare loop is measured right before and after each server, with as many
readers, and every ratio is to the mean of these two. What is counted is the CPU time of the server's processes, from
before the first line is published until every reader has the last one, with all else that they do meanwhile.
"""

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import lines
from bench.crowd import Crowd
from bench.figures import Figure, percentile, shown, spread
from bench.floor import Floor
from bench.peers import PEERS, Peer
from bench.peers.stoppress import Stoppress
from bench.process import cpu_seconds, resident_bytes
from bench.stage import cores
from tests.integration.harness import free_port

READERS = (1_000, 5_000, 10_000, 15_000)
ROUNDS = 3
BURST = 10
# How many lines of each kind in a round, so that each takes some 60,000 deliveries.
DELIVERIES = 60_000
STORM_SECONDS = 0.7
SETTLE_SECONDS = 3.0

WARM_UP = 10

Row = dict[str, float]


class LossError(Exception):
    """A server did not deliver each line once and in order."""


class Bench:
    """One server, started, with a crowd that comes and goes."""

    def __init__(self, server: Peer, crowd: Crowd, folder: Path, core: int) -> None:
        self.server = server
        self.crowd = crowd
        server.start(free_port(), lines.snapshot(), folder, core)
        self.fresh_bytes = resident_bytes(server.pids())

    def round(self, readers: int, *, whole: bool) -> Row:
        """All figures with so many readers; the bare loop needs no more than those of the lines."""
        server, crowd = self.server, self.crowd
        crowd.aim(server.port, server.handshake(), server.after)
        crowd.come(readers, server.in_flight)
        row: Row = {}
        self.warm_up()
        if whole:
            row["bytes_per_reader"] = (resident_bytes(server.pids()) - self.fresh_bytes) / readers
        for name, burst in (("single", 1), ("burst", BURST)):
            times = max(2, round(DELIVERIES / readers / burst))
            row |= {f"{name}_{key}": value for key, value in self.publish(readers, burst, times).items()}
        if whole:
            crowd.tell("storm", 0, server.in_flight)
            time.sleep(0.1)
            before = cpu_seconds(server.pids())
            made = crowd.tell("state")["handshakes"]
            time.sleep(STORM_SECONDS)
            used, made = cpu_seconds(server.pids()) - before, crowd.tell("state")["handshakes"] - made
            storm = crowd.tell("calm")
            row |= {"handshakes": made / used, "handshake_p99": storm["p99"], "failed": storm["failed"]}
        self.leave()
        return row

    def leave(self) -> None:
        """Have all readers go, and wait until the server does nothing more."""
        self.crowd.leave()
        self.settle()

    def warm_up(self) -> None:
        """Publish until a line gets to everyone: some subscribe their readers a moment after the snapshot."""
        heard: dict[str, Any] = {}
        for _ in range(WARM_UP):
            self.crowd.tell("listen")
            self.server.publish([lines.change(time.time_ns(), 0)])
            heard = self.crowd.tell("await", 1, 5)
            if not heard["short"]:
                return
        raise LossError(f"{heard['short']:,} readers were never reached")

    def publish(self, readers: int, burst: int, times: int) -> Row:
        """Publish so often so many lines at once; each time everybody must have them all, in order."""
        server, crowd = self.server, self.crowd
        roots, rest = server.pids(), server.others()
        crowd.tell("listen")
        before, before_rest = cpu_seconds(roots), cpu_seconds(rest)
        heard: dict[str, Any] = {}
        for number in range(1, times + 1):
            began = time.time_ns()
            server.publish([lines.change(began + each, number) for each in range(burst)])
            heard = crowd.tell("await", number * burst, 60)
            # Ten editors who call at once are in no order.
            wrong = heard["wrong"] if burst == 1 or server.in_order else 0
            if heard["short"] or wrong or heard["heard"] != readers * number * burst:
                said = {key: heard[key] for key in ("heard", "short", "wrong")}
                raise LossError(f"of {readers * number * burst:,} deliveries, each once and in order: {said}")
        deliveries = heard["heard"]
        used, used_rest = cpu_seconds(roots) - before, cpu_seconds(rest) - before_rest
        last = [max(heard["last"][at : at + burst]) for at in range(0, len(heard["last"]), burst)]
        return {
            "cpu_us": used / deliveries * 1e6,
            "whole_cpu_us": (used + used_rest) / deliveries * 1e6,
            "p50_ms": heard["p50"],
            "p99_ms": heard["p99"],
            "last_ms": statistics.median(last),
            "last_p99_ms": percentile(last, 99),
            "client_cpu": heard["cpu"] / heard["seconds"],
        }

    def settle(self) -> None:
        """Wait until it has forgotten its readers, and does nothing more."""
        ends = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < ends:
            before = cpu_seconds(self.server.pids())
            time.sleep(0.1)
            if cpu_seconds(self.server.pids()) - before < 0.005:
                return


def measure() -> dict[str, Any]:
    """Measure everything, print a table for each number of readers, and return the figures."""
    core, other = cores()
    missing = {peer.name: why for peer in PEERS if (why := peer.missing())}
    for name, why in missing.items():
        print(f"not measured: {name}: {why}", file=sys.stderr)
    rows: dict[str, dict[int, list[Row]]] = {}
    losses: dict[str, str] = {}
    with ExitStack() as stack:
        crowd: Crowd | None = None

        def started(server: Peer) -> Bench:
            assert crowd is not None
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            bench = Bench(server, crowd, folder, core)
            stack.callback(server.stop)
            return bench

        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        crowd = stack.enter_context(Crowd(place, other))
        # Which also has this process leave the servers' core.
        own = started(Stoppress())
        floor = started(Floor())
        others = [started(peer) for peer in PEERS if peer.name not in missing]
        for readers in READERS:
            for number in range(1, ROUNDS + 1):
                before = floor.round(readers, whole=False)
                # Ours twice a round: it is the one that the question is about.
                for bench in (own, *others, own):
                    if readers > bench.server.most_readers:
                        continue
                    name = bench.server.name
                    print(f"{readers:,} readers, round {number} of {ROUNDS}: {name} …", file=sys.stderr, flush=True)
                    try:
                        row = bench.round(readers, whole=True)
                    except (LossError, RuntimeError, TimeoutError) as error:
                        if bench is own:
                            raise
                        losses[f"{name}, {readers:,} readers, round {number}"] = str(error)
                        print(f"{name}: {error}", file=sys.stderr)
                        bench.leave()
                        continue
                    after = floor.round(readers, whole=False)
                    for kind in ("single", "burst"):
                        least = statistics.mean(each["single_cpu_us"] for each in (before, after))
                        row[f"{kind}_ratio"] = row[f"{kind}_cpu_us"] / least
                    rows.setdefault(name, {}).setdefault(readers, []).append(row)
                    rows.setdefault(floor.server.name, {}).setdefault(readers, []).append(before)
                    before = after
        language, name, floor_name = crowd.language, own.server.name, floor.server.name
    found = {
        server: {
            str(count): {key: spread([row[key] for row in group]) for key in group[0]} for count, group in of.items()
        }
        for server, of in rows.items()
    }
    figures: dict[str, Any] = {
        "readers": READERS,
        "rounds": ROUNDS,
        "burst": BURST,
        "client": language,
        "own": name,
        "floor": floor_name,
        "servers": found,
        "missing": missing,
        "losses": losses,
    }
    report(figures)
    return figures


def report(figures: dict[str, Any]) -> None:
    """Print what was found, as tables for people."""
    for readers in figures["readers"]:
        print(
            f"\n{readers:,} readers; median (min-max) of the rounds; ratios to one `send` of the bare loop, beside it\n"
        )
        print(
            f"{'':<50}{'us a delivery':>20}{'ratio':>19}{f'ratio, {BURST} at once':>20}"
            f"{'p50 ms':>9}{'p99 ms':>9}{'last ms':>9}{'KB a reader':>13}{'handshakes/CPU s':>18}{'client':>8}"
        )
        for server, of in figures["servers"].items():
            row: dict[str, Figure] | None = of.get(str(readers))
            if row is None:
                continue
            alone = server == figures["floor"]
            print(
                f"{server:<50}{shown(row['single_cpu_us']):>20}"
                + ("".rjust(39) if alone else f"{shown(row['single_ratio']):>19}{shown(row['burst_ratio']):>20}")
                + "".join(f"{row[f'single_{key}_ms']['median']:>9.1f}" for key in ("p50", "p99", "last"))
                + ("".rjust(31) if alone else f"{row['bytes_per_reader']['median'] / 1000:>13.1f}")
                + ("" if alone else f"{row['handshakes']['median']:>18,.0f}")
                + f"{row['single_client_cpu']['median']:>8.0%}"
            )
