"""The two-person rule on a real service: a flash takes somebody who hands it in and somebody else who approves it."""

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.harness import Service

EDITIONS = """
[editions.en]
name = "English"
two_person = [1]

[editions.es]
name = "Español"
"""
FLASH = {"edition": "en", "headline": "Ceasefire", "urgency": 1}


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("ruled")
    file = folder / "editions.toml"
    file.write_text(EDITIONS)
    with Service(folder, editions=str(file)) as running:
        running.start()
        yield running


@pytest.fixture(scope="module")
def people(ruled: Service) -> Iterator[dict[str, httpx.Client]]:
    clients = {name: ruled.at_desk(name, role) for name, role in (("con", "contributor"), ("ed", "editor"))}  # type: ignore[arg-type]
    clients |= {name: ruled.at_desk(name, "chief") for name in ("chief one", "chief two")}
    yield clients
    for client in clients.values():
        client.close()


def test_a_contributor_hands_in_a_chief_approves_and_an_editor_publishes(people: dict[str, httpx.Client]) -> None:
    line = people["con"].post("/v1/items", json=FLASH).json()
    people["con"].post(f"/v1/items/{line['id']}/submit", json={})
    refused = people["ed"].post(f"/v1/items/{line['id']}/publish", json={})
    assert (refused.status_code, refused.json()["code"]) == (403, "second-person")
    assert people["chief one"].post(f"/v1/items/{line['id']}/approve", json={}).status_code == 202
    assert people["ed"].post(f"/v1/items/{line['id']}/publish", json={}).json()["state"] == "live"


def test_a_chief_does_not_approve_their_own(people: dict[str, httpx.Client]) -> None:
    line = people["chief one"].post("/v1/items", json=FLASH | {"state": "draft"}).json()
    people["chief one"].post(f"/v1/items/{line['id']}/submit", json={})
    assert people["chief one"].post(f"/v1/items/{line['id']}/approve", json={}).status_code == 403
    assert people["chief two"].post(f"/v1/items/{line['id']}/approve", json={}).status_code == 202


def test_an_override_is_audited_with_its_reason(ruled: Service, people: dict[str, httpx.Client]) -> None:
    refused = people["ed"].post("/v1/items", json=FLASH)
    assert (refused.status_code, refused.json()["code"]) == (403, "second-person")
    passed = people["ed"].post("/v1/items", json=FLASH | {"override": "Nobody else is here"})
    assert passed.json()["state"] == "live"
    audit = ruled.http.get(f"/v1/items/{passed.json()['id']}").json()["audit"]
    assert audit[0]["override"] == "Nobody else is here"
    assert ruled.command("audit", "verify").returncode == 0


def test_a_trusted_wire_makes_a_draft_where_it_takes_two_people(ruled: Service) -> None:
    wire = ruled.add_key("wire", "ingest", trusted=True)
    document = {"uri": "urn:flash", "language": "en", "headline": "From the wire", "urgency": 1, "version": "1"}
    made = ruled.http.post("/v1/ingest/ninjs", json=document, headers=wire)
    assert made.json()["state"] == "draft"
    routine = ruled.http.post("/v1/ingest/ninjs", json=document | {"uri": "urn:routine", "urgency": 4}, headers=wire)
    assert routine.json()["state"] == "live"


def test_another_edition_is_free(people: dict[str, httpx.Client]) -> None:
    assert people["ed"].post("/v1/items", json=FLASH | {"edition": "es"}).json()["state"] == "live"
