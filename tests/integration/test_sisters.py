"""Sisters: the same line in several editions, linked, and killed in all of them at once."""

import httpx
import pytest

from tests.integration.harness import Service


def line(service: Service, edition: str = "en", **fields: object) -> httpx.Response:
    return service.http.post("/v1/items", json={"edition": edition, "headline": "Bridge closed", **fields})


def sisters(service: Service, item_id: str) -> dict[str, str]:
    found: dict[str, str] = service.http.get(f"/v1/items/{item_id}").json()["sisters"]
    return found


def test_a_translation_and_its_source_know_each_other(service: Service) -> None:
    first = line(service).json()["id"]
    second = line(service, "es", translationOf=first).json()["id"]
    third = line(service, "ar", translationOf=second).json()["id"]
    assert sisters(service, first) == {"es": second, "ar": third}
    assert sisters(service, second) == {"en": first, "ar": third}
    assert sisters(service, third) == {"en": first, "es": second}


def test_a_kill_takes_the_sisters_along_when_it_is_asked_to(service: Service) -> None:
    first = service.publish("Bridge closed")["id"]
    second = service.publish("Puente cerrado", edition="es", translationOf=first)["id"]
    third = line(service, "ar", translationOf=first, state="draft").json()["id"]
    with service.screen("es") as screen:
        screen.next()
        killed = service.http.post(f"/v1/items/{first}/kill", json={"note": "wrong", "everywhere": True}).json()
        assert {each["id"]: each["state"] for each in killed["sisters"]} == {second: "killed", third: "killed"}
        screen.removal(second)
    again = service.http.post(f"/v1/items/{first}/kill", json={"note": "wrong", "everywhere": True})
    assert again.json()["sisters"] == killed["sisters"], "who got no answer asks again, and has what they wanted"
    assert service.http.get(f"/v1/items/{third}").json()["note"] == "wrong"


def test_a_kill_takes_one_line_where_nothing_else_was_asked_for(service: Service) -> None:
    first = service.publish("Bridge closed")["id"]
    second = service.publish("Puente cerrado", edition="es", translationOf=first)["id"]
    assert "sisters" not in service.act(first, "kill", note="wrong").json()
    assert service.http.get(f"/v1/items/{second}").json()["state"] == "live"


def test_who_may_not_enter_an_edition_kills_nothing_there_and_is_told(service: Service) -> None:
    first = service.publish("Bridge closed")["id"]
    second = service.publish("Puente cerrado", edition="es", translationOf=first)["id"]
    with service.at_desk("english chief", "chief", editions=("en",)) as chief:
        killed = chief.post(f"/v1/items/{first}/kill", json={"note": "wrong", "everywhere": True}).json()
    assert killed["state"] == "killed"
    (sister,) = killed["sisters"]
    assert sister["id"] == second
    assert "not for es" in sister["error"]
    assert service.http.get(f"/v1/items/{second}").json()["state"] == "live"


def test_an_edition_has_one_sister_until_its_life_is_over(service: Service) -> None:
    first = line(service).json()["id"]
    second = line(service, "es", translationOf=first).json()["id"]
    refused = line(service, "es", translationOf=first)
    assert (refused.status_code, refused.json()["sister"]) == (409, second)
    service.act(second, "kill", note="mistranslated")
    better = line(service, "es", translationOf=first).json()["id"]
    assert sisters(service, first) == {"es": better}


def test_two_lines_can_be_linked_afterwards(service: Service) -> None:
    first, second = line(service).json()["id"], line(service, "es").json()["id"]
    linked = service.http.post(f"/v1/items/{second}/link", json={"of": first})
    assert (linked.status_code, linked.json()["version"]) == (202, 1), "readers see no change"
    assert sisters(service, first) == {"es": second}
    assert [entry["action"] for entry in service.http.get(f"/v1/items/{second}").json()["audit"]] == ["publish", "link"]
    other = line(service).json()["id"]
    service.http.post(f"/v1/items/{second}/link", json={"of": other})
    assert sisters(service, first) == {}
    assert sisters(service, other) == {"es": second}


@pytest.mark.parametrize("of", ["no-such-item", "same edition", None])
def test_a_link_to_what_cannot_be_a_sister_is_refused_with_its_place(service: Service, of: str | None) -> None:
    first = line(service).json()["id"]
    named = line(service).json()["id"] if of == "same edition" else of
    refused = service.http.post(f"/v1/items/{first}/link", json={"of": named} if named else {})
    assert (refused.status_code, refused.json()["path"]) == (422, "$.of")
    if named:
        made = line(service, translationOf=named)
        assert (made.status_code, made.json()["path"]) == (422, "$.translationOf")
