"""Differences: the words and the fields that a new version of a line changed."""

import msgspec
import pytest
from hypothesis import given

from service.domain.item import Correction, Related
from service.web.differences import Difference, Span, fields, words
from tests.unit.samples import item, plain


def said(before: str, after: str) -> str:
    """The difference as one might write it by hand: [-gone-] {+new+}."""
    marks = {"same": "{}", "gone": "[-{}-]", "new": "{{+{}+}}"}
    return "".join(marks[span.kind].format(span.text) + span.gap for span in words(before, after))


@pytest.mark.parametrize(
    ("before", "after", "shows"),
    [
        ("Bridge closed", "Bridge closed", "Bridge closed"),
        ("Bridge closed", "Bridge closed until Monday", "Bridge closed {+until Monday+}"),
        ("Bridge closed until Monday", "Bridge closed", "Bridge closed [-until Monday-]"),
        ("Six dead in quake", "Nine dead in quake", "[-Six-] {+Nine+} dead in quake"),
        ("Talks end", "Peace talks end today", "[-Talks-] {+Peace talks+} end {+today+}"),
        ("a  b", "a b", "[-a  b-] {+a b+}"),
        ("معرض الكتاب في الشارقة", "معرض الكتاب في دبي", "معرض الكتاب في [-الشارقة-] {+دبي+}"),
        ("东京地震", "大阪地震", "[-东京-]{+大阪+}地震"),
    ],
)
def test_a_difference_is_told_in_words(before: str, after: str, shows: str) -> None:
    assert said(before, after) == shows


@given(plain, plain)
def test_both_headlines_can_be_read_from_their_difference(before: str, after: str) -> None:
    spans = words(before, after)
    for text, kind in ((before, "gone"), (after, "new")):
        read = "".join(span.text + span.gap for span in spans if span.kind in ("same", kind))
        assert "".join(read.split()) == "".join(text.split())


def test_words_that_only_moved_a_space_are_not_taken_for_the_same() -> None:
    assert [span.kind for span in words("a b", "a  b")] == ["gone", "new"]
    assert words("a b", "a b") == [Span("same", "a b", "")]


def test_fields_are_told_by_the_readers_names_and_in_words() -> None:
    before = item(urgency=3, speaker="Ministry", regions=("mena",))
    after = msgspec.structs.replace(
        before,
        version=2,
        version_created="2026-11-24T03:00:01.000Z",
        headline="Another",
        urgency=1,
        speaker=None,
        regions=("mena", "asia"),
        pinned=True,
        correction=Correction("corrected", "Not so", "2026-11-24T03:00:01.000Z"),
        related=(Related("More", "https://example.org/"),),
        alt_ids=("a", "b"),
    )
    assert fields(before, after) == [
        Difference("urgency", "3 Urgent", "1 Flash"),
        Difference("speaker", "Ministry", "none"),
        Difference("regions", "mena", "mena, asia"),
        Difference("pinned", "no", "yes"),
        Difference("correction", "none", "Not so"),
        Difference("related", "none", "More (https://example.org/)"),
        Difference("altIds", "none", "a, b"),
    ]
    assert fields(before, before) == []
