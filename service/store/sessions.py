"""Sessions: who is signed in at the desk. Redis keeps a hash of each token, so that what it holds signs nobody in.

A cookie carries the token, signed: what we did not make is refused without a question to Redis. A session ends by
itself after a shift, and at once when its user signs out, is disabled or gets another password.
"""

import hashlib
import hmac
import secrets
from typing import cast

import msgspec
from itsdangerous import BadSignature, Signer

from service.domain.instant import format_ms
from service.errors import TooManyError, UnauthenticatedError
from service.store.accounts import LOCAL, Account
from service.store.connect import Store, at
from service.store.keys import DESK_SECRET, attempts, session, ticket
from service.store.users import User, Users

SESSION_SECONDS = 12 * 3600
TICKET_SECONDS = 3600
# Attempts within a quarter of an hour: from one address, for one name from there, and for one name from anywhere.
# The last is high, so that a stranger cannot keep an editor out.
ATTEMPT_SECONDS = 900
MOST_OF_ADDRESS, MOST_OF_BOTH, MOST_OF_NAME = 30, 8, 200


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One sign-in. It is over when `stamp` is the user's no more."""

    name: str
    stamp: str
    started: str
    address: str | None = None


class Sessions:
    """Blocking, as all that editors do: the web process calls it in a thread."""

    def __init__(self, redis: Store, users: Users) -> None:
        self._redis = redis
        self._users = users
        self._secret: bytes | None = None

    def sign_in(self, name: str, password: str, address: str | None, now_ms: int) -> str:
        """Check a password and return the cookie of a new session.

        Raises:
            UnauthenticatedError: no such user, or not the password; it does not say which.
            TooManyError: too many were wrong of late.
        """
        self._attempt(name, address)
        user = self._users.authenticate(name, password)
        self._forget(name, address)
        return self._start(user.name, user.stamp, address, now_ms)

    def make_ticket(self) -> str:
        """A one-time way in for whoever started the service: they could read all of Redis as well."""
        token = secrets.token_urlsafe(24)
        at(self._redis, ticket(_digest(token))).set(ticket(_digest(token)), b"1", ex=TICKET_SECONDS)
        return token

    def redeem(self, token: str, address: str | None, now_ms: int) -> str:
        """Exchange a ticket for the cookie of a chief's session.

        Raises:
            UnauthenticatedError: it is none, or was used.
            TooManyError: too many were wrong of late.
        """
        self._attempt(LOCAL, address)
        key = ticket(_digest(token))
        if not at(self._redis, key).delete(key):
            raise UnauthenticatedError(
                "expected a sign-in link that was not used, got one that was, or is older than an hour: "
                "`stoppress users link` makes another"
            )
        self._forget(LOCAL, address)
        return self._start(LOCAL, "", address, now_ms)

    def count(self, address: str | None) -> None:
        """Count one who goes to the OpenID provider, and would have us ask it.

        Raises:
            TooManyError: too many came from there of late.
        """
        self._require_few(self._counted("", address)[:1])

    def open(self, user: User, address: str | None, now_ms: int) -> str:
        """The cookie of a new session for whom somebody else has vouched."""
        return self._start(user.name, user.stamp, address, now_ms)

    def account(self, cookie: str) -> Account:
        """Whose session this is, with the role that they have now. Asked for each call: a revoked one stops at once.

        Raises:
            UnauthenticatedError: it is nobody's any more.
        """
        key = session(_digest(self._token(cookie)))
        found = cast(bytes | None, at(self._redis, key).get(key))
        if found is not None:
            given = msgspec.json.decode(found, type=Session)
            if given.name == LOCAL:
                return Account(name=LOCAL, role="chief", created=given.started)
            user = self._users.find(given.name)
            if user is not None and not user.disabled and user.stamp == given.stamp:
                return user.account
        raise UnauthenticatedError("expected a session that lasts, got one that has ended: sign in again")

    def sign_out(self, cookie: str) -> None:
        """End a session: a copy of its cookie is worth nothing from now on."""
        place = self.place(cookie)
        if place is not None:
            self.end(place)

    def place(self, cookie: str) -> str | None:
        """Where Redis keeps a session, which says nothing that signs anybody in; None for what is no cookie of ours."""
        try:
            return session(_digest(self._token(cookie)))
        except UnauthenticatedError:
            return None

    def end(self, place: str) -> None:
        """End the session that is kept there."""
        at(self._redis, place).delete(place)

    def csrf(self, cookie: str) -> str:
        """What a page of this session sends along with each change; no other page can know it."""
        return hmac.new(self._key(), b"csrf\n" + cookie.encode(), hashlib.sha256).hexdigest()

    def check_csrf(self, cookie: str, given: str | None) -> bool:
        """Whether `given` is this session's."""
        return hmac.compare_digest(self.csrf(cookie).encode(), (given or "").encode())

    def _start(self, name: str, stamp: str, address: str | None, now_ms: int) -> str:
        token = secrets.token_urlsafe(32)
        key = session(_digest(token))
        made = Session(name=name, stamp=stamp, started=format_ms(now_ms), address=address)
        at(self._redis, key).set(key, msgspec.json.encode(made), ex=SESSION_SECONDS)
        return self._signer().sign(token).decode()

    def _token(self, cookie: str) -> str:
        try:
            return self._signer().unsign(cookie).decode()
        except (BadSignature, UnicodeError):
            raise UnauthenticatedError("expected a session's cookie, got another") from None

    def _signer(self) -> Signer:
        return Signer(self._key(), salt="stoppress.desk", digest_method=hashlib.sha256)

    def _key(self) -> bytes:
        """The secret that all web processes share, made by the first."""
        if self._secret is None:
            redis = at(self._redis, DESK_SECRET)
            redis.set(DESK_SECRET, secrets.token_hex(32), nx=True)
            self._secret = cast(bytes, redis.get(DESK_SECRET))
        return self._secret

    def _attempt(self, name: str, address: str | None) -> None:
        """Count before looking: who asks a thousand times at once is counted a thousand times."""
        self._require_few(self._counted(name, address))

    def _require_few(self, counted: list[tuple[str, int]]) -> None:
        for key, most in counted:
            redis = at(self._redis, key)
            with redis.pipeline() as pipe:
                pipe.set(key, 0, nx=True, ex=ATTEMPT_SECONDS)
                pipe.incr(key)
                pipe.ttl(key)
                _, count, left = pipe.execute()
            if count > most:
                raise TooManyError(
                    f"expected at most {most} attempts in {ATTEMPT_SECONDS // 60} minutes, got more: "
                    f"again in {max(left, 1) // 60 + 1} minutes",
                    retry_after=max(left, 1),
                )

    def _forget(self, name: str, address: str | None) -> None:
        for key, most in self._counted(name, address):
            if most != MOST_OF_ADDRESS:
                at(self._redis, key).delete(key)

    def _counted(self, name: str, address: str | None) -> list[tuple[str, int]]:
        who, where = name.strip().casefold() or "-", address or "-"
        return [
            (attempts(_digest(f"address {where}")), MOST_OF_ADDRESS),
            (attempts(_digest(f"both {where} {who}")), MOST_OF_BOTH),
            (attempts(_digest(f"name {who}")), MOST_OF_NAME),
        ]


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
