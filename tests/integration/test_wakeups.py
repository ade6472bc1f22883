"""What becomes of a wake-up in RQ's books: nothing if it went well, its reason if it failed, its end if it was left."""

import time

from redis.exceptions import ConnectionError as RedisConnectionError
from rq import Queue
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer

from service.store.keys import Keys
from service.store.outbox import BREAKING, breaking_queue
from tests.integration.harness import Service, until
from tests.integration.test_worker_killed import start_worker
from workers.__main__ import BreakingWorker


def queue_of(service: Service) -> Queue:
    return breaking_queue(service.redis)


def left(service: Service) -> list[str]:
    """The jobs that Redis still has anything of, but for those that the clock has just queued."""
    queue = queue_of(service)
    waiting = {*queue.get_job_ids(), *IntermediateQueue(queue.key, service.redis).get_job_ids()}
    names = [key.decode() for pattern in ("rq:job:*", "rq:execution*") for key in service.redis.scan_iter(pattern)]
    return [name for name in names if name.removeprefix("rq:job:") not in waiting]


def test_a_wakeup_that_went_well_leaves_nothing(own_service: Service) -> None:
    own_service.start()
    for number in range(5):
        own_service.publish(f"Line {number}")
    until(lambda: not left(own_service), "the wake-ups to be forgotten")
    (worker,) = own_service.redis.smembers("rq:workers")
    until(lambda: int(own_service.redis.hget(worker, "successful_job_count") or 0) >= 5, "five to be counted")
    assert float(own_service.redis.hget(worker, "total_working_time")) > 0
    assert own_service.redis.hget(worker, "failed_job_count") is None
    assert list(own_service.redis.scan_iter("rq:wip:*")) == []
    assert list(own_service.redis.scan_iter("rq:executions:*")) == []


def lose_redis() -> None:
    """The job of a worker that cannot reach the log."""
    raise RedisConnectionError("gone")


def test_a_wakeup_that_lost_redis_is_forgotten_and_no_failure(own_service: Service) -> None:
    own_service.start()
    own_service.stop("clock")
    own_service.stop("worker")
    queue = queue_of(own_service)
    queue.enqueue_call(f"{__name__}.lose_redis", result_ttl=0, failure_ttl=60)
    worker = BreakingWorker([queue], connection=own_service.redis, serializer=JSONSerializer)
    assert worker.work(burst=True, logging_level="WARNING"), "it was taken"
    assert queue.get_job_ids() == left(own_service) == []
    assert FailedJobRegistry(queue=queue).get_job_ids() == []
    assert own_service.redis.hget(worker.key, "successful_job_count") is None


def test_a_wakeup_that_fails_is_kept_with_its_reason_and_the_worker_goes_on(own_service: Service) -> None:
    own_service.start()
    own_service.may_fail.add("worker")
    keys = Keys.of("ar")
    until(lambda: own_service.redis.exists(keys.meta), "the edition to begin")
    queue = queue_of(own_service)
    # Something that is no outbox lies where the Arabic one was.
    own_service.stop("clock")
    own_service.redis.delete(keys.outbox)
    own_service.redis.set(keys.outbox, "not a list")
    job = queue.enqueue_call("workers.jobs.append", args=("ar",), result_ttl=0, failure_ttl=60)
    failed = FailedJobRegistry(queue=queue)
    until(lambda: job.id in failed.get_job_ids(), "the job to be among those that failed")
    reason = Job.fetch(job.id, connection=own_service.redis, serializer=JSONSerializer).latest_result()
    assert reason is not None
    assert "WRONGTYPE" in reason.exc_string
    assert StartedJobRegistry(queue=queue).get_job_ids() == []
    until(lambda: IntermediateQueue(queue.key, own_service.redis).get_job_ids() == [], "the queue to be done with it")
    said = [line for line in own_service.log("worker").splitlines() if "WRONGTYPE" in line]
    assert len(said) == 1, "said once, though it was tried twice"
    own_service.redis.delete(keys.outbox)
    own_service.publish("The worker goes on", edition="ar")


def test_a_wakeup_whose_worker_died_is_taken_out_of_the_queue_by_the_next_ones(own_service: Service) -> None:
    own_service.start()
    own_service.stop("clock")
    own_service.stop("worker", 9)
    queue = queue_of(own_service)
    taken = IntermediateQueue(queue.key, own_service.redis)
    for job_id in [*queue.get_job_ids(), *taken.get_job_ids()]:
        Job.fetch(job_id, connection=own_service.redis, serializer=JSONSerializer).delete()
        taken.remove(job_id)
    job = queue.enqueue_call("workers.jobs.append", args=("en",), result_ttl=0, failure_ttl=60)
    # As the dead worker left it: taken, and not done.
    own_service.redis.lmove(queue.key, taken.key)
    start_worker(own_service)
    until(lambda: taken.get_first_seen(job.id), "the next worker to see it")
    # A worker that ends within its look around leaves RQ's lock on that behind, and the next one looks at nothing.
    until(lambda: not own_service.redis.exists(queue.registry_cleaning_key), "its look around to end")
    assert taken.get_job_ids() == [job.id]
    assert own_service.stop("worker") == 0
    # A minute goes by.
    own_service.redis.set(taken.get_first_seen_key(job.id), time.time() - 61)
    start_worker(own_service)
    until(lambda: taken.get_job_ids() == [], "it to be taken out")
    assert FailedJobRegistry(BREAKING, connection=own_service.redis).get_job_ids() == [job.id]
