"""Why a request was not done, in OpenADR's words: the codes, and the reply in which each request hears of them.

Source: the response codes of OpenADR 2.0b as openleadr 0.5.36 names them (``enums.STATUS_CODES``); the specification's
text was not read.
"""

from typing import Any

from gridspine.adapters.openadr2 import message as m
from gridspine.adapters.openadr2 import message_report as r
from gridspine.kernel.errors import Conflict, Forbidden, GridspineError, Invalid, NotFound, Unauthenticated

OUT_OF_SEQUENCE, NOT_ALLOWED, INVALID_ID, INVALID_DATA = 450, 451, 452, 454
COMPLIANCE, NO_SUCH_REPORT, NOT_REGISTERED, OTHER = 459, 461, 463, 469


class Refused(Exception):
    """A request that is not done: ``code`` and words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code, self.words = code, words


class BadSignature(Exception):
    """A signature that is none, or does not prove what it should; its text says why."""


def of_error(error: GridspineError) -> Refused:
    """Return an error of the node as a refusal."""
    if isinstance(error, Unauthenticated | Forbidden):
        return Refused(NOT_REGISTERED, "you are not registered, or may not do this")
    if isinstance(error, NotFound):
        return Refused(INVALID_ID, error.detail)
    if isinstance(error, Conflict):
        return Refused(NOT_ALLOWED, error.detail)
    return Refused(INVALID_DATA if isinstance(error, Invalid) else OTHER, error.detail)


def reply(request: m.Message, code: int, words: str, vtn_id: str, ven_id: str = "") -> m.Message:
    """Return the reply to ``request`` that says why it was not done."""
    response = m.Response(code=code, request_id=request_id(request), description=words[:500])
    own: dict[Any, Any] = {
        m.QueryRegistration: lambda: m.CreatedPartyRegistration(response=response, vtn_id=vtn_id),
        m.CreatePartyRegistration: lambda: m.CreatedPartyRegistration(response=response, vtn_id=vtn_id),
        m.CancelPartyRegistration: lambda: m.CanceledPartyRegistration(response=response),
        m.RequestEvent: lambda: m.DistributeEvent(response=response, request_id=response.request_id, vtn_id=vtn_id),
        m.CreateOpt: lambda: m.CreatedOpt(response=response, opt_id=request.opt_id),
        m.CancelOpt: lambda: m.CanceledOpt(response=response, opt_id=request.opt_id),
        r.RegisterReport: lambda: r.RegisteredReport(response=response),
        r.CreateReport: lambda: r.CreatedReport(response=response),
        r.UpdateReport: lambda: r.UpdatedReport(response=response),
        r.CancelReport: lambda: r.CanceledReport(response=response),
    }
    made = own.get(type(request))
    return m.Answer(response=response, ven_id=ven_id) if made is None else made()


def request_id(request: m.Message) -> str:
    """Return the requestID of a request, that of its response where it answers, "" where it has none."""
    own = getattr(request, "request_id", None)
    if isinstance(own, str):
        return own
    response = getattr(request, "response", None)
    return response.request_id if response is not None else ""
