"""Shelf: the finished documents of this process, each made once per change and address, however many ask."""

import gzip
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from service.domain.frames import Removed
from service.domain.instant import format_ms
from service.domain.selection import Selection
from service.domain.ticker import Past, Ticker
from service.syndication import atom, jsonfeed, ninjs
from service.syndication.issue import Issue, Obituary

# Documents of one edition that are kept, the latest asked for; the others are made again. Selections and the names
# under which the service is reached are the caller's choice, so there is no end of them.
MOST = 64


class Kind(NamedTuple):
    """One of the feeds: the last part of its address, its media type, and who writes it."""

    name: str
    media_type: str
    write: Callable[[Issue], bytes]


ATOM = Kind("feed.atom", atom.MEDIA_TYPE, atom.atom)
JSONFEED = Kind("feed.json", jsonfeed.MEDIA_TYPE, jsonfeed.jsonfeed)
NINJS = Kind("ninjs", ninjs.MEDIA_TYPE, ninjs.ninjs)


class Document(NamedTuple):
    """A document, plain and compressed. `tag` is the same in every process that has the same lines."""

    plain: bytes
    gzipped: bytes
    tag: str

    @classmethod
    def of(cls, kind: Kind, issue: Issue) -> "Document":
        """Write an issue."""
        plain = kind.write(issue)
        # Each process has its own moments of a kill: they are left out, and so the tag is a weak one (RFC 9110,
        # section 8.8.1), which both codings may share.
        timeless = [msgspec.structs.replace(killed, at="") for killed in issue.killed]
        same = kind.write(msgspec.structs.replace(issue, killed=timeless, noticed=""))
        return cls(plain, gzip.compress(plain, mtime=0), f'W/"{hashlib.sha256(same).hexdigest()[:20]}"')


class Stand:
    """The documents of one edition as its ticker is now, and since when (ms) this process has it like this."""

    def __init__(self) -> None:
        self.since_ms = 0
        self._at = ("", -1)
        self._obituary = Obituary()
        self._documents: OrderedDict[str, Document] = OrderedDict()

    def look(self, ticker: Ticker, now_ms: int) -> None:
        """Put away what is of an earlier state."""
        at = (ticker.epoch, ticker.seq)
        if at != self._at:
            self._at, self.since_ms = at, now_ms
            self._documents.clear()

    def hear(self, past: Past, now_ms: int) -> None:
        """Put everything away at a change: a killed line's text is not kept until somebody asks again."""
        self._documents.clear()
        if isinstance(past.change, Removed) and past.change.reason == "killed":
            self._obituary.note(past.change.id, format_ms(now_ms))

    def document(self, kind: Kind, ticker: Ticker, selection: Selection, address: str, page: str) -> Document:
        """The document at `address`. Ask `look` before."""
        found = self._documents.get(address)
        if found is None:
            noticed = format_ms(self.since_ms)
            issue = Issue(
                edition=ticker.edition,
                items=ticker.shown(selection),
                killed=self._obituary.of(ticker, noticed),
                selection=selection,
                address=address,
                page=page,
                noticed=noticed,
            )
            found = self._documents[address] = Document.of(kind, issue)
            if len(self._documents) > MOST:
                self._documents.popitem(last=False)
        self._documents.move_to_end(address)
        return found


class Shelf:
    """The stands of all editions."""

    def __init__(self) -> None:
        self._stands: dict[str, Stand] = {}

    def heard(self, edition: str, past: Past) -> None:
        """A change came in."""
        self._stands.setdefault(edition, Stand()).hear(past, time.time_ns() // 1_000_000)

    def stand(self, ticker: Ticker, now_ms: int) -> Stand:
        """The stand of a ticker's edition, up to date."""
        stand = self._stands.setdefault(ticker.edition.code, Stand())
        stand.look(ticker, now_ms)
        return stand
