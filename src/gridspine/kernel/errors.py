"""Operating errors, each with a status and a stable ``type``, ready to become problem details.

Source: RFC 9457 (Problem Details for HTTP APIs) §3. A programmer's error is an assertion, not one of these.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

PROBLEM_BASE = "https://gridspine.org/problems/"


class GridspineError(Exception):
    """An operating error a person can act on.

    ``title`` and ``status`` belong to the class; ``detail`` says what is wrong here and what to do about it.
    ``extra`` holds further members of the problem document; it never holds a secret.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong inside the node"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra

    def problem(self) -> dict[str, Any]:
        """Return the RFC 9457 problem document of this error."""
        return {
            "type": PROBLEM_BASE + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }


class Invalid(GridspineError):
    """What was sent cannot be understood or breaks a rule; ``errors`` lists field and description."""

    status, code, title = 400, "invalid", "The request is not valid"


class Unauthenticated(GridspineError):
    """Nobody is proven to be asking."""

    status, code, title = 401, "unauthenticated", "Authentication is needed"


class Forbidden(GridspineError):
    """The one who asks may not; ``decision`` names the recorded decision."""

    status, code, title = 403, "forbidden", "This is not permitted"


class NotFound(GridspineError):
    """There is no such thing, for this caller."""

    status, code, title = 404, "not-found", "Not found"


class NotAcceptable(GridspineError):
    """None of the forms asked for can be had here."""

    status, code, title = 406, "not-acceptable", "Not to be had in that form"


class RequestTimeout(GridspineError):
    """What was announced did not arrive in time."""

    status, code, title = 408, "request-timeout", "The request took too long to arrive"


class Conflict(GridspineError):
    """The state does not allow it (it exists already, or changed meanwhile)."""

    status, code, title = 409, "conflict", "The state does not allow this"


class PreconditionFailed(Conflict):
    """It is not at the version the request was made for (RFC 9110 §15.5.13)."""

    status, code, title = 412, "precondition-failed", "Changed meanwhile"


class Gone(GridspineError):
    """It was here and is not any more."""

    status, code, title = 410, "gone", "No longer here"


class TooLarge(GridspineError):
    """More was sent than is taken at once."""

    status, code, title = 413, "too-large", "Too much at once"


class UnsupportedMedia(GridspineError):
    """The content type or encoding is not one this resource takes."""

    status, code, title = 415, "unsupported-media-type", "Content type not taken here"


class Misdirected(GridspineError):
    """The Host name is not one this node answers for."""

    status, code, title = 421, "misdirected", "This node does not answer for that host name"


class Overloaded(GridspineError):
    """A bounded queue is full; come back after ``Retry-After`` seconds."""

    status, code, title = 429, "overloaded", "Busy: try again later"

    def __init__(self, detail: str, *, retry_after_s: int = 1, **extra: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)}, **extra)
        self.retry_after_s = retry_after_s


class Unavailable(GridspineError):
    """A part this request needs is not running."""

    status, code, title = 503, "unavailable", "Not available now"


class DiskFull(GridspineError):
    """No room left for new readings; what was acknowledged is safe."""

    status, code, title = 507, "disk-full", "No room left to keep new readings"


class Corrupt(GridspineError):
    """Stored bytes are not what was written."""

    status, code, title = 500, "corrupt", "Stored data is damaged"
