"""Audit: who did what, when, from where. Written in the same step as the change itself; nothing edits it."""

from typing import Self, cast

import msgspec
from redis import Redis

from service.domain.instant import parse_ms
from service.domain.lifecycle import Decision, Record
from service.store.keys import Keys

# Bounded, as everything: some years of a busy newsroom.
KEPT = 1_000_000
# Notes that came with a text speak of it, and a correction's is public: they are kept in the history, which a kill
# empties. The audit keeps the reasons of the other actions, the kill's own above all.
WITH_TEXT = ("create", "publish", "update", "correct", "refile")
# How many entries are looked through for one item's; and how far Redis's clock may be from ours.
SCANNED = 10_000
SKEW_MS = 60_000


class AuditEntry(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One accepted change. It names fields and people, never the line's text: a kill must leave none behind."""

    at: str
    id: str
    action: str
    by: str
    version: int
    rev: int
    state: str
    address: str | None = None
    note: str | None = None

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
        )


def of_item(redis: Redis, record: Record) -> list[AuditEntry]:
    """The entries of one item, oldest first: those written between its first and its last change."""
    first = parse_ms(record.created_at, "createdAt") - SKEW_MS
    last = parse_ms(record.changed_at, "changedAt") + SKEW_MS
    rows = cast(
        list[tuple[bytes, dict[bytes, bytes]]],
        redis.xrange(Keys.of(record.edition).audit, min=first, max=last, count=SCANNED),
    )
    entries = (msgspec.json.decode(fields[b"entry"], type=AuditEntry) for _, fields in rows)
    return [entry for entry in entries if entry.id == record.id]
