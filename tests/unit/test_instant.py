"""Instant: milliseconds inside, RFC 3339 on the wire."""

import contextlib
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.instant import LATEST_MS, format_ms, parse_ms
from service.errors import InvalidFieldError

moments = st.integers(0, LATEST_MS)


@given(moments)
def test_a_moment_survives_the_wire(ms: int) -> None:
    assert parse_ms(format_ms(ms), "$.expires") == ms


@given(moments)
def test_the_wire_has_utc_with_milliseconds(ms: int) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", format_ms(ms))


@given(moments, moments)
def test_moments_on_the_wire_sort_as_text(one: int, other: int) -> None:
    assert (format_ms(one) < format_ms(other)) == (one < other)


@given(st.integers(86_400_000, LATEST_MS - 86_400_000), st.integers(-14 * 60, 14 * 60))
def test_any_offset_is_the_same_moment(ms: int, offset_minutes: int) -> None:
    zone = timezone(timedelta(minutes=offset_minutes))
    local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    assert parse_ms(local.astimezone(zone).isoformat(), "$.expires") == ms


@pytest.mark.parametrize("text", ["2026-11-24T03:00:00", "2026-11-24", "2026-11-24T03:00:00.123"])
def test_a_time_without_an_offset_is_refused(text: str) -> None:
    with pytest.raises(InvalidFieldError, match="without an offset") as refusal:
        parse_ms(text, "$.expires")
    assert refusal.value.path == "$.expires"


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2026-13-01T00:00:00Z", "2026-11-24T25:00:00Z", "1764000000", "\ud800"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidFieldError, match="expected an RFC 3339 time"):
        parse_ms(text, "$.expires")


@pytest.mark.parametrize(
    "text",
    ["9999-12-31T23:59:59.9996Z", "9999-12-31T23:59:59-01:00", "1969-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59"],
)
def test_a_time_that_cannot_be_written_back_is_refused(text: str) -> None:
    with pytest.raises(InvalidFieldError, match="from 1970 to 9999"):
        parse_ms(text, "$.expires")


@given(st.text(max_size=30))
def test_no_text_brings_the_parser_down(text: str) -> None:
    with contextlib.suppress(InvalidFieldError):
        assert 0 <= parse_ms(text, "$.expires") <= LATEST_MS
