"""Ingest: a wire's documents in, drafts or live lines out. The same document again is the same item."""

from collections.abc import Iterator
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from service.domain import lifecycle
from service.domain.approval import require_second
from service.domain.edition import Edition
from service.domain.item import Change
from service.domain.lifecycle import Decision, Record
from service.domain.wire import Wire, parse_ninjs
from service.errors import ConflictError, InvalidFieldError, UnknownEditionError
from service.newsroom import auth
from service.newsroom.api import accept, answer, read_call
from service.newsroom.queue import TRIES, Call, Newsroom, now_ms
from service.store.accounts import Account
from service.store.outbox import Accepted, Attempt


async def ninjs(request: Request) -> Response:
    """`POST /v1/ingest/ninjs?edition=en`: the edition may be left out where the document's language says it."""
    call, body = await read_call(request)
    wire = parse_ninjs(body)
    newsroom: Newsroom = request.state.newsroom
    with request.state.landings.expect(wire.id) as landing:
        chosen = request.query_params.get("edition")
        accepted = await accept(request, "ingest", partial(ingest, newsroom, call, wire, chosen))
        return await answer(request, accepted, landing, [])


def ingest(newsroom: Newsroom, call: Call, wire: Wire, chosen: str | None) -> Accepted:
    """Take one document: new, a later version, withheld, or canceled."""
    account = newsroom.caller(call)
    auth.require(account, auth.WIRES, "ingesting")
    for left in range(TRIES, 0, -1):
        try:
            return _ingest(newsroom, account, call, wire, chosen)
        except ConflictError as error:
            # Two copies of a document at the same moment: the second finds what the first made.
            if not error.racing or left == 1:
                raise
    raise AssertionError("the last try raises")


def _ingest(newsroom: Newsroom, account: Account, call: Call, wire: Wire, chosen: str | None) -> Accepted:
    record = newsroom.items.find(wire.id)
    edition = newsroom.editions.named(record.edition) if record else _edition(newsroom, wire, chosen)
    auth.require_edition(account, edition.code)
    if record is None:
        newsroom.items.claim(wire.id, edition.code)
        draft = wire.draft(edition) if wire.status != "canceled" else wire.tombstone(edition)
        live = (account.trusted or account.role != "ingest") and wire.status == "usable"
        # Where it takes two people, a wire is none of them: its line is a draft for both.
        live = live and draft.urgency not in edition.two_person
        decision = lifecycle.create(
            edition,
            draft,
            state="live" if live else "draft",
            by=account.name,
            now_ms=now_ms(),
            source=wire.order,
        )
        created = newsroom.outbox.accept(decision, Attempt(call.address))
        if wire.status != "canceled":
            return created
        # Canceled before we ever had it: the id is closed, so that a late copy of the document cannot bring it back.
        record = decision.record
    if record.state == "killed" or (
        wire.status != "canceled" and record.source is not None and wire.order <= record.source
    ):
        return newsroom.had(record)
    accepted: Accepted | None = None
    for decided in _decide(edition, record, wire, account):
        accepted = newsroom.outbox.accept(decided, Attempt(call.address))
    return accepted or newsroom.had(record)


def _decide(edition: Edition, record: Record, wire: Wire, account: Account) -> Iterator[Decision]:
    """What a further version of a document does to its item: nothing, one change, or new text and then its release."""
    moment = now_ms()
    if wire.status == "canceled":
        yield lifecycle.act(record, "kill", version=None, by=account.name, now_ms=moment, note="canceled by the wire")
        return
    if wire.status == "withheld":
        if record.state == "live":
            note = "withheld by the wire"
            yield lifecycle.act(record, "withhold", version=None, by=account.name, now_ms=moment, note=note)
        return
    if record.public and account.role == "ingest" and not account.trusted:
        raise ConflictError(f"{record.id} is on air: an editor decides about its text, this key makes drafts only")
    draft = wire.draft(edition)
    change = Change(
        change="update", headline=draft.headline, urgency=draft.urgency, section=draft.section, subjects=draft.subjects
    )
    try:
        decided = lifecycle.change(edition, record, change, version=None, by=account.name, now_ms=moment)
        decided = lifecycle.sourced(require_second(edition, record, decided, None), wire.order)
        record = decided.record
        yield decided
    except ConflictError:
        pass  # the same text, or a line that is over
    if record.state == "withheld":
        released = lifecycle.act(record, "release", version=None, by=account.name, now_ms=moment)
        yield lifecycle.sourced(released, wire.order)


def _edition(newsroom: Newsroom, wire: Wire, chosen: str | None) -> Edition:
    if chosen is not None:
        try:
            return newsroom.editions.named(chosen)
        except UnknownEditionError as error:
            raise InvalidFieldError(error.detail, path="edition") from None
    edition = newsroom.editions.of_language(wire.language) if wire.language else None
    if edition is None:
        raise InvalidFieldError(
            f"expected a document in the language of an edition ({', '.join(newsroom.editions)}), got "
            f"{wire.language!r}; ?edition= says which edition it is for",
            path="$.language",
        )
    return edition


def _again(record: Record) -> Accepted:
    return Accepted(record.id, record.version, record.state, public=record.public, again=True)
