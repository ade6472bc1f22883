"""Slow: what readers who never read cost the others, and the process.

2,000 readers of one web process; rounds in which all of them read alternate with rounds in which a tenth never does.
The others' time is from the start of an editor's HTTP call to the line in each reader's hand. Then those who were stuck
read again, and must end with the ticker's own lines. The web process has a core, readers and all else have the other.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.figures import shown, spread
from bench.process import pin, resident_bytes
from tests.integration.harness import Service, until

READERS, STUCK = 2_000, 200
PAIRS = 8
LINES = 100
# Enough to fill what a stuck reader may hold, before the measuring.
FILL = 150
PACE_SECONDS = 0.05


class Readers:
    """`bench.stuck` in a process of its own."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-m", "bench.stuck", str(port), str(READERS), str(STUCK)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def tell(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


def measure() -> dict[str, Any]:
    """Measure, print a table, and return the figures."""
    rounds: dict[str, list[dict[str, Any]]] = {"all read": [], "a tenth never reads": []}
    held: list[tuple[float, float]] = []
    replayed: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="stoppress-bench-") as folder, Service(Path(folder)) as service:
        service.start()
        web = service.processes["web"].pid
        cores = sorted(os.sched_getaffinity(0))
        for process in service.processes.values():
            pin([process.pid], cores[0] if process.pid == web else cores[-1])
        os.sched_setaffinity(0, {cores[-1]})
        readers = Readers(service.port)
        until(lambda: service.http.get("/readyz").json()["readers"] == READERS, "all readers")
        publish(service, FILL)
        for number in range(1, PAIRS + 1):
            print(f"pair {number} of {PAIRS} …", file=sys.stderr, flush=True)
            change(service, readers, "loosen")
            rounds["all read"].append(one_round(service, readers))
            change(service, readers, "stick")
            before = resident_bytes([web])
            publish(service, FILL)
            rounds["a tenth never reads"].append(one_round(service, readers))
            held.append(((resident_bytes([web]) - before) / STUCK, kernel_bytes(service.port)))
            readers.tell("read")
            replayed.append(up_to_date(service, readers))
        readers.process.terminate()
        readers.process.wait()
    return report(rounds, held, replayed)


def change(service: Service, readers: Readers, command: str) -> None:
    readers.tell(command)
    until(lambda: service.http.get("/readyz").json()["readers"] == READERS, "all readers")


def publish(service: Service, count: int) -> None:
    """Publish so many lines, at a steady pace; each says when its publishing began."""
    at = time.monotonic()
    for _ in range(count):
        headline = f"Line of {time.time_ns()}: ceasefire takes effect at midnight, says the Foreign Ministry"
        service.http.post("/v1/items", json={"edition": "en", "headline": headline}).raise_for_status()
        at += PACE_SECONDS
        time.sleep(max(0.0, at - time.monotonic()))


def one_round(service: Service, readers: Readers) -> dict[str, Any]:
    readers.tell("measure")
    publish(service, LINES)
    time.sleep(0.3)
    return readers.tell("stop")


def up_to_date(service: Service, readers: Readers) -> dict[str, Any]:
    """Wait until those who were stuck are where the ticker is."""
    ticker = service.http.get("/v1/editions/en/ticker").json()
    state: dict[str, Any] = {}

    def there() -> bool:
        nonlocal state
        state = readers.tell("state")
        return bool(state["cursors"] == [ticker["cursor"]])

    started = time.monotonic()
    until(there, "the stuck readers to be brought up to date")
    equal = state["shown"] == [[item["id"] for item in ticker["items"]]]
    return {
        "seconds": time.monotonic() - started,
        "equal": equal,
        **{key: state[key] for key in ("wrong", "by_snapshot", "lost")},
    }


def kernel_bytes(port: int) -> float:
    """What the kernel holds for the server's side of a stuck reader: its write queue, on the average."""
    if shutil.which("ss") is None:
        return float("nan")
    said = subprocess.run(["ss", "-tmnH", "sport", "=", f":{port}"], capture_output=True, text=True, check=True).stdout
    queued = sorted(map(int, re.findall(r"skmem:\([^)]*,w(\d+)", said)))[-STUCK:]
    return statistics.mean(queued)


def report(
    rounds: dict[str, list[dict[str, Any]]], held: list[tuple[float, float]], replayed: list[dict[str, Any]]
) -> dict[str, Any]:
    figures: dict[str, Any] = {"unit": "ms", "readers": READERS, "stuck": STUCK, "lines": LINES, "pairs": PAIRS}
    keys = ("p50", "p99", "line_p99")
    print(
        f"\nHTTP call -> {READERS - STUCK:,} readers who read, ms; {LINES} lines a round, median (min-max) of rounds\n"
    )
    print(f"{f'of {READERS:,} readers':<22}{'p50':>22}{'p99':>24}{'line p99':>22}{'client CPU':>12}")
    for name, found in rounds.items():
        row: dict[str, Any] = {key: spread([each[key] for each in found]) for key in (*keys, "cpu")}
        figures[name.replace(" ", "_")] = row | {"heard": sum(each["heard"] for each in found)}
        cpu = f"{row['cpu']['median']:.0%}"
        print(f"{name:<22}{shown(row['p50']):>22}{shown(row['p99']):>24}{shown(row['line_p99']):>22}{cpu:>12}")
    pairs = list(zip(*rounds.values(), strict=True))
    print(f"\nratio within each of {len(pairs)} pairs of rounds; line p99: until 99 % have a line, median of lines")
    for key in keys:
        ratio = figures[f"ratio_{key}"] = spread([stuck[key] / every[key] for every, stuck in pairs])
        print(f"    {key:<10}{shown(ratio)} x")
    process = figures["process_bytes_per_stuck_reader"] = spread([process for process, _ in held])
    kernel = figures["kernel_bytes_per_stuck_reader"] = spread([kernel for _, kernel in held])
    print(f"a stuck reader: {shown(process, 0)} bytes in the process, {shown(kernel, 0)} in the kernel")
    figures["up_to_date"] = replayed
    slowest = max(each["seconds"] for each in replayed)
    good = all(each["equal"] and not each["wrong"] and not each["lost"] for each in replayed)
    snapshots = sum(each["by_snapshot"] for each in replayed)
    print(f"reading again: all {STUCK} up to date within {slowest:.2f} s, {'equal' if good else 'NOT EQUAL'}; ", end="")
    print(f"{snapshots} by snapshot, the others by replay")
    return figures
