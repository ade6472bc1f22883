"""Model: the fewest processes that an audience takes, and what the answer means for machines, memory and Redis.

More processes shorten the pass that each makes over its readers, and lengthen the time in which Redis hands the line to
each of them in turn; the plan is the fewest that keep every limit.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from service.plan.figures import Figures
from service.plan.shape import Question, Shape, seconds

# Assumed, not measured; `table.assumptions` says each of them in words.
STUCK_SHARE = 0.01
MAX_CLIENTS = 10_000  # Redis's `maxclients`
SOURCE_PORTS = 28_232  # Linux's `ip_local_port_range`
CONNTRACK = 262_144  # Linux's `nf_conntrack_max` on a large machine
# A rate over a shorter pass means nothing.
LEAST_PASS_MS = 1.0


class Hop(msgspec.Struct, frozen=True):
    """A part of the way; `ms` from the end of the one before."""

    name: str
    ms: float


class Limit(msgspec.Struct, frozen=True):
    """Something that ends: how much of it is used, in percent, and what to do then ("": more processes are enough)."""

    name: str
    used: float
    of: str
    then: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. Where it is not `possible`, it is the one that comes nearest, and `why` says what it breaks."""

    possible: bool
    why: str
    instead: list[str]
    readers: int
    processes: int
    readers_per_process: int
    cores: int
    machines: int
    machine_cores: int
    processes_per_machine: int
    readers_per_machine: int
    # Of a balancer that does not keep the readers' addresses; 0 before a single machine.
    balancer_addresses: int
    memory_gb: float
    memory_gb_per_machine: float
    redis_shards: int
    redis_subscribers: int
    redis_connections: int
    redis_cpu_percent: float
    lines_per_second_per_shard: float
    gbits_per_second: float
    gbits_per_second_per_machine: float
    packets_per_second_per_machine: float
    web_cpu_percent: float
    card_ms: float
    last_ms: float
    # What the deadline is held against: one in a hundred, with the headroom kept.
    late_ms: float
    hops: list[Hop]
    reconnect_s: float
    handshakes_per_second: float
    limits: list[Limit]


def plan(figures: Figures, question: Question) -> Plan:
    """The fewest shards, and with them the fewest processes, that keep every limit."""
    return _told(_nearest(figures, question))


def _nearest(figures: Figures, question: Question) -> Shape:
    """Where no number of shards keeps every limit, more are asked for only if they come nearer by a twentieth."""

    def beyond(shape: Shape) -> float:
        return max(shape.redis_share / (1 - question.headroom), shape.late_ms / question.deadline_s / 1000)

    nearest, *others = (Shape(figures, question, 1, shards) for shards in _shards(question))
    nearest = _fewest(nearest)
    for other in others:
        if _keeps(nearest):
            break
        shape = _fewest(other)
        if _keeps(shape) or beyond(shape) < 0.95 * beyond(nearest):
            nearest = shape
    return nearest


def _keeps(shape: Shape) -> bool:
    return not any(shape.broken())


def _shards(question: Question) -> list[int]:
    """So many primaries that one of them has an edition fewer than before; others would be idle."""
    return sorted({math.ceil(question.editions / most) for most in range(1, question.editions + 1)})


def _fewest(shape: Shape) -> Shape:
    """The fewest processes that keep the limits. Readers and cores ask for more; Redis, in the end, for fewer."""
    question = shape.question

    def enough(processes: int) -> bool:
        tried = replace(shape, processes=processes)
        return (
            tried.each <= question.readers_per_process
            and tried.web_share <= 1 - question.headroom
            and tried.reconnect_s <= question.reconnect_s
        )

    least = _first(enough, 1, question.readers)

    def late(processes: int) -> float:
        return replace(shape, processes=processes).late_ms

    # The wait falls with each further process until Redis takes longer over them than they save, or has no more time.
    most = _first(
        lambda count: (
            late(count) <= late(count + max(1, count // 50))
            or replace(shape, processes=count + 1).redis_share > 1 - question.headroom
        ),
        least,
        max(least, question.readers),
    )
    in_time = _first(lambda count: late(count) <= question.deadline_s * 1000, least, most)
    return replace(shape, processes=in_time)


def _first(good: Callable[[int], bool], low: int, high: int) -> int:
    """The least number that is good, where all above it are; the highest where none is."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle + 1, high)
    return low


def _told(shape: Shape) -> Plan:
    figures, question = shape.figures, shape.question
    broken = list(shape.broken())
    machines = math.ceil(shape.total / shape.per_machine)
    memory = shape.total * figures.process_bytes.median + question.readers * (
        figures.reader_bytes.median + figures.socket_bytes.median + STUCK_SHARE * figures.stuck_bytes.median
    )
    here = min(shape.per_machine, shape.processes)
    spread_s = max(shape.pass_ms() + shape.card_ms, LEAST_PASS_MS) / 1000
    bits = shape.machine_bits / spread_s
    editions = math.ceil(question.editions / shape.shards)
    # Redis's own share of a line, with room for the subscribers it is published to.
    line_us = figures.redis_line_us.median + shape.total * figures.redis_subscriber_us.median
    spare = max(0.0, 1 - question.headroom - shape.redis_share)
    return Plan(
        possible=not broken,
        why="; ".join(broken),
        instead=_instead(shape) if broken else [],
        readers=question.readers,
        processes=shape.total,
        readers_per_process=shape.each,
        cores=shape.total,
        machines=machines,
        machine_cores=question.machine_cores,
        processes_per_machine=shape.per_machine,
        readers_per_machine=here * shape.each,
        balancer_addresses=math.ceil(here * shape.each / SOURCE_PORTS) if machines > 1 else 0,
        memory_gb=memory / 1e9,
        memory_gb_per_machine=memory / machines / 1e9,
        redis_shards=shape.shards,
        redis_subscribers=shape.total * (editions if shape.shards > 1 else 1),
        redis_connections=shape.connections,
        redis_cpu_percent=100 * shape.redis_share,
        lines_per_second_per_shard=editions * question.lines_an_hour / 3600 + 1e6 * spare / line_us,
        gbits_per_second=bits * shape.processes / here / 1e9,
        gbits_per_second_per_machine=bits / 1e9,
        packets_per_second_per_machine=here * shape.each * shape.packets / spread_s,
        web_cpu_percent=100 * shape.web_share,
        last_ms=shape.last_ms,
        late_ms=shape.late_ms,
        hops=_hops(shape),
        reconnect_s=shape.reconnect_s,
        handshakes_per_second=shape.handshakes * shape.processes,
        card_ms=shape.card_ms,
        limits=_limits(shape, here * shape.each),
    )


def _hops(shape: Shape) -> list[Hop]:
    figures = shape.figures
    parts = [figures.accepted_ms.median, figures.appended_ms.median, figures.heard_ms.median]
    return [
        Hop("accepted: on disk, the editor has an answer", parts[0]),
        Hop("appended: a worker has put it into the log", parts[1]),
        Hop("heard by the first web process", parts[2]),
        Hop("heard by the last one", shape.redis_ms),
        Hop("first write", max(0.0, figures.path_ms.median - sum(parts)) + shape.change_ms),
        Hop("last write", shape.pass_ms()),
        *([Hop("through the machine's network card", shape.card_ms)] if shape.card_ms else []),
        Hop("on the wire to a far reader (assumed)", shape.wire_ms),
    ]


def _limits(shape: Shape, machine_readers: int) -> list[Limit]:
    """What ends first comes first."""
    question, full = shape.question, 1 - shape.question.headroom
    deadline_ms, most = question.deadline_s * 1000, question.readers_per_process
    found = [
        (shape.each / most, "readers of a process", f"{most:,}", ""),
        (shape.web_share / full, "a web process's core, over time", f"{full:.0%}", ""),
        (shape.late_ms / deadline_ms, "the deadline, headroom kept", seconds(question.deadline_s), ""),
        (shape.reconnect_s / question.reconnect_s, "time to come back", seconds(question.reconnect_s), ""),
        (
            shape.redis_share / full,
            "a Redis primary's core",
            f"{full:.0%}",
            _relief(shape),
        ),
        (
            shape.connections / MAX_CLIENTS,
            "connections of a Redis primary",
            f"{MAX_CLIENTS:,}",
            "raise its maxclients and open files",
        ),
        (
            shape.machine_bits / question.machine_gbits / 1e6 / max(shape.pass_ms(), LEAST_PASS_MS),
            "a machine's network, in a pass",
            f"{question.machine_gbits:g} Gbit/s",
            "a quicker card, or fewer processes a machine",
        ),
        (
            machine_readers / CONNTRACK,
            "tracked connections of a machine",
            f"{CONNTRACK:,}",
            "raise nf_conntrack_max, or NOTRACK",
        ),
    ]
    return [Limit(name, 100 * used, of, then) for used, name, of, then in sorted(found, reverse=True)]


def _relief(shape: Shape) -> str:
    """What takes load from a primary: a Cluster does so only where fewer editions on each make up for its trips."""
    others = "several services, each with a Redis of its own"
    best = min((replace(shape, shards=shards) for shards in _shards(shape.question)), key=lambda each: each.redis_share)
    if best.redis_share >= shape.redis_share:
        return others
    used = best.redis_share / (1 - shape.question.headroom)
    return f"a Cluster of {best.shards} makes it {100 * used:,.1f} %; then {others}"


def _instead(shape: Shape) -> list[str]:
    """What would make it possible, one thing alone, where one thing does."""
    question = shape.question

    def can(**eased: Any) -> bool:
        return _keeps(_nearest(shape.figures, replace(question, **eased)))

    found = []
    # Two digits of it, rounded up.
    step = 10.0 ** (math.floor(math.log10(shape.late_ms)) - 1)
    late_ms = math.ceil(shape.late_ms / step) * step
    if can(deadline_s=late_ms / 1000):
        found.append(f"--deadline {late_ms:g}ms" if late_ms < 1000 else f"--deadline {late_ms / 1000:g}s")
    if question.burst > 1 and can(burst=1):
        found.append("--burst 1")
    if question.headroom > 0 and can(headroom=0.0):
        found.append("--headroom 0%")
    fewer = question.readers - _first(lambda less: can(readers=question.readers - less), 0, question.readers - 1)
    if can(readers=fewer):
        found.append(f"--readers {fewer} for each such service, and several of them, each with a Redis of its own")
    return found
