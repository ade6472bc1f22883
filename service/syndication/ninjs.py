"""Ninjs: an issue as ninjs 3.1 objects (IPTC), as a wire would send them. The schema has no package of whole items.

What it has no property for stays away: when a line became public, that it is pinned, when it was corrected.
"""

import re
from typing import Any
from urllib.parse import quote

import msgspec

from service.domain.item import Item
from service.syndication.issue import MEDIA_TOPICS, Issue, Killed

MEDIA_TYPE = "application/json"
STANDARD = {
    "name": "ninjs",
    "version": "3.1",
    "schema": "http://www.iptc.org/std/ninjs/ninjs-schema_3.1.json",
}
TOPIC = re.compile(r"medtop:(\d{8})", re.ASCII)
# A percent sign that begins no octet.
STRAY = re.compile("%(?![0-9A-Fa-f]{2})")


def ninjs(issue: Issue) -> bytes:
    """Write an array of objects: the lines in the ticker's order, then, canceled, what was killed."""
    return msgspec.json.encode(
        [*(_usable(issue, item) for item in issue.items), *(_canceled(issue, killed) for killed in issue.killed)]
    )


def _usable(issue: Issue, item: Item) -> dict[str, Any]:
    document: dict[str, Any] = {
        "uri": issue.name(item.id),
        "standard": STANDARD,
        "type": "text",
        "representationType": "full",
        "version": str(item.version),
        "firstCreated": item.first_created,
        "versionCreated": item.version_created,
        "pubStatus": item.pub_status,
        "urgency": item.urgency,
        "language": item.language,
        "headlines": [{"role": "main", "contentType": "text/plain", "value": item.headline}],
        "expires": item.expires,
        "subjects": _subjects(issue, item),
        "places": [{"name": region, "literal": region} for region in item.regions],
        "infoSources": [
            {"name": name, "role": role} for role, name in (("speaker", item.speaker), ("outlet", item.outlet)) if name
        ],
        "associations": _stories(item),
        "altIds": [{"role": "external", "value": alt} for alt in item.alt_ids],
    }
    if item.correction is not None:
        document["descriptions"] = [{"role": "correction", "contentType": "text/plain", "value": item.correction.note}]
    return {name: value for name, value in document.items() if value != []}


def _canceled(issue: Issue, killed: Killed) -> dict[str, Any]:
    return {
        "uri": issue.name(killed.id),
        "standard": STANDARD,
        "type": "text",
        "version": str(killed.version),
        "versionCreated": killed.at,
        "pubStatus": "canceled",
    }


def _subjects(issue: Issue, item: Item) -> list[dict[str, str]]:
    """Media Topics by their address, the section's first; other terms as text."""
    subjects: dict[str, dict[str, str]] = {}
    if item.section is not None:
        topic = issue.edition.sections.get(item.section)
        named = {"name": item.section, "literal": item.section}
        subjects[f"medtop:{topic}"] = named | ({"uri": _uri(f"{MEDIA_TOPICS}{topic}")} if topic else {})
    for term in item.subjects:
        topic_of = TOPIC.fullmatch(term)
        subject = {"uri": f"{MEDIA_TOPICS}{topic_of[1]}", "literal": term} if topic_of else {"literal": term}
        subjects.setdefault(term, subject)
    return list(subjects.values())


def _stories(item: Item) -> list[dict[str, str]]:
    """The line's own story and those beside it. An association needs a name of its own."""
    stories = [{"name": "story", "rel": "story", "uri": _uri(item.link)}] if item.link else []
    stories += [
        {"name": f"related-{number}", "rel": "related", "uri": _uri(story.link), "title": story.title}
        for number, story in enumerate(item.related, 1)
    ]
    return stories


def _uri(link: str) -> str:
    """A link may be an IRI (RFC 3987); the schema wants RFC 3986."""
    return quote(STRAY.sub("%25", link), safe="%:/?#[]@!$&'()*+,;=~")
