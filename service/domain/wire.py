"""Wire: a ninjs document of any version from 1.x to 3.1, read by its shape into what a breaking line needs.

1.x has `headline`, `pubstatus` and `subject`; 2.x plural arrays in lower case (`headlines`, `versioncreated`); 3.x the
same in camel case (`versionCreated`, `pubStatus`). A document says nowhere reliably which it is, so each property is
looked for under all its names. Unlike our own API, unknown properties are passed over: wires send dozens.
"""

import base64
import hashlib
import html
import re
from typing import Any, Literal, NamedTuple, cast

import msgspec

from service.domain.edition import Edition
from service.domain.fault import shown
from service.domain.headline import LONGEST
from service.domain.instant import parse_ms
from service.domain.item import Draft
from service.errors import InvalidFieldError, MalformedError

TAGS = re.compile(r"<[^>]*>")
# IPTC Media Topics and the older Subject NewsCodes: eight digits, the first two the same for the same topic.
TOPIC = re.compile(r"(?<!\d)(\d{8})(?!\d)", re.ASCII)


Status = Literal["usable", "withheld", "canceled"]


class Wire(NamedTuple):
    """What a document says. `order` compares two versions of the same `uri`."""

    uri: str
    order: tuple[int, int]
    status: Status
    headline: str | None
    urgency: int
    language: str | None
    topics: tuple[str, ...]
    embargoed_until: str | None
    expires: str | None

    @property
    def id(self) -> str:
        """The item's id: the same for every version of the document."""
        digest = hashlib.sha256(self.uri.encode()).digest()
        return f"wire-{base64.b32encode(digest[:20]).decode().lower()}"

    def draft(self, edition: Edition) -> Draft:
        """The document as a new line of an edition.

        Raises:
            InvalidFieldError: it has no headline.
        """
        if self.headline is None:
            raise InvalidFieldError(
                "expected a headline in headlines[].value, headline or title, got none", path="$.headlines"
            )
        return Draft(
            edition=edition.code,
            headline=self.headline,
            id=self.id,
            language=self.language,
            urgency=self.urgency,
            section=self._section(edition),
            subjects=[f"medtop:{topic}" for topic in self.topics],
            expires=self.expires,
            embargoed_until=self.embargoed_until,
            alt_ids=[self.uri],
        )

    def tombstone(self, edition: Edition) -> Draft:
        """A line to be killed at once, for a document that was canceled before it ever came."""
        return Draft(edition=edition.code, headline="(canceled)", id=self.id)

    def _section(self, edition: Edition) -> str | None:
        for topic in self.topics:
            for section, known in edition.sections.items():
                if known is not None and known[:2] == topic[:2]:
                    return section
        return None


def parse_ninjs(body: bytes) -> Wire:
    """Read a document.

    Raises:
        MalformedError: it is no JSON object.
        InvalidFieldError: a property that is used has the wrong type, or `uri` (the only required one) is missing.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(f"expected a ninjs document in JSON: {error}") from None
    except RecursionError:
        raise MalformedError("expected a ninjs document, got one nested too deeply") from None
    if not isinstance(document, dict):
        raise InvalidFieldError(f"expected a ninjs object, got {shown(document)}", path="$")
    uri = _text(document, "uri")
    if not uri or len(uri) > 255:
        raise InvalidFieldError("expected the document's uri of 1 to 255 characters", path="$.uri")
    status = (_text(document, "pubStatus", "pubstatus") or "usable").lower()
    # 1.x called it "cancelled" in its early drafts; wires still do.
    status = {"cancelled": "canceled"}.get(status, status)
    if status not in ("usable", "withheld", "canceled"):
        raise InvalidFieldError(f"expected usable, withheld or canceled, got {status[:40]!r}", path="$.pubStatus")
    language = _text(document, "language")
    return Wire(
        uri=uri,
        order=_order(document),
        status=cast(Status, status),
        headline=_headline(document),
        urgency=_urgency(document),
        language=language,
        topics=_topics(document),
        embargoed_until=_text(document, "embargoedUntil", "embargoeduntil", "embargoed"),
        expires=_text(document, "expires"),
    )


def _get(document: dict[str, Any], *names: str) -> tuple[str, Any]:
    for name in names:
        if document.get(name) is not None:
            return name, document[name]
    return names[0], None


def _text(document: dict[str, Any], *names: str) -> str | None:
    name, value = _get(document, *names)
    if value is not None and not isinstance(value, str):
        raise InvalidFieldError(f"expected text, got {shown(value)}", path=f"$.{name}")
    return value.strip() or None if value is not None else None


def _order(document: dict[str, Any]) -> tuple[int, int]:
    _, version = _get(document, "version")
    digits = re.sub(r"\D", "", str(version))[:15] if version is not None else ""
    created = _text(document, "versionCreated", "versioncreated")
    return int(digits or 0), parse_ms(created, "$.versionCreated") if created else 0


def _urgency(document: dict[str, Any]) -> int:
    """Ours is 1 to 4, ninjs's 1 to 9: what is less urgent than routine is routine."""
    _, value = _get(document, "urgency")
    if value is None:
        return 4
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 9:
        raise InvalidFieldError(f"expected an urgency of 1 to 9, got {value!r}", path="$.urgency")
    return min(value, 4)


def _headline(document: dict[str, Any]) -> str | None:
    name, headlines = _get(document, "headlines")
    text: str | None = None
    if isinstance(headlines, list):
        rows = [row for row in headlines if isinstance(row, dict) and isinstance(row.get("value"), str)]
        chosen = next((row for row in rows if row.get("role") == "main"), rows[0] if rows else None)
        text = chosen["value"] if chosen else None
    elif headlines is not None:
        raise InvalidFieldError(f"expected a list of headlines, got {shown(headlines)}", path=f"$.{name}")
    text = text or _text(document, "headline") or _text(document, "title")
    if text is None:
        return None
    # Some wires mark up even headlines; ours are plain text in one line.
    plain = (
        " ".join(html.unescape(TAGS.sub(" ", text)).split()) if "<" in text or "&" in text else " ".join(text.split())
    )
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1].rstrip() + "…"


def _topics(document: dict[str, Any]) -> tuple[str, ...]:
    _, subjects = _get(document, "subjects", "subject")
    found: dict[str, None] = {}
    for subject in subjects if isinstance(subjects, list) else []:
        if isinstance(subject, dict):
            for name in ("uri", "literal", "code", "qcode"):
                match = TOPIC.search(str(subject.get(name, "")))
                if match:
                    found[match[1]] = None
    return tuple(found)[:20]
