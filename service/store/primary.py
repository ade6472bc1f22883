"""Primary: connections that go to wherever the primary is now, of a Sentinel service or of one slot of a Cluster.

Each connection asks where when it connects, and ends when its server says that it is not the one (any more): redis-py
then connects anew, and so goes where the primary went. An edition lives on one slot, so one plain client is all that an
edition needs of a Cluster, with transactions, pub/sub and WAIT on it; and what fails on a shard fails there alone.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.connection import Connection as AsyncConnection
from redis.asyncio.connection import ConnectionPool as AsyncConnectionPool
from redis.asyncio.connection import SSLConnection as AsyncSSLConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - Redis's own
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - Redis's own
    TryAgainError,
)
from redis.retry import Retry

from service.address import Address, Engine

# Whoever is asked where the primary is has this long for each step; then the next one is asked.
GUIDE_SECONDS = 0.5
# What a server says that is not the primary now, or whose slot is on its way elsewhere. Nothing was done then.
ELSEWHERE = (MovedError, AskError, TryAgainError, ClusterDownError, ReadOnlyError)
# After a planned failover Sentinels leave the old primary a primary for some 8 s: connections would stay with it, and
# what is written there is lost. So they are asked anew as often as this.
LOOK_SECONDS = 1.0
# How many nodes are remembered beside those of the URL.
MOST_NODES = 1_000

Host = tuple[str, int]


class Directory:
    """Whom to ask where the primaries are. One for a URL and process: clients and threads share what it has learned."""

    def __init__(self, address: Address) -> None:
        self.address = address
        # Who answered last is asked first.
        self._hosts: list[Host] = list(address.hosts)
        # Where each primary was when somebody last knew.
        self.known: dict[int | None, Host] = {}

    def find(self, slot: int | None) -> Host:
        """Ask until somebody knows.

        Raises:
            ConnectionError: nobody knows of a primary now.
        """
        said = "none is named"
        for host in list(self._hosts):
            try:
                with Redis(*host, retry=Retry(NoBackoff(), 0), **self._options()) as guide:
                    answer = guide.execute_command(*self._question())
            except (RedisError, OSError) as error:
                said = str(error)
                continue
            if (found := self._understand(host, answer, slot)) is not None:
                return found
        raise self._unknown(slot, said)

    async def afind(self, slot: int | None) -> Host:
        """As `find`, for asyncio."""
        said = "none is named"
        for host in list(self._hosts):
            try:
                async with AsyncRedis(
                    host=host[0], port=host[1], retry=AsyncRetry(NoBackoff(), 0), **self._options()
                ) as guide:
                    answer = await guide.execute_command(*self._question())  # type: ignore[no-untyped-call]
            except (RedisError, OSError) as error:
                said = str(error)
                continue
            if (found := self._understand(host, answer, slot)) is not None:
                return found
        raise self._unknown(slot, said)

    def doubt(self) -> None:
        """Ask another one first: what was said led to a server that fails. It may be cut off from the others."""
        self._hosts = [*self._hosts[1:], *self._hosts[:1]]

    def _options(self) -> dict[str, Any]:
        guide = {"socket_connect_timeout": GUIDE_SECONDS, "socket_timeout": GUIDE_SECONDS}
        return {**self.address.guide, **guide}

    def _question(self) -> tuple[str, ...]:
        if self.address.engine == "sentinel":
            return "SENTINEL GET-MASTER-ADDR-BY-NAME", self.address.service
        return ("CLUSTER SLOTS",)

    def _understand(self, asked: Host, answer: Any, slot: int | None) -> Host | None:
        found: Host | None = None
        hosts = self._hosts
        if slot is None:
            if answer:
                found = _text(answer[0]), int(answer[1])
        else:
            ranges = list(_ranges(asked, answer))
            found = next((nodes[0] for first, last, nodes in ranges if first <= slot <= last), None)
            known = {node for _, _, nodes in ranges for node in nodes}
            # Nodes come and go; those of the URL are kept, so that the Cluster is found again whatever happened to it.
            hosts = [*known, *(host for host in self.address.hosts if host not in known)][:MOST_NODES]
        if found is not None:
            self.known[slot] = found
            self._hosts = sorted(hosts, key=lambda host: host != asked)
        return found

    def _unknown(self, slot: int | None, said: str) -> ConnectionError:
        of = f"the service {self.address.service}" if slot is None else f"slot {slot}"
        return ConnectionError(f"nobody at {self.address.where} knows a primary of {of} now ({said.rstrip('.')})")


@cache
def directory(url: str) -> Directory:
    """This process's directory of a URL."""
    return Directory(Address.parse(url))


class Place:
    """What the connections of one pool share: which primary they want."""

    def __init__(self, directory: Directory, slot: int | None) -> None:
        self.directory = directory
        self.slot = slot
        # Where the last connection went, and when that was looked up.
        self.host: Host | None = None
        self.looked = 0.0
        # Where a server said that the slot is: it knows before the others do.
        self._told: Host | None = None

    @property
    def engine(self) -> Engine:
        return self.directory.address.engine

    def find(self) -> Host:
        """Where to connect to."""
        # What a server told is tried once, since it may be wrong.
        told, self._told = self._told, None
        try:
            self.host = told or self.directory.find(self.slot)
        except ConnectionError:
            # With nobody to ask, the last one is tried: it says itself whether it is a primary still.
            if (known := self.directory.known.get(self.slot)) is None:
                raise
            self.host = known
        self.looked = time.monotonic()
        return self.host

    async def afind(self) -> Host:
        """As `find`, for asyncio."""
        told, self._told = self._told, None
        try:
            self.host = told or await self.directory.afind(self.slot)
        except ConnectionError:
            if (known := self.directory.known.get(self.slot)) is None:
                raise
            self.host = known
        self.looked = time.monotonic()
        return self.host

    def must_look(self) -> bool:
        """Whether it is time to ask if the primary is still the same; a Cluster's nodes say so themselves."""
        due = self.engine == "sentinel" and self.host is not None and time.monotonic() - self.looked > LOOK_SECONDS
        if due:
            self.looked = time.monotonic()  # one of many callers is enough
        return due

    def learn(self, error: Exception) -> None:
        """Take in a redirection."""
        if isinstance(error, MovedError) and error.host:
            self._told = (error.host, error.port)

    def check(self, role: Any) -> None:
        """Raise ConnectionError unless a server's ROLE says primary: a Sentinel may not know better yet."""
        if _text(role[0]) != "master":
            self.directory.doubt()
            raise ConnectionError(f"expected a primary, got a server that is a {_text(role[0])}")


class PrimaryPool(ConnectionPool):
    """Connections to the primary of a place."""

    def __init__(self, place: Place, **kwargs: Any) -> None:
        self.place = place
        super().__init__(place=place, drop_idle=self.drop_idle, **kwargs)

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Take a connection; none to a server that is the primary no more."""
        before = self.place.host
        if self.place.must_look() and self.place.find() != before:
            self.drop_idle()
        return super().get_connection(*args, **kwargs)

    def drop_idle(self) -> None:
        """End the idle connections: they go to the same server as one that failed, and would fail one by one."""
        self.disconnect(inuse_connections=False)


class PrimaryConnection(Connection):
    """A connection to the primary of a place."""

    def __init__(self, *, place: Place, drop_idle: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self._place = place
        self._drop_idle = drop_idle

    def _connect(self) -> Any:
        self.host, self.port = self._place.find()
        try:
            return super()._connect()  # type: ignore[no-untyped-call]
        except OSError:
            self._place.directory.doubt()
            raise

    def on_connect_check_health(self, check_health: bool = True) -> None:
        """Log in, and make sure of whom we talk to."""
        super().on_connect_check_health(check_health=check_health)
        if self._place.engine == "sentinel":
            self.send_command("ROLE", check_health=False)  # type: ignore[no-untyped-call]
            self._place.check(self.read_response())

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read an answer; one that says that the primary is elsewhere ends the connection."""
        try:
            return super().read_response(*args, **kwargs)
        except ELSEWHERE as error:
            self._place.learn(error)
            self._drop()
            raise ConnectionError(said(error)) from error
        except (ConnectionError, TimeoutError):
            self._drop()
            raise

    def _drop(self) -> None:
        self._place.directory.doubt()
        self.disconnect()  # type: ignore[no-untyped-call]
        self._drop_idle()


class SecurePrimaryConnection(PrimaryConnection, SSLConnection):
    """The same over TLS."""


class AsyncPrimaryPool(AsyncConnectionPool):
    """Connections to the primary of a place, for asyncio."""

    def __init__(self, place: Place, **kwargs: Any) -> None:
        self.place = place
        super().__init__(place=place, drop_idle=self.drop_idle, **kwargs)

    async def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Take a connection; none to a server that is the primary no more."""
        before = self.place.host
        if self.place.must_look() and await self.place.afind() != before:
            await self.drop_idle()
        return await super().get_connection(*args, **kwargs)  # type: ignore[no-untyped-call]

    async def drop_idle(self) -> None:
        """End the idle connections."""
        # Not `disconnect`: it waits, and another task may take up a connection meanwhile.
        for connection in list(self._get_free_connections()):
            await connection.disconnect(nowait=True)


class AsyncPrimaryConnection(AsyncConnection):
    """A connection to the primary of a place, for asyncio."""

    def __init__(self, *, place: Place, drop_idle: Callable[[], Awaitable[None]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._place = place
        self._drop_idle = drop_idle

    async def _connect(self) -> None:
        self.host, self.port = await self._place.afind()
        try:
            await super()._connect()  # type: ignore[no-untyped-call]
        except OSError:  # a time-out is one
            self._place.directory.doubt()
            raise

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Log in, and make sure of whom we talk to."""
        await super().on_connect_check_health(check_health=check_health)
        if self._place.engine == "sentinel":
            await self.send_command("ROLE", check_health=False)
            self._place.check(await self.read_response())

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read an answer; one that says that the primary is elsewhere ends the connection."""
        try:
            return await super().read_response(*args, **kwargs)
        except ELSEWHERE as error:
            self._place.learn(error)
            await self._drop()
            raise ConnectionError(said(error)) from error
        except (ConnectionError, TimeoutError):
            await self._drop()
            raise

    async def _drop(self) -> None:
        self._place.directory.doubt()
        await self.disconnect(nowait=True)
        await self._drop_idle()


class AsyncSecurePrimaryConnection(AsyncPrimaryConnection, AsyncSSLConnection):
    """The same over TLS."""


def said(error: ResponseError) -> str:
    """What a server said, with the code that redis-py takes off."""
    code = getattr(error, "status_code", None)
    return f"{code} {error}" if code and not str(error).startswith(str(code)) else str(error)


def _ranges(asked: Host, answer: Any) -> Iterator[tuple[int, int, list[Host]]]:
    """The slots' ranges and their nodes, primaries first (Redis command CLUSTER SLOTS)."""
    for first, last, *nodes in answer:
        # A node that does not know its own address leaves it empty: it is the one that was asked.
        yield int(first), int(last), [(_text(node[0]) or asked[0], int(node[1])) for node in nodes]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
