"""Selections: what a delivery costs when 5,000 readers have 1,000 selections, beside all having the same one.

Each audience is an edition's, with the same vocabulary, so that one service has all of them and lines go out to each
in turn. CPU is the web process's, the API's share in it. All of the service is on one core, the readers have the other.
"""

import sys
from itertools import combinations, islice, product
from typing import Any, NamedTuple

from bench import lines
from bench.crowd import Crowd
from bench.figures import Figure, shown, spread
from bench.process import cpu_seconds
from bench.stage import Stage
from service.domain.edition import REGIONS, SECTIONS

READERS, SELECTIONS = 5_000, 1_000
LINES = 30
ROUNDS = 5
WARM_UP = 10
LINE_SECONDS = 10
# What those who hear none of these find.
LINES_BEFORE = 10
# What the lines are of (`bench/lines.py`).
SECTION, REGION = "politics", "mena"


class Audience(NamedTuple):
    """An edition's readers: those who should get each line, and those who should get none."""

    label: str
    edition: str
    hear: Crowd
    deaf: Crowd | None
    readers: int


def measure() -> dict[str, Any]:
    """Measure, print a table, and return the figures in µs."""
    rounds: dict[str, list[dict[str, float]]] = {}
    each = READERS // SELECTIONS
    with Stage() as stage:
        one, many, some, none = (stage.crowd() for _ in range(4))
        print("readers come …", file=sys.stderr, flush=True)
        stage.aim(one, "en")
        one.come(READERS)
        matching = [selection(*terms) for terms in islice(choices(SECTION, REGION), SELECTIONS)]
        others = [selection(*terms) for terms in islice(choices("sports", "asia", avoid=SECTION), SELECTIONS // 2)]
        assert len({*matching, *others}) == SELECTIONS * 3 // 2
        # Their snapshot is not to be empty: by its length the crowd knows that somebody is in.
        for _ in range(LINES_BEFORE):
            stage.editor.call("POST", "/v1/items", lines.draft(0, "es") | {"section": "sports", "regions": ["asia"]})
        for crowd, edition, queries in (
            (many, "ar", matching),
            (some, "es", matching[: SELECTIONS // 2]),
            (none, "es", others),
        ):
            for query in queries:
                stage.aim(crowd, edition, query)
                crowd.come(each, each)
        audiences = (
            Audience("one selection", "en", one, None, READERS),
            Audience(f"{SELECTIONS:,} selections, all match", "ar", many, None, READERS),
            Audience(f"{SELECTIONS:,} selections, half match", "es", some, none, READERS // 2),
        )
        for audience in audiences:
            one_round(stage, audience, WARM_UP)
            rounds[audience.label] = []
        for number in range(1, ROUNDS + 1):
            print(f"round {number} of {ROUNDS} …", file=sys.stderr, flush=True)
            for audience in audiences:
                rounds[audience.label].append(one_round(stage, audience, LINES))
    return report(rounds)


def choices(section: str, region: str, avoid: str = "") -> Any:
    """Distinct selections with these in them: sections, regions, urgency."""
    sections = [[section, *rest] for rest in subsets(set(SECTIONS) - {section, avoid})]
    regions = [[region, *rest] for rest in subsets(set(REGIONS) - {region})]
    # Not the shortest first only: every 16th of all that there are.
    return islice(product(sections, regions, (2, 3, 4)), 0, None, 16)


def subsets(terms: set[str]) -> list[tuple[str, ...]]:
    """All of them, in an order that is always the same."""
    return [part for size in range(len(terms) + 1) for part in combinations(sorted(terms), size)]


def selection(sections: list[str], regions: list[str], urgency: int) -> str:
    """The query of a reader."""
    terms = [f"section={term}" for term in sections] + [f"region={term}" for term in regions]
    return "&".join([*terms, f"urgency={urgency}"])


def one_round(stage: Stage, audience: Audience, count: int) -> dict[str, float]:
    """Publish so many lines, each when all have the one before; CPU per delivery in µs."""
    for crowd in filter(None, (audience.hear, audience.deaf)):
        crowd.tell("listen")
    used = cpu_seconds([stage.web])
    for number in range(1, count + 1):
        stage.editor.publish(audience.edition)
        heard = audience.hear.tell("await", number, LINE_SECONDS)
        assert not heard["short"], heard
        assert not heard["wrong"], heard
    used = cpu_seconds([stage.web]) - used
    if audience.deaf is not None:
        unheard = audience.deaf.tell("await", 1, 0)
        assert not unheard["heard"], unheard
    cpu = heard["cpu"] / heard["seconds"]
    return {"cpu_us": used * 1e6 / (count * audience.readers), "p50": heard["p50"], "crowd_cpu": cpu}


def report(rounds: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    figures: dict[str, Any] = {"unit": "us", "readers": READERS, "lines": LINES, "rounds": ROUNDS}
    print(f"\nweb process's CPU for a delivery, µs; {READERS:,} readers, {LINES} lines a round, median (min-max)\n")
    print(f"{'':<34}{'CPU, µs':>20}{'x one selection':>20}{'p50, ms':>24}{'readers CPU':>14}")
    one = next(iter(rounds.values()))
    for label, found in rounds.items():
        row: dict[str, Figure] = {key: spread([each[key] for each in found]) for key in ("cpu_us", "p50", "crowd_cpu")}
        row["ratio"] = spread([each["cpu_us"] / base["cpu_us"] for each, base in zip(found, one, strict=True)])
        figures[label] = row
        print(f"{label:<34}{shown(row['cpu_us']):>20}{shown(row['ratio']):>20}{shown(row['p50']):>24}", end="")
        print(f"{row['crowd_cpu']['median']:>14.0%}")
    print("\nratio within each round of three (goal: <= 1.3 x where all match)")
    return figures
