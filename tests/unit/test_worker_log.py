"""What a worker's log says when Redis fails under it: one line, and a traceback only for what is a bug."""

import logging
import sys

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from service.store.outage import is_outage
from workers.__main__ import Outage


def logged(error: Exception) -> str:
    try:
        raise error
    except (OSError, RedisError):
        record = logging.LogRecord("rq.worker", logging.ERROR, "", 0, "Worker %s: quitting", ("w",), sys.exc_info())
    assert Outage().filter(record), "everything is logged"
    return logging.Formatter().format(record)


@pytest.mark.parametrize("error", [RedisConnectionError("gone"), ConnectionResetError("gone")])
def test_an_outage_is_one_line(error: Exception) -> None:
    assert logged(error) == "Worker w: quitting: gone"


def test_a_bug_keeps_its_traceback() -> None:
    assert "Traceback" in logged(ResponseError("WRONGTYPE"))


def test_a_wait_that_ends_because_its_redis_becomes_a_replica_is_an_outage() -> None:
    # As Redis says it to BLMOVE; a plain ResponseError to redis-py.
    said = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
    assert is_outage(ResponseError(said))
    assert not is_outage(ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"))
