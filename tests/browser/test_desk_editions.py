"""The desk across editions: translations, right to left, and the wallboard."""

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.at_desk import PATIENCE_MS, compose, press, problems
from tests.integration.harness import Service


def test_a_translation_carries_urgency_and_link_over_and_a_kill_takes_it_along(service: Service, desk: Page) -> None:
    first = service.publish(
        "Bridge closed after quake", urgency=2, link="https://example.org/bridge", section="economy"
    )
    desk.locator(f"#items li[data-id='{first['id']}']").get_by_role("link", name="Translate into Español").press(
        "Enter"
    )
    expect(desk.locator("#source-text")).to_have_text("Bridge closed after quake", timeout=PATIENCE_MS)
    expect(desk.locator("#compose [name=urgency][value='2']")).to_be_checked(timeout=PATIENCE_MS)
    expect(desk.locator("#link")).to_have_value("https://example.org/bridge", timeout=PATIENCE_MS)
    compose(desk, "Puente cerrado tras el sismo")
    desk.reload()
    expect(desk.locator("#source-text")).to_have_text("Bridge closed after quake", timeout=PATIENCE_MS)
    desk.locator("#headline").press("Control+Enter")
    expect(desk.locator("#done")).to_have_text("Published.", timeout=PATIENCE_MS)
    expect(desk.locator("#source")).to_be_hidden(timeout=PATIENCE_MS)
    row = desk.locator("#items li", has_text="Puente cerrado")
    expect(row.get_by_role("link", name="Open its sister in English")).to_have_count(1, timeout=PATIENCE_MS)
    press(desk, "Puente cerrado", "correct")
    expect(desk.locator("#edit-sisters")).to_contain_text("Bridge closed after quake", timeout=PATIENCE_MS)
    desk.keyboard.type(", según la policía")
    desk.keyboard.press("Tab")
    desk.keyboard.type("Falta la fuente")
    desk.keyboard.press("Enter")
    expect(desk.locator("#done")).to_contain_text("The same line stands in English", timeout=PATIENCE_MS)
    desk.locator("#done a").press("Enter")
    expect(desk.locator("#edit")).to_be_visible(timeout=PATIENCE_MS)
    expect(desk.locator("#edit-headline")).to_have_value("Bridge closed after quake", timeout=PATIENCE_MS)
    desk.keyboard.press("Escape")
    press(desk, "Bridge closed after quake", "kill")
    expect(desk.locator("#ask-also-label")).to_contain_text("Español", timeout=PATIENCE_MS)
    desk.keyboard.type("There was no quake")
    desk.keyboard.press("Enter")
    expect(desk.locator("#done")).to_have_text("Killed, and in Español.", timeout=PATIENCE_MS)
    assert service.http.get("/v1/editions/es/ticker").json()["items"] == []


def test_a_line_is_no_translation_into_its_own_edition(service: Service, desk: Page) -> None:
    made = service.publish("Already English")
    desk.goto(f"http://127.0.0.1:{service.port}/desk?edition=en&of={made['id']}")
    expect(desk.locator("#trouble")).to_contain_text("one of English already", timeout=PATIENCE_MS)
    expect(desk.locator("#source")).to_be_hidden(timeout=PATIENCE_MS)


def test_the_arabic_desk_writes_from_right_to_left(service: Service, desk: Page) -> None:
    desk.goto(f"http://127.0.0.1:{service.port}/desk?edition=ar")
    assert desk.locator("#headline").evaluate("element => getComputedStyle(element).direction") == "rtl"
    compose(desk, "افتتاح معرض الكتاب")
    assert desk.locator("#preview").evaluate("element => getComputedStyle(element).direction") == "rtl"


def test_the_wallboard_shows_every_edition_and_has_nothing_to_press(
    service: Service, context: BrowserContext, desk: Page
) -> None:
    wall = context.new_page()
    wall.goto(f"http://127.0.0.1:{service.port}/desk/wall")
    expect(wall.locator("#wall section .state[data-live=true]")).to_have_count(3, timeout=PATIENCE_MS)
    made = service.publish("افتتاح معرض الكتاب", edition="ar", urgency=1)
    line = wall.locator("section[data-edition=ar] li", has_text="افتتاح معرض الكتاب")
    expect(line).to_have_count(1, timeout=PATIENCE_MS)
    assert line.evaluate("node => getComputedStyle(node).direction") == "rtl"
    assert wall.locator("main button, main a, main input").count() == 0
    assert problems(wall) == []
    with service.screen("ar") as screen:
        screen.next()
        screen.ack(screen.messages[-1]["cursor"])
        expect(line.locator(".reach")).to_have_text("1 of 1", timeout=PATIENCE_MS)
        service.act(made["id"], "kill", note="wrong")
        dying = wall.locator("section[data-edition=ar] li[data-state=killed]")
        expect(dying.locator(".reach")).to_have_text("1 left of 1", timeout=PATIENCE_MS)
        screen.removal(made["id"])
        screen.ack(screen.messages[-1]["cursor"])
        expect(dying).to_have_count(0, timeout=PATIENCE_MS)
    wall.close()
