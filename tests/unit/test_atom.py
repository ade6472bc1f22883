"""Atom: what a feed reader makes of the document, and what RFC 4287 and RFC 6721 ask of it."""

from xml.etree import ElementTree

import feedparser
import msgspec
import pytest
from hypothesis import given

from service.domain.item import Correction, Related
from service.domain.selection import Selection
from service.syndication.atom import atom
from service.syndication.issue import Issue, Killed
from tests.unit.samples import EN, HOSTILE, issue, item, plain, texts

ATOM = "{http://www.w3.org/2005/Atom}"
TOMBSTONE = "{http://purl.org/atompub/tombstones/1.0}deleted-entry"
CORRECTION = Correction(type="corrected", note=HOSTILE, at="2026-11-24T03:05:00.000Z")


def read(made: Issue) -> ElementTree.Element:
    return ElementTree.fromstring(atom(made))


def texts_of(element: ElementTree.Element, tag: str) -> list[str | None]:
    return [found.text for found in element.iter(ATOM + tag)]


def test_a_feed_reader_finds_every_part_of_a_line() -> None:
    line = item(
        "a",
        headline="Ceasefire takes effect",
        speaker="Foreign Ministry",
        link="https://news.example/story?a=1&b=2",
        section="politics",
        regions=("mena", "asia"),
        urgency=1,
        correction=CORRECTION,
        related=(Related("Why & how", "https://news.example/why"),),
        version_created="2026-11-24T03:05:00.000Z",
    )
    found = feedparser.parse(atom(issue(line)))
    assert not found.bozo
    assert (found.version, found.feed.title, found.feed.language) == ("atom10", "English", "en")
    assert (found.feed.id, found.feed.author) == ("urn:stoppress:en", "English")
    assert found.feed.updated == line.version_created
    links = {link.rel: link.href for link in found.feed.links}
    assert links == {
        "self": "https://news.example/v1/editions/en/feed",
        "alternate": "https://news.example/?edition=en",
    }
    (entry,) = found.entries
    assert (entry.id, entry.title) == ("urn:stoppress:en:a", "Foreign Ministry: Ceasefire takes effect")
    assert (entry.updated, entry.published) == (line.version_created, line.published_at)
    assert entry.link == line.link
    assert [(link.href, link.title) for link in entry.links if link.rel == "related"] == [
        ("https://news.example/why", "Why & how")
    ]
    assert {(tag.scheme, tag.term, tag.label) for tag in entry.tags} == {
        ("urn:stoppress:section", "politics", None),
        ("http://cv.iptc.org/newscodes/mediatopic/", "11000000", "politics"),
        ("urn:stoppress:region", "mena", None),
        ("urn:stoppress:region", "asia", None),
        ("urn:stoppress:urgency", "1", "flash"),
    }


def test_hostile_text_stays_text_everywhere() -> None:
    hostile = item(
        headline=HOSTILE,
        speaker=HOSTILE,
        correction=CORRECTION,
        related=(Related(HOSTILE, "https://news.example/"),),
        subjects=(HOSTILE,),
    )
    edition = msgspec.structs.replace(EN, name=HOSTILE)
    feed = read(issue(hostile, edition=edition))
    assert texts_of(feed, "title") == [HOSTILE, f"{HOSTILE}: {HOSTILE}"]
    assert texts_of(feed, "name") == [HOSTILE]
    assert texts_of(feed, "summary") == [HOSTILE]
    assert [link.get("title") for link in feed.iter(ATOM + "link") if link.get("rel") == "related"] == [HOSTILE]
    assert not [each for each in feed.iter() if "script" in each.tag]
    # A type of html or xhtml would have a reader take the text for markup.
    assert not [each for each in feed.iter() if each.tag != ATOM + "link" and each.get("type")]


@given(plain)
def test_any_headline_comes_out_as_it_went_in(headline: str) -> None:
    assert texts_of(read(issue(item(headline=headline))), "title")[1] == headline


@given(texts)
def test_no_name_breaks_the_document(name: str) -> None:
    read(issue(item(), edition=msgspec.structs.replace(EN, name=f"x{name}")))


def test_a_name_loses_what_xml_cannot_hold_and_nothing_else() -> None:
    feed = read(issue(edition=msgspec.structs.replace(EN, name="a\x00b\x0bc\ufffed\U0001f600e\ufffdf")))
    assert texts_of(feed, "title") == ["abcd\U0001f600e\ufffdf"]


def test_a_line_without_a_story_links_to_its_editions_page() -> None:
    assert feedparser.parse(atom(issue(item()))).entries[0].link == "https://news.example/?edition=en"


def test_a_killed_line_is_a_tombstone() -> None:
    feed = read(issue(item("b"), killed=[Killed("a", 2, "2026-11-24T05:00:00.000Z")]))
    tombstones = [each.attrib for each in feed.iter(TOMBSTONE)]
    assert tombstones == [{"ref": "urn:stoppress:en:a", "when": "2026-11-24T05:00:00.000Z"}]
    assert feed.findtext(ATOM + "updated") == "2026-11-24T05:00:00.000Z"


def test_a_feed_without_lines_has_a_moment_too() -> None:
    feed = read(issue())
    assert feed.findtext(ATOM + "updated") == "2026-11-24T04:00:00.000Z"


def test_a_line_that_was_under_embargo_is_new_when_it_becomes_public() -> None:
    held = item(version_created="2026-11-24T03:00:00.000Z", published_at="2026-11-24T09:00:00.000Z")
    assert texts_of(read(issue(held)), "updated") == ["2026-11-24T09:00:00.000Z"] * 2


def test_a_line_in_another_language_says_so() -> None:
    feed = read(issue(item("a"), item("b", language="ar")))
    languages = [entry.get("{http://www.w3.org/XML/1998/namespace}lang") for entry in feed.iter(ATOM + "entry")]
    assert languages == [None, "ar"]


@pytest.mark.parametrize(
    ("selection", "name"),
    [
        (Selection(sections=frozenset({"sports", "health"})), "urn:stoppress:en:section=health:section=sports"),
        (Selection(regions=frozenset({"asia"}), urgency=2), "urn:stoppress:en:region=asia:urgency=2"),
    ],
)
def test_each_selection_is_a_feed_of_its_own(selection: Selection, name: str) -> None:
    assert read(issue(selection=selection)).findtext(ATOM + "id") == name
