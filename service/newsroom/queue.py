"""Queue: what editors and wires send, decided and accepted into the outbox. Blocking; the API calls it in a thread.

Everything that changes an item goes through `Newsroom`: authenticate, read, decide (`domain.lifecycle`), accept.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from service.domain import lifecycle
from service.domain.edition import Editions
from service.domain.item import Change, Draft
from service.domain.lifecycle import Decision, Record
from service.errors import InvalidFieldError, StaleError, TakenError, UnknownEditionError
from service.newsroom import auth
from service.newsroom.tally import Tally
from service.store.accounts import STAFF, Account, Accounts
from service.store.items import Items
from service.store.outbox import Accepted, Attempt, Outbox

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
        try:
            decision = lifecycle.create(edition, draft, state=state, by=account.name, now_ms=now_ms(), origin=origin)
        except InvalidFieldError:
            # Its answer was lost, and by now its embargo or expiry is past: what was accepted stays accepted.
            record = self.items.find(draft.id) if own_id and draft.id is not None else None
            if record is None or record.origin != origin:
                raise
            return self.had(record)
        if own_id:
            # Only now: a line that is refused must not keep its id from another edition.
            self.items.claim(decision.record.id, edition.code)
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
        )

    def act(self, call: Call, item_id: str, action: str, note: str | None, version: int | None) -> Accepted:
        """Do one of `lifecycle.ACTIONS`."""

        def decide(record: Record, by: str) -> Decision | None:
            if action == "kill" and record.state == "killed":
                return None  # who got no answer to their kill, and sends it again, has what they wanted
            return lifecycle.act(record, action, version=version, by=by, now_ms=now_ms(), note=note)

        return self._revise(
            call,
            item_id,
            lambda account, _: auth.require(account, auth.ALLOWED[action], f"the action {action}"),
            decide,
            versioned=version is not None,
        )

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

    def _attempt(self, call: Call, account: Account) -> Attempt:
        return Attempt.keyed(call.address, account.name, call.idempotency_key, call.request)


def _origin(draft: Draft) -> str:
    """A hash of what the caller sent, so that sending it again is recognised."""
    return hashlib.sha256(msgspec.json.encode(draft, order="sorted")).hexdigest()
