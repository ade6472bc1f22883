"""Item: one breaking line. What comes in is parsed here, once; what goes out is frozen.

Property names are ninjs 3.1's where it has one (`urgency`, `headline`, `pubStatus`, `versionCreated`, …).
"""

import re
import secrets
import time
from threading import Lock
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.domain.edition import LANGUAGE, Edition
from service.domain.fault import fault
from service.domain.headline import LONGEST, clean_line, is_refused
from service.domain.instant import LATEST_MS, format_ms, parse_ms
from service.errors import InvalidFieldError, MalformedError

ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
# A high surrogate's escape without a low one's behind it.
HALF = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

HOUR_MS = 3_600_000
# How long a line of each urgency stays in the ticker when its editor does not say.
EXPIRES_AFTER_MS = {1: 2 * HOUR_MS, 2: 4 * HOUR_MS, 3: 6 * HOUR_MS, 4: 12 * HOUR_MS}
FAR_MS = 366 * 24 * HOUR_MS

Urgency = Annotated[int, Meta(ge=1, le=4)]
# Cut before the cleaning, so that a megabyte of spaces costs nothing; the cleaning checks the exact limit, which the
# description says.
Line = Annotated[str, Meta(max_length=2_000, description=f"text of 1 to {LONGEST} characters")]
Short = Annotated[str, Meta(max_length=400, description="text of 1 to 80 characters")]
Tag = Annotated[str, Meta(max_length=400, description="a BCP 47 language tag")]
Note = Annotated[str, Meta(max_length=500)]
Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="an item's id")]
Uri = Annotated[str, Meta(max_length=2048)]
Terms = Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=20)]

P = TypeVar("P", bound=msgspec.Struct)


class Related(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A story that belongs to the line."""

    title: str
    link: str


class Correction(msgspec.Struct, frozen=True):
    """The public note of the latest correction."""

    type: Literal["corrected"]
    note: str
    at: str


class Item(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A line as readers get it (DESIGN: the item on the wire). Times are RFC 3339 UTC with milliseconds."""

    id: str
    version: int
    edition: str
    language: str
    urgency: int
    headline: str
    speaker: str | None = None
    outlet: str | None = None
    link: str | None = None
    section: str | None = None
    regions: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    pinned: bool = False
    pub_status: Literal["usable"] = "usable"
    first_created: str
    version_created: str
    published_at: str
    expires: str
    correction: Correction | None = None
    related: tuple[Related, ...] = ()
    alt_ids: tuple[str, ...] = ()


class Draft(msgspec.Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """The body of `POST /v1/items`: a new line. `state` says whether it goes on air (`live`), is handed in for approval
    (`submitted`) or waits (`draft`)."""

    edition: str
    headline: Line
    id: str | None = None
    state: Literal["draft", "submitted", "live"] | None = None
    language: Tag | None = None
    urgency: Urgency = 3
    speaker: Short | None = None
    outlet: Short | None = None
    link: Uri | None = None
    section: str | None = None
    regions: Terms = []
    subjects: Terms = []
    pinned: bool = False
    expires: str | None = None
    embargoed_until: str | None = None
    publish_at: str | None = None
    related: Annotated[list[Related], Meta(max_length=10)] = []
    alt_ids: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=10)] = []
    note: Note | None = None
    translation_of: Identifier | None = None
    override: Note | None = None

    @classmethod
    def parse(cls, body: bytes) -> "Draft":
        """Read JSON.

        Raises:
            MalformedError: it is no JSON object in UTF-8.
            InvalidFieldError: a field is unknown, missing or of the wrong type.
        """
        draft = decode(body, cls)
        if draft.id is not None and not ID.fullmatch(draft.id):
            raise InvalidFieldError(f"expected 1 to 64 of A-Z a-z 0-9 _ -, got {draft.id[:80]!r}", path="$.id")
        return draft


class Change(msgspec.Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """The body of `PATCH /v1/items/{id}`: new facts (`update`), an error put right with a public note (`correct`), or a
    typo (`refile`). A field that is not sent stays; null clears one that may be empty."""

    change: Literal["update", "correct", "refile"]
    note: Note | None = None
    headline: Line | UnsetType = UNSET
    urgency: Urgency | UnsetType = UNSET
    speaker: Short | UnsetType | None = UNSET
    outlet: Short | UnsetType | None = UNSET
    link: Uri | UnsetType | None = UNSET
    section: str | UnsetType | None = UNSET
    regions: Terms | UnsetType = UNSET
    subjects: Terms | UnsetType = UNSET
    expires: str | UnsetType | None = UNSET
    embargoed_until: str | UnsetType | None = UNSET
    publish_at: str | UnsetType | None = UNSET
    related: Annotated[list[Related], Meta(max_length=10)] | UnsetType = UNSET
    alt_ids: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=10)] | UnsetType = UNSET
    override: Note | None = None

    @classmethod
    def parse(cls, body: bytes) -> "Change":
        """Read JSON; raises as `Draft.parse` does."""
        return decode(body, cls)


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an action, if it has one: the editor's note, which never reaches a reader.

    `override`: why the two-person rule is passed over. `of`: the item that this one is linked to (action `link`).
    `everywhere`: a kill takes the item's sisters in the other editions, too.
    """

    note: Note | None = None
    override: Note | None = None
    of: Identifier | None = None
    everywhere: bool = False

    @classmethod
    def parse(cls, body: bytes) -> "Reason":
        """Read JSON; no body is no note. Raises as `Draft.parse` does."""
        return decode(body, cls) if body.strip() else cls()


def decode(body: bytes, kind: type[P]) -> P:
    """Decode JSON into `kind`, turning msgspec's messages into the error tree, with the JSON path of the field."""
    if not body.strip():
        raise MalformedError("expected a JSON object in UTF-8: got an empty body")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise fault(error, kind, body) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # msgspec takes half of a surrogate pair for the end of the text (RFC 8259, section 8.2).
        why = "a \\u escape is half of a surrogate pair" if HALF.search(body) else str(error)
        raise MalformedError(f"expected a JSON object in UTF-8: {why}") from None
    except RecursionError:
        raise MalformedError("expected a JSON object, got one nested too deeply") from None


_newest = 0
_newest_lock = Lock()


def new_id() -> str:
    """Make a ULID: 48 bits of time, 80 of chance, rising within a process, so that ids sort by their age."""
    global _newest  # noqa: PLW0603 - the ULID specification's "monotonicity" needs the last one made
    with _newest_lock:
        value = max((time.time_ns() // 1_000_000) << 80 | secrets.randbits(80), _newest + 1)
        _newest = value
    return "".join(CROCKFORD[value >> shift & 31] for shift in range(125, -5, -5))


def fields_of(edition: Edition, given: Draft | Change) -> dict[str, Any]:
    """Check the fields of `given` against the edition and return those that are set, cleaned, as `Item` takes them.

    Raises:
        InvalidFieldError: a field is wrong; the message says what was expected, and its path where.
    """
    fields: dict[str, Any] = {}
    if given.headline is not UNSET:
        fields["headline"] = clean_line(given.headline, "$.headline")
    if given.urgency is not UNSET:
        fields["urgency"] = given.urgency
    for name in ("speaker", "outlet"):
        value = getattr(given, name)
        if value is not UNSET:
            fields[name] = clean_line(value, f"$.{name}", longest=80) if value is not None else None
    if given.link is not UNSET:
        fields["link"] = _link(given.link, "$.link")
    if given.section is not UNSET:
        fields["section"] = _section(edition, given.section)
    if given.regions is not UNSET:
        for index, region in enumerate(given.regions):
            if region not in edition.regions:
                raise InvalidFieldError(
                    f"expected one of {', '.join(edition.regions)}, got {region!r}", path=f"$.regions[{index}]"
                )
        fields["regions"] = tuple(dict.fromkeys(given.regions))
    if given.subjects is not UNSET:
        fields["subjects"] = tuple(
            clean_line(subject, f"$.subjects[{index}]", longest=100) for index, subject in enumerate(given.subjects)
        )
    if given.related is not UNSET:
        fields["related"] = tuple(
            Related(
                clean_line(story.title, f"$.related[{index}].title"),
                _link(story.link, f"$.related[{index}].link") or "",
            )
            for index, story in enumerate(given.related)
        )
    if given.alt_ids is not UNSET:
        fields["alt_ids"] = tuple(
            clean_line(alt, f"$.altIds[{index}]", longest=255) for index, alt in enumerate(given.alt_ids)
        )
    if isinstance(given, Draft):
        fields["pinned"] = given.pinned
        fields["language"] = _language(given.language) if given.language is not None else edition.language
    return fields


def expires_ms(given: str | None, urgency: int, public_ms: int) -> int:
    """When a line public from `public_ms` leaves the ticker: as its editor says, else by its urgency.

    Raises:
        InvalidFieldError: it would be over before it is public, or is more than a year away.
    """
    if given is None:
        return public_ms + EXPIRES_AFTER_MS[urgency]
    ms = parse_ms(given, "$.expires")
    if not public_ms < ms <= min(public_ms + FAR_MS, LATEST_MS):
        raise InvalidFieldError(
            f"expected a time after {format_ms(public_ms)} and within a year of it, got {given!r}", path="$.expires"
        )
    return ms


def later_ms(given: str | None, now_ms: int, path: str) -> int | None:
    """When an embargoed or scheduled line becomes public; None for at once.

    Raises:
        InvalidFieldError: the time is over, or more than a year away.
    """
    if given is None:
        return None
    ms = parse_ms(given, path)
    if not now_ms < ms <= now_ms + FAR_MS:
        raise InvalidFieldError(
            f"expected a time after now ({format_ms(now_ms)}) and within a year, got {given!r}", path=path
        )
    return ms


def _link(link: str | None, path: str) -> str | None:
    if link is None:
        return None
    try:
        parts = urlsplit(link)
        # Reading the port checks it.
        sound = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None and parts.port != 0
        )
    except ValueError:
        sound = False
    # A scheme such as javascript: would run on every reader's page.
    if not sound or any(character.isspace() or is_refused(character) for character in link):
        raise InvalidFieldError(f"expected an http or https URL without spaces, got {link[:80]!r}", path=path)
    return link


def _section(edition: Edition, section: str | None) -> str | None:
    if section is None:
        return "miscellaneous" if "miscellaneous" in edition.sections else None
    if section not in edition.sections:
        raise InvalidFieldError(
            f"expected one of {', '.join(edition.sections)}, got {section[:60]!r}", path="$.section"
        )
    return section


def _language(tag: str) -> str:
    if not LANGUAGE.fullmatch(tag):
        raise InvalidFieldError(f"expected a BCP 47 language tag, got {tag[:40]!r}", path="$.language")
    return tag
