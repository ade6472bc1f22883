"""Inside: a web process within the test's own, so that what it holds can be looked at."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn

from service.app import Gateway, create_app
from service.gateway.adopt import AdoptingProtocol
from service.settings import Settings
from service.web.server import listen
from tests.integration.harness import KEY, Service, until


@dataclass(frozen=True)
class Inside:
    """A running web process and its readers' side. Look, do not touch: it runs in a thread of its own."""

    port: int
    gateway: Gateway
    server: uvicorn.Server


@contextmanager
def inside(service: Service, *, turn_seconds: float = 1.0, adopting: bool = True, **settings: str) -> Iterator[Inside]:
    """A web process on the service's Redis. Keyword names are settings; `turn_seconds` is the pace of its wheel."""
    given = {"redis_url": service.redis_server.url, "drain_seconds": "0", "admin_key": KEY} | settings
    config = uvicorn.Config(
        create_app(
            Settings.from_env({f"STOPPRESS_{name.upper()}": value for name, value in given.items()}),
            turn_seconds=turn_seconds,
        ),
        http=AdoptingProtocol if adopting else "httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        loop="uvloop",
        log_config=None,
        lifespan="on",
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    listening = listen("127.0.0.1", 0)
    port: int = listening.getsockname()[1]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        until(lambda: server.started, "the process to start")
        address = f"http://127.0.0.1:{port}/v1/editions/en/ticker"
        until(lambda: httpx.get(address, trust_env=False).status_code == 200, "its ticker to be loaded")
        yield Inside(port, server.lifespan.state["gateway"], server)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server did not end with its readers still there"
