"""The proxy counts replies right: else "after the Nth reply" means nothing."""

import asyncio

import pytest

from tests.faults.proxy import Proxy, Replies
from tests.integration.harness import Service

ANSWERS = [
    b"+OK\r\n",
    b":12\r\n",
    b"$-1\r\n",
    b"$5\r\nab\r\nc\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n*1\r\n+x\r\n",
    b"%1\r\n+key\r\n*2\r\n_\r\n#t\r\n",
    b">3\r\n+message\r\n+channel\r\n$2\r\nhi\r\n",
    b"-ERR no\r\n",
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_replies_are_found_however_the_bytes_are_cut(size: int) -> None:
    replies, stream = Replies(), b"".join(ANSWERS)
    ends = [start + end for start in range(0, len(stream), size) for end in replies.feed(stream[start : start + size])]
    expected = [len(b"".join(ANSWERS[: count + 1])) for count in range(len(ANSWERS))]
    assert ends == expected


def test_what_is_no_reply_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="expected a reply"):
        Replies().feed(b"HTTP/1.1 200 OK\r\n")


def test_a_connection_is_cut_after_the_reply_that_was_asked_for(own_service: Service) -> None:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as RedisConnectionError

    async def run() -> list[bool]:
        async with Proxy(own_service.redis_server.url) as proxy:
            redis = Redis.from_url(proxy.url, retry=Retry(NoBackoff(), 0))
            await redis.ping()
            proxy.cut_after(3)
            answered = []
            for number in range(5):
                try:
                    answered.append(bool(await redis.set(f"key{number}", "x")))
                except RedisConnectionError:
                    answered.append(False)
            await redis.aclose()
            return answered

    assert asyncio.run(run())[:3] == [True, True, False]
    # What was not answered was done all the same.
    assert own_service.redis.exists("key2")
