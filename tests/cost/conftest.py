"""Counts are the same in every run where nothing falls due meanwhile: the gateway's steady clock stands still."""

import time
from types import SimpleNamespace

import pytest

from service.gateway import delivery, door, hub


@pytest.fixture(autouse=True)
def _clock_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    # `conjugate` of a float is a function in C, as a clock's is, so that looking at it counts the same.
    still = SimpleNamespace(**vars(time) | {"monotonic": (1.0).conjugate, "perf_counter": (1.0).conjugate})
    for module in (delivery, door, hub):
        monkeypatch.setattr(module, "time", still)
