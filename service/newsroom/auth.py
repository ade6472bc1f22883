"""Auth: who is calling, and whether their role allows it (DESIGN: roles)."""

from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request

from service.domain.lifecycle import Record, State
from service.errors import ForbiddenError, OriginError, UnauthenticatedError
from service.store.accounts import STAFF, Account, Accounts, Role
from service.store.audit import AuditEntry

PUBLISHERS: tuple[Role, ...] = ("editor", "chief")
WIRES: tuple[Role, ...] = ("ingest", "editor", "chief")

# The desk's session; and the header with which its pages prove that they sent a change.
COOKIE = "stoppress-desk"
CSRF_HEADER = "x-csrf-token"

# Who may do what to an item.
ALLOWED: dict[str, tuple[Role, ...]] = {
    "submit": STAFF,
    "approve": ("chief",),
    "publish": PUBLISHERS,
    "stop": PUBLISHERS,
    "withhold": PUBLISHERS,
    "release": PUBLISHERS,
    "kill": ("chief",),
    "expire": PUBLISHERS,
    "pin": PUBLISHERS,
    "unpin": PUBLISHERS,
    "link": STAFF,
}
# A contributor writes drafts and hands them in; what is approved or public is not theirs to change.
CONTRIBUTORS_OWN: tuple[State, ...] = ("draft", "submitted")


def bearer(header: str | None) -> str:
    """The key of an Authorization header (RFC 6750, section 2.1).

    Raises:
        UnauthenticatedError: there is none.
    """
    scheme, _, key = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise UnauthenticatedError("expected the header Authorization: Bearer sp_…, got none")
    return key.strip()


def cookie_of(request: Request) -> str | None:
    """The desk's cookie of a request."""
    return request.cookies.get(COOKIE)


def require_own_page(request: Request) -> None:
    """Refuse what another site's page sends in an editor's name (Fetch Metadata; Origin, RFC 6454 section 7).

    Raises:
        OriginError: it comes from elsewhere.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        # What the browser itself saw; a proxy may have changed the Host that we see.
        own = site in ("same-origin", "none")
    else:
        origin = request.headers.get("origin")
        own = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not own:
        raise OriginError("expected a page of this desk, got a request that another site made")


def require(account: Account, roles: tuple[Role, ...], what: str) -> None:
    """Raises:
    ForbiddenError: the account's role does not allow it.
    """
    if account.role not in roles:
        raise ForbiddenError(f"{what} takes the role {' or '.join(roles)}; {account.name} is {account.role}")


def require_edition(account: Account, edition: str) -> None:
    """Raises:
    ForbiddenError: the key is for other editions.
    """
    if not account.may_enter(edition):
        raise ForbiddenError(f"the key of {account.name} is for {', '.join(account.editions)}, not for {edition}")


def require_hold(account: Account, record: Record) -> None:
    """Raises:
    ForbiddenError: a contributor would change what is not a draft.
    """
    require(account, STAFF, "changing an item")
    if account.role == "contributor" and record.state not in CONTRIBUTORS_OWN:
        raise ForbiddenError(f"a contributor changes drafts; {record.id} is {record.state}")


def seen_by(account: Account, entry: AuditEntry) -> AuditEntry:
    """An audit entry as this account may see it: where people sit and work is for chiefs alone to know."""
    return entry if account.role == "chief" else msgspec.structs.replace(entry, address=None)


def admit_reader(accounts: Accounts, header: str | None, edition: str) -> None:
    """Let a reader into a private edition.

    Raises:
        UnauthenticatedError, ForbiddenError
    """
    require_edition(accounts.authenticate(bearer(header)), edition)
