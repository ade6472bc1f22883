"""Edition: read from TOML."""

import pytest

from service.domain.edition import REGIONS, SECTIONS, Edition, Editions, default_editions, direction_of, parse_editions
from service.errors import SettingsError, UnknownEditionError


def _editions(*languages: str) -> Editions:
    return Editions(
        {tag.lower(): Edition(code=tag.lower(), language=tag, name=tag, direction="ltr") for tag in languages}
    )


@pytest.mark.parametrize(
    ("language", "direction"),
    [
        ("ar", "rtl"),
        ("fa", "rtl"),
        ("he", "rtl"),
        ("ur-PK", "rtl"),
        ("uz-Arab", "rtl"),
        ("uz-Latn", "ltr"),
        ("uz", "ltr"),
        ("ar-Latn", "ltr"),
        ("ku-Arab", "rtl"),
        ("ku", "ltr"),
        ("AR-eg", "rtl"),
        ("az-Arab-IR", "rtl"),
        ("en", "ltr"),
        ("de-1996", "ltr"),
        ("ar-1996", "rtl"),
        ("zh-Hant", "ltr"),
        ("yi", "rtl"),
        ("ckb", "rtl"),
    ],
)
def test_the_direction_is_guessed_from_the_script_else_the_language(language: str, direction: str) -> None:
    assert direction_of(language) == direction


def test_without_a_file_there_are_english_arabic_and_spanish() -> None:
    editions = parse_editions(None)
    assert editions == default_editions()
    assert {code: edition.direction for code, edition in editions.items()} == {"en": "ltr", "ar": "rtl", "es": "ltr"}


def test_a_table_needs_only_a_name() -> None:
    edition = parse_editions('[editions.pt-br]\nname = "Brasil"')["pt-br"]
    assert edition == Edition(code="pt-br", language="pt-br", name="Brasil", direction="ltr")
    assert edition.sections == SECTIONS
    assert edition.regions == REGIONS


def test_everything_of_an_edition_can_be_said() -> None:
    editions = parse_editions(
        """
        [editions.uz]
        name = "Oʻzbekcha"
        language = "uz-Arab"
        sections = ["politics", "cotton"]
        regions = []
        size = 3
        log = 100
        private = true

        [editions.en]
        name = "English"
        direction = "rtl"
        sections = { local = "", weather = "17000000" }
        """
    )
    assert list(editions) == ["uz", "en"]
    assert editions["uz"] == Edition(
        code="uz",
        language="uz-Arab",
        name="Oʻzbekcha",
        direction="rtl",
        sections={"politics": "11000000", "cotton": None},
        regions=(),
        size=3,
        log=100,
        private=True,
    )
    assert editions["en"].direction == "rtl"
    assert editions["en"].sections == {"local": None, "weather": "17000000"}


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("size = 0", "editions.bad.size"),
        ("size = 101", "editions.bad.size"),
        ('size = "3"', "editions.bad.size"),
        ("log = 99", "editions.bad.log"),
        ('direction = "up"', "editions.bad.direction"),
        ('language = "e n"', "editions.bad.language"),
        ('sections = ["Fine Arts"]', "editions.bad.sections"),
        ("sections = { a = 1 }", "editions.bad.sections"),
        ('regions = ["a", "B"]', r"editions.bad.regions\[1\]"),
        ("private = 1", "editions.bad.private"),
        ('colour = "red"', "editions.bad.*colour"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(lines: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        parse_editions(f'[editions.good]\nname = "Good"\n[editions.bad]\nname = "Bad"\n{lines}')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[editions.en]", "editions.en.*name"),
        ("[editions.En]\nname = 'x'", "'En'"),
        ("[editions.'e:n']\nname = 'x'", "'e:n'"),
        ("[editions]", "editions"),
        ("editions = 3", "editions"),
        ("editions.en = 3", "editions.en"),
        ("name = 'x'", "name"),
        ("[editions", "no TOML"),
        ("", "editions"),
    ],
)
def test_a_file_that_makes_no_editions_is_refused(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"STOPPRESS_EDITIONS: desk.toml.*{said}"):
        parse_editions(text, "desk.toml")


@pytest.mark.parametrize(
    ("tag", "languages", "found"),
    [
        ("nb-NO", ["en", "nb"], "nb"),
        ("EN-us", ["en", "es"], "en"),
        ("en", ["es", "en-GB"], "en-gb"),
        ("pt-BR", ["pt-PT", "pt", "pt-BR"], "pt-br"),
        ("pt-AO", ["pt-BR", "pt"], "pt"),
        ("zh-Hant-TW", ["zh-Hans", "zh-Hant"], "zh-hant"),
        ("fr", ["en", "es"], None),
        ("enm", ["en"], None),
        ("", ["en"], None),
    ],
)
def test_a_language_finds_its_edition(tag: str, languages: list[str], found: str | None) -> None:
    edition = _editions(*languages).of_language(tag)
    assert (edition.code if edition else None) == found


def test_an_unknown_code_is_told_which_there_are() -> None:
    assert default_editions().named("en").code == "en"
    with pytest.raises(UnknownEditionError, match="expected one of the editions en, ar, es, got 'fr'") as refusal:
        default_editions().named("fr")
    assert (refusal.value.status, refusal.value.path) == (404, "edition")
