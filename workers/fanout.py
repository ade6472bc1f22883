"""Fanout: the outbox's changes into the log and Redis pub/sub, one log line each with its hops."""

import time

import structlog
from rq import get_current_job

from service.store import log as store
from service.store.connect import of_edition
from workers.context import Context

log = structlog.get_logger(__name__)


def release(context: Context, code: str) -> int:
    """Append what waits in the edition's outbox; return how many changes that were."""
    edition = context.editions.get(code)
    if edition is None:
        # Taken out of the editions file while its last changes waited: they stay in the outbox, none is lost.
        log.warning("edition is not configured here", edition=code)
        return 0
    job = get_current_job()
    queued_ms = round(job.enqueued_at.timestamp() * 1000) if job is not None and job.enqueued_at is not None else None
    appended = store.append(of_edition(context.redis, code), edition, queued_ms)
    now_ms = time.time_ns() // 1_000_000
    for change in appended:
        log.info(
            "appended",
            edition=code,
            id=change.id,
            version=change.version,
            seq=change.seq,
            # When the wake-up that did it was queued. One that was under way already cost nothing.
            queued_ms=None if queued_ms is None else max(0, queued_ms - change.accepted_ms),
            waited_ms=now_ms - change.accepted_ms,
        )
    return len(appended)
