"""Board: all that the desks of an edition show, read once per change and handed to every open desk as what is new.

`accept.lua` says on the edition's desk channel that something changed; reach and the outbox are looked at twice a
second while somebody has a desk open. Nothing is read for an edition that nobody looks at.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import msgspec
import structlog
from redis.exceptions import RedisError
from rq import Queue
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer
from starlette.concurrency import run_in_threadpool

from service.domain.item import Item
from service.domain.lifecycle import Record
from service.errors import NotFoundError
from service.newsroom.queue import Newsroom, now_ms
from service.store import hops, opened, reach
from service.store.channel import follow
from service.store.connect import AsyncStore, Store, at, of_edition
from service.store.items import Wanted
from service.store.keys import Keys

# The last changed items; and beside them what waits for somebody or for its time, however long ago it was changed.
LATEST, MOST_OPEN = 30, 70
# How far back is looked for what was handed in and never decided about.
HANDED_IN = 500
# Reach changes without a word. A change that comes sooner than this after another is shown together with it.
LOOK_SECONDS, PAUSE_SECONDS = 0.5, 0.05
FAILED_SHOWN = 20
# How many versions back the last that went out is looked for: what is changed while it is withheld goes nowhere.
LATELY = 5
ON_AIR = 5

log = structlog.get_logger(__name__)

Row = dict[str, Any]


def shown(record: Record) -> Row:
    """A record as staff get it: without the hash of what made it."""
    document: Row = msgspec.to_builtins(record)
    document.pop("origin", None)
    return document


@dataclass
class Board:
    """One edition. `stamp` rises with whatever is new; `rows` are kept with the stamp at which they last changed."""

    stamp: int = 0
    watchers: int = 0
    rows: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    head: Row = field(default_factory=dict)
    open_ids: list[str] = field(default_factory=list)
    dirty: bool = True
    trouble: str | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    encoded: dict[int, bytes] = field(default_factory=dict)

    def since(self, stamp: int) -> bytes:
        """What changed after `stamp`, as JSON; made once for all desks that are there."""
        if stamp not in self.encoded:
            rows = [msgspec.Raw(raw) for changed, raw in self.rows.values() if changed > stamp]
            self.encoded[stamp] = msgspec.json.encode(self.head | {"order": list(self.rows), "rows": rows})
        return self.encoded[stamp]


class Boards:
    """Every edition's board, each kept by a loop of its own: what hangs on one shard keeps no other's waiting."""

    def __init__(
        self,
        redis: Store,
        side: AsyncStore,
        newsroom: Newsroom,
        queue: Queue,
        on_air: Callable[[str], Iterable[Item]],
    ) -> None:
        self._redis = redis
        self._side = side
        self._newsroom = newsroom
        self._queue = queue
        self._on_air = on_air
        self._boards = {code: Board() for code in newsroom.editions}
        self._wakes = {code: asyncio.Event() for code in newsroom.editions}

    @property
    def watchers(self) -> int:
        """How many desks are open at this process."""
        return sum(board.watchers for board in self._boards.values())

    def loops(self) -> dict[str, Callable[[], Any]]:
        """What must run, by name."""
        boards = {f"board {code}": partial(self._keep, code) for code in self._boards}
        return {**boards, "board news": self._listen}

    def watch(self, edition: str) -> Board:
        """Begin to look; `unwatch` ends it."""
        board = self._boards[edition]
        if not board.watchers:
            # What it showed to whoever looked before is old by now.
            board = self._boards[edition] = Board()
        board.watchers += 1
        self._wakes[edition].set()
        return board

    def unwatch(self, board: Board) -> None:
        """Look no more."""
        board.watchers -= 1

    async def whole(self, edition: str) -> bytes:
        """The board as it is now, for who asks instead of listening."""
        board = Board()
        self._take(board, await run_in_threadpool(self._read, edition, board))
        return board.since(0)

    async def _keep(self, code: str) -> None:
        """Keep an edition's board up to date for ever, while somebody looks at it."""
        wake = self._wakes[code]
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS if self._boards[code].watchers else None):
                    await wake.wait()
            except TimeoutError:
                pass
            wake.clear()
            board = self._boards[code]
            if board.watchers:
                await self._refresh(code, board)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _refresh(self, code: str, board: Board) -> None:
        try:
            self._take(board, await run_in_threadpool(self._read, code, board))
            board.trouble = None
        except (RedisError, OSError) as error:
            board.dirty = True
            if board.trouble is None:
                log.warning("no board", edition=code, error=str(error) or type(error).__name__)
            board.trouble = "Redis does not answer"
            _tell(board)

    def _take(self, board: Board, read: tuple[Row, list[Row]]) -> None:
        """Compare with what is shown; whatever differs is news."""
        head, found = read
        stamp = board.stamp + 1
        rows: dict[str, tuple[int, bytes]] = {}
        for row in found:
            raw = msgspec.json.encode(row)
            before = board.rows.get(row["id"])
            rows[row["id"]] = before if before is not None and before[1] == raw else (stamp, raw)
        if head != board.head or list(rows.items()) != list(board.rows.items()):
            board.head, board.rows, board.stamp = head, rows, stamp
            _tell(board)

    def _read(self, code: str, board: Board) -> tuple[Row, list[Row]]:
        """Read all of it. Blocking."""
        newsroom, redis = self._newsroom, of_edition(self._redis, code)
        latest, _ = newsroom.items.search(Wanted(edition=code), LATEST, None)
        if board.dirty:
            # Cleared first: what changes while this reads is looked at again.
            board.dirty = False
            board.open_ids = self._open(code)
        known = {record.id for record in latest}
        more = newsroom.items.find_all(code, [each for each in board.open_ids if each not in known])
        records = latest + [record for record in more if record is not None]
        public = [(record.id, record.item) for record in records if record.public]
        connected, reaches = reach.read_all(redis, code, public, now_ms())
        reached = {item_id: each for (item_id, _), each in zip(public, reaches, strict=True)}
        ways = hops.read(redis, code, [(each.id, each.version) for each in records if each.public], latest=LATELY)
        # Of the latest version that went out; none of a line whose first change is still in the outbox.
        way = {item_id: each[-1] for (item_id, _), each in zip(public, ways, strict=True) if each}
        sisters = newsroom.sisters(records)
        rows = [
            shown(record)
            | {
                "reach": reached.get(record.id),
                "hops": way.get(record.id),
                "sisters": kin,
            }
            for record, kin in zip(records, sisters, strict=True)
        ]
        keys = Keys.of(code)
        with redis.pipeline(transaction=False) as pipe:
            pipe.llen(keys.outbox)
            pipe.lindex(keys.outbox, 0)
            waiting, oldest = pipe.execute()
        head = {
            "edition": code,
            "connected": connected,
            "outbox": waiting,
            # When the first of them was accepted.
            "outboxSince": msgspec.json.decode(oldest)["accepted"] if oldest is not None else None,
            "jobs": self._jobs(),
            "open": opened.read(redis, code, now_ms()),
            "air": msgspec.to_builtins(list(self._on_air(code))[:ON_AIR]),
        }
        return head, rows

    def _open(self, code: str) -> list[str]:
        """What waits for its time or is on the air, and what was handed in and waits for somebody."""
        redis, keys = of_edition(self._redis, code), Keys.of(code)
        due = cast(list[bytes], redis.zrange(keys.due, 0, MOST_OPEN - 1))
        ids = cast(list[bytes], redis.zrevrange(keys.changed, 0, HANDED_IN - 1))
        heads = cast(list[bytes | None], redis.hmget(keys.heads, ids)) if ids else []
        waits = [
            item_id
            for item_id, head in zip(ids, heads, strict=True)
            if head is not None and head.split(b" ")[2] in (b"submitted", b"approved", b"withheld")
        ]
        return [item_id.decode() for item_id in dict.fromkeys([*waits[:MOST_OPEN], *due])]

    # Jobs: what woke a worker in vain. Nothing is lost with one, since the sweep wakes another; somebody should see it.

    def _jobs(self) -> Row:
        registry = self._registry()
        ids = registry.get_job_ids(0, FAILED_SHOWN - 1, desc=True)
        failed = []
        for job in Job.fetch_many(ids, self._queue.connection, serializer=JSONSerializer) if ids else []:
            if job is not None:
                lines = (job.exc_info or "").strip().splitlines()
                ended = job.ended_at
                failed.append(
                    {
                        "id": job.id,
                        "what": job.description or job.func_name,
                        "error": lines[-1][:300] if lines else "no reason was left",
                        "at": ended.isoformat() if ended else None,
                    }
                )
        return {"waiting": self._queue.count, "failed": failed, "failures": registry.get_job_count()}

    def retry(self, job_id: str) -> None:
        """Put a failed job back into the queue.

        Raises:
            NotFoundError: there is none of that id, or it did not fail.
        """
        try:
            self._registry().requeue(job_id)
        except (NoSuchJobError, InvalidJobOperation):
            raise NotFoundError(f"expected the id of a failed job, got {job_id[:64]!r}, which is none") from None
        self.changed()

    def changed(self, *codes: str) -> None:
        """Something was done in these editions; without one, in any."""
        for code in codes or self._boards:
            board = self._boards[code]
            board.dirty = True
            if board.watchers:
                self._wakes[code].set()

    def _registry(self) -> FailedJobRegistry:
        return FailedJobRegistry(queue=self._queue, serializer=JSONSerializer)

    async def _listen(self) -> None:
        """Hear that something was accepted, or opened, at any process."""
        channels = {Keys.of(code).desk: code for code in self._boards}
        await follow(
            at(self._side, next(iter(channels))), list(channels), lambda channel: self.changed(channels[channel])
        )


def _tell(board: Board) -> None:
    board.encoded.clear()
    news, board.news = board.news, asyncio.Event()
    news.set()
