"""Signing in by OpenID Connect in a real browser, which knows one site from another."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, expect

from tests.fakes.oidc import CLIENT_ID, CLIENT_SECRET, FakeProvider
from tests.integration.harness import DEADLINE_SECONDS, Service

PATIENCE_MS = DEADLINE_SECONDS * 1000


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    # To a browser, localhost and 127.0.0.1 are two sites.
    with FakeProvider("localhost") as running:
        running.user = {"sub": "1", "preferred_username": "anna", "roles": ["editor"]}
        running.asks = True
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, provider: FakeProvider) -> Iterator[Service]:
    settings = {"oidc_issuer": provider.issuer, "oidc_client_id": CLIENT_ID, "oidc_client_secret": CLIENT_SECRET}
    with Service(tmp_path_factory.mktemp("service"), **settings, oidc_name="Newsroom login") as running:
        running.start()
        yield running


def test_the_whole_way_by_the_keyboard_ends_at_the_desk(service: Service, context: BrowserContext) -> None:
    troubles: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if "Content Security" in message.text else None)
    desk = f"http://127.0.0.1:{service.port}/desk"
    page.goto(desk)
    expect(page).to_have_url(f"{desk}/sign-in")
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
    assert found.violations_count == 0, found.generate_report()
    page.get_by_role("link", name="Sign in with Newsroom login").press("Enter")
    expect(page).to_have_title("Provider", timeout=PATIENCE_MS)
    page.get_by_role("link", name="Approve").press("Enter")
    expect(page).to_have_url(desk, timeout=PATIENCE_MS)
    expect(page.locator("#state[data-live=true]")).to_be_attached(timeout=PATIENCE_MS)
    expect(page.get_by_text("anna").first).to_be_visible()
    page.close()
    assert not troubles
