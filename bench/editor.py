"""Editor: one newsroom's connection to the API, so lean that the service is what is measured."""

import json
import time
from http.client import HTTPConnection
from typing import Any

from bench import lines
from tests.integration.harness import KEY

ANSWER_SECONDS = 30
# Sooner than the service ends a connection that says nothing.
IDLE_SECONDS = 3.0


class Editor:
    """A chief at their desk. One call at a time."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        self._used = time.monotonic()

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Make a call and return its answer; whatever is refused is an error."""
        if time.monotonic() - self._used > IDLE_SECONDS:
            self._connection.close()
        content = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, content, {"authorization": f"Bearer {KEY}"})
        response = self._connection.getresponse()
        answer = response.read()
        self._used = time.monotonic()
        assert response.status < 300, f"{method} {path}: {response.status} {answer!r}"
        document: dict[str, Any] = json.loads(answer)
        return document

    def publish(self, edition: str = "en", mark_ns: int | None = None) -> str:
        """Publish a line that says when this call began, or another moment; return its id."""
        line: str = self.call("POST", "/v1/items", lines.draft(mark_ns or time.time_ns(), edition))["id"]
        return line

    def close(self) -> None:
        """Hang up."""
        self._connection.close()
