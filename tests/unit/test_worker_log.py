"""What a worker's log says when Redis fails under it: one line, and a traceback only for what is a bug."""

import logging
import sys

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from service.store.outage import is_outage
from workers.__main__ import Outage, _is_of_rq


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


def trace_of(module: str) -> object:
    """The traceback of an exception that was raised in a module of this name."""
    try:
        exec("raise ValueError('not found')", {"__name__": module})
    except ValueError:
        return sys.exc_info()[2]
    raise AssertionError("unreachable")


def test_what_rq_raises_over_its_own_books_is_told_from_what_a_job_raises() -> None:
    assert _is_of_rq(trace_of("rq.executions"))
    assert not _is_of_rq(trace_of("workers.fanout"))
    assert not _is_of_rq(None)


def test_a_wait_that_ends_because_its_redis_becomes_a_replica_is_an_outage() -> None:
    # As Redis says it to BLMOVE; a plain ResponseError to redis-py.
    said = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
    assert is_outage(ResponseError(said))
    assert not is_outage(ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"))
