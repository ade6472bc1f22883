"""Here: the service's settings and Redis as a command on this machine finds them."""

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from service.domain.edition import Editions, parse_editions
from service.errors import StoppressError
from service.settings import Settings

if TYPE_CHECKING:
    from service.store.connect import Store


def settings() -> Settings:
    """The environment's settings. The editions file is looked at too: a wrong one is said here, not by a child."""
    found = Settings.from_env(os.environ)
    editions(found)
    return found


def editions(given: Settings) -> Editions:
    """The editions that are configured here."""
    return parse_editions(given.read_editions(), str(given.editions))


def url(given: Settings) -> str:
    """Where the service of these settings answers on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(given.host, given.host)
    return f"http://{host}:{given.port}"


def wait_for_redis(given: Settings, seconds: float = 5.0) -> None:
    """Give Redis a moment to start; then say plainly that it is not there.

    Raises:
        StoppressError
    """
    from redis.exceptions import RedisError

    from service.store.connect import blocking, without_password

    places = {"STOPPRESS_REDIS_URL": given.require_redis_url(), "STOPPRESS_QUEUE_URL": given.queue_url}
    for name, place in places.items():
        if place is None:
            continue
        ends = time.monotonic() + seconds
        while True:
            try:
                with blocking(place) as client:
                    client.ping()
                break
            except (RedisError, OSError) as error:
                if time.monotonic() > ends:
                    where = without_password(place)
                    raise StoppressError(f"{name}: Redis at {where} does not answer: {error}") from None
                time.sleep(0.2)


def redis(given: Settings) -> "Store":
    """The Redis of STOPPRESS_REDIS_URL, else that of the `stoppress up` that runs with the same data folder.

    Raises:
        StoppressError: there is none, or it does not answer.
    """
    from service.store.connect import blocking

    place = given.redis_url or read(given.data / "redis.url")
    if place is None:
        raise StoppressError(
            f"no Redis: set STOPPRESS_REDIS_URL, or run this while `stoppress up` runs with {given.data} as its data"
        )
    wait_for_redis(dataclasses.replace(given, redis_url=place), seconds=0)
    return blocking(place)


def read(path: Path) -> str | None:
    """What a small file says; None if there is none, or nothing in it."""
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
