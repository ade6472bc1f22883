"""Embargo: how long after its moment a line is on a reader's socket, beside RQ's own scheduler.

Embargoes lie at odd milliseconds of some seconds, and some of them several at the same one. None may come before its
moment. RQ's figure is `enqueue_at` and a worker with a scheduler, whose job only publishes; RQ keeps whole seconds, so
a job may also be early. All of the service is on one core, reader and editor have the other.
"""

import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from threading import Thread
from typing import Any

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from bench import lines
from bench.figures import percentile, shown, spread
from bench.process import pin
from bench.stage import Stage
from service.domain.instant import format_ms
from tests.integration.harness import until

SINGLE = 80
# So many moments with so many lines each.
BUNCHES, BUNCH = 8, 5
EMBARGOES = SINGLE + BUNCHES * BUNCH
ROUNDS = 4
# The first is due so long after the editor begins, the last so long after the first.
AHEAD_MS, WITHIN_MS = 1_500, 4_000
JOBS = 10
LONGEST_SECONDS = 20.0


def measure() -> dict[str, Any]:
    """Measure, print a table, and return the figures in ms."""
    chance = random.Random(1)
    rounds: dict[str, list[list[float]]] = {"single": [], "bunched": [], "all": []}
    with Stage() as stage:
        for number in range(1, ROUNDS + 1):
            print(f"round {number} of {ROUNDS} …", file=sys.stderr, flush=True)
            single, bunched = one_round(stage, chance)
            for name, found in (("single", single), ("bunched", bunched), ("all", single + bunched)):
                rounds[name].append(found)
        print("RQ's scheduler …", file=sys.stderr, flush=True)
        raw = rq_scheduler(stage, chance)
    return report(rounds, raw)


def one_round(stage: Stage, chance: random.Random) -> tuple[list[float], list[float]]:
    """Publish lines under embargo and wait for them all; how late each came, single ones and bunched ones."""
    first = time.time_ns() // 1_000_000 + AHEAD_MS
    moments = chance.sample(range(first, first + WITHIN_MS), SINGLE + BUNCHES)
    due = [moment for at, moment in enumerate(moments) for _ in range(BUNCH if at < BUNCHES else 1)]
    chance.shuffle(due)
    heard: dict[str, int] = {}
    with stage.service.screen() as screen:
        screen.next()

        def listen() -> None:
            while len(heard) < EMBARGOES:
                message = screen.next(LONGEST_SECONDS)
                assert message["item"]["id"] not in heard, message
                heard[message["item"]["id"]] = time.time_ns()

        listener = Thread(target=listen)
        listener.start()
        given: dict[str, int] = {}
        for moment in due:
            body = lines.draft(time.time_ns()) | {"embargoedUntil": format_ms(moment)}
            given[stage.editor.call("POST", "/v1/items", body)["id"]] = moment
        assert time.time_ns() // 1_000_000 < first, "expected all embargoes to be accepted before the first is due"
        listener.join(LONGEST_SECONDS)
    assert heard.keys() == given.keys(), f"expected {len(given)} lines, got {len(heard)}"
    late = {line: heard[line] / 1e6 - moment for line, moment in given.items()}
    assert min(late.values()) >= 0, f"a line came {-min(late.values()):.2f} ms before its moment"
    bunches = set(moments[:BUNCHES])
    single = [late[line] for line, moment in given.items() if moment not in bunches]
    return single, [late[line] for line, moment in given.items() if moment in bunches]


def rq_scheduler(stage: Stage, chance: random.Random) -> list[float]:
    """How late a subscriber hears from jobs that RQ was to run at a time."""
    url = stage.service.redis_server.url
    code = (
        "import sys; from redis import Redis; from rq import Queue, SimpleWorker; "
        "from rq.serializers import JSONSerializer; r = Redis.from_url(sys.argv[1]); "
        "SimpleWorker([Queue('raw', connection=r, serializer=JSONSerializer)], connection=r, "
        "serializer=JSONSerializer).work(with_scheduler=True, logging_level='ERROR')"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.DEVNULL)
    try:
        with Redis.from_url(url) as redis, redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            queue = Queue("raw", connection=redis, serializer=JSONSerializer)
            until(lambda: redis.exists("rq:scheduler-lock:raw"), "RQ's scheduler to run")
            pin([worker.pid], stage.core)
            pubsub.subscribe("raw")
            first = time.time_ns() // 1_000_000 + AHEAD_MS
            for moment in chance.sample(range(first, first + WITHIN_MS), JOBS):
                at = datetime.fromtimestamp(moment / 1000, UTC)
                queue.enqueue_at(at, "bench.embargo.publish_raw", url, str(moment), result_ttl=0)
            late: list[float] = []
            ends = time.monotonic() + LONGEST_SECONDS
            while len(late) < JOBS:
                message = pubsub.get_message(timeout=1)
                if message is not None:
                    late.append(time.time_ns() / 1e6 - int(message["data"]))
                assert time.monotonic() < ends, f"expected {JOBS} jobs to run, got {len(late)}"
            return late
    finally:
        # Its scheduler is a child of its own, and ends with it.
        worker.terminate()
        try:
            worker.wait(LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def publish_raw(url: str, text: str) -> None:
    """RQ's job: one PUBLISH."""
    with Redis.from_url(url) as redis:
        redis.publish("raw", text)


def report(rounds: dict[str, list[list[float]]], raw: list[float]) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "unit": "ms",
        "embargoes": EMBARGOES,
        "bunches": BUNCHES,
        "bunch": BUNCH,
        "rounds": ROUNDS,
    }
    print(
        f"\nembargoedUntil -> one reader's socket, ms; {EMBARGOES} lines a round, median (min-max) of {ROUNDS} rounds\n"
    )
    print(f"{'':<34}{'p50':>22}{'p99':>22}{'latest':>22}")
    labels = {"all": "all", "single": "alone at their millisecond", "bunched": f"{BUNCH} at the same one"}
    for name, label in labels.items():
        row = figures[name] = {
            "p50": spread([percentile(found, 50) for found in rounds[name]]),
            "p99": spread([percentile(found, 99) for found in rounds[name]]),
            "max": spread([max(found) for found in rounds[name]]),
        }
        print(f"{label:<34}" + "".join(f"{shown(row[key]):>22}" for key in ("p50", "p99", "max")))
    away = spread([abs(each) for each in raw])
    figures["rq_scheduler"] = {"jobs": JOBS, "away": away, "earliest": min(raw), "latest": max(raw)}
    figures["ratio_p50"] = away["median"] / figures["all"]["p50"]["median"]
    print(
        f"\nRQ's scheduler, {JOBS} jobs: {shown(away, 0)} ms away, from {min(raw):,.0f} to {max(raw):,.0f} ms; ", end=""
    )
    print(f"{figures['ratio_p50']:.0f} x as far as the service (medians)")
    print("goal: p99 <= 25 ms")
    return figures
