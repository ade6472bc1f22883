"""Edition: one ticker in one language. Configured, not coded."""

import re
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from service.errors import SettingsError, UnknownEditionError

# IPTC Media Topics (medtop:) of the default sections; None where no topic fits.
SECTIONS: dict[str, str | None] = {
    "politics": "11000000",
    "economy": "04000000",
    "sports": "15000000",
    "arts-culture": "01000000",
    "health": "07000000",
    "technology": "13000000",
    "environment": "06000000",
    "miscellaneous": None,
}
REGIONS = ("africa", "asia", "asia-pacific", "europe", "latin-america", "mena", "palestine", "us-canada")

CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
# BCP 47's common shape (RFC 5646, section 2.1): language, script, region, variants and private use.
LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*", re.ASCII)
RTL_LANGUAGES = {
    "ar",
    "arc",
    "ckb",
    "dv",
    "fa",
    "he",
    "iw",
    "nqo",
    "prs",
    "ps",
    "sd",
    "syr",
    "ug",
    "ur",
    "yi",
}
RTL_SCRIPTS = {"arab", "hebr", "syrc", "thaa", "nkoo", "adlm", "rohg"}

Term = Annotated[str, Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40)]


class Edition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """What is configured of an edition; `GET /v1/editions` shows it.

    `sections` maps each term to its Media Topic code or None. `size` is the ticker's length in lines, `log` how many
    changes the edition's log keeps for replay.
    """

    code: str
    language: str
    name: str
    direction: Literal["ltr", "rtl"]
    sections: dict[str, str | None] = msgspec.field(default_factory=lambda: dict(SECTIONS))
    regions: tuple[str, ...] = REGIONS
    size: Annotated[int, Meta(ge=1, le=100)] = 10
    log: Annotated[int, Meta(ge=100, le=1_000_000)] = 10_000
    private: bool = False
    # The urgencies whose lines take a second person before they go on air.
    two_person: tuple[int, ...] = ()


class _Entry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One `[editions.<code>]` table of the TOML file; everything has a default but the name."""

    name: Annotated[str, Meta(min_length=1, max_length=80)]
    language: str | None = None
    direction: Literal["ltr", "rtl"] | None = None
    sections: list[Term] | dict[Term, str | None] | None = None
    regions: list[Term] | None = None
    size: Annotated[int, Meta(ge=1, le=100)] = 10
    log: Annotated[int, Meta(ge=100, le=1_000_000)] = 10_000
    private: bool = False
    two_person: Annotated[list[Annotated[int, Meta(ge=1, le=4)]], Meta(max_length=4)] = []


class _File(msgspec.Struct, forbid_unknown_fields=True):
    editions: Annotated[dict[str, Any], Meta(min_length=1, max_length=100)]


class Editions(dict[str, Edition]):
    """The configured editions by code, in the file's order."""

    def named(self, code: str) -> Edition:
        """Raises:
        UnknownEditionError: there is none of that code; the message lists those there are.
        """
        edition = self.get(code)
        if edition is None:
            raise UnknownEditionError(
                f"expected one of the editions {', '.join(self)}, got {code[:40]!r}", path="edition"
            )
        return edition

    def of_language(self, tag: str) -> Edition | None:
        """Find the edition of a BCP 47 tag: the exact one, else the one that shares most subtags from the left.

        As RFC 4647's lookup, section 3.4, but `en` also finds an edition in `en-GB`. Of several, the plainest.
        """
        wanted = tag.lower().split("-")
        languages = {code: edition.language.lower().split("-") for code, edition in self.items()}
        for length in range(len(wanted), 0, -1):
            alike = [code for code, subtags in languages.items() if subtags[:length] == wanted[:length]]
            if alike:
                return self[min(alike, key=lambda code: len(languages[code]))]
        return None


def direction_of(language: str) -> Literal["ltr", "rtl"]:
    """Guess the writing direction of a BCP 47 tag by its script subtag, else its language."""
    subtags = language.lower().split("-")
    for subtag in subtags[1:]:
        if len(subtag) == 4 and subtag.isalpha():
            return "rtl" if subtag in RTL_SCRIPTS else "ltr"
    return "rtl" if subtags[0] in RTL_LANGUAGES else "ltr"


def default_editions() -> Editions:
    """The editions of a service that was given no file."""
    names = {"en": "English", "ar": "العربية", "es": "Español"}
    return Editions(
        {
            code: Edition(code=code, language=code, name=name, direction=direction_of(code))
            for code, name in names.items()
        }
    )


def parse_editions(text: str | None, source: str = "the file") -> Editions:
    """Read the text of the editions file; without one, the default editions.

    `source` is the file's name, for the messages.

    Raises:
        SettingsError: it is no TOML, or a value is wrong; the message says which and what was expected.
    """
    if text is None:
        return default_editions()
    try:
        tables = msgspec.convert(tomllib.loads(text), _File).editions
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"STOPPRESS_EDITIONS: {source} is no TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise SettingsError(f"STOPPRESS_EDITIONS: {source}: {error}") from None
    editions = Editions()
    for code, table in tables.items():
        entry = _entry(code, table, source)
        language = entry.language or code
        if not CODE.fullmatch(code) or len(code) > 40:
            raise SettingsError(f"STOPPRESS_EDITIONS: {source}: expected a code such as en or pt-br, got {code!r}")
        if not LANGUAGE.fullmatch(language):
            raise SettingsError(
                f"STOPPRESS_EDITIONS: {source}: editions.{code}.language: expected a BCP 47 tag, got {language!r}"
            )
        editions[code] = Edition(
            code=code,
            language=language,
            name=entry.name,
            direction=entry.direction or direction_of(language),
            sections=_sections(entry.sections),
            regions=REGIONS if entry.regions is None else tuple(entry.regions),
            size=entry.size,
            log=entry.log,
            private=entry.private,
            two_person=tuple(sorted(set(entry.two_person))),
        )
    return editions


def _entry(code: str, table: Any, source: str) -> _Entry:
    try:
        return msgspec.convert(table, _Entry)
    except msgspec.ValidationError as error:
        # Converted one by one, because msgspec's path does not name the key of a dict.
        message, _, path = str(error).partition(" - at `$")
        where = f"editions.{code}{path.rstrip('`')}"
        raise SettingsError(f"STOPPRESS_EDITIONS: {source}: {where}: {message}") from None


def _sections(given: list[str] | Mapping[str, str | None] | None) -> dict[str, str | None]:
    if given is None:
        return dict(SECTIONS)
    if isinstance(given, Mapping):
        # TOML has no null: an empty string is "no topic".
        return {term: topic or None for term, topic in given.items()}
    return {term: SECTIONS.get(term) for term in given}
