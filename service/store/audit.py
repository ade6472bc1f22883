"""Audit: who did what, when, from where. Written in the same step as the change itself; nothing edits it.

`accept.lua` hangs each entry on the one before; `chain.py` proves that none was edited, moved or taken out.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Self, cast

import msgspec
from redis import Redis

from service.domain.instant import parse_ms
from service.domain.lifecycle import Before, Decision, Record
from service.store.chain import START, End, Linked
from service.store.keys import Keys

# Bounded, as everything: some years of a busy newsroom.
KEPT = 1_000_000
# Notes that came with a text speak of it, and a correction's is public: they are kept in the history, which a kill
# empties. The audit keeps the reasons of the other actions, the kill's own above all.
WITH_TEXT = ("create", "publish", "update", "correct", "refile")
# How many entries are looked through for one item's; and how far Redis's clock may be from ours.
SCANNED = 10_000
SKEW_MS = 60_000
# Entries that are read at once when all are: some hundred kilobytes.
PAGE = 1_000
# How many one look at the newest goes through; it then says where to go on.
LOOKED_THROUGH, CHUNK = 2_000, 200

Row = tuple[bytes, dict[bytes, bytes]]


class AuditEntry(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One accepted change. It names fields and people, never the line's text: a kill must leave none behind.

    `before` is None for a new line, and in entries from before it was kept. `fields` are those of the item that differ.
    """

    at: str
    id: str
    action: str
    by: str
    version: int
    rev: int
    state: str
    address: str | None = None
    note: str | None = None
    before: Before | None = None
    fields: tuple[str, ...] = ()
    # Why the two-person rule was passed over, if it was.
    override: str | None = None

    @classmethod
    def of(cls, decision: Decision, address: str | None) -> Self:
        """Describe a decision; `address` is where the call came from."""
        record = decision.record
        return cls(
            at=record.changed_at,
            id=record.id,
            action=decision.action,
            by=record.changed_by,
            version=record.version,
            rev=record.rev,
            state=record.state,
            address=address,
            note=None if decision.action in WITH_TEXT else record.note,
            before=decision.before,
            fields=decision.fields,
            override=decision.override,
        )


def of_item(redis: Redis, record: Record) -> list[AuditEntry]:
    """The entries of one item, oldest first: those written between its first and its last change."""
    return [each.entry for each in places_of(redis, record) if each.entry is not None]


def places_of(redis: Redis, record: Record) -> list["Seen"]:
    """The entries of one item in their places, oldest first; those that cannot be read are nobody's.

    Looked for from both ends of its life: between a line and its kill on a court's order there may be weeks.
    """
    key = Keys.of(record.edition).audit
    first = parse_ms(record.created_at, "createdAt") - SKEW_MS
    last = parse_ms(record.changed_at, "changedAt") + SKEW_MS
    rows = dict(cast(list[Row], redis.xrange(key, min=first, max=last, count=SCANNED // 2)))
    if len(rows) == SCANNED // 2:
        since = f"({next(reversed(rows)).decode()}"
        rows |= reversed(cast(list[Row], redis.xrevrange(key, max=last, min=since, count=SCANNED // 2)))
    seen = (_seen(record.edition, entry_id, fields) for entry_id, fields in rows.items())
    return [each for each in seen if each.entry is not None and each.entry.id == record.id]


class Extent(NamedTuple):
    """An edition's audit at one moment: where its chain must end, its last entry, and how many are kept."""

    end: End
    last_id: str | None
    kept: int


def extent(redis: Redis, edition: str) -> Extent:
    """Look at the audit of an edition. In one step: what is written later is not taken for a fault."""
    keys = Keys.of(edition)
    with redis.pipeline(transaction=True) as pipe:
        pipe.hmget(keys.meta, ["audit_count", "audit_head"])
        pipe.xrevrange(keys.audit, count=1)
        pipe.xlen(keys.audit)
        (count, head), last, kept = cast(tuple[list[bytes | None], list[Row], int], pipe.execute())
    end = End(edition=edition, count=_number(count) or 0, head=_text(head) or START)
    return Extent(end, last[0][0].decode() if last else None, kept)


def entries(redis: Redis, edition: str, first: str | int = "-", last: str | int = "+") -> Iterator[Linked]:
    """Read an edition's audit, oldest first, between two ids of the stream or moments in ms."""
    key = Keys.of(edition).audit
    after = None
    since: Any = first
    while True:
        rows = cast(list[Row], redis.xrange(key, min=since, max=last, count=PAGE))
        if not rows:
            return
        if since == first and first != "-":
            # What the first one hangs on, so that it can be proven without those before it.
            earlier = cast(list[Row], redis.xrevrange(key, max=f"({rows[0][0].decode()}", count=1))
            after = _text(earlier[0][1].get(b"link")) if earlier else None
        for entry_id, fields in rows:
            yield _linked(edition, entry_id, fields, after)
            after = None
        since = f"({rows[-1][0].decode()}"


def exported(redis: Redis, edition: str, first: int | None = None, last: int | None = None) -> Iterator[bytes]:
    """Write an edition's audit as JSON lines, oldest first, and one more that closes it: what `verify` reads.

    `first` and `last` are moments in ms. What is written meanwhile is not in it.
    """
    now = extent(redis, edition)
    found: Linked | None = None
    if now.last_id is not None:
        start = "-" if first is None else first
        for each in entries(redis, edition, start, now.last_id if last is None else last):
            yield msgspec.json.encode(each) + b"\n"
            found = each
    end = now.end
    if last is not None or (first is not None and found is None):
        # A part ends where it ends, and not where the log does.
        end = End(edition=edition, count=0, head=START)
        if found is not None:
            end = End(edition=edition, count=found.n or 0, head=found.link or START)
    yield msgspec.json.encode(end) + b"\n"


class Look(NamedTuple):
    """What a look at the audit asks for; None is anything. The moments are those at which Redis wrote an entry."""

    editor: str | None = None
    action: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class Seen(NamedTuple):
    """An entry in its place. `entry` is None where it cannot be read, which only tampering explains."""

    place: Linked
    entry: AuditEntry | None


def newest(redis: Redis, edition: str, look: Look, limit: int, before: str | None) -> tuple[list[Seen], str | None]:
    """Read an edition's audit, newest first, from before that id of the stream on.

    Also says the id after which the next page may start; None: nothing is left.
    """
    key = Keys.of(edition).audit
    found: list[Seen] = []
    top: Any = f"({before}" if before is not None else "+" if look.until_ms is None else look.until_ms
    low: Any = "-" if look.since_ms is None else look.since_ms
    looked = 0
    while True:
        rows = cast(list[Row], redis.xrevrange(key, max=top, min=low, count=CHUNK))
        for entry_id, fields in rows:
            looked += 1
            each = _seen(edition, entry_id, fields)
            if _fits(each.entry, look):
                found.append(each)
            if len(found) == limit or looked == LOOKED_THROUGH:
                return found, each.place.id
        if len(rows) < CHUNK:
            return found, None
        top = f"({rows[-1][0].decode()}"


def _seen(edition: str, entry_id: bytes, fields: dict[bytes, bytes]) -> Seen:
    place = _linked(edition, entry_id, fields)
    try:
        return Seen(place, msgspec.json.decode(place.entry, type=AuditEntry))
    except msgspec.MsgspecError:
        return Seen(place, None)


def _fits(entry: AuditEntry | None, look: Look) -> bool:
    # One that cannot be read may be anybody's: it is always shown.
    if entry is None:
        return True
    if look.action is not None and entry.action != look.action:
        return False
    return look.editor is None or entry.by.casefold() == look.editor.casefold()


def _linked(edition: str, entry_id: bytes, fields: dict[bytes, bytes], after: str | None = None) -> Linked:
    return Linked(
        edition=edition,
        id=entry_id.decode(),
        n=_number(fields.get(b"n")),
        link=_text(fields.get(b"link")),
        entry=_text(fields.get(b"entry")) or "",
        after=after,
    )


def _number(value: bytes | None) -> int | None:
    # Whoever tampers need not write a number.
    return int(value) if value is not None and value.isdigit() and len(value) < 16 else None


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")
