"""Actions asked of partners and of their EVSEs: who carries them out, and how they end.

::

    request ─► the Thing's action ─► done: its output │ refused: why │ failed: nobody knows
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gridspine.adapters.ocpi.client import PartnerError
from gridspine.infra.runtime.waiting import within
from gridspine.kernel.errors import GridspineError
from gridspine.kernel.time import US
from gridspine.things.adapter import ActionRequest, AdapterContext
from gridspine.things.adapter_requests import Ended, serve_requests

log = logging.getLogger(__name__)
MAX_ASKED = 64
"""Actions under way at once."""
Action = Callable[[str, Any], Awaitable[Any]]
"""Is called with the Thing and the input."""


class Refused(Exception):
    """The action is not done, and that is certain."""


class Desk:
    """Takes what is asked and has ``actions`` carry it out."""

    def __init__(self, context: AdapterContext, actions: Mapping[str, Action]) -> None:
        self._context, self._actions = context, actions

    async def run(self) -> None:
        """Carry out what is asked, for ever."""
        await serve_requests(self._context, self._end, MAX_ASKED)

    async def _end(self, request: ActionRequest) -> Ended:
        action = self._actions.get(request.action)
        if action is None:
            return "refused", None, f"OCPI has no action {request.action}"
        clock = self._context.clock
        try:
            work = _run(action, request)
            return "done", await within(clock, (request.until_us - clock.now_us()) / US, work), ""
        except Refused as error:
            return "refused", None, str(error)
        except PartnerError as error:
            return ("refused" if error.status_code else "failed"), None, error.detail
        except GridspineError as error:
            return ("refused" if error.status < 500 else "failed"), None, error.detail
        except TimeoutError:
            return "failed", None, "the partner did not answer in time; whether it was done, nobody knows"
        except Exception:
            log.exception("%s could not be carried out", request.action)
            return "failed", None, "it failed inside the node; its log says why"


async def _run(action: Action, request: ActionRequest) -> Any:
    return await action(request.thing, request.input)
