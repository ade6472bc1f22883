"""The desk's memory in a real browser: by the keyboard, for screen readers, from right to left, and on paper."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.at_desk import PATIENCE_MS, problems
from tests.integration.harness import Service


def root(service: Service) -> str:
    return f"http://127.0.0.1:{service.port}"


@pytest.fixture(scope="module")
def bridge(service: Service) -> str:
    """A line with a history."""
    made = service.publish("Bridge over the Rhine closed", speaker="City of Cologne", outlet="Radio Köln")
    service.change(made["id"], 1, headline="Bridge over the Rhine closed until Monday", urgency=1)
    service.change(made["id"], 2, "correct", headline="Bridge over the Rhine closed until Tuesday", note="Not Monday")
    service.act(made["id"], "withhold", note="Is being checked")
    service.act(made["id"], "release")
    return str(made["id"])


@pytest.fixture(scope="module")
def killed(service: Service) -> str:
    made = service.publish("Minister resigns")
    service.act(made["id"], "kill", note="It was never true")
    return str(made["id"])


@pytest.fixture(scope="module")
def book_fair(service: Service) -> str:
    made = service.publish("افتتاح معرض الكتاب في الشارقة", edition="ar", speaker="وزارة الثقافة")
    service.change(made["id"], 1, headline="افتتاح معرض الكتاب الدولي في دبي", section="arts-culture")
    return str(made["id"])


def test_a_line_is_found_and_its_story_read_by_the_keyboard(service: Service, desk: Page, bridge: str) -> None:
    desk.get_by_role("link", name="Search", exact=True).press("Enter")
    desk.get_by_label("Text, speaker").focus()
    desk.keyboard.type("rhine")
    desk.keyboard.press("Tab")
    desk.keyboard.type("English")
    desk.keyboard.press("Tab")
    desk.keyboard.type("live")
    desk.keyboard.press("Tab")
    desk.keyboard.type("admin")
    desk.keyboard.press("Enter")
    found = desk.locator(".found li")
    expect(found).to_have_count(1, timeout=PATIENCE_MS)
    expect(desk.get_by_label("Text, speaker")).to_have_value("rhine", timeout=PATIENCE_MS)
    expect(desk.get_by_label("Edition")).to_have_value("en", timeout=PATIENCE_MS)
    found.get_by_role("link").press("Enter")
    expect(desk.get_by_role("heading", level=1)).to_contain_text("closed until Tuesday", timeout=PATIENCE_MS)
    assert desk.url.endswith(f"/desk/items/{bridge}")


def test_what_is_gone_and_new_is_said_and_not_only_coloured(service: Service, desk: Page, bridge: str) -> None:
    desk.goto(f"{root(service)}/desk/items/{bridge}")
    step = desk.locator(".steps li[data-version='3'][data-action=correct]")
    expect(step.locator("del")).to_have_text("[deleted: Monday end]", timeout=PATIENCE_MS)
    expect(step.locator("ins")).to_have_text("[inserted: Tuesday end]", timeout=PATIENCE_MS)
    hidden = step.locator("del .unseen").first.bounding_box()
    assert hidden is not None
    assert hidden["width"] <= 1
    line = desk.locator(".steps li[data-version='2'] .differing")
    expect(line).to_contain_text("urgency: 3 Urgent →became 1 Flash", timeout=PATIENCE_MS)


def test_an_arabic_line_is_shown_from_right_to_left(service: Service, desk: Page, book_fair: str) -> None:
    desk.goto(f"{root(service)}/desk/items/{book_fair}")
    for place in ("h1", ".steps li[data-version='2'] .diff", ".steps li[data-version='1'] .text"):
        block = desk.locator(place)
        assert block.evaluate("element => getComputedStyle(element).direction") == "rtl", place
        assert block.get_attribute("lang") == "ar"
    # What stands first in the line stands at the right.
    changed = desk.locator(".steps li[data-version='2'] .diff")
    gone, new = changed.locator("del").bounding_box(), changed.locator("ins").first.bounding_box()
    assert gone is not None
    assert new is not None
    assert new["x"] > gone["x"]
    assert desk.locator("html").evaluate("element => getComputedStyle(element).direction") == "ltr"
    desk.goto(f"{root(service)}/desk/search?edition=ar")
    text = desk.locator(".found .text").first
    assert text.evaluate("element => getComputedStyle(element).direction") == "rtl"


def test_on_paper_there_is_the_report_and_no_way_around(service: Service, desk: Page, bridge: str) -> None:
    desk.emulate_media(color_scheme="dark")
    desk.goto(f"{root(service)}/desk/items/{bridge}")
    expect(desk.get_by_role("button", name="Print")).to_be_visible(timeout=PATIENCE_MS)
    expect(desk.locator(".top")).to_be_visible(timeout=PATIENCE_MS)
    desk.emulate_media(media="print", color_scheme="dark")
    for gone in (".top", "#print", "a[download]"):
        expect(desk.locator(gone)).to_be_hidden(timeout=PATIENCE_MS)
    for stays in ("h1", "#report-title", ".steps", "#audit-title"):
        expect(desk.locator(stays)).to_be_visible(timeout=PATIENCE_MS)
    colours = desk.locator("body").evaluate(
        "body => [getComputedStyle(body).color, getComputedStyle(body).backgroundColor]"
    )
    assert colours == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    # A4 between its margins, in CSS pixels: nothing is cut off at the side.
    desk.set_viewport_size({"width": 688, "height": 900})
    assert desk.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_button_prints(service: Service, desk: Page, bridge: str) -> None:
    desk.add_init_script("window.print = () => { document.title = 'printed' }")
    desk.goto(f"{root(service)}/desk/items/{bridge}")
    desk.get_by_role("button", name="Print").press("Enter")
    expect(desk).to_have_title("printed", timeout=PATIENCE_MS)


def test_a_wrong_time_stays_in_its_field(service: Service, desk: Page) -> None:
    desk.goto(f"{root(service)}/desk/search?q=kept&since=yesterday")
    field = desk.get_by_label("Changed from")
    expect(field).to_have_value("yesterday", timeout=PATIENCE_MS)
    expect(desk.get_by_label("Text, speaker")).to_have_value("kept", timeout=PATIENCE_MS)
    desk.get_by_role("alert").get_by_role("link", name="From").press("Enter")
    expect(field).to_be_focused(timeout=PATIENCE_MS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_that_keeps_anyone_out(
    service: Service, desk: Page, bridge: str, killed: str, book_fair: str, scheme: str, width: int
) -> None:
    desk.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    desk.set_viewport_size({"width": width, "height": 840})
    addresses = ["search", "search?q=nowhere", "search?edition=xx&since=soon", "audit", "audit?action=x&until=late"]
    addresses += [f"items/{each}" for each in (bridge, killed, book_fair)]
    for address in addresses:
        desk.goto(f"{root(service)}/desk/{address}")
        assert problems(desk) == [], address
        assert desk.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
