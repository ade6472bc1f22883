"""Stoppress itself, as it comes: every feature on, `appendfsync always`, all of it on one core with one web process."""

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from bench.peers import Peer
from bench.process import pin
from tests.integration.harness import KEY, Service

# What an editor gives; all else of an item is the service's own.
GIVEN = ("headline", "speaker", "link", "section", "regions", "urgency")


class Stoppress(Peer):
    """The whole service. `pids` are the web process alone: what stands beside a peer, which is given finished text."""

    name = "Stoppress"
    path = "/v1/editions/en/socket"
    in_order = False

    def start(self, port: int, snapshot: bytes, folder: Path, core: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stoppress-bench-", dir=folder)
        self.port = port
        self.service = Service(Path(self._folder.name))
        self.service.__enter__()
        self.service.port = port
        self.service.http.base_url = httpx.URL(f"http://127.0.0.1:{port}")
        self.service.start()
        pin(self.pids() + self.others(), core)
        self._editors = ThreadPoolExecutor(10)
        self._calls = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {KEY}"},
            limits=httpx.Limits(max_connections=10, max_keepalive_connections=10),
            timeout=30,
            trust_env=False,
        )
        # As many lines as the other servers' snapshots hold.
        for item in json.loads(snapshot)["items"]:
            self._post(item)

    def publish(self, payloads: list[bytes]) -> None:
        items = [json.loads(payload)["item"] for payload in payloads]
        if len(items) == 1:
            self._post(items[0])
        else:
            # As many editors at once: the API takes one line a call.
            list(self._editors.map(self._post, items))

    def _post(self, item: dict[str, object]) -> None:
        self._calls.post("/v1/items", json={"edition": "en"} | {key: item[key] for key in GIVEN}).raise_for_status()

    def pids(self) -> list[int]:
        return [self.service.processes["web"].pid]

    def others(self) -> list[int]:
        """What carries a line to the web process: Redis, worker, clock."""
        redis = self.service.redis_server.pid
        assert redis is not None
        return [redis, *(self.service.processes[name].pid for name in ("worker", "clock"))]

    def stop(self) -> None:
        self._editors.shutdown()
        self._calls.close()
        self.service.__exit__(None, None, None)
        self._folder.cleanup()
