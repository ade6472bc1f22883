"""Stuck: readers of whom some never read, in a process of its own, on bare sockets, told what to do on stdin.

`python -m bench.stuck PORT COUNT STUCK`: COUNT readers, of whom STUCK can be told to stop reading. One command a
line, each answered by a line of JSON: `stick`, `read` (again), `loosen` (as at first), `measure`, `stop`, `state`.
"""

import json
import os
import resource
import select
import socket
import statistics
import sys
import time
from array import array
from collections.abc import Iterable
from typing import Any

from bench.peers import handshake

PING, PONG = b"\x89\x00", b"\x8a\x80\x00\x00\x00\x00"
# A headline begins so, and goes on with the moment at which its publishing began, in ns since 1970.
MARK = b'"headline":"Line of '
DIGITS = 19
# Buffers that are soon full, as behind a line that is down; Linux takes it double.
STUCK_RECEIVES = 4_096
SHOWN = 10


class Crowd:
    """All readers, one epoll."""

    def __init__(self, port: int, count: int, stuck: int) -> None:
        self.port = port
        self.stuck = stuck
        self.epoll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        # Those that were stuck keep what they got, so that it can be looked at.
        self.folds: dict[int, Fold] = {}
        # By line, how long it took to each reader, in ns.
        self.taken: dict[bytes, array[int]] = {}
        self.measures = False
        self.lost = 0
        for _ in range(count - stuck):
            self.add(self.connect(0))
        # Whoever is measured is so in every round: not these.
        self.timed = set(self.sockets)
        self.loose: list[socket.socket] = []
        self.reconnect(0)

    def connect(self, receives: int) -> socket.socket:
        reader = socket.socket()
        if receives:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        reader.connect(("127.0.0.1", self.port))
        reader.sendall(handshake(self.port, "/v1/editions/en/socket"))
        return reader

    def add(self, reader: socket.socket) -> None:
        reader.setblocking(False)
        self.sockets[reader.fileno()] = reader
        self.epoll.register(reader.fileno(), select.EPOLLIN)

    def reconnect(self, receives: int) -> None:
        """New connections for those who may be stuck; they are not read yet."""
        for each in self.loose:
            if self.sockets.pop(each.fileno(), None) is not None:
                self.epoll.unregister(each.fileno())
            each.close()
        self.folds.clear()
        self.loose = [self.connect(receives) for _ in range(self.stuck)]
        if not receives:
            for each in self.loose:
                self.add(each)

    def run(self) -> None:
        """Read for ever, and do what is said."""
        self.epoll.register(sys.stdin.fileno(), select.EPOLLIN)
        say({"ready": len(self.sockets)})
        while True:
            for number, _ in self.epoll.poll():
                reader = self.sockets.get(number)
                if reader is not None:
                    self.take(number, reader)
                elif not self.obey(sys.stdin.readline().strip()):
                    return

    def take(self, number: int, reader: socket.socket) -> None:
        try:
            data = reader.recv(65_536)
        except ConnectionError:
            data = b""
        if not data:
            self.lost += 1
            self.epoll.unregister(number)
            del self.sockets[number]
            return
        if self.measures and number in self.timed:
            now = time.time_ns()
            at = data.find(MARK)
            while at >= 0:
                at += len(MARK)
                line = data[at : at + DIGITS]
                self.taken.setdefault(line, array("q")).append(now - int(line))
                at = data.find(MARK, at)
        if PING in data:
            reader.send(PONG)
        fold = self.folds.get(number)
        if fold is not None:
            fold.take(data)

    def obey(self, command: str) -> bool:
        match command:
            case "stick":
                # Their buffers are small from the beginning; they take their snapshot and no more.
                self.reconnect(STUCK_RECEIVES)
                self.folds = {each.fileno(): Fold(each) for each in self.loose}
                say({})
            case "loosen":
                self.reconnect(0)
                say({})
            case "measure":
                self.taken = {}
                self.measures, self.began = True, (time.process_time(), time.monotonic())
                say({})
            case "stop":
                self.measures = False
                cpu, wall = time.process_time() - self.began[0], time.monotonic() - self.began[1]
                every = [percentiles(line) for line in self.taken.values()]
                p50, p99 = percentiles(taken for line in self.taken.values() for taken in line)
                answer = {"p50": p50, "p99": p99, "line_p99": statistics.median(p99 for _, p99 in every)}
                say(answer | {"heard": sum(map(len, self.taken.values())), "cpu": cpu / wall})
            case "read":
                for each in self.loose:
                    self.add(each)
                say({})
            case "state":
                folds = self.folds.values()
                say(
                    {
                        "lost": self.lost,
                        "wrong": sum(fold.wrong for fold in folds),
                        "by_snapshot": sum(fold.snapshots > 1 for fold in folds),
                        "cursors": sorted({fold.cursor for fold in folds}),
                        "shown": [list(each) for each in {tuple(fold.shown()) for fold in folds}],
                    }
                )
            case _:
                return False
        return True


class Fold:
    """What one reader got, folded."""

    def __init__(self, reader: socket.socket) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.cursor = ""
        self.wrong = 0
        self.snapshots = 0
        got = b""
        while b"\r\n\r\n" not in got:
            got += reader.recv(1_024)
        self.rest = b""
        self.take(got.partition(b"\r\n\r\n")[2])
        while not self.cursor:
            self.take(reader.recv(1_024))

    def take(self, data: bytes) -> None:
        data = self.rest + data
        at = 0
        while len(data) - at >= 4:
            if data[at] != 0x81:
                at += 2 + data[at + 1]
                continue
            size, start = data[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            if len(data) < start + size:
                break
            at = start + size
            self.message(json.loads(data[start:at]))
        self.rest = data[at:]

    def message(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "snapshot":
            self.snapshots += 1
            self.items = {item["id"]: item for item in message["items"]}
        elif kind == "item":
            self.wrong += int(message["cursor"].partition(".")[2]) != int(self.cursor.partition(".")[2]) + 1
            self.items[message["item"]["id"]] = message["item"]
        self.cursor = message["cursor"]

    def shown(self) -> list[str]:
        items = sorted(self.items.values(), key=lambda item: (item["publishedAt"], item["id"]), reverse=True)
        return [item["id"] for item in items[:SHOWN]]


def percentiles(taken: Iterable[int]) -> tuple[float, float]:
    """The median and the 99th percentile, in ms."""
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return cuts[49] / 1e6, cuts[98] / 1e6


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    port, count, stuck = map(int, sys.argv[1:])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    Crowd(port, count, stuck).run()
