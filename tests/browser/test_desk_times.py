"""The desk's times in a real browser: holds, embargoes and schedules."""

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.at_desk import PATIENCE_MS, compose, enter, press, problems
from tests.integration.harness import Service


@pytest.fixture
def holding(own_service: Service, context: BrowserContext) -> Page:
    """A desk where what is published can be taken back for a minute."""
    own_service.start(undo_seconds="0,60,60,60")
    page = context.new_page()
    enter(own_service, page)
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
