"""Reader: one adopted socket. Small on purpose: there may be tens of thousands in a process."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.utils import apply_mask

from service.domain.cursor import Cursor
from service.domain.frames import LONGEST_INCOMING, Close, close_frame, decode_ack
from service.errors import MalformedError

if TYPE_CHECKING:
    from service.gateway.audience import Audience, Group
    from service.gateway.hub import Hub

# Bytes that are parsed at once: at most 256 frames.
SLICE = 1_536

# How an unfragmented text and a pong begin, without extensions (RFC 6455, section 5.2).
COMMON = (0x81, 0x8A)
# A reader's socket that nobody has asked for yet.
UNKNOWN = -2

# What readers send wrong is counted by close code, not logged: a hostile one could fill the disk.
quiet = logging.getLogger("stoppress.reader")
quiet.addHandler(logging.NullHandler())
quiet.propagate = False
quiet.setLevel(logging.CRITICAL)


class Writes(Protocol):
    """What a reader needs of its transport."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    def get_extra_info(self, name: str) -> Any: ...
    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class Incoming(ServerProtocol):
    """The parser of what one reader sends, with the pieces of a fragmented message."""

    def __init__(self) -> None:
        super().__init__(state=OPEN, max_size=LONGEST_INCOMING, logger=quiet)
        self.parts: list[bytes] = []


class Reader(asyncio.Protocol):
    """A reader of one edition and selection.

    `seq` is where it is while it is early or lagging; members of a group are where the last pass got. `acked` is what
    it has confirmed (-1: nothing). `paused` is true when nothing may be written: not drained, closing or gone.
    """

    __slots__ = (
        "_fd",
        "acked",
        "address",
        "audience",
        "closing",
        "frames",
        "frozen",
        "gone",
        "group",
        "heard",
        "hub",
        "incoming",
        "lagging",
        "paused",
        "replaying",
        "seq",
        "slot",
        "strikes",
        "transport",
    )

    def __init__(self, hub: "Hub", group: "Group", transport: Writes, seq: int, address: str) -> None:
        self.hub = hub
        self.audience: Audience = group.audience
        self.group = group
        self.transport = transport
        self._fd = UNKNOWN
        self.seq = seq
        self.acked = -1
        self.address = address
        self.slot = 0
        # Whether the garbage collector has been told not to look at it.
        self.frozen = False
        self.strikes = 0
        # What it sent since its last beat.
        self.frames = 0
        self.heard = True
        self.paused = False
        self.lagging = False
        self.replaying = False
        self.closing = False
        self.gone = False
        self.incoming: Incoming | None = None

    def data_received(self, data: bytes) -> None:
        """Parse what came (RFC 6455); answer pings and closes; take in acks."""
        self.heard = True
        if self.closing:
            # Only the answer to our close is awaited: a close frame, or anything else and then the end.
            if data[0] & 0x0F == Opcode.CLOSE:
                self.transport.close()
            return
        whole = self.incoming is None and _one_frame(data)
        if whole and data[0] in COMMON:
            # An ack or a pong, which is all that most readers ever send: no parser is made for it.
            if not self.floods() and data[0] & 0x0F == Opcode.TEXT:
                self.received(apply_mask(data[6:], data[2:6]))
            return
        incoming = self.incoming or Incoming()
        # A parser takes as much memory as two idle readers: it is kept only while a frame is incomplete.
        self.incoming = None if whole else incoming
        # The parser takes in all it is given before the first event is seen, so a flood comes in slices.
        for start in range(0, len(data), SLICE):
            if not self._parse(incoming, data[start : start + SLICE]):
                return

    def _parse(self, incoming: Incoming, data: bytes) -> bool:
        """Take in some frames; false when no more are wanted."""
        incoming.receive_data(data)
        for event in incoming.events_received():
            assert isinstance(event, Frame)  # an open connection yields nothing else
            if self.floods():
                return False
            if event.opcode in (Opcode.TEXT, Opcode.CONT):
                incoming.parts.append(bytes(event.data))
                if event.fin:
                    message, incoming.parts = b"".join(incoming.parts), []
                    self.received(message)
            elif event.opcode is Opcode.BINARY:
                self.close(Close.MISUSE, "expected text, got binary")
            if self.ended():
                return False
        if incoming.parser_exc is not None:
            too_long = isinstance(incoming.parser_exc, PayloadTooBig)
            self.close(Close.TOO_LONG if too_long else Close.MISUSE, str(incoming.parser_exc))
            return False
        out = incoming.data_to_send()
        if out and not self.paused:
            # A reader that pings without reading gets no pongs: they would pile up.
            self.transport.write(b"".join(out))
        if b"" not in out:
            return True
        self.hub.counts.closes[Close.NORMAL] += 1
        self.leave()
        self.transport.close()
        return False

    def received(self, message: bytes) -> None:
        """Take in one message: an ack, since nothing else is expected of a reader."""
        try:
            ack = decode_ack(message)
            epoch, seq = Cursor.parse(ack.cursor)
        except MalformedError as error:
            self.close(Close.MISUSE, error.detail)
            return
        self.hub.acked(self, epoch, seq, ack.held)

    def floods(self) -> bool:
        """Count a frame; close the socket and say so if it is one more than a reader has any use for."""
        self.frames += 1
        if self.frames <= self.hub.max_messages:
            return False
        self.close(Close.MISUSE, f"expected at most {self.hub.max_messages} frames between two beats")
        return True

    def close(self, code: Close, reason: str = "") -> None:
        """Close the socket and say why; the connection is dropped if the reader does not answer."""
        if self.closing or self.gone:
            return
        drained = not self.paused
        self.leave()
        self.closing = True
        if drained:
            self.transport.write(close_frame(code, reason))
        self.hub.farewell(self, code)
        if not drained:
            # What is buffered will never be read; a close frame behind it would not be either.
            self.transport.abort()

    def blocked(self) -> bool:
        """Whether nothing may be written now. A method, because it changes between any two lines that wait."""
        return self.paused

    def ended(self) -> bool:
        """Whether this side is done with the reader."""
        return self.closing or self.gone

    def leave(self) -> None:
        """Stop taking part; nothing is written from now on."""
        self.hub.left(self)
        self.paused = True
        self._hide_socket()
        self.incoming = None

    def pause_writing(self) -> None:
        """Called by the transport as soon as it had to buffer: the limit is 0."""
        self.paused = True
        self._hide_socket()

    def resume_writing(self) -> None:
        """Called by the transport when it has drained."""
        if self.closing or self.gone:
            return
        self.paused = False
        self._fd = UNKNOWN
        self.hub.drained(self)

    def _hide_socket(self) -> None:
        """Before the transport closes it: another connection may get the same number then."""
        self._fd = -1
        self.group.lost()

    @property
    def fd(self) -> int:
        """The socket, which a pass writes to; -1 while nothing may be written, and where only the transport can.

        A socket stays open until the protocol's `connection_lost` has returned (`test_adopt.py`). Asked of the
        transport when it is needed first: that is a twentieth of a handshake.
        """
        if self._fd == UNKNOWN:
            self._fd = _socket_of(self.transport)
        return self._fd

    def eof_received(self) -> bool:
        """Half-closed sockets are of no use to a reader."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self.leave()
        self.hub.gone(self)


def _socket_of(transport: Writes) -> int:
    """The socket of a transport that does nothing but write to it; -1 where there is more to it (TLS, ASGI)."""
    socket = transport.get_extra_info("socket")
    if socket is None or transport.get_extra_info("sslcontext") is not None:
        return -1
    number: int = socket.fileno()
    return number


def _one_frame(data: bytes) -> bool:
    """Whether `data` is exactly one short, masked, unfragmented frame, as an ack or a pong is."""
    return len(data) >= 6 and data[0] & 0x80 != 0 and 0x80 <= data[1] < 0xFE and len(data) == 6 + (data[1] & 0x7F)
