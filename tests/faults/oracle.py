"""Oracle: what must be true of every reader's history, given what editors were told was accepted.

It sees only what a newsroom and its readers see: answers of the API and frames of the sockets. Some rules are checked
as the frames come; those that need to know the whole story (what was killed later?) are checked at the end.
"""

import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# A change that one reader has had for this long, and another one that reads and was not told `behind` has not, was kept
# from it in silence. The service promises 3 s; the rest is for a machine that stands still now and then.
SILENT_SECONDS = 10.0
# So many examples of each kind of violation are kept.
EXAMPLES = 5


class Selection(NamedTuple):
    """What a reader asked for; empty is everything (as `service.domain.selection`, but written anew)."""

    sections: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    urgency: int = 4

    def query(self) -> list[tuple[str, str]]:
        """The reader's query."""
        query = [("section", each) for each in self.sections] + [("region", each) for each in self.regions]
        return query + ([("urgency", str(self.urgency))] if self.urgency < 4 else [])

    def wants(self, item: dict[str, Any]) -> bool:
        """Whether a line is for this reader."""
        if self.sections and item.get("section") not in self.sections:
            return False
        if self.regions and not set(self.regions) & set(item.get("regions") or ()):
            return False
        return bool(item["urgency"] <= self.urgency)


class Change(NamedTuple):
    """One place of the log, as the first reader who saw it tells."""

    kind: str
    id: str
    version: int
    reason: str | None
    item: dict[str, Any] | None
    first_seen: float


@dataclass
class Accepted:
    """A public change that an editor was told is accepted; `by` counts each editor's own, in order."""

    edition: str
    id: str
    version: int
    kind: str
    editor: str
    number: int


@dataclass
class Ledger:
    """What editors were told. They write it, the oracle reads it."""

    accepted: dict[tuple[str, int], Accepted] = field(default_factory=dict)
    killed: dict[str, str] = field(default_factory=dict)  # id -> edition
    # Lines that the clock puts on the air, not before this moment (s since 1970).
    embargoed: dict[str, float] = field(default_factory=dict)
    # Lines that the clock may take off.
    expiring: set[str] = field(default_factory=set)

    def note(self, edition: str, item_id: str, version: int, kind: str, editor: str) -> None:
        """Write down an acceptance."""
        number = len(self.accepted)
        self.accepted[item_id, version] = Accepted(edition, item_id, version, kind, editor, number)
        if kind == "killed":
            self.killed[item_id] = edition


class Missing(NamedTuple):
    """A place of the log that a reader passed over. Selections and later kills explain some."""

    edition: str
    epoch: str
    seq: int
    selection: Selection


class Shot(NamedTuple):
    """A snapshot that a reader got: which lines, in order."""

    edition: str
    epoch: str
    seq: int
    selection: Selection
    lines: tuple[tuple[str, int], ...]


def place(item: dict[str, Any]) -> tuple[bool, str, str]:
    """A line's place in a ticker, higher first: pinned, then newest (docs/protocol.md)."""
    return item["pinned"], item["publishedAt"], item["id"]


class History:
    """One reader's story, folded as it comes."""

    def __init__(self, oracle: "Oracle", name: str, edition: str, selection: Selection, *, prompt: bool) -> None:
        self.oracle = oracle
        self.name = name
        self.edition = edition
        self.selection = selection
        # Whether it always reads at once: only then is a delay the service's.
        self.prompt = prompt
        self.epoch = ""
        self.seq = -1
        self.lines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, int] = {}
        self.killed: set[str] = set()
        self.deliveries = 0
        self.sent_cursor: str | None = None
        # Since when it has been connected and not told that it is behind; None while either is not so.
        self.live_since: float | None = None

    @property
    def cursor(self) -> str | None:
        """How far it has got, as the protocol says it."""
        return f"{self.epoch}.{self.seq}" if self.epoch else None

    def start_over(self) -> None:
        """Come as a new reader, who knows nothing."""
        self.epoch, self.seq = "", -1
        self.lines.clear()
        self.versions.clear()
        self.killed.clear()

    def opened(self) -> None:
        """It is about to connect, with its cursor."""
        self.sent_cursor = self.cursor

    def closed(self) -> None:
        """The connection is gone."""
        self.live_since = None

    def take(self, text: str | bytes) -> None:
        """Take in one message."""
        message = json.loads(text)
        match message["type"]:
            case "snapshot":
                self._snapshot(message)
            case "resumed":
                if message["cursor"] != self.sent_cursor:
                    self._bad("resumed elsewhere", f"sent {self.sent_cursor}, got {message['cursor']}")
                self._live()
            case "item" | "remove":
                self._change(message)
            case "beat":
                self._beat(message)
            case "behind":
                self.live_since = None
            case "notice":
                pass
            case other:
                self._bad("unknown message", other)

    def shown(self) -> list[dict[str, Any]]:
        """What it shows: the first lines of what it has."""
        return sorted(self.lines.values(), key=place, reverse=True)[: self.oracle.size]

    def _live(self) -> None:
        if self.live_since is None:
            self.live_since = time.monotonic()

    def _snapshot(self, message: dict[str, Any]) -> None:
        epoch, seq = self._cursor(message)
        if epoch == self.epoch and seq < self.seq:
            self._bad("went back", f"a snapshot of {seq} after {self.seq}")
        self.lines = {item["id"]: item for item in message["items"]}
        for item in message["items"]:
            self._text(item)
        if epoch != self.epoch:
            self.versions.clear()
        self.versions |= {item["id"]: item["version"] for item in message["items"]}
        self.epoch, self.seq = epoch, seq
        lines = tuple((item["id"], item["version"]) for item in message["items"])
        self.oracle.shots[Shot(self.edition, epoch, seq, self.selection, lines)] = self.name
        self._live()

    def _change(self, message: dict[str, Any]) -> None:
        epoch, seq = self._cursor(message)
        self.deliveries += 1
        item = message.get("item")
        item_id = item["id"] if item else message["id"]
        version = item["version"] if item else message["version"]
        if epoch != self.epoch:
            self._bad("another log", f"{epoch}.{seq} after {self.epoch}.{self.seq} without a snapshot")
            return
        change = Change(message["type"], item_id, version, message.get("reason"), item, time.monotonic())
        first = self.oracle.told(self, epoch, seq, change)
        if seq <= self.seq:
            kind = "twice" if self.versions.get(item_id, 0) >= version else "out of order"
            self._bad(kind, f"{epoch}.{seq} ({item_id} version {version}) after {self.seq}")
            return
        self._pass_over(epoch, seq)
        if self.versions.get(item_id, 0) >= version:
            self._bad("twice", f"{item_id} version {version} at {seq} after version {self.versions[item_id]}")
        if self.prompt and self.live_since is not None:
            late = time.monotonic() - max(first, self.live_since)
            self.oracle.lateness[self.name] = max(self.oracle.lateness[self.name], late)
            if late > SILENT_SECONDS:
                self._bad("silent", f"{epoch}.{seq} came {late:.1f} s after another reader had it, and no `behind`")
        self.seq = seq
        self.versions[item_id] = version
        if item is not None:
            self._text(item)
            self.lines[item_id] = item
        else:
            self.lines.pop(item_id, None)
            if message["reason"] == "killed":
                self.killed.add(item_id)

    def _beat(self, message: dict[str, Any]) -> None:
        epoch, seq = self._cursor(message)
        if epoch != self.epoch:
            self._bad("another log", f"a beat of {epoch}.{seq} in {self.epoch}.{self.seq}")
        elif seq < self.seq:
            self._bad("went back", f"a beat says {seq} after {self.seq}")
        else:
            # "You are live up to here": whatever lies between was not for this reader, or was taken back by a kill.
            self._pass_over(epoch, seq + 1)
            self.seq = seq
            self._live()

    def _pass_over(self, epoch: str, seq: int) -> None:
        for each in range(self.seq + 1, seq):
            self.oracle.missing[Missing(self.edition, epoch, each, self.selection)] = self.name

    def _text(self, item: dict[str, Any]) -> None:
        """A line's text came: may it?"""
        if item["id"] in self.killed:
            self._bad("after a kill", item["id"])
        until = self.oracle.ledger.embargoed.get(item["id"])
        if until is not None and time.time() < until:
            self._bad("before its embargo", f"{item['id']} {until - time.time():.3f} s early")

    def _cursor(self, message: dict[str, Any]) -> tuple[str, int]:
        epoch, _, seq = message["cursor"].rpartition(".")
        return epoch, int(seq)

    def _bad(self, kind: str, detail: str) -> None:
        self.oracle.bad(kind, f"{self.name}: {detail}")


class Oracle:
    """Collects violations. `size` is how many lines a ticker has."""

    def __init__(self, ledger: Ledger, *, size: int = 10) -> None:
        self.ledger = ledger
        self.size = size
        self.log: dict[tuple[str, str], dict[int, Change]] = defaultdict(dict)
        self.missing: dict[Missing, str] = {}
        self.shots: dict[Shot, str] = {}
        self.violations: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = defaultdict(list)
        self.lateness: Counter[str] = Counter()

    def bad(self, kind: str, detail: str) -> None:
        """Write down a violation."""
        self.violations[kind] += 1
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append(detail)

    def told(self, history: History, epoch: str, seq: int, change: Change) -> float:
        """Note what a reader was told of a place of the log; returns when the first one was."""
        log = self.log[history.edition, epoch]
        known = log.setdefault(seq, change)
        if (known.id, known.version) != (change.id, change.version):
            self.bad("two changes in one place", f"{history.name}: {epoch}.{seq} is {known[:3]} and {change[:3]}")
        elif known.kind != change.kind or known.item != change.item:
            # Who loses a line from their selection is told that it expired.
            full, left = (known, change) if known.kind == "item" else (change, known)
            if full.kind != "item" or left.reason != "expired":
                self.bad("two changes in one place", f"{history.name}: {epoch}.{seq} {known.kind} and {change.kind}")
            log[seq] = full._replace(first_seen=known.first_seen)
        return known.first_seen

    def judge(self) -> None:
        """Check what needs the whole story. Call it once, when everything has come to rest."""
        self._judge_log()
        missing: dict[tuple[str, str], list[tuple[Missing, str]]] = defaultdict(list)
        for each, name in self.missing.items():
            missing[each.edition, each.epoch].append((each, name))
        shots: dict[tuple[str, str], list[tuple[Shot, str]]] = defaultdict(list)
        for shot, name in self.shots.items():
            shots[shot.edition, shot.epoch].append((shot, name))
        for key in missing.keys() | shots.keys():
            self._judge_places(self.log[key], missing[key], shots[key])

    def _judge_log(self) -> None:
        """What was accepted is in the log once and in order, and nothing else is."""
        places: dict[tuple[str, int], list[int]] = defaultdict(list)
        for log in self.log.values():
            for seq, change in log.items():
                places[change.id, change.version].append(seq)
        killed = self.ledger.killed
        for key, each in self.ledger.accepted.items():
            found = places.get(key, [])
            if not found and (each.id not in killed or each.kind == "killed"):
                self.bad("lost", f"{each.edition} {each.id} version {each.version} ({each.kind})")
        for (item_id, version), found in places.items():
            if len(found) > 1:
                self.bad("twice", f"{item_id} version {version} is in the log at {found}")
            of_the_clock = item_id in self.ledger.embargoed or item_id in self.ledger.expiring
            if (item_id, version) not in self.ledger.accepted and not of_the_clock:
                self.bad("from nowhere", f"{item_id} version {version} at {found}")
        last: dict[tuple[str, str], tuple[int, Accepted]] = {}
        for each in sorted(self.ledger.accepted.values(), key=lambda each: each.number):
            found = places.get((each.id, each.version))
            # A kill overtakes what waits: nothing is left that it would have to be in order with.
            if not found or each.kind == "killed" or each.id in self.ledger.embargoed:
                continue
            before = last.get((each.editor, each.edition))
            if before is not None and before[0] > found[0]:
                self.bad("out of order", f"{each.id} version {each.version} was accepted after {before[1].id}")
            last[each.editor, each.edition] = found[0], each

    def _judge_places(
        self, log: dict[int, Change], missing: list[tuple[Missing, str]], shots: list[tuple[Shot, str]]
    ) -> None:
        """Walk one log once: what was passed over, and what snapshots said at their place."""
        missing.sort(key=lambda each: each[0].seq, reverse=True)
        shots.sort(key=lambda each: each[0].seq, reverse=True)
        lines: dict[str, dict[str, Any]] = {}
        while shots and shots[-1][0].seq == 0:
            self._judge_shot(lines, *shots.pop())
        for seq in sorted(log.keys() | {each.seq for each, _ in missing} | {shot.seq for shot, _ in shots}):
            change = log.get(seq)
            while missing and missing[-1][0].seq == seq:
                self._judge_missing(change, lines.get(change.id) if change else None, *missing.pop())
            if change is not None and change.item is not None:
                lines[change.id] = change.item
            elif change is not None:
                lines.pop(change.id, None)
            while shots and shots[-1][0].seq == seq:
                self._judge_shot(lines, *shots.pop())

    def _judge_missing(self, change: Change | None, before: dict[str, Any] | None, missing: Missing, name: str) -> None:
        if change is None or (change.id in self.ledger.killed and change.reason != "killed"):
            return  # taken back by a kill (what was lost altogether, the ledger knows)
        wanted = [item for item in (change.item, before) if item is not None]
        if change.reason == "killed" or any(missing.selection.wants(item) for item in wanted):
            self.bad("lost", f"{name}: passed over {missing.epoch}.{missing.seq}, {change[:4]}, which is for it")

    def _judge_shot(self, lines: dict[str, dict[str, Any]], shot: Shot, name: str) -> None:
        """A snapshot is the log up to its cursor, folded; lines that are killed by now may be gone from it already."""
        got, killed = dict(shot.lines), self.ledger.killed
        fitting = {item["id"]: item for item in lines.values() if shot.selection.wants(item)}
        # Versions of a killed line that nobody saw: only that it takes a place is known.
        unknown = {
            item_id
            for item_id, version in shot.lines
            if item_id in killed and (item_id not in fitting or fitting[item_id]["version"] != version)
        }
        there = [
            item
            for item_id, item in fitting.items()
            if item_id not in unknown and (item_id in got or item_id not in killed)
        ]
        expected = sorted(there, key=place, reverse=True)[: self.size - len(unknown)]
        wanted = {item["id"]: item["version"] for item in expected}
        seen = {item_id: version for item_id, version in shot.lines if item_id not in unknown}
        if wanted != seen:
            wrong = sorted(
                item_id for item_id in wanted.keys() | seen.keys() if wanted.get(item_id) != seen.get(item_id)
            )
            detail = {item_id: (wanted.get(item_id), seen.get(item_id)) for item_id in wrong[:3]}
            self.bad("wrong snapshot", f"{name}: at {shot.epoch}.{shot.seq} (expected, got) {detail}")
