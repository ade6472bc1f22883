"""Own: the address under which a caller reached this service, for links that must be absolute."""

import re

from starlette.requests import Request

from service.errors import MalformedError


def own_url(request: Request) -> str:
    """Scheme and host as the caller's browser has them; `STOPPRESS_PUBLIC_URL`, where it is set, is better.

    Raises:
        MalformedError: the header Host is none.
    """
    host = request.headers.get("host", "")
    if not re.fullmatch(r"[A-Za-z0-9.:\[\]_-]{1,255}", host):
        raise MalformedError("expected the header Host with a host, got another")
    return f"{'https' if is_secure(request) else 'http'}://{host}"


def is_secure(request: Request) -> bool:
    """Whether the browser's own connection is encrypted, as far as we are told."""
    return request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
