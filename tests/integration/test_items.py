"""An item's whole life over HTTP, as docs/protocol.md and DESIGN 6 promise it to editors."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from service.domain.instant import format_ms, parse_ms
from service.domain.lifecycle import ACTIONS, STARTS, State
from service.store.accounts import ROLES, Accounts
from tests.integration.harness import DEADLINE_SECONDS, Service, now_ms, until

Header = dict[str, str]
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def keys(service: Service) -> dict[str, Header]:
    """A key of each role; the accounts are called Zora-<role>, so that a leak of a name shows."""
    return {role: service.add_key(f"Zora-{role}", role) for role in ROLES if role != "ingest"}


def post(service: Service, body: dict[str, Any], headers: Header | None = None) -> httpx.Response:
    return service.http.post("/v1/items", json={"edition": "en", "headline": "A line"} | body, headers=headers)


def draft(service: Service, **fields: Any) -> str:
    answer = post(service, {"state": "draft"} | fields)
    assert answer.status_code == 202, answer.text
    item_id: str = answer.json()["id"]
    return item_id


def read(service: Service, item_id: str) -> dict[str, Any]:
    answer = service.http.get(f"/v1/items/{item_id}")
    assert answer.status_code == 200, answer.text
    record: dict[str, Any] = answer.json()
    return record


def ticker(service: Service, edition: str = "en", **query: str) -> list[dict[str, Any]]:
    answer = service.http.get(f"/v1/editions/{edition}/ticker", params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def on_air(service: Service, item_id: str, edition: str = "en") -> bool:
    return item_id in [item["id"] for item in ticker(service, edition)]


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check a refusal, and return its problem document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["code"] == code
    return document


def at_once(count: int, call: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


# Publishing


def test_publishing_answers_202_once_it_is_accepted(service: Service) -> None:
    answer = post(service, {"headline": "Ceasefire takes effect"})
    assert answer.status_code == 202
    document = answer.json()
    assert document == {"id": document["id"], "version": 1, "state": "live"}
    assert answer.headers["location"] == f"/v1/items/{document['id']}"
    assert answer.headers["etag"] == '"1"'
    assert "preference-applied" not in answer.headers
    until(lambda: on_air(service, document["id"]), "the line to be on air")


def test_who_prefers_to_wait_is_told_its_place_in_the_log(service: Service) -> None:
    answer = post(service, {}, {"prefer": "wait=5"})
    assert answer.status_code == 201
    document = answer.json()
    assert answer.headers["preference-applied"] == "wait=5"
    assert answer.headers["location"] == f"/v1/items/{document['id']}"
    assert answer.headers["etag"] == '"1"'
    epoch, _, seq = document["cursor"].partition(".")
    assert document["seq"] == int(seq)
    following = service.publish()
    assert following["cursor"] == f"{epoch}.{document['seq'] + 1}"


def test_a_draft_is_not_waited_for_since_it_never_enters_the_log(service: Service) -> None:
    answer = post(service, {"state": "draft"}, {"prefer": "wait=5"})
    assert answer.status_code == 202
    assert answer.json()["state"] == "draft"
    assert answer.elapsed.total_seconds() < 4
    assert not on_air(service, answer.json()["id"])


@pytest.mark.parametrize("prefer", ["wait=0", "wait=-1", "wait=NaN", "wait", "respond-async", "wait=99999999999"])
def test_a_preference_that_is_none_is_passed_over(service: Service, prefer: str) -> None:
    answer = post(service, {"state": "draft"}, {"prefer": prefer})
    assert answer.status_code == 202


def test_every_field_of_a_line_reaches_its_readers(service: Service) -> None:
    expires = format_ms(now_ms() + HOUR_MS)
    given: dict[str, Any] = {
        "headline": "  Ceasefire e\u0301  ",
        "urgency": 1,
        "speaker": "Foreign Ministry",
        "outlet": "Reuters",
        "link": "https://news.example/a?b=c#d",
        "section": "politics",
        "regions": ["mena", "europe", "mena"],
        "subjects": ["medtop:11000000"],
        "language": "en-GB",
        "expires": expires,
        "related": [{"title": "Earlier", "link": "https://news.example/b"}],
        "altIds": ["urn:x:1"],
    }
    made = service.publish(**given)
    item = next(each for each in ticker(service) if each["id"] == made["id"])
    cleaned = given | {"headline": "Ceasefire é", "regions": ["mena", "europe"]}
    assert item == cleaned | {
        "id": made["id"],
        "version": 1,
        "edition": "en",
        "pinned": False,
        "pubStatus": "usable",
        "firstCreated": item["versionCreated"],
        "versionCreated": item["publishedAt"],
        "publishedAt": item["firstCreated"],
        "correction": None,
    }


def test_a_headline_over_100_characters_is_taken_with_a_warning(service: Service) -> None:
    assert "warnings" not in post(service, {"headline": "x" * 100, "state": "draft"}).json()
    answer = post(service, {"headline": "x" * 101, "state": "draft"})
    assert answer.status_code == 202
    assert answer.json()["warnings"] == ["the headline has more than 100 characters"]
    assert post(service, {"headline": "ب" * 300, "state": "draft"}).status_code == 202


# Drafts and rights


def test_a_draft_goes_through_every_desk_to_the_air(service: Service, keys: dict[str, Header]) -> None:
    answer = post(service, {"headline": "Budget passes"}, keys["contributor"])
    assert (answer.status_code, answer.json()["state"]) == (202, "draft"), "a contributor's line is a draft"
    item_id = answer.json()["id"]
    states = []
    for action, role in (("submit", "contributor"), ("approve", "chief"), ("publish", "editor")):
        answer = service.http.post(f"/v1/items/{item_id}/{action}", headers=keys[role] | {"prefer": "wait=5"})
        assert answer.status_code == (201 if action == "publish" else 202), answer.text
        states.append(answer.json()["state"])
    assert states == ["submitted", "approved", "live"]
    assert on_air(service, item_id)
    record = read(service, item_id)
    assert [(step["action"], step["by"], step["version"]) for step in record["versions"]] == [
        ("create", "Zora-contributor", 1),
        ("submit", "Zora-contributor", 1),
        ("approve", "Zora-chief", 1),
        ("publish", "Zora-editor", 1),
    ]


def test_a_contributor_may_not_publish(service: Service, keys: dict[str, Header]) -> None:
    refused(post(service, {"state": "live"}, keys["contributor"]), 403, "forbidden")


# Which of the roles may do what; the rest may not.
MAY = {
    "submit": ("contributor", "editor", "chief"),
    "approve": ("chief",),
    "publish": ("editor", "chief"),
    "stop": ("editor", "chief"),
    "link": ("contributor", "editor", "chief"),
    "withhold": ("editor", "chief"),
    "release": ("editor", "chief"),
    "kill": ("chief",),
    "expire": ("editor", "chief"),
    "pin": ("editor", "chief"),
    "unpin": ("editor", "chief"),
}


@pytest.mark.parametrize("role", ["reader", "contributor", "editor", "chief"])
@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_is_for_its_roles_alone(service: Service, keys: dict[str, Header], action: str, role: str) -> None:
    item_id = draft(service)
    answer = service.http.post(f"/v1/items/{item_id}/{action}", headers=keys[role])
    if role not in MAY[action]:
        problem = refused(answer, 403, "forbidden")
        assert f"Zora-{role} is {role}" in problem["detail"]
        assert read(service, item_id)["rev"] == 1
    else:
        # Allowed to try; whether a draft can be pinned, or linked to nothing, is another matter.
        assert answer.status_code == (422 if action == "link" else 202 if "draft" in STARTS[action] else 409)


def test_a_contributor_changes_drafts_but_not_what_is_approved_or_on_air(
    service: Service, keys: dict[str, Header]
) -> None:
    mine = keys["contributor"] | {"if-match": '"1"'}
    item_id = draft(service)
    body = {"change": "update", "headline": "Another"}
    assert service.http.patch(f"/v1/items/{item_id}", json=body, headers=mine).status_code == 202
    live = service.publish()["id"]
    refused(service.http.patch(f"/v1/items/{live}", json=body, headers=mine), 403, "forbidden")
    approved = draft(service)
    for action in ("submit", "approve"):
        service.act(approved, action)
    refused(service.http.patch(f"/v1/items/{approved}", json=body, headers=mine), 403, "forbidden")


def test_a_reader_sees_nothing_of_the_newsroom(service: Service, keys: dict[str, Header]) -> None:
    item_id = draft(service)
    for path in ("/v1/items", f"/v1/items/{item_id}"):
        refused(service.http.get(path, headers=keys["reader"]), 403, "forbidden")


def test_a_key_for_one_edition_is_none_for_another(service: Service) -> None:
    arabic = service.add_key("arabic desk", "chief", editions=("ar",))
    refused(post(service, {}, arabic), 403, "forbidden")
    english = draft(service, headline="onlyforenglish")
    refused(service.http.get(f"/v1/items/{english}", headers=arabic), 403, "forbidden")
    refused(service.http.post(f"/v1/items/{english}/kill", headers=arabic), 403, "forbidden")
    refused(service.http.get("/v1/items?edition=en", headers=arabic), 403, "forbidden")
    assert post(service, {"edition": "ar", "state": "draft"}, arabic).status_code == 202
    listed = service.http.get("/v1/items", headers=arabic).json()["items"]
    assert {item["edition"] for item in listed} == {"ar"}


# New text


def test_a_correction_shows_its_note_and_an_update_and_a_refile_none(service: Service) -> None:
    made = service.publish("Ten hurt")
    with service.screen() as screen:
        screen.next()
        assert service.change(made["id"], 1, headline="Twelve hurt", note="secret-update").status_code == 201
        assert screen.item(made["id"], 2)["correction"] is None
        assert service.change(made["id"], 2, "refile", headline="Twelve hurt.", note="secret-refile").status_code == 201
        assert screen.item(made["id"], 3)["correction"] is None
        answer = service.change(made["id"], 3, "correct", headline="Eleven hurt", note="It was eleven, not twelve")
        assert (answer.status_code, answer.json()["version"]) == (201, 4)
        assert answer.headers["etag"] == '"4"'
        item = screen.item(made["id"], 4)
    assert item["headline"] == "Eleven hurt"
    assert item["correction"] == {
        "type": "corrected",
        "note": "It was eleven, not twelve",
        "at": item["versionCreated"],
    }
    assert item["firstCreated"] < item["versionCreated"]
    assert "secret" not in str(screen.messages)
    assert next(each for each in ticker(service) if each["id"] == made["id"]) == item


def test_a_correction_before_the_first_reader_is_none(service: Service) -> None:
    item_id = draft(service)
    service.change(item_id, 1, "correct", headline="Other", note="Only the desk saw it")
    service.act(item_id, "publish")
    item = next(each for each in ticker(service) if each["id"] == item_id)
    assert (item["headline"], item["correction"]) == ("Other", None)


def test_a_change_needs_the_version_that_its_author_saw(service: Service) -> None:
    item_id = service.publish()["id"]
    path, body = f"/v1/items/{item_id}", {"change": "update", "headline": "Other"}
    for headers in ({}, {"if-match": "*"}):
        refused(service.http.patch(path, json=body, headers=headers), 428, "if-match-required")
    assert read(service, item_id)["version"] == 1
    assert service.change(item_id, 1, headline="Second").status_code == 201
    problem = refused(service.change(item_id, 1, headline="Third"), 409, "stale-version")
    assert (problem["current"], problem["state"]) == (2, "live")
    assert read(service, item_id)["item"]["headline"] == "Second"


def test_an_action_with_a_stale_version_is_refused_and_one_without_is_taken(service: Service) -> None:
    item_id = service.publish()["id"]
    service.change(item_id, 1, headline="Second")
    problem = refused(service.act(item_id, "withhold", version=1), 409, "stale-version")
    assert problem["current"] == 2
    assert service.act(item_id, "withhold", version=2).status_code == 201


def test_a_change_that_changes_nothing_is_refused(service: Service) -> None:
    item_id = service.publish("The same")["id"]
    refused(service.change(item_id, 1, headline="The same"), 409, "conflict")


def test_a_field_that_is_not_sent_stays_and_null_clears_it(service: Service) -> None:
    item_id = service.publish(speaker="Ministry", outlet="Reuters")["id"]
    service.change(item_id, 1, speaker=None)
    item = read(service, item_id)["item"]
    assert (item["speaker"], item["outlet"]) == (None, "Reuters")


# Off the air


def test_a_withheld_line_leaves_every_screen_and_comes_back_when_released(service: Service) -> None:
    made = service.publish("Unconfirmed")
    with service.screen() as screen:
        screen.next()
        answer = service.act(made["id"], "withhold", note="secret-doubt")
        assert (answer.status_code, answer.json()["state"], answer.json()["version"]) == (201, "withheld", 2)
        assert screen.removal(made["id"])["reason"] == "withheld"
        assert not on_air(service, made["id"])
        assert service.change(made["id"], 2, headline="Confirmed").status_code == 202, "nobody is told yet"
        answer = service.act(made["id"], "release")
        assert (answer.status_code, answer.json()["version"]) == (201, 4)
        assert screen.item(made["id"], 4)["headline"] == "Confirmed"
    assert on_air(service, made["id"])
    assert "secret" not in str(screen.messages)


def test_an_expired_line_leaves_the_ticker(service: Service) -> None:
    made = service.publish()
    with service.screen() as screen:
        screen.next()
        assert service.act(made["id"], "expire").json()["state"] == "expired"
        assert screen.removal(made["id"])["reason"] == "expired"
    assert not on_air(service, made["id"])
    refused(service.change(made["id"], 2, headline="Again"), 409, "conflict")


def test_the_clock_expires_a_line_at_its_time(service: Service) -> None:
    with service.screen() as screen:
        screen.next()
        ends = now_ms() + 600
        made = service.publish(expires=format_ms(ends))
        assert screen.removal(made["id"])["reason"] == "expired"
        assert now_ms() >= ends
    assert read(service, made["id"])["changedBy"] == "clock"


def test_pinned_lines_are_first_then_the_newest(service: Service) -> None:
    first, second, third = (service.publish(f"Line {n}", edition="es")["id"] for n in range(3))

    def order() -> list[str]:
        return [item["id"] for item in ticker(service, "es")]

    assert order() == [third, second, first]
    assert service.act(first, "pin").json()["version"] == 2
    assert order() == [first, third, second]
    pinned = service.publish("Born pinned", edition="es", pinned=True)["id"]
    assert order() == [pinned, first, third, second]
    refused(service.act(first, "pin"), 409, "conflict")
    service.act(first, "unpin")
    assert order() == [pinned, third, second, first]
    refused(service.act(first, "unpin"), 409, "conflict")


def test_a_killed_line_is_gone_for_good_with_every_trace_of_its_text(service: Service) -> None:
    made = service.publish("Unspeakable headline", id="kill-me-once", note="secret-why")
    service.change(made["id"], 1, headline="Unspeakable again")
    draft(service, headline="harmless")
    with service.screen() as screen:
        screen.next()
        answer = service.act(made["id"], "kill", note="secret-reason")
        assert (answer.status_code, answer.json()["state"], answer.json()["version"]) == (201, "killed", 3)
        removal = screen.removal(made["id"])
    assert removal == {
        "type": "remove",
        "cursor": answer.json()["cursor"],
        "id": made["id"],
        "version": 3,
        "reason": "killed",
    }
    assert not on_air(service, made["id"])
    with service.screen(cursor=f"{made['cursor'].partition('.')[0]}.{made['seq'] - 1}") as late:
        assert late.next()["type"] == "resumed"
        assert late.next() == removal, "who resumes from before it sees only the tombstone"
    assert "harmless" in str(service.stored()), "this test reads what Redis holds"
    assert "Unspeakable" not in str(service.stored())
    record = read(service, made["id"])
    assert (record["state"], record["item"], record["note"]) == ("killed", None, "secret-reason")
    assert [step["item"] for step in record["versions"]] == [None]
    assert [entry["action"] for entry in record["audit"]] == ["publish", "update", "kill"]
    assert "Unspeakable" not in str(record)


def test_nothing_is_possible_after_a_kill(service: Service) -> None:
    item_id = service.publish("To be killed", id="never-again")["id"]
    assert service.act(item_id, "kill").status_code == 201
    for action in sorted(set(ACTIONS) - {"kill"}):
        problem = refused(service.act(item_id, action), 409, "conflict")
        assert "killed" in problem["detail"]
    for version in (None, 1, 2):
        twice = service.act(item_id, "kill", version)
        assert (twice.status_code, twice.json()["version"]) == (201, 2), "whoever kills it again has what they wanted"
    assert [entry["action"] for entry in read(service, item_id)["audit"]] == ["publish", "kill"]
    refused(service.change(item_id, 2, headline="Undead"), 409, "conflict")
    problem = refused(post(service, {"id": item_id, "headline": "Undead"}), 409, "id-taken")
    assert problem["state"] == "killed"
    again = post(service, {"id": item_id, "headline": "To be killed"})
    assert (again.status_code, again.json()["state"]) == (202, "killed"), "a late retry learns how it ended"
    assert not on_air(service, item_id)


def test_a_killed_draft_is_announced_to_nobody(service: Service) -> None:
    before = service.publish()
    item_id = draft(service)
    assert service.act(item_id, "kill").status_code == 202
    assert service.publish()["seq"] == before["seq"] + 1


def put_into(service: Service, state: State) -> str:
    """An item in a state."""
    match state:
        case "draft" | "submitted" | "approved":
            item_id = draft(service)
            for action in ("submit", "approve")[: ("draft", "submitted", "approved").index(state)]:
                assert service.act(item_id, action).status_code == 202
            return item_id
        case "embargoed" | "scheduled":
            name = "embargoedUntil" if state == "embargoed" else "publishAt"
            answer = post(service, {name: format_ms(now_ms() + HOUR_MS)})
            assert answer.status_code == 202
            return str(answer.json()["id"])
        case _:
            item_id = str(service.publish()["id"])
            ending = {"withheld": "withhold", "expired": "expire", "killed": "kill"}.get(state)
            assert ending is None or service.act(item_id, ending).status_code == 201
            return item_id


@pytest.mark.parametrize("state", get_args(State))
def test_an_action_that_the_state_does_not_allow_is_refused(service: Service, state: State) -> None:
    item_id = put_into(service, state)
    before = read(service, item_id)
    tried = 0
    for action, starts in STARTS.items():
        # Killing what is dead already succeeds, and does nothing.
        if state not in starts and (action, state) != ("kill", "killed"):
            problem = refused(service.act(item_id, action), 409, "conflict")
            assert state in problem["detail"]
            tried += 1
    assert tried
    assert {**read(service, item_id), "reach": None} == {**before, "reach": None}


# Embargo


def test_an_embargoed_line_is_accepted_and_nobody_sees_it(service: Service) -> None:
    until_text = format_ms(now_ms() + HOUR_MS)
    before = service.publish()
    answer = post(service, {"headline": "Not yet", "embargoedUntil": until_text}, {"prefer": "wait=5"})
    assert (answer.status_code, answer.json()["state"]) == (202, "embargoed")
    item_id = answer.json()["id"]
    assert service.publish()["seq"] == before["seq"] + 1, "the log holds nothing of it"
    assert not on_air(service, item_id)
    record = read(service, item_id)
    assert (record["embargoedUntil"], record["item"]["publishedAt"]) == (until_text, until_text)
    assert parse_ms(record["item"]["expires"], "") - parse_ms(until_text, "") == 6 * HOUR_MS, "counted from then"
    answer = service.act(item_id, "publish")
    assert (answer.status_code, answer.json()["state"]) == (201, "live")
    assert on_air(service, item_id)


def test_an_embargo_ends_at_its_moment_and_not_before(service: Service) -> None:
    with service.screen() as screen:
        screen.next()
        ends = now_ms() + 700
        item_id = post(service, {"embargoedUntil": format_ms(ends)}).json()["id"]
        item = screen.item(item_id)
        assert now_ms() >= ends
    assert item["publishedAt"] == format_ms(ends)


def test_a_line_approved_under_embargo_waits_for_its_time(service: Service) -> None:
    item_id = draft(service, embargoedUntil=format_ms(now_ms() + HOUR_MS))
    assert service.act(item_id, "publish").json()["state"] == "embargoed"
    later = format_ms(now_ms() + 2 * HOUR_MS)
    assert service.change(item_id, 1, embargoedUntil=later).status_code == 202
    assert read(service, item_id)["embargoedUntil"] == later
    assert service.act(item_id, "kill").status_code == 202
    assert service.redis.zscore("sp:{en}:due", item_id) is None


def test_what_is_public_cannot_be_embargoed(service: Service) -> None:
    item_id = service.publish()["id"]
    refused(service.change(item_id, 1, embargoedUntil=format_ms(now_ms() + HOUR_MS)), 409, "conflict")


# Reading


def test_one_item_is_shown_with_its_versions_its_audit_and_its_reach(service: Service) -> None:
    with service.screen() as screen:
        screen.next()
        made = service.publish("First", note="for the desk")
        change = service.change(made["id"], 1, "correct", headline="Second", note="Was wrong")
        screen.item(made["id"], 2)
        screen.ack(change.json()["cursor"])
        # Screens of earlier tests may have left only just now.
        one = {"screens": 1, "confirmed": 1}
        until(lambda: read(service, made["id"])["reach"] == one, "the screen's ack to be counted")
        answer = service.http.get(f"/v1/items/{made['id']}")
    assert answer.headers["etag"] == '"2"'
    assert answer.headers["cache-control"] == "no-store"
    record = answer.json()
    assert (record["state"], record["version"], record["createdBy"]) == ("live", 2, "admin")
    texts = [(step["version"], step["item"]["headline"], step["note"]) for step in record["versions"]]
    assert texts == [(1, "First", "for the desk"), (2, "Second", "Was wrong")]
    entries = [(entry["action"], entry["by"], entry["address"], entry["version"]) for entry in record["audit"]]
    assert entries == [("publish", "admin", "127.0.0.1", 1), ("correct", "admin", "127.0.0.1", 2)]
    assert record["reach"] == one
    assert "origin" not in record


def listing(service: Service, **query: str) -> tuple[list[str], str | None]:
    answer = service.http.get("/v1/items", params=query)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    return [record["id"] for record in document["items"]], document["next"]


def test_the_listing_finds_by_edition_state_text_and_time(service: Service) -> None:
    english, arabic, dead = (
        draft(service, headline="Quixotry one"),
        draft(service, headline="Quixotry two", edition="ar", speaker="Sancho"),
        draft(service, headline="Quixotry three"),
    )
    service.act(dead, "submit")
    assert listing(service, q="quixotry") == ([dead, arabic, english], None), "last changed first, any case"
    assert listing(service, q="QUIXOTRY", edition="en")[0] == [dead, english]
    assert listing(service, q="Quixotry", state="submitted")[0] == [dead]
    assert listing(service, q="sancho")[0] == [arabic]
    assert listing(service, q=english)[0] == [english]
    assert listing(service, q="nothing of the kind") == ([], None)
    changed = read(service, arabic)["changedAt"]
    assert english not in listing(service, q="Quixotry", since=format_ms(parse_ms(changed, "") + 1))[0]
    assert dead not in listing(service, q="Quixotry", until=format_ms(parse_ms(changed, "") - 1))[0]
    assert arabic in listing(service, q="Quixotry", since=changed, until=changed)[0]
    assert "origin" not in service.http.get("/v1/items").json()["items"][0]


def test_the_listing_is_paged_without_losing_or_doubling_one(service: Service) -> None:
    made = [draft(service, headline=f"Paged {n}", edition=("en", "ar", "es")[n % 3]) for n in range(7)]
    found: list[str] = []
    page, further = listing(service, q="paged", limit="3")
    pages = [page]
    while further:
        found += page
        page, further = listing(service, q="paged", limit="3", next=further)
        pages.append(page)
    assert [each for page in pages for each in page] == list(reversed(made))
    assert all(len(page) <= 3 for page in pages)


# DESIGN 4, "The item on the wire": these and no more.
ON_THE_WIRE = {
    *("id", "version", "edition", "language", "urgency", "headline", "speaker", "outlet", "link", "section", "regions"),
    *("subjects", "pinned", "pubStatus", "firstCreated", "versionCreated", "publishedAt", "expires", "correction"),
    *("related", "altIds"),
}


def test_nothing_internal_reaches_a_reader(service: Service, keys: dict[str, Header]) -> None:
    with service.screen() as screen:
        screen.next()
        headers = keys["editor"] | {"prefer": "wait=5"}
        made = post(service, {"headline": "Clean", "note": "secret-1"}, headers).json()
        path = f"/v1/items/{made['id']}"
        patch = {"change": "update", "headline": "Clean 2", "note": "secret-2"}
        service.http.patch(path, json=patch, headers=headers | {"if-match": '"1"'})
        for action in ("pin", "unpin", "withhold", "release"):
            answer = service.http.post(f"{path}/{action}", json={"note": "secret-3"}, headers=headers)
            assert answer.status_code == 201
        screen.item(made["id"], 6)
        with service.screen() as other:
            snapshot = other.next()
        served = ticker(service)
        service.http.post(f"{path}/kill", json={"note": "secret-4"}, headers=keys["chief"])
        screen.removal(made["id"])
    seen = [each for each in served + snapshot["items"] if each["id"] == made["id"]]
    seen += [each["item"] for each in screen.messages if each.get("item", {}).get("id") == made["id"]]
    assert len(seen) == 7
    for item in seen:
        assert set(item) == ON_THE_WIRE
    for internal in ("secret", "Zora", "127.0.0.1"):
        assert internal not in f"{served} {snapshot} {screen.messages}", internal


# Twice


def test_the_same_line_under_its_own_id_is_accepted_once(service: Service) -> None:
    body = {"id": "own-id-1", "headline": "Once", "speaker": "Ministry"}
    first = post(service, body, {"prefer": "wait=5"})
    again = post(service, body, {"prefer": "wait=5"})
    assert (first.status_code, first.json()) == (again.status_code, again.json()), "a lost answer can be had again"
    assert [first.json()[name] for name in ("id", "version", "state")] == ["own-id-1", 1, "live"]
    assert (post(service, body).status_code, post(service, body).json()["state"]) == (202, "live")
    assert len(read(service, "own-id-1")["audit"]) == 1
    assert service.publish()["seq"] == first.json()["seq"] + 1


@pytest.mark.parametrize("field", ["embargoedUntil", "expires"])
def test_a_lost_answer_can_be_had_again_after_the_lines_time_is_past(service: Service, field: str) -> None:
    soon = format_ms(now_ms() + 400)
    body = {"id": f"late-{field}", "headline": "Its time passes", field: soon}
    first = post(service, body)
    assert first.status_code == 202
    until(lambda: format_ms(now_ms()) > soon, "its time to be past")
    again = post(service, body)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    refused = post(service, body | {"id": f"never-{field}"})
    assert (refused.status_code, refused.json()["path"]) == (422, f"$.{field}")


def test_another_text_under_a_taken_id_is_refused(service: Service) -> None:
    body = {"id": "own-id-2", "headline": "Mine"}
    assert post(service, body).status_code == 202
    refused(post(service, body | {"headline": "Yours"}), 409, "id-taken")
    assert read(service, "own-id-2")["item"]["headline"] == "Mine"


def test_an_id_names_one_item_among_all_editions(service: Service) -> None:
    assert post(service, {"id": "own-id-3"}).status_code == 202
    problem = refused(post(service, {"id": "own-id-3", "edition": "ar"}), 409, "id-taken")
    assert "en" in problem["detail"]


def test_a_refused_line_does_not_take_its_id(service: Service) -> None:
    refused(post(service, {"id": "own-id-4", "edition": "ar", "section": "gossip"}), 422, "invalid-field")
    assert post(service, {"id": "own-id-4", "edition": "en"}).status_code == 202


def test_an_idempotency_key_makes_a_publication_happen_once(service: Service) -> None:
    headers = {"idempotency-key": "publish-once"}
    first = post(service, {"headline": "Once more"}, headers)
    again = post(service, {"headline": "Once more"}, headers)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert first.headers["location"] == again.headers["location"]
    assert listing(service, q="Once more")[0] == [first.json()["id"]]
    refused(post(service, {"headline": "Once less"}, headers), 422, "idempotency-key-reused")
    assert listing(service, q="Once less")[0] == []


def test_an_idempotency_key_makes_a_change_happen_once_even_when_its_version_is_stale(service: Service) -> None:
    item_id = service.publish("Before")["id"]
    path, headers = f"/v1/items/{item_id}", {"idempotency-key": "change-once", "if-match": '"1"'}
    body = {"change": "update", "headline": "After"}
    first = service.http.patch(path, json=body, headers=headers)
    assert service.change(item_id, 2, headline="Later").status_code == 201
    again = service.http.patch(path, json=body, headers=headers)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    record = read(service, item_id)
    assert (record["version"], record["item"]["headline"]) == (3, "Later")
    other = body | {"headline": "Else"}
    refused(service.http.patch(path, json=other, headers=headers), 422, "idempotency-key-reused")
    refused(service.http.patch(path, json=body, headers=headers | {"if-match": '"3"'}), 422, "idempotency-key-reused")


def test_an_idempotency_key_makes_an_action_happen_once(service: Service) -> None:
    item_id = service.publish()["id"]
    headers = {"idempotency-key": "withhold-once"}
    first = service.http.post(f"/v1/items/{item_id}/withhold", headers=headers)
    service.act(item_id, "release")
    again = service.http.post(f"/v1/items/{item_id}/withhold", headers=headers)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert on_air(service, item_id), "the retry withheld nothing"
    refused(service.http.post(f"/v1/items/{item_id}/kill", headers=headers), 422, "idempotency-key-reused")
    assert on_air(service, item_id)


def test_two_callers_may_use_the_same_idempotency_key(service: Service, keys: dict[str, Header]) -> None:
    ids = {
        post(service, {"headline": f"By {role}"}, keys[role] | {"idempotency-key": "shared"}).json()["id"]
        for role in ("editor", "chief", "contributor")
    }
    assert len(ids) == 3


def test_a_refused_request_does_not_use_its_idempotency_key_up(service: Service) -> None:
    headers = {"idempotency-key": "mended"}
    refused(post(service, {"section": "gossip"}, headers), 422, "invalid-field")
    assert post(service, {"section": "politics"}, headers).status_code == 202


# At once


def test_twenty_callers_with_one_id_make_one_item(service: Service) -> None:
    with service.screen() as screen:
        screen.next()
        answers = at_once(20, lambda n: post(service, {"id": "crowd-1", "headline": "One"}, {"prefer": "wait=5"}))
        marker = service.publish()["id"]
        screen.item(marker)
    assert {answer.status_code for answer in answers} <= {201, 202}
    assert {(answer.json()["id"], answer.json()["version"]) for answer in answers} == {("crowd-1", 1)}
    assert sum(message.get("item", {}).get("id") == "crowd-1" for message in screen.messages) == 1
    assert len(read(service, "crowd-1")["audit"]) == 1


def test_twenty_callers_with_one_idempotency_key_make_one_item(service: Service) -> None:
    answers = at_once(20, lambda n: post(service, {"headline": "Crowded key"}, {"idempotency-key": "crowd"}))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(listing(service, q="Crowded key")[0]) == 1


def test_of_ten_changes_of_one_version_exactly_one_wins(service: Service) -> None:
    item_id = service.publish("Zero")["id"]
    answers = at_once(10, lambda n: service.change(item_id, 1, headline=f"Try {n}"))
    won = [n for n, answer in enumerate(answers) if answer.is_success]
    assert len(won) == 1
    for n, answer in enumerate(answers):
        if n not in won:
            assert refused(answer, 409, "stale-version")["current"] == 2
    record = read(service, item_id)
    assert (record["version"], record["item"]["headline"]) == (2, f"Try {won[0]}")


def test_two_kills_at_once_leave_one_tombstone(service: Service) -> None:
    with service.screen() as screen:
        screen.next()
        for _ in range(5):
            item_id = service.publish()["id"]
            answers = at_once(2, lambda n, item_id=item_id: service.act(item_id, "kill"))  # type: ignore[misc]
            codes = sorted(answer.status_code for answer in answers)
            assert codes in ([201, 201], [201, 409]), codes
            screen.item(service.publish()["id"])
            removals = [each for each in screen.messages if each["type"] == "remove" and each["id"] == item_id]
            assert len(removals) == 1
            assert read(service, item_id)["version"] == 2


def test_a_kill_wins_over_changes_at_the_same_moment(service: Service) -> None:
    for _ in range(5):
        item_id = service.publish()["id"]

        def call(n: int, item_id: str = item_id) -> httpx.Response:
            return service.act(item_id, "kill") if n == 3 else service.change(item_id, 1, headline=f"Try {n}")

        answers = at_once(6, call)
        assert answers[3].status_code == 201, answers[3].text
        assert read(service, item_id)["state"] == "killed"
        assert not on_air(service, item_id)


# Private editions

EDITIONS = """
[editions.en]
name = "English"
[editions.desk]
name = "The desk"
language = "en"
private = true
"""


@pytest.fixture(scope="module")
def private_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("private")
    (folder / "editions.toml").write_text(EDITIONS)
    with Service(folder, editions=str(folder / "editions.toml")) as running:
        running.start()
        yield running


def socket_status(service: Service, edition: str, headers: Header | None) -> int:
    """The HTTP status of a refused handshake; 101 if a reader was let in."""
    try:
        with connect(
            service.socket_url(edition), additional_headers=headers, proxy=None, open_timeout=DEADLINE_SECONDS
        ):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def test_a_private_edition_is_for_who_has_a_key(private_service: Service) -> None:
    service = private_service
    reader = service.add_key("newsroom screen", "reader", editions=("desk",))
    elsewhere = service.add_key("english screen", "reader", editions=("en",))
    made = service.publish("For our eyes only", edition="desk")
    with httpx.Client(base_url=service.http.base_url, trust_env=False) as stranger:
        path = "/v1/editions/desk/ticker"
        answer = stranger.get(path)
        refused(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        refused(stranger.get(path, headers={"authorization": "Bearer sp_wrong"}), 401, "unauthenticated")
        refused(stranger.get(path, headers=elsewhere), 403, "forbidden")
        answer = stranger.get(path, headers=reader)
        assert [item["id"] for item in answer.json()["items"]] == [made["id"]]
        assert answer.headers["cache-control"].startswith("private"), "no CDN may keep it"
        assert stranger.get("/v1/editions/en/ticker").status_code == 200
    assert socket_status(service, "desk", None) == 401
    assert socket_status(service, "desk", {"authorization": "Bearer sp_wrong"}) == 401
    assert socket_status(service, "desk", elsewhere) == 403
    assert socket_status(service, "en", None) == 101
    with service.screen("desk", headers=reader) as screen:
        assert screen.next()["items"][0]["headline"] == "For our eyes only"
        screen.item(service.publish(edition="desk")["id"])


def test_a_private_edition_is_not_on_the_public_page(private_service: Service) -> None:
    with httpx.Client(base_url=private_service.http.base_url, trust_env=False) as stranger:
        page = stranger.get("/").text
        assert "English" in page
        assert "desk" not in page
        refused(stranger.get("/?edition=desk"), 401, "unauthenticated")


def test_a_person_with_a_browser_gets_a_page_for_what_is_not_there(service: Service) -> None:
    for path in ("/?edition=xx", "/nowhere<b>"):
        answer = service.http.get(path, headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "<b>" not in answer.text
        refused(service.http.get(path), 404, "unknown-edition" if "?" in path else "not-found")


def test_a_private_edition_is_private_under_every_spelling_of_its_address(private_service: Service) -> None:
    for spelt in ("%64esk", "d%65sk", "des%6b", "%64%65%73%6B"):
        assert socket_status(private_service, spelt, None) == 401, spelt
        with httpx.Client(base_url=private_service.http.base_url, trust_env=False) as stranger:
            assert stranger.get(f"/v1/editions/{spelt}/ticker").status_code == 401


def test_a_revoked_key_opens_a_private_edition_no_more(private_service: Service) -> None:
    service = private_service
    reader = service.add_key("leaver", "reader")
    assert service.http.get("/v1/editions/desk/ticker", headers=reader).status_code == 200
    Accounts(service.redis, None).revoke("leaver")
    refused(service.http.get("/v1/editions/desk/ticker", headers=reader), 401, "unauthenticated")
    assert socket_status(service, "desk", reader) == 401
