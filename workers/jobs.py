"""Jobs: what RQ calls, by name. Thin, and each may run twice; the work is done elsewhere, with tests."""

from workers.context import context
from workers.fanout import release


def append(edition: str) -> None:
    """Empty an edition's outbox into its log. A wake-up that finds nothing is normal."""
    release(context(), edition)
