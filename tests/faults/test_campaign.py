"""A short campaign, as a part of every test run; `make faults` runs long ones."""

import asyncio
from pathlib import Path

from tests.faults.campaign import Campaign
from tests.faults.faults import FAULTS

SEED = 20261125
SECONDS = 30.0


def test_nothing_is_lost_nothing_twice_and_nothing_silent_in_a_campaign(tmp_path: Path) -> None:
    report = asyncio.run(Campaign(tmp_path, SEED, SECONDS, readers=60).run())
    print(report.table())
    assert not report.violations, report.table()
    assert report.faults.total() >= 8
    assert set(report.faults) <= {fault.__name__ for fault in FAULTS}
    assert report.accepted > 200
    assert report.deliveries > 2_000
    assert report.connections > 100
