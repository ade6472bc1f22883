"""Budgets: what each piece of work may cost, in numbers that do not depend on the machine or its load.

The one place to set them anew: a test that fails says which number to write here. For the columns of other Python
versions, run `make test PYTHON=python3.13 ARGS=tests/cost` in a checkout of its own. More than the budget means that a
hot path became dearer: find out why before raising it. Less than four fifths means that it became cheaper: lower it,
so that it stays so.
"""

import sys
from collections.abc import Mapping
from typing import NamedTuple

import pytest

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# Below this share of it a budget says nothing any more.
WORN = 0.8


class Budget(NamedTuple):
    """What may be spent, and why it is that. Where Python versions differ, by version; others are not compared."""

    most: float | Mapping[str, float]
    why: str


def each(v311: float, v312: float, v313: float) -> dict[str, float]:
    """A number for each Python version: their bytecode and libraries differ."""
    return {"3.11": v311, "3.12": v312, "3.13": v313}


BUDGETS: dict[str, dict[str, Budget]] = {
    # A line to one more reader of a selection, over a real socket.
    "a delivery": {
        "functions entered": Budget(0, "the loop over the readers calls nothing of ours"),
        "C functions called": Budget(1 / 64, "the clock, once in 64 writes; uvloop's write is not seen here"),
        "instructions": Budget(
            each(25.109, 23.094, 26.109), "the loop's body: paused?, transport, write, count, 64th?"
        ),
        "writes": Budget(1, "each is a system call"),
    },
    "a delivery of ten lines at once": {
        "functions entered": Budget(0, "ten lines cost a reader what one does"),
        "C functions called": Budget(1 / 64, "likewise"),
        "instructions": Budget(each(25.109, 23.094, 26.109), "likewise"),
        "writes": Budget(1, "what waits is joined"),
    },
    # One more line in a pass, whoever reads it.
    "a line": {
        "functions entered": Budget(12, "into the ticker, the pass and the log's queue"),
        "C functions called": Budget(20, "likewise"),
        "instructions": Budget(each(306, 283, 296), "likewise"),
    },
    # A line to one more selection with five readers.
    "a selection": {
        "functions entered": Budget(7, "portions, portion, for_reader, matches, websocket, _write"),
        "frames made": Budget(1, "its readers share it; selections do not share theirs yet"),
        "payloads chosen": Budget(1, "once a selection, never once a reader"),
        "JSON encodes": Budget(0, "the worker's bytes go out as they are"),
        "instructions": Budget(each(368, 348, 374), "five deliveries, and the choice"),
    },
    "a selection, ten lines at once": {
        "functions entered": Budget(34, "three a line, and those of the pass"),
        "frames made": Budget(10, "one a line"),
        "payloads chosen": Budget(10, "one a line"),
        "JSON encodes": Budget(0, "likewise"),
        "instructions": Budget(each(1322, 1293, 1400), "five deliveries, and ten choices"),
    },
    # What a reader sends back for a line.
    "an ack": {
        "functions entered": Budget(41, "most of them websockets' parser, made for it and let go"),
        "C functions called": Budget(23, "likewise"),
        "instructions": Budget(each(364, 341, 348), "of our own, without the parser's"),
    },
    # With the twelve headers of a browser, from the connection to the first write.
    "a handshake": {
        "functions entered": Budget(each(77, 74, 70), "half of them uvicorn's, one a header"),
        "C functions called": Budget(each(85, 85, 83), "likewise"),
        "instructions": Budget(each(1054, 961, 928), "of our own"),
        "writes": Budget(1, "the 101 answer and the snapshot together"),
        "snapshots encoded": Budget(0, "the first reader after a change had it made"),
        "frames made": Budget(0, "likewise"),
        "JSON encodes": Budget(0, "likewise"),
    },
    "a return that missed nothing": {
        "functions entered": Budget(each(100, 97, 93), "a handshake, a query, a cursor"),
        "C functions called": Budget(each(111, 111, 107), "likewise"),
        "instructions": Budget(each(1381, 1262, 1224), "likewise"),
        "writes": Budget(1, "the 101 answer and that it is resumed together"),
        "snapshots encoded": Budget(0, "it needs none"),
        "frames made": Budget(1, "that it is resumed; made for each reader yet"),
        "JSON encodes": Budget(1, "likewise"),
    },
    "a return that missed two lines": {
        "functions entered": Budget(each(107, 104, 100), "likewise"),
        "C functions called": Budget(each(121, 121, 117), "likewise"),
        "instructions": Budget(each(1570, 1447, 1425), "likewise"),
        "writes": Budget(1, "what it missed goes with the rest"),
        "snapshots encoded": Budget(0, "it needs none"),
        "frames made": Budget(3, "that it is resumed, and each line again for each reader yet"),
        "JSON encodes": Budget(1, "that it is resumed"),
    },
    "an idle reader": {
        "bytes": Budget(
            each(1670, 1660, 1660), "uvloop's transport with libuv's handle, our reader, its places in sets"
        ),
        "objects": Budget(5, "our reader; uvloop's transport, its list, its method and its weak reference"),
        "tasks": Budget(0, "what it held of ASGI is free"),
    },
    # In round trips of all processes together, and in commands of each.
    "a new line: Redis": {
        "round trips": Budget(20, "two of the API, four until the log has it, and RQ's books"),
        "commands of the web process": Budget(8, "the key, and one MULTI with job and change"),
        "commands of the worker": Budget(54, "all RQ's but one"),
        "commands within scripts": Budget(21, "accept.lua and append.lua"),
    },
    "a correction: Redis": {
        "round trips": Budget(21, "one more, to read the item"),
        "commands of the web process": Budget(11, "it is looked for in three editions at once"),
        "commands of the worker": Budget(54, "likewise"),
        "commands within scripts": Budget(21, "likewise"),
    },
    "a kill: Redis": {
        "round trips": Budget(21, "as a correction"),
        "commands of the web process": Budget(11, "likewise"),
        "commands of the worker": Budget(54, "likewise"),
        "commands within scripts": Budget(26, "it also takes the text out of all places"),
    },
}


def check(work: str, measured: Mapping[str, float], details: str = "") -> None:
    """Compare what a piece of work took with its budgets."""
    budgets = BUDGETS.get(work, {})
    assert measured.keys() == budgets.keys(), f"expected {list(budgets)} of {work}, measured {dict(measured)}"
    faults, unknown = [], []
    for name, exact in measured.items():
        number = round(exact, 3)
        most, why = budgets[name]
        if isinstance(most, Mapping):
            if PYTHON not in most:
                unknown.append(f"{name} {number:g}")
                continue
            most = most[PYTHON]
        most = round(most, 3)
        if number > most:
            faults.append(f"{work}: {name}: {number:g}, budget {most:g} ({why}). What made it dearer?")
        elif number < most * WORN:
            faults.append(f"{work}: {name}: {number:g}, budget {most:g}. It is cheaper now: write {number:g} there")
    assert not faults, "\n".join(["tests/cost/budgets.py says otherwise.", *faults, details])
    if unknown:
        pytest.skip(f"no budgets for Python {PYTHON} yet: {work}: {', '.join(unknown)}")
