"""Item: what comes in is checked once, what goes out survives the wire."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.edition import Edition
from service.domain.instant import format_ms
from service.domain.item import (
    EXPIRES_AFTER_MS,
    FAR_MS,
    Change,
    Correction,
    Draft,
    Item,
    Reason,
    Related,
    expires_ms,
    fields_of,
    later_ms,
    new_id,
)
from service.domain.lifecycle import wire_of
from service.errors import InvalidFieldError, MalformedError
from tests.unit.samples import EN, NOW_MS, draft, item, plain, texts

lists = st.lists(texts, max_size=3).map(tuple)
maybe = texts | st.none()
items = st.builds(
    item,
    version=st.integers(1, 10**6),
    urgency=st.integers(1, 4),
    headline=texts,
    speaker=maybe,
    outlet=maybe,
    link=maybe,
    section=maybe,
    regions=lists,
    subjects=lists,
    pinned=st.booleans(),
    correction=st.none() | st.builds(Correction, type=st.just("corrected"), note=texts, at=texts),
    related=st.lists(st.builds(Related, title=texts, link=texts), max_size=2).map(tuple),
    alt_ids=lists,
)


def _change(**fields: Any) -> Change:
    return Change.parse(msgspec.json.encode({"change": "update", **fields}))


@given(items)
def test_an_item_survives_the_wire(line: Item) -> None:
    assert msgspec.json.decode(wire_of(line), type=Item) == line


def test_an_item_has_ninjs_names_on_the_wire() -> None:
    assert list(msgspec.json.decode(wire_of(item()))) == [
        *("id", "version", "edition", "language", "urgency", "headline", "speaker", "outlet", "link", "section"),
        *("regions", "subjects", "pinned", "pubStatus", "firstCreated", "versionCreated", "publishedAt", "expires"),
        *("correction", "related", "altIds"),
    ]


@given(headline=plain, speaker=plain, urgency=st.integers(1, 4), section=st.sampled_from(list(EN.sections)))
def test_a_draft_gives_the_fields_of_an_item(headline: str, speaker: str, urgency: int, section: str) -> None:
    fields = fields_of(EN, draft(headline=f" {headline} ", speaker=speaker, urgency=urgency, section=section))
    assert (fields["urgency"], fields["section"]) == (urgency, section)
    assert fields["headline"].startswith("x")
    assert fields["language"] == "en"
    assert set(fields) < set(Item.__struct_fields__)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"headline": 3}, "$.headline"),
        ({"headline": None}, "$.headline"),
        ({"headline": "x" * 2001}, "$.headline"),
        ({"urgency": 0}, "$.urgency"),
        ({"urgency": 5}, "$.urgency"),
        ({"urgency": "1"}, "$.urgency"),
        ({"urgency": True}, "$.urgency"),
        ({"pinned": 1}, "$.pinned"),
        ({"state": "published"}, "$.state"),
        ({"regions": "mena"}, "$.regions"),
        ({"regions": ["mena", 3]}, "$.regions[1]"),
        ({"regions": ["mena"] * 21}, "$.regions"),
        ({"related": [{"title": "a", "link": 1}]}, "$.related[0].link"),
        ({"related": [{"title": "a"}]}, "$.related[0].link"),
        ({"related": [{"title": "a", "link": "https://a.example", "x": 1}]}, "$.related[0].x"),
        ({"id": "a b"}, "$.id"),
        ({"id": ""}, "$.id"),
        ({"id": "a" * 65}, "$.id"),
        ({"id": "a\n"}, "$.id"),
        ({"note": "x" * 501}, "$.note"),
        ({"urgncy": 1}, "$.urgncy"),
    ],
)
def test_a_wrong_draft_is_refused_by_the_path_of_its_field(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidFieldError) as refusal:
        draft(**fields)
    assert refusal.value.path == path


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(InvalidFieldError, match="urgncy"):
        draft(urgncy=1)
    with pytest.raises(InvalidFieldError, match="pinned"):
        _change(pinned=True)
    with pytest.raises(InvalidFieldError, match="why"):
        Reason.parse(b'{"why":"x"}')


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"headline":"\xff"}', b'{"headline":"\\ud800"}', b'{"edition":"en","headline":"x"}x']
)
def test_broken_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError, match="expected a JSON object"):
        Draft.parse(body)


@given(st.binary(max_size=80))
def test_no_body_brings_the_parsers_down(body: bytes) -> None:
    for kind in (Draft, Change, Reason):
        with contextlib.suppress(MalformedError, InvalidFieldError):
            kind.parse(body)


def test_an_action_needs_no_body() -> None:
    assert Reason.parse(b" \n").note is None
    assert Reason.parse(b'{"note":"why"}').note == "why"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"section": "gossip"}, "$.section"),
        ({"regions": ["mena", "mars"]}, "$.regions[1]"),
        ({"speaker": ""}, "$.speaker"),
        ({"speaker": "x" * 81}, "$.speaker"),
        ({"outlet": "a\u202eb"}, "$.outlet"),
        ({"headline": "a\nb"}, "$.headline"),
        ({"subjects": ["medtop:11000000", " "]}, "$.subjects[1]"),
        ({"related": [{"title": "", "link": "https://a.example"}]}, "$.related[0].title"),
        ({"related": [{"title": "a", "link": "javascript:x"}]}, "$.related[0].link"),
        ({"altIds": ["a", "b\0"]}, "$.altIds[1]"),
        ({"language": "e n"}, "$.language"),
    ],
)
def test_a_wrong_field_is_refused_by_its_path(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidFieldError) as refusal:
        fields_of(EN, draft(**fields))
    assert refusal.value.path == path


@pytest.mark.parametrize(
    "link",
    [
        "https://news.example/a?b=c#d",
        "http://localhost:8000",
        "HTTPS://NEWS.EXAMPLE",
        "https://[2001:db8::1]/x",
        "https://fa.example/می\u200cخواهند",
        "https://bücher.example/",
    ],
)
def test_a_web_address_is_a_link(link: str) -> None:
    assert fields_of(EN, draft(link=link))["link"] == link


@pytest.mark.parametrize(
    "link",
    [
        "",
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        " javascript:alert(1)",
        "java\tscript:alert(1)",
        "data:text/html,x",
        "//news.example",
        "/path",
        "news.example",
        "https://",
        "https:///path",
        "https://[",
        "https://a.example:port/",
        "https://ann@a.example",
        "https://ann:pw@a.example",
        "https://@a.example",
        "https://a.example\\@b.example",
        "https://a.example/a b",
        "https://a.example/\n",
        "https://a.example/\xa0",
        "https://a.example/\u3000",
        "https://a.example/\u202egpj",
        "https://a.example/\x7f",
        "https://a.example/\u2028",
        "ftp://a.example",
    ],
)
def test_anything_else_is_no_link(link: str) -> None:
    for fields in ({"link": link}, {"related": [{"title": "a", "link": link}]}):
        with pytest.raises(InvalidFieldError, match="expected an http or https URL"):
            fields_of(EN, draft(**fields))


def test_a_change_holds_only_what_was_sent() -> None:
    assert fields_of(EN, _change()) == {}
    assert fields_of(EN, _change(urgency=1, regions=["mena", "asia", "mena"])) == {
        "urgency": 1,
        "regions": ("mena", "asia"),
    }


def test_null_clears_what_may_be_empty() -> None:
    cleared = fields_of(EN, _change(speaker=None, outlet=None, link=None, section=None))
    assert cleared == {"speaker": None, "outlet": None, "link": None, "section": "miscellaneous"}
    for name in ("headline", "urgency", "regions", "subjects", "related", "altIds"):
        with pytest.raises(InvalidFieldError) as refusal:
            _change(**{name: None})
        assert refusal.value.path == f"$.{name}"


def test_without_a_miscellaneous_section_a_line_may_have_none() -> None:
    edition = Edition(code="en", language="en", name="English", direction="ltr", sections={"cotton": None})
    assert fields_of(edition, draft())["section"] is None
    assert fields_of(edition, draft(section="cotton"))["section"] == "cotton"


@given(st.integers(1, 4), st.integers(NOW_MS, NOW_MS + FAR_MS))
def test_a_line_expires_by_its_urgency(urgency: int, public_ms: int) -> None:
    assert expires_ms(None, urgency, public_ms) - public_ms == EXPIRES_AFTER_MS[urgency]


@given(st.integers(-10, 10) | st.integers(FAR_MS - 10, FAR_MS + 10))
def test_a_line_expires_after_it_is_public_and_within_a_year(ms: int) -> None:
    given_time = format_ms(NOW_MS + ms)
    if 0 < ms <= FAR_MS:
        assert expires_ms(given_time, 1, NOW_MS) == NOW_MS + ms
        assert later_ms(given_time, NOW_MS, "$.embargoedUntil") == NOW_MS + ms
        return
    with pytest.raises(InvalidFieldError) as refusal:
        expires_ms(given_time, 1, NOW_MS)
    assert refusal.value.path == "$.expires"
    with pytest.raises(InvalidFieldError) as refusal:
        later_ms(given_time, NOW_MS, "$.embargoedUntil")
    assert refusal.value.path == "$.embargoedUntil"


def test_no_embargo_is_at_once() -> None:
    assert later_ms(None, NOW_MS, "$.embargoedUntil") is None


def test_ids_are_ulids_that_rise() -> None:
    ids = [new_id() for _ in range(2_000)]
    assert ids == sorted(set(ids))
    assert all(len(each) == 26 and each[0] in "01234567" and Draft.parse(_with_id(each)).id == each for each in ids)


def _with_id(item_id: str) -> bytes:
    return msgspec.json.encode({"edition": "en", "headline": "x", "id": item_id})
