"""Reach: what a web process says of its readers is written when it is news, and now and then."""

from service.store.reach import REPEAT_MS, SILENT_MS, Screens, Sheet


def test_a_sheet_is_news_when_it_differs_or_the_last_one_grows_old() -> None:
    screens = [Screens([], [], 4, 2, [(7, 1)])]
    told = Sheet("k3f9", 1_000, screens)
    assert told.is_news(None)
    assert not Sheet("k3f9", 1_000 + REPEAT_MS - 1, list(screens)).is_news(told)
    assert Sheet("k3f9", 1_000 + REPEAT_MS, screens).is_news(told)
    assert Sheet("k3fa", 1_250, screens).is_news(told)
    assert Sheet("k3f9", 1_250, [Screens([], [], 4, 2, [(7, 2)])]).is_news(told)
    assert REPEAT_MS * 3 < SILENT_MS, "two writes may fail before it is taken for gone"
