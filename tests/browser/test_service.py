"""The ticker page on the real service: what an editor does is what a reader's browser shows."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration.harness import DEADLINE_SECONDS, Service

PATIENCE_MS = DEADLINE_SECONDS * 1000


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.goto(f"http://127.0.0.1:{service.port}/")
    for code in ("en", "ar", "es"):
        expect(opened.locator(f"[data-edition={code}] [data-state=live]")).to_be_attached(timeout=PATIENCE_MS)
    yield opened
    context.close()
    assert not troubles


def test_a_line_its_correction_and_its_kill_reach_the_page(service: Service, page: Page) -> None:
    made = service.publish("Ceasefire takes effect at midnight", urgency=1, speaker="Foreign Ministry")
    line = page.locator(f"[data-id='{made['id']}']")
    expect(line).to_contain_text("Foreign Ministry", timeout=PATIENCE_MS)
    expect(line).to_contain_text("Ceasefire takes effect at midnight")
    service.change(made["id"], 1, "correct", headline="Ceasefire takes effect at noon", note="At noon, not at midnight")
    expect(line).to_contain_text("Ceasefire takes effect at noon", timeout=PATIENCE_MS)
    expect(line).to_contain_text("At noon, not at midnight")
    service.act(made["id"], "kill")
    expect(line).to_have_count(0, timeout=PATIENCE_MS)


def test_an_arabic_line_is_read_from_right_to_left(service: Service, page: Page) -> None:
    made = service.publish("افتتاح معرض الكتاب", edition="ar", speaker="وزارة الثقافة")
    line = page.locator(f"[data-edition=ar] [data-id='{made['id']}']")
    expect(line).to_contain_text("افتتاح معرض الكتاب", timeout=PATIENCE_MS)
    assert line.evaluate("element => getComputedStyle(element).direction") == "rtl"


def test_the_page_goes_on_after_the_process_was_replaced(service: Service, page: Page) -> None:
    before = service.publish("Before the restart")
    expect(page.locator(f"[data-id='{before['id']}']")).to_have_count(1, timeout=PATIENCE_MS)
    service.stop("web")
    service.start("web")
    after = service.publish("After the restart")
    expect(page.locator(f"[data-id='{after['id']}']")).to_have_count(1, timeout=PATIENCE_MS)
    expect(page.locator(f"[data-id='{before['id']}']")).to_have_count(1)


def test_confirmed_lines_are_counted(service: Service, page: Page) -> None:
    made = service.publish("Seen by one browser")
    expect(page.locator(f"[data-id='{made['id']}']")).to_have_count(1, timeout=PATIENCE_MS)

    def confirmed() -> int:
        reach = service.http.get(f"/v1/items/{made['id']}").json()["reach"]
        count: int = reach["confirmed"]
        return count

    for _ in range(200):
        if confirmed():
            break
        page.wait_for_timeout(50)
    assert confirmed() == 1
