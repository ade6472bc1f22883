"""Table: the goals and what was reached, whole for `bench/results/README.md`, in brief for the README."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.figures import Figure, shown

Results = Mapping[str, Any]
AT = "5000"
HEAD = "| figure | goal | reached | met | beside it |"


class Goal(NamedTuple):
    """A figure that was promised. `reached` finds it in the results, `beside` what it stands beside."""

    what: str
    goal: str
    met: Callable[[float], bool]
    reached: Callable[[Results], Figure]
    unit: str = " x"
    digits: int = 2
    beside: Callable[[Results], str] = lambda results: ""
    # Or a figure that the peers have as well, and how it is shown.
    peers: tuple[str, Callable[[float], str]] | None = None

    def stands_beside(self, results: Results, *, brief: bool) -> str:
        """What it stands beside; in brief of the peers the best known one alone."""
        if self.peers is None:
            return self.beside(results)
        return peers(results, *self.peers, only="Nchan" if brief else "")


def own(results: Results, readers: str) -> Any:
    fanout = results["fanout"]
    return fanout["servers"][fanout["own"]][readers]


def peers(results: Results, key: str, form: Callable[[float], str], only: str) -> str:
    """What the others, or those whose name begins so, reach; the best first."""
    fanout = results["fanout"]
    found = [
        (of[AT][key]["median"], name.split(" (")[0])
        for name, of in fanout["servers"].items()
        if name not in (fanout["own"], fanout["floor"]) and AT in of and name.startswith(only)
    ]
    return ", ".join(f"{name} {form(value)}" for value, name in sorted(found, reverse=key == "handshakes"))


def growth(results: Results) -> Figure:
    """What a delivery costs with most readers over what it costs with the fewest, less one, in per cent."""
    few, many = (own(results, str(pick(results["fanout"]["readers"])))["single_cpu_us"] for pick in (min, max))
    return {
        "median": (many["median"] / few["median"] - 1) * 100,
        "min": (many["min"] / few["max"] - 1) * 100,
        "max": (many["max"] / few["min"] - 1) * 100,
    }


GOALS = [
    Goal(
        "CPU per delivery, 5,000 readers, over the bare `send()` loop",
        "<= 1.10 x",
        lambda value: value <= 1.10,
        lambda results: own(results, AT)["single_ratio"],
        peers=("single_ratio", "{:.2f} x".format),
    ),
    Goal(
        "the same for a line of ten at once",
        "<= 0.40 x",
        lambda value: value <= 0.40,
        lambda results: own(results, AT)["burst_ratio"],
        peers=("burst_ratio", "{:.2f} x".format),
    ),
    Goal("growth of CPU per delivery, 1,000 -> 15,000 readers", "<= 15 %", lambda value: value <= 15, growth, " %", 0),
    Goal(
        "two web processes over one",
        ">= 1.8 x",
        lambda value: value >= 1.8,
        lambda results: results["processes"]["ratio"],
        beside=lambda results: (
            f"each while it writes: {shown(results['processes']['ratio_own'])} x; "
            f"two bare loops: {shown(results['processes']['floor_ratio'])} x"
            if "floor_ratio" in results["processes"]
            else ""
        ),
    ),
    Goal(
        "resident memory per idle reader, 5,000 readers",
        "<= 3 KB",
        lambda value: value <= 3,
        lambda results: {key: value / 1000 for key, value in own(results, AT)["bytes_per_reader"].items()},
        " KB",
        1,
        peers=("bytes_per_reader", lambda value: f"{value / 1000:.1f} KB"),
    ),
    Goal(
        "handshakes a CPU-second, snapshot included, 5,000 readers there",
        ">= 15,000",
        lambda value: value >= 15_000,
        lambda results: own(results, AT)["handshakes"],
        "",
        0,
        peers=("handshakes", "{:,.0f}".format),
    ),
    Goal(
        "publish -> on one reader's socket, p50",
        "<= 4 ms",
        lambda value: value <= 4,
        lambda results: results["latency"]["stoppress"]["p50"],
        " ms",
        beside=lambda results: f"RQ and PUBLISH alone: {shown(results['latency']['raw']['p50'])} ms",
    ),
    Goal(
        "the same, p99",
        "<= 8 ms",
        lambda value: value <= 8,
        lambda results: results["latency"]["stoppress"]["p99"],
        " ms",
        beside=lambda results: f"RQ and PUBLISH alone: {shown(results['latency']['raw']['p99'])} ms",
    ),
    Goal(
        "Ctrl+Enter at the desk -> in a reader's page, in Chromium, p50",
        "<= 30 ms",
        lambda value: value <= 30,
        lambda results: results["desk"]["desk"]["p50"],
        " ms",
        1,
        lambda results: (
            f"HTTP call -> the same page: {shown(results['desk']['http']['p50'], 1)} ms; "
            f"the desk over that: {shown(results['desk']['ratio_p50'])} x"
        ),
    ),
    Goal(
        "publish -> last of 5,000 readers, one core, p99, over the bare loop's time for all",
        "<= 1.3 x",
        lambda value: value <= 1.3,
        lambda results: results["last"]["ratio_p99"],
        beside=lambda results: (
            f"{shown(results['last']['stoppress']['p99'])} ms; "
            f"the bare loop: {shown(results['last']['floor']['p99'])} ms"
        ),
    ),
    Goal(
        "backlog of 10,000 accepted changes, into the log",
        ">= 5,000/s",
        lambda value: value >= 5_000,
        lambda results: results["backlog"]["logged"],
        "/s",
        0,
    ),
    Goal(
        "embargo skew, p99",
        "<= 25 ms",
        lambda value: value <= 25,
        lambda results: results["embargo"]["all"]["p99"],
        " ms",
        1,
        lambda results: f"RQ's scheduler: {results['embargo']['rq_scheduler']['away']['median']:,.0f} ms away (median)",
    ),
    Goal(
        "kill -> off 99 % of 5,000 screens, confirmed",
        "<= 1 s",
        lambda value: value <= 1_000,
        lambda results: results["kill"]["kill"],
        " ms",
        0,
        lambda results: f"publish -> shown on 99 %: {shown(results['kill']['publish'], 0)} ms",
    ),
    Goal(
        "1,000 selections over one",
        "<= 1.3 x",
        lambda value: value <= 1.3,
        lambda results: results["selections"]["1,000 selections, all match"]["ratio"],
    ),
    Goal(
        "p99 to 5,000 readers while 2,000 handshakes a second come in, over none",
        "<= 2 x",
        lambda value: value <= 2,
        lambda results: results["storm"]["ratio_p99"],
    ),
    Goal(
        "p99 of those who read while a tenth never does, over all reading",
        "",
        lambda value: True,
        lambda results: results["slow"]["ratio_p99"],
    ),
]


def rows(results: Results, *, brief: bool = False) -> list[str]:
    """The table's lines; a figure that was not measured says so. In brief only those with a goal."""
    found = []
    for goal in GOALS:
        if brief and not goal.goal:
            continue
        try:
            reached = goal.reached(results)
            what = f"{shown(reached, goal.digits)}{goal.unit}"
            verdict = "yes" if goal.met(reached["median"]) else "**no**"
            beside = goal.stands_beside(results, brief=brief)
        except KeyError as error:
            what, verdict, beside = f"not measured ({error.args[0]})", "", ""
        found.append(f"| {goal.what} | {goal.goal} | {what} | {verdict if goal.goal else ''} | {beside} |")
    return [HEAD, "|---|---|---|---|---|", *found]


def read(folder: Path) -> dict[str, Any]:
    """All results, by measurement."""
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def write(folder: Path) -> Path:
    """Write the table beside the results."""
    results = read(folder)
    path = folder / "README.md"
    text = [
        "# Results of `make bench`",
        "",
        "Medians with least and most of the rounds. How each is measured: [bench/README.md](../README.md).",
        "",
        *rows(results),
        "",
        *runs(results),
    ]
    if "fanout" in results:
        text += ["", "![The fan-out beside its peers](fanout.png)", "", *fanout_tables(results["fanout"])]
    path.write_text("\n".join(text) + "\n")
    return path


def runs(results: Results) -> list[str]:
    """When and on what it was measured: what was measured apart says nothing about each other."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, of in sorted(results.items(), key=lambda pair: pair[1].get("at", "")):
        if "at" in of:
            found.setdefault((of["at"][:10], of.get("machine", "a machine not named")), []).append(name)
    return [f"Measured on {day} ({machine}): {', '.join(names)}." for (day, machine), names in found.items()]


def fanout_tables(fanout: Any) -> list[str]:
    """A table for each number of readers."""
    text = []
    for readers in fanout["readers"]:
        text += [
            f"## {readers:,} readers",
            "",
            f"| server | CPU µs a delivery | over the bare loop | a line of {fanout['burst']} at once, over one of its "
            "| p50 ms | p99 ms | last ms | KB a reader | handshakes a CPU-second | the client's CPU |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for server, of in fanout["servers"].items():
            row = of.get(str(readers))
            if row is None:
                continue
            whole = "single_ratio" in row
            text.append(
                f"| {server} | {shown(row['single_cpu_us'])} | {shown(row['single_ratio']) if whole else ''} "
                f"| {shown(row['burst_ratio']) if whole else ''} "
                + "".join(f"| {row[f'single_{key}_ms']['median']:.1f} " for key in ("p50", "p99", "last"))
                + (f"| {row['bytes_per_reader']['median'] / 1000:.1f} " if whole else "| ")
                + (f"| {shown(row['handshakes'], 0)} " if whole else "| ")
                + f"| {row['single_client_cpu']['median']:.0%} |"
            )
        text.append("")
    text += [f"Not measured: {name}: {why}\n" for name, why in fanout["missing"].items()]
    text += [f"Left out, because lines were lost: {name}: {why}\n" for name, why in fanout["losses"].items()]
    return text
