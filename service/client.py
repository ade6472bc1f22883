"""Client: follows a ticker from outside, as any reader does: by cursor, with full jitter, never trusting silence."""

import json
import math
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from service.domain.frames import (
    SUBPROTOCOL,
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
    decode_message,
    encode,
)
from service.domain.item import Item
from service.domain.ticker import place
from service.errors import StoppressError

# Beats come every 20 s. Two missed ones are a dead connection, however healthy its TCP looks.
SILENCE_SECONDS = 45.0
# Full jitter (AWS, "Exponential Backoff And Jitter"): anything between nothing and the cap, so that a crowd spreads.
FIRST_CAP_SECONDS, LAST_CAP_SECONDS = 0.5, 30.0
# What a service may ask for at the most.
LONGEST_WAIT_SECONDS = 60.0
# Acks are held back by up to this long, so that a crowd's do not come at once; one covers all before it.
ACK_SECONDS = 0.25
# A connection that lived this long was a good one.
GOOD_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Status:
    """What the connection is now; `detail` says why, or since when."""

    state: Literal["live", "reconnecting", "behind"]
    detail: str = ""


@dataclass(slots=True)
class Lines:
    """The ticker as a reader has it: what it got, folded."""

    size: int
    items: dict[str, Item] = field(default_factory=dict)
    cursor: str | None = None

    def apply(self, message: Message) -> bool:
        """Take in a message; true if it changed the lines."""
        match message:
            case Snapshot(cursor=cursor, items=items):
                self.items = {item.id: item for item in items}
                self.cursor = cursor
                return True
            case ItemChanged(cursor=cursor, item=item):
                self.cursor = cursor
                held = self.items.get(item.id)
                if held is not None and held.version >= item.version:
                    return False
                self.items[item.id] = item
                return True
            case Removed(cursor=cursor, id=item_id):
                self.cursor = cursor
                return self.items.pop(item_id, None) is not None
            case Resumed(cursor=cursor) | Beat(cursor=cursor):
                self.cursor = cursor
        return False

    def shown(self) -> list[Item]:
        """The lines as a ticker shows them."""
        return sorted(self.items.values(), key=place, reverse=True)[: self.size]


def socket_url(base_url: str, edition: str, query: list[tuple[str, str]]) -> str:
    """The socket's address for a service at `base_url`."""
    parts = urlsplit(base_url)
    scheme = {"https": "wss", "http": "ws"}.get(parts.scheme, parts.scheme)
    path = f"{parts.path.rstrip('/')}/v1/editions/{edition}/socket"
    return urlunsplit((scheme, parts.netloc, path, urlencode(query), ""))


def follow(
    base_url: str, edition: str, query: list[tuple[str, str]], lines: Lines, *, key: str | None = None
) -> Iterator[Message | Status]:
    """Yield every message for ever, folded into `lines`, and what happens to the connection in between.

    Raises:
        StoppressError: the service refuses for good: an unknown edition, a bad query, no right to read.
    """
    cap = FIRST_CAP_SECONDS
    headers = {"Authorization": f"Bearer {key}"} if key else None
    while True:
        started = time.monotonic()
        # When to leave a draining process, and in how many seconds it wants us elsewhere.
        leave: float | None = None
        asked: float | None = None
        least = 0.0
        try:
            cursor = [("cursor", lines.cursor)] if lines.cursor else []
            url = socket_url(base_url, edition, query + cursor)
            with connect(
                url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,
                additional_headers=headers,
                open_timeout=10,
                close_timeout=1,
                proxy=None,
            ) as socket:
                yield Status("live")
                behind = False
                ack: tuple[float, Ack] | None = None
                while leave is None or time.monotonic() < leave:
                    now = time.monotonic()
                    due = min(now + SILENCE_SECONDS, ack[0] if ack else math.inf, math.inf if leave is None else leave)
                    try:
                        message = decode_message(socket.recv(timeout=max(0.0, due - now)))
                    except TimeoutError:
                        if ack is not None and due == ack[0]:
                            socket.send(encode(ack[1]).decode())
                            ack = None
                        elif due != leave:
                            raise
                        continue
                    changed = lines.apply(message)
                    yield message
                    if changed and lines.cursor:
                        held = random.uniform(0, ACK_SECONDS)  # noqa: S311 - spreads acks, protects nothing
                        at = ack[0] if ack else time.monotonic() + held
                        ack = at, Ack(cursor=lines.cursor, held=int(held * 1000))
                    if isinstance(message, Behind):
                        behind = True
                        yield Status("behind", message.since)
                    elif behind and isinstance(message, Beat):
                        behind = False
                        yield Status("live", "again")
                    if isinstance(message, Notice):
                        # The connection is good until then.
                        leave = time.monotonic() + random.uniform(0, message.retry_in / 1000)  # noqa: S311
            reason, asked = "this process is leaving service", 0.0
        except InvalidStatus as error:
            status, text = error.response.status_code, bytes(error.response.body or b"").decode(errors="replace")
            if status == 400 and lines.cursor:
                lines.cursor = None  # a cursor that is none of this service's: start over
            elif 400 <= status < 500 and status not in (408, 429):
                raise StoppressError(f"the service refuses with {status}: {_detail(text) or text[:300]}") from None
            reason = _detail(text) or f"refused with {status}: {text[:300]}"
            least = _number(error.response.headers.get("Retry-After", "")) or 0.0
        except (OSError, TimeoutError, ConnectionClosed, WebSocketException) as error:
            if isinstance(error, InvalidURI):
                raise StoppressError(f"expected the address of a service, got {base_url!r}") from None
            reason = _why(error)
            if isinstance(error, ConnectionClosed) and error.rcvd is not None:
                if error.rcvd.code == Close.DRAINING:
                    asked = _number(error.rcvd.reason, 0.001)
                elif error.rcvd.code in (Close.MISUSE, Close.TOO_LONG, Close.OVER_CAPACITY):
                    least = LAST_CAP_SECONDS  # at once would make it worse
        if time.monotonic() - started > GOOD_SECONDS:
            cap = FIRST_CAP_SECONDS
        wait = random.uniform(0, max(cap, least) if asked is None else asked)  # noqa: S311
        if leave is not None:
            wait = min(wait, max(0.0, leave - time.monotonic()))
        yield Status("reconnecting", f"{reason}; next try in {wait:.1f} s")
        time.sleep(wait)
        if asked is None:
            cap = min(cap * 2, LAST_CAP_SECONDS)


def _number(text: str, unit: float = 1.0) -> float | None:
    """The seconds that a Retry-After or a reason asks for, but never so many that a reader would take them for ever."""
    found = re.match(r"\d{1,9}", text)
    return min(int(found[0]) * unit, LONGEST_WAIT_SECONDS) if found else None


def _detail(text: str) -> str | None:
    """What a problem document says; None where it is none, but a proxy's page."""
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return None


def _why(error: Exception) -> str:
    if isinstance(error, ConnectionClosed) and error.rcvd is not None:
        advice = next((code.advice for code in Close if code == error.rcvd.code), error.rcvd.reason)
        return f"closed with {error.rcvd.code}, {advice.partition(':')[0]}"
    if isinstance(error, TimeoutError):
        return f"nothing heard for {SILENCE_SECONDS:g} s"
    return str(error) or type(error).__name__
