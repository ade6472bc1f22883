"""Stage: the whole service on one core, its readers and editors on another."""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.crowd import Crowd
from bench.editor import Editor
from bench.peers import handshake
from bench.process import pin
from tests.integration.harness import Service

# As many as a ticker has: who comes gets a snapshot of the usual length.
LINES = 10
EDITIONS = ("en", "ar", "es")


def cores() -> tuple[int, int]:
    """The service's core, and that of all else; one and the same where there is one only."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


class Stage:
    """Stoppress as it comes, with a full ticker in each edition, and this process on the readers' core."""

    def __init__(self, **settings: str) -> None:
        self._settings = settings
        self.core, self.other = cores()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stoppress-bench-")))
            self.service = stack.enter_context(Service(self.folder, **self._settings))
            self.service.start()
            pin([self.web, *self.others], self.core)
            allowed = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {self.other})
            stack.callback(os.sched_setaffinity, 0, allowed)
            self.editor = Editor(self.service.port)
            stack.callback(self.editor.close)
            for _ in range(LINES):
                for edition in EDITIONS:
                    self.editor.publish(edition)
            for edition in EDITIONS:
                self.service.publish(edition=edition)  # returns when all are in the log
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def web(self) -> int:
        """The web process, or the one whose children they are."""
        return self.service.processes["web"].pid

    @property
    def others(self) -> list[int]:
        """The processes that carry a line to the web process: Redis, worker, clock."""
        redis = self.service.redis_server.pid
        assert redis is not None
        return [redis, *(self.service.processes[name].pid for name in ("worker", "clock"))]

    def crowd(self) -> Crowd:
        """A crowd with nobody in it yet, on the readers' core."""
        return self._stack.enter_context(Crowd(self.folder, self.other))

    def aim(self, crowd: Crowd, edition: str = "en", query: str = "") -> None:
        """Have those who come from now on read this."""
        crowd.aim(self.service.port, handshake(self.service.port, f"/v1/editions/{edition}/socket?{query}"))
