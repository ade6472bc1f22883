"""Script: one Lua file, run by its hash and loaded when the server does not know it (EVALSHA, EVAL)."""

from functools import cached_property
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.client import Pipeline
from redis.exceptions import NoScriptError

from service.errors import NOT_KNOWN, UnconfirmedError

# How long the replicas may take to say that they have a change: with the rest, less than the two seconds of an answer.
REPLICAS_MS = 1_000


class Script:
    """`service/store/lua/<name>.lua`, behind the files that it uses. Read when first used, not at import."""

    def __init__(self, name: str, *uses: str) -> None:
        self.name = name
        self._files = (*uses, name)

    @cached_property
    def source(self) -> str:
        lua = files("service.store") / "lua"
        return "".join((lua / f"{name}.lua").read_text(encoding="utf-8") for name in self._files)

    @cached_property
    def sha(self) -> str:
        # SHA-1 because EVALSHA says so; it identifies the text, it protects nothing.
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def run(self, redis: Redis, keys: list[str], args: list[Any]) -> Any:
        """Run it on a blocking client."""
        try:
            return redis.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return redis.eval(self.source, len(keys), *keys, *args)

    def spread(self, redis: Redis, keys: list[str], args: list[Any], replicas: int) -> Any:
        """Run it, if it writes, and WAIT until that many replicas have it: on the same connection, as WAIT takes it.

        Raises:
            UnconfirmedError: fewer have it in time.
        """
        with redis.pipeline(transaction=False) as pipe:
            # By its text: a hash that the server does not know would cost another WAIT. These scripts are short.
            pipe.eval(self.source, len(keys), *keys, *args)
            pipe.wait(replicas, REPLICAS_MS)
            answer, reached = pipe.execute(raise_on_error=False)
        for each in (answer, reached):
            if isinstance(each, Exception):
                raise each
        if reached < replicas:
            raise UnconfirmedError(
                f"expected {replicas} replicas of Redis to have this within {REPLICAS_MS} ms, got {reached}. "
                f"{NOT_KNOWN}",
                retry_after=2,
            )
        return answer

    async def arun(self, redis: AsyncRedis, keys: list[str], args: list[Any]) -> Any:
        """Run it on an asyncio client."""
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await redis.eval(self.source, len(keys), *keys, *args)

    def queue(self, pipe: "Pipeline", keys: list[str], args: list[Any]) -> None:
        """Add it to a transaction. EXEC answers `NoScriptError` in its place when the server does not know it."""
        pipe.evalsha(self.sha, len(keys), *keys, *args)
