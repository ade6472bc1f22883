"""Headline: one line of plain text."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.headline import BIDI, LONGEST, clean_line
from service.errors import InvalidFieldError

# Everything that Python can hold, with what matters here more often than chance has it.
lines = st.text(
    st.characters() | st.sampled_from("a é\u0301\u0640\u064b\u200d\u200f\u202e\u2066\u2028\n\t\0\ufffe\ufdd0"),
    max_size=50,
)


@given(lines)
def test_a_cleaned_line_is_sound_and_cleaning_it_again_changes_nothing(text: str) -> None:
    try:
        cleaned = clean_line(text, "$.headline")
    except InvalidFieldError:
        return
    assert clean_line(cleaned, "$.headline") == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert cleaned == cleaned.strip()
    assert 1 <= len(cleaned) <= LONGEST
    assert not BIDI.search(cleaned)
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in cleaned)
    assert any(unicodedata.category(character)[0] in "LNPS" for character in cleaned)
    cleaned.encode()


@given(st.sampled_from("\0\x01\t\n\r\x1b\x7f\x85\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))
def test_a_control_or_bidi_override_inside_a_line_is_refused_by_its_number(character: str) -> None:
    with pytest.raises(InvalidFieldError, match=rf"U\+{ord(character):04X} at position 2"):
        clean_line(f"ab{character}cd", "$.headline")


@pytest.mark.parametrize("character", ["\ud800", "\ufffe", "\uffff", "\ufdd0", "\U0001fffe", "\U0010ffff"])
def test_what_no_feed_could_carry_is_refused(character: str) -> None:
    with pytest.raises(InvalidFieldError, match="expected one line of plain text"):
        clean_line(f"ab{character}cd", "$.headline")


@pytest.mark.parametrize(
    "text",
    [
        "👩‍👩‍👧‍👦 Family law passes",  # joined by ZWJ
        "🏳️‍🌈 Parade; 🏴󠁧󠁢󠁥󠁮󠁧󠁿 wins",  # variation selector and tag characters
        "عـــاجل: وقفُ إطلاقِ النّار",  # tatweel and combining marks
        "می‌خواهند",  # ZWNJ
        "\u200fעברית (ABC)\u200f",  # RLM
        "भारत में चुनाव",
        "Nguyễn Văn A",
        "$",
        "?!",
        "5",
    ],
)
def test_what_typography_needs_survives(text: str) -> None:
    assert clean_line(text, "$.headline") == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("text", ["", " ", "\u00a0\u3000", "\n\t", "\u0301", "\u200d", "\u200b\ufeff", "\u064b \u0651"])
def test_what_does_not_show_is_refused(text: str) -> None:
    with pytest.raises(InvalidFieldError, match="got none that shows") as refusal:
        clean_line(text, "$.headline")
    assert refusal.value.path == "$.headline"


@pytest.mark.parametrize("character", ["a", "عـ"[0], "😀", "e\u0301"])
def test_300_characters_pass_and_301_do_not_counted_after_nfc(character: str) -> None:
    assert len(clean_line(f"  {character * 300}  ", "$.headline")) == 300
    with pytest.raises(InvalidFieldError, match="expected at most 300 characters, got 301"):
        clean_line(character * 301, "$.headline")


def test_a_field_can_be_shorter() -> None:
    assert clean_line("a" * 80, "$.speaker", longest=80)
    with pytest.raises(InvalidFieldError, match="at most 80"):
        clean_line("a" * 81, "$.speaker", longest=80)
