"""Ticker: Zulip's rule. What a reader had, with the changes it got since, is what a fresh snapshot would show."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain import ticker as ticker_module
from service.domain.frames import Beat, ItemChanged, Removed, Snapshot, decode_message, decode_news, encode
from service.domain.instant import parse_ms
from service.domain.item import Change, Item
from service.domain.lifecycle import Decision, Entry, Record, act, change, create, fall_due
from service.domain.selection import EVERYTHING, Selection
from service.domain.ticker import Past, Ticker
from service.errors import ConflictError
from tests.unit.samples import EN, NOW_MS, draft, item

SECTIONS = ("politics", "sports")
REGIONS = ([], ["asia"], ["africa", "asia"])
EDITS: tuple[dict[str, Any], ...] = (
    {"section": "politics"},
    {"section": "sports"},
    {"regions": []},
    {"regions": ["asia"]},
    {"urgency": 1},
    {"urgency": 4},
    {"headline": "new"},
    {"section": "sports", "urgency": 1, "regions": ["africa"]},
)
SELECTIONS = (
    EVERYTHING,
    Selection(sections=frozenset({"politics"})),
    Selection(regions=frozenset({"asia"})),
    Selection(urgency=2),
    Selection(sections=frozenset({"sports"}), urgency=3),
)
# So small that histories run out of it.
RING = 8


def resume(ticker: Ticker, seq: int, selection: Selection) -> list[bytes]:
    """What the gateway sends to a reader at `seq`: the changes it sees, and a snapshot if a hidden line came back."""
    payloads = [payload for past in ticker.since(seq) if (payload := past.for_reader(selection)) is not None]
    return [*payloads, ticker.snapshot(selection)] if ticker.may_refill_since(seq) else payloads


class Log:
    """What Redis holds of an edition, in the words of accept.lua and append.lua."""

    def __init__(self) -> None:
        self.outbox: list[Entry] = []
        self.live: dict[str, str] = {}
        self.stream: dict[int, tuple[str, bytes]] = {}
        self.seq = 0

    def accept(self, decision: Decision) -> None:
        entry, killed = decision.entry, decision.record.state == "killed"
        if killed:
            self.live.pop(decision.record.id, None)
            self.stream = {seq: kept for seq, kept in self.stream.items() if kept[0] != decision.record.id}
            self.outbox = [waiting for waiting in self.outbox if waiting.id != decision.record.id]
        if entry is not None:
            self.outbox.insert(0 if killed else len(self.outbox), entry)

    def append(self) -> None:
        entry = self.outbox.pop(0)
        self.seq += 1
        cursor = f"e.{self.seq}"
        if entry.kind == "item":
            assert entry.wire is not None
            payload = f'{{"type":"item","cursor":"{cursor}","item":{entry.wire}}}'.encode()
            self.live[entry.id] = entry.wire
        else:
            assert entry.reason is not None
            payload = encode(Removed(cursor=cursor, id=entry.id, version=entry.version, reason=entry.reason))
            self.live.pop(entry.id, None)
        self.stream[self.seq] = (entry.id, payload)

    def past(self, after: int) -> list[Past]:
        """What store/log.py reads: the changes after `after`, not knowing what stood before."""
        return [
            Past(seq, _change(payload), payload, None, known=False)
            for seq, (_, payload) in sorted(self.stream.items())
            if seq > after
        ]

    def lines(self) -> list[Item]:
        return [msgspec.json.decode(wire, type=Item) for wire in self.live.values()]

    @property
    def dying(self) -> set[str]:
        """The killed lines whose tombstone still waits."""
        return {entry.id for entry in self.outbox if entry.reason == "killed"}


class Screen:
    """A client written from the protocol's words: keep everything, show the first `size`."""

    def __init__(self, selection: Selection, size: int) -> None:
        self.selection = selection
        self.size = size
        self.seq = 0
        self.lines: dict[str, Item] = {}

    def take(self, payload: bytes) -> None:
        match decode_message(payload):
            case Snapshot(items=items):
                self.lines = {line.id: line for line in items}
            case ItemChanged(item=line):
                self.lines[line.id] = line
            case Removed(id=item_id):
                self.lines.pop(item_id, None)

    def leaving(self, seq: int) -> "Screen":
        """A copy that has got up to `seq`."""
        copy = Screen(self.selection, self.size)
        copy.seq, copy.lines = seq, dict(self.lines)
        return copy

    def shows(self) -> list[Item]:
        order = sorted(self.lines.values(), key=lambda line: (line.pinned, line.published_at, line.id), reverse=True)
        return order[: self.size]


def _change(payload: bytes) -> ItemChanged | Removed:
    news = decode_news(payload)
    assert not isinstance(news, Beat)
    return news


class Newsroom:
    """Editors, a log, a process's ticker and its readers."""

    def __init__(self, size: int) -> None:
        self.edition = msgspec.structs.replace(EN, size=size)
        self.now_ms = NOW_MS
        self.records: dict[str, Record] = {}
        self.log = Log()
        self.screens: list[Screen] = []
        self.away: list[Screen] = []
        self.ticker = Ticker(self.edition)
        self.ticker.load("e", 0, [])
        self.more_screens()

    # What editors and the clock do. `one` and `two` choose among what there is to choose.

    def nothing(self, one: int, two: int) -> None:
        """The plainest step, which a failing history is reduced to."""

    def publish(self, one: int, two: int) -> None:
        self.now_ms += (0, 1, 1000)[one % 3]
        given = draft(
            # Ids that do not rise with time: the order must not hang on it.
            id=f"{'zamb'[len(self.records) % 4]}{len(self.records)}",
            section=SECTIONS[one % 2],
            regions=REGIONS[one // 2 % 3],
            urgency=two % 4 + 1,
            pinned=two % 5 == 4,
        )
        self.decide(create(self.edition, given, state="live", by="ann", now_ms=self.now_ms))

    def edit(self, one: int, two: int) -> None:
        record = self.choose(one, "live", "withheld")
        if record is not None:
            given = Change.parse(msgspec.json.encode({"change": "update", **EDITS[two % len(EDITS)]}))
            with suppress(ConflictError):  # nothing would change
                self.decide(change(self.edition, record, given, version=None, by="ann", now_ms=self.now_ms))

    def withhold(self, one: int, two: int) -> None:
        self.act("withhold", self.choose(one, "live"))

    def release(self, one: int, two: int) -> None:
        self.act("release", self.choose(one, "withheld"))

    def kill(self, one: int, two: int) -> None:
        self.act("kill", self.choose(one, "live", "live", "withheld", "expired"))

    def expire(self, one: int, two: int) -> None:
        self.act("expire", self.choose(one, "live"))

    def pin(self, one: int, two: int) -> None:
        record = self.choose(one, "live", "withheld")
        self.act("unpin" if record and record.item and record.item.pinned else "pin", record)

    def time_passes(self, one: int, two: int) -> None:
        """Until the next line's time is over."""
        record = min(self.those("live"), key=lambda each: each.item.expires if each.item else "", default=None)
        if record is None or record.item is None:
            return
        self.now_ms = max(self.now_ms, parse_ms(record.item.expires, "expires"))
        for each in list(self.records.values()):
            decision = fall_due(each, self.now_ms)
            if decision is not None:
                self.decide(decision)

    def act(self, action: str, record: Record | None) -> None:
        if record is not None:
            self.decide(act(record, action, version=None, by="ann", now_ms=self.now_ms))

    def decide(self, decision: Decision) -> None:
        self.records[decision.record.id] = decision.record
        self.log.accept(decision)

    def those(self, *states: str) -> list[Record]:
        return [record for record in self.records.values() if record.state in states]

    def choose(self, which: int, *states: str) -> Record | None:
        # From the latest on, so that small numbers are those that are on the screens.
        those = self.those(*states)
        return those[-1 - which % len(those)] if those else None

    # What the worker, the Feed and the Hub do.

    def deliver(self, count: int) -> None:
        """One pass of the Hub: each group gets what it sees of the changes, then a snapshot if one refills."""
        pasts, refilled = [], set()
        for _ in range(min(count, len(self.log.outbox))):
            self.log.append()
            payload = self.log.stream[self.log.seq][1]
            past = self.ticker.apply(self.log.seq, _change(payload), payload)
            pasts.append(past)
            refilling = {each for each in SELECTIONS if self.ticker.refills(past, each)}
            assert self.ticker.may_refill(past) or not refilling
            refilled |= refilling
        for screen in self.screens:
            for past in pasts:
                seen = past.for_reader(screen.selection)
                if seen is not None:
                    screen.take(seen)
            if screen.selection in refilled:
                screen.take(self.ticker.snapshot(screen.selection))
        if pasts:
            self.more_screens()

    def another_process_starts(self, one: int, two: int) -> None:
        """It knows only what the log holds; the readers of the old one come over to it."""
        crowd = [screen.leaving(self.ticker.seq) for screen in self.screens]
        self.ticker = Ticker(self.edition)
        starts = max(0, self.log.seq - RING)
        self.ticker.load("e", self.log.seq, self.log.lines(), self.log.past(starts), starts=starts)
        for screen in crowd:
            self.resume(screen)
        self.screens = crowd
        self.more_screens()

    def more_screens(self) -> None:
        """New readers at each step, since those know least; some stay, and a copy of each goes away from here."""
        fresh = [Screen(selection, self.edition.size) for selection in SELECTIONS]
        for screen in fresh:
            screen.take(self.ticker.snapshot(screen.selection))
        self.away = [screen.leaving(self.ticker.seq) for screen in fresh] + self.away[:65]
        self.screens = fresh + self.screens[:20]

    def somebody_comes_back(self, one: int, two: int) -> None:
        screen = self.away[one % len(self.away)]
        back = screen.leaving(screen.seq)
        self.resume(back)
        self.screens.insert(0, back)

    def resume(self, screen: Screen) -> None:
        if self.ticker.covers(screen.seq):
            for payload in resume(self.ticker, screen.seq, screen.selection):
                screen.take(payload)
            return
        # From the stream, as gateway/replay.py does it.
        past = self.log.past(screen.seq)
        for each in past:
            seen = each.for_reader(screen.selection)
            if seen is not None:
                screen.take(seen)
        if any(self.ticker.may_refill(each) for each in past):
            screen.take(self.ticker.snapshot(screen.selection))

    # What must be true at every moment.

    def check(self) -> None:
        for screen in self.screens:
            self.check_screen(screen)
        for screen in self.away:
            back = screen.leaving(screen.seq)
            self.resume(back)
            self.check_screen(back)
        held = {line.id: line for line in self.ticker.lines.values() if line.id not in self.log.dying}
        assert held == {line.id: line for line in self.log.lines()}
        assert len(self.ticker.ring) <= RING
        for past in self.ticker.ring:
            assert past.before is None or past.before.id not in self.gone
            assert isinstance(past.change, Removed) or past.change.item.id not in self.gone

    def check_screen(self, screen: Screen) -> None:
        # Between the moment of a kill and its tombstone, a reader that comes from elsewhere may still hold the line.
        if self.log.dying.isdisjoint(screen.lines.keys() - self.ticker.lines.keys()):
            assert screen.shows() == self.ticker.shown(screen.selection)
        assert self.gone.isdisjoint(screen.lines)

    @property
    def gone(self) -> set[str]:
        """The killed lines whose tombstone is in the log."""
        return {each.id for each in self.those("killed")} - self.log.dying


STEPS = st.sampled_from(
    [Newsroom.nothing]
    + [Newsroom.publish] * 6
    + [Newsroom.edit] * 5
    + [Newsroom.pin] * 3
    + [Newsroom.withhold, Newsroom.kill, Newsroom.somebody_comes_back] * 2
    + [Newsroom.release, Newsroom.expire, Newsroom.time_passes, Newsroom.another_process_starts]
)
# How many waiting changes the worker appends after a step: usually all there are.
DELIVERED = st.sampled_from((9, 9, 9, 1, 0))


@pytest.fixture
def _small_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker_module, "RING", RING)


@pytest.mark.usefixtures("_small_ring")
@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(
    size=st.integers(1, 3),
    steps=st.lists(st.tuples(STEPS, st.integers(0, 11), st.integers(0, 11), DELIVERED), min_size=25, max_size=40),
)
def test_what_a_reader_had_with_the_changes_since_is_what_a_fresh_snapshot_shows(
    size: int, steps: list[tuple[Callable[[Newsroom, int, int], None], int, int, int]]
) -> None:
    newsroom = Newsroom(size)
    for step, one, two, delivered in steps:
        step(newsroom, one, two)
        newsroom.deliver(delivered)
        newsroom.check()


# Rare histories, one by one.


def _ticker(*lines: Item, size: int = 2) -> Ticker:
    ticker = Ticker(msgspec.structs.replace(EN, size=size))
    ticker.load("e", 10, lines)
    return ticker


def _apply(ticker: Ticker, change: ItemChanged | Removed) -> Past:
    return ticker.apply(ticker.seq + 1, change, encode(change))


def _kill(item_id: str) -> Removed:
    return Removed(cursor="e.11", id=item_id, version=2, reason="killed")


def test_a_kill_of_a_line_that_this_process_never_had_refills_even_a_short_ticker() -> None:
    # Two such kills at once: a reader from elsewhere had both lines on show and `a` out of view.
    ticker = _ticker(item("a"), size=2)
    past = _apply(ticker, _kill("k"))
    assert ticker.may_refill(past)
    assert ticker.refills(past, EVERYTHING)
    last = decode_message(resume(ticker, 10, EVERYTHING)[-1])
    assert isinstance(last, Snapshot)
    assert [line.id for line in last.items] == ["a"]


def test_a_kill_reaches_every_selection_whatever_is_known_of_the_line() -> None:
    ticker = _ticker(item("k", section="sports"))
    past = _apply(ticker, _kill("k"))
    for selection in SELECTIONS:
        assert past.for_reader(selection) == past.payload


def test_the_line_of_another_selection_is_not_sent_nor_is_its_expiry() -> None:
    politics = Selection(sections=frozenset({"politics"}))
    ticker = _ticker()
    line = item("s", section="sports")
    assert _apply(ticker, ItemChanged(cursor="e.11", item=line)).for_reader(politics) is None
    past = _apply(ticker, Removed(cursor="e.12", id="s", version=2, reason="expired"))
    assert past.for_reader(politics) is None


def test_a_line_that_leaves_a_selection_is_removed_there_as_expired() -> None:
    politics = Selection(sections=frozenset({"politics"}))
    ticker = _ticker(item("a", section="politics"))
    moved = item("a", section="sports", version=2)
    seen = _apply(ticker, ItemChanged(cursor="e.11", item=moved)).for_reader(politics)
    assert seen is not None
    assert decode_message(seen) == Removed(cursor="e.11", id="a", version=2, reason="expired")


def test_a_first_version_from_the_stream_is_no_news_to_those_that_do_not_see_it() -> None:
    change = ItemChanged(cursor="e.1", item=item("a", section="sports"))
    past = Past(1, change, encode(change), None, known=False)
    assert past.for_reader(Selection(sections=frozenset({"politics"}))) is None


def test_a_new_line_needs_no_snapshot() -> None:
    ticker = _ticker(item("a"), item("b"))
    past = _apply(ticker, ItemChanged(cursor="e.11", item=item("c")))
    assert not ticker.may_refill(past)
    assert resume(ticker, 10, EVERYTHING) == [past.payload]


def test_a_ticker_covers_only_what_is_in_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker_module, "RING", 3)
    ticker = _ticker()
    assert [seq for seq in range(20) if ticker.covers(seq)] == [10]
    for number in range(5):
        _apply(ticker, ItemChanged(cursor=f"e.{11 + number}", item=item(f"i{number}")))
    assert [seq for seq in range(20) if ticker.covers(seq)] == [12, 13, 14, 15]
    assert [past.seq for past in ticker.since(12)] == [13, 14, 15]
    assert not list(ticker.since(15))


def test_a_snapshot_says_its_edition_and_cursor() -> None:
    snapshot = decode_message(_ticker(item("a")).snapshot(EVERYTHING))
    assert isinstance(snapshot, Snapshot)
    assert (snapshot.edition, snapshot.cursor) == ("en", "e.10")


def test_pinned_lines_come_first_then_the_newest_then_the_higher_id() -> None:
    early, late = "2026-11-24T03:00:00.000Z", "2026-11-24T03:00:00.001Z"
    ticker = _ticker(
        item("a", published_at=early),
        item("b", published_at=early),
        item("c", published_at=late),
        item("d", published_at=early, pinned=True),
        size=10,
    )
    assert [line.id for line in ticker.shown(EVERYTHING)] == ["d", "c", "b", "a"]
