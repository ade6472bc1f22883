"""Cursor: how far a reader has got in an edition's log, `<epoch>.<seq>`."""

import re
from typing import NamedTuple, Self

from service.errors import MalformedError

PATTERN = re.compile(r"([0-9a-z]{1,16})\.(0|[1-9][0-9]{0,14})", re.ASCII)


class Cursor(NamedTuple):
    """A place in a log. Cursors of different epochs do not compare: the log was lost or restored in between."""

    epoch: str
    seq: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a cursor that a reader sent back.

        Raises:
            MalformedError: it is none; a reader that made its own is told so rather than given a silent restart.
        """
        match = PATTERN.fullmatch(text)
        if match is None:
            raise MalformedError(
                f"expected a cursor as the service gave it, such as k3f9.812, got {text[:60]!r}", path="cursor"
            )
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}"
