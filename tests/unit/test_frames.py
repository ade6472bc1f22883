"""Frames: the socket's messages, as JSON and as WebSocket frames."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from service.domain.frames import (
    LONGEST_INCOMING,
    PING,
    Ack,
    Beat,
    Behind,
    Close,
    ItemChanged,
    Message,
    Notice,
    Removed,
    Resumed,
    Snapshot,
    close_frame,
    decode_ack,
    decode_message,
    decode_news,
    encode,
    websocket,
)
from service.errors import MalformedError
from tests.unit.samples import item, texts

items = st.builds(item, headline=texts, speaker=texts | st.none(), regions=st.lists(texts).map(tuple))
cursors = st.integers(0, 10**15 - 1).map(lambda seq: f"k3f9.{seq}")
reasons = st.sampled_from(("killed", "withheld", "expired"))
versions = st.integers(1, 2**31)
news = st.one_of(
    st.builds(ItemChanged, cursor=cursors, item=items),
    st.builds(Removed, cursor=cursors, id=texts, version=versions, reason=reasons),
    st.builds(Beat, cursor=cursors, at=texts),
)
messages = news | st.one_of(
    st.builds(Snapshot, edition=texts, cursor=cursors, items=st.lists(items, max_size=2)),
    st.builds(Resumed, edition=texts, cursor=cursors),
    st.builds(Behind, since=texts),
    st.builds(Notice, code=st.just("draining"), retry_in=st.integers(0, 10**9)),
)


def _received(data: bytes) -> Frame:
    """What the websockets library makes of `data` as a client; it must be exactly one frame."""
    client = ClientProtocol(parse_uri("ws://localhost/"), state=OPEN)
    client.receive_data(data)
    assert client.parser_exc is None
    (frame,) = client.events_received()
    assert isinstance(frame, Frame)
    return frame


@given(messages)
def test_a_message_survives_the_wire(message: Message) -> None:
    assert decode_message(encode(message)) == message
    assert decode_message(encode(message).decode()) == message


@given(news)
def test_news_survives_the_channel(message: Message) -> None:
    assert decode_news(encode(message)) == message


@given(st.builds(Ack, cursor=texts, held=st.integers(0, 600_000)))
def test_an_ack_survives_the_wire(ack: Ack) -> None:
    assert decode_ack(encode(ack)) == ack


def test_the_messages_are_those_of_the_protocol() -> None:
    removed = Removed(cursor="k3f9.814", id="a", version=3, reason="killed")
    assert encode(removed) == b'{"type":"remove","cursor":"k3f9.814","id":"a","version":3,"reason":"killed"}'
    assert encode(Notice(code="draining", retry_in=2400)) == b'{"type":"notice","code":"draining","retryIn":2400}'
    assert encode(Resumed(edition="en", cursor="e.1")) == b'{"type":"resumed","edition":"en","cursor":"e.1"}'
    assert decode_ack(b'{"type":"ack","cursor":"k3f9.813"}').held == 0


def test_a_client_passes_over_fields_that_a_newer_service_sends() -> None:
    assert decode_message(b'{"type":"beat","cursor":"e.1","at":"x","mood":"calm"}') == Beat(cursor="e.1", at="x")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"hello",
        b"\xff",
        b"[]",
        b'{"type":"beat","cursor":"e.1","at":"x"}',
        b'{"type":"ack"}',
        b'{"type":"ack","cursor":1}',
        b'{"type":"ack","cursor":"e.1","held":-1}',
        b'{"type":"ack","cursor":"e.1","x":1}',
        b'{"type":"ack","cursor":"e.1","held":600001}',
        b'{"type":"ack","cursor":"e.1","held":1.5}',
        b'"\\ud800"',
    ],
)
def test_what_is_no_ack_is_refused(payload: bytes) -> None:
    with pytest.raises(MalformedError, match="expected"):
        decode_ack(payload)


@given(st.binary(max_size=60))
def test_no_bytes_bring_the_decoder_down(payload: bytes) -> None:
    with contextlib.suppress(MalformedError):
        decode_ack(payload)


def test_a_snapshot_is_no_news() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_news(encode(Snapshot(edition="en", cursor="e.1", items=[])))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_payload_of_any_size_is_one_text_frame(size: int) -> None:
    payload = b"x" * size
    assert _received(websocket(payload)) == Frame(Opcode.TEXT, payload)


def test_a_ping_is_one_ping() -> None:
    assert _received(PING) == Frame(Opcode.PING, b"")


@given(st.sampled_from(Close), st.text(st.characters(exclude_categories=["Cs"]), max_size=130))
def test_a_close_frame_is_sound_whatever_the_reason(code: Close, reason: str) -> None:
    data = _received(close_frame(code, reason)).data
    assert len(data) <= 125
    assert int.from_bytes(data[:2], "big") == code
    assert reason.startswith(bytes(data[2:]).decode())


@pytest.mark.parametrize("start", ["", "x", "xx", "xxx"])
def test_a_long_reason_is_not_cut_inside_a_character(start: str) -> None:
    data = bytes(_received(close_frame(Close.DRAINING, start + "😀" * 40)).data)
    assert data[2:].decode().startswith(start + "😀" * 29)


def test_each_close_code_advises() -> None:
    assert [int(code) for code in Close] == [1000, 1001, 1008, 1009, 1012, 1013, 4408]
    assert all(code.advice for code in Close)
    assert Close(4408) is Close.NO_PONG


def test_an_ack_as_long_as_allowed_holds_the_longest_cursor() -> None:
    assert len(encode(Ack(cursor=f"{'z' * 16}.{10**15 - 1}", held=600_000))) < LONGEST_INCOMING
