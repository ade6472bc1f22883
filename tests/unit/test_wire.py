"""Wire: ninjs documents of every shape, and whatever else may come in their place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.edition import default_editions
from service.domain.item import fields_of
from service.domain.wire import parse_ninjs
from service.errors import InvalidFieldError, StoppressError

EN = default_editions()["en"]


def wire(**fields: Any) -> bytes:
    return json.dumps({"uri": "urn:x:1"} | fields).encode()


@pytest.mark.parametrize(
    ("document", "headline"),
    [
        ({"headline": "1.x"}, "1.x"),
        ({"headlines": [{"role": "sub", "value": "No"}, {"role": "main", "value": "2.x"}]}, "2.x"),
        ({"headlines": [{"value": "3.x"}]}, "3.x"),
        ({"title": "Only a title"}, "Only a title"),
        ({"headlines": [], "headline": "Falls back"}, "Falls back"),
        ({"headline": "  Two\nlines\t of  it "}, "Two lines of it"),
        ({"headline": "<b>Bold</b> &amp; <i>sloping</i>"}, "Bold & sloping"),
        ({"headline": "3 < 4 is true"}, "3 < 4 is true"),
    ],
)
def test_the_headline_is_found_under_every_name(document: dict[str, Any], headline: str) -> None:
    assert parse_ninjs(wire(**document)).headline == headline


def test_a_headline_that_is_too_long_is_cut_and_says_so() -> None:
    headline = parse_ninjs(wire(headline="x" * 400)).headline
    assert headline is not None
    assert (len(headline), headline[-1]) == (300, "…")


def test_a_document_without_a_headline_is_refused_by_path() -> None:
    with pytest.raises(InvalidFieldError, match="expected a headline") as refused:
        parse_ninjs(wire(slugline="x")).draft(EN)
    assert refused.value.path == "$.headlines"


@pytest.mark.parametrize(("given_", "ours"), [(None, 4), (1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (9, 4)])
def test_urgencies_beyond_routine_are_routine(given_: int | None, ours: int) -> None:
    assert parse_ninjs(wire(urgency=given_)).urgency == ours


@pytest.mark.parametrize("given_", [0, 10, "1", 1.5, True, [1]])
def test_an_urgency_that_is_none_is_refused(given_: Any) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        parse_ninjs(wire(urgency=given_))
    assert refused.value.path == "$.urgency"


@pytest.mark.parametrize(
    ("subjects", "section"),
    [
        ({"subjects": [{"uri": "http://cv.iptc.org/newscodes/mediatopic/15000000"}]}, "sports"),
        ({"subject": [{"code": "medtop:04000000"}]}, "economy"),
        ({"subjects": [{"literal": "13010000"}]}, "technology"),
        ({"subjects": [{"name": "Innenriks", "literal": "Innenriks"}]}, "miscellaneous"),
        ({"subjects": "none"}, "miscellaneous"),
    ],
)
def test_subjects_choose_the_section(subjects: dict[str, Any], section: str) -> None:
    assert fields_of(EN, parse_ninjs(wire(headline="x", **subjects)).draft(EN))["section"] == section


def test_the_same_uri_is_the_same_item() -> None:
    one, two = parse_ninjs(wire(headline="x", version="1")), parse_ninjs(wire(headline="y", version="2"))
    assert one.id == two.id != parse_ninjs(b'{"uri": "urn:x:2"}').id
    assert one.order < two.order


@pytest.mark.parametrize(
    ("body", "path"),
    [(b"[]", "$"), (b"{}", "$.uri"), (b'{"uri": 5}', "$.uri"), (wire(pubStatus="gone"), "$.pubStatus")],
)
def test_what_is_wrong_is_named(body: bytes, path: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        parse_ninjs(body)
    assert refused.value.path == path


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(
    [
        *("uri", "headline", "headlines", "title", "urgency", "pubStatus", "pubstatus", "language", "version"),
        *("versionCreated", "versioncreated", "subject", "subjects", "embargoed", "embargoedUntil", "expires"),
    ]
)


@given(st.dictionaries(names, values) | values)
def test_whatever_comes_is_read_or_refused(document: Any) -> None:
    try:
        found = parse_ninjs(json.dumps(document).encode("utf-8", "surrogatepass"))
        fields_of(EN, found.draft(EN))
    except StoppressError:
        pass


@given(st.binary(max_size=200))
def test_whatever_bytes_come_are_read_or_refused(body: bytes) -> None:
    with pytest.raises(StoppressError):
        parse_ninjs(body)
