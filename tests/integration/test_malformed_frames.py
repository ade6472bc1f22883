"""Hostile bytes in and after the handshake: each offender is closed or was in its rights; nobody else notices."""

import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.integration.harness import DEADLINE_SECONDS, Screen, Service, until

PATH = b"/v1/editions/en/socket"
HEADERS = (
    b"host: stoppress.test",
    b"connection: Upgrade",
    b"upgrade: websocket",
    b"sec-websocket-version: 13",
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
)
ACK = b'{"type":"ack","cursor":"zzzz.1"}'
MASK = b"\x01\x02\x03\x04"
TEXT, BINARY, CONT, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA


def handshake(*more: bytes, line: bytes = b"GET " + PATH + b" HTTP/1.1", without: bytes = b"-") -> bytes:
    """A handshake with some headers more, or one less."""
    kept = [header for header in HEADERS if not header.startswith(without)]
    return b"\r\n".join((line, *kept, *more)) + b"\r\n\r\n"


def query(text: bytes) -> bytes:
    return handshake(line=b"GET " + PATH + b"?" + text + b" HTTP/1.1")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes | None = MASK, rsv: int = 0) -> bytes:
    """A client's frame (RFC 6455, section 5.2), well-formed unless told otherwise."""
    size = len(payload)
    masks = 0x80 if mask is not None else 0
    if size < 126:
        length = bytes((masks | size,))
    elif size < 65_536:
        length = bytes((masks | 126,)) + size.to_bytes(2, "big")
    else:
        length = bytes((masks | 127,)) + size.to_bytes(8, "big")
    body = payload if mask is None else bytes(a ^ b for a, b in zip(payload, itertools.cycle(mask), strict=False))
    return bytes(((0x80 if fin else 0) | rsv << 4 | opcode,)) + length + (mask or b"") + body


def text(payload: str) -> bytes:
    return frame(TEXT, payload.encode())


def ack(cursor: str = '"zzzz.1"', rest: str = "") -> bytes:
    return text(f'{{"type":"ack","cursor":{cursor}{rest}}}')


def closing(payload: bytes) -> bytes:
    return frame(CLOSE, payload)


# Before the upgrade. The first number of the answer: 101 is a reader like any other, 0 is an end without an answer.
HANDSHAKES: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "no key": (handshake(without=b"sec-websocket-key"), (400,)),
    "an empty key": (handshake(b"sec-websocket-key:", without=b"sec-websocket-key"), (400,)),
    "a key of 15 bytes": (handshake(b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAA", without=b"sec-websocket-key"), (400,)),
    "a key that is no base64": (handshake(b"sec-websocket-key: " + b"!" * 24, without=b"sec-websocket-key"), (400,)),
    "a key twice": (handshake(b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="), (400,)),
    "a key of 8000 bytes": (handshake(b"sec-websocket-key: " + b"A" * 8000, without=b"sec-websocket-key"), (400,)),
    "no version": (handshake(without=b"sec-websocket-version"), (426,)),
    "version 8": (handshake(b"sec-websocket-version: 8", without=b"sec-websocket-version"), (426,)),
    "version 13 and 8": (handshake(b"sec-websocket-version: 8"), (426,)),
    "version thirteen": (handshake(b"sec-websocket-version: xiii", without=b"sec-websocket-version"), (426,)),
    "POST": (handshake(line=b"POST " + PATH + b" HTTP/1.1"), (400,)),
    "HEAD": (handshake(line=b"HEAD " + PATH + b" HTTP/1.1"), (400,)),
    "OPTIONS": (handshake(line=b"OPTIONS " + PATH + b" HTTP/1.1"), (400,)),
    "a body": (handshake(b"content-length: 5") + b"hello", (101, 400)),
    "a body in chunks": (handshake(b"transfer-encoding: chunked") + b"1\r\nx\r\n0\r\n\r\n", (101, 400)),
    "trailers that name another upgrade": (
        handshake(b"transfer-encoding: chunked") + b"0\r\nupgrade: h2c\r\n\r\n",
        (101, 400, 0),
    ),
    "trailers that make it a WebSocket": (
        handshake(b"upgrade: h2c", b"transfer-encoding: chunked", without=b"upgrade")
        + b"0\r\nupgrade: websocket\r\n\r\n",
        (426, 400, 0),
    ),
    "a length that is none": (handshake(b"content-length: many") + b"x", (400,)),
    "a negative length": (handshake(b"content-length: -1"), (400,)),
    "length and chunks": (handshake(b"content-length: 1", b"transfer-encoding: chunked"), (400,)),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 0)),
    "HTTP/9.9": (handshake(line=b"GET " + PATH + b" HTTP/9.9"), (400,)),
    "no version of HTTP": (b"GET " + PATH + b"\r\n\r\n", (400, 426)),
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64, (400,)),
    "nothing but zeros": (b"\x00" * 512, (400,)),
    "nothing but 0xff": (b"\xff" * 512, (400,)),
    "frames instead of a handshake": (text("hello") * 3, (400,)),
    "a header without a colon": (handshake(b"nonsense"), (400,)),
    "a header with a NUL": (handshake(b"x-a: a\x00b"), (400,)),
    "a header that is folded": (handshake(b"x-a: a\r\n b"), (400, 101)),
    "a header that is no UTF-8": (handshake(b"x-a: \xff\xfe"), (101,)),
    "a name that is no token": (handshake(b"x a: b"), (400,)),
    "a thousand headers": (handshake(*(b"x-%d: y" % number for number in range(1000))), (101, 400)),
    "an origin that is no UTF-8": (handshake(b"origin: \xff\xfe\xfd"), (101, 403)),
    "a forwarded address that is none": (handshake(b"x-forwarded-for: ,,, \xff, ::, " + b"9" * 4000), (101,)),
    "a subprotocol that is no UTF-8": (handshake(b"sec-websocket-protocol: \xff, ,,stoppress.v1"), (101,)),
    "an extension that is none": (handshake(b"sec-websocket-extensions: ;;;=,,, permessage-deflate"), (101,)),
    "an edition that is none": (handshake(line=b"GET /v1/editions/fr/socket HTTP/1.1"), (404,)),
    "an edition with a NUL": (handshake(line=b"GET /v1/editions/en%00/socket HTTP/1.1"), (404,)),
    "an edition that is no UTF-8": (handshake(line=b"GET /v1/editions/%ff%fe/socket HTTP/1.1"), (404,)),
    "an edition with a broken escape": (handshake(line=b"GET /v1/editions/%e/socket HTTP/1.1"), (404,)),
    "an edition that climbs": (handshake(line=b"GET /v1/editions/..%2f..%2fen/socket HTTP/1.1"), (404,)),
    "an edition of 120 characters": (handshake(line=b"GET /v1/editions/" + b"x" * 120 + b"/socket HTTP/1.1"), (404,)),
    "an edition of 9000 characters": (
        handshake(line=b"GET /v1/editions/" + b"x" * 9000 + b"/socket HTTP/1.1"),
        (404, 403, 400),
    ),
    "an edition in other spelling": (handshake(line=b"GET /v1/editions/%65n/socket HTTP/1.1"), (101,)),
    "a socket that is none": (handshake(line=b"GET /healthz HTTP/1.1"), (403, 404)),
    "an absolute address": (handshake(line=b"GET http://x" + PATH + b" HTTP/1.1"), (101, 400, 403, 404)),
    "an asterisk": (handshake(line=b"OPTIONS * HTTP/1.1"), (400, 403, 404, 405)),
    "a query that is no UTF-8": (query(b"section=%ff%fe"), (400,)),
    "a query with raw bytes": (query(b"section=\xff\xfe"), (400,)),
    "a query without values": (query(b"&&&==&"), (400,)),
    "a query of 5000 characters": (query(b"section=" + b"x" * 5000), (400,)),
    "a query of 300 terms": (query(b"&".join([b"section=a"] * 300)), (400,)),
    "a query of unknown names": (query(b"__proto__=1"), (400,)),
    "two cursors": (query(b"cursor=a.1&cursor=a.2"), (400,)),
    "a cursor of other digits": (query(b"cursor=a.%D9%A1"), (400,)),
    "a cursor with an enormous seq": (query(b"cursor=a." + b"9" * 400), (400,)),
    "a cursor of another world": (query(b"cursor=zzzz.999999999999999"), (101,)),
    "an urgency of zero": (query(b"urgency=0"), (400,)),
    "a term with a line break": (query(b"section=a%0d%0ax-evil:1"), (400,)),
    "an upgrade behind a request that is under way": (
        b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n" + handshake(),
        (200, 0),
    ),
    "an upgrade behind many requests": (b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n" * 40 + handshake(), (200, 0)),
    "two handshakes at once": (handshake() * 2, (101,)),
    "a frame before the answer": (handshake() + text("hello"), (101,)),
}

# After the upgrade: the close code, or 0 where the frames are within the reader's rights.
FRAMES: dict[str, tuple[bytes, int]] = {
    # Frames that break RFC 6455, section 5.
    "a frame without a mask": (frame(TEXT, ACK, mask=None), 1008),
    "an empty frame without a mask": (frame(TEXT, mask=None), 1008),
    "a ping without a mask": (frame(PING, b"hi", mask=None), 1008),
    "reserved bit 1": (frame(TEXT, ACK, rsv=4), 1008),
    "reserved bit 2": (frame(TEXT, ACK, rsv=2), 1008),
    "reserved bit 3": (frame(TEXT, ACK, rsv=1), 1008),
    "all reserved bits on a ping": (frame(PING, rsv=7), 1008),
    **{f"reserved opcode {opcode:#x}": (frame(opcode, b"x"), 1008) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "a ping in fragments": (frame(PING, b"x", fin=False), 1008),
    "a pong in fragments": (frame(PONG, b"x", fin=False), 1008),
    "a close in fragments": (frame(CLOSE, b"\x03\xe8", fin=False), 1008),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), 1008),
    "a pong of 1000 bytes": (frame(PONG, b"x" * 1000), 1008),
    "a close of 126 bytes": (closing(b"\x03\xe8" + b"x" * 124), 1008),
    "a continuation of nothing": (frame(CONT, b"x"), 1008),
    "an unfinished continuation of nothing": (frame(CONT, b"x", fin=False), 1008),
    "a new message within one": (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1008),
    "another handshake": (handshake(), 1008),
    "zeros": (b"\x00" * 64, 1008),
    "0xff": (b"\xff" * 64, 1008),
    "an HTTP request": (b"GET / HTTP/1.1\r\n\r\n", 1008),
    "a server's frame": (b"\x81\x05hello", 1008),
    # Closes that are none.
    "a close with one byte": (closing(b"\x03"), 1008),
    "a close with code 0": (closing(b"\x00\x00"), 1008),
    "a close with code 999": (closing((999).to_bytes(2, "big")), 1008),
    "a close with code 1005": (closing((1005).to_bytes(2, "big")), 1008),
    "a close with code 1006": (closing((1006).to_bytes(2, "big")), 1008),
    "a close with code 1015": (closing((1015).to_bytes(2, "big")), 1008),
    "a close with code 2999": (closing((2999).to_bytes(2, "big")), 1008),
    "a close with code 65535": (closing(b"\xff\xff"), 1008),
    "a close with a reason that is no UTF-8": (closing(b"\x03\xe8\xff\xfe"), 1008),
    # Too much.
    "a text of 1025 bytes": (frame(TEXT, b" " * 1025), 1009),
    "a text of 70000 bytes": (frame(TEXT, b" " * 70_000), 1009),
    "a text that says it has 2^31 bytes": (b"\x81\xff" + (2**31).to_bytes(8, "big") + MASK, 1009),
    "a text that says it has 2^63 bytes": (b"\x81\xff" + (2**63).to_bytes(8, "big") + MASK, 1009),
    "a text that says it has 2^64-1 bytes": (b"\x81\xff" + b"\xff" * 8 + MASK, 1009),
    "fragments of more than 1024 bytes": (
        frame(TEXT, b" " * 600, fin=False) + frame(CONT, b" " * 600),
        1009,
    ),
    "fragments of one byte without an end": (
        frame(TEXT, b" ", fin=False) + frame(CONT, b" ", fin=False) * 1100,
        1008,
    ),
    "ten thousand empty fragments": (frame(TEXT, b"", fin=False) + frame(CONT, b"", fin=False) * 10_000, 1008),
    "a thousand pings": (frame(PING) * 1000, 1008),
    "a thousand pongs": (frame(PONG) * 1000, 1008),
    "a thousand acks": (ack() * 1000, 1008),
    # Messages that are no acks.
    "a binary ack": (frame(BINARY, ACK), 1008),
    "an empty binary": (frame(BINARY), 1008),
    "a binary in fragments": (frame(BINARY, b"x", fin=False), 1008),
    "an empty text": (text(""), 1008),
    "a text that is no JSON": (text("hello"), 1008),
    "a text that is no UTF-8": (frame(TEXT, b'{"type":"ack","cursor":"\xff\xfe"}'), 1008),
    "a text with a NUL": (text("\x00"), 1008),
    "half an ack": (frame(TEXT, ACK[:-1]), 1008),
    "two acks in one": (frame(TEXT, ACK + ACK), 1008),
    "a list of acks": (frame(TEXT, b"[" + ACK + b"]"), 1008),
    "null": (text("null"), 1008),
    "NaN": (text("NaN"), 1008),
    "lists nested 1020 deep": (text("[" * 1020), 1008),
    "a type nested 1000 deep": (text('{"type":' + "[" * 1000), 1008),
    "objects nested 200 deep": (text('{"a":' * 200), 1008),
    "an unknown type": (text('{"type":"publish"}'), 1008),
    "a server's message": (text('{"type":"beat","cursor":"a.1","at":"now"}'), 1008),
    "an ack without a cursor": (text('{"type":"ack"}'), 1008),
    "an ack with more in it": (ack(rest=',"x":1'), 1008),
    "a cursor that is null": (ack("null"), 1008),
    "a cursor that is a number": (ack("1"), 1008),
    "a cursor that is a list": (ack("[]"), 1008),
    "a cursor that is empty": (ack('""'), 1008),
    "a cursor with a surrogate": (ack('"\\ud800.1"'), 1008),
    "a cursor with other digits": (ack('"a.\u0661"'), 1008),
    "a cursor with a negative seq": (ack('"a.-1"'), 1008),
    "a cursor with 500 digits": (ack('"a.' + "9" * 500 + '"'), 1008),
    "a delay that is negative": (ack(rest=',"held":-1'), 1008),
    "a delay that is a fraction": (ack(rest=',"held":0.5'), 1008),
    "a delay that is a text": (ack(rest=',"held":"1"'), 1008),
    "a delay that is infinite": (ack(rest=',"held":1e400'), 1008),
    "a delay of 900 digits": (ack(rest=',"held":' + "9" * 900), 1008),
    "a delay of true": (ack(rest=',"held":true'), 1008),
    "nonsense behind an ack": (ack() + b"\xff\xff\xff\xff", 1008),
    "nonsense behind a hundred pings": (frame(PING, b"x") * 100 + b"\xff\xff", 1008),
    # What a reader may do, odd as it is.
    "an ack of an unknown log": (ack(), 0),
    "the same ack a hundred times": (ack() * 100, 0),
    "an ack with a mask of zeros": (frame(TEXT, ACK, mask=b"\x00" * 4), 0),
    "an ack with a length in 8 bytes": (b"\x81\xff" + len(ACK).to_bytes(8, "big") + b"\x00" * 4 + ACK, 0),
    "an ack byte by byte in fragments": (
        frame(TEXT, ACK[:1], fin=False)
        + b"".join(frame(CONT, ACK[at : at + 1], fin=False) for at in range(1, len(ACK)))
        + frame(CONT),
        0,
    ),
    "an ack with pings between its fragments": (
        frame(TEXT, ACK[:9], fin=False) + frame(PING, b"x") * 3 + frame(CONT, ACK[9:]),
        0,
    ),
    "five hundred empty fragments": (
        frame(TEXT, b"", fin=False) + frame(CONT, b"", fin=False) * 500 + frame(CONT, ACK),
        0,
    ),
    "a pong that nobody asked for": (frame(PONG, b"surprise"), 0),
    "five hundred pings": (frame(PING) * 500, 0),
    "a ping of 125 bytes": (frame(PING, b"x" * 125), 0),
}

# Connections that end in the middle of something.
ENDS: dict[str, bytes] = {
    "nothing": b"",
    "half a request line": b"GET /v1/edi",
    "half a header": handshake()[:90],
    "a handshake": handshake(),
    "one byte of a frame": handshake() + b"\x81",
    "half a frame": handshake() + ack()[:20],
    "half a message": handshake() + frame(TEXT, b"{", fin=False),
}


class Offender:
    """A connection that sends what it likes, and reads like a reader."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.seen = b""

    def send(self, data: bytes) -> None:
        # The service may have closed before it has read all.
        with suppress(ConnectionError):
            self.connection.sendall(data)

    def more(self) -> bool:
        """Read once; false at the end."""
        try:
            data = self.connection.recv(65_536)
        except ConnectionError:
            return False
        self.seen += data
        return bool(data)

    def upgrade(self) -> None:
        """Become a reader, and read the snapshot's beginning."""
        self.send(handshake())
        while b'{"type":"snapshot"' not in self.seen:
            assert self.more(), f"expected a snapshot, got {self.seen!r}"

    def status(self) -> int:
        """The answer's status; 0 if the connection ended without one."""
        while b"\r\n" not in self.seen:
            if not self.more():
                return 0
        return int(self.seen.split(b" ", 2)[1])

    def is_at_home(self) -> bool:
        """Whether the service still answers: a ping of our own comes back."""
        self.send(frame(PING, b"at home?"))
        while b"\x8a\x08at home?" not in self.seen:
            if not self.more():
                return False
        return True

    def read_all(self) -> None:
        """Read to the end; of a socket, that is its close frame."""
        while self.more():
            pass


class Witness:
    """A well-behaved reader, connected all along."""

    def __init__(self, service: Service, screen: Screen) -> None:
        self.service = service
        self.screen = screen
        self._offences = 0

    def goes_on(self, *, now: bool = False) -> None:
        """Check every tenth time that a line which is published arrives."""
        self._offences += 1
        if now or not self._offences % 10:
            line = self.service.publish("Nobody noticed")
            message = self.screen.next()
            assert (message["type"], message["cursor"]) == ("item", line["cursor"])
            assert self.service.http.get("/readyz").status_code == 200


@pytest.fixture(scope="module")
def witness(service: Service) -> Iterator[Witness]:
    with service.screen() as screen:
        assert screen.next()["type"] == "snapshot"
        yield Witness(service, screen)


@contextmanager
def offender(service: Service) -> Iterator[Offender]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=DEADLINE_SECONDS) as connection:
        yield Offender(connection)


def test_more_than_a_hundred_kinds_are_tried() -> None:
    assert len(HANDSHAKES) + len(FRAMES) + len(ENDS) > 100


@pytest.mark.parametrize("kind", HANDSHAKES)
def test_a_handshake_is_answered_or_refused(service: Service, witness: Witness, kind: str) -> None:
    data, expected = HANDSHAKES[kind]
    with offender(service) as one:
        one.send(data)
        status = one.status()
        assert status in expected, one.seen
        if status == 101:
            assert one.is_at_home()
        else:
            # A plain request may keep its connection: it is told that no more will come.
            one.connection.shutdown(socket.SHUT_WR)
            one.read_all()
            assert b"HTTP/1.1 101 " not in one.seen
    witness.goes_on()


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_are_legal_or_close_the_socket(service: Service, witness: Witness, kind: str) -> None:
    data, code = FRAMES[kind]
    with offender(service) as one:
        one.upgrade()
        one.send(data)
        if code:
            # The service waits for the answer to its close before it ends the connection.
            said = code.to_bytes(2, "big")
            while said not in one.seen:
                assert one.more(), one.seen[-200:]
            assert one.seen[one.seen.rindex(said) - 2] == 0x88
            one.send(frame(CLOSE, said))
            one.read_all()
        else:
            assert one.is_at_home()
    witness.goes_on()


@pytest.mark.parametrize("kind", ENDS)
def test_a_connection_may_end_in_the_middle(service: Service, witness: Witness, kind: str) -> None:
    with offender(service) as one:
        one.send(ENDS[kind])
    witness.goes_on()


def test_everyone_else_has_noticed_nothing(service: Service, witness: Witness) -> None:
    until(lambda: service.http.get("/readyz").json()["readers"] == 1, "all offenders to be forgotten")
    witness.goes_on(now=True)
    assert "Traceback" not in service.log("web")
