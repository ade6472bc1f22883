"""Figures: what was measured, and on what. The package brings its own; `make bench` writes those of the user's machine.

A figures file is one JSON object, `bench/results/figures.json` after `make bench`:

    {"format": 1, "at": "2026-11-25T09:00:00Z", "command": "make bench", "note": "",
     "machine": "2 cores of an AMD EPYC, 23 GB, Linux 6.18",
     "versions": {"stoppress": "0.1.0", "python": "3.11.7", "redis": "7.0.15"},
     "kept": [],
     "figures": {"delivery_us": {"median": 6.8, "min": 6.6, "max": 7.0}, …},
     "cases": [{"name": "5,000 readers", "readers": 5000, "processes": 1, "lines": 1, "gap_ms": 0,
                "last_ms": {"median": 37.6, "min": 35.2, "max": 41.0}}, …]}

`kept` names the figures that this run did not measure and took from the package. `cases` are whole runs, not figures:
the simulation must foretell them.
"""

import json
from importlib import resources
from pathlib import Path

import msgspec

from service.errors import SettingsError

# A file of another form is refused, not guessed at.
FORMAT = 1
# How many lines are joined where `burst_line_us` was measured.
BURST = 10


class Spread(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value of several rounds."""

    median: float
    min: float
    max: float


class Figures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Each of one reader, change, process or second, as its name and comment say. `_us` is CPU time of one core."""

    # A web process: one write of one change to one reader; of ten joined changes, for each of them.
    delivery_us: Spread
    burst_line_us: Spread
    # What a change costs it however many readers it has.
    change_us: Spread
    # A reader let in, snapshot included; a confirmation taken in; a beat and ping sent and the pong taken in.
    handshake_us: Spread
    ack_us: Spread
    beat_us: Spread
    # What a reader gets: one change, framed; one snapshot.
    frame_bytes: Spread
    snapshot_bytes: Spread
    # Memory: a process without readers; an idle reader in the process, and in the kernel; one that does not read.
    process_bytes: Spread
    reader_bytes: Spread
    socket_bytes: Spread
    stuck_bytes: Spread
    # An editor's HTTP call starts -> the line on one reader's socket; its parts up to accepted, appended and heard.
    path_ms: Spread
    path_p99_ms: Spread
    accepted_ms: Spread
    appended_ms: Spread
    heard_ms: Spread
    # Redis: one more subscriber of a PUBLISH; a line accepted, queued and appended.
    redis_subscriber_us: Spread
    redis_line_us: Spread
    # Redis, each second: a web process that looks after it; what each edition adds to that.
    redis_process_us: Spread
    redis_edition_us: Spread
    # Connections of a web process to one Redis.
    redis_connections: Spread


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run that was measured as a whole: from the start of the editor's call to the last reader having all lines."""

    name: str
    readers: int
    last_ms: Spread
    processes: int = 1
    lines: int = 1
    # How far apart the lines of a burst came out of Redis.
    gap_ms: float = 0.0
    # Where the readers' own process shared a core with the last web process: its CPU per line and reader.
    load_us: float = 0.0


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figures file."""

    format: int
    at: str
    command: str
    machine: str
    versions: dict[str, str]
    figures: Figures
    cases: list[Case]
    kept: list[str] = []
    note: str = ""


def read(path: Path | None) -> Measured:
    """Read a figures file, or the package's own.

    Raises:
        SettingsError: it cannot be read, or is no figures file; the message says where.
    """
    name = str(path) if path else "the package's figures.json"
    try:
        data = path.read_bytes() if path else resources.files(__package__).joinpath("figures.json").read_bytes()
    except OSError as error:
        raise SettingsError(f"--figures: {name} cannot be read: {error.strerror}") from None
    try:
        measured = msgspec.json.decode(data, type=Measured)
    except msgspec.DecodeError as error:
        raise SettingsError(
            f"--figures: expected bench/results/figures.json of `make bench`, got {name}: {error}"
        ) from None
    if measured.format != FORMAT:
        raise SettingsError(f"--figures: expected format {FORMAT}, got {measured.format} in {name}")
    for figure in msgspec.structs.fields(Figures):
        value: Spread = getattr(measured.figures, figure.name)
        if not 0 < value.min <= value.median <= value.max < float("inf"):
            raise SettingsError(
                f"--figures: expected 0 < min <= median <= max, got {json.dumps(msgspec.to_builtins(value))} "
                f"in {name}, {figure.name}"
            )
    return measured
