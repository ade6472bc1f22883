"""Channel: hearing on pub/sub that something is new, for who then asks Redis what. Nothing rides on a single message.

The Feed does not use it: news is in the messages, and its silence is a fault.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

# After so much silence the connection is asked whether it lives, and given as long to say so.
QUIET_SECONDS = 2.0
AGAIN_SECONDS = 0.2

log = structlog.get_logger(__name__)


async def follow(redis: Redis, channels: Sequence[str], heard: Callable[[str], None]) -> None:
    """Call `heard` with a channel's name for each message on it, for ever.

    The confirmation of a subscription counts as a message: one may have been missed before it. A Cluster passes what is
    published on to all its nodes, so that one subscription hears every shard.
    """

    def take(message: dict[str, bytes]) -> None:
        heard(message["channel"].decode())

    while True:
        pubsub = redis.pubsub()
        try:
            await pubsub.subscribe(*channels)
            while True:
                message = await pubsub.get_message(timeout=QUIET_SECONDS)
                if message is not None:
                    take(message)
                    continue
                # Silence is normal here, and looks like a dead server's.
                await pubsub.ping()
                async with asyncio.timeout(QUIET_SECONDS):
                    while (message := await pubsub.get_message(timeout=None))["type"] != "pong":
                        take(message)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("channel not heard", channel=channels[0], error=str(error) or type(error).__name__)
            await asyncio.sleep(AGAIN_SECONDS)
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
