"""Connect: clients of Redis, blocking for editors and workers, asyncio for readers.

Time-outs are short: an editor is told within two seconds that nothing was accepted, rather than left waiting. Where the
data lives on a Cluster, `Shards` stands for it, and gives a plain client for each edition.
"""

from collections.abc import Callable, Iterable
from typing import Any, Generic, Self, TypeVar

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.crc import key_slot
from redis.exceptions import ConnectionError  # noqa: A004 - Redis's own
from redis.retry import Retry

from service.address import Address, Engine
from service.errors import SettingsError
from service.settings import Settings
from service.store.keys import API_KEYS, Keys
from service.store.primary import (
    AsyncPrimaryConnection,
    AsyncPrimaryPool,
    AsyncSecurePrimaryConnection,
    Place,
    PrimaryConnection,
    PrimaryPool,
    SecurePrimaryConnection,
    directory,
)

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0

C = TypeVar("C", Redis, AsyncRedis)


class Shards(Generic[C]):
    """The shards of a Cluster: a plain client for each slot that is used, made when it is first asked for."""

    def __init__(self, client: Callable[[int], C]) -> None:
        self._client: Callable[[int], C] = client
        self._clients: dict[int, C] = {}

    def at(self, key: str) -> C:
        """The client of a key's slot."""
        slot = key_slot(key.encode())
        # Two threads may both make one; then one of the two is used from the second call on.
        return self._clients.get(slot) or self._clients.setdefault(slot, self._client(slot))

    def ping(self) -> bool:
        """Whether the Cluster serves the API's keys; each edition's shard speaks for itself."""
        return bool(self.at(API_KEYS).ping())

    def close(self) -> None:
        """Close every client."""
        for client in self._clients.values():
            client.close()

    async def aclose(self) -> None:
        """Close every client, for asyncio."""
        for client in self._clients.values():
            await client.aclose()  # type: ignore[attr-defined]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


# What holds the log: one Redis (alone, or whichever is the primary of a Sentinel service), or a Cluster.
Store = Redis | Shards[Redis]
AsyncStore = AsyncRedis | Shards[AsyncRedis]


def at(store: C | Shards[C], key: str) -> C:
    """The client for a key."""
    return store.at(key) if isinstance(store, Shards) else store


def of_edition(store: C | Shards[C], edition: str) -> C:
    """The client for all keys of an edition."""
    return store.at(Keys.of(edition).meta) if isinstance(store, Shards) else store


def engine(redis: Redis | AsyncRedis) -> Engine:
    """What a plain client talks to; "cluster" for that of a slot."""
    pool = redis.connection_pool
    return pool.place.engine if isinstance(pool, PrimaryPool | AsyncPrimaryPool) else "single"


def alike(store: AsyncStore, editions: Iterable[str]) -> list[list[str]]:
    """The editions in groups that live and fail together: all of them, or on a Cluster each for itself."""
    codes = list(editions)
    return [[code] for code in codes] if isinstance(store, Shards) else [codes]


def blocking(url: str, *, answer_seconds: float | None = ANSWER_SECONDS) -> Store:
    """A client whose calls block; one reconnect is tried at once (an idle connection may have been closed).

    A call that got no answer in time is not repeated: the caller is told, and knows whether repeating is safe.
    """
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": answer_seconds,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.2), 1, supported_errors=(ConnectionError,)),
        "health_check_interval": 0,
    }
    address = Address.parse(url)
    if address.engine == "single":
        return Redis.from_url(url, **options)
    login = dict(address.login)
    secure = login.pop("ssl", False)

    def client(slot: int | None) -> Redis:
        kind: type[PrimaryConnection] = SecurePrimaryConnection if secure else PrimaryConnection
        return Redis.from_pool(PrimaryPool(Place(directory(url), slot), connection_class=kind, **login, **options))

    return client(None) if address.engine == "sentinel" else Shards(client)


def streaming(url: str, *, answer_seconds: float | None = ANSWER_SECONDS) -> AsyncStore:
    """An asyncio client. Its callers reconnect themselves, so that they notice each loss."""
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": answer_seconds,
        "retry": AsyncRetry(NoBackoff(), 1),
        "health_check_interval": 0,
    }
    address = Address.parse(url)
    if address.engine == "single":
        redis = AsyncRedis.from_url(url, **options)
        redis.connection_pool.connection_class = lossy(redis.connection_pool.connection_class)
        return redis
    login = dict(address.login)
    kind = lossy(AsyncSecurePrimaryConnection if login.pop("ssl", False) else AsyncPrimaryConnection)

    def client(slot: int | None) -> AsyncRedis:
        return AsyncRedis.from_pool(
            AsyncPrimaryPool(Place(directory(url), slot), connection_class=kind, **login, **options)
        )

    return client(None) if address.engine == "sentinel" else Shards(client)


def lossy(kind: type[Any]) -> type[Any]:
    """A kind of connection that says of every loss that it is one.

    A connection that was reset while nobody looked fails its next write with uvloop's RuntimeError, which no caller
    takes for Redis being away.
    """

    class Lossy(kind):  # type: ignore[misc]
        async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            try:
                await super().send_packed_command(command, check_health)
            except RuntimeError as error:
                raise ConnectionError(f"the connection was lost: {error}") from None

    return Lossy


def queueing(settings: Settings, store: Store | None = None, *, answer_seconds: float = ANSWER_SECONDS) -> Redis:
    """The client of RQ's queue: that of the log where it lives on the same Redis."""
    queue = None if settings.queue_url else store
    queue = queue or blocking(settings.queue_url or settings.require_redis_url(), answer_seconds=answer_seconds)
    if isinstance(queue, Shards):
        raise SettingsError("STOPPRESS_QUEUE_URL: expected one Redis or a Sentinel service, got a Cluster")
    return queue


def without_password(url: str) -> str:
    """The address alone, for messages: a URL may hold a password."""
    return Address.parse(url).where
