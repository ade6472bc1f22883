"""Items: the newsroom's view of what there is. Blocking reads of records, histories and listings."""

import time
from collections.abc import Iterator
from typing import NamedTuple, cast

import msgspec
from redis import Redis
from redis.exceptions import RedisError

from service.domain.edition import Editions
from service.domain.lifecycle import Record, State, Version
from service.domain.ticker import Past
from service.errors import NotFoundError, TakenError
from service.store.connect import Shards, Store, at, of_edition
from service.store.keys import Keys, claim
from service.store.log import landed
from service.store.script import Script

# One listing looks at no more records than this; it then says where to go on.
SCANNED = 1_000
CHUNK = 100

claim_script = Script("claim")

_record = msgspec.json.Decoder(Record)
_version = msgspec.json.Decoder(Version)


class Wanted(NamedTuple):
    """What a listing asks for; None is anything. `since_ms` and `until_ms` compare the time of the last change.

    `editor` is who made it or changed it last. `among` are the editions that who asks may enter; none: all.
    """

    edition: str | None = None
    state: State | None = None
    text: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    editor: str | None = None
    among: tuple[str, ...] = ()


class Items:
    """Reads records. An id is looked for in every edition, in one round trip: there are few editions."""

    def __init__(self, redis: Store, editions: Editions, wait_replicas: int = 0) -> None:
        self._redis = redis
        self._editions = editions
        self._wait_replicas = wait_replicas
        # When each edition's shard failed last: it is asked after the others.
        self._failed: dict[str, float] = {}

    def find(self, item_id: str) -> Record | None:
        """The record of `item_id`, or None."""
        if isinstance(self._redis, Shards):
            return self._find(self._redis, item_id)
        with self._redis.pipeline(transaction=False) as pipe:
            for code in self._editions:
                pipe.hget(Keys.of(code).items, item_id)
            found = [raw for raw in pipe.execute() if raw is not None]
        return _record.decode(found[0]) if found else None

    def _find(self, shards: Shards[Redis], item_id: str) -> Record | None:
        """Look on one shard after the other. A failure matters only if the item is on none of those that answer."""
        failure: RedisError | None = None
        for code in sorted(self._editions, key=lambda code: self._failed.get(code, 0.0)):
            try:
                raw = of_edition(shards, code).hget(Keys.of(code).items, item_id)
            except RedisError as error:
                self._failed[code] = time.monotonic()
                failure = error
                continue
            self._failed.pop(code, None)
            if raw is not None:
                return _record.decode(raw)
        if failure is not None:
            raise failure
        return None

    def find_all(self, edition: str, item_ids: list[str]) -> list[Record | None]:
        """The records of these items of an edition, in one question."""
        if not item_ids:
            return []
        raws = of_edition(self._redis, edition).hmget(Keys.of(edition).items, item_ids)
        return [_record.decode(raw) if raw is not None else None for raw in raws]

    def get(self, item_id: str) -> Record:
        """Raises:
        NotFoundError: there is no such item.
        """
        record = self.find(item_id)
        if record is None:
            raise NotFoundError(f"expected the id of an item, got {item_id[:64]!r}, which there is none of")
        return record

    def in_log(self, item_id: str, version: int) -> Past | None:
        """The first change in the log that brought this version of an item or a later one; None if none is there."""
        record = self.find(item_id)
        if record is None:
            return None
        return landed(of_edition(self._redis, record.edition), record.edition, item_id, version)

    def claim(self, item_id: str, edition: str) -> None:
        """Take a caller's own id for an edition, for ever, so that it names one item among all editions.

        Raises:
            TakenError: it is another edition's.
            UnconfirmedError: too few replicas said in time that they have it.
        """
        key = claim(item_id)
        redis = at(self._redis, key)
        if self._wait_replicas:
            holder = claim_script.spread(redis, [key], [item_id, edition], self._wait_replicas)
        else:
            holder = claim_script.run(redis, [key], [item_id, edition])
        if holder.decode() != edition:
            raise TakenError(
                f"expected an id of its own, got {item_id}, which is taken in the edition {holder.decode()}"
            )

    def history(self, record: Record) -> list[Version]:
        """Every step of an item, oldest first; without its texts once it is killed."""
        fields = [f"{record.id}:{rev}" for rev in range(1, record.rev + 1)]
        steps = of_edition(self._redis, record.edition).hmget(Keys.of(record.edition).versions, fields)
        return [_version.decode(step) for step in steps if step is not None]

    def search(self, wanted: Wanted, limit: int, before: tuple[int, str] | None) -> tuple[list[Record], str | None]:
        """List records, last changed first, from `before` on. Also says where the next page may start."""
        found: list[Record] = []
        for scanned, (ms, record) in enumerate(self._newest(wanted, before), start=1):
            if _fits(record, wanted):
                found.append(record)
            if len(found) == limit or scanned == SCANNED:
                return found, f"{ms}.{record.id}"
        return found, None

    def _newest(self, wanted: Wanted, before: tuple[int, str] | None) -> Iterator[tuple[int, Record]]:
        """Walk the editions' indexes together, newest first, reading records in chunks."""
        codes = [wanted.edition] if wanted.edition else list(self._editions)
        codes = [code for code in codes if not wanted.among or code in wanted.among]
        walks = {code: self._walk(code, wanted, before) for code in codes}
        heads = {code: head for code, walk in walks.items() if (head := next(walk, None)) is not None}
        while heads:
            code = max(heads, key=lambda code: (heads[code][0], heads[code][1].id))
            yield heads[code]
            following = next(walks[code], None)
            if following is None:
                del heads[code]
            else:
                heads[code] = following

    def _walk(self, code: str, wanted: Wanted, before: tuple[int, str] | None) -> Iterator[tuple[int, Record]]:
        keys, redis = Keys.of(code), of_edition(self._redis, code)
        top = wanted.until_ms if wanted.until_ms is not None else "+inf"
        if before is not None:
            top = min(before[0], top) if isinstance(top, int) else before[0]
        low = wanted.since_ms if wanted.since_ms is not None else "-inf"
        offset = 0
        while True:
            rows = cast(
                list[tuple[bytes, float]],
                redis.zrevrangebyscore(keys.changed, top, low, start=offset, num=CHUNK, withscores=True),
            )
            if not rows:
                return
            offset += len(rows)
            records = redis.hmget(keys.items, [member for member, _ in rows])
            for (_, score), raw in zip(rows, records, strict=True):
                if raw is None:
                    continue
                record = _record.decode(raw)
                if before is None or (int(score), record.id) < before:
                    yield int(score), record


def _fits(record: Record, wanted: Wanted) -> bool:
    if wanted.state is not None and record.state != wanted.state:
        return False
    if wanted.editor is not None:
        editor = wanted.editor.casefold()
        if editor not in (record.created_by.casefold(), record.changed_by.casefold()):
            return False
    if wanted.text is None:
        return True
    if record.item is None:
        return wanted.text == record.id
    words = f"{record.id} {record.item.headline} {record.item.speaker or ''} {record.item.outlet or ''}".casefold()
    return wanted.text.casefold() in words
