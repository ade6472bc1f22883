"""Cursor: `<epoch>.<seq>`."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.cursor import Cursor
from service.errors import MalformedError

epochs = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=16)


@given(epochs, st.integers(0, 10**15 - 1))
def test_a_cursor_survives_the_wire(epoch: str, seq: int) -> None:
    assert Cursor.parse(str(Cursor(epoch, seq))) == (epoch, seq)


@given(st.text(max_size=40))
def test_what_is_read_is_written_the_same_or_refused(text: str) -> None:
    with suppress(MalformedError):
        assert str(Cursor.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "k3f9",
        "k3f9.",
        ".812",
        "k3f9.-1",
        "k3f9.0812",
        "K3F9.812",
        "k3f9.812\n",
        " k3f9.812",
        "k3f9.٨",
        "a.1.2",
        "a" * 17 + ".1",
        "a." + "1" * 16,
    ],
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(MalformedError, match="expected a cursor") as refusal:
        Cursor.parse(text)
    assert refusal.value.path == "cursor"


def test_a_refusal_does_not_repeat_a_megabyte() -> None:
    with pytest.raises(MalformedError) as refusal:
        Cursor.parse("x" * 1_000_000)
    assert len(refusal.value.detail) < 200
