"""Readers: a crowd in a process of its own, on bare sockets; what stands in for `crowd.c` where there is no C compiler.

`python -m bench.readers` obeys one command a line on stdin, and answers each with one line of JSON:

    port PORT                  where to connect, on 127.0.0.1
    request HEX [HEX_AFTER]    the handshake of readers opened from now on, and what they send once it was accepted
    open COUNT IN_FLIGHT       connect so many more, at most IN_FLIGHT at once; they are open with their first text, or,
                               where they send something after the handshake, with their first long one (the snapshot)
    listen                     forget the lines heard so far
    await LINES SECONDS        answer when every reader has heard so many lines, or after so long
    hold | go                  stop reading | read again
    storm RATE IN_FLIGHT       from now on also RATE handshakes a second (0: all that can be) that are reset once the
                               snapshot has come
    calm                       end the storm, and say what it was
    acks MS                    from now on acknowledge each change after a random time of up to MS
    state                      how many are open, and how many the other side has closed
    close                      close all

A line is the text `Line of `, and the moment at which its publishing began in ns since 1970, somewhere in a text frame.
"""

import contextlib
import errno
import heapq
import json
import os
import random
import re
import resource
import select
import socket
import struct
import sys
import time
from array import array
from collections import deque
from typing import Any

LINE = re.compile(rb"Line of (\d{19})")
CHANGE = re.compile(rb'"type":"(?:item|remove)","cursor":"([^"]+)"')
# What a first long text is longer than.
LONG = 1_000
RECEIVES = 262_144
# So long may no handshake make any progress before those under way have failed.
STALLED_SECONDS = 30.0
# How many handshakes begin before what has come is looked at again.
AT_ONCE = 64
RESET = struct.pack("ii", 1, 0)
# Client frames are masked (RFC 6455, section 5.3); with this mask the payload stays as it is.
MASK = b"\0\0\0\0"
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


class Reader:
    """One connection. It is `open` from its snapshot on; those of a storm never are."""

    __slots__ = ("acked", "asked_at", "cursor", "heard", "last", "open", "rest", "socket", "stormy", "upgraded")

    def __init__(self, connection: socket.socket, stormy: bool) -> None:
        self.socket = connection
        self.stormy = stormy
        self.asked_at = time.monotonic_ns()
        self.rest = b""
        self.upgraded = self.open = False
        self.heard = 0
        self.last = b""
        # When the latest change came, and its cursor, while an ack is held back.
        self.acked = 0
        self.cursor: bytes | None = None


class Batch:
    """Handshakes under way for one command, `open` or `storm`."""

    def __init__(self, wanted: int, in_flight: int) -> None:
        self.wanted = wanted
        self.in_flight = in_flight
        self.under_way: dict[int, Reader] = {}
        self.begun = self.done = self.failed = 0
        self.taken = array("q")
        self.since = time.monotonic()
        self.progress = self.since
        self.cpu = time.process_time()

    def figures(self) -> dict[str, float]:
        return {
            "failed": self.failed,
            "seconds": time.monotonic() - self.since,
            "cpu": time.process_time() - self.cpu,
        }


class Crowd:
    """All readers, one epoll."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.address = ("127.0.0.1", 0)
        self.request = b""
        self.after = b""
        self.readers: dict[int, Reader] = {}
        self.open = self.lost = 0
        self.held = False
        self.opening: Batch | None = None
        self.storm: Batch | None = None
        self.rate = 0.0
        self.commands: deque[str] = deque()
        self.typed = b""
        self.acks_ns = -1
        self.acks: list[tuple[int, int, Reader]] = []
        self.forget()
        # What is awaited: so many lines of each, until then; and how many readers have not yet heard them.
        self.lines = 0
        self.until: float | None = None
        self.short = 0

    def forget(self) -> None:
        # By line, how long it took to each reader, in ns.
        self.taken: dict[bytes, array[int]] = {}
        self.wrong = 0
        self.since, self.cpu = time.monotonic(), time.process_time()
        for reader in self.readers.values():
            reader.heard, reader.last = 0, b""

    def run(self) -> None:
        """Read for ever, and do what is said."""
        stdin = sys.stdin.fileno()
        self.epoll.register(stdin, select.EPOLLIN)
        while True:
            for number, event in self.epoll.poll(self.patience()):
                reader = self.readers.get(number)
                if reader is not None:
                    self.take(number, reader, event)
                elif number == stdin:
                    typed = os.read(stdin, 1 << 20)
                    if not typed:
                        return
                    *lines, self.typed = (self.typed + typed).split(b"\n")
                    self.commands.extend(line.decode() for line in lines if line.strip())
            self.acknowledge()
            self.advance()
            # The next command waits until this one was answered; a storm goes on meanwhile.
            while self.commands and self.opening is None and self.until is None:
                self.obey(*self.commands.popleft().split())
                self.advance()

    def patience(self) -> float:
        """For how long there is nothing to do, in seconds."""
        now = time.monotonic()
        waits = [1.0]
        if self.opening is not None and self.room(self.opening):
            waits.append(0.0)
        if self.storm is not None and len(self.storm.under_way) < self.storm.in_flight:
            waits.append(self.storm.since + (self.storm.begun + 1) / self.rate - now if self.rate else 0.0)
        if self.until is not None:
            waits.append(self.until - now)
        if self.acks:
            waits.append(self.acks[0][0] / 1e9 - now)
        return max(0.0, min(waits))

    @staticmethod
    def room(batch: Batch) -> int:
        """How many handshakes of it may begin now."""
        return min(AT_ONCE, batch.wanted - batch.begun, batch.in_flight - len(batch.under_way))

    def advance(self) -> None:
        """Begin the handshakes that are due, and answer what can be answered."""
        now = time.monotonic()
        if self.storm is not None:
            if self.rate:
                self.storm.wanted = int((now - self.storm.since) * self.rate)
            self.begin(self.storm, stormy=True)
        if self.opening is not None:
            batch = self.opening
            self.begin(batch, stormy=False)
            if batch.under_way and now - batch.progress > STALLED_SECONDS:
                for number, reader in list(batch.under_way.items()):
                    self.drop(number, reader)
            if batch.done + batch.failed == batch.wanted:
                self.opening = None
                say({"open": self.open} | batch.figures())
        if self.until is not None and (self.short == 0 or now >= self.until):
            self.until = None
            self.report()

    def begin(self, batch: Batch, stormy: bool) -> None:
        for _ in range(self.room(batch)):
            connection = socket.socket()
            connection.setblocking(False)
            batch.begun += 1
            problem = connection.connect_ex(self.address)
            if problem not in {0, errno.EINPROGRESS}:
                connection.close()
                batch.failed += 1
                continue
            number = connection.fileno()
            reader = self.readers[number] = batch.under_way[number] = Reader(connection, stormy)
            # On loopback it is connected already, unless the server's backlog is full.
            self.epoll.register(number, select.EPOLLIN if self.ask(reader) else select.EPOLLOUT)

    def ask(self, reader: Reader) -> bool:
        """Send the handshake; say whether that was possible."""
        try:
            return reader.socket.send(self.request) == len(self.request)
        except OSError:
            return False

    def take(self, number: int, reader: Reader, event: int) -> None:
        if event & select.EPOLLOUT:
            if self.ask(reader):
                self.epoll.modify(number, select.EPOLLIN)
            else:
                self.drop(number, reader)
            return
        try:
            data = reader.socket.recv(RECEIVES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop(number, reader)
            return
        if reader.rest:
            data = reader.rest + data
        at = 0
        if not reader.upgraded:
            at = data.find(b"\r\n\r\n") + 4
            if at < 4:
                reader.rest = data
                return
            if not data.startswith(b"HTTP/1.1 101 "):
                self.drop(number, reader)
                return
            reader.upgraded = True
            if self.after:
                reader.socket.send(self.after)
        size = len(data)
        while size - at >= 2:
            length, start = data[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                length, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if size < start + length:
                break
            opcode, at = data[at] & 0xF, start + length
            if opcode == TEXT:
                self.text(number, reader, data[start:at])
            elif opcode == PING:
                send(reader, PONG, data[start:at])
            elif opcode == CLOSE:
                self.drop(number, reader)
            if reader.socket.fileno() < 0:
                return
        reader.rest = data[at:]

    def text(self, number: int, reader: Reader, payload: bytes) -> None:
        if payload == b"2":
            # engine.io's ping.
            send(reader, TEXT, b"3")
        elif not reader.open:
            if not self.after or len(payload) > LONG:
                self.admit(number, reader)
            return
        for line in LINE.findall(payload):
            taken = self.taken.get(line)
            if taken is None:
                taken = self.taken[line] = array("q")
            taken.append(time.time_ns() - int(line))
            self.wrong += line <= reader.last
            reader.last = line
            reader.heard += 1
            if reader.heard == self.lines and self.until is not None:
                self.short -= 1
        if self.acks_ns >= 0 and (change := CHANGE.search(payload)) is not None:
            now = time.monotonic_ns()
            if reader.cursor is None:
                heapq.heappush(self.acks, (now + random.randint(0, self.acks_ns), number, reader))
            reader.cursor, reader.acked = change[1], now

    def admit(self, number: int, reader: Reader) -> None:
        """The snapshot has come."""
        batch = self.storm if reader.stormy else self.opening
        assert batch is not None
        del batch.under_way[number]
        batch.done += 1
        batch.progress = time.monotonic()
        if reader.stormy:
            batch.taken.append(time.monotonic_ns() - reader.asked_at)
            self.throw_away(number, reader)
        else:
            reader.open = True
            self.open += 1
            if self.held:
                self.epoll.unregister(number)

    def throw_away(self, number: int, reader: Reader) -> None:
        reader.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        del self.readers[number]
        reader.socket.close()

    def drop(self, number: int, reader: Reader) -> None:
        """The other side has closed it, or its handshake has failed."""
        if reader.open:
            self.open -= 1
            self.lost += 1
            if self.until is not None and reader.heard < self.lines:
                self.short -= 1
        else:
            batch = self.storm if reader.stormy else self.opening
            assert batch is not None
            del batch.under_way[number]
            batch.failed += 1
        del self.readers[number]
        reader.socket.close()

    def acknowledge(self) -> None:
        """Send the acks that are due: each for all that its reader has got."""
        now = time.monotonic_ns()
        while self.acks and self.acks[0][0] <= now:
            _, _, reader = heapq.heappop(self.acks)
            cursor, reader.cursor = reader.cursor, None
            if cursor is not None and reader.socket.fileno() >= 0:
                held = (now - reader.acked) // 1_000_000
                send(reader, TEXT, b'{"type":"ack","cursor":"%b","held":%d}' % (cursor, held))

    def report(self) -> None:
        """Answer `await`."""
        every = sorted(taken for line in self.taken.values() for taken in line)
        answer: dict[str, Any] = {"heard": len(every), "short": self.short} | times(every)
        answer["max"] = every[-1] / 1e6 if every else None
        answer["last"] = [max(self.taken[line]) / 1e6 for line in sorted(self.taken)]
        # Lines that came again, or after a later one.
        answer["wrong"] = self.wrong
        say(answer | {"seconds": time.monotonic() - self.since, "cpu": time.process_time() - self.cpu})

    def obey(self, command: str, *said: str) -> None:
        match command, said:
            case "port", (port,):
                self.address = ("127.0.0.1", int(port))
                say({})
            case "request", (request, *after):
                self.request, self.after = bytes.fromhex(request), bytes.fromhex("".join(after))
                say({})
            case "open", (count, in_flight):
                self.opening = Batch(int(count), int(in_flight))
            case "listen", ():
                self.forget()
                say({})
            case "await", (lines, seconds):
                self.lines, self.until = int(lines), time.monotonic() + float(seconds)
                self.short = sum(reader.open and reader.heard < self.lines for reader in self.readers.values())
            case "hold", ():
                self.held = True
                for number in self.opened():
                    self.epoll.unregister(number)
                say({})
            case "go", ():
                self.held = False
                for number in self.opened():
                    self.epoll.register(number, select.EPOLLIN)
                say({})
            case "storm", (rate, in_flight):
                self.rate = float(rate)
                self.storm = Batch(sys.maxsize, int(in_flight))
                say({})
            case "calm", () if self.storm is not None:
                storm, self.storm = self.storm, None
                for number, reader in storm.under_way.items():
                    self.throw_away(number, reader)
                say({"handshakes": storm.done} | storm.figures() | times(sorted(storm.taken)))
            case "acks", (milliseconds,):
                self.acks_ns = int(float(milliseconds) * 1e6)
                say({})
            case "state", ():
                say({"open": self.open, "lost": self.lost, "handshakes": self.storm.done if self.storm else 0})
            case "close", ():
                for number in self.opened():
                    self.readers.pop(number).socket.close()
                self.open, self.held = 0, False
                say({})
            case _:
                say({"error": f"expected a command, got {command} {' '.join(said)}"})

    def opened(self) -> list[int]:
        return [number for number, reader in self.readers.items() if reader.open]


def send(reader: Reader, opcode: int, payload: bytes) -> None:
    """Send a short frame; one that does not fit has no reader who misses it."""
    with contextlib.suppress(OSError):
        reader.socket.send(bytes((0x80 | opcode, 0x80 | len(payload))) + MASK + payload)


def times(taken: list[int]) -> dict[str, float | None]:
    """The median and the 99th percentile, in ms, of sorted ns."""
    if not taken:
        return {"p50": None, "p99": None}
    return {f"p{percent}": taken[(len(taken) - 1) * percent // 100] / 1e6 for percent in (50, 99)}


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    Crowd().run()
