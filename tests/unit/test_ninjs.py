"""Ninjs: each object is valid by IPTC's schema, and our own ingest understands it."""

from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given

from service.domain.item import Correction, Related
from service.domain.wire import parse_ninjs
from service.syndication.issue import Issue, Killed
from service.syndication.ninjs import ninjs
from tests.unit.samples import EN, HOSTILE, issue, item, plain

SCHEMA = Path(__file__).parents[3] / "shared" / "data" / "ninjs" / "ninjs-schema_3.1.json"
FULL = item(
    "a",
    version=2,
    headline=HOSTILE,
    speaker="Ministry",
    outlet="Radio One",
    link="https://news.example/قصة?100%&a=%20",
    section="politics",
    regions=("mena",),
    subjects=("medtop:11000000", "medtop:15000000", "elections"),
    urgency=1,
    pinned=True,
    correction=Correction(type="corrected", note=HOSTILE, at="2026-11-24T03:05:00.000Z"),
    related=(Related(HOSTILE, "https://news.example/a b"), Related("Another", "https://news.example/b")),
    alt_ids=("urn:newsml:x",),
)
KILLED = Killed("k", 3, "2026-11-24T05:00:00.000Z")


def read(made: Issue) -> list[dict[str, Any]]:
    documents: list[dict[str, Any]] = msgspec.json.decode(ninjs(made))
    return documents


@pytest.mark.skipif(not SCHEMA.exists(), reason="the sample data is not here: IPTC's schema in shared/data/ninjs")
@pytest.mark.parametrize(
    "made",
    [
        issue(FULL, item("b"), killed=[KILLED]),
        issue(item("b", section=None)),
        issue(item("b", section="politics"), edition=msgspec.structs.replace(EN, sections={"politics": "no code"})),
    ],
    ids=["full", "bare", "an odd topic"],
)
def test_each_object_is_valid(made: Issue) -> None:
    schema = msgspec.json.decode(SCHEMA.read_bytes())
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    documents = read(made)
    assert len(documents) == len(made.items) + len(made.killed)
    for document in documents:
        validator.validate(document)


def test_a_line_is_mapped_to_what_ninjs_has_for_it() -> None:
    (document,) = read(issue(FULL))
    assert document["uri"] == "urn:stoppress:en:a"
    assert (document["standard"]["name"], document["standard"]["version"]) == ("ninjs", "3.1")
    assert (document["version"], document["pubStatus"], document["urgency"]) == ("2", "usable", 1)
    assert (document["versionCreated"], document["firstCreated"]) == (FULL.version_created, FULL.first_created)
    assert (document["expires"], document["language"]) == (FULL.expires, "en")
    assert [headline["value"] for headline in document["headlines"]] == [HOSTILE]
    assert document["subjects"] == [
        {"uri": "http://cv.iptc.org/newscodes/mediatopic/11000000", "name": "politics", "literal": "politics"},
        {"uri": "http://cv.iptc.org/newscodes/mediatopic/15000000", "literal": "medtop:15000000"},
        {"literal": "elections"},
    ]
    assert [(source["role"], source["name"]) for source in document["infoSources"]] == [
        ("speaker", "Ministry"),
        ("outlet", "Radio One"),
    ]
    assert [place["literal"] for place in document["places"]] == ["mena"]
    assert [alt["value"] for alt in document["altIds"]] == ["urn:newsml:x"]
    assert [(note["role"], note["value"]) for note in document["descriptions"]] == [("correction", HOSTILE)]


def test_links_become_uris_that_mean_the_same() -> None:
    (document,) = read(issue(FULL))
    assert [(story["rel"], story["uri"]) for story in document["associations"]] == [
        ("story", "https://news.example/%D9%82%D8%B5%D8%A9?100%25&a=%20"),
        ("related", "https://news.example/a%20b"),
        ("related", "https://news.example/b"),
    ]


def test_a_killed_line_is_canceled_and_has_no_text() -> None:
    *_, document = read(issue(FULL, killed=[KILLED]))
    assert document["pubStatus"] == "canceled"
    assert set(document) == {"uri", "standard", "type", "version", "versionCreated", "pubStatus"}
    wire = parse_ninjs(msgspec.json.encode(document))
    assert (wire.uri, wire.status, wire.order[0]) == ("urn:stoppress:en:k", "canceled", 3)


@given(plain)
def test_our_own_ingest_reads_what_we_send(headline: str) -> None:
    sent = item("a", headline=headline, section="sports", urgency=2, version=4)
    wire = parse_ninjs(msgspec.json.encode(read(issue(sent))[0]))
    assert (wire.headline, wire.urgency, wire.status, wire.order[0]) == (" ".join(headline.split()), 2, "usable", 4)
    draft = wire.draft(EN)
    assert (draft.section, draft.language, draft.expires) == ("sports", "en", sent.expires)
