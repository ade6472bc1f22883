"""Sheets: what each process of one port has counted, where the others can read it. A scrape reaches only one of them.

A folder of our own has a slot for each process: a lock, which the kernel lets go of however the process ends, and a
sheet. Gauges count while the lock is held. Counters stay, and the process that starts in a dead one's place goes on
from them, so that the slots are as many as there ever were processes at once.
"""

import fcntl
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

# How `web/server.py` tells its processes of the folder. No setting: nobody else sets it.
VARIABLE = "_STOPPRESS_SHEETS"


class Sheet(msgspec.Struct, frozen=True, array_like=True):
    """One process's numbers, by metric: values by labels; a histogram's counts and sum."""

    counters: dict[str, list[tuple[list[str], float]]]
    histograms: dict[str, tuple[list[int], float]]
    gauges: dict[str, list[tuple[list[str], float]]]


log = structlog.get_logger(__name__)

BLANK = Sheet({}, {}, {})

_decoder = msgspec.json.Decoder(Sheet)


class Seen(NamedTuple):
    """Another process's sheet. Of one that has ended only the counters mean anything."""

    sheet: Sheet
    alive: bool


class Sheets:
    """This process's slot, for as long as it lives. `left` is what a dead process left in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for slot in count():
            lock = self._open(slot)
            if _locked(lock, fcntl.LOCK_EX):
                break
            os.close(lock)
        self.slot = slot
        self._lock = lock
        self.left = msgspec.structs.replace(self._read(slot), gauges={})
        self.write(self.left)

    def write(self, sheet: Sheet) -> None:
        """Show a new sheet; who reads sees the old one or the new one, never half.

        A disk that is full costs the others what is new here, and this process nothing.
        """
        new = self._folder / f"{self.slot}.new"
        try:
            new.write_bytes(msgspec.json.encode(sheet))
            new.replace(self._folder / f"{self.slot}.json")
            # Whoever tidies temporary folders takes what is old for forgotten.
            os.utime(self._lock)
        except OSError as error:
            log.debug("sheet not written", error=str(error))

    def others(self) -> Iterator[Seen]:
        """Every other process's sheet."""
        for path in self._folder.glob("*.lock"):
            slot = int(path.stem)
            if slot == self.slot:
                continue
            lock = self._open(slot)
            try:
                # Had for a moment, so that a process that starts just now may take another slot. That does no harm.
                alive = not _locked(lock, fcntl.LOCK_SH)
            finally:
                os.close(lock)
            yield Seen(self._read(slot), alive)

    def close(self) -> None:
        """Leave the slot; what was counted stays."""
        os.close(self._lock)

    def _open(self, slot: int) -> int:
        return os.open(self._folder / f"{slot}.lock", os.O_RDWR | os.O_CREAT, 0o600)

    def _read(self, slot: int) -> Sheet:
        try:
            return _decoder.decode((self._folder / f"{slot}.json").read_bytes())
        except FileNotFoundError:
            return BLANK


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
