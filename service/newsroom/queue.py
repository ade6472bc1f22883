"""Queue: what editors and wires send, decided and accepted into the outbox. Blocking; the API calls it in a thread.

Everything that changes an item goes through `Newsroom`: authenticate, read, decide (`domain.lifecycle`), accept.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from redis.exceptions import RedisError

from service.domain import lifecycle
from service.domain.approval import require_second
from service.domain.edition import Editions
from service.domain.item import Change, Draft, Reason
from service.domain.lifecycle import Decision, Record
from service.errors import (
    ConflictError,
    InvalidFieldError,
    NotFoundError,
    StaleError,
    StoppressError,
    TakenError,
    UnknownEditionError,
)
from service.newsroom import auth
from service.newsroom.tally import Tally
from service.store.accounts import STAFF, Account, Accounts
from service.store.items import Items
from service.store.outbox import Accepted, Attempt, Outbox
from service.store.stories import Stories

# Two writers of one item that do not name a version, such as two kills, take turns; more than this is no accident.
TRIES = 5


def now_ms() -> int:
    """The moment, in ms since 1970."""
    return time.time_ns() // 1_000_000


class Call(NamedTuple):
    """Who calls, from where, and what came with it. `request` is what an Idempotency-Key stands for.

    `account` is set for who is signed in at the desk; else `key` is an API key, or what claims to be one.
    """

    key: str
    address: str | None = None
    idempotency_key: str | None = None
    request: bytes = b""
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class Newsroom:
    """The editors' side of the service."""

    editions: Editions
    accounts: Accounts
    items: Items
    outbox: Outbox
    stories: Stories
    # How long what somebody publishes at the desk waits, by urgency 1 to 4. Programs have no second thoughts.
    undo_seconds: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    tally: Tally = field(default_factory=Tally)

    def publish(self, call: Call, draft: Draft, *, own_id: bool) -> Accepted:
        """Take a new line. `own_id`: the caller chose its id, so the same line sent again is the same item."""
        account = self.caller(call)
        auth.require(account, STAFF, "writing a line")
        state = draft.state or ("live" if account.role in auth.PUBLISHERS else "draft")
        if state == "live":
            auth.require(account, auth.PUBLISHERS, "publishing")
        try:
            edition = self.editions.named(draft.edition)
        except UnknownEditionError as error:
            raise InvalidFieldError(error.detail, path="$.edition") from None
        auth.require_edition(account, edition.code)
        attempt = self._attempt(call, account)
        if (before := self.outbox.remembered(edition.code, attempt)) is not None:
            return before
        origin = _origin(draft) if own_id else None
        source = self._source(account, draft.translation_of, edition.code, "$.translationOf")
        try:
            decision = lifecycle.create(
                edition,
                draft,
                state=state,
                by=account.name,
                now_ms=now_ms(),
                origin=origin,
                story=source.story or source.id if source else None,
                hold_ms=self._hold_ms(call, draft.urgency),
            )
        except InvalidFieldError:
            # Its answer was lost, and by now its embargo or expiry is past: what was accepted stays accepted.
            record = self.items.find(draft.id) if own_id and draft.id is not None else None
            if record is None or record.origin != origin:
                raise
            return self.had(record)
        decision = require_second(edition, None, decision, draft.override)
        if own_id:
            # Only now: a line that is refused must not keep its id from another edition.
            self.items.claim(decision.record.id, edition.code)
        if source is not None:
            self._join(source, decision.record)
        return self._accept_new(decision, attempt)

    def change(self, call: Call, item_id: str, given: Change, version: int) -> Accepted:
        """Take new text for an item."""
        return self._revise(
            call,
            item_id,
            auth.require_hold,
            lambda record, by: lifecycle.change(
                self.editions.named(record.edition), record, given, version=version, by=by, now_ms=now_ms()
            ),
            versioned=True,
            override=given.override,
        )

    def act(self, call: Call, item_id: str, action: str, given: Reason, version: int | None) -> Accepted:
        """Do one of `lifecycle.ACTIONS`."""

        def check(account: Account, record: Record) -> None:
            auth.require(account, auth.ALLOWED[action], f"the action {action}")
            if action == "link":
                auth.require_hold(account, record)

        def decide(record: Record, by: str) -> Decision | None:
            if action == "kill" and record.state == "killed":
                return None  # who got no answer to their kill, and sends it again, has what they wanted
            urgency = record.item.urgency if record.item is not None else 4
            return lifecycle.act(
                record,
                action,
                version=version,
                by=by,
                now_ms=now_ms(),
                note=given.note,
                hold_ms=self._hold_ms(call, urgency),
                story=self._linked(call, record, given) if action == "link" and record.item is not None else None,
            )

        return self._revise(call, item_id, check, decide, versioned=version is not None, override=given.override)

    def kill_sisters(self, call: Call, item_id: str, given: Reason) -> list[dict[str, object]]:
        """Kill what says the same in the other editions; say of each what became of it."""
        record = self.items.get(item_id)
        told: list[dict[str, object]] = []
        for edition, sister in sorted(self.sisters([record])[0].items()):
            about: dict[str, object] = {"id": sister, "edition": edition}
            try:
                done = self.act(call, sister, "kill", given, None)
                about |= {"version": done.version, "state": done.state}
            except NotFoundError:
                continue  # a translation that was begun and never accepted
            except (StoppressError, RedisError) as error:
                about |= {"error": error.detail if isinstance(error, StoppressError) else "Redis does not answer"}
            told.append(about)
        return told

    def sisters(self, records: list[Record]) -> list[dict[str, str]]:
        """For each record the ids of what says the same, by their editions."""
        found = self.stories.of([record.story or record.id for record in records])
        return [
            {edition: item_id for edition, item_id in each.items() if item_id != record.id}
            for record, each in zip(records, found, strict=True)
        ]

    def caller(self, call: Call) -> Account:
        """Who is calling.

        Raises:
            UnauthenticatedError: nobody whom we know.
        """
        return call.account or self.accounts.authenticate(call.key)

    def staff(self, call: Call) -> Account:
        """Who is calling, if they are staff."""
        account = self.caller(call)
        auth.require(account, STAFF, "reading the newsroom's items")
        return account

    def _revise(
        self,
        call: Call,
        item_id: str,
        check: Callable[[Account, Record], None],
        decide: Callable[[Record, str], Decision | None],
        *,
        versioned: bool,
        override: str | None = None,
    ) -> Accepted:
        """Accept what `decide` says of the item as it is; None says that it is so already."""
        account = self.caller(call)
        auth.require(account, STAFF, "changing an item")
        for left in range(TRIES, 0, -1):
            record = self.items.get(item_id)
            auth.require_edition(account, record.edition)
            check(account, record)
            attempt = self._attempt(call, account)
            if (before := self.outbox.remembered(record.edition, attempt)) is not None:
                return before
            decision = decide(record, account.name)
            if decision is None:
                return self.had(record)
            decision = require_second(self.editions.named(record.edition), record, decision, override)
            try:
                return self.outbox.accept(decision, attempt)
            except StaleError:
                # Somebody was first between our read and our write. Who named a version is told; a kill tries again.
                if versioned or left == 1:
                    raise
        raise AssertionError("the last try raises")

    def _accept_new(self, decision: Decision, attempt: Attempt) -> Accepted:
        try:
            return self.outbox.accept(decision, attempt)
        except TakenError:
            record = self.items.get(decision.record.id)
            if record.origin is None or record.origin != decision.record.origin:
                raise
            return self.had(record)

    def had(self, record: Record) -> Accepted:
        """Say of a record that it is what was asked for, as safely as if it were new."""
        accepted = Accepted(record.id, record.version, record.state, public=record.public, again=True, rev=record.rev)
        self.outbox.confirm(record.edition, accepted)
        return accepted

    def _hold_ms(self, call: Call, urgency: int) -> int:
        return round(self.undo_seconds[urgency - 1] * 1000) if call.account is not None else 0

    def _source(self, account: Account, item_id: str | None, edition: str, path: str) -> Record | None:
        """What a line is a translation of."""
        if item_id is None:
            return None
        record = self.items.find(item_id)
        if record is None or not account.may_enter(record.edition):
            raise InvalidFieldError(f"expected the id of an item, got {item_id!r}, which there is none of", path=path)
        if record.edition == edition:
            raise InvalidFieldError(f"expected an item of another edition, got one of {edition}", path=path)
        return record

    def _linked(self, call: Call, record: Record, given: Reason) -> str:
        """Make an item a sister of another; return their story's name."""
        if given.of is None:
            raise InvalidFieldError("expected the id of the item that it is linked to, got none", path="$.of")
        source = self._source(self.caller(call), given.of, record.edition, "$.of")
        assert source is not None
        if record.story is None and self.sisters([record])[0]:
            raise ConflictError(f"expected an item without sisters, got {record.id}, which others are linked to")
        self._join(source, record)
        if record.story is not None and record.story != (source.story or source.id):
            self.stories.leave(record.story, record.edition, record.id)
        return source.story or source.id

    def _join(self, source: Record, record: Record) -> None:
        """Note that a record says the same as its source.

        Raises:
            ConflictError: the source has a sister in this edition whose life is not over.
        """
        name = source.story or source.id
        held = self.stories.of([name])[0].get(record.edition)
        before = self.items.find(held) if held is not None else None
        over = held if before is None or before.state in ("killed", "expired") else None
        first = (source.edition, source.id) if source.story is None else (record.edition, record.id)
        holder = self.stories.join(name, first, record.edition, record.id, instead_of=over)
        if holder != record.id:
            raise ConflictError(
                f"expected no sister in {record.edition} yet, got {holder}: change that one", extra={"sister": holder}
            )

    def _attempt(self, call: Call, account: Account) -> Attempt:
        return Attempt.keyed(call.address, account.name, call.idempotency_key, call.request)


def _origin(draft: Draft) -> str:
    """A hash of what the caller sent, so that sending it again is recognised."""
    return hashlib.sha256(msgspec.json.encode(draft, order="sorted")).hexdigest()
