"""The desk in a real browser on the real service, by the keyboard."""

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from service.store.sessions import Sessions
from service.store.users import Users
from tests.browser.at_desk import HOSTILE, PATIENCE_MS, compose, press, problems
from tests.integration.harness import Service


def test_the_life_of_a_line_by_the_keyboard(service: Service, context: BrowserContext, desk: Page) -> None:
    reader = context.new_page()
    reader.goto(f"http://127.0.0.1:{service.port}/?edition=en")
    expect(reader.locator("[data-edition=en] [data-state=live]")).to_be_attached(timeout=PATIENCE_MS)

    compose(desk, "Bridge closed")
    desk.keyboard.press("Control+Enter")
    line = reader.locator("li.line", has_text="Bridge closed")
    expect(line).to_have_count(1, timeout=PATIENCE_MS)
    expect(desk.locator("#done")).to_have_text("Published.", timeout=PATIENCE_MS)
    expect(desk.locator("#headline")).to_have_value("", timeout=PATIENCE_MS)
    board = desk.locator("#items li", has_text="Bridge closed")
    expect(board.locator(".reach")).to_have_text("on 1 of 1 screens", timeout=PATIENCE_MS)

    press(desk, "Bridge closed", "correct")
    desk.keyboard.press("Control+a")
    desk.keyboard.type("Bridge closed until Monday")
    desk.keyboard.press("Tab")
    desk.keyboard.type("Until Monday, not for good")
    desk.keyboard.press("Enter")
    expect(desk.locator("#edit")).to_be_hidden(timeout=PATIENCE_MS)
    expect(reader.locator("li.line", has_text="Until Monday, not for good")).to_have_count(1, timeout=PATIENCE_MS)

    press(desk, "Bridge closed until Monday", "withhold")
    expect(reader.locator("li.line")).to_have_count(0, timeout=PATIENCE_MS)
    press(desk, "Bridge closed until Monday", "release")
    desk.keyboard.type("It is closed until Monday")
    desk.keyboard.press("Enter")
    expect(reader.locator("li.line", has_text="Bridge closed until Monday")).to_have_count(1, timeout=PATIENCE_MS)

    press(desk, "Bridge closed until Monday", "kill")
    desk.keyboard.press("Enter")
    expect(desk.locator("#ask-trouble")).to_contain_text("reason", timeout=PATIENCE_MS)
    desk.keyboard.type("The source took it back")
    desk.keyboard.press("Enter")
    expect(reader.locator("li.line")).to_have_count(0, timeout=PATIENCE_MS)
    killed = desk.locator("#items li[data-state=killed]", has_text="The source took it back")
    expect(killed.locator(".reach")).to_have_text("still on 0 of 1 screens", timeout=PATIENCE_MS)
    reader.close()


def test_a_flash_asks_first_and_names_the_edition_and_the_audience(service: Service, desk: Page) -> None:
    compose(desk, "Ceasefire")
    desk.locator("#compose input[name=urgency][value='1']").check()
    with service.screens(3):
        expect(desk.locator("#audience")).to_have_text("3 screens connected", timeout=PATIENCE_MS)
        desk.locator("#headline").focus()
        desk.keyboard.press("Control+Enter")
        expect(desk.locator("#ask")).to_be_visible(timeout=PATIENCE_MS)
        expect(desk.locator("#ask-text")).to_have_text(
            "“Ceasefire” goes to 3 connected screens of English, now.", timeout=PATIENCE_MS
        )
        desk.keyboard.press("Escape")
        assert service.http.get("/v1/items?q=Ceasefire").json()["items"] == []
        expect(desk.locator("#headline")).to_have_value("Ceasefire", timeout=PATIENCE_MS)
        desk.locator("#headline").focus()
        desk.keyboard.press("Control+Enter")
        expect(desk.locator("#ask")).to_be_visible(timeout=PATIENCE_MS)
        desk.keyboard.press("Enter")
        expect(desk.locator("#done")).to_have_text("Published.", timeout=PATIENCE_MS)


def test_enter_alone_publishes_nothing(service: Service, desk: Page) -> None:
    compose(desk, "Half a thought")
    desk.keyboard.press("Enter")
    desk.locator("#speaker").focus()
    desk.keyboard.press("Enter")
    # What the desk sent before this would be on the board before it, too.
    after = service.publish("Published after it")
    expect(desk.locator(f"#items li[data-id='{after['id']}']")).to_have_count(1, timeout=PATIENCE_MS)
    expect(desk.locator("#headline")).to_have_value("Half a thought", timeout=PATIENCE_MS)
    assert service.http.get("/v1/items?q=Half").json()["items"] == []


def test_what_was_typed_outlives_a_lost_connection_and_a_reload(
    service: Service, context: BrowserContext, desk: Page
) -> None:
    compose(desk, "Typed on the train")
    context.set_offline(True)
    desk.keyboard.press("Control+Enter")
    expect(desk.locator("#trouble")).to_contain_text("does not answer", timeout=PATIENCE_MS)
    expect(desk.locator("#headline")).to_have_value("Typed on the train", timeout=PATIENCE_MS)
    expect(desk.locator("#state[data-live=false]")).to_be_attached(timeout=PATIENCE_MS)
    context.set_offline(False)
    desk.reload()
    expect(desk.locator("#headline")).to_have_value("Typed on the train", timeout=PATIENCE_MS)
    desk.locator("#headline").focus()
    desk.keyboard.press("Control+Enter")
    expect(desk.locator("#done")).to_have_text("Published.", timeout=PATIENCE_MS)
    assert len(service.http.get("/v1/items?q=train").json()["items"]) == 1


def test_a_line_whose_answer_was_lost_is_one_line_also_after_a_reload(service: Service, desk: Page) -> None:
    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    desk.route("**/v1/items", lose, times=1)
    compose(desk, "Sent, but was it heard?")
    desk.keyboard.press("Control+Enter")
    expect(desk.locator("#trouble")).to_contain_text("does not answer", timeout=PATIENCE_MS)
    desk.reload()
    expect(desk.locator("#headline")).to_have_value("Sent, but was it heard?", timeout=PATIENCE_MS)
    desk.locator("#headline").press("Control+Enter")
    expect(desk.locator("#done")).to_have_text("Published.", timeout=PATIENCE_MS)
    assert len(service.http.get("/v1/items?q=heard").json()["items"]) == 1


def test_a_session_that_ends_while_somebody_writes_takes_nothing_with_it(service: Service, desk: Page) -> None:
    compose(desk, "Written at the end of a shift")
    for key in service.redis.scan_iter("sp:session:*"):
        service.redis.delete(key)
    desk.keyboard.press("Control+Enter")
    expect(desk.locator("#trouble")).to_contain_text("Your session has ended", timeout=PATIENCE_MS)
    ticket = Sessions(service.redis, Users(service.redis)).make_ticket()
    desk.reload()
    expect(desk.locator("input[name=password]")).to_be_visible(timeout=PATIENCE_MS)
    desk.goto(f"http://127.0.0.1:{service.port}/desk/sign-in?ticket={ticket}")
    desk.get_by_role("button", name="Sign in").press("Enter")
    expect(desk.locator("#headline")).to_have_value("Written at the end of a shift", timeout=PATIENCE_MS)
    desk.locator("#headline").press("Control+Enter")
    expect(desk.locator("#done")).to_have_text("Published.", timeout=PATIENCE_MS)


def test_markup_in_every_field_stays_text(service: Service, desk: Page) -> None:
    compose(desk, HOSTILE)
    desk.locator("#speaker").fill(HOSTILE[:60])
    desk.locator("#outlet").fill(HOSTILE[:60])
    expect(desk.locator("#preview img")).to_have_count(0, timeout=PATIENCE_MS)
    desk.locator("#headline").focus()
    desk.keyboard.press("Control+Enter")
    expect(desk.locator("#items li", has_text=HOSTILE)).to_have_count(1, timeout=PATIENCE_MS)
    press(desk, HOSTILE, "kill")
    desk.keyboard.type(HOSTILE)
    desk.keyboard.press("Enter")
    expect(desk.locator("#items li[data-state=killed]", has_text=HOSTILE)).to_have_count(1, timeout=PATIENCE_MS)
    expect(desk.locator("#items img")).to_have_count(0, timeout=PATIENCE_MS)


def test_a_refused_line_says_why_and_stays(service: Service, desk: Page) -> None:
    compose(desk, "A story")
    desk.locator("#link").fill("javascript:alert(1)")
    desk.keyboard.press("Control+Enter")
    expect(desk.locator("#trouble")).to_contain_text("Link: expected an http", timeout=PATIENCE_MS)
    expect(desk.locator("#headline")).to_have_value("A story", timeout=PATIENCE_MS)


def test_a_draft_is_edited_and_published_by_the_keyboard(service: Service, desk: Page) -> None:
    compose(desk, "Roads clsoed")
    desk.locator("#draft").press("Enter")
    expect(desk.locator("#done")).to_have_text("Saved as draft.", timeout=PATIENCE_MS)
    press(desk, "Roads clsoed", "edit")
    desk.keyboard.press("Control+a")
    desk.keyboard.type("Roads closed")
    desk.keyboard.press("Enter")
    expect(desk.locator("#edit")).to_be_visible(timeout=PATIENCE_MS)
    desk.keyboard.press("Control+Enter")
    expect(desk.locator("#edit")).to_be_hidden(timeout=PATIENCE_MS)
    press(desk, "Roads closed", "publish")
    expect(desk.locator("#items li[data-state=live]", has_text="Roads closed")).to_have_count(1, timeout=PATIENCE_MS)
    assert service.http.get("/v1/items?q=clsoed").json()["items"] == []


def test_a_line_like_a_recent_one_is_shown_before_it_is_published(service: Service, desk: Page) -> None:
    service.publish("Earthquake of magnitude 6.1 hits southern Peru")
    killed = service.publish("Earthquake magnitude 6 hits southern Peru, killed")
    service.act(killed["id"], "kill", note="A test")
    compose(desk, "Southern Peru hit by magnitude 6.1 earthquake")
    expect(desk.locator("#similar li")).to_have_count(1, timeout=PATIENCE_MS)
    expect(desk.locator("#similar")).to_contain_text(
        "Earthquake of magnitude 6.1 hits southern Peru", timeout=PATIENCE_MS
    )
    desk.keyboard.press("Control+a")
    desk.keyboard.type("Election results are due tonight")
    expect(desk.locator("#similar li")).to_have_count(0, timeout=PATIENCE_MS)
    desk.keyboard.press("Control+Enter")
    expect(desk.locator("#done")).to_have_text("Published.", timeout=PATIENCE_MS)


def test_after_a_kill_the_counter_falls_to_zero_as_two_hundred_screens_confirm(service: Service, desk: Page) -> None:
    with service.screens(200) as screens:
        made = service.publish("Shown on two hundred screens")
        for screen in screens:
            screen.item(made["id"])
            screen.ack(screen.messages[-1]["cursor"])
        reach = desk.locator("#items li", has_text="Shown on two hundred screens").locator(".reach")
        expect(reach).to_have_text("on 200 of 200 screens", timeout=PATIENCE_MS)
        press(desk, "Shown on two hundred screens", "kill")
        desk.keyboard.type("It was never true")
        desk.keyboard.press("Enter")
        reach = desk.locator("#items li", has_text="It was never true").locator(".reach")
        expect(reach).to_have_text("still on 200 of 200 screens", timeout=PATIENCE_MS)
        for screen in screens:
            screen.removal(made["id"])
        for screen in screens[:120]:
            screen.ack(screen.messages[-1]["cursor"])
        expect(reach).to_have_text("still on 80 of 200 screens", timeout=PATIENCE_MS)
        for screen in screens[120:]:
            screen.ack(screen.messages[-1]["cursor"])
        expect(reach).to_have_text("still on 0 of 200 screens", timeout=PATIENCE_MS)


def test_the_count_warns_over_a_hundred_characters(desk: Page) -> None:
    compose(desk, "é" * 100)
    expect(desk.locator("#count")).to_have_text("100", timeout=PATIENCE_MS)
    desk.keyboard.type("x")
    expect(desk.locator("#count")).to_have_text("101 characters: over 100", timeout=PATIENCE_MS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_that_keeps_anyone_out(service: Service, desk: Page, scheme: str, width: int) -> None:
    desk.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    desk.set_viewport_size({"width": width, "height": 840})
    for state in ("draft", "live"):
        service.http.post("/v1/items", json={"edition": "en", "headline": f"A {state} line", "state": state})
    killed = service.publish("Killed for the audit of the page")
    service.act(killed["id"], "kill", note="A test")
    expect(desk.locator("#items li[data-state=killed]").first).to_be_attached(timeout=PATIENCE_MS)
    compose(desk, "é" * 101)
    desk.locator("#compose summary").click()
    assert problems(desk) == []
    desk.locator("#items [data-action=kill]").first.press("Enter")
    desk.keyboard.press("Enter")
    expect(desk.locator("#ask-trouble")).to_be_visible(timeout=PATIENCE_MS)
    assert problems(desk) == []
    desk.keyboard.press("Escape")
    desk.get_by_role("button", name="Sign out").press("Enter")
    expect(desk.locator("input[name=password]")).to_be_visible(timeout=PATIENCE_MS)
    assert problems(desk) == []
    # Nothing is wider than the screen of a phone.
    assert desk.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_pressing_twice_publishes_once_and_complains_of_nothing(service: Service, desk: Page) -> None:
    compose(desk, "Pressed twice in a hurry")
    desk.keyboard.press("Control+Enter")
    desk.keyboard.press("Control+Enter")
    expect(desk.locator("#done")).to_have_text("Published.", timeout=PATIENCE_MS)
    desk.keyboard.press("Control+Enter")
    expect(desk.locator("#trouble")).to_be_hidden(timeout=PATIENCE_MS)
    assert len(service.http.get("/v1/items?q=hurry").json()["items"]) == 1


def test_the_preview_is_the_ticker_with_the_last_five_lines(service: Service, desk: Page) -> None:
    for number in range(6):
        service.publish(f"Line number {number} of six")
    compose(desk, "The one that is being written")
    expect(desk.locator("#preview li.line")).to_have_count(6, timeout=PATIENCE_MS)
    expect(desk.locator("#preview li.line").first).to_contain_text("The one that is being written", timeout=PATIENCE_MS)
    expect(desk.locator("#preview")).to_contain_text("Line number 5 of six", timeout=PATIENCE_MS)
    assert desk.locator("#preview li.line").first.evaluate("node => getComputedStyle(node).display") == "grid"


def test_a_question_that_follows_at_once_on_another_is_answered(service: Service, desk: Page) -> None:
    made = service.publish("Asked about twice")
    row = f"#items li[data-id='{made['id']}'] [data-action=kill]"
    press(desk, "Asked about twice", "kill")
    expect(desk.locator("#ask")).to_be_visible(timeout=PATIENCE_MS)
    # In one go, as on a slow machine: the browser tells of the first one's end when the second is open.
    desk.evaluate(f"document.querySelector('#ask-no').click(); document.querySelector(`{row}`).click()")
    desk.evaluate("new Promise(setTimeout)")
    desk.keyboard.type("Wrong after all")
    desk.keyboard.press("Enter")
    expect(desk.locator("#items li[data-state=killed]", has_text="Wrong after all")).to_have_count(
        1, timeout=PATIENCE_MS
    )


def test_what_is_wrong_is_said_in_the_forms_words_at_its_field(service: Service, desk: Page) -> None:
    compose(desk, "A story")
    desk.locator("#link").fill("not a link")
    desk.locator("#headline").press("Control+Enter")
    expect(desk.locator("#trouble")).to_contain_text("Link: expected", timeout=PATIENCE_MS)
    expect(desk.locator("#link")).to_be_focused(timeout=PATIENCE_MS)
    desk.locator("#link").fill("")
    desk.locator("#headline").fill("x" * 301)
    expect(desk.locator("#count")).to_have_text("301 characters: at most 300", timeout=PATIENCE_MS)
    desk.locator("#headline").press("Control+Enter")
    expect(desk.locator("#trouble")).to_have_text(
        "Expected a headline of at most 300 characters, got 301.", timeout=PATIENCE_MS
    )
    desk.locator("#headline").fill("Pasted\nin two lines")
    desk.locator("#headline").press("Control+Enter")
    expect(desk.locator("#items li", has_text="Pasted in two lines")).to_have_count(1, timeout=PATIENCE_MS)
