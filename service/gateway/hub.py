"""Hub: what the Feed hears, written to every reader. One per web process.

A change is made ready once and then is one write per reader (`delivery.py`): no task, queue or coroutine each. Changes
that arrive while a pass is running are joined, and the next pass writes them in one go. A reader whose
transport is not drained is skipped, not queued for; it is brought up to date when it has drained.
"""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import structlog

from service.domain.cursor import Cursor
from service.domain.frames import PING, Beat, Behind, Close, Notice, Removed, encode, websocket
from service.domain.instant import format_ms
from service.domain.ticker import Past, Ticker
from service.gateway.audience import Audience, Group
from service.gateway.counts import Counts
from service.gateway.delivery import Delivery
from service.gateway.portion import portion
from service.gateway.reader import Reader
from service.gateway.replay import Replay
from service.gateway.trail import Heard, Line, Trail
from service.store.reach import Screens, Sheet

# Each reader gets a beat and a ping once in this many turns of the wheel, one turn a second.
TURNS = 20
# A reader that still has not drained after this many of its beats never will.
STRIKES = 3
# How long a reader may take to answer our close frame.
FAREWELL_TURNS = 3
# When so many readers are here that the garbage collector still looks at, and a quarter of all, it shall not any more.
MANY_MORE = 1_000

log = structlog.get_logger(__name__)


class Hub:
    """All readers of this process. `run` is the one task that writes news; everything else here returns at once."""

    def __init__(
        self,
        tickers: Mapping[str, Ticker],
        replay: Replay,
        *,
        drain_seconds: float = 30.0,
        turn_seconds: float = 1.0,
        max_messages: int = 600,
    ) -> None:
        self.audiences = {code: Audience(ticker) for code, ticker in tickers.items()}
        self.draining = False
        self.counts = Counts()
        self.trail = Trail(self.counts.delivery)
        self.addresses: Counter[str] = Counter()
        self.count = 0
        # Frames that a reader may send between two of its beats.
        self.max_messages = max_messages
        self._replay = replay
        self._drain_seconds = drain_seconds
        self._drained: list[Callable[[], None]] = []
        self._drain_turns = 0
        # How many readers are out of the garbage collector's sight.
        self._frozen = 0
        self._turn_seconds = turn_seconds
        self._turn = 0
        self._joined = 0
        self._beat_all: set[str] = set()
        self._wake = asyncio.Event()
        self._leaving: dict[Reader, int] = {}

    # What the Feed says.

    def changed(self, ticker: Ticker, past: Past, accepted_ms: int | None = None) -> None:
        """Take in a change, accepted at `accepted_ms` as far as is known; the next pass delivers it."""
        audience = self.audiences[ticker.edition.code]
        audience.heard[past.seq] = Heard(accepted_ms, time.time() * 1000)
        if accepted_ms is not None:
            audience.shown.begin(past, accepted_ms)
        change = past.change
        if isinstance(change, Removed) and change.reason == "killed":
            # Whoever the text was not written to yet does not get it any more.
            audience.pending = [each for each in audience.pending if each.subject != change.id]
            if audience.delivery is not None:
                audience.delivery.kill(change.id)
        audience.pending.append(past)
        if ticker.may_refill(past):
            for group in audience.groups.values():
                if ticker.refills(past, group.selection):
                    group.pending_snapshot = True
        self._wake.set()

    def restarted(self, ticker: Ticker) -> None:
        """The log started over: everyone gets a snapshot."""
        audience = self.audiences[ticker.edition.code]
        audience.pending.clear()
        audience.heard.clear()
        audience.shown.restart()
        audience.restarted = True
        audience.passed = -1
        for reader in audience.early | audience.lagging:
            reader.seq = -1
        for group in audience.groups.values():
            group.acked.clear()
        for reader in audience.readers:
            reader.acked = -1
        self._wake.set()

    def behind(self, since: str, editions: Iterable[str]) -> None:
        """Say to these editions' readers, unless they know, that the service hears no news."""
        frame = websocket(encode(Behind(since=since)))
        for code in editions:
            if self.audiences[code].since is None:
                self.audiences[code].since = since
                self._tell(self.audiences[code], frame)

    def live_again(self, editions: Iterable[str]) -> None:
        """Say to these editions' readers that the news is back; a beat says so, once what was missed is delivered."""
        for code in editions:
            if self.audiences[code].since is not None:
                self.audiences[code].since = None
                self._beat_all.add(code)
                self._wake.set()

    # What readers do.

    def join(self, reader: Reader, *, resumes: bool = False) -> None:
        """Take in a reader that was just sent everything up to `reader.seq`, or whose replay is still to come."""
        audience = reader.audience
        audience.readers.add(reader)
        reader.group.size += 1
        self.count += 1
        self.addresses[reader.address] += 1
        self._joined += 1
        reader.slot = self._joined % TURNS
        if audience.since is not None and not reader.paused:
            reader.transport.write(websocket(encode(Behind(since=audience.since))))
        if reader.seq < audience.ticker.seq:
            self._lag(reader)
            self._replay.begin(reader, self, counted=not resumes)
        else:
            if resumes:
                self.counts.resumes["memory"] += 1
            self._enrol(reader)

    def left(self, reader: Reader) -> None:
        """Forget a reader. Harmless when it is forgotten already."""
        audience = reader.audience
        if reader not in audience.readers:
            return
        audience.readers.discard(reader)
        audience.early.discard(reader)
        audience.lagging.discard(reader)
        group = reader.group
        group.discard(reader)
        group.size -= 1
        if reader.acked >= 0:
            self._unack(group, reader.acked)
        if group.size == 0:
            audience.groups.pop(group.selection, None)
        self.count -= 1
        self._frozen -= reader.frozen
        self.addresses[reader.address] -= 1
        if self.addresses[reader.address] <= 0:
            del self.addresses[reader.address]

    def drained(self, reader: Reader) -> None:
        """A lagging reader's transport is empty again: bring it up to date."""
        if reader.replaying:
            self._replay.drained(reader)
        elif reader.lagging:
            self.catch_up(reader)

    def catch_up(self, reader: Reader, *, refill: bool = False) -> None:
        """Write what a reader missed, or have it replayed; a snapshot where the log begins later, or to `refill`."""
        ticker = reader.audience.ticker
        if reader.seq >= 0 and ticker.covers(reader.seq):
            data, _, whole = portion(ticker.since(reader.seq), reader.group.selection, reader.seq)
            if refill or ticker.may_refill_since(reader.seq):
                # A snapshot follows, which is enough by itself where the rest would be long.
                data = (data if whole else b"") + reader.group.snapshot()
            elif not whole:
                self._lag(reader)
                self._replay.begin(reader, self)
                return
        elif ticker.floor <= reader.seq <= ticker.seq:
            self._lag(reader)
            self._replay.begin(reader, self)
            return
        else:
            data = reader.group.snapshot()
        reader.seq = ticker.seq
        if data:
            self.counts.deliveries += 1
            reader.transport.write(data)
        if reader.ended():
            return
        if reader.paused:
            self._lag(reader)
        else:
            reader.audience.lagging.discard(reader)
            reader.lagging = False
            self._enrol(reader)

    def acked(self, reader: Reader, epoch: str, seq: int, held_ms: int = 0) -> None:
        """Count a reader's confirmation that it shows everything up to `seq`, sent `held_ms` later than it could."""
        ticker = reader.audience.ticker
        if epoch != ticker.epoch or not reader.acked < seq <= ticker.seq or reader.gone:
            return
        group = reader.group
        if reader.acked >= 0:
            self._unack(group, reader.acked)
            # A first ack is of the snapshot, whose lines the reader came too late to be waited for with.
            reader.audience.shown.confirmed(reader.acked, seq, held_ms)
        group.acked[seq] += 1
        reader.acked = seq

    def farewell(self, reader: Reader, code: Close) -> None:
        """A close frame was sent: give the reader a moment to answer it."""
        self.counts.closes[code] += 1
        self._leaving[reader] = self._turn + FAREWELL_TURNS

    def gone(self, reader: Reader) -> None:
        """The connection is no more."""
        self.left(reader)
        self._leaving.pop(reader, None)
        self._replay.forget(reader)

    # What it says of itself.

    def sheet(self, code: str, now_ms: int) -> Sheet:
        """Who reads an edition and what they have confirmed, for the newsroom."""
        audience = self.audiences[code]
        screens = [
            Screens(
                sorted(group.selection.sections),
                sorted(group.selection.regions),
                group.selection.urgency,
                group.size,
                sorted(group.acked.items()),
            )
            for group in list(audience.groups.values())
        ]
        return Sheet(audience.ticker.epoch, now_ms, screens)

    # The one task.

    async def run(self) -> None:
        """Deliver for ever, and turn the wheel of beats and pings once a second."""
        loop = asyncio.get_running_loop()
        turn_at = loop.time() + self._turn_seconds
        while True:
            try:
                async with asyncio.timeout_at(turn_at):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            for audience in self.audiences.values():
                while audience.pending or audience.restarted:
                    await self._deliver(audience)
            while self._beat_all:
                audience = self.audiences[self._beat_all.pop()]
                frame = self._beat_frame(audience)
                for reader in [member for group in audience.groups.values() for member in group.members]:
                    if not reader.paused:
                        reader.transport.write(frame)
            if loop.time() >= turn_at:
                turn_at = loop.time() + self._turn_seconds
                self._turn_wheel()

    def drain(self, done: Callable[[], None]) -> None:
        """Leave service: let nobody in, tell everyone, and send them away little by little. Calls `done` in the end."""
        if not self.count:
            self.draining = True
            done()
            return
        self._drained.append(done)
        if not self.draining:
            self.draining = True
            self._drain_turns = max(1, round(self._drain_seconds / self._turn_seconds))
            notice = websocket(encode(Notice(code="draining", retry_in=int(self._drain_seconds * 1000))))
            for audience in self.audiences.values():
                self._tell(audience, notice)
        self._wake.set()

    def dismiss(self) -> None:
        """Send away whoever is left: the process ends now."""
        for reader in list(self.readers()):
            reader.close(Close.DRAINING, str(int(self._drain_seconds * 1000)))

    def _drain_some(self) -> None:
        """Close an even share of who is left, so that all have left when the time is over: no stampede elsewhere."""
        readers = list(self.readers())
        share = len(readers) if self._drain_turns <= 1 else -(-len(readers) // self._drain_turns)
        self._drain_turns -= 1
        for reader in readers[:share]:
            reader.close(Close.DRAINING, str(int(self._turn_seconds * 1000)))
        if not self._leaving and not self.count:
            while self._drained:
                self._drained.pop()()

    async def _deliver(self, audience: Audience) -> None:
        ticker = audience.ticker
        base, audience.passed = audience.passed, ticker.seq
        pending, audience.pending = audience.pending, []
        heard, audience.heard = audience.heard, {}
        restarted, audience.restarted = audience.restarted, False
        delivery = audience.delivery = Delivery(audience, pending, base, self._skip, restarted=restarted)
        first_ms = time.time() * 1000
        for _ in delivery.run():
            await asyncio.sleep(0)
        audience.delivery = None
        self.counts.deliveries += delivery.written
        last_ms, lagging = time.time() * 1000, len(audience.lagging)
        for past in pending:
            line = Line(ticker.edition.code, past, heard[past.seq], first_ms, last_ms, delivery.written, lagging)
            self.trail.delivered(line)
        for reader in list(audience.early):
            self._settle(audience, reader)

    def _skip(self, reader: Reader, base: int) -> None:
        """A member could not be written to: it stays where it was, at `base`."""
        if reader.audience.restarted:
            base = -1  # the log started over while the pass was running: what it had is worth nothing now
        if reader.gone or reader.lagging or reader.closing:
            return
        reader.group.discard(reader)
        self._lag(reader)
        reader.seq = base

    def _lag(self, reader: Reader) -> None:
        """Skip a reader from now on, until it has drained."""
        if not reader.lagging:
            self.counts.lags += 1
        reader.audience.lagging.add(reader)
        reader.lagging = True

    def _settle(self, audience: Audience, reader: Reader) -> None:
        """Let an early reader into its group, if the passes have got to where it is."""
        ticker = audience.ticker
        if reader.seq > audience.passed or audience.passed < ticker.seq:
            return
        audience.early.discard(reader)
        if reader.paused:
            self._lag(reader)
        elif reader.seq < audience.passed:
            self.catch_up(reader)
        else:
            reader.group.add(reader)

    def _enrol(self, reader: Reader) -> None:
        audience = reader.audience
        if reader.seq == audience.passed and not audience.restarted:
            reader.group.add(reader)
        else:
            audience.early.add(reader)
            self._wake.set()

    def _beat_frame(self, audience: Audience) -> bytes:
        """A beat for the members: they are live up to where the last pass got, and no further."""
        cursor = Cursor(audience.ticker.epoch, max(audience.passed, 0))
        return websocket(encode(Beat(cursor=str(cursor), at=format_ms(time.time_ns() // 1_000_000))))

    def _turn_wheel(self) -> None:
        self._turn += 1
        slot = self._turn % TURNS
        for audience in self.audiences.values():
            # A beat says that the reader is live: not while the service itself is behind.
            frame = PING if audience.since is not None or audience.restarted else self._beat_frame(audience) + PING
            for reader in [reader for reader in audience.readers if reader.slot == slot]:
                self._beat(reader, frame)
        for reader, turn in list(self._leaving.items()):
            if turn <= self._turn:
                del self._leaving[reader]
                reader.transport.abort()
        if self.draining:
            self._drain_some()
        self._freeze()

    def _freeze(self) -> None:
        """Let a full garbage collection pass over the readers: it would find nothing, and stall all of them meanwhile.

        A reader that leaves is freed by its last reference, without the collector.
        """
        if self.count - self._frozen >= max(MANY_MORE, self.count / 4):
            # What is garbage by now would stay for ever.
            gc.collect(1)
            gc.freeze()
            self._frozen = self.count
            for reader in self.readers():
                reader.frozen = True

    def _beat(self, reader: Reader, frame: bytes) -> None:
        reader.frames = 0
        if reader.paused:
            reader.strikes += 1
            if reader.strikes >= STRIKES:
                reader.close(Close.NO_PONG, "nothing was read")
            return
        reader.strikes = 0
        if not reader.heard:
            reader.close(Close.NO_PONG, "no answer to a ping")
            return
        reader.heard = False
        # Readers that are not at the ticker's cursor are only pinged: a beat says "live up to here".
        reader.transport.write(frame if reader in reader.group.members else PING)

    def _tell(self, audience: Audience, frame: bytes) -> None:
        for reader in audience.readers:
            if not reader.paused:
                reader.transport.write(frame)

    def _unack(self, group: Group, seq: int) -> None:
        group.acked[seq] -= 1
        if group.acked[seq] <= 0:
            del group.acked[seq]

    def readers(self) -> Iterator[Reader]:
        """Every reader, for drains and counts."""
        for audience in self.audiences.values():
            yield from audience.readers
