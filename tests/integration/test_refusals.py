"""Everything that no caller should send: refused with a problem document that says what is wrong, and nothing taken."""

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.domain.instant import format_ms
from tests.integration.harness import KEY, Service, now_ms

LIVE = "refusals-live"  # version 2, on air
DRAFT = "refusals-draft"

# What goes on by itself: the audience's sheets, the clock's lease and the workers' own registers.
RESTLESS = re.compile(rb"sp:\{\w+\}:reach|sp:clock|rq:.*")


@pytest.fixture(scope="module")
def lines(service: Service) -> None:
    """Two items that the tests try to change."""
    service.publish("As it was", id=LIVE)
    assert service.change(LIVE, 1, headline="As it is").status_code == 201
    body = {"edition": "en", "headline": "A draft", "id": DRAFT, "state": "draft"}
    assert service.http.post("/v1/items", json=body).status_code == 202


@pytest.fixture(scope="module")
def keys(service: Service) -> dict[str, dict[str, str]]:
    """Keys that may do less than the chief's."""
    return {role: service.add_key(f"a-{role}", role) for role in ("contributor", "ingest")}


@pytest.fixture(autouse=True)
def _nothing_is_taken(service: Service, lines: None, keys: dict[str, dict[str, str]]) -> Iterator[None]:
    """Nothing at all in Redis may be different after a refusal: no item, no claim of an id, no audit entry."""
    before = state(service)
    yield
    assert state(service) == before


def state(service: Service) -> dict[bytes, object]:
    found = {key: value for key, value in service.stored().items() if not RESTLESS.fullmatch(key)}
    for value in found.values():
        if isinstance(value, dict):
            # A canary flies every ten seconds, whatever is refused.
            value.pop(b"canary", None)
            value.pop(b"canary_sent", None)
    waiting = {key: value for key, value in found.items() if isinstance(value, list) and key.endswith(b":outbox")}
    for key, value in waiting.items():
        if all(b'"kind":"canary"' in entry for entry in value):
            del found[key]
    return found


def refused(answer: httpx.Response, status: int, code: str, detail: str, path: str | None = None) -> dict[str, Any]:
    """Check that an answer is a problem document (RFC 9457) whose detail matches, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "code"} <= set(problem)
    assert (problem["status"], problem["code"]) == (status, code)
    assert re.search(detail, problem["detail"]), problem["detail"]
    assert problem.get("path") == path
    return problem


def send(
    service: Service, body: bytes, method: str = "POST", path: str = "/v1/items", **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.http.request(method, path, content=body, headers=named)


def line(**fields: Any) -> bytes:
    return json.dumps({"edition": "en", "headline": "Never to be seen"} | fields).encode()


# What is no JSON object

BROKEN = {
    "no body at all": b"",
    "broken JSON": b'{"edition": "en", "headline": ',
    "JSON and something after it": line() + b"x",
    "a lone surrogate": b'{"edition": "en", "headline": "\\ud800"}',
    "invalid UTF-8": b'{"edition": "en", "headline": "\xff\xfe"}',
    "UTF-16": line().decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + line(),
    "NaN": b'{"edition": "en", "headline": "x", "urgency": NaN}',
    "infinity": b'{"edition": "en", "headline": "x", "urgency": -Infinity}',
    "a form": b"edition=en&headline=x",
    "compressed JSON": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "single quotes": b"{'edition': 'en'}",
    "an unescaped line break": b'{"edition": "en", "headline": "a\nb"}',
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_json_is_refused(service: Service, body: bytes) -> None:
    refused(send(service, body), 400, "malformed", "expected a JSON object in UTF-8: ")


NO_OBJECT = {"a list": b"[]", "text": b'"x"', "a number": b"7", "null": b"null", "100,000 brackets": b"[" * 60_000}


@pytest.mark.parametrize("body", NO_OBJECT.values(), ids=NO_OBJECT.keys())
def test_json_that_is_no_object_is_refused(service: Service, body: bytes) -> None:
    refused(send(service, body), 422, "invalid-field", "expected an object, got ", "$")


# One field at fault

FIELDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unknown field": ({"color": "red"}, "$.color", "expected one of the fields edition, .* got 'color'"),
    "a field of the item that callers do not set": ({"version": 9}, "$.version", "got 'version'"),
    "a name of another author": ({"createdBy": "the editor-in-chief"}, "$.createdBy", "got 'createdBy'"),
    "a prototype": ({"__proto__": {}}, "$.__proto__", "got '__proto__'"),
    "a headline that is a number": ({"headline": 7}, "$.headline", "expected text of 1 to 300 .*, got the number 7"),
    "a headline that is null": ({"headline": None}, "$.headline", "expected text of 1 to 300 .*, got null"),
    "a headline that is a list": ({"headline": ["x"]}, "$.headline", "expected text of 1 to 300 .*, got a list"),
    "an empty headline": ({"headline": ""}, "$.headline", "expected 1 to 300 characters of text, got none"),
    "a blank headline": ({"headline": " \u00a0 "}, "$.headline", "expected 1 to 300 characters of text, got none"),
    "an invisible headline": (
        {"headline": "\u200b\u200e\u2060"},
        "$.headline",
        "expected 1 to 300 .*got none that shows",
    ),
    "301 characters": ({"headline": "x" * 301}, "$.headline", "expected at most 300 characters, got 301"),
    "50,000 characters": ({"headline": "x" * 50_000}, "$.headline", "expected text of 1 to 300 .*, got 50000"),
    "a control character": ({"headline": "a\x07b"}, "$.headline", "expected one line .* U\\+0007 at position 1"),
    "a null character": ({"headline": "a\x00b"}, "$.headline", "expected one line .* U\\+0000 at position 1"),
    "a line break": ({"headline": "a\nb"}, "$.headline", "expected one line .* U\\+000A at position 1"),
    "a line separator": ({"headline": "a\u2028b"}, "$.headline", "expected one line .* U\\+2028 at position 1"),
    "a bidi override": ({"headline": "a\u202eb"}, "$.headline", "expected one line .* U\\+202E at position 1"),
    "a bidi isolate": ({"headline": "a\u2066b"}, "$.headline", "expected one line .* U\\+2066 at position 1"),
    "a noncharacter": ({"headline": "a\uffffb"}, "$.headline", "expected one line .* U\\+FFFF at position 1"),
    "a bidi override in the speaker": ({"speaker": "\u202eMinistry"}, "$.speaker", "U\\+202E"),
    "81 characters of outlet": ({"outlet": "x" * 81}, "$.outlet", "expected at most 80 characters, got 81"),
    "an unknown section": ({"section": "gossip"}, "$.section", "expected one of politics, .* got 'gossip'"),
    "a section in capitals": ({"section": "Politics"}, "$.section", "expected one of politics, .* got 'Politics'"),
    "an unknown region": ({"regions": ["mena", "mars"]}, "$.regions[1]", "expected one of africa, .* got 'mars'"),
    "a region that is no list": ({"regions": "mena"}, "$.regions", "expected a list of at most 20, got 'mena'"),
    "21 regions": ({"regions": ["mena"] * 21}, "$.regions", "expected a list of at most 20, got 21"),
    "a null among the subjects": ({"subjects": [None]}, "$.subjects[0]", "expected text .*, got null"),
    "urgency 0": ({"urgency": 0}, "$.urgency", "expected a whole number of 1 to 4, got 0"),
    "urgency 5": ({"urgency": 5}, "$.urgency", "expected a whole number of 1 to 4, got 5"),
    "urgency in words": ({"urgency": "flash"}, "$.urgency", "expected a whole number of 1 to 4, got 'flash'"),
    "urgency in a string": ({"urgency": "1"}, "$.urgency", "expected a whole number of 1 to 4, got '1'"),
    "urgency 1.5": ({"urgency": 1.5}, "$.urgency", "expected a whole number of 1 to 4, got the number 1.5"),
    "urgency true": ({"urgency": True}, "$.urgency", "expected a whole number of 1 to 4, got true"),
    "urgency null": ({"urgency": None}, "$.urgency", "expected a whole number of 1 to 4, got null"),
    "urgency 10^300": ({"urgency": 10**300}, "$.urgency", "expected a whole number of 1 to 4, got 10000"),
    "pinned in words": ({"pinned": "yes"}, "$.pinned", "expected true or false, got 'yes'"),
    "a script as link": ({"link": "javascript:alert(1)"}, "$.link", "expected an http or https URL"),
    "data as link": ({"link": "data:text/html,x"}, "$.link", "expected an http or https URL"),
    "a file as link": ({"link": "file:///etc/passwd"}, "$.link", "expected an http or https URL"),
    "a link without a scheme": ({"link": "//news.example/a"}, "$.link", "expected an http or https URL"),
    "a link without a host": ({"link": "https:///a"}, "$.link", "expected an http or https URL"),
    "a link with a password": ({"link": "https://a:b@news.example"}, "$.link", "expected an http or https URL"),
    "a link with a space": ({"link": "https://news.example/a b"}, "$.link", "expected an http or https URL"),
    "a link with a line break": ({"link": "https://news.example/\r\nX: y"}, "$.link", "expected an http or https URL"),
    "a link to port 99999": ({"link": "https://news.example:99999/"}, "$.link", "expected an http or https URL"),
    "a link with half an IPv6": ({"link": "https://[::1/"}, "$.link", "expected an http or https URL"),
    "a script as related link": (
        {"related": [{"title": "a", "link": "https://a.example"}, {"title": "b", "link": "JavaScript:alert(1)"}]},
        "$.related[1].link",
        "expected an http or https URL",
    ),
    "expires in the past": ({"expires": "2020-01-01T00:00:00Z"}, "$.expires", "expected a time after .*, got '2020"),
    "expires in three years": ({"expires": "2099-01-01T00:00:00Z"}, "$.expires", "expected .* within a year"),
    "expires without offset": (
        {"expires": "2099-01-01T00:00:00"},
        "$.expires",
        "expected .* with its offset.* without",
    ),
    "expires on the 31st of February": ({"expires": "2099-02-31T00:00:00Z"}, "$.expires", "expected an RFC 3339 time"),
    "expires tomorrow": ({"expires": "tomorrow"}, "$.expires", "expected an RFC 3339 time .*, got 'tomorrow'"),
    "expires in year 0": ({"expires": "0001-01-01T00:00:00+23:59"}, "$.expires", "expected "),
    "embargo in the past": (
        {"embargoedUntil": "2020-01-01T00:00:00Z"},
        "$.embargoedUntil",
        "expected a time after now",
    ),
    "embargo without offset": (
        {"embargoedUntil": "2099-01-01T00:00"},
        "$.embargoedUntil",
        "expected .* without an off",
    ),
    "expires before the embargo's end": (
        {"embargoedUntil": format_ms(now_ms() + 7_200_000), "expires": format_ms(now_ms() + 3_600_000)},
        "$.expires",
        "expected a time after .*, got ",
    ),
    "an empty id": ({"id": ""}, "$.id", "expected 1 to 64 of A-Z a-z 0-9 _ -, got ''"),
    "an id with a space": ({"id": "a b"}, "$.id", "expected 1 to 64 .*, got 'a b'"),
    "an id of 65 characters": ({"id": "a" * 65}, "$.id", "expected 1 to 64 "),
    "an id with a header in it": ({"id": "a\r\nSet-Cookie: b=c"}, "$.id", "expected 1 to 64 "),
    "an id with a line break at its end": ({"id": "a\n"}, "$.id", "expected 1 to 64 "),
    "an id that climbs": ({"id": "../keys"}, "$.id", "expected 1 to 64 "),
    "an id in other letters": ({"id": "ａｂ"}, "$.id", "expected 1 to 64 "),
    "a state that nobody may choose": (
        {"state": "approved"},
        "$.state",
        "expected one of draft, live, submitted or null, got 'approved'",
    ),
    "an unknown edition": ({"edition": "xx"}, "$.edition", "expected one of the editions en, ar, es, got 'xx'"),
    "an edition with a hash tag": ({"edition": "en}:{ar"}, "$.edition", "expected one of the editions en, ar, es"),
    "an edition that is null": ({"edition": None}, "$.edition", "expected text, got null"),
    "a language that is none": ({"language": "<b>"}, "$.language", "expected a BCP 47 language tag, got '<b>'"),
    "a note of 501 characters": ({"note": "x" * 501}, "$.note", "expected text of at most 500 .*, got 501"),
}


@pytest.mark.parametrize(("fields", "path", "detail"), FIELDS.values(), ids=FIELDS.keys())
def test_a_wrong_field_is_refused_by_name(service: Service, fields: dict[str, Any], path: str, detail: str) -> None:
    refused(send(service, line(**fields)), 422, "invalid-field", detail, path)


@pytest.mark.parametrize("missing", ["headline", "edition"])
def test_a_missing_field_is_refused_by_name(service: Service, missing: str) -> None:
    body = json.dumps({name: "en" for name in ("edition", "headline") if name != missing}).encode()
    refused(
        send(service, body), 422, "invalid-field", f"expected the field {missing} \\(text.*, got none", f"$.{missing}"
    )


# An id of the caller's own is not kept by a line that is refused, whatever it is refused for.
@pytest.mark.parametrize("fields", [{"section": "gossip"}, {"headline": ""}, {"expires": "2020-01-01T00:00:00Z"}])
def test_a_refused_line_leaves_no_claim_of_its_id(service: Service, fields: dict[str, Any]) -> None:
    assert send(service, line(id="unclaimed", **fields)).status_code == 422


DEEP = {
    "lists": b'{"edition":"en","headline":' + b"[" * 60_000,
    "objects": b'{"a":' * 13_000,
    "related": b'{"edition":"en","headline":"x","related":' + b"[" * 60_000,
}


@pytest.mark.parametrize("body", DEEP.values(), ids=DEEP.keys())
def test_deep_nesting_breaks_nothing(service: Service, body: bytes) -> None:
    for path in ("/v1/items", f"/v1/items/{DRAFT}/kill", "/v1/ingest/ninjs"):
        assert send(service, body, path=path).status_code in (400, 422), path
    answer = send(service, body, "PATCH", f"/v1/items/{DRAFT}", if_match='"1"')
    assert answer.status_code == 422


HUGE = {
    "5,000 digits": b"9" * 5_000,
    "minus 5,000 digits": b"-" + b"9" * 5_000,
    "an exponent of 999999999": b"1e999999999",
    "a fraction of 5,000 digits": b"0." + b"1" * 5_000,
    "2^64": b"18446744073709551616",
    "minus 0": b"-0",
}


@pytest.mark.parametrize("number", HUGE.values(), ids=HUGE.keys())
def test_a_huge_number_breaks_nothing(service: Service, number: bytes) -> None:
    body = b'{"edition":"en","headline":"x","urgency":' + number + b"}"
    assert send(service, body).status_code in (400, 422)
    for name in (b"urgency", b"version", b"versionCreated", b"uri"):
        document = b'{"uri":"urn:x","language":"xx","headline":"x","' + name + b'":' + number + b"}"
        assert send(service, document, path="/v1/ingest/ninjs").status_code in (400, 422), name


# Changes and actions

CHANGES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no kind of change": ({"headline": "x"}, "$.change", "expected the field change .*update.*, got none"),
    "an unknown kind of change": (
        {"change": "rewrite"},
        "$.change",
        "expected one of correct, refile, update, got 'rewrite'",
    ),
    "a correction without a note": ({"change": "correct", "headline": "x"}, "$.note", "expected the public note"),
    "a correction with a blank note": (
        {"change": "correct", "headline": "x", "note": " "},
        "$.note",
        "expected 1 to 500",
    ),
    "a correction whose note has a bidi override": (
        {"change": "correct", "headline": "x", "note": "a\u202eb"},
        "$.note",
        "U\\+202E",
    ),
    "a headline that is null": (
        {"change": "update", "headline": None},
        "$.headline",
        "expected text of 1 to 300 .*, got null",
    ),
    "another id": ({"change": "update", "id": "x"}, "$.id", "expected one of the fields change, .* got 'id'"),
    "another state": ({"change": "update", "state": "live"}, "$.state", "got 'state'"),
    "an empty headline": ({"change": "update", "headline": ""}, "$.headline", "expected 1 to 300"),
    "an unknown region": ({"change": "refile", "regions": ["mars"]}, "$.regions[0]", "expected one of africa"),
    "expires in the past": (
        {"change": "update", "expires": "2020-01-01T00:00:00Z"},
        "$.expires",
        "expected a time after",
    ),
}


@pytest.mark.parametrize(("body", "path", "detail"), CHANGES.values(), ids=CHANGES.keys())
def test_a_wrong_change_is_refused_by_name(service: Service, body: dict[str, Any], path: str, detail: str) -> None:
    answer = send(service, json.dumps(body).encode(), "PATCH", f"/v1/items/{LIVE}", if_match='"2"')
    refused(answer, 422, "invalid-field", detail, path)


UPDATE = b'{"change": "update", "headline": "Never to be seen"}'


def test_a_stale_version_is_refused_with_the_current_one(service: Service) -> None:
    for version in ("1", "3", "0", "999999999"):
        answer = send(service, UPDATE, "PATCH", f"/v1/items/{LIVE}", if_match=f'"{version}"')
        problem = refused(answer, 409, "stale-version", f"expected the current version 2 of {LIVE}, got {version}")
        assert (problem["current"], problem["state"]) == (2, "live")


def test_a_change_without_a_version_is_refused(service: Service) -> None:
    answer = send(service, UPDATE, "PATCH", f"/v1/items/{LIVE}")
    refused(answer, 428, "if-match-required", 'expected the header If-Match: "<version>"')


@pytest.mark.parametrize(
    "header", ["x", '"x"', '"1", "2"', '"-1"', "1.5", '"²"', '"9999999999999999999"', '""', "", "2;3"]
)
def test_a_weird_if_match_is_refused(service: Service, header: str) -> None:
    sent = {"if-match": header.encode("latin-1")}
    calls: list[tuple[str, str, bytes]] = [
        ("PATCH", f"/v1/items/{LIVE}", UPDATE),
        ("POST", f"/v1/items/{LIVE}/kill", b""),
    ]
    for method, path, body in calls:
        answer = service.http.request(method, path, content=body, headers=sent)  # type: ignore[arg-type]
        refused(answer, 400, "malformed", 'expected If-Match: "<version>", got ', "If-Match")


NOTES = {
    "a list": (b"[]", "$", "expected an object, got a list"),
    "a number as note": (b'{"note": 7}', "$.note", "expected text of at most 500 .*, got the number 7"),
    "an unknown field": (
        b'{"reason": "x"}',
        "$.reason",
        "expected one of the fields note, override, of, everywhere, got 'reason'",
    ),
    "a note of 501 characters": (
        json.dumps({"note": "x" * 501}).encode(),
        "$.note",
        "expected text of at most 500 .*, got 501",
    ),
}


@pytest.mark.parametrize(("body", "path", "detail"), NOTES.values(), ids=NOTES.keys())
def test_a_wrong_body_of_an_action_is_refused(service: Service, body: bytes, path: str, detail: str) -> None:
    refused(send(service, body, path=f"/v1/items/{LIVE}/kill"), 422, "invalid-field", detail, path)


@pytest.mark.parametrize("action", ["delete", "Kill", "kill%20", "kill%00", "__class__", "draft", "expired"])
def test_an_unknown_action_is_refused(service: Service, action: str) -> None:
    refused(
        send(service, b"", path=f"/v1/items/{LIVE}/{action}"), 404, "not-found", "expected one of the actions submit, "
    )


@pytest.mark.parametrize(
    "item_id",
    ["unknown", "%00", f"{LIVE}%00", "x" * 3_000, "%F0%9F%98%80", "%FF%FE", "*", "%2A", f"{LIVE}%0D%0AX:%20y"],
)
def test_an_unknown_item_is_refused(service: Service, item_id: str) -> None:
    for answer in (
        service.http.get(f"/v1/items/{item_id}"),
        send(service, UPDATE, "PATCH", f"/v1/items/{item_id}", if_match='"1"'),
        send(service, b"", path=f"/v1/items/{item_id}/kill"),
    ):
        refused(answer, 404, "not-found", "expected the id of an item, got ")


# Who calls

WRITES = [
    ("POST", "/v1/items", line()),
    ("PATCH", f"/v1/items/{LIVE}", UPDATE),
    ("POST", f"/v1/items/{LIVE}/kill", b""),
    ("POST", "/v1/ingest/ninjs", b'{"uri": "urn:x", "headline": "x", "language": "en"}'),
    ("GET", "/v1/items", b""),
    ("GET", f"/v1/items/{LIVE}", b""),
]
BAD_KEYS: dict[str, str | bytes | None] = {
    "no key": None,
    "an empty header": "",
    "no scheme": KEY,
    "another scheme": f"Basic {KEY}",
    "a wrong key": "Bearer sp_wrong",
    "a key with more behind it": f"Bearer {KEY}x",
    "two keys": f"Bearer {KEY}, Bearer {KEY}",
    "a key in capitals": f"Bearer {KEY.upper()}",
    "a key that is no ASCII": b"Bearer sp_\xe9\xff",
    "a key of 10,000 characters": "Bearer " + "x" * 10_000,
}


@pytest.mark.parametrize("header", BAD_KEYS.values(), ids=BAD_KEYS.keys())
@pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=[f"{method} {path}" for method, path, _ in WRITES])
def test_who_has_no_good_key_is_refused(
    service: Service, method: str, path: str, body: bytes, header: str | bytes | None
) -> None:
    sent: Any = {"if-match": '"2"'} | ({} if header is None else {"authorization": header})
    with httpx.Client(base_url=service.http.base_url, trust_env=False) as stranger:
        answer = stranger.request(method, path, content=body, headers=sent)
    refused(answer, 401, "unauthenticated", "expected (a valid API key|the header Authorization: Bearer sp_…), got ")
    assert answer.headers["www-authenticate"] == 'Bearer realm="stoppress"'
    assert KEY not in answer.text


def test_a_key_in_the_query_is_none(service: Service) -> None:
    with httpx.Client(base_url=service.http.base_url, trust_env=False) as stranger:
        assert stranger.post(f"/v1/items?key={KEY}&access_token={KEY}", content=line()).status_code == 401


def test_a_wrong_role_is_refused(service: Service, keys: dict[str, dict[str, str]]) -> None:
    document = b'{"uri": "urn:x", "headline": "x", "language": "en"}'
    for path, body, role in (
        ("/v1/items", line(state="live"), "contributor"),
        (f"/v1/items/{LIVE}/kill", b"", "contributor"),
        ("/v1/ingest/ninjs", document, "contributor"),
        ("/v1/items", line(), "ingest"),
        (f"/v1/items/{LIVE}/kill", b"", "ingest"),
    ):
        answer = send(service, body, path=path, **keys[role])
        refused(answer, 403, "forbidden", f"takes the role .*; a-{role} is {role}")


def test_of_two_keys_in_two_headers_none_is_believed_that_is_wrong(service: Service) -> None:
    headers = [("authorization", "Bearer sp_wrong"), ("authorization", f"Bearer {KEY}")]
    with httpx.Client(base_url=service.http.base_url, trust_env=False) as stranger:
        assert stranger.post("/v1/items", content=line(), headers=headers).status_code == 401


# Sizes

LARGE = line(note="x" * 65_536)


def test_a_body_over_64_kilobytes_is_refused_by_its_length(service: Service) -> None:
    refused(send(service, LARGE), 413, "too-large", f"expected a body of at most 65536 bytes, got {len(LARGE)}")


def test_a_body_over_64_kilobytes_is_refused_in_chunks_too(service: Service) -> None:
    chunks = (LARGE[start : start + 1_000] for start in range(0, len(LARGE), 1_000))
    answer = service.http.post("/v1/items", content=chunks)
    assert "content-length" not in answer.request.headers
    refused(answer, 413, "too-large", "expected a body of at most 65536 bytes, got more")


@pytest.mark.parametrize("key", ["", "x" * 256, "x" * 60_000], ids=["empty", "256 characters", "60,000 characters"])
def test_an_idempotency_key_of_no_sane_length_is_refused(service: Service, key: str) -> None:
    for path in ("/v1/items", f"/v1/items/{LIVE}/kill"):
        answer = send(service, line() if path == "/v1/items" else b"", path=path, idempotency_key=key)
        refused(answer, 400, "malformed", "expected an Idempotency-Key of 1 to 255 characters")


# Addresses and methods

METHODS = {
    "/v1/items": ("DELETE", {"GET", "HEAD", "POST"}),
    f"/v1/items/{LIVE}": ("DELETE", {"GET", "HEAD", "PATCH"}),
    f"/v1/items/{LIVE}/kill": ("GET", {"POST"}),
    "/v1/ingest/ninjs": ("GET", {"POST"}),
    "/v1/editions": ("POST", {"GET", "HEAD"}),
    "/v1/editions/en/ticker": ("POST", {"GET", "HEAD"}),
    "/healthz": ("PUT", {"GET", "HEAD"}),
}


@pytest.mark.parametrize(("path", "method", "allowed"), [(path, *rest) for path, rest in METHODS.items()], ids=METHODS)
def test_a_wrong_method_is_refused_with_the_right_ones(
    service: Service, path: str, method: str, allowed: set[str]
) -> None:
    for wrong in (method, "TRACE", "PROPFIND"):
        answer = service.http.request(wrong, path, headers={"x-http-method-override": "POST"})
        refused(answer, 405, "method-not-allowed", f"{wrong} is not for {path}")
        assert set(answer.headers["allow"].replace(" ", "").split(",")) == allowed


UNKNOWN = (
    "/v1",
    "/v2/items",
    "/v1/item",
    f"/v1/items/{LIVE}/kill/now",
    "/v1/items/..%2f..%2fetc%2fpasswd/x/y",
    "/static/../../etc/passwd",
    "/static/%2e%2e/%2e%2e/app.py",
    "/static/..%2f..%2fapp.py",
    "/static/%00",
    "/" + "a" * 20_000,
    "/%00",
    "/%FF%FE",
    "/%zz",
    "/v1/editions/en/nothing",
    "/.env",
    "/<script>alert(1)</script>",
)


@pytest.mark.parametrize("path", UNKNOWN, ids=lambda path: path[:40])
def test_an_unknown_address_is_refused(service: Service, path: str) -> None:
    status, head, body = raw(service, f"GET {path} HTTP/1.1")
    assert status == 404, (head, body)
    assert b"content-type: application/problem+json" in head.lower()
    problem = json.loads(body)
    assert problem["code"] == "not-found"
    assert problem["detail"].startswith("there is nothing at /")
    assert len(problem["detail"]) < 200


def test_an_unknown_edition_in_an_address_is_refused(service: Service) -> None:
    expected = "expected one of the editions en, ar, es, got "
    for path in ("ticker", "socket"):
        for code in ("xx", "EN", "en%00", "x" * 500, "*", "%7Ben%7D"):
            answer = service.http.get(f"/v1/editions/{code}/{path}")
            refused(answer, 404, "unknown-edition", expected, "edition")
    refused(service.http.get("/v1/items?edition=xx"), 404, "unknown-edition", expected, "edition")


TICKER = {
    "section=gossip": ("section", "expected one of politics, .*, got 'gossip'"),
    "section=": ("section", "expected one of politics"),
    "region=mars": ("region", "expected one of africa, .*, got 'mars'"),
    "region=mena&region=mars": ("region", "expected one of africa, .*, got 'mars'"),
    "urgency=5": ("urgency", "expected 1 \\(flash\\) to 4 \\(routine\\), got '5'"),
    "urgency=flash": ("urgency", "expected 1"),
    "urgency=%C2%B2": ("urgency", "expected 1"),
    "urgency=1&urgency=2": ("urgency", "expected urgency once, got it 2 times"),
    "cursor=x": ("cursor", "expected "),
    "cursor=abcd.1": ("cursor", "expected section, region, urgency"),
    "limit=5": ("limit", "expected cursor, section, region, urgency, got 'limit'"),
    "section": (None, "expected a query such as"),
    "section=%FF": (None, "expected a query such as"),
    "&".join(["region=mena"] * 500): (None, "expected a query of at most 4096 characters, got "),
}


@pytest.mark.parametrize(
    ("query", "path", "detail"), [(q, *rest) for q, rest in TICKER.items()], ids=lambda x: str(x)[:40]
)
def test_a_bad_query_of_the_ticker_is_refused(service: Service, query: str, path: str | None, detail: str) -> None:
    refused(service.http.get(f"/v1/editions/en/ticker?{query}"), 400, "malformed", detail, path)


LISTING = {
    "color=red": ("color", "expected edition, state, q, by, since, until, limit, next, got 'color'"),
    "state=dead": ("state", "expected one of draft, .*, got 'dead'"),
    "state=": ("state", "expected one of draft, .*, got ''"),
    "limit=0": ("limit", "expected 1 to 200, got '0'"),
    "limit=201": ("limit", "expected 1 to 200, got '201'"),
    "limit=-1": ("limit", "expected 1 to 200, got '-1'"),
    "limit=": ("limit", "expected 1 to 200, got ''"),
    "limit=ten": ("limit", "expected 1 to 200, got 'ten'"),
    "limit=%C2%B2": ("limit", "expected 1 to 200, got '²'"),
    "limit=" + "9" * 5_000: ("limit", "expected 1 to 200, got '9999"),
    "next=": ("next", "expected next as the previous page gave it"),
    "next=x.y": ("next", "expected next as the previous page gave it"),
    "next=12": ("next", "expected next as the previous page gave it"),
    "next=%C2%B2.a": ("next", "expected next as the previous page gave it"),
    "next=" + "9" * 5_000 + ".a": ("next", "expected next as the previous page gave it"),
    "since=yesterday": ("since", "expected an RFC 3339 time .*, got 'yesterday'"),
    "since=2026-01-01T00:00:00": ("since", "expected .* without an offset"),
    "until=1e999": ("until", "expected an RFC 3339 time"),
}


@pytest.mark.parametrize(
    ("query", "path", "detail"), [(q, *rest) for q, rest in LISTING.items()], ids=lambda x: str(x)[:40]
)
def test_a_bad_query_of_the_listing_is_refused(service: Service, query: str, path: str, detail: str) -> None:
    refused(service.http.get(f"/v1/items?{query}"), 400, "malformed", detail, path)


# HTTP itself


def raw(service: Service, *head: str, body: bytes = b"") -> tuple[int, bytes, bytes]:
    """Send a request that no client library would, and return status, head and body of the answer."""
    lines = [*head, f"Host: 127.0.0.1:{service.port}", f"Authorization: Bearer {KEY}", "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1") + body)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    first, _, payload = answer.partition(b"\r\n\r\n")
    return int(first.split(b" ")[1]), first, payload


SIZE = f"Content-Length: {len(line())}"
TRICKS: dict[str, tuple[tuple[str, ...], bytes]] = {
    "two lengths": (("POST /v1/items HTTP/1.1", SIZE, "Content-Length: 5"), line()),
    "a length and chunks": (
        ("POST /v1/items HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked"),
        b"0\r\n\r\n",
    ),
    "a negative length": (("POST /v1/items HTTP/1.1", "Content-Length: -5"), line()),
    "a length in other digits": (("POST /v1/items HTTP/1.1", "Content-Length: \u00b2"), line()),
    "a length of 5,000 digits": (("POST /v1/items HTTP/1.1", "Content-Length: " + "9" * 5_000), line()),
    "a broken chunk": (("POST /v1/items HTTP/1.1", "Transfer-Encoding: chunked"), b"zz\r\n{}\r\n0\r\n\r\n"),
    "an unknown coding": (("POST /v1/items HTTP/1.1", "Transfer-Encoding: rot13", SIZE), line()),
    "a folded header": (("POST /v1/items HTTP/1.1", "X-A: b", " Authorization: c", "Content-Length: x"), line()),
    "a space before the colon": (("POST /v1/items HTTP/1.1", "Content-Length : 5"), line()),
    "a null in a header": (("POST /v1/items HTTP/1.1", "X-A: \x00", SIZE), line()),
    "no version": (("POST /v1/items",), line()),
    "an unknown version": (("POST /v1/items HTTP/9.9",), line()),
    "an unknown method": (("KILL /v1/items HTTP/1.1",), b""),
    "no path": (("GET  HTTP/1.1",), b""),
    "a proxy's request": (("CONNECT 127.0.0.1:6379 HTTP/1.1",), b""),
    "no HTTP at all": (("\x16\x03\x01\x02\x00\x01",), b""),
}


@pytest.mark.parametrize(("head", "body"), TRICKS.values(), ids=TRICKS.keys())
def test_a_request_that_is_no_sound_http_is_refused(service: Service, head: tuple[str, ...], body: bytes) -> None:
    status, _, _ = raw(service, *head, body=body)
    assert 400 <= status < 500


HEADERS: dict[str, tuple[str, ...]] = {
    "two If-Match": ('If-Match: "1"', 'If-Match: "2"'),
    "a list in If-Match": ('If-Match: "1", "2"',),
    "60 kilobytes of a header": ("X-A: " + "a" * 60_000, 'If-Match: "1"'),
    "a thousand headers": (*(f"X-{n}: a" for n in range(1_000)), 'If-Match: "1"'),
    "a forwarded address that is none": ("X-Forwarded-For: " + "<script>," * 500, 'If-Match: "1"'),
    "a forwarded address with a null": ("X-Forwarded-For: \xff\xfe", 'If-Match: "1"'),
    "a strange host": ("Host: evil.example\\@x", 'If-Match: "1"'),
    "a strange wait": ("Prefer: wait=" + "9" * 5_000, 'If-Match: "1"'),
    "a strange type": ("Content-Type: \xff; charset=\xff", 'If-Match: "1"'),
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS.keys())
def test_strange_headers_break_nothing(service: Service, headers: tuple[str, ...]) -> None:
    status, _, _ = raw(
        service, f"PATCH /v1/items/{LIVE} HTTP/1.1", f"Content-Length: {len(UPDATE)}", *headers, body=UPDATE
    )
    assert 400 <= status < 500


def test_nothing_of_a_request_comes_back_as_a_header(service: Service) -> None:
    _, head, body = raw(service, "GET /v1/items/x%0d%0aSet-Cookie:%20a=b HTTP/1.1")
    assert b"set-cookie" not in head.lower()
    assert json.loads(body)["code"] == "not-found"
    _, head, _ = raw(service, "GET /static/app%0d%0aSet-Cookie:%20a=b HTTP/1.1")
    assert b"set-cookie" not in head.lower()


def test_a_caller_who_leaves_in_the_middle_of_a_body_breaks_nothing(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        head = f"POST /v1/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + line())
    assert service.http.get("/healthz").status_code == 200
