"""Atom: an issue as a feed document (RFC 4287), with tombstones for what was killed (RFC 6721)."""

import re
from xml.etree.ElementTree import Element, SubElement, tostring

from service.domain.item import Item
from service.syndication.issue import MEDIA_TOPICS, URGENCIES, Issue, changed, line

MEDIA_TYPE = "application/atom+xml"

# What XML 1.0 cannot hold, escaped or not (section 2.2). Headlines have none of it; a configured name may.
NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def atom(issue: Issue) -> bytes:
    """Write the feed. An order of entries means nothing in Atom; here it is the ticker's."""
    edition = issue.edition
    # Prefixes as plain attributes: ElementTree's own registry is one for the whole process.
    feed = Element(
        "feed",
        {
            "xmlns": "http://www.w3.org/2005/Atom",
            "xmlns:at": "http://purl.org/atompub/tombstones/1.0",
            "xml:lang": edition.language,
        },
    )
    _text(feed, "id", issue.urn)
    _text(feed, "title", edition.name)
    _text(feed, "updated", issue.updated)
    _text(SubElement(feed, "author"), "name", edition.name)
    _link(feed, "self", issue.address, type=MEDIA_TYPE)
    _link(feed, "alternate", issue.page)
    _text(feed, "generator", "Stoppress")
    for killed in issue.killed:
        SubElement(feed, "at:deleted-entry", {"ref": issue.name(killed.id), "when": killed.at})
    for item in issue.items:
        _entry(feed, issue, item)
    document: bytes = tostring(feed, encoding="utf-8", xml_declaration=True)
    return document


def _entry(feed: Element, issue: Issue, item: Item) -> None:
    same = item.language == issue.edition.language
    entry = SubElement(feed, "entry", {} if same else {"xml:lang": item.language})
    _text(entry, "id", issue.name(item.id))
    _text(entry, "title", line(item))
    _text(entry, "updated", changed(item))
    _text(entry, "published", item.published_at)
    _link(entry, "alternate", item.link or issue.page)
    for story in item.related:
        _link(entry, "related", story.link, title=story.title)
    if item.correction is not None:
        _text(entry, "summary", item.correction.note)
    if item.section is not None:
        _category(entry, "urn:stoppress:section", item.section)
        topic = issue.edition.sections.get(item.section)
        if topic is not None:
            _category(entry, MEDIA_TOPICS, topic, item.section)
    for region in item.regions:
        _category(entry, "urn:stoppress:region", region)
    _category(entry, "urn:stoppress:urgency", str(item.urgency), URGENCIES[item.urgency - 1])


def _text(parent: Element, tag: str, text: str) -> None:
    # Without a type it is plain text (section 3.1.1.1): markup in it is shown, never run.
    SubElement(parent, tag).text = NO_XML.sub("", text)


def _link(parent: Element, rel: str, href: str, **more: str) -> None:
    clean = {name: NO_XML.sub("", text) for name, text in more.items()}
    SubElement(parent, "link", {"rel": rel, "href": href, **clean})


def _category(entry: Element, scheme: str, term: str, label: str | None = None) -> None:
    SubElement(entry, "category", {"scheme": scheme, "term": term} | ({"label": label} if label else {}))
