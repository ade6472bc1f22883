"""What the environment says, read once and frozen. The README has the same table for people."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from service.address import Address
from service.errors import SettingsError
from service.provider import Provider

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))

# Connections beyond the readers: the API's callers, health checks, and readers who are about to be refused.
ROOM = 4_000

N = TypeVar("N", int, float)
C = TypeVar("C", bound=str)


@dataclass(frozen=True, slots=True)
class Settings:
    """One process's settings. Build them with `from_env`; nothing else reads the environment."""

    host: str = "127.0.0.1"
    port: int = 8000
    data: Path = Path("data")
    redis_url: str | None = None
    queue_url: str | None = None
    wait_replicas: int = 0
    admin_key: str | None = None
    editions: Path | None = None
    web_processes: int = 1
    allowed_origins: tuple[str, ...] = ("*",)
    max_readers: int = 20_000
    max_readers_per_address: int = 0
    max_connections: int = 24_000
    max_connects_per_address: int = 200
    max_messages_per_reader: int = 600
    request_seconds: float = 10.0
    trusted_addresses: tuple[Network, ...] = LOOPBACK
    drain_seconds: float = 30.0
    # How long what is published at the desk can be taken back before it goes out, for urgency 1 to 4.
    undo_seconds: tuple[float, float, float, float] = (0.0, 5.0, 5.0, 5.0)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    public_url: str | None = None
    provider: Provider | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Read every `STOPPRESS_…` variable of `env`.

        Raises:
            SettingsError: a value is wrong; the message names the variable, what was expected and what came.
        """
        port = "STOPPRESS_PORT" if env.get("STOPPRESS_PORT") else "PORT"
        redis_url, queue_url = _redis_urls(env)
        max_readers = _number(env, "STOPPRESS_MAX_READERS", 20_000, low=1, high=10_000_000)
        # All readers may come back at once, and the API must be reachable beside them.
        most = max_readers + ROOM
        return cls(
            host=env.get("STOPPRESS_HOST") or "127.0.0.1",
            port=_number(env, port, 8000, low=0, high=65535),
            data=Path(env.get("STOPPRESS_DATA") or "data"),
            redis_url=redis_url,
            queue_url=queue_url,
            wait_replicas=_number(env, "STOPPRESS_WAIT_REPLICAS", 0, low=0, high=100),
            admin_key=_admin_key(env),
            editions=Path(env["STOPPRESS_EDITIONS"]) if env.get("STOPPRESS_EDITIONS") else None,
            web_processes=_number(env, "STOPPRESS_WEB_PROCESSES", _cores(), low=1, high=256),
            allowed_origins=_origins(env),
            max_readers=max_readers,
            max_readers_per_address=_number(env, "STOPPRESS_MAX_READERS_PER_ADDRESS", 0, low=0, high=10_000_000),
            max_connections=_number(env, "STOPPRESS_MAX_CONNECTIONS", most, low=1, high=20_000_000),
            max_connects_per_address=_number(env, "STOPPRESS_MAX_CONNECTS_PER_ADDRESS", 200, low=0, high=1_000_000),
            max_messages_per_reader=_number(env, "STOPPRESS_MAX_MESSAGES_PER_READER", 600, low=1, high=1_000_000),
            request_seconds=_number(env, "STOPPRESS_REQUEST_SECONDS", 10.0, low=0.1, high=3600.0),
            trusted_addresses=_networks(env),
            drain_seconds=_number(env, "STOPPRESS_DRAIN_SECONDS", 30.0, low=0.0, high=3600.0),
            undo_seconds=_undo(env),
            log_level=_choice(env, "STOPPRESS_LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
            log_format=_choice(env, "STOPPRESS_LOG_FORMAT", "console", ("console", "json")),
            public_url=_public_url(env),
            provider=Provider.from_env(env),
        )

    def require_redis_url(self) -> str:
        """The Redis of the log.

        Raises:
            SettingsError: none is set; only `stoppress up` starts one by itself.
        """
        if self.redis_url is None:
            raise SettingsError(
                "STOPPRESS_REDIS_URL is not set: expected the address of a Redis such as redis://localhost:6379/0 "
                "(`stoppress up` starts one by itself)"
            )
        return self.redis_url

    def read_editions(self) -> str | None:
        """The text of the editions file, or None where none is set.

        Raises:
            SettingsError: the file cannot be read.
        """
        if self.editions is None:
            return None
        try:
            return self.editions.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"STOPPRESS_EDITIONS: {self.editions} cannot be read: {error}") from None

    def trusts(self, address: str) -> bool:
        """Whether `address` is a proxy whose X-Forwarded-For is believed, and who is not rate-limited."""
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        # A socket on `::` shows its IPv4 peers as ::ffff:127.0.0.1.
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return any(ip in network for network in self.trusted_addresses)


def _cores() -> int:
    """The cores that this process may use: in a container often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _number(env: Mapping[str, str], name: str, default: N, *, low: N, high: N) -> N:
    text = env.get(name)
    if not text:
        return default
    kind: type[N] = type(default)
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        what = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{name}: expected {what} from {low} to {high}, got {text!r}")
    return value


def _undo(env: Mapping[str, str]) -> tuple[float, float, float, float]:
    """One number is for all but flashes, which wait only where four say so."""
    text = env.get("STOPPRESS_UNDO_SECONDS")
    if not text:
        return (0.0, 5.0, 5.0, 5.0)
    try:
        seconds = [float(part) for part in text.split(",")]
    except ValueError:
        seconds = []
    if len(seconds) not in (1, 4) or not all(0.0 <= each <= 300.0 for each in seconds):
        raise SettingsError(
            "STOPPRESS_UNDO_SECONDS: expected a number from 0 to 300, or four for flash, bulletin, urgent and routine "
            f"such as 0,5,5,5, got {text!r}"
        )
    flash, bulletin, urgent, routine = seconds if len(seconds) == 4 else [0.0, *seconds * 3]
    return (flash, bulletin, urgent, routine)


def _choice(env: Mapping[str, str], name: str, default: C, choices: tuple[C, ...]) -> C:
    text = env.get(name)
    if not text:
        return default
    for choice in choices:
        if text.lower() == choice:
            return choice
    raise SettingsError(f"{name}: expected one of {', '.join(choices)}, got {text!r}")


def _redis_urls(env: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The URLs of the log's Redis and of the queue's."""
    log, queue = (_address(env, f"STOPPRESS_{name}_URL") for name in ("REDIS", "QUEUE"))
    if queue is not None and queue.engine == "cluster":
        raise SettingsError(
            "STOPPRESS_QUEUE_URL: expected one Redis or a Sentinel service, got a Cluster: RQ does not run on one"
        )
    if log is not None and log.engine == "cluster" and queue is None:
        raise SettingsError(
            "STOPPRESS_QUEUE_URL is not set: expected one Redis or a Sentinel service for the queue beside the Cluster "
            "of STOPPRESS_REDIS_URL: RQ does not run on a Cluster"
        )
    return log.url if log else None, queue.url if queue else None


def _address(env: Mapping[str, str], name: str) -> Address | None:
    text = env.get(name)
    if not text:
        return None
    try:
        return Address.parse(text)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None


def _admin_key(env: Mapping[str, str]) -> str | None:
    key = env.get("STOPPRESS_ADMIN_KEY")
    if not key:
        return None
    if len(key) < 8 or not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError("STOPPRESS_ADMIN_KEY: expected at least 8 printable ASCII characters without spaces")
    return key


def _origins(env: Mapping[str, str]) -> tuple[str, ...]:
    text = env.get("STOPPRESS_ALLOWED_ORIGINS")
    if not text:
        return ("*",)
    origins = tuple(part.strip().rstrip("/").lower() for part in text.split(",") if part.strip())
    for origin in origins:
        if origin != "*" and not _is_origin(origin):
            raise SettingsError(
                f"STOPPRESS_ALLOWED_ORIGINS: expected * or a list such as https://news.example, got {origin!r}"
            )
    return origins


def _public_url(env: Mapping[str, str]) -> str | None:
    text = env.get("STOPPRESS_PUBLIC_URL")
    if not text:
        return None
    url = text.rstrip("/")
    if not _is_origin(url) or not url.isascii() or not url.isprintable() or " " in url:
        raise SettingsError(f"STOPPRESS_PUBLIC_URL: expected an address such as https://news.example, got {text!r}")
    return url


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    rest = parts.path or parts.query or parts.fragment
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and not rest


def _networks(env: Mapping[str, str]) -> tuple[Network, ...]:
    text = env.get("STOPPRESS_TRUSTED_ADDRESSES")
    if text is None:
        return LOOPBACK
    networks = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ipaddress.ip_network(part, strict=False))
        except ValueError:
            raise SettingsError(
                f"STOPPRESS_TRUSTED_ADDRESSES: expected addresses or networks such as 10.0.0.0/8, got {part!r}"
            ) from None
    return tuple(networks)
