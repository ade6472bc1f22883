"""Floor: the least that a server can do, a bare loop of `send()`.

Where there is a C compiler, `floor.c` takes this one's place. It answers any handshake with the acceptance and the
snapshot in one write, and never reads a reader again but to see it go. It is controlled as `bench.peers` says.
"""

import base64
import hashlib
import re
import select
import socket
import sys
from pathlib import Path

from bench.crowd import compiled
from bench.peers import Controlled
from bench.peers.control import listening
from service.domain import frames

KEY = re.compile(rb"(?i)\r\nSec-WebSocket-Key:[ \t]*(\S+)")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


class Floor(Controlled):
    """`floor.c` where there is a compiler, else this file."""

    name = "bare send() loop"

    def start(self, port: int, snapshot: bytes, folder: Path, core: int) -> None:
        self.program = compiled("floor", folder)
        self.name = f"bare send() loop in {'C' if self.program else 'Python'}"
        super().start(port, snapshot, folder, core)

    def command(self) -> list[str]:
        return [str(self.program)] if self.program else [sys.executable, "-m", "bench.floor"]


class Server:
    """All readers, one epoll."""

    def __init__(self, port: int, folder: Path) -> None:
        self.snapshot = frames.websocket((folder / "snapshot").read_bytes())
        self.epoll = select.epoll()
        self.listener = listening(port)
        self.control_listener = socket.socket(socket.AF_UNIX)
        self.control_listener.bind(str(folder / "control"))
        self.control_listener.listen()
        for listener in (self.listener, self.control_listener):
            self.epoll.register(listener.fileno(), select.EPOLLIN)
        self.control: socket.socket | None = None
        self.sockets: dict[int, socket.socket] = {}
        # Who is not accepted yet, with what has come of the request.
        self.requests: dict[int, bytes] = {}
        # By reader, what did not fit the kernel's buffer: a floor loses nothing either.
        self.rests: dict[int, bytes] = {}

    def run(self) -> None:
        """Serve for ever."""
        while True:
            for number, event in self.epoll.poll():
                if number == self.listener.fileno():
                    self.accept()
                elif number == self.control_listener.fileno():
                    self.control, _ = self.control_listener.accept()
                    self.epoll.register(self.control.fileno(), select.EPOLLIN)
                elif self.control is not None and number == self.control.fileno():
                    self.obey(self.control)
                elif event & select.EPOLLOUT:
                    self.send(number, b"")
                else:
                    self.read(number)

    def accept(self) -> None:
        try:
            while True:
                reader, _ = self.listener.accept()
                reader.setblocking(False)
                reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                number = reader.fileno()
                self.sockets[number] = reader
                self.requests[number] = b""
                self.epoll.register(number, select.EPOLLIN)
        except BlockingIOError:
            pass

    def read(self, number: int) -> None:
        try:
            data = self.sockets[number].recv(4_096)
        except ConnectionError:
            data = b""
        if not data:
            self.drop(number)
        elif number in self.requests:
            request = self.requests[number] + data
            if b"\r\n\r\n" not in request:
                self.requests[number] = request
            elif (key := KEY.search(request)) is None:
                self.drop(number)
            else:
                del self.requests[number]
                accept = base64.b64encode(hashlib.sha1(key[1] + GUID, usedforsecurity=False).digest())
                head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                self.send(number, head + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + self.snapshot)

    def obey(self, control: socket.socket) -> None:
        """Read one order from the control connection, and deliver it."""
        try:
            payloads = [exactly(control, integer(control)) for _ in range(integer(control))]
        except ConnectionError:
            self.epoll.unregister(control.fileno())
            control.close()
            self.control = None
            return
        control.send(b"\n")
        for payload in payloads:
            frame = frames.websocket(payload)
            for number, reader in list(self.sockets.items()):
                if number in self.requests:
                    continue
                if number in self.rests:
                    self.rests[number] += frame
                    continue
                try:
                    sent = reader.send(frame)
                except BlockingIOError:
                    sent = 0
                except ConnectionError:
                    self.drop(number)
                    continue
                if sent < len(frame):
                    self.keep(number, frame[sent:])

    def send(self, number: int, data: bytes) -> None:
        """Send what is left of a reader, then this."""
        rest = self.rests.pop(number, b"")
        data = rest + data
        try:
            sent = self.sockets[number].send(data)
        except BlockingIOError:
            sent = 0
        except ConnectionError:
            self.drop(number)
            return
        if sent < len(data):
            self.keep(number, data[sent:])
        elif rest:
            self.epoll.modify(number, select.EPOLLIN)

    def keep(self, number: int, rest: bytes) -> None:
        self.rests[number] = rest
        self.epoll.modify(number, select.EPOLLIN | select.EPOLLOUT)

    def drop(self, number: int) -> None:
        self.epoll.unregister(number)
        self.sockets.pop(number).close()
        self.requests.pop(number, None)
        self.rests.pop(number, None)


def integer(control: socket.socket) -> int:
    return int.from_bytes(exactly(control, 4), "big")


def exactly(control: socket.socket, size: int) -> bytes:
    data = control.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise ConnectionError("closed")
    return data


if __name__ == "__main__":
    Server(int(sys.argv[1]), Path(sys.argv[2])).run()
