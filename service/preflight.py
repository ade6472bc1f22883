"""Preflight: what `stoppress up` looks at before it starts anything, so that what is wrong is one clear line."""

import difflib
import errno
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from honcho.environ import parse_procfile
from redis.exceptions import AuthenticationError, BusyLoadingError, NoPermissionError, RedisError

from service.address import FORMS, Address
from service.durability import risks
from service.embedded import (
    make_data_folder,
    write_private,
)
from service.errors import SettingsError
from service.settings import Settings
from service.store.connect import at, blocking
from service.store.keys import API_KEYS
from service.store.sessions import Sessions
from service.store.users import Users

CLIENT_NAMES = {"STOPPRESS_KEY", "STOPPRESS_URL"}  # read by `stoppress publish` and its like, not by the service


def strange_names(env: Mapping[str, str]) -> Iterator[str]:
    known = {f"STOPPRESS_{field.name.upper()}" for field in fields(Settings)} | CLIENT_NAMES
    for name in sorted(env):
        if name.startswith("STOPPRESS_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            yield f"{name} is no setting and has no effect" + (f" (did you mean {close[0]}?)" if close else "")


def sign_in_link(base_url: str, redis_url: str) -> str | None:
    """The address that signs one browser in at the desk, once; None if Redis does not answer."""
    with suppress(RedisError, OSError), blocking(redis_url) as redis:
        return f"{base_url}/desk/sign-in?ticket={Sessions(redis, Users(redis)).make_ticket()}"
    return None


def procfile() -> dict[str, str]:
    """What to run, by name: the Procfile of this folder, or the one that comes with the package."""
    here = Path(__file__).parent
    # In a checkout the bundled one is the repository's own, a folder up.
    path = next(
        (path for path in (Path("Procfile"), here / "Procfile", here.parent / "Procfile") if path.exists()), None
    )
    if path is None:
        raise SettingsError("expected a Procfile in this folder, and the package has lost its own: install it again")
    try:
        processes: dict[str, str] = parse_procfile(path.read_text(encoding="utf-8")).processes
    except (OSError, UnicodeDecodeError, AssertionError) as error:
        raise SettingsError(f"{path.absolute()} cannot be used: {error}") from None
    if not processes:
        raise SettingsError(f"{path.absolute()}: expected lines such as `web: stoppress web`, got none")
    return processes


def free_port(host: str, port: int) -> int:
    """`port` if it can be listened on, or any that can for port 0.

    Raises:
        SettingsError: it is taken or may not be used.
    """
    try:
        return _bind(host, port)
    except socket.gaierror as error:
        raise SettingsError(
            f"STOPPRESS_HOST: expected an address of this machine, got {host!r} ({error.strerror})"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(f"STOPPRESS_HOST: expected an address of this machine, got {host!r}") from None
        advice = f"choose another with STOPPRESS_PORT={_next_free_port(host, max(port, 1023))}"
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(f"port {port} on {host} is taken: stop what uses it, or {advice}") from None
        raise SettingsError(f"port {port} on {host} cannot be used ({error.strerror}): {advice}") from None


def _next_free_port(host: str, port: int) -> int:
    for candidate in range(port + 1, min(port + 50, 65536)):
        with suppress(OSError):
            return _bind(host, candidate)
    return _bind(host, 0)


def _bind(host: str, port: int) -> int:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: the last one's connections in TIME_WAIT do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)
        bound: int = probe.getsockname()[1]
        return bound


def check_redis(name: str, url: str) -> list[str]:
    """What the Redis at `url` would lose.

    Raises:
        SettingsError: it does not let us in, or is not what the URL says. The message holds no password.
    """
    try:
        address = Address.parse(url)
        client = blocking(url, answer_seconds=5)
    except ValueError:
        raise SettingsError(f"{name}: expected a URL such as redis://host:6379/0, got one with a bad part") from None
    where, form = address.where, FORMS[address.engine]
    try:
        with client:
            client.ping()
            about = at(client, API_KEYS).info()
            lost = [risk.text for risk in risks(at(client, API_KEYS))]
    except (BusyLoadingError, NoPermissionError):
        return []  # it is there, and the processes wait for it or say which command it refuses
    except AuthenticationError:
        problem = "refuses the password" if address.has_password else "asks for a password"
        raise SettingsError(
            f"{name}: the Redis at {where} {problem}: expected a URL such as {form.replace('://', '://user:password@')}"
        ) from None
    except (RedisError, OSError) as error:
        if address.engine != "single":
            raise SettingsError(
                f"{name}: {error}: expected a URL such as {form}, and all that it names to run"
            ) from None
        reason = error.__cause__ or error.__context__ or error
        said = getattr(reason, "strerror", None) or type(reason).__name__
        raise SettingsError(
            f"{name}: no Redis answers at {where} ({said}): start it there, or unset {name} to do without it"
        ) from None

    if address.engine == "single" and about.get("cluster_enabled"):
        raise SettingsError(f"{name}: the Redis at {where} is of a Cluster: expected a URL such as {FORMS['cluster']}")
    if address.engine == "cluster" and int(about["redis_version"].partition(".")[0]) < 7:
        raise SettingsError(
            f"{name}: expected a Cluster of Redis 7.0 or later (sharded pub/sub), got {about['redis_version']}"
        )
    return lost


def read_admin_key(data: Path) -> str:
    """The chief's key of this machine, made at the first start."""
    make_data_folder(data)
    file = data / "admin.key"
    try:
        key = file.read_text(encoding="ascii").strip()
        with suppress(OSError):
            file.chmod(0o600)
    except FileNotFoundError:
        key = f"sp_{secrets.token_urlsafe(24)}"
        write_private(file, key + "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read ({error}): delete it, and a new key is made") from None
    try:
        Settings.from_env({"STOPPRESS_ADMIN_KEY": key or " "})
    except SettingsError:
        raise SettingsError(f"{file} holds no key: delete it, and a new one is made") from None
    return key
