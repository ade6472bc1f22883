"""Which recent lines are shown beside a new one."""

import msgspec
import pytest

from service.domain import lifecycle
from service.domain.edition import default_editions
from service.domain.item import Draft
from service.domain.lifecycle import Record
from service.newsroom.likeness import MOST, alike

NOW_MS = 1_790_000_000_000


def record(headline: str, state: str = "live", edition: str = "en") -> Record:
    draft = Draft(edition=edition, headline=headline)
    decided = lifecycle.create(default_editions()[edition], draft, state="live", by="anna", now_ms=NOW_MS)
    return msgspec.structs.replace(decided.record, state=state)


@pytest.mark.parametrize(
    ("written", "before", "edition"),
    [
        ("Southern Peru hit by magnitude 6.1 earthquake", "Earthquake of magnitude 6.1 hits southern Peru", "en"),
        ("CEASEFIRE TAKES EFFECT AT MIDNIGHT", "Ceasefire takes effect at midnight", "en"),
        ("افتتاح معرض الكتاب في الدوحة", "في الدوحة افتتاح معرض الكتاب", "ar"),
        ("El Gobierno aprueba el presupuesto", "Gobierno aprueba el presupuesto", "es"),
    ],
)
def test_the_same_news_in_other_words_is_found(written: str, before: str, edition: str) -> None:
    assert [found.item.headline for found, _ in alike(written, [record(before, edition=edition)]) if found.item] == [
        before
    ]


@pytest.mark.parametrize("written", ["", "!!!", "Election results are due tonight", "Peru names a new minister"])
def test_other_news_is_not(written: str) -> None:
    assert alike(written, [record("Earthquake of magnitude 6.1 hits southern Peru")]) == []


@pytest.mark.parametrize("state", ["draft", "expired", "killed"])
def test_what_is_not_on_its_way_to_readers_is_not_shown(state: str) -> None:
    assert alike("Ceasefire takes effect", [record("Ceasefire takes effect", state)]) == []


def test_the_most_alike_comes_first_and_a_few_are_enough() -> None:
    records = [record("Talks resume in Doha today"), *(record(f"Talks resume in Doha {n}") for n in range(9))]
    found = alike("Talks resume in Doha today", records)
    assert len(found) == MOST
    assert found[0][1] == 100
