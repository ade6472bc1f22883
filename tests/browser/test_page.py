"""The readers' page in a real browser, against a socket whose every message the test sends itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Page, expect

from service.domain.edition import default_editions
from service.domain.frames import Snapshot
from service.domain.instant import format_ms
from service.domain.item import Correction, Item, Related
from tests.browser.conftest import Connection, Stand

EDITIONS = default_editions()
HOUR_AGO_MS = int(datetime.now(UTC).timestamp() * 1000) - 3_600_000
HOSTILE = "<script>alert(1)</script> \"quoted\" & 'so' \u200f" + "x" * 300


def item(item_id: str, **fields: Any) -> Item:
    """A line; `minute` says when in the hour before now it was published."""
    minute = fields.pop("minute", 0)
    moment = format_ms(HOUR_AGO_MS + minute * 60_000)
    given = {
        "version": 1,
        "edition": "en",
        "language": "en",
        "urgency": 3,
        "headline": f"Headline of {item_id}",
        "first_created": moment,
        "version_created": moment,
        "published_at": moment,
        "expires": format_ms(HOUR_AGO_MS + 86_400_000),
    }
    return Item(id=item_id, **{**given, **fields})


def snapshot(cursor: str, *items: Item, edition: str = "en") -> Snapshot:
    return Snapshot(edition=edition, cursor=cursor, items=list(items))


def wire(message: msgspec.Struct) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(message)
    return built


def news(cursor: str, line: Item) -> dict[str, Any]:
    return {"type": "item", "cursor": cursor, "item": wire(line)}


def remove(cursor: str, item_id: str, version: int = 2, reason: str = "killed") -> dict[str, Any]:
    return {"type": "remove", "cursor": cursor, "id": item_id, "version": version, "reason": reason}


def beat(cursor: str) -> dict[str, Any]:
    return {"type": "beat", "cursor": cursor, "at": format_ms(int(datetime.now(UTC).timestamp() * 1000))}


def resumed(cursor: str, edition: str = "en") -> dict[str, Any]:
    return {"type": "resumed", "edition": edition, "cursor": cursor}


def open_page(page: Page, stand: Stand, *items: Item) -> Connection:
    """Open the page with these lines at cursor e.1 and let its socket go on from there."""
    stand.snapshots["en"] = snapshot("e.1", *items)
    page.goto(stand.url)
    connection = stand.connection()
    connection.send(resumed("e.1"))
    expect(page.locator(".state")).to_have_text("live")
    return connection


def headlines(page: Page) -> Any:
    return page.locator(".line .headline")


def test_the_server_draws_the_lines_and_the_socket_goes_on_from_their_cursor(page: Page, stand: Stand) -> None:
    stand.snapshots["en"] = snapshot("e.41", item("a", minute=2), item("b", minute=1))
    page.goto(stand.url)
    connection = stand.connection()
    assert (connection.cursor, connection.protocols) == ("e.41", ["stoppress.v1"])
    expect(headlines(page)).to_have_text(["Headline of a", "Headline of b"])
    expect(page.locator(".state")).to_have_attribute("data-state", "stale")
    connection.send(resumed("e.41"))
    expect(page.locator(".state")).to_have_text("live")


def test_a_page_without_javascript_shows_the_lines_with_their_age_and_reloads_itself(
    browser: Any, stand: Stand
) -> None:
    stand.snapshots["en"] = snapshot("e.1", item("a"))
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(stand.url)
        expect(headlines(page)).to_have_text(["Headline of a"])
        expect(page.locator(".state")).to_have_text(f"as of {format_ms(stand.now_ms)[11:16]} UTC")
        expect(page.locator("meta[http-equiv=refresh]")).to_have_attribute("content", "30")
        expect(page.locator(".when")).to_contain_text("UTC")


def test_a_live_line_appears_on_top_and_is_announced(page: Page, stand: Stand) -> None:
    connection = open_page(page, stand, item("a", minute=1))
    connection.send(news("e.2", item("b", minute=2, speaker="Foreign Ministry", urgency=1)))
    expect(headlines(page)).to_have_text(["Headline of b", "Headline of a"])
    expect(page.locator(".line").first.locator(".urgency")).to_have_text("Flash")
    expect(page.locator(".announcer p")).to_have_text(["Flash. Foreign Ministry: Headline of b"])


def test_many_new_lines_are_announced_together_and_a_killed_one_not_at_all(page: Page, stand: Stand) -> None:
    connection = open_page(page, stand)
    connection.send(*(news(f"e.{n}", item(f"i{n}", minute=n)) for n in range(2, 8)), remove("e.8", "i7"))
    said = ["Urgent. Headline of i6", "Urgent. Headline of i5", "Urgent. Headline of i4", "and 2 more"]
    expect(page.locator(".announcer p")).to_have_text(said)
    connection.send(remove("e.9", "i6"))
    expect(page.locator(".announcer p")).to_have_text(said[1:])


def test_a_higher_version_replaces_a_line_and_an_equal_or_lower_one_does_not(page: Page, stand: Stand) -> None:
    connection = open_page(page, stand, item("a", version=3))
    connection.send(
        news("e.2", item("a", version=3, headline="Equal")), news("e.3", item("a", version=2, headline="Lower"))
    )
    connection.send(news("e.4", item("b", minute=-1)))
    expect(headlines(page)).to_have_text(["Headline of a", "Headline of b"])
    connection.send(news("e.5", item("a", version=4, headline="Higher")))
    expect(headlines(page)).to_have_text(["Higher", "Headline of b"])


def test_a_killed_line_leaves_at_once_and_an_older_version_does_not_bring_it_back(page: Page, stand: Stand) -> None:
    connection = open_page(page, stand, item("a", minute=2, headline="Secret"), item("b", minute=1))
    connection.send(remove("e.2", "a", version=2), news("e.3", item("a", headline="Secret")), beat("e.3"))
    connection.ack_of("e.3")
    expect(headlines(page)).to_have_text(["Headline of b"])
    assert "Secret" not in page.content()
    connection.send(news("e.4", item("a", version=3, minute=2, headline="Released")))
    expect(headlines(page)).to_have_text(["Released", "Headline of b"])


def test_pinned_lines_come_first_then_the_newest_then_the_higher_id(page: Page, stand: Stand) -> None:
    connection = open_page(page, stand, item("b", minute=5), item("a", minute=5))
    connection.send(news("e.2", item("p", minute=1, pinned=True)), news("e.3", item("c", minute=5)))
    connection.send(news("e.4", item("new", minute=9)))
    expect(headlines(page)).to_have_text([f"Headline of {name}" for name in ("p", "new", "c", "b", "a")])
    expect(page.locator(".pinned")).to_have_text(["Pinned"])
    connection.send(news("e.5", item("p", minute=1, version=2)))
    expect(headlines(page)).to_have_text([f"Headline of {name}" for name in ("new", "c", "b", "a", "p")])


def test_what_overflows_waits_in_memory_until_there_is_a_place(page: Page, stand: Stand) -> None:
    stand.editions = [msgspec.structs.replace(EDITIONS["en"], size=2)]
    connection = open_page(page, stand, item("b", minute=2), item("a", minute=1))
    connection.send(news("e.2", item("c", minute=3)))
    expect(headlines(page)).to_have_text(["Headline of c", "Headline of b"])
    connection.send(remove("e.3", "b", reason="expired"))
    expect(headlines(page)).to_have_text(["Headline of c", "Headline of a"])


def test_an_empty_ticker_says_so_and_an_unknown_one_says_something_else(page: Page, stand: Stand) -> None:
    stand.editions = [EDITIONS["en"], EDITIONS["es"]]
    stand.snapshots = {"en": snapshot("e.1"), "es": None}
    page.goto(stand.url)
    expect(page.locator("section[data-edition=en] .empty")).to_have_text("No breaking news right now")
    spanish = page.locator("section[data-edition=es]")
    expect(spanish.locator(".empty")).to_have_text("Las noticias no están disponibles en este momento")
    by_edition = {connection.edition: connection for connection in (stand.connection(), stand.connection())}
    assert by_edition["es"].cursor is None
    by_edition["es"].send(wire(snapshot("s.1", edition="es")))
    expect(spanish.locator(".empty")).to_have_text("No hay noticias de última hora")
    expect(spanish.locator(".state")).to_have_text("en directo")


def test_a_snapshot_replaces_everything_even_a_higher_version(page: Page, stand: Stand) -> None:
    connection = open_page(page, stand, item("a", version=7), item("b", minute=-1))
    connection.send(remove("e.2", "c", version=9))
    connection.send(wire(snapshot("f.1", item("a", version=1, headline="Restored"))))
    expect(headlines(page)).to_have_text(["Restored"])
    connection.send(news("f.2", item("c", minute=1)))
    expect(headlines(page)).to_have_text(["Headline of c", "Restored"])


def test_the_script_draws_exactly_what_the_server_draws(page: Page, stand: Stand) -> None:
    """Otherwise a line would change its looks, or its words, by coming over the socket."""
    correction = Correction(type="corrected", note='A "note" & <b>more</b>', at="2026-11-24T03:00:00.000Z")
    related = (Related(title="Background", link="https://example.org/b"), Related(title="Map", link="https://m.test/"))
    day = {"published_at": "2026-01-02T03:04:05.000Z"}
    lines = [
        item("p", pinned=True, urgency=1, speaker="Foreign Ministry", outlet="Harbour Radio"),
        item("q", minute=5, urgency=2, outlet="Harbour Radio", link="https://example.org/?a=1&b=2"),
        item("r", minute=4, correction=correction, related=related, speaker="Port"),
        item("s", minute=3, urgency=4, language="ar", headline="OPEC ترفع الإنتاج"),
        item("t", minute=2, language="ku-Arab", headline=HOSTILE[:300], speaker="X", outlet="Y"),
        item("u", **day),
    ]
    form = """() => {
        const form = (node) => node.nodeType === 3 ? node.data.replace(/\\s+/g, " ") : {
            name: node.localName,
            attributes: [...node.attributes].map(({ name, value }) => `${name}=${value}`).sort(),
            children: [...node.childNodes].filter((n) => n.nodeType === 1 || n.data.trim()).map(form),
        };
        const lines = document.querySelector(".lines");
        return [form(lines), lines.innerText];
    }"""
    connection = open_page(page, stand, *lines)
    drawn_by_server = page.evaluate(form)
    page.evaluate("document.querySelector('.line').dataset.mark = 'old'")
    connection.send(wire(snapshot("f.1", *lines)))
    connection.ack_of("f.1")
    expect(page.locator("[data-mark]")).to_have_count(0)
    assert page.evaluate(form) == drawn_by_server
    assert "Foreign Ministry to Harbour Radio: Headline of p" in drawn_by_server[1]


def test_times_are_in_the_readers_time_zone(page: Page, stand: Stand) -> None:
    line = item("a", published_at="2026-01-02T20:04:05.000Z")
    connection = open_page(page, stand, line)
    expect(page.locator(".hour")).to_have_text("05:04")  # Tokyo, the day after
    expect(page.locator(".day")).to_have_text("Jan 3")
    connection.send(news("e.2", msgspec.structs.replace(line, id="b")))
    expect(page.locator(".hour")).to_have_text(["05:04", "05:04"])
    expect(page.locator("time").first).to_have_attribute("datetime", line.published_at)


def test_a_right_to_left_edition_reads_from_the_right_in_its_own_words(page: Page, stand: Stand) -> None:
    stand.editions = [EDITIONS["ar"]]
    arabic = {"edition": "ar", "language": "ar", "headline": "OPEC ترفع الإنتاج", "speaker": "وزارة الطاقة"}
    stand.snapshots["ar"] = snapshot("e.1", item("a", urgency=2, **arabic), edition="ar")
    page.goto(stand.url)
    connection = stand.connection()
    assert connection.edition == "ar"
    connection.send(resumed("e.1", "ar"), news("e.2", item("b", minute=1, pinned=True, **arabic)))
    expect(page.locator(".state")).to_have_text("مباشر")
    expect(page.locator(".urgency")).to_have_text(["مهم", "عاجل"])
    expect(page.locator("section")).to_have_attribute("dir", "rtl")
    expect(page.locator("html")).to_have_attribute("dir", "rtl")
    for line in page.locator(".line").all():
        time, body = line.locator("time").bounding_box(), line.locator(".body").bounding_box()
        assert time is not None
        assert body is not None
        assert time["x"] > body["x"]
        # Its first word is Latin, yet the line is Arabic: the speaker stays at its right end.
        speaker, headline = line.locator(".speaker").bounding_box(), line.locator(".headline bdi").bounding_box()
        assert speaker is not None
        assert headline is not None
        assert speaker["x"] > headline["x"]


def test_hostile_text_stays_text_and_the_page_does_not_burst(page: Page, stand: Stand) -> None:
    evil = {"headline": HOSTILE, "speaker": "<img src=x onerror=alert(1)>", "outlet": "</p><script>", "urgency": 1}
    bad_links = (Related(title="<i>story</i>", link="javascript:alert(1)"),)
    connection = open_page(page, stand, item("a", link="javascript:alert(1)", related=bad_links, **evil))
    connection.send(news("e.2", item("b", link="JavaScript:alert(1)", related=bad_links, **evil)))
    connection.send(news("e.3", item("c", link="data:text/html,x", **evil)))
    expect(headlines(page)).to_have_text([HOSTILE] * 3)
    expect(page.locator(".line script, .line img, .line i, .line a")).to_have_count(0)
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    expect(page.locator(".announcer p").first).to_contain_text("<script>")
    assert page.locator(".announcer script").count() == 0


def test_unknown_and_broken_messages_are_ignored(page: Page, stand: Stand) -> None:
    connection = open_page(page, stand, item("a"))
    connection.send({"type": "weather", "cursor": "z.9"}, {"no": "type"})
    for text in ("no json", "null", "7", "[]"):
        connection.send_text(text)
    connection.send(news("e.2", item("b", minute=1)))
    expect(headlines(page)).to_have_text(["Headline of b", "Headline of a"])
    connection.close(1001)
    assert stand.connection().cursor == "e.2"


def test_after_the_server_closes_the_page_comes_back_with_its_last_cursor(page: Page, stand: Stand) -> None:
    connection = open_page(page, stand, item("a"))
    connection.send(news("e.2", item("b", minute=1)), beat("e.5"))
    connection.ack_of("e.2")
    connection.close(1001)
    connection = stand.connection()
    assert connection.cursor == "e.5"
    expect(page.locator(".state")).to_have_text("reconnecting…")
    connection.send(resumed("e.5"), news("e.6", item("c", minute=2)))
    expect(headlines(page)).to_have_text(["Headline of c", "Headline of b", "Headline of a"])
    expect(page.locator(".state")).to_have_text("live")


def test_after_an_abrupt_reset_the_page_comes_back_with_its_last_cursor(page: Page, stand: Stand) -> None:
    connection = open_page(page, stand, item("a"))
    connection.send(remove("e.2", "a"))
    connection.ack_of("e.2")
    stand.reset_all()
    assert stand.connection().cursor == "e.2"


def test_a_draining_service_is_left_within_the_time_it_asks_for(page: Page, stand: Stand) -> None:
    connection = open_page(page, stand, item("a"))
    connection.send({"type": "notice", "code": "draining", "retryIn": 600}, news("e.2", item("b", minute=1)))
    expect(headlines(page)).to_have_text(["Headline of b", "Headline of a"])
    assert stand.connection().cursor == "e.2"
    assert connection.gone.get(timeout=5) == 1000


def test_who_is_closed_before_the_notice_is_due_comes_back_sooner(page: Page, stand: Stand) -> None:
    page.add_init_script("Math.random = () => 0.999")
    connection = open_page(page, stand, item("a"))
    connection.send({"type": "notice", "code": "draining", "retryIn": 60_000}, news("e.2", item("b", minute=1)))
    expect(headlines(page)).to_have_text(["Headline of b", "Headline of a"])
    connection.close(1012, "1000")
    assert stand.connection().cursor == "e.2"


def test_a_cursor_refused_twice_is_left_out_once(page: Page, stand: Stand) -> None:
    stand.refuse = 2
    stand.snapshots["en"] = snapshot("e.1", item("a"))
    page.goto(stand.url)
    connection = stand.connection()
    assert (stand.refused.get_nowait(), stand.refused.get_nowait(), connection.cursor) == ("e.1", "e.1", None)
    connection.send(wire(snapshot("f.9", item("b"))))
    expect(headlines(page)).to_have_text(["Headline of b"])
    connection.close(1001)
    assert stand.connection().cursor == "f.9"


def test_a_silent_connection_is_given_up_and_an_old_page_says_its_age(page: Page, stand: Stand) -> None:
    page.clock.install()
    connection = open_page(page, stand, item("a"))
    page.clock.run_for(44_000)
    connection.send(beat("e.2"))
    expect(page.locator("html")).to_be_visible()
    assert connection.gone.empty()
    stand.refuse = 1000
    page.clock.run_for(46_000)
    connection.gone.get(timeout=5)
    expect(page.locator(".state")).to_have_attribute("data-state", "reconnecting")
    page.clock.run_for(11_000)
    expect(page.locator(".state")).to_contain_text("as of ")
    stand.refuse = 0
    page.clock.run_for(31_000)
    assert stand.connection().cursor in ("e.2", None)


def test_waits_double_to_half_a_minute_and_start_over_after_news(page: Page, stand: Stand) -> None:
    # Chance at its highest, noted and then cut short: a wait is told by its fraction from the fixed times.
    page.add_init_script("""
        Math.random = () => 0.99913;
        const waits = window.waits = [], sleep = setTimeout;
        window.setTimeout = (act, ms) => {
            if (Number.isInteger(ms) || ms < 400) return sleep(act, ms);
            waits.push(ms / Math.random());
            return sleep(act, 5);
        };
    """)
    stand.refuse = 8
    stand.snapshots["en"] = snapshot("e.1")
    page.goto(stand.url)
    connection = stand.connection()
    waits = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
    assert page.evaluate("waits.splice(0)") == pytest.approx(waits)
    connection.send(resumed("e.1"))  # a greeting is no news: the next wait is still long
    for code, reason in ((1001, ""), (1013, ""), (1012, "2400")):
        connection.close(code, reason)
        connection = stand.connection()
        connection.send(beat("e.1"))
        expect(page.locator(".state")).to_have_text("live")
    assert page.evaluate("waits.splice(0)") == pytest.approx([30_000, 30_000, 2_400])
    connection.close(1001)
    stand.connection()
    assert page.evaluate("waits.splice(0)") == pytest.approx([500])


@pytest.mark.parametrize("event", ["online", "visibilitychange"])
def test_a_long_wait_ends_when_the_network_or_the_reader_is_back(page: Page, stand: Stand, event: str) -> None:
    page.add_init_script("Math.random = () => 0.999")
    connection = open_page(page, stand, item("a"))
    connection.close(1013)  # over capacity: half a minute by this chance
    expect(page.locator(".state")).to_have_attribute("data-state", "reconnecting")
    assert stand.connections.empty()
    page.evaluate("(event) => document.dispatchEvent(new Event(event, { bubbles: true }))", event)
    assert stand.connection().cursor == "e.1"


def test_a_page_without_its_service_drops_lines_that_are_over(page: Page, stand: Stand) -> None:
    page.clock.install()
    soon = format_ms(int((datetime.now(UTC) + timedelta(minutes=1)).timestamp() * 1000))
    connection = open_page(page, stand, item("a", minute=1, expires=soon), item("b"))
    stand.refuse = 1000
    connection.close(1001)
    expect(page.locator(".state")).to_have_attribute("data-state", "reconnecting")
    page.clock.fast_forward(90_000)
    expect(headlines(page)).to_have_text(["Headline of b"])


def test_an_interrupted_feed_is_said_until_news_comes_again(page: Page, stand: Stand) -> None:
    connection = open_page(page, stand, item("a"))
    connection.send({"type": "behind", "since": "2026-11-24T05:02:00.000Z"})
    state = page.locator(".state")
    expect(state).to_have_text("The newsroom’s feed has been interrupted since 14:02")
    expect(page.locator(".announcer p")).to_have_text("The newsroom’s feed has been interrupted since 14:02")
    connection.send(beat("e.1"))
    expect(state).to_have_text("live")
    expect(page.locator(".announcer p")).to_have_count(0)


def test_an_ack_carries_the_newest_cursor_that_was_painted_and_how_long_it_was_held(page: Page, stand: Stand) -> None:
    connection = open_page(page, stand)
    assert connection.next()["cursor"] == "e.1"
    connection.send(*(news(f"e.{n}", item(f"i{n}", minute=n)) for n in range(2, 30)))
    acks = [connection.next()]
    while acks[-1]["cursor"] != "e.29":
        acks.append(connection.next())
    assert len(acks) < 10
    for ack in acks:
        assert set(ack) == {"type", "cursor", "held"}
        assert ack["type"] == "ack"
        assert 0 <= ack["held"] <= 1000


def test_a_hidden_tab_acknowledges_nothing_until_it_is_looked_at(page: Page, stand: Stand) -> None:
    connection = open_page(page, stand)
    assert connection.next()["cursor"] == "e.1"
    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    connection.send(news("e.2", item("a")), remove("e.3", "a"), news("e.4", item("b")))
    expect(headlines(page)).to_have_text(["Headline of b"])
    # Two paints and the longest hold, and still nothing.
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 300)))")
    assert connection.received.empty()
    page.evaluate(hide, False)
    assert connection.next()["cursor"] == "e.4"


def test_focus_stays_with_its_line_when_the_line_is_corrected_and_moves(page: Page, stand: Stand) -> None:
    link = "https://example.org/a"
    connection = open_page(page, stand, item("b", minute=2), item("a", minute=1, link=link))
    page.locator("a.headline").focus()
    correction = Correction(type="corrected", note="Two, not three.", at="2026-11-24T03:00:00.000Z")
    connection.send(news("e.2", item("a", version=2, minute=1, pinned=True, link=link, correction=correction)))
    expect(headlines(page)).to_have_text(["Headline of a", "Headline of b"])
    expect(page.locator("a.headline")).to_be_focused()
    expect(page.locator(".note")).to_have_text("Corrected: Two, not three.")


def test_every_ticker_is_a_named_region_with_a_heading_and_an_ordered_list(page: Page, stand: Stand) -> None:
    stand.editions = list(EDITIONS.values())
    stand.snapshots = {code: snapshot("e.1", item("a", language=code), edition=code) for code in EDITIONS}
    page.goto(stand.url)
    for name in ("Breaking English", "عاجل العربية", "Última hora Español"):
        region = page.get_by_role("region", name=name)
        expect(region.get_by_role("heading", level=2)).to_have_count(1)
        expect(region.get_by_role("list")).to_have_count(1)
        expect(region.get_by_role("listitem")).to_have_count(1)
    expect(page.get_by_role("status")).to_have_count(1)
    for _ in EDITIONS:
        stand.connection().send(resumed("e.1"))
    page.goto(stand.url + "?edition=es")
    expect(page.locator("section")).to_have_count(1)
    expect(page.locator("html")).to_have_attribute("lang", "es")
