"""Logs: a line is one write, so that the lines of several processes on one pipe are not mixed."""

import sys

import pytest
import structlog

from service import logs
from service.settings import Settings


class Pipe:
    """Standard error that keeps what was written, each time."""

    def __init__(self) -> None:
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_line_of_the_log_is_one_write(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    pipe = Pipe()
    monkeypatch.setattr(sys, "stderr", pipe)
    try:
        logs.configure(Settings.from_env({"STOPPRESS_LOG_FORMAT": form}))
        structlog.get_logger("a logger of its own").warning("news lost", error="gone")
        assert len(pipe.writes) == 1
        assert pipe.writes[0].endswith("\n")
        assert "news lost" in pipe.writes[0]
    finally:
        structlog.reset_defaults()
