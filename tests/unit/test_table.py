"""The figures' table: the pages say what the results say."""

import subprocess
from pathlib import Path

import pytest

from bench import table
from bench.table import GOALS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"


def measured_here() -> bool:
    """Whether the results are no longer those of the checkout, since somebody has run `make bench`."""
    command = ["git", "diff", "--quiet", "HEAD", "--", "bench/results/*.json"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 1


def test_the_readmes_figures_are_those_of_the_results() -> None:
    rows = "\n".join(table.rows(table.read(RESULTS), brief=True))
    is_so = rows in (ROOT / "README.md").read_text()
    if not is_so and measured_here():
        pytest.skip(f"README.md has the figures of the checkout, these were measured here:\n{rows}")
    assert is_so, f"README.md is of other figures; put this in:\n{rows}"


def test_the_results_page_is_of_the_results(tmp_path: Path) -> None:
    for result in RESULTS.glob("*.json"):
        (tmp_path / result.name).write_text(result.read_text())
    assert table.write(tmp_path).read_text() == (RESULTS / "README.md").read_text()


def test_every_goal_was_measured_and_a_missed_one_says_so() -> None:
    rows = table.rows(table.read(RESULTS))[2:]
    assert len(rows) == len(GOALS)
    assert not [row for row in rows if "not measured" in row]
    results = table.read(RESULTS)
    for goal, row in zip(GOALS, rows, strict=True):
        assert ("**no**" in row) == (not goal.met(goal.reached(results)["median"])), row


def test_a_figure_without_a_result_is_named_as_not_measured() -> None:
    rows = table.rows({})[2:]
    assert len(rows) == len(GOALS)
    assert all("not measured" in row for row in rows)
