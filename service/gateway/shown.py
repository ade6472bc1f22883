"""Shown: when this process's readers confirmed each of the latest changes. How many do so now, the reach sheet says.

An ack is cumulative, so it counts for every change between the reader's last one and itself. What a reader held it back
on purpose is taken off: what is measured is the paint, and the way of the ack.
"""

import time
from bisect import bisect_left
from collections import Counter, deque
from typing import TYPE_CHECKING

from service.store.hops import BOUNDS, Tally

if TYPE_CHECKING:
    from service.domain.ticker import Past

# How many changes back acks are still counted: a page that shows nothing for longer has a newer one to confirm.
LATEST = 50


class Change:
    """One change on its way to the screens."""

    __slots__ = ("accepted_ms", "counts", "dirty", "first_ms", "item_id", "seq", "version")

    def __init__(self, past: "Past", accepted_ms: int) -> None:
        self.seq = past.seq
        self.item_id = past.subject
        self.version = past.version
        self.accepted_ms = accepted_ms
        self.first_ms: int | None = None
        self.counts: Counter[int] = Counter()
        self.dirty = False


class Shown:
    """The latest changes of one edition, as far as this process's readers have confirmed them."""

    def __init__(self) -> None:
        self._changes: deque[Change] = deque(maxlen=LATEST)

    def begin(self, past: "Past", accepted_ms: int) -> None:
        """A change goes out."""
        self._changes.append(Change(past, accepted_ms))

    def restart(self) -> None:
        """Another log: its seqs mean other changes."""
        self._changes.clear()

    def confirmed(self, after: int, up_to: int, held_ms: int) -> None:
        """A reader that had confirmed everything up to `after` shows everything up to `up_to`."""
        now_ms = time.time_ns() // 1_000_000 - held_ms
        for change in reversed(self._changes):
            if change.seq <= after:
                return
            if change.seq <= up_to:
                took_ms = max(0, now_ms - change.accepted_ms)
                if change.first_ms is None or took_ms < change.first_ms:
                    change.first_ms = took_ms
                change.counts[bisect_left(BOUNDS, took_ms)] += 1
                change.dirty = True

    def news(self) -> dict[tuple[str, int], Tally]:
        """What was confirmed since it was last asked, by item and version; each tally is whole."""
        told = {}
        for change in self._changes:
            if change.dirty and change.first_ms is not None:
                change.dirty = False
                told[change.item_id, change.version] = Tally(change.first_ms, sorted(change.counts.items()))
        return told

    def untold(self) -> None:
        """Redis did not take what was asked for: all of it is news again."""
        for change in self._changes:
            change.dirty = True
