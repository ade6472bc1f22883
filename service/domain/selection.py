"""Selection: what a reader asked for within an edition."""

from collections.abc import Sequence
from typing import NamedTuple, Self

from service.domain.edition import Edition
from service.domain.item import Item
from service.errors import MalformedError


class Selection(NamedTuple):
    """Sections and regions (empty: all of them) and the least urgency (4: everything). Hashable: readers with the same
    selection share their bytes."""

    sections: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    urgency: int = 4

    @classmethod
    def parse(cls, edition: Edition, sections: Sequence[str], regions: Sequence[str], urgency: str | None) -> Self:
        """Read the query of a reader.

        Raises:
            MalformedError: a term is not in the edition's vocabulary, or the urgency is not 1 to 4.
        """
        for name, given, known in (("section", sections, edition.sections), ("region", regions, edition.regions)):
            for term in given:
                if term not in known:
                    raise MalformedError(f"expected one of {', '.join(known)}, got {term[:60]!r}", path=name)
        if urgency is not None and urgency not in ("1", "2", "3", "4"):
            raise MalformedError(f"expected 1 (flash) to 4 (routine), got {urgency[:60]!r}", path="urgency")
        return cls(frozenset(sections), frozenset(regions), int(urgency or 4))

    def matches(self, item: Item) -> bool:
        """Whether a reader with this selection sees `item`."""
        return (
            item.urgency <= self.urgency
            and (not self.sections or item.section in self.sections)
            and (not self.regions or not self.regions.isdisjoint(item.regions))
        )


EVERYTHING = Selection()
