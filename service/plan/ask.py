"""Ask: the command line's words into a question, and the answer as text or JSON."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from service.errors import SettingsError
from service.plan import table
from service.plan.figures import read
from service.plan.model import plan as reckon
from service.plan.shape import Question

TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
LONGEST_S = 86_400.0
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
SHARE = re.compile(r"(\d+(?:\.\d+)?)%")


def answer(file: Path | None, asked: Mapping[str, Any], *, as_json: bool) -> tuple[bool, Iterator[str]]:
    """Whether it can be done, and the lines to print.

    Raises:
        SettingsError: an option, or the figures file, is not what was expected; the message says which.
    """
    question = parse(asked)
    measured = read(file)
    plan = reckon(measured.figures, question)
    played = table.play(measured.figures, question, plan)
    if as_json:
        said = {
            "question": question,
            "plan": plan,
            "simulated_ms": played,
            "assumptions": list(table.assumptions(measured, question, plan.redis_shards)),
        }
        return plan.possible, iter([msgspec.json.format(msgspec.json.encode(said)).decode()])
    return plan.possible, table.text(measured, question, plan, played)


def parse(asked: Mapping[str, Any]) -> Question:
    """Read the options; numbers have been looked at by click.

    Raises:
        SettingsError: a time or a share is none.
    """
    lost, _, within = str(asked["reconnect"]).partition("/")
    if not within:
        raise SettingsError(f"--reconnect: expected a share and a time such as 50%/30s, got {asked['reconnect']!r}")
    lost_share = share("--reconnect", lost)
    headroom = share("--headroom", asked["headroom"])
    if headroom >= 1:
        raise SettingsError(f"--headroom: expected less than 100%, got {asked['headroom']!r}")
    if lost_share == 0:
        raise SettingsError(f"--reconnect: expected more than 0% to be lost, got {asked['reconnect']!r}")
    return Question(
        readers=asked["readers"],
        deadline_s=time("--deadline", asked["deadline"]),
        editions=asked["editions"],
        burst=asked["burst"],
        lines_an_hour=asked["lines_an_hour"],
        lost_share=lost_share,
        reconnect_s=time("--reconnect", within),
        headroom=headroom,
        confirming=share("--confirming", asked["confirming"]),
        readers_per_process=asked["readers_per_process"],
        machine_cores=asked["machine_cores"],
        machine_gbits=asked["machine_gbits"],
        wire_s=time("--wire", asked["wire"], least=0.0),
    )


def time(option: str, text: str, *, least: float = 0.001) -> float:
    """A time in seconds.

    Raises:
        SettingsError
    """
    found = TIME.fullmatch(text.strip())
    if not found:
        raise SettingsError(f"{option}: expected a time such as 1s, 500ms or 2m, got {text!r}")
    value = float(found[1]) * UNITS[found[2]]
    if not least <= value <= LONGEST_S:
        raise SettingsError(f"{option}: expected {least * 1000:g}ms to {LONGEST_S / 60:g}m, got {text!r}")
    return value


def share(option: str, text: str) -> float:
    """A share, from 0 to 1.

    Raises:
        SettingsError
    """
    found = SHARE.fullmatch(text.strip())
    value = float(found[1]) / 100 if found else -1.0
    if not 0 <= value <= 1:
        raise SettingsError(f"{option}: expected a share from 0% to 100%, got {text!r}")
    return value
