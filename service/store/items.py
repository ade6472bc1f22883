"""Items: the newsroom's view of what there is. Blocking reads of records, histories and listings."""

from collections.abc import Iterator
from typing import NamedTuple, cast

import msgspec
from redis import Redis

from service.domain.edition import Editions
from service.domain.lifecycle import Record, State, Version
from service.domain.ticker import Past
from service.errors import NotFoundError, TakenError
from service.store.keys import Keys, claim
from service.store.log import landed

# One listing looks at no more records than this; it then says where to go on.
SCANNED = 1_000
CHUNK = 100

_record = msgspec.json.Decoder(Record)
_version = msgspec.json.Decoder(Version)


class Wanted(NamedTuple):
    """What a listing asks for; None is anything. `since_ms` and `until_ms` compare the time of the last change."""

    edition: str | None = None
    state: State | None = None
    text: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class Items:
    """Reads records. An id is looked for in every edition, in one round trip: there are few editions."""

    def __init__(self, redis: Redis, editions: Editions) -> None:
        self._redis = redis
        self._editions = editions

    def find(self, item_id: str) -> Record | None:
        """The record of `item_id`, or None."""
        with self._redis.pipeline(transaction=False) as pipe:
            for code in self._editions:
                pipe.hget(Keys.of(code).items, item_id)
            found = [raw for raw in pipe.execute() if raw is not None]
        return _record.decode(found[0]) if found else None

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
        return landed(self._redis, record.edition, item_id, version)

    def claim(self, item_id: str, edition: str) -> None:
        """Take a caller's own id for an edition, for ever, so that it names one item among all editions.

        Raises:
            TakenError: it is another edition's.
        """
        key = claim(item_id)
        if self._redis.set(key, edition, nx=True):
            return
        holder = cast(bytes | None, self._redis.get(key)) or b""
        if holder.decode() != edition:
            raise TakenError(
                f"expected an id of its own, got {item_id}, which is taken in the edition {holder.decode()}"
            )

    def history(self, record: Record) -> list[Version]:
        """Every step of an item, oldest first; without its texts once it is killed."""
        fields = [f"{record.id}:{rev}" for rev in range(1, record.rev + 1)]
        steps = self._redis.hmget(Keys.of(record.edition).versions, fields)
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
        keys = Keys.of(code)
        top = wanted.until_ms if wanted.until_ms is not None else "+inf"
        if before is not None:
            top = min(before[0], top) if isinstance(top, int) else before[0]
        low = wanted.since_ms if wanted.since_ms is not None else "-inf"
        offset = 0
        while True:
            rows = cast(
                list[tuple[bytes, float]],
                self._redis.zrevrangebyscore(keys.changed, top, low, start=offset, num=CHUNK, withscores=True),
            )
            if not rows:
                return
            offset += len(rows)
            records = self._redis.hmget(keys.items, [member for member, _ in rows])
            for (_, score), raw in zip(rows, records, strict=True):
                if raw is None:
                    continue
                record = _record.decode(raw)
                if before is None or (int(score), record.id) < before:
                    yield int(score), record


def _fits(record: Record, wanted: Wanted) -> bool:
    if wanted.state is not None and record.state != wanted.state:
        return False
    if wanted.text is None:
        return True
    if record.item is None:
        return wanted.text == record.id
    words = f"{record.id} {record.item.headline} {record.item.speaker or ''} {record.item.outlet or ''}".casefold()
    return wanted.text.casefold() in words
