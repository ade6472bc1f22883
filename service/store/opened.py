"""Opened: who has which item open at the desk, so that two people do not write the same line. Blocking.

It only informs: what keeps two of them from overwriting each other is the version that each change names.
"""

from typing import cast

import msgspec
from redis import Redis

from service.store.keys import Keys

# A page says it again within this; one that was closed without a word is forgotten after it.
SILENT_MS = 40_000
# And all of it, when no desk is open any more that would look.
FORGOTTEN_SECONDS = 120


class Opened(msgspec.Struct, frozen=True):
    """One tab of one editor."""

    id: str
    by: str
    at_ms: int


_opened = msgspec.json.Decoder(Opened)


def say(redis: Redis, edition: str, tab: str, opened: Opened | None) -> None:
    """Note what a tab has open now; None: nothing. Every desk of the edition hears that something is new."""
    keys = Keys.of(edition)
    with redis.pipeline(transaction=False) as pipe:
        if opened is None:
            pipe.hdel(keys.opened, tab)
        else:
            pipe.hset(keys.opened, tab, msgspec.json.encode(opened))
            pipe.expire(keys.opened, FORGOTTEN_SECONDS)
        pipe.publish(keys.desk, opened.id if opened else "")
        pipe.execute()


def read(redis: Redis, edition: str, now_ms: int) -> dict[str, list[tuple[str, str]]]:
    """By item: the tabs that have it open, and whose they are."""
    found: dict[str, list[tuple[str, str]]] = {}
    raws = cast(dict[bytes, bytes], redis.hgetall(Keys.of(edition).opened))
    for tab, raw in raws.items():
        opened = _opened.decode(raw)
        if opened.at_ms + SILENT_MS < now_ms:
            redis.hdel(Keys.of(edition).opened, tab)
        else:
            found.setdefault(opened.id, []).append((tab.decode(), opened.by))
    return found
