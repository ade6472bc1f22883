"""Browser: the system's Chromium, and in it the pages of a reader and of an editor who has signed in.

Nothing is downloaded: where Chromium or Playwright is not installed, it says so.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from service.store.sessions import Sessions
from service.store.users import Users
from tests.integration.harness import DEADLINE_SECONDS, Service

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class MissingError(Exception):
    """What is missing, and the command that installs it."""


def chromium() -> str:
    """Where the system's Chromium is.

    Raises:
        MissingError: it is not there, or Playwright is not, which drives it.
    """
    if find_spec("playwright") is None:
        raise MissingError("Playwright missing: python -m pip install playwright")
    for found in filter(None, map(shutil.which, NAMES)):
        return found
    raise MissingError("Chromium missing: apt-get install chromium")


@contextmanager
def browser() -> Iterator["Browser"]:
    """Start Chromium, without a window; it is closed in the end.

    Raises:
        MissingError: as `chromium` does.
    """
    found = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        try:
            yield started
        finally:
            started.close()


def reader(context: "BrowserContext", service: Service, edition: str = "en") -> "Page":
    """The page of a reader, once it is live."""
    page = context.new_page()
    page.set_default_timeout(DEADLINE_SECONDS * 1000)
    page.goto(f"http://127.0.0.1:{service.port}/?edition={edition}")
    page.wait_for_selector("[data-state=live]")
    return page


def desk(context: "BrowserContext", service: Service) -> "Page":
    """The desk of a chief who came by a one-time link, once its board is there."""
    page = context.new_page()
    page.set_default_timeout(DEADLINE_SECONDS * 1000)
    ticket = Sessions(service.redis, Users(service.redis)).make_ticket()
    page.goto(f"http://127.0.0.1:{service.port}/desk/sign-in?ticket={ticket}")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("#state[data-live=true]")
    return page
