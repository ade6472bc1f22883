"""Redis behind Sentinels fails over under load: the same sockets go on, and what was answered with 202 is not lost."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from service.errors import SettingsError
from service.preflight import check_redis
from service.store.connect import blocking
from service.store.keys import Keys
from service.store.primary import LOOK_SECONDS
from tests.integration.engines import SECONDS, Node, Sentinels, needs_redis_7
from tests.integration.followers import Follower, History, Publisher, check_histories, go_on
from tests.integration.harness import Service, free_port, until

pytestmark = needs_redis_7

# So many lines that a snapshot holds everything that a failover can leave out.
SIZE = 100
EDITIONS = f'[editions.en]\nname = "English"\nsize = {SIZE}\n'


@pytest.fixture
def editions(tmp_path: Path) -> str:
    path = tmp_path / "editions.toml"
    path.write_text(EDITIONS)
    return str(path)


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    with Sentinels(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def service(request: pytest.FixtureRequest, tmp_path: Path, sentinels: Sentinels, editions: str) -> Iterator[Service]:
    replicas = getattr(request, "param", "1")
    with Service(tmp_path, redis_url=sentinels.url, editions=editions, wait_replicas=replicas) as running:
        running.start("web", "worker", "clock", "worker2", "clock2")
        yield running


def replica_again(node: Node) -> None:
    until(lambda: node.role() == "slave", "the old primary to be a replica", SECONDS)


@pytest.mark.parametrize(("service", "fault"), [("1", "killed"), ("2", "paused")], indirect=["service"])
def test_a_primary_is_lost_under_load(service: Service, sentinels: Sentinels, fault: str) -> None:
    # A primary that comes back must wait for all replicas: one that was not promoted follows it for some time still.
    old = sentinels.primary()
    for node in sentinels.nodes:
        node.redis.config_set("min-replicas-to-write", 1)
        node.redis.config_set("min-replicas-max-lag", 2)
    with ExitStack() as stack:
        followers = [stack.enter_context(Follower(service)) for _ in range(5)]
        publishers = [stack.enter_context(Publisher(service, f"editor{n}", pause=0.1)) for n in range(3)]
        until(lambda: all(len(each.accepted) > 5 for each in publishers), "lines before the fault")
        if fault == "killed":
            old.kill()
        else:
            old.send(signal.SIGSTOP)
        until(lambda: all(each.of_type("behind") for each in followers), "readers to be told that news is behind")
        sentinels.promoted(old)
        before = [len(each.accepted) for each in publishers]
        if fault == "killed":
            old.start()
        else:
            old.send(signal.SIGCONT)
        replica_again(old)
        go_on(publishers, before, "lines after the fault", SECONDS)
        check_histories(service, publishers, followers, SIZE)
        until(service.is_ready, "/readyz to say 200", SECONDS)
        for follower in followers:
            behind = max(at for at, message in follower.messages if message["type"] == "behind")
            until(
                lambda each=follower, since=behind: any(at > since and m["type"] == "beat" for at, m in each.messages),
                "the beat that says that it is live again",
            )
    answers = {(status, retry) for publisher in publishers for status, _, retry in publisher.refused}
    assert answers, "there was a fault"
    assert {status for status, _ in answers} == {503}
    assert None not in {retry for _, retry in answers}
    assert max(seconds for publisher in publishers for _, seconds, _ in publisher.refused) < 10


def test_a_failover_begins_a_new_epoch_even_where_nothing_was_lost(service: Service, sentinels: Sentinels) -> None:
    made = service.publish("Before")
    old = sentinels.primary()
    # Sentinels take some 8 s to make a replica of it, and here they may not at all: it goes on as a primary.
    old.redis.acl_setuser("default", enabled=True, nopass=True, commands=["-replicaof", "-slaveof"])
    with Follower(service) as follower:
        sentinels.sentinels[0].redis.execute_command("SENTINEL FAILOVER", "news")
        new = sentinels.promoted(old)
        until(lambda: len(follower.of_type("snapshot")) > 1, "a snapshot of the new epoch", SECONDS)
        epochs = [each["cursor"].split(".")[0] for each in follower.of_type("snapshot")]
        assert len(set(epochs)) == 2
        assert new.redis.hget(Keys.of("en").meta, "epoch") == epochs[-1].encode()
        assert [item["id"] for item in follower.of_type("snapshot")[-1]["items"]] == [made["id"]]
        assert old.role() == "master"
        old.redis.acl_setuser("default", enabled=True, nopass=True, commands=["+replicaof", "+slaveof"])
        replica_again(old)
        until(lambda: old.redis.info("replication")["master_link_status"] == "up", "a replica in step", SECONDS)
        after = service.publish("After")
        until(lambda: after["id"] in follower.ids(), "the next line, on the same socket")
        assert follower.connections == 1


@pytest.mark.parametrize("service", ["0"], indirect=True)
def test_readers_are_put_right_when_a_failover_loses_what_they_have_seen(
    service: Service, sentinels: Sentinels
) -> None:
    kept = service.publish("Kept")["id"]
    old = sentinels.primary()
    old.redis.wait(2, 10_000)
    # No replica can follow any more.
    old.redis.acl_setuser("default", enabled=True, nopass=True, commands=["-psync", "-sync"])
    old.redis.execute_command("CLIENT", "KILL", "TYPE", "replica")
    with Follower(service) as follower:
        lost = service.publish("Lost")["id"]
        until(lambda: lost in follower.ids(), "the line that will be lost")
        old.kill()
        sentinels.promoted(old)
        # As many as were lost, so that the seqs alone look as if nothing had happened.
        after = [publish_through(service, f"after-{number}") for number in range(3)]
        until(lambda: set(after) <= set(History(follower).lines), "the lines of the new primary", SECONDS)
        history = History(follower)
        assert set(history.lines) == {kept, *after}
        assert lost in history.seen
        assert follower.connections == 1


def publish_through(service: Service, item_id: str) -> str:
    """Publish until it is accepted."""
    body = {"edition": "en", "headline": "After", "id": item_id}
    until(lambda: service.http.post("/v1/items", json=body).status_code == 202, "a line to be accepted", SECONDS)
    return item_id


def test_a_service_that_runs_needs_no_sentinel_until_the_primary_fails(service: Service, sentinels: Sentinels) -> None:
    service.publish("Before")
    for sentinel in sentinels.sentinels:
        sentinel.kill()
    with service.screen() as screen:
        screen.next()
        # New connections, too.
        sentinels.nodes[0].redis.execute_command("CLIENT", "KILL", "TYPE", "normal")
        ends = time.monotonic() + 3 * LOOK_SECONDS
        while time.monotonic() < ends:
            screen.item(service.publish("Goes on")["id"])


def test_a_sentinel_that_knows_no_better_is_not_asked_for_ever(sentinels: Sentinels, tmp_path: Path) -> None:
    replica = sentinels.nodes[1]
    for port in (free_port(), replica.port):
        # Cut off, it goes on naming what was the primary once: dead since, or a replica.
        lone = Node(tmp_path / f"lone{port}")
        conf = lone.folder / "sentinel.conf"
        conf.write_text(f"port {lone.port}\ndir {lone.folder}\nsentinel monitor news 127.0.0.1 {port} 3\n")
        sentinels.nodes.append(lone)
        lone.start(str(conf), "--sentinel")
        url = sentinels.url.replace("://", f"://127.0.0.1:{lone.port},")
        store = blocking(url)
        assert isinstance(store, Redis)
        with store as redis:
            assert redis.role()[0] == b"master"


def test_what_is_wrong_with_sentinels_is_said_in_one_line_without_a_password(
    sentinels: Sentinels, tmp_path: Path
) -> None:
    name, url = "STOPPRESS_REDIS_URL", sentinels.url
    check_redis(name, url)
    sentinels.primary().redis.acl_setuser(
        "ann", enabled=True, passwords=["+hunter2"], keys=["*"], channels=["*"], commands=["+@all"]
    )
    check_redis(name, url.replace("://", "://ann:hunter2@"))
    nobody = f"redis+sentinel://:hunter2@127.0.0.1:{free_port()}/news"
    wrong = {
        url.replace("/news", "/other"): "knows a primary of the service other now",
        nobody: "knows a primary of the service news now",
        url.replace("://", "://ann:hunter3@"): "refuses the password",
        f"redis+cluster://127.0.0.1:{sentinels.nodes[0].port}": "knows a primary of slot",
    }
    for given, expected in wrong.items():
        with pytest.raises(SettingsError, match=expected) as refusal:
            check_redis(name, given)
        assert refusal.value.detail.startswith(f"{name}: ")
        assert "hunter" not in refusal.value.detail
    with Service(tmp_path, redis_url=url) as service:
        done = service.command("keys", "list", redis_url=nobody)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "hunter" not in done.stderr


def test_without_enough_replicas_in_time_it_is_not_said_to_be_accepted(service: Service, sentinels: Sentinels) -> None:
    body = {"id": "mine", "edition": "en", "headline": "Not yet safe"}
    key = {"idempotency-key": "once"}
    nameless = {"edition": "en", "headline": "Nor is this"}
    unwanted = service.publish("Not wanted")["id"]
    primary = sentinels.primary()
    replicas = [node for node in sentinels.nodes if node is not primary]
    # The Sentinels see all is well with the primary, so there is no failover.
    for node in replicas:
        node.send(signal.SIGSTOP)
    try:
        for given, headers in ((body, {}), (nameless, key), (nameless, key), (body, {})):
            # The last two are repeats: they find it accepted, and must not say so either.
            answer = service.http.post("/v1/items", json=given, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (503, "unconfirmed"), answer.text
            assert "sending it again with the same id or Idempotency-Key is safe" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) > 0
        for _ in range(2):
            assert service.act(unwanted, "kill").json()["code"] == "unconfirmed"
    finally:
        for node in replicas:
            node.send(signal.SIGCONT)
    until(lambda: service.http.post("/v1/items", json=body).status_code == 202, "it to be safe", SECONDS)
    assert service.http.post("/v1/items", json=nameless, headers=key).status_code == 202
    assert service.act(unwanted, "kill").status_code in (201, 202)
    listed = service.http.get("/v1/items?state=live").json()["items"]
    assert sorted(item["item"]["headline"] for item in listed) == ["Nor is this", "Not yet safe"]


def test_with_too_few_replicas_connected_nothing_is_accepted(service: Service, sentinels: Sentinels) -> None:
    primary = sentinels.primary()
    primary.redis.config_set("min-replicas-to-write", 3)
    answer = service.http.post("/v1/items", json={"edition": "en", "headline": "Refused"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "Nothing was accepted" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0
    assert service.http.get("/v1/items").json()["items"] == []
    primary.redis.config_set("min-replicas-to-write", 2)
    service.publish("Accepted")
