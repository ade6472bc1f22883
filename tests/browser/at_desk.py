"""At the desk: signing in, writing and pressing in a browser, and what axe-core says of a page."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from service.store.sessions import Sessions
from service.store.users import Users
from tests.integration.harness import DEADLINE_SECONDS, PASSWORD, Service

PATIENCE_MS = DEADLINE_SECONDS * 1000
HOSTILE = "<img src=x onerror=alert(1)> \"quoted\" & 'so'"


def forget_attempts(service: Service) -> None:
    """One address may sign in thirty times in a quarter of an hour, and has all these tests to do so."""
    for key in service.redis.scan_iter("sp:attempts:*"):
        service.redis.delete(key)


def listen(page: Page, troubles: list[str]) -> None:
    """Note whatever the browser complains of: errors, refusals by the CSP, and dialogs that only an attack opens."""
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if "Content Security" in message.text else None)
    page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))


def enter(service: Service, page: Page) -> None:
    """Come to the desk as a chief, by a one-time link."""
    forget_attempts(service)
    ticket = Sessions(service.redis, Users(service.redis)).make_ticket()
    page.goto(f"http://127.0.0.1:{service.port}/desk/sign-in?ticket={ticket}")
    page.get_by_role("button", name="Sign in").press("Enter")
    expect(page.locator("#state[data-live=true]")).to_be_attached(timeout=PATIENCE_MS)


def sign_in(service: Service, page: Page, name: str) -> None:
    """Come to the desk by name and password."""
    forget_attempts(service)
    page.goto(f"http://127.0.0.1:{service.port}/desk/sign-in")
    page.locator("[name=name]").fill(name)
    page.locator("[name=password]").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#state[data-live=true]")).to_be_attached(timeout=PATIENCE_MS)


def compose(page: Page, headline: str) -> None:
    page.locator("#headline").focus()
    page.keyboard.type(headline)


def press(page: Page, headline: str, action: str) -> None:
    """Press a line's button, as soon as no question is open any more."""
    expect(page.locator("dialog[open]")).to_have_count(0, timeout=PATIENCE_MS)
    page.locator("#items li", has_text=headline).locator(f"[data-action='{action}']").focus()
    page.keyboard.press("Enter")


def problems(page: Page) -> list[str]:
    """What axe-core's rules say, WCAG 2.2 AA and good practice."""
    # Without its copies of our styles, which the policy refuses as it should.
    found = Axe().run(page, options={"preload": False}).response
    assert len(found["passes"]) > 10, "axe looked at nothing"
    return [f"{each['id']}: {node['html'][:150]}" for each in found["violations"] for node in each["nodes"]]
