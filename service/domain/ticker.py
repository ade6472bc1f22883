"""Ticker: an edition's current lines and its latest changes, in memory. What the Feed writes and the Hub reads.

Zulip's rule holds for every selection: the state that a reader had, with the changes it got since, equals a fresh
snapshot. Two cases need more than the changes themselves: a line that leaves a selection (its readers get a `remove`),
and a line that comes back into the first `size` because another one left (a fresh snapshot follows).
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from service.domain.cursor import Cursor
from service.domain.edition import Edition
from service.domain.frames import Change, ItemChanged, Removed, Snapshot, encode
from service.domain.item import Item
from service.domain.selection import Selection

# How many changes stay in memory for replay: days of news; older cursors are served from the stream.
RING = 1_000


class Past(msgspec.Struct, frozen=True):
    """One change: what it was, its bytes, and the line as it stood before (None: new, or not known)."""

    seq: int
    change: Change
    payload: bytes
    before: Item | None
    # False where the change was read back from the stream, which does not know what stood before.
    known: bool = True

    @property
    def subject(self) -> str:
        """The id of the item that changed."""
        return self.change.item.id if isinstance(self.change, ItemChanged) else self.change.id

    @property
    def version(self) -> int:
        """Which version of it the change brought."""
        return self.change.item.version if isinstance(self.change, ItemChanged) else self.change.version

    def for_reader(self, selection: Selection) -> bytes | None:
        """The payload that a reader with `selection` gets for this change; None for nothing."""
        change = self.change
        if isinstance(change, Removed):
            # A kill goes to everyone, whatever is known of where the line was seen.
            seen = change.reason == "killed" or self.before is None or selection.matches(self.before)
            return self.payload if seen else None
        if selection.matches(change.item):
            return self.payload
        held = selection.matches(self.before) if self.before is not None else not self.known and change.item.version > 1
        if not held:
            return None
        # It left the selection. A reader ignores the removal of a line that it does not have.
        return encode(Removed(cursor=change.cursor, id=change.item.id, version=change.item.version, reason="expired"))


def place(item: Item) -> tuple[bool, str, str]:
    """A line's place in a ticker, higher first: pinned, then newest. Clients sort by the same three properties."""
    return item.pinned, item.published_at, item.id


class Ticker:
    """The state of one edition at `epoch`.`seq`. Not ready (`epoch` is empty) until `load` was called."""

    def __init__(self, edition: Edition) -> None:
        self.edition = edition
        self.epoch = ""
        self.seq = 0
        self.lines: dict[str, Item] = {}
        self.ring: deque[Past] = deque(maxlen=RING)
        # What was trimmed: nothing at or before it can be replayed.
        self.floor = 0
        self._starts = 0
        # The latest change that may have let a hidden line back into somebody's ticker.
        self._refilled = 0

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.epoch, self.seq)

    def load(
        self,
        epoch: str,
        seq: int,
        lines: Iterable[Item],
        past: Iterable[Past] = (),
        *,
        starts: int | None = None,
        floor: int = 0,
    ) -> None:
        """Start over from what Redis holds. `past` is every change after `starts` up to `seq`, but what kills took."""
        self.epoch, self.seq = epoch, seq
        self.lines = {item.id: item for item in lines}
        self.ring = deque(past, maxlen=RING)
        self._starts = seq if starts is None else starts
        self.floor = floor
        removals = sum(1 for each in self.ring if isinstance(each.change, Removed))
        crowded = len(self.lines) + removals > self.edition.size
        self._refilled = max((each.seq for each in self.ring if crowded and self.may_refill(each)), default=0)

    def apply(self, seq: int, change: Change, payload: bytes) -> Past:
        """Take in the next change."""
        if len(self.ring) == RING:
            self._starts = self.ring[0].seq
        if isinstance(change, ItemChanged):
            item = change.item
            past = Past(seq, change, payload, self.lines.get(item.id))
            self.lines[item.id] = item
        else:
            past = Past(seq, change, payload, self.lines.pop(change.id, None))
        self.seq = seq
        self.floor = max(self.floor, seq - self.edition.log)
        if self.may_refill(past) and (past.before is None or len(self.lines) >= self.edition.size):
            self._refilled = seq
        if isinstance(change, Removed) and change.reason == "killed":
            # The ring keeps the tombstone alone; only this return still knows which selections saw the line.
            self._scrub(change.id)
            self.ring.append(Past(seq, change, payload, None))
        else:
            self.ring.append(past)
        return past

    def shown(self, selection: Selection) -> list[Item]:
        """The lines that a reader with `selection` has in its ticker."""
        matching = [item for item in self.lines.values() if selection.matches(item)]
        return sorted(matching, key=place, reverse=True)[: self.edition.size]

    def snapshot(self, selection: Selection) -> bytes:
        """Encode the whole ticker for a reader with `selection`."""
        return encode(Snapshot(edition=self.edition.code, cursor=str(self.cursor), items=self.shown(selection)))

    def refills(self, past: Past, selection: Selection) -> bool:
        """Whether the change let an older line back into the reader's ticker, so that it needs a fresh snapshot.

        Asked right after `apply`. Cheap for what is common: a new line can only push others out.
        """
        before = past.before
        if before is None and isinstance(past.change, Removed):
            # A kill took the line from Redis before this process read it. A reader that came over from another process
            # showed it until now, and what that kept from view cannot be told from here.
            return any(selection.matches(item) for item in self.lines.values())
        if not past.known or before is None or not selection.matches(before):
            return False
        if isinstance(past.change, ItemChanged):
            item = past.change.item
            if selection.matches(item) and place(item) >= place(before):
                return False
        matching = [item for item in self.lines.values() if selection.matches(item)]
        if len(matching) < self.edition.size:
            return False  # with a place to spare, every line was shown anyway
        return sum(1 for item in matching if place(item) > place(before)) < self.edition.size

    def may_refill(self, past: Past) -> bool:
        """Whether the change may let an older line back into some selection's ticker. Cheap; `refills` knows better."""
        change = past.change
        if isinstance(change, Removed):
            return True
        if past.before is None:
            return not past.known and change.item.version > 1
        before, item = past.before, change.item
        return (
            place(item) < place(before)
            or item.section != before.section
            or item.regions != before.regions
            or item.urgency > before.urgency
        )

    def may_refill_since(self, seq: int) -> bool:
        """Whether a hidden line may have come back since `seq`, so that a snapshot must follow the changes."""
        return seq < self._refilled

    def covers(self, seq: int) -> bool:
        """Whether everything after `seq` is in memory."""
        return self._starts <= seq <= self.seq

    def since(self, seq: int) -> Iterator[Past]:
        """The changes after `seq`, oldest first. Ask `covers` before."""
        first = bisect_right(self.ring, seq, key=lambda past: past.seq)
        return islice(self.ring, first, None)

    def _scrub(self, item_id: str) -> None:
        """Forget the text of a killed line, so that no replay holds it (the ring keeps only its tombstone)."""
        self.ring = deque((past for past in self.ring if past.subject != item_id), maxlen=RING)
