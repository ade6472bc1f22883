"""Redis goes away and comes back under a running service: the same sockets go on, and nothing is missing."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from service.domain.instant import format_ms
from service.store.keys import Keys
from service.web.pages import words_of
from tests.integration.harness import Screen, Service, now_ms, until


@pytest.fixture
def running(own_service: Service) -> Iterator[Service]:
    own_service.start()
    yield own_service
    if own_service.redis_server.returncode is not None:
        own_service.redis_server.respawn()


def publish_through(service: Service, item_id: str) -> None:
    """Publish until it is accepted, with the same id each time, as a newsroom's script does."""
    body = {"id": item_id, "edition": "en", "headline": f"Line {item_id}"}
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        try:
            answer = service.http.post("/v1/items", json=body)
        except httpx.TransportError:
            continue
        if answer.status_code in (201, 202):
            return
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) > 0
    raise AssertionError(f"{item_id} was never accepted")


def got(screen: Screen, wanted: list[str]) -> list[str]:
    """Read until the last of the wanted lines has come; the ids in the order they came, snapshots folded in."""
    came: list[str] = []
    while wanted[-1] not in came:
        message = screen.next()
        assert message["type"] != "snapshot", "the log is the same: nobody needs to start over"
        if message["type"] == "item":
            came.append(message["item"]["id"])
    return came


def through_an_outage(service: Service, outage: threading.Thread) -> None:
    """Publish while the outage happens; two readers on the same sockets get all of it once and in order."""
    with service.screen() as one, service.screen() as two:
        for screen in (one, two):
            assert screen.next()["type"] == "snapshot"
        wanted = [f"line-{number}" for number in range(40)]
        outage.start()
        for item_id in wanted:
            publish_through(service, item_id)
        outage.join()
        for screen in (one, two):
            assert got(screen, wanted) == wanted


def test_the_same_sockets_go_on_when_redis_is_killed_and_restarted(running: Service) -> None:
    pid = running.redis_server.pid
    assert pid is not None

    def outage() -> None:
        os.kill(pid, signal.SIGKILL)
        until(lambda: running.redis_server.returncode is not None, "Redis to be dead")
        running.redis_server.respawn()

    through_an_outage(running, threading.Thread(target=outage))
    running.wait_ready()


def test_readers_are_told_that_they_are_behind_and_when_it_is_over(running: Service) -> None:
    pid = running.redis_server.pid
    assert pid is not None
    with running.screen() as screen:
        screen.next()
        os.kill(pid, signal.SIGSTOP)
        stopped = format_ms(now_ms() + 100)
        try:
            behind = screen.find(lambda message: message["type"] == "behind")
            assert behind["since"] <= stopped, "since the last news was heard, not since that was noticed"
            ticker = running.http.get("/v1/editions/en/ticker")
            page = running.http.get("/?edition=en").text
            assert ticker.headers["stoppress-behind"] == behind["since"]
            assert f'data-as-of="{behind["since"]}"' in page
            assert (
                f'data-state="behind">{words_of("en").behind.replace("{time}", behind["since"][11:16] + " UTC")}<'
                in page
            )
            until(lambda: not running.is_ready(), "/readyz to say that the process is not ready")
        finally:
            os.kill(pid, signal.SIGCONT)
        running.wait_ready()
        until(lambda: '"beat"' in screen.connection.recv(timeout=20), "the beat that says that it is live again")
        made = running.publish("After the silence")
        screen.item(made["id"])


def test_publishing_without_redis_is_refused_and_nothing_is_lost(running: Service) -> None:
    pid = running.redis_server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: running.redis_server.returncode is not None, "Redis to be dead")
    answer = running.http.post("/v1/items", json={"edition": "en", "headline": "Refused"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    # Readers keep what they have: the ticker is served from memory.
    assert running.http.get("/v1/editions/en/ticker").status_code == 200
    with running.screen() as screen:
        assert screen.next()["type"] == "snapshot"
    running.redis_server.respawn()
    running.wait_ready()
    running.publish("Accepted again")


def test_with_an_fsync_a_second_a_redis_that_is_killed_loses_nothing_either(running: Service) -> None:
    running.redis.config_set("appendfsync", "everysec")
    pid = running.redis_server.pid
    assert pid is not None
    body = {"edition": "en", "headline": "A line"}
    accepted = [running.http.post("/v1/items", json=body | {"id": f"line-{number}"}) for number in range(20)]
    os.kill(pid, signal.SIGKILL)
    until(lambda: running.redis_server.returncode is not None, "Redis to be dead")
    running.redis_server.respawn()
    running.wait_ready()
    listed = running.http.get("/v1/items").json()["items"]
    assert {item["id"] for item in listed} == {answer.json()["id"] for answer in accepted}


def test_a_worker_that_waits_for_redis_stops_when_it_is_told_to(running: Service) -> None:
    running.redis.config_set("min-replicas-to-write", 1)
    running.redis.execute_command("CLIENT", "KILL", "TYPE", "normal")
    # Each pause is twice as long as the one before: by now it waits most of the time.
    until(lambda: running.log("worker").count("worker lost Redis") >= 4, "the worker to wait")
    assert running.stop("worker") == 0
    assert "Traceback" not in running.log("worker")
    assert "worker stopped" in running.log("worker")


def test_a_subscription_that_dies_is_noticed_and_its_hole_filled(running: Service) -> None:
    with running.screen() as screen:
        screen.next()
        wanted = []
        for number in range(30):
            if number % 10 == 5:
                running.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            body = {"edition": "en", "headline": f"Line {number}"}
            wanted.append(running.http.post("/v1/items", json=body).json()["id"])
        assert got(screen, wanted) == wanted


def test_a_lost_log_starts_over_for_everyone(running: Service) -> None:
    # RQ finds its jobs gone and says so, with a traceback of its own.
    running.may_fail.add("worker")
    running.publish("Will be lost")
    with running.screen() as screen:
        before = screen.next()
        running.redis.flushall()
        after = screen.find(lambda message: message["type"] == "snapshot")
        assert after["items"] == []
        assert after["cursor"].split(".")[0] != before["cursor"].split(".")[0]
        until(running.is_ready, "/readyz to say 200")
        screen.item(running.publish("The first of the new log")["id"])


def test_a_log_that_went_back_gets_a_new_epoch(running: Service) -> None:
    made = [running.publish(f"Line {number}") for number in range(5)]
    keys = Keys.of("en")
    with running.screen() as screen:
        before = screen.next()["cursor"]
        # As an older copy would have it: the last two changes never happened.
        seq = int(made[2]["cursor"].split(".")[1])
        with running.redis.pipeline(transaction=True) as pipe:
            pipe.hset(keys.meta, "seq", seq)
            pipe.xdel(keys.log, f"{seq + 1}-0", f"{seq + 2}-0")
            pipe.hdel(keys.live, made[3]["id"], made[4]["id"])
            pipe.execute()
        after = screen.find(lambda message: message["type"] == "snapshot")
        assert after["cursor"].split(".")[0] != before.split(".")[0]
        assert {item["id"] for item in after["items"]} == {each["id"] for each in made[:3]}
        screen.item(running.publish("Goes on")["id"])


def test_a_log_with_another_history_gets_a_new_epoch(running: Service) -> None:
    made = [running.publish(f"Line {number}") for number in range(3)]
    keys = Keys.of("en")
    with running.screen() as screen:
        before = screen.next()["cursor"]
        # As a failover may leave it: at the seq of a change that readers have seen there is another one, and one more.
        entries = running.redis.xrange(keys.log)
        frames = [fields[b"frame"] for _, fields in entries]
        other = frames[2].replace(made[2]["id"].encode(), b"another")
        further = other.replace(b"another", b"one-more").replace(
            made[2]["cursor"].encode(), before[:-1].encode() + b"4"
        )
        with running.redis.pipeline(transaction=True) as pipe:
            pipe.delete(keys.log)
            for seq, frame in enumerate([*frames[:2], other, further], start=1):
                pipe.xadd(keys.log, {"frame": frame}, id=f"{seq}-0")
            pipe.hset(keys.meta, "seq", 4)
            pipe.execute()
        running.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        after = screen.find(lambda message: message["type"] == "snapshot")
        assert after["cursor"].split(".")[0] != before.split(".")[0]
        screen.item(running.publish("Goes on")["id"])
