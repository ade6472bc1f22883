"""The two-person rule: who may put what on the air alone."""

from typing import Any

import msgspec
import pytest

from service.domain.approval import require_second
from service.domain.edition import parse_editions
from service.domain.instant import format_ms
from service.domain.item import Change
from service.domain.lifecycle import Decision, Record, act, change, create, fall_due
from service.errors import SecondPersonError
from tests.unit.samples import HOUR_MS, NOW_MS, draft

RULED = parse_editions('[editions.en]\nname = "English"\ntwo_person = [1, 2]')["en"]
FREE = parse_editions('[editions.en]\nname = "English"')["en"]


def make(by: str = "ann", state: Any = "draft", override: str | None = None, **fields: Any) -> Decision:
    made = create(RULED, draft(**{"urgency": 1} | fields), state=state, by=by, now_ms=NOW_MS)
    return require_second(RULED, None, made, override)


def do(record: Record, action: str, by: str, override: str | None = None) -> Decision:
    decision = act(record, action, version=None, by=by, now_ms=NOW_MS, note=None)
    return require_second(RULED, record, decision, override)


def edit(record: Record, by: str, override: str | None = None, **fields: Any) -> Decision:
    given = Change.parse(msgspec.json.encode({"change": "update", **fields}))
    return require_second(RULED, record, change(RULED, record, given, version=None, by=by, now_ms=NOW_MS), override)


def approved() -> Record:
    return do(do(make().record, "submit", "ann").record, "approve", "bob").record


def test_nobody_publishes_alone() -> None:
    for refused in (lambda: make(state="live"), lambda: do(make().record, "publish", "ann")):
        with pytest.raises(SecondPersonError, match="second person"):
            refused()
    with pytest.raises(SecondPersonError):
        do(make(by="ann").record, "publish", "bob")
    assert do(approved(), "publish", "ann").record.state == "live"


def test_other_urgencies_and_editions_are_free() -> None:
    assert make(state="live", urgency=3).record.state == "live"
    free = create(FREE, draft(urgency=1), state="live", by="ann", now_ms=NOW_MS)
    assert require_second(FREE, None, free, None) is free


@pytest.mark.parametrize("who", ["ann", "cat"])
def test_neither_who_wrote_it_nor_who_handed_it_in_approves(who: str) -> None:
    submitted = do(make(by="ann").record, "submit", "cat").record
    with pytest.raises(SecondPersonError, match="somebody else"):
        do(submitted, "approve", who)
    assert do(submitted, "approve", "bob").record.approved_by == "bob"


def test_a_new_text_is_approved_anew() -> None:
    changed = edit(approved(), "ann", headline="Another text").record
    assert (changed.state, changed.approved_by, changed.submitted_by) == ("submitted", None, "ann")
    with pytest.raises(SecondPersonError):
        do(changed, "publish", "bob")


def test_a_text_that_waits_for_its_time_is_approved_anew() -> None:
    line = make(embargoedUntil=format_ms(NOW_MS + HOUR_MS)).record
    waiting = do(do(do(line, "submit", "ann").record, "approve", "bob").record, "publish", "ann").record
    assert waiting.state == "embargoed"
    changed = edit(waiting, "ann", headline="Another text")
    assert (changed.record.state, changed.due_ms) == ("submitted", None)


def test_what_was_approved_goes_out_by_the_clock() -> None:
    line = make(publishAt=format_ms(NOW_MS + HOUR_MS)).record
    waiting = do(do(do(line, "submit", "ann").record, "approve", "bob").record, "publish", "ann").record
    out = fall_due(waiting, NOW_MS + HOUR_MS)
    assert out is not None
    assert require_second(RULED, waiting, out, None).record.state == "live"


def test_a_text_on_the_air_is_not_changed_alone() -> None:
    live = do(approved(), "publish", "ann").record
    with pytest.raises(SecondPersonError):
        edit(live, "ann", headline="Something else")
    routine = make(state="live", urgency=4).record
    with pytest.raises(SecondPersonError):
        edit(routine, "ann", urgency=1)
    with pytest.raises(SecondPersonError):
        edit(live, "ann", urgency=4)


@pytest.mark.parametrize("action", ["withhold", "kill", "expire"])
def test_taking_a_line_off_waits_for_nobody(action: str) -> None:
    live = do(approved(), "publish", "ann").record
    assert do(live, action, "ann").record.state != "live"


def test_an_emergency_passes_the_rule_over_with_a_reason_that_is_kept() -> None:
    alone = make(state="live", override="  Alone at 03:00  ")
    assert (alone.record.state, alone.override) == ("live", "Alone at 03:00")
    with pytest.raises(SecondPersonError):
        make(state="live", override="   ")
    assert edit(alone.record, "ann", override="A wrong name", headline="Right name").override == "A wrong name"
    assert make(state="live", urgency=3, override="no need").override is None, (
        "where there is no rule nothing is passed over"
    )
