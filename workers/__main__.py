"""One worker process: `python -m workers breaking` takes wake-ups, `python -m workers clock` keeps time."""

import asyncio
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from types import FrameType

import structlog
import uvloop
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.defaults import DEFAULT_LOGGING_DATE_FORMAT
from rq.exceptions import StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException
from rq.utils import now
from rq.worker import WorkerStatus

from service import durability, logs
from service.errors import SettingsError, StoppressError
from service.settings import Settings
from service.store.connect import at, blocking, queueing
from service.store.keys import API_KEYS
from service.store.outage import is_outage
from service.store.outbox import BREAKING, JOB_SECONDS
from workers.clock import Clock
from workers.context import Context, context
from workers.fanout import release

# RQ waits in one BLMOVE for this less 15 s: so short that a server that answers nothing is soon taken for dead.
WORKER_TTL_SECONDS = 17
# Beyond a BLMOVE's own time.
ANSWER_SECONDS = 2
# How often it shows that it lives while it works.
HEARTBEAT_SECONDS = 10
LONGEST_PAUSE_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Outage(logging.Filter):
    """Redis gone from under RQ is one line in the log, not a traceback: its message says all there is to know."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Take the traceback from a record about an error of Redis; everything is logged."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and is_outage(error):
            record.msg = f"{record.getMessage()}: {error or type(error).__name__}"
            record.args = None
            record.exc_info = None
        return True


class BreakingWorker(SimpleWorker):
    """RQ's worker without a fork: 2 ms from queued to taken, where the forking one takes 9."""

    stopping = False
    # RQ shows that it lives before each job and after it, each time with an fsync of Redis's append-only file; that was
    # a third of the way from an editor to a screen. Once in a while is enough.
    next_heartbeat = 0.0
    shown_state: str | None = None
    # RQ's own pause between two attempts to reach Redis grows to a minute; news waits no longer than Redis is away.
    max_connection_wait_time = 1.0

    @property
    def connection_timeout(self) -> int:
        """How long RQ waits for an answer, if that is longer than what the connection was made with."""
        return self.dequeue_timeout + ANSWER_SECONDS

    @classmethod
    def asked(cls) -> bool:
        """Whether the end was asked for."""
        return cls.stopping

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Show that the worker lives, unless that was shown just now."""
        if pipeline is None:
            # RQ asks here again and again while it waits for a job.
            self._end_if_asked()
        if timeout is None:
            moment = time.monotonic()
            if moment < self.next_heartbeat:
                return
            self.next_heartbeat = moment + HEARTBEAT_SECONDS
        super().heartbeat(timeout, pipeline)

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:
        """Show a state, unless it is shown already."""
        if state != self.shown_state or pipeline is not None:
            self.shown_state = state
            super().set_state(state, pipeline)
        self._state = state
        self._end_if_asked()

    def _end_if_asked(self) -> None:
        """End now if no job is in hand.

        Told to stop between its look at that and its wait for the next job, RQ's worker would wait for ever; and what a
        signal handler raises is lost where it meets the middle of a log line.
        """
        if self._stop_requested and self._state == WorkerStatus.IDLE:
            raise StopRequested

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Take a wake-up, and forget it in one step.

        RQ books who runs a job since when and how it ended, to find it again should its worker die: fourteen round
        trips, of which five write. A wake-up need not be found: the outbox is the truth, and the sweep sends another.
        Until it is done it is in RQ's intermediate queue, from which RQ takes what a dead worker left.
        """
        # Not to Redis: it is over in a millisecond.
        self._state = WorkerStatus.BUSY
        job.started_at = now()
        lost = False
        try:
            with self.death_penalty_class(job.timeout or JOB_SECONDS, JobTimeoutException, job_id=job.id):
                job.perform()
        except Exception as error:  # noqa: BLE001 - a job may fail with anything
            if not is_outage(error):
                # Once more by RQ's own way, which keeps why a job failed. Any may run twice.
                log.debug("job is tried again", job=job.id, error=str(error) or type(error).__name__)
                super().execute_job(job, queue)
                return
            # The change waits in the outbox, and is woken for again.
            log.warning("job lost Redis", job=job.id, error=str(error) or type(error).__name__)
            lost = True
        with self.connection.pipeline() as pipe:
            pipe.delete(job.key)
            pipe.lrem(queue.intermediate_queue_key, 1, job.id)
            if not lost:
                self.increment_successful_job_count(pipe)
                self.increment_total_working_time(now() - job.started_at, pipe)
            pipe.execute()
        self.set_state(WorkerStatus.IDLE)

    def subscribe(self) -> None:
        """Hear no commands of RQ's: signals do as much, and its thread dies of a connection that is cut as it opens."""

    def set_shutdown_requested_date(self) -> None:
        """Show that the end was asked for, if Redis takes that; the end comes all the same."""
        with suppress(RedisError, OSError):
            super().set_shutdown_requested_date()  # type: ignore[no-untyped-call]

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Remember that the end was asked for, so that `work` returning for another reason is told apart."""
        BreakingWorker.stopping = True
        self._stop_requested = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]


def work(settings: Settings, name: str) -> None:
    """Take jobs until told to stop. RQ's worker gives up when Redis fails under it; this starts it again."""
    if name != BREAKING:
        raise SettingsError(f"expected one of the queues {BREAKING}, got {name!r}")
    context()
    logging.getLogger("rq.worker").addFilter(Outage())
    # RQ's handler of signals stays when its worker has given up: between two of them it raises right here.
    with suppress(StopRequested):
        _take_jobs(settings, name)
    # What was accepted at the last moment goes out before the end: the next start may be a while off.
    for code in context().editions:
        with suppress(RedisError, OSError):
            release(context(), code)
    log.info("worker stopped", queue=name)


def _take_jobs(settings: Settings, name: str) -> None:
    pause = 0.1
    while not BreakingWorker.asked():
        started = time.monotonic()
        try:
            # A wake-up lost in a dead connection costs a second: the sweep sends another.
            redis = queueing(settings, answer_seconds=WORKER_TTL_SECONDS - 15 + ANSWER_SECONDS)
            queue = Queue(name, connection=redis, serializer=JSONSerializer, default_timeout=JOB_SECONDS)
            worker = BreakingWorker([queue], connection=redis, serializer=JSONSerializer, worker_ttl=WORKER_TTL_SECONDS)
            worker.log_job_description = False
            log.info("worker started", queue=name)
            worker.work(logging_level="WARNING", date_format=DEFAULT_LOGGING_DATE_FORMAT)
        except (RedisError, OSError) as error:
            log.warning("worker lost Redis", error=str(error) or type(error).__name__)
        pause = 0.1 if time.monotonic() - started > 10 else min(pause * 2, LONGEST_PAUSE_SECONDS)
        if not BreakingWorker.asked():
            time.sleep(pause)


async def keep_time(settings: Settings) -> None:
    """Run the clock until told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await Clock(Context.of(settings)).run(stop)
    log.info("clock stopped")


def main(arguments: list[str]) -> int:
    """Run one process; returns its exit status."""
    try:
        settings = Settings.from_env(os.environ)
        logs.configure(settings)
        with blocking(settings.require_redis_url()) as redis:
            durability.warn(at(redis, API_KEYS))
        match arguments:
            case ["clock"]:
                uvloop.run(keep_time(settings))
            case [name]:
                work(settings, name)
            case _:
                raise SettingsError(f"expected python -m workers {BREAKING}|clock, got {arguments}")
    except StoppressError as error:
        sys.stderr.write(f"stoppress: {error.detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
