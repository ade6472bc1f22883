"""Signing in by OpenID Connect: who gets in, as whom, and what forged, stale and stolen answers are worth."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from service.newsroom.fetch import LARGEST
from service.provider import DESK_ROLES
from service.store.accounts import STAFF
from service.store.keys import USERS
from service.store.sessions import MOST_OF_ADDRESS
from service.store.users import Users
from tests.fakes.oidc import CLIENT_ID, CLIENT_SECRET, FakeProvider, ec_key, rsa_key
from tests.integration.harness import DEADLINE_SECONDS, Service, free_port, now_ms, until
from tests.integration.inside import inside

PASSWORD = "correct horse battery"
STATE_COOKIE, COOKIE = "stoppress-coming", "stoppress-desk"


def settings_of(issuer: str) -> dict[str, str]:
    return {
        "oidc_issuer": issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": CLIENT_SECRET,
        "oidc_name": "Newsroom login",
        "oidc_roles": "the-chief=chief,editor=editor,reporters=contributor",
    }


@pytest.fixture(scope="module")
def running_provider() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


@pytest.fixture
def provider(running_provider: FakeProvider) -> FakeProvider:
    running_provider.reset()
    return running_provider


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, running_provider: FakeProvider) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service"), **settings_of(running_provider.issuer)) as running:
        running.start()
        yield running


@pytest.fixture
def users(service: Service) -> Users:
    service.redis.delete(USERS)
    return Users(service.redis)


def forget_attempts(service: Service) -> None:
    for key in service.redis.scan_iter("sp:attempts:*"):
        service.redis.delete(key)


def new_browser(port: int) -> httpx.Client:
    """A browser without a session, as far as HTTP goes."""
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_SECONDS, trust_env=False, follow_redirects=True
    )


@pytest.fixture
def browser(service: Service, users: Users, provider: FakeProvider) -> Iterator[httpx.Client]:
    forget_attempts(service)
    with new_browser(service.port) as client:
        yield client


def enter(browser: httpx.Client) -> httpx.Response:
    """The whole way: to the provider, which approves, and back."""
    return browser.get("/desk/oidc/start")


def go_out(browser: httpx.Client) -> str:
    """The way up to the provider's answer, which is not brought back yet: its address."""
    there = browser.get("/desk/oidc/start", follow_redirects=False)
    assert there.status_code == 303, there.text
    answer = httpx.get(there.headers["location"], trust_env=False)
    assert answer.status_code == 302, answer.text
    return str(answer.headers["location"])


def is_in(browser: httpx.Client) -> bool:
    return browser.get("/desk/board?edition=en").status_code == 200


def why(page: httpx.Response) -> str:
    found = re.search(r'role="alert">([^<]*)<', page.text)
    assert found is not None, page.text[:500]
    return found[1]


@pytest.mark.parametrize(
    ("claim", "role"),
    [
        (["reporters"], "contributor"),
        (["editor"], "editor"),
        (["the-chief"], "chief"),
        ("the-chief", "chief"),
        (["unknown", 7, "reporters", "the-chief", "editor"], "chief"),
    ],
)
def test_who_signs_in_over_there_is_in_here_with_the_highest_role_of_the_claim(
    browser: httpx.Client, provider: FakeProvider, users: Users, claim: object, role: str
) -> None:
    provider.user = {"sub": "1", "preferred_username": "Ánna", "roles": claim}
    page = enter(browser)
    assert page.status_code == 200, page.text
    assert 'http-equiv="refresh" content="0; url=/desk"' in page.text
    assert "script" not in page.text
    assert page.headers["cache-control"] == "no-store"
    desk = browser.get("/desk")
    assert desk.url.path == "/desk"
    assert "Ánna" in desk.text
    assert is_in(browser)
    user = users.get("Ánna")
    assert (user.role, user.subject, user.password) == (role, (provider.issuer, "1"), "")


def test_the_cookies_are_kept_from_scripts_and_the_sessions_own_from_other_sites(browser: httpx.Client) -> None:
    start = browser.get("/desk/oidc/start", headers={"x-forwarded-proto": "https"}, follow_redirects=False)
    cookie = start.headers["set-cookie"].lower()
    assert cookie.startswith(f"{STATE_COOKIE}=")
    for word in ("httponly", "samesite=lax", "secure", "path=/desk/oidc", "max-age=600"):
        assert word in cookie
    place = urlsplit(start.headers["location"])
    assert parse_qs(place.query)["redirect_uri"][0].startswith("https://127.0.0.1:")
    given = {line.split("=")[0]: line.lower() for line in enter(browser).headers.get_list("set-cookie")}
    assert "samesite=strict" in given[COOKIE]
    assert "httponly" in given[COOKIE]
    assert "max-age=0" in given[STATE_COOKIE], "what was used is taken away"


@pytest.mark.parametrize("claim", [None, [], "", ["chief"], ["unknown"], {"the-chief": True}, 7, [["the-chief"]]])
def test_who_has_no_role_here_is_told_whom_to_ask_for_which(
    browser: httpx.Client, provider: FakeProvider, users: Users, claim: object
) -> None:
    provider.user["roles"] = claim
    page = enter(browser)
    assert page.status_code == 403
    for word in ("Newsroom login", "the-chief", "reporters", "claim roles"):
        assert word in why(page)
    assert not is_in(browser)
    assert users.listed() == []


def test_a_role_that_changes_over_there_changes_here_at_the_next_sign_in(
    browser: httpx.Client, provider: FakeProvider, users: Users
) -> None:
    provider.user["roles"] = ["the-chief"]
    enter(browser)
    provider.user["roles"] = ["reporters"]
    assert users.get("somebody").role == "chief"
    enter(browser)
    assert users.get("somebody").role == "contributor"
    assert len(users.listed()) == 1
    provider.user["roles"] = []
    assert is_in(browser)
    assert enter(browser).status_code == 403
    assert not is_in(browser), "whom the provider takes the last role from is out, where it is known"


def test_a_disabled_user_stays_out_and_a_stolen_cookie_is_worth_nothing(
    service: Service, browser: httpx.Client, users: Users
) -> None:
    enter(browser)
    stolen = dict(browser.cookies)
    assert "by http://127.0.0.1" in service.command("users", "list").stdout
    assert service.command("users", "disable", "somebody").returncode == 0
    with httpx.Client(base_url=browser.base_url, cookies=stolen, trust_env=False) as thief:
        assert thief.get("/desk/board?edition=en").status_code == 401
        page = enter(browser)
        assert page.status_code == 403
        assert "disabled" in why(page)
        users.set_disabled("somebody", False)
        assert thief.get("/desk/board?edition=en").status_code == 401
    enter(browser)
    assert is_in(browser)
    users.remove("somebody")
    assert not is_in(browser)


def test_who_comes_from_elsewhere_has_no_password_here(service: Service, browser: httpx.Client, users: Users) -> None:
    enter(browser)
    for password in ("", "nobody's password"):
        page = browser.post("/desk/sign-in", data={"name": "somebody", "password": password})
        assert page.status_code == 401
    refused = service.command("users", "password", "somebody", "--generate")
    assert refused.returncode == 1
    assert "signs in elsewhere" in refused.stderr
    assert users.get("somebody").password == ""


def test_a_browsers_earlier_session_ends_with_the_next(browser: httpx.Client) -> None:
    enter(browser)
    before = {COOKIE: browser.cookies[COOKIE]}
    enter(browser)
    assert is_in(browser)
    with httpx.Client(base_url=browser.base_url, cookies=before, trust_env=False) as thief:
        assert not is_in(thief)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"nonce": "another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"aud": "another"}, "aud"),
        ({"aud": ["another"]}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": [CLIENT_ID, "another"]}, "azp"),
        ({"azp": "another"}, "azp"),
        ({"iss": "https://login.example"}, "iss"),
        ({"iss": None}, "iss"),
        ({"exp": 1_000_000_000}, "expired"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"iat": 9_000_000_000}, "future"),
        ({"iat": None}, "iat"),
        ({"nbf": 9_000_000_000}, "not yet valid"),
        ({"sub": None}, "sub"),
        ({"sub": 7}, "sub"),
        ({"at_hash": "another"}, "at_hash"),
    ],
)
def test_a_token_that_is_not_for_this_sign_in_is_refused(
    service: Service, browser: httpx.Client, provider: FakeProvider, users: Users, claims: dict[str, Any], reason: str
) -> None:
    provider.claims = claims
    seen = len(service.log("web"))
    page = enter(browser)
    assert page.status_code == 401
    assert "ID token" in why(page)
    assert not is_in(browser)
    assert users.listed() == []
    refusal = next(line for line in service.log("web")[seen:].splitlines() if "ID token" in line)
    assert reason in refusal, "whoever runs the service can read what was wrong"


@pytest.mark.parametrize("leeway", [30, -30])
def test_clocks_may_differ_a_little(browser: httpx.Client, provider: FakeProvider, leeway: int) -> None:
    now = int(time.time())
    provider.claims = {"iat": now + leeway, "exp": now + (leeway if leeway < 0 else 300)}
    assert enter(browser).status_code == 200


def test_an_audience_of_several_is_right_where_it_names_us_as_the_one_who_asked(
    browser: httpx.Client, provider: FakeProvider
) -> None:
    provider.claims = {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID}
    assert enter(browser).status_code == 200


@pytest.mark.parametrize("forgery", ["unsigned", "signed_with_the_public_key", "another key", "cut off", "not a token"])
def test_a_signature_that_is_not_the_providers_is_refused(
    browser: httpx.Client, provider: FakeProvider, users: Users, forgery: str
) -> None:
    def by_another_key(claims: dict[str, Any]) -> str:
        known, provider.key = provider.key, rsa_key()
        provider.key = type(known).import_key(provider.key.as_dict(private=True) | {"kid": known.kid})
        try:
            return provider.signed(claims)
        finally:
            provider.key = known

    provider.sign = {
        "unsigned": provider.unsigned,
        "signed_with_the_public_key": provider.signed_with_the_public_key,
        "another key": by_another_key,
        "cut off": lambda claims: provider.signed(claims).rpartition(".")[0] + ".",
        "not a token": lambda claims: "é",
    }[forgery]
    assert enter(browser).status_code == 401
    assert not is_in(browser)
    assert users.listed() == []
    provider.sign = provider.signed
    assert enter(browser).status_code == 200, "and the same with the right one is not"


def test_new_keys_are_taken_up_at_once_and_looked_for_once(browser: httpx.Client, provider: FakeProvider) -> None:
    enter(browser)
    provider.asked.clear()
    enter(browser)
    assert "/jwks" not in provider.asked, "known keys are not asked for again"
    for key in (rsa_key(), ec_key()):
        provider.rotate(key)
        provider.asked.clear()
        assert enter(browser).status_code == 200
        assert provider.asked.count("/jwks") == 1
    provider.key = rsa_key()
    provider.asked.clear()
    assert enter(browser).status_code == 401, "a key that the provider does not show"
    assert provider.asked.count("/jwks") == 1


def test_keys_that_are_no_use_keep_nobody_from_the_others(browser: httpx.Client, provider: FakeProvider) -> None:
    strange = [{"kty": "oct", "k": "AAAA", "kid": "a"}, {"kty": "RSA", "n": 5}, {"kty": "AKP"}, {}]
    encrypting = rsa_key().as_dict(private=False) | {"use": "enc", "kid": provider.key.kid}
    provider.published = [*strange, encrypting, *provider.published]
    assert enter(browser).status_code == 200


def test_an_answer_counts_once_in_the_browser_that_asked_for_it(
    service: Service, browser: httpx.Client, provider: FakeProvider, users: Users
) -> None:
    answer = go_out(browser)
    provider.asked.clear()
    with new_browser(service.port) as other:
        assert other.get(answer).status_code == 401, "no cookie"
        go_out(other)
        assert other.get(answer).status_code == 401, "the cookie of another sign-in"
        assert not is_in(other)
    wrong = answer.replace("state=", "state=x")
    assert browser.get(wrong).status_code == 401
    assert browser.get(answer.split("?")[0]).status_code == 401
    assert browser.get(re.sub(r"state=[^&]*&?", "", answer)).status_code == 401
    assert users.listed() == []
    assert "/token" not in provider.asked, "nothing of that was asked about"
    jar = {STATE_COOKIE: browser.cookies[STATE_COOKIE]}
    assert browser.get(answer).status_code == 200, "and none of it spoilt the right one"
    assert is_in(browser)
    with httpx.Client(base_url=browser.base_url, cookies=jar, trust_env=False) as again:
        provider.asked.clear()
        page = again.get(answer)
        assert page.status_code == 401, "brought a second time"
        assert provider.asked == [], "it is not even asked about"
        assert COOKIE not in page.cookies


def test_a_code_counts_once(browser: httpx.Client, provider: FakeProvider) -> None:
    answer = go_out(browser)
    assert browser.get(answer).status_code == 200
    browser.cookies.clear()
    replayed = re.sub(r"code=[^&]*", f"code={provider.codes[0]}", go_out(browser))
    assert browser.get(replayed).status_code == 401
    assert not is_in(browser)


def test_a_code_that_was_put_under_somebody_is_refused(
    service: Service, browser: httpx.Client, provider: FakeProvider
) -> None:
    """Without PKCE and the nonce a thief's code would sign the victim in as the thief (RFC 9700, section 4.5)."""
    with new_browser(service.port) as thief:
        go_out(thief)
    injected = re.sub(r"code=[^&]*", f"code={provider.codes[0]}", go_out(browser))
    assert browser.get(injected).status_code == 401
    assert not is_in(browser)


def test_a_refusal_of_the_providers_is_said_without_its_words(browser: httpx.Client, provider: FakeProvider) -> None:
    provider.error = "access_denied"
    page = enter(browser)
    assert page.status_code == 401
    assert "access_denied" in why(page)
    provider.error = "<script>alert(1)</script>"
    page = enter(browser)
    assert page.status_code == 401
    assert "alert(1)" not in page.text
    assert "because" not in page.text


def test_an_answer_of_another_provider_is_refused(browser: httpx.Client, provider: FakeProvider) -> None:
    provider.says_iss = "https://evil.example"
    assert enter(browser).status_code == 401
    provider.says_iss = provider.issuer
    assert enter(browser).status_code == 200


def test_nobody_takes_an_account_over(
    service: Service, browser: httpx.Client, provider: FakeProvider, users: Users
) -> None:
    users.add("Anna", "contributor", PASSWORD, now_ms())
    service.add_key("wire-reuters", "ingest")
    provider.user = {"sub": "1", "preferred_username": "first", "roles": ["editor"]}
    enter(browser)
    before = users.listed()
    for name in ("anna", " ANNA ", "First", "clock", "Local", "admin", "Wire-Reuters"):
        provider.user = {"sub": "2", "preferred_username": name, "roles": ["the-chief"]}
        browser.cookies.clear()
        page = enter(browser)
        assert page.status_code == 409, name
        assert "name" in why(page)
        assert not is_in(browser)
    assert users.listed() == before


@pytest.mark.parametrize("name", ["x" * 65, "two\nlines", "zero\u200bwidth"])
def test_a_name_that_will_not_do_is_refused(browser: httpx.Client, provider: FakeProvider, name: str) -> None:
    provider.user = {"sub": "1", "preferred_username": name, "roles": ["editor"]}
    assert enter(browser).status_code == 422
    assert not is_in(browser)


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ({"preferred_username": " Anna\u0301 ", "email": "anna@news.example"}, "Anná"),
        ({"preferred_username": "", "email": "anna@news.example", "email_verified": True}, "anna@news.example"),
        ({"email": "anna@news.example"}, "anna@news.example"),
        ({"email": "anna@news.example", "email_verified": False}, "1-2-3"),
        ({"preferred_username": ["a"], "email": 7}, "1-2-3"),
    ],
)
def test_the_name_is_the_providers_word(
    browser: httpx.Client, provider: FakeProvider, users: Users, user: dict[str, Any], name: str
) -> None:
    provider.user = {"sub": "1-2-3", "roles": ["editor"]} | user
    assert enter(browser).status_code == 200
    assert [each.name for each in users.listed()] == [name]
    provider.user["preferred_username"] = "renamed"
    assert enter(browser).status_code == 200
    assert [each.name for each in users.listed()] == [name], "what they did stays theirs by name"


@pytest.mark.parametrize("sub", ["", " ", "x" * 256])
def test_a_subject_that_is_none_is_refused(browser: httpx.Client, provider: FakeProvider, sub: str) -> None:
    provider.user = {"sub": sub, "preferred_username": "somebody", "roles": ["editor"]}
    assert enter(browser).status_code in (401, 422) or sub == " "
    assert is_in(browser) == (sub == " ")


def test_neither_the_way_there_nor_the_way_back_leads_elsewhere(browser: httpx.Client, provider: FakeProvider) -> None:
    for query in ("next=//evil.example", "redirect_uri=https://evil.example", "return_to=https:evil.example"):
        there = browser.get(f"/desk/oidc/start?{query}", follow_redirects=False)
        assert there.headers["location"].startswith(provider.issuer + "/authorize")
        assert "evil" not in there.headers["location"]
        answer = go_out(browser)
        page = browser.get(f"{answer}&{query}")
        assert page.status_code == 200
        assert "evil" not in page.text
        assert "location" not in page.headers
        browser.cookies.clear()
    for host in ("evil.example/x", "evil.example?", "a@b", "a b", 'x"y'):
        assert browser.get("/desk/oidc/start", headers={"host": host}, follow_redirects=False).status_code == 400


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_sites_page_begins_no_sign_in(browser: httpx.Client, site: str) -> None:
    page = browser.get("/desk/oidc/start", headers={"sec-fetch-site": site}, follow_redirects=False)
    assert page.status_code == 403
    for method in ("POST", "PUT", "DELETE"):
        for path in ("/desk/oidc/start", "/desk/oidc/callback"):
            assert browser.request(method, path).status_code == 405


def test_who_would_have_us_ask_the_provider_for_ever_must_wait(
    service: Service, browser: httpx.Client, provider: FakeProvider
) -> None:
    for _ in range(MOST_OF_ADDRESS):
        assert browser.get("/desk/oidc/start", follow_redirects=False).status_code == 303
    page = browser.get("/desk/oidc/start", follow_redirects=False)
    assert page.status_code == 429
    assert int(page.headers["retry-after"]) > 0
    assert "attempts" in why(page)
    elsewhere = {"x-forwarded-for": "203.0.113.7"}
    assert browser.get("/desk/oidc/start", headers=elsewhere, follow_redirects=False).status_code == 303
    forget_attempts(service)


def test_no_secret_is_logged_or_stored(
    service: Service, browser: httpx.Client, provider: FakeProvider, users: Users
) -> None:
    made: list[str] = []

    def remember(claims: dict[str, Any]) -> str:
        made.append(provider.signed(claims))
        return made[-1]

    provider.sign = remember
    answer = go_out(browser)
    waiting = repr(service.stored())
    state = parse_qs(urlsplit(answer).query)["state"][0]
    assert state not in waiting
    assert browser.cookies[STATE_COOKIE] not in waiting
    browser.get(answer)
    provider.claims = {"nonce": "wrong"}
    enter(browser)
    browser.get(re.sub(r"code=[^&]*", "code=made-up-code", go_out(browser)))
    provider.answers["/token"] = lambda: JSONResponse({"id_token": 7, "access_token": "an-access-token"})
    enter(browser)
    kept = service.log("web") + repr(service.stored())
    for secret in (*provider.codes, *made, state, CLIENT_SECRET, "made-up-code", "an-access-token"):
        assert secret not in kept


def test_a_provider_that_is_down_keeps_neither_the_service_down_nor_others_out(
    service: Service, browser: httpx.Client, users: Users
) -> None:
    users.add("local hand", "editor", PASSWORD, now_ms())
    down = f"http://127.0.0.1:{free_port()}"
    with inside(service, **settings_of(down)) as process, new_browser(process.port) as client:
        assert "Newsroom login" in client.get("/desk/sign-in").text
        page = client.get("/desk/oidc/start")
        assert page.status_code == 503
        assert int(page.headers["retry-after"]) > 0
        assert "Newsroom login cannot be reached" in why(page)
        assert 'name="password"' in page.text
        client.post("/desk/sign-in", data={"name": "local hand", "password": PASSWORD})
        assert is_in(client)


def test_a_provider_that_goes_down_under_way_is_said_and_one_that_comes_back_is_used(
    service: Service, browser: httpx.Client, provider: FakeProvider, users: Users
) -> None:
    for path in ("/token", "/jwks"):
        provider.rotate()
        provider.answers[path] = lambda: Response(status_code=502)
        page = enter(browser)
        assert page.status_code == 503
        assert "cannot be reached" in why(page)
        assert not is_in(browser)
        provider.answers.clear()

        def is_back() -> bool:
            forget_attempts(service)
            return enter(browser).status_code == 200

        until(is_back, "the provider to be used again")
        browser.cookies.clear()


WRONG_DISCOVERIES = {
    "endless arrays": lambda: Response(b"[" * 100_000),
    "no JSON": lambda: Response(b"<html>"),
    "not UTF-8": lambda: Response(b'{"issuer":"\xff"}'),
    "a list": lambda: JSONResponse([]),
    "nothing": lambda: JSONResponse({}),
    "a redirect": lambda: Response(status_code=302, headers={"location": "/elsewhere"}),
    "packed": lambda: Response(b"{}", headers={"content-encoding": "gzip"}),
    "an error": lambda: Response(status_code=500),
}


@pytest.mark.parametrize("wrong", WRONG_DISCOVERIES)
def test_a_discovery_document_that_makes_no_sense_is_said_to_make_none(
    service: Service, browser: httpx.Client, provider: FakeProvider, wrong: str
) -> None:
    provider.answers["/.well-known/openid-configuration"] = WRONG_DISCOVERIES[wrong]
    with inside(service, **settings_of(provider.issuer)) as process, new_browser(process.port) as client:
        page = client.get("/desk/oidc/start")
        assert page.status_code == 503
        assert "Newsroom login cannot be reached" in why(page)
    assert "/elsewhere" not in provider.asked


def test_a_document_without_end_is_not_read_to_its_end(
    service: Service, browser: httpx.Client, provider: FakeProvider
) -> None:
    provider.discovery = {"padding": "x" * LARGEST}
    with inside(service, **settings_of(provider.issuer)) as process, new_browser(process.port) as client:
        page = client.get("/desk/oidc/start", follow_redirects=False)
        assert page.status_code == 503
        assert f"at most {LARGEST} bytes" in why(page)


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://login.example"},
        {"token_endpoint": "http://login.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http://login.example/"},
    ],
)
def test_a_discovery_document_that_leads_astray_is_refused(
    service: Service, browser: httpx.Client, provider: FakeProvider, wrong: dict[str, str]
) -> None:
    provider.discovery = wrong
    with inside(service, **settings_of(provider.issuer)) as process, new_browser(process.port) as client:
        assert client.get("/desk/oidc/start", follow_redirects=False).status_code == 503


def test_other_set_ups_work_as_well(service: Service, browser: httpx.Client, provider: FakeProvider) -> None:
    """Client secret in the form, `iss` in each answer, a claim within a claim, our own names of roles, no name."""
    provider.discovery = {
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "authorization_response_iss_parameter_supported": True,
    }
    provider.user = {"sub": "1", "preferred_username": "deep", "realm_access": {"roles": ["x", "chief"]}}
    settings = settings_of(provider.issuer) | {"oidc_role_claim": "realm_access.roles", "oidc_roles": ""}
    with inside(service, **settings | {"oidc_name": ""}) as process, new_browser(process.port) as client:
        assert "Sign in with 127.0.0.1<" in client.get("/desk/sign-in").text
        assert enter(client).status_code == 401, "an answer that does not say whose it is"
        provider.says_iss = provider.issuer
        assert enter(client).status_code == 200
        assert "deep" in client.get("/desk").text
    provider.user = {"sub": "1", "preferred_username": "deep", "https://news.example/roles": "reporters"}
    settings = settings_of(provider.issuer) | {"oidc_role_claim": "https://news.example/roles"}
    with inside(service, **settings) as process, new_browser(process.port) as client:
        assert enter(client).status_code == 200


def test_the_way_back_is_by_the_public_address_where_one_is_configured(
    service: Service, browser: httpx.Client, provider: FakeProvider
) -> None:
    settings = settings_of(provider.issuer) | {"public_url": "https://desk.example/"}
    with inside(service, **settings) as process, new_browser(process.port) as client:
        there = client.get("/desk/oidc/start", follow_redirects=False)
        query = parse_qs(urlsplit(there.headers["location"]).query)
        assert query["redirect_uri"] == ["https://desk.example/desk/oidc/callback"]
        assert "secure" in there.headers["set-cookie"].lower()


def test_without_a_provider_nothing_of_it_is_there(service: Service, browser: httpx.Client) -> None:
    with inside(service) as process, new_browser(process.port) as client:
        assert "oidc" not in client.get("/desk/sign-in").text
        assert client.get("/desk/oidc/start").status_code == 404
        assert client.get("/desk/oidc/callback?code=1&state=2").status_code == 404


def test_the_roles_of_the_settings_are_those_of_the_desk() -> None:
    assert DESK_ROLES == STAFF


def test_who_comes_in_two_browsers_at_once_is_one_user(browser: httpx.Client, users: Users) -> None:
    def come(_: int) -> str:
        return users.come(("https://login.example", "1"), "somebody", "editor", now_ms()).created

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(come, range(8)))) == 1
    assert len(users.listed()) == 1
