"""The whole URL table, called by every role: who may, may, and nobody else. A new address must say here who may."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.routing import Mount, Route, WebSocketRoute

from service.newsroom.auth import ALLOWED, COOKIE, CSRF_HEADER
from service.routes import routes
from service.store.accounts import ROLES
from service.store.sessions import Sessions
from service.store.users import Users
from tests.integration.harness import DEADLINE_SECONDS, Service, now_ms

PASSWORD = "correct horse battery"
STRANGER = "stranger"
PEOPLE = ("contributor", "editor", "chief")
# Each caller: nobody, an API key of each role, and somebody of each role at the desk.
CALLERS = (STRANGER, *ROLES, *(f"{role} at the desk" for role in PEOPLE))

EVERYONE = frozenset(CALLERS)
AT_DESK = frozenset(f"{role} at the desk" for role in PEOPLE)


def roles(*names: str) -> frozenset[str]:
    return frozenset(caller for caller in CALLERS if caller.removesuffix(" at the desk") in names)


STAFF = roles(*PEOPLE)
LINE = {"edition": "en", "headline": "A line", "state": "draft"}
DOCUMENT = {"uri": "urn:role", "language": "en", "headline": "A wire's line", "version": "1"}
# What is called, with which body, and who may. `{id}` is a new draft each time.
TABLE: dict[tuple[str, str], tuple[object, frozenset[str]]] = {
    ("GET", "/"): (None, EVERYONE),
    ("GET", "/v1/editions"): (None, EVERYONE),
    ("GET", "/v1/editions/{edition}/ticker"): (None, EVERYONE),
    ("GET", "/v1/editions/{edition}/socket"): (None, EVERYONE),
    ("GET", "/v1/editions/{edition}/feed.atom"): (None, EVERYONE),
    ("GET", "/v1/editions/{edition}/feed.json"): (None, EVERYONE),
    ("GET", "/v1/editions/{edition}/ninjs"): (None, EVERYONE),
    ("POST", "/v1/items"): (LINE, STAFF),
    ("GET", "/v1/items"): (None, STAFF),
    ("GET", "/v1/items/{id}"): (None, STAFF),
    ("PATCH", "/v1/items/{id}"): ({"change": "update", "headline": "Another"}, STAFF),
    ("POST", "/v1/ingest/ninjs"): (DOCUMENT, roles("ingest", "editor", "chief")),
    ("GET", "/desk"): (None, AT_DESK),
    ("GET", "/desk/board"): (None, AT_DESK),
    ("GET", "/desk/wall"): (None, AT_DESK),
    # No edition is named: who may listen is told so, and nobody else gets that far.
    ("GET", "/desk/stream"): (None, AT_DESK),
    ("POST", "/desk/open"): ({"edition": "en", "tab": "tab", "id": "item"}, AT_DESK),
    ("POST", "/desk/jobs/{id}/retry"): (None, frozenset({"editor at the desk", "chief at the desk"})),
    ("POST", "/desk/similar"): ({"edition": "en", "headline": "A line"}, AT_DESK),
    ("GET", "/desk/search"): (None, AT_DESK),
    ("GET", "/desk/items/{id}"): (None, AT_DESK),
    ("GET", "/desk/items/{id}/report.csv"): (None, AT_DESK),
    ("GET", "/desk/audit"): (None, AT_DESK),
    ("GET", "/desk/audit/export"): (None, frozenset({"chief at the desk"})),
    ("GET", "/desk/sign-in"): (None, EVERYONE),
    ("POST", "/desk/sign-in"): (None, frozenset()),
    ("POST", "/desk/sign-out"): (None, EVERYONE),
    # Nobody's here, where no provider is configured: 404.
    ("GET", "/desk/oidc/start"): (None, EVERYONE),
    ("GET", "/desk/oidc/callback"): (None, EVERYONE),
    ("GET", "/healthz"): (None, EVERYONE),
    ("GET", "/readyz"): (None, EVERYONE),
    ("GET", "/metrics"): (None, EVERYONE),
    **{("POST", f"/v1/items/{{id}}/{action}"): ({}, roles(*allowed)) for action, allowed in ALLOWED.items()},
}


@pytest.fixture(scope="module")
def callers(service: Service) -> Iterator[dict[str, httpx.Client]]:
    users, clients = Users(service.redis), {}
    for caller in CALLERS:
        client = httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=DEADLINE_SECONDS, trust_env=False)
        role = caller.removesuffix(" at the desk")
        if caller in AT_DESK:
            sessions = Sessions(service.redis, users)
            users.add(role, role, PASSWORD, now_ms())  # type: ignore[arg-type]
            cookie = sessions.sign_in(role, PASSWORD, None, now_ms())
            client.headers.update({"cookie": f"{COOKIE}={cookie}", CSRF_HEADER: sessions.csrf(cookie)})
        elif caller != STRANGER:
            client.headers.update(service.add_key(role, role))  # type: ignore[arg-type]
        clients[caller] = client
    yield clients
    for client in clients.values():
        client.close()


def addresses() -> set[tuple[str, str]]:
    """Every method and path of the URL table, an action each."""
    found = set()
    for route in routes():
        if isinstance(route, Mount | WebSocketRoute):
            continue  # files that anyone may have; the socket is test_refusals.py's
        assert isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}:
            paths = [route.path]
            if "{action}" in route.path:
                paths = [route.path.replace("{action}", action) for action in ALLOWED]
            found |= {(method, path) for path in paths}
    return found


def test_the_table_names_every_address() -> None:
    assert set(TABLE) == addresses()


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(("method", "path"), sorted(TABLE), ids=lambda value: re.sub(r"\W+", "-", value))
def test_who_may_may_and_nobody_else(
    service: Service, callers: dict[str, httpx.Client], method: str, path: str, caller: str
) -> None:
    body, allowed = TABLE[method, path]
    if "{id}" in path:
        draft = service.http.post("/v1/items", json=LINE).json()["id"]
        path = path.replace("{id}", draft)
    path = path.replace("{edition}", "en") + ("?edition=en" if path == "/desk/board" else "")
    given: dict[str, Any] = {}
    if path.startswith("/desk/sign"):
        given["data"] = {"name": caller, "password": "x", "csrf": callers[caller].headers.get(CSRF_HEADER, "")}
    elif body is not None:
        given["json"] = body
    answer = callers[caller].request(method, path, headers={"if-match": '"1"'}, **given)
    refused = answer.status_code in (401, 403)
    if answer.status_code == 303 and not path.startswith("/desk/sign"):
        refused = answer.headers["location"] == "/desk/sign-in"
    assert refused == (caller not in allowed), (answer.status_code, answer.text[:300])
    if path == "/desk/sign-out" and caller in AT_DESK:
        role = caller.removesuffix(" at the desk")
        sessions = Sessions(service.redis, Users(service.redis))
        cookie = sessions.sign_in(role, PASSWORD, None, now_ms())
        callers[caller].headers.update({"cookie": f"{COOKIE}={cookie}", CSRF_HEADER: sessions.csrf(cookie)})
