"""The desk's memory: what is found, what an item's story says, and what nobody may see of it."""

import csv
import html
import io
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from service.domain import lifecycle
from service.domain.approval import require_second
from service.domain.edition import parse_editions
from service.newsroom.auth import COOKIE
from service.store.accounts import Role
from service.store.items import SCANNED
from service.store.keys import Keys
from service.store.outbox import Outbox, breaking_queue
from service.store.sessions import Sessions
from service.store.users import Users
from service.web.archive import CHUNK, PAGE
from tests.integration.harness import DEADLINE_SECONDS, Service, now_ms, until
from tests.unit.samples import EN, draft

PASSWORD = "correct horse battery"
HOSTILE = "<img src=x onerror=alert(1)> \"quoted\" & 'so'"
Visit = Callable[..., httpx.Client]


@pytest.fixture(scope="module")
def visit(service: Service) -> Iterator[Visit]:
    """Opens a browser that somebody is signed in with: by role, and by the editions that they are limited to."""
    users, browsers = Users(service.redis), {}

    def enter(role: Role, *editions: str) -> httpx.Client:
        name = " ".join((role, *editions))
        if name not in browsers:
            users.add(name, role, PASSWORD, now_ms(), editions=editions)
            cookie = Sessions(service.redis, users).sign_in(name, PASSWORD, None, now_ms())
            browsers[name] = httpx.Client(
                base_url=f"http://127.0.0.1:{service.port}",
                headers={"cookie": f"{COOKIE}={cookie}", "accept": "text/html"},
                timeout=DEADLINE_SECONDS,
                trust_env=False,
            )
        return browsers[name]

    yield enter
    for browser in browsers.values():
        browser.close()


@pytest.fixture
def chief(visit: Visit) -> httpx.Client:
    return visit("chief")


def found(page: httpx.Response) -> list[str]:
    """The ids that a search page lists, in order."""
    assert page.status_code == 200, page.text
    return re.findall(r'<li data-id="([^"]+)"', page.text)


def search(browser: httpx.Client, **query: str) -> list[str]:
    return found(browser.get("/desk/search", params=query))


def text_of(page: httpx.Response) -> str:
    """A page as it reads: without its markup, with single spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", page.text)).split())


def save(service: Service, headline: str, **fields: Any) -> str:
    """Keep a draft, and return its id."""
    body = {"edition": "en", "headline": headline, "state": "draft"} | fields
    answer = service.http.post("/v1/items", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def rows_of(page: httpx.Response) -> list[dict[str, str]]:
    assert page.status_code == 200
    return list(csv.DictReader(io.StringIO(page.content.decode("utf-8-sig"), newline="")))


def minute(moment: datetime) -> str:
    """A moment as the form sends it."""
    return moment.strftime("%Y-%m-%dT%H:%M")


def test_a_line_is_found_by_its_words_its_speaker_its_outlet_and_its_id(service: Service, chief: httpx.Client) -> None:
    item_id = save(service, "Tram lines reopen", speaker="Town of Basel", outlet="Radio Zürich")
    for text in ("tram LINES", "town of basel", "ZÜRICH", "Zu\u0308rich", item_id):
        assert search(chief, q=text) == [item_id], text
    assert search(chief, q="Tram lines close") == []


def test_each_criterion_narrows_the_search_and_all_of_them_together(service: Service, chief: httpx.Client) -> None:
    ann, bob = (service.add_key(name, "editor") for name in ("Ann Archer", "bob"))
    body = {"edition": "en", "headline": "Criterion one", "state": "draft"}
    by_ann = service.http.post("/v1/items", json=body, headers=ann).json()["id"]
    by_bob = service.http.post("/v1/items", json=body | {"state": "live"}, headers=bob).json()["id"]
    arabic = save(service, "Criterion one", edition="ar")
    assert search(chief, q="criterion") == [arabic, by_bob, by_ann]
    assert search(chief, q="criterion", edition="ar") == [arabic]
    assert search(chief, q="criterion", state="live") == [by_bob]
    assert search(chief, q="criterion", by="ANN ARCHER") == [by_ann]
    assert search(chief, q="criterion", by="ann") == [], "a name is all of it"
    assert search(chief, q="criterion", by="bob", edition="en", state="live") == [by_bob]
    assert search(chief, q="criterion", by="bob", edition="ar", state="live") == []
    # Who changed it last counts, and who made it still does.
    changed = service.http.patch(
        f"/v1/items/{by_ann}",
        json={"change": "update", "headline": "Criterion two"},
        headers=bob | {"if-match": '"1"'},
    )
    assert changed.status_code == 202
    assert search(chief, q="criterion", by="bob") == [by_ann, by_bob]
    assert search(chief, q="criterion", by="Ann Archer") == [by_ann]
    # The API knows the same criterion.
    listed = service.http.get("/v1/items", params={"by": "ann archer"}).json()["items"]
    assert [each["id"] for each in listed] == [by_ann]


def test_times_are_utc_and_the_minute_that_is_named_is_in(service: Service, chief: httpx.Client) -> None:
    item_id = save(service, "Timed to the minute")
    changed = datetime.fromisoformat(service.http.get(f"/v1/items/{item_id}").json()["changedAt"])
    before, after = changed - timedelta(minutes=1), changed + timedelta(minutes=1)
    asked = {"q": "timed to the minute"}
    assert search(chief, **asked, since=minute(changed), until=minute(changed)) == [item_id]
    assert search(chief, **asked, since=minute(after)) == []
    assert search(chief, **asked, until=minute(before)) == []
    assert search(chief, **asked, since=changed.isoformat()) == [item_id]


def test_older_pages_hold_every_line_once(service: Service, chief: httpx.Client) -> None:
    made = [save(service, f"Paged line {number}", edition=("en", "ar")[number % 2]) for number in range(PAGE + 7)]
    page = chief.get("/desk/search", params={"q": "paged line", "by": "admin"})
    first = found(page)
    assert len(first) == PAGE
    older = re.search(r'<a href="([^"]+)" rel="next">Older lines</a>', page.text)
    assert older is not None
    page = chief.get(html.unescape(older[1]))
    assert first + found(page) == made[::-1]
    assert 'rel="next"' not in page.text
    assert 'value="paged line"' in page.text
    assert "Nothing older matches." in text_of(page)


def test_a_page_that_is_just_full_leads_to_no_empty_one(service: Service, chief: httpx.Client) -> None:
    for number in range(PAGE):
        save(service, f"Exactly full {number}")
    page = chief.get("/desk/search?q=exactly+full")
    assert len(found(page)) == PAGE
    assert 'rel="next"' not in page.text


def test_a_search_that_stops_says_how_far_it_looked_and_looks_further_back(own_service: Service) -> None:
    service = own_service
    service.start()
    outbox = Outbox(service.redis, breaking_queue(service.redis))
    start = now_ms() - 10_000_000
    names = ["needle", *(f"hay{number}" for number in range(SCANNED))]
    decisions = [
        lifecycle.create(EN, draft(id=name, headline=f"A {name} "), state="draft", by="ann", now_ms=start + place)
        for place, name in enumerate(names)
    ]
    outbox.accept_all("en", decisions)
    ticket = Sessions(service.redis, Users(service.redis)).make_ticket()
    with httpx.Client(base_url=service.http.base_url, trust_env=False, timeout=DEADLINE_SECONDS) as chief:
        chief.post("/desk/sign-in", data={"ticket": ticket})
        page = chief.get("/desk/search?q=needle")
        assert found(page) == []
        assert f"Stopped after looking through {SCANNED:,} lines" in text_of(page)
        further = re.search(r'<a href="([^"]+)" rel="next">Look further back</a>', page.text)
        assert further is not None
        assert found(chief.get(html.unescape(further[1]))) == ["needle"]
        # An export of several pieces, for which this is as good a time.
        exported = chief.get("/desk/audit/export?edition=en")
        assert len(exported.content) > CHUNK
        assert exported.text == service.command("audit", "export", "-e", "en").stdout


def test_who_is_limited_to_an_edition_finds_and_sees_no_other(service: Service, visit: Visit) -> None:
    english, arabic = save(service, "Walled off"), save(service, "Walled off", edition="ar")
    browser = visit("chief", "ar")
    assert search(browser, q="walled off") == [arabic]
    page = browser.get("/desk/search", params={"edition": "en", "q": "walled off"})
    assert page.status_code == 400
    assert english not in page.text
    assert ">English<" not in page.text
    assert browser.get(f"/desk/items/{arabic}").status_code == 200
    for path in (f"/desk/items/{english}", f"/desk/items/{english}/report.csv", "/desk/audit/export?edition=en"):
        refused = browser.get(path)
        assert refused.status_code == 403, path
        assert "Walled off" not in refused.text
    assert browser.get("/desk/audit?edition=en").status_code == 400
    assert english not in browser.get("/desk/audit").text
    exported = browser.get("/desk/audit/export").text
    assert arabic in exported
    assert english not in exported
    # The API's listing counts and pages by what a caller may see.
    key = service.add_key("arabic listing", "editor", editions=("ar",))
    listed = service.http.get("/v1/items", params={"limit": "1", "q": "walled off"}, headers=key).json()
    assert [each["id"] for each in listed["items"]] == [arabic]


@pytest.mark.parametrize(
    ("path", "query", "says"),
    [
        ("search", {"edition": "xx"}, "expected one of en, ar, es, got 'xx'"),
        ("search", {"state": "dead"}, "expected one of draft, submitted"),
        ("search", {"since": "yesterday"}, "expected a time in UTC such as 2026-11-24T03:00, got 'yesterday'"),
        ("search", {"until": "9999-12-31T23:59:59.999999"}, "expected a time in UTC"),
        ("search", {"since": "0001-01-01T00:00+23:00"}, "expected a time in UTC"),
        ("search", {"by": "x" * 65}, "expected at most 64 characters, got 65"),
        ("search", {"next": "x"}, "expected next as the previous page gave it"),
        ("search", {"editon": "en"}, "expected only q, edition, state, by, since, until, next, got 'editon'"),
        ("audit", {"edition": "xx"}, "expected one of en, ar, es, got 'xx'"),
        ("audit", {"action": "erase"}, "expected one of create, update"),
        ("audit", {"until": "<b>"}, "expected a time in UTC such as 2026-11-24T03:00, got '<b>'"),
        ("audit", {"next": "1"}, "expected next as the previous page gave it"),
    ],
)
def test_a_filter_that_is_wrong_comes_back_with_the_reason_and_nothing_lost(
    chief: httpx.Client, path: str, query: dict[str, str], says: str
) -> None:
    page = chief.get(f"/desk/{path}", params={"by": "kept as typed"} | query)
    assert page.status_code == 400
    assert says in text_of(page)
    assert 'role="alert"' in page.text
    for name, value in ({"by": "kept as typed"} | query).items():
        assert name in ("next", "editon") or f'value="{html.escape(value)}"' in page.text
    assert "<b>" not in page.text


def test_an_item_that_there_is_none_of_is_not_found(chief: httpx.Client) -> None:
    for path in ("/desk/items/nobody", "/desk/items/nobody/report.csv"):
        page = chief.get(path)
        assert page.status_code == 404
        assert "expected the id of an item" in text_of(page)


def test_a_stranger_is_led_to_the_door(service: Service) -> None:
    with httpx.Client(base_url=service.http.base_url, trust_env=False, timeout=DEADLINE_SECONDS) as stranger:
        for path in ("/desk/search", "/desk/audit", "/desk/items/x"):
            answer = stranger.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/desk/sign-in")
        for path in ("/desk/items/x/report.csv", "/desk/audit/export"):
            assert stranger.get(path).status_code == 401


def test_the_story_of_a_line_says_what_each_step_changed(service: Service, chief: httpx.Client) -> None:
    item_id = service.publish("Bridge closed until Monday", speaker="City")["id"]
    service.change(item_id, 1, headline="Bridge closed until Tuesday", urgency=1)
    service.change(item_id, 2, "correct", speaker=None, note="Nobody in the city said so")
    service.act(item_id, "withhold", note="Is being checked")
    page = chief.get(f"/desk/items/{item_id}")
    assert page.status_code == 200
    steps = dict(
        re.findall(r'<li data-version="\d+" data-action="(\w+)">(.*?)</li>\s*(?=<li data|</ol>)', page.text, re.DOTALL)
    )
    assert list(steps) == ["withhold", "correct", "update", "publish"]
    assert re.search(r"<del>.*</span>Monday<span.*</del> <ins>.*</span>Tuesday<span.*</ins>", steps["update"])
    read = {action: " ".join(re.sub(r"<[^>]*>", "", step).split()) for action, step in steps.items()}
    assert "urgency: 3 Urgent →became 1 Flash" in read["update"]
    assert "speaker: City →became none" in read["correct"]
    assert "correction: none →became Nobody in the city said so" in read["correct"]
    assert "<ins>" not in steps["correct"]
    assert "The line stayed as it was. Note: Is being checked" in read["withhold"]
    assert "City: Bridge closed until Monday" in read["publish"]
    told = text_of(page)
    for word in ("Accepted", "Published", "Corrected", "Withheld"):
        assert re.search(rf"{word}20\d\d-\d\d-\d\d [\d:.]+admin", told), word
    assert "3 live →became 4 withheld" in told
    assert re.search(r'<time datetime="20\d\d-\d\d-\d\dT[\d:.]+Z">', page.text)


def test_the_report_says_how_many_screens_confirm(service: Service, chief: httpx.Client) -> None:
    with service.screens(2) as screens:
        item_id = service.publish("On two screens")["id"]
        for screen in screens:
            screen.item(item_id)
            screen.ack(screen.messages[-1]["cursor"])

        def told(text: str) -> bool:
            return text in text_of(chief.get(f"/desk/items/{item_id}"))

        until(lambda: told("2 of 2 connected screens confirm that they show it"), "both to confirm")
        service.act(item_id, "withhold")
        for screen in screens:
            screen.removal(item_id)
        screens[0].ack(screens[0].messages[-1]["cursor"])
        until(lambda: told("1 of 2 connected screens confirm that it is off"), "one to confirm")
    page = chief.get(f"/desk/items/{save(service, 'Never on air')}")
    assert "It was never public" in text_of(page)


def test_the_report_says_how_soon_each_version_was_on_the_screens(service: Service, chief: httpx.Client) -> None:
    with service.screens(2) as screens:
        for screen in screens:
            screen.ack(screen.messages[-1]["cursor"])
        made = service.publish("Timed on its way")["id"]
        for screen in screens:
            screen.item(made)
            screen.ack(screen.messages[-1]["cursor"])
        address = f"/desk/items/{made}/report.csv"

        def row() -> dict[str, str]:
            (only,) = csv.DictReader(io.StringIO(chief.get(address).text.removeprefix("\ufeff")))
            return only

        until(lambda: row()["screens that confirmed"] == "2", "both screens in the report")
        for column in ("in the log after", "first screen after", "half of them within", "99 % of them within"):
            assert re.fullmatch(r"\d+ ms", row()[column]), (column, row()[column])
    assert "99 % of them within" in text_of(chief.get(f"/desk/items/{made}"))


def test_a_line_and_its_sisters_stand_side_by_side(service: Service, chief: httpx.Client, visit: Visit) -> None:
    first = service.publish("Bridge closed")["id"]
    second = service.publish("Bridge, in Arabic", edition="ar", translationOf=first)["id"]
    page = chief.get(f"/desk/items/{first}")
    assert "Bridge, in Arabic" in text_of(page)
    assert f'href="/desk/items/{second}"' in page.text
    limited = visit("editor", "en").get(f"/desk/items/{first}")
    assert "Bridge, in Arabic" not in text_of(limited)


def test_an_override_is_read_in_the_audit_for_good(service: Service, chief: httpx.Client) -> None:
    ruled = parse_editions('[editions.en]\nname = "English"\ntwo_person = [1]')["en"]
    decision = lifecycle.create(ruled, draft(urgency=1), state="live", by="night", now_ms=now_ms())
    decision = require_second(ruled, None, decision, "Alone in the house")
    Outbox(service.redis, breaking_queue(service.redis)).accept(decision)
    assert "Alone in the house" in text_of(chief.get("/desk/audit?edition=en"))
    page = text_of(chief.get(f"/desk/items/{decision.record.id}"))
    assert "Alone, because: Alone in the house" in page


def test_a_killed_line_leaves_no_text_on_any_page(service: Service, chief: httpx.Client) -> None:
    item_id = service.publish("Zebra escapes", speaker="Quagga", outlet="Okapi Times", link="https://oryx.example/")[
        "id"
    ]
    service.change(item_id, 1, headline="Zebra escapes again")
    service.change(item_id, 2, "correct", headline="Zebra caught", note="Not the Zebra")
    assert "Zebra" in chief.get(f"/desk/items/{item_id}").text
    assert "Zebra" in chief.get(f"/desk/items/{item_id}/report.csv").text
    service.act(item_id, "kill", note="A court order")
    paths = (f"items/{item_id}", f"items/{item_id}/report.csv", f"search?q={item_id}", "audit", "audit/export")
    for path in paths:
        page = chief.get(f"/desk/{path}")
        assert page.status_code == 200
        assert item_id in page.text
        assert not re.search("zebra|quagga|okapi|oryx", page.text, re.IGNORECASE), path
    told = text_of(chief.get(f"/desk/items/{item_id}"))
    assert "This line was killed: nothing of its text is kept" in told
    assert re.search(r"Killed20[\d-]+ [\d:.]+adminA court order", told)
    assert "Version 3: correct" in told, "the audit still knows what was done"
    assert search(chief, q="zebra") == []


def test_markup_in_every_field_stays_text_on_every_page(service: Service, chief: httpx.Client) -> None:
    key = service.add_key(f"editor {HOSTILE[:40]}", "chief")
    short = HOSTILE[:60]
    body = {"edition": "en", "headline": HOSTILE, "speaker": short, "outlet": short, "note": HOSTILE}
    item_id = service.http.post("/v1/items", json=body, headers=key | {"prefer": "wait=10"}).json()["id"]
    change = {"change": "correct", "headline": f"{HOSTILE} more", "speaker": f"{short} x", "note": HOSTILE}
    change["related"] = [{"title": HOSTILE, "link": "https://example.org/?a=<b>&c='d'"}]  # type: ignore[assignment]
    answer = service.http.patch(
        f"/v1/items/{item_id}", json=change, headers=key | {"if-match": '"1"', "prefer": "wait=10"}
    )
    assert answer.status_code == 201, answer.text
    service.http.post(f"/v1/items/{item_id}/withhold", json={"note": HOSTILE}, headers=key)
    pages = [f"items/{item_id}", "audit", f"search?q={item_id}"]
    pages += [
        f"{path}?{name}={HOSTILE}" for path in ("search", "audit") for name in ("q", "by", "edition", "next", "<i>")
    ]
    for path in pages:
        page = chief.get(f"/desk/{path}")
        assert page.status_code in (200, 400), path
        assert not re.search(r"<img|<b>|<i>|onerror=alert\(1\)>", page.text), path
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
    assert HOSTILE in text_of(chief.get(f"/desk/items/{item_id}"))


def test_a_report_is_a_sound_csv_that_says_what_the_page_says(service: Service, chief: httpx.Client) -> None:
    headline = 'Quoted "words", commas, and ünïcödé'
    item_id = service.publish(headline, urgency=2, regions=["asia", "mena"])["id"]
    service.change(item_id, 1, headline="Another", note="Why, and why")
    service.act(item_id, "withhold")
    page = chief.get(f"/desk/items/{item_id}/report.csv")
    assert page.content.startswith(b"\xef\xbb\xbf")
    assert page.content.count(b"\r\n") == page.content.count(b"\n") == 4
    assert page.headers["content-type"] == "text/csv; charset=utf-8"
    assert page.headers["content-disposition"] == f'attachment; filename="stoppress-{item_id}.csv"'
    rows = rows_of(page)
    assert [row["action"] for row in rows] == ["publish", "update", "withhold"]
    assert [row["headline"] for row in rows] == [headline, "Another", "Another"]
    assert rows[0]["urgency"] == "2 Bulletin"
    assert rows[0]["regions"] == "asia, mena"
    assert rows[1]["note"] == "Why, and why"
    assert (rows[2]["version before"], rows[2]["state before"], rows[2]["state"]) == ("2", "live", "withheld")
    assert rows[1]["fields changed"] == "headline"
    document = service.http.get(f"/v1/items/{item_id}").json()
    assert [row["at (UTC)"] for row in rows] == [version["at"] for version in document["versions"]]
    assert [int(row["audit n"]) for row in rows] == sorted(int(row["audit n"]) for row in rows)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝"])
def test_no_cell_of_a_report_is_a_formula(service: Service, chief: httpx.Client, sign: str) -> None:
    formula = f"{sign}HYPERLINK(1)"
    item_id = service.publish(formula, speaker=formula, outlet=formula)["id"]
    service.act(item_id, "withhold", note=f"\t{formula}")
    for row in rows_of(chief.get(f"/desk/items/{item_id}/report.csv")):
        assert row["headline"] == row["speaker"] == row["outlet"] == f"'{formula}"
        assert not any(value.startswith(("=", "+", "-", "@", "＝", "\t", "\r")) for value in row.values())


def test_where_a_call_came_from_is_shown_to_chiefs_only(service: Service, visit: Visit) -> None:
    headers = {"x-forwarded-for": "203.0.113.77"}
    body = {"edition": "en", "headline": "From afar", "state": "draft"}
    item_id = service.http.post("/v1/items", json=body, headers=headers).json()["id"]
    paths = ("/desk/audit", f"/desk/items/{item_id}", f"/desk/items/{item_id}/report.csv", f"/v1/items/{item_id}")
    for path in paths:
        assert "203.0.113.77" in visit("chief").get(path).text, path
        for role in ("editor", "contributor"):
            page = visit(role).get(path)
            assert page.status_code == 200
            assert item_id in page.text
            assert "203.0.113.77" not in page.text, (role, path)


def test_the_audit_is_filtered_and_paged(service: Service, visit: Visit) -> None:
    key, browser = service.add_key("Filter Fay", "chief"), visit("editor")
    body = {"edition": "es", "headline": "Una línea", "state": "draft"}
    made = [service.http.post("/v1/items", json=body, headers=key).json()["id"] for _ in range(PAGE + 3)]
    save(service, "De otra persona", edition="es")
    service.http.post(f"/v1/items/{made[0]}/kill", json={"note": "fuera"}, headers=key)

    def places(page: httpx.Response) -> list[int]:
        assert page.status_code == 200
        return [int(n) for n in re.findall(r'<tr data-n="(\d+)"', page.text)]

    page = browser.get("/desk/audit?edition=es")
    assert places(page) == list(range(PAGE + 5, 5, -1))
    assert f"has {PAGE + 5} entries" in text_of(page)
    older = re.search(r'<a href="([^"]+)" rel="next">Older entries</a>', page.text)
    assert older is not None
    assert places(browser.get(html.unescape(older[1]))) == [5, 4, 3, 2, 1]
    page = browser.get("/desk/audit", params={"edition": "es", "by": "FILTER fay", "action": "kill"})
    assert places(page) == [PAGE + 5]
    assert "1 draft →became 2 killed" in text_of(page)
    assert "fuera" in page.text
    link = service.redis.xrevrange(Keys.of("es").audit, count=1)[0][1][b"link"].decode()
    assert f"<code>{link[:10]}</code>" in page.text
    assert places(browser.get("/desk/audit?edition=es&by=admin")) == [PAGE + 4]
    now = datetime.now(UTC)
    params = {"edition": "es", "since": minute(now + timedelta(minutes=2))}
    assert places(browser.get("/desk/audit", params=params)) == []
    params = {"edition": "es", "until": minute(now - timedelta(minutes=10))}
    page = browser.get("/desk/audit", params=params)
    assert "No entry matches" in text_of(page)
    assert "audit/export" not in browser.get("/desk/audit").text, "an editor is offered no export"


def test_the_export_is_the_commands_and_proves_itself(service: Service, chief: httpx.Client) -> None:
    service.publish("To be exported")
    answer = chief.get("/desk/audit/export?edition=en")
    assert answer.headers["content-disposition"] == 'attachment; filename="stoppress-audit-en.jsonl"'
    path = service.folder / "from-the-desk.jsonl"
    path.write_bytes(answer.content)
    command = service.command("audit", "export", "-e", "en")
    assert command.stdout.encode() == answer.content
    done = service.command("audit", "verify", str(path))
    assert done.returncode == 0
    assert "unbroken" in done.stdout
    path.write_bytes(answer.content.replace(b"admin", b"nimda", 1))
    assert service.command("audit", "verify", str(path)).returncode == 1
    whole = chief.get("/desk/audit/export")
    assert whole.text == service.command("audit", "export").stdout
    assert chief.get("/desk/audit/export?edition=xx").status_code == 404


def test_an_entry_that_somebody_spoilt_is_shown_as_that(own_service: Service) -> None:
    service = own_service
    service.start()
    item_id = save(service, "Whole")
    keys = Keys.of("en")
    service.redis.xadd(keys.audit, {"entry": "{spoilt", "n": "x"})
    ticket = Sessions(service.redis, Users(service.redis)).make_ticket()
    with httpx.Client(base_url=service.http.base_url, trust_env=False, timeout=DEADLINE_SECONDS) as chief:
        chief.post("/desk/sign-in", data={"ticket": ticket})
        page = chief.get("/desk/audit")
        assert page.status_code == 200
        assert "This entry cannot be read: verify the log." in text_of(page)
        assert item_id in page.text
        assert chief.get(f"/desk/items/{item_id}").status_code == 200
