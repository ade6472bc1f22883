"""Coming: sign-ins that have gone to the OpenID provider and are not back yet.

Redis keeps each under the hash of two secrets: one goes by way of the provider, the other stays in the browser's
cookie. Who has one of them only, or comes a second time, finds nothing.
"""

import hashlib
import secrets
from typing import cast

import msgspec

from service.errors import UnauthenticatedError
from service.store.connect import Store, at
from service.store.keys import coming

# How long somebody may take to sign in over there.
COMING_SECONDS = 600


class Coming(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer must fit. `before` is where the session that the browser had is kept."""

    nonce: str
    verifier: str
    redirect_uri: str
    before: str | None = None


class Comings:
    """Blocking, as all that editors do."""

    def __init__(self, redis: Store) -> None:
        self._redis = redis

    def put(self, state: str, given: Coming) -> str:
        """Keep one, and return the secret of its browser."""
        browser = secrets.token_urlsafe(24)
        key = _key(state, browser)
        at(self._redis, key).set(key, msgspec.json.encode(given), ex=COMING_SECONDS)
        return browser

    def take(self, state: str, browser: str) -> Coming:
        """Give one out, once.

        Raises:
            UnauthenticatedError: there is none for this answer in this browser.
        """
        key = _key(state, browser)
        found = cast(bytes | None, at(self._redis, key).getdel(key))
        if found is None:
            raise UnauthenticatedError(
                "expected the answer to a sign-in that began in this browser, at this address, within "
                f"{COMING_SECONDS // 60} minutes, got another or one that came before: begin again"
            )
        return msgspec.json.decode(found, type=Coming)


def _key(state: str, browser: str) -> str:
    # The first is hashed alone: no pair can be cut in another place.
    first = hashlib.sha256(state.encode()).hexdigest()
    return coming(hashlib.sha256(f"{first}{browser}".encode()).hexdigest())
