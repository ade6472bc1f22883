"""Redis Cluster: editions on three shards. One shard fails over, one edition moves, and each for itself."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from redis.crc import key_slot

from service.domain.instant import format_ms
from service.embedded import EmbeddedRedis
from service.errors import SettingsError
from service.preflight import check_redis
from service.settings import Settings
from service.store.keys import Keys
from tests.integration.engines import SECONDS, Cluster, Node, needs_redis_7
from tests.integration.followers import Follower, Publisher, check_histories, go_on
from tests.integration.harness import Service, free_port, now_ms, until

pytestmark = needs_redis_7

# One on each of the three shards that redis-cli makes of 16,384 slots.
CODES = ("it", "ar", "en")
SIZE = 100


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Service]:
    tmp_path = tmp_path_factory.mktemp("service")
    editions = tmp_path / "editions.toml"
    editions.write_text("".join(f'[editions.{code}]\nname = "{code}"\nsize = {SIZE}\n' for code in CODES))
    queue = EmbeddedRedis(Settings(data=tmp_path / "queue"), say=lambda _: None)
    queue.start()
    with Service(
        tmp_path, redis_url=cluster.url, queue_url=queue.url, editions=str(editions), wait_replicas="1"
    ) as running:
        running.start("web", "worker", "clock", "worker2", "clock2")
        yield running
    queue.stop()


@pytest.fixture
def service(running: Service, cluster: Cluster) -> Iterator[Service]:
    """The one service, and the one Cluster as whole as it was before a test broke it."""
    yield running
    cluster.mend()
    until(running.is_ready, "/readyz to say 200", SECONDS)


def test_each_edition_has_a_shard_and_sharded_pubsub(service: Service, cluster: Cluster) -> None:
    primaries = {code: cluster.primary(code) for code in CODES}
    assert len(set(primaries.values())) == 3
    for code, node in primaries.items():
        channel = Keys.of(code).news
        assert node.redis.execute_command("PUBSUB SHARDNUMSUB", channel) == [(channel.encode(), 1)]
        assert node.redis.pubsub_numsub(channel) == [(channel.encode(), 0)], "nothing of it crosses the Cluster"
        with service.screen(code) as screen:
            screen.next()
            made = service.publish(edition=code, id=f"own-{code}")
            screen.item(made["id"])
            assert service.act(made["id"], "kill").status_code == 201
            screen.removal(made["id"])
    assert {item["edition"] for item in service.http.get("/v1/items").json()["items"]} == set(CODES)
    taken = service.http.post("/v1/items", json={"edition": "en", "headline": "Taken", "id": "own-ar"})
    assert (taken.status_code, taken.json()["code"]) == (409, "id-taken")


def test_the_desk_sees_every_shard_and_a_kill_crosses_them(service: Service) -> None:
    with service.at_desk("chief", "chief") as desk:
        with desk.stream("GET", "/desk/stream?edition=it") as response:
            lines = response.iter_lines()
            draft = {"edition": "it", "headline": "Heard on its own shard", "state": "draft"}
            next(line for line in lines if line.startswith("data: {"))
            made = desk.post("/v1/items", json=draft).json()["id"]
            next(line for line in lines if made in line)
        first = service.publish("Bridge closed", edition="it")["id"]
        second = service.publish("Bridge closed", edition="en", translationOf=first)["id"]
        board = desk.get("/desk/board?edition=en").json()
        (row,) = [row for row in board["rows"] if row["id"] == second]
        assert row["sisters"] == {"it": first}
        assert row["hops"]["seq"] > 0
        killed = desk.post(f"/v1/items/{first}/kill", json={"note": "wrong", "everywhere": True}).json()
        assert [(each["id"], each["state"]) for each in killed["sisters"]] == [(second, "killed")]


# The first is also the shard of the clock's lease.
@pytest.mark.parametrize(("fault", "hit"), [("killed", "it"), ("paused", "en")])
def test_a_shard_that_fails_over_is_the_only_one_behind(
    service: Service, cluster: Cluster, fault: str, hit: str
) -> None:
    old = cluster.primary(hit)
    with ExitStack() as stack:
        followers = {code: [stack.enter_context(Follower(service, code)) for _ in range(3)] for code in CODES}
        publishers = [stack.enter_context(Publisher(service, f"{fault}-{c}", edition=c, pause=0.1)) for c in CODES]
        until(lambda: all(len(each.accepted) > 5 for each in publishers), "lines before the fault")
        if fault == "killed":
            old.kill()
        else:
            old.send(signal.SIGSTOP)
        until(lambda: all(each.of_type("behind") for each in followers[hit]), "readers to be told of it")
        assert service.http.get("/readyz").json()["parts"]["feed"]["silent"] == [hit]
        cluster.promoted(hit, old)
        before = [len(each.accepted) for each in publishers]
        if fault == "killed":
            old.start()
        else:
            old.send(signal.SIGCONT)
        until(lambda: old.role() == "slave", "the old primary to be a replica", SECONDS)
        go_on(publishers, before, "lines after the fault", SECONDS)
        check_histories(service, publishers, [each for group in followers.values() for each in group], SIZE)
        for code in set(CODES) - {hit}:
            for follower in followers[code]:
                assert not follower.of_type("behind"), f"{code} is on a shard that was well"
                assert len(follower.of_type("snapshot")) == 1
        until(service.is_ready, "/readyz to say 200", SECONDS)
    for publisher in publishers:
        assert {status for status, _, _ in publisher.refused} <= {503}
        assert None not in {retry for _, _, retry in publisher.refused}


def test_other_editions_are_changed_and_killed_while_a_shard_is_gone(service: Service, cluster: Cluster) -> None:
    # The one that is looked at first for an id.
    made = {code: service.publish(edition=code)["id"] for code in CODES}
    primary = cluster.primary("it")
    for node in [primary, *(each for each in cluster.nodes if replica_of(each) == primary.port)]:
        node.kill()
    until(lambda: service.http.get("/readyz").json()["parts"]["feed"]["silent"] == ["it"], "one edition to be silent")
    with service.screen("ar") as screen, service.screen("it") as gone:
        screen.next()
        assert [gone.next()["type"] for _ in range(2)] == ["snapshot", "behind"], "readers keep what is in memory"
        assert service.change(made["ar"], 1, headline="Changed").status_code == 201
        screen.item(made["ar"], 2)
        assert service.act(made["ar"], "kill").status_code == 201
        screen.removal(made["ar"])
        screen.item(service.publish(edition="ar")["id"])
        # Nobody can say whether an unknown id is on the shard that is gone.
        for path in (f"/v1/items/{made['it']}", "/v1/items/unknown", "/v1/items"):
            answer = service.http.get(path)
            assert answer.status_code == 503, path
            assert int(answer.headers["retry-after"]) > 0
        answer = service.http.post("/v1/items", json={"edition": "it", "headline": "Refused"})
        assert answer.status_code == 503


def replica_of(node: Node) -> int:
    about = node.redis.info("replication")
    return int(about.get("master_port", 0))


def test_a_cluster_is_not_taken_for_a_single_redis(service: Service, cluster: Cluster) -> None:
    check_redis("STOPPRESS_REDIS_URL", cluster.url)
    with pytest.raises(SettingsError, match="is of a Cluster: expected a URL such as redis\\+cluster://"):
        check_redis("STOPPRESS_REDIS_URL", f"redis://127.0.0.1:{cluster.nodes[0].port}")
    with pytest.raises(SettingsError, match="knows a primary of slot"):
        check_redis("STOPPRESS_REDIS_URL", f"redis+cluster://127.0.0.1:{free_port()}")
    done = service.command("keys", "list", queue_url="")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "STOPPRESS_QUEUE_URL is not set" in done.stderr


def test_an_edition_moves_to_another_shard_while_it_is_published(service: Service, cluster: Cluster) -> None:
    source, target = cluster.primary("en"), cluster.primary("ar")
    with ExitStack() as stack:
        followers = {code: [stack.enter_context(Follower(service, code)) for _ in range(3)] for code in CODES}
        publishers = [stack.enter_context(Publisher(service, f"moved-{c}", edition=c, pause=0.1)) for c in CODES]
        until(lambda: all(len(each.accepted) > 5 for each in publishers), "lines before the move")
        move(cluster, key_slot(Keys.of("en").meta.encode()), source, target)
        until(lambda: cluster.primary("en", source) is target, "the old shard to know of the move", SECONDS)
        before = [len(each.accepted) for each in publishers]
        go_on(publishers, before, "lines after the move", SECONDS)
        check_histories(service, publishers, [each for group in followers.values() for each in group], SIZE)
        for code in ("it", "ar"):
            assert not any(each.of_type("behind") for each in followers[code])
    assert "the server ended the subscription" in service.log("web"), "nobody waited for three beats to be missed"
    channel = Keys.of("en").news
    assert target.redis.execute_command("PUBSUB SHARDNUMSUB", channel) == [(channel.encode(), 1)]
    assert source.redis.execute_command("PUBSUB SHARDNUMSUB", channel) == [(channel.encode(), 0)]
    for publisher in publishers:
        assert {status for status, _, _ in publisher.refused} <= {503}


def move(cluster: Cluster, slot: int, source: Node, target: Node) -> None:
    """Move a slot and its keys, as `redis-cli --cluster reshard` does."""
    ids = {node: node.redis.execute_command("CLUSTER MYID").decode() for node in (source, target)}
    target.redis.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
    source.redis.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
    while keys := source.redis.execute_command("CLUSTER GETKEYSINSLOT", slot, 3):
        source.redis.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
    for node in (target, source):
        node.redis.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])
    for node in cluster.nodes:
        if node.role() == "master" and node not in (source, target):
            node.redis.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])


def test_an_embargo_ends_on_a_cluster_to_the_moment(service: Service) -> None:
    with service.screen("ar") as screen:
        screen.next()
        # The clock that sleeps is woken by an alarm that another node published.
        moment = now_ms() + 2_000
        body = {"edition": "ar", "headline": "Later", "embargoedUntil": format_ms(moment)}
        made = service.http.post("/v1/items", json=body).json()
        assert made["state"] == "embargoed"
        screen.item(made["id"])
        assert moment <= now_ms() < moment + 10_000, "without the alarm the clock looks every 30 s"


def test_the_command_line_works_on_a_cluster(service: Service) -> None:
    key = service.key("ann", "editor")
    assert service.http.get("/v1/items", headers=key).status_code == 200
    assert "ann" in service.command("keys", "list").stdout
