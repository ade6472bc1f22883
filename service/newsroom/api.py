"""API: the newsroom's calls over HTTP (DESIGN 6). Parsing and answers here; decisions in `queue.py`."""

import asyncio
import re
import time
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar, get_args

import msgspec
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from service.domain.headline import LONG
from service.domain.instant import parse_ms
from service.domain.item import Change, Draft, Reason, new_id
from service.domain.lifecycle import ACTIONS, Record, State
from service.errors import (
    NOT_KNOWN,
    ForbiddenError,
    InvalidFieldError,
    MalformedError,
    NotFoundError,
    PreconditionRequiredError,
    StoppressError,
    TooLargeError,
    UnavailableError,
)
from service.newsroom.auth import CSRF_HEADER, bearer, cookie_of, require_edition, require_own_page, seen_by
from service.newsroom.board import shown
from service.newsroom.landings import Landing
from service.newsroom.queue import Call, Newsroom, now_ms
from service.newsroom.tally import Tally
from service.store.accounts import Account
from service.store.audit import of_item
from service.store.connect import of_edition
from service.store.items import Wanted
from service.store.outbox import Accepted
from service.store.reach import Reach
from service.store.reach import read as read_reach
from service.store.sessions import Sessions

P = ParamSpec("P")
T = TypeVar("T")

# An editor at 03:00 is told within two seconds that it did not work, however many questions to Redis hang.
ANSWER_SECONDS = 1.8
LARGEST_BODY = 65_536
LONGEST_WAIT_SECONDS = 10.0
PAGE, LARGEST_PAGE = 50, 200
STATES: tuple[State, ...] = get_args(State)
FILTERS = ("edition", "state", "q", "by", "since", "until", "limit", "next")
NUMBER = re.compile(r"\d{1,15}", re.ASCII)
IF_MATCH = re.compile(r'(?:W/)?"?(\d{1,9})"?', re.ASCII)
WAIT = re.compile(r"(?:^|[,;]\s*)wait\s*=\s*\"?(\d{1,4}(?:\.\d{1,3})?)\"?", re.ASCII)


async def create_item(request: Request) -> Response:
    """`POST /v1/items`: a draft, or a live item."""
    call, body = await read_call(request)
    draft = Draft.parse(body)
    own_id = draft.id is not None
    if not own_id:
        draft.id = new_id()
    assert draft.id is not None
    newsroom: Newsroom = request.state.newsroom
    warnings = [f"the headline has more than {LONG} characters"] if len(draft.headline.strip()) > LONG else []
    with request.state.landings.expect(draft.id) as landing:
        accepted = await accept(request, "publish", partial(newsroom.publish, call, draft, own_id=own_id))
        return await answer(request, accepted, landing, warnings)


async def change_item(request: Request) -> Response:
    """`PATCH /v1/items/{id}`: update, correct or refile."""
    item_id = request.path_params["id"]
    call, body = await read_call(request)
    version = _if_match(request)
    given = Change.parse(body)
    if version is None:
        raise PreconditionRequiredError(
            'expected the header If-Match: "<version>", so that nobody overwrites a text that they have not seen'
        )
    newsroom: Newsroom = request.state.newsroom
    with request.state.landings.expect(item_id) as landing:
        accepted = await accept(request, given.change, partial(newsroom.change, call, item_id, given, version))
        return await answer(request, accepted, landing, [])


async def act_on_item(request: Request) -> Response:
    """`POST /v1/items/{id}/{action}`."""
    item_id, action = request.path_params["id"], request.path_params["action"]
    if action not in ACTIONS:
        raise NotFoundError(f"expected one of the actions {', '.join(ACTIONS)}, got {action[:40]!r}")
    call, body = await read_call(request)
    version = _if_match(request)
    given = Reason.parse(body)
    newsroom: Newsroom = request.state.newsroom
    with request.state.landings.expect(item_id) as landing:
        accepted = await accept(request, action, partial(newsroom.act, call, item_id, action, given, version))
        if given.everywhere and action == "kill":
            killed = await in_thread(partial(newsroom.kill_sisters, call, item_id, given))
            return await answer(request, accepted, landing, [], sisters=killed)
        return await answer(request, accepted, landing, [])


async def get_item(request: Request) -> Response:
    """`GET /v1/items/{id}`: one item with its versions, audit and reach."""
    call, _ = await read_call(request)
    newsroom: Newsroom = request.state.newsroom

    def read() -> tuple[Record, dict[str, object]]:
        account = newsroom.staff(call)
        record = newsroom.items.get(request.path_params["id"])
        require_edition(account, record.edition)
        redis = of_edition(request.state.redis, record.edition)
        reach = read_reach(redis, record.edition, record.id, record.item, now_ms()) if record.public else Reach(0, 0)
        return record, {
            **shown(record),
            "versions": newsroom.items.history(record),
            "audit": [seen_by(account, entry) for entry in of_item(redis, record)],
            "reach": reach,
            "sisters": newsroom.sisters([record])[0],
        }

    record, document = await in_thread(read)
    return _json(document, headers={"etag": f'"{record.version}"', "cache-control": "no-store"})


async def list_items(request: Request) -> Response:
    """`GET /v1/items`: search by edition, state, text, editor and time of the last change, newest first."""
    call, _ = await read_call(request)
    wanted, limit, before = _wanted(request)
    newsroom: Newsroom = request.state.newsroom

    def read() -> tuple[list[Record], str | None]:
        account = newsroom.staff(call)
        if wanted.edition is not None:
            newsroom.editions.named(wanted.edition)
            require_edition(account, wanted.edition)
        return newsroom.items.search(wanted._replace(among=account.editions), limit, before)

    records, further = await in_thread(read)
    return _json({"items": [shown(each) for each in records], "next": further}, headers={"cache-control": "no-store"})


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what blocks in a thread; who waits for it is answered in time, also when all threads hang.

    Raises:
        UnavailableError: it takes too long; what was begun may yet happen.
    """
    task = asyncio.create_task(run_in_threadpool(function, *args, **kwargs))
    try:
        done, _ = await asyncio.wait({task}, timeout=ANSWER_SECONDS)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        # One that has not begun never will; one that has ends by its own time-outs, and nobody asks how.
        task.cancel()
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
        raise UnavailableError(f"expected Redis to answer in time: it does not. {NOT_KNOWN}", retry_after=2)
    return task.result()


async def read_body(request: Request) -> bytes:
    """The whole body, if it is not too large.

    Raises:
        TooLargeError: it is; nothing more of it is read.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise TooLargeError(f"expected a body of at most {LARGEST_BODY} bytes, got more")
    return bytes(body)


async def read_call(request: Request) -> tuple[Call, bytes]:
    """Who calls and with what. The key or session is looked at before the body: strangers send us nothing."""
    header, cookie = request.headers.get("authorization"), cookie_of(request)
    key, account = "", None
    if header is None and cookie is not None:
        account = await signed_in(request, cookie)
    else:
        key = bearer(header)
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > LARGEST_BODY:
        raise TooLargeError(f"expected a body of at most {LARGEST_BODY} bytes, got {length}")
    body = await read_body(request)
    idempotency_key = request.headers.get("idempotency-key")
    if idempotency_key is not None and not 1 <= len(idempotency_key) <= 255:
        raise MalformedError("expected an Idempotency-Key of 1 to 255 characters")
    what = f"{request.method} {request.url.path} {request.headers.get('if-match', '')}\n".encode() + body
    return Call(key, address_of(request), idempotency_key, what, account), body


def address_of(request: Request) -> str:
    """Where a call comes from, as far as our proxies can be believed."""
    peer = request.client.host if request.client else ""
    address: str = request.state.gateway.door.address(peer, request.headers.get("x-forwarded-for"))
    return address


async def signed_in(request: Request, cookie: str) -> Account:
    """Whose session a call came with. One that changes something must come from a page of this session.

    Raises:
        UnauthenticatedError: the session has ended.
        ForbiddenError: the proof is missing or another session's.
    """
    sessions: Sessions = request.state.sessions

    def check() -> Account:
        account = sessions.account(cookie)
        if request.method not in ("GET", "HEAD"):
            require_own_page(request)
            if not sessions.check_csrf(cookie, request.headers.get(CSRF_HEADER)):
                raise ForbiddenError(f"expected the header {CSRF_HEADER} of this session's pages: load the page anew")
        return account

    return await in_thread(check)


async def accept(request: Request, action: str, work: Callable[[], Accepted]) -> Accepted:
    """Run a call's work in a thread, and count how it ended and how long that took."""
    tally: Tally = request.state.newsroom.tally
    started = time.perf_counter()
    try:
        accepted = await in_thread(work)
    except StoppressError as error:
        tally.refused[error.code] += 1
        raise
    except RedisError:
        tally.refused[UnavailableError.code] += 1
        raise
    finally:
        tally.seconds.observe(time.perf_counter() - started)
    if not accepted.again:
        tally.accepted["create" if action == "publish" and accepted.state in ("draft", "submitted") else action] += 1
    return accepted


async def answer(
    request: Request,
    accepted: Accepted,
    landing: Landing,
    warnings: list[str],
    sisters: list[dict[str, object]] | None = None,
) -> Response:
    """Say what was accepted: 202, or 201 once it is in the log where the caller prefers to wait."""
    document: dict[str, object] = {"id": accepted.id, "version": accepted.version, "state": accepted.state}
    headers = {"etag": f'"{accepted.version}"', "location": f"/v1/items/{accepted.id}"}
    if warnings:
        document["warnings"] = warnings
    if sisters is not None:
        document["sisters"] = sisters
    seconds = _prefer_wait(request)
    if seconds and accepted.public:
        # What was accepted before may have been in the log long before we began to listen.
        newsroom: Newsroom = request.state.newsroom
        in_log = newsroom.items.in_log
        past = await in_thread(in_log, accepted.id, accepted.version) if accepted.again else None
        past = past or await landing.of(accepted.version, seconds)
        if past is not None:
            document |= {"seq": past.seq, "cursor": past.change.cursor}
            headers["preference-applied"] = f"wait={seconds:g}"
            return _json(document, 201, headers)
    return _json(document, 202, headers)


def _json(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(document), status, headers, media_type="application/json")


def _prefer_wait(request: Request) -> float:
    """How long the caller prefers to wait (RFC 7240, section 4.3); 0 for not at all."""
    match = WAIT.search(",".join(request.headers.getlist("prefer")))
    return min(float(match[1]), LONGEST_WAIT_SECONDS) if match else 0.0


def _if_match(request: Request) -> int | None:
    header = request.headers.get("if-match")
    if header is None or header.strip() == "*":
        return None
    match = IF_MATCH.fullmatch(header.strip())
    if match is None:
        raise MalformedError(f'expected If-Match: "<version>", got {header[:60]!r}', path="If-Match")
    return int(match[1])


def _wanted(request: Request) -> tuple[Wanted, int, tuple[int, str] | None]:
    query = request.query_params
    for name in query:
        if name not in FILTERS:
            raise MalformedError(f"expected {', '.join(FILTERS)}, got {name[:60]!r}", path=name)
    state = query.get("state")
    if state is not None and state not in STATES:
        raise MalformedError(f"expected one of {', '.join(STATES)}, got {state[:60]!r}", path="state")
    limit = query.get("limit", str(PAGE))
    if not NUMBER.fullmatch(limit) or not 1 <= int(limit) <= LARGEST_PAGE:
        raise MalformedError(f"expected 1 to {LARGEST_PAGE}, got {limit[:60]!r}", path="limit")
    before = place_of(query["next"]) if "next" in query else None
    wanted = Wanted(
        edition=query.get("edition"),
        state=state,
        text=query.get("q") or None,
        since_ms=_moment(query.get("since"), "since"),
        until_ms=_moment(query.get("until"), "until"),
        editor=query.get("by") or None,
    )
    return wanted, int(limit), before


def place_of(text: str) -> tuple[int, str]:
    """Read where the next page of a listing starts.

    Raises:
        MalformedError: no page gave that.
    """
    ms, _, item_id = text.partition(".")
    if not NUMBER.fullmatch(ms) or not item_id:
        raise MalformedError("expected next as the previous page gave it", path="next")
    return int(ms), item_id


def _moment(text: str | None, name: str) -> int | None:
    try:
        return parse_ms(text, name) if text is not None else None
    except InvalidFieldError as error:
        raise MalformedError(error.detail, path=name) from None
