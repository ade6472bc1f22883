"""Address: where a Redis is. One server, the primary that Sentinels name, or the shards of a Cluster; parsed once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

Engine = Literal["single", "sentinel", "cluster"]

FORMS: dict[Engine, str] = {
    "single": "redis://host:6379/0",
    "sentinel": "redis+sentinel://host:26379,host:26379/service",
    "cluster": "redis+cluster://host:6379,host:6379",
}
SCHEMES: dict[str, Engine] = {
    "redis": "single",
    "rediss": "single",
    "unix": "single",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}
PORTS: dict[Engine, int] = {"single": 6379, "sentinel": 26379, "cluster": 6379}
# What may stand in the query, by the name that redis-py has for it; a single Redis's query is redis-py's own.
TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
QUERIES: dict[Engine, tuple[str, ...]] = {
    "single": (),
    "sentinel": ("sentinel_username", "sentinel_password", *TLS),
    "cluster": TLS,
}


@dataclass(frozen=True, slots=True)
class Address:
    """A URL taken apart. `hosts` are whom to ask: Sentinels, or nodes of a Cluster. No repr shows a password."""

    engine: Engine
    url: str = field(repr=False)
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    # How to log in to the data, and to whoever is asked where it is, in redis-py's words.
    login: Mapping[str, Any] = field(default_factory=dict, repr=False)
    guide: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read a URL.

        Raises:
            ValueError: it is none. The message says the form, not the text: that may hold a password.
        """
        scheme = url.partition("://")[0] if "://" in url else ""
        engine = SCHEMES.get(scheme.lower())
        if engine is None:
            raise ValueError(f"expected a URL such as {FORMS['single']}, got one with scheme {scheme[:20]!r}")
        try:
            address = _single(urlsplit(url), url) if engine == "single" else _several(engine, url)
        except ValueError:
            address = None
        if address is None:
            raise ValueError(f"expected a URL such as {FORMS[engine]}, got one with a bad part")
        return address

    @property
    def where(self) -> str:
        """The address alone, for messages."""
        if self.engine == "single":
            parts = urlsplit(self.url)
            return f"{parts.hostname}:{parts.port or PORTS['single']}" if parts.hostname else parts.path
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{hosts}/{self.service}" if self.service else hosts

    @property
    def has_password(self) -> bool:
        """Whether one is given for the data."""
        return bool(urlsplit(self.url).password if self.engine == "single" else self.login.get("password"))


def _single(parts: SplitResult, url: str) -> Address | None:
    sound = bool(parts.hostname or parts.path) and parts.port != 0  # reading the port checks it
    return Address("single", url) if sound else None


def _several(engine: Engine, url: str) -> Address | None:
    """Several hosts make no `netloc` that the standard library takes apart, and newer ones do not take it at all."""
    scheme, _, behind = url.partition("://")
    netloc = re.split("[/?#]", behind, maxsplit=1)[0]
    parts = urlsplit(f"{scheme}://{behind[len(netloc) :]}")
    user, _, listed = netloc.rpartition("@")
    hosts = tuple(_host(text, PORTS[engine]) for text in listed.split(","))
    service, _, db = parts.path.removeprefix("/").partition("/")
    query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    if parts.fragment or not set(query) <= set(QUERIES[engine]) or bool(service) != (engine == "sentinel"):
        return None
    if db and not (engine == "sentinel" and db.isascii() and db.isdigit()):
        return None
    username, _, password = user.partition(":")
    shared: dict[str, Any] = {name: query[name] for name in TLS if name in query}
    if parts.scheme.startswith("rediss"):
        shared["ssl"] = True
    elif shared:
        return None
    login = {"username": unquote(username) or None, "password": unquote(password) or None}
    guide = login
    if engine == "sentinel":
        guide = {"username": query.get("sentinel_username"), "password": query.get("sentinel_password")}
    return Address(
        engine,
        url,
        hosts,
        unquote(service),
        {**shared, **login, "db": int(db or 0)},
        {**shared, **guide},
    )


def _host(text: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    port = default if parts.port is None else parts.port
    if not parts.hostname or not port or parts.path or "@" in text:
        raise ValueError(text)
    return parts.hostname, port
