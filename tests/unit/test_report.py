"""Report: an item's story, joined from its history and the audit."""

import csv
import io

from service.domain import lifecycle
from service.domain.item import Change
from service.domain.lifecycle import Decision
from service.store.audit import AuditEntry, Seen
from service.store.chain import Linked
from service.web.report import Report, as_csv, build
from tests.unit.samples import EN, NOW_MS, draft


def life(*actions: str) -> list[Decision]:
    """A draft, and what was done to it then; `update` gives it another headline."""
    decisions = [lifecycle.create(EN, draft(id="a"), state="draft", by="ann", now_ms=NOW_MS)]
    for place, action in enumerate(actions, 1):
        record, now = decisions[-1].record, NOW_MS + place
        if action == "update":
            given = Change(change="update", headline=f"Headline {place}")
            decisions.append(lifecycle.change(EN, record, given, version=None, by="bob", now_ms=now))
        else:
            decisions.append(lifecycle.act(record, action, version=None, by="bob", now_ms=now))
    return decisions


def audited(decisions: list[Decision]) -> list[Seen]:
    return [
        Seen(Linked(edition="en", id=f"{n}-0", n=n, link=f"{n:040}", entry=""), AuditEntry.of(decision, "192.0.2.1"))
        for n, decision in enumerate(decisions, 1)
    ]


def rows(report: Report, *, addresses: bool = False) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(report, addresses=addresses).decode("utf-8-sig"))))


def test_further_columns_stand_at_the_step_of_their_version_that_readers_got() -> None:
    decisions = life("submit", "publish", "update")
    more = {1: {"first screen": "40 ms"}, 2: {"first screen": "50 ms", "99 % of screens": "90 ms"}}
    report = build(decisions[-1].record, [each.history for each in decisions], [], None, more, 10)
    assert report.columns == ["first screen", "99 % of screens"]
    assert [step.more for step in report.steps] == [{}, {}, more[1], more[2]]
    assert [row["first screen"] for row in rows(report)] == ["", "", "40 ms", "50 ms"]
    assert [row["99 % of screens"] for row in rows(report)] == ["", "", "", "90 ms"]


def test_after_a_kill_the_audit_alone_tells_the_story() -> None:
    decisions = life("publish", "update", "kill")
    report = build(decisions[-1].record, [decisions[-1].history], audited(decisions), None, {}, 10)
    assert [step.action for step in report.steps] == ["create", "publish", "update", "kill"]
    assert [(each.word, each.by) for each in report.milestones] == [
        ("Accepted", "ann"),
        ("Published", "bob"),
        ("Killed", "bob"),
    ]
    assert b"eadline 2" not in as_csv(report, addresses=True)
    assert all(step.item is None and not step.diff for step in report.steps)


def test_without_the_audit_the_history_alone_tells_it() -> None:
    decisions = life("publish", "update")
    report = build(decisions[-1].record, [each.history for each in decisions], [], None, {}, 10)
    assert [step.action for step in report.steps] == ["create", "publish", "update"]
    assert [step.n for step in report.steps] == [None, None, None]


def test_only_as_many_steps_as_are_shown_are_compared() -> None:
    decisions = life("publish", "update", "update", "update")
    report = build(decisions[-1].record, [each.history for each in decisions], [], None, {}, 2)
    assert [bool(step.diff) for step in report.steps] == [False, False, False, True, True]


def test_addresses_are_in_a_chiefs_file_only() -> None:
    decisions = life("publish")
    report = build(decisions[-1].record, [each.history for each in decisions], audited(decisions), None, {}, 0)
    assert [row["address"] for row in rows(report, addresses=True)] == ["192.0.2.1", "192.0.2.1"]
    assert b"192.0.2.1" not in as_csv(report, addresses=False)
