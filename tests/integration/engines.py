"""Engines: real Redis servers behind Sentinels, or in a Cluster, on free ports of loopback, for one test at a time."""

import os
import random
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError
from redis.retry import Retry

from service.store.keys import Keys
from tests.integration.harness import until

# Elections take seconds by themselves, and the machine may do other things.
SECONDS = 60.0


@cache
def redis_server() -> str | None:
    """A redis-server of 7.0 or later, as Debian ships it."""
    # A virtualenv that is active has the older one of a wheel in front.
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = shutil.which("redis-server", path=folder)
        if path is not None:
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
            if int(said.partition("v=")[2].partition(".")[0]) >= 7:
                return path
    return None


# In CI there is one: without it these tests fail.
needs_redis_7 = pytest.mark.skipif(
    redis_server() is None and not os.environ.get("CI"),
    reason="expected a redis-server of 7.0 or later on PATH (Debian: redis-server), found none",
)


def own_port() -> int:
    """A port that no connection takes while its server is dead: below those that systems give to clients."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in taken:
                taken.add(port)
                return port


# What this process has given out: a server that is not started yet listens on none.
taken: set[int] = set()


class Node:
    """One server process."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.folder = folder
        self.port = own_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        self.redis = Redis(port=self.port, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    def start(self, *arguments: str) -> None:
        """Start it, and wait until it answers."""
        path = redis_server()
        assert path is not None
        options: dict[str, object] = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "save": ""}
        options |= self.options
        command = [path, *arguments]
        for name, value in options.items() if not arguments else ():
            command += [f"--{name.replace('_', '-')}", *str(value).split(" ")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, process_group=0)
        until(self.answers, f"the server on {self.port} to answer", SECONDS)

    def answers(self) -> bool:
        """Whether it serves."""
        try:
            return bool(self.redis.ping())
        except RedisError:
            return False

    def role(self) -> str:
        """What it takes itself for."""
        try:
            return str(self.redis.role()[0].decode())
        except RedisError:
            return "none"

    def send(self, number: int) -> None:
        """Send a signal."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it at once, as a machine that loses its power does."""
        self.send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def end(self) -> None:
        """End it, whatever state it is in."""
        self.redis.close()
        if self.process is not None and self.process.poll() is None:
            self.kill()


class Engine:
    """Several servers; stopped when the block ends."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.url = ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.end()

    def start(self) -> None:
        """Start all of them."""
        raise NotImplementedError

    def node(self, port: int) -> Node:
        """The server on a port."""
        return next(node for node in self.nodes if node.port == port)


class Sentinels(Engine):
    """A primary, two replicas and three Sentinels that watch over them."""

    def __init__(self, folder: Path, **options: object) -> None:
        super().__init__()
        common: dict[str, object] = {"appendonly": "yes", "appendfsync": "always", "repl-diskless-sync-delay": 0}
        self.nodes = [Node(folder / f"redis{number}", **common | options) for number in range(3)]
        self.sentinels = [Node(folder / f"sentinel{number}") for number in range(3)]
        self.url = "redis+sentinel://" + ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels) + "/news"

    def start(self) -> None:
        first, *replicas = self.nodes
        first.start()
        for node in replicas:
            node.options |= {"replicaof": f"127.0.0.1 {first.port}"}
            node.start()
        until(lambda: first.redis.info("replication")["connected_slaves"] == 2, "two replicas", SECONDS)
        for node in replicas:
            until(
                lambda node=node: node.redis.info("replication")["master_link_status"] == "up",
                "a replica to be in step",
                SECONDS,
            )
        for sentinel in self.sentinels:
            conf = sentinel.folder / "sentinel.conf"
            conf.write_text(
                f"port {sentinel.port}\nbind 127.0.0.1\ndir {sentinel.folder}\n"
                f"sentinel monitor news 127.0.0.1 {first.port} 2\n"
                "sentinel down-after-milliseconds news 1000\n"
                "sentinel failover-timeout news 5000\nsentinel parallel-syncs news 2\n"
            )
            sentinel.start(str(conf), "--sentinel")
        for sentinel in self.sentinels:
            until(lambda each=sentinel: self._sees_all(each), "a Sentinel to see all", SECONDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sentinel in self.sentinels:
            sentinel.end()
        super().__exit__(kind, error, trace)

    def _sees_all(self, sentinel: Node) -> bool:
        about: dict[str, Any] = sentinel.redis.sentinel_master("news")
        return bool(about["num-slaves"] == 2 and about["num-other-sentinels"] == 2)

    def primary(self) -> Node:
        """Whom the Sentinels name."""
        _, port = self.sentinels[0].redis.sentinel_get_master_addr_by_name("news")
        return self.node(int(port))

    def promoted(self, old: Node) -> Node:
        """Wait for another primary than `old`."""
        return until(
            lambda: each if (each := self.primary()) is not old and each.role() == "master" else None,
            "a replica to be promoted",
            SECONDS,
        )


class Cluster(Engine):
    """Three shards, each a primary and a replica."""

    def __init__(self, folder: Path, **options: object) -> None:
        super().__init__()
        common: dict[str, object] = {
            "appendonly": "yes",
            "appendfsync": "always",
            "repl-diskless-sync-delay": 0,
            "cluster-enabled": "yes",
            "cluster-node-timeout": 1500,
            # A shard that fails takes no other with it.
            "cluster-require-full-coverage": "no",
            # A replica that was started a moment ago may stand for election all the same.
            "cluster-replica-validity-factor": 0,
        }
        for number in range(6):
            # The bus has a port of its own: ten thousand above the other may be taken.
            self.nodes.append(Node(folder / f"node{number}", **common | {"cluster-port": own_port()} | options))
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{each.port}" for each in self.nodes[:3])

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        hosts = [f"127.0.0.1:{node.port}" for node in self.nodes]
        self.cli("--cluster", "create", *hosts, "--cluster-replicas", "1", "--cluster-yes")
        self.mend()

    def mend(self) -> None:
        """Start what is not running, and wait until each shard has its replica."""
        for node in self.nodes:
            if node.process is None or node.process.poll() is not None:
                node.start()
        for node in self.nodes:
            until(lambda node=node: self._is_whole(node), "the Cluster to be whole", SECONDS)

    def _is_whole(self, node: Node) -> bool:
        if node.redis.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            return False
        slots = node.redis.execute_command("CLUSTER SLOTS")
        linked = node.role() == "master" or node.redis.info("replication")["master_link_status"] == "up"
        return linked and len(slots) >= 3 and all(len(nodes) == 2 for _, _, *nodes in slots)

    def cli(self, *arguments: str) -> str:
        """Run redis-cli, as an operator does."""
        server = redis_server()
        assert server is not None
        path = Path(server).with_name("redis-cli")
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def primary(self, edition: str, asked: Node | None = None) -> Node:
        """The primary of an edition's slot."""
        slot = key_slot(Keys.of(edition).meta.encode())
        for node in [asked] if asked else self.nodes:
            try:
                slots = node.redis.execute_command("CLUSTER SLOTS")
            except RedisError:
                continue
            for first, last, (_, port, *_), *_ in slots:
                if int(first) <= slot <= int(last):
                    return self.node(int(port))
        raise AssertionError(f"no node knows the slot of {edition}")

    def promoted(self, edition: str, old: Node) -> Node:
        """Wait until every other node knows another primary than `old` for an edition."""

        def look() -> Node | None:
            known = {self.primary(edition, node) for node in self.nodes if node is not old and node.answers()}
            return known.pop() if len(known) == 1 and old not in known else None

        return until(look, "a replica to be promoted", SECONDS)
