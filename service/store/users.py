"""Users: people who sign in at the desk. Redis holds a hash of each password (argon2id, RFC 9106), never the password.

A user is one field of one hash, named by the casefolded name: nobody can pose as `Anna` beside `anna`.
"""

import secrets
import unicodedata
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import cached_property
from typing import cast

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from redis import Redis, WatchError

from service.domain.instant import format_ms
from service.errors import (
    ConflictError,
    ForbiddenError,
    InvalidFieldError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from service.store.accounts import STAFF, Account, Role, require_free
from service.store.connect import Store, at
from service.store.keys import USERS

# NIST SP 800-63B, section 5.1.1.2: length counts, rules of composition do not.
SHORTEST, LONGEST = 12, 256
LONGEST_NAME = 64
# Each failed try means that somebody else's change went through, so many in a row mean that something is wrong.
MOST_TRIES = 100


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person. `editions` limits them (empty: all); `password` is the argon2id hash.

    `stamp` is in each of their sessions; those with another are over. `subject` is of those who come from an OpenID
    provider and have no password: its issuer, and what that calls them for ever (OpenID Connect Core 1.0, section 5.7).
    """

    name: str
    role: Role
    created: str
    editions: tuple[str, ...] = ()
    password: str = ""
    stamp: str = ""
    disabled: bool = False
    subject: tuple[str, str] | None = None

    @property
    def account(self) -> Account:
        """What they may do."""
        return Account(name=self.name, role=self.role, created=self.created, editions=self.editions)

    def __repr__(self) -> str:
        """What a log may show: never the hash."""
        return f"User(name={self.name!r}, role={self.role!r}, disabled={self.disabled!r})"


class Users:
    """The users in Redis. Blocking."""

    def __init__(self, redis: Store) -> None:
        self._redis: Redis = at(redis, USERS)
        self._hasher = PasswordHasher()

    def add(self, name: str, role: Role, password: str, now_ms: int, *, editions: tuple[str, ...] = ()) -> User:
        """Raises:
        ConflictError: the name is taken, or the service's own.
        InvalidFieldError: the name, the role or the password will not do.
        """
        name, role = _name(name), _role(role)
        require_free(name)
        hashed = self._hasher.hash(_password(password))
        created = format_ms(now_ms)
        user = User(name=name, role=role, created=created, editions=editions, password=hashed, stamp=_stamp())
        if not self._redis.hsetnx(USERS, name.casefold(), msgspec.json.encode(user)):
            raise ConflictError(f"expected a new name, got {name!r}, which a user has")
        return user

    def authenticate(self, name: str, password: str) -> User:
        """Check a password. A name that nobody has costs the same work, so that the time says nothing either.

        Raises:
            UnauthenticatedError: it does not say what was wrong.
        """
        user = self.find(name)
        # Who has no password is checked against nobody's, as who has no account.
        known, right = user is not None and not user.disabled and bool(user.password), False
        hashed = user.password if user is not None and known else self._nobodys
        with suppress(VerificationError, InvalidHashError):
            self._hasher.verify(hashed, unicodedata.normalize("NFKC", password[: LONGEST + 1]))
            right = known
        if user is None or not right:
            raise _refused()
        if self._hasher.check_needs_rehash(user.password):
            return self._renew(user, password)
        return user

    def find(self, name: str) -> User | None:
        """The user of a name, or None."""
        found = cast(bytes | None, self._redis.hget(USERS, unicodedata.normalize("NFC", name.strip()).casefold()))
        return msgspec.json.decode(found, type=User) if found is not None else None

    def get(self, name: str) -> User:
        """Raises:
        NotFoundError: nobody has the name.
        """
        user = self.find(name)
        if user is None:
            raise _unknown(name)
        return user

    def listed(self) -> list[User]:
        """Every user, by name."""
        raws = cast(list[bytes], self._redis.hvals(USERS))
        return sorted((msgspec.json.decode(raw, type=User) for raw in raws), key=lambda user: user.name.casefold())

    def come(
        self, subject: tuple[str, str], name: str, role: Role, now_ms: int, *, taken: Collection[str] = ()
    ) -> User:
        """Let in whom an OpenID provider vouches for, with the role that it says: as the account that they have, by the
        name that this has, else with a new one of the name that the provider says. `taken`: names of others than users.

        Raises:
            ForbiddenError: the account is disabled.
            ConflictError: the name is somebody else's, or the service's own.
            InvalidFieldError: the name will not do.
        """
        role = _role(role)

        def admit() -> User:
            # Read once: who comes twice at once would else find the name taken, by themselves.
            known = self.listed()
            user = next((user for user in known if user.subject == subject), None)
            if user is None:
                others = {other.casefold() for other in (*taken, *(user.name for user in known))}
                return _newcomer(subject, name, role, now_ms, others)
            if user.disabled:
                raise ForbiddenError(f"expected an account that is in use, got that of {user.name}, which is disabled")
            return msgspec.structs.replace(user, role=role)

        return self._write(admit)

    def turn_away(self, subject: tuple[str, str]) -> None:
        """End the sessions of whom an OpenID provider gives no role at the desk any more."""
        user = next((user for user in self.listed() if user.subject == subject), None)
        if user is not None:
            with suppress(NotFoundError):
                self._edit(user.name, lambda user: msgspec.structs.replace(user, stamp=_stamp()))

    def set_password(self, name: str, password: str) -> User:
        """Give a user another password; every session of theirs ends with it.

        Raises:
            NotFoundError, InvalidFieldError
            ConflictError: the user comes from an OpenID provider, which would be gone round.
        """
        hashed = self._hasher.hash(_password(password))

        def change(user: User) -> User:
            if user.subject is not None:
                raise ConflictError(f"expected a user with a password here, got {user.name!r}, who signs in elsewhere")
            return msgspec.structs.replace(user, password=hashed, stamp=_stamp())

        return self._edit(name, change)

    def set_role(self, name: str, role: Role) -> User:
        """Raises:
        NotFoundError: nobody has the name.
        InvalidFieldError: nobody at a desk has the role.
        """
        role = _role(role)
        return self._edit(name, lambda user: msgspec.structs.replace(user, role=role))

    def set_disabled(self, name: str, disabled: bool) -> User:
        """Keep a user out, or let them in again; what sessions they had stay over.

        Raises:
            NotFoundError: nobody has the name.
        """
        return self._edit(name, lambda user: msgspec.structs.replace(user, disabled=disabled, stamp=_stamp()))

    def remove(self, name: str) -> None:
        """Raises:
        NotFoundError: nobody has the name.
        """
        if not self._redis.hdel(USERS, unicodedata.normalize("NFC", name.strip()).casefold()):
            raise _unknown(name)

    def _renew(self, seen: User, password: str) -> User:
        """Hash a password that was right with today's parameters.

        Raises:
            UnauthenticatedError: the user was changed while the password was checked, so it may be right no more.
        """
        hashed = self._hasher.hash(unicodedata.normalize("NFKC", password))

        def change(user: User) -> User:
            # Writing anyway would bring a password back that somebody has just replaced.
            if user.password != seen.password or user.disabled:
                raise _refused()
            return msgspec.structs.replace(user, password=hashed)

        try:
            return self._edit(seen.name, change)
        except NotFoundError:
            raise _refused() from None

    def _edit(self, name: str, change: Callable[[User], User]) -> User:
        return self._write(lambda: change(self.get(name)))

    def _write(self, decide: Callable[[], User]) -> User:
        """Read, decide and write, over again where somebody else was quicker."""
        with self._redis.pipeline() as pipe:
            for _ in range(MOST_TRIES):
                pipe.watch(USERS)  # type: ignore[no-untyped-call]
                user = decide()
                pipe.multi()
                pipe.hset(USERS, user.name.casefold(), msgspec.json.encode(user))
                try:
                    pipe.execute()
                except WatchError:
                    continue
                return user
        raise UnavailableError(f"expected to change a user within {MOST_TRIES} tries, got others' changes each time")

    @cached_property
    def _nobodys(self) -> str:
        """A hash that no password fits, made when it is first needed."""
        return self._hasher.hash("nobody's password")


def _newcomer(subject: tuple[str, str], name: str, role: Role, now_ms: int, others: set[str]) -> User:
    name = _name(name)
    require_free(name)
    if name.casefold() in others:
        raise ConflictError(
            f"expected a name that nobody has here, got {name!r}, which another account has: whoever runs this service "
            "can remove that one, or your sign-in service can give you another name"
        )
    return User(name=name, role=role, created=format_ms(now_ms), stamp=_stamp(), subject=subject)


def _name(name: str) -> str:
    name = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise InvalidFieldError(
            f"expected a name of 1 to {LONGEST_NAME} printable characters, got {name[:80]!r}", path="name"
        )
    return name


def _role(role: Role) -> Role:
    if role not in STAFF:
        raise InvalidFieldError(f"expected one of the roles {', '.join(STAFF)}, got {role!r}", path="role")
    return role


def _password(password: str) -> str:
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidFieldError(
            f"expected a password of {SHORTEST} to {LONGEST} characters, got {len(password)}", path="password"
        )
    return unicodedata.normalize("NFKC", password)


def _stamp() -> str:
    return secrets.token_hex(8)


def _refused() -> UnauthenticatedError:
    return UnauthenticatedError("expected the name and password of a user, got others")


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"expected the name of a user, got {name[:80]!r}: `stoppress users list` shows them")
