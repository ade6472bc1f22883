"""Provider: the OpenID Connect provider that the environment names, from which people come to the desk."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from service.errors import SettingsError

# Those of people, the highest last.
DeskRole = Literal["contributor", "editor", "chief"]
DESK_ROLES: tuple[DeskRole, ...] = ("contributor", "editor", "chief")
# What the provider's roles are called where nothing says so.
ALIKE: tuple[tuple[str, DeskRole], ...] = tuple((role, role) for role in DESK_ROLES)

NEEDED = ("STOPPRESS_OIDC_ISSUER", "STOPPRESS_OIDC_CLIENT_ID", "STOPPRESS_OIDC_CLIENT_SECRET")
FURTHER = ("STOPPRESS_OIDC_ROLE_CLAIM", "STOPPRESS_OIDC_ROLES", "STOPPRESS_OIDC_NAME")


@dataclass(frozen=True, slots=True)
class Provider:
    """Whom we ask who somebody is. `roles` maps the provider's names of roles to ours."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    role_claim: str = "roles"
    roles: tuple[tuple[str, DeskRole], ...] = ALIKE
    name: str = ""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Provider | None":
        """The provider of `env`, or None where it names none.

        Raises:
            SettingsError: a value is wrong, or one is missing beside the others.
        """
        given = [name for name in (*NEEDED, *FURTHER) if env.get(name)]
        if not given:
            return None
        for name in NEEDED:
            if not env.get(name):
                raise SettingsError(f"{name}: expected a value beside {given[0]}, got none")
        issuer, client_id, secret = (env[name] for name in NEEDED)
        if not may_be_asked(issuer) or urlsplit(issuer).query:
            raise SettingsError(
                "STOPPRESS_OIDC_ISSUER: expected an address such as https://login.example/realms/news "
                "(http on this machine only)"
            )
        for name, value in (("CLIENT_ID", client_id), ("CLIENT_SECRET", secret)):
            # The value stays out of the message: one that was put into the wrong variable is a secret.
            if not value.isascii() or not value.isprintable() or value != value.strip():
                raise SettingsError(f"STOPPRESS_OIDC_{name}: expected printable ASCII characters without spaces around")
        host = urlsplit(issuer).hostname or ""
        return cls(
            issuer=issuer,
            client_id=client_id,
            client_secret=secret,
            role_claim=env.get("STOPPRESS_OIDC_ROLE_CLAIM") or "roles",
            roles=_roles(env.get("STOPPRESS_OIDC_ROLES")) or ALIKE,
            name=_name(env.get("STOPPRESS_OIDC_NAME") or host),
        )

    def role_of(self, names: list[str]) -> DeskRole | None:
        """The highest role that one of these names of the provider's stands for."""
        ours = {role for name, role in self.roles if name in names}
        return next((role for role in reversed(DESK_ROLES) if role in ours), None)


def may_be_asked(url: str) -> bool:
    """Whether an address is one of https, or of http on this machine, which no one in between can read."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _roles(text: str | None) -> tuple[tuple[str, DeskRole], ...]:
    pairs: list[tuple[str, DeskRole]] = []
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        theirs, _, word = (each.strip() for each in part.rpartition("="))
        ours = next((role for role in DESK_ROLES if role == word), None)
        if not theirs or ours is None:
            raise SettingsError(
                f"STOPPRESS_OIDC_ROLES: expected a list such as newsroom-chief=chief,reporters=contributor "
                f"with {', '.join(DESK_ROLES)} on the right, got {part!r}"
            )
        pairs.append((theirs, ours))
    return tuple(pairs)


def _name(name: str) -> str:
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise SettingsError("STOPPRESS_OIDC_NAME: expected 1 to 64 printable characters")
    return name
