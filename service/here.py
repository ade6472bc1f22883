"""Here: the service's settings and Redis as a command on this machine finds them."""

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from service.domain.edition import parse_editions
from service.errors import StoppressError
from service.settings import Settings

if TYPE_CHECKING:
    from service.store.connect import Store


def settings() -> Settings:
    """The environment's settings. The editions file is looked at too: a wrong one is said here, not by a child."""
    found = Settings.from_env(os.environ)
    parse_editions(found.read_editions(), str(found.editions))
    return found


def wait_for_redis(given: Settings, seconds: float = 5.0) -> None:
    """Give Redis a moment to start; then say plainly that it is not there.

    Raises:
        StoppressError
    """
    from redis.exceptions import RedisError

    from service.store.connect import blocking, without_password

    urls = {"STOPPRESS_REDIS_URL": given.require_redis_url(), "STOPPRESS_QUEUE_URL": given.queue_url}
    for name, url in urls.items():
        if url is None:
            continue
        ends = time.monotonic() + seconds
        while True:
            try:
                with blocking(url) as redis:
                    redis.ping()
                break
            except (RedisError, OSError) as error:
                if time.monotonic() > ends:
                    where = without_password(url)
                    raise StoppressError(f"{name}: Redis at {where} does not answer: {error}") from None
                time.sleep(0.2)


def redis(given: Settings) -> "Store":
    """The Redis of STOPPRESS_REDIS_URL, else that of the `stoppress up` that runs with the same data folder.

    Raises:
        StoppressError: there is none, or it does not answer.
    """
    from service.store.connect import blocking

    url = given.redis_url or read(given.data / "redis.url")
    if url is None:
        raise StoppressError(
            f"no Redis: set STOPPRESS_REDIS_URL, or run this while `stoppress up` runs with {given.data} as its data"
        )
    wait_for_redis(dataclasses.replace(given, redis_url=url), seconds=0)
    return blocking(url)


def read(path: Path) -> str | None:
    """What a small file says; None if there is none, or nothing in it."""
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
