"""What an idle reader holds: bytes, objects that a collection must look at, no task, no timer."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cost.budgets import check

ROOT = Path(__file__).parents[2]


def measure(*arguments: str) -> dict[str, Any]:
    """What `memory.py` finds in a process of its own."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.cost.memory", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    measured: dict[str, Any] = json.loads(found.stdout)
    return measured


def test_an_idle_reader() -> None:
    found = measure("traced")
    # To the next ten, since a byte more or less comes of what Python keeps for later use.
    found["traced"] = -(-int(found["traced"]) // 10) * 10
    kinds = found["objects"]
    assert not {"TimerHandle", "Handle", "Task", "Future", "dict"} & kinds.keys(), f"none of these a reader: {kinds}"
    check(
        "an idle reader",
        {"bytes": found["traced"], "objects": sum(kinds.values()), "tasks": found["tasks"]},
        "\n".join(f"{count:10}  {name}" for name, count in kinds.items()),
    )


def test_the_memory_of_idle_readers_that_the_system_sees() -> None:
    resident = measure()["resident"]
    # Twice what is promised of a reader, since a kernel that gives pages of 2 MB rounds up; 1.8 KB as a rule. It is
    # there for what a C library would take, such as a compressor for each reader, which takes 30 KB and more.
    assert resident < 6_000
