"""The desk's door: signing in, what a session may do, and what thieves of one may not."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from argon2 import PasswordHasher

from service.newsroom.auth import ALLOWED, CSRF_HEADER
from service.store.accounts import Role
from service.store.sessions import MOST_OF_BOTH, Sessions
from service.store.users import Users
from tests.integration.harness import DEADLINE_SECONDS, Service, now_ms

PASSWORD = "correct horse battery"
ROLES: tuple[Role, ...] = ("contributor", "editor", "chief")


@pytest.fixture
def users(service: Service) -> Users:
    users = Users(service.redis)
    for role in ROLES:
        if users.find(role) is None:
            users.add(role, role, PASSWORD, now_ms())
    return users


@pytest.fixture
def browser(service: Service, users: Users) -> Iterator[httpx.Client]:
    """A browser without a session, as far as HTTP goes."""
    for key in service.redis.scan_iter("sp:attempts:*"):
        service.redis.delete(key)
    with httpx.Client(
        base_url=f"http://127.0.0.1:{service.port}", timeout=DEADLINE_SECONDS, trust_env=False, follow_redirects=True
    ) as client:
        yield client


def sign_in(browser: httpx.Client, name: str, password: str = PASSWORD) -> httpx.Response:
    return browser.post("/desk/sign-in", data={"name": name, "password": password})


def csrf_of(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert found is not None, page.text[:500]
    return found[1]


def test_who_has_no_session_is_led_to_the_door(browser: httpx.Client) -> None:
    page = browser.get("/desk")
    assert page.url.path == "/desk/sign-in"
    assert 'name="password"' in page.text
    assert browser.get("/desk/board?edition=en").status_code == 401


def test_the_cookie_is_kept_from_scripts_and_other_sites(browser: httpx.Client) -> None:
    answer = browser.post("/desk/sign-in", data={"name": "editor", "password": PASSWORD}, follow_redirects=False)
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    answer = browser.post(
        "/desk/sign-in",
        data={"name": "editor", "password": PASSWORD},
        headers={"x-forwarded-proto": "https"},
        follow_redirects=False,
    )
    assert "secure" in answer.headers["set-cookie"].lower()


def test_a_wrong_name_and_a_wrong_password_are_answered_alike(browser: httpx.Client) -> None:
    wrong_password, wrong_name = sign_in(browser, "editor", "not the password"), sign_in(browser, "nobody", PASSWORD)
    assert wrong_password.status_code == wrong_name.status_code == 401
    alert = re.compile(r'role="alert">([^<]*)<')
    said = [found[1] for page in (wrong_password, wrong_name) if (found := alert.search(page.text))]
    assert len(said) == 2
    assert said[0] == said[1]


def test_who_guesses_must_wait(browser: httpx.Client) -> None:
    for _ in range(MOST_OF_BOTH):
        assert sign_in(browser, "editor", "not the password").status_code == 401
    refused = sign_in(browser, "editor")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert sign_in(browser, "chief").url.path == "/desk", "another name is not kept out"


def test_a_flood_of_passwords_is_checked_a_few_at_a_time_and_lets_editors_work(
    service: Service, browser: httpx.Client
) -> None:
    csrf = csrf_of(sign_in(browser, "editor"))

    def guess(number: int) -> int:
        # Each from another address, as a botnet does: no count of one address stops them.
        headers = {"x-forwarded-for": f"203.0.113.{number}"}
        url = f"http://127.0.0.1:{service.port}/desk/sign-in"
        form = {"name": f"guess{number}", "password": PASSWORD}
        return httpx.post(url, data=form, headers=headers, timeout=DEADLINE_SECONDS, trust_env=False).status_code

    with ThreadPoolExecutor(40) as pool:
        guesses = [pool.submit(guess, number) for number in range(1, 61)]
        line = {"edition": "en", "headline": "During the flood"}
        assert browser.post("/v1/items", json=line, headers={CSRF_HEADER: csrf}).status_code == 202
        assert {guess.result() for guess in guesses} <= {401, 503}


def test_a_session_publishes_by_the_api_with_the_proof_of_its_page(service: Service, browser: httpx.Client) -> None:
    csrf = csrf_of(sign_in(browser, "editor"))
    line = {"edition": "en", "headline": "From the desk"}
    accepted = browser.post("/v1/items", json=line, headers={CSRF_HEADER: csrf})
    assert accepted.status_code == 202, accepted.text
    record = service.http.get(f"/v1/items/{accepted.json()['id']}").json()
    assert record["changedBy"] == "editor"
    board = browser.get("/desk/board?edition=en").json()
    row = next(row for row in board["rows"] if row["id"] == accepted.json()["id"])
    assert row["reach"] == {"screens": 0, "confirmed": 0}
    assert "origin" not in row


@pytest.mark.parametrize("headers", [{}, {CSRF_HEADER: "0" * 64}, {CSRF_HEADER: "é".encode()}])
def test_without_the_proof_nothing_is_changed(browser: httpx.Client, headers: dict[str, str | bytes]) -> None:
    sign_in(browser, "editor")
    line = {"edition": "en", "headline": "Forged"}
    assert browser.post("/v1/items", json=line, headers=headers).status_code == 403
    assert browser.get("/v1/items?q=Forged").json()["items"] == []


def test_the_proof_of_another_session_is_none(browser: httpx.Client) -> None:
    other = csrf_of(sign_in(browser, "chief"))
    browser.cookies.clear()
    sign_in(browser, "editor")
    line = {"edition": "en", "headline": "Forged"}
    assert browser.post("/v1/items", json=line, headers={CSRF_HEADER: other}).status_code == 403


@pytest.mark.parametrize(
    "foreign", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}]
)
def test_another_sites_page_can_do_nothing(browser: httpx.Client, foreign: dict[str, str]) -> None:
    csrf = csrf_of(sign_in(browser, "editor"))
    line = {"edition": "en", "headline": "Forged"}
    assert browser.post("/v1/items", json=line, headers={CSRF_HEADER: csrf} | foreign).status_code == 403
    assert browser.post("/desk/sign-out", data={"csrf": csrf}, headers=foreign).status_code == 403
    form = {"name": "chief", "password": PASSWORD}
    assert browser.post("/desk/sign-in", data=form, headers=foreign).status_code == 403
    assert browser.get("/desk").url.path == "/desk", "and the session goes on"


def test_a_stolen_cookie_is_worth_nothing_after_signing_out(browser: httpx.Client) -> None:
    csrf = csrf_of(sign_in(browser, "chief"))
    stolen = dict(browser.cookies)
    browser.post("/desk/sign-out", data={"csrf": csrf})
    thief = httpx.Client(base_url=browser.base_url, cookies=stolen, trust_env=False)
    with thief:
        assert thief.get("/desk/board?edition=en").status_code == 401
        line = {"edition": "en", "headline": "Stolen"}
        assert thief.post("/v1/items", json=line, headers={CSRF_HEADER: csrf}).status_code == 401


def test_signing_in_again_ends_the_browsers_earlier_session(browser: httpx.Client) -> None:
    sign_in(browser, "editor")
    before = dict(browser.cookies)
    sign_in(browser, "editor")
    with httpx.Client(base_url=browser.base_url, cookies=before, trust_env=False) as thief:
        assert thief.get("/desk/board?edition=en").status_code == 401


def test_disabling_a_user_or_changing_the_password_ends_every_session(
    browser: httpx.Client, users: Users, service: Service
) -> None:
    users.add("leaver", "editor", PASSWORD, now_ms())
    sign_in(browser, "leaver")
    assert browser.get("/desk/board?edition=en").status_code == 200
    users.set_password("leaver", "another battery staple")
    assert browser.get("/desk/board?edition=en").status_code == 401
    sign_in(browser, "leaver", "another battery staple")
    assert browser.get("/desk/board?edition=en").status_code == 200
    users.set_disabled("leaver", True)
    assert browser.get("/desk/board?edition=en").status_code == 401
    users.set_disabled("leaver", False)
    assert browser.get("/desk/board?edition=en").status_code == 401, "whoever has the old cookie stays out"


def test_a_hash_that_is_renewed_ends_no_session(browser: httpx.Client, users: Users) -> None:
    users.add("old hand", "editor", PASSWORD, now_ms())
    weak = Users(users._redis)
    weak._hasher = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
    weak.set_password("old hand", PASSWORD)
    stamp = users.get("old hand").stamp
    sign_in(browser, "old hand")
    assert "m=1024" not in users.get("old hand").password
    assert users.get("old hand").stamp == stamp


def test_the_browsers_word_counts_where_a_proxy_changed_the_host(browser: httpx.Client) -> None:
    csrf = csrf_of(sign_in(browser, "editor"))
    seen = {"origin": "https://desk.example", "sec-fetch-site": "same-origin", CSRF_HEADER: csrf}
    line = {"edition": "en", "headline": "By way of a proxy"}
    assert browser.post("/v1/items", json=line, headers=seen).status_code == 202


def test_a_role_that_is_taken_away_is_gone_at_once(browser: httpx.Client, users: Users) -> None:
    users.add("promoted", "chief", PASSWORD, now_ms())
    csrf = csrf_of(sign_in(browser, "promoted"))
    users.set_role("promoted", "contributor")
    line = {"edition": "en", "headline": "No longer", "state": "live"}
    assert browser.post("/v1/items", json=line, headers={CSRF_HEADER: csrf}).status_code == 403


@pytest.mark.parametrize("role", ROLES)
def test_each_role_does_what_it_may_and_no_more(service: Service, browser: httpx.Client, role: str) -> None:
    csrf = csrf_of(sign_in(browser, role))
    for action, roles in ALLOWED.items():
        line = service.http.post("/v1/items", json={"edition": "en", "headline": action, "state": "draft"}).json()
        answer = browser.post(f"/v1/items/{line['id']}/{action}", json={}, headers={CSRF_HEADER: csrf})
        assert (answer.status_code == 403) == (role not in roles), (action, answer.text)


def test_a_user_of_one_edition_sees_and_changes_no_other(browser: httpx.Client, users: Users) -> None:
    users.add("arabic desk", "editor", PASSWORD, now_ms(), editions=("ar",))
    page = sign_in(browser, "arabic desk")
    assert 'dir="rtl"' in page.text
    assert browser.get("/desk?edition=en").status_code == 403
    assert browser.get("/desk/board?edition=en").status_code == 403
    line = {"edition": "en", "headline": "Not mine"}
    assert browser.post("/v1/items", json=line, headers={CSRF_HEADER: csrf_of(page)}).status_code == 403


def test_a_link_signs_in_once(service: Service, browser: httpx.Client) -> None:
    ticket = Sessions(service.redis, Users(service.redis)).make_ticket()
    for _ in range(2):
        assert ticket in browser.get(f"/desk/sign-in?ticket={ticket}").text, "looking at it does not use it up"
    page = browser.post("/desk/sign-in", data={"ticket": ticket})
    assert page.url.path == "/desk"
    assert "chief" in page.text
    browser.cookies.clear()
    assert browser.post("/desk/sign-in", data={"ticket": ticket}).status_code == 401


def test_redis_holds_nothing_that_signs_in(service: Service, browser: httpx.Client) -> None:
    ticket = Sessions(service.redis, Users(service.redis)).make_ticket()
    sign_in(browser, "editor")
    token = dict(browser.cookies)["stoppress-desk"].rpartition(".")[0]
    held = repr(service.stored())
    assert ticket not in held
    assert token not in held
    assert PASSWORD not in held


@pytest.mark.parametrize("cookie", ["", "x", "a.b", "." * 3000, "tok\u00e9n.sig".encode("utf-8").decode("latin-1")])
def test_a_cookie_that_is_none_is_refused(service: Service, cookie: str) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", trust_env=False) as client:
        headers = [(b"cookie", b"stoppress-desk=" + cookie.encode("latin-1"))]
        assert client.get("/desk/board?edition=en", headers=headers).status_code == 401
        assert client.get("/v1/items", headers=headers).status_code == 401


def test_pages_of_the_desk_are_strict_and_not_kept(browser: httpx.Client) -> None:
    for page in (browser.get("/desk/sign-in"), sign_in(browser, "editor")):
        policy = page.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert page.headers["cache-control"] == "no-store"
        assert "<script>" not in page.text
        assert " style=" not in page.text


def test_markup_in_a_name_stays_text(browser: httpx.Client, users: Users) -> None:
    name = "<script>alert(1)</script>"
    users.add(name, "editor", PASSWORD, now_ms())
    for page in (sign_in(browser, name, "wrong password"), sign_in(browser, name)):
        assert name not in page.text
        assert "&lt;script&gt;" in page.text


def test_a_form_that_is_too_large_is_refused(browser: httpx.Client) -> None:
    assert browser.post("/desk/sign-in", data={"name": "x" * 5000}).status_code == 413
