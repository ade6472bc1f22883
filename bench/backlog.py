"""Backlog: how fast 10,000 accepted changes get into the log, and to a reader, once a worker works again.

The worker is stopped (SIGSTOP), the changes are accepted as the API does it, by the same `Newsroom`, in this process,
sixteen at once; then the worker goes on. All of the service is on one core, the reader has the other.
"""

import json
import os
import re
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

from redis import Redis

from bench import lines
from bench.figures import shown, spread
from bench.stage import Stage, handshake
from service.domain.edition import parse_editions
from service.domain.item import Draft, new_id
from service.newsroom.queue import Call, Newsroom
from service.settings import Settings
from service.store.accounts import Accounts
from service.store.connect import blocking, queueing
from service.store.items import Items
from service.store.keys import Keys
from service.store.outbox import Outbox, breaking_queue
from service.store.stories import Stories
from tests.integration.harness import KEY

CHANGES = 10_000
ROUNDS = 3
AT_ONCE = 16
LOOK_SECONDS = 0.001
LONGEST_SECONDS = 60.0
LINE = re.compile(rb'{"type":"item","cursor":"\w+\.(\d+)","item":{"id":"([^"]+)"')

Round = dict[str, float]


class Desk:
    """The editors' side of the service, wired as `service/app.py` does it, without HTTP."""

    def __init__(self, settings: Settings) -> None:
        editions = parse_editions(settings.read_editions(), str(settings.editions))
        redis = blocking(settings.require_redis_url())
        assert isinstance(redis, Redis)
        self.redis = redis
        self.queue = breaking_queue(queueing(settings, redis))
        accounts = Accounts(redis, settings.admin_key)
        self.newsroom = Newsroom(editions, accounts, Items(redis, editions), Outbox(redis, self.queue), Stories(redis))

    def accept(self) -> str:
        """Have a line accepted; returns its id."""
        draft = Draft.parse(json.dumps(lines.draft(time.time_ns())).encode())
        draft.id = new_id()
        return self.newsroom.publish(Call(KEY), draft, own_id=False).id

    def seq(self) -> int:
        """How far the log has got."""
        seq = self.redis.hget(Keys.of("en").meta, "seq")
        assert seq is not None
        return int(seq)


class Follower:
    """A reader who only keeps what comes: it must not be what takes the time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LONGEST_SECONDS)
        self.socket.sendall(handshake(port, "/v1/editions/en/socket"))
        greeting = b""
        while b'"type":"snapshot"' not in greeting:
            greeting += self.socket.recv(1 << 20)

    def hear(self) -> tuple[int, bytes]:
        """Take in everything until so many lines have come; returns when (perf_counter_ns), and all of it."""
        parts, count, end = [], 0, b""
        while count < CHANGES:
            part = self.socket.recv(1 << 20)
            assert part, "expected lines, got the end of the connection"
            parts.append(part)
            # A mark may lie across two parts.
            count += (end + part).count(b'"type":"item"') - end.count(b'"type":"item"')
            end = part[-12:]
        return time.perf_counter_ns(), b"".join(parts)


def measure() -> dict[str, Any]:
    """Measure, print a table, and return the figures."""
    rounds: list[Round] = []
    with Stage() as stage:
        desk = Desk(Settings.from_env(stage.service.env()))
        for number in range(1, ROUNDS + 1):
            print(f"round {number} of {ROUNDS} …", file=sys.stderr, flush=True)
            rounds.append(one_round(stage, desk))
        desk.redis.close()
    return report(rounds)


def one_round(stage: Stage, desk: Desk) -> Round:
    """Let 10,000 changes wait, then let the worker go on."""
    keys = Keys.of("en")
    worker = stage.service.processes["worker"].pid
    base = desk.seq()
    os.kill(worker, signal.SIGSTOP)
    try:
        began = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as editors:
            given = list(editors.map(lambda _: desk.accept(), range(CHANGES)))
        accepted = time.perf_counter() - began
        waiting = [json.loads(entry) for entry in desk.redis.lrange(keys.outbox, 0, -1)]
        waiting = [entry["id"] for entry in waiting if entry["kind"] == "item"]
        assert sorted(waiting) == sorted(given), f"expected {CHANGES} changes in the outbox, got {len(waiting)}"
        follower = Follower(stage.service.port)
    finally:
        os.kill(worker, signal.SIGCONT)
    started = time.perf_counter_ns()
    with ThreadPoolExecutor(1) as listener:
        hearing = listener.submit(follower.hear)
        first = 0
        while (seq := desk.seq()) < base + CHANGES:
            now = time.perf_counter_ns()
            if seq > base and not first:
                first, first_seq = now, seq
            assert now - started < LONGEST_SECONDS * 1e9, f"expected {CHANGES} changes in the log, got {seq - base}"
            time.sleep(LOOK_SECONDS)
        last = time.perf_counter_ns()
        heard, data = hearing.result(LONGEST_SECONDS)
    follower.socket.close()
    found = LINE.findall(data)
    seqs = [int(seq) for seq, _ in found]
    assert all(two == one + 1 for one, two in pairwise(seqs)), "expected every change once and in order"
    assert [line.decode() for _, line in found] == waiting, f"expected the {CHANGES} lines, got {len(found)}"
    # Wake-ups that find nothing: they would take the core in the next round.
    left = desk.queue.count
    desk.queue.empty()  # type: ignore[no-untyped-call]
    return {
        "accepted": CHANGES / accepted,
        "logged": CHANGES * 1e9 / (last - started),
        "between": (CHANGES - (first_seq - base)) * 1e9 / (last - first) if first else float("inf"),
        "first_ms": (first - started) / 1e6,
        "logged_ms": (last - started) / 1e6,
        "heard_ms": (heard - started) / 1e6,
        "wakeups": left,
    }


def report(rounds: list[Round]) -> dict[str, Any]:
    figures: dict[str, Any] = {"changes": CHANGES, "rounds": ROUNDS}
    figures |= {key: spread([each[key] for each in rounds]) for key in rounds[0]}
    print(f"\n{CHANGES:,} accepted changes and a worker that goes on; median (min-max) of {ROUNDS} rounds\n")
    for key, label in (
        ("logged", "into the log, changes a second (goal: >= 5,000)"),
        ("between", "the same between the first and the last"),
        ("logged_ms", "until all are in the log, ms"),
        ("heard_ms", "until a reader has all, once and in order, ms"),
        ("accepted", f"accepted before, a second, {AT_ONCE} at once in one process"),
        ("wakeups", "wake-ups still in the queue when all are in the log"),
    ):
        print(f"{label:<60}{shown(figures[key], 0):>26}")
    return figures
