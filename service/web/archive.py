"""Archive: the desk's memory. A search, the story of one item, and who did what; it only reads."""

import re
from collections.abc import Iterator, Mapping

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from service.domain.edition import Editions
from service.domain.instant import format_ms, parse_ms
from service.domain.lifecycle import ACTIONS, Record, State
from service.errors import MalformedError
from service.newsroom import auth
from service.newsroom.api import STATES, in_thread, place_of
from service.newsroom.queue import Newsroom, now_ms
from service.store import hops, reach
from service.store.accounts import Account
from service.store.audit import LOOKED_THROUGH, Look, Seen, exported, extent, newest, places_of
from service.store.connect import of_edition
from service.store.items import SCANNED, Wanted
from service.web.filters import Filters
from service.web.pages import render
from service.web.report import Report, as_csv, build
from service.web.visitor import PRIVATE, Visitor, editor, entered, page, visit

PAGE = 50
# Steps of one item on its page; its CSV has them all.
SHOWN = 200
LONGEST_TEXT, LONGEST_NAME = 300, 64
WRITES = ("create", "update", "correct", "refile", *ACTIONS)
STREAM_ID = re.compile(r"\d{1,15}-\d{1,19}", re.ASCII)
# Bytes of an export that are sent at once.
CHUNK = 262_144


@page
async def search(request: Request, visitor: Visitor) -> Response:
    """`GET /desk/search`: a form, and the lines that it finds, last changed first."""
    filters = Filters(request, ("q", "edition", "state", "by", "since", "until", "next"))
    codes = [edition.code for edition in visitor.editions]
    wanted = Wanted(
        edition=filters.one_of("edition", codes),
        state=_state(filters),
        text=filters.text("q", LONGEST_TEXT),
        editor=filters.text("by", LONGEST_NAME),
        since_ms=filters.moment("since"),
        until_ms=filters.moment("until", whole_minute=True),
        among=visitor.account.editions,
    )
    before = None
    if filters.given["next"]:
        try:
            before = place_of(filters.given["next"])
        except MalformedError as error:
            filters.faults["form"] = error.detail
    found: list[Record] = []
    older = None
    if not filters.faults:
        newsroom: Newsroom = request.state.newsroom
        # One more than is shown says whether there is more.
        found, older = await in_thread(newsroom.items.search, wanted, PAGE + 1, before)
    stopped = older is not None and len(found) <= PAGE
    if len(found) > PAGE:
        found = found[:PAGE]
        older = f"{parse_ms(found[-1].changed_at, 'changedAt')}.{found[-1].id}"
    content = render(
        "search.html",
        **visitor.page,
        given=filters.given,
        faults=filters.faults,
        states=[(state, state) for state in STATES],
        found=found,
        by_code={edition.code: edition for edition in visitor.editions},
        older=filters.further("/desk/search", older) if older else None,
        stopped_at=format_ms(int(older.partition(".")[0])) if older and stopped else None,
        looked=SCANNED,
        further=before is not None,
    )
    return HTMLResponse(content, 400 if filters.faults else 200, PRIVATE)


@page
async def item(request: Request, visitor: Visitor) -> Response:
    """`GET /desk/items/{id}`: a line now, each of its versions, what the audit says of it, and how far it got."""
    report = await in_thread(_report, request, visitor.account, SHOWN)
    sisters = await in_thread(_sisters, request, visitor.account, report.record)
    editions: Editions = request.state.editions
    content = render(
        "item.html",
        **visitor.page,
        record=report.record,
        report=report,
        steps=list(reversed(report.steps[-SHOWN:])),
        left_out=max(0, len(report.steps) - SHOWN),
        edition=editions.named(report.record.edition),
        sisters=[(editions.named(each.edition), each) for each in sisters],
        chief=visitor.account.role == "chief",
        now=format_ms(now_ms()),
    )
    return HTMLResponse(content, headers=PRIVATE)


async def report_csv(request: Request) -> Response:
    """`GET /desk/items/{id}/report.csv`: the same report for a spreadsheet."""
    account = await editor(request)
    report = await in_thread(_report, request, account, 0)
    body = as_csv(report, addresses=account.role == "chief")
    return Response(body, headers=_file(f"stoppress-{report.record.id}.csv"), media_type="text/csv; charset=utf-8")


@page
async def audit(request: Request, visitor: Visitor) -> Response:
    """`GET /desk/audit`: what was accepted of an edition, newest first. Nothing edits it."""
    filters = Filters(request, ("edition", "by", "action", "since", "until", "next"))
    codes = [edition.code for edition in visitor.editions]
    code = filters.one_of("edition", codes) or next(iter(codes), "")
    look = Look(
        editor=filters.text("by", LONGEST_NAME),
        action=filters.one_of("action", list(WRITES)),
        since_ms=filters.moment("since"),
        until_ms=filters.moment("until", whole_minute=True),
    )
    before = filters.given["next"] or None
    if before is not None and not STREAM_ID.fullmatch(before):
        filters.faults["form"] = "expected next as the previous page gave it"
    if not codes:
        filters.faults["edition"] = "expected an edition that you may enter: none of yours is configured"

    def read() -> tuple[list[Seen], str | None, int, str]:
        redis = of_edition(request.state.redis, code)
        found, older = newest(redis, code, look, PAGE + 1, before)
        end = extent(redis, code).end
        return found, older, end.count, end.head

    found: list[Seen] = []
    older, count, head = None, 0, ""
    if not filters.faults:
        found, older, count, head = await in_thread(read)
    stopped = older is not None and len(found) <= PAGE
    if len(found) > PAGE:
        found = found[:PAGE]
        older = found[-1].place.id
    filters.given["edition"] = filters.given["edition"] or code
    content = render(
        "audit.html",
        **visitor.page,
        given=filters.given,
        faults=filters.faults,
        actions=[(action, action) for action in WRITES],
        found=[Seen(each.place, auth.seen_by(visitor.account, each.entry) if each.entry else None) for each in found],
        older=filters.further("/desk/audit", older) if older else None,
        stopped_at=format_ms(int(older.partition("-")[0])) if older and stopped else None,
        looked=LOOKED_THROUGH,
        further=before is not None,
        count=count,
        head=head,
        chief=visitor.account.role == "chief",
    )
    return HTMLResponse(content, 400 if filters.faults else 200, PRIVATE)


async def export(request: Request) -> Response:
    """`GET /desk/audit/export?edition=en`: the log as `stoppress audit export` writes it; without an edition, all."""
    visitor = await visit(request)
    auth.require(visitor.account, ("chief",), "exporting the audit log")
    wanted = request.query_params.get("edition")
    codes = [edition.code for edition in visitor.editions]
    if wanted is not None:
        codes = [entered(request, visitor.account, wanted).code]

    def chunks() -> Iterator[bytes]:
        chunk = bytearray()
        for code in codes:
            for line in exported(of_edition(request.state.redis, code), code):
                chunk += line
                if len(chunk) >= CHUNK:
                    yield bytes(chunk)
                    chunk.clear()
        yield bytes(chunk)

    lines = chunks()
    # A Redis that does not answer is a refusal, and no file that ends too soon. Later it is one: `verify` says so.
    first = await in_thread(next, lines, b"")

    def whole() -> Iterator[bytes]:
        yield first
        yield from lines

    name = f"stoppress-audit-{wanted}.jsonl" if wanted is not None else "stoppress-audit.jsonl"
    return StreamingResponse(whole(), headers=_file(name), media_type="application/jsonl")


def _report(request: Request, account: Account, compared: int) -> Report:
    newsroom: Newsroom = request.state.newsroom
    record = newsroom.items.get(request.path_params["id"])
    auth.require_edition(account, record.edition)
    redis = of_edition(request.state.redis, record.edition)
    reached = reach.read(redis, record.edition, record.id, record.item, now_ms()) if record.public else None
    seen = [each._replace(entry=auth.seen_by(account, each.entry)) for each in places_of(redis, record) if each.entry]
    (ways,) = hops.read(redis, record.edition, [(record.id, record.version)])
    more = {way.version: _way(way) for way in ways}
    return build(record, newsroom.items.history(record), seen, reached, more, compared)


def _sisters(request: Request, account: Account, record: Record) -> list[Record]:
    """The same line in the other editions that somebody may enter."""
    newsroom: Newsroom = request.state.newsroom
    (kin,) = newsroom.sisters([record])
    found = [newsroom.items.find_all(code, [sister])[0] for code, sister in kin.items() if account.may_enter(code)]
    return [each for each in found if each is not None]


def _way(way: hops.Hops) -> Mapping[str, str]:
    """The way of one version to the screens, as further columns of the report."""

    def ms(value: int | None) -> str:
        return f"{value} ms" if value is not None else "not known"

    return {
        "in the log after": ms(way.in_log),
        "first screen after": ms(way.first),
        "half of them within": ms(way.p50),
        "99 % of them within": ms(way.p99),
        "screens that confirmed": str(way.confirmed),
    }


def _state(filters: Filters) -> State | None:
    chosen = filters.one_of("state", list(STATES))
    return next((state for state in STATES if state == chosen), None)


def _file(name: str) -> dict[str, str]:
    """Headers of a file to keep; the name has only characters that every system takes (RFC 6266)."""
    return PRIVATE | {"content-disposition": f'attachment; filename="{re.sub(r"[^A-Za-z0-9._-]", "_", name)}"'}
