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
        "functions entered": Budget(0, "the loop over the readers calls nothing of ours, and only os.write of others"),
        "C functions called": Budget(3 / 64, "a length, the clock and a length once in 64; os.write counts as a write"),
        "instructions": Budget(
            each(26.906, 24.859, 25.844), "the loop's body: a socket?, write, all of it?, and a 64th of what comes then"
        ),
        "writes": Budget(1, "each is a system call: past the transport, or by it"),
    },
    "a delivery of ten lines at once": {
        "functions entered": Budget(0, "ten lines cost a reader what one does"),
        "C functions called": Budget(3 / 64, "likewise"),
        "instructions": Budget(each(26.906, 24.859, 25.844), "likewise"),
        "writes": Budget(1, "what waits is joined"),
    },
    # One more line in a pass, whoever reads it.
    "a line": {
        "functions entered": Budget(14, "into the ticker, the choice and the frame, and the log's queue"),
        "C functions called": Budget(21, "likewise"),
        "instructions": Budget(each(353, 333, 353), "likewise"),
    },
    # A line to one more selection with five readers.
    "a selection": {
        "functions entered": Budget(
            each(6, 5, 5), "its row; _batch with for_reader and matches (3.11: a list's scope)"
        ),
        "frames made": Budget(0, "made once for all selections that let the same through"),
        "payloads chosen": Budget(1, "to see what it lets through: once a selection, never once a reader"),
        "JSON encodes": Budget(0, "the worker's bytes go out as they are"),
        "instructions": Budget(each(368.81, 351.72, 363.81), "five deliveries, and the choice"),
    },
    "a selection, ten lines at once": {
        "functions entered": Budget(each(24, 23, 23), "two a line, for the choice, and the four of the pass"),
        "frames made": Budget(0, "likewise"),
        "payloads chosen": Budget(10, "one a line"),
        "JSON encodes": Budget(0, "likewise"),
        "instructions": Budget(each(881.81, 900.72, 984.81), "five deliveries, and ten choices"),
    },
    # What a reader sends back for a line.
    "an ack": {
        "functions entered": Budget(
            11, "one whole frame?, a flood?, the mask, the cursor, the Hub, and when it was shown: no parser"
        ),
        "C functions called": Budget(14, "likewise"),
        "instructions": Budget(each(290, 277, 282), "of our own"),
    },
    # With the twelve headers of a browser, from the connection to the first write.
    "a handshake": {
        "functions entered": Budget(each(78, 75, 71), "half of them uvicorn's, one a header"),
        "C functions called": Budget(each(84, 84, 82), "likewise"),
        "instructions": Budget(each(1119, 1017, 985), "of our own"),
        "writes": Budget(1, "the 101 answer and the snapshot together"),
        "snapshots encoded": Budget(0, "the first reader after a change had it made"),
        "frames made": Budget(0, "likewise"),
        "JSON encodes": Budget(0, "likewise"),
    },
    "a return that missed nothing": {
        "functions entered": Budget(each(101, 98, 94), "a handshake, a query, a cursor"),
        "C functions called": Budget(each(110, 110, 106), "likewise"),
        "instructions": Budget(each(1446, 1318, 1281), "likewise"),
        "writes": Budget(1, "the 101 answer and that it is resumed together"),
        "snapshots encoded": Budget(0, "it needs none"),
        "frames made": Budget(1, "that it is resumed; made for each reader yet"),
        "JSON encodes": Budget(1, "likewise"),
    },
    "a return that missed two lines": {
        "functions entered": Budget(each(108, 105, 101), "likewise"),
        "C functions called": Budget(each(120, 120, 116), "likewise"),
        "instructions": Budget(each(1635, 1503, 1482), "likewise"),
        "writes": Budget(1, "what it missed goes with the rest"),
        "snapshots encoded": Budget(0, "it needs none"),
        "frames made": Budget(3, "that it is resumed, and each line again for each reader yet"),
        "JSON encodes": Budget(1, "that it is resumed"),
    },
    # One whose socket nobody has asked for yet.
    "an idle reader": {
        "bytes": Budget(
            each(1630, 1620, 1620), "uvloop's transport with libuv's handle, our reader, its places in sets"
        ),
        "objects": Budget(5, "our reader; uvloop's transport, its list, its method and its weak reference"),
        "tasks": Budget(0, "what it held of ASGI is free"),
    },
    "an idle reader that has had a line": {
        "bytes": Budget(
            each(1740, 1740, 1740), "also uvloop's PseudoSocket, and its place in the row that is written to"
        ),
        "objects": Budget(6, "also the PseudoSocket"),
        "tasks": Budget(0, "likewise"),
    },
    # What a change asks of Redis; commands within scripts are counted, too.
    "a new line: Redis": {
        "round trips of the API": Budget(2, "the key, and one MULTI with job and change"),
        "commands of the API": Budget(21, "most of them within accept.lua"),
        "round trips of the worker": Budget(
            5, "three until the log has it, one to forget the wake-up, one for the next"
        ),
        "commands of the worker": Budget(25, "append.lua's, and RQ's"),
    },
    "a correction: Redis": {
        "round trips of the API": Budget(3, "one more, to read the item"),
        "commands of the API": Budget(24, "it is looked for in three editions at once"),
        "round trips of the worker": Budget(5, "likewise"),
        "commands of the worker": Budget(25, "likewise"),
    },
    "a kill: Redis": {
        "round trips of the API": Budget(3, "as a correction"),
        "commands of the API": Budget(29, "it also takes the text out of all places"),
        "round trips of the worker": Budget(5, "likewise"),
        "commands of the worker": Budget(25, "likewise"),
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
    if faults:
        # Without the way here: it says nothing that these lines do not.
        pytest.fail("\n".join(["tests/cost/budgets.py says otherwise.", *faults, details]), pytrace=False)
    if unknown:
        pytest.skip(f"no budgets for Python {PYTHON} yet: {work}: {', '.join(unknown)}")
