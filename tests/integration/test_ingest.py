"""Wires: a document becomes a line, its later versions change it, and its cancellation kills it."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.domain.instant import format_ms
from tests.integration.harness import Service, now_ms

DOCUMENTS = Path(__file__).parents[3] / "shared" / "data" / "ninjs"
real_documents = pytest.mark.skipif(not DOCUMENTS.is_dir(), reason=f"the wires' documents are not at {DOCUMENTS}")


def ingest(service: Service, headers: dict[str, str] | None = None, edition: str | None = "en", **document: Any) -> Any:
    """Send a document; the answer."""
    return service.http.post(
        "/v1/ingest/ninjs",
        params={"edition": edition} if edition else {},
        json=document,
        headers={"prefer": "wait=10"} | (headers or {}),
    )


def state(service: Service, answer: httpx.Response) -> tuple[str, int]:
    item = service.http.get(f"/v1/items/{answer.json()['id']}").json()
    return item["state"], item["version"]


@real_documents
@pytest.mark.parametrize("name", ["dpa", "ntb"])
def test_a_real_document_of_two_shapes_is_one_item(service: Service, name: str) -> None:
    with service.screen() as screen:
        screen.next()
        answers = []
        for version in ("2.1", "3.0"):
            body = (DOCUMENTS / f"{version}-{name}_text.json").read_bytes()
            answers.append(
                service.http.post("/v1/ingest/ninjs?edition=en", content=body, headers={"prefer": "wait=10"})
            )
        assert [answer.status_code for answer in answers] == [201, 201]
        assert answers[0].json()["id"] == answers[1].json()["id"]
        item = screen.item(answers[0].json()["id"])
        service.publish("The next")
        assert screen.next()["item"]["headline"] == "The next", "the second copy changed nothing"
    headlines = {
        "dpa": "Faktencheck Derby-Elfmeter: Hat Schiedsrichter Zwayer recht?",
        "ntb": "Google har kjøpt giganttomt i Skien",
    }
    assert item["headline"] == headlines[name]
    # Never a speaker out of a colon.
    assert item["speaker"] is None
    assert item["language"] == {"dpa": "de", "ntb": "nb-NO"}[name]


@real_documents
def test_a_real_document_in_no_edition_s_language_is_refused(service: Service) -> None:
    document = json.loads((DOCUMENTS / "3.0-ntb_text.json").read_bytes()) | {"uri": "urn:x:of no edition"}
    answer = service.http.post("/v1/ingest/ninjs", json=document)
    assert (answer.status_code, answer.json()["path"]) == (422, "$.language")
    assert "?edition=" in answer.json()["detail"]


def test_a_later_version_updates_and_an_earlier_one_changes_nothing(service: Service) -> None:
    uri = "urn:x:later"
    assert ingest(service, uri=uri, version="2", headline="Second").status_code == 201
    late = ingest(service, uri=uri, version="1", headline="First")
    assert (late.status_code, late.json()["version"]) == (201, 1)
    assert service.http.get(f"/v1/items/{late.json()['id']}").json()["item"]["headline"] == "Second"
    updated = ingest(service, uri=uri, version="3", headline="Third")
    assert (updated.status_code, updated.json()["version"]) == (201, 2)
    assert service.http.get(f"/v1/items/{updated.json()['id']}").json()["item"]["headline"] == "Third"


def test_canceled_kills_and_a_late_copy_cannot_bring_it_back(service: Service) -> None:
    uri = "urn:x:canceled"
    made = ingest(service, uri=uri, version="1", pubstatus="usable", headline="Wrong")
    with service.screen() as screen:
        screen.next()
        ingest(service, uri=uri, version="2", pubstatus="canceled")
        assert screen.removal(made.json()["id"])["reason"] == "killed"
    assert ingest(service, uri=uri, version="3", headline="Again").json()["state"] == "killed"
    assert state(service, made)[0] == "killed"


def test_canceled_before_it_ever_came_stays_canceled(service: Service) -> None:
    uri = "urn:x:never"
    assert ingest(service, uri=uri, version="2", pubStatus="canceled").json()["state"] == "killed"
    assert ingest(service, uri=uri, version="1", headline="Too late").json()["state"] == "killed"
    assert "Too late" not in service.http.get("/v1/editions/en/ticker").text


def test_withheld_withholds_and_usable_releases_with_the_new_text(service: Service) -> None:
    uri = "urn:x:withheld"
    made = ingest(service, uri=uri, version="1", headline="Doubtful")
    with service.screen() as screen:
        screen.next()
        ingest(service, uri=uri, version="2", pubStatus="withheld", headline="Doubtful")
        assert screen.removal(made.json()["id"])["reason"] == "withheld"
        ingest(service, uri=uri, version="3", pubStatus="usable", headline="Confirmed")
        assert screen.next()["item"]["headline"] == "Confirmed"
    assert state(service, made)[0] == "live"


def test_an_embargo_is_kept(service: Service) -> None:
    until = format_ms(now_ms() + 3_600_000)
    assert (
        ingest(service, uri="urn:x:embargo", headline="Tomorrow", embargoedUntil=until).json()["state"] == "embargoed"
    )
    assert "Tomorrow" not in service.http.get("/v1/editions/en/ticker").text


def test_the_language_chooses_the_edition(service: Service) -> None:
    made = ingest(service, edition=None, uri="urn:x:spanish", language="es-MX", headline="En español")
    assert made.status_code == 201
    assert service.http.get(f"/v1/items/{made.json()['id']}").json()["edition"] == "es"


def test_an_edition_that_is_unknown_is_refused_by_name(service: Service) -> None:
    answer = ingest(service, edition="xx", uri="urn:x:unknown", headline="x")
    assert (answer.status_code, answer.json()["path"]) == (422, "edition")


def test_a_trusted_key_goes_on_air_and_another_makes_drafts(service: Service) -> None:
    trusted = service.add_key("trusted wire", "ingest", trusted=True)
    other = service.add_key("other wire", "ingest")
    assert ingest(service, trusted, uri="urn:x:trusted", headline="On air").json()["state"] == "live"
    made = ingest(service, other, uri="urn:x:other", version="1", headline="A draft")
    assert (made.status_code, made.json()["state"]) == (202, "draft")
    assert ingest(service, other, uri="urn:x:other", version="2", headline="Still a draft").json()["version"] == 2
    assert service.act(made.json()["id"], "publish").status_code == 201
    refused = ingest(service, other, uri="urn:x:other", version="3", headline="Past the editor")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_only_wires_and_editors_ingest(service: Service) -> None:
    for role in ("reader", "contributor"):
        answer = ingest(service, service.add_key(f"no wire, {role}", role), uri="urn:x:role", headline="x")
        assert answer.status_code == 403
    assert service.http.get("/v1/items", headers=service.add_key("a wire reads", "ingest")).status_code == 403
