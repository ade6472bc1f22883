"""A kill takes a line off everything, provably: its words are nowhere in Redis, and no reader can get them again."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.integration.harness import Screen, Service, until

# Words that nothing else in Redis holds, in scripts that JSON may escape.
WORDS = ("Xylophagous", "Zyzzyva", "Quoddy", "انفجارغريب", "Mxyzptlk", "Brobding", "Ñandutíes", "Kwyjibo", "Vworpal")


def forms(word: str) -> list[bytes]:
    """How a word may be written: as it is, escaped by JSON once and twice, in UTF-16, and in base64 at any offset."""
    plain = word.encode()
    found = [
        plain,
        json.dumps(word)[1:-1].encode(),
        json.dumps(json.dumps(word))[3:-3].encode(),
        word.encode("utf-16-le"),
    ]
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + plain)
        # The first and last group of four also hold bits of their neighbours.
        found.append(coded[4 if offset else 0 : len(coded) // 4 * 4 - 4])
    return [form for form in found if len(form) >= 4]


def values(redis: Redis) -> Iterator[tuple[str, bytes]]:
    """Every byte of a database: its keys, and the values of each type."""
    for key in redis.scan_iter(count=1000):
        name = key.decode(errors="replace")
        yield name, key
        match kind := redis.type(key).decode():
            case "string":
                yield name, redis.get(key) or b""
            case "hash":
                for field, value in redis.hgetall(key).items():
                    yield name, field + b"\n" + value
            case "list":
                yield from ((name, value) for value in redis.lrange(key, 0, -1))
            case "set":
                yield from ((name, value) for value in redis.smembers(key))
            case "zset":
                yield from ((name, value) for value in redis.zrange(key, 0, -1))
            case "stream":
                for entry_id, fields in redis.xrange(key):
                    yield name, entry_id + b"\n" + b"\n".join(part for pair in fields.items() for part in pair)
            case "none":
                pass  # gone meanwhile
            case _:
                raise AssertionError(f"{name} is a {kind}: teach this test to read it")


def database(service: Service, number: int) -> Redis:
    return Redis.from_url(f"{service.redis_server.url.removesuffix('/0')}/{number}")


def traces(service: Service, words: tuple[str, ...] = WORDS) -> list[str]:
    """Where the words are in Redis, in any database."""
    wanted = [form for word in words for form in forms(word)]
    found = []
    databases = int(service.redis.config_get("databases")["databases"])
    for number in range(databases):
        with database(service, number) as redis:
            found += [name for name, value in values(redis) if any(form in value for form in wanted)]
    return sorted(set(found))


def later(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def full_line(**fields: Any) -> dict[str, Any]:
    """A line with a word of its own in each field that holds text."""
    return {
        "edition": "en",
        "headline": f"{WORDS[0]} reported, {WORDS[3]}",
        "speaker": WORDS[1],
        "outlet": WORDS[2],
        "link": f"https://example.org/{WORDS[4]}",
        "related": [{"title": f"All about {WORDS[5]}", "link": f"https://example.org/{WORDS[5]}"}],
        "subjects": [WORDS[6]],
        "altIds": [f"urn:{WORDS[7]}"],
    } | fields


def publish(service: Service, wait: bool = True, **fields: Any) -> dict[str, Any]:
    headers = {"prefer": "wait=10"} if wait else {}
    response = service.http.post("/v1/items", json=full_line(**fields), headers=headers)
    assert response.status_code == (201 if wait else 202), response.text
    answer: dict[str, Any] = response.json()
    return answer


def kill(service: Service, item_id: str, status: int = 201) -> dict[str, Any]:
    response = service.act(item_id, "kill")
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


def texts(response: httpx.Response) -> list[str]:
    """The words that an answer holds."""
    assert response.is_success, response.text
    held = response.content
    return [word for word in WORDS if any(form in held for form in forms(word))]


def everything(screen: Screen, last: str) -> str:
    """All that a reader gets up to an item of the test's own."""
    screen.item(last)
    return json.dumps(screen.messages, ensure_ascii=False)


def test_the_search_finds_what_is_there(service: Service) -> None:
    answer = publish(service, headline=f"{WORDS[0]} reported, {WORDS[3]}")
    with database(service, 3) as other:
        other.set("sp:test:coded", b"x" + base64.b64encode(b"ab" + WORDS[3].encode() + b"ab"))
        other.set("sp:test:escaped", json.dumps({"text": json.dumps(WORDS[6])}))
        found = traces(service)
        other.flushdb()
    keys = {"items", "versions", "live", "log"}
    assert {f"sp:{{en}}:{key}" for key in keys} | {"sp:test:coded", "sp:test:escaped"} == set(found)
    for word in WORDS[:8]:
        assert traces(service, (word,)), word
    kill(service, answer["id"])
    assert traces(service) == []


def test_a_killed_lines_words_are_nowhere(service: Service) -> None:
    with ExitStack() as stack:
        before = service.publish("Before it all")
        watching = stack.enter_context(service.screen())
        watching.find(lambda message: message["type"] == "snapshot")
        item_id = publish(service, note=WORDS[8])["id"]
        assert service.change(item_id, 1, headline=f"{WORDS[0]} confirmed").status_code == 201
        corrected = service.change(item_id, 2, "correct", note=f"not {WORDS[8]}", speaker=f"{WORDS[1]} office")
        assert corrected.status_code == 201
        assert service.change(item_id, 3, "refile", outlet=f"{WORDS[2]} News").status_code == 201
        assert service.act(item_id, "pin").status_code == 201
        assert service.act(item_id, "withhold").status_code == 201
        assert service.act(item_id, "release").status_code == 201
        assert texts(service.http.get("/v1/editions/en/ticker"))
        assert texts(service.http.get("/v1/items"))

        kill(service, item_id)
        assert traces(service) == []
        assert watching.removal(item_id)["reason"] == "withheld"
        removal = watching.removal(item_id)
        assert removal == {
            "type": "remove",
            "cursor": removal["cursor"],
            "id": item_id,
            "version": 8,
            "reason": "killed",
        }

        after = service.publish("After it all")["id"]
        fresh = stack.enter_context(service.screen())
        resumed = stack.enter_context(service.screen(cursor=before["cursor"]))
        snapshot = fresh.next()
        assert snapshot["type"] == "snapshot"
        contributor = service.key("reporter", "contributor")
        assert not [word for word in WORDS if word in json.dumps(snapshot, ensure_ascii=False)]
        seen = everything(resumed, after)
        assert [message["type"] for message in resumed.messages[:3]] == ["resumed", "remove", "item"]
        assert not [word for word in WORDS if word in seen]
        assert texts(service.http.get("/v1/editions/en/ticker")) == []
        assert texts(service.http.get("/v1/items")) == []
        assert texts(service.http.get("/v1/items", params={"q": WORDS[0]})) == []
        assert service.http.get("/v1/items", params={"q": WORDS[0]}).json()["items"] == []
        for headers in ({}, contributor):
            document = service.http.get(f"/v1/items/{item_id}", headers=headers)
            assert texts(document) == []
            assert document.json()["state"] == "killed"
            assert document.json()["item"] is None


@pytest.mark.parametrize("how", ["draft", "embargoed", "withheld", "expired", "keyed"])
def test_a_line_is_killed_wherever_it_is_in_its_life(service: Service, how: str) -> None:
    fields: dict[str, Any] = {"id": f"killed-{how}"}
    if how == "draft":
        fields["state"] = "draft"
    if how == "embargoed":
        fields["embargoedUntil"] = later(600)
    if how in ("draft", "embargoed"):
        item_id = publish(service, wait=False, **fields)["id"]
    elif how == "keyed":
        response = service.http.post("/v1/items", json=full_line(**fields), headers={"idempotency-key": WORDS[8]})
        assert response.status_code == 202
        item_id = response.json()["id"]
    else:
        item_id = publish(service, **fields)["id"]
        assert service.act(item_id, "withhold" if how == "withheld" else "expire").status_code == 201
    assert traces(service)
    # Nobody ever saw a draft: its end is no news.
    kill(service, item_id, status=202 if how in ("draft", "embargoed") else 201)
    assert traces(service) == []


def test_the_files_of_redis_forget_a_killed_text_too(own_service: Service) -> None:
    own_service.start()

    def files() -> bytes:
        # One file up to Redis 6.2, a folder of them since 7.0.
        found = [*(own_service.folder / "data" / "redis").rglob("appendonly.aof*")]
        with suppress(FileNotFoundError):  # a rewrite replaces them
            return b"".join(path.read_bytes() for path in found)
        return b"unspeakable"

    own_service.redis.config_set("rdbcompression", "no")
    kept = own_service.publish("A harmless line")
    made = own_service.publish("An unspeakable line")
    assert b"unspeakable" in files(), "this test reads what Redis writes"
    own_service.act(made["id"], "kill")
    until(lambda: b"unspeakable" not in files(), "the append-only file to be rewritten")
    assert kept["id"].encode() in files()


def test_a_killed_line_that_is_sent_again_stays_dead(service: Service) -> None:
    item_id = publish(service, id="sent-again")["id"]
    kill(service, item_id)
    again = service.http.post("/v1/items", json=full_line(id="sent-again"))
    assert again.status_code in (202, 409), again.text
    other = service.http.post("/v1/items", json=full_line(id="sent-again", headline=WORDS[0]))
    assert other.status_code == 409
    assert traces(service) == []
    assert service.http.get(f"/v1/items/{item_id}").json()["state"] == "killed"
    assert service.act(item_id, "release").status_code == 409


def test_a_kill_needs_no_worker_to_take_the_text_and_its_tombstone_overtakes_what_waits(own_service: Service) -> None:
    own_service.start()
    before = own_service.publish("Before")
    shown = publish(own_service)["id"]
    own_service.stop("worker")
    waiting = publish(own_service, wait=False)["id"]
    others = [
        own_service.http.post("/v1/items", json={"edition": "en", "headline": f"Other {number}"}).json()["id"]
        for number in range(3)
    ]
    for item_id in (shown, waiting):
        response = own_service.http.post(f"/v1/items/{item_id}/kill")
        assert response.status_code == 202, response.text
        assert response.json()["state"] == "killed"
    assert traces(own_service) == []
    with own_service.screen(cursor=before["cursor"]) as screen:
        screen.find(lambda message: message["type"] in ("resumed", "snapshot"))
        own_service.start("worker", ready=False)
        removed = [screen.removal(waiting)["id"], screen.removal(shown)["id"]]
        assert removed == [waiting, shown], "before the others, and the latest kill's neighbour last"
        for item_id in others:
            screen.item(item_id)
    assert traces(own_service) == []
    assert texts(own_service.http.get("/v1/editions/en/ticker")) == []


def test_whoever_resumes_from_before_a_kill_sees_only_its_tombstone(service: Service) -> None:
    before = service.publish("Before")
    item_id = publish(service)["id"]
    service.change(item_id, 1, headline=WORDS[0])
    middle = service.publish("In the middle")
    kill(service, item_id)
    after = service.publish("After")["id"]
    for cursor, kinds in ((before["cursor"], ["item", "remove", "item"]), (middle["cursor"], ["remove", "item"])):
        with service.screen(cursor=cursor) as screen:
            seen = everything(screen, after)
            assert [message["type"] for message in screen.messages] == ["resumed", *kinds]
            assert not [word for word in WORDS if word in seen]


def test_two_kills_at_once_are_one(service: Service) -> None:
    item_id = publish(service)["id"]
    first = service.http.post(f"/v1/items/{item_id}/kill", headers={"if-match": '"1"'})
    second = service.http.post(f"/v1/items/{item_id}/kill")
    assert (first.status_code, second.status_code) == (202, 202)
    until(lambda: service.redis.llen("sp:{en}:outbox") == 0, "the outbox to empty")
    tombstones = [
        fields[b"frame"] for _, fields in service.redis.xrange("sp:{en}:log") if item_id.encode() in fields[b"frame"]
    ]
    assert len(tombstones) == 1


def test_the_raw_bytes_of_a_killed_line_leave_the_stream_too(service: Service) -> None:
    service.redis.config_set("rdbcompression", "no")
    item_id = publish(service)["id"]
    service.publish("A neighbour in the same node")
    kill(service, item_id)
    # What DUMP says is what an RDB file, a new replica and the preamble of a rewritten AOF get.
    assert WORDS[0].encode() not in service.redis.dump("sp:{en}:log")
