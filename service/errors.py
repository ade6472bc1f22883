"""The one error tree: each refusal has a code, an HTTP status and a text that says what to do.

The web layer renders these as RFC 9457 problem details; the command line prints `detail` on one line.
"""

from typing import Any, ClassVar

# How a caller goes on after a refusal; the second where something may have happened all the same.
REPEAT = "sending it again with the same id or Idempotency-Key is safe"
NOT_KNOWN = f"Whether this was accepted is not known; {REPEAT}"


class StoppressError(Exception):
    """A refusal or failure that the caller is told about.

    `detail` says what was expected, what came, and where. `path` is the JSON path of the field at fault.
    `extra` holds further members of the problem document, such as the `current` version of a stale write.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Error"

    def __init__(
        self,
        detail: str,
        *,
        path: str | None = None,
        retry_after: int | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.path = path
        self.retry_after = retry_after
        self.extra = extra or {}

    def problem(self) -> dict[str, Any]:
        """The problem document (RFC 9457, section 3)."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.path is not None:
            document["path"] = self.path
        return document | self.extra


class SettingsError(StoppressError):
    """A setting of the environment, or a file it names, is wrong."""

    code = "bad-setting"
    title = "Wrong setting"


class MalformedError(StoppressError):
    """Not what the call takes at all: broken JSON, a bad query, a cursor that is none."""

    code = "malformed"
    status = 400
    title = "Malformed request"


class InvalidFieldError(StoppressError):
    """The JSON is sound, but a field of it is not."""

    code = "invalid-field"
    status = 422
    title = "Invalid field"


class UnauthenticatedError(StoppressError):
    code = "unauthenticated"
    status = 401
    title = "Sign in first"


class ForbiddenError(StoppressError):
    code = "forbidden"
    status = 403
    title = "Not allowed"


class SecondPersonError(ForbiddenError):
    """The two-person rule: it takes somebody else, or a reason."""

    code = "second-person"
    title = "A second person is needed"


class OriginError(ForbiddenError):
    code = "origin-not-allowed"
    title = "Origin not allowed"


class NotFoundError(StoppressError):
    code = "not-found"
    status = 404
    title = "Not found"


class UnknownEditionError(NotFoundError):
    code = "unknown-edition"
    title = "Unknown edition"


class MethodError(StoppressError):
    code = "method-not-allowed"
    status = 405
    title = "Method not allowed"


class RequestTimeoutError(StoppressError):
    """The request did not come whole in time (RFC 9110, section 15.5.9)."""

    code = "request-timeout"
    status = 408
    title = "Request timeout"


class ConflictError(StoppressError):
    """The item's life does not allow this now (RFC 9110, section 15.5.10)."""

    code = "conflict"
    status = 409
    title = "Conflict"
    # Whether somebody was first between our read and our write: reading again may settle it.
    racing: ClassVar[bool] = False


class StaleError(ConflictError):
    """Somebody else changed the item first; `extra["current"]` is its version now."""

    code = "stale-version"
    title = "Stale version"
    racing = True


class TakenError(ConflictError):
    """The id belongs to another item, or to one that was killed."""

    code = "id-taken"
    title = "Id taken"
    racing = True


class TooLargeError(StoppressError):
    code = "too-large"
    status = 413
    title = "Too large"


class KeyReusedError(StoppressError):
    """An Idempotency-Key came again with another request."""

    code = "idempotency-key-reused"
    status = 422
    title = "Idempotency-Key reused"


class UpgradeRequiredError(StoppressError):
    code = "upgrade-required"
    status = 426
    title = "Not a WebSocket"


class PreconditionRequiredError(StoppressError):
    """The call needs If-Match (RFC 6585, section 3), so that nobody overwrites what they have not seen."""

    code = "if-match-required"
    status = 428
    title = "If-Match required"


class TooManyError(StoppressError):
    code = "too-many-requests"
    status = 429
    title = "Too many requests"


class UnavailableError(StoppressError):
    """Nothing was accepted; trying again later is safe."""

    code = "unavailable"
    status = 503
    title = "Unavailable"


class UnconfirmedError(StoppressError):
    """It may have been accepted, but that is not safe yet: sending the same again says more."""

    code = "unconfirmed"
    status = 503
    title = "Unconfirmed"


class OverCapacityError(UnavailableError):
    code = "over-capacity"
    title = "Over capacity"
