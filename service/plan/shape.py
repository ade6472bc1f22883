"""Shape: a number of processes and Redis primaries, and all that follows from it, in formulas."""

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass

from service.plan.figures import BURST, Figures

# What the service does; a test compares them.
SLICE_MS, SLICE_WRITES, TURNS = 4.0, 64, 20
LONGEST_WRITE = 24_000
# Round trips of a web process in a second: reach four times (`app.py`), the outboxes, the clock's lease and the queue
# (`store/health.py`). On a Cluster each edition has its own of the first two, and the queue is on another Redis.
TRIPS, EDITION_TRIPS = 7, 5
# Assumed, not measured; `table.assumptions` says it. A screen confirms when it has painted (two frames), after a random
# delay: `ticker.js`.
PAINT_MS, HELD_MS = 33.0, 250.0
# Around a frame: Ethernet with its gaps, IP, TCP with time stamps, a TLS record; for each packet.
HEADER_BYTES, PACKET_BYTES = 38 + 20 + 32 + 22, 1_400
# One core in so many of a machine is left to its interrupts and its system.
CORES_PER_SPARE = 8
# A second and edition, and a beat besides.
CANARIES = 0.1
# A pass is reckoned in so many turns of the loop at the most.
MOST_TURNS = 300


@dataclass(frozen=True)
class Question:
    """What is asked. Times in seconds; shares from 0 to 1."""

    readers: int
    deadline_s: float = 1.0
    editions: int = 3
    burst: int = 1
    lines_an_hour: float = 60.0
    # So much of the service is lost, and its readers are back on the rest within so long; all of it: on new processes.
    lost_share: float = 1.0
    reconnect_s: float = 60.0
    # Of each core, in the pass and otherwise.
    headroom: float = 0.3
    # Of the readers, how many confirm what they show, as the ticker page does.
    confirming: float = 1.0
    readers_per_process: int = 20_000
    machine_cores: int = 16
    machine_gbits: float = 10.0
    # One way to a reader.
    wire_s: float = 0.05


def write_us(figures: Figures, lines: int) -> float:
    """CPU of writing so many joined changes to one reader; a long burst is several writes (`gateway/portion.py`)."""
    single = figures.delivery_us.median
    each = max(0.0, (BURST * figures.burst_line_us.median - single) / (BURST - 1))
    writes = math.ceil(lines * figures.frame_bytes.median / LONGEST_WRITE)
    return writes * (single - each) + lines * each


def pass_ms(
    figures: Figures,
    readers: float,
    lines: int,
    confirming: float,
    round_trip_ms: float,
    *,
    other_ms: float = 0.0,
    core: float = 1.0,
) -> float:
    """How long a process writes, with `other_ms` of work in between, and the confirmations that come and go first.

    They begin a round trip and a paint after the first write, and are spread evenly over what a page holds them back.
    Of several lines the first may be a little ahead: then it has a pass of its own, and the others one together.
    `core` is how much of it the process has.
    """
    passes = [1, lines - 1] if lines > 1 else [1]
    writes = [readers * write_us(figures, each) / 1000 / core for each in passes]
    total = sum(writes) + other_ms / core
    ack = readers * confirming * figures.ack_us.median / 1000 / core
    begin = round_trip_ms + PAINT_MS
    if total <= begin or not ack:
        return total
    # Turn for turn of the loop: what has come, then a slice of writes. `asked` is, at `times`, the integral over time
    # of how often each reader was written to; they answer evenly over what a page holds them back.
    part = max(slice_ms(write_us(figures, 1)), total / MOST_TURNS)
    times, asked = [0.0], [0.0]
    now = had = come = 0.0
    while had < total:
        before = come
        come = (_at(times, asked, now - begin) - _at(times, asked, now - begin - HELD_MS)) / HELD_MS
        now += ack * (come - before) + min(part, total - had)
        own = had * sum(writes) / total
        written = own / writes[0] if own <= writes[0] else 1 + (own - writes[0]) / writes[-1]
        had += part
        asked.append(asked[-1] + written * (now - times[-1]))
        times.append(now)
    return now


def slice_ms(each_us: float) -> float:
    """How long the Hub writes before it gives the loop back: it looks at the clock every so many writes."""
    some_ms = SLICE_WRITES * each_us / 1000
    return some_ms * math.ceil(SLICE_MS / some_ms)


def _at(times: list[float], values: list[float], time: float) -> float:
    """A value between two of a list."""
    if time <= 0:
        return 0.0
    after = bisect.bisect_left(times, time)
    if after == len(times):
        return values[-1]
    share = (time - times[after - 1]) / (times[after] - times[after - 1])
    return values[after - 1] + share * (values[after] - values[after - 1])


@dataclass(frozen=True)
class Shape:
    """A number of processes and shards, and what follows from it."""

    figures: Figures
    question: Question
    # Those that serve: after a loss, what is left.
    processes: int
    shards: int = 1

    @property
    def total(self) -> int:
        """With those that may be lost."""
        lost = self.question.lost_share
        return self.processes if lost >= 1 else math.ceil(self.processes / (1 - lost))

    @property
    def each(self) -> int:
        """Readers of a process."""
        return math.ceil(self.question.readers / self.processes)

    @property
    def redis_ms(self) -> float:
        """A line in every edition: from the first to the last process that Redis writes it to."""
        editions = math.ceil(self.question.editions / self.shards)
        return (self.total * editions - 1) * self.figures.redis_subscriber_us.median / 1000

    @property
    def change_ms(self) -> float:
        """What a burst costs a process before its first write."""
        return (self.question.burst - 1) * self.figures.change_us.median / 1000

    @property
    def wire_ms(self) -> float:
        return 1000 * self.question.wire_s

    def pass_ms(self, *, other_ms: float = 0.0, core: float = 1.0) -> float:
        """The pass of one process, or both of a burst."""
        question = self.question
        return pass_ms(
            self.figures, self.each, question.burst, question.confirming, 2 * self.wire_ms, other_ms=other_ms, core=core
        )

    @property
    def per_machine(self) -> int:
        """Processes of a machine."""
        cores = self.question.machine_cores
        return max(1, cores - (math.ceil(cores / CORES_PER_SPARE) if cores > 1 else 0))

    @property
    def packets(self) -> int:
        """Of one reader, for all lines at once."""
        return math.ceil(self.question.burst * self.figures.frame_bytes.median / PACKET_BYTES)

    @property
    def machine_bits(self) -> float:
        """What a machine sends for all lines at once."""
        size = self.question.burst * self.figures.frame_bytes.median + self.packets * HEADER_BYTES
        return 8 * size * self.each * min(self.per_machine, self.processes)

    @property
    def card_ms(self) -> float:
        """How long a machine's network card takes longer than its processes, from the first write to the last."""
        return max(0.0, self.machine_bits / self.question.machine_gbits / 1e6 - self.pass_ms())

    @property
    def wheel_ms(self) -> float:
        """A turn of the wheel: beats for a twentieth, and their pongs."""
        return self.each / TURNS * self.figures.beat_us.median / 1000

    @property
    def last_ms(self) -> float:
        """From the editor's call to the last reader, wire included."""
        return (
            self.figures.path_ms.median + self.redis_ms + self.change_ms + self.pass_ms() + self.card_ms + self.wire_ms
        )

    @property
    def late_ms(self) -> float:
        """The same by the way that one in a hundred takes, with beats in between, and a core that is not all ours."""
        core = 1 - self.question.headroom
        before = self.figures.path_p99_ms.median + (self.redis_ms + self.change_ms) / core
        # Turns of the loop are whole ones: beats may even make a pass end a little earlier.
        waits = self.pass_ms(other_ms=self.wheel_ms, core=core)
        waits = max(waits, self.machine_bits / self.question.machine_gbits / 1e6)
        return max(self.last_ms, before + waits + self.wire_ms)

    @property
    def web_share(self) -> float:
        """Of each web process's core, over time. A line goes out in every edition, to each reader once."""
        figures, question = self.figures, self.question
        lines = question.lines_an_hour / 3600
        reader = lines * (write_us(figures, 1) + question.confirming * figures.ack_us.median)
        reader += figures.beat_us.median / TURNS
        return (self.each * reader + question.editions * lines * figures.change_us.median) / 1e6

    @property
    def redis_share(self) -> float:
        """Of a primary's main thread, over time; of a Cluster's, that of the shard with most editions and the lease."""
        figures, question = self.figures, self.question
        lines = question.lines_an_hour / 3600
        editions = math.ceil(question.editions / self.shards)
        published = editions * (1 + CANARIES + lines) * self.total * figures.redis_subscriber_us.median
        trips = (editions * EDITION_TRIPS + 1) / TRIPS if self.shards > 1 else 1.0
        told = self.total * (trips * figures.redis_process_us.median + editions * figures.redis_edition_us.median)
        return (published + told + editions * lines * figures.redis_line_us.median) / 1e6

    @property
    def connections(self) -> int:
        """Of all web processes to one primary. On a Cluster each edition has its own three: news, reach, editors."""
        own = self.figures.redis_connections.median
        editions = math.ceil(self.question.editions / self.shards)
        return math.ceil(self.total * (own if self.shards == 1 else own + 3 * (editions - 1)))

    @property
    def handshakes(self) -> float:
        """How many a second one process lets in, with its headroom."""
        return 1e6 / self.figures.handshake_us.median * (1 - self.question.headroom)

    @property
    def reconnect_s(self) -> float:
        """How long they take who come back to one process."""
        lost = self.question.lost_share
        return self.each * lost / self.handshakes

    def broken(self) -> Iterator[str]:
        """Which limits it does not keep, each in a sentence."""
        question, full = self.question, 1 - self.question.headroom
        if self.each > question.readers_per_process:
            yield f"{self.each:,} readers a process, of {question.readers_per_process:,}"
        if self.web_share > full:
            yield f"a web process is busy for {self.web_share:,.0%} of its time, of {full:.0%}"
        if self.reconnect_s > question.reconnect_s:
            yield f"coming back takes {seconds(self.reconnect_s)}, of {seconds(question.reconnect_s)}"
        if self.redis_share > full:
            yield f"a Redis primary is busy for {self.redis_share:,.0%} of its time, of {full:.0%}"
        if self.late_ms > question.deadline_s * 1000:
            yield f"the last reader waits up to {seconds(self.late_ms / 1000)}, of {seconds(question.deadline_s)}"


def seconds(value: float) -> str:
    """A time as people say it."""
    if value < 1:
        return f"{value * 1000:,.0f} ms"
    return f"{value:,.1f} s".replace(".0 s", " s") if value < 120 else f"{value / 60:,.1f} min"
