"""Accounts: API keys with roles. A key is shown once; only its SHA-256 is stored.

A plain hash is enough: a key is 24 random bytes, so there is nothing to guess that a slow hash would protect.
"""

import hashlib
import hmac
import secrets
from typing import Literal, get_args

import msgspec

from service.domain.instant import format_ms
from service.errors import ConflictError, NotFoundError, UnauthenticatedError
from service.store.connect import Store, at
from service.store.keys import API_KEYS

Role = Literal["reader", "ingest", "contributor", "editor", "chief"]
ROLES: tuple[Role, ...] = get_args(Role)
# Those of people; `auth.py` says what they may do.
STAFF: tuple[Role, ...] = ("contributor", "editor", "chief")
# By these names the clock, and whoever came by a one-time link, act in the records and the audit log: anybody else who
# had one would pass for them.
LOCAL = "local"
RESERVED = ("clock", LOCAL)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling. `trusted` lets an ingest key put lines on the air; `editions` limits a key (empty: all)."""

    name: str
    role: Role
    created: str
    trusted: bool = False
    editions: tuple[str, ...] = ()

    def may_enter(self, edition: str) -> bool:
        """Whether the key is for this edition."""
        return not self.editions or edition in self.editions


def digest(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def require_free(name: str) -> None:
    """Raises:
    ConflictError: the service itself acts by this name.
    """
    if name.casefold() in RESERVED:
        raise ConflictError(f"expected a name that is none of the service's own ({', '.join(RESERVED)}), got {name!r}")


class Accounts:
    """The API keys in Redis, and the chief's key of the environment, which is in none."""

    def __init__(self, redis: Store, admin_key: str | None) -> None:
        self._redis = at(redis, API_KEYS)
        self._admin = digest(admin_key) if admin_key else None

    def authenticate(self, key: str) -> Account:
        """Find whose key this is. Asked for each call, so that a revoked key stops at once.

        Raises:
            UnauthenticatedError: it is nobody's.
        """
        presented = digest(key)
        if self._admin is not None and hmac.compare_digest(presented, self._admin):
            return Account(name="admin", role="chief", created="")
        # Looked up by its hash: how long the look-up takes says nothing about the key.
        found = self._redis.hget(API_KEYS, presented)
        if found is None:
            raise UnauthenticatedError("expected a valid API key, got one that is unknown or revoked")
        return msgspec.json.decode(found, type=Account)

    def add(self, name: str, role: Role, now_ms: int, *, trusted: bool = False, editions: tuple[str, ...] = ()) -> str:
        """Make a key and return it; it is never shown again.

        Raises:
            ConflictError: the name is taken, or the service's own.
        """
        require_free(name)
        if any(account.name == name for account in self.listed()):
            raise ConflictError(f"expected a new name, got {name!r}, which has a key: revoke it first")
        key = f"sp_{secrets.token_urlsafe(24)}"
        account = Account(name=name, role=role, created=format_ms(now_ms), trusted=trusted, editions=editions)
        self._redis.hset(API_KEYS, digest(key), msgspec.json.encode(account))
        return key

    def listed(self) -> list[Account]:
        """Every key's account, by name."""
        accounts = [msgspec.json.decode(raw, type=Account) for raw in self._redis.hvals(API_KEYS)]
        return sorted(accounts, key=lambda account: account.name)

    def revoke(self, name: str) -> None:
        """Raises:
        NotFoundError: no key has that name.
        """
        for stored, raw in self._redis.hgetall(API_KEYS).items():
            if msgspec.json.decode(raw, type=Account).name == name:
                self._redis.hdel(API_KEYS, stored)
                return
        raise NotFoundError(f"expected the name of a key, got {name!r}: `stoppress keys list` shows them")
