"""Plan: what it says is what was measured, where that was measured; and it holds together where it was not."""

import json
import re
from bisect import bisect_left
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.plan import join
from service import app
from service.cli import main
from service.errors import SettingsError
from service.gateway import delivery, hub, portion
from service.plan import ask, model, shape, table
from service.plan.figures import Case, Figures, Measured, Spread, read
from service.plan.model import Plan
from service.plan.shape import Question, Shape, pass_ms, write_us
from service.plan.simulation import Setting, fitted, foretell, play
from service.web import watch

MEASURED = read(None)
FIGURES = MEASURED.figures
# The one case that the cost of a delivery is taken from; all others must come out of it.
FITTED = next(case for case in MEASURED.cases if (case.readers, case.processes, case.lines) == (5_000, 1, 1))
OTHERS = [case for case in MEASURED.cases if case is not FITTED]


def plan(**asked: Any) -> Plan:
    return model.plan(FIGURES, Question(**asked))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["plan", *arguments])


# The simulation against what was measured.


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name)
def test_the_simulation_foretells_each_measured_case_from_one_of_them(case: Case) -> None:
    assert foretell(fitted(FIGURES, FITTED), case) == pytest.approx(case.last_ms.median, rel=0.20)


def test_the_case_that_is_fitted_comes_out_as_it_was_measured() -> None:
    assert foretell(fitted(FIGURES, FITTED), FITTED) == pytest.approx(FITTED.last_ms.median, rel=0.01)


def test_the_cases_are_of_several_sizes_a_burst_and_two_processes() -> None:
    assert {case.readers for case in OTHERS} >= {1_000, 10_000, 15_000}
    assert any(case.lines > 1 for case in OTHERS)
    assert any(case.processes > 1 for case in OTHERS)


# The formulas against the simulation.


@pytest.mark.parametrize("processes", [1, 20, 300])
@pytest.mark.parametrize(
    ("each", "confirming"), [(500, 0.0), (5_000, 0.0), (20_000, 0.0), (20_000, 1.0), (60_000, 1.0)]
)
@pytest.mark.parametrize("burst", [1, 10])
def test_formulas_and_simulation_agree(processes: int, each: int, confirming: float, burst: int) -> None:
    # The simulation knows of no network card.
    quick = {"machine_gbits": 1e6, "wire_s": 0.02, "headroom": 0.0}
    question = Question(each * processes, burst=burst, confirming=confirming, **quick)
    formulas = Shape(FIGURES, question, processes)
    setting = Setting(
        question.readers,
        processes,
        [0.0, *[2.0] * (burst - 1)],
        editions=question.editions,
        confirming=confirming,
        round_trip_ms=40.0,
        same_path=True,
    )
    # Beats fall into the pass of some process, and then more confirmations do: between none of them and all of them.
    simulated = max(play(FIGURES, setting)) + 20.0
    assert 0.9 * formulas.last_ms <= simulated <= 1.1 * formulas.late_ms


def test_confirmations_that_come_during_a_pass_lengthen_it() -> None:
    quick = pass_ms(FIGURES, 100_000, 1, 0.0, 40.0)
    assert pass_ms(FIGURES, 100_000, 1, 1.0, 40.0) > 1.5 * quick
    assert pass_ms(FIGURES, 1_000, 1, 1.0, 40.0) == pytest.approx(pass_ms(FIGURES, 1_000, 1, 0.0, 40.0))


def test_who_comes_back_meanwhile_makes_the_last_reader_wait_longer() -> None:
    question = Question(100_000)
    found = table.play(FIGURES, question, model.plan(FIGURES, question))
    assert found.ordinary.p50 <= found.ordinary.p99
    assert found.coming_back.p50 > found.ordinary.p50


def test_the_same_question_has_the_same_answer() -> None:
    question = Question(100_000)
    first, second = (table.play(FIGURES, question, model.plan(FIGURES, question)) for _ in range(2))
    assert first == second


def test_lines_that_come_during_a_pass_are_joined_into_the_next() -> None:
    one = play(FIGURES, Setting(10_000, 1, [0.0], same_path=True))[0]
    first, *others = play(FIGURES, Setting(10_000, 1, [0.0, 10.0, 20.0, 30.0], same_path=True))
    assert first == pytest.approx(one, rel=0.05)
    # All three in one pass, behind the first: neither a pass each, nor none.
    assert max(at + wait for at, wait in zip((10.0, 20.0, 30.0), others, strict=True)) < 2.3 * one


def test_the_plan_knows_the_services_constants() -> None:
    assert shape.TURNS == hub.TURNS
    assert (shape.SLICE_MS, shape.SLICE_WRITES) == (delivery.SLICE_SECONDS * 1000, delivery.SLICE_WRITES)
    assert shape.LONGEST_WRITE == portion.LONGEST_WRITE
    assert 1 / app.REACH_SECONDS + 3 / watch.LOOK_SECONDS == shape.TRIPS
    assert 1 / app.REACH_SECONDS + 1 / watch.LOOK_SECONDS == shape.EDITION_TRIPS


# The plan.


@settings(max_examples=50, deadline=None)
@given(
    readers=st.integers(1, 5_000_000),
    more=st.integers(0, 5_000_000),
    deadline_s=st.sampled_from([0.25, 0.5, 1.0, 5.0]),
    burst=st.sampled_from([1, 10, 100]),
    lost_share=st.sampled_from([0.1, 0.5, 1.0]),
)
def test_more_readers_never_take_fewer_processes(
    readers: int, more: int, deadline_s: float, burst: int, lost_share: float
) -> None:
    few, many = (
        plan(readers=count, deadline_s=deadline_s, burst=burst, lost_share=lost_share)
        for count in (readers, readers + more)
    )
    if many.possible:
        assert few.possible
        assert few.processes <= many.processes
        assert few.memory_gb <= many.memory_gb


@settings(max_examples=50, deadline=None)
@given(
    readers=st.integers(1, 20_000_000),
    deadline_s=st.floats(0.1, 10),
    editions=st.integers(1, 30),
    burst=st.integers(1, 200),
    reconnect_s=st.floats(0.5, 300),
    headroom=st.floats(0, 0.8),
)
def test_a_plan_that_is_possible_keeps_every_limit(
    readers: int, deadline_s: float, editions: int, burst: int, reconnect_s: float, headroom: float
) -> None:
    found = plan(
        readers=readers,
        deadline_s=deadline_s,
        editions=editions,
        burst=burst,
        reconnect_s=reconnect_s,
        headroom=headroom,
    )
    assert found.processes * found.readers_per_process >= readers
    assert found.machines * found.processes_per_machine >= found.processes
    assert sum(hop.ms for hop in found.hops) == pytest.approx(found.last_ms, abs=1.0)
    assert found.redis_shards <= editions
    if found.possible:
        assert found.readers_per_process <= 20_000
        assert found.last_ms <= deadline_s * 1000
        assert found.reconnect_s <= reconnect_s
        assert found.redis_cpu_percent <= 100 * (1 - headroom)
    else:
        assert found.why


def test_one_reader_takes_one_process() -> None:
    assert (plan(readers=1).processes, plan(readers=1).machines, plan(readers=1).redis_shards) == (1, 1, 1)


def test_a_shorter_deadline_takes_more_processes() -> None:
    assert plan(readers=2_000_000, deadline_s=0.15).processes > plan(readers=2_000_000).processes


def test_a_network_card_that_is_too_slow_makes_readers_wait() -> None:
    slow, quick = (plan(readers=2_000_000, burst=10, deadline_s=5.0, machine_gbits=gbits) for gbits in (10.0, 100.0))
    assert slow.card_ms > 0
    assert quick.card_ms == 0
    assert slow.gbits_per_second_per_machine <= 10.001


def test_half_of_the_service_may_be_lost() -> None:
    whole, half = plan(readers=2_000_000), plan(readers=2_000_000, lost_share=0.5)
    assert half.processes == 2 * whole.processes
    assert half.readers_per_process == whole.readers_per_process  # of those that are left
    assert half.reconnect_s == pytest.approx(whole.reconnect_s / 2)  # the other half need not come back


def test_a_quick_way_back_takes_more_processes() -> None:
    assert plan(readers=2_000_000, reconnect_s=1.0).processes > plan(readers=2_000_000).processes


@pytest.mark.parametrize(("readers", "deadline_s"), [(31, 0.06), (2_000_000, 0.06), (10_000_000, 0.1)])
def test_what_cannot_be_says_so_and_what_could(readers: int, deadline_s: float) -> None:
    found = plan(readers=readers, deadline_s=deadline_s)
    assert not found.possible
    assert "the last reader waits" in found.why
    longer = next(each for each in found.instead if each.startswith("--deadline"))
    enough_s = ask.time("--deadline", longer.split()[1])
    assert plan(readers=readers, deadline_s=enough_s).possible
    # Two digits of what is needed.
    assert found.late_ms <= 1000 * enough_s <= 1.1 * found.late_ms


def test_a_redis_that_hears_too_many_gets_shards_and_then_there_are_several_services() -> None:
    few, many = (plan(readers=readers, editions=30) for readers in (100_000, 20_000_000))
    assert (few.redis_shards, few.possible) == (1, True)
    assert (many.redis_shards > 1, many.possible) == (True, True)
    alone = plan(readers=100_000_000, editions=1)
    assert not alone.possible
    assert "Redis" in alone.why
    each = next(each for each in alone.instead if each.startswith("--readers"))
    assert plan(readers=int(each.split()[1]), editions=1).possible


def test_a_shard_is_spared_the_queue_and_other_editions_and_no_more() -> None:
    question = Question(10_000_000)
    alone, three, two = (Shape(FIGURES, question, 500, shards).redis_share for shards in (1, 3, 2))
    assert 0.5 * alone < three < 0.9 * alone
    # Two editions on one of two shards are told of in trips of their own.
    assert two > alone


@pytest.mark.parametrize("asked", [{"readers": 1, "deadline_s": 0.001}, {"readers": 31, "deadline_s": 0.06}])
def test_no_cluster_is_asked_for_where_it_does_not_help(asked: dict[str, Any]) -> None:
    found = plan(**asked)
    assert (found.possible, found.redis_shards) == (False, 1)


def test_a_cluster_is_a_remedy_only_where_it_takes_load_from_a_primary() -> None:
    def remedy(editions: int) -> str:
        limits = plan(readers=2_000_000, editions=editions).limits
        return next(limit.then for limit in limits if limit.name == "a Redis primary's core")

    assert remedy(3).startswith("a Cluster of 3 makes it")
    assert "Cluster" not in remedy(1)


def test_what_a_primary_can_take_of_lines_is_what_its_web_processes_leave() -> None:
    assert plan(readers=500_000_000).lines_per_second_per_shard < 1
    found = plan(readers=2_000_000)
    most = Question(2_000_000, lines_an_hour=3600 * found.lines_per_second_per_shard / 3)
    assert Shape(FIGURES, most, found.processes).redis_share == pytest.approx(0.7)


def test_a_balancer_comes_with_the_second_machine() -> None:
    assert plan(readers=280_000).balancer_addresses == 0
    found = plan(readers=300_000)
    assert (found.machines, found.readers_per_machine, found.balancer_addresses) == (2, 280_000, 10)


def test_a_long_burst_goes_in_several_writes() -> None:
    fits = int(portion.LONGEST_WRITE // FIGURES.frame_bytes.median)
    assert write_us(FIGURES, 1) == pytest.approx(FIGURES.delivery_us.median)
    assert write_us(FIGURES, 10) == pytest.approx(10 * FIGURES.burst_line_us.median, rel=0.15)
    assert write_us(FIGURES, fits + 1) - write_us(FIGURES, fits) > 0.5 * FIGURES.delivery_us.median


# The page.


def row(**asked: Any) -> list[str]:
    question = Question(**asked)
    found = model.plan(FIGURES, question)
    late = table.play(FIGURES, question, found).ordinary.p99
    return [
        f"{found.processes:,}",
        f"{found.machines:,}",
        f"{found.memory_gb:,.1f} GB",
        f"{found.gbits_per_second_per_machine:,.1f} Gbit/s",
        f"{found.web_cpu_percent:,.1f} %",
        f"{found.redis_cpu_percent:,.1f} %",
        f"{found.last_ms:,.0f} ms",
        f"{late:,.0f} ms",
    ]


def written(rows: dict[str, list[str]], first: str) -> str:
    head = [
        first,
        "processes",
        "machines",
        "memory",
        "a machine's network, in a pass",
        "a web core",
        "a primary's core",
    ]
    head += ["last reader", "one in a hundred"]
    lines = [head, ["---"] * len(head), *([name, *cells] for name, cells in rows.items())]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def test_the_pages_numbers_are_the_plans() -> None:
    steps = {f"{count:,}": row(readers=count) for count in (1, 20_000, 200_000, 2_000_000, 10_000_000)}
    changes: dict[str, dict[str, Any]] = {
        "": {},
        "`--burst 10`": {"burst": 10},
        "`--burst 10 --confirming 0%`": {"burst": 10, "confirming": 0.0},
        "`--burst 10 --machine-gbits 25`": {"burst": 10, "machine_gbits": 25.0},
        "`--burst 10 --machine-gbits 25 --confirming 0%`": {"burst": 10, "machine_gbits": 25.0, "confirming": 0.0},
        "`--wire 0ms`": {"wire_s": 0.0},
        "`--wire 0ms --confirming 0%`": {"wire_s": 0.0, "confirming": 0.0},
        "`--deadline 250ms`": {"deadline_s": 0.25},
        "`--reconnect 50%/30s`": {"lost_share": 0.5, "reconnect_s": 30.0},
        "`--reconnect 100%/1s`": {"reconnect_s": 1.0},
        "`--lines-an-hour 3600`": {"lines_an_hour": 3_600.0},
    }
    for wanted in (
        written(steps, "readers"),
        written({name: row(readers=2_000_000, **asked) for name, asked in changes.items()}, "changed"),
    ):
        on_the_page(wanted)


def on_the_page(wanted: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
    assert wanted in page, f"docs/scaling.md is of other figures; put this in:\n{wanted}"


def carried(editions: int, *, cluster: bool) -> str:
    """How many readers Redis carries, in whole millions."""

    def carries(millions: int) -> bool:
        found = plan(readers=millions * 1_000_000, editions=editions)
        return found.possible and (cluster or found.redis_shards == 1)

    return f"{bisect_left(range(1, 1_000), True, key=lambda millions: not carries(millions))} million"


def test_the_page_says_what_a_cluster_gains() -> None:
    rows = [
        f"| {editions} | {carried(editions, cluster=False)} | {carried(editions, cluster=True)} |\n"
        for editions in (1, 3, 10, 30)
    ]
    on_the_page("| editions | one primary carries | a Cluster carries |\n| --- | --- | --- |\n" + "".join(rows))


@pytest.mark.parametrize(
    ("readers", "heading"),
    [
        (20_000, "What decides how many processes"),
        (200_000, "What breaks first beyond that"),
        (2_000_000, "What breaks first beyond that"),
        (10_000_000, "What breaks first beyond that"),
    ],
)
def test_page_and_command_agree_on_what_breaks_first(readers: int, heading: str) -> None:
    lines = run("--readers", str(readers)).output.splitlines()
    first, then = (line.partition(" %  ")[2].partition(" (")[0] for line in lines[lines.index(heading) + 1 :][:2])
    on_the_page(f"**Breaks first: {first}; then {then}.**")


def test_the_numbers_between_the_pages_tables_are_the_figures() -> None:
    on_the_page(f"some {round(1000 * shape.HELD_MS / FIGURES.ack_us.median, -2):,.0f} readers a process")
    on_the_page(f"A process lets in some {round(Shape(FIGURES, Question(1), 1).handshakes, -3):,.0f} a second")


# The command.


def test_the_table_says_what_was_asked_for() -> None:
    result = run("--readers", "2000000", "--deadline", "1s")
    assert result.exit_code == 0
    for wanted in (
        "2,000,000 readers, 1 line at once with the last reader in 1 s; 3 editions",
        "web processes",
        "GB",
        "Gbit/s",
        "handshakes/s",
        "Until the last reader has a line",
        "What breaks first",
        "Assumptions",
    ):
        assert wanted in result.output


@pytest.mark.parametrize("readers", ["1", "2000000", "40000000", "50000000"])
def test_what_is_used_up_is_in_the_bill_and_not_in_what_breaks_next(readers: str) -> None:
    bill, _, beyond = run("--readers", readers).output.partition("What breaks first beyond that\n")
    used = [float(line.split()[0].replace(",", "")) for line in beyond.partition("\n\n")[0].splitlines()]
    assert all(percent <= 100 for percent in used)
    assert ("balancer addresses                10   of 28,232 ports each" in bill) == (readers != "1")
    assert ("tracked connections          280,000   a machine" in bill) == (readers != "1")
    assert ("maxclients" in bill) == (readers in {"40000000", "50000000"})


@pytest.mark.parametrize("arguments", [("1", "--deadline", "1ms"), ("2000000",), ("2000000", "--deadline", "90ms")])
def test_the_wait_that_the_deadline_is_held_against_is_one_number(arguments: tuple[str, ...]) -> None:
    output = run("--readers", *arguments).output
    line = next(line for line in output.splitlines() if "held to the deadline: 30% of each core free" in line)
    found = json.loads(run("--readers", *arguments, "--json").output)
    late_ms, limits = found["plan"]["late_ms"], found["plan"]["limits"]
    assert line.endswith(f" {late_ms:,.1f} ms")
    used = next(limit["used"] for limit in limits if limit["name"] == "the deadline, headroom kept")
    assert used == pytest.approx(late_ms / found["question"]["deadline_s"] / 10)
    if not found["plan"]["possible"]:
        assert f"the last reader waits up to {late_ms:,.0f} ms, of" in output


@pytest.mark.parametrize("readers", [1, 20_000, 200_000])
def test_a_machines_network_is_as_busy_as_its_row_says(readers: int) -> None:
    found = plan(readers=readers)
    used = next(limit.used for limit in found.limits if limit.name == "a machine's network, in a pass")
    assert used == pytest.approx(100 * found.gbits_per_second_per_machine / 10)


def test_one_is_not_many_and_thousands_have_a_comma() -> None:
    small = run("--readers", "5", "--readers-per-process", "1", "--machine-cores", "1").output
    assert "of 1 core, 1 process each" in small
    busy = run("--readers", "100000", "--lines-an-hour", "1000000").output
    assert not re.search(r"\d{4}", "\n".join(line for line in busy.splitlines() if "%" in line and "cores" in line))


def test_json_is_for_machines() -> None:
    said = json.loads(run("--readers", "2000000", "--json").output)
    assert said["question"]["readers"] == 2_000_000
    assert said["plan"]["possible"] is True
    assert said["plan"]["processes"] == plan(readers=2_000_000).processes
    assert said["simulated_ms"]["ordinary"]["p99"] >= said["simulated_ms"]["ordinary"]["p50"]


def test_what_cannot_be_ends_with_status_1_and_says_why() -> None:
    result = run("--readers", "2000000", "--deadline", "20ms")
    assert result.exit_code == 1
    assert "That cannot be: the last reader waits up to" in result.output
    assert "it would be with --deadline" in result.output


def test_the_settings_limit_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOPPRESS_MAX_READERS", "5000")
    assert json.loads(run("--readers", "10000", "--json").output)["plan"]["processes"] == 2
    assert (
        json.loads(run("--readers", "10000", "--readers-per-process", "2500", "--json").output)["plan"]["processes"]
        == 4
    )


def test_the_users_own_figures_replace_the_packages(tmp_path: Path) -> None:
    slow = msgspec.structs.replace(FIGURES, delivery_us=Spread(30.0, 30.0, 30.0))
    mine = tmp_path / "figures.json"
    mine.write_bytes(msgspec.json.encode(msgspec.structs.replace(MEASURED, figures=slow, machine="a slow machine")))
    result = run("--readers", "50000", "--figures", str(mine))
    assert "a slow machine" in result.output
    asked = ("--readers", "50000", "--deadline", "300ms", "--json")
    theirs, ours = (json.loads(run(*asked, *more).output)["plan"] for more in (("--figures", str(mine)), ()))
    assert theirs["processes"] > ours["processes"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--deadline", "soon"], "--deadline: expected a time such as 1s, 500ms or 2m, got 'soon'"),
        (["--deadline", "0ms"], "--deadline: expected 1ms to 1440m, got '0ms'"),
        (["--deadline", "100000m"], "--deadline: expected 1ms to 1440m, got '100000m'"),
        (["--wire", "near"], "--wire: expected a time such as 1s, 500ms or 2m, got 'near'"),
        (["--reconnect", "60s"], "--reconnect: expected a share and a time such as 50%/30s, got '60s'"),
        (["--reconnect", "half/30s"], "--reconnect: expected a share from 0% to 100%, got 'half'"),
        (["--reconnect", "0%/30s"], "--reconnect: expected more than 0% to be lost, got '0%/30s'"),
        (["--headroom", "100%"], "--headroom: expected less than 100%, got '100%'"),
        (["--headroom", "0.3"], "--headroom: expected a share from 0% to 100%, got '0.3'"),
        (["--figures", "nowhere.json"], "--figures: nowhere.json cannot be read: No such file or directory"),
        (["--readers", "abc"], "'--readers': expected a whole number from 1 to 1,000,000,000, got 'abc'"),
        (["--burst", "0"], "'--burst': expected a whole number from 1 to 10,000, got '0'"),
        (["--machine-gbits", "many"], "'--machine-gbits': expected a number from 0.01 to 10,000, got 'many'"),
    ],
)
def test_a_wrong_option_is_no_answer_and_says_what_was_expected(arguments: list[str], expected: str) -> None:
    result = run("--readers", "1000", *arguments)
    assert result.exit_code == 2
    assert result.output.endswith(f"{expected}\n")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-nan"])
@pytest.mark.parametrize(
    "option",
    [option.opts[0] for option in main.commands["plan"].params if option.name not in {"file", "as_json"}],
)
def test_no_option_takes_what_is_no_number(option: str, value: str) -> None:
    result = run("--readers", "100", f"{option}={value}")
    assert (result.exit_code, "expected" in result.output) == (2, True)


def test_a_wrong_setting_of_the_environment_is_no_answer_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOPPRESS_MAX_READERS", "many")
    result = run("--readers", "100")
    assert (result.exit_code, "STOPPRESS_MAX_READERS" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": 2}, "expected format 1, got 2"),
        ({"figures": {}}, "missing required field"),
        ({"strange": 1}, "unknown field `strange`"),
    ],
)
def test_a_file_that_is_no_figures_file_is_refused(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(msgspec.to_builtins(MEASURED) | change))
    with pytest.raises(SettingsError, match=expected):
        read(other)


def test_a_figure_that_is_none_is_named(tmp_path: Path) -> None:
    wrong = msgspec.to_builtins(MEASURED)
    wrong["figures"]["ack_us"] = {"median": 0.0, "min": 0.0, "max": 0.0}
    other = tmp_path / "other.json"
    other.write_text(json.dumps(wrong))
    with pytest.raises(SettingsError, match=r"expected 0 < min <= median <= max, .* ack_us"):
        read(other)


def test_the_packages_figures_are_measured_ones() -> None:
    assert isinstance(MEASURED, Measured)
    assert isinstance(FIGURES, Figures)
    assert MEASURED.kept == []


def test_results_of_a_bench_are_joined_into_a_figures_file(tmp_path: Path) -> None:
    def leaf(value: float) -> dict[str, float]:
        return {"median": value, "min": value * 0.9, "max": value * 1.1}

    def row(last_ms: float) -> dict[str, Any]:
        return {
            "single_cpu_us": leaf(6.5),
            "burst_cpu_us": leaf(0.7),
            "single_last_ms": leaf(last_ms),
            "burst_last_ms": leaf(1.2 * last_ms),
            "handshakes": leaf(16_000.0),
            "bytes_per_reader": leaf(2_300.0),
        }

    fanout = {"own": "Stoppress", "servers": {"Stoppress": {"1000": row(11.0), "5000": row(37.0)}, "floor": {}}}
    processes = {
        "readers": 10_000,
        "one web process": {"last_ms": leaf(72.0)},
        "2 web processes": {"last_ms": leaf(37.0)},
    }
    joined = tmp_path / "figures.json"
    joined.write_text(
        json.dumps(
            join({"fanout": fanout, "processes": processes, "plan": {"ack_us": leaf(20.0), "redis_version": "8.0"}})
        )
    )
    measured = read(joined)
    assert (measured.figures.delivery_us.median, measured.figures.ack_us.median) == (6.5, 20.0)
    assert measured.figures.handshake_us.median == pytest.approx(62.5)
    assert measured.versions["redis"] == "8.0"
    assert {(case.readers, case.processes, case.lines) for case in measured.cases} == {
        (1_000, 1, 1), (5_000, 1, 1), (5_000, 1, 10), (10_000, 1, 1), (10_000, 2, 1)
    }  # fmt: skip
    assert "beat_us" in measured.kept
    assert "ack_us" not in measured.kept


@pytest.mark.parametrize(("text", "expected"), [("1s", 1.0), ("500ms", 0.5), ("2m", 120.0), ("1.5s", 1.5)])
def test_times_have_units(text: str, expected: float) -> None:
    assert ask.time("--deadline", text) == pytest.approx(expected)
    assert shape.seconds(expected).split()[1] in {"s", "ms", "min"}
