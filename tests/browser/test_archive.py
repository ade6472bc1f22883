"""The desk's memory in a real browser: by the keyboard, for screen readers, from right to left, and on paper."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from service.store.sessions import Sessions
from service.store.users import Users
from tests.integration.harness import DEADLINE_SECONDS, Service

PATIENCE_MS = DEADLINE_SECONDS * 1000


@pytest.fixture
def page(service: Service, context: BrowserContext) -> Iterator[Page]:
    """A chief's browser. Any complaint of it fails the test."""
    troubles: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if "Content Security" in message.text else None)
    ticket = Sessions(service.redis, Users(service.redis)).make_ticket()
    page.goto(f"{root(service)}/desk/sign-in?ticket={ticket}")
    page.get_by_role("button", name="Sign in").press("Enter")
    expect(page.locator("#headline")).to_be_visible(timeout=PATIENCE_MS)
    yield page
    assert not troubles


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


def problems(page: Page) -> list[str]:
    """What axe-core's rules say, WCAG 2.2 AA and good practice."""
    found = Axe().run(page).response
    assert len(found["passes"]) > 10, "axe looked at nothing"
    return [f"{each['id']}: {node['html'][:150]}" for each in found["violations"] for node in each["nodes"]]


def test_a_line_is_found_and_its_story_read_by_the_keyboard(service: Service, page: Page, bridge: str) -> None:
    page.get_by_role("link", name="Search", exact=True).press("Enter")
    page.get_by_label("Text, speaker").focus()
    page.keyboard.type("rhine")
    page.keyboard.press("Tab")
    page.keyboard.type("English")
    page.keyboard.press("Tab")
    page.keyboard.type("live")
    page.keyboard.press("Tab")
    page.keyboard.type("admin")
    page.keyboard.press("Enter")
    found = page.locator(".found li")
    expect(found).to_have_count(1, timeout=PATIENCE_MS)
    expect(page.get_by_label("Text, speaker")).to_have_value("rhine", timeout=PATIENCE_MS)
    expect(page.get_by_label("Edition")).to_have_value("en", timeout=PATIENCE_MS)
    found.get_by_role("link").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("closed until Tuesday", timeout=PATIENCE_MS)
    assert page.url.endswith(f"/desk/items/{bridge}")


def test_what_is_gone_and_new_is_said_and_not_only_coloured(service: Service, page: Page, bridge: str) -> None:
    page.goto(f"{root(service)}/desk/items/{bridge}")
    step = page.locator(".steps li[data-version='3'][data-action=correct]")
    expect(step.locator("del")).to_have_text("[deleted: Monday end]", timeout=PATIENCE_MS)
    expect(step.locator("ins")).to_have_text("[inserted: Tuesday end]", timeout=PATIENCE_MS)
    hidden = step.locator("del .unseen").first.bounding_box()
    assert hidden is not None
    assert hidden["width"] <= 1
    line = page.locator(".steps li[data-version='2'] .differing")
    expect(line).to_contain_text("urgency: 3 Urgent →became 1 Flash", timeout=PATIENCE_MS)


def test_an_arabic_line_is_shown_from_right_to_left(service: Service, page: Page, book_fair: str) -> None:
    page.goto(f"{root(service)}/desk/items/{book_fair}")
    for place in ("h1", ".steps li[data-version='2'] .diff", ".steps li[data-version='1'] .text"):
        block = page.locator(place)
        assert block.evaluate("element => getComputedStyle(element).direction") == "rtl", place
        assert block.get_attribute("lang") == "ar"
    # What stands first in the line stands at the right.
    changed = page.locator(".steps li[data-version='2'] .diff")
    gone, new = changed.locator("del").bounding_box(), changed.locator("ins").first.bounding_box()
    assert gone is not None
    assert new is not None
    assert new["x"] > gone["x"]
    assert page.locator("html").evaluate("element => getComputedStyle(element).direction") == "ltr"
    page.goto(f"{root(service)}/desk/search?edition=ar")
    text = page.locator(".found .text").first
    assert text.evaluate("element => getComputedStyle(element).direction") == "rtl"


def test_on_paper_there_is_the_report_and_no_way_around(service: Service, page: Page, bridge: str) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(f"{root(service)}/desk/items/{bridge}")
    expect(page.get_by_role("button", name="Print")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator(".top")).to_be_visible(timeout=PATIENCE_MS)
    page.emulate_media(media="print", color_scheme="dark")
    for gone in (".top", "#print", "a[download]"):
        expect(page.locator(gone)).to_be_hidden(timeout=PATIENCE_MS)
    for stays in ("h1", "#report-title", ".steps", "#audit-title"):
        expect(page.locator(stays)).to_be_visible(timeout=PATIENCE_MS)
    colours = page.locator("body").evaluate(
        "body => [getComputedStyle(body).color, getComputedStyle(body).backgroundColor]"
    )
    assert colours == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    # A4 between its margins, in CSS pixels: nothing is cut off at the side.
    page.set_viewport_size({"width": 688, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_button_prints(service: Service, page: Page, bridge: str) -> None:
    page.add_init_script("window.print = () => { document.title = 'printed' }")
    page.goto(f"{root(service)}/desk/items/{bridge}")
    page.get_by_role("button", name="Print").press("Enter")
    expect(page).to_have_title("printed", timeout=PATIENCE_MS)


def test_a_wrong_time_stays_in_its_field(service: Service, page: Page) -> None:
    page.goto(f"{root(service)}/desk/search?q=kept&since=yesterday")
    field = page.get_by_label("Changed from")
    expect(field).to_have_value("yesterday", timeout=PATIENCE_MS)
    expect(page.get_by_label("Text, speaker")).to_have_value("kept", timeout=PATIENCE_MS)
    page.get_by_role("alert").get_by_role("link", name="From").press("Enter")
    expect(field).to_be_focused(timeout=PATIENCE_MS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_that_keeps_anyone_out(
    service: Service, page: Page, bridge: str, killed: str, book_fair: str, scheme: str, width: int
) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 840})
    addresses = ["search", "search?q=nowhere", "search?edition=xx&since=soon", "audit", "audit?action=x&until=late"]
    addresses += [f"items/{each}" for each in (bridge, killed, book_fair)]
    for address in addresses:
        page.goto(f"{root(service)}/desk/{address}")
        assert problems(page) == [], address
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
