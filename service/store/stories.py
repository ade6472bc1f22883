"""Stories: which items of the editions say the same. One per edition; the desk calls them sisters. Blocking.

A story is named by the id of its first item. What is kept here only names items: what they are, their records say.
"""

from typing import cast

from redis import Redis

from service.store.connect import Store, at
from service.store.keys import STORIES, story


class Stories:
    """The sisters of every item."""

    def __init__(self, redis: Store) -> None:
        self._redis: Redis = at(redis, STORIES)

    def of(self, names: list[str]) -> list[dict[str, str]]:
        """The items of each story, by their editions; empty where there is one only."""
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(story(name))
            found = cast(list[dict[bytes, bytes]], pipe.execute())
        return [{edition.decode(): item_id.decode() for edition, item_id in each.items()} for each in found]

    def join(self, name: str, first: tuple[str, str], edition: str, item_id: str, *, instead_of: str | None) -> str:
        """Make an item a sister of the `first`, an edition and an id; return who is the edition's sister then.

        `instead_of` is a sister of the same edition whose life is over.
        """
        key = story(name)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hsetnx(key, *first)
            pipe.hsetnx(key, edition, item_id)
            pipe.hget(key, edition)
            holder = cast(bytes, pipe.execute()[-1]).decode()
        if holder == instead_of:
            self._redis.hset(key, edition, item_id)
            return item_id
        return holder

    def leave(self, name: str, edition: str, item_id: str) -> None:
        """Take an item out of a story, if it is in it."""
        key = story(name)
        if self._redis.hget(key, edition) == item_id.encode():
            self._redis.hdel(key, edition)
