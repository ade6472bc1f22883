"""Pictures: the README's views of the desk, from the real service in the system's Chromium. `make pictures`."""

import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.browser import MissingError, browser, desk
from service.domain.instant import format_ms
from tests.integration.harness import Screen, Service, now_ms

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = Path(__file__).parent
SIZE = {"width": 1280, "height": 800}
SCREENS = 40
COLOURS = 128
# So far apart the screens confirm, for a curve as an audience draws it.
APART_SECONDS = 0.008


def main() -> None:
    """Take all pictures."""
    with ExitStack() as stack:
        try:
            chromium = stack.enter_context(browser())
        except MissingError as missing:
            raise SystemExit(f"pictures are not taken: {missing}") from None
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="stoppress-pictures-"))
        service = stack.enter_context(Service(Path(folder), undo_seconds="0,60,60,60"))
        service.start()
        screens = stack.enter_context(service.screens(SCREENS))
        confirm(screens)
        publish(service, screens)
        page = desk(chromium.new_context(viewport=SIZE, timezone_id="Europe/Berlin"), service)

        page.fill("#headline", "Southern Peru hit by magnitude 6.1 earthquake, villages cut off")
        page.fill("#speaker", "Civil Defence")
        page.select_option("#section", "environment")
        page.wait_for_selector("#similar li")
        take(page, "compose")
        page.focus("#headline")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("#holds li")
        take(page, "board")
        page.locator("#items li", has_text="Foreign Ministry").locator("[data-action=kill]").click()
        page.wait_for_selector("#ask[open]")
        page.fill("#ask-note", "The ministry has withdrawn its statement")
        take(page, "kill")


def take(page: "Page", name: str) -> None:
    """Take a picture of what the window shows; with pillow, which `make bench` installs, a third as large."""
    path = FOLDER / f"desk-{name}.png"
    page.screenshot(path=path, animations="disabled")
    with suppress(ImportError):
        from PIL import Image

        with Image.open(path) as picture:
            picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def publish(service: Service, screens: list[Screen]) -> None:
    """A night's lines, each in another state."""
    ceasefire = shown(service, screens, "Ceasefire takes effect at midnight", speaker="Foreign Ministry", urgency=1)
    service.publish("وقف إطلاق النار يدخل حيز التنفيذ عند منتصف الليل", edition="ar", translationOf=ceasefire)
    rate = shown(service, screens, "Central bank raises key rate to 4.5 per cent", urgency=2, section="economy")
    service.act(rate, "withhold", note="The figure is being checked")
    confirm(screens, rate)
    shown(service, screens, "Earthquake of magnitude 6.1 hits southern Peru", urgency=2, section="environment")
    service.http.post("/v1/items", json={"edition": "en", "headline": "Night bus strike ends", "state": "submitted"})
    embargo = format_ms(now_ms() + 3_754_000)
    speech = {"edition": "en", "headline": "Budget raises the minimum wage by 4 per cent", "embargoedUntil": embargo}
    service.http.post("/v1/items", json=speech)


def shown(service: Service, screens: list[Screen], headline: str, **fields: object) -> str:
    """Publish a line and have every screen confirm it; its id."""
    made: str = service.publish(headline, **fields)["id"]
    confirm(screens, made)
    return made


def confirm(screens: list[Screen], item_id: str | None = None) -> None:
    """Have every screen confirm what it shows, one after the other."""
    for screen in screens:
        if item_id is not None:
            screen.find(lambda message: item_id in (message.get("id"), message.get("item", {}).get("id")))
        screen.ack(screen.messages[-1]["cursor"])
        time.sleep(APART_SECONDS)


if __name__ == "__main__":
    main()
