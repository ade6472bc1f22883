"""Table: a plan as text for a terminal."""

import math
from collections.abc import Iterator

import msgspec

from service.plan import model, shape
from service.plan.figures import Figures, Measured
from service.plan.model import Limit, Plan
from service.plan.shape import Question, seconds
from service.plan.simulation import Setting, Waits, waits

# Lines that the simulation plays, and the most that it plays of a flood.
LINES = 200
SEED = 20_261_125


class Played(msgspec.Struct, frozen=True):
    """What the simulation says of the last reader: on an ordinary day, and while everyone comes back. In ms."""

    ordinary: Waits
    coming_back: Waits


def play(figures: Figures, question: Question, plan: Plan) -> Played:
    """Play the plan: bursts as far apart as asked for, at random moments."""
    wire_ms = 1000 * question.wire_s
    # The wheel, the lines before, and luck decide how long one waits: an hour's lines are not needed to see it.
    gap_ms = 3_600_000 / max(1.0, question.lines_an_hour / question.burst)
    moments = [number * gap_ms + (number * 7919 % 1000) for number in range(max(1, LINES // question.burst))]
    published = [at for at in moments for _ in range(question.burst)]
    serving = max(1, round(question.readers / plan.readers_per_process))
    handshakes = plan.readers_per_process * question.lost_share / question.reconnect_s

    def played(handshakes_per_second: float) -> Waits:
        setting = Setting(
            question.readers,
            serving,
            published,
            editions=math.ceil(question.editions / plan.redis_shards),
            confirming=question.confirming,
            round_trip_ms=2 * wire_ms,
            handshakes_per_second=handshakes_per_second,
            seed=SEED,
        )
        found = waits(figures, setting)
        # The simulation knows of no network card. Where that is what is waited for, it is so whatever the processes do.
        least = plan.last_ms if plan.card_ms else 0.0
        return Waits(max(found.p50 + wire_ms, least), max(found.p99 + wire_ms, least))

    return Played(played(0.0), played(handshakes))


def text(measured: Measured, question: Question, plan: Plan, played: Played) -> Iterator[str]:
    """The lines of the answer."""
    yield (
        f"{_count(question.readers, 'reader')}, {_count(question.burst, 'line')} at once with the last reader in "
        f"{seconds(question.deadline_s)}; {_count(question.editions, 'edition')}, "
        f"{_count(question.lines_an_hour, 'line')} an hour"
    )
    if not plan.possible:
        yield ""
        yield f"That cannot be: {plan.why}."
        for each in plan.instead:
            yield f"    it would be with {each}"
        yield "What comes nearest:"
    yield ""
    for name, value, note in _rows(question, plan):
        yield f"    {name:<22}{value:>14}   {note}".rstrip()
    yield ""
    yield "Until the last reader has a line"
    at = 0.0
    for hop in plan.hops:
        at += hop.ms
        yield f"    {hop.name:<46}{hop.ms:>10,.1f} ms{at:>12,.1f} ms"
    yield f"    {'simulated, the median line':<46}{'':>13}{played.ordinary.p50:>12,.1f} ms"
    yield f"    {'simulated, one line in a hundred':<46}{'':>13}{played.ordinary.p99:>12,.1f} ms"
    yield f"    {'the same while all come back':<46}{'':>13}{played.coming_back.p99:>12,.1f} ms"
    held = f"held to the deadline: {question.headroom:.0%} of each core free"
    yield f"    {held:<46}{'':>13}{plan.late_ms:>12,.1f} ms"
    yield ""
    yield "What decides how many processes"
    yield from _limits([limit for limit in plan.limits if not limit.then][:3])
    # What is used up already is in the rows above, or is waited for, or is why that cannot be.
    if beyond := [limit for limit in plan.limits if limit.then and limit.used <= 100]:
        yield "What breaks first beyond that"
        yield from _limits(beyond[:4])
    yield ""
    yield "Assumptions"
    for each in assumptions(measured, question, plan.redis_shards):
        yield f"    - {each}"


def _rows(question: Question, plan: Plan) -> Iterator[tuple[str, str, str]]:
    kept = f" ({question.lost_share:.0%} of them may be lost)" if question.lost_share < 1 else ""
    yield "web processes", f"{plan.processes:,}", f"{_count(plan.readers_per_process, 'reader')} each{kept}"
    yield "cores", f"{plan.cores:,}", f"one a process; busy for {plan.web_cpu_percent:,.1f} % of the time"
    yield (
        "machines",
        f"{plan.machines:,}",
        f"of {_count(plan.machine_cores, 'core')}, {_count(plan.processes_per_machine, 'process')} each",
    )
    yield (
        "memory",
        f"{plan.memory_gb:,.1f} GB",
        f"{plan.memory_gb_per_machine:,.1f} GB a machine, the kernel's part included",
    )
    yield (
        "network",
        f"{plan.gbits_per_second:,.1f} Gbit/s",
        f"while a line goes out; a machine {plan.gbits_per_second_per_machine:,.2f} Gbit/s, "
        f"{plan.packets_per_second_per_machine:,.0f} packets/s",
    )
    shards = "one server, or a Sentinel service" if plan.redis_shards == 1 else "primaries of a Cluster, by edition"
    yield "Redis primaries", f"{plan.redis_shards:,}", f"{shards}; and a replica or two of each"
    yield (
        "of a primary",
        f"{plan.redis_cpu_percent:,.1f} % CPU",
        f"{_count(plan.redis_connections, 'connection')}; up to {plan.lines_per_second_per_shard:,.0f} lines/s",
    )
    if plan.redis_connections > model.MAX_CLIENTS:
        yield "maxclients", f"{plan.redis_connections:,}", f"or more of each primary (default {model.MAX_CLIENTS:,})"
    if plan.balancer_addresses:
        yield (
            "balancer addresses",
            f"{plan.balancer_addresses:,}",
            f"of {model.SOURCE_PORTS:,} ports each to a machine; or one that keeps the readers' addresses",
        )
    if plan.readers_per_machine > model.CONNTRACK:
        yield (
            "tracked connections",
            f"{plan.readers_per_machine:,}",
            f"a machine: raise nf_conntrack_max ({model.CONNTRACK:,}), or NOTRACK",
        )
    yield "besides", "2 + 2", "workers and clocks, on two machines"
    lost = "everyone" if question.lost_share >= 1 else f"{question.lost_share:.0%} of them"
    yield (
        "coming back",
        seconds(plan.reconnect_s),
        f"for {lost}, at {plan.handshakes_per_second:,.0f} handshakes/s in all",
    )


def _limits(limits: list[Limit]) -> Iterator[str]:
    for limit in limits:
        then = f": {limit.then}" if limit.then else ""
        yield f"    {limit.used:>7,.1f} %  {limit.name} ({limit.of}){then}"


def assumptions(measured: Measured, question: Question, shards: int) -> Iterator[str]:
    """What the plan takes for granted."""
    versions = ", ".join(f"{name} {version}" for name, version in measured.versions.items())
    yield f"Figures of {measured.at[:10]}, by `{measured.command}` on {measured.machine} ({versions})."
    if measured.note:
        yield measured.note
    if measured.kept:
        yield f"Not measured in that run, but taken from the package: {', '.join(measured.kept)}."
    yield "Another machine's cores are as quick as that one's: measure there (`make bench`), and give --figures."
    yield "Measured on loopback. A network card's interrupts are extra: one core in eight is left to them."
    yield "Each line goes to every reader, whichever edition and selection they read."
    if question.burst > 1:
        yield "Of lines at once the first is a little ahead, and the others follow together."
    yield f"A far reader is {seconds(question.wire_s)} away (--wire); a line that loses a packet takes longer."
    yield (
        f"{question.confirming:.0%} of the readers confirm what they show (--confirming), held back up to "
        f"{shape.HELD_MS:.0f} ms, as the ticker page does. Taking that in costs more than the line."
    )
    yield f"{model.STUCK_SHARE:.0%} of the readers do not read at the moment, and fill their buffers."
    cores = _count(question.machine_cores, "core")
    yield f"A machine of {cores} sends {question.machine_gbits:g} Gbit/s (--machine-gbits), and is waited for."
    yield "TLS ends in front of the web processes, and what it costs there is not in here. Nor is the balancer."
    yield "Sizes: the sentence, sections and link of the measured lines; long ones cost network, hardly CPU."
    if shards > 1:
        yield "On a Cluster a process has round trips and connections for each edition; each trip costs Redis the same."
    yield f"{question.headroom:.0%} of each core stays free (--headroom), also while a line goes out."


def _count(number: float, noun: str) -> str:
    many = "es" if noun.endswith("s") else "s"
    return f"{number:,.12g} {noun}{'' if number == 1 else many}"
