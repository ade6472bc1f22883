"""Figures: medians with their range."""

import statistics
from collections.abc import Sequence

Figure = dict[str, float]


def spread(values: Sequence[float]) -> Figure:
    """Median, least and most of several rounds."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many per cent lie below."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def shown(row: Figure, digits: int = 2) -> str:
    """A figure as a table shows it."""
    median, least, most = (f"{row[key]:,.{digits}f}" for key in ("median", "min", "max"))
    return f"{median} ({least}{' to ' if row['min'] < 0 else '-'}{most})"
