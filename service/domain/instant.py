"""Moments: milliseconds since 1970 inside, RFC 3339 UTC with milliseconds on the wire."""

from datetime import UTC, datetime, timedelta

from service.errors import InvalidFieldError

EXPECTED = "expected an RFC 3339 time with its offset, such as 2026-11-24T03:00:00Z"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

# Year 9999: later than that no client's date type can show.
LATEST_MS = 253_402_300_799_999


def format_ms(ms: int) -> str:
    """Write a moment as the wire has it: `2026-11-24T03:00:00.000Z`."""
    seconds, millis = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


def parse_ms(text: str, path: str) -> int:
    """Read an RFC 3339 time with any offset.

    Raises:
        InvalidFieldError: it is none, or has no offset (a time without one means a different moment to everyone).
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidFieldError(f"{EXPECTED}, got {text!r}", path=path) from None
    if moment.tzinfo is None:
        raise InvalidFieldError(f"{EXPECTED}, got {text!r} without an offset", path=path)
    # Up to the next millisecond: an embargo must not end a moment before.
    ms = -((EPOCH - moment) // MILLISECOND)
    if not 0 <= ms <= LATEST_MS:
        raise InvalidFieldError(f"expected a time from 1970 to 9999, got {text!r}", path=path)
    return ms
