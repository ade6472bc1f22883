"""Tally: what the editors' side has done since it started, as plain numbers. Only the event loop adds to them."""

from collections import Counter

from service.histogram import Histogram


class Tally:
    """One process's numbers. They only rise."""

    __slots__ = ("accepted", "refused", "seconds")

    def __init__(self) -> None:
        # Accepted changes by action; one that was accepted before does not count again.
        self.accepted: Counter[str] = Counter()
        # Calls that were refused, by the problem's code.
        self.refused: Counter[str] = Counter()
        # From a call's body to its acceptance or refusal, in seconds; waiting for the log is not in it.
        self.seconds = Histogram()
