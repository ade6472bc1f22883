"""What a line costs on its way to the readers, for each reader and for each selection."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from service.domain.selection import EVERYTHING, Selection
from service.gateway.door import Wish
from tests.cost.budgets import check
from tests.cost.count import Calls, Opcodes, apiece, by_name
from tests.cost.process import NO_SOCKET, Process, run

# A delivery looks at its clock once in 64 writes, so that whole numbers of looks fall into the difference.
FEW, MANY = 128, 256
SECTIONS = ("economy", "sports", "arts-culture", "health", "technology", "environment", "miscellaneous")
REGIONS = ("africa", "asia", "asia-pacific", "europe", "latin-america", "palestine", "us-canada")


async def _pass(readers: int, changes: int) -> tuple[Calls, Opcodes, int]:
    """What a pass takes that writes so many changes to so many readers; how many writes that were."""
    process = Process()
    async with process.running():
        await process.seat(readers)
        await process.deliver(process.lines(changes))
        lines = process.lines(changes)
        before = len(process.written())
        with Calls().counting() as calls:
            await process.deliver(lines)
        writes = len(process.written()) - before
        lines = process.lines(changes)
        with Opcodes().counting() as opcodes:
            await process.deliver(lines)
        return calls, opcodes, writes


@pytest.mark.parametrize(("changes", "work"), [(1, "a delivery"), (10, "a delivery of ten lines at once")])
def test_a_delivery(changes: int, work: str) -> None:
    fewer = run(lambda: _pass(FEW, changes))
    more = run(lambda: _pass(MANY, changes))
    calls, readers = more[0] - fewer[0], MANY - FEW
    check(
        work,
        apiece(calls, more[1].count - fewer[1].count, readers) | {"writes": (more[2] - fewer[2]) / readers},
        by_name(calls, readers),
    )


async def _lines_alone(changes: int) -> tuple[Calls, Opcodes]:
    calls, opcodes, _ = await _pass(1, changes)
    return calls, opcodes


def test_a_line_whoever_reads() -> None:
    one, eleven = run(lambda: _lines_alone(1)), run(lambda: _lines_alone(11))
    calls = eleven[0] - one[0]
    check(
        "a line",
        apiece(calls, eleven[1].count - one[1].count, 10),
        by_name(calls, 10),
    )


class Screen:
    """A reader's transport and its socket, which keep what they get: thousands of real ones would be slow to make."""

    def __init__(self, number: int) -> None:
        self.writes: list[bytes] = []
        self.number = number

    def get_extra_info(self, name: str) -> Any:
        return SimpleNamespace(fileno=lambda: self.number) if name == "socket" else None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.reader = protocol

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None: ...

    def abort(self) -> None:
        self.reader.connection_lost(None)  # type: ignore[attr-defined]


def _subsets(terms: tuple[str, ...], always: str) -> list[frozenset[str]]:
    """Every choice among the terms, with one that is always in it."""
    return [
        frozenset([always, *(term for at, term in enumerate(terms) if number >> at & 1)])
        for number in range(2 ** len(terms))
    ]


def _selections(count: int) -> list[Selection]:
    """So many selections that the tests' lines all belong to; the first one is everything."""
    found = [
        Selection(sections, regions)
        for sections in _subsets(SECTIONS, "politics")
        for regions in _subsets(REGIONS, "mena")
    ]
    return [EVERYTHING, *found[: count - 1]]


async def _selected(selections: int, *sections: str) -> tuple[Calls, Opcodes, list[Screen]]:
    """What a pass takes of a line in each section, over so many selections with five readers each."""
    process = Process()
    async with process.running():
        screens = [Screen(NO_SOCKET + number) for number in range(5 * selections)]
        process.screens = {screen.number: screen.writes for screen in screens}
        for at, selection in enumerate(_selections(selections)):
            for screen in screens[5 * at : 5 * at + 5]:
                wish = Wish(selection, None)
                process.door.let_in(process.hub.audiences["en"], wish, screen, "192.0.2.1")
        await process.deliver(process.lines(1))
        for screen in screens:
            screen.writes.clear()
        lines = process.lines_in(sections)
        with Calls().counting() as calls:
            await process.deliver(lines)
        lines = process.lines_in(sections)
        with Opcodes().counting() as opcodes:
            await process.deliver(lines)
        return calls, opcodes, screens


@pytest.mark.parametrize(("changes", "work"), [(1, "a selection"), (10, "a selection, ten lines at once")])
def test_a_selection_with_five_readers(changes: int, work: str) -> None:
    sections = ["politics"] * changes
    fewer, more = run(lambda: _selected(500, *sections)), run(lambda: _selected(1000, *sections))
    calls = more[0] - fewer[0]
    for screens in (fewer[2], more[2]):
        assert {len(screen.writes) for screen in screens} == {2}, "each reader has one write a pass"
        assert len({id(screen.writes[0]) for screen in screens}) == 1, "all that get the same share one object"
    check(
        work,
        {
            "functions entered": calls.entered.total() / 500,
            "frames made": calls.named("websocket") / 500,
            "payloads chosen": calls.named("for_reader") / 500,
            "JSON encodes": calls.named("json_encode") / 500,
            "instructions": (more[1].count - fewer[1].count) / 500,
        },
        by_name(calls, 500),
    )


def test_a_line_that_all_see_is_framed_once() -> None:
    calls, _, screens = run(lambda: _selected(1, "politics"))
    assert calls.named("websocket") == 1
    assert calls.named("for_reader") == 2, "to see who gets the same, and when that is made"
    assert calls.named("json_encode") == 0, "the worker's bytes go to the readers as they are"
    assert len({id(screen.writes[0]) for screen in screens}) == 1


@pytest.mark.parametrize("selections", [10, 100])
def test_frames_are_made_for_each_outcome_whatever_the_selections(selections: int) -> None:
    """Some selections let the first line through and some both: two outcomes, of one frame and of two."""
    calls, _, screens = run(lambda: _selected(selections, "politics", "sports"))
    assert calls.named("websocket") == 3
    # Two of each selection, to see who gets the same, and two when each outcome is made.
    assert calls.named("for_reader") == 2 * selections + 4
    assert {len(screen.writes) for screen in screens} == {2}
    assert len({id(screen.writes[0]) for screen in screens}) == 2


async def _acks(readers: int) -> tuple[Calls, Opcodes]:
    process = Process()
    async with process.running():
        await process.seat(readers)
        # Not `Hub.readers`, which would be entered with each look.
        everyone = process.hub.audiences["en"].readers

        async def acked() -> None:
            seq = process.ticker.seq
            await process.until(lambda: all(reader.acked == seq for reader in everyone), "the acks")

        process.confirm()
        await acked()
        await process.deliver(process.lines(1))
        process.confirm()
        with Calls().counting() as calls:
            await acked()
        await process.deliver(process.lines(1))
        process.confirm()
        with Opcodes().counting() as opcodes:
            await acked()
        return calls, opcodes


def test_an_ack() -> None:
    fewer, more = run(lambda: _acks(32)), run(lambda: _acks(64))
    calls = more[0] - fewer[0]
    check(
        "an ack",
        apiece(calls, more[1].count - fewer[1].count, 32),
        by_name(calls, 32),
    )
