"""The desk in a real browser on the real service, by the keyboard."""

from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from service.store.accounts import Role
from service.store.sessions import Sessions
from service.store.users import Users
from tests.integration.harness import DEADLINE_SECONDS, PASSWORD, Service, now_ms

PATIENCE_MS = DEADLINE_SECONDS * 1000
HOSTILE = "<img src=x onerror=alert(1)> \"quoted\" & 'so'"


def forget_attempts(service: Service) -> None:
    """One address may sign in thirty times in a quarter of an hour, and has all these tests to do so."""
    for key in service.redis.scan_iter("sp:attempts:*"):
        service.redis.delete(key)


@pytest.fixture
def desk(service: Service, context: BrowserContext) -> Iterator[Page]:
    """The desk of a chief who came by the one-time link. Any complaint of the browser fails the test."""
    troubles: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if "Content Security" in message.text else None)
    page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
    forget_attempts(service)
    ticket = Sessions(service.redis, Users(service.redis)).make_ticket()
    page.goto(f"http://127.0.0.1:{service.port}/desk/sign-in?ticket={ticket}")
    page.get_by_role("button", name="Sign in").press("Enter")
    expect(page.locator("#state[data-live=true]")).to_be_attached(timeout=PATIENCE_MS)
    yield page
    assert not troubles


def compose(page: Page, headline: str) -> None:
    page.locator("#headline").focus()
    page.keyboard.type(headline)


def press(page: Page, headline: str, action: str) -> None:
    """Press a line's button, as soon as no question is open any more."""
    expect(page.locator("dialog[open]")).to_have_count(0, timeout=PATIENCE_MS)
    page.locator("#items li", has_text=headline).locator(f"[data-action='{action}']").focus()
    page.keyboard.press("Enter")


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


def test_who_was_second_is_told_and_overwrites_nothing(service: Service, desk: Page) -> None:
    made = service.publish("First text")
    press(desk, "First text", "edit")
    assert service.change(made["id"], 1, headline="Text of the other editor").status_code == 201
    desk.keyboard.press("Control+a")
    desk.keyboard.type("Text of the second editor")
    desk.keyboard.press("Control+Enter")
    expect(desk.locator("#edit-trouble")).to_contain_text("changed the same: headline", timeout=PATIENCE_MS)
    expect(desk.locator("#edit-merge")).to_contain_text("theirs: Text of the other editor", timeout=PATIENCE_MS)
    expect(desk.locator("#edit-headline")).to_have_value("Text of the second editor", timeout=PATIENCE_MS)
    desk.keyboard.press("Escape")
    expect(desk.locator("#items li", has_text="Text of the other editor")).to_have_count(1, timeout=PATIENCE_MS)


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


def test_the_arabic_desk_writes_from_right_to_left(service: Service, desk: Page) -> None:
    desk.goto(f"http://127.0.0.1:{service.port}/desk?edition=ar")
    assert desk.locator("#headline").evaluate("element => getComputedStyle(element).direction") == "rtl"
    compose(desk, "افتتاح معرض الكتاب")
    assert desk.locator("#preview").evaluate("element => getComputedStyle(element).direction") == "rtl"


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


@pytest.fixture
def signed(service: Service, browser: Browser) -> Iterator[Callable[[str, Role], Page]]:
    """Browsers of their own for editors by name; any complaint of one fails the test."""
    troubles: list[str] = []
    contexts: list[BrowserContext] = []

    def sign(name: str, role: Role) -> Page:
        users = Users(service.redis)
        if users.find(name) is None:
            users.add(name, role, PASSWORD, now_ms())
        forget_attempts(service)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
        page.goto(f"http://127.0.0.1:{service.port}/desk/sign-in")
        page.locator("[name=name]").fill(name)
        page.locator("[name=password]").fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.locator("#state[data-live=true]")).to_be_attached(timeout=PATIENCE_MS)
        return page

    yield sign
    for context in contexts:
        context.close()
    assert not troubles


def test_two_editors_on_one_line_see_each_other_and_their_changes_are_merged(
    service: Service, signed: Callable[[str, Role], Page]
) -> None:
    made = service.publish("Storm reaches the coast", speaker="Weather Office")
    anna, boris = signed("anna", "editor"), signed("boris", "editor")
    press(anna, "Storm reaches", "edit")
    expect(boris.locator(f"#items li[data-id='{made['id']}'] .others")).to_have_text(
        "✎ anna has it open", timeout=PATIENCE_MS
    )
    press(boris, "Storm reaches", "edit")
    expect(boris.locator("#edit-others")).to_have_text("anna has this open, too.", timeout=PATIENCE_MS)
    expect(anna.locator("#edit-others")).to_have_text("boris has this open, too.", timeout=PATIENCE_MS)

    # Different fields: both changes stand, and who saves second sees what was laid under theirs.
    boris.locator("#edit-speaker").fill("Coast Guard")
    boris.keyboard.press("Control+Enter")
    expect(boris.locator("#edit")).to_be_hidden(timeout=PATIENCE_MS)
    anna.locator("#edit-headline").fill("Storm leaves the coast")
    anna.keyboard.press("Control+Enter")
    expect(anna.locator("#edit-trouble")).to_contain_text("boris saved first", timeout=PATIENCE_MS)
    expect(anna.locator("#edit-merge")).to_contain_text("theirs: Coast Guard", timeout=PATIENCE_MS)
    expect(anna.locator("#edit-speaker")).to_have_value("Coast Guard", timeout=PATIENCE_MS)
    expect(anna.locator("#edit-headline")).to_have_value("Storm leaves the coast", timeout=PATIENCE_MS)
    assert problems(anna) == []
    anna.locator("#edit-headline").press("Control+Enter")
    expect(anna.locator("#edit")).to_be_hidden(timeout=PATIENCE_MS)
    expect(boris.locator("#items li", has_text="Coast Guard: Storm leaves the coast")).to_have_count(
        1, timeout=PATIENCE_MS
    )

    # The same field: nobody's text is lost, and theirs is one key away.
    press(anna, "Storm leaves", "edit")
    press(boris, "Storm leaves", "edit")
    boris.locator("#edit-headline").fill("Storm is over")
    boris.keyboard.press("Control+Enter")
    expect(boris.locator("#edit")).to_be_hidden(timeout=PATIENCE_MS)
    anna.locator("#edit-headline").fill("Storm weakens")
    anna.keyboard.press("Control+Enter")
    expect(anna.locator("#edit-trouble")).to_contain_text("changed the same: headline", timeout=PATIENCE_MS)
    anna.get_by_role("button", name="Take theirs: headline").press("Enter")
    expect(anna.locator("#edit-headline")).to_have_value("Storm is over", timeout=PATIENCE_MS)
    anna.locator("#edit-headline").fill("Storm is over, ports open")
    anna.keyboard.press("Control+Enter")
    expect(boris.locator("#items li", has_text="Storm is over, ports open")).to_have_count(1, timeout=PATIENCE_MS)
    expect(boris.locator("#items .others:not(:empty)")).to_have_count(0, timeout=PATIENCE_MS)


def test_who_edits_what_was_killed_meanwhile_is_told_and_keeps_their_text(
    service: Service, signed: Callable[[str, Role], Page]
) -> None:
    made = service.publish("Soon to be killed")
    anna = signed("anna", "editor")
    press(anna, "Soon to be killed", "edit")
    service.act(made["id"], "kill", note="libel")
    anna.locator("#edit-headline").fill("A new text for it")
    anna.keyboard.press("Control+Enter")
    expect(anna.locator("#edit-trouble")).to_contain_text("killed", timeout=PATIENCE_MS)
    expect(anna.locator("#edit-headline")).to_have_value("A new text for it", timeout=PATIENCE_MS)


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


@pytest.fixture
def holding(own_service: Service, context: BrowserContext) -> Page:
    """A desk where what is published can be taken back for a minute."""
    own_service.start(undo_seconds="0,60,60,60")
    page = context.new_page()
    ticket = Sessions(own_service.redis, Users(own_service.redis)).make_ticket()
    page.goto(f"http://127.0.0.1:{own_service.port}/desk/sign-in?ticket={ticket}")
    page.get_by_role("button", name="Sign in").press("Enter")
    expect(page.locator("#state[data-live=true]")).to_be_attached(timeout=PATIENCE_MS)
    return page


def test_escape_takes_back_the_latest_whatever_way_it_was_published_and_after_a_reload(
    own_service: Service, holding: Page
) -> None:
    page = holding
    draft = {"edition": "en", "headline": "From the board", "state": "draft"}
    own_service.http.post("/v1/items", json=draft)
    press(page, "From the board", "publish")
    expect(page.locator("#holds li")).to_contain_text("From the board", timeout=PATIENCE_MS)
    # Where "publish" was pressed, a second press does not cut the hold short.
    page.keyboard.press("Enter")
    expect(page.locator("#items li[data-state=draft]", has_text="From the board")).to_have_count(1, timeout=PATIENCE_MS)
    press(page, "From the board", "edit")
    page.locator("#edit-publish").press("Enter")
    expect(page.locator("#holds li")).to_have_count(1, timeout=PATIENCE_MS)
    compose(page, "From the form")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#holds li")).to_have_count(2, timeout=PATIENCE_MS)
    page.reload()
    expect(page.locator("#holds li")).to_have_count(2, timeout=PATIENCE_MS)
    expect(page.locator("#holds kbd:visible")).to_have_count(1, timeout=PATIENCE_MS)
    compose(page, "Half a thought")
    page.keyboard.press("Escape")
    expect(page.locator("#items li[data-state=draft]", has_text="From the form")).to_have_count(1, timeout=PATIENCE_MS)
    expect(page.locator("#done")).to_contain_text("“From the form” is a draft", timeout=PATIENCE_MS)
    page.keyboard.press("Escape")
    expect(page.locator("#items li[data-state=draft]", has_text="From the board")).to_have_count(1, timeout=PATIENCE_MS)
    expect(page.locator("dialog[open]")).to_have_count(0, timeout=PATIENCE_MS)
    expect(page.locator("#headline")).to_have_value("Half a thought", timeout=PATIENCE_MS)
    assert own_service.http.get("/v1/editions/en/ticker").json()["items"] == []


def test_a_held_line_counts_down_and_escape_takes_it_back(own_service: Service, holding: Page) -> None:
    page = holding
    compose(page, "A slip of the finger")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#holds li")).to_contain_text("A slip of the finger", timeout=PATIENCE_MS)
    held = page.locator("#items li[data-state=scheduled]")
    expect(held.locator(".mark")).to_have_text("◷ held", timeout=PATIENCE_MS)
    expect(held.locator(".due")).to_contain_text("on air in", timeout=PATIENCE_MS)
    assert problems(page) == []
    page.keyboard.press("Escape")
    expect(page.locator("#edit")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("#holds li")).to_have_count(0, timeout=PATIENCE_MS)
    page.locator("#edit-headline").fill("As it was meant")
    page.locator("#edit-publish").press("Enter")
    expect(page.locator("#edit")).to_be_hidden(timeout=PATIENCE_MS)
    again = page.locator("#items li[data-state=scheduled]", has_text="As it was meant")
    again.locator("[data-action=publish]").press("Enter")
    expect(page.locator("#items li[data-state=live]", has_text="As it was meant")).to_have_count(1, timeout=PATIENCE_MS)
    texts = [item["headline"] for item in own_service.http.get("/v1/editions/en/ticker").json()["items"]]
    assert texts == ["As it was meant"]


def test_a_flash_takes_two_people_where_the_edition_says_so(own_service: Service, browser: Browser) -> None:
    file = own_service.folder / "editions.toml"
    file.write_text('[editions.en]\nname = "English"\ntwo_person = [1]\n')
    own_service.start(editions=str(file))
    pages = []
    for name in ("anna", "boris"):
        Users(own_service.redis).add(name, "chief", PASSWORD, now_ms())
        page = browser.new_context().new_page()
        page.goto(f"http://127.0.0.1:{own_service.port}/desk/sign-in")
        page.locator("[name=name]").fill(name)
        page.locator("[name=password]").fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.locator("#state[data-live=true]")).to_be_attached(timeout=PATIENCE_MS)
        pages.append(page)
    anna, boris = pages
    compose(anna, "Ceasefire")
    anna.locator("#compose [name=urgency][value='1']").check()
    expect(anna.locator("#main-word")).to_have_text("Hand in for approval", timeout=PATIENCE_MS)
    anna.locator("#headline").press("Control+Enter")
    expect(anna.locator("#done")).to_contain_text("waits for approval", timeout=PATIENCE_MS)
    expect(anna.locator("#items li[data-state=submitted]", has_text="Ceasefire")).to_have_count(1, timeout=PATIENCE_MS)
    expect(anna.locator("[data-action^=approve]")).to_have_count(0, timeout=PATIENCE_MS)
    press(boris, "Ceasefire", "approve and publish")
    expect(boris.locator("#ask-text")).to_contain_text("“Ceasefire”, flash, by anna", timeout=PATIENCE_MS)
    boris.keyboard.press("Enter")
    expect(anna.locator("#items li[data-state=live]", has_text="Ceasefire")).to_have_count(1, timeout=PATIENCE_MS)
    # Alone at 03:00.
    compose(anna, "Ceasefire broken")
    anna.locator("#compose [name=urgency][value='1']").check()
    anna.locator("#alone").press("Enter")
    expect(anna.locator("#ask-title")).to_have_text("A second person is needed", timeout=PATIENCE_MS)
    expect(anna.locator("#ask-text")).to_contain_text("Ceasefire broken", timeout=PATIENCE_MS)
    anna.keyboard.type("Nobody else is awake")
    anna.keyboard.press("Enter")
    expect(anna.locator("#items li[data-state=live]", has_text="Ceasefire broken")).to_have_count(
        1, timeout=PATIENCE_MS
    )
    for page in pages:
        page.context.close()


def test_either_an_embargo_or_a_schedule_is_set_and_the_board_counts_down(service: Service, desk: Page) -> None:
    compose(desk, "Budget speech")
    desk.locator("#compose summary").press("Enter")
    desk.locator("#compose [value=embargoedUntil]").check()
    # The browser of these tests lives in Tokyo.
    desk.locator("#at").fill("2027-03-01T12:00")
    expect(desk.locator("#at-utc")).to_have_text("Asia/Tokyo · 2027-03-01 03:00 UTC", timeout=PATIENCE_MS)
    desk.locator("#headline").press("Control+Enter")
    expect(desk.locator("#done")).to_contain_text("when its embargo ends", timeout=PATIENCE_MS)
    row = desk.locator("#items li[data-state=embargoed]", has_text="Budget speech")
    expect(row.locator(".due")).to_contain_text("on air in", timeout=PATIENCE_MS)
    press(desk, "Budget speech", "edit")
    desk.locator("#edit-form [value=publishAt]").check()
    desk.locator("#edit-headline").press("Control+Enter")
    row = desk.locator("#items li[data-state=scheduled]", has_text="Budget speech")
    expect(row).to_have_count(1, timeout=PATIENCE_MS)
    (item,) = service.http.get("/v1/items?q=Budget").json()["items"]
    assert (item["embargoedUntil"], item["publishAt"]) == (None, "2027-03-01T03:00:00.000Z")
    press(desk, "Budget speech", "stop")
    expect(desk.locator("#items li[data-state=draft]", has_text="Budget speech")).to_have_count(1, timeout=PATIENCE_MS)


@pytest.mark.parametrize("when", ["publishAt", "embargoedUntil"])
def test_a_time_that_was_forgotten_keeps_the_line_off_the_air(service: Service, desk: Page, when: str) -> None:
    compose(desk, f"Without its time: {when}")
    desk.locator("#compose summary").press("Enter")
    desk.locator(f"#compose [value={when}]").check()
    desk.locator("#headline").press("Control+Enter")
    expect(desk.locator("#trouble")).to_contain_text("Expected the time", timeout=PATIENCE_MS)
    expect(desk.locator("#at")).to_be_focused(timeout=PATIENCE_MS)
    assert service.http.get(f"/v1/items?q={when}").json()["items"] == []
    draft = {"edition": "en", "headline": f"A draft without its time: {when}", "state": "draft"}
    service.http.post("/v1/items", json=draft)
    press(desk, f"A draft without its time: {when}", "edit")
    desk.locator(f"#edit-form [value={when}]").check()
    desk.locator("#edit-publish").press("Enter")
    expect(desk.locator("#edit-trouble")).to_contain_text("Expected the time", timeout=PATIENCE_MS)
    (item,) = service.http.get(f"/v1/items?q={when}").json()["items"]
    assert item["state"] == "draft"


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


def test_markup_in_notes_names_and_reasons_stays_text(service: Service, signed: Callable[[str, Role], Page]) -> None:
    name = "<img src=x onerror=alert(2)>"
    page = signed(name, "chief")
    other = signed("boris", "editor")
    made = service.publish("A line with hostile notes")
    press(page, "A line with hostile notes", "correct")
    expect(other.locator(f"#items li[data-id='{made['id']}'] .others")).to_contain_text(name, timeout=PATIENCE_MS)
    page.keyboard.press("End")
    page.keyboard.type(" <b onclick=alert(3)>x</b>")
    page.keyboard.press("Tab")
    page.keyboard.type("<script>alert(4)</script>")
    page.keyboard.press("Enter")
    expect(other.locator("#preview .note")).to_contain_text("<script>alert(4)</script>", timeout=PATIENCE_MS)
    for each in (page, other):
        expect(each.locator("#items img, #items b, #items script, #preview script, #preview b")).to_have_count(
            0, timeout=PATIENCE_MS
        )
    other.goto(f"http://127.0.0.1:{service.port}/desk/wall")
    expect(other.locator("#wall")).to_contain_text("<b onclick=alert(3)>x</b>", timeout=PATIENCE_MS)
    expect(other.locator("#wall b, #wall img")).to_have_count(0, timeout=PATIENCE_MS)


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


def test_what_was_typed_over_a_line_comes_back_and_is_merged(service: Service, desk: Page) -> None:
    made = service.publish("Typed over")
    press(desk, "Typed over", "correct")
    desk.locator("#edit-headline").fill("Typed over it with care")
    desk.locator("#edit-note").fill("More care")
    desk.keyboard.press("Escape")
    assert service.change(made["id"], 1, speaker="Harbour Master").status_code == 201
    desk.reload()
    press(desk, "Typed over", "correct")
    expect(desk.locator("#edit-news")).not_to_be_empty(timeout=PATIENCE_MS)
    expect(desk.locator("#edit-headline")).to_have_value("Typed over it with care", timeout=PATIENCE_MS)
    expect(desk.locator("#edit-note")).to_have_value("More care", timeout=PATIENCE_MS)
    desk.keyboard.press("Control+Enter")
    expect(desk.locator("#edit-merge")).to_contain_text("theirs: Harbour Master", timeout=PATIENCE_MS)
    desk.locator("#edit-headline").press("Control+Enter")
    row = desk.locator("#items li", has_text="Harbour Master: Typed over it with care")
    expect(row).to_have_count(1, timeout=PATIENCE_MS)
    press(desk, "Typed over it", "edit")
    expect(desk.locator("#edit-news")).to_be_empty(timeout=PATIENCE_MS)
    desk.locator("#edit-headline").fill("Never mind")
    desk.locator("#edit-cancel").press("Enter")
    press(desk, "Typed over it", "edit")
    expect(desk.locator("#edit-headline")).to_have_value("Typed over it with care", timeout=PATIENCE_MS)


def test_an_open_line_tells_of_a_change_and_of_a_kill(service: Service, desk: Page) -> None:
    made = service.publish("Open while others work")
    press(desk, "Open while", "edit")
    service.change(made["id"], 1, headline="Open while others change it")
    expect(desk.locator("#edit-news")).to_contain_text("admin has changed this meanwhile", timeout=PATIENCE_MS)
    service.act(made["id"], "kill", note="wrong")
    expect(desk.locator("#edit-news")).to_contain_text("admin has killed this line", timeout=PATIENCE_MS)


def test_what_was_approved_is_what_was_looked_at(service: Service, desk: Page) -> None:
    draft = {"edition": "en", "headline": "President resigns", "state": "submitted"}
    made = service.http.post("/v1/items", json=draft).json()
    press(desk, "President resigns", "approve")
    service.change(made["id"], 1, headline="President does not resign")
    desk.keyboard.press("Enter")
    expect(desk.locator("#ask-trouble")).to_contain_text("somebody changed it first", timeout=PATIENCE_MS)
    expect(desk.locator("#ask-yes")).to_be_hidden(timeout=PATIENCE_MS)
    assert service.http.get(f"/v1/items/{made['id']}").json()["state"] == "submitted"


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


def test_a_line_is_no_translation_into_its_own_edition(service: Service, desk: Page) -> None:
    made = service.publish("Already English")
    desk.goto(f"http://127.0.0.1:{service.port}/desk?edition=en&of={made['id']}")
    expect(desk.locator("#trouble")).to_contain_text("one of English already", timeout=PATIENCE_MS)
    expect(desk.locator("#source")).to_be_hidden(timeout=PATIENCE_MS)


def test_a_contributor_hands_in_and_sees_no_button_that_they_may_not_press(
    service: Service, signed: Callable[[str, Role], Page]
) -> None:
    page = signed("connie", "contributor")
    compose(page, "From the newcomer")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#done")).to_contain_text("waits for approval", timeout=PATIENCE_MS)
    row = page.locator("#items li[data-state=submitted]", has_text="From the newcomer")
    assert row.locator("[data-action]").evaluate_all("nodes => nodes.map(node => node.dataset.action)") == ["edit"]
    made = service.publish("On the air by others")
    row = page.locator(f"#items li[data-id='{made['id']}']")
    expect(row).to_have_count(1, timeout=PATIENCE_MS)
    expect(row.locator("[data-action]")).to_have_count(0, timeout=PATIENCE_MS)


def problems(page: Page) -> list[str]:
    """What axe-core's rules say, WCAG 2.2 AA and good practice."""
    # Without its copies of our styles, which the policy refuses as it should.
    found = Axe().run(page, options={"preload": False}).response
    assert len(found["passes"]) > 10, "axe looked at nothing"
    return [f"{each['id']}: {node['html'][:150]}" for each in found["violations"] for node in each["nodes"]]
