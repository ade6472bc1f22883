"""Counts: what the readers' side has done since it started, as plain numbers. `web/metrics.py` shows them."""

from collections import Counter

from service.histogram import Histogram


class Counts:
    """One process's numbers. They only rise, and adding to one is all that a hot path does for them."""

    __slots__ = (
        "closes",
        "crowded_out",
        "deliveries",
        "delivery",
        "handshakes",
        "lags",
        "refusals",
        "resumes",
        "timeouts",
    )

    def __init__(self) -> None:
        # Writes of news to a reader. Changes that were joined count once.
        self.deliveries = 0
        # From a change's acceptance to the last reader of its pass, in seconds: once a change, never once a reader.
        self.delivery = Histogram()
        # Readers that were let in.
        self.handshakes = 0
        # Sockets that this side closed, by close code.
        self.closes: Counter[int] = Counter()
        # Handshakes that were refused, by the problem's code.
        self.refusals: Counter[str] = Counter()
        # How readers with a cursor were brought up to date: "memory", "log", or "snapshot" where it was not possible.
        self.resumes: Counter[str] = Counter()
        # How often a reader began to lag.
        self.lags = 0
        # Connections that were dropped because a whole request did not come in time, or its answer was not taken.
        self.timeouts = 0
        # Connections that were dropped because there were too many.
        self.crowded_out = 0
