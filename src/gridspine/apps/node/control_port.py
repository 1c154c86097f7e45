"""Sites, programmes and what hangs on them in somebody's name: the one way in, for routes and adapters alike.

::

    route: its caller ──────────────────┐
    adapter: a source ─► who is it now? ┴─► `CallerControls` ─► policies ─► documents ─► desk: leases follow
             of a Thing ─► its application
"""

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator

import structlog

from gridspine.apps.node.asked import Asked
from gridspine.apps.node.authority import Authority
from gridspine.apps.node.caller_enrolments import CallerEnrolments
from gridspine.apps.node.caller_programmes import CallerProgrammes
from gridspine.apps.node.caller_reports import CallerReports
from gridspine.apps.node.caller_sites import CallerSites
from gridspine.apps.node.controls import Controls
from gridspine.energy.charging import ChargingPort
from gridspine.energy.control_port import Action, Change
from gridspine.energy.followed import FollowPort
from gridspine.infra.identity.caller import Caller
from gridspine.infra.identity.service import Identity
from gridspine.kernel.errors import Unauthenticated
from gridspine.things.adapter import Source
from gridspine.things.directory import Directory

MAX_WAITING = 10_000
"""Changes that wait for one listener at most."""
log = structlog.get_logger(__name__)


class CallerControls:
    """All that one caller may do: `gridspine.energy.control_port.ControlPort`."""

    def __init__(self, authority: Authority, controls: Controls, caller: Caller) -> None:
        roles = tuple(sorted(caller.roles))  # a narrowed source stays narrow, whoever keeps it
        self.source = Source(caller.principal, caller.organisation, caller.session, caller.epoch, roles)
        self._asked = Asked(authority, controls, caller)
        self.sites = CallerSites(self._asked)
        self.programmes = CallerProgrammes(self._asked)
        self.enrolments = CallerEnrolments(self._asked)
        self.reports = CallerReports(self._asked)

    def check(self, action: Action) -> None:
        """Raise `Forbidden` unless the policies permit ``action`` in the own organisation."""
        self._asked.check(action)

    def may(self, action: Action) -> bool:
        """Whether the policies would permit ``action`` in the own organisation; nothing is recorded."""
        return self._asked.may(action)


class HostedControls:
    """What an adapter reaches them by: `gridspine.energy.control_port.Controls`."""

    def __init__(
        self, authority: Authority, controls: Controls, identity: Identity, following: FollowPort,
        charging: ChargingPort, things: Directory,
    ) -> None:  # fmt: skip
        self._authority, self._controls, self._identity = authority, controls, identity
        self.following, self.charging, self._things = following, charging, things

    @property
    def revision(self) -> int:
        """A number that rises with each change of a document."""
        return self._controls.revision

    def of(self, source: Source) -> CallerControls:
        """Return the port in the name of ``source``; raise `Unauthenticated` when its proof holds no more."""
        if source.session.startswith("adapter:"):
            caller = self._application_of(source)
        else:
            caller = self._identity.by_session(source.principal, source.session, source.epoch, source.roles)
        return CallerControls(self._authority, self._controls, caller)

    def _application_of(self, source: Source) -> Caller:
        """Return the application that speaks for the Thing that an adapter serves, as owner and operator at most.

        Who lets an owner's application speak for it was asked for the owner's right (`check_speakers`).
        """
        found = self._things.roll.get(source.session.split(":", 2)[-1])
        served = found is not None and source.principal == source.session == f"adapter:{found.adapter}:{found.id}"
        for device in found.devices if found is not None and served and not found.retired else ():
            principal = self._identity.directory.active(device)
            if principal is not None and principal.kind == "application":
                caller = self._identity.for_adapter(device, source.session)
                if caller.organisation == source.organisation == found.organisation:  # type: ignore[union-attr]
                    return caller.narrowed(("owner", "operator"))
        raise Unauthenticated("no application of its organisation speaks for this Thing: name one among its devices")

    def changes(self) -> AsyncIterator[Change]:
        """Yield what is kept and removed from this call on; ends when more than `MAX_WAITING` wait."""
        return _Changes(self._controls)


class _Changes:
    """One listener's changes. It listens from its making on, until it is closed, behind or forgotten."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._waiting: deque[Change] = deque()
        self._wake = asyncio.Event()
        self._over = False
        me = weakref.ref(self)

        def heard(change: Change) -> None:  # by a weak name: who forgets its listener would else be told for ever
            found = me()
            if found is None:
                controls.listeners.remove(heard)
            else:
                found._on_change(change)

        self._heard = heard
        controls.listeners.append(heard)

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        while not self._waiting:
            if self._over:
                raise StopAsyncIteration
            self._wake.clear()
            try:
                await self._wake.wait()
            except BaseException:
                self._end()
                raise
        return self._waiting.popleft()

    def _on_change(self, change: Change) -> None:
        if len(self._waiting) >= MAX_WAITING:
            log.warning("a listener to changes of programmes is too slow and is let go")
            self._end()
        else:
            self._waiting.append(change)
        self._wake.set()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._controls.listeners.remove(self._heard)
