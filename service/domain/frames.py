"""Frames: the messages of the socket, both ways, and its close codes. `docs/protocol.md` shows them to strangers."""

import re
from enum import IntEnum
from typing import Literal

import msgspec

from service.domain.item import Item
from service.domain.lifecycle import Removal
from service.errors import MalformedError

SUBPROTOCOL = "stoppress.v1"

# What `append.lua` adds to a frame on the log's channel. A frame's own end is `}}` or `"}`, never a number and one `}`.
ACCEPTED = re.compile(rb',"accepted":(\d{1,15})}\Z')

# A reader only acknowledges, in some 60 bytes; what is longer is no ack.
LONGEST_INCOMING = 1024


class Close(IntEnum):
    """Why a socket was closed, and what the reader should do (RFC 6455, section 7.4; 4000-4999 are ours)."""

    NORMAL = 1000, "the reader said goodbye"
    GOING_AWAY = 1001, "the service stops: reconnect with your cursor and full jitter"
    MISUSE = 1008, "you sent what no reader sends: mend the client, do not retry at once"
    TOO_LONG = 1009, "you sent a longer message than an ack: mend the client"
    DRAINING = 1012, "this process is leaving service: reconnect after the milliseconds in the reason"
    OVER_CAPACITY = 1013, "full: try again later, with backoff"
    NO_PONG = 4408, "no answer to a ping: the connection was dead, reconnect with your cursor"

    advice: str

    def __new__(cls, code: int, advice: str) -> "Close":
        member = int.__new__(cls, code)
        member._value_ = code
        member.advice = advice
        return member


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot", tag_field="type"):
    """The ticker as it is; replaces everything the reader had."""

    edition: str
    cursor: str
    items: list[Item]


class Resumed(msgspec.Struct, frozen=True, tag="resumed", tag_field="type"):
    """The cursor was good: what was missed follows, in order."""

    edition: str
    cursor: str


class ItemChanged(msgspec.Struct, frozen=True, tag="item", tag_field="type"):
    """A new line, or a higher version of one."""

    cursor: str
    item: Item


class Removed(msgspec.Struct, frozen=True, tag="remove", tag_field="type"):
    """The line is off. `expired` also says that it left the reader's selection: no retraction."""

    cursor: str
    id: str
    version: int
    reason: Removal


class Beat(msgspec.Struct, frozen=True, tag="beat", tag_field="type"):
    """You are live up to here."""

    cursor: str
    at: str


class Canary(msgspec.Struct, frozen=True, tag="canary", tag_field="type"):
    """What was accepted into the outbox at `accepted` (ms) has got here. For the Feed; no reader ever gets one."""

    cursor: str
    accepted: int


class Behind(msgspec.Struct, frozen=True, tag="behind", tag_field="type"):
    """The service itself hears no news since then: say so to whoever is reading."""

    since: str


class Notice(msgspec.Struct, frozen=True, tag="notice", tag_field="type", rename="camel"):
    """Reconnect within `retry_in` milliseconds."""

    code: Literal["draining"]
    retry_in: int


class Ack(msgspec.Struct, frozen=True, tag="ack", tag_field="type", forbid_unknown_fields=True):
    """The reader shows everything up to `cursor`; it held this message back for `held` milliseconds on purpose."""

    cursor: str
    held: int = 0


Change = ItemChanged | Removed
News = ItemChanged | Removed | Beat | Canary
Message = Snapshot | Resumed | ItemChanged | Removed | Beat | Behind | Notice

_news: msgspec.json.Decoder[News] = msgspec.json.Decoder(News)
_messages: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_acks = msgspec.json.Decoder(Ack)


def encode(message: Message | Ack) -> bytes:
    """Encode one message as JSON."""
    return msgspec.json.encode(message)


def decode_news(payload: bytes) -> News:
    """Decode what the log's channel carries. Raises `msgspec.DecodeError` when it is something else."""
    return _news.decode(payload)


def open_news(payload: bytes) -> tuple[bytes, int | None]:
    """Part what came over the log's channel into the frame for readers and when (ms) the change was accepted.

    None where it does not say: a beat, or a worker of another version.
    """
    match = ACCEPTED.search(payload)
    if match is None:
        return payload, None
    return payload[: match.start()] + b"}", int(match[1])


def decode_message(payload: bytes | str) -> Message:
    """Decode what a server sent, for clients. Raises `msgspec.DecodeError` when it is something else."""
    return _messages.decode(payload)


def decode_ack(payload: bytes) -> Ack:
    """Decode what a reader sent.

    Raises:
        MalformedError: it is no ack, and nothing else is expected of a reader.
    """
    try:
        ack = _acks.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"expected an ack, got something else: {error}") from None
    if not 0 <= ack.held <= 600_000:
        raise MalformedError(f"expected held in milliseconds up to 600000, got {ack.held}")
    return ack


def websocket(payload: bytes) -> bytes:
    """Wrap a payload as one unmasked text frame of a server (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def close_frame(code: Close, reason: str = "") -> bytes:
    """A server's close frame (RFC 6455, section 5.5.1); the reason is cut to what fits a control frame."""
    payload = code.to_bytes(2, "big") + reason.encode()[:123].decode(errors="ignore").encode()
    return bytes((0x88, len(payload))) + payload


PING = b"\x89\x00"
