"""Watch: how the service is, known before anybody asks. `/readyz` and `/metrics` are answered from what it remembers.

What only Redis knows is asked once a second, beside the requests: a Redis that takes a question and never answers must
not make the question after our health hang, too. What was learned carries the time at which it was asked.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import structlog
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from service.domain.instant import format_ms
from service.gateway.feed import Feeds
from service.gateway.hub import Hub
from service.store.connect import AsyncStore
from service.store.health import LogHealth, QueueHealth, ask_log, ask_queue

LOOK_SECONDS = 1.0
# How long Redis may take to answer; then it is not well.
ANSWER_SECONDS = 1.5
# An answer that was asked for longer ago than this says nothing any more.
STALE_SECONDS = 4.0
# The clock that stands by takes over within this.
NO_CLOCK_SECONDS = 3.0
# A worker takes a change within milliseconds, and the sweep wakes one after a second.
LATE_OUTBOX_MS = 10_000
# Three canaries that did not come.
LATE_CANARY_MS = 30_000

log = structlog.get_logger(__name__)

T = TypeVar("T")


def now_ms() -> int:
    """The moment, in ms since 1970."""
    return time.time_ns() // 1_000_000


class Look(Generic[T]):
    """One question, asked again and again. `known` is the latest answer, `at_ms` when it was asked for."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._asked = 0.0
        self._answers = False
        self.known: T | None = None
        self.at_ms = now_ms()
        self.took_ms = 0.0

    @property
    def fresh(self) -> T | None:
        """The answer, if the last question got one and that is not too long ago."""
        stale = time.monotonic() - self._asked > STALE_SECONDS
        return self.known if self._answers and not stale else None

    async def once(self) -> None:
        """Ask now."""
        asked, at_ms = time.monotonic(), now_ms()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self.known = await self._ask()
            self._answers = True
            self._asked, self.at_ms, self.took_ms = asked, at_ms, (time.monotonic() - asked) * 1000
        except (RedisError, OSError, TimeoutError) as error:
            if self._answers:
                log.warning("Redis does not say how it is", error=str(error) or type(error).__name__)
            self._answers = False


class Watch:
    """What each part of the service is like, and since when."""

    def __init__(
        self,
        store: AsyncStore,
        queue: AsyncRedis,
        editions: list[str],
        *,
        feed: Feeds,
        hub: Hub,
        tasks: Callable[[], dict[str, bool]],
    ) -> None:
        self.log: Look[LogHealth] = Look(lambda: ask_log(store, editions))
        self.queue: Look[QueueHealth] = Look(lambda: ask_queue(queue))
        self._editions = editions
        self._feed = feed
        self._hub = hub
        self._tasks = tasks
        self._began = time.monotonic()
        # When a clock was last seen to lead.
        self._led = float("-inf")
        # Each part's state, and since when (ms) it is in it.
        self._states: dict[str, tuple[bool, int]] = {}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.gather(self.log.once(), self.queue.once())
            if (known := self.log.fresh) is not None and known.leader is not None:
                self._led = time.monotonic()
            self.parts()
            await asyncio.sleep(LOOK_SECONDS)

    @property
    def age_seconds(self) -> float:
        """For how long this process has watched: what it never saw is at least so old."""
        return time.monotonic() - self._began

    def parts(self) -> dict[str, dict[str, Any]]:
        """What is known of each part. Each says when that was (`at`), and since when it is so (`since`)."""
        now = now_ms()
        looked, queue = self.log.fresh, self.queue.fresh
        silent = self._feed.silent_editions()
        canaries = self._feed.canaries
        late = [code for code in self._editions if code not in canaries or canaries[code].age_ms > LATE_CANARY_MS]
        outboxes = {
            code: {
                "changes": waiting.changes,
                "ageMs": max(0, self.log.at_ms - waiting.oldest_ms) if waiting.oldest_ms is not None else 0,
            }
            for code, waiting in (looked.outboxes.items() if looked else ())
        }
        tasks = self._tasks()
        unknown = [code for code in self._editions if code not in outboxes]
        slow = {code: each["ageMs"] for code, each in outboxes.items() if each["ageMs"] > LATE_OUTBOX_MS}
        redis_why = f"Redis does not answer{' for ' + ', '.join(unknown) if looked else ''}" if unknown else ""
        outbox_why = redis_why
        if slow:
            code, age_ms = max(slow.items(), key=lambda each: each[1])
            outbox_why = (
                f"in {code} a change has waited {age_ms / 1000:.1f} s for a worker (at most {LATE_OUTBOX_MS / 1000:g})"
            )
        clock_why = "" if time.monotonic() - self._led < NO_CLOCK_SECONDS else "no clock leads"
        stopped = [name for name, alive in tasks.items() if not alive]
        return {
            "redis": self._part(
                "redis", redis_why, self.log.at_ms, roundTripMs=round(self.log.took_ms, 1) if looked else None
            ),
            "queue": self._part(
                "queue",
                "" if queue is not None else "the queue's Redis does not answer",
                self.queue.at_ms,
                **(queue._asdict() if queue else {}),
            ),
            "feed": self._part(
                "feed",
                f"no beat is heard of {', '.join(silent)}" if silent else "",
                now,
                silent=silent,
                cursors={code: str(each.ticker.cursor) for code, each in self._hub.audiences.items()},
                heard={code: format_ms(now - int(age * 1000)) for code, age in self._feed.heard_seconds().items()},
            ),
            "canary": self._part(
                "canary",
                f"no canary came through in {', '.join(late)} for {LATE_CANARY_MS / 1000:g} s: does a worker work?"
                if late
                else "",
                now,
                late=late,
                editions={
                    code: {"accepted": format_ms(seen.accepted_ms), "ageMs": seen.age_ms, "tookMs": seen.took_ms}
                    for code, seen in canaries.items()
                },
            ),
            "outbox": self._part("outbox", outbox_why, self.log.at_ms, editions=outboxes),
            "clock": self._part(
                "clock",
                clock_why if looked is not None else "Redis does not say which clock leads",
                self.log.at_ms,
                leader=looked.leader if looked else None,
            ),
            "tasks": self._part(
                "tasks", f"{', '.join(stopped)} died, and is started again" if stopped else "", now, running=tasks
            ),
            "draining": self._part(
                "draining",
                "the process was told to stop" if self._hub.draining else "",
                now,
                draining=self._hub.draining,
            ),
        }

    def _part(self, name: str, why: str, at_ms: int, **knows: object) -> dict[str, Any]:
        """Describe a part; it is ready where there is no reason `why` it is not."""
        ready = not why
        before, since_ms = self._states.get(name, (None, 0))
        if ready != before:
            since_ms = now_ms()
            self._states[name] = (ready, since_ms)
            if before is not None and ready:
                log.info("ready", part=name)
            elif before is not None:
                log.warning("not ready", part=name, why=why)
        said = {} if ready else {"why": why}
        return {"ready": ready, **said, "since": format_ms(since_ms), "at": format_ms(at_ms), **knows}
