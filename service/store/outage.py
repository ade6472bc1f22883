"""Outage: what Redis says when it is Redis that fails, and no command of ours."""

import re

from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,  # noqa: A004 - Redis's own
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - Redis's own
)

# Redis refuses a write before it does anything of it, with one of these codes.
REFUSALS = {
    "OOM": "it is out of memory",
    "READONLY": "it is a replica, which takes no writes",
    "LOADING": "it is still loading its data",
    "MISCONF": "it cannot write to its disk",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write asks for",
}
# redis-py makes classes of some codes and drops the code. What a script met is in the text, code and all.
CLASSES = {OutOfMemoryError: "OOM", ReadOnlyError: "READONLY", BusyLoadingError: "LOADING"}
CODE = re.compile(rf"\b({'|'.join(REFUSALS)})\b")


def refusal(error: BaseException) -> str | None:
    """Why Redis refused a write, of which it did nothing; None where it said something else, or nothing at all."""
    if not isinstance(error, RedisError):
        return None
    for kind, code in CLASSES.items():
        if isinstance(error, kind):
            return REFUSALS[code]
    found = CODE.search(str(error)) if isinstance(error, ResponseError) else None
    return REFUSALS[found[1]] if found is not None else None


def is_outage(error: BaseException) -> bool:
    """Whether it is Redis that fails: gone, silent, refusing every write, or a replica from this moment on."""
    if isinstance(error, ResponseError) and str(error).startswith("UNBLOCKED"):
        return True  # what waited there (BLMOVE) is sent away
    return isinstance(error, (ConnectionError, TimeoutError, OSError)) or refusal(error) is not None
