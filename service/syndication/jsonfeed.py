"""Jsonfeed: an issue as a feed in JSON (jsonfeed.org, version 1.1)."""

from typing import Any

import msgspec

from service.domain.item import Item
from service.syndication.issue import Issue, changed, line

MEDIA_TYPE = "application/feed+json"
VERSION = "https://jsonfeed.org/version/1.1"


def jsonfeed(issue: Issue) -> bytes:
    """Write the feed, in the ticker's order. `_stoppress` is our extension, which other readers pass over."""
    edition = issue.edition
    document = {
        "version": VERSION,
        "title": edition.name,
        "home_page_url": issue.page,
        "feed_url": issue.address,
        "language": edition.language,
        "authors": [{"name": edition.name}],
        # The format has no tombstones.
        "_stoppress": {
            "edition": edition.code,
            "killed": [
                {"id": issue.name(killed.id), "version": killed.version, "at": killed.at} for killed in issue.killed
            ],
        },
        "items": [_item(issue, item) for item in issue.items],
    }
    return msgspec.json.encode(document)


def _item(issue: Issue, item: Item) -> dict[str, Any]:
    text = line(item)
    document: dict[str, Any] = {
        "id": issue.name(item.id),
        "url": item.link or issue.page,
        "title": text,
        # Required, and a breaking line is all there is.
        "content_text": text,
        "date_published": item.published_at,
        "date_modified": changed(item),
        "language": item.language,
        "tags": [*([item.section] if item.section else []), *item.regions, *item.subjects],
        "_stoppress": {
            "version": item.version,
            "urgency": item.urgency,
            "pinned": item.pinned,
            "speaker": item.speaker,
            "outlet": item.outlet,
            "expires": item.expires,
            "correction": item.correction,
            "related": item.related,
        },
    }
    if item.correction is not None:
        document["summary"] = item.correction.note
    return document
