"""Watch: an answer that did not come, or came too long ago, is no answer."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from service.web import watch as watch_module
from service.web.watch import Look, now_ms


def test_a_question_that_hangs_is_given_up_and_what_was_known_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "ANSWER_SECONDS", 0.01)
    hangs = False

    async def ask() -> str:
        if hangs:
            await asyncio.Event().wait()
        return "well"

    async def inside() -> None:
        nonlocal hangs
        look = Look(ask)
        assert look.fresh is None
        before = now_ms()
        await look.once()
        assert (look.fresh, look.at_ms >= before) == ("well", True)
        at_ms, hangs = look.at_ms, True
        await look.once()
        assert look.fresh is None
        assert look.at_ms == at_ms, "it is no newer than it says"
        hangs = False
        await look.once()
        assert look.fresh == "well"

    asyncio.run(asyncio.wait_for(inside(), 10))


def test_an_answer_from_long_ago_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> str:
        return "well"

    async def inside() -> None:
        look = Look(ask)
        await look.once()
        assert look.fresh == "well"
        # Its loop stands still from here on.
        monkeypatch.setattr(watch_module, "STALE_SECONDS", -1.0)
        assert look.fresh is None

    asyncio.run(inside())


def test_a_redis_that_refuses_is_not_well() -> None:
    async def ask() -> str:
        raise RedisConnectionError("refused")

    async def inside() -> None:
        look = Look(ask)
        await look.once()
        assert look.fresh is None

    asyncio.run(inside())
