"""Lifecycle: what may happen to an item, decided without touching anything.

    draft -> submitted -> approved -> (scheduled | embargoed) -> live -> withheld <-> live -> killed | expired

An embargo is somebody else's condition, a schedule the newsroom's own plan. An undo hold is a schedule of a few
seconds.

`version` is 1 for the first text and rises by 1 with each change of the text or of what the public sees. `rev` rises
with every accepted change; the store compares it, so that two decisions about one item cannot both be written.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET

from service.domain.edition import Edition
from service.domain.headline import clean_line
from service.domain.instant import format_ms, parse_ms
from service.domain.item import Change, Correction, Draft, Item, expires_ms, fields_of, later_ms, new_id
from service.errors import ConflictError, InvalidFieldError, StaleError

State = Literal["draft", "submitted", "approved", "scheduled", "embargoed", "live", "withheld", "expired", "killed"]
Removal = Literal["killed", "withheld", "expired"]
ACTIONS = ("submit", "approve", "publish", "stop", "withhold", "release", "kill", "expire", "pin", "unpin", "link")
# Accepted, and public when their time comes.
WAITING: tuple[State, ...] = ("scheduled", "embargoed")

# What each action may start from. Kill is allowed from everywhere but killed: it wins over everything.
STARTS: dict[str, tuple[State, ...]] = {
    "submit": ("draft",),
    "approve": ("submitted",),
    "publish": ("draft", "submitted", "approved", *WAITING),
    "stop": WAITING,
    "withhold": ("live",),
    "release": ("withheld",),
    "kill": ("draft", "submitted", "approved", *WAITING, "live", "withheld", "expired"),
    "expire": ("live", "withheld"),
    "pin": ("live", "withheld"),
    "unpin": ("live", "withheld"),
    "link": ("draft", "submitted", "approved", *WAITING, "live", "withheld", "expired"),
}
EDITABLE: tuple[State, ...] = ("draft", "submitted", "approved", *WAITING, "live", "withheld")

# They differ with each change, and say nothing.
ALWAYS = ("version", "version_created")


class Record(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An item as staff see it: the line, its state, and who did what last. `item` is None once it is killed."""

    id: str
    edition: str
    version: int
    rev: int
    state: State
    item: Item | None
    embargoed_until: str | None = None
    # When a scheduled line goes on air; `held`: only so that whoever published it can still take that back.
    publish_at: str | None = None
    held: bool = False
    # Whether an editor said when it expires; else the default counts from the moment that it is public.
    expires_given: bool = False
    # Whether a reader can have seen it: only then does a removal need announcing.
    public: bool = False
    created_at: str
    created_by: str
    changed_at: str
    changed_by: str
    note: str | None = None
    # Who gave it its present text, handed that in, approved it and put it on air: the two-person rule compares them.
    written_by: str | None = None
    submitted_by: str | None = None
    approved_by: str | None = None
    published_by: str | None = None
    # What it and its translations in other editions have in common: the id of the first of them.
    story: str | None = None
    # Hash of the request that made it, so that the same one sent again is the same item.
    origin: str | None = None
    # Which version of a wire's document it is: only a later one may change it.
    source: tuple[int, int] | None = None


class Version(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One step of an item's history. `item` is None once it is killed."""

    version: int
    rev: int
    action: str
    state: State
    at: str
    by: str
    note: str | None = None
    item: Item | None = None


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What waits in the outbox for `append.lua`: one public change. `wire` is the item's JSON for readers.

    A canary changes nothing: it goes the way of a change up to the Feed, to show that the way is open.
    """

    kind: Literal["item", "remove", "canary"]
    id: str
    version: int
    accepted: int
    wire: str | None = None
    reason: Removal | None = None


class Before(msgspec.Struct, frozen=True, rename="camel"):
    """What an item was when a change of it was decided."""

    version: int
    state: State


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """All that one accepted change writes. `due_ms` is when the clock must look at the item again.

    `before` is None for a new line. `fields` are those of the item that differ, by the names that readers know: names
    only, since a kill's decision must have no text.
    """

    action: str
    now_ms: int
    record: Record
    before: Before | None = None
    fields: tuple[str, ...] = ()
    # Why the two-person rule was passed over, if it was.
    override: str | None = None
    history: Version
    entry: Entry | None = None
    due_ms: int | None = None


def create(
    edition: Edition,
    draft: Draft,
    *,
    state: Literal["draft", "submitted", "live"],
    by: str,
    now_ms: int,
    origin: str | None = None,
    source: tuple[int, int] | None = None,
    story: str | None = None,
    hold_ms: int = 0,
) -> Decision:
    """Decide about a new line. With `hold_ms`, what would be live at once waits that long for a second thought.

    Raises:
        InvalidFieldError: a field is wrong.
    """
    fields = fields_of(edition, draft)
    now = format_ms(now_ms)
    embargo = later_ms(draft.embargoed_until, now_ms, "$.embargoedUntil")
    planned = later_ms(draft.publish_at, now_ms, "$.publishAt")
    if embargo and planned:
        raise _both()
    held = state == "live" and hold_ms > 0 and not embargo and not planned
    planned = now_ms + hold_ms if held else planned
    waits: State | None = "embargoed" if embargo else "scheduled" if planned else None
    public_ms = embargo or planned or now_ms
    item = Item(
        id=draft.id or new_id(),
        version=1,
        edition=edition.code,
        first_created=now,
        version_created=now,
        published_at=format_ms(public_ms),
        expires=format_ms(expires_ms(draft.expires, draft.urgency, public_ms)),
        **fields,
    )
    record = Record(
        id=item.id,
        edition=edition.code,
        version=1,
        rev=1,
        state=waits or "live" if state == "live" else state,
        item=item,
        embargoed_until=format_ms(embargo) if embargo else None,
        publish_at=format_ms(planned) if planned else None,
        held=held,
        expires_given=draft.expires is not None,
        public=state == "live" and waits is None,
        written_by=by,
        submitted_by=by if state == "submitted" else None,
        published_by=by if state == "live" else None,
        story=story,
        created_at=now,
        created_by=by,
        changed_at=now,
        changed_by=by,
        note=draft.note,
        origin=origin,
        source=source,
    )
    return _decided("publish" if state == "live" else "create", record, None, now_ms, announce=record.public)


def change(edition: Edition, record: Record, given: Change, *, version: int | None, by: str, now_ms: int) -> Decision:
    """Decide about new text for an item: update, correct or refile.

    Raises:
        StaleError: `version` is not the item's.
        ConflictError: its life is over, or nothing would change.
        InvalidFieldError: a field is wrong, or a correction has no note.
    """
    _check_version(record, version)
    if record.item is None or record.state not in EDITABLE:
        raise ConflictError(f"expected an item that is not over, got one that is {record.state}")
    note = given.note
    if given.change == "correct":
        if not note:
            raise InvalidFieldError("expected the public note of the correction, got none", path="$.note")
        # Readers see it: it is held to what a headline is.
        note = clean_line(note, "$.note", longest=500)
    before = record.item
    now = format_ms(now_ms)
    fields = fields_of(edition, given)
    embargo, planned = record.embargoed_until, record.publish_at
    if given.embargoed_until is not UNSET or given.publish_at is not UNSET:
        if record.public:
            raise ConflictError(
                "expected an item that is not public yet, got one that is: nothing can be embargoed or scheduled now"
            )
        if given.embargoed_until is not UNSET:
            until = later_ms(given.embargoed_until, now_ms, "$.embargoedUntil")
            embargo = format_ms(until) if until else None
        if given.publish_at is not UNSET:
            until = later_ms(given.publish_at, now_ms, "$.publishAt")
            planned = format_ms(until) if until else None
        if embargo and planned:
            raise _both()
        fields["published_at"] = embargo or planned or now
    due = embargo or planned
    if given.expires is not UNSET:
        urgency = fields.get("urgency", before.urgency)
        public_ms = now_ms if due is None else max(now_ms, parse_ms(due, "publishAt"))
        fields["expires"] = format_ms(expires_ms(given.expires, urgency, public_ms))
    if given.change == "correct" and record.public:
        fields["correction"] = Correction(type="corrected", note=note or "", at=now)
    item = msgspec.structs.replace(before, **fields)
    if item == before and (embargo, planned) == (record.embargoed_until, record.publish_at):
        raise ConflictError("expected a change, got the item as it is")
    state = record.state
    if state in WAITING:
        if due is None:
            raise ConflictError("expected a new time: to go on air now, use the action publish; never mind, stop")
        state = "embargoed" if embargo else "scheduled"
    if second_needed(edition, record, item.urgency) and state in ("approved", *WAITING):
        # Approved was the text before this one.
        state = "submitted"
    item = msgspec.structs.replace(item, version=record.version + 1, version_created=now)
    expires_given = record.expires_given if given.expires is UNSET else given.expires is not None
    changed = _next(
        record,
        by=by,
        now=now,
        version=item.version,
        item=item,
        state=state,
        embargoed_until=embargo,
        publish_at=planned,
        held=record.held and planned == record.publish_at,
        expires_given=expires_given,
        written_by=by,
        submitted_by=by if state == "submitted" and record.state != "submitted" else record.submitted_by,
        approved_by=None,
        note=note,
    )
    return _decided(given.change, changed, record, now_ms, announce=record.state == "live")


def act(
    record: Record,
    action: str,
    *,
    version: int | None,
    by: str,
    now_ms: int,
    note: str | None = None,
    hold_ms: int = 0,
    story: str | None = None,
) -> Decision:
    """Decide about one of `ACTIONS`. `hold_ms` as for `create`; `story` is what `link` links to.

    Raises:
        StaleError: `version` is given and not the item's.
        ConflictError: the item's state does not allow it.
    """
    if record.state == "killed":
        raise ConflictError(f"the item {record.id} was killed: that is final, and its id is never used again")
    _check_version(record, version)
    if record.state not in STARTS[action]:
        raise ConflictError(f"expected an item that is {' or '.join(STARTS[action])}, got one that is {record.state}")
    assert record.item is not None
    now = format_ms(now_ms)
    item = record.item
    match action:
        case "submit" | "approve":
            state: State = "submitted" if action == "submit" else "approved"
            who = {"submitted_by" if action == "submit" else "approved_by": by}
            changed = _next(record, by=by, now=now, state=state, note=note, **who)
            return _decided(action, changed, record, now_ms, announce=False)
        case "publish":
            return _publish(record, item, by=by, now_ms=now_ms, note=note, hold_ms=hold_ms)
        case "stop":
            # Back to where it was published from. What was planned stays to be seen; a hold is over.
            back: State = "approved" if record.approved_by else "submitted" if record.submitted_by else "draft"
            planned = None if record.held else record.publish_at
            changed = _next(record, by=by, now=now, state=back, publish_at=planned, held=False, note=note)
            return _decided(action, changed, record, now_ms, announce=False)
        case "link":
            if story is None or story == record.story:
                raise ConflictError("expected an item of another story to link to, got none")
            return _decided(
                action, _next(record, by=by, now=now, story=story, note=note), record, now_ms, announce=False
            )
        case "withhold":
            changed = _next(record, by=by, now=now, version=record.version + 1, state="withheld", note=note)
            return _decided(action, changed, record, now_ms, announce=True)
        case "kill":
            # The text goes for good; the reason stays, for whoever asks later why the line is gone.
            changed = _next(record, by=by, now=now, version=record.version + 1, state="killed", item=None, note=note)
            return _decided(action, changed, record, now_ms, announce=record.public)
        case "expire":
            return expire(record, by=by, now_ms=now_ms, note=note)
    pinned = item.pinned if action == "release" else action == "pin"
    if action != "release" and pinned == item.pinned:
        raise ConflictError(f"expected an item that is {'not ' if pinned else ''}pinned, got one that is")
    version_now = record.version + 1
    item = msgspec.structs.replace(item, version=version_now, version_created=now, pinned=pinned)
    on_air = record.state == "live" or action == "release"
    changed = _next(
        record, by=by, now=now, version=version_now, item=item, state="live" if on_air else record.state, note=note
    )
    return _decided(action, changed, record, now_ms, announce=on_air)


def expire(record: Record, *, by: str, now_ms: int, note: str | None = None) -> Decision:
    """Take a line off because its time is over; no retraction, nothing is announced but that it left the ticker."""
    now = format_ms(now_ms)
    on_air = record.state == "live"
    changed = _next(record, by=by, now=now, version=record.version + 1, state="expired", note=note)
    return _decided("expire", changed, record, now_ms, announce=on_air)


def fall_due(record: Record, now_ms: int) -> Decision | None:
    """Decide what the clock does to an item now: its time comes, or is over. None: nothing (any more)."""
    if record.item is None:
        return None
    due = _due(record)
    if due is not None and due <= format_ms(now_ms):
        return _publish(record, record.item, by="clock", now_ms=now_ms, note=record.note)
    if record.state in ("live", "withheld") and record.item.expires <= format_ms(now_ms):
        return expire(record, by="clock", now_ms=now_ms)
    return None


def sourced(decision: Decision, source: tuple[int, int]) -> Decision:
    """Note which version of a wire's document a decision came from."""
    return msgspec.structs.replace(decision, record=msgspec.structs.replace(decision.record, source=source))


def wire_of(item: Item) -> str:
    """The item's JSON for readers."""
    return msgspec.json.encode(item).decode()


def second_needed(edition: Edition, record: Record | None, urgency: int) -> bool:
    """Whether the two-person rule covers a text of this urgency, or one that it takes the place of."""
    before = record.item.urgency if record is not None and record.item is not None else urgency
    return urgency in edition.two_person or before in edition.two_person


def _both() -> InvalidFieldError:
    return InvalidFieldError("expected embargoedUntil or publishAt, got both", path="$.publishAt")


def _due(record: Record) -> str | None:
    """When a waiting item goes on air."""
    match record.state:
        case "embargoed":
            return record.embargoed_until
        case "scheduled":
            return record.publish_at
    return None


def _publish(record: Record, item: Item, *, by: str, now_ms: int, note: str | None, hold_ms: int = 0) -> Decision:
    now = format_ms(now_ms)
    if record.state not in WAITING:
        embargo, planned = (
            at if at is not None and at > now else None for at in (record.embargoed_until, record.publish_at)
        )
        held = not embargo and not planned and hold_ms > 0
        if held:
            planned = format_ms(now_ms + hold_ms)
        if embargo or planned:
            # Its time comes later: approved text waits for the clock.
            waiting = _next(
                record,
                by=by,
                now=now,
                state="embargoed" if embargo else "scheduled",
                embargoed_until=embargo,
                publish_at=planned,
                held=held,
                published_by=by,
                note=note,
            )
            return _decided("publish", waiting, record, now_ms, announce=False)
    # The clock may be a little late; the line says the time it was promised for.
    due = _due(record)
    published = due if due is not None and by == "clock" else now
    expires = item.expires
    if not record.expires_given:
        expires = format_ms(expires_ms(None, item.urgency, parse_ms(published, "publishedAt")))
    if expires <= now:
        expires = format_ms(expires_ms(None, item.urgency, now_ms))
    item = msgspec.structs.replace(item, published_at=published, expires=expires)
    changed = _next(
        record,
        by=by,
        now=now,
        state="live",
        item=item,
        embargoed_until=None,
        publish_at=None,
        held=False,
        published_by=record.published_by if by == "clock" else by,
        public=True,
        note=note,
    )
    return _decided("publish", changed, record, now_ms, announce=True)


def _check_version(record: Record, version: int | None) -> None:
    if version is not None and version != record.version:
        raise StaleError(
            f"expected the current version {record.version} of {record.id}, got {version}: somebody changed it first",
            extra={"current": record.version, "state": record.state},
        )


def _next(record: Record, *, by: str, now: str, **changes: Any) -> Record:
    changes.setdefault("note", None)
    return msgspec.structs.replace(record, rev=record.rev + 1, changed_at=now, changed_by=by, **changes)


def _decided(action: str, record: Record, before: Record | None, now_ms: int, *, announce: bool) -> Decision:
    history = Version(
        version=record.version,
        rev=record.rev,
        action=action,
        state=record.state,
        at=record.changed_at,
        by=record.changed_by,
        note=record.note,
        item=record.item,
    )
    entry = None
    if announce and record.state == "live":
        assert record.item is not None
        entry = Entry(kind="item", id=record.id, version=record.version, accepted=now_ms, wire=wire_of(record.item))
    elif announce and record.state in ("killed", "withheld", "expired"):
        entry = Entry(kind="remove", id=record.id, version=record.version, accepted=now_ms, reason=record.state)
    return Decision(
        action=action,
        now_ms=now_ms,
        record=record,
        before=Before(before.version, before.state) if before else None,
        fields=_differing(before.item, record.item) if before else (),
        history=history,
        entry=entry,
        due_ms=_due_ms(record),
    )


def _differing(before: Item | None, after: Item | None) -> tuple[str, ...]:
    """The fields of an item that differ. None of a kill: it takes all."""
    if before is None or after is None:
        return ()
    return tuple(
        name
        for field, name in zip(Item.__struct_fields__, Item.__struct_encode_fields__, strict=True)
        if field not in ALWAYS and getattr(before, field) != getattr(after, field)
    )


def _due_ms(record: Record) -> int | None:
    if (due := _due(record)) is not None:
        return parse_ms(due, "publishAt")
    if record.state in ("live", "withheld") and record.item is not None:
        return parse_ms(record.item.expires, "expires")
    return None
