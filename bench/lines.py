"""Lines: what is published in a measurement, in the shape and size of a real item."""

import re
from typing import Any

import msgspec

from service.domain.frames import ItemChanged, Snapshot, encode
from service.domain.instant import format_ms
from service.domain.item import Item

MARK = re.compile(rb"Line of (\d{19})")
# What an editor gives; all else of an item is the service's own.
GIVEN = ("headline", "speaker", "link", "section", "regions", "urgency")


def item(mark_ns: int, number: int = 0) -> Item:
    """A line whose headline says when its publishing began, in ns since 1970; the crowd looks for that."""
    at = format_ms(mark_ns // 1_000_000)
    return msgspec.convert(
        {
            "id": f"01JDC{number:021d}",
            "version": 1,
            "edition": "en",
            "language": "en",
            "urgency": 2,
            "headline": f"Line of {mark_ns:019d}: ceasefire takes effect at midnight, all sides say",
            "speaker": "Foreign Ministry",
            "outlet": None,
            "link": "https://news.example/2026/11/25/ceasefire",
            "section": "politics",
            "regions": ["mena"],
            "subjects": ["medtop:11000000"],
            "pinned": False,
            "pubStatus": "usable",
            "firstCreated": at,
            "versionCreated": at,
            "publishedAt": at,
            "expires": at,
            "correction": None,
            "related": [],
            "altIds": [],
        },
        Item,
    )


def change(mark_ns: int, number: int) -> bytes:
    """The message that brings a line, as Stoppress sends it."""
    return encode(ItemChanged(cursor=f"k3f9.{number}", item=item(mark_ns, number)))


def mark_of(payload: bytes) -> int:
    """When the publishing of a line in a message began, as its headline says."""
    return int(MARK.search(payload)[1])  # type: ignore[index]


def draft(mark_ns: int, edition: str = "en") -> dict[str, Any]:
    """The line as an editor sends it."""
    line = msgspec.to_builtins(item(mark_ns))
    return {"edition": edition} | {key: line[key] for key in GIVEN}


def snapshot(lines: int = 10) -> bytes:
    """What a reader gets first: so many lines, long since published."""
    return encode(Snapshot(edition="en", cursor="k3f9.0", items=[item(0, number) for number in range(lines)]))
