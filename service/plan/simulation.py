"""Simulation: the same service, played through event by event, with what formulas leave out.

Lines come at random moments; Redis hands each to one process after the other; a process is one event loop, which serves
whatever has come (news, handshakes, confirmations, pongs) and then writes to readers for 4 ms, again and again until
the pass is over. Changes that come meanwhile are joined into the next pass. A seed makes a run repeatable.
"""

import heapq
import math
import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from service.plan.figures import Case, Figures, Spread
from service.plan.shape import HELD_MS, PAINT_MS, SLICE_MS, SLICE_WRITES, TURNS, write_us

# At most so many processes are played, evenly from the first that Redis writes to, to the last; the others are alike.
PLAYED = 12
# Things that readers send are counted in steps of so long.
BIN_MS = 10.0
SKIPPED_MS = 3_000


@dataclass(frozen=True)
class Setting:
    """What is played."""

    readers: int
    processes: int
    # When each line is published, in ms; `same_path`: each takes the median way, as a measured case has it.
    published_ms: Sequence[float]
    editions: int = 1
    confirming: float = 0.0
    round_trip_ms: float = 0.0
    handshakes_per_second: float = 0.0
    same_path: bool = False
    seed: int = 1


class Waits(msgspec.Struct, frozen=True):
    """From publishing to the last reader's line being written, in ms."""

    p50: float
    p99: float


def play(figures: Figures, setting: Setting) -> list[float]:
    """How long each line takes to its last reader, without the wire, in ms."""
    chance = random.Random(setting.seed)  # noqa: S311 - a simulation, no secret
    path, late = figures.path_ms.median, max(figures.path_ms.median, figures.path_p99_ms.median)
    sigma = 0.0 if setting.same_path else math.log(late / path) / 2.326
    appended: list[float] = []
    for at in setting.published_ms:
        # A log keeps its order: no line overtakes another.
        appended.append(max(at + path * math.exp(chance.gauss(0, sigma)), appended[-1] if appended else 0.0))
    last = [0.0] * len(appended)
    played = min(PLAYED, setting.processes)
    for number in range(played):
        turn = round(number * (setting.processes - 1) / max(1, played - 1))
        each = setting.readers // setting.processes + (turn < setting.readers % setting.processes)
        # The path's figure ends with a first write and holds a first change already.
        shift = turn * setting.editions * figures.redis_subscriber_us.median / 1000
        shift -= (write_us(figures, 1) + figures.change_us.median) / 1000
        process = Process(figures, each, setting, chance.random() * 1000)
        for line, done in enumerate(process.run([at + shift for at in appended])):
            last[line] = max(last[line], done)
    return [done - at for done, at in zip(last, setting.published_ms, strict=True)]


def waits(figures: Figures, setting: Setting) -> Waits:
    """The median line's and the hundredth's."""
    taken = play(figures, setting)
    if len(taken) == 1:
        return Waits(taken[0], taken[0])
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return Waits(cuts[49], cuts[98])


def foretell(figures: Figures, case: Case) -> float:
    """What a measured case should have taken, in ms."""
    published = [number * case.gap_ms for number in range(case.lines)]
    setting = Setting(case.readers, case.processes, published, same_path=True)
    taken = play(figures, setting)
    written = max(at + wait for at, wait in zip(published, taken, strict=True))
    return written + case.readers * case.load_us / 1000


def fitted(figures: Figures, case: Case) -> Figures:
    """The figures with the cost of a delivery that one measured case of one line and one process shows."""
    fixed = figures.path_ms.median
    scale = (case.last_ms.median - fixed) * 1000 / (case.readers - 1) / figures.delivery_us.median
    return msgspec.structs.replace(
        figures, delivery_us=_scaled(figures.delivery_us, scale), burst_line_us=_scaled(figures.burst_line_us, scale)
    )


def _scaled(spread: Spread, scale: float) -> Spread:
    return Spread(spread.median * scale, spread.min * scale, spread.max * scale)


@dataclass
class Process:
    """One web process: an event loop with a clock, in ms."""

    figures: Figures
    readers: int
    setting: Setting
    # When its wheel first turns.
    wheel_ms: float
    now: float = 0.0
    # What readers will have sent: by step, the CPU that it takes (ms).
    coming: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    bins: list[int] = field(default_factory=list)
    greeted_ms: float = 0.0

    def run(self, heard: Sequence[float]) -> list[float]:
        """When the last reader of each line was written to; `heard` says when each line came."""
        done = [0.0] * len(heard)
        self.greeted_ms = heard[0] if heard else 0.0
        begun, finished = 0, 0
        taken = 0
        while finished < len(heard):
            if taken == finished and heard[taken] > self.now:
                self._idle(heard[taken])
            taken = self._serve(heard, taken)
            if taken == finished:
                continue
            # A pass: everything that has come by now, joined.
            begun, left = taken, self.readers
            each_ms = write_us(self.figures, begun - finished) / 1000
            writes = SLICE_WRITES * math.ceil(SLICE_MS / (SLICE_WRITES * each_ms))
            while left:
                written = min(left, writes)
                self.now += written * each_ms
                self._confirm(written)
                left -= written
                if left:
                    taken = self._serve(heard, taken)
            for line in range(finished, begun):
                done[line] = self.now
            finished = begun
        return done

    def _idle(self, until_ms: float) -> None:
        """Nothing to write: what comes is served as it comes."""
        if until_ms - self.wheel_ms > SKIPPED_MS:
            # Many quiet seconds are alike: the last few are enough.
            self.wheel_ms += 1000 * math.floor((until_ms - self.wheel_ms - SKIPPED_MS) / 1000)
        while (event := min(until_ms, self.wheel_ms, self._next_bin())) < until_ms:
            self.now = max(self.now, event)
            self._turn()
            self._receive()
        self.now = max(self.now, until_ms)
        self.greeted_ms = self.now

    def _serve(self, heard: Sequence[float], taken: int) -> int:
        """One turn of the loop: whatever has come by now. The wheel turns between passes only, as in the Hub."""
        began = self.now
        while taken < len(heard) and heard[taken] <= began:
            self.now += self.figures.change_us.median / 1000
            taken += 1
        self._receive()
        if self.setting.handshakes_per_second:
            come = (began - self.greeted_ms) * self.setting.handshakes_per_second / 1000
            self.now += max(0.0, come) * self.figures.handshake_us.median / 1000
            self.greeted_ms = max(self.greeted_ms, began)
        return taken

    def _turn(self) -> None:
        """The wheel: a twentieth of the readers get their beat, and answer the ping."""
        if self.wheel_ms > self.now:
            return
        some = self.readers / TURNS
        # The figure is for both; half of it is the write.
        half_ms = self.figures.beat_us.median / 2000
        self.now += some * half_ms
        self._send(self.wheel_ms + self.setting.round_trip_ms, some * half_ms, over_ms=self.setting.round_trip_ms)
        self.wheel_ms = max(self.wheel_ms, self.now - some * half_ms) + 1000

    def _confirm(self, written: int) -> None:
        """Who was just written to confirms, after a round trip, a paint and a while."""
        if self.setting.confirming:
            cpu_ms = written * self.setting.confirming * self.figures.ack_us.median / 1000
            self._send(self.now + self.setting.round_trip_ms + PAINT_MS, cpu_ms, over_ms=HELD_MS)

    def _send(self, begin_ms: float, cpu_ms: float, over_ms: float) -> None:
        first, count = math.floor(begin_ms / BIN_MS), max(1, round(over_ms / BIN_MS))
        for number in range(first, first + count):
            if number not in self.coming:
                heapq.heappush(self.bins, number)
            self.coming[number] += cpu_ms / count

    def _next_bin(self) -> float:
        return (self.bins[0] + 1) * BIN_MS if self.bins else math.inf

    def _receive(self) -> None:
        """Take in what readers have sent by now."""
        until = self.now
        while self.bins and (self.bins[0] + 1) * BIN_MS <= until:
            self.now += self.coming.pop(heapq.heappop(self.bins))
