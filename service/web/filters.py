"""Filters: what a search form of the desk asks for, read from its address. Faults are kept, and shown with the form."""

import unicodedata
from datetime import UTC, datetime
from urllib.parse import urlencode

from starlette.requests import Request

from service.domain.instant import EPOCH, LATEST_MS, MILLISECOND


class Filters:
    """What a search form was sent with, as it was typed, so that a wrong one comes back with nothing lost."""

    def __init__(self, request: Request, names: tuple[str, ...]) -> None:
        self.given = {name: request.query_params.get(name, "").strip() for name in names}
        # By field; what is wrong with none of them in particular is the form's.
        self.faults: dict[str, str] = {}
        for name in request.query_params:
            if name not in names:
                self.faults["form"] = f"expected only {', '.join(names)}, got {name[:60]!r}"

    def text(self, name: str, longest: int) -> str | None:
        """A text of bounded length; None if nothing was typed."""
        if len(self.given[name]) > longest:
            self.faults[name] = f"expected at most {longest} characters, got {len(self.given[name])}"
        # As headlines and names are stored.
        return unicodedata.normalize("NFC", self.given[name]) or None

    def one_of(self, name: str, choices: list[str]) -> str | None:
        """One of these; None if none was chosen."""
        value = self.given[name]
        if value and value not in choices:
            self.faults[name] = f"expected one of {', '.join(choices)}, got {value[:60]!r}"
        return value or None

    def moment(self, name: str, *, whole_minute: bool = False) -> int | None:
        """A time as a form gives it, in UTC; `whole_minute`: to the end of the minute, where it has no seconds."""
        value = self.given[name]
        if not value:
            return None
        try:
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            ms = (moment - EPOCH) // MILLISECOND
        except (ValueError, OverflowError):
            ms = -1
        if not 0 <= ms < LATEST_MS:
            self.faults[name] = f"expected a time in UTC such as 2026-11-24T03:00, got {value[:60]!r}"
            return None
        return ms + 59_999 if whole_minute and ms % 60_000 == 0 else ms

    def further(self, path: str, start: str) -> str:
        """The address of the next page of the same search."""
        kept = {name: value for name, value in self.given.items() if value and name != "next"}
        return f"{path}?{urlencode(kept | {'next': start})}"
