"""Desk: from Ctrl+Enter at the desk to the line on a reader's page, in the system's Chromium, beside an HTTP call.

One browser has both pages, the editor's, who came by a one-time link, and the reader's, so that one clock times the key
and the line: the key when the browser got it (`Event.timeStamp`), the line when it is in the reader's document. A
screen shows it with its next frame. Lines by the key and the same by HTTP take turns to one reader's page: their ratio
is what the desk adds, whatever else the machine does. The call's moments are by the clock of the system, which is
compared with the browser's in each round.
"""

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.browser import browser, desk, reader
from bench.editor import Editor
from bench.figures import percentile, shown, spread
from tests.integration.harness import Service

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROUNDS = 3
LINES = 100
WARM_UP = 20
# Between the last letter and the key, as a hand needs it; and between two lines, by chance, or each would meet the
# board's question of every second at the same moment.
HAND_SECONDS = 0.2
PAUSE_SECONDS = 0.2
# How often the clocks are compared; what counts is the quickest answer.
LOOKS = 50
URGENT = 3
SPEAKER = "Foreign Ministry"

NOW = "performance.timeOrigin + performance.now()"
# When each line came into the document, by the number in its headline, for whoever asks before it or after it.
WATCH = """() => {
  const seen = new Map();
  const waiting = new Map();
  const look = () => {
    const now = performance.timeOrigin + performance.now();
    for (const [, mark] of document.body.textContent.matchAll(/Line of (\\d{19})/g)) {
      if (seen.has(mark)) continue;
      seen.set(mark, now);
      waiting.get(mark)?.(now);
    }
  };
  window.benchSeen = (mark) => seen.get(mark) ?? new Promise((resolve) => waiting.set(mark, resolve));
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""
KEY = """() => addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.ctrlKey) window.benchKey = performance.timeOrigin + event.timeStamp;
}, true)"""
# The desk takes the next line.
AT_REST = """() => !document.querySelector("#headline").value
  && !document.querySelector("#compose button[type=submit]").disabled"""


def measure() -> dict[str, Any]:
    """Measure, print a table, and return the figures in ms.

    Raises:
        MissingError: there is no browser here.
    """
    chance = random.Random(1)
    rounds = []
    with (
        browser() as chromium,
        tempfile.TemporaryDirectory(prefix="stoppress-bench-") as folder,
        # A line that is held back for an undo would be timed with its hold.
        Service(Path(folder), undo_seconds="0") as service,
    ):
        service.start()
        for number in range(1, ROUNDS + 1):
            print(f"round {number} of {ROUNDS} …", file=sys.stderr, flush=True)
            context = chromium.new_context()
            rounds.append(one_round(service, reader(context, service), desk(context, service), chance))
            context.close()
        version = chromium.version
    return report(rounds, version)


def one_round(service: Service, reading: "Page", writing: "Page", chance: random.Random) -> dict[str, list[float]]:
    """Lines by the key and by HTTP in turn; the ms that each took."""
    taken: dict[str, list[float]] = {"desk": [], "http": []}
    reading.evaluate(WATCH)
    writing.evaluate(KEY)
    ahead_ms = browser_ahead_ms(reading)
    editor = Editor(service.port)
    for _ in range(WARM_UP + LINES):
        taken["desk"].append(by_key(reading, writing))
        time.sleep(chance.random() * PAUSE_SECONDS)
        taken["http"].append(by_http(reading, editor, ahead_ms))
        time.sleep(chance.random() * PAUSE_SECONDS)
    editor.close()
    return {name: values[WARM_UP:] for name, values in taken.items()}


def by_key(reading: "Page", writing: "Page") -> float:
    """Write a line at the desk and press Ctrl+Enter; in ms until the reader's page has it."""
    mark = time.time_ns()
    writing.fill("#headline", headline(mark))
    writing.fill("#speaker", SPEAKER)
    writing.check(f"#compose input[name=urgency][value='{URGENT}']")
    writing.focus("#headline")
    time.sleep(HAND_SECONDS)
    writing.keyboard.press("Control+Enter")
    came: float = reading.evaluate("mark => window.benchSeen(mark)", str(mark))
    pressed: float = writing.evaluate("() => window.benchKey")
    writing.wait_for_function(AT_REST)
    return came - pressed


def by_http(reading: "Page", editor: Editor, ahead_ms: float) -> float:
    """Publish the same line by a lean HTTP client; in ms until the reader's page has it."""
    mark = time.time_ns()
    line = {"edition": "en", "headline": headline(mark), "speaker": SPEAKER, "urgency": URGENT}
    began = time.time_ns()
    editor.call("POST", "/v1/items", line)
    came: float = reading.evaluate("mark => window.benchSeen(mark)", str(mark))
    return came - (began / 1e6 + ahead_ms)


def headline(mark_ns: int) -> str:
    """A line as long as a usual one, told from all others by its number."""
    return f"Line of {mark_ns:019d}: ceasefire takes effect at midnight, all sides say"


def browser_ahead_ms(page: "Page") -> float:
    """By how much the browser's clock is ahead of the system's: the answer that came quickest says it best."""
    found = []
    for _ in range(LOOKS):
        before = time.time_ns()
        there: float = page.evaluate(f"() => {NOW}")
        after = time.time_ns()
        found.append((after - before, there - (before + after) / 2e6))
    return min(found)[1]


def report(rounds: list[dict[str, list[float]]], chromium: str) -> dict[str, Any]:
    figures: dict[str, Any] = {"unit": "ms", "lines": LINES, "rounds": ROUNDS, "chromium": chromium}
    print(f"\n-> in a reader's page, ms; {LINES} lines each a round, median (min-max) of {ROUNDS} rounds\n")
    print(f"{'':<24}{'p50':>22}{'p90':>22}")
    for name, label in (("desk", "Ctrl+Enter at the desk"), ("http", "HTTP call")):
        row = {f"p{percent}": spread([percentile(each[name], percent) for each in rounds]) for percent in (50, 90)}
        figures[name] = row
        print(f"{label:<24}" + "".join(f"{shown(row[key], 1):>22}" for key in ("p50", "p90")))
    ratios = [statistics.median(each["desk"]) / statistics.median(each["http"]) for each in rounds]
    figures["ratio_p50"] = spread(ratios)
    print(f"\nthe desk over the call, p50: {shown(figures['ratio_p50'])} x (goal: p50 <= 30 ms); Chromium {chromium}")
    return figures
