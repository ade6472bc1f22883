"""Desk sso: signing in by way of an OpenID provider, there and back. Oidc says who came, Users lets them in."""

from typing import TYPE_CHECKING, NamedTuple

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from service.errors import (
    ForbiddenError,
    NotFoundError,
    StoppressError,
    TooManyError,
    UnauthenticatedError,
    UnavailableError,
)
from service.newsroom import auth
from service.newsroom.api import address_of, in_thread
from service.newsroom.queue import Newsroom, now_ms
from service.store.coming import COMING_SECONDS, Comings
from service.store.sessions import Sessions
from service.store.users import Users
from service.web.desk import give_session, sign_in_page
from service.web.own import own_url
from service.web.pages import render_signed_in
from service.web.visitor import PRIVATE

if TYPE_CHECKING:
    from service.newsroom.oidc import Identity, Oidc

# Lax: the way back begins on the provider's page, where a browser leaves the desk's own, strict cookie at home.
COOKIE, COOKIE_PATH = "stoppress-coming", "/desk/oidc"
CALLBACK = "/desk/oidc/callback"
# By this name the environment's key acts.
ADMIN = "admin"

log = structlog.get_logger(__name__)


class Sso(NamedTuple):
    """What signing in by way of a provider takes."""

    oidc: "Oidc"
    comings: Comings
    users: Users
    public_url: str | None


async def begin(request: Request) -> Response:
    """`GET /desk/oidc/start`: to the provider, with what its answer must bring back."""
    sso = _sso(request)
    # No other page may begin it: only then the cookie tells whose session ends with it.
    auth.require_own_page(request)
    sessions: Sessions = request.state.sessions
    redirect_uri = (sso.public_url or own_url(request)) + CALLBACK
    cookie = auth.cookie_of(request)
    try:
        await in_thread(sessions.count, address_of(request))
        before = await in_thread(sessions.place, cookie) if cookie is not None else None
        url, state, given = await sso.oidc.leave(redirect_uri, before)
        browser = await in_thread(sso.comings.put, state, given)
    except (TooManyError, UnavailableError) as error:
        return sign_in_page(request, error=error)
    response = RedirectResponse(url, 303, PRIVATE)
    response.set_cookie(
        COOKIE,
        browser,
        max_age=COMING_SECONDS,
        path=COOKIE_PATH,
        secure=redirect_uri.startswith("https:"),
        httponly=True,
        samesite="lax",
    )
    return response


async def finish(request: Request) -> Response:
    """`GET /desk/oidc/callback`: back from the provider. What came must fit what this browser went with."""
    sso = _sso(request)
    answer = {name: value[:4_096] for name, value in request.query_params.items()}
    try:
        given = await in_thread(sso.comings.take, answer.get("state", ""), request.cookies.get(COOKIE, ""))
    except (UnauthenticatedError, UnavailableError) as error:
        # The cookie stays: another site's link must not spoil a sign-in that is under way.
        return sign_in_page(request, error=error)
    try:
        who = await sso.oidc.identify(answer, given)
        session = await in_thread(_admit, request, sso, who, given.before)
    except StoppressError as error:
        response = sign_in_page(request, error=error)
    else:
        # No redirect: the browser would follow it as a part of the way that the provider began, without the new cookie,
        # which is strict. From a page of ours it goes on with it.
        response = HTMLResponse(render_signed_in(), headers=PRIVATE)
        give_session(request, response, session)
    response.delete_cookie(COOKIE, path=COOKIE_PATH, httponly=True, samesite="lax")
    return response


def _admit(request: Request, sso: Sso, who: "Identity", before: str | None) -> str:
    """Blocking: the cookie of a session for whom the provider vouches.

    Raises:
        ForbiddenError, ConflictError, InvalidFieldError: not here.
    """
    newsroom: Newsroom = request.state.newsroom
    sessions: Sessions = request.state.sessions
    if who.role is None:
        sso.users.turn_away(who.subject)
        provider = sso.oidc.provider
        raise ForbiddenError(
            f"expected a role at the desk, got none from {provider.name}. Ask whoever gives out roles there for one of "
            f"{', '.join(name for name, _ in provider.roles)}, in the claim {provider.role_claim} of the ID token"
        )
    keys = [ADMIN, *(account.name for account in newsroom.accounts.listed())]
    user = sso.users.come(who.subject, who.name, who.role, now_ms(), taken=keys)
    if before is not None:
        # Whoever had the browser before is out, whatever copies there are.
        sessions.end(before)
    log.info("signed in by OpenID", name=user.name, role=user.role)
    return sessions.open(user, address_of(request), now_ms())


def _sso(request: Request) -> Sso:
    sso: Sso | None = request.state.sso
    if sso is None:
        raise NotFoundError("expected a service with an OpenID provider: STOPPRESS_OIDC_ISSUER names none")
    return sso
