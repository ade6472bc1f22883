"""What a reader costs when it comes, and when it comes back."""

from tests.cost.budgets import check
from tests.cost.count import Calls, Opcodes, apiece, by_name
from tests.cost.process import Process, run

FEW, MANY = 32, 64


async def _handshakes(readers: int, *, missed: int | None) -> tuple[Calls, Opcodes, int]:
    """What so many handshakes take. `missed`: with a cursor, and so many lines after it. How many writes that were."""
    process = Process()
    async with process.running():
        query = f"?cursor={process.ticker.cursor}" if missed is not None else ""
        for _ in range(missed or 0):
            await process.deliver(process.lines(1))
        # The first reader after a change has the snapshot made.
        await process.seat(1)
        await process.seat(1, query)
        before = len(process.written())
        expected = process.knock(readers, query)
        with Calls().counting() as calls:
            await process.answer(expected)
        writes = len(process.written()) - before
        expected = process.knock(readers, query)
        with Opcodes().counting() as opcodes:
            await process.answer(expected)
        return calls, opcodes, writes


def _check(work: str, *, missed: int | None) -> None:
    fewer, more = (run(lambda: _handshakes(readers, missed=missed)) for readers in (FEW, MANY))  # noqa: B023 - at once
    calls, readers = more[0] - fewer[0], MANY - FEW
    check(
        work,
        apiece(calls, more[1].count - fewer[1].count, readers)
        | {
            "writes": (more[2] - fewer[2]) / readers,
            "snapshots encoded": calls.entered["service.domain.ticker.Ticker.snapshot"] / readers,
            "frames made": calls.named("websocket") / readers,
            "JSON encodes": calls.named("json_encode") / readers,
        },
        by_name(calls, readers),
    )


def test_a_handshake() -> None:
    _check("a handshake", missed=None)


def test_a_return_that_missed_nothing() -> None:
    _check("a return that missed nothing", missed=0)


def test_a_return_that_missed_two_lines() -> None:
    _check("a return that missed two lines", missed=2)
