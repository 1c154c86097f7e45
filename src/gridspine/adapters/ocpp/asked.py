"""Actions asked of charge points: who carries them out, and how they end.

::

    request ─► its Thing's charge point connected? ─► action ─► call, in its turn ─► done: its output
                  │ no: failed                          │            │ another status, NotSupported: refused
                  │                                     │            └ no answer, connection lost: failed
                  │                                     └ unknown, its version has none, wrong input: refused

Nothing is called twice: what was not answered is told as that, and whoever asked decides.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from gridspine.adapters.ocpp.chargepoint import ChargePoint
from gridspine.adapters.ocpp.session import CallRefused, Session, Unanswered
from gridspine.adapters.ocpp.station import Place
from gridspine.adapters.ocpp.status import status_words
from gridspine.adapters.ocpp.websocket import Closed
from gridspine.adapters.ocpp.wire import Malformed, Version
from gridspine.infra.runtime.waiting import within
from gridspine.kernel.errors import GridspineError, Unavailable
from gridspine.kernel.time import US
from gridspine.things.adapter import ActionRequest, AdapterContext
from gridspine.things.adapter_requests import Ended, serve_requests

log = logging.getLogger(__name__)
T = TypeVar("T")

Payload = dict[str, Any]
MAX_ASKED = 256
"""Actions under way at once, of all charge points."""
_UNABLE = frozenset({"NotImplemented", "NotSupported"})
_ACCEPTED = frozenset({"Accepted"})


class Refused(Exception):
    """The action is not done, and that is certain; the reason is for whoever asked."""


class Asked:
    """One action asked of a charge point's EVSE."""

    def __init__(self, point: ChargePoint, session: Session, place: Place, request: ActionRequest) -> None:
        self.point, self.place = point, place
        self._session, self._request = session, request

    @property
    def version(self) -> Version:
        """The version the charge point speaks."""
        return self.point.version

    @property
    def evse(self) -> int:
        """The EVSE (1.6: connector) of the Thing."""
        return self.place.evse

    def input(self, kind: type[T]) -> T:
        """Return the input as ``kind``; raise `Refused` when it is not like that."""
        given = self._request.input
        try:
            return msgspec.convert({} if given is None else given, kind)
        except msgspec.ValidationError as error:
            raise Refused(f"the input of {self._request.action}: {error}") from error

    def lacks(self, what: str) -> Refused:
        """Return the refusal of what the charge point's version has no message for."""
        return Refused(f"OCPP {self.version} has no {what}")

    async def call(self, action: str, payload: Mapping[str, Any]) -> Payload:
        """Call the charge point; None in ``payload`` is left out."""
        return await self._session.call(action, {key: value for key, value in payload.items() if value is not None})

    async def accepted(self, action: str, payload: Mapping[str, Any], good: Collection[str] = _ACCEPTED) -> Payload:
        """Call the charge point and return its answer; raise `Refused` where its status is none of ``good``."""
        answer = await self.call(action, payload)
        if answer["status"] not in good:
            raise Refused(f"the charge point answers {status_words(answer)}")
        return answer


Action = Callable[[Asked], Awaitable[Any]]


class Finds(Protocol):
    """Who knows the connected charge points."""

    def live(self, thing: str) -> tuple[ChargePoint, Session, Place] | None:
        """Return the charge point of ``thing``, None while it is not connected."""
        ...


class Desk:
    """Takes what is asked, and has ``actions`` carry it out; ``kept`` ones need no charge point that is connected."""

    def __init__(
        self, context: AdapterContext, finds: Finds, actions: Mapping[str, Action],
        kept: Mapping[str, Callable[[ActionRequest], Awaitable[Any]]],
    ) -> None:  # fmt: skip
        self._context, self._finds, self._actions, self._kept = context, finds, actions, kept

    async def run(self) -> None:
        """Carry out what is asked, for ever."""
        await serve_requests(self._context, self._end, MAX_ASKED)

    async def _end(self, request: ActionRequest) -> Ended:
        try:
            return "done", await self._output(request), ""
        except (Refused, CallRefused, Malformed) as error:
            return "refused", None, _why_refused(error)
        except (Closed, Unanswered, TimeoutError) as error:
            return "failed", None, f"{error}; whether it was done, nobody knows"
        except GridspineError as error:
            return "failed", None, error.detail
        except Exception:
            log.exception("%s could not be carried out", request.action)
            return "failed", None, "it failed inside the node; its log says why"

    async def _output(self, request: ActionRequest) -> Any:
        if request.action in self._kept:
            return await self._kept[request.action](request)
        action = self._actions.get(request.action)
        if action is None:
            raise Refused(f"OCPP has no action {request.action}")
        found = self._finds.live(request.thing)
        if found is None:
            raise Unavailable("the charge point is not connected: nothing was sent")
        point, session, place = found
        clock = self._context.clock
        return await within(
            clock, (request.until_us - clock.now_us()) / US, _run(action, Asked(point, session, place, request))
        )


def _why_refused(error: Exception) -> str:
    if isinstance(error, Malformed):
        return f"the input makes no message of OCPP: {error.description}"
    if isinstance(error, CallRefused):
        able = "refuses it" if error.code not in _UNABLE else "has no such function"
        return f"the charge point {able}: {error}"
    return str(error)


async def _run(action: Action, asked: Asked) -> Any:
    return await action(asked)
