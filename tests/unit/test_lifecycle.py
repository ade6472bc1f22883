"""Lifecycle: what may happen to an item."""

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.frames import ItemChanged, decode_news
from service.domain.instant import format_ms
from service.domain.item import EXPIRES_AFTER_MS, Change, Correction, Item
from service.domain.lifecycle import (
    ACTIONS,
    EDITABLE,
    STARTS,
    Before,
    Decision,
    Record,
    State,
    act,
    change,
    create,
    expire,
    fall_due,
)
from service.errors import ConflictError, InvalidFieldError, StaleError
from tests.unit.samples import EN, HOUR_MS, NOW_MS, draft, record

STATES: tuple[State, ...] = get_args(State)
LATER_MS = NOW_MS + 60_000

# Where each action leads; `publish` of a draft whose embargo is not over leads to `embargoed` instead.
ENDS = {"submit": "submitted", "approve": "approved", "publish": "live", "withhold": "withheld", "release": "live"}
ENDS |= {"kill": "killed", "expire": "expired", "stop": "draft"}


def _act(item: Record, action: str, now_ms: int = LATER_MS, **given: Any) -> Decision:
    if action == "link":
        given.setdefault("story", "another")
    return act(item, action, version=given.pop("version", None), by="ann", now_ms=now_ms, **given)


def _change(item: Record, kind: str = "update", now_ms: int = LATER_MS, **fields: Any) -> Decision:
    body = Change.parse(msgspec.json.encode({"change": kind, **fields}))
    return change(EN, item, body, version=None, by="ann", now_ms=now_ms)


def _create(state: Any = "live", **fields: Any) -> Decision:
    return create(EN, draft(**fields), state=state, by="ann", now_ms=NOW_MS)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("state", STATES)
def test_an_action_is_allowed_exactly_where_the_table_says(state: State, action: str) -> None:
    before = record(state, pinned=action == "unpin")
    if state not in STARTS[action]:
        with pytest.raises(ConflictError):
            _act(before, action)
        return
    after = _act(before, action).record
    assert after.state == ENDS.get(action, state)
    assert after.rev == before.rev + 1


def test_the_table_knows_every_action_and_lets_nothing_start_from_killed() -> None:
    assert set(STARTS) == set(ACTIONS)
    assert all("killed" not in starts for starts in STARTS.values())
    assert set(STARTS["kill"]) == set(STATES) - {"killed"}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_killed_item_takes_no_further_action(action: str) -> None:
    with pytest.raises(ConflictError, match="final"):
        _act(record("killed"), action, version=99)


@pytest.mark.parametrize("state", STATES)
def test_text_changes_while_the_life_is_not_over(state: State) -> None:
    # What is embargoed says until when; without it there is nothing to keep.
    when = "publish_at" if state == "scheduled" else "embargoed_until"
    before = msgspec.structs.replace(record(state), **{when: format_ms(NOW_MS + HOUR_MS)})
    if state not in EDITABLE:
        with pytest.raises(ConflictError, match="not over"):
            _change(before, headline="New")
        return
    decision = _change(before, headline="New")
    assert decision.record.state == state
    assert decision.record.version == before.version + 1
    assert decision.record.item is not None
    assert (decision.record.item.headline, decision.record.item.version) == ("New", before.version + 1)
    assert (decision.entry is not None) == (state == "live")


ENTRIES = {("publish", state) for state in ("draft", "submitted", "approved", "scheduled", "embargoed")}
ENTRIES |= {("withhold", "live"), ("release", "withheld"), ("expire", "live"), ("pin", "live"), ("unpin", "live")}
ENTRIES |= {("kill", state) for state in ("live", "withheld", "expired")}


@pytest.mark.parametrize(
    ("action", "state"), [(action, state) for action, states in STARTS.items() for state in states]
)
def test_readers_hear_only_of_what_they_can_have_seen(action: str, state: str) -> None:
    decision = _act(record(state, pinned=action == "unpin"), action, note="secret reason")
    assert (decision.entry is not None) == ((action, state) in ENTRIES)
    if decision.entry is None:
        return
    assert decision.entry.version == decision.record.version
    assert "secret" not in msgspec.json.encode(decision.entry).decode()
    if decision.entry.kind == "remove":
        assert decision.entry.reason == decision.record.state
        assert decision.entry.wire is None
    else:
        assert decision.entry.wire is not None
        assert msgspec.json.decode(decision.entry.wire, type=Item) == decision.record.item


def test_a_kill_leaves_no_text_but_the_reason() -> None:
    decision = _act(record("live", headline="Libel"), "kill", note="court order")
    assert decision.record.item is None
    assert decision.record.note == "court order"
    assert decision.due_ms is None
    assert b"Libel" not in msgspec.json.encode(decision)


def test_a_stale_version_is_refused_with_the_current_one() -> None:
    for version in (0, 2, 99):
        with pytest.raises(StaleError) as refusal:
            _act(record("live"), "withhold", version=version)
        assert refusal.value.extra == {"current": 1, "state": "live"}
        given = Change(change="update", headline="New")
        with pytest.raises(StaleError):
            change(EN, record("live"), given, version=version, by="ann", now_ms=NOW_MS)
    assert _act(record("live"), "withhold", version=1).record.version == 2


def test_a_pinned_line_is_not_pinned_again() -> None:
    with pytest.raises(ConflictError, match="not pinned"):
        _act(record("live", pinned=True), "pin")
    with pytest.raises(ConflictError, match="pinned"):
        _act(record("live"), "unpin")
    pinned = _act(record("live"), "pin").record.item
    assert pinned is not None
    assert pinned.pinned


@pytest.mark.parametrize("note", [None, "", " ", "a\u202eb", "a\0b", "two\nlines"])
def test_a_correction_needs_a_note_that_readers_can_see(note: str | None) -> None:
    with pytest.raises(InvalidFieldError) as refusal:
        _change(record("live"), "correct", headline="Right", note=note)
    assert refusal.value.path == "$.note"


def test_a_correction_is_public_and_an_update_or_refile_is_silent() -> None:
    corrected = _change(record("live"), "correct", headline="Right", note=" It was wrong ").record
    assert corrected.item is not None
    assert corrected.item.correction == Correction(type="corrected", note="It was wrong", at=format_ms(LATER_MS))
    for kind in ("update", "refile"):
        later = _change(corrected, kind, headline="Righter", note="internal").record
        assert later.item is not None
        assert later.item.correction == corrected.item.correction


def test_what_was_never_public_has_nothing_to_correct_in_public() -> None:
    corrected = _change(record("draft"), "correct", headline="Right", note="It was wrong").record
    assert corrected.item is not None
    assert corrected.item.correction is None


def test_null_clears_a_field_and_what_is_not_sent_stays() -> None:
    before = record("live", speaker="Ministry", outlet="Agency", link="https://a.example", section="politics")
    after = _change(before, speaker=None, link=None, section=None).record.item
    assert after is not None
    assert (after.speaker, after.outlet, after.link, after.section) == (None, "Agency", None, "miscellaneous")


@pytest.mark.parametrize("fields", [{}, {"headline": "Ceasefire takes effect"}, {"speaker": None}, {"regions": []}])
def test_a_change_of_nothing_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConflictError, match="expected a change"):
        _change(record("live"), **fields)


# Embargo and expiry.


def test_an_embargoed_line_waits_and_goes_public_at_its_time() -> None:
    until = NOW_MS + HOUR_MS
    made = _create(embargoedUntil=format_ms(until), urgency=1)
    assert (made.record.state, made.entry, made.due_ms, made.record.public) == ("embargoed", None, until, False)
    assert fall_due(made.record, until - 1) is None
    # The clock is a little late; the line says the time it was promised for.
    public = fall_due(made.record, until + 20)
    assert public is not None
    assert public.entry is not None
    item = public.record.item
    assert item is not None
    assert (public.record.state, public.record.version, public.record.embargoed_until) == ("live", 1, None)
    assert item.published_at == format_ms(until)
    assert item.expires == format_ms(until + EXPIRES_AFTER_MS[1])


def test_the_default_expiry_of_a_draft_counts_from_its_publication() -> None:
    draft = record("draft", urgency=1)
    later = NOW_MS + 2 * HOUR_MS - 1
    public = act(draft, "publish", version=None, by="editor", now_ms=later).record.item
    assert public is not None
    assert public.expires == format_ms(later + EXPIRES_AFTER_MS[1])


def test_an_editor_may_end_an_embargo() -> None:
    made = _create(embargoedUntil=format_ms(NOW_MS + HOUR_MS)).record
    public = _act(made, "publish").record
    assert public.item is not None
    assert (public.state, public.item.published_at) == ("live", format_ms(LATER_MS))


@pytest.mark.parametrize("state", ["draft", "submitted", "approved"])
def test_publishing_text_whose_embargo_is_not_over_leaves_it_to_the_clock(state: str) -> None:
    until = format_ms(NOW_MS + HOUR_MS)
    waiting = _act(record(state, embargoedUntil=until), "publish")
    assert (waiting.record.state, waiting.entry, waiting.record.public) == ("embargoed", None, False)
    assert waiting.due_ms == NOW_MS + HOUR_MS
    late = _act(record(state, embargoedUntil=until), "publish", NOW_MS + 2 * HOUR_MS).record
    assert late.item is not None
    assert (late.state, late.item.published_at) == ("live", format_ms(NOW_MS + 2 * HOUR_MS))


def test_an_embargo_can_be_moved_but_not_dropped_nor_laid_on_what_is_public() -> None:
    made = _create(embargoedUntil=format_ms(NOW_MS + HOUR_MS)).record
    moved = _change(made, embargoedUntil=format_ms(NOW_MS + 2 * HOUR_MS))
    assert moved.due_ms == NOW_MS + 2 * HOUR_MS
    assert moved.record.item is not None
    assert moved.record.item.published_at == format_ms(NOW_MS + 2 * HOUR_MS)
    with pytest.raises(ConflictError, match="action publish"):
        _change(made, embargoedUntil=None)
    with pytest.raises(ConflictError, match="not public yet"):
        _change(record("live"), embargoedUntil=format_ms(NOW_MS + HOUR_MS))
    with pytest.raises(InvalidFieldError, match="after now"):
        _change(made, embargoedUntil=format_ms(LATER_MS))


def test_a_draft_can_lose_its_embargo() -> None:
    freed = _change(_create("draft", embargoedUntil=format_ms(NOW_MS + HOUR_MS)).record, embargoedUntil=None).record
    assert freed.embargoed_until is None
    assert _act(freed, "publish").record.state == "live"


def test_nothing_may_expire_before_it_is_public() -> None:
    until, early = format_ms(NOW_MS + 2 * HOUR_MS), format_ms(NOW_MS + HOUR_MS)
    with pytest.raises(InvalidFieldError) as refusal:
        _create(embargoedUntil=until, expires=early)
    assert refusal.value.path == "$.expires"
    with pytest.raises(InvalidFieldError):
        _create(expires=format_ms(NOW_MS))
    made = _create(embargoedUntil=until).record
    with pytest.raises(InvalidFieldError):
        _change(made, expires=early)
    with pytest.raises(InvalidFieldError):
        _change(record("draft"), embargoedUntil=until, expires=early)
    default = _change(record("draft", urgency=2), embargoedUntil=until, expires=None).record.item
    assert default is not None
    assert default.expires == format_ms(NOW_MS + 2 * HOUR_MS + EXPIRES_AFTER_MS[2])


def test_a_draft_that_waited_too_long_gets_its_time_anew() -> None:
    late_ms = NOW_MS + 100 * HOUR_MS
    item = _act(record("draft", urgency=1), "publish", late_ms).record.item
    assert item is not None
    assert item.expires == format_ms(late_ms + EXPIRES_AFTER_MS[1])


@pytest.mark.parametrize(("state", "announced"), [("live", True), ("withheld", False)])
def test_a_line_expires_at_its_time_and_only_a_shown_one_is_taken_off(state: str, announced: bool) -> None:
    before = record(state, urgency=1)
    ends_ms = NOW_MS + EXPIRES_AFTER_MS[1]
    assert fall_due(before, ends_ms - 1) is None
    over = fall_due(before, ends_ms)
    assert over is not None
    assert (over.record.state, over.due_ms, over.record.changed_by) == ("expired", None, "clock")
    assert (over.entry is not None) == announced


@pytest.mark.parametrize("state", ["draft", "submitted", "approved", "expired", "killed"])
def test_the_clock_leaves_everything_else_alone(state: str) -> None:
    assert fall_due(record(state), NOW_MS + 1000 * HOUR_MS) is None


def test_a_live_line_says_when_the_clock_must_look_again() -> None:
    ends_ms = NOW_MS + 5 * HOUR_MS
    assert _create(expires=format_ms(ends_ms)).due_ms == ends_ms
    assert _change(record("live"), expires=format_ms(ends_ms)).due_ms == ends_ms
    assert _create("draft").due_ms is None


def test_a_new_line_is_what_was_asked_for() -> None:
    live, waiting = _create(id="mine"), _create("draft", note="see agency")
    assert (live.action, live.record.state, live.record.id, live.record.public) == ("publish", "live", "mine", True)
    assert (waiting.action, waiting.record.state, waiting.entry, waiting.record.public) == (
        "create",
        "draft",
        None,
        False,
    )
    assert (live.record.version, live.record.rev, live.history.version) == (1, 1, 1)
    assert waiting.record.note == "see agency"


# Any life at all.

steps = st.lists(
    st.tuples(
        st.sampled_from([*ACTIONS, "update", "correct", "refile", "clock", "embargo"]),
        st.sampled_from([0, 1, 60_000, HOUR_MS, 13 * HOUR_MS]),
    ),
    min_size=5,
    max_size=25,
)


def _step(before: Record, step: str, now_ms: int) -> Decision | None:
    try:
        if step == "clock":
            return fall_due(before, now_ms)
        if step == "embargo":
            return _change(before, now_ms=now_ms, embargoedUntil=format_ms(now_ms + HOUR_MS))
        if step in ACTIONS:
            return _act(before, step, now_ms)
        return _change(before, step, now_ms, note="note", headline=f"Line {before.rev}")
    except ConflictError:
        return None


@given(st.sampled_from(["draft", "live"]), st.booleans(), steps)
def test_versions_rise_and_a_kill_is_the_end(state: str, embargoed: bool, steps: list[tuple[str, int]]) -> None:
    until = {"embargoedUntil": format_ms(NOW_MS + HOUR_MS)} if embargoed else {}
    decisions, now_ms = [_create(state, **until)], NOW_MS
    for step, later_ms in steps:
        now_ms += later_ms
        before = decisions[-1].record
        decision = _step(before, step, now_ms)
        if decision is None:
            continue
        after = decision.record
        assert before.state != "killed"
        assert after.rev == before.rev + 1
        assert after.version - before.version in (0, 1)
        assert after.public >= before.public
        assert (after.id, after.edition, after.created_at) == (before.id, before.edition, before.created_at)
        assert (decision.history.rev, decision.history.version) == (after.rev, after.version)
        decisions.append(decision)
    _check_announced(decisions)
    _check_due(decisions[-1])


def _check_announced(decisions: list[Decision]) -> None:
    entries = [decision.entry for decision in decisions if decision.entry is not None]
    versions = [entry.version for entry in entries]
    assert versions == sorted(set(versions))
    for number, entry in enumerate(entries):
        if entry.kind == "item":
            # As append.lua puts it into the log.
            news = decode_news(f'{{"type":"item","cursor":"e.1","item":{entry.wire}}}'.encode())
            assert isinstance(news, ItemChanged)
            assert (news.item.version, news.item.id) == (entry.version, entry.id)
            assert news.item.published_at < news.item.expires
        else:
            assert number > 0  # never the first that readers hear of a line
    assert all(decision.record.public for decision in decisions if decision.entry is not None)


def _check_due(last: Decision) -> None:
    """The clock is called when there is something to do, and does it."""
    due_ms = last.due_ms
    assert (due_ms is not None) == (last.record.state in ("embargoed", "live", "withheld"))
    if due_ms is not None:
        assert fall_due(last.record, due_ms - 1) is None
        assert fall_due(last.record, due_ms) is not None


def test_expiring_by_hand_and_by_clock_is_the_same() -> None:
    before = record("live")
    assert _act(before, "expire", LATER_MS) == expire(before, by="ann", now_ms=LATER_MS)


def test_a_decision_says_what_it_was_made_on_by_names_alone() -> None:
    live = record("live", headline="Libel")
    changed = _change(live, headline="Another", urgency=1)
    assert (changed.before, changed.fields) == (Before(live.version, "live"), ("urgency", "headline"))
    killed = _act(live, "kill")
    assert (killed.before, killed.fields) == (Before(live.version, "live"), ())
    new = _create()
    assert (new.before, new.fields) == (None, ())


def test_a_schedule_waits_for_its_moment_and_says_when_it_was_planned_for() -> None:
    made = _create(publishAt=format_ms(NOW_MS + HOUR_MS))
    assert (made.record.state, made.due_ms, made.entry) == ("scheduled", NOW_MS + HOUR_MS, None)
    assert fall_due(made.record, NOW_MS + HOUR_MS - 1) is None
    out = fall_due(made.record, NOW_MS + HOUR_MS + 7)
    assert out is not None
    assert out.record.item is not None
    assert (out.record.state, out.record.item.published_at) == ("live", format_ms(NOW_MS + HOUR_MS))
    assert out.record.published_by == "ann"
    assert out.record.item.expires == format_ms(NOW_MS + HOUR_MS + EXPIRES_AFTER_MS[3])


def test_an_embargo_and_a_schedule_exclude_each_other() -> None:
    times = {"embargoedUntil": format_ms(NOW_MS + HOUR_MS), "publishAt": format_ms(NOW_MS + HOUR_MS)}
    with pytest.raises(InvalidFieldError, match="got both") as refusal:
        _create(**times)
    assert refusal.value.path == "$.publishAt"
    planned = _create(publishAt=format_ms(NOW_MS + HOUR_MS)).record
    with pytest.raises(InvalidFieldError, match="got both"):
        _change(planned, embargoedUntil=format_ms(NOW_MS + HOUR_MS))
    embargoed = _change(planned, embargoedUntil=format_ms(NOW_MS + HOUR_MS), publishAt=None)
    assert (embargoed.record.state, embargoed.due_ms) == ("embargoed", NOW_MS + HOUR_MS)


def test_a_hold_is_a_schedule_of_a_few_seconds_that_stop_takes_back() -> None:
    held = create(EN, draft(), state="live", by="ann", now_ms=NOW_MS, hold_ms=5_000)
    assert (held.record.state, held.record.held, held.due_ms) == ("scheduled", True, NOW_MS + 5_000)
    assert not held.record.public
    stopped = _act(held.record, "stop", NOW_MS + 1_000)
    assert (stopped.record.state, stopped.record.held, stopped.record.publish_at) == ("draft", False, None)
    assert (stopped.due_ms, stopped.entry) == (None, None)
    now = _act(held.record, "publish", NOW_MS + 1_000, hold_ms=5_000)
    assert (now.record.state, now.record.held, now.record.public) == ("live", False, True)


def test_a_hold_never_holds_what_waits_for_a_time_anyway() -> None:
    for when in ("publishAt", "embargoedUntil"):
        fields = draft(**{when: format_ms(NOW_MS + HOUR_MS)})
        made = create(EN, fields, state="live", by="ann", now_ms=NOW_MS, hold_ms=5_000)
        assert (made.record.held, made.due_ms) == (False, NOW_MS + HOUR_MS)


@pytest.mark.parametrize(
    ("steps", "back"), [((), "draft"), (("submit",), "submitted"), (("submit", "approve"), "approved")]
)
def test_what_is_stopped_goes_back_to_where_it_was_published_from(steps: tuple[str, ...], back: str) -> None:
    line = _create("draft", publishAt=format_ms(NOW_MS + HOUR_MS)).record
    for step in (*steps, "publish", "stop"):
        line = _act(line, step).record
    assert line.state == back
    assert line.publish_at == format_ms(NOW_MS + HOUR_MS), "what was planned stays to be seen"


def test_a_link_changes_nothing_that_readers_see() -> None:
    linked = _act(record("live"), "link", story="first")
    assert (linked.record.story, linked.record.version, linked.entry) == ("first", 1, None)
    with pytest.raises(ConflictError, match="another story"):
        _act(linked.record, "link", story="first")
