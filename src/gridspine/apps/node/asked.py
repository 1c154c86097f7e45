"""Who asks for sites, programmes and what hangs on them, and whom it asks: shared by what one caller may do."""

from gridspine.apps.node.authority import Authority
from gridspine.apps.node.controls import Controls
from gridspine.energy.control_port import Action
from gridspine.energy.programme import Programme
from gridspine.infra.identity.caller import Caller


def any_version(_: int) -> None:
    """Take whatever version there is."""


class Asked:
    """What the ports of one caller share: who asks, and whom it asks."""

    def __init__(self, authority: Authority, controls: Controls, caller: Caller) -> None:
        self.authority, self.controls, self.caller = authority, controls, caller
        self.organisation, self.actor = caller.organisation, caller.principal

    def check(self, action: Action) -> None:
        """Raise `Forbidden` unless the caller may do ``action`` in its organisation."""
        self.authority.on_organisation(self.caller, action, self.organisation)

    def may(self, action: Action) -> bool:
        """Whether the caller would be let do it; nothing is recorded."""
        return self.authority.would_allow_in(self.caller, action, self.organisation)

    def programme(self, id: str, action: Action = "programme.read") -> Programme:
        """Return a programme that the caller's organisation may see, when the caller may do ``action``."""
        self.check(action)
        return self.controls.programmes.get(id, self.organisation)

    def own_programme(self, id: str) -> Programme:
        """Return a programme that the caller's organisation runs, when the caller may manage it."""
        self.check("programme.manage")
        return self.controls.programmes.get(id, self.organisation, own=True)

    async def look(self, programme: str) -> None:
        """Let leases follow a programme; raise where they do not."""
        await self.controls.desk.carry_out(self.controls.desk.holders_of(programme))
