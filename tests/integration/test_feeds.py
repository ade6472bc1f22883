"""The readers' feeds on the real service, as feed readers, schemas and caches see them."""

import gzip
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import feedparser
import httpx
import jsonschema
import msgspec
import pytest

from tests.integration.harness import Service, until
from tests.integration.test_health import stopped
from tests.integration.test_items import EDITIONS

SCHEMA = Path(__file__).parents[3] / "shared" / "data" / "ninjs" / "ninjs-schema_3.1.json"
KINDS = {"feed.atom": "application/atom+xml", "feed.json": "application/feed+json", "ninjs": "application/json"}
TOMBSTONE = "{http://purl.org/atompub/tombstones/1.0}deleted-entry"
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def reader(service: Service) -> Iterator[httpx.Client]:
    """Somebody without a key, who takes no compression unless a test says so."""
    with stranger(service) as client:
        yield client


def stranger(service: Service) -> httpx.Client:
    return httpx.Client(base_url=service.http.base_url, trust_env=False, headers={"accept-encoding": "identity"})


def address(kind: str, edition: str = "en") -> str:
    return f"/v1/editions/{edition}/{kind}"


def names(kind: str, answer: httpx.Response) -> list[str]:
    """The ids of the lines that a feed has, in its order."""
    assert answer.status_code == 200, answer.text
    if kind == "feed.atom":
        found = [entry.id for entry in parsed(answer).entries]
    elif kind == "feed.json":
        found = [entry["id"] for entry in answer.json()["items"]]
    else:
        found = [document["uri"] for document in answer.json() if document["pubStatus"] == "usable"]
    return [name.rpartition(":")[2] for name in found]


def parsed(answer: httpx.Response) -> Any:
    """An Atom feed as feedparser reads it, which must find nothing wrong with it."""
    feed = feedparser.parse(answer.content)
    assert not feed.bozo, feed.bozo_exception
    return feed


@every_kind
def test_a_feed_has_the_tickers_lines_in_its_order(service: Service, reader: httpx.Client, kind: str) -> None:
    pinned = service.publish("Pinned")["id"]
    others = [service.publish(f"Line {number}")["id"] for number in range(11)]
    assert service.act(pinned, "pin").status_code == 201
    try:
        answer = reader.get(address(kind))
        listed = [item["id"] for item in reader.get("/v1/editions/en/ticker").json()["items"]]
        assert names(kind, answer) == listed
        assert listed == [pinned, *others[:1:-1]]
        assert answer.headers["content-type"] == KINDS[kind]
        assert answer.headers["cache-control"] == "public, max-age=5, stale-while-revalidate=30"
        assert answer.headers["access-control-allow-origin"] == "*"
    finally:
        assert service.act(pinned, "unpin").status_code == 201


def test_a_feed_reader_is_told_who_what_when_and_where(service: Service, reader: httpx.Client) -> None:
    headline = "<b>Ceasefire</b> ]]> & 😀"
    link = "https://news.example/story?a=1&b=2"
    made = service.publish(headline, speaker="Foreign Ministry", link=link, urgency=2, section="politics")["id"]
    answer = reader.get(address("feed.atom"))
    feed = parsed(answer)
    own = f"http://127.0.0.1:{service.port}"
    assert {(each.rel, each.href) for each in feed.feed.links} == {
        ("self", f"{own}/v1/editions/en/feed.atom"),
        ("alternate", f"{own}/?edition=en"),
    }
    entry = feed.entries[0]
    assert (feed.feed.author, entry.id, entry.link) == ("English", f"urn:stoppress:en:{made}", link)
    title = ElementTree.fromstring(answer.content).findtext(".//{*}entry/{*}title")
    assert title == f"Foreign Ministry: {headline}"
    assert entry.title_detail.type == "text/plain"
    item = reader.get("/v1/editions/en/ticker").json()["items"][0]
    assert (entry.published, entry.updated) == (item["publishedAt"], item["versionCreated"])


@every_kind
def test_a_kill_leaves_a_retraction_and_no_text(service: Service, reader: httpx.Client, kind: str) -> None:
    made = service.publish(f"Xylophagous {kind}", speaker="Zyzzyva", altIds=["Quoddy"])["id"]
    before = reader.get(address(kind))
    assert "Xylophagous" in before.text
    assert service.act(made, "kill").status_code == 201
    after = reader.get(address(kind), headers={"if-none-match": before.headers["etag"]})
    assert made not in names(kind, after)
    for word in ("Xylophagous", "Zyzzyva", "Quoddy"):
        assert word not in after.text
    name = f"urn:stoppress:en:{made}"
    if kind == "feed.atom":
        (tombstone,) = [
            each for each in ElementTree.fromstring(after.content).iter(TOMBSTONE) if each.get("ref") == name
        ]
        entry = next(entry for entry in parsed(before).entries if entry.id == name)
        # RFC 6721, section 4: a reader passes over a deletion that is older than what it has.
        assert tombstone.get("when", "") >= entry.updated
    elif kind == "feed.json":
        assert name in [killed["id"] for killed in after.json()["_stoppress"]["killed"]]
    else:
        (canceled,) = [document for document in after.json() if document["uri"] == name]
        assert (canceled["pubStatus"], canceled["version"]) == ("canceled", "2")
        assert "headlines" not in canceled


@every_kind
def test_a_withheld_line_is_gone_without_a_retraction(service: Service, reader: httpx.Client, kind: str) -> None:
    made = service.publish("To be checked")["id"]
    assert service.act(made, "withhold").status_code == 201
    assert made not in reader.get(address(kind)).text
    assert service.act(made, "release").status_code == 201
    assert made in names(kind, reader.get(address(kind)))


def test_a_correction_shows_its_note_and_keeps_the_name(service: Service, reader: httpx.Client) -> None:
    made = service.publish("Twelve rescued")["id"]
    note = "An earlier version said twelve"
    assert service.change(made, 1, "correct", headline="Thirteen rescued", note=note).status_code == 201
    entry = parsed(reader.get(address("feed.atom"))).entries[0]
    assert (entry.id, entry.title, entry.summary) == (f"urn:stoppress:en:{made}", "Thirteen rescued", note)
    assert entry.updated > entry.published
    entry = reader.get(address("feed.json")).json()["items"][0]
    assert (entry["title"], entry["summary"], entry["_stoppress"]["version"]) == ("Thirteen rescued", note, 2)
    (document, *_) = reader.get(address("ninjs")).json()
    assert (document["version"], document["descriptions"][0]["value"]) == ("2", note)


@pytest.mark.skipif(not SCHEMA.exists(), reason="the sample data is not here: IPTC's schema in shared/data/ninjs")
def test_every_ninjs_object_is_valid(service: Service, reader: httpx.Client) -> None:
    service.publish("Killed", id="ninjs-killed")
    assert service.act("ninjs-killed", "kill").status_code == 201
    service.publish(
        "Full",
        speaker="Ministry",
        outlet="Radio",
        link="https://news.example/قصة",
        section="politics",
        regions=["mena"],
        subjects=["medtop:15000000", "elections"],
        related=[{"title": "Why", "link": "https://news.example/why"}],
        altIds=["urn:x"],
    )
    documents = reader.get(address("ninjs")).json()
    assert {document["pubStatus"] for document in documents} == {"usable", "canceled"}
    schema = msgspec.json.decode(SCHEMA.read_bytes())
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    for document in documents:
        validator.validate(document)


def test_another_service_can_ingest_what_this_one_sends(service: Service, reader: httpx.Client) -> None:
    service.publish("From one newsroom to another", section="sports", urgency=2)
    (sent, *_) = reader.get(address("ninjs")).json()
    answer = service.http.post("/v1/ingest/ninjs?edition=es", json=sent, headers={"prefer": "wait=10"})
    assert answer.status_code == 201, answer.text
    (received, *_) = reader.get("/v1/editions/es/ticker").json()["items"]
    assert (received["headline"], received["urgency"]) == ("From one newsroom to another", 2)
    assert (received["section"], received["altIds"]) == ("sports", [sent["uri"]])


@every_kind
def test_who_has_it_already_is_told_so(service: Service, reader: httpx.Client, kind: str) -> None:
    service.publish("Told once")
    answer = reader.get(address(kind))
    tag = answer.headers["etag"]
    for given in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        same = reader.get(address(kind), headers={"if-none-match": given})
        assert (same.status_code, same.content) == (304, b""), given
        assert {name: same.headers[name] for name in ("etag", "cache-control", "vary")} == {
            name: answer.headers[name] for name in ("etag", "cache-control", "vary")
        }
    service.publish("Something new")
    assert reader.get(address(kind), headers={"if-none-match": tag}).status_code == 200


@every_kind
def test_a_date_is_told_when_it_is_certain_and_a_tag_goes_before_it(
    service: Service, reader: httpx.Client, kind: str
) -> None:
    service.publish("Dated")
    assert "last-modified" not in reader.get(address(kind)).headers, "another change may come in the same second"
    answer = until(
        lambda: found if "last-modified" in (found := reader.get(address(kind))).headers else None, "the date"
    )
    date = answer.headers["last-modified"]
    earlier = format_datetime(parsedate_to_datetime(date) - timedelta(seconds=1), usegmt=True)

    def status(**headers: str) -> int:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return reader.get(address(kind), headers=given).status_code

    assert status(if_modified_since=date) == 304
    assert status(if_modified_since=earlier) == 200
    assert status(if_modified_since="last Tuesday") == 200
    assert status(if_none_match='"other"', if_modified_since=date) == 200
    assert status(if_none_match=answer.headers["etag"], if_modified_since=earlier) == 304
    service.publish("Later")
    assert status(if_modified_since=date) == 200


@every_kind
def test_compressed_or_not_it_is_the_same_document(service: Service, reader: httpx.Client, kind: str) -> None:
    service.publish("عاجل 😀", edition="ar")
    plain = reader.get(address(kind, "ar"))
    assert "content-encoding" not in plain.headers
    with reader.stream("GET", address(kind, "ar"), headers={"accept-encoding": "br, gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content
    assert int(answer.headers["content-length"]) == len(raw)
    for each in (plain, answer):
        assert "accept-encoding" in each.headers["vary"], "a cache must not mix them up"
        assert each.headers["etag"] == plain.headers["etag"]


@every_kind
def test_a_head_is_the_head_of_the_get(service: Service, reader: httpx.Client, kind: str) -> None:
    service.publish("Headed")
    get, head = reader.get(address(kind)), reader.head(address(kind))
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "cache-control"):
        assert head.headers[name] == get.headers[name]


@every_kind
def test_a_selection_is_a_feed_of_its_own(service: Service, reader: httpx.Client, kind: str) -> None:
    sports = service.publish("A goal", edition="es", section="sports", regions=["asia"], urgency=1)["id"]
    health = service.publish("A cure", edition="es", section="health", urgency=4)["id"]

    def chosen(**query: Any) -> list[str]:
        return names(kind, reader.get(address(kind, "es"), params=query))

    assert chosen(section="sports")[0] == sports
    assert health not in chosen(section="sports") + chosen(region="asia") + chosen(urgency=1)
    assert chosen(section=["health", "sports"])[:2] == [health, sports]
    assert reader.get(address(kind, "es"), params={"section": "gossip"}).status_code == 400
    assert reader.get(address(kind, "es"), params={"cursor": "x.1"}).status_code == 400
    assert reader.get(address(kind, "xx")).status_code == 404


def test_however_a_selection_is_asked_for_its_feed_has_one_address(service: Service, reader: httpx.Client) -> None:
    queries = ("urgency=2&section=sports&section=health", "section=health&section=sports&section=health&urgency=2")
    feeds = [parsed(reader.get(f"{address('feed.atom')}?{query}")).feed for query in queries]
    own = next(link.href for link in feeds[0].links if link.rel == "self")
    assert own.endswith("/v1/editions/en/feed.atom?section=health&section=sports&urgency=2")
    assert feeds[0].links == feeds[1].links
    assert feeds[0].id == feeds[1].id != parsed(reader.get(address("feed.atom"))).feed.id
    assert parsed(reader.get(own)).feed.id == feeds[0].id


def test_arabic_comes_out_as_it_went_in(service: Service, reader: httpx.Client) -> None:
    headline, speaker = "انفجار في \u200f(بيروت) 12:30", "وزارة الخارجية"
    service.publish(headline, edition="ar", speaker=speaker)
    feed = parsed(reader.get(address("feed.atom", "ar")))
    assert (feed.feed.language, feed.entries[0].title) == ("ar", f"{speaker}: {headline}")
    feed = reader.get(address("feed.json", "ar")).json()
    assert (feed["language"], feed["items"][0]["content_text"]) == ("ar", f"{speaker}: {headline}")
    (document, *_) = reader.get(address("ninjs", "ar")).json()
    assert (document["language"], document["headlines"][0]["value"]) == ("ar", headline)
    assert document["infoSources"] == [{"name": speaker, "role": "speaker"}]


def test_a_made_up_host_gets_into_no_feed(service: Service, reader: httpx.Client) -> None:
    answer = reader.get(address("feed.atom"), headers={"host": 'x"><script>'})
    assert answer.status_code == 400


def test_a_page_names_the_feeds_of_its_editions(service: Service, reader: httpx.Client) -> None:
    def feeds(page: str) -> list[str]:
        links = [each for each in page.split("<link ")[1:] if each.startswith('rel="alternate"')]
        return [each.partition('href="')[2].partition('"')[0] for each in links]

    own = [address(kind, "ar") for kind in ("feed.atom", "feed.json")]
    assert feeds(reader.get("/?edition=ar").text) == own
    every = feeds(reader.get("/").text)
    assert len(every) == 6
    assert set(own) < set(every)
    for each in every:
        assert reader.get(each).status_code == 200


def test_a_private_editions_feeds_are_for_who_has_a_key(own_service: Service) -> None:
    (own_service.folder / "editions.toml").write_text(EDITIONS)
    own_service.settings |= {
        "editions": str(own_service.folder / "editions.toml"),
        "public_url": "https://news.example",
    }
    own_service.start()
    made = own_service.publish("For our eyes only", edition="desk")["id"]
    key = own_service.add_key("screen", "reader", editions=("desk",))
    elsewhere = own_service.add_key("other", "reader", editions=("en",))
    with stranger(own_service) as reader:
        for kind in KINDS:
            refusals = [reader.get(address(kind, "desk"), headers=given) for given in ({}, elsewhere)]
            assert [answer.status_code for answer in refusals] == [401, 403]
            assert not [answer for answer in refusals if "our eyes" in answer.text]
            answer = reader.get(address(kind, "desk"), headers=key)
            assert names(kind, answer) == [made]
            assert answer.headers["cache-control"] == "private, no-cache"
            given = key | {"if-none-match": answer.headers["etag"]}
            assert reader.get(address(kind, "desk"), headers=given).status_code == 304
            del given["authorization"]
            assert reader.get(address(kind, "desk"), headers=given).status_code == 401
        # Links are to where people reach the service, not to how this caller did.
        feed = parsed(reader.get(address("feed.atom"))).feed
        assert {link.href for link in feed.links} == {
            "https://news.example/v1/editions/en/feed.atom",
            "https://news.example/?edition=en",
        }
        assert "/desk/feed" not in reader.get("/").text


def test_a_feed_says_since_when_it_is_old(own_service: Service) -> None:
    own_service.start()
    own_service.publish("The last one")
    with stranger(own_service) as reader:
        until(lambda: "last-modified" in reader.get(address("feed.atom")).headers, "the date")
    with stopped(own_service.redis_server.pid), stranger(own_service) as reader:
        answer = until(
            lambda: found if "stoppress-behind" in (found := reader.get(address("feed.atom"))).headers else None,
            "the mark",
        )
        assert [entry.title for entry in parsed(answer).entries] == ["The last one"]
        assert answer.headers["cache-control"] == "public, max-age=1"
        assert "last-modified" not in answer.headers
