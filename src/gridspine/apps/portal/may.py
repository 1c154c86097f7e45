"""What a page offers to whom. It decides nothing: whatever is pressed, the policies are asked.

A test holds these against the policies' own answers, so that nobody is shown a button that never works.
"""

from dataclasses import dataclass

from gridspine.infra.identity.caller import Caller
from gridspine.sharing.grant import Grant

_READERS = frozenset({"operator", "owner", "administrator", "auditor"})
_WATCHERS = frozenset({"operator", "auditor", "administrator"})
_SHARERS = frozenset({"owner", "operator", "auditor", "consumer"})


@dataclass(frozen=True, slots=True)
class May:
    """Hints for a caller; ``node`` is the organisation that runs the node."""

    caller: Caller
    node: str

    @property
    def read_things(self) -> bool:
        """See Things, alarms and incidents."""
        return bool(self.caller.roles & _READERS)

    @property
    def command(self) -> bool:
        """Command, approve, block, manage, emulate Things; manage sites, behaviours, alarms and incidents."""
        return self.caller.has("operator")

    @property
    def register(self) -> bool:
        """Register Things and models, take announced devices in, save ensembles."""
        return bool(self.caller.roles & {"operator", "administrator"})

    @property
    def transfer(self) -> bool:
        """Hand Things over to another organisation, and take over what is offered."""
        return self.caller.has("owner")

    @property
    def attach(self) -> bool:
        """Attach files to Things."""
        return bool(self.caller.roles & {"operator", "owner", "administrator"})

    @property
    def stop(self) -> bool:
        """Stop all set-points."""
        return self.caller.has("operator") and self.caller.organisation == self.node

    @property
    def watch(self) -> bool:
        """See the node's status."""
        return bool(self.caller.roles & _WATCHERS) and self.caller.organisation == self.node

    @property
    def trace(self) -> bool:
        """See what adapters and their devices say to each other."""
        return self.caller.has("operator") and self.caller.organisation == self.node

    @property
    def ask(self) -> bool:
        """Ask for data products."""
        return self.caller.has("consumer")

    @property
    def read_grants(self) -> bool:
        """See grants given or got."""
        return bool(self.caller.roles & _SHARERS)

    def verbs(self, grant: Grant, now_us: int) -> list[str]:
        """Return what the caller may do with ``grant`` now. Owners refuse a request, askers revoke it."""
        ended = now_us >= grant.until_us
        verbs: list[str] = []
        if self.caller.organisation == grant.owner:
            if grant.state == "requested" and self.caller.has("owner"):
                verbs += ["refuse"] if ended else ["approve", "refuse"]
            if self.caller.roles & {"owner", "operator"} and not ended:
                verbs += {"active": ["suspend"], "suspended": ["resume"]}.get(grant.state, [])
        gives_up = self.caller.organisation == grant.consumer and self.caller.has("consumer")
        takes_back = self.caller.organisation == grant.owner and self.caller.has("owner")
        holds = grant.state in {"active", "suspended"}
        if not ended and ((gives_up and grant.state == "requested") or (holds and (gives_up or takes_back))):
            verbs.append("revoke")
        return verbs
