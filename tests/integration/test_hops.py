"""Hops: one line in the log per change and process, from the editor to the last reader."""

import json
from datetime import datetime
from typing import Any

from service.store.keys import Keys
from tests.integration.harness import Service, until


def lines(service: Service, process: str, event: str, item_id: str) -> list[dict[str, Any]]:
    """What a process has logged of an item."""
    texts = service.log(process).splitlines()
    return [json.loads(text) for text in texts if f'"{event}"' in text and item_id in text]


def wait_for(service: Service, process: str, event: str, item_id: str, count: int) -> list[dict[str, Any]]:
    until(lambda: len(lines(service, process, event, item_id)) >= count, f"{count} lines {event}")
    return lines(service, process, event, item_id)


def test_each_change_leaves_one_line_with_its_hops(service: Service) -> None:
    with service.screens(3) as screens:
        made = service.publish("On its way")
        for screen in screens:
            screen.item(made["id"])
        assert service.act(made["id"], "kill").status_code == 201
        for screen in screens:
            screen.removal(made["id"])
    appended = wait_for(service, "worker", "appended", made["id"], 2)
    delivered = wait_for(service, "web", "delivered", made["id"], 2)
    assert [each["version"] for each in delivered] == [each["version"] for each in appended] == [1, 2]
    assert len(delivered) == 2
    item = service.http.get(f"/v1/items/{made['id']}").json()
    for line, hop, step in zip(delivered, appended, item["audit"], strict=True):
        assert (line["edition"], line["seq"], line["readers"], line["lagging"]) == ("en", hop["seq"], 3, 0)
        assert line["accepted"] == step["at"], "a removal says when it was accepted, too"
        assert 0 <= line["heard_ms"] <= line["first_ms"] <= line["last_ms"] < 30_000
        assert 0 <= hop["queued_ms"] <= hop["waited_ms"] < 30_000
        assert "On its way" not in json.dumps([line, hop])


def test_what_was_missed_is_told_with_the_time_that_the_line_itself_says(own_service: Service) -> None:
    own_service.start()
    with own_service.screen() as screen:
        screen.next()
        # The subscription dies, and the change is read from the log when it is back.
        own_service.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        made = own_service.http.post("/v1/items", json={"edition": "en", "headline": "Missed"}).json()
        item = screen.item(made["id"])
    (line,) = wait_for(own_service, "web", "delivered", made["id"], 1)
    assert line["accepted"] == item["versionCreated"]
    assert line["first_ms"] >= line["heard_ms"] >= 0


def test_readers_get_the_logs_frames_byte_for_byte(service: Service) -> None:
    with service.screen() as screen:
        screen.next()
        made = service.publish("Byte for byte", related=[{"title": 'a "quoted" 1}', "link": "https://example.org/"}])
        service.act(made["id"], "withhold")
        got = []
        while len(got) < 2:
            text = screen.connection.recv(timeout=20, decode=False)
            if b'"beat"' not in text:
                got.append(text)
    stored = [fields[b"frame"] for _, fields in service.redis.xrevrange(Keys.of("en").log, count=2)]
    assert got == stored[::-1]


def test_a_worker_without_the_time_on_the_channel_is_understood(service: Service) -> None:
    with service.screen("es") as screen:
        cursor = screen.next()["cursor"]
        epoch, seq = cursor.split(".")
        # What a worker of an older version publishes: the frame alone.
        frame = {"type": "remove", "cursor": f"{epoch}.{int(seq) + 1}", "id": "older", "version": 2}
        frame["reason"] = "withheld"
        keys = Keys.of("es")
        text = json.dumps(frame, separators=(",", ":"))
        service.redis.xadd(keys.log, {"frame": text}, id=f"{int(seq) + 1}-0")
        service.redis.hset(keys.meta, "seq", int(seq) + 1)
        service.redis.publish(keys.news, text)
        assert screen.removal("older")["cursor"] == frame["cursor"]
    (line,) = wait_for(service, "web", "delivered", "older", 1)
    assert (line["accepted"], line["heard_ms"]) == (None, 0)
    assert line["last_ms"] >= line["first_ms"] >= 0


def test_times_are_those_of_this_machine(service: Service) -> None:
    made = service.publish("Now")
    (line,) = wait_for(service, "web", "delivered", made["id"], 1)
    logged = datetime.fromisoformat(line["timestamp"])
    accepted = datetime.fromisoformat(line["accepted"])
    assert 0 <= (logged - accepted).total_seconds() < 30
    assert line["readers"] == 0
