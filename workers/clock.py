"""Clock: what must happen at a time. Embargoes and expiry to the millisecond, the beat and the sweep every second.

One clock leads by a lease in Redis, others stand by. The lease only saves work: two leaders at once (one was stopped
and went on) do no harm, because each decision is compared with the item's `rev` when it is written.
"""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import cast

import msgspec
import structlog
from redis.exceptions import RedisError

from service.domain import lifecycle
from service.domain.instant import format_ms
from service.domain.lifecycle import Decision, Entry
from service.errors import ConflictError, StoppressError
from service.store import log as store
from service.store.channel import follow
from service.store.connect import AsyncStore, alike, at, of_edition, streaming
from service.store.keys import CLOCK_LEASE, Keys
from service.store.script import Script
from service.tasks import Tasks
from workers.context import Context
from workers.fanout import release

BEAT_SECONDS = 1.0
# So short that the clock that stands by beats before the Feeds take the silence for a dead subscription (3 s): a beat's
# second, the lease, and a third of it until it is asked for.
LEASE_MS = 1_200
# How often is looked whether it is time for a canary: after an outage the next one should not be long in coming.
CANARY_LOOK_SECONDS = 1.0
# What has waited this long in an outbox lost its wake-up: its worker died, or the queue's Redis did not take it.
SWEEP_MS = 1_000
# Each wake-up empties a whole outbox: more than this waiting means that no worker works, and more would not help.
MOST_WAKEUPS = 20
# How often the log says so of an edition, for as long as that lasts.
COMPLAINT_SECONDS = 10.0
# The alarm wakes the sleeper; should its message be lost with a connection, this is how late it can be.
LONGEST_SLEEP_SECONDS = 30.0
# How soon what was refused is tried again.
REFUSED_MS = 200
DUE_AT_ONCE = 100
# How often is looked for kills whose text Redis's append-only file still holds; the least time between two rewrites.
SCRUB_SECONDS = 1.0
SCRUB_PAUSE_SECONDS = 60.0

lease_script = Script("lease")
log = structlog.get_logger(__name__)


def now_ms() -> int:
    """The moment, in ms since 1970."""
    return time.time_ns() // 1_000_000


class Clock:
    """One clock process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        url = context.settings.require_redis_url()
        self._redis: AsyncStore = streaming(url)
        self._alarms: AsyncStore = streaming(url)
        # Editions that live and fail together: what hangs on one shard must not keep another's waiting.
        self._groups = alike(self._redis, context.editions)
        self._name = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(2)}"
        self._leads = asyncio.Event()
        self._alarm = {group[0]: asyncio.Event() for group in self._groups}
        # Entries that were due but had nothing to do, so that they are not looked at again and again.
        self._idle: dict[tuple[str, str], float] = {}
        # When the log may next say of an edition that its changes wait too long.
        self._complain_at: dict[str, float] = {}
        # Each edition's latest kill when Redis was last asked to rewrite its append-only file.
        self._scrubbed: dict[str, Mapping[str, object]] = {}

    async def run(self, until: asyncio.Event) -> None:
        """Do everything until the event is set; then give up the lease."""
        loops: dict[str, Callable[[], Awaitable[None]]] = {"lease": self._lease, "alarm": self._listen}
        for group in self._groups:
            of = f" {group[0]}" if len(self._groups) > 1 else ""
            for name in ("beat", "sweep", "canary", "due", "scrub"):
                loops[f"{name}{of}"] = partial(getattr(self, f"_{name}"), group)
        async with Tasks(loops):
            await until.wait()
        await self._resign()

    async def _resign(self) -> None:
        """Give up the lease, so that the clock that stands by need not wait for its end."""
        try:
            await lease_script.arun(at(self._redis, CLOCK_LEASE), [CLOCK_LEASE], [self._name, 0])
            await self._redis.aclose()
            await self._alarms.aclose()
        except (RedisError, OSError) as error:
            log.debug("lease not given up", error=str(error))

    async def _lease(self) -> None:
        while True:
            try:
                redis = at(self._redis, CLOCK_LEASE)
                leads = bool(await lease_script.arun(redis, [CLOCK_LEASE], [self._name, LEASE_MS]))
            except (RedisError, OSError) as error:
                # Who led goes on: the lease's shard may be the only one that fails, and two leaders do no harm.
                leads = self._leads.is_set()
                if leads:
                    log.warning("lease not kept", error=str(error) or type(error).__name__)
            if leads and not self._leads.is_set():
                log.info("leading", clock=self._name)
                self._leads.set()
                self._ring()
            elif not leads and self._leads.is_set():
                log.info("standing by", clock=self._name)
                self._leads.clear()
            await asyncio.sleep(LEASE_MS / 3000)

    def _ring(self) -> None:
        """Have every edition's due items looked at."""
        for alarm in self._alarm.values():
            alarm.set()

    async def _beat(self, codes: list[str]) -> None:
        """Publish each edition's cursor once a second. Feeds take three missed ones for a dead subscription."""
        while True:
            await self._leads.wait()
            try:
                moment = format_ms(now_ms())
                redis = of_edition(self._redis, codes[0])
                await asyncio.gather(*(store.beat(redis, code, moment) for code in codes))
            except (RedisError, OSError) as error:
                log.warning("no beat", error=str(error) or type(error).__name__)
            await asyncio.sleep(BEAT_SECONDS)

    async def _sweep(self, codes: list[str]) -> None:
        """Wake a worker for what has waited too long in an outbox."""
        while True:
            await self._leads.wait()
            try:
                for code in codes:
                    await self._sweep_one(code)
            except (RedisError, OSError) as error:
                log.warning("no sweep", error=str(error) or type(error).__name__)
            await asyncio.sleep(SWEEP_MS / 1000)

    async def _sweep_one(self, code: str) -> None:
        oldest = await of_edition(self._redis, code).lindex(Keys.of(code).outbox, 0)
        if oldest is None:
            return
        waited = now_ms() - msgspec.json.decode(oldest, type=Entry).accepted
        if waited < SWEEP_MS:
            return
        queued = await asyncio.to_thread(lambda: self._context.queue.count)
        if time.monotonic() >= self._complain_at.get(code, 0.0):
            self._complain_at[code] = time.monotonic() + COMPLAINT_SECONDS
            log.warning("waited too long", edition=code, waited_ms=waited, queued=queued)
        if queued < MOST_WAKEUPS:
            await asyncio.to_thread(self._wake, code)

    def _wake(self, code: str) -> None:
        """Wake a worker; where the queue takes nothing (a full Redis, which a kill gets through) do its work here."""
        try:
            self._context.outbox.wake(code)
        except RedisError as error:
            log.warning("not queued, so released by the clock", edition=code, error=str(error) or type(error).__name__)
            release(self._context, code)

    async def _canary(self, codes: list[str]) -> None:
        """Send a canary into each edition's outbox every ten seconds: a Feed that hears it knows the way to be open."""
        while True:
            await self._leads.wait()
            try:
                for code in codes:
                    await asyncio.to_thread(self._context.outbox.send_canary, code, now_ms())
            except (RedisError, OSError) as error:
                log.warning("no canary", error=str(error) or type(error).__name__)
            await asyncio.sleep(CANARY_LOOK_SECONDS)

    async def _scrub(self, codes: list[str]) -> None:
        """After a kill, have Redis rewrite its append-only file: the file still holds the commands with the text."""
        while True:
            await self._leads.wait()
            try:
                if await self._scrub_once(codes):
                    await asyncio.sleep(SCRUB_PAUSE_SECONDS)
            except (RedisError, OSError) as error:
                log.warning("killed text stays in Redis's append-only file for now", error=str(error))
                await asyncio.sleep(SCRUB_PAUSE_SECONDS)
            await asyncio.sleep(SCRUB_SECONDS)

    async def _scrub_once(self, codes: list[str]) -> bool:
        """Ask for a rewrite if there was a kill since the last one that this process asked for; whether it did."""
        # Read before the rewrite: what is killed while it runs gets one of its own.
        redis = of_edition(self._redis, codes[0])
        killed = {code: await redis.hget(Keys.of(code).meta, "killed") for code in codes}
        if killed == self._scrubbed.get(codes[0]) or not any(killed.values()):
            return False
        about = await redis.info("persistence")
        if about["aof_enabled"]:
            if about["aof_rewrite_in_progress"] or about["aof_rewrite_scheduled"]:
                return False
            await redis.bgrewriteaof()
            log.info("append-only file is rewritten after a kill")
        self._scrubbed[codes[0]] = killed
        return True

    async def _due(self, codes: list[str]) -> None:
        """Release embargoes and expire lines at their moment, by sleeping until the next one."""
        while True:
            await self._leads.wait()
            # Cleared before looking: an alarm that comes while we look is not lost.
            alarm = self._alarm[codes[0]]
            alarm.clear()
            try:
                nearest = await self._look(codes)
            except (RedisError, OSError) as error:
                log.warning("due items unknown", error=str(error) or type(error).__name__)
                nearest = now_ms() + 200
            seconds = LONGEST_SLEEP_SECONDS
            if nearest is not None:
                seconds = min(max((nearest - now_ms()) / 1000, 0.0), seconds)
            try:
                async with asyncio.timeout(seconds):
                    await alarm.wait()
            except TimeoutError:
                pass

    async def _look(self, codes: list[str]) -> int | None:
        """Handle what is due in these editions; return when the next is."""
        nearest: int | None = None
        for code in codes:
            most = DUE_AT_ONCE + len(self._idle)
            rows = await of_edition(self._redis, code).zrange(Keys.of(code).due, 0, most - 1, withscores=True)
            scores = [(member.decode(), score) for member, score in cast(list[tuple[bytes, float]], rows)]
            waiting = [(item_id, int(ms)) for item_id, ms in scores if self._idle.get((code, item_id)) != ms]
            moment = now_ms()
            late = [(item_id, ms) for item_id, ms in waiting if ms <= moment]
            if late:
                taken = await asyncio.to_thread(self._handle, code, late)
                again = moment if taken else moment + REFUSED_MS
                nearest = min(nearest, again) if nearest is not None else again
            elif waiting:
                nearest = min(nearest, waiting[0][1]) if nearest is not None else waiting[0][1]
        return nearest

    def _handle(self, code: str, late: list[tuple[str, int]]) -> bool:
        """Decide what is late, all of it in one step; false if the outbox does not take all of it now."""
        decided: list[tuple[Decision, int]] = []
        records = self._context.items.find_all(code, [item_id for item_id, _ in late])
        for record, (item_id, ms) in zip(records, late, strict=True):
            decision = lifecycle.fall_due(record, now_ms()) if record is not None else None
            if decision is not None:
                decided.append((decision, ms))
                continue
            if len(self._idle) > DUE_AT_ONCE:
                self._idle.clear()
            self._idle[code, item_id] = float(ms)
        taken = True
        answers = self._context.outbox.accept_all(code, [decision for decision, _ in decided])
        for (decision, ms), answer in zip(decided, answers, strict=True):
            item_id = decision.record.id
            if isinstance(answer, ConflictError):
                continue  # an editor was first; the next look sees what they did
            if isinstance(answer, StoppressError):
                log.warning("not taken", edition=code, id=item_id, error=answer.detail)
                taken = False
                continue
            log.info("due", edition=code, id=item_id, action=decision.action, late_ms=now_ms() - ms)
        return taken

    async def _listen(self) -> None:
        """Hear that something earlier is due now."""
        channels = [Keys.of(code).alarm for code in self._context.editions]
        await follow(at(self._alarms, CLOCK_LEASE), channels, lambda _: self._ring())
