"""The undo hold: what is published at the desk can be taken back for a moment, and then goes out by itself."""

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.harness import Service, now_ms, until

LINE = {"edition": "en", "headline": "Held for a moment"}


@pytest.fixture(scope="module")
def editor(service: Service) -> Iterator[httpx.Client]:
    service.stop("web")
    service.start("web", undo_seconds="0,2,2,2")
    with service.at_desk("editor", "editor") as client:
        yield client


def test_a_line_of_the_desk_waits_and_then_is_on_the_air(service: Service, editor: httpx.Client) -> None:
    with service.screen() as screen:
        screen.next()
        before = now_ms()
        answer = editor.post("/v1/items", json=LINE).json()
        assert answer["state"] == "scheduled"
        record = editor.get(f"/v1/items/{answer['id']}").json()
        assert (record["held"], record["public"]) == (True, False)
        screen.item(answer["id"])
        assert now_ms() - before >= 2_000
    record = editor.get(f"/v1/items/{answer['id']}").json()
    assert (record["state"], record["publishedBy"], record["changedBy"]) == ("live", "editor", "clock")


def test_stop_takes_it_back_and_no_screen_ever_has_it(service: Service, editor: httpx.Client) -> None:
    with service.screen() as screen:
        screen.next()
        answer = editor.post("/v1/items", json=LINE | {"headline": "A slip of the finger"}).json()
        stopped = editor.post(f"/v1/items/{answer['id']}/stop", json={})
        assert (stopped.status_code, stopped.json()["state"]) == (202, "draft")
        # Held after it, so that it would have come before.
        second = editor.post("/v1/items", json=LINE | {"headline": "As it was meant"}).json()
        assert screen.next()["item"]["id"] == second["id"]
    again = editor.post(f"/v1/items/{answer['id']}/stop", json={})
    assert again.status_code == 409
    assert "scheduled or embargoed" in again.json()["detail"]


def test_stop_comes_too_late_for_what_is_on_the_air_and_says_so(service: Service, editor: httpx.Client) -> None:
    answer = editor.post("/v1/items", json=LINE | {"headline": "Too late"}).json()
    until(lambda: editor.get(f"/v1/items/{answer['id']}").json()["state"] == "live", "the hold to end")
    refused = editor.post(f"/v1/items/{answer['id']}/stop", json={})
    assert refused.status_code == 409
    assert "got one that is live" in refused.json()["detail"]


def test_publishing_a_held_line_again_skips_what_is_left_of_the_hold(service: Service, editor: httpx.Client) -> None:
    answer = editor.post("/v1/items", json=LINE | {"headline": "No second thoughts"}).json()
    assert editor.post(f"/v1/items/{answer['id']}/publish", json={}).json()["state"] == "live"


def test_a_draft_that_is_published_at_the_desk_is_held_too(service: Service, editor: httpx.Client) -> None:
    draft = editor.post("/v1/items", json=LINE | {"state": "draft"}).json()
    assert editor.post(f"/v1/items/{draft['id']}/publish", json={}).json()["state"] == "scheduled"


def test_a_flash_a_program_and_a_kill_are_not_held(service: Service, editor: httpx.Client) -> None:
    assert editor.post("/v1/items", json=LINE | {"urgency": 1}).json()["state"] == "live"
    assert service.http.post("/v1/items", json=LINE).json()["state"] == "live"
    held = editor.post("/v1/items", json=LINE | {"headline": "Killed while held"}).json()
    assert service.http.post(f"/v1/items/{held['id']}/kill", json={"note": "never"}).json()["state"] == "killed"
