"""Outbox: a decided change in, accepted means durable out. The RQ job beside it only wakes a worker.

One MULTI writes the change, its audit entry and its wake-up. RQ's `enqueue` goes first: it refuses a pipeline that
already holds commands. Where the queue lives on another Redis the outbox is written first, and the clock's sweep wakes
what the crack between the two could leave asleep.
"""

import hashlib
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import msgspec
import structlog
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError
from rq import Queue
from rq.serializers import JSONSerializer

from service.domain.lifecycle import Decision, Entry
from service.errors import (
    NOT_KNOWN,
    ConflictError,
    KeyReusedError,
    StaleError,
    StoppressError,
    TakenError,
    UnavailableError,
    UnconfirmedError,
)
from service.store.audit import KEPT, AuditEntry
from service.store.chain import digest_of
from service.store.connect import Store, of_edition
from service.store.keys import Keys, idempotency
from service.store.script import Script

BREAKING = "breaking"
# By name, because the service never imports the workers; a test resolves it.
APPEND_JOB = "workers.jobs.append"
# A wake-up does its work in milliseconds. One that takes longer waits for Redis and may as well start over.
JOB_SECONDS = 30
# Failed wake-ups are kept for a day, for whoever asks why.
FAILED_SECONDS = 86_400

# More than this waiting means that no worker works. Refused with 503 then: better than a Redis that fills up.
MOST_WAITING = 100_000
IDEMPOTENCY_SECONDS = 86_400
# How often a canary goes out.
CANARY_MS = 10_000

log = structlog.get_logger(__name__)

accept_script = Script("accept")
confirm_script = Script("confirm")


# The keys and arguments of `accept.lua`.
Written = tuple[list[str], list[str | bytes | int]]


class Attempt(NamedTuple):
    """What the caller sent with a write: where from, and an Idempotency-Key's two hashes."""

    address: str | None = None
    key_digest: str = ""
    fingerprint: str = ""

    @classmethod
    def keyed(cls, address: str | None, caller: str, key: str | None, request: bytes) -> "Attempt":
        """Hash an Idempotency-Key with its caller (two callers may use the same), and the request that came with it."""
        if not key:
            return cls(address)
        digest = hashlib.sha256(f"{caller}\n{key}".encode()).hexdigest()
        return cls(address, digest, hashlib.sha256(request).hexdigest())


class Accepted(msgspec.Struct, frozen=True):
    """What was accepted. `public` says whether readers will hear of it, `again` whether it had been before."""

    id: str
    version: int
    state: str
    public: bool
    again: bool = False
    rev: int = 0


def breaking_queue(redis: Redis) -> Queue:
    """The queue that the workers listen on. JSON, so that write access to Redis is not code execution."""
    return Queue(BREAKING, connection=redis, serializer=JSONSerializer, default_timeout=JOB_SECONDS)


class Outbox:
    """Writes decisions. Blocking: the web process calls it in a thread.

    With `wait_replicas`, what was accepted is known to that many replicas before `accept` returns.
    """

    def __init__(self, redis: Store, queue: Queue, wait_replicas: int = 0) -> None:
        self._redis = redis
        self._queue = queue
        self._wait_replicas = wait_replicas
        self._together = queue.connection is redis

    def remembered(self, edition: str, attempt: Attempt) -> Accepted | None:
        """What the same Idempotency-Key was answered before, if it was.

        Raises:
            KeyReusedError: it came with another request then.
        """
        if not attempt.key_digest:
            return None
        redis = of_edition(self._redis, edition)
        found = cast(bytes | None, redis.get(idempotency(edition, attempt.key_digest)))
        if found is None:
            return None
        fingerprint, _, answer = found.decode().partition(" ")
        if fingerprint != attempt.fingerprint:
            raise _reused()
        accepted = _again(answer)
        self.confirm(edition, accepted)
        return accepted

    def accept(self, decision: Decision, attempt: Attempt = Attempt()) -> Accepted:  # noqa: B008 - frozen
        """Write one decision.

        Raises:
            StaleError, TakenError: somebody changed the item after the decision was made, or took its id.
            KeyReusedError: the Idempotency-Key was another request's.
            UnavailableError: nothing was accepted because too much waits.
            UnconfirmedError: too few replicas said in time that they have it.
            RedisError: Redis did not answer; whether it was accepted is not known, sending it again is safe.
        """
        kill = decision.record.state == "killed"
        written = _written(decision, attempt)
        (answer,) = self._run(decision.record.edition, [written], wake=decision.entry is not None, kill=kill)
        return self._said(decision, answer)

    def accept_all(self, edition: str, decisions: list[Decision]) -> list[Accepted | StoppressError]:
        """Write what is decided at one moment in one step: one round trip, one write to Redis's disk, one wake-up.

        Each is accepted or refused by itself, as by `accept`; what that raises is in its place in the answer.

        Raises:
            RedisError: as `accept`.
        """
        if not decisions:
            return []
        written = [_written(decision, Attempt()) for decision in decisions]
        answers = self._run(edition, written, wake=any(decision.entry for decision in decisions))
        return [self._tried(partial(self._said, *each)) for each in zip(decisions, answers, strict=True)]

    def _tried(self, accept: Callable[[], Accepted]) -> Accepted | StoppressError:
        try:
            return accept()
        except StoppressError as error:
            return error

    def _said(self, decision: Decision, answer: list[bytes]) -> Accepted:
        """What the script's answer says of a decision; raises as `accept`."""
        record = decision.record
        accepted = Accepted(record.id, record.version, record.state, decision.entry is not None, rev=record.rev)
        match [part.decode() for part in answer]:
            case ["ok"]:
                self.confirm(record.edition, accepted, _history(decision))
                return accepted
            case ["again", text]:
                accepted = _again(text)
                self.confirm(record.edition, accepted)
                return accepted
            case ["reused"]:
                raise _reused()
            case ["full"]:
                raise UnavailableError(
                    f"{MOST_WAITING} accepted changes wait already: no worker takes them. Nothing was accepted",
                    retry_after=5,
                )
            case ["stale", "0", *_]:
                raise ConflictError(f"expected the item {record.id}, found none")
            case ["stale", _, version, state] if record.rev == 1:
                raise TakenError(
                    f"expected a new id, got {record.id}, which is taken",
                    extra={"current": int(version), "state": state},
                )
            case ["stale", _, version, state]:
                raise StaleError(
                    f"expected the current version of {record.id}: somebody changed it at the same moment",
                    extra={"current": int(version), "state": state},
                )
            case other:
                raise AssertionError(f"accept.lua answered {other}")

    def confirm(self, edition: str, accepted: Accepted, step: str | bytes | int = "") -> None:
        """Wait until the replicas have a change: asked of whoever is the primary now, which must have it, too.

        Raises:
            UnconfirmedError: they do not say so in time, or a failover lost it.
        """
        if not self._wait_replicas:
            return
        keys = Keys.of(edition)
        names = [keys.heads, keys.versions, keys.meta]
        redis = of_edition(self._redis, edition)
        if not confirm_script.spread(redis, names, [accepted.id, accepted.rev, step], self._wait_replicas):
            raise UnconfirmedError(
                f"expected the new primary of Redis to have this: a failover may have lost it. {NOT_KNOWN}",
                retry_after=2,
            )

    def wake(self, edition: str) -> None:
        """Queue a wake-up for an edition's outbox."""
        self._enqueue(edition, None)

    def send_canary(self, edition: str, now_ms: int) -> bool:
        """Send a canary the way that a change goes, if it is time for one and none waits; whether it was sent.

        It is the sweep that wakes a worker again for one that waits: without a worker they do not pile up.
        """
        keys, redis = Keys.of(edition), of_edition(self._redis, edition)
        with redis.pipeline(transaction=False) as pipe:
            pipe.hmget(keys.meta, ["canary_sent", "canary"])
            pipe.llen(keys.outbox)
            (sent, canary), waiting = pipe.execute()
        # The last one may come from a clock whose machine's time was ahead.
        recent = sent is not None and 0 <= now_ms - int(sent) < CANARY_MS
        if recent or (waiting and sent != canary):
            return False
        with redis.pipeline(transaction=True) as pipe:
            if self._together:
                self._enqueue(edition, pipe)
            pipe.rpush(keys.outbox, msgspec.json.encode(Entry(kind="canary", id="", version=0, accepted=now_ms)))
            pipe.hset(keys.meta, "canary_sent", now_ms)
            pipe.execute()
        if not self._together:
            self._enqueue(edition, None)
        return True

    def _run(self, edition: str, written: list[Written], *, wake: bool, kill: bool = False) -> list[list[bytes]]:
        """Run the script for each, and queue a wake-up; in one step where that is possible."""
        redis = of_edition(self._redis, edition)

        def one_by_one() -> list[list[bytes]]:
            return [accept_script.run(redis, *each) for each in written]

        def then_wake() -> list[list[bytes]]:
            answers = one_by_one()
            try:
                self._enqueue(edition, None)
            except RedisError as error:
                log.warning("queue unreachable, the sweep will wake it", edition=edition, error=str(error))
            return answers

        if not wake:
            return one_by_one()
        if not self._together:
            return then_wake()
        try:
            with redis.pipeline(transaction=True) as pipe:
                self._enqueue(edition, pipe)
                for each in written:
                    accept_script.queue(pipe, *each)
                told: list[Any] = pipe.execute(raise_on_error=False)[-len(written) :]
        except OutOfMemoryError:
            if not kill:
                raise
            # A kill wins over a full Redis, too: it begins by making room, and then may write. The sweep does the rest.
            return one_by_one()
        if any(isinstance(answer, NoScriptError) for answer in told):
            # None was written, and the wake-up, which is in the queue already, may have found nothing by now.
            return then_wake()
        for answer in told:
            if isinstance(answer, Exception):
                raise answer
        return told

    def _enqueue(self, edition: str, pipe: Pipeline | None) -> None:
        self._queue.enqueue_call(
            APPEND_JOB,
            args=(edition,),
            result_ttl=0,
            failure_ttl=FAILED_SECONDS,
            description=f"append {edition}",
            pipeline=pipe,
        )


def _written(decision: Decision, attempt: Attempt) -> Written:
    """What the script gets for a decision."""
    record = decision.record
    keys = Keys.of(record.edition)
    entry = msgspec.json.encode(AuditEntry.of(decision, attempt.address))
    names = [
        keys.items,
        keys.heads,
        keys.versions,
        keys.changed,
        keys.outbox,
        keys.log,
        keys.live,
        keys.places,
        keys.due,
        keys.audit,
        idempotency(record.edition, attempt.key_digest or "none"),
        keys.meta,
    ]
    values: list[str | bytes | int] = [
        record.id,
        record.rev - 1,
        record.rev,
        record.version,
        record.state,
        secrets.token_hex(8),
        msgspec.json.encode(record),
        _history(decision),
        msgspec.json.encode(decision.entry) if decision.entry else "",
        decision.due_ms if decision.due_ms is not None else "",
        decision.now_ms,
        entry,
        attempt.fingerprint,
        IDEMPOTENCY_SECONDS,
        keys.alarm,
        KEPT,
        MOST_WAITING,
        digest_of(entry),
        keys.desk,
    ]
    return names, values


def _history(decision: Decision) -> bytes:
    return msgspec.json.encode(decision.history)


def _again(answer: str) -> Accepted:
    return msgspec.structs.replace(msgspec.json.decode(answer, type=Accepted), again=True)


def _reused() -> KeyReusedError:
    return KeyReusedError("expected a new Idempotency-Key for a new request, got one that another request came with")
