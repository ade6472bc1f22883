"""Feed: Redis pub/sub in, Hub out. One per web process; on a Cluster one for each edition, whose shard may fail alone.

Subscribe, then read, then follow, dropping what was seen: a change that falls between two of these steps is in one of
them. A hole in the seqs is filled from the stream before anything later goes out. The beat, which comes every second
on the same channel as the news, is the only proof that the subscription is alive; TCP that looks healthy is none.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple, Protocol, Self

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from service.domain.cursor import Cursor
from service.domain.frames import Beat, Canary, Change, ItemChanged, decode_news, open_news
from service.domain.instant import format_ms, parse_ms
from service.domain.ticker import Past, Ticker
from service.errors import MalformedError
from service.histogram import Histogram
from service.store import log as store
from service.store.connect import engine
from service.store.keys import Keys

# Three beats may be late or lost before the Feed takes itself for deaf.
SILENCE_SECONDS = 3.0
# How long between two attempts to reach Redis: it is back for a while before anybody notices.
LONGEST_PAUSE_SECONDS = 0.5
# How many changes one read of a hole asks for.
HOLE = 500
# A Redis Cluster ends a sharded subscription when the slot has gone to another shard.
ENDED = ("unsubscribe", "sunsubscribe")
BEGUN = ("subscribe", "ssubscribe")

log = structlog.get_logger(__name__)

Listener = Callable[[str, Past], None]


class Sighting(NamedTuple):
    """The last canary that got here: when it was accepted, and how long it took (None: nobody here heard it)."""

    accepted_ms: int
    took_ms: int | None
    # How old it was when (monotonic) this process knew of it. From then on this machine's steady clock counts: a wall
    # clock that is ahead elsewhere must not keep a dead way looking alive.
    aged_ms: int
    known: float

    @classmethod
    def now(cls, accepted_ms: int, *, heard: bool) -> Self:
        """A canary that this process knows of from now on."""
        aged_ms = max(0, time.time_ns() // 1_000_000 - accepted_ms)
        return cls(accepted_ms, aged_ms if heard else None, aged_ms, time.monotonic())

    @property
    def age_ms(self) -> int:
        """How long ago it was accepted."""
        return self.aged_ms + int((time.monotonic() - self.known) * 1000)


class Audience(Protocol):
    """What the Feed tells: the Hub."""

    def changed(self, ticker: Ticker, past: Past, accepted_ms: int | None) -> None: ...
    def restarted(self, ticker: Ticker) -> None: ...
    def behind(self, since: str, editions: Iterable[str]) -> None: ...
    def live_again(self, editions: Iterable[str]) -> None: ...


class SilentFeedError(Exception):
    """Nothing was heard for too long, or the server ended the subscription: it is taken for dead."""


class Feed:
    """Follows the logs of editions that live together, and keeps their tickers. `run` never returns."""

    def __init__(self, redis: Redis, tickers: Mapping[str, Ticker], hub: Audience, listeners: list[Listener]) -> None:
        self._redis = redis
        self._tickers = tickers
        self._channels = {Keys.of(code).news.encode(): ticker for code, ticker in tickers.items()}
        self._hub = hub
        self._listeners = listeners
        self._heard: dict[str, float] = {}
        # When a message really came; a reconnect, which gives everyone another three seconds, is none.
        self._spoken = dict.fromkeys(tickers, time.monotonic())
        self.canaries: dict[str, Sighting] = {}
        self.canary_seconds = Histogram()
        # How often the news was lost after it had been heard.
        self.losses = 0
        self.following = False
        self.changed_ms = time.time_ns() // 1_000_000

    @property
    def name(self) -> str:
        """The editions that it follows."""
        return " ".join(self._tickers)

    def silent_editions(self) -> list[str]:
        """The editions whose beat has not been heard for too long; empty when all is well."""
        if not self.following:
            return list(self._tickers)
        deadline = time.monotonic() - SILENCE_SECONDS
        return [code for code in self._tickers if self._heard.get(code, 0.0) < deadline]

    def heard_seconds(self) -> dict[str, float]:
        """How long ago each edition's last message came; counted from the start where none has come yet."""
        now = time.monotonic()
        return {code: now - spoken for code, spoken in self._spoken.items()}

    async def run(self) -> None:
        """Follow for ever; after each loss say to the readers that they are behind, and reconnect."""
        pause = 0.05
        while True:
            started = time.monotonic()
            try:
                await self._follow()
            except (RedisError, OSError, SilentFeedError, TimeoutError) as error:
                self._lost(error)
            if time.monotonic() - started > 10:
                pause = 0.05
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _follow(self) -> None:
        pubsub = self._redis.pubsub()
        try:
            # The client has no time limit of its own, since it listens: each question has one here. A server that
            # takes a connection and answers nothing is dead, too.
            async with asyncio.timeout(SILENCE_SECONDS):
                subscribe = pubsub.ssubscribe if engine(self._redis) == "cluster" else pubsub.subscribe
                await subscribe(*self._channels)
                await self._confirmed(pubsub)
            for ticker in self._tickers.values():
                async with asyncio.timeout(SILENCE_SECONDS):
                    await self._catch_up(ticker)
            now = time.monotonic()
            self._heard = dict.fromkeys(self._tickers, now)
            await self._listen(pubsub)
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _confirmed(self, pubsub: PubSub) -> None:
        """Wait until Redis has confirmed each subscription: only what is published after that is sure to be heard."""
        left = len(self._channels)
        while left:
            message = await pubsub.get_message(timeout=SILENCE_SECONDS)
            if message is not None and message["type"] in BEGUN:
                left -= 1

    async def _listen(self, pubsub: PubSub) -> None:
        beaten: set[str] = set()
        while True:
            # redis-py may reconnect in here, without a limit of its own.
            async with asyncio.timeout(SILENCE_SECONDS):
                message = await pubsub.get_message(timeout=1.0)
            if message is not None and message["type"] in ENDED:
                raise SilentFeedError("the server ended the subscription")
            if message is not None and message["type"] in BEGUN:
                # redis-py lost the connection and subscribed again: what was published in between was not heard.
                async with asyncio.timeout(SILENCE_SECONDS):
                    await self._catch_up(self._channels[message["channel"]])
            elif message is not None and (ticker := self._channels.get(message["channel"])) is not None:
                code = ticker.edition.code
                self._heard[code] = self._spoken[code] = time.monotonic()
                async with asyncio.timeout(SILENCE_SECONDS):
                    await self._take(ticker, message["data"])
                if not self.following:
                    beaten.add(code)
                    if len(beaten) == len(self._tickers):
                        self._found()
            deadline = time.monotonic() - SILENCE_SECONDS
            for code, heard in self._heard.items():
                if heard < deadline:
                    raise SilentFeedError(f"no beat of {code} for {SILENCE_SECONDS:g} s")

    async def _take(self, ticker: Ticker, payload: bytes) -> None:
        try:
            news = decode_news(payload)
            cursor = Cursor.parse(news.cursor)
        except (msgspec.DecodeError, UnicodeDecodeError, MalformedError) as error:
            log.warning("not news", edition=ticker.edition.code, error=str(error))
            return
        if isinstance(news, Canary):
            canary = self.canaries[ticker.edition.code] = Sighting.now(news.accepted, heard=True)
            self.canary_seconds.observe(canary.aged_ms / 1000)
        if cursor.epoch != ticker.epoch:
            await self._catch_up(ticker)
            return
        if isinstance(news, Beat | Canary):
            if cursor.seq > ticker.seq:
                await self._fill(ticker, cursor.seq)
            elif cursor.seq < ticker.seq:
                # Either an old beat that waited in the socket, or a log that went back. The script knows.
                await store.renew(self._redis, ticker.edition.code, ticker.epoch, ticker.seq)
            return
        if cursor.seq > ticker.seq + 1:
            await self._fill(ticker, cursor.seq - 1)
        if cursor.seq > ticker.seq:
            self._apply(ticker, cursor.seq, news, *open_news(payload))

    async def _catch_up(self, ticker: Ticker) -> None:
        """Bring a ticker to where the log is, by its changes if they are all there, else by starting over."""
        code = ticker.edition.code
        state = await store.read(self._redis, code)
        if state.canary_ms is not None and (
            code not in self.canaries or self.canaries[code].accepted_ms < state.canary_ms
        ):
            self.canaries[code] = Sighting.now(state.canary_ms, heard=False)
        if state.epoch == ticker.epoch and state.seq < ticker.seq:
            log.warning("the log went back", edition=code, was=ticker.seq, now=state.seq)
            await store.renew(self._redis, code, ticker.epoch, ticker.seq)
            state = await store.read(self._redis, code)
        elif state.epoch == ticker.epoch and _differs(ticker, state):
            log.warning("the log has another history", edition=code, seq=ticker.seq)
            await store.renew(self._redis, code, ticker.epoch, store.ANY_SEQ)
            state = await store.read(self._redis, code)
        if state.epoch == ticker.epoch and state.starts <= ticker.seq:
            for past in state.past:
                if past.seq > ticker.seq:
                    self._apply(ticker, past.seq, past.change, past.payload)
            # The last ones may have been scrubbed by a kill whose tombstone is still to come.
            ticker.seq = state.seq
            return
        log.info("ticker loaded", edition=code, cursor=f"{state.epoch}.{state.seq}", lines=len(state.lines))
        ticker.load(state.epoch, state.seq, state.lines, state.past, starts=state.starts, floor=state.floor)
        self._hub.restarted(ticker)

    async def _fill(self, ticker: Ticker, up_to: int) -> None:
        """Fill a hole from the stream. A seq that is missing there was scrubbed by a kill."""
        code = ticker.edition.code
        log.info("hole", edition=code, after=ticker.seq, up_to=up_to)
        while ticker.seq < up_to:
            found = await store.replay(self._redis, code, ticker.epoch, ticker.seq, HOLE)
            if found is None:
                await self._catch_up(ticker)
                return
            for past in found:
                self._apply(ticker, past.seq, past.change, past.payload)
            if len(found) < HOLE:
                break
        ticker.seq = max(ticker.seq, up_to)

    def _apply(self, ticker: Ticker, seq: int, change: Change, payload: bytes, accepted_ms: int | None = None) -> None:
        past = ticker.apply(seq, change, payload)
        if accepted_ms is None and isinstance(change, ItemChanged):
            # Read back from the log, which does not say it: the text was made, or the line became public, just then.
            item = change.item
            accepted_ms = max(parse_ms(at, "item") for at in (item.version_created, item.published_at))
        self._hub.changed(ticker, past, accepted_ms)
        for listener in self._listeners:
            listener(ticker.edition.code, past)

    def _found(self) -> None:
        self.following = True
        self.changed_ms = time.time_ns() // 1_000_000
        log.info("following", editions=list(self._tickers))
        self._hub.live_again(self._tickers)

    def _lost(self, error: Exception) -> None:
        now_ms = time.time_ns() // 1_000_000
        if self.following:
            self.following = False
            self.losses += 1
            self.changed_ms = now_ms
            log.warning("news lost", error=str(error) or type(error).__name__)
        else:
            log.warning("no news yet", error=str(error) or type(error).__name__)
        # Since the last word that was heard, not since the silence was noticed: what came in between is missing, too.
        # Also where there never was one: its readers have a ticker from Redis, and nobody who says that it is current.
        for code, age in self.heard_seconds().items():
            self._hub.behind(format_ms(now_ms - int(age * 1000)), [code])


class Feeds:
    """All Feeds of a process."""

    def __init__(self, feeds: list[Feed]) -> None:
        self._feeds = feeds

    @property
    def changed_ms(self) -> int:
        """When one of them last lost or found its news."""
        return max(feed.changed_ms for feed in self._feeds)

    def silent_editions(self) -> list[str]:
        """The editions whose beat has not been heard for too long; empty when all is well."""
        return [code for feed in self._feeds for code in feed.silent_editions()]

    def heard_seconds(self) -> dict[str, float]:
        """How long ago each edition's last message came; counted from the start where none has come yet."""
        return {code: age for feed in self._feeds for code, age in feed.heard_seconds().items()}

    @property
    def canaries(self) -> dict[str, Sighting]:
        """The last canary of each edition that has got here."""
        return {code: seen for feed in self._feeds for code, seen in feed.canaries.items()}

    @property
    def canary_seconds(self) -> Histogram:
        """How long canaries took."""
        every = Histogram()
        for feed in self._feeds:
            every.add(feed.canary_seconds)
        return every

    @property
    def losses(self) -> int:
        """How often news was lost after it had been heard."""
        return sum(feed.losses for feed in self._feeds)

    def loops(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What must run, by name."""
        if len(self._feeds) == 1:
            return {"feed": self._feeds[0].run}
        return {f"feed {feed.name}": feed.run for feed in self._feeds}


def _differs(ticker: Ticker, state: store.State) -> bool:
    """Whether the log holds other changes than those heard, at the same seqs: a failover lost some of those."""
    heard = {past.seq: past.payload for past in ticker.ring}
    return any(heard.get(past.seq, past.payload) != past.payload for past in state.past)
