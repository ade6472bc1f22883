"""Several people at the desk: on one line at once, and where it takes two."""

from collections.abc import Callable

from playwright.sync_api import Browser, Page, expect

from service.store.accounts import Role
from service.store.users import Users
from tests.browser.at_desk import PATIENCE_MS, compose, press, problems, sign_in
from tests.integration.harness import PASSWORD, Service, now_ms


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


def test_a_flash_takes_two_people_where_the_edition_says_so(own_service: Service, browser: Browser) -> None:
    file = own_service.folder / "editions.toml"
    file.write_text('[editions.en]\nname = "English"\ntwo_person = [1]\n')
    own_service.start(editions=str(file))
    pages = []
    for name in ("anna", "boris"):
        Users(own_service.redis).add(name, "chief", PASSWORD, now_ms())
        page = browser.new_context().new_page()
        sign_in(own_service, page, name)
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
    note = other.locator("#preview .note", has_text="<script>alert(4)</script>")
    expect(note).to_have_count(1, timeout=PATIENCE_MS)
    for each in (page, other):
        expect(each.locator("#items img, #items b, #items script, #preview script, #preview b")).to_have_count(
            0, timeout=PATIENCE_MS
        )
    other.goto(f"http://127.0.0.1:{service.port}/desk/wall")
    expect(other.locator("#wall")).to_contain_text("<b onclick=alert(3)>x</b>", timeout=PATIENCE_MS)
    expect(other.locator("#wall b, #wall img")).to_have_count(0, timeout=PATIENCE_MS)
