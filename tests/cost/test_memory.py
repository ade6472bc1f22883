"""What an idle reader holds: bytes, objects that a collection must look at, no task, no timer."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cost.budgets import check
from tests.cost.count import dearest

ROOT = Path(__file__).parents[2]
# Far more than it takes on a busy machine.
DEADLINE_SECONDS = 40


def measure(*arguments: str) -> dict[str, Any]:
    """What `memory.py` finds in a process of its own."""
    command = [sys.executable, "-m", "tests.cost.memory", *arguments]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS)
    assert found.returncode == 0, found.stderr[-2_000:]
    measured: dict[str, Any] = json.loads(found.stdout)
    return measured


@pytest.mark.parametrize(
    ("arguments", "work"), [(["traced"], "an idle reader"), (["traced", "told"], "an idle reader that has had a line")]
)
def test_an_idle_reader(arguments: list[str], work: str) -> None:
    found = measure(*arguments)
    # To the next ten, since a byte more or less comes of what Python keeps for later use.
    found["traced"] = -(-int(found["traced"]) // 10) * 10
    kinds = found["objects"]
    assert not {"TimerHandle", "Handle", "Task", "Future", "dict"} & kinds.keys(), f"none of these a reader: {kinds}"
    check(
        work,
        {"bytes": found["traced"], "objects": sum(kinds.values()), "tasks": found["tasks"]},
        dearest(kinds),
    )


def test_the_memory_of_idle_readers_that_the_system_sees() -> None:
    resident = measure()["resident"]
    # Twice what is promised of a reader, since a kernel that gives pages of 2 MB rounds up; 1.7 KB as a rule. It is
    # there for what a C library would take, such as a compressor for each reader, which takes 30 KB and more.
    assert resident < 6_000
