"""Delivery: what is pending for an audience, written to each of its readers. The service's hot loop.

What a reader gets is made once for all whose selections let the same changes through, and then is one `write` each.
"""

import os
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from service.domain.ticker import Past
from service.gateway.audience import Audience, Group
from service.gateway.portion import Portion, portions
from service.gateway.reader import Reader

# The loop gets control back after this long, so that handshakes and the Feed are not kept waiting.
SLICE_SECONDS = 0.004
# Looking at the clock costs as much as a third of a write; every so many writes is often enough.
SLICE_WRITES = 64


class Row(NamedTuple):
    """A group as it was when the delivery began, and the snapshot that it is due, if it is."""

    group: Group
    readers: list[Reader]
    sockets: "array[int]"
    losses: int
    snapshot: bytes | None


class Delivery:
    """One round of writes to an audience's members, which are all at `base`, of what has come since.

    Everything that readers who join meanwhile have in their snapshots is settled when it is made; then `run` may take
    its time. `skip` is told of each reader that could not be written to. `written` counts the others.
    """

    def __init__(
        self,
        audience: Audience,
        pending: Sequence[Past],
        base: int,
        skip: Callable[[Reader, int], None],
        *,
        restarted: bool,
    ) -> None:
        self.written = 0
        self._seq = audience.ticker.seq
        self._pending = () if restarted else pending
        self._base = -1 if restarted else base
        self._skip = skip
        self._kills = 0
        self._shared: dict[tuple[bytes | None, ...], list[Portion]] = {}
        self._rows = []
        for group in audience.groups.values():
            snapshot = group.snapshot() if restarted or group.pending_snapshot else None
            group.pending_snapshot = False
            if group.members:
                self._rows.append(Row(group, *group.row(), group.losses, snapshot))

    def kill(self, item_id: str) -> None:
        """Whoever has not been written to yet does not get the text of this item any more."""
        self._pending = [past for past in self._pending if past.subject != item_id]
        self._shared.clear()
        self._kills += 1

    def run(self) -> Iterator[None]:
        """Write to everyone; yields whenever it is time to let others at the loop."""
        write = os.write
        ends = time.perf_counter() + SLICE_SECONDS
        work = 0
        for row in self._rows:
            group, readers, sockets, losses, _ = row
            kills = -1
            for start in range(0, len(readers), SLICE_WRITES):
                if kills != self._kills:
                    kills = self._kills
                    batch = self._batch(row)
                    work += 1
                    if not batch:
                        break
                    data, rest = batch[0].data, batch[1:]
                    size = len(data)
                if group.losses != losses:
                    # Somebody left or lags since: another connection may have the same number by now.
                    losses = group.losses
                    sockets = array("i", [reader.fd for reader in readers])
                chunk = sockets[start : start + SLICE_WRITES]
                # Not by the transport, nor by the reader: to ask these what is known here takes longer than to write.
                for at, fd in enumerate(chunk, start):
                    sent = 0
                    if fd >= 0:
                        try:  # noqa: SIM105 - a context manager costs more than all else here
                            sent = write(fd, data)
                        except OSError:
                            pass  # full, or gone: the transport finds out which
                    if sent != size or rest:
                        self._go_on(readers[at], batch, sent)
                self.written += len(chunk)
                work += len(chunk)
                if work >= SLICE_WRITES:
                    work = 0
                    if time.perf_counter() > ends:
                        yield
                        ends = time.perf_counter() + SLICE_SECONDS

    def _batch(self, row: Row) -> list[Portion]:
        """What a group gets: none where none of it lies within its selection."""
        selection = row.group.selection
        outcome = tuple([past.for_reader(selection) for past in self._pending])
        batch = self._shared.get(outcome)
        if batch is None:
            batch = self._shared[outcome] = portions(iter(self._pending), selection, self._base)
        if row.snapshot is None:
            return batch
        # It is enough by itself where what it follows would be long.
        before = batch[0].data if len(batch) == 1 else b""
        return [Portion(before + row.snapshot, self._seq, last=True)]

    def _go_on(self, reader: Reader, batch: list[Portion], sent: int) -> None:
        """Write what the socket did not take of the first portion, and the others. Who does not take one is skipped."""
        if reader.paused:
            self.written -= 1
            self._skip(reader, self._base)
            return
        (data, seq, _), *rest = batch
        try:
            if sent < len(data):
                reader.transport.write(data[sent:])
            for each in rest:
                if reader.blocked():
                    self._skip(reader, seq)
                    return
                reader.transport.write(each.data)
                seq = each.seq
        except RuntimeError:
            # uvloop says so when the handle is closed; one dead reader must not end the round for the others.
            self.written -= 1
            reader.connection_lost(None)
