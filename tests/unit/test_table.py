"""The figures' table: the pages say what the results say."""

from pathlib import Path

from bench import table
from bench.table import GOALS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"


def test_the_readmes_figures_are_those_of_the_results() -> None:
    rows = "\n".join(table.rows(table.read(RESULTS), brief=True))
    assert rows in (ROOT / "README.md").read_text(), f"README.md is of other figures; put this in:\n{rows}"


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
