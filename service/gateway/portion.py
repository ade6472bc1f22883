"""Portion: as much of what a reader gets as one write may hold.

A reader that stops reading keeps the rest of its last write in memory, and for itself: uvloop cuts off what the kernel
took by copying. With what the kernel holds (`web/server.py`) that is all that a stuck reader costs.
"""

from collections.abc import Iterator
from typing import NamedTuple

from service.domain.frames import websocket
from service.domain.selection import Selection
from service.domain.ticker import Past

# Some fifty lines; one more change may go beyond it. Below 64 KB with what the kernel holds, with room for the socket
# itself. A snapshot is one frame and cannot be cut: a ticker of ten lines is some 5 KB, larger ones are configured.
LONGEST_WRITE = 24_000


class Portion(NamedTuple):
    """Finished frames, and the seq up to which they go. `last`: nothing follows."""

    data: bytes
    seq: int
    last: bool


def portion(changes: Iterator[Past], selection: Selection, seq: int) -> Portion:
    """Take the next write's worth of changes, for a reader at `seq`."""
    frames = []
    size = 0
    for past in changes:
        seq = past.seq
        payload = past.for_reader(selection)
        if payload is not None:
            frames.append(websocket(payload))
            size += len(payload)
            if size >= LONGEST_WRITE:
                return Portion(b"".join(frames), seq, last=False)
    return Portion(b"".join(frames), seq, last=True)


def portions(changes: Iterator[Past], selection: Selection, seq: int) -> list[Portion]:
    """Take all changes; without a portion where they hold nothing for the reader."""
    taken = []
    while True:
        each = portion(changes, selection, seq)
        seq = each.seq
        if each.data:
            taken.append(each)
        if each.last:
            return taken
