"""Stoppress itself, as it comes: every feature on, `appendfsync always`, all of it on one core with one web process."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import lines
from bench.editor import Editor
from bench.peers import Peer
from bench.stage import Stage

# So many may call at once.
EDITORS = 10


class Stoppress(Peer):
    """The whole service. `pids` are the web process alone: what stands beside a peer, which is given finished text."""

    name = "Stoppress"
    path = "/v1/editions/en/socket"
    in_order = False

    def start(self, port: int, snapshot: bytes, folder: Path, core: int) -> None:
        # It has a folder and a port of its own, and as many lines as `snapshot`.
        self.stage = Stage().__enter__()
        self.port = self.stage.service.port
        self._editors = [Editor(self.port) for _ in range(EDITORS)]
        self._calls = ThreadPoolExecutor(EDITORS)

    def publish(self, payloads: list[bytes]) -> None:
        # The API takes one line a call: as many editors at once.
        pairs = zip(self._editors, map(lines.mark_of, payloads), strict=False)
        list(self._calls.map(lambda pair: pair[0].publish(mark_ns=pair[1]), pairs))

    def pids(self) -> list[int]:
        return [self.stage.web]

    def others(self) -> list[int]:
        return self.stage.others

    def stop(self) -> None:
        self._calls.shutdown()
        for editor in self._editors:
            editor.close()
        self.stage.__exit__(None, None, None)
