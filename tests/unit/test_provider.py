"""Provider: what the environment says about signing in by OpenID Connect."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import SettingsError
from service.provider import DESK_ROLES, Provider, may_be_asked
from service.settings import Settings

SECRET = "hunter2-hunter2"
LEAST = {
    "STOPPRESS_OIDC_ISSUER": "https://login.example/realms/news",
    "STOPPRESS_OIDC_CLIENT_ID": "stoppress",
    "STOPPRESS_OIDC_CLIENT_SECRET": SECRET,
}


def test_an_empty_environment_names_none() -> None:
    assert Settings.from_env({}).provider is None
    assert Settings.from_env(dict.fromkeys(LEAST, "")).provider is None


def test_three_settings_are_enough() -> None:
    provider = Settings.from_env(LEAST).provider
    assert provider is not None
    assert (provider.issuer, provider.client_id) == ("https://login.example/realms/news", "stoppress")
    assert provider.client_secret == SECRET
    assert provider.name == "login.example"
    assert provider.role_claim == "roles"
    assert [provider.role_of([role]) for role in DESK_ROLES] == list(DESK_ROLES)


def test_the_providers_roles_are_mapped_to_ours_and_the_highest_wins() -> None:
    more = {
        "STOPPRESS_OIDC_ROLES": "newsroom-chief=chief, newsroom-editor = editor,cn=reporters=contributor,desk=editor,",
        "STOPPRESS_OIDC_ROLE_CLAIM": "realm_access.roles",
        "STOPPRESS_OIDC_NAME": "Newsroom login",
    }
    provider = Provider.from_env(LEAST | more)
    assert provider is not None
    assert (provider.role_claim, provider.name) == ("realm_access.roles", "Newsroom login")
    assert provider.role_of(["cn=reporters"]) == "contributor"
    assert provider.role_of(["desk", "cn=reporters"]) == "editor"
    assert provider.role_of(["cn=reporters", "newsroom-chief", "newsroom-editor"]) == "chief"
    assert provider.role_of(["chief", "newsroom"]) is None
    assert provider.role_of([]) is None


@pytest.mark.parametrize("missing", LEAST)
def test_all_or_none(missing: str) -> None:
    with pytest.raises(SettingsError, match=f"^{missing}: expected a value beside STOPPRESS_OIDC_"):
        Provider.from_env({name: value for name, value in LEAST.items() if name != missing})
    with pytest.raises(SettingsError, match=r"^STOPPRESS_OIDC_ISSUER: expected a value beside STOPPRESS_OIDC_ROLES"):
        Provider.from_env({"STOPPRESS_OIDC_ROLES": "a=chief"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ISSUER", "login.example"),
        ("ISSUER", "http://login.example"),
        ("ISSUER", "http://10.0.0.1"),
        ("ISSUER", "https://"),
        ("ISSUER", "https://["),
        ("ISSUER", "https://login.example:port"),
        ("ISSUER", "https://ann:hunter2-hunter2@login.example"),
        ("ISSUER", "https://login.example#x"),
        ("ISSUER", "https://login.example?x=y"),
        ("ISSUER", "https://login.example/a b"),
        ("CLIENT_ID", " stoppress"),
        ("CLIENT_ID", "stöppress"),
        ("CLIENT_SECRET", "hunter2-hunter2\n"),
        ("CLIENT_SECRET", "hünter2"),
        ("ROLES", "chief"),
        ("ROLES", "=chief"),
        ("ROLES", "newsroom=boss"),
        ("ROLES", "newsroom=reader"),
        ("NAME", "x" * 65),
        ("NAME", "two\nlines"),
    ],
)
def test_a_wrong_value_is_refused_by_its_variable_on_one_line(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^STOPPRESS_OIDC_{name}: expected") as refusal:
        Settings.from_env(LEAST | {f"STOPPRESS_OIDC_{name}": value})
    assert "\n" not in refusal.value.detail
    assert SECRET not in refusal.value.detail


def test_the_secret_is_in_no_text_of_the_settings() -> None:
    assert SECRET not in repr(Settings.from_env(LEAST))


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://login.example:8443/path", True),
        ("http://127.0.0.1:9000", True),
        ("http://[::1]:9000", True),
        ("http://localhost", True),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("file:///etc/passwd", False),
        ("javascript:alert(1)", False),
        ("//login.example", False),
        ("", False),
    ],
)
def test_only_what_nobody_in_between_can_read_is_asked(url: str, asked: bool) -> None:
    assert may_be_asked(url) is asked


@given(st.dictionaries(st.sampled_from([*LEAST, "STOPPRESS_OIDC_ROLES", "STOPPRESS_PUBLIC_URL"]), st.text()))
def test_no_environment_brings_the_reader_down(env: dict[str, str]) -> None:
    with contextlib.suppress(SettingsError):
        Settings.from_env(LEAST | env)
