"""Chain: proves that audit entries are all there, in order and as they were written.

    link of entry n = SHA-1(link of entry n - 1, then SHA-256 of entry n), both in hex; before the first: 40 zeros

Whoever can write to Redis can also write a whole new chain. An export that is kept elsewhere shows that: its links are
no longer those at the same places.
"""

from hashlib import sha1, sha256
from typing import NamedTuple

import msgspec

START = "0" * 40


class Linked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One audit entry in its place; also a line of an export. `entry` is the very text that was hashed.

    `n` and `link` are None for what was written before there was a chain. `after` is the link before it, told only of
    the first of an export that starts in the middle.
    """

    edition: str
    id: str
    n: int | None
    link: str | None
    entry: str
    after: str | None = None


class End(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the chain of an edition ends; also the line that closes an edition in an export."""

    edition: str
    count: int
    head: str


class Place(NamedTuple):
    """What was at one place of the chain."""

    link: str
    digest: str


def digest_of(entry: bytes) -> str:
    """The SHA-256 of an entry, in hex."""
    return sha256(entry).hexdigest()


def link_after(head: str, digest: str) -> str:
    """The link of the entry with this digest after `head`, as `accept.lua` makes it."""
    return sha1((head + digest).encode(), usedforsecurity=False).hexdigest()


class Chain:
    """Walks along the chain of one edition; keeps the first fault that it meets.

    `earlier` has the places that an older export proves; `remember` collects them from that. `kept`: how many entries
    Redis keeps before it trims any, and how many it has; None for an export, which may start anywhere.
    """

    def __init__(
        self,
        edition: str,
        *,
        earlier: dict[int, Place] | None = None,
        kept: tuple[int, int] | None = None,
        remember: bool = False,
    ) -> None:
        self.edition = edition
        self.first: Linked | None = None
        self.last: Linked | None = None
        self.unlinked = 0
        # Whether the first entry's own text is proven: not where all before it was trimmed.
        self.anchored = True
        self.fault: str | None = None
        self.length = 0
        self.places: dict[int, Place] = {}
        self._remember = remember
        self._earlier = earlier or {}
        self._kept = kept
        self._head = START
        self._n = 0

    def add(self, each: Linked) -> None:
        """Take the next entry."""
        if self.fault:
            return
        if self.first is None and each.n is None and each.link is None:
            self.unlinked += 1
            return
        digest = digest_of(each.entry.encode())
        if self.first is None and each.n is not None:
            self._begin(each)
        self.fault = self.fault or self._look(each, digest)
        if self.fault or each.link is None:
            return
        self.first = self.first or each
        self.last = each
        self._n += 1
        self._head = each.link
        self.length += 1
        if self._remember:
            self.places[self._n] = Place(each.link, digest)

    def close(self, end: End | None) -> None:
        """Compare with where the chain must end. None: nothing says where."""
        if self.fault:
            return
        if end is None:
            self.fault = f"after n {self._n}: expected the line that closes the edition, got the end of the file"
        elif self._n != end.count:
            where = self.last.id if self.last else "none"
            self.fault = f"at the end: expected n {end.count} to be the last, got n {self._n} (id {where})"
        elif self._head != end.head:
            self.fault = f"n {self._n}: expected the last link {end.head}, got {self._head}"
        elif self._earlier:
            self.fault = self._behind()

    def _begin(self, each: Linked) -> None:
        """Find what the first entry hangs on."""
        n = each.n or 0
        if n <= 1:
            return
        if self._kept and self._kept[1] < self._kept[0]:
            # Redis trims only what is more than that.
            self.fault = (
                f"n 1: expected the first entry, got n {n} (id {each.id}); {self._kept[1]} entries are kept, and none "
                f"is trimmed below {self._kept[0]}"
            )
            return
        self._n = n - 1
        known = self._earlier.get(n - 1)
        head = each.after or (known.link if known else None)
        self.anchored = head is not None
        self._head = head or ""

    def _look(self, each: Linked, digest: str) -> str | None:
        wanted = self._n + 1
        where = f"n {wanted}, id {each.id}"
        if each.n != wanted:
            return f"{where}: expected n {wanted}, got {'none' if each.n is None else each.n}"
        # Without what it hangs on, the first of a trimmed log can only be believed.
        link = link_after(self._head, digest) if self._head else each.link
        if each.link is None or each.link != link:
            return f"{where}: expected the link {link}, got {each.link or 'none'}"
        older = self._earlier.get(wanted)
        if older and older != Place(each.link, digest):
            return f"{where}: expected the link {older.link} of the earlier export, got {each.link}"
        self.anchored = self.anchored or older is not None
        return None

    def _behind(self) -> str | None:
        """Why the older export is no part of this; None: it is."""
        last = max(self._earlier)
        if self._n < last:
            return f"at the end: expected n {last} of the earlier export, got n {self._n} as the last"
        if self.first and (self.first.n or 0) > last + 1:
            return f"n {last + 1}: expected what follows the earlier export, got n {self.first.n} as the first"
        return None
