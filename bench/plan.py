"""Plan: what only `stoppress plan` needs, and the joining of all results into the figures that it reckons with.

Redis's cost per subscriber and per web process; a web process's cost per beat, per confirmation and per change, and its
memory; the kernel's per socket; the parts of a line's way. `python -m bench.plan` only joins what is in `bench/results`
into `bench/results/figures.json`, for `stoppress plan --figures`, or for `service/plan/figures.json`.
"""

import asyncio
import json
import os
import platform
import re
import resource
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from bench import table
from bench.figures import percentile, spread
from bench.process import cpu_seconds, pin, resident_bytes
from bench.stage import Stage
from service.domain.frames import websocket
from service.embedded import EmbeddedRedis
from service.plan.figures import BURST, FORMAT, Figures
from service.plan.figures import read as read_figures
from service.settings import Settings
from service.store import reach
from service.store.health import ask_log, ask_queue
from service.store.keys import Keys
from tests.integration.harness import Service, free_port, until

RESULTS = Path(__file__).with_name("results")
ROUNDS = 3
# Redis.
SUBSCRIBERS = (10, 100, 1_000)
PUBLISHES = 100
MESSAGE = b"x" * 600
PROCESSES = 50
EDITIONS = (1, 21)
LOOK_SECONDS = 2.0
# The crowd.
READERS = 3_000
LINES = 150
WATCH_SECONDS = 10.0
HELD_SECONDS = 0.25


def measure() -> dict[str, Any]:
    """Measure, print, join with what `bench/results` has of the other measurements, and return the figures."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="stoppress-bench-") as folder:
        print("redis …", file=sys.stderr, flush=True)
        figures |= of_redis(Path(folder) / "redis")
    with Stage() as stage:
        print("a crowd …", file=sys.stderr, flush=True)
        service = stage.service
        figures |= of_lines(stage)
        figures |= of_crowd(stage)
        with_web = len(service.redis.client_list())
        service.stop("web")
        figures["redis_connections"] = one(with_web - len(service.redis.client_list()))
        redis_version = service.redis.info("server")["redis_version"]  # type: ignore[index]
    print("\nwhat the plan needs, median (min-max)\n")
    for name, row in figures.items():
        print(f"    {name:<22}{row['median']:>12,.2f}  ({row['min']:,.2f}-{row['max']:,.2f})")
    figures["redis_version"] = redis_version
    write(table.read(RESULTS) | {"plan": figures})
    return figures


def of_redis(data: Path) -> dict[str, Any]:
    """What a subscriber and a web process cost Redis, in µs of its main thread."""
    server = EmbeddedRedis(Settings(data=data), say=lambda _: None)
    server.start()
    try:
        redis = Redis.from_url(server.url)
        found: dict[str, list[float]] = {"redis_subscriber_us": [], "redis_process_us": [], "redis_edition_us": []}
        for _ in range(ROUNDS):
            few, *_, many = [publish_us(redis, server.url, count) for count in SUBSCRIBERS]
            found["redis_subscriber_us"].append((many - few) / (SUBSCRIBERS[-1] - SUBSCRIBERS[0]))
            single, more = [asyncio.run(processes_us(redis, server.url, count)) for count in EDITIONS]
            each = max((more - single) / (EDITIONS[1] - EDITIONS[0]), 1.0)  # less cannot be told apart
            found["redis_edition_us"].append(each)
            found["redis_process_us"].append(single - each)
        redis.close()
    finally:
        server.stop()
    return {name: spread(values) for name, values in found.items()}


def publish_us(redis: Redis, url: str, count: int) -> float:
    """A PUBLISH to so many subscribers, written to each: on the average, and not read meanwhile."""
    subscribers = [Redis.from_url(url).pubsub() for _ in range(count)]
    for each in subscribers:
        each.subscribe("bench")
    until(lambda: dict(redis.pubsub_numsub("bench"))[b"bench"] == count, "all subscribers")
    before = main_thread_us(redis)
    for _ in range(PUBLISHES):
        redis.publish("bench", MESSAGE)
    taken = (main_thread_us(redis) - before) / PUBLISHES
    for each in subscribers:
        each.close()
    return taken


async def processes_us(redis: Redis, url: str, count: int) -> float:
    """What web processes ask and tell in a second, by the same calls; so many editions, for one process.

    Of a large audience somebody always comes or goes: it is told four times a second.
    """
    editions = [f"e{number}" for number in range(count)]
    ends = time.monotonic() + LOOK_SECONDS + 0.5

    async def process(name: str, offset: float) -> None:
        side = AsyncRedis.from_url(url)
        await asyncio.sleep(offset)
        turn = 0
        while time.monotonic() < ends:
            turn += 1
            now_ms = time.time_ns() // 1_000_000
            screens = [reach.Screens([], [], 4, READERS, [(now_ms, READERS)])]
            await reach.write(side, name, {code: reach.Sheet("k3f9", now_ms, screens) for code in editions})
            if turn % 4 == 0:
                await ask_log(side, editions)
                await ask_queue(side)
            await asyncio.sleep(0.25)
        await side.aclose()

    tasks = [asyncio.create_task(process(f"p{number}", number / PROCESSES / 4)) for number in range(PROCESSES)]
    await asyncio.sleep(0.5)
    before, since = main_thread_us(redis), time.monotonic()
    await asyncio.sleep(LOOK_SECONDS - 0.5)
    taken = (main_thread_us(redis) - before) / (time.monotonic() - since) / PROCESSES
    await asyncio.gather(*tasks)
    return taken


def of_lines(stage: Stage) -> dict[str, Any]:
    """A line's way to one reader, and what it costs a web process that is not called, and Redis."""
    service = stage.service
    # A second web process, which is not called and has no readers: what it does for a change every process does.
    service.start("web2", port=str(free_port()), ready=False)
    until(lambda: "following" in service.log("web2"), "the second web process to follow")
    web = service.processes["web2"].pid
    pin([web], stage.core)
    total = []
    idle_redis, idle_web = idle(service, web)
    before_redis, before_web, since = main_thread_us(service.redis), cpu_us(web), time.monotonic()
    with service.screen() as screen:
        screen.next()
        for _ in range(LINES):
            began = time.perf_counter()
            screen.item(stage.editor.publish())
            total.append((time.perf_counter() - began) * 1000)
    seconds = time.monotonic() - since
    redis = (main_thread_us(service.redis) - before_redis - seconds * idle_redis) / LINES
    change = (cpu_us(web) - before_web - seconds * idle_web) / LINES
    service.stop("web2")
    found = [json.loads(line) for line in (service.log("worker") + service.log("web")).splitlines()]
    appended = {each["id"]: each["waited_ms"] for each in found if each.get("event") == "appended"}
    ways = [each for each in found if each.get("event") == "delivered" and each["readers"] == 1]
    heard = [each["heard_ms"] for each in ways]
    after = [each["last_ms"] for each in ways]
    accepted = statistics.median(total) - statistics.median(after)
    in_log = min(statistics.median(appended[each["id"]] for each in ways), statistics.median(heard))
    return {
        "path_ms": one(percentile(total, 50)),
        "path_p99_ms": one(percentile(total, 99)),
        "accepted_ms": one(max(accepted, 0.1)),
        "appended_ms": one(max(in_log, 0.1)),
        "heard_ms": one(max(statistics.median(heard) - in_log, 0.1)),
        "redis_line_us": one(redis),
        "change_us": one(change),
        "snapshot_bytes": one(len(service.http.get("/v1/editions/en/ticker").content)),
    }


def idle(service: Service, web: int) -> tuple[float, float]:
    """Redis's and a web process's CPU in an idle second, in µs."""
    before_redis, before_web, since = main_thread_us(service.redis), cpu_us(web), time.monotonic()
    time.sleep(LOOK_SECONDS)
    seconds = time.monotonic() - since
    return (main_thread_us(service.redis) - before_redis) / seconds, (cpu_us(web) - before_web) / seconds


def of_crowd(stage: Stage) -> dict[str, Any]:
    """What idle readers take and cost, and readers who confirm."""
    service, web = stage.service, stage.web
    _, idle_us = idle(service, web)
    empty, slab = resident_bytes([web]), slab_bytes()
    crowd = stage.crowd()
    stage.aim(crowd)
    crowd.come(READERS)
    socket_bytes = (slab_bytes() - slab) / READERS / 2  # both ends of each are on this machine
    before, since = cpu_us(web), time.monotonic()
    time.sleep(WATCH_SECONDS)
    seconds = time.monotonic() - since
    # A twentieth of them has its beat each second.
    beat = (cpu_us(web) - before - seconds * idle_us) / (READERS * seconds / 20)

    def line_us() -> float:
        """What a line costs from its call until all have it and have confirmed it, if they do."""
        before, since = cpu_us(web), time.monotonic()
        crowd.tell("listen")
        stage.editor.publish()
        heard = crowd.tell("await", 1, 10)
        assert not heard["short"], heard
        time.sleep(HELD_SECONDS + 0.3)
        seconds = time.monotonic() - since
        return cpu_us(web) - before - seconds * (idle_us + READERS / 20 * beat)

    # The first of each finds nothing warm.
    silent = [line_us() for _ in range(ROUNDS + 1)][1:]
    crowd.tell("acks", round(HELD_SECONDS * 1000))
    confirmed = [line_us() for _ in range(ROUNDS + 1)][1:]
    (_, latest), *_ = service.redis.xrevrange(Keys.of("en").log, count=1)
    return {
        "process_bytes": one(empty),
        "socket_bytes": one(socket_bytes),
        "beat_us": one(beat),
        "ack_us": spread([(each - statistics.median(silent)) / READERS for each in confirmed]),
        "frame_bytes": one(len(websocket(latest[b"frame"]))),
    }


def main_thread_us(redis: Redis) -> float:
    """CPU that Redis's main thread has had."""
    cpu: dict[str, float] = redis.info("cpu")  # type: ignore[assignment]
    return (cpu["used_cpu_sys_main_thread"] + cpu["used_cpu_user_main_thread"]) * 1e6


def cpu_us(pid: int) -> float:
    return cpu_seconds([pid]) * 1e6


def slab_bytes() -> int:
    """What the kernel's own objects take: sockets, files, epoll's entries."""
    found = re.search(r"^Slab: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def one(value: float) -> dict[str, float]:
    return {"median": value, "min": value, "max": value}


# Joining.


def join(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """All results as a figures file (`service/plan/figures.py`). What none of them has is kept from the package's.

    The line's way is this module's own and not `latency`'s: with all of the service on one core, as in `fanout`.
    """
    package = read_figures(None)
    figures: dict[str, Any] = dict(found.get("plan", {}))
    if slow := found.get("slow"):
        figures["stuck_bytes"] = slow["kernel_bytes_per_stuck_reader"]
    cases: list[dict[str, Any]] = []
    if fanout := found.get("fanout"):
        taken, cases = of_fanout(fanout)
        figures |= taken
    if processes := found.get("processes"):
        for name, count in (("one web process", 1), ("2 web processes", 2)):
            label = f"{processes['readers']:,} readers in {count} process" + ("es" if count > 1 else "")
            case = {"name": label, "readers": processes["readers"], "processes": count}
            cases.append(case | {"last_ms": processes[name]["last_ms"]})
    names = [each.name for each in msgspec.structs.fields(Figures)]
    kept = [name for name in names if name not in figures]
    figures |= {name: msgspec.to_builtins(getattr(package.figures, name)) for name in kept}
    if not cases:
        cases = msgspec.to_builtins(package.cases)
        kept.append("cases")
    return {
        "format": FORMAT,
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "command": "make bench",
        "note": "",
        "machine": machine(),
        "versions": versions(found.get("plan", {}).get("redis_version", "unknown")),
        "kept": kept,
        "figures": {name: {key: figures[name][key] for key in ("median", "min", "max")} for name in names},
        "cases": cases,
    }


def of_fanout(fanout: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What `fanout.json` says of Stoppress: figures where 5,000 read (or the next lower), cases everywhere."""
    rows: dict[int, Any] = {int(count): row for count, row in fanout["servers"][fanout["own"]].items()}
    chosen = rows[max((count for count in rows if count <= 5_000), default=min(rows))]
    figures = {"delivery_us": chosen["single_cpu_us"], "burst_line_us": chosen["burst_cpu_us"]}
    cases = []
    for count, row in sorted(rows.items()):
        for kind, lines in (("single", 1), ("burst", BURST)):
            if lines > 1 and count < 5_000:
                # Ten calls at once take the one core longer than so short a pass, and the plan knows nothing of calls.
                continue
            name = f"{count:,} readers" + (f", {lines} lines at once" if lines > 1 else "")
            cases.append({"name": name, "readers": count, "lines": lines, "last_ms": row[f"{kind}_last_ms"]})
    for key, value, to in (
        ("handshakes", "handshake_us", lambda rate: 1e6 / rate),
        ("bytes_per_reader", "reader_bytes", float),
    ):
        row = rows[max(rows)][key]
        values = sorted(to(row[name]) for name in ("median", "min", "max"))
        figures[value] = {"min": values[0], "median": values[1], "max": values[2]}
    return figures, cases


def write(found: dict[str, dict[str, Any]]) -> Path:
    """Join, and write `bench/results/figures.json`."""
    path = RESULTS / "figures.json"
    path.write_text(json.dumps(join(found), indent=2) + "\n")
    return path


def machine() -> str:
    names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{len(names)} cores, {names[0] if names else platform.machine()}, {gigabytes:.0f} GB, Linux {kernel}"


def versions(redis: str) -> dict[str, str]:
    return {"stoppress": version("stoppress"), "python": platform.python_version(), "redis": redis}


if __name__ == "__main__":
    print(write(table.read(RESULTS)))
