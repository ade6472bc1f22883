"""Shelf: a document is made once, is the same by its tag in every process, and is put away when the ticker changes."""

import gzip

import pytest

from service.domain.frames import Change, ItemChanged, Removed, encode
from service.domain.item import Item
from service.domain.selection import EVERYTHING, Selection
from service.domain.ticker import Ticker
from service.syndication import issue as issue_module
from service.syndication.issue import Obituary, kills
from service.syndication.shelf import ATOM, JSONFEED, MOST, NINJS, Document, Kind, Shelf, Stand
from tests.unit.samples import EN, NOW_MS, item

PAGE = "https://news.example/?edition=en"


def ticker_of(*lines: Item) -> Ticker:
    ticker = Ticker(EN)
    ticker.load("e", 10, lines)
    return ticker


def apply(ticker: Ticker, change: Change) -> None:
    ticker.apply(ticker.seq + 1, change, encode(change))


def kill(item_id: str) -> Removed:
    return Removed(cursor="e.1", id=item_id, version=2, reason="killed")


def ask(
    shelf: Shelf,
    ticker: Ticker,
    kind: Kind = ATOM,
    selection: Selection = EVERYTHING,
    address: str = "https://news.example/feed",
    now_ms: int = NOW_MS,
) -> Document:
    return shelf.stand(ticker, now_ms).document(kind, ticker, selection, address, PAGE)


@pytest.mark.parametrize("kind", [ATOM, JSONFEED, NINJS], ids=lambda kind: kind.name)
def test_both_codings_say_the_same(kind: Kind) -> None:
    document = ask(Shelf(), ticker_of(item("a", headline="عاجل 😀")), kind)
    assert gzip.decompress(document.gzipped) == document.plain


def test_a_document_is_made_once_for_each_change() -> None:
    shelf, ticker = Shelf(), ticker_of(item("a"))
    first = ask(shelf, ticker)
    assert ask(shelf, ticker, now_ms=NOW_MS + 60_000) is first
    apply(ticker, ItemChanged(cursor="e.11", item=item("b")))
    assert ask(shelf, ticker) is not first


def test_a_change_is_as_old_as_its_first_look() -> None:
    shelf, ticker = Shelf(), ticker_of(item("a"))
    assert shelf.stand(ticker, NOW_MS).since_ms == NOW_MS
    assert shelf.stand(ticker, NOW_MS + 1).since_ms == NOW_MS
    apply(ticker, kill("a"))
    assert shelf.stand(ticker, NOW_MS + 2).since_ms == NOW_MS + 2


@pytest.mark.parametrize("kind", [ATOM, JSONFEED, NINJS], ids=lambda kind: kind.name)
def test_two_processes_that_learn_of_a_kill_apart_agree_on_the_tag(kind: Kind) -> None:
    ticker = ticker_of(item("a"), item("b"))
    apply(ticker, kill("a"))
    one, other = ask(Shelf(), ticker, kind), ask(Shelf(), ticker, kind, now_ms=NOW_MS + 9_000)
    assert one.plain != other.plain
    assert one.tag == other.tag


@pytest.mark.parametrize("kind", [ATOM, JSONFEED, NINJS], ids=lambda kind: kind.name)
def test_every_change_of_a_line_and_every_kill_is_another_tag(kind: Kind) -> None:
    shelf, ticker = Shelf(), ticker_of(item("a"))
    tags = {ask(shelf, ticker, kind).tag}
    changes = (ItemChanged(cursor="e.11", item=item("a", version=2, headline="Another")), kill("a"), kill("never here"))
    for change in changes:
        apply(ticker, change)
        tags.add(ask(shelf, ticker, kind).tag)
    assert len(tags) == 1 + len(changes)


def test_a_change_outside_a_selection_leaves_its_tag() -> None:
    shelf, ticker = Shelf(), ticker_of(item("a", section="sports"))
    sports = Selection(sections=frozenset({"sports"}))
    before = ask(shelf, ticker, selection=sports).tag
    apply(ticker, ItemChanged(cursor="e.11", item=item("b", section="politics")))
    assert ask(shelf, ticker, selection=sports).tag == before


def test_a_kill_keeps_its_moment_while_other_lines_change() -> None:
    shelf, ticker = Shelf(), ticker_of(item("a"))
    apply(ticker, kill("a"))
    ask(shelf, ticker)
    apply(ticker, ItemChanged(cursor="e.12", item=item("b")))
    assert b'when="2026-11-24T03:00:00.000Z"' in ask(shelf, ticker, now_ms=NOW_MS + 60_000).plain


def test_only_kills_are_retractions() -> None:
    ticker = ticker_of(item("a"), item("b"), item("c"))
    for reason, item_id in (("withheld", "a"), ("expired", "b"), ("killed", "c")):
        apply(ticker, Removed(cursor="e.1", id=item_id, version=2, reason=reason))  # type: ignore[arg-type]
    assert [each.id for each in kills(ticker.ring)] == ["c"]


def test_the_latest_kills_are_named_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issue_module, "MOST_KILLED", 2)
    ticker = ticker_of()
    for item_id in "abc":
        apply(ticker, kill(item_id))
    assert [each.id for each in kills(ticker.ring)] == ["c", "b"]


def test_what_a_kill_took_is_on_no_shelf_any_more() -> None:
    shelf, ticker = Shelf(), ticker_of(item("a", headline="Xylophagous"))
    for number in range(3):
        ask(shelf, ticker, address=f"https://news.example/{number}")
    stand = shelf.stand(ticker, NOW_MS)
    assert len(stand._documents) == 3
    shelf.heard("en", ticker.apply(11, kill("a"), encode(kill("a"))))
    assert not stand._documents, "before anyone asks again"
    assert b"Xylophagous" not in ask(shelf, ticker).plain


def test_the_moment_of_a_kill_is_when_it_was_heard_and_not_when_somebody_asked() -> None:
    ticker = ticker_of(item("a"))
    stand = Stand()
    stand.hear(ticker.apply(11, kill("a"), encode(kill("a"))), NOW_MS)
    stand.look(ticker, NOW_MS + 60_000)
    document = stand.document(ATOM, ticker, EVERYTHING, "https://news.example/feed", PAGE)
    assert b'when="2026-11-24T03:00:00.000Z"' in document.plain


def test_only_as_many_moments_are_kept_as_a_feed_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issue_module, "MOST_KILLED", 2)
    ticker, obituary = ticker_of(), Obituary()
    for minute, item_id in enumerate("abc"):
        apply(ticker, kill(item_id))
        obituary.note(item_id, f"{minute}")
    assert [(each.id, each.at) for each in obituary.of(ticker, "later")] == [("c", "2"), ("b", "1")]
    obituary.note("d", "3")
    assert sorted(obituary._at) == ["c", "d"], "the oldest goes first"


def test_a_shelf_is_no_longer_than_it_may_be_and_keeps_what_is_asked_for() -> None:
    shelf, ticker = Shelf(), ticker_of(item("a"))
    wanted = ask(shelf, ticker)
    for number in range(2 * MOST):
        ask(shelf, ticker, address=f"https://{number}.example/")
        assert ask(shelf, ticker) is wanted
    assert len(shelf.stand(ticker, NOW_MS)._documents) == MOST
