"""Processes that are killed at any instant cost a delay, never an item."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from service.store.keys import Keys
from tests.integration.followers import Follower, Publisher, check_delivery, logged
from tests.integration.harness import Service, until

# A worker that stops itself (SIGSTOP) at one step of its first job.
STOPPING = """
import os, signal, sys
import workers.__main__ as process
import workers.fanout
import workers.jobs

step = sys.argv[1]

def stop():
    os.kill(os.getpid(), signal.SIGSTOP)

if step == "taken":
    execute_job = process.BreakingWorker.execute_job
    def stopped(self, job, queue):
        stop()
        return execute_job(self, job, queue)
    process.BreakingWorker.execute_job = stopped
else:
    release = workers.jobs.release
    def stopped(context, code):
        if step == "started":
            stop()
        done = release(context, code)
        if step == "appended":
            stop()
        return done
    workers.jobs.release = stopped
sys.exit(process.main(["breaking"]))
"""


def is_stopped(process: subprocess.Popen[bytes]) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def started(service: Service, name: str = "worker") -> int:
    """How often a worker has got to listen."""
    return service.log(name).count('"worker started"') if (service.folder / f"{name}.log").exists() else 0


def start_worker(service: Service, name: str = "worker") -> float:
    """Start a worker, wait until it listens, and say when that was."""
    before = started(service, name)
    service.start(name, ready=False)
    until(lambda: started(service, name) > before, "a worker to start")
    return time.monotonic()


def test_a_worker_killed_at_random_instants_costs_a_delay_and_no_item(service: Service) -> None:
    chance = random.Random(20261124)
    repaired: list[float] = []
    with ExitStack() as stack:
        followers = [stack.enter_context(Follower(service)) for _ in range(3)]
        publishers = [stack.enter_context(Publisher(service, f"random{number}")) for number in range(3)]
        for _ in range(4):
            seq = int(service.redis.hget("sp:{en}:meta", "seq") or 0)
            until(lambda seq=seq: int(service.redis.hget("sp:{en}:meta", "seq") or 0) > seq, "the worker to work")
            # The random instant itself, not a wait for something.
            time.sleep(chance.uniform(0, 0.1))
            followers[2].reconnect()
            assert service.stop("worker", 9) == -9
            repaired.append(start_worker(service))
        for publisher in publishers:
            publisher.finish()
        order = check_delivery(service, publishers, followers)
        accepted = {item_id: at for publisher in publishers for item_id, at in publisher.accepted.items()}
        worst = 0.0
        for item_id, at in followers[0].arrivals().items():
            if item_id in accepted:
                since = max([accepted[item_id], *(moment for moment in repaired if moment < at)])
                worst = max(worst, at - since)
        print(f"{len(order)} lines through {len(repaired)} kills; the latest came {worst * 1000:.0f} ms after repair")
        assert worst < 20
        assert followers[2].connections > 1
        assert len(followers[2].of_type("resumed")) == followers[2].connections - 1


@pytest.mark.parametrize("end", ["killed", "continued"])
@pytest.mark.parametrize("step", ["taken", "started", "appended"])
def test_a_worker_that_stops_at_any_step_of_a_job_loses_and_doubles_nothing(
    service: Service, step: str, end: str
) -> None:
    service.stop("worker")
    with (service.folder / "stopping.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", STOPPING, step], env=service.env(), stdout=log, stderr=log, cwd=service.folder
        )
    service.processes["stopping"] = process
    with Follower(service) as follower:
        body = {"edition": "en", "headline": "A line", "id": f"step-{step}-{end}"}
        assert service.http.post("/v1/items", json=body).status_code == 202
        until(lambda: is_stopped(process), "the worker to stop itself")
        if end == "killed":
            process.kill()
            process.wait()
        repaired = start_worker(service)
        # The wake-up went with the stopped worker: the sweep sends another.
        until(lambda: body["id"] in follower.ids(), "the line")
        print(f"{step}, {end}: {max(0.0, follower.arrivals()[body['id']] - repaired) * 1000:.0f} ms after repair")
        if end == "continued":
            process.send_signal(18)
            process.terminate()
            assert process.wait(20) == 0
        last = service.publish("The next one")["id"]
        until(lambda: last in follower.ids(), "the next line")
        assert follower.ids() == [body["id"], last]
        assert logged(service).count(body["id"]) == 1


def test_two_workers_at_once_double_nothing_and_keep_the_order(service: Service) -> None:
    start_worker(service, "worker2")
    with ExitStack() as stack:
        followers = [stack.enter_context(Follower(service)) for _ in range(2)]
        publishers = [stack.enter_context(Publisher(service, f"two{number}")) for number in range(4)]
        until(lambda: sum(len(publisher.accepted) for publisher in publishers) > 150, "150 lines")
        for publisher in publishers:
            publisher.finish()
        check_delivery(service, publishers, followers)
    shares = [service.log(name).count('"id": "two') for name in ("worker", "worker2")]
    print(f"shares of the two workers: {shares}")
    assert service.stop("worker2") == 0


def test_a_web_process_that_is_killed_loses_nothing_that_it_accepted(service: Service) -> None:
    service.may_fail.add("web")
    with ExitStack() as stack:
        followers = [stack.enter_context(Follower(service)) for _ in range(2)]
        publishers = [stack.enter_context(Publisher(service, f"web{number}")) for number in range(3)]
        for _ in range(2):
            count = sum(len(publisher.accepted) for publisher in publishers)
            until(lambda count=count: sum(len(each.accepted) for each in publishers) > count + 20, "20 lines")
            assert service.stop("web", 9) == -9
            service.start("web")
        for publisher in publishers:
            publisher.finish()
        check_delivery(service, publishers, followers)
        assert all(follower.connections == 3 for follower in followers)
        assert sum(len(publisher.refused) for publisher in publishers) > 0


def test_no_thread_or_process_of_these_tests_is_left(service: Service) -> None:
    assert [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()] == []
    assert os.waitpid(-1, os.WNOHANG)[0] == 0


def test_a_worker_that_stops_empties_the_outboxes_first(own_service: Service) -> None:
    own_service.start()
    own_service.stop("clock")
    worker = own_service.processes["worker"]
    worker.send_signal(signal.SIGSTOP)
    until(lambda: is_stopped(worker), "the worker to stand still")
    accepted = own_service.http.post("/v1/items", json={"edition": "en", "headline": "At the last moment"})
    assert accepted.status_code == 202
    assert own_service.redis.llen(Keys.of("en").outbox) == 1
    # Both wait for it: it is told to stop before it can take the wake-up.
    worker.send_signal(signal.SIGTERM)
    worker.send_signal(signal.SIGCONT)
    assert worker.wait(20) == 0
    assert own_service.redis.llen(Keys.of("en").outbox) == 0
    assert own_service.redis.xlen(Keys.of("en").log) == 1


# A worker that is told to stop at an instant at which RQ's own would not notice.
TOLD = """
import os, signal, sys
import workers.__main__ as process

instant = sys.argv[1]
dequeue = process.BreakingWorker.dequeue_job_and_maintain_ttl

def told(self, *arguments):
    # After the look whether it was asked to stop, before the wait for a job.
    self._state = "busy" if instant == "busy" else "idle"
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except Exception:
        pass  # as the logging module swallows what is raised while it writes
    return dequeue(self, *arguments)

process.BreakingWorker.dequeue_job_and_maintain_ttl = told
sys.exit(process.main(["breaking"]))
"""


@pytest.mark.parametrize("instant", ["busy", "swallowed"])
def test_a_worker_that_is_told_to_stop_at_an_unlucky_instant_stops(own_service: Service, instant: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", TOLD, instant], env=own_service.env(), capture_output=True, timeout=30, check=False
    )
    assert told.returncode == 0, told.stderr.decode()
    assert b"worker stopped" in told.stderr
    assert b"Traceback" not in told.stderr
