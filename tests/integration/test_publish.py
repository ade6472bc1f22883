"""An editor's call becomes a line on every socket."""

from tests.integration.harness import Service


def test_a_published_line_reaches_an_open_socket(service: Service) -> None:
    with service.screen() as screen:
        assert screen.next()["type"] == "snapshot"
        answer = service.publish("Ceasefire takes effect at midnight", speaker="Foreign Ministry", urgency=1)
        item = screen.item(answer["id"])
    assert item["headline"] == "Ceasefire takes effect at midnight"
    assert item["speaker"] == "Foreign Ministry"
    assert item["pubStatus"] == "usable"
    assert screen.messages[-1]["cursor"] == answer["cursor"]
