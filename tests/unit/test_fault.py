"""Fault: what a caller is told about a field that is wrong."""

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.fault import fault
from service.domain.item import Change, Draft, Reason
from service.errors import InvalidFieldError


@pytest.mark.parametrize(
    ("kind", "body", "path", "detail"),
    [
        (Draft, '{"urgency": "flash"}', "$.urgency", "expected a whole number of 1 to 4, got 'flash'"),
        (Draft, '{"urgency": 5}', "$.urgency", "expected a whole number of 1 to 4, got 5"),
        (Draft, "{}", "$.edition", "expected the field edition (text), got none"),
        (Draft, '{"edition": ""}', "$.headline", "expected the field headline (text of 1 to 300 characters), got none"),
        (Draft, '{"speaker": 7}', "$.speaker", "expected text of 1 to 80 characters or null, got the number 7"),
        (Draft, '{"language": {}}', "$.language", "expected a BCP 47 language tag or null, got an object"),
        (Draft, '{"pinned": null}', "$.pinned", "expected true or false, got null"),
        (Draft, '{"related": [{"title": "a", "link": true}]}', "$.related[0].link", "expected text, got true"),
        (Draft, '{"related": [{"title": "a"}]}', "$.related[0].link", "expected the field link (text), got none"),
        (Draft, '{"related": [{"a": 1}]}', "$.related[0].a", "expected one of the fields title, link, got 'a'"),
        (Change, '{"change": "fix"}', "$.change", "expected one of correct, refile, update, got 'fix'"),
        (
            Draft,
            '{"state": " - at `$.a`"}',
            "$.state",
            "expected one of draft, live, submitted or null, got ' - at `$.a`'",
        ),
        (Reason, "[]", "$", "expected an object, got a list"),
    ],
)
def test_a_wrong_field_is_told_what_was_expected_and_what_came(
    kind: type[Draft | Change | Reason], body: str, path: str, detail: str
) -> None:
    with pytest.raises(InvalidFieldError) as refusal:
        kind.parse(body.encode())
    assert (refusal.value.path, refusal.value.detail) == (path, detail)


@pytest.mark.parametrize("body", ['{"urgency": "flash", ', '{"urgency": 5, "headline": ', '{"urgency": 1e999}'])
def test_what_cannot_be_read_to_its_end_is_told_what_was_expected(body: str) -> None:
    with pytest.raises(InvalidFieldError, match="expected a whole number of 1 to 4, got something else"):
        Draft.parse(body.encode())


@pytest.mark.parametrize(
    ("said", "detail", "path"),
    [
        ("Something new - at `$.urgency`", "Something new", "$.urgency"),
        ("Expected `int`, got `str` - at `$.nowhere[3]`", "Expected `int`, got `str`", "$.nowhere[3]"),
        ("Expected `int` - at `key` in `$.urgency`", "Expected `int` - at `key` in `$.urgency`", "$"),
        ("", "", "$"),
    ],
)
def test_a_wording_that_is_not_known_is_passed_on(said: str, detail: str, path: str) -> None:
    found = fault(msgspec.ValidationError(said), Draft, b"{}")
    assert (found.detail, found.path) == (detail, path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.sampled_from(Draft.__struct_encode_fields__), VALUES)
def test_every_wrong_value_is_refused_in_one_voice(name: str, value: object) -> None:
    body = {"edition": "en", "headline": "x"} | {name: value}
    said = "expected something, got another"
    try:
        Draft.parse(json.dumps(body).encode())
    except InvalidFieldError as error:
        said = error.detail
    assert re.match(r"expected [^`]+, got .", said), said
