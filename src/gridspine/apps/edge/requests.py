"""Requests at the edge: the node's, carried out by an adapter here, and how they ended, until the node was told.

::

    node ─► Ask ─► adapter ─► device        Report ◄─ ended ◄─ adapter

Nothing of it is kept on disk: a request does not outlive a stop, and is never made twice. What the edge does not live
to answer the node gives up when its time is over.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from gridspine.apps.edge.wire import Ask, Ended
from gridspine.infra.runtime.clock import Clock
from gridspine.infra.runtime.takers import Takers
from gridspine.kernel.time import US
from gridspine.things.adapter import ActionRequest, RequestEnd

MAX_UNDER_WAY, MAX_OUTPUT_BYTES = 256, 32_768
MAX_TOLD_BYTES = 131_072
"""Of how much what ended is told in one report [bytes]; at least of one."""
_WORDS = 500


class EdgeRequests:
    """Requests to the adapters of an edge; ``news`` is called when one has ended."""

    def __init__(self, clock: Clock, news: Callable[[], None]) -> None:
        self._clock, self._news = clock, news
        self._takers: Takers[ActionRequest] = Takers(MAX_UNDER_WAY)
        self._asked: dict[str, tuple[str, int]] = {}
        """By request, the adapter that was asked, and until when [µs since 1970]."""
        self.ended: dict[str, Ended] = {}
        """What the node was not told yet."""

    def ask(self, said: Ask, adapter: str) -> None:
        """Have ``adapter`` carry a request out; "" where the Thing is not served here."""
        now_us = self._clock.now_us()
        self._asked = {id_: one for id_, one in self._asked.items() if one[1] > now_us}
        until_us = now_us + round(said.left_s * US)
        request = ActionRequest(said.id, said.thing, said.action, said.input, until_us, said.traceparent)
        if not self._takers.runs(adapter):
            self._end(
                said.id, Ended("refused", None, "its adapter at the edge carries out no actions, or does not run")
            )
        elif len(self._asked) >= MAX_UNDER_WAY or not self._takers.put(adapter, request):
            self._end(said.id, Ended("refused", None, f"{MAX_UNDER_WAY} actions are under way at the edge: ask again"))
        else:
            self._asked[said.id] = adapter, until_us

    def requests(self, adapter: str) -> AsyncIterator[ActionRequest]:
        """Yield requests for ``adapter``."""
        return self._takers.taken(adapter)

    def end(self, id: str, state: RequestEnd, output: Any, reason: str, adapter: str) -> None:
        """Note how a request ended; the first word of the adapter that was asked counts."""
        if self._asked.get(id, ("", 0))[0] != adapter:
            return
        del self._asked[id]
        try:
            if len(msgspec.json.encode(output)) > MAX_OUTPUT_BYTES:
                state, output, reason = "failed", None, f"what it answered has more than {MAX_OUTPUT_BYTES} bytes"
        except (TypeError, ValueError, msgspec.MsgspecError):
            state, output, reason = "failed", None, "what it answered is no JSON"
        self._end(id, Ended(state, output, reason[:_WORDS]))

    def told(self) -> dict[str, Ended]:
        """Return what ended and is to be told next, as much as fits into a report."""
        chosen: dict[str, Ended] = {}
        size = 0
        for id_, one in self.ended.items():
            size += len(msgspec.json.encode(one))
            if chosen and size > MAX_TOLD_BYTES:
                break
            chosen[id_] = one
        return chosen

    def _end(self, id: str, ended: Ended) -> None:
        self.ended[id] = ended
        while len(self.ended) > MAX_UNDER_WAY:  # the node is long away: it has given up the oldest
            del self.ended[next(iter(self.ended))]
        self._news()
