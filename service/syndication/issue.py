"""Issue: an edition's lines as of a moment, from which each feed's document is made. Pure."""

from collections import deque
from collections.abc import Iterable

import msgspec

from service.domain.edition import Edition
from service.domain.frames import Removed
from service.domain.item import Item
from service.domain.selection import EVERYTHING, Selection
from service.domain.ticker import Past, Ticker

# How many retractions a feed names, the latest. Older ones were of lines that have expired long since.
MOST_KILLED = 100
MEDIA_TOPICS = "http://cv.iptc.org/newscodes/mediatopic/"
URGENCIES = ("flash", "bulletin", "urgent", "routine")


class Killed(msgspec.Struct, frozen=True):
    """What is left of a killed line. `at` (RFC 3339) is never before its last version."""

    id: str
    version: int
    at: str


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """What a document says.

    `address` is the document's own, `page` the edition's for people, both absolute. `noticed` (RFC 3339) is when
    this process found the ticker like this.
    """

    edition: Edition
    items: list[Item]
    killed: list[Killed]
    selection: Selection = EVERYTHING
    address: str
    page: str
    noticed: str

    @property
    def urn(self) -> str:
        """The feed's name: another selection is another feed. No item's id has a `=` in it."""
        asked = [f"{name}={term}" for name, term in terms(self.selection)]
        return ":".join([f"urn:stoppress:{self.edition.code}", *asked])

    @property
    def updated(self) -> str:
        """When a line last changed."""
        moments = [*(changed(item) for item in self.items), *(killed.at for killed in self.killed)]
        return max(moments, default=self.noticed)

    def name(self, item_id: str) -> str:
        """An item's name, the same for all its versions and in every feed."""
        return f"urn:stoppress:{self.edition.code}:{item_id}"


def terms(selection: Selection) -> list[tuple[str, str]]:
    """A selection as the one query that stands for it, however it was asked for."""
    return [
        *(("section", section) for section in sorted(selection.sections)),
        *(("region", region) for region in sorted(selection.regions)),
        *([("urgency", str(selection.urgency))] if selection.urgency < EVERYTHING.urgency else []),
    ]


def line(item: Item) -> str:
    """A line as one text: who says it, and what."""
    return f"{item.speaker}: {item.headline}" if item.speaker else item.headline


def changed(item: Item) -> str:
    """When the public last got something new of it: a line under embargo was made before it became public."""
    return max(item.version_created, item.published_at)


def kills(ring: Iterable[Past]) -> list[Removed]:
    """The latest kills among the changes that are in memory, newest first. A kill concerns every selection."""
    found = deque(
        (past.change for past in ring if isinstance(past.change, Removed) and past.change.reason == "killed"),
        maxlen=MOST_KILLED,
    )
    return list(reversed(found))


class Obituary:
    """When this process learnt of each kill, which neither the log nor a tombstone in it says.

    Too late after a restart, never too early: RFC 6721 has readers pass over a deletion that is older than the entry.
    """

    def __init__(self) -> None:
        self._at: dict[str, str] = {}

    def note(self, item_id: str, now: str) -> None:
        """A kill was heard just now. More than a feed names are not remembered."""
        self._at[item_id] = now
        if len(self._at) > MOST_KILLED:
            del self._at[next(iter(self._at))]

    def of(self, ticker: Ticker, now: str) -> list[Killed]:
        """The kills that the ticker still knows of. One that nobody noted was read back from the log."""
        found = kills(ticker.ring)
        self._at = {each.id: self._at.get(each.id, now) for each in reversed(found)}
        return [Killed(each.id, each.version, self._at[each.id]) for each in found]
