"""Trail: a line a change, and a loop that is never kept by it."""

import asyncio
from typing import Any

import pytest
import structlog

from service.domain.frames import Removed
from service.domain.ticker import Past
from service.gateway import trail as trail_module
from service.gateway.trail import Heard, Line, Trail
from service.histogram import Histogram

NOW = 1_764_000_000_000.0


def line(seq: int, accepted_ms: int | None = int(NOW), readers: int = 2) -> Line:
    removed = Removed(cursor=f"k3f9.{seq}", id=f"i{seq}", version=2, reason="killed")
    return Line("en", Past(seq, removed, b"", None), Heard(accepted_ms, NOW + 2), NOW + 3.04, NOW + 8, readers, 1)


def logged(lines: list[Line], seconds: Histogram) -> list[Any]:
    """What a trail writes of these."""

    async def inside() -> list[Any]:
        trail = Trail(seconds)
        for each in lines:
            trail.delivered(each)
        with structlog.testing.capture_logs() as captured:
            run = asyncio.create_task(trail.run())
            while not captured or (len(captured) < len(lines) and trail._lines):
                await asyncio.sleep(0)
            run.cancel()
            await asyncio.wait([run])
        return captured

    return asyncio.run(inside())


def test_a_line_counts_its_hops_from_when_the_change_was_accepted() -> None:
    seconds = Histogram()
    (said,) = logged([line(7)], seconds)
    assert said == {
        "event": "delivered",
        "log_level": "info",
        "edition": "en",
        "id": "i7",
        "version": 2,
        "seq": 7,
        "accepted": "2025-11-24T16:00:00.000Z",
        "heard_ms": 2.0,
        "first_ms": 3.0,
        "last_ms": 8.0,
        "readers": 2,
        "lagging": 1,
    }
    assert sum(seconds.counts) == 1
    assert seconds.total == pytest.approx(0.008)


def test_where_nobody_knows_when_it_was_accepted_the_hops_count_from_when_it_was_heard() -> None:
    seconds = Histogram()
    (said,) = logged([line(7, accepted_ms=None)], seconds)
    assert (said["accepted"], said["heard_ms"], said["last_ms"]) == (None, 0.0, 6.0)
    assert sum(seconds.counts) == 0


def test_a_change_without_a_reader_is_told_and_not_measured() -> None:
    seconds = Histogram()
    (said,) = logged([line(7, readers=0)], seconds)
    assert said["readers"] == 0
    assert sum(seconds.counts) == 0


def test_the_loop_has_its_turns_while_a_burst_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail_module, "SLICE_SECONDS", 0.0)

    async def turns() -> int:
        trail = Trail(Histogram())
        for seq in range(100):
            trail.delivered(line(seq))
        with structlog.testing.capture_logs():
            run = asyncio.create_task(trail.run())
            count = 0
            while trail._lines or not count:
                await asyncio.sleep(0)
                count += 1
            run.cancel()
            await asyncio.wait([run])
        return count

    assert asyncio.run(turns()) >= 100


def test_more_than_fits_is_dropped_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail_module, "LONGEST", 3)
    captured = logged([line(seq) for seq in range(5)], Histogram())
    assert [each.get("seq") for each in captured[:3]] == [2, 3, 4]
    assert (captured[3]["event"], captured[3]["count"]) == ("lines of deliveries dropped", 2)
