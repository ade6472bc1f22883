"""Audience: the readers of one edition, in groups that get the same bytes. The Hub writes to them."""

from array import array
from collections import Counter
from typing import TYPE_CHECKING

from service.domain.frames import websocket
from service.domain.selection import Selection
from service.domain.ticker import Past, Ticker
from service.gateway.shown import Shown
from service.gateway.trail import Heard

if TYPE_CHECKING:
    from service.gateway.delivery import Delivery
    from service.gateway.reader import Reader


class Group:
    """The readers of one selection: they share every byte."""

    __slots__ = (
        "_row",
        "acked",
        "audience",
        "losses",
        "members",
        "pending_snapshot",
        "selection",
        "size",
        "snapshot_at",
        "snapshot_frame",
    )

    def __init__(self, audience: "Audience", selection: Selection) -> None:
        self.audience = audience
        self.selection = selection
        # Those that are at the audience's `passed`; early and lagging ones are not among them.
        self.members: dict[Reader, None] = {}
        # How often a member was lost, or could not be written to.
        self.losses = 0
        self._row: tuple[list[Reader], array[int]] | None = None
        self.size = 0
        # How many readers have confirmed up to which seq.
        self.acked: Counter[int] = Counter()
        self.pending_snapshot = False
        self.snapshot_at = ("", -1)
        self.snapshot_frame = b""

    def add(self, reader: "Reader") -> None:
        """Take in a member."""
        self.members[reader] = None
        self._row = None

    def discard(self, reader: "Reader") -> None:
        """Let a member go, if it is one."""
        if reader in self.members:
            del self.members[reader]
            self.lost()

    def lost(self) -> None:
        """A member may not be written to any more: its socket is full, or will be closed."""
        self.losses += 1
        self._row = None

    def row(self) -> "tuple[list[Reader], array[int]]":
        """The members and, in the same order, their sockets (-1: write by the transport); made once per change."""
        if self._row is None:
            readers = list(self.members)
            self._row = readers, array("i", [reader.fd for reader in readers])
        return self._row

    def snapshot(self) -> bytes:
        """The finished frame with the whole ticker, made once per change."""
        ticker = self.audience.ticker
        at = (ticker.epoch, ticker.seq)
        if self.snapshot_at != at:
            self.snapshot_frame = websocket(ticker.snapshot(self.selection))
            self.snapshot_at = at
        return self.snapshot_frame


class Audience:
    """The readers of one edition."""

    def __init__(self, ticker: Ticker) -> None:
        self.ticker = ticker
        self.groups: dict[Selection, Group] = {}
        self.readers: set[Reader] = set()
        # Readers that know more than what the passes have delivered: they join their group when a pass gets there.
        self.early: set[Reader] = set()
        # Readers that were skipped because they had not drained.
        self.lagging: set[Reader] = set()
        self.pending: list[Past] = []
        # The round of writes that is under way.
        self.delivery: Delivery | None = None
        # Each pending change's way so far, by seq.
        self.heard: dict[int, Heard] = {}
        # When readers confirmed the latest changes.
        self.shown = Shown()
        self.restarted = False
        self.passed = -1
        # Since when the service hears no news of this edition; None while it does.
        self.since: str | None = None

    def group(self, selection: Selection) -> Group:
        """The group of a selection, made when its first reader comes."""
        group = self.groups.get(selection)
        if group is None:
            group = self.groups[selection] = Group(self, selection)
        return group
