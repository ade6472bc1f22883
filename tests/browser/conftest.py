"""A stand for the readers' page: the real page in a real Chromium, the socket's other end in the test's hand."""

import asyncio
import json
import queue
import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from service.domain.edition import Edition, default_editions
from service.domain.frames import Snapshot
from service.store.accounts import Role
from service.store.users import Users
from service.web.assets import Assets
from service.web.pages import render_tickers
from tests.browser.at_desk import enter, listen, sign_in
from tests.integration.harness import PASSWORD, Service, now_ms

PATIENCE_S = 10
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Connection:
    """One reader's socket, as its server holds it."""

    def __init__(self, stand: "Stand", websocket: WebSocket) -> None:
        self.cursor = websocket.query_params.get("cursor")
        self.edition = websocket.path_params["edition"]
        self.protocols = websocket.scope["subprotocols"]
        self.received: queue.Queue[dict[str, Any]] = queue.Queue()
        self.gone: queue.Queue[int] = queue.Queue()
        self._stand = stand
        self._websocket = websocket

    def send(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self.send_text(json.dumps(message))

    def send_text(self, text: str) -> None:
        self._stand.run(self._websocket.send_text(text))

    def close(self, code: int, reason: str = "") -> None:
        self._stand.run(self._websocket.close(code, reason))

    def next(self) -> dict[str, Any]:
        """The next message of the reader."""
        return self.received.get(timeout=PATIENCE_S)

    def ack_of(self, cursor: str) -> dict[str, Any]:
        """The reader's ack of `cursor`, passing over those of earlier ones."""
        while (message := self.next())["cursor"] != cursor:
            pass
        return message


class Stand:
    """The page's server. `connection()` waits for the next reader; `refuse` turns that many away before the upgrade."""

    def __init__(self) -> None:
        self.editions: list[Edition] = [default_editions()["en"]]
        self.snapshots: dict[str, Snapshot | None] = {}
        self.now_ms = time.time_ns() // 1_000_000
        self.refuse = 0
        self.refused: queue.Queue[str | None] = queue.Queue()
        self.connections: queue.Queue[Connection] = queue.Queue()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.host}/"
        app = Starlette(
            routes=[
                Route("/", self._page),
                WebSocketRoute("/v1/editions/{edition}/socket", self._socket),
                Mount("/static", Assets()),
            ]
        )
        config = uvicorn.Config(
            app, log_level="critical", lifespan="off", ws="websockets-sansio", ws_ping_interval=None
        )
        self._server = uvicorn.Server(config)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="stand")
        self._thread.start()

    def run(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_S)

    def connection(self) -> Connection:
        return self.connections.get(timeout=PATIENCE_S)

    def reset_all(self) -> None:
        """Break every connection as a crashed host does: a TCP reset, no goodbye."""

        async def reset() -> None:
            for protocol in list(self._server.server_state.connections):
                transport = protocol.transport
                raw = transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                transport.abort()

        self.run(reset())

    def stop(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        try:
            self._loop.run_until_complete(self._server.serve(sockets=[self._listener]))
        finally:
            self._listener.close()
            self._loop.close()

    async def _page(self, request: Request) -> HTMLResponse:
        wanted = request.query_params.get("edition")
        editions = [edition for edition in self.editions if wanted in (None, edition.code)]
        page = render_tickers(editions, self.snapshots, self.now_ms, {})
        return HTMLResponse(page, headers={"Content-Security-Policy": CSP})

    async def _socket(self, websocket: WebSocket) -> None:
        connection = Connection(self, websocket)
        if self.refuse:
            self.refuse -= 1
            self.refused.put(connection.cursor)
            await websocket.close()  # before accept: an HTTP 403
            return
        await websocket.accept("stoppress.v1")
        self.connections.put(connection)
        try:
            while True:
                connection.received.put(await websocket.receive_json())
        except (WebSocketDisconnect, RuntimeError) as error:  # RuntimeError: we closed it ourselves
            connection.gone.put(getattr(error, "code", 0))


# Started once for this package and stopped after it: while Playwright runs, no other test could have an event loop.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def stand() -> Iterator[Stand]:
    stand = Stand()
    yield stand
    stand.stop()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(timezone_id="Asia/Tokyo", viewport={"width": 1000, "height": 900})
    context.set_default_timeout(PATIENCE_S * 1000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, stand: Stand) -> Iterator[Page]:
    """A page whose every complaint fails the test: script errors, refusals by the CSP, console errors."""
    complaints: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    yield page
    page.close()
    # Chromium's own remark on a connection that failed is what some tests are about.
    assert [text for text in complaints if not text.startswith("WebSocket connection to ")] == []


@pytest.fixture
def desk(service: Service, context: BrowserContext) -> Iterator[Page]:
    """The desk of a chief who came by the one-time link. Any complaint of the browser fails the test."""
    troubles: list[str] = []
    page = context.new_page()
    listen(page, troubles)
    enter(service, page)
    yield page
    assert not troubles


@pytest.fixture
def signed(service: Service, browser: Browser) -> Iterator[Callable[[str, Role], Page]]:
    """Browsers of their own for editors by name; any complaint of one fails the test."""
    troubles: list[str] = []
    contexts: list[BrowserContext] = []

    def sign(name: str, role: Role) -> Page:
        users = Users(service.redis)
        if users.find(name) is None:
            users.add(name, role, PASSWORD, now_ms())
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 900}))
        page = contexts[-1].new_page()
        listen(page, troubles)
        sign_in(service, page, name)
        return page

    yield sign
    for context in contexts:
        context.close()
    assert not troubles
