"""Door: who may come in, and with what. The same decisions for adopted sockets and for plain ASGI ones."""

import ipaddress
import time
from dataclasses import dataclass
from urllib.parse import parse_qs

from service.domain.cursor import Cursor
from service.domain.edition import Editions
from service.domain.frames import SUBPROTOCOL, Resumed, encode, websocket
from service.domain.selection import EVERYTHING, Selection
from service.domain.ticker import Ticker
from service.errors import MalformedError, OriginError, OverCapacityError, TooManyError, UnavailableError
from service.gateway.audience import Audience, Group
from service.gateway.hub import Hub
from service.gateway.portion import portion
from service.gateway.reader import Reader, Writes
from service.settings import Settings

QUERY = ("cursor", "section", "region", "urgency")
# A query has one cursor, one urgency, and each term of two vocabularies at the most.
LONGEST_QUERY = 4_096
# Another process may have delivered a little more than this one has heard yet. A cursor further ahead is none of ours.
AHEAD = 1_000


@dataclass(frozen=True, slots=True)
class Wish:
    """A reader's query, parsed."""

    selection: Selection
    cursor: Cursor | None


class Door:
    """Decides about readers; nothing here waits."""

    def __init__(self, settings: Settings, editions: Editions, hub: Hub) -> None:
        self._settings = settings
        self._editions = editions
        self._hub = hub
        self._any_origin = "*" in settings.allowed_origins
        self._origins = frozenset(settings.allowed_origins)
        # Handshakes of this second by address; a new second starts with none, so that it cannot grow.
        self._knocks: dict[str, int] = {}
        self._second = 0

    def audience(self, code: str) -> Audience:
        """Raises:
        UnknownEditionError: there is no such edition.
        """
        return self._hub.audiences[self._editions.named(code).code]

    def is_private(self, code: str) -> bool:
        """Whether an edition asks its readers for a key."""
        edition = self._editions.get(code)
        return edition is not None and edition.private

    def wish(self, code: str, query: str) -> Wish:
        """Parse a reader's query.

        Raises:
            UnknownEditionError: there is no such edition.
            MalformedError: a parameter is unknown, comes twice, or is not of the edition's vocabulary.
        """
        edition = self._editions.named(code)
        if not query:
            return Wish(EVERYTHING, None)
        if len(query) > LONGEST_QUERY:
            raise MalformedError(f"expected a query of at most {LONGEST_QUERY} characters, got {len(query)}")
        try:
            fields = parse_qs(query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=200)
        except ValueError as error:
            raise MalformedError(f"expected a query such as section=politics&urgency=2: {error}") from None
        for name, values in fields.items():
            if name not in QUERY:
                raise MalformedError(f"expected {', '.join(QUERY)}, got {name[:60]!r}", path=name[:60])
            if name in ("cursor", "urgency") and len(values) > 1:
                raise MalformedError(f"expected {name} once, got it {len(values)} times", path=name)
        cursor = Cursor.parse(fields["cursor"][0]) if "cursor" in fields else None
        urgency = fields["urgency"][0] if "urgency" in fields else None
        selection = Selection.parse(edition, fields.get("section", []), fields.get("region", []), urgency)
        return Wish(selection, cursor)

    def address(self, peer: str, forwarded: str | None) -> str:
        """What counts as the reader's address: its own, or of IPv6 the /64, which one household has to itself.

        Its own is the last one in X-Forwarded-For that is no proxy of ours, if we trust the peer.
        """
        found = peer
        if forwarded and self._settings.trusts(peer):
            for hop in reversed([part.strip() for part in forwarded.split(",")]):
                if hop and not self._settings.trusts(hop):
                    found = hop[:64]
                    break
        return self._household(found) if ":" in found else found

    def _household(self, address: str) -> str:
        try:
            ip = ipaddress.IPv6Address(address)
        except ValueError:
            return address
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        # A trusted one keeps its name, since only by that it is known.
        return address if self._settings.trusts(address) else str(ipaddress.IPv6Address(int(ip) >> 64 << 64))

    def knock(self, address: str) -> None:
        """Count a handshake, whatever comes of it.

        Raises:
            TooManyError: more than an audience behind one address makes in a second.
        """
        limit = self._settings.max_connects_per_address
        if not limit:
            return
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._knocks.clear()
        knocks = self._knocks[address] = self._knocks.get(address, 0) + 1
        if knocks <= limit:
            return
        if self._settings.trusts(address):
            del self._knocks[address]  # asked once in so many, since to know a network costs as much as the rest
        else:
            raise TooManyError(f"expected at most {limit} handshakes of one address in a second", retry_after=2)

    def check(self, audience: Audience, origin: str | None, address: str) -> None:
        """Refuse a page that is not allowed, readers over capacity, and everyone before the ticker is loaded.

        Raises:
            OriginError, OverCapacityError, UnavailableError
        """
        if not audience.ticker.epoch:
            raise UnavailableError(
                "expected a loaded ticker: this process has not reached its Redis yet", retry_after=2
            )
        if origin is not None and not self._any_origin and origin.rstrip("/").lower() not in self._origins:
            raise OriginError(f"expected a page of an allowed origin, got {origin[:120]!r}")
        hub, settings = self._hub, self._settings
        if hub.draining:
            raise OverCapacityError("this process is leaving service and takes no new readers", retry_after=5)
        if hub.count >= settings.max_readers:
            raise OverCapacityError("expected room for another reader: this process is full", retry_after=5)
        limit = settings.max_readers_per_address
        if limit and hub.addresses[address] >= limit and not settings.trusts(address):
            raise OverCapacityError(f"expected at most {limit} readers of one address", retry_after=30)

    def let_in(self, audience: Audience, wish: Wish, transport: Writes, address: str, greeting: bytes = b"") -> Reader:
        """Seat a reader: one write with the greeting (the 101 answer) and the snapshot, or that it is resumed."""
        group, ticker = audience.group(wish.selection), audience.ticker
        cursor = self._resumable(ticker, wish.cursor)
        reader = Reader(self._hub, group, transport, ticker.seq, address)
        # From here on the transport reports to the reader, so that a first write that blocks is noticed.
        transport.set_protocol(reader)
        counts = self._hub.counts
        counts.handshakes += 1
        if cursor is None:
            first = group.snapshot()
            if wish.cursor is not None:
                self._hub.counts.resumes["snapshot"] += 1
        else:
            first = websocket(encode(Resumed(edition=ticker.edition.code, cursor=str(cursor))))
            missed = self._missed(group, ticker, cursor.seq) if ticker.covers(cursor.seq) else None
            if missed is None:
                reader.seq = cursor.seq
            else:
                first += missed
        transport.write(greeting + first)
        self._hub.join(reader, resumes=cursor is not None)
        return reader

    def _missed(self, group: Group, ticker: Ticker, seq: int) -> bytes | None:
        """What a reader at `seq` missed, if one write may hold it."""
        data, _, whole = portion(ticker.since(seq), group.selection, seq)
        if not whole:
            return None
        return data + group.snapshot() if ticker.may_refill_since(seq) else data

    def _resumable(self, ticker: Ticker, cursor: Cursor | None) -> Cursor | None:
        """The cursor, if everything after it can be had: of this log, and not below its floor."""
        if cursor is None or cursor.epoch != ticker.epoch or not ticker.floor <= cursor.seq <= ticker.seq + AHEAD:
            return None
        return cursor


def accepts_subprotocol(header: str | None) -> bool:
    """Whether the reader offers our subprotocol; it may also offer none."""
    return header is not None and SUBPROTOCOL in [part.strip() for part in header.split(",")]
