"""Latency: from the start of an editor's HTTP call to the line on one reader's socket, beside raw RQ and PUBLISH.

The service runs as an operator runs it: web, worker and clock as processes, Redis with `appendfsync always`. The raw
figure is what RQ and Redis alone take on the same machine for a job that only publishes: enqueue, take, PUBLISH, hear.
The editor and the reader are as lean as they can be (`http.client`, a bare socket): the service is what is measured.
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from bench.editor import ANSWER_SECONDS, Editor
from bench.figures import percentile, shown, spread
from bench.peers import handshake
from tests.integration.harness import Service

ROUNDS = 3
PUBLISHES = 300
WARM_UP = 50


def measure() -> dict[str, Any]:
    """Measure, print a table, and return the figures in ms."""
    rounds: list[dict[str, list[float]]] = []
    with tempfile.TemporaryDirectory(prefix="stoppress-bench-") as folder, Service(Path(folder)) as service:
        service.start()
        for number in range(1, ROUNDS + 1):
            print(f"round {number} of {ROUNDS} …", file=sys.stderr, flush=True)
            rounds.append({"stoppress": _stoppress(service), "raw": _raw(service)})
    figures: dict[str, Any] = {"unit": "ms", "publishes": PUBLISHES, "rounds": ROUNDS}
    print(f"\npublish -> one reader's socket, ms; {PUBLISHES} lines a round, median (min-max) of {ROUNDS} rounds\n")
    print(f"{'':<34}{'p50':>20}{'p99':>20}")
    for name, label in (("stoppress", "Stoppress, HTTP call to socket"), ("raw", "RQ and PUBLISH alone")):
        row = {}
        for percent in (50, 99):
            row[f"p{percent}"] = spread([percentile(each[name], percent) for each in rounds])
        figures[name] = row
        print(f"{label:<34}" + "".join(f"{shown(row[key]):>20}" for key in ("p50", "p99")))
    ratio = figures["stoppress"]["p50"]["median"] / figures["raw"]["p50"]["median"]
    figures["ratio_p50"] = ratio
    print(f"\nratio of the medians: {ratio:.2f} x (goals: p50 <= 4 ms, p99 <= 8 ms)")
    return figures


def _stoppress(service: Service) -> list[float]:
    taken = []
    editor = Editor(service.port)
    with socket.create_connection(("127.0.0.1", service.port), timeout=ANSWER_SECONDS) as reader:
        reader.sendall(handshake(service.port, "/v1/editions/en/socket"))
        for _ in range(WARM_UP + PUBLISHES):
            began = time.time_ns()
            editor.publish(mark_ns=began)
            mark, heard = str(began).encode(), b""
            while mark not in heard:
                heard += (more := reader.recv(65_536))
                assert more, "the service hung up"
            taken.append((time.time_ns() - began) / 1e6)
    editor.close()
    return taken[WARM_UP:]


def _raw(service: Service) -> list[float]:
    """RQ's own way for the same shape: a JSON job on one queue, a SimpleWorker, a PUBLISH, a subscriber."""
    code = (
        "import sys; from redis import Redis; from rq import Queue, SimpleWorker; "
        "from rq.serializers import JSONSerializer; r = Redis.from_url(sys.stdin.readline().strip()); "
        "SimpleWorker([Queue('raw', connection=r, serializer=JSONSerializer)], connection=r, "
        "serializer=JSONSerializer).work(logging_level='ERROR')"
    )
    redis = Redis.from_url(service.redis_server.url)
    worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
    try:
        assert worker.stdin is not None
        worker.stdin.write(service.redis_server.url + "\n")
        worker.stdin.flush()
        pubsub = redis.pubsub(ignore_subscribe_messages=True)
        pubsub.subscribe("raw")
        queue = Queue("raw", connection=redis, serializer=JSONSerializer)
        taken = []
        for number in range(WARM_UP + PUBLISHES):
            started = time.perf_counter()
            queue.enqueue(
                "bench.latency.publish_raw", service.redis_server.url, json.dumps({"n": number}), result_ttl=0
            )
            while pubsub.get_message(timeout=5) is None:
                pass
            taken.append((time.perf_counter() - started) * 1000)
        pubsub.close()
        return taken[WARM_UP:]
    finally:
        worker.terminate()
        worker.wait()
        redis.close()


_clients: dict[str, Redis] = {}


def publish_raw(url: str, text: str) -> None:
    """The raw job: one PUBLISH."""
    if url not in _clients:
        _clients[url] = Redis.from_url(url)
    _clients[url].publish("raw", text)
