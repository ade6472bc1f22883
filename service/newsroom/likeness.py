"""Likeness: recent lines that say nearly the same as one that is being written. It only suggests."""

from collections.abc import Iterable

from rapidfuzz import fuzz, utils

from service.domain.lifecycle import Record, State

# Of 100, by words in any order. Lower and lines are shown that only share a place and a verb.
ALIKE = 75
MOST = 3
# What readers have seen or may soon see; a draft that is like another is nobody's harm.
COUNTED: tuple[State, ...] = ("submitted", "approved", "scheduled", "embargoed", "live", "withheld")


def alike(headline: str, records: Iterable[Record]) -> list[tuple[Record, int]]:
    """The records whose headline is like this one, most alike first, each with its likeness of 100."""
    found = []
    for record in records:
        if record.item is None or record.state not in COUNTED:
            continue
        # Letters, digits and spaces of any script, in lower case.
        score = fuzz.token_sort_ratio(
            headline, record.item.headline, processor=utils.default_process, score_cutoff=ALIKE
        )
        if score:
            found.append((record, round(score)))
    return sorted(found, key=lambda pair: -pair[1])[:MOST]
