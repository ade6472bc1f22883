"""Jsonfeed: what version 1.1 requires is there, and the text is as it was."""

from typing import Any

import msgspec
from hypothesis import given

from service.domain.item import Correction
from service.syndication.issue import Issue, Killed
from service.syndication.jsonfeed import jsonfeed
from tests.unit.samples import HOSTILE, issue, item, plain


def read(made: Issue) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode(jsonfeed(made))
    return document


def test_a_feed_has_what_the_format_requires() -> None:
    feed = read(issue(item("a"), item("b")))
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    assert (feed["title"], feed["language"]) == ("English", "en")
    assert feed["feed_url"] == "https://news.example/v1/editions/en/feed"
    assert feed["home_page_url"] == "https://news.example/?edition=en"
    assert [entry["id"] for entry in feed["items"]] == ["urn:stoppress:en:a", "urn:stoppress:en:b"]
    assert all(entry["content_text"] for entry in feed["items"])


def test_a_line_has_its_parts_and_ours_under_our_own_name() -> None:
    correction = Correction(type="corrected", note=HOSTILE, at="2026-11-24T03:05:00.000Z")
    line = item(
        "a",
        version=3,
        headline=HOSTILE,
        speaker="Ministry",
        link="https://news.example/story",
        section="sports",
        regions=("asia",),
        subjects=("medtop:15000000",),
        urgency=2,
        pinned=True,
        correction=correction,
        version_created="2026-11-24T03:05:00.000Z",
    )
    (entry,) = read(issue(line))["items"]
    assert entry["title"] == entry["content_text"] == f"Ministry: {HOSTILE}"
    assert "content_html" not in entry, "it would be markup"
    assert (entry["url"], entry["summary"]) == ("https://news.example/story", HOSTILE)
    assert (entry["date_published"], entry["date_modified"]) == (line.published_at, line.version_created)
    assert entry["tags"] == ["sports", "asia", "medtop:15000000"]
    ours = entry["_stoppress"]
    assert (ours["version"], ours["urgency"], ours["pinned"]) == (3, 2, True)
    assert ours["correction"] == msgspec.to_builtins(correction)


@given(plain)
def test_any_headline_comes_out_as_it_went_in(headline: str) -> None:
    assert read(issue(item(headline=headline)))["items"][0]["content_text"] == headline


def test_a_killed_line_is_named_and_nothing_else_of_it() -> None:
    feed = read(issue(killed=[Killed("a", 2, "2026-11-24T05:00:00.000Z")]))
    assert feed["items"] == []
    assert feed["_stoppress"]["killed"] == [
        {"id": "urn:stoppress:en:a", "version": 2, "at": "2026-11-24T05:00:00.000Z"}
    ]
